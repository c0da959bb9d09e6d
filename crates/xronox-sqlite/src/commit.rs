//! The write path: one batch of mutations inside the writer's transaction.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use rusqlite::{Connection, OptionalExtension};
use xronox_model::{CollectionName, Location, Op, RecordId, Sha256, Timestamp, VersionRow};
use xronox_store::{
    Append, Batch, Clock, Commit, IdempotencyKey, Mutation, Outcome, Purge, Refusal, Ruling,
    StoreError, Taken, ruling::released,
};

use crate::{
    collection::{self, Collection},
    error::storage,
    keys,
    read::{self, inline},
    row::{self, Item, ItemRef, int, op_code, op_of, place, uint},
    schema::SMALL_BODY,
    writer::Known,
};

/// Commits batches: see [`Catalog::commit`](xronox_store::Catalog::commit).
pub(crate) fn commit(
    db: &Connection,
    known: &Known,
    clock: &dyn Clock,
    batches: &[(CollectionName, Batch)],
) -> Result<Vec<Vec<Outcome>>, StoreError> {
    let mut places = Vec::with_capacity(batches.len());
    let mut at = clock.now();
    for (name, batch) in batches {
        let collection = known.collection(db, name)?;
        if collection.described.epoch != batch.epoch {
            return Err(StoreError::StaleIndexes {
                collection: name.clone(),
            });
        }
        let newest = collection::newest(db, &collection)?;
        if let Some((_, last)) = newest {
            at = at.max(Timestamp::from_millis(last));
        }
        places.push(Place {
            name,
            collection,
            first: newest.map_or(0, |(cv, _)| cv + 1),
        });
    }
    let grouped = batches
        .iter()
        .flat_map(|(_, batch)| &batch.mutations)
        .any(|mutation| mutation.group().is_some());
    if !grouped && let Ran::Through(outcomes) = run(db, &places, at, batches, &HashMap::new())? {
        return Ok(outcomes);
    }
    // Mutations before the failure may have seen a group that fails, so all is
    // taken back and goes again without it; no `cv` is skipped that way.
    let mut struck = HashMap::new();
    loop {
        db.execute_batch("SAVEPOINT groups").map_err(storage)?;
        let ran = run(db, &places, at, batches, &struck)?;
        let end = match &ran {
            Ran::Through(_) => "RELEASE groups",
            Ran::Into(..) => "ROLLBACK TO groups; RELEASE groups",
        };
        db.execute_batch(end).map_err(storage)?;
        match ran {
            Ran::Through(outcomes) => return Ok(outcomes),
            Ran::Into(group, strike) => struck.insert(group, strike),
        };
    }
}

struct Place<'a> {
    name: &'a CollectionName,
    collection: Arc<Collection>,
    first: u64,
}

/// Where a member of a group was refused, and why.
struct Strike {
    place: (usize, usize),
    why: Refusal,
}

/// How far a commit came.
enum Ran {
    Through(Vec<Vec<Outcome>>),
    /// Up to the first refusal in a group that may not have any.
    Into(u32, Strike),
}

fn run(
    db: &Connection,
    places: &[Place<'_>],
    at: Timestamp,
    batches: &[(CollectionName, Batch)],
    struck: &HashMap<u32, Strike>,
) -> Result<Ran, StoreError> {
    let mut all = Vec::with_capacity(batches.len());
    for (b, (place, (_, batch))) in places.iter().zip(batches).enumerate() {
        let mut pen = Pen::new(db, place, at)?;
        let mut outcomes = Vec::with_capacity(batch.mutations.len());
        for (m, mutation) in batch.mutations.iter().enumerate() {
            let group = mutation.group();
            if let Some(strike) = group.and_then(|group| struck.get(&group)) {
                let own = strike.place == (b, m);
                let why = if own {
                    strike.why.clone()
                } else {
                    Refusal::Group
                };
                outcomes.push(Outcome::Refused(why));
                continue;
            }
            let outcome = match mutation {
                Mutation::Append(append) => pen.append(append)?,
                Mutation::Purge(purge) => pen.purge(purge)?,
                Mutation::Prune { id, ovs } => pen.prune(id, ovs)?,
                Mutation::Relocate { cv, from, to } => pen.relocate(*cv, from, to)?,
            };
            match (outcome, group) {
                (Outcome::Refused(why), Some(group)) => {
                    let place = (b, m);
                    return Ok(Ran::Into(group, Strike { place, why }));
                }
                (outcome, _) => outcomes.push(outcome),
            }
        }
        pen.finish()?;
        all.push(outcomes);
    }
    Ok(Ran::Through(all))
}

/// Writes to one collection inside one commit.
pub(crate) struct Pen<'a> {
    db: &'a Connection,
    name: &'a CollectionName,
    collection: &'a Collection,
    cv: u64,
    at: Timestamp,
    multi: HashSet<i64>,
}

impl<'a> Pen<'a> {
    fn new(db: &'a Connection, place: &'a Place<'_>, at: Timestamp) -> Result<Self, StoreError> {
        forget_expired(db, at)?;
        Ok(Self::at(db, place.name, &place.collection, place.first, at))
    }

    pub(crate) fn at(
        db: &'a Connection,
        name: &'a CollectionName,
        collection: &'a Collection,
        cv: u64,
        at: Timestamp,
    ) -> Self {
        Self {
            db,
            name,
            collection,
            cv,
            at,
            multi: HashSet::new(),
        }
    }

    /// Notes what the indexes learnt.
    pub(crate) fn finish(self) -> Result<(), StoreError> {
        for index in &self.collection.indexes {
            if self.multi.contains(&index.number) && !index.multi {
                collection::set_multi(self.db, index.number)?;
            }
        }
        Ok(())
    }

    fn append(&mut self, append: &Append) -> Result<Outcome, StoreError> {
        if let Some(key) = &append.idempotency
            && let Some(outcome) = self.replay(key)?
        {
            return Ok(outcome);
        }
        let newest = read::head(self.db, self.collection, &append.id)?;
        let mut source = match append.source(newest.as_ref()) {
            None => None,
            Some(ov) if newest.as_ref().is_some_and(|n| n.ov == ov) => newest.clone(),
            Some(ov) => read::by_ov(self.db, self.collection, &append.id, ov)?,
        };
        if let Some(source) = &mut source {
            inline(self.db, self.collection, source)?;
        }
        let ruled = append.rule(
            newest.as_ref(),
            source.as_ref(),
            &self.collection.described,
            self.cv,
            self.at,
        );
        let new = match ruled {
            Err(refusal) => return Ok(Outcome::Refused(refusal)),
            Ok(Ruling::Add(row)) => *row,
            Ok(Ruling::Unchanged) => {
                let Some(newest) = newest else {
                    return Ok(Outcome::Refused(Refusal::NotFound));
                };
                let commit = brief(&newest, Vec::new());
                if let Some(key) = &append.idempotency {
                    self.remember(key, &commit, true)?;
                }
                return Ok(Outcome::Unchanged(commit));
            }
        };
        if new.live() {
            for key in &append.unique {
                if let Some(holder) = self.holder(&key.index, &key.key)?
                    && holder != append.id
                {
                    return Ok(Outcome::Refused(Refusal::Taken(Taken {
                        index: key.index.clone(),
                        wanted_by: append.id.clone(),
                        holder,
                    })));
                }
            }
        }
        self.add(&new)?;
        if let Some(newest) = &newest {
            self.close(newest)?;
        }
        self.move_keys(&new.id, newest.as_ref(), Some(&new), append.newest_only)?;
        self.hold_unique(&new, newest.is_some(), &append.unique)?;
        let released = match &newest {
            Some(_) if append.newest_only => self.remove_before(&new)?,
            _ => Vec::new(),
        };
        let commit = brief(&new, released);
        if let Some(key) = &append.idempotency {
            self.remember(key, &commit, false)?;
        }
        self.cv += 1;
        Ok(Outcome::Committed(commit))
    }

    /// Adds a row as it is, behind the record's previous one.
    pub(crate) fn take(
        &mut self,
        row: &VersionRow,
        previous: Option<&VersionRow>,
    ) -> Result<(), StoreError> {
        let purged = row.op == Op::Purge;
        self.add(row)?;
        if let Some(previous) = previous {
            self.close(previous)?;
        }
        self.move_keys(&row.id, previous, (!purged).then_some(row), purged)?;
        if purged {
            self.remove_before(row)?;
        }
        self.hold_unique(row, previous.is_some(), &[])
    }

    fn purge(&mut self, purge: &Purge) -> Result<Outcome, StoreError> {
        let newest = read::head(self.db, self.collection, &purge.id)?;
        let row = match purge.rule(newest.as_ref(), self.cv, self.at) {
            Ok(row) => row,
            Err(refusal) => return Ok(Outcome::Refused(refusal)),
        };
        self.add(&row)?;
        self.move_keys(&row.id, newest.as_ref(), None, true)?;
        self.hold_unique(&row, true, &[])?;
        let released = self.remove_before(&row)?;
        self.cv += 1;
        Ok(Outcome::Committed(brief(&row, released)))
    }

    /// Adds a row and its inline body.
    pub(crate) fn add(&mut self, new: &VersionRow) -> Result<(), StoreError> {
        let tables = &self.collection.tables;
        let inline = match &new.body {
            Some(body) if body.location == Location::Inline => {
                Some(body.inline.as_ref().ok_or_else(|| {
                    StoreError::Refused("an inline body came without its bytes".to_owned())
                })?)
            }
            _ => None,
        };
        let small = inline.filter(|bytes| bytes.len() <= SMALL_BODY);
        let mut statement = self
            .db
            .prepare_cached(&tables.insert_row)
            .map_err(storage)?;
        row::insert(
            &mut statement,
            new,
            small.map(|bytes| &bytes[..]),
            &self.collection.fields,
        )?;
        if let (Some(bytes), None) = (inline, small) {
            self.db
                .prepare_cached(&tables.insert_body)
                .and_then(|mut s| s.execute((int(new.cv), &bytes[..])))
                .map_err(storage)?;
        }
        Ok(())
    }

    /// Ends the validity of the record's previous row at this commit.
    fn close(&self, previous: &VersionRow) -> Result<(), StoreError> {
        self.db
            .prepare_cached(&self.collection.tables.close_row)
            .and_then(|mut s| s.execute((int(self.cv), int(previous.cv))))
            .map_err(storage)?;
        Ok(())
    }

    /// Brings the key intervals from the previous version to the new one:
    /// keys that stay go on, others end or begin here.
    pub(crate) fn move_keys(
        &mut self,
        id: &RecordId,
        previous: Option<&VersionRow>,
        new: Option<&VersionRow>,
        forget_past: bool,
    ) -> Result<(), StoreError> {
        let before = previous.map(|row| self.entries(row)).unwrap_or_default();
        let after = new.map(|row| self.entries(row)).unwrap_or_default();
        let tables = &self.collection.tables;
        if !before.is_empty() {
            let mut open = self.db.prepare_cached(&tables.key_from).map_err(storage)?;
            let mut end = self.db.prepare_cached(&tables.close_key).map_err(storage)?;
            let mut past = self.db.prepare_cached(&tables.past_key).map_err(storage)?;
            for (field, key) in before.difference(&after) {
                let from: Option<i64> = open
                    .query_row((field, key, ItemRef(id)), |row| row.get(0))
                    .optional()
                    .map_err(storage)?;
                let Some(from) = from else { continue };
                end.execute((field, key, ItemRef(id), from))
                    .map_err(storage)?;
                if !forget_past {
                    past.execute((field, key, ItemRef(id), from, int(self.cv)))
                        .map_err(storage)?;
                }
            }
        }
        let mut begin = self.db.prepare_cached(&tables.open_key).map_err(storage)?;
        for (field, key) in after.difference(&before) {
            begin
                .execute((field, key, ItemRef(id), int(self.cv)))
                .map_err(storage)?;
        }
        Ok(())
    }

    /// The keys of a row by the numbers of their fields, in order.
    fn entries(&mut self, row: &VersionRow) -> std::collections::BTreeSet<(i64, String)> {
        let (entries, multi) = entries(self.collection, row);
        self.multi.extend(multi);
        entries
    }

    fn holder(&self, index: &str, key: &str) -> Result<Option<RecordId>, StoreError> {
        let number = self.unique_number(index)?;
        let holder: Option<Item> = self
            .db
            .prepare_cached(&self.collection.tables.unique_holder)
            .and_then(|mut s| s.query_row((number, key), |row| row.get(0)).optional())
            .map_err(storage)?;
        Ok(holder.map(|Item(id)| id))
    }

    fn unique_number(&self, index: &str) -> Result<i64, StoreError> {
        self.collection.unique_number(index).ok_or_else(|| {
            StoreError::Refused(format!("{} has no unique index `{index}`", self.name))
        })
    }

    /// Lets the record hold these unique keys and no others; none if it is
    /// not live.
    pub(crate) fn hold_unique(
        &self,
        row: &VersionRow,
        had_rows: bool,
        keys: &[xronox_model::UniqueKey],
    ) -> Result<(), StoreError> {
        if !self.collection.has_unique() {
            return Ok(());
        }
        let tables = &self.collection.tables;
        if had_rows {
            self.db
                .prepare_cached(&tables.unique_free)
                .and_then(|mut s| s.execute([ItemRef(&row.id)]))
                .map_err(storage)?;
        }
        if !row.live() {
            return Ok(());
        }
        let mut take = self
            .db
            .prepare_cached(&tables.unique_take)
            .map_err(storage)?;
        for key in keys {
            take.execute((self.unique_number(&key.index)?, &key.key, ItemRef(&row.id)))
                .map_err(storage)?;
        }
        Ok(())
    }

    /// Removes every row of the record before this one, with its body and
    /// keys; gives the objects that no row names any more.
    fn remove_before(&mut self, kept: &VersionRow) -> Result<Vec<Location>, StoreError> {
        // A PURGE row stays for ever.
        let mut rows = read::rows_before(self.db, self.collection, &kept.id, kept.cv)?;
        rows.retain(|row| row.op != Op::Purge);
        let p = &self.collection.tables.prefix;
        let keep: std::collections::BTreeSet<_> = self.entries(kept);
        let mut keys = self
            .db
            .prepare_cached(&format!(
                "DELETE FROM \"{p}_key\" WHERE field = ? AND past = 1 AND key = ? AND item = ?"
            ))
            .map_err(storage)?;
        let mut open = self
            .db
            .prepare_cached(&format!(
                "UPDATE \"{p}_key\" SET from_cv = ? WHERE field = ? AND past = 0 AND key = ? AND item = ?"
            ))
            .map_err(storage)?;
        let mut version = self
            .db
            .prepare_cached(&format!("DELETE FROM \"{p}_ver\" WHERE cv = ?"))
            .map_err(storage)?;
        let mut body = self
            .db
            .prepare_cached(&format!("DELETE FROM \"{p}_body\" WHERE cv = ?"))
            .map_err(storage)?;
        for row in &rows {
            for (field, key) in entries(self.collection, row).0 {
                keys.execute((field, &key, ItemRef(&row.id)))
                    .map_err(storage)?;
            }
            version.execute([int(row.cv)]).map_err(storage)?;
            body.execute([int(row.cv)]).map_err(storage)?;
        }
        for (field, key) in &keep {
            open.execute((int(kept.cv), field, key, ItemRef(&kept.id)))
                .map_err(storage)?;
        }
        Ok(released(&rows, [kept]))
    }

    fn prune(&mut self, id: &RecordId, ovs: &[u64]) -> Result<Outcome, StoreError> {
        let Some(newest) = read::head(self.db, self.collection, id)? else {
            return Ok(Outcome::Done {
                released: Vec::new(),
            });
        };
        if ovs.contains(&newest.ov) {
            return Ok(Outcome::Refused(Refusal::Newest));
        }
        let mut gone = Vec::new();
        let mut ovs = ovs.to_vec();
        ovs.sort_unstable();
        for ov in ovs {
            let Some(row) = read::by_ov(self.db, self.collection, id, ov)? else {
                continue;
            };
            if row.pruned.is_some() || row.op == Op::Purge {
                continue;
            }
            self.trim_keys(&row)?;
            let p = &self.collection.tables.prefix;
            for statement in [
                format!("DELETE FROM \"{p}_ver\" WHERE cv = ?"),
                format!("DELETE FROM \"{p}_body\" WHERE cv = ?"),
            ] {
                self.db
                    .prepare_cached(&statement)
                    .and_then(|mut s| s.execute([int(row.cv)]))
                    .map_err(storage)?;
            }
            gone.push(row.clone());
            self.add(&row.into_stub())?;
        }
        let mut released = released(&gone, []);
        let mut kept = Vec::new();
        for location in released.drain(..) {
            if !read::record_names(self.db, self.collection, id, &location)? {
                kept.push(location);
            }
        }
        Ok(Outcome::Done { released: kept })
    }

    /// Takes the validity of a row that is going out of its key intervals,
    /// where it stands at their beginning; inside them the stub itself keeps
    /// readers away.
    fn trim_keys(&self, row: &VersionRow) -> Result<(), StoreError> {
        let p = &self.collection.tables.prefix;
        let Some(end) = row.to_cv else { return Ok(()) };
        for (field, key) in entries(self.collection, row).0 {
            let whole = self
                .db
                .prepare_cached(&format!(
                    "DELETE FROM \"{p}_key\" WHERE field = ? AND past = 1 AND key = ? AND item = ? \
                     AND from_cv = ? AND to_cv <= ?"
                ))
                .and_then(|mut s| s.execute((field, &key, ItemRef(&row.id), int(row.cv), int(end))))
                .map_err(storage)?;
            if whole == 0 {
                self.db
                    .prepare_cached(&format!(
                        "UPDATE \"{p}_key\" SET from_cv = ? WHERE field = ? AND past IN (0, 1) \
                         AND key = ? AND item = ? AND from_cv = ?"
                    ))
                    .and_then(|mut s| {
                        s.execute((int(end), field, &key, ItemRef(&row.id), int(row.cv)))
                    })
                    .map_err(storage)?;
            }
        }
        Ok(())
    }

    fn relocate(&self, cv: u64, from: &Location, to: &Location) -> Result<Outcome, StoreError> {
        let nothing = Outcome::Done {
            released: Vec::new(),
        };
        let p = &self.collection.tables.prefix;
        let (space, role, object) = place(from);
        let (new_space, new_role, new_object) = place(to);
        let item: Option<Item> = self
            .db
            .prepare_cached(&format!(
                "UPDATE \"{p}_ver\" SET space = ?, role = ?, object = ?, body = NULL WHERE cv = ? \
                 AND space IS ? AND role IS ? AND object IS ? AND sha256 IS NOT NULL RETURNING item"
            ))
            .and_then(|mut s| {
                let values = (
                    new_space,
                    new_role,
                    new_object,
                    int(cv),
                    space,
                    role,
                    object,
                );
                s.query_row(values, |row| row.get(0)).optional()
            })
            .map_err(storage)?;
        let Some(Item(id)) = item else {
            return Ok(nothing);
        };
        if *from == Location::Inline {
            self.db
                .prepare_cached(&format!("DELETE FROM \"{p}_body\" WHERE cv = ?"))
                .and_then(|mut s| s.execute([int(cv)]))
                .map_err(storage)?;
            return Ok(nothing);
        }
        let named = from == to || read::record_names(self.db, self.collection, &id, from)?;
        Ok(Outcome::Done {
            released: if named {
                Vec::new()
            } else {
                vec![from.clone()]
            },
        })
    }

    fn replay(&self, key: &IdempotencyKey) -> Result<Option<Outcome>, StoreError> {
        type Stored = (Vec<u8>, Item, i64, i64, i64, i64, bool);
        let stored: Option<Stored> = self
            .db
            .prepare_cached(
                "SELECT fingerprint, item, ov, cv, at, op, unchanged FROM xronox_idempotency \
                 WHERE collection = ? AND key = ? AND expires > ?",
            )
            .and_then(|mut s| {
                s.query_row((self.name.as_str(), &key.key, self.at.as_millis()), |row| {
                    Ok((
                        row.get(0)?,
                        row.get(1)?,
                        row.get(2)?,
                        row.get(3)?,
                        row.get(4)?,
                        row.get(5)?,
                        row.get(6)?,
                    ))
                })
                .optional()
            })
            .map_err(storage)?;
        let Some((fingerprint, Item(id), ov, cv, at, op, unchanged)) = stored else {
            return Ok(None);
        };
        if fingerprint != Sha256::as_bytes(&key.fingerprint) {
            return Ok(Some(Outcome::Refused(Refusal::KeyReused)));
        }
        let commit = Commit {
            id,
            ov: uint(ov, "ov")?,
            cv: uint(cv, "cv")?,
            at: Timestamp::from_millis(at),
            op: op_of(op)?,
            released: Vec::new(),
        };
        Ok(Some(if unchanged {
            Outcome::Unchanged(commit)
        } else {
            Outcome::Committed(commit)
        }))
    }

    fn remember(
        &self,
        key: &IdempotencyKey,
        commit: &Commit,
        unchanged: bool,
    ) -> Result<(), StoreError> {
        self.db
            .prepare_cached(
                "INSERT OR REPLACE INTO xronox_idempotency \
                 (collection, key, fingerprint, item, ov, cv, at, op, unchanged, expires) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )
            .and_then(|mut s| {
                s.execute((
                    self.name.as_str(),
                    &key.key,
                    key.fingerprint.as_bytes(),
                    ItemRef(&commit.id),
                    int(commit.ov),
                    int(commit.cv),
                    commit.at.as_millis(),
                    op_code(commit.op),
                    unchanged,
                    self.at.plus_millis(key.keep_millis).as_millis(),
                ))
            })
            .map_err(storage)?;
        Ok(())
    }
}

/// A bounded sweep of idempotency keys whose time is over.
fn forget_expired(db: &Connection, at: Timestamp) -> Result<(), StoreError> {
    // Asked first: the sweep itself sets up a table of its own, which costs as
    // much as a small commit.
    let any = "SELECT EXISTS (SELECT 1 FROM xronox_idempotency WHERE expires <= ?)";
    let any: bool = db
        .prepare_cached(any)
        .and_then(|mut s| s.query_row([at.as_millis()], |row| row.get(0)))
        .map_err(storage)?;
    if any {
        db.prepare_cached(
            "DELETE FROM xronox_idempotency WHERE (collection, key) IN \
             (SELECT collection, key FROM xronox_idempotency WHERE expires <= ? LIMIT 100)",
        )
        .and_then(|mut s| s.execute([at.as_millis()]))
        .map_err(storage)?;
    }
    Ok(())
}

/// The key entries of a row, with the numbers of their fields, and the fields
/// that have several. Stubs and PURGE rows have none.
pub(crate) fn entries(
    collection: &Collection,
    row: &VersionRow,
) -> (std::collections::BTreeSet<(i64, String)>, Vec<i64>) {
    let mut out = std::collections::BTreeSet::new();
    let mut multi = Vec::new();
    if row.pruned.is_some() || row.op == Op::Purge {
        return (out, multi);
    }
    for (number, field) in [
        (keys::DELETED, "_system.deleted"),
        (keys::INSERTED_AT, "_system.insertedAt"),
        (keys::UPDATED_AT, "_system.updatedAt"),
    ] {
        // That a record is not deleted goes without saying.
        if number == keys::DELETED && !row.system.deleted() {
            continue;
        }
        if let Some(key) = row.always_key(field) {
            out.insert((number, key.into_string()));
        }
    }
    for index in collection.indexes.iter().filter(|index| !index.spec.unique) {
        let Some(found) = index
            .spec
            .fields
            .first()
            .and_then(|field| row.keys.get(field))
        else {
            continue;
        };
        if found.is_multi() {
            multi.push(index.number);
        }
        for key in found.keys() {
            out.insert((index.number, key.as_str().to_owned()));
        }
    }
    (out, multi)
}

pub(crate) fn brief(row: &VersionRow, released: Vec<Location>) -> Commit {
    Commit {
        id: row.id.clone(),
        ov: row.ov,
        cv: row.cv,
        at: row.at,
        op: row.op,
        released,
    }
}

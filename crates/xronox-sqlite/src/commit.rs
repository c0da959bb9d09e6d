//! The write path: one batch of mutations inside the writer's transaction.

mod removal;
mod requests;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use rusqlite::{Connection, OptionalExtension};
use xronox_model::{CollectionName, File, Location, Op, RecordId, Timestamp, VersionRow};
use xronox_store::{
    Append, Batch, Clock, Commit, Mutation, Outcome, Purge, Refusal, Ruling, StoreError, Taken,
    ruling::{Succession, released},
};

use crate::{
    collection::{self, Collection},
    error::storage,
    keys,
    read::{self, inline},
    row::{self, Item, ItemRef, int},
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
        requests::forget_expired(db, at)?;
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
        let released = self.follow(newest.as_ref(), &new)?;
        self.hold_unique(&new, newest.is_some(), &append.unique)?;
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
        self.add(row)?;
        if row.op == Op::Purge {
            self.move_keys(&row.id, previous, None, 0)?;
            self.remove_before(row)?;
        } else {
            self.follow(previous, row)?;
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
        self.move_keys(&row.id, newest.as_ref(), None, 0)?;
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
        let files = new.body.iter().flat_map(|body| &body.files);
        for location in files.flat_map(File::locations) {
            let (space, role, object) = row::place(location);
            // One file may stand at several places.
            self.db
                .prepare_cached(&format!(
                    "INSERT OR IGNORE INTO \"{}_file\" (cv, space, role, object) \
                     VALUES (?, ?, ?, ?)",
                    tables.prefix
                ))
                .and_then(|mut s| s.execute((int(new.cv), space, role, object)))
                .map_err(storage)?;
        }
        Ok(())
    }

    /// Does to the record's previous row what its new one does to it; gives the
    /// objects that no row names any more.
    fn follow(
        &mut self,
        previous: Option<&VersionRow>,
        new: &VersionRow,
    ) -> Result<Vec<Location>, StoreError> {
        let Some(previous) = previous else {
            self.move_keys(&new.id, None, Some(new), self.cv)?;
            return Ok(Vec::new());
        };
        let succession = Succession::of(previous, new);
        // Behind a stub there is nothing to find.
        let past_until = match succession {
            Succession::Kept => self.cv,
            Succession::Stub => previous.cv,
            Succession::Gone { stub } => stub,
        };
        self.move_keys(&new.id, Some(previous), Some(new), past_until)?;
        match succession {
            Succession::Kept => {
                self.close(previous.cv)?;
                return Ok(Vec::new());
            }
            Succession::Stub => {
                self.remove(previous.cv)?;
                self.add(&VersionRow {
                    to_cv: Some(self.cv),
                    ..previous.clone().into_stub()
                })?;
            }
            Succession::Gone { stub } => {
                self.remove(previous.cv)?;
                self.close(stub)?;
            }
        }
        self.unnamed(&new.id, released([previous], []))
    }

    /// Ends the validity of a row at this commit.
    fn close(&self, cv: u64) -> Result<(), StoreError> {
        self.db
            .prepare_cached(&self.collection.tables.close_row)
            .and_then(|mut s| s.execute((int(self.cv), int(cv))))
            .map_err(storage)?;
        Ok(())
    }

    /// Brings the key intervals from the previous version to the new one:
    /// keys that stay go on, others end or begin here. Those that end are kept
    /// as far as they reach before `past_until`.
    pub(crate) fn move_keys(
        &mut self,
        id: &RecordId,
        previous: Option<&VersionRow>,
        new: Option<&VersionRow>,
        past_until: u64,
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
                if from < int(past_until) {
                    past.execute((field, key, ItemRef(id), from, int(past_until)))
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

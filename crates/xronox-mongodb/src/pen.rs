//! Reading what a batch has to know of a collection, and writing what it does
//! to it.

use std::collections::BTreeSet;

use mongodb::{
    ClientSession,
    bson::{Bson, Document, RawArrayBuf, RawDocument, RawDocumentBuf, doc, raw::cstr},
};
use xronox_model::{Body, CollectionName, Location, RecordId, Sha256, Timestamp, VersionRow};
use xronox_store::StoreError;

use crate::{
    command::{self, raw},
    commit::Setback,
    core::{Core, REQUESTS},
    counter,
    fence::Fenced,
    ledger::{Change, Changes, Facts, Needs},
    names::Names,
    read::{Query, batch_of, decode_all, rows_at},
    requests,
    row::{self, FENCED, PURGE, Stored, id_of, item, places},
    shape::{COUNTER, Counter, Shape, int, time},
};

/// One collection in a commit.
pub(crate) struct Place {
    pub(crate) name: CollectionName,
    pub(crate) names: Names,
    pub(crate) counter: Counter,
    /// Its first version.
    pub(crate) first: u64,
    pub(crate) facts: Facts,
    /// The records of which the facts are what this process wrote last, and
    /// maybe no more true.
    pub(crate) recalled: BTreeSet<RecordId>,
}

/// Reads and writes of one commit.
pub(crate) struct Pen<'a> {
    pub(crate) core: &'a Core,
    pub(crate) session: &'a mut ClientSession,
}

impl Pen<'_> {
    pub(crate) async fn run(&mut self, command: Document) -> Result<Document, Setback> {
        let db = self.core.db.db();
        Ok(db.run_command(command).session(&mut *self.session).await?)
    }

    /// Sends write commands; gives how many documents they met.
    pub(crate) async fn send(&mut self, commands: Vec<RawDocumentBuf>) -> Result<usize, Setback> {
        let mut met = 0;
        for command in commands {
            let db = self.core.db.db();
            let reply = db.run_raw_command(command).session(&mut *self.session);
            let reply = reply.await?;
            command::check(&reply)?;
            met += usize::try_from(reply.get_i32("n").unwrap_or_default()).unwrap_or_default();
        }
        Ok(met)
    }

    /// The newest commit.
    pub(crate) async fn newest(
        &mut self,
        place: &Place,
    ) -> Result<Option<(u64, Timestamp)>, Setback> {
        let Some(cv) = place.counter.newest() else {
            return Ok(None);
        };
        let found = self.read(place, &Query::at(int(cv))).await?;
        Ok(found.first().map(|stored| (stored.row.cv, stored.row.at)))
    }

    /// What a batch has to know, as far as this process remembers it; the rest
    /// is read.
    pub(crate) async fn recall(
        &mut self,
        place: &mut Place,
        mut needs: Needs,
    ) -> Result<(), Setback> {
        let shape = &place.counter.shape;
        let mut recalled = Vec::new();
        if let Some(born) = shape.born
            && needs.only_newest()
            && !shape.has_unique()
        {
            recalled = self.core.recent.recall(born, &needs.newest);
            // What the counter does not tell of is gone, with a server that was
            // brought back to an earlier state; its place is to be taken anew.
            recalled.retain(|stored| stored.row.cv < place.first);
        }
        for stored in &recalled {
            needs.newest.remove(&stored.row.id);
            place.recalled.insert(stored.row.id.clone());
        }
        place.facts = self.facts(place, &needs).await?;
        place.facts.rows.extend(recalled);
        Ok(())
    }

    /// Reads what a batch has to know.
    pub(crate) async fn facts(&mut self, place: &Place, needs: &Needs) -> Result<Facts, Setback> {
        let mut facts = Facts::default();
        let mut seen = BTreeSet::new();
        let mut queries = Vec::new();
        let items = |ids: &BTreeSet<_>| -> Vec<Bson> { ids.iter().map(item).collect() };
        if !needs.newest.is_empty() {
            queries.push(Query {
                bodies: needs.bodies,
                ..Query::of(doc! { "i": { "$in": items(&needs.newest) }, "o": true })
            });
        }
        for (versions, bodies) in [(&needs.sources, true), (&needs.pruned, false)] {
            if versions.is_empty() {
                continue;
            }
            let each = versions
                .iter()
                .map(|(id, ov)| doc! { "i": item(id), "n": int(*ov) });
            queries.push(Query {
                bodies,
                ..Query::of(doc! { "$or": each.collect::<Vec<_>>() })
            });
        }
        if !needs.older.is_empty() {
            queries.push(Query::of(doc! {
                "i": { "$in": items(&needs.older) },
                "to": { "$exists": true },
                "l": { "$exists": true },
            }));
        }
        for cv in &needs.moved {
            queries.push(Query::at(int(*cv)));
        }
        let mut objects = needs.objects.clone();
        for query in &queries {
            for stored in self.read(place, query).await? {
                let pruned = (stored.row.id.clone(), stored.row.ov);
                let replaced = needs.replaced.contains(&stored.row.id)
                    && stored.row.to_cv.is_none()
                    && stored.row.newest_only_since.is_some();
                if replaced || needs.pruned.contains(&pruned) {
                    let locations = stored.row.body.iter().flat_map(Body::locations);
                    objects.extend(locations.filter_map(|location| match location {
                        Location::Object { key, .. } => Some(key.clone()),
                        Location::Inline => None,
                    }));
                }
                // A row with its body comes before the same one without.
                if seen.insert(stored.row.cv) {
                    facts.rows.push(stored);
                } else if let Some(kept) = facts
                    .rows
                    .iter_mut()
                    .find(|kept| kept.row.cv == stored.row.cv)
                    && stored
                        .row
                        .body
                        .as_ref()
                        .is_some_and(|body| body.inline.is_some())
                {
                    *kept = stored;
                }
            }
        }
        if !objects.is_empty() {
            let keys: Vec<&str> = objects.iter().map(String::as_str).collect();
            let query = Query::of(doc! { "l.k": { "$in": keys } });
            for stored in self.read(place, &query).await? {
                if seen.insert(stored.row.cv) {
                    facts.rows.push(stored);
                }
            }
        }
        if place.counter.shape.has_unique() && !needs.newest.is_empty() {
            facts.holders = self.holders(place, needs).await?;
        }
        if !needs.requests.is_empty() {
            facts.remembered =
                requests::read(self.core, self.session, &place.name, &needs.requests).await?;
        }
        Ok(facts)
    }

    async fn read(&mut self, place: &Place, query: &Query) -> Result<Vec<Stored>, Setback> {
        let documents = self
            .core
            .documents(self.session, &place.names, query)
            .await?;
        let shape = &place.counter.shape;
        Ok(decode_all(&documents, shape)?)
    }

    async fn holders(
        &mut self,
        place: &Place,
        needs: &Needs,
    ) -> Result<Vec<(String, RecordId)>, Setback> {
        let wanted: Vec<&str> = needs.unique.iter().map(String::as_str).collect();
        let ids: Vec<Bson> = needs.newest.iter().map(item).collect();
        let keys = self
            .core
            .db
            .db()
            .collection::<RawDocumentBuf>(&place.names.keys);
        let mut cursor = keys
            .find(doc! { "$or": [{ "_id": { "$in": wanted } }, { "i": { "$in": ids } }] })
            .batch_size(batch_of(None))
            .session(&mut *self.session)
            .await?;
        let (mut out, mut late) = (Vec::new(), BTreeSet::new());
        while cursor.advance(&mut *self.session).await? {
            let document = cursor.current();
            let (key, holder) = key_of(document)?;
            if let Ok(until) = document.get_datetime("until") {
                // Reserved for a row that is not there, by a commit without
                // transactions: for a while it may still come.
                if time(until) < place.counter.clock {
                    late.extend(row::attempt_of(document)?);
                    continue;
                }
                if !needs.newest.contains(&holder) {
                    return Err(Setback::NotOurTurn);
                }
            }
            out.push((key, holder));
        }
        for attempt in late.difference(&needs.attempts) {
            // Its row must not come late, when the keys are another's. Not in
            // our session: a transaction would say so only when it commits.
            let mut session = self.core.db.session().await?;
            let attempt = *attempt;
            let fenced = Fenced::Attempt(attempt);
            let shape = &place.counter.shape;
            let fence = self.core.fence(&mut session, &place.names, shape, fenced);
            if !fence.await? {
                return Err(Setback::Duplicate);
            }
        }
        Ok(out)
    }

    pub(crate) async fn write(
        &mut self,
        place: &Place,
        changes: &Changes,
        births: bool,
    ) -> Result<(), Setback> {
        let shape = &place.counter.shape;
        let ver = &place.names.ver;
        // What ends goes first: a record has one open row.
        let mut updates = changes
            .changed
            .iter()
            .map(|(row, change)| update_of(row, *change, shape))
            .collect::<Result<Vec<_>, _>>()?;
        for (stub, to) in &changes.extended {
            updates.push(raw(&doc! {
                "q": rows_at(int(*stub)), "u": { "$set": { "to": int(*to) } },
            })?);
        }
        let met = self.send(command::update(ver, &updates)).await?;
        if !place.recalled.is_empty() && met < updates.len() {
            return Err(Setback::Outdated);
        }
        let older = changes.older.iter();
        let older = older.map(|(id, ov)| raw(&doc! { "q": older_than(id, *ov), "limit": 0 }));
        let gone = changes.gone.iter();
        let gone = gone.map(|cv| raw(&doc! { "q": { "_id": int(*cv) }, "limit": 1 }));
        let gone = older.chain(gone).collect::<Result<Vec<_>, _>>()?;
        self.send(command::delete(ver, &gone)).await?;
        let rows = changes
            .added
            .iter()
            .map(|(row, unique)| row::encode(row, unique, true, shape))
            .collect::<Result<Vec<_>, _>>()?;
        self.send(command::insert(ver, &rows)).await?;
        self.write_keys(place, changes, births).await?;
        let answered = requests::updates(&place.name, &changes.remembered)?;
        self.send(command::update(REQUESTS, &answered)).await?;
        Ok(())
    }

    pub(crate) async fn write_keys(
        &mut self,
        place: &Place,
        changes: &Changes,
        births: bool,
    ) -> Result<(), Setback> {
        let (mut taken, mut freed) = (Vec::new(), Vec::new());
        for (key, holder) in &changes.keys {
            match holder {
                None => freed.push(raw(&doc! { "q": { "_id": key }, "limit": 1 })?),
                Some(id) if births => taken.push(raw(&doc! { "_id": key, "i": item(id) })?),
                Some(id) => taken.push(raw(
                    &doc! { "q": { "_id": key }, "u": { "_id": key, "i": item(id) }, "upsert": true },
                )?),
            }
        }
        let keys = &place.names.keys;
        self.send(command::delete(keys, &freed)).await?;
        let taken = if births {
            command::insert(keys, &taken)
        } else {
            command::update(keys, &taken)
        };
        self.send(taken).await?;
        Ok(())
    }

    /// Corrects the counter where it was not right from the beginning.
    pub(crate) async fn settle(
        &mut self,
        place: &Place,
        next: u64,
        at: Timestamp,
        changes: &Changes,
    ) -> Result<(), Setback> {
        let (update, filters) = counter::settle(next, at, &changes.news);
        let mut statement = doc! { "q": { "_id": COUNTER }, "u": update };
        if !filters.is_empty() {
            statement.insert("arrayFilters", filters);
        }
        let statement = raw(&statement)?;
        self.send(command::update(&place.names.counter, &[statement]))
            .await?;
        Ok(())
    }
}

/// A unique key and who holds it, as stored.
pub(crate) fn key_of(document: &RawDocument) -> Result<(String, RecordId), StoreError> {
    let bad = || StoreError::Corrupt("a unique key is damaged".to_owned());
    let key = document.get_str("_id").map_err(|_| bad())?.to_owned();
    let holder = document.get("i").map_err(|_| bad())?.ok_or_else(bad)?;
    Ok((key, id_of(holder)?))
}

/// What filters the rows of a record before a version, to remove them. What was
/// purged stays told.
pub(crate) fn older_than(id: &RecordId, ov: u64) -> Document {
    doc! { "i": item(id), "n": { "$lt": int(ov) }, "op": { "$ne": PURGE } }
}

/// The statements that make a stub of the row at `since`, whose hash this is
/// unless it is one, and let that stub be valid until `row`: see
/// [`Append::newest_only`](xronox_store::Append::newest_only).
pub(crate) fn stub_until(
    row: &VersionRow,
    since: u64,
    whole: Option<&Sha256>,
) -> Result<Vec<RawDocumentBuf>, StoreError> {
    let (id, since, to) = (item(&row.id), int(since), int(row.cv));
    let mut out = Vec::new();
    if let Some(hash) = whole {
        // All that a stub has not.
        let mut unset = Document::new();
        for field in [
            "o", "who", "for", "cre", "upd", "why", "sys", "h", "s", "z", "b", "l", "rf", "p", "k",
            "m", "u", "q",
        ] {
            unset.insert(field, "");
        }
        out.push(raw(&doc! {
            "q": { "_id": since, "i": &id, "n": { "$lt": int(row.ov) }, "st": { "$exists": false } },
            "u": { "$set": { "st": row::binary(hash.as_bytes()), "to": to }, "$unset": unset },
        })?);
    }
    out.push(raw(&doc! {
        "q": { "_id": since, "i": &id, "st": { "$exists": true }, "to": { "$lt": to } },
        "u": { "$set": { "to": to } },
    })?);
    Ok(out)
}

/// The statement that changes a row as told.
pub(crate) fn update_of(
    row: &VersionRow,
    change: Change,
    shape: &Shape,
) -> Result<RawDocumentBuf, StoreError> {
    // A trace of it stays as it is.
    let mut filter = rows_at(int(row.cv));
    if change.ended {
        // Nobody else can have ended it, unless it was only remembered. (The
        // record in the filter would have the server weigh its indexes for
        // each row.)
        filter.insert("o", true);
        filter.insert("a", row::binary(row.attempt.as_bytes()));
    }
    if change.stub {
        // What it fences off stays so.
        let mut all = RawArrayBuf::new();
        let mut stub = RawDocumentBuf::new();
        stub.append(cstr!("$literal"), row::encode(row, &[], false, shape)?);
        all.push(stub);
        all.push(raw(&doc! { FENCED: format!("${FENCED}") })?);
        let mut merged = RawDocumentBuf::new();
        merged.append(cstr!("$mergeObjects"), all);
        let mut replaced = RawDocumentBuf::new();
        replaced.append(cstr!("$replaceWith"), merged);
        let mut steps = RawArrayBuf::new();
        steps.push(replaced);
        let mut statement = raw(&doc! { "q": filter })?;
        statement.append(cstr!("u"), steps);
        return Ok(statement);
    }
    let (mut set, mut unset) = (Document::new(), Document::new());
    if change.closed
        && let Some(to) = row.to_cv
    {
        set.insert("to", int(to));
        unset.insert("o", "");
    }
    if change.moved
        && let Some(places) = row.body.as_ref().and_then(places)
    {
        let places = Bson::try_from(places);
        set.insert("l", places.map_err(|_| row::damaged("l"))?);
        unset.insert("b", "");
    }
    raw(&doc! { "q": filter, "u": { "$set": set, "$unset": unset } })
}

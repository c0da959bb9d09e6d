//! What follows from rows that are there, where there are no transactions.

use std::collections::{BTreeMap, BTreeSet};

use mongodb::{
    ClientSession,
    bson::{Document, RawDocumentBuf, doc},
};
use xronox_model::{CollectionName, Op, Sha256};
use xronox_store::{Bodies, StoreError};

use crate::{
    command::{self, Trouble, raw},
    core::{Core, REQUESTS},
    counter,
    error::Failure,
    fence::to_traces,
    ledger::{Facts, News},
    names::Names,
    pen::{Place, older_than, stub_until},
    read::Query,
    requests,
    row::{decode, item},
    shape::{COUNTER, Counter, int},
};

/// Rows applied at once.
const STRETCH: usize = 1000;

impl Core {
    /// The counter document with the server's clock, and the newest row's
    /// `cv`, in this order.
    pub(crate) async fn look(
        &self,
        session: &mut ClientSession,
        name: &CollectionName,
    ) -> Result<Option<(Counter, Option<u64>)>, Failure> {
        let names = Names::of(name);
        let mut cursor = self
            .db
            .db()
            .collection::<Document>(&names.counter)
            .aggregate(vec![
                doc! { "$match": { "_id": COUNTER } },
                doc! { "$set": { "clock": "$$NOW" } },
                doc! { "$unionWith": { "coll": &names.ver, "pipeline": [
                    { "$match": { "_id": { "$gte": 0_i64 } } },
                    { "$sort": { "_id": -1 } },
                    { "$limit": 1 },
                    { "$project": { "_id": 1 } },
                ] } },
            ])
            .max_time(self.db.max_time())
            .session(&mut *session)
            .await?;
        let (mut counter, mut newest) = (None, None);
        while let Some(found) = cursor.next(&mut *session).await {
            let found = found?;
            match found.get_i64("_id") {
                Ok(cv) => newest = u64::try_from(cv).ok(),
                Err(_) => counter = Some(Counter::read(&found)?),
            }
        }
        let counter = counter.filter(Counter::is_there);
        Ok(counter.map(|counter| (counter, newest)))
    }

    /// Applies whatever rows are not applied yet; gives the counter after it.
    pub(crate) async fn roll_forward(
        &self,
        session: &mut ClientSession,
        name: &CollectionName,
    ) -> Result<Option<Counter>, Failure> {
        loop {
            let Some((counter, newest)) = self.look(session, name).await? else {
                return Ok(None);
            };
            self.learn(name, &counter.shape);
            if newest.is_none_or(|newest| newest < counter.next) {
                return Ok(Some(counter));
            }
            let place = Place {
                name: name.clone(),
                names: Names::of(name),
                first: counter.next,
                counter,
                facts: Facts::default(),
                recalled: BTreeSet::new(),
            };
            let query = Query::at(doc! { "$gte": int(place.first) })
                .sorted(doc! { "_id": 1 })
                .at_most(STRETCH);
            let rows = self.documents(session, &place.names, &query).await?;
            self.apply(session, &place, &rows).await?;
        }
    }

    /// The hashes of the rows at these `cv` that are not stubs.
    async fn hashes(
        &self,
        session: &mut ClientSession,
        place: &Place,
        cvs: BTreeSet<u64>,
    ) -> Result<BTreeMap<u64, Sha256>, Failure> {
        if cvs.is_empty() {
            return Ok(BTreeMap::new());
        }
        let cvs: Vec<i64> = cvs.into_iter().map(int).collect();
        let query = Query::at(doc! { "$in": cvs }).with(Bodies::Omit);
        let rows = self.documents(session, &place.names, &query).await?;
        let mut hashes = BTreeMap::new();
        for document in rows {
            let row = decode(&document, &place.counter.shape)?.row;
            if row.pruned.is_none() {
                hashes.insert(row.cv, row.hash());
            }
        }
        Ok(hashes)
    }

    /// Applies rows in the order of `cv`, and moves the counter over them
    /// unless somebody else did.
    ///
    /// Each statement may come twice or late: it looks for what it is about as
    /// it was before any later version.
    pub(crate) async fn apply(
        &self,
        session: &mut ClientSession,
        place: &Place,
        documents: &[RawDocumentBuf],
    ) -> Result<bool, Failure> {
        let (shape, names) = (&place.counter.shape, &place.names);
        let (mut rows, mut gone, mut confirmed, mut freed, mut answered) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut news = News::default();
        let mut last = None;
        let documents = documents
            .iter()
            .map(|document| Ok((document, decode(document, shape)?)))
            .collect::<Result<Vec<_>, StoreError>>()?;
        let replacing = documents.iter().filter_map(|(_, stored)| {
            let since = stored.row.newest_only_since?;
            (since < stored.row.cv).then_some(since)
        });
        let firsts = self.hashes(session, place, replacing.collect()).await?;
        for (document, stored) in &documents {
            let row = &stored.row;
            let (id, ov, cv) = (item(&row.id), int(row.ov), int(row.cv));
            last = Some((row.cv, row.at));
            if row.ov > 0 {
                rows.push(raw(&doc! {
                    "q": { "i": &id, "o": true, "n": { "$lt": ov } },
                    "u": { "$set": { "to": cv }, "$unset": { "o": "" } },
                })?);
            }
            if matches!(document.get("o"), Ok(None)) && row.to_cv.is_none() {
                rows.push(raw(&doc! {
                    "q": { "_id": cv, "i": &id, "to": { "$exists": false } },
                    "u": { "$set": { "o": true } },
                })?);
            }
            if row.op == Op::Purge {
                gone.push(to_traces(older_than(&row.id, row.ov))?);
            }
            if let Some(since) = row.newest_only_since.filter(|since| *since < row.cv) {
                gone.extend(stub_until(row, since, firsts.get(&since))?);
                let replaced = doc! { "i": &id, "n": { "$lt": ov }, "_id": { "$gt": int(since) } };
                gone.push(to_traces(replaced)?);
            }
            if shape.has_unique() {
                for key in &stored.unique {
                    confirmed.push(raw(&doc! {
                        "q": { "_id": key, "i": &id, "n": { "$not": { "$gt": ov } } },
                        "u": { "$set": { "n": ov }, "$unset": { "a": "", "until": "" } },
                    })?);
                }
                if row.ov > 0 {
                    freed.push(raw(&doc! {
                        "q": { "i": &id, "n": { "$not": { "$gte": ov } }, "_id": { "$nin": &stored.unique } },
                        "limit": 0,
                    })?);
                }
            }
            if let Ok(request) = document.get_document("q") {
                answered.push(requests::of_row(&place.name, row, request)?);
            }
            for (field, keys) in row.keys.iter() {
                if keys.is_multi()
                    && let Some(index) = shape.of_field(field).filter(|index| !index.multi)
                {
                    news.multi.insert(index.tag.clone());
                }
            }
        }
        let Some((newest, at)) = last else {
            return Ok(true);
        };
        let mut commands = command::there(command::update(&names.ver, &rows), shape);
        commands.extend(command::update(&names.keys, &confirmed));
        commands.extend(command::delete(&names.keys, &freed));
        commands.extend(command::update(REQUESTS, &answered));
        // Whoever finds this begun and not ended must not lack what rows told.
        let gone = command::there(command::update(&names.ver, &gone), shape);
        commands.extend(gone);
        for command in commands {
            match self.write_one(session, command).await {
                Err(Trouble::Gone) => {
                    self.mend(session, &place.name, shape).await?;
                    return Ok(false);
                }
                done => done?,
            }
        }
        let (update, filters) = counter::settle(newest + 1, at.max(place.counter.at), &news);
        let moved = self
            .db
            .db()
            .collection::<Document>(&names.counter)
            .update_one(
                doc! { "_id": COUNTER, "next": int(place.first), "born": shape.born },
                update,
            )
            .array_filters(filters)
            .session(&mut *session)
            .await?;
        self.db.saw(session);
        Ok(moved.matched_count > 0)
    }
}

//! The records that hold unique keys, of several collections at once.

use mongodb::{
    ClientSession,
    bson::{Document, RawDocumentBuf, doc},
};
use xronox_model::{CollectionName, UniqueKey};
use xronox_store::StoreError;

use crate::{
    core::Core,
    error::Failure,
    ledger::stored_key,
    names::Names,
    read::{batch_of, number},
    row::{Stored, damaged},
    shape::{COUNTER, Counter, int},
};

/// Keys looked up with one command.
pub(crate) const AT_ONCE: usize = 100;

/// How often keys are looked up again because the indexes have changed.
const MAX_TRIES: u32 = 10;

/// What one command of several keys gives.
#[derive(Default)]
struct Answer {
    /// The newest row of the holder of each key that has one.
    rows: Vec<(usize, RawDocumentBuf)>,
    /// The counter of each collection that has one.
    counters: Vec<(usize, Document)>,
}

impl Core {
    /// The newest rows of the live records that hold these keys, at most
    /// [`AT_ONCE`], where commits are transactions. Keys are told apart by what is
    /// known of the indexes; the counters, which come along, say whether that is
    /// still so.
    pub(crate) async fn holders(
        &self,
        session: &mut ClientSession,
        keys: &[(CollectionName, UniqueKey)],
    ) -> Result<Vec<Option<Stored>>, Failure> {
        for _ in 0..MAX_TRIES {
            let mut stored = Vec::with_capacity(keys.len());
            for (name, key) in keys {
                let shape = self.shape(session, name).await?;
                stored.push((shape.born, stored_key(&shape, key).ok()));
            }
            let answer = self.look_up(session, keys, &stored).await?;
            // Whether what was known of a collection is so, and it is there.
            let mut outdated: Vec<bool> = stored.iter().map(|(born, _)| born.is_some()).collect();
            let mut there = vec![false; keys.len()];
            for (n, counter) in &answer.counters {
                let counter = Counter::read(counter)?;
                let (name, key) = &keys[*n];
                let now = stored_key(&counter.shape, key).ok();
                // One that is being made or dropped holds nothing.
                there[*n] = counter.is_there();
                outdated[*n] = there[*n] && (counter.shape.born, now) != stored[*n];
                if there[*n] {
                    self.learn(name, &counter.shape);
                }
            }
            for ((name, _), _) in keys
                .iter()
                .zip(&outdated)
                .filter(|(_, outdated)| **outdated)
            {
                if answer.counters.iter().all(|(n, _)| keys[*n].0 != *name) {
                    self.shapes.forget(name);
                }
            }
            if outdated.contains(&true) {
                continue;
            }
            let mut rows = vec![None; keys.len()];
            for (n, document) in answer.rows {
                if !there[n] {
                    continue;
                }
                let decoded = self.decode(session, &keys[n].0, &[document]).await?;
                rows[n] = decoded.into_iter().next();
            }
            return Ok(rows);
        }
        Err(StoreError::Unavailable {
            message: "the indexes keep changing".to_owned(),
            source: None,
        }
        .into())
    }

    async fn look_up(
        &self,
        session: &mut ClientSession,
        keys: &[(CollectionName, UniqueKey)],
        stored: &[(Option<mongodb::bson::oid::ObjectId>, Option<String>)],
    ) -> Result<Answer, Failure> {
        let mut pipeline = Vec::new();
        for (n, (name, _)) in keys.iter().enumerate() {
            let names = Names::of(name);
            let which = i64::try_from(n).unwrap_or(i64::MAX);
            let counter = vec![
                doc! { "$match": { "_id": COUNTER } },
                doc! { "$project": { "_id": 0, "which": { "$literal": which }, "counter": "$$ROOT" } },
            ];
            let mut parts = vec![(names.counter, counter)];
            if let (_, Some(key)) = &stored[n] {
                // What is only reserved is not held yet.
                let row = vec![
                    doc! { "$match": { "_id": key, "until": { "$exists": false } } },
                    doc! { "$lookup": {
                        "from": &names.ver,
                        "localField": "i",
                        "foreignField": "i",
                        "pipeline": [{ "$sort": { "i": -1, "n": -1 } }, { "$limit": int(1) }],
                        "as": "row",
                    } },
                    doc! { "$unwind": "$row" },
                    doc! { "$project": { "_id": 0, "which": { "$literal": which }, "row": 1 } },
                ];
                parts.push((names.keys, row));
            }
            for (collection, stages) in parts {
                pipeline.push(doc! { "$unionWith": { "coll": collection, "pipeline": stages } });
            }
        }
        // The first collection only begins the union.
        let first = Names::of(&keys[0].0).counter;
        pipeline.insert(0, doc! { "$match": { "_id": { "$exists": false } } });
        let mut cursor = self
            .db
            .db()
            .collection::<RawDocumentBuf>(&first)
            .aggregate(pipeline)
            .with_type::<RawDocumentBuf>()
            .batch_size(batch_of(Some(2 * keys.len())))
            .max_time(self.db.max_time())
            .session(&mut *session)
            .await?;
        let mut answer = Answer::default();
        while cursor.advance(&mut *session).await? {
            let found = cursor.current().to_owned();
            let which = usize::try_from(number(&found, "which")?).map_err(|_| damaged("which"))?;
            if let Ok(row) = found.get_document("row") {
                answer.rows.push((which, row.to_owned()));
            } else {
                let counter = found
                    .get_document("counter")
                    .map_err(|_| damaged("counter"))?;
                let counter = Document::try_from(counter).map_err(|_| damaged("counter"))?;
                answer.counters.push((which, counter));
            }
        }
        Ok(answer)
    }
}

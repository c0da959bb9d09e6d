//! The catalog contract on MongoDB.

use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};
use mongodb::{
    ClientSession,
    bson::{Document, RawDocumentBuf, doc},
};
use xronox_model::{
    Attempt, CollectionName, Direction, FieldKeys, IndexSpec, Path, RecordId, Timestamp, UniqueKey,
    VersionRow,
};
use xronox_store::{
    Batch, Bodies, Capabilities, Catalog, CollectionSize, Commit, Cut, Find, Found, Indexes,
    Marker, Outcome, PAGE_BYTES, StoreError, Taken, Which, holders_one_by_one, ruling,
};

use crate::{
    MongoDatabase, check, commit,
    core::Core,
    error::Failure,
    fence::Fenced,
    find, holders, indexing,
    indexing::MAX_INDEXED,
    ledger::{in_short, stored_key},
    names::{Names, of_counter},
    pen,
    read::{Query, number, rows_at, seeks, without_bodies},
    row::{PURGE, binary, damaged, item},
    shape::{COUNTER, STUBS, int, time},
};

/// The largest inline body: MongoDB moves whole documents.
pub(crate) const MAX_INLINE: u64 = 1 << 20;

/// How many collections are asked at once.
const ABREAST: usize = 8;

/// How many rows are counted in one request.
const COUNTED: i64 = 100_000;

/// How many commits are looked at in one step of the search for a time.
const PROBES: u64 = 16;

/// The versioned collections of a [`MongoDatabase`]. Clones share them.
#[derive(Debug, Clone)]
pub struct MongoCatalog {
    core: Arc<Core>,
}

impl MongoCatalog {
    pub(crate) fn new(db: MongoDatabase) -> Self {
        Self {
            core: Arc::new(Core::new(db)),
        }
    }

    fn capabilities_now(&self) -> Capabilities {
        Capabilities {
            transactions: self.core.db.connection().has_transactions(),
            durable: true,
            shared: true,
            max_inline: MAX_INLINE,
            max_indexed: MAX_INDEXED,
        }
    }

    /// The first row that a query gives.
    async fn first(
        &self,
        name: &CollectionName,
        query: Query,
    ) -> Result<Option<VersionRow>, StoreError> {
        let found = self.all(name, query.at_most(1)).await?;
        Ok(found.into_iter().next())
    }

    async fn all(
        &self,
        name: &CollectionName,
        query: Query,
    ) -> Result<Vec<VersionRow>, StoreError> {
        let rows = self.core.db.within(async {
            let mut session = self.core.db.session().await?;
            self.core.rows(&mut session, name, &query).await
        });
        Ok(rows.await?.into_iter().map(|stored| stored.row).collect())
    }

    /// The row of a record that was valid at a cut: its newest one, or the
    /// first of those closed since.
    async fn as_of(
        &self,
        name: &CollectionName,
        id: &RecordId,
        cut: u64,
        bodies: Bodies,
    ) -> Result<Option<VersionRow>, Failure> {
        let mut session = self.core.db.session().await?;
        self.core.settled(&mut session, name).await?;
        let names = Names::of(name);
        let mut pipeline = vec![
            doc! { "$match": { "i": item(id), "o": true } },
            doc! { "$unionWith": { "coll": &names.ver, "pipeline": [
                { "$match": { "i": item(id), "to": { "$gt": int(cut) } } },
                { "$sort": { "to": 1 } },
                { "$limit": 1 },
            ] } },
        ];
        if bodies == Bodies::Omit {
            pipeline.push(doc! { "$project": without_bodies() });
        }
        let found = self.core.at_once(&mut session, &names, pipeline, 2).await?;
        let rows = self.core.decode(&mut session, name, &found).await?;
        let valid = |row: &VersionRow| row.cv <= cut && row.to_cv.is_none_or(|to| cut < to);
        let mut rows = rows.into_iter().map(|stored| stored.row);
        Ok(rows.find(valid))
    }

    /// The newest row of the collection.
    async fn newest_row(
        &self,
        session: &mut ClientSession,
        name: &CollectionName,
    ) -> Result<Option<VersionRow>, Failure> {
        let mut range = doc! { "$gte": 0_i64 };
        if let Some(next) = self.core.settled(session, name).await? {
            range.insert("$lt", int(next));
        }
        let query = Query::at(range).sorted(doc! { "_id": -1 }).at_most(1);
        let found = self.core.rows(session, name, &query).await?;
        Ok(found.into_iter().next().map(|stored| stored.row))
    }

    /// The last commit not after a time. Times never decrease with `cv`, so
    /// looking at some commits in between parts the range that is left.
    async fn search(&self, name: &CollectionName, at: Timestamp) -> Result<Cut, Failure> {
        let mut session = self.core.db.session().await?;
        let Some(newest) = self.newest_row(&mut session, name).await? else {
            return Ok(Cut {
                cv: None,
                settled: false,
            });
        };
        if newest.at <= at {
            return Ok(Cut {
                cv: Some(newest.cv),
                settled: false,
            });
        }
        // Everything up to `low` is inside, everything from `high` on outside.
        let (mut low, mut high) = (None, newest.cv);
        let names = Names::of(name);
        loop {
            let from = low.map_or(0, |low: u64| low + 1);
            if from >= high {
                break;
            }
            let step = ((high - from) / PROBES).max(1);
            let probes: Vec<u64> = (0..PROBES)
                .map(|n| from + n * step)
                .filter(|probe| *probe < high)
                .collect();
            let seek = |probe: &u64| {
                vec![
                    doc! { "$match": rows_at(doc! { "$gte": 0_i64, "$lte": int(*probe) }) },
                    doc! { "$sort": { "_id": -1 } },
                    doc! { "$limit": 1 },
                    // Nothing else is asked, and a probe without a row is told apart.
                    doc! { "$project": { "at": 1, "probe": { "$literal": int(*probe) } } },
                ]
            };
            let pipeline = seeks(&names, probes.iter().map(seek));
            let found = self
                .core
                .at_once(&mut session, &names, pipeline, probes.len())
                .await?;
            let mut rows = Vec::with_capacity(found.len());
            for found in &found {
                let then = found.get_datetime("at").map_err(|_| damaged("at"))?;
                rows.push((number(found, "probe")?, number(found, "_id")?, time(then)));
            }
            // Where no row is at or below a probe, nothing is outside there.
            let first = rows
                .first()
                .map_or(high, |(probe, ..)| probe.unsigned_abs());
            low = probes
                .iter()
                .copied()
                .filter(|probe| *probe < first)
                .max()
                .or(low);
            for (probe, cv, then) in rows {
                if then <= at {
                    low = low.max(Some(probe.unsigned_abs()));
                } else {
                    high = high.min(cv.unsigned_abs());
                    break;
                }
            }
        }
        let found = match low {
            None => None,
            Some(low) => {
                let query = Query::at(doc! { "$gte": 0_i64, "$lte": int(low) })
                    .sorted(doc! { "_id": -1 })
                    .at_most(1);
                self.core
                    .rows(&mut session, name, &query)
                    .await?
                    .into_iter()
                    .next()
            }
        };
        Ok(Cut {
            cv: found.map(|stored| stored.row.cv),
            settled: true,
        })
    }

    /// The collections that were made, maybe without a row.
    async fn made(&self) -> Result<Vec<CollectionName>, StoreError> {
        let names = self.core.db.within(async {
            let mut names = self
                .core
                .db
                .db()
                .list_collection_names()
                .filter(doc! { "name": { "$regex": "_counter$" }, "type": "collection" })
                .await?;
            names.sort_unstable();
            Ok(names)
        });
        let names = names.await?;
        let mut made: Vec<CollectionName> =
            names.iter().filter_map(|name| of_counter(name)).collect();
        made.sort_unstable();
        Ok(made)
    }

    async fn is_written(&self, name: &CollectionName) -> Result<bool, StoreError> {
        self.core
            .db
            .within(async {
                let mut session = self.core.db.session().await?;
                let counter = self.core.counter(&mut session, name).await?;
                Ok(counter.is_some_and(|counter| counter.next > 0))
            })
            .await
    }

    async fn names_object(&self, name: &CollectionName, key: &str) -> Result<bool, StoreError> {
        let query = Query::of(doc! { "l.k": key, "n": { "$exists": true } }).at_most(1);
        self.core
            .db
            .within(async {
                let mut session = self.core.db.session().await?;
                let names = Names::of(name);
                self.core.shape(&mut session, name).await?;
                self.core.index_objects(name).await;
                let found = self.core.documents(&mut session, &names, &query).await?;
                Ok(!found.is_empty())
            })
            .await
    }
}

#[async_trait]
impl Catalog for MongoCatalog {
    fn capabilities(&self) -> Capabilities {
        self.capabilities_now()
    }

    fn marker(&self) -> &Marker {
        self.core.db.marker()
    }

    async fn commit(
        &self,
        batches: &[(CollectionName, Batch)],
    ) -> Result<Vec<Vec<Outcome>>, StoreError> {
        self.core.db.check_open()?;
        ruling::check_batches(batches, self.capabilities_now())?;
        if batches.is_empty() {
            return Ok(Vec::new());
        }
        commit::commit(Arc::clone(&self.core), batches.to_vec()).await
    }

    async fn append_exact(
        &self,
        collection: &CollectionName,
        rows: Vec<VersionRow>,
    ) -> Result<(), StoreError> {
        self.core.db.check_open()?;
        for body in rows.iter().filter_map(|row| row.body.as_ref()) {
            ruling::check_body(body, MAX_INLINE)?;
        }
        commit::append_exact(Arc::clone(&self.core), collection.clone(), rows).await
    }

    async fn head(
        &self,
        collection: &CollectionName,
        id: &RecordId,
        bodies: Bodies,
    ) -> Result<Option<VersionRow>, StoreError> {
        self.core.db.check_open()?;
        // Without transactions a row is there before it is marked as the newest.
        // And the index of those that are marked keeps for minutes what was
        // removed from it, which a record that often changes would wait for.
        let query = Query::of(doc! { "i": item(id) }).sorted(doc! { "i": -1, "n": -1 });
        self.first(collection, query.with(bodies)).await
    }

    async fn version(
        &self,
        collection: &CollectionName,
        id: &RecordId,
        which: Which,
        bodies: Bodies,
    ) -> Result<Option<VersionRow>, StoreError> {
        match which {
            Which::Ov(ov) => {
                let query = Query::of(doc! { "i": item(id), "n": int(ov) });
                self.first(collection, query.with(bodies)).await
            }
            Which::AsOf(cut) => {
                let as_of = self.as_of(collection, id, cut, bodies);
                self.core.db.within(as_of).await
            }
        }
    }

    async fn history(
        &self,
        collection: &CollectionName,
        id: &RecordId,
        from: Option<u64>,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<VersionRow>, StoreError> {
        let (bound, way) = match direction {
            Direction::Ascending => ("$gte", 1),
            Direction::Descending => ("$lte", -1),
        };
        let mut filter = doc! { "i": item(id) };
        if let Some(from) = from {
            filter.insert("n", doc! { bound: int(from) });
        }
        let query = Query::of(filter).sorted(doc! { "i": way, "n": way });
        let rows = self.core.db.within(async {
            let mut session = self.core.db.session().await?;
            self.core.settled(&mut session, collection).await?;
            let query = query.at_most(limit);
            self.core.rows(&mut session, collection, &query).await
        });
        Ok(rows.await?.into_iter().map(|stored| stored.row).collect())
    }

    async fn rows(
        &self,
        collection: &CollectionName,
        from: u64,
        limit: usize,
        bodies: Bodies,
    ) -> Result<Vec<VersionRow>, StoreError> {
        let rows = self.core.db.within(async {
            let mut session = self.core.db.session().await?;
            let mut range = doc! { "$gte": int(from) };
            if let Some(next) = self.core.settled(&mut session, collection).await? {
                range.insert("$lt", int(next));
            }
            let query = Query::at(range).sorted(doc! { "_id": 1 });
            let query = query.at_most(limit).with(bodies).up_to_bytes(PAGE_BYTES);
            self.core.rows(&mut session, collection, &query).await
        });
        Ok(rows.await?.into_iter().map(|stored| stored.row).collect())
    }

    async fn find(&self, collection: &CollectionName, find: &Find) -> Result<Found, StoreError> {
        self.core
            .db
            .within(async {
                let mut session = self.core.db.session().await?;
                find::find(&self.core, &mut session, collection, find).await
            })
            .await
    }

    async fn stubs_at(&self, collection: &CollectionName, cut: u64) -> Result<u64, StoreError> {
        self.core
            .db
            .within(async {
                let mut session = self.core.db.session().await?;
                self.core.settled(&mut session, collection).await?;
                let names = Names::of(collection);
                let stubs = doc! {
                    "st": { "$exists": true },
                    "to": { "$gt": int(cut) },
                    "_id": { "$lte": int(cut) },
                };
                // Looked for only where there are any.
                let pipeline = vec![
                    doc! { "$match": { "_id": COUNTER, STUBS: true } },
                    doc! { "$lookup": { "from": &names.ver, "as": "met", "pipeline": [
                        { "$match": stubs },
                        { "$count": "stubs" },
                    ] } },
                    doc! { "$project": { "_id": 0, "stubs": { "$sum": "$met.stubs" } } },
                ];
                let counters = self.core.db.db();
                let counters = counters.collection::<Document>(&names.counter);
                let mut found = counters
                    .aggregate(pipeline)
                    .max_time(self.core.db.max_time())
                    .session(&mut session)
                    .await?;
                let Some(counter) = found.next(&mut session).await.transpose()? else {
                    return Ok(0);
                };
                self.core.shape(&mut session, collection).await?;
                self.core.index_stubs(collection);
                let stubs = counter.get_i32("stubs").map(i64::from);
                let stubs = stubs.or_else(|_| counter.get_i64("stubs"));
                let stubs = stubs.ok().and_then(|stubs| u64::try_from(stubs).ok());
                Ok(stubs.ok_or_else(|| damaged("stubs"))?)
            })
            .await
    }

    async fn outcome(
        &self,
        collection: &CollectionName,
        id: &RecordId,
        attempt: Attempt,
    ) -> Result<Option<VersionRow>, StoreError> {
        let rows = self.core.db.within(async {
            let core = &self.core;
            let mut session = core.db.session().await?;
            let query = Query::of(doc! { "i": item(id), "a": binary(attempt.as_bytes()) })
                .sorted(doc! { "i": -1, "n": -1 })
                .at_most(1);
            // Whatever is still under way is over before we look.
            if core.log_first().await? {
                let Some(counter) = core.roll_forward(&mut session, collection).await? else {
                    return Ok(Vec::new());
                };
                let rows = core.rows(&mut session, collection, &query).await?;
                let (names, fenced) = (Names::of(collection), Fenced::Attempt(attempt));
                let fence = core.fence(&mut session, &names, &counter.shape, fenced);
                if !rows.is_empty() || fence.await? {
                    return Ok(rows);
                }
                // It came in between.
                core.roll_forward(&mut session, collection).await?;
            } else {
                core.barrier(&mut session, collection).await?;
            }
            core.rows(&mut session, collection, &query).await
        });
        Ok(rows.await?.into_iter().next().map(|stored| stored.row))
    }

    async fn newest(&self, collection: &CollectionName) -> Result<Option<Commit>, StoreError> {
        self.core
            .db
            .within(async {
                let mut session = self.core.db.session().await?;
                let row = self.newest_row(&mut session, collection).await?;
                Ok(row.map(|row| in_short(&row, Vec::new())))
            })
            .await
    }

    async fn cut_at(&self, collection: &CollectionName, at: Timestamp) -> Result<Cut, StoreError> {
        self.core.db.within(self.search(collection, at)).await
    }

    async fn lookup_unique(
        &self,
        collection: &CollectionName,
        key: &UniqueKey,
    ) -> Result<Option<RecordId>, StoreError> {
        self.core
            .db
            .within(async {
                let mut session = self.core.db.session().await?;
                let shape = self.core.fresh_shape(&mut session, collection).await?;
                let Ok(stored) = stored_key(&shape, key) else {
                    return Ok(None);
                };
                let keys = self
                    .core
                    .db
                    .db()
                    .collection::<RawDocumentBuf>(&Names::of(collection).keys);
                self.core.settled(&mut session, collection).await?;
                // What is only reserved is not held yet.
                let found = keys
                    .find_one(doc! { "_id": stored, "until": { "$exists": false } })
                    .session(&mut session)
                    .await?;
                let holder = found.map(|found| pen::key_of(&found)).transpose()?;
                Ok(holder.map(|(_, holder)| holder))
            })
            .await
    }

    async fn holders(
        &self,
        keys: &[(CollectionName, UniqueKey)],
    ) -> Result<Vec<Option<VersionRow>>, StoreError> {
        self.core.db.check_open()?;
        let together = self.core.db.within(async {
            if self.core.log_first().await? {
                return Ok(None);
            }
            let mut session = self.core.db.session().await?;
            let mut rows = Vec::with_capacity(keys.len());
            for keys in keys.chunks(holders::AT_ONCE) {
                let found = self.core.holders(&mut session, keys).await?;
                rows.extend(
                    found
                        .into_iter()
                        .map(|stored| stored.map(|stored| stored.row)),
                );
            }
            Ok(Some(rows))
        });
        match together.await? {
            Some(rows) => Ok(rows),
            None => holders_one_by_one(self, keys).await,
        }
    }

    async fn names_key(&self, key: &str) -> Result<bool, StoreError> {
        self.core.db.check_open()?;
        let mut asked = stream::iter(self.made().await?)
            .map(|name| async move { self.names_object(&name, key).await })
            .buffer_unordered(ABREAST);
        while let Some(named) = asked.try_next().await? {
            if named {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn indexes(&self, collection: &CollectionName) -> Result<Indexes, StoreError> {
        self.core
            .db
            .within(async {
                let mut session = self.core.db.session().await?;
                let counter = self.core.counter(&mut session, collection).await?;
                Ok(counter.map_or_else(Indexes::default, |counter| counter.shape.described))
            })
            .await
    }

    async fn add_index(
        &self,
        collection: &CollectionName,
        spec: &IndexSpec,
    ) -> Result<Indexes, StoreError> {
        let added = indexing::add(&self.core, collection, spec);
        self.core.db.within(added).await
    }

    async fn fill_index(
        &self,
        collection: &CollectionName,
        field: &Path,
        rows: Vec<(u64, FieldKeys)>,
    ) -> Result<(), StoreError> {
        let filled = indexing::fill(&self.core, collection, field, &rows);
        self.core.db.within(filled).await
    }

    async fn fill_unique(
        &self,
        collection: &CollectionName,
        keys: Vec<(RecordId, u64, UniqueKey)>,
    ) -> Result<Vec<Taken>, StoreError> {
        commit::reserve(Arc::clone(&self.core), collection.clone(), keys).await
    }

    async fn index_ready(
        &self,
        collection: &CollectionName,
        name: &str,
    ) -> Result<Indexes, StoreError> {
        let ready = indexing::ready(&self.core, collection, name);
        self.core.db.within(ready).await
    }

    async fn drop_index(&self, collection: &CollectionName, name: &str) -> Result<(), StoreError> {
        let removed = indexing::remove(&self.core, collection, name);
        self.core.db.within(removed).await
    }

    async fn collections(&self) -> Result<Vec<CollectionName>, StoreError> {
        self.core.db.check_open()?;
        let asked = stream::iter(self.made().await?)
            .map(|name| async move { Ok::<_, StoreError>((self.is_written(&name).await?, name)) })
            .buffered(ABREAST);
        let asked: Vec<(bool, CollectionName)> = asked.try_collect().await?;
        let written = asked.into_iter().filter(|(written, _)| *written);
        Ok(written.map(|(_, name)| name).collect())
    }

    async fn drop_collection(&self, collection: &CollectionName) -> Result<(), StoreError> {
        let dropped = self.core.drop_collection(collection);
        self.core.db.within(dropped).await
    }

    async fn size(&self, collection: &CollectionName) -> Result<CollectionSize, StoreError> {
        self.core.db.check_open()?;
        let mut size = CollectionSize::default();
        let mut from = 0;
        loop {
            let counted = self.core.db.within(self.count(collection, from)).await?;
            let Some((last, some)) = counted else {
                return Ok(size);
            };
            size.live += some.live;
            size.deleted += some.deleted;
            size.versions += some.versions;
            size.inline_bytes += some.inline_bytes;
            size.body_bytes += some.body_bytes;
            from = last + 1;
        }
    }

    async fn check(&self, collection: &CollectionName) -> Result<Vec<String>, StoreError> {
        self.core.db.check_open()?;
        check::check(&self.core, collection).await
    }

    async fn seal(&self) -> Result<(), StoreError> {
        self.core.db.within(self.core.seal()).await
    }

    async fn unseal(&self) -> Result<(), StoreError> {
        self.core.db.within(self.core.unseal()).await
    }

    async fn is_sealed(&self) -> Result<bool, StoreError> {
        let asked = async {
            let mut session = self.core.db.session().await?;
            self.core.is_sealed(&mut session).await
        };
        self.core.db.within(asked).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.core.db.close();
        // Behind the last commit.
        drop(self.core.underway.write().await);
        Ok(())
    }
}

impl MongoCatalog {
    /// Counts rows from a `cv` on: up to which one, and what they hold.
    async fn count(
        &self,
        name: &CollectionName,
        from: i64,
    ) -> Result<Option<(i64, CollectionSize)>, Failure> {
        let mut session = self.core.db.session().await?;
        self.core.settled(&mut session, name).await?;
        let there = |field: &str| doc! { "$ne": [{ "$type": field }, "missing"] };
        let newest = doc! { "$and": [there("$o"), { "$ne": ["$op", PURGE] }] };
        let deleted = doc! { "$and": [newest.clone(), there("$del")] };
        let ones = |condition: Document| doc! { "$sum": { "$cond": [condition, 1_i64, 0_i64] } };
        let inline = doc! { "$cond": [there("$b"), { "$binarySize": "$b" }, 0_i64] };
        let pipeline = vec![
            doc! { "$match": rows_at(doc! { "$gte": from }) },
            doc! { "$sort": { "_id": 1 } },
            doc! { "$limit": COUNTED },
            doc! { "$group": {
                "_id": null,
                "last": { "$max": "$_id" },
                "versions": { "$sum": 1_i64 },
                "newest": ones(newest),
                "deleted": ones(deleted),
                "inline": { "$sum": inline },
                "body": { "$sum": { "$ifNull": ["$s", 0_i64] } },
            } },
        ];
        let names = Names::of(name);
        let found = self.core.at_once(&mut session, &names, pipeline, 1).await?;
        let Some(found) = found.first() else {
            return Ok(None);
        };
        let count = |field: &str| -> Result<u64, StoreError> {
            Ok(u64::try_from(number(found, field)?).unwrap_or_default())
        };
        let deleted = count("deleted")?;
        let size = CollectionSize {
            live: count("newest")?.saturating_sub(deleted),
            deleted,
            versions: count("versions")?,
            inline_bytes: count("inline")?,
            body_bytes: count("body")?,
        };
        Ok(Some((number(found, "last")?, size)))
    }
}

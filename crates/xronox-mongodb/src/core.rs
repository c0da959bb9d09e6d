//! What all calls on one opened catalog share, and the life of a collection.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures::TryStreamExt;
use mongodb::{
    ClientSession,
    bson::{Document, RawDocumentBuf, Uuid, doc, oid::ObjectId},
    options::{ReturnDocument, UpdateModifications},
};
use parking_lot::Mutex;
use xronox_model::CollectionName;
use xronox_store::StoreError;

use crate::{
    CommitMode, Deployment, MongoDatabase,
    command::{self, Trouble},
    counter,
    error::{COLLECTION_GONE, DUPLICATE_KEY, Failure, NAMESPACE_EXISTS, NAMESPACE_NOT_FOUND},
    ledger::News,
    names::Names,
    recent::Recent,
    row::FENCED,
    shape::{COUNTER, Counter, Shape, Shapes, damaged},
};

/// Answered requests, of all collections.
pub(crate) const REQUESTS: &str = "xronox_idempotency";

/// How long a collection that is being removed stays locked. Whoever removes
/// it gives up well before.
const DROP_LEASE_MILLIS: i64 = 60_000;
const DROP_LIMIT: Duration = Duration::from_secs(30);

/// How often a lock that others hold is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

pub(crate) struct Core {
    pub(crate) db: MongoDatabase,
    pub(crate) shapes: Shapes,
    pub(crate) recent: Recent,
    /// This catalog among all that write to the database.
    pub(crate) me: ObjectId,
    /// One commit of a collection at a time, in the order they came.
    queues: Mutex<HashMap<CollectionName, Arc<tokio::sync::Mutex<()>>>>,
    /// Held by commits, so that closing can wait for them.
    pub(crate) underway: tokio::sync::RwLock<()>,
    /// What was made sure of since the catalog was opened.
    ensured: Mutex<HashSet<String>>,
    /// Which collections were seen to be in this very database.
    vetted: Mutex<HashMap<CollectionName, Option<ObjectId>>>,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core")
            .field("db", &self.db)
            .finish_non_exhaustive()
    }
}

impl Core {
    pub(crate) fn new(db: MongoDatabase) -> Self {
        Self {
            db,
            shapes: Shapes::default(),
            recent: Recent::default(),
            me: ObjectId::new(),
            queues: Mutex::default(),
            underway: tokio::sync::RwLock::default(),
            ensured: Mutex::default(),
            vetted: Mutex::default(),
        }
    }

    /// Waits until no other call of this process commits to the collection.
    pub(crate) async fn queue(&self, name: &CollectionName) -> tokio::sync::OwnedMutexGuard<()> {
        let queue = Arc::clone(self.queues.lock().entry(name.clone()).or_default());
        queue.lock_owned().await
    }

    /// Whether this is the first time that `what` is made sure of.
    pub(crate) fn first_time(&self, what: &str) -> bool {
        !self.ensured.lock().contains(what) && self.ensured.lock().insert(what.to_owned())
    }

    /// Has it made sure of again next time.
    pub(crate) fn not_ensured(&self, what: &str) {
        self.ensured.lock().remove(what);
    }

    /// The counter document as of now; `None` if there is no such collection.
    pub(crate) async fn counter(
        &self,
        session: &mut ClientSession,
        name: &CollectionName,
    ) -> Result<Option<Counter>, Failure> {
        let counters = self
            .db
            .db()
            .collection::<Document>(&Names::of(name).counter);
        let found = counters
            .find_one(doc! { "_id": COUNTER })
            .session(session)
            .await?;
        let counter = found.as_ref().map(Counter::read).transpose()?;
        match &counter {
            Some(counter) if !counter.making => self.learn(name, &counter.shape),
            _ => self.shapes.forget(name),
        }
        Ok(counter.filter(Counter::is_there))
    }

    /// Keeps what was read of a collection, if it is news.
    pub(crate) fn learn(&self, name: &CollectionName, shape: &Shape) {
        if !self
            .shapes
            .get(name)
            .is_some_and(|known| known.is_as(shape))
        {
            self.shapes.put(name, shape.clone());
        }
    }

    /// What is known of a collection; asks if it is the first time.
    pub(crate) async fn shape(
        &self,
        session: &mut ClientSession,
        name: &CollectionName,
    ) -> Result<Arc<Shape>, Failure> {
        if let Some(known) = self.shapes.get(name) {
            return Ok(known);
        }
        self.fresh_shape(session, name).await
    }

    pub(crate) async fn fresh_shape(
        &self,
        session: &mut ClientSession,
        name: &CollectionName,
    ) -> Result<Arc<Shape>, Failure> {
        self.counter(session, name).await?;
        Ok(self.shapes.get(name).unwrap_or_default())
    }

    /// Whether a collection was seen to be in our database. Another one may have
    /// been made under its name since that is gone.
    pub(crate) fn is_ours(&self, name: &CollectionName, shape: &Shape) -> bool {
        self.vetted.lock().get(name) == Some(&shape.born)
    }

    /// Makes the collection if it is not there. Its counter document comes
    /// last, so where there is one, all the rest is there too.
    pub(crate) async fn ensure(&self, name: &CollectionName) -> Result<(), Failure> {
        if let Some(shape) = self.shapes.get(name)
            && self.is_ours(name, &shape)
        {
            return Ok(());
        }
        let names = Names::of(name);
        self.refuse_sharded(&names).await?;
        loop {
            let mut session = self.db.session().await?;
            if let Some(counter) = self.counter(&mut session, name).await? {
                self.refuse_sealed(&mut session).await?;
                let born = counter.shape.born;
                self.vetted.lock().insert(name.clone(), born);
                return Ok(());
            }
            if self.shapes.get(name).is_none() {
                if !self.make(&mut session, &names).await? {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
            } else {
                // Somebody is removing it.
                self.shapes.forget(name);
                self.take_over_drop(name).await?;
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
    }

    /// A collection that is made while the database is sealed or removed must
    /// not take a row. So its counter is marked at first, and the mark goes once
    /// the database is seen to be open: either the seal was set behind that, and
    /// meets the counter, or the maker meets the seal.
    ///
    /// Gives whether it is made; others may remove it meanwhile.
    async fn make(&self, session: &mut ClientSession, names: &Names) -> Result<bool, Failure> {
        // Not to leave anything behind where a database was removed.
        self.refuse_sealed(session).await?;
        let ver = &names.ver;
        self.create(doc! {
            "create": ver,
            "clusteredIndex": { "key": { "_id": 1 }, "unique": true },
        })
        .await?;
        let Some(uuid) = self.uuid(ver).await? else {
            return Ok(false);
        };
        let indexes = self.run(
            doc! { "createIndexes": ver, "collectionUUID": uuid, "indexes": [
                { "key": { "i": 1, "n": 1 }, "name": "version", "unique": true },
                { "key": { "i": 1 }, "name": "head", "partialFilterExpression": { "o": true } },
                { "key": { "i": 1, "to": 1, "_id": 1 }, "name": "past",
                  "partialFilterExpression": { "to": { "$exists": true } } },
            ] },
        );
        match indexes.await {
            Err(failure) if failure.code() == Some(COLLECTION_GONE) => return Ok(false),
            made => made?,
        }
        self.create(doc! {
            "create": &names.head,
            "viewOn": ver,
            "pipeline": [{ "$match": { "o": true } }],
        })
        .await?;
        let counters = self.db.db().collection::<Document>(&names.counter);
        // A maker that did not come to the end may have meant an earlier one.
        let stale = doc! {
            "_id": COUNTER, "uuid": { "$ne": uuid }, "making": true,
            "dropping": { "$exists": false },
        };
        counters.delete_one(stale).session(&mut *session).await?;
        let made = counters
            .update_one(
                doc! { "_id": COUNTER },
                doc! { "$setOnInsert": counter::fresh(uuid) },
            )
            .upsert(true)
            .session(&mut *session)
            .await;
        match made.map_err(Failure::from) {
            Err(failure) if failure.code() != Some(DUPLICATE_KEY) => return Err(failure),
            _ => {}
        }
        self.refuse_sealed(session).await?;
        // Whoever removed the version rows before the counter was there may not
        // have met it.
        if self.uuid(ver).await? == Some(uuid) {
            let made = doc! { "_id": COUNTER, "uuid": uuid };
            counters
                .update_one(made, doc! { "$unset": { "making": "" } })
                .session(session)
                .await?;
            return Ok(true);
        }
        // One that is marked is the lock of whoever removes the collection.
        let stale = doc! {
            "_id": COUNTER, "uuid": uuid, "making": true, "dropping": { "$exists": false },
        };
        counters.delete_one(stale).session(session).await?;
        Ok(false)
    }

    /// Has the counter tell which collection the version rows are, where tools
    /// have moved the data and the server calls them otherwise since.
    pub(crate) async fn mend(
        &self,
        session: &mut ClientSession,
        name: &CollectionName,
        shape: &Shape,
    ) -> Result<(), Failure> {
        let now = self.uuid(&Names::of(name).ver).await?;
        if now == shape.uuid {
            return Ok(());
        }
        let there = doc! {
            "_id": COUNTER, "born": shape.born, "uuid": shape.uuid,
            "making": { "$exists": false }, "dropping": { "$exists": false },
        };
        if let Some(uuid) = now {
            let mended = doc! { "$set": { "uuid": uuid } };
            self.change_counter(session, name, there, mended).await?;
        } else {
            let counter = self.counter(session, name).await?;
            if counter.is_some_and(|counter| counter.shape.born == shape.born) {
                let lost = format!("{name}: its version rows are gone");
                return Err(StoreError::Corrupt(lost).into());
            }
        }
        self.shapes.forget(name);
        Ok(())
    }

    /// What the server calls a collection, which another one of its name is not
    /// called.
    async fn uuid(&self, collection: &str) -> Result<Option<Uuid>, Failure> {
        let named = self.db.db().list_collections();
        let mut found = named.filter(doc! { "name": collection }).await?;
        let found = found.try_next().await?.and_then(|found| found.info.uuid);
        let uuid = found.map(|uuid| uuid.to_uuid());
        Ok(uuid.transpose().map_err(|_| damaged("uuid"))?)
    }

    /// Makes sure of the unique index of what can be fenced off, before the
    /// first row of this process is sent that is in it.
    pub(crate) async fn ensure_fences(&self, names: &Names, shape: &Shape) -> Result<(), Failure> {
        let Some(born) = shape.born else {
            return Ok(());
        };
        let what = format!("{} {born} fences", names.ver);
        if self.ensured.lock().contains(&what) {
            return Ok(());
        }
        let index = doc! {
            "key": { FENCED: 1 }, "name": "fences", "unique": true,
            "partialFilterExpression": { FENCED: { "$exists": true } },
        };
        self.run(create_indexes(names, shape, vec![index])).await?;
        self.first_time(&what);
        Ok(())
    }

    /// Has the counter tell what is about to happen for the first time.
    pub(crate) async fn announce(
        &self,
        session: &mut ClientSession,
        name: &CollectionName,
        shape: &Shape,
        news: &News,
    ) -> Result<(), Failure> {
        let marks = counter::marks(news);
        if marks.is_empty() {
            return Ok(());
        }
        let there = doc! { "_id": COUNTER, "born": shape.born };
        self.change_counter(session, name, there, doc! { "$set": marks })
            .await?;
        Ok(())
    }

    async fn create(&self, command: Document) -> Result<(), Failure> {
        match self.run(command).await {
            Err(failure) if failure.code() == Some(NAMESPACE_EXISTS) => Ok(()),
            done => done,
        }
    }

    /// Runs a command that changes the database's structure.
    pub(crate) async fn run(&self, mut command: Document) -> Result<(), Failure> {
        command.insert("writeConcern", doc! { "w": "majority", "j": true });
        let run = self.db.db().run_command(command).into_future();
        self.db.connection().past_abandoned(run).await?;
        Ok(())
    }

    /// A unique index of a sharded collection would have to begin with its
    /// shard key, so ours stay on one shard.
    async fn refuse_sharded(&self, names: &Names) -> Result<(), Failure> {
        if self.db.connection().deployment().await? != Deployment::Sharded {
            return Ok(());
        }
        let config = self.db.connection().client().database("config");
        let name = format!("{}.{}", self.db.db().name(), names.ver);
        let sharded = config
            .collection::<Document>("collections")
            .find_one(
                doc! { "_id": &name, "unsplittable": { "$ne": true }, "dropped": { "$ne": true } },
            )
            .await?;
        match sharded {
            None => Ok(()),
            Some(_) => Err(StoreError::Unsupported(format!("{name} is sharded")).into()),
        }
    }

    /// Makes sure of the collection of answered requests, which forgets them
    /// by itself.
    pub(crate) async fn ensure_requests(&self) -> Result<(), Failure> {
        if self.ensured.lock().contains(REQUESTS) {
            return Ok(());
        }
        self.run(doc! { "createIndexes": REQUESTS, "indexes": [
            { "key": { "until": 1 }, "name": "until", "expireAfterSeconds": 0 },
        ] })
        .await?;
        self.first_time(REQUESTS);
        Ok(())
    }

    /// Makes sure of the collection of unique keys.
    pub(crate) async fn ensure_keys(&self, names: &Names) -> Result<(), Failure> {
        self.run(doc! { "createIndexes": &names.keys, "indexes": [
            { "key": { "i": 1 }, "name": "record" },
        ] })
        .await
    }

    /// Removes a collection. Commits meet the mark on the counter document
    /// and wait; it goes last, with the counter collection.
    pub(crate) async fn drop_collection(&self, name: &CollectionName) -> Result<(), Failure> {
        self.shapes.forget(name);
        let marked = self
            .mark_dropping(name, doc! { "dropping": { "$exists": false } })
            .await?;
        if marked {
            self.drop_marked(name).await
        } else {
            // Not there, or on its way out.
            self.take_over_drop(name).await
        }
    }

    /// Finishes what somebody began to remove and left.
    async fn take_over_drop(&self, name: &CollectionName) -> Result<(), Failure> {
        let left =
            doc! { "$expr": { "$lt": ["$dropping", "$$NOW"] }, "dropping": { "$exists": true } };
        if self.mark_dropping(name, left).await? {
            self.drop_marked(name).await?;
        }
        Ok(())
    }

    async fn mark_dropping(
        &self,
        name: &CollectionName,
        mut filter: Document,
    ) -> Result<bool, Failure> {
        filter.insert("_id", COUNTER);
        let until = doc! { "$set": { "dropping": { "$add": ["$$NOW", DROP_LEASE_MILLIS] } } };
        let mut session = self.db.session().await?;
        self.change_counter(&mut session, name, filter, vec![until])
            .await
    }

    async fn drop_marked(&self, name: &CollectionName) -> Result<(), Failure> {
        let names = Names::of(name);
        let work = async {
            for collection in [&names.head, &names.ver, &names.keys] {
                // Not another one, however late it comes.
                let uuid = self.uuid(collection).await?;
                self.drop_one(collection, uuid).await?;
            }
            // All names that begin with `name:`, and `;` comes after `:`.
            let range = doc! { "_id": { "$gte": format!("{name}:"), "$lt": format!("{name};") } };
            self.db
                .db()
                .collection::<Document>(REQUESTS)
                .delete_many(range)
                .await?;
            let uuid = self.uuid(&names.counter).await?;
            self.drop_one(&names.counter, uuid).await
        };
        match tokio::time::timeout(DROP_LIMIT, work).await {
            Ok(done) => done,
            Err(_) => Err(StoreError::unavailable(format!(
                "removing {name} took too long; the next try goes on with it"
            ))
            .into()),
        }
    }

    async fn drop_one(&self, collection: &str, uuid: Option<Uuid>) -> Result<(), Failure> {
        let mut command = doc! { "drop": collection };
        if let Some(uuid) = uuid {
            command.insert("collectionUUID", uuid);
        }
        match self.run(command).await {
            Err(failure)
                if matches!(failure.code(), Some(NAMESPACE_NOT_FOUND | COLLECTION_GONE)) =>
            {
                Ok(())
            }
            done => done,
        }
    }

    /// Changes the counter document outside a commit, if it matches.
    pub(crate) async fn change_counter(
        &self,
        session: &mut ClientSession,
        name: &CollectionName,
        filter: Document,
        update: impl Into<UpdateModifications>,
    ) -> Result<bool, Failure> {
        let counters = self
            .db
            .db()
            .collection::<Document>(&Names::of(name).counter);
        let changed = counters.update_one(filter, update).session(&mut *session);
        let connection = self.db.connection();
        let changed = connection.past_abandoned(changed.into_future()).await?;
        self.db.saw(session);
        Ok(changed.matched_count > 0)
    }

    /// Waits until whoever commits to the collection is through. What was
    /// under way before is then committed, or never will be. Gives the
    /// counter as of then.
    pub(crate) async fn barrier(
        &self,
        session: &mut ClientSession,
        name: &CollectionName,
    ) -> Result<Option<Counter>, Failure> {
        let counters = self
            .db
            .db()
            .collection::<Document>(&Names::of(name).counter);
        let written = counters
            .find_one_and_update(
                doc! { "_id": COUNTER },
                vec![doc! { "$set": {
                    "clock": "$$NOW",
                    "writes": { "$add": ["$writes", 1_i64] },
                } }],
            )
            .return_document(ReturnDocument::After)
            .session(&mut *session);
        let connection = self.db.connection();
        let written = connection.past_abandoned(written.into_future()).await?;
        self.db.saw(session);
        Ok(written.as_ref().map(Counter::read).transpose()?)
    }

    /// Sends write commands outside a transaction, durably.
    pub(crate) async fn write(
        &self,
        session: &mut ClientSession,
        commands: Vec<RawDocumentBuf>,
    ) -> Result<(), Failure> {
        for command in commands {
            self.write_one(session, command).await?;
        }
        Ok(())
    }

    pub(crate) async fn write_one(
        &self,
        session: &mut ClientSession,
        command: RawDocumentBuf,
    ) -> Result<(), Trouble> {
        let sent = self.db.db().run_raw_command(command::durably(command));
        let sent = sent.session(&mut *session).into_future();
        let reply = self.db.connection().past_abandoned(sent).await?;
        self.db.saw(session);
        command::check(&reply)
    }

    /// Whether rows are committed before what follows from them.
    pub(crate) async fn log_first(&self) -> Result<bool, Failure> {
        let mode = self.db.connection().commit_mode().await?;
        Ok(mode == CommitMode::LogFirst)
    }

    /// Brings what follows from rows up to them, where that is not done with
    /// each commit; gives the first `cv` that is not settled then.
    pub(crate) async fn settled(
        &self,
        session: &mut ClientSession,
        name: &CollectionName,
    ) -> Result<Option<u64>, Failure> {
        if !self.log_first().await? {
            return Ok(None);
        }
        let counter = self.roll_forward(session, name).await?;
        Ok(Some(counter.map_or(0, |counter| counter.next)))
    }
}

/// The command that makes indexes of the version rows, if they are there.
pub(crate) fn create_indexes(names: &Names, shape: &Shape, indexes: Vec<Document>) -> Document {
    let mut command = doc! { "createIndexes": &names.ver, "indexes": indexes };
    if let Some(uuid) = shape.uuid {
        command.insert("collectionUUID", uuid);
    }
    command
}

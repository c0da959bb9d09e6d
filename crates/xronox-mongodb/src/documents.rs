//! Plain collections of a database.

mod apply;
mod ddl;
mod entry;
mod names;
mod read;
mod send;
mod state;
mod turn;
mod walk;
mod write;

use std::sync::Arc;

use async_trait::async_trait;
use mongodb::{
    ClientSession, Collection,
    bson::{Document, RawDocumentBuf, doc, oid::ObjectId},
};
use serde_json::Value;
use xronox_model::{CollectionName, Filter};
use xronox_store::{
    Capabilities, Clock, DocFind, DocIndex, DocOp, DocOutcome, DocUpdate, Documents, InsertOutcome,
    StoreError, UpdateOutcome,
    documents::{MAX_BATCH, MAX_PAGE, within},
};

use crate::{
    CommitMode, MongoDatabase,
    catalog::MAX_INLINE,
    error::{DUPLICATE_KEY, Failure, NAMESPACE_NOT_FOUND},
    indexing::MAX_INDEXED,
};
use read::Reads;
use state::{STATE, State, States};
use turn::Turns;
use write::Writes;

/// The plain collections of a [`MongoDatabase`], each a collection of its own
/// name beside those of the [catalog](crate::MongoCatalog) (where the catalog
/// may use that name, `_doc` is added). Closing one of the two closes both.
///
/// A document is stored as
///
/// | field | |
/// |---|---|
/// | `_id` | the ordered key of its `_id` |
/// | `r` | its revision, drawn anew with every change |
/// | `k` | under the tag of each index its key as text, or all of them |
/// | `x` | under the tag of each index with a time to live, when it goes |
/// | `b` | its canonical text |
///
/// and the document `indexes` beside them says what the indexes are.
///
/// A change is a compare-and-set on the revision. An index of the server holds
/// the keys of each declared one, and is unique in any case: each key is one
/// document's alone, those that the index does not hold have a key of their
/// own behind all others, and the document `indexes` has none, which the
/// server takes for null. So whoever writes without knowing of an index is
/// told by the server that null is taken, and looks again. What other
/// processes declare is thus minded by every write at once; reads notice a
/// time to live that another process declared within 5 seconds.
///
/// `sweep` removes what is gone, by the clock given; the server's own expiry
/// plays no part.
#[derive(Debug, Clone)]
pub struct MongoDocuments {
    of: Arc<Shared>,
}

/// What all calls share.
#[derive(Debug)]
struct Shared {
    db: MongoDatabase,
    clock: Arc<dyn Clock>,
    states: States,
    turns: Turns,
    /// Held by calls, so that closing can wait for them.
    underway: tokio::sync::RwLock<()>,
}

impl MongoDatabase {
    /// The plain collections of the database. Documents expire by `clock`.
    pub fn documents(&self, clock: Arc<dyn Clock>) -> MongoDocuments {
        MongoDocuments {
            of: Arc::new(Shared {
                db: self.clone(),
                clock,
                states: States::default(),
                turns: Turns::default(),
                underway: tokio::sync::RwLock::default(),
            }),
        }
    }
}

impl Shared {
    fn documents(&self, name: &CollectionName) -> Collection<RawDocumentBuf> {
        self.db.db().collection(&names::stored(name))
    }

    fn states(&self, name: &CollectionName) -> Collection<Document> {
        self.db.db().collection(&names::stored(name))
    }

    /// What the indexes of a collection are, as far as is known.
    async fn state(
        &self,
        session: &mut ClientSession,
        name: &CollectionName,
    ) -> Result<Arc<State>, Failure> {
        match self.states.get(name) {
            Some(known) => Ok(known),
            None => self.fresh_state(session, name).await,
        }
    }

    /// What the indexes of a collection are.
    async fn fresh_state(
        &self,
        session: &mut ClientSession,
        name: &CollectionName,
    ) -> Result<Arc<State>, Failure> {
        let states = self.states(name);
        let found = states.find_one(doc! { "_id": STATE }).session(session);
        let state = match found.await? {
            None => State::default(),
            Some(found) => State::read(&found)?,
        };
        Ok(self.states.put(name, state))
    }

    /// Changes the indexes of a collection from what they were to something
    /// else, unless they changed meanwhile.
    async fn change_state(
        &self,
        session: &mut ClientSession,
        name: &CollectionName,
        from: Option<ObjectId>,
        mut to: State,
    ) -> Result<bool, Failure> {
        self.states.forget(name);
        let states = self.states(name);
        let written = to.write();
        match from {
            None => match states.insert_one(written).session(session).await {
                Ok(_) => Ok(true),
                Err(failure) => match Failure::from(failure) {
                    failure if failure.code() == Some(DUPLICATE_KEY) => Ok(false),
                    failure => Err(failure),
                },
            },
            Some(rev) => {
                let there = doc! { "_id": STATE, "r": rev };
                let replaced = states.replace_one(there, written).session(session).await?;
                Ok(replaced.matched_count == 1)
            }
        }
    }

    /// The collections there are, by name.
    async fn names(&self) -> Result<Vec<CollectionName>, Failure> {
        let kept = self.db.db().list_collection_names().await?;
        let names = kept.iter().filter_map(|name| names::of_stored(name));
        let mut names: Vec<CollectionName> = names.collect();
        names.sort();
        Ok(names)
    }
}

#[async_trait]
impl Documents for MongoDocuments {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            transactions: self.of.db.connection().has_transactions(),
            durable: true,
            shared: true,
            max_inline: MAX_INLINE,
            max_indexed: MAX_INDEXED,
        }
    }

    async fn insert(
        &self,
        collection: &CollectionName,
        documents: Vec<Value>,
    ) -> Result<Vec<InsertOutcome>, StoreError> {
        within("an insert", documents.len(), MAX_BATCH)?;
        let mut writes = Writes::begin(&self.of).await?;
        let done = self
            .of
            .db
            .within(writes.insert(collection, documents))
            .await;
        writes.conclude(done)
    }

    async fn find(
        &self,
        collection: &CollectionName,
        find: &DocFind,
    ) -> Result<Vec<Value>, StoreError> {
        let start = find.start()?;
        let mut reads = Reads::begin(&self.of).await?;
        let found = reads.find(collection, find, start.as_ref());
        self.of.db.within(found).await
    }

    async fn update_one(
        &self,
        collection: &CollectionName,
        update: &DocUpdate,
    ) -> Result<UpdateOutcome, StoreError> {
        let mut writes = Writes::begin(&self.of).await?;
        let done = self.of.db.within(writes.update(collection, update)).await;
        writes.conclude(done)
    }

    async fn delete(
        &self,
        collection: &CollectionName,
        filter: &Filter,
        limit: usize,
    ) -> Result<u64, StoreError> {
        within("a page", limit, MAX_PAGE)?;
        let mut writes = Writes::begin(&self.of).await?;
        let done = self
            .of
            .db
            .within(writes.delete(collection, filter, limit))
            .await;
        writes.conclude(done)
    }

    async fn count(&self, collection: &CollectionName, filter: &Filter) -> Result<u64, StoreError> {
        let mut reads = Reads::begin(&self.of).await?;
        self.of.db.within(reads.count(collection, filter)).await
    }

    async fn apply(
        &self,
        operations: Vec<(CollectionName, DocOp)>,
        atomic: bool,
    ) -> Result<Vec<DocOutcome>, StoreError> {
        within("a batch", operations.len(), MAX_BATCH)?;
        for (_, operation) in &operations {
            if let DocOp::Delete { limit, .. } = operation {
                within("a page", *limit, MAX_PAGE)?;
            }
        }
        let mut writes = Writes::begin(&self.of).await?;
        if atomic && self.of.db.connection().commit_mode().await? != CommitMode::Transactions {
            return Err(StoreError::Unsupported(
                "an atomic batch without transactions".to_owned(),
            ));
        }
        let done = if atomic {
            self.of
                .db
                .within(writes.apply_atomically(&operations))
                .await
        } else {
            self.of.db.within(writes.apply(&operations)).await
        };
        writes.conclude(done)
    }

    async fn ensure_index(
        &self,
        collection: &CollectionName,
        index: &DocIndex,
    ) -> Result<(), StoreError> {
        index
            .check()
            .map_err(|e| StoreError::Refused(e.to_string()))?;
        let mut writes = Writes::begin(&self.of).await?;
        let done = writes.ensure_index(collection, index).await;
        self.of.db.saw(&writes.session);
        done
    }

    async fn indexes(&self, collection: &CollectionName) -> Result<Vec<DocIndex>, StoreError> {
        let _underway = self.of.underway.read().await;
        let reading = async {
            let mut session = self.of.db.session().await?;
            self.of.fresh_state(&mut session, collection).await
        };
        let state = self.of.db.within(reading).await?;
        let ready = state.ready().into_iter();
        Ok(ready.map(|index| index.spec.clone()).collect())
    }

    async fn drop_index(&self, collection: &CollectionName, name: &str) -> Result<(), StoreError> {
        let mut writes = Writes::begin(&self.of).await?;
        let done = self.of.db.within(writes.drop_index(collection, name)).await;
        self.of.db.saw(&writes.session);
        done
    }

    async fn collections(&self) -> Result<Vec<CollectionName>, StoreError> {
        let _underway = self.of.underway.read().await;
        self.of.db.within(self.of.names()).await
    }

    async fn drop_collection(&self, collection: &CollectionName) -> Result<(), StoreError> {
        let _underway = self.of.underway.read().await;
        let dropping = async {
            let dropped = self.of.documents(collection).drop().await;
            match dropped.map_err(Failure::from) {
                Err(failure) if failure.code() != Some(NAMESPACE_NOT_FOUND) => Err(failure),
                _ => Ok(()),
            }
        };
        let dropped = self.of.db.within(dropping).await;
        self.of.states.forget(collection);
        dropped
    }

    async fn sweep(&self, limit: usize) -> Result<u64, StoreError> {
        within("a page", limit, MAX_PAGE)?;
        let mut writes = Writes::begin(&self.of).await?;
        let done = self.of.db.within(writes.sweep(limit)).await;
        writes.conclude(done)
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.of.db.close();
        // Behind the last call.
        drop(self.of.underway.write().await);
        Ok(())
    }
}

//! Plain collections in the file.

mod ddl;
mod meta;
mod walk;
mod write;

use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::Connection;
use serde_json::Value;
use xronox_model::{CollectionName, Filter, Timestamp};
use xronox_store::{
    Capabilities, Clock, DocFind, DocIndex, DocOp, DocOutcome, DocUpdate, Documents, InsertOutcome,
    StoreError, UpdateOutcome,
    documents::{MAX_BATCH, MAX_PAGE, Plan, within},
};

use crate::{SqliteCatalog, catalog::CAPABILITIES, error::storage, file::File};
use meta::{Cache, Meta};
use write::{Prepared, Writes};

/// The tables that plain collections share.
///
/// - `xronox_doc_collection`: `epoch` is drawn anew with every change of the
///   collection's indexes, so that it names one state of them.
/// - `xronox_doc`: `id` is the ordered key of the `_id`, `body` the canonical
///   text, `expires` the milliseconds since 1970 from when on it is gone.
/// - `xronox_doc_index`: `spec` is what
///   [`DocIndex::to_json`](xronox_store::DocIndex::to_json) gives; `multi`
///   says whether some document ever had several keys.
/// - `xronox_doc_key`: `key` is the [tuple](xronox_store::documents::TupleKey)
///   of the index's fields and, in the direction of the last of them, of the
///   `_id`.
pub(crate) const TABLES: &str = "
CREATE TABLE xronox_doc_collection (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    epoch INTEGER NOT NULL
) STRICT;
CREATE TABLE xronox_doc (
    doc INTEGER PRIMARY KEY,
    collection INTEGER NOT NULL,
    id TEXT NOT NULL,
    expires INTEGER,
    body BLOB NOT NULL,
    UNIQUE (collection, id)
) STRICT;
CREATE INDEX xronox_doc_expires ON xronox_doc (expires, collection) WHERE expires IS NOT NULL;
CREATE TABLE xronox_doc_index (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    collection INTEGER NOT NULL,
    name TEXT NOT NULL,
    spec TEXT NOT NULL,
    multi INTEGER NOT NULL,
    UNIQUE (collection, name)
) STRICT;
CREATE TABLE xronox_doc_key (
    idx INTEGER NOT NULL,
    key BLOB NOT NULL,
    doc INTEGER NOT NULL,
    PRIMARY KEY (idx, key)
) STRICT, WITHOUT ROWID;
";

/// The plain collections of a database in one SQLite file, which they share
/// with its [catalog](SqliteCatalog): closing one closes both.
#[derive(Debug, Clone)]
pub struct SqliteDocuments {
    file: Arc<File>,
    clock: Arc<dyn Clock>,
    cache: Arc<Cache>,
}

impl SqliteCatalog {
    /// The plain collections beside the versioned ones.
    pub fn documents(&self) -> SqliteDocuments {
        SqliteDocuments {
            file: Arc::clone(&self.file),
            clock: Arc::clone(&self.clock),
            cache: Arc::default(),
        }
    }
}

impl SqliteDocuments {
    /// Runs `work` on a collection, if it is there: on this thread if the
    /// plan is a handful of look-ups, else where blocking is allowed.
    async fn read<T, W>(
        &self,
        collection: &CollectionName,
        filter: &Filter,
        order: Option<&DocFind>,
        work: W,
    ) -> Result<T, StoreError>
    where
        T: Default + Send + 'static,
        W: Fn(&Connection, &Meta, &Plan, Timestamp) -> Result<T, StoreError> + Send + 'static,
    {
        let now = self.clock.now();
        let quick = self.file.read(|db| {
            let view = db.unchecked_transaction().map_err(storage)?;
            let done = match self.cache.load(&view, collection)? {
                None => Some(T::default()),
                Some(meta) => {
                    let plan = Plan::of(&meta.indexed(), filter, order);
                    if plan.is_quick() {
                        Some(work(&view, &meta, &plan, now)?)
                    } else {
                        None
                    }
                }
            };
            view.finish().map_err(storage)?;
            Ok(done)
        })?;
        if let Some(done) = quick {
            return Ok(done);
        }
        let (cache, collection) = (Arc::clone(&self.cache), collection.clone());
        let (filter, order) = (filter.clone(), order.cloned());
        let scan = self
            .file
            .scan(move |db| match cache.load(db, &collection)? {
                None => Ok(T::default()),
                Some(meta) => {
                    let plan = Plan::of(&meta.indexed(), &filter, order.as_ref());
                    work(db, &meta, &plan, now)
                }
            });
        scan.await
    }

    /// Runs `work` on the writer thread.
    async fn write<T, W>(&self, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: FnOnce(&mut Writes<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let (cache, clock) = (Arc::clone(&self.cache), Arc::clone(&self.clock));
        let written = self
            .file
            .write(move |db| work(&mut Writes::new(db, &cache, clock.now())));
        written.await
    }
}

#[async_trait]
impl Documents for SqliteDocuments {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    async fn insert(
        &self,
        collection: &CollectionName,
        documents: Vec<Value>,
    ) -> Result<Vec<InsertOutcome>, StoreError> {
        within("an insert", documents.len(), MAX_BATCH)?;
        let collection = collection.clone();
        let documents: Vec<_> = documents.into_iter().map(Prepared::new).collect();
        let written = self.write(move |writes| {
            let documents = documents.into_iter();
            documents
                .map(|document| writes.insert(&collection, document))
                .collect()
        });
        written.await
    }

    async fn find(
        &self,
        collection: &CollectionName,
        find: &DocFind,
    ) -> Result<Vec<Value>, StoreError> {
        let start = find.start()?;
        let asked = find.clone();
        let found = self.read(
            collection,
            &find.filter,
            Some(find),
            move |db, meta, plan, now| walk::find(db, meta, plan, &asked, start.as_ref(), now),
        );
        found.await
    }

    async fn update_one(
        &self,
        collection: &CollectionName,
        update: &DocUpdate,
    ) -> Result<UpdateOutcome, StoreError> {
        let (collection, update) = (collection.clone(), update.clone());
        self.write(move |writes| writes.update(&collection, &update))
            .await
    }

    async fn delete(
        &self,
        collection: &CollectionName,
        filter: &Filter,
        limit: usize,
    ) -> Result<u64, StoreError> {
        within("a page", limit, MAX_PAGE)?;
        let (collection, filter) = (collection.clone(), filter.clone());
        self.write(move |writes| writes.delete(&collection, &filter, limit))
            .await
    }

    async fn count(&self, collection: &CollectionName, filter: &Filter) -> Result<u64, StoreError> {
        let asked = filter.clone();
        let counted = self.read(collection, filter, None, move |db, meta, plan, now| {
            walk::count(db, meta, plan, &asked, now)
        });
        counted.await
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
        self.write(move |writes| writes.apply(&operations, atomic))
            .await
    }

    async fn ensure_index(
        &self,
        collection: &CollectionName,
        index: &DocIndex,
    ) -> Result<(), StoreError> {
        index
            .check()
            .map_err(|e| StoreError::Refused(e.to_string()))?;
        let (collection, index) = (collection.clone(), index.clone());
        self.write(move |writes| ddl::add_index(writes, &collection, &index))
            .await
    }

    async fn indexes(&self, collection: &CollectionName) -> Result<Vec<DocIndex>, StoreError> {
        let meta = self.file.read(|db| {
            let view = db.unchecked_transaction().map_err(storage)?;
            let meta = self.cache.load(&view, collection)?;
            view.finish().map_err(storage)?;
            Ok(meta)
        })?;
        let indexes = meta.iter().flat_map(|meta| &meta.indexes);
        Ok(indexes.map(|index| index.spec.clone()).collect())
    }

    async fn drop_index(&self, collection: &CollectionName, name: &str) -> Result<(), StoreError> {
        let (collection, name) = (collection.clone(), name.to_owned());
        self.write(move |writes| ddl::drop_index(writes, &collection, &name))
            .await
    }

    async fn collections(&self) -> Result<Vec<CollectionName>, StoreError> {
        self.file.read(meta::names)
    }

    async fn drop_collection(&self, collection: &CollectionName) -> Result<(), StoreError> {
        let collection = collection.clone();
        self.write(move |writes| ddl::drop_collection(writes, &collection))
            .await
    }

    async fn sweep(&self, limit: usize) -> Result<u64, StoreError> {
        within("a page", limit, MAX_PAGE)?;
        self.write(move |writes| writes.sweep(None, limit)).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.file.close().await
    }
}

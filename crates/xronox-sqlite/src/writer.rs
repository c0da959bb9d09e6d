//! What the writer remembers between transactions.

use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::Connection;
use xronox_model::CollectionName;
use xronox_store::StoreError;

use crate::collection::{Cache, Collection, data_version};

/// The collections as the writer's connection sees them.
///
/// What another process committed, and a transaction that was taken back after
/// a job had looked at what another one left in it, makes it forget everything;
/// reading it again costs microseconds.
#[derive(Debug, Default)]
pub(crate) struct Known {
    collections: Cache,
    /// The file's version and the transactions taken back, when it was read.
    as_of: Mutex<(i64, u64)>,
}

impl Known {
    /// Begins a job: nothing that another process changed, or that was never
    /// committed, is believed.
    pub(crate) fn begin(&self, db: &Connection, taken_back: u64) -> Result<(), StoreError> {
        let now = (data_version(db)?, taken_back);
        if std::mem::replace(&mut *self.as_of.lock(), now) != now {
            self.collections.clear();
        }
        Ok(())
    }

    /// A collection, made if it is not there.
    pub(crate) fn collection(
        &self,
        db: &Connection,
        name: &CollectionName,
    ) -> Result<Arc<Collection>, StoreError> {
        if let Some(known) = self.collections.get(name) {
            return Ok(known);
        }
        if let Some(found) = Collection::load(db, name)? {
            // One that is made here could be taken back with its job, so it
            // is believed only once a later job finds it.
            self.collections.put(name, &found);
            return Ok(found);
        }
        Collection::load_or_make(db, name)
    }

    pub(crate) fn forget(&self, name: &CollectionName) {
        self.collections.forget(name);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    };

    use xronox_model::{CollectionName, IndexSpec};
    use xronox_store::{Batch, Catalog, SystemClock};

    use crate::SqliteCatalog;

    #[tokio::test]
    async fn what_was_never_committed_is_not_believed() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("a.sqlite");
        let catalog = SqliteCatalog::open(path, "test", Arc::new(SystemClock))
            .await
            .unwrap();
        let name: CollectionName = "orders".parse().unwrap();
        let batch = Batch {
            epoch: 0,
            mutations: Vec::new(),
        };
        let batches = [(name.clone(), batch)];
        catalog.commit(&batches).await.unwrap();

        // While the writer is held up, what follows gathers into one transaction.
        let ((begun, has_begun), (go, may_go)) = (mpsc::channel(), mpsc::channel());
        let held = catalog.file.write(move |_| {
            begun.send(()).unwrap();
            may_go.recv().unwrap();
            Ok(())
        });
        let spec = IndexSpec::field("total".parse().unwrap());
        let failing = catalog.file.write(|db| {
            let failed = AtomicBool::new(false);
            let hook = move || !failed.swap(true, Ordering::Relaxed);
            db.commit_hook(Some(hook)).unwrap();
            Ok(())
        });
        let release = async {
            has_begun.recv().unwrap();
            tokio::task::yield_now().await;
            go.send(()).unwrap();
        };
        let (held, (), indexed, looked, failing) = tokio::join!(
            held,
            release,
            catalog.add_index(&name, &spec),
            catalog.commit(&batches),
            failing
        );
        held.unwrap();
        assert!(indexed.is_err() && looked.is_err() && failing.is_err());

        assert_eq!(catalog.indexes(&name).await.unwrap().epoch, 0);
        catalog.commit(&batches).await.unwrap();
    }
}

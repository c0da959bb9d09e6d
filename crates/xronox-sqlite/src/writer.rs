//! What the writer remembers between transactions.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use rusqlite::Connection;
use xronox_model::CollectionName;
use xronox_store::StoreError;

use crate::collection::{Cache, Collection, data_version};

/// The collections as the writer's connection sees them.
///
/// What another process committed, and what a failed job left in memory only,
/// makes it forget everything; reading it again costs microseconds.
#[derive(Debug, Default)]
pub(crate) struct Known {
    collections: Cache,
    version: AtomicI64,
}

impl Known {
    /// Begins a job: nothing another process changed is believed.
    pub(crate) fn begin(&self, db: &Connection) -> Result<(), StoreError> {
        let version = data_version(db)?;
        if self.version.swap(version, Ordering::Relaxed) != version {
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

//! Counting beside the writes.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::OnceCell;
use xronox_model::CollectionName;
use xronox_store::Documents;

use super::{fold::Fold, rules::CounterRules, stored::ensure_indexes};
use crate::{Error, ErrorKind, storage::Storage};

/// How long to wait after a failure, at first; each next wait is twice as long.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest wait, as so many times twice as long.
const LONGEST: u32 = 6;

/// Counts the collections of a database soon after they are written to.
#[derive(Debug)]
pub(crate) struct Folding {
    /// Whose the database is.
    pub(super) tenant: Option<String>,
    pub(super) rules: Arc<CounterRules>,
    /// Whether writes are counted without being asked for.
    eager: bool,
    debounce: Duration,
    /// The collections that a task is at; whether they were written to since
    /// it began.
    busy: Mutex<HashMap<CollectionName, bool>>,
    storage: Weak<Storage>,
    /// Whether the indexes were made sure of.
    prepared: OnceCell<()>,
}

impl Folding {
    pub(crate) fn new(
        storage: Weak<Storage>,
        tenant: Option<String>,
        rules: Arc<CounterRules>,
        apart: bool,
        debounce: Duration,
    ) -> Self {
        Self {
            eager: apart || !rules.are_none(),
            tenant,
            rules,
            debounce,
            busy: Mutex::default(),
            storage,
            prepared: OnceCell::new(),
        }
    }

    /// Makes sure of the indexes that counts are read by.
    pub(super) async fn prepare(&self, documents: &dyn Documents) -> Result<(), Error> {
        let prepared = self.prepared.get_or_try_init(|| ensure_indexes(documents));
        prepared.await.copied()
    }

    /// Has a collection counted that was just written to.
    pub(crate) fn nudge(&self, collection: &CollectionName) {
        if !self.eager {
            return;
        }
        let mut busy = self.busy.lock();
        if let Some(again) = busy.get_mut(collection) {
            *again = true;
            return;
        }
        // It stays open until that is done, though nobody uses it any more.
        let Some(storage) = self.storage.upgrade() else {
            return;
        };
        busy.insert(collection.clone(), false);
        tokio::spawn(count(storage, collection.clone(), self.debounce));
    }

    /// Whether there is anything to count by now; else the task is over.
    fn again(&self, collection: &CollectionName) -> bool {
        let mut busy = self.busy.lock();
        match busy.get_mut(collection) {
            Some(again) if *again => {
                *again = false;
                true
            }
            _ => {
                busy.remove(collection);
                false
            }
        }
    }
}

async fn count(storage: Arc<Storage>, collection: CollectionName, debounce: Duration) {
    let (mut pause, mut failures) = (debounce, 0);
    loop {
        tokio::time::sleep(pause).await;
        if storage.open().is_err() {
            return;
        }
        match fold(&storage, &collection).await {
            Ok(()) => {
                (pause, failures) = (debounce, 0);
                if !storage.folding.again(&collection) {
                    return;
                }
            }
            Err(error) => {
                failures += 1;
                tracing::warn!(%collection, %error, failures, "writes are not counted yet");
                if !matches!(
                    error.kind(),
                    ErrorKind::Unavailable | ErrorKind::Indeterminate { .. }
                ) {
                    // Time alone does not mend it; the next write tries again.
                    storage.folding.busy.lock().remove(&collection);
                    return;
                }
                pause = PAUSE * 2_u32.pow(failures.min(LONGEST));
            }
        }
    }
}

async fn fold(storage: &Arc<Storage>, collection: &CollectionName) -> Result<(), Error> {
    Fold::of(&storage.shared(collection)).run().await.map(drop)
}

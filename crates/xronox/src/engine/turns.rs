//! Turns at a record: changes that depend on its current document queue up,
//! and each hands its result to the next one before it is committed, so that
//! a hot record costs one commit a batch and not one a change.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;
use xronox_model::{Attempt, File, RecordId, Sha256};

/// What a live record is, or will be if what is queued for it commits. It may
/// not, and another version may then take the number: so whoever goes on from
/// it names it by its attempt.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    pub(crate) ov: u64,
    pub(crate) attempt: Attempt,
    pub(crate) document: serde_json::Value,
    pub(crate) sha256: Sha256,
    /// The functions that it names.
    pub(crate) functions: Vec<String>,
    /// The files that it has.
    pub(crate) files: Vec<File>,
}

type Place = Arc<tokio::sync::Mutex<Option<Expected>>>;

/// The records of a collection that someone is changing.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<HashMap<RecordId, Place>>);

/// A place in the queue of a record, kept until the change is answered.
#[derive(Debug)]
pub(crate) struct Standing {
    turns: Arc<Turns>,
    id: RecordId,
    place: Place,
}

impl Turns {
    /// Joins the queue of a record.
    pub(crate) fn stand(self: &Arc<Self>, id: &RecordId) -> Standing {
        let place = Arc::clone(self.0.lock().entry(id.clone()).or_default());
        Standing {
            turns: Arc::clone(self),
            id: id.clone(),
            place,
        }
    }
}

impl Standing {
    /// Waits for the turn. What it guards is what the record is expected to be,
    /// if someone has just changed it.
    pub(crate) async fn turn(&self) -> OwnedMutexGuard<Option<Expected>> {
        Arc::clone(&self.place).lock_owned().await
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        let mut records = self.turns.0.lock();
        // The last one to leave (the map and it hold the place) takes the queue
        // along: what it expected is committed or failed by now, and the
        // catalog knows better.
        if Arc::strong_count(&self.place) == 2 {
            records.remove(&self.id);
        }
    }
}

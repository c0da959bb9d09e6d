//! Turns at a record: changes that depend on its current document queue up,
//! and each hands its result to the next one before it is committed, so that
//! a hot record costs one commit a batch and not one a change.
//!
//! Whole documents are written past that queue. One that is committed makes
//! everything that was queued for the record start over, so a change that has
//! lost a few times presses for its turn: from then on they queue up too.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::{MutexGuard, OwnedMutexGuard};
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

/// What the changes before will leave of a record.
#[derive(Debug)]
pub(crate) struct Ahead {
    /// The first of those that went on from each other. If one of them fails,
    /// so do all that come after it, but none that began anew.
    pub(crate) chain: Attempt,
    pub(crate) expected: Expected,
}

#[derive(Debug, Default)]
struct Place {
    turn: Arc<tokio::sync::Mutex<Option<Ahead>>>,
    /// How many changes press for it.
    pressed: AtomicUsize,
}

/// The records of a collection that someone is changing.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<HashMap<RecordId, Arc<Place>>>);

/// A place in the queue of a record, kept until the change is answered.
#[derive(Debug)]
pub(crate) struct Standing {
    turns: Arc<Turns>,
    id: RecordId,
    place: Arc<Place>,
    presses: bool,
}

/// The turn of one who writes past the queue, kept until that is answered.
#[derive(Debug)]
pub(crate) struct Way {
    _turn: OwnedMutexGuard<Option<Ahead>>,
    _standing: Standing,
}

impl Turns {
    /// Joins the queue of a record.
    pub(crate) fn stand(self: &Arc<Self>, id: &RecordId) -> Standing {
        let place = Arc::clone(self.0.lock().entry(id.clone()).or_default());
        self.standing(id, place)
    }

    /// For one who writes past the queue: waits for a turn too, if some change
    /// of the record presses for it.
    pub(crate) async fn give_way(self: &Arc<Self>, id: &RecordId) -> Option<Way> {
        let standing = {
            let records = self.0.lock();
            let place = records.get(id)?;
            if place.pressed.load(Ordering::Relaxed) == 0 {
                return None;
            }
            self.standing(id, Arc::clone(place))
        };
        Some(standing.keep().await)
    }

    /// Waits for a turn at a record, and keeps it.
    pub(crate) async fn take(self: &Arc<Self>, id: &RecordId) -> Way {
        let mut standing = self.stand(id);
        standing.press();
        standing.keep().await
    }

    fn standing(self: &Arc<Self>, id: &RecordId, place: Arc<Place>) -> Standing {
        Standing {
            turns: Arc::clone(self),
            id: id.clone(),
            place,
            presses: false,
        }
    }
}

impl Standing {
    /// Waits for the turn. What it guards is what the record is expected to be,
    /// if someone has just changed it.
    pub(crate) async fn turn(&self) -> MutexGuard<'_, Option<Ahead>> {
        self.place.turn.lock().await
    }

    /// Waits for the turn and keeps it. Whoever comes after it does not go on
    /// from what was before.
    async fn keep(self) -> Way {
        let mut turn = Arc::clone(&self.place.turn).lock_owned().await;
        *turn = None;
        Way {
            _turn: turn,
            _standing: self,
        }
    }

    /// Presses for its turns from now on.
    pub(crate) fn press(&mut self) {
        if !std::mem::replace(&mut self.presses, true) {
            self.place.pressed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lets nobody go on from a chain of which a change has failed.
    pub(crate) async fn break_off(&self, chain: Attempt) {
        self.turn().await.take_if(|ahead| ahead.chain == chain);
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        if self.presses {
            self.place.pressed.fetch_sub(1, Ordering::Relaxed);
        }
        let mut records = self.turns.0.lock();
        // The last one to leave (the map and it hold the place) takes the queue
        // along: what it expected is committed or failed by now, and the
        // catalog knows better.
        if Arc::strong_count(&self.place) == 2 {
            records.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ahead(chain: Attempt, attempt: Attempt) -> Ahead {
        let expected = Expected {
            ov: 1,
            attempt,
            document: serde_json::json!({}),
            sha256: Sha256::of(b"{}"),
            functions: Vec::new(),
            files: Vec::new(),
        };
        Ahead { chain, expected }
    }

    #[tokio::test]
    async fn who_writes_past_waits_only_for_one_that_presses() {
        let turns = Arc::new(Turns::default());
        let id: RecordId = "a".parse().unwrap();
        assert!(turns.give_way(&id).await.is_none());
        let mut standing = turns.stand(&id);
        let turn = standing.turn().await;
        assert!(turns.give_way(&id).await.is_none());
        drop(turn);
        standing.press();
        standing.press();
        let mut turn = standing.turn().await;
        *turn = Some(ahead(
            Attempt::from_bytes([1; 12]),
            Attempt::from_bytes([1; 12]),
        ));
        let waiting = tokio::spawn({
            let (turns, id) = (Arc::clone(&turns), id.clone());
            async move { turns.give_way(&id).await.is_some() }
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!waiting.is_finished());
        drop(turn);
        assert!(waiting.await.unwrap());
        // What comes after it does not go on from what was before.
        assert!(standing.turn().await.is_none());
        drop(standing);
        assert!(turns.0.lock().is_empty());
        assert!(turns.give_way(&id).await.is_none());
    }

    #[tokio::test]
    async fn a_failure_breaks_off_its_own_chain_alone() {
        let turns = Arc::new(Turns::default());
        let standing = turns.stand(&"a".parse().unwrap());
        let [first, second, later] = [1, 2, 3].map(|n| Attempt::from_bytes([n; 12]));
        *standing.turn().await = Some(ahead(later, later));
        standing.break_off(first).await;
        assert!(standing.turn().await.is_some());
        *standing.turn().await = Some(ahead(first, second));
        standing.break_off(first).await;
        assert!(standing.turn().await.is_none());
    }
}

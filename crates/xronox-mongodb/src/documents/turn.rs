//! Taking turns at a document that many change at once.

use std::{
    hash::{BuildHasher, RandomState},
    sync::OnceLock,
    time::Duration,
};

use rand::Rng;
use tokio::sync::{Mutex, MutexGuard};
use xronox_model::{CollectionName, OrderedKey};
use xronox_store::StoreError;

use crate::error::Failure;

/// How many documents can be changed by turns at once; those that share a
/// place wait for one another.
const PLACES: usize = 64;

/// Turns at documents, among the calls of one process. Others are met with a
/// compare-and-set.
#[derive(Debug, Default)]
pub(super) struct Turns {
    hash: RandomState,
    /// Made for the first of them: most databases are idle, and many are open.
    places: OnceLock<Box<[Mutex<()>]>>,
}

impl Turns {
    pub(super) async fn take(&self, name: &CollectionName, id: &OrderedKey) -> MutexGuard<'_, ()> {
        let hash = self.hash.hash_one((name, id.as_str()));
        let place = usize::try_from(hash % PLACES as u64).unwrap_or_default();
        let make = || (0..PLACES).map(|_| Mutex::default()).collect();
        self.places.get_or_init(make)[place].lock().await
    }
}

/// How often something was tried that others undid.
#[derive(Debug, Default)]
pub(super) struct Tries(u32);

/// Beyond this many it is given up.
const MAX_TRIES: u32 = 100;

impl Tries {
    /// Waits for the next try: not at all at first, then longer and longer,
    /// and differently for each.
    pub(super) async fn again(&mut self, name: &CollectionName) -> Result<(), Failure> {
        self.0 += 1;
        if self.0 > MAX_TRIES {
            let message = format!("{name} is being changed by others again and again");
            return Err(StoreError::unavailable(message).into());
        }
        if self.0 > 1 {
            let most = 1_u64 << self.0.min(6);
            let millis = rand::rng().random_range(0..=most);
            tokio::time::sleep(Duration::from_millis(millis)).await;
        }
        Ok(())
    }

    /// How often it was tried again.
    pub(super) fn count(&self) -> u32 {
        self.0
    }
}

//! Room for bodies that wait in memory.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use xronox_store::StoreError;

/// Room for so many bytes (`payloads.queueBytes`), shared by all writes over one
/// database connection: those whose body is on its way to its space, and those queued.
///
/// Whoever has taken some waits for nobody who needs more.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    kib: Arc<Semaphore>,
    size: u32,
    closed: Arc<AtomicBool>,
}

impl Room {
    pub(crate) fn new(bytes: u64) -> Self {
        let most = u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX);
        let size = u32::try_from(bytes / 1024).unwrap_or(u32::MAX);
        let size = size.clamp(1, most);
        Self {
            kib: Arc::new(Semaphore::new(size as usize)),
            size,
            closed: Arc::default(),
        }
    }

    /// Whether it is closed, or about to be.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Waits for room, in the order of asking; what is larger than all of it
    /// waits until it is alone.
    pub(crate) async fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, StoreError> {
        let kib = u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX);
        let taken = Arc::clone(&self.kib).acquire_many_owned(kib.min(self.size));
        taken.await.map_err(|_| StoreError::Closed)
    }

    /// Waits until nobody has any, and lets nobody in any more.
    pub(crate) async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let drained = self.kib.acquire_many(self.size).await;
        self.kib.close();
        drop(drained);
    }
}

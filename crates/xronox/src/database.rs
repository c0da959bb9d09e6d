//! One database: its catalog and its bodies.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use rand::RngCore;
use xronox_model::{Attempt, RecordId, database_prefix};
use xronox_store::{Catalog, Clock, Codec, CompressionSettings, Documents, Payloads, StoreError};

use crate::{Error, ErrorKind, Settings, engine::room::Room};

/// One database of a store, and what this process knows of it.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) documents: Arc<dyn Documents>,
    pub(crate) payloads: Payloads,
    pub(crate) codec: Codec,
    pub(crate) settings: Arc<Settings>,
    pub(crate) clock: Arc<dyn Clock>,
    /// In front of every payload key.
    pub(crate) prefix: String,
    pub(crate) room: Room,
    closed: AtomicBool,
}

impl Database {
    pub(crate) fn new(
        catalog: Arc<dyn Catalog>,
        documents: Arc<dyn Documents>,
        payloads: Payloads,
        settings: Arc<Settings>,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        let writes = &settings.write_optimization;
        let codec = Codec {
            compression: writes.compression_enabled.then(|| CompressionSettings {
                min_bytes: usize::try_from(writes.compression_min_bytes).unwrap_or(usize::MAX),
                ..CompressionSettings::default()
            }),
        };
        let room = Room::new(settings.payloads.queue_bytes);
        let marker = catalog.marker();
        Arc::new(Self {
            prefix: database_prefix("", &marker.database, &marker.id),
            catalog,
            documents,
            payloads,
            codec,
            settings,
            clock,
            room,
            closed: AtomicBool::new(false),
        })
    }

    /// Refuses to go on once the store is closed.
    pub(crate) fn open(&self) -> Result<(), Error> {
        if self.closed.load(Ordering::Acquire) {
            return Err(StoreError::Closed.into());
        }
        Ok(())
    }

    /// Lets the writes under way finish, then closes the storage.
    pub(crate) async fn close(&self) -> Result<(), Error> {
        self.closed.store(true, Ordering::Release);
        // Whoever has all the room has seen every queued write answered.
        self.room.close().await;
        Ok(self.catalog.close().await?)
    }

    pub(crate) fn new_attempt() -> Attempt {
        let mut bytes = [0; 12];
        rand::rng().fill_bytes(&mut bytes);
        Attempt::from_bytes(bytes)
    }

    /// A fresh ObjectId: seconds, five random bytes of the process, and a
    /// counter (<https://www.mongodb.com/docs/manual/reference/bson-types/#objectid>).
    pub(crate) fn new_id(&self) -> RecordId {
        static PROCESS: OnceLock<([u8; 5], AtomicU32)> = OnceLock::new();
        let (process, counter) = PROCESS.get_or_init(|| {
            let (mut process, mut start) = ([0; 5], [0; 4]);
            rand::rng().fill_bytes(&mut process);
            rand::rng().fill_bytes(&mut start);
            (process, AtomicU32::new(u32::from_be_bytes(start)))
        });
        let seconds = self.clock.now().as_millis().max(0) / 1000;
        let seconds = u32::try_from(seconds).unwrap_or(u32::MAX).to_be_bytes();
        let count = counter.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let mut id = [0; 12];
        id[..4].copy_from_slice(&seconds);
        id[4..9].copy_from_slice(process);
        id[9..].copy_from_slice(&count[1..]);
        RecordId::from_object_id(id)
    }
}

/// The error for something that a setting forbids.
pub(crate) fn forbidden(message: &str) -> Error {
    Error::new(ErrorKind::Forbidden, message)
}

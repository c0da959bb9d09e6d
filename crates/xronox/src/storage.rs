//! What one database is kept in: its catalog and its bodies.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use rand::RngCore;
use xronox_model::{Attempt, CollectionName, RecordId, database_prefix};
use xronox_store::{Catalog, Clock, Codec, CompressionSettings, Documents, Payloads, StoreError};

use crate::{
    Error, ErrorKind, Settings,
    collection::Shared,
    counters::{CompiledRules, Folding},
    engine::room::Room,
};

/// How what is written to a database is counted.
#[derive(Debug)]
pub(crate) struct Counting {
    /// Whose the database is.
    pub(crate) tenant: Option<String>,
    pub(crate) rules: Arc<CompiledRules>,
    /// The database of the counts, if it is another one.
    pub(crate) apart: Option<Arc<Storage>>,
}

/// What one database is kept in, and how.
#[derive(Debug)]
pub(crate) struct Storage {
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) documents: Arc<dyn Documents>,
    pub(crate) payloads: Payloads,
    pub(crate) codec: Codec,
    pub(crate) settings: Arc<Settings>,
    pub(crate) clock: Arc<dyn Clock>,
    /// In front of every payload key.
    pub(crate) prefix: String,
    pub(crate) room: Room,
    /// Whether a write found the database sealed: it is about to be somewhere
    /// else, or is already.
    pub(crate) outdated: Arc<AtomicBool>,
    /// Counts what is written.
    pub(crate) folding: Arc<Folding>,
    /// Where that is kept, if not here.
    apart: Option<Arc<Storage>>,
    /// What the handles of each collection share, while there are any.
    shared: Mutex<HashMap<CollectionName, Weak<Shared>>>,
}

impl Storage {
    pub(crate) fn new(
        catalog: Arc<dyn Catalog>,
        documents: Arc<dyn Documents>,
        payloads: Payloads,
        settings: Arc<Settings>,
        clock: Arc<dyn Clock>,
        room: Room,
        counting: Counting,
    ) -> Arc<Self> {
        let writes = &settings.write_optimization;
        let codec = Codec {
            compression: writes.compression_enabled.then(|| CompressionSettings {
                min_bytes: usize::try_from(writes.compression_min_bytes).unwrap_or(usize::MAX),
                ..CompressionSettings::default()
            }),
        };
        let marker = catalog.marker();
        let prefix = database_prefix("", &marker.database, &marker.id);
        let Counting {
            tenant,
            rules,
            apart,
        } = counting;
        let debounce = Duration::from_millis(writes.debounce_ms);
        Arc::new_cyclic(|own| Self {
            folding: Arc::new(Folding::new(
                Weak::clone(own),
                tenant,
                rules,
                apart.is_some(),
                debounce,
            )),
            apart,
            prefix,
            catalog,
            documents,
            payloads,
            codec,
            settings,
            clock,
            room,
            outdated: Arc::default(),
            shared: Mutex::default(),
        })
    }

    /// Where what is counted here is kept.
    pub(crate) fn counts(&self) -> &Self {
        self.apart.as_deref().unwrap_or(self)
    }

    /// Whether nothing is counted any more: a database is about to go, or to be
    /// somewhere else, and would come back with what is written.
    pub(crate) async fn nobody_counts(&self) -> Result<bool, Error> {
        for storage in [Some(self), self.apart.as_deref()].into_iter().flatten() {
            if storage.catalog.is_sealed().await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What the handles of a collection share. Without one of them it is let
    /// go, so that a database which nobody uses is.
    pub(crate) fn shared(self: &Arc<Self>, name: &CollectionName) -> Arc<Shared> {
        let mut all = self.shared.lock();
        if let Some(shared) = all.get(name).and_then(Weak::upgrade) {
            return shared;
        }
        all.retain(|_, shared| shared.strong_count() > 0);
        let shared = Shared::new(Arc::clone(self), name.clone());
        all.insert(name.clone(), Arc::downgrade(&shared));
        shared
    }

    pub(crate) fn is_outdated(&self) -> bool {
        self.outdated.load(Ordering::Acquire)
    }

    /// Refuses to put a body that no version could name.
    pub(crate) async fn refuse_sealed(&self) -> Result<(), Error> {
        if self.is_outdated() {
            if self.catalog.is_sealed().await? {
                return Err(StoreError::Sealed.into());
            }
            self.outdated.store(false, Ordering::Release);
        }
        Ok(())
    }

    /// Refuses to go on once the store is closed.
    pub(crate) fn open(&self) -> Result<(), Error> {
        if self.room.is_closed() {
            return Err(StoreError::Closed.into());
        }
        Ok(())
    }

    /// Lets the writes under way finish, then closes the catalog.
    pub(crate) async fn close(&self) -> Result<(), Error> {
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

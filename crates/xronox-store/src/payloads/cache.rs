//! Bodies kept in memory.

use std::{
    error::Error,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use moka::future::Cache;
use xronox_model::{BucketRole, Sha256};

use crate::StoreError;

/// What an entry costs beside its body and key, roughly.
const ENTRY_OVERHEAD: usize = 256;

/// Checked bodies, up to so many bytes of them. Clones share them, so that
/// one bound holds for all databases of a process.
#[derive(Clone)]
pub struct PayloadCache(Option<Cache<CacheKey, Entry>>);

/// An object. `space` tells spaces of one name in several databases apart.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct CacheKey {
    pub(super) space: u64,
    pub(super) role: BucketRole,
    pub(super) key: String,
}

#[derive(Clone)]
struct Entry {
    /// What the canonical bytes were checked against.
    sha256: Sha256,
    canonical: Bytes,
}

impl Default for PayloadCache {
    /// 64 MiB.
    fn default() -> Self {
        Self::new(64 << 20)
    }
}

impl PayloadCache {
    /// A cache of at most this many bytes; 0 for none.
    pub fn new(max_bytes: u64) -> Self {
        if max_bytes == 0 {
            return Self::off();
        }
        let weigh = |key: &CacheKey, entry: &Entry| {
            let bytes = entry.canonical.len() + key.key.len() + ENTRY_OVERHEAD;
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        Self(Some(
            Cache::builder()
                .max_capacity(max_bytes)
                .weigher(weigh)
                .build(),
        ))
    }

    /// No cache.
    pub fn off() -> Self {
        Self(None)
    }

    /// The bytes it holds now, keys included.
    pub async fn bytes(&self) -> u64 {
        let Some(cache) = &self.0 else { return 0 };
        cache.run_pending_tasks().await;
        cache.weighted_size()
    }

    /// The body with this hash, from memory or else from `load`, which many
    /// readers of one object wait for together.
    pub(super) async fn get<F, L>(
        &self,
        key: CacheKey,
        sha256: Sha256,
        load: F,
    ) -> Result<Bytes, StoreError>
    where
        F: Fn() -> L,
        L: Future<Output = Result<Bytes, StoreError>>,
    {
        let Some(cache) = &self.0 else {
            return load().await;
        };
        let ours = AtomicBool::new(false);
        let entry = cache.try_get_with(key, async {
            ours.store(true, Ordering::Relaxed);
            let canonical = load().await?;
            Ok::<_, StoreError>(Entry { sha256, canonical })
        });
        match entry.await {
            Ok(entry) if entry.sha256 == sha256 => Ok(entry.canonical),
            // Another row wants another body of this key. One of the two is
            // damaged, and storage knows which.
            Ok(_) => load().await,
            Err(error) => match &*error {
                StoreError::Corrupt(_) if !ours.into_inner() => load().await,
                _ => Err(share(&error)),
            },
        }
    }

    /// Drops a body.
    pub(super) async fn forget(&self, key: &CacheKey) {
        if let Some(cache) = &self.0 {
            cache.invalidate(key).await;
        }
    }
}

impl fmt::Debug for PayloadCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let max_bytes = self
            .0
            .as_ref()
            .and_then(|cache| cache.policy().max_capacity());
        f.debug_struct("PayloadCache")
            .field("max_bytes", &max_bytes.unwrap_or(0))
            .finish_non_exhaustive()
    }
}

/// One reader's copy of an error that several wait for.
fn share(error: &Arc<StoreError>) -> StoreError {
    match &**error {
        StoreError::Corrupt(text) => StoreError::Corrupt(text.clone()),
        StoreError::Refused(text) => StoreError::Refused(text.clone()),
        StoreError::Unavailable { message, source } => StoreError::Unavailable {
            message: message.clone(),
            source: source.is_some().then(|| SharedCause(error.clone()).into()),
        },
        other => StoreError::unavailable(other.to_string()),
    }
}

/// The cause of an error that several callers get.
#[derive(Debug)]
struct SharedCause(Arc<StoreError>);

impl fmt::Display for SharedCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.source() {
            Some(cause) => write!(f, "{cause}"),
            None => write!(f, "{}", self.0),
        }
    }
}

impl Error for SharedCause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source().and_then(Error::source)
    }
}

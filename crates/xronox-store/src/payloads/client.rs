//! An open connection to a store.

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc};

use object_store::{ObjectStore, memory::InMemory, path::Path as Key, prefix::PrefixStore};
use parking_lot::Mutex;

#[cfg(feature = "cloud")]
use super::cloud;
use super::{
    connection::{PerRole, Place, Plan, SpaceConnection, Target},
    files::FileStore,
    gate::Gate,
    space::{Bucket, Space},
};
use crate::{HealthStatus, StoreError};

/// An open storage connection, from which the spaces of many databases are
/// made. They share its HTTP connections, its turns and its limits. Clones are
/// the same connection.
///
/// | | S3 | Azure | GCS | files | memory |
/// |---|---|---|---|---|---|
/// | durable once put | yes | yes | yes | yes, synced | no |
/// | [presigned URLs](super::Payloads::presign) | yes, up to 7 days | yes, up to 7 days | yes, up to 7 days | no | no |
/// | storage class | class | access tier | class | no | no |
/// | large bodies in parts | yes | yes, unless they have a tier | yes | no need | yes |
/// | [missing buckets made](Space::create_buckets) | yes | yes | no | yes, at once | yes, at once |
/// | a missing bucket told from a missing object | yes | yes | yes | yes | never missing |
/// | credentials from the environment | yes | yes | yes | none | none |
///
/// What an upload in parts that was broken off leaves behind has no name and
/// is not listed. S3 and GCS drop it when told to, which is done where the
/// connection still allows it, and by a lifecycle rule (`AbortIncompleteMultipartUpload`)
/// that every bucket should have; Azure drops it after a week.
#[derive(Clone)]
pub struct SpaceClient(Arc<Shared>);

struct Shared {
    plan: Plan,
    gate: Gate,
    backend: Backend,
}

/// Stores by bucket, so that spaces that share a bucket share what is known of
/// it.
enum Backend {
    Memory(Mutex<BTreeMap<String, Arc<InMemory>>>),
    Files {
        base: PathBuf,
        buckets: Mutex<BTreeMap<String, Arc<FileStore>>>,
    },
    #[cfg(feature = "cloud")]
    Cloud(cloud::Account),
}

impl SpaceClient {
    /// Opens a connection. Nothing is asked of the store yet.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] naming the field that is wrong,
    /// [`StoreError::Unsupported`] for a cloud provider if this build has none
    /// (feature `cloud`), [`StoreError::Unavailable`] if the system's root
    /// certificates cannot be read.
    pub fn open(connection: &SpaceConnection) -> Result<Self, StoreError> {
        let plan = connection.plan()?;
        let backend = match &plan.target {
            Target::Memory => Backend::Memory(Mutex::default()),
            Target::Files(base) => Backend::Files {
                base: base.clone(),
                buckets: Mutex::default(),
            },
            #[cfg(feature = "cloud")]
            target => Backend::Cloud(cloud::Account::open(target, &plan.limits)?),
            #[cfg(not(feature = "cloud"))]
            _ => {
                return Err(StoreError::Unsupported(
                    "this build has no cloud storage (feature `cloud`)".to_owned(),
                ));
            }
        };
        Ok(Self(Arc::new(Shared {
            gate: Gate::new(plan.limits),
            plan,
            backend,
        })))
    }

    /// The space of a database: these buckets, in the folders and with the
    /// storage classes of the connection. Files and memory have a bucket for
    /// every role. Directories of files are made, which blocks.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] if there is no bucket, for a name that cannot be
    /// one, and if two roles would be in one place;
    /// [`StoreError::Unavailable`] if a directory cannot be made.
    pub fn space(&self, name: impl Into<String>, buckets: &PerRole) -> Result<Space, StoreError> {
        let mut by_role = BTreeMap::new();
        for (role, place) in self.0.plan.places(buckets)? {
            by_role.insert(role, self.0.backend.bucket(&place)?);
        }
        Ok(Space::of(name, by_role, self.0.gate.clone()))
    }

    /// How the store was found lately by those who used it.
    pub fn health(&self) -> HealthStatus {
        self.0.gate.health().status()
    }
}

impl Backend {
    fn bucket(&self, place: &Place) -> Result<Bucket, StoreError> {
        let folder = Key::from(place.folder.as_str());
        match self {
            Self::Memory(buckets) => {
                let mut buckets = buckets.lock();
                let store = buckets.entry(place.bucket.clone()).or_default().clone();
                if place.folder.is_empty() {
                    return Ok(Bucket::memory(store));
                }
                Ok(Bucket::plain(Arc::new(PrefixStore::new(store, folder))))
            }
            Self::Files { base, buckets } => {
                let mut buckets = buckets.lock();
                if !buckets.contains_key(&place.bucket) {
                    let store = FileStore::open(base, &place.bucket)?;
                    buckets.insert(place.bucket.clone(), Arc::new(store));
                }
                let store = buckets[&place.bucket].clone();
                let store: Arc<dyn ObjectStore> = if place.folder.is_empty() {
                    store
                } else {
                    Arc::new(PrefixStore::new(store, folder))
                };
                Ok(Bucket::plain(store))
            }
            #[cfg(feature = "cloud")]
            Self::Cloud(account) => account.bucket(place),
        }
    }
}

impl fmt::Debug for SpaceClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The plan holds keys only as secrets, which do not show.
        f.debug_struct("SpaceClient")
            .field("target", &self.0.plan.target)
            .finish_non_exhaustive()
    }
}

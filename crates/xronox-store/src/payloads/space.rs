//! Where objects are kept.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use object_store::{ObjectStore, memory::InMemory};
use xronox_model::BucketRole;

use super::{files::FileStore, gate::Gate};
use crate::StoreError;

/// Every bucket role.
const ROLES: [BucketRole; 4] = [
    BucketRole::Records,
    BucketRole::Versions,
    BucketRole::Content,
    BucketRole::Backups,
];

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

/// A storage connection with the buckets that a database uses of it. Clones
/// are the same space.
#[derive(Debug, Clone)]
pub struct Space(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    id: u64,
    name: String,
    buckets: BTreeMap<BucketRole, Arc<dyn ObjectStore>>,
    gate: Gate,
}

impl Space {
    /// A space of any stores, one a bucket. Several roles may share a store.
    ///
    /// Requests are limited in time and repeated here, so a store that does
    /// so too is best told not to.
    pub fn new(
        name: impl Into<String>,
        buckets: BTreeMap<BucketRole, Arc<dyn ObjectStore>>,
        gate: Gate,
    ) -> Self {
        Self(Arc::new(Parts {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            name: name.into(),
            buckets,
            gate,
        }))
    }

    /// A space that lasts as long as the process, with a bucket for each role.
    pub fn memory(name: impl Into<String>) -> Self {
        let bucket = |role| (role, Arc::new(InMemory::new()) as Arc<dyn ObjectStore>);
        Self::new(name, ROLES.map(bucket).into(), Gate::default())
    }

    /// A space of files: objects lie at `<base>/<bucket>/<key>`. The
    /// directories `<base>/<bucket>` are made durably before this returns; it
    /// blocks for that.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] for a bucket name that is no plain file name,
    /// [`StoreError::Unavailable`] if a directory cannot be made.
    pub fn files(
        name: impl Into<String>,
        base: &Path,
        buckets: &BTreeMap<BucketRole, String>,
        gate: Gate,
    ) -> Result<Self, StoreError> {
        let mut stores: BTreeMap<&str, Arc<dyn ObjectStore>> = BTreeMap::new();
        let mut by_role = BTreeMap::new();
        for (&role, bucket) in buckets {
            // Roles that share a directory share what is known of it.
            if !stores.contains_key(bucket.as_str()) {
                stores.insert(bucket, Arc::new(FileStore::open(base, bucket)?));
            }
            by_role.insert(role, stores[bucket.as_str()].clone());
        }
        Ok(Self::new(name, by_role, gate))
    }

    /// The name that locations know it by.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The store of a bucket.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] if the space has no such bucket.
    pub fn bucket(&self, role: BucketRole) -> Result<&Arc<dyn ObjectStore>, StoreError> {
        self.0.buckets.get(&role).ok_or_else(|| {
            let (name, role) = (&self.0.name, role_name(role));
            StoreError::Refused(format!("the storage space {name} has no {role} bucket"))
        })
    }

    /// Tells spaces of one process apart.
    pub(super) fn id(&self) -> u64 {
        self.0.id
    }

    pub(super) fn gate(&self) -> &Gate {
        &self.0.gate
    }
}

pub(super) fn role_name(role: BucketRole) -> &'static str {
    match role {
        BucketRole::Records => "records",
        BucketRole::Versions => "versions",
        BucketRole::Content => "content",
        BucketRole::Backups => "backups",
    }
}

//! Where objects are kept.

use std::{
    collections::BTreeMap,
    fmt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use object_store::{
    ObjectStore, ObjectStoreExt, memory::InMemory, multipart::MultipartStore, path::Path as Key,
};
use xronox_model::BucketRole;

use super::{
    client::SpaceClient, connection::SpaceConnection, failure::Failure, files::FileStore,
    gate::Gate, refusal::SpaceProblem,
};
use crate::StoreError;

/// Every bucket role.
pub(super) const ROLES: [BucketRole; 4] = [
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
    buckets: BTreeMap<BucketRole, Bucket>,
    gate: Gate,
}

/// A bucket, with what its store can do beside the common requests.
#[derive(Clone)]
pub(super) struct Bucket {
    pub(super) store: Arc<dyn ObjectStore>,
    /// For bodies that are better put in parts.
    pub(super) parts: Option<Arc<dyn MultipartStore>>,
    pub(super) remote: Option<Arc<dyn Remote>>,
}

/// What only a store behind a network can do.
#[async_trait]
pub(super) trait Remote: fmt::Debug + Send + Sync {
    /// The bucket's name at the provider.
    fn name(&self) -> &str;

    /// Succeeds if the bucket is there and may be used.
    async fn check(&self) -> object_store::Result<()>;

    /// Makes the bucket. One that is there already is no error.
    async fn create(&self) -> object_store::Result<()>;

    /// A URL that fetches an object for a while.
    async fn presign(&self, key: &Key, ttl: Duration) -> object_store::Result<String>;
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
        let plain = |(role, store)| (role, Bucket::plain(store));
        Self::of(name, buckets.into_iter().map(plain).collect(), gate)
    }

    pub(super) fn of(
        name: impl Into<String>,
        buckets: BTreeMap<BucketRole, Bucket>,
        gate: Gate,
    ) -> Self {
        Self(Arc::new(Parts {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            name: name.into(),
            buckets,
            gate,
        }))
    }

    /// The space that a connection describes, with the buckets it names.
    /// Nothing is asked of a store yet: [`check`](Self::check) does that.
    /// Directories of files are made, which blocks.
    ///
    /// Spaces of several databases on one connection are best made by one
    /// [`SpaceClient`].
    ///
    /// # Errors
    ///
    /// As [`SpaceClient::open`] and [`SpaceClient::space`].
    pub fn connect(
        name: impl Into<String>,
        connection: &SpaceConnection,
    ) -> Result<Self, StoreError> {
        SpaceClient::open(connection)?.space(name, &connection.own_buckets())
    }

    /// A space that lasts as long as the process, with a bucket for each role.
    pub fn memory(name: impl Into<String>) -> Self {
        let bucket = |role| (role, Bucket::memory(Arc::new(InMemory::new())));
        Self::of(name, ROLES.map(bucket).into(), Gate::default())
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

    /// Whether its objects are at a provider, a network away.
    pub fn is_remote(&self) -> bool {
        self.0
            .buckets
            .values()
            .any(|bucket| bucket.remote.is_some())
    }

    /// The store of a bucket.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] if the space has no such bucket.
    pub fn bucket(&self, role: BucketRole) -> Result<&Arc<dyn ObjectStore>, StoreError> {
        self.whole_bucket(role).map(|bucket| &bucket.store)
    }

    pub(super) fn whole_bucket(&self, role: BucketRole) -> Result<&Bucket, StoreError> {
        self.0.buckets.get(&role).ok_or_else(|| {
            let (name, role) = (&self.0.name, role_name(role));
            StoreError::Refused(format!("the storage space {name} has no {role} bucket"))
        })
    }

    /// Asks each bucket once whether it is there and may be used: for the
    /// start, since later a missing bucket reads much like a missing object.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] that names the first bucket that is not,
    /// and why; [`SpaceProblem::of`] tells the reasons apart.
    pub async fn check(&self) -> Result<(), StoreError> {
        for (role, _) in self.distinct() {
            self.check_bucket(role).await?;
        }
        Ok(())
    }

    /// Makes the buckets that are not there. Those that are stay as they are,
    /// and a bucket that somebody else makes meanwhile will do.
    ///
    /// # Errors
    ///
    /// Those of [`ensure_bucket`](Self::ensure_bucket) for the first bucket
    /// that has any.
    pub async fn create_buckets(&self) -> Result<(), StoreError> {
        for (role, _) in self.distinct() {
            self.ensure_bucket(role).await?;
        }
        Ok(())
    }

    /// The buckets at a provider by name, each once, with one of its roles.
    pub fn remote_buckets(&self) -> impl Iterator<Item = (&str, BucketRole)> {
        let distinct = self.distinct().into_iter();
        distinct.filter_map(|(role, bucket)| Some((bucket.remote.as_ref()?.name(), role)))
    }

    /// Makes the bucket of a role if it is not there; whether it was not.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] for a bucket that can be neither used nor
    /// made, [`StoreError::Unsupported`] for one missing on Google Cloud
    /// Storage: there a bucket belongs to a project, which a connection does
    /// not name. [`StoreError::Refused`] if the space has no such bucket.
    pub async fn ensure_bucket(&self, role: BucketRole) -> Result<bool, StoreError> {
        let bucket = self.whole_bucket(role)?;
        let Err(failure) = self.check_one(bucket).await else {
            return Ok(false);
        };
        let missing = failure.problem() == Some(SpaceProblem::MissingBucket);
        let Some(remote) = bucket.remote.as_ref().filter(|_| missing) else {
            return Err(self.failed(failure, "use", role, bucket));
        };
        self.gate()
            .run(|| remote.create())
            .await
            .map_err(|failure| self.failed(failure, "make", role, bucket))?;
        self.check_bucket(role).await.map(|()| true)
    }

    /// Asks whether the bucket of a role is there and may be used.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check).
    pub async fn check_bucket(&self, role: BucketRole) -> Result<(), StoreError> {
        let bucket = self.whole_bucket(role)?;
        let asked = self.check_one(bucket).await;
        asked.map_err(|failure| self.failed(failure, "use", role, bucket))
    }

    async fn check_one(&self, bucket: &Bucket) -> Result<(), Failure> {
        let asked = if let Some(remote) = &bucket.remote {
            self.gate().run(|| remote.check()).await
        } else {
            // Files tell a missing object from a missing bucket.
            let (store, none) = (&bucket.store, &Key::from("none"));
            self.gate().run(|| store.head(none)).await.map(drop)
        };
        match asked {
            Err(failure) if failure.is_missing() => Ok(()),
            other => other,
        }
    }

    /// Each bucket once, with one of its roles.
    fn distinct(&self) -> Vec<(BucketRole, &Bucket)> {
        let mut distinct: Vec<(BucketRole, &Bucket)> = Vec::new();
        for (&role, bucket) in &self.0.buckets {
            if !distinct.iter().any(|(_, other)| bucket.is(other)) {
                distinct.push((role, bucket));
            }
        }
        distinct
    }

    fn failed(
        &self,
        failure: Failure,
        verb: &str,
        role: BucketRole,
        bucket: &Bucket,
    ) -> StoreError {
        let (space, role) = (&self.0.name, role_name(role));
        match &bucket.remote {
            Some(remote) => {
                let name = remote.name();
                let place = format!("the {role} bucket {name} of the storage space {space}");
                failure.into_error(verb, &place)
            }
            None => failure.into_error(verb, &format!("{space}/{role}")),
        }
    }

    /// Tells spaces of one process apart.
    pub(super) fn id(&self) -> u64 {
        self.0.id
    }

    pub(super) fn gate(&self) -> &Gate {
        &self.0.gate
    }
}

impl Bucket {
    /// Of a store that is known to do the common requests and no more.
    pub(super) fn plain(store: Arc<dyn ObjectStore>) -> Self {
        Self {
            store,
            parts: None,
            remote: None,
        }
    }

    pub(super) fn memory<S: ObjectStore + MultipartStore>(store: Arc<S>) -> Self {
        Self {
            store: store.clone(),
            parts: Some(store),
            remote: None,
        }
    }

    fn is(&self, other: &Self) -> bool {
        match (&self.remote, &other.remote) {
            (Some(one), Some(other)) => one.name() == other.name(),
            _ => Arc::ptr_eq(&self.store, &other.store),
        }
    }
}

impl fmt::Debug for Bucket {
    /// Without what the store holds: clients print their keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bucket({})", self.store)
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

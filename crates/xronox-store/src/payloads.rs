//! Bodies too large to stand in the log: immutable objects under keys that are
//! used once.
//!
//! A body is put before the version that names it is committed, and read back
//! by the row's [`Location`]. No key is ever given to two bodies, so a put and
//! a delete may be repeated blindly and a cached body never goes stale. What
//! comes back is checked against the row's length and SHA-256 each time it
//! leaves storage.

mod blob;
mod cache;
mod client;
#[cfg(feature = "cloud")]
mod cloud;
mod codec;
mod connection;
mod failure;
mod files;
mod gate;
mod refusal;
mod space;
mod upload;

use std::{collections::BTreeMap, fmt, time::Duration};

use bytes::Bytes;
use futures::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use object_store::{ObjectStoreExt, PutPayload, path::Path};
use xronox_model::{Body, BucketRole, Location, Timestamp};

pub use blob::Blob;
pub use cache::PayloadCache;
pub use client::SpaceClient;
pub use codec::{Codec, CompressionSettings};
pub use connection::{ConnectionError, Credentials, PerRole, Provider, Secret, SpaceConnection};
pub use gate::{Gate, GateLimits};
pub use refusal::SpaceProblem;
pub use space::Space;

use crate::StoreError;
use cache::CacheKey;
use codec::Expected;
use failure::Failure;

/// Bodies that [`Payloads::read_many`] has under way at a time.
const READ_AHEAD: usize = 16;

/// Checking a larger body takes long enough to hold up other tasks, so it is
/// done on the blocking pool.
const CHECKED_IN_PLACE: u64 = 256 * 1024;

/// How long a presigned URL may last. S3 and GCS allow no more.
const SHORTEST_URL: Duration = Duration::from_secs(1);
const LONGEST_URL: Duration = Duration::from_hours(7 * 24);

/// The bodies of one database, in whatever spaces they are.
#[derive(Debug, Clone)]
pub struct Payloads {
    spaces: BTreeMap<String, Space>,
    home: Option<String>,
    cache: PayloadCache,
}

/// An object in a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectEntry {
    /// Its key.
    pub key: String,
    /// Its length in bytes, as stored.
    pub size: u64,
    /// When it was put, by the store's clock.
    pub last_modified: Timestamp,
}

impl Payloads {
    /// Bodies in these spaces; new ones go to the space named `home`. Without
    /// a home every new body must be inline.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] if two spaces share a name or `home` is none
    /// of them.
    pub fn new(
        spaces: impl IntoIterator<Item = Space>,
        home: Option<String>,
        cache: PayloadCache,
    ) -> Result<Self, StoreError> {
        let mut named = BTreeMap::new();
        for space in spaces {
            if let Some(twin) = named.insert(space.name().to_owned(), space) {
                let name = twin.name();
                return Err(StoreError::Refused(format!(
                    "two storage spaces are named {name}"
                )));
            }
        }
        match &home {
            Some(home) if !named.contains_key(home) => Err(no_such_space(home)),
            _ => Ok(Self {
                spaces: named,
                home,
                cache,
            }),
        }
    }

    /// No spaces: every body is inline.
    pub fn inline_only() -> Self {
        Self {
            spaces: BTreeMap::new(),
            home: None,
            cache: PayloadCache::off(),
        }
    }

    /// The same bodies, each read from where it is stored. For checking what
    /// is stored.
    pub fn without_cache(&self) -> Self {
        Self {
            cache: PayloadCache::off(),
            ..self.clone()
        }
    }

    /// The space that new bodies go to.
    pub fn home(&self) -> Option<&Space> {
        self.home.as_ref().and_then(|home| self.spaces.get(home))
    }

    /// The space of this name.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] if there is none.
    pub fn space(&self, name: &str) -> Result<&Space, StoreError> {
        self.spaces.get(name).ok_or_else(|| no_such_space(name))
    }

    /// Puts the stored form of a new body into the home space; `key` must be
    /// its own and nobody else's. Durable when it returns. After an error the
    /// object may or may not be there, and the same put may be repeated.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] for a key that no store could hold or if there
    /// is no home, [`StoreError::Unavailable`] if the store did not take it.
    pub async fn put(
        &self,
        key: &str,
        stored: Bytes,
        role: BucketRole,
    ) -> Result<Location, StoreError> {
        let Some(home) = &self.home else {
            return Err(StoreError::Refused(
                "no storage space takes new bodies".to_owned(),
            ));
        };
        self.put_in(home, key, stored, role).await
    }

    /// [Puts](Self::put) a body into the space of this name.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    pub async fn put_in(
        &self,
        space: &str,
        key: &str,
        stored: Bytes,
        role: BucketRole,
    ) -> Result<Location, StoreError> {
        let space = self.space(space)?;
        let place = Place::new(space, role, key);
        // The mark of a file that is still being written.
        if key.contains('#') {
            return Err(place.refused());
        }
        let path = &place.path()?;
        let bucket = space.whole_bucket(role)?;
        match &bucket.parts {
            Some(parts) if stored.len() > upload::IN_PARTS_ABOVE => {
                upload::put(place, parts, &bucket.store, upload::slices(&stored)).await?;
            }
            _ => {
                let payload = &PutPayload::from_bytes(stored);
                let put = move || bucket.store.put(path, payload.clone());
                let put = space.gate().run(put).await;
                put.map_err(|failure| failure.into_error("write", &place))?;
            }
        }
        Ok(Location::Object {
            space: space.name().to_owned(),
            role,
            key: key.to_owned(),
        })
    }

    /// The canonical bytes of a body, checked against its length and hash.
    ///
    /// Concurrent reads of one object share one request.
    ///
    /// # Errors
    ///
    /// [`StoreError::Corrupt`] if the object is missing or is not what was
    /// written, [`StoreError::Refused`] if an inline body came without its
    /// bytes or the space is not configured, [`StoreError::Unavailable`].
    pub async fn read(&self, body: &Body) -> Result<Bytes, StoreError> {
        let expected = Expected::of(body);
        let (space, role, key) = match &body.location {
            Location::Inline => {
                let Some(stored) = body.inline.clone() else {
                    return Err(StoreError::Refused(
                        "an inline body was read without its bytes".to_owned(),
                    ));
                };
                return check(expected, stored, &"an inline body").await;
            }
            Location::Object { space, role, key } => (self.space(space)?, *role, key),
        };
        let cache_key = CacheKey {
            space: space.id(),
            role,
            key: key.clone(),
        };
        self.cache
            .get(cache_key, body.sha256, || {
                load(expected, Place::new(space, role, key))
            })
            .await
    }

    /// The canonical bytes of these bodies, in their order, a few at a time.
    pub fn read_many<'a, I>(
        &'a self,
        bodies: I,
    ) -> impl Stream<Item = Result<Bytes, StoreError>> + Send + 'a
    where
        I: IntoIterator<Item = Body>,
        I::IntoIter: Send + 'a,
    {
        stream::iter(bodies)
            .map(async |body| self.read(&body).await)
            .buffered(READ_AHEAD)
    }

    /// Copies the stored form of a body to another key and bucket of its space,
    /// and reads it back; gives where the copy is. Never from the cache.
    ///
    /// # Errors
    ///
    /// [`StoreError::Corrupt`] if the object is missing or is not what was
    /// written, [`StoreError::Refused`] for an inline body, and as
    /// [`put`](Self::put).
    pub async fn copy(
        &self,
        body: &Body,
        role: BucketRole,
        key: &str,
    ) -> Result<Location, StoreError> {
        let Location::Object {
            space,
            role: old,
            key: old_key,
        } = &body.location
        else {
            return Err(StoreError::Refused(
                "an inline body has no object".to_owned(),
            ));
        };
        let space = self.space(space)?;
        let expected = Expected::of(body);
        let from = Place::new(space, *old, old_key);
        let stored = fetch(expected, from).await?;
        check(expected, stored.clone(), &format!("the body at {from}")).await?;
        let copy = self.put_in(space.name(), key, stored, role).await?;
        load(expected, Place::new(space, role, key)).await?;
        Ok(copy)
    }

    /// Deletes an object; one that is gone already is no error, and an inline
    /// body has none.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], after which it may or may not be there.
    pub async fn delete(&self, location: &Location) -> Result<(), StoreError> {
        let Location::Object { space, role, key } = location else {
            return Ok(());
        };
        let space = self.space(space)?;
        let place = Place::new(space, *role, key);
        let path = &place.path()?;
        let bucket = space.bucket(*role)?;
        let deleted = space.gate().run(move || bucket.delete(path)).await;
        // Behind the delete, so that no read that began earlier brings it back.
        self.cache
            .forget(&CacheKey {
                space: space.id(),
                role: *role,
                key: key.clone(),
            })
            .await;
        match deleted {
            Err(failure) if !failure.is_missing() => Err(failure.into_error("delete", &place)),
            _ => Ok(()),
        }
    }

    /// Whether an object is there. An inline body always is.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] if the store did not say.
    pub async fn exists(&self, location: &Location) -> Result<bool, StoreError> {
        let Location::Object { space, role, key } = location else {
            return Ok(true);
        };
        let space = self.space(space)?;
        let place = Place::new(space, *role, key);
        let path = &place.path()?;
        let bucket = space.bucket(*role)?;
        match space.gate().run(move || bucket.head(path)).await {
            Ok(_) => Ok(true),
            Err(failure) if failure.is_missing() => Ok(false),
            Err(failure) => Err(failure.into_error("look at", &place)),
        }
    }

    /// A URL that anybody can fetch an object's stored bytes with, until `ttl`
    /// has passed: 1 second to 7 days, whole seconds. Whoever has the URL needs
    /// no credentials, so it is a secret while it lasts. Whether the object is
    /// there is not asked. Where the space's own credentials are temporary, the
    /// URL ends with them.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unsupported`] for an inline body and for files and
    /// memory, [`StoreError::Refused`] for a `ttl` out of bounds,
    /// [`StoreError::Unavailable`] if credentials cannot be had.
    pub async fn presign(&self, location: &Location, ttl: Duration) -> Result<String, StoreError> {
        let Location::Object { space, role, key } = location else {
            return Err(StoreError::Unsupported(
                "an inline body has no URL".to_owned(),
            ));
        };
        let space = self.space(space)?;
        let place = Place::new(space, *role, key);
        let path = &place.path()?;
        let Some(remote) = &space.whole_bucket(*role)?.remote else {
            let name = space.name();
            return Err(StoreError::Unsupported(format!(
                "the storage space {name} gives out no URLs: only S3, Azure and GCS do"
            )));
        };
        if !(SHORTEST_URL..=LONGEST_URL).contains(&ttl) {
            return Err(StoreError::Refused(
                "a presigned URL lasts between 1 second and 7 days".to_owned(),
            ));
        }
        let ttl = Duration::from_secs(ttl.as_secs());
        space
            .gate()
            .run(move || remote.presign(path, ttl))
            .await
            .map_err(|failure| failure.into_error("sign a URL for", &place))
    }

    /// The objects whose keys begin with the whole segments of `prefix`, in no
    /// particular order. In a file space these include what an interrupted
    /// write left behind (`…#1`). An error ends the list.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] for a space, bucket or prefix that is none.
    pub fn list<'a>(
        &'a self,
        space: &str,
        role: BucketRole,
        prefix: &'a str,
    ) -> Result<BoxStream<'a, Result<ObjectEntry, StoreError>>, StoreError> {
        let space = self.space(space)?;
        let place = Place::new(space, role, prefix);
        let path = match prefix {
            "" => None,
            _ => Some(place.path()?),
        };
        let listed = space.bucket(role)?.list(path.as_ref());
        Ok(stream::unfold(Some(listed), move |listed| async move {
            let mut listed = listed?;
            // A turn for each step, not for the whole list: whoever reads the
            // list may need turns of his own to go on.
            match space.gate().once(listed.next()).await {
                Ok(None) => None,
                Ok(Some(Ok(meta))) => Some((Ok(ObjectEntry::from(meta)), Some(listed))),
                Ok(Some(Err(error))) => {
                    Some((Err(Failure::from(error).into_error("list", &place)), None))
                }
                Err(failure) => Some((Err(failure.into_error("list", &place)), None)),
            }
        })
        .boxed())
    }
}

impl From<object_store::ObjectMeta> for ObjectEntry {
    fn from(meta: object_store::ObjectMeta) -> Self {
        Self {
            key: meta.location.into(),
            size: meta.size,
            last_modified: Timestamp::from_millis(meta.last_modified.timestamp_millis()),
        }
    }
}

/// One object, as errors name it: `<space>/<bucket role>/<key>`.
#[derive(Clone, Copy)]
struct Place<'a> {
    space: &'a Space,
    role: BucketRole,
    key: &'a str,
}

impl<'a> Place<'a> {
    fn new(space: &'a Space, role: BucketRole, key: &'a str) -> Self {
        Self { space, role, key }
    }

    /// The key as `object_store` has it, if every store can hold it as it is.
    fn path(&self) -> Result<Path, StoreError> {
        let plain = |c: u8| c.is_ascii_alphanumeric() || b"/._-#".contains(&c);
        match Path::parse(self.key) {
            // Parsing strips slashes at the ends.
            Ok(path)
                if path.as_ref() == self.key
                    && !self.key.is_empty()
                    && self.key.bytes().all(plain) =>
            {
                Ok(path)
            }
            _ => Err(self.refused()),
        }
    }

    fn refused(&self) -> StoreError {
        StoreError::Refused(format!("{:?} cannot be the key of a body", self.key))
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = space::role_name(self.role);
        write!(f, "{}/{role}/{}", self.space.name(), self.key)
    }
}

/// Fetches and checks a body.
async fn load(expected: Expected, place: Place<'_>) -> Result<Bytes, StoreError> {
    let stored = fetch(expected, place).await?;
    check(expected, stored, &format!("the body at {place}")).await
}

/// The stored form of a body, which is not longer than it may be.
async fn fetch(expected: Expected, place: Place<'_>) -> Result<Bytes, StoreError> {
    let path = &place.path()?;
    let bucket = place.space.bucket(place.role)?;
    let longest = expected.longest_stored();
    let got = place
        .space
        .gate()
        .run(move || async move {
            let answer = bucket.get(path).await?;
            if answer.meta.size > longest {
                return Ok(None);
            }
            answer.bytes().await.map(Some)
        })
        .await;
    match got {
        Ok(Some(stored)) => Ok(stored),
        Ok(None) => Err(StoreError::Corrupt(format!(
            "the body at {place} is too long"
        ))),
        Err(failure) if failure.is_missing() => Err(StoreError::Corrupt(format!(
            "the body at {place} is missing"
        ))),
        Err(failure) => Err(failure.into_error("read", &place)),
    }
}

async fn check(
    expected: Expected,
    stored: Bytes,
    what: &(impl fmt::Display + ?Sized),
) -> Result<Bytes, StoreError> {
    let checked = if expected.size > CHECKED_IN_PLACE {
        tokio::task::spawn_blocking(move || expected.check(&stored))
            .await
            .map_err(|error| StoreError::Unavailable {
                message: format!("could not check {what}"),
                source: Some(error.into()),
            })?
    } else {
        expected.check(&stored)
    };
    checked.map_err(|damage| StoreError::Corrupt(format!("{what} {damage}")))
}

fn no_such_space(name: &str) -> StoreError {
    StoreError::Refused(format!("no storage space is named {name}"))
}

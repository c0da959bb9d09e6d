//! Objects of any length, put and read as streams: files inside records.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use futures::{
    StreamExt, TryStreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use object_store::ObjectStoreExt;
use xronox_model::{BucketRole, File, Location, Sha256, Sha256Hasher, TextRendition};

use super::{Payloads, Place, upload};
use crate::StoreError;

/// Bytes that one request brings when an object is read as a stream.
const STRETCH: u64 = 4 << 20;

/// An object that was put.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Blob {
    /// Where it is.
    pub location: Location,
    /// SHA-256 of its bytes.
    pub sha256: Sha256,
    /// How many bytes it has.
    pub size: u64,
}

impl From<&File> for Blob {
    fn from(file: &File) -> Self {
        Self {
            location: file.location.clone(),
            sha256: file.sha256,
            size: file.size,
        }
    }
}

impl From<&TextRendition> for Blob {
    fn from(text: &TextRendition) -> Self {
        Self {
            location: text.location.clone(),
            sha256: text.sha256,
            size: text.size,
        }
    }
}

impl Payloads {
    /// Puts what a stream gives into the home space, as it is; `key` must be
    /// its own and nobody else's. Durable when it returns, and nothing is there
    /// under the key before. Of an upload in parts some 40 MiB are in memory at
    /// a time, however long it is; it may have 78 GiB.
    ///
    /// # Errors
    ///
    /// What the stream gives, and those of [`put`](Self::put).
    /// [`StoreError::Unsupported`] for more than 8 MiB where the bucket takes no
    /// parts: on Azure, one with a storage class.
    pub fn put_stream<'a>(
        &'a self,
        key: &'a str,
        role: BucketRole,
        bytes: BoxStream<'a, Result<Bytes, StoreError>>,
    ) -> BoxFuture<'a, Result<Blob, StoreError>> {
        Box::pin(self.put_parts(key, role, bytes))
    }

    async fn put_parts(
        &self,
        key: &str,
        role: BucketRole,
        bytes: BoxStream<'_, Result<Bytes, StoreError>>,
    ) -> Result<Blob, StoreError> {
        let Some(space) = self.home() else {
            return Err(StoreError::Unsupported(
                "files inside records need a storage space".to_owned(),
            ));
        };
        let mut parts = Parts {
            bytes,
            given: Bytes::new(),
            rest: BytesMut::new(),
            hasher: Sha256Hasher::default(),
            size: 0,
            count: 0,
        };
        let first = parts.next().await?.unwrap_or_default();
        if first.len() < upload::PART {
            let location = self.put(key, first, role).await?;
            return Ok(parts.blob(location));
        }
        let place = Place::new(space, role, key);
        place.path()?;
        let bucket = space.whole_bucket(role)?;
        let rest = stream::try_unfold(&mut parts, |parts| async {
            let part = parts.next().await?;
            Ok(part.map(|part| (part, parts)))
        });
        let slices = stream::iter([Ok(first)]).chain(rest).boxed();
        match (&bucket.parts, &bucket.remote) {
            (Some(store), _) => upload::put(place, store, &bucket.store, slices).await?,
            (None, None) => upload::put_whole(place, &bucket.store, slices).await?,
            (None, Some(remote)) => {
                let name = remote.name();
                return Err(StoreError::Unsupported(format!(
                    "the container {name} has a storage class, so it takes no files of more than \
                     8 MiB"
                )));
            }
        }
        Ok(parts.blob(Location::Object {
            space: space.name().to_owned(),
            role,
            key: key.to_owned(),
        }))
    }

    /// The bytes of an object, as a stream that holds 4 MiB at a time.
    /// That they are what was put is known at its end: it is an error if not.
    /// Never from the cache.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn stream(
        &self,
        blob: &Blob,
    ) -> Result<BoxStream<'static, Result<Bytes, StoreError>>, StoreError> {
        let Location::Object { space, role, key } = &blob.location else {
            return Err(StoreError::Refused("a file is never inline".to_owned()));
        };
        let (space, role, key) = (self.space(space)?.clone(), *role, key.clone());
        space.bucket(role)?;
        Place::new(&space, role, &key).path()?;
        let size = blob.size;
        // One after the other, each only once it is asked for: a request that
        // waits for its reader would keep others from their turn. Of an empty
        // object there is nothing to ask for but whether it is there.
        let stretches = {
            let (space, key) = (space.clone(), key.clone());
            let starts = (0..size.div_ceil(STRETCH).max(1)).map(|n| n * STRETCH);
            stream::iter(starts).then(move |start| {
                let (space, key) = (space.clone(), key.clone());
                async move {
                    let place = Place::new(&space, role, &key);
                    stretch(place, start..size.min(start + STRETCH)).await
                }
            })
        };
        let hasher = Sha256Hasher::default();
        let read = (stretches.boxed(), Some(hasher));
        let expected = blob.sha256;
        Ok(stream::try_unfold(read, move |(mut stretches, hasher)| {
            let (space, key) = (space.clone(), key.clone());
            async move {
                let Some(mut hasher) = hasher else {
                    return Ok(None);
                };
                if let Some(bytes) = stretches.try_next().await? {
                    hasher.update(&bytes);
                    return Ok(Some((bytes, (stretches, Some(hasher)))));
                }
                let place = Place::new(&space, role, &key);
                if hasher.finish() != expected {
                    let why = format!("the file at {place} is not what was written");
                    return Err(StoreError::Corrupt(why));
                }
                Ok(None)
            }
        })
        .boxed())
    }
}

/// A part of an object.
async fn stretch(place: Place<'_>, range: Range<u64>) -> Result<Bytes, StoreError> {
    let path = &place.path()?;
    let bucket = place.space.bucket(place.role)?;
    let length = range.end - range.start;
    if length == 0 {
        let there = place.space.gate().run(|| bucket.head(path)).await;
        return match there {
            Ok(_) => Ok(Bytes::new()),
            Err(failure) if failure.is_missing() => Err(missing(place)),
            Err(failure) => Err(failure.into_error("read", &place)),
        };
    }
    let got = place
        .space
        .gate()
        .run(|| bucket.get_range(path, range.clone()))
        .await;
    match got {
        Ok(bytes) if bytes.len() as u64 == length => Ok(bytes),
        Ok(_) => Err(StoreError::Corrupt(format!(
            "the file at {place} is too short"
        ))),
        Err(failure) if failure.is_missing() => Err(missing(place)),
        Err(failure) => {
            // Stores differ in what they say of bytes that are not there.
            let meta = place.space.gate().run(|| bucket.head(path)).await;
            if meta.is_ok_and(|meta| meta.size < range.end) {
                return Err(StoreError::Corrupt(format!(
                    "the file at {place} is too short"
                )));
            }
            Err(failure.into_error("read", &place))
        }
    }
}

fn missing(place: Place<'_>) -> StoreError {
    StoreError::Corrupt(format!("the file at {place} is missing"))
}

/// What a stream gives, in parts of one length.
struct Parts<'a> {
    bytes: BoxStream<'a, Result<Bytes, StoreError>>,
    /// What is left of the last of them.
    given: Bytes,
    rest: BytesMut,
    hasher: Sha256Hasher,
    size: u64,
    count: usize,
}

impl Parts<'_> {
    /// The next part; a shorter one is the last.
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        // No more of what a caller has in memory is copied, or hashed at a time.
        while self.rest.len() < upload::PART {
            if self.given.is_empty() {
                match self.bytes.try_next().await? {
                    None => break,
                    Some(more) => self.given = more,
                }
                continue;
            }
            let room = upload::PART - self.rest.len();
            let piece = self.given.split_to(room.min(self.given.len()));
            self.hasher.update(&piece);
            self.size += piece.len() as u64;
            self.rest.extend_from_slice(&piece);
        }
        if self.rest.is_empty() {
            return Ok(None);
        }
        self.count += 1;
        if self.count > upload::MOST_PARTS {
            let most = upload::MOST_PARTS * upload::PART;
            let why = format!("a file has at most {most} bytes");
            return Err(StoreError::Refused(why));
        }
        Ok(Some(self.rest.split().freeze()))
    }

    fn blob(self, location: Location) -> Blob {
        Blob {
            location,
            sha256: self.hasher.finish(),
            size: self.size,
        }
    }
}

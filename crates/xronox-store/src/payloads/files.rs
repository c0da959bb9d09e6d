//! Objects as files, durable once acknowledged.

mod bucket;
mod walk;

use std::{
    fmt, fs,
    io::{self, ErrorKind},
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
    local::LocalFileSystem, path::Path as Key,
};
use tokio::task::spawn_blocking;

use crate::StoreError;
use bucket::{Bucket, make_durably};
use walk::Walk;

/// Deletes of one request that are under way at a time.
const DELETED_AT_ONCE: usize = 8;

/// [`LocalFileSystem`] with what it leaves open:
///
/// - A directory that another put is just making counts as there, though it is
///   not yet durable in its parent. Here each put itself sees to every
///   directory above its object.
/// - Deletes are durable and leave no empty directories.
/// - What an interrupted put left behind (`<key>#<n>`) is listed, and can be
///   deleted, like any object.
/// - A bucket directory that has gone, with its file system perhaps, is an
///   error and not an empty bucket; nothing is written in its stead.
#[derive(Debug)]
pub(super) struct FileStore {
    files: LocalFileSystem,
    bucket: Arc<Bucket>,
}

impl FileStore {
    /// Opens `<base>/<bucket>`, which is made if need be.
    pub(super) fn open(base: &Path, bucket: &str) -> std::result::Result<Self, StoreError> {
        // One plain segment, as every other store would have it.
        let named =
            Key::parse(bucket).is_ok_and(|key| key.as_ref() == bucket && key.parts_count() == 1);
        if !named || bucket.contains(['\\', ':']) {
            return Err(StoreError::Refused(format!(
                "{bucket:?} cannot be the name of a bucket"
            )));
        }
        let path = base.join(bucket);
        let unavailable = |source: crate::Cause| StoreError::Unavailable {
            message: format!("could not make the directory {}", path.display()),
            source: Some(source),
        };
        make_durably(&path).map_err(|error| unavailable(error.into()))?;
        let root = fs::canonicalize(&path).map_err(|error| unavailable(error.into()))?;
        let files = LocalFileSystem::new_with_prefix(&root)
            .map_err(|error| unavailable(error.into()))?
            .with_fsync(true);
        let bucket = Arc::new(Bucket::new(root));
        Ok(Self { files, bucket })
    }

    /// Runs file operations where they may block.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Bucket) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let bucket = self.bucket.clone();
        spawn_blocking(move || work(&bucket)).await?.map_err(failed)
    }

    /// Tells a missing object from a missing bucket.
    async fn explain(&self, error: Error) -> Error {
        match error {
            Error::NotFound { .. } => match self.blocking(Bucket::check).await {
                Ok(()) => error,
                Err(gone) => gone,
            },
            other => other,
        }
    }
}

#[async_trait]
impl ObjectStore for FileStore {
    async fn put_opts(
        &self,
        location: &Key,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let file = self.bucket.file(location);
        self.blocking({
            let file = file.clone();
            move |bucket| bucket.make_way(&file)
        })
        .await?;
        let put = self.files.put_opts(location, payload, opts).await?;
        self.blocking(move |bucket| bucket.secure_way(&file))
            .await?;
        Ok(put)
    }

    async fn put_multipart_opts(
        &self,
        location: &Key,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let file = self.bucket.file(location);
        self.blocking({
            let file = file.clone();
            move |bucket| bucket.make_way(&file)
        })
        .await?;
        let parts = self.files.put_multipart_opts(location, opts).await?;
        Ok(Box::new(Upload {
            parts,
            bucket: self.bucket.clone(),
            file,
        }))
    }

    async fn get_opts(&self, location: &Key, options: GetOptions) -> Result<GetResult> {
        match self.files.get_opts(location, options).await {
            Err(error) => Err(self.explain(error).await),
            found => found,
        }
    }

    async fn get_ranges(&self, location: &Key, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        match self.files.get_ranges(location, ranges).await {
            Err(error) => Err(self.explain(error).await),
            found => found,
        }
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Key>>,
    ) -> BoxStream<'static, Result<Key>> {
        let bucket = self.bucket.clone();
        locations
            .map(move |location| {
                let bucket = bucket.clone();
                async move {
                    let location = location?;
                    let file = bucket.file(&location);
                    match spawn_blocking(move || bucket.remove(&file)).await? {
                        Ok(true) => Ok(location),
                        Ok(false) => Err(Error::NotFound {
                            path: location.into(),
                            source: io::Error::from(ErrorKind::NotFound).into(),
                        }),
                        Err(error) => Err(failed(error)),
                    }
                }
            })
            .buffered(DELETED_AT_ONCE)
            .boxed()
    }

    fn list(&self, prefix: Option<&Key>) -> BoxStream<'static, Result<ObjectMeta>> {
        let start = prefix.map(|prefix| self.bucket.file(prefix));
        let walk = Walk::new(self.bucket.clone(), start);
        stream::try_unfold(walk, |mut walk| async {
            let (walk, found) = spawn_blocking(move || {
                let found = walk.chunk()?;
                Ok((walk, found))
            })
            .await?
            .map_err(failed)?;
            Ok::<_, Error>((!found.is_empty()).then_some((found, walk)))
        })
        .map_ok(|found| stream::iter(found.into_iter().map(Ok)))
        .try_flatten()
        .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Key>) -> Result<ListResult> {
        self.blocking(Bucket::check).await?;
        self.files.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Key, to: &Key, options: CopyOptions) -> Result<()> {
        let file = self.bucket.file(to);
        self.blocking({
            let file = file.clone();
            move |bucket| bucket.make_way(&file)
        })
        .await?;
        if let Err(error) = self.files.copy_opts(from, to, options).await {
            return Err(self.explain(error).await);
        }
        self.blocking(move |bucket| bucket.secure_way(&file)).await
    }
}

impl fmt::Display for FileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileStore({})", self.bucket.root().display())
    }
}

/// An upload in parts that is durable once complete.
#[derive(Debug)]
struct Upload {
    parts: Box<dyn MultipartUpload>,
    bucket: Arc<Bucket>,
    file: PathBuf,
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.parts.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let put = self.parts.complete().await?;
        let (bucket, file) = (self.bucket.clone(), self.file.clone());
        spawn_blocking(move || bucket.secure_way(&file))
            .await?
            .map_err(failed)?;
        Ok(put)
    }

    async fn abort(&mut self) -> Result<()> {
        self.parts.abort().await
    }
}

fn failed(source: io::Error) -> Error {
    Error::Generic {
        store: "FileStore",
        source: source.into(),
    }
}

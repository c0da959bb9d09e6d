//! A cloud bucket as the rest of the payloads sees one.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use object_store::{
    Attribute, Attributes, CopyOptions, Error, GetOptions, GetRange, GetResult, ListResult,
    MultipartId, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, Result,
    list::{PaginatedListOptions, PaginatedListStore},
    multipart::{MultipartStore, PartId},
    path::Path,
    prefix::PrefixStore,
    signer::{Method, Signer},
};

use super::Service;
use crate::payloads::{
    connection::Place,
    refusal::{Refusal, SpaceProblem},
    space::{Bucket, Remote},
};

/// Deletes of one request that are under way at a time.
const DELETED_AT_ONCE: usize = 8;

pub(super) fn of<S: Service>(service: S, place: &Place) -> Bucket {
    let service = Arc::new(service);
    let folder = Path::from(place.folder.as_str());
    let mut attributes = Attributes::new();
    if let Some(class) = &place.storage_class {
        attributes.insert(Attribute::StorageClass, class.clone().into());
    }
    let in_parts = S::CLASS_IN_PARTS || attributes.is_empty();
    let store = CloudStore {
        service: service.clone(),
        attributes,
    };
    let store = Arc::new(PrefixStore::new(store, folder.clone()));
    Bucket {
        parts: in_parts.then(|| store.clone() as Arc<dyn MultipartStore>),
        store,
        remote: Some(Arc::new(CloudBucket {
            service,
            name: place.bucket.clone(),
            folder,
        })),
    }
}

#[derive(Debug)]
struct CloudBucket<S> {
    service: Arc<S>,
    name: String,
    folder: Path,
}

#[async_trait]
impl<S: Service> Remote for CloudBucket<S> {
    fn name(&self) -> &str {
        &self.name
    }

    async fn check(&self) -> Result<()> {
        // A HEAD could not say why it was refused.
        let one = PaginatedListOptions {
            max_keys: Some(1),
            ..PaginatedListOptions::default()
        };
        // A policy may allow no more than the folder.
        let folder = self.folder.as_ref();
        let prefix = (!folder.is_empty()).then(|| format!("{folder}/"));
        self.service
            .store()
            .list_paginated(prefix.as_deref(), one)
            .await
            .map(drop)
    }

    async fn create(&self) -> Result<()> {
        self.service.create().await
    }

    async fn presign(&self, key: &Path, ttl: Duration) -> Result<String> {
        let url = PrefixStore::new(self.service.store().clone(), self.folder.clone())
            .signed_url(Method::GET, key, ttl)
            .await?;
        Ok(url.into())
    }
}

/// A provider's store, with what it leaves open:
///
/// - An answer of 404 is a missing object, unless it is a missing bucket,
///   which is an error of its own.
/// - Every object gets the storage class of its bucket.
/// - A delete is one request for one object, whose refusal has a code, and
///   which every provider knows.
#[derive(Debug)]
struct CloudStore<S> {
    service: Arc<S>,
    attributes: Attributes,
}

impl<S: Service> CloudStore<S> {
    fn store(&self) -> &S::Store {
        self.service.store()
    }

    fn with_class(&self, mut given: Attributes) -> Attributes {
        for (attribute, value) in &self.attributes {
            given.insert(attribute.clone(), value.clone());
        }
        given
    }
}

/// The error by its meaning where the provider's answer has one in
/// `object_store`.
fn explained(error: Error, key: &Path) -> Error {
    let Some(refusal) = Refusal::behind(&error) else {
        return error;
    };
    let (path, problem) = (key.to_string(), refusal.problem());
    let source = |error| Box::new(error) as Box<dyn std::error::Error + Send + Sync>;
    match problem {
        Some(SpaceProblem::Denied) => Error::PermissionDenied {
            path,
            source: source(error),
        },
        Some(SpaceProblem::Credentials) => Error::Unauthenticated {
            path,
            source: source(error),
        },
        None if refusal.is_missing_object() => Error::NotFound {
            path,
            source: source(error),
        },
        _ => error,
    }
}

#[async_trait]
impl<S: Service> ObjectStore for CloudStore<S> {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        mut opts: PutOptions,
    ) -> Result<PutResult> {
        opts.attributes = self.with_class(opts.attributes);
        self.store()
            .put_opts(location, payload, opts)
            .await
            .map_err(|error| explained(error, location))
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        mut opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        opts.attributes = self.with_class(opts.attributes);
        self.store()
            .put_multipart_opts(location, opts)
            .await
            .map_err(|error| explained(error, location))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let head = options.head;
        let error = match self.store().get_opts(location, options).await {
            Ok(found) => return Ok(found),
            Err(error) => explained(error, location),
        };
        let unsaid = Refusal::behind(&error).is_some_and(|refusal| refusal.code.is_none());
        if !(head && unsaid && matches!(error, Error::NotFound { .. })) {
            return Err(error);
        }
        // S3 answers a HEAD without a body, so it does not say what is missing.
        let one = GetOptions {
            range: Some(GetRange::Bounded(0..1)),
            ..GetOptions::default()
        };
        match self.store().get_opts(location, one).await {
            Err(said) if Refusal::behind(&said).is_some_and(|said| said.problem().is_some()) => {
                Err(explained(said, location))
            }
            _ => Err(error),
        }
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let service = self.service.clone();
        locations
            .map(move |location| {
                let service = service.clone();
                async move {
                    let location = location?;
                    match service.delete(&location).await {
                        Ok(()) => Ok(location),
                        Err(error) => Err(explained(error, &location)),
                    }
                }
            })
            .buffered(DELETED_AT_ONCE)
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let place = prefix.cloned().unwrap_or_default();
        self.store()
            .list(prefix)
            .map_err(move |error| explained(error, &place))
            .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.store().list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.store()
            .copy_opts(from, to, options)
            .await
            .map_err(|error| explained(error, from))
    }
}

#[async_trait]
impl<S: Service> MultipartStore for CloudStore<S> {
    async fn create_multipart(&self, path: &Path) -> Result<MultipartId> {
        self.create_multipart_opts(path, PutMultipartOptions::default())
            .await
    }

    async fn create_multipart_opts(
        &self,
        path: &Path,
        mut opts: PutMultipartOptions,
    ) -> Result<MultipartId> {
        opts.attributes = self.with_class(opts.attributes);
        self.store()
            .create_multipart_opts(path, opts)
            .await
            .map_err(|error| explained(error, path))
    }

    async fn put_part(
        &self,
        path: &Path,
        id: &MultipartId,
        part_idx: usize,
        data: PutPayload,
    ) -> Result<PartId> {
        self.store().put_part(path, id, part_idx, data).await
    }

    async fn complete_multipart(
        &self,
        path: &Path,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> Result<PutResult> {
        self.store().complete_multipart(path, id, parts).await
    }

    async fn abort_multipart(&self, path: &Path, id: &MultipartId) -> Result<()> {
        self.store().abort_multipart(path, id).await
    }
}

impl<S: Service> fmt::Display for CloudStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.store().fmt(f)
    }
}

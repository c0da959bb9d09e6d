//! Large bodies, put in parts.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use object_store::{
    ObjectStore, ObjectStoreExt, PutPayload,
    multipart::{MultipartStore, PartId},
};

use super::{Place, failure::Failure};
use crate::StoreError;

/// Longer bodies are put in parts, so that a request that fails repeats little
/// and ends in time on a slow line. Documents are no longer by default, and so
/// are one request each.
pub(super) const IN_PARTS_ABOVE: usize = 16 << 20;

/// The length of a part. S3 and GCS want 5 MiB at least, R2 all but the last
/// alike.
pub(super) const PART: usize = 8 << 20;

/// What S3 and GCS take in parts at most. A body that would need more gets
/// longer parts.
pub(super) const MOST_PARTS: usize = 10_000;

/// Parts of one body under way at a time. They are slices of it, so they cost
/// no memory.
const PARTS_AT_ONCE: usize = 4;

/// The parts of a body, in their order.
pub(super) type Slices<'a> = BoxStream<'a, Result<Bytes, StoreError>>;

/// Those of a body that is in memory.
pub(super) fn slices(body: &Bytes) -> Slices<'_> {
    let length = PART.max(body.len().div_ceil(MOST_PARTS));
    let starts = stream::iter((0..body.len()).step_by(length));
    let slice = move |start| Ok(body.slice(start..body.len().min(start + length)));
    starts.map(slice).boxed()
}

/// Puts a body in parts. Nothing is there under its key until all of it is.
pub(super) async fn put(
    place: Place<'_>,
    parts: &Arc<dyn MultipartStore>,
    store: &Arc<dyn ObjectStore>,
    slices: Slices<'_>,
) -> Result<(), StoreError> {
    let (gate, path) = (place.space.gate(), &place.path()?);
    let failed = |failure: Failure| failure.into_error("write", &place);
    let upload = gate.run(|| parts.create_multipart(path)).await;
    let upload = &upload.map_err(failed)?;
    let length = AtomicU64::new(0);
    let sent = slices
        .enumerate()
        .map(|(i, slice)| slice.map(|slice| (i, slice)))
        .map_ok(|(i, slice)| {
            length.fetch_add(slice.len() as u64, Ordering::Relaxed);
            let slice = PutPayload::from_bytes(slice);
            async move {
                let put = move || parts.put_part(path, upload, i, slice.clone());
                gate.run(put).await.map_err(failed)
            }
        })
        .try_buffered(PARTS_AT_ONCE);
    let sent: Result<Vec<PartId>, StoreError> = sent.try_collect().await;
    let put = match sent {
        Ok(ids) => {
            let complete = || parts.complete_multipart(path, upload, ids.clone());
            let Err(failure) = gate.run(complete).await else {
                return Ok(());
            };
            // An upload that was completed is unknown to the store when that is
            // repeated because the answer was lost. The key is this body's alone.
            if let Ok(Ok(meta)) = gate.once(store.head(path)).await
                && meta.size == length.load(Ordering::Relaxed)
            {
                return Ok(());
            }
            failed(failure)
        }
        Err(error) => error,
    };
    if let Err(failure) = gate.run(|| parts.abort_multipart(path, upload)).await {
        tracing::debug!(?failure, %path, "an upload in parts was left unfinished");
    }
    Err(put)
}

/// The same where the store puts parts together by itself: files.
pub(super) async fn put_whole(
    place: Place<'_>,
    store: &Arc<dyn ObjectStore>,
    mut slices: Slices<'_>,
) -> Result<(), StoreError> {
    let (gate, path) = (place.space.gate(), &place.path()?);
    let failed = |failure: Failure| failure.into_error("write", &place);
    let begun = gate.run(|| store.put_multipart(path)).await;
    let mut upload = begun.map_err(failed)?;
    let sent = async {
        while let Some(slice) = slices.try_next().await? {
            let part = upload.put_part(PutPayload::from_bytes(slice));
            let put = gate.once(part).await.map_err(failed)?;
            put.map_err(|error| failed(error.into()))?;
        }
        // All of it is synced now, which takes as long as the disk needs, and goes
        // on though nobody waits for it.
        let done = upload.complete().await;
        done.map(drop).map_err(|error| failed(error.into()))
    };
    let sent = sent.await;
    if sent.is_err()
        && let Err(error) = upload.abort().await
    {
        tracing::debug!(?error, %path, "an upload in parts was left unfinished");
    }
    sent
}

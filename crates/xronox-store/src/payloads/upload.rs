//! Large bodies, put in parts.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::{
    ObjectStore, ObjectStoreExt, PutPayload,
    multipart::{MultipartStore, PartId},
    path::Path,
};

use super::{failure::Failure, gate::Gate};

/// Longer bodies are put in parts, so that a request that fails repeats little
/// and ends in time on a slow line. Documents are no longer by default, and so
/// are one request each.
pub(super) const IN_PARTS_ABOVE: usize = 16 << 20;

/// The length of a part. S3 and GCS want 5 MiB at least, R2 all but the last
/// alike.
const PART: usize = 8 << 20;

/// What S3 and GCS take in parts at most. A body that would need more gets
/// longer parts.
const MOST_PARTS: usize = 10_000;

/// Parts of one body under way at a time. They are slices of it, so they cost
/// no memory.
const PARTS_AT_ONCE: usize = 4;

/// Puts a body in parts. Nothing is there under its key until all of it is.
pub(super) async fn put(
    gate: &Gate,
    parts: &Arc<dyn MultipartStore>,
    store: &Arc<dyn ObjectStore>,
    path: &Path,
    body: &Bytes,
) -> Result<(), Failure> {
    let upload = gate.run(|| parts.create_multipart(path)).await?;
    let length = PART.max(body.len().div_ceil(MOST_PARTS));
    let slices = (0..body.len()).step_by(length).enumerate();
    let slices = slices.map(|(i, start)| {
        let end = body.len().min(start + length);
        (i, PutPayload::from_bytes(body.slice(start..end)))
    });
    let sent: Result<Vec<PartId>, Failure> = stream::iter(slices)
        .map(|(i, slice)| {
            let upload = &upload;
            gate.run(move || parts.put_part(path, upload, i, slice.clone()))
        })
        .buffered(PARTS_AT_ONCE)
        .try_collect()
        .await;
    let put = match sent {
        Ok(ids) => {
            let complete = || parts.complete_multipart(path, &upload, ids.clone());
            match gate.run(complete).await {
                Ok(_) => return Ok(()),
                Err(failure) => failure,
            }
        }
        Err(failure) => failure,
    };
    // An upload that was completed is unknown to the store when that is
    // repeated because the answer was lost. The key is this body's alone.
    if let Ok(Ok(meta)) = gate.once(store.head(path)).await
        && meta.size == body.len() as u64
    {
        return Ok(());
    }
    if let Err(failure) = gate.run(|| parts.abort_multipart(path, &upload)).await {
        tracing::debug!(?failure, %path, "an upload in parts was left unfinished");
    }
    Err(put)
}

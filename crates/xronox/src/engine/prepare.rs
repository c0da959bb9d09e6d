//! Preparing a document for its commit, on the caller's task.

use std::time::Instant;

use bytes::Bytes;
use serde_json::Value;
use xronox_model::{
    Attempt, Body, BucketRole, IndexKeys, Invalid, Location, RecordId, Sha256, UniqueKey, item_key,
    json,
};
use xronox_store::Indexes;

use crate::{Error, collection::Shared, engine::files::Filed};

/// A document that a commit can name.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    pub(crate) body: Body,
    pub(crate) keys: IndexKeys,
    pub(crate) unique: Vec<UniqueKey>,
    /// When its object was put, if it has one.
    pub(crate) put_at: Option<Instant>,
}

/// A document in normal form, and its canonical bytes.
#[derive(Debug, Clone)]
pub(crate) struct Canonical {
    pub(crate) document: Value,
    pub(crate) bytes: Bytes,
    pub(crate) sha256: Sha256,
    pub(crate) files: Filed,
}

impl Canonical {
    /// Of a document whose files still stand in it.
    pub(crate) fn unfinished(given: Value) -> Result<Self, Invalid> {
        let document = normal(given)?;
        let bytes = json::canonical(&document);
        Ok(Self {
            sha256: Sha256::of(&bytes),
            bytes: bytes.into(),
            document,
            files: Filed::default(),
        })
    }
}

/// Takes what a caller gave as a document: an object, in normal form, without
/// the `_id` and `_system` that only reads add.
pub(crate) fn normal(given: Value) -> Result<Value, Invalid> {
    let mut document = json::normalize(given)?;
    let Value::Object(fields) = &mut document else {
        return Err(Invalid::at("", "a document is a JSON object"));
    };
    fields.remove("_id");
    fields.remove("_system");
    Ok(document)
}

impl Shared {
    /// Makes keys of the document and stores its body, inline or as an object
    /// under a key that only this attempt will ever use, and its new files.
    pub(crate) async fn prepare(
        &self,
        canonical: &Canonical,
        indexes: &Indexes,
        id: &RecordId,
        ov: u64,
        attempt: Attempt,
    ) -> Result<Prepared, Error> {
        let keys = IndexKeys::of_body(&canonical.document, indexes.fields());
        let unique = unique_keys(&canonical.document, indexes)?;
        let size = canonical.bytes.len() as u64;
        let (encoding, stored) = self.database.codec.encode(canonical.bytes.clone());
        let inline =
            stored.len() as u64 <= self.rules.inline_max || self.database.payloads.home().is_none();
        let most = self.database.catalog.capabilities().max_inline;
        if inline && stored.len() as u64 > most {
            let why = format!(
                "the document would be stored in more than {most} bytes, which is what the \
                 catalog takes: larger ones need a place for payloads"
            );
            return Err(Invalid::at("", why).into());
        }
        let begun = Instant::now();
        let (files, put) = self.put_files(&canonical.files, id, ov, attempt).await?;
        let mut put_at = put.then_some(begun);
        let (location, inline) = if inline {
            (Location::Inline, Some(stored))
        } else {
            let key = item_key(&self.database.prefix, &self.name, id, ov, attempt);
            // Until it is there; on its way to its commit it takes room anew.
            let _room = self.database.room.take(stored.len()).await?;
            self.database.refuse_sealed().await?;
            put_at.get_or_insert_with(Instant::now);
            let payloads = &self.database.payloads;
            (payloads.put(&key, stored, BucketRole::Records).await?, None)
        };
        Ok(Prepared {
            body: Body {
                sha256: canonical.sha256,
                size,
                encoding,
                location,
                inline,
                files,
            },
            keys,
            unique,
            put_at,
        })
    }
}

/// The unique keys that a live record with this document holds.
pub(crate) fn unique_keys(document: &Value, indexes: &Indexes) -> Result<Vec<UniqueKey>, Error> {
    let mut keys = Vec::new();
    for index in indexes.list.iter().filter(|index| index.spec.unique) {
        keys.extend(UniqueKey::of(document, &index.spec)?);
    }
    Ok(keys)
}

//! The notes of what looked like garbage, in the plain collection `xronox_gc`.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use xronox_model::{
    BucketRole, CollectionName, Direction, Filter, Invalid, Path, Sha256, Timestamp,
};
use xronox_store::{DocFind, DocIndex, Documents, ObjectEntry};

use crate::{Error, ErrorKind};

/// The plain collection of the notes.
const NOTES: &str = "xronox_gc";
/// Longer keys are noted under their hash, since an `_id` is bounded.
const MAX_KEY: usize = 900;
/// Notes read at a time.
const PAGE: usize = 500;

/// That an object was unnamed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Note {
    #[serde(rename = "_id")]
    id: String,
    pub(super) role: BucketRole,
    pub(super) key: String,
    pub(super) first_seen: Timestamp,
    bytes: u64,
}

impl Note {
    pub(super) fn new(role: BucketRole, object: &ObjectEntry, now: Timestamp) -> Self {
        Self {
            id: id(role, &object.key),
            role,
            key: object.key.clone(),
            first_seen: now,
            bytes: object.size,
        }
    }

    fn read(document: Value) -> Result<Self, Error> {
        serde_json::from_value(document).map_err(|error| {
            Error::new(
                ErrorKind::Corrupt,
                format!("a note in {NOTES} is damaged: {error}"),
            )
        })
    }

    fn document(&self) -> Result<Value, Error> {
        serde_json::to_value(self).map_err(|error| Invalid::at("note", error.to_string()).into())
    }
}

/// `<role>/<key>`.
fn id(role: BucketRole, key: &str) -> String {
    let role = match role {
        BucketRole::Records => "records",
        BucketRole::Versions => "versions",
        BucketRole::Content => "content",
        BucketRole::Backups => "backups",
    };
    if key.len() <= MAX_KEY {
        format!("{role}/{key}")
    } else {
        // No key begins with a slash.
        format!("{role}//{}", Sha256::of(key.as_bytes()))
    }
}

/// The notes of one database.
pub(super) struct Notes<'a> {
    documents: &'a dyn Documents,
    collection: CollectionName,
    first_seen: Path,
}

impl<'a> Notes<'a> {
    pub(super) async fn open(documents: &'a dyn Documents, dry_run: bool) -> Result<Self, Error> {
        let notes = Self {
            documents,
            collection: NOTES.parse()?,
            first_seen: "firstSeen".parse()?,
        };
        if !dry_run {
            let index = DocIndex::ascending([notes.first_seen.clone()]);
            documents.ensure_index(&notes.collection, &index).await?;
        }
        Ok(notes)
    }

    /// The notes of these objects, by key.
    pub(super) async fn of(
        &self,
        role: BucketRole,
        objects: &[ObjectEntry],
    ) -> Result<HashMap<String, Note>, Error> {
        let ids: Vec<String> = objects.iter().map(|object| id(role, &object.key)).collect();
        let filter = Filter::parse(&json!({ "_id": { "$in": ids } }))?;
        let find = DocFind::of(filter).limit(objects.len());
        let found = self.documents.find(&self.collection, &find).await?;
        let read = |document| {
            let note = Note::read(document)?;
            Ok((note.key.clone(), note))
        };
        found.into_iter().map(read).collect()
    }

    /// Notes these. What another process noted meanwhile stays as it is.
    pub(super) async fn add(&self, notes: Vec<Note>) -> Result<(), Error> {
        if notes.is_empty() {
            return Ok(());
        }
        let documents = notes.iter().map(Note::document).collect::<Result<_, _>>()?;
        self.documents.insert(&self.collection, documents).await?;
        Ok(())
    }

    /// Removes these.
    pub(super) async fn forget(&self, notes: Vec<Note>) -> Result<(), Error> {
        if notes.is_empty() {
            return Ok(());
        }
        let ids: Vec<String> = notes.into_iter().map(|note| note.id).collect();
        let filter = Filter::parse(&json!({ "_id": { "$in": ids } }))?;
        self.documents.delete_all(&self.collection, &filter).await?;
        Ok(())
    }

    /// Some of the notes up to a time, oldest first, behind `after`.
    pub(super) async fn due(&self, at: Timestamp, after: Option<Note>) -> Result<Vec<Note>, Error> {
        let filter = Filter::parse(&json!({ "firstSeen": { "$lte": at } }))?;
        let mut find = DocFind::of(filter)
            .sort(self.first_seen.clone(), Direction::Ascending)
            .limit(PAGE);
        find.after = after.map(|note| note.document()).transpose()?;
        let found = self.documents.find(&self.collection, &find).await?;
        found.into_iter().map(Note::read).collect()
    }
}

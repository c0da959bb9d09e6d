//! What is known of a collection beside its rows: its counter document.
//!
//! Every commit writes this document first, which makes it the lock across
//! processes, and gets all of it back, so that a commit knows the indexes of
//! the very moment without asking.
//!
//! | field | |
//! |---|---|
//! | `_id` | `"counter"` |
//! | `born` | ObjectId: tells the collection from an earlier one of its name |
//! | `uuid` | UUID: what the server calls `C_ver`, which one of the same name made later is not called |
//! | `next` | Int64: the next `cv` |
//! | `at` | Date: no commit may be older |
//! | `clock` | Date: the server's clock when this was written |
//! | `writes` | Int64: how often it was written, so that a commit always changes it |
//! | `epoch` | Int64: grows with every change of the indexes |
//! | `tags` | Int64: how many tags were given |
//! | `indexes` | array of `{ tag, spec, ready, multi }`, by name; `spec` is JSON |
//! | `dropped` | array of the tags whose indexes are gone |
//! | `trimmed` | `true` once a record may be without its first row |
//! | `stubs` | `true` once there may be stubs |
//! | `turn` | `{ by, until }`: whose commit the others let go first |
//! | `making` | there until the collection is made; nobody writes to it before |
//! | `dropping` | Date: until then somebody is removing the collection |

use std::{collections::HashMap, sync::Arc};

use mongodb::bson::{Bson, DateTime, Document, Uuid, doc, oid::ObjectId};
use parking_lot::Mutex;
use rand::Rng;
use xronox_model::{CollectionName, IndexSpec, Path, Timestamp};
use xronox_store::{Index, Indexes, StoreError};

/// The one document of a counter collection.
pub(crate) const COUNTER: &str = "counter";
/// Its fields that are there once they are true.
pub(crate) const TRIMMED: &str = "trimmed";
pub(crate) const STUBS: &str = "stubs";

/// The indexes of a collection and the tags their keys are stored under.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shape {
    pub(crate) born: Option<ObjectId>,
    /// What the server calls its version rows.
    pub(crate) uuid: Option<Uuid>,
    /// What the contract says of the indexes.
    pub(crate) described: Indexes,
    pub(crate) indexes: Vec<StoredIndex>,
    /// The tags whose indexes are gone; rows may still have keys under them.
    pub(crate) dropped: Vec<String>,
    /// How many tags were given.
    pub(crate) tags: i64,
    /// Whether a record may be without its first row, which otherwise tells
    /// that the record is there.
    pub(crate) trimmed: bool,
    /// Whether there may be stubs.
    pub(crate) stubs: bool,
}

/// An index as the counter document describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredIndex {
    /// Names the keys of this index in rows; never used for another one.
    pub(crate) tag: String,
    pub(crate) spec: IndexSpec,
    pub(crate) ready: bool,
    /// Whether a record ever had several keys.
    pub(crate) multi: bool,
}

/// A counter document.
#[derive(Debug)]
pub(crate) struct Counter {
    pub(crate) shape: Shape,
    pub(crate) next: u64,
    pub(crate) at: Timestamp,
    pub(crate) clock: Timestamp,
    /// Who has the turn, and until when.
    pub(crate) turn: Option<(ObjectId, Timestamp)>,
    pub(crate) dropping: Option<Timestamp>,
    pub(crate) making: bool,
}

impl Counter {
    /// Whether the collection is there: made, and not on its way out.
    pub(crate) fn is_there(&self) -> bool {
        self.dropping.is_none() && !self.making
    }
}

pub(crate) fn damaged(field: &str) -> StoreError {
    StoreError::Corrupt(format!("a counter document has an impossible `{field}`"))
}

pub(crate) fn time(at: DateTime) -> Timestamp {
    Timestamp::from_millis(at.timestamp_millis())
}

pub(crate) fn date(at: Timestamp) -> DateTime {
    DateTime::from_millis(at.as_millis())
}

/// BSON's integers are signed; counters never come near the end.
pub(crate) fn int(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

impl Counter {
    pub(crate) fn read(document: &Document) -> Result<Self, StoreError> {
        let number = |field: &str| -> Result<u64, StoreError> {
            let n = document.get_i64(field).map_err(|_| damaged(field))?;
            u64::try_from(n).map_err(|_| damaged(field))
        };
        let date = |field: &str| document.get_datetime(field).map(|at| time(*at));
        let turn = match document.get_document("turn") {
            Err(_) => None,
            Ok(turn) => Some((
                turn.get_object_id("by").map_err(|_| damaged("turn"))?,
                time(*turn.get_datetime("until").map_err(|_| damaged("turn"))?),
            )),
        };
        let uuid = match document.get("uuid") {
            Some(Bson::Binary(uuid)) => uuid.to_uuid().ok(),
            _ => None,
        };
        let mut indexes = Vec::new();
        for index in document
            .get_array("indexes")
            .map_err(|_| damaged("indexes"))?
        {
            indexes.push(StoredIndex::read(index)?);
        }
        let gone = document
            .get_array("dropped")
            .map_err(|_| damaged("dropped"))?;
        let gone = gone.iter().map(|tag| tag.as_str().map(str::to_owned));
        let described = Indexes {
            epoch: number("epoch")?,
            list: indexes
                .iter()
                .map(|index: &StoredIndex| Index {
                    spec: index.spec.clone(),
                    ready: index.ready,
                })
                .collect(),
        };
        Ok(Self {
            shape: Shape {
                born: Some(
                    document
                        .get_object_id("born")
                        .map_err(|_| damaged("born"))?,
                ),
                uuid,
                described,
                indexes,
                dropped: gone
                    .collect::<Option<_>>()
                    .ok_or_else(|| damaged("dropped"))?,
                tags: document.get_i64("tags").map_err(|_| damaged("tags"))?,
                trimmed: document.get_bool(TRIMMED).unwrap_or_default(),
                stubs: document.get_bool(STUBS).unwrap_or_default(),
            },
            next: number("next")?,
            at: date("at").map_err(|_| damaged("at"))?,
            clock: date("clock").map_err(|_| damaged("clock"))?,
            turn,
            dropping: date("dropping").ok(),
            making: document.contains_key("making"),
        })
    }

    /// The newest `cv`.
    pub(crate) fn newest(&self) -> Option<u64> {
        self.next.checked_sub(1)
    }
}

impl StoredIndex {
    fn read(stored: &Bson) -> Result<Self, StoreError> {
        let bad = || damaged("indexes");
        let stored = stored.as_document().ok_or_else(bad)?;
        let spec = stored.get_str("spec").map_err(|_| bad())?;
        Ok(Self {
            tag: stored.get_str("tag").map_err(|_| bad())?.to_owned(),
            spec: serde_json::from_str(spec).map_err(|_| bad())?,
            ready: stored.get_bool("ready").map_err(|_| bad())?,
            multi: stored.get_bool("multi").map_err(|_| bad())?,
        })
    }

    pub(crate) fn document(&self) -> Result<Document, StoreError> {
        let spec = serde_json::to_string(&self.spec).map_err(|_| damaged("indexes"))?;
        Ok(doc! { "tag": &self.tag, "spec": spec, "ready": self.ready, "multi": self.multi })
    }

    /// The one field, if it is the index of a field.
    pub(crate) fn field(&self) -> Option<&Path> {
        self.spec.fields.first().filter(|_| !self.spec.unique)
    }
}

impl Shape {
    /// The index of a field that rows carry keys of.
    pub(crate) fn of_field(&self, field: &Path) -> Option<&StoredIndex> {
        self.indexes
            .iter()
            .find(|index| index.field() == Some(field))
    }

    /// The index whose keys stand under this tag.
    pub(crate) fn of_tag(&self, tag: &str) -> Option<&StoredIndex> {
        self.indexes.iter().find(|index| index.tag == tag)
    }

    /// The unique index of this name.
    pub(crate) fn unique(&self, name: &str) -> Option<&StoredIndex> {
        self.indexes
            .iter()
            .find(|index| index.spec.unique && index.spec.name() == name)
    }

    pub(crate) fn has_unique(&self) -> bool {
        self.indexes.iter().any(|index| index.spec.unique)
    }

    /// A tag that no index of this collection had, nor (but for chance) one
    /// of an earlier collection of the same name.
    pub(crate) fn new_tag(&self) -> String {
        const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
        let digit = |n: usize| char::from(DIGITS[n % 36]);
        let mut count = usize::try_from(self.tags).unwrap_or_default();
        let mut tag = String::new();
        loop {
            tag.insert(0, digit(count));
            count /= 36;
            if count == 0 {
                break;
            }
        }
        let mut random = rand::rng();
        tag.push(digit(random.random_range(0..36)));
        tag.push(digit(random.random_range(0..36)));
        tag
    }

    /// Whether this is the same collection with the same indexes.
    pub(crate) fn is_as(&self, other: &Self) -> bool {
        (self.born, self.uuid) == (other.born, other.uuid)
            && self.described.epoch == other.described.epoch
            && self.indexes == other.indexes
    }
}

/// What this process has read of the collections. It may be old: whoever acts
/// on it looks at the counter document in the same breath.
#[derive(Debug, Default)]
pub(crate) struct Shapes(Mutex<HashMap<CollectionName, Arc<Shape>>>);

impl Shapes {
    pub(crate) fn get(&self, name: &CollectionName) -> Option<Arc<Shape>> {
        self.0.lock().get(name).cloned()
    }

    pub(crate) fn put(&self, name: &CollectionName, shape: Shape) -> Arc<Shape> {
        let shape = Arc::new(shape);
        self.0.lock().insert(name.clone(), Arc::clone(&shape));
        shape
    }

    pub(crate) fn forget(&self, name: &CollectionName) {
        self.0.lock().remove(name);
    }
}

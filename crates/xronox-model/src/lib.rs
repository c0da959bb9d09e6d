//! The pure data model of Xronox: no I/O, no clock, no randomness.
//!
//! Everything here is a value or a function of values, so every backend and
//! every test can share one meaning of "the same document", "comes before",
//! "matches" and "differs".

#[cfg(test)]
pub(crate) mod arbitrary;
mod diff;
mod error;
mod file;
pub mod filter;
mod hidden;
mod id;
mod identity;
mod index;
pub mod json;
mod key;
mod lineage;
mod lookup;
mod merge;
mod narrow;
pub mod order;
mod patch;
mod path;
mod projection;
mod sha256;
mod storage;
mod system;
mod time;
mod version;

pub use diff::{PatchOp, apply, changed_paths, diff};
pub use error::Invalid;
pub use file::{
    File, TextRendition, each_file_reference, each_value_at, file_reference, is_file_reference,
    same_files,
};
pub use filter::Filter;
pub use id::{
    Attempt, CollectionName, MAX_COLLECTION_NAME_BYTES, MAX_ID_BYTES, RecordId, RecordIdRef,
};
pub use identity::Identity;
pub use index::{ALWAYS_INDEXED, IndexKeys, IndexSpec, UniqueKey, is_document_field};
pub use key::{Direction, FieldKeys, MAX_KEY_BYTES, MAX_KEYS_PER_FIELD, OrderedKey, keys_at};
pub use lineage::{Lineage, Origin};
pub use lookup::{Composed, Lookup, alias_of, values_at};
pub use merge::{enrich, merge_tiers};
pub use narrow::{Constraint, KeyRange, MAX_RANGES, Narrow, Rank};
pub use patch::patch;
pub use path::Path;
pub use projection::{
    CollectionView, DEFAULT_PROJECTION, Include, Projection, ReadShape, Refused, Selection,
};
pub use sha256::{Sha256, Sha256Hasher};
pub use storage::{MAX_ENCODED_NAME, blob_key, database_prefix, encode_name, item_key, text_key};
pub use system::{Imported, SystemChange, SystemFields};
pub use time::Timestamp;
pub use version::{Body, BucketRole, Encoding, Location, Op, VersionRow};

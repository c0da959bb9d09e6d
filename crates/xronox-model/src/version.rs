//! Version rows: the truth about what a record was.

use std::{fmt, str::FromStr};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    Attempt, File, Identity, IndexKeys, Invalid, RecordId, Sha256, SystemFields, Timestamp,
    json::canonical,
};

/// What a version did to its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Op {
    /// The record was born.
    Create,
    /// The document was replaced or patched.
    Update,
    /// Something was merged into the document.
    Enrich,
    /// The record was deleted; its content stays readable.
    Delete,
    /// An earlier version was brought back.
    Restore,
    /// Everything but this row was removed, for ever.
    Purge,
}

impl Op {
    /// Every operation.
    pub const ALL: [Op; 6] = [
        Op::Create,
        Op::Update,
        Op::Enrich,
        Op::Delete,
        Op::Restore,
        Op::Purge,
    ];

    /// The name as stored and shown, such as `CREATE`.
    pub fn as_str(self) -> &'static str {
        match self {
            Op::Create => "CREATE",
            Op::Update => "UPDATE",
            Op::Enrich => "ENRICH",
            Op::Delete => "DELETE",
            Op::Restore => "RESTORE",
            Op::Purge => "PURGE",
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Op {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Op::ALL
            .into_iter()
            .find(|op| op.as_str() == text)
            .ok_or_else(|| Invalid::at("op", "not an operation"))
    }
}

/// How the stored bytes of a body stand for its canonical form.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// They are the canonical form.
    #[default]
    Plain,
    /// They are its zstd compression.
    Zstd,
}

/// Which of a database's buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BucketRole {
    /// Bodies as they are written.
    Records,
    /// Superseded bodies, moved there in the background.
    Versions,
    /// Files inside records.
    Content,
    /// Backups.
    Backups,
}

/// Where the stored bytes of a body are.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Location {
    /// In the version row itself.
    Inline,
    /// In object storage.
    Object {
        /// The storage connection.
        space: String,
        /// The bucket of that connection.
        role: BucketRole,
        /// The key in that bucket.
        key: String,
    },
}

/// A body: the document of one version, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// SHA-256 of the canonical form.
    pub sha256: Sha256,
    /// Bytes of the canonical form.
    pub size: u64,
    /// How it is stored.
    pub encoding: Encoding,
    /// Where it is stored.
    pub location: Location,
    /// The stored bytes of an inline body, where they were asked for.
    pub inline: Option<Bytes>,
    /// The files that references in the document stand for, in the order of
    /// their paths.
    pub files: Vec<File>,
}

impl Body {
    /// Where it is stored, and where its files are.
    pub fn locations(&self) -> impl Iterator<Item = &Location> {
        let files = self.files.iter().flat_map(File::locations);
        std::iter::once(&self.location).chain(files)
    }
}

/// One version of one record.
///
/// Only `to_cv`, the body's location and the index keys change after the
/// commit, until retention prunes the row to a stub.
#[derive(Debug, Clone, PartialEq)]
pub struct VersionRow {
    /// The record.
    pub id: RecordId,
    /// Its versions, counted from 0.
    pub ov: u64,
    /// The collection's committed versions, counted from 0.
    pub cv: u64,
    /// What happened.
    pub op: Op,
    /// When, by the database's clock; never before the previous `cv`.
    pub at: Timestamp,
    /// The `cv` of the record's next version; `None` while this is the newest.
    pub to_cv: Option<u64>,
    /// Who did it.
    pub actor: Option<Identity>,
    /// For whom.
    pub on_behalf_of: Option<Identity>,
    /// Why.
    pub reason: Option<String>,
    /// What goes on from version to version.
    pub system: SystemFields,
    /// The mutation that made it.
    pub attempt: Attempt,
    /// The document; `None` in a PURGE row and in a stub.
    pub body: Option<Body>,
    /// The version a RESTORE brought back.
    pub restored_from: Option<u64>,
    /// The [hash](VersionRow::hash) of the record's previous row.
    pub prev_hash: Option<Sha256>,
    /// The ordered keys of the indexed fields.
    pub keys: IndexKeys,
    /// In a stub, the hash the row had before retention pruned it.
    pub pruned: Option<Sha256>,
    /// Of a version that was written to be kept only as long as it is the
    /// newest: the `cv` of the first one of those that follow on each other.
    /// That one leaves a stub, which is valid until the last one of them; the
    /// others leave nothing, so there is a gap in `ov` behind that stub.
    pub newest_only_since: Option<u64>,
}

impl VersionRow {
    /// The stored bytes of an inline body, if they came along.
    pub fn inline(&self) -> Option<&Bytes> {
        self.body.as_ref()?.inline.as_ref()
    }

    /// How many bytes of an inline body it has with it.
    pub fn inline_bytes(&self) -> usize {
        self.inline().map_or(0, Bytes::len)
    }

    /// SHA-256 of the row's canonical form, without what may change later
    /// (`to_cv`, locations, encoding, index keys): the link that the record's next row carries.
    pub fn hash(&self) -> Sha256 {
        if let Some(hash) = self.pruned {
            return hash;
        }
        let mut row = Map::new();
        let mut put = |name: &str, value: Value| {
            if !value.is_null() {
                row.insert(name.to_owned(), value);
            }
        };
        put("id", json!(self.id));
        put("ov", json!(self.ov));
        put("cv", json!(self.cv));
        put("op", json!(self.op));
        put("at", json!(self.at));
        put("actor", json!(self.actor));
        put("onBehalfOf", json!(self.on_behalf_of));
        put("reason", json!(self.reason));
        put("system", json!(self.system));
        put("attempt", json!(self.attempt));
        if let Some(body) = &self.body {
            put("sha256", json!(body.sha256));
            put("size", json!(body.size));
            if !body.files.is_empty() {
                put("files", body.files.iter().map(File::facts).collect());
            }
        }
        put("restoredFrom", json!(self.restored_from));
        put("prevHash", json!(self.prev_hash));
        put("newestOnlySince", json!(self.newest_only_since));
        Sha256::of(&canonical(&Value::Object(row)))
    }

    /// The stub that retention leaves of this row.
    pub fn into_stub(self) -> Self {
        let hash = self.hash();
        Self {
            actor: None,
            on_behalf_of: None,
            reason: None,
            system: SystemFields {
                inserted_at: self.system.inserted_at,
                deleted_at: self.system.deleted_at,
                function_ids: Vec::new(),
                lineage: crate::Lineage::default(),
                creator: None,
                updater: None,
                imported: None,
            },
            body: None,
            restored_from: None,
            prev_hash: None,
            keys: IndexKeys::default(),
            pruned: Some(hash),
            ..self
        }
    }

    /// Whether versions of the record may be missing between these two rows
    /// of it, `self` and the `next` one that is there: because of those that
    /// were kept as long as they were the newest, `self` is the stub.
    pub fn stands_for_those_before(&self, next: &Self) -> bool {
        self.pruned.is_some()
            && self.newest_only_since == Some(self.cv)
            && self.newest_only_since == next.newest_only_since
    }

    /// Whether the record is there for readers in this version: neither
    /// deleted nor purged.
    pub fn live(&self) -> bool {
        self.op != Op::Purge && !self.system.deleted()
    }
}

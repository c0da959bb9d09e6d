//! Version rows as SQLite keeps them.

use bytes::Bytes;
use rusqlite::{
    CachedStatement, Row, ToSql,
    types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use xronox_model::{
    Attempt, Body, BucketRole, Encoding, File, Identity, Imported, Lineage, Location, Op, RecordId,
    RecordIdRef, Sha256, SystemFields, Timestamp, VersionRow, json::canonical,
};
use xronox_store::StoreError;

use crate::{error::storage, keys};

/// A record id as a value: an ObjectId is a BLOB of twelve bytes, any other
/// id TEXT. SQLite orders texts before blobs, as record ids are ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item(pub(crate) RecordId);

/// The same, borrowed.
pub(crate) struct ItemRef<'a>(pub(crate) &'a RecordId);

impl ToSql for ItemRef<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(item_value(self.0)))
    }
}

/// The value that stands for an id.
pub(crate) fn item_value(id: &RecordId) -> ValueRef<'_> {
    match id.as_ref() {
        RecordIdRef::Text(text) => ValueRef::Text(text.as_bytes()),
        RecordIdRef::Object(bytes) => ValueRef::Blob(bytes),
    }
}

impl FromSql for Item {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value {
            ValueRef::Text(_) => value
                .as_str()?
                .parse()
                .map(Item)
                .map_err(|e| FromSqlError::Other(Box::new(e))),
            ValueRef::Blob(bytes) => bytes
                .try_into()
                .map(|bytes| Item(RecordId::from_object_id(bytes)))
                .map_err(|_| FromSqlError::InvalidBlobSize {
                    expected_size: 12,
                    blob_size: bytes.len(),
                }),
            _ => Err(FromSqlError::InvalidType),
        }
    }
}

/// The rarer fields, as one JSON text.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rare {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    function_ids: Vec<String>,
    #[serde(default, skip_serializing_if = "Lineage::is_empty")]
    lineage: Lineage,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    imported: Option<Imported>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    newest_only_since: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    files: Vec<File>,
}

pub(crate) fn op_code(op: Op) -> i64 {
    match op {
        Op::Create => 0,
        Op::Update => 1,
        Op::Enrich => 2,
        Op::Delete => 3,
        Op::Restore => 4,
        Op::Purge => 5,
    }
}

pub(crate) fn op_of(code: i64) -> Result<Op, StoreError> {
    Op::ALL
        .into_iter()
        .find(|op| op_code(*op) == code)
        .ok_or_else(|| damaged("op"))
}

fn encoding_code(encoding: Encoding) -> i64 {
    match encoding {
        Encoding::Plain => 0,
        Encoding::Zstd => 1,
    }
}

fn role_code(role: BucketRole) -> i64 {
    match role {
        BucketRole::Records => 0,
        BucketRole::Versions => 1,
        BucketRole::Content => 2,
        BucketRole::Backups => 3,
    }
}

fn role_of(code: i64) -> Result<BucketRole, StoreError> {
    Ok(match code {
        0 => BucketRole::Records,
        1 => BucketRole::Versions,
        2 => BucketRole::Content,
        3 => BucketRole::Backups,
        _ => return Err(damaged("role")),
    })
}

pub(crate) fn damaged(column: &str) -> StoreError {
    StoreError::Corrupt(format!("a version row has an impossible `{column}`"))
}

/// SQLite's integers are signed; counters never come near the end.
pub(crate) fn int(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

pub(crate) fn uint(n: i64, column: &str) -> Result<u64, StoreError> {
    u64::try_from(n).map_err(|_| damaged(column))
}

fn identity_text(identity: Option<&Identity>) -> Option<String> {
    let value = serde_json::to_value(identity?).unwrap_or(Value::Null);
    Some(String::from_utf8_lossy(&canonical(&value)).into_owned())
}

/// Where an object lies, as three columns.
pub(crate) fn place(location: &Location) -> (Option<&str>, Option<i64>, Option<&str>) {
    match location {
        Location::Inline => (None, None, None),
        Location::Object { space, role, key } => (Some(space), Some(role_code(*role)), Some(key)),
    }
}

/// Inserts a row, with its inline body if that is to stand in it.
pub(crate) fn insert(
    statement: &mut CachedStatement<'_>,
    row: &VersionRow,
    bytes: Option<&[u8]>,
    codec: &keys::Fields,
) -> Result<(), StoreError> {
    let rare = Rare {
        function_ids: row.system.function_ids.clone(),
        lineage: row.system.lineage.clone(),
        imported: row.system.imported.clone(),
        newest_only_since: row.newest_only_since,
        files: row
            .body
            .as_ref()
            .map_or_else(Vec::new, |body| body.files.clone()),
    };
    let nothing_rare = rare.function_ids.is_empty()
        && rare.lineage.is_empty()
        && rare.imported.is_none()
        && rare.newest_only_since.is_none()
        && rare.files.is_empty();
    let rare = if nothing_rare {
        None
    } else {
        Some(serde_json::to_string(&rare).map_err(|_| damaged("system"))?)
    };
    let body = row.body.as_ref();
    let (space, role, object) = body.map_or((None, None, None), |body| place(&body.location));
    statement
        .execute(rusqlite::params![
            int(row.cv),
            ItemRef(&row.id),
            int(row.ov),
            op_code(row.op),
            row.at.as_millis(),
            row.to_cv.map(int),
            row.system.inserted_at.as_millis(),
            row.system.deleted_at.map(Timestamp::as_millis),
            identity_text(row.actor.as_ref()),
            identity_text(row.on_behalf_of.as_ref()),
            row.reason,
            identity_text(row.system.creator.as_ref()),
            rare,
            row.attempt.as_bytes(),
            body.map(|b| b.sha256.as_bytes()),
            body.map(|b| int(b.size)),
            body.map(|b| encoding_code(b.encoding)),
            space,
            role,
            object,
            row.restored_from.map(int),
            row.prev_hash.as_ref().map(Sha256::as_bytes),
            row.pruned.as_ref().map(Sha256::as_bytes),
            codec.encode(&row.keys),
            bytes,
        ])
        .map_err(storage)?;
    Ok(())
}

/// Reads a row in the order of [`COLUMNS`](crate::schema::COLUMNS), without
/// its inline body.
pub(crate) fn read(row: &Row<'_>, codec: &keys::Fields) -> Result<VersionRow, StoreError> {
    let get = |at: usize| row.get_ref(at).map_err(storage);
    let int = |at: usize, name: &str| get(at)?.as_i64().map_err(|_| damaged(name));
    let maybe_int = |at: usize, name: &str| get(at)?.as_i64_or_null().map_err(|_| damaged(name));
    let maybe_text = |at: usize, name: &str| get(at)?.as_str_or_null().map_err(|_| damaged(name));
    let maybe_blob = |at: usize, name: &str| get(at)?.as_blob_or_null().map_err(|_| damaged(name));
    let counter = |at: usize, name: &str| uint(int(at, name)?, name);
    let maybe_counter =
        |at: usize, name: &str| maybe_int(at, name)?.map(|n| uint(n, name)).transpose();
    let identity = |at: usize, name: &str| -> Result<Option<Identity>, StoreError> {
        maybe_text(at, name)?
            .map(|text| serde_json::from_str(text).map_err(|_| damaged(name)))
            .transpose()
    };
    let hash = |at: usize, name: &str| -> Result<Option<Sha256>, StoreError> {
        maybe_blob(at, name)?
            .map(|bytes| {
                let bytes = bytes.try_into().map_err(|_| damaged(name))?;
                Ok(Sha256::from_bytes(bytes))
            })
            .transpose()
    };
    let Item(id) = Item::column_result(get(1)?).map_err(|_| damaged("item"))?;
    let rare: Rare = maybe_text(12, "system")?
        .map(|text| serde_json::from_str(text).map_err(|_| damaged("system")))
        .transpose()?
        .unwrap_or_default();
    let attempt = get(13)?.as_blob().map_err(|_| damaged("attempt"))?;
    let body = match hash(14, "sha256")? {
        None => None,
        Some(sha256) => Some(Body {
            sha256,
            size: counter(15, "size")?,
            encoding: match int(16, "encoding")? {
                0 => Encoding::Plain,
                1 => Encoding::Zstd,
                _ => return Err(damaged("encoding")),
            },
            location: match (maybe_text(17, "space")?, maybe_text(19, "object")?) {
                (Some(space), Some(key)) => Location::Object {
                    space: space.to_owned(),
                    role: role_of(int(18, "role")?)?,
                    key: key.to_owned(),
                },
                (None, None) => Location::Inline,
                _ => return Err(damaged("object")),
            },
            inline: None,
            files: rare.files,
        }),
    };
    let actor = identity(8, "actor")?;
    let pruned = hash(22, "pruned")?;
    Ok(VersionRow {
        id,
        ov: counter(2, "ov")?,
        cv: counter(0, "cv")?,
        op: op_of(int(3, "op")?)?,
        at: Timestamp::from_millis(int(4, "at")?),
        to_cv: maybe_counter(5, "to_cv")?,
        on_behalf_of: identity(9, "behalf")?,
        reason: maybe_text(10, "reason")?.map(str::to_owned),
        system: SystemFields {
            inserted_at: Timestamp::from_millis(int(6, "inserted_at")?),
            deleted_at: maybe_int(7, "deleted_at")?.map(Timestamp::from_millis),
            function_ids: rare.function_ids,
            lineage: rare.lineage,
            creator: identity(11, "creator")?,
            updater: actor.clone(),
            imported: rare.imported,
        },
        actor,
        attempt: Attempt::from_bytes(attempt.try_into().map_err(|_| damaged("attempt"))?),
        body,
        restored_from: maybe_counter(20, "restored_from")?,
        prev_hash: hash(21, "prev_hash")?,
        keys: match get(23)?.as_blob() {
            Ok(bytes) => codec.decode(bytes).ok_or_else(|| damaged("keys"))?,
            Err(_) => return Err(damaged("keys")),
        },
        pruned,
        newest_only_since: rare.newest_only_since,
    })
}

/// The bytes of an inline body, from a value of the body table.
pub(crate) fn body_bytes(value: ValueRef<'_>) -> Result<Bytes, StoreError> {
    value
        .as_blob()
        .map(Bytes::copy_from_slice)
        .map_err(|_| damaged("body"))
}

//! Version rows as MongoDB keeps them: one document a version, in `C_ver`.
//!
//! | field | type | |
//! |---|---|---|
//! | `_id` | Int64 | `cv` |
//! | `i` | String or ObjectId | the record |
//! | `n` | Int64 | `ov` |
//! | `op` | Int32 | 0 CREATE, 1 UPDATE, 2 ENRICH, 3 DELETE, 4 RESTORE, 5 PURGE |
//! | `at` | Date | |
//! | `o` | `true` | the record's newest row; gone once `to` is there |
//! | `to` | Int64 | `to_cv` |
//! | `ins` | Date | when the record was created |
//! | `del` | Date | when it was deleted, if it is |
//! | `who`, `for`, `cre`, `upd` | String | actor, on behalf of, creator, updater (if not the actor): canonical JSON |
//! | `why` | String | reason |
//! | `sys` | String | the rarer system fields, JSON |
//! | `a` | Binary | attempt |
//! | `h`, `s`, `z` | Binary, Int64, Int32 | of the body: SHA-256, size, encoding if not plain |
//! | `b` | Binary | the stored bytes of an inline body |
//! | `l` | document | of a body in object storage: `s` space, `r` role, `k` key. With files inside the record an array: of that, if there is one, and of one more for each file, with `f` path, `h` SHA-256, `n` size and `t` content type, or, for the text of the one before, with `x` `true` |
//! | `rf` | Int64 | the `ov` that was restored |
//! | `p` | Binary | hash of the record's previous row |
//! | `st` | Binary | in a stub, the hash the row had |
//! | `k` | document | ordered keys by tag: one String, or an array where the field met one |
//! | `m` | document | where it met one, the two keys it sorts by |
//! | `u` | array | unique keys held, as in `C_keys` |
//! | `only` | Int64 | of a version that is kept only as long as it is the newest: the `cv` of the first one in a row of these |
//! | `q` | document | for whoever applies a row that was committed without a transaction: the request it answers |
//! | `f` | array | committed without a transaction, what no other document has: the attempt and the [`Start`](crate::fence::Start) |
//!
//! A document without `n` is no row: it is a [fence or a trace](crate::fence). Its
//! `i` is no record's, `f` is as in a row, and so is `a` in a trace.

use mongodb::bson::{
    Binary, DateTime, RawArrayBuf, RawBson, RawBsonRef, RawDocument, RawDocumentBuf,
    oid::ObjectId,
    raw::{CStr, cstr},
    spec::BinarySubtype,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use xronox_model::{
    Attempt, Body, BucketRole, Direction, Encoding, FieldKeys, File, Identity, Imported, IndexKeys,
    Lineage, Location, Op, OrderedKey, Path, RecordId, RecordIdRef, Sha256, SystemFields,
    TextRendition, Timestamp, VersionRow, json::canonical,
};
use xronox_store::StoreError;

use crate::shape::{Shape, date, int, time};

/// The largest document that MongoDB takes.
const MAX_DOCUMENT: usize = 16 << 20;

/// The field of what can be fenced off.
pub(crate) const FENCED: &str = "f";

/// A stored row, and what it holds besides.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) row: VersionRow,
    /// The unique keys that the record holds since this version.
    pub(crate) unique: Vec<String>,
    /// Whether it has keys under a tag that is not known: there are more
    /// indexes than when they were last looked at.
    pub(crate) strange: bool,
}

/// The rarer system fields, as one JSON text.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rare {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    function_ids: Vec<String>,
    #[serde(default, skip_serializing_if = "Lineage::is_empty")]
    lineage: Lineage,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    imported: Option<Imported>,
}

pub(crate) fn damaged(field: &str) -> StoreError {
    StoreError::Corrupt(format!("a version row has an impossible `{field}`"))
}

pub(crate) const PURGE: i32 = 5;

pub(crate) fn op_code(op: Op) -> i32 {
    match op {
        Op::Create => 0,
        Op::Update => 1,
        Op::Enrich => 2,
        Op::Delete => 3,
        Op::Restore => 4,
        Op::Purge => PURGE,
    }
}

pub(crate) fn op_of(code: i32) -> Result<Op, StoreError> {
    let mut ops = Op::ALL.into_iter();
    ops.find(|op| op_code(*op) == code)
        .ok_or_else(|| damaged("op"))
}

fn role_code(role: BucketRole) -> i32 {
    match role {
        BucketRole::Records => 0,
        BucketRole::Versions => 1,
        BucketRole::Content => 2,
        BucketRole::Backups => 3,
    }
}

fn role_of(code: i32) -> Result<BucketRole, StoreError> {
    Ok(match code {
        0 => BucketRole::Records,
        1 => BucketRole::Versions,
        2 => BucketRole::Content,
        3 => BucketRole::Backups,
        _ => return Err(damaged("l")),
    })
}

/// A record id as a value. MongoDB orders strings before ObjectIds, as record
/// ids are ordered.
pub(crate) fn item(id: &RecordId) -> mongodb::bson::Bson {
    match id.as_ref() {
        RecordIdRef::Text(text) => text.into(),
        RecordIdRef::Object(bytes) => ObjectId::from_bytes(*bytes).into(),
    }
}

fn item_ref(id: &RecordId) -> RawBsonRef<'_> {
    match id.as_ref() {
        RecordIdRef::Text(text) => RawBsonRef::String(text),
        RecordIdRef::Object(bytes) => RawBsonRef::ObjectId(ObjectId::from_bytes(*bytes)),
    }
}

/// The attempt that a row, or what stands for one, is of.
pub(crate) fn attempt_of(document: &RawDocument) -> Result<Option<Attempt>, StoreError> {
    match document.get("a").map_err(|_| damaged("a"))? {
        Some(value) => Ok(Some(Attempt::from_bytes(array(value, "a")?))),
        None => Ok(None),
    }
}

/// The record id that a value stands for.
pub(crate) fn id_of(value: RawBsonRef<'_>) -> Result<RecordId, StoreError> {
    match value {
        RawBsonRef::String(text) => text.parse().map_err(|_| damaged("i")),
        RawBsonRef::ObjectId(id) => Ok(RecordId::from_object_id(id.bytes())),
        _ => Err(damaged("i")),
    }
}

/// Bytes as a value.
pub(crate) fn binary(bytes: &[u8]) -> Binary {
    Binary {
        subtype: BinarySubtype::Generic,
        bytes: bytes.to_vec(),
    }
}

fn bytes_ref(bytes: &[u8]) -> RawBsonRef<'_> {
    RawBsonRef::Binary(mongodb::bson::RawBinaryRef {
        subtype: BinarySubtype::Generic,
        bytes,
    })
}

/// Where an object lies, as a value; nothing of an inline body.
fn place(location: &Location) -> Option<RawDocumentBuf> {
    let Location::Object { space, role, key } = location else {
        return None;
    };
    let mut out = RawDocumentBuf::new();
    out.append(cstr!("s"), space.as_str());
    out.append(cstr!("r"), role_code(*role));
    out.append(cstr!("k"), key.as_str());
    Some(out)
}

/// Where a body and its files lie, as a value.
pub(crate) fn places(body: &Body) -> Option<RawBson> {
    let own = place(&body.location);
    if body.files.is_empty() {
        return own.map(RawBson::Document);
    }
    let mut all = RawArrayBuf::new();
    if let Some(own) = own {
        all.push(own);
    }
    let facts = |location, path: &Path, sha256: &Sha256, size| {
        // Files are objects, as the contract says and is checked.
        let mut one = place(location).unwrap_or_default();
        one.append(cstr!("f"), path.to_string());
        one.append(cstr!("h"), bytes_ref(sha256.as_bytes()));
        one.append(cstr!("n"), int(size));
        one
    };
    for file in &body.files {
        let mut one = facts(&file.location, &file.path, &file.sha256, file.size);
        one.append(cstr!("t"), file.content_type.as_str());
        all.push(one);
        if let Some(text) = &file.text {
            let mut one = facts(&text.location, &file.path, &text.sha256, text.size);
            one.append(cstr!("x"), true);
            all.push(one);
        }
    }
    Some(RawBson::Array(all))
}

fn identity_text(identity: &Identity) -> String {
    let value = serde_json::to_value(identity).unwrap_or(Value::Null);
    String::from_utf8_lossy(&canonical(&value)).into_owned()
}

fn tagged(tag: &str) -> Result<&CStr, StoreError> {
    tag.try_into()
        .map_err(|_| StoreError::Corrupt("an index has an impossible tag".to_owned()))
}

/// The keys of one field as a value: one, or all of an array.
pub(crate) fn key_value(keys: &FieldKeys) -> mongodb::bson::Bson {
    if keys.is_multi() {
        keys.keys().iter().map(OrderedKey::as_str).collect()
    } else {
        keys.sort_key(Direction::Ascending).as_str().into()
    }
}

/// The two keys that a field sorts by, as a value.
pub(crate) fn sort_value(keys: &FieldKeys) -> [&str; 2] {
    [Direction::Ascending, Direction::Descending].map(|way| keys.sort_key(way).as_str())
}

/// A row as it is inserted. `open` says that it is its record's newest one.
pub(crate) fn encode(
    row: &VersionRow,
    unique: &[String],
    open: bool,
    shape: &Shape,
) -> Result<RawDocumentBuf, StoreError> {
    let mut out = RawDocumentBuf::new();
    out.append(cstr!("_id"), int(row.cv));
    out.append(cstr!("i"), item_ref(&row.id));
    out.append(cstr!("n"), int(row.ov));
    out.append(cstr!("op"), op_code(row.op));
    out.append(cstr!("at"), date(row.at));
    if let Some(to) = row.to_cv {
        out.append(cstr!("to"), int(to));
    } else if open {
        out.append(cstr!("o"), true);
    }
    let system = &row.system;
    out.append(cstr!("ins"), date(system.inserted_at));
    if let Some(at) = system.deleted_at {
        out.append(cstr!("del"), date(at));
    }
    let updater = (system.updater != row.actor).then_some(&system.updater);
    for (field, identity) in [
        (cstr!("who"), row.actor.as_ref()),
        (cstr!("for"), row.on_behalf_of.as_ref()),
        (cstr!("cre"), system.creator.as_ref()),
    ] {
        if let Some(identity) = identity {
            out.append(field, identity_text(identity));
        }
    }
    match updater {
        None => {}
        Some(None) => out.append(cstr!("upd"), ""),
        Some(Some(identity)) => out.append(cstr!("upd"), identity_text(identity)),
    }
    if let Some(reason) = &row.reason {
        out.append(cstr!("why"), reason.as_str());
    }
    if !system.function_ids.is_empty() || !system.lineage.is_empty() || system.imported.is_some() {
        let rare = Rare {
            function_ids: system.function_ids.clone(),
            lineage: system.lineage.clone(),
            imported: system.imported.clone(),
        };
        let text = serde_json::to_string(&rare).map_err(|_| damaged("sys"))?;
        out.append(cstr!("sys"), text);
    }
    out.append(cstr!("a"), bytes_ref(row.attempt.as_bytes()));
    if let Some(body) = &row.body {
        out.append(cstr!("h"), bytes_ref(body.sha256.as_bytes()));
        out.append(cstr!("s"), int(body.size));
        if body.encoding == Encoding::Zstd {
            out.append(cstr!("z"), 1_i32);
        }
        if let Some(places) = places(body) {
            out.append(cstr!("l"), places);
        }
        match (&body.location, &body.inline) {
            (Location::Object { .. }, _) => {}
            (Location::Inline, Some(bytes)) => out.append(cstr!("b"), bytes_ref(bytes)),
            (Location::Inline, None) => {
                return Err(StoreError::Refused(
                    "an inline body came without its bytes".to_owned(),
                ));
            }
        }
    }
    if let Some(ov) = row.restored_from {
        out.append(cstr!("rf"), int(ov));
    }
    for (field, hash) in [(cstr!("p"), &row.prev_hash), (cstr!("st"), &row.pruned)] {
        if let Some(hash) = hash {
            out.append(field, bytes_ref(hash.as_bytes()));
        }
    }
    if let Some(cv) = row.newest_only_since {
        out.append(cstr!("only"), int(cv));
    }
    put_keys(&row.keys, shape, &mut out)?;
    if !unique.is_empty() {
        let mut held = RawArrayBuf::new();
        for key in unique {
            held.push(key.as_str());
        }
        out.append(cstr!("u"), held);
    }
    if out.as_bytes().len() > MAX_DOCUMENT {
        return Err(StoreError::Refused(format!(
            "version {} of {} would be larger than MongoDB's 16 MiB",
            row.ov, row.id
        )));
    }
    Ok(out)
}

fn put_keys(keys: &IndexKeys, shape: &Shape, out: &mut RawDocumentBuf) -> Result<(), StoreError> {
    if keys.is_empty() {
        return Ok(());
    }
    let (mut all, mut sorts) = (RawDocumentBuf::new(), RawDocumentBuf::new());
    let mut several = false;
    for (field, keys) in keys.iter() {
        let Some(index) = shape.of_field(field) else {
            continue;
        };
        let tag = tagged(&index.tag)?;
        if keys.is_multi() {
            several = true;
            let mut list = RawArrayBuf::new();
            for key in keys.keys() {
                list.push(key.as_str());
            }
            all.append(tag, list);
            let mut ends = RawArrayBuf::new();
            for key in sort_value(keys) {
                ends.push(key);
            }
            sorts.append(tag, ends);
        } else {
            all.append(tag, keys.sort_key(Direction::Ascending).as_str());
        }
    }
    out.append(cstr!("k"), all);
    if several {
        out.append(cstr!("m"), sorts);
    }
    Ok(())
}

/// Reads a row, with its inline bytes if the document has them.
pub(crate) fn decode(document: &RawDocument, shape: &Shape) -> Result<Stored, StoreError> {
    let mut fields = Fields::default();
    for element in document {
        let (name, value) = element.map_err(|_| damaged("bson"))?;
        fields.take(name.as_str(), value)?;
    }
    fields.stored(shape)
}

/// The fields of a row as they are met.
#[derive(Default)]
struct Fields<'a> {
    cv: Option<u64>,
    id: Option<RecordId>,
    ov: Option<u64>,
    op: Option<Op>,
    at: Option<Timestamp>,
    to: Option<u64>,
    inserted: Option<Timestamp>,
    deleted: Option<Timestamp>,
    actor: Option<Identity>,
    behalf: Option<Identity>,
    creator: Option<Identity>,
    updater: Option<Identity>,
    /// Whether the updater is told apart from the actor.
    other_updater: bool,
    reason: Option<String>,
    rare: Rare,
    attempt: Option<Attempt>,
    sha256: Option<Sha256>,
    size: Option<u64>,
    encoding: Encoding,
    inline: Option<&'a [u8]>,
    place: Option<Location>,
    files: Vec<File>,
    restored_from: Option<u64>,
    prev_hash: Option<Sha256>,
    pruned: Option<Sha256>,
    newest_only_since: Option<u64>,
    keys: Option<&'a RawDocument>,
    sorts: Option<&'a RawDocument>,
    unique: Vec<String>,
}

fn uint(value: RawBsonRef<'_>, field: &str) -> Result<u64, StoreError> {
    let n = value.as_i64().ok_or_else(|| damaged(field))?;
    u64::try_from(n).map_err(|_| damaged(field))
}

fn moment(value: RawBsonRef<'_>, field: &str) -> Result<Timestamp, StoreError> {
    let at: DateTime = value.as_datetime().ok_or_else(|| damaged(field))?;
    Ok(time(at))
}

fn text<'a>(value: RawBsonRef<'a>, field: &str) -> Result<&'a str, StoreError> {
    value.as_str().ok_or_else(|| damaged(field))
}

fn blob<'a>(value: RawBsonRef<'a>, field: &str) -> Result<&'a [u8], StoreError> {
    match value {
        RawBsonRef::Binary(binary) => Ok(binary.bytes),
        _ => Err(damaged(field)),
    }
}

fn array<const N: usize>(value: RawBsonRef<'_>, field: &str) -> Result<[u8; N], StoreError> {
    blob(value, field)?.try_into().map_err(|_| damaged(field))
}

fn json<T: for<'de> Deserialize<'de>>(value: RawBsonRef<'_>, field: &str) -> Result<T, StoreError> {
    serde_json::from_str(text(value, field)?).map_err(|_| damaged(field))
}

impl<'a> Fields<'a> {
    fn take(&mut self, name: &str, value: RawBsonRef<'a>) -> Result<(), StoreError> {
        match name {
            "_id" => self.cv = Some(uint(value, name)?),
            "i" => self.id = Some(id_of(value)?),
            "n" => self.ov = Some(uint(value, name)?),
            "op" => self.op = Some(op_of(value.as_i32().ok_or_else(|| damaged(name))?)?),
            "at" => self.at = Some(moment(value, name)?),
            "to" => self.to = Some(uint(value, name)?),
            "ins" => self.inserted = Some(moment(value, name)?),
            "del" => self.deleted = Some(moment(value, name)?),
            "who" => self.actor = Some(json(value, name)?),
            "for" => self.behalf = Some(json(value, name)?),
            "cre" => self.creator = Some(json(value, name)?),
            "upd" => {
                self.other_updater = true;
                if !text(value, name)?.is_empty() {
                    self.updater = Some(json(value, name)?);
                }
            }
            "why" => self.reason = Some(text(value, name)?.to_owned()),
            "sys" => self.rare = json(value, name)?,
            "a" => self.attempt = Some(Attempt::from_bytes(array(value, name)?)),
            "h" => self.sha256 = Some(Sha256::from_bytes(array(value, name)?)),
            "s" => self.size = Some(uint(value, name)?),
            "z" if value.as_i32() == Some(1) => self.encoding = Encoding::Zstd,
            "z" => return Err(damaged(name)),
            "b" => self.inline = Some(blob(value, name)?),
            "l" => self.take_places(value)?,
            "rf" => self.restored_from = Some(uint(value, name)?),
            "p" => self.prev_hash = Some(Sha256::from_bytes(array(value, name)?)),
            "st" => self.pruned = Some(Sha256::from_bytes(array(value, name)?)),
            "only" => self.newest_only_since = Some(uint(value, name)?),
            "k" => self.keys = Some(value.as_document().ok_or_else(|| damaged(name))?),
            "m" => self.sorts = Some(value.as_document().ok_or_else(|| damaged(name))?),
            "u" => {
                for key in value.as_array().ok_or_else(|| damaged(name))? {
                    let key = key.map_err(|_| damaged(name))?;
                    self.unique.push(text(key, name)?.to_owned());
                }
            }
            // `o` says no more than that `to` is not there.
            _ => {}
        }
        Ok(())
    }

    fn take_places(&mut self, value: RawBsonRef<'_>) -> Result<(), StoreError> {
        let bad = || damaged("l");
        let RawBsonRef::Array(all) = value else {
            self.place = Some(place_of(value)?);
            return Ok(());
        };
        for one in all {
            let one = one.map_err(|_| bad())?;
            let location = place_of(one)?;
            let facts = one.as_document().ok_or_else(bad)?;
            let Some(path) = facts.get("f").map_err(|_| bad())? else {
                self.place = Some(location);
                continue;
            };
            let path: Path = text(path, "l")?.parse().map_err(|_| bad())?;
            let fact = |name: &str| facts.get(name).ok().flatten().ok_or_else(bad);
            let sha256 = Sha256::from_bytes(array(fact("h")?, "l")?);
            let size = uint(fact("n")?, "l")?;
            if facts.get("x").map_err(|_| bad())?.is_some() {
                let file = self.files.last_mut().filter(|file| file.path == path);
                file.ok_or_else(bad)?.text = Some(TextRendition {
                    sha256,
                    size,
                    location,
                });
            } else {
                self.files.push(File {
                    path,
                    sha256,
                    size,
                    content_type: text(fact("t")?, "l")?.to_owned(),
                    location,
                    text: None,
                });
            }
        }
        Ok(())
    }

    fn stored(self, shape: &Shape) -> Result<Stored, StoreError> {
        let lacks = |field: &'static str| move || damaged(field);
        let (keys, strange) = match self.keys {
            None => (IndexKeys::default(), false),
            Some(keys) => keys_of(keys, self.sorts, shape)?,
        };
        let body = match self.sha256 {
            None => None,
            Some(sha256) => Some(Body {
                sha256,
                size: self.size.ok_or_else(lacks("s"))?,
                encoding: self.encoding,
                location: self.place.unwrap_or(Location::Inline),
                inline: self.inline.map(bytes::Bytes::copy_from_slice),
                files: self.files,
            }),
        };
        let row = VersionRow {
            id: self.id.ok_or_else(lacks("i"))?,
            ov: self.ov.ok_or_else(lacks("n"))?,
            cv: self.cv.ok_or_else(lacks("_id"))?,
            op: self.op.ok_or_else(lacks("op"))?,
            at: self.at.ok_or_else(lacks("at"))?,
            to_cv: self.to,
            on_behalf_of: self.behalf,
            reason: self.reason,
            system: SystemFields {
                inserted_at: self.inserted.ok_or_else(lacks("ins"))?,
                deleted_at: self.deleted,
                function_ids: self.rare.function_ids,
                lineage: self.rare.lineage,
                creator: self.creator,
                updater: if self.other_updater {
                    self.updater
                } else {
                    self.actor.clone()
                },
                imported: self.rare.imported,
            },
            actor: self.actor,
            attempt: self.attempt.ok_or_else(lacks("a"))?,
            body,
            restored_from: self.restored_from,
            prev_hash: self.prev_hash,
            keys,
            pruned: self.pruned,
            newest_only_since: self.newest_only_since,
        };
        Ok(Stored {
            row,
            unique: self.unique,
            strange,
        })
    }
}

fn place_of(value: RawBsonRef<'_>) -> Result<Location, StoreError> {
    let bad = || damaged("l");
    let place = value.as_document().ok_or_else(bad)?;
    Ok(Location::Object {
        space: place.get_str("s").map_err(|_| bad())?.to_owned(),
        role: role_of(place.get_i32("r").map_err(|_| bad())?)?,
        key: place.get_str("k").map_err(|_| bad())?.to_owned(),
    })
}

/// The keys under tags that are known, and whether there were others.
fn keys_of(
    keys: &RawDocument,
    sorts: Option<&RawDocument>,
    shape: &Shape,
) -> Result<(IndexKeys, bool), StoreError> {
    let bad = || damaged("k");
    let (mut out, mut strange) = (IndexKeys::default(), false);
    for element in keys {
        let (tag, value) = element.map_err(|_| bad())?;
        let Some(field) = shape.of_tag(tag.as_str()).and_then(|index| index.field()) else {
            strange |= !shape.dropped.iter().any(|gone| gone == tag.as_str());
            continue;
        };
        let key = |value: RawBsonRef<'_>| -> Result<OrderedKey, StoreError> {
            Ok(OrderedKey::from_stored(text(value, "k")?))
        };
        let keys = match value {
            RawBsonRef::Array(list) => {
                let list = list
                    .into_iter()
                    .map(|value| key(value.map_err(|_| bad())?))
                    .collect::<Result<Vec<_>, _>>()?;
                let ends = sorts.ok_or_else(bad)?.get_array(tag).map_err(|_| bad())?;
                let mut ends = ends.into_iter();
                let mut end = || match ends.next() {
                    Some(Ok(value)) => key(value),
                    _ => Err(bad()),
                };
                FieldKeys::of_array(list, end()?, end()?)
            }
            value => FieldKeys::of_one(key(value)?),
        };
        out.insert(field.clone(), keys);
    }
    Ok((out, strange))
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{Bson, Document, doc};
    use xronox_model::IndexSpec;

    use super::*;
    use crate::shape::StoredIndex;

    fn shape() -> Shape {
        let index = |tag: &str, field: &str| StoredIndex {
            tag: tag.to_owned(),
            spec: IndexSpec::field(field.parse().unwrap()),
            ready: true,
            multi: false,
        };
        Shape {
            indexes: vec![index("0ab", "n"), index("1cd", "tags")],
            ..Shape::default()
        }
    }

    fn full() -> VersionRow {
        let key = |n: i64| OrderedKey::of(&n.into());
        let person = |name: &str| Identity::new("user", name).unwrap();
        VersionRow {
            id: "507f1f77bcf86cd799439011".parse().unwrap(),
            ov: 3,
            cv: 41,
            op: Op::Restore,
            at: Timestamp::from_millis(1_704_067_200_123),
            to_cv: Some(50),
            actor: Some(person("ann")),
            on_behalf_of: Some(person("bob")),
            reason: Some("why not".to_owned()),
            system: SystemFields {
                inserted_at: Timestamp::from_millis(-5),
                deleted_at: Some(Timestamp::from_millis(1_704_067_200_123)),
                function_ids: vec!["f".to_owned()],
                lineage: Lineage {
                    parent_id: Some("p".to_owned()),
                    ..Lineage::default()
                },
                creator: Some(person("eve")),
                updater: Some(person("ann")),
                imported: None,
            },
            attempt: Attempt::from_bytes([7; 12]),
            body: Some(Body {
                sha256: Sha256::from_bytes([1; 32]),
                size: 9,
                encoding: Encoding::Zstd,
                location: Location::Inline,
                inline: Some(vec![1, 2, 3].into()),
                files: Vec::new(),
            }),
            restored_from: Some(1),
            prev_hash: Some(Sha256::from_bytes([2; 32])),
            keys: [
                ("n".parse().unwrap(), FieldKeys::of_one(key(5))),
                (
                    "tags".parse().unwrap(),
                    FieldKeys::of_array(vec![key(1), key(2)], key(1), key(2)),
                ),
            ]
            .into_iter()
            .collect(),
            pruned: None,
            newest_only_since: None,
        }
    }

    fn object(key: &str) -> Location {
        Location::Object {
            space: "main".to_owned(),
            role: BucketRole::Versions,
            key: key.to_owned(),
        }
    }

    fn bin(bytes: &[u8]) -> Bson {
        binary(bytes).into()
    }

    /// What is stored must stay readable for ever.
    #[test]
    fn the_stored_form_is_pinned() {
        let row = full();
        let key = |n: i64| OrderedKey::of(&n.into()).into_string();
        let stored = encode(&row, &["2ef:x".to_owned()], true, &shape()).unwrap();
        let pinned = doc! {
            "_id": 41_i64,
            "i": ObjectId::parse_str("507f1f77bcf86cd799439011").unwrap(),
            "n": 3_i64,
            "op": 4_i32,
            "at": DateTime::from_millis(1_704_067_200_123),
            "to": 50_i64,
            "ins": DateTime::from_millis(-5),
            "del": DateTime::from_millis(1_704_067_200_123),
            "who": r#"{"identifier":"ann","type":"user"}"#,
            "for": r#"{"identifier":"bob","type":"user"}"#,
            "cre": r#"{"identifier":"eve","type":"user"}"#,
            "why": "why not",
            "sys": r#"{"functionIds":["f"],"lineage":{"parentId":"p"}}"#,
            "a": bin(&[7; 12]),
            "h": bin(&[1; 32]),
            "s": 9_i64,
            "z": 1_i32,
            "b": bin(&[1, 2, 3]),
            "rf": 1_i64,
            "p": bin(&[2; 32]),
            "k": { "0ab": key(5), "1cd": [key(1), key(2)] },
            "m": { "1cd": [key(1), key(2)] },
            "u": ["2ef:x"],
        };
        assert_eq!(Document::try_from(&stored).unwrap(), pinned);
        let pinned = RawDocumentBuf::try_from(&pinned).unwrap();
        assert_eq!(stored.as_bytes(), pinned.as_bytes());
        let read = decode(&pinned, &shape()).unwrap();
        assert_eq!((read.row, read.strange), (row, false));
        assert_eq!(read.unique, ["2ef:x"]);
    }

    #[test]
    fn every_kind_of_row_comes_back() {
        let plain = VersionRow {
            id: "an id".parse().unwrap(),
            to_cv: None,
            actor: None,
            on_behalf_of: None,
            reason: None,
            restored_from: None,
            prev_hash: None,
            keys: IndexKeys::default(),
            ..full()
        };
        let elsewhere = Body {
            location: object("ü/ä"),
            inline: None,
            encoding: Encoding::Plain,
            ..full().body.unwrap()
        };
        let file = |path: &str, text: bool| File {
            path: path.parse().unwrap(),
            sha256: Sha256::from_bytes([3; 32]),
            size: 11,
            content_type: "text/plain".to_owned(),
            location: object(path),
            text: text.then(|| TextRendition {
                sha256: Sha256::from_bytes([4; 32]),
                size: 12,
                location: object("text"),
            }),
        };
        let with_files = |body: Body| Body {
            files: vec![file("a", false), file("b.0", true), file("c", false)],
            ..body
        };
        let system = SystemFields {
            deleted_at: None,
            updater: None,
            creator: None,
            function_ids: Vec::new(),
            lineage: Lineage::default(),
            ..plain.system.clone()
        };
        let cases = [
            plain.clone(),
            VersionRow {
                body: Some(elsewhere.clone()),
                system,
                ..plain.clone()
            },
            VersionRow {
                system: SystemFields {
                    updater: None,
                    ..full().system
                },
                ..full()
            },
            full().into_stub(),
            VersionRow {
                body: full().body.map(with_files),
                ..full()
            },
            VersionRow {
                body: Some(with_files(elsewhere.clone())),
                ..full()
            },
            VersionRow {
                newest_only_since: Some(40),
                ..full()
            },
            VersionRow {
                op: Op::Purge,
                body: None,
                ..plain
            },
        ];
        for row in cases {
            let stored = encode(&row, &[], true, &shape()).unwrap();
            assert_eq!(stored.get("o").unwrap().is_some(), row.to_cv.is_none());
            assert_eq!(decode(&stored, &shape()).unwrap().row, row);
        }
    }

    #[test]
    fn what_is_damaged_is_told() {
        let stored = encode(&full(), &[], true, &shape()).unwrap();
        let whole = Document::try_from(&stored).unwrap();
        for field in ["_id", "i", "n", "op", "at", "ins", "a", "s", "m"] {
            let mut without = whole.clone();
            without.remove(field);
            let mut wrong = whole.clone();
            wrong.insert(field, true);
            for document in [without, wrong] {
                let raw = RawDocumentBuf::try_from(&document).unwrap();
                let read = decode(&raw, &shape());
                assert!(matches!(read, Err(StoreError::Corrupt(_))), "{field}");
            }
        }
        // Keys of an index that is not known yet are told apart from those of
        // one that is gone.
        let none = Shape::default();
        assert!(decode(&stored, &none).unwrap().strange);
        let gone = Shape {
            dropped: vec!["0ab".to_owned(), "1cd".to_owned()],
            ..none
        };
        assert!(!decode(&stored, &gone).unwrap().strange);
    }
}

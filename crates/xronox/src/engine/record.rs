//! A record as it was in one version.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use bytes::Bytes;
use serde::{
    Deserializer, Serialize, Serializer,
    de::{DeserializeOwned, DeserializeSeed, IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Map, Value, json};
use xronox_model::{
    File, Invalid, Op, Path, Projection, RecordId, Sha256, SystemFields, Timestamp, VersionRow,
    json as form,
};

use crate::{Error, ErrorKind, FileInfo, Presigned, engine::files::fetch::Brought};

/// A record as it was in one version: the application's document, with `_id`
/// and `_system` beside it.
///
/// As JSON (and through [`Serialize`]) it is the document with `_id` and
/// `_system { ov, cv, insertedAt, updatedAt, deletedAt, deleted, functionIds,
/// parentId?, parentCollection?, originId?, originCollection?, creator?,
/// updater?, imported? }`, or what a projection left of that.
#[derive(Debug, Clone)]
pub struct Record {
    row: VersionRow,
    content: Content,
    /// Those that are shown.
    files: Vec<File>,
    brought: Option<Box<Brought>>,
}

#[derive(Debug, Clone)]
enum Content {
    /// The canonical bytes of the document.
    Whole(Bytes),
    /// What a projection left of the record.
    Part(Value),
}

impl Record {
    pub(crate) fn new(mut row: VersionRow, canonical: Bytes) -> Self {
        let files = row
            .body
            .as_mut()
            .map(|body| std::mem::take(&mut body.files));
        Self {
            row,
            content: Content::Whole(canonical),
            files: files.unwrap_or_default(),
            brought: None,
        }
    }

    /// The files in what is shown.
    pub(crate) fn stored_files(&self) -> &[File] {
        &self.files
    }

    /// The same record with what a read brought along of its files.
    pub(crate) fn bringing(mut self, brought: Brought) -> Self {
        self.brought = Some(Box::new(brought));
        self
    }

    /// The same record with nothing but what the projection shows.
    pub(crate) fn project(self, projection: &Projection) -> Result<Self, Error> {
        if projection.is_everything() {
            return Ok(self);
        }
        let part = projection.apply(&self.try_json()?);
        let mut files = self.files;
        files.retain(|file| stands(&part, file));
        Ok(Self {
            row: self.row,
            content: Content::Part(part),
            files,
            brought: None,
        })
    }

    /// The same record without what its checksum and size tell of the whole
    /// document.
    pub(crate) fn without_sums(mut self) -> Self {
        self.row.body = None;
        self
    }

    /// The record's id.
    pub fn id(&self) -> &RecordId {
        &self.row.id
    }

    /// The record's version, counted from 0.
    pub fn ov(&self) -> u64 {
        self.row.ov
    }

    /// The collection's version that this version was committed as.
    pub fn cv(&self) -> u64 {
        self.row.cv
    }

    /// When this version was committed.
    pub fn at(&self) -> Timestamp {
        self.row.at
    }

    /// What this version did.
    pub fn op(&self) -> Op {
        self.row.op
    }

    /// Whether the record is deleted in this version.
    pub fn deleted(&self) -> bool {
        self.row.system.deleted()
    }

    /// The system fields that versions hand on.
    pub fn system(&self) -> &SystemFields {
        &self.row.system
    }

    /// SHA-256 of the document's canonical form, of a part of it too; `None`
    /// through a handle that must not see the whole of it.
    pub fn sha256(&self) -> Option<Sha256> {
        self.row.body.as_ref().map(|body| body.sha256)
    }

    /// Bytes of the document's canonical form, of a part of it too; through a
    /// handle that must not see the whole of it, of the part.
    pub fn size(&self) -> u64 {
        match &self.row.body {
            Some(body) => body.size,
            None => form::canonical(&self.document()).len() as u64,
        }
    }

    /// The canonical JSON of the application's document, without `_id` and
    /// `_system`; `None` if a projection left only a part of it.
    pub fn bytes(&self) -> Option<&Bytes> {
        match &self.content {
            Content::Whole(bytes) => Some(bytes),
            Content::Part(_) => None,
        }
    }

    /// The application's document (or what a projection left of it), without
    /// `_id` and `_system`.
    pub fn document(&self) -> Value {
        self.try_document().unwrap_or(Value::Null)
    }

    /// The same; verified bytes always parse.
    pub(crate) fn try_document(&self) -> Result<Value, Error> {
        let mut document = match &self.content {
            Content::Whole(bytes) => parse(bytes)?,
            Content::Part(part) => part.clone(),
        };
        if let Value::Object(fields) = &mut document {
            fields.remove("_id");
            fields.remove("_system");
        }
        Ok(document)
    }

    /// The record as JSON, `_id` and `_system` included. Where the read was
    /// asked to bring URLs or texts of files along, they are in `_system` too, as
    /// `presigned` and `texts`, by path.
    pub fn json(&self) -> Value {
        let mut json = self.try_json().unwrap_or(Value::Null);
        if let (Some(brought), Value::Object(fields)) = (&self.brought, &mut json) {
            let system = fields.entry("_system").or_insert_with(|| json!({}));
            for (name, value) in [
                ("presigned", json!(brought.presigned)),
                ("texts", json!(brought.texts)),
            ] {
                if value.as_object().is_some_and(|map| !map.is_empty()) {
                    system[name] = value;
                }
            }
        }
        json
    }

    /// The files in what is shown of the record, in the order of their paths.
    /// In the document a reference stands for each of them:
    /// `{"_file": {"contentType", "sha256", "size", "text"}}`.
    /// [`Collection::file`](crate::Collection::file) reads their content.
    pub fn files(&self) -> Vec<FileInfo> {
        self.files.iter().map(FileInfo::from).collect()
    }

    /// URLs that fetch these files, by their paths, if the read was asked to
    /// [presign](crate::Get::presign) some.
    pub fn presigned(&self) -> &BTreeMap<Path, Presigned> {
        static NONE: BTreeMap<Path, Presigned> = BTreeMap::new();
        self.brought
            .as_ref()
            .map_or(&NONE, |brought| &brought.presigned)
    }

    /// The text of those that are kept as text, by their paths, if the read was
    /// asked to [include it](crate::Get::include_text).
    pub fn texts(&self) -> &BTreeMap<Path, String> {
        static NONE: BTreeMap<Path, String> = BTreeMap::new();
        self.brought
            .as_ref()
            .map_or(&NONE, |brought| &brought.texts)
    }

    fn try_json(&self) -> Result<Value, Error> {
        let mut document = match &self.content {
            Content::Whole(bytes) => parse(bytes)?,
            Content::Part(part) => return Ok(part.clone()),
        };
        if let Value::Object(fields) = &mut document {
            fields.insert("_id".to_owned(), Value::from(self.row.id.to_string()));
            fields.insert("_system".to_owned(), self.row.system_object());
        }
        Ok(document)
    }

    /// The application's document as a type of its own.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) if the document is not of that type.
    pub fn to<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let wrong = |error: serde_json::Error| {
            Error::from(Invalid::at(
                "",
                format!("not of the type asked for: {error}"),
            ))
        };
        match &self.content {
            Content::Whole(bytes) => serde_json::from_slice(bytes).map_err(wrong),
            Content::Part(_) => serde_json::from_value(self.document()).map_err(wrong),
        }
    }

    /// The document of a whole record; verified bytes always parse.
    pub(crate) fn whole(&self) -> Result<Value, Error> {
        match &self.content {
            Content::Whole(bytes) => parse(bytes),
            Content::Part(part) => Ok(part.clone()),
        }
    }
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json().serialize(serializer)
    }
}

/// Whether the reference of a file stands in its place.
pub(crate) fn stands(document: &Value, file: &File) -> bool {
    fn step<'v>(at: &'v Value, segment: &String) -> Option<&'v Value> {
        match at {
            Value::Array(elements) => elements.get(segment.parse::<usize>().ok()?),
            at => at.get(segment),
        }
    }
    let there = file.path.segments().iter().try_fold(document, step);
    there == Some(&file.reference())
}

/// Parses canonical bytes.
pub(crate) fn parse(canonical: &[u8]) -> Result<Value, Error> {
    serde_json::from_slice(canonical).map_err(|_| not_json())
}

/// The same of a document's properties of these names alone: the others are
/// passed over, which is several times as fast.
pub(crate) fn parse_only(canonical: &[u8], names: &BTreeSet<String>) -> Result<Value, Error> {
    let mut json = serde_json::Deserializer::from_slice(canonical);
    let chosen = Chosen(names).deserialize(&mut json);
    let chosen = chosen.and_then(|chosen| json.end().map(|()| chosen));
    chosen.map(Value::Object).map_err(|_| not_json())
}

fn not_json() -> Error {
    Error::new(
        ErrorKind::Corrupt,
        "a stored document with a good checksum is not JSON",
    )
}

/// The properties of these names.
struct Chosen<'n>(&'n BTreeSet<String>);

impl<'de> DeserializeSeed<'de> for Chosen<'_> {
    type Value = Map<String, Value>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Chosen<'_> {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a document")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut properties: A) -> Result<Self::Value, A::Error> {
        let mut chosen = Map::new();
        while let Some(name) = properties.next_key::<String>()? {
            if self.0.contains(&name) {
                chosen.insert(name, properties.next_value()?);
            } else {
                properties.next_value::<IgnoredAny>()?;
            }
        }
        Ok(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn properties_are_parsed_alone() {
        let names: BTreeSet<String> = ["b", "d", "none"].map(str::to_owned).into();
        let document = br#"{"a":[1,{"b":2}],"b":{"c":[3]},"d":null,"e\n":"}"}"#;
        let chosen = parse_only(document, &names).unwrap();
        assert_eq!(chosen, json!({ "b": { "c": [3] }, "d": null }));
        for damaged in [&document[..20], b"{} {}", b"[]", b"{\"a\":}"] {
            let refused = parse_only(damaged, &names).unwrap_err();
            assert_eq!(refused.kind(), &ErrorKind::Corrupt);
        }
    }
}

//! Names of records, collections and prepared mutations.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::Invalid;

/// The id of a record: an ObjectId (24 lower-case hex digits) or any other
/// text of 1 to 128 bytes without control characters.
///
/// Order: texts by their bytes, then ObjectIds by theirs, as MongoDB orders
/// strings and ObjectIds.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RecordId(Repr);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Repr {
    Text(Arc<str>),
    Object([u8; 12]),
}

/// A record id taken apart for storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordIdRef<'a> {
    /// Any id that is not an ObjectId.
    Text(&'a str),
    /// The twelve bytes of an ObjectId.
    Object(&'a [u8; 12]),
}

/// The longest id, in bytes.
pub const MAX_ID_BYTES: usize = 128;

impl RecordId {
    /// The ObjectId with these bytes.
    pub fn from_object_id(bytes: [u8; 12]) -> Self {
        Self(Repr::Object(bytes))
    }

    /// The id as a storage backend keeps it.
    pub fn as_ref(&self) -> RecordIdRef<'_> {
        match &self.0 {
            Repr::Text(text) => RecordIdRef::Text(text),
            Repr::Object(bytes) => RecordIdRef::Object(bytes),
        }
    }
}

impl FromStr for RecordId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.is_empty() {
            return Err(Invalid::at("_id", "a record id cannot be empty"));
        }
        if text.len() > MAX_ID_BYTES {
            return Err(Invalid::at(
                "_id",
                format!(
                    "a record id has at most {MAX_ID_BYTES} bytes, this one {}",
                    text.len()
                ),
            ));
        }
        if text.chars().any(char::is_control) {
            return Err(Invalid::at(
                "_id",
                "a record id cannot hold control characters",
            ));
        }
        let lower_hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if text.len() == 24 && text.bytes().all(lower_hex) {
            let mut bytes = [0; 12];
            if hex::decode_to_slice(text, &mut bytes).is_ok() {
                return Ok(Self(Repr::Object(bytes)));
            }
        }
        Ok(Self(Repr::Text(text.into())))
    }
}

impl TryFrom<String> for RecordId {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl TryFrom<&str> for RecordId {
    type Error = Invalid;

    fn try_from(text: &str) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<RecordId> for String {
    fn from(id: RecordId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Text(text) => f.write_str(text),
            Repr::Object(bytes) => f.write_str(&hex::encode(bytes)),
        }
    }
}

impl fmt::Debug for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The name of a collection: 1 to 100 bytes of letters and digits of any
/// script, `_` and `-`.
///
/// Names that differ in case or unicode form are different collections.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CollectionName(Arc<str>);

/// The longest collection name, in bytes.
pub const MAX_COLLECTION_NAME_BYTES: usize = 100;

impl CollectionName {
    /// The name as given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CollectionName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let refused = |why: String| Err(Invalid::at("collection", why));
        if text.is_empty() {
            return refused("a collection name cannot be empty".into());
        }
        if text.len() > MAX_COLLECTION_NAME_BYTES {
            return refused(format!(
                "a collection name has at most {MAX_COLLECTION_NAME_BYTES} bytes, this one {}",
                text.len()
            ));
        }
        if let Some(c) = text
            .chars()
            .find(|c| !(c.is_alphanumeric() || matches!(c, '_' | '-')))
        {
            return refused(format!(
                "a collection name holds letters, digits, `_` and `-`, not {c:?}"
            ));
        }
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for CollectionName {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl TryFrom<&str> for CollectionName {
    type Error = Invalid;

    fn try_from(text: &str) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<CollectionName> for String {
    fn from(name: CollectionName) -> Self {
        name.0.to_string()
    }
}

impl fmt::Display for CollectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for CollectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// Names one prepared mutation: 96 random bits, kept across commit retries
/// and renewed whenever its bodies are put anew.
///
/// Text form: 24 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Attempt([u8; 12]);

impl Attempt {
    /// The attempt with these random bytes.
    pub fn from_bytes(bytes: [u8; 12]) -> Self {
        Self(bytes)
    }

    /// The twelve bytes.
    pub fn as_bytes(&self) -> &[u8; 12] {
        &self.0
    }
}

impl FromStr for Attempt {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let mut bytes = [0; 12];
        hex::decode_to_slice(text, &mut bytes)
            .map_err(|_| Invalid::at("attempt", "an attempt is 24 hex digits"))?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Attempt {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<Attempt> for String {
    fn from(attempt: Attempt) -> Self {
        attempt.to_string()
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_round_trip_and_order_as_documented() {
        let texts = [
            "a",
            "A/b.c$",
            "ü 1",
            "507f1f77bcf86cd799439011",
            "507F1F77BCF86CD799439011",
        ];
        for text in texts {
            assert_eq!(text.parse::<RecordId>().unwrap().to_string(), text);
        }
        let mut ids: Vec<RecordId> = texts.iter().map(|t| t.parse().unwrap()).collect();
        ids.sort();
        assert_eq!(
            ids.last().unwrap().as_ref(),
            "507f1f77bcf86cd799439011"
                .parse::<RecordId>()
                .unwrap()
                .as_ref()
        );
    }

    #[test]
    fn bad_ids_are_refused() {
        for text in [
            String::new(),
            "a\0".into(),
            "a\nb".into(),
            "x".repeat(129),
            "x".repeat(10_000),
        ] {
            assert_eq!(text.parse::<RecordId>().unwrap_err().path(), "_id");
        }
    }

    #[test]
    fn bad_collection_names_are_refused() {
        for text in [
            "",
            "a.b",
            "a/b",
            "$a",
            "a\0",
            "a b",
            "..",
            &"x".repeat(10_000),
        ] {
            assert_eq!(
                text.parse::<CollectionName>().unwrap_err().path(),
                "collection"
            );
        }
        for text in ["orders", "Orders_2", "größen-3"] {
            assert_eq!(text.parse::<CollectionName>().unwrap().as_str(), text);
        }
    }
}

//! Indexes of plain collections.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use xronox_model::{
    CollectionName, Direction, Filter, Invalid, OrderedKey, Path, Timestamp, keys_at,
};

use super::TupleKey;
use crate::StoreError;

/// The most fields of an index or an order, as in
/// [MongoDB](https://www.mongodb.com/docs/manual/reference/limits/).
pub(super) const MAX_FIELDS: usize = 32;

/// An index of a plain collection.
///
/// Its keys are the [ordered keys](xronox_model::keys_at) of its fields, so a
/// missing field counts as null, an array counts with each element and as a
/// whole, and at most one field may lead to an array. Every backend has this
/// meaning of equality, order and uniqueness.
#[derive(Debug, Clone)]
pub struct DocIndex {
    /// The fields, in the order of the key.
    pub fields: Vec<(Path, Direction)>,
    /// Whether no two documents may share a key. Values too long to be
    /// compared whole, and arrays of more than
    /// [1,000](xronox_model::MAX_KEYS_PER_FIELD) elements, are then refused.
    pub unique: bool,
    /// Only documents that match are indexed (and bound by `unique` and `ttl`).
    pub only: Option<Filter>,
    /// A document is gone when the date in the index's one field, an RFC 3339
    /// string, is this long ago. Of several dates in an array the earliest
    /// counts; a document without a date stays.
    pub ttl: Option<Duration>,
}

impl DocIndex {
    /// The index of these fields.
    pub fn of(fields: impl IntoIterator<Item = (Path, Direction)>) -> Self {
        Self {
            fields: fields.into_iter().collect(),
            unique: false,
            only: None,
            ttl: None,
        }
    }

    /// The index of these fields, each ascending.
    pub fn ascending(fields: impl IntoIterator<Item = Path>) -> Self {
        Self::of(fields.into_iter().map(|path| (path, Direction::Ascending)))
    }

    /// No two documents may share a key.
    pub fn unique(mut self) -> Self {
        self.unique = true;
        self
    }

    /// Indexes only documents that match.
    pub fn only(mut self, filter: Filter) -> Self {
        self.only = Some(filter);
        self
    }

    /// Documents go when the date in the field is this long ago.
    pub fn ttl(mut self, after: Duration) -> Self {
        self.ttl = Some(after);
        self
    }

    /// The name of the index, made from its fields as MongoDB does:
    /// `tenantId_1_failedAt_-1`.
    pub fn name(&self) -> String {
        let part = |(path, direction): &(Path, Direction)| match direction {
            Direction::Ascending => format!("{path}_1"),
            Direction::Descending => format!("{path}_-1"),
        };
        let parts: Vec<String> = self.fields.iter().map(part).collect();
        parts.join("_")
    }

    /// Checks that this can be an index.
    ///
    /// # Errors
    ///
    /// [`Invalid`] if it has no field or too many, one twice, or a `ttl` and
    /// several fields.
    pub fn check(&self) -> Result<(), Invalid> {
        let refused = |message: String| Err(Invalid::at(self.name(), message));
        if self.fields.is_empty() || self.fields.len() > MAX_FIELDS {
            return refused(format!("an index has 1 to {MAX_FIELDS} fields"));
        }
        if self.ttl.is_some() && self.fields.len() > 1 {
            return refused("an index with a ttl has one field".to_owned());
        }
        for (i, (path, _)) in self.fields.iter().enumerate() {
            if self.fields[..i].iter().any(|(earlier, _)| earlier == path) {
                return refused(format!("`{path}` stands twice in it"));
            }
        }
        Ok(())
    }

    /// The keys of a document, each with one [`OrderedKey`] a field; none if
    /// the index does not hold the document.
    ///
    /// # Errors
    ///
    /// [`Invalid`] if two fields lead to arrays, or a value of a unique index
    /// cannot be compared whole.
    pub fn keys(&self, document: &Value) -> Result<DocKeys, Invalid> {
        let mut out = DocKeys {
            keys: Vec::new(),
            multi: false,
        };
        if self
            .only
            .as_ref()
            .is_some_and(|only| !only.matches(document))
        {
            return Ok(out);
        }
        out.keys.push(Vec::with_capacity(self.fields.len()));
        for (path, _) in &self.fields {
            let keys = keys_at(document, path);
            let refused = |message: &str| Err(Invalid::at(path.to_string(), message));
            if self.unique && (keys.is_overflow() || keys.keys().iter().any(OrderedKey::is_cut)) {
                return refused("the value is too long for a unique index");
            }
            if keys.is_multi() {
                if out.multi {
                    return refused("only one field of an index can lead to an array");
                }
                out.multi = true;
            }
            let before = std::mem::take(&mut out.keys);
            for key in keys.into_keys() {
                out.keys.extend(before.iter().map(|before| {
                    let mut longer = before.clone();
                    longer.push(key.clone());
                    longer
                }));
            }
        }
        Ok(out)
    }

    /// The direction in which `_id` stands behind the fields.
    pub fn id_direction(&self) -> Direction {
        let last = self.fields.last();
        last.map_or(Direction::Ascending, |(_, direction)| *direction)
    }

    /// The keys of a document as bytes that sort in the order of the fields.
    pub fn tuples(&self, keys: &DocKeys) -> Vec<TupleKey> {
        let tuple = |keys: &Vec<OrderedKey>| {
            let mut tuple = TupleKey::default();
            for (key, (_, direction)) in keys.iter().zip(&self.fields) {
                tuple.push(key, *direction);
            }
            tuple
        };
        keys.keys.iter().map(tuple).collect()
    }

    /// From when on a document is gone, if this index says so.
    pub fn expiry(&self, document: &Value) -> Option<Timestamp> {
        let ttl = i64::try_from(self.ttl?.as_millis()).ok()?;
        let (path, _) = self.fields.first()?;
        if self
            .only
            .as_ref()
            .is_some_and(|only| !only.matches(document))
        {
            return None;
        }
        earliest(document, path.segments()).map(|date| date.plus_millis(ttl))
    }

    /// Whether this index says that a document is gone.
    pub fn ends(&self, document: &Value, now: Timestamp) -> bool {
        self.expiry(document).is_some_and(|expiry| expiry <= now)
    }

    /// The error when another index has this one's name.
    pub fn clash(&self, collection: &CollectionName) -> StoreError {
        let name = self.name();
        StoreError::Refused(format!("{collection} has another index named `{name}`"))
    }

    /// The error when the documents there are cannot have this index.
    pub fn unfit(&self, collection: &CollectionName, why: &str) -> StoreError {
        let name = self.name();
        StoreError::Refused(format!(
            "{collection} cannot have the index `{name}`: {why}"
        ))
    }

    /// The index as it is stored.
    pub fn to_json(&self) -> Value {
        let millis = |ttl: Duration| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        json!(Stored {
            fields: self.fields.clone(),
            unique: self.unique,
            only: self.only.as_ref().map(Filter::to_json),
            ttl_millis: self.ttl.map(millis),
        })
    }

    /// Reads back what was stored.
    ///
    /// # Errors
    ///
    /// [`Invalid`] if it is something else.
    pub fn from_json(stored: &Value) -> Result<Self, Invalid> {
        let stored = Stored::deserialize(stored).map_err(|e| Invalid::at("", e.to_string()))?;
        Ok(Self {
            fields: stored.fields,
            unique: stored.unique,
            only: stored.only.map(|only| Filter::parse(&only)).transpose()?,
            ttl: stored.ttl_millis.map(Duration::from_millis),
        })
    }
}

impl PartialEq for DocIndex {
    fn eq(&self, other: &Self) -> bool {
        self.to_json() == other.to_json()
    }
}

/// The keys of a document in an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocKeys {
    /// Each with one key a field.
    pub keys: Vec<Vec<OrderedKey>>,
    /// Whether a field leads to an array, so that there can be several.
    pub multi: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    fields: Vec<(Path, Direction)>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    unique: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    only: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ttl_millis: Option<u64>,
}

/// The earliest date that a path leads to.
fn earliest(value: &Value, segments: &[String]) -> Option<Timestamp> {
    match (value, segments) {
        (Value::Object(object), [name, inner @ ..]) => earliest(object.get(name)?, inner),
        (Value::Array(elements), _) => elements
            .iter()
            .filter_map(|element| earliest(element, segments))
            .min(),
        (Value::String(text), []) => text.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(fields: &[&str]) -> DocIndex {
        DocIndex::ascending(fields.iter().map(|field| field.parse().unwrap()))
    }

    fn keys(index: &DocIndex, document: &Value) -> Vec<String> {
        let keys = index.keys(document).unwrap().keys;
        keys.iter()
            .map(|keys| {
                keys.iter()
                    .map(OrderedKey::as_str)
                    .collect::<Vec<_>>()
                    .join(" ")
            })
            .collect()
    }

    #[test]
    fn names_are_those_of_mongodb() {
        let index = DocIndex::of([
            ("tenantId".parse().unwrap(), Direction::Ascending),
            ("failedAt".parse().unwrap(), Direction::Descending),
        ]);
        assert_eq!(index.name(), "tenantId_1_failedAt_-1");
    }

    #[test]
    fn a_document_has_a_key_for_each_element() {
        let index = index(&["t", "a"]);
        assert_eq!(keys(&index, &json!({"t": "x", "a": "y"})), ["3x 3y"]);
        assert_eq!(keys(&index, &json!({"t": "x"})), ["3x 0"]);
        assert_eq!(
            keys(&index, &json!({"t": "x", "a": ["y", "z"]})),
            ["3x 3y", "3x 3z", "3x 53y\u{1}3z\u{1}!"]
        );
        assert!(index.keys(&json!({"t": ["x"], "a": ["y"]})).is_err());
        let only = index.only(Filter::parse(&json!({"latest": true})).unwrap());
        assert!(
            only.keys(&json!({"t": ["x"], "a": ["y"]}))
                .unwrap()
                .keys
                .is_empty()
        );
    }

    #[test]
    fn uniqueness_needs_whole_values() {
        let long = json!({"a": "x".repeat(2000)});
        assert!(index(&["a"]).keys(&long).is_ok());
        assert_eq!(index(&["a"]).unique().keys(&long).unwrap_err().path(), "a");
        let many = json!({"a": (0..2000).collect::<Vec<_>>()});
        assert_eq!(index(&["a"]).unique().keys(&many).unwrap_err().path(), "a");
    }

    #[test]
    fn a_date_says_when_a_document_goes() {
        let index = index(&["at"]).ttl(Duration::from_secs(1));
        let expiry = |document: Value| index.expiry(&document).map(|at| at.to_string());
        assert_eq!(
            expiry(json!({"at": "2024-01-01T02:00:00+02:00"})).unwrap(),
            "2024-01-01T00:00:01.000Z"
        );
        assert_eq!(
            expiry(json!({"at": ["2025-01-01T00:00:00Z", "soon", "2024-01-01T00:00:00Z"]}))
                .unwrap(),
            "2024-01-01T00:00:01.000Z"
        );
        assert_eq!(expiry(json!({"at": "soon"})), None);
        assert_eq!(expiry(json!({"at": 0})), None);
        assert_eq!(expiry(json!({})), None);
    }

    #[test]
    fn what_is_stored_is_read_back() {
        let index = index(&["a.b"])
            .unique()
            .only(Filter::parse(&json!({"x": {"$gt": 1}})).unwrap())
            .ttl(Duration::from_millis(5));
        let stored = index.to_json();
        assert_eq!(
            stored,
            json!({"fields": [["a.b", "ascending"]], "unique": true, "only": {"x": {"$gt": 1}}, "ttlMillis": 5})
        );
        assert_eq!(DocIndex::from_json(&stored).unwrap(), index);
        assert!(DocIndex::from_json(&json!({})).is_err());
    }

    #[test]
    fn bad_indexes_are_refused() {
        assert!(index(&[]).check().is_err());
        assert!(index(&["a", "a"]).check().is_err());
        assert!(index(&["a", "b"]).ttl(Duration::ZERO).check().is_err());
        assert!(index(&["a", "b"]).check().is_ok());
    }
}

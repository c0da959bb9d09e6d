//! Indexes: which fields, and the ordered keys a version has for them.

use std::fmt::{self, Write};

use serde::{Deserialize, Serialize};

use serde_json::Value;

use crate::{
    FieldKeys, OrderedKey, Path, VersionRow,
    key::keys_at,
    lookup::{Composed, Lookup, alias_of},
};

/// The `_system` fields that every collection indexes without being asked.
pub const ALWAYS_INDEXED: [&str; 3] =
    ["_system.deleted", "_system.insertedAt", "_system.updatedAt"];

/// What an index holds: one field, or the fields of a unique key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexSpec {
    /// The fields, in the order of the key.
    pub fields: Vec<Path>,
    /// Whether no two live records may hold the same key.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unique: bool,
}

impl IndexSpec {
    /// The index of one field.
    pub fn field(path: Path) -> Self {
        Self {
            fields: vec![path],
            unique: false,
        }
    }

    /// The unique key made of these fields.
    pub fn unique(fields: Vec<Path>) -> Self {
        Self {
            fields,
            unique: true,
        }
    }

    /// The name of the index: its fields, and whether they are unique.
    pub fn name(&self) -> String {
        let fields: Vec<String> = self.fields.iter().map(Path::to_string).collect();
        let kind = if self.unique { "unique " } else { "" };
        format!("{kind}{}", fields.join(","))
    }
}

/// The ordered keys of one version, by indexed field, sorted by field.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct IndexKeys(Vec<(Path, FieldKeys)>);

impl IndexKeys {
    /// The keys of a document for these fields, but for those that the
    /// [system fields](VersionRow::system_keys) decide: `_system.*`, and the
    /// bare `insertedAt`, `updatedAt`, `deletedAt` where the document has no
    /// such property.
    pub fn of_body<'a>(body: &Value, fields: impl IntoIterator<Item = &'a Path>) -> Self {
        fields
            .into_iter()
            .filter(|field| {
                field.root() != "_system"
                    && (alias_of(field).is_none() || body.get(field.root()).is_some())
            })
            .map(|field| (field.clone(), keys_at(body, field)))
            .collect()
    }

    /// The keys of one field, if it is indexed.
    pub fn get(&self, field: &Path) -> Option<&FieldKeys> {
        let at = self.0.binary_search_by(|(path, _)| path.cmp(field)).ok()?;
        Some(&self.0[at].1)
    }

    /// Sets the keys of one field.
    pub fn insert(&mut self, field: Path, keys: FieldKeys) {
        match self.0.binary_search_by(|(path, _)| path.cmp(&field)) {
            Ok(at) => self.0[at].1 = keys,
            Err(at) => self.0.insert(at, (field, keys)),
        }
    }

    /// Forgets one field.
    pub fn remove(&mut self, field: &Path) {
        self.0.retain(|(path, _)| path != field);
    }

    /// Every field with its keys.
    pub fn iter(&self) -> impl Iterator<Item = (&Path, &FieldKeys)> {
        self.0.iter().map(|(path, keys)| (path, keys))
    }

    /// Whether no field is indexed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(Path, FieldKeys)> for IndexKeys {
    fn from_iter<I: IntoIterator<Item = (Path, FieldKeys)>>(iter: I) -> Self {
        let mut out = Self::default();
        for (path, keys) in iter {
            out.insert(path, keys);
        }
        out
    }
}

impl fmt::Debug for IndexKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// The key of a live record in a unique index.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UniqueKey {
    /// The name of the index.
    pub index: String,
    /// The ordered keys of its fields, one after another.
    pub key: String,
}

impl UniqueKey {
    /// The key of `document` in a unique index; `None` if a field of it is
    /// missing or null, which no uniqueness binds.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::Invalid) if a field holds an array or lies inside
    /// one, since one record could then hold several keys, or if its value is
    /// too long to be compared whole.
    pub fn of(
        document: &(impl Lookup + ?Sized),
        spec: &IndexSpec,
    ) -> Result<Option<Self>, crate::Invalid> {
        let mut key = String::new();
        for field in &spec.fields {
            let keys = keys_at(document, field);
            if keys.is_multi() {
                return Err(crate::Invalid::at(
                    field.to_string(),
                    "a field of a unique key cannot hold an array",
                ));
            }
            let Some(one) = keys.keys().first() else {
                return Ok(None);
            };
            if *one == OrderedKey::missing() {
                return Ok(None);
            }
            if one.is_cut() {
                return Err(crate::Invalid::at(
                    field.to_string(),
                    "the value of a unique field is too long",
                ));
            }
            // The length in front keeps ("a","bc") apart from ("ab","c").
            // Writing to a `String` cannot fail.
            let _ = write!(key, "{}:{}", one.as_str().len(), one.as_str());
        }
        Ok(Some(Self {
            index: spec.name(),
            key,
        }))
    }
}

/// Whether only the document decides the keys of a field, so that a version
/// with the same document has the same ones.
pub fn is_document_field(field: &Path) -> bool {
    field.root() != "_system" && alias_of(field).is_none()
}

impl VersionRow {
    /// The keys of this version for those fields that its system fields
    /// decide; what [`IndexKeys::of_body`] gives is passed over.
    pub fn system_keys<'a>(&self, fields: impl IntoIterator<Item = &'a Path>) -> IndexKeys {
        let mut fields = fields
            .into_iter()
            .filter(|field| !is_document_field(field) && self.keys.get(field).is_none())
            .peekable();
        if fields.peek().is_none() {
            return IndexKeys::default();
        }
        let (id, system) = (Value::from(self.id.to_string()), self.system_object());
        let document = Composed {
            id: &id,
            system: &system,
            body: &Value::Null,
        };
        fields
            .map(|field| (field.clone(), keys_at(&document, field)))
            .collect()
    }

    /// The key of one of the [`ALWAYS_INDEXED`] fields, which no row stores.
    pub fn always_key(&self, field: &str) -> Option<OrderedKey> {
        let value = match field {
            "_system.deleted" => Value::from(self.system.deleted()),
            "_system.insertedAt" => Value::from(self.system.inserted_at.to_string()),
            "_system.updatedAt" => Value::from(self.at.to_string()),
            _ => return None,
        };
        Some(OrderedKey::of(&value))
    }
}

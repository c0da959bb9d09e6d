//! What Xronox itself keeps beside a document: the `_system` object.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{Identity, Lineage, Op, Timestamp, version::VersionRow};

/// The part of `_system` that a version hands on to the next one.
///
/// With the row's `ov`, `cv` and `at` it composes the `_system` object of that
/// version, so one row is enough to show a record as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SystemFields {
    /// When the record was created.
    pub inserted_at: Timestamp,
    /// When it was deleted, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
    /// The enrichment functions that had a hand in this content, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub function_ids: Vec<String>,
    /// Where the record came from.
    #[serde(default, skip_serializing_if = "Lineage::is_empty")]
    pub lineage: Lineage,
    /// Who created it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creator: Option<Identity>,
    /// Who made this version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updater: Option<Identity>,
    /// The times that another system gave the record before it was imported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<Imported>,
}

/// The times another system kept of a record that was imported.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Imported {
    /// When that system says the record was created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// When that system says it was last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Timestamp>,
}

/// What one mutation changes of the system fields, besides what every commit does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SystemChange {
    /// Functions to add to `functionIds`.
    pub function_ids: Vec<String>,
    /// The lineage of a record being created.
    pub lineage: Lineage,
    /// Times from another system.
    pub imported: Option<Imported>,
}

impl SystemFields {
    /// The system fields of the version that `op` makes at `at`.
    ///
    /// `previous` are those of the record's newest version (`None` for a
    /// birth), `source` those of the version that a restore brings back.
    pub fn next(
        op: Op,
        at: Timestamp,
        actor: Option<&Identity>,
        change: &SystemChange,
        previous: Option<&SystemFields>,
        source: Option<&SystemFields>,
    ) -> Self {
        let Some(previous) = previous else {
            return Self {
                inserted_at: at,
                deleted_at: None,
                function_ids: change.function_ids.clone(),
                lineage: change.lineage.clone(),
                creator: actor.cloned(),
                updater: actor.cloned(),
                imported: change.imported.clone(),
            };
        };
        let mut function_ids = source.unwrap_or(previous).function_ids.clone();
        for id in &change.function_ids {
            if !function_ids.contains(id) {
                function_ids.push(id.clone());
            }
        }
        let deleted = op == Op::Delete || source.is_some_and(|s| s.deleted_at.is_some());
        Self {
            inserted_at: previous.inserted_at,
            deleted_at: deleted.then_some(at),
            function_ids,
            lineage: previous.lineage.clone(),
            creator: previous.creator.clone(),
            updater: actor.cloned(),
            imported: change
                .imported
                .clone()
                .or_else(|| previous.imported.clone()),
        }
    }

    /// Whether the record is deleted in this version.
    pub fn deleted(&self) -> bool {
        self.deleted_at.is_some()
    }
}

impl VersionRow {
    /// The `_system` object of this version, as readers see it.
    pub fn system_object(&self) -> Value {
        let system = &self.system;
        let mut out = Map::new();
        let mut put = |name: &str, value: Value| {
            out.insert(name.to_owned(), value);
        };
        put("ov", json!(self.ov));
        put("cv", json!(self.cv));
        put("insertedAt", json!(system.inserted_at));
        put("updatedAt", json!(self.at));
        put("deletedAt", json!(system.deleted_at));
        put("deleted", json!(system.deleted()));
        put("functionIds", json!(system.function_ids));
        let lineage = &system.lineage;
        for (name, value) in [
            ("parentId", &lineage.parent_id),
            ("parentCollection", &lineage.parent_collection),
            ("originId", &lineage.origin_id),
            ("originCollection", &lineage.origin_collection),
        ] {
            if let Some(value) = value {
                put(name, json!(value));
            }
        }
        if let Some(creator) = &system.creator {
            put("creator", json!(creator));
        }
        if let Some(updater) = &system.updater {
            put("updater", json!(updater));
        }
        if let Some(imported) = &system.imported {
            put("imported", json!(imported));
        }
        Value::Object(out)
    }
}

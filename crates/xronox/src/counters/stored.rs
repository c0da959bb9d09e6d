//! How counts are stored: plain documents beside the data, or in the tenant's
//! analytics database.
//!
//! | collection | a document is |
//! |---|---|
//! | `cnt_total` | what is counted of a collection, and up to where |
//! | `cnt_cells` | what a rule counted in a period, or of a group |
//! | `cnt_values` | a value that a rule has met, where they are counted one by one |
//!
//! Each document says up to which `cv` the log is counted in it, and changes
//! by a compare-and-set on that. So whatever is folded twice, by two processes
//! or after a crash, counts once, also where not all of it is written in one
//! step.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use xronox_model::{CollectionName, Filter, Timestamp};
use xronox_store::{DocIndex, DocOp, DocUpdate, Documents, Update};

use super::{distinct::Different, rules::Rule};
use crate::{CountedWrite, Error, ErrorKind, Timeframe};

pub(super) const TOTALS: &str = "cnt_total";
pub(super) const CELLS: &str = "cnt_cells";
pub(super) const VALUES: &str = "cnt_values";

/// How often writes happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counts {
    pub(super) created: u64,
    pub(super) updated: u64,
    pub(super) deleted: u64,
}

impl Counts {
    pub(super) fn add(&mut self, write: CountedWrite) {
        match write {
            CountedWrite::Create => self.created += 1,
            CountedWrite::Update => self.updated += 1,
            CountedWrite::Delete => self.deleted += 1,
        }
    }

    pub(super) fn all(self) -> u64 {
        self.created + self.updated + self.deleted
    }
}

/// What is counted of a collection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Total {
    #[serde(rename = "_id")]
    pub(super) id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tenant: Option<String>,
    pub(super) db_name: String,
    pub(super) collection: String,
    /// Stands in front of the ids of all that belongs to it.
    pub(super) generation: String,
    /// Generations that this one took the place of, until all that belongs to
    /// them is removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) stale: Vec<String>,
    /// The database whose log it is: another one may have its name later.
    pub(super) log: String,
    /// Up to here the log is counted.
    pub(super) next: u64,
    #[serde(flatten)]
    pub(super) counts: Counts,
    /// Those of `counts.updated` that merged something in, or brought a
    /// version back.
    pub(super) enriched: u64,
    pub(super) restored: u64,
    /// Hard deletes.
    pub(super) purged: u64,
    /// Versions that were gone before they were counted.
    pub(super) missed: u64,
    pub(super) rules: Vec<RuleTotal>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_at: Option<Timestamp>,
}

impl RuleTotal {
    /// What its cells go by: one that was away meanwhile has new ones.
    pub(super) fn key(&self) -> String {
        format!("{}.{}", self.definition, self.since)
    }
}

impl Total {
    pub(super) fn read(&self) -> Read {
        (self.generation.clone(), self.next)
    }

    /// What a rule counted, if it was there when that was.
    pub(super) fn of(&self, rule: &Rule) -> Option<&RuleTotal> {
        let mut rules = self.rules.iter();
        rules.find(|counted| counted.definition == rule.definition)
    }
}

/// What a rule counted in all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RuleTotal {
    pub(super) name: String,
    pub(super) definition: String,
    /// From which `cv` on it counts.
    pub(super) since: u64,
    #[serde(flatten)]
    pub(super) counts: Counts,
    pub(super) unique: Vec<Different>,
    /// How many groups it has, and what it counted of others when there were
    /// as many as there may be.
    pub(super) groups: u64,
    pub(super) others: u64,
}

/// What a rule counted in a period, or of a group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Cell {
    #[serde(rename = "_id")]
    pub(super) id: String,
    pub(super) generation: String,
    pub(super) rule: String,
    pub(super) kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) start: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) group: Option<Vec<Value>>,
    pub(super) next: u64,
    /// All of `counts`, by which groups are sorted.
    pub(super) count: u64,
    #[serde(flatten)]
    pub(super) counts: Counts,
    pub(super) unique: Vec<Different>,
}

/// A value that was met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Met {
    #[serde(rename = "_id")]
    pub(super) id: String,
    pub(super) generation: String,
    /// Where it is counted.
    pub(super) of: String,
    pub(super) value: String,
    /// Where in the log it was met first.
    pub(super) cv: u64,
}

/// The kinds of cells, beside those of groups.
pub(super) fn kind(timeframe: Timeframe) -> &'static str {
    match timeframe {
        Timeframe::Hourly => "hour",
        Timeframe::Daily => "day",
        Timeframe::Weekly => "week",
        Timeframe::Monthly => "month",
    }
}

pub(super) const GROUP: &str = "group";

pub(super) fn collection(name: &str) -> Result<CollectionName, Error> {
    Ok(name.parse()?)
}

pub(super) fn read<T: DeserializeOwned>(document: Value) -> Result<T, Error> {
    serde_json::from_value(document).map_err(|_| unreadable())
}

pub(super) fn written<T: Serialize>(document: &T) -> Result<Value, Error> {
    serde_json::to_value(document).map_err(|_| unreadable())
}

fn unreadable() -> Error {
    Error::new(ErrorKind::Corrupt, "a stored count cannot be read")
}

pub(super) fn filter(filter: &Value) -> Result<Filter, Error> {
    Ok(Filter::parse(filter)?)
}

/// What a document was when it was read: its generation, and up to where the
/// log is counted in it.
pub(super) type Read = (String, u64);

/// Puts a document in the place of the one that was read, if it is as it was
/// then, or adds it where there was none.
pub(super) fn replaced(document: &Value, read: Option<&Read>) -> Result<DocOp, Error> {
    let Some((generation, next)) = read else {
        return Ok(DocOp::Insert(document.clone()));
    };
    let mut fields = document.as_object().cloned().unwrap_or_default();
    let id = fields.remove("_id");
    let filter = filter(&json!({ "_id": id, "generation": generation, "next": next }))?;
    let update = Update::parse(&json!({ "$set": fields }))?;
    Ok(DocOp::Update(DocUpdate::of(filter, update).or_abort()))
}

/// Declares the indexes that counts are read by.
pub(super) async fn ensure_indexes(documents: &dyn Documents) -> Result<(), Error> {
    let index = |fields: &[&str]| -> Result<DocIndex, Error> {
        let fields = fields.iter().map(|field| field.parse());
        Ok(DocIndex::ascending(fields.collect::<Result<Vec<_>, _>>()?))
    };
    let cells = collection(CELLS)?;
    let places = index(&["generation", "rule", "kind", "start"])?;
    documents.ensure_index(&cells, &places).await?;
    let sizes = index(&["generation", "rule", "kind", "count"])?;
    documents.ensure_index(&cells, &sizes).await?;
    let values = collection(VALUES)?;
    documents.ensure_index(&values, &index(&["of"])?).await?;
    documents
        .ensure_index(&values, &index(&["generation"])?)
        .await?;
    Ok(())
}

//! A collection under test.

use std::sync::Arc;

use serde_json::Value;
use xronox_model::{CollectionName, Direction, Filter, Path};

use super::Subject;
use crate::{
    DocFind, DocIndex, DocOp, DocRefusal, DocUpdate, Documents, InsertOutcome, Update,
    UpdateOutcome, conformance::ManualClock,
};

pub(super) struct Bench {
    pub(super) documents: Arc<dyn Documents>,
    pub(super) clock: ManualClock,
    pub(super) name: CollectionName,
}

pub(super) fn name(text: &str) -> CollectionName {
    text.parse().unwrap()
}

pub(super) fn path(text: &str) -> Path {
    text.parse().unwrap()
}

pub(super) fn filter(json: &Value) -> Filter {
    Filter::parse(json).unwrap()
}

/// An ascending index of these fields.
pub(super) fn index(fields: &[&str]) -> DocIndex {
    DocIndex::ascending(fields.iter().map(|field| path(field)))
}

pub(super) fn update(matching: &Value, change: &Value) -> DocUpdate {
    DocUpdate::of(filter(matching), Update::parse(change).unwrap())
}

/// A find sorted by fields, those with a `-` in front descending.
pub(super) fn sorted(matching: &Value, fields: &[&str]) -> DocFind {
    let find = DocFind::of(filter(matching));
    fields
        .iter()
        .fold(find, |find, field| match field.strip_prefix('-') {
            Some(field) => find.sort(path(field), Direction::Descending),
            None => find.sort(path(field), Direction::Ascending),
        })
}

pub(super) fn delete(matching: &Value) -> DocOp {
    DocOp::Delete {
        filter: filter(matching),
        limit: 100,
    }
}

pub(super) fn duplicate(index: &str) -> DocRefusal {
    DocRefusal::Duplicate {
        index: index.into(),
    }
}

/// The ids of documents, as text.
pub(super) fn ids(documents: &[Value]) -> Vec<String> {
    let id = |document: &Value| match &document["_id"] {
        Value::String(id) => id.clone(),
        id => id.to_string(),
    };
    documents.iter().map(id).collect()
}

impl Bench {
    pub(super) async fn open(subject: &dyn Subject) -> Self {
        Self {
            documents: subject.open().await,
            clock: subject.clock(),
            name: name("things"),
        }
    }

    /// Another collection of the same database.
    pub(super) fn other(&self, collection: &str) -> Self {
        Self {
            documents: Arc::clone(&self.documents),
            clock: self.clock.clone(),
            name: name(collection),
        }
    }

    /// Inserts documents that must all be accepted.
    pub(super) async fn insert(&self, documents: impl IntoIterator<Item = Value>) {
        for outcome in self.outcomes(documents).await {
            assert_eq!(outcome, InsertOutcome::Inserted);
        }
    }

    pub(super) async fn outcomes(
        &self,
        documents: impl IntoIterator<Item = Value>,
    ) -> Vec<InsertOutcome> {
        let documents = documents.into_iter().collect();
        self.documents.insert(&self.name, documents).await.unwrap()
    }

    /// Inserts one document that must be refused.
    pub(super) async fn refused(&self, document: Value) -> DocRefusal {
        match self.outcomes([document]).await.remove(0) {
            InsertOutcome::Refused(refusal) => refusal,
            InsertOutcome::Inserted => panic!("not refused"),
        }
    }

    pub(super) async fn find(&self, find: &DocFind) -> Vec<Value> {
        self.documents.find(&self.name, find).await.unwrap()
    }

    /// All documents that match, by `_id`.
    pub(super) async fn all(&self, matching: &Value) -> Vec<Value> {
        self.find(&DocFind::of(filter(matching)).limit(10_000))
            .await
    }

    pub(super) async fn one(&self, matching: &Value) -> Option<Value> {
        self.documents
            .find_one(&self.name, &filter(matching))
            .await
            .unwrap()
    }

    pub(super) async fn count(&self, matching: &Value) -> u64 {
        self.documents
            .count(&self.name, &filter(matching))
            .await
            .unwrap()
    }

    pub(super) async fn update(&self, update: &DocUpdate) -> UpdateOutcome {
        self.documents.update_one(&self.name, update).await.unwrap()
    }

    pub(super) async fn delete(&self, matching: &Value) -> u64 {
        self.documents
            .delete(&self.name, &filter(matching), 10_000)
            .await
            .unwrap()
    }

    pub(super) async fn index(&self, index: &DocIndex) {
        self.documents
            .ensure_index(&self.name, index)
            .await
            .unwrap();
    }
}

//! What a check found.

use serde::Serialize;
use xronox_model::{CollectionName, RecordId, VersionRow};

/// The most damages that are listed.
const MAX_DAMAGES: usize = 1000;

/// What a check found.
///
/// As JSON `{ rows, records, bodies, bytes, damageCount, damages }`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct VerifyReport {
    /// Versions that were checked, stubs and PURGE rows included.
    pub rows: u64,
    /// Records among them, deleted ones included, purged ones not.
    pub records: u64,
    /// Bodies that were read, one a version.
    pub bodies: u64,
    /// Their bytes in canonical form.
    pub bytes: u64,
    /// How many damages there are.
    pub damage_count: u64,
    /// The first 1,000 of them.
    pub damages: Vec<Damage>,
}

impl VerifyReport {
    /// Whether nothing is damaged.
    pub fn clean(&self) -> bool {
        self.damage_count == 0
    }

    pub(super) fn add(&mut self, collection: &CollectionName, found: Found) {
        self.damage_count += 1;
        if self.damages.len() < MAX_DAMAGES {
            self.damages.push(Damage {
                collection: collection.clone(),
                rule: found.rule,
                cv: found.cv,
                id: found.id,
                message: found.message,
            });
        }
    }
}

/// Something that is not what it should be.
///
/// As JSON `{ collection, rule, cv?, id?, message }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Damage {
    /// In which collection.
    pub collection: CollectionName,
    /// What does not hold.
    pub rule: Rule,
    /// The version that it was found at, if at one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cv: Option<u64>,
    /// The record of that version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<RecordId>,
    /// What is wrong, for people to read.
    pub message: String,
}

/// A rule that everything stored obeys. As JSON its name, such as `ovGap`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum Rule {
    /// The head of a record is its newest version, the only open one.
    HeadNotNewest,
    /// The versions of a record have consecutive `ov`, from 0 on. Lawfully
    /// missing are those before a PURGE, and those that were replaced while
    /// versioning was off, behind the mark that they left.
    OvGap,
    /// The versions of a collection have consecutive `cv`, from 0 on. As many
    /// may be missing as records lack versions.
    CvGap,
    /// A version is valid until the record's next one.
    Interval,
    /// A version carries the hash of the record's previous one.
    PrevHash,
    /// A body is where its version says.
    MissingBody,
    /// A body has the length and the hash that its version says.
    CorruptBody,
    /// A file inside a record is where its version says.
    MissingFile,
    /// It has the length and the hash that its version says, and its reference
    /// stands in the document.
    CorruptFile,
    /// A version has the keys that its document gives, in every index that is
    /// ready.
    IndexKeys,
    /// A live record holds its unique keys.
    UniqueKey,
    /// Commit times never decrease with `cv`.
    TimeOrder,
    /// What is stored can be read, and the backend's own structures agree.
    Structure,
}

/// A damage, but for its collection.
#[derive(Debug, Clone)]
pub(super) struct Found {
    rule: Rule,
    cv: Option<u64>,
    id: Option<RecordId>,
    message: String,
}

impl Found {
    pub(super) fn of(rule: Rule, message: impl Into<String>) -> Self {
        Self {
            rule,
            cv: None,
            id: None,
            message: message.into(),
        }
    }

    pub(super) fn at(mut self, cv: u64) -> Self {
        self.cv = Some(cv);
        self
    }

    pub(super) fn on(mut self, row: &VersionRow) -> Self {
        self.id = Some(row.id.clone());
        self.at(row.cv)
    }
}

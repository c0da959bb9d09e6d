//! What a write gives back.

use serde::{Serialize, Serializer, ser::SerializeMap};
use xronox_model::{Op, RecordId, Timestamp};
use xronox_store::Commit;

/// A committed version: durable, and visible to every read from now on.
///
/// As JSON `{ id, ov, cv, at, op }` with `at` again as `createdAt`,
/// `updatedAt` or `deletedAt`, whichever the operation was, and
/// `"unchanged": true` if nothing had to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// The record.
    pub id: RecordId,
    /// Its version, counted from 0.
    pub ov: u64,
    /// The collection's version, counted from 0.
    pub cv: u64,
    /// The commit time.
    pub at: Timestamp,
    /// What was done. Of an unchanged record, what its newest version did.
    pub op: Op,
    /// Nothing was written, since nothing would have changed.
    pub unchanged: bool,
}

impl Written {
    pub(crate) fn of(commit: Commit, unchanged: bool) -> Self {
        Self {
            id: commit.id,
            ov: commit.ov,
            cv: commit.cv,
            at: commit.at,
            op: commit.op,
            unchanged,
        }
    }
}

impl Serialize for Written {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("ov", &self.ov)?;
        map.serialize_entry("cv", &self.cv)?;
        map.serialize_entry("at", &self.at)?;
        map.serialize_entry("op", &self.op)?;
        let name = match self.op {
            Op::Create => "createdAt",
            Op::Delete | Op::Purge => "deletedAt",
            Op::Update | Op::Enrich | Op::Restore => "updatedAt",
        };
        map.serialize_entry(name, &self.at)?;
        if self.unchanged {
            map.serialize_entry("unchanged", &true)?;
        }
        map.end()
    }
}

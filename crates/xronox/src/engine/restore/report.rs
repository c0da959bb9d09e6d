//! What a restore of a collection did.

use serde::{Deserialize, Serialize};
use xronox_model::RecordId;

/// The most ids that are listed.
const MAX_LISTED: usize = 1000;

/// Some records: how many, and which the first 1,000 of them are.
///
/// As JSON `{ count, ids }`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Listed {
    /// How many.
    pub count: u64,
    /// The first 1,000 of them.
    pub ids: Vec<RecordId>,
}

impl Listed {
    pub(super) fn add(&mut self, id: &RecordId) {
        self.count += 1;
        if self.ids.len() < MAX_LISTED {
            self.ids.push(id.clone());
        }
    }
}

/// What a restore of a collection did, or with a dry run would do.
///
/// Each record that changed after the cut counts once, in `restored`,
/// `deleted`, `unchanged`, `conflicts` or `pruned`; one that was purged counts
/// in `purged`, and once more if it was made anew after that.
///
/// As JSON `{ job?, target, start, restored, deleted, unchanged, conflicts,
/// pruned, purged, dryRun }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RestoreReport {
    /// The job; none in a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// The cut: the last commit that every record was brought back to; `None`
    /// for the time before the first one.
    pub target: Option<u64>,
    /// The newest commit when the restore began, the last one that it undid;
    /// `None` for an empty collection.
    pub start: Option<u64>,
    /// Records that have the document and `functionIds` of the cut again.
    pub restored: u64,
    /// Records that are deleted now: born after the cut, or deleted at it.
    pub deleted: u64,
    /// Records that changed after the cut and were as at the cut again, so
    /// that there was nothing to do.
    pub unchanged: u64,
    /// Records that were left as they are, because others changed them
    /// meanwhile, or hold unique keys that they had at the cut.
    pub conflicts: Listed,
    /// Records whose version of the cut retention has removed; left as they
    /// are.
    pub pruned: Listed,
    /// Records that were purged after the cut: what they were is gone for
    /// good. A time of birth in the same millisecond as the cut's counts as
    /// before it.
    pub purged: Listed,
    /// Whether nothing was written.
    pub dry_run: bool,
}

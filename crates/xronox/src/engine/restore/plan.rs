//! What a record needs, to be what it was.

use xronox_model::{Direction, Op, RecordId, Timestamp, VersionRow};
use xronox_store::{Bodies, Which};

use crate::{Error, collection::Shared};

/// PURGE rows of one record that are looked at.
const MAX_PURGES: usize = 100;

/// The state of a collection to go back to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Past {
    /// Its last commit.
    pub(super) cv: Option<u64>,
    /// A time that is not before that commit, and not after the next one.
    pub(super) at: Option<Timestamp>,
}

/// What a record needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// It is as it was.
    Nothing,
    /// This version of it, which is live or not.
    Version { ov: u64, live: bool },
    /// To be deleted: it was not there.
    Absence,
    /// A version that retention has removed.
    Stub,
    /// What was purged.
    Gone,
}

/// A record at its last version before the restore began, and what it needs.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) row: VersionRow,
    pub(super) need: Need,
    /// What the record was at the cut is gone, and this is another one that
    /// took its id.
    pub(super) replaced: bool,
}

impl Plan {
    /// Whether something is to be written.
    pub(super) fn writes(&self) -> bool {
        matches!(self.need, Need::Version { .. } | Need::Absence)
    }

    /// Whether it then holds unique keys.
    pub(super) fn wants_keys(&self) -> bool {
        matches!(self.need, Need::Version { live: true, .. })
    }

    /// Whether that makes a live record a deleted one.
    pub(super) fn deletes(&self) -> bool {
        match self.need {
            Need::Absence => true,
            Need::Version { live, .. } => !live && self.row.live(),
            Need::Nothing | Need::Stub | Need::Gone => false,
        }
    }
}

/// Whether two versions of a record show the same to readers, but for who
/// made them when.
pub(super) fn alike(a: &VersionRow, b: &VersionRow) -> bool {
    let content = |row: &VersionRow| row.body.as_ref().map(|body| body.sha256);
    a.live() == b.live()
        && content(a).is_some()
        && content(a) == content(b)
        && a.system.function_ids == b.system.function_ids
}

impl Shared {
    /// The state after the commit `cv`.
    pub(super) async fn past(&self, cv: Option<u64>) -> Result<Past, Error> {
        let at = match cv {
            None => None,
            Some(cv) => {
                let catalog = &self.database.catalog;
                let rows = catalog.rows(&self.name, cv, 1, Bodies::Omit).await?;
                rows.first().map(|row| row.at)
            }
        };
        Ok(Past { cv, at })
    }

    /// What the record of `row` needs; `row` is its last version before the
    /// restore began.
    pub(super) async fn plan(&self, past: Past, row: VersionRow) -> Result<Plan, Error> {
        let then = match past.cv {
            None => None,
            Some(cv) => self.row_as_of(&row.id, cv).await?,
        };
        let mut replaced = false;
        let need = match &then {
            None if row.op == Op::Purge => {
                if past.knew(&row) {
                    Need::Gone
                } else {
                    Need::Nothing
                }
            }
            Some(then) if then.op != Op::Purge => {
                if then.pruned.is_some() {
                    Need::Stub
                } else if row.op == Op::Purge {
                    // It was purged since `row` was read.
                    Need::Gone
                } else if alike(then, &row) {
                    Need::Nothing
                } else {
                    Need::Version {
                        ov: then.ov,
                        live: then.live(),
                    }
                }
            }
            _ => {
                replaced = then.is_none() && row.ov > 0 && self.was_purged(past, &row.id).await?;
                if row.live() {
                    Need::Absence
                } else {
                    Need::Nothing
                }
            }
        };
        Ok(Plan {
            row,
            need,
            replaced,
        })
    }

    async fn row_as_of(&self, id: &RecordId, cv: u64) -> Result<Option<VersionRow>, Error> {
        let catalog = &self.database.catalog;
        Ok(catalog
            .version(&self.name, id, Which::AsOf(cv), Bodies::Omit)
            .await?)
    }

    /// Whether a record of this id that was there at the cut was purged after it.
    async fn was_purged(&self, past: Past, id: &RecordId) -> Result<bool, Error> {
        let catalog = &self.database.catalog;
        // What a purge leaves stands in front of everything else.
        let oldest = catalog
            .history(&self.name, id, None, Direction::Ascending, MAX_PURGES)
            .await?;
        let mut purges = oldest.iter().take_while(|row| row.op == Op::Purge);
        Ok(purges.any(|row| past.cv.is_some_and(|cv| row.cv > cv) && past.knew(row)))
    }
}

impl Past {
    /// Whether the record of a PURGE row had been born by then.
    fn knew(self, purge: &VersionRow) -> bool {
        self.at.is_some_and(|at| purge.system.inserted_at <= at)
    }
}

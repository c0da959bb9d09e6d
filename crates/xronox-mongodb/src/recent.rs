//! The newest versions that this process has written, so that a commit which
//! changes a record again need not read it first.
//!
//! Others may have changed the record since, or the server may have been brought
//! back to before it. So what is recalled is never the
//! reason why a caller is refused, and a commit that builds on it ends the
//! recalled rows, known by their attempts, only where they still are their
//! records' newest: if one is not, it starts again and reads.

use std::collections::{BTreeSet, HashMap};

use mongodb::bson::oid::ObjectId;
use parking_lot::Mutex;
use xronox_model::{IndexKeys, RecordId, VersionRow};

use crate::row::Stored;

/// Twice so many rows are kept at most, a KiB or so each: enough for the
/// records that are changed again and again.
const GENERATION: usize = 1024;

/// A row that names more files is not kept.
const MOST_FILES: usize = 16;

/// Records of a collection, which its birth tells from an earlier one of the
/// same name.
type Rows = HashMap<(ObjectId, RecordId), VersionRow>;

#[derive(Debug, Default)]
pub(crate) struct Recent(Mutex<Generations>);

/// Rows that were kept lately, and those before them.
#[derive(Debug, Default)]
struct Generations {
    young: Rows,
    old: Rows,
}

impl Recent {
    /// What was written last of these records, where that is still known:
    /// without bodies and keys, which a row that follows does not need.
    pub(crate) fn recall(&self, born: ObjectId, ids: &BTreeSet<RecordId>) -> Vec<Stored> {
        let rows = self.0.lock();
        let row = |id: &RecordId| {
            let key = (born, id.clone());
            let row = rows.young.get(&key).or_else(|| rows.old.get(&key))?;
            Some(Stored {
                row: row.clone(),
                unique: Vec::new(),
                strange: false,
            })
        };
        ids.iter().filter_map(row).collect()
    }

    /// Keeps rows that were committed as their records' newest ones.
    pub(crate) fn keep(&self, born: ObjectId, newest: Vec<VersionRow>) {
        let mut rows = self.0.lock();
        for mut row in newest {
            if row
                .body
                .as_ref()
                .is_some_and(|body| body.files.len() > MOST_FILES)
            {
                // What was its newest one before is not, either.
                let key = (born, row.id);
                rows.young.remove(&key);
                rows.old.remove(&key);
                continue;
            }
            row.keys = IndexKeys::default();
            if let Some(body) = &mut row.body {
                body.inline = None;
            }
            if rows.young.len() >= GENERATION {
                rows.old = std::mem::take(&mut rows.young);
            }
            rows.young.insert((born, row.id.clone()), row);
        }
    }

    pub(crate) fn forget(&self, born: ObjectId, ids: &BTreeSet<RecordId>) {
        let mut rows = self.0.lock();
        for id in ids {
            let key = (born, id.clone());
            rows.young.remove(&key);
            rows.old.remove(&key);
        }
    }
}

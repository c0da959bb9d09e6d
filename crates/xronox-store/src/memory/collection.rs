//! One collection, and how a change to it is taken back.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
};

use xronox_model::{
    CollectionName, Location, Op, Path, RecordId, Sha256, Timestamp, UniqueKey, VersionRow,
};

use crate::{
    Commit, Indexes, StoreError,
    ruling::{self, Succession},
};

/// Whether this was its record's version after the commit `cut`.
pub(super) fn valid_at(row: &VersionRow, cut: u64) -> bool {
    row.cv <= cut && row.to_cv.is_none_or(|to_cv| cut < to_cv)
}

/// An outcome that is repeated under its idempotency key.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Remembered {
    pub(super) fingerprint: Sha256,
    pub(super) commit: Commit,
    pub(super) unchanged: bool,
    /// The first moment at which it is forgotten.
    pub(super) until: Timestamp,
}

/// Everything kept of a collection.
///
/// Whatever a commit changes goes through [`set_row`](Self::set_row),
/// [`set_held`](Self::set_held) and [`set_remembered`](Self::set_remembered),
/// which note in the journal how it was, so that [`settle`](Self::settle) can
/// take it all back.
#[derive(Debug, Default)]
pub(super) struct Collection {
    /// By `cv`.
    pub(super) rows: BTreeMap<u64, VersionRow>,
    /// Of each record, the `cv` of each `ov`.
    pub(super) records: BTreeMap<RecordId, BTreeMap<u64, u64>>,
    /// Who holds a unique key.
    pub(super) holders: BTreeMap<UniqueKey, RecordId>,
    /// The unique keys of each record that has some.
    pub(super) held: BTreeMap<RecordId, BTreeSet<UniqueKey>>,
    pub(super) remembered: BTreeMap<String, Remembered>,
    pub(super) indexes: Indexes,
    /// Fields of which some record had several keys.
    pub(super) multi: BTreeSet<Path>,
    journal: Vec<Before>,
}

#[derive(Debug)]
enum Before {
    Row(u64, Option<Box<VersionRow>>),
    Held(RecordId, BTreeSet<UniqueKey>),
    Remembered(String, Option<Remembered>),
    NotMulti(Path),
}

impl Collection {
    /// The row of the newest commit.
    pub(super) fn newest(&self) -> Option<&VersionRow> {
        self.rows.values().next_back()
    }

    /// The newest row of a record.
    pub(super) fn newest_of(&self, id: &RecordId) -> Option<&VersionRow> {
        self.versions(id).next_back()
    }

    /// The rows of a record, in the order of `ov`.
    pub(super) fn versions(&self, id: &RecordId) -> impl DoubleEndedIterator<Item = &VersionRow> {
        let cvs = self.records.get(id).into_iter().flat_map(BTreeMap::values);
        cvs.filter_map(|cv| self.rows.get(cv))
    }

    /// One row of a record.
    pub(super) fn version(&self, id: &RecordId, ov: u64) -> Option<&VersionRow> {
        self.rows.get(self.records.get(id)?.get(&ov)?)
    }

    pub(super) fn holder(&self, key: &UniqueKey) -> Option<&RecordId> {
        self.holders.get(key)
    }

    /// Sets or removes the row at `cv`.
    pub(super) fn set_row(&mut self, cv: u64, row: Option<VersionRow>) {
        let fields = row.iter().flat_map(|row| row.keys.iter());
        let multi: Vec<Path> = fields
            .filter(|(field, keys)| keys.is_multi() && !self.multi.contains(field))
            .map(|(field, _)| field.clone())
            .collect();
        for field in multi {
            self.multi.insert(field.clone());
            self.journal.push(Before::NotMulti(field));
        }
        let before = self.swap_row(cv, row);
        self.journal.push(Before::Row(cv, before.map(Box::new)));
    }

    fn swap_row(&mut self, cv: u64, row: Option<VersionRow>) -> Option<VersionRow> {
        let before = self.rows.remove(&cv);
        if let Some(before) = &before
            && let Some(versions) = self.records.get_mut(&before.id)
        {
            versions.remove(&before.ov);
            if versions.is_empty() {
                self.records.remove(&before.id);
            }
        }
        if let Some(row) = row {
            self.records
                .entry(row.id.clone())
                .or_default()
                .insert(row.ov, cv);
            self.rows.insert(cv, row);
        }
        before
    }

    /// Sets the unique keys that a record holds; nobody else may hold them.
    pub(super) fn set_held(&mut self, id: &RecordId, keys: BTreeSet<UniqueKey>) {
        let before = self.swap_held(id, keys);
        self.journal.push(Before::Held(id.clone(), before));
    }

    fn swap_held(&mut self, id: &RecordId, keys: BTreeSet<UniqueKey>) -> BTreeSet<UniqueKey> {
        let before = self.held.remove(id).unwrap_or_default();
        for key in &before {
            self.holders.remove(key);
        }
        for key in &keys {
            self.holders.insert(key.clone(), id.clone());
        }
        if !keys.is_empty() {
            self.held.insert(id.clone(), keys);
        }
        before
    }

    /// Remembers an outcome.
    pub(super) fn set_remembered(&mut self, key: &str, remembered: Remembered) {
        let before = self.remembered.insert(key.to_owned(), remembered);
        self.journal
            .push(Before::Remembered(key.to_owned(), before));
    }

    /// Ends a change: for good, or by taking back everything since the last.
    pub(super) fn settle(&mut self, keep: bool) {
        let journal = mem::take(&mut self.journal);
        if keep {
            return;
        }
        for before in journal.into_iter().rev() {
            match before {
                Before::Row(cv, row) => {
                    self.swap_row(cv, row.map(|row| *row));
                }
                Before::Held(id, keys) => {
                    self.swap_held(&id, keys);
                }
                Before::Remembered(key, Some(remembered)) => {
                    self.remembered.insert(key, remembered);
                }
                Before::Remembered(key, None) => {
                    self.remembered.remove(&key);
                }
                Before::NotMulti(field) => {
                    self.multi.remove(&field);
                }
            }
        }
    }

    /// Adds a row as its record's newest one; gives the objects that none of
    /// its rows names any more.
    pub(super) fn push(&mut self, row: VersionRow) -> Vec<Location> {
        let (id, cv) = (row.id.clone(), row.cv);
        let previous = self.newest_of(&id).cloned();
        let succession = previous.as_ref().map(|newest| Succession::of(newest, &row));
        self.set_row(cv, Some(row));
        let (Some(previous), Some(succession)) = (previous, succession) else {
            return Vec::new();
        };
        let closed = match succession {
            Succession::Kept => Some(previous.clone()),
            Succession::Stub => Some(previous.clone().into_stub()),
            Succession::Gone { stub } => {
                self.set_row(previous.cv, None);
                self.rows.get(&stub).cloned()
            }
        };
        if let Some(closed) = closed {
            let to_cv = Some(cv);
            self.set_row(closed.cv, Some(VersionRow { to_cv, ..closed }));
        }
        match succession {
            Succession::Kept => Vec::new(),
            _ => ruling::released([&previous], self.versions(&id)),
        }
    }

    /// Removes the rows of a record before its newest one, PURGE rows aside;
    /// gives the objects that none of its rows names any more.
    pub(super) fn forget_older(&mut self, id: &RecordId) -> Vec<Location> {
        let all: Vec<VersionRow> = self.versions(id).cloned().collect();
        let keep = |row: &&VersionRow| row.to_cv.is_none() || row.op == Op::Purge;
        let (kept, gone): (Vec<_>, Vec<_>) = all.iter().partition(keep);
        for row in &gone {
            self.set_row(row.cv, None);
        }
        ruling::released(gone, kept)
    }

    /// Adds a row that another collection has committed.
    pub(super) fn take_exact(&mut self, row: VersionRow) -> Result<(), StoreError> {
        let last = self.newest().map(|newest| (newest.cv, newest.at));
        let (id, purged) = (row.id.clone(), row.op == Op::Purge);
        let row = ruling::rule_exact(row, self.newest_of(&id), last, &self.indexes)?;
        self.push(row);
        if purged {
            self.forget_older(&id);
        }
        Ok(())
    }

    /// What breaks the contract in a batch for this collection.
    pub(super) fn check_epoch(&self, name: &CollectionName, epoch: u64) -> Result<(), StoreError> {
        if epoch == self.indexes.epoch {
            Ok(())
        } else {
            Err(StoreError::StaleIndexes {
                collection: name.clone(),
            })
        }
    }
}

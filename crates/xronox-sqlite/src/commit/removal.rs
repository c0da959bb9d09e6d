//! Removing versions and moving bodies.

use std::collections::{BTreeSet, HashSet};

use rusqlite::OptionalExtension;
use xronox_model::{Body, Location, Op, RecordId, VersionRow};
use xronox_store::{Outcome, Refusal, StoreError, ruling::released};

use super::{Pen, entries};
use crate::{
    error::storage,
    read,
    row::{Item, ItemRef, int, op_code, place},
};

/// What goes with rows that are removed.
#[derive(Debug, Default)]
struct Gone {
    /// Their keys, by the numbers of the fields.
    keys: BTreeSet<(i64, String)>,
    /// The objects that they name.
    objects: Vec<Location>,
}

impl Pen<'_> {
    /// Removes every row of the record before this one, with its body and
    /// keys; gives the objects that no row names any more. PURGE rows stay for
    /// ever.
    pub(super) fn remove_before(&mut self, kept: &VersionRow) -> Result<Vec<Location>, StoreError> {
        let gone = self.gone_before(kept)?;
        let p = &self.collection.tables.prefix;
        let keep: BTreeSet<_> = self.entries(kept);
        let mut past = self
            .db
            .prepare_cached(&format!(
                "DELETE FROM \"{p}_key\" WHERE field = ? AND past = 1 AND key = ? AND item = ?"
            ))
            .map_err(storage)?;
        for (field, key) in &gone.keys {
            past.execute((field, key, ItemRef(&kept.id)))
                .map_err(storage)?;
        }
        let mut open = self
            .db
            .prepare_cached(&format!(
                "UPDATE \"{p}_key\" SET from_cv = ? WHERE field = ? AND past = 0 AND key = ? AND item = ?"
            ))
            .map_err(storage)?;
        for (field, key) in &keep {
            open.execute((int(kept.cv), field, key, ItemRef(&kept.id)))
                .map_err(storage)?;
        }
        for statement in [
            format!(
                "DELETE FROM \"{p}_body\" WHERE cv IN \
                 (SELECT cv FROM \"{p}_ver\" WHERE item = ? AND cv < ? AND op <> ?)"
            ),
            format!(
                "DELETE FROM \"{p}_file\" WHERE cv IN \
                 (SELECT cv FROM \"{p}_ver\" WHERE item = ? AND cv < ? AND op <> ?)"
            ),
            format!("DELETE FROM \"{p}_ver\" WHERE item = ? AND cv < ? AND op <> ?"),
        ] {
            let values = (ItemRef(&kept.id), int(kept.cv), op_code(Op::Purge));
            self.db
                .prepare_cached(&statement)
                .and_then(|mut s| s.execute(values))
                .map_err(storage)?;
        }
        Ok(gone.objects)
    }

    /// What goes with the rows of the record before this one.
    fn gone_before(&self, kept: &VersionRow) -> Result<Gone, StoreError> {
        let mut gone = Gone::default();
        let mut seen: HashSet<Location> = HashSet::from([Location::Inline]);
        seen.extend(kept.body.iter().flat_map(Body::locations).cloned());
        read::each_before(self.db, self.collection, &kept.id, kept.cv, |row| {
            gone.keys.extend(entries(self.collection, &row).0);
            for location in row.body.iter().flat_map(Body::locations) {
                if seen.insert(location.clone()) {
                    gone.objects.push(location.clone());
                }
            }
        })?;
        Ok(gone)
    }

    pub(super) fn prune(&mut self, id: &RecordId, ovs: &[u64]) -> Result<Outcome, StoreError> {
        let Some(newest) = read::head(self.db, self.collection, id)? else {
            return Ok(Outcome::Done {
                released: Vec::new(),
            });
        };
        if ovs.contains(&newest.ov) {
            return Ok(Outcome::Refused(Refusal::Newest));
        }
        let mut gone = Vec::new();
        let mut ovs = ovs.to_vec();
        ovs.sort_unstable();
        for ov in ovs {
            let Some(row) = read::by_ov(self.db, self.collection, id, ov)? else {
                continue;
            };
            if row.pruned.is_some() || row.op == Op::Purge {
                continue;
            }
            self.trim_keys(&row)?;
            self.remove(row.cv)?;
            gone.push(row.clone());
            self.add(&row.into_stub())?;
        }
        let released = self.unnamed(id, released(&gone, []))?;
        Ok(Outcome::Done { released })
    }

    /// Removes one row and its body.
    pub(super) fn remove(&self, cv: u64) -> Result<(), StoreError> {
        let p = &self.collection.tables.prefix;
        for statement in [
            format!("DELETE FROM \"{p}_ver\" WHERE cv = ?"),
            format!("DELETE FROM \"{p}_body\" WHERE cv = ?"),
            format!("DELETE FROM \"{p}_file\" WHERE cv = ?"),
        ] {
            self.db
                .prepare_cached(&statement)
                .and_then(|mut s| s.execute([int(cv)]))
                .map_err(storage)?;
        }
        Ok(())
    }

    /// Those of the objects that no row of the record names.
    pub(super) fn unnamed(
        &self,
        id: &RecordId,
        objects: Vec<Location>,
    ) -> Result<Vec<Location>, StoreError> {
        let mut unnamed = Vec::new();
        for location in objects {
            if !read::record_names(self.db, self.collection, id, &location)? {
                unnamed.push(location);
            }
        }
        Ok(unnamed)
    }

    /// Takes the validity of a row that is going out of its key intervals,
    /// where it stands at their beginning; inside them the stub itself keeps
    /// readers away.
    fn trim_keys(&self, row: &VersionRow) -> Result<(), StoreError> {
        let p = &self.collection.tables.prefix;
        let Some(end) = row.to_cv else { return Ok(()) };
        for (field, key) in entries(self.collection, row).0 {
            let whole = self
                .db
                .prepare_cached(&format!(
                    "DELETE FROM \"{p}_key\" WHERE field = ? AND past = 1 AND key = ? AND item = ? \
                     AND from_cv = ? AND to_cv <= ?"
                ))
                .and_then(|mut s| s.execute((field, &key, ItemRef(&row.id), int(row.cv), int(end))))
                .map_err(storage)?;
            if whole == 0 {
                self.db
                    .prepare_cached(&format!(
                        "UPDATE \"{p}_key\" SET from_cv = ? WHERE field = ? AND past IN (0, 1) \
                         AND key = ? AND item = ? AND from_cv = ?"
                    ))
                    .and_then(|mut s| {
                        s.execute((int(end), field, &key, ItemRef(&row.id), int(row.cv)))
                    })
                    .map_err(storage)?;
            }
        }
        Ok(())
    }

    pub(super) fn relocate(
        &self,
        cv: u64,
        from: &Location,
        to: &Location,
    ) -> Result<Outcome, StoreError> {
        let nothing = Outcome::Done {
            released: Vec::new(),
        };
        let p = &self.collection.tables.prefix;
        let (space, role, object) = place(from);
        let (new_space, new_role, new_object) = place(to);
        let item: Option<Item> = self
            .db
            .prepare_cached(&format!(
                "UPDATE \"{p}_ver\" SET space = ?, role = ?, object = ?, body = NULL WHERE cv = ? \
                 AND space IS ? AND role IS ? AND object IS ? AND sha256 IS NOT NULL RETURNING item"
            ))
            .and_then(|mut s| {
                let values = (
                    new_space,
                    new_role,
                    new_object,
                    int(cv),
                    space,
                    role,
                    object,
                );
                s.query_row(values, |row| row.get(0)).optional()
            })
            .map_err(storage)?;
        let Some(Item(id)) = item else {
            return Ok(nothing);
        };
        if *from == Location::Inline {
            self.db
                .prepare_cached(&format!("DELETE FROM \"{p}_body\" WHERE cv = ?"))
                .and_then(|mut s| s.execute([int(cv)]))
                .map_err(storage)?;
            return Ok(nothing);
        }
        let named = from == to || read::record_names(self.db, self.collection, &id, from)?;
        Ok(Outcome::Done {
            released: if named {
                Vec::new()
            } else {
                vec![from.clone()]
            },
        })
    }
}

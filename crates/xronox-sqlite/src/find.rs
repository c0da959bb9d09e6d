//! Walking a collection along an access path.

use std::{cmp::Ordering, ops::Bound};

use rusqlite::{Connection, Rows, ToSql};
use xronox_model::{Direction, KeyRange, Op, OrderedKey, RecordId, VersionRow};
use xronox_store::{Access, Find, Found, PAGE_BYTES, Position, StoreError};

use crate::{
    collection::{self, Collection},
    commit::entries,
    error::storage,
    keys, read,
    row::{Item, ItemRef, int, item_value},
};

/// A stretch ends after this many records even if few of them are given, so
/// that no read transaction lasts long.
const MAX_EXAMINED: usize = 20_000;

/// See [`Catalog::find`](xronox_store::Catalog::find).
pub(crate) fn find(
    db: &Connection,
    collection: &Collection,
    find: &Find,
) -> Result<Found, StoreError> {
    let mut walk = Walk {
        db,
        collection,
        find,
        found: Found {
            cv: collection::newest(db, collection)?.map(|(cv, _)| cv),
            ..Found::default()
        },
        last: None,
        bytes: 0,
    };
    match &find.access {
        Access::All => {
            let after = find.after.as_ref().map(|after| after.id.clone());
            walk.all(after, None)?;
        }
        Access::Ids(ids) => walk.ids(ids)?,
        Access::Field { field, ranges } => {
            let number = collection
                .fields
                .number(field)
                .ok_or_else(|| StoreError::Refused(format!("there is no index of `{field}`")))?;
            let index = collection.index_of(field);
            walk.found.multi = index.is_some_and(|index| index.multi);
            if index.is_some_and(|index| !index.ready) {
                return Err(StoreError::Refused(format!(
                    "the index of `{field}` is not ready"
                )));
            }
            let mut ranges: Vec<&KeyRange> = ranges.iter().collect();
            if find.direction == Direction::Descending {
                ranges.reverse();
            }
            let all = ranges.clone();
            for range in ranges {
                if number == keys::DELETED {
                    walk.deletedness(range)?;
                } else {
                    walk.range(number, range, &all)?;
                }
            }
        }
    }
    let full = walk.full();
    let mut found = walk.found;
    found.next = if full { walk.last } else { None };
    Ok(found)
}

struct Walk<'a> {
    db: &'a Connection,
    collection: &'a Collection,
    find: &'a Find,
    found: Found,
    /// The last position looked at.
    last: Option<Position>,
    /// Of the bodies so far.
    bytes: usize,
}

impl Walk<'_> {
    fn full(&self) -> bool {
        self.found.rows.len() >= self.find.limit
            || self.found.examined >= MAX_EXAMINED
            || self.bytes >= PAGE_BYTES
    }

    fn row(&self, id: &RecordId) -> Result<Option<VersionRow>, StoreError> {
        match self.find.cut {
            None => read::head(self.db, self.collection, id),
            Some(cut) => read::as_of(self.db, self.collection, id, cut),
        }
    }

    /// Takes the row at a position, if it is one to give.
    fn take(&mut self, position: Position, row: Option<VersionRow>) -> Result<(), StoreError> {
        self.found.examined += 1;
        self.last = Some(position.clone());
        let Some(row) = row.filter(|row| row.op != Op::Purge) else {
            return Ok(());
        };
        if !self.meets(&row) {
            return Ok(());
        }
        let row = read::with_bodies(self.db, self.collection, row, self.find.bodies)?;
        self.bytes += row.inline_bytes();
        self.found.rows.push((position, row));
        Ok(())
    }

    /// Whether the keys that the row has allow it to meet the other constraints.
    fn meets(&self, row: &VersionRow) -> bool {
        row.pruned.is_some()
            || self.find.also.iter().all(|constraint| {
                row.keys
                    .get(constraint.path())
                    .is_none_or(|keys| constraint.admits(keys.keys()))
            })
    }

    /// Walks a range of the one field that is indexed where it is true only:
    /// hardly any record is deleted, and those that are not are all the others.
    fn deletedness(&mut self, range: &KeyRange) -> Result<(), StoreError> {
        let [no, yes] = [false, true].map(|deleted| OrderedKey::of(&deleted.into()));
        let mut turns = [(no, false), (yes, true)];
        if self.find.direction == Direction::Descending {
            turns.reverse();
        }
        for (key, deleted) in turns {
            if !range.contains(&key) {
                continue;
            }
            let after = match &self.find.after {
                Some(Position { key: Some(at), id }) if *at == key => Some(id.clone()),
                Some(Position { key: Some(at), .. })
                    if (*at > key) == (self.find.direction == Direction::Ascending) =>
                {
                    continue;
                }
                _ => None,
            };
            if deleted {
                let only = KeyRange::point(key);
                self.range(keys::DELETED, &only, &[&only])?;
            } else {
                self.all(after, Some(&key))?;
            }
        }
        Ok(())
    }

    /// Walks the records by id; with a key, those that are not deleted, and
    /// they stand at that key.
    fn all(&mut self, after: Option<RecordId>, key: Option<&OrderedKey>) -> Result<(), StoreError> {
        let p = &self.collection.tables.prefix;
        let next = match self.find.direction {
            Direction::Ascending => {
                format!("SELECT item FROM \"{p}_ver\" WHERE item > ? ORDER BY item LIMIT 1")
            }
            Direction::Descending => {
                format!("SELECT item FROM \"{p}_ver\" WHERE item < ? ORDER BY item DESC LIMIT 1")
            }
        };
        let mut next = self.db.prepare_cached(&next).map_err(storage)?;
        let mut last = after;
        while !self.full() {
            // An empty text comes before every id, a zero-blob longer than
            // any ObjectId of 0xff bytes after every one.
            let mut rows = match &last {
                Some(id) => next.query([ItemRef(id)]),
                None if self.find.direction == Direction::Ascending => next.query([""]),
                None => next.query([[0xff_u8; 13]]),
            }
            .map_err(storage)?;
            let Some(row) = rows.next().map_err(storage)? else {
                return Ok(());
            };
            let Item(id) = row.get(0).map_err(storage)?;
            drop(rows);
            let mut row = self.row(&id)?;
            if key.is_some() {
                row = row.filter(|row| row.pruned.is_none() && !row.system.deleted());
            }
            last = Some(id.clone());
            let key = key.cloned();
            self.take(Position { key, id }, row)?;
        }
        Ok(())
    }

    fn ids(&mut self, ids: &[RecordId]) -> Result<(), StoreError> {
        let mut ids: Vec<&RecordId> = ids.iter().collect();
        ids.sort_unstable();
        ids.dedup();
        let descending = self.find.direction == Direction::Descending;
        if descending {
            ids.reverse();
        }
        for id in ids {
            let behind = self.find.after.as_ref().is_none_or(|after| {
                let order = id.cmp(&after.id);
                order
                    == if descending {
                        Ordering::Less
                    } else {
                        Ordering::Greater
                    }
            });
            if !behind {
                continue;
            }
            if self.full() {
                break;
            }
            let row = self.row(id)?;
            let position = Position {
                key: None,
                id: id.clone(),
            };
            self.take(position, row)?;
        }
        Ok(())
    }

    /// Walks one range of a field. For the past, the intervals that are over
    /// and those that go on are two sorted runs, merged as they are read.
    fn range(
        &mut self,
        number: i64,
        range: &KeyRange,
        ranges: &[&KeyRange],
    ) -> Result<(), StoreError> {
        let p = &self.collection.tables.prefix;
        let descending = self.find.direction == Direction::Descending;
        let mut sql = format!("SELECT key, item FROM \"{p}_key\" WHERE field = ? AND past = ?");
        let mut values: Vec<Box<dyn ToSql>> = Vec::new();
        match &range.lower {
            Bound::Included(key) => bound(&mut sql, ">=", key, &mut values),
            Bound::Excluded(key) => bound(&mut sql, ">", key, &mut values),
            Bound::Unbounded => {}
        }
        match &range.upper {
            Bound::Included(key) => bound(&mut sql, "<=", key, &mut values),
            Bound::Excluded(key) => bound(&mut sql, "<", key, &mut values),
            Bound::Unbounded => {}
        }
        if let Some(Position { key: Some(key), id }) = &self.find.after {
            sql.push_str(if descending {
                " AND (key, item) < (?, ?)"
            } else {
                " AND (key, item) > (?, ?)"
            });
            values.push(Box::new(key.as_str().to_owned()));
            values.push(Box::new(OwnedItem(id.clone())));
        }
        let mut open_sql = sql.clone();
        let mut past_sql = sql;
        let cut = self.find.cut.map(int);
        if cut.is_some() {
            open_sql.push_str(" AND from_cv <= ?");
            past_sql.push_str(" AND from_cv <= ? AND to_cv > ?");
        }
        let order = if descending {
            " ORDER BY key DESC, item DESC"
        } else {
            " ORDER BY key, item"
        };
        open_sql.push_str(order);
        past_sql.push_str(order);
        let with = |past: &'static i64, cuts: usize| {
            let mut all: Vec<&dyn ToSql> = vec![&number, past];
            all.extend(values.iter().map(|v| &**v));
            all.extend(
                cut.iter()
                    .flat_map(|cut| std::iter::repeat_n(cut as &dyn ToSql, cuts)),
            );
            all
        };
        let mut open = self.db.prepare_cached(&open_sql).map_err(storage)?;
        let mut open = open.query(&with(&0, 1)[..]).map_err(storage)?;
        let mut past = match cut {
            None => None,
            Some(_) => Some(self.db.prepare_cached(&past_sql).map_err(storage)?),
        };
        let mut past = match &mut past {
            None => None,
            Some(past) => Some(past.query(&with(&1, 2)[..]).map_err(storage)?),
        };
        let mut left = step(&mut open)?;
        let mut right = match &mut past {
            Some(past) => step(past)?,
            None => None,
        };
        while !self.full() {
            let from_left = match (&left, &right) {
                (None, None) => break,
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (Some(l), Some(r)) => (l <= r) != descending || l == r,
            };
            let taken = if from_left {
                let next = step(&mut open)?;
                std::mem::replace(&mut left, next)
            } else if let Some(past) = &mut past {
                let next = step(past)?;
                std::mem::replace(&mut right, next)
            } else {
                None
            };
            let Some((key, id)) = taken else { break };
            let row = self.row(&id)?;
            let key = OrderedKey::from_stored(key);
            let row = row.filter(|row| self.stands_first(number, row, &key, ranges));
            self.take(Position { key: Some(key), id }, row)?;
        }
        Ok(())
    }

    /// Whether this is the first of the row's keys that the walk meets.
    fn stands_first(
        &self,
        number: i64,
        row: &VersionRow,
        key: &OrderedKey,
        ranges: &[&KeyRange],
    ) -> bool {
        if !self.found.multi {
            return row.pruned.is_none();
        }
        let (entries, _) = entries(self.collection, row);
        let mut inside = entries
            .into_iter()
            .filter(|(field, _)| *field == number)
            .map(|(_, key)| OrderedKey::from_stored(key))
            .filter(|key| ranges.iter().any(|range| range.contains(key)));
        let first = match self.find.direction {
            Direction::Ascending => inside.next(),
            Direction::Descending => inside.next_back(),
        };
        first.as_ref() == Some(key)
    }
}

fn bound(sql: &mut String, operator: &str, key: &OrderedKey, values: &mut Vec<Box<dyn ToSql>>) {
    sql.push_str(" AND key ");
    sql.push_str(operator);
    sql.push_str(" ?");
    values.push(Box::new(key.as_str().to_owned()));
}

struct OwnedItem(RecordId);

impl ToSql for OwnedItem {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        Ok(rusqlite::types::ToSqlOutput::Borrowed(item_value(&self.0)))
    }
}

fn step(rows: &mut Rows<'_>) -> Result<Option<(String, RecordId)>, StoreError> {
    let Some(row) = rows.next().map_err(storage)? else {
        return Ok(None);
    };
    let key: String = row.get(0).map_err(storage)?;
    let Item(id) = row.get(1).map_err(storage)?;
    Ok(Some((key, id)))
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };

    use xronox_model::{
        Attempt, Body, CollectionName, Encoding, Identity, IndexKeys, IndexSpec, Location, Op,
        Path, Sha256, SystemChange,
    };
    use xronox_store::{
        Append, Batch, Bodies, Catalog, Expect, Mutation, NewBody, Presence, SystemClock,
    };

    use super::*;
    use crate::SqliteCatalog;

    fn create(n: u64, actor: &str) -> Mutation {
        let mut attempt = [0; 12];
        attempt[4..].copy_from_slice(&n.to_be_bytes());
        Mutation::Append(Append {
            id: format!("r{n:06}").parse().unwrap(),
            op: Op::Create,
            expect: Expect::only(Presence::Absent),
            attempt: Attempt::from_bytes(attempt),
            actor: Some(Identity::new("user", actor).unwrap()),
            on_behalf_of: None,
            reason: None,
            change: SystemChange::default(),
            body: NewBody::Given(Body {
                sha256: Sha256::of(b"{}"),
                size: 2,
                encoding: Encoding::Plain,
                location: Location::Inline,
                inline: Some(b"{}".to_vec().into()),
                files: Vec::new(),
            }),
            keys: Some(IndexKeys::default()),
            unique: Vec::new(),
            idempotency: None,
            group: None,
            skip_unchanged: false,
            newest_only: false,
        })
    }

    /// Counted in steps of SQLite's machine, of which a scan takes several for
    /// each record.
    #[tokio::test]
    async fn a_rare_creator_is_found_without_a_scan() {
        const RECORDS: u64 = 20_000;
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("a.sqlite");
        let catalog = SqliteCatalog::open(&path, "test", Arc::new(SystemClock))
            .await
            .unwrap();
        let name: CollectionName = "orders".parse().unwrap();
        let field: Path = "_system.creator.identifier".parse().unwrap();
        let spec = IndexSpec::field(field.clone());
        catalog.add_index(&name, &spec).await.unwrap();
        let indexes = catalog.index_ready(&name, &spec.name()).await.unwrap();
        for start in (0..RECORDS).step_by(1000) {
            let actor = |n: u64| if n % 5000 == 7 { "rare" } else { "common" };
            let batch = Batch {
                epoch: indexes.epoch,
                mutations: (start..start + 1000).map(|n| create(n, actor(n))).collect(),
            };
            catalog.commit(&[(name.clone(), batch)]).await.unwrap();
        }
        catalog.close().await.unwrap();

        let db = Connection::open(&path).unwrap();
        let collection = Collection::load(&db, &name).unwrap().unwrap();
        let steps = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&steps);
        db.progress_handler(
            1,
            Some(move || {
                counted.fetch_add(1, Ordering::Relaxed);
                false
            }),
        )
        .unwrap();
        let key = OrderedKey::of(&"rare".into());
        for (cut, direction) in [
            (None, Direction::Ascending),
            (Some(RECORDS - 1), Direction::Descending),
        ] {
            let asked = Find {
                cut,
                access: Access::Field {
                    field: field.clone(),
                    ranges: vec![KeyRange::point(key.clone())],
                },
                direction,
                also: Vec::new(),
                after: None,
                limit: 100,
                bodies: Bodies::Omit,
            };
            steps.store(0, Ordering::Relaxed);
            let found = find(&db, &collection, &asked).unwrap();
            assert_eq!((found.rows.len(), found.examined), (4, 4));
            let steps = steps.load(Ordering::Relaxed);
            assert!(steps < 1000, "{steps} steps for 4 of {RECORDS} records");
        }
    }
}

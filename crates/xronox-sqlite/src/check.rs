//! What only this backend can see: its pages, and the agreement of its tables.
//!
//! A check goes in parts, each a read transaction of its own, so that the log
//! can start over in between, however large the collection is. Only a table's
//! pages are looked at in one go, as SQLite does that.

use rusqlite::{Connection, OptionalExtension, Params, Row, types::Value};
use xronox_model::VersionRow;
use xronox_store::{Bodies, StoreError};

use crate::{
    collection::Collection,
    commit::entries,
    error::storage,
    read,
    row::{Item, ItemRef, int},
};

/// Rows or entries looked at in one part.
const STRETCH: usize = 2000;
/// More damages than this are not listed.
pub(crate) const MAX_DAMAGES: usize = 1000;

/// A part of a check.
#[derive(Debug, Clone)]
pub(crate) enum Part {
    /// The pages of the first of these tables.
    Pages(&'static [&'static str]),
    /// Inline bodies of the rows from this `cv` on.
    BodiesOfRows(i64),
    /// Bodies from this `cv` on, which a row has to name.
    RowsOfBodies(i64),
    /// Files of the rows from this `cv` on.
    FilesOfRows(i64),
    /// Unique keys behind this one, which a live record has to hold.
    Holders(i64, String),
    /// Keys of the rows from this `cv` on.
    Keys(u64),
    /// Open intervals of a field, those behind this key and record, which a
    /// newest row has to have.
    Intervals(i64, String, Value),
}

impl Part {
    pub(crate) fn first() -> Self {
        Self::Pages(&["ver", "body", "key", "unique", "file"])
    }
}

/// See [`Catalog::check`](xronox_store::Catalog::check): looks at one part and
/// adds what it finds to the damages; gives the next part, if there is one.
pub(crate) fn check(
    db: &Connection,
    collection: &Collection,
    part: &Part,
    damages: &mut Vec<String>,
) -> Result<Option<Part>, StoreError> {
    let p = &collection.tables.prefix;
    let next = match part {
        Part::Pages([]) => Part::BodiesOfRows(0),
        Part::Pages([table, rest @ ..]) => {
            pages(db, &format!("{p}_{table}"), damages)?;
            Part::Pages(rest)
        }
        Part::BodiesOfRows(from) => {
            let until = stretch(db, &format!("{p}_ver"), *from)?;
            let sql = format!(
                "SELECT v.cv FROM \"{p}_ver\" v LEFT JOIN \"{p}_body\" b ON b.cv = v.cv \
                 WHERE v.cv >= ? AND v.cv < ? AND v.sha256 IS NOT NULL AND v.object IS NULL \
                 AND v.body IS NULL AND b.cv IS NULL"
            );
            let what = "names an inline body that is not there";
            rows(db, &sql, (from, until.unwrap_or(i64::MAX)), what, damages)?;
            until.map_or(Part::RowsOfBodies(0), Part::BodiesOfRows)
        }
        Part::RowsOfBodies(from) => {
            let until = stretch(db, &format!("{p}_body"), *from)?;
            let sql = format!(
                "SELECT b.cv FROM \"{p}_body\" b LEFT JOIN \"{p}_ver\" v ON v.cv = b.cv \
                 WHERE b.cv >= ? AND b.cv < ? AND (v.cv IS NULL OR v.object IS NOT NULL \
                 OR v.sha256 IS NULL OR v.body IS NOT NULL)"
            );
            let what = "has an inline body that no row names";
            rows(db, &sql, (from, until.unwrap_or(i64::MAX)), what, damages)?;
            until.map_or(Part::FilesOfRows(0), Part::RowsOfBodies)
        }
        Part::FilesOfRows(from) => {
            let until = stretch(db, &format!("{p}_ver"), *from)?;
            let sql = format!(
                "WITH named AS (SELECT v.cv, o.value AS object \
                     FROM \"{p}_ver\" v, json_tree(v.system, '$.files') o \
                     WHERE v.cv >= ?1 AND v.cv < ?2 AND v.system LIKE '%\"files\"%' \
                     AND o.path LIKE '%.location.object' AND o.key = 'key') \
                 SELECT cv FROM named n WHERE NOT EXISTS \
                     (SELECT 1 FROM \"{p}_file\" f WHERE f.cv = n.cv AND f.object = n.object) \
                 UNION SELECT cv FROM \"{p}_file\" f WHERE f.cv >= ?1 AND f.cv < ?2 AND NOT EXISTS \
                     (SELECT 1 FROM named n WHERE n.cv = f.cv AND n.object = f.object)"
            );
            let what = "is not found by its files";
            rows(db, &sql, (from, until.unwrap_or(i64::MAX)), what, damages)?;
            until.map_or(Part::Holders(i64::MIN, String::new()), Part::FilesOfRows)
        }
        Part::Holders(index, key) => match holders(db, collection, (*index, key), damages)? {
            Some((index, key)) => Part::Holders(index, key),
            None => Part::Keys(0),
        },
        Part::Keys(from) => {
            let rows = read::rows(db, collection, *from, STRETCH, Bodies::Omit)?;
            for row in &rows {
                keys(db, collection, row, damages)?;
            }
            match rows.last() {
                Some(last) => Part::Keys(last.cv + 1),
                None => match field_behind(db, collection, i64::MIN)? {
                    Some(field) => intervals_of(field),
                    None => return Ok(None),
                },
            }
        }
        Part::Intervals(field, key, item) => {
            match intervals(db, collection, *field, (key, item), damages)? {
                Some((key, item)) => Part::Intervals(*field, key, item),
                None => match field_behind(db, collection, *field)? {
                    Some(field) => intervals_of(field),
                    None => return Ok(None),
                },
            }
        }
    };
    Ok(Some(next))
}

fn pages(db: &Connection, table: &str, damages: &mut Vec<String>) -> Result<(), StoreError> {
    let mut statement = db
        .prepare(&format!("PRAGMA integrity_check(\"{table}\")"))
        .map_err(storage)?;
    let found = statement
        .query_map([], |row| row.get::<_, String>(0))
        .map_err(storage)?;
    for text in found {
        match text.map_err(storage) {
            Ok(text) if text == "ok" => {}
            Ok(text) => damages.push(format!("{table}: {text}")),
            Err(error) => damages.push(format!("{table}: {error}")),
        }
    }
    Ok(())
}

/// The `cv` behind the next stretch of a table; `None` if that is its last.
fn stretch(db: &Connection, table: &str, from: i64) -> Result<Option<i64>, StoreError> {
    db.prepare_cached(&format!(
        "SELECT cv FROM \"{table}\" WHERE cv >= ? ORDER BY cv LIMIT 1 OFFSET {STRETCH}"
    ))
    .and_then(|mut s| s.query_row([from], |row| row.get(0)).optional())
    .map_err(storage)
}

/// Tells of every row that a query gives the `cv` of.
fn rows(
    db: &Connection,
    sql: &str,
    values: impl Params,
    what: &str,
    damages: &mut Vec<String>,
) -> Result<(), StoreError> {
    let mut statement = db.prepare_cached(sql).map_err(storage)?;
    let found = statement
        .query_map(values, |row| row.get::<_, i64>(0))
        .map_err(storage)?;
    for cv in found {
        damages.push(format!("row {} {what}", cv.map_err(storage)?));
    }
    Ok(())
}

/// Every unique key must be held by a live record. Gives the last one that was
/// looked at.
fn holders(
    db: &Connection,
    collection: &Collection,
    after: (i64, &str),
    damages: &mut Vec<String>,
) -> Result<Option<(i64, String)>, StoreError> {
    let p = &collection.tables.prefix;
    let mut statement = db
        .prepare_cached(&format!(
            "SELECT u.idx, u.key, v.cv, v.deleted_at FROM \"{p}_unique\" u \
             LEFT JOIN \"{p}_ver\" v ON v.item = u.item AND v.to_cv IS NULL \
             WHERE (u.idx, u.key) > (?, ?) ORDER BY u.idx, u.key LIMIT {STRETCH}"
        ))
        .map_err(storage)?;
    let mut last = None;
    let mut found = statement.query(after).map_err(storage)?;
    while let Some(row) = found.next().map_err(storage)? {
        let get = |row: &Row<'_>| -> rusqlite::Result<(i64, String, Option<i64>, Option<i64>)> {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        };
        let (index, key, cv, deleted) = get(row).map_err(storage)?;
        if cv.is_none() || deleted.is_some() {
            let cv = cv.unwrap_or(-1);
            damages.push(format!("row {cv} holds a unique key though it is not live"));
        }
        last = Some((index, key));
    }
    Ok(last)
}

/// Every key of a row must be covered by an interval.
fn keys(
    db: &Connection,
    collection: &Collection,
    row: &VersionRow,
    damages: &mut Vec<String>,
) -> Result<(), StoreError> {
    let p = &collection.tables.prefix;
    let mut covered = db
        .prepare_cached(&format!(
            "SELECT EXISTS (SELECT 1 FROM \"{p}_key\" WHERE field = ?1 AND past = ?2 AND key = ?3 \
             AND item = ?4 AND from_cv <= ?5 AND (?2 = 0 OR to_cv > ?5))"
        ))
        .map_err(storage)?;
    for (field, key) in entries(collection, row).0 {
        let mut has = |past: i64| -> Result<bool, StoreError> {
            covered
                .query_row((field, past, &key, ItemRef(&row.id), int(row.cv)), |r| {
                    r.get(0)
                })
                .map_err(storage)
        };
        let found = has(0)? || (row.to_cv.is_some() && has(1)?);
        if !found {
            damages.push(format!(
                "row {} is missing from the index of field {field}",
                row.cv
            ));
        }
    }
    Ok(())
}

/// The next field that has keys.
fn field_behind(
    db: &Connection,
    collection: &Collection,
    field: i64,
) -> Result<Option<i64>, StoreError> {
    let p = &collection.tables.prefix;
    db.prepare_cached(&format!(
        "SELECT min(field) FROM \"{p}_key\" WHERE field > ?"
    ))
    .and_then(|mut s| s.query_row([field], |row| row.get(0)))
    .map_err(storage)
}

fn intervals_of(field: i64) -> Part {
    // Ids that are text come first, and none is empty.
    Part::Intervals(field, String::new(), Value::Text(String::new()))
}

/// Every interval that goes on must be that of a newest row with the key.
/// Gives the last one that was looked at.
fn intervals(
    db: &Connection,
    collection: &Collection,
    field: i64,
    after: (&str, &Value),
    damages: &mut Vec<String>,
) -> Result<Option<(String, Value)>, StoreError> {
    let p = &collection.tables.prefix;
    let mut statement = db
        .prepare_cached(&format!(
            "SELECT key, item FROM \"{p}_key\" WHERE field = ? AND past = 0 \
             AND (key, item) > (?, ?) ORDER BY key, item LIMIT {STRETCH}"
        ))
        .map_err(storage)?;
    let mut found = statement
        .query((field, after.0, after.1))
        .map_err(storage)?;
    let mut last = None;
    while let Some(row) = found.next().map_err(storage)? {
        let key: String = row.get(0).map_err(storage)?;
        let Item(id) = row.get(1).map_err(storage)?;
        let head = read::head(db, collection, &id)?;
        let entry = (field, key);
        if !head.is_some_and(|head| entries(collection, &head).0.contains(&entry)) {
            damages.push(format!(
                "the index of field {field} lists {id} under a key it has not"
            ));
        }
        last = Some((entry.1, row.get(1).map_err(storage)?));
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use xronox_model::CollectionName;
    use xronox_store::{Catalog, SystemClock};

    use super::*;
    use crate::SqliteCatalog;

    /// Writes so many records straight into the tables, each with a body of
    /// its own and the keys that every record has.
    fn fill(db: &Connection, p: &str, records: usize) {
        db.execute_batch(&format!(
            "CREATE TEMP TABLE n AS WITH RECURSIVE n(i) AS
                 (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {records} - 1) SELECT i FROM n;
             INSERT INTO \"{p}_ver\" (cv, item, ov, op, at, inserted_at, attempt, sha256, size,
                 encoding, keys)
                 SELECT i, printf('r%06d', i), 0, 0, 0, 0, zeroblob(12), zeroblob(32), 2, 0,
                 zeroblob(0) FROM n;
             INSERT INTO \"{p}_body\" SELECT i, zeroblob(2) FROM n;
             INSERT INTO \"{p}_unique\" SELECT 7, printf('k%06d', i), printf('r%06d', i) FROM n;"
        ))
        .unwrap();
    }

    #[tokio::test]
    async fn every_part_is_short_and_none_is_left_out() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("a.sqlite");
        let catalog = SqliteCatalog::open(&path, "test", Arc::new(SystemClock))
            .await
            .unwrap();
        let name: CollectionName = "orders".parse().unwrap();
        let records = 3 * STRETCH + 10;
        let damaged = catalog
            .file
            .write(move |db| {
                let collection = Collection::load_or_make(db, &name)?;
                let p = &collection.tables.prefix;
                fill(db, p, records);
                db.execute_batch(&format!(
                    "INSERT INTO \"{p}_key\" (field, past, key, item, from_cv)
                         SELECT 2, 0, printf('x%06d', i), printf('r%06d', i), i FROM n;
                     DELETE FROM \"{p}_body\" WHERE cv IN (0, {records} - 1);
                     INSERT INTO \"{p}_body\" VALUES ({records} + 5, zeroblob(1));
                     UPDATE \"{p}_ver\" SET deleted_at = 1 WHERE cv = {records} - 1;"
                ))
                .unwrap();
                let (mut next, mut parts) = (Some(Part::first()), Vec::new());
                while let Some(part) = next {
                    let mut damages = Vec::new();
                    next = check(db, &collection, &part, &mut damages)?;
                    parts.push((part, damages));
                }
                Ok(parts)
            })
            .await
            .unwrap();
        let of = |kind: fn(&Part) -> bool| {
            let parts = damaged.iter().filter(move |(part, _)| kind(part));
            let (mut count, mut found) = (0, Vec::new());
            for (_, damages) in parts {
                count += 1;
                found.extend(damages.clone());
            }
            (count, found)
        };
        let (count, found) = of(|part| matches!(part, Part::BodiesOfRows(_)));
        assert_eq!((count, found.len()), (4, 2), "{found:?}");
        let (count, found) = of(|part| matches!(part, Part::RowsOfBodies(_)));
        assert_eq!((count, found.len()), (4, 1), "{found:?}");
        let (count, found) = of(|part| matches!(part, Part::Holders(..)));
        assert_eq!((count, found.len()), (5, 1), "{found:?}");
        // No row has its keys, and no key its row.
        let (count, found) = of(|part| matches!(part, Part::Keys(_)));
        assert_eq!(count, 5);
        assert_eq!(
            found.len(),
            2 * records + 1,
            "insertedAt and updatedAt, and a deletion"
        );
        let (count, found) = of(|part| matches!(part, Part::Intervals(..)));
        assert_eq!((count, found.len()), (5, records));
        assert_eq!(
            catalog.check(&"other".parse().unwrap()).await.unwrap(),
            Vec::<String>::new()
        );
    }
}

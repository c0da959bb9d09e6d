//! What only this backend can see: its pages, and the agreement of its tables.

use rusqlite::Connection;
use xronox_model::VersionRow;
use xronox_store::{Bodies, StoreError};

use crate::{
    collection::Collection,
    commit::entries,
    error::storage,
    read,
    row::{ItemRef, int},
};

/// Rows looked at in one read.
const STRETCH: usize = 2000;
/// More damages than this are not listed.
const MAX_DAMAGES: usize = 1000;

/// See [`Catalog::check`](xronox_store::Catalog::check).
pub(crate) fn check(db: &Connection, collection: &Collection) -> Result<Vec<String>, StoreError> {
    let mut damages = Vec::new();
    let p = &collection.tables.prefix;
    for table in ["ver", "body", "key", "unique"] {
        pages(db, &format!("{p}_{table}"), &mut damages)?;
    }
    for (sql, what) in [
        (
            format!(
                "SELECT v.cv FROM \"{p}_ver\" v LEFT JOIN \"{p}_body\" b ON b.cv = v.cv \
                 WHERE v.sha256 IS NOT NULL AND v.object IS NULL AND v.body IS NULL AND b.cv IS NULL LIMIT 100"
            ),
            "names an inline body that is not there",
        ),
        (
            format!(
                "SELECT b.cv FROM \"{p}_body\" b LEFT JOIN \"{p}_ver\" v ON v.cv = b.cv \
                 WHERE v.cv IS NULL OR v.object IS NOT NULL OR v.sha256 IS NULL \
                 OR v.body IS NOT NULL LIMIT 100"
            ),
            "has an inline body that no row names",
        ),
        (
            format!(
                "SELECT u.rowid_cv FROM (SELECT coalesce(v.cv, -1) AS rowid_cv, v.deleted_at AS gone \
                 FROM \"{p}_unique\" u LEFT JOIN \"{p}_ver\" v ON v.item = u.item AND v.to_cv IS NULL) u \
                 WHERE u.rowid_cv < 0 OR u.gone IS NOT NULL LIMIT 100"
            ),
            "holds a unique key though it is not live",
        ),
    ] {
        let mut statement = db.prepare(&sql).map_err(storage)?;
        let found = statement
            .query_map([], |row| row.get::<_, i64>(0))
            .map_err(storage)?;
        for cv in found {
            damages.push(format!("row {} {what}", cv.map_err(storage)?));
        }
    }
    let mut from = 0;
    loop {
        let rows = read::rows(db, collection, from, STRETCH, Bodies::Omit)?;
        for row in &rows {
            keys(db, collection, row, &mut damages)?;
            if damages.len() > MAX_DAMAGES {
                return Ok(damages);
            }
        }
        match rows.last() {
            Some(last) => from = last.cv + 1,
            None => break,
        }
    }
    entries_without_rows(db, collection, &mut damages)?;
    Ok(damages)
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

/// Every interval that goes on must be that of a newest row with the key.
fn entries_without_rows(
    db: &Connection,
    collection: &Collection,
    damages: &mut Vec<String>,
) -> Result<(), StoreError> {
    let p = &collection.tables.prefix;
    let mut statement = db
        .prepare(&format!(
            "SELECT field, key, item, from_cv FROM \"{p}_key\" WHERE past = 0"
        ))
        .map_err(storage)?;
    let mut rows = statement.query([]).map_err(storage)?;
    while let Some(found) = rows.next().map_err(storage)? {
        let field: i64 = found.get(0).map_err(storage)?;
        let key: String = found.get(1).map_err(storage)?;
        let crate::row::Item(id) = found.get(2).map_err(storage)?;
        let head = read::head(db, collection, &id)?;
        let has = head.is_some_and(|head| entries(collection, &head).0.contains(&(field, key)));
        if !has {
            damages.push(format!(
                "the index of field {field} lists {id} under a key it has not"
            ));
            if damages.len() > MAX_DAMAGES {
                return Ok(());
            }
        }
    }
    Ok(())
}

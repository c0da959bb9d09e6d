//! Indexes of plain collections, made and dropped.

use rusqlite::OptionalExtension;
use xronox_model::CollectionName;
use xronox_store::{DocIndex, StoreError};

use super::{
    meta::{self, Index},
    walk,
    write::{Writes, set_multi},
};
use crate::error::storage;

/// Documents read at a time while an index is filled.
const PAGE: i64 = 256;

/// Dead documents removed at a time.
const SWEEP: usize = 1000;

/// A stored document on its way into an index.
struct Row {
    doc: i64,
    id: String,
    body: Vec<u8>,
}

/// Declares an index and fills it.
pub(super) fn add_index(
    writes: &Writes<'_>,
    collection: &CollectionName,
    spec: &DocIndex,
) -> Result<(), StoreError> {
    let db = writes.db;
    let meta = writes.cache.load_or_make(db, collection)?;
    let name = spec.name();
    if let Some(other) = meta.indexes.iter().find(|index| index.spec.name() == name) {
        return if other.spec == *spec {
            Ok(())
        } else {
            Err(spec.clash(collection))
        };
    }
    while writes.sweep(Some(&meta), SWEEP)? > 0 {}
    db.prepare_cached(
        "INSERT INTO xronox_doc_index (collection, name, spec, multi) VALUES (?, ?, ?, 0)",
    )
    .and_then(|mut statement| statement.execute((meta.id, &name, spec.to_json().to_string())))
    .map_err(storage)?;
    let index = Index {
        id: db.last_insert_rowid(),
        spec: spec.clone(),
        multi: false,
    };
    let mut multi = false;
    let mut after = String::new();
    loop {
        let page = page(writes, meta.id, &after)?;
        let Some(last) = page.last() else { break };
        after.clone_from(&last.id);
        for Row { doc, body, .. } in page {
            let document = walk::parse(&body)?;
            // Gone by the new index, like those that were swept.
            if spec.ends(&document, writes.now) {
                writes.remove(&meta, doc)?;
                continue;
            }
            if let Some(expiry) = spec.expiry(&document) {
                db.prepare_cached(
                    "UPDATE xronox_doc SET expires = min(coalesce(expires, ?1), ?1) WHERE doc = ?2",
                )
                .and_then(|mut statement| statement.execute((expiry.as_millis(), doc)))
                .map_err(storage)?;
            }
            let keys = spec
                .keys(&document)
                .map_err(|e| spec.unfit(collection, &e.to_string()))?;
            let tuples = spec.tuples(&keys);
            for tuple in tuples.iter().filter(|_| spec.unique) {
                if writes.holder(&index, tuple, Some(doc))?.is_some() {
                    return Err(spec.unfit(collection, "two documents share a key"));
                }
            }
            writes.index_document(&index, tuples, &walk::stored_id(&document)?, doc)?;
            multi |= keys.multi;
        }
    }
    if multi {
        set_multi(db, index.id)?;
    }
    meta::renew(db, meta.id)
}

fn page(writes: &Writes<'_>, collection: i64, after: &str) -> Result<Vec<Row>, StoreError> {
    let mut statement = writes
        .db
        .prepare_cached(
            "SELECT doc, id, body FROM xronox_doc WHERE collection = ? AND id > ? ORDER BY id LIMIT ?",
        )
        .map_err(storage)?;
    let rows = statement
        .query_map((collection, after, PAGE), |row| {
            Ok(Row {
                doc: row.get(0)?,
                id: row.get(1)?,
                body: row.get(2)?,
            })
        })
        .map_err(storage)?;
    rows.collect::<Result<_, _>>().map_err(storage)
}

/// Removes an index, if it is there.
pub(super) fn drop_index(
    writes: &Writes<'_>,
    collection: &CollectionName,
    name: &str,
) -> Result<(), StoreError> {
    let db = writes.db;
    let Some(meta) = writes.cache.load(db, collection)? else {
        return Ok(());
    };
    let Some(index) = meta.indexes.iter().find(|index| index.spec.name() == name) else {
        return Ok(());
    };
    // What was gone stays gone.
    while writes.sweep(Some(&meta), SWEEP)? > 0 {}
    let run = |sql: &str, id: i64| db.execute(sql, [id]).map_err(storage);
    run("DELETE FROM xronox_doc_key WHERE idx = ?", index.id)?;
    run("DELETE FROM xronox_doc_index WHERE id = ?", index.id)?;
    meta::renew(db, meta.id)?;
    if index.spec.ttl.is_none() {
        return Ok(());
    }
    let Some(meta) = writes.cache.load(db, collection)? else {
        return Ok(());
    };
    let mut after = String::new();
    loop {
        let page = page(writes, meta.id, &after)?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        after.clone_from(&last.id);
        for Row { doc, body, .. } in page {
            let expires = meta.expires(&walk::parse(&body)?);
            db.prepare_cached("UPDATE xronox_doc SET expires = ? WHERE doc = ?")
                .and_then(|mut statement| statement.execute((expires, doc)))
                .map_err(storage)?;
        }
    }
}

/// Removes a collection with all it has, if it is there.
pub(super) fn drop_collection(
    writes: &Writes<'_>,
    collection: &CollectionName,
) -> Result<(), StoreError> {
    let db = writes.db;
    let id: Option<i64> = db
        .query_row(
            "SELECT id FROM xronox_doc_collection WHERE name = ?",
            [collection.as_str()],
            |row| row.get(0),
        )
        .optional()
        .map_err(storage)?;
    let Some(id) = id else { return Ok(()) };
    for sql in [
        "DELETE FROM xronox_doc_key WHERE idx IN \
         (SELECT id FROM xronox_doc_index WHERE collection = ?)",
        "DELETE FROM xronox_doc_index WHERE collection = ?",
        "DELETE FROM xronox_doc WHERE collection = ?",
        "DELETE FROM xronox_doc_collection WHERE id = ?",
    ] {
        db.execute(sql, [id]).map_err(storage)?;
    }
    Ok(())
}

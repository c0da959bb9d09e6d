//! Filling and removing indexes.

use rusqlite::{Connection, OptionalExtension};
use xronox_model::{CollectionName, FieldKeys, Op, Path, RecordId, UniqueKey, VersionRow};
use xronox_store::{StoreError, Taken, ruling::no_index};

use crate::{
    collection::{Collection, bump_epoch},
    error::storage,
    read,
    row::{self, Item, ItemRef, int},
};

/// See [`Catalog::fill_index`](xronox_store::Catalog::fill_index).
pub(crate) fn index(
    db: &Connection,
    collection: &Collection,
    field: &Path,
    rows: Vec<(u64, FieldKeys)>,
) -> Result<(), StoreError> {
    let index = collection
        .index_of(field)
        .ok_or_else(|| no_index(&field.to_string()))?;
    let p = &collection.tables.prefix;
    for (cv, keys) in rows {
        let Some(mut row) = by_cv(db, collection, cv)? else {
            continue;
        };
        if row.pruned.is_some() || row.op == Op::Purge || row.keys.get(field).is_some() {
            continue;
        }
        if keys.is_multi() && !index.multi {
            crate::collection::set_multi(db, index.number)?;
        }
        row.keys.insert(field.clone(), keys.clone());
        db.prepare_cached(&format!("UPDATE \"{p}_ver\" SET keys = ? WHERE cv = ?"))
            .and_then(|mut s| s.execute((collection.fields.encode(&row.keys), int(cv))))
            .map_err(storage)?;
        for key in keys.keys() {
            cover(db, collection, index.number, key.as_str(), &row)?;
        }
    }
    Ok(())
}

/// Says that a row has a key: by a longer interval where the version before
/// had it too, by one of its own elsewhere.
fn cover(
    db: &Connection,
    collection: &Collection,
    number: i64,
    key: &str,
    row: &VersionRow,
) -> Result<(), StoreError> {
    let p = &collection.tables.prefix;
    let before: Option<i64> = db
        .prepare_cached(&format!(
            "DELETE FROM \"{p}_key\" WHERE field = ? AND past = 1 AND key = ? AND item = ? \
             AND to_cv = ? RETURNING from_cv"
        ))
        .and_then(|mut s| {
            s.query_row((number, key, ItemRef(&row.id), int(row.cv)), |r| r.get(0))
                .optional()
        })
        .map_err(storage)?;
    let from = before.unwrap_or(int(row.cv));
    match row.to_cv {
        None => db
            .prepare_cached(&collection.tables.open_key)
            .and_then(|mut s| s.execute((number, key, ItemRef(&row.id), from))),
        Some(to) => db
            .prepare_cached(&collection.tables.past_key)
            .and_then(|mut s| s.execute((number, key, ItemRef(&row.id), from, int(to)))),
    }
    .map_err(storage)?;
    Ok(())
}

fn by_cv(
    db: &Connection,
    collection: &Collection,
    cv: u64,
) -> Result<Option<VersionRow>, StoreError> {
    let mut statement = db
        .prepare_cached(&collection.tables.by_cv)
        .map_err(storage)?;
    let mut rows = statement.query([int(cv)]).map_err(storage)?;
    match rows.next().map_err(storage)? {
        Some(found) => row::read(found, &collection.fields).map(Some),
        None => Ok(None),
    }
}

/// See [`Catalog::fill_unique`](xronox_store::Catalog::fill_unique).
pub(crate) fn unique(
    db: &Connection,
    collection: &Collection,
    keys: Vec<(RecordId, u64, UniqueKey)>,
) -> Result<Vec<Taken>, StoreError> {
    let mut taken = Vec::new();
    for (id, ov, key) in keys {
        let number = collection
            .unique_number(&key.index)
            .ok_or_else(|| no_index(&key.index))?;
        let newest = read::head(db, collection, &id)?;
        if !newest.is_some_and(|newest| newest.ov == ov && newest.live()) {
            continue;
        }
        let holder: Option<Item> = db
            .prepare_cached(&collection.tables.unique_holder)
            .and_then(|mut s| s.query_row((number, &key.key), |r| r.get(0)).optional())
            .map_err(storage)?;
        match holder {
            Some(Item(holder)) if holder != id => taken.push(Taken {
                index: key.index,
                wanted_by: id,
                holder,
            }),
            Some(_) => {}
            None => {
                db.prepare_cached(&collection.tables.unique_take)
                    .and_then(|mut s| s.execute((number, &key.key, ItemRef(&id))))
                    .map_err(storage)?;
            }
        }
    }
    Ok(taken)
}

/// Removes an index and its keys.
pub(crate) fn remove(
    db: &Connection,
    name: &CollectionName,
    index: &str,
) -> Result<(), StoreError> {
    let Some(collection) = Collection::load(db, name)? else {
        return Ok(());
    };
    let found = collection
        .indexes
        .iter()
        .find(|known| known.spec.name() == index);
    let Some(found) = found else { return Ok(()) };
    let p = &collection.tables.prefix;
    let keys = if found.spec.unique {
        format!("DELETE FROM \"{p}_unique\" WHERE idx = ?")
    } else {
        format!("DELETE FROM \"{p}_key\" WHERE field = ?")
    };
    db.execute(&keys, [found.number]).map_err(storage)?;
    db.execute("DELETE FROM xronox_index WHERE id = ?", [found.number])
        .map_err(storage)?;
    bump_epoch(db, name)
}

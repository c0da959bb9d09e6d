//! Look-ups of rows on one connection.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Params, Row, types::ValueRef};
use xronox_model::{Attempt, Direction, Location, Op, RecordId, Timestamp, VersionRow};
use xronox_store::{Bodies, CollectionSize, Cut, PAGE_BYTES, StoreError};

use crate::{
    collection::{self, Collection},
    error::storage,
    row::{self, ItemRef, int, op_code, place, uint},
    schema::{COLUMN_COUNT, COLUMNS},
};

fn one(
    db: &Connection,
    collection: &Collection,
    sql: &str,
    params: impl Params,
) -> Result<Option<VersionRow>, StoreError> {
    let mut statement = db.prepare_cached(sql).map_err(storage)?;
    let mut rows = statement.query(params).map_err(storage)?;
    match rows.next().map_err(storage)? {
        Some(row) => row::read(row, &collection.fields).map(Some),
        None => Ok(None),
    }
}

fn many(
    db: &Connection,
    collection: &Collection,
    sql: &str,
    params: impl Params,
) -> Result<Vec<VersionRow>, StoreError> {
    let mut statement = db.prepare_cached(sql).map_err(storage)?;
    let mut rows = statement.query(params).map_err(storage)?;
    let mut out = Vec::new();
    while let Some(row) = rows.next().map_err(storage)? {
        out.push(row::read(row, &collection.fields)?);
    }
    Ok(out)
}

/// The newest row of a record.
pub(crate) fn head(
    db: &Connection,
    collection: &Collection,
    id: &RecordId,
) -> Result<Option<VersionRow>, StoreError> {
    one(db, collection, &collection.tables.head, [ItemRef(id)])
}

/// The newest row of a record and its inline body, in one look: between two
/// of them the record might be purged.
pub(crate) fn head_with_body(
    db: &Connection,
    collection: &Collection,
    id: &RecordId,
) -> Result<Option<VersionRow>, StoreError> {
    let mut statement = db
        .prepare_cached(&collection.tables.head_with_body)
        .map_err(storage)?;
    let mut rows = statement.query([ItemRef(id)]).map_err(storage)?;
    let Some(found) = rows.next().map_err(storage)? else {
        return Ok(None);
    };
    let mut row = row::read(found, &collection.fields)?;
    if let Some(body) = &mut row.body
        && body.location == Location::Inline
    {
        let bytes = found.get_ref(COLUMN_COUNT).map_err(storage)?;
        body.inline = match bytes {
            ValueRef::Null => None,
            bytes => Some(row::body_bytes(bytes)?),
        };
    }
    Ok(Some(row))
}

/// The row of a record with this `ov`.
pub(crate) fn by_ov(
    db: &Connection,
    collection: &Collection,
    id: &RecordId,
    ov: u64,
) -> Result<Option<VersionRow>, StoreError> {
    if ov == 0 {
        let first = one(db, collection, &collection.tables.first, [ItemRef(id)])?;
        return Ok(first.filter(|row| row.ov == 0));
    }
    let values = (ItemRef(id), int(ov));
    one(db, collection, &collection.tables.by_ov, values)
}

/// The row of a record that was valid at `cut`.
pub(crate) fn as_of(
    db: &Connection,
    collection: &Collection,
    id: &RecordId,
    cut: u64,
) -> Result<Option<VersionRow>, StoreError> {
    let values = (ItemRef(id), int(cut));
    let row = one(db, collection, &collection.tables.as_of, values)?;
    Ok(row.filter(|row| row.to_cv.is_none_or(|to| to > cut)))
}

/// Adds the bytes of an inline body to its row.
pub(crate) fn inline(
    db: &Connection,
    collection: &Collection,
    row: &mut VersionRow,
) -> Result<(), StoreError> {
    let cv = row.cv;
    let Some(body) = row.body.as_mut().filter(|b| b.location == Location::Inline) else {
        return Ok(());
    };
    let bytes: Option<Bytes> = db
        .prepare_cached(&collection.tables.body)
        .and_then(|mut s| {
            s.query_row([int(cv)], |row| {
                Ok(match row.get_ref(0)? {
                    ValueRef::Null => Ok(None),
                    bytes => row::body_bytes(bytes).map(Some),
                })
            })
            .optional()
        })
        .map_err(storage)?
        .transpose()?
        .flatten();
    // A body that is not there is for the reader to miss: it knows the record.
    body.inline = bytes;
    Ok(())
}

/// Adds the bytes where they are asked for.
pub(crate) fn with_bodies(
    db: &Connection,
    collection: &Collection,
    mut row: VersionRow,
    bodies: Bodies,
) -> Result<VersionRow, StoreError> {
    if bodies == Bodies::Inline {
        inline(db, collection, &mut row)?;
    }
    Ok(row)
}

/// Shows every row of a record before `cv`, but for PURGE rows.
pub(crate) fn each_before(
    db: &Connection,
    collection: &Collection,
    id: &RecordId,
    cv: u64,
    mut show: impl FnMut(VersionRow),
) -> Result<(), StoreError> {
    let p = &collection.tables.prefix;
    let sql = format!("SELECT {COLUMNS} FROM \"{p}_ver\" WHERE item = ? AND cv < ? AND op <> ?");
    let mut statement = db.prepare_cached(&sql).map_err(storage)?;
    let values = (ItemRef(id), int(cv), op_code(Op::Purge));
    let mut rows = statement.query(values).map_err(storage)?;
    while let Some(row) = rows.next().map_err(storage)? {
        show(row::read(row, &collection.fields)?);
    }
    Ok(())
}

/// Whether a row of the record names the object.
pub(crate) fn record_names(
    db: &Connection,
    collection: &Collection,
    id: &RecordId,
    location: &Location,
) -> Result<bool, StoreError> {
    let (space, role, object) = place(location);
    let p = &collection.tables.prefix;
    db.prepare_cached(&format!(
        "SELECT EXISTS (SELECT 1 FROM \"{p}_ver\" \
             WHERE object = ?1 AND item = ?2 AND space = ?3 AND role = ?4) \
         OR EXISTS (SELECT 1 FROM \"{p}_file\" f JOIN \"{p}_ver\" v ON v.cv = f.cv \
             WHERE f.object = ?1 AND v.item = ?2 AND f.space = ?3 AND f.role = ?4)"
    ))
    .and_then(|mut s| s.query_row((object, ItemRef(id), space, role), |row| row.get(0)))
    .map_err(storage)
}

/// Rows of one record, in the order of `ov`, which is that of `cv`.
pub(crate) fn history(
    db: &Connection,
    collection: &Collection,
    id: &RecordId,
    from: Option<u64>,
    direction: Direction,
    limit: usize,
) -> Result<Vec<VersionRow>, StoreError> {
    let p = &collection.tables.prefix;
    let (compare, order, end) = match direction {
        Direction::Ascending => (">=", "ASC", 0),
        Direction::Descending => ("<=", "DESC", i64::MAX),
    };
    let bound = match from {
        None => end,
        // Version 0 has no entry in the index of `ov`; it is the first row.
        Some(0) if direction == Direction::Ascending => end,
        Some(ov) => {
            let sql = format!(
                "SELECT cv FROM \"{p}_ver\" WHERE item = ? AND ov {compare} ? AND ov > 0 \
                 ORDER BY ov {order} LIMIT 1"
            );
            let at: Option<i64> = db
                .prepare_cached(&sql)
                .and_then(|mut s| {
                    s.query_row((ItemRef(id), int(ov)), |row| row.get(0))
                        .optional()
                })
                .map_err(storage)?;
            match (at, direction) {
                (Some(cv), _) => cv,
                (None, Direction::Ascending) => return Ok(Vec::new()),
                (None, Direction::Descending) => {
                    let first = by_ov(db, collection, id, 0)?;
                    return Ok(first.into_iter().take(limit).collect());
                }
            }
        }
    };
    let sql = format!(
        "SELECT {COLUMNS} FROM \"{p}_ver\" WHERE item = ? AND cv {compare} ? ORDER BY cv {order} LIMIT ?"
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    many(db, collection, &sql, (ItemRef(id), bound, limit))
}

/// Rows of the collection, in the order of `cv`.
pub(crate) fn rows(
    db: &Connection,
    collection: &Collection,
    from: u64,
    limit: usize,
    bodies: Bodies,
) -> Result<Vec<VersionRow>, StoreError> {
    let p = &collection.tables.prefix;
    let sql = format!("SELECT {COLUMNS} FROM \"{p}_ver\" WHERE cv >= ? ORDER BY cv LIMIT ?");
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = many(db, collection, &sql, (int(from), limit))?;
    if bodies == Bodies::Inline {
        let (mut held, mut end) = (0, 0);
        for row in &mut rows {
            if held >= PAGE_BYTES {
                break;
            }
            inline(db, collection, row)?;
            held += row.inline_bytes();
            end += 1;
        }
        rows.truncate(end);
    }
    Ok(rows)
}

/// The version that an attempt made, sought from the newest one back.
pub(crate) fn outcome(
    db: &Connection,
    collection: &Collection,
    id: &RecordId,
    attempt: Attempt,
) -> Result<Option<VersionRow>, StoreError> {
    let p = &collection.tables.prefix;
    let sql = format!(
        "SELECT {COLUMNS} FROM \"{p}_ver\" WHERE item = ? AND attempt = ? ORDER BY cv DESC LIMIT 1"
    );
    one(db, collection, &sql, (ItemRef(id), attempt.as_bytes()))
}

/// The last commit at or before a time. Times never decrease with `cv`, so
/// halving the range finds it in a few seeks, gaps or none.
pub(crate) fn cut_at(
    db: &Connection,
    collection: &Collection,
    at: Timestamp,
) -> Result<Cut, StoreError> {
    let Some((newest, newest_at)) = collection::newest(db, collection)? else {
        return Ok(Cut {
            cv: None,
            settled: false,
        });
    };
    let at = at.as_millis();
    if newest_at <= at {
        return Ok(Cut {
            cv: Some(newest),
            settled: at < newest_at,
        });
    }
    let p = &collection.tables.prefix;
    let mut seek = db
        .prepare_cached(&format!(
            "SELECT cv, at FROM \"{p}_ver\" WHERE cv <= ? ORDER BY cv DESC LIMIT 1"
        ))
        .map_err(storage)?;
    let read = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
    // Everything up to `low` is inside, everything from `high` on outside.
    let (mut low, mut high) = (-1, int(newest));
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        match seek.query_row([middle], read).optional().map_err(storage)? {
            Some((cv, _)) if cv <= low => low = middle,
            Some((_, then)) if then <= at => low = middle,
            Some((cv, _)) => high = cv,
            None => low = middle,
        }
    }
    let found = seek.query_row([low], read).optional().map_err(storage)?;
    Ok(Cut {
        cv: found.map(|(cv, _)| uint(cv, "cv")).transpose()?,
        settled: true,
    })
}

/// How many records are stubs at a cut.
pub(crate) fn stubs_at(
    db: &Connection,
    collection: &Collection,
    cut: u64,
) -> Result<u64, StoreError> {
    let p = &collection.tables.prefix;
    let count: i64 = db
        .prepare_cached(&format!(
            "SELECT count(*) FROM \"{p}_ver\" WHERE pruned IS NOT NULL AND cv <= ?1 AND to_cv > ?1"
        ))
        .and_then(|mut s| s.query_row([int(cut)], |row| row.get(0)))
        .map_err(storage)?;
    uint(count, "count")
}

/// How much the collection holds.
pub(crate) fn size(db: &Connection, collection: &Collection) -> Result<CollectionSize, StoreError> {
    let p = &collection.tables.prefix;
    let count = |sql: &str| -> Result<u64, StoreError> {
        let n: i64 = db.query_row(sql, [], |row| row.get(0)).map_err(storage)?;
        uint(n, "count")
    };
    let newest = format!("FROM \"{p}_ver\" WHERE to_cv IS NULL AND op <> 5 AND deleted_at IS");
    Ok(CollectionSize {
        live: count(&format!("SELECT count(*) {newest} NULL"))?,
        deleted: count(&format!("SELECT count(*) {newest} NOT NULL"))?,
        versions: count(&format!("SELECT count(*) FROM \"{p}_ver\""))?,
        inline_bytes: count(&format!(
            "SELECT coalesce(sum(length(bytes)), 0) FROM \"{p}_body\""
        ))? + count(&format!(
            "SELECT coalesce(sum(length(body)), 0) FROM \"{p}_ver\""
        ))?,
        body_bytes: count(&format!("SELECT coalesce(sum(size), 0) FROM \"{p}_ver\""))?,
    })
}

//! Reading along a plan.

use std::{
    collections::BTreeMap,
    ops::{Bound, ControlFlow},
};

use rusqlite::Connection;
use serde_json::Value;
use xronox_model::{Filter, KeyRange, OrderedKey, Timestamp, json};
use xronox_store::{
    DocFind, StoreError,
    documents::{Access, Plan, Span, TupleKey, id_key},
};

use super::meta::{Index, Meta};
use crate::error::storage;

/// Above every `_id`: the first character of a key is its type, at most `8`.
const BEYOND_IDS: &str = ":";

/// A document met on the way, with its row.
pub(super) struct Met {
    pub(super) row: i64,
    pub(super) document: Value,
}

/// Reads a stored document.
pub(super) fn parse(body: &[u8]) -> Result<Value, StoreError> {
    json::parse(body).map_err(|e| StoreError::Corrupt(format!("a document: {e}")))
}

/// The key of a stored document's `_id`.
pub(super) fn stored_id(document: &Value) -> Result<OrderedKey, StoreError> {
    id_key(document).map_err(|e| StoreError::Corrupt(format!("a document: {e}")))
}

/// A page of the documents that match.
pub(super) fn find(
    db: &Connection,
    meta: &Meta,
    plan: &Plan,
    find: &DocFind,
    start: Option<&TupleKey>,
    now: Timestamp,
) -> Result<Vec<Value>, StoreError> {
    if find.limit == 0 {
        return Ok(Vec::new());
    }
    let place = |document: &Value| {
        let place = find.place(document);
        place.map_err(|e| StoreError::Corrupt(format!("a document: {e}")))
    };
    if plan.ordered {
        let mut page = Vec::new();
        let resume = find.after.as_ref().filter(|_| start.is_some());
        matching(
            db,
            meta,
            plan,
            &find.filter,
            resume.map(|after| (after, find)),
            now,
            |met| {
                match start {
                    Some(start) if place(&met.document)? <= *start => {}
                    _ => page.push(met.document),
                }
                Ok(if page.len() < find.limit {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                })
            },
        )?;
        return Ok(page);
    }
    // The first of them so far; one more than asked for falls out at the end.
    let mut first: BTreeMap<TupleKey, Value> = BTreeMap::new();
    matching(db, meta, plan, &find.filter, None, now, |met| {
        let place = place(&met.document)?;
        if start.is_some_and(|start| place <= *start) {
            return Ok(ControlFlow::Continue(()));
        }
        if first.len() == find.limit {
            if first
                .last_key_value()
                .is_some_and(|(last, _)| place > *last)
            {
                return Ok(ControlFlow::Continue(()));
            }
            first.pop_last();
        }
        first.insert(place, met.document);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(first.into_values().collect())
}

/// How many documents match.
pub(super) fn count(
    db: &Connection,
    meta: &Meta,
    plan: &Plan,
    filter: &Filter,
    now: Timestamp,
) -> Result<u64, StoreError> {
    if filter.is_empty() {
        return count_all(db, meta, now);
    }
    let mut count = 0;
    matching(db, meta, plan, filter, None, now, |_| {
        count += 1;
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(count)
}

/// How many there are, read off indexes.
fn count_all(db: &Connection, meta: &Meta, now: Timestamp) -> Result<u64, StoreError> {
    let count = |sql: &str, now: Option<i64>| -> Result<u64, StoreError> {
        let mut statement = db.prepare_cached(sql).map_err(storage)?;
        let count: i64 = match now {
            None => statement.query_row([meta.id], |row| row.get(0)),
            Some(now) => statement.query_row([meta.id, now], |row| row.get(0)),
        }
        .map_err(storage)?;
        Ok(count.unsigned_abs())
    };
    let all = count("SELECT count(*) FROM xronox_doc WHERE collection = ?", None)?;
    if meta.indexes.iter().all(|index| index.spec.ttl.is_none()) {
        return Ok(all);
    }
    let over = count(
        "SELECT count(*) FROM xronox_doc INDEXED BY xronox_doc_expires \
         WHERE collection = ? AND expires <= ?",
        Some(now.as_millis()),
    )?;
    Ok(all.saturating_sub(over))
}

/// Visits the documents along a plan that match and are not gone, each once.
/// With `resume` it may pass over those up to the place of a document in an
/// order that the plan is in.
pub(super) fn matching(
    db: &Connection,
    meta: &Meta,
    plan: &Plan,
    filter: &Filter,
    resume: Option<(&Value, &DocFind)>,
    now: Timestamp,
    mut visit: impl FnMut(Met) -> Result<ControlFlow<()>, StoreError>,
) -> Result<(), StoreError> {
    match &plan.access {
        Access::Ids(ranges) => {
            let resume = resume.map(|(after, _)| stored_id(after)).transpose()?;
            let ranges: Vec<&KeyRange> = in_turn(ranges, plan.reverse);
            for range in ranges {
                let ends = ends(range, resume.as_ref(), plan.reverse);
                let flow = by_id(db, meta, plan.reverse, ends, now, |row, body| {
                    let document = parse(body)?;
                    if filter.matches(&document) {
                        visit(Met { row, document })
                    } else {
                        Ok(ControlFlow::Continue(()))
                    }
                })?;
                if flow.is_break() {
                    return Ok(());
                }
            }
        }
        Access::Keys { index, spans, .. } => {
            let Some(index) = meta.indexes.get(*index) else {
                return Err(StoreError::Corrupt("a plan names no index".to_owned()));
            };
            let resume = resume.and_then(|(after, order)| {
                let mut id = TupleKey::default();
                id.push(&id_key(after).ok()?, index.spec.id_direction());
                let entry = plan.entry_at(&index.spec, after, order)?;
                Some([entry.as_slice(), id.as_bytes()].concat())
            });
            for span in in_turn(spans, plan.reverse) {
                let mut span = (span.start.as_slice(), span.end.as_slice());
                if let Some(resume) = &resume {
                    if plan.reverse {
                        // The entry itself is passed over by its place.
                        span.1 = span.1.min(resume);
                    } else {
                        span.0 = span.0.max(resume);
                    }
                }
                let flow = by_key(db, index, plan.reverse, span, now, |row, key, body| {
                    let document = parse(body)?;
                    if filter.matches(&document) && stands_here(index, spans, &document, key)? {
                        visit(Met { row, document })
                    } else {
                        Ok(ControlFlow::Continue(()))
                    }
                })?;
                if flow.is_break() {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

fn in_turn<T>(all: &[T], reverse: bool) -> Vec<&T> {
    let mut all: Vec<&T> = all.iter().collect();
    if reverse {
        all.reverse();
    }
    all
}

/// The ids between which a range lies; the filter sees to its very ends.
fn ends<'k>(
    range: &'k KeyRange,
    resume: Option<&'k OrderedKey>,
    reverse: bool,
) -> (&'k str, &'k str) {
    let key = |bound: &'k Bound<OrderedKey>, unbounded| match bound {
        Bound::Included(key) | Bound::Excluded(key) => key.as_str(),
        Bound::Unbounded => unbounded,
    };
    let (mut least, mut most) = (key(&range.lower, ""), key(&range.upper, BEYOND_IDS));
    if let Some(resume) = resume {
        if reverse {
            most = most.min(resume.as_str());
        } else {
            least = least.max(resume.as_str());
        }
    }
    (least, most)
}

/// Whether this is the first of the document's entries in the spans, so that
/// one with several is met once.
fn stands_here(
    index: &Index,
    spans: &[Span],
    document: &Value,
    key: &[u8],
) -> Result<bool, StoreError> {
    if !index.multi {
        return Ok(true);
    }
    let entries = index.entries(document, &stored_id(document)?)?;
    let within = entries
        .iter()
        .filter(|entry| spans.iter().any(|span| span.contains(entry)));
    Ok(within.min().is_some_and(|first| first == key))
}

fn by_id(
    db: &Connection,
    meta: &Meta,
    reverse: bool,
    (least, most): (&str, &str),
    now: Timestamp,
    mut visit: impl FnMut(i64, &[u8]) -> Result<ControlFlow<()>, StoreError>,
) -> Result<ControlFlow<()>, StoreError> {
    let sql = if reverse {
        "SELECT doc, body FROM xronox_doc WHERE collection = ?1 AND id >= ?2 AND id <= ?3 \
         AND (expires IS NULL OR expires > ?4) ORDER BY id DESC"
    } else {
        "SELECT doc, body FROM xronox_doc WHERE collection = ?1 AND id >= ?2 AND id <= ?3 \
         AND (expires IS NULL OR expires > ?4) ORDER BY id"
    };
    let mut statement = db.prepare_cached(sql).map_err(storage)?;
    let mut rows = statement
        .query((meta.id, least, most, now.as_millis()))
        .map_err(storage)?;
    while let Some(row) = rows.next().map_err(storage)? {
        let id = row.get(0).map_err(storage)?;
        let body = row.get_ref(1).map_err(storage)?;
        let body = body
            .as_blob()
            .map_err(|e| StoreError::Corrupt(e.to_string()))?;
        if visit(id, body)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

fn by_key(
    db: &Connection,
    index: &Index,
    reverse: bool,
    (start, end): (&[u8], &[u8]),
    now: Timestamp,
    mut visit: impl FnMut(i64, &[u8], &[u8]) -> Result<ControlFlow<()>, StoreError>,
) -> Result<ControlFlow<()>, StoreError> {
    let sql = if reverse {
        "SELECT d.doc, k.key, d.body FROM xronox_doc_key k CROSS JOIN xronox_doc d ON d.doc = k.doc \
         WHERE k.idx = ?1 AND k.key >= ?2 AND k.key < ?3 \
         AND (d.expires IS NULL OR d.expires > ?4) ORDER BY k.key DESC"
    } else {
        "SELECT d.doc, k.key, d.body FROM xronox_doc_key k CROSS JOIN xronox_doc d ON d.doc = k.doc \
         WHERE k.idx = ?1 AND k.key >= ?2 AND k.key < ?3 \
         AND (d.expires IS NULL OR d.expires > ?4) ORDER BY k.key"
    };
    let mut statement = db.prepare_cached(sql).map_err(storage)?;
    let mut rows = statement
        .query((index.id, start, end, now.as_millis()))
        .map_err(storage)?;
    while let Some(row) = rows.next().map_err(storage)? {
        let id = row.get(0).map_err(storage)?;
        let damaged = |e: rusqlite::types::FromSqlError| StoreError::Corrupt(e.to_string());
        let key = row
            .get_ref(1)
            .map_err(storage)?
            .as_blob()
            .map_err(damaged)?;
        let body = row
            .get_ref(2)
            .map_err(storage)?
            .as_blob()
            .map_err(damaged)?;
        if visit(id, key, body)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

//! What a plain collection is: its number and its indexes.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use rand::RngCore;
use rusqlite::{Connection, OptionalExtension};
use serde_json::Value;
use xronox_model::{CollectionName, OrderedKey, json};
use xronox_store::{
    DocIndex, StoreError,
    documents::{Indexed, TupleKey},
};

use crate::error::storage;

/// A plain collection as it was at one epoch.
#[derive(Debug)]
pub(super) struct Meta {
    pub(super) id: i64,
    pub(super) epoch: i64,
    /// By name.
    pub(super) indexes: Vec<Index>,
}

#[derive(Debug, Clone)]
pub(super) struct Index {
    pub(super) id: i64,
    pub(super) spec: DocIndex,
    /// Whether some document ever had several keys.
    pub(super) multi: bool,
}

impl Meta {
    /// What plans go by.
    pub(super) fn indexed(&self) -> Vec<Indexed<'_>> {
        let indexes = self.indexes.iter();
        indexes
            .map(|index| Indexed {
                spec: &index.spec,
                multi: index.multi,
            })
            .collect()
    }

    /// From when on a document is gone.
    pub(super) fn expires(&self, document: &Value) -> Option<i64> {
        let expiries = self
            .indexes
            .iter()
            .filter_map(|index| index.spec.expiry(document));
        expiries.min().map(xronox_model::Timestamp::as_millis)
    }
}

impl Index {
    /// The entries of a document that is stored.
    pub(super) fn entries(
        &self,
        document: &Value,
        id: &OrderedKey,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        let keys = self.spec.keys(document);
        let keys = keys.map_err(|e| StoreError::Corrupt(format!("a document: {e}")))?;
        let entry = |mut tuple: TupleKey| {
            tuple.push(id, self.spec.id_direction());
            tuple.into_bytes()
        };
        Ok(self.spec.tuples(&keys).into_iter().map(entry).collect())
    }
}

/// Collections read before. An epoch is never drawn twice, so whatever stands
/// here under one is right for ever, even if its transaction was undone.
#[derive(Debug, Default)]
pub(super) struct Cache(Mutex<HashMap<CollectionName, Arc<Meta>>>);

/// Beyond this many collections the cache begins anew.
const MAX_CACHED: usize = 10_000;

impl Cache {
    /// A collection, if it is there.
    pub(super) fn load(
        &self,
        db: &Connection,
        name: &CollectionName,
    ) -> Result<Option<Arc<Meta>>, StoreError> {
        let found = db
            .prepare_cached("SELECT id, epoch FROM xronox_doc_collection WHERE name = ?")
            .and_then(|mut statement| {
                statement
                    .query_row([name.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
                    .optional()
            })
            .map_err(storage)?;
        let Some((id, epoch)) = found else {
            return Ok(None);
        };
        if let Some(meta) = self.0.lock().get(name)
            && meta.epoch == epoch
        {
            return Ok(Some(Arc::clone(meta)));
        }
        let indexes = indexes(db, id)?;
        let meta = Arc::new(Meta { id, epoch, indexes });
        let mut cached = self.0.lock();
        if cached.len() >= MAX_CACHED {
            cached.clear();
        }
        cached.insert(name.clone(), Arc::clone(&meta));
        Ok(Some(meta))
    }

    /// A collection, made if it is not there.
    pub(super) fn load_or_make(
        &self,
        db: &Connection,
        name: &CollectionName,
    ) -> Result<Arc<Meta>, StoreError> {
        if let Some(meta) = self.load(db, name)? {
            return Ok(meta);
        }
        db.prepare_cached("INSERT INTO xronox_doc_collection (name, epoch) VALUES (?, ?)")
            .and_then(|mut statement| statement.execute((name.as_str(), draw())))
            .map_err(storage)?;
        let made = self.load(db, name)?;
        made.ok_or_else(|| StoreError::Corrupt("a collection is not where it was put".to_owned()))
    }
}

/// Draws a new epoch, after a change of the collection's indexes.
pub(super) fn renew(db: &Connection, collection: i64) -> Result<(), StoreError> {
    db.prepare_cached("UPDATE xronox_doc_collection SET epoch = ? WHERE id = ?")
        .and_then(|mut statement| statement.execute((draw(), collection)))
        .map_err(storage)?;
    Ok(())
}

fn draw() -> i64 {
    rand::rng().next_u64().cast_signed()
}

/// The plain collections, by name.
pub(super) fn names(db: &Connection) -> Result<Vec<CollectionName>, StoreError> {
    let mut statement = db
        .prepare_cached("SELECT name FROM xronox_doc_collection ORDER BY name")
        .map_err(storage)?;
    let names = statement
        .query_map([], |row| row.get::<_, String>(0))
        .map_err(storage)?;
    names
        .map(|name| {
            let name = name.map_err(storage)?;
            CollectionName::try_from(name).map_err(|e| StoreError::Corrupt(e.to_string()))
        })
        .collect()
}

/// The name of a collection.
pub(super) fn name_of(db: &Connection, collection: i64) -> Result<CollectionName, StoreError> {
    let name: String = db
        .prepare_cached("SELECT name FROM xronox_doc_collection WHERE id = ?")
        .and_then(|mut statement| statement.query_row([collection], |row| row.get(0)))
        .map_err(storage)?;
    CollectionName::try_from(name).map_err(|e| StoreError::Corrupt(e.to_string()))
}

fn indexes(db: &Connection, collection: i64) -> Result<Vec<Index>, StoreError> {
    let mut statement = db
        .prepare_cached(
            "SELECT id, spec, multi FROM xronox_doc_index WHERE collection = ? ORDER BY name",
        )
        .map_err(storage)?;
    let mut rows = statement.query([collection]).map_err(storage)?;
    let mut out = Vec::new();
    while let Some(row) = rows.next().map_err(storage)? {
        let spec: String = row.get(1).map_err(storage)?;
        let spec = json::parse(spec.as_bytes())
            .map_err(|e| e.to_string())
            .and_then(|spec| DocIndex::from_json(&spec).map_err(|e| e.to_string()))
            .map_err(|e| StoreError::Corrupt(format!("a stored index: {e}")))?;
        out.push(Index {
            id: row.get(0).map_err(storage)?,
            spec,
            multi: row.get(2).map_err(storage)?,
        });
    }
    Ok(out)
}

//! What a file says of one collection.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension};
use xronox_model::{CollectionName, IndexSpec, Path};
use xronox_store::{
    Index, Indexes, StoreError,
    ruling::{self, always_indexed},
};

use crate::{
    error::storage,
    keys::Fields,
    row::{damaged, uint},
    schema::Tables,
};

/// A collection: its statements, its indexes and the numbers of their fields.
#[derive(Debug)]
pub(crate) struct Collection {
    pub(crate) tables: Tables,
    /// What the contract says of the indexes.
    pub(crate) described: Indexes,
    pub(crate) indexes: Vec<StoredIndex>,
    pub(crate) fields: Arc<Fields>,
}

/// An index as the file describes it.
#[derive(Debug, Clone)]
pub(crate) struct StoredIndex {
    pub(crate) number: i64,
    pub(crate) spec: IndexSpec,
    pub(crate) ready: bool,
    /// Whether a record ever had several keys.
    pub(crate) multi: bool,
}

impl Collection {
    /// The collection as the connection sees it; `None` before its first write.
    pub(crate) fn load(
        db: &Connection,
        name: &CollectionName,
    ) -> Result<Option<Arc<Self>>, StoreError> {
        let epoch: Option<i64> = db
            .prepare_cached("SELECT epoch FROM xronox_collection WHERE name = ?")
            .and_then(|mut s| s.query_row([name.as_str()], |row| row.get(0)).optional())
            .map_err(storage)?;
        let Some(epoch) = epoch else {
            return Ok(None);
        };
        let mut statement = db
            .prepare_cached(
                "SELECT id, spec, ready, multi FROM xronox_index WHERE collection = ? ORDER BY name",
            )
            .map_err(storage)?;
        let rows = statement
            .query_map([name.as_str()], |row| {
                Ok((
                    row.get(0)?,
                    row.get::<_, String>(1)?,
                    row.get(2)?,
                    row.get(3)?,
                ))
            })
            .map_err(storage)?;
        let mut indexes = Vec::new();
        for row in rows {
            let (number, spec, ready, multi) = row.map_err(storage)?;
            indexes.push(StoredIndex {
                number,
                spec: serde_json::from_str(&spec).map_err(|_| damaged("index"))?,
                ready,
                multi,
            });
        }
        let fields = Fields::new(
            indexes
                .iter()
                .filter(|index| !index.spec.unique)
                .filter_map(|index| Some((index.number, index.spec.fields.first()?.clone()))),
        );
        let described = Indexes {
            epoch: uint(epoch, "epoch")?,
            list: indexes
                .iter()
                .map(|index: &StoredIndex| Index {
                    spec: index.spec.clone(),
                    ready: index.ready,
                })
                .collect(),
        };
        Ok(Some(Arc::new(Self {
            tables: Tables::new(name),
            described,
            indexes,
            fields,
        })))
    }

    /// The collection, made if it is not there.
    pub(crate) fn load_or_make(
        db: &Connection,
        name: &CollectionName,
    ) -> Result<Arc<Self>, StoreError> {
        if let Some(found) = Self::load(db, name)? {
            return Ok(found);
        }
        let tables = Tables::new(name);
        db.execute_batch(&tables.create()).map_err(storage)?;
        db.execute(
            "INSERT INTO xronox_collection (name, prefix, epoch) VALUES (?, ?, 0)",
            (name.as_str(), &tables.prefix),
        )
        .map_err(storage)?;
        Ok(Arc::new(Self {
            tables,
            described: Indexes::default(),
            indexes: Vec::new(),
            fields: Arc::default(),
        }))
    }

    /// The index of a field that rows carry keys of.
    pub(crate) fn index_of(&self, field: &Path) -> Option<&StoredIndex> {
        self.indexes
            .iter()
            .find(|index| !index.spec.unique && index.spec.fields.first() == Some(field))
    }

    /// The number of the unique index of this name.
    pub(crate) fn unique_number(&self, name: &str) -> Option<i64> {
        self.indexes
            .iter()
            .find(|index| index.spec.unique && index.spec.name() == name)
            .map(|index| index.number)
    }

    pub(crate) fn has_unique(&self) -> bool {
        self.indexes.iter().any(|index| index.spec.unique)
    }
}

/// Declares an index. Gives whether anything changed.
pub(crate) fn add_index(
    db: &Connection,
    name: &CollectionName,
    spec: &IndexSpec,
) -> Result<bool, StoreError> {
    ruling::check_spec(spec)?;
    let collection = Collection::load_or_make(db, name)?;
    let known = collection.indexes.iter().any(|index| index.spec == *spec);
    if known || (!spec.unique && spec.fields.iter().all(always_indexed)) {
        return Ok(false);
    }
    let text = serde_json::to_string(spec).map_err(|_| damaged("index"))?;
    db.execute(
        "INSERT INTO xronox_index (collection, name, spec, ready, multi) VALUES (?, ?, ?, 0, 0)",
        (name.as_str(), spec.name(), text),
    )
    .map_err(storage)?;
    bump_epoch(db, name)?;
    Ok(true)
}

pub(crate) fn bump_epoch(db: &Connection, name: &CollectionName) -> Result<(), StoreError> {
    db.execute(
        "UPDATE xronox_collection SET epoch = epoch + 1 WHERE name = ?",
        [name.as_str()],
    )
    .map_err(storage)?;
    Ok(())
}

/// Notes that an index met a record with several keys.
pub(crate) fn set_multi(db: &Connection, number: i64) -> Result<(), StoreError> {
    db.prepare_cached("UPDATE xronox_index SET multi = 1 WHERE id = ?")
        .and_then(|mut s| s.execute([number]))
        .map_err(storage)?;
    Ok(())
}

/// What one connection has read of the collections, until something changes them.
#[derive(Debug, Default)]
pub(crate) struct Cache(Mutex<HashMap<CollectionName, Arc<Collection>>>);

impl Cache {
    pub(crate) fn get(&self, name: &CollectionName) -> Option<Arc<Collection>> {
        self.0.lock().get(name).cloned()
    }

    pub(crate) fn put(&self, name: &CollectionName, collection: &Arc<Collection>) {
        self.0.lock().insert(name.clone(), Arc::clone(collection));
    }

    pub(crate) fn forget(&self, name: &CollectionName) {
        self.0.lock().remove(name);
    }

    pub(crate) fn clear(&self) {
        self.0.lock().clear();
    }
}

/// Counts what another connection has committed since it was last asked.
pub(crate) fn data_version(db: &Connection) -> Result<i64, StoreError> {
    db.prepare_cached("PRAGMA data_version")
        .and_then(|mut s| s.query_row([], |row| row.get(0)))
        .map_err(storage)
}

/// Removes a collection.
pub(crate) fn drop(db: &Connection, name: &CollectionName) -> Result<(), StoreError> {
    let Some(collection) = Collection::load(db, name)? else {
        return Ok(());
    };
    db.execute_batch(&collection.tables.drop())
        .map_err(storage)?;
    for statement in [
        "DELETE FROM xronox_collection WHERE name = ?",
        "DELETE FROM xronox_index WHERE collection = ?",
        "DELETE FROM xronox_idempotency WHERE collection = ?",
    ] {
        db.execute(statement, [name.as_str()]).map_err(storage)?;
    }
    Ok(())
}

/// The newest `cv` and its time.
pub(crate) fn newest(
    db: &Connection,
    collection: &Collection,
) -> Result<Option<(u64, i64)>, StoreError> {
    let found: Option<(i64, i64)> = db
        .prepare_cached(&collection.tables.newest)
        .and_then(|mut s| {
            s.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()
        })
        .map_err(storage)?;
    found.map(|(cv, at)| Ok((uint(cv, "cv")?, at))).transpose()
}

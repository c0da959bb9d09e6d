//! The reference catalog: the contract in its plainest form.

mod check;
mod collection;
mod commit;
mod find;
mod indexing;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use parking_lot::{MappedMutexGuard, Mutex, MutexGuard};
use rand::RngCore;
use xronox_model::{
    Attempt, Body, CollectionName, Direction, FieldKeys, IndexSpec, Location, Op, Path, RecordId,
    Timestamp, UniqueKey, VersionRow,
};

use crate::{
    Batch, Bodies, Capabilities, Catalog, Clock, CollectionSize, Commit, Cut, Find, Found, Indexes,
    Marker, Outcome, PAGE_BYTES, StoreError, Taken, Which, ruling,
};
use collection::Collection;

/// The version of what a [`MemoryCatalog`] would store.
const FORMAT: u32 = 1;

const CAPABILITIES: Capabilities = Capabilities {
    transactions: true,
    durable: false,
    shared: false,
    max_inline: 64 << 20,
    max_indexed: usize::MAX,
};

type Collections = BTreeMap<CollectionName, Collection>;

/// A catalog in memory, simple rather than fast: what every other backend is
/// compared with.
#[derive(Debug)]
pub struct MemoryCatalog {
    marker: Marker,
    clock: Arc<dyn Clock>,
    /// `None` once closed.
    collections: Mutex<Option<Collections>>,
    /// Changed only while the collections are locked.
    sealed: AtomicBool,
}

impl MemoryCatalog {
    /// An empty database.
    pub fn new(database: &str, clock: Arc<dyn Clock>) -> Self {
        let mut id = [0; 12];
        rand::rng().fill_bytes(&mut id);
        Self {
            marker: Marker {
                database: database.to_owned(),
                id: Attempt::from_bytes(id).to_string(),
                format: FORMAT,
            },
            clock,
            collections: Mutex::new(Some(Collections::new())),
            sealed: AtomicBool::new(false),
        }
    }

    fn open(&self) -> Result<MappedMutexGuard<'_, Collections>, StoreError> {
        MutexGuard::try_map(self.collections.lock(), Option::as_mut).map_err(|_| StoreError::Closed)
    }

    fn open_to_write(&self) -> Result<MappedMutexGuard<'_, Collections>, StoreError> {
        let open = self.open()?;
        if self.sealed.load(Ordering::Relaxed) {
            return Err(StoreError::Sealed);
        }
        Ok(open)
    }

    /// Looks at one collection, an empty one if there is none of the name.
    fn look<T>(
        &self,
        collection: &CollectionName,
        look: impl FnOnce(&Collection) -> T,
    ) -> Result<T, StoreError> {
        Ok(match self.open()?.get(collection) {
            Some(collection) => look(collection),
            None => look(&Collection::default()),
        })
    }
}

/// A row as a read gives it.
fn shown(row: &VersionRow, bodies: Bodies) -> VersionRow {
    let mut row = row.clone();
    if let (Bodies::Omit, Some(body)) = (bodies, &mut row.body) {
        body.inline = None;
    }
    row
}

#[async_trait]
impl Catalog for MemoryCatalog {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn marker(&self) -> &Marker {
        &self.marker
    }

    async fn commit(
        &self,
        batches: &[(CollectionName, Batch)],
    ) -> Result<Vec<Vec<Outcome>>, StoreError> {
        ruling::check_batches(batches, CAPABILITIES)?;
        commit::commit(&mut *self.open_to_write()?, batches, self.clock.now())
    }

    async fn append_exact(
        &self,
        collection: &CollectionName,
        rows: Vec<VersionRow>,
    ) -> Result<(), StoreError> {
        for body in rows.iter().filter_map(|row| row.body.as_ref()) {
            ruling::check_body(body, CAPABILITIES.max_inline)?;
        }
        let mut collections = self.open_to_write()?;
        let collection = collections.entry(collection.clone()).or_default();
        let taken = rows
            .into_iter()
            .try_for_each(|row| collection.take_exact(row));
        collection.settle(taken.is_ok());
        taken
    }

    async fn head(
        &self,
        collection: &CollectionName,
        id: &RecordId,
        bodies: Bodies,
    ) -> Result<Option<VersionRow>, StoreError> {
        self.look(collection, |c| Some(shown(c.newest_of(id)?, bodies)))
    }

    async fn version(
        &self,
        collection: &CollectionName,
        id: &RecordId,
        which: Which,
        bodies: Bodies,
    ) -> Result<Option<VersionRow>, StoreError> {
        self.look(collection, |c| {
            let row = match which {
                Which::Ov(ov) => c.version(id, ov),
                Which::AsOf(cv) => c.versions(id).find(|row| collection::valid_at(row, cv)),
            };
            Some(shown(row?, bodies))
        })
    }

    async fn history(
        &self,
        collection: &CollectionName,
        id: &RecordId,
        from: Option<u64>,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<VersionRow>, StoreError> {
        self.look(collection, |c| {
            let mut rows: Vec<&VersionRow> = c.versions(id).collect();
            match direction {
                Direction::Ascending => rows.retain(|row| from.is_none_or(|from| row.ov >= from)),
                Direction::Descending => {
                    rows.retain(|row| from.is_none_or(|from| row.ov <= from));
                    rows.reverse();
                }
            }
            rows.into_iter()
                .take(limit)
                .map(|row| shown(row, Bodies::Omit))
                .collect()
        })
    }

    async fn rows(
        &self,
        collection: &CollectionName,
        from: u64,
        limit: usize,
        bodies: Bodies,
    ) -> Result<Vec<VersionRow>, StoreError> {
        self.look(collection, |c| {
            let mut held = 0;
            c.rows
                .range(from..)
                .take(limit)
                .map(|(_, row)| shown(row, bodies))
                .take_while(|row| {
                    let room = held < PAGE_BYTES;
                    held += row.inline_bytes();
                    room
                })
                .collect()
        })
    }

    async fn find(&self, collection: &CollectionName, find: &Find) -> Result<Found, StoreError> {
        self.look(collection, |c| find::find(c, find))?
    }

    async fn stubs_at(&self, collection: &CollectionName, cut: u64) -> Result<u64, StoreError> {
        self.look(collection, |c| {
            let stub = |row: &&VersionRow| row.pruned.is_some() && collection::valid_at(row, cut);
            c.rows.values().filter(stub).count() as u64
        })
    }

    async fn outcome(
        &self,
        collection: &CollectionName,
        id: &RecordId,
        attempt: Attempt,
    ) -> Result<Option<VersionRow>, StoreError> {
        self.look(collection, |c| {
            let row = c.versions(id).find(|row| row.attempt == attempt)?;
            Some(shown(row, Bodies::Omit))
        })
    }

    async fn newest(&self, collection: &CollectionName) -> Result<Option<Commit>, StoreError> {
        self.look(collection, |c| {
            Some(commit::in_short(c.newest()?, Vec::new()))
        })
    }

    async fn cut_at(&self, collection: &CollectionName, at: Timestamp) -> Result<Cut, StoreError> {
        self.look(collection, |c| Cut {
            cv: c
                .rows
                .values()
                .rev()
                .find(|row| row.at <= at)
                .map(|row| row.cv),
            settled: c.newest().is_some_and(|newest| at < newest.at),
        })
    }

    async fn lookup_unique(
        &self,
        collection: &CollectionName,
        key: &UniqueKey,
    ) -> Result<Option<RecordId>, StoreError> {
        self.look(collection, |c| c.holder(key).cloned())
    }

    async fn names_key(&self, key: &str) -> Result<bool, StoreError> {
        let names = |row: &VersionRow| {
            let mut locations = row.body.iter().flat_map(Body::locations);
            locations.any(
                |location| matches!(location, Location::Object { key: named, .. } if named == key),
            )
        };
        Ok(self
            .open()?
            .values()
            .flat_map(|c| c.rows.values())
            .any(names))
    }

    async fn indexes(&self, collection: &CollectionName) -> Result<Indexes, StoreError> {
        self.look(collection, |c| c.indexes.clone())
    }

    async fn add_index(
        &self,
        collection: &CollectionName,
        spec: &IndexSpec,
    ) -> Result<Indexes, StoreError> {
        self.open_to_write()?
            .entry(collection.clone())
            .or_default()
            .add_index(spec)
    }

    async fn fill_index(
        &self,
        collection: &CollectionName,
        field: &Path,
        rows: Vec<(u64, FieldKeys)>,
    ) -> Result<(), StoreError> {
        self.open_to_write()?
            .entry(collection.clone())
            .or_default()
            .fill_index(field, rows)
    }

    async fn fill_unique(
        &self,
        collection: &CollectionName,
        keys: Vec<(RecordId, u64, UniqueKey)>,
    ) -> Result<Vec<Taken>, StoreError> {
        self.open_to_write()?
            .entry(collection.clone())
            .or_default()
            .fill_unique(keys)
    }

    async fn index_ready(
        &self,
        collection: &CollectionName,
        name: &str,
    ) -> Result<Indexes, StoreError> {
        self.open_to_write()?
            .entry(collection.clone())
            .or_default()
            .index_ready(name)
    }

    async fn drop_index(&self, collection: &CollectionName, name: &str) -> Result<(), StoreError> {
        self.open_to_write()?
            .entry(collection.clone())
            .or_default()
            .drop_index(name);
        Ok(())
    }

    async fn collections(&self) -> Result<Vec<CollectionName>, StoreError> {
        let written =
            |(name, c): (&CollectionName, &Collection)| (!c.rows.is_empty()).then(|| name.clone());
        Ok(self.open()?.iter().filter_map(written).collect())
    }

    async fn drop_collection(&self, collection: &CollectionName) -> Result<(), StoreError> {
        self.open_to_write()?.remove(collection);
        Ok(())
    }

    async fn size(&self, collection: &CollectionName) -> Result<CollectionSize, StoreError> {
        self.look(collection, |c| {
            let mut size = CollectionSize {
                versions: c.rows.len() as u64,
                ..CollectionSize::default()
            };
            for row in c.rows.values() {
                if row.to_cv.is_none() && row.op != Op::Purge {
                    *(if row.live() {
                        &mut size.live
                    } else {
                        &mut size.deleted
                    }) += 1;
                }
                if let Some(body) = &row.body {
                    size.body_bytes += body.size;
                    size.inline_bytes += body.inline.as_ref().map_or(0, |bytes| bytes.len() as u64);
                }
            }
            size
        })
    }

    async fn check(&self, collection: &CollectionName) -> Result<Vec<String>, StoreError> {
        self.look(collection, check::check)
    }

    async fn seal(&self) -> Result<(), StoreError> {
        let _locked = self.open()?;
        self.sealed.store(true, Ordering::Relaxed);
        Ok(())
    }

    async fn unseal(&self) -> Result<(), StoreError> {
        let _locked = self.open()?;
        self.sealed.store(false, Ordering::Relaxed);
        Ok(())
    }

    async fn is_sealed(&self) -> Result<bool, StoreError> {
        let _locked = self.open()?;
        Ok(self.sealed.load(Ordering::Relaxed))
    }

    async fn close(&self) -> Result<(), StoreError> {
        *self.collections.lock() = None;
        Ok(())
    }
}

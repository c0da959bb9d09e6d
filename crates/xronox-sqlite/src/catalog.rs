//! The catalog contract on a SQLite file.

use std::{
    path::{Path as FilePath, PathBuf},
    sync::{Arc, atomic::Ordering},
};

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension};
use xronox_model::{
    Attempt, CollectionName, Direction, FieldKeys, IndexSpec, Path, RecordId, Timestamp, UniqueKey,
    VersionRow,
};
use xronox_store::{
    Access, Batch, Bodies, Capabilities, Catalog, Clock, CollectionSize, Commit, Cut, Find, Found,
    Indexes, Marker, Outcome, StoreError, Taken, Which, ruling,
};

use crate::{
    append, check,
    collection::{self, Cache, Collection},
    commit,
    error::storage,
    file::File,
    fill, find, read,
    row::Item,
    schema,
    writer::Known,
};

pub(crate) const CAPABILITIES: Capabilities = Capabilities {
    transactions: true,
    durable: true,
    shared: true,
    max_inline: 512 * 1024 * 1024,
    max_indexed: usize::MAX,
};

/// A database in one SQLite file: the versioned collections of a
/// [`Catalog`], and (see [`documents`](Self::documents)) plain ones.
///
/// The file may be opened by several processes of one machine. Every commit
/// is synced to disk before it is acknowledged.
#[derive(Debug, Clone)]
pub struct SqliteCatalog {
    pub(crate) file: Arc<File>,
    pub(crate) clock: Arc<dyn Clock>,
    known: Arc<Known>,
    seen: Arc<Cache>,
    marker: Arc<Marker>,
}

impl SqliteCatalog {
    /// Opens the database file at `path`, making it (and the folders above
    /// it) if it is not there; `database` is then its name.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] if the file cannot be opened or written,
    /// [`StoreError::Corrupt`] if it is damaged or no database of ours,
    /// [`StoreError::Unsupported`] if a newer version wrote it or it lies on a
    /// network file system.
    pub async fn open(
        path: impl Into<PathBuf>,
        database: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let (path, database) = (path.into(), database.to_owned());
        let opened = tokio::task::spawn_blocking(move || {
            let file = File::open(&path, &database)?;
            let marker = file.read(schema::marker)?;
            Ok::<_, StoreError>((file, marker))
        });
        let (file, marker) = opened.await.map_err(|e| StoreError::Unavailable {
            message: "opening the database was cut short".to_owned(),
            source: Some(e.into()),
        })??;
        Ok(Self {
            file,
            clock,
            known: Arc::default(),
            seen: Arc::default(),
            marker: Arc::new(marker),
        })
    }

    /// Writes a copy of the database as of now to a new file, while readers
    /// and writers go on.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] if there is a file at `path` already,
    /// [`StoreError::Unavailable`] if it cannot be written.
    pub async fn backup(&self, path: impl AsRef<FilePath>) -> Result<(), StoreError> {
        self.file.backup(path.as_ref().to_owned()).await
    }

    /// Removes the database file at `path` with everything beside it. Whoever
    /// still has it open keeps what it has and cannot be reached any more, so
    /// it is best [sealed](Catalog::seal) before.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] if a file cannot be removed; remove it again.
    pub async fn remove(path: impl Into<PathBuf>) -> Result<(), StoreError> {
        let path = path.into();
        let removed = tokio::task::spawn_blocking(move || File::remove(&path));
        removed.await.map_err(|e| StoreError::Unavailable {
            message: "removing the database was cut short".to_owned(),
            source: Some(e.into()),
        })?
    }

    async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection, &Known) -> Result<T, StoreError> + Send + 'static,
    {
        let (known, taken_back) = (Arc::clone(&self.known), self.file.taken_back());
        self.file
            .write(move |db| {
                known.begin(db, taken_back.load(Ordering::Relaxed))?;
                work(db, &known)
            })
            .await
    }

    /// What readers know of a collection: made once, and again when an index
    /// was added or the collection dropped.
    fn collection(
        &self,
        db: &Connection,
        name: &CollectionName,
    ) -> Result<Option<Arc<Collection>>, StoreError> {
        if let Some(seen) = self.seen.get(name) {
            return Ok(Some(seen));
        }
        self.fresh(db, name)
    }

    fn fresh(
        &self,
        db: &Connection,
        name: &CollectionName,
    ) -> Result<Option<Arc<Collection>>, StoreError> {
        let loaded = Collection::load(db, name)?;
        match &loaded {
            Some(collection) => self.seen.put(name, collection),
            None => self.seen.forget(name),
        }
        Ok(loaded)
    }

    /// A look-up on this thread; a collection that is not there reads as empty.
    fn look<T: Default>(
        &self,
        name: &CollectionName,
        work: impl Fn(&Connection, &Collection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.file.read(|db| self.on(db, name, &work))
    }

    fn on<T: Default>(
        &self,
        db: &Connection,
        name: &CollectionName,
        work: &impl Fn(&Connection, &Collection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let Some(collection) = self.collection(db, name)? else {
            return Ok(T::default());
        };
        match work(db, &collection) {
            // Another process dropped it, and maybe made it anew.
            Err(StoreError::Unavailable {
                source: Some(source),
                ..
            }) if source
                .downcast_ref::<rusqlite::Error>()
                .is_some_and(crate::error::no_such_table) =>
            {
                match self.fresh(db, name)? {
                    Some(collection) => work(db, &collection),
                    None => Ok(T::default()),
                }
            }
            done => done,
        }
    }

    /// A longer read on a thread for blocking work.
    async fn scan<T, F>(&self, name: &CollectionName, work: F) -> Result<T, StoreError>
    where
        T: Default + Send + 'static,
        F: Fn(&Connection, &Collection) -> Result<T, StoreError> + Send + 'static,
    {
        let (this, name) = (self.clone(), name.clone());
        self.file.scan(move |db| this.on(db, &name, &work)).await
    }

    async fn change_indexes<F>(
        &self,
        name: &CollectionName,
        change: F,
    ) -> Result<Indexes, StoreError>
    where
        F: FnOnce(&Connection, &CollectionName) -> Result<(), StoreError> + Send + 'static,
    {
        let owned = name.clone();
        let done = self
            .write(move |db, known| {
                change(db, &owned)?;
                known.forget(&owned);
                Ok(Collection::load(db, &owned)?.map(|c| c.described.clone()))
            })
            .await;
        self.seen.forget(name);
        done.map(Option::unwrap_or_default)
    }
}

#[async_trait]
impl Catalog for SqliteCatalog {
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
        let clock = Arc::clone(&self.clock);
        let batches = batches.to_vec();
        self.write(move |db, known| commit::commit(db, known, &*clock, &batches))
            .await
    }

    async fn append_exact(
        &self,
        collection: &CollectionName,
        rows: Vec<VersionRow>,
    ) -> Result<(), StoreError> {
        for body in rows.iter().filter_map(|row| row.body.as_ref()) {
            ruling::check_body(body, CAPABILITIES.max_inline)?;
        }
        let name = collection.clone();
        self.write(move |db, known| {
            let collection = known.collection(db, &name)?;
            append::exact(db, &name, &collection, rows)
        })
        .await
    }

    async fn head(
        &self,
        collection: &CollectionName,
        id: &RecordId,
        bodies: Bodies,
    ) -> Result<Option<VersionRow>, StoreError> {
        self.look(collection, |db, collection| match bodies {
            Bodies::Inline => read::head_with_body(db, collection, id),
            Bodies::Omit => read::head(db, collection, id),
        })
    }

    async fn version(
        &self,
        collection: &CollectionName,
        id: &RecordId,
        which: Which,
        bodies: Bodies,
    ) -> Result<Option<VersionRow>, StoreError> {
        self.look(collection, |db, collection| {
            // One view for the row and its body.
            let view = db.unchecked_transaction().map_err(storage)?;
            match which {
                Which::Ov(ov) => read::by_ov(&view, collection, id, ov)?,
                Which::AsOf(cut) => read::as_of(&view, collection, id, cut)?,
            }
            .map(|row| read::with_bodies(&view, collection, row, bodies))
            .transpose()
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
        let id = id.clone();
        self.scan(collection, move |db, collection| {
            read::history(db, collection, &id, from, direction, limit)
        })
        .await
    }

    async fn rows(
        &self,
        collection: &CollectionName,
        from: u64,
        limit: usize,
        bodies: Bodies,
    ) -> Result<Vec<VersionRow>, StoreError> {
        self.scan(collection, move |db, collection| {
            read::rows(db, collection, from, limit, bodies)
        })
        .await
    }

    async fn find(&self, collection: &CollectionName, find: &Find) -> Result<Found, StoreError> {
        let (this, name, find) = (self.clone(), collection.clone(), find.clone());
        self.file
            .scan(move |db| {
                // What an index is must be read together with what it holds.
                if matches!(find.access, Access::Field { .. }) {
                    this.fresh(db, &name)?;
                }
                this.on(db, &name, &|db, collection| {
                    find::find(db, collection, &find)
                })
            })
            .await
    }

    async fn stubs_at(&self, collection: &CollectionName, cut: u64) -> Result<u64, StoreError> {
        self.scan(collection, move |db, collection| {
            read::stubs_at(db, collection, cut)
        })
        .await
    }

    async fn outcome(
        &self,
        collection: &CollectionName,
        id: &RecordId,
        attempt: Attempt,
    ) -> Result<Option<VersionRow>, StoreError> {
        // Behind whatever the writer still has to settle.
        let (name, id) = (collection.clone(), id.clone());
        self.write(move |db, _| match Collection::load(db, &name)? {
            Some(collection) => read::outcome(db, &collection, &id, attempt),
            None => Ok(None),
        })
        .await
    }

    async fn newest(&self, collection: &CollectionName) -> Result<Option<Commit>, StoreError> {
        self.look(collection, |db, collection| {
            let Some((cv, _)) = collection::newest(db, collection)? else {
                return Ok(None);
            };
            let rows = read::rows(db, collection, cv, 1, Bodies::Omit)?;
            Ok(rows.first().map(|row| commit::brief(row, Vec::new())))
        })
    }

    async fn cut_at(&self, collection: &CollectionName, at: Timestamp) -> Result<Cut, StoreError> {
        let cut = self.look(collection, |db, collection| {
            // One view for all the seeks.
            let view = db.unchecked_transaction().map_err(storage)?;
            read::cut_at(&view, collection, at).map(Some)
        })?;
        Ok(cut.unwrap_or(Cut {
            cv: None,
            settled: false,
        }))
    }

    async fn lookup_unique(
        &self,
        collection: &CollectionName,
        key: &UniqueKey,
    ) -> Result<Option<RecordId>, StoreError> {
        self.file.read(|db| {
            let Some(collection) = self.fresh(db, collection)? else {
                return Ok(None);
            };
            let Some(number) = collection.unique_number(&key.index) else {
                return Ok(None);
            };
            let holder: Option<Item> = db
                .prepare_cached(&collection.tables.unique_holder)
                .and_then(|mut s| s.query_row((number, &key.key), |row| row.get(0)).optional())
                .map_err(storage)?;
            Ok(holder.map(|Item(id)| id))
        })
    }

    async fn names_key(&self, key: &str) -> Result<bool, StoreError> {
        self.file.read(|db| {
            for prefix in schema::prefixes(db)? {
                let named: bool = db
                    .prepare_cached(&format!(
                        "SELECT EXISTS (SELECT 1 FROM \"{prefix}_ver\" WHERE object = ?1) \
                         OR EXISTS (SELECT 1 FROM \"{prefix}_file\" WHERE object = ?1)"
                    ))
                    .and_then(|mut s| s.query_row([key], |row| row.get(0)))
                    .map_err(storage)?;
                if named {
                    return Ok(true);
                }
            }
            Ok(false)
        })
    }

    async fn indexes(&self, collection: &CollectionName) -> Result<Indexes, StoreError> {
        self.file.read(|db| {
            let loaded = self.fresh(db, collection)?;
            Ok(loaded.map(|c| c.described.clone()).unwrap_or_default())
        })
    }

    async fn add_index(
        &self,
        collection: &CollectionName,
        spec: &IndexSpec,
    ) -> Result<Indexes, StoreError> {
        let spec = spec.clone();
        self.change_indexes(collection, move |db, name| {
            collection::add_index(db, name, &spec).map(drop)
        })
        .await
    }

    async fn fill_index(
        &self,
        collection: &CollectionName,
        field: &Path,
        rows: Vec<(u64, FieldKeys)>,
    ) -> Result<(), StoreError> {
        let (name, field) = (collection.clone(), field.clone());
        self.write(move |db, known| {
            known.forget(&name);
            let collection = known.collection(db, &name)?;
            fill::index(db, &collection, &field, rows)
        })
        .await
    }

    async fn fill_unique(
        &self,
        collection: &CollectionName,
        keys: Vec<(RecordId, u64, UniqueKey)>,
    ) -> Result<Vec<Taken>, StoreError> {
        let name = collection.clone();
        self.write(move |db, known| {
            let collection = known.collection(db, &name)?;
            fill::unique(db, &collection, keys)
        })
        .await
    }

    async fn index_ready(
        &self,
        collection: &CollectionName,
        name: &str,
    ) -> Result<Indexes, StoreError> {
        let index = name.to_owned();
        self.change_indexes(collection, move |db, collection| {
            let found = db
                .execute(
                    "UPDATE xronox_index SET ready = 1 WHERE collection = ? AND name = ?",
                    (collection.as_str(), &index),
                )
                .map_err(storage)?;
            if found == 0 {
                return Err(ruling::no_index(&index));
            }
            Ok(())
        })
        .await
    }

    async fn drop_index(&self, collection: &CollectionName, name: &str) -> Result<(), StoreError> {
        let index = name.to_owned();
        self.change_indexes(collection, move |db, name| fill::remove(db, name, &index))
            .await
            .map(drop)
    }

    async fn collections(&self) -> Result<Vec<CollectionName>, StoreError> {
        self.file.read(|db| {
            let mut statement = db
                .prepare_cached("SELECT name FROM xronox_collection ORDER BY name")
                .map_err(storage)?;
            let names = statement
                .query_map([], |row| row.get::<_, String>(0))
                .map_err(storage)?;
            let mut written = Vec::new();
            for name in names {
                let name = name.map_err(storage)?.parse();
                let name = name.map_err(|_| crate::row::damaged("collection"))?;
                // One that was only given indexes is not there yet.
                if self.on(db, &name, &|db, c| Ok(collection::newest(db, c)?.is_some()))? {
                    written.push(name);
                }
            }
            Ok(written)
        })
    }

    async fn drop_collection(&self, collection: &CollectionName) -> Result<(), StoreError> {
        self.change_indexes(collection, collection::drop)
            .await
            .map(drop)
    }

    async fn size(&self, collection: &CollectionName) -> Result<CollectionSize, StoreError> {
        self.scan(collection, read::size).await
    }

    async fn check(&self, collection: &CollectionName) -> Result<Vec<String>, StoreError> {
        let mut next = Some(check::Part::first());
        let mut damages = Vec::new();
        while let Some(part) = next {
            let (this, name) = (self.clone(), collection.clone());
            let looked = self.file.scan(move |db| {
                // What an index is must be read together with what it holds.
                this.fresh(db, &name)?;
                this.on(db, &name, &|db, collection| {
                    let mut found = Vec::new();
                    let next = check::check(db, collection, &part, &mut found)?;
                    Ok((found, next))
                })
            });
            let (found, following) = looked.await?;
            damages.extend(found);
            next = following.filter(|_| damages.len() <= check::MAX_DAMAGES);
        }
        Ok(damages)
    }

    async fn seal(&self) -> Result<(), StoreError> {
        self.file.seal(true).await
    }

    async fn unseal(&self) -> Result<(), StoreError> {
        self.file.seal(false).await
    }

    async fn is_sealed(&self) -> Result<bool, StoreError> {
        self.file.read(schema::is_sealed)
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.file.close().await
    }
}

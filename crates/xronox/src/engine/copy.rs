//! Copying collections into another store, with all their history.

use std::{collections::HashMap, future::IntoFuture, sync::Arc};

use futures::{StreamExt, TryStreamExt, future::BoxFuture, stream};
use serde::Serialize;
use xronox_model::{
    Body, BucketRole, CollectionName, Direction, File, IndexKeys, Location, Op, RecordId, Sha256,
    TextRendition, VersionRow, blob_key, text_key,
};
use xronox_store::{Blob, Bodies, Indexes, StoreError, Which};

use crate::{
    Database, Error, ErrorKind, Progress,
    collection::Shared,
    engine::{
        files::Filed, prepare::Canonical, progress::Listener, query::body::handfuls, record::parse,
    },
    storage::Storage,
};

const WHAT: &str = "copy";
/// Rows read at a time, fewer if their inline bodies are large.
const PAGE: usize = 128;
/// Bodies moved at a time; of large ones as many as a stretch has bytes.
const AHEAD: usize = 8;
/// A stretch is committed once it has this many rows or bytes of bodies.
const MAX_ROWS: usize = 1000;
const MAX_BYTES: u64 = 8 * 1024 * 1024;

/// Copies collections into another store; await it.
///
/// Gives a [`CopyReport`]. Made with [`Database::copy_to`].
#[derive(Debug)]
#[must_use = "nothing is copied until it is awaited"]
pub struct Copy<'a> {
    source: &'a Database,
    target: &'a Database,
    names: Option<Vec<CollectionName>>,
    progress: Listener<'a>,
}

/// What a copy did.
///
/// As JSON `{ collections, versions, already, bytes, compared }`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CopyReport {
    /// Collections that were gone through.
    pub collections: u64,
    /// Versions that were copied, stubs and PURGE rows included.
    pub versions: u64,
    /// Versions that an earlier copy had brought.
    pub already: u64,
    /// Bytes of the bodies copied, in canonical form.
    pub bytes: u64,
    /// Versions of both stores that were compared afterwards, and are alike.
    pub compared: u64,
}

impl Database {
    /// Copies collections into another database, on whatever backend: every
    /// version as it is, with its numbers, times, authors and hashes, and the
    /// indexes. Bodies are written anew, as the other store's settings say.
    ///
    /// Where the other store already has the beginning of a collection's
    /// history, the copy goes on from there, so an interrupted one is begun
    /// again, and a finished one can be brought up to date. In the end the
    /// versions of both are compared, hash by hash.
    ///
    /// The source may be written to meanwhile: what is committed when the copy
    /// of a collection begins is copied. Where it keeps only newest versions
    /// (`versioning.enabled: false`), those that are replaced meanwhile have to
    /// be copied again. Nobody else may write to the collections of the other
    /// store. Idempotency keys, jobs of
    /// `restore_collection` and notes of `gc` stay behind.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), xronox::Error> {
    /// use serde_json::json;
    /// use xronox::{Config, Xronox};
    ///
    /// let (here, there) = (
    ///     Xronox::open(Config::memory()).await?,
    ///     Xronox::open(Config::memory()).await?,
    /// );
    /// let made = here.collection("orders")?.create(json!({ "total": 10 })).await?;
    /// let report = here.home()?.copy_to(there.home()?).await?;
    /// assert_eq!((report.versions, report.compared), (1, 1));
    /// let copied = there.collection("orders")?.get_latest(&made.id).await?;
    /// assert_eq!(copied.json()["total"], 10);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) where the other store has a collection
    /// of the same name with another history, and for a store copied into
    /// itself, [`NotFound`](ErrorKind::NotFound) for a collection that is
    /// named and not there, [`Corrupt`](ErrorKind::Corrupt) for a body that is
    /// not what was written or copies that differ afterwards,
    /// [`Unavailable`](ErrorKind::Unavailable), also where versions were
    /// replaced while they were copied: begin again.
    pub fn copy_to<'a>(&'a self, target: &'a Database) -> Copy<'a> {
        Copy {
            source: self,
            target,
            names: None,
            progress: Listener::default(),
        }
    }
}

impl<'a> Copy<'a> {
    /// Copies these collections. Default: all.
    pub fn collections(mut self, names: impl IntoIterator<Item = CollectionName>) -> Self {
        self.names = Some(names.into_iter().collect());
        self
    }

    /// Calls this now and then, with the number of versions of a collection
    /// that are copied, and how many it has.
    pub fn on_progress(mut self, listen: impl FnMut(Progress) + Send + 'a) -> Self {
        self.progress = Listener::new(listen);
        self
    }
}

impl<'a> IntoFuture for Copy<'a> {
    type Output = Result<CopyReport, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(mut self) -> Self::IntoFuture {
        Box::pin(async move {
            self.source.complete()?;
            self.target.complete()?;
            let [here, there] = [self.source, self.target].map(|s| s.storage.catalog.marker());
            if here.id == there.id {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    "a store cannot be copied into itself",
                ));
            }
            let known = self.source.collections().await?;
            let names = match self.names {
                None => known,
                Some(names) => {
                    if let Some(lacking) = names.iter().find(|name| !known.contains(name)) {
                        let message = format!("{WHAT} {lacking}: there is no such collection");
                        return Err(Error::new(ErrorKind::NotFound, message));
                    }
                    names
                }
            };
            let mut report = CopyReport::default();
            for name in names {
                let (from, to) = (
                    self.source.collection(name.as_str())?,
                    self.target.collection(name.as_str())?,
                );
                let transfer = Transfer {
                    from: &from.shared,
                    to: &to.shared,
                    progress: &mut self.progress,
                    report: &mut report,
                };
                let done = transfer.run().await;
                done.map_err(|e| e.during(&from.shared.doing(WHAT, None)))?;
            }
            Ok(report)
        })
    }
}

/// The way of one collection from one store to the other.
struct Transfer<'a, 'l> {
    from: &'a Shared,
    to: &'a Shared,
    progress: &'a mut Listener<'l>,
    report: &'a mut CopyReport,
}

impl Transfer<'_, '_> {
    async fn run(mut self) -> Result<(), Error> {
        self.report.collections += 1;
        let (name, source) = (&self.from.name, &self.from.database.catalog);
        let Some(newest) = source.newest(name).await? else {
            return Ok(());
        };
        let end = newest.cv + 1;
        let mut cv = self.begin().await?;
        if cv < end {
            let indexes = self.declare().await?;
            let mut stretch = Stretch::default();
            let carried = Carried::default();
            while cv < end {
                let mut rows = source.rows(name, cv, PAGE, Bodies::Inline).await?;
                rows.retain(|row| row.cv < end);
                cv = match rows.last() {
                    Some(last) => last.cv + 1,
                    None => break,
                };
                let (from, to, indexes, carried) = (self.from, self.to, &indexes, &carried);
                for rows in handfuls(rows, MAX_BYTES) {
                    let mut moved = stream::iter(rows)
                        .map(|row| carry(from, to, indexes, carried, row))
                        .buffered(AHEAD);
                    while let Some(row) = moved.try_next().await? {
                        if stretch.add(row) {
                            self.commit(&mut stretch).await?;
                            carried.forget();
                            let at = stretch.next;
                            self.progress.tell(Some(name), at, Some(end));
                        }
                    }
                }
            }
            self.commit(&mut stretch).await?;
            self.progress.tell(Some(name), end, Some(end));
        }
        // Those that are declared there may be gone since it last looked.
        self.to.refresh_indexes().await?;
        for index in source.indexes(name).await?.list {
            self.to.ensure_index(&index.spec).await?;
        }
        self.compare(end).await
    }

    /// Where to go on: behind what the other store has, if that is ours.
    async fn begin(&mut self) -> Result<u64, Error> {
        let name = &self.from.name;
        let Some(there) = self.to.database.catalog.newest(name).await? else {
            return Ok(0);
        };
        let theirs = row_at(self.to, there.cv).await?;
        let ours = row_at(self.from, there.cv).await?;
        let alike = match (&ours, &theirs) {
            (Some(ours), Some(theirs)) => ours.hash() == theirs.hash(),
            // A purge, or versioning that is off, may have removed it here since.
            (None, Some(theirs)) => {
                let catalog = &self.from.database.catalog;
                let head = catalog.head(name, &theirs.id, Bodies::Omit).await?;
                head.is_some_and(|head| head.ov > theirs.ov && head.cv > theirs.cv)
            }
            (_, None) => false,
        };
        if !alike {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!(
                    "the other store has a collection of this name whose version {} is another one",
                    there.cv
                ),
            ));
        }
        let size = self.to.database.catalog.size(name).await?;
        self.report.already += size.versions;
        Ok(there.cv + 1)
    }

    /// Declares the indexes of properties before the first row, so that the
    /// rows bring their keys; unique ones take no exact rows and follow later.
    async fn declare(&mut self) -> Result<Indexes, Error> {
        let name = &self.from.name;
        let target = &self.to.database.catalog;
        for index in target.indexes(name).await?.list {
            if index.spec.unique {
                target.drop_index(name, &index.spec.name()).await?;
            }
        }
        let wanted = self.from.database.catalog.indexes(name).await?.list;
        for index in wanted.iter().filter(|index| !index.spec.unique) {
            target.add_index(name, &index.spec).await?;
        }
        Ok(target.indexes(name).await?)
    }

    async fn commit(&mut self, stretch: &mut Stretch) -> Result<(), Error> {
        if stretch.rows.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut stretch.rows);
        self.report.versions += rows.len() as u64;
        self.report.bytes += std::mem::take(&mut stretch.bytes);
        let target = &self.to.database.catalog;
        let firsts: Vec<(RecordId, u64)> = rows
            .iter()
            .filter(|row| row.ov > 0 && row.op != Op::Purge)
            .map(|row| (row.id.clone(), row.ov - 1))
            .collect();
        let Err(error) = target.append_exact(&self.to.name, rows).await else {
            return Ok(());
        };
        if let StoreError::Refused(_) = error {
            // The source may have let go of versions meanwhile.
            let (source, name) = (&self.from.database.catalog, &self.from.name);
            for (id, ov) in firsts {
                let before = source.version(name, &id, Which::Ov(ov), Bodies::Omit);
                if before.await?.is_none() {
                    return Err(only_newest());
                }
            }
        }
        Err(error.into())
    }

    /// Compares what both have before `end`.
    async fn compare(&mut self, end: u64) -> Result<(), Error> {
        let (mut ours, mut theirs) = (Hashes::of(self.from, end), Hashes::of(self.to, end));
        loop {
            let (here, there) = (ours.next().await?, theirs.next().await?);
            match (&here, &there) {
                (None, None) => return Ok(()),
                (Some(here), Some(there)) if here == there => self.report.compared += 1,
                _ => {
                    let cvs = [here, there].into_iter().flatten();
                    let cv = cvs.map(|(cv, _)| cv).min().unwrap_or(end);
                    if is_superseded(self.from, self.to, cv).await? {
                        return Err(only_newest());
                    }
                    return Err(Error::new(
                        ErrorKind::Corrupt,
                        format!(
                            "the stores differ at version {cv}; if versions were removed \
                             meanwhile, copy again"
                        ),
                    ));
                }
            }
        }
    }
}

/// Whether the source has let go of a version that was copied because it keeps
/// only newest ones.
async fn is_superseded(from: &Shared, to: &Shared, cv: u64) -> Result<bool, Error> {
    let Some(theirs) = row_at(to, cv).await? else {
        return Ok(false);
    };
    let (catalog, way) = (&from.database.catalog, Direction::Ascending);
    let later = catalog.history(&from.name, &theirs.id, Some(theirs.ov), way, 1);
    let later = later.await?;
    // A purge lets go of versions as well, and is copied.
    let later = later.first().filter(|row| row.ov > theirs.ov);
    Ok(later.is_some_and(|row| row.op != Op::Purge))
}

/// The refusal to go on where versions that were copied are gone.
fn only_newest() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the source keeps only newest versions, and some were replaced while they were copied: \
         copy again",
    )
}

/// Rows that are ready to be committed.
#[derive(Default)]
struct Stretch {
    rows: Vec<VersionRow>,
    bytes: u64,
    /// Behind the last row.
    next: u64,
}

impl Stretch {
    /// Adds a row; gives whether it is time to commit.
    fn add(&mut self, row: VersionRow) -> bool {
        self.next = row.cv + 1;
        let files = row.body.iter().flat_map(|body| &body.files);
        self.bytes += row.body.as_ref().map_or(0, |body| body.size);
        self.bytes += files.map(|file| file.size).sum::<u64>();
        self.rows.push(row);
        self.rows.len() >= MAX_ROWS || self.bytes >= MAX_BYTES
    }
}

/// The versions of a collection, in order, each with its hash.
struct Hashes<'a> {
    shared: &'a Shared,
    from: u64,
    end: u64,
    page: std::vec::IntoIter<VersionRow>,
}

impl<'a> Hashes<'a> {
    fn of(shared: &'a Shared, end: u64) -> Self {
        Self {
            shared,
            from: 0,
            end,
            page: Vec::new().into_iter(),
        }
    }

    async fn next(&mut self) -> Result<Option<(u64, Sha256)>, Error> {
        if self.page.as_slice().is_empty() && self.from < self.end {
            let catalog = &self.shared.database.catalog;
            let rows = catalog
                .rows(&self.shared.name, self.from, MAX_ROWS, Bodies::Omit)
                .await?;
            self.from = rows.last().map_or(self.end, |last| last.cv + 1);
            self.page = rows.into_iter();
        }
        let row = self.page.next().filter(|row| row.cv < self.end);
        Ok(row.map(|row| (row.cv, row.hash())))
    }
}

async fn row_at(shared: &Shared, cv: u64) -> Result<Option<VersionRow>, Error> {
    let catalog = &shared.database.catalog;
    let rows = catalog.rows(&shared.name, cv, 1, Bodies::Omit).await?;
    Ok(rows.into_iter().next().filter(|row| row.cv == cv))
}

/// Brings the body of a row over and makes its keys.
async fn carry(
    from: &Shared,
    to: &Shared,
    indexes: &Indexes,
    carried: &Carried,
    mut row: VersionRow,
) -> Result<VersionRow, Error> {
    let Some(body) = row.body.take().filter(|_| row.op != Op::Purge) else {
        return Ok(row);
    };
    let brought = carry_body(from, to, indexes, carried, &row, &body).await;
    let (body, keys) = brought.map_err(|e| e.of_version(&row.id, row.ov))?;
    row.body = Some(body);
    row.keys = keys;
    Ok(row)
}

async fn carry_body(
    from: &Shared,
    to: &Shared,
    indexes: &Indexes,
    carried: &Carried,
    row: &VersionRow,
    body: &Body,
) -> Result<(Body, IndexKeys), Error> {
    let bytes = from.database.payloads.read(body).await?;
    let files = carry_files(from, to, carried, row, &body.files).await?;
    let canonical = Canonical {
        document: parse(&bytes)?,
        sha256: body.sha256,
        bytes,
        files: Filed::kept(files),
    };
    // A key of its own, as for any other write: a copy that goes on after a
    // crash must not write over what an earlier one has put.
    let attempt = Storage::new_attempt();
    let prepared = to
        .prepare(&canonical, indexes, &row.id, row.ov, attempt)
        .await?;
    Ok((prepared.body, prepared.keys))
}

/// The files of records that were brought over and are not committed yet. Whoever
/// has those of a record has its turn.
#[derive(Default)]
struct Carried(parking_lot::Mutex<HashMap<RecordId, Arc<tokio::sync::Mutex<Vec<File>>>>>);

impl Carried {
    fn of(&self, id: &RecordId) -> Arc<tokio::sync::Mutex<Vec<File>>> {
        Arc::clone(self.0.lock().entry(id.clone()).or_default())
    }

    /// They are committed.
    fn forget(&self) {
        self.0.lock().clear();
    }
}

/// Brings the files of a version over. One that the record has there already, be it
/// with this stretch, is not brought again.
async fn carry_files(
    from: &Shared,
    to: &Shared,
    carried: &Carried,
    row: &VersionRow,
    files: &[File],
) -> Result<Vec<File>, Error> {
    if files.is_empty() {
        return Ok(Vec::new());
    }
    let of_record = carried.of(&row.id);
    let mut new_ones = of_record.lock().await;
    let head = to.database.catalog.head(&to.name, &row.id, Bodies::Omit);
    let there = head.await?.and_then(|head| head.body);
    let there = there.map_or_else(Vec::new, |body| body.files);
    let attempt = Storage::new_attempt();
    let mut brought = Vec::with_capacity(files.len());
    for file in files {
        let same = |known: &&File| {
            let text = |file: &File| file.text.as_ref().map(|text| text.sha256);
            known.sha256 == file.sha256
                && known.content_type == file.content_type
                && text(known) == text(file)
        };
        let path = file.path.clone();
        if let Some(known) = new_ones.iter().chain(&there).find(same) {
            brought.push(File {
                path,
                ..known.clone()
            });
            continue;
        }
        let key = blob_key(
            &to.database.prefix,
            &to.name,
            &row.id,
            row.ov,
            attempt,
            &path,
        );
        let text = match &file.text {
            None => None,
            Some(text) => {
                let blob = Blob::from(text);
                let location = carry_blob(from, to, &text_key(&key), &blob).await?;
                Some(TextRendition {
                    location,
                    ..text.clone()
                })
            }
        };
        let new = File {
            location: carry_blob(from, to, &key, &Blob::from(file)).await?,
            text,
            ..file.clone()
        };
        new_ones.push(new.clone());
        brought.push(new);
    }
    Ok(brought)
}

async fn carry_blob(from: &Shared, to: &Shared, key: &str, blob: &Blob) -> Result<Location, Error> {
    let bytes = from.database.payloads.stream(blob)?;
    let payloads = &to.database.payloads;
    let put = payloads.put_stream(key, BucketRole::Content, bytes).await?;
    Ok(put.location)
}

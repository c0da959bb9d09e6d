//! One database file: its single writer, its readers and its durability.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode, OpenFlags, config::DbConfig};
use tokio::sync::oneshot;
use xronox_store::StoreError;

use crate::{collection::data_version, error::storage, network, schema};

/// How long a writer or reader waits for another process.
const BUSY_LIMIT: Duration = Duration::from_secs(30);
/// A writer that had commits to do for this long …
const BUSY_STRETCH: Duration = Duration::from_millis(50);
/// … pauses this long, so that a writer of another process gets its turn.
const YIELD_PAUSE: Duration = Duration::from_millis(2);
/// Jobs folded into one transaction.
const MAX_FOLD: usize = 256;
/// Memory for the pages that readers keep, shared by the idle connections.
const READER_CACHE_KIB: usize = 96 * 1024;
/// Page size of new files. A lone commit writes a page of each index it
/// touches, so small ones make it faster; three rows with a body of 1 KiB
/// still fit one with little waste.
const PAGE_SIZE: u32 = 4096;

/// Work for the writer, or why it cannot be done; says whether to keep what
/// it wrote, and how to answer the caller.
type Run = Box<dyn FnOnce(Result<&Connection, StoreError>) -> (bool, Answer) + Send>;
/// Answers the caller once the fate of the transaction is known.
type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

enum Job {
    Run(Run),
    Seal(bool, oneshot::Sender<Result<(), StoreError>>),
    Close(oneshot::Sender<Result<(), StoreError>>),
}

/// A database file.
///
/// Every write is a closure that runs on one thread; all that wait share one
/// transaction and one sync, each in a savepoint of its own. Reads run on
/// pooled connections, each seeing one committed state.
#[derive(Debug)]
pub(crate) struct File {
    path: PathBuf,
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    readers: Mutex<Vec<Connection>>,
    closed: AtomicBool,
    taken_back: Arc<AtomicU64>,
}

impl File {
    /// Opens the file, making it and its folder if need be.
    pub(crate) fn open(path: &Path, database: &str) -> Result<Arc<Self>, StoreError> {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        make_folder(folder)?;
        network::refuse(folder)?;
        let fresh = !path.exists();
        let connection = connect(path, true)?;
        schema::prepare(&connection, path, database, PAGE_SIZE)?;
        if fresh {
            sync_folder(folder)?;
        }
        let (jobs, queue) = mpsc::channel();
        let taken_back = Arc::<AtomicU64>::default();
        let writer = std::thread::Builder::new()
            .name("xronox-sqlite".to_owned())
            .spawn({
                let writer = Writer {
                    connection,
                    path: path.to_owned(),
                    taken_back: Arc::clone(&taken_back),
                    sealed: None,
                };
                move || writer.run(&queue)
            })
            .map_err(|e| StoreError::Unavailable {
                message: "the writer thread could not start".to_owned(),
                source: Some(e.into()),
            })?;
        Ok(Arc::new(Self {
            path: path.to_owned(),
            jobs: Mutex::new(Some(jobs)),
            writer: Mutex::new(Some(writer)),
            readers: Mutex::default(),
            closed: AtomicBool::new(false),
            taken_back,
        }))
    }

    /// How often a transaction was taken back after jobs had run in it.
    pub(crate) fn taken_back(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.taken_back)
    }

    /// Runs `work` in a savepoint on the writer thread and answers when it is
    /// durable, or undone because `work` or the commit failed.
    ///
    /// A caller that stops waiting changes nothing about it.
    pub(crate) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (answer, result) = oneshot::channel();
        let run: Run = Box::new(move |connection| {
            let done = connection.and_then(work);
            let keep = done.is_ok();
            let settle = move |committed: Result<(), StoreError>| {
                // The caller may have stopped waiting.
                let _ = answer.send(done.and_then(|value| committed.map(|()| value)));
            };
            (keep, Box::new(settle) as Answer)
        });
        self.jobs
            .lock()
            .as_ref()
            .and_then(|jobs| jobs.send(Job::Run(run)).ok())
            .ok_or(StoreError::Closed)?;
        result.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Runs `work` on a read connection on this thread: for look-ups that
    /// take microseconds.
    pub(crate) fn read<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(StoreError::Closed);
        }
        let connection = self.readers.lock().pop();
        let connection = match connection {
            Some(connection) => connection,
            None => connect(&self.path, false)?,
        };
        let result = work(&connection);
        let mut readers = self.readers.lock();
        if readers.len() < max_idle_readers() && !self.closed.load(Ordering::Acquire) {
            readers.push(connection);
        }
        result
    }

    /// Runs `work` in one read transaction on a thread for blocking work: for
    /// scans.
    pub(crate) async fn scan<T, F>(self: &Arc<Self>, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let file = Arc::clone(self);
        let task = tokio::task::spawn_blocking(move || {
            file.read(|connection| {
                let view = connection.unchecked_transaction().map_err(storage)?;
                let result = work(&view);
                // Nothing was written; ending the view cannot lose anything.
                view.finish().map_err(storage)?;
                result
            })
        });
        task.await.map_err(|e| StoreError::Unavailable {
            message: "a read was cut short".to_owned(),
            source: Some(e.into()),
        })?
    }

    /// Copies the database, as of now, into a new file while others go on
    /// reading and writing.
    pub(crate) async fn backup(self: &Arc<Self>, to: PathBuf) -> Result<(), StoreError> {
        let file = Arc::clone(self);
        let task = tokio::task::spawn_blocking(move || {
            if to.exists() {
                return Err(StoreError::Refused(format!(
                    "{} exists already",
                    to.display()
                )));
            }
            file.read(|source| {
                let mut target = Connection::open(&to).map_err(storage)?;
                let backup = rusqlite::backup::Backup::new(source, &mut target).map_err(storage)?;
                // Each step holds a read lock for a moment only; the copy
                // starts anew if a writer outruns it, so the steps are large.
                backup
                    .run_to_completion(4096, Duration::from_millis(1), None)
                    .map_err(storage)
            })?;
            let done = fs::File::open(&to).and_then(|f| f.sync_all());
            done.map_err(|e| io("the copy could not be synced", e))?;
            sync_folder(to.parent().unwrap_or(Path::new(".")))
        });
        task.await.map_err(|e| StoreError::Unavailable {
            message: "the copy was cut short".to_owned(),
            source: Some(e.into()),
        })?
    }

    /// Seals the file behind the writes under way, or takes the seal off.
    pub(crate) async fn seal(&self, sealed: bool) -> Result<(), StoreError> {
        let (answer, done) = oneshot::channel();
        self.jobs
            .lock()
            .as_ref()
            .and_then(|jobs| jobs.send(Job::Seal(sealed, answer)).ok())
            .ok_or(StoreError::Closed)?;
        done.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Removes a file that nobody needs any more, with its log. One that is
    /// gone, or was removed in part, is no error.
    pub(crate) fn remove(path: &Path) -> Result<(), StoreError> {
        // The log of a database that is not there is never replayed, so the
        // database goes first.
        for ending in ["", "-wal", "-shm"] {
            let mut file = path.as_os_str().to_owned();
            file.push(ending);
            match fs::remove_file(&file) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    let file = Path::new(&file).display();
                    return Err(io(&format!("{file} cannot be removed"), e));
                }
                _ => {}
            }
        }
        match path.parent() {
            Some(folder) if folder.is_dir() => sync_folder(folder),
            _ => Ok(()),
        }
    }

    /// Finishes the writes under way and closes the file.
    pub(crate) async fn close(&self) -> Result<(), StoreError> {
        let Some(jobs) = self.jobs.lock().take() else {
            return Ok(());
        };
        self.closed.store(true, Ordering::Release);
        self.readers.lock().clear();
        let (answer, closed) = oneshot::channel();
        if jobs.send(Job::Close(answer)).is_err() {
            return Ok(());
        }
        closed.await.unwrap_or(Ok(()))
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // Without its sender the writer drains what waits and ends; joining
        // it leaves the log checkpointed and the lock free.
        self.jobs.lock().take();
        self.readers.lock().clear();
        if let Some(writer) = self.writer.lock().take()
            && writer.thread().id() != std::thread::current().id()
        {
            let _ = writer.join();
        }
    }
}

struct Writer {
    connection: Connection,
    path: PathBuf,
    taken_back: Arc<AtomicU64>,
    /// Whether the file is sealed, and its version when that was read.
    sealed: Option<(i64, bool)>,
}

impl Writer {
    fn run(mut self, queue: &mpsc::Receiver<Job>) {
        let mut busy_since = Instant::now();
        let mut waiting = Vec::new();
        loop {
            let first = match queue.try_recv() {
                Ok(job) => job,
                Err(mpsc::TryRecvError::Disconnected) => break,
                Err(mpsc::TryRecvError::Empty) => {
                    let Ok(job) = queue.recv() else { break };
                    busy_since = Instant::now();
                    job
                }
            };
            let (mut close, mut seal) = (None, None);
            for job in std::iter::once(first).chain(queue.try_iter()) {
                match job {
                    Job::Run(run) => waiting.push(run),
                    Job::Seal(sealed, answer) => {
                        seal = Some((sealed, answer));
                        break;
                    }
                    Job::Close(answer) => {
                        close = Some(answer);
                        break;
                    }
                }
                if waiting.len() == MAX_FOLD {
                    break;
                }
            }
            if !waiting.is_empty() {
                self.transact(std::mem::take(&mut waiting));
            }
            if let Some((sealed, answer)) = seal {
                let _ = answer.send(self.set_sealed(sealed));
            }
            if let Some(answer) = close {
                let _ = answer.send(self.shut());
                return;
            }
            if busy_since.elapsed() > BUSY_STRETCH {
                std::thread::sleep(YIELD_PAUSE);
                busy_since = Instant::now();
            }
        }
        if let Err(error) = self.shut() {
            tracing::warn!(%error, "closing the database failed");
        }
    }

    /// One transaction for all that wait.
    fn transact(&mut self, waiting: Vec<Run>) {
        let mut settle = Vec::new();
        let result = self.attempt(waiting, &mut settle);
        let lost = matches!(result, Err(Failure::Commit(_)));
        if result.is_err() {
            self.taken_back.fetch_add(1, Ordering::Relaxed);
        }
        for answer in settle {
            answer(match &result {
                Ok(()) => Ok(()),
                Err(Failure::Before(error)) => Err(describe(error, false)),
                Err(Failure::Commit(error)) => Err(describe(error, true)),
            });
        }
        if lost {
            self.reopen();
        }
    }

    /// Seals the file, or takes the seal off, in a commit of its own.
    fn set_sealed(&mut self, sealed: bool) -> Result<(), StoreError> {
        self.sealed = None;
        let change = if sealed { schema::SEAL } else { schema::UNSEAL };
        let done = self
            .connection
            .execute_batch(&format!("BEGIN IMMEDIATE; {change} COMMIT;"));
        if done.is_err() && !self.connection.is_autocommit() {
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        done.map_err(storage)
    }

    /// Whether the file is sealed; asked inside a transaction.
    fn is_sealed(&mut self) -> Result<bool, StoreError> {
        let version = data_version(&self.connection)?;
        match self.sealed {
            Some((known, sealed)) if known == version => Ok(sealed),
            _ => {
                let sealed = schema::is_sealed(&self.connection)?;
                self.sealed = Some((version, sealed));
                Ok(sealed)
            }
        }
    }

    fn attempt(&mut self, waiting: Vec<Run>, settle: &mut Vec<Answer>) -> Result<(), Failure> {
        let begun = self.connection.execute_batch("BEGIN IMMEDIATE");
        if let Err(error) = begun {
            let error = Arc::new(error);
            settle.extend(
                waiting
                    .into_iter()
                    .map(|run| run(Err(describe(&error, false))).1),
            );
            return Err(Failure::Before(error));
        }
        let sealed = self.is_sealed();
        let db = &self.connection;
        if !matches!(sealed, Ok(false)) {
            // Whatever may stand in the file, nothing may follow it.
            let message = "the seal of the database cannot be read";
            let why = || match &sealed {
                Ok(_) => StoreError::Sealed,
                Err(_) => StoreError::unavailable(message),
            };
            settle.extend(waiting.into_iter().map(|run| run(Err(why())).1));
            let ended = db.execute_batch("ROLLBACK");
            return ended.map_err(|error| Failure::Before(Arc::new(error)));
        }
        let mut failed = None;
        // A savepoint copies every page it changes; a job by itself is as
        // well taken back with the whole transaction.
        let alone = waiting.len() == 1;
        for run in waiting {
            if !alone && failed.is_none() && !db.is_autocommit() {
                failed = db.execute_batch("SAVEPOINT job").err();
            }
            if failed.is_some() || db.is_autocommit() {
                let why = StoreError::unavailable("no space left for the database");
                settle.push(run(Err(why)).1);
                continue;
            }
            let (keep, answer) = run(Ok(db));
            settle.push(answer);
            // A full disk can end the whole transaction inside a job.
            if db.is_autocommit() {
                continue;
            }
            if alone {
                if !keep {
                    failed = db.execute_batch("ROLLBACK").err();
                    return match failed {
                        None => Ok(()),
                        Some(error) => Err(Failure::Before(Arc::new(error))),
                    };
                }
                continue;
            }
            let end = if keep {
                "RELEASE job"
            } else {
                "ROLLBACK TO job; RELEASE job"
            };
            failed = db.execute_batch(end).err();
        }
        if db.is_autocommit() {
            let error = failed.unwrap_or(rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL),
                None,
            ));
            return Err(Failure::Before(Arc::new(error)));
        }
        if let Some(error) = failed {
            let _ = db.execute_batch("ROLLBACK");
            return Err(Failure::Before(Arc::new(error)));
        }
        match db.execute_batch("COMMIT") {
            Ok(()) => Ok(()),
            Err(error) => {
                let unknown = error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure);
                let _ = db.execute_batch("ROLLBACK");
                let error = Arc::new(error);
                Err(if unknown {
                    Failure::Commit(error)
                } else {
                    Failure::Before(error)
                })
            }
        }
    }

    /// After a commit that may or may not have reached the disk: a fresh
    /// connection, and one more commit, which overwrites in the log whatever
    /// the lost one left behind. From then on what a reader sees is settled.
    fn reopen(&mut self) {
        self.sealed = None;
        match connect(&self.path, true) {
            Ok(connection) => self.connection = connection,
            Err(error) => tracing::error!(%error, "reopening the database failed"),
        }
        if let Err(error) = self.connection.execute_batch(schema::SETTLE) {
            tracing::error!(%error, "settling the database failed");
        }
    }

    fn shut(&mut self) -> Result<(), StoreError> {
        // A log that another process still reads stays; it is replayed later.
        let done = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        match done {
            Err(error) if error.sqlite_error_code() != Some(ErrorCode::DatabaseBusy) => {
                Err(storage(error))
            }
            _ => Ok(()),
        }
    }
}

enum Failure {
    /// Nothing was written.
    Before(Arc<rusqlite::Error>),
    /// The commit itself failed in the middle.
    Commit(Arc<rusqlite::Error>),
}

fn describe(error: &Arc<rusqlite::Error>, unknown: bool) -> StoreError {
    let source = Some(Box::new(Arc::clone(error)) as xronox_store::Cause);
    let message = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another process held the database for too long".to_owned()
        }
        Some(ErrorCode::DiskFull) => "no space left for the database".to_owned(),
        Some(ErrorCode::ReadOnly) => "the database is read-only".to_owned(),
        _ => format!("the database failed ({error})"),
    };
    if unknown {
        StoreError::Indeterminate { message, source }
    } else {
        StoreError::Unavailable { message, source }
    }
}

fn connect(path: &Path, writer: bool) -> Result<Connection, StoreError> {
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if writer {
        flags |= OpenFlags::SQLITE_OPEN_CREATE;
    }
    let db = Connection::open_with_flags(path, flags).map_err(storage)?;
    let pragmas = if writer {
        schema::WRITER
    } else {
        schema::READER
    };
    // SQLite's own waiting sleeps up to 100 ms and would miss the pauses that
    // a busy writer makes for others.
    db.busy_handler(Some(|tries| {
        std::thread::sleep(Duration::from_millis(1));
        u128::try_from(tries).unwrap_or(u128::MAX) < BUSY_LIMIT.as_millis()
    }))
    .map_err(storage)?;
    // Plans that depend on bound values would be made anew at every call.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
        .map_err(storage)?;
    db.set_prepared_statement_cache_capacity(512);
    db.execute_batch(pragmas).map_err(storage)?;
    if !writer {
        let kib = READER_CACHE_KIB / max_idle_readers();
        db.execute_batch(&format!("PRAGMA cache_size=-{kib}"))
            .map_err(storage)?;
    }
    Ok(db)
}

/// Idle read connections kept open: two a core, within reason.
fn max_idle_readers() -> usize {
    // Counting the cores reads files, which takes longer than a look-up.
    static MAX: OnceLock<usize> = OnceLock::new();
    *MAX.get_or_init(|| {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        (2 * cores).clamp(4, 16)
    })
}

pub(crate) fn io(message: &str, error: std::io::Error) -> StoreError {
    StoreError::Unavailable {
        message: format!("{message}: {error}"),
        source: Some(error.into()),
    }
}

/// Makes a folder and everything above it, durably.
fn make_folder(folder: &Path) -> Result<(), StoreError> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = folder.parent().filter(|p| !p.as_os_str().is_empty());
    if let Some(above) = above {
        make_folder(above)?;
    }
    match fs::create_dir(folder) {
        Ok(()) => sync_folder(above.unwrap_or(Path::new("."))),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(io(&format!("{} cannot be made", folder.display()), e)),
    }
}

fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    fs::File::open(folder)
        .and_then(|f| f.sync_all())
        .map_err(|e| io(&format!("{} cannot be synced", folder.display()), e))
}

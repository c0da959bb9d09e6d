//! Collecting garbage: objects that no version names.
//!
//! A body is put before the version that names it is committed, so an object
//! without a version may be garbage or about to be named. Two things part
//! them. A commit names only objects that were put at most 15 minutes before,
//! so younger ones are passed over. And nothing is deleted at first sight: an
//! unnamed object is noted (in the plain collection `xronox_gc`), and deleted
//! when it is found unnamed again a grace period later.

mod notes;

use std::{future::IntoFuture, sync::Arc, time::Duration};

use futures::{StreamExt, TryStreamExt, future::BoxFuture, stream};
use serde::Serialize;
use xronox_model::{BucketRole, Location, Timestamp};
use xronox_store::{ObjectEntry, Space};

use crate::{Database, Error, Progress, engine::progress::Listener, storage::Storage};
use notes::{Note, Notes};

/// The buckets that are looked through. Backups are not: they are named
/// elsewhere.
const ROLES: [BucketRole; 3] = [
    BucketRole::Records,
    BucketRole::Versions,
    BucketRole::Content,
];
/// An object may be named this long after it was put.
const PUT_WINDOW: Duration = Duration::from_mins(15);
/// Objects looked at together.
const PAGE: usize = 500;
/// Requests under way at a time.
const AHEAD: usize = 16;

/// Collects garbage; await it.
///
/// Gives a [`GcReport`].
#[derive(Debug)]
#[must_use = "nothing is collected until it is awaited"]
pub struct Gc<'a> {
    database: &'a Database,
    dry_run: bool,
    grace: Duration,
    progress: Listener<'a>,
    garbage: Listener<'a, Garbage>,
}

/// An object that no version names, as a garbage collection met it.
///
/// As JSON `{ role, key, bytes, putAt, fate }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Garbage {
    /// The bucket that it is in.
    pub role: BucketRole,
    /// Its key there.
    pub key: String,
    /// Its length, as stored.
    pub bytes: u64,
    /// When it was put, by the store's clock.
    pub put_at: Timestamp,
    /// What became of it; in a dry run, what would.
    pub fate: Fate,
}

/// What became of an object that no version names. As JSON in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Fate {
    /// It was unnamed for the first time, and noted.
    Noted,
    /// It was noted before, but not a grace period ago.
    Waiting,
    /// It was deleted.
    Deleted,
}

/// What a garbage collection found and did.
///
/// As JSON `{ listed, listedBytes, unnamed, unnamedBytes, noted, deleted,
/// deletedBytes, dryRun }`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct GcReport {
    /// Objects that this database has.
    pub listed: u64,
    /// Their bytes, as stored.
    pub listed_bytes: u64,
    /// Objects among them that no version names, but for those so young that
    /// one may yet.
    pub unnamed: u64,
    /// Their bytes, as stored.
    pub unnamed_bytes: u64,
    /// Objects that were unnamed for the first time; in a dry run, that would
    /// be noted.
    pub noted: u64,
    /// Objects that were deleted; in a dry run, that would be.
    pub deleted: u64,
    /// Their bytes, as stored.
    pub deleted_bytes: u64,
    /// Whether nothing was written.
    pub dry_run: bool,
}

impl Database {
    /// Deletes bodies that no version names any more, or ever did: what purges
    /// and retention released, and what writes that failed left behind.
    ///
    /// It takes two runs at least a [grace period](Gc::grace) apart to delete
    /// an object: the first one notes it. Only objects of this
    /// database are looked at, in the space that takes its new bodies. Runs of
    /// several processes at a time do no harm.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](crate::ErrorKind::Unavailable): run it again. What was
    /// deleted until then was garbage all the same.
    pub fn gc(&self) -> Gc<'_> {
        let days = u64::from(self.storage.settings.payloads.gc_grace_days);
        Gc {
            database: self,
            dry_run: false,
            grace: Duration::from_secs(days * 24 * 60 * 60),
            progress: Listener::default(),
            garbage: Listener::default(),
        }
    }
}

impl<'a> Gc<'a> {
    /// Writes and deletes nothing, and reports what would be done now.
    pub fn dry_run(mut self) -> Self {
        self.dry_run = true;
        self
    }

    /// How long an object has to be noted before it is deleted. Default:
    /// `payloads.gcGraceDays` (7 days).
    ///
    /// With less than 15 minutes, objects that a write under way has just put
    /// may be deleted: only for when nobody writes.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Calls this with each object that no version names, but for those so
    /// young that one may yet.
    pub fn on_garbage(mut self, listen: impl FnMut(Garbage) + Send + 'a) -> Self {
        self.garbage = Listener::new(listen);
        self
    }

    /// Calls this now and then, with the number of objects looked at.
    pub fn on_progress(mut self, listen: impl FnMut(Progress) + Send + 'a) -> Self {
        self.progress = Listener::new(listen);
        self
    }
}

impl<'a> IntoFuture for Gc<'a> {
    type Output = Result<GcReport, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            self.database.whole()?;
            let database = &self.database.storage;
            let mut report = GcReport {
                dry_run: self.dry_run,
                ..GcReport::default()
            };
            let Some(home) = database.payloads.home() else {
                return Ok(report);
            };
            let notes = Notes::open(&*database.documents, self.dry_run).await?;
            let mut sweep = Sweep {
                database,
                notes,
                started: database.clock.now(),
                grace: self.grace,
                dry_run: self.dry_run,
                progress: self.progress,
                garbage: self.garbage,
                report: &mut report,
            };
            for role in roles(home, &ROLES) {
                sweep.bucket(home, role).await?;
            }
            if !sweep.dry_run {
                sweep.forget_gone(home).await?;
            }
            Ok(report)
        })
    }
}

/// The roles to look through; of those that share a bucket, one.
pub(crate) fn roles(space: &Space, among: &[BucketRole]) -> Vec<BucketRole> {
    let mut roles: Vec<BucketRole> = Vec::new();
    for &role in among {
        let Ok(bucket) = space.bucket(role) else {
            continue;
        };
        let shared = |other: &BucketRole| {
            space
                .bucket(*other)
                .is_ok_and(|other| Arc::ptr_eq(other, bucket))
        };
        if !roles.iter().any(shared) {
            roles.push(role);
        }
    }
    roles
}

/// A collection under way.
struct Sweep<'a, 'l> {
    database: &'a Storage,
    notes: Notes<'a>,
    started: Timestamp,
    grace: Duration,
    dry_run: bool,
    progress: Listener<'l>,
    garbage: Listener<'l, Garbage>,
    report: &'a mut GcReport,
}

impl Sweep<'_, '_> {
    async fn bucket(&mut self, space: &Space, role: BucketRole) -> Result<(), Error> {
        let database = self.database;
        let listed = database
            .payloads
            .list(space.name(), role, &database.prefix)?;
        let mut pages = listed.try_chunks(PAGE);
        while let Some(page) = pages.next().await {
            // An error comes with what was listed before it.
            let (page, error) = match page {
                Ok(page) => (page, None),
                Err(broken) => (broken.0, Some(broken.1)),
            };
            self.page(space, role, page).await?;
            self.progress.tell(None, self.report.listed, None);
            if let Some(error) = error {
                return Err(error.into());
            }
        }
        Ok(())
    }

    async fn page(
        &mut self,
        space: &Space,
        role: BucketRole,
        page: Vec<ObjectEntry>,
    ) -> Result<(), Error> {
        let catalog = &self.database.catalog;
        let now = self.database.clock.now();
        let settled = before(now, self.grace.min(PUT_WINDOW));
        self.report.listed += page.len() as u64;
        self.report.listed_bytes += page.iter().map(|object| object.size).sum::<u64>();
        let known = self.notes.of(role, &page).await?;
        let old = page
            .into_iter()
            .filter(|object| object.last_modified <= settled);
        let named: Vec<(ObjectEntry, bool)> = stream::iter(old)
            .map(|object| async move {
                let named = catalog.names_key(&object.key).await?;
                Ok::<_, Error>((object, named))
            })
            .buffered(AHEAD)
            .try_collect()
            .await?;
        let (mut to_note, mut to_forget) = (Vec::new(), Vec::new());
        for (object, named) in named {
            let note = known.get(&object.key);
            if named {
                to_forget.extend(note.cloned());
                continue;
            }
            self.report.unnamed += 1;
            self.report.unnamed_bytes += object.size;
            let fate = match note {
                None => {
                    to_note.push(Note::new(role, &object, now));
                    Fate::Noted
                }
                Some(note) if note.first_seen <= before(now, self.grace) => {
                    to_forget.push(note.clone());
                    // Somebody may have named it just now.
                    if !self.delete(space, role, &object).await? {
                        continue;
                    }
                    self.report.deleted += 1;
                    self.report.deleted_bytes += object.size;
                    Fate::Deleted
                }
                Some(_) => Fate::Waiting,
            };
            self.garbage.hear(|| Garbage {
                role,
                key: object.key,
                bytes: object.size,
                put_at: object.last_modified,
                fate,
            });
        }
        self.report.noted += to_note.len() as u64;
        if self.dry_run {
            return Ok(());
        }
        self.notes.add(to_note).await?;
        self.notes.forget(to_forget).await
    }

    /// Deletes an object, if it is still unnamed.
    async fn delete(
        &mut self,
        space: &Space,
        role: BucketRole,
        object: &ObjectEntry,
    ) -> Result<bool, Error> {
        if self.database.catalog.names_key(&object.key).await? {
            return Ok(false);
        }
        if !self.dry_run {
            let location = Location::Object {
                space: space.name().to_owned(),
                role,
                key: object.key.clone(),
            };
            self.database.payloads.delete(&location).await?;
        }
        Ok(true)
    }

    /// Forgets objects that were to be deleted by now and are not there any
    /// more, whoever deleted them.
    async fn forget_gone(&mut self, space: &Space) -> Result<(), Error> {
        // What this run itself has noted is there.
        let due = before(self.started, self.grace).min(self.started.plus_millis(-1));
        let mut after = None;
        loop {
            let notes = self.notes.due(due, after).await?;
            let Some(last) = notes.last().cloned() else {
                return Ok(());
            };
            let mut gone = Vec::new();
            for note in notes {
                let location = Location::Object {
                    space: space.name().to_owned(),
                    role: note.role,
                    key: note.key.clone(),
                };
                // Nobody can ask for what an interrupted write left behind
                // (`…#1`). Had it been listed, it would be deleted by now.
                if note.key.contains('#') || !self.database.payloads.exists(&location).await? {
                    gone.push(note);
                }
            }
            self.notes.forget(gone).await?;
            after = Some(last);
        }
    }
}

fn before(at: Timestamp, by: Duration) -> Timestamp {
    let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
    at.plus_millis(-millis)
}

//! Moving superseded bodies to the bucket of versions.

use std::{future::IntoFuture, sync::Arc};

use futures::{StreamExt, TryStreamExt, future::BoxFuture, stream};
use serde::Serialize;
use serde_json::json;
use xronox_model::{Body, BucketRole, Direction, Filter, Location, Op, VersionRow, item_key};
use xronox_store::{Bodies, DocUpdate, Mutation, StoreError, Update, Which};

use crate::{
    Database, Error, Progress, collection::Shared, engine::progress::Listener, storage::Storage,
};

/// The plain collection that says how far each collection is. It is about the
/// objects of this database, so a copy of the database begins anew.
const MARKS: &str = "xronox_moved";
/// Commits looked at together.
const PAGE: usize = 200;
/// Bodies under way at a time.
const AHEAD: usize = 16;
/// How far back versions are looked at that share a body.
const SHARED: usize = 100;

/// Moves superseded bodies to the bucket of versions; await it.
///
/// Gives a [`MoveVersionsReport`]. Made with [`Database::move_versions`].
#[derive(Debug)]
#[must_use = "nothing is moved until it is awaited"]
pub struct MoveVersions<'a> {
    database: &'a Database,
    progress: Listener<'a>,
}

/// What was moved. As JSON `{ commits, moved, movedBytes, damaged }`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct MoveVersionsReport {
    /// Commits that were looked at: those since the last run.
    pub commits: u64,
    /// Versions whose body was moved.
    pub moved: u64,
    /// Bytes of their documents.
    pub moved_bytes: u64,
    /// Versions whose body is damaged or missing, and stays as it is;
    /// [`verify`](crate::Collection::verify) names them.
    pub damaged: u64,
}

impl Database {
    /// Moves the bodies of superseded versions from the records bucket to the
    /// versions bucket (or to the folder `versions`, where both are one
    /// bucket), so that a cheaper storage class or a rule of the provider's can
    /// be for them alone. Newest versions stay; so do inline bodies.
    ///
    /// Each body is copied under a key of its own, read back and compared,
    /// and then committed as the version's; readers find it at any moment. The
    /// old object is left to [`gc`](Self::gc). It goes through the commits
    /// since its last run, so it may be run as often as one likes; one that is
    /// interrupted is gone on with by the next. Several at a time do no harm
    /// but copies that gc removes.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](crate::ErrorKind::Unavailable): run it again.
    /// [`Forbidden`](crate::ErrorKind::Forbidden) for a [scoped](Self::scoped)
    /// handle.
    pub fn move_versions(&self) -> MoveVersions<'_> {
        MoveVersions {
            database: self,
            progress: Listener::default(),
        }
    }
}

impl<'a> MoveVersions<'a> {
    /// Calls this now and then, with the number of commits of a collection
    /// that were looked at.
    pub fn on_progress(mut self, listen: impl FnMut(Progress) + Send + 'a) -> Self {
        self.progress = Listener::new(listen);
        self
    }
}

impl<'a> IntoFuture for MoveVersions<'a> {
    type Output = Result<MoveVersionsReport, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(mut self) -> Self::IntoFuture {
        Box::pin(async move {
            self.database.whole()?;
            let storage = &self.database.storage;
            storage.open()?;
            let mut report = MoveVersionsReport::default();
            let Some(home) = storage.payloads.home() else {
                return Ok(report);
            };
            let bucket = |role| home.bucket(role);
            match (bucket(BucketRole::Records), bucket(BucketRole::Versions)) {
                (Ok(records), Ok(versions)) if !Arc::ptr_eq(records, versions) => {}
                _ => return Ok(report),
            }
            for name in storage.catalog.collections().await? {
                let mut mover = Mover {
                    shared: &storage.shared(&name),
                    home: home.name(),
                    report: &mut report,
                };
                mover.run(&mut self.progress).await?;
            }
            Ok(report)
        })
    }
}

/// A version whose body was copied, or could not be.
struct Move {
    row: VersionRow,
    to: Option<Location>,
}

/// The job for one collection.
struct Mover<'a> {
    shared: &'a Shared,
    home: &'a str,
    report: &'a mut MoveVersionsReport,
}

impl Mover<'_> {
    async fn run(&mut self, progress: &mut Listener<'_>) -> Result<(), Error> {
        let Shared { database, name, .. } = self.shared;
        let (marks, mut from) = (MARKS.parse()?, self.begin().await?);
        let mut done = 0;
        loop {
            let rows = database
                .catalog
                .rows(name, from, PAGE, Bodies::Omit)
                .await?;
            let Some(last) = rows.last().map(|last| last.cv) else {
                return Ok(());
            };
            let (looked_at, full) = (rows.len(), rows.len() == PAGE);
            let moves: Vec<Vec<Move>> = stream::iter(rows)
                .map(|row| self.superseded(row))
                .buffered(AHEAD)
                .try_collect()
                .await?;
            self.commit(moves.into_iter().flatten().collect()).await?;
            self.report.commits += looked_at as u64;
            done += looked_at as u64;
            progress.tell(Some(name), done, None);
            from = last + 1;
            let filter = Filter::parse(&json!({ "_id": name }))?;
            let update = Update::parse(&json!({ "$max": { "next": from } }))?;
            let update = DocUpdate::of(filter, update).upsert();
            database.documents.update_one(&marks, &update).await?;
            if !full {
                return Ok(());
            }
        }
    }

    /// The first commit that was not looked at.
    async fn begin(&self) -> Result<u64, Error> {
        let filter = Filter::parse(&json!({ "_id": self.shared.name }))?;
        let (documents, marks) = (&self.shared.database.documents, MARKS.parse()?);
        let found = documents.find_one(&marks, &filter);
        let next = found.await?.and_then(|mark| mark["next"].as_u64());
        Ok(next.unwrap_or(0))
    }

    /// Copies the body of the version before this row, if nothing newer has
    /// it; gives the rows that name it and where they find it from now on.
    async fn superseded(&self, row: VersionRow) -> Result<Vec<Move>, Error> {
        let Shared { database, name, .. } = self.shared;
        let Some(ov) = row.ov.checked_sub(1).filter(|_| row.op != Op::Purge) else {
            return Ok(Vec::new());
        };
        let catalog = &database.catalog;
        let which = Which::Ov(ov);
        let before = catalog.version(name, &row.id, which, Bodies::Omit);
        let Some((before, body)) = before.await?.and_then(|row| {
            let body = row.body.clone()?;
            Some((row, body))
        }) else {
            return Ok(Vec::new());
        };
        let held = |row: &VersionRow| row.body.as_ref().map(|body| body.location.clone());
        if !self.is_new(&body) || held(&row).as_ref() == Some(&body.location) {
            return Ok(Vec::new());
        }
        let key = item_key(&database.prefix, name, &row.id, ov, Storage::new_attempt());
        let copied = database.payloads.copy(&body, BucketRole::Versions, &key);
        let to = match copied.await {
            Ok(to) => to,
            Err(StoreError::Corrupt(why)) => {
                tracing::warn!(collection = %name, id = %row.id, ov, why, "not moved");
                return Ok(vec![Move {
                    row: before,
                    to: None,
                }]);
            }
            Err(error) => return Err(error.into()),
        };
        // Deleting or restoring it again makes versions with the same body.
        let mut all = catalog
            .history(name, &row.id, Some(ov), Direction::Descending, SHARED)
            .await?;
        let other = all
            .iter()
            .position(|row| held(row).as_ref() != Some(&body.location));
        all.truncate(other.unwrap_or(all.len()));
        let moved = |row| Move {
            row,
            to: Some(to.clone()),
        };
        Ok(all.into_iter().map(moved).collect())
    }

    /// Whether a body lies where new ones do.
    fn is_new(&self, body: &Body) -> bool {
        matches!(
            &body.location,
            Location::Object { space, role: BucketRole::Records, .. } if space == self.home
        )
    }

    async fn commit(&mut self, moves: Vec<Move>) -> Result<(), Error> {
        let (mut mutations, mut bytes) = (Vec::new(), Vec::new());
        for Move { row, to } in moves {
            let (Some(to), Some(body)) = (to, row.body) else {
                self.report.damaged += 1;
                continue;
            };
            bytes.push(body.size);
            mutations.push(Mutation::Relocate {
                cv: row.cv,
                from: body.location,
                to,
            });
        }
        while !mutations.is_empty() {
            let indexes = self.shared.indexes().await?;
            let committer = self.shared.committer();
            let pending = committer
                .submit(indexes.epoch, mutations.clone(), None)
                .await?;
            let answer = pending.answer().await;
            // Indexes that change meanwhile have nothing to do with it.
            if self.shared.sort_out(answer).await?.is_some() {
                break;
            }
        }
        self.report.moved += bytes.len() as u64;
        self.report.moved_bytes += bytes.iter().sum::<u64>();
        Ok(())
    }
}

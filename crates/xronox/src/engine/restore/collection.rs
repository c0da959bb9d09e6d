//! Bringing a whole collection back to what it was.

use std::future::IntoFuture;

use futures::{StreamExt, TryStreamExt, future::BoxFuture, stream};
use xronox_model::{Invalid, VersionRow};
use xronox_store::Bodies;

use super::{
    job::{Job, State},
    plan::{Need, Past, Plan},
    report::RestoreReport,
    writer::{Fate, Writer},
};
use crate::{
    Collection, Error, IntoMoment, Moment, Progress,
    collection::Shared,
    engine::{
        attribution::{Attribution, attributed},
        progress::Listener,
    },
};

const WHAT: &str = "restore_collection";
/// Rows read at a time.
const PAGE: usize = 1000;
/// Records committed, and dealt with between two checkpoints.
const CHUNK: usize = 200;
/// Records looked up at a time.
const AHEAD: usize = 16;

/// Brings every record of a collection back to what it was; await it.
///
/// Gives a [`RestoreReport`].
#[derive(Debug)]
#[must_use = "nothing is written until it is awaited"]
pub struct RestoreCollection<'a> {
    collection: &'a Collection,
    moment: Result<Moment, Error>,
    dry_run: bool,
    resume: Option<String>,
    progress: Listener<'a>,
    pub(crate) attribution: Attribution,
    pub(crate) broken: Option<Error>,
}

attributed!(RestoreCollection);

impl Collection {
    /// Brings every record to what it was at a moment: an RFC 3339 time, or
    /// `Moment::Cv` for a version of the collection.
    ///
    /// Records born later are deleted (logically, whatever `logicalDelete`
    /// says, so that this too can be undone), deleted ones return, and those
    /// that are as they were are not touched. History only grows: each record
    /// gets one new version. Where records have traded their unique keys since,
    /// some get a DELETE and then a RESTORE, in one commit; on a server without
    /// transactions those records are left alone and reported.
    ///
    /// What others commit after it began is not undone. It is no transaction:
    /// readers see one record after another come back, and a record that
    /// others change before its turn is left alone and reported. Progress is
    /// kept in a job row, so a restore that was interrupted (a crash, an error,
    /// a dropped future) is continued with
    /// [`resume`](RestoreCollection::resume); [`restore_jobs`](Self::restore_jobs)
    /// lists them.
    ///
    /// A time later than the newest commit leaves nothing to do; at one before
    /// the first commit, the collection was empty.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](crate::ErrorKind::Unsupported) where versioning is off,
    /// [`Forbidden`](crate::ErrorKind::Forbidden) where fields are hidden from
    /// the handle, [`Invalid`](crate::ErrorKind::Invalid) for a version that the
    /// collection has not reached, [`NotFound`](crate::ErrorKind::NotFound)
    /// for a job to resume that is none,
    /// [`Unavailable`](crate::ErrorKind::Unavailable) and
    /// [`Indeterminate`](crate::ErrorKind::Indeterminate): resume it. Once
    /// there is a job, the message names it behind the collection.
    pub fn restore_collection(&self, moment: impl IntoMoment) -> RestoreCollection<'_> {
        RestoreCollection {
            collection: self,
            moment: moment.into_moment(),
            dry_run: false,
            resume: None,
            progress: Listener::default(),
            attribution: Attribution::default(),
            broken: None,
        }
    }
}

impl<'a> RestoreCollection<'a> {
    /// Writes nothing, and reports what would be done now. Only unique keys
    /// that others hold are not foreseen.
    pub fn dry_run(mut self) -> Self {
        self.dry_run = true;
        self
    }

    /// Goes on with this job, on behalf of whoever began it. The moment has to
    /// be the job's own. Of a job that has finished it gives the report.
    pub fn resume(mut self, job: impl Into<String>) -> Self {
        self.resume = Some(job.into());
        self
    }

    /// Calls this now and then, with the number of commits since the moment
    /// that are dealt with, and how many there are.
    pub fn on_progress(mut self, listen: impl FnMut(Progress) + Send + 'a) -> Self {
        self.progress = Listener::new(listen);
        self
    }
}

impl<'a> IntoFuture for RestoreCollection<'a> {
    type Output = Result<RestoreReport, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(mut self) -> Self::IntoFuture {
        Box::pin(async move {
            let shared = self.collection.whole(WHAT)?;
            let unveiled = shared.unveiled(&self.collection.scope, "a restore tells");
            unveiled.map_err(|e| e.during(&shared.doing(WHAT, None)))?;
            let begun = self.begin().await;
            let job = begun.map_err(|e| e.during(&shared.doing(WHAT, None)))?;
            // The only record that this is about is the job.
            let id = if self.dry_run {
                None
            } else {
                job.id.parse().ok()
            };
            let run = Box::pin(async {
                let past = shared.past(job.target).await?;
                let rewind = Rewind {
                    shared,
                    past,
                    writer: Writer::new(shared, &job, past),
                    job,
                    dry_run: self.dry_run,
                    progress: self.progress,
                };
                Box::pin(rewind.run()).await
            });
            run.await
                .map_err(|e| e.during(&shared.doing(WHAT, id.as_ref())))
        })
    }
}

impl RestoreCollection<'_> {
    /// The job, as far as it is.
    async fn begin(&mut self) -> Result<Job, Error> {
        let shared = &self.collection.shared;
        if let Some(error) = self.broken.take() {
            return Err(error);
        }
        self.attribution.check()?;
        shared.history_allowed()?;
        let moment = std::mem::replace(&mut self.moment, Ok(Moment::Cv(0)))?;
        if let Some(id) = &self.resume {
            let job = shared.load_job(id).await?;
            if job.asked != moment.into() {
                let why = "is not the moment that the job restores to";
                return Err(Invalid::at("moment", why).into());
            }
            return Ok(job);
        }
        let target = shared.cut(moment).await?.cv;
        let newest = shared.database.catalog.newest(&shared.name).await?;
        let start = newest.map(|commit| commit.cv);
        let job = Job::new(shared, moment, target, start, &self.attribution);
        if !self.dry_run {
            shared.store_job(&job).await?;
        }
        Ok(job)
    }
}

/// A restore under way.
struct Rewind<'a> {
    shared: &'a Shared,
    past: Past,
    writer: Writer<'a>,
    job: Job,
    dry_run: bool,
    progress: Listener<'a>,
}

impl Rewind<'_> {
    async fn run(mut self) -> Result<RestoreReport, Error> {
        let first = after(self.job.target);
        let end = after(self.job.start);
        let mut from = self.next();
        while self.job.state == State::Running {
            if from < end {
                from = self.page(from, end).await?;
                let (done, total) = (from.min(end) - first, end - first);
                self.progress
                    .tell(Some(&self.shared.name), done, Some(total));
            } else {
                self.job.state = State::Done;
                if !self.save(self.job.start).await? {
                    from = self.next();
                }
            }
        }
        Ok(self.job.report(self.dry_run))
    }

    /// Deals with a page of the rows from `from` on and before `end`; gives
    /// where to go on.
    async fn page(&mut self, from: u64, end: u64) -> Result<u64, Error> {
        let (shared, past) = (self.shared, self.past);
        let catalog = &shared.database.catalog;
        let mut rows = catalog.rows(&shared.name, from, PAGE, Bodies::Omit).await?;
        let full = rows.len() == PAGE;
        rows.retain(|row| row.cv < end);
        let next = match rows.last() {
            Some(last) if full => last.cv + 1,
            _ => end,
        };
        // Each record is met at its last row before the end, so nobody needs
        // to remember which ones were met.
        let last_of_record = |row: &VersionRow| row.to_cv.is_none_or(|to_cv| to_cv >= end);
        rows.retain(last_of_record);
        let plans: Vec<Plan> = stream::iter(rows)
            .map(|row| shared.plan(past, row))
            .buffered(AHEAD)
            .try_collect()
            .await?;
        for chunk in plans.chunks(CHUNK) {
            if !self.chunk(chunk).await? {
                return Ok(self.next());
            }
        }
        Ok(next)
    }

    /// The first commit that is not dealt with, as far as the job knows.
    fn next(&self) -> u64 {
        after(self.job.done.max(self.job.target))
    }

    /// Deals with these records; gives whether the run may go on behind them.
    async fn chunk(&mut self, plans: &[Plan]) -> Result<bool, Error> {
        let (to_write, rest): (Vec<&Plan>, Vec<&Plan>) = plans.iter().partition(|p| p.writes());
        let wrote = !to_write.is_empty();
        let fates = if self.dry_run {
            let open = |plan: &&Plan| plan.row.to_cv.is_none();
            let fate = |plan| {
                if open(plan) {
                    Fate::Done
                } else {
                    Fate::Conflict
                }
            };
            to_write.iter().map(fate).collect()
        } else {
            self.writer.write(&to_write).await?
        };
        let tally = &mut self.job.tally;
        for (plan, fate) in to_write.into_iter().zip(fates) {
            let id = &plan.row.id;
            match fate {
                Fate::Done if plan.deletes() => tally.deleted += 1,
                Fate::Done => tally.restored += 1,
                Fate::Unchanged => tally.unchanged += 1,
                Fate::Conflict => tally.conflicts.add(id),
                Fate::Pruned => tally.pruned.add(id),
            }
        }
        for plan in rest {
            match plan.need {
                Need::Stub => tally.pruned.add(&plan.row.id),
                Need::Gone => tally.purged.add(&plan.row.id),
                _ => tally.unchanged += 1,
            }
        }
        for plan in plans.iter().filter(|plan| plan.replaced) {
            tally.purged.add(&plan.row.id);
        }
        // Looking again costs less than a checkpoint.
        match plans.last() {
            Some(last) if wrote => self.save(Some(last.row.cv)).await,
            _ => Ok(true),
        }
    }

    /// Notes that everything up to `done` is dealt with; gives whether that
    /// is what the job now says.
    async fn save(&mut self, done: Option<u64>) -> Result<bool, Error> {
        if self.dry_run {
            return Ok(true);
        }
        let before = std::mem::replace(&mut self.job.done, done);
        self.shared.checkpoint(&mut self.job, before).await
    }
}

/// The commit after this one.
fn after(cv: Option<u64>) -> u64 {
    cv.map_or(0, |cv| cv + 1)
}

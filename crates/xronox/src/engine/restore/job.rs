//! The row of a restore in `xronox_jobs`: what it is to do and how far it is,
//! so that it can go on after a crash.

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};
use xronox_model::{CollectionName, Filter, Identity, Invalid, Timestamp};
use xronox_store::{
    DocFind, DocIndex, DocUpdate, Documents, InsertOutcome, Update, UpdateOutcome,
    documents::MAX_PAGE,
};

use super::report::{Listed, RestoreReport};
use crate::{
    Collection, Error, ErrorKind, Moment,
    collection::Shared,
    engine::{
        attribution::Attribution,
        jobs::{JOBS, jobs},
    },
};

const KIND: &str = "restoreCollection";

/// A [restore of a collection](Collection::restore_collection) that has not
/// finished: it is under way, or was interrupted and can be
/// [resumed](super::RestoreCollection::resume).
///
/// As JSON `{ id, moment: { cv } | { at }, target, start, done, createdAt,
/// updatedAt, actor?, reason? }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RestoreJob {
    /// The job.
    pub id: String,
    /// The moment that was asked for.
    #[serde(serialize_with = "moment_json")]
    pub moment: Moment,
    /// The last commit before that moment; `None` for the time before the
    /// first one.
    pub target: Option<u64>,
    /// The newest commit when the restore began.
    pub start: Option<u64>,
    /// Commits up to this one are dealt with.
    pub done: Option<u64>,
    /// When it began.
    pub created_at: Timestamp,
    /// When it last went on.
    pub updated_at: Timestamp,
    /// Who began it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<Identity>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

fn moment_json<S: Serializer>(moment: &Moment, serializer: S) -> Result<S::Ok, S::Error> {
    Asked::from(*moment).serialize(serializer)
}

/// A moment as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Asked {
    Cv(u64),
    At(Timestamp),
}

impl From<Moment> for Asked {
    fn from(moment: Moment) -> Self {
        match moment {
            Moment::Cv(cv) => Self::Cv(cv),
            Moment::Time(at) => Self::At(at),
        }
    }
}

impl From<Asked> for Moment {
    fn from(asked: Asked) -> Self {
        match asked {
            Asked::Cv(cv) => Self::Cv(cv),
            Asked::At(at) => Self::Time(at),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Running,
    Done,
}

/// A job as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Job {
    #[serde(rename = "_id")]
    pub(super) id: String,
    kind: String,
    collection: CollectionName,
    pub(super) asked: Asked,
    pub(super) target: Option<u64>,
    pub(super) start: Option<u64>,
    /// Commits up to this one are dealt with.
    pub(super) done: Option<u64>,
    pub(super) state: State,
    pub(super) tally: Tally,
    actor: Option<Identity>,
    on_behalf_of: Option<Identity>,
    reason: Option<String>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// What a restore has done so far.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Tally {
    pub(super) restored: u64,
    pub(super) deleted: u64,
    pub(super) unchanged: u64,
    pub(super) conflicts: Listed,
    pub(super) pruned: Listed,
    pub(super) purged: Listed,
}

impl Job {
    /// A new job, not yet stored.
    pub(super) fn new(
        shared: &Shared,
        moment: Moment,
        target: Option<u64>,
        start: Option<u64>,
        attribution: &Attribution,
    ) -> Self {
        let now = shared.database.clock.now();
        Self {
            id: shared.database.new_id().to_string(),
            kind: KIND.to_owned(),
            collection: shared.name.clone(),
            asked: moment.into(),
            target,
            start,
            done: None,
            state: State::Running,
            tally: Tally::default(),
            actor: attribution.actor.clone(),
            on_behalf_of: attribution.on_behalf_of.clone(),
            reason: attribution.reason.clone(),
            created_at: now,
            updated_at: now,
        }
    }

    /// Who restores, for whom and why.
    pub(super) fn attribution(&self) -> Attribution {
        Attribution {
            actor: self.actor.clone(),
            on_behalf_of: self.on_behalf_of.clone(),
            reason: self.reason.clone(),
        }
    }

    pub(super) fn report(&self, dry_run: bool) -> RestoreReport {
        let tally = self.tally.clone();
        RestoreReport {
            job: (!dry_run).then(|| self.id.clone()),
            target: self.target,
            start: self.start,
            restored: tally.restored,
            deleted: tally.deleted,
            unchanged: tally.unchanged,
            conflicts: tally.conflicts,
            pruned: tally.pruned,
            purged: tally.purged,
            dry_run,
        }
    }

    fn read(document: Value) -> Result<Self, Error> {
        serde_json::from_value(document).map_err(|error| {
            Error::new(
                ErrorKind::Corrupt,
                format!("a row of {JOBS} is damaged: {error}"),
            )
        })
    }

    fn document(&self) -> Result<Value, Error> {
        serde_json::to_value(self).map_err(|error| Invalid::at("job", error.to_string()).into())
    }
}

impl Shared {
    fn documents(&self) -> &dyn Documents {
        &*self.database.documents
    }

    /// Stores a new job.
    pub(super) async fn store_job(&self, job: &Job) -> Result<(), Error> {
        let jobs = jobs()?;
        // Finished jobs stay, and must not be in the way of the others.
        let index = DocIndex::ascending(["state".parse()?, "collection".parse()?]);
        self.documents().ensure_index(&jobs, &index).await?;
        let outcomes = self
            .documents()
            .insert(&jobs, vec![job.document()?])
            .await?;
        match outcomes.first() {
            Some(InsertOutcome::Inserted) => Ok(()),
            _ => Err(Error::new(
                ErrorKind::Unavailable,
                "the job could not be stored",
            )),
        }
    }

    /// The job of this id.
    pub(super) async fn load_job(&self, id: &str) -> Result<Job, Error> {
        let filter = json!({ "_id": id, "kind": KIND, "collection": self.name });
        let found = self
            .documents()
            .find_one(&jobs()?, &Filter::parse(&filter)?)
            .await?;
        match found {
            Some(document) => Job::read(document),
            None => Err(Error::new(
                ErrorKind::NotFound,
                format!("there is no restore of this collection with the id {id}"),
            )),
        }
    }

    /// Stores how far a job is, which was at `before`; gives whether that
    /// was so. If not, another run has gone on with it, or an interrupted one
    /// had not quite ended: both do the same, and neither does anything twice,
    /// so this one goes on from where the other is.
    pub(super) async fn checkpoint(
        &self,
        job: &mut Job,
        before: Option<u64>,
    ) -> Result<bool, Error> {
        job.updated_at = self.database.clock.now();
        let filter = json!({ "_id": job.id, "done": before, "state": State::Running });
        let change = json!({ "$set": {
            "done": job.done,
            "state": job.state,
            "tally": job.tally,
            "updatedAt": job.updated_at,
        } });
        let update = DocUpdate::of(Filter::parse(&filter)?, Update::parse(&change)?);
        let updated = self.documents().update_one(&jobs()?, &update).await?;
        if let UpdateOutcome::Matched { .. } = updated {
            return Ok(true);
        }
        *job = self.load_job(&job.id).await?;
        Ok(false)
    }
}

impl Collection {
    /// The restores of this collection that have not finished, oldest first,
    /// at most 1,000. To go on with one that was interrupted:
    ///
    /// ```no_run
    /// # async fn f(orders: xronox::Collection) -> Result<(), xronox::Error> {
    /// for job in orders.restore_jobs().await? {
    ///     orders.restore_collection(job.moment).resume(job.id).await?;
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Unavailable`](ErrorKind::Unavailable), [`Closed`](ErrorKind::Closed).
    pub async fn restore_jobs(&self) -> Result<Vec<RestoreJob>, Error> {
        const MAX_JOBS: usize = 1000;
        const { assert!(MAX_JOBS <= MAX_PAGE) };
        let shared = self.whole("restore_jobs")?;
        let filter = json!({
            "state": State::Running,
            "collection": shared.name,
            "kind": KIND,
        });
        let find = DocFind::of(Filter::parse(&filter)?).limit(MAX_JOBS);
        let found = shared.documents().find(&jobs()?, &find).await;
        let found =
            found.map_err(|e| Error::from(e).during(&shared.doing("restore_jobs", None)))?;
        let read = |document| {
            let job = Job::read(document)?;
            Ok(RestoreJob {
                id: job.id,
                moment: job.asked.into(),
                target: job.target,
                start: job.start,
                done: job.done,
                created_at: job.created_at,
                updated_at: job.updated_at,
                actor: job.actor,
                reason: job.reason,
            })
        };
        found.into_iter().map(read).collect()
    }
}

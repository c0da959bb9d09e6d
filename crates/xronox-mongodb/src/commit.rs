//! Commits on a deployment with transactions.
//!
//! One transaction a commit. Its first command writes the counter documents
//! of its collections, in the order of their names: they are the lock across
//! processes, and what they hold is true until the end. What the batch has to
//! know is read next, unless it only makes new records: then the indexes say
//! if one is there already, and the commit starts again and reads.
//!
//! A commit that loses its counter to another starts again after a pause, and
//! after [`PATIENCE`] losses asks for a turn: others that meet the mark in the
//! counter document let it go first.

use std::{sync::Arc, time::Duration};

use mongodb::bson::doc;
use rand::Rng;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use xronox_model::{Body, CollectionName, Location, RecordId, UniqueKey, VersionRow};
use xronox_store::{Batch, Mutation, NewBody, Outcome, Refusal, StoreError, Taken};

use crate::{
    CommitMode,
    command::Trouble,
    core::Core,
    counter,
    error::{Failure, INTERRUPTED},
    ledger::only_births,
    log_first,
    names::Names,
    transaction::{Fate, Sent, attempt, resolve},
};

/// How long the server may hold the counters for one transaction.
const TRANSACTION: Duration = Duration::from_secs(20);
/// How often a commit may lose its counters before it asks for a turn.
pub(crate) const PATIENCE: u32 = 3;
/// How long a turn may take to be used.
const TURN_MILLIS: i64 = 2_000;

/// What a caller is told, a list a batch.
pub(crate) type Outcomes = Vec<Vec<Outcome>>;

/// Why a transaction came to nothing, or may have.
pub(crate) enum Setback {
    /// Another one was faster.
    Lost,
    /// The server is out of reach, or takes no writes at the moment.
    Away(Failure),
    /// Another one has the turn.
    NotOurTurn,
    /// A record or key is there already.
    Duplicate,
    /// A record was changed since this process wrote it last.
    Outdated,
    /// The collection is not there.
    Gone(CollectionName),
    /// It was sent to commit, and nobody knows what came of it.
    Unknown(Sent),
    Failed(Failure),
}

impl From<Failure> for Setback {
    fn from(failure: Failure) -> Self {
        // Its transaction was taken for abandoned, and nothing was written.
        let ended = failure.code() == Some(INTERRUPTED);
        if failure.is_away() {
            Self::Away(failure)
        } else if ended || failure.is_transient() {
            Self::Lost
        } else {
            match Trouble::from(failure) {
                Trouble::Duplicate => Self::Duplicate,
                // Whoever looks again finds it gone.
                Trouble::Gone => Self::Lost,
                Trouble::Failed(failure) => Self::Failed(failure),
            }
        }
    }
}

impl From<mongodb::error::Error> for Setback {
    fn from(failure: mongodb::error::Error) -> Self {
        Failure::from(failure).into()
    }
}

impl From<StoreError> for Setback {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<Trouble> for Setback {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Duplicate => Self::Duplicate,
            Trouble::Gone => Self::Lost,
            Trouble::Failed(failure) => failure.into(),
        }
    }
}

/// Rows that are taken as they are, or mutations.
pub(crate) enum Work {
    Batches(Vec<(CollectionName, Batch)>),
    Exact(CollectionName, Vec<VersionRow>),
    /// Unique keys to reserve for records at a version.
    Reserve(CollectionName, Vec<(RecordId, u64, UniqueKey)>),
}

/// Commits batches: see [`Catalog::commit`](xronox_store::Catalog::commit).
pub(crate) async fn commit(
    core: Arc<Core>,
    batches: Vec<(CollectionName, Batch)>,
) -> Result<Outcomes, StoreError> {
    run(core, Work::Batches(batches)).await
}

/// Takes rows as they are: see
/// [`Catalog::append_exact`](xronox_store::Catalog::append_exact).
pub(crate) async fn append_exact(
    core: Arc<Core>,
    name: CollectionName,
    rows: Vec<VersionRow>,
) -> Result<(), StoreError> {
    run(core, Work::Exact(name, rows)).await.map(drop)
}

/// Reserves unique keys: see
/// [`Catalog::fill_unique`](xronox_store::Catalog::fill_unique).
pub(crate) async fn reserve(
    core: Arc<Core>,
    name: CollectionName,
    keys: Vec<(RecordId, u64, UniqueKey)>,
) -> Result<Vec<Taken>, StoreError> {
    let outcomes = run(core, Work::Reserve(name, keys)).await?;
    let taken = outcomes
        .into_iter()
        .flatten()
        .filter_map(|outcome| match outcome {
            Outcome::Refused(Refusal::Taken(taken)) => Some(taken),
            _ => None,
        });
    Ok(taken.collect())
}

/// Does the work in a task of its own, so that a caller that goes away changes
/// nothing about it.
async fn run(core: Arc<Core>, work: Work) -> Result<Outcomes, StoreError> {
    let task = tokio::spawn(async move {
        let done = persist(&core, &work).await?;
        for name in &work.names() {
            if work.names_objects() {
                core.index_objects(name).await;
            }
            if work.prunes() {
                core.index_stubs(name);
            }
        }
        Ok(done)
    });
    match task.await {
        Ok(done) => done,
        Err(cut) => Err(StoreError::Indeterminate {
            message: "the commit was cut short".to_owned(),
            source: Some(cut.into()),
        }),
    }
}

impl Work {
    fn names(&self) -> Vec<CollectionName> {
        let mut names: Vec<CollectionName> = match self {
            Self::Batches(batches) => batches.iter().map(|(name, _)| name.clone()).collect(),
            Self::Exact(name, _) | Self::Reserve(name, _) => vec![name.clone()],
        };
        names.sort_unstable();
        names
    }

    fn has_requests(&self) -> bool {
        let requests = |mutation: &Mutation| matches!(mutation, Mutation::Append(append) if append.idempotency.is_some());
        match self {
            Self::Batches(batches) => batches
                .iter()
                .any(|(_, batch)| batch.mutations.iter().any(requests)),
            Self::Exact(..) | Self::Reserve(..) => false,
        }
    }

    /// Whether rows that it adds or changes name objects.
    fn names_objects(&self) -> bool {
        let is_object = |location: &Location| matches!(location, Location::Object { .. });
        let object = |body: &Body| body.locations().any(is_object);
        let names = |mutation: &Mutation| match mutation {
            Mutation::Append(append) => {
                matches!(&append.body, NewBody::Given(body) if object(body))
            }
            Mutation::Relocate { .. } => true,
            Mutation::Purge(_) | Mutation::Prune { .. } => false,
        };
        match self {
            Self::Batches(batches) => batches
                .iter()
                .any(|(_, batch)| batch.mutations.iter().any(names)),
            Self::Exact(_, rows) => rows.iter().filter_map(|row| row.body.as_ref()).any(object),
            Self::Reserve(..) => false,
        }
    }

    fn prunes(&self) -> bool {
        let prunes = |mutation: &Mutation| match mutation {
            Mutation::Prune { .. } => true,
            Mutation::Append(append) => append.newest_only,
            _ => false,
        };
        match self {
            Self::Batches(batches) => batches
                .iter()
                .any(|(_, batch)| batch.mutations.iter().any(prunes)),
            Self::Exact(_, rows) => rows
                .iter()
                .any(|row| row.pruned.is_some() || row.newest_only_since.is_some()),
            Self::Reserve(..) => false,
        }
    }

    fn only_births(&self) -> bool {
        match self {
            Self::Batches(batches) => batches.iter().all(|(_, batch)| only_births(batch)),
            Self::Exact(..) | Self::Reserve(..) => false,
        }
    }
}

/// Tries until it is done, refused or out of time.
async fn persist(core: &Core, work: &Work) -> Result<Outcomes, StoreError> {
    core.db.check_open()?;
    let connection = core.db.connection();
    connection.health().check()?;
    let begun = std::time::Instant::now();
    let _underway = core.underway.read().await;
    let names = work.names();
    let deadline = Instant::now() + core.db.max_time();
    let mut queues = Vec::new();
    for name in &names {
        let Ok(queue) = timeout_at(deadline, core.queue(name)).await else {
            return Err(busy(core, &names));
        };
        queues.push(queue);
    }
    if work.has_requests() {
        core.db.within(core.ensure_requests()).await?;
    }
    match connection.commit_mode().await? {
        CommitMode::Transactions => {}
        CommitMode::LogFirst => {
            return log_first::persist(core, work, &names, begun, deadline).await;
        }
    }
    let (mut births, mut recall) = (work.only_births(), true);
    let (mut losses, mut behind) = (0, true);
    loop {
        let until = deadline.min(Instant::now() + TRANSACTION);
        let setback = match attempt(core, work, &names, births, recall, until).await {
            Ok(outcomes) => {
                connection.health().answered(begun);
                return Ok(outcomes);
            }
            Err(setback) => setback,
        };
        let mut away = None;
        match setback {
            Setback::Away(failure) => {
                losses += 1;
                pause(losses).await;
                away = Some(failure);
            }
            Setback::Lost => {
                losses += 1;
                if losses % PATIENCE == 0 {
                    for name in &names {
                        take_turn(core, name).await;
                    }
                } else {
                    pause(losses).await;
                }
            }
            Setback::NotOurTurn => pause(PATIENCE).await,
            Setback::Outdated => recall = false,
            Setback::Duplicate if births => (births, recall) = (false, false),
            Setback::Duplicate if behind => {
                // Rows that were committed without a transaction, and whose
                // writer did not come to the end.
                behind = false;
                for name in &names {
                    let applied = async {
                        let mut session = core.db.session().await?;
                        core.roll_forward(&mut session, name).await
                    };
                    core.db.within(applied).await?;
                }
            }
            Setback::Duplicate => {
                return Err(StoreError::Corrupt(format!(
                    "{} has a row or key that its counter does not tell of",
                    listed(&names)
                )));
            }
            Setback::Gone(name) => core.shapes.forget(&name),
            Setback::Unknown(sent) => match resolve(core, &names, &sent, deadline).await? {
                Fate::Committed => return Ok(sent.outcomes),
                Fate::Lost => {}
                Fate::Untold => return Err(unknown(&names)),
            },
            Setback::Failed(failure) => {
                connection.heard(begun, &failure);
                return Err(connection.failed(failure));
            }
        }
        if Instant::now() >= deadline {
            return Err(match away {
                Some(failure) => {
                    connection.heard(begun, &failure);
                    connection.failed(failure)
                }
                None => busy(core, &names),
            });
        }
    }
}

fn listed(names: &[CollectionName]) -> String {
    let names: Vec<&str> = names.iter().map(CollectionName::as_str).collect();
    names.join(", ")
}

pub(crate) fn busy(core: &Core, names: &[CollectionName]) -> StoreError {
    let (hosts, names) = (core.db.connection().hosts(), listed(names));
    StoreError::unavailable(format!("no commit to {names} at {hosts} in time"))
}

pub(crate) fn unknown(names: &[CollectionName]) -> StoreError {
    StoreError::Indeterminate {
        message: format!(
            "the server did not say whether a transaction on {} was committed",
            listed(names)
        ),
        source: None,
    }
}

/// Waits a little, longer after more losses, and never as long as others do.
pub(crate) async fn pause(losses: u32) {
    let most = 1_u64 << losses.min(6);
    let millis = rand::rng().random_range(0..=most);
    sleep(Duration::from_millis(1 + millis)).await;
}

/// Asks the others to let us go first. A plain write waits for the counter
/// where a transaction fails.
async fn take_turn(core: &Core, name: &CollectionName) {
    let (filter, update) = counter::claim_turn(core.me, TURN_MILLIS);
    // The server gives up first: a session with a command that still runs
    // would keep the next one waiting.
    let claim = doc! {
        "update": &Names::of(name).counter,
        "updates": [{ "q": filter, "u": update }],
        "maxTimeMS": TURN_MILLIS,
    };
    let limit = Duration::from_millis(2 * TURN_MILLIS.unsigned_abs());
    // Without a turn the commit goes on trying all the same.
    let claimed = core.db.db().run_command(claim).into_future();
    let claimed = core.db.connection().past_abandoned(claimed);
    if let Ok(Err(failure)) = timeout(limit, claimed).await {
        tracing::debug!(collection = %name, error = %failure, "no turn at the counter");
    }
}

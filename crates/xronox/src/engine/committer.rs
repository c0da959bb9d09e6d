//! The one committer of a collection in this process.
//!
//! While a commit is in flight the next batch gathers, so batches grow with
//! load and a lone write waits for nobody. There are no timers.

mod together;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc, oneshot},
    time::error::Elapsed,
};
use xronox_model::{Attempt, Body, CollectionName, File, Location, RecordId};
use xronox_store::{
    Append, Batch, Catalog, Commit, Mutation, NewBody, Outcome, Payloads, StoreError,
};

use crate::{
    counters::Folding,
    engine::{draft::brief, room::Room},
    storage::Storage,
};

/// A batch ends at this many bytes of inline bodies, as stored. A body that has
/// more is a batch of its own.
pub(crate) const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;
/// Requests that may wait, whatever their size.
const MAX_WAITING: usize = 16 * 1024;
/// An object put longer ago than this may be garbage by now: it is put again.
const MAX_PUT_AGE: Duration = Duration::from_mins(15);
/// How long the unknown outcomes of one commit are asked for. The callers wait
/// meanwhile, and can go on asking themselves.
const OUTCOME_LIMIT: Duration = Duration::from_secs(15);
/// The pause before an outcome is asked for again; each next one is twice as
/// long.
const OUTCOME_PAUSE: Duration = Duration::from_millis(50);
/// A request counts at least this many bytes of queue room for each mutation.
const OVERHEAD: usize = 512;
/// What an object of a file takes in its row beside its key.
const FILE: usize = 128;

pub(crate) use together::{Witness, commit_together};

/// Hands mutations to the collection's committing task.
#[derive(Debug)]
pub(crate) struct Committer {
    queue: mpsc::Sender<Queued>,
    room: Room,
    batch_rows: usize,
}

/// What waits for the committing task.
#[derive(Debug)]
enum Queued {
    Write(Request),
    /// Somebody who commits by himself; the task waits for him.
    Turn(oneshot::Sender<Turn>),
}

/// A turn in the queue of a collection: until it is dropped nothing else of
/// this process is committed there.
#[derive(Debug)]
struct Turn(#[expect(dead_code, reason = "dropped, it tells the task")] oneshot::Sender<()>);

/// Mutations that stand next to each other in one batch.
#[derive(Debug)]
struct Request {
    epoch: u64,
    mutations: Vec<Mutation>,
    bytes: usize,
    /// When the oldest of its objects was put, if it has any.
    put_at: Option<Instant>,
    answer: oneshot::Sender<Answer>,
    _room: OwnedSemaphorePermit,
}

/// The outcomes in the order of the mutations, or why there are none.
pub(crate) type Answer = Result<Vec<Outcome>, Trouble>;

/// Why a request has no outcomes.
#[derive(Debug, Clone)]
pub(crate) enum Trouble {
    /// The indexes changed since it was prepared: prepare the keys again.
    Stale,
    /// Its objects are too old to be named: put them again under a new attempt.
    PutAgain,
    /// Nothing was written.
    Store(Arc<StoreError>),
    /// The commit broke off: what is known of each mutation, in their order.
    Broken(Vec<Known>),
}

/// What is known of a mutation whose commit broke off.
#[derive(Debug, Clone)]
pub(crate) enum Known {
    Committed(Commit),
    /// Nothing was written.
    Nothing,
    /// Nobody knows whether it was written.
    Untold(RecordId, Attempt),
}

/// What is waiting for its answer. Dropping it changes nothing about the commit.
#[derive(Debug)]
pub(crate) struct Pending(oneshot::Receiver<Answer>);

impl Pending {
    pub(crate) async fn answer(self) -> Answer {
        self.0
            .await
            .unwrap_or_else(|_| Err(Trouble::Store(Arc::new(StoreError::Closed))))
    }
}

impl Committer {
    pub(crate) fn start(database: &Storage, collection: CollectionName) -> Self {
        let (queue, queued) = mpsc::channel(MAX_WAITING);
        let room = database.room.clone();
        let batch_rows = database.settings.write_optimization.batch_size;
        let batch_rows = batch_rows.clamp(1, 1000);
        let task = Task {
            catalog: Arc::clone(&database.catalog),
            payloads: database.payloads.clone(),
            collection,
            batch_rows,
            outdated: Arc::clone(&database.outdated),
            folding: Arc::clone(&database.folding),
            queued,
            held: None,
        };
        tokio::spawn(task.run());
        Self {
            queue,
            room,
            batch_rows,
        }
    }

    /// How many rows a batch has at most.
    pub(crate) fn batch_rows(&self) -> usize {
        self.batch_rows
    }

    /// Queues mutations, waiting for room if need be. Requests are committed
    /// in the order in which this returns, none in parts: whoever sends many
    /// rows keeps to [`batch_rows`](Self::batch_rows) and [`MAX_BATCH_BYTES`].
    pub(crate) async fn submit(
        &self,
        epoch: u64,
        mutations: Vec<Mutation>,
        put_at: Option<Instant>,
    ) -> Result<Pending, StoreError> {
        let sizes = mutations
            .iter()
            .map(|mutation| (inline_bytes(mutation), held_bytes(mutation)));
        let (bytes, held) = sizes.fold((0, 0), |sum, (bytes, held)| {
            (sum.0 + bytes + OVERHEAD, sum.1 + held + OVERHEAD)
        });
        let room = self.room.take(held).await?;
        let (answer, pending) = oneshot::channel();
        let request = Request {
            epoch,
            mutations,
            bytes,
            put_at,
            answer,
            _room: room,
        };
        let sent = self.queue.send(Queued::Write(request)).await;
        sent.map_err(|_| StoreError::Closed)?;
        Ok(Pending(pending))
    }

    /// Waits for a turn behind what is queued.
    async fn turn(&self) -> Result<Turn, StoreError> {
        let (grant, granted) = oneshot::channel();
        let sent = self.queue.send(Queued::Turn(grant)).await;
        sent.map_err(|_| StoreError::Closed)?;
        granted.await.map_err(|_| StoreError::Closed)
    }
}

fn given_body(mutation: &Mutation) -> Option<&Body> {
    match mutation {
        Mutation::Append(Append {
            body: NewBody::Given(body),
            ..
        }) => Some(body),
        _ => None,
    }
}

/// What it brings into its batch.
fn inline_bytes(mutation: &Mutation) -> usize {
    given_body(mutation).map_or(0, |body| {
        body.inline.as_ref().map_or(0, Bytes::len) + file_bytes(body)
    })
}

/// What its files take in the row.
fn file_bytes(body: &Body) -> usize {
    let key = |location: &Location| match location {
        Location::Object { key, .. } => key.len(),
        Location::Inline => 0,
    };
    let one = |file: &File| {
        let keys: usize = file.locations().map(|location| key(location) + FILE).sum();
        keys + file.content_type.len()
    };
    body.files.iter().map(one).sum()
}

/// What is kept in memory until it is answered. Whoever has put a body as an
/// object holds it too, for the case that it has to be put again.
fn held_bytes(mutation: &Mutation) -> usize {
    given_body(mutation).map_or(0, |body| {
        let own = match &body.inline {
            Some(inline) => inline.len(),
            None => usize::try_from(body.size).unwrap_or(usize::MAX),
        };
        own.saturating_add(file_bytes(body))
    })
}

struct Task {
    catalog: Arc<dyn Catalog>,
    payloads: Payloads,
    collection: CollectionName,
    batch_rows: usize,
    /// Raised once the database is found sealed.
    outdated: Arc<AtomicBool>,
    /// Told of what is committed.
    folding: Arc<Folding>,
    queued: mpsc::Receiver<Queued>,
    /// What did not fit into the last batch.
    held: Option<Queued>,
}

impl Task {
    async fn run(mut self) {
        loop {
            let first = match self.held.take() {
                Some(queued) => queued,
                None => match self.queued.recv().await {
                    Some(queued) => queued,
                    None => return,
                },
            };
            let first = match first {
                Queued::Write(request) => request,
                Queued::Turn(grant) => {
                    let (turn, ended) = oneshot::channel();
                    if grant.send(Turn(turn)).is_ok() {
                        // It only ever ends by being dropped.
                        let _ = ended.await;
                    }
                    continue;
                }
            };
            let batch = self.gather(first);
            let woken = batch.len();
            self.commit(batch).await;
            if woken > 1 {
                // Those just answered may have more to write: let them queue
                // it before the next batch closes.
                tokio::task::yield_now().await;
            }
        }
    }

    fn gather(&mut self, first: Request) -> Vec<Request> {
        let epoch = first.epoch;
        let mut rows = first.mutations.len();
        let mut bytes = first.bytes;
        let mut batch = vec![first];
        while let Ok(queued) = self.queued.try_recv() {
            let Queued::Write(request) = queued else {
                self.held = Some(queued);
                break;
            };
            rows += request.mutations.len();
            bytes += request.bytes;
            if request.epoch != epoch || rows > self.batch_rows || bytes > MAX_BATCH_BYTES {
                self.held = Some(Queued::Write(request));
                break;
            }
            batch.push(request);
        }
        batch
    }

    async fn commit(&self, mut requests: Vec<Request>) {
        let mut fresh = Vec::with_capacity(requests.len());
        for request in requests.drain(..) {
            if request.put_at.is_some_and(|at| at.elapsed() > MAX_PUT_AGE) {
                answer(request, Err(Trouble::PutAgain));
            } else {
                fresh.push(request);
            }
        }
        let Some(epoch) = fresh.first().map(|request| request.epoch) else {
            return;
        };
        let mut counts = Vec::with_capacity(fresh.len());
        let mut mutations = Vec::new();
        for request in &mut fresh {
            counts.push(request.mutations.len());
            mutations.append(&mut request.mutations);
        }
        let batches = [(self.collection.clone(), Batch { epoch, mutations })];
        let committed = self.catalog.commit(&batches).await;
        let [(_, batch)] = batches;
        match committed {
            Ok(mut outcomes) => {
                self.folding.nudge(&self.collection);
                let mut outcomes = outcomes.pop().unwrap_or_default().into_iter();
                for (request, count) in fresh.into_iter().zip(counts) {
                    let own: Vec<Outcome> = outcomes.by_ref().take(count).collect();
                    answer(request, Ok(own));
                }
            }
            Err(StoreError::StaleIndexes { .. }) => {
                for request in fresh {
                    answer(request, Err(Trouble::Stale));
                }
            }
            Err(error @ StoreError::Indeterminate { .. }) => {
                tracing::warn!(collection = %self.collection, %error, "asking for the outcome of a commit");
                let until = Instant::now() + OUTCOME_LIMIT;
                let mut mutations = batch.mutations.into_iter();
                for (request, count) in fresh.into_iter().zip(counts) {
                    let own: Vec<Mutation> = mutations.by_ref().take(count).collect();
                    let resolved = resolve(&*self.catalog, &self.collection, &own, until).await;
                    answer(request, resolved);
                }
                self.folding.nudge(&self.collection);
            }
            Err(StoreError::Refused(_)) if fresh.len() > 1 => {
                // What is wrong with one of them is not to fail the others.
                let mut mutations = batch.mutations.into_iter();
                for (mut request, count) in fresh.into_iter().zip(counts) {
                    request.mutations = mutations.by_ref().take(count).collect();
                    Box::pin(self.commit(vec![request])).await;
                }
            }
            Err(error) => {
                if matches!(error, StoreError::Sealed) {
                    self.outdated.store(true, Ordering::Release);
                    take_back(&self.payloads, &self.collection, &batch.mutations).await;
                }
                let error = Arc::new(error);
                for request in fresh {
                    answer(request, Err(Trouble::Store(Arc::clone(&error))));
                }
            }
        }
    }
}

/// Deletes the bodies of mutations that were refused for good, where nobody
/// collects garbage any more.
async fn take_back(payloads: &Payloads, collection: &CollectionName, mutations: &[Mutation]) {
    for mutation in mutations {
        let (Mutation::Append(append), Some(body)) = (mutation, given_body(mutation)) else {
            continue;
        };
        // Those of earlier versions are not this one's to delete.
        let own = format!("/{}/", append.attempt);
        let put = |location: &&Location| matches!(location, Location::Object { key, .. } if key.contains(&own));
        for location in body.locations().filter(put) {
            if let Err(error) = payloads.delete(location).await {
                tracing::warn!(%collection, %error, "a body is left behind");
            }
        }
    }
}

/// Finds out what became of mutations whose commit broke off. Of those that
/// left a row the outcome is known; of one without it is only known that
/// nothing was written.
async fn resolve(
    catalog: &dyn Catalog,
    collection: &CollectionName,
    mutations: &[Mutation],
    until: Instant,
) -> Answer {
    let mut all = Vec::with_capacity(mutations.len());
    for mutation in mutations {
        let (id, attempt) = match mutation {
            Mutation::Append(append) => (&append.id, append.attempt),
            Mutation::Purge(purge) => (&purge.id, purge.attempt),
            // These are repeated by whoever asked for them.
            Mutation::Prune { .. } | Mutation::Relocate { .. } => {
                all.push(Known::Nothing);
                continue;
            }
        };
        all.push(
            match outcome(catalog, collection, id, attempt, until).await {
                Ok(Some(commit)) => Known::Committed(commit),
                Ok(None) => Known::Nothing,
                Err(_) => Known::Untold(id.clone(), attempt),
            },
        );
    }
    let committed = all.iter().map(|known| match known {
        Known::Committed(commit) => Some(Outcome::Committed(commit.clone())),
        Known::Nothing | Known::Untold(..) => None,
    });
    match committed.collect() {
        Some(outcomes) => Ok(outcomes),
        None => Err(Trouble::Broken(all)),
    }
}

/// What is there of a mutation, if that can be had in time.
async fn outcome(
    catalog: &dyn Catalog,
    collection: &CollectionName,
    id: &RecordId,
    attempt: Attempt,
    until: Instant,
) -> Result<Option<Commit>, Elapsed> {
    let asked = async {
        let mut pause = OUTCOME_PAUSE;
        loop {
            match catalog.outcome(collection, id, attempt).await {
                Ok(row) => return row.as_ref().map(brief),
                Err(error) => {
                    tracing::debug!(%collection, %error, "asking for an outcome again");
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
            }
        }
    };
    tokio::time::timeout_at(until.into(), asked).await
}

fn answer(request: Request, with: Answer) {
    // The caller may have stopped waiting; the commit stands all the same.
    let _ = request.answer.send(with);
}

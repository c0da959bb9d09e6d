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

use std::{collections::HashMap, future::IntoFuture, sync::Arc, time::Duration};

use mongodb::{
    ClientSession,
    bson::{Bson, Document, RawDocumentBuf, doc},
    options::ReadConcern,
};
use rand::Rng;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use xronox_model::{Attempt, CollectionName, Location, RecordId, Timestamp, UniqueKey, VersionRow};
use xronox_store::{Batch, Mutation, Outcome, Refusal, StoreError, Taken};

use crate::{
    CommitMode,
    command::{self, Trouble, raw},
    core::{Core, REQUESTS},
    counter,
    database::durable,
    error::{Failure, INTERRUPTED},
    ledger::{
        Change, Changes, Facts, Ledger, Needs, carry_out, most_versions, only_births, stored_key,
    },
    log_first,
    names::Names,
    read::Query,
    requests,
    row::{self, PURGE, id_of, item, place},
    shape::{Counter, Shape, int, time},
};

/// How long the server may hold the counters for one transaction.
const TRANSACTION: Duration = Duration::from_secs(20);
/// How long to ask what became of a transaction whose commit was not
/// acknowledged.
const RESOLUTION: Duration = Duration::from_secs(10);
/// How often a commit may lose its counters before it asks for a turn.
const PATIENCE: u32 = 3;
/// How long a turn may take to be used.
const TURN_MILLIS: i64 = 2_000;
/// A commit time this far ahead of the server's clock is worth a warning.
const AHEAD_MILLIS: i64 = 60_000;

/// What a caller is told, a list a batch.
type Outcomes = Vec<Vec<Outcome>>;

/// Why a transaction came to nothing, or may have.
pub(crate) enum Setback {
    /// Another one was faster.
    Lost,
    /// Another one has the turn.
    NotOurTurn,
    /// A record or key is there already.
    Duplicate,
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
        if ended || failure.is_transient() {
            Self::Lost
        } else {
            match Trouble::from(failure) {
                Trouble::Duplicate => Self::Duplicate,
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
            Trouble::Failed(failure) => failure.into(),
        }
    }
}

/// What a transaction holds when it is sent to commit.
pub(crate) struct Sent {
    outcomes: Outcomes,
    /// The rows by which it can be known again.
    traces: Option<(CollectionName, Vec<(u64, Attempt)>)>,
}

/// What becomes of a transaction that was sent to commit.
enum Fate {
    Committed,
    Lost,
    /// Others have removed whatever it may have written.
    Untold,
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
    let task = tokio::spawn(async move { persist(&core, &work).await });
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
    let _underway = core.underway.read().await;
    let names = work.names();
    let deadline = Instant::now() + core.db.max_time();
    let mut queues = Vec::new();
    for name in &names {
        let Ok(queue) = timeout_at(deadline, core.queue(name)).await else {
            return Err(busy(&names));
        };
        queues.push(queue);
    }
    if work.has_requests() {
        core.db.within(core.ensure_requests()).await?;
    }
    match core.db.connection().commit_mode().await? {
        CommitMode::Transactions => {}
        CommitMode::LogFirst => return log_first::persist(core, work, &names, deadline).await,
    }
    let mut births = work.only_births();
    let (mut losses, mut behind) = (0, true);
    loop {
        let until = deadline.min(Instant::now() + TRANSACTION);
        let setback = match attempt(core, work, &names, births, until).await {
            Ok(outcomes) => return Ok(outcomes),
            Err(setback) => setback,
        };
        match setback {
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
            Setback::Duplicate if births => births = false,
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
            Setback::Failed(failure) => return Err(core.db.connection().failed(failure)),
        }
        if Instant::now() >= deadline {
            return Err(busy(&names));
        }
    }
}

fn listed(names: &[CollectionName]) -> String {
    let names: Vec<&str> = names.iter().map(CollectionName::as_str).collect();
    names.join(", ")
}

pub(crate) fn busy(names: &[CollectionName]) -> StoreError {
    StoreError::unavailable(format!("no commit to {} in time", listed(names)))
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
    let counters = core
        .db
        .db()
        .collection::<Document>(&Names::of(name).counter);
    let limit = Duration::from_millis(TURN_MILLIS.unsigned_abs());
    // Without a turn the commit goes on trying all the same.
    let claimed = counters.update_one(filter, update).into_future();
    let claimed = core.db.connection().past_abandoned(claimed);
    if let Ok(Err(failure)) = timeout(limit, claimed).await {
        tracing::debug!(collection = %name, error = %failure, "no turn at the counter");
    }
}

/// One transaction, as far as it gets.
async fn attempt(
    core: &Core,
    work: &Work,
    names: &[CollectionName],
    births: bool,
    until: Instant,
) -> Result<Outcomes, Setback> {
    let prepared = timeout_at(until, async {
        for name in names {
            core.ensure(name).await?;
        }
        let mut session = core.db.session().await?;
        session
            .start_transaction()
            .read_concern(ReadConcern::snapshot())
            .write_concern(durable())
            .await?;
        let mut pen = Pen {
            core,
            session: &mut session,
        };
        match pen.write_all(work, names, births).await {
            Ok(sent) => Ok((session, sent)),
            Err(setback) => {
                // If this does not get through, the server does it in time.
                if let Err(failure) = session.abort_transaction().await {
                    tracing::debug!(error = %failure, "a transaction was left behind");
                }
                Err(setback)
            }
        }
    });
    let Ok(prepared) = prepared.await else {
        return Err(busy(names).into());
    };
    let (mut session, sent) = prepared?;
    let until = Instant::now() + RESOLUTION;
    loop {
        match timeout_at(until, session.commit_transaction()).await {
            Ok(Ok(())) => {
                core.db.saw(&session);
                return Ok(sent.outcomes);
            }
            Ok(Err(failure)) if Failure::from(failure.clone()).is_unknown_commit() => {
                tracing::debug!(error = %failure, "the commit is sent again");
                if timeout_at(until, pause(PATIENCE)).await.is_err() {
                    return Err(Setback::Unknown(sent));
                }
            }
            Ok(Err(_)) | Err(_) => return Err(Setback::Unknown(sent)),
        }
    }
}

/// Finds out what became of a transaction that was sent to commit.
///
/// Behind a write to its counter it is either there, or never will be.
async fn resolve(
    core: &Core,
    names: &[CollectionName],
    sent: &Sent,
    deadline: Instant,
) -> Result<Fate, StoreError> {
    let Some((name, traces)) = &sent.traces else {
        // It only took something away: doing that again changes nothing.
        return Ok(Fate::Lost);
    };
    let until = deadline.max(Instant::now()) + RESOLUTION;
    loop {
        let looked = timeout_at(until, core.db.within(look_for(core, name, traces)));
        match looked.await {
            Ok(Ok(fate)) => return Ok(fate),
            Ok(Err(error)) => {
                tracing::debug!(%error, "asking again what became of a commit");
                if timeout_at(until, sleep(Duration::from_millis(100)))
                    .await
                    .is_err()
                {
                    return Err(unknown(names));
                }
            }
            Err(_) => return Err(unknown(names)),
        }
    }
}

async fn look_for(
    core: &Core,
    name: &CollectionName,
    traces: &[(u64, Attempt)],
) -> Result<Fate, Failure> {
    let mut session = core.db.session().await?;
    let Some(counter) = core.barrier(&mut session, name).await? else {
        return Ok(Fate::Lost);
    };
    if traces.first().is_none_or(|(cv, _)| counter.next <= *cv) {
        return Ok(Fate::Lost);
    }
    let (Some((first, _)), Some((last, _))) = (traces.first(), traces.last()) else {
        return Ok(Fate::Lost);
    };
    let query = Query::of(doc! { "_id": { "$gte": int(*first), "$lte": int(*last) } }).at_most(1);
    let found = core.rows(&mut session, name, &query).await?;
    let Some(stored) = found.first() else {
        return Ok(Fate::Untold);
    };
    let ours = traces.contains(&(stored.row.cv, stored.row.attempt));
    Ok(if ours { Fate::Committed } else { Fate::Lost })
}

/// One collection in a commit.
pub(crate) struct Place {
    pub(crate) name: CollectionName,
    pub(crate) names: Names,
    pub(crate) counter: Counter,
    /// Its first version.
    pub(crate) first: u64,
    pub(crate) facts: Facts,
}

/// Reads and writes of one commit.
pub(crate) struct Pen<'a> {
    pub(crate) core: &'a Core,
    pub(crate) session: &'a mut ClientSession,
}

impl Pen<'_> {
    async fn run(&mut self, command: Document) -> Result<Document, Setback> {
        let db = self.core.db.db();
        Ok(db.run_command(command).session(&mut *self.session).await?)
    }

    async fn send(&mut self, commands: Vec<RawDocumentBuf>) -> Result<(), Setback> {
        for command in commands {
            let db = self.core.db.db();
            let reply = db.run_raw_command(command).session(&mut *self.session);
            command::check(&reply.await?)?;
        }
        Ok(())
    }

    async fn write_all(
        &mut self,
        work: &Work,
        names: &[CollectionName],
        births: bool,
    ) -> Result<Sent, Setback> {
        match work {
            Work::Batches(batches) => self.batches(batches, names, births).await,
            Work::Exact(name, rows) => self.exact(name, rows).await,
            Work::Reserve(name, keys) => self.reserve(name, keys).await,
        }
    }

    async fn batches(
        &mut self,
        batches: &[(CollectionName, Batch)],
        names: &[CollectionName],
        births: bool,
    ) -> Result<Sent, Setback> {
        let by_name: HashMap<&CollectionName, &Batch> =
            batches.iter().map(|(name, batch)| (name, batch)).collect();
        let mut places: HashMap<&CollectionName, Place> = HashMap::new();
        let mut floor = None;
        for name in names {
            let Some(batch) = by_name.get(name) else {
                continue;
            };
            let reserve = most_versions(batch);
            let names = Names::of(name);
            let command = counter::take(&names.counter, reserve, floor, self.core.me);
            let counter = self.counter(name, command).await?;
            if counter.shape.described.epoch != batch.epoch {
                return Err(StoreError::StaleIndexes {
                    collection: name.clone(),
                }
                .into());
            }
            floor = Some(counter.at);
            let place = Place {
                name: name.clone(),
                first: counter.next.saturating_sub(reserve),
                names,
                counter,
                facts: Facts::default(),
            };
            places.insert(name, place);
        }
        let at = floor.unwrap_or_else(|| Timestamp::from_millis(0));
        for (name, place) in &mut places {
            let Some(batch) = by_name.get(name) else {
                continue;
            };
            let needs = Needs::of(batch, &place.counter.shape)?;
            if !births {
                place.facts = self.facts(place, &needs).await?;
            }
        }
        // As the batches came.
        let places: Vec<Place> = batches
            .iter()
            .filter_map(|(name, _)| places.remove(name))
            .collect();
        let only: Vec<&Batch> = batches.iter().map(|(_, batch)| batch).collect();
        let (outcomes, ledgers) = carry_out(&only, |b| {
            let place = &places[b];
            Ledger::new(&place.counter.shape, &place.facts, place.first, at)
        })?;
        let mut traces = None;
        for (place, ledger) in places.iter().zip(ledgers) {
            let next = ledger.next();
            let changes = ledger.into_changes();
            if traces.is_none() && !changes.added.is_empty() {
                let added = changes.added.iter();
                let added = added.map(|(row, _)| (row.cv, row.attempt)).collect();
                traces = Some((place.name.clone(), added));
            }
            self.write(place, &changes, births).await?;
            if next != place.counter.next || at != place.counter.at || !changes.multi.is_empty() {
                self.settle(place, next, at, &changes).await?;
            }
        }
        Ok(Sent { outcomes, traces })
    }

    async fn exact(&mut self, name: &CollectionName, rows: &[VersionRow]) -> Result<Sent, Setback> {
        let names = Names::of(name);
        let counter = self
            .counter(name, counter::hold(&names.counter, self.core.me))
            .await?;
        let mut place = Place {
            name: name.clone(),
            first: counter.next,
            names,
            counter,
            facts: Facts::default(),
        };
        let newest = self.newest(&place).await?;
        let purged = rows.iter().filter(|row| row.op == xronox_model::Op::Purge);
        let needs = Needs {
            newest: rows.iter().map(|row| row.id.clone()).collect(),
            older: purged.map(|row| row.id.clone()).collect(),
            ..Needs::default()
        };
        place.facts = self.facts(&place, &needs).await?;
        let mut last = newest;
        let at = rows.last().map_or(place.counter.at, |row| row.at);
        let mut ledger = Ledger::new(&place.counter.shape, &place.facts, place.first, at);
        for row in rows {
            ledger.take_exact(row.clone(), last)?;
            last = Some((row.cv, row.at));
        }
        let next = ledger.next();
        let changes = ledger.into_changes();
        let added = changes.added.iter();
        let added: Vec<_> = added.map(|(row, _)| (row.cv, row.attempt)).collect();
        let traces = (!added.is_empty()).then(|| (name.clone(), added));
        self.write(&place, &changes, false).await?;
        let at = at.max(place.counter.at);
        self.settle(&place, next, at, &changes).await?;
        Ok(Sent {
            outcomes: Vec::new(),
            traces,
        })
    }

    async fn reserve(
        &mut self,
        name: &CollectionName,
        keys: &[(RecordId, u64, UniqueKey)],
    ) -> Result<Sent, Setback> {
        let names = Names::of(name);
        let counter = self
            .counter(name, counter::hold(&names.counter, self.core.me))
            .await?;
        let mut place = Place {
            name: name.clone(),
            first: counter.next,
            names,
            counter,
            facts: Facts::default(),
        };
        let mut needs = Needs::default();
        for (id, _, key) in keys {
            needs.newest.insert(id.clone());
            needs.unique.insert(stored_key(&place.counter.shape, key)?);
        }
        place.facts = self.facts(&place, &needs).await?;
        let newest: HashMap<&RecordId, &VersionRow> = place
            .facts
            .rows
            .iter()
            .map(|stored| (&stored.row.id, &stored.row))
            .collect();
        let mut holders: HashMap<String, RecordId> = place.facts.holders.iter().cloned().collect();
        let (mut taken, mut changes, mut held) = (Vec::new(), Changes::default(), Vec::new());
        for (id, ov, key) in keys {
            let Some(row) = newest.get(id).filter(|row| row.ov == *ov && row.live()) else {
                continue;
            };
            let stored = stored_key(&place.counter.shape, key)?;
            match holders.get(&stored) {
                Some(holder) if holder != id => {
                    taken.push(Outcome::Refused(Refusal::Taken(Taken {
                        index: key.index.clone(),
                        wanted_by: id.clone(),
                        holder: holder.clone(),
                    })));
                }
                Some(_) => {}
                None => {
                    held.push(raw(&doc! {
                        "q": { "_id": int(row.cv) },
                        "u": { "$addToSet": { "u": &stored } },
                    })?);
                    holders.insert(stored.clone(), id.clone());
                    changes.keys.push((stored, Some(id.clone())));
                }
            }
        }
        self.send(command::update(&place.names.ver, &held)).await?;
        self.write_keys(&place, &changes, false).await?;
        Ok(Sent {
            outcomes: vec![taken],
            traces: None,
        })
    }

    /// The newest commit.
    pub(crate) async fn newest(
        &mut self,
        place: &Place,
    ) -> Result<Option<(u64, Timestamp)>, Setback> {
        let Some(cv) = place.counter.newest() else {
            return Ok(None);
        };
        let query = Query::of(doc! { "_id": int(cv) });
        let found = self.read(place, &query).await?;
        Ok(found.first().map(|stored| (stored.row.cv, stored.row.at)))
    }

    /// Takes the counter of a collection, and with it the collection.
    async fn counter(
        &mut self,
        name: &CollectionName,
        command: Document,
    ) -> Result<Counter, Setback> {
        let reply = self.run(command).await?;
        let Ok(document) = reply.get_document("value") else {
            return Err(Setback::Gone(name.clone()));
        };
        let counter = Counter::read(document)?;
        if counter.dropping.is_some() {
            return Err(Setback::Gone(name.clone()));
        }
        if counter
            .turn
            .is_some_and(|(by, until)| by != self.core.me && until > counter.clock)
        {
            return Err(Setback::NotOurTurn);
        }
        let ahead = counter.at.as_millis() - counter.clock.as_millis();
        if ahead > AHEAD_MILLIS {
            tracing::warn!(collection = %name, ahead_ms = ahead, "commit times are ahead of the server's clock");
        }
        self.core.learn(name, &counter.shape);
        Ok(counter)
    }

    /// Reads what a batch has to know.
    pub(crate) async fn facts(&mut self, place: &Place, needs: &Needs) -> Result<Facts, Setback> {
        let mut facts = Facts::default();
        let mut seen = std::collections::BTreeSet::new();
        let mut queries = Vec::new();
        let items =
            |ids: &std::collections::BTreeSet<_>| -> Vec<Bson> { ids.iter().map(item).collect() };
        if !needs.newest.is_empty() {
            queries.push(Query {
                bodies: needs.bodies,
                ..Query::of(doc! { "i": { "$in": items(&needs.newest) }, "o": true })
            });
        }
        for (versions, bodies) in [(&needs.sources, true), (&needs.pruned, false)] {
            if versions.is_empty() {
                continue;
            }
            let each = versions
                .iter()
                .map(|(id, ov)| doc! { "i": item(id), "n": int(*ov) });
            queries.push(Query {
                bodies,
                ..Query::of(doc! { "$or": each.collect::<Vec<_>>() })
            });
        }
        if !needs.older.is_empty() {
            queries.push(Query::of(doc! {
                "i": { "$in": items(&needs.older) },
                "to": { "$exists": true },
                "l": { "$exists": true },
            }));
        }
        for cv in &needs.moved {
            queries.push(Query::of(doc! { "_id": int(*cv) }));
        }
        let mut objects = needs.objects.clone();
        for query in &queries {
            for stored in self.read(place, query).await? {
                let pruned = (stored.row.id.clone(), stored.row.ov);
                if let Some(body) = &stored.row.body
                    && let Location::Object { key, .. } = &body.location
                    && needs.pruned.contains(&pruned)
                {
                    objects.insert(key.clone());
                }
                // A row with its body comes before the same one without.
                if seen.insert(stored.row.cv) {
                    facts.rows.push(stored);
                } else if let Some(kept) = facts
                    .rows
                    .iter_mut()
                    .find(|kept| kept.row.cv == stored.row.cv)
                    && stored
                        .row
                        .body
                        .as_ref()
                        .is_some_and(|body| body.inline.is_some())
                {
                    *kept = stored;
                }
            }
        }
        if !objects.is_empty() {
            let keys: Vec<&str> = objects.iter().map(String::as_str).collect();
            let query = Query::of(doc! { "l.k": { "$in": keys } });
            for stored in self.read(place, &query).await? {
                if seen.insert(stored.row.cv) {
                    facts.rows.push(stored);
                }
            }
        }
        if place.counter.shape.has_unique() && !needs.newest.is_empty() {
            facts.holders = self.holders(place, needs).await?;
        }
        if !needs.requests.is_empty() {
            facts.remembered =
                requests::read(self.core, self.session, &place.name, &needs.requests).await?;
        }
        Ok(facts)
    }

    async fn read(&mut self, place: &Place, query: &Query) -> Result<Vec<row::Stored>, Setback> {
        let documents = self
            .core
            .documents(self.session, &place.names, query)
            .await?;
        let shape = &place.counter.shape;
        Ok(crate::read::decode_all(&documents, shape)?)
    }

    async fn holders(
        &mut self,
        place: &Place,
        needs: &Needs,
    ) -> Result<Vec<(String, RecordId)>, Setback> {
        let wanted: Vec<&str> = needs.unique.iter().map(String::as_str).collect();
        let ids: Vec<Bson> = needs.newest.iter().map(item).collect();
        let keys = self
            .core
            .db
            .db()
            .collection::<RawDocumentBuf>(&place.names.keys);
        let mut cursor = keys
            .find(doc! { "$or": [{ "_id": { "$in": wanted } }, { "i": { "$in": ids } }] })
            .batch_size(crate::read::batch_of(None))
            .session(&mut *self.session)
            .await?;
        let mut out = Vec::new();
        while cursor.advance(&mut *self.session).await? {
            let document = cursor.current();
            let (key, holder) = key_of(document)?;
            if let Ok(until) = document.get_datetime("until") {
                // Reserved for a row that is not there, by a commit without
                // transactions: for a while it may still come.
                if time(until) < place.counter.clock {
                    continue;
                }
                if !needs.newest.contains(&holder) {
                    return Err(Setback::NotOurTurn);
                }
            }
            out.push((key, holder));
        }
        Ok(out)
    }

    async fn write(
        &mut self,
        place: &Place,
        changes: &Changes,
        births: bool,
    ) -> Result<(), Setback> {
        let shape = &place.counter.shape;
        let ver = &place.names.ver;
        // What ends goes first: a record has one open row.
        let updates = changes
            .changed
            .iter()
            .map(|(row, change)| update_of(row, *change, shape))
            .collect::<Result<Vec<_>, _>>()?;
        self.send(command::update(ver, &updates)).await?;
        let gone = changes.older.iter();
        let gone = gone
            .map(|(id, ov)| older_than(id, *ov))
            .collect::<Result<Vec<_>, _>>()?;
        self.send(command::delete(ver, &gone)).await?;
        let rows = changes
            .added
            .iter()
            .map(|(row, unique)| row::encode(row, unique, true, shape))
            .collect::<Result<Vec<_>, _>>()?;
        self.send(command::insert(ver, &rows)).await?;
        self.write_keys(place, changes, births).await?;
        let answered = requests::updates(&place.name, &changes.remembered)?;
        self.send(command::update(REQUESTS, &answered)).await
    }

    async fn write_keys(
        &mut self,
        place: &Place,
        changes: &Changes,
        births: bool,
    ) -> Result<(), Setback> {
        let (mut taken, mut freed) = (Vec::new(), Vec::new());
        for (key, holder) in &changes.keys {
            match holder {
                None => freed.push(raw(&doc! { "q": { "_id": key }, "limit": 1 })?),
                Some(id) if births => taken.push(raw(&doc! { "_id": key, "i": item(id) })?),
                Some(id) => taken.push(raw(
                    &doc! { "q": { "_id": key }, "u": { "_id": key, "i": item(id) }, "upsert": true },
                )?),
            }
        }
        let keys = &place.names.keys;
        self.send(command::delete(keys, &freed)).await?;
        let taken = if births {
            command::insert(keys, &taken)
        } else {
            command::update(keys, &taken)
        };
        self.send(taken).await
    }

    /// Corrects the counter where it was not right from the beginning.
    async fn settle(
        &mut self,
        place: &Place,
        next: u64,
        at: Timestamp,
        changes: &Changes,
    ) -> Result<(), Setback> {
        let (update, filters) = counter::settle(next, at, &changes.multi);
        let mut statement = doc! { "q": { "_id": crate::shape::COUNTER }, "u": update };
        if !filters.is_empty() {
            statement.insert("arrayFilters", filters);
        }
        let statement = raw(&statement)?;
        self.send(command::update(&place.names.counter, &[statement]))
            .await
    }
}

/// A unique key and who holds it, as stored.
pub(crate) fn key_of(
    document: &mongodb::bson::RawDocument,
) -> Result<(String, RecordId), StoreError> {
    let bad = || StoreError::Corrupt("a unique key is damaged".to_owned());
    let key = document.get_str("_id").map_err(|_| bad())?.to_owned();
    let holder = document.get("i").map_err(|_| bad())?.ok_or_else(bad)?;
    Ok((key, id_of(holder)?))
}

/// The statement that removes the rows of a record before a version. What was
/// purged stays told.
pub(crate) fn older_than(id: &RecordId, ov: u64) -> Result<RawDocumentBuf, StoreError> {
    raw(&doc! {
        "q": { "i": item(id), "n": { "$lt": int(ov) }, "op": { "$ne": PURGE } }, "limit": 0,
    })
}

/// The statement that changes a row as told.
pub(crate) fn update_of(
    row: &VersionRow,
    change: Change,
    shape: &Shape,
) -> Result<RawDocumentBuf, StoreError> {
    let filter = doc! { "_id": int(row.cv) };
    if change.stub {
        let stub = row::encode(row, &[], false, shape)?;
        let mut statement = raw(&doc! { "q": filter })?;
        statement.append(mongodb::bson::raw::cstr!("u"), stub);
        return Ok(statement);
    }
    let (mut set, mut unset) = (Document::new(), Document::new());
    if change.closed
        && let Some(to) = row.to_cv
    {
        set.insert("to", int(to));
        unset.insert("o", "");
    }
    if change.moved
        && let Some(body) = &row.body
        && let Location::Object { space, role, key } = &body.location
    {
        let place = Document::try_from(&place(space, *role, key));
        set.insert("l", place.map_err(|_| row::damaged("l"))?);
        unset.insert("b", "");
    }
    raw(&doc! { "q": filter, "u": { "$set": set, "$unset": unset } })
}

//! One transaction: how it is written, and what became of it.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use mongodb::{
    bson::{Document, doc, oid::ObjectId},
    options::ReadConcern,
};
use tokio::time::{Instant, sleep, timeout_at};
use xronox_model::{Attempt, CollectionName, Op, RecordId, Timestamp, UniqueKey, VersionRow};
use xronox_store::{Batch, Outcome, Refusal, StoreError, Taken};

use crate::{
    command::{self, raw},
    commit::{Outcomes, PATIENCE, Setback, Work, busy, pause, unknown},
    core::Core,
    counter,
    database::durable,
    error::Failure,
    ledger::{Changes, Facts, Ledger, Needs, carry_out, most_versions, stored_key},
    names::Names,
    pen::{Pen, Place},
    read::{Query, rows_at},
    shape::{Counter, int},
};

/// How long to ask what became of a transaction whose commit was not
/// acknowledged.
const RESOLUTION: Duration = Duration::from_secs(10);
/// A commit time this far ahead of the server's clock is worth a warning.
const AHEAD_MILLIS: i64 = 60_000;

/// What a transaction holds when it is sent to commit.
pub(crate) struct Sent {
    pub(crate) outcomes: Outcomes,
    /// The rows by which it can be known again.
    traces: Option<(CollectionName, Vec<(u64, Attempt)>)>,
    /// The newest rows of the records it changed, by collection.
    newest: Vec<(ObjectId, Vec<VersionRow>)>,
}

/// What becomes of a transaction that was sent to commit.
pub(crate) enum Fate {
    Committed,
    Lost,
    /// Others have removed whatever it may have written.
    Untold,
}

/// One transaction, as far as it gets.
pub(crate) async fn attempt(
    core: &Core,
    work: &Work,
    names: &[CollectionName],
    births: bool,
    recall: bool,
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
        match pen.write_all(work, names, births, recall).await {
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
        return Err(busy(core, names).into());
    };
    let (mut session, sent) = prepared?;
    let until = Instant::now() + RESOLUTION;
    loop {
        match timeout_at(until, session.commit_transaction()).await {
            Ok(Ok(())) => {
                core.db.saw(&session);
                for (born, rows) in sent.newest {
                    core.recent.keep(born, rows);
                }
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
pub(crate) async fn resolve(
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
    let query = Query::at(doc! { "$gte": int(*first), "$lte": int(*last) }).at_most(1);
    let found = core.rows(&mut session, name, &query).await?;
    let Some(stored) = found.first() else {
        return Ok(Fate::Untold);
    };
    let ours = traces.contains(&(stored.row.cv, stored.row.attempt));
    Ok(if ours { Fate::Committed } else { Fate::Lost })
}

/// What becomes of batches on what is known: the outcomes, and for each
/// collection its next version and the changes.
fn work_out(
    batches: &[&Batch],
    places: &[Place],
    at: Timestamp,
) -> Result<(Outcomes, Vec<(u64, Changes)>), StoreError> {
    let (outcomes, ledgers) = carry_out(batches, |b| {
        let place = &places[b];
        Ledger::new(&place.counter.shape, &place.facts, place.first, at)
    })?;
    let changes = |ledger: Ledger<'_>| (ledger.next(), ledger.into_changes());
    Ok((outcomes, ledgers.into_iter().map(changes).collect()))
}

impl Pen<'_> {
    async fn write_all(
        &mut self,
        work: &Work,
        names: &[CollectionName],
        births: bool,
        recall: bool,
    ) -> Result<Sent, Setback> {
        match work {
            Work::Batches(batches) => self.batches(batches, names, births, recall).await,
            Work::Exact(name, rows) => self.exact(name, rows).await,
            Work::Reserve(name, keys) => self.reserve(name, keys).await,
        }
    }

    async fn batches(
        &mut self,
        batches: &[(CollectionName, Batch)],
        names: &[CollectionName],
        births: bool,
        recall: bool,
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
                recalled: BTreeSet::new(),
            };
            places.insert(name, place);
        }
        let at = floor.unwrap_or_else(|| Timestamp::from_millis(0));
        // Where first rows were removed, no index tells that a record is there.
        let births = births && !places.values().any(|place| place.counter.shape.trimmed);
        for (name, place) in &mut places {
            let Some(batch) = by_name.get(name) else {
                continue;
            };
            let needs = Needs::of(batch, &place.counter.shape)?;
            if births {
                continue;
            }
            if recall {
                self.recall(place, needs).await?;
            } else {
                place.facts = self.facts(place, &needs).await?;
            }
        }
        // As the batches came.
        let mut places: Vec<Place> = batches
            .iter()
            .filter_map(|(name, _)| places.remove(name))
            .collect();
        let only: Vec<&Batch> = batches.iter().map(|(_, batch)| batch).collect();
        let mut carried = work_out(&only, &places, at)?;
        let through = |outcome: &Outcome| matches!(outcome, Outcome::Committed(_));
        if places.iter().any(|place| !place.recalled.is_empty())
            && !carried.0.iter().flatten().all(through)
        {
            // Nobody is turned away for what may be no more true.
            for (place, batch) in places.iter_mut().zip(&only) {
                if let Some(born) = place.counter.shape.born {
                    self.core.recent.forget(born, &place.recalled);
                }
                place.recalled.clear();
                let needs = Needs::of(batch, &place.counter.shape)?;
                place.facts = self.facts(place, &needs).await?;
            }
            carried = work_out(&only, &places, at)?;
        }
        let (outcomes, changes) = carried;
        let (mut traces, mut newest) = (None, Vec::new());
        for (place, (next, changes)) in places.iter().zip(changes) {
            if traces.is_none() && !changes.added.is_empty() {
                let added = changes.added.iter();
                let added = added.map(|(row, _)| (row.cv, row.attempt)).collect();
                traces = Some((place.name.clone(), added));
            }
            self.write(place, &changes, births).await?;
            if next != place.counter.next || at != place.counter.at || !changes.news.is_empty() {
                self.settle(place, next, at, &changes).await?;
            }
            if let Some(born) = place.counter.shape.born {
                let rows = changes.added.into_iter().map(|(row, _)| row);
                newest.push((born, rows.filter(|row| row.to_cv.is_none()).collect()));
            }
        }
        Ok(Sent {
            outcomes,
            traces,
            newest,
        })
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
            recalled: BTreeSet::new(),
        };
        let newest = self.newest(&place).await?;
        let purged = rows.iter().filter(|row| row.op == Op::Purge);
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
            newest: Vec::new(),
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
            recalled: BTreeSet::new(),
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
                        "q": rows_at(int(row.cv)),
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
            newest: Vec::new(),
        })
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
        if !counter.is_there() || !self.core.is_ours(name, &counter.shape) {
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
}

//! Commits where there are no transactions.
//!
//! The version rows alone are the truth. A commit reads the newest row and
//! the counter, which tells up to where rows are *applied*, works out its rows
//! and inserts them in the order of `cv`: a row that is there is committed.
//! Whoever finds a `cv` taken starts again behind it. What follows from a row
//! (that the version before it has ended, that it is its record's newest one,
//! what rows it removes, its unique keys, the request it answers) is applied
//! after, by the writer or by whoever finds that it was not, and can be
//! applied twice. A commit is acknowledged when the counter covers it. A row
//! that is not there is given up only behind a [fence](crate::fence).
//!
//! Rows have the keys of the indexes that the counter tells of. Whoever changes
//! these first fences off the rows that know nothing of it.
//!
//! Unique keys are reserved before the rows are inserted, for as long as a
//! commit may take; a reservation whose time is over and whose row is not
//! there is free.

use std::{collections::BTreeSet, time::Duration};

use mongodb::{
    ClientSession,
    bson::{RawArrayBuf, RawDocumentBuf, doc, raw::cstr},
};
use tokio::time::{Instant, sleep, timeout_at};
use xronox_model::{Attempt, CollectionName, Op, Timestamp, VersionRow};
use xronox_store::{Append, Batch, Mutation, Outcome, StoreError};

use crate::{
    command::{self, Trouble, raw},
    commit::{Setback, Work, busy, pause, unknown},
    core::{Core, REQUESTS},
    error::{COLLECTION_GONE, DUPLICATE_KEY, Failure},
    fence::{By, Fenced, Start},
    indexing,
    ledger::{Facts, Ledger, Needs, Verdict},
    names::Names,
    pen::{Pen, Place, update_of},
    read::Query,
    requests,
    reservation::reservations,
    row::{self, binary},
    shape::{Counter, Shape, date, int},
};

/// How long after it reserved its keys a writer may send its rows, and how long
/// the server may take to insert them; together less than a reservation holds.
const RESERVED: Duration = Duration::from_secs(8);
const INSERTION: Duration = Duration::from_secs(10);

/// Tries until it is done, refused or out of time.
pub(crate) async fn persist(
    core: &Core,
    work: &Work,
    names: &[CollectionName],
    begun: std::time::Instant,
    deadline: Instant,
) -> Result<Vec<Vec<Outcome>>, StoreError> {
    let mut writer = Writer {
        core,
        names,
        deadline,
        done: Vec::new(),
        unsure: false,
        at: None,
        away: None,
    };
    let written = timeout_at(deadline, writer.write(work)).await;
    let connection = core.db.connection();
    let error = match written {
        Ok(Ok(())) => {
            connection.health().answered(begun);
            return Ok(vec![writer.done]);
        }
        Ok(Err(failure)) => {
            connection.heard(begun, &failure);
            connection.failed(failure)
        }
        Err(_) => busy(core, names),
    };
    let error = match (error, writer.away) {
        (StoreError::Unavailable { .. }, Some(away)) => {
            connection.heard(begun, &away);
            connection.failed(away)
        }
        (error, _) => error,
    };
    // Rows that are there cannot be taken back.
    if writer.unsure && !matches!(error, StoreError::Indeterminate { .. }) {
        return Err(unknown(names));
    }
    Err(error)
}

/// A row to insert, and what of it is not told by the row itself.
pub(crate) struct Entry {
    pub(crate) row: VersionRow,
    pub(crate) unique: Vec<String>,
    /// Which of the mutations it comes from.
    mutation: usize,
}

/// One call's way through its rounds.
pub(crate) struct Writer<'a> {
    pub(crate) core: &'a Core,
    pub(crate) names: &'a [CollectionName],
    pub(crate) deadline: Instant,
    pub(crate) done: Vec<Outcome>,
    /// Whether a row may have been inserted.
    unsure: bool,
    /// The time of the commit. Its later rounds keep it, unless others
    /// committed in between.
    at: Option<Timestamp>,
    /// Why the server took no write, when it last did not.
    away: Option<Failure>,
}

impl Writer<'_> {
    async fn write(&mut self, work: &Work) -> Result<(), Failure> {
        match work {
            Work::Batches(batches) => {
                let [(name, batch)] = batches.as_slice() else {
                    let what = "commits of several collections".to_owned();
                    return Err(StoreError::Unsupported(what).into());
                };
                self.batch(name, batch).await
            }
            Work::Exact(name, rows) => self.exact(name, rows).await,
            Work::Reserve(name, keys) => self.reserve(name, keys).await,
        }
    }

    /// Does the mutations of a batch in rounds, each as far as it gets.
    async fn batch(&mut self, name: &CollectionName, batch: &Batch) -> Result<(), Failure> {
        let mut first = true;
        while first || self.done.len() < batch.mutations.len() {
            let left = &batch.mutations[self.done.len()..];
            match self.round(name, batch.epoch, left).await {
                Ok(()) => first = false,
                Err(Setback::Away(failure)) => {
                    self.away = Some(failure);
                    pause(3).await;
                }
                Err(
                    Setback::Lost | Setback::NotOurTurn | Setback::Duplicate | Setback::Outdated,
                ) => pause(3).await,
                Err(Setback::Gone(name)) => self.core.shapes.forget(&name),
                Err(Setback::Unknown(_)) => return Err(unknown(self.names).into()),
                Err(Setback::Failed(failure)) => return Err(failure),
            }
            if Instant::now() >= self.deadline && self.done.len() < batch.mutations.len() {
                return Err(busy(self.core, self.names).into());
            }
        }
        Ok(())
    }

    /// Looks at the collection, with nothing left to apply.
    pub(crate) async fn look(
        &mut self,
        session: &mut ClientSession,
        name: &CollectionName,
    ) -> Result<(Place, Timestamp), Setback> {
        self.core.ensure(name).await?;
        let (counter, newest) = self
            .core
            .look(session, name)
            .await?
            .filter(|(counter, _)| self.core.is_ours(name, &counter.shape))
            .ok_or_else(|| Setback::Gone(name.clone()))?;
        if newest.is_some_and(|newest| newest >= counter.next) {
            self.core.roll_forward(session, name).await?;
            return Err(Setback::Lost);
        }
        if counter.shape.uuid.is_none() {
            // An earlier version has made it.
            self.core.mend(session, name, &counter.shape).await?;
            return Err(Setback::Lost);
        }
        self.core.learn(name, &counter.shape);
        let at = counter.at.max(self.at.unwrap_or(counter.clock));
        self.at = Some(at);
        let place = Place {
            name: name.clone(),
            names: Names::of(name),
            first: counter.next,
            counter,
            facts: Facts::default(),
            recalled: BTreeSet::new(),
        };
        Ok((place, at))
    }

    /// Makes sure that no row came while a place was read. Rows come and are
    /// applied in several steps, so what was read in between may be of no
    /// moment at all. Whoever inserts rows learns that from their places.
    async fn undisturbed(&self, session: &mut ClientSession, place: &Place) -> Result<(), Setback> {
        let looked = self.core.look(session, &place.name).await?;
        let (counter, newest) = looked.ok_or_else(|| Setback::Gone(place.name.clone()))?;
        let next = newest.map_or(0, |newest| newest + 1).max(counter.next);
        if next == place.first {
            Ok(())
        } else {
            Err(Setback::Lost)
        }
    }

    async fn round(
        &mut self,
        name: &CollectionName,
        epoch: u64,
        left: &[Mutation],
    ) -> Result<(), Setback> {
        let mut session = self.core.db.session().await?;
        let reserved = Instant::now();
        let (mut place, at) = self.look(&mut session, name).await?;
        if place.counter.shape.described.epoch != epoch {
            if self.unsure {
                return Err(unknown(self.names).into());
            }
            return Err(StoreError::StaleIndexes {
                collection: name.clone(),
            }
            .into());
        }
        // Versions and changes of rows that are there take turns.
        let takes =
            |mutation: &Mutation| matches!(mutation, Mutation::Append(_) | Mutation::Purge(_));
        let same = left.iter().take_while(|one| takes(one) == takes(&left[0]));
        let count = same.count();
        let round = Batch {
            epoch,
            mutations: left[..count].to_vec(),
        };
        let needs = Needs::of(&round, &place.counter.shape)?;
        let mut pen = Pen {
            core: self.core,
            session: &mut session,
        };
        place.facts = pen.facts(&place, &needs).await?;
        let mut ledger = Ledger::new(&place.counter.shape, &place.facts, place.first, at);
        let mut outcomes = Vec::with_capacity(count);
        for mutation in &round.mutations {
            // A key that changes hands is free only once that is applied.
            if !outcomes.is_empty() && ledger.hands_over(mutation)? {
                break;
            }
            outcomes.push(match ledger.apply(mutation) {
                Ok(outcome) => outcome,
                Err(Verdict::Refused(why)) => Outcome::Refused(why),
                Err(Verdict::Failed(error)) => {
                    self.undisturbed(&mut session, &place).await?;
                    return Err(error.into());
                }
            });
        }
        let mut entries = Vec::new();
        for (row, unique) in ledger.log() {
            let mutation = outcomes.iter().position(
                |outcome| matches!(outcome, Outcome::Committed(commit) if commit.cv == row.cv),
            );
            entries.push(Entry {
                row,
                unique,
                mutation: mutation.unwrap_or_default(),
            });
        }
        let changes = ledger.into_changes();
        let shape = &place.counter.shape;
        if entries.is_empty() {
            self.undisturbed(&mut session, &place).await?;
            self.core
                .announce(&mut session, name, shape, &changes.news)
                .await?;
            let edits = changes.changed.iter();
            let edits = edits
                .map(|(row, change)| update_of(row, *change, &place.counter.shape))
                .collect::<Result<Vec<_>, _>>()?;
            let edits = command::there(command::update(&place.names.ver, &edits), shape);
            self.send(&mut session, edits).await?;
            let answered = requests::updates(name, &changes.remembered)?;
            self.send(&mut session, command::update(REQUESTS, &answered))
                .await?;
            self.done.extend(outcomes);
            return Ok(());
        }
        self.fences(&mut session, &place).await?;
        self.core
            .announce(&mut session, name, shape, &changes.news)
            .await?;
        let gained = changes.keys.iter();
        let gained: BTreeSet<&String> = gained
            .filter(|(_, holder)| holder.is_some())
            .map(|(key, _)| key)
            .collect();
        let wanted = reservations(&entries, &gained, place.counter.clock)?;
        self.send(&mut session, command::update(&place.names.keys, &wanted))
            .await?;
        // Nothing of ours may come after somebody else was given the keys.
        let until = if wanted.is_empty() {
            self.deadline
        } else {
            self.deadline.min(reserved + RESERVED)
        };
        let of = |entry: &Entry| round.mutations.get(entry.mutation);
        let documents = documents(&entries, of, &place.counter)?;
        let inserted = self
            .insert(&mut session, &place, &entries, &documents, until)
            .await?;
        if inserted == 0 {
            return Err(Setback::Lost);
        }
        self.apply(&mut session, &place, &documents[..inserted])
            .await?;
        // Those from the first row on that was not inserted are done anew.
        let upto = entries
            .get(inserted)
            .map_or(outcomes.len(), |entry| entry.mutation);
        self.done.extend(outcomes.into_iter().take(upto));
        // Of those that were remembered without a row.
        let unchanged: Vec<_> = changes
            .remembered
            .into_iter()
            .filter(|(_, known)| known.unchanged)
            .collect();
        let answered = requests::updates(name, &unchanged)?;
        self.send(&mut session, command::update(REQUESTS, &answered))
            .await
    }

    /// Makes sure that what can be fenced off is unique.
    async fn fences(&self, session: &mut ClientSession, place: &Place) -> Result<(), Setback> {
        let shape = &place.counter.shape;
        match self.core.ensure_fences(&place.names, shape).await {
            Err(failure) if failure.code() == Some(COLLECTION_GONE) => {
                self.core.mend(session, &place.name, shape).await?;
                Err(Setback::Lost)
            }
            made => Ok(made?),
        }
    }

    pub(crate) async fn send(
        &self,
        session: &mut ClientSession,
        commands: Vec<RawDocumentBuf>,
    ) -> Result<(), Setback> {
        for command in commands {
            self.core.write_one(session, command).await?;
        }
        Ok(())
    }

    /// Inserts rows until one of their places is taken; how many are there.
    ///
    /// An insertion that is not answered is sent again: the rows of ours that
    /// are there already say that they came through, and a place that others
    /// took can never be ours.
    async fn insert(
        &mut self,
        session: &mut ClientSession,
        place: &Place,
        entries: &[Entry],
        documents: &[RawDocumentBuf],
        until: Instant,
    ) -> Result<usize, Setback> {
        let (mut there, mut cause) = (0, None);
        while there < documents.len() {
            if Instant::now() >= until {
                return Err(match cause {
                    Some(failure) => self.unanswered(failure),
                    None if self.unsure => unknown(self.names).into(),
                    None => Setback::Lost,
                });
            }
            let commands = command::insert(&place.names.ver, &documents[there..]);
            let commands = command::there(commands, &place.counter.shape);
            let Some(mut command) = commands.into_iter().next() else {
                break;
            };
            let millis = i64::try_from(INSERTION.as_millis()).unwrap_or(i64::MAX);
            command.append(cstr!("maxTimeMS"), millis);
            let open = std::mem::replace(&mut self.unsure, true);
            let sent = timeout_at(until, self.core.insert_rows(session, command)).await;
            match sent {
                Ok(Ok((count, None))) => there += count,
                Ok(Ok((count, Some(code)))) => {
                    there += count;
                    if code == COLLECTION_GONE {
                        self.unsure = open || there > 0;
                        if self.unsure {
                            return Err(unknown(self.names).into());
                        }
                        let shape = &place.counter.shape;
                        self.core.mend(session, &place.name, shape).await?;
                        return Err(Setback::Lost);
                    }
                    if code != DUPLICATE_KEY {
                        self.unsure = open || there > 0;
                        let error = crate::error::of_code(code, "an insertion", "the server");
                        return Err(error.into());
                    }
                    let row = &entries[there].row;
                    match self.holder(session, place, row.cv).await? {
                        Some(holder) if holder == row.attempt => there += 1,
                        Some(_) => {
                            self.unsure = there > 0 || !self.done.is_empty();
                            return Ok(there);
                        }
                        // Not its place is taken, but something is fenced off:
                        None => {
                            let names = &place.names;
                            let (core, start) = (self.core, Start::of(&place.counter));
                            let start = match there.checked_sub(1) {
                                Some(before) => start.behind(entries[before].row.cv),
                                None => start,
                            };
                            // that rows go on from there by these indexes,
                            let by = core.taken(session, names, Fenced::Start(start)).await?;
                            if let Some(by) = by {
                                self.unsure = there > 0 || !self.done.is_empty();
                                if by == By::Fence && there == 0 {
                                    let (name, read) = (&place.name, &place.counter);
                                    indexing::help(core, session, name, read).await?;
                                }
                                return Ok(there);
                            }
                            // or its attempt.
                            let attempt = Fenced::Attempt(row.attempt);
                            if core.taken(session, names, attempt).await? != Some(By::Fence) {
                                return Err(unknown(self.names).into());
                            }
                            self.unsure = open || there > 0;
                            let why = "it was given up before it was there";
                            return Err(StoreError::unavailable(why).into());
                        }
                    }
                }
                Ok(Err(failure)) if failure.is_refusal() => {
                    self.unsure = open || there > 0;
                    let elsewhere = !self.unsure && failure.is_not_primary();
                    return Err(if elsewhere {
                        Setback::Away(failure)
                    } else {
                        failure.into()
                    });
                }
                Ok(Err(failure)) => {
                    tracing::debug!(error = ?failure, "an insertion is sent again");
                    sleep(Duration::from_millis(100)).await;
                    *session = self.core.db.session().await?;
                    cause = Some(failure);
                }
                Err(_) => return Err(unknown(self.names).into()),
            }
        }
        Ok(there)
    }

    /// Nobody said whether rows were inserted, and this is what came instead.
    fn unanswered(&self, failure: Failure) -> Setback {
        let cause = self.core.db.connection().failed(failure);
        match unknown(self.names) {
            StoreError::Indeterminate { message, .. } => StoreError::Indeterminate {
                message,
                source: Some(cause.into()),
            }
            .into(),
            other => other.into(),
        }
    }

    /// Whose row is at a place, or was.
    async fn holder(
        &self,
        session: &mut ClientSession,
        place: &Place,
        cv: u64,
    ) -> Result<Option<Attempt>, Setback> {
        let query = Query::of(doc! { "_id": int(cv) });
        let found = self.core.documents(session, &place.names, &query).await?;
        match found.first() {
            Some(found) => Ok(row::attempt_of(found)?),
            None => Ok(None),
        }
    }

    /// Applies the rows just inserted. From here on they are committed, and
    /// if it cannot be done now, whoever comes next does it.
    async fn apply(
        &self,
        session: &mut ClientSession,
        place: &Place,
        documents: &[RawDocumentBuf],
    ) -> Result<(), Setback> {
        let applied = self.core.apply(session, place, documents).await;
        if !matches!(applied, Ok(true)) {
            // Somebody else is at it, or the connection is gone.
            while let Err(failure) = self.core.roll_forward(session, &place.name).await {
                if Instant::now() >= self.deadline {
                    return Err(unknown(self.names).into());
                }
                tracing::debug!(error = ?failure, "applying again");
                sleep(Duration::from_millis(100)).await;
            }
        }
        Ok(())
    }

    async fn exact(&mut self, name: &CollectionName, rows: &[VersionRow]) -> Result<(), Failure> {
        loop {
            match self.exact_once(name, rows).await {
                Ok(()) => return Ok(()),
                Err(Setback::Failed(failure)) => return Err(failure),
                Err(Setback::Unknown(_)) => return Err(unknown(self.names).into()),
                Err(Setback::Gone(name)) => self.core.shapes.forget(&name),
                Err(
                    Setback::Lost
                    | Setback::Away(_)
                    | Setback::NotOurTurn
                    | Setback::Duplicate
                    | Setback::Outdated,
                ) => pause(3).await,
            }
            if self.unsure || Instant::now() >= self.deadline {
                return Err(busy(self.core, self.names).into());
            }
        }
    }

    async fn exact_once(
        &mut self,
        name: &CollectionName,
        rows: &[VersionRow],
    ) -> Result<(), Setback> {
        let mut session = self.core.db.session().await?;
        let (mut place, at) = self.look(&mut session, name).await?;
        let purged = rows.iter().filter(|row| row.op == Op::Purge);
        let needs = Needs {
            newest: rows.iter().map(|row| row.id.clone()).collect(),
            older: purged.map(|row| row.id.clone()).collect(),
            ..Needs::default()
        };
        let mut pen = Pen {
            core: self.core,
            session: &mut session,
        };
        place.facts = pen.facts(&place, &needs).await?;
        let mut last = pen.newest(&place).await?;
        let mut ledger = Ledger::new(&place.counter.shape, &place.facts, place.first, at);
        for row in rows {
            if let Err(error) = ledger.take_exact(row.clone(), last) {
                self.undisturbed(&mut session, &place).await?;
                return Err(error.into());
            }
            last = Some((row.cv, row.at));
        }
        let entries: Vec<Entry> = ledger
            .log()
            .into_iter()
            .map(|(row, unique)| Entry {
                row,
                unique,
                mutation: 0,
            })
            .collect();
        let documents = documents(&entries, |_| None, &place.counter)?;
        let news = ledger.into_changes().news;
        let shape = &place.counter.shape;
        self.fences(&mut session, &place).await?;
        self.core.announce(&mut session, name, shape, &news).await?;
        let inserted = self
            .insert(&mut session, &place, &entries, &documents, self.deadline)
            .await?;
        if inserted > 0 || documents.is_empty() {
            self.apply(&mut session, &place, &documents[..inserted])
                .await?;
        }
        if inserted < documents.len() {
            return Err(Setback::Lost);
        }
        Ok(())
    }
}

/// Rows as they are inserted, given the mutations that they come from.
fn documents<'a>(
    entries: &[Entry],
    of: impl Fn(&Entry) -> Option<&'a Mutation>,
    counter: &Counter,
) -> Result<Vec<RawDocumentBuf>, StoreError> {
    let mut start = Start::of(counter);
    let one = |entry: &Entry| {
        let document = document(entry, of(entry), start, &counter.shape);
        start = start.behind(entry.row.cv);
        document
    };
    entries.iter().map(one).collect()
}

/// A row as it is inserted: with what whoever applies it has to know, and what
/// it goes by.
fn document(
    entry: &Entry,
    mutation: Option<&Mutation>,
    start: Start,
    shape: &Shape,
) -> Result<RawDocumentBuf, StoreError> {
    let row = VersionRow {
        to_cv: None,
        ..entry.row.clone()
    };
    // Nothing comes before a first version, so there is nothing to end.
    let mut out = row::encode(&row, &entry.unique, row.ov == 0, shape)?;
    // Rows that are taken as they are come to the same place whenever they come.
    let attempt = mutation.map(|_| Fenced::Attempt(row.attempt));
    let fenced = attempt.into_iter().chain([Fenced::Start(start)]);
    let fenced: RawArrayBuf = fenced.map(|fenced| fenced.to_string()).collect();
    out.append(cstr!("f"), fenced);
    if let Some(Mutation::Append(Append {
        idempotency: Some(request),
        ..
    })) = mutation
    {
        let until = row.at.plus_millis(request.keep_millis);
        out.append(
            cstr!("q"),
            raw(&doc! {
                "k": &request.key,
                "f": binary(request.fingerprint.as_bytes()),
                "until": date(until),
            })?,
        );
    }
    Ok(out)
}

impl Core {
    /// Inserts rows durably: how many, and what stopped it, if something did.
    async fn insert_rows(
        &self,
        session: &mut ClientSession,
        command: RawDocumentBuf,
    ) -> Result<(usize, Option<i32>), Failure> {
        let reply = self
            .db
            .db()
            .run_raw_command(command::durably(command))
            .session(&mut *session)
            .await?;
        self.db.saw(session);
        let count = reply.get_i32("n").unwrap_or_default();
        let count = usize::try_from(count).unwrap_or_default();
        let errors = reply.get_array("writeErrors").ok();
        let first = errors.and_then(|errors| errors.first()?.as_document());
        match first {
            Some(first) => Ok((count, Some(first.get_i32("code").unwrap_or_default()))),
            // It is inserted, but not durably: sent again, it is waited for.
            None => match command::check(&reply) {
                Ok(()) => Ok((count, None)),
                Err(Trouble::Failed(failure)) => Err(failure),
                Err(Trouble::Duplicate) => Ok((count, Some(DUPLICATE_KEY))),
                Err(Trouble::Gone) => Ok((count, Some(COLLECTION_GONE))),
            },
        }
    }
}

//! Writing documents.
//!
//! A write is tried with what is known of the collection's indexes and of the
//! document. What it stops for, a [`Chore`], is seen to, and it is tried
//! again.

use std::collections::BTreeSet;

use mongodb::{
    ClientSession,
    bson::{doc, oid::ObjectId},
    error::{Error, ErrorKind},
};
use serde_json::Value;
use tokio::sync::RwLockReadGuard;
use xronox_model::{CollectionName, Filter, Invalid, OrderedKey, Timestamp};
use xronox_store::{
    DocOp, DocOutcome, DocRefusal, DocUpdate, InsertOutcome, Missing, StoreError, UpdateOutcome,
    documents::Plan,
};

use super::{
    Shared, ddl,
    entry::{Entry, Fit, Met},
    send::{Cleared, leaves_open},
    state::{State, date},
    turn::Tries,
    walk::{self, Walk},
};
use crate::error::Failure;

/// As many documents are deleted at a time.
const PAGE: usize = 1_000;

/// The writes of one call, at one moment.
pub(super) struct Writes<'d> {
    pub(super) of: &'d Shared,
    pub(super) session: ClientSession,
    pub(super) now: Timestamp,
    /// Whether the session is in a transaction.
    pub(super) in_transaction: bool,
    /// Whether something was written, or may have been.
    pub(super) wrote: bool,
    _underway: RwLockReadGuard<'d, ()>,
}

/// Why a try ends here. None of these wrote anything.
#[derive(Debug)]
pub(super) enum Stop {
    Failed(Failure),
    Refused(DocRefusal),
    Again(Chore),
}

/// What there is to do before the next try.
#[derive(Debug)]
pub(super) enum Chore {
    /// To look what the indexes of the collection are.
    Look(CollectionName),
    /// To let these indexes have several keys of a document.
    Grow(CollectionName, Vec<String>),
    /// Nothing: somebody else changed this document first.
    Lost(CollectionName, OrderedKey),
    /// To see whether what took the id of a new document is to be changed.
    Clash(CollectionName),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Error> for Stop {
    fn from(failure: Error) -> Self {
        Self::Failed(failure.into())
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<DocRefusal> for Stop {
    fn from(refusal: DocRefusal) -> Self {
        Self::Refused(refusal)
    }
}

impl<'d> Writes<'d> {
    pub(super) async fn begin(of: &'d Shared) -> Result<Self, StoreError> {
        let underway = of.underway.read().await;
        of.db.check_open()?;
        Ok(Self {
            session: of.db.session().await?,
            of,
            now: of.clock.now(),
            in_transaction: false,
            wrote: false,
            _underway: underway,
        })
    }

    /// What to tell the caller of work that ended so.
    pub(super) fn conclude<T>(self, done: Result<T, StoreError>) -> Result<T, StoreError> {
        self.of.db.saw(&self.session);
        match done {
            Err(StoreError::Indeterminate { message, source }) => {
                Err(StoreError::Indeterminate { message, source })
            }
            Err(error) if self.wrote => Err(StoreError::Indeterminate {
                message: error.to_string(),
                source: None,
            }),
            done => done,
        }
    }

    /// Adds documents.
    pub(super) async fn insert(
        &mut self,
        name: &CollectionName,
        documents: Vec<Value>,
    ) -> Result<Vec<InsertOutcome>, Failure> {
        let fits: Vec<_> = documents.into_iter().map(Fit::new).collect();
        let there = if fits.len() > 1 {
            self.insert_together(name, &fits).await?
        } else {
            Together::default()
        };
        let mut outcomes = Vec::with_capacity(fits.len());
        for (at, fit) in fits.iter().enumerate() {
            outcomes.push(match fit {
                Err(invalid) => InsertOutcome::Refused(DocRefusal::Invalid(invalid.clone())),
                Ok(_) if there.inserted.get(at) == Some(&true) => InsertOutcome::Inserted,
                Ok(fit) => self.insert_one(name, fit, there.tried).await?,
            });
        }
        Ok(outcomes)
    }

    /// Sends all at once, and gives which of them are surely there. The others
    /// are looked at one by one.
    async fn insert_together(
        &mut self,
        name: &CollectionName,
        fits: &[Result<Fit, Invalid>],
    ) -> Result<Together, Failure> {
        let mut tries = Tries::default();
        loop {
            let state = self.of.state(&mut self.session, name).await?;
            let (mut places, mut raws) = (Vec::new(), Vec::new());
            let mut grown = Vec::new();
            for (at, fit) in fits.iter().enumerate() {
                if let Ok(fit) = fit
                    && let Ok(entry) = Entry::of(fit, &state)
                {
                    places.push(at);
                    raws.push(entry.raw);
                    grown.extend(entry.grown);
                }
            }
            if !grown.is_empty() {
                let grow = Chore::Grow(name.clone(), grown);
                self.attend(grow, &mut tries).await?;
                continue;
            }
            let mut together = Together {
                tried: true,
                inserted: vec![false; fits.len()],
            };
            if raws.is_empty() {
                return Ok(together);
            }
            let documents = self.of.documents(name);
            self.wrote = true;
            let sent = documents
                .insert_many(&raws)
                .ordered(false)
                .session(&mut self.session);
            let failed: BTreeSet<usize> = match sent.await {
                Ok(_) => BTreeSet::new(),
                Err(failure) => match &*failure.kind {
                    ErrorKind::InsertMany(many) if many.write_concern_error.is_none() => {
                        let errors = many.write_errors.iter().flatten();
                        errors.map(|error| error.index).collect()
                    }
                    _ if leaves_open(&failure) => (0..raws.len()).collect(),
                    _ => return Err(failure.into()),
                },
            };
            for (sent, at) in places.into_iter().enumerate() {
                together.inserted[at] = !failed.contains(&sent);
            }
            if !failed.is_empty() {
                self.of.states.forget(name);
            }
            return Ok(together);
        }
    }

    /// Adds a document; with `look` what is in its way is looked for first.
    async fn insert_one(
        &mut self,
        name: &CollectionName,
        fit: &Fit,
        look: bool,
    ) -> Result<InsertOutcome, Failure> {
        let mut tries = Tries::default();
        loop {
            match self.try_insert(name, fit, look).await {
                Ok(()) => return Ok(InsertOutcome::Inserted),
                Err(Stop::Refused(refusal)) => return Ok(InsertOutcome::Refused(refusal)),
                Err(Stop::Failed(failure)) => return Err(failure),
                Err(Stop::Again(chore)) => self.attend(chore, &mut tries).await?,
            }
        }
    }

    /// Changes a document.
    pub(super) async fn update(
        &mut self,
        name: &CollectionName,
        update: &DocUpdate,
    ) -> Result<UpdateOutcome, Failure> {
        let of = self.of;
        let mut tries = Tries::default();
        let (mut turn, mut clashed) = (None, false);
        loop {
            match self.try_update(name, update, clashed).await {
                Ok(outcome) => return Ok(outcome),
                Err(Stop::Refused(refusal)) => return Ok(UpdateOutcome::Refused(refusal)),
                Err(Stop::Failed(failure)) => return Err(failure),
                Err(Stop::Again(chore)) => {
                    clashed = matches!(chore, Chore::Clash(_));
                    if let Chore::Lost(name, id) = &chore
                        && turn.is_none()
                    {
                        turn = Some(of.turns.take(name, id).await);
                    }
                    self.attend(chore, &mut tries).await?;
                }
            }
        }
    }

    /// Removes at most so many that match.
    pub(super) async fn delete(
        &mut self,
        name: &CollectionName,
        filter: &Filter,
        limit: usize,
    ) -> Result<u64, Failure> {
        let mut tries = Tries::default();
        let mut gone = 0;
        while gone < limit {
            let page = (limit - gone).min(PAGE);
            match self.try_delete(name, filter, page).await {
                Ok(deleted) => {
                    gone += deleted.done;
                    if deleted.done < deleted.met {
                        tries.again(name).await?;
                    } else if deleted.met < page {
                        break;
                    }
                }
                Err(Stop::Refused(_)) => break,
                Err(Stop::Failed(failure)) => return Err(failure),
                Err(Stop::Again(chore)) => self.attend(chore, &mut tries).await?,
            }
        }
        Ok(gone as u64)
    }

    /// Does several things, one after another.
    pub(super) async fn apply(
        &mut self,
        operations: &[(CollectionName, DocOp)],
    ) -> Result<Vec<DocOutcome>, Failure> {
        let mut outcomes = Vec::with_capacity(operations.len());
        for (name, operation) in operations {
            outcomes.push(match operation {
                DocOp::Insert(document) => DocOutcome::Insert(match Fit::new(document.clone()) {
                    Ok(fit) => self.insert_one(name, &fit, false).await?,
                    Err(invalid) => InsertOutcome::Refused(DocRefusal::Invalid(invalid)),
                }),
                DocOp::Update(update) => DocOutcome::Update(self.update(name, update).await?),
                DocOp::Delete { filter, limit } => {
                    DocOutcome::Delete(self.delete(name, filter, *limit).await?)
                }
            });
        }
        Ok(outcomes)
    }

    /// Removes documents whose time has passed, in all collections.
    pub(super) async fn sweep(&mut self, limit: usize) -> Result<u64, Failure> {
        let mut gone = 0;
        for name in self.of.names().await? {
            if gone >= limit {
                break;
            }
            gone += self.sweep_one(&name, limit - gone).await?;
        }
        Ok(gone as u64)
    }

    /// Removes documents whose time has passed, in one collection.
    pub(super) async fn sweep_one(
        &mut self,
        name: &CollectionName,
        limit: usize,
    ) -> Result<usize, Failure> {
        let state = self.of.state(&mut self.session, name).await?;
        let mut gone = 0;
        for index in state.ending() {
            while gone < limit {
                let page = (limit - gone).min(PAGE);
                let over = doc! { index.date(): { "$lte": date(self.now) } };
                let found = self.exact(name, over, page).await?;
                let done = self.delete_exact(name, &found).await?;
                gone += done;
                if found.len() < page || done == 0 {
                    break;
                }
            }
        }
        Ok(gone)
    }

    /// Sees to what a try stopped for.
    pub(super) async fn attend(&mut self, chore: Chore, tries: &mut Tries) -> Result<(), Failure> {
        match chore {
            Chore::Look(name) => {
                tries.again(&name).await?;
                self.of.states.forget(&name);
                if tries.count() > 2 {
                    ddl::drop_orphans(self.of, &mut self.session, &name).await?;
                }
            }
            Chore::Grow(name, tags) => {
                tries.again(&name).await?;
                for tag in tags {
                    ddl::grow(self.of, &mut self.session, &name, &tag).await?;
                }
            }
            Chore::Lost(name, _) | Chore::Clash(name) => tries.again(&name).await?,
        }
        Ok(())
    }

    /// Adds a document, in a transaction or by itself.
    pub(super) async fn try_insert(
        &mut self,
        name: &CollectionName,
        fit: &Fit,
        look: bool,
    ) -> Result<(), Stop> {
        let state = self.of.state(&mut self.session, name).await?;
        let entry = match Entry::of(fit, &state) {
            Ok(entry) => entry,
            Err(invalid) => {
                // An id that is taken comes first.
                self.clear(name, &state, fit, &[], true).await?;
                return Err(DocRefusal::Invalid(invalid).into());
            }
        };
        if !entry.grown.is_empty() {
            return Err(Stop::Again(Chore::Grow(name.clone(), entry.grown)));
        }
        // A duplicate ends a transaction, so nothing may be in the way.
        if look || self.in_transaction {
            let cleared = self.clear(name, &state, fit, &entry.unique, true);
            if let Cleared::Ours = cleared.await? {
                return Ok(());
            }
        }
        self.send(name, &state, fit, &entry, None).await
    }

    /// Changes a document, in a transaction or by itself. `clashed` says that
    /// on the last try the one to make was in the way of itself.
    pub(super) async fn try_update(
        &mut self,
        name: &CollectionName,
        update: &DocUpdate,
        clashed: bool,
    ) -> Result<UpdateOutcome, Stop> {
        let state = self.of.state(&mut self.session, name).await?;
        let matching = self.matching(name, &state, &update.filter, 1, |met| met);
        if let Some(met) = matching.await?.pop() {
            let changed = update.update.apply(&met.document);
            let changed = changed.and_then(Fit::new).map_err(DocRefusal::Invalid)?;
            let modified = changed.document != met.document;
            if modified {
                self.replace(name, &state, &changed, met.rev).await?;
            }
            return Ok(UpdateOutcome::Matched {
                modified,
                document: update.returning.then_some(changed.document),
            });
        }
        if update.missing != Missing::Insert {
            return Ok(UpdateOutcome::Unmatched);
        }
        let made = update.update.make(&update.filter);
        let made = made.and_then(Fit::new).map_err(DocRefusal::Invalid)?;
        match self.try_insert(name, &made, false).await {
            // It may match, made by another upsert.
            Err(Stop::Refused(DocRefusal::Duplicate { .. }))
                if !clashed && !self.in_transaction =>
            {
                Err(Stop::Again(Chore::Clash(name.clone())))
            }
            Err(stop) => Err(stop),
            Ok(()) => Ok(UpdateOutcome::Inserted {
                id: made.document["_id"].clone(),
                document: update.returning.then_some(made.document),
            }),
        }
    }

    /// Removes a page of those that match.
    pub(super) async fn try_delete(
        &mut self,
        name: &CollectionName,
        filter: &Filter,
        page: usize,
    ) -> Result<Deleted, Stop> {
        let state = self.of.state(&mut self.session, name).await?;
        let exact = self.matching(name, &state, filter, page, |met| (met.id, met.rev));
        let exact = exact.await?;
        Ok(Deleted {
            met: exact.len(),
            done: self.delete_exact(name, &exact).await?,
        })
    }

    /// Documents that match, in any order, and of each what `keep` gives.
    async fn matching<T>(
        &mut self,
        name: &CollectionName,
        state: &State,
        filter: &Filter,
        limit: usize,
        keep: impl Fn(Met) -> T,
    ) -> Result<Vec<T>, Stop> {
        let stale = |failure| {
            if walk::is_stale(&failure) {
                Stop::Again(Chore::Look(name.clone()))
            } else {
                Stop::Failed(failure)
            }
        };
        let ready = state.ready();
        let indexed: Vec<_> = ready.iter().map(|index| index.indexed()).collect();
        let plan = Plan::of(&indexed, filter, None);
        let (documents, living) = (self.of.documents(name), state.living(self.now));
        let mut walk = Walk::new(self.of, documents, &ready, &plan, filter, living, limit)?;
        let mut matching = Vec::new();
        while matching.len() < limit
            && let Some(met) = walk.next(&mut self.session).await.map_err(stale)?
        {
            matching.push(keep(met));
        }
        Ok(matching)
    }

    /// Puts a document in the place of that of a revision.
    async fn replace(
        &mut self,
        name: &CollectionName,
        state: &State,
        fit: &Fit,
        over: ObjectId,
    ) -> Result<(), Stop> {
        let entry = Entry::of(fit, state).map_err(DocRefusal::Invalid)?;
        if !entry.grown.is_empty() {
            return Err(Stop::Again(Chore::Grow(name.clone(), entry.grown)));
        }
        if self.in_transaction {
            self.clear(name, state, fit, &entry.unique, false).await?;
        }
        self.send(name, state, fit, &entry, Some(over)).await
    }
}

/// What became of documents that were inserted together.
#[derive(Default)]
struct Together {
    tried: bool,
    inserted: Vec<bool>,
}

/// How many documents were to be deleted, and how many were.
pub(super) struct Deleted {
    pub(super) met: usize,
    pub(super) done: usize,
}

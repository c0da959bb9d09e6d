//! What a batch does to a collection, worked out in memory.
//!
//! [`Needs`] says what of a collection a batch has to know, [`Facts`] hold it,
//! and a [`Ledger`] carries the mutations out on them, one after another, each
//! seeing those before it. Nothing here talks to a server: how the facts are
//! read and the [`Changes`] written is the commit's to know.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use xronox_model::{Attempt, Location, Op, RecordId, Sha256, Timestamp, UniqueKey, VersionRow};
use xronox_store::{
    Append, Batch, Commit, Mutation, NewBody, Outcome, Presence, Purge, Refusal, Ruling,
    StoreError, Taken,
    ruling::{self, Succession},
};

use crate::{row::Stored, shape::Shape};

/// What a batch has to know of a collection.
#[derive(Debug, Default)]
pub(crate) struct Needs {
    /// Records whose newest row matters.
    pub(crate) newest: BTreeSet<RecordId>,
    /// Whether those rows must bring their inline bodies.
    pub(crate) bodies: bool,
    /// Other versions that matter, with their bodies.
    pub(crate) sources: BTreeSet<(RecordId, u64)>,
    /// Versions to prune.
    pub(crate) pruned: BTreeSet<(RecordId, u64)>,
    /// Records whose older rows go: those of them that name objects, to tell
    /// which of these are released. The others, however many, need not be read.
    pub(crate) older: BTreeSet<RecordId>,
    /// Records whose newest row may go: if it names an object, the others that
    /// name it matter.
    pub(crate) replaced: BTreeSet<RecordId>,
    /// Rows whose body moves, and the objects it moves from.
    pub(crate) moved: BTreeSet<u64>,
    pub(crate) objects: BTreeSet<String>,
    /// Unique keys that are wanted, and who wants them.
    pub(crate) unique: BTreeSet<String>,
    pub(crate) attempts: BTreeSet<Attempt>,
    /// Names of requests.
    pub(crate) requests: BTreeSet<String>,
}

impl Needs {
    pub(crate) fn of(batch: &Batch, shape: &Shape) -> Result<Self, StoreError> {
        let mut needs = Self::default();
        for mutation in &batch.mutations {
            match mutation {
                Mutation::Append(append) => {
                    needs.newest.insert(append.id.clone());
                    match append.body {
                        NewBody::Given(_) => {}
                        NewBody::OfNewest => needs.bodies = true,
                        NewBody::OfVersion(ov) => {
                            needs.sources.insert((append.id.clone(), ov));
                        }
                    }
                    if append.newest_only {
                        needs.replaced.insert(append.id.clone());
                    }
                    for key in &append.unique {
                        needs.unique.insert(stored_key(shape, key)?);
                        needs.attempts.insert(append.attempt);
                    }
                    needs
                        .requests
                        .extend(append.idempotency.iter().map(|request| request.key.clone()));
                }
                Mutation::Purge(purge) => {
                    needs.newest.insert(purge.id.clone());
                    needs.older.insert(purge.id.clone());
                }
                Mutation::Prune { id, ovs } => {
                    needs.newest.insert(id.clone());
                    needs.pruned.extend(ovs.iter().map(|ov| (id.clone(), *ov)));
                }
                Mutation::Relocate { cv, from, .. } => {
                    needs.moved.insert(*cv);
                    if let Location::Object { key, .. } = from {
                        needs.objects.insert(key.clone());
                    }
                }
            }
        }
        Ok(needs)
    }

    /// Whether nothing matters but what the newest rows say without their
    /// bodies.
    pub(crate) fn only_newest(&self) -> bool {
        !self.bodies
            && self.sources.is_empty()
            && self.pruned.is_empty()
            && self.older.is_empty()
            && self.replaced.is_empty()
            && self.moved.is_empty()
            && self.objects.is_empty()
            && self.unique.is_empty()
            && self.requests.is_empty()
    }
}

/// A unique key as it is stored: the tag of its index, a colon, the key.
pub(crate) fn stored_key(shape: &Shape, key: &UniqueKey) -> Result<String, StoreError> {
    let index = shape
        .unique(&key.index)
        .ok_or_else(|| ruling::no_index(&key.index))?;
    Ok(format!("{}:{}", index.tag, key.key))
}

/// Whether every mutation makes a new record of its own and asks for nothing
/// that must be looked up: if one of the records is there already, an index
/// says so when the row is inserted.
pub(crate) fn only_births(batch: &Batch) -> bool {
    let mut ids = BTreeSet::new();
    let mut unique = BTreeSet::new();
    batch.mutations.iter().all(|mutation| match mutation {
        Mutation::Append(append) => {
            append.expect.state == Presence::Absent
                && append.expect.ov.is_none()
                && append.expect.attempt.is_none()
                && append.idempotency.is_none()
                && matches!(append.body, NewBody::Given(_))
                && ids.insert(&append.id)
                && append.unique.iter().all(|key| unique.insert(key))
        }
        _ => false,
    })
}

/// How many `cv` a batch may take.
pub(crate) fn most_versions(batch: &Batch) -> u64 {
    let takes = |mutation: &&Mutation| matches!(mutation, Mutation::Append(_) | Mutation::Purge(_));
    batch.mutations.iter().filter(takes).count() as u64
}

/// An outcome that is repeated under its idempotency key.
#[derive(Debug, Clone)]
pub(crate) struct Remembered {
    pub(crate) fingerprint: Sha256,
    pub(crate) commit: Commit,
    pub(crate) unchanged: bool,
    /// The first moment at which it is forgotten.
    pub(crate) until: Timestamp,
}

/// What is known of a collection, as a batch needs it.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) rows: Vec<Stored>,
    /// Unique keys and who holds them: those that are wanted, and those of
    /// the records in question.
    pub(crate) holders: Vec<(String, RecordId)>,
    pub(crate) remembered: Vec<(String, Remembered)>,
}

/// What is to be written of a collection.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// New rows, in the order of `cv`.
    pub(crate) added: Vec<(VersionRow, Vec<String>)>,
    /// Rows that are there and change.
    pub(crate) changed: Vec<(VersionRow, Change)>,
    /// Records whose rows before an `ov` go, PURGE rows aside.
    pub(crate) older: BTreeMap<RecordId, u64>,
    /// Rows that go.
    pub(crate) gone: BTreeSet<u64>,
    /// Stubs and until when they are valid.
    pub(crate) extended: BTreeMap<u64, u64>,
    /// Unique keys that change hands: who holds them from now on.
    pub(crate) keys: Vec<(String, Option<RecordId>)>,
    pub(crate) remembered: Vec<(String, Remembered)>,
    /// What the counter document has to tell from now on.
    pub(crate) news: News,
}

/// What happens in a collection for the first time.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// The tags of indexes that meet several keys.
    pub(crate) multi: BTreeSet<String>,
    /// A record is without its first row.
    pub(crate) trimmed: bool,
    /// A row is a stub.
    pub(crate) stubs: bool,
}

impl News {
    pub(crate) fn is_empty(&self) -> bool {
        self.multi.is_empty() && !self.trimmed && !self.stubs
    }
}

/// What becomes of a row that is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each may be or not")]
pub(crate) struct Change {
    /// Its validity ends then, maybe later than before.
    pub(crate) closed: bool,
    /// It was its record's newest one.
    pub(crate) ended: bool,
    /// Its body is elsewhere.
    pub(crate) moved: bool,
    /// It becomes a stub.
    pub(crate) stub: bool,
}

#[derive(Debug, Clone)]
struct Slot {
    stored: Stored,
    /// What it was added as, if it is a stub since.
    whole: Option<Box<Stored>>,
    added: bool,
    removed: bool,
    change: Change,
}

/// A collection in the middle of a commit.
#[derive(Debug)]
pub(crate) struct Ledger<'a> {
    shape: &'a Shape,
    at: Timestamp,
    next: u64,
    rows: BTreeMap<u64, Slot>,
    /// Of each record, the `cv` of each `ov`, as far as they are known.
    records: HashMap<RecordId, BTreeMap<u64, u64>>,
    holders: HashMap<String, RecordId>,
    held: HashMap<RecordId, BTreeSet<String>>,
    /// Who held the keys that changed hands, before.
    before: BTreeMap<String, Option<RecordId>>,
    remembered: HashMap<String, Remembered>,
    /// The requests among them that were not remembered before.
    answered: BTreeSet<String>,
    news: News,
    /// Of records whose older rows go, the `ov` that they are older than.
    older: BTreeMap<RecordId, u64>,
    gone: BTreeSet<u64>,
    extended: BTreeMap<u64, u64>,
}

impl<'a> Ledger<'a> {
    /// A commit at `at` whose first version is `next`.
    pub(crate) fn new(shape: &'a Shape, facts: &Facts, next: u64, at: Timestamp) -> Self {
        let mut ledger = Self {
            shape,
            at,
            next,
            rows: BTreeMap::new(),
            records: HashMap::new(),
            holders: facts.holders.iter().cloned().collect(),
            held: HashMap::new(),
            before: BTreeMap::new(),
            remembered: facts.remembered.iter().cloned().collect(),
            answered: BTreeSet::new(),
            news: News::default(),
            older: BTreeMap::new(),
            gone: BTreeSet::new(),
            extended: BTreeMap::new(),
        };
        for (key, holder) in &facts.holders {
            let held = ledger.held.entry(holder.clone()).or_default();
            held.insert(key.clone());
        }
        for stored in &facts.rows {
            ledger.put(stored.clone(), false);
        }
        ledger
    }

    /// The first `cv` that is still free.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    fn put(&mut self, stored: Stored, added: bool) {
        let (id, ov, cv) = (stored.row.id.clone(), stored.row.ov, stored.row.cv);
        self.records.entry(id).or_default().insert(ov, cv);
        let slot = Slot {
            stored,
            whole: None,
            added,
            removed: false,
            change: Change::default(),
        };
        self.rows.insert(cv, slot);
    }

    /// The rows of a record that are known, in the order of `ov`.
    fn versions(&self, id: &RecordId) -> impl DoubleEndedIterator<Item = &VersionRow> {
        let cvs = self.records.get(id).into_iter().flat_map(BTreeMap::values);
        cvs.filter_map(|cv| self.rows.get(cv))
            .filter(|slot| !slot.removed)
            .map(|slot| &slot.stored.row)
    }

    fn newest_of(&self, id: &RecordId) -> Option<&VersionRow> {
        self.versions(id).next_back()
    }

    fn version(&self, id: &RecordId, ov: u64) -> Option<&VersionRow> {
        let slot = self.rows.get(self.records.get(id)?.get(&ov)?)?;
        (!slot.removed).then_some(&slot.stored.row)
    }

    pub(crate) fn apply(&mut self, mutation: &Mutation) -> Result<Outcome, Verdict> {
        match mutation {
            Mutation::Append(append) => self.append(append),
            Mutation::Purge(purge) => self.purge(purge),
            Mutation::Prune { id, ovs } => self.prune(id, ovs),
            Mutation::Relocate { cv, from, to } => Ok(self.relocate(*cv, from, to)),
        }
    }

    fn append(&mut self, append: &Append) -> Result<Outcome, Verdict> {
        if let Some(repeated) = self.repeated(append)? {
            return Ok(repeated);
        }
        let newest = self.newest_of(&append.id);
        let source = append
            .source(newest)
            .and_then(|ov| self.version(&append.id, ov));
        let ruling = append.rule(newest, source, &self.shape.described, self.next, self.at)?;
        let (commit, unchanged) = match ruling {
            Ruling::Unchanged => {
                let newest = newest.ok_or(Refusal::NotFound)?;
                (in_short(newest, Vec::new()), true)
            }
            Ruling::Add(row) => (self.add(append, *row)?, false),
        };
        if let Some(request) = &append.idempotency {
            let remembered = Remembered {
                fingerprint: request.fingerprint,
                commit: Commit {
                    released: Vec::new(),
                    ..commit.clone()
                },
                unchanged,
                until: self.at.plus_millis(request.keep_millis),
            };
            self.remembered.insert(request.key.clone(), remembered);
            self.answered.insert(request.key.clone());
        }
        Ok(outcome(commit, unchanged))
    }

    fn repeated(&self, append: &Append) -> Result<Option<Outcome>, Refusal> {
        let Some(request) = &append.idempotency else {
            return Ok(None);
        };
        match self.remembered.get(&request.key) {
            Some(known) if self.at < known.until => {
                if known.fingerprint == request.fingerprint {
                    Ok(Some(outcome(known.commit.clone(), known.unchanged)))
                } else {
                    Err(Refusal::KeyReused)
                }
            }
            _ => Ok(None),
        }
    }

    fn add(&mut self, append: &Append, row: VersionRow) -> Result<Commit, Verdict> {
        let id = &append.id;
        let mut wanted = Vec::new();
        if row.live() {
            for key in &append.unique {
                let stored = stored_key(self.shape, key)?;
                if let Some(holder) = self.holders.get(&stored).filter(|holder| *holder != id) {
                    return Err(Verdict::Refused(Refusal::Taken(Taken {
                        index: key.index.clone(),
                        wanted_by: id.clone(),
                        holder: holder.clone(),
                    })));
                }
                wanted.push(stored);
            }
        }
        self.hold(id, &wanted);
        let commit = in_short(&row, Vec::new());
        let released = self.push(row, wanted);
        Ok(Commit { released, ..commit })
    }

    /// Adds a row as it is: see [`Catalog::append_exact`](xronox_store::Catalog::append_exact).
    pub(crate) fn take_exact(
        &mut self,
        row: VersionRow,
        last: Option<(u64, Timestamp)>,
    ) -> Result<(), StoreError> {
        let (id, purged) = (row.id.clone(), row.op == Op::Purge);
        let newest = self.newest_of(&id);
        let row = ruling::rule_exact(row, newest, last, &self.shape.described)?;
        let trimmed = newest.is_none() && row.ov > 0;
        self.news.trimmed |= trimmed && !self.shape.trimmed;
        self.news.stubs |= row.pruned.is_some() && !self.shape.stubs;
        self.next = row.cv;
        self.push(row, Vec::new());
        if purged {
            self.forget_older(&id);
        }
        Ok(())
    }

    fn purge(&mut self, purge: &Purge) -> Result<Outcome, Verdict> {
        let row = purge.rule(self.newest_of(&purge.id), self.next, self.at)?;
        let commit = in_short(&row, Vec::new());
        self.hold(&purge.id, &[]);
        self.push(row, Vec::new());
        let released = self.forget_older(&purge.id);
        Ok(Outcome::Committed(Commit { released, ..commit }))
    }

    fn prune(&mut self, id: &RecordId, ovs: &[u64]) -> Result<Outcome, Verdict> {
        if self
            .newest_of(id)
            .is_some_and(|newest| ovs.contains(&newest.ov))
        {
            return Err(Verdict::Refused(Refusal::Newest));
        }
        let ovs: BTreeSet<u64> = ovs.iter().copied().collect();
        let rows = ovs.iter().filter_map(|ov| self.version(id, *ov));
        let full: Vec<VersionRow> = rows
            .filter(|row| row.pruned.is_none() && row.op != Op::Purge)
            .cloned()
            .collect();
        for row in &full {
            if let Some(slot) = self.rows.get_mut(&row.cv) {
                slot.stored.row = row.clone().into_stub();
                slot.stored.unique.clear();
                slot.change.stub = true;
                self.news.stubs |= !self.shape.stubs;
            }
        }
        Ok(Outcome::Done {
            released: ruling::released(&full, self.versions(id)),
        })
    }

    fn relocate(&mut self, cv: u64, from: &Location, to: &Location) -> Outcome {
        let mut released = Vec::new();
        if let Some(slot) = self.rows.get_mut(&cv)
            && !slot.removed
            && slot
                .stored
                .row
                .body
                .as_ref()
                .is_some_and(|body| body.location == *from)
            && from != to
        {
            let before = slot.stored.row.clone();
            if let Some(body) = &mut slot.stored.row.body {
                body.location = to.clone();
                body.inline = None;
            }
            slot.change.moved = true;
            released = ruling::released([&before], self.versions(&before.id));
        }
        Outcome::Done { released }
    }

    /// Adds a row as its record's newest one; gives the objects that none of
    /// its rows names any more.
    fn push(&mut self, row: VersionRow, unique: Vec<String>) -> Vec<Location> {
        let id = row.id.clone();
        let replaced = self
            .newest_of(&id)
            .cloned()
            .filter(|newest| self.succeed(newest, &row) != Succession::Kept);
        for (field, keys) in row.keys.iter() {
            if keys.is_multi()
                && let Some(index) = self.shape.of_field(field).filter(|index| !index.multi)
            {
                self.news.multi.insert(index.tag.clone());
            }
        }
        self.next = row.cv + 1;
        let stored = Stored {
            row,
            unique,
            strange: false,
        };
        self.put(stored, true);
        replaced.map_or_else(Vec::new, |gone| {
            ruling::released([&gone], self.versions(&id))
        })
    }

    /// Does to a record's newest row what the one that follows does to it.
    fn succeed(&mut self, newest: &VersionRow, row: &VersionRow) -> Succession {
        let succession = Succession::of(newest, row);
        let (closed, stub) = match succession {
            Succession::Kept => (newest.cv, false),
            Succession::Stub => (newest.cv, true),
            Succession::Gone { stub } => {
                if let Some(slot) = self.rows.get_mut(&newest.cv) {
                    slot.removed = true;
                    if !slot.added {
                        self.gone.insert(newest.cv);
                    }
                }
                (stub, false)
            }
        };
        match self.rows.get_mut(&closed) {
            Some(slot) => {
                if stub {
                    self.news.stubs |= !self.shape.stubs;
                    slot.whole = Some(Box::new(slot.stored.clone()));
                    slot.stored.row = newest.clone().into_stub();
                    slot.stored.unique.clear();
                    slot.change.stub = true;
                }
                slot.change.ended |= slot.stored.row.to_cv.is_none();
                slot.stored.row.to_cv = Some(row.cv);
                slot.change.closed = true;
            }
            None => {
                self.extended.insert(closed, row.cv);
            }
        }
        succession
    }

    /// Lets a record hold these unique keys and no others.
    fn hold(&mut self, id: &RecordId, wanted: &[String]) {
        for key in self.held.remove(id).unwrap_or_default() {
            let before = self.holders.remove(&key);
            self.before.entry(key).or_insert(before);
        }
        for key in wanted {
            let before = self.holders.insert(key.clone(), id.clone());
            self.before.entry(key.clone()).or_insert(before);
        }
        if !wanted.is_empty() {
            self.held
                .insert(id.clone(), wanted.iter().cloned().collect());
        }
    }

    /// Removes the rows of a record before its newest one, PURGE rows aside;
    /// gives the objects that none of its rows names any more.
    fn forget_older(&mut self, id: &RecordId) -> Vec<Location> {
        let Some((newest, ov)) = self.newest_of(id).map(|newest| (newest.cv, newest.ov)) else {
            return Vec::new();
        };
        if ov > 0 {
            self.older.insert(id.clone(), ov);
            self.news.trimmed |= !self.shape.trimmed;
        }
        let keep = |row: &&VersionRow| row.cv == newest || row.op == Op::Purge;
        let (kept, gone): (Vec<_>, Vec<_>) = self.versions(id).cloned().partition(|row| keep(&row));
        for row in &gone {
            if let Some(slot) = self.rows.get_mut(&row.cv) {
                slot.removed = true;
            }
        }
        ruling::released(&gone, &kept)
    }

    /// Whether a mutation wants a unique key that has changed hands before it.
    pub(crate) fn hands_over(&self, mutation: &Mutation) -> Result<bool, StoreError> {
        let Mutation::Append(append) = mutation else {
            return Ok(false);
        };
        for key in &append.unique {
            if self.before.contains_key(&stored_key(self.shape, key)?) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Every version that was added, also those that did not last, in the
    /// order of `cv`.
    pub(crate) fn log(&self) -> Vec<(VersionRow, Vec<String>)> {
        let added = self.rows.values().filter(|slot| slot.added);
        let stored = added.map(|slot| slot.whole.as_deref().unwrap_or(&slot.stored));
        stored
            .map(|stored| (stored.row.clone(), stored.unique.clone()))
            .collect()
    }

    /// What is to be written.
    pub(crate) fn into_changes(self) -> Changes {
        let mut changes = Changes {
            news: self.news,
            older: self.older,
            gone: self.gone,
            extended: self.extended,
            ..Changes::default()
        };
        for slot in self.rows.into_values().filter(|slot| !slot.removed) {
            if slot.added {
                changes.added.push((slot.stored.row, slot.stored.unique));
            } else if slot.change != Change::default() {
                changes.changed.push((slot.stored.row, slot.change));
            }
        }
        let (holders, remembered) = (&self.holders, &self.remembered);
        changes.keys = self
            .before
            .into_iter()
            .filter(|(key, before)| holders.get(key) != before.as_ref())
            .map(|(key, _)| {
                let holder = holders.get(&key).cloned();
                (key, holder)
            })
            .collect();
        changes.remembered = self
            .answered
            .into_iter()
            .filter_map(|key| Some((key.clone(), remembered.get(&key)?.clone())))
            .collect();
        changes
    }
}

/// Why a mutation does not go ahead.
#[derive(Debug)]
pub(crate) enum Verdict {
    Refused(Refusal),
    /// The whole commit breaks the contract.
    Failed(StoreError),
}

impl From<Refusal> for Verdict {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<StoreError> for Verdict {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

/// What a caller is told of a committed version.
pub(crate) fn in_short(row: &VersionRow, released: Vec<Location>) -> Commit {
    Commit {
        id: row.id.clone(),
        ov: row.ov,
        cv: row.cv,
        at: row.at,
        op: row.op,
        released,
    }
}

fn outcome(commit: Commit, unchanged: bool) -> Outcome {
    if unchanged {
        Outcome::Unchanged(commit)
    } else {
        Outcome::Committed(commit)
    }
}

/// Carries out batches, each on the ledger that `open` makes for it: the
/// outcomes, and the ledgers afterwards.
///
/// Mutations before a refusal in a group may have seen that group, so all is
/// carried out anew without it; no `cv` is skipped that way.
pub(crate) fn carry_out<'a>(
    batches: &[&Batch],
    open: impl Fn(usize) -> Ledger<'a>,
) -> Result<(Vec<Vec<Outcome>>, Vec<Ledger<'a>>), StoreError> {
    let mut struck: HashMap<u32, Strike> = HashMap::new();
    loop {
        match run(batches, &open, &struck)? {
            Ran::Through(outcomes, ledgers) => return Ok((outcomes, ledgers)),
            Ran::Into(group, strike) => struck.insert(group, strike),
        };
    }
}

/// Where a member of a group was refused, and why.
struct Strike {
    place: (usize, usize),
    why: Refusal,
}

/// How far a commit came.
enum Ran<'a> {
    Through(Vec<Vec<Outcome>>, Vec<Ledger<'a>>),
    /// Up to the first refusal in a group that may not have any.
    Into(u32, Strike),
}

fn run<'a>(
    batches: &[&Batch],
    open: &impl Fn(usize) -> Ledger<'a>,
    struck: &HashMap<u32, Strike>,
) -> Result<Ran<'a>, StoreError> {
    let mut all = Vec::with_capacity(batches.len());
    let mut ledgers = Vec::with_capacity(batches.len());
    for (b, batch) in batches.iter().enumerate() {
        let mut ledger = open(b);
        let mut outcomes = Vec::with_capacity(batch.mutations.len());
        for (m, mutation) in batch.mutations.iter().enumerate() {
            let group = mutation.group();
            if let Some(strike) = group.and_then(|group| struck.get(&group)) {
                let own = strike.place == (b, m);
                let why = if own {
                    strike.why.clone()
                } else {
                    Refusal::Group
                };
                outcomes.push(Outcome::Refused(why));
                continue;
            }
            match (ledger.apply(mutation), group) {
                (Ok(outcome), _) => outcomes.push(outcome),
                (Err(Verdict::Failed(error)), _) => return Err(error),
                (Err(Verdict::Refused(why)), None) => outcomes.push(Outcome::Refused(why)),
                (Err(Verdict::Refused(why)), Some(group)) => {
                    let place = (b, m);
                    return Ok(Ran::Into(group, Strike { place, why }));
                }
            }
        }
        all.push(outcomes);
        ledgers.push(ledger);
    }
    Ok(Ran::Through(all, ledgers))
}

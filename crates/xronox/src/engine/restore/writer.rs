//! Committing what records need.

use xronox_model::{Attempt, IndexKeys, Op, RecordId, Sha256, SystemChange, UniqueKey};
use xronox_store::{
    Append, Bodies, Expect, Indexes, Mutation, NewBody, Outcome, Presence, Refusal, Taken,
};

use super::{
    job::Job,
    plan::{Need, Past, Plan},
};
use crate::{
    Error,
    collection::Shared,
    engine::{
        attribution::Attribution,
        draft::{Draft, contended, refused},
        prepare::unique_keys,
        read::not_found,
        record::parse,
        scope::Scope,
    },
};

/// How often mutations are prepared anew because the indexes changed.
const MAX_TRIES: u32 = 100;
/// Records that trade unique keys in one commit.
const MAX_TANGLED: usize = 100;
/// Attempts at that: each adds a record, frees one, or meets new indexes.
const MAX_ROUNDS: usize = 300;

/// What became of a record that needed something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It has it.
    Done,
    /// It had it already.
    Unchanged,
    /// Others changed it, or hold what it needs.
    Conflict,
    /// Retention was faster.
    Pruned,
}

/// What a mutation does to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    /// What its plan says.
    Whole,
    /// A delete that frees its unique keys for others.
    Free,
    /// What its plan says, after that.
    Rest,
}

/// The hand of one job.
pub(super) struct Writer<'a> {
    shared: &'a Shared,
    job: String,
    past: Past,
    /// The newest commit when the restore began.
    start: Option<u64>,
    attribution: Attribution,
}

/// What was made of the answer to a request.
enum Answer {
    Outcomes(Vec<Outcome>),
    /// The indexes have changed.
    Stale,
}

impl<'a> Writer<'a> {
    pub(super) fn new(shared: &'a Shared, job: &Job, past: Past) -> Self {
        Self {
            shared,
            job: job.id.clone(),
            past,
            start: job.start,
            attribution: job.attribution(),
        }
    }

    /// Commits what these records need, and gives what became of each.
    pub(super) async fn write(&self, plans: &[&Plan]) -> Result<Vec<Fate>, Error> {
        let mut fates: Vec<Option<Fate>> = vec![None; plans.len()];
        let mut with_keys = vec![false; plans.len()];
        let mut tangled = Vec::new();
        for (i, plan) in plans.iter().enumerate() {
            if plan.row.to_cv.is_some() {
                fates[i] = Some(self.fate_of_changed(plan).await?);
            }
        }
        for _ in 0..MAX_TRIES {
            let open: Vec<usize> = (0..plans.len())
                .filter(|i| fates[*i].is_none() && !tangled.contains(i))
                .collect();
            if open.is_empty() {
                break;
            }
            let indexes = self.shared.indexes().await?;
            let mut mutations = Vec::with_capacity(open.len());
            for &i in &open {
                let append = self
                    .append(plans[i], Act::Whole, &indexes, with_keys[i])
                    .await;
                match append {
                    Ok(append) => mutations.push(Mutation::Append(append)),
                    Err(Stopped::Pruned) => fates[i] = Some(Fate::Pruned),
                    Err(Stopped::Error(error)) => return Err(error),
                }
            }
            let Answer::Outcomes(outcomes) = self.submit(&indexes, mutations).await? else {
                continue;
            };
            let sent = open.into_iter().filter(|i| fates[*i].is_none());
            for (i, outcome) in sent.collect::<Vec<_>>().into_iter().zip(outcomes) {
                match outcome {
                    Outcome::Refused(Refusal::KeysNeeded) => with_keys[i] = true,
                    Outcome::Refused(Refusal::Taken(_)) => tangled.push(i),
                    outcome => fates[i] = Some(self.fate(plans[i], outcome).await?),
                }
            }
        }
        // Whoever held a key may have given it up by now.
        let floor = plans.first().map_or(0, |plan| plan.row.cv);
        for i in tangled {
            fates[i] = Some(self.untangle(plans[i], floor).await?);
        }
        fates
            .into_iter()
            .map(|fate| fate.ok_or_else(contended))
            .collect()
    }

    async fn fate(&self, plan: &Plan, outcome: Outcome) -> Result<Fate, Error> {
        match outcome {
            Outcome::Committed(_) => Ok(Fate::Done),
            Outcome::Unchanged(_) => Ok(Fate::Unchanged),
            Outcome::Refused(Refusal::Pruned) => Ok(Fate::Pruned),
            Outcome::Refused(Refusal::Conflict { .. } | Refusal::NotFound | Refusal::Deleted) => {
                self.fate_of_changed(plan).await
            }
            Outcome::Refused(refusal) => Err(refused(refusal)),
            Outcome::Done { .. } => Err(refused(Refusal::KeysNeeded)),
        }
    }

    /// Of a record that has a newer version: it may be the one that this job
    /// made before it was interrupted.
    ///
    /// Only to be asked of a record that was changed: whoever asks whether an
    /// attempt came through, and hears that it did not, has ended it.
    async fn fate_of_changed(&self, plan: &Plan) -> Result<Fate, Error> {
        let (id, attempt) = (&plan.row.id, self.attempt(plan, Act::Whole));
        let catalog = &self.shared.database.catalog;
        let ours = catalog.outcome(&self.shared.name, id, attempt).await?;
        Ok(if ours.is_some() {
            Fate::Done
        } else {
            Fate::Conflict
        })
    }

    /// Names a mutation so that the same job always gives it the same name.
    fn attempt(&self, plan: &Plan, act: Act) -> Attempt {
        let free = u8::from(act == Act::Free);
        let (id, ov) = (plan.row.id.to_string(), plan.row.ov);
        // Neither of the two can hold the separator.
        let name = format!("{}\0{id}\0{ov}\0{free}", self.job);
        let mut bytes = [0; 12];
        bytes.copy_from_slice(&Sha256::of(name.as_bytes()).as_bytes()[..12]);
        Attempt::from_bytes(bytes)
    }

    async fn submit(&self, indexes: &Indexes, mutations: Vec<Mutation>) -> Result<Answer, Error> {
        if mutations.is_empty() {
            return Ok(Answer::Outcomes(Vec::new()));
        }
        let committer = self.shared.committer();
        let pending = committer.submit(indexes.epoch, mutations, None).await?;
        Ok(match self.shared.sort_out(pending.answer().await).await? {
            Some(outcomes) => Answer::Outcomes(outcomes),
            None => Answer::Stale,
        })
    }

    async fn append(
        &self,
        plan: &Plan,
        act: Act,
        indexes: &Indexes,
        with_keys: bool,
    ) -> Result<Append, Stopped> {
        let (op, state, body, live) = match (plan.need, act) {
            (Need::Version { ov, live }, Act::Whole | Act::Rest) => {
                (Op::Restore, Presence::Present, NewBody::OfVersion(ov), live)
            }
            _ => (Op::Delete, Presence::Live, NewBody::OfNewest, false),
        };
        let unique = live && indexes.list.iter().any(|index| index.spec.unique);
        let (keys, unique) = if with_keys || unique {
            let ov = match body {
                NewBody::OfVersion(ov) => ov,
                _ => plan.row.ov,
            };
            self.keys(&plan.row.id, ov, live, indexes).await?
        } else {
            (None, Vec::new())
        };
        let draft = Draft {
            id: &plan.row.id,
            op,
            expect: Expect {
                state,
                ov: Some(plan.row.ov + u64::from(act == Act::Rest)),
                attempt: None,
            },
            attribution: &self.attribution,
            change: SystemChange::default(),
            idempotency: None,
            skip_unchanged: op == Op::Restore,
            offered: None,
            scope: Scope::EVERYTHING,
        };
        Ok(self
            .shared
            .append(&draft, self.attempt(plan, act), body, keys, unique))
    }

    async fn keys(
        &self,
        id: &RecordId,
        ov: u64,
        live: bool,
        indexes: &Indexes,
    ) -> Result<(Option<IndexKeys>, Vec<UniqueKey>), Stopped> {
        let shared = self.shared;
        let read = async {
            let record = shared.load(shared.version(id, ov).await?).await?;
            parse(record.bytes().ok_or_else(not_found)?)
        };
        let document = match read.await {
            Ok(document) => document,
            Err(error) if *error.kind() == crate::ErrorKind::Pruned => return Err(Stopped::Pruned),
            Err(error) => return Err(error.into()),
        };
        let keys = IndexKeys::of_body(&document, indexes.fields());
        let unique = if live {
            unique_keys(&document, indexes)?
        } else {
            Vec::new()
        };
        Ok((Some(keys), unique))
    }

    /// Restores a record that needs a unique key which another one holds: if
    /// the holder is to be restored too, both (and whoever they lead to) go
    /// into one commit that gives every key to its old holder.
    ///
    /// Holders whose last row is before `floor` have had their turn.
    async fn untangle(&self, plan: &Plan, floor: u64) -> Result<Fate, Error> {
        // Whoever is to hold no key any more goes first. Of the others later
        // ones hold what earlier ones need, so they go before them.
        let mut knot = vec![(plan.clone(), false)];
        for _ in 0..MAX_ROUNDS {
            let indexes = self.shared.indexes().await?;
            let mut mutations = Vec::new();
            let first = knot
                .iter()
                .filter_map(|(plan, freed)| match (plan.wants_keys(), freed) {
                    (false, _) => Some((plan, Act::Whole)),
                    (true, true) => Some((plan, Act::Free)),
                    (true, false) => None,
                });
            let then = knot.iter().rev().filter(|(plan, _)| plan.wants_keys());
            let then =
                then.map(|(plan, freed)| (plan, if *freed { Act::Rest } else { Act::Whole }));
            let acts: Vec<(&Plan, Act)> = first.chain(then).collect();
            for (member, act) in acts {
                match self.append(member, act, &indexes, true).await {
                    Ok(append) => mutations.push(Mutation::Append(Append {
                        group: self.group(plan),
                        ..append
                    })),
                    Err(Stopped::Pruned) => return Ok(Fate::Conflict),
                    Err(Stopped::Error(error)) => return Err(error),
                }
            }
            let Answer::Outcomes(outcomes) = self.submit(&indexes, mutations).await? else {
                continue;
            };
            let why = outcomes.into_iter().find_map(|outcome| match outcome {
                Outcome::Refused(Refusal::Group) => None,
                Outcome::Refused(refusal) => Some(refusal),
                _ => None,
            });
            let holder = match why {
                None => return Ok(Fate::Done),
                Some(Refusal::Taken(Taken { holder, .. })) => holder,
                // Perhaps by the knot of somebody before it.
                Some(_) => return self.fate_of_changed(plan).await,
            };
            let known = knot.iter_mut().find(|(member, _)| member.row.id == holder);
            match known {
                Some((member, freed @ false)) if member.wants_keys() => *freed = true,
                Some(_) => return Ok(Fate::Conflict),
                None => match self.plan_of(&holder, floor).await? {
                    Some(next) if knot.len() < MAX_TANGLED && self.groups() => {
                        knot.push((next, false));
                    }
                    _ => return Ok(Fate::Conflict),
                },
            }
        }
        Err(contended())
    }

    /// What a holder of a unique key needs, if it is to be restored too.
    async fn plan_of(&self, id: &RecordId, floor: u64) -> Result<Option<Plan>, Error> {
        let catalog = &self.shared.database.catalog;
        let head = catalog.head(&self.shared.name, id, Bodies::Omit).await?;
        let ours = |cv: u64| cv >= floor && self.start.is_some_and(|start| cv <= start);
        let Some(head) = head.filter(|head| ours(head.cv)) else {
            return Ok(None);
        };
        let plan = self.shared.plan(self.past, head).await?;
        Ok(Some(plan).filter(Plan::writes))
    }

    fn groups(&self) -> bool {
        self.shared.database.catalog.capabilities().transactions
    }

    /// The number of a group. A batch gathers what several callers send, so
    /// small numbers could meet.
    fn group(&self, plan: &Plan) -> Option<u32> {
        let attempt = self.attempt(plan, Act::Whole);
        let [a, b, c, d, ..] = *attempt.as_bytes();
        self.groups().then(|| u32::from_be_bytes([a, b, c, d]))
    }
}

/// Why a mutation could not be prepared.
enum Stopped {
    /// Retention has removed the version it is to bring back.
    Pruned,
    Error(Error),
}

impl<E: Into<Error>> From<E> for Stopped {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

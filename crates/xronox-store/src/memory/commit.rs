//! Commits: mutations one after another, groups whole or not at all.

use std::collections::BTreeMap;

use xronox_model::{CollectionName, Location, Op, RecordId, Timestamp, VersionRow};

use super::{
    Collections,
    collection::{Collection, Remembered},
};
use crate::{
    Append, Batch, Commit, Mutation, Outcome, Purge, Refusal, Ruling, StoreError, Taken, ruling,
};

/// Groups that cannot be committed, each with its first refusal.
type Struck = BTreeMap<u32, Strike>;

/// Where a member of a group was refused, and why.
struct Strike {
    place: (usize, usize),
    why: Refusal,
}

pub(super) fn commit(
    collections: &mut Collections,
    batches: &[(CollectionName, Batch)],
    now: Timestamp,
) -> Result<Vec<Vec<Outcome>>, StoreError> {
    let mut at = now;
    for (name, batch) in batches {
        let collection = collections.entry(name.clone()).or_default();
        collection.check_epoch(name, batch.epoch)?;
        at = collection.newest().map_or(at, |newest| at.max(newest.at));
    }
    // A group that fails may have been seen by mutations before the failure,
    // so everything is evaluated anew without it.
    let mut struck = Struck::new();
    loop {
        let evaluated = evaluate(collections, batches, at, &struck);
        for (name, _) in batches {
            if let Some(collection) = collections.get_mut(name) {
                collection.settle(evaluated.is_ok());
            }
        }
        match evaluated {
            Ok(outcomes) => return Ok(outcomes),
            Err((group, strike)) => struck.insert(group, strike),
        };
    }
}

/// The outcomes, or the first group that fails.
fn evaluate(
    collections: &mut Collections,
    batches: &[(CollectionName, Batch)],
    at: Timestamp,
    struck: &Struck,
) -> Result<Vec<Vec<Outcome>>, (u32, Strike)> {
    let mut all = Vec::with_capacity(batches.len());
    for (b, (name, batch)) in batches.iter().enumerate() {
        let collection = collections.entry(name.clone()).or_default();
        let mut outcomes = Vec::with_capacity(batch.mutations.len());
        for (m, mutation) in batch.mutations.iter().enumerate() {
            let group = mutation.group();
            if let Some(strike) = group.and_then(|group| struck.get(&group)) {
                let own = strike.place == (b, m);
                let refusal = if own {
                    strike.why.clone()
                } else {
                    Refusal::Group
                };
                outcomes.push(Outcome::Refused(refusal));
                continue;
            }
            match (collection.apply(mutation, at), group) {
                (Ok(outcome), _) => outcomes.push(outcome),
                (Err(refusal), None) => outcomes.push(Outcome::Refused(refusal)),
                (Err(refusal), Some(group)) => {
                    return Err((
                        group,
                        Strike {
                            place: (b, m),
                            why: refusal,
                        },
                    ));
                }
            }
        }
        all.push(outcomes);
    }
    Ok(all)
}

/// What a caller is told of a committed version.
pub(super) fn in_short(row: &VersionRow, released: Vec<Location>) -> Commit {
    Commit {
        id: row.id.clone(),
        ov: row.ov,
        cv: row.cv,
        at: row.at,
        op: row.op,
        released,
    }
}

impl Collection {
    fn apply(&mut self, mutation: &Mutation, at: Timestamp) -> Result<Outcome, Refusal> {
        match mutation {
            Mutation::Append(append) => self.append(append, at),
            Mutation::Purge(purge) => self.purge(purge, at),
            Mutation::Prune { id, ovs } => self.prune(id, ovs),
            Mutation::Relocate { cv, from, to } => Ok(self.relocate(*cv, from, to)),
        }
    }

    fn next_cv(&self) -> u64 {
        self.newest().map_or(0, |newest| newest.cv + 1)
    }

    fn append(&mut self, append: &Append, at: Timestamp) -> Result<Outcome, Refusal> {
        if let Some(repeated) = self.repeated(append, at)? {
            return Ok(repeated);
        }
        let newest = self.newest_of(&append.id);
        let source = append
            .source(newest)
            .and_then(|ov| self.version(&append.id, ov));
        let ruling = append.rule(newest, source, &self.indexes, self.next_cv(), at)?;
        let (commit, unchanged) = match ruling {
            Ruling::Unchanged => {
                let newest = newest.ok_or(Refusal::NotFound)?;
                (in_short(newest, Vec::new()), true)
            }
            Ruling::Add(row) => (self.add(append, *row)?, false),
        };
        if let Some(key) = &append.idempotency {
            let remembered = Remembered {
                fingerprint: key.fingerprint,
                commit: Commit {
                    released: Vec::new(),
                    ..commit.clone()
                },
                unchanged,
                until: at.plus_millis(key.keep_millis),
            };
            self.set_remembered(&key.key, remembered);
        }
        Ok(outcome(commit, unchanged))
    }

    fn repeated(&self, append: &Append, at: Timestamp) -> Result<Option<Outcome>, Refusal> {
        let Some(key) = &append.idempotency else {
            return Ok(None);
        };
        match self.remembered.get(&key.key) {
            Some(known) if at < known.until => {
                if known.fingerprint == key.fingerprint {
                    Ok(Some(outcome(known.commit.clone(), known.unchanged)))
                } else {
                    Err(Refusal::KeyReused)
                }
            }
            _ => Ok(None),
        }
    }

    fn add(&mut self, append: &Append, row: VersionRow) -> Result<Commit, Refusal> {
        let id = &append.id;
        let wanted = if row.live() {
            append.unique.as_slice()
        } else {
            &[]
        };
        for key in wanted {
            if let Some(holder) = self.holder(key).filter(|holder| *holder != id) {
                return Err(Refusal::Taken(Taken {
                    index: key.index.clone(),
                    wanted_by: id.clone(),
                    holder: holder.clone(),
                }));
            }
        }
        self.set_held(id, wanted.iter().cloned().collect());
        let commit = in_short(&row, Vec::new());
        let released = self.push(row);
        Ok(Commit { released, ..commit })
    }

    fn purge(&mut self, purge: &Purge, at: Timestamp) -> Result<Outcome, Refusal> {
        let row = purge.rule(self.newest_of(&purge.id), self.next_cv(), at)?;
        let commit = in_short(&row, Vec::new());
        self.set_held(&purge.id, [].into());
        self.push(row);
        let released = self.forget_older(&purge.id);
        Ok(Outcome::Committed(Commit { released, ..commit }))
    }

    fn prune(&mut self, id: &RecordId, ovs: &[u64]) -> Result<Outcome, Refusal> {
        let rows = ovs.iter().filter_map(|ov| self.version(id, *ov));
        let full: Vec<VersionRow> = rows
            .filter(|row| row.pruned.is_none() && row.op != Op::Purge)
            .cloned()
            .collect();
        if self
            .newest_of(id)
            .is_some_and(|newest| ovs.contains(&newest.ov))
        {
            return Err(Refusal::Newest);
        }
        for row in &full {
            self.set_row(row.cv, Some(row.clone().into_stub()));
        }
        Ok(Outcome::Done {
            released: ruling::released(&full, self.versions(id)),
        })
    }

    fn relocate(&mut self, cv: u64, from: &Location, to: &Location) -> Outcome {
        let mut released = Vec::new();
        if let Some(row) = self.rows.get(&cv).cloned()
            && let Some(body) = &row.body
            && body.location == *from
            && from != to
        {
            let mut moved = row.clone();
            if let Some(body) = &mut moved.body {
                body.location = to.clone();
                body.inline = None;
            }
            self.set_row(cv, Some(moved));
            released = ruling::released([&row], self.versions(&row.id));
        }
        Outcome::Done { released }
    }
}

fn outcome(commit: Commit, unchanged: bool) -> Outcome {
    if unchanged {
        Outcome::Unchanged(commit)
    } else {
        Outcome::Committed(commit)
    }
}

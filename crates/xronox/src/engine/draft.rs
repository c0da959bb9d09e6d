//! How a draft of a write becomes a commit.

use std::sync::Arc;

use futures::{StreamExt, stream};
use serde_json::Value;
use xronox_model::{
    Attempt, IndexKeys, Invalid, Op, RecordId, SystemChange, VersionRow, same_files,
};
use xronox_store::{
    Append, Commit, Expect, IdempotencyKey, Mutation, NewBody, Outcome, Presence, Purge, Refusal,
};

use crate::{
    Error, ErrorKind, Written,
    collection::Shared,
    engine::{
        attribution::Attribution,
        committer::{self, Pending, Trouble},
        files::{Known, Offered},
        prepare::{Canonical, Prepared, unique_keys},
        read::not_found,
        record::parse,
        scope::Scope,
        turns::{Ahead, Expected},
    },
    storage::Storage,
};

/// How often a write is prepared anew because others changed the record or
/// the indexes in between.
pub(crate) const MAX_TRIES: u32 = 100;

/// How often a change may lose before it presses for its turn.
const PATIENCE: u32 = 2;

/// Objects that are deleted at a time.
const AHEAD: usize = 16;

/// How many functions a record may name: each of its versions does.
const MAX_FUNCTIONS: usize = 1000;

/// A write but for its body.
pub(crate) struct Draft<'a> {
    pub(crate) id: &'a RecordId,
    pub(crate) op: Op,
    pub(crate) expect: Expect,
    pub(crate) attribution: &'a Attribution,
    pub(crate) change: SystemChange,
    pub(crate) idempotency: Option<IdempotencyKey>,
    pub(crate) skip_unchanged: bool,
    /// Files that its references may stand for, beside the record's own.
    pub(crate) offered: Option<&'a Offered>,
    /// What the record has to be in, before and after.
    pub(crate) scope: &'a Scope,
}

/// What to do with the answer to a submitted write.
pub(crate) enum Step {
    Done(Written),
    /// Something it was prepared with has changed: prepare it anew.
    Again(Refusal),
}

impl Shared {
    pub(crate) fn append(
        &self,
        draft: &Draft<'_>,
        attempt: Attempt,
        body: NewBody,
        keys: Option<IndexKeys>,
        unique: Vec<xronox_model::UniqueKey>,
    ) -> Append {
        Append {
            id: draft.id.clone(),
            op: draft.op,
            expect: draft.expect,
            attempt,
            actor: draft.attribution.actor.clone(),
            on_behalf_of: draft.attribution.on_behalf_of.clone(),
            reason: draft.attribution.reason.clone(),
            change: draft.change.clone(),
            body,
            keys,
            unique,
            idempotency: draft.idempotency.clone(),
            group: None,
            skip_unchanged: draft.skip_unchanged,
            newest_only: !self.rules.versioning,
        }
    }

    pub(crate) fn append_prepared(
        &self,
        draft: &Draft<'_>,
        attempt: Attempt,
        prepared: Prepared,
    ) -> Mutation {
        let Prepared {
            body, keys, unique, ..
        } = prepared;
        Mutation::Append(self.append(draft, attempt, NewBody::Given(body), Some(keys), unique))
    }

    /// Writes a document that does not depend on the current one, which
    /// the scope has if it has the record.
    pub(crate) async fn write_whole(
        &self,
        draft: &Draft<'_>,
        document: &Canonical,
    ) -> Result<Written, Error> {
        draft.scope.check(draft.id, &document.document)?;
        let _way = self.turns.give_way(draft.id).await;
        for _ in 0..MAX_TRIES {
            let attempt = Storage::new_attempt();
            if let Step::Done(written) = self.try_whole(draft, document, attempt).await? {
                return Ok(written);
            }
        }
        Err(contended())
    }

    /// The same once, as an attempt of that name.
    pub(crate) async fn try_whole(
        &self,
        draft: &Draft<'_>,
        document: &Canonical,
        attempt: Attempt,
    ) -> Result<Step, Error> {
        let indexes = self.indexes().await?;
        let ov = draft.expect.ov.map_or(0, |ov| ov + 1);
        let prepared = self
            .prepare(document, &indexes, draft.id, ov, attempt)
            .await?;
        let put_at = prepared.put_at;
        let append = self.append_prepared(draft, attempt, prepared);
        let committer = self.committer();
        let pending = committer
            .submit(indexes.epoch, vec![append], put_at)
            .await?;
        self.settle(pending, draft.id).await
    }

    /// Writes a version whose body an earlier one has.
    pub(crate) async fn write_named(
        &self,
        draft: &Draft<'_>,
        body: NewBody,
    ) -> Result<Written, Error> {
        let mut with_keys = false;
        let _way = self.turns.give_way(draft.id).await;
        for _ in 0..MAX_TRIES {
            let indexes = self.indexes().await?;
            let has_unique = indexes.list.iter().any(|index| index.spec.unique);
            let needs_unique = has_unique && draft.op != Op::Delete;
            let (mut keys, mut unique, mut expect) = (None, Vec::new(), draft.expect);
            if !draft.scope.is_everything() {
                let newest = self.newest_in(draft.scope, draft.id).await?;
                expect.attempt = Some(newest.attempt);
                if let NewBody::OfVersion(ov) = body {
                    self.document_of(draft.scope, draft.id, ov).await?;
                }
            }
            if with_keys || needs_unique {
                let source = self.source(draft.id, &body).await?;
                let document = parse(self.load(source.clone()).await?.bytes().map_or(&[], |b| b))?;
                keys = Some(IndexKeys::of_body(&document, indexes.fields()));
                if needs_unique && !source.system.deleted() {
                    unique = unique_keys(&document, &indexes)?;
                }
                if matches!(body, NewBody::OfNewest) && expect.attempt.is_none() {
                    // These keys are good for that version only.
                    expect.attempt = Some(source.attempt);
                }
            }
            let own = Draft {
                expect,
                attribution: draft.attribution,
                change: draft.change.clone(),
                idempotency: draft.idempotency.clone(),
                ..*draft
            };
            let attempt = Storage::new_attempt();
            let append = self.append(&own, attempt, body.clone(), keys, unique);
            let committer = self.committer();
            let mutations = vec![Mutation::Append(append)];
            let pending = committer.submit(indexes.epoch, mutations, None).await?;
            match self.settle(pending, draft.id).await? {
                Step::Done(written) => return Ok(written),
                Step::Again(Refusal::KeysNeeded) => with_keys = true,
                Step::Again(_) => {}
            }
        }
        Err(contended())
    }

    /// What a write came to, or what the same request came to before: it may
    /// be impossible by now to prepare it again, which says nothing of that.
    pub(crate) async fn or_remembered(
        &self,
        draft: &Draft<'_>,
        written: Result<Written, Error>,
    ) -> Result<Written, Error> {
        let Err(error) = written else {
            return written;
        };
        let unsettled = matches!(
            error.kind(),
            ErrorKind::Unavailable | ErrorKind::Indeterminate { .. } | ErrorKind::Closed
        );
        if draft.idempotency.is_none() || unsettled {
            return Err(error);
        }
        self.remembered(draft).await?.ok_or(error)
    }

    /// What is remembered under the idempotency key of a write. The question
    /// is a mutation that cannot go ahead, as it names a version to go on from
    /// that never was.
    pub(crate) async fn remembered(&self, draft: &Draft<'_>) -> Result<Option<Written>, Error> {
        let question = Draft {
            expect: Expect {
                state: Presence::Present,
                ov: None,
                attempt: Some(Storage::new_attempt()),
            },
            change: SystemChange::default(),
            idempotency: draft.idempotency.clone(),
            ..*draft
        };
        for _ in 0..MAX_TRIES {
            let indexes = self.indexes().await?;
            let attempt = Storage::new_attempt();
            let append = self.append(&question, attempt, NewBody::OfNewest, None, Vec::new());
            let mutations = vec![Mutation::Append(append)];
            let committer = self.committer();
            let pending = committer.submit(indexes.epoch, mutations, None).await?;
            let Some(outcomes) = self.sort_out(pending.answer().await).await? else {
                continue;
            };
            return match outcomes.into_iter().next() {
                Some(Outcome::Committed(commit)) => Ok(Some(Written::of(commit, false))),
                Some(Outcome::Unchanged(commit)) => Ok(Some(Written::of(commit, true))),
                Some(Outcome::Refused(refusal @ Refusal::KeyReused)) => Err(refused(refusal)),
                _ => Ok(None),
            };
        }
        Err(contended())
    }

    async fn source(&self, id: &RecordId, body: &NewBody) -> Result<VersionRow, Error> {
        match body {
            NewBody::OfVersion(ov) => self.version(id, *ov).await,
            NewBody::OfNewest | NewBody::Given(_) => self.newest(id).await?.ok_or_else(not_found),
        }
    }

    /// Writes what `change` makes of the current document. Such writes of one
    /// record take turns; each goes on from what the one before it will leave.
    pub(crate) async fn write_changed(
        &self,
        draft: &Draft<'_>,
        change: &(dyn Fn(&mut Value) -> Result<(), Invalid> + Sync),
    ) -> Result<Written, Error> {
        let mut standing = self.turns.stand(draft.id);
        for tries in 0..MAX_TRIES {
            if tries == PATIENCE {
                standing.press();
            }
            let mut turn = standing.turn().await;
            let changed = |expected: &Expected| self.changed(draft, expected, change);
            // A caller who names a version means a committed one, and only of
            // such a one it is sure that it cannot be changed like this.
            let ahead = turn.take().filter(|_| draft.expect.ov.is_none());
            let ahead = ahead.and_then(|ahead| {
                let canonical = changed(&ahead.expected).ok()?;
                Some((ahead, canonical))
            });
            let attempt = Storage::new_attempt();
            let (Ahead { chain, expected }, canonical) = if let Some(ahead) = ahead {
                ahead
            } else {
                let expected = Box::pin(self.expected(draft.id)).await?;
                let canonical = changed(&expected)?;
                let chain = attempt;
                (Ahead { chain, expected }, canonical)
            };
            let functions = with_functions(&expected.functions, &draft.change)?;
            let indexes = self.indexes().await?;
            let ov = expected.ov + 1;
            let prepared = self
                .prepare(&canonical, &indexes, draft.id, ov, attempt)
                .await?;
            let put_at = draft.offered.and_then(|offered| offered.put_at);
            let put_at = prepared.put_at.into_iter().chain(put_at).min();
            let files = prepared.body.files.clone();
            let unchanged = draft.skip_unchanged
                && canonical.sha256 == expected.sha256
                && functions == expected.functions
                && same_files(&files, &expected.files);
            let own = Draft {
                expect: Expect {
                    state: Presence::Live,
                    ov: draft.expect.ov,
                    attempt: Some(expected.attempt),
                },
                attribution: draft.attribution,
                change: draft.change.clone(),
                idempotency: draft.idempotency.clone(),
                ..*draft
            };
            let append = self.append_prepared(&own, attempt, prepared);
            let committer = self.committer();
            let pending = committer
                .submit(indexes.epoch, vec![append], put_at)
                .await?;
            let expected = if unchanged {
                expected
            } else {
                Expected {
                    ov,
                    attempt,
                    document: canonical.document,
                    sha256: canonical.sha256,
                    functions,
                    files,
                }
            };
            *turn = Some(Ahead { chain, expected });
            drop(turn);
            match self.settle(pending, draft.id).await {
                Ok(Step::Done(written)) => return Ok(written),
                other => {
                    // Whoever goes on from this failure fails too, and reads anew.
                    standing.break_off(chain).await;
                    other?;
                }
            }
        }
        Err(contended())
    }

    /// What a record becomes by a change, if the write that makes it may.
    pub(crate) fn changed(
        &self,
        draft: &Draft<'_>,
        expected: &Expected,
        change: &(dyn Fn(&mut Value) -> Result<(), Invalid> + Sync),
    ) -> Result<Canonical, Error> {
        if !draft.scope.admits(draft.id, &expected.document) {
            return Err(not_found());
        }
        let mut document = expected.document.clone();
        change(&mut document)?;
        let files = Known::of(&expected.files).and(draft.offered);
        let veiled = self.veils(draft.scope);
        let changed = self.rules.canonical(document, files, veiled)?;
        if veiled {
            self.rules.demand_veiled(&changed.document)?;
        } else {
            self.rules.demand(&changed.document)?;
        }
        draft.scope.check(draft.id, &changed.document)?;
        Ok(changed)
    }

    /// What a live record is.
    pub(crate) async fn expected(&self, id: &RecordId) -> Result<Expected, Error> {
        let row = self.newest(id).await?.ok_or_else(not_found)?;
        self.expected_of(row).await
    }

    /// What a record is whose newest version this is.
    pub(crate) async fn expected_of(&self, row: VersionRow) -> Result<Expected, Error> {
        if row.op == Op::Purge {
            return Err(not_found());
        }
        if row.system.deleted() {
            return Err(refused(Refusal::Deleted));
        }
        let (ov, attempt) = (row.ov, row.attempt);
        let functions = row.system.function_ids.clone();
        let files = row
            .body
            .as_ref()
            .map_or_else(Vec::new, |body| body.files.clone());
        let record = self.load(row).await?;
        Ok(Expected {
            ov,
            attempt,
            functions,
            files,
            document: record.whole()?,
            sha256: record.sha256().ok_or_else(not_found)?,
        })
    }

    /// Removes a record for good, then the bodies that only it named.
    pub(crate) async fn purge(
        &self,
        scope: &Scope,
        id: &RecordId,
        expect_ov: Option<u64>,
        attribution: &Attribution,
    ) -> Result<Written, Error> {
        for _ in 0..MAX_TRIES {
            let judged = if scope.is_everything() {
                None
            } else {
                Some(self.newest_in(scope, id).await?.ov)
            };
            let indexes = self.indexes().await?;
            let purge = Purge {
                id: id.clone(),
                expect_ov: expect_ov.or(judged),
                attempt: Storage::new_attempt(),
                actor: attribution.actor.clone(),
                on_behalf_of: attribution.on_behalf_of.clone(),
                reason: attribution.reason.clone(),
                group: None,
            };
            let committer = self.committer();
            let mutations = vec![Mutation::Purge(purge)];
            let pending = committer.submit(indexes.epoch, mutations, None).await?;
            match self.settle(pending, id).await {
                Ok(Step::Done(written)) => return Ok(written),
                Ok(Step::Again(_)) => {}
                // Not the one that was judged is the newest any more.
                Err(error)
                    if judged.is_some()
                        && expect_ov.is_none()
                        && matches!(error.kind(), ErrorKind::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(contended())
    }

    /// What the answer to one mutation means. Which version it goes on from
    /// is the engine's choice and nobody's business: where another one took
    /// its place, the write is prepared anew.
    async fn settle(&self, pending: Pending, id: &RecordId) -> Result<Step, Error> {
        let outcome = match self.sort_out(pending.answer().await).await? {
            Some(outcomes) => outcomes.into_iter().next(),
            None => return Ok(Step::Again(Refusal::KeysNeeded)),
        };
        match outcome {
            Some(Outcome::Committed(mut commit)) => {
                let released = std::mem::take(&mut commit.released);
                if commit.op == Op::Purge {
                    self.delete_bodies(released, id).await;
                }
                Ok(Step::Done(Written::of(commit, false)))
            }
            Some(Outcome::Unchanged(commit)) => Ok(Step::Done(Written::of(commit, true))),
            Some(Outcome::Refused(refusal @ (Refusal::KeysNeeded | Refusal::Overtaken))) => {
                Ok(Step::Again(refusal))
            }
            Some(Outcome::Refused(refusal)) => Err(refused(refusal)),
            Some(Outcome::Done { .. }) | None => Err(Error::new(
                ErrorKind::Corrupt,
                "the catalog answered with another outcome than was asked for",
            )),
        }
    }

    /// The outcomes of an answer; `None` if what was prepared is out of date.
    pub(crate) async fn sort_out(
        &self,
        answer: Result<Vec<Outcome>, Trouble>,
    ) -> Result<Option<Vec<Outcome>>, Error> {
        match answer {
            Ok(outcomes) => Ok(Some(outcomes)),
            Err(Trouble::Stale) => {
                self.refresh_indexes().await?;
                Ok(None)
            }
            Err(Trouble::PutAgain) => Ok(None),
            Err(Trouble::Store(error)) => Err(Error::shared(error)),
            Err(Trouble::Broken(all)) => {
                let untold = all.into_iter().find_map(|known| match known {
                    committer::Known::Untold(id, attempt) => Some(untold(id, attempt)),
                    committer::Known::Committed(_) | committer::Known::Nothing => None,
                });
                Err(untold.unwrap_or_else(broken_off))
            }
        }
    }

    /// As [`sort_out`](Self::sort_out), for mutations that have nothing to do
    /// with each other: where the commit broke off, each of the `count` has its
    /// own error. An error of all means that nothing was written.
    pub(crate) async fn sort_each(
        &self,
        answer: Result<Vec<Outcome>, Trouble>,
        count: usize,
    ) -> Result<Option<Vec<Result<Outcome, Error>>>, Error> {
        let each = match answer {
            Err(Trouble::Store(error)) => {
                let failed = || Err(Error::shared(Arc::clone(&error)));
                std::iter::repeat_with(failed).take(count).collect()
            }
            Err(Trouble::Broken(all)) => {
                let one = |known| match known {
                    committer::Known::Committed(commit) => Ok(Outcome::Committed(commit)),
                    committer::Known::Nothing => Err(broken_off()),
                    committer::Known::Untold(id, attempt) => Err(untold(id, attempt)),
                };
                all.into_iter().map(one).collect()
            }
            answer => match self.sort_out(answer).await? {
                Some(outcomes) => outcomes.into_iter().map(Ok).collect(),
                None => return Ok(None),
            },
        };
        Ok(Some(each))
    }

    /// Deletes objects that nothing names any more, or ever will. What cannot be
    /// deleted now is garbage for the collector.
    pub(crate) async fn delete_bodies(&self, released: Vec<xronox_model::Location>, id: &RecordId) {
        let delete = |location| async move {
            if let Err(error) = self.database.payloads.delete(&location).await {
                tracing::warn!(collection = %self.name, %id, %error, "an object is left for gc");
            }
        };
        let deletions = stream::iter(released).map(delete);
        deletions.buffer_unordered(AHEAD).collect::<()>().await;
    }
}

/// What a refusal means to the caller.
pub(crate) fn refused(refusal: Refusal) -> Error {
    let (kind, message) = match refusal {
        Refusal::NotFound => return not_found(),
        Refusal::AlreadyExists => (
            ErrorKind::AlreadyExists,
            "there is a record with this id, maybe a deleted one".to_owned(),
        ),
        Refusal::Taken(taken) => (
            ErrorKind::AlreadyExists,
            format!(
                "{} holds the same key of index `{}`",
                taken.holder, taken.index
            ),
        ),
        Refusal::Conflict { expected, actual } => (
            ErrorKind::Conflict { expected, actual },
            format!("expected version {expected}, the newest is {actual}"),
        ),
        Refusal::Deleted => (ErrorKind::Deleted, "the record is deleted".to_owned()),
        Refusal::Pruned => (
            ErrorKind::Pruned,
            "retention has removed this version".to_owned(),
        ),
        Refusal::KeyReused => (
            ErrorKind::Invalid,
            "`idempotencyKey`: was used for another request".to_owned(),
        ),
        Refusal::Overtaken | Refusal::KeysNeeded | Refusal::Group | Refusal::Newest => (
            ErrorKind::Corrupt,
            "the catalog refused what was not asked of it".to_owned(),
        ),
    };
    Error::new(kind, message)
}

/// The functions that a record names after a change.
fn with_functions(named: &[String], change: &SystemChange) -> Result<Vec<String>, Error> {
    let mut functions = named.to_vec();
    for function in &change.function_ids {
        if !functions.contains(function) {
            functions.push(function.clone());
        }
    }
    if functions.len() > MAX_FUNCTIONS.max(named.len()) {
        let why = format!("a record names at most {MAX_FUNCTIONS} functions");
        return Err(Invalid::at("functionId", why).into());
    }
    Ok(functions)
}

pub(crate) fn untold(id: RecordId, attempt: Attempt) -> Error {
    Error::new(
        ErrorKind::Indeterminate { id, attempt },
        "the outcome of the commit is unknown",
    )
}

pub(crate) fn broken_off() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the commit failed; nothing was written",
    )
}

pub(crate) fn contended() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "others keep changing the record; nothing was written",
    )
}

/// A committed row, in short.
pub(crate) fn brief(row: &VersionRow) -> Commit {
    Commit {
        id: row.id.clone(),
        ov: row.ov,
        cv: row.cv,
        at: row.at,
        op: row.op,
        released: Vec::new(),
    }
}

//! Writing one record: the builders, and how a draft becomes a commit.

use std::future::IntoFuture;

use futures::future::BoxFuture;
use serde_json::{Map, Value, json};
use xronox_model::{
    Attempt, IndexKeys, Invalid, Lineage, Op, RecordId, Sha256, SystemChange, VersionRow,
};
use xronox_store::{
    Append, Bodies, Commit, Expect, IdempotencyKey, Mutation, NewBody, Outcome, Presence, Purge,
    Refusal,
};

use crate::{
    Collection, Error, ErrorKind, IntoDocument, IntoId, Written,
    collection::Shared,
    database::{Database, forbidden},
    engine::{
        attribution::{Attribution, attributed},
        committer::{Pending, Trouble},
        prepare::{Canonical, Prepared, canonical, unique_keys},
        read::not_found,
        record::parse,
        turns::Expected,
    },
};

/// How often a write is prepared anew because others changed the record or
/// the indexes in between.
const MAX_TRIES: u32 = 100;

/// Creates a record; await it.
#[derive(Debug)]
#[must_use = "nothing is written until it is awaited"]
pub struct Create<'a> {
    collection: &'a Collection,
    id: Option<Result<RecordId, Error>>,
    document: Result<Value, Error>,
    pub(crate) attribution: Attribution,
    lineage: Lineage,
    idempotency: Option<String>,
    pub(crate) broken: Option<Error>,
}

/// Replaces or changes a record's document; await it.
#[derive(Debug)]
#[must_use = "nothing is written until it is awaited"]
pub struct Change<'a> {
    collection: &'a Collection,
    what: &'static str,
    id: Result<RecordId, Error>,
    new: Result<New, Error>,
    pub(crate) attribution: Attribution,
    expected_ov: Option<u64>,
    idempotency: Option<String>,
    always: bool,
    pub(crate) broken: Option<Error>,
}

/// The new document of a record.
#[derive(Debug, Clone)]
enum New {
    /// It is this.
    Whole(Value),
    /// It is the current one with these paths set and unset.
    Patched(Map<String, Value>),
}

/// Deletes a record; await it.
#[derive(Debug)]
#[must_use = "nothing is written until it is awaited"]
pub struct Delete<'a> {
    collection: &'a Collection,
    id: Result<RecordId, Error>,
    pub(crate) attribution: Attribution,
    expected_ov: Option<u64>,
    idempotency: Option<String>,
    hard: bool,
    pub(crate) broken: Option<Error>,
}

attributed!(Create);
attributed!(Change);
attributed!(Delete);

impl Collection {
    /// Creates a record under a new id.
    ///
    /// `document` is a JSON object; an `_id` or `_system` in it is ignored.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) if the document is none, is too large
    /// or holds a number that cannot be kept exactly,
    /// [`AlreadyExists`](ErrorKind::AlreadyExists) if another live record
    /// holds one of its unique keys.
    pub fn create(&self, document: impl IntoDocument) -> Create<'_> {
        Create {
            collection: self,
            id: None,
            document: document.into_document(),
            attribution: Attribution::default(),
            lineage: Lineage::default(),
            idempotency: None,
            broken: None,
        }
    }

    /// Creates a record under an id of the caller's: 1 to 128 bytes without
    /// control characters.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create), and
    /// [`AlreadyExists`](ErrorKind::AlreadyExists) if there is such a record,
    /// deleted or not. After a hard delete the id is free again; its versions
    /// go on counting.
    pub fn create_with_id(&self, id: impl IntoId, document: impl IntoDocument) -> Create<'_> {
        Create {
            id: Some(id.into_id()),
            ..self.create(document)
        }
    }

    /// Replaces the document of a record.
    ///
    /// A document equal to the current one writes nothing and gives the
    /// current version with [`unchanged`](Written::unchanged) set.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound), [`Deleted`](ErrorKind::Deleted),
    /// [`Conflict`](ErrorKind::Conflict) if the record is not at
    /// [`expected_ov`](Change::expected_ov), and as [`create`](Self::create).
    pub fn update(&self, id: impl IntoId, document: impl IntoDocument) -> Change<'_> {
        self.change("update", id, document.into_document().map(New::Whole))
    }

    /// Changes parts of a record's document: a map of dotted paths to values.
    /// `{"$unset": [paths]}` in it removes paths. A dot or backslash inside a
    /// property name is written `\.` or `\\`.
    ///
    /// Concurrent patches of one record are all kept.
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update), and [`Invalid`](ErrorKind::Invalid) naming
    /// a path that cannot be set.
    pub fn patch(&self, id: impl IntoId, changes: impl IntoDocument) -> Change<'_> {
        let changes = changes.into_document().and_then(|changes| match changes {
            Value::Object(changes) => Ok(New::Patched(changes)),
            _ => Err(Invalid::at("", "a patch is a JSON object of paths and values").into()),
        });
        self.change("patch", id, changes)
    }

    fn change(&self, what: &'static str, id: impl IntoId, new: Result<New, Error>) -> Change<'_> {
        Change {
            collection: self,
            what,
            id: id.into_id(),
            new,
            attribution: Attribution::default(),
            expected_ov: None,
            idempotency: None,
            always: false,
            broken: None,
        }
    }

    /// Deletes a record. Its history stays readable, and it can be restored,
    /// unless the delete is [`hard`](Delete::hard) or `logicalDelete` is off.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound), [`Deleted`](ErrorKind::Deleted),
    /// [`Conflict`](ErrorKind::Conflict).
    pub fn delete(&self, id: impl IntoId) -> Delete<'_> {
        Delete {
            collection: self,
            id: id.into_id(),
            attribution: Attribution::default(),
            expected_ov: None,
            idempotency: None,
            hard: false,
            broken: None,
        }
    }

    /// What became of a write whose outcome was
    /// [`Indeterminate`](ErrorKind::Indeterminate): its version, or `None` if
    /// it was not and never will be committed.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](ErrorKind::Unavailable): ask again.
    pub async fn outcome(
        &self,
        id: impl IntoId,
        attempt: Attempt,
    ) -> Result<Option<Written>, Error> {
        let id = id.into_id()?;
        let shared = &self.shared;
        let row = shared
            .database
            .catalog
            .outcome(&shared.name, &id, attempt)
            .await;
        let row = row.map_err(|e| Error::from(e).during(&shared.doing("outcome", Some(&id))))?;
        Ok(row.map(|row| Written::of(brief(&row), false)))
    }
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

impl Create<'_> {
    /// The record it is made from: kept as `_system.parentId` and
    /// `parentCollection`, with the parent's origin, or the parent itself, as
    /// the origin.
    pub fn parent(mut self, id: impl Into<String>, collection: impl Into<String>) -> Self {
        self.lineage.parent_id = Some(id.into());
        self.lineage.parent_collection = Some(collection.into());
        self
    }

    /// Where it first came from, maybe in another system: kept as
    /// `_system.originId` and `originCollection` (`system:collection`).
    pub fn origin(
        mut self,
        id: impl Into<String>,
        collection: impl AsRef<str>,
        system: Option<&str>,
    ) -> Self {
        let collection = collection.as_ref();
        self.lineage.origin_id = Some(id.into());
        self.lineage.origin_collection = Some(match system {
            Some(system) => format!("{system}:{collection}"),
            None => collection.to_owned(),
        });
        self
    }

    /// Makes repeating this request safe: for `idempotency.keepHours` (24 by
    /// default) the same key gives the same outcome and writes nothing. Using
    /// it for another document is [`Invalid`](ErrorKind::Invalid).
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency = Some(key.into());
        self
    }
}

impl Change<'_> {
    /// Goes ahead only if the record's newest version is this one.
    pub fn expected_ov(mut self, ov: impl Into<Option<u64>>) -> Self {
        self.expected_ov = ov.into();
        self
    }

    /// Writes a version even if the document stays as it is.
    pub fn always(mut self) -> Self {
        self.always = true;
        self
    }

    /// Makes repeating this request safe; see [`Create::idempotency_key`].
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency = Some(key.into());
        self
    }
}

impl Delete<'_> {
    /// Goes ahead only if the record's newest version is this one.
    pub fn expected_ov(mut self, ov: impl Into<Option<u64>>) -> Self {
        self.expected_ov = ov.into();
        self
    }

    /// Removes every version and body for good, leaving a PURGE row that says
    /// who did it. Needs `hardDeleteEnabled`, else
    /// [`Forbidden`](ErrorKind::Forbidden).
    pub fn hard(mut self) -> Self {
        self.hard = true;
        self
    }

    /// Makes repeating this request safe; see [`Create::idempotency_key`].
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency = Some(key.into());
        self
    }
}

impl<'a> IntoFuture for Create<'a> {
    type Output = Result<Written, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let shared = &self.collection.shared;
            let named = self.id.is_some();
            let what = if named { "create_with_id" } else { "create" };
            let id = match self.id {
                Some(id) => id.map_err(|e| e.during(&shared.doing(what, None)))?,
                None => shared.database.new_id(),
            };
            let write = async {
                if let Some(error) = self.broken {
                    return Err(error);
                }
                self.attribution.check()?;
                let document = canonical(self.document?, shared.rules.max_bytes)?;
                let lineage = shared.lineage(self.lineage).await?;
                let idempotency = shared.idempotency(
                    self.idempotency,
                    &json!([
                        what,
                        named.then(|| id.to_string()),
                        document.sha256,
                        &lineage
                    ]),
                )?;
                let draft = Draft {
                    id: &id,
                    op: Op::Create,
                    expect: Expect {
                        state: Presence::Absent,
                        ov: None,
                    },
                    attribution: &self.attribution,
                    change: SystemChange {
                        lineage,
                        ..SystemChange::default()
                    },
                    idempotency,
                    skip_unchanged: false,
                };
                shared.write_whole(&draft, &document).await
            };
            write
                .await
                .map_err(|e| e.during(&shared.doing(what, Some(&id))))
        })
    }
}

impl<'a> IntoFuture for Change<'a> {
    type Output = Result<Written, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let shared = &self.collection.shared;
            let id = self
                .id
                .map_err(|e| e.during(&shared.doing(self.what, None)))?;
            let write = async {
                if let Some(error) = self.broken {
                    return Err(error);
                }
                self.attribution.check()?;
                let new = self.new?;
                let asked = match &new {
                    New::Whole(document) => document.clone(),
                    New::Patched(changes) => Value::Object(changes.clone()),
                };
                let idempotency = shared.idempotency(
                    self.idempotency,
                    &json!([self.what, id.to_string(), self.expected_ov, asked]),
                )?;
                let draft = Draft {
                    id: &id,
                    op: Op::Update,
                    expect: Expect {
                        state: Presence::Live,
                        ov: self.expected_ov,
                    },
                    attribution: &self.attribution,
                    change: SystemChange::default(),
                    idempotency,
                    skip_unchanged: !self.always,
                };
                match new {
                    New::Whole(document) => {
                        let document = canonical(document, shared.rules.max_bytes)?;
                        shared.write_whole(&draft, &document).await
                    }
                    New::Patched(changes) => {
                        let patch = |document: &mut Value| xronox_model::patch(document, &changes);
                        shared.write_changed(&draft, &patch).await
                    }
                }
            };
            write
                .await
                .map_err(|e| e.during(&shared.doing(self.what, Some(&id))))
        })
    }
}

impl<'a> IntoFuture for Delete<'a> {
    type Output = Result<Written, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let shared = &self.collection.shared;
            let id = self
                .id
                .map_err(|e| e.during(&shared.doing("delete", None)))?;
            let write = async {
                if let Some(error) = self.broken {
                    return Err(error);
                }
                self.attribution.check()?;
                if self.hard && !shared.rules.hard_delete {
                    return Err(forbidden("hard deletes need `hardDeleteEnabled`"));
                }
                let idempotency = shared.idempotency(
                    self.idempotency,
                    &json!(["delete", id.to_string(), self.expected_ov, self.hard]),
                )?;
                if self.hard || !shared.rules.logical_delete {
                    if idempotency.is_some() {
                        return Err(Error::new(
                            ErrorKind::Unsupported,
                            "a hard delete takes no idempotency key: repeating it gives NotFound",
                        ));
                    }
                    return shared.purge(&id, self.expected_ov, &self.attribution).await;
                }
                let draft = Draft {
                    id: &id,
                    op: Op::Delete,
                    expect: Expect {
                        state: Presence::Live,
                        ov: self.expected_ov,
                    },
                    attribution: &self.attribution,
                    change: SystemChange::default(),
                    idempotency,
                    skip_unchanged: false,
                };
                shared.write_named(&draft, NewBody::OfNewest).await
            };
            write
                .await
                .map_err(|e| e.during(&shared.doing("delete", Some(&id))))
        })
    }
}

/// A write but for its body.
pub(crate) struct Draft<'a> {
    pub(crate) id: &'a RecordId,
    pub(crate) op: Op,
    pub(crate) expect: Expect,
    pub(crate) attribution: &'a Attribution,
    pub(crate) change: SystemChange,
    pub(crate) idempotency: Option<IdempotencyKey>,
    pub(crate) skip_unchanged: bool,
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

    /// Writes a document that does not depend on the current one.
    async fn write_whole(&self, draft: &Draft<'_>, document: &Canonical) -> Result<Written, Error> {
        for _ in 0..MAX_TRIES {
            let indexes = self.indexes().await?;
            let attempt = Database::new_attempt();
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
            if let Step::Done(written) = self.settle(pending, draft.id).await? {
                return Ok(written);
            }
        }
        Err(contended())
    }

    /// Writes a version whose body an earlier one has.
    pub(crate) async fn write_named(
        &self,
        draft: &Draft<'_>,
        body: NewBody,
    ) -> Result<Written, Error> {
        let mut with_keys = false;
        for _ in 0..MAX_TRIES {
            let indexes = self.indexes().await?;
            let has_unique = indexes.list.iter().any(|index| index.spec.unique);
            let needs_unique = has_unique && draft.op != Op::Delete;
            let (mut keys, mut unique, mut expect) = (None, Vec::new(), draft.expect);
            if with_keys || needs_unique {
                let source = self.source(draft.id, &body).await?;
                let document = parse(self.load(source.clone()).await?.bytes().map_or(&[], |b| b))?;
                keys = Some(IndexKeys::of_body(&document, indexes.fields()));
                if needs_unique && !source.system.deleted() {
                    unique = unique_keys(&document, &indexes)?;
                }
                if matches!(body, NewBody::OfNewest) {
                    // These keys are good for that version only.
                    expect.ov = Some(expect.ov.unwrap_or(source.ov));
                }
            }
            let own = Draft {
                expect,
                attribution: draft.attribution,
                change: draft.change.clone(),
                idempotency: draft.idempotency.clone(),
                ..*draft
            };
            let attempt = Database::new_attempt();
            let append = self.append(&own, attempt, body.clone(), keys, unique);
            let committer = self.committer();
            let mutations = vec![Mutation::Append(append)];
            let pending = committer.submit(indexes.epoch, mutations, None).await?;
            match self
                .settle_expecting(pending, draft.id, draft.expect.ov)
                .await?
            {
                Step::Done(written) => return Ok(written),
                Step::Again(Refusal::KeysNeeded) => with_keys = true,
                Step::Again(_) => {}
            }
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
    async fn write_changed(
        &self,
        draft: &Draft<'_>,
        change: &(dyn Fn(&mut Value) -> Result<(), Invalid> + Sync),
    ) -> Result<Written, Error> {
        let standing = self.turns.stand(draft.id);
        for _ in 0..MAX_TRIES {
            let mut turn = standing.turn().await;
            let expected = match turn.take() {
                // A caller who names a version means a committed one.
                Some(expected) if draft.expect.ov.is_none() => expected,
                _ => self.expected(draft.id).await?,
            };
            if expected.system.deleted() {
                return Err(Error::new(ErrorKind::Deleted, "the record is deleted"));
            }
            let mut document = expected.document.clone();
            change(&mut document)?;
            let canonical = canonical(document, self.rules.max_bytes)?;
            let unchanged = draft.skip_unchanged && canonical.sha256 == expected.sha256;
            let indexes = self.indexes().await?;
            let attempt = Database::new_attempt();
            let ov = expected.ov + 1;
            let prepared = self
                .prepare(&canonical, &indexes, draft.id, ov, attempt)
                .await?;
            let put_at = prepared.put_at;
            let own = Draft {
                expect: Expect {
                    state: Presence::Live,
                    ov: Some(draft.expect.ov.unwrap_or(expected.ov)),
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
            *turn = Some(Expected {
                ov: if unchanged { expected.ov } else { ov },
                document: canonical.document,
                sha256: canonical.sha256,
                system: expected.system,
            });
            drop(turn);
            let settled = self
                .settle_expecting(pending, draft.id, draft.expect.ov)
                .await;
            match settled {
                Ok(Step::Done(written)) => return Ok(written),
                other => {
                    // Whoever goes on from this failure fails too, and reads anew.
                    *standing.turn().await = None;
                    other?;
                }
            }
        }
        Err(contended())
    }

    async fn expected(&self, id: &RecordId) -> Result<Expected, Error> {
        let row = self.newest(id).await?.filter(|row| row.op != Op::Purge);
        let row = row.ok_or_else(not_found)?;
        let record = self.load(row).await?;
        Ok(Expected {
            ov: record.ov(),
            document: record.whole()?,
            sha256: record.sha256().ok_or_else(not_found)?,
            system: record.system().clone(),
        })
    }

    /// Removes a record for good, then the bodies that only it named.
    pub(crate) async fn purge(
        &self,
        id: &RecordId,
        expect_ov: Option<u64>,
        attribution: &Attribution,
    ) -> Result<Written, Error> {
        for _ in 0..MAX_TRIES {
            let indexes = self.indexes().await?;
            let purge = Purge {
                id: id.clone(),
                expect_ov,
                attempt: Database::new_attempt(),
                actor: attribution.actor.clone(),
                on_behalf_of: attribution.on_behalf_of.clone(),
                reason: attribution.reason.clone(),
                group: None,
            };
            let committer = self.committer();
            let mutations = vec![Mutation::Purge(purge)];
            let pending = committer.submit(indexes.epoch, mutations, None).await?;
            if let Step::Done(written) = self.settle(pending, id).await? {
                return Ok(written);
            }
        }
        Err(contended())
    }

    async fn settle(&self, pending: Pending, id: &RecordId) -> Result<Step, Error> {
        self.settle_expecting(pending, id, Some(0)).await
    }

    /// What the answer to one mutation means. `asked` is the version that the
    /// caller asked for: a conflict with one that only the engine chose is
    /// nobody's business, and the write is prepared anew.
    async fn settle_expecting(
        &self,
        pending: Pending,
        id: &RecordId,
        asked: Option<u64>,
    ) -> Result<Step, Error> {
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
            Some(Outcome::Refused(refusal @ Refusal::KeysNeeded)) => Ok(Step::Again(refusal)),
            Some(Outcome::Refused(refusal @ Refusal::Conflict { .. })) if asked.is_none() => {
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
            Err(Trouble::Unknown(id, attempt)) => Err(Error::new(
                ErrorKind::Indeterminate { id, attempt },
                "the outcome of the commit is unknown",
            )),
        }
    }

    /// Deletes bodies that a committed purge released. What cannot be deleted
    /// now is garbage for the collector.
    async fn delete_bodies(&self, released: Vec<xronox_model::Location>, id: &RecordId) {
        for location in released {
            if let Err(error) = self.database.payloads.delete(&location).await {
                tracing::warn!(collection = %self.name, %id, %error, "a purged body is left for gc");
            }
        }
    }

    /// Completes a lineage: a parent of this store hands on its origin.
    async fn lineage(&self, mut given: Lineage) -> Result<Lineage, Error> {
        let (Some(parent), Some(collection)) = (&given.parent_id, &given.parent_collection) else {
            return Ok(given);
        };
        if given.origin_id.is_some() {
            return Ok(given);
        }
        let name: xronox_model::CollectionName = collection.parse()?;
        let id: RecordId = parent.parse()?;
        let catalog = &self.database.catalog;
        let row = catalog.head(&name, &id, Bodies::Omit).await?;
        let parents = row.map(|row| row.system.lineage).unwrap_or_default();
        given = Lineage::child_of(parent, &name, &parents);
        Ok(given)
    }

    fn idempotency(
        &self,
        key: Option<String>,
        request: &Value,
    ) -> Result<Option<IdempotencyKey>, Error> {
        const MAX_KEY: usize = 256;
        let Some(key) = key else { return Ok(None) };
        if key.is_empty() || key.len() > MAX_KEY {
            let why = format!("an idempotency key has 1 to {MAX_KEY} bytes");
            return Err(Invalid::at("idempotencyKey", why).into());
        }
        let hours = i64::from(self.database.settings.idempotency.keep_hours);
        Ok(Some(IdempotencyKey {
            key,
            fingerprint: Sha256::of(&xronox_model::json::canonical(request)),
            keep_millis: hours * 3_600_000,
        }))
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
        Refusal::KeysNeeded | Refusal::Group | Refusal::Newest => (
            ErrorKind::Corrupt,
            "the catalog refused what was not asked of it".to_owned(),
        ),
    };
    Error::new(kind, message)
}

pub(crate) fn contended() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "others keep changing the record; nothing was written",
    )
}

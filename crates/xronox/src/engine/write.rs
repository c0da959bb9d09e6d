//! Writing one record: what a caller says.

use std::future::IntoFuture;

use futures::future::BoxFuture;
use serde_json::{Map, Value, json};
use xronox_model::{Attempt, Invalid, Lineage, Op, RecordId, Sha256, SystemChange};
use xronox_store::{Expect, IdempotencyKey, NewBody, Presence};

use crate::{
    Collection, Error, ErrorKind, IntoDocument, IntoId, Written,
    collection::Shared,
    engine::{
        attribution::{Attribution, attributed},
        draft::{Draft, brief},
        files::{Known, refers},
        lineage::descending,
        prepare::normal,
        read::not_found,
        scope::Scope,
    },
    storage::forbidden,
};

/// Creates a record; await it.
#[derive(Debug)]
#[must_use = "nothing is written until it is awaited"]
pub struct Create<'a> {
    collection: &'a Collection,
    id: Option<Result<RecordId, Error>>,
    document: Result<Value, Error>,
    pub(crate) attribution: Attribution,
    pub(crate) lineage: Lineage,
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
descending!(Create);

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
    /// holds one of its unique keys, [`Forbidden`](ErrorKind::Forbidden) if it
    /// holds a hidden field and the handle is [sealed](Self::with_hidden).
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
    /// Hidden fields (`hiddenFields`) that the document does not give stay as
    /// they are; a [`patch`](Self::patch) that names one removes it. Inside
    /// arrays they stay with their elements: those with the same `id` (or
    /// `_id`), else those that look the same, else those that take their
    /// places.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound), [`Deleted`](ErrorKind::Deleted),
    /// [`Conflict`](ErrorKind::Conflict) if the record is not at
    /// [`expected_ov`](Change::expected_ov), and as [`create`](Self::create).
    /// [`Invalid`](ErrorKind::Invalid) where hidden fields would be lost.
    pub fn update(&self, id: impl IntoId, document: impl IntoDocument) -> Change<'_> {
        self.change("update", id, document.into_document().map(New::Whole))
    }

    /// Changes parts of a record's document: a map of dotted paths to values.
    /// `{"$unset": [paths]}` in it removes paths. A dot or backslash inside a
    /// property name is written `\.` or `\\`.
    ///
    /// Concurrent patches of one record are all kept. A hidden field that none of
    /// the paths (and values there) names stays, inside what is replaced too.
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
        let Self { shared, scope, .. } = self;
        let row = shared
            .database
            .catalog
            .outcome(&shared.name, &id, attempt)
            .await;
        let judged = async {
            let Some(row) = row? else { return Ok(None) };
            // A write of this handle is of a version in its scope.
            let rows = shared.within(scope, vec![row]).await?;
            let row = rows.into_iter().next().ok_or_else(not_found)?;
            Ok(Some(Written::of(brief(&row), false)))
        };
        judged
            .await
            .map_err(|e: Error| e.during(&shared.doing("outcome", Some(&id))))
    }
}

impl Create<'_> {
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
            let Collection { shared, scope, .. } = self.collection;
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
                let veiled = shared.veils(scope);
                let document = shared
                    .rules
                    .canonical(self.document?, Known::default(), veiled)?;
                shared.may_write(scope, &document.document)?;
                shared.rules.demand(&document.document)?;
                // The lineage as it is given: what the parent hands on may
                // be gone when the request is repeated.
                let idempotency = shared.idempotency(
                    scope,
                    self.idempotency,
                    &json!([
                        what,
                        named.then(|| id.to_string()),
                        document.sha256,
                        &self.lineage
                    ]),
                )?;
                let lineage = shared.lineage(scope, self.lineage).await?;
                let draft = Draft {
                    id: &id,
                    op: Op::Create,
                    expect: Expect::only(Presence::Absent),
                    attribution: &self.attribution,
                    change: SystemChange {
                        lineage,
                        ..SystemChange::default()
                    },
                    idempotency,
                    skip_unchanged: false,
                    offered: None,
                    scope,
                };
                let written = shared.write_whole(&draft, &document).await;
                shared.or_remembered(&draft, written).await
            };
            let result = write.await;
            shared.tell(scope, what, &id, result).await
        })
    }
}

impl<'a> IntoFuture for Change<'a> {
    type Output = Result<Written, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Collection { shared, scope, .. } = self.collection;
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
                    New::Whole(document) => {
                        shared.may_write(scope, document)?;
                        document.clone()
                    }
                    New::Patched(changes) => {
                        shared.may_patch(scope, changes)?;
                        Value::Object(changes.clone())
                    }
                };
                let idempotency = shared.idempotency(
                    scope,
                    self.idempotency,
                    &json!([self.what, id.to_string(), self.expected_ov, asked]),
                )?;
                let draft = Draft {
                    id: &id,
                    op: Op::Update,
                    expect: Expect {
                        state: Presence::Live,
                        ov: self.expected_ov,
                        attempt: None,
                    },
                    attribution: &self.attribution,
                    change: SystemChange::default(),
                    idempotency,
                    skip_unchanged: !self.always,
                    offered: None,
                    scope,
                };
                let view = &shared.rules.view;
                let written = match new {
                    New::Whole(document) if shared.hides() => {
                        let document = normal(document)?;
                        let replace = |current: &mut Value| {
                            let before = std::mem::replace(current, document.clone());
                            view.keep(current, &before)
                        };
                        shared.write_changed(&draft, &replace).await
                    }
                    New::Whole(document)
                        if shared.keeps() || refers(&document) || !scope.is_everything() =>
                    {
                        // What it goes on from has to be in the scope too, and
                        // has the files that it refers to.
                        let replace = |current: &mut Value| {
                            current.clone_from(&document);
                            Ok(())
                        };
                        shared.write_changed(&draft, &replace).await
                    }
                    New::Whole(document) => {
                        let document = shared.rules.accept(document, Known::default(), false)?;
                        shared.write_whole(&draft, &document).await
                    }
                    New::Patched(changes) => {
                        let patch = |document: &mut Value| shared.patched(document, &changes);
                        shared.write_changed(&draft, &patch).await
                    }
                };
                shared.or_remembered(&draft, written).await
            };
            let result = write.await;
            shared.tell(scope, self.what, &id, result).await
        })
    }
}

impl<'a> IntoFuture for Delete<'a> {
    type Output = Result<Written, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Collection { shared, scope, .. } = self.collection;
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
                    scope,
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
                    return shared
                        .purge(scope, &id, self.expected_ov, &self.attribution)
                        .await;
                }
                let draft = Draft {
                    id: &id,
                    op: Op::Delete,
                    expect: Expect {
                        state: Presence::Live,
                        ov: self.expected_ov,
                        attempt: None,
                    },
                    attribution: &self.attribution,
                    change: SystemChange::default(),
                    idempotency,
                    skip_unchanged: false,
                    offered: None,
                    scope,
                };
                let written = shared.write_named(&draft, NewBody::OfNewest).await;
                shared.or_remembered(&draft, written).await
            };
            let result = write.await;
            shared.tell(scope, "delete", &id, result).await
        })
    }
}

impl Shared {
    /// Sets and unsets these paths of a document, which keeps what is hidden
    /// beside them.
    pub(crate) fn patched(
        &self,
        document: &mut Value,
        changes: &Map<String, Value>,
    ) -> Result<(), Invalid> {
        let before = self.hides().then(|| document.clone());
        xronox_model::patch(document, changes)?;
        match before {
            None => Ok(()),
            Some(before) => self.rules.view.keep_beside(document, &before, changes),
        }
    }

    pub(crate) fn idempotency(
        &self,
        scope: &Scope,
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
            key: match scope.name() {
                None => key,
                // Nobody is answered with what became of another's request.
                Some(scope) => format!("{scope} {key}"),
            },
            fingerprint: Sha256::of(&xronox_model::json::canonical(request)),
            keep_millis: hours * 3_600_000,
        }))
    }
}

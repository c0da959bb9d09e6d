//! What happened: to one record, and to a collection.

use std::future::IntoFuture;

use futures::future::BoxFuture;
use serde::Serialize;
use xronox_model::{
    Direction, Identity, Op, PatchOp, RecordId, Sha256, Timestamp, VersionRow, diff,
};
use xronox_store::Bodies;

use crate::{
    Collection, Error, IntoId,
    engine::{
        read::not_found,
        scope::Scope,
        shape::{Shape, Sight, shaped},
    },
};

/// The largest page of versions.
const MAX_PAGE: usize = 1000;

/// What a version did, without its document.
///
/// As JSON `{ id, ov, cv, op, at, actor?, onBehalfOf?, reason?, size?, sha256?,
/// restoredFrom?, pruned? }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Version {
    /// The record.
    pub id: RecordId,
    /// The record's version.
    pub ov: u64,
    /// The collection's version.
    pub cv: u64,
    /// What was done.
    pub op: Op,
    /// When.
    pub at: Timestamp,
    /// Who did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<Identity>,
    /// For whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<Identity>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Bytes of the document's canonical form; `None` where there is none (any
    /// more), and through a handle that must not see the whole of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// SHA-256 of the document's canonical form; `None` likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sha256>,
    /// The version that a RESTORE brought back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restored_from: Option<u64>,
    /// Retention has removed the document and who, why and for whom.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub pruned: bool,
}

impl Version {
    pub(crate) fn of(row: VersionRow) -> Self {
        Self {
            size: row.body.as_ref().map(|body| body.size),
            sha256: row.body.as_ref().map(|body| body.sha256),
            pruned: row.pruned.is_some(),
            id: row.id,
            ov: row.ov,
            cv: row.cv,
            op: row.op,
            at: row.at,
            actor: row.actor,
            on_behalf_of: row.on_behalf_of,
            reason: row.reason,
            restored_from: row.restored_from,
        }
    }
}

/// Lists the versions of a record; await it.
///
/// Gives up to [`limit`](History::limit) versions, newest first unless
/// [`oldest_first`](History::oldest_first).
#[derive(Debug)]
#[must_use = "a read does nothing until it is awaited"]
pub struct History<'a> {
    collection: &'a Collection,
    id: Result<RecordId, Error>,
    from: Option<u64>,
    direction: Direction,
    limit: usize,
}

/// Lists the commits of a collection; await it.
///
/// Gives up to [`limit`](Changes::limit) versions in commit order.
#[derive(Debug)]
#[must_use = "a read does nothing until it is awaited"]
pub struct Changes<'a> {
    collection: &'a Collection,
    after: Option<u64>,
    limit: usize,
}

/// Compares two versions of a record; await it.
///
/// Gives the [operations](PatchOp) that turn what is shown of the one into what
/// is shown of the other. Made with [`Collection::diff`].
#[derive(Debug)]
#[must_use = "a read does nothing until it is awaited"]
pub struct ReadDiff<'a> {
    collection: &'a Collection,
    id: Result<RecordId, Error>,
    from: u64,
    to: u64,
    shape: Shape,
}

shaped!(ReadDiff<'_>, shape);

impl Collection {
    /// The versions of a record, deleted and purged records included: who did
    /// what, when and why.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound) if there never was such a record.
    pub fn history(&self, id: impl IntoId) -> History<'_> {
        History {
            collection: self,
            id: id.into_id(),
            from: None,
            direction: Direction::Descending,
            limit: 100,
        }
    }

    /// Every commit of the collection after the one with this `cv` (`None`:
    /// from the first), in order and without gaps but for what was removed for
    /// good.
    ///
    /// To follow a collection, ask again with the last `cv` seen.
    pub fn changes(&self, after: impl Into<Option<u64>>) -> Changes<'_> {
        Changes {
            collection: self,
            after: after.into(),
            limit: 100,
        }
    }

    /// What turns version `from` of a record into version `to`, as RFC 6902
    /// operations on the document.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound) if there is no such version,
    /// [`Pruned`](crate::ErrorKind::Pruned) if retention removed one.
    pub fn diff(&self, id: impl IntoId, from: u64, to: u64) -> ReadDiff<'_> {
        ReadDiff {
            collection: self,
            id: id.into_id(),
            from,
            to,
            shape: Shape::default(),
        }
    }
}

impl crate::collection::Shared {
    /// The whole document of one version.
    pub(crate) async fn document_of(
        &self,
        scope: &Scope,
        id: &RecordId,
        ov: u64,
    ) -> Result<serde_json::Value, Error> {
        let row = self.version(id, ov).await?;
        if row.op == Op::Purge {
            return Err(not_found());
        }
        scope.see(self.load(row).await?)?.whole()
    }

    /// What is shown of the document of one version.
    pub(crate) async fn shown_of(
        &self,
        scope: &Scope,
        sight: &Sight,
        id: &RecordId,
        ov: u64,
    ) -> Result<serde_json::Value, Error> {
        let row = self.version(id, ov).await?;
        if row.op == Op::Purge {
            return Err(not_found());
        }
        let record = scope.see(self.load(row).await?)?;
        sight.of(record)?.try_document()
    }
}

impl<'a> IntoFuture for ReadDiff<'a> {
    type Output = Result<Vec<PatchOp>, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Collection { shared, scope, .. } = self.collection;
            let id = self.id.map_err(|e| e.during(&shared.doing("diff", None)))?;
            let read = async {
                let sight = shared.sight(scope, &self.shape.asked()?)?;
                let from = shared.shown_of(scope, &sight, &id, self.from).await?;
                let to = shared.shown_of(scope, &sight, &id, self.to).await?;
                Ok(diff(&from, &to))
            };
            let result = read.await;
            shared.tell(scope, "diff", &id, result).await
        })
    }
}

impl History<'_> {
    /// Begins at this `ov` (inclusive).
    pub fn from(mut self, ov: u64) -> Self {
        self.from = Some(ov);
        self
    }

    /// Lists the oldest version first.
    pub fn oldest_first(mut self) -> Self {
        self.direction = Direction::Ascending;
        self
    }

    /// At most this many versions: 100 by default, at most 1,000.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit.min(MAX_PAGE);
        self
    }
}

impl<'a> IntoFuture for History<'a> {
    type Output = Result<Vec<Version>, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Collection { shared, scope, .. } = self.collection;
            let id = self
                .id
                .map_err(|e| e.during(&shared.doing("history", None)))?;
            let catalog = &shared.database.catalog;
            let read = async {
                let (mut found, mut from) = (Vec::new(), self.from);
                loop {
                    let rows = catalog
                        .history(&shared.name, &id, from, self.direction, self.limit)
                        .await?;
                    let full = rows.len() == self.limit;
                    let next = rows.last().and_then(|last| match self.direction {
                        Direction::Ascending => last.ov.checked_add(1),
                        Direction::Descending => last.ov.checked_sub(1),
                    });
                    found.extend(shared.within(scope, rows).await?);
                    found.truncate(self.limit);
                    if !full || next.is_none() || found.len() == self.limit {
                        break;
                    }
                    from = next;
                }
                if found.is_empty() && !shared.is_in(scope, &id).await? {
                    return Err(not_found());
                }
                Ok(found
                    .into_iter()
                    .map(|row| shared.version_of(scope, row))
                    .collect())
            };
            read.await
                .map_err(|e: Error| e.during(&shared.doing("history", Some(&id))))
        })
    }
}

impl Changes<'_> {
    /// At most this many commits: 100 by default, at most 1,000.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit.min(MAX_PAGE);
        self
    }
}

impl<'a> IntoFuture for Changes<'a> {
    type Output = Result<Vec<Version>, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Collection { shared, scope, .. } = self.collection;
            let mut from = self.after.map_or(0, |after| after.saturating_add(1));
            let catalog = &shared.database.catalog;
            let read = async {
                let mut found = Vec::new();
                loop {
                    let rows = catalog
                        .rows(&shared.name, from, self.limit, Bodies::Omit)
                        .await?;
                    let last = rows.last().map(|last| last.cv);
                    let full = rows.len() == self.limit;
                    found.extend(shared.within(scope, rows).await?);
                    found.truncate(self.limit);
                    match last {
                        Some(last) if full && found.len() < self.limit => from = last + 1,
                        _ => break,
                    }
                }
                Ok(found
                    .into_iter()
                    .map(|row| shared.version_of(scope, row))
                    .collect())
            };
            read.await
                .map_err(|e: Error| e.during(&shared.doing("changes", None)))
        })
    }
}

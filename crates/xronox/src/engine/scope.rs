//! The records that a handle is limited to.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use serde_json::Value;
use xronox_model::{
    Composed, Filter, Invalid, RecordId, Sha256, VersionRow, alias_of, json::canonical,
};

use crate::{
    Collection, Database, Error, ErrorKind, IntoDocument,
    collection::Shared,
    engine::{
        query::{
            body::{READ_AHEAD, read_body},
            filter_of,
        },
        read::not_found,
        record::{Record, parse},
    },
    storage::forbidden,
};

/// Which records a handle sees and writes, and whether what is hidden in them
/// is kept from it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scope {
    limit: Option<Arc<Limit>>,
    /// Whether hidden fields are out of reach.
    sealed: bool,
}

#[derive(Debug)]
struct Limit {
    filter: Filter,
    /// What of the filter somebody said who cannot see hidden fields.
    said_sealed: Filter,
    /// Two limits have the same name only if they are the same.
    name: String,
}

impl Collection {
    /// This collection, but for the records that match a filter: the handle
    /// sees no others in any read, query, count, history or feed, and writes
    /// no others. Use it where several parties share a collection:
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), xronox::Error> {
    /// use serde_json::json;
    /// use xronox::{Config, ErrorKind, Xronox};
    ///
    /// let orders = Xronox::open(Config::memory()).await?.collection("orders")?;
    /// let ours = orders.scoped(json!({ "shop": "ours" }))?;
    /// let theirs = orders.create(json!({ "shop": "theirs", "total": 10 })).await?;
    ///
    /// let unseen = ours.get_latest(&theirs.id).await.unwrap_err();
    /// assert_eq!(*unseen.kind(), ErrorKind::NotFound);
    /// let refused = ours.create(json!({ "shop": "theirs" })).await.unwrap_err();
    /// assert_eq!(*refused.kind(), ErrorKind::Forbidden);
    /// assert_eq!(ours.count(json!({})).await?.count, 0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Each version is judged by itself: of a record that moved into the scope
    /// the versions from before are hidden, and one that moved out of it is
    /// gone from the handle's newest state, but not from what it sees of the
    /// past. A version without a document (purged, pruned) is hidden. What
    /// writes go on from is judged in the same commit that they are part of.
    /// A hard delete removes the whole history of a record whose newest
    /// version is in the scope.
    ///
    /// The scope of a scoped handle is narrowed further. What concerns a whole
    /// collection (indexes, imports, `restore_collection`, `verify`, sizes) is
    /// [`Forbidden`](ErrorKind::Forbidden).
    ///
    /// Two things are told all the same: an id or a unique key that is taken
    /// is refused with [`AlreadyExists`](ErrorKind::AlreadyExists), though not
    /// by whom; and numbers that count the whole collection (`cv`, `scanned`,
    /// `pruned`) are not the scope's own.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) for what is no filter, or names
    /// `_system` (or `insertedAt`, `updatedAt`, `deletedAt`): only the document
    /// and `_id` are known before a commit.
    /// [`Forbidden`](ErrorKind::Forbidden) through a [sealed](Self::with_hidden)
    /// handle for one that reads hidden fields.
    pub fn scoped(&self, filter: impl IntoDocument) -> Result<Self, Error> {
        let scope = self.scope.narrowed(filter);
        let scope = scope.and_then(|scope| scope.on(&self.shared));
        Ok(Self {
            scope: scope.map_err(|e| e.during(&self.shared.doing("scoped", None)))?,
            ..self.clone()
        })
    }

    /// The collection, for what concerns the whole of it.
    pub(crate) fn whole(&self, what: &'static str) -> Result<&Arc<Shared>, Error> {
        if self.scope.is_everything() {
            return Ok(&self.shared);
        }
        Err(beyond().during(&self.shared.doing(what, None)))
    }
}

impl Database {
    /// Refuses what concerns the whole database where the handle has a scope.
    pub(crate) fn whole(&self) -> Result<(), Error> {
        if self.scope.is_everything() {
            Ok(())
        } else {
            Err(beyond())
        }
    }
}

fn beyond() -> Error {
    forbidden("this handle is scoped to some of the records, and this concerns all of them")
}

impl Scope {
    pub(crate) const EVERYTHING: &'static Self = &Self {
        limit: None,
        sealed: false,
    };

    pub(crate) fn narrowed(&self, filter: impl IntoDocument) -> Result<Self, Error> {
        let filter = filter_of(filter)?;
        for path in filter.paths() {
            if path.root() == "_system" || alias_of(&path).is_some() {
                let why = "a scope is of properties of the document and of `_id`";
                return Err(Invalid::at(path.to_string(), why).into());
            }
        }
        let mut said_sealed = match &self.limit {
            None => Filter::default(),
            Some(limit) => limit.said_sealed.clone(),
        };
        if self.sealed {
            said_sealed = said_sealed.and(filter.clone());
        }
        let filter = self.and(filter);
        let name = Sha256::of(&canonical(&filter.to_json())).to_string();
        Ok(Self {
            limit: Some(Arc::new(Limit {
                filter,
                said_sealed,
                name,
            })),
            sealed: self.sealed,
        })
    }

    /// The same, with hidden fields out of reach from now on.
    pub(crate) fn sealed_if(&self, sealed: bool) -> Self {
        Self {
            limit: self.limit.clone(),
            sealed: self.sealed || sealed,
        }
    }

    pub(crate) fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// The scope on a collection. A database's handle is limited before anybody
    /// knows which fields its collections hide.
    pub(crate) fn on(&self, shared: &Shared) -> Result<Self, Error> {
        if let Some(limit) = &self.limit {
            let view = &shared.rules.view;
            view.filter_allowed(&limit.said_sealed, true)?;
        }
        Ok(self.clone())
    }

    /// Whether these are all records.
    pub(crate) fn is_everything(&self) -> bool {
        self.limit.is_none()
    }

    /// A filter of somebody who has this scope on a collection, within it.
    pub(crate) fn asked(&self, shared: &Shared, filter: Filter) -> Result<Filter, Error> {
        shared.rules.view.filter_allowed(&filter, self.sealed)?;
        Ok(self.and(filter))
    }

    /// A filter, within the scope.
    fn and(&self, filter: Filter) -> Filter {
        match &self.limit {
            None => filter,
            Some(limit) => limit.filter.clone().and(filter),
        }
    }

    /// The filter of the scope, if it is not everything.
    pub(crate) fn filter(&self) -> Option<Value> {
        self.limit.as_deref().map(|limit| limit.filter.to_json())
    }

    /// Names the scope, if it is not everything.
    pub(crate) fn name(&self) -> Option<&str> {
        self.limit.as_deref().map(|limit| &limit.name[..])
    }

    pub(crate) fn admits(&self, id: &RecordId, document: &Value) -> bool {
        let Some(limit) = &self.limit else {
            return true;
        };
        limit.filter.matches(&Composed {
            id: &Value::from(id.to_string()),
            system: &Value::Null,
            body: document,
        })
    }

    /// Refuses a document that a record shall not become.
    pub(crate) fn check(&self, id: &RecordId, document: &Value) -> Result<(), Error> {
        if self.admits(id, document) {
            return Ok(());
        }
        Err(forbidden("the document is not in the scope of this handle"))
    }

    /// The error without the id of the record that holds a unique key.
    pub(crate) fn anonymous(&self, error: Error) -> Error {
        if self.is_everything() || *error.kind() != ErrorKind::AlreadyExists {
            return error;
        }
        let why = "another record, maybe a deleted one, has this id or one of the unique keys";
        Error::new(ErrorKind::AlreadyExists, why)
    }

    /// A whole record, if it is in the scope.
    pub(crate) fn see(&self, record: Record) -> Result<Record, Error> {
        if self.is_everything() || self.admits(record.id(), &record.whole()?) {
            return Ok(record);
        }
        Err(not_found())
    }
}

impl Shared {
    /// Whether the newest version of a record is in the scope, deleted or not.
    pub(crate) async fn is_in(&self, scope: &Scope, id: &RecordId) -> Result<bool, Error> {
        let Some(head) = self.newest(id).await? else {
            return Ok(false);
        };
        Ok(!self.within(scope, vec![head]).await?.is_empty())
    }

    /// The result of what was done to a record, its error named after that, and
    /// telling nothing of records beyond the scope.
    pub(crate) async fn tell<T>(
        &self,
        scope: &Scope,
        what: &'static str,
        id: &RecordId,
        result: Result<T, Error>,
    ) -> Result<T, Error> {
        match result {
            Ok(done) => Ok(done),
            Err(error) => {
                let error = self.veiled(scope, id, error).await;
                Err(error.during(&self.doing(what, Some(id))))
            }
        }
    }

    async fn veiled(&self, scope: &Scope, id: &RecordId, error: Error) -> Error {
        let tells = matches!(
            error.kind(),
            ErrorKind::NotFound
                | ErrorKind::Deleted
                | ErrorKind::Pruned
                | ErrorKind::Conflict { .. }
                | ErrorKind::AlreadyExists
        );
        if scope.is_everything() || !tells {
            return error;
        }
        if *error.kind() == ErrorKind::AlreadyExists {
            return scope.anonymous(error);
        }
        match self.is_in(scope, id).await {
            Ok(true) => error,
            Ok(false) => not_found(),
            Err(failed) => failed,
        }
    }

    /// Those of the rows whose documents are in the scope.
    pub(crate) async fn within(
        &self,
        scope: &Scope,
        rows: Vec<VersionRow>,
    ) -> Result<Vec<VersionRow>, Error> {
        if scope.is_everything() {
            return Ok(rows);
        }
        let judged = rows.into_iter().map(async |row| {
            let read = read_body(&self.database, &self.name, row).await?;
            let Some((row, bytes)) = read else {
                return Ok(None);
            };
            let inside = scope.admits(&row.id, &parse(&bytes)?);
            Ok::<_, Error>(inside.then_some(row))
        });
        let judged = stream::iter(judged).buffered(READ_AHEAD).try_collect();
        let judged: Vec<Option<VersionRow>> = Box::pin(judged).await?;
        Ok(judged.into_iter().flatten().collect())
    }

    /// The newest row of a record, which a write of this handle may go on
    /// from.
    pub(crate) async fn newest_in(
        &self,
        scope: &Scope,
        id: &RecordId,
    ) -> Result<VersionRow, Error> {
        let head = self.newest(id).await?.into_iter().collect();
        let rows = self.within(scope, head).await?;
        rows.into_iter().next().ok_or_else(not_found)
    }
}

//! Finding records by what is in them.

pub(crate) mod body;
mod count;
mod cursor;
mod distinct;
mod order;
mod page;
mod plan;
mod records;
mod request;
mod search;
mod walk;

use std::future::IntoFuture;

use futures::future::BoxFuture;
use serde::Serialize;
use serde_json::Value;
use xronox_model::{Direction, Filter, ReadShape};

use self::request::{Request, Start};
pub use self::{
    count::{Count, Counted},
    cursor::{Cursor, IntoCursor},
    records::Records,
};
use crate::{
    Collection, Error, IntoDocument, IntoId, IntoMoment, IntoPath,
    engine::{
        files::fetch::bringing,
        record::Record,
        shape::{Shape, Sight, shaped},
    },
};

/// Finds records; await it for a [`Page`], or [`stream`](Query::stream) all.
///
/// ```no_run
/// # async fn example(orders: xronox::Collection) -> Result<(), xronox::Error> {
/// use serde_json::json;
/// use xronox::Direction;
///
/// let open = json!({ "status": "open", "total": { "$gte": 100 } });
/// let mut page = orders.query(&open).sort("updatedAt", Direction::Descending).await?;
/// while let Some(cursor) = page.cursor {
///     page = orders.query(&open).sort("updatedAt", Direction::Descending).after(cursor).await?;
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "a query does nothing until it is awaited"]
pub struct Query<'a> {
    collection: &'a Collection,
    what: &'static str,
    request: Request,
    shape: Shape,
    /// What is shown whatever the shape says: the caller has seen to it.
    sight: Option<Sight>,
    broken: Option<Error>,
}

shaped!(Query<'_>, shape);
bringing!(Query<'_>, shape);

/// Some of the records that match, in the order of the sort.
///
/// As JSON `{ items, cursor?, scanned, cv, settled, pruned? }`.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Page {
    /// The records: at most the limit, and at most 64 MiB of documents unless
    /// there is only one.
    pub items: Vec<Record>,
    /// Where to go on; `None` if there is nothing more. The last page may be
    /// empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
    /// How many records were looked at.
    pub scanned: u64,
    /// The version of the collection that was looked at. Without
    /// [`as_of`](Query::as_of) the page holds everything up to it and may hold
    /// something of what was committed since. `None` if the collection is
    /// empty, or was.
    pub cv: Option<u64>,
    /// Whether the same query will find the same for ever, but for what
    /// retention and hard deletes remove: it looks back at a moment that no
    /// later commit can belong to.
    pub settled: bool,
    /// How many records were left out because retention has removed what they
    /// were; see [`accept_pruned`](Query::accept_pruned).
    #[serde(skip_serializing_if = "is_zero")]
    pub pruned: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Collection {
    /// Finds the records that match a filter.
    ///
    /// The filter is MongoDB's: `{"status": "open", "total": {"$gte": 100}}`,
    /// with `$eq $ne $gt $gte $lt $lte $in $nin $exists $regex $and $or $nor
    /// $not $all $elemMatch $size $type`, over the document, `_id` and
    /// `_system.*`. The bare names `insertedAt`, `updatedAt` and `deletedAt`
    /// mean those of `_system` where a document has no such property.
    ///
    /// A filter may stand in an envelope, `{"meta": filter}`. What counts as
    /// one is an object with nothing but a `meta` that is itself a filter: an
    /// object without operators of values such as `$gt`. (So `{"meta": {"a":
    /// 1}}` asks for `a`; for a property named `meta` write `{"meta.a": 1}` or
    /// `{"meta": {"$eq": {"a": 1}}}`.)
    ///
    /// Records come in the order of their ids unless a
    /// [`sort`](Query::sort) says otherwise. Properties that are filtered or
    /// sorted by are indexed: those that `indexedProps` names, or, where it
    /// names none, any at their first use. Without an index every record is
    /// looked at, up to `queries.maxScanned`.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) for what is no filter, naming the place,
    /// for a limit over `queries.maxLimit`, for a foreign cursor, past
    /// `queries.maxScanned`, and for fields without an index where
    /// `queries.unindexed` is `error` ([`Unavailable`](crate::ErrorKind::Unavailable)
    /// while it is being built); [`Pruned`](crate::ErrorKind::Pruned) if the query
    /// looks back at what retention removed; [`NotFound`](crate::ErrorKind::NotFound)
    /// if there is no record to begin after;
    /// [`Forbidden`](crate::ErrorKind::Forbidden) for what reads hidden fields
    /// through a [sealed](Self::with_hidden) handle.
    pub fn query(&self, filter: impl IntoDocument) -> Query<'_> {
        self.ask("query", filter)
    }

    /// Finds the records that match a filter: the same as [`query`](Self::query).
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query).
    pub fn list_by_meta(&self, filter: impl IntoDocument) -> Query<'_> {
        self.ask("list_by_meta", filter)
    }

    fn ask(&self, what: &'static str, filter: impl IntoDocument) -> Query<'_> {
        let mut query = Query {
            collection: self,
            what,
            request: Request {
                scope: self.scope.clone(),
                ..Request::default()
            },
            shape: Shape::default(),
            sight: None,
            broken: None,
        };
        let filter = filter_of(filter);
        match filter.and_then(|filter| self.scope.asked(&self.shared, filter)) {
            Ok(filter) => query.request.filter = filter,
            Err(error) => query.broken = Some(error),
        }
        query
    }
}

/// Reads a filter, in its envelope or without.
pub(crate) fn filter_of(filter: impl IntoDocument) -> Result<Filter, Error> {
    let given = filter.into_document()?;
    let bare = match &given {
        Value::Object(fields) if fields.len() == 1 => {
            fields.get("meta").filter(|meta| is_filter(meta))
        }
        _ => None,
    };
    Ok(Filter::parse(bare.unwrap_or(&given))?)
}

/// Whether a value can only be a filter and not a condition on a field.
fn is_filter(value: &Value) -> bool {
    let of_filters =
        |name: &String| !name.starts_with('$') || matches!(&name[..], "$and" | "$or" | "$nor");
    value
        .as_object()
        .is_some_and(|fields| fields.keys().all(of_filters))
}

impl Query<'_> {
    /// Sorts by a field; called again, by a further field where those before
    /// are equal. At most 8.
    ///
    /// Values are ordered by type first (missing and null, numbers, strings,
    /// objects, arrays, booleans); an array counts by its smallest element
    /// ascending and by its largest descending; of long values the first
    /// kilobyte counts. What is still equal stands in the order of `_id`, in
    /// the direction of the last field. A sort by `_id` ends there: text ids
    /// by their bytes, then ObjectIds.
    pub fn sort(mut self, path: impl IntoPath, direction: Direction) -> Self {
        match path.into_path() {
            Ok(path) => self.request.sort.push((path, direction)),
            Err(error) => self.breaks(error),
        }
        self
    }

    /// Sorts by what JSON says: `{"updatedAt": -1}`, or a list of such objects
    /// with one field, of pairs `["updatedAt", -1]` and of paths. A direction
    /// is 1, -1, `"asc"` or `"desc"`. An object with several fields is refused,
    /// for their order is not kept.
    pub fn sort_json(mut self, sort: &Value) -> Self {
        match order::sort_of(sort) {
            Ok(sort) => self.request.sort.extend(sort),
            Err(invalid) => self.breaks(invalid.into()),
        }
        self
    }

    /// At most this many records. Default: `queries.defaultLimit` (50); at most
    /// `queries.maxLimit` (1,000), but for [`stream`](Self::stream), where it is
    /// the number in all and unlimited by default.
    pub fn limit(mut self, limit: usize) -> Self {
        self.request.limit = Some(limit);
        self
    }

    /// Goes on where a page of this same query ended. Records that nobody
    /// changes meanwhile are neither skipped nor met twice.
    pub fn after(mut self, cursor: impl IntoCursor) -> Self {
        match cursor.into_cursor() {
            Ok(cursor) => self.request.start = Some(Start::Cursor(cursor)),
            Err(error) => self.breaks(error),
        }
        self
    }

    /// Begins after a record, wherever that stands in this sort now, whether
    /// it matches or not.
    pub fn after_id(mut self, id: impl IntoId) -> Self {
        match id.into_id() {
            Ok(id) => self.request.start = Some(Start::Id(id)),
            Err(error) => self.breaks(error),
        }
        self
    }

    /// Looks back: at what the records were at a moment.
    pub fn as_of(mut self, moment: impl IntoMoment) -> Self {
        match moment.into_moment() {
            Ok(moment) => self.request.view.as_of = Some(moment),
            Err(error) => self.breaks(error),
        }
        self
    }

    /// Finds deleted records too; their `_system.deleted` says so.
    pub fn include_deleted(mut self) -> Self {
        self.request.view.include_deleted = true;
        self
    }

    /// Goes without the records whose version at the moment retention has
    /// removed, and counts them in [`pruned`](Page::pruned), instead of
    /// failing.
    pub fn accept_pruned(mut self) -> Self {
        self.request.view.accept_pruned = true;
        self
    }

    /// Reads everything that matches, in the order of the sort, page after
    /// page: all as of one moment, the newest commit's unless
    /// [`as_of`](Self::as_of) says otherwise. (Where `versioning` is off, each
    /// page is read as the collection is then.)
    ///
    /// The bound of `queries.maxScanned` holds only where each page has to
    /// look at every record: for a sort without an index.
    ///
    /// # Errors
    ///
    /// As [`Collection::query`], here and from the stream, which ends with its
    /// first error.
    pub async fn stream(self) -> Result<Records, Error> {
        let shared = &self.collection.shared;
        let doing = shared.doing(self.what, None);
        let what = self.what;
        let records = async {
            let request = self.ready()?;
            Records::open(std::sync::Arc::clone(shared), what, request).await
        };
        records.await.map_err(|e| e.during(&doing))
    }

    /// Asks for what a read across collections asks for.
    pub(crate) fn shaped(self, read: &ReadShape) -> Self {
        self.with_shape(Shape::of(read))
    }

    pub(crate) fn with_shape(mut self, shape: Shape) -> Self {
        self.shape = shape;
        self
    }

    /// Shows this of each record.
    pub(crate) fn seen(mut self, sight: Sight) -> Self {
        self.sight = Some(sight);
        self
    }

    /// The request, if its handle may make it.
    fn ready(mut self) -> Result<Request, Error> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        let Collection { shared, scope, .. } = self.collection;
        let view = &shared.rules.view;
        for (path, _) in &self.request.sort {
            view.sort_allowed(path, scope.is_sealed())?;
        }
        let bring = self.shape.bring();
        self.request.sight = match self.sight {
            Some(sight) => sight,
            None => shared.sight(scope, &self.shape.asked()?)?.with(bring),
        };
        Ok(self.request)
    }

    fn breaks(&mut self, error: Error) {
        self.broken.get_or_insert(error);
    }
}

impl<'a> IntoFuture for Query<'a> {
    type Output = Result<Page, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let shared = &self.collection.shared;
            let what = self.what;
            let found = async { self.ready()?.page(shared).await };
            found.await.map_err(|e| e.during(&shared.doing(what, None)))
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_filter_may_stand_in_an_envelope() {
        for (given, read) in [
            (json!({"meta": {"a": 1}}), json!({"a": 1})),
            (json!({"meta": {}}), json!({})),
            (
                json!({"meta": {"$or": [{"a": 1}]}}),
                json!({"$or": [{"a": 1}]}),
            ),
            (
                json!({"meta": {"meta": {"a": 1}}}),
                json!({"meta": {"a": 1}}),
            ),
            (json!({"meta": {"$gt": 1}}), json!({"meta": {"$gt": 1}})),
            (
                json!({"meta": {"$exists": true}}),
                json!({"meta": {"$exists": true}}),
            ),
            (
                json!({"meta": {"a": 1}, "b": 2}),
                json!({"meta": {"a": 1}, "b": 2}),
            ),
            (json!({"meta": 1}), json!({"meta": 1})),
            (json!({"meta": [1]}), json!({"meta": [1]})),
            (json!({"meta": null}), json!({"meta": null})),
            (json!({"meta.a": 1}), json!({"meta.a": 1})),
        ] {
            assert_eq!(filter_of(given.clone()).unwrap().to_json(), read, "{given}");
        }
        assert!(filter_of(json!([])).is_err());
        assert!(filter_of(json!({"meta": {"$nope": 1}})).is_err());
    }
}

//! Counting records.

use std::future::IntoFuture;

use futures::future::BoxFuture;
use serde::Serialize;
use xronox_model::Filter;

use super::{filter_of, is_zero, order::Order, page, request::View, search::Search};
use crate::{Collection, Error, IntoDocument, IntoMoment, collection::Shared};

/// Counts the records that match; await it.
#[derive(Debug)]
#[must_use = "a query does nothing until it is awaited"]
pub struct Count<'a> {
    collection: &'a Collection,
    filter: Result<Filter, Error>,
    view: View,
    broken: Option<Error>,
}

/// How many records match.
///
/// As JSON `{ count, scanned, cv, settled, pruned? }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Counted {
    /// How many.
    pub count: u64,
    /// How many records were looked at.
    pub scanned: u64,
    /// The version of the collection that was looked at; see
    /// [`Page::cv`](crate::Page::cv).
    pub cv: Option<u64>,
    /// Whether the answer stays the same; see
    /// [`Page::settled`](crate::Page::settled).
    pub settled: bool,
    /// How many records were left out; see
    /// [`Page::pruned`](crate::Page::pruned).
    #[serde(skip_serializing_if = "is_zero")]
    pub pruned: u64,
}

impl Collection {
    /// Counts the records that match a filter; see [`query`](Self::query).
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query).
    pub fn count(&self, filter: impl IntoDocument) -> Count<'_> {
        Count {
            collection: self,
            filter: filter_of(filter).and_then(|filter| self.scope.asked(&self.shared, filter)),
            view: View::default(),
            broken: None,
        }
    }
}

impl Count<'_> {
    /// Looks back: at what the records were at a moment.
    pub fn as_of(mut self, moment: impl IntoMoment) -> Self {
        match moment.into_moment() {
            Ok(moment) => self.view.as_of = Some(moment),
            Err(error) => self.broken = self.broken.or(Some(error)),
        }
        self
    }

    /// Counts deleted records too.
    pub fn include_deleted(mut self) -> Self {
        self.view.include_deleted = true;
        self
    }

    /// Goes without the records whose version at the moment retention has
    /// removed, instead of failing.
    pub fn accept_pruned(mut self) -> Self {
        self.view.accept_pruned = true;
        self
    }

    async fn count(self, shared: &Shared) -> Result<Counted, Error> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        let filter = self.filter?;
        let state = self.view.state(shared, None).await?;
        let mut counted = Counted {
            count: 0,
            scanned: 0,
            cv: None,
            settled: state.settled(),
            pruned: 0,
        };
        if state.is_void() {
            return Ok(counted);
        }
        let order = Order::new(&[])?;
        let search = Search::new(
            shared,
            &filter,
            &order,
            self.view.include_deleted,
            state.cv(),
        );
        let (count, scanned, cv) = page::count(&search).await?;
        counted.count = count;
        counted.scanned = scanned;
        counted.cv = state.cv().or(cv);
        counted.pruned = self.view.pruned(shared, &state).await?;
        Ok(counted)
    }
}

impl<'a> IntoFuture for Count<'a> {
    type Output = Result<Counted, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let shared = &self.collection.shared;
            let counted = self.count(shared).await;
            counted.map_err(|e| e.during(&shared.doing("count", None)))
        })
    }
}

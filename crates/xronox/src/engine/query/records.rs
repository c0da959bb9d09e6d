//! Reading everything that matches.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::{
    Stream, StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};

use xronox_model::Projection;
use xronox_store::Cut;

use super::{
    order::{Order, Place},
    page::Bounds,
    request::{Request, State, Stretch},
    search::Search,
};
use crate::{Error, collection::Shared, engine::record::Record};

/// How many records are read at a time.
const PAGE: usize = 1000;

/// Everything that matches a query, as a stream that holds at most one page
/// (64 MiB of documents) in memory. See [`Query::stream`](crate::Query::stream).
pub struct Records {
    cv: Option<u64>,
    settled: bool,
    shown: Projection,
    pages: BoxStream<'static, Result<Record, Error>>,
}

impl Records {
    /// The version of the collection that is read; `None` if it was empty.
    pub fn cv(&self) -> Option<u64> {
        self.cv
    }

    /// Whether the same query will find the same for ever; see
    /// [`Page::settled`](crate::Page::settled).
    pub fn settled(&self) -> bool {
        self.settled
    }

    /// What is shown of each record.
    pub fn shown(&self) -> &Projection {
        &self.shown
    }

    pub(super) async fn open(
        shared: Arc<Shared>,
        what: &'static str,
        request: Request,
    ) -> Result<Self, Error> {
        let order = Order::new(&request.sort)?;
        let pinned = request.pinned(&shared, &order)?;
        let mut state = request.view.state(&shared, pinned).await?;
        let mut cv = state.cv();
        if request.view.as_of.is_none() {
            let newest = shared.database.catalog.newest(&shared.name).await?;
            cv = newest.map(|newest| newest.cv);
            if shared.rules.versioning {
                state = State(Some(Cut { cv, settled: false }));
            }
        }
        let shown = request.sight.projection().clone();
        let reader = Reader {
            left: request.limit.unwrap_or(usize::MAX),
            over: state.is_void() || request.limit == Some(0),
            order,
            request,
            state,
            after: None,
            begun: false,
            shared,
        };
        let pages = stream::try_unfold(reader, move |mut reader| async move {
            let page = reader.next().await;
            let page = page.map_err(|e| e.during(&reader.shared.doing(what, None)))?;
            Ok::<_, Error>(page.map(|page| (page, reader)))
        });
        let records = pages
            .map_ok(|page| stream::iter(page.into_iter().map(Ok)))
            .try_flatten();
        Ok(Self {
            cv,
            settled: state.settled(),
            shown,
            pages: records.boxed(),
        })
    }
}

struct Reader {
    shared: Arc<Shared>,
    request: Request,
    order: Order,
    state: State,
    after: Option<Place>,
    begun: bool,
    left: usize,
    over: bool,
}

impl Reader {
    async fn next(&mut self) -> Result<Option<Vec<Record>>, Error> {
        if self.over {
            return Ok(None);
        }
        let deleted = self.request.view.include_deleted;
        let search = Search::new(
            &self.shared,
            &self.request.filter,
            &self.order,
            deleted,
            self.state.cv(),
        );
        if !self.begun {
            self.after = self.request.after(&search).await?;
            self.begun = true;
        }
        let limit = self.left.min(PAGE);
        let found: Stretch = self
            .request
            .stretch(
                &search,
                self.after.as_ref(),
                limit,
                Bounds::Whole,
                &self.state,
            )
            .await?;
        self.left = self.left.saturating_sub(found.items.len());
        self.over = found.next.is_none() || self.left == 0;
        self.after = found.next;
        Ok(Some(found.items))
    }
}

impl Stream for Records {
    type Item = Result<Record, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.pages.poll_next_unpin(cx)
    }
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records")
            .field("cv", &self.cv)
            .finish_non_exhaustive()
    }
}

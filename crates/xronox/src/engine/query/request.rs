//! What a query asks for, and answering it.

use serde_json::{Value, json};
use xronox_model::{Direction, Filter, Invalid, Op, Path, RecordId, Sha256, json::canonical};
use xronox_store::{Bodies, Cut, Which};

use super::{
    Page,
    cursor::{Cursor, Fingerprint, Pinned},
    order::{Order, Place},
    page::{self, Bounds},
    search::Search,
};
use crate::{
    Error, ErrorKind, Moment,
    collection::Shared,
    engine::{read::pruned, record::Record, scope::Scope, shape::Sight},
};

/// What is asked for.
#[derive(Debug, Default)]
pub(super) struct Request {
    pub(super) scope: Scope,
    /// Within the scope.
    pub(super) filter: Filter,
    pub(super) sort: Vec<(Path, Direction)>,
    pub(super) limit: Option<usize>,
    pub(super) start: Option<Start>,
    pub(super) view: View,
    pub(super) sight: Sight,
}

/// Which state of the collection is looked at.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct View {
    pub(super) as_of: Option<Moment>,
    pub(super) include_deleted: bool,
    pub(super) accept_pruned: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Start {
    Cursor(Cursor),
    Id(RecordId),
}

impl Request {
    pub(super) async fn page(&self, shared: &Shared) -> Result<Page, Error> {
        let limit = shared.database.settings.queries.page(self.limit)?;
        let order = Order::new(&self.sort)?;
        let state = self
            .view
            .state(shared, self.pinned(shared, &order)?)
            .await?;
        if state.is_void() {
            return Ok(Page {
                items: Vec::new(),
                cursor: None,
                scanned: 0,
                cv: None,
                settled: state.settled(),
                pruned: 0,
            });
        }
        let search = Search::new(
            shared,
            &self.filter,
            &order,
            self.view.include_deleted,
            state.cv(),
        );
        let after = self.after(&search).await?;
        let found = self
            .stretch(&search, after.as_ref(), limit, Bounds::Setting, &state)
            .await?;
        let cursor = found.next.map(|place| Cursor {
            fingerprint: self.fingerprint(shared, &order),
            pinned: state.cv().map(|cv| Pinned {
                cv,
                settled: state.settled(),
            }),
            place,
        });
        Ok(Page {
            items: found.items,
            cursor,
            scanned: found.scanned,
            cv: state.cv().or(found.cv),
            settled: state.settled(),
            pruned: found.pruned,
        })
    }

    /// The records of a page, and what retention has left out of it.
    pub(super) async fn stretch(
        &self,
        search: &Search<'_>,
        after: Option<&Place>,
        limit: usize,
        bounds: Bounds,
        state: &State,
    ) -> Result<Stretch, Error> {
        let filled = page::fill(search, after, limit, bounds).await?;
        let items = search.records(filled.candidates, &self.sight).await?;
        Ok(Stretch {
            items,
            next: filled.next,
            scanned: filled.scanned,
            cv: filled.cv,
            // Last, so that it knows of what was removed while we were reading.
            pruned: self.view.pruned(search.shared, state).await?,
        })
    }

    /// Where to begin.
    pub(super) async fn after(&self, search: &Search<'_>) -> Result<Option<Place>, Error> {
        let id = match &self.start {
            None => return Ok(None),
            Some(Start::Cursor(cursor)) => return Ok(Some(cursor.place.clone())),
            Some(Start::Id(id)) => id,
        };
        if search.order.fields.is_empty() {
            return Ok(Some(Place {
                keys: Vec::new(),
                id: id.clone(),
            }));
        }
        let (catalog, name) = (&search.shared.database.catalog, &search.shared.name);
        let row = match search.cut {
            None => catalog.head(name, id, Bodies::Inline).await?,
            Some(cv) => {
                catalog
                    .version(name, id, Which::AsOf(cv), Bodies::Inline)
                    .await?
            }
        };
        let missing = || {
            Error::new(
                ErrorKind::NotFound,
                format!("there is no record {id} to begin after"),
            )
        };
        let row = row.filter(|row| row.op != Op::Purge).ok_or_else(missing)?;
        if row.pruned.is_some() && self.scope.is_everything() {
            return Err(pruned());
        }
        let rows = search.shared.within(&self.scope, vec![row]).await?;
        let row = rows.into_iter().next().ok_or_else(missing)?;
        search.place_at(row).await?.ok_or_else(missing).map(Some)
    }

    /// What the cursor, if there is one, says of the moment.
    pub(super) fn pinned(&self, shared: &Shared, order: &Order) -> Result<Option<Pinned>, Error> {
        let Some(Start::Cursor(cursor)) = &self.start else {
            return Ok(None);
        };
        if cursor.fingerprint != self.fingerprint(shared, order) {
            return Err(Invalid::at("cursor", "belongs to another query").into());
        }
        Ok(cursor.pinned)
    }

    /// Names the query, but for what may differ from page to page.
    fn fingerprint(&self, shared: &Shared, order: &Order) -> Fingerprint {
        let direction = |direction| match direction {
            Direction::Ascending => 1,
            Direction::Descending => -1,
        };
        let fields = order.fields.iter();
        let sort: Vec<Value> = fields
            .map(|(path, of_field)| json!([path.to_string(), direction(*of_field)]))
            .collect();
        let query = json!({
            "database": shared.database.catalog.marker().id,
            "collection": shared.name.as_str(),
            "filter": self.filter.to_json(),
            "sort": sort,
            "id": direction(order.id),
            "asOf": match self.view.as_of {
                None => Value::Null,
                Some(Moment::Cv(cv)) => json!(cv),
                Some(Moment::Time(at)) => json!(at),
            },
            "deleted": self.view.include_deleted,
        });
        let hash = Sha256::of(&canonical(&query));
        let mut fingerprint = Fingerprint::default();
        fingerprint.copy_from_slice(&hash.as_bytes()[..16]);
        fingerprint
    }
}

/// A part of the answer.
#[derive(Debug)]
pub(super) struct Stretch {
    pub(super) items: Vec<Record>,
    pub(super) next: Option<Place>,
    scanned: u64,
    cv: Option<u64>,
    pruned: u64,
}

/// Which commits are looked at; `None`: all, as they come.
#[derive(Debug, Clone, Copy)]
pub(super) struct State(pub(super) Option<Cut>);

impl State {
    pub(super) fn cv(&self) -> Option<u64> {
        self.0.and_then(|cut| cut.cv)
    }

    pub(super) fn settled(&self) -> bool {
        self.0.is_some_and(|cut| cut.settled)
    }

    /// Whether there is nothing to see yet.
    pub(super) fn is_void(&self) -> bool {
        self.0.is_some_and(|cut| cut.cv.is_none())
    }
}

impl View {
    pub(super) async fn state(
        &self,
        shared: &Shared,
        pinned: Option<Pinned>,
    ) -> Result<State, Error> {
        let Some(moment) = self.as_of else {
            return Ok(State(None));
        };
        shared.history_allowed()?;
        let cut = match pinned {
            Some(Pinned { cv, settled }) => Cut {
                cv: Some(cv),
                settled,
            },
            None => shared.cut(moment).await?,
        };
        Ok(State(Some(cut)))
    }

    /// How many records retention has left out of this state.
    pub(super) async fn pruned(&self, shared: &Shared, state: &State) -> Result<u64, Error> {
        let Some(cut) = state.cv() else {
            return Ok(0);
        };
        let stubs = shared.database.catalog.stubs_at(&shared.name, cut).await?;
        if stubs > 0 && !self.accept_pruned {
            return Err(Error::new(
                ErrorKind::Pruned,
                format!("retention has removed what {stubs} records were at version {cut}"),
            ));
        }
        Ok(stubs)
    }
}

//! Reading along a plan.
//!
//! A walk asks for one page after another, each from behind the last document
//! met, so that nothing stays open at the server.

use std::{collections::VecDeque, ops::Bound};

use mongodb::{
    ClientSession, Collection,
    action::Find,
    bson::{Document, RawDocumentBuf, doc},
};
use serde_json::Value;
use xronox_model::{Filter, KeyRange, OrderedKey};
use xronox_store::{
    DocFind, StoreError,
    documents::{Access, Plan, Span, TupleKey, after_prefix, id_key},
};

use super::{
    Shared,
    entry::{Met, stored_keys, text},
    state::{BEYOND_IDS, Form, Index},
};
use crate::error::Failure;

/// The most documents of a page.
pub(super) const MAX_PAGE: usize = 1_000;

/// A page ends with the document that brings it to so many bytes.
const MAX_PAGE_BYTES: usize = 16 << 20;

/// The most stretches that one page is looked for in.
const MAX_STRETCHES: usize = 100;

/// What the server says when it is to go along an index that it has not, or
/// has no longer.
const BAD_VALUE: i32 = 2;
const QUERY_PLAN_KILLED: i32 = 175;

/// Whether the plan of a read goes along an index that is gone.
pub(super) fn is_stale(failure: &Failure) -> bool {
    matches!(failure.code(), Some(BAD_VALUE | QUERY_PLAN_KILLED))
}

/// A walk along a plan, to the documents that match and are not gone, each
/// once.
pub(super) struct Walk<'w> {
    of: &'w Shared,
    documents: Collection<RawDocumentBuf>,
    filter: &'w Filter,
    living: Document,
    way: Way<'w>,
    reverse: bool,
    /// What is still to be looked at, in the order of the walk.
    left: VecDeque<Stretch>,
    /// How many documents the next page may have.
    page: usize,
    met: VecDeque<Met>,
}

enum Way<'w> {
    Ids,
    Keys {
        index: &'w Index,
        /// All stretches of the plan.
        spans: Vec<Stretch>,
    },
}

/// The keys between two, each included or not.
#[derive(Debug, Clone)]
struct Stretch {
    low: String,
    low_included: bool,
    high: String,
    high_included: bool,
}

impl Stretch {
    fn of_ids(range: &KeyRange) -> Self {
        // The filter sees to the very ends.
        let key = |bound: &Bound<OrderedKey>, unbounded: &str| match bound {
            Bound::Included(key) | Bound::Excluded(key) => key.as_str().to_owned(),
            Bound::Unbounded => unbounded.to_owned(),
        };
        Self {
            low: key(&range.lower, ""),
            low_included: true,
            high: key(&range.upper, BEYOND_IDS),
            high_included: true,
        }
    }

    fn of_span(span: &Span) -> Self {
        Self {
            low: text(&span.start),
            low_included: true,
            high: text(&span.end),
            high_included: false,
        }
    }

    fn contains(&self, key: &str) -> bool {
        let above = if self.low_included {
            *self.low <= *key
        } else {
            *self.low < *key
        };
        above && (*key < *self.high || self.high_included && *key == *self.high)
    }

    /// The condition that a field lies in it.
    fn condition(&self, field: &str) -> Document {
        let above = if self.low_included { "$gte" } else { "$gt" };
        let below = if self.high_included { "$lte" } else { "$lt" };
        doc! { field: { above: &self.low, below: &self.high } }
    }
}

impl<'w> Walk<'w> {
    /// Sets out along a plan made of indexes that are ready, for a first page of
    /// this many documents.
    pub(super) fn new(
        of: &'w Shared,
        documents: Collection<RawDocumentBuf>,
        ready: &[&'w Index],
        plan: &Plan,
        filter: &'w Filter,
        living: Document,
        page: usize,
    ) -> Result<Self, StoreError> {
        let (way, mut left): (_, VecDeque<Stretch>) = match &plan.access {
            Access::Ids(ranges) => (Way::Ids, ranges.iter().map(Stretch::of_ids).collect()),
            Access::Keys { index, spans, .. } => {
                let index = ready.get(*index);
                let index =
                    index.ok_or_else(|| StoreError::Corrupt("a plan names no index".to_owned()))?;
                let spans: Vec<Stretch> = spans.iter().map(Stretch::of_span).collect();
                let left = spans.iter().cloned().collect();
                (Way::Keys { index, spans }, left)
            }
        };
        if plan.reverse {
            left.make_contiguous().reverse();
        }
        Ok(Self {
            of,
            documents,
            filter,
            living,
            way,
            reverse: plan.reverse,
            left,
            page: page.clamp(1, MAX_PAGE),
            met: VecDeque::new(),
        })
    }

    /// Passes over what stands up to the place of a document in the order of
    /// a find that the plan is in.
    pub(super) fn resume(&mut self, plan: &Plan, after: &Value, order: &DocFind) {
        let Ok(id) = id_key(after) else { return };
        match &self.way {
            Way::Ids => self.pass(id.as_str(), false),
            Way::Keys { index, .. } => {
                let Some(mut entry) = plan.entry_at(&index.spec, after, order) else {
                    return;
                };
                if !index.spec.unique {
                    let mut with_id = TupleKey::default();
                    with_id.push(&id, index.spec.id_direction());
                    entry.extend_from_slice(with_id.as_bytes());
                    self.pass(&text(&entry), false);
                } else if self.reverse {
                    self.pass(&text(&after_prefix(&entry)), false);
                } else {
                    self.pass(&text(&entry), true);
                }
            }
        }
    }

    /// Leaves behind what stands up to a key, itself aside if it is to be met
    /// again.
    fn pass(&mut self, key: &str, again: bool) {
        while let Some(next) = self.left.front_mut() {
            let (near, far) = if self.reverse {
                (&mut next.high, &next.low)
            } else {
                (&mut next.low, &next.high)
            };
            let beyond = |a: &str, b: &str| if self.reverse { a < b } else { a > b };
            if beyond(near, key) {
                return;
            }
            if beyond(far, key) {
                key.clone_into(near);
                if self.reverse {
                    next.high_included = again;
                } else {
                    next.low_included = again;
                }
                return;
            }
            self.left.pop_front();
        }
    }

    /// The next document.
    pub(super) async fn next(
        &mut self,
        session: &mut ClientSession,
    ) -> Result<Option<Met>, Failure> {
        while self.met.is_empty() && !self.left.is_empty() {
            self.turn_page(session).await?;
        }
        Ok(self.met.pop_front())
    }

    async fn turn_page(&mut self, session: &mut ClientSession) -> Result<(), Failure> {
        let documents = self.documents.clone();
        let (find, stretches) = self.ask(&documents);
        let limit = self.page;
        let mut cursor = find
            .limit(i64::try_from(limit).unwrap_or(i64::MAX))
            .batch_size(u32::try_from(limit).unwrap_or(u32::MAX))
            .projection(doc! { "k": 0, "x": 0 })
            .max_time(self.of.db.max_time())
            .session(&mut *session)
            .await?;
        let (mut count, mut bytes) = (0, 0);
        let mut last = None;
        while bytes < MAX_PAGE_BYTES && cursor.advance(&mut *session).await? {
            let met = Met::read(cursor.current())?;
            count += 1;
            bytes += cursor.current().as_bytes().len();
            let (place, first) = self.place(&met)?;
            last = Some(place);
            if first && self.filter.matches(&met.document) {
                self.met.push_back(met);
            }
        }
        match last {
            Some(place) if count == limit || bytes >= MAX_PAGE_BYTES => self.pass(&place, false),
            _ => drop(self.left.drain(..stretches)),
        }
        self.page = (self.page * 4).min(MAX_PAGE);
        Ok(())
    }

    /// The query for a page, and in how many stretches it looks.
    fn ask<'c>(
        &self,
        documents: &'c Collection<RawDocumentBuf>,
    ) -> (Find<'c, RawDocumentBuf>, usize) {
        let mut filter = self.living.clone();
        let field = match &self.way {
            Way::Ids => "_id".to_owned(),
            Way::Keys { index, .. } => index.field(),
        };
        match (&self.way, self.left.front()) {
            // Bounds that hold for one and the same key.
            (Way::Keys { index, .. }, Some(next)) if index.form != Form::One => {
                let after = if next.low_included { "" } else { "\0" };
                let find = documents
                    .find(filter)
                    .min(doc! { &field: format!("{}{after}", next.low) })
                    .max(doc! { &field: &next.high })
                    .hint(mongodb::options::Hint::Name(index.server_name()));
                (find, 1)
            }
            (way, _) => {
                let stretches = self.left.len().min(MAX_STRETCHES);
                let each = self.left.iter().take(stretches);
                let mut conditions: Vec<Document> =
                    each.map(|stretch| stretch.condition(&field)).collect();
                if stretches > 1 {
                    filter.insert("$or", conditions);
                } else {
                    filter.extend(conditions.pop().unwrap_or_default());
                }
                let hint = match way {
                    Way::Ids => mongodb::options::Hint::Keys(doc! { "_id": 1 }),
                    Way::Keys { index, .. } => mongodb::options::Hint::Name(index.server_name()),
                };
                let sort = if self.reverse { -1 } else { 1 };
                let find = documents.find(filter).hint(hint).sort(doc! { field: sort });
                (find, stretches)
            }
        }
    }

    /// Where a document was met on the current page, and whether that is for
    /// the first time on this walk.
    fn place(&self, met: &Met) -> Result<(String, bool), StoreError> {
        let Way::Keys { index, spans } = &self.way else {
            return Ok((met.id.as_str().to_owned(), true));
        };
        let keys = stored_keys(index, &met.id, &met.document)?;
        let here = |key: &&String| {
            let mut left = self.left.iter();
            left.any(|stretch| stretch.contains(key))
        };
        let place = if index.form == Form::One {
            keys.iter().find(here)
        } else {
            // One stretch at a time is looked at.
            let next = self.left.front();
            let here = keys
                .iter()
                .filter(|key| next.is_some_and(|next| next.contains(key)));
            here.min()
        };
        let place = place.ok_or_else(|| {
            let name = index.spec.name();
            StoreError::Corrupt(format!("a document is not where the index `{name}` has it"))
        })?;
        let on_the_way = |key: &&String| spans.iter().any(|span| span.contains(key));
        let first = keys.iter().filter(on_the_way).min();
        Ok((place.clone(), first == Some(place)))
    }
}

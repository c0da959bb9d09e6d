//! Finding and counting documents.

use std::collections::BTreeMap;

use mongodb::{ClientSession, bson::doc};
use serde_json::Value;
use tokio::sync::RwLockReadGuard;
use xronox_model::{CollectionName, Filter, Timestamp};
use xronox_store::{
    DocFind, StoreError,
    documents::{Plan, TupleKey},
};

use super::{
    Shared,
    state::{BEYOND_IDS, State},
    walk::{self, MAX_PAGE, Walk},
};
use crate::error::Failure;

/// How often a read sets out anew because an index went away under it.
const MAX_SETTING_OUT: usize = 10;

/// The reads of one call, at one moment.
pub(super) struct Reads<'d> {
    of: &'d Shared,
    session: ClientSession,
    now: Timestamp,
    _underway: RwLockReadGuard<'d, ()>,
}

impl<'d> Reads<'d> {
    pub(super) async fn begin(of: &'d Shared) -> Result<Self, StoreError> {
        let underway = of.underway.read().await;
        of.db.check_open()?;
        Ok(Self {
            session: of.db.session().await?,
            of,
            now: of.clock.now(),
            _underway: underway,
        })
    }

    /// A page of the documents that match.
    pub(super) async fn find(
        &mut self,
        name: &CollectionName,
        find: &DocFind,
        start: Option<&TupleKey>,
    ) -> Result<Vec<Value>, Failure> {
        if find.limit == 0 {
            return Ok(Vec::new());
        }
        let mut tries = 0;
        loop {
            let state = self.of.state(&mut self.session, name).await?;
            let found = self.find_once(name, &state, find, start).await;
            if let Some(found) = self.or_again(name, found, &mut tries) {
                return found;
            }
        }
    }

    /// How many documents match.
    pub(super) async fn count(
        &mut self,
        name: &CollectionName,
        filter: &Filter,
    ) -> Result<u64, Failure> {
        let mut tries = 0;
        loop {
            let state = self.of.state(&mut self.session, name).await?;
            let counted = self.count_once(name, &state, filter).await;
            if let Some(counted) = self.or_again(name, counted, &mut tries) {
                return counted;
            }
        }
    }

    /// What a read gave, unless it is to set out anew.
    fn or_again<T>(
        &mut self,
        name: &CollectionName,
        done: Result<T, Failure>,
        tries: &mut usize,
    ) -> Option<Result<T, Failure>> {
        self.of.db.saw(&self.session);
        match done {
            Err(failure) if walk::is_stale(&failure) && *tries < MAX_SETTING_OUT => {
                *tries += 1;
                self.of.states.forget(name);
                None
            }
            done => Some(done),
        }
    }

    async fn find_once(
        &mut self,
        name: &CollectionName,
        state: &State,
        find: &DocFind,
        start: Option<&TupleKey>,
    ) -> Result<Vec<Value>, Failure> {
        let ready = state.ready();
        let indexed: Vec<_> = ready.iter().map(|index| index.indexed()).collect();
        let plan = Plan::of(&indexed, &find.filter, Some(find));
        let place = |document: &Value| {
            let place = find.place(document);
            place.map_err(|e| StoreError::Corrupt(format!("a document: {e}")))
        };
        let page = if plan.ordered { find.limit } else { MAX_PAGE };
        let (documents, living) = (self.of.documents(name), state.living(self.now));
        let filter = &find.filter;
        let mut walk = Walk::new(self.of, documents, &ready, &plan, filter, living, page)?;
        if plan.ordered {
            if let Some(after) = &find.after {
                walk.resume(&plan, after, find);
            }
            let mut page = Vec::new();
            while page.len() < find.limit
                && let Some(met) = walk.next(&mut self.session).await?
            {
                match start {
                    Some(start) if place(&met.document)? <= *start => {}
                    _ => page.push(met.document),
                }
            }
            return Ok(page);
        }
        // The first of them so far; one more than asked for falls out at the end.
        let mut first: BTreeMap<TupleKey, Value> = BTreeMap::new();
        while let Some(met) = walk.next(&mut self.session).await? {
            let place = place(&met.document)?;
            if start.is_some_and(|start| place <= *start) {
                continue;
            }
            if first.len() == find.limit {
                let last = first.last_key_value();
                if last.is_some_and(|(last, _)| place > *last) {
                    continue;
                }
                first.pop_last();
            }
            first.insert(place, met.document);
        }
        Ok(first.into_values().collect())
    }

    async fn count_once(
        &mut self,
        name: &CollectionName,
        state: &State,
        filter: &Filter,
    ) -> Result<u64, Failure> {
        let (documents, living) = (self.of.documents(name), state.living(self.now));
        if filter.is_empty() {
            let mut all = living;
            all.insert("_id", doc! { "$lt": BEYOND_IDS });
            let counted = documents
                .count_documents(all)
                .max_time(self.of.db.max_time())
                .session(&mut self.session);
            return Ok(counted.await?);
        }
        let ready = state.ready();
        let indexed: Vec<_> = ready.iter().map(|index| index.indexed()).collect();
        let plan = Plan::of(&indexed, filter, None);
        let mut walk = Walk::new(self.of, documents, &ready, &plan, filter, living, MAX_PAGE)?;
        let mut count = 0;
        while walk.next(&mut self.session).await?.is_some() {
            count += 1;
        }
        Ok(count)
    }
}

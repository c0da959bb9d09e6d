//! The reference for plain collections: the contract in its plainest form.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use async_trait::async_trait;
use parking_lot::{MappedMutexGuard, Mutex, MutexGuard};
use serde_json::Value;
use xronox_model::{CollectionName, Filter, OrderedKey, Timestamp};

use super::{
    DocFind, DocIndex, DocOp, DocOutcome, DocRefusal, DocUpdate, Documents, InsertOutcome,
    MAX_BATCH, MAX_PAGE, Missing, UpdateOutcome, checked, within,
};
use crate::{Capabilities, Clock, StoreError};

const CAPABILITIES: Capabilities = Capabilities {
    transactions: true,
    durable: false,
    shared: false,
    max_inline: 64 << 20,
    max_indexed: usize::MAX,
};

type Collections = BTreeMap<CollectionName, Collection>;

/// Plain collections in memory, simple rather than fast: what every other
/// backend is compared with. It reads a collection from end to end for
/// whatever is asked; only uniqueness has an index.
#[derive(Debug)]
pub struct MemoryDocuments {
    clock: Arc<dyn Clock>,
    /// `None` once closed.
    collections: Mutex<Option<Collections>>,
}

#[derive(Debug, Default)]
struct Collection {
    /// By the key of the `_id`.
    documents: BTreeMap<OrderedKey, Value>,
    indexes: BTreeMap<String, DocIndex>,
    /// Who holds a key of a unique index.
    holders: BTreeMap<UniqueKey, OrderedKey>,
}

/// The name of an index, and a key in it.
type UniqueKey = (String, Vec<OrderedKey>);

impl MemoryDocuments {
    /// A database without collections.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            collections: Mutex::new(Some(Collections::new())),
        }
    }

    fn open(&self) -> Result<MappedMutexGuard<'_, Collections>, StoreError> {
        MutexGuard::try_map(self.collections.lock(), Option::as_mut).map_err(|_| StoreError::Closed)
    }
}

#[async_trait]
impl Documents for MemoryDocuments {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    async fn insert(
        &self,
        collection: &CollectionName,
        documents: Vec<Value>,
    ) -> Result<Vec<InsertOutcome>, StoreError> {
        within("an insert", documents.len(), MAX_BATCH)?;
        let mut collections = self.open()?;
        let mut writes = Writes::at(self.clock.now(), &mut collections);
        let documents = documents.iter();
        Ok(documents
            .map(|document| writes.insert(collection, document))
            .collect())
    }

    async fn find(
        &self,
        collection: &CollectionName,
        find: &DocFind,
    ) -> Result<Vec<Value>, StoreError> {
        let start = find.start()?;
        let collections = self.open()?;
        let Some(c) = collections.get(collection) else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for document in c.matching(&find.filter, self.clock.now()) {
            let place = find.place(document);
            let place = place.map_err(|e| StoreError::Corrupt(e.to_string()))?;
            if start.as_ref().is_none_or(|start| place > *start) {
                found.push((place, document));
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        let page = found.into_iter().take(find.limit);
        Ok(page.map(|(_, document)| document.clone()).collect())
    }

    async fn update_one(
        &self,
        collection: &CollectionName,
        update: &DocUpdate,
    ) -> Result<UpdateOutcome, StoreError> {
        let mut collections = self.open()?;
        Ok(Writes::at(self.clock.now(), &mut collections).update(collection, update))
    }

    async fn delete(
        &self,
        collection: &CollectionName,
        filter: &Filter,
        limit: usize,
    ) -> Result<u64, StoreError> {
        within("a page", limit, MAX_PAGE)?;
        let mut collections = self.open()?;
        Ok(Writes::at(self.clock.now(), &mut collections).delete(collection, filter, limit))
    }

    async fn count(&self, collection: &CollectionName, filter: &Filter) -> Result<u64, StoreError> {
        let collections = self.open()?;
        let c = collections.get(collection);
        Ok(c.map_or(0, |c| c.matching(filter, self.clock.now()).count() as u64))
    }

    async fn apply(
        &self,
        operations: Vec<(CollectionName, DocOp)>,
        atomic: bool,
    ) -> Result<Vec<DocOutcome>, StoreError> {
        within("a batch", operations.len(), MAX_BATCH)?;
        for (_, operation) in &operations {
            if let DocOp::Delete { limit, .. } = operation {
                within("a page", *limit, MAX_PAGE)?;
            }
        }
        let mut collections = self.open()?;
        let mut writes = Writes::at(self.clock.now(), &mut collections);
        let mut outcomes = Vec::with_capacity(operations.len());
        for (at, (collection, operation)) in operations.iter().enumerate() {
            let outcome = writes.perform(collection, operation);
            if atomic && outcome.aborts(operation) {
                writes.undo();
                return Ok(DocOutcome::undone(operations.len(), at, outcome));
            }
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    async fn ensure_index(
        &self,
        collection: &CollectionName,
        index: &DocIndex,
    ) -> Result<(), StoreError> {
        index
            .check()
            .map_err(|e| StoreError::Refused(e.to_string()))?;
        let now = self.clock.now();
        let mut collections = self.open()?;
        let c = collections.entry(collection.clone()).or_default();
        let name = index.name();
        if let Some(other) = c.indexes.get(&name) {
            return if other == index {
                Ok(())
            } else {
                Err(index.clash(collection))
            };
        }
        c.sweep(now, usize::MAX);
        let mut holders = BTreeMap::new();
        for (id, document) in &c.documents {
            // Those that this index itself declares gone do not count.
            if index.ends(document, now) {
                continue;
            }
            let keys = index.keys(document);
            let keys = keys
                .map_err(|e| index.unfit(collection, &e.to_string()))?
                .keys;
            for key in keys.into_iter().filter(|_| index.unique) {
                if holders
                    .insert((name.clone(), key), id.clone())
                    .is_some_and(|other| other != *id)
                {
                    return Err(index.unfit(collection, "two documents share a key"));
                }
            }
        }
        c.holders.append(&mut holders);
        c.indexes.insert(name, index.clone());
        Ok(())
    }

    async fn indexes(&self, collection: &CollectionName) -> Result<Vec<DocIndex>, StoreError> {
        let collections = self.open()?;
        let c = collections.get(collection);
        Ok(c.map_or_else(Vec::new, |c| c.indexes.values().cloned().collect()))
    }

    async fn drop_index(&self, collection: &CollectionName, name: &str) -> Result<(), StoreError> {
        let now = self.clock.now();
        if let Some(c) = self.open()?.get_mut(collection) {
            // What was gone stays gone.
            c.sweep(now, usize::MAX);
            c.indexes.remove(name);
            c.holders.retain(|(index, _), _| index != name);
        }
        Ok(())
    }

    async fn collections(&self) -> Result<Vec<CollectionName>, StoreError> {
        Ok(self.open()?.keys().cloned().collect())
    }

    async fn drop_collection(&self, collection: &CollectionName) -> Result<(), StoreError> {
        self.open()?.remove(collection);
        Ok(())
    }

    async fn sweep(&self, limit: usize) -> Result<u64, StoreError> {
        within("a page", limit, MAX_PAGE)?;
        let now = self.clock.now();
        let mut gone = 0;
        for c in self.open()?.values_mut() {
            gone += c.sweep(now, limit - gone);
        }
        Ok(gone as u64)
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.collections.lock().take();
        Ok(())
    }
}

impl Collection {
    fn is_live(&self, document: &Value, now: Timestamp) -> bool {
        !self.indexes.values().any(|index| index.ends(document, now))
    }

    fn matching(&self, filter: &Filter, now: Timestamp) -> impl Iterator<Item = &Value> {
        let all = self.documents.values();
        all.filter(move |document| self.is_live(document, now) && filter.matches(*document))
    }

    fn sweep(&mut self, now: Timestamp, limit: usize) -> usize {
        let over = self
            .documents
            .iter()
            .filter(|(_, document)| !self.is_live(document, now));
        let over: Vec<OrderedKey> = over.map(|(id, _)| id.clone()).take(limit).collect();
        for id in &over {
            self.put(id, None);
        }
        over.len()
    }

    /// Puts a document in the place of another, or of none, and gives that.
    fn put(&mut self, id: &OrderedKey, document: Option<Value>) -> Option<Value> {
        let before = self.documents.remove(id);
        if let Some(before) = &before {
            for key in self.unique_keys(before) {
                self.holders.remove(&key);
            }
        }
        if let Some(document) = document {
            for key in self.unique_keys(&document) {
                self.holders.insert(key, id.clone());
            }
            self.documents.insert(id.clone(), document);
        }
        before
    }

    fn unique_keys(&self, document: &Value) -> Vec<UniqueKey> {
        let unique = self.indexes.iter().filter(|(_, index)| index.unique);
        unique
            .filter_map(|(name, index)| Some((name, index.keys(document).ok()?.keys)))
            .flat_map(|(name, keys)| keys.into_iter().map(|key| (name.clone(), key)))
            .collect()
    }
}

/// Writes at one moment, which can be undone.
struct Writes<'c> {
    now: Timestamp,
    collections: &'c mut Collections,
    /// What was before each of them.
    before: Vec<(CollectionName, Before)>,
}

enum Before {
    /// The collection was not there.
    Absent,
    /// This document, or none, stood in this place.
    Stood(OrderedKey, Option<Value>),
}

impl<'c> Writes<'c> {
    fn at(now: Timestamp, collections: &'c mut Collections) -> Self {
        Self {
            now,
            collections,
            before: Vec::new(),
        }
    }

    fn perform(&mut self, collection: &CollectionName, operation: &DocOp) -> DocOutcome {
        match operation {
            DocOp::Insert(document) => DocOutcome::Insert(self.insert(collection, document)),
            DocOp::Update(update) => DocOutcome::Update(self.update(collection, update)),
            DocOp::Delete { filter, limit } => {
                DocOutcome::Delete(self.delete(collection, filter, *limit))
            }
        }
    }

    fn insert(&mut self, collection: &CollectionName, document: &Value) -> InsertOutcome {
        let checked = checked(document.clone()).map_err(DocRefusal::Invalid);
        match checked.and_then(|(id, document)| self.add(collection, &id, document)) {
            Ok(()) => InsertOutcome::Inserted,
            Err(refusal) => InsertOutcome::Refused(refusal),
        }
    }

    fn update(&mut self, collection: &CollectionName, update: &DocUpdate) -> UpdateOutcome {
        let c = self.collections.get(collection);
        let matched = c
            .and_then(|c| c.matching(&update.filter, self.now).next())
            .cloned();
        let outcome = match matched {
            Some(document) => self.change(collection, &document, update),
            None if update.missing == Missing::Insert => self.upsert(collection, update),
            None => Ok(UpdateOutcome::Unmatched),
        };
        outcome.unwrap_or_else(UpdateOutcome::Refused)
    }

    fn change(
        &mut self,
        collection: &CollectionName,
        document: &Value,
        update: &DocUpdate,
    ) -> Result<UpdateOutcome, DocRefusal> {
        let changed = update.update.apply(document).map_err(DocRefusal::Invalid)?;
        let (id, changed) = checked(changed).map_err(DocRefusal::Invalid)?;
        let modified = changed != *document;
        if modified {
            self.replace(collection, &id, changed.clone())?;
        }
        Ok(UpdateOutcome::Matched {
            modified,
            document: update.returning.then_some(changed),
        })
    }

    fn upsert(
        &mut self,
        collection: &CollectionName,
        update: &DocUpdate,
    ) -> Result<UpdateOutcome, DocRefusal> {
        let made = update.update.make(&update.filter).and_then(checked);
        let (id, made) = made.map_err(DocRefusal::Invalid)?;
        self.add(collection, &id, made.clone())?;
        Ok(UpdateOutcome::Inserted {
            id: made["_id"].clone(),
            document: update.returning.then_some(made),
        })
    }

    fn delete(&mut self, collection: &CollectionName, filter: &Filter, limit: usize) -> u64 {
        let Some(c) = self.collections.get(collection) else {
            return 0;
        };
        let gone: Vec<OrderedKey> = c
            .documents
            .iter()
            .filter(|(_, document)| c.is_live(document, self.now) && filter.matches(*document))
            .map(|(id, _)| id.clone())
            .take(limit)
            .collect();
        for id in &gone {
            self.put(collection, id, None);
        }
        gone.len() as u64
    }

    fn add(
        &mut self,
        collection: &CollectionName,
        id: &OrderedKey,
        document: Value,
    ) -> Result<(), DocRefusal> {
        let c = self.collections.get(collection);
        if let Some(there) = c.and_then(|c| c.documents.get(id)) {
            if c.is_some_and(|c| c.is_live(there, self.now)) {
                let index = "_id".to_owned();
                return Err(DocRefusal::Duplicate { index });
            }
            self.put(collection, id, None);
        }
        self.replace(collection, id, document)
    }

    /// Puts a document in its place if its keys are free.
    fn replace(
        &mut self,
        collection: &CollectionName,
        id: &OrderedKey,
        document: Value,
    ) -> Result<(), DocRefusal> {
        let mut in_the_way = Vec::new();
        if let Some(c) = self.collections.get(collection) {
            for (name, index) in &c.indexes {
                let keys = index.keys(&document).map_err(DocRefusal::Invalid)?.keys;
                for key in keys.into_iter().filter(|_| index.unique) {
                    match c.holders.get(&(name.clone(), key)) {
                        Some(holder) if holder != id => in_the_way.push((name, holder.clone())),
                        _ => {}
                    }
                }
            }
            let live = |holder| {
                c.documents
                    .get(holder)
                    .is_some_and(|d| c.is_live(d, self.now))
            };
            if let Some((index, _)) = in_the_way.iter().find(|(_, holder)| live(holder)) {
                let index = (*index).clone();
                return Err(DocRefusal::Duplicate { index });
            }
        }
        let over: Vec<OrderedKey> = in_the_way.into_iter().map(|(_, holder)| holder).collect();
        for holder in over {
            self.put(collection, &holder, None);
        }
        self.put(collection, id, Some(document));
        Ok(())
    }

    fn put(&mut self, collection: &CollectionName, id: &OrderedKey, document: Option<Value>) {
        let c = match self.collections.entry(collection.clone()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                self.before.push((collection.clone(), Before::Absent));
                entry.insert(Collection::default())
            }
        };
        let before = c.put(id, document);
        self.before
            .push((collection.clone(), Before::Stood(id.clone(), before)));
    }

    fn undo(&mut self) {
        while let Some((collection, before)) = self.before.pop() {
            match before {
                Before::Absent => {
                    self.collections.remove(&collection);
                }
                Before::Stood(id, document) => {
                    if let Some(c) = self.collections.get_mut(&collection) {
                        c.put(&id, document);
                    }
                }
            }
        }
    }
}

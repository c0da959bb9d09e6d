//! Writing documents, inside one transaction.

use std::ops::ControlFlow;

use rusqlite::{Connection, OptionalExtension};
use serde_json::Value;
use xronox_model::{CollectionName, Filter, OrderedKey, Timestamp, json};
use xronox_store::{
    DocOp, DocOutcome, DocRefusal, DocUpdate, InsertOutcome, Missing, StoreError, UpdateOutcome,
    documents::{Plan, TupleKey, after_prefix, checked},
};

use super::{
    meta::{self, Cache, Index, Meta},
    walk::{self, Met},
};
use crate::error::storage;

/// Work on documents in the writer's transaction, at one moment.
pub(super) struct Writes<'w> {
    pub(super) db: &'w Connection,
    pub(super) cache: &'w Cache,
    pub(super) now: Timestamp,
}

/// A document that was checked before its turn came.
pub(super) struct Prepared(Result<Fit, DocRefusal>);

/// A document as it is stored.
struct Fit {
    id: OrderedKey,
    document: Value,
    body: Vec<u8>,
}

impl Fit {
    fn new(document: Value) -> Result<Self, DocRefusal> {
        let (id, document) = checked(document).map_err(DocRefusal::Invalid)?;
        let body = json::canonical(&document);
        Ok(Self { id, document, body })
    }
}

impl Prepared {
    pub(super) fn new(document: Value) -> Self {
        Self(Fit::new(document))
    }
}

/// What an index is to hold of a document.
struct Entries<'m> {
    index: &'m Index,
    /// Without the `_id`.
    tuples: Vec<TupleKey>,
    multi: bool,
}

/// Why a write stops here: the document is refused, or all fails.
enum Stop {
    Refused(DocRefusal),
    Failed(StoreError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

impl From<DocRefusal> for Stop {
    fn from(refusal: DocRefusal) -> Self {
        Self::Refused(refusal)
    }
}

fn refused_or<T>(
    done: Result<T, Stop>,
    refused: impl FnOnce(DocRefusal) -> T,
) -> Result<T, StoreError> {
    match done {
        Ok(outcome) => Ok(outcome),
        Err(Stop::Refused(refusal)) => Ok(refused(refusal)),
        Err(Stop::Failed(error)) => Err(error),
    }
}

impl<'w> Writes<'w> {
    pub(super) fn new(db: &'w Connection, cache: &'w Cache, now: Timestamp) -> Self {
        Self { db, cache, now }
    }

    pub(super) fn apply(
        &mut self,
        operations: &[(CollectionName, DocOp)],
        atomic: bool,
    ) -> Result<Vec<DocOutcome>, StoreError> {
        let execute = |sql: &str| self.db.execute_batch(sql).map_err(storage);
        if atomic {
            execute("SAVEPOINT documents")?;
        }
        let mut outcomes = Vec::with_capacity(operations.len());
        for (at, (collection, operation)) in operations.iter().enumerate() {
            let outcome = match operation {
                DocOp::Insert(document) => {
                    let document = Prepared::new(document.clone());
                    DocOutcome::Insert(self.insert(collection, document)?)
                }
                DocOp::Update(update) => DocOutcome::Update(self.update(collection, update)?),
                DocOp::Delete { filter, limit } => {
                    DocOutcome::Delete(self.delete(collection, filter, *limit)?)
                }
            };
            if atomic && outcome.aborts(operation) {
                execute("ROLLBACK TO documents; RELEASE documents")?;
                return Ok(DocOutcome::undone(operations.len(), at, outcome));
            }
            outcomes.push(outcome);
        }
        if atomic {
            execute("RELEASE documents")?;
        }
        Ok(outcomes)
    }

    pub(super) fn insert(
        &self,
        collection: &CollectionName,
        document: Prepared,
    ) -> Result<InsertOutcome, StoreError> {
        let done = document
            .0
            .map_err(Stop::Refused)
            .and_then(|fit| self.add(collection, &fit));
        refused_or(
            done.map(|()| InsertOutcome::Inserted),
            InsertOutcome::Refused,
        )
    }

    pub(super) fn update(
        &self,
        collection: &CollectionName,
        update: &DocUpdate,
    ) -> Result<UpdateOutcome, StoreError> {
        let mut matched = None;
        if let Some(meta) = self.cache.load(self.db, collection)? {
            let plan = Plan::of(&meta.indexed(), &update.filter, None);
            walk::matching(
                self.db,
                &meta,
                &plan,
                &update.filter,
                None,
                self.now,
                |met| {
                    matched = Some((meta.as_ref(), met));
                    Ok(ControlFlow::Break(()))
                },
            )?;
            if let Some((meta, met)) = matched {
                return refused_or(self.change(meta, &met, update), UpdateOutcome::Refused);
            }
        }
        if update.missing == Missing::Insert {
            return refused_or(self.upsert(collection, update), UpdateOutcome::Refused);
        }
        Ok(UpdateOutcome::Unmatched)
    }

    fn change(&self, meta: &Meta, met: &Met, update: &DocUpdate) -> Result<UpdateOutcome, Stop> {
        let changed = update
            .update
            .apply(&met.document)
            .map_err(DocRefusal::Invalid)?;
        let fit = Fit::new(changed)?;
        let modified = fit.document != met.document;
        if modified {
            let entries = entries(meta, &fit.document)?;
            self.free(meta, &entries, Some(met.row))?;
            self.remove_entries(meta, &fit.id, &met.document)?;
            self.db
                .prepare_cached("UPDATE xronox_doc SET expires = ?, body = ? WHERE doc = ?")
                .and_then(|mut statement| {
                    statement.execute((meta.expires(&fit.document), &fit.body, met.row))
                })
                .map_err(storage)?;
            self.add_entries(meta, entries, &fit.id, met.row)?;
        }
        Ok(UpdateOutcome::Matched {
            modified,
            document: update.returning.then_some(fit.document),
        })
    }

    fn upsert(
        &self,
        collection: &CollectionName,
        update: &DocUpdate,
    ) -> Result<UpdateOutcome, Stop> {
        let made = update
            .update
            .make(&update.filter)
            .map_err(DocRefusal::Invalid)?;
        let fit = Fit::new(made)?;
        self.add(collection, &fit)?;
        Ok(UpdateOutcome::Inserted {
            id: fit.document["_id"].clone(),
            document: update.returning.then_some(fit.document),
        })
    }

    pub(super) fn delete(
        &self,
        collection: &CollectionName,
        filter: &Filter,
        limit: usize,
    ) -> Result<u64, StoreError> {
        let Some(meta) = self.cache.load(self.db, collection)?.filter(|_| limit > 0) else {
            return Ok(0);
        };
        let mut gone = Vec::new();
        let plan = Plan::of(&meta.indexed(), filter, None);
        walk::matching(self.db, &meta, &plan, filter, None, self.now, |met| {
            gone.push(met.row);
            Ok(if gone.len() < limit {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            })
        })?;
        for row in &gone {
            self.remove(&meta, *row)?;
        }
        Ok(gone.len() as u64)
    }

    /// Removes documents whose time has passed, of one collection or of all.
    pub(super) fn sweep(&self, of: Option<&Meta>, limit: usize) -> Result<u64, StoreError> {
        let over: Vec<(i64, i64)> = {
            let mut statement = self
                .db
                .prepare_cached(
                    "SELECT doc, collection FROM xronox_doc INDEXED BY xronox_doc_expires \
                     WHERE expires <= ?1 AND (?2 IS NULL OR collection = ?2) LIMIT ?3",
                )
                .map_err(storage)?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let asked = (self.now.as_millis(), of.map(|meta| meta.id), limit);
            let rows = statement
                .query_map(asked, |row| Ok((row.get(0)?, row.get(1)?)))
                .map_err(storage)?;
            rows.collect::<Result<_, _>>().map_err(storage)?
        };
        for (row, collection) in &over {
            if let Some(meta) = of {
                self.remove(meta, *row)?;
            } else {
                let name = meta::name_of(self.db, *collection)?;
                if let Some(meta) = self.cache.load(self.db, &name)? {
                    self.remove(&meta, *row)?;
                }
            }
        }
        Ok(over.len() as u64)
    }

    fn add(&self, collection: &CollectionName, fit: &Fit) -> Result<(), Stop> {
        let meta = self.cache.load_or_make(self.db, collection)?;
        let there: Option<(i64, Option<i64>)> = self
            .db
            .prepare_cached("SELECT doc, expires FROM xronox_doc WHERE collection = ? AND id = ?")
            .and_then(|mut statement| {
                statement
                    .query_row((meta.id, fit.id.as_str()), |row| {
                        Ok((row.get(0)?, row.get(1)?))
                    })
                    .optional()
            })
            .map_err(storage)?;
        if let Some((row, expires)) = there {
            if self.is_live(expires) {
                let index = "_id".to_owned();
                return Err(DocRefusal::Duplicate { index }.into());
            }
            self.remove(&meta, row)?;
        }
        let entries = entries(&meta, &fit.document)?;
        self.free(&meta, &entries, None)?;
        self.db
            .prepare_cached(
                "INSERT INTO xronox_doc (collection, id, expires, body) VALUES (?, ?, ?, ?)",
            )
            .and_then(|mut statement| {
                let expires = meta.expires(&fit.document);
                statement.execute((meta.id, fit.id.as_str(), expires, &fit.body))
            })
            .map_err(storage)?;
        let row = self.db.last_insert_rowid();
        self.add_entries(&meta, entries, &fit.id, row)?;
        Ok(())
    }

    fn is_live(&self, expires: Option<i64>) -> bool {
        expires.is_none_or(|expires| expires > self.now.as_millis())
    }

    /// Refuses a document whose unique keys others hold, but for dead ones,
    /// which are removed.
    fn free(&self, meta: &Meta, entries: &[Entries<'_>], own: Option<i64>) -> Result<(), Stop> {
        let mut in_the_way = Vec::new();
        for of_index in entries.iter().filter(|entries| entries.index.spec.unique) {
            for tuple in &of_index.tuples {
                let Some((row, expires)) = self.holder(of_index.index, tuple, own)? else {
                    continue;
                };
                if self.is_live(expires) {
                    let index = of_index.index.spec.name();
                    return Err(DocRefusal::Duplicate { index }.into());
                }
                in_the_way.push(row);
            }
        }
        in_the_way.sort_unstable();
        in_the_way.dedup();
        for row in in_the_way {
            self.remove(meta, row)?;
        }
        Ok(())
    }

    /// Who else holds a key of a unique index.
    pub(super) fn holder(
        &self,
        index: &Index,
        tuple: &TupleKey,
        own: Option<i64>,
    ) -> Result<Option<(i64, Option<i64>)>, StoreError> {
        let start = tuple.as_bytes();
        self.db
            .prepare_cached(
                "SELECT d.doc, d.expires FROM xronox_doc_key k CROSS JOIN xronox_doc d ON d.doc = k.doc \
                 WHERE k.idx = ?1 AND k.key >= ?2 AND k.key < ?3 AND k.doc IS NOT ?4 LIMIT 1",
            )
            .and_then(|mut statement| {
                statement
                    .query_row((index.id, start, after_prefix(start), own), |row| {
                        Ok((row.get(0)?, row.get(1)?))
                    })
                    .optional()
            })
            .map_err(storage)
    }

    /// Removes a document and its entries.
    pub(super) fn remove(&self, meta: &Meta, row: i64) -> Result<(), StoreError> {
        let body: Vec<u8> = self
            .db
            .prepare_cached("SELECT body FROM xronox_doc WHERE doc = ?")
            .and_then(|mut statement| statement.query_row([row], |row| row.get(0)))
            .map_err(storage)?;
        let document = walk::parse(&body)?;
        self.remove_entries(meta, &walk::stored_id(&document)?, &document)?;
        self.db
            .prepare_cached("DELETE FROM xronox_doc WHERE doc = ?")
            .and_then(|mut statement| statement.execute([row]))
            .map_err(storage)?;
        Ok(())
    }

    fn remove_entries(
        &self,
        meta: &Meta,
        id: &OrderedKey,
        document: &Value,
    ) -> Result<(), StoreError> {
        let mut statement = self
            .db
            .prepare_cached("DELETE FROM xronox_doc_key WHERE idx = ? AND key = ?")
            .map_err(storage)?;
        for index in &meta.indexes {
            for entry in index.entries(document, id)? {
                statement.execute((index.id, entry)).map_err(storage)?;
            }
        }
        Ok(())
    }

    fn add_entries(
        &self,
        meta: &Meta,
        entries: Vec<Entries<'_>>,
        id: &OrderedKey,
        row: i64,
    ) -> Result<(), StoreError> {
        let mut grown = false;
        for Entries {
            index,
            tuples,
            multi,
        } in entries
        {
            self.index_document(index, tuples, id, row)?;
            if multi && !index.multi {
                set_multi(self.db, index.id)?;
                grown = true;
            }
        }
        if grown {
            meta::renew(self.db, meta.id)?;
        }
        Ok(())
    }

    /// Puts a document into one index.
    pub(super) fn index_document(
        &self,
        index: &Index,
        tuples: Vec<TupleKey>,
        id: &OrderedKey,
        row: i64,
    ) -> Result<(), StoreError> {
        let mut statement = self
            .db
            .prepare_cached("INSERT INTO xronox_doc_key (idx, key, doc) VALUES (?, ?, ?)")
            .map_err(storage)?;
        for mut tuple in tuples {
            tuple.push(id, index.spec.id_direction());
            statement
                .execute((index.id, tuple.as_bytes(), row))
                .map_err(storage)?;
        }
        Ok(())
    }
}

/// Remembers that a document has several keys in an index.
pub(super) fn set_multi(db: &Connection, index: i64) -> Result<(), StoreError> {
    db.prepare_cached("UPDATE xronox_doc_index SET multi = 1 WHERE id = ?")
        .and_then(|mut statement| statement.execute([index]))
        .map_err(storage)?;
    Ok(())
}

fn entries<'m>(meta: &'m Meta, document: &Value) -> Result<Vec<Entries<'m>>, DocRefusal> {
    let of_index = |index: &'m Index| {
        let keys = index.spec.keys(document).map_err(DocRefusal::Invalid)?;
        Ok(Entries {
            index,
            tuples: index.spec.tuples(&keys),
            multi: keys.multi,
        })
    };
    meta.indexes.iter().map(of_index).collect()
}

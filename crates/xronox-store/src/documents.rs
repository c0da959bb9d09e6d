//! The contract of plain collections: documents without versions.

mod index;
mod memory;
mod order;
mod plan;
mod update;

use std::fmt;

use async_trait::async_trait;
use serde_json::Value;
use xronox_model::{CollectionName, Direction, Filter, Invalid, OrderedKey, Path, json};

use crate::{Capabilities, StoreError};

pub use index::{DocIndex, DocKeys};
pub use memory::MemoryDocuments;
pub use order::TupleKey;
pub use plan::{Access, Indexed, Plan, Span, after_prefix};
pub use update::{Change, Step, Update};

/// The most documents that one call finds or deletes.
pub const MAX_PAGE: usize = 10_000;

/// The most operations of one call of [`Documents::apply`], and the most
/// documents of one insert.
pub const MAX_BATCH: usize = 1_000;

/// The largest document, in bytes of its canonical text. Half of
/// [MongoDB's limit](https://www.mongodb.com/docs/manual/reference/limits/),
/// since its own form of a document is larger.
pub const MAX_DOCUMENT_BYTES: usize = 8 << 20;

/// The plain collections of one database: messages, identities, logs,
/// counters and queues, which nobody reads as of an earlier time.
///
/// A document is an object with an `_id`: text, a number, a boolean or an
/// object, made by the caller, and never changed. Documents go in as JSON and
/// come out in [normal form](xronox_model::json). A collection comes into
/// being with its first document or index. Reads see what is committed, and
/// what an acknowledged write did.
///
/// # Expiry
///
/// Under an index with a [`ttl`](DocIndex::ttl) a document is gone, for reads
/// and writes alike, from the moment that its date is so long ago. Its bytes
/// go when a write meets it or with [`sweep`](Self::sweep).
///
/// # Cost
///
/// A filter is narrowed through a declared index where it constrains the
/// first field of one, and an order is read off an index where the filter
/// pins the fields in front of it. Anything else reads the whole collection,
/// with memory for `limit` documents: declare indexes for what is asked often.
///
/// # Errors
///
/// [`StoreError::Refused`] for what breaks the contract as a whole (a page
/// or batch over its bound). What a single document or operation is refused
/// for is its own outcome and leaves its neighbours alone. With every error
/// but [`StoreError::Indeterminate`] nothing was written by the call.
#[async_trait]
pub trait Documents: Send + Sync + fmt::Debug {
    /// What this backend can and cannot do.
    fn capabilities(&self) -> Capabilities;

    /// Adds documents; the outcomes stand as the documents stood.
    async fn insert(
        &self,
        collection: &CollectionName,
        documents: Vec<Value>,
    ) -> Result<Vec<InsertOutcome>, StoreError>;

    /// A page of the documents that match, in order.
    async fn find(
        &self,
        collection: &CollectionName,
        find: &DocFind,
    ) -> Result<Vec<Value>, StoreError>;

    /// The first document that matches, by `_id`.
    async fn find_one(
        &self,
        collection: &CollectionName,
        filter: &Filter,
    ) -> Result<Option<Value>, StoreError> {
        let find = DocFind::of(filter.clone()).limit(1);
        Ok(self.find(collection, &find).await?.pop())
    }

    /// Changes one of the documents that match; which one is left open.
    ///
    /// Filter and change are one atomic step, so a filter that names what the
    /// caller last saw makes it a compare-and-set.
    async fn update_one(
        &self,
        collection: &CollectionName,
        update: &DocUpdate,
    ) -> Result<UpdateOutcome, StoreError>;

    /// Removes at most `limit` documents that match (any of them), and gives
    /// how many.
    async fn delete(
        &self,
        collection: &CollectionName,
        filter: &Filter,
        limit: usize,
    ) -> Result<u64, StoreError>;

    /// Removes all documents that match, a page at a time. After an error,
    /// pages before it are gone.
    async fn delete_all(
        &self,
        collection: &CollectionName,
        filter: &Filter,
    ) -> Result<u64, StoreError> {
        let mut all = 0;
        loop {
            let page = self.delete(collection, filter, MAX_BATCH).await?;
            all += page;
            if page < MAX_BATCH as u64 {
                return Ok(all);
            }
        }
    }

    /// How many documents match.
    async fn count(&self, collection: &CollectionName, filter: &Filter) -> Result<u64, StoreError>;

    /// Does several things, in order, in any collections of the database.
    ///
    /// With `atomic` all of it is done or, once one operation is refused (or
    /// lacks its document under [`Missing::Abort`]), nothing: that one then
    /// has its outcome and all others are [`DocOutcome::Undone`]. Without it,
    /// each operation stands alone, and other writers may come in between.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unsupported`] for `atomic` on a backend without
    /// transactions.
    async fn apply(
        &self,
        operations: Vec<(CollectionName, DocOp)>,
        atomic: bool,
    ) -> Result<Vec<DocOutcome>, StoreError>;

    /// Declares an index and fills it. Declaring it again changes nothing.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] if another index has its
    /// [name](DocIndex::name), or documents there are break its uniqueness or
    /// cannot be indexed by it.
    async fn ensure_index(
        &self,
        collection: &CollectionName,
        index: &DocIndex,
    ) -> Result<(), StoreError>;

    /// The indexes of a collection, by name.
    async fn indexes(&self, collection: &CollectionName) -> Result<Vec<DocIndex>, StoreError>;

    /// Removes an index, if it is there.
    async fn drop_index(&self, collection: &CollectionName, name: &str) -> Result<(), StoreError>;

    /// The plain collections there are, by name.
    async fn collections(&self) -> Result<Vec<CollectionName>, StoreError>;

    /// Removes a collection with its documents and indexes, if it is there.
    async fn drop_collection(&self, collection: &CollectionName) -> Result<(), StoreError>;

    /// Removes the bytes of at most `limit` documents whose time has passed,
    /// and gives how many there were.
    async fn sweep(&self, limit: usize) -> Result<u64, StoreError>;

    /// Finishes what is under way and lets go of the database. Later calls
    /// are [`StoreError::Closed`].
    async fn close(&self) -> Result<(), StoreError>;
}

/// Which documents, in which order, and how many.
#[derive(Debug, Clone)]
pub struct DocFind {
    /// Which.
    pub filter: Filter,
    /// In which order: by the [sort keys](xronox_model::FieldKeys::sort_key)
    /// of these fields, and then by `_id` in the direction of the last of
    /// them (ascending if there is none).
    pub sort: Vec<(Path, Direction)>,
    /// Begin behind the place of this document: usually the last one of the
    /// page before, but its sort fields and its `_id` are enough. It need not
    /// be there any more.
    pub after: Option<Value>,
    /// At most this many, up to [`MAX_PAGE`].
    pub limit: usize,
}

impl DocFind {
    /// The first 100 documents that match, by `_id`.
    pub fn of(filter: Filter) -> Self {
        Self {
            filter,
            sort: Vec::new(),
            after: None,
            limit: 100,
        }
    }

    /// Sorts by one more field.
    pub fn sort(mut self, field: Path, direction: Direction) -> Self {
        self.sort.push((field, direction));
        self
    }

    /// Begins behind the place of this document.
    pub fn after(mut self, document: Value) -> Self {
        self.after = Some(document);
        self
    }

    /// Finds at most this many.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Checks the bounds, and gives the place to begin behind.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] if the page is too large, or `after` has no
    /// valid `_id`.
    pub fn start(&self) -> Result<Option<TupleKey>, StoreError> {
        within("a page", self.limit, MAX_PAGE)?;
        within("an order by fields", self.sort.len(), index::MAX_FIELDS)?;
        let after = self.after.as_ref();
        let place = after.map(|document| self.place(document)).transpose();
        place.map_err(|e| StoreError::Refused(e.to_string()))
    }
}

/// A change of one document.
#[derive(Debug, Clone)]
pub struct DocUpdate {
    /// Which document.
    pub filter: Filter,
    /// What to change.
    pub update: Update,
    /// What to do if there is none.
    pub missing: Missing,
    /// Whether the outcome brings the document as it then is.
    pub returning: bool,
}

impl DocUpdate {
    /// Changes a document that matches, if there is one.
    pub fn of(filter: Filter, update: Update) -> Self {
        Self {
            filter,
            update,
            missing: Missing::Skip,
            returning: false,
        }
    }

    /// Makes the document if there is none.
    pub fn upsert(mut self) -> Self {
        self.missing = Missing::Insert;
        self
    }

    /// Undoes the whole of an atomic [`apply`](Documents::apply) if there is
    /// none.
    pub fn or_abort(mut self) -> Self {
        self.missing = Missing::Abort;
        self
    }

    /// Brings the document as it then is.
    pub fn returning(mut self) -> Self {
        self.returning = true;
        self
    }
}

/// What an update does if no document matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Nothing.
    Skip,
    /// It makes one: what the filter requires by equality, changed by the
    /// update. One of the two must say its `_id`.
    Insert,
    /// Nothing, and nor do the others of an atomic [`apply`](Documents::apply).
    Abort,
}

/// One operation of [`Documents::apply`].
#[derive(Debug, Clone)]
pub enum DocOp {
    /// Adds a document.
    Insert(Value),
    /// Changes one, as [`Documents::update_one`] does.
    Update(DocUpdate),
    /// Removes some, as [`Documents::delete`] does.
    Delete {
        /// Which.
        filter: Filter,
        /// At most this many, up to [`MAX_PAGE`].
        limit: usize,
    },
}

/// Why an operation on a document was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DocRefusal {
    /// Another document holds its `_id` or a unique key.
    Duplicate {
        /// The [name](DocIndex::name) of the index: `_id`, or else one of
        /// those concerned.
        index: String,
    },
    /// The document, or what the change would make of it, cannot be stored.
    Invalid(Invalid),
}

/// What became of a document to insert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InsertOutcome {
    /// It is there.
    Inserted,
    /// It is not.
    Refused(DocRefusal),
}

/// What became of an update.
#[derive(Debug, Clone, PartialEq)]
pub enum UpdateOutcome {
    /// No document matches.
    Unmatched,
    /// One does.
    Matched {
        /// Whether that changed anything.
        modified: bool,
        /// The document as it is now, if asked for.
        document: Option<Value>,
    },
    /// None did, so this one was made.
    Inserted {
        /// Its `_id`.
        id: Value,
        /// The document, if asked for.
        document: Option<Value>,
    },
    /// Nothing changed.
    Refused(DocRefusal),
}

/// What became of an operation.
#[derive(Debug, Clone, PartialEq)]
pub enum DocOutcome {
    /// Of an insert.
    Insert(InsertOutcome),
    /// Of an update.
    Update(UpdateOutcome),
    /// Of a delete: how many are gone.
    Delete(u64),
    /// Another operation of the atomic call was refused.
    Undone,
}

impl DocOutcome {
    /// Whether it undoes an atomic call in which `operation` came to it.
    pub fn aborts(&self, operation: &DocOp) -> bool {
        match self {
            Self::Insert(InsertOutcome::Refused(_)) | Self::Update(UpdateOutcome::Refused(_)) => {
                true
            }
            Self::Update(UpdateOutcome::Unmatched) => {
                matches!(operation, DocOp::Update(update) if update.missing == Missing::Abort)
            }
            _ => false,
        }
    }

    /// The outcomes of an atomic call of `count` operations that the one at
    /// `culprit` undid.
    pub fn undone(count: usize, culprit: usize, outcome: Self) -> Vec<Self> {
        let mut all = vec![Self::Undone; count];
        if let Some(at) = all.get_mut(culprit) {
            *at = outcome;
        }
        all
    }
}

/// A document as it is to be stored, and the key of its `_id`.
///
/// # Errors
///
/// [`Invalid`] if it is no object, has no valid `_id`, is too large or has no
/// [normal form](xronox_model::json::normalize).
pub fn checked(document: Value) -> Result<(OrderedKey, Value), Invalid> {
    let document = json::normalize(document)?;
    if !document.is_object() {
        return Err(Invalid::at("", "a document is an object"));
    }
    let id = id_key(&document)?;
    if json::canonical(&document).len() > MAX_DOCUMENT_BYTES {
        let message = format!("a document has at most {MAX_DOCUMENT_BYTES} bytes");
        return Err(Invalid::at("", message));
    }
    Ok((id, document))
}

/// The key of a document's `_id`, under which backends store it.
///
/// # Errors
///
/// [`Invalid`] if it is missing, null, an array or longer than a key can be.
pub fn id_key(document: &Value) -> Result<OrderedKey, Invalid> {
    let refused = |message: &str| Err(Invalid::at("_id", message));
    match document.get("_id") {
        None | Some(Value::Null) => refused("a document needs an `_id`"),
        Some(Value::Array(_)) => refused("an `_id` cannot be an array"),
        Some(id) => match OrderedKey::of(id) {
            key if key.is_cut() => refused("an `_id` is too long"),
            key => Ok(key),
        },
    }
}

/// Checks a number against its bound.
///
/// # Errors
///
/// [`StoreError::Refused`] if it is larger.
pub fn within(what: &str, asked: usize, most: usize) -> Result<(), StoreError> {
    if asked > most {
        let message = format!("{what} has at most {most}, not {asked}");
        return Err(StoreError::Refused(message));
    }
    Ok(())
}

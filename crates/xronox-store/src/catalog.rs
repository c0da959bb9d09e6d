//! The contract of a catalog: the durable, ordered log of versions.

use std::fmt;

use async_trait::async_trait;
use xronox_model::{
    Attempt, Body, CollectionName, Constraint, Direction, FieldKeys, Identity, IndexKeys,
    IndexSpec, Location, Op, OrderedKey, Path, RecordId, Sha256, SystemChange, Timestamp,
    UniqueKey, VersionRow,
};

use crate::{Capabilities, StoreError};

/// Stored bytes of inline bodies that a page of [`Catalog::rows`] and a stretch
/// of [`Catalog::find`] end with, whatever their limit: whoever asks for many
/// rows need not know how large they are.
pub const PAGE_BYTES: usize = 8 * 1024 * 1024;

/// The versioned collections of one database.
///
/// A catalog is chosen by intent: each call is one thing the engine wants to
/// know or do, so that a backend can use the fewest round trips it knows. All
/// reads see only committed versions, and a read that follows an acknowledged
/// commit sees it.
#[async_trait]
pub trait Catalog: Send + Sync + fmt::Debug {
    /// What this catalog can and cannot do.
    fn capabilities(&self) -> Capabilities;

    /// Whose database this is.
    fn marker(&self) -> &Marker;

    /// Commits batches, one a collection, as one durable transaction.
    ///
    /// Consecutive `cv` are taken per collection in the order of the
    /// mutations, all with one commit time: the clock's, or the newest `at` of
    /// these collections if that is later. A mutation whose precondition does
    /// not hold is refused in its outcome and leaves its neighbours alone,
    /// unless they share its group. The outcomes stand as the mutations stood.
    ///
    /// Mutations are evaluated one after another, batch by batch, and each
    /// sees those before it. Once a member of a group is refused, everything
    /// is evaluated anew without that group, so nothing sees any of it.
    /// [`ruling`](crate::ruling) has in code what one mutation does.
    ///
    /// # Errors
    ///
    /// [`StoreError::StaleIndexes`] if a batch was prepared with another set
    /// of indexes than the collection now has, [`StoreError::Refused`] and
    /// [`StoreError::Unsupported`] for what
    /// [`check_batches`](crate::ruling::check_batches) finds; nothing was
    /// written then, as with every error but [`StoreError::Indeterminate`].
    async fn commit(
        &self,
        batches: &[(CollectionName, Batch)],
    ) -> Result<Vec<Vec<Outcome>>, StoreError>;

    /// Takes rows as they are, `cv` and `at` included, after the newest one:
    /// all of them or none.
    ///
    /// For copying a collection. Rows come in the order of `cv`, which may
    /// have gaps where rows were removed. `to_cv` is worked out anew, a PURGE
    /// row removes the record's other rows, and index keys come from the rows.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] if the collection has unique indexes (they are
    /// declared afterwards) or a row
    ///
    /// - does not come after the newest `cv`, or is older than that commit;
    /// - leaves a gap in a record's `ov`, unless it is a PURGE row, follows
    ///   one, is the first row of its record here, or follows on versions that
    ///   are [not kept](Append::newest_only);
    /// - has a body but not the keys of every index of documents;
    /// - has an inline body without bytes, or with too many.
    async fn append_exact(
        &self,
        collection: &CollectionName,
        rows: Vec<VersionRow>,
    ) -> Result<(), StoreError>;

    /// The newest version of a record, deleted and purged ones included.
    async fn head(
        &self,
        collection: &CollectionName,
        id: &RecordId,
        bodies: Bodies,
    ) -> Result<Option<VersionRow>, StoreError>;

    /// One version of a record, whatever it is: deleted, a stub, a PURGE row.
    async fn version(
        &self,
        collection: &CollectionName,
        id: &RecordId,
        which: Which,
        bodies: Bodies,
    ) -> Result<Option<VersionRow>, StoreError>;

    /// The rows of a record from `from` (inclusive; `None` for the end the
    /// direction starts at), in the order of `ov`, without inline bodies.
    async fn history(
        &self,
        collection: &CollectionName,
        id: &RecordId,
        from: Option<u64>,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<VersionRow>, StoreError>;

    /// The rows of a collection from `cv` `from` on, in the order of `cv`; none
    /// only where there are none.
    ///
    /// There are fewer than `limit` at the end, and where they come with
    /// inline bodies: then the body that brings them to [`PAGE_BYTES`] is the
    /// last one.
    async fn rows(
        &self,
        collection: &CollectionName,
        from: u64,
        limit: usize,
        bodies: Bodies,
    ) -> Result<Vec<VersionRow>, StoreError>;

    /// The newest versions, or those valid at a cut, along an access path.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] along a field without an index that is ready.
    async fn find(&self, collection: &CollectionName, find: &Find) -> Result<Found, StoreError>;

    /// How many records have a stub for the version that was valid at `cut`.
    /// A [field's path](Access::Field) does not meet them.
    async fn stubs_at(&self, collection: &CollectionName, cut: u64) -> Result<u64, StoreError>;

    /// What became of a prepared mutation of `id`: its version, without inline
    /// bytes, if it committed and was not removed since.
    async fn outcome(
        &self,
        collection: &CollectionName,
        id: &RecordId,
        attempt: Attempt,
    ) -> Result<Option<VersionRow>, StoreError>;

    /// The newest commit of a collection, without what it released; `None`
    /// while it has none.
    async fn newest(&self, collection: &CollectionName) -> Result<Option<Commit>, StoreError>;

    /// The last commit whose time is not after `at`, of those whose rows are
    /// still there.
    async fn cut_at(&self, collection: &CollectionName, at: Timestamp) -> Result<Cut, StoreError>;

    /// The live record that holds a unique key.
    async fn lookup_unique(
        &self,
        collection: &CollectionName,
        key: &UniqueKey,
    ) -> Result<Option<RecordId>, StoreError>;

    /// The newest versions of the live records that hold these unique keys, with
    /// inline bodies, in the order of the keys; `None` where nobody does. A row may
    /// be of a version that came after the key was looked up, and has another one.
    async fn holders(
        &self,
        keys: &[(CollectionName, UniqueKey)],
    ) -> Result<Vec<Option<VersionRow>>, StoreError> {
        holders_one_by_one(self, keys).await
    }

    /// Whether any row of the database names this payload key.
    async fn names_key(&self, key: &str) -> Result<bool, StoreError>;

    /// The indexes of a collection.
    async fn indexes(&self, collection: &CollectionName) -> Result<Indexes, StoreError>;

    /// Declares an index; from then on every commit carries its keys, and
    /// batches prepared before are refused as stale. Declaring it again
    /// changes nothing. It is not ready, even in an empty collection.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] for an index without fields, one of several
    /// fields that is not unique, and one of a field of
    /// [`ALWAYS_INDEXED`](xronox_model::ALWAYS_INDEXED).
    async fn add_index(
        &self,
        collection: &CollectionName,
        spec: &IndexSpec,
    ) -> Result<Indexes, StoreError>;

    /// Adds the keys of one field to rows committed before its index was
    /// declared; rows that have them, are gone or have no document any more
    /// are passed over. The rows of one record come in the order of their `cv`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] if the field has no index.
    async fn fill_index(
        &self,
        collection: &CollectionName,
        field: &Path,
        rows: Vec<(u64, FieldKeys)>,
    ) -> Result<(), StoreError>;

    /// Reserves unique keys for live records whose newest version is still the
    /// one given; gives those that another live record holds already.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] if there is no such index.
    async fn fill_unique(
        &self,
        collection: &CollectionName,
        keys: Vec<(RecordId, u64, UniqueKey)>,
    ) -> Result<Vec<Taken>, StoreError>;

    /// Declares that an index is filled. Batches stay valid.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] if there is no such index.
    async fn index_ready(
        &self,
        collection: &CollectionName,
        name: &str,
    ) -> Result<Indexes, StoreError>;

    /// Removes an index and its keys, if there is such an index; batches
    /// prepared before are refused as stale.
    async fn drop_index(&self, collection: &CollectionName, name: &str) -> Result<(), StoreError>;

    /// The collections that have been written to, by name.
    async fn collections(&self) -> Result<Vec<CollectionName>, StoreError>;

    /// Removes a collection with everything the catalog keeps of it. Payloads
    /// become garbage for collection.
    async fn drop_collection(&self, collection: &CollectionName) -> Result<(), StoreError>;

    /// How much a collection holds.
    async fn size(&self, collection: &CollectionName) -> Result<CollectionSize, StoreError>;

    /// Checks what only the backend can see: the structure of its files and
    /// the agreement of its indexes with its rows. Gives one text a damage.
    async fn check(&self, collection: &CollectionName) -> Result<Vec<String>, StoreError>;

    /// Seals the database: once this returns, every write to it is
    /// [`StoreError::Sealed`], whichever process and handle it comes from and
    /// however long it was under way, and so are writes to plain documents where
    /// the database is [durable](Capabilities::durable). Reads go on, and see
    /// all that was acknowledged. To be repeated after an error; sealing again
    /// changes nothing.
    ///
    /// For what has to be the last state of a database: moving it, removing it.
    async fn seal(&self) -> Result<(), StoreError>;

    /// Takes the seal off, if there is one.
    async fn unseal(&self) -> Result<(), StoreError>;

    /// Whether the database is sealed, or half so after an error.
    async fn is_sealed(&self) -> Result<bool, StoreError>;

    /// Finishes what is under way and lets go of the database. Later calls
    /// are [`StoreError::Closed`].
    async fn close(&self) -> Result<(), StoreError>;
}

/// [`Catalog::holders`], for backends that have no better way.
///
/// # Errors
///
/// As [`Catalog::lookup_unique`] and [`Catalog::head`].
pub async fn holders_one_by_one<C: Catalog + ?Sized>(
    catalog: &C,
    keys: &[(CollectionName, UniqueKey)],
) -> Result<Vec<Option<VersionRow>>, StoreError> {
    let mut rows = Vec::with_capacity(keys.len());
    for (collection, key) in keys {
        rows.push(match catalog.lookup_unique(collection, key).await? {
            None => None,
            Some(id) => catalog.head(collection, &id, Bodies::Inline).await?,
        });
    }
    Ok(rows)
}

/// The database's own record of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// The database's name.
    pub database: String,
    /// 24 random hex digits, drawn when the database was made; payload keys
    /// carry them.
    pub id: String,
    /// The version of the stored format.
    pub format: u32,
}

/// Whether a read brings inline bodies along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bodies {
    /// Inline bodies come with their rows.
    Inline,
    /// Rows come without them.
    Omit,
}

/// Which version of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The one with this `ov`.
    Ov(u64),
    /// The one that was valid at this `cv`.
    AsOf(u64),
}

/// Mutations of one collection that are committed together.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The [epoch](Indexes::epoch) of the indexes the keys were made for.
    pub epoch: u64,
    /// What to do, in this order.
    pub mutations: Vec<Mutation>,
}

/// One prepared change.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "nearly all of them are appends")]
pub enum Mutation {
    /// Adds a version; see [`Append::rule`].
    Append(Append),
    /// Removes every version of a record, leaving a PURGE row; see
    /// [`Purge::rule`]. Earlier PURGE rows stay.
    Purge(Purge),
    /// Turns versions into stubs. If the newest one is among them, all are refused.
    Prune {
        /// The record.
        id: RecordId,
        /// The versions; stubs, PURGE rows and what is gone are passed over.
        ovs: Vec<u64>,
    },
    /// Moves a body, if it still is where it was.
    Relocate {
        /// The version that names the body.
        cv: u64,
        /// Where it was.
        from: Location,
        /// Where it is now; never [`Location::Inline`].
        to: Location,
    },
}

/// A version to add.
#[derive(Debug, Clone)]
pub struct Append {
    /// The record.
    pub id: RecordId,
    /// What is done to it. Never [`Op::Purge`].
    pub op: Op,
    /// What must hold of the record.
    pub expect: Expect,
    /// Names this mutation.
    pub attempt: Attempt,
    /// Who does it.
    pub actor: Option<Identity>,
    /// For whom.
    pub on_behalf_of: Option<Identity>,
    /// Why.
    pub reason: Option<String>,
    /// What changes of the system fields.
    pub change: SystemChange,
    /// The new document.
    pub body: NewBody,
    /// The ordered keys of the new document; `None` takes those of the
    /// version that `body` names, and is refused as
    /// [`Refusal::KeysNeeded`] where that one lacks an index, or an index is
    /// one that document and system fields decide together
    /// (see [`is_document_field`](xronox_model::is_document_field)).
    /// Keys of the system fields are the catalog's to add, and keys of fields
    /// without an index are not stored.
    pub keys: Option<IndexKeys>,
    /// The unique keys the record holds from now on, if it is live.
    pub unique: Vec<UniqueKey>,
    /// Makes a repetition of the same request a repetition of its outcome
    /// ([`Committed`](Outcome::Committed) without what it released, or
    /// [`Unchanged`](Outcome::Unchanged)). It is looked up before anything else
    /// is checked; refusals are not remembered.
    pub idempotency: Option<IdempotencyKey>,
    /// Mutations of one group are committed together or not at all.
    pub group: Option<u32>,
    /// Commit nothing when the record stays live, or stays deleted, and its
    /// document, lineage, functions and imported times stay as they are.
    pub skip_unchanged: bool,
    /// Keep this version only as long as it is the record's newest: the next
    /// one that says so too takes its place. Of those that follow on each other
    /// like this the first one leaves a stub, which is valid until the last
    /// one. Versions that were added otherwise stay.
    pub newest_only: bool,
}

/// What must hold of a record for a mutation to go ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expect {
    /// Whether it is there.
    pub state: Presence,
    /// Its newest `ov`.
    pub ov: Option<u64>,
    /// The attempt that made its newest version. Who goes on from a version
    /// that is not committed yet cannot tell it by its `ov`: another one may
    /// come to be of that number.
    pub attempt: Option<Attempt>,
}

impl Expect {
    /// Nothing but whether the record is there.
    pub const fn only(state: Presence) -> Self {
        Self {
            state,
            ov: None,
            attempt: None,
        }
    }
}

/// Whether a record is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// There is no such record, or it was purged.
    Absent,
    /// It is there and not deleted.
    Live,
    /// It is there, maybe deleted, but not purged.
    Present,
}

/// Where the document of a new version comes from.
#[derive(Debug, Clone)]
pub enum NewBody {
    /// It is new.
    Given(Body),
    /// It is that of the record's newest version.
    OfNewest,
    /// It is that of an earlier version, which must not be pruned; the row
    /// names it as [`restored_from`](VersionRow::restored_from).
    OfVersion(u64),
}

/// A record to remove for good.
#[derive(Debug, Clone)]
pub struct Purge {
    /// The record.
    pub id: RecordId,
    /// Its newest `ov`, if that matters. The record may be deleted.
    pub expect_ov: Option<u64>,
    /// Names this mutation.
    pub attempt: Attempt,
    /// Who does it.
    pub actor: Option<Identity>,
    /// For whom.
    pub on_behalf_of: Option<Identity>,
    /// Why.
    pub reason: Option<String>,
    /// Mutations of one group are committed together or not at all.
    pub group: Option<u32>,
}

/// A caller's own name for a request, so that repeating it is safe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The name, unique within the collection.
    pub key: String,
    /// A hash of what was asked; another request under the same name is refused.
    pub fingerprint: Sha256,
    /// How long to remember it, in milliseconds from the commit: a commit whose
    /// time is that much later knows it no more.
    pub keep_millis: i64,
}

/// What became of a mutation.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It is durable.
    Committed(Commit),
    /// It would have changed nothing; this is the newest version.
    Unchanged(Commit),
    /// Prune and relocate: done, or nothing to do.
    Done {
        /// Bodies that no row of the record names any more.
        released: Vec<Location>,
    },
    /// A precondition did not hold; nothing was written.
    Refused(Refusal),
}

/// A committed version, in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The record.
    pub id: RecordId,
    /// Its version.
    pub ov: u64,
    /// The collection's version.
    pub cv: u64,
    /// When.
    pub at: Timestamp,
    /// What was done.
    pub op: Op,
    /// Bodies that no row of the record names any more (a purge, or
    /// [`newest_only`](Append::newest_only)).
    pub released: Vec<Location>,
}

/// Why a mutation was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such record, or no such version of it.
    NotFound,
    /// The record is there already, or deleted.
    AlreadyExists,
    /// Another live record holds a unique key.
    Taken(Taken),
    /// The record's newest version is not the expected one.
    Conflict {
        /// What was expected.
        expected: u64,
        /// What it is.
        actual: u64,
    },
    /// The record's newest version is not the one that the mutation goes on
    /// from: see [`Expect::attempt`].
    Overtaken,
    /// The record is deleted.
    Deleted,
    /// The named version is pruned.
    Pruned,
    /// Keys of an index are lacking: prepare them and try again.
    KeysNeeded,
    /// The idempotency key was used for another request.
    KeyReused,
    /// Another member of the group was refused, and nothing of it was written.
    Group,
    /// The newest version cannot be pruned.
    Newest,
}

/// A unique key that a live record holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The name of the index.
    pub index: String,
    /// The record that wanted it.
    pub wanted_by: RecordId,
    /// The record that holds it.
    pub holder: RecordId,
}

/// The state of a collection after one of its commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// The last commit that is inside; `None` before the first.
    pub cv: Option<u64>,
    /// Whether later commits can still fall inside: a time that is not yet
    /// earlier than the newest commit's is not settled.
    pub settled: bool,
}

/// What to read, along one access path.
#[derive(Debug, Clone)]
pub struct Find {
    /// The versions valid at this `cv`; `None` for the newest ones.
    pub cut: Option<u64>,
    /// The path.
    pub access: Access,
    /// The order along the path.
    pub direction: Direction,
    /// Constraints that the rows' keys should also meet. A backend may pass
    /// over rows that do not, or leave it to the caller.
    pub also: Vec<Constraint>,
    /// Begin behind this position.
    pub after: Option<Position>,
    /// At most this many rows; fewer if they bring [`PAGE_BYTES`].
    pub limit: usize,
    /// Whether inline bodies come along.
    pub bodies: Bodies,
}

/// A way through a collection. Each record is met once.
#[derive(Debug, Clone)]
pub enum Access {
    /// Every record, in the order of ids.
    All,
    /// The records named, in the order of ids.
    Ids(Vec<RecordId>),
    /// The records that have a key of an indexed field in one of the ranges
    /// (sorted, disjoint), in the order of that key and then of ids. A record
    /// with several such keys stands at the first of them. Descending, all of
    /// that is reversed. Stubs have no keys.
    Field {
        /// A field with an index that is ready, or one of
        /// [`ALWAYS_INDEXED`](xronox_model::ALWAYS_INDEXED).
        field: Path,
        /// Ranges of its keys.
        ranges: Vec<xronox_model::KeyRange>,
    },
}

/// Where a row stands on an access path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The key, on a field's path.
    pub key: Option<OrderedKey>,
    /// The record.
    pub id: RecordId,
}

/// A stretch of an access path.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// The rows, each with where it stands. Purged records are left out,
    /// deleted ones and stubs are not.
    pub rows: Vec<(Position, VersionRow)>,
    /// Where to go on; `None` at the end of the path.
    pub next: Option<Position>,
    /// How many records were looked at, those passed over for
    /// [`also`](Find::also) included. A backend ends a stretch early rather
    /// than look at a great many.
    pub examined: usize,
    /// The newest `cv` when this was read: the rows hold everything up to it.
    /// `None` in an empty collection.
    pub cv: Option<u64>,
    /// Whether some record ever had [several keys](FieldKeys::is_multi) of the
    /// field since it is indexed, so that the order of the path is not the
    /// order of the records by that field. `false` on other paths.
    pub multi: bool,
}

/// The indexes of a collection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Indexes {
    /// Grows with every change to them; prepared batches name it.
    pub epoch: u64,
    /// In the order of their names.
    pub list: Vec<Index>,
}

/// One index of a collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// What it holds.
    pub spec: IndexSpec,
    /// Whether it holds the keys of every row.
    pub ready: bool,
}

/// How much a collection holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CollectionSize {
    /// Records that are live.
    pub live: u64,
    /// Records that are deleted.
    pub deleted: u64,
    /// Version rows, stubs and PURGE rows included.
    pub versions: u64,
    /// Bytes of inline bodies as stored, one a row.
    pub inline_bytes: u64,
    /// Bytes of all bodies in canonical form, one a row.
    pub body_bytes: u64,
}

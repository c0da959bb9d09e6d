//! The catalog and plain documents of Xronox on MongoDB 6.0 and later.
//!
//! A [`MongoConnection`] is one pool of connections to a deployment; a
//! [`MongoDatabase`] is one database of it, and many of them may share a
//! connection. What the deployment is (a replica set, a sharded cluster, a
//! standalone server) it says itself, and is asked again when its topology
//! changes. TLS, authentication and compression are the URI's to say.
//!
//! # What is in a database
//!
//! A versioned collection `C` has
//!
//! - `C_ver`: one document a version, with its inline body, clustered by `cv`.
//!   The newest one of each record is marked (`o`), and loses the mark where
//!   it is ended, so there is no second document that could disagree with it;
//! - `C_head`: a view of the marked ones;
//! - `C_counter`: one document with the next `cv`, the time of the newest
//!   commit and the indexes;
//! - `C_keys`: the unique keys of live records.
//!
//! Beside them stand `xronox_marker` (whose database it is) and
//! `xronox_idempotency` (answered requests, which MongoDB lets go when their
//! time is over). Ordered keys stand in the version rows, under a short tag an
//! index, and are indexed twice: over the newest rows, and over those that
//! were closed since. Indexes that most collections never need (over times, over
//! what is deleted, over stubs, over the objects that rows name) are built in the
//! background when they are first of use, for each makes every write slower: in a
//! transaction, the server looks up all of them for each row that it changes.
//! That of fences is there before the first commit without a transaction. A
//! sharded `C_ver` is refused; tenants spread by database.
//!
//! # How a commit is made
//!
//! With transactions, a commit is one: it takes the counter document first,
//! which is the lock across processes, reads what it has to know (nothing, if
//! it only makes records), writes its rows and ends those before them. Without,
//! it is log-first: a row that is inserted is committed, and what follows from
//! it is applied after, by anyone; and whoever is to act on a row not being
//! there fences its attempt off first, so that it cannot come late; as does
//! whoever changes the indexes with all rows that would go on without. Either
//! way a commit is acknowledged once a majority has it in its journals. A
//! database may change between the two, but its processes should agree.
//!
//! A database is sealed by validators that let no document in: the server itself
//! refuses what any process sends, however late. `making` marks the counter of a
//! collection that is being made, until its maker has seen that the database is
//! still there and not sealed.
//!
//! A process that dies inside a transaction leaves the counter document
//! locked. Others that wait for it end the transaction: about a second later
//! if its connection is closed, as it is when a process is killed, and after
//! 10 s of silence if it is not, as when a machine loses its power. For that
//! all processes should be one user of the server, or have the privileges
//! `inprog` and `killAnySession`; otherwise, and on a sharded cluster, writes
//! to that collection are [`Unavailable`](xronox_store::StoreError::Unavailable)
//! until the server's `transactionLifetimeLimitSeconds` (60 by default) are
//! over, and that parameter is best set to 30: no commit here takes longer.

mod abandoned;
mod applied;
mod catalog;
mod check;
mod command;
mod commit;
mod connection;
mod core;
mod counter;
mod database;
mod documents;
mod error;
mod fence;
mod find;
mod holders;
mod indexing;
mod ledger;
mod log_first;
mod names;
mod pen;
mod read;
mod recent;
mod requests;
mod reservation;
mod row;
mod seal;
mod shape;
mod transaction;

pub use catalog::MongoCatalog;
pub use connection::{
    CommandObserver, CommitMode, ConnectionOptions, Deployment, MongoConnection, Transactions,
    check_uri,
};
pub use database::{MongoDatabase, check_database_name};
pub use documents::MongoDocuments;
pub use names::SUFFIXES;

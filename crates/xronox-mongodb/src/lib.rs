//! The catalog and plain documents of Xronox on MongoDB.
//!
//! A [`MongoConnection`] is one pool of connections to a deployment; a
//! [`MongoDatabase`] is one database of it, and many of them may share a
//! connection. What the deployment is (a replica set, a sharded cluster, a
//! standalone server) it says itself, and is asked again when its topology
//! changes.

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
mod find;
mod indexing;
mod ledger;
mod log_first;
mod names;
mod read;
mod requests;
mod row;
mod shape;

pub use catalog::MongoCatalog;
pub use connection::{
    CommandObserver, CommitMode, ConnectionOptions, Deployment, MongoConnection, Transactions,
};
pub use database::MongoDatabase;
pub use documents::MongoDocuments;
pub use names::SUFFIXES;

//! The catalog and plain documents of Xronox on MongoDB.
//!
//! A [`MongoConnection`] is one pool of connections to a deployment; a
//! [`MongoDatabase`] is one database of it, and many of them may share a
//! connection. What the deployment is (a replica set, a sharded cluster, a
//! standalone server) it says itself, and is asked again when its topology
//! changes.

mod connection;
mod database;
mod error;

pub use connection::{
    CommandObserver, CommitMode, ConnectionOptions, Deployment, MongoConnection, Transactions,
};
pub use database::MongoDatabase;

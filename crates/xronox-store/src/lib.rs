//! The storage contracts of Xronox.
//!
//! A [`Catalog`] keeps the log of versions, [`Documents`] keep plain collections
//! beside it, and payloads are bodies too large to stand in the log. Each
//! contract has an in-memory reference that is its definition in code, and
//! (feature `conformance`) a suite that every backend passes.

mod capabilities;
mod catalog;
mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod documents;
mod error;
#[cfg(any(test, feature = "conformance"))]
pub mod fault;
mod health;
mod memory;
mod payloads;
pub mod ruling;

pub use capabilities::Capabilities;
pub use catalog::*;
pub use clock::{Clock, SystemClock};
pub use documents::{
    DocFind, DocIndex, DocOp, DocOutcome, DocRefusal, DocUpdate, Documents, InsertOutcome,
    MemoryDocuments, Missing, Update, UpdateOutcome,
};
pub use error::{Cause, StoreError};
pub use health::{Health, HealthStatus};
pub use memory::MemoryCatalog;
pub use payloads::{
    Blob, Codec, CompressionSettings, ConnectionError, Credentials, Gate, GateLimits, ObjectEntry,
    PayloadCache, Payloads, PerRole, Provider, Secret, Space, SpaceClient, SpaceConnection,
    SpaceProblem,
};
pub use ruling::Ruling;

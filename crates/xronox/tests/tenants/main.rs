//! The life of tenants, on SQLite with files and on two MongoDB deployments
//! with bodies on S3: how they come, are suspended, move and go, with others
//! beside them, and with processes that are killed on the way.

#![allow(clippy::unwrap_used, reason = "what goes wrong in a test fails it")]

#[path = "../support/mod.rs"]
mod support;

mod crash;
mod dropping;
mod life;
mod moving;
mod world;

//! The store on MongoDB and S3 while processes, servers and the network
//! between them fail: what was acknowledged is there, once, and every error is
//! one that a caller can act on.
//!
//! The servers are throw-away ones where a test ends or stalls them, else
//! those that the environment names.

#![allow(clippy::unwrap_used, reason = "what goes wrong in a test fails it")]

#[path = "../support/history.rs"]
mod history;
#[path = "../support/journal.rs"]
mod journal;
#[path = "../support/mod.rs"]
mod support;

mod bad_input;
mod checker;
mod crash;
mod failover;
mod health;
mod load;
mod network;
mod objects;
mod place;
mod process;
mod race;
mod requests;
mod tenancy;

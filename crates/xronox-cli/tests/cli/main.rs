//! Runs the built command, as its users do.

// Helpers of tests are tests too; and short inputs read best when collected.
#![allow(clippy::unwrap_used, clippy::format_collect)]

mod analytics;
mod config;
mod copy;
mod demo;
mod entities;
mod errors;
mod files;
mod hidden;
mod history;
mod import;
mod index;
mod interrupt;
mod past;
mod provenance;
mod records;
mod store;
mod tenants;
mod verify;

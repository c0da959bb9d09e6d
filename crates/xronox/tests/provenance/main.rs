//! Who made records, and what they were made from, on every backend.

#![allow(clippy::unwrap_used, reason = "what goes wrong in a test fails it")]

#[path = "../support/mod.rs"]
mod support;

mod actors;
mod lineage;
mod random;
mod subject;
mod trail;
mod who;

use xronox::Located;

/// The names of records, as they stand.
fn names(found: &[Located]) -> Vec<String> {
    let name = |at: &Located| format!("{}/{}", at.collection, at.record.id());
    found.iter().map(name).collect()
}

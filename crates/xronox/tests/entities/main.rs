//! Records together with their entities, on every backend.
#![allow(clippy::unwrap_used, reason = "what goes wrong in a test fails it")]

#[path = "../support/mod.rs"]
mod support;

mod broken;
mod input;
mod race;
mod story;
mod tiers;

use xronox::{EntityMapping, EntityOperation, InsertedWithEntities};

/// An order's customer, and the product of each of its lines.
fn mappings() -> [EntityMapping; 2] {
    [
        EntityMapping::new("customer", "customers", "customerId"),
        EntityMapping::new("lines.product", "products", "productId"),
    ]
}

/// What was done where, in the order of the places.
fn operations(inserted: &InsertedWithEntities) -> Vec<(String, EntityOperation)> {
    let results = inserted.entity_results.iter();
    results
        .map(|(place, result)| (place.to_string(), result.operation))
        .collect()
}

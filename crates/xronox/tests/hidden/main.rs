//! Hidden fields and projections: what each read shows, what a sealed handle
//! reaches, and what writes keep.

#![allow(clippy::unwrap_used, reason = "what goes wrong in a test fails it")]

#[path = "../support/mod.rs"]
mod support;

mod reads;
mod sealed;
mod table;
mod writes;

use serde_json::{Value, json};
use support::{Store, local_stores};
use xronox::{Collection, CollectionMap, Error, ErrorKind, Settings};

/// What the collection `people` of [`stores`] hides: a property, a part of an
/// object, and a part of the elements of an array.
const HIDDEN: [&str; 3] = ["h", "o.h", "l.s"];

/// The settings of one collection, from JSON.
fn settings(collection: &str, map: Value) -> Settings {
    let map: CollectionMap = serde_json::from_value(map).unwrap();
    let mut settings = Settings {
        hard_delete_enabled: true,
        ..Settings::default()
    };
    settings.collection_maps.insert(collection.to_owned(), map);
    settings
}

/// Settings under which the collection `people` hides something, and has
/// projections.
fn hiding() -> Settings {
    let people = json!({
        "hiddenFields": HIDDEN,
        "projection": {
            "minimal": { "include": ["id", "n"], "exclude": [] },
            "all": { "include": "*" },
            "named": { "include": ["n", "h"] }
        }
    });
    settings("people", people)
}

/// Such stores on every backend.
async fn stores() -> Vec<Store> {
    support::stores(hiding()).await
}

/// Such stores without servers.
async fn near() -> Vec<Store> {
    local_stores(hiding()).await
}

/// A record that has all of it.
fn whole() -> Value {
    json!({
        "n": 1,
        "h": { "x": 1, "y": 2 },
        "o": { "h": "secret", "v": 3 },
        "l": [{ "id": 1, "s": "a", "t": "b" }, { "id": 2, "s": "c" }],
    })
}

/// What of it is not hidden.
fn visible() -> Value {
    json!({ "n": 1, "o": { "v": 3 }, "l": [{ "id": 1, "t": "b" }, { "id": 2 }] })
}

async fn people(store: &Store) -> Collection {
    let people = store.xronox.collection("people").unwrap();
    let made = people.create_with_id("a", whole()).actor("user:1");
    made.await.unwrap();
    people
}

/// The document as it is stored.
async fn stored(people: &Collection, id: &str) -> Value {
    let read = people.get_latest(id).include_hidden().await;
    read.unwrap().document()
}

#[track_caller]
fn kind<T: std::fmt::Debug>(result: Result<T, Error>) -> ErrorKind {
    result.unwrap_err().kind().clone()
}

/// Refused because of what is hidden, by the path that is named.
#[track_caller]
fn forbidden<T: std::fmt::Debug>(result: Result<T, Error>, named: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::Forbidden, "{error}");
    assert!(error.to_string().contains(named), "{error}");
    assert!(!error.to_string().contains("secret"), "{error}");
}

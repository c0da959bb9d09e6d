//! Files inside records, on every backend.

#![allow(clippy::unwrap_used, reason = "what goes wrong in a test fails it")]

#[path = "../support/mod.rs"]
mod support;

mod attached;
mod encoded;
mod kept;
mod reach;

use bytes::Bytes;
use serde_json::{Value, json};
use support::{Store, local_stores, stores};
use xronox::{Collection, CollectionMap, Error, ErrorKind, Record, Settings};

/// Settings under which the collection `papers` has files.
fn settings() -> Settings {
    settings_and(&json!({}))
}

/// The same with more.
fn settings_and(more: &Value) -> Settings {
    let mut map = json!({
        "base64Props": {
            "contract": { "contentType": "application/pdf" },
            "notes": { "contentType": "text/plain", "preferredText": true, "textCharset": "latin1" },
            "photos.image": { "contentType": "image/png" },
            "scans": { "contentType": "image/tiff" },
        },
    });
    for (key, value) in more.as_object().unwrap() {
        map[key] = value.clone();
    }
    let map: CollectionMap = serde_json::from_value(map).unwrap();
    let mut settings = Settings {
        hard_delete_enabled: true,
        ..Settings::default()
    };
    settings.collection_maps.insert("papers".to_owned(), map);
    settings
}

fn papers(store: &Store) -> Collection {
    store.xronox.collection("papers").unwrap()
}

/// How many objects the store has.
async fn objects(store: &Store) -> u64 {
    store.home().gc().dry_run().await.unwrap().listed
}

async fn content(papers: &Collection, id: &str, path: &str) -> Bytes {
    let mut file = papers.file(id, path).await.unwrap();
    file.bytes(1 << 30).await.unwrap()
}

/// The places of the files of a record.
fn places(record: &Record) -> Vec<String> {
    let files = record.files();
    files.iter().map(|file| file.path.to_string()).collect()
}

#[track_caller]
fn kind<T: std::fmt::Debug>(result: Result<T, Error>) -> ErrorKind {
    result.unwrap_err().kind().clone()
}

/// Invalid, naming the path.
#[track_caller]
fn invalid<T: std::fmt::Debug>(result: Result<T, Error>, path: &str) {
    let error = result.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Invalid, "{error}");
    assert!(error.to_string().contains(path), "{error}");
}

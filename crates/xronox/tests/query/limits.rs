//! What queries refuse, and how far they go.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde_json::json;
use xronox::{CollectionMap, Direction, ErrorKind, Settings, Unindexed};

// Limits are the engine's own, whatever the backend.
use crate::support::local_stores as stores;

fn indexing(property: &str) -> Settings {
    let map = CollectionMap {
        indexed_props: vec![property.parse().unwrap()],
        ..CollectionMap::default()
    };
    Settings {
        collection_maps: BTreeMap::from([("things".to_owned(), map)]),
        ..Settings::default()
    }
}

#[tokio::test]
async fn a_scan_ends_at_its_bound() {
    let mut settings = indexing("i");
    settings.queries.max_scanned = 50;
    for store in stores(settings).await {
        let things = store.xronox.collection("things").unwrap();
        for n in 0..60 {
            things.create(json!({ "i": n, "u": n })).await.unwrap();
        }
        let none = things.query(json!({ "u": -1 })).await.unwrap_err();
        assert_eq!(none.kind(), &ErrorKind::Invalid);
        assert!(none.to_string().contains("queries.maxScanned"), "{none}");
        assert_eq!(none.unindexed(), ["u".parse().unwrap()]);
        let sorted = things
            .query(json!({}))
            .sort("u", Direction::Ascending)
            .await
            .unwrap_err();
        assert!(
            sorted.to_string().contains("queries.maxScanned"),
            "{sorted}"
        );
        let counted = things.count(json!({ "u": -1 })).await.unwrap_err();
        assert!(
            counted.to_string().contains("queries.maxScanned"),
            "{counted}"
        );
        // An index needs no bound, nor does a page that is full before it.
        assert_eq!(
            things
                .count(json!({ "i": { "$gte": 0 } }))
                .await
                .unwrap()
                .count,
            60
        );
        assert_eq!(
            things
                .count(json!({ "_id": { "$gt": "" } }))
                .await
                .unwrap()
                .count,
            60
        );
        let first = things
            .query(json!({ "u": { "$gte": 0 } }))
            .limit(5)
            .await
            .unwrap();
        assert_eq!(first.items.len(), 5);
        assert!(first.scanned <= 51, "{}", first.scanned);
        let narrowed = things
            .query(json!({ "i": { "$lt": 9 }, "u": { "$gt": 3 } }))
            .await
            .unwrap();
        assert_eq!(narrowed.items.len(), 5);
        // Reading everything is what a stream is for.
        let stream = things.query(json!({ "u": 59 })).stream().await.unwrap();
        let all: Vec<_> = futures::TryStreamExt::try_collect(stream).await.unwrap();
        assert_eq!(all.len(), 1);
    }
}

#[tokio::test]
async fn scans_can_be_forbidden() {
    let mut settings = indexing("i");
    settings.queries.unindexed = Unindexed::Error;
    for store in stores(settings).await {
        let things = store.xronox.collection("things").unwrap();
        things
            .create(json!({ "i": 1, "deep": { "u": 1 } }))
            .await
            .unwrap();
        for filter in [
            json!({ "deep.u": 1 }),
            json!({ "$or": [{ "i": 1 }, { "deep.u": 1 }] }),
        ] {
            let refused = things.query(filter).await.unwrap_err();
            assert_eq!(refused.kind(), &ErrorKind::Invalid);
            let text = refused.to_string();
            assert!(
                text.contains("queries.unindexed") && text.contains("`deep.u`"),
                "{text}"
            );
        }
        let refused = things
            .query(json!({}))
            .sort("deep.u", Direction::Ascending)
            .await;
        assert!(
            refused
                .unwrap_err()
                .to_string()
                .contains("queries.unindexed")
        );
        assert!(things.count(json!({ "deep.u": 1 })).await.is_err());
        // Records that are named are no scan.
        let id = things.query(json!({})).await.unwrap().items[0]
            .id()
            .to_string();
        let named = things
            .query(json!({ "_id": id, "deep.u": 1 }))
            .sort("x", Direction::Ascending);
        assert_eq!(named.await.unwrap().items.len(), 1);
        let system = json!({ "i": 1, "_id": { "$ne": "x" }, "_system.ov": 0 });
        assert_eq!(things.query(system).await.unwrap().items.len(), 1);
        assert_eq!(things.query(json!({})).await.unwrap().items.len(), 1);
    }
}

#[tokio::test]
async fn limits_are_kept() {
    for store in stores(Settings::default()).await {
        let things = store.xronox.collection("things").unwrap();
        let documents = (0..60).map(|n| json!({ "n": n }));
        things.create_many(documents).await.unwrap();
        assert_eq!(things.query(json!({})).await.unwrap().items.len(), 50);
        assert!(
            things
                .query(json!({}))
                .limit(60)
                .await
                .unwrap()
                .cursor
                .is_none()
        );
        for limit in [0, 1001] {
            let refused = things.query(json!({})).limit(limit).await.unwrap_err();
            assert_eq!(refused.kind(), &ErrorKind::Invalid);
            assert!(refused.to_string().contains("limit"), "{refused}");
        }
        let over = things.query(json!({})).limit(1001).await.unwrap_err();
        assert!(over.to_string().contains("queries.maxLimit"), "{over}");
    }
}

#[tokio::test]
async fn a_collection_that_is_not_there_is_empty_and_stays_so() {
    for store in stores(Settings::default()).await {
        let nothing = store.xronox.collection("nothing").unwrap();
        let page = nothing
            .query(json!({ "a": 1 }))
            .sort("b", Direction::Ascending)
            .await
            .unwrap();
        assert!(page.items.is_empty() && page.cursor.is_none());
        assert_eq!((page.cv, page.settled), (None, false));
        assert_eq!(nothing.count(json!({ "a": 1 })).await.unwrap().count, 0);
        let then = nothing
            .query(json!({}))
            .as_of("2020-01-01T00:00:00Z")
            .await
            .unwrap();
        assert_eq!(serde_json::to_value(&then).unwrap()["items"], json!([]));
        assert!(store.home().collections().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_regex_cannot_run_wild() {
    let store = stores(Settings::default()).await.remove(0);
    let things = store.xronox.collection("things").unwrap();
    let text = "a".repeat(50_000) + "!";
    for _ in 0..20 {
        things.create(json!({ "text": text })).await.unwrap();
    }
    let begun = Instant::now();
    for pattern in ["^(a+)+$", "(a|aa)+$", "(.*)*x", "a{1,400}{1,400}b"] {
        // Refused or evaluated, but soon.
        let _ = things.query(json!({ "text": { "$regex": pattern } })).await;
    }
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn documents_that_are_much_together_come_on_more_pages() {
    for store in stores(Settings::default()).await {
        let things = store.xronox.collection("things").unwrap();
        let filler = "x".repeat(15 * 1024 * 1024);
        for n in 0..6 {
            things
                .create(json!({ "n": n, "filler": filler }))
                .await
                .unwrap();
        }
        for sort in [None, Some("n"), Some("_system.ov")] {
            let mut seen = Vec::new();
            let mut pages = 0;
            let mut cursor = None;
            loop {
                let mut query = things.query(json!({}));
                if let Some(field) = sort {
                    query = query.sort(field, Direction::Ascending);
                }
                if let Some(cursor) = cursor {
                    query = query.after(cursor);
                }
                let page = query.await.unwrap();
                pages += 1;
                seen.extend(page.items.iter().map(|record| record.json()["n"].clone()));
                cursor = page.cursor;
                if cursor.is_none() {
                    break;
                }
            }
            assert_eq!(seen, (0..6).map(|n| json!(n)).collect::<Vec<_>>());
            assert_eq!(pages, 2);
        }
    }
}

//! Pages and cursors, while others write.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::TryStreamExt;
use serde_json::{Value, json};
use xronox::{Collection, Cursor, Direction, ErrorKind, Moment, Settings};

// What the catalogs do for pages is in their suite; here the engine's part.
use crate::support::{Dice, local_stores as stores};

/// Changes, makes, deletes and removes records that are not `steady`.
async fn bustle(collection: Collection, stop: Arc<AtomicBool>) {
    let mut dice = Dice::new(7);
    let mut n = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        n += 1;
        let id = format!("busy-{}", dice.below(40));
        let document = json!({
            "n": dice.below(100), "busy": true, "text": "y".repeat(dice.below(200) as usize),
        });
        let _ = match dice.below(6) {
            0 => collection.delete(&id).await,
            1 => collection.delete(&id).hard().await,
            2 => collection.create_with_id(&id, document).await,
            // Not for ever, lest the reader never catch up.
            3 if n < 600 => collection.create(document).await,
            _ => collection.update(&id, document).await,
        };
        if n.is_multiple_of(16) {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paging_neither_skips_nor_repeats_what_nobody_changes() {
    let mut settings = Settings {
        hard_delete_enabled: true,
        ..Settings::default()
    };
    settings.payloads.inline_max_bytes = Some(100);
    for store in stores(settings).await {
        let things = store.xronox.collection("things").unwrap();
        let mut steady = BTreeSet::new();
        for n in 0..100 {
            let id = format!("{}-{n}", ["a", "x"][n % 2]);
            let document = json!({ "n": n % 10, "busy": false, "text": "t".repeat(n * 3) });
            things.create_with_id(&id, document).await.unwrap();
            steady.insert(id);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let writer = tokio::spawn(bustle(things.clone(), Arc::clone(&stop)));
        let sorts = [
            json!([]),
            json!({ "_id": -1 }),
            json!({ "n": 1 }),
            json!({ "n": -1 }),
            json!([["n", 1], ["text", -1]]),
            json!({ "text": 1 }),
            json!({ "_system.insertedAt": -1 }),
            json!({ "updatedAt": -1 }),
        ];
        for (i, sort) in sorts.iter().cycle().take(3 * sorts.len()).enumerate() {
            let filter = match i % 3 {
                0 => json!({}),
                1 => json!({ "n": { "$lt": 50 } }),
                _ => json!({ "busy": { "$in": [false, true, null] } }),
            };
            let mut seen = BTreeSet::new();
            let mut cursor: Option<Cursor> = None;
            loop {
                let mut query = things.query(&filter).sort_json(sort).limit(7);
                if let Some(cursor) = &cursor {
                    query = query.after(cursor.to_string());
                }
                let page = query.await.unwrap();
                for record in &page.items {
                    let id = record.id().to_string();
                    let fresh = seen.insert(id.clone());
                    assert!(
                        fresh || !steady.contains(&id),
                        "{id} twice, {filter} {sort}"
                    );
                }
                cursor = page.cursor;
                if cursor.is_none() {
                    break;
                }
            }
            let missed: Vec<&String> = steady.difference(&seen).collect();
            assert!(missed.is_empty(), "{missed:?} {filter} {sort}");
        }
        stop.store(true, Ordering::Relaxed);
        writer.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_versions_queries_still_read_through() {
    let mut settings = Settings::default();
    settings.versioning.enabled = false;
    settings.hard_delete_enabled = true;
    settings.payloads.inline_max_bytes = Some(100);
    for store in stores(settings).await {
        let things = store.xronox.collection("things").unwrap();
        for n in 0..50 {
            let document = json!({ "n": n, "busy": false, "text": "t".repeat(n * 5) });
            things
                .create_with_id(format!("s{n}"), document)
                .await
                .unwrap();
        }
        let stop = Arc::new(AtomicBool::new(false));
        let writer = tokio::spawn(bustle(things.clone(), Arc::clone(&stop)));
        for _ in 0..10 {
            let found = things
                .query(json!({ "busy": false }))
                .limit(100)
                .await
                .unwrap();
            assert_eq!(found.items.len(), 50);
            let stream = things
                .query(json!({ "busy": false }))
                .stream()
                .await
                .unwrap();
            assert_eq!(stream.try_collect::<Vec<_>>().await.unwrap().len(), 50);
            things.count(json!({})).await.unwrap();
        }
        let refused = things
            .query(json!({}))
            .as_of(Moment::Cv(0))
            .await
            .unwrap_err();
        assert_eq!(refused.kind(), &ErrorKind::Unsupported);
        stop.store(true, Ordering::Relaxed);
        writer.await.unwrap();
    }
}

#[tokio::test]
async fn a_cursor_belongs_to_its_query() {
    for store in stores(Settings::default()).await {
        let things = store.xronox.collection("things").unwrap();
        let others = store.xronox.collection("others").unwrap();
        for n in 0..5 {
            things.create(json!({ "n": n })).await.unwrap();
            others.create(json!({ "n": n })).await.unwrap();
        }
        let all = json!({ "n": { "$gte": 0 } });
        let by_n = |filter: &Value| {
            things
                .query(filter)
                .sort("n", Direction::Ascending)
                .limit(2)
        };
        let cursor = by_n(&all).await.unwrap().cursor.unwrap();
        // Limit and projection may change, and the envelope is no part of it.
        let rest = by_n(&json!({ "meta": all }))
            .after(&cursor)
            .limit(10)
            .await
            .unwrap();
        assert_eq!(rest.items.len(), 3);
        let foreign = [
            by_n(&json!({ "n": { "$gte": 1 } })).after(&cursor),
            things
                .query(&all)
                .sort("n", Direction::Descending)
                .after(&cursor),
            things.query(&all).after(&cursor),
            by_n(&all).include_deleted().after(&cursor),
            by_n(&all).as_of(Moment::Cv(4)).after(&cursor),
            others
                .query(&all)
                .sort("n", Direction::Ascending)
                .after(&cursor),
            by_n(&all).after("garbage"),
            by_n(&all).after(""),
            by_n(&all).after("A".repeat(100_000)),
            by_n(&all).after(cursor.to_string().to_lowercase()),
        ];
        for query in foreign {
            let refused = query.await.unwrap_err();
            assert_eq!(refused.kind(), &ErrorKind::Invalid);
            assert!(refused.to_string().contains("cursor"), "{refused}");
        }
        let json = serde_json::to_value(&cursor).unwrap();
        assert_eq!(serde_json::from_value::<Cursor>(json).unwrap(), cursor);
    }
}

#[tokio::test]
async fn a_page_is_written_as_documented() {
    let store = stores(Settings::default()).await.remove(0);
    let things = store.xronox.collection("things").unwrap();
    things
        .create_with_id("a", json!({ "n": 1, "secret": 2 }))
        .await
        .unwrap();
    things.create_with_id("b", json!({ "n": 2 })).await.unwrap();
    let projection = xronox::Projection::parse(&json!(["n"])).unwrap();
    let page = things
        .query(json!({}))
        .limit(1)
        .project(projection)
        .await
        .unwrap();
    let json = serde_json::to_value(&page).unwrap();
    assert_eq!(json["items"], json!([{ "n": 1 }]));
    assert_eq!((&json["cv"], &json["settled"]), (&json!(1), &json!(false)));
    assert_eq!(json["cursor"], json!(page.cursor.unwrap().to_string()));
    let names: Vec<&String> = json.as_object().unwrap().keys().collect();
    assert_eq!(names, ["cursor", "cv", "items", "scanned", "settled"]);
}

#[tokio::test]
async fn a_stream_reads_one_state() {
    for store in stores(Settings::default()).await {
        let things = store.xronox.collection("things").unwrap();
        things
            .create_many((0..2500).map(|n| json!({ "n": n, "half": n % 2 })))
            .await
            .unwrap();
        let mut stream = things
            .query(json!({ "half": 0 }))
            .sort("n", Direction::Descending)
            .stream()
            .await
            .unwrap();
        assert_eq!(stream.cv(), Some(2499));
        let first = stream.try_next().await.unwrap().unwrap();
        assert_eq!(first.json()["n"], 2498);
        things
            .update(first.id(), json!({ "n": -1, "half": 0 }))
            .await
            .unwrap();
        things.create(json!({ "n": -5, "half": 0 })).await.unwrap();
        let rest: Vec<_> = stream.try_collect().await.unwrap();
        let seen: Vec<i64> = rest
            .iter()
            .map(|r| r.json()["n"].as_i64().unwrap())
            .collect();
        assert_eq!(seen, (0..1249).rev().map(|n| n * 2).collect::<Vec<i64>>());
        let some = things.query(json!({})).limit(1500).stream().await.unwrap();
        assert_eq!(some.try_collect::<Vec<_>>().await.unwrap().len(), 1500);
    }
}

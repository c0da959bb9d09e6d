//! The words of MongoDB's drivers, on every backend.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use futures::TryStreamExt;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use support::stores;
use xronox::{Direction, ErrorKind, Projection, Settings};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Item {
    topic: String,
    confidence: f64,
}

fn item(topic: &str, confidence: f64) -> Item {
    let topic = topic.to_owned();
    Item { topic, confidence }
}

#[tokio::test]
async fn documents_come_and_go() {
    for store in stores(Settings::default()).await {
        let client = store.home().client().acting("user:ann").unwrap();
        let id = client.insert("items", &item("a", 0.5)).await.unwrap();
        client
            .insert("items", json!({ "topic": "b", "confidence": 0.25 }))
            .await
            .unwrap();

        let found: Option<Item> = client.find_by_id("items", &id).await.unwrap();
        assert_eq!(found, Some(item("a", 0.5)));
        client
            .update("items", &id, json!({ "confidence": 0.75, "by.who": "x" }))
            .await
            .unwrap();
        let found: Option<Value> = client
            .find_one("items", json!({ "topic": "a" }))
            .await
            .unwrap();
        let found = found.unwrap();
        assert_eq!(
            (&found["confidence"], &found["by"]["who"]),
            (&json!(0.75), &json!("x"))
        );
        assert_eq!(found["_id"], id.to_string());
        assert_eq!(found["_system"]["updater"]["identifier"], "ann");
        client.replace("items", &id, &item("c", 1.0)).await.unwrap();

        let by_topic = client
            .find::<Item>("items", json!({}))
            .sort("topic", Direction::Descending);
        assert_eq!(by_topic.await.unwrap(), [item("c", 1.0), item("b", 0.25)]);
        let some: Vec<Item> = client.find("items", json!({})).limit(1).await.unwrap();
        assert_eq!(some.len(), 1);
        let topics: Projection = serde_json::from_value(json!(["topic"])).unwrap();
        let part: Vec<Value> = client
            .find("items", json!({}))
            .project(topics)
            .await
            .unwrap();
        assert!(
            part.iter().all(|item| item.get("confidence").is_none()),
            "{part:?}"
        );
        let stream = client
            .find::<Item>("items", json!({}))
            .stream()
            .await
            .unwrap();
        assert_eq!(stream.try_collect::<Vec<_>>().await.unwrap().len(), 2);
        let sure = json!({ "confidence": { "$gte": 0.5 } });
        assert_eq!(client.count("items", sure).await.unwrap(), 1);

        // What is not of the type is told, and by which record.
        client.insert("items", json!({ "topic": 7 })).await.unwrap();
        let wrong = client
            .find::<Item>("items", json!({ "topic": 7 }))
            .await
            .unwrap_err();
        assert_eq!(*wrong.kind(), ErrorKind::Invalid);
        client.delete("items", &id).await.unwrap();
        let gone: Option<Value> = client.find_by_id("items", &id).await.unwrap();
        assert_eq!(gone, None);
        let nobody: Option<Value> = client
            .find_one("items", json!({ "topic": "z" }))
            .await
            .unwrap();
        assert_eq!(nobody, None);
    }
}

#[tokio::test]
async fn different_values_are_told_once() {
    for store in stores(Settings::default()).await {
        let client = store.home().client();
        for document in [
            json!({ "n": 2, "tags": ["b", "a"], "in": [{ "x": 1 }, { "x": 2 }] }),
            json!({ "n": 1.0, "tags": "b", "in": { "x": 2 } }),
            json!({ "n": 1, "tags": [], "out": true }),
            json!({ "n": null }),
        ] {
            client.insert("items", document).await.unwrap();
        }
        let distinct = async |path: &str, filter: Value| -> Value {
            let values: Vec<Value> = client.distinct("items", path, filter).await.unwrap();
            values.into()
        };
        assert_eq!(distinct("n", json!({})).await, json!([null, 1, 2]));
        assert_eq!(distinct("tags", json!({})).await, json!(["a", "b"]));
        assert_eq!(distinct("in.x", json!({})).await, json!([1, 2]));
        assert_eq!(distinct("n", json!({ "out": true })).await, json!([1]));
        let wrong = client.distinct::<String>("items", "n", json!({})).await;
        assert_eq!(*wrong.unwrap_err().kind(), ErrorKind::Invalid);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_matches_is_deleted_and_nothing_else() {
    for store in stores(Settings::default()).await {
        let things = store.xronox.collection("things").unwrap();
        let records = if store.on_servers { 150 } else { 2500 };
        let documents = (0..records).map(|n| json!({ "n": n, "odd": n % 2 == 1 }));
        for written in things.create_many(documents).await.unwrap() {
            written.unwrap();
        }
        // Some of them change while it goes on: what matches no more stays.
        let changing = {
            let things = things.clone();
            tokio::spawn(async move {
                let mut kept = 0;
                for n in (1..records).step_by(10) {
                    let page = things.query(json!({ "n": n, "odd": true })).await.unwrap();
                    let Some(record) = page.items.first() else {
                        continue;
                    };
                    let change = things.patch(record.id(), json!({ "odd": "kept" }));
                    kept += u64::from(change.await.is_ok());
                }
                kept
            })
        };
        let filter = json!({ "meta": { "odd": true } });
        let report = things
            .delete_many(&filter)
            .actor("job:sweep")
            .await
            .unwrap();
        let kept = changing.await.unwrap();
        let odd = records / 2;
        assert_eq!(report.deleted, odd - kept, "{report:?}");
        assert_eq!(report.matched, report.deleted + report.skipped);
        assert_eq!(
            things.count(json!({})).await.unwrap().count,
            records - report.deleted
        );
        assert_eq!(
            things.count(json!({ "odd": "kept" })).await.unwrap().count,
            kept
        );
        let swept = json!({ "_system.updater.identifier": "sweep" });
        let gone = things.count(swept).include_deleted().await.unwrap().count;
        assert_eq!(gone, report.deleted);
        let again = things.delete_many(&filter).await.unwrap();
        assert_eq!((again.matched, again.deleted), (0, 0));
        assert!(things.verify().await.unwrap().clean());
    }
}

#[tokio::test]
async fn many_are_removed_for_good_where_that_is_allowed() {
    let settings = Settings {
        hard_delete_enabled: true,
        ..Settings::default()
    };
    for store in stores(settings).await {
        let things = store.xronox.collection("things").unwrap();
        for n in 0..30 {
            things.create(json!({ "n": n })).await.unwrap();
        }
        let small = json!({ "n": { "$lt": 20 } });
        let report = things.delete_many(small).hard().await.unwrap();
        assert_eq!((report.deleted, report.skipped), (20, 0));
        let all = things.count(json!({})).include_deleted().await.unwrap();
        assert_eq!(all.count, 10);
        assert!(things.verify().await.unwrap().clean());
    }
    for store in stores(Settings::default()).await {
        let things = store.xronox.collection("things").unwrap();
        things.create(json!({ "n": 1 })).await.unwrap();
        let refused = things.delete_many(json!({})).hard().await.unwrap_err();
        assert_eq!(*refused.kind(), ErrorKind::Forbidden);
        let wrong = things.delete_many(json!({ "$nope": 1 })).await.unwrap_err();
        assert_eq!(*wrong.kind(), ErrorKind::Invalid);
        assert_eq!(things.count(json!({})).await.unwrap().count, 1);
    }
}

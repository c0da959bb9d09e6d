//! What an application does with records, on every backend.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use serde_json::{Value, json};
use support::stores;
use xronox::{ErrorKind, Moment, Op, Projection, Settings, Written};

fn without_system(mut json: Value) -> Value {
    json.as_object_mut().unwrap().remove("_system");
    json
}

#[tokio::test]
async fn a_record_lives_its_life() {
    for store in stores(Settings::default()).await {
        let orders = store.xronox.collection("orders").unwrap();
        let made = orders
            .create(json!({ "total": 10, "_id": "ignored", "_system": { "ov": 99 } }))
            .actor("user:ann (Ann)")
            .reason("web shop")
            .await
            .unwrap();
        assert_eq!((made.ov, made.cv, made.op), (0, 0, Op::Create));

        let changed = orders
            .update(&made.id, json!({ "total": 12, "tags": ["a"] }))
            .expected_ov(0)
            .actor("job:night")
            .await
            .unwrap();
        assert_eq!((changed.ov, changed.cv, changed.op), (1, 1, Op::Update));
        let patched = orders
            .patch(
                &made.id,
                json!({ "tags.0": "b", "note.by": "bob", "$unset": ["total"] }),
            )
            .await
            .unwrap();
        assert_eq!(patched.ov, 2);

        let id = made.id.to_string();
        let latest = orders.get_latest(&made.id).await.unwrap();
        assert_eq!(
            without_system(latest.json()),
            json!({ "_id": id, "tags": ["b"], "note": { "by": "bob" } })
        );
        let system = &latest.json()["_system"];
        assert_eq!(system["ov"], 2);
        assert_eq!(system["deleted"], false);
        assert_eq!(system["deletedAt"], Value::Null);
        assert_eq!(
            system["creator"],
            json!({ "type": "user", "identifier": "ann", "name": "Ann" })
        );
        assert_eq!(system.get("updater"), None);

        let first = orders.get_version(&made.id, 0).await.unwrap();
        assert_eq!(first.document(), json!({ "total": 10 }));
        let then = orders.get_as_of(&made.id, Moment::Cv(1)).await.unwrap();
        assert_eq!(then.document(), json!({ "total": 12, "tags": ["a"] }));

        let gone = orders.delete(&made.id).reason("cancelled").await.unwrap();
        assert_eq!((gone.ov, gone.op), (3, Op::Delete));
        let missing = orders.get_latest(&made.id).await.unwrap_err();
        assert_eq!(missing.kind(), &ErrorKind::NotFound);
        let shown = orders.get_latest(&made.id).include_deleted().await.unwrap();
        assert!(shown.deleted());
        assert_eq!(shown.document()["note"]["by"], "bob");
        for refused in [
            orders.update(&made.id, json!({})).await,
            orders.patch(&made.id, json!({ "a": 1 })).await,
            orders.delete(&made.id).await,
        ] {
            assert_eq!(refused.unwrap_err().kind(), &ErrorKind::Deleted);
        }

        let history = orders.history(&made.id).await.unwrap();
        let ops: Vec<Op> = history.iter().map(|version| version.op).collect();
        assert_eq!(ops, [Op::Delete, Op::Update, Op::Update, Op::Create]);
        assert_eq!(history[3].reason.as_deref(), Some("web shop"));
        let changes = orders.changes(1).await.unwrap();
        assert_eq!(changes.iter().map(|c| c.cv).collect::<Vec<_>>(), [2, 3]);
        let diff = orders.diff(&made.id, 0, 1).await.unwrap();
        assert_eq!(
            serde_json::to_value(diff).unwrap(),
            json!([
                { "op": "add", "path": "/tags", "value": ["a"] },
                { "op": "replace", "path": "/total", "value": 12 },
            ])
        );
    }
}

#[tokio::test]
async fn a_version_is_written_only_for_a_change() {
    for store in stores(Settings::default()).await {
        let orders = store.xronox.collection("orders").unwrap();
        let made = orders.create(json!({ "n": 1.0 })).await.unwrap();
        let same = orders.update(&made.id, json!({ "n": 1 })).await.unwrap();
        assert!(same.unchanged);
        assert_eq!((same.ov, same.cv, same.op), (0, 0, Op::Create));
        assert!(
            orders
                .patch(&made.id, json!({ "n": 1 }))
                .await
                .unwrap()
                .unchanged
        );
        let asked = orders
            .update(&made.id, json!({ "n": 1 }))
            .always()
            .await
            .unwrap();
        assert_eq!((asked.ov, asked.unchanged), (1, false));
    }
}

#[tokio::test]
async fn a_conflict_says_what_is_there() {
    for store in stores(Settings::default()).await {
        let orders = store.xronox.collection("orders").unwrap();
        let made = orders.create(json!({ "n": 1 })).await.unwrap();
        orders.update(&made.id, json!({ "n": 2 })).await.unwrap();
        for refused in [
            orders
                .update(&made.id, json!({ "n": 3 }))
                .expected_ov(0)
                .await,
            orders
                .patch(&made.id, json!({ "n": 3 }))
                .expected_ov(0)
                .await,
            orders.delete(&made.id).expected_ov(0).await,
        ] {
            let error = refused.unwrap_err();
            let expected = ErrorKind::Conflict {
                expected: 0,
                actual: 1,
            };
            assert_eq!(error.kind(), &expected, "{error}");
            assert!(error.to_string().contains("orders"), "{error}");
            assert!(error.to_string().contains(&made.id.to_string()), "{error}");
        }
        assert_eq!(
            orders.get_latest(&made.id).await.unwrap().document(),
            json!({ "n": 2 })
        );
    }
}

#[tokio::test]
async fn an_id_is_used_once() {
    for store in stores(Settings::default()).await {
        let orders = store.xronox.collection("orders").unwrap();
        orders
            .create_with_id("A/1 $", json!({ "n": 1 }))
            .await
            .unwrap();
        let again = orders.create_with_id("A/1 $", json!({})).await.unwrap_err();
        assert_eq!(again.kind(), &ErrorKind::AlreadyExists);
        orders.delete("A/1 $").await.unwrap();
        let again = orders.create_with_id("A/1 $", json!({})).await.unwrap_err();
        assert_eq!(again.kind(), &ErrorKind::AlreadyExists);
        assert_eq!(
            orders.get_latest("nobody").await.unwrap_err().kind(),
            &ErrorKind::NotFound
        );
    }
}

#[tokio::test]
async fn a_hard_delete_leaves_a_mark_and_frees_the_id() {
    let settings = Settings {
        hard_delete_enabled: true,
        ..Settings::default()
    };
    for store in stores(settings).await {
        let orders = store.xronox.collection("orders").unwrap();
        orders.create_with_id("a", json!({ "n": 1 })).await.unwrap();
        orders.update("a", json!({ "n": 2 })).await.unwrap();
        let purged = orders.delete("a").hard().actor("dpo").await.unwrap();
        assert_eq!((purged.ov, purged.op), (2, Op::Purge));
        assert_eq!(
            orders.get_version("a", 0).await.unwrap_err().kind(),
            &ErrorKind::NotFound
        );
        assert_eq!(orders.history("a").await.unwrap().len(), 1);
        assert_eq!(orders.changes(None).await.unwrap().len(), 1);
        let born: Written = orders.create_with_id("a", json!({ "n": 3 })).await.unwrap();
        assert_eq!((born.ov, born.op), (3, Op::Create));
    }
    for store in stores(Settings::default()).await {
        let orders = store.xronox.collection("orders").unwrap();
        orders.create_with_id("a", json!({})).await.unwrap();
        let refused = orders.delete("a").hard().await.unwrap_err();
        assert_eq!(refused.kind(), &ErrorKind::Forbidden);
    }
}

#[tokio::test]
async fn without_versioning_only_the_newest_is_kept() {
    let mut settings = Settings::default();
    settings.versioning.enabled = false;
    for store in stores(settings).await {
        let orders = store.xronox.collection("orders").unwrap();
        orders.create_with_id("a", json!({ "n": 1 })).await.unwrap();
        let changed = orders.update("a", json!({ "n": 2 })).await.unwrap();
        assert_eq!(changed.ov, 1);
        assert_eq!(
            orders.get_latest("a").await.unwrap().document(),
            json!({ "n": 2 })
        );
        assert_eq!(
            orders.get_version("a", 0).await.unwrap_err().kind(),
            &ErrorKind::Pruned
        );
        let refused = orders.get_as_of("a", Moment::Cv(0)).await.unwrap_err();
        assert_eq!(refused.kind(), &ErrorKind::Unsupported);
        orders.delete("a").await.unwrap();
        assert!(
            orders
                .get_latest("a")
                .include_deleted()
                .await
                .unwrap()
                .deleted()
        );
        // One mark is left of all that were before.
        let history = orders.history("a").await.unwrap();
        let ovs: Vec<u64> = history.iter().map(|version| version.ov).collect();
        assert_eq!(ovs, [2, 0]);
    }
}

#[tokio::test]
async fn a_repeated_request_is_done_once() {
    for store in stores(Settings::default()).await {
        let orders = store.xronox.collection("orders").unwrap();
        let once = orders
            .create(json!({ "n": 1 }))
            .idempotency_key("r1")
            .await
            .unwrap();
        let twice = orders
            .create(json!({ "n": 1 }))
            .idempotency_key("r1")
            .await
            .unwrap();
        assert_eq!(once, twice);
        let other = orders.create(json!({ "n": 2 })).idempotency_key("r1").await;
        assert_eq!(other.unwrap_err().kind(), &ErrorKind::Invalid);
        let patch = || {
            orders
                .patch(&once.id, json!({ "m": 1 }))
                .idempotency_key("r2")
        };
        assert_eq!(patch().await.unwrap(), patch().await.unwrap());
        assert_eq!(orders.history(&once.id).await.unwrap().len(), 2);
    }
}

/// Whatever became of the record since, the outcome of the request is the one
/// it had.
#[tokio::test]
async fn a_repeated_request_does_not_care_what_came_after_it() {
    let settings = Settings {
        hard_delete_enabled: true,
        ..Settings::default()
    };
    for store in stores(settings).await {
        let orders = store.xronox.collection("orders").unwrap();
        for change in ["other", "deleted", "purged", "reborn"] {
            let create = || {
                let create = orders.create_with_id(change, json!({ "at": {} }));
                create
                    .parent("p", "orders")
                    .idempotency_key(format!("create {change}"))
            };
            let patch = || {
                let patch = orders.patch(change, json!({ "at.x": 1 }));
                patch.idempotency_key(format!("patch {change}"))
            };
            let update = || {
                let update = orders.update(change, json!({ "at": {} }));
                update.idempotency_key(format!("update {change}"))
            };
            let nothing = || {
                let patch = orders.patch(change, json!({ "$unset": ["at.y"] }));
                patch.idempotency_key(format!("nothing {change}"))
            };
            let delete = || {
                let delete = orders.delete(change);
                delete.idempotency_key(format!("delete {change}"))
            };
            let parent = orders
                .create_with_id("p", json!({}))
                .origin("o", "raw", None);
            parent.await.unwrap();
            let created = create().await.unwrap();
            let patched = patch().await.unwrap();
            let updated = update().await.unwrap();
            let unchanged = nothing().await.unwrap();
            assert!(unchanged.unchanged);
            let mut deleted = None;
            match change {
                "other" => {
                    // No path leads through a number.
                    let update = orders.update(change, json!({ "at": 1 }));
                    update.await.unwrap();
                }
                "deleted" => deleted = Some(delete().await.unwrap()),
                _ => {
                    deleted = Some(delete().await.unwrap());
                    orders.delete(change).hard().await.unwrap();
                    if change == "reborn" {
                        let create = orders.create_with_id(change, json!({ "at": 2 }));
                        create.await.unwrap();
                    }
                }
            }
            orders.delete("p").hard().await.unwrap();
            let before = orders.changes(None).limit(1000).await.unwrap().len();
            assert_eq!(patch().await.unwrap(), patched, "{change}");
            assert_eq!(update().await.unwrap(), updated, "{change}");
            assert_eq!(create().await.unwrap(), created, "{change}");
            assert_eq!(nothing().await.unwrap(), unchanged, "{change}");
            if let Some(deleted) = deleted {
                assert_eq!(delete().await.unwrap(), deleted, "{change}");
            }
            // Another request under the key, or one under a new key, has its
            // own error, and nothing is written.
            let other = orders.patch(change, json!({ "at.x": 2 }));
            let other = other.idempotency_key(format!("patch {change}"));
            assert_eq!(other.await.unwrap_err().kind(), &ErrorKind::Invalid);
            let new = orders.patch(change, json!({ "at.x": 2 }));
            let error = new
                .idempotency_key(format!("new {change}"))
                .await
                .unwrap_err();
            let expected = match change {
                "deleted" => ErrorKind::Deleted,
                "purged" => ErrorKind::NotFound,
                _ => ErrorKind::Invalid,
            };
            assert_eq!(error.kind(), &expected, "{error}");
            let after = orders.changes(None).limit(1000).await.unwrap().len();
            assert_eq!(after, before);
        }
    }
}

#[tokio::test]
async fn lineage_goes_back_to_the_origin() {
    for store in stores(Settings::default()).await {
        let raw = store.xronox.collection("raw").unwrap();
        let clean = store.xronox.collection("clean").unwrap();
        let first = raw
            .create(json!({}))
            .origin("cus_1", "customers", Some("stripe"))
            .await
            .unwrap();
        let second = clean
            .create(json!({}))
            .parent(first.id.to_string(), "raw")
            .await
            .unwrap();
        let third = clean
            .create(json!({}))
            .parent(second.id.to_string(), "clean")
            .await
            .unwrap();
        clean.update(&third.id, json!({ "n": 1 })).await.unwrap();
        let system = clean.get_latest(&third.id).await.unwrap().json()["_system"].clone();
        assert_eq!(system["parentId"], second.id.to_string());
        assert_eq!(system["parentCollection"], "clean");
        assert_eq!(system["originId"], "cus_1");
        assert_eq!(system["originCollection"], "stripe:customers");
    }
}

#[tokio::test]
async fn many_records_have_an_outcome_each() {
    for store in stores(Settings::default()).await {
        let orders = store.xronox.collection("orders").unwrap();
        let documents = (0..1003).map(|n| if n == 7 { json!([]) } else { json!({ "n": n }) });
        let outcomes = orders.create_many(documents).actor("load").await.unwrap();
        assert_eq!(outcomes.len(), 1003);
        for (n, outcome) in outcomes.iter().enumerate() {
            match outcome {
                Ok(written) => {
                    let record = orders.get_latest(&written.id).await.unwrap();
                    assert_eq!(record.document()["n"], n);
                }
                Err(error) => assert_eq!((n, error.kind()), (7, &ErrorKind::Invalid)),
            }
        }
        let ids = outcomes[..3].iter().map(|o| o.as_ref().unwrap().id.clone());
        let mut ids: Vec<_> = ids.collect();
        ids.insert(1, "nobody".parse().unwrap());
        let found = orders.get_many(&ids).await.unwrap();
        assert_eq!(
            found.iter().map(Option::is_some).collect::<Vec<_>>(),
            [true, false, true, true]
        );
    }
}

#[tokio::test]
async fn blame_names_the_version_that_set_each_part() {
    for store in stores(Settings::default()).await {
        let orders = store.xronox.collection("orders").unwrap();
        orders
            .create_with_id("a", json!({ "x": 1, "y": { "z": 1 }, "gone": 1 }))
            .await
            .unwrap();
        orders
            .patch("a", json!({ "y.z": 2, "$unset": ["gone"] }))
            .actor("bob")
            .await
            .unwrap();
        orders.patch("a", json!({ "list": [1] })).await.unwrap();
        let blame = orders.blame("a").await.unwrap();
        let lines: Vec<(String, u64)> = blame
            .iter()
            .map(|line| (line.path.to_string(), line.version.ov))
            .collect();
        assert_eq!(
            lines,
            [
                ("list".to_owned(), 2),
                ("x".to_owned(), 0),
                ("y.z".to_owned(), 1)
            ]
        );
    }
}

#[tokio::test]
async fn a_projection_shows_a_part() {
    for store in stores(Settings::default()).await {
        let orders = store.xronox.collection("orders").unwrap();
        orders
            .create_with_id("a", json!({ "x": 1, "y": { "z": 1, "w": 2 } }))
            .await
            .unwrap();
        let only = Projection::parse(&json!(["id", "y.z"])).unwrap();
        let shown = orders.get_latest("a").project(only).await.unwrap();
        assert_eq!(shown.json(), json!({ "_id": "a", "y": { "z": 1 } }));
        assert_eq!(shown.bytes(), None);
    }
}

#[tokio::test]
async fn large_bodies_are_objects_and_read_back() {
    let mut settings = Settings::default();
    settings.payloads.inline_max_bytes = Some(100);
    settings.write_optimization.compression_enabled = true;
    for store in stores(settings).await {
        let orders = store.xronox.collection("orders").unwrap();
        let noise: String = (0..4000u32)
            .map(|n| {
                char::from(b'a' + u8::try_from(n.wrapping_mul(2_654_435_761) >> 27).unwrap() % 26)
            })
            .collect();
        orders
            .create_with_id("a", json!({ "text": noise }))
            .await
            .unwrap();
        orders.patch("a", json!({ "n": 1 })).await.unwrap();
        assert_eq!(
            orders.get_version("a", 0).await.unwrap().document()["text"],
            noise
        );
        assert_eq!(orders.get_latest("a").await.unwrap().document()["n"], 1);
    }
}

#[tokio::test]
async fn a_closed_store_says_so() {
    for store in stores(Settings::default()).await {
        let orders = store.xronox.collection("orders").unwrap();
        orders.create_with_id("a", json!({})).await.unwrap();
        store.xronox.close().await.unwrap();
        assert_eq!(
            orders.create(json!({})).await.unwrap_err().kind(),
            &ErrorKind::Closed
        );
        assert_eq!(
            orders.get_latest("a").await.unwrap_err().kind(),
            &ErrorKind::Closed
        );
        assert_eq!(
            store.xronox.collection("x").unwrap_err().kind(),
            &ErrorKind::Closed
        );
    }
}

#[tokio::test]
async fn a_dropped_store_lets_go_of_its_file() {
    let folder = tempfile::TempDir::new().unwrap();
    let xronox = xronox::Xronox::open(xronox::Config::dev(folder.path()))
        .await
        .unwrap();
    let orders = xronox.collection("orders").unwrap();
    orders.create_with_id("a", json!({})).await.unwrap();
    drop((xronox, orders));
    // The last to leave checkpoints the log and removes it.
    let log = || {
        let files = std::fs::read_dir(folder.path().join("catalog")).unwrap();
        files
            .map(|f| f.unwrap().file_name())
            .any(|f| f.to_string_lossy().ends_with("-wal"))
    };
    for _ in 0..100 {
        if !log() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the database is still open");
}

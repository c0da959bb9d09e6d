//! What a handle sees and writes that is limited to some of the records.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use futures::TryStreamExt;
use serde_json::json;
use support::stores;
use xronox::{Collection, Error, ErrorKind, Moment, RecordId, Settings};

fn kind<T: std::fmt::Debug>(result: Result<T, Error>) -> ErrorKind {
    result.unwrap_err().kind().clone()
}

fn free() -> Settings {
    Settings {
        hard_delete_enabled: true,
        ..Settings::default()
    }
}

async fn make(orders: &Collection, shop: &str, n: u64) -> RecordId {
    let made = orders.create(json!({ "shop": shop, "n": n })).await;
    made.unwrap().id
}

#[tokio::test]
async fn nothing_of_others_is_seen() {
    for store in stores(free()).await {
        let all = store.xronox.collection("orders").unwrap();
        let ours = all.scoped(json!({ "shop": "a" })).unwrap();
        let mine = make(&all, "a", 1).await;
        let other = make(&all, "b", 2).await;
        let gone = make(&all, "b", 3).await;
        all.delete(&gone).await.unwrap();
        // Came from elsewhere, went elsewhere.
        let came = make(&all, "b", 4).await;
        all.update(&came, json!({ "shop": "a", "n": 4 }))
            .await
            .unwrap();
        let went = make(&all, "a", 5).await;
        all.update(&went, json!({ "shop": "b", "n": 5 }))
            .await
            .unwrap();
        let purged = make(&all, "a", 6).await;
        all.delete(&purged).hard().await.unwrap();
        let nobody = RecordId::from_object_id([7; 12]);

        for hidden in [&other, &gone, &purged, &nobody] {
            assert_eq!(kind(ours.get_latest(hidden).await), ErrorKind::NotFound);
            assert_eq!(kind(ours.get_version(hidden, 0).await), ErrorKind::NotFound);
            assert_eq!(kind(ours.get_version(hidden, 9).await), ErrorKind::NotFound);
            let then = ours.get_as_of(hidden, Moment::Cv(3)).await;
            assert_eq!(kind(then), ErrorKind::NotFound);
            assert_eq!(kind(ours.history(hidden).await), ErrorKind::NotFound);
            assert_eq!(kind(ours.diff(hidden, 0, 1).await), ErrorKind::NotFound);
            assert_eq!(kind(ours.blame(hidden).await), ErrorKind::NotFound);
            let after = ours.query(json!({})).after_id(hidden).await;
            let by = ours
                .query(json!({}))
                .sort("n", xronox::Direction::Ascending);
            // The order of ids needs no record.
            assert!(after.is_ok());
            assert_eq!(kind(by.after_id(hidden).await), ErrorKind::NotFound);
            // No error tells apart what is hidden from what never was.
            let mut texts = Vec::new();
            for id in [hidden, &nobody] {
                let error = ours.get_version(id, 0).await.unwrap_err().to_string();
                texts.push(error.replace(&id.to_string(), "?"));
            }
            assert_eq!(texts[0], texts[1]);
        }
        // Version by version.
        assert_eq!(kind(ours.get_version(&came, 0).await), ErrorKind::NotFound);
        assert!(ours.get_version(&came, 1).await.is_ok());
        assert!(ours.get_version(&went, 0).await.is_ok());
        assert_eq!(kind(ours.get_version(&went, 1).await), ErrorKind::NotFound);
        assert_eq!(kind(ours.get_latest(&went).await), ErrorKind::NotFound);
        assert_eq!(kind(ours.diff(&came, 0, 1).await), ErrorKind::NotFound);
        let seen: Vec<u64> = ours
            .history(&came)
            .await
            .unwrap()
            .iter()
            .map(|v| v.ov)
            .collect();
        assert_eq!(seen, [1]);
        let seen: Vec<u64> = ours
            .history(&went)
            .await
            .unwrap()
            .iter()
            .map(|v| v.ov)
            .collect();
        assert_eq!(seen, [0]);
        let blamed = ours.blame(&came).await.unwrap();
        assert!(blamed.iter().all(|part| part.version.ov == 1));

        let many = ours
            .get_many([&mine, &other, &gone, &came, &went])
            .await
            .unwrap();
        let there: Vec<bool> = many.iter().map(Option::is_some).collect();
        assert_eq!(there, [true, false, false, true, false]);

        for filter in [
            json!({}),
            json!({ "n": { "$gte": 0 } }),
            json!({ "$or": [{ "shop": "b" }, { "n": { "$exists": true } }] }),
            json!({ "$nor": [{ "shop": "x" }] }),
            json!({ "meta": {} }),
        ] {
            let found = ours.query(&filter).include_deleted().await.unwrap();
            let mut ids: Vec<&RecordId> = found.items.iter().map(xronox::Record::id).collect();
            ids.sort();
            let mut expected = vec![&mine, &came];
            expected.sort();
            assert_eq!(ids, expected, "{filter}");
            assert_eq!(
                ours.count(&filter).include_deleted().await.unwrap().count,
                2
            );
            let all: Vec<_> = ours
                .query(&filter)
                .stream()
                .await
                .unwrap()
                .try_collect()
                .await
                .unwrap();
            assert_eq!(all.len(), 2, "{filter}");
        }
        let then = ours.query(json!({})).as_of(Moment::Cv(6)).await.unwrap();
        let mut then: Vec<&RecordId> = then.items.iter().map(xronox::Record::id).collect();
        then.sort();
        let mut expected = vec![&mine, &came, &went];
        expected.sort();
        assert_eq!(then, expected);

        // A page of the feed holds only what is in the scope, and is full.
        let feed = ours.changes(None).limit(2).await.unwrap();
        let ids: Vec<(&RecordId, u64)> = feed.iter().map(|v| (&v.id, v.ov)).collect();
        assert_eq!(ids, [(&mine, 0), (&came, 1)]);
        let feed = ours.changes(feed[1].cv).limit(2).await.unwrap();
        let ids: Vec<(&RecordId, u64)> = feed.iter().map(|v| (&v.id, v.ov)).collect();
        assert_eq!(ids, [(&went, 0)]);

        // Another handle's cursor is another query's.
        let page = all.query(json!({})).limit(1).await.unwrap();
        let foreign = ours.query(json!({})).after(page.cursor.unwrap()).await;
        assert_eq!(kind(foreign), ErrorKind::Invalid);
    }
}

#[tokio::test]
async fn nothing_of_others_is_written() {
    for store in stores(free()).await {
        let all = store.xronox.collection("orders").unwrap();
        all.ensure_unique(["mail"]).await.unwrap();
        let ours = all.scoped(json!({ "shop": "a" })).unwrap();
        let other = all
            .create(json!({ "shop": "b", "mail": "x" }))
            .await
            .unwrap()
            .id;
        let mine = ours.create(json!({ "shop": "a" })).await.unwrap().id;
        all.update(&mine, json!({ "shop": "b", "n": 1 }))
            .await
            .unwrap();
        all.update(&mine, json!({ "shop": "a", "n": 2 }))
            .await
            .unwrap();
        let before = all.changes(None).await.unwrap().len();

        for foreign in [json!({ "shop": "b" }), json!({}), json!({ "shop": ["b"] })] {
            assert_eq!(kind(ours.create(&foreign).await), ErrorKind::Forbidden);
            assert_eq!(
                kind(ours.create_with_id("x", &foreign).await),
                ErrorKind::Forbidden
            );
            assert_eq!(
                kind(ours.update(&mine, &foreign).await),
                ErrorKind::Forbidden
            );
        }
        for patch in [json!({ "shop": "b" }), json!({ "$unset": ["shop"] })] {
            assert_eq!(kind(ours.patch(&mine, patch).await), ErrorKind::Forbidden);
        }
        assert_eq!(
            kind(ours.update(&other, json!({ "shop": "a" })).await),
            ErrorKind::NotFound
        );
        let expecting = ours.update(&other, json!({ "shop": "a" })).expected_ov(7);
        assert_eq!(kind(expecting.await), ErrorKind::NotFound);
        assert_eq!(
            kind(ours.patch(&other, json!({ "shop": "a" })).await),
            ErrorKind::NotFound
        );
        assert_eq!(kind(ours.delete(&other).await), ErrorKind::NotFound);
        assert_eq!(kind(ours.delete(&other).hard().await), ErrorKind::NotFound);
        assert_eq!(
            kind(ours.restore_object(&other).to_ov(0).await),
            ErrorKind::NotFound
        );
        // Not even of a record of ours what it was elsewhere.
        assert_eq!(
            kind(ours.restore_object(&mine).to_ov(1).await),
            ErrorKind::NotFound
        );
        let taken = ours
            .create(json!({ "shop": "a", "mail": "x" }))
            .await
            .unwrap_err();
        assert_eq!(*taken.kind(), ErrorKind::AlreadyExists);
        assert!(!taken.to_string().contains(&other.to_string()), "{taken}");
        let many = ours
            .create_many([json!({ "shop": "b" }), json!({ "shop": "a", "mail": "x" })])
            .await
            .unwrap();
        assert_eq!(*many[0].as_ref().unwrap_err().kind(), ErrorKind::Forbidden);
        let taken = many[1].as_ref().unwrap_err();
        assert!(!taken.to_string().contains(&other.to_string()), "{taken}");
        assert_eq!(all.changes(None).await.unwrap().len(), before);

        // What is theirs they write as ever.
        ours.patch(&mine, json!({ "n": 3 })).await.unwrap();
        ours.update(&mine, json!({ "shop": "a", "n": 4 }))
            .expected_ov(3)
            .await
            .unwrap();
        ours.restore_object(&mine).to_ov(0).await.unwrap();
        ours.delete(&mine).await.unwrap();
        assert_eq!(kind(ours.delete(&mine).await), ErrorKind::Deleted);
        ours.restore_object(&mine).to_ov(0).await.unwrap();
        ours.delete(&mine).hard().await.unwrap();
        assert!(all.get_latest(&other).await.is_ok());
    }
}

#[tokio::test]
async fn a_hidden_parent_hands_nothing_on() {
    for store in stores(Settings::default()).await {
        let all = store.home();
        let ours = all.scoped(json!({ "shop": "a" })).unwrap();
        let carts = all.collection("carts").unwrap();
        for (shop, origin) in [("a", "seen"), ("b", "hidden")] {
            let cart = carts.create_with_id(shop, json!({ "shop": shop }));
            cart.origin(origin, "erp", None).await.unwrap();
        }
        let orders = ours.collection("orders").unwrap();
        for (parent, origin) in [("a", "seen"), ("b", "b")] {
            let order = orders.create(json!({ "shop": "a" }));
            let order = order.parent(parent, "carts").await.unwrap();
            let record = orders.get_latest(&order.id).await.unwrap();
            assert_eq!(record.json()["_system"]["originId"], origin);
        }
    }
}

#[tokio::test]
async fn a_request_is_repeated_only_within_its_scope() {
    for store in stores(Settings::default()).await {
        let all = store.xronox.collection("orders").unwrap();
        let [a, b] = ["a", "b"].map(|by| {
            all.scoped(json!({ "by": { "$in": [by, "both"] } }))
                .unwrap()
        });
        let document = json!({ "by": "both" });
        let first = a.create(&document).idempotency_key("k").await.unwrap();
        let again = a.create(&document).idempotency_key("k").await.unwrap();
        let other = b.create(&document).idempotency_key("k").await.unwrap();
        assert_eq!(first.id, again.id);
        assert_ne!(first.id, other.id);
    }
}

#[tokio::test]
async fn a_scope_is_only_ever_narrowed() {
    for store in stores(Settings::default()).await {
        let all = store.xronox.collection("orders").unwrap();
        let ours = all.scoped(json!({ "shop": "a" })).unwrap();
        let fewer = ours
            .scoped(json!({ "$or": [{ "n": 1 }, { "shop": "b" }] }))
            .unwrap();
        for (shop, n) in [("a", 1), ("a", 2), ("b", 1)] {
            make(&all, shop, n).await;
        }
        assert_eq!(fewer.count(json!({})).await.unwrap().count, 1);
        let one = make(&ours, "a", 1).await;
        let only = all.scoped(json!({ "_id": one.to_string() })).unwrap();
        assert_eq!(only.count(json!({})).await.unwrap().count, 1);
        assert!(only.get_latest(&one).await.is_ok());

        for whole in ["_system.creator.identifier", "updatedAt", "insertedAt"] {
            let refused = all.scoped(json!({ whole: 1 })).unwrap_err();
            assert_eq!(*refused.kind(), ErrorKind::Invalid, "{whole}");
            assert!(refused.to_string().contains(whole), "{refused}");
        }
        let database = store
            .xronox
            .home()
            .unwrap()
            .scoped(json!({ "shop": "a" }))
            .unwrap();
        let orders = database.collection("orders").unwrap();
        assert_eq!(orders.count(json!({})).await.unwrap().count, 3);
        assert_eq!(kind(database.verify().await), ErrorKind::Forbidden);
        assert_eq!(kind(database.gc().await), ErrorKind::Forbidden);
        assert_eq!(kind(orders.verify().await), ErrorKind::Forbidden);
        assert_eq!(kind(orders.size().await), ErrorKind::Forbidden);
        assert_eq!(kind(orders.indexes().await), ErrorKind::Forbidden);
        assert_eq!(kind(orders.ensure_index("n").await), ErrorKind::Forbidden);
        assert_eq!(kind(orders.import().start().await), ErrorKind::Forbidden);
        assert_eq!(kind(orders.restore_jobs().await), ErrorKind::Forbidden);
        let restored = orders.restore_collection(Moment::Cv(0)).await;
        assert_eq!(kind(restored), ErrorKind::Forbidden);
    }
}

/// A record leaves a scope while the scope's owner writes it: whatever is
/// acknowledged was judged as it was then.
#[tokio::test]
async fn a_record_that_leaves_meanwhile_is_not_written() {
    for store in stores(Settings::default()).await {
        let all = store.xronox.collection("orders").unwrap();
        let ours = all.scoped(json!({ "shop": "a" })).unwrap();
        let id = make(&all, "a", 0).await;
        let moving = async {
            for n in 0..20 {
                let shop = if n % 2 == 0 { "b" } else { "a" };
                all.patch(&id, json!({ "shop": shop })).await.unwrap();
            }
        };
        let writing = async {
            for n in 0..40 {
                match ours.patch(&id, json!({ "ours": n })).await {
                    Ok(_) => {}
                    Err(error) => assert_eq!(*error.kind(), ErrorKind::NotFound, "{error}"),
                }
            }
        };
        tokio::join!(moving, writing);
        let versions = all.history(&id).oldest_first().limit(1000).await.unwrap();
        let mut before: Option<serde_json::Value> = None;
        for version in versions {
            let document = all.get_version(&id, version.ov).await.unwrap().document();
            if let Some(before) = before.filter(|before| before["ours"] != document["ours"]) {
                assert_eq!(
                    (&before["shop"], &document["shop"]),
                    (&json!("a"), &json!("a"))
                );
            }
            before = Some(document);
        }
    }
}

//! Indexes: made on use, by configuration and by hand.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::json;
use tempfile::TempDir;
use xronox::{CollectionMap, Components, Direction, ErrorKind, IndexSetting, Settings, Xronox};
use xronox_sqlite::SqliteCatalog;
use xronox_store::{Catalog, SystemClock};

use crate::support::{Store, local_stores, stores};

#[tokio::test]
async fn an_index_is_made_when_it_is_first_used() {
    for store in local_stores(Settings::default()).await {
        let things = store.xronox.collection("things").unwrap();
        things
            .create_many((0..500).map(|n| json!({ "n": n, "m": n % 7 })))
            .await
            .unwrap();
        let found = things.query(json!({ "n": 77 })).await.unwrap();
        assert_eq!((found.items.len(), found.scanned), (1, 1));
        let first = things
            .query(json!({}))
            .sort("m", Direction::Descending)
            .limit(3)
            .await
            .unwrap();
        assert!(first.scanned <= 4, "{}", first.scanned);
        things
            .update(found.items[0].id(), json!({ "n": 78 }))
            .await
            .unwrap();
        let found = things.query(json!({ "n": 78 })).await.unwrap();
        assert_eq!((found.items.len(), found.scanned), (2, 2));
        // A little of much is found by the shorter way.
        let rare = things.query(json!({ "n": { "$lt": 3 }, "m": { "$gte": 0 } }));
        let rare = rare.sort("m", Direction::Ascending).limit(2).await.unwrap();
        assert_eq!(rare.items.len(), 2);
    }
}

/// Enough records that neither way is short at once.
#[tokio::test]
async fn of_two_ways_the_shorter_one_is_found() {
    for store in local_stores(Settings::default()).await {
        let things = store.xronox.collection("things").unwrap();
        // `n` runs against `m`, but for a few.
        let all = (0..3000).map(|i| json!({ "n": i, "m": (i * 1009) % 3000, "t": [i % 3] }));
        things.create_many(all).await.unwrap();
        let up = Direction::Ascending;
        for (filter, matches, most) in [
            // Few match: the constraint's way.
            (json!({ "n": { "$lt": 20 } }), 20, 100),
            // Most match: the way of the order.
            (json!({ "n": { "$gte": 50 } }), 2950, 150),
            // Half match. Those that keys alone rule out count as looked at.
            (
                json!({ "n": { "$gte": 1500 }, "m": { "$gte": 0 }, "t": { "$in": [0, 1] } }),
                1000,
                2500,
            ),
        ] {
            let first = things.query(&filter).sort("m", up).limit(10).await.unwrap();
            assert!(first.scanned <= most, "{filter}: {}", first.scanned);
            let mut seen = 0;
            for sort in [json!({ "m": 1 }), json!([["m", 1], ["n", -1]]), json!([])] {
                let stream = things
                    .query(&filter)
                    .sort_json(&sort)
                    .stream()
                    .await
                    .unwrap();
                let found: Vec<_> = futures::TryStreamExt::try_collect(stream).await.unwrap();
                seen += found.len();
                if sort != json!([]) {
                    let by_m: Vec<i64> = found
                        .iter()
                        .map(|record| record.json()["m"].as_i64().unwrap())
                        .collect();
                    assert!(by_m.is_sorted());
                }
            }
            assert_eq!(seen, 3 * matches, "{filter}");
        }
        let first = things
            .query(json!({ "n": { "$gte": 10 } }))
            .limit(5)
            .await
            .unwrap();
        assert!(first.scanned < 60, "{}", first.scanned);
    }
}

#[tokio::test]
async fn an_index_of_much_is_made_beside_the_queries() {
    for store in local_stores(Settings::default()).await {
        let things = store.xronox.collection("things").unwrap();
        let written = things
            .create_many((0..10_100).map(|n| json!({ "n": n })))
            .await
            .unwrap();
        assert!(written.iter().all(Result::is_ok));
        let filter = json!({ "n": 10_050 });
        let found = things.query(&filter).await.unwrap();
        assert_eq!(found.items.len(), 1);
        things.ensure_index("n").await.unwrap();
        let found = things.query(&filter).await.unwrap();
        assert_eq!((found.items.len(), found.scanned), (1, 1));
        let past = things
            .query(&filter)
            .as_of(xronox::Moment::Cv(10_099))
            .await
            .unwrap();
        assert_eq!((past.items.len(), past.scanned), (1, 1));
    }
}

#[tokio::test]
async fn no_more_than_32_indexes_are_made_on_use() {
    for store in stores(Settings::default()).await {
        let things = store.xronox.collection("things").unwrap();
        for n in 0..3 {
            things.create(json!({ "n": n })).await.unwrap();
        }
        for i in 0..40 {
            let name = format!("p{i}");
            let found = things.query(json!({ name: null, "n": 1 })).await.unwrap();
            assert_eq!(found.items.len(), 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn indexes_are_made_while_others_write_and_query() {
    for store in stores(Settings::default()).await {
        let things = store.xronox.collection("things").unwrap();
        let mut tasks = Vec::new();
        for task in 0..4 {
            let things = things.clone();
            tasks.push(tokio::spawn(async move {
                for n in 0..50 {
                    let document = json!({ "task": task, "n": n, "own": format!("{task}-{n}") });
                    things.create(document).await.unwrap();
                    match (task, n % 10) {
                        (0, 5) => things.ensure_index("n").await.unwrap(),
                        (1, 5) => things.ensure_unique(["own"]).await.unwrap(),
                        (2, 5) => {
                            let found =
                                things.query(json!({ "task": 2 })).limit(100).await.unwrap();
                            assert_eq!(found.items.len(), n + 1);
                        }
                        _ => {}
                    }
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        for n in 0..50 {
            assert_eq!(things.count(json!({ "n": n })).await.unwrap().count, 4);
        }
        let twice = things.create(json!({ "own": "3-7" })).await.unwrap_err();
        assert_eq!(twice.kind(), &ErrorKind::AlreadyExists);
    }
}

#[tokio::test]
async fn what_is_not_unique_cannot_be_made_so() {
    for store in stores(Settings::default()).await {
        let users = store.xronox.collection("users").unwrap();
        let same = json!({ "email": "secret@example.com", "n": 1 });
        users.create_with_id("ann", &same).await.unwrap();
        users.create_with_id("bob", &same).await.unwrap();
        users
            .create_with_id("eve", json!({ "n": [1, 2] }))
            .await
            .unwrap();
        let refused = users.ensure_unique(["email"]).await.unwrap_err();
        assert_eq!(refused.kind(), &ErrorKind::AlreadyExists);
        let text = refused.to_string();
        assert!(
            ["`email`", "ann", "bob"]
                .iter()
                .all(|part| text.contains(part)),
            "{text}"
        );
        assert!(!text.contains("secret"), "{text}");
        let refused = users.ensure_unique(["n"]).await.unwrap_err();
        assert_eq!(refused.kind(), &ErrorKind::Invalid);
        assert!(refused.to_string().contains("eve"), "{refused}");
        // Nothing is left of the attempts.
        users.create(&same).await.unwrap();
        users.delete("bob").await.unwrap();
        users
            .update("ann", json!({ "email": "ann@example.com" }))
            .await
            .unwrap();
        users.ensure_unique(["email"]).await.unwrap();
        users.ensure_unique(["email"]).await.unwrap();
        let refused = users.create(&same).await.unwrap_err();
        assert_eq!(refused.kind(), &ErrorKind::AlreadyExists);
        users.create(json!({ "email": null })).await.unwrap();
        users.create(json!({ "email": null })).await.unwrap();
        for nonsense in ["_system.ov", "_id.x"] {
            let refused = users.ensure_unique([nonsense]).await.unwrap_err();
            assert_eq!(refused.kind(), &ErrorKind::Invalid);
        }
        users.ensure_index("_id").await.unwrap();
        users.ensure_index("_system.updatedAt").await.unwrap();
        users
            .ensure_index("_system.creator.identifier")
            .await
            .unwrap();
        assert_eq!(
            users.ensure_index("a..b").await.unwrap_err().kind(),
            &ErrorKind::Invalid
        );
    }
}

fn configured() -> Settings {
    let map = CollectionMap {
        indexed_props: vec!["n".parse().unwrap(), "_id".parse().unwrap()],
        indexes: vec![IndexSetting {
            fields: BTreeMap::from([("email".parse().unwrap(), 1)]),
            unique: true,
        }],
        ..CollectionMap::default()
    };
    let mut settings = Settings {
        collection_maps: BTreeMap::from([("users".to_owned(), map)]),
        ..Settings::default()
    };
    settings.queries.unindexed = xronox::Unindexed::Error;
    settings
}

#[tokio::test]
async fn configured_indexes_are_there_from_the_first_use() {
    for store in local_stores(configured()).await {
        let users = store.xronox.collection("users").unwrap();
        users.create(json!({ "n": 1, "email": "a" })).await.unwrap();
        assert!(users.create(json!({ "n": 1, "email": "a" })).await.is_err());
        let found = users.query(json!({ "n": 1, "email": "a" })).await.unwrap();
        assert_eq!(found.items.len(), 1);
        assert!(users.query(json!({ "m": 1 })).await.is_err());
    }
}

#[tokio::test]
async fn indexes_that_come_late_are_filled_and_others_learn_of_them() {
    let folder = TempDir::new().unwrap();
    let open = |settings: Settings| {
        let file = folder.path().join("c.sqlite");
        async move {
            let catalog = SqliteCatalog::open(file, "c", Arc::new(SystemClock))
                .await
                .unwrap();
            let documents = Arc::new(catalog.documents());
            let catalog: Arc<dyn Catalog> = Arc::new(catalog);
            let parts = Components::new(Arc::clone(&catalog), documents, None);
            Store {
                xronox: Xronox::assemble(parts, settings).unwrap(),
                folder: None,
                on_servers: false,
                transactions: true,
            }
        }
    };
    let early = open(Settings::default()).await;
    let users = early.xronox.collection("users").unwrap();
    for n in 0..30 {
        users
            .create(json!({ "n": n, "email": n.to_string() }))
            .await
            .unwrap();
    }
    // Another process, with other settings.
    let late = open(configured()).await;
    let others = late.xronox.collection("users").unwrap();
    let found = others.query(json!({ "n": 7 })).await.unwrap();
    assert_eq!((found.items.len(), found.scanned), (1, 1));
    let taken = users.create(json!({ "email": "7" })).await.unwrap_err();
    assert_eq!(taken.kind(), &ErrorKind::AlreadyExists);
    users
        .create(json!({ "n": 7, "email": "new" }))
        .await
        .unwrap();
    assert_eq!(
        others.query(json!({ "n": 7 })).await.unwrap().items.len(),
        2
    );
    // One process removes an index under another's eyes.
    let catalog = SqliteCatalog::open(folder.path().join("c.sqlite"), "c", Arc::new(SystemClock));
    catalog
        .await
        .unwrap()
        .drop_index(users.name(), "n")
        .await
        .unwrap();
    assert_eq!(users.query(json!({ "n": 7 })).await.unwrap().items.len(), 2);
    assert_eq!(
        others.query(json!({ "n": 7 })).await.unwrap().items.len(),
        2
    );
}

//! Records brought in from elsewhere.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use serde_json::json;
use support::{catalog_file, stores};
use xronox::{Collection, Config, ErrorKind, ImportReport, Path, Settings, Xronox};

fn path(text: &str) -> Path {
    text.parse().unwrap()
}

async fn import(collection: &Collection, from: u64, to: u64, release: u64) -> ImportReport {
    let mut import = collection.import().key(path("key")).start().await.unwrap();
    for n in from..to {
        let document = json!({ "key": n, "release": release, "fill": "x".repeat(50) });
        import.add(document).await.unwrap();
    }
    import.finish().await.unwrap()
}

fn counts(report: ImportReport) -> (u64, u64, u64) {
    (report.created, report.updated, report.unchanged)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_makes_one_record() {
    for store in stores(Settings::default()).await {
        let things = store.xronox.collection("things").unwrap();
        assert_eq!(counts(import(&things, 0, 1000, 1).await), (1000, 0, 0));
        assert_eq!(counts(import(&things, 0, 1000, 1).await), (0, 0, 1000));
        assert_eq!(counts(import(&things, 500, 1200, 2).await), (200, 500, 0));
        assert_eq!(things.count(json!({})).await.unwrap().count, 1200);
        assert!(things.verify().await.unwrap().clean());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_of_repeated_keys_wins() {
    for store in stores(Settings::default()).await {
        let things = store.xronox.collection("things").unwrap();
        let mut import = things.import().key(path("key")).start().await.unwrap();
        let records: u64 = if store.on_servers { 700 } else { 3000 };
        for n in 0..records {
            import.add(json!({ "key": n % 7, "n": n })).await.unwrap();
        }
        assert_eq!(counts(import.finish().await.unwrap()), (7, records - 7, 0));
        let page = things
            .query(json!({ "n": { "$gte": records - 7 } }))
            .await
            .unwrap();
        assert_eq!(page.items.len(), 7);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_last_wins_though_indexes_come_in_between() {
    for store in stores(Settings::default()).await {
        let things = store.xronox.collection("things").unwrap();
        let mut import = things.import().key(path("key")).start().await.unwrap();
        let indexer = {
            let things = things.clone();
            tokio::spawn(async move {
                for n in 0..8 {
                    things.ensure_index(format!("f{n}").as_str()).await.unwrap();
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
            })
        };
        let records: u64 = if store.on_servers { 600 } else { 5000 };
        for n in 0..records {
            import.add(json!({ "key": n % 100, "n": n })).await.unwrap();
        }
        import.finish().await.unwrap();
        indexer.await.unwrap();
        let last = things
            .count(json!({ "n": { "$gte": records - 100 } }))
            .await
            .unwrap();
        assert_eq!(last.count, 100, "no older record came behind a newer one");
        let report = things.verify().await.unwrap();
        assert!(report.clean(), "{report:?}");
    }
}

/// Another process holds the file's lock while an index is declared and
/// chunks with one key queue up behind it: all of them are stale, and the
/// record they speak of was never made.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn stale_chunks_of_one_key_make_one_record() {
    let folder = tempfile::TempDir::new().unwrap();
    let store = Xronox::open(Config::dev(folder.path())).await.unwrap();
    let things = store.collection("things").unwrap();
    let mut import = things.import().key(path("key")).start().await.unwrap();
    let other = rusqlite::Connection::open(catalog_file(folder.path())).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let indexer = {
        let things = things.clone();
        tokio::spawn(async move { things.ensure_index("n").await })
    };
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    for n in 0..750 {
        import.add(json!({ "key": n % 50, "n": n })).await.unwrap();
    }
    other.execute_batch("ROLLBACK").unwrap();
    let report = import.finish().await.unwrap();
    assert_eq!(counts(report), (50, 700, 0));
    indexer.await.unwrap().unwrap();
    assert_eq!(
        things
            .count(json!({ "n": { "$gte": 700 } }))
            .await
            .unwrap()
            .count,
        50
    );
    assert!(things.verify().await.unwrap().clean());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn racing_imports_of_the_same_keys_make_one_record_each() {
    for store in stores(Settings::default()).await {
        let things = store.xronox.collection("things").unwrap();
        let records = if store.on_servers { 150 } else { 600 };
        let racing: Vec<_> = (0..4)
            .map(|release| {
                let things = things.clone();
                tokio::spawn(async move { import(&things, 0, records, release).await })
            })
            .collect();
        let mut created = 0;
        for racer in racing {
            created += racer.await.unwrap().created;
        }
        assert_eq!(created, records);
        assert_eq!(things.count(json!({})).await.unwrap().count, records);
        assert!(things.verify().await.unwrap().clean());
    }
}

#[tokio::test]
async fn ids_and_times_of_another_system_are_kept() {
    for store in stores(Settings::default()).await {
        let things = store.xronox.collection("things").unwrap();
        let start = || async {
            things
                .import()
                .id_from(path("_id"))
                .created_from(path("meta.createdAt"))
                .updated_from(path("meta.updatedAt"))
                .actor("job:move")
                .start()
                .await
                .unwrap()
        };
        let old = json!({
            "_id": "507f1f77bcf86cd799439011",
            "n": 1,
            "meta": { "createdAt": "2019-05-06T07:08:09Z", "by": "them" },
        });
        let mut import = start().await;
        import.add(old.clone()).await.unwrap();
        import.add(json!({ "_id": 42, "n": 2 })).await.unwrap();
        assert_eq!(counts(import.finish().await.unwrap()), (2, 0, 0));
        let record = things.get_latest("507f1f77bcf86cd799439011").await.unwrap();
        assert_eq!(
            record.document(),
            json!({ "n": 1, "meta": { "by": "them" } })
        );
        assert_eq!(
            record.json()["_system"]["imported"],
            json!({ "createdAt": "2019-05-06T07:08:09.000Z" })
        );
        things.get_latest("42").await.unwrap();
        let mut import = start().await;
        import.add(old).await.unwrap();
        assert_eq!(counts(import.finish().await.unwrap()), (0, 0, 1));
        for broken in [
            json!({ "n": 1 }),
            json!({ "_id": "a\n", "n": 1 }),
            json!({ "_id": "b", "meta": { "createdAt": "long ago" } }),
        ] {
            let mut import = start().await;
            import.add(json!({ "_id": "good" })).await.unwrap();
            let error = import.add(broken).await.unwrap_err();
            assert_eq!(error.kind(), &ErrorKind::Invalid);
            assert!(error.to_string().contains("record 2"), "{error}");
        }
    }
}

/// What an export gives can be brought in again: `_id` is a unique key that
/// every collection has.
#[tokio::test]
async fn ids_are_a_key() {
    for store in stores(Settings::default()).await {
        let things = store.xronox.collection("things").unwrap();
        things.create_with_id("a", json!({ "n": 1 })).await.unwrap();
        things.create_with_id("b", json!({ "n": 2 })).await.unwrap();
        let exported = [things.get_latest("a"), things.get_latest("b")];
        let mut documents = Vec::new();
        for read in exported {
            documents.push(read.await.unwrap().json());
        }
        documents[1]["n"] = json!(3);
        documents.push(json!({ "_id": "c", "n": 4 }));
        let start = async || things.import().key(path("_id")).start().await.unwrap();
        for expected in [(1, 1, 1), (0, 0, 3)] {
            let mut import = start().await;
            for document in &documents {
                import.add(document.clone()).await.unwrap();
            }
            assert_eq!(counts(import.finish().await.unwrap()), expected);
        }
        assert_eq!(things.count(json!({})).await.unwrap().count, 3);
        let b = things.get_latest("b").await.unwrap();
        assert_eq!(b.document(), json!({ "n": 3 }));
        let error = start().await.add(json!({ "n": 5 })).await.unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::Invalid, "{error}");
        let two = things.import().key(path("_id")).id_from(path("n"));
        let error = two.start().await.unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::Invalid, "{error}");
    }
}

#[tokio::test]
async fn a_record_that_is_refused_leaves_the_others_alone() {
    for store in stores(Settings::default()).await {
        let things = store.xronox.collection("things").unwrap();
        let mut import = things.import().key(path("key")).start().await.unwrap();
        for n in 0..5 {
            let key = if n == 2 { json!([1, 2]) } else { json!(n) };
            import.add(json!({ "key": key })).await.unwrap();
        }
        let error = import.finish().await.unwrap_err();
        assert_eq!(
            (error.kind(), error.position()),
            (&ErrorKind::Invalid, Some(3)),
            "{error}"
        );
        assert_eq!(counts(import.report()), (4, 0, 0));
        assert_eq!(things.count(json!({})).await.unwrap().count, 4);
    }
}

#[tokio::test]
async fn a_key_that_is_shared_already_is_refused() {
    for store in stores(Settings::default()).await {
        let things = store.xronox.collection("things").unwrap();
        things
            .create_with_id("a", json!({ "key": 1 }))
            .await
            .unwrap();
        things
            .create_with_id("b", json!({ "key": 1 }))
            .await
            .unwrap();
        let error = things.import().key(path("key")).start().await.unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::AlreadyExists, "{error}");
        // And the collection takes what it took before.
        things.create(json!({ "key": 1 })).await.unwrap();
    }
}

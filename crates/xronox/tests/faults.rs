//! A payload store that refuses, stalls, loses answers and damages bytes: what
//! was acknowledged is there, and every error is a clean one.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use object_store::{ObjectStore, memory::InMemory};
use serde_json::json;
use support::Dice;
use xronox::{Components, Config, ErrorKind, Moment, Settings, Xronox};
use xronox_model::BucketRole;
use xronox_sqlite::SqliteCatalog;
use xronox_store::{
    Gate, GateLimits, Space, SystemClock,
    fault::{Call, Fault, FaultyStore},
};

async fn faulty(folder: &std::path::Path, seed: u64) -> (Xronox, Arc<FaultyStore>) {
    let store = FaultyStore::new(Arc::new(InMemory::new()), seed);
    let bucket: Arc<dyn ObjectStore> = store.clone();
    let buckets = BTreeMap::from([
        (BucketRole::Records, bucket.clone()),
        (BucketRole::Versions, bucket.clone()),
        (BucketRole::Content, bucket),
    ]);
    let limits = GateLimits {
        max_retries: 1,
        ..GateLimits::default()
    };
    let space = Space::new("faulty", buckets, Gate::seeded(limits, seed));
    let catalog = SqliteCatalog::open(folder.join("f.sqlite"), "f", Arc::new(SystemClock))
        .await
        .unwrap();
    let documents = Arc::new(catalog.documents());
    let mut settings = Settings::default();
    settings.payloads.inline_max_bytes = Some(0);
    settings.payloads.cache_bytes = 0;
    settings.hard_delete_enabled = true;
    let parts = Components::new(Arc::new(catalog), documents, Some(space));
    (Xronox::assemble(parts, settings).unwrap(), store)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_writes_survive_a_failing_store() {
    for seed in 0..4 {
        let folder = tempfile::TempDir::new().unwrap();
        let (xronox, store) = faulty(folder.path(), seed).await;
        let orders = xronox.collection("orders").unwrap();
        store.set_chance(Fault::Refuse, 0.2);
        store.set_chance(Fault::Lose, 0.2);
        store.set_stall(Duration::from_millis(3));
        store.set_chance(Fault::Stall, 0.1);
        let mut dice = Dice::new(seed);
        let mut acknowledged: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        let mut failed = 0;
        for n in 0..300 {
            let record = dice.below(10);
            let written = match acknowledged.get(&record) {
                None => {
                    orders
                        .create_with_id(record.to_string(), json!({ "n": n }))
                        .await
                }
                Some(_) => orders.update(record.to_string(), json!({ "n": n })).await,
            };
            match written {
                Ok(written) => {
                    acknowledged.insert(record, (written.ov, n));
                }
                Err(error) => {
                    failed += 1;
                    assert_eq!(error.kind(), &ErrorKind::Unavailable, "{error}");
                }
            }
        }
        assert!(failed > 0, "the store never failed");
        store.calm();
        for (record, (ov, n)) in acknowledged {
            let found = orders.get_latest(record.to_string()).await.unwrap();
            assert_eq!((found.ov(), found.document()), (ov, json!({ "n": n })));
        }
        let report = orders.verify().await.unwrap();
        assert!(report.clean(), "{report:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_bytes_are_never_given() {
    let folder = tempfile::TempDir::new().unwrap();
    let (xronox, store) = faulty(folder.path(), 1).await;
    let orders = xronox.collection("orders").unwrap();
    let made = orders
        .create(json!({ "text": "x".repeat(2000) }))
        .await
        .unwrap();
    store.set_chance(Fault::Damage, 1.0);
    let error = orders.get_latest(&made.id).await.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::Corrupt, "{error}");
    assert!(!error.to_string().contains("xxx"), "no content in errors");
    store.calm();
    orders.get_latest(&made.id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_puts_its_body_once() {
    let folder = tempfile::TempDir::new().unwrap();
    let (xronox, store) = faulty(folder.path(), 1).await;
    let orders = xronox.collection("orders").unwrap();
    let made = orders.create(json!({ "n": 1 })).await.unwrap();
    orders.update(&made.id, json!({ "n": 2 })).await.unwrap();
    assert_eq!((store.calls(Call::Put), store.calls(Call::Get)), (2, 0));
    orders.delete(&made.id).await.unwrap();
    assert_eq!(store.calls(Call::Put), 2, "a delete copies no object");
    orders.restore_object(&made.id).to_ov(0).await.unwrap();
    assert_eq!(store.calls(Call::Put), 2, "nor does a restore");
}

/// The file refuses rows of more than 5,000 bytes, as a full disk would: with
/// the record that is too large, whatever shares its commit fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bulk_write_that_fails_halfway_says_what_is_written() {
    const RECORDS: usize = 3_000;
    for large in [0, RECORDS / 2, RECORDS - 1] {
        let folder = tempfile::TempDir::new().unwrap();
        let xronox = Xronox::open(Config::dev(folder.path())).await.unwrap();
        let orders = xronox.collection("orders").unwrap();
        orders.create(json!({})).await.unwrap();
        let file = rusqlite::Connection::open(support::catalog_file(folder.path())).unwrap();
        file.execute_batch(
            "CREATE TRIGGER full BEFORE INSERT ON c_orders_ver WHEN NEW.size > 5000
             BEGIN SELECT RAISE(ABORT, 'no room'); END;",
        )
        .unwrap();
        let document = |n| {
            let bytes = if n == large { 5_000 } else { 10 };
            json!({ "n": n, "fill": "x".repeat(bytes) })
        };
        let outcomes = orders.create_many((0..RECORDS).map(document));
        let outcomes = outcomes.await.unwrap();
        assert_eq!(outcomes.len(), RECORDS);
        let mut written = 0;
        for (n, outcome) in outcomes.into_iter().enumerate() {
            match outcome {
                Ok(made) => {
                    written += 1;
                    let found = orders.get_latest(&made.id).await.unwrap();
                    assert_eq!(found.document(), document(n));
                }
                Err(error) => assert_eq!(error.kind(), &ErrorKind::Unavailable, "{error}"),
            }
        }
        // Of the twelve chunks at least one has other company.
        assert!((250..RECORDS).contains(&written), "{written} written");
        // Nothing else is: what failed can be tried again.
        let count = orders.count(json!({})).await.unwrap().count;
        assert_eq!(count, written as u64 + 1);
    }
}

/// The row is read, then the record is purged and its body deleted, then the
/// body is asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_a_purge_overtakes_finds_nothing() {
    let folder = tempfile::TempDir::new().unwrap();
    let (xronox, store) = faulty(folder.path(), 1).await;
    let orders = xronox.collection("orders").unwrap();
    store.set_stall(Duration::from_millis(500));
    for read in [
        "latest", "version", "as of", "many", "diff", "blame", "patch",
    ] {
        let made = orders.create(json!({ "n": 1 })).await.unwrap();
        orders.update(&made.id, json!({ "n": 2 })).await.unwrap();
        store.reset_counts();
        store.set_next(Fault::Stall, 1);
        let reader = {
            let (orders, id) = (orders.clone(), made.id.clone());
            tokio::spawn(async move {
                match read {
                    "latest" => orders.get_latest(&id).await.map(drop),
                    "version" => orders.get_version(&id, 0).await.map(drop),
                    "as of" => orders.get_as_of(&id, Moment::Cv(made.cv)).await.map(drop),
                    "diff" => orders.diff(&id, 0, 1).await.map(drop),
                    "blame" => orders.blame(&id).await.map(drop),
                    "patch" => orders.patch(&id, json!({ "m": 1 })).await.map(drop),
                    _ => {
                        let found = orders.get_many([&id]).await;
                        assert!(found.unwrap()[0].is_none());
                        orders.get_latest(&id).await.map(drop)
                    }
                }
            })
        };
        while store.calls(Call::Get) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        orders.delete(&made.id).hard().await.unwrap();
        assert!(!reader.is_finished(), "{read}: the body was there too long");
        let error = reader.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::NotFound, "{read}: {error}");
        store.calm();
    }
}

//! Superseded bodies go to the bucket of versions, and nothing is lost by it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{collections::BTreeMap, path::Path, time::Duration};

use serde_json::{Value, json};
use support::{bucket, container, database};
use tempfile::TempDir;
use xronox::{Collection, Config, ErrorKind, RecordId, Xronox};
use xronox_services::env;

/// Stores with a bucket, or a folder in one, for versions.
fn configs(folder: &Path) -> Vec<Config> {
    let mut configs = vec![Config::memory(), Config::dev(folder)];
    for (uri, mut space) in [
        (env::mongo_uri(), bucket()),
        (env::mongo_standalone_uri(), container()),
    ] {
        space.buckets.versions = Some("xronox-test-versions".to_owned());
        let config = Config::at(&uri.unwrap()).unwrap().database(database());
        configs.push(config.with_payloads(space).create_buckets());
    }
    for config in &mut configs {
        config.settings.payloads.inline_max_bytes = Some(0);
        config.settings.hard_delete_enabled = true;
    }
    configs
}

async fn everything(orders: &Collection) -> BTreeMap<(RecordId, u64), Option<Value>> {
    let mut all = BTreeMap::new();
    for version in orders.changes(None).limit(1000).await.unwrap() {
        let record = orders.get_version(&version.id, version.ov).await;
        let document = match record {
            Ok(record) => Some(record.document()),
            Err(error) => {
                assert_eq!(*error.kind(), ErrorKind::NotFound, "{error}");
                None
            }
        };
        all.insert((version.id, version.ov), document);
    }
    all
}

#[tokio::test]
async fn every_version_is_found_wherever_it_is() {
    let folder = TempDir::new().unwrap();
    for config in configs(folder.path()) {
        let xronox = Xronox::open(config.clone()).await.unwrap();
        let database = xronox.home().unwrap();
        let orders = database.collection("orders").unwrap();
        for n in 0..6 {
            let id = format!("r{n}");
            orders
                .create_with_id(&id, json!({ "n": n, "v": 0 }))
                .await
                .unwrap();
            for v in 1..=n {
                orders.update(&id, json!({ "n": n, "v": v })).await.unwrap();
            }
        }
        // A delete has the body of the version before it; so does a restore.
        orders.delete("r1").await.unwrap();
        orders.restore_object("r1").to_ov(1).await.unwrap();
        orders
            .update("r1", json!({ "n": 1, "v": 9 }))
            .await
            .unwrap();
        orders.delete("r2").await.unwrap();
        orders.restore_object("r3").to_ov(0).await.unwrap();
        orders.delete("r4").hard().await.unwrap();
        let before = everything(&orders).await;

        let report = database.move_versions().await.unwrap();
        assert_eq!(report.damaged, 0);
        // r1: versions 0, and 1 with its delete and restore; r2: 0 and 1; r3:
        // 0 to 3; r5: 0 to 4.
        assert_eq!(report.moved, 4 + 2 + 4 + 5, "{report:?}");
        assert_eq!(everything(&orders).await, before);
        assert!(database.verify().await.unwrap().clean());
        let again = database.move_versions().await.unwrap();
        assert_eq!((again.commits, again.moved), (0, 0));

        // What was left behind is garbage, and what was not is none.
        let gc = || database.gc().grace(Duration::ZERO);
        gc().await.unwrap();
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let collected = gc().await.unwrap();
        // But for r3's first one, which its newest version has.
        assert_eq!(collected.deleted, 2 + 2 + 3 + 5, "{collected:?}");
        xronox.close().await.unwrap();

        // In another process too, without anything in a cache.
        if config.db_connections["main"].mongo_uri.reveal() == "memory:" {
            continue;
        }
        let xronox = Xronox::open(config).await.unwrap();
        let database = xronox.home().unwrap();
        let orders = database.collection("orders").unwrap();
        assert_eq!(everything(&orders).await, before);
        assert!(database.verify().await.unwrap().clean());
        // It goes on with what is superseded since.
        orders.update("r0", json!({ "v": 1 })).await.unwrap();
        let report = database.move_versions().await.unwrap();
        assert_eq!((report.commits, report.moved), (1, 1));
        xronox.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_damaged_body_stays_where_it_is() {
    let folder = TempDir::new().unwrap();
    let config = configs(folder.path()).swap_remove(1);
    let xronox = Xronox::open(config).await.unwrap();
    let database = xronox.home().unwrap();
    let orders = database.collection("orders").unwrap();
    orders.create_with_id("a", json!({ "v": 0 })).await.unwrap();
    let mut files = Vec::new();
    walk(&folder.path().join("objects"), &mut files);
    let [file] = &files[..] else {
        panic!("{files:?}");
    };
    orders.update("a", json!({ "v": 1 })).await.unwrap();
    orders.update("a", json!({ "v": 2 })).await.unwrap();
    std::fs::write(file, b"{\"v\":7}").unwrap();
    let report = database.move_versions().await.unwrap();
    assert_eq!((report.moved, report.damaged), (1, 1));
    assert!(file.exists());
    assert_eq!(orders.get_version("a", 1).await.unwrap().document()["v"], 1);
}

fn walk(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, files);
        } else {
            files.push(path);
        }
    }
}

#[tokio::test]
async fn in_one_bucket_versions_have_a_folder() {
    let config = Config::at(&env::mongo_uri().unwrap()).unwrap();
    let config = config.database(database()).with_payloads(bucket());
    let mut config = config.create_buckets();
    config.settings.payloads.inline_max_bytes = Some(0);
    let xronox = Xronox::open(config).await.unwrap();
    let database = xronox.home().unwrap();
    let orders = database.collection("orders").unwrap();
    orders.create_with_id("a", json!({ "v": 0 })).await.unwrap();
    orders.update("a", json!({ "v": 1 })).await.unwrap();
    assert_eq!(database.move_versions().await.unwrap().moved, 1);
    assert_eq!(orders.get_version("a", 0).await.unwrap().document()["v"], 0);
}

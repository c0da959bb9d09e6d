//! Bad input and bad surroundings: a clear error in bounded time, and nothing
//! half-written.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{path::Path, process::Command};

use serde_json::{Value, json};
use support::stores;
use tempfile::TempDir;
use xronox::{Collection, Config, ErrorKind, Settings, Xronox};

async fn nothing_written(collection: &Collection) {
    assert_eq!(collection.changes(None).await.unwrap(), []);
}

#[tokio::test]
async fn documents_that_cannot_be_kept_are_refused() {
    for store in stores(Settings::default()).await {
        let orders = store.xronox.collection("orders").unwrap();
        let mut deep = json!(1);
        for _ in 0..500 {
            deep = Value::Array(vec![deep]);
        }
        for (document, place) in [
            (json!([1]), "object"),
            (json!("text"), "object"),
            (json!(null), "object"),
            (json!({ "a": { "b\0": 1 } }), "NUL"),
            (json!({ "a": { "b": deep } }), "deep"),
            (json!({ "a": { "$date": "yesterday" } }), "`a.$date`"),
        ] {
            let error = orders.create(document).await.unwrap_err();
            assert_eq!(error.kind(), &ErrorKind::Invalid, "{error}");
            let text = error.to_string();
            assert!(text.contains(place) || text.contains("nest"), "{text}");
        }
        for (text, place) in [
            (r#"{"a":{"n":123456789012345678901234567890}}"#, "`a.n`"),
            (r#"{"n":1e999}"#, "`n`"),
            (r#"{"a":1,"b":{"c":1,"c":2}}"#, "`b.c`"),
            ("{\"a\":1,\n\"b\":}", "line 2"),
        ] {
            let error = xronox::json::parse(text.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(place), "{error}");
        }
        nothing_written(&orders).await;
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let mut settings = Settings::default();
    settings.payloads.max_bytes = 10_000;
    for store in stores(settings).await {
        let orders = store.xronox.collection("orders").unwrap();
        let error = orders
            .create(json!({ "t": "x".repeat(10_001) }))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::Invalid);
        assert!(error.to_string().contains("payloads.maxBytes"), "{error}");
        nothing_written(&orders).await;
    }
}

#[tokio::test]
async fn impossible_names_are_refused() {
    for store in stores(Settings::default()).await {
        let long = "x".repeat(10_000);
        for name in ["", "a.b", "a/b", "$a", "a\0b", "..", "a b", &long] {
            let error = store.xronox.collection(name).unwrap_err();
            assert_eq!(error.kind(), &ErrorKind::Invalid, "{name:?}");
            assert!(error.to_string().len() < 300, "{error}");
        }
        let orders = store.xronox.collection("orders").unwrap();
        for id in ["", "a\0", "a\n", &long] {
            for error in [
                orders.create_with_id(id, json!({})).await.unwrap_err(),
                orders.get_latest(id).await.unwrap_err(),
                orders.delete(id).await.unwrap_err(),
            ] {
                assert_eq!(error.kind(), &ErrorKind::Invalid, "{error}");
                assert!(error.to_string().contains("`_id`"), "{error}");
            }
        }
        // Odd, but legal: none of these escapes its place or meets another.
        let odd = [
            "../x",
            "a/b",
            "$set",
            "A",
            "a",
            "é",
            "e\u{301}",
            "\"; DROP TABLE x",
            "%2e%2e",
        ];
        for id in odd {
            orders
                .create_with_id(id, json!({ "me": id }))
                .await
                .unwrap();
        }
        for id in odd {
            let found = orders.get_latest(id).await.unwrap();
            assert_eq!(found.document(), json!({ "me": id }));
        }
    }
}

#[tokio::test]
async fn filters_that_mean_nothing_are_refused() {
    for store in stores(Settings::default()).await {
        let orders = store.xronox.collection("orders").unwrap();
        orders.create(json!({ "a": 1 })).await.unwrap();
        for filter in [
            json!({ "a": { "$foo": 1 } }),
            json!({ "a": { "$regex": "(?<=x)y" } }),
            json!({ "a": { "$in": 5 } }),
            json!([1, 2]),
            json!({ "$where": "1" }),
        ] {
            let error = orders.query(filter.clone()).await.unwrap_err();
            assert_eq!(error.kind(), &ErrorKind::Invalid, "{filter}: {error}");
        }
        let text = "a".repeat(100_000);
        orders
            .create(json!({ "t": format!("{text}!") }))
            .await
            .unwrap();
        let began = std::time::Instant::now();
        let page = orders
            .query(json!({ "t": { "$regex": "^(a+)+$" } }))
            .await
            .unwrap();
        assert_eq!(page.items.len(), 0);
        assert!(began.elapsed() < std::time::Duration::from_secs(20));
    }
}

#[tokio::test]
async fn patches_that_cannot_be_made_change_nothing() {
    for store in stores(Settings::default()).await {
        let orders = store.xronox.collection("orders").unwrap();
        orders
            .create_with_id("a", json!({ "n": 1, "list": [1] }))
            .await
            .unwrap();
        for patch in [
            json!({ "n.x": 1 }),
            json!({ "list.7": 1 }),
            json!({ "a": 1, "a.b": 2 }),
            json!({ "$inc": { "n": 1 } }),
            json!({ "a..b": 1 }),
            json!([1]),
        ] {
            let error = orders.patch("a", patch.clone()).await.unwrap_err();
            assert_eq!(error.kind(), &ErrorKind::Invalid, "{patch}: {error}");
        }
        assert_eq!(orders.get_latest("a").await.unwrap().ov(), 0);
    }
}

#[tokio::test]
async fn bad_actors_and_reasons_are_refused() {
    for store in stores(Settings::default()).await {
        let orders = store.xronox.collection("orders").unwrap();
        let error = orders.create(json!({})).actor("a\nb").await.unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::Invalid, "{error}");
        let error = orders
            .create(json!({}))
            .reason("x".repeat(5000))
            .await
            .unwrap_err();
        assert!(error.to_string().contains("`reason`"), "{error}");
        let error = orders
            .create(json!({}))
            .idempotency_key("")
            .await
            .unwrap_err();
        assert!(error.to_string().contains("idempotencyKey"), "{error}");
        nothing_written(&orders).await;
    }
}

async fn made(folder: &Path) {
    let xronox = Xronox::open(Config::dev(folder)).await.unwrap();
    let orders = xronox.collection("orders").unwrap();
    orders.create_with_id("a", json!({ "n": 1 })).await.unwrap();
    xronox.close().await.unwrap();
}

#[tokio::test]
async fn a_damaged_file_is_refused() {
    let folder = TempDir::new().unwrap();
    made(folder.path()).await;
    std::fs::write(
        support::catalog_file(folder.path()),
        "this is not a database ".repeat(1000),
    )
    .unwrap();
    let error = Xronox::open(Config::dev(folder.path())).await.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::Corrupt, "{error}");
}

#[tokio::test]
async fn a_foreign_or_newer_file_is_refused() {
    let folder = TempDir::new().unwrap();
    made(folder.path()).await;
    let file = support::catalog_file(folder.path());
    let db = rusqlite::Connection::open(&file).unwrap();
    db.execute_batch("PRAGMA user_version = 99").unwrap();
    drop(db);
    let error = Xronox::open(Config::dev(folder.path())).await.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::Unsupported, "{error}");
    assert!(error.to_string().contains("format 99"), "{error}");
    let db = rusqlite::Connection::open(&file).unwrap();
    db.execute_batch("PRAGMA user_version = 1; PRAGMA application_id = 7")
        .unwrap();
    drop(db);
    let error = Xronox::open(Config::dev(folder.path())).await.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::Corrupt, "{error}");
}

/// Runs a test of this program where it may mount: in name spaces of its own.
/// Gives whether this is there.
fn may_mount(test: &str) -> bool {
    const INSIDE: &str = "XRONOX_TEST_MAY_MOUNT";
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let ran = Command::new("unshare")
        .args(["--map-root-user", "--mount"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "yes")
        .status();
    assert!(
        ran.is_ok_and(|status| status.success()),
        "`{test}` failed where it may mount, or this system lets nobody `unshare --map-root-user --mount`"
    );
    false
}

/// A small file system of its own; gone with its name space.
struct Mount(TempDir);

impl Mount {
    fn new(size: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(folder.path())
            .status();
        assert!(
            done.is_ok_and(|status| status.success()),
            "no tmpfs could be mounted"
        );
        Self(folder)
    }

    fn read_only(&self) {
        let status = Command::new("mount")
            .args(["-o", "remount,bind,ro"])
            .arg(self.0.path())
            .status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_loses_nothing() {
    if !may_mount("a_full_disk_loses_nothing") {
        return;
    }
    let mount = Mount::new("3m");
    let xronox = Xronox::open(Config::dev(mount.0.path())).await.unwrap();
    let orders = xronox.collection("orders").unwrap();
    let mut kept: Vec<(xronox::RecordId, Value)> = Vec::new();
    let mut refused = 0;
    for n in 0..400 {
        let document = json!({ "n": n, "fill": "x".repeat(20_000) });
        match orders.create(document.clone()).await {
            Ok(written) => kept.push((written.id, document)),
            Err(error) => {
                assert_eq!(error.kind(), &ErrorKind::Unavailable, "{error}");
                refused += 1;
                if refused > 5 {
                    break;
                }
            }
        }
    }
    assert!(refused > 0 && !kept.is_empty());
    for (id, document) in &kept {
        assert_eq!(&orders.get_latest(id).await.unwrap().document(), document);
    }
    let report = orders.verify().await.unwrap();
    assert!(report.clean(), "{report:?}");
}

#[tokio::test]
async fn a_read_only_disk_says_so() {
    if !may_mount("a_read_only_disk_says_so") {
        return;
    }
    let mount = Mount::new("20m");
    made(mount.0.path()).await;
    mount.read_only();
    let opened = Xronox::open(Config::dev(mount.0.path())).await;
    let error = match opened {
        Err(error) => error,
        Ok(xronox) => {
            let orders = xronox.collection("orders").unwrap();
            orders.create(json!({})).await.unwrap_err()
        }
    };
    assert_eq!(error.kind(), &ErrorKind::Unavailable, "{error}");
}

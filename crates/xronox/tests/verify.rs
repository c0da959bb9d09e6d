//! Checking what is stored: nothing is reported of what is sound, and every
//! damage that is done to it is.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use rusqlite::Connection;
use serde_json::json;
use support::{Dice, stores};
use tempfile::TempDir;
use xronox::{Collection, CollectionMap, Config, Rule, Settings, VerifyReport, Xronox};

fn settings(inline_max_bytes: u64) -> Settings {
    let mut settings = Settings {
        hard_delete_enabled: true,
        ..Settings::default()
    };
    settings.payloads.inline_max_bytes = Some(inline_max_bytes);
    settings
}

async fn open(folder: &TempDir, inline_max_bytes: u64) -> Xronox {
    let mut config = Config::dev(folder.path());
    config.settings = settings(inline_max_bytes);
    Xronox::open(config).await.unwrap()
}

/// Three records, the first of which has four versions: `cv` 0, 3, 4 and 6.
async fn three(xronox: &Xronox) -> Collection {
    let orders = xronox.collection("orders").unwrap();
    orders.ensure_index("n").await.unwrap();
    orders.ensure_unique(["mail"]).await.unwrap();
    let mut ids = Vec::new();
    for n in 0..3 {
        let document = json!({ "n": n, "mail": format!("m{n}"), "pad": "x".repeat(50) });
        ids.push(orders.create(document).await.unwrap().id);
    }
    for (id, n) in [(0, 10), (0, 20), (1, 11), (0, 30)] {
        let patch = orders.patch(&ids[id], json!({ "n": n })).reason("because");
        patch.await.unwrap();
    }
    orders
}

fn sqlite(folder: &TempDir) -> Connection {
    let files = fs::read_dir(folder.path().join("catalog")).unwrap();
    let file = files.map(|file| file.unwrap().path()).find(|path| {
        path.extension()
            .is_some_and(|extension| extension == "sqlite")
    });
    Connection::open(file.unwrap()).unwrap()
}

fn objects(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(objects(&path));
        } else if path.ends_with("item.json") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn rules(report: &VerifyReport) -> BTreeSet<String> {
    let rules = report
        .damages
        .iter()
        .map(|damage| format!("{:?}", damage.rule));
    rules.collect()
}

fn found_at(report: &VerifyReport, rule: Rule) -> Vec<Option<u64>> {
    let found = report.damages.iter().filter(|damage| damage.rule == rule);
    found.map(|damage| damage.cv).collect()
}

#[tokio::test]
async fn what_is_sound_is_clean() {
    for inline in [65_536, 0] {
        for store in stores(settings(inline)).await {
            let orders = three(&store.xronox).await;
            let notes = store.xronox.collection("notes").unwrap();
            let note = notes.create(json!({ "a": 1 })).await.unwrap();
            notes.delete(&note.id).await.unwrap();
            notes.restore_object(&note.id).to_ov(0).await.unwrap();
            notes.delete(&note.id).hard().await.unwrap();
            notes
                .create_with_id(&note.id, json!({ "a": 2 }))
                .await
                .unwrap();
            notes.delete(&note.id).hard().await.unwrap();

            let mut told = Vec::new();
            let verify = orders.verify();
            let one = verify
                .on_progress(|progress| told.push(progress))
                .await
                .unwrap();
            assert!(one.clean(), "{:#?}", one.damages);
            assert_eq!((one.rows, one.records, one.bodies), (7, 3, 7));
            assert!(one.bytes > 7 * 50);
            assert_eq!((told[0].done, told[0].total), (7, Some(7)));
            let all = store.home().verify().await.unwrap();
            assert!(all.clean(), "{:#?}", all.damages);
            assert_eq!((all.rows, all.records), (9, 3));
            let blind = store.home().verify().bodies(false).await.unwrap();
            assert_eq!((blind.rows, blind.bodies, blind.bytes), (9, 0, 0));
            assert_eq!(serde_json::to_value(&blind).unwrap()["damageCount"], 0);
        }
    }
}

#[tokio::test]
async fn what_is_removed_lawfully_is_no_damage() {
    let mut only_newest = settings(65_536);
    only_newest.versioning.enabled = false;
    for (i, settings) in [settings(65_536), only_newest].into_iter().enumerate() {
        for store in stores(settings).await {
            let mut dice = Dice::new(i as u64 + 1);
            let orders = store.xronox.collection("orders").unwrap();
            for n in 0..200 {
                let id = format!("r{}", dice.below(8));
                // What cannot be done is not done.
                let _ = match dice.below(8) {
                    0..=2 => orders.create_with_id(&id, json!({ "n": n })).await,
                    3..=5 => orders.update(&id, json!({ "n": n })).await,
                    6 => orders.delete(&id).await,
                    _ => orders.delete(&id).hard().await,
                };
            }
            let report = orders.verify().await.unwrap();
            assert!(report.clean(), "{:#?}", report.damages);
        }
    }
    // Versioning switched off over what is there.
    let folder = TempDir::new().unwrap();
    let xronox = open(&folder, 65_536).await;
    three(&xronox).await;
    xronox.close().await.unwrap();
    let mut config = Config::dev(folder.path());
    let map = CollectionMap {
        versioning: Some(false),
        ..CollectionMap::default()
    };
    config
        .settings
        .collection_maps
        .insert("orders".to_owned(), map);
    let xronox = Xronox::open(config).await.unwrap();
    let orders = xronox.collection("orders").unwrap();
    let id = orders.changes(None).await.unwrap()[0].id.clone();
    for n in 0..3 {
        orders.patch(&id, json!({ "n": n })).await.unwrap();
    }
    let report = orders.verify().await.unwrap();
    assert!(report.clean(), "{:#?}", report.damages);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_do_not_look_like_damage() {
    for versioning in [true, false] {
        let mut settings = settings(100);
        settings.versioning.enabled = versioning;
        for store in stores(settings).await {
            let orders = store.xronox.collection("orders").unwrap();
            orders.ensure_index("n").await.unwrap();
            let stop = AtomicBool::new(false);
            let write = async |seed| {
                let mut dice = Dice::new(seed);
                while !stop.load(Ordering::Relaxed) {
                    let id = format!("r{}", dice.below(5));
                    let document = json!({ "n": dice.below(9), "pad": "x".repeat(120) });
                    let _ = match dice.below(8) {
                        0 | 1 => orders.create_with_id(&id, document).await,
                        2..=5 => orders.update(&id, document).await,
                        6 => orders.delete(&id).await,
                        _ => orders.delete(&id).hard().await,
                    };
                    tokio::task::yield_now().await;
                }
            };
            let check = async {
                for _ in 0..30 {
                    let report = orders.verify().await.unwrap();
                    assert!(
                        report.clean(),
                        "versioning {versioning}: {:#?}",
                        report.damages
                    );
                    tokio::time::sleep(std::time::Duration::from_millis(3)).await;
                }
                stop.store(true, Ordering::Relaxed);
            };
            futures::join!(check, write(1), write(2), write(3));
        }
    }
}

/// Does damage to a file and checks what is reported.
async fn damaged(inline: u64, sql: &str) -> VerifyReport {
    let folder = TempDir::new().unwrap();
    let xronox = open(&folder, inline).await;
    three(&xronox).await;
    xronox.close().await.unwrap();
    let changed = sqlite(&folder).execute(sql, []).unwrap();
    assert!(changed > 0, "{sql}");
    let xronox = open(&folder, inline).await;
    let orders = xronox.collection("orders").unwrap();
    let report = orders.verify().await.unwrap();
    assert!(!report.clean(), "{sql}");
    assert_eq!(report.damage_count, report.damages.len() as u64);
    report
}

#[tokio::test]
async fn every_damage_is_reported() {
    // The damage, the rule it breaks and where, and all rules it breaks.
    let cases: [(&str, Rule, Option<u64>, &[&str]); 17] = [
        (
            "UPDATE c_orders_ver SET to_cv = 99 WHERE cv = 6",
            Rule::HeadNotNewest,
            Some(6),
            &["HeadNotNewest", "Structure"],
        ),
        (
            "UPDATE c_orders_ver SET to_cv = NULL WHERE cv = 3",
            Rule::HeadNotNewest,
            Some(3),
            &["HeadNotNewest", "Interval", "Structure"],
        ),
        (
            "DELETE FROM c_orders_ver WHERE cv = 4",
            Rule::OvGap,
            Some(6),
            &["OvGap", "Structure"],
        ),
        (
            "DELETE FROM c_orders_ver WHERE cv = 0",
            Rule::OvGap,
            Some(3),
            &["OvGap", "Structure"],
        ),
        // The newest version of a record.
        (
            "DELETE FROM c_orders_ver WHERE cv = 5",
            Rule::HeadNotNewest,
            Some(1),
            &["HeadNotNewest", "CvGap", "Structure"],
        ),
        // A whole record.
        (
            "DELETE FROM c_orders_ver WHERE cv = 2",
            Rule::CvGap,
            Some(2),
            &["CvGap", "Structure"],
        ),
        (
            "UPDATE c_orders_ver SET to_cv = 5 WHERE cv = 3",
            Rule::Interval,
            Some(4),
            &["Interval", "Structure"],
        ),
        (
            "UPDATE c_orders_ver SET to_cv = 2 WHERE cv = 3",
            Rule::Interval,
            Some(3),
            &["Interval", "Structure"],
        ),
        (
            "UPDATE c_orders_ver SET reason = 'forged' WHERE cv = 3",
            Rule::PrevHash,
            Some(4),
            &["PrevHash"],
        ),
        (
            "UPDATE c_orders_ver SET prev_hash = zeroblob(32) WHERE cv = 1",
            Rule::PrevHash,
            Some(1),
            &["PrevHash"],
        ),
        (
            "UPDATE c_orders_ver SET body = NULL WHERE cv = 4",
            Rule::MissingBody,
            Some(4),
            &["MissingBody", "Structure"],
        ),
        (
            "UPDATE c_orders_ver SET sha256 = NULL WHERE cv = 6",
            Rule::MissingBody,
            Some(6),
            &["MissingBody", "Structure"],
        ),
        (
            "UPDATE c_orders_ver SET body = (SELECT body FROM c_orders_ver WHERE cv = 1) WHERE cv = 4",
            Rule::CorruptBody,
            Some(4),
            &["CorruptBody"],
        ),
        (
            "UPDATE c_orders_ver SET keys = (SELECT keys FROM c_orders_ver WHERE cv = 1) WHERE cv = 6",
            Rule::IndexKeys,
            Some(6),
            &["IndexKeys", "Structure"],
        ),
        (
            "DELETE FROM c_orders_unique WHERE key LIKE '%m1%'",
            Rule::UniqueKey,
            Some(5),
            &["UniqueKey"],
        ),
        (
            "UPDATE c_orders_ver SET at = at - 100000 WHERE cv = 6",
            Rule::TimeOrder,
            Some(6),
            &["TimeOrder", "Structure"],
        ),
        (
            "UPDATE c_orders_ver SET op = 99 WHERE cv = 2",
            Rule::Structure,
            Some(2),
            &["Structure"],
        ),
    ];
    for (sql, rule, at, all) in cases {
        let report = damaged(65_536, sql).await;
        assert!(
            found_at(&report, rule).contains(&at),
            "{sql}: {:#?}",
            report.damages
        );
        let allowed: BTreeSet<String> = all.iter().map(|&rule| rule.to_owned()).collect();
        let extra: Vec<_> = rules(&report).difference(&allowed).cloned().collect();
        assert!(extra.is_empty(), "{sql}: {:#?}", report.damages);
    }
}

#[tokio::test]
async fn an_unreadable_row_does_not_hide_the_others() {
    let report = damaged(65_536, "UPDATE c_orders_ver SET op = 99 WHERE cv IN (1, 4)").await;
    let at = found_at(&report, Rule::Structure);
    assert!(
        at.contains(&Some(1)) && at.contains(&Some(4)),
        "{:#?}",
        report.damages
    );
    // All rows but the two.
    assert_eq!(report.rows, 5);
    let newest = damaged(65_536, "UPDATE c_orders_ver SET op = 99 WHERE cv = 6").await;
    assert_eq!(newest.rows, 6);
    assert!(
        found_at(&newest, Rule::Structure).contains(&Some(6)),
        "{:#?}",
        newest.damages
    );
}

#[tokio::test]
async fn a_lost_or_changed_object_is_reported() {
    let folder = TempDir::new().unwrap();
    let xronox = open(&folder, 0).await;
    let orders = three(&xronox).await;
    let records = folder.path().join("objects/records");
    let files = objects(&records);
    assert_eq!(files.len(), 7);
    assert!(orders.verify().await.unwrap().clean());
    // Readers have the bodies in memory; what is stored is what counts.
    for id in orders
        .changes(None)
        .await
        .unwrap()
        .iter()
        .map(|change| &change.id)
    {
        orders.get_latest(id).await.unwrap();
    }
    let whole = fs::read(&files[0]).unwrap();
    let mut damaged = whole.clone();
    damaged[5] ^= 1;
    for (bytes, rule) in [
        (Some(damaged), Rule::CorruptBody),
        (Some(whole[1..].to_vec()), Rule::CorruptBody),
        (Some([&whole[..], b" "].concat()), Rule::CorruptBody),
        (Some(Vec::new()), Rule::CorruptBody),
        (None, Rule::MissingBody),
    ] {
        match bytes {
            Some(bytes) => fs::write(&files[0], bytes).unwrap(),
            None => fs::remove_file(&files[0]).unwrap(),
        }
        let report = orders.verify().await.unwrap();
        assert_eq!(report.damage_count, 1, "{:#?}", report.damages);
        assert_eq!(report.damages[0].rule, rule, "{:#?}", report.damages);
        assert!(report.damages[0].id.is_some());
        let seen = orders.verify().bodies(false).await.unwrap();
        assert!(seen.clean());
    }
    fs::write(&files[0], whole).unwrap();
    assert!(orders.verify().await.unwrap().clean());
}

#[tokio::test]
async fn versions_that_a_purge_did_not_remove_are_missed() {
    let folder = TempDir::new().unwrap();
    let xronox = open(&folder, 65_536).await;
    let orders = xronox.collection("orders").unwrap();
    let purged = orders.create(json!({ "n": 0 })).await.unwrap().id;
    orders.update(&purged, json!({ "n": 1 })).await.unwrap();
    orders.create(json!({ "n": 2 })).await.unwrap();
    orders.delete(&purged).hard().await.unwrap();
    orders.create(json!({ "n": 3 })).await.unwrap();
    orders.create(json!({ "n": 4 })).await.unwrap();
    assert!(orders.verify().await.unwrap().clean());
    xronox.close().await.unwrap();

    let delete = |cv: u64| {
        let db = sqlite(&folder);
        for table in ["ver", "body"] {
            db.execute(&format!("DELETE FROM c_orders_{table} WHERE cv = {cv}"), [])
                .unwrap();
        }
        db.execute(
            &format!("DELETE FROM c_orders_key WHERE from_cv = {cv}"),
            [],
        )
        .unwrap();
    };
    // Behind every purge it is clear which one is missing, before one it is
    // not, but the sum tells.
    delete(4);
    let xronox = open(&folder, 65_536).await;
    let report = xronox.collection("orders").unwrap().verify().await.unwrap();
    assert_eq!(
        found_at(&report, Rule::CvGap),
        [Some(4)],
        "{:#?}",
        report.damages
    );
    xronox.close().await.unwrap();
    delete(2);
    let xronox = open(&folder, 65_536).await;
    let report = xronox.collection("orders").unwrap().verify().await.unwrap();
    assert_eq!(
        found_at(&report, Rule::CvGap),
        [Some(4), None],
        "{:#?}",
        report.damages
    );
}

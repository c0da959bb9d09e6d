//! Many writers, few records: no acknowledged write is lost, and nobody's
//! write undoes another's.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{collections::BTreeMap, future::IntoFuture};

use serde_json::{Map, json};
use support::{Dice, stores};
use xronox::{ErrorKind, Settings, Written};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_acknowledged_write_is_lost() {
    const WRITERS: u64 = 32;
    const WRITES: u64 = 60;
    const RECORDS: u64 = 3;
    for store in stores(Settings::default()).await {
        let counters = store.xronox.collection("counters").unwrap();
        for n in 0..RECORDS {
            counters
                .create_with_id(n.to_string(), json!({}))
                .await
                .unwrap();
        }
        let mut writers = Vec::new();
        for writer in 0..WRITERS {
            let counters = counters.clone();
            writers.push(tokio::spawn(async move {
                let mut dice = Dice::new(writer);
                let mut acknowledged: Vec<(u64, Written)> = Vec::new();
                for n in 0..WRITES {
                    let record = dice.below(RECORDS);
                    let path = format!("w{writer}.n{n}");
                    let written = counters
                        .patch(record.to_string(), json!({ path: writer * WRITES + n }))
                        .await
                        .unwrap();
                    acknowledged.push((record, written));
                }
                acknowledged
            }));
        }
        let mut acknowledged = BTreeMap::new();
        for writer in writers {
            for (record, written) in writer.await.unwrap() {
                let twice = acknowledged.insert((record, written.ov), written.cv);
                assert_eq!(twice, None, "a version was given to two writers");
            }
        }
        assert_eq!(acknowledged.len() as u64, WRITERS * WRITES);
        let mut kept = 0;
        for n in 0..RECORDS {
            let record = counters.get_latest(n.to_string()).await.unwrap();
            let document = record
                .to::<BTreeMap<String, Map<String, serde_json::Value>>>()
                .unwrap();
            kept += document.values().map(Map::len).sum::<usize>() as u64;
            let versions = acknowledged.range((n, 0)..=(n, u64::MAX)).count() as u64;
            assert_eq!(record.ov(), versions, "versions are counted without gaps");
        }
        assert_eq!(kept, WRITERS * WRITES, "every patch is in its document");
        let report = counters.verify().await.unwrap();
        assert!(report.clean(), "{report:?}");
    }
}

/// All three run on one thread, up to the point at which they wait for their
/// commit: the second patch goes on from what the first one would have made of
/// a version that the update then replaces.
#[tokio::test]
async fn a_patch_does_not_go_on_from_one_that_failed() {
    for store in stores(Settings::default()).await {
        let counters = store.xronox.collection("counters").unwrap();
        for expected_ov in [None, Some(0)] {
            let id = format!("{expected_ov:?}");
            let create = counters.create_with_id(id.as_str(), json!({ "n": 0 }));
            create.await.unwrap();
            let (update, first, second) = tokio::join!(
                counters
                    .update(id.as_str(), json!({ "n": 1 }))
                    .into_future(),
                counters
                    .patch(id.as_str(), json!({ "first": true }))
                    .expected_ov(expected_ov)
                    .into_future(),
                counters
                    .patch(id.as_str(), json!({ "second": true }))
                    .into_future(),
            );
            update.unwrap();
            second.unwrap();
            let read = async |ov| {
                let version = counters.get_version(id.as_str(), ov).await.unwrap();
                version.document().clone()
            };
            let newest = counters.get_latest(id.as_str()).await.unwrap();
            let refused = first.is_err();
            assert_eq!(newest.ov(), if refused { 2 } else { 3 }, "{expected_ov:?}");
            // Each version adds something, and only an update, which replaces
            // the document, takes something away.
            let mut before = read(0).await;
            for ov in 1..=newest.ov() {
                let after = read(ov).await;
                if after != json!({ "n": 1 }) {
                    assert_eq!(after["n"], before["n"], "version {ov}: {before} to {after}");
                    let added =
                        after.as_object().unwrap().len() - before.as_object().unwrap().len();
                    assert_eq!(added, 1, "version {ov}: {before} to {after}");
                }
                before = after;
            }
            if refused {
                assert_eq!(before.get("first"), None, "{before}");
            }
        }
    }
}

/// Patches and whole updates of one record, each of its own field. A patch
/// goes on from whatever is there, an update from what it has read and only
/// if that is still the newest version, so every version is the one before it
/// with the field of its writer changed.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn updates_and_patches_do_not_undo_each_other() {
    const PATCHERS: u64 = 8;
    const UPDATERS: u64 = 4;
    for store in stores(Settings::default()).await {
        let rounds = if store.on_servers { 20 } else { 60 };
        let counters = store.xronox.collection("counters").unwrap();
        counters.create_with_id("a", json!({})).await.unwrap();
        let mut writers = Vec::new();
        for writer in 0..PATCHERS + UPDATERS {
            let counters = counters.clone();
            writers.push(tokio::spawn(async move {
                let field = format!("w{writer}");
                let mut acknowledged: Vec<(u64, String, u64)> = Vec::new();
                let mut n = 0;
                while n < rounds {
                    let written = if writer < PATCHERS {
                        counters.patch("a", json!({ &field: n })).await
                    } else {
                        let record = counters.get_latest("a").await.unwrap();
                        let mut document = record.document().clone();
                        document[&field] = json!(n);
                        counters
                            .update("a", document)
                            .expected_ov(record.ov())
                            .await
                    };
                    match written {
                        Ok(written) => {
                            acknowledged.push((written.ov, field.clone(), n));
                            n += 1;
                        }
                        Err(error) => assert!(
                            writer >= PATCHERS
                                && matches!(error.kind(), ErrorKind::Conflict { .. }),
                            "{error}"
                        ),
                    }
                }
                acknowledged
            }));
        }
        let mut acknowledged = BTreeMap::new();
        for writer in writers {
            for (ov, field, n) in writer.await.unwrap() {
                assert_eq!(acknowledged.insert(ov, (field, n)), None, "version {ov}");
            }
        }
        let newest = counters.get_latest("a").await.unwrap();
        assert_eq!(newest.ov(), (PATCHERS + UPDATERS) * rounds);
        let mut document = json!({});
        for (ov, (field, n)) in acknowledged {
            document[field] = json!(n);
            let version = counters.get_version("a", ov).await.unwrap();
            assert_eq!(version.document(), document, "version {ov}");
        }
        let report = counters.verify().await.unwrap();
        assert!(report.clean(), "{report:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_writers_with_one_expectation_one_wins() {
    for store in stores(Settings::default()).await {
        let counters = store.xronox.collection("counters").unwrap();
        counters
            .create_with_id("a", json!({ "n": 0 }))
            .await
            .unwrap();
        for round in 0..20u64 {
            let racing = (0..16).map(|writer| {
                let counters = counters.clone();
                tokio::spawn(async move {
                    let document = json!({ "n": round, "by": writer });
                    counters.update("a", document).expected_ov(round).await
                })
            });
            let mut won = 0;
            for racer in racing.collect::<Vec<_>>() {
                match racer.await.unwrap() {
                    Ok(written) => {
                        won += 1;
                        assert_eq!(written.ov, round + 1);
                    }
                    Err(error) => assert!(
                        matches!(error.kind(), ErrorKind::Conflict { .. }),
                        "{error}"
                    ),
                }
            }
            assert_eq!(won, 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn racing_creators_of_one_unique_key_make_one_record() {
    for store in stores(Settings::default()).await {
        let users = store.xronox.collection("users").unwrap();
        users.ensure_unique(["email"]).await.unwrap();
        for round in 0..10 {
            let racing = (0..16).map(|_| {
                let users = users.clone();
                tokio::spawn(
                    async move { users.create(json!({ "email": format!("{round}@x") })).await },
                )
            });
            let mut made = 0;
            for racer in racing.collect::<Vec<_>>() {
                match racer.await.unwrap() {
                    Ok(_) => made += 1,
                    Err(error) => assert_eq!(error.kind(), &ErrorKind::AlreadyExists),
                }
            }
            assert_eq!(made, 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_caller_that_stops_waiting_leaves_no_half_write() {
    for store in stores(Settings::default()).await {
        let orders = store.xronox.collection("orders").unwrap();
        orders.create_with_id("a", json!({ "n": 0 })).await.unwrap();
        let mut dice = Dice::new(7);
        for n in 0..200 {
            let write = orders.patch("a", json!({ format!("k{n}"): n }));
            let patience = std::time::Duration::from_micros(dice.below(800));
            let _ = tokio::time::timeout(patience, write).await;
        }
        orders.patch("a", json!({ "last": true })).await.unwrap();
        let record = orders.get_latest("a").await.unwrap();
        // Each version that there is added exactly one property.
        let properties = record.document().as_object().unwrap().len() as u64;
        assert_eq!(properties, record.ov() + 1);
        let report = orders.verify().await.unwrap();
        assert!(report.clean(), "{report:?}");
    }
}

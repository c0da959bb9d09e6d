//! Many writers, few records: no acknowledged write is lost, and nobody's
//! write undoes another's.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;

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

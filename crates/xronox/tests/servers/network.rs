//! Faults of the network between client and server.

use std::{
    future::IntoFuture,
    time::{Duration, Instant},
};

use serde_json::json;
use tempfile::TempDir;
use xronox::ErrorKind;
use xronox_services::{Fault, Mongod, Proxy, env};

use crate::{
    history::check,
    journal::Journal,
    load::{LONGEST, Load, back, within, written_again},
    place::Place,
    support::Dice,
};

/// A replica set, and the way to it.
fn behind_a_proxy() -> (Mongod, Proxy, Place) {
    by_a_proxy(Mongod::replica_set(&env::services().unwrap()).unwrap())
}

fn by_a_proxy(server: Mongod) -> (Mongod, Proxy, Place) {
    let proxy = Proxy::start(server.address()).unwrap();
    let place = Place::new(server.uri_through(proxy.address()), "network");
    (server, proxy, place)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_and_stalled_connections_lose_and_double_nothing() {
    let services = env::services().unwrap();
    network_fails(Mongod::replica_set(&services).unwrap(), "commitTransaction").await;
    network_fails(Mongod::standalone(&services).unwrap(), "insert").await;
}

/// Faults of all kinds under load; `commit` is the command that commits.
async fn network_fails(server: Mongod, commit: &'static str) {
    const TIME: Duration = Duration::from_secs(14);
    let (_server, proxy, place) = by_a_proxy(server);
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("journal");
    let xronox = place.open().await.unwrap();
    let orders = xronox.collection("orders").unwrap();
    let load = Load::start(&orders, &Journal::at(&file), 8);
    let (begun, mut dice, mut made) = (Instant::now(), Dice::new(3), 0);
    while begun.elapsed() < TIME {
        match made % 6 {
            0 => proxy.cut(),
            1 => {
                proxy.stall();
                tokio::time::sleep(Duration::from_millis(400)).await;
                proxy.pass();
            }
            2 => {
                proxy.stall();
                tokio::time::sleep(Duration::from_millis(100)).await;
                proxy.cut();
                proxy.pass();
            }
            3 => {
                proxy.refuse();
                tokio::time::sleep(Duration::from_millis(200)).await;
                proxy.pass();
            }
            4 => proxy.inject(Fault::LoseAnswer, 1, move |sent| sent.contains(commit)),
            _ => proxy.inject(Fault::LoseRequest, 1, move |sent| sent.contains(commit)),
        }
        made += 1;
        // The driver looks for a lost server every half second.
        tokio::time::sleep(Duration::from_millis(500 + dice.below(700))).await;
    }
    assert!(made >= 6, "{made} faults");
    written_again(&file, Duration::from_secs(30)).await;
    load.stop().await;
    let tally = check(&Journal::read(&file), &orders).await;
    println!("{made} faults: {tally:?}");
    assert!(tally.acknowledged > 100, "{tally:?}");
    assert!(tally.longest < LONGEST, "{tally:?}");
}

/// The answer to a commit is lost every time that it is asked for: the write
/// is looked for, and found.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_answers_of_commits_are_found_again() {
    let (_server, proxy, place) = behind_a_proxy();
    let xronox = place.open().await.unwrap();
    let orders = xronox.collection("orders").unwrap();
    orders.create_with_id("a", json!({ "n": 0 })).await.unwrap();
    for n in 1..6 {
        let lost = usize::try_from(n).unwrap();
        proxy.inject(Fault::LoseAnswer, lost, |sent| {
            sent.contains("commitTransaction")
        });
        let update = orders.update("a", json!({ "n": n }));
        let written = within(Duration::from_mins(1), update.into_future())
            .await
            .unwrap();
        assert_eq!((written.ov, proxy.pending()), (n, 0));
    }
    let versions = orders.history("a").await.unwrap();
    assert_eq!(versions.len(), 6, "each write is there once");
    assert!(orders.verify().await.unwrap().clean());
}

/// Nothing gets through any more while commits are under way, for good: each
/// caller is told so in bounded time, and what they are told is so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_do_not_wait_for_ever() {
    let services = env::services().unwrap();
    stalls_for_good(Mongod::replica_set(&services).unwrap()).await;
    stalls_for_good(Mongod::standalone(&services).unwrap()).await;
}

async fn stalls_for_good(server: Mongod) {
    const LIMIT: Duration = Duration::from_mins(1);
    let (_server, proxy, mut place) = by_a_proxy(server);
    place.patience = Some(Duration::from_secs(4));
    let xronox = place.open().await.unwrap();
    let orders = xronox.collection("orders").unwrap();
    orders.create(json!({})).await.unwrap();
    // Some batches are in the middle of a commit, some wait behind them.
    proxy.stall();
    let begun = Instant::now();
    let writers = (0..20).map(|n| {
        let orders = orders.clone();
        async move {
            // Each knows its own write again.
            tokio::time::sleep(Duration::from_millis(n)).await;
            orders.create_with_id(format!("r{n}"), json!({})).await
        }
    });
    let answers = within(LIMIT, futures::future::join_all(writers)).await;
    let read = within(LIMIT, orders.get_latest("r1").into_future()).await;
    println!("all know after {:?}", begun.elapsed());
    assert_eq!(read.unwrap_err().kind(), &ErrorKind::Unavailable);
    proxy.pass();
    let mut there = 0;
    for (n, answer) in answers.into_iter().enumerate() {
        let error = answer.unwrap_err();
        let written = match error.kind() {
            ErrorKind::Unavailable => false,
            ErrorKind::Indeterminate { id, attempt } => {
                let outcome = back(|| orders.outcome(id.clone(), *attempt));
                within(LIMIT, outcome).await.is_some()
            }
            _ => panic!("{error}"),
        };
        let read = back(|| orders.get_many([format!("r{n}")]).into_future());
        let found = within(LIMIT, read).await[0].is_some();
        assert_eq!(found, written, "{error}");
        there += u64::from(found);
    }
    let report = within(LIMIT, back(|| orders.verify().into_future())).await;
    assert!(report.clean(), "{report:?}");
    assert_eq!(report.rows, there + 1);
}

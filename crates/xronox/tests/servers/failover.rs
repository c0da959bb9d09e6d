//! A replica set whose primary is killed under load, again and again.

use std::time::Duration;

use tempfile::TempDir;
use xronox_services::{ReplicaSet, env};

use crate::{
    history::check,
    journal::Journal,
    load::{LONGEST, Load, within, written_again},
    place::Place,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_primaries_lose_nothing_acknowledged() {
    const ROUNDS: usize = 4;
    /// Writes go on this soon after there is a new primary.
    const RESUME: Duration = Duration::from_secs(5);
    /// At the latest, where others use the machine too.
    const LATEST: Duration = Duration::from_secs(15);
    let mut set = ReplicaSet::start(&env::services().unwrap()).unwrap();
    let place = Place::new(set.uri(), "failover");
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("journal");
    let xronox = place.open().await.unwrap();
    let orders = xronox.collection("orders").unwrap();
    let load = Load::start(&orders, &Journal::at(&file), 8);
    let mut resumed = Vec::new();
    for _ in 0..ROUNDS {
        written_again(&file, LATEST).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let elected = tokio::task::spawn_blocking(move || {
            let killed = set.primary().unwrap();
            set.kill(killed);
            set.primary().unwrap();
            (set, killed)
        });
        let killed;
        (set, killed) = within(Duration::from_mins(1), elected).await.unwrap();
        resumed.push(written_again(&file, LATEST).await);
        let back = tokio::task::spawn_blocking(move || {
            set.restart(killed).unwrap();
            set
        });
        set = within(Duration::from_mins(2), back).await.unwrap();
    }
    load.stop().await;
    let tally = check(&Journal::read(&file), &orders).await;
    println!("writes went on after {resumed:?}: {tally:?}");
    assert!(tally.acknowledged > 100, "{tally:?}");
    assert!(tally.longest < LONGEST, "{tally:?}");
    let late = resumed.iter().filter(|resumed| **resumed > RESUME).count();
    assert!(late < ROUNDS / 2, "writes went on after {resumed:?}");
    // A client that comes later finds the same.
    let later = place.open().await.unwrap();
    check(&Journal::read(&file), &later.collection("orders").unwrap()).await;
}

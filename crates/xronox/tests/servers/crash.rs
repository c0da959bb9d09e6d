//! Clients and servers that are killed.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use xronox_services::{Mongod, env};

use crate::{
    history::check,
    journal::{Event, Journal},
    load::{LONGEST, Load, written_again},
    place::{Place, Shared},
    process::{Part, Process},
    support::Dice,
};

/// Each process is killed in the middle of its commits; the next one goes on
/// at the same records.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_client_loses_nothing_acknowledged() {
    for place in Shared::all().await {
        client_crashes(&place).await;
    }
}

async fn client_crashes(place: &Place) {
    const ROUNDS: u64 = 6;
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("journal");
    let mut dice = Dice::new(42);
    let mut waits = Vec::new();
    for round in 0..ROUNDS {
        let name = format!("round{round}");
        let time = Duration::from_mins(5);
        let process = Process::start(Part::Write(8), &name, 0, place, &file, time);
        let begun = Instant::now();
        while !acknowledged(&file, &name) {
            assert!(begun.elapsed() < Duration::from_mins(2), "{name} is stuck");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        waits.push(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(100 + dice.below(400))).await;
        process.kill();
    }
    let events = Journal::read(&file);
    let xronox = place.open().await.unwrap();
    let tally = check(&events, &xronox.collection("orders").unwrap()).await;
    println!("{tally:?}, first writes after {waits:?}");
    assert!(tally.acknowledged > 30, "{tally:?}");
}

/// Whether a process got a write through.
fn acknowledged(file: &Path, name: &str) -> bool {
    let own = |event: &Event| matches!(event, Event::Done { token, .. } if token.starts_with(name));
    file.exists() && Journal::read(file).iter().any(own)
}

/// The server is killed under load and comes back with its data.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_loses_nothing_acknowledged() {
    let services = env::services().unwrap();
    server_crashes(Mongod::replica_set(&services).unwrap()).await;
    server_crashes(Mongod::standalone(&services).unwrap()).await;
}

async fn server_crashes(mut server: Mongod) {
    const ROUNDS: u64 = 3;
    let place = Place::new(server.uri(), "crashes");
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("journal");
    let xronox = place.open().await.unwrap();
    let orders = xronox.collection("orders").unwrap();
    let load = Load::start(&orders, &Journal::at(&file), 8);
    let mut dice = Dice::new(7);
    for round in 0..ROUNDS {
        tokio::time::sleep(Duration::from_millis(300 + dice.below(500))).await;
        server = tokio::task::spawn_blocking(move || {
            server.kill();
            std::thread::sleep(Duration::from_millis(300 * round));
            server.restart().unwrap();
            server
        })
        .await
        .unwrap();
        written_again(&file, Duration::from_secs(30)).await;
    }
    load.stop().await;
    let tally = check(&Journal::read(&file), &orders).await;
    println!("{tally:?}");
    assert!(tally.acknowledged > 100, "{tally:?}");
    assert!(tally.longest < LONGEST, "{tally:?}");
    xronox.close().await.unwrap();
    // Nor was it this client alone that knew.
    let xronox = place.open().await.unwrap();
    check(&Journal::read(&file), &xronox.collection("orders").unwrap()).await;
}

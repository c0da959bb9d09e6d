//! Several processes at one collection.

use std::time::Duration;

use tempfile::TempDir;

use crate::{
    history::{check, shares},
    journal::{Event, Journal},
    place::{Place, Shared},
    process::{Part, Process},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_race_on_one_collection() {
    for place in Shared::all().await {
        race(&place).await;
    }
}

/// Writers, one that patches a hot record, one that restores the collection,
/// and a reader, each a process.
async fn race(place: &Place) {
    const TIME: Duration = Duration::from_secs(8);
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("journal");
    let parts = [
        (Part::Write(4), "writer1"),
        (Part::Write(4), "writer2"),
        (Part::Patch, "patcher"),
        (Part::Restore, "restorer"),
        (Part::Read, "reader"),
    ];
    let start = |(seed, (part, name))| Process::start(part, name, seed, place, &file, TIME);
    let processes: Vec<Process> = (0..).zip(parts).map(start).collect();
    let ended = tokio::task::spawn_blocking(|| processes.into_iter().for_each(Process::finish));
    ended.await.unwrap();

    let events = Journal::read(&file);
    let xronox = place.open().await.unwrap();
    let tally = check(&events, &xronox.collection("orders").unwrap()).await;
    let shares = shares(&events, &["writer1", "writer2"]);
    println!("{tally:?}, shares {shares:?}");
    assert!(!tally.failed.contains_key("Unavailable"), "{tally:?}");
    assert!(tally.reads > 20 && tally.by["patcher"] > 10, "{tally:?}");
    let restored = |event: &&Event| matches!(event, Event::Restored { .. });
    assert!(events.iter().filter(restored).count() >= 2);
    let (few, many) = (shares[0].min(shares[1]), shares[0].max(shares[1]));
    assert!(few > 20 && few * 2 >= many, "{few} writes beside {many}");
}

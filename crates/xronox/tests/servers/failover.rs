//! A replica set whose primary is killed under load, again and again.

use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use xronox_model::{
    Attempt, Body, CollectionName, Direction, Encoding, IndexKeys, Location, Op, Sha256,
    SystemChange, json::canonical,
};
use xronox_mongodb::{ConnectionOptions, MongoConnection, MongoDatabase};
use xronox_services::{ReplicaSet, bson::doc, env};
use xronox_store::{Append, Batch, Bodies, Catalog, Expect, NewBody, Outcome, Presence, Refusal};

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

fn append(op: Op, state: Presence, n: u8, goes_on_from: Option<Attempt>) -> Append {
    let bytes = canonical(&json!({ "n": n }));
    Append {
        id: "a".parse().unwrap(),
        op,
        expect: Expect {
            attempt: goes_on_from,
            ..Expect::only(state)
        },
        attempt: Attempt::from_bytes([n; 12]),
        actor: None,
        on_behalf_of: None,
        reason: None,
        change: SystemChange::default(),
        body: NewBody::Given(Body {
            sha256: Sha256::of(&bytes),
            size: bytes.len() as u64,
            encoding: Encoding::Plain,
            location: Location::Inline,
            inline: Some(bytes.into()),
            files: Vec::new(),
        }),
        keys: Some(IndexKeys::default()),
        unique: Vec::new(),
        idempotency: None,
        group: None,
        skip_unchanged: false,
        newest_only: false,
    }
}

/// A commit stands on the primary alone, another process goes on from it, and
/// the primary is killed: nobody has been told of either, both are found out to
/// be lost, and each is decided anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_commit_takes_along_what_saw_it() {
    let mut set = ReplicaSet::start(&env::services().unwrap()).unwrap();
    let uri = set.uri();
    let open = async || {
        let connection = MongoConnection::open(&uri, ConnectionOptions::default());
        let database = MongoDatabase::open(&connection.await.unwrap(), "lost").await;
        database.unwrap().catalog().await.unwrap()
    };
    let (catalog, other) = (open().await, open().await);
    let name: CollectionName = "orders".parse().unwrap();
    let batches = |append: Append| {
        let mutations = vec![append.into()];
        [(
            name.clone(),
            Batch {
                epoch: 0,
                mutations,
            },
        )]
    };
    let born = append(Op::Create, Presence::Absent, 0, None);
    let (birth, id) = (born.attempt, born.id.clone());
    catalog.commit(&batches(born)).await.unwrap();

    // From here on the others take nothing over.
    let primary = set.primary().unwrap();
    let stop = move |set: &ReplicaSet, mode: &str| {
        for (member, server) in set.members().iter().enumerate() {
            if member != primary {
                let fail = doc! { "configureFailPoint": "stopReplProducer", "mode": mode };
                server.command("admin", fail).unwrap();
            }
        }
    };
    stop(&set, "alwaysOn");
    tokio::time::sleep(Duration::from_secs(2)).await;

    let first = append(Op::Update, Presence::Live, 1, Some(birth));
    let second = append(Op::Update, Presence::Live, 2, Some(first.attempt));
    let (own, sent) = (catalog.clone(), batches(first));
    let first = tokio::spawn(async move { own.commit(&sent).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let sent = batches(second);
    let second = tokio::spawn(async move { other.commit(&sent).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!first.is_finished() && !second.is_finished());
    let head = catalog.head(&name, &id, Bodies::Omit).await.unwrap();
    assert_eq!(head.unwrap().attempt, birth, "nobody sees it yet");

    let elected = tokio::task::spawn_blocking(move || {
        set.kill(primary);
        stop(&set, "off");
        set.primary().unwrap();
        set
    });
    set = within(Duration::from_mins(1), elected).await.unwrap();
    // Each was decided anew; the one that goes on from the other, maybe first.
    let decided = within(Duration::from_mins(1), async {
        (first.await, second.await)
    })
    .await;
    let first = decided.0.unwrap().unwrap().remove(0).remove(0);
    let second = decided.1.unwrap().unwrap().remove(0).remove(0);
    assert!(
        matches!(&first, Outcome::Committed(commit) if commit.ov == 1),
        "{first:?}"
    );
    let mut versions = 2;
    match &second {
        Outcome::Committed(commit) if commit.ov == 2 => versions = 3,
        Outcome::Refused(Refusal::Overtaken) => {}
        other => panic!("{other:?}"),
    }
    let back = tokio::task::spawn_blocking(move || {
        set.restart(primary).unwrap();
        set
    });
    let _set = within(Duration::from_mins(2), back).await.unwrap();
    let all = catalog.history(&name, &id, None, Direction::Ascending, 10);
    let cvs: Vec<u64> = all.await.unwrap().iter().map(|row| row.cv).collect();
    assert_eq!(cvs, (0..versions).collect::<Vec<_>>());
    let damages = catalog.check(&name).await.unwrap();
    assert_eq!(damages, Vec::<String>::new());
}

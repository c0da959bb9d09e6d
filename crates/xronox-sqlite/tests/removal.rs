//! Removing a long history.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{sync::Arc, time::Instant};

use tempfile::TempDir;
use xronox_model::{
    Attempt, Body, BucketRole, CollectionName, Encoding, IndexKeys, Location, Op, RecordId, Sha256,
    SystemChange,
};
use xronox_sqlite::SqliteCatalog;
use xronox_store::{
    Append, Batch, Bodies, Catalog, Commit, Expect, Mutation, NewBody, Outcome, Presence, Purge,
    SystemClock,
};

const VERSIONS: u64 = 30_000;
const BATCH: u64 = 1000;

fn id() -> RecordId {
    "a".parse().unwrap()
}

fn attempt(n: u64) -> Attempt {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&n.to_be_bytes());
    Attempt::from_bytes(bytes)
}

/// Two versions in a row share an object.
fn object(n: u64) -> Location {
    Location::Object {
        space: "main".into(),
        role: BucketRole::Records,
        key: format!(
            "database~0123456789abcdef/orders/a/v0/{:024x}/item.json",
            n / 2
        ),
    }
}

fn version(n: u64) -> Mutation {
    Mutation::Append(Append {
        id: id(),
        op: if n == 0 { Op::Create } else { Op::Update },
        expect: Expect::only(if n == 0 {
            Presence::Absent
        } else {
            Presence::Live
        }),
        attempt: attempt(n),
        actor: None,
        on_behalf_of: None,
        reason: None,
        change: SystemChange::default(),
        body: NewBody::Given(Body {
            sha256: Sha256::of(&n.to_be_bytes()),
            size: 100,
            encoding: Encoding::Plain,
            location: object(n),
            inline: None,
            files: Vec::new(),
        }),
        keys: Some(IndexKeys::default()),
        unique: Vec::new(),
        idempotency: None,
        group: None,
        skip_unchanged: false,
        newest_only: false,
    })
}

fn purge() -> Mutation {
    Mutation::Purge(Purge {
        id: id(),
        expect_ov: None,
        attempt: attempt(u64::MAX),
        actor: None,
        on_behalf_of: None,
        reason: None,
        group: None,
    })
}

async fn commit(
    catalog: &SqliteCatalog,
    name: &CollectionName,
    mutations: Vec<Mutation>,
) -> Commit {
    let batch = Batch {
        epoch: 0,
        mutations,
    };
    let mut outcomes = catalog.commit(&[(name.clone(), batch)]).await.unwrap();
    match outcomes.pop().unwrap().pop() {
        Some(Outcome::Committed(commit)) => commit,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_history_is_removed_in_less_time_than_it_took_to_write() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.sqlite");
    let catalog = SqliteCatalog::open(&path, "test", Arc::new(SystemClock))
        .await
        .unwrap();
    let name: CollectionName = "orders".parse().unwrap();
    let began = Instant::now();
    for first in (0..VERSIONS).step_by(usize::try_from(BATCH).unwrap()) {
        let batch = (first..first + BATCH).map(version).collect();
        commit(&catalog, &name, batch).await;
    }
    let written = began.elapsed();

    let began = Instant::now();
    let purged = commit(&catalog, &name, vec![purge()]).await;
    let removed = began.elapsed();
    println!("written in {written:?}, removed in {removed:?}");
    assert!(removed < written, "{removed:?} for what took {written:?}");

    let mut released = purged.released;
    released.sort_by_key(|location| format!("{location:?}"));
    let objects: Vec<Location> = (0..VERSIONS).step_by(2).map(object).collect();
    assert_eq!(released, objects);
    let rows = catalog.rows(&name, 0, 10, Bodies::Inline).await.unwrap();
    assert_eq!(
        rows.iter().map(|row| row.op).collect::<Vec<_>>(),
        [Op::Purge]
    );
    assert_eq!(catalog.check(&name).await.unwrap(), Vec::<String>::new());
    let db = rusqlite::Connection::open(&path).unwrap();
    let keys: i64 = db
        .query_row("SELECT count(*) FROM c_orders_key", [], |row| row.get(0))
        .unwrap();
    assert_eq!(keys, 0);
}

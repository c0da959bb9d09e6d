//! Commits while the server, the network or other processes get in the way.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod abandoned;
mod between;
mod network;
#[path = "../server/mod.rs"]
mod server;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use mongodb::bson::{Document, doc};
use serde_json::json;
use server::{Database, replica_set, standalone};
use xronox_model::{
    Attempt, Body, CollectionName, Encoding, IndexKeys, Location, Op, RecordId, Sha256,
    SystemChange, json,
};
use xronox_mongodb::{ConnectionOptions, MongoCatalog, Transactions};
use xronox_store::{
    Append, Batch, Bodies, Catalog, Commit, Expect, NewBody, Outcome, Presence, StoreError,
};

fn name() -> CollectionName {
    "orders".parse().unwrap()
}

fn id(text: &str) -> RecordId {
    text.parse().unwrap()
}

fn append(record: &str, op: Op, state: Presence, n: usize) -> Append {
    let bytes = json::canonical(&json!({ "n": n }));
    let mut attempt = [0; 12];
    rand::RngCore::fill_bytes(&mut rand::rng(), &mut attempt);
    Append {
        id: id(record),
        op,
        expect: Expect::only(state),
        attempt: Attempt::from_bytes(attempt),
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

fn create(record: &str) -> Append {
    append(record, Op::Create, Presence::Absent, 0)
}

fn update(record: &str, n: usize) -> Append {
    append(record, Op::Update, Presence::Live, n)
}

async fn commit(catalog: &MongoCatalog, appends: Vec<Append>) -> Result<Vec<Commit>, StoreError> {
    commit_at(catalog, 0, appends).await
}

async fn commit_at(
    catalog: &MongoCatalog,
    epoch: u64,
    appends: Vec<Append>,
) -> Result<Vec<Commit>, StoreError> {
    let batch = Batch {
        epoch,
        mutations: appends.into_iter().map(Into::into).collect(),
    };
    let outcomes = catalog.commit(&[(name(), batch)]).await?.remove(0);
    let committed = outcomes.into_iter().map(|outcome| match outcome {
        Outcome::Committed(commit) => commit,
        other => panic!("{other:?}"),
    });
    Ok(committed.collect())
}

/// Every row once, in an unbroken order, and nothing that disagrees.
async fn check(catalog: &MongoCatalog) -> usize {
    let rows = catalog
        .rows(&name(), 0, 100_000, Bodies::Omit)
        .await
        .unwrap();
    let cvs: Vec<u64> = rows.iter().map(|row| row.cv).collect();
    assert_eq!(cvs, (0..rows.len() as u64).collect::<Vec<_>>());
    assert!(rows.is_sorted_by_key(|row| row.at));
    let damages = catalog.check(&name()).await.unwrap();
    assert_eq!(damages, Vec::<String>::new());
    rows.len()
}

/// A database whose commands the server can be told to fail.
struct Faulty {
    catalog: MongoCatalog,
    admin: mongodb::Database,
    app: String,
    _database: Database,
}

impl Faulty {
    async fn open() -> Self {
        Self::on(&replica_set(), ConnectionOptions::default()).await
    }

    async fn on(uri: &str, options: ConnectionOptions) -> Self {
        let mut database = Database::on(uri.to_owned());
        let app = database.name.clone();
        database.name_app(&app);
        let catalog = database.open_with(options).await.catalog().await.unwrap();
        commit(&catalog, vec![create("warm")]).await.unwrap();
        let raw = mongodb::Client::with_uri_str(uri).await.unwrap();
        Self {
            catalog,
            admin: raw.database("admin"),
            app,
            _database: database,
        }
    }

    /// Fails the next commands of this name, as many as told.
    async fn fail(&self, command: &str, times: i32, mut how: Document) {
        how.insert("failCommands", [command]);
        how.insert("appName", &self.app);
        let failing = doc! {
            "configureFailPoint": "failCommand",
            "mode": { "times": times },
            "data": how,
        };
        self.admin.run_command(failing).await.unwrap();
    }

    async fn heal(&self) {
        let healing = doc! { "configureFailPoint": "failCommand", "mode": "off" };
        self.admin.run_command(healing).await.unwrap();
    }
}

/// One after another: a server has one such fail point.
static FAIL_POINT: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test]
async fn what_fails_for_a_moment_is_tried_again() {
    let _alone = FAIL_POINT.lock().await;
    let faulty = Faulty::open().await;
    let lost = || doc! { "errorCode": 112, "errorLabels": ["TransientTransactionError"] };
    for (n, (command, times, how)) in [
        ("findAndModify", 2, lost()),
        ("insert", 5, lost()),
        ("insert", 1, doc! { "closeConnection": true }),
        // NotWritablePrimary.
        ("insert", 1, doc! { "errorCode": 10107 }),
        ("commitTransaction", 1, doc! { "closeConnection": true }),
        ("commitTransaction", 3, doc! { "closeConnection": true }),
        // The commit is through, and its acknowledgement is not.
        (
            "commitTransaction",
            1,
            doc! { "writeConcernError": { "code": 64, "errmsg": "late" } },
        ),
        (
            "commitTransaction",
            1,
            doc! { "writeConcernError": { "code": 91, "errmsg": "going" } },
        ),
    ]
    .into_iter()
    .enumerate()
    {
        faulty.fail(command, times, how.clone()).await;
        let record = format!("r{n}");
        let committed = commit(&faulty.catalog, vec![create(&record)]).await;
        assert_eq!(
            committed.unwrap()[0].cv,
            2 * n as u64 + 1,
            "{command} {how}"
        );
        faulty.fail(command, times, how).await;
        let committed = commit(&faulty.catalog, vec![update("warm", n)]).await;
        assert_eq!(committed.unwrap()[0].ov, n as u64 + 1);
    }
    check(&faulty.catalog).await;
}

/// A commit that is through though the answer says that it failed.
#[tokio::test]
async fn an_unknown_commit_is_looked_for() {
    let _alone = FAIL_POINT.lock().await;
    let faulty = Faulty::open().await;
    for n in 0..3 {
        // CannotSatisfyWriteConcern: the driver does not ask again.
        let how = doc! { "writeConcernError": { "code": 100, "errmsg": "no" } };
        faulty.fail("commitTransaction", 1, how).await;
        let many = (0..20).map(|m| create(&format!("r{n}-{m}"))).collect();
        let committed = commit(&faulty.catalog, many).await.unwrap();
        assert_eq!(committed.len(), 20);
    }
    assert_eq!(check(&faulty.catalog).await, 61);
}

/// A row that is larger than a document may be is refused before it is sent.
#[tokio::test]
async fn a_row_that_does_not_fit_is_refused() {
    for uri in [replica_set(), standalone()] {
        let database = Database::on(uri);
        let catalog = database.open_again().await.catalog().await.unwrap();
        let large = Append {
            reason: Some("x".repeat(17 << 20)),
            ..create("large")
        };
        let refused = commit(&catalog, vec![create("small"), large]).await;
        let refused = refused.unwrap_err();
        assert!(matches!(refused, StoreError::Refused(_)), "{refused}");
        commit(&catalog, vec![create("small")]).await.unwrap();
        assert_eq!(check(&catalog).await, 1);
    }
}

/// An error that is no accident comes through, and nothing is written.
#[tokio::test]
async fn a_refusal_of_the_server_is_told() {
    let _alone = FAIL_POINT.lock().await;
    for uri in [replica_set(), standalone()] {
        let faulty = Faulty::on(&uri, ConnectionOptions::default()).await;
        for (code, told) in [(13, "permission"), (14031, "space"), (8000, "failed")] {
            faulty.fail("insert", 1, doc! { "errorCode": code }).await;
            let error = commit(&faulty.catalog, vec![create("a")])
                .await
                .unwrap_err();
            assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
            assert!(error.to_string().contains(told), "{error}");
        }
        assert_eq!(check(&faulty.catalog).await, 1);
        commit(&faulty.catalog, vec![create("a")]).await.unwrap();
    }
}

/// A server that takes a command and does not answer, while it tells its
/// clients that it is well, is not waited for.
#[tokio::test]
async fn a_server_that_stalls_is_not_waited_for() {
    const STALL: Duration = Duration::from_secs(8);
    let _alone = FAIL_POINT.lock().await;
    let options = ConnectionOptions {
        request_timeout: Duration::from_secs(2),
        ..ConnectionOptions::default()
    };
    let faulty = Faulty::on(&standalone(), options).await;
    let millis = i64::try_from(STALL.as_millis()).unwrap();
    let stall = doc! { "blockConnection": true, "blockTimeMS": millis };
    let mut rows = 1;
    for (n, command) in ["aggregate", "find", "insert", "update"]
        .into_iter()
        .enumerate()
    {
        faulty.fail(command, 100, stall.clone()).await;
        let new = create(command);
        let attempt = new.attempt;
        let begun = Instant::now();
        let error = commit(&faulty.catalog, vec![new, update("warm", n)])
            .await
            .unwrap_err();
        assert!(begun.elapsed() < STALL, "{command}: {:?}", begun.elapsed());
        let unknown = matches!(error, StoreError::Indeterminate { .. });
        let inserting = ["insert", "update"].contains(&command);
        assert_eq!(unknown, inserting, "{command}: {error}");
        faulty.heal().await;
        let row = faulty.catalog.outcome(&name(), &id(command), attempt).await;
        let row = row.unwrap();
        match command {
            "insert" => {}
            "update" => assert!(row.is_some(), "it is only not applied"),
            _ => assert_eq!(row, None),
        }
        // Both of a batch, or none.
        rows += 2 * usize::from(row.is_some());
    }
    // What was stalled comes late.
    tokio::time::sleep(STALL).await;
    commit(&faulty.catalog, vec![create("after")])
        .await
        .unwrap();
    assert_eq!(check(&faulty.catalog).await, rows + 1);
    faulty.catalog.close().await.unwrap();
}

/// A caller that goes away leaves the commit alone.
#[tokio::test]
async fn a_cancelled_caller_changes_nothing() {
    let database = Database::on_replica_set();
    let catalog = database.open_again().await.catalog().await.unwrap();
    commit(&catalog, vec![create("shared")]).await.unwrap();
    for n in 0..40 {
        let lone = vec![create(&format!("r{n}")), update("shared", n)];
        let cut = Duration::from_micros(100 * n as u64);
        let _ = tokio::time::timeout(cut, commit(&catalog, lone)).await;
    }
    // Behind all of them.
    catalog.close().await.unwrap();
    let again = database.open_again().await.catalog().await.unwrap();
    let rows = check(&again).await;
    assert!(rows % 2 == 1, "half a batch: {rows} rows");
}

/// Processes that write to one collection all get their share.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_of_several_processes_share() {
    let database = Database::on_replica_set();
    let over = Arc::new(AtomicBool::new(false));
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..3 {
        let catalog = database.open_again().await.catalog().await.unwrap();
        let over = Arc::clone(&over);
        writers.spawn(async move {
            let mut count = 0;
            while !over.load(Ordering::Relaxed) {
                let many = (0..10).map(|n| create(&format!("{writer}-{count}-{n}")));
                commit(&catalog, many.collect()).await.unwrap();
                count += 1;
            }
            count
        });
    }
    tokio::time::sleep(Duration::from_secs(4)).await;
    over.store(true, Ordering::Relaxed);
    let counts = writers.join_all().await;
    let catalog = database.open_again().await.catalog().await.unwrap();
    let all: usize = counts.iter().sum();
    assert_eq!(check(&catalog).await, 10 * all);
    for count in &counts {
        assert!(count * 6 >= all, "less than half its share: {counts:?}");
    }
}

/// A collection that is removed while others write to it begins anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_collection_can_be_removed_under_writers() {
    let database = Database::on_replica_set();
    let over = Arc::new(AtomicBool::new(false));
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..2 {
        let catalog = database.open_again().await.catalog().await.unwrap();
        let over = Arc::clone(&over);
        writers.spawn(async move {
            let mut count = 0;
            while !over.load(Ordering::Relaxed) {
                let one = vec![create(&format!("{writer}-{count}"))];
                commit(&catalog, one).await.unwrap();
                count += 1;
            }
        });
    }
    let catalog = database.open_again().await.catalog().await.unwrap();
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        catalog.drop_collection(&name()).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    over.store(true, Ordering::Relaxed);
    writers.join_all().await;
    assert!(check(&catalog).await > 0);
}

/// Takes back what follows from the last rows, as if their writer had died
/// right after inserting them.
async fn forget(database: &Database, uri: &str, from: i64) {
    let raw = mongodb::Client::with_uri_str(uri).await.unwrap();
    let db = raw.database(&database.name);
    let rows = db.collection::<Document>("orders_ver");
    // What was open at that time is open again.
    rows.update_many(
        doc! { "_id": { "$gte": from } },
        doc! { "$unset": { "o": "", "to": "" } },
    )
    .await
    .unwrap();
    rows.update_many(
        doc! { "_id": { "$lt": from }, "to": { "$gte": from } },
        doc! { "$set": { "o": true }, "$unset": { "to": "" } },
    )
    .await
    .unwrap();
    let counters = db.collection::<Document>("orders_counter");
    counters
        .update_one(doc! { "_id": "counter" }, doc! { "$set": { "next": from } })
        .await
        .unwrap();
}

/// Rows whose writer died are committed: whoever comes next applies them,
/// with transactions or without, by reading or by writing.
#[tokio::test]
async fn rows_of_a_writer_that_died_are_applied() {
    for (uri, afterwards) in [
        (standalone(), Transactions::default()),
        (replica_set(), without_transactions()),
        (replica_set(), Transactions::default()),
    ] {
        for reads in [true, false] {
            let database = Database::on(uri.clone());
            let log_first = database
                .open_with(ConnectionOptions {
                    transactions: without_transactions(),
                    ..ConnectionOptions::default()
                })
                .await;
            let catalog = log_first.catalog().await.unwrap();
            assert!(!catalog.capabilities().transactions);
            commit(&catalog, vec![create("a"), create("b")])
                .await
                .unwrap();
            let last = vec![update("a", 1), update("a", 2), create("c")];
            commit(&catalog, last).await.unwrap();
            let before = catalog.rows(&name(), 0, 100, Bodies::Inline).await.unwrap();
            assert_eq!(before.len(), 5);
            forget(&database, &uri, 2).await;

            let next = database
                .open_with(ConnectionOptions {
                    transactions: afterwards,
                    ..ConnectionOptions::default()
                })
                .await;
            let next = next.catalog().await.unwrap();
            // Reading applies them only where rows may be ahead.
            if reads && !next.capabilities().transactions {
                let rows = next.rows(&name(), 0, 100, Bodies::Inline).await.unwrap();
                assert_eq!(rows, before);
            }
            let committed = commit(&next, vec![update("a", 3), create("d")])
                .await
                .unwrap();
            assert_eq!(
                (committed[0].ov, committed[0].cv, committed[1].cv),
                (3, 5, 6)
            );
            let rows = next.rows(&name(), 0, 100, Bodies::Inline).await.unwrap();
            assert_eq!(rows.len(), 7);
            assert_eq!(rows[4], before[4]);
            assert_eq!(check(&next).await, 7);
        }
    }
}

fn without_transactions() -> Transactions {
    Transactions {
        enabled: false,
        auto_detect: true,
    }
}

/// The answer to an insertion is lost, and it is sent again.
#[tokio::test]
async fn an_unanswered_insertion_is_sent_again() {
    let _alone = FAIL_POINT.lock().await;
    let options = ConnectionOptions {
        transactions: without_transactions(),
        ..ConnectionOptions::default()
    };
    let faulty = Faulty::on(&replica_set(), options).await;
    for (n, how) in [
        doc! { "closeConnection": true },
        // The rows are there, and the answer says they may not last.
        doc! { "writeConcernError": { "code": 64, "errmsg": "late" } },
    ]
    .into_iter()
    .enumerate()
    {
        faulty.fail("insert", 2, how).await;
        let many = (0..5).map(|m| create(&format!("r{n}-{m}"))).collect();
        let committed = commit(&faulty.catalog, many).await.unwrap();
        assert_eq!(committed[0].cv, 1 + 5 * n as u64);
    }
    assert_eq!(check(&faulty.catalog).await, 11);
}

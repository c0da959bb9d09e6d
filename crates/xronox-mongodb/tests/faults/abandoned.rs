//! Transactions whose client is gone, or only slow.
//!
//! The test program runs itself as the process to be killed.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use mongodb::bson::{Document, doc};
use parking_lot::Mutex;
use xronox_model::{Attempt, IndexSpec};
use xronox_mongodb::{CommandObserver, ConnectionOptions, MongoCatalog};
use xronox_store::Catalog;

use super::{
    Arc, AtomicBool, Database, Ordering, check, commit, create, id, name, replica_set, update,
};

const DATABASE: &str = "XRONOX_ABANDONED_DATABASE";

/// The commands that are sent to a database, as the test wants them watched.
fn watching(database: &Database, watch: impl Fn(&str) + Send + Sync + 'static) -> CommandObserver {
    let own = database.name.clone();
    Arc::new(move |command: &str, db: &str| {
        if db == own {
            watch(command);
        }
    })
}

async fn open(database: &Database, on_command: CommandObserver) -> MongoCatalog {
    let options = ConnectionOptions {
        on_command: Some(on_command),
        ..ConnectionOptions::default()
    };
    database.open_with(options).await.catalog().await.unwrap()
}

/// Not a test of its own: the process that stops inside its transaction, and
/// is killed there.
#[test]
fn stopping_process() {
    let Ok(given) = std::env::var(DATABASE) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut database = Database::on_replica_set();
        database.name = given;
        // The counter is taken before the rows are inserted.
        let watch = watching(&database, |command| {
            if command == "insert" {
                std::io::stdout().write_all(b"INSIDE\n").unwrap();
                loop {
                    std::thread::park();
                }
            }
        });
        let catalog = open(&database, watch).await;
        let _ = commit(&catalog, vec![create("never")]).await;
    });
}

/// A process that was killed inside its transaction.
fn kill_one_inside(database: &Database) {
    let mut child: Child = Command::new(std::env::current_exe().unwrap())
        .args(["abandoned::stopping_process", "--exact", "--nocapture"])
        .env(DATABASE, &database.name)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().ends_with("INSIDE")));
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The collection is free again long before the server ends the transaction
/// of a process that was killed in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_go_on_after_a_process_is_killed_in_its_transaction() {
    const SOON: Duration = Duration::from_secs(5);
    let database = Database::on_replica_set();
    let catalog = database.open_again().await.catalog().await.unwrap();
    commit(&catalog, vec![create("a")]).await.unwrap();

    kill_one_inside(&database);
    let began = Instant::now();
    let committed = commit(&catalog, vec![update("a", 1)]).await.unwrap();
    assert_eq!((committed[0].ov, committed[0].cv), (1, 1));
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());

    kill_one_inside(&database);
    let began = Instant::now();
    let unknown = Attempt::from_bytes([7; 12]);
    let outcome = catalog.outcome(&name(), &id("never"), unknown).await;
    assert_eq!(outcome.unwrap(), None);
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());

    kill_one_inside(&database);
    let began = Instant::now();
    let spec = IndexSpec::field("n".parse().unwrap());
    catalog.add_index(&name(), &spec).await.unwrap();
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    assert_eq!(check(&catalog).await, 2);
}

/// A commit that is held inside its transaction until it is let go.
struct Held {
    commit: tokio::task::JoinHandle<u64>,
    go: mpsc::Sender<()>,
    taken: Arc<Mutex<usize>>,
}

impl Held {
    async fn begin(database: &Database) -> Self {
        let (go, gone) = mpsc::channel();
        let (inside, is_inside) = tokio::sync::oneshot::channel();
        let (gone, inside) = (Mutex::new(gone), Mutex::new(Some(inside)));
        let armed = Arc::new(AtomicBool::new(false));
        let taken: Arc<Mutex<usize>> = Arc::default();
        let (arm, count) = (Arc::clone(&armed), Arc::clone(&taken));
        let watch = watching(database, move |command| {
            if !armed.load(Ordering::Relaxed) {
                return;
            }
            if command == "findAndModify" {
                *count.lock() += 1;
            }
            if command == "insert"
                && let Some(inside) = inside.lock().take()
            {
                inside.send(()).unwrap();
                gone.lock().recv().unwrap();
            }
        });
        let catalog = open(database, watch).await;
        commit(&catalog, vec![create("warm")]).await.unwrap();
        arm.store(true, Ordering::Relaxed);
        let commit = tokio::spawn(async move {
            let committed = commit(&catalog, vec![create("held")]).await;
            committed.unwrap()[0].cv
        });
        is_inside.await.unwrap();
        Self { commit, go, taken }
    }

    /// Its `cv`, and how often it took the counter.
    async fn finish(self) -> (u64, usize) {
        self.go.send(()).unwrap();
        let cv = self.commit.await.unwrap();
        let taken = *self.taken.lock();
        (cv, taken)
    }
}

/// A client that is slow, and has its connection still, is waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_slow_client_keeps_its_transaction() {
    let database = Database::on_replica_set();
    let held = Held::begin(&database).await;
    let catalog = database.open_again().await.catalog().await.unwrap();
    let other = tokio::spawn(async move {
        let committed = commit(&catalog, vec![create("other")]).await.unwrap();
        (catalog, committed[0].cv)
    });
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!other.is_finished());
    assert_eq!(held.finish().await, (1, 1));
    let (catalog, cv) = other.await.unwrap();
    assert_eq!(cv, 2);
    assert_eq!(check(&catalog).await, 3);
}

/// A client that was taken for lost, and is not, commits anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_ended_transaction_is_begun_anew() {
    let mut database = Database::on_replica_set();
    let app = database.name.clone();
    database.name_app(&app);
    let held = Held::begin(&database).await;
    let client = mongodb::Client::with_uri_str(replica_set()).await.unwrap();
    let admin = client.database("admin");
    let open = [
        doc! { "$currentOp": { "allUsers": true, "idleSessions": true } },
        doc! { "$match": { "type": "idleSession", "appName": &app } },
    ];
    let mut cursor = admin.aggregate(open).await.unwrap();
    assert!(cursor.advance().await.unwrap());
    let session: Document = cursor.deserialize_current().unwrap();
    let session = session.get_document("lsid").unwrap().clone();
    let killed = doc! { "killSessions": [session] };
    admin.run_command(killed).await.unwrap();

    let catalog = database.open_again().await.catalog().await.unwrap();
    let committed = commit(&catalog, vec![create("other")]).await.unwrap();
    assert_eq!(committed[0].cv, 1);
    assert_eq!(held.finish().await, (2, 2));
    assert_eq!(check(&catalog).await, 3);
}

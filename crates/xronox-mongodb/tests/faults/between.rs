//! What others do between two commands of one call.

use std::{ops::Bound, sync::Arc, thread};

use mongodb::bson::{Document, doc};
use parking_lot::Mutex;
use serde_json::json;
use xronox_model::{
    Attempt, Body, BucketRole, Direction, Encoding, FieldKeys, IndexKeys, IndexSpec, KeyRange,
    Location, OrderedKey, Path, RecordId, Sha256,
};
use xronox_mongodb::{ConnectionOptions, MongoCatalog};
use xronox_store::{
    Access, Append, Batch, Bodies, Catalog, Find, Found, Mutation, NewBody, Outcome, Purge,
    Refusal, StoreError, Which,
};

use crate::{
    FAIL_POINT, check, commit, commit_at, create, id, name,
    server::{Database, replica_set, standalone},
    update,
};

type Deed = Box<dyn FnOnce() + Send>;
type Next = (&'static str, usize, Deed);

/// A process that can be stopped right before it sends a command.
pub(crate) struct Stepped {
    pub(crate) catalog: MongoCatalog,
    /// Before which command, the how manieth of its name, and what then.
    next: Arc<Mutex<Option<Next>>>,
}

impl Stepped {
    pub(crate) async fn open(database: &Database) -> Self {
        let next: Arc<Mutex<Option<Next>>> = Arc::default();
        let waiting = Arc::clone(&next);
        let opened = database.open_with(ConnectionOptions {
            on_command: Some(Arc::new(move |command, _| {
                let mut waiting = waiting.lock();
                match &mut *waiting {
                    Some((name, count, _)) if *name == command => *count -= 1,
                    _ => return,
                }
                if let Some((_, _, deed)) = waiting.take_if(|(_, count, _)| *count == 0) {
                    drop(waiting);
                    deed();
                }
            })),
            ..ConnectionOptions::default()
        });
        Self {
            catalog: opened.await.catalog().await.unwrap(),
            next,
        }
    }

    /// Has another process do something before the next command of this name,
    /// or a later one.
    pub(crate) fn before<F>(
        &self,
        command: &'static str,
        count: usize,
        database: &Database,
        deed: F,
    ) where
        F: AsyncFnOnce(MongoCatalog, mongodb::Database) + Send + 'static,
    {
        let (uri, own) = (database.uri.clone(), database.name.clone());
        let deed = move || {
            // This process stands still meanwhile.
            let other = thread::spawn(move || {
                let runtime = tokio::runtime::Runtime::new().unwrap();
                runtime.block_on(async {
                    let raw = mongodb::Client::with_uri_str(&uri).await.unwrap();
                    let database = Database { uri, name: own };
                    let catalog = database.open_again().await.catalog().await.unwrap();
                    deed(catalog, raw.database(&database.name)).await;
                    // It is the test's to remove.
                    std::mem::forget(database);
                });
            });
            other.join().unwrap();
        };
        *self.next.lock() = Some((command, count, Box::new(deed)));
    }

    pub(crate) fn stepped(&self) -> bool {
        self.next.lock().is_none()
    }
}

/// Commits a version of the warm record, as far as that the version before it
/// has ended; that it is the newest now is not marked yet.
async fn half_updated(catalog: MongoCatalog, db: mongodb::Database) {
    let committed = commit(&catalog, vec![update("warm", 1)]).await.unwrap();
    let cv = i64::try_from(committed[0].cv).unwrap();
    let rows = db.collection::<Document>("orders_ver");
    rows.update_one(doc! { "_id": cv }, doc! { "$unset": { "o": "" } })
        .await
        .unwrap();
    let counters = db.collection::<Document>("orders_counter");
    counters
        .update_one(doc! { "_id": "counter" }, doc! { "$set": { "next": cv } })
        .await
        .unwrap();
}

/// A record whose newest version is being marked is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_between_two_versions_is_there() {
    let database = Database::on(standalone());
    let stepped = Stepped::open(&database).await;
    commit(&stepped.catalog, vec![create("warm")])
        .await
        .unwrap();
    // After the look at the counter and the newest row.
    stepped.before("find", 1, &database, half_updated);
    let committed = commit(&stepped.catalog, vec![update("warm", 2)]).await;
    assert!(stepped.stepped());
    let committed = committed.unwrap();
    assert_eq!((committed[0].ov, committed[0].cv), (2, 2));

    stepped.before("find", 1, &database, half_updated);
    let purge = Purge {
        id: "warm".parse().unwrap(),
        expect_ov: Some(2),
        attempt: Attempt::from_bytes([9; 12]),
        actor: None,
        on_behalf_of: None,
        reason: None,
        group: None,
    };
    let batch = Batch {
        epoch: 0,
        mutations: vec![purge.into()],
    };
    let outcomes = stepped.catalog.commit(&[(name(), batch)]).await.unwrap();
    assert!(stepped.stepped());
    let refused = Outcome::Refused(Refusal::Conflict {
        expected: 2,
        actual: 3,
    });
    assert_eq!(outcomes[0], [refused]);
    assert_eq!(check(&stepped.catalog).await, 4);
}

async fn born(catalog: MongoCatalog, _: mongodb::Database) {
    commit(&catalog, vec![create("a")]).await.unwrap();
}

fn along(access: Access) -> Find {
    Find {
        cut: None,
        access,
        direction: Direction::Ascending,
        also: Vec::new(),
        after: None,
        limit: 50,
        bodies: Bodies::Omit,
    }
}

fn everything() -> KeyRange {
    KeyRange {
        lower: Bound::Unbounded,
        upper: Bound::Unbounded,
    }
}

fn ids(found: &Found) -> Vec<&RecordId> {
    found.rows.iter().map(|(_, row)| &row.id).collect()
}

/// A page says up to which commit it is sure to hold everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_is_as_new_as_it_says() {
    // Those that live and those that are deleted are two reads.
    let field: Path = "_system.deleted".parse().unwrap();
    let by_deleted = Access::Field {
        field,
        ranges: vec![everything()],
    };
    for (uri, access) in [
        // The second one reads the rows; before it is looked what is applied.
        (standalone(), Access::All),
        (replica_set(), by_deleted),
    ] {
        let database = Database::on(uri);
        let stepped = Stepped::open(&database).await;
        commit(&stepped.catalog, vec![create("warm")])
            .await
            .unwrap();
        stepped.before("aggregate", 2, &database, born);
        let find = along(access);
        let found = stepped.catalog.find(&name(), &find).await.unwrap();
        assert!(stepped.stepped());
        assert_eq!(ids(&found), [&"warm".parse::<RecordId>().unwrap()]);
        assert_eq!(found.cv, Some(0), "{find:?}");
    }
}

/// What a commit marks in the indexes is not lost when others change them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn marks_of_indexes_stay() {
    let n: Path = "n".parse().unwrap();
    let by_n = IndexSpec::field(n.clone());
    let unique = IndexSpec::unique(vec!["email".parse().unwrap()]);
    for uri in [standalone(), replica_set()] {
        let database = Database::on(uri);
        let stepped = Stepped::open(&database).await;
        let (catalog, name) = (&stepped.catalog, name());
        let indexes = catalog.add_index(&name, &by_n).await.unwrap();
        let (field, spec) = (n.clone(), by_n.name());
        let marks = async move |catalog: MongoCatalog, _| {
            catalog.index_ready(&super::name(), &spec).await.unwrap();
            let keys = [1, 2].map(|n| OrderedKey::of(&json!(n)));
            let [first, last] = keys.clone();
            let keys = FieldKeys::of_array(keys.into(), first, last);
            let append = Append {
                keys: Some([(field, keys)].into_iter().collect()),
                ..create("several")
            };
            let committed = commit_at(&catalog, indexes.epoch, vec![append]).await;
            assert_eq!(committed.unwrap().len(), 1);
        };
        // Between reading what there is and writing what there is to be.
        stepped.before("createIndexes", 1, &database, marks);
        let indexes = catalog.add_index(&name, &unique).await.unwrap();
        assert!(stepped.stepped());
        assert_eq!(indexes.list.len(), 2);
        assert!(indexes.get(&by_n.name()).unwrap().ready);
        let find = along(Access::Field {
            field: n.clone(),
            ranges: vec![everything()],
        });
        assert!(catalog.find(&name, &find).await.unwrap().multi);
    }
}

/// A row that is sent before an index is declared, and comes after it is ready,
/// would have none of its keys.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_row_comes_behind_a_new_index_without_its_keys() {
    for spec in [
        IndexSpec::field("n".parse().unwrap()),
        IndexSpec::unique(vec!["email".parse().unwrap()]),
    ] {
        let database = Database::on(standalone());
        let stepped = Stepped::open(&database).await;
        let catalog = &stepped.catalog;
        commit(catalog, vec![create("warm")]).await.unwrap();
        let fields = spec.fields.clone();
        let declare = async move |catalog: MongoCatalog, _| {
            let (name, index) = (name(), spec.name());
            catalog.add_index(&name, &spec).await.unwrap();
            catalog.index_ready(&name, &index).await.unwrap();
        };
        stepped.before("insert", 1, &database, declare);
        let late = commit(catalog, vec![create("late"), create("later")]).await;
        assert!(stepped.stepped());
        assert!(matches!(late, Err(StoreError::StaleIndexes { .. })));
        assert_eq!(check(catalog).await, 1);
        // Whoever knows the index goes on in the same place.
        let epoch = catalog.indexes(&name()).await.unwrap().epoch;
        let next = Append {
            keys: Some(IndexKeys::of_body(&json!({}), &fields)),
            ..create("next")
        };
        let next = commit_at(catalog, epoch, vec![next]).await;
        assert_eq!(next.unwrap()[0].cv, 1);
        assert_eq!(check(catalog).await, 2);
    }
}

/// A row that is sent before its collection is removed does not come to the
/// next one of the same name, nor does it make one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_row_comes_to_a_later_collection() {
    for anew in [false, true] {
        let database = Database::on(standalone());
        let stepped = Stepped::open(&database).await;
        let catalog = &stepped.catalog;
        let before = ["a", "b"].map(create).to_vec();
        commit(catalog, before).await.unwrap();
        let remove = async move |catalog: MongoCatalog, _| {
            catalog.drop_collection(&name()).await.unwrap();
            if anew {
                let again = ["c", "d"].map(create).to_vec();
                commit(&catalog, again).await.unwrap();
            }
        };
        stepped.before("insert", 1, &database, remove);
        let late = commit(catalog, vec![create("late")]).await.unwrap();
        assert!(stepped.stepped());
        // It was done anew, where it belongs.
        let there = if anew { 2 } else { 0 };
        assert_eq!(late[0].cv, there);
        assert_eq!(check(catalog).await, usize::try_from(there).unwrap() + 1);
        let client = mongodb::Client::with_uri_str(&database.uri).await.unwrap();
        let db = client.database(&database.name);
        let made = db.list_collections();
        let mut made = made.filter(doc! { "name": "orders_ver" }).await.unwrap();
        assert!(made.advance().await.unwrap());
        let made = made.deserialize_current().unwrap();
        // Whoever inserts into what is not there makes it without that.
        assert!(made.options.clustered_index.is_some());
    }
}

/// Tools that bring data back call its collections otherwise.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_that_was_brought_back_takes_rows() {
    let database = Database::on(standalone());
    let catalog = database.open_again().await.catalog().await.unwrap();
    commit(&catalog, vec![create("a")]).await.unwrap();
    let client = mongodb::Client::with_uri_str(&database.uri).await.unwrap();
    let db = client.database(&database.name);
    let counters = db.collection::<Document>("orders_counter");
    for other in [
        doc! { "$set": { "uuid": mongodb::bson::Uuid::new() } },
        doc! { "$unset": { "uuid": "" } },
    ] {
        counters.update_one(doc! {}, other).await.unwrap();
        let again = database.open_again().await.catalog().await.unwrap();
        commit(&again, vec![update("a", 1)]).await.unwrap();
        check(&again).await;
    }
    db.collection::<Document>("orders_ver")
        .drop()
        .await
        .unwrap();
    let again = database.open_again().await.catalog().await.unwrap();
    let lost = commit(&again, vec![create("b")]).await.unwrap_err();
    assert!(matches!(lost, StoreError::Corrupt(_)), "{lost}");
}

/// What follows from a row does not come to it either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_change_comes_to_a_later_collection() {
    let database = Database::on(standalone());
    let stepped = Stepped::open(&database).await;
    let catalog = &stepped.catalog;
    commit(catalog, vec![create("a")]).await.unwrap();
    let remove = async move |catalog: MongoCatalog, _| {
        catalog.drop_collection(&name()).await.unwrap();
        commit(&catalog, vec![create("a")]).await.unwrap();
    };
    // Which ends the version before.
    stepped.before("update", 1, &database, remove);
    // It was committed, to what is gone.
    commit(catalog, vec![update("a", 1)]).await.unwrap();
    assert!(stepped.stepped());
    let head = catalog.head(&name(), &id("a"), Bodies::Omit).await;
    let head = head.unwrap().unwrap();
    assert_eq!((head.cv, head.to_cv), (0, None));
    assert_eq!(check(catalog).await, 1);
}

/// Nor does the rest of an insertion that was under way, whose first rows are
/// there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rest_of_an_insertion_does_not_come_without_them_either() {
    let database = Database::on(standalone());
    let stepped = Stepped::open(&database).await;
    let catalog = &stepped.catalog;
    commit(catalog, vec![create("warm")]).await.unwrap();
    let declare = async move |catalog: MongoCatalog, _| {
        let spec = IndexSpec::field("n".parse().unwrap());
        catalog.add_index(&name(), &spec).await.unwrap();
        let ready = catalog.index_ready(&name(), &spec.name()).await.unwrap();
        assert!(ready.get(&spec.name()).unwrap().ready);
        // Whoever fills it finds all that will ever lack its keys.
        assert_eq!(check(&catalog).await, 12);
    };
    // One command holds 12 MiB at most.
    let large = |n: usize| {
        let bytes = xronox_model::json::canonical(&json!({ "fill": "x".repeat((1 << 20) - 100) }));
        let mut append = create(&format!("r{n}"));
        append.body = NewBody::Given(Body {
            sha256: Sha256::of(&bytes),
            size: bytes.len() as u64,
            encoding: Encoding::Plain,
            location: Location::Inline,
            inline: Some(bytes.into()),
            files: Vec::new(),
        });
        append
    };
    stepped.before("insert", 2, &database, declare);
    let cut = commit(catalog, (0..20).map(large).collect()).await;
    assert!(stepped.stepped(), "{cut:?}");
    assert!(cut.is_err(), "{cut:?}");
    let epoch = catalog.indexes(&name()).await.unwrap().epoch;
    let n = ["n".parse().unwrap()];
    let next = Append {
        keys: Some(IndexKeys::of_body(&json!({}), &n)),
        ..create("next")
    };
    let next = commit_at(catalog, epoch, vec![next]).await;
    assert_eq!(next.unwrap()[0].cv, 12);
    assert_eq!(check(catalog).await, 13);
}

/// Whoever was about to change the indexes is gone, and the others go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_indexes_that_was_only_begun_stops_nobody() {
    let database = Database::on(standalone());
    let catalog = database.open_again().await.catalog().await.unwrap();
    commit(&catalog, vec![create("a")]).await.unwrap();
    let client = mongodb::Client::with_uri_str(&database.uri).await.unwrap();
    let rows = client.database(&database.name).collection("orders_ver");
    rows.insert_one(doc! { "_id": -7_i64, "i": "fence", "f": ["1/0"] })
        .await
        .unwrap();
    let stale = commit(&catalog, vec![create("b")]).await;
    assert!(matches!(stale, Err(StoreError::StaleIndexes { .. })));
    let epoch = catalog.indexes(&name()).await.unwrap().epoch;
    assert_eq!(epoch, 1);
    let committed = commit_at(&catalog, epoch, vec![create("b")]).await;
    assert_eq!(committed.unwrap()[0].cv, 1);
    assert_eq!(check(&catalog).await, 2);
}

fn kept_alone(record: &str, n: usize) -> Append {
    Append {
        newest_only: true,
        ..update(record, n)
    }
}

async fn purged(catalog: &MongoCatalog, record: &str) -> u64 {
    let purge = Purge {
        id: record.parse().unwrap(),
        expect_ov: None,
        attempt: Attempt::from_bytes([7; 12]),
        actor: None,
        on_behalf_of: None,
        reason: None,
        group: None,
    };
    let batch = Batch {
        epoch: 0,
        mutations: vec![purge.into()],
    };
    let outcomes = catalog.commit(&[(name(), batch)]).await.unwrap();
    let [[Outcome::Committed(commit)]] =
        &outcomes.iter().map(Vec::as_slice).collect::<Vec<_>>()[..]
    else {
        panic!("{outcomes:?}");
    };
    commit.cv
}

/// The places of all rows, in order, and nothing that disagrees.
async fn places(catalog: &MongoCatalog) -> Vec<u64> {
    let rows = catalog.rows(&name(), 0, 1000, Bodies::Omit).await.unwrap();
    assert_eq!(catalog.check(&name()).await.unwrap(), Vec::<String>::new());
    let size = catalog.size(&name()).await.unwrap();
    assert_eq!(size.versions, rows.len() as u64);
    rows.iter().map(|row| row.cv).collect()
}

/// The place of a row that was removed meanwhile is nobody else's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_row_comes_to_the_place_of_one_that_was_removed() {
    let replace = async |catalog: MongoCatalog, _| {
        for n in 2..5 {
            commit(&catalog, vec![kept_alone("warm", n)]).await.unwrap();
        }
    };
    let remove = async |catalog: MongoCatalog, _| {
        commit(&catalog, vec![create("a"), create("b"), update("a", 1)])
            .await
            .unwrap();
        assert_eq!(purged(&catalog, "a").await, 5);
    };
    for (there, replaces) in [(vec![0, 1, 4, 5], true), (vec![0, 1, 3, 5, 6], false)] {
        let database = Database::on(standalone());
        let stepped = Stepped::open(&database).await;
        let catalog = &stepped.catalog;
        commit(catalog, vec![create("warm")]).await.unwrap();
        commit(catalog, vec![kept_alone("warm", 1)]).await.unwrap();
        if replaces {
            stepped.before("insert", 1, &database, replace);
        } else {
            stepped.before("insert", 1, &database, remove);
        }
        let late = commit(catalog, vec![create("late")]).await.unwrap();
        assert!(stepped.stepped());
        assert_eq!(late[0].cv, there.last().copied().unwrap());
        assert_eq!(places(catalog).await, there);
        // As of what was removed it is not known any more, and all else is.
        let (name, warm) = (name(), id("warm"));
        let cut = catalog.version(&name, &warm, Which::AsOf(0), Bodies::Omit);
        assert_eq!(cut.await.unwrap().unwrap().cv, 0);
    }
}

/// Nor does a row come twice that was removed before its writer knew of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_was_removed_is_known_to_its_writer() {
    let _alone = FAIL_POINT.lock().await;
    let mut database = Database::on(standalone());
    database.name_app(&database.name.clone());
    let stepped = Stepped::open(&database).await;
    let catalog = &stepped.catalog;
    commit(catalog, vec![create("warm")]).await.unwrap();
    let admin = mongodb::Client::with_uri_str(&database.uri).await.unwrap();
    // The row is there, and its writer is not told.
    let failing = doc! {
        "configureFailPoint": "failCommand",
        "mode": { "times": 1 },
        "data": {
            "failCommands": ["insert"],
            "appName": &database.name,
            "writeConcernError": { "code": 64, "errmsg": "late" },
        },
    };
    admin.database("admin").run_command(failing).await.unwrap();
    stepped.before("insert", 2, &database, async |catalog, _| {
        assert_eq!(purged(&catalog, "a").await, 2);
    });
    let committed = commit(catalog, vec![create("a")]).await;
    assert!(stepped.stepped(), "{committed:?}");
    assert_eq!(committed.unwrap()[0].cv, 1);
    assert_eq!(places(catalog).await, [0, 2]);
    let (name, a) = (name(), id("a"));
    let gone = catalog.head(&name, &a, Bodies::Omit);
    assert_eq!(gone.await.unwrap().unwrap().cv, 2);
}

/// What follows from a row is applied late, by its writer, to what is left of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_removed_is_not_changed_any_more() {
    // Behind the insertion: where it is looked what the rows take the place of,
    // and where that is written.
    for (command, count) in [("find", 2), ("update", 2)] {
        let database = Database::on(standalone());
        let stepped = Stepped::open(&database).await;
        let catalog = &stepped.catalog;
        commit(catalog, vec![create("a"), update("a", 1)])
            .await
            .unwrap();
        commit(catalog, vec![kept_alone("a", 2)]).await.unwrap();
        let remove = async |catalog: MongoCatalog, _| {
            assert_eq!(purged(&catalog, "a").await, 4);
            commit(&catalog, vec![create("b")]).await.unwrap();
        };
        stepped.before(command, count, &database, remove);
        let updated = commit(catalog, vec![kept_alone("a", 3)]).await;
        assert!(stepped.stepped(), "{command} {updated:?}");
        assert_eq!(updated.unwrap()[0].cv, 3);
        assert_eq!(places(catalog).await, [4, 5]);
    }
}

/// Nor does a body move to a place that would then never be cleared.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_moved_of_what_was_removed() {
    let database = Database::on(standalone());
    let stepped = Stepped::open(&database).await;
    let catalog = &stepped.catalog;
    let object = |key: &str| Location::Object {
        space: "s".to_owned(),
        role: BucketRole::Records,
        key: key.to_owned(),
    };
    let mut outside = create("a");
    if let NewBody::Given(body) = &mut outside.body {
        body.location = object("old");
        body.inline = None;
    }
    commit(catalog, vec![create("warm"), outside])
        .await
        .unwrap();
    let relocate = Mutation::Relocate {
        cv: 1,
        from: object("old"),
        to: object("new"),
    };
    let batch = Batch {
        epoch: 0,
        mutations: vec![relocate],
    };
    stepped.before("update", 1, &database, async |catalog, _| {
        assert_eq!(purged(&catalog, "a").await, 2);
    });
    catalog.commit(&[(name(), batch)]).await.unwrap();
    assert!(stepped.stepped());
    assert_eq!(places(catalog).await, [0, 2]);
    assert!(!catalog.names_key("old").await.unwrap());
    assert!(!catalog.names_key("new").await.unwrap());
}

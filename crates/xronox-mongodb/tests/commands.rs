//! How many commands each operation sends.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod server;

use std::sync::Arc;

use mongodb::bson::{Document, doc};
use parking_lot::Mutex;
use serde_json::json;
use server::{Database, standalone};
use xronox_model::{
    Attempt, Body, BucketRole, CollectionName, Direction, Encoding, FieldKeys, Identity, IndexKeys,
    IndexSpec, KeyRange, Location, Op, OrderedKey, Path, RecordId, Sha256, SystemChange, UniqueKey,
    json,
};
use xronox_mongodb::{ConnectionOptions, MongoCatalog, MongoConnection, MongoDatabase};
use xronox_store::{
    Access, Append, Batch, Bodies, Catalog, Expect, Find, NewBody, Outcome, Presence, Purge, Which,
};

/// A database whose commands are written down.
struct Watched {
    database: Database,
    catalog: MongoCatalog,
    name: CollectionName,
    epoch: u64,
    sent: Arc<Mutex<Vec<String>>>,
}

impl Watched {
    async fn open() -> Self {
        Self::on(Database::on_replica_set()).await
    }

    async fn on(database: Database) -> Self {
        let sent: Arc<Mutex<Vec<String>>> = Arc::default();
        let (seen, own) = (Arc::clone(&sent), database.name.clone());
        let opened: MongoDatabase = database
            .open_with(ConnectionOptions {
                on_command: Some(Arc::new(move |command, db| {
                    // The end of a transaction goes to `admin`.
                    let ends = matches!(command, "commitTransaction" | "abortTransaction");
                    if db == own || ends {
                        seen.lock().push(command.to_owned());
                    }
                })),
                ..ConnectionOptions::default()
            })
            .await;
        Self {
            catalog: opened.catalog().await.unwrap(),
            database,
            name: "orders".parse().unwrap(),
            epoch: 0,
            sent,
        }
    }

    /// Another process with the same collection, which is not watched.
    async fn other(&self) -> Other<'_> {
        let again = self.database.open_again().await;
        Other {
            catalog: again.catalog().await.unwrap(),
            watched: self,
        }
    }

    /// What was sent since the last look.
    fn sent(&self) -> Vec<String> {
        std::mem::take(&mut *self.sent.lock())
    }

    async fn commit(&self, appends: Vec<Append>) -> Vec<Outcome> {
        let batch = Batch {
            epoch: self.epoch,
            mutations: appends.into_iter().map(Into::into).collect(),
        };
        let committed = self.catalog.commit(&[(self.name.clone(), batch)]).await;
        committed.unwrap().remove(0)
    }

    async fn done(&self, append: Append) {
        let outcomes = self.commit(vec![append]).await;
        assert!(matches!(outcomes[0], Outcome::Committed(_)), "{outcomes:?}");
    }
}

struct Other<'a> {
    catalog: MongoCatalog,
    watched: &'a Watched,
}

impl Other<'_> {
    async fn done(&self, append: Append) {
        let batch = Batch {
            epoch: self.watched.epoch,
            mutations: vec![append.into()],
        };
        let batches = [(self.watched.name.clone(), batch)];
        let outcomes = self.catalog.commit(&batches).await.unwrap().remove(0);
        assert!(matches!(outcomes[0], Outcome::Committed(_)), "{outcomes:?}");
    }
}

fn id(text: &str) -> RecordId {
    text.parse().unwrap()
}

fn append(record: &str, op: Op, state: Presence, n: u64) -> Append {
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

fn update(record: &str, n: u64) -> Append {
    append(record, Op::Update, Presence::Live, n)
}

#[tokio::test]
async fn commits_send_few_commands() {
    let watched = Watched::open().await;
    watched.done(create("warm")).await;
    watched.sent();

    watched.done(create("a")).await;
    assert_eq!(
        watched.sent(),
        ["findAndModify", "insert", "commitTransaction"]
    );

    let many = (0..100).map(|n| create(&format!("r{n}"))).collect();
    let outcomes = watched.commit(many).await;
    assert_eq!(outcomes.len(), 100);
    assert_eq!(
        watched.sent(),
        ["findAndModify", "insert", "commitTransaction"]
    );

    // What this process wrote last need not be read, what another did must.
    let mut expecting = update("a", 1);
    expecting.expect.ov = Some(0);
    watched.done(expecting).await;
    assert_eq!(
        watched.sent(),
        ["findAndModify", "update", "insert", "commitTransaction"]
    );
    let other = watched.other().await;
    other.done(create("other")).await;
    let mut expecting = update("other", 1);
    expecting.expect.ov = Some(0);
    watched.done(expecting).await;
    assert_eq!(
        watched.sent(),
        [
            "findAndModify",
            "find",
            "update",
            "insert",
            "commitTransaction"
        ]
    );

    // A record that is there is found out by its index.
    let outcomes = watched.commit(vec![create("a"), create("new")]).await;
    assert!(matches!(outcomes[0], Outcome::Refused(_)), "{outcomes:?}");
    assert!(matches!(outcomes[1], Outcome::Committed(_)), "{outcomes:?}");
    assert_eq!(
        watched.sent(),
        [
            "findAndModify",
            "insert",
            "abortTransaction",
            "findAndModify",
            "find",
            "insert",
            "update",
            "commitTransaction"
        ]
    );
}

/// What others changed since is found out, and told to nobody as it was.
#[tokio::test]
async fn a_record_that_others_changed_is_read_again() {
    let watched = Watched::open().await;
    let other = watched.other().await;
    watched.done(create("a")).await;
    other.done(update("a", 1)).await;
    watched.sent();
    watched.done(update("a", 2)).await;
    assert_eq!(
        watched.sent(),
        [
            "findAndModify",
            "update",
            "abortTransaction",
            "findAndModify",
            "find",
            "update",
            "insert",
            "commitTransaction"
        ]
    );
    let read = [
        "findAndModify",
        "find",
        "update",
        "insert",
        "commitTransaction",
    ];
    // Not refused for what it was.
    other.done(update("a", 3)).await;
    let mut expecting = update("a", 4);
    expecting.expect.ov = Some(3);
    watched.done(expecting).await;
    assert_eq!(watched.sent(), read);
    // Nor unchanged because it was the same.
    other.done(update("a", 5)).await;
    let mut same = update("a", 4);
    same.skip_unchanged = true;
    watched.done(same).await;
    assert_eq!(watched.sent(), read);
    // A collection of the same name has other records.
    other.catalog.drop_collection(&watched.name).await.unwrap();
    other.done(create("a")).await;
    watched.done(update("a", 6)).await;

    let rows = watched.catalog.rows(&watched.name, 0, 100, Bodies::Omit);
    let rows = rows.await.unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[1].prev_hash, Some(rows[0].hash()));
    let found = watched.catalog.check(&watched.name).await.unwrap();
    assert!(found.is_empty(), "{found:?}");
}

/// A server that was brought back to an earlier state, below a process that goes
/// on writing, is taken as it is.
#[tokio::test]
async fn a_record_that_was_brought_back_is_read_again() {
    let watched = Watched::open().await;
    watched.done(create("a")).await;
    let raw = mongodb::Client::with_uri_str(&watched.database.uri).await;
    let raw = raw.unwrap().database(&watched.database.name);
    let rows = raw.collection::<Document>("orders_ver");
    let counters = raw.collection::<Document>("orders_counter");
    let row = rows.find_one(doc! { "_id": 0 }).await.unwrap().unwrap();
    let counter = counters.find_one(doc! {}).await.unwrap().unwrap();

    watched.done(update("a", 1)).await;
    rows.delete_one(doc! { "_id": 1 }).await.unwrap();
    let replaced = rows.replace_one(doc! { "_id": 0 }, row).await.unwrap();
    assert_eq!(replaced.matched_count, 1);
    let replaced = counters.replace_one(doc! {}, counter).await.unwrap();
    assert_eq!(replaced.matched_count, 1);

    watched.done(update("a", 2)).await;
    let rows = watched.catalog.rows(&watched.name, 0, 100, Bodies::Omit);
    let rows = rows.await.unwrap();
    let versions: Vec<_> = rows.iter().map(|row| (row.cv, row.ov)).collect();
    assert_eq!(versions, [(0, 0), (1, 1)]);
    assert_eq!(rows[1].prev_hash, Some(rows[0].hash()));
    let found = watched.catalog.check(&watched.name).await.unwrap();
    assert!(found.is_empty(), "{found:?}");
}

#[tokio::test]
async fn unique_keys_cost_one_command_more() {
    let mut watched = Watched::open().await;
    let spec = IndexSpec::unique(vec!["email".parse().unwrap()]);
    let indexes = watched.catalog.add_index(&watched.name, &spec).await;
    watched.epoch = indexes.unwrap().epoch;
    let with = |record: &str, email: &str| Append {
        unique: vec![
            UniqueKey::of(&json!({ "email": email }), &spec)
                .unwrap()
                .unwrap(),
        ],
        ..create(record)
    };
    watched.done(with("warm", "w")).await;
    watched.sent();
    watched.done(with("a", "x")).await;
    assert_eq!(
        watched.sent(),
        ["findAndModify", "insert", "insert", "commitTransaction"]
    );
}

/// Several keys are looked up with one command, which seeks the newest of however
/// many versions, and notices an index that was made anew.
#[tokio::test]
async fn holders_of_keys_are_sought() {
    const VERSIONS: usize = 300;
    let mut watched = Watched::open().await;
    let spec = IndexSpec::unique(vec!["email".parse().unwrap()]);
    let name = watched.name.clone();
    let indexes = watched.catalog.add_index(&name, &spec).await.unwrap();
    watched.epoch = indexes.epoch;
    let key = |email: &str| {
        UniqueKey::of(&json!({ "email": email }), &spec)
            .unwrap()
            .unwrap()
    };
    let with = |append: Append, email: &str| Append {
        unique: vec![key(email)],
        ..append
    };
    watched.done(with(create("a"), "x")).await;
    let many = (1..VERSIONS).map(|n| with(update("a", n as u64), "x"));
    watched.commit(many.collect()).await;
    watched.done(with(create("b"), "y")).await;
    let (x, y, none) = (key("x"), key("y"), key("z"));
    let other: CollectionName = "nowhere".parse().unwrap();
    let keys = [
        (name.clone(), x.clone()),
        (name.clone(), none),
        (other, x.clone()),
        (name.clone(), y),
    ];
    let held = async |catalog: &MongoCatalog| {
        let rows = catalog.holders(&keys).await.unwrap();
        let held = rows
            .into_iter()
            .map(|row| row.map(|row| (row.id.to_string(), row.ov)));
        held.collect::<Vec<_>>()
    };
    let expected = [
        Some(("a".to_owned(), VERSIONS as u64 - 1)),
        None,
        None,
        Some(("b".to_owned(), 0)),
    ];
    assert_eq!(held(&watched.catalog).await, expected);
    watched.sent();
    let client = mongodb::Client::with_uri_str(&watched.database.uri)
        .await
        .unwrap();
    let db = client.database(&watched.database.name);
    db.run_command(doc! { "profile": 2 }).await.unwrap();
    assert_eq!(held(&watched.catalog).await, expected);
    db.run_command(doc! { "profile": 0 }).await.unwrap();
    assert_eq!(
        watched
            .sent()
            .iter()
            .filter(|sent| *sent == "aggregate")
            .count(),
        1
    );
    let profile = db.collection::<Document>("system.profile");
    let asked = doc! { "command.aggregate": { "$exists": true } };
    let seen = profile.find_one(asked).await.unwrap().unwrap();
    for examined in ["docsExamined", "keysExamined"] {
        let n = seen.get_i32(examined).unwrap();
        assert!(n <= 20, "{n} {examined}: {seen}");
    }

    // Another process makes the index anew: its keys are told apart by another tag.
    let other = MongoConnection::open(&watched.database.uri, ConnectionOptions::default());
    let other = MongoDatabase::open(&other.await.unwrap(), &watched.database.name).await;
    let other = other.unwrap().catalog().await.unwrap();
    other.drop_index(&name, &spec.name()).await.unwrap();
    assert_eq!(held(&watched.catalog).await, [None, None, None, None]);
    other.add_index(&name, &spec).await.unwrap();
    let taken = vec![(id("a"), VERSIONS as u64 - 1, x)];
    other.fill_unique(&name, taken).await.unwrap();
    let again = [expected[0].clone(), None, None, None];
    assert_eq!(held(&watched.catalog).await, again);
}

#[tokio::test]
async fn reads_send_one_command() {
    let mut watched = Watched::open().await;
    let field: Path = "n".parse().unwrap();
    let spec = IndexSpec::field(field.clone());
    let name = watched.name.clone();
    let indexes = watched.catalog.add_index(&name, &spec).await.unwrap();
    watched.epoch = indexes.epoch;
    watched
        .catalog
        .index_ready(&name, &spec.name())
        .await
        .unwrap();
    let keyed = |append: Append, n: u64| {
        let key = FieldKeys::of_one(OrderedKey::of(&json!(n)));
        Append {
            keys: Some([(field.clone(), key)].into_iter().collect()),
            ..append
        }
    };
    let many = (0..120)
        .map(|n| keyed(create(&format!("r{n:03}")), n))
        .collect();
    watched.commit(many).await;
    watched.done(keyed(update("r007", 7), 7)).await;
    // As another process, which has read nothing yet but one record.
    let (catalog, sent) = (watched.catalog.clone(), || watched.sent());
    sent();

    let seven = id("r007");
    let head = catalog.head(&name, &seven, Bodies::Inline).await.unwrap();
    assert!(head.unwrap().body.unwrap().inline.is_some());
    assert_eq!(sent(), ["find"]);
    for which in [Which::Ov(0), Which::AsOf(50)] {
        let row = catalog.version(&name, &seven, which, Bodies::Inline).await;
        assert_eq!(row.unwrap().unwrap().ov, 0);
        assert_eq!(sent().len(), 1, "{which:?}");
    }
    let everything = KeyRange {
        lower: std::ops::Bound::Unbounded,
        upper: std::ops::Bound::Unbounded,
    };
    let by_n = Access::Field {
        field: field.clone(),
        ranges: vec![everything],
    };
    for access in [Access::All, by_n] {
        for cut in [None, Some(100)] {
            let find = Find {
                cut,
                access: access.clone(),
                direction: Direction::Descending,
                also: Vec::new(),
                after: None,
                limit: 50,
                bodies: Bodies::Inline,
            };
            let found = catalog.find(&name, &find).await.unwrap();
            assert_eq!(found.rows.len(), 50);
            assert_eq!(sent(), ["aggregate"], "{find:?}");
            let next = Find {
                after: found.next,
                ..find
            };
            let found = catalog.find(&name, &next).await.unwrap();
            assert_eq!(found.rows.len(), 50);
            assert_eq!(sent(), ["aggregate"], "{next:?}");
        }
    }
    let history = catalog
        .history(&name, &seven, None, Direction::Ascending, 10)
        .await;
    assert_eq!(history.unwrap().len(), 2);
    assert_eq!(sent(), ["find"]);
    let rows = catalog.rows(&name, 0, 1000, Bodies::Inline).await.unwrap();
    assert_eq!(rows.len(), 121);
    assert_eq!(sent(), ["find"]);
}

/// A record whose first row never came is not made again.
#[tokio::test]
async fn a_record_without_its_first_row_is_there() {
    for at in [Database::on_replica_set, || Database::on(standalone())] {
        let watched = Watched::on(at()).await;
        watched.done(create("a")).await;
        let mut alone = update("a", 1);
        alone.newest_only = true;
        watched.done(alone).await;
        let rows = watched.catalog.rows(&watched.name, 0, 10, Bodies::Inline);
        let mut rows = rows.await.unwrap();
        rows.remove(0);
        let copy = Watched::on(at()).await;
        copy.catalog.append_exact(&copy.name, rows).await.unwrap();
        for with_it in [watched, copy] {
            let outcomes = with_it.commit(vec![create("a"), create("b")]).await;
            assert!(matches!(outcomes[0], Outcome::Refused(_)), "{outcomes:?}");
            assert!(matches!(outcomes[1], Outcome::Committed(_)), "{outcomes:?}");
            let found = with_it.catalog.check(&with_it.name).await.unwrap();
            assert!(found.is_empty(), "{found:?}");
        }
    }
}

/// A second process makes nothing again: it finds the counter and goes on.
#[tokio::test]
async fn a_collection_is_made_once() {
    let watched = Watched::open().await;
    watched.done(create("a")).await;
    assert!(watched.sent().contains(&"createIndexes".to_owned()));
    let again = watched.database.open_again().await;
    let other = Watched {
        catalog: again.catalog().await.unwrap(),
        ..watched
    };
    other.done(create("b")).await;
    assert_eq!(other.sent(), [""; 0], "the second one is not watched");
    other.done(update("a", 1)).await;
}

#[tokio::test]
async fn commits_without_transactions_send_few_commands() {
    let watched = Watched::on(Database::on(standalone())).await;
    watched.done(create("warm")).await;
    watched.sent();

    // The counter and the newest row, the record, the row, the counter.
    watched.done(create("a")).await;
    assert_eq!(watched.sent(), ["aggregate", "find", "insert", "update"]);
    let many = (0..100).map(|n| create(&format!("r{n}"))).collect();
    watched.commit(many).await;
    assert_eq!(watched.sent(), ["aggregate", "find", "insert", "update"]);
    let mut expecting = update("a", 1);
    expecting.expect.ov = Some(0);
    watched.done(expecting).await;
    assert_eq!(
        watched.sent(),
        ["aggregate", "find", "insert", "update", "update"]
    );
    let a = id("a");
    let head = watched
        .catalog
        .head(&watched.name, &a, Bodies::Inline)
        .await;
    assert_eq!(head.unwrap().unwrap().ov, 1);
    assert_eq!(watched.sent(), ["find"]);
    let find = Find {
        cut: None,
        access: Access::All,
        direction: Direction::Ascending,
        also: Vec::new(),
        after: None,
        limit: 50,
        bodies: Bodies::Inline,
    };
    let found = watched.catalog.find(&watched.name, &find).await.unwrap();
    assert_eq!(found.rows.len(), 50);
    assert_eq!(watched.sent(), ["aggregate", "aggregate"]);
}

/// However many versions a record has, to purge it reads the newest one and
/// those whose bodies are released, and removes the rest in one statement.
#[tokio::test]
async fn a_long_history_is_removed_unread() {
    for database in [Database::on_replica_set(), Database::on(standalone())] {
        let uri = database.uri.clone();
        let watched = Watched::on(database).await;
        for records in [["a", "b"], ["c", "d"]] {
            watched
                .commit(records.map(create).into_iter().collect())
                .await;
        }
        for n in 0..3 {
            let many = (1..=400).map(|m| update("a", 400 * n + m)).collect();
            watched.commit(many).await;
            let many = (1..=400).map(|m| update("b", 400 * n + m)).collect();
            watched.commit(many).await;
        }
        let mut outside = update("a", 7);
        if let NewBody::Given(body) = &mut outside.body {
            body.inline = None;
            body.location = object("k0");
        }
        watched.done(outside).await;
        watched.done(update("a", 8)).await;
        watched.sent();

        let client = mongodb::Client::with_uri_str(&uri).await.unwrap();
        let db = client.database(&watched.database.name);
        let purge = Purge {
            id: id("a"),
            expect_ov: None,
            attempt: Attempt::from_bytes([1; 12]),
            actor: None,
            on_behalf_of: None,
            reason: None,
            group: None,
        };
        // Of those that are kept as long as they are the newest the first
        // leaves what is there, the second makes a stub of the first, and the
        // third removes the second.
        let [first, second, third] = [9, 10, 11].map(|n| Append {
            newest_only: true,
            ..update("b", n)
        });
        watched.done(first).await;
        watched.done(second).await;
        watched.sent();
        db.run_command(doc! { "profile": 2 }).await.unwrap();
        let batch = Batch {
            epoch: 0,
            mutations: vec![purge.into(), third.into()],
        };
        let batches = [(watched.name.clone(), batch)];
        let outcomes = watched.catalog.commit(&batches).await.unwrap().remove(0);
        db.run_command(doc! { "profile": 0 }).await.unwrap();
        let Outcome::Committed(purged) = &outcomes[0] else {
            panic!("{outcomes:?}");
        };
        assert_eq!(purged.released, [object("k0")]);

        let profile = db.collection::<Document>("system.profile");
        let mut seen = profile
            .find(doc! { "ns": format!("{}.orders_ver", watched.database.name) })
            .await
            .unwrap();
        let (mut read, mut removals) = (0, Vec::new());
        while seen.advance().await.unwrap() {
            let operation = seen.deserialize_current().unwrap();
            match operation.get_str("op").unwrap() {
                "remove" => removals.push(operation.get_i32("ndeleted").unwrap()),
                // Without transactions a trace of each stays.
                "update"
                    if operation
                        .get_document("command")
                        .unwrap()
                        .get_array("u")
                        .is_ok() =>
                {
                    removals.push(operation.get_i32("nModified").unwrap());
                }
                "query" | "getmore" => read += operation.get_i32("nreturned").unwrap(),
                _ => {}
            }
        }
        assert!((3..10).contains(&read), "{read} rows were read");
        assert_eq!(removals, [1203, 1]);
        for (record, kept) in [("a", 1), ("b", 1203), ("c", 1)] {
            let (record, way) = (id(record), Direction::Ascending);
            let history = watched
                .catalog
                .history(&watched.name, &record, None, way, 2000);
            assert_eq!(history.await.unwrap().len(), kept, "{record}");
        }
        let damages = watched.catalog.check(&watched.name).await.unwrap();
        assert_eq!(damages, Vec::<String>::new());
    }
}

/// However many rows there are, each step of a check reads some of them.
#[tokio::test]
async fn a_check_reads_in_bounded_steps() {
    const ROWS: usize = 1800;
    for database in [Database::on_replica_set(), Database::on(standalone())] {
        let uri = database.uri.clone();
        let watched = Watched::on(database).await;
        for n in 0..2 {
            let many = (0..ROWS / 2).map(|m| create(&format!("r{n}-{m}")));
            watched.commit(many.collect()).await;
        }
        let client = mongodb::Client::with_uri_str(&uri).await.unwrap();
        let db = client.database(&watched.database.name);
        let rows = db.collection::<Document>("orders_ver");
        rows.update_one(doc! { "_id": 1234_i64 }, doc! { "$unset": { "b": "" } })
            .await
            .unwrap();
        db.run_command(doc! { "profile": 2 }).await.unwrap();
        let damages = watched.catalog.check(&watched.name).await.unwrap();
        db.run_command(doc! { "profile": 0 }).await.unwrap();
        assert_eq!(damages, ["row 1234 names an inline body that is not there"]);
        let profile = db.collection::<Document>("system.profile");
        let mut seen = profile
            .find(doc! { "ns": format!("{}.orders_ver", watched.database.name) })
            .await
            .unwrap();
        let mut most = 0;
        while seen.advance().await.unwrap() {
            let operation = seen.deserialize_current().unwrap();
            most = most.max(operation.get_i32("docsExamined").unwrap_or_default());
        }
        assert!((100..=1000).contains(&most), "{most} rows in one step");
    }
}

fn object(key: &str) -> Location {
    Location::Object {
        space: "main".to_owned(),
        role: BucketRole::Records,
        key: key.to_owned(),
    }
}

/// However many records there are, those of one creator are found by an index.
#[tokio::test]
async fn a_rare_creator_is_found_without_a_scan() {
    const RECORDS: usize = 1000;
    for database in [Database::on_replica_set(), Database::on(standalone())] {
        let uri = database.uri.clone();
        let mut watched = Watched::on(database).await;
        let field: Path = "_system.creator.identifier".parse().unwrap();
        let spec = IndexSpec::field(field.clone());
        let (catalog, name) = (&watched.catalog, &watched.name);
        catalog.add_index(name, &spec).await.unwrap();
        let indexes = catalog.index_ready(name, &spec.name()).await.unwrap();
        watched.epoch = indexes.epoch;
        let many = (0..RECORDS).map(|n| {
            let actor = if n % 250 == 7 { "rare" } else { "common" };
            Append {
                actor: Some(Identity::new("user", actor).unwrap()),
                ..create(&format!("r{n:04}"))
            }
        });
        watched.commit(many.collect()).await;
        let find = |cut, bodies| Find {
            cut,
            access: Access::Field {
                field: field.clone(),
                ranges: vec![KeyRange::point(OrderedKey::of(&"rare".into()))],
            },
            direction: Direction::Ascending,
            also: Vec::new(),
            after: None,
            limit: 100,
            bodies,
        };
        let cuts = [None, Some(RECORDS as u64 - 1)];
        // An index is built beside the first questions.
        for cut in cuts {
            let asked = find(cut, Bodies::Inline);
            watched.catalog.find(&watched.name, &asked).await.unwrap();
        }
        let client = mongodb::Client::with_uri_str(&uri).await.unwrap();
        let db = client.database(&watched.database.name);
        db.run_command(doc! { "profile": 2 }).await.unwrap();
        for cut in cuts {
            let asked = find(cut, Bodies::Inline);
            let found = watched.catalog.find(&watched.name, &asked).await.unwrap();
            assert_eq!(found.rows.len(), 4);
        }
        db.run_command(doc! { "profile": 0 }).await.unwrap();
        let profile = db.collection::<Document>("system.profile");
        let mut seen = profile
            .find(doc! { "ns": format!("{}.orders_ver", watched.database.name) })
            .await
            .unwrap();
        let mut examined = Vec::new();
        while seen.advance().await.unwrap() {
            let operation = seen.deserialize_current().unwrap();
            let plan = operation.get_str("planSummary").unwrap_or_default();
            assert!(!plan.contains("COLLSCAN"), "{operation}");
            let rows = ["docsExamined", "keysExamined"].map(|n| operation.get_i32(n).unwrap_or(0));
            examined.push(rows);
        }
        assert!(!examined.is_empty());
        assert!(examined.iter().flatten().all(|n| *n <= 20), "{examined:?}");
    }
}

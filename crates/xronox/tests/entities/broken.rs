//! Insertions that break off between their steps.

use std::{
    collections::BTreeMap,
    future::IntoFuture,
    sync::Arc,
    time::{Duration, Instant},
};

use object_store::{ObjectStore, memory::InMemory};
use serde_json::{Value, json};
use xronox::{Attempt, Components, ErrorKind, RecordId, ResumedInsertions, Settings, Xronox};
use xronox_model::BucketRole;
use xronox_mongodb::{ConnectionOptions, MongoConnection, MongoDatabase};
use xronox_services::env;
use xronox_store::{
    Gate, GateLimits, Space,
    conformance::ManualClock,
    fault::{Fault, FaultyStore},
};

use crate::{
    mappings,
    support::{Dice, database},
};

/// A store without transactions, whose large bodies can be refused and whose
/// clock stands still.
struct Broken {
    xronox: Xronox,
    bodies: Arc<FaultyStore>,
    clock: ManualClock,
    database: MongoDatabase,
}

impl Broken {
    async fn open() -> Self {
        let uri = env::mongo_standalone_uri().unwrap();
        let connection = MongoConnection::open(&uri, ConnectionOptions::default());
        let (connection, name) = (connection.await.unwrap(), database());
        let database = MongoDatabase::open(&connection, &name).await.unwrap();
        let clock = ManualClock::default();
        let documents = Arc::new(database.documents(Arc::new(clock.clone())));
        let catalog = Arc::new(database.catalog().await.unwrap());
        let bodies = FaultyStore::new(Arc::new(InMemory::new()), 1);
        let bucket: Arc<dyn ObjectStore> = bodies.clone();
        let limits = GateLimits {
            max_retries: 0,
            ..GateLimits::default()
        };
        let buckets = BTreeMap::from([(BucketRole::Records, bucket)]);
        let space = Space::new("bodies", buckets, Gate::seeded(limits, 1));
        let mut parts = Components::new(catalog, documents, Some(space));
        parts.clock = Arc::new(clock.clone());
        let mut settings = Settings::default();
        settings.payloads.inline_max_bytes = Some(300);
        let xronox = Xronox::assemble(parts, settings).unwrap();
        Self {
            xronox,
            bodies,
            clock,
            database,
        }
    }

    async fn resumed(&self) -> ResumedInsertions {
        self.xronox
            .home()
            .unwrap()
            .resume_insertions()
            .await
            .unwrap()
    }

    /// Whatever was done, nothing is recorded any more and nothing is damaged.
    async fn end(self) {
        assert_eq!(self.resumed().await, ResumedInsertions::default());
        let report = self.xronox.home().unwrap().verify().await.unwrap();
        assert!(report.clean(), "{report:?}");
        self.database.drop_database().await.unwrap();
    }
}

/// An order whose customer is too large to be merged into while bodies are
/// never said to be stored: it is there, what it says of the customer is not.
async fn broken_off(broken: &Broken, order: Value) -> (RecordId, Attempt) {
    let orders = broken.xronox.collection("orders").unwrap();
    broken.bodies.set_chance(Fault::Lose, 1.0);
    let insert = orders.insert_with_entities(order, &mappings());
    let error = insert.actor("user:1").reason("a sale").await.unwrap_err();
    broken.bodies.calm();
    let ErrorKind::Indeterminate { id, attempt } = error.kind().clone() else {
        panic!("{error}");
    };
    (id, attempt)
}

/// The customer of these.
async fn large_customer(broken: &Broken) -> RecordId {
    let customers = broken.xronox.collection("customers").unwrap();
    let customer = json!({ "customerId": "C", "fill": "x".repeat(1000) });
    let made = customers.smart_insert(customer, ["customerId"]).await;
    made.unwrap().id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_broke_off_is_resumed() {
    let broken = Broken::open().await;
    let orders = broken.xronox.collection("orders").unwrap();
    let customers = broken.xronox.collection("customers").unwrap();
    let customer = large_customer(&broken).await;
    let order = json!({ "customer": { "customerId": "C", "vip": true }, "n": 1 });
    let (id, attempt) = broken_off(&broken, order.clone()).await;
    // The order is there, what it says of its customer is not.
    let outcome = orders.outcome(&id, attempt).await.unwrap();
    assert_eq!(outcome.unwrap().id, id);
    assert_eq!(customers.get_latest(&customer).await.unwrap().ov(), 0);
    let report = broken.resumed().await;
    assert_eq!(report.under_way, 1, "it may be going on: {report:?}");
    broken.clock.advance(61_000);
    broken.bodies.set_chance(Fault::Lose, 1.0);
    let report = broken.resumed().await;
    assert_eq!(report.broken.len(), 1, "{report:?}");
    assert_eq!((&report.broken[0].id, report.finished), (&id, 0));

    broken.bodies.calm();
    broken.clock.advance(61_000);
    let report = broken.resumed().await;
    assert_eq!((report.finished, report.broken.len()), (1, 0), "{report:?}");
    let read = orders.get_with_entities(&id, &mappings()).await.unwrap();
    assert_eq!(
        (read.main_record.document(), read.main_record.ov()),
        (order, 0)
    );
    let record = read.entity_records[&"customer".parse().unwrap()].as_ref();
    assert_eq!(record.unwrap().document()["vip"], true);
    let written = customers.history(&customer).await.unwrap();
    assert_eq!(written.len(), 2, "no step was done twice");
    assert_eq!(written[0].actor.as_ref().unwrap().to_string(), "user:1");
    assert_eq!(written[0].reason.as_deref(), Some("a sale"));
    broken.end().await;
}

/// What never began is told so, and never comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_main_record_nothing_is_written() {
    let broken = Broken::open().await;
    let orders = broken.xronox.collection("orders").unwrap();
    let customers = broken.xronox.collection("customers").unwrap();
    let order = json!({ "customer": { "customerId": "C" }, "fill": "x".repeat(1000) });
    broken.bodies.set_chance(Fault::Refuse, 1.0);
    let refused = orders
        .insert_with_entities(order.clone(), &mappings())
        .await;
    assert_eq!(*refused.unwrap_err().kind(), ErrorKind::Unavailable);
    broken.bodies.calm();
    broken.clock.advance(61_000);
    assert_eq!(broken.resumed().await, ResumedInsertions::default());
    // One whose process died in between.
    broken.bodies.set_stall(Duration::from_secs(5));
    broken.bodies.set_next(Fault::Stall, 1);
    let insert = orders.insert_with_entities(order, &mappings());
    let stopped = tokio::time::timeout(Duration::from_secs(1), insert.into_future()).await;
    assert!(stopped.is_err());
    broken.clock.advance(61_000);
    let report = broken.resumed().await;
    assert_eq!(report.never_begun, 1, "{report:?}");
    assert_eq!(orders.count(json!({})).await.unwrap().count, 0);
    assert_eq!(customers.count(json!({})).await.unwrap().count, 0);
    broken.end().await;
}

/// One that is refused after it broke off is taken back when it is resumed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_later_is_taken_back_then() {
    let broken = Broken::open().await;
    let orders = broken.xronox.collection("orders").unwrap();
    let customers = broken.xronox.collection("customers").unwrap();
    customers.ensure_unique(["email"]).await.unwrap();
    let customer = large_customer(&broken).await;
    let order = json!({
        "customer": { "customerId": "C", "email": "c@x" },
        "lines": [{ "product": { "productId": 1 } }],
    });
    broken_off(&broken, order).await;
    customers.create(json!({ "email": "c@x" })).await.unwrap();
    broken.clock.advance(61_000);
    let report = broken.resumed().await;
    assert_eq!(report.taken_back, 1, "{report:?}");
    assert_eq!(orders.count(json!({})).await.unwrap().count, 0);
    let kept = customers.get_latest(&customer).await.unwrap();
    assert_eq!(kept.document().get("email"), None);
    let products = broken.xronox.collection("products").unwrap();
    assert_eq!(products.count(json!({})).await.unwrap().count, 0);
    broken.end().await;
}

/// It goes on with the rights of the handle that it was made through.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scope_holds_when_it_is_resumed() {
    let broken = Broken::open().await;
    let orders = broken.xronox.collection("orders").unwrap();
    let customers = broken.xronox.collection("customers").unwrap();
    let fill = "x".repeat(1000);
    let ours = json!({ "customerId": "C", "shop": "ours", "fill": fill });
    let made = customers.smart_insert(ours, ["customerId"]).await.unwrap();
    let scoped = orders.scoped(json!({ "shop": "ours" })).unwrap();
    broken.bodies.set_chance(Fault::Lose, 1.0);
    let order = json!({ "shop": "ours", "customer": { "customerId": "C", "n": 1 } });
    let insert = scoped.insert_with_entities(order, &mappings());
    insert.await.unwrap_err();
    broken.bodies.calm();
    customers
        .patch(&made.id, json!({ "shop": "theirs" }))
        .await
        .unwrap();
    broken.clock.advance(61_000);
    let report = broken.resumed().await;
    assert_eq!(report.taken_back, 1, "{report:?}");
    let theirs = customers.get_latest(&made.id).await.unwrap();
    assert_eq!((theirs.document().get("n"), theirs.ov()), (None, 1));
    let sealed = broken.xronox.home().unwrap().with_hidden(false);
    let refused = sealed.resume_insertions().await.unwrap_err();
    assert_eq!(*refused.kind(), ErrorKind::Forbidden);
    broken.end().await;
}

/// Callers who stop waiting at any moment: in the end each insertion is there as
/// a whole, or not at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_stops_waiting_leaves_no_half() {
    const INSERTIONS: u64 = 40;
    let broken = Broken::open().await;
    let orders = broken.xronox.collection("orders").unwrap();
    let mut dice = Dice::new(3);
    let mut acknowledged = 0;
    let order = |n: u64| {
        json!({
            "n": n,
            "customer": { "customerId": n % 7, format!("o{n}"): true },
            "lines": [{ "product": { "productId": n } }],
        })
    };
    // Indexes are made and collections are known, which takes longest; then once
    // more, to know how long it takes.
    let mut usual = Duration::ZERO;
    for n in [INSERTIONS, INSERTIONS + 1] {
        let begun = Instant::now();
        let insert = orders.insert_with_entities(order(n), &mappings());
        insert.await.unwrap();
        usual = begun.elapsed();
    }
    let most = u64::try_from(usual.as_micros()).unwrap() * 2;
    for n in 0..INSERTIONS {
        let insert = orders.insert_with_entities(order(n), &mappings());
        let patience = Duration::from_micros(dice.below(most));
        let done = tokio::time::timeout(patience, insert.into_future()).await;
        acknowledged += u64::from(done.is_ok_and(|done| done.is_ok()));
    }
    // A commit that was under way goes on by itself.
    tokio::time::sleep(Duration::from_millis(500)).await;
    broken.clock.advance(61_000);
    let report = broken.resumed().await;
    assert!(
        report.broken.is_empty() && report.under_way == 0,
        "{report:?}"
    );
    assert_eq!(report.taken_back, 0, "{report:?}");
    let all = orders.query(json!({})).limit(1000).await.unwrap().items;
    let there = all.len() as u64;
    assert!(there > acknowledged + 1, "{acknowledged}: {report:?}");
    assert!(report.finished > 0, "{acknowledged}: {report:?}");
    let mut products = 0;
    for order in &all {
        let read = orders
            .get_with_entities(order.id().clone(), &mappings())
            .await
            .unwrap();
        let n = order.document()["n"].as_u64().unwrap();
        for record in read.entity_records.values() {
            assert!(record.is_some(), "order {n}");
        }
        let customer = read.entity_records[&"customer".parse().unwrap()].clone();
        assert_eq!(customer.unwrap().document()[format!("o{n}")], true);
        products += 1;
    }
    // And no entity without its order.
    let there = broken.xronox.collection("products").unwrap();
    assert_eq!(there.count(json!({})).await.unwrap().count, products);
    broken.end().await;
}

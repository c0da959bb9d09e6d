//! Insertions that break off between their steps.

use std::{
    collections::BTreeMap,
    future::IntoFuture,
    sync::Arc,
    time::{Duration, Instant},
};

use object_store::{ObjectStore, memory::InMemory};
use serde_json::json;
use xronox::{Components, ErrorKind, ResumedInsertions, Settings, Xronox};
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_broke_off_is_resumed() {
    let broken = Broken::open().await;
    let orders = broken.xronox.collection("orders").unwrap();
    let customers = broken.xronox.collection("customers").unwrap();
    broken.bodies.set_chance(Fault::Refuse, 1.0);
    let order = json!({ "customer": { "customerId": "C" }, "fill": "x".repeat(1000) });
    let insert = orders.insert_with_entities(order.clone(), &mappings());
    let error = insert.actor("user:1").reason("a sale").await.unwrap_err();
    let ErrorKind::Indeterminate { id, attempt } = error.kind().clone() else {
        panic!("{error}");
    };
    // The customer is there, the order is not.
    assert_eq!(customers.count(json!({})).await.unwrap().count, 1);
    assert!(orders.outcome(&id, attempt).await.unwrap().is_none());
    let report = broken.resumed().await;
    assert_eq!(report.under_way, 1, "it may be going on: {report:?}");
    broken.clock.advance(61_000);
    let report = broken.resumed().await;
    assert_eq!(report.broken.len(), 1, "{report:?}");
    assert_eq!((&report.broken[0].id, report.finished), (&id, 0));

    broken.bodies.calm();
    broken.clock.advance(61_000);
    let report = broken.resumed().await;
    assert_eq!((report.finished, report.broken.len()), (1, 0), "{report:?}");
    let read = orders.get_with_entities(&id, &mappings()).await.unwrap();
    assert_eq!(read.main_record.document(), order);
    let written = orders.history(&id).await.unwrap();
    assert_eq!(written[0].actor.as_ref().unwrap().to_string(), "user:1");
    assert_eq!(written[0].reason.as_deref(), Some("a sale"));
    let customer = read.entity_records[&"customer".parse().unwrap()].as_ref();
    assert_eq!(customer.unwrap().ov(), 0, "no step was done twice");
    broken.end().await;
}

/// One that is refused after it broke off is taken back when it is resumed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_later_is_taken_back_then() {
    let broken = Broken::open().await;
    let orders = broken.xronox.collection("orders").unwrap();
    let customers = broken.xronox.collection("customers").unwrap();
    orders.ensure_unique(["number"]).await.unwrap();
    broken.bodies.set_chance(Fault::Refuse, 1.0);
    let order = json!({ "number": 1, "customer": { "customerId": "C" }, "fill": "x".repeat(1000) });
    let insert = orders.insert_with_entities(order, &mappings());
    insert.await.unwrap_err();
    broken.bodies.calm();
    orders.create(json!({ "number": 1 })).await.unwrap();
    broken.clock.advance(61_000);
    let report = broken.resumed().await;
    assert_eq!(report.taken_back, 1, "{report:?}");
    assert_eq!(customers.count(json!({})).await.unwrap().count, 0);
    assert_eq!(orders.count(json!({})).await.unwrap().count, 1);
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

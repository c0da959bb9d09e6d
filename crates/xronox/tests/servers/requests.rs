//! How many requests what users call makes, through all layers.

use std::{collections::BTreeMap, sync::Arc};

use futures::future::join_all;
use object_store::ObjectStore;
use parking_lot::Mutex;
use serde_json::{Value, json};
use xronox::{Collection, Components, EntityMapping, Settings, Xronox};
use xronox_model::BucketRole;
use xronox_mongodb::{ConnectionOptions, MongoConnection, MongoDatabase};
use xronox_services::env;
use xronox_store::{
    Gate, Space, SystemClock,
    fault::{Call, FaultyStore},
};

use crate::place::{BUCKET, Bucket, Shared};

/// A store whose requests are counted.
struct Counted {
    orders: Collection,
    commands: Arc<Mutex<Vec<String>>>,
    objects: Arc<FaultyStore>,
    _place: Shared,
}

/// What was asked for since the last look.
#[derive(Debug)]
struct Asked {
    commands: Vec<String>,
    puts: u64,
    gets: u64,
}

impl Counted {
    /// Warm, so that nothing is made or read for the first time.
    async fn open(place: Shared) -> Self {
        let commands: Arc<Mutex<Vec<String>>> = Arc::default();
        let (seen, own) = (Arc::clone(&commands), place.database.clone());
        let options = ConnectionOptions {
            on_command: Some(Arc::new(move |command, db| {
                // The end of a transaction goes to `admin`.
                let ends = matches!(command, "commitTransaction" | "abortTransaction");
                if db == own || ends {
                    seen.lock().push(command.to_owned());
                }
            })),
            ..ConnectionOptions::default()
        };
        let connection = MongoConnection::open(&place.uri, options).await.unwrap();
        let database = MongoDatabase::open(&connection, &place.database);
        let database = database.await.unwrap();
        let documents = Arc::new(database.documents(Arc::new(SystemClock)));
        let catalog = Arc::new(database.catalog().await.unwrap());
        let objects = FaultyStore::new(Bucket::new(env::s3().unwrap(), BUCKET).store(), 1);
        let bucket: Arc<dyn ObjectStore> = objects.clone();
        let buckets = BTreeMap::from([(BucketRole::Records, bucket)]);
        let space = Space::new("main", buckets, Gate::default());
        let mut settings = Settings::default();
        settings.payloads.inline_max_bytes = Some(300);
        let parts = Components::new(catalog, documents, Some(space));
        let xronox = Xronox::assemble(parts, settings).unwrap();
        let counted = Self {
            orders: xronox.collection("orders").unwrap(),
            commands,
            objects,
            _place: place,
        };
        counted
            .orders
            .create_with_id("warm", small(0))
            .await
            .unwrap();
        // The index of objects is made when there are any.
        counted
            .orders
            .create_with_id("large", large(0))
            .await
            .unwrap();
        counted.orders.get_latest("warm").await.unwrap();
        counted.commands.lock().clear();
        counted.objects.reset_counts();
        counted
    }

    fn asked(&self) -> Asked {
        for call in [Call::List, Call::Head, Call::Delete] {
            assert_eq!(self.objects.calls(call), 0, "{call:?}");
        }
        let asked = Asked {
            commands: std::mem::take(&mut *self.commands.lock()),
            puts: self.objects.calls(Call::Put),
            gets: self.objects.calls(Call::Get),
        };
        self.objects.reset_counts();
        let makes = |command: &String| ["createIndexes", "create"].contains(&command.as_str());
        assert!(!asked.commands.iter().any(makes), "{asked:?}");
        asked
    }

    /// So many commands at most, and so many objects put and fetched.
    fn cost(&self, commands: usize, puts: u64, gets: u64) {
        let asked = self.asked();
        assert!(asked.commands.len() <= commands, "{asked:?}");
        assert_eq!((asked.puts, asked.gets), (puts, gets), "{asked:?}");
    }
}

fn small(n: u64) -> Value {
    json!({ "n": n })
}

/// Its body is an object.
fn large(n: u64) -> Value {
    json!({ "n": n, "fill": "x".repeat(1000) })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_and_reads_make_few_requests() {
    for place in Shared::all().await {
        let counted = Counted::open(place).await;
        let orders = &counted.orders;

        orders.create_with_id("a", large(0)).await.unwrap();
        counted.cost(4, 1, 0);
        orders.create_with_id("b", small(0)).await.unwrap();
        counted.cost(4, 0, 0);
        let update = orders.update("a", large(1)).expected_ov(0);
        update.await.unwrap();
        counted.cost(7, 1, 0);

        // Its own body is in the cache, an earlier process's is not.
        orders.get_latest("a").await.unwrap();
        let first = counted.asked();
        assert!(first.commands.len() <= 1 && first.gets <= 1, "{first:?}");
        orders.get_latest("a").await.unwrap();
        counted.cost(1, 0, 0);
        orders.get_latest("b").await.unwrap();
        counted.cost(1, 0, 0);
    }
}

/// A body that is inline comes with its row: one read, and then a commit as of
/// an update that needs none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_enrichment_reads_once() {
    for place in Shared::all().await {
        let counted = Counted::open(place).await;
        let orders = &counted.orders;
        orders.create_with_id("a", small(0)).await.unwrap();
        counted.asked();
        orders.enrich("a", json!({ "tags": ["x"] })).await.unwrap();
        counted.cost(1 + 7, 0, 0);
    }
}

/// All of it is one transaction, whatever becomes of the entities.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_and_two_entities_are_one_transaction() {
    let [place, _] = Shared::all().await;
    let counted = Counted::open(place).await;
    let mappings = [
        EntityMapping::new("customer", "customers", "id"),
        EntityMapping::new("product", "products", "id"),
    ];
    let order = |n: u64, said: u64| json!({ "customer": { "id": n, "said": said }, "product": { "id": n } });
    // Indexes are made, and whatever else is made once.
    let warm = counted.orders.insert_with_entities(order(0, 0), &mappings);
    warm.await.unwrap();
    counted.commands.lock().clear();
    // Both are new, one is changed, none is.
    for (n, said) in [(1, 0), (1, 1), (1, 1)] {
        let insert = counted
            .orders
            .insert_with_entities(order(n, said), &mappings);
        let id = insert.await.unwrap().main_record_id;
        let commands = counted.asked().commands;
        let commits = commands.iter().filter(|c| *c == "commitTransaction");
        assert_eq!(commits.count(), 1, "{commands:?}");
        assert!(commands.len() <= 10, "{commands:?}");
        let read = counted
            .orders
            .get_with_entities(&id, &mappings)
            .await
            .unwrap();
        assert_eq!(read.entity_records.len(), 2);
        let commands = counted.asked().commands;
        assert!(commands.len() <= 2, "{commands:?}");
    }
}

/// What is released together is committed together: of a hundred, those whose
/// bodies are there at one time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_creates_are_few_commits() {
    for place in Shared::all().await {
        let counted = Counted::open(place).await;
        counted.objects.answer_together(50);
        let creates = (0..100).map(|n| {
            let orders = counted.orders.clone();
            async move { orders.create(large(n)).await }
        });
        for created in join_all(creates).await {
            created.unwrap();
        }
        counted.cost(24, 100, 0);
        assert!(counted.orders.verify().await.unwrap().clean());
    }
}

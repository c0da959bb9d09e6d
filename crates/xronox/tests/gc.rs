//! Collecting garbage: nothing that is named is ever deleted, and nothing is
//! deleted at first sight.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, memory::InMemory, path::Path};
use serde_json::json;
use support::{Dice, stores};
use tempfile::TempDir;
use xronox::{Collection, Components, Fate, Moment, RecordId, Settings, Xronox};
use xronox_model::BucketRole;
use xronox_sqlite::SqliteCatalog;
use xronox_store::{
    Batch, Catalog, Clock, Documents, Gate, MemoryCatalog, MemoryDocuments, Mutation, Space,
    conformance::ManualClock,
};

const DAY: Duration = Duration::from_hours(24);

fn all_objects() -> Settings {
    let mut settings = Settings {
        hard_delete_enabled: true,
        ..Settings::default()
    };
    settings.payloads.inline_max_bytes = Some(0);
    settings
}

/// A store in a bucket that all roles share, with a clock of its own.
struct Parts {
    xronox: Xronox,
    catalog: Arc<dyn Catalog>,
    bucket: Arc<dyn ObjectStore>,
    clock: ManualClock,
    _folder: Option<TempDir>,
}

impl Parts {
    fn assemble(
        catalog: Arc<dyn Catalog>,
        documents: Arc<dyn Documents>,
        bucket: &Arc<dyn ObjectStore>,
        clock: &ManualClock,
        folder: Option<TempDir>,
    ) -> Self {
        let roles = [
            BucketRole::Records,
            BucketRole::Versions,
            BucketRole::Content,
            BucketRole::Backups,
        ];
        let buckets: BTreeMap<_, _> = roles.map(|role| (role, Arc::clone(bucket))).into();
        let space = Space::new("s", buckets, Gate::default());
        let mut components = Components::new(Arc::clone(&catalog), documents, Some(space));
        components.clock = Arc::new(clock.clone());
        Self {
            xronox: Xronox::assemble(components, all_objects()).unwrap(),
            catalog,
            bucket: Arc::clone(bucket),
            clock: clock.clone(),
            _folder: folder,
        }
    }

    fn memory(bucket: &Arc<dyn ObjectStore>, clock: &ManualClock) -> Self {
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        let catalog = MemoryCatalog::new("test", Arc::clone(&shared));
        let documents = MemoryDocuments::new(shared);
        Self::assemble(Arc::new(catalog), Arc::new(documents), bucket, clock, None)
    }

    async fn sqlite(bucket: &Arc<dyn ObjectStore>, clock: &ManualClock) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("test.sqlite");
        let catalog = SqliteCatalog::open(path, "test", Arc::new(clock.clone()))
            .await
            .unwrap();
        let documents = Arc::new(catalog.documents());
        Self::assemble(Arc::new(catalog), documents, bucket, clock, Some(folder))
    }

    async fn both() -> Vec<Self> {
        let bucket = || Arc::new(InMemory::new()) as Arc<dyn ObjectStore>;
        let clock = || ManualClock::new(soon());
        vec![
            Self::memory(&bucket(), &clock()),
            Self::sqlite(&bucket(), &clock()).await,
        ]
    }

    fn prefix(&self) -> String {
        let marker = self.catalog.marker();
        xronox_model::database_prefix("", &marker.database, &marker.id)
    }

    async fn put(&self, key: &str) {
        let bytes = Bytes::from_static(b"garbage");
        self.bucket
            .put(&Path::from(key), bytes.into())
            .await
            .unwrap();
    }

    async fn keys(&self) -> Vec<String> {
        let listed: Vec<_> = self.bucket.list(None).try_collect().await.unwrap();
        let mut keys: Vec<String> = listed
            .into_iter()
            .map(|object| object.location.to_string())
            .collect();
        keys.sort();
        keys
    }

    fn wait(&self, time: Duration) {
        self.clock.advance(i64::try_from(time.as_millis()).unwrap());
    }
}

/// The bucket dates objects by the machine's clock; ours is a little ahead.
fn soon() -> xronox::Timestamp {
    xronox_store::SystemClock.now().plus_millis(60_000)
}

async fn some(collection: &Collection, count: u64) -> Vec<RecordId> {
    let documents = (0..count).map(|n| json!({ "n": n }));
    let made = collection.create_many(documents).await.unwrap();
    made.into_iter().map(|made| made.unwrap().id).collect()
}

#[tokio::test]
async fn an_orphan_goes_after_two_runs_and_a_grace() {
    for parts in Parts::both().await {
        let (xronox, prefix) = (&parts.xronox, parts.prefix());
        let orders = xronox.collection("orders").unwrap();
        let ids = some(&orders, 3).await;
        orders.update(&ids[0], json!({ "n": 9 })).await.unwrap();
        let named = parts.keys().await;
        assert_eq!(named.len(), 4);
        let orphan = format!("{prefix}/orders/x/v0/aaaaaaaaaaaaaaaaaaaaaaaa/item.json");
        let other = format!("{prefix}x/orders/x/v0/aaaaaaaaaaaaaaaaaaaaaaaa/item.json");
        let bare = "item.json".to_owned();
        for key in [&orphan, &other, &bare] {
            parts.put(key).await;
        }
        let all = parts.keys().await;

        // Too young to tell.
        let young = xronox.home().unwrap().gc().await.unwrap();
        assert_eq!((young.listed, young.unnamed, young.noted), (5, 0, 0));
        parts.wait(Duration::from_mins(16));
        let dry = xronox.home().unwrap().gc().dry_run().await.unwrap();
        assert_eq!(
            (dry.listed, dry.unnamed, dry.noted, dry.deleted),
            (5, 1, 1, 0)
        );
        assert_eq!(dry.unnamed_bytes, 7);
        assert!(dry.dry_run);
        // A dry run leaves no note.
        parts.wait(8 * DAY);
        let (mut told, mut garbage) = (0, Vec::new());
        let first = xronox
            .home()
            .unwrap()
            .gc()
            .on_progress(|progress| told = progress.done)
            .on_garbage(|object| garbage.push((object.key, object.bytes, object.fate)))
            .await
            .unwrap();
        assert_eq!((first.noted, first.deleted), (1, 0));
        assert_eq!(told, 5);
        assert_eq!(garbage, [(orphan.clone(), 7, Fate::Noted)]);
        assert_eq!(parts.keys().await, all);

        parts.wait(6 * DAY);
        let early = xronox
            .home()
            .unwrap()
            .gc()
            .on_garbage(|object| assert_eq!(object.fate, Fate::Waiting))
            .await
            .unwrap();
        assert_eq!((early.unnamed, early.noted, early.deleted), (1, 0, 0));
        parts.wait(DAY);
        let foreseen = xronox.home().unwrap().gc().dry_run().await.unwrap();
        assert_eq!((foreseen.deleted, foreseen.deleted_bytes), (1, 7));
        assert_eq!(parts.keys().await, all);
        let late = xronox.home().unwrap().gc().await.unwrap();
        assert_eq!((late.deleted, late.deleted_bytes), (1, 7));
        let left: Vec<String> = all.iter().filter(|key| **key != orphan).cloned().collect();
        assert_eq!(parts.keys().await, left);
        let done = xronox.home().unwrap().gc().await.unwrap();
        assert_eq!(
            (done.listed, done.unnamed, done.noted, done.deleted),
            (4, 0, 0, 0)
        );
        assert!(xronox.home().unwrap().verify().await.unwrap().clean());
    }
}

#[tokio::test]
async fn a_note_is_forgotten_when_it_is_wrong() {
    for parts in Parts::both().await {
        let prefix = parts.prefix();
        let orders = parts.xronox.collection("orders").unwrap();
        let id = orders.create(json!({ "n": 0 })).await.unwrap().id;
        orders.update(&id, json!({ "n": 1 })).await.unwrap();
        let orphan = format!("{prefix}/orders/x/v0/aaaaaaaaaaaaaaaaaaaaaaaa/item.json");
        parts.put(&orphan).await;
        parts.wait(DAY);
        assert_eq!(parts.xronox.home().unwrap().gc().await.unwrap().noted, 1);
        // It is deleted by somebody else, and comes back.
        parts
            .bucket
            .delete(&Path::from(orphan.as_str()))
            .await
            .unwrap();
        parts.wait(8 * DAY);
        assert_eq!(parts.xronox.home().unwrap().gc().await.unwrap().deleted, 0);
        parts.put(&orphan).await;
        let again = parts.xronox.home().unwrap().gc().await.unwrap();
        assert_eq!((again.noted, again.deleted), (1, 0));
    }
}

#[tokio::test]
async fn what_was_released_goes_and_what_is_named_stays() {
    for parts in Parts::both().await {
        let orders = parts.xronox.collection("orders").unwrap();
        let id = orders.create(json!({ "n": 0 })).await.unwrap().id;
        for n in 1..4 {
            orders.update(&id, json!({ "n": n })).await.unwrap();
        }
        // Version 4 names the body of version 1.
        orders.restore_object(&id).to_ov(1).await.unwrap();
        let name = orders.name().clone();
        let epoch = parts.catalog.indexes(&name).await.unwrap().epoch;
        let mutations = vec![Mutation::Prune {
            id: id.clone(),
            ovs: vec![0, 1, 2],
        }];
        parts
            .catalog
            .commit(&[(name, Batch { epoch, mutations })])
            .await
            .unwrap();
        assert_eq!(parts.keys().await.len(), 4);
        parts.wait(DAY);
        assert_eq!(
            parts
                .xronox
                .home()
                .unwrap()
                .gc()
                .grace(DAY)
                .await
                .unwrap()
                .noted,
            2
        );
        parts.wait(DAY);
        let run = parts.xronox.home().unwrap().gc().grace(DAY).await.unwrap();
        assert_eq!((run.listed, run.deleted), (4, 2));
        assert_eq!(parts.keys().await.len(), 2);
        assert_eq!(
            orders.get_latest(&id).await.unwrap().document(),
            json!({ "n": 1 })
        );
        assert!(parts.xronox.home().unwrap().verify().await.unwrap().clean());
        // What a dropped collection had is garbage too.
        parts.catalog.drop_collection(orders.name()).await.unwrap();
        parts.xronox.home().unwrap().gc().grace(DAY).await.unwrap();
        parts.wait(DAY);
        assert_eq!(
            parts
                .xronox
                .home()
                .unwrap()
                .gc()
                .grace(DAY)
                .await
                .unwrap()
                .deleted,
            2
        );
        assert!(parts.keys().await.is_empty());
    }
}

#[tokio::test]
async fn databases_share_a_bucket() {
    let bucket: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let clock = ManualClock::new(soon());
    let one = Parts::memory(&bucket, &clock);
    let two = Parts::sqlite(&bucket, &clock).await;
    for parts in [&one, &two] {
        some(&parts.xronox.collection("orders").unwrap(), 3).await;
        parts
            .put(&format!("{}/orders/x/v0/a/item.json", parts.prefix()))
            .await;
    }
    for _ in 0..2 {
        clock.advance(8 * 24 * 60 * 60 * 1000);
        one.xronox.home().unwrap().gc().await.unwrap();
    }
    let left = one.keys().await;
    assert_eq!(left.len(), 7);
    let own = format!("{}/", one.prefix());
    assert_eq!(left.iter().filter(|key| key.starts_with(&own)).count(), 3);
    for parts in [&one, &two] {
        assert!(parts.xronox.home().unwrap().verify().await.unwrap().clean());
    }
}

#[tokio::test]
async fn without_a_grace_two_runs_are_enough() {
    for store in stores(all_objects()).await {
        let orders = store.xronox.collection("orders").unwrap();
        some(&orders, 5).await;
        if let Some(folder) = &store.folder {
            // What a write that was cut short leaves behind.
            let records = folder.path().join("objects/records");
            let database = std::fs::read_dir(&records)
                .unwrap()
                .next()
                .unwrap()
                .unwrap()
                .path();
            std::fs::write(database.join("item.json#1"), b"half").unwrap();
            let first = store.home().gc().grace(Duration::ZERO).await.unwrap();
            assert_eq!((first.listed, first.noted, first.deleted), (6, 1, 0));
            let second = store.home().gc().grace(Duration::ZERO).await.unwrap();
            assert_eq!((second.noted, second.deleted), (0, 1));
        }
        for _ in 0..2 {
            let clean = store.home().gc().grace(Duration::ZERO).await.unwrap();
            assert_eq!((clean.listed, clean.unnamed), (5, 0));
        }
        assert!(store.home().verify().await.unwrap().clean());
    }
}

#[tokio::test]
async fn no_named_body_is_ever_deleted() {
    for parts in Parts::both().await {
        let orders = parts.xronox.collection("orders").unwrap();
        let mut dice = Dice::new(3);
        for round in 0..40 {
            for _ in 0..6 {
                let id = format!("r{}", dice.below(5));
                let document = json!({ "n": dice.below(4), "round": round });
                let ov = dice.below(6);
                // What cannot be done is not done, and leaves an orphan maybe.
                let _ = match dice.below(9) {
                    0..=2 => orders.create_with_id(&id, document).await,
                    3..=5 => orders.update(&id, document).expected_ov(ov).await,
                    6 => orders.delete(&id).await,
                    7 => orders.restore_object(&id).to_ov(ov).await,
                    _ => orders.delete(&id).hard().await,
                };
            }
            if round == 20 {
                let newest = orders
                    .changes(None)
                    .limit(1000)
                    .await
                    .unwrap()
                    .last()
                    .unwrap()
                    .cv;
                let to = Moment::Cv(dice.below(newest));
                orders.restore_collection(to).await.unwrap();
            }
            parts.wait(DAY);
            parts.xronox.home().unwrap().gc().grace(DAY).await.unwrap();
            let report = parts.xronox.home().unwrap().verify().await.unwrap();
            assert!(report.clean(), "round {round}: {:#?}", report.damages);
        }
        parts.wait(DAY);
        parts.xronox.home().unwrap().gc().grace(DAY).await.unwrap();
        parts.wait(DAY);
        parts.xronox.home().unwrap().gc().grace(DAY).await.unwrap();
        let last = parts.xronox.home().unwrap().gc().grace(DAY).await.unwrap();
        assert_eq!(last.unnamed, 0);
    }
}

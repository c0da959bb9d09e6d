//! Copying a store into another one.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{collections::BTreeMap, sync::Arc};

use object_store::{ObjectStore, memory::InMemory};
use serde_json::{Value, json};
use support::{Dice, Store, stores};
use xronox::{Collection, Components, ErrorKind, RecordId, Settings, Xronox};
use xronox_model::BucketRole;
use xronox_store::{
    Gate, GateLimits, MemoryCatalog, MemoryDocuments, Space, SystemClock,
    fault::{Fault, FaultyStore},
};

fn settings() -> Settings {
    let mut settings = Settings {
        hard_delete_enabled: true,
        ..Settings::default()
    };
    // Some bodies inline, some as objects.
    settings.payloads.inline_max_bytes = Some(300);
    settings
}

fn document(dice: &mut Dice, n: u64) -> Value {
    let filler = usize::try_from(dice.below(600)).unwrap();
    json!({ "key": n, "group": dice.below(5), "filler": "ä".repeat(filler), "deep": { "n": [n, 1.5] } })
}

/// A history of all kinds of versions.
async fn write(things: &Collection, seed: u64, steps: u64) -> Vec<RecordId> {
    let mut dice = Dice::new(seed);
    let mut ids = Vec::new();
    for n in 0..steps {
        let some = ids.get(usize::try_from(dice.below(1 + n)).unwrap() % ids.len().max(1));
        let some: Option<RecordId> = some.cloned();
        let done = match (dice.below(10), some) {
            (0..=3, _) | (_, None) => {
                let made = things
                    .create(document(&mut dice, seed * 1_000_000 + n))
                    .actor("user:ann")
                    .reason("copy test")
                    .await
                    .unwrap();
                ids.push(made.id.clone());
                continue;
            }
            (4..=6, Some(id)) => {
                things
                    .patch(&id, json!({ "group": dice.below(9), "more": n }))
                    .await
            }
            (7, Some(id)) => things.delete(&id).await,
            (8, Some(id)) => things.restore_object(&id).to_ov(0).await,
            (_, Some(id)) => things.delete(&id).hard().await,
        };
        match done {
            Ok(_) => {}
            Err(error) if [ErrorKind::NotFound, ErrorKind::Deleted].contains(error.kind()) => {}
            Err(error) => panic!("{error}"),
        }
    }
    ids
}

/// Everything that can be read of a collection.
async fn all_of(things: &Collection) -> Vec<Value> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let changes = things.changes(after).limit(1000).await.unwrap();
        let Some(last) = changes.last() else {
            return all;
        };
        after = Some(last.cv);
        for change in changes {
            let version = things.get_version(&change.id, change.ov);
            let body = match version.include_deleted().await {
                Ok(record) => record.json(),
                Err(error) => json!(error.kind().name()),
            };
            all.push(json!([change, body]));
        }
    }
}

async fn empty() -> Vec<Store> {
    stores(settings()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_goes_there_and_back() {
    for (source, target, back) in ways(empty().await, empty().await, empty().await) {
        let things = source.xronox.collection("things").unwrap();
        things.ensure_index("group").await.unwrap();
        things.ensure_unique(["key"]).await.unwrap();
        write(&things, 1, 400).await;
        let others = source.xronox.collection("others").unwrap();
        write(&others, 2, 60).await;
        let mut told = 0;
        let copied = source
            .home()
            .copy_to(target.home())
            .on_progress(|progress| told = progress.done)
            .await
            .unwrap();
        assert!(told > 0);
        assert_eq!(copied.collections, 2);
        assert_eq!(copied.compared, copied.versions);
        target.home().copy_to(back.home()).await.unwrap();
        for name in ["things", "others"] {
            let [a, b, c] = [&source, &target, &back].map(|s| s.xronox.collection(name).unwrap());
            let there = all_of(&a).await;
            assert!(!there.is_empty());
            assert_eq!(there, all_of(&b).await);
            assert_eq!(there, all_of(&c).await);
        }
        for store in [&target, &back] {
            assert!(store.home().verify().await.unwrap().clean());
            let things = store.xronox.collection("things").unwrap();
            let there = things
                .query(json!({ "group": 3 }))
                .limit(1000)
                .await
                .unwrap();
            let here = source.xronox.collection("things").unwrap();
            let here = here.query(json!({ "group": 3 })).limit(1000).await.unwrap();
            assert_eq!(here.items.len(), there.items.len());
            let key = here.items[0].json()["key"].clone();
            let error = things.create(json!({ "key": key })).await.unwrap_err();
            assert_eq!(error.kind(), &ErrorKind::AlreadyExists, "{error}");
        }
    }
}

/// From each kind of store to the next one, and from there to its own kind.
fn ways(from: Vec<Store>, mut to: Vec<Store>, back: Vec<Store>) -> Vec<(Store, Store, Store)> {
    to.rotate_left(1);
    let ways = from.into_iter().zip(to).zip(back);
    ways.map(|((from, to), back)| (from, to, back)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_brought_up_to_date() {
    let (mut sources, mut targets) = (empty().await, empty().await);
    let (source, target) = (sources.remove(1), targets.remove(0));
    let things = source.xronox.collection("things").unwrap();
    things.ensure_unique(["key"]).await.unwrap();
    write(&things, 3, 150).await;
    let first = source.home().copy_to(target.home()).await.unwrap();
    assert_eq!(first.already, 0);
    // Purges among them, of what was copied before.
    write(&things, 4, 150).await;
    let second = source.home().copy_to(target.home()).await.unwrap();
    assert!(second.already > 0 && second.versions > 0);
    let third = source.home().copy_to(target.home()).await.unwrap();
    assert_eq!(third.versions, 0);
    let copied = target.xronox.collection("things").unwrap();
    assert_eq!(all_of(&things).await, all_of(&copied).await);
    let key = things.query(json!({})).limit(1).await.unwrap().items[0].json()["key"].clone();
    let error = copied.create(json!({ "key": key })).await.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::AlreadyExists, "{error}");
    assert!(target.home().verify().await.unwrap().clean());
}

#[tokio::test]
async fn another_history_is_left_alone() {
    let stores = empty().await;
    let [one, other] = [&stores[0], &stores[1]].map(|s| s.xronox.collection("things").unwrap());
    one.create(json!({ "n": 1 })).await.unwrap();
    other.create(json!({ "n": 2 })).await.unwrap();
    let error = stores[0].home().copy_to(stores[1].home()).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::Invalid, "{error}");
    assert!(error.to_string().starts_with("copy things: "), "{error}");
    assert_eq!(other.size().await.unwrap().versions, 1);
    let itself = stores[0].xronox.clone();
    let error = stores[0]
        .home()
        .copy_to(itself.home().unwrap())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::Invalid, "{error}");
    let named = stores[0].home().copy_to(stores[1].home());
    let error = named.collections(["none".parse().unwrap()]).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::NotFound, "{error}");
}

/// A target whose bucket refuses what it is given until it is told not to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_copy_is_begun_again() {
    let source = empty().await.remove(1);
    let things = source.xronox.collection("things").unwrap();
    for n in 0..3000 {
        let filler = if n % 50 == 0 {
            "x".repeat(500)
        } else {
            String::new()
        };
        things
            .create(json!({ "n": n, "filler": filler }))
            .await
            .unwrap();
    }
    let faulty = FaultyStore::new(Arc::new(InMemory::new()), 7);
    let bucket: Arc<dyn ObjectStore> = faulty.clone();
    let gate = Gate::new(GateLimits {
        max_retries: 0,
        ..GateLimits::default()
    });
    let space = Space::new("s", BTreeMap::from([(BucketRole::Records, bucket)]), gate);
    let clock = Arc::new(SystemClock);
    let catalog = Arc::new(MemoryCatalog::new("copy", clock.clone()));
    let documents = Arc::new(MemoryDocuments::new(clock));
    let components = Components::new(catalog, documents, Some(space));
    let target = Xronox::assemble(components, settings()).unwrap();
    let copied = target.collection("things").unwrap();

    let mut versions = 0;
    let mut interruptions = 0;
    loop {
        faulty.set_chance(Fault::Refuse, 0.03);
        let tried = source.home().copy_to(target.home().unwrap()).await;
        faulty.calm();
        let size = copied.size().await.unwrap();
        assert!(size.versions >= versions);
        versions = size.versions;
        assert!(copied.verify().await.unwrap().clean());
        match tried {
            Ok(report) => {
                assert_eq!(report.compared, 3000);
                break;
            }
            Err(error) => {
                assert_eq!(error.kind(), &ErrorKind::Unavailable, "{error}");
                assert!(error.to_string().contains("version 0 of"), "{error}");
                interruptions += 1;
            }
        }
    }
    assert!(interruptions > 0);
    assert_eq!(all_of(&things).await, all_of(&copied).await);
}

/// A store that keeps only newest versions is copied as it is, and what was
/// replaced since is replaced in the copy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn newest_versions_are_copied_and_replaced() {
    let mut newest = settings();
    newest.versioning.enabled = false;
    for (source, target, again) in ways(stores(newest).await, empty().await, empty().await) {
        let things = source.xronox.collection("things").unwrap();
        for id in ["a", "b", "c", "d"] {
            things.create_with_id(id, json!({ "n": 0 })).await.unwrap();
        }
        for n in 1..3 {
            things.update("a", json!({ "n": n })).await.unwrap();
        }
        source.home().copy_to(target.home()).await.unwrap();
        let copy = target.xronox.collection("things").unwrap();
        assert_eq!(all_of(&copy).await, all_of(&things).await);

        // Neither what is new nor what was purged is in the way.
        things.create_with_id("e", json!({ "n": 0 })).await.unwrap();
        things.delete("d").hard().await.unwrap();
        source.home().copy_to(target.home()).await.unwrap();
        assert_eq!(all_of(&copy).await, all_of(&things).await);

        for n in 1..3 {
            things.update("b", json!({ "n": n })).await.unwrap();
            things.update("c", json!({ "n": n })).await.unwrap();
            things.update("c", json!({ "n": 10 + n })).await.unwrap();
            source.home().copy_to(target.home()).await.unwrap();
            assert_eq!(all_of(&copy).await, all_of(&things).await);
            assert!(copy.verify().await.unwrap().clean());
        }
        source.home().copy_to(again.home()).await.unwrap();
        let copy = again.xronox.collection("things").unwrap();
        assert_eq!(all_of(&copy).await, all_of(&things).await);
    }
}

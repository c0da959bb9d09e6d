//! An S3 store that answers errors, is slow, or stores and does not say so.

use std::{
    future::IntoFuture,
    num::NonZeroU64,
    time::{Duration, Instant},
};

use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, path::Path as Key};
use serde_json::json;
use tempfile::TempDir;
use xronox::{Collection, ErrorKind, RecordId};
use xronox_services::{Fault, Mongod, Proxy, Request, SeaweedFs, env};

use crate::{
    history::check,
    journal::Journal,
    load::{LONGEST, Load, within, written_again},
    place::{Bucket, Place},
    support::Dice,
};

const BUCKET: &str = "bodies";
const RETRIES: u32 = 3;

/// A catalog, and bodies behind a proxy.
struct Servers {
    _catalog: Mongod,
    objects: SeaweedFs,
    proxy: Proxy,
    place: Place,
}

fn start() -> Servers {
    let services = env::services().unwrap();
    let catalog = Mongod::replica_set(&services).unwrap();
    let objects = SeaweedFs::start(&services).unwrap();
    objects.create_bucket(BUCKET).unwrap();
    let proxy = Proxy::start(objects.address()).unwrap();
    let mut bucket = Bucket::new(objects.s3(), BUCKET).through(proxy.address());
    bucket.request_timeout_ms = NonZeroU64::new(500).unwrap();
    bucket.max_retries = RETRIES;
    let place = Place::new(catalog.uri(), "objects").with_bodies(bucket);
    Servers {
        _catalog: catalog,
        objects,
        proxy,
        place,
    }
}

fn put(sent: &Request<'_>) -> bool {
    sent.method() == "PUT"
}

/// Too large to be in the catalog.
fn large() -> String {
    "y".repeat(1000)
}

/// What is acknowledged has its body, whatever becomes of single requests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failing_requests_lose_no_body() {
    const TIME: Duration = Duration::from_secs(10);
    let Servers { proxy, place, .. } = &start();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("journal");
    let xronox = place.open().await.unwrap();
    let orders = xronox.collection("orders").unwrap();
    let load = Load::start(&orders, &Journal::at(&file), 6);
    let (begun, mut dice, mut made) = (Instant::now(), Dice::new(5), 0);
    while begun.elapsed() < TIME {
        let many = usize::try_from(1 + dice.below(6)).unwrap();
        match made % 6 {
            0 => proxy.inject(Fault::InternalError, many, |_| true),
            1 => proxy.inject(Fault::SlowDown, many, |_| true),
            2 => proxy.inject(Fault::LoseAnswer, many, put),
            3 => proxy.inject(Fault::LoseRequest, many, |_| true),
            4 => proxy.cut(),
            _ => {
                proxy.stall();
                tokio::time::sleep(Duration::from_millis(700)).await;
                proxy.pass();
            }
        }
        made += 1;
        tokio::time::sleep(Duration::from_millis(dice.below(300))).await;
    }
    assert!(made >= 6, "{made} faults");
    written_again(&file, Duration::from_secs(30)).await;
    load.stop().await;
    // What was not made yet would be made of the check.
    let others = xronox.collection("others").unwrap();
    let quiet = async {
        while proxy.pending() > 0 {
            match others.create(json!({ "fill": large() })).await {
                Ok(_) => {}
                Err(error) => assert_eq!(error.kind(), &ErrorKind::Unavailable, "{error}"),
            }
        }
    };
    within(Duration::from_secs(30), quiet).await;
    let tally = check(&Journal::read(&file), &orders).await;
    println!("{made} faults: {tally:?}");
    assert!(tally.acknowledged > 100, "{tally:?}");
    assert!(tally.longest < LONGEST, "{tally:?}");
}

/// A store that fails for good is an error soon, and nothing is written; an
/// object that is gone or changed is one too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_object_store_does_for_good_is_told() {
    const LIMIT: Duration = Duration::from_secs(15);
    let mut servers = start();
    let Servers { proxy, place, .. } = &servers;
    let xronox = place.open().await.unwrap();
    let orders = xronox.collection("orders").unwrap();
    let kept = orders.create(json!({ "fill": large() })).await.unwrap();

    // The body is stored, as the first try did it without saying so.
    proxy.inject(Fault::LoseAnswer, 1, put);
    let made = orders.create(json!({ "fill": large() })).await.unwrap();
    let found = orders.get_latest(&made.id).await.unwrap();
    assert_eq!(found.document(), json!({ "fill": large() }));

    let requests = 1 + usize::try_from(RETRIES).unwrap();
    for fault in [Fault::InternalError, Fault::SlowDown, Fault::LoseAnswer] {
        proxy.inject(fault, requests, |_| true);
        unavailable(&orders, "no", LIMIT).await;
        assert_eq!(proxy.pending(), 0, "{fault:?}");
    }
    proxy.stall();
    unavailable(&orders, "no", LIMIT).await;
    let read = within(LIMIT, orders.get_latest(&kept.id).into_future()).await;
    assert_eq!(read.unwrap_err().kind(), &ErrorKind::Unavailable);
    proxy.pass();

    // What needs no object goes on without the store.
    servers.objects.kill();
    unavailable(&orders, "no", LIMIT).await;
    let small = within(LIMIT, orders.create(json!({})).into_future()).await;
    orders.get_latest(&small.unwrap().id).await.unwrap();
    let servers = tokio::task::spawn_blocking(move || {
        servers.objects.restart().unwrap();
        servers
    });
    let servers = servers.await.unwrap();

    orders.get_latest(&kept.id).await.unwrap();
    assert_eq!(orders.changes(None).await.unwrap().len(), 3);
    let report = orders.verify().await.unwrap();
    assert!(report.clean(), "{report:?}");
    gone_and_changed(&orders, &servers).await;
}

/// A write that needs the store fails in time, and writes nothing.
async fn unavailable(orders: &Collection, id: &str, limit: Duration) {
    let write = orders.create_with_id(id, json!({ "fill": large() }));
    let error = within(limit, write.into_future()).await.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::Unavailable, "{error}");
    let found = orders.get_latest(id).await.unwrap_err();
    assert_eq!(found.kind(), &ErrorKind::NotFound, "{found}");
}

/// Somebody deletes one object behind our back and writes to another.
async fn gone_and_changed(orders: &Collection, servers: &Servers) {
    let mut ids = Vec::new();
    for _ in 0..3 {
        let made = orders.create(json!({ "fill": large() })).await.unwrap();
        ids.push(made.id);
    }
    let store = servers.place.bucket.as_ref().unwrap().store();
    let objects = store.list(None).map_ok(|object| object.location);
    let objects: Vec<Key> = objects.try_collect().await.unwrap();
    let of = |id: &RecordId| {
        let id = format!("/{id}/");
        let key = objects.iter().find(|key| key.as_ref().contains(&id));
        key.unwrap().clone()
    };
    store.delete(&of(&ids[0])).await.unwrap();
    let body = format!("{{\"fill\":\"{}\"}}", "z".repeat(1000));
    store.put(&of(&ids[1]), body.into()).await.unwrap();
    store.put(&of(&ids[2]), "{}".into()).await.unwrap();
    for id in &ids {
        let error = orders.get_latest(id).await.unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::Corrupt, "{error}");
        let text = error.to_string();
        assert!(text.contains(&id.to_string()), "{text}");
        assert!(!text.contains("yyy") && !text.contains("zzz"), "{text}");
    }
    let report = orders.verify().await.unwrap();
    assert_eq!(report.damage_count, 3, "{report:?}");
}

//! A connection that is out of reach is nobody's business but of those who
//! need it, and they do not wait for it.

use std::{
    future::IntoFuture,
    time::{Duration, Instant},
};

use futures::future::join_all;
use serde_json::json;
use xronox::{Config, ConnectionHealth, ErrorKind, Xronox};
use xronox_services::{Mongod, Proxy, env};

/// How long a call may wait here.
const PATIENCE: Duration = Duration::from_secs(1);
/// What is refused at once takes less.
const AT_ONCE: Duration = Duration::from_millis(400);

fn config(uri: &str, objects: &str) -> Config {
    let on = |database: &str, space: &str, name: &str| json!({ "tenantId": name, "dbConnRef": database, "spaceConnRef": space, "dbName": name });
    let mut far = json!({ "endpoint": objects, "bucket": "b" });
    if objects.starts_with("http") {
        far["region"] = json!("us-east-1");
        far["accessKey"] = json!("ann");
        far["secretKey"] = json!("hush");
        far["forcePathStyle"] = json!(true);
    }
    Config::from_value(json!({
        "dbConnections": {
            "near": { "mongoUri": "memory:" },
            "far": { "mongoUri": uri, "pool": {
                "connectTimeoutMs": PATIENCE.as_millis(), "requestTimeoutMs": PATIENCE.as_millis(),
            } },
        },
        "spacesConnections": {
            "near": { "endpoint": "memory:" },
            "far": far,
        },
        "databases": { "runtime": { "tenantDatabases": [
            on("near", "near", "here"), on("far", "near", "there"), on("near", "far", "stored"),
        ] } },
    }))
    .unwrap()
}

async fn health_of(xronox: &Xronox, path: &str) -> ConnectionHealth {
    let all = xronox.health().await;
    let text = serde_json::to_string(&all).unwrap();
    assert!(!text.contains("hush"), "{text}");
    all.into_iter().find(|one| one.path == path).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_a_database_that_is_down() {
    let server = Mongod::replica_set(&env::services().unwrap()).unwrap();
    let proxy = Proxy::start(server.address()).unwrap();
    let uri = server.uri_through(proxy.address());
    let xronox = Xronox::open(config(&uri, "memory:")).await.unwrap();
    let here = xronox
        .tenant("here")
        .await
        .unwrap()
        .collection("orders")
        .unwrap();
    let there = xronox
        .tenant("there")
        .await
        .unwrap()
        .collection("orders")
        .unwrap();
    there.create_with_id("a", json!({})).await.unwrap();
    let far = health_of(&xronox, "dbConnections.far").await.status;
    assert!(far.up && far.latency_ms.is_some(), "{far:?}");

    proxy.stall();
    // Those who are the first wait as long as one may, all at the same time.
    let begun = Instant::now();
    for answer in join_all((0..50).map(|_| there.get_latest("a").into_future())).await {
        assert_eq!(*answer.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    assert!(begun.elapsed() < PATIENCE * 3, "{:?}", begun.elapsed());
    // Of those who come later one tries now and then; the others know at once.
    let (mut slow, mut quick) = (0, 0);
    let until = Instant::now() + PATIENCE * 3;
    while Instant::now() < until {
        let begun = Instant::now();
        let (read, write) = tokio::join!(there.get_latest("a"), there.create(json!({})));
        assert_eq!(*read.unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(*write.unwrap_err().kind(), ErrorKind::Unavailable);
        if begun.elapsed() < AT_ONCE {
            quick += 1;
        } else {
            slow += 1;
        }
        // Who needs it not notices nothing.
        let begun = Instant::now();
        here.create(json!({})).await.unwrap();
        assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(slow <= 4 && quick > 5, "{slow} slow, {quick} quick");
    let far = health_of(&xronox, "dbConnections.far").await.status;
    assert!(!far.up && far.reason.is_some(), "{far:?}");
    assert!(health_of(&xronox, "dbConnections.near").await.status.up);

    proxy.pass();
    let begun = Instant::now();
    // The driver notices after ten seconds, its longest wait for news.
    while there.get_latest("a").await.is_err() {
        assert!(
            begun.elapsed() < Duration::from_secs(40),
            "it does not come back"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    there.create(json!({})).await.unwrap();
    assert!(health_of(&xronox, "dbConnections.far").await.status.up);
    xronox.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_who_open_a_database_that_is_down_do_not_queue_up() {
    let xronox = Xronox::open(config("mongodb://ann:hush@127.0.0.1:9/", "memory:"))
        .await
        .unwrap();
    let begun = Instant::now();
    for opened in join_all((0..1000).map(|_| xronox.tenant("there").into_future())).await {
        let error = opened.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Unavailable);
        assert!(!error.to_string().contains("hush"), "{error}");
    }
    assert!(begun.elapsed() < PATIENCE * 5, "{:?}", begun.elapsed());
    assert!(xronox.tenant("here").await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_a_store_of_objects_that_is_down() {
    let config = config("memory:", "http://127.0.0.1:9");
    let xronox = Xronox::open(config).await.unwrap();
    let first = Instant::now();
    let error = xronox.tenant("stored").await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Unavailable);
    assert!(first.elapsed() > AT_ONCE, "it was not tried again");
    let begun = Instant::now();
    let error = xronox.tenant("stored").await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Unavailable);
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    let far = health_of(&xronox, "spacesConnections.far").await.status;
    assert!(!far.up, "{far:?}");
    assert!(xronox.tenant("here").await.is_ok());
}

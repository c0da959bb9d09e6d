//! What can go wrong before and around a database.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod server;

use std::time::{Duration, Instant};

use server::{Database, replica_set, standalone};
use xronox_mongodb::{
    CommitMode, ConnectionOptions, Deployment, MongoConnection, MongoDatabase, Transactions,
};
use xronox_store::{Catalog, StoreError};

fn quick() -> ConnectionOptions {
    ConnectionOptions {
        connect_timeout: Duration::from_millis(700),
        request_timeout: Duration::from_secs(3),
        ..ConnectionOptions::default()
    }
}

#[track_caller]
fn unavailable(result: Result<MongoConnection, StoreError>, names: &str) {
    let error = result.unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(matches!(error, StoreError::Unavailable { .. }), "{text}");
    assert!(text.contains(names), "{text}");
    assert!(!text.contains("s3cret"), "{text}");
}

#[tokio::test]
async fn an_unreachable_server_is_unavailable_in_time() {
    let began = Instant::now();
    let opened = MongoConnection::open("mongodb://u:s3cret@127.0.0.1:1/", quick()).await;
    unavailable(opened, "127.0.0.1:1");
    assert!(began.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn a_wrong_set_name_is_unavailable() {
    let uri = replica_set();
    let host = uri
        .split("://")
        .nth(1)
        .unwrap()
        .split(['/', '?'])
        .next()
        .unwrap();
    let wrong = format!("mongodb://{host}/?replicaSet=wrong");
    unavailable(MongoConnection::open(&wrong, quick()).await, host);
}

#[tokio::test]
async fn wrong_credentials_are_unavailable_and_stay_secret() {
    let uri = standalone();
    let host = uri
        .split("://")
        .nth(1)
        .unwrap()
        .split(['/', '?'])
        .next()
        .unwrap();
    let wrong = format!("mongodb://nobody:s3cret@{host}/");
    unavailable(MongoConnection::open(&wrong, quick()).await, "credentials");
}

#[tokio::test]
async fn an_unusable_uri_is_refused_and_stays_secret() {
    for uri in [
        "",
        "postgres://u:s3cret@host/",
        "mongodb://u:s3cret@:1:2/",
        "mongodb://u:s3cret@host/?maxPoolSize=s3cret",
        "mongodb://u:s3cret",
    ] {
        let error = MongoConnection::open(uri, quick()).await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(matches!(error, StoreError::Refused(_)), "{uri}: {text}");
        assert!(!text.contains("s3cret"), "{text}");
    }
}

#[tokio::test]
async fn a_deployment_says_what_it_is() {
    let connection = MongoConnection::open(&replica_set(), quick())
        .await
        .unwrap();
    assert_eq!(
        connection.deployment().await.unwrap(),
        Deployment::ReplicaSet
    );
    assert_eq!(
        connection.commit_mode().await.unwrap(),
        CommitMode::Transactions
    );
    let connection = MongoConnection::open(&standalone(), quick()).await.unwrap();
    assert_eq!(
        connection.deployment().await.unwrap(),
        Deployment::Standalone
    );
    assert_eq!(
        connection.commit_mode().await.unwrap(),
        CommitMode::LogFirst
    );

    let with = |enabled, auto_detect| ConnectionOptions {
        transactions: Transactions {
            enabled,
            auto_detect,
        },
        ..quick()
    };
    let demanded = MongoConnection::open(&standalone(), with(true, false)).await;
    assert!(
        matches!(demanded, Err(StoreError::Unsupported(_))),
        "{demanded:?}"
    );
    let without = MongoConnection::open(&replica_set(), with(false, true))
        .await
        .unwrap();
    assert_eq!(without.commit_mode().await.unwrap(), CommitMode::LogFirst);
}

#[tokio::test]
async fn many_databases_share_a_connection() {
    let databases: Vec<Database> = (0..3).map(|_| Database::on_replica_set()).collect();
    let connection = databases[0].connect(quick()).await;
    let mut ids = Vec::new();
    for database in &databases {
        let opened = MongoDatabase::open(&connection, &database.name)
            .await
            .unwrap();
        assert_eq!(opened.marker().database, database.name);
        ids.push(opened.marker().id.clone());
        // One that is closed leaves the others alone.
        opened.catalog().await.unwrap().close().await.unwrap();
        assert!(matches!(opened.catalog().await, Err(StoreError::Closed)));
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 3);
}

#[tokio::test]
async fn a_marker_is_made_once() {
    let database = Database::on_replica_set();
    let connection = database.connect(quick()).await;
    let opening = (0..8).map(|_| MongoDatabase::open(&connection, &database.name));
    let opened = futures::future::try_join_all(opening).await.unwrap();
    for other in &opened {
        assert_eq!(other.marker(), opened[0].marker());
    }
}

#[tokio::test]
async fn a_foreign_or_newer_marker_is_refused() {
    let raw = mongodb::Client::with_uri_str(replica_set()).await.unwrap();
    for (marker, newer) in [
        (mongodb::bson::doc! { "_id": 1, "hello": "world" }, false),
        (
            mongodb::bson::doc! { "_id": "marker", "database": "x", "id": "0".repeat(24), "format": 99_i64 },
            true,
        ),
    ] {
        let database = Database::on_replica_set();
        let markers = raw
            .database(&database.name)
            .collection::<mongodb::bson::Document>("xronox_marker");
        markers.insert_one(&marker).await.unwrap();
        let connection = database.connect(quick()).await;
        let error = MongoDatabase::open(&connection, &database.name)
            .await
            .unwrap_err();
        let right = if newer {
            matches!(error, StoreError::Unsupported(_))
        } else {
            matches!(error, StoreError::Corrupt(_))
        };
        assert!(right, "{error}");
        // So that the database can be removed like the others.
        let all = mongodb::bson::doc! {};
        markers.delete_many(all).await.unwrap();
    }
}

#[tokio::test]
async fn a_name_that_mongodb_does_not_take_is_refused() {
    let connection = MongoConnection::open(&replica_set(), quick())
        .await
        .unwrap();
    for name in ["", "a.b", "a/b", "a b", "$x", "a\0", &"x".repeat(64)] {
        let error = MongoDatabase::open(&connection, name).await.unwrap_err();
        assert!(matches!(error, StoreError::Refused(_)), "{name:?}: {error}");
    }
}

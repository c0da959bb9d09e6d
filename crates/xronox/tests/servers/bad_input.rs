//! Servers and buckets that are not what the store was told: an error that
//! names them, in time, and never a secret.

use std::{
    future::IntoFuture,
    net::TcpListener,
    time::{Duration, Instant},
};

use futures::future::join_all;
use serde_json::json;
use xronox::{Error, ErrorKind};
use xronox_services::{Fault, Mongod, Proxy, ReplicaSet, bson::doc, env};

use crate::{
    load::{back, within},
    place::{BUCKET, Bucket, Place, Shared},
};

/// How soon an error comes. The driver looks for a server for as long as the
/// URI says.
const LIMIT: Duration = Duration::from_secs(12);
const LOOK: &str = "serverSelectionTimeoutMS=2000";

/// The error of opening a place; it names `named`, and comes in time.
async fn refused(place: &Place, kind: &ErrorKind, named: &str) -> String {
    let begun = Instant::now();
    let error = within(LIMIT, place.open()).await.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    println!("after {:?}: {error}", begun.elapsed());
    tells(&error, named)
}

/// The text of an error with all its causes, which holds `named`.
fn tells(error: &Error, named: &str) -> String {
    let mut text = error.to_string();
    assert!(text.contains(named), "{text} does not name {named}");
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error} {error:?}");
        cause = error.source();
    }
    text = format!("{text} {error:?}");
    for secret in ["s3cret", "test-secret", "xronox-test@"] {
        assert!(!text.contains(secret), "{text}");
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_credentials_are_told() {
    let server = Mongod::secured(&env::services().unwrap()).unwrap();
    let uri = format!("{}&{LOOK}", server.uri());
    let host = server.address().to_string();
    let right = Place::new(&uri, "secured");
    let xronox = right.open().await.unwrap();
    let orders = xronox.collection("orders").unwrap();
    orders.create(json!({})).await.unwrap();
    assert!(orders.verify().await.unwrap().clean());

    let (_, rest) = uri.split_once('@').unwrap();
    let as_user = |user: &str| Place::new(format!("mongodb://{user}{rest}"), "secured");
    for user in ["xronox:s3cret@", "nobody:s3cret@"] {
        let text = refused(&as_user(user), &ErrorKind::Unavailable, &host).await;
        assert!(text.contains("credentials"), "{text}");
    }
    // Nobody has logged in.
    let text = refused(&as_user(""), &ErrorKind::Unavailable, &host).await;
    assert!(text.contains("permission"), "{text}");
    // A password in the wrong place does not show either.
    let misplaced = Place::new("mongodb://xronox@s3cret:x@y:z/", "secured");
    refused(&misplaced, &ErrorKind::Config, "mongodb://").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_servers_are_told() {
    let server = Mongod::replica_set(&env::services().unwrap()).unwrap();
    let host = server.address().to_string();
    let other = Place::new(format!("mongodb://{host}/?replicaSet=other&{LOOK}"), "x");
    refused(&other, &ErrorKind::Unavailable, &host).await;

    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
    let nobody = nobody.unwrap();
    let unreachable = Place::new(format!("mongodb://u:s3cret@{nobody}/?{LOOK}"), "x");
    refused(&unreachable, &ErrorKind::Unavailable, &nobody.to_string()).await;

    let unknown = Place::new(format!("mongodb://db.invalid:27017/?{LOOK}"), "x");
    refused(&unknown, &ErrorKind::Unavailable, "db.invalid:27017").await;

    // It accepts connections, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let mute = Place::new(format!("mongodb://{address}/?{LOOK}"), "x");
    refused(&mute, &ErrorKind::Unavailable, &address.to_string()).await;

    let name = Place::new(server.uri(), "a/b");
    refused(&name, &ErrorKind::Config, "a/b").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_buckets_are_told() {
    let server = Mongod::replica_set(&env::services().unwrap()).unwrap();
    // Makes the bucket.
    let _places = Shared::all().await;
    let at = |bucket: Bucket| Place::new(server.uri(), "buckets").with_bodies(bucket);
    let missing = at(Bucket::new(env::s3().unwrap(), "xronox-not-there"));
    refused(&missing, &ErrorKind::Unavailable, "xronox-not-there").await;

    let (limited, own) = env::s3_limited().unwrap();
    let xronox = at(Bucket::new(limited.clone(), &own)).open().await.unwrap();
    let orders = xronox.collection("orders").unwrap();
    orders
        .create(json!({ "fill": "x".repeat(1000) }))
        .await
        .unwrap();
    assert!(orders.verify().await.unwrap().clean());
    let denied = at(Bucket::new(limited, BUCKET));
    refused(&denied, &ErrorKind::Unavailable, BUCKET).await;

    let mut access = env::s3().unwrap();
    access.secret_key = "s3cret".to_owned();
    let wrong = at(Bucket::new(access, BUCKET));
    refused(&wrong, &ErrorKind::Unavailable, BUCKET).await;

    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
    let bucket = Bucket::new(env::s3().unwrap(), BUCKET);
    let unreachable = at(bucket.through(nobody.unwrap()));
    refused(&unreachable, &ErrorKind::Unavailable, BUCKET).await;
}

/// A direct connection to a member that takes no writes: neither does the
/// store, and what can be read is read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_takes_no_writes_is_told() {
    let set = ReplicaSet::start(&env::services().unwrap()).unwrap();
    let xronox = Place::new(set.uri(), "members").open().await.unwrap();
    let orders = xronox.collection("orders").unwrap();
    orders.create_with_id("a", json!({ "n": 1 })).await.unwrap();

    // It takes part in no election while the test goes on; a primary refuses.
    let freeze = |member: &&Mongod| {
        let frozen = doc! { "replSetFreeze": 600 };
        member.command("admin", frozen).is_ok()
    };
    let secondary = set.members().iter().find(freeze).unwrap().address();
    for transactions in [true, false] {
        let uri = format!("mongodb://{secondary}/?directConnection=true&{LOOK}");
        let mut place = Place::new(uri, "members");
        place.patience = Some(Duration::from_secs(4));
        place.transactions = transactions;
        let begun = Instant::now();
        // It is a database like any other until something is written.
        let direct = within(LIMIT, place.open()).await.unwrap();
        let read = direct.collection("orders").unwrap();
        // It hears of it in a moment.
        let there = async {
            while read.get_latest("a").await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        within(LIMIT, there).await;
        let write = read.update("a", json!({ "n": 2 }));
        let error = within(LIMIT, write.into_future()).await.unwrap_err();
        println!("after {:?}: {error}", begun.elapsed());
        assert_eq!(error.kind(), &ErrorKind::Unavailable, "{error}");
        tells(&error, &secondary.to_string());
    }
    assert_eq!(orders.changes(None).await.unwrap().len(), 1);
    assert!(orders.verify().await.unwrap().clean());
}

/// The server goes away for good while a commit is under way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_gone_in_a_commit_is_told() {
    let services = env::services().unwrap();
    gone_in_a_commit(Mongod::replica_set(&services).unwrap(), "commitTransaction").await;
    // What is inserted is committed.
    gone_in_a_commit(Mongod::standalone(&services).unwrap(), "insert").await;
}

async fn gone_in_a_commit(mut server: Mongod, commits: &'static str) {
    const LIMIT: Duration = Duration::from_mins(1);
    let proxy = Proxy::start(server.address()).unwrap();
    let uri = server.uri_through(proxy.address());
    let with = if uri.contains('?') { '&' } else { '?' };
    let mut place = Place::new(format!("{uri}{with}{LOOK}"), "gone");
    place.patience = Some(Duration::from_secs(4));
    let xronox = place.open().await.unwrap();
    let orders = xronox.collection("orders").unwrap();
    orders.create_with_id("a", json!({})).await.unwrap();

    // Its commit is lost on the way, and there is nobody to ask.
    let (heard, sent) = std::sync::mpsc::channel();
    proxy.inject(Fault::LoseAnswer, 1, move |request| {
        let commit = request.contains(commits);
        if commit {
            heard.send(()).unwrap();
        }
        commit
    });
    let write = tokio::spawn({
        let orders = orders.clone();
        async move { orders.update("a", json!({ "n": 1 })).await }
    });
    let server = tokio::task::spawn_blocking(move || {
        sent.recv().unwrap();
        server.kill();
        server
    });
    let mut server = server.await.unwrap();
    proxy.cut();
    let begun = Instant::now();
    let error = within(LIMIT, write).await.unwrap().unwrap_err();
    println!("after {:?}: {error}", begun.elapsed());
    let ErrorKind::Indeterminate { id, attempt } = error.kind().clone() else {
        panic!("{error}");
    };
    let asked = within(LIMIT, orders.outcome(id.clone(), attempt)).await;
    let asked = asked.unwrap_err();
    assert_eq!(asked.kind(), &ErrorKind::Unavailable, "{asked}");
    tells(&asked, &proxy.address().to_string());

    let server = tokio::task::spawn_blocking(move || {
        server.restart().unwrap();
        server
    });
    let _server = server.await.unwrap();
    let outcome = within(LIMIT, back(|| orders.outcome(id.clone(), attempt))).await;
    let now = orders.get_latest("a").await.unwrap();
    assert_eq!(now.ov(), outcome.map_or(0, |written| written.ov));
    assert!(orders.verify().await.unwrap().clean());
}

/// A document that cannot be stored is refused, and those that are written at
/// the same time are not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_that_does_not_fit_fails_alone() {
    for server in [Mongod::replica_set, Mongod::standalone] {
        let server = server(&env::services().unwrap()).unwrap();
        let xronox = Place::new(server.uri(), "large").open().await.unwrap();
        let orders = xronox.collection("orders").unwrap();
        orders.create(json!({})).await.unwrap();
        // Whatever comes while the first one is committed is one batch.
        let good = |n: u64| orders.create(json!({ "n": n })).into_future();
        let before = join_all((0..10).map(good));
        let after = join_all((10..20).map(good));
        let bad = orders.create(json!({ "fill": "x".repeat(2 << 20) }));
        let (before, bad, after) = futures::join!(before, bad.into_future(), after);
        let error = bad.unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::Invalid, "{error}");
        for written in before.into_iter().chain(after) {
            written.unwrap();
        }
        let report = orders.verify().await.unwrap();
        assert!(report.clean(), "{report:?}");
        assert_eq!(report.rows, 21);
    }
}

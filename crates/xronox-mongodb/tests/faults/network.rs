//! A line that delivers late what was sent.

use std::{mem, net::SocketAddr, sync::Arc, time::Duration};

use mongodb::bson::{Document, doc};
use serde_json::json;
use xronox_model::{IndexSpec, UniqueKey};
use xronox_mongodb::{ConnectionOptions, MongoCatalog};
use xronox_services::Proxy;
use xronox_store::{Append, Bodies, Catalog, StoreError};

use crate::{
    between::Stepped,
    check, commit, commit_at, create, id, name,
    server::{Database, standalone},
    update,
};

/// The standalone, once directly and once by a line that passes nothing on any
/// more from when rows are on their way.
struct Line {
    near: MongoCatalog,
    far: MongoCatalog,
    proxy: Arc<Proxy>,
    database: Database,
}

impl Line {
    async fn open() -> Self {
        let uri = standalone();
        let (_, rest) = uri.split_once("://").unwrap();
        let host = rest.split(['/', '?']).next().unwrap();
        let server: SocketAddr = host.parse().unwrap();
        let proxy = Arc::new(Proxy::start(server).unwrap());
        let database = Database::on(uri.clone());
        let near = database.open_again().await.catalog().await.unwrap();
        commit(&near, vec![create("warm")]).await.unwrap();
        let by_line = Database {
            uri: uri.replacen(host, &proxy.address().to_string(), 1),
            name: database.name.clone(),
        };
        let line = Arc::clone(&proxy);
        let opened = by_line.open_with(ConnectionOptions {
            request_timeout: Duration::from_secs(2),
            on_command: Some(Arc::new(move |command, _| {
                if command == "insert" {
                    line.stall();
                }
            })),
            ..ConnectionOptions::default()
        });
        let far = opened.await.catalog().await.unwrap();
        // The database is removed without the line.
        mem::forget(by_line);
        Self {
            near,
            far,
            proxy,
            database,
        }
    }

    /// Delivers what was sent, and lets the server do it.
    async fn deliver(&self) {
        self.proxy.pass();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Nobody is told that a row will never come, and then it comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_was_given_up_never_comes() {
    let line = Line::open().await;
    let rows = || vec![create("a"), update("warm", 1), create("b")];
    let sent = rows();
    let attempts: Vec<_> = sent
        .iter()
        .map(|row| (row.id.clone(), row.attempt))
        .collect();
    let error = commit(&line.far, sent).await.unwrap_err();
    assert!(matches!(error, StoreError::Indeterminate { .. }), "{error}");
    for (id, attempt) in attempts.iter().chain(&attempts) {
        let row = line.near.outcome(&name(), id, *attempt).await.unwrap();
        assert_eq!(row, None);
    }
    line.deliver().await;
    assert_eq!(check(&line.near).await, 1);
    let again = commit(&line.near, rows()).await.unwrap();
    let cvs: Vec<u64> = again.iter().map(|commit| commit.cv).collect();
    assert_eq!(cvs, [1, 2, 3]);
    assert_eq!(check(&line.near).await, 4);
}

/// Whoever asks after it came finds it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_came_late_is_found() {
    let line = Line::open().await;
    let row = create("a");
    let attempt = row.attempt;
    commit(&line.far, vec![row]).await.unwrap_err();
    line.deliver().await;
    let row = line.near.outcome(&name(), &id("a"), attempt).await.unwrap();
    assert_eq!(row.map(|row| (row.cv, row.ov)), Some((1, 0)));
    assert_eq!(check(&line.near).await, 2);
}

/// A row whose unique key was given to another does not come any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_was_taken_over_has_one_holder() {
    let line = Line::open().await;
    let spec = IndexSpec::unique(vec!["email".parse().unwrap()]);
    let epoch = line.near.add_index(&name(), &spec).await.unwrap().epoch;
    let key = UniqueKey::of(&json!({ "email": "e" }), &spec).unwrap();
    let with_key = |record| Append {
        unique: key.clone().into_iter().collect(),
        ..create(record)
    };
    commit_at(&line.far, epoch, vec![with_key("late")])
        .await
        .unwrap_err();
    // Its reservation is over.
    let raw = mongodb::Client::with_uri_str(standalone()).await.unwrap();
    let db = raw.database(&line.database.name);
    let past = mongodb::bson::DateTime::from_millis(0);
    let keys = db.collection::<Document>("orders_keys");
    let over = keys.update_many(
        doc! { "until": { "$exists": true } },
        doc! { "$set": { "until": past } },
    );
    assert_eq!(over.await.unwrap().modified_count, 1);

    let next = Stepped::open(&line.database).await;
    let proxy = Arc::clone(&line.proxy);
    // When the key is the other one's, and its row is not there yet: behind the
    // fence, which is an insertion too.
    next.before("insert", 2, &line.database, async move |_, _| {
        proxy.pass();
        tokio::time::sleep(Duration::from_secs(1)).await;
    });
    commit_at(&next.catalog, epoch, vec![with_key("next")])
        .await
        .unwrap();
    assert!(next.stepped());
    assert_eq!(check(&line.near).await, 2);
    let late = line.near.head(&name(), &id("late"), Bodies::Omit).await;
    assert_eq!(late.unwrap(), None);
    let holder = line.near.lookup_unique(&name(), &key.unwrap()).await;
    assert_eq!(holder.unwrap(), Some(id("next")));
}

//! What is particular to a file: copies while it is in use, and bodies of
//! every size in their places.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use serde_json::json;
use tempfile::TempDir;
use xronox_model::{
    Attempt, Body, BucketRole, CollectionName, Encoding, File, IndexKeys, Location, Op, RecordId,
    Sha256, SystemChange, json,
};
use xronox_sqlite::SqliteCatalog;
use xronox_store::{
    Append, Batch, Bodies, Catalog, Expect, NewBody, Outcome, Presence, StoreError, SystemClock,
};

fn write(op: Op, id: &str, n: u64, fill: usize) -> Append {
    let bytes = json::canonical(&json!({ "n": n, "fill": "x".repeat(fill) }));
    let mut attempt = [0; 12];
    attempt[4..].copy_from_slice(&n.to_be_bytes());
    Append {
        id: id.parse::<RecordId>().unwrap(),
        op,
        expect: Expect::only(if op == Op::Create {
            Presence::Absent
        } else {
            Presence::Live
        }),
        attempt: Attempt::from_bytes(attempt),
        actor: None,
        on_behalf_of: None,
        reason: None,
        change: SystemChange::default(),
        body: NewBody::Given(Body {
            sha256: Sha256::of(&bytes),
            size: bytes.len() as u64,
            encoding: Encoding::Plain,
            location: Location::Inline,
            inline: Some(bytes.into()),
            files: Vec::new(),
        }),
        keys: Some(IndexKeys::default()),
        unique: Vec::new(),
        idempotency: None,
        group: None,
        skip_unchanged: false,
        newest_only: false,
    }
}

async fn commit(catalog: &SqliteCatalog, name: &CollectionName, append: Append) {
    let batch = Batch {
        epoch: 0,
        mutations: vec![append.into()],
    };
    let outcomes = catalog.commit(&[(name.clone(), batch)]).await.unwrap();
    assert!(
        matches!(outcomes[0][0], Outcome::Committed(_)),
        "{outcomes:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_made_while_others_write_is_whole() {
    let folder = TempDir::new().unwrap();
    let open =
        |file: &str| SqliteCatalog::open(folder.path().join(file), "test", Arc::new(SystemClock));
    let catalog = open("a.sqlite").await.unwrap();
    let name: CollectionName = "orders".parse().unwrap();
    for n in 0..300 {
        commit(&catalog, &name, write(Op::Create, &format!("r{n}"), n, 500)).await;
    }
    let writer = {
        let (catalog, name) = (catalog.clone(), name.clone());
        tokio::spawn(async move {
            for n in 300..500 {
                commit(&catalog, &name, write(Op::Create, &format!("r{n}"), n, 500)).await;
            }
        })
    };
    let copy = folder.path().join("copy.sqlite");
    catalog.backup(&copy).await.unwrap();
    writer.await.unwrap();
    let again = catalog.backup(&copy).await.unwrap_err();
    assert!(matches!(again, StoreError::Refused(_)), "{again}");

    let copied = open("copy.sqlite").await.unwrap();
    assert_eq!(copied.marker().id, catalog.marker().id);
    let rows = copied.rows(&name, 0, 1000, Bodies::Inline).await.unwrap();
    assert!(rows.len() >= 300, "{}", rows.len());
    let original = catalog
        .rows(&name, 0, rows.len(), Bodies::Inline)
        .await
        .unwrap();
    assert_eq!(rows, original);
    assert_eq!(copied.check(&name).await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn bodies_of_every_size_come_back() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.sqlite");
    let catalog = SqliteCatalog::open(&path, "test", Arc::new(SystemClock))
        .await
        .unwrap();
    let name: CollectionName = "orders".parse().unwrap();
    let sizes = [
        0, 1, 1000, 1515, 1516, 1517, 1518, 1519, 1520, 1600, 5000, 70_000, 3_000_000,
    ];
    for (n, size) in sizes.iter().enumerate() {
        let op = if n == 0 { Op::Create } else { Op::Update };
        commit(&catalog, &name, write(op, "a", n as u64, *size)).await;
    }
    let rows = catalog.rows(&name, 0, 100, Bodies::Inline).await.unwrap();
    assert_eq!(rows.len(), sizes.len());
    for row in &rows {
        let body = row.body.as_ref().unwrap();
        let bytes = body.inline.as_ref().unwrap();
        assert_eq!(
            (bytes.len() as u64, Sha256::of(bytes)),
            (body.size, body.sha256)
        );
    }
    let id: RecordId = "a".parse().unwrap();
    let head = catalog.head(&name, &id, Bodies::Inline).await.unwrap();
    assert_eq!(head.as_ref(), rows.last());
    assert_eq!(catalog.check(&name).await.unwrap(), Vec::<String>::new());
    let size = catalog.size(&name).await.unwrap();
    assert_eq!(size.inline_bytes, size.body_bytes);
}

#[tokio::test]
async fn an_older_file_is_brought_up_to_date() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.sqlite");
    let open = || SqliteCatalog::open(path.clone(), "test", Arc::new(SystemClock));
    let name: CollectionName = "orders".parse().unwrap();
    let catalog = open().await.unwrap();
    commit(&catalog, &name, write(Op::Create, "a", 0, 10)).await;
    let rows = catalog.rows(&name, 0, 10, Bodies::Inline).await.unwrap();
    catalog.close().await.unwrap();
    // As the first format had it.
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch("DROP TABLE c_orders_file; PRAGMA user_version=1;")
        .unwrap();
    drop(db);
    let catalog = open().await.unwrap();
    let read = catalog.rows(&name, 0, 10, Bodies::Inline).await.unwrap();
    assert_eq!(read, rows);
    assert!(!catalog.names_key("k").await.unwrap());
    let file = File {
        path: "f".parse().unwrap(),
        sha256: Sha256::of(b"f"),
        size: 1,
        content_type: "a/b".into(),
        location: Location::Object {
            space: "main".into(),
            role: BucketRole::Content,
            key: "k".into(),
        },
        text: None,
    };
    let mut update = write(Op::Update, "a", 1, 10);
    let NewBody::Given(body) = &mut update.body else {
        panic!("a new document");
    };
    body.files.push(file);
    commit(&catalog, &name, update).await;
    assert!(catalog.names_key("k").await.unwrap());
    assert_eq!(catalog.check(&name).await.unwrap(), Vec::<String>::new());
    catalog.close().await.unwrap();
    // What the table of files lacks, or has too much, is damage.
    for (statement, cv) in [
        ("DELETE FROM c_orders_file", 1),
        (
            "INSERT INTO c_orders_file VALUES (0, 'main', 2, 'other'), (1, 'main', 2, 'k')",
            0,
        ),
    ] {
        let db = rusqlite::Connection::open(&path).unwrap();
        db.execute_batch(statement).unwrap();
        drop(db);
        let catalog = open().await.unwrap();
        let damages = catalog.check(&name).await.unwrap();
        let expected = format!("{cv} is not found by its files");
        assert!(
            damages.len() == 1 && damages[0].contains(&expected),
            "{damages:?}"
        );
        catalog.close().await.unwrap();
    }
}

//! Many tenants in one store.

use serde_json::{Value, json};
use tempfile::TempDir;
use xronox::{Config, Context, ErrorKind, Xronox};

#[expect(clippy::unwrap_used, reason = "a wrong one fails the test")]
fn config(folder: &std::path::Path, extra: &Value) -> Config {
    let path = folder.display();
    let mut config = json!({
        "dbConnections": {
            "one": { "mongoUri": format!("sqlite:{path}/one") },
            "two": { "mongoUri": format!("sqlite:{path}/two") },
        },
        "spacesConnections": { "files": { "endpoint": format!("file:{path}/objects") } },
        "databases": {
            "metadata": { "genericDatabase": { "dbConnRef": "one", "dbName": "app_metadata" } },
            "runtime": {
                "tenantDatabases": [
                    { "tenantId": "acme", "dbConnRef": "one", "spaceConnRef": "files", "dbName": "acme" },
                    { "tenantId": "globex", "dbConnRef": "two", "dbName": "globex" },
                ],
                "dynamicTenants": {
                    "enabled": true,
                    "dbConnRefs": [{ "ref": "one" }, { "ref": "two" }],
                    "dbNameTemplate": "app_{tenantId}",
                },
            },
        },
    });
    merge(&mut config, extra);
    Config::from_json(&config.to_string()).unwrap()
}

#[expect(clippy::unwrap_used, reason = "what does not open fails the test")]
async fn open(folder: &TempDir, extra: &Value) -> Xronox {
    Xronox::open(config(folder.path(), extra)).await.unwrap()
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

#[tokio::test]
async fn each_tenant_has_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let xronox = open(&folder, &json!({})).await;
    let contexts = [
        Context::runtime("acme"),
        Context::runtime("globex"),
        Context::runtime("Acme"),
        Context::runtime("../acme"),
        Context::runtime("acme\u{301}"),
        Context::runtime("acm\u{e9}"),
        Context::runtime("acme."),
        Context::metadata().generic(),
    ];
    for context in &contexts {
        let users = xronox.with(context.clone()).await.unwrap();
        let users = users.collection("users").unwrap();
        let whose = json!({ "whose": context.to_string() });
        users.create_with_id("u1", whose).await.unwrap();
    }
    for context in &contexts {
        let database = xronox.with(context.clone()).await.unwrap();
        let users = database.collection("users").unwrap();
        let found = users.query(json!({})).await.unwrap();
        assert_eq!(found.items.len(), 1, "{context}");
        assert_eq!(found.items[0].json()["whose"], context.to_string());
        assert!(database.verify().await.unwrap().clean());
    }
    xronox.close().await.unwrap();
    let closed = xronox.tenant("acme").await.unwrap_err();
    assert_eq!(*closed.kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn a_database_has_one_owner() {
    let folder = tempfile::tempdir().unwrap();
    let xronox = open(&folder, &json!({})).await;
    let acme = xronox.tenant("acme").await.unwrap();
    acme.collection("users")
        .unwrap()
        .create(json!({}))
        .await
        .unwrap();
    xronox.close().await.unwrap();

    let stolen = json!({ "databases": { "runtime": { "tenantDatabases": [
        { "tenantId": "mallory", "dbConnRef": "one", "dbName": "acme" }
    ] } } });
    let xronox = open(&folder, &stolen).await;
    let error = xronox.tenant("mallory").await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Forbidden);
    assert!(error.to_string().contains("tenant \"acme\""), "{error}");
    xronox.close().await.unwrap();
}

#[tokio::test]
async fn a_given_name_must_be_the_resolved_one() {
    let folder = tempfile::tempdir().unwrap();
    let xronox = open(&folder, &json!({})).await;
    let context = Context::runtime("acme").db_name("acme");
    assert_eq!(xronox.with(context).await.unwrap().name(), "acme");
    let error = xronox
        .with(Context::runtime("acme").db_name("globex"))
        .await
        .unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Forbidden);
    let error = xronox.home().unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::UnknownTenant);
}

#[tokio::test]
async fn a_connection_more_moves_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let names: Vec<_> = (0..24).map(|n| format!("tenant-{n}")).collect();
    let xronox = open(&folder, &json!({})).await;
    for name in &names {
        let notes = xronox
            .tenant(name)
            .await
            .unwrap()
            .collection("notes")
            .unwrap();
        notes
            .create_with_id("n", json!({ "of": name }))
            .await
            .unwrap();
    }
    xronox.close().await.unwrap();

    let files = |connection: &str| {
        std::fs::read_dir(folder.path().join(connection))
            .unwrap()
            .count()
    };
    let path = folder.path().display();
    let more = json!({
        "dbConnections": { "three": { "mongoUri": format!("sqlite:{path}/three") } },
        "databases": { "runtime": { "dynamicTenants": {
            "dbConnRefs": [{ "ref": "one" }, { "ref": "two" }, { "ref": "three", "weight": 100 }],
        } } },
    });
    let xronox = open(&folder, &more).await;
    for name in &names {
        let notes = xronox
            .tenant(name)
            .await
            .unwrap()
            .collection("notes")
            .unwrap();
        assert_eq!(notes.get_latest("n").await.unwrap().json()["of"], **name);
    }
    assert!(!folder.path().join("three").exists());
    for n in 0..8 {
        xronox.tenant(format!("new-{n}")).await.unwrap();
    }
    xronox.close().await.unwrap();
    assert!(files("one") > 2 && files("two") > 1 && files("three") > 0);
}

#[tokio::test]
async fn tenants_that_are_not_made_are_known_by_their_mark() {
    let folder = tempfile::tempdir().unwrap();
    let rule = |auto_create: bool| {
        json!({ "databases": { "runtime": { "dynamicTenants": {
            "dbConnRefs": [{ "ref": "one" }], "autoCreate": auto_create,
        } } } })
    };
    let xronox = open(&folder, &rule(true)).await;
    xronox.tenant("initech").await.unwrap();
    xronox.close().await.unwrap();
    // The directory is gone, the database is not.
    for entry in std::fs::read_dir(folder.path().join("one")).unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().contains("metadata") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let xronox = open(&folder, &rule(false)).await;
    xronox.tenant("initech").await.unwrap();
    let error = xronox.tenant("umbrella").await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::UnknownTenant);
    assert!(!folder.path().join("one/app_5fumbrella.sqlite").exists());
    xronox.close().await.unwrap();
}

#[tokio::test]
async fn a_thousand_first_requests_open_a_database_once() {
    let folder = tempfile::tempdir().unwrap();
    let xronox = open(&folder, &json!({})).await;
    let requests = (0..1000).map(|n| {
        let xronox = xronox.clone();
        tokio::spawn(async move {
            let database = xronox.tenant(format!("tenant-{}", n % 4)).await.unwrap();
            let counts = database.collection("counts").unwrap();
            counts.create(json!({ "n": n })).await.unwrap();
        })
    });
    for done in requests.collect::<Vec<_>>() {
        done.await.unwrap();
    }
    for n in 0..4 {
        let database = xronox.tenant(format!("tenant-{n}")).await.unwrap();
        let counted = database
            .collection("counts")
            .unwrap()
            .count(json!({}))
            .await
            .unwrap();
        assert_eq!(counted.count, 250);
    }
    xronox.close().await.unwrap();
}

/// What is kept of tenants is bounded, however many there are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_tenants_few_are_kept() {
    let config = Config::from_value(json!({
        "dbConnections": { "one": { "mongoUri": "memory:" } },
        "databases": {
            "metadata": { "genericDatabase": { "dbConnRef": "one", "dbName": "app_metadata" } },
            "runtime": { "dynamicTenants": {
                "enabled": true, "dbConnRef": "one", "dbNameTemplate": "app_{tenantId}",
                "maxCacheSize": 50,
            } },
        },
    }));
    let xronox = Xronox::open(config.unwrap()).await.unwrap();
    for n in 0..500 {
        xronox.tenant(format!("t{n}")).await.unwrap();
    }
    let kept = xronox.tenants().kept().await.unwrap();
    assert!(kept.contexts <= 50, "{kept:?}");
    assert_eq!((kept.hits, kept.misses), (0, 500));
    assert_eq!(kept.hit_ratio(), Some(0.0));
    for _ in 0..500 {
        xronox.tenant("t499").await.unwrap();
    }
    let kept = xronox.tenants().kept().await.unwrap();
    assert_eq!((kept.hits, kept.misses), (500, 500));
    xronox.close().await.unwrap();
}

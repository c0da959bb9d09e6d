//! Counts in a database of their own.

use serde_json::json;
use xronox::{Config, Context, Xronox};

use crate::SOON;

async fn open(folder: &std::path::Path) -> Xronox {
    let at = |name: &str| json!({ "mongoUri": format!("sqlite:{}", folder.join(name).display()) });
    let config = Config::from_value(json!({
        "dbConnections": { "main": at("main"), "other": at("other") },
        "databases": {
            "metadata": { "genericDatabase": { "dbConnRef": "main", "dbName": "meta" }, "tenantDatabases": [
                { "tenantId": "acme", "dbConnRef": "main", "dbName": "meta_acme" },
            ] },
            "runtime": {
                "tenantDatabases": [
                    { "tenantId": "acme", "dbConnRef": "main", "dbName": "run_acme",
                      "analyticsDbName": "stats-acme" },
                ],
                "dynamicTenants": {
                    "enabled": true, "dbConnRef": "main", "dbNameTemplate": "run_{tenantId}",
                    "analyticsDbNameTemplate": "stats-{tenantId}",
                },
            },
        },
        "counterRules": { "rules": [{ "name": "all", "when": {}, "countUnique": ["n"] }] },
    }));
    Xronox::open(config.unwrap()).await.unwrap()
}

/// In one of its own where there is one, else beside the data.
#[tokio::test]
async fn each_database_counts_where_it_should() {
    let folder = tempfile::tempdir().unwrap();
    let xronox = open(folder.path()).await;
    let stats = folder.path().join("main/stats-acme.sqlite");
    let meta = xronox
        .with(Context::metadata().tenant("acme"))
        .await
        .unwrap();
    let run = xronox.tenant("acme").await.unwrap();
    assert!(stats.exists());
    for (database, count) in [(&meta, 2_u64), (&run, 3)] {
        let events = database.collection("events").unwrap();
        let mut last = 0;
        for n in 0..count {
            last = events.create(json!({ "n": n })).await.unwrap().cv;
        }
        // By themselves, though nobody has asked.
        let counters = database.counters();
        counters.await_folded("events", last, SOON).await.unwrap();
        let totals = counters.totals("events").await.unwrap();
        assert_eq!(
            (totals.created, totals.tenant.as_deref()),
            (count, Some("acme"))
        );
        assert_eq!(totals.rules["all"].unique["n"].count, count);
    }
    xronox.close().await.unwrap();
}

#[tokio::test]
async fn counts_go_and_move_with_their_tenant() {
    let folder = tempfile::tempdir().unwrap();
    let xronox = open(folder.path()).await;
    for tenant in ["goes", "moves"] {
        let database = xronox.tenant(tenant).await.unwrap();
        let events = database.collection("events").unwrap();
        for n in 0..4 {
            events.create(json!({ "n": n % 2 })).await.unwrap();
        }
        let counters = database.counters();
        counters.await_folded("events", 3, SOON).await.unwrap();
    }
    let stats = |place: &str, tenant: &str| {
        let file = folder
            .path()
            .join(place)
            .join(format!("stats-{tenant}.sqlite"));
        file.exists()
    };
    assert!(stats("main", "goes") && stats("main", "moves"));
    let dropped = xronox.tenants().drop("goes").await.unwrap();
    assert!(dropped.kept.is_empty(), "{dropped:?}");
    assert!(!stats("main", "goes"));
    // Another one of that name begins at nothing.
    let again = xronox.tenant("goes").await.unwrap();
    let events = again.collection("events").unwrap();
    events.create(json!({ "n": 0 })).await.unwrap();
    let totals = again.counters().totals("events").current().await.unwrap();
    assert_eq!((totals.created, totals.folded, totals.lag), (1, 1, 0));

    xronox.tenants().move_to("moves", "other").await.unwrap();
    assert!(!stats("main", "moves") && stats("other", "moves"));
    let database = xronox.tenant("moves").await.unwrap();
    let totals = database
        .counters()
        .totals("events")
        .current()
        .await
        .unwrap();
    assert_eq!(
        (totals.created, totals.rules["all"].unique["n"].count),
        (4, 2)
    );
    xronox.close().await.unwrap();
}

//! One record through the tiers.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use serde_json::{Value, json};
use xronox::{Config, Context, ErrorKind, Moment, TierName, Xronox};

fn config(generic: &str) -> Config {
    Config::from_value(json!({
        "dbConnections": {
            "near": { "mongoUri": "memory:" },
            "generic": { "mongoUri": generic },
        },
        "databases": { "metadata": {
            "genericDatabase": { "dbConnRef": "generic", "dbName": "app" },
            "domainsDatabases": [{ "domain": "saas", "dbConnRef": "near", "dbName": "saas" }],
            "tenantDatabases": [{ "tenantId": "acme", "dbConnRef": "near", "dbName": "acme" }],
        } },
    }))
    .unwrap()
}

async fn put(xronox: &Xronox, context: Context, document: Value) {
    let database = xronox.with(context).await.unwrap();
    let settings = database.collection("settings").unwrap();
    settings.create(document).await.unwrap();
}

async fn filled() -> Xronox {
    let xronox = Xronox::open(config("memory:")).await.unwrap();
    let metadata = Context::metadata;
    put(
        &xronox,
        metadata().generic(),
        json!({ "key": "ui", "theme": "light", "features": ["basic", "standard"],
                "settings": { "timeout": 30 } }),
    )
    .await;
    put(
        &xronox,
        metadata().domain("saas"),
        json!({ "key": "ui", "features": ["advanced", "basic"], "settings": { "maxRetries": 3 } }),
    )
    .await;
    put(
        &xronox,
        metadata().tenant("acme"),
        json!({ "key": "ui", "theme": "dark", "features": ["premium"],
                "settings": { "timeout": 60 } }),
    )
    .await;
    xronox
}

#[tokio::test]
async fn the_most_specific_tier_wins() {
    use TierName::{Domain, Generic, Tenant};
    let xronox = filled().await;
    let read = || xronox.get_metadata("settings", json!({ "key": "ui" }));
    for (read, tier, theme) in [
        (read(), Generic, json!("light")),
        (read().domain("saas"), Domain, Value::Null),
        (read().domain("saas").tenant("acme"), Tenant, json!("dark")),
        // Those that the configuration does not know are skipped.
        (
            read().domain("nowhere").tenant("acme"),
            Tenant,
            json!("dark"),
        ),
        (read().domain("saas").tenant("nobody"), Domain, Value::Null),
        (
            read().domain("nowhere").tenant("nobody"),
            Generic,
            json!("light"),
        ),
    ] {
        let found = read.await.unwrap();
        assert_eq!(found.tiers_found, [tier]);
        assert_eq!(found.data["theme"], theme);
        assert_eq!(found.data.get("_id"), None);
        assert_eq!(found.tier_records[&tier].ov(), 0);
    }
    let absent = xronox
        .get_metadata("settings", json!({ "key": "none" }))
        .tenant("acme");
    let error = absent.await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::NotFound);
    assert!(
        error.to_string().contains("get_metadata settings"),
        "{error}"
    );
    // No such databases at all.
    let error = xronox
        .get_knowledge("settings", json!({}))
        .tenant("acme")
        .await
        .unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::NotFound);
    for broken in [
        xronox.get_metadata("settings", json!({ "key": { "$nope": 1 } })),
        xronox.get_metadata("a/b", json!({})),
        read().tenant(""),
        read().as_of(Moment::Cv(0)),
    ] {
        assert_eq!(*broken.await.unwrap_err().kind(), ErrorKind::Invalid);
    }
}

#[tokio::test]
async fn tiers_are_laid_over_each_other() {
    let xronox = filled().await;
    let read = || {
        let read = xronox.get_metadata("settings", json!({ "key": "ui" }));
        read.tenant("acme").domain("saas").merge()
    };
    let found = read().await.unwrap();
    let merged = json!({
        "key": "ui", "theme": "dark", "features": ["basic", "standard", "advanced", "premium"],
        "settings": { "timeout": 60, "maxRetries": 3 },
    });
    assert_eq!(found.data, merged);
    let written = serde_json::to_value(&found).unwrap();
    assert_eq!(
        written["tiersFound"],
        json!(["generic", "domain", "tenant"])
    );
    assert_eq!(written["tierRecords"]["tenant"]["theme"], "dark");
    assert_eq!(written["tierRecords"]["domain"]["_system"]["ov"], 0);

    let found = read().dedupe_arrays(false).await.unwrap();
    let features = json!(["basic", "standard", "advanced", "basic", "premium"]);
    assert_eq!(found.data["features"], features);

    // As it was before the tenant said otherwise.
    tokio::time::sleep(Duration::from_millis(5)).await;
    let before = found.tier_records[&TierName::Tenant].at();
    tokio::time::sleep(Duration::from_millis(5)).await;
    let database = xronox
        .with(Context::metadata().tenant("acme"))
        .await
        .unwrap();
    let settings = database.collection("settings").unwrap();
    let id = found.tier_records[&TierName::Tenant].id();
    settings
        .patch(id, json!({ "theme": "blue" }))
        .await
        .unwrap();
    assert_eq!(read().await.unwrap().data["theme"], "blue");
    assert_eq!(read().as_of(before).await.unwrap().data["theme"], "dark");
}

#[tokio::test]
async fn a_tier_out_of_reach_is_an_error_unless_it_is_not_needed() {
    let dead = "mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=200";
    let xronox = Xronox::open(config(dead)).await.unwrap();
    put(
        &xronox,
        Context::metadata().tenant("acme"),
        json!({ "key": "ui" }),
    )
    .await;
    let read = || xronox.get_metadata("settings", json!({ "key": "ui" }));
    assert!(read().tenant("acme").await.is_ok());
    for needed in [read().tenant("acme").merge(), read().domain("saas"), read()] {
        assert_eq!(*needed.await.unwrap_err().kind(), ErrorKind::Unavailable);
    }
}

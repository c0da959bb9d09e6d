//! What is configured and not there yet is refused, never ignored.

use serde_json::json;
use xronox::{Config, ErrorKind, Xronox};

use crate::{load, table};

#[tokio::test]
async fn what_is_not_there_yet_does_not_open() {
    let maximal = load(serde_json::Value::Object(table(include_str!(
        "maximal.json"
    ))))
    .unwrap();
    let paths: Vec<String> = maximal
        .unsupported()
        .into_iter()
        .map(|one| one.path)
        .collect();
    insta::assert_snapshot!(paths.join("\n"));

    let mut config = Config::memory();
    config.settings.fallback.enabled = true;
    config.settings.audit.reads = true;
    let error = Xronox::open(config).await.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::Unsupported);
    let said = error.to_string();
    assert!(
        said.contains("fallback: ") && said.contains("audit: "),
        "{said}"
    );
}

#[test]
fn presence_alone_switches_nothing_on() {
    let config = load(json!({
        "dbConnections": { "main": { "mongoUri": "memory:" } },
        "databases": {
            "runtime": { "tenantDatabases": [{
                "tenantId": "a", "dbConnRef": "main", "dbName": "a", "analyticsDbName": "b"
            }] },
            "logs": { "dbConnRef": "main", "dbName": "logs" },
            "identities": { "dbConnRef": "main", "dbName": "identities", "audit": false },
            "messaging": { "dbConnRef": "main", "dbName": "messaging", "captureDeliveries": false }
        },
        "collectionMaps": { "orders": { "retention": {}, "s3Offload": { "enabled": false } } },
        "analytics": { "tenants": ["a"], "timeZone": "Europe/Rome" },
        "writeOptimization": { "debounceMs": 500 },
        "worker": { "enabled": true }
    }));
    assert_eq!(config.unwrap().unsupported(), []);
}

//! Many tenants in one store.

use serde_json::{Value, json};

use crate::store::Store;

fn configuration() -> Value {
    json!({
        "dbConnections": {
            "one": { "mongoUri": "sqlite:one" }, "two": { "mongoUri": "sqlite:two" },
        },
        "spacesConnections": { "files": { "endpoint": "file:objects" } },
        "databases": {
            "metadata": {
                "genericDatabase": { "dbConnRef": "one", "dbName": "app_metadata" },
                "domainsDatabases": [
                    { "domain": "saas", "dbConnRef": "two", "dbName": "app_saas" }
                ],
            },
            "runtime": {
                "tenantDatabases": [
                    { "tenantId": "acme", "dbConnRef": "one", "spaceConnRef": "files",
                      "dbName": "acme" },
                ],
                "dynamicTenants": {
                    "enabled": true, "dbConnRefs": [{ "ref": "one" }, { "ref": "two" }],
                    "spaceConnRef": "files", "dbNameTemplate": "app_{tenantId}",
                },
            },
        },
    })
}

#[test]
fn a_command_says_whose_database_it_means() {
    let store = Store::new();
    store.file("xronox.config.json", configuration().to_string());
    let who = [
        vec!["--tenant", "acme"],
        vec!["--tenant", "globex", "--plan", "pro"],
        vec!["--type", "metadata"],
        vec!["--type", "metadata", "--domain", "saas"],
    ];
    for who in &who {
        let document = store.file("o.json", json!({ "who": who }).to_string());
        let mut put = vec!["put", "orders", document.to_str().unwrap(), "--id", "o"];
        put.extend(who);
        store.one(&put);
    }
    for who in &who {
        let get = [&["get", "orders", "o"], &who[..]].concat();
        assert_eq!(store.one(&get)["who"], json!(who));
        let stats = [&["stats"], &who[..]].concat();
        assert_eq!(store.one(&stats)["versions"], 1);
        let verify = [&["verify"], &who[..]].concat();
        assert!(store.run(&verify).status.success());
    }
    // There is no tenant `default`.
    let message = store.fails(&["get", "orders", "o"], 9, "UnknownTenant");
    assert!(message.contains("say which tenant"), "{message}");
    // Nothing is made by looking.
    let look = ["get", "orders", "o", "--tenant", "initech"];
    store.fails(&look, 3, "NotFound");
    assert!(!store.path().join("one/app_initech.sqlite").exists());
    assert!(!store.path().join("two/app_initech.sqlite").exists());
    for wrong in [
        &[
            "stats", "--tenant", "a", "--domain", "b", "--type", "metadata",
        ][..],
        &["stats", "--domain", "b"],
        &["stats", "--type", "gossip"],
        &["stats", "--type", "runtime"],
        &["stats", "--plan", "pro"],
    ] {
        store.fails(wrong, 2, "Usage");
    }
    store.fails(
        &["stats", "--type", "metadata", "--domain", "x"],
        9,
        "Config",
    );
}

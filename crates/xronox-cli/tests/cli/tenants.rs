//! Many tenants in one store, and their life.

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
        vec!["--tenant", "globex"],
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
    ] {
        store.fails(wrong, 2, "Usage");
    }
    store.fails(
        &["stats", "--type", "metadata", "--domain", "x"],
        9,
        "Config",
    );
}

const CONFIG: &str = r#"{
    "dbConnections": {
        "one": { "mongoUri": "sqlite:./data/one" },
        "two": { "mongoUri": "sqlite:./data/two" }
    },
    "databases": {
        "metadata": { "genericDatabase": { "dbConnRef": "one", "dbName": "app_metadata" } },
        "runtime": {
            "tenantDatabases": [
                { "tenantId": "listed", "dbConnRef": "one", "dbName": "app_listed" }
            ],
            "dynamicTenants": {
                "enabled": true, "dbConnRef": "one", "dbNameTemplate": "app_{meta.region}_{tenantId}"
            }
        }
    }
}"#;

fn lines(store: &Store, args: &[&str]) -> Vec<Value> {
    let output = store.run(args);
    assert!(output.status.success(), "{args:?}: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

fn code(store: &Store, args: &[&str]) -> Option<i32> {
    store.run(args).status.code()
}

#[test]
fn tenants_come_and_go() {
    let store = Store::new();
    store.file("xronox.config.json", CONFIG);
    let create = ["tenants", "create", "acme", "--meta", "region=eu", "--json"];
    let made = lines(&store, &create);
    assert_eq!(made[0]["databases"][0]["database"], "app_eu_acme");
    assert_eq!(code(&store, &create), Some(4), "it is there already");
    assert_eq!(
        code(&store, &["tenants", "create", "x", "--meta", "eu"]),
        Some(2)
    );

    let listed = lines(&store, &["tenants", "list", "--json"]);
    let ids: Vec<&Value> = listed.iter().map(|tenant| &tenant["tenantId"]).collect();
    assert_eq!(ids, [&json!("acme"), &json!("listed")]);
    let first = lines(&store, &["tenants", "list", "--json", "--limit", "1"]);
    assert_eq!(first.len(), 1);
    let table = store.run(&["tenants", "list"]);
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.contains("runtime: one/app_eu_acme"), "{table}");

    let state = || lines(&store, &["tenants", "describe", "acme", "--json"])[0]["state"].clone();
    assert_eq!(code(&store, &["tenants", "suspend", "acme"]), Some(0));
    assert_eq!(state(), "suspended");
    assert_eq!(code(&store, &["tenants", "resume", "acme"]), Some(0));
    assert_eq!(state(), "active");

    let moved = lines(
        &store,
        &["tenants", "move", "acme", "--to", "two", "--json"],
    );
    assert_eq!(moved[0]["databases"], json!(["app_eu_acme"]));
    assert!(
        store
            .path()
            .join("data/two/app_5feu_5facme.sqlite")
            .exists()
    );
    assert!(
        !store
            .path()
            .join("data/one/app_5feu_5facme.sqlite")
            .exists()
    );
    assert_eq!(code(&store, &["tenants", "move", "acme"]), Some(2));
    assert_eq!(
        code(&store, &["tenants", "move", "acme", "--cancel"]),
        Some(3)
    );
    assert_eq!(
        code(&store, &["tenants", "move", "listed", "--to", "two"]),
        Some(9)
    );

    assert_eq!(
        code(&store, &["tenants", "drop", "acme"]),
        Some(2),
        "nobody says yes"
    );
    let dry = lines(&store, &["tenants", "drop", "acme", "--dry-run", "--json"]);
    assert_eq!(dry[0]["dryRun"], true);
    assert_eq!(state(), "active");
    let dropped = lines(&store, &["tenants", "drop", "acme", "--yes", "--json"]);
    assert_eq!(dropped[0]["residue"], 0);
    assert_eq!(dropped[0]["databases"], dry[0]["databases"]);
    assert_eq!(code(&store, &["tenants", "describe", "acme"]), Some(9));
    assert!(
        !store
            .path()
            .join("data/two/app_5feu_5facme.sqlite")
            .exists()
    );
    assert_eq!(code(&store, &["tenants", "drop", "acme", "--yes"]), Some(9));
}

//! Configuration files.

use std::fs;

use serde_json::{Value, json};

use crate::store::Store;

fn configuration() -> Value {
    json!({
        "dbConnections": { "main": { "mongoUri": "sqlite:catalogs" } },
        "databases": { "runtime": { "tenantDatabases": [
            { "tenantId": "default", "dbConnRef": "main", "dbName": "shop" }
        ] } }
    })
}

#[test]
fn a_file_above_is_found_and_told() {
    let store = Store::new();
    fs::create_dir(store.path().join(".git")).unwrap();
    store.file("xronox.config.json", configuration().to_string());
    let inner = store.path().join("a/b");
    fs::create_dir_all(&inner).unwrap();
    let document = store.file("order.json", r#"{"total":10}"#);
    let put = ["put", "orders", document.to_str().unwrap(), "--id", "a"];
    let output = store.command(&put).current_dir(&inner).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.starts_with("configuration: ") && said.contains("xronox.config.json"),
        "{said}"
    );
    assert!(store.path().join("catalogs/shop.sqlite").is_file());
    // From wherever it is found, it is the same store.
    assert_eq!(store.one(&["get", "orders", "a"])["total"], 10);
    assert_eq!(
        store.one(&["get", "orders", "a", "--config", "xronox.config.json"])["total"],
        10
    );
    // What is named goes first.
    store.fails(
        &["get", "orders", "a", "--data", "elsewhere"],
        3,
        "NotFound",
    );
    store.fails(&["get", "orders", "a", "--database", "x"], 2, "Usage");
    store.fails(
        &["get", "orders", "a", "--data", "x", "--config", "y"],
        2,
        "Usage",
    );
    // It says itself what is allowed.
    store.fails(&["delete", "orders", "a", "--hard"], 9, "Forbidden");
}

#[test]
fn everything_that_is_wrong_is_told() {
    let store = Store::new();
    let mut wrong = configuration();
    wrong["querys"] = json!({});
    wrong["dbConnections"]["main"]["mongoUri"] = json!("mongo://ann:hush@db");
    store.file("xronox.config.json", wrong.to_string());
    for args in [
        ["get", "orders", "a"].as_slice(),
        &["config", "check"],
        &["config", "show"],
    ] {
        let message = store.fails(args, 9, "Config");
        assert!(
            message.contains("xronox.config.json: 2 problems"),
            "{message}"
        );
        assert!(
            message.contains("\n  querys: unknown key; did you mean `queries`?"),
            "{message}"
        );
        assert!(!message.contains("hush"), "{message}");
    }
    let output = store.run(&["config", "check"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), 3, "{said}");
    // What needs no store does not mind.
    assert!(store.run(&["completions", "bash"]).status.success());
    assert!(store.run(&["config", "schema"]).status.success());
    store.fails(&["config", "check", "missing.json"], 9, "Config");
}

#[test]
fn what_is_configured_is_checked_and_shown() {
    let store = Store::new();
    store.fails(&["config", "check"], 3, "NotFound");
    let shown = store.one(&["config", "show"]);
    assert_eq!(shown["file"], Value::Null);
    let tenants = &shown["config"]["databases"]["runtime"]["tenantDatabases"];
    assert_eq!(tenants[0]["dbName"], "xronox_runtime_default");

    let mut later = configuration();
    later["fallback"] = json!({ "enabled": true });
    let uri = "mongodb://ann:hush@127.0.0.1:9/?serverSelectionTimeoutMS=100";
    later["dbConnections"]["far"] = json!({ "mongoUri": uri });
    store.file("mine.json", later.to_string());
    let report = store.one(&["config", "check", "mine.json"]);
    assert_eq!(
        report["unsupported"],
        json!(["fallback: is not supported by this version"])
    );
    assert!(report.get("connections").is_none());
    store.fails(
        &["get", "orders", "a", "--config", "mine.json"],
        9,
        "Unsupported",
    );
    let shown = store.one(&["config", "show", "--config", "mine.json"]);
    assert_eq!(shown["file"], "mine.json");
    let shown = shown["config"]["dbConnections"]["far"]["mongoUri"].clone();
    assert_eq!(
        shown,
        "mongodb://***@127.0.0.1:9/?serverSelectionTimeoutMS=100"
    );

    let output = store.run(&["config", "check", "mine.json", "--connect", "--json"]);
    assert_eq!(output.status.code(), Some(6), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let connections = report["connections"].as_array().unwrap();
    assert_eq!(
        (&connections[0]["path"], &connections[0]["ok"]),
        (&json!("dbConnections.far"), &json!(false))
    );
    assert_eq!(connections[1]["ok"], true);
    assert!(!report.to_string().contains("hush"), "{report}");
}

#[test]
fn lacking_buckets_are_told() {
    let store = Store::new();
    let mut config = configuration();
    config["spacesConnections"] = json!({
        "near": { "endpoint": "file:./objects" },
        "far": { "endpoint": "file:./occupied/objects" },
    });
    config["databases"]["runtime"]["tenantDatabases"][0]["spaceConnRef"] = "near".into();
    config["databases"]["logs"] =
        json!({ "dbConnRef": "main", "dbName": "logs", "spaceConnRef": "far" });
    store.file("xronox.config.json", config.to_string());
    store.file("occupied", "no folder");
    for made in [false, true] {
        let mut arguments = vec!["config", "buckets", "--json"];
        arguments.extend(made.then_some("--make"));
        let output = store.run(&arguments);
        assert_eq!(output.status.code(), Some(6), "{output:?}");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["there"], 1, "{report}");
        assert_eq!(report["lackingCount"], 1, "{report}");
        assert_eq!(report["lacking"][0]["space"], "far");
        assert_eq!(report["lacking"][0]["error"]["kind"], "Unavailable");
        assert_eq!(store.path().join("objects").exists(), made);
    }
    let output = store.run(&["config", "buckets"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("1 there, 0 made, 1 lacking"), "{text}");
}

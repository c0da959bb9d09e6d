//! What is counted.

use serde_json::{Value, json};

use crate::store::Store;

/// A store with counter rules, and some records.
fn story(rules: &Value) -> Store {
    let store = Store::new();
    configure(&store, rules);
    for (id, kind, n) in [("a", "x", 1), ("b", "x", 2), ("c", "y", 2)] {
        let document = store.file("one.json", json!({ "kind": kind, "n": n }).to_string());
        store.one(&["put", "things", document.to_str().unwrap(), "--id", id]);
    }
    store.one(&["delete", "things", "c"]);
    store
}

fn configure(store: &Store, rules: &Value) {
    let config = json!({
        "dbConnections": { "main": { "mongoUri": "sqlite:catalogs" } },
        "databases": { "runtime": { "tenantDatabases": [
            { "tenantId": "default", "dbConnRef": "main", "dbName": "shop" }
        ] } },
        "counterRules": { "rules": rules },
    });
    store.file("xronox.config.json", config.to_string());
}

#[test]
fn totals_and_series_are_shown() {
    let store = story(&json!([
        { "name": "kinds", "when": {}, "countUnique": ["n"], "by": ["kind"] },
    ]));
    let totals = store.one(&["analytics", "totals", "things"]);
    assert_eq!(totals["_id"], "tenant:default|db:shop|coll:things");
    assert_eq!(
        (&totals["created"], &totals["deleted"]),
        (&json!(3), &json!(1))
    );
    assert_eq!(totals["rules"]["kinds"]["unique"]["n"], 2);
    let table = store.text(&["analytics", "totals"]);
    assert!(
        table.contains("different n") && table.contains("\"x\""),
        "{table}"
    );

    let series = ["analytics", "series", "things", "kinds"];
    let days = store.json(&series);
    assert_eq!((days.len(), &days[29]["created"]), (30, &json!(3)));
    let chart = store.text(&[&series[..], &["--timeframe", "monthly"]].concat());
    assert!(chart.contains("4  ████"), "{chart}");
    let unknown = ["analytics", "series", "things", "no_rule"];
    let unknown = store.fails(&unknown, 5, "Invalid");
    assert!(unknown.contains("no_rule"), "{unknown}");
    let yearly = [&series[..], &["--timeframe", "yearly"]].concat();
    let yearly = store.fails(&yearly, 2, "Usage");
    assert!(yearly.contains("monthly"), "{yearly}");
}

#[test]
fn a_new_rule_counts_all_after_a_rebuild() {
    let store = story(&json!([]));
    store.one(&["analytics", "totals", "things"]);
    configure(&store, &json!([{ "name": "late", "when": { "n": 2 } }]));
    let late = || store.one(&["analytics", "totals", "things"])["rules"]["late"]["created"].take();
    assert_eq!(late(), 0);
    store.text(&["analytics", "rebuild", "things"]);
    assert_eq!(late(), 2);
}

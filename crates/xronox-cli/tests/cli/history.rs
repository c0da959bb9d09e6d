//! What happened to a record and to a collection.

use std::io::{BufRead, BufReader};

use insta::{assert_json_snapshot, assert_snapshot};
use serde_json::{Value, json};

use crate::store::{Store, redacted};

/// A record with four versions, and another one.
fn story() -> Store {
    let store = Store::new();
    let put = |document: Value, actor: &str, reason: &str| {
        let args = [
            "put", "orders", "-", "--id", "a", "--actor", actor, "--reason", reason,
        ];
        store.feed_json(&args, &document.to_string());
    };
    put(
        json!({"total": 1, "lines": [{"sku": "x"}], "note": "hi"}),
        "ann",
        "new",
    );
    put(
        json!({"total": 2, "lines": [{"sku": "x"}, {"sku": "y"}]}),
        "agent:bot (Bot)",
        "more",
    );
    store.put("orders", "b", &json!({"total": 5}));
    store.one(&["delete", "orders", "a", "--actor", "ann"]);
    store.one(&[
        "restore", "orders", "a", "--ov", "0", "--actor", "ann", "--reason", "back",
    ]);
    store
}

/// The values as they print, ids, times and checksums made the same.
fn shapes(values: &[Value]) -> Value {
    serde_json::from_str(&redacted(&json!(values).to_string())).unwrap()
}

#[test]
fn log_diff_and_blame_tell_a_record_s_life() {
    let store = story();
    assert_snapshot!("log", store.text(&["log", "orders", "a"]));
    assert_snapshot!("diff", store.text(&["diff", "orders", "a", "0", "1"]));
    assert_snapshot!("blame", store.text(&["blame", "orders", "a"]));
    assert_json_snapshot!("log_json", shapes(&store.json(&["log", "orders", "a"])));
    assert_json_snapshot!(
        "diff_json",
        shapes(&store.json(&["diff", "orders", "a", "0", "1"]))
    );
    assert_json_snapshot!("blame_json", shapes(&store.json(&["blame", "orders", "a"])));

    let newest = store.json(&["log", "orders", "a", "--limit", "1"]);
    assert_eq!(
        (newest.len(), &newest[0]["ov"], &newest[0]["restoredFrom"]),
        (1, &json!(3), &json!(0))
    );
    // Without versions, the newest and the one before; of the first, nothing.
    assert_eq!(
        store.json(&["diff", "orders", "a"]),
        store.json(&["diff", "orders", "a", "2", "3"])
    );
    assert_eq!(store.json(&["diff", "orders", "b"]), Vec::<Value>::new());
    store.fails(&["diff", "orders", "a", "0", "9"], 3, "NotFound");
    store.fails(&["log", "orders", "nobody"], 3, "NotFound");
}

#[test]
fn changes_list_every_commit() {
    let store = story();
    assert_snapshot!("changes", store.text(&["changes", "orders"]));
    assert_json_snapshot!(
        "changes_json",
        shapes(&store.json(&["changes", "orders", "--after", "2"]))
    );
    assert_eq!(store.json(&["changes", "orders", "--limit", "2"]).len(), 2);
    assert_eq!(store.json(&["changes", "orders", "--after", "99"]).len(), 0);
}

#[test]
fn a_long_log_is_listed_whole() {
    let store = Store::new();
    // One record in 1,200 versions.
    let versions: String = (0..1200)
        .map(|n| format!("{{\"k\":1,\"n\":{n}}}\n"))
        .collect();
    store.feed_json(&["import", "hot", "-", "--key", "k"], &versions);
    let id = store.json(&["find", "hot"])[0]["_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let log = store.json(&["log", "hot", &id]);
    let ovs: Vec<u64> = log.iter().map(|row| row["ov"].as_u64().unwrap()).collect();
    assert_eq!(ovs, (0..1200).rev().collect::<Vec<u64>>());
    assert_eq!(store.json(&["changes", "hot"]).len(), 1200);
}

#[test]
#[cfg(unix)]
fn a_collection_can_be_followed() {
    let store = Store::new();
    store.put("orders", "a", &json!({"n": 1}));
    let mut child = store.spawn(&["changes", "orders", "--follow", "--json"]);
    let mut rows = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&rows.next().unwrap().unwrap()).unwrap() };
    assert_eq!(next()["id"], "a");
    store.put("orders", "b", &json!({"n": 2}));
    let row = next();
    assert_eq!(
        (&row["id"], &row["cv"], &row["op"]),
        (&json!("b"), &json!(1), &json!("CREATE"))
    );
    crate::interrupt::interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

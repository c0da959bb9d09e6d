//! Looking back, and going back.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::store::Store;

#[test]
fn the_past_is_chosen_by_version_commit_or_time() {
    let store = Store::new();
    store.put("orders", "a", &json!({"n": 1}));
    let second = store.put("orders", "a", &json!({"n": 2}));
    std::thread::sleep(std::time::Duration::from_millis(5));
    store.put("orders", "b", &json!({"n": 3}));
    store.one(&["delete", "orders", "a"]);
    let time = second["at"].as_str().unwrap();

    let get = |args: &[&str]| store.one(&[&["get", "orders", "a"], args].concat())["n"].clone();
    assert_eq!(get(&["--ov", "0"]), 1);
    assert_eq!(get(&["--cv", "0"]), 1);
    assert_eq!(get(&["--cv", "2"]), 2);
    assert_eq!(get(&["--at", time]), 2);
    assert_eq!(get(&["--deleted"]), 2);
    store.fails(&["get", "orders", "a"], 3, "NotFound");
    store.fails(&["get", "orders", "a", "--cv", "3"], 3, "NotFound");
    store.fails(&["get", "orders", "b", "--at", time], 3, "NotFound");
    store.fails(&["get", "orders", "a", "--cv", "99"], 5, "Invalid");
    store.fails(
        &["get", "orders", "a", "--cv", "1", "--ov", "1"],
        2,
        "Usage",
    );
    store.fails(&["get", "orders", "a", "--at", "yesterday"], 2, "Usage");

    let ids = |args: &[&str]| -> Vec<Value> {
        store
            .json(args)
            .iter()
            .map(|record| record["_id"].clone())
            .collect()
    };
    assert_eq!(ids(&["find", "orders"]), ["b"]);
    assert_eq!(ids(&["find", "orders", "--at", time]), ["a"]);
    assert_eq!(
        ids(&["find", "orders", "--cv", "2", "--sort", "-n"]),
        ["b", "a"]
    );
    assert_eq!(ids(&["export", "orders", "--cv", "2"]), ["a", "b"]);
    assert_eq!(ids(&["export", "orders"]), ["b"]);
}

#[test]
fn one_record_goes_back() {
    let store = Store::new();
    store.put("orders", "a", &json!({"n": 1}));
    store.put("orders", "a", &json!({"n": 2}));
    let back = store.one(&["restore", "orders", "a", "--cv", "0", "--reason", "wrong"]);
    assert_eq!((&back["ov"], &back["op"]), (&json!(2), &json!("RESTORE")));
    assert_eq!(store.one(&["get", "orders", "a"])["n"], 1);
    let again = store.one(&["restore", "orders", "a", "--ov", "0"]);
    assert_eq!(again["unchanged"], true);
    let late = ["restore", "orders", "a", "--ov", "1", "--expected-ov", "1"];
    store.fails(&late, 4, "Conflict");
    store.fails(&["restore", "orders", "a"], 2, "Usage");
    store.fails(&["restore", "orders", "b", "--ov", "0"], 3, "NotFound");
}

#[test]
fn a_whole_collection_goes_back() {
    let store = Store::new();
    for id in ["a", "b", "c"] {
        store.put("orders", id, &json!({"n": 1}));
    }
    store.put("orders", "a", &json!({"n": 2}));
    store.one(&["delete", "orders", "b"]);
    store.put("orders", "d", &json!({"n": 1}));
    let dry = store.one(&["restore", "orders", "--cv", "2", "--dry-run"]);
    assert_eq!(
        (&dry["restored"], &dry["deleted"], &dry["dryRun"]),
        (&json!(2), &json!(1), &json!(true))
    );
    assert_eq!(store.one(&["stats"])["cv"], 5);
    assert_snapshot!(
        store.text(&["restore", "orders", "--cv", "2", "--dry-run"]),
        @"dry run, as of cv 2: restored 2, deleted 1, unchanged 0"
    );

    let done = store.one(&["restore", "orders", "--cv", "2", "--actor", "ann"]);
    assert_eq!(
        (&done["restored"], &done["deleted"]),
        (&json!(2), &json!(1))
    );
    let now = store.json(&["find", "orders"]);
    let state: Vec<_> = now
        .iter()
        .map(|record| (&record["_id"], &record["n"]))
        .collect();
    let one = json!(1);
    assert_eq!(
        state,
        [
            (&json!("a"), &one),
            (&json!("b"), &one),
            (&json!("c"), &one)
        ]
    );

    // Of a job that has finished it gives the report; it is not in the list.
    let job = done["job"].as_str().unwrap();
    let again = store.one(&["restore", "orders", "--cv", "2", "--resume", job]);
    assert_eq!(again["restored"], 2);
    assert_eq!(
        store.json(&["restore", "orders", "--jobs"]),
        Vec::<Value>::new()
    );
    store.fails(&["restore", "orders", "--resume", job], 3, "NotFound");
    store.fails(&["restore", "orders", "--ov", "1"], 2, "Usage");
    store.fails(&["restore", "orders"], 2, "Usage");
}

//! Writing, reading and listing records.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::store::{Store, lines, only};

#[test]
fn writes_and_reads_have_the_documented_json() {
    let store = Store::new();
    let file = store.file(
        "order.json",
        r#"{"total": 10, "_id": "ignored", "_system": 1}"#,
    );
    let made = store.one(&["put", "orders", file.to_str().unwrap(), "--actor", "ann"]);
    let id = made["id"].as_str().unwrap();
    assert_eq!(id.len(), 24);
    for (name, value) in [("ov", json!(0)), ("cv", json!(0)), ("op", json!("CREATE"))] {
        assert_eq!(made[name], value, "{made}");
    }
    assert_eq!(made["at"], made["createdAt"]);

    let read = store.one(&["get", "orders", id]);
    assert_eq!(read["total"], 10);
    assert_eq!(read["_id"], id);
    assert_eq!(read["_system"]["ov"], 0);
    assert_eq!(
        read["_system"]["creator"],
        json!({"type": "user", "identifier": "ann"})
    );

    let changed = store.put("orders", id, &json!({"total": 11}));
    assert_eq!(
        (&changed["ov"], &changed["op"]),
        (&json!(1), &json!("UPDATE"))
    );
    let same = store.put("orders", id, &json!({"total": 11}));
    assert_eq!((&same["ov"], &same["unchanged"]), (&json!(1), &json!(true)));
    let gone = store.one(&["delete", "orders", id, "--expected-ov", "1"]);
    assert_eq!((&gone["ov"], &gone["op"]), (&json!(2), &json!("DELETE")));
    assert_eq!(gone["at"], gone["deletedAt"]);
}

#[test]
fn put_creates_under_an_id_that_is_free() {
    let store = Store::new();
    let made = store.put("orders", "A/b.c$ ü", &json!({"a": 1}));
    assert_eq!(
        (&made["id"], &made["op"]),
        (&json!("A/b.c$ ü"), &json!("CREATE"))
    );
    assert_eq!(store.one(&["get", "orders", "A/b.c$ ü"])["a"], 1);
    // With an expected version there has to be one.
    let args = ["put", "orders", "-", "--id", "new", "--expected-ov", "0"];
    store.feed_fails(&args, "{}", 3, "NotFound");
}

#[test]
fn a_hard_delete_leaves_nothing_but_that_it_happened() {
    let store = Store::new();
    store.put("orders", "a", &json!({"secret": "xyzzy"}));
    store.put("orders", "a", &json!({"secret": "plugh"}));
    let gone = store.one(&["delete", "orders", "a", "--hard", "--reason", "asked for"]);
    assert_eq!(gone["op"], "PURGE");
    store.fails(&["get", "orders", "a", "--ov", "0"], 3, "NotFound");
    let log = store.json(&["log", "orders", "a"]);
    assert_eq!(log.len(), 1, "{log:?}");
    assert_eq!(log[0]["reason"], "asked for");
    assert_eq!(store.put("orders", "a", &json!({}))["ov"], 3);
}

#[test]
fn people_see_tables_and_text() {
    let store = Store::new();
    assert_snapshot!(store.text(&["init"]), @"made ./xronox-data");
    assert_snapshot!(store.text(&["init"]), @"./xronox-data is a store already");
    let nested =
        json!({"name": "Ann\u{1b}[2J\n", "age": 30, "tags": ["a", "b"], "note": "x".repeat(100)});
    store.put("people", "ann", &nested);
    store.put(
        "people",
        "bob",
        &json!({"name": "Bob", "address": {"city": "Rome"}}),
    );
    assert_snapshot!("find", store.text(&["find", "people"]));
    assert_snapshot!(
        "find_fields",
        store.text(&["find", "people", "--fields", "name,address.city,tags"])
    );
    assert_snapshot!("get", store.text(&["get", "people", "bob"]));
    assert_snapshot!("stats", store.text(&["stats"]));
    let file = store.file("bob.json", r#"{"name": "Bob"}"#);
    let put = ["put", "people", file.to_str().unwrap(), "--id", "bob"];
    assert_snapshot!(store.text(&put), @"UPDATE  people/bob  ov 1  cv 2  2024-01-31T09:30:00.000Z");
    assert_snapshot!(store.text(&put), @"unchanged  people/bob  ov 1  cv 2  2024-01-31T09:30:00.000Z");
}

#[test]
fn find_filters_sorts_and_pages() {
    let store = Store::new();
    let all: String = (0..120)
        .map(|n| format!("{{\"n\":{n},\"odd\":{}}}\n", n % 2 == 1))
        .collect();
    store.feed_json(&["import", "numbers", "-"], &all);
    let numbers = |args: &[&str]| -> Vec<u64> {
        let args: Vec<&str> = ["find", "numbers"].iter().chain(args).copied().collect();
        store
            .json(&args)
            .iter()
            .map(|record| record["n"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(numbers(&[]).len(), 50);
    assert_eq!(numbers(&["--limit", "1000"]).len(), 120);
    assert_eq!(numbers(&["--limit", "0"]).len(), 0);
    assert_eq!(numbers(&["--sort", "-n", "--limit", "3"]), [119, 118, 117]);
    let odd = [
        "--filter",
        r#"{"odd": true, "n": {"$lt": 8}}"#,
        "--sort",
        r#"[["n", -1]]"#,
    ];
    assert_eq!(numbers(&odd), [7, 5, 3, 1]);

    // Behind the cursor that it tells of, it goes on.
    let page = ["find", "numbers", "--sort", "n", "--limit", "100", "--json"];
    let output = store.run(&page);
    let said = String::from_utf8(output.stderr).unwrap();
    let cursor = said.trim().rsplit(' ').next().unwrap();
    let rest = numbers(&["--sort", "n", "--after", cursor]);
    assert_eq!(rest, (100..120).collect::<Vec<u64>>());
    // A cursor belongs to its query.
    store.fails(
        &["find", "numbers", "--sort", "-n", "--after", cursor],
        5,
        "Invalid",
    );

    let only_n = store.json(&["find", "numbers", "--fields", "n", "--limit", "1"]);
    let mut names: Vec<&String> = only_n[0].as_object().unwrap().keys().collect();
    names.sort();
    assert_eq!(names, ["_id", "_system", "n"]);
}

#[test]
fn export_gives_what_import_takes() {
    let store = Store::new();
    let all: Vec<Value> = (0..2500).map(|n| json!({"n": n, "text": "ü\n"})).collect();
    store.feed_json(&["import", "from", "-"], &json!(all).to_string());
    let exported = store.run(&["export", "from"]);
    assert!(exported.status.success());
    assert_eq!(lines(&exported.stdout).len(), 2500);
    assert_eq!(
        String::from_utf8(exported.stderr).unwrap(),
        "exported 2500 records as of cv 2499\n"
    );

    let text = String::from_utf8(exported.stdout).unwrap();
    let into = ["import", "into", "-", "--map", "id=_id"];
    let report = only(store.feed_json(&into, &text));
    assert_eq!(
        report,
        json!({"created": 2500, "updated": 0, "unchanged": 0})
    );
    let strip = |records: Vec<Value>| -> Vec<Value> {
        let bare = |mut record: Value| {
            record.as_object_mut().unwrap().remove("_system");
            record
        };
        records.into_iter().map(bare).collect()
    };
    assert_eq!(
        strip(store.json(&["export", "into"])),
        strip(store.json(&["export", "from"]))
    );
    assert_eq!(
        store
            .json(&["export", "into", "--filter", r#"{"n": 7}"#])
            .len(),
        1
    );
}

#[test]
fn stats_count_what_is_there() {
    let store = Store::new();
    assert!(store.run(&["init"]).status.success());
    assert_eq!(store.json(&["stats"]), Vec::<Value>::new());
    store.put("orders", "a", &json!({"a": 1}));
    store.put("orders", "b", &json!({"a": 1}));
    store.put("orders", "b", &json!({"a": 22}));
    store.one(&["delete", "orders", "a"]);
    let stats = store.one(&["stats"]);
    for (name, value) in [
        ("records", 1),
        ("deleted", 1),
        ("versions", 4),
        ("cv", 3),
        ("bytes", 29),
    ] {
        assert_eq!(stats[name], value, "{name} of {stats}");
    }
    assert_eq!(stats["collection"], "orders");
}

#[test]
fn what_is_found_out_is_merged() {
    let store = Store::new();
    store.put("people", "ann", &json!({ "email": "a", "tags": ["x"] }));
    store.file("more.json", r#"[{ "tags": ["y"] }, { "score": 1 }]"#);
    let written = store.one(&[
        "enrich",
        "people",
        "more.json",
        "--id",
        "ann",
        "--function",
        "scorer@v1",
        "--actor",
        "system:s",
    ]);
    assert_eq!(
        (&written["op"], &written["ov"]),
        (&json!("ENRICH"), &json!(1))
    );
    let ann = store.one(&["get", "people", "ann"]);
    assert_eq!(ann["tags"], json!(["x", "y"]));
    assert_eq!(ann["_system"]["functionIds"], json!(["scorer@v1"]));

    store.file("bob.json", r#"{ "email": "b", "n": 1 }"#);
    let by_key = ["enrich", "people", "bob.json", "--key", "email"];
    assert_eq!(store.one(&by_key)["op"], "CREATE");
    assert_eq!(store.one(&by_key)["unchanged"], true);
    store.file("ann.json", r#"{ "email": "a", "n": 2 }"#);
    let written = store.one(&["enrich", "people", "ann.json", "--key", "email"]);
    assert_eq!(
        (&written["id"], &written["op"]),
        (&json!("ann"), &json!("ENRICH"))
    );
    store.fails(&["enrich", "people", "ann.json"], 2, "Usage");
    store.fails(
        &["enrich", "people", "more.json", "--id", "nobody"],
        3,
        "NotFound",
    );
}

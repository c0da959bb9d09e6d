//! Bringing records in.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::store::{Store, lines, only};

fn report(created: u64, updated: u64, unchanged: u64) -> Value {
    json!({ "created": created, "updated": updated, "unchanged": unchanged })
}

#[test]
fn lines_and_arrays_come_from_files_and_from_standard_input() {
    let store = Store::new();
    let records = [json!({"n": 1}), json!({"n": 2}), json!({"s": "]},\n\"{["})];
    let jsonl: String = records
        .iter()
        .map(|record| format!("{record}\r\n\n"))
        .collect();
    let array = serde_json::to_string_pretty(&records).unwrap();
    for (i, text) in [jsonl, array, format!("\u{feff}{}", json!(records))]
        .into_iter()
        .enumerate()
    {
        let file = store.file("records", &text);
        let (one, two) = (format!("file{i}"), format!("stdin{i}"));
        assert_eq!(
            store.one(&["import", &one, file.to_str().unwrap()]),
            report(3, 0, 0)
        );
        assert_eq!(
            only(store.feed_json(&["import", &two, "-"], &text)),
            report(3, 0, 0)
        );
        let found = store.json(&["find", &two]);
        assert!(
            found.iter().any(|record| record["s"] == "]},\n\"{["),
            "{found:?}"
        );
    }
    assert_eq!(
        only(store.feed_json(&["import", "none", "-"], "")),
        report(0, 0, 0)
    );
    assert_eq!(
        only(store.feed_json(&["import", "none", "-"], "[ ]\n")),
        report(0, 0, 0)
    );
}

#[test]
fn a_key_finds_the_record_that_holds_it() {
    let store = Store::new();
    // One is there before the field is a key.
    store.put("people", "ann", &json!({"email": "ann@x", "age": 1}));
    let first = r#"[{"email":"ann@x","age":2},{"email":"bob@x","age":3},{"email":"bob@x","age":4},
                    {"email":"eve@x"},{"no":"key"}]"#;
    let import = [
        "import", "people", "-", "--key", "email", "--actor", "job:sync",
    ];
    assert_eq!(only(store.feed_json(&import, first)), report(3, 2, 0));
    assert_eq!(store.one(&["get", "people", "ann"])["age"], 2);
    assert_eq!(
        store.json(&["log", "people", "ann"])[0]["actor"]["type"],
        "job"
    );

    // Again: nothing changes but what has no key.
    let again = r#"{"email":"ann@x","age":2}
                   {"age":4,"email":"bob@x"}
                   {"email":"eve@x"}"#;
    assert_eq!(only(store.feed_json(&import, again)), report(0, 0, 3));
    let text = store.feed(&import, again);
    assert_snapshot!(String::from_utf8(text.stdout).unwrap(), @"created 0, updated 0, unchanged 3");

    let bob = store.json(&["find", "people", "--filter", r#"{"email":"bob@x"}"#]);
    assert_eq!(
        (bob.len(), &bob[0]["age"], &bob[0]["_system"]["ov"]),
        (1, &json!(4), &json!(1))
    );
}

#[test]
fn keys_that_clash_already_are_refused() {
    let store = Store::new();
    store.put("people", "a", &json!({"email": "x"}));
    store.put("people", "b", &json!({"email": "x"}));
    let import = ["import", "people", "-", "--key", "email"];
    store.feed_fails(&import, r#"{"email":"y"}"#, 4, "AlreadyExists");
    assert_eq!(store.one(&["stats", "people"])["records"], 2);
}

#[test]
fn ids_and_times_of_another_system_are_kept() {
    let store = Store::new();
    let input = r#"{"_id":{"$oid":"507f1f77bcf86cd799439011"},"createdAt":"2020-01-01T00:00:00Z","changed":{"$date":"2021-01-01T00:00:00Z"},"a":1}
                   {"_id":42,"a":2}"#;
    let map = "created=createdAt,updated=changed,id=_id";
    let import = ["import", "docs", "-", "--map", map];
    assert_eq!(only(store.feed_json(&import, input)), report(2, 0, 0));
    let read = store.one(&["get", "docs", "507f1f77bcf86cd799439011"]);
    let imported =
        json!({"createdAt": "2020-01-01T00:00:00.000Z", "updatedAt": "2021-01-01T00:00:00.000Z"});
    assert_eq!(read["_system"]["imported"], imported);
    assert_eq!((&read["a"], &read["createdAt"]), (&json!(1), &Value::Null));
    // Commit times are ours.
    assert!(read["_system"]["insertedAt"].as_str().unwrap() > "2022");
    assert_eq!(store.one(&["get", "docs", "42"])["a"], 2);
    assert_eq!(only(store.feed_json(&import, input)), report(0, 0, 2));
}

#[test]
fn malformed_json_names_its_line_and_leaves_nothing_half_written() {
    let store = Store::new();
    let good: Vec<String> = (1..=700).map(|n| format!("{{\"n\":{n}}}")).collect();
    let mut bad = good.clone();
    bad[499] = "{\"n\":500,\"x\":}".to_owned();
    let file = store.file("bad.jsonl", bad.join("\n"));
    let import = ["import", "numbers", file.to_str().unwrap(), "--key", "n"];
    let message = store.fails(&import, 5, "Invalid");
    let place = "bad.jsonl: line 500, column 14: `x`: a value was expected";
    assert!(message.ends_with(place), "{message}");
    // What was before it is there, whole, and told.
    assert_eq!(store.one(&["stats", "numbers"])["records"], 499);
    let output = store.run(&[&import[..], &["--json", "--quiet"]].concat());
    assert_eq!(only(lines(&output.stdout)), report(0, 0, 499));
    assert!(store.run(&["verify"]).status.success());

    let array = format!("[{}", bad.join(",\n"));
    let message = store.feed_fails(&["import", "array", "-"], &array, 5, "Invalid");
    assert_eq!(
        message,
        "standard input: line 500, column 14: `x`: a value was expected"
    );

    // Mended, it goes on where it stopped.
    let file = store.file("good.jsonl", good.join("\n"));
    let import = ["import", "numbers", file.to_str().unwrap(), "--key", "n"];
    assert_eq!(store.one(&import), report(201, 0, 499));
}

#[test]
fn records_that_are_refused_are_named() {
    let store = Store::new();
    for (input, named) in [
        ("{\"a\":1}\n\n[1]\n", "record 2"),
        ("{\"a\":1}\n\n[1]\n", "(line 3)"),
        ("{\"a\":1}\n{\"a\":1,\"a\":2}\n", "line 2, column 8: `a`"),
        ("{\"a\":1}\n{\"big\":18446744073709551616}\n", "line 2"),
        ("{\"a\":1}\n{\"n\\u0000ul\":1}\n", "line 2"),
        ("{\"a\":1}\n{\"a\":\"\\ud800\"}\n", "line 2"),
    ] {
        let message = store.feed_fails(&["import", "docs", "-"], input, 5, "Invalid");
        assert!(message.contains(named), "{message}");
    }
    for (id, named) in [
        ("\"\"", "empty"),
        ("\"a\\u0000b\"", "control"),
        ("null", "not an id"),
        ("[1]", "not an id"),
    ] {
        let input = format!("{{\"_id\":{id}}}");
        let import = ["import", "docs", "-", "--map", "id=_id"];
        let message = store.feed_fails(&import, &input, 5, "Invalid");
        assert!(message.contains(named), "{message}");
    }
    let long = format!("{{\"_id\":\"{}\"}}", "x".repeat(10_000));
    store.feed_fails(
        &["import", "docs", "-", "--map", "id=_id"],
        &long,
        5,
        "Invalid",
    );
    let time = ["import", "docs", "-", "--map", "created=at"];
    store.feed_fails(&time, r#"{"at":"yesterday"}"#, 5, "Invalid");
}

#[test]
fn a_document_that_is_too_large_is_refused() {
    let store = Store::new();
    let large = format!("{{\"a\":1}}\n{{\"a\":\"{}\"}}\n", "x".repeat(17 << 20));
    let message = store.feed_fails(&["import", "docs", "-"], &large, 5, "Invalid");
    assert!(message.contains("record 2"), "{message}");
    let endless = format!("{{\"a\":1}}\n{{\"a\":\"{}", "x".repeat(33 << 20));
    let message = store.feed_fails(&["import", "docs", "-"], &endless, 5, "Invalid");
    assert_eq!(
        message,
        "standard input: line 2: a document of over 32.00 MiB"
    );
    assert_eq!(store.one(&["stats", "docs"])["records"], 2);
}

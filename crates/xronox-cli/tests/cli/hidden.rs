//! Hidden fields and projections.

use serde_json::{Value, json};

use crate::store::Store;

/// A store whose people have hidden fields.
fn store() -> Store {
    let store = Store::new();
    let configuration = json!({
        "dbConnections": { "main": { "mongoUri": "sqlite:data" } },
        "databases": { "runtime": { "tenantDatabases": [
            { "tenantId": "default", "dbConnRef": "main", "dbName": "shop" }
        ] } },
        "collectionMaps": {
            "people": {
                "hiddenFields": ["salary", "_meta"],
                "projection": {
                    "minimal": { "include": ["id", "name"] },
                    "all": { "include": "*" }
                }
            },
            "notes": { "projection": { "default": { "exclude": ["draft"] } } }
        }
    });
    store.file("xronox.config.json", configuration.to_string());
    let ann = json!({ "name": "Ann", "salary": 10, "_meta": { "by": "x" } });
    store.put("people", "ann", &ann);
    store
}

/// The document of what is printed, without `_system`.
fn bare(mut record: Value) -> Value {
    record.as_object_mut().unwrap().remove("_system");
    record
}

#[test]
fn hidden_fields_are_printed_when_they_are_asked_for() {
    let store = store();
    let plain = json!({ "_id": "ann", "name": "Ann" });
    let whole = json!({ "_id": "ann", "name": "Ann", "salary": 10, "_meta": { "by": "x" } });
    for command in [
        &["get", "people", "ann"][..],
        &["find", "people"],
        &["export", "people"],
    ] {
        let of = |options: &[&str]| bare(store.one(&[command, options].concat()));
        assert_eq!(of(&[]), plain, "{command:?}");
        assert_eq!(of(&["--show-hidden"]), whole, "{command:?}");
        assert_eq!(of(&["--projection", "all"]), whole, "{command:?}");
        assert_eq!(of(&["--projection", "*"]), whole, "{command:?}");
        let minimal = store.one(&[command, &["--projection", "minimal"]].concat());
        assert_eq!(minimal, plain, "{command:?}");
        let unknown = [command, &["--projection", "tiny"]].concat();
        let message = store.fails(&unknown, 5, "Invalid");
        assert!(message.contains("`minimal`"), "{message}");
    }
    let named = store.one(&["find", "people", "--fields", "salary"]);
    assert_eq!(bare(named), json!({ "_id": "ann", "salary": 10 }));
    let both = ["find", "people", "--fields", "name", "--projection", "all"];
    store.fails(&both, 2, "Usage");

    // What is put in its place keeps them.
    store.put("people", "ann", &json!({ "name": "Ann B.", "salary": 20 }));
    let kept = bare(store.one(&["get", "people", "ann", "--show-hidden"]));
    assert_eq!(kept["_meta"], json!({ "by": "x" }));
    let paths = |options: &[&str]| -> Vec<String> {
        let diff = store.json(&[&["diff", "people", "ann"], options].concat());
        diff.iter()
            .map(|operation| operation["path"].to_string())
            .collect()
    };
    assert_eq!(paths(&[]), ["\"/name\""]);
    assert_eq!(paths(&["--show-hidden"]), ["\"/name\"", "\"/salary\""]);
    let text = store.text(&["diff", "people", "ann", "--show-hidden"]);
    assert!(text.contains("salary  10 → 20"), "{text}");
    let blame = |options: &[&str]| store.json(&[&["blame", "people", "ann"], options].concat());
    assert_eq!(blame(&[]).len(), 1);
    assert_eq!(blame(&["--show-hidden"]).len(), 3);
}

#[test]
fn an_export_says_what_it_left_out() {
    let store = store();
    store.put("notes", "n", &json!({ "text": "t", "draft": true }));
    store.put("plain", "p", &json!({ "n": 1 }));
    let said = |args: &[&str]| {
        let output = store.run(args);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    for (args, left_out) in [
        (
            &["export", "people"][..],
            Some("left out: the hidden fields salary, _meta (--show-hidden)"),
        ),
        (&["export", "people", "--show-hidden"], None),
        (&["export", "people", "--projection", "all"], None),
        (
            &["export", "people", "--projection", "minimal"],
            Some("left out: what the projection `minimal` does not show"),
        ),
        (
            &["export", "notes"],
            Some("left out: what the projection `default` does not show"),
        ),
        (&["export", "plain"], None),
    ] {
        let said = said(args);
        match left_out {
            Some(left_out) => assert!(said.contains(left_out), "{args:?}: {said}"),
            None => assert!(!said.contains("left out"), "{args:?}: {said}"),
        }
    }
}

#[test]
fn what_is_found_across_collections_hides_it_too() {
    let store = store();
    let ann = store.file("made.json", r#"{"name":"Bob","salary":30}"#);
    let ann = ann.to_str().unwrap();
    let put = ["put", "people", ann, "--parent", "people/ann", "--actor"];
    store.one(&[&put[..], &["user:1"]].concat());
    for command in [
        &["who", "user:1"][..],
        &["who", "user:1", "--versions", "--documents"],
        &["lineage", "people", "ann", "--descendants"],
    ] {
        let printed = |options: &[&str]| store.one(&[command, options].concat()).to_string();
        assert!(!printed(&[]).contains("salary"), "{command:?}");
        let shown = printed(&["--show-hidden"]);
        assert!(shown.contains(r#""salary":30"#), "{command:?}: {shown}");
    }
}

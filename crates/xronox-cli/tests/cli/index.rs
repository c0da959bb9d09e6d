//! Making indexes, and being told to.

use insta::assert_snapshot;
use serde_json::json;

use crate::store::{Store, only};

#[test]
fn indexes_are_made_and_listed() {
    let store = Store::new();
    store.put(
        "orders",
        "a",
        &json!({"total": 1, "region": "eu", "number": 7}),
    );
    store.put(
        "orders",
        "b",
        &json!({"total": 2, "region": "eu", "number": 8}),
    );
    assert_eq!(store.text(&["index", "orders"]), "");
    let made = store.json(&["index", "orders", "total", "address.city"]);
    let plain = |field: &str| json!({"fields": [field], "unique": false, "ready": true});
    assert_eq!(made, [plain("address.city"), plain("total")]);
    assert_eq!(store.json(&["index", "orders", "total"]), [plain("total")]);
    let unique = store.one(&["index", "orders", "region", "number", "--unique"]);
    assert_eq!(
        unique,
        json!({"fields": ["region", "number"], "unique": true, "ready": true})
    );
    assert_snapshot!(store.text(&["index", "orders"]), @r"
    fields          unique  ready
    address.city    no      yes
    total           no      yes
    region, number  yes     yes
    ");
    store.put("orders", "c", &json!({"region": "us", "number": 7}));
    let taken = r#"{"region": "eu", "number": 8}"#;
    store.feed_fails(&["put", "orders", "-"], taken, 4, "AlreadyExists");

    let message = store.fails(
        &["index", "orders", "region", "--unique"],
        4,
        "AlreadyExists",
    );
    assert!(message.contains("`region` cannot be unique"), "{message}");
    assert_eq!(store.json(&["index", "orders"]).len(), 3);
    store.fails(&["index", "order", "total"], 3, "NotFound");
    store.fails(&["index", "orders", "a..b"], 2, "Usage");
    store.fails(&["index", "orders", "--unique"], 2, "Usage");
    assert!(store.run(&["verify"]).status.success());
}

#[test]
fn a_query_that_looks_at_too_much_says_which_index_helps() {
    let store = Store::new();
    let all: String = (0..100_001).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    let report = only(store.feed_json(&["import", "numbers", "-"], &all));
    assert_eq!(report["created"], 100_001);
    let find = ["find", "numbers", "--filter", r#"{"n": 100000}"#];
    let message = store.fails(&find, 5, "Invalid");
    let helps = "index what the query filters and sorts by: xronox index numbers n";
    assert!(message.ends_with(helps), "{message}");
    store.one(&["index", "numbers", "n"]);
    assert_eq!(store.one(&find)["n"], 100_000);
}

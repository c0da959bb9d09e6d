//! Who made records, and what they were made from.

use serde_json::{Value, json};

use crate::store::Store;

fn put(store: &Store, collection: &str, id: &str, options: &[&str]) {
    let args = ["put", collection, "-", "--id", id];
    let args: Vec<&str> = args.iter().chain(options).copied().collect();
    let document = json!({ "id": id, "said": options });
    store.feed_json(&args, &document.to_string());
}

/// A scan, two pages of it, and what was read off one of them.
fn story() -> Store {
    let store = Store::new();
    let ann = ["--actor", "user:42 (Ann)"];
    let origin = ["--origin", "archive:files/box 7", "--actor", "user:42"];
    put(&store, "scans", "s", &origin);
    let page = ["--parent", "scans/s", "--actor", "job:split"];
    put(&store, "pages", "p", &page);
    put(&store, "pages", "q", &page);
    put(
        &store,
        "texts",
        "t",
        &["--parent", "pages/p", "--actor", "agent:reader"],
    );
    // What is there keeps its own line.
    put(
        &store,
        "texts",
        "t",
        &["--parent", "pages/q", ann[0], ann[1]],
    );
    store.one(&["delete", "pages", "q", "--actor", "user:42"]);
    store
}

#[test]
fn who_lists_records_and_versions() {
    let store = story();
    let has = |told: String, start: &str, part: &str| {
        let mut lines = told.lines();
        let found = lines.any(|line| line.starts_with(start) && line.contains(part));
        assert!(found, "{told}");
    };
    has(store.text(&["who", "user:42"]), "texts", "user:42 (Ann)");
    has(
        store.text(&["who", "user:42", "--versions"]),
        "pages",
        "DELETE",
    );
    let found = store.json(&["who", "user:42"]);
    let names: Vec<&Value> = found.iter().map(|it| &it["record"]["_id"]).collect();
    assert_eq!(names, ["q", "s", "t"]);
    assert_eq!(found[1]["collection"], "scans");
    assert_eq!(store.json(&["who", "user:42", "texts", "scans"]).len(), 2);
    assert_eq!(store.json(&["who", "user:42", "--limit", "1"]).len(), 1);
    assert_eq!(store.json(&["who", "job:split"]).len(), 2);
    assert_eq!(store.json(&["who", "42"]).len(), 3);
    assert_eq!(store.json(&["who", "user:nobody"]).len(), 0);

    let versions = store.json(&["who", "job:split", "--versions", "--documents"]);
    assert_eq!(versions.len(), 2);
    assert_eq!(versions[0]["document"]["id"], "p");
    assert_eq!(
        (&versions[0]["op"], &versions[0]["ov"]),
        (&json!("CREATE"), &json!(0))
    );
    store.fails(&["who", ""], 5, "Invalid");
    store.fails(&["who", "user:42", "no/name"], 5, "Invalid");
}

#[test]
fn lineage_goes_up_and_down() {
    let store = story();
    let told = store.text(&["lineage", "texts", "t"]);
    assert!(told.contains("scans") && told.contains("user:42"), "{told}");
    let told = store.text(&["lineage", "scans", "s", "--descendants"]);
    assert!(
        told.contains("pages/p") && told.contains("deleted"),
        "{told}"
    );
    let line = store.one(&["lineage", "texts", "t"]);
    let ids: Vec<&Value> = line["ancestors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["id"])
        .collect();
    assert_eq!(ids, ["p", "s"]);
    assert_eq!(
        line["origin"],
        json!({ "id": "box 7", "collection": "files", "system": "archive" })
    );
    assert_eq!(line["end"], "root");
    let found = store.json(&["lineage", "scans", "s", "--descendants"]);
    let told: Vec<Value> = found
        .iter()
        .map(|it| json!([it["depth"], it["record"]["_id"]]))
        .collect();
    assert_eq!(json!(told), json!([[1, "p"], [1, "q"], [2, "t"]]));
    store.fails(&["lineage", "texts", "none"], 3, "NotFound");
    let nonsense = ["put", "texts", "-", "--parent", "p"];
    assert_eq!(store.run(&nonsense).status.code(), Some(2));
}

#[test]
fn somebody_is_found_and_erased() {
    let store = story();
    let found = store.json(&["footprint", "--creator", "user:42", "--field", "id=p"]);
    let (sums, records) = found.split_last().unwrap();
    assert_eq!(records.len(), 2);
    assert_eq!(sums["total"]["records"], 2);
    let past = store.json(&["footprint", "--creator", "user:42", "--in-history"]);
    assert_eq!(past.last().unwrap()["total"]["records"], 1);
    let told = store.text(&["footprint", "--creator", "user:42", "pages", "scans"]);
    assert!(told.contains("scans") && !told.contains("pages"), "{told}");
    store.fails(&["footprint"], 2, "Usage");
    let refused = store.fails(&["erase", "--creator", "user:42"], 2, "Usage");
    assert!(
        refused.contains("1 record") && refused.contains("--yes"),
        "{refused}"
    );
    let hard = [
        "erase",
        "--creator",
        "user:42",
        "--hard",
        "--yes",
        "--actor",
        "user:dpo",
    ];
    let erased = store.one(&hard);
    assert_eq!(
        (&erased["deleted"], &erased["hard"]),
        (&json!(1), &json!(true))
    );
    assert_eq!(erased["remaining"]["total"]["records"], 0);
    store.fails(&["get", "scans", "s", "--deleted"], 3, "NotFound");
}

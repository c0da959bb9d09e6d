//! Checking what is stored, and removing what is garbage.

use std::{
    fs,
    path::{Path, PathBuf},
};

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::store::{Store, lines, only};

fn catalog(store: &Store) -> PathBuf {
    let folder = store.path().join("xronox-data/catalog");
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut databases = files.filter(|path| path.extension().is_some_and(|e| e == "sqlite"));
    databases.next().unwrap()
}

/// The files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[test]
fn a_sound_store_is_clean() {
    let store = Store::new();
    store.put("orders", "a", &json!({"n": 1}));
    store.put("orders", "a", &json!({"n": 2}));
    let report = store.one(&["verify"]);
    assert_eq!(
        (&report["rows"], &report["damageCount"]),
        (&json!(2), &json!(0))
    );
    assert_eq!(store.one(&["verify", "orders"]), report);
    assert_snapshot!(
        store.text(&["verify"]),
        @"no damage: checked 1 record, 2 versions, 2 bodies of 14 B"
    );
}

#[test]
fn changed_bytes_are_damage() {
    let store = Store::new();
    store.put("orders", "a", &json!({"text": "MARKER-AAAA"}));
    store.put("orders", "b", &json!({"text": "fine"}));
    let path = catalog(&store);
    let mut bytes = fs::read(&path).unwrap();
    let marker = b"{\"text\":\"MARKER-AAAA\"}";
    let at = bytes
        .windows(marker.len())
        .position(|window| window == marker)
        .unwrap();
    bytes[at + marker.len() - 3] = b'B';
    fs::write(&path, bytes).unwrap();

    let output = store.run(&["verify", "--json", "--quiet"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let report = only(lines(&output.stdout));
    assert_eq!(report["damageCount"], 1, "{report}");
    let damage = &report["damages"][0];
    assert_eq!(
        (&damage["collection"], &damage["id"]),
        (&json!("orders"), &json!("a"))
    );
    assert_eq!(damage["rule"], "corruptBody");

    let output = store.run(&["verify"]);
    assert_eq!(output.status.code(), Some(1));
    assert_snapshot!("damage", String::from_utf8(output.stdout).unwrap());
    store.fails(&["get", "orders", "a"], 7, "Corrupt");
    assert_eq!(store.one(&["get", "orders", "b"])["text"], "fine");
}

#[test]
fn a_lost_body_is_damage() {
    let store = Store::new();
    store.put("orders", "a", &json!({"text": "x".repeat(100_000)}));
    let objects = files(&store.path().join("xronox-data/objects"));
    let [object] = &objects[..] else {
        panic!("{objects:?}")
    };
    fs::remove_file(object).unwrap();
    let output = store.run(&["verify", "--json", "--quiet"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(
        only(lines(&output.stdout))["damages"][0]["rule"],
        "missingBody"
    );
    store.fails(&["get", "orders", "a"], 7, "Corrupt");
}

#[test]
fn a_file_that_is_no_database_is_damage() {
    let store = Store::new();
    store.put("orders", "a", &json!({"n": 1}));
    fs::write(catalog(&store), "x".repeat(10_000)).unwrap();
    store.fails(&["verify"], 1, "Corrupt");
    store.fails(&["get", "orders", "a"], 7, "Corrupt");
}

#[test]
fn garbage_goes_when_it_has_been_noted_long_enough() {
    let store = Store::new();
    store.put("orders", "a", &json!({"text": "x".repeat(100_000)}));
    assert_snapshot!(store.text(&["gc"]), @r"
    1 object of 97.67 KiB; 0 of 0 B named by no version
    deleted: 0 of 0 B; noted, for a later run to delete: 0
    ");
    let report = store.one(&["gc", "--dry-run", "--grace-days", "0"]);
    let found = (&report["listed"], &report["deleted"], &report["dryRun"]);
    assert_eq!(found, (&json!(1), &json!(0), &json!(true)));
    assert_eq!(store.one(&["get", "orders", "a"])["_system"]["ov"], 0);
}

#[test]
fn garbage_is_listed() {
    let store = Store::new();
    store.put("orders", "a", &json!({"text": "x".repeat(100_000)}));
    let objects = files(&store.path().join("xronox-data/objects"));
    let named = objects[0].to_str().unwrap();
    let mut stray: Vec<String> = ["b", "c"]
        .map(|id| named.replace("/orders/a/", &format!("/orders/{id}/")))
        .into();
    for path in &stray {
        let path = Path::new(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "left behind").unwrap();
    }
    // Keys begin below the bucket.
    for path in &mut stray {
        *path = path.split_once("/records/").unwrap().1.to_owned();
    }
    let list = ["gc", "--list", "--grace-days", "0"];
    let keys_and_fates = |lines: &[Value]| -> Vec<(String, String)> {
        let text = |line: &Value, name: &str| line[name].as_str().unwrap().to_owned();
        let (report, garbage) = lines.split_last().unwrap();
        assert_eq!(
            (&report["listed"], &report["unnamed"]),
            (&json!(3), &json!(2))
        );
        assert!(
            garbage
                .iter()
                .all(|line| line["bytes"] == 11 && line["role"] == "records")
        );
        let mut found: Vec<_> = garbage
            .iter()
            .map(|line| (text(line, "key"), text(line, "fate")))
            .collect();
        found.sort();
        found
    };
    let expected = |fate: &str| -> Vec<(String, String)> {
        stray
            .iter()
            .map(|key| (key.clone(), fate.to_owned()))
            .collect()
    };
    let dry = [&list[..], &["--dry-run"]].concat();
    assert_eq!(keys_and_fates(&store.json(&dry)), expected("noted"));
    assert_eq!(keys_and_fates(&store.json(&list)), expected("noted"));
    let text = store.text(&dry);
    assert!(
        text.lines().nth(1).unwrap().starts_with("deleted  20"),
        "{text}"
    );
    assert_eq!(keys_and_fates(&store.json(&list)), expected("deleted"));
    assert_eq!(store.json(&list).len(), 1);
}

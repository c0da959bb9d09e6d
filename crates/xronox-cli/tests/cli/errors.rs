//! What is refused, and how that is told.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
};

use serde_json::json;

use crate::store::{Store, lines, only};

#[test]
fn each_failure_has_its_code_and_kind() {
    let store = Store::new();
    store.put("orders", "a", &json!({"n": 1}));
    store.put("orders", "b", &json!({"n": 1}));
    store.one(&["delete", "orders", "b"]);
    store.fails(&["get", "orders", "x"], 3, "NotFound");
    store.fails(&["get", "orders", "a", "--ov", "7"], 3, "NotFound");
    store.fails(&["delete", "orders", "b"], 4, "Deleted");
    let put = ["put", "orders", "-", "--id", "a", "--expected-ov", "5"];
    let message = store.feed_fails(&put, "{}", 4, "Conflict");
    assert!(
        message.contains("expected version 5, the newest is 0"),
        "{message}"
    );
    store.feed_fails(&["put", "orders", "-", "--id", "b"], "{}", 4, "Deleted");
    for command in ["stats", "verify"] {
        store.fails(&[command, "order"], 3, "NotFound");
    }
    store.fails(&["put", "orders", "missing.json"], 3, "NotFound");
    store.fails(&["import", "orders", "missing.json"], 3, "NotFound");
    store.fails(&["put", "orders", "."], 1, "Io");
    store.feed_fails(&["put", "orders", "-"], "[]", 5, "Invalid");
    let message = store.feed_fails(&["put", "orders", "-"], "{\n\"a\": tru\n}", 5, "Invalid");
    assert!(message.contains("line 2"), "{message}");
    // Not one of them wrote anything.
    assert_eq!(store.one(&["stats", "orders"])["versions"], 3);
}

#[test]
fn bad_names_are_refused_and_name_nothing_outside() {
    let store = Store::new();
    store.put("orders", "a", &json!({"n": 1}));
    let long = "x".repeat(10_000);
    for name in [
        "",
        ".",
        "..",
        "a.b",
        "a/b",
        "../orders",
        "$a",
        "a b",
        "a$",
        &long,
    ] {
        store.feed_fails(&["put", name, "-"], "{}", 5, "Invalid");
        store.fails(&["get", name, "a"], 5, "Invalid");
        store.feed_fails(&["import", name, "-"], "{}", 5, "Invalid");
    }
    for id in ["", "a\nb", &long] {
        store.feed_fails(&["put", "orders", "-", "--id", id], "{}", 5, "Invalid");
        store.fails(&["get", "orders", id], 5, "Invalid");
        store.fails(&["delete", "orders", id], 5, "Invalid");
    }
    // These are fine as ids, and name just themselves.
    for id in ["..", "$a", "a/../b", ".", "%00", "'; DROP TABLE x; --"] {
        store.put("odd", id, &json!({"id": id}));
        assert_eq!(store.one(&["get", "odd", id])["id"], id);
    }
    assert!(store.run(&["verify"]).status.success());
}

#[test]
fn unknown_operators_and_bad_options_are_named() {
    let store = Store::new();
    store.put("orders", "a", &json!({"n": 1}));
    let find =
        |option: &str, value: &str| store.fails(&["find", "orders", option, value], 5, "Invalid");
    let message = find("--filter", r#"{"n": {"$near": 1}}"#);
    assert!(message.contains("$near"), "{message}");
    let message = find("--filter", "{n: 1}");
    assert!(
        message.starts_with("--filter: line 1, column 2"),
        "{message}"
    );
    find("--filter", "[]");
    find("--sort", "{\"a\":1,\"b\":1}");
    find("--after", "nonsense");
    find("--fields", "a..b");
    let message = store.fails(&["find", "orders", "--frob"], 2, "Usage");
    assert!(message.contains("--frob"), "{message}");
    store.fails(&["import", "orders", "-", "--map", "name=x"], 2, "Usage");
    store.fails(&["import", "orders", "-", "--key", "a..b"], 2, "Usage");
    store.fails(&["put", "orders", "-", "--expected-ov", "1"], 2, "Usage");
}

#[test]
fn people_get_errors_as_text() {
    let store = Store::new();
    let output = store.run(&["get", "orders", "a"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(output.stdout.is_empty());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.starts_with("xronox: ./xronox-data: there is no store here"),
        "{said}"
    );
    let message = store.fails(&["verify", "--catalog", "sqlite:typo"], 3, "NotFound");
    assert!(message.contains("no store here"), "{message}");
    // Looking for a store makes none.
    for folder in ["xronox-data", "typo"] {
        assert!(!store.path().join(folder).exists(), "{folder}");
    }
    let output = store.run(&["frobnicate"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("Usage"));
}

#[test]
fn help_lists_the_exit_codes() {
    let store = Store::new();
    let output = store.run(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(help.contains("130  stopped by Ctrl-C"), "{help}");
    assert!(help.contains("./xronox-data"), "{help}");
    let output = store.run(&["--version"]);
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .starts_with("xronox 0.")
    );
}

#[test]
fn completions_are_there_for_each_shell() {
    let store = Store::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = store.run(&["completions", shell]);
        assert!(output.status.success());
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(script.contains("expected-ov"), "{shell}");
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_unavailable() {
    let store = Store::new();
    let locked = store.path().join("locked");
    fs::create_dir(&locked).unwrap();
    let mut rights = fs::metadata(&locked).unwrap().permissions();
    rights.set_readonly(true);
    fs::set_permissions(&locked, rights).unwrap();
    // Root writes there all the same; but nobody makes folders in /proc.
    let bound = fs::write(locked.join("probe"), "").is_err();
    let folders = if bound {
        vec![locked.to_str().unwrap(), "/proc/xronox"]
    } else {
        vec!["/proc/xronox"]
    };
    for data in folders {
        let data = format!("{data}/data");
        store.feed_fails(
            &["put", "orders", "-", "--data", &data],
            "{}",
            6,
            "Unavailable",
        );
        store.fails(&["init", "--data", &data], 6, "Unavailable");
    }
    let file = store.file("file", "not a folder");
    let data = file.to_str().unwrap();
    store.fails(&["init", "--data", data], 6, "Unavailable");
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let store = Store::new();
    let all: String = (0..20_000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    let report = only(store.feed_json(&["import", "numbers", "-"], &all));
    assert_eq!(report["created"], 20_000);
    let mut child = store.spawn(&["export", "numbers", "--quiet"]);
    let mut first = String::new();
    let mut out = BufReader::with_capacity(64, child.stdout.take().unwrap());
    out.read_line(&mut first).unwrap();
    drop(out);
    assert_eq!(lines(first.as_bytes()).len(), 1);
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(0), ""));
}

#[test]
fn data_chooses_the_store() {
    let store = Store::new();
    store.feed_json(
        &["put", "orders", "-", "--id", "a", "--data", "one"],
        r#"{"n":1}"#,
    );
    store.feed_json(
        &["--data", "two", "put", "orders", "-", "--id", "a"],
        r#"{"n":2}"#,
    );
    assert_eq!(store.one(&["get", "orders", "a", "--data", "one"])["n"], 1);
    assert_eq!(store.one(&["get", "orders", "a", "--data", "two"])["n"], 2);
    store.fails(&["get", "orders", "a"], 3, "NotFound");
}

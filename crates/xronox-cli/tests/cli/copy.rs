//! Stores at other places, and copying one into another.

use xronox_services::env;

use crate::store::{Store, only};

/// Everything that the command shows of a collection, at a place.
fn all(store: &Store, collection: &str, place: &[&str]) -> Vec<serde_json::Value> {
    let at = |args: &[&str]| store.json(&[args, place].concat());
    let changes = at(&["changes", collection]);
    [changes, at(&["export", collection])].concat()
}

#[test]
fn a_copy_is_the_same_store_elsewhere() {
    let store = Store::new();
    assert!(store.run(&["demo", "--data", "here"]).status.success());
    let there = [
        "--catalog",
        "sqlite:there/catalog",
        "--payloads",
        "file:there/objects",
    ];
    let copy = [
        "copy",
        "--from",
        "here",
        "--to",
        there[1],
        "--to-payloads",
        there[3],
    ];
    let report = store.one(&copy);
    let versions = report["versions"].as_u64().unwrap();
    assert!(versions > 424);
    assert_eq!(report["compared"], versions);
    assert_eq!(
        all(&store, "zones", &["--data", "here"]),
        all(&store, "zones", &there)
    );
    let stats = |place: &[&str]| only(store.json(&[&["stats"], place].concat()));
    assert_eq!(
        stats(&["--data", "here"])["records"],
        stats(&there)["records"]
    );
    store.json(&[&["verify"], &there[..]].concat());
    // A folder is that very layout.
    store.json(&["verify", "--data", "there"]);

    let again = store.text(&copy);
    assert!(again.contains("copied 0 versions"), "{again}");
    assert!(again.contains("no difference"), "{again}");
}

#[test]
fn a_copy_says_what_is_wrong() {
    let store = Store::new();
    store.fails(&["copy", "--from", "none", "--to", "there"], 3, "NotFound");
    let copy = ["copy", "--from", "sqlite:none", "--to", "there"];
    store.fails(&copy, 3, "NotFound");
    let copy = ["copy", "--from", "mongo://ann:s3cret@db/", "--to", "there"];
    let message = store.fails(&copy, 2, "Usage");
    assert!(!message.contains("s3cret"), "{message}");
    store.put("orders", "a", &serde_json::json!({"n": 1}));
    store.put("orders", "b", &serde_json::json!({"n": 2}));
    let here = ["copy", "--from", "xronox-data"];
    let to = |to: &[&'static str]| [&here[..], to].concat();
    store.fails(&to(&["--to", "xronox-data"]), 5, "Invalid");
    store.fails(&to(&["--to", "there", "none"]), 3, "NotFound");
    store.fails(
        &to(&["--to", "there", "--to-payloads", "memory:"]),
        2,
        "Usage",
    );
    store.fails(&to(&["--to", "ENV.XRONOX_NO_SUCH_VARIABLE"]), 2, "Usage");
    let url = "s3://ann:secret@bucket";
    let message = store.fails(&to(&["--to", "memory:", "--to-payloads", url]), 2, "Usage");
    assert!(!message.contains("secret"), "{message}");
    // Another history under the same name.
    let args = ["put", "orders", "-", "--id", "c", "--data", "other"];
    assert!(store.feed(&args, "{}").status.success());
    let message = store.fails(&to(&["--to", "other"]), 5, "Invalid");
    assert!(message.contains("orders"), "{message}");
    assert_eq!(store.one(&["stats", "--data", "other"])["versions"], 1);
}

/// The demo on a replica set with bodies on S3, and the demo of a folder there
/// and back.
#[test]
fn the_demo_goes_to_servers_and_back() {
    let s3 = env::s3().unwrap();
    let (uri, url) = (
        env::mongo_uri().unwrap(),
        format!(
            "s3://xronox-test-cli?endpoint={}&region={}&pathStyle=true",
            s3.endpoint, s3.region
        ),
    );
    let store = Store::new();
    let name = |what: &str| {
        format!(
            "xronox_test_{what}_{}",
            store
                .path()
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .replace('.', "_")
        )
    };
    let run = |args: &[&str]| {
        let output = store
            .command(args)
            .arg("--quiet")
            .env("AWS_ACCESS_KEY_ID", &s3.access_key)
            .env("AWS_SECRET_ACCESS_KEY", &s3.secret_key)
            .env("CATALOG", &uri)
            .output()
            .unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let (shown, kept) = (name("shown"), name("kept"));
    let place = [
        "--catalog",
        "ENV.CATALOG",
        "--payloads",
        &url,
        "--database",
        &shown,
    ];
    let story = run(&[&["demo"], &place[..]].concat());
    assert!(
        story.contains("no damage: checked 429 records, 491 versions"),
        "{story}"
    );

    run(&["demo", "--data", "here"]);
    let there = [
        "--to",
        "ENV.CATALOG",
        "--to-payloads",
        &url,
        "--to-database",
        &kept,
    ];
    let report = run(&[&["copy", "--from", "here"], &there[..]].concat());
    assert!(
        report.contains("compared 491 versions: no difference"),
        "{report}"
    );
    let from = [
        "--from",
        "ENV.CATALOG",
        "--from-payloads",
        &url,
        "--from-database",
        &kept,
    ];
    run(&[&["copy", "--to", "back"], &from[..]].concat());
    assert_eq!(
        all(&store, "zones", &["--data", "here"]),
        all(&store, "zones", &["--data", "back"])
    );
    run(&["verify", "--data", "back"]);
}

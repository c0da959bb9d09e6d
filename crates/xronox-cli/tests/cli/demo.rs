//! The demo, and the data that it shows.

use insta::assert_snapshot;

use crate::store::{Store, lines, redacted};

#[test]
fn the_demo_tells_its_story_and_leaves_nothing() {
    let store = Store::new();
    let temporary = store.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let run = |args: &[&str]| {
        store
            .command(args)
            .env("TMPDIR", &temporary)
            .output()
            .unwrap()
    };
    let output = run(&["demo", "--quiet"]);
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    let story = redacted(std::str::from_utf8(&output.stdout).unwrap());
    assert!(story.lines().count() <= 80);
    assert_snapshot!("demo", story);
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(store.path()).unwrap().count(), 1);

    let output = run(&["demo", "--keep", "--quiet"]);
    let story = String::from_utf8(output.stdout).unwrap();
    assert!(story.contains("Go on with: cd "), "{story}");
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 1);
}

#[test]
fn three_tenants_share_a_store_and_nothing_else() {
    let store = Store::new();
    let output = store.run(&["demo", "--tenants", "--quiet"]);
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    let story = redacted(std::str::from_utf8(&output.stdout).unwrap());
    assert_snapshot!("tenants", story);
    store.fails(&["demo", "--tenants", "--data", "x"], 2, "Usage");
}

#[test]
fn the_demo_takes_a_store_of_its_own() {
    let store = Store::new();
    let output = store.run(&["demo", "--data", "kept", "--json", "--quiet"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(lines(&output.stdout)[1]["unchanged"], 354);
    assert_eq!(store.one(&["stats", "--data", "kept"])["records"], 429);
    assert!(!store.run(&["demo", "--data", "kept"]).status.success());
    store.fails(&["demo", "--data", "kept"], 4, "AlreadyExists");
}

#[test]
fn the_demo_says_so_when_it_finds_damage() {
    let store = Store::new();
    let place = |name: &str| store.path().join(name).display().to_string();
    let (catalog, payloads) = (
        format!("sqlite:{}", place("catalog")),
        format!("file:{}", place("objects")),
    );
    let there = ["--catalog", &catalog, "--payloads", &payloads];
    let run = |args: &[&str], input: &str| store.feed(&[args, &there].concat(), input);
    assert!(run(&["init"], "").status.success());
    let large = format!("{{\"text\":\"{}\"}}", "x".repeat(100_000));
    let output = run(&["put", "orders", "-"], &large);
    assert!(output.status.success(), "{output:?}");
    std::fs::remove_dir_all(place("objects")).unwrap();
    assert!(run(&["init"], "").status.success());
    let output = run(&["demo", "--quiet"], "");
    let story = String::from_utf8_lossy(&output.stdout);
    assert!(story.contains("1 damage:"), "{story}");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

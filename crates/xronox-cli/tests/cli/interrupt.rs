//! Ctrl-C.

#![cfg(unix)]

use std::{
    io::Write,
    process::{Child, Command},
    time::{Duration, Instant},
};

use crate::store::{Store, lines, only};

/// What Ctrl-C does to it.
pub(crate) fn interrupt(child: &Child) {
    let status = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(status.unwrap().success());
}

#[test]
fn an_import_that_is_interrupted_keeps_what_it_told() {
    let store = Store::new();
    let mut child = store.spawn(&["import", "numbers", "-", "--json", "--key", "n"]);
    let mut stdin = child.stdin.take().unwrap();
    let first: String = (0..5000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    stdin.write_all(first.as_bytes()).unwrap();
    stdin.flush().unwrap();
    // Once some of it is committed it is in the middle of its work, and waits
    // for more that never comes.
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < Duration::from_mins(1));
        let output = store.run(&["stats", "numbers", "--json"]);
        if output.status.success() && only(lines(&output.stdout))["records"] != 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    let report = only(lines(&output.stdout));
    assert_eq!(only(lines(&output.stderr))["error"]["kind"], "Interrupted");

    let created = report["created"].as_u64().unwrap();
    assert!((1..=5000).contains(&created), "{report}");
    assert_eq!(store.one(&["stats", "numbers"])["records"], created);
    assert!(store.run(&["verify"]).status.success());
    // The rest follows, and nothing comes twice.
    let again = only(store.feed_json(&["import", "numbers", "-", "--key", "n"], &first));
    assert_eq!(again["unchanged"], created);
    assert_eq!(again["created"], 5000 - created);
}

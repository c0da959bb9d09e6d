//! What is said about configurations that are wrong.

use std::fmt::Write;

use serde_json::json;
use xronox::{Config, ErrorKind};

use crate::{load, table};

#[test]
fn every_problem_is_told_precisely() {
    let broken = table(include_str!("broken.json"));
    assert!(broken.len() >= 50);
    let mut said = String::new();
    for (name, value) in broken {
        let error = load(value).expect_err(&name);
        assert_eq!(error.kind(), &ErrorKind::Config, "{name}");
        assert!(!error.problems().is_empty(), "{name}");
        let text = error.to_string();
        assert!(!text.contains("hush"), "{name}: {text}");
        writeln!(said, "# {name}\n{text}\n").unwrap();
    }
    insta::assert_snapshot!(said);
}

#[test]
fn a_problem_can_be_taken_apart() {
    let error = load(json!({ "queries": { "unindexed": "scn" } })).unwrap_err();
    let [problem] = error.problems() else {
        panic!("{error}");
    };
    assert_eq!(problem.path, "queries.unindexed");
    assert_eq!(problem.found.as_deref(), Some("\"scn\""));
    assert_eq!(problem.expected, "one of \"scan\", \"error\"");
    assert_eq!(problem.nearest.as_deref(), Some("scan"));
}

#[test]
fn text_that_cannot_be_read_is_not_repeated() {
    for text in ["", "{", "{\"a\": hush}", "{\"a\": 1, \"a\": 2}"] {
        let error = Config::from_json(text).unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::Config);
        let text = error.to_string();
        assert!(text.contains("line 1") && !text.contains("hush"), "{text}");
    }
}

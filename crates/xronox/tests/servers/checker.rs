//! That the check of a history finds what it is for.

use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use serde_json::json;
use tempfile::TempDir;
use xronox::{Config, Xronox};

use crate::{
    history::check,
    journal::{Client, Event, Journal, Seen, Write},
};

#[tokio::test]
async fn a_history_that_nothing_explains_is_refused() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("journal");
    let xronox = Xronox::open(Config::memory()).await.unwrap();
    let orders = xronox.collection("orders").unwrap();
    let client = Client::new(orders.clone(), Journal::at(&file), "c");
    client.write("a", Write::Create(json!({ "n": 0 }))).await;
    client.write("a", Write::Update(json!({ "n": 1 }))).await;
    client.write("a", Write::Patch).await;
    client.write("b", Write::Create(json!({ "n": 5 }))).await;
    client.read("a", None).await;
    client.read("a", Some(1)).await;
    let events = Journal::read(&file);
    let tally = check(&events, &orders).await;
    assert_eq!((tally.acknowledged, tally.reads), (4, 2));

    let done = |token: &str, ov, cv| Event::Done {
        token: token.to_owned(),
        ov,
        cv,
        unchanged: false,
        millis: 0,
    };
    let begin = |token: &str, write| Event::Begin {
        token: token.to_owned(),
        id: "a".to_owned(),
        write,
    };
    let with = |more: Vec<Event>| [events.clone(), more].concat();
    // Begins and ends, two a write.
    let without = |at: usize, count: usize| {
        let mut events = events.clone();
        events.drain(at..at + count);
        events
    };
    let replaced = |at: usize, event: Event| {
        let mut events = events.clone();
        events[at] = event;
        events
    };
    let wrong = [
        (
            "x/0 was acknowledged",
            with(vec![begin("x/0", Write::Patch), done("x/0", 3, 4)]),
        ),
        (
            "x/0 was acknowledged",
            with(vec![begin("x/0", Write::Patch), done("x/0", 1, 1)]),
        ),
        ("nobody wrote", without(2, 2)),
        (
            "c/1: nothing",
            replaced(
                3,
                Event::Failed {
                    token: "c/1".to_owned(),
                    kind: "Unavailable".to_owned(),
                    message: "nothing".to_owned(),
                    millis: 0,
                },
            ),
        ),
        (
            "a is NotFound",
            with(vec![
                begin("x/0", Write::Patch),
                Event::Failed {
                    token: "x/0".to_owned(),
                    kind: "NotFound".to_owned(),
                    message: String::new(),
                    millis: 0,
                },
            ]),
        ),
        (
            "left == right",
            replaced(2, begin("c/1", Write::Update(json!({ "n": 7 })))),
        ),
        (
            "stale",
            replaced(9, {
                let row = orders.history("a").oldest_first().await.unwrap().remove(0);
                Event::Saw {
                    token: "c/4".to_owned(),
                    id: "a".to_owned(),
                    as_of: None,
                    version: Some(Seen {
                        ov: 0,
                        cv: 0,
                        sha256: row.sha256.map(|sha256| sha256.to_string()),
                    }),
                }
            }),
        ),
        (
            "a as of 1",
            replaced(
                11,
                Event::Saw {
                    token: "c/5".to_owned(),
                    id: "a".to_owned(),
                    as_of: Some(1),
                    version: None,
                },
            ),
        ),
        // The second write is over before the first one begins.
        ("after Some(1)", {
            let mut events = events.clone();
            events[..4].rotate_left(2);
            events
        }),
    ];
    for (said, events) in wrong {
        let checked = AssertUnwindSafe(check(&events, &orders)).catch_unwind();
        let panic = checked.await.expect_err(said);
        let text = panic.downcast_ref::<String>().unwrap();
        assert!(text.contains(said), "{text}, not {said}");
    }
}

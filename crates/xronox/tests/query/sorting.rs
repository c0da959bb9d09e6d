//! Orders.

use serde_json::{Value, json};
use xronox::{Direction, ErrorKind, Settings};

use crate::{naive::texts, support::local_stores as stores};

#[tokio::test]
async fn arrays_sort_by_their_ends_and_types_in_their_order() {
    for store in stores(Settings::default()).await {
        let things = store.xronox.collection("things").unwrap();
        let values = [
            ("missing", None),
            ("null", Some(json!(null))),
            ("empty", Some(json!([]))),
            ("one", Some(json!(1))),
            ("two", Some(json!(2))),
            ("low-high", Some(json!([0, 9]))),
            ("mixed", Some(json!([1.5, "z"]))),
            ("text", Some(json!("a"))),
            ("object", Some(json!({ "k": 1 }))),
            ("true", Some(json!(true))),
        ];
        for (id, value) in values {
            let document = value.map_or(json!({}), |value| json!({ "v": value }));
            things.create_with_id(id, document).await.unwrap();
        }
        let up = things.query(json!({})).sort("v", Direction::Ascending);
        let down = things.query(json!({})).sort("v", Direction::Descending);
        for _ in 0..2 {
            assert_eq!(
                texts(
                    &things
                        .query(json!({}))
                        .sort("v", Direction::Ascending)
                        .await
                        .unwrap()
                ),
                [
                    "empty", "missing", "null", "low-high", "one", "mixed", "two", "text",
                    "object", "true"
                ]
            );
        }
        assert_eq!(texts(&up.await.unwrap()).len(), 10);
        assert_eq!(
            texts(&down.await.unwrap()),
            [
                "true", "object", "mixed", "text", "low-high", "two", "one", "null", "missing",
                "empty"
            ]
        );
    }
}

#[tokio::test]
async fn a_page_can_begin_after_a_record() {
    for store in stores(Settings::default()).await {
        let things = store.xronox.collection("things").unwrap();
        for (id, n) in [("a", 3), ("b", 1), ("c", 2), ("d", 1), ("e", 3)] {
            things
                .create_with_id(id, json!({ "n": n, "even": n == 2 }))
                .await
                .unwrap();
        }
        let by_n = |from: &str| {
            things
                .query(json!({}))
                .sort("n", Direction::Ascending)
                .after_id(from)
        };
        assert_eq!(texts(&by_n("b").await.unwrap()), ["d", "c", "a", "e"]);
        assert_eq!(texts(&by_n("c").await.unwrap()), ["a", "e"]);
        assert_eq!(texts(&by_n("e").await.unwrap()), [""; 0]);
        // The record need not match, nor be there at all where ids alone count.
        let odd = things
            .query(json!({ "even": false }))
            .sort_json(&json!({ "n": -1 }));
        assert_eq!(texts(&odd.after_id("c").await.unwrap()), ["d", "b"]);
        let rest = things
            .list_by_meta(json!({ "meta": {} }))
            .after_id("bb")
            .limit(2);
        assert_eq!(texts(&rest.await.unwrap()), ["c", "d"]);
        let missing = by_n("zz").await.unwrap_err();
        assert_eq!(missing.kind(), &ErrorKind::NotFound);
        assert!(missing.to_string().contains("zz"), "{missing}");
        things.delete("c").await.unwrap();
        assert_eq!(texts(&by_n("c").await.unwrap()), ["a", "e"]);
    }
}

#[tokio::test]
async fn the_newest_change_comes_first() {
    for store in stores(Settings::default()).await {
        let things = store.xronox.collection("things").unwrap();
        for n in 0..5 {
            things
                .create_with_id(n.to_string(), json!({ "n": n }))
                .await
                .unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(3)).await;
        }
        things.update("1", json!({ "n": "new" })).await.unwrap();
        things
            .create_with_id("own", json!({ "updatedAt": "0000" }))
            .await
            .unwrap();
        for _ in 0..2 {
            let newest = things
                .list_by_meta(json!({}))
                .sort("updatedAt", Direction::Descending);
            assert_eq!(
                texts(&newest.await.unwrap()),
                ["1", "4", "3", "2", "0", "own"]
            );
        }
        let newest = things
            .query(json!({}))
            .sort("_system.updatedAt", Direction::Descending)
            .limit(2);
        let found = newest.await.unwrap();
        assert_eq!(texts(&found), ["own", "1"]);
        let since = json!({ "updatedAt": { "$gte": found.items[1].at().to_string() } });
        assert_eq!(texts(&things.query(since).await.unwrap()), ["1"]);
    }
}

#[tokio::test]
async fn sorts_that_mean_nothing_are_refused() {
    let store = stores(Settings::default()).await.remove(0);
    let things = store.xronox.collection("things").unwrap();
    let refused = |sort: Value| {
        let things = &things;
        async move { things.query(json!({})).sort_json(&sort).await.unwrap_err() }
    };
    for sort in [
        json!({ "a": 1, "b": -1 }),
        json!({ "a": 3 }),
        json!("a..b"),
        json!([1]),
    ] {
        let error = refused(sort.clone()).await;
        assert_eq!(error.kind(), &ErrorKind::Invalid, "{sort}");
        assert!(error.to_string().contains("sort"), "{error}");
    }
    let twice = things
        .query(json!({}))
        .sort("a", Direction::Ascending)
        .sort("a", Direction::Ascending);
    assert_eq!(twice.await.unwrap_err().kind(), &ErrorKind::Invalid);
}

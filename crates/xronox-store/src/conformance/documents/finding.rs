//! Which documents are found, and in which order.

use serde_json::{Value, json};
use xronox_model::Direction;

use super::{
    Subject,
    bench::{Bench, filter, ids, index, path, sorted},
};
use crate::{DocFind, DocIndex, StoreError, documents::MAX_PAGE};

/// Indexes that could serve the finds below, each in its own way.
fn indexings() -> Vec<Vec<DocIndex>> {
    let mixed = DocIndex::of([
        (path("t"), Direction::Ascending),
        (path("n"), Direction::Descending),
    ]);
    vec![
        vec![],
        vec![index(&["n"])],
        vec![index(&["t"])],
        vec![index(&["t", "n"])],
        vec![mixed],
        vec![DocIndex::of([(path("n"), Direction::Descending)])],
        vec![index(&["t", "s", "n"]), index(&["s"])],
        vec![index(&["t", "n"]).only(filter(&json!({"n": {"$gte": 3}})))],
    ]
}

/// Documents that tie on `t`, on `n` and on both.
fn documents() -> Vec<Value> {
    (0..24_i64)
        .map(|i| json!({"_id": format!("d{i:02}"), "t": i % 3, "n": i / 2 % 5, "s": "same"}))
        .collect()
}

/// Sorts documents as they should come.
fn in_order(mut documents: Vec<Value>, fields: &[&str]) -> Vec<Value> {
    documents.sort_by(|a, b| {
        let mut order = std::cmp::Ordering::Equal;
        let mut last = 1;
        for field in fields.iter().chain(&["_id"]) {
            let name = field.trim_start_matches('-');
            if *field != "_id" {
                last = if field.starts_with('-') { -1 } else { 1 };
            }
            let by = xronox_model::order::compare(&a[name], &b[name]);
            order = order.then(if last < 0 { by.reverse() } else { by });
        }
        order
    });
    documents
}

const ORDERS: [&[&str]; 8] = [
    &[],
    &["n"],
    &["-n"],
    &["t", "n"],
    &["t", "-n"],
    &["-t", "n"],
    &["-s"],
    &["missing"],
];

/// By any fields in either direction, and then by `_id`.
pub async fn documents_come_in_order(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    for (i, indexes) in indexings().iter().enumerate() {
        let bench = bench.other(&format!("indexed-{i}"));
        bench.insert(documents()).await;
        for index in indexes {
            bench.index(index).await;
        }
        for fields in ORDERS {
            for matching in [
                json!({}),
                json!({"t": 1}),
                json!({"t": 1, "n": {"$gte": 3}}),
                json!({"n": 2}),
            ] {
                let wanted = documents()
                    .into_iter()
                    .filter(|d| filter(&matching).matches(d))
                    .collect();
                let found = bench.find(&sorted(&matching, fields)).await;
                assert_eq!(
                    found,
                    in_order(wanted, fields),
                    "{matching} by {fields:?}, indexes {i}"
                );
            }
        }
    }
    // Types have their order, a missing field is null, and an array stands at
    // its smallest or its largest element.
    bench
        .insert([
            json!({"_id": "1", "v": null}),
            json!({"_id": "2"}),
            json!({"_id": "3", "v": 1.5}),
            json!({"_id": "4", "v": "a"}),
            json!({"_id": "5", "v": {"x": 1}}),
            json!({"_id": "6", "v": false}),
            json!({"_id": "7", "v": [0, "b"]}),
        ])
        .await;
    for indexed in [false, true] {
        if indexed {
            bench.index(&index(&["v"])).await;
        }
        let found = bench.find(&sorted(&json!({}), &["v"])).await;
        assert_eq!(ids(&found), ["1", "2", "7", "3", "4", "5", "6"]);
        let found = bench.find(&sorted(&json!({}), &["-v"])).await;
        assert_eq!(ids(&found), ["6", "5", "7", "4", "3", "2", "1"]);
    }
}

/// Pages of any size give together what one page gives.
pub async fn pages_follow_on_one_another(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    for (i, indexes) in indexings().iter().enumerate() {
        let bench = bench.other(&format!("indexed-{i}"));
        for index in indexes {
            bench.index(index).await;
        }
        bench.insert(documents()).await;
        for fields in ORDERS {
            for matching in [json!({}), json!({"t": 1}), json!({"n": {"$in": [1, 3]}})] {
                let whole = bench.find(&sorted(&matching, fields)).await;
                for limit in [1, 5] {
                    let mut pages = Vec::new();
                    let mut find = sorted(&matching, fields).limit(limit);
                    loop {
                        let page = bench.find(&find).await;
                        assert!(page.len() <= limit);
                        let Some(last) = page.last().cloned() else {
                            break;
                        };
                        pages.extend(page);
                        find.after = Some(last);
                    }
                    assert_eq!(pages, whole, "{matching} by {fields:?}, indexes {i}");
                }
            }
        }
    }
}

/// No call gives more than a page.
pub async fn a_page_is_bounded(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    bench.insert(documents()).await;
    let all = DocFind::of(filter(&json!({})));
    assert_eq!(bench.find(&all.clone().limit(0)).await, Vec::<Value>::new());
    assert_eq!(bench.find(&all.clone().limit(7)).await.len(), 7);
    assert_eq!(bench.find(&all.clone().limit(MAX_PAGE)).await.len(), 24);
    let too_much = all.limit(MAX_PAGE + 1);
    let error = bench
        .documents
        .find(&bench.name, &too_much)
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)), "{error}");
}

/// A page begins behind any place, also one that nothing stands at any more.
pub async fn a_page_may_begin_anywhere(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    bench.index(&index(&["n"])).await;
    bench
        .insert((0..6).map(|n| json!({"_id": format!("d{n}"), "n": n / 2, "more": n})))
        .await;
    let by_n = sorted(&json!({}), &["n"]);
    let from = |after: Value| by_n.clone().after(after);
    assert_eq!(
        ids(&bench.find(&from(json!({"_id": "d2", "n": 1}))).await),
        ["d3", "d4", "d5"]
    );
    assert_eq!(
        ids(&bench.find(&from(json!({"_id": "d0x", "n": 1}))).await),
        ["d2", "d3", "d4", "d5"]
    );
    assert_eq!(
        ids(&bench.find(&from(json!({"_id": "", "n": 2}))).await),
        ["d4", "d5"]
    );
    assert_eq!(
        ids(&bench.find(&from(json!({"_id": "d9", "n": 9}))).await),
        Vec::<String>::new()
    );
    assert_eq!(bench.find(&from(json!({"_id": "d9"}))).await.len(), 6);
    // Also where the filter pins a field that the order begins with.
    bench.index(&index(&["n", "more"])).await;
    let pinned = |n: i64| {
        sorted(&json!({"n": 1}), &["n", "more"]).after(json!({"_id": "d9", "n": n, "more": 2}))
    };
    assert_eq!(ids(&bench.find(&pinned(0)).await), ["d2", "d3"]);
    assert_eq!(ids(&bench.find(&pinned(1)).await), ["d3"]);
    assert_eq!(ids(&bench.find(&pinned(2)).await), Vec::<String>::new());
    let last = bench.find(&by_n.clone().limit(3)).await.pop().unwrap();
    bench.delete(&json!({"_id": "d2"})).await;
    bench
        .insert([json!({"_id": "d2a", "n": 1}), json!({"_id": "d1a", "n": 0})])
        .await;
    assert_eq!(
        ids(&bench.find(&from(last)).await),
        ["d2a", "d3", "d4", "d5"]
    );
    let error = bench
        .documents
        .find(&bench.name, &from(json!({"n": 1})))
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)), "{error}");
}

/// An index changes how documents are found, not which.
pub async fn filters_mean_the_same_through_any_index(subject: &dyn Subject) {
    let documents = [
        json!({"_id": 1}),
        json!({"_id": 2, "v": null}),
        json!({"_id": 3, "v": 1}),
        json!({"_id": 4, "v": 1.5}),
        json!({"_id": 5, "v": "1"}),
        json!({"_id": 6, "v": [1, "x"]}),
        json!({"_id": 7, "v": []}),
        json!({"_id": 8, "v": {"w": 1}}),
        json!({"_id": 9, "v": [{"w": 1}, {"w": 2}]}),
        json!({"_id": 10, "v": true}),
        json!({"_id": 11, "v": "2024-01-01T00:00:00.000Z"}),
        json!({"_id": 12, "v": [[1]]}),
        json!({"_id": 13, "updatedAt": "2024"}),
    ];
    let filters = [
        json!({"v": 1}),
        json!({"v": null}),
        json!({"v": {"$ne": 1}}),
        json!({"v": {"$gt": 1}}),
        json!({"v": {"$gte": 1, "$lt": "x"}}),
        json!({"v": {"$lte": "2"}}),
        json!({"v": {"$in": [1, "1", null]}}),
        json!({"v": {"$nin": [1, null]}}),
        json!({"v": {"$exists": true}}),
        json!({"v": {"$exists": false}}),
        json!({"v": {"$regex": "^20"}}),
        json!({"v": {"$size": 2}}),
        json!({"v": {"$type": "array"}}),
        json!({"v": []}),
        json!({"v": [1, "x"]}),
        json!({"v": {"w": 1}}),
        json!({"v.w": 2}),
        json!({"v.w": {"$gt": 1}, "v": {"$size": 2}}),
        json!({"v": {"$all": [1, "x"]}}),
        json!({"v": {"$elemMatch": {"w": 1}}}),
        json!({"v": {"$not": {"$gt": 0}}}),
        json!({"$or": [{"v": 1}, {"v": true}]}),
        json!({"$and": [{"v": 1}, {"v": "x"}]}),
        json!({"$nor": [{"v": 1}, {"v": null}]}),
        json!({"_id": {"$gt": 4, "$lte": 8}}),
        json!({"_id": 3, "v": 1}),
        json!({"_id": {"$in": [3, 4, 99]}}),
        json!({"v": {"$gte": {"$date": 0}}}),
        json!({"v": {"$gt": 5, "$lt": 1}}),
        json!({"updatedAt": "2024"}),
        json!({"updatedAt": {"$gte": "2023"}}),
    ];
    let bench = Bench::open(subject).await;
    for (i, fields) in [
        &[][..],
        &["v"],
        &["v.w"],
        &["_id", "v"],
        &["x", "v"],
        &["updatedAt"],
    ]
    .iter()
    .enumerate()
    {
        let bench = bench.other(&format!("indexed-{i}"));
        if !fields.is_empty() {
            bench.index(&index(fields)).await;
        }
        bench.insert(documents.clone()).await;
        for matching in &filters {
            let wanted: Vec<Value> = documents
                .iter()
                .filter(|d| filter(matching).matches(*d))
                .cloned()
                .collect();
            assert_eq!(
                bench.all(matching).await,
                wanted,
                "{matching} with {fields:?}"
            );
            let mut back = bench.find(&sorted(matching, &["-_id"])).await;
            back.reverse();
            assert_eq!(back, wanted, "{matching} with {fields:?}, backwards");
            assert_eq!(
                bench.count(matching).await,
                wanted.len() as u64,
                "{matching} with {fields:?}"
            );
        }
    }
}

/// A document with many keys is found, counted and deleted once.
pub async fn arrays_are_met_once(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    bench.index(&index(&["t", "tags"])).await;
    bench
        .insert((0..5).map(|i| json!({"_id": i, "t": 1, "tags": ["a", "b", "c", i]})))
        .await;
    let many: Vec<i32> = (0..2_000).collect();
    bench
        .insert([json!({"_id": 9, "t": 1, "tags": many})])
        .await;
    let several = json!({"t": 1, "tags": {"$in": ["a", "c", 1_500]}});
    assert_eq!(
        ids(&bench.all(&several).await),
        ["0", "1", "2", "3", "4", "9"]
    );
    assert_eq!(bench.count(&several).await, 6);
    let paged = sorted(&several, &["tags"]).limit(2);
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = bench
            .find(&DocFind {
                after: after.clone(),
                ..paged.clone()
            })
            .await;
        let Some(last) = page.last() else { break };
        after = Some(last.clone());
        found.extend(ids(&page));
    }
    assert_eq!(found, ["0", "9", "1", "2", "3", "4"]);
    let gone = bench
        .documents
        .delete(&bench.name, &filter(&several), 4)
        .await
        .unwrap();
    assert_eq!((gone, bench.count(&json!({})).await), (4, 2));
    assert_eq!(bench.delete(&json!({"tags": {"$gte": 0}})).await, 2);
    assert_eq!(bench.count(&json!({})).await, 0);
}

/// Index keys are cut; values are not.
pub async fn long_values_are_told_apart(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    bench.index(&index(&["text"])).await;
    let long = |end: &str| format!("{}{end}", "x".repeat(3_000));
    bench
        .insert(["b", "a", "c"].map(|end| json!({"_id": end, "text": long(end)})))
        .await;
    assert_eq!(ids(&bench.all(&json!({"text": long("a")})).await), ["a"]);
    assert_eq!(
        ids(&bench.all(&json!({"text": {"$gt": long("a")}})).await),
        ["b", "c"]
    );
    // They share a place, so `_id` decides.
    assert_eq!(
        ids(&bench.find(&sorted(&json!({}), &["text"])).await),
        ["a", "b", "c"]
    );
}

/// Counts are of what a find would give, however many there are.
pub async fn counting_counts_what_is_found(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    assert_eq!(bench.count(&json!({})).await, 0);
    bench.index(&index(&["n"])).await;
    for part in 0..3 {
        bench
            .insert((0..1_000).map(|n| json!({"_id": part * 1_000 + n, "n": n % 10})))
            .await;
    }
    assert_eq!(bench.count(&json!({})).await, 3_000);
    assert_eq!(bench.count(&json!({"n": {"$lt": 3}})).await, 900);
    assert_eq!(
        bench.count(&json!({"n": 4, "_id": {"$lt": 1_000}})).await,
        100
    );
    assert_eq!(bench.count(&json!({"gone": 1})).await, 0);
}

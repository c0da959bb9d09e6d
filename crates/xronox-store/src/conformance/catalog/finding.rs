//! Access paths.

use std::ops::Bound;

use bytes::Bytes;
use serde_json::{Value, json};
use xronox_model::{
    Constraint, Direction, Filter, IndexSpec, KeyRange, Narrow, OrderedKey, VersionRow,
};

use super::{
    Subject,
    bench::{Bench, along, bare, body, id, path},
};
use crate::{Access, Append, Bodies, Expect, Find, PAGE_BYTES, Position, Presence, StoreError};

pub(super) fn everything() -> KeyRange {
    KeyRange {
        lower: Bound::Unbounded,
        upper: Bound::Unbounded,
    }
}

fn point(value: &Value) -> KeyRange {
    KeyRange::point(OrderedKey::of(value))
}

/// From the first value to the second, both inside.
fn from_to(lower: &Value, upper: &Value) -> KeyRange {
    KeyRange {
        lower: Bound::Included(OrderedKey::of(lower)),
        upper: Bound::Included(OrderedKey::of(upper)),
    }
}

fn beyond(lower: &Value) -> KeyRange {
    KeyRange {
        lower: Bound::Excluded(OrderedKey::of(lower)),
        upper: Bound::Unbounded,
    }
}

fn below(upper: &Value) -> KeyRange {
    KeyRange {
        lower: Bound::Unbounded,
        upper: Bound::Excluded(OrderedKey::of(upper)),
    }
}

fn field(name: &str, ranges: Vec<KeyRange>) -> Access {
    Access::Field {
        field: path(name),
        ranges,
    }
}

/// The path in pages of every size, both ways, and from behind every position.
async fn check_path(bench: &Bench, find: &Find, expected: &[&str]) {
    let whole = Find {
        limit: 1000,
        ..find.clone()
    };
    let (rows, _) = bench.walk(&whole).await;
    let ids: Vec<String> = rows.iter().map(|(_, row)| row.id.to_string()).collect();
    assert_eq!(ids, expected, "{find:?}");
    for limit in 1..=expected.len() {
        let (paged, _) = bench
            .walk(&Find {
                limit,
                ..find.clone()
            })
            .await;
        assert_eq!(paged, rows, "{find:?} in pages of {limit}");
    }
    for (i, (position, row)) in rows.iter().enumerate() {
        assert_eq!(position.id, row.id);
        let after = Some(position.clone());
        let (rest, _) = bench
            .walk(&Find {
                after,
                limit: 2,
                ..find.clone()
            })
            .await;
        assert_eq!(rest, rows[i + 1..], "{find:?} behind {position:?}");
    }
}

/// Down is up reversed, but for records with several keys in range.
async fn check_both_ways(bench: &Bench, find: &Find, expected: &[&str]) {
    check_path(bench, find, expected).await;
    let reversed: Vec<&str> = expected.iter().rev().copied().collect();
    let find = Find {
        direction: Direction::Descending,
        ..find.clone()
    };
    check_path(bench, &find, &reversed).await;
}

/// Every record is met once, in the order of ids, deleted ones too.
pub async fn all_records_are_found(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let object_id = "507f1f77bcf86cd799439011";
    for record in ["m", object_id, "a", "zz", "B", "p"] {
        bench
            .done(bench.create(record, &json!({"of": record})))
            .await;
    }
    bench.done(bench.update("m", &json!({}))).await;
    bench.done(bench.delete("a")).await;
    bench.done(bench.purge("p")).await;
    let expected = ["B", "a", "m", "zz", object_id];
    check_both_ways(&bench, &along(Access::All), &expected).await;

    let ids = ["zz", "zz", "p", "none", object_id, "B"].map(id).to_vec();
    check_both_ways(&bench, &along(Access::Ids(ids)), &["B", "zz", object_id]).await;
    check_both_ways(&bench, &along(Access::Ids(vec![])), &[]).await;
    let many = (0..3000)
        .map(|n| id(&format!("n{n}")))
        .chain([id("m")])
        .collect();
    check_both_ways(&bench, &along(Access::Ids(many)), &["m"]).await;

    // Rows come as the other reads give them.
    for bodies in [Bodies::Inline, Bodies::Omit] {
        let find = Find {
            bodies,
            ..along(Access::All)
        };
        let found = bench.catalog.find(&bench.name, &find).await.unwrap();
        assert_eq!((found.cv, found.next, found.multi), (Some(8), None, false));
        for (position, row) in found.rows {
            assert_eq!(position.key, None);
            let head = bench.head(&row.id.to_string()).await.unwrap();
            assert_eq!(
                row,
                if bodies == Bodies::Inline {
                    head
                } else {
                    bare(&head)
                }
            );
        }
    }
    // A position need not be that of a record.
    let after = Some(Position {
        key: None,
        id: id("c"),
    });
    check_path(
        &bench,
        &Find {
            after,
            ..along(Access::All)
        },
        &["m", "zz", object_id],
    )
    .await;
}

/// However many rows are asked for, they come a few at a time if they are large.
pub async fn large_rows_come_a_few_at_a_time(subject: &dyn Subject) {
    const COUNT: usize = 24;
    let bench = Bench::open(subject).await;
    let large = "x".repeat(900 << 10);
    let ids: Vec<String> = (0..COUNT).map(|n| format!("r{n:02}")).collect();
    for record in &ids {
        bench
            .done(bench.create(record, &json!({ "of": record, "large": large })))
            .await;
    }
    let cut = bench.done(bench.update("r03", &json!({}))).await.cv - 1;
    let records = ids.iter().map(|record| id(record)).collect();
    for (access, cut) in [
        (Access::All, None),
        (Access::All, Some(cut)),
        (Access::Ids(records), None),
    ] {
        let find = Find {
            cut,
            bodies: Bodies::Inline,
            ..along(access)
        };
        let found = bench.catalog.find(&bench.name, &find).await.unwrap();
        let inline = found.rows.iter().filter_map(|(_, row)| row.inline());
        let bytes: usize = inline.map(Bytes::len).sum();
        assert!(found.next.is_some() && found.rows.len() > 1, "{find:?}");
        assert!(bytes < PAGE_BYTES + (1 << 20), "{bytes} bytes");
        assert_eq!(bench.ids(&find).await, ids, "{find:?}");
        // Without their bodies they are small.
        let bare = Find {
            bodies: Bodies::Omit,
            ..find
        };
        let found = bench.catalog.find(&bench.name, &bare).await.unwrap();
        assert_eq!((found.rows.len(), found.next), (COUNT, None));
    }
}

/// What was found at a cut can be found there for ever.
pub async fn past_states_are_found(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    bench.index(IndexSpec::field(path("n"))).await;
    // A deleted record may be updated where that is allowed.
    let maybe_deleted = Expect::only(Presence::Present);
    let steps: [(Append, &[&str]); 8] = [
        (bench.create("a", &json!({"n": 5})), &["a"]),
        (bench.create("b", &json!({"n": 3})), &["b", "a"]),
        (bench.update("a", &json!({"n": 1})), &["a", "b"]),
        (bench.create("c", &json!({"n": 2})), &["a", "c", "b"]),
        (bench.delete("c"), &["a", "c", "b"]),
        (bench.update("b", &json!({"other": 1})), &["b", "a", "c"]),
        (bench.restore("b", 0), &["a", "c", "b"]),
        (
            Append {
                expect: maybe_deleted,
                ..bench.update("c", &json!({"n": 0}))
            },
            &["c", "a", "b"],
        ),
    ];
    let mut expected = Vec::new();
    for (step, found) in steps {
        bench.done(step).await;
        expected.push(found);
    }
    for (cut, expected) in (0..).zip(expected) {
        let find = Find {
            cut: Some(cut),
            ..along(field("n", vec![everything()]))
        };
        check_both_ways(&bench, &find, expected).await;
        let mut by_id = expected.to_vec();
        by_id.sort_unstable();
        check_both_ways(
            &bench,
            &Find {
                cut: Some(cut),
                ..along(Access::All)
            },
            &by_id,
        )
        .await;
        let some = Access::Ids(vec![id("b"), id("c")]);
        by_id.retain(|found| *found != "a");
        check_both_ways(
            &bench,
            &Find {
                cut: Some(cut),
                ..along(some)
            },
            &by_id,
        )
        .await;
        let found = bench.catalog.find(&bench.name, &find).await.unwrap();
        assert_eq!(found.cv, Some(7));
        for (_, row) in found.rows {
            assert!(row.cv <= cut && row.to_cv.is_none_or(|to_cv| cut < to_cv));
        }
    }
    // Beyond the newest commit nothing is different yet.
    let find = Find {
        cut: Some(1000),
        ..along(field("n", vec![everything()]))
    };
    check_both_ways(&bench, &find, &["c", "a", "b"]).await;
}

/// A field's path runs in the order of its keys, then of ids.
pub async fn a_field_is_walked_in_order(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    bench.index(IndexSpec::field(path("n"))).await;
    let long = "x".repeat(5000);
    let values = [
        ("k", json!(null)),
        ("c", json!(-3)),
        ("b", json!(2)),
        ("a", json!(2)),
        ("507f1f77bcf86cd799439011", json!(2)),
        ("d", json!(2.5)),
        ("e", json!(10)),
        ("f", json!("")),
        ("g", json!("Z")),
        ("h", json!("a")),
        ("i", json!("é\u{1F600}")),
        ("l", json!(long)),
        ("m", json!({"x": 1})),
        ("o", json!(false)),
        ("p", json!(true)),
    ];
    for (record, value) in values.iter().rev() {
        bench
            .done(bench.create(record, &json!({ "n": value })))
            .await;
    }
    bench.done(bench.create("j", &json!({}))).await;
    let order = [
        "j",
        "k",
        "c",
        "a",
        "b",
        "507f1f77bcf86cd799439011",
        "d",
        "e",
        "f",
        "g",
        "h",
        "l",
        "i",
        "m",
        "o",
        "p",
    ];
    let one = json!(1);
    let n = |ranges: Vec<KeyRange>| along(field("n", ranges));
    check_both_ways(&bench, &n(vec![everything()]), &order).await;
    for (ranges, expected) in [
        (vec![point(&json!(null))], &order[0..2]),
        (vec![point(&json!(2))], &order[3..6]),
        (vec![point(&one)], &[]),
        (vec![from_to(&one, &json!(5))], &order[3..7]),
        (vec![below(&json!(2))], &order[..3]),
        (vec![beyond(&json!(2))], &order[6..]),
        (
            vec![
                below(&json!(-5)),
                from_to(&json!(2.5), &json!("Z")),
                point(&json!(true)),
            ],
            &["j", "k", "d", "e", "f", "g", "p"],
        ),
        (vec![point(&json!(long))], &order[11..12]),
        (vec![], &[]),
    ] {
        check_both_ways(&bench, &n(ranges), expected).await;
    }
    let (rows, multi) = bench.walk(&n(vec![everything()])).await;
    assert!(!multi);
    for (position, row) in &rows {
        assert_eq!(
            position.key.as_ref(),
            row.keys.get(&path("n")).unwrap().keys().first()
        );
    }
    // A position between keys, and one between ids of one key.
    for (key, after, expected) in [
        (json!(2.1), "zzz", &order[6..]),
        (json!(2), "aa", &order[4..]),
        (json!(2), "z", &order[5..]),
    ] {
        let after = Some(Position {
            key: Some(OrderedKey::of(&key)),
            id: id(after),
        });
        check_path(
            &bench,
            &Find {
                after,
                ..n(vec![everything()])
            },
            expected,
        )
        .await;
    }
    let many = (0..900).map(|n| point(&json!(n))).collect();
    check_both_ways(
        &bench,
        &n(many),
        &["a", "b", "507f1f77bcf86cd799439011", "e"],
    )
    .await;
}

/// A record with several keys in range is met once, at the first of them.
pub async fn several_keys_are_met_once(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    bench.index(IndexSpec::field(path("t"))).await;
    let tags = |ranges: Vec<KeyRange>| along(field("t", ranges));
    bench.done(bench.create("d", &json!({"t": 4}))).await;
    let multi = async || {
        let find = tags(vec![everything()]);
        bench.catalog.find(&bench.name, &find).await.unwrap().multi
    };
    assert!(!multi().await);
    for (record, value) in [
        ("a", json!([5, 1])),
        ("b", json!([3])),
        ("c", json!([2, 9, 5])),
        ("e", json!([])),
    ] {
        bench
            .done(bench.create(record, &json!({ "t": value })))
            .await;
    }
    assert!(multi().await);
    let numbers = || from_to(&json!(0), &json!(100));
    check_path(&bench, &tags(vec![numbers()]), &["a", "c", "b", "d"]).await;
    let down = |find: Find| Find {
        direction: Direction::Descending,
        ..find
    };
    check_path(&bench, &down(tags(vec![numbers()])), &["c", "a", "d", "b"]).await;
    // Only the keys in range count.
    let some = || vec![from_to(&json!(3), &json!(5)), point(&json!(9))];
    check_path(&bench, &tags(some()), &["b", "d", "a", "c"]).await;
    check_path(&bench, &down(tags(some())), &["c", "a", "d", "b"]).await;
    // An array has a key as a whole.
    check_path(&bench, &tags(vec![point(&json!([5, 1]))]), &["a"]).await;
    check_path(&bench, &tags(vec![point(&json!([]))]), &["e"]).await;
    check_path(
        &bench,
        &tags(vec![beyond(&json!(100))]),
        &["e", "c", "b", "a"],
    )
    .await;

    // The mark stays when the arrays go.
    for record in ["a", "b", "c", "e"] {
        bench.done(bench.purge(record)).await;
    }
    assert!(multi().await);
    let (_, other) = bench.walk(&along(Access::All)).await;
    assert!(!other);
}

/// Further constraints may narrow a path, and never drop a row that meets them.
pub async fn further_constraints_only_narrow(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    bench.index(IndexSpec::field(path("n"))).await;
    bench.index(IndexSpec::field(path("t"))).await;
    for i in 0..20 {
        let document = json!({"n": i % 4, "t": [i % 3, i % 5]});
        bench
            .done(bench.create(&format!("r{i:02}"), &document))
            .await;
    }
    bench
        .done(bench.update("r07", &json!({"n": 3, "t": [1, 4]})))
        .await;
    let asked = json!({"n": {"$gte": 2}, "t": 1});
    let narrow = Narrow::of(&Filter::parse(&asked).unwrap());
    let constraint = |name: &str| narrow.best(|path| path.to_string() == name).cloned();
    let (n, t) = (constraint("n").unwrap(), constraint("t").unwrap());
    for also in [vec![n.clone()], vec![t.clone()], vec![n.clone(), t.clone()]] {
        for access in [
            Access::All,
            field("n", n.ranges().to_vec()),
            field("t", t.ranges().to_vec()),
        ] {
            for cut in [None, Some(12), Some(20)] {
                let plain = Find {
                    cut,
                    limit: 3,
                    ..along(access.clone())
                };
                let (all, _) = bench.walk(&plain).await;
                let (narrowed, _) = bench
                    .walk(&Find {
                        also: also.clone(),
                        ..plain
                    })
                    .await;
                let meets = |(_, row): &&(Position, VersionRow)| {
                    also.iter().all(|constraint| admits(constraint, row))
                };
                let least: Vec<_> = all.iter().filter(meets).collect();
                assert!(!least.is_empty());
                assert!(narrowed.iter().all(|found| all.contains(found)));
                let kept: Vec<_> = narrowed.iter().filter(meets).collect();
                assert_eq!(kept, least);
                assert!(narrowed.is_sorted_by_key(|found| all.iter().position(|one| one == found)));
            }
        }
    }
}

fn admits(constraint: &Constraint, row: &VersionRow) -> bool {
    row.keys
        .get(constraint.path())
        .is_some_and(|keys| constraint.admits(keys.keys()))
}

/// Every collection can be walked by what the system fields always index.
pub async fn some_system_fields_are_always_indexed(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let mut times = Vec::new();
    for record in ["c", "a", "b"] {
        times.push(bench.done(bench.create(record, &json!({}))).await.at);
        bench.pass(5).await;
    }
    times.push(bench.done(bench.update("c", &json!({}))).await.at);
    bench.pass(5).await;
    times.push(bench.done(bench.delete("a")).await.at);
    bench.done(bench.create("p", &json!({}))).await;
    bench.done(bench.purge("p")).await;
    let at = |i: usize| json!(times[i]);
    for (name, cut, ranges, expected) in [
        (
            "_system.deleted",
            None,
            vec![point(&json!(false))],
            vec!["b", "c"],
        ),
        (
            "_system.deleted",
            None,
            vec![point(&json!(true))],
            vec!["a"],
        ),
        (
            "_system.deleted",
            Some(3),
            vec![point(&json!(true))],
            vec![],
        ),
        (
            "_system.deleted",
            None,
            vec![everything()],
            vec!["b", "c", "a"],
        ),
        (
            "_system.insertedAt",
            None,
            vec![everything()],
            vec!["c", "a", "b"],
        ),
        (
            "_system.insertedAt",
            None,
            vec![beyond(&at(0))],
            vec!["a", "b"],
        ),
        (
            "_system.updatedAt",
            None,
            vec![everything()],
            vec!["b", "c", "a"],
        ),
        (
            "_system.updatedAt",
            None,
            vec![from_to(&at(2), &at(3))],
            vec!["b", "c"],
        ),
        (
            "_system.updatedAt",
            Some(2),
            vec![everything()],
            vec!["c", "a", "b"],
        ),
        (
            "_system.updatedAt",
            Some(3),
            vec![below(&at(3))],
            vec!["a", "b"],
        ),
    ] {
        let find = Find {
            cut,
            ..along(field(name, ranges))
        };
        check_both_ways(&bench, &find, &expected).await;
        let (rows, multi) = bench.walk(&find).await;
        assert!(!multi);
        for (position, row) in rows {
            let keys = row.system_keys([&path(name)]);
            assert_eq!(
                position.key.as_ref(),
                keys.get(&path(name)).unwrap().keys().first()
            );
        }
    }
    // They are not kept among a row's keys.
    assert!(bench.head("a").await.unwrap().keys.is_empty());
}

/// There is no way along a field without an index that is ready.
pub async fn a_path_needs_an_index_that_is_ready(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    bench.add_index(&IndexSpec::field(path("n"))).await;
    bench.index(IndexSpec::unique(vec![path("email")])).await;
    bench
        .done(bench.create("a", &json!({"n": 1, "email": "x"})))
        .await;
    for name in ["n", "email", "other", "_system.creator.identifier", "_id"] {
        for cut in [None, Some(0)] {
            let find = Find {
                cut,
                ..along(field(name, vec![everything()]))
            };
            let result = bench.catalog.find(&bench.name, &find).await;
            assert!(
                matches!(result, Err(StoreError::Refused(_))),
                "{name}: {result:?}"
            );
        }
    }
    assert_eq!(
        bench.head("a").await.unwrap().body.unwrap(),
        body(&json!({"n": 1, "email": "x"}))
    );
}

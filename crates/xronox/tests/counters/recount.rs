//! What is folded is what a naive count of all versions gives, whoever folds,
//! in what steps, and how often.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use xronox::{Collection, Op, Timeframe, Totals};

use crate::{
    counters, counting,
    support::{Dice, Store, stores},
};

fn rules() -> Value {
    json!([
        { "name": "all", "when": {}, "countUnique": ["who", "tags"], "by": ["kind", "n"] },
        { "name": "changes", "on": ["UPDATE", "DELETE"], "when": { "n": { "$gte": 3 } },
          "countUnique": ["n"] },
        { "name": "payload", "scope": "payload", "when": { "tags": "a" }, "by": ["who"] },
    ])
}

fn document(dice: &mut Dice) -> Value {
    let tags = ["a", "b", "c"];
    let some = usize::try_from(dice.below(4)).unwrap();
    json!({
        "who": dice.below(9), "kind": if dice.below(2) == 0 { "x" } else { "y" },
        "n": dice.below(6), "tags": tags[..some],
    })
}

/// One random step of a history.
async fn step(things: &Collection, dice: &mut Dice, ids: u64) {
    let id = format!("r{}", dice.below(ids));
    let done = match dice.below(8) {
        0..=2 => things.create_with_id(&id, document(dice)).await.map(drop),
        3 => things.update(&id, document(dice)).await.map(drop),
        4 => things
            .patch(&id, json!({ "n": dice.below(6) }))
            .await
            .map(drop),
        5 => {
            let more = json!({ "tags": ["b", "d"] });
            things.enrich(&id, more).await.map(drop)
        }
        6 => things.delete(&id).await.map(drop),
        _ => things.restore_object(&id).to_ov(0).await.map(drop),
    };
    // Half of them are refused.
    let _ = done;
}

#[derive(Debug, Default, PartialEq)]
struct Naive {
    counts: [u64; 3],
    unique: BTreeMap<String, u64>,
    groups: BTreeMap<String, u64>,
}

/// Counts by going through all versions of all records.
async fn naive(things: &Collection, ids: u64) -> (BTreeMap<&'static str, Naive>, [u64; 5]) {
    let mut by_op = [0; 5];
    let mut seen: BTreeMap<&'static str, (Naive, BTreeMap<String, BTreeSet<String>>)> =
        BTreeMap::new();
    for name in ["all", "changes", "payload"] {
        seen.insert(name, Default::default());
    }
    for id in 0..ids {
        let id = format!("r{id}");
        let Ok(history) = things.history(&id).await else {
            continue;
        };
        for version in history {
            let kind = match version.op {
                Op::Create => 0,
                Op::Update | Op::Enrich | Op::Restore => 1,
                Op::Delete => 2,
                Op::Purge => panic!("nothing is purged"),
            };
            by_op[kind] += 1;
            by_op[3] += u64::from(version.op == Op::Enrich);
            by_op[4] += u64::from(version.op == Op::Restore);
            let document = things.get_version(&id, version.ov).await.unwrap().json();
            let counts = |name: &str| match name {
                "all" => true,
                "changes" => kind > 0 && document["n"].as_u64().is_some_and(|n| n >= 3),
                _ => {
                    let tags = document["tags"].as_array();
                    tags.is_some_and(|tags| tags.contains(&json!("a")))
                }
            };
            for (name, (naive, values)) in &mut seen {
                if !counts(name) {
                    continue;
                }
                naive.counts[kind] += 1;
                let (unique, by): (&[&str], &[&str]) = match *name {
                    "all" => (&["who", "tags"], &["kind", "n"]),
                    "changes" => (&["n"], &[]),
                    _ => (&[], &["who"]),
                };
                for path in unique {
                    let set = values.entry((*path).to_owned()).or_default();
                    match &document[*path] {
                        Value::Array(all) => set.extend(all.iter().map(Value::to_string)),
                        Value::Null => {}
                        one => {
                            set.insert(one.to_string());
                        }
                    }
                }
                if !by.is_empty() {
                    let group: Vec<&Value> = by.iter().map(|path| &document[*path]).collect();
                    *naive.groups.entry(json!(group).to_string()).or_default() += 1;
                }
            }
        }
    }
    let counted = seen.into_iter().map(|(name, (mut naive, values))| {
        for (path, values) in values {
            naive.unique.insert(path, values.len() as u64);
        }
        (name, naive)
    });
    (counted.collect(), by_op)
}

async fn agrees(store: &Store, things: &Collection, ids: u64) {
    let totals: Totals = counters(store).totals("things").current().await.unwrap();
    let (expected, by_op) = naive(things, ids).await;
    let found = [
        totals.created,
        totals.updated,
        totals.deleted,
        totals.enriched,
        totals.restored,
    ];
    assert_eq!((found, totals.missed, totals.lag), (by_op, 0, 0));
    for (name, expected) in expected {
        let rule = &totals.rules[name];
        let unique = rule.unique.iter();
        let mut found = Naive {
            counts: [rule.created, rule.updated, rule.deleted],
            unique: unique
                .map(|(path, distinct)| (path.clone(), distinct.count))
                .collect(),
            groups: BTreeMap::new(),
        };
        found.unique.retain(|_, count| *count > 0);
        for group in &rule.by {
            found
                .groups
                .insert(json!(group.values).to_string(), group.count);
        }
        assert_eq!(found, expected, "{name}");
        for frame in [Timeframe::Hourly, Timeframe::Monthly] {
            let series = counters(store).series("things", name, frame).await.unwrap();
            let sums = series.iter().fold([0; 3], |sum, period| {
                [
                    sum[0] + period.created,
                    sum[1] + period.updated,
                    sum[2] + period.deleted,
                ]
            });
            assert_eq!(sums, expected.counts, "{name} {frame:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_folds_counts_once() {
    for store in stores(counting(rules())).await {
        let things = store.xronox.collection("things").unwrap();
        let (ids, steps) = if store.on_servers { (6, 30) } else { (20, 200) };
        let mut dice = Dice::new(7);
        for _ in 0..3 {
            // They fold beside the writer and beside each other, and the one in
            // the background too.
            let home = store.home();
            let fold = async || {
                for _ in 0..5 {
                    home.counters().fold("things").await.unwrap();
                }
            };
            let write = async {
                for _ in 0..steps {
                    step(&things, &mut dice, ids).await;
                }
            };
            tokio::join!(write, fold(), fold(), fold());
            agrees(&store, &things, ids).await;
        }
        counters(&store).rebuild("things").await.unwrap();
        agrees(&store, &things, ids).await;
        // Also while others write, and fold what they write.
        let home = store.home();
        let write = async {
            for _ in 0..steps {
                step(&things, &mut dice, ids).await;
                home.counters().fold("things").await.unwrap();
            }
        };
        let rebuild = async {
            for _ in 0..3 {
                home.counters().rebuild("things").await.unwrap();
            }
        };
        tokio::join!(write, rebuild);
        agrees(&store, &things, ids).await;
        // Also when it is done twice at a time.
        let rebuild = || async { store.home().counters().rebuild("things").await };
        let (one, other) = tokio::join!(rebuild(), rebuild());
        one.and(other).unwrap();
        agrees(&store, &things, ids).await;
    }
}

/// Chunks of many touch more documents than one step writes.
#[tokio::test]
async fn a_long_log_is_folded_in_steps() {
    let rules = json!([{ "name": "all", "when": {}, "countUnique": ["a", "b", "c"] }]);
    for store in stores(counting(rules)).await {
        let things = store.xronox.collection("things").unwrap();
        let count: u64 = if store.on_servers { 120 } else { 1000 };
        let one = |n: u64| json!({ "a": n, "b": n % 7, "c": [n, n + 1] });
        let all: Vec<Value> = (0..count).map(one).collect();
        things.create_many(all).await.unwrap();
        let totals = counters(&store).totals("things").current().await.unwrap();
        let rule = &totals.rules["all"];
        let unique: Vec<u64> = rule
            .unique
            .values()
            .map(|distinct| distinct.count)
            .collect();
        assert_eq!((rule.created, unique), (count, vec![count, 7, count + 1]));
        assert!(rule.unique.values().all(xronox::Distinct::is_exact));
    }
}

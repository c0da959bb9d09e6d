//! Counts that go beyond what is counted one by one.

use std::path::Path;

use serde_json::{Value, json};
use xronox::{Config, ErrorKind, Xronox};

use crate::{counters, counting, support::stores};

#[tokio::test]
async fn many_values_are_estimated() {
    let rules = json!([
        { "name": "visits", "when": {}, "countUnique": ["who"], "by": ["page"] },
    ]);
    let mut settings = counting(rules);
    settings.analytics.unique_exact_max = 40;
    for store in stores(settings).await {
        let visits = store.xronox.collection("visits").unwrap();
        let count = if store.on_servers { 150 } else { 1500 };
        let batch = |from: u64, to: u64| {
            let one = |n: u64| json!({ "who": format!("user {n}"), "page": n % 50 });
            (from..to).map(one).collect::<Vec<Value>>()
        };
        visits.create_many(batch(0, 40)).await.unwrap();
        let few = counters(&store).totals("visits").current().await.unwrap();
        let few = &few.rules["visits"];
        assert!(few.unique["who"].is_exact());
        assert_eq!((few.unique["who"].count, few.others), (40, 0));

        visits.create_many(batch(40, count)).await.unwrap();
        visits.create_many(batch(0, count)).await.unwrap();
        let many = counters(&store).totals("visits").current().await.unwrap();
        assert_eq!((many.created, many.missed), (2 * count, 0));
        let rule = &many.rules["visits"];
        let who = rule.unique["who"];
        assert!(!who.is_exact(), "{who:?}");
        assert!(
            who.count.abs_diff(count) * 50 <= count,
            "{who:?} of {count}"
        );
        assert!(
            who.least <= count && count <= who.most,
            "{who:?} of {count}"
        );
        // Ten pages came when there were forty groups.
        assert_eq!(rule.by.len(), 40);
        let grouped: u64 = rule.by.iter().map(|group| group.count).sum();
        assert_eq!(grouped + rule.others, 2 * count);
        assert!(rule.others > 0);
        assert!(rule.by.is_sorted_by(|a, b| a.count >= b.count));
    }
}

/// One version may have more values than are written in one step.
#[tokio::test]
async fn a_version_may_have_many_values() {
    let rules = json!([{ "name": "skus", "when": {}, "countUnique": ["lines.sku"] }]);
    for store in stores(counting(rules)).await {
        let orders = store.xronox.collection("orders").unwrap();
        for from in [0, 100] {
            let lines: Vec<Value> = (from..from + 300).map(|n| json!({ "sku": n })).collect();
            orders.create(json!({ "lines": lines })).await.unwrap();
        }
        let totals = counters(&store).totals("orders").current().await.unwrap();
        let rule = &totals.rules["skus"];
        assert_eq!((rule.created, rule.unique["lines.sku"].count), (2, 400));
    }
}

/// The store in a folder, with these rules.
async fn open(folder: &Path, rules: Value) -> Xronox {
    let mut config = Config::dev(folder);
    config.settings = counting(rules);
    Xronox::open(config).await.unwrap()
}

/// Whoever has no rules does not count away what others count by theirs.
#[tokio::test]
async fn rules_that_are_lacking_are_missed() {
    let folder = tempfile::tempdir().unwrap();
    let open = |rules| open(folder.path(), rules);
    let rules = json!([{ "name": "all", "when": {}, "countUnique": ["n"] }]);
    for round in 1..=2_u64 {
        let with = open(rules.clone()).await;
        let things = with.collection("things").unwrap();
        things.create(json!({ "n": 1 })).await.unwrap();
        let totals = with.home().unwrap().counters().totals("things");
        let totals = totals.current().await.unwrap();
        let all = &totals.rules["all"];
        assert_eq!((all.created, all.unique["n"].count), (2 * round - 1, 1));
        with.close().await.unwrap();

        let without = open(json!([])).await;
        let things = without.collection("things").unwrap();
        things.create(json!({ "n": 1 })).await.unwrap();
        let counters = without.home().unwrap().counters();
        let refused = counters.totals("things").current().await.unwrap_err();
        assert!(
            matches!(refused.kind(), ErrorKind::Unsupported),
            "{refused}"
        );
        assert_eq!(counters.totals("things").await.unwrap().lag, 1);
        without.close().await.unwrap();
    }
    // Another rule's values are not this one's, when it comes back.
    let other = open(json!([{ "name": "other", "when": {} }])).await;
    other
        .home()
        .unwrap()
        .counters()
        .fold("things")
        .await
        .unwrap();
    other.close().await.unwrap();
    let again = open(rules).await;
    let things = again.collection("things").unwrap();
    things.create(json!({ "n": 1 })).await.unwrap();
    let counters = again.home().unwrap().counters();
    let totals = counters.totals("things").current().await.unwrap();
    let all = &totals.rules["all"];
    assert_eq!((all.created, all.unique["n"].count, all.since), (1, 1, 4));
}

/// A rule that is new or other than before counts from then on, and counts all
/// after a rebuild.
#[tokio::test]
async fn a_changed_rule_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let open = |rules| open(folder.path(), rules);
    let first = json!({ "name": "small", "when": { "n": { "$lt": 5 } }, "countUnique": ["n"] });
    let store = open(json!([first])).await;
    let things = store.collection("things").unwrap();
    for n in 0..10 {
        things.create(json!({ "n": n })).await.unwrap();
    }
    let counters = store.home().unwrap().counters();
    let totals = counters.totals("things").current().await.unwrap();
    assert_eq!(totals.rules["small"].created, 5);
    store.close().await.unwrap();

    let other = json!({ "name": "small", "when": { "n": { "$lt": 3 } }, "countUnique": ["n"] });
    let added = json!({ "name": "all", "when": {} });
    let store = open(json!([added, other])).await;
    let counters = store.home().unwrap().counters();
    let nothing = counters.totals("things").await.unwrap();
    assert_eq!((nothing.created, nothing.rules["small"].created), (10, 0));
    let things = store.collection("things").unwrap();
    things.create(json!({ "n": 1 })).await.unwrap();
    let totals = counters.totals("things").current().await.unwrap();
    let small = &totals.rules["small"];
    assert_eq!(
        (small.created, small.since, small.unique["n"].count),
        (1, 10, 1)
    );
    assert_eq!(totals.rules["all"].created, 1);

    assert_eq!(counters.rebuild("things").await.unwrap(), 11);
    let totals = counters.totals("things").await.unwrap();
    let small = &totals.rules["small"];
    assert_eq!(
        (small.created, small.since, small.unique["n"].count),
        (4, 0, 3)
    );
    assert_eq!((totals.rules["all"].created, totals.created), (11, 11));
}

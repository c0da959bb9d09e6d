//! What a time means in commits.

use serde_json::json;
use xronox_model::Timestamp;

use super::{Subject, bench::Bench};
use crate::Cut;

async fn cut(bench: &Bench, at: Timestamp) -> (Option<u64>, bool) {
    let Cut { cv, settled } = bench.catalog.cut_at(&bench.name, at).await.unwrap();
    (cv, settled)
}

/// As of a time is as of the last commit not after it; settled is what no
/// later commit can change.
pub async fn a_time_names_a_commit(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let mut times = Vec::new();
    for (i, pause) in [5, 7, 6, 9].into_iter().enumerate() {
        let record = format!("r{i}");
        let (first, second) = (
            bench.create(&record, &json!({})),
            bench.update(&record, &json!({"n": 1})),
        );
        // Two commits of one time.
        bench.commit(vec![first.into(), second.into()]).await;
        times.push(bench.head(&record).await.unwrap().at);
        bench.pass(pause).await;
    }
    assert!(times.is_sorted_by(|a, b| a < b), "{times:?}");
    for (i, at) in (0..).zip(&times) {
        let last = i == 3;
        assert_eq!(cut(&bench, *at).await, (Some(2 * i + 1), !last));
        assert_eq!(
            cut(&bench, at.plus_millis(1)).await,
            (Some(2 * i + 1), !last)
        );
        let before = (2 * i).checked_sub(1);
        assert_eq!(cut(&bench, at.plus_millis(-1)).await, (before, true));
    }
    let future = times[3].plus_millis(1_000_000_000);
    assert_eq!(cut(&bench, future).await, (Some(7), false));
    assert_eq!(
        cut(&bench, Timestamp::from_millis(i64::MIN)).await,
        (None, true)
    );

    // What is settled stays.
    let newest = bench.done(bench.create("late", &json!({}))).await;
    assert_eq!(cut(&bench, times[3]).await, (Some(7), times[3] < newest.at));
    assert_eq!(cut(&bench, times[1]).await, (Some(3), true));
    assert_eq!(cut(&bench, newest.at).await, (Some(8), false));
    assert_eq!(cut(&bench.other("others"), newest.at).await, (None, false));
}

/// A time whose commits were purged is answered by what is left.
pub async fn a_time_may_outlive_its_commits(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let keep = bench.done(bench.create("keep", &json!({}))).await;
    bench.pass(5).await;
    let gone = bench.done(bench.create("gone", &json!({}))).await;
    bench.pass(5).await;
    bench.done(bench.purge("gone")).await;
    assert_eq!(cut(&bench, gone.at).await, (Some(keep.cv), true));
}

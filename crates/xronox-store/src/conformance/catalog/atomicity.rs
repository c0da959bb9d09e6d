//! What is committed together, and what happens at the same time.

use std::sync::Arc;

use serde_json::json;
use xronox_model::{IndexSpec, VersionRow};

use super::{
    Subject,
    bench::{Bench, along, committed, id, path, refusal, request},
    finding::everything,
};
use crate::{Access, Append, Bodies, Expect, Mutation, Outcome, Refusal, StoreError};

fn grouped(group: u32, append: Append) -> Mutation {
    Append {
        group: Some(group),
        ..append
    }
    .into()
}

#[track_caller]
fn unsupported<T: std::fmt::Debug>(result: &Result<T, StoreError>) {
    assert!(
        matches!(result, Err(StoreError::Unsupported(_))),
        "{result:?}"
    );
}

/// A group is committed whole or not at all.
pub async fn a_group_is_committed_whole_or_not_at_all(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    bench.index(IndexSpec::unique(vec![path("email")])).await;
    bench
        .done(bench.create("taken", &json!({"email": "t"})))
        .await;
    let group = |last: Append| {
        vec![
            grouped(1, bench.create("a", &json!({"email": "x"}))),
            // Sees a member of a group that may fail.
            bench.create("b", &json!({"email": "x"})).into(),
            Append {
                idempotency: request("k", "1"),
                group: Some(1),
                ..bench.create("c", &json!({}))
            }
            .into(),
            bench.update("a", &json!({"email": "y"})).into(),
            grouped(1, last),
            bench.create("d", &json!({"email": "x"})).into(),
        ]
    };
    if !bench.transactions() {
        unsupported(&bench.try_commit(group(bench.create("e", &json!({})))).await);
        assert_eq!(bench.rows().await.len(), 1);
        return;
    }
    // It fails: as if it had not been there.
    let outcomes = bench.commit(group(bench.create("taken", &json!({})))).await;
    for (i, refused) in [
        (0, Refusal::Group),
        (2, Refusal::Group),
        (3, Refusal::NotFound),
        (4, Refusal::AlreadyExists),
    ] {
        assert_eq!(refusal(&outcomes[i]), refused, "mutation {i}");
    }
    assert_eq!(committed(&outcomes[1]).cv, 1);
    assert!(matches!(refusal(&outcomes[5]), Refusal::Taken(taken) if taken.holder == id("b")));
    assert_eq!(bench.rows().await.len(), 2);
    assert_eq!(bench.head("a").await, None);

    // It succeeds.
    bench.done(bench.delete("b")).await;
    let mut again = group(bench.create("e", &json!({})));
    again.remove(1);
    let outcomes = bench.commit(again).await;
    let cvs: Vec<u64> = outcomes
        .iter()
        .map(|outcome| committed(outcome).cv)
        .collect();
    assert_eq!(cvs, [3, 4, 5, 6, 7]);
    // Its idempotency key was not remembered by the first try.
    assert_eq!(committed(&outcomes[1]).id, id("c"));
}

/// A group fails at its first refusal; others stand or fall on their own.
pub async fn groups_fail_one_by_one(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    if !bench.transactions() {
        unsupported(
            &bench
                .try_commit(vec![grouped(1, bench.create("a", &json!({})))])
                .await,
        );
        return;
    }
    bench.index(IndexSpec::field(path("t"))).await;
    bench.done(bench.create("p", &json!({}))).await;
    let purge = crate::Purge {
        group: Some(3),
        ..bench.purge("p")
    };
    let outcomes = bench
        .commit(vec![
            grouped(1, bench.create("a", &json!({"t": [1, 2]}))),
            grouped(2, bench.create("b", &json!({}))),
            purge.into(),
            // Fails since group 1 has made `a` by then, although group 1 fails later.
            grouped(2, bench.create("a", &json!({}))),
            grouped(1, bench.update("b", &json!({}))),
            grouped(1, bench.update("none", &json!({}))),
            grouped(3, bench.update("p", &json!({}))),
            grouped(4, bench.create("c", &json!({}))),
            Append {
                group: Some(4),
                ..bench.delete("p")
            }
            .into(),
            grouped(7, bench.create("g", &json!({}))),
        ])
        .await;
    let refusals = [
        (0, Refusal::Group),
        (1, Refusal::Group),
        (2, Refusal::Group),
        (3, Refusal::AlreadyExists),
        // The first of two refusals counts.
        (4, Refusal::NotFound),
        (5, Refusal::Group),
        (6, Refusal::NotFound),
    ];
    for (i, refused) in refusals {
        assert_eq!(refusal(&outcomes[i]), refused, "mutation {i}");
    }
    for (cv, i) in (1..).zip([7, 8, 9]) {
        assert_eq!(committed(&outcomes[i]).cv, cv, "mutation {i}");
    }
    // The purge of group 3 was taken back.
    assert_eq!(bench.history("p").await.len(), 2);
    let by_t = Access::Field {
        field: path("t"),
        ranges: vec![everything()],
    };
    assert!(
        !bench.walk(&along(by_t)).await.1,
        "several keys, none of which was committed"
    );
}

/// Several collections commit together, each with its own count, at one time.
pub async fn collections_commit_together(subject: &dyn Subject) {
    let left = Bench::open(subject).await;
    let right = left.other("also");
    let batches = || {
        [
            left.batch(vec![
                grouped(5, left.create("a", &json!({}))),
                left.create("b", &json!({})).into(),
            ]),
            right.batch(vec![
                grouped(6, right.create("x", &json!({}))),
                grouped(5, right.update("a", &json!({}))),
                right.create("y", &json!({})).into(),
            ]),
        ]
    };
    if !left.transactions() {
        let plain = [
            left.batch(vec![]),
            right.batch(vec![right.create("x", &json!({})).into()]),
        ];
        unsupported(&left.catalog.commit(&plain).await);
        assert_eq!(right.rows().await, []);
        return;
    }
    let first = right.done(right.create("first", &json!({}))).await;
    if let Some(clock) = &left.clock {
        clock.advance(-60_000);
    }
    let outcomes = left.catalog.commit(&batches()).await.unwrap();
    assert_eq!(refusal(&outcomes[0][0]), Refusal::Group);
    assert_eq!(refusal(&outcomes[1][1]), Refusal::NotFound);
    let commits = [&outcomes[0][1], &outcomes[1][0], &outcomes[1][2]].map(committed);
    assert_eq!(commits.each_ref().map(|commit| commit.cv), [0, 1, 2]);
    assert!(commits.iter().all(|commit| commit.at == commits[0].at));
    assert!(commits[0].at >= first.at);
    if left.clock.is_some() {
        assert_eq!(commits[0].at, first.at);
    }

    right.done(right.create("a", &json!({}))).await;
    let mut again = batches();
    again[0].1.mutations.pop();
    again[1].1.mutations.drain(..1);
    again[1].1.mutations.pop();
    let outcomes = left.catalog.commit(&again).await.unwrap();
    assert_eq!(committed(&outcomes[0][0]).cv, 1);
    assert_eq!(committed(&outcomes[1][0]).cv, 4);

    // A stale batch stops the others.
    left.catalog
        .add_index(&left.name, &IndexSpec::field(path("n")))
        .await
        .unwrap();
    let stale = [
        right.batch(vec![right.create("late", &json!({})).into()]),
        left.batch(vec![left.create("late", &json!({})).into()]),
    ];
    let result = left.catalog.commit(&stale).await;
    assert!(
        matches!(&result, Err(StoreError::StaleIndexes { collection }) if *collection == left.name),
        "{result:?}"
    );
    assert_eq!(right.head("late").await, None);
}

pub(super) async fn racers(subject: &dyn Subject) -> Vec<Bench> {
    let first = Bench::open(subject).await;
    let second = if first.catalog.capabilities().shared {
        subject.open().await
    } else {
        Arc::clone(&first.catalog)
    };
    let second = Bench::on(second, subject.clock());
    (0..8)
        .map(|i| if i % 2 == 0 { &first } else { &second }.other("records"))
        .collect()
}

fn check_counts(rows: &[VersionRow]) {
    let cvs: Vec<u64> = rows.iter().map(|row| row.cv).collect();
    assert_eq!(cvs, (0..rows.len() as u64).collect::<Vec<_>>());
    assert!(rows.is_sorted_by_key(|row| row.at));
}

/// Writers at the same time lose nothing and number nothing twice.
pub async fn racing_writers_lose_nothing(subject: &dyn Subject) {
    let benches = racers(subject).await;
    benches[0]
        .done(benches[0].create("shared", &json!({})))
        .await;
    let mut tasks = tokio::task::JoinSet::new();
    for (i, bench) in benches.into_iter().enumerate() {
        tasks.spawn(async move {
            let mut ovs = Vec::new();
            for n in 0..6 {
                let outcomes = bench
                    .commit(vec![
                        bench.create(&format!("own-{i}-{n}"), &json!({})).into(),
                        bench.update("shared", &json!({"by": i, "n": n})).into(),
                    ])
                    .await;
                ovs.push(committed(&outcomes[1]).ov);
            }
            (bench, ovs)
        });
    }
    let done = tasks.join_all().await;
    let bench = &done[0].0;
    let mut ovs: Vec<u64> = done.iter().flat_map(|(_, ovs)| ovs.clone()).collect();
    ovs.sort_unstable();
    assert_eq!(ovs, (1..=48).collect::<Vec<_>>());
    let rows = bench.rows().await;
    assert_eq!(rows.len(), 1 + 2 * 48);
    check_counts(&rows);
    let history = bench.history("shared").await;
    for pair in history.windows(2) {
        assert_eq!(pair[1].prev_hash, Some(pair[0].hash()));
        assert_eq!(pair[0].to_cv, Some(pair[1].cv));
    }
    assert_eq!(
        bench.catalog.check(&bench.name).await.unwrap(),
        Vec::<String>::new()
    );
}

/// Of writers that expect the same version one wins, and of those that want
/// the same unique key.
pub async fn one_of_racing_writers_wins(subject: &dyn Subject) {
    let mut benches = racers(subject).await;
    benches[0]
        .index(IndexSpec::unique(vec![path("email")]))
        .await;
    let indexes = benches[0].indexes.lock().clone();
    for bench in &benches {
        *bench.indexes.lock() = indexes.clone();
    }
    benches[0]
        .done(benches[0].create("shared", &json!({})))
        .await;
    for round in 0..5 {
        let mut tasks = tokio::task::JoinSet::new();
        for (i, bench) in benches.drain(..).enumerate() {
            tasks.spawn(async move {
                let update = bench.update("shared", &json!({"by": i}));
                let expect = Expect {
                    ov: Some(round),
                    ..update.expect
                };
                let email = json!({"email": format!("{round}@x")});
                let outcomes = bench
                    .commit(vec![
                        Append { expect, ..update }.into(),
                        bench.create(&format!("r{round}-{i}"), &email).into(),
                    ])
                    .await;
                (bench, outcomes)
            });
        }
        let done = tasks.join_all().await;
        for m in 0..2 {
            let won = done
                .iter()
                .filter(|(_, outcomes)| matches!(outcomes[m], Outcome::Committed(_)));
            assert_eq!(won.count(), 1, "round {round}, mutation {m}");
        }
        for (_, outcomes) in &done {
            match &outcomes[0] {
                Outcome::Committed(commit) => assert_eq!(commit.ov, round + 1),
                other => assert_eq!(
                    refusal(other),
                    Refusal::Conflict {
                        expected: round,
                        actual: round + 1
                    }
                ),
            }
        }
        benches = done.into_iter().map(|(bench, _)| bench).collect();
    }
    check_counts(&benches[0].rows().await);
}

/// A reader never sees half a batch, and sees whatever was acknowledged.
pub async fn readers_see_whole_commits(subject: &dyn Subject) {
    let mut benches = racers(subject).await;
    let (writer, reader) = (benches.remove(0), benches.remove(0));
    let pair = |n: u64| json!({ "n": n });
    writer
        .commit(vec![
            writer.create("a", &pair(0)).into(),
            writer.create("b", &pair(0)).into(),
        ])
        .await;
    let (acknowledged, seen) = tokio::sync::watch::channel(0_u64);
    let writing = tokio::spawn(async move {
        for n in 1..=30 {
            writer
                .commit(vec![
                    writer.update("a", &pair(n)).into(),
                    writer.update("b", &pair(n)).into(),
                ])
                .await;
            acknowledged.send_replace(n);
        }
    });
    loop {
        let finished = writing.is_finished();
        let least = *seen.borrow();
        let rows = reader
            .catalog
            .rows(&reader.name, 0, 1000, Bodies::Omit)
            .await
            .unwrap();
        assert!(
            rows.len() as u64 >= 2 * (least + 1),
            "an acknowledged commit is not seen"
        );
        // Without transactions a batch may become visible row by row.
        if reader.transactions() {
            assert_eq!(rows.len() % 2, 0, "half a batch");
        }
        assert!(reader.head("a").await.unwrap().ov >= least);
        if finished {
            break;
        }
        tokio::task::yield_now().await;
    }
    writing.await.unwrap();
}

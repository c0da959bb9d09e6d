//! What must hold for a mutation to go ahead.

use serde_json::json;
use xronox_model::{Body, Location, Op};

use super::{
    Subject,
    bench::{Bench, attempt, body, committed, object, refusal, stored},
};
use crate::{Append, Expect, Mutation, NewBody, Outcome, Presence, Refusal, StoreError, Which};

/// One record in each state, each at `ov` 1 if it is there.
async fn in_every_state(bench: &Bench) {
    for record in ["live", "deleted", "purged"] {
        bench.done(bench.create(record, &json!({}))).await;
    }
    bench.done(bench.update("live", &json!({"n": 1}))).await;
    bench.done(bench.delete("deleted")).await;
    bench.done(bench.purge("purged")).await;
}

/// Presence is checked first, then the expected version.
pub async fn preconditions_are_checked(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    in_every_state(&bench).await;
    let conflict = Refusal::Conflict {
        expected: 7,
        actual: 1,
    };
    let cases = [
        // (state, presence, refusal, refusal where `ov` 7 is expected)
        ("none", Presence::Absent, None, Refusal::NotFound),
        (
            "none",
            Presence::Live,
            Some(Refusal::NotFound),
            Refusal::NotFound,
        ),
        (
            "none",
            Presence::Present,
            Some(Refusal::NotFound),
            Refusal::NotFound,
        ),
        (
            "live",
            Presence::Absent,
            Some(Refusal::AlreadyExists),
            Refusal::AlreadyExists,
        ),
        ("live", Presence::Live, None, conflict.clone()),
        ("live", Presence::Present, None, conflict.clone()),
        (
            "deleted",
            Presence::Absent,
            Some(Refusal::AlreadyExists),
            Refusal::AlreadyExists,
        ),
        (
            "deleted",
            Presence::Live,
            Some(Refusal::Deleted),
            Refusal::Deleted,
        ),
        ("deleted", Presence::Present, None, conflict.clone()),
        ("purged", Presence::Absent, None, conflict),
        (
            "purged",
            Presence::Live,
            Some(Refusal::NotFound),
            Refusal::NotFound,
        ),
        (
            "purged",
            Presence::Present,
            Some(Refusal::NotFound),
            Refusal::NotFound,
        ),
    ];
    let ops = [Op::Create, Op::Update, Op::Enrich, Op::Delete, Op::Restore];
    for (record, state, refused, conflicting) in cases {
        for op in ops {
            let append = |ov| Append {
                op,
                expect: Expect {
                    state,
                    ov,
                    attempt: None,
                },
                ..bench.create(record, &json!({"n": 2}))
            };
            assert_eq!(
                bench.refused(append(Some(7))).await,
                conflicting,
                "{record} {state:?}"
            );
            if let Some(refused) = &refused {
                assert_eq!(
                    bench.refused(append(None)).await,
                    *refused,
                    "{record} {state:?}"
                );
                let right = bench.refused(append(Some(1))).await;
                assert_eq!(right, *refused, "{record} {state:?}");
            }
        }
    }
    // What is not refused is committed, at the expected version.
    for (record, state) in [
        ("none", Presence::Absent),
        ("live", Presence::Live),
        ("deleted", Presence::Present),
        ("purged", Presence::Absent),
    ] {
        let ov = bench.head(record).await.map(|row| row.ov);
        let expect = Expect {
            state,
            ov,
            attempt: None,
        };
        let done = bench
            .done(Append {
                expect,
                ..bench.create(record, &json!({}))
            })
            .await;
        assert_eq!(done.ov, ov.map_or(0, |ov| ov + 1));
    }
}

/// Who goes on from a version that was not committed yet names it by its
/// attempt: there may be another one of its number. Presence and number are
/// checked before.
pub async fn a_mutation_goes_on_from_the_version_it_names(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let after = |attempt, ov, append: Append| {
        let attempt = Some(attempt);
        let expect = Expect {
            ov,
            attempt,
            ..append.expect
        };
        Append { expect, ..append }
    };
    let create = bench.create("a", &json!({"n": 0}));
    let first = create.attempt;
    let nothing = after(first, None, create.clone());
    assert_eq!(bench.refused(nothing).await, Refusal::NotFound);
    bench.done(create).await;
    let update = bench.update("a", &json!({"n": 1}));
    let second = update.attempt;
    bench.done(after(first, Some(0), update)).await;

    let again = || bench.update("a", &json!({"n": 2}));
    for (of, ov, refusal) in [
        (first, None, Refusal::Overtaken),
        (first, Some(1), Refusal::Overtaken),
        (attempt(), Some(1), Refusal::Overtaken),
        (
            second,
            Some(0),
            Refusal::Conflict {
                expected: 0,
                actual: 1,
            },
        ),
    ] {
        assert_eq!(bench.refused(after(of, ov, again())).await, refusal);
        let unchanged = Append {
            skip_unchanged: true,
            ..bench.update("a", &json!({"n": 1}))
        };
        assert_eq!(bench.refused(after(of, ov, unchanged)).await, refusal);
    }
    let created = after(second, None, bench.create("a", &json!({})));
    assert_eq!(bench.refused(created).await, Refusal::AlreadyExists);

    // In one batch: a chain that begins with what is there, and one that
    // begins with a version that another took the place of.
    let third = again();
    let fourth = after(third.attempt, Some(2), bench.delete("a"));
    let lost = after(second, Some(1), bench.update("a", &json!({"lost": 1})));
    let lost_too = after(
        lost.attempt,
        Some(2),
        bench.update("a", &json!({"lost": 2})),
    );
    let outcomes = bench
        .commit(vec![
            after(second, None, third).into(),
            lost.into(),
            lost_too.into(),
            fourth.clone().into(),
            after(fourth.attempt, None, bench.restore("a", 2)).into(),
        ])
        .await;
    let conflict = Refusal::Conflict {
        expected: 1,
        actual: 2,
    };
    assert_eq!(refusal(&outcomes[1]), conflict);
    assert_eq!(refusal(&outcomes[2]), Refusal::Overtaken);
    for (ov, i) in [(2, 0), (3, 3), (4, 4)] {
        assert_eq!(committed(&outcomes[i]).ov, ov, "mutation {i}");
    }
    assert_eq!(bench.history("a").await.len(), 5);
}

/// A purge takes a record, deleted or not, at the expected version.
pub async fn a_purge_has_preconditions(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    in_every_state(&bench).await;
    for record in ["none", "purged"] {
        assert_eq!(bench.refused(bench.purge(record)).await, Refusal::NotFound);
    }
    for record in ["live", "deleted"] {
        let mut purge = bench.purge(record);
        purge.expect_ov = Some(0);
        let conflict = Refusal::Conflict {
            expected: 0,
            actual: 1,
        };
        assert_eq!(bench.refused(purge.clone()).await, conflict);
        purge.expect_ov = Some(1);
        assert_eq!(bench.done(purge).await.ov, 2);
    }
}

/// A version whose document is gone cannot be brought back, and one that never
/// was is not found.
pub async fn a_body_comes_from_a_version_that_has_one(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    bench.done(bench.create("a", &json!({"n": 0}))).await;
    for n in 1..4 {
        bench.done(bench.update("a", &json!({ "n": n }))).await;
    }
    bench.one(bench.prune("a", &[1])).await;
    assert_eq!(bench.refused(bench.restore("a", 1)).await, Refusal::Pruned);
    assert_eq!(
        bench.refused(bench.restore("a", 4)).await,
        Refusal::NotFound
    );
    assert_eq!(
        bench.refused(bench.restore("b", 0)).await,
        Refusal::NotFound
    );
    bench.done(bench.restore("a", 0)).await;

    for _ in 0..3 {
        bench
            .done(Append {
                newest_only: true,
                ..bench.update("a", &json!({}))
            })
            .await;
    }
    for ov in [5, 6] {
        assert_eq!(bench.refused(bench.restore("a", ov)).await, Refusal::Pruned);
    }
    assert_eq!(
        bench.refused(bench.restore("a", 8)).await,
        Refusal::NotFound
    );

    // After a purge nothing earlier can be brought back, nor the PURGE row.
    bench.done(bench.purge("a")).await;
    bench.done(bench.create("a", &json!({}))).await;
    for ov in [0, 7, 8] {
        assert_eq!(
            bench.refused(bench.restore("a", ov)).await,
            Refusal::Pruned,
            "{ov}"
        );
    }
    let absent = Append {
        body: NewBody::OfNewest,
        ..bench.create("c", &json!({}))
    };
    assert_eq!(bench.refused(absent).await, Refusal::NotFound);
    // The version is checked after the precondition.
    let mut restore = bench.restore("a", 99);
    restore.expect.ov = Some(0);
    let conflict = Refusal::Conflict {
        expected: 0,
        actual: 9,
    };
    assert_eq!(bench.refused(restore).await, conflict);
}

/// A mutation sees those before it in its batch, and not those refused.
pub async fn a_mutation_sees_those_before_it(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let expecting = |ov, append: Append| {
        let expect = Expect {
            ov: Some(ov),
            ..append.expect
        };
        Mutation::from(Append { expect, ..append })
    };
    let outcomes = bench
        .commit(vec![
            bench.update("a", &json!({"early": true})).into(),
            bench.create("a", &json!({"n": 0})).into(),
            expecting(0, bench.update("a", &json!({"n": 1}))),
            expecting(0, bench.update("a", &json!({"n": "lost"}))),
            expecting(1, bench.delete("a")),
            bench.update("a", &json!({"n": "deleted"})).into(),
            bench.restore("a", 0).into(),
            bench.prune("a", &[1]),
            bench.restore("a", 1).into(),
            bench.purge("a").into(),
            bench.update("a", &json!({})).into(),
            bench.create("a", &json!({"n": 2})).into(),
        ])
        .await;
    let refusals = [
        (0, Refusal::NotFound),
        (
            3,
            Refusal::Conflict {
                expected: 0,
                actual: 1,
            },
        ),
        (5, Refusal::Deleted),
        (8, Refusal::Pruned),
        (10, Refusal::NotFound),
    ];
    for (i, refused) in refusals {
        assert_eq!(refusal(&outcomes[i]), refused, "mutation {i}");
    }
    for (n, i) in (0..).zip([1, 2, 4, 6, 9, 11]) {
        let commit = committed(&outcomes[i]);
        assert_eq!((commit.ov, commit.cv), (n, n), "mutation {i}");
    }
    assert_eq!(outcomes[7], Outcome::Done { released: vec![] });
    let ovs: Vec<_> = bench
        .history("a")
        .await
        .iter()
        .map(|row| (row.ov, row.op))
        .collect();
    assert_eq!(ovs, [(4, Op::Purge), (5, Op::Create)]);
    assert_eq!(bench.version("a", Which::AsOf(2)).await, None);
}

/// A request that breaks the contract is an error, and nothing of its commit
/// is written.
pub async fn broken_requests_are_refused_whole(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    bench
        .done(Append {
            body: stored(&json!({}), "k"),
            ..bench.create("a", &json!({}))
        })
        .await;
    let with = |body: Body| {
        Mutation::from(Append {
            body: NewBody::Given(body),
            ..bench.create("bad", &json!({}))
        })
    };
    let max_inline = bench.catalog.capabilities().max_inline;
    let mut broken = vec![
        Append {
            op: Op::Purge,
            ..bench.update("a", &json!({}))
        }
        .into(),
        with(Body {
            inline: None,
            ..body(&json!({}))
        }),
        with(Body {
            location: object("x"),
            ..body(&json!({}))
        }),
        Mutation::Relocate {
            cv: 0,
            from: object("k"),
            to: Location::Inline,
        },
    ];
    if max_inline <= 64 << 20 {
        let bytes = vec![0; usize::try_from(max_inline).unwrap() + 1];
        broken.push(with(Body {
            inline: Some(bytes.into()),
            ..body(&json!({}))
        }));
    }
    let rows = bench.rows().await;
    for broken in broken {
        let good = bench.create("good", &json!({})).into();
        let result = bench.try_commit(vec![good, broken]).await;
        assert!(matches!(result, Err(StoreError::Refused(_))), "{result:?}");
    }
    let batch = || bench.batch(vec![bench.create("good", &json!({})).into()]);
    let result = bench.catalog.commit(&[batch(), batch()]).await;
    assert!(matches!(result, Err(StoreError::Refused(_))), "{result:?}");
    assert_eq!(bench.rows().await, rows);
}

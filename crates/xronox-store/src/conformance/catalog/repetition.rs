//! Requests that come again.

use serde_json::json;
use xronox_model::{Attempt, Location, RecordId, Sha256, VersionRow};

use super::{
    Subject,
    bench::{Bench, attempt, bare, id, object, request, stored},
};
use crate::{Append, Commit, IdempotencyKey, Mutation, Outcome, Refusal};

/// A request that comes again under its key has the outcome it had, whatever
/// happened meanwhile; another request under that key is refused.
pub async fn a_repeated_request_has_its_outcome_again(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let create = || Append {
        idempotency: request("k", "create"),
        ..bench.create("a", &json!({}))
    };
    let first = bench.done(create()).await;
    let rows = bench.rows().await;
    assert_eq!(bench.one(create()).await, Outcome::Committed(first.clone()));
    assert_eq!(bench.rows().await, rows);
    // The fingerprint alone says whether it is the same request.
    let other = Append {
        idempotency: request("k", "other"),
        ..create()
    };
    assert_eq!(bench.refused(other).await, Refusal::KeyReused);
    let same = Append {
        idempotency: request("k", "create"),
        ..bench.update("z", &json!({"n": 1}))
    };
    assert_eq!(bench.one(same).await, Outcome::Committed(first.clone()));
    // Keys differ in case, and are each collection's own.
    let upper = Append {
        idempotency: request("K", "u"),
        ..bench.update("a", &json!({}))
    };
    bench.done(upper).await;
    let others = bench.other("others");
    others
        .done(Append {
            idempotency: request("k", "w"),
            ..others.create("a", &json!({}))
        })
        .await;

    for step in [bench.delete("a").into(), Mutation::from(bench.purge("a"))] {
        bench.done(step).await;
        assert_eq!(bench.one(create()).await, Outcome::Committed(first.clone()));
    }
}

/// That nothing was changed is repeated too: a late repetition must not undo
/// what others did since.
pub async fn an_unchanged_outcome_is_repeated(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let first = bench.done(bench.create("a", &json!({"n": 1}))).await;
    let same = || Append {
        idempotency: request("k", "same"),
        skip_unchanged: true,
        ..bench.update("a", &json!({"n": 1}))
    };
    assert_eq!(bench.one(same()).await, Outcome::Unchanged(first.clone()));
    bench.done(bench.update("a", &json!({"n": 2}))).await;
    assert_eq!(bench.one(same()).await, Outcome::Unchanged(first));
    assert_eq!(bench.head("a").await.unwrap().ov, 1);
}

/// A refused request may be tried again under its key.
pub async fn a_refusal_is_not_remembered(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let update = |asked: &str| Append {
        idempotency: request("k", asked),
        ..bench.update("a", &json!({}))
    };
    assert_eq!(bench.refused(update("once")).await, Refusal::NotFound);
    bench.done(bench.create("a", &json!({}))).await;
    bench.done(update("twice")).await;
    assert_eq!(bench.refused(update("once")).await, Refusal::KeyReused);
}

/// A request may be repeated within one batch.
pub async fn a_request_is_repeated_within_a_batch(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let keyed = |record: &str, asked: &str| {
        let idempotency = request("k", asked);
        Mutation::from(Append {
            idempotency,
            ..bench.create(record, &json!({}))
        })
    };
    let outcomes = bench
        .commit(vec![keyed("a", "x"), keyed("b", "x"), keyed("c", "y")])
        .await;
    assert!(matches!(
        &outcomes[0],
        Outcome::Committed(Commit { cv: 0, .. })
    ));
    assert_eq!(outcomes[1], outcomes[0]);
    assert_eq!(outcomes[2], Outcome::Refused(Refusal::KeyReused));
    assert_eq!(bench.rows().await.len(), 1);
}

/// What a commit released is told once.
pub async fn a_repetition_releases_nothing(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    bench
        .done(Append {
            body: stored(&json!({}), "k0"),
            newest_only: true,
            ..bench.create("a", &json!({}))
        })
        .await;
    let update = || Append {
        body: stored(&json!({"n": 1}), "k1"),
        newest_only: true,
        idempotency: request("k", "x"),
        ..bench.update("a", &json!({}))
    };
    let first = bench.done(update()).await;
    assert_eq!(first.released, [object("k0")]);
    let again = Commit {
        released: Vec::<Location>::new(),
        ..first
    };
    assert_eq!(bench.one(update()).await, Outcome::Committed(again));
}

/// A key is forgotten when its time is over, not before.
pub async fn an_idempotency_key_expires(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let keyed = |key: &str, keep_millis: i64| Append {
        idempotency: Some(IdempotencyKey {
            key: key.into(),
            fingerprint: Sha256::of(&keep_millis.to_be_bytes()),
            keep_millis,
        }),
        ..bench.update("a", &json!({}))
    };
    bench.done(bench.create("a", &json!({}))).await;
    // At once, or never.
    assert_eq!(bench.done(keyed("now", 0)).await.ov, 1);
    assert_eq!(bench.done(keyed("now", 0)).await.ov, 2);
    assert_eq!(bench.done(keyed("now", -5)).await.ov, 3);
    assert_eq!(bench.done(keyed("never", i64::MAX)).await.ov, 4);
    bench.pass(20).await;
    assert_eq!(bench.done(keyed("never", i64::MAX)).await.ov, 4);
    if let Some(clock) = &bench.clock {
        assert_eq!(bench.done(keyed("k", 1000)).await.ov, 5);
        clock.advance(999);
        assert_eq!(bench.done(keyed("k", 1000)).await.ov, 5);
        assert_eq!(bench.refused(keyed("k", 7)).await, Refusal::KeyReused);
        clock.advance(1);
        // Another request may now have the name, and is remembered anew.
        assert_eq!(bench.done(keyed("k", 7)).await.ov, 6);
        assert_eq!(bench.done(keyed("k", 7)).await.ov, 6);
        assert_eq!(bench.refused(keyed("k", 1000)).await, Refusal::KeyReused);
    }
}

/// What became of a mutation can be asked by its attempt.
pub async fn an_attempt_has_an_outcome(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let asked = |record: &str, attempt| outcome(&bench, id(record), attempt);
    let create = bench.create("a", &json!({"n": 1}));
    assert_eq!(asked("a", create.attempt).await, None);
    // As often as one likes, before the first version too.
    let nothing = bench.update("a", &json!({}));
    bench.refused(nothing.clone()).await;
    for _ in 0..2 {
        assert_eq!(asked("a", nothing.attempt).await, None);
    }
    bench.done(create.clone()).await;
    assert_eq!(
        asked("a", create.attempt).await,
        bench.head("a").await.as_ref().map(bare)
    );
    assert_eq!(asked("b", create.attempt).await, None);
    assert_eq!(asked("a", attempt()).await, None);
    let refused = bench.create("a", &json!({}));
    bench.refused(refused.clone()).await;
    assert_eq!(asked("a", refused.attempt).await, None);

    bench.done(bench.update("a", &json!({}))).await;
    bench.one(bench.prune("a", &[0])).await;
    let stub = asked("a", create.attempt).await.unwrap();
    assert_eq!((stub.ov, stub.pruned.is_some()), (0, true));
    let purge = bench.purge("a");
    bench.done(purge.clone()).await;
    assert_eq!(asked("a", purge.attempt).await, bench.head("a").await);
    assert_eq!(asked("a", create.attempt).await, None);
}

async fn outcome(bench: &Bench, record: RecordId, attempt: Attempt) -> Option<VersionRow> {
    bench
        .catalog
        .outcome(&bench.name, &record, attempt)
        .await
        .unwrap()
}

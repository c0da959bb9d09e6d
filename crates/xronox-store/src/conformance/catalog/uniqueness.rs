//! Unique keys: no two live records hold the same.

use serde_json::json;
use xronox_model::{IndexSpec, UniqueKey};

use super::{
    Subject,
    bench::{Bench, committed, id, path, refusal},
};
use crate::{Append, Outcome, Refusal, Taken};

const EMAIL: &str = "unique email";

async fn bench(subject: &dyn Subject) -> Bench {
    let bench = Bench::open(subject).await;
    bench.index(IndexSpec::unique(vec![path("email")])).await;
    bench
}

fn key(bench: &Bench, email: &str) -> UniqueKey {
    bench.unique(&json!({ "email": email })).remove(0)
}

fn taken(index: &str, wanted_by: &str, holder: &str) -> Refusal {
    Refusal::Taken(Taken {
        index: index.into(),
        wanted_by: id(wanted_by),
        holder: id(holder),
    })
}

/// A key is held from the version that brings it to the one that gives it up.
pub async fn a_unique_key_has_one_holder(subject: &dyn Subject) {
    let bench = bench(subject).await;
    let (x, y) = (key(&bench, "x"), key(&bench, "y"));
    assert_eq!(bench.holder(&x).await, None);
    bench.done(bench.create("a", &json!({"email": "x"}))).await;
    assert_eq!(bench.holder(&x).await.as_deref(), Some("a"));
    let second = bench.create("b", &json!({"email": "x"}));
    assert_eq!(bench.refused(second).await, taken(EMAIL, "b", "a"));
    assert_eq!(bench.head("b").await, None);
    bench.done(bench.create("b", &json!({"email": "X"}))).await;
    // Without a key, nobody is in anybody's way.
    bench.done(bench.create("c", &json!({}))).await;
    bench.done(bench.create("d", &json!({"email": null}))).await;

    // The holder keeps it, changes it, drops it.
    bench
        .done(bench.update("a", &json!({"email": "x", "n": 1})))
        .await;
    bench.done(bench.update("a", &json!({"email": "y"}))).await;
    assert_eq!(bench.holder(&x).await, None);
    assert_eq!(bench.holder(&y).await.as_deref(), Some("a"));
    bench.done(bench.update("b", &json!({"email": "x"}))).await;
    assert_eq!(bench.holder(&x).await.as_deref(), Some("b"));
    assert_eq!(
        bench
            .refused(bench.update("a", &json!({"email": "x"})))
            .await,
        taken(EMAIL, "a", "b")
    );
    bench.done(bench.update("a", &json!({}))).await;
    assert_eq!(bench.holder(&y).await, None);
    // Each collection has its own.
    let others = bench.other("others");
    others.index(IndexSpec::unique(vec![path("email")])).await;
    assert_eq!(others.holder(&x).await, None);
    others
        .done(others.create("z", &json!({"email": "x"})))
        .await;
    assert_eq!(bench.holder(&x).await.as_deref(), Some("b"));
}

/// A deleted or purged record holds nothing; a restored one takes its keys
/// again, if it can.
pub async fn only_live_records_hold_unique_keys(subject: &dyn Subject) {
    let bench = bench(subject).await;
    let x = key(&bench, "x");
    let restore = |record: &str, ov| Append {
        unique: vec![key(&bench, "x")],
        ..bench.restore(record, ov)
    };
    bench.done(bench.create("a", &json!({"email": "x"}))).await;
    // Whatever keys a deletion brings along, the record is not live after it.
    bench
        .done(Append {
            unique: vec![x.clone()],
            ..bench.delete("a")
        })
        .await;
    assert_eq!(bench.holder(&x).await, None);
    bench.done(restore("a", 0)).await;
    assert_eq!(bench.holder(&x).await.as_deref(), Some("a"));

    bench.done(bench.delete("a")).await;
    bench.done(bench.create("b", &json!({"email": "x"}))).await;
    assert_eq!(bench.refused(restore("a", 0)).await, taken(EMAIL, "a", "b"));
    // A restore to a deleted version takes no keys, so it is not refused.
    bench.done(restore("a", 1)).await;
    assert_eq!(bench.holder(&x).await.as_deref(), Some("b"));

    bench.done(bench.purge("b")).await;
    assert_eq!(bench.holder(&x).await, None);
    bench.done(restore("a", 0)).await;
    assert_eq!(bench.holder(&x).await.as_deref(), Some("a"));
    assert_eq!(
        bench
            .refused(bench.create("b", &json!({"email": "x"})))
            .await,
        taken(EMAIL, "b", "a")
    );
}

/// Within a batch, keys pass from hand to hand in its order.
pub async fn unique_keys_change_hands_within_a_batch(subject: &dyn Subject) {
    let bench = bench(subject).await;
    let outcomes = bench
        .commit(vec![
            bench.create("a", &json!({"email": "x"})).into(),
            bench.create("b", &json!({"email": "x"})).into(),
            bench.update("a", &json!({"email": "y"})).into(),
            bench.create("b", &json!({"email": "x"})).into(),
            bench.create("c", &json!({"email": "y"})).into(),
            bench.delete("a").into(),
            bench.create("c", &json!({"email": "y"})).into(),
            bench.purge("c").into(),
            bench.create("d", &json!({"email": "y"})).into(),
        ])
        .await;
    assert_eq!(refusal(&outcomes[1]), taken(EMAIL, "b", "a"));
    assert_eq!(refusal(&outcomes[4]), taken(EMAIL, "c", "a"));
    for i in [0, 2, 3, 5, 6, 7, 8] {
        committed(&outcomes[i]);
    }
    assert_eq!(bench.holder(&key(&bench, "x")).await.as_deref(), Some("b"));
    assert_eq!(bench.holder(&key(&bench, "y")).await.as_deref(), Some("d"));
}

/// A record may hold keys of several indexes, and of several fields.
pub async fn unique_keys_may_be_several(subject: &dyn Subject) {
    let bench = bench(subject).await;
    bench
        .index(IndexSpec::unique(vec![path("shop"), path("no")]))
        .await;
    let a = json!({"email": "x", "shop": "s", "no": 1});
    bench.done(bench.create("a", &a)).await;
    bench
        .done(bench.create("b", &json!({"email": "y", "shop": "s", "no": 2})))
        .await;
    bench
        .done(bench.create("c", &json!({"email": "z", "shop": "t", "no": 1})))
        .await;
    let refused = bench
        .refused(bench.create("d", &json!({"email": "w", "shop": "s", "no": 1})))
        .await;
    assert_eq!(refused, taken("unique shop,no", "d", "a"));
    // What was asked for besides is not taken either.
    assert_eq!(bench.holder(&key(&bench, "w")).await, None);
    bench
        .done(bench.create("d", &json!({"email": "w", "shop": "s"})))
        .await;
    for key in bench.unique(&a) {
        assert_eq!(bench.holder(&key).await.as_deref(), Some("a"));
    }
    bench.done(bench.delete("a")).await;
    for key in bench.unique(&a) {
        assert_eq!(bench.holder(&key).await, None);
    }
}

/// Other preconditions come before unique keys, and so does the finding that
/// nothing changes.
pub async fn unique_keys_are_checked_last(subject: &dyn Subject) {
    let bench = bench(subject).await;
    bench.done(bench.create("a", &json!({"email": "x"}))).await;
    bench.done(bench.create("b", &json!({"email": "y"}))).await;
    let wanting = |append: Append| Append {
        unique: vec![key(&bench, "x")],
        ..append
    };
    let mut conflicting = wanting(bench.update("b", &json!({})));
    conflicting.expect.ov = Some(4);
    assert_eq!(
        bench.refused(conflicting).await,
        Refusal::Conflict {
            expected: 4,
            actual: 0
        }
    );
    assert_eq!(
        bench.refused(wanting(bench.restore("b", 9))).await,
        Refusal::NotFound
    );
    let same = wanting(bench.update("b", &json!({"email": "y"})));
    let outcome = bench
        .one(Append {
            skip_unchanged: true,
            ..same
        })
        .await;
    assert!(matches!(outcome, Outcome::Unchanged(_)), "{outcome:?}");
}

/// Filling a unique index reserves keys for live records that have not changed
/// meanwhile, and names those that come too late.
pub async fn a_unique_index_is_filled(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let email = |email: &str| json!({ "email": email });
    for (record, address) in [("a", "x"), ("b", "x"), ("c", "y"), ("d", "z"), ("e", "v")] {
        bench.done(bench.create(record, &email(address))).await;
    }
    bench.done(bench.delete("d")).await;
    let spec = IndexSpec::unique(vec![path("email")]);
    bench.add_index(&spec).await;
    let key = |address: &str| key(&bench, address);
    // Commits keep to the index from here on.
    bench.done(bench.update("e", &email("w"))).await;
    assert!(matches!(
        bench.refused(bench.create("f", &email("w"))).await,
        Refusal::Taken(_)
    ));

    let found = [
        ("a", 0, "x"),
        ("b", 0, "x"),
        ("c", 0, "y"),
        ("d", 1, "z"),
        ("e", 0, "v"),
        ("g", 0, "u"),
    ];
    let fill: Vec<_> = found
        .into_iter()
        .map(|(record, ov, address)| (id(record), ov, key(address)))
        .collect();
    for _ in 0..2 {
        let clashes = bench
            .catalog
            .fill_unique(&bench.name, fill.clone())
            .await
            .unwrap();
        let clash = Taken {
            index: EMAIL.into(),
            wanted_by: id("b"),
            holder: id("a"),
        };
        assert_eq!(clashes, [clash]);
        for (address, holder) in [
            ("x", Some("a")),
            ("y", Some("c")),
            ("z", None),
            ("v", None),
            ("w", Some("e")),
            ("u", None),
        ] {
            assert_eq!(
                bench.holder(&key(address)).await.as_deref(),
                holder,
                "{address}"
            );
        }
    }
    bench.done(bench.delete("c")).await;
    assert_eq!(bench.holder(&key("y")).await, None);

    // Without the index nobody holds anything.
    bench
        .catalog
        .drop_index(&bench.name, &spec.name())
        .await
        .unwrap();
    let held = key("x");
    *bench.indexes.lock() = bench.catalog.indexes(&bench.name).await.unwrap();
    assert_eq!(bench.holder(&held).await, None);
    bench.done(bench.create("h", &email("x"))).await;
    assert!(bench.catalog.fill_unique(&bench.name, fill).await.is_err());
}

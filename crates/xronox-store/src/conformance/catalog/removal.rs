//! What takes versions away, and the bodies that nobody names any more.

use serde_json::json;
use xronox_model::{
    Body, IndexKeys, IndexSpec, KeyRange, Lineage, Location, Op, OrderedKey, SystemFields,
};

use super::{
    Subject,
    bench::{Bench, along, body, id, object, path, refusal, released, request, stored, user},
};
use crate::{Access, Append, CollectionSize, Find, Mutation, Outcome, Purge, Refusal, Which};

fn at(bench: &Bench, key: &str, append: Append) -> Append {
    // The document is told from others by its key.
    let document = json!({ "at": key });
    Append {
        body: stored(&document, key),
        keys: Some(bench.keys(&document)),
        ..append
    }
}

/// A purge leaves one row that tells when, by whom and why, and nothing else.
pub async fn a_purge_leaves_one_row(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    bench.index(IndexSpec::field(path("n"))).await;
    let change = xronox_model::SystemChange {
        function_ids: vec!["f".into()],
        lineage: Lineage {
            parent_id: Some("p".into()),
            ..Lineage::default()
        },
        imported: None,
    };
    let first = Append {
        actor: Some(user("ann")),
        change,
        ..bench.create("a", &json!({"n": 1}))
    };
    let first = bench.done(first).await;
    bench.done(bench.create("b", &json!({"n": 2}))).await;
    bench.pass(2).await;
    bench.done(bench.update("a", &json!({"n": 3}))).await;
    let hash = bench.head("a").await.unwrap().hash();
    let purge = Purge {
        actor: Some(user("bob")),
        on_behalf_of: Some(user("ann")),
        reason: Some("asked".into()),
        ..bench.purge("a")
    };
    let done = bench.done(purge.clone()).await;
    assert_eq!((done.ov, done.cv, done.op), (2, 3, Op::Purge));
    assert_eq!(done.released, []);

    let row = bench.head("a").await.unwrap();
    assert_eq!(
        (row.ov, row.cv, row.op, row.at, row.to_cv),
        (2, 3, Op::Purge, done.at, None)
    );
    assert_eq!(
        row.system,
        SystemFields {
            inserted_at: first.at,
            deleted_at: Some(done.at),
            function_ids: vec![],
            lineage: Lineage::default(),
            creator: None,
            updater: Some(user("bob")),
            imported: None,
        }
    );
    assert_eq!(
        (row.actor.clone(), row.on_behalf_of.clone()),
        (purge.actor, purge.on_behalf_of)
    );
    assert_eq!(
        (row.reason.as_deref(), row.attempt),
        (Some("asked"), purge.attempt)
    );
    assert_eq!(
        (&row.body, row.restored_from, row.pruned),
        (&None, None, None)
    );
    assert_eq!(row.keys, IndexKeys::default());
    assert_eq!(row.prev_hash, Some(hash));

    assert_eq!(bench.history("a").await, std::slice::from_ref(&row));
    assert_eq!(bench.version("a", Which::Ov(0)).await, None);
    assert_eq!(bench.version("a", Which::AsOf(2)).await, None);
    assert_eq!(
        bench.version("a", Which::AsOf(3)).await.as_ref(),
        Some(&row)
    );
    let rows = bench.rows().await;
    assert_eq!(rows.iter().map(|row| row.cv).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(rows[1], row);
    for cut in [None, Some(0), Some(2), Some(3)] {
        for access in [
            Access::All,
            Access::Ids(vec![id("a"), id("b")]),
            Access::Field {
                field: path("n"),
                ranges: vec![super::finding::everything()],
            },
            Access::Field {
                field: path("_system.deleted"),
                ranges: vec![super::finding::everything()],
            },
        ] {
            let found = bench
                .ids(&crate::Find {
                    cut,
                    ..along(access)
                })
                .await;
            assert_eq!(
                found,
                if cut == Some(0) { vec![] } else { vec!["b"] },
                "{cut:?}"
            );
        }
    }
}

/// A purged id can be used again: its versions go on after the PURGE row.
pub async fn a_purged_id_is_born_again(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    bench
        .done(Append {
            actor: Some(user("ann")),
            ..bench.create("a", &json!({}))
        })
        .await;
    bench.done(bench.purge("a")).await;
    let purged = bench.head("a").await.unwrap();
    bench.pass(2).await;
    let born = bench.done(bench.create("a", &json!({"n": 1}))).await;
    assert_eq!((born.ov, born.cv), (2, 2));
    let row = bench.head("a").await.unwrap();
    assert_eq!(row.system.inserted_at, born.at);
    assert_eq!((row.system.creator, row.system.deleted_at), (None, None));
    assert_eq!(row.prev_hash, Some(purged.hash()));
    assert_eq!(
        bench.version("a", Which::Ov(1)).await.unwrap().to_cv,
        Some(2)
    );
    bench.done(bench.update("a", &json!({"n": 2}))).await;

    // PURGE rows stay, whatever comes.
    bench.done(bench.purge("a")).await;
    assert_eq!(bench.version("a", Which::AsOf(3)).await, None);
    bench.done(bench.create("a", &json!({"n": 3}))).await;
    bench
        .done(Append {
            newest_only: true,
            ..bench.update("a", &json!({"n": 4}))
        })
        .await;
    let history: Vec<_> = bench
        .history("a")
        .await
        .iter()
        .map(|row| (row.ov, row.op))
        .collect();
    let purges = [(1, Op::Purge), (4, Op::Purge)];
    assert_eq!(history[..2], purges);
    assert_eq!(history[2..], [(5, Op::Create), (6, Op::Update)]);
    bench.one(bench.prune("a", &[1, 4])).await;
    let rows = bench.history("a").await;
    assert!(rows.iter().all(|row| row.pruned.is_none()));
    assert_eq!(
        bench.catalog.check(&bench.name).await.unwrap(),
        Vec::<String>::new()
    );
}

/// Pruned versions are stubs: they were there, and hold nothing any more.
pub async fn pruning_leaves_stubs(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    bench.index(IndexSpec::field(path("n"))).await;
    bench
        .done(Append {
            actor: Some(user("ann")),
            ..bench.create("a", &json!({"n": 0}))
        })
        .await;
    for n in 1..5 {
        bench.done(bench.update("a", &json!({ "n": n }))).await;
    }
    bench.done(bench.create("b", &json!({"n": 9}))).await;
    let before = bench.rows().await;
    let outcome = bench.one(bench.prune("a", &[0, 2, 2, 17])).await;
    assert_eq!(outcome, Outcome::Done { released: vec![] });
    let mut expected = before.clone();
    for ov in [0, 2] {
        expected[ov] = expected[ov].clone().into_stub();
    }
    assert_eq!(bench.rows().await, expected);
    assert_eq!(
        bench.version("a", Which::Ov(2)).await.as_ref(),
        Some(&expected[2])
    );
    assert_eq!(
        bench.version("a", Which::AsOf(2)).await.as_ref(),
        Some(&expected[2])
    );
    let history = bench.history("a").await;
    for pair in history.windows(2) {
        if pair[1].pruned.is_none() {
            assert_eq!(pair[1].prev_hash, Some(pair[0].hash()));
        }
    }
    // No version was taken.
    assert_eq!(bench.done(bench.update("a", &json!({"n": 5}))).await.cv, 6);

    // Whole paths meet stubs; a field's path leaves them to `stubs_at`.
    let by_n = Access::Field {
        field: path("n"),
        ranges: vec![super::finding::everything()],
    };
    let by_time = Access::Field {
        field: path("_system.updatedAt"),
        ranges: vec![super::finding::everything()],
    };
    for (cut, stubs, all, field) in [
        (Some(0), 1, vec!["a"], vec![]),
        (Some(1), 0, vec!["a"], vec!["a"]),
        (Some(2), 1, vec!["a"], vec![]),
        (Some(5), 0, vec!["a", "b"], vec!["a", "b"]),
        (None, 0, vec!["a", "b"], vec!["a", "b"]),
    ] {
        let cut_or_newest = cut.unwrap_or(6);
        assert_eq!(
            bench
                .catalog
                .stubs_at(&bench.name, cut_or_newest)
                .await
                .unwrap(),
            stubs
        );
        for (access, expected) in [
            (Access::All, &all),
            (Access::Ids(vec![id("a"), id("b")]), &all),
            (by_n.clone(), &field),
            (by_time.clone(), &field),
        ] {
            let mut found = bench
                .ids(&crate::Find {
                    cut,
                    ..along(access)
                })
                .await;
            found.sort();
            assert_eq!(found, *expected, "{cut:?}");
        }
    }
}

/// The newest version is never pruned, and stubs and strangers are passed over.
pub async fn the_newest_version_is_not_pruned(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    bench
        .done(at(&bench, "k0", bench.create("a", &json!({}))))
        .await;
    bench
        .done(at(&bench, "k1", bench.update("a", &json!({}))))
        .await;
    assert_eq!(
        bench.refused(bench.prune("a", &[0, 1])).await,
        Refusal::Newest
    );
    let nothing = Outcome::Done { released: vec![] };
    assert_eq!(bench.one(bench.prune("nobody", &[0])).await, nothing);
    assert_eq!(bench.one(bench.prune("a", &[])).await, nothing);
    assert_eq!(
        released(&bench.one(bench.prune("a", &[0])).await),
        [object("k0")]
    );
    assert_eq!(bench.one(bench.prune("a", &[0])).await, nothing);
    bench.done(bench.purge("a")).await;
    assert_eq!(bench.refused(bench.prune("a", &[2])).await, Refusal::Newest);
}

/// Only the newest version is kept if that is asked for, with a stub for all
/// before it.
pub async fn only_the_newest_version_is_kept(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    bench
        .done(newest_only(at(&bench, "k0", bench.create("a", &json!({})))))
        .await;
    bench.done(bench.create("b", &json!({}))).await;
    let done = bench
        .done(newest_only(at(&bench, "k1", bench.update("a", &json!({})))))
        .await;
    assert_eq!(
        (done.ov, done.cv, done.released),
        (1, 2, vec![object("k0")])
    );
    // The deletion names the body that was there before it.
    assert_eq!(
        bench.done(newest_only(bench.delete("a"))).await.released,
        []
    );
    let row = bench.head("a").await.unwrap();
    assert_eq!((row.ov, row.op), (2, Op::Delete));
    assert_eq!(row.body.as_ref().unwrap().location, object("k1"));
    let history = bench.history("a").await;
    let stub = history[0].clone();
    assert_eq!(history[1..], [row]);
    assert_eq!((stub.ov, stub.cv, stub.to_cv), (0, 0, Some(3)));
    assert!(stub.pruned.is_some() && stub.body.is_none());
    for cut in 0..3 {
        let then = bench.version("a", Which::AsOf(cut)).await;
        assert_eq!(then, Some(stub.clone()));
        assert_eq!(stubs(&bench, cut).await, 1, "at {cut}");
    }
    assert_eq!(bench.version("a", Which::Ov(1)).await, None);
    assert_eq!(bench.history("b").await.len(), 1);
    let size = bench.catalog.size(&bench.name).await.unwrap();
    assert_eq!((size.versions, size.live, size.deleted), (3, 1, 1));
    assert_eq!(
        bench.catalog.check(&bench.name).await.unwrap(),
        Vec::<String>::new()
    );
}

fn newest_only(append: Append) -> Append {
    Append {
        newest_only: true,
        ..append
    }
}

async fn stubs(bench: &Bench, cut: u64) -> u64 {
    bench.catalog.stubs_at(&bench.name, cut).await.unwrap()
}

/// What was to be kept stays, whatever is written after it: a version takes
/// the place of the one before it only if both are to be kept no longer than
/// they are the newest.
pub async fn what_was_kept_stays(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    bench.index(IndexSpec::field(path("n"))).await;
    // Each writes `n` as its `ov` modulo 3, so keys come, stay and go.
    let kinds = [
        false, false, true, true, true, true, false, true, false, true, true, false,
    ];
    for (ov, passing) in (0_u64..).zip(kinds) {
        let document = json!({ "n": ov % 3 / 2, "at": format!("k{ov}") });
        let append = match ov {
            0 => bench.create("a", &document),
            _ => bench.update("a", &document),
        };
        let append = Append {
            body: stored(&document, &format!("k{ov}")),
            ..append
        };
        let append = if passing { newest_only(append) } else { append };
        let done = bench.done(append).await;
        let released: Vec<_> = match ov {
            3..=5 | 10 => vec![object(&format!("k{}", ov - 1))],
            _ => vec![],
        };
        assert_eq!(done.released, released, "version {ov}");
        assert_eq!((done.ov, done.cv), (ov, ov));
    }
    let history = bench.history("a").await;
    let shown: Vec<_> = history
        .iter()
        .map(|row| (row.ov, row.to_cv, row.pruned.is_some()))
        .collect();
    let kept = |ov| (ov, Some(ov + 1), false);
    assert_eq!(
        shown,
        [
            kept(0),
            kept(1),
            (2, Some(5), true),
            kept(5),
            kept(6),
            kept(7),
            kept(8),
            (9, Some(10), true),
            kept(10),
            (11, None, false),
        ]
    );
    let mut next = 12;
    for cut in 0..next {
        let row = history
            .iter()
            .rev()
            .find(|row| row.cv <= cut)
            .unwrap()
            .clone();
        let gone = row.pruned.is_some();
        assert_eq!(stubs(&bench, cut).await, u64::from(gone), "at {cut}");
        let then = bench.version("a", Which::AsOf(cut)).await.unwrap();
        assert_eq!(then, row, "at {cut}");
        for n in 0..2 {
            let found = Find {
                cut: Some(cut),
                ..along(Access::Field {
                    field: path("n"),
                    ranges: vec![exactly(n)],
                })
            };
            let there = !gone && row.ov % 3 / 2 == n;
            assert_eq!(bench.ids(&found).await.len(), usize::from(there), "{cut}");
        }
    }
    // An object that a kept version names is not released.
    for ov in [1, 8] {
        let back = bench.done(newest_only(bench.restore("a", ov))).await;
        assert_eq!((back.ov, back.released), (next, vec![]));
        next += 1;
    }
    for ov in [2, 3, 4, 9, 12] {
        let refused = bench.refused(bench.restore("a", ov)).await;
        assert_eq!(refused, Refusal::Pruned, "version {ov}");
    }
    // All within one batch.
    let batch = vec![
        newest_only(at(&bench, "b0", bench.create("b", &json!({})))).into(),
        newest_only(at(&bench, "b1", bench.update("b", &json!({})))).into(),
        newest_only(at(&bench, "b2", bench.update("b", &json!({})))).into(),
        at(&bench, "b3", bench.update("b", &json!({}))).into(),
        newest_only(at(&bench, "b4", bench.update("b", &json!({})))).into(),
        newest_only(at(&bench, "b5", bench.update("b", &json!({})))).into(),
    ];
    let outcomes = bench.commit(batch).await;
    for (n, gone) in [vec![], vec!["b0"], vec!["b1"], vec![], vec![], vec!["b4"]]
        .into_iter()
        .enumerate()
    {
        let gone: Vec<_> = gone.into_iter().map(object).collect();
        assert_eq!(released(&outcomes[n]), gone, "mutation {n}");
    }
    let history = bench.history("b").await;
    let ends: Vec<_> = history
        .iter()
        .map(|row| (row.ov, row.to_cv.map(|to| to - next), row.pruned.is_some()))
        .collect();
    assert_eq!(
        ends,
        [
            (0, Some(2), true),
            (2, Some(3), false),
            (3, Some(4), false),
            (4, Some(5), true),
            (5, None, false),
        ]
    );
    assert_eq!(
        bench.catalog.check(&bench.name).await.unwrap(),
        Vec::<String>::new()
    );
    let mut gone = bench.done(bench.purge("b")).await.released;
    gone.sort_by_key(|location| format!("{location:?}"));
    assert_eq!(gone, [object("b2"), object("b3"), object("b5")]);
    assert_eq!(bench.history("b").await.len(), 1);
}

fn exactly(n: u64) -> KeyRange {
    let key = OrderedKey::of(&n.into());
    KeyRange::point(key)
}

/// Bodies are released once no row of their record names them.
pub async fn bodies_are_released_when_nothing_names_them(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    bench
        .done(at(&bench, "k0", bench.create("a", &json!({}))))
        .await;
    bench
        .done(at(&bench, "k1", bench.update("a", &json!({}))))
        .await;
    bench.done(bench.restore("a", 0)).await;
    bench
        .done(bench.update("a", &json!({"inline": true})))
        .await;
    bench.done(bench.restore("a", 1)).await;
    // Versions: 0 and 2 name k0, 1 and 4 name k1, 3 names none.
    assert_eq!(released(&bench.one(bench.prune("a", &[0, 1, 3])).await), []);
    for key in ["k0", "k1"] {
        assert!(bench.catalog.names_key(key).await.unwrap());
    }
    assert_eq!(
        released(&bench.one(bench.prune("a", &[2])).await),
        [object("k0")]
    );
    assert!(!bench.catalog.names_key("k0").await.unwrap());
    // Another record's rows do not count.
    bench
        .done(at(&bench, "k1", bench.create("b", &json!({}))))
        .await;
    bench
        .done(at(&bench, "k2", bench.update("a", &json!({}))))
        .await;
    let mut gone = bench.done(bench.purge("a")).await.released;
    gone.sort_by_key(|location| format!("{location:?}"));
    assert_eq!(gone, [object("k1"), object("k2")]);
    assert!(bench.catalog.names_key("k1").await.unwrap());
    assert!(!bench.catalog.names_key("k2").await.unwrap());
    // Keys are whole texts.
    for near in ["k", "K1", "k1/", "%", ""] {
        assert!(!bench.catalog.names_key(near).await.unwrap(), "{near}");
    }
    // A key is looked for in every collection.
    let others = bench.other("others");
    others
        .done(at(&others, "elsewhere", others.create("z", &json!({}))))
        .await;
    assert!(bench.catalog.names_key("elsewhere").await.unwrap());
}

/// A body moves if it still is where it was; nothing else of the row changes.
pub async fn bodies_can_be_moved(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    bench
        .done(at(&bench, "k0", bench.create("a", &json!({}))))
        .await;
    bench.done(bench.update("a", &json!({"n": 1}))).await;
    bench.done(bench.restore("a", 0)).await;
    let before = bench.rows().await;
    let relocate = |cv, from: Location, to: &str| Mutation::Relocate {
        cv,
        from,
        to: object(to),
    };
    let nothing = Outcome::Done { released: vec![] };
    for idle in [
        relocate(0, object("wrong"), "new"),
        relocate(1, object("k0"), "new"),
        relocate(0, Location::Inline, "new"),
        relocate(9, object("k0"), "new"),
        relocate(0, object("k0"), "k0"),
    ] {
        assert_eq!(bench.one(idle).await, nothing);
        assert_eq!(bench.rows().await, before);
    }
    // The restored version names the same body, so it is not released yet.
    assert_eq!(bench.one(relocate(0, object("k0"), "new")).await, nothing);
    assert_eq!(
        bench.one(relocate(2, object("k0"), "new")).await,
        Outcome::Done {
            released: vec![object("k0")]
        }
    );
    assert_eq!(
        bench.one(relocate(1, Location::Inline, "out")).await,
        nothing
    );
    let after = bench.rows().await;
    for (before, after) in before.iter().zip(&after) {
        let key = if before.cv == 1 { "out" } else { "new" };
        let mut expected = before.clone();
        let old = expected.body.take().unwrap();
        expected.body = Some(Body {
            location: object(key),
            inline: None,
            ..old
        });
        assert_eq!(*after, expected);
        assert_eq!(after.hash(), before.hash());
    }
    assert!(bench.catalog.names_key("out").await.unwrap());
    let size = bench.catalog.size(&bench.name).await.unwrap();
    assert_eq!(size.inline_bytes, 0);
    assert_eq!(bench.done(bench.update("a", &json!({}))).await.cv, 3);
}

/// A collection knows how much it holds.
pub async fn sizes_are_counted(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let bytes = |document: &serde_json::Value| body(document).size;
    let (one, two) = (json!({"n": 1}), json!({"text": "ü".repeat(100)}));
    bench.done(bench.create("a", &one)).await;
    bench.done(bench.update("a", &two)).await;
    bench
        .done(Append {
            body: stored(&two, "k"),
            ..bench.create("b", &two)
        })
        .await;
    bench.done(bench.create("c", &one)).await;
    bench.done(bench.delete("c")).await;
    bench.done(bench.create("d", &one)).await;
    bench.done(bench.purge("d")).await;
    let mut expected = CollectionSize {
        live: 2,
        deleted: 1,
        versions: 6,
        inline_bytes: 3 * bytes(&one) + bytes(&two),
        body_bytes: 3 * bytes(&one) + 2 * bytes(&two),
    };
    assert_eq!(bench.catalog.size(&bench.name).await.unwrap(), expected);
    bench.one(bench.prune("a", &[0])).await;
    expected.inline_bytes -= bytes(&one);
    expected.body_bytes -= bytes(&one);
    assert_eq!(bench.catalog.size(&bench.name).await.unwrap(), expected);
}

/// Taking a collection away takes all of it, and nothing of the others.
pub async fn a_dropped_collection_is_gone(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let others = bench.other("records_");
    for bench in [&bench, &others] {
        bench.index(IndexSpec::field(path("n"))).await;
        bench.index(IndexSpec::unique(vec![path("email")])).await;
        let document = json!({"n": [1, 2], "email": "x"});
        let append = Append {
            idempotency: request("k", "x"),
            ..bench.create("a", &document)
        };
        bench.done(append).await;
        bench
            .done(at(
                bench,
                bench.name.as_str(),
                bench.update("a", &json!({})),
            ))
            .await;
    }
    let held = bench.unique(&json!({"email": "x"})).remove(0);
    others
        .done(others.create("h", &json!({"email": "x"})))
        .await;
    let kept = others.rows().await;
    bench.catalog.drop_collection(&bench.name).await.unwrap();
    assert_eq!(
        bench.catalog.collections().await.unwrap(),
        std::slice::from_ref(&others.name)
    );
    assert_eq!(bench.rows().await, []);
    assert_eq!(bench.head("a").await, None);
    assert_eq!(bench.holder(&held).await, None);
    assert_eq!(
        bench.catalog.size(&bench.name).await.unwrap(),
        CollectionSize::default()
    );
    assert_eq!(bench.catalog.newest(&bench.name).await.unwrap(), None);
    assert!(!bench.catalog.names_key("records").await.unwrap());
    assert_eq!(bench.catalog.indexes(&bench.name).await.unwrap().list, []);
    assert_eq!(others.rows().await, kept);
    assert_eq!(others.holder(&held).await.as_deref(), Some("h"));
    assert!(bench.catalog.names_key("records_").await.unwrap());

    // A new one of the name begins from the beginning.
    *bench.indexes.lock() = bench.catalog.indexes(&bench.name).await.unwrap();
    let again = Append {
        idempotency: request("k", "y"),
        ..bench.create("a", &json!({}))
    };
    let born = bench.done(again).await;
    assert_eq!((born.ov, born.cv), (0, 0));
    assert_eq!(bench.head("a").await.unwrap().prev_hash, None);
    bench.index(IndexSpec::field(path("n"))).await;
    let by_n = Access::Field {
        field: path("n"),
        ranges: vec![super::finding::everything()],
    };
    let (found, multi) = bench.walk(&along(by_n)).await;
    assert_eq!((found.len(), multi), (0, false));
    assert_eq!(
        refusal(&bench.one(bench.create("a", &json!({}))).await),
        Refusal::AlreadyExists
    );
}

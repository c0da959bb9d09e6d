//! What a commit makes of a mutation, and how rows are read back.

use bytes::Bytes;
use serde_json::json;
use xronox_model::{
    Body, CollectionName, Direction, Encoding, Imported, Lineage, Op, Sha256, SystemChange,
    SystemFields, Timestamp, VersionRow,
};

use super::{
    Subject,
    bench::{Bench, along, bare, body, committed, id, object, refusal, stored, user},
};
use crate::{
    Access, Append, Bodies, CollectionSize, Commit, Cut, NewBody, Outcome, PAGE_BYTES, Refusal,
    Which,
};

/// Every read of a collection that nobody has written to says so.
pub async fn an_unwritten_collection_is_empty(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let (catalog, name) = (&bench.catalog, &bench.name);
    assert_eq!(bench.head("a").await, None);
    assert_eq!(bench.version("a", Which::Ov(0)).await, None);
    assert_eq!(bench.version("a", Which::AsOf(0)).await, None);
    assert_eq!(bench.history("a").await, []);
    assert_eq!(bench.rows().await, []);
    let found = catalog.find(name, &along(Access::All)).await.unwrap();
    assert_eq!(
        (found.rows, found.next, found.cv, found.multi),
        (vec![], None, None, false)
    );
    let attempt = super::bench::attempt();
    assert_eq!(
        catalog.outcome(name, &id("a"), attempt).await.unwrap(),
        None
    );
    assert_eq!(catalog.newest(name).await.unwrap(), None);
    let cut = catalog
        .cut_at(name, Timestamp::from_millis(0))
        .await
        .unwrap();
    assert_eq!(
        cut,
        Cut {
            cv: None,
            settled: false
        }
    );
    assert!(!catalog.names_key("a/b").await.unwrap());
    assert_eq!(
        catalog.indexes(name).await.unwrap(),
        crate::Indexes::default()
    );
    assert_eq!(
        catalog.collections().await.unwrap(),
        Vec::<CollectionName>::new()
    );
    assert_eq!(catalog.size(name).await.unwrap(), CollectionSize::default());
    assert_eq!(catalog.stubs_at(name, 0).await.unwrap(), 0);
    assert_eq!(catalog.check(name).await.unwrap(), Vec::<String>::new());
    catalog.drop_collection(name).await.unwrap();
    assert_eq!(bench.commit(vec![]).await, []);
    assert_eq!(
        bench.catalog.commit(&[]).await.unwrap(),
        Vec::<Vec<Outcome>>::new()
    );
    assert_eq!(
        catalog.collections().await.unwrap(),
        Vec::<CollectionName>::new()
    );
}

/// `ov` counts a record's versions, `cv` those of the collection, in the order
/// of the mutations and without gaps; a commit has one time.
pub async fn versions_are_counted_from_zero(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let outcomes = bench
        .commit(vec![
            bench.create("a", &json!({"n": 1})).into(),
            bench.create("a", &json!({"n": 2})).into(),
            bench.create("b", &json!({"n": 3})).into(),
            bench.update("a", &json!({"n": 4})).into(),
            bench.update("c", &json!({"n": 5})).into(),
            bench.delete("a").into(),
        ])
        .await;
    assert_eq!(refusal(&outcomes[1]), Refusal::AlreadyExists);
    assert_eq!(refusal(&outcomes[4]), Refusal::NotFound);
    let commits = [0, 2, 3, 5].map(|i| committed(&outcomes[i]));
    let at = commits[0].at;
    let expected = [
        ("a", 0, Op::Create),
        ("b", 0, Op::Create),
        ("a", 1, Op::Update),
        ("a", 2, Op::Delete),
    ];
    for ((cv, commit), (record, ov, op)) in (0..).zip(&commits).zip(expected) {
        let expected = Commit {
            id: id(record),
            ov,
            cv,
            at,
            op,
            released: vec![],
        };
        assert_eq!(*commit, expected);
    }
    let next = bench.done(bench.update("b", &json!({}))).await;
    assert_eq!((next.ov, next.cv), (1, 4));
    assert_eq!(bench.catalog.newest(&bench.name).await.unwrap(), Some(next));
}

/// The time of a commit is the clock's, and never before that of an earlier
/// commit of the collection.
pub async fn time_never_goes_back(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let mut times = Vec::new();
    for (record, step) in [("a", 0), ("b", 5), ("c", -500), ("d", 100), ("e", 1000)] {
        if let Some(clock) = &bench.clock {
            clock.advance(step);
        }
        times.push(bench.done(bench.create(record, &json!({}))).await.at);
    }
    assert!(times.is_sorted(), "{times:?}");
    if let Some(clock) = &bench.clock {
        let first = times[0];
        let expected = [0, 5, 5, 5, 605].map(|millis| first.plus_millis(millis));
        assert_eq!(times, expected);
        // Another collection has a time of its own.
        clock.advance(-10_000);
        let other = bench.other("others");
        let at = other.done(other.create("a", &json!({}))).await.at;
        assert_eq!(at, first.plus_millis(605 - 10_000));
    }
}

/// A row tells everything of its version, and every read gives the same row.
pub async fn a_row_tells_all(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let (ann, bob) = (user("ann"), user("bob"));
    let imported = Imported {
        created_at: Some(Timestamp::from_millis(1)),
        updated_at: None,
    };
    let lineage = Lineage {
        parent_id: Some("p".into()),
        ..Lineage::default()
    };
    let first = Append {
        actor: Some(ann.clone()),
        on_behalf_of: Some(bob.clone()),
        reason: Some("because ü".into()),
        change: SystemChange {
            function_ids: vec!["f".into()],
            lineage: lineage.clone(),
            imported: Some(imported.clone()),
        },
        ..bench.create("a", &json!({"n": 1}))
    };
    let born = bench.done(first.clone()).await;
    let mut expected = VersionRow {
        id: id("a"),
        ov: 0,
        cv: 0,
        op: Op::Create,
        at: born.at,
        to_cv: None,
        actor: Some(ann.clone()),
        on_behalf_of: Some(bob.clone()),
        reason: Some("because ü".into()),
        system: SystemFields {
            inserted_at: born.at,
            deleted_at: None,
            function_ids: vec!["f".into()],
            lineage: lineage.clone(),
            creator: Some(ann.clone()),
            updater: Some(ann.clone()),
            imported: Some(imported.clone()),
        },
        attempt: first.attempt,
        body: Some(body(&json!({"n": 1}))),
        restored_from: None,
        prev_hash: None,
        keys: xronox_model::IndexKeys::default(),
        pruned: None,
        newest_only_since: None,
    };
    assert_eq!(bench.head("a").await, Some(expected.clone()));

    bench.pass(2).await;
    let second = Append {
        op: Op::Enrich,
        actor: Some(bob.clone()),
        change: SystemChange {
            function_ids: vec!["g".into(), "f".into()],
            lineage: Lineage {
                parent_id: Some("q".into()),
                ..Lineage::default()
            },
            imported: None,
        },
        ..bench.update("a", &json!({"n": 2}))
    };
    let enriched = bench.done(second.clone()).await;
    let hash = expected.hash();
    expected.to_cv = Some(1);
    assert_eq!(expected.hash(), hash);
    let later = VersionRow {
        ov: 1,
        cv: 1,
        op: Op::Enrich,
        at: enriched.at,
        to_cv: None,
        actor: Some(bob.clone()),
        on_behalf_of: None,
        reason: None,
        system: SystemFields {
            function_ids: vec!["f".into(), "g".into()],
            updater: Some(bob),
            ..expected.system.clone()
        },
        attempt: second.attempt,
        body: Some(body(&json!({"n": 2}))),
        prev_hash: Some(hash),
        ..expected.clone()
    };
    let both = [expected, later];
    assert_eq!(bench.rows().await, both);
    assert_eq!(bench.head("a").await.as_ref(), Some(&both[1]));
    for (ov, row) in (0..).zip(&both) {
        assert_eq!(bench.version("a", Which::Ov(ov)).await.as_ref(), Some(row));
        assert_eq!(
            bench.version("a", Which::AsOf(ov)).await.as_ref(),
            Some(row)
        );
        let outcome = bench
            .catalog
            .outcome(&bench.name, &id("a"), row.attempt)
            .await
            .unwrap();
        assert_eq!(outcome, Some(bare(row)));
    }
    assert_eq!(bench.history("a").await, both.each_ref().map(bare));
    assert_eq!(bench.version("a", Which::Ov(2)).await, None);
    assert_eq!(
        bench.version("a", Which::AsOf(7)).await.as_ref(),
        Some(&both[1])
    );
}

/// Each row holds the hash of its record's previous row, so that none can be
/// changed unnoticed, and ends where the next one begins.
pub async fn rows_form_a_chain(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    for record in ["a", "b"] {
        bench
            .done(bench.create(record, &json!({"of": record})))
            .await;
    }
    for n in 0..3 {
        bench.done(bench.update("a", &json!({ "n": n }))).await;
        bench.done(bench.update("b", &json!({ "n": n }))).await;
    }
    bench.done(bench.delete("a")).await;
    bench.done(bench.restore("a", 0)).await;
    for record in ["a", "b"] {
        let rows = bench.history(record).await;
        assert_eq!(rows[0].prev_hash, None);
        for pair in rows.windows(2) {
            assert_eq!(pair[1].prev_hash, Some(pair[0].hash()));
            assert_eq!(pair[0].to_cv, Some(pair[1].cv));
        }
        assert_eq!(rows.last().unwrap().to_cv, None);
    }
}

/// What a record was after any commit can be read for ever.
pub async fn every_past_state_can_be_read(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let mut seen = Vec::new();
    bench.done(bench.create("z", &json!({}))).await;
    seen.push([None, None]);
    let steps = [
        bench.create("a", &json!({"n": 1})),
        bench.create("b", &json!({"n": 2})),
        bench.update("a", &json!({"n": 3})),
        bench.delete("b"),
        bench.restore("b", 0),
        bench.update("a", &json!({"n": 4})),
    ];
    for step in steps {
        bench.done(step).await;
        let heads = [bench.head("a").await, bench.head("b").await];
        seen.push(heads.map(|row| row.map(|row| (row.ov, row.body.unwrap().inline))));
    }
    for (cut, seen) in (0..).zip(seen) {
        for (record, seen) in ["a", "b"].into_iter().zip(seen) {
            let row = bench.version(record, Which::AsOf(cut)).await;
            let read = row.map(|row| (row.ov, row.body.unwrap().inline));
            assert_eq!(read, seen, "{record} as of {cut}");
        }
    }
}

/// History goes both ways, in pages.
pub async fn history_goes_both_ways(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    bench.done(bench.create("a", &json!({}))).await;
    bench.done(bench.create("b", &json!({}))).await;
    for n in 1..6 {
        bench.done(bench.update("a", &json!({ "n": n }))).await;
    }
    let (up, down) = (Direction::Ascending, Direction::Descending);
    let cases: [(Option<u64>, Direction, usize, &[u64]); 10] = [
        (None, up, 10, &[0, 1, 2, 3, 4, 5]),
        (None, down, 10, &[5, 4, 3, 2, 1, 0]),
        (None, up, 2, &[0, 1]),
        (None, down, 2, &[5, 4]),
        (Some(2), up, 10, &[2, 3, 4, 5]),
        (Some(2), down, 10, &[2, 1, 0]),
        (Some(2), up, 1, &[2]),
        (Some(9), up, 10, &[]),
        (Some(9), down, 2, &[5, 4]),
        (Some(0), down, 5, &[0]),
    ];
    for (from, direction, limit, expected) in cases {
        let (name, a) = (&bench.name, id("a"));
        let rows = bench
            .catalog
            .history(name, &a, from, direction, limit)
            .await
            .unwrap();
        let ovs: Vec<u64> = rows.iter().map(|row| row.ov).collect();
        assert_eq!(ovs, expected, "{from:?} {direction:?} {limit}");
        assert!(
            rows.iter()
                .all(|row| row.body.as_ref().unwrap().inline.is_none())
        );
    }
}

/// The rows of a collection come in the order of `cv`, in pages.
pub async fn rows_come_in_commit_order(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    for record in ["c", "a", "b"] {
        bench
            .done(bench.create(record, &json!({"of": record})))
            .await;
        bench.done(bench.update(record, &json!({}))).await;
    }
    let all = bench.rows().await;
    assert_eq!(
        all.iter().map(|row| row.cv).collect::<Vec<_>>(),
        [0, 1, 2, 3, 4, 5]
    );
    for from in 0..8 {
        for limit in [1, 2, 10] {
            for bodies in [Bodies::Inline, Bodies::Omit] {
                let rows = bench
                    .catalog
                    .rows(&bench.name, from, limit, bodies)
                    .await
                    .unwrap();
                let expected = all.iter().skip(usize::try_from(from).unwrap()).take(limit);
                let expected: Vec<_> = match bodies {
                    Bodies::Inline => expected.cloned().collect(),
                    Bodies::Omit => expected.map(bare).collect(),
                };
                assert_eq!(rows, expected);
            }
        }
    }
}

/// A page of rows holds no more inline bodies than it promises.
pub async fn pages_of_rows_end_by_bytes(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let fill = "x".repeat(PAGE_BYTES / 16);
    for n in 0..20 {
        let document = json!({ "n": n, "fill": fill });
        bench.done(bench.create(&format!("r{n}"), &document)).await;
    }
    let page = async |from: u64, limit: usize, bodies: Bodies| -> Vec<u64> {
        let rows = bench.catalog.rows(&bench.name, from, limit, bodies).await;
        rows.unwrap().iter().map(|row| row.cv).collect()
    };
    let range = |cvs: std::ops::Range<u64>| -> Vec<u64> { cvs.collect() };
    assert_eq!(page(0, 100, Bodies::Inline).await, range(0..16));
    assert_eq!(page(3, 100, Bodies::Inline).await, range(3..19));
    assert_eq!(page(7, 100, Bodies::Inline).await, range(7..20));
    assert_eq!(page(0, 2, Bodies::Inline).await, range(0..2));
    assert_eq!(page(0, 100, Bodies::Omit).await, range(0..20));
}

/// Bodies come back byte for byte, up to the largest.
pub async fn bodies_come_back_as_they_went(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let largest = bench.catalog.capabilities().max_inline.min(24 << 20);
    let bytes = |length: u64| -> Bytes {
        (0..length)
            .map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()[2])
            .collect()
    };
    let bodies = [
        body(&json!({})),
        body(&json!({"text": "ü\u{0}\u{1F600}", "deep": [[{"a": null}]]})),
        Body {
            encoding: Encoding::Zstd,
            size: 70_000,
            inline: Some(bytes(100)),
            ..body(&json!(1))
        },
        Body {
            inline: Some(bytes(300_000)),
            ..body(&json!(2))
        },
        Body {
            inline: Some(bytes(largest.min(3 << 20))),
            ..body(&json!(3))
        },
        Body {
            inline: Some(bytes(largest)),
            ..body(&json!(4))
        },
        Body {
            inline: Some(Bytes::new()),
            ..body(&json!(5))
        },
        Body {
            location: object("ü/ä?%"),
            inline: None,
            ..body(&json!(6))
        },
    ];
    for (i, body) in bodies.iter().enumerate() {
        let record = format!("r{i}");
        let append = Append {
            body: NewBody::Given(body.clone()),
            ..bench.create(&record, &json!({}))
        };
        bench.done(append).await;
    }
    for (i, body) in bodies.iter().enumerate() {
        let record = format!("r{i}");
        let row = bench.head(&record).await.unwrap();
        assert!(row.body.as_ref() == Some(body), "body {i}");
        let head = bench
            .catalog
            .head(&bench.name, &row.id, Bodies::Omit)
            .await
            .unwrap();
        assert_eq!(head, Some(bare(&row)));
        let version = bench.version(&record, Which::Ov(0)).await.unwrap();
        assert!(version == row, "body {i}");
        let version =
            bench
                .catalog
                .version(&bench.name, &row.id, Which::AsOf(row.cv), Bodies::Omit);
        assert_eq!(version.await.unwrap(), Some(bare(&row)));
    }
}

/// A deletion marks the record and keeps its document.
pub async fn a_deletion_keeps_the_document(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    bench
        .done(Append {
            actor: Some(user("ann")),
            ..bench.create("a", &json!({"n": 1}))
        })
        .await;
    bench.pass(2).await;
    let gone = bench
        .done(Append {
            actor: Some(user("bob")),
            ..bench.delete("a")
        })
        .await;
    let row = bench.head("a").await.unwrap();
    assert_eq!((row.op, row.restored_from), (Op::Delete, None));
    assert_eq!(row.body, Some(body(&json!({"n": 1}))));
    assert_eq!(row.system.deleted_at, Some(gone.at));
    assert_eq!(row.system.creator, Some(user("ann")));
    assert_eq!(row.system.updater, Some(user("bob")));
    // A body elsewhere is named by both rows.
    bench
        .done(Append {
            body: stored(&json!({}), "k"),
            ..bench.create("b", &json!({}))
        })
        .await;
    bench.done(bench.delete("b")).await;
    assert_eq!(
        bench.head("b").await.unwrap().body.unwrap().location,
        object("k")
    );
}

/// A restore brings back the document and functions of an earlier version,
/// deleted or not, as a new one.
pub async fn a_restore_brings_back_an_earlier_version(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let with = |function: &str| SystemChange {
        function_ids: vec![function.into()],
        ..SystemChange::default()
    };
    bench
        .done(Append {
            change: with("f"),
            ..bench.create("a", &json!({"n": 0}))
        })
        .await;
    bench
        .done(Append {
            change: with("g"),
            ..bench.update("a", &json!({"n": 1}))
        })
        .await;
    bench.pass(2).await;
    bench.done(bench.delete("a")).await;
    bench.pass(2).await;

    let back = bench.done(bench.restore("a", 0)).await;
    assert_eq!((back.ov, back.cv, back.op), (3, 3, Op::Restore));
    let row = bench.head("a").await.unwrap();
    assert_eq!(row.restored_from, Some(0));
    assert_eq!(row.body, Some(body(&json!({"n": 0}))));
    assert_eq!(row.system.function_ids, ["f"]);
    assert_eq!(row.system.deleted_at, None);

    let again = bench.done(bench.restore("a", 2)).await;
    let row = bench.head("a").await.unwrap();
    assert_eq!(row.body, Some(body(&json!({"n": 1}))));
    assert_eq!(row.system.deleted_at, Some(again.at));
    assert_eq!(row.system.function_ids, ["f", "g"]);

    // The newest version can be named too.
    bench.done(bench.restore("a", 4)).await;
    let row = bench.head("a").await.unwrap();
    assert_eq!((row.ov, row.restored_from), (5, Some(4)));
}

/// A mutation that asks for it is not committed when it changes nothing.
pub async fn what_changes_nothing_is_not_committed(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let change = SystemChange {
        function_ids: vec!["f".into()],
        imported: Some(Imported {
            created_at: Some(Timestamp::from_millis(5)),
            updated_at: None,
        }),
        ..SystemChange::default()
    };
    let first = bench.done(Append {
        change: change.clone(),
        ..bench.create("a", &json!({"n": 1}))
    });
    let first = first.await;
    bench.pass(2).await;
    bench.done(bench.create("b", &json!({}))).await;
    let skip = |append: Append| Append {
        skip_unchanged: true,
        ..append
    };
    let same = || skip(bench.update("a", &json!({"n": 1})));
    let lineage = Lineage {
        parent_id: Some("p".into()),
        ..Lineage::default()
    };
    for unchanged in [
        same(),
        Append {
            actor: Some(user("ann")),
            reason: Some("r".into()),
            ..same()
        },
        Append {
            op: Op::Enrich,
            change: change.clone(),
            ..same()
        },
        Append {
            change: SystemChange {
                lineage,
                ..SystemChange::default()
            },
            ..same()
        },
        Append {
            body: NewBody::OfNewest,
            ..same()
        },
        skip(bench.restore("a", 0)),
        Append {
            newest_only: true,
            ..same()
        },
        Append {
            body: stored(&json!({"n": 1}), "elsewhere"),
            ..same()
        },
    ] {
        let outcome = bench.one(unchanged.clone()).await;
        assert_eq!(outcome, Outcome::Unchanged(first.clone()), "{unchanged:?}");
    }
    assert_eq!(bench.rows().await.len(), 2);

    let function = SystemChange {
        function_ids: vec!["g".into()],
        ..SystemChange::default()
    };
    let imported = Imported {
        updated_at: Some(Timestamp::from_millis(6)),
        ..Imported::default()
    };
    let imported = SystemChange {
        imported: Some(imported),
        ..SystemChange::default()
    };
    for (ov, changed) in (1..).zip([
        bench.update("a", &json!({"n": 1})),
        Append {
            change: function,
            ..same()
        },
        Append {
            change: imported,
            ..same()
        },
        skip(bench.update("a", &json!({"n": 2}))),
        // Two functions less.
        skip(bench.restore("a", 0)),
        skip(bench.delete("a")),
        // The document is the same, but the record was deleted.
        skip(bench.restore("a", 0)),
        // And the other way round.
        skip(bench.restore("a", 6)),
    ]) {
        let done = bench.done(changed).await;
        assert_eq!(done.ov, ov);
    }
    // A precondition is checked first.
    let mut stale = skip(bench.update("b", &json!({})));
    stale.expect.ov = Some(7);
    assert_eq!(
        bench.refused(stale).await,
        Refusal::Conflict {
            expected: 7,
            actual: 0
        }
    );
    assert_eq!(
        Sha256::of(b"{}"),
        bench.head("b").await.unwrap().body.unwrap().sha256
    );
}

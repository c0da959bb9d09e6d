//! Rows taken as they are.

use serde_json::json;
use xronox_model::{Body, IndexKeys, IndexSpec, Location, Op, VersionRow};

use super::{
    Subject,
    bench::{Bench, along, bare, id, object, path, stored, user},
    finding::everything,
};
use crate::{Access, Append, Bodies, Find, Refusal, StoreError, Which};

fn by_n() -> Access {
    Access::Field {
        field: path("n"),
        ranges: vec![everything()],
    }
}

async fn take(bench: &Bench, rows: &[VersionRow]) -> Result<(), StoreError> {
    bench.catalog.append_exact(&bench.name, rows.to_vec()).await
}

async fn refuses(bench: &Bench, rows: &[VersionRow], why: &str) {
    let before = bench.rows().await;
    let result = take(bench, rows).await;
    assert!(
        matches!(result, Err(StoreError::Refused(_))),
        "{why}: {result:?}"
    );
    assert_eq!(bench.rows().await, before, "{why}");
}

/// A collection with everything a log may hold.
async fn source(subject: &dyn Subject) -> Bench {
    let bench = Bench::open(subject).await;
    bench.index(IndexSpec::field(path("n"))).await;
    bench.index(IndexSpec::field(path("_system.ov"))).await;
    for n in 0..3 {
        let append = Append {
            actor: Some(user("ann")),
            ..bench.create(&format!("r{n}"), &json!({ "n": n }))
        };
        bench.done(append).await;
        bench.pass(3).await;
    }
    bench.done(bench.update("r0", &json!({"n": [7, 8]}))).await;
    bench
        .done(Append {
            body: stored(&json!({"n": 5}), "k"),
            ..bench.update("r1", &json!({"n": 5}))
        })
        .await;
    bench.done(bench.delete("r1")).await;
    bench.done(bench.restore("r1", 1)).await;
    bench.done(bench.purge("r2")).await;
    bench.done(bench.create("r2", &json!({"n": 6}))).await;
    bench.done(bench.create("gone", &json!({"n": 6}))).await;
    bench.done(bench.update("gone", &json!({"n": 6}))).await;
    bench.done(bench.purge("gone")).await;
    bench.one(bench.prune("r0", &[0])).await;
    bench.done(bench.create("few", &json!({"n": 1}))).await;
    bench.done(bench.update("few", &json!({"n": 2}))).await;
    for n in [3, 2, 3, 3] {
        bench
            .done(Append {
                newest_only: true,
                ..bench.update("few", &json!({ "n": n }))
            })
            .await;
    }
    bench.done(bench.update("few", &json!({"n": 4}))).await;
    bench
}

/// A copied collection cannot be told from the first one, and goes on by itself.
pub async fn a_collection_can_be_copied(subject: &dyn Subject) {
    let source = source(subject).await;
    let rows = source.rows().await;
    for size in [1, 3, 100] {
        let copy = source.other(&format!("copy{size}"));
        copy.index(IndexSpec::field(path("n"))).await;
        copy.index(IndexSpec::field(path("_system.ov"))).await;
        take(&copy, &[]).await.unwrap();
        for page in rows.chunks(size) {
            take(&copy, page).await.unwrap();
        }
        assert_eq!(copy.rows().await, rows);
        assert_eq!(
            copy.catalog.newest(&copy.name).await.unwrap(),
            source.catalog.newest(&source.name).await.unwrap()
        );
        assert_eq!(
            copy.catalog.size(&copy.name).await.unwrap(),
            source.catalog.size(&source.name).await.unwrap()
        );
        for record in ["r0", "r1", "r2", "gone", "few", "none"] {
            assert_eq!(copy.head(record).await, source.head(record).await);
            assert_eq!(copy.history(record).await, source.history(record).await);
        }
        for cut in (0..=rows.last().unwrap().cv).map(Some).chain([None]) {
            for access in [Access::All, by_n()] {
                let find = Find {
                    cut,
                    ..along(access)
                };
                assert_eq!(copy.walk(&find).await, source.walk(&find).await, "{find:?}");
            }
        }
        for row in &rows {
            let cut = source.catalog.cut_at(&source.name, row.at).await.unwrap();
            assert_eq!(copy.catalog.cut_at(&copy.name, row.at).await.unwrap(), cut);
            let asked = copy
                .catalog
                .outcome(&copy.name, &row.id, row.attempt)
                .await
                .unwrap();
            assert_eq!(asked, Some(bare(row)));
        }
        assert_eq!(
            copy.catalog.check(&copy.name).await.unwrap(),
            Vec::<String>::new()
        );

        let next = copy.done(copy.update("r0", &json!({"n": 9}))).await;
        let last = rows.last().unwrap();
        assert_eq!((next.ov, next.cv), (2, last.cv + 1));
        assert!(next.at >= last.at);
        assert_eq!(
            copy.head("r0").await.unwrap().prev_hash,
            Some(source.head("r0").await.unwrap().hash())
        );
        // A second copier comes too late.
        refuses(&copy, &rows[rows.len() - 1..], "taken already").await;
    }
    assert!(source.catalog.names_key("k").await.unwrap());
}

/// A copy that is brought up to date loses what the first one has lost since.
pub async fn a_copy_follows_versions_that_are_not_kept(subject: &dyn Subject) {
    let source = Bench::open(subject).await;
    source.index(IndexSpec::field(path("n"))).await;
    let mut copies = Vec::new();
    let kinds = [false, true, true, true, false, true, true, true, true];
    for (n, newest_only) in (0..).zip(kinds) {
        let copy = source.other(&format!("copy{n}"));
        copy.index(IndexSpec::field(path("n"))).await;
        copies.push(copy);
        let document = json!({ "n": n / 2 % 2 });
        let append = match n {
            0 => source.create("a", &document),
            _ => source.update("a", &document),
        };
        source
            .done(Append {
                newest_only,
                ..append
            })
            .await;
        // Each copy is brought up to date as often as it can be.
        let rows = source.rows().await;
        for copy in &copies {
            let there = copy.catalog.newest(&copy.name).await.unwrap();
            let new = rows
                .iter()
                .filter(|row| there.as_ref().is_none_or(|there| row.cv > there.cv));
            let new: Vec<VersionRow> = new.cloned().collect();
            take(copy, &new).await.unwrap();
            assert_eq!(copy.rows().await, rows);
            assert_eq!(
                copy.catalog.check(&copy.name).await.unwrap(),
                Vec::<String>::new()
            );
        }
    }
    // And one that misses many, of a record too of which it has but the first.
    let late = source.other("late");
    late.index(IndexSpec::field(path("n"))).await;
    source
        .done(Append {
            newest_only: true,
            ..source.create("b", &json!({ "n": 0 }))
        })
        .await;
    let early = source.rows().await;
    take(&late, &early).await.unwrap();
    for n in 1..4 {
        source
            .done(Append {
                newest_only: true,
                ..source.update("b", &json!({ "n": n }))
            })
            .await;
    }
    let rows = source.rows().await;
    take(&late, &rows[rows.len() - 1..]).await.unwrap();
    assert_eq!(late.rows().await, rows);
    let early = rows;
    for n in 0..3 {
        source
            .done(Append {
                newest_only: true,
                ..source.update("a", &json!({ "n": n }))
            })
            .await;
    }
    let rows = source.rows().await;
    assert_eq!(rows.len(), early.len());
    take(&late, &rows[rows.len() - 1..]).await.unwrap();
    assert_eq!(late.rows().await, rows);
    for cut in 0..=rows.last().unwrap().cv {
        let find = Find {
            cut: Some(cut),
            ..along(by_n())
        };
        assert_eq!(late.walk(&find).await, source.walk(&find).await, "{find:?}");
    }
}

/// A purge that comes with the rows removes what was copied before it.
pub async fn a_copied_purge_removes_too(subject: &dyn Subject) {
    let source = Bench::open(subject).await;
    let copy = source.other("copy");
    source
        .done(Append {
            body: stored(&json!({}), "k"),
            ..source.create("a", &json!({}))
        })
        .await;
    source.done(source.update("a", &json!({}))).await;
    let early = source.rows().await;
    source.done(source.purge("a")).await;
    let late = source.rows().await;
    assert_eq!(late.len(), 1);
    take(&copy, &early[..1]).await.unwrap();
    take(&copy, &late).await.unwrap();
    assert_eq!(copy.rows().await, late);
    assert_eq!(copy.version("a", Which::Ov(0)).await, None);
    assert_eq!(copy.version("a", Which::AsOf(0)).await, None);
    assert!(!copy.catalog.names_key("k").await.unwrap());
}

/// Rows that do not follow are refused, all of them.
pub async fn rows_that_do_not_follow_are_refused(subject: &dyn Subject) {
    let source = Bench::open(subject).await;
    let copy = source.other("copy");
    for record in ["a", "b"] {
        source.done(source.create(record, &json!({}))).await;
        for n in 0..3 {
            source.done(source.update(record, &json!({ "n": n }))).await;
        }
    }
    let rows = source.rows().await;
    let changed = |i: usize, change: &dyn Fn(&mut VersionRow)| {
        let mut row = rows[i].clone();
        change(&mut row);
        row
    };
    refuses(
        &copy,
        &[rows[0].clone(), rows[2].clone()],
        "a gap in a record's versions",
    )
    .await;
    refuses(
        &copy,
        &[rows[1].clone(), rows[0].clone()],
        "the wrong order",
    )
    .await;
    refuses(&copy, &[rows[0].clone(), rows[0].clone()], "twice the same").await;
    take(&copy, &rows[..2]).await.unwrap();
    for (why, row) in [
        ("one that is there", rows[1].clone()),
        ("a gap in a record's versions", rows[3].clone()),
        ("a cv that is taken", changed(2, &|row| row.cv = 1)),
        ("an ov that is taken", changed(2, &|row| row.ov = 1)),
        (
            "an earlier time",
            changed(2, &|row| row.at = row.at.plus_millis(-3_600_000)),
        ),
        (
            "no bytes",
            changed(2, &|row| row.body.as_mut().unwrap().inline = None),
        ),
        (
            "bytes too many",
            changed(2, &|row| row.body.as_mut().unwrap().location = object("x")),
        ),
    ] {
        refuses(&copy, &[row], why).await;
    }
    refuses(
        &copy,
        &[rows[2].clone(), rows[4].clone(), rows[3].clone()],
        "one of several",
    )
    .await;
    // Gaps are lawful where rows were removed.
    let first_of_b = changed(6, &|row| row.to_cv = Some(99));
    assert_eq!((first_of_b.ov, &first_of_b.id), (2, &id("b")));
    take(&copy, &[first_of_b]).await.unwrap();
    assert_eq!(copy.head("b").await.unwrap().to_cv, None);
    let purge = changed(7, &|row| {
        (row.op, row.ov, row.body, row.id) = (Op::Purge, 9, None, id("a"));
    });
    take(&copy, &[purge]).await.unwrap();
    assert_eq!(copy.history("a").await.len(), 1);
    assert_eq!(copy.done(copy.create("a", &json!({}))).await.ov, 10);
}

/// Rows bring the keys of every index, and come before unique indexes do.
pub async fn copied_rows_bring_their_keys(subject: &dyn Subject) {
    let source = source(subject).await;
    let rows = source.rows().await;
    let copy = source.other("copy");
    copy.index(IndexSpec::field(path("n"))).await;
    let full = rows.iter().position(|row| row.body.is_some()).unwrap();
    let mut lacking = rows.clone();
    lacking[full].keys = IndexKeys::default();
    refuses(&copy, &lacking, "keys are lacking").await;
    copy.index(IndexSpec::unique(vec![path("n")])).await;
    refuses(&copy, &rows, "a unique index").await;
    copy.catalog
        .drop_index(&copy.name, "unique n")
        .await
        .unwrap();
    take(&copy, &rows).await.unwrap();
    *copy.indexes.lock() = copy.catalog.indexes(&copy.name).await.unwrap();
    // What is not indexed here is not kept.
    for row in copy.rows().await {
        assert_eq!(row.keys.get(&path("_system.ov")), None);
        assert_eq!(row.keys.get(&path("n")).is_some(), row.body.is_some());
    }
    assert_eq!(
        copy.refused(copy.create("r0", &json!({"n": 1}))).await,
        Refusal::AlreadyExists
    );
    let moved = copy
        .catalog
        .head(&copy.name, &id("r1"), Bodies::Omit)
        .await
        .unwrap()
        .unwrap();
    let Some(Body {
        location: Location::Object { key, .. },
        ..
    }) = moved.body
    else {
        panic!("the location is lost");
    };
    assert_eq!(key, "k");
}

//! The life of an index.

use serde_json::{Value, json};
use xronox_model::{FieldKeys, IndexKeys, IndexSpec, Path, keys_at};

use super::{
    Subject,
    bench::{Bench, along, body, path, user},
    finding::everything,
};
use crate::{Access, Append, Find, Index, Indexes, NewBody, Refusal, StoreError};

fn keys(document: &Value, field: &str) -> FieldKeys {
    keys_at(document, &path(field))
}

fn by(field: &str) -> Find {
    along(Access::Field {
        field: path(field),
        ranges: vec![everything()],
    })
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: &Result<T, StoreError>) {
    assert!(matches!(result, Err(StoreError::Refused(_))), "{result:?}");
}

/// Batches name the set of indexes they were prepared for, and are refused
/// when it has changed.
pub async fn changed_indexes_make_batches_stale(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let (catalog, name) = (&bench.catalog, &bench.name);
    let stale = async |why: &str| {
        let result = bench
            .try_commit(vec![bench.create("a", &json!({})).into()])
            .await;
        assert!(
            matches!(&result, Err(StoreError::StaleIndexes { collection }) if collection == name),
            "{why}: {result:?}"
        );
        assert_eq!(bench.rows().await, [], "{why}");
        *bench.indexes.lock() = catalog.indexes(name).await.unwrap();
    };
    let n = IndexSpec::field(path("n"));
    let added = catalog.add_index(name, &n).await.unwrap();
    assert_eq!(
        added.list,
        [Index {
            spec: n.clone(),
            ready: false
        }]
    );
    assert!(added.epoch > 0);
    assert_eq!(catalog.indexes(name).await.unwrap(), added);
    stale("added").await;
    // Again is no change, and neither is that it is ready.
    assert_eq!(catalog.add_index(name, &n).await.unwrap(), added);
    let ready = catalog.index_ready(name, &n.name()).await.unwrap();
    assert_eq!((ready.epoch, ready.list[0].ready), (added.epoch, true));
    assert_eq!(catalog.add_index(name, &n).await.unwrap(), ready);
    assert_eq!(catalog.index_ready(name, &n.name()).await.unwrap(), ready);

    let (email, a) = (
        IndexSpec::unique(vec![path("email"), path("n")]),
        IndexSpec::field(path("a")),
    );
    catalog.add_index(name, &email).await.unwrap();
    stale("a unique one added").await;
    let three = catalog.add_index(name, &a).await.unwrap();
    stale("a third one added").await;
    let names = |indexes: &Indexes| -> Vec<String> {
        indexes.list.iter().map(|index| index.spec.name()).collect()
    };
    assert_eq!(names(&three), ["a", "n", "unique email,n"]);
    catalog.drop_index(name, "n").await.unwrap();
    stale("dropped").await;
    let two = catalog.indexes(name).await.unwrap();
    assert_eq!(names(&two), ["a", "unique email,n"]);
    assert!(two.epoch > three.epoch && three.epoch > ready.epoch);
    catalog.drop_index(name, "n").await.unwrap();
    assert_eq!(catalog.indexes(name).await.unwrap(), two);
    bench.done(bench.create("a", &json!({}))).await;
    // Each collection has its own.
    assert_eq!(
        catalog.indexes(&bench.other("others").name).await.unwrap(),
        Indexes::default()
    );
}

/// An index has one field, a unique one any number but none.
pub async fn an_index_must_make_sense(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let (catalog, name) = (&bench.catalog, &bench.name);
    let two = IndexSpec {
        fields: vec![path("a"), path("b")],
        unique: false,
    };
    for spec in [
        IndexSpec {
            fields: vec![],
            unique: false,
        },
        IndexSpec::unique(vec![]),
        two,
        IndexSpec::field(path("_system.deleted")),
        IndexSpec::field(path("_system.updatedAt")),
    ] {
        refused(&catalog.add_index(name, &spec).await);
    }
    refused(&catalog.index_ready(name, "n").await);
    refused(&catalog.fill_index(name, &path("n"), vec![]).await);
    let key = xronox_model::UniqueKey {
        index: "unique n".into(),
        key: "x".into(),
    };
    refused(
        &catalog
            .fill_unique(name, vec![(super::bench::id("a"), 0, key)])
            .await,
    );
    catalog
        .add_index(name, &IndexSpec::unique(vec![path("n")]))
        .await
        .unwrap();
    refused(&catalog.fill_index(name, &path("n"), vec![]).await);
    assert_eq!(catalog.indexes(name).await.unwrap().list.len(), 1);
}

/// An index made late is filled, and then serves past and present.
pub async fn a_late_index_is_filled(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let (catalog, name) = (&bench.catalog, &bench.name);
    let mut documents = Vec::new();
    for n in 0..4 {
        let document = json!({"n": 10 - n});
        let append = match n {
            0 => bench.create("a", &document),
            1 => bench.create("b", &document),
            2 => bench.update("a", &document),
            _ => bench.create("s", &document),
        };
        bench.done(append).await;
        documents.push(document);
    }
    bench.done(bench.update("s", &json!({"n": 0}))).await;
    bench.done(bench.create("p", &json!({"n": 0}))).await;
    bench.done(bench.purge("p")).await;
    bench.one(bench.prune("s", &[0])).await;

    bench.add_index(&IndexSpec::field(path("n"))).await;
    // While it is filled, commits carry keys, or are told that they must.
    bench.done(bench.create("c", &json!({"n": 8.5}))).await;
    assert_eq!(bench.refused(bench.delete("a")).await, Refusal::KeysNeeded);
    assert_eq!(
        bench.refused(bench.restore("a", 0)).await,
        Refusal::KeysNeeded
    );
    let lacking = Append {
        keys: Some(IndexKeys::default()),
        ..bench.create("d", &json!({}))
    };
    assert_eq!(bench.refused(lacking).await, Refusal::KeysNeeded);
    let lacking = Append {
        keys: None,
        ..bench.create("d", &json!({}))
    };
    assert_eq!(bench.refused(lacking).await, Refusal::KeysNeeded);
    let given = Append {
        keys: Some(bench.keys(&documents[2])),
        ..bench.delete("a")
    };
    let deleted = bench.done(given).await;

    let mut rows: Vec<(u64, FieldKeys)> = (0..)
        .zip(&documents)
        .map(|(cv, document)| (cv, keys(document, "n")))
        .collect();
    rows.push((4, keys(&json!({"n": 0}), "n")));
    // Rows that are gone, a PURGE row, and one that has its keys already.
    for cv in [5, 6, 7, 99] {
        rows.push((cv, keys(&json!({"n": "wrong"}), "n")));
    }
    for _ in 0..2 {
        catalog
            .fill_index(name, &path("n"), rows.clone())
            .await
            .unwrap();
    }
    *bench.indexes.lock() = catalog.index_ready(name, "n").await.unwrap();
    for row in bench.rows().await {
        let n = row.keys.get(&path("n"));
        assert_eq!(n.is_some(), row.body.is_some(), "row {}", row.cv);
        assert_ne!(
            n,
            Some(&keys(&json!({"n": "wrong"}), "n")),
            "row {}",
            row.cv
        );
    }
    for (cut, expected) in [
        (Some(0), vec!["a"]),
        (Some(1), vec!["b", "a"]),
        (Some(2), vec!["a", "b"]),
        (Some(3), vec!["a", "b"]),
        (Some(4), vec!["s", "a", "b"]),
        (Some(deleted.cv - 1), vec!["s", "a", "c", "b"]),
        (None, vec!["s", "a", "c", "b"]),
    ] {
        assert_eq!(
            bench
                .ids(&Find {
                    cut,
                    limit: 2,
                    ..by("n")
                })
                .await,
            expected,
            "{cut:?}"
        );
    }
    // Now keys are at hand.
    bench.done(bench.restore("a", 0)).await;
    assert_eq!(
        bench.head("a").await.unwrap().keys.get(&path("n")),
        Some(&keys(&documents[0], "n"))
    );
    bench.done(bench.delete("b")).await;
    assert_eq!(bench.ids(&by("n")).await, ["s", "c", "b", "a"]);
    assert_eq!(catalog.check(name).await.unwrap(), Vec::<String>::new());
}

/// Filling tells of several keys, and an index that goes takes its keys along.
pub async fn a_dropped_index_takes_its_keys_along(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let (catalog, name) = (&bench.catalog, &bench.name);
    let tags = json!({"t": ["x", "y"], "n": 1});
    bench.done(bench.create("a", &tags)).await;
    bench.index(IndexSpec::field(path("n"))).await;
    let spec = IndexSpec::field(path("t"));
    bench.add_index(&spec).await;
    catalog
        .fill_index(name, &path("t"), vec![(0, keys(&tags, "t"))])
        .await
        .unwrap();
    catalog
        .fill_index(name, &path("n"), vec![(0, keys(&tags, "n"))])
        .await
        .unwrap();
    catalog.index_ready(name, "t").await.unwrap();
    assert!(bench.walk(&by("t")).await.1);

    catalog.drop_index(name, "t").await.unwrap();
    refused(&catalog.find(name, &by("t")).await);
    let row = bench.head("a").await.unwrap();
    let fields: Vec<&Path> = row.keys.iter().map(|(field, _)| field).collect();
    assert_eq!(fields, [&path("n")]);
    // Made again, it is empty and has seen no arrays.
    bench.add_index(&spec).await;
    catalog
        .fill_index(name, &path("t"), vec![(0, keys(&json!({"t": 1}), "t"))])
        .await
        .unwrap();
    catalog.index_ready(name, "t").await.unwrap();
    let (found, multi) = bench.walk(&by("t")).await;
    assert_eq!((found.len(), multi), (1, false));
    assert_eq!(
        found[0].1.keys.get(&path("t")),
        Some(&keys(&json!({"t": 1}), "t"))
    );
}

/// The catalog adds the keys of system fields, which every commit sets.
pub async fn system_fields_are_indexed(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    for field in [
        "_system.updater.identifier",
        "_system.functionIds",
        "_system.ov",
        "updatedAt",
        "n",
    ] {
        bench.index(IndexSpec::field(path(field))).await;
    }
    let by_ann = |append: Append| Append {
        actor: Some(user("ann")),
        ..append
    };
    let by_bob = |append: Append| Append {
        actor: Some(user("bob")),
        ..append
    };
    bench
        .done(by_bob(bench.create("a", &json!({"n": 1}))))
        .await;
    bench.pass(5).await;
    let mut create = by_ann(bench.create(
        "b",
        &json!({"n": 2, "updatedAt": "2001-01-01T00:00:00.000Z"}),
    ));
    create.change.function_ids = vec!["g".into(), "f".into()];
    bench.done(create).await;
    bench.pass(5).await;
    bench
        .done(by_bob(bench.create("c", &json!({"n": 3}))))
        .await;
    bench.pass(5).await;
    bench
        .done(by_ann(bench.update("a", &json!({"n": 4}))))
        .await;
    for (cut, field, expected) in [
        (None, "_system.updater.identifier", vec!["a", "b", "c"]),
        (Some(2), "_system.updater.identifier", vec!["b", "a", "c"]),
        (None, "_system.ov", vec!["b", "c", "a"]),
        (Some(2), "_system.ov", vec!["a", "b", "c"]),
        (None, "_system.functionIds", vec!["b", "a", "c"]),
        // A property of that name comes before the system field.
        (None, "updatedAt", vec!["b", "c", "a"]),
        (Some(2), "updatedAt", vec!["b", "a", "c"]),
    ] {
        let find = Find {
            cut,
            limit: 2,
            ..by(field)
        };
        let mut found = bench.ids(&find).await;
        if field == "_system.functionIds" {
            found.sort_by_key(|found| found != "b");
        }
        assert_eq!(found, expected, "{field} at {cut:?}");
    }
    assert!(bench.walk(&by("_system.functionIds")).await.1);
    for row in bench.rows().await {
        let fields: Vec<Path> = row.keys.iter().map(|(field, _)| field.clone()).collect();
        assert_eq!(fields.len(), 5);
        assert_eq!(
            row.keys.get(&path("_system.ov")),
            Some(&keys(&json!({"_system": {"ov": row.ov}}), "_system.ov"))
        );
    }
    // Whether a version's key of `updatedAt` is its document's cannot be
    // told later, so it has to be brought along.
    assert_eq!(bench.refused(bench.delete("b")).await, Refusal::KeysNeeded);
    let document = json!({"n": 4});
    bench
        .done(Append {
            keys: Some(bench.keys(&document)),
            ..bench.delete("a")
        })
        .await;
    let row = bench.head("a").await.unwrap();
    let system = json!({"updatedAt": row.at});
    assert_eq!(
        row.keys.get(&path("updatedAt")),
        Some(&keys(&system, "updatedAt"))
    );
}

/// Keys of fields without an index are not kept, nor are keys that a caller
/// makes up for system fields.
pub async fn only_keys_of_indexes_are_kept(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    bench.index(IndexSpec::field(path("n"))).await;
    bench.index(IndexSpec::field(path("_system.ov"))).await;
    bench.index(IndexSpec::unique(vec![path("email")])).await;
    let document = json!({"n": 1, "m": 2, "email": "x", "_system": {"ov": 77, "deleted": true}});
    let fields = ["n", "m", "email", "_system.ov", "_system.deleted"].map(path);
    let all: IndexKeys = fields
        .iter()
        .map(|field| (field.clone(), keys_at(&document, field)))
        .collect();
    bench
        .done(Append {
            keys: Some(all),
            ..bench.create("a", &document)
        })
        .await;
    let row = bench.head("a").await.unwrap();
    let kept: Vec<String> = row
        .keys
        .iter()
        .map(|(field, _)| field.to_string())
        .collect();
    assert_eq!(kept, ["_system.ov", "n"]);
    assert_eq!(
        row.keys.get(&path("_system.ov")),
        Some(&keys(&json!({"_system": {"ov": 0}}), "_system.ov"))
    );
    // A copied document has the keys it had.
    let copy = Append {
        keys: None,
        body: NewBody::OfNewest,
        ..bench.update("a", &document)
    };
    bench
        .done(Append {
            unique: vec![],
            ..copy
        })
        .await;
    let row = bench.head("a").await.unwrap();
    assert_eq!(row.keys.get(&path("n")), Some(&keys(&document, "n")));
    assert_eq!(
        row.keys.get(&path("_system.ov")),
        Some(&keys(&json!({"_system": {"ov": 1}}), "_system.ov"))
    );
    assert_eq!(row.body, Some(body(&document)));
}

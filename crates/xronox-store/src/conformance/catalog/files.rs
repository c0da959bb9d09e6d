//! Files inside records: named by versions, as bodies are.

use serde_json::json;
use xronox_model::{Body, File, Location};

use super::{
    Subject,
    bench::{Bench, bare, body, file, object, released},
};
use crate::{Append, Mutation, NewBody, StoreError};

/// The same write of a document with files.
fn with(append: Append, files: &[File]) -> Append {
    let NewBody::Given(body) = append.body else {
        panic!("not a new document");
    };
    let files = files.to_vec();
    Append {
        body: NewBody::Given(Body { files, ..body }),
        ..append
    }
}

/// The keys of released objects, sorted.
fn keys(locations: Vec<Location>) -> Vec<String> {
    let key = |location| match location {
        Location::Object { key, .. } => key,
        Location::Inline => panic!("an inline body was released"),
    };
    let mut keys: Vec<String> = locations.into_iter().map(key).collect();
    keys.sort();
    keys
}

/// A version comes back with its files, and so does one that has its document.
pub async fn files_come_back(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let files = [
        file("a", "f0", Some("t0")),
        file("list.0.b", "f1", None),
        file(r"odd\\.name", "f0", Some("t0")),
    ];
    let write = with(bench.create("a", &json!({})), &files);
    bench.done(write).await;
    let out = with(bench.update("a", &json!({ "n": 1 })), &files[1..2]);
    let NewBody::Given(elsewhere) = out.body else {
        panic!("not a new document");
    };
    let elsewhere = Body {
        location: object("body"),
        inline: None,
        ..elsewhere
    };
    let body = NewBody::Given(elsewhere);
    bench.done(Append { body, ..out }).await;
    bench.done(bench.restore("a", 0)).await;
    bench.done(bench.delete("a")).await;
    let rows = bench.rows().await;
    let named: Vec<_> = rows
        .iter()
        .map(|row| row.body.as_ref().unwrap().files.clone())
        .collect();
    assert_eq!(named, [&files[..], &files[1..2], &files, &files]);
    assert_eq!(bench.head("a").await.unwrap(), *rows.last().unwrap());
    let history = bench.history("a").await;
    assert_eq!(history, rows.iter().map(bare).collect::<Vec<_>>());
    for key in ["f0", "f1", "t0", "body"] {
        assert!(bench.catalog.names_key(key).await.unwrap(), "{key}");
    }
    for key in ["f", "F0", "t1", ""] {
        assert!(!bench.catalog.names_key(key).await.unwrap(), "{key}");
    }
    // They are part of what the next row is chained to, but for their places.
    let mut other = rows[0].clone();
    other.body.as_mut().unwrap().files[0].location = object("elsewhere");
    assert_eq!(other.hash(), rows[0].hash());
    other.body.as_mut().unwrap().files[0].size += 1;
    assert_ne!(other.hash(), rows[0].hash());
    // A body moves without them.
    let moved = Mutation::Relocate {
        cv: 1,
        from: object("body"),
        to: object("new"),
    };
    assert_eq!(keys(released(&bench.one(moved).await)), ["body"]);
    let rows = bench.rows().await;
    let body = rows[1].body.as_ref().unwrap();
    assert_eq!(
        (&body.location, &body.files[..]),
        (&object("new"), &files[1..2])
    );
    assert_eq!(
        bench.catalog.check(&bench.name).await.unwrap(),
        Vec::<String>::new()
    );
}

/// Files are released with the last row of their record that names them.
pub async fn files_are_released(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let [both, text, new] = [
        file("a", "f0", None),
        file("b", "f1", Some("t1")),
        file("a", "f2", None),
    ];
    let n = |n: u64| json!({ "n": n });
    let create = with(bench.create("a", &n(0)), &[both.clone(), text]);
    bench.done(create).await;
    bench.done(with(bench.update("a", &n(1)), &[both])).await;
    bench.done(with(bench.update("a", &n(2)), &[new])).await;
    assert_eq!(
        keys(released(&bench.one(bench.prune("a", &[0])).await)),
        ["f1", "t1"]
    );
    assert!(bench.catalog.names_key("f0").await.unwrap());
    assert_eq!(
        keys(released(&bench.one(bench.prune("a", &[1])).await)),
        ["f0"]
    );
    for key in ["f0", "f1", "t1"] {
        assert!(!bench.catalog.names_key(key).await.unwrap(), "{key}");
    }
    // Another record's rows do not count.
    let shared = file("x", "f2", None);
    bench.done(with(bench.create("b", &n(0)), &[shared])).await;
    assert_eq!(keys(bench.done(bench.purge("a")).await.released), ["f2"]);
    assert!(bench.catalog.names_key("f2").await.unwrap());
    // Where only the newest version is kept.
    let newest_only = |append| Append {
        newest_only: true,
        ..append
    };
    let [one, two] = [file("a", "o1", None), file("b", "o2", Some("o3"))];
    let create = with(bench.create("c", &n(0)), &[one.clone(), two.clone()]);
    bench.done(newest_only(create)).await;
    let update = with(bench.update("c", &n(1)), &[one]);
    let done = bench.done(newest_only(update)).await;
    assert_eq!(keys(done.released), ["o2", "o3"]);
    let update = with(bench.update("c", &n(2)), &[]);
    assert_eq!(keys(bench.done(newest_only(update)).await.released), ["o1"]);
    assert_eq!(
        bench.catalog.check(&bench.name).await.unwrap(),
        Vec::<String>::new()
    );
    // They go with the collection.
    let catalog = &bench.catalog;
    catalog.drop_collection(&bench.name).await.unwrap();
    assert!(!catalog.names_key("f2").await.unwrap());
}

/// Files are copied with their rows, and are never inline.
pub async fn files_are_objects(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let files = [file("a", "f0", Some("t0")), file("b", "f1", None)];
    bench
        .done(with(bench.create("a", &json!({})), &files))
        .await;
    let copy = bench.other("copy");
    let rows = bench.rows().await;
    copy.catalog
        .append_exact(&copy.name, rows.clone())
        .await
        .unwrap();
    assert_eq!(copy.rows().await, rows);
    assert_eq!(
        keys(copy.done(copy.purge("a")).await.released),
        ["f0", "f1", "t0"]
    );
    assert!(bench.catalog.names_key("t0").await.unwrap());

    let inline = File {
        location: Location::Inline,
        ..files[1].clone()
    };
    let given = Body {
        files: vec![inline],
        ..body(&json!({}))
    };
    let write = bench.create("b", &json!({}));
    let body = NewBody::Given(given);
    let batch = bench.batch(vec![Append { body, ..write }.into()]);
    let refused = bench.catalog.commit(&[batch]).await;
    assert!(
        matches!(&refused, Err(StoreError::Refused(_))),
        "{refused:?}"
    );
}

//! Merging into records what is found out about them, on every backend.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::future::IntoFuture;

use serde_json::{Value, json};
use support::stores;
use xronox::{Collection, ErrorKind, Op, Settings};

async fn document(collection: &Collection, id: &str) -> Value {
    collection.get_latest(id).await.unwrap().document()
}

async fn functions(collection: &Collection, id: &str) -> Value {
    collection.get_latest(id).await.unwrap().json()["_system"]["functionIds"].clone()
}

#[tokio::test]
async fn what_is_found_out_is_merged() {
    for store in stores(Settings::default()).await {
        let things = store.xronox.collection("things").unwrap();
        let first = json!({ "tags": ["a"], "seen": { "web": 1 }, "lines": [{ "id": 1, "n": 1 }] });
        things
            .create_with_id("x", first)
            .actor("user:ann")
            .await
            .unwrap();
        let written = things
            .enrich(
                "x",
                json!({ "tags": ["b", "a"], "seen": { "shop": 2 }, "_system": { "ov": 9 } }),
            )
            .function("scorer@v1")
            .actor("system:scorer")
            .await
            .unwrap();
        assert_eq!((written.op, written.ov), (Op::Enrich, 1));
        // A list is one version.
        let list = json!([
            { "tags": "c", "lines": [{ "id": 1, "m": 2 }, { "id": 2 }] },
            { "seen": { "web": null } },
            { "tags": ["c", "d"] },
        ]);
        let written = things
            .enrich("x", list)
            .function("scorer@v1")
            .function("other@v2")
            .expected_ov(1)
            .await
            .unwrap();
        assert_eq!(written.ov, 2);
        assert_eq!(
            document(&things, "x").await,
            json!({
                "tags": ["a", "b", "c", "d"],
                "seen": { "web": null, "shop": 2 },
                "lines": [{ "id": 1, "n": 1, "m": 2 }, { "id": 2 }],
            })
        );
        assert_eq!(
            functions(&things, "x").await,
            json!(["scorer@v1", "other@v2"])
        );
        let before = things.get_version("x", 1).await.unwrap().json();
        assert_eq!(before["_system"]["functionIds"], json!(["scorer@v1"]));
        assert_eq!(before["_system"]["creator"]["identifier"], "ann");
        assert_eq!(before["_system"]["updater"]["type"], "system");

        // Nothing new is nothing written, unless a function is.
        let same = things
            .enrich("x", json!({ "tags": ["a"] }))
            .function("other@v2");
        let same = same.await.unwrap();
        assert!(same.unchanged && same.ov == 2, "{same:?}");
        let known = things
            .enrich("x", json!([]))
            .function("third")
            .await
            .unwrap();
        assert!(!known.unchanged && known.ov == 3, "{known:?}");
        // A replaced document keeps who has worked on it.
        things.update("x", json!({ "n": 1 })).await.unwrap();
        assert_eq!(
            functions(&things, "x").await,
            json!(["scorer@v1", "other@v2", "third"])
        );
        assert!(things.verify().await.unwrap().clean());
    }
}

#[tokio::test]
async fn what_cannot_be_merged_is_refused() {
    for store in stores(Settings::default()).await {
        let things = store.xronox.collection("things").unwrap();
        things.create_with_id("x", json!({ "n": 1 })).await.unwrap();
        things.update("x", json!({ "n": 2 })).await.unwrap();
        let late = things.enrich("x", json!({ "m": 1 })).expected_ov(0);
        let conflict = ErrorKind::Conflict {
            expected: 0,
            actual: 1,
        };
        assert_eq!(*late.await.unwrap_err().kind(), conflict);
        let nobody = things.enrich("y", json!({})).await.unwrap_err();
        assert_eq!(*nobody.kind(), ErrorKind::NotFound);
        for (patch, function, path) in [
            (json!(1), "f", "number 0"),
            (json!([{ "m": 1 }, "text"]), "f", "number 1"),
            (json!({ "a\u{0}b": 1 }), "f", "NUL"),
            (json!({ "m": 1 }), "", "functionId"),
            (json!({ "m": 1 }), "a\nb", "functionId"),
            (json!({ "m": 1 }), &"f".repeat(257), "functionId"),
        ] {
            let refused = things.enrich("x", patch.clone()).function(function).await;
            let error = refused.unwrap_err();
            assert_eq!(*error.kind(), ErrorKind::Invalid, "{patch}");
            assert!(error.to_string().contains(path), "{error}");
        }
        things.delete("x").await.unwrap();
        let deleted = things.enrich("x", json!({ "m": 1 })).await.unwrap_err();
        assert_eq!(*deleted.kind(), ErrorKind::Deleted);
        assert_eq!(things.history("x").await.unwrap().len(), 3);
    }
}

/// However many enrich one record at once, all that they found out is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn all_of_many_enrichments_are_kept() {
    for store in stores(Settings::default()).await {
        let things = store.xronox.collection("things").unwrap();
        things.create_with_id("x", json!({})).await.unwrap();
        let (writers, each) = match &store.folder {
            Some(_) => (64, 100),
            None if store.on_servers => (16, 10),
            None => (64, 10),
        };
        let running: Vec<_> = (0..writers)
            .map(|writer| {
                let things = things.clone();
                tokio::spawn(async move {
                    let mut versions = Vec::new();
                    for n in 0..each {
                        let mut found = json!({ "of": { format!("w{writer}"): n } });
                        if n % 10 == 0 {
                            found["all"] = json!([format!("{writer}.{n}")]);
                        }
                        let enrich = things.enrich("x", found);
                        let written = enrich.function(format!("f{writer}")).await.unwrap();
                        assert!(!written.unchanged);
                        versions.push(written.ov);
                    }
                    versions
                })
            })
            .collect();
        let mut versions = std::collections::BTreeSet::new();
        for writer in running {
            versions.extend(writer.await.unwrap());
        }
        assert!(versions.into_iter().eq(1..=writers * each));
        let latest = things.get_latest("x").await.unwrap();
        let document = latest.document();
        let all = document["all"].as_array().unwrap().len() as u64;
        assert_eq!(all, writers * each / 10);
        for writer in 0..writers {
            assert_eq!(document["of"][format!("w{writer}")], each - 1);
        }
        let functions = latest.json()["_system"]["functionIds"].clone();
        assert_eq!(functions.as_array().unwrap().len() as u64, writers);
        assert!(things.verify().await.unwrap().clean());
    }
}

/// Who has worked on a record is merged like what they found out, up to a bound.
#[tokio::test]
async fn functions_alone_are_kept_up_to_a_thousand() {
    for store in stores(Settings::default()).await {
        let things = store.xronox.collection("things").unwrap();
        things.create_with_id("x", json!({})).await.unwrap();
        let enrich = |names: std::ops::Range<u32>| {
            let enrich = things.enrich("x", json!([]));
            names.fold(enrich, |enrich, n| enrich.function(format!("f{n}")))
        };
        let at_once = (0..150).map(|n| enrich(n..n + 1).into_future());
        let written = futures::future::try_join_all(at_once).await.unwrap();
        assert!(written.iter().all(|written| !written.unchanged));
        for first in (150..1000).step_by(50) {
            enrich(first..first + 50).await.unwrap();
        }
        let refused = enrich(999..1001).await.unwrap_err();
        assert_eq!(*refused.kind(), ErrorKind::Invalid);
        assert!(refused.to_string().contains("functionId"), "{refused}");
        assert!(enrich(999..1000).await.unwrap().unchanged);
        let named = functions(&things, "x").await;
        assert_eq!(named.as_array().unwrap().len(), 1000);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn racing_inserts_of_one_key_are_one_record() {
    for store in stores(Settings::default()).await {
        let people = store.xronox.collection("people").unwrap();
        let racing: Vec<_> = (0..24)
            .map(|n| {
                let people = people.clone();
                tokio::spawn(async move {
                    let person = json!({ "email": "e", "realm": n % 2, "seen": [n] });
                    people
                        .smart_insert(person, ["realm", "email"])
                        .await
                        .unwrap()
                })
            })
            .collect();
        let mut created = 0;
        for racer in racing {
            created += u64::from(racer.await.unwrap().op == Op::Create);
        }
        assert_eq!(created, 2);
        for realm in 0..2 {
            let found = people.query(json!({ "realm": realm })).await.unwrap();
            assert_eq!(found.items.len(), 1);
            let seen = found.items[0].document()["seen"].as_array().unwrap().len();
            assert_eq!(seen, 12);
        }
        assert!(people.verify().await.unwrap().clean());
    }
}

#[tokio::test]
async fn a_key_is_held_by_one_that_lives() {
    for store in stores(Settings::default()).await {
        let people = store.xronox.collection("people").unwrap();
        let insert = async |name: &str, more: Value| {
            let mut person = json!({ "email": "e", "name": name });
            person
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            people
                .smart_insert(person, ["email"])
                .actor("user:ann")
                .await
        };
        let first = insert("Ann", json!({})).await.unwrap();
        let again = insert("Ann", json!({})).await.unwrap();
        assert!(again.unchanged && again.id == first.id, "{again:?}");
        people.delete(&first.id).await.unwrap();
        let second = insert("Bob", json!({})).await.unwrap();
        assert_eq!(second.op, Op::Create);
        assert_ne!(second.id, first.id);

        // Repeated, it is answered as it was.
        let person = json!({ "email": "f", "n": 1 });
        let once = || {
            people
                .smart_insert(person.clone(), ["email"])
                .idempotency_key("k")
        };
        let (one, two) = (once().await.unwrap(), once().await.unwrap());
        assert_eq!((one.op, &one), (Op::Create, &two));

        let lacking = people
            .smart_insert(json!({ "email": null }), ["email"])
            .await;
        let lacking = lacking.unwrap_err();
        assert_eq!(*lacking.kind(), ErrorKind::Invalid);
        assert!(lacking.to_string().contains("email"), "{lacking}");
        let none = people.smart_insert(json!({}), Vec::<&str>::new()).await;
        assert_eq!(*none.unwrap_err().kind(), ErrorKind::Invalid);

        // The key of another index.
        people.ensure_unique(["phone"]).await.unwrap();
        people.create(json!({ "phone": 1 })).await.unwrap();
        let taken = insert("Bob", json!({ "phone": 1 })).await.unwrap_err();
        assert_eq!(*taken.kind(), ErrorKind::AlreadyExists);
        let fresh = json!({ "email": "g", "phone": 1 });
        let taken = people.smart_insert(fresh, ["email"]).await.unwrap_err();
        assert_eq!(*taken.kind(), ErrorKind::AlreadyExists);

        // A handle with a scope is not told of what is beyond it.
        let bobs = people.scoped(json!({ "name": "Bob" })).unwrap();
        let mine = json!({ "email": "e", "name": "Bob", "n": 2 });
        assert_eq!(
            bobs.smart_insert(mine, ["email"]).await.unwrap().id,
            second.id
        );
        let theirs = json!({ "email": "f", "name": "Bob" });
        let beyond = bobs.smart_insert(theirs, ["email"]).await.unwrap_err();
        assert_eq!(*beyond.kind(), ErrorKind::AlreadyExists);
        assert!(
            !beyond.to_string().contains(&one.id.to_string()),
            "{beyond}"
        );
        let unmade = bobs
            .smart_insert(json!({ "name": "Bob", "x": 1 }), ["x"])
            .await;
        assert_eq!(*unmade.unwrap_err().kind(), ErrorKind::Forbidden);
        assert!(people.verify().await.unwrap().clean());
    }
}

#[tokio::test]
async fn odd_names_are_names_and_endless_nesting_is_refused() {
    for store in stores(Settings::default()).await {
        let things = store.xronox.collection("things").unwrap();
        let odd = json!({
            "__proto__": { "admin": true }, "constructor": { "prototype": { "a": 1 } },
            "toString": "x", "": { " ": 0 }, "$where": "1", "a.b": { "$set": [{ "__proto__": 1 }] },
        });
        things.create_with_id("x", json!({ "n": 1 })).await.unwrap();
        things.enrich("x", &odd).await.unwrap();
        things
            .patch(
                "x",
                json!({ "__proto__.more": 2, "constructor.prototype.a": 3 }),
            )
            .await
            .unwrap();
        let mut expected = odd.clone();
        expected["n"] = json!(1);
        expected["__proto__"]["more"] = json!(2);
        expected["constructor"]["prototype"]["a"] = json!(3);
        assert_eq!(document(&things, "x").await, expected);
        let found = things
            .query(json!({ "__proto__.admin": true }))
            .await
            .unwrap();
        assert_eq!(found.items.len(), 1);
        let text = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(xronox::json::parse(text.as_bytes()).is_err());
        // A value as deep as that text would not even be dropped in one piece.
        let deep = (0..1000).fold(json!(1), |inside, _| json!([inside]));
        let deep = json!({ "deep": deep });
        for refused in [
            things.create(&deep).await,
            things.update("x", &deep).await,
            things.enrich("x", &deep).await,
            things.patch("x", &deep).await,
            things.smart_insert(&deep, ["n"]).await,
        ] {
            assert_eq!(*refused.unwrap_err().kind(), ErrorKind::Invalid);
        }
        assert_eq!(document(&things, "x").await, expected);
        assert!(things.verify().await.unwrap().clean());
    }
}

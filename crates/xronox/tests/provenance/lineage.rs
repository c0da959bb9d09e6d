//! What records were made from.

use futures::TryStreamExt;
use serde_json::{Value, json};
use xronox::{
    AncestryEnd, Collection, Database, Descendant, Error, ErrorKind, Moment, Settings, Xronox,
};

use super::names;
use crate::support::{local_stores, stores};

fn settings() -> Settings {
    Settings {
        hard_delete_enabled: true,
        ..Settings::default()
    }
}

/// A record of `collection` that is made from another one.
async fn child(home: &Database, name: &str, parent: (&str, &str)) {
    let (collection, id) = name.split_once('/').unwrap();
    let (parents, parent) = parent;
    let made = home.collection(collection).unwrap();
    let made = made.create_with_id(id, json!({})).parent(parent, parents);
    made.await.unwrap();
}

async fn descendants(of: &Collection, id: &str) -> Result<Vec<String>, Error> {
    let found: Vec<Descendant> = of.descendants(id).stream().try_collect().await?;
    let told = |it: &Descendant| format!("{} {}/{}", it.depth, it.collection, it.record.id());
    Ok(found.iter().map(told).collect())
}

async fn lineage_of(collection: &Collection, id: &str) -> Value {
    let record = collection.get_latest(id).include_deleted().await.unwrap();
    serde_json::to_value(&record.system().lineage).unwrap()
}

#[tokio::test]
async fn every_later_write_keeps_the_lineage() {
    for store in stores(settings()).await {
        let home = store.home();
        let [raw, clean] = ["raw", "clean"].map(|name| home.collection(name).unwrap());
        let root = raw.create_with_id("r", json!({}));
        root.origin("cus_1", "customers", Some("stripe"))
            .await
            .unwrap();
        child(home, "clean/a", ("raw", "r")).await;
        child(home, "clean/b", ("clean", "a")).await;
        let expected = json!({
            "parentId": "a", "parentCollection": "clean",
            "originId": "cus_1", "originCollection": "stripe:customers"
        });
        let check =
            async |what: &str| assert_eq!(lineage_of(&clean, "b").await, expected, "{what}");
        check("create").await;
        clean.update("b", json!({ "n": 1 })).await.unwrap();
        check("update").await;
        clean
            .patch("b", json!({ "n": 2, "_system.parentId": "x" }))
            .await
            .unwrap();
        check("patch").await;
        let mut import = clean
            .import()
            .id_from("_id".parse().unwrap())
            .start()
            .await
            .unwrap();
        import
            .add(json!({ "_id": "b", "n": 3, "_system": { "parentId": "x" } }))
            .await
            .unwrap();
        import.finish().await.unwrap();
        check("import").await;
        clean.delete("b").await.unwrap();
        check("delete").await;
        clean.restore_object("b").to_ov(1).await.unwrap();
        check("restore").await;
        clean.patch("b", json!({ "n": 4 })).await.unwrap();
        clean.restore_collection(Moment::Cv(1)).await.unwrap();
        check("restore of all").await;
        let system = clean.get_version("b", 0).await.unwrap().json()["_system"].clone();
        assert_eq!(system["originCollection"], "stripe:customers");

        let copy = Xronox::open(xronox::Config::memory()).await.unwrap();
        home.copy_to(copy.home().unwrap()).await.unwrap();
        let copied = copy.collection("clean").unwrap();
        assert_eq!(lineage_of(&copied, "b").await, expected);
        assert_eq!(
            names(&copied.children("a").await.unwrap().items),
            ["clean/b"]
        );

        // What is deleted for good and made anew has a line of its own.
        clean.delete("b").hard().await.unwrap();
        clean.create_with_id("b", json!({})).await.unwrap();
        assert_eq!(lineage_of(&clean, "b").await, json!({}));
    }
}

#[tokio::test]
async fn without_versions_the_lineage_stays_too() {
    let mut settings = settings();
    settings.versioning.enabled = false;
    for store in local_stores(settings).await {
        let things = store.home().collection("things").unwrap();
        things.create_with_id("a", json!({})).await.unwrap();
        child(store.home(), "things/b", ("things", "a")).await;
        for n in 0..3 {
            things.update("b", json!({ "n": n })).await.unwrap();
        }
        let expected = json!({
            "parentId": "a", "parentCollection": "things",
            "originId": "a", "originCollection": "things"
        });
        assert_eq!(lineage_of(&things, "b").await, expected);
    }
}

#[tokio::test]
async fn the_origin_comes_through_the_chain() {
    for store in stores(settings()).await {
        let home = store.home();
        let at = |n: usize| if n.is_multiple_of(2) { "even" } else { "odd" };
        let first = home.collection(at(0)).unwrap();
        first
            .create_with_id("0", json!({}))
            .actor("user:ann")
            .await
            .unwrap();
        for n in 1..8 {
            let (id, parent) = (n.to_string(), (n - 1).to_string());
            child(home, &format!("{}/{id}", at(n)), (at(n - 1), &parent)).await;
        }
        home.collection(at(3)).unwrap().delete("3").await.unwrap();

        let line = home.collection(at(7)).unwrap().lineage("7").await.unwrap();
        let ids: Vec<_> = line.ancestors.iter().map(|it| it.id.to_string()).collect();
        assert_eq!(ids, ["6", "5", "4", "3", "2", "1", "0"]);
        assert_eq!(line.end, AncestryEnd::Root);
        let origin = line.origin.unwrap();
        assert_eq!(
            (&origin.id[..], &origin.collection[..], origin.system),
            ("0", "even", None)
        );
        let root = &line.ancestors[6];
        assert_eq!(root.creator.as_ref().unwrap().identifier, "ann");
        let deleted: Vec<_> = line.ancestors.iter().map(|it| it.deleted).collect();
        assert_eq!(deleted, [false, false, false, true, false, false, false]);
        let own = first.lineage("0").await.unwrap();
        assert_eq!(
            serde_json::to_value(own).unwrap(),
            json!({ "ancestors": [], "end": "root" })
        );
        assert_eq!(descendants(&first, "0").await.unwrap().len(), 7);

        // A known origin of one's own comes before that of the parent.
        let other = first.create_with_id("x", json!({})).parent("0", at(0));
        other.origin("7", "erp:orders", None).await.unwrap();
        let line = first.lineage("x").await.unwrap();
        assert_eq!(line.origin.unwrap().system.as_deref(), Some("erp"));
        assert_eq!(line.ancestors.len(), 1);
        let missing = first.lineage("none").await.unwrap_err();
        assert_eq!(missing.kind(), &ErrorKind::NotFound);
    }
}

#[tokio::test]
async fn children_are_found_in_every_collection() {
    for store in stores(settings()).await {
        let home = store.home();
        let [a, b] = ["a", "b"].map(|name| home.collection(name).unwrap());
        a.create_with_id("p", json!({})).await.unwrap();
        b.create_with_id("p", json!({})).await.unwrap();
        let many = (0..30).map(|n| json!({ "n": n }));
        let made = a.create_many(many).parent("p", "a").await.unwrap();
        assert!(made.iter().all(Result::is_ok));
        b.create_many((0..100).map(|n| json!({ "n": n })))
            .await
            .unwrap();
        child(home, "b/1", ("a", "p")).await;
        child(home, "b/2", ("b", "p")).await;
        child(home, "b/3", ("a", "p")).await;
        b.delete("3").await.unwrap();
        // The parent need not be there.
        a.delete("p").hard().await.unwrap();

        let (mut found, mut scanned, mut after) = (Vec::new(), 0, None::<String>);
        loop {
            let mut ask = a.children("p").limit(7);
            if let Some(cursor) = after {
                ask = ask.after(cursor);
            }
            let page = ask.await.unwrap();
            found.extend(names(&page.items));
            scanned += page.scanned;
            after = page.cursor;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(found.len(), 32);
        assert_eq!(found[30..], ["b/1", "b/3"]);
        // Of 135 records; the end of a page is looked beyond.
        assert!(scanned < 50, "{scanned}");
        assert_eq!(names(&b.children("p").await.unwrap().items), ["b/2"]);
        let some = a.children("p").among(["b"]).await.unwrap();
        assert_eq!(names(&some.items), ["b/1", "b/3"]);
        let ours = b.scoped(json!({ "_id": { "$ne": "1" } })).unwrap();
        assert!(ours.children("p").await.unwrap().items.len() == 1);
    }
}

#[tokio::test]
async fn descendants_come_once_and_the_nearest_first() {
    for store in stores(settings()).await {
        let home = store.home();
        let [a, b] = ["a", "b"].map(|name| home.collection(name).unwrap());
        a.create_with_id("root", json!({})).await.unwrap();
        // More than are asked for at a time.
        let children = a.create_many((0..40).map(|n| json!({ "n": n })));
        let children = children.parent("root", "a").await.unwrap();
        for (n, made) in children.iter().enumerate().filter(|(n, _)| n % 4 == 0) {
            let id = &made.as_ref().unwrap().id;
            let grandchild = b.create_with_id(format!("g{n}"), json!({}));
            grandchild.parent(id, "a").await.unwrap();
        }
        child(home, "a/last", ("b", "g36")).await;
        // Deleted ones have descendants too, and others of their id none here.
        b.delete("g36").await.unwrap();
        child(home, "a/not", ("a", "g36")).await;

        let found = descendants(&a, "root").await.unwrap();
        let of = |depth: &str| found.iter().filter(|it| it.starts_with(depth)).count();
        assert_eq!((of("1 a/"), of("2 b/g"), found.len()), (40, 10, 51));
        assert_eq!(found[50], "3 a/last");
        let none = descendants(&a, "last").await.unwrap();
        assert!(none.is_empty());
        let some = a.descendants("root").among(["a"]).stream();
        assert_eq!(some.try_collect::<Vec<_>>().await.unwrap().len(), 40);
    }
}

#[tokio::test]
async fn cycles_come_to_an_end() {
    for store in stores(settings()).await {
        let home = store.home();
        let things = home.collection("things").unwrap();
        child(home, "things/self", ("things", "self")).await;
        // Whoever names a parent that is to come can close a circle.
        child(home, "things/x", ("things", "y")).await;
        child(home, "things/y", ("things", "z")).await;
        child(home, "things/z", ("things", "x")).await;
        child(home, "things/leaf", ("things", "x")).await;

        assert!(descendants(&things, "self").await.unwrap().is_empty());
        let line = things.lineage("self").await.unwrap();
        assert_eq!((line.ancestors.len(), line.end), (0, AncestryEnd::Cycle));
        assert_eq!(
            descendants(&things, "y").await.unwrap(),
            ["1 things/x", "2 things/leaf", "2 things/z"]
        );
        let line = things.lineage("leaf").await.unwrap();
        let ids: Vec<_> = line.ancestors.iter().map(|it| it.id.to_string()).collect();
        assert_eq!(
            (ids.join(""), line.end),
            ("xyz".to_owned(), AncestryEnd::Cycle)
        );
    }
}

#[tokio::test]
async fn a_line_may_lead_to_what_is_not_there() {
    for store in stores(settings()).await {
        let home = store.home();
        let things = home.collection("things").unwrap();
        things
            .create_with_id("a", json!({ "shop": 1 }))
            .await
            .unwrap();
        let b = things.create_with_id("b", json!({ "shop": 2 }));
        b.parent("a", "things").await.unwrap();
        let c = things.create_with_id("c", json!({ "shop": 2 }));
        c.parent("b", "things").await.unwrap();
        child(home, "things/d", ("nowhere", "507F1F77bcf86cd799439011")).await;

        let end = things.lineage("d").await.unwrap().end;
        let missing = json!({ "collection": "nowhere", "id": "507F1F77bcf86cd799439011" });
        assert_eq!(
            serde_json::to_value(end).unwrap(),
            json!({ "missing": missing })
        );
        // What a handle does not see is not there for it.
        let ours = things.scoped(json!({ "shop": 2 })).unwrap();
        let line = ours.lineage("c").await.unwrap();
        assert_eq!(line.ancestors.len(), 1);
        assert!(matches!(line.end, AncestryEnd::Missing { .. }));
        let hidden = ours.lineage("a").await.unwrap_err();
        assert_eq!(hidden.kind(), &ErrorKind::NotFound);

        things.delete("a").hard().await.unwrap();
        let line = things.lineage("c").await.unwrap();
        assert_eq!(line.ancestors.len(), 1);
        assert!(matches!(line.end, AncestryEnd::Missing { .. }));
        assert_eq!(line.origin.unwrap().id, "a");
        let gone = things.lineage("a").await.unwrap_err();
        assert_eq!(gone.kind(), &ErrorKind::NotFound);
    }
}

#[tokio::test]
async fn long_lines_and_large_families_are_bounded() {
    let mut settings = settings();
    settings.queries.max_scanned = 10;
    for store in stores(settings).await {
        let home = store.home();
        let things = home.collection("things").unwrap();
        things.create_with_id("0", json!({})).await.unwrap();
        for n in 1..12_usize {
            child(
                home,
                &format!("things/{n}"),
                ("things", &(n - 1).to_string()),
            )
            .await;
        }
        assert_eq!(things.lineage("10").await.unwrap().ancestors.len(), 10);
        assert_eq!(descendants(&things, "1").await.unwrap().len(), 10);
        for refused in [
            things.lineage("11").await.map(|_| ()),
            descendants(&things, "0").await.map(|_| ()),
        ] {
            let refused = refused.unwrap_err();
            assert_eq!(refused.kind(), &ErrorKind::Invalid);
            assert!(
                refused.to_string().contains("queries.maxScanned"),
                "{refused}"
            );
        }
    }
}

#[tokio::test]
async fn bad_parents_and_origins_are_refused() {
    for store in stores(settings()).await {
        let things = store.home().collection("things").unwrap();
        let new = || things.create(json!({}));
        for refused in [
            new().parent("", "things"),
            new().parent("a", "no/name"),
            new().parent("a".repeat(129), "things"),
            new().origin("", "c", None),
            new().origin("a", "c\n", None),
            new().origin("a", "c", Some("s:t")),
            new().origin("a".repeat(1025), "c", None),
            // The first thing that is wrong, whatever is said afterwards.
            new().origin("", "c", None).origin("a", "c", None),
        ] {
            assert_eq!(refused.await.unwrap_err().kind(), &ErrorKind::Invalid);
        }
        let many = things.create_many([json!({})]).parent("a", "no/name");
        assert_eq!(many.await.unwrap_err().kind(), &ErrorKind::Invalid);
        let refused = things.children("").await.unwrap_err();
        assert_eq!(refused.kind(), &ErrorKind::Invalid);
        assert!(descendants(&things, "").await.is_err());
        assert_eq!(things.changes(None).await.unwrap().len(), 0);
    }
}

//! Each way to read a record, once.

use futures::TryStreamExt;
use serde_json::{Value, json};
use xronox::{Config, Context, Direction, Moment, PatchOp, Xronox};

use crate::{HIDDEN, people, settings, stores, support::local_stores, visible, whole};

#[tokio::test]
async fn no_plain_read_shows_what_is_hidden() {
    for store in stores().await {
        let people = people(&store).await;
        let home = store.home();
        let mut shown = Vec::new();
        shown.push(people.get_latest("a").await.unwrap().document());
        shown.push(people.get_version("a", 0).await.unwrap().document());
        let then = people.get_as_of("a", Moment::Cv(0)).await.unwrap();
        shown.push(then.document());
        let many = people.get_many(["a"]).await.unwrap();
        shown.push(many[0].as_ref().unwrap().document());
        let page = people.query(json!({ "h.x": 1 })).await.unwrap();
        shown.push(page.items[0].document());
        let page = people.query(json!({})).as_of(Moment::Cv(0)).await.unwrap();
        shown.push(page.items[0].document());
        let sorted = people.query(json!({})).sort("h", Direction::Descending);
        shown.push(sorted.await.unwrap().items[0].document());
        let page = people.list_by_meta(json!({ "o.h": "secret" })).await;
        shown.push(page.unwrap().items[0].document());
        let streamed = people.query(json!({})).stream().await.unwrap();
        let streamed: Vec<_> = streamed.try_collect().await.unwrap();
        shown.push(streamed[0].document());
        let who = home.who("user:1").await.unwrap();
        shown.push(who.items[0].record.document());
        let trail = home.trail("user:1").documents().await.unwrap();
        shown.push(trail.items[0].document.clone().unwrap());
        let made = people.create_with_id("b", whole());
        made.parent("a", "people").await.unwrap();
        let children = people.children("a").await.unwrap();
        shown.push(children.items[0].record.document());
        let all: Vec<_> = people
            .descendants("a")
            .stream()
            .try_collect()
            .await
            .unwrap();
        shown.push(all[0].record.document());
        let typed: Value = people.get_latest("a").await.unwrap().to().unwrap();
        shown.push(typed);
        for (n, document) in shown.into_iter().enumerate() {
            assert_eq!(document, visible(), "read {n}");
        }

        let client = home.client();
        let mut found: Vec<Value> = client.find("people", json!({ "_id": "a" })).await.unwrap();
        found.extend(client.find_one("people", json!({})).await.unwrap());
        found.extend(client.find_by_id("people", "a").await.unwrap());
        assert_eq!(found.len(), 3);
        for mut document in found {
            let fields = document.as_object_mut().unwrap();
            assert_eq!(fields.remove("_id"), Some(json!("a")));
            fields.remove("_system").unwrap();
            assert_eq!(document, visible());
        }
    }
}

#[tokio::test]
async fn every_read_shows_it_when_it_is_asked_to() {
    for store in stores().await {
        let people = people(&store).await;
        let home = store.home();
        let made = people.create_with_id("b", whole());
        made.parent("a", "people").await.unwrap();
        let mut shown = Vec::new();
        let read = people.get_version("a", 0).include_hidden().await;
        shown.push(read.unwrap().document());
        let many = people.get_many(["a"]).include_hidden().await.unwrap();
        shown.push(many[0].as_ref().unwrap().document());
        let streamed = people.query(json!({})).include_hidden().stream().await;
        let streamed: Vec<_> = streamed.unwrap().try_collect().await.unwrap();
        shown.push(streamed[0].document());
        let who = home.who("user:1").include_hidden().await.unwrap();
        shown.push(who.items[0].record.document());
        let trail = home.trail("user:1").documents().project("all").await;
        shown.push(trail.unwrap().items[0].document.clone().unwrap());
        let children = people.children("a").include_hidden().await.unwrap();
        shown.push(children.items[0].record.document());
        let all = people.descendants("a").project("*").stream();
        let all: Vec<_> = all.try_collect().await.unwrap();
        shown.push(all[0].record.document());
        for (n, document) in shown.into_iter().enumerate() {
            assert_eq!(document, whole(), "read {n}");
        }
        let find = home.client().find::<Value>("people", json!({}));
        let found = find.project(["h.x"]).limit(1).await.unwrap();
        assert_eq!(found, [json!({ "h": { "x": 1 } })]);
        // The whole of it has the checksum and size, shown or not.
        let part = people.get_latest("a").await.unwrap();
        let all = people.get_latest("a").include_hidden().await.unwrap();
        assert_eq!(part.sha256(), all.sha256());
        assert_eq!(part.size(), all.bytes().unwrap().len() as u64);
    }
}

fn paths(operations: &[PatchOp]) -> Vec<String> {
    let path = |operation: &PatchOp| {
        let json = serde_json::to_value(operation).unwrap();
        json["path"].as_str().unwrap().to_owned()
    };
    operations.iter().map(path).collect()
}

#[tokio::test]
async fn differences_are_of_what_is_shown() {
    for store in stores().await {
        let people = people(&store).await;
        let changes = json!({ "h.x": 9, "o.h": "other", "n": 2 });
        people.patch("a", changes).actor("user:2").await.unwrap();
        people.patch("a", json!({ "l.0.s": "z" })).await.unwrap();

        let plain = people.diff("a", 0, 1).await.unwrap();
        assert_eq!(paths(&plain), ["/n"]);
        assert!(people.diff("a", 1, 2).await.unwrap().is_empty());
        let all = people.diff("a", 0, 1).include_hidden().await.unwrap();
        assert_eq!(paths(&all), ["/h/x", "/n", "/o/h"]);
        let part = people.diff("a", 0, 1).project(["h"]).await.unwrap();
        assert_eq!(paths(&part), ["/h/x"]);

        let blamed = |parts: Vec<xronox::Blame>| -> Vec<(String, u64)> {
            let part = |part: &xronox::Blame| (part.path.to_string(), part.version.ov);
            parts.iter().map(part).collect()
        };
        let expected = |of: &[(&str, u64)]| -> Vec<(String, u64)> {
            of.iter()
                .map(|(path, ov)| ((*path).to_owned(), *ov))
                .collect()
        };
        let plain = blamed(people.blame("a").await.unwrap());
        assert_eq!(plain, expected(&[("l", 0), ("n", 1), ("o.v", 0)]));
        let all = blamed(people.blame("a").include_hidden().await.unwrap());
        let whole = [
            ("h.x", 1),
            ("h.y", 0),
            ("l", 2),
            ("n", 1),
            ("o.h", 1),
            ("o.v", 0),
        ];
        assert_eq!(all, expected(&whole));
    }
}

#[tokio::test]
async fn distinct_shows_what_its_path_names() {
    for store in stores().await {
        let people = people(&store).await;
        let of = async |path: &str| people.distinct(path, json!({})).await.unwrap();
        assert_eq!(of("o").await, [json!({ "v": 3 })]);
        assert_eq!(of("o.h").await, [json!("secret")]);
        assert_eq!(of("h.x").await, [json!(1)]);
        assert_eq!(of("l.s").await, [json!("a"), json!("c")]);
        assert_eq!(of("l.0.s").await, [json!("a")]);
        assert_eq!(of("l.0").await, [json!({ "id": 1, "t": "b" })]);
    }
}

#[tokio::test]
async fn a_scope_may_be_of_what_is_hidden() {
    for store in stores().await {
        let people = people(&store).await;
        people.create_with_id("b", json!({ "h": 2 })).await.unwrap();
        let some = people.scoped(json!({ "h.x": 1 })).unwrap();
        assert_eq!(some.get_latest("a").await.unwrap().document(), visible());
        assert!(some.get_latest("b").await.is_err());
        // Who made the scope knew; who has the handle does not.
        let sealed = some.with_hidden(false);
        assert_eq!(sealed.count(json!({})).await.unwrap().count, 1);
        let found = sealed.query(json!({ "n": 1 })).await.unwrap();
        assert_eq!(found.items[0].document(), visible());
    }
}

#[tokio::test]
async fn copies_and_checks_are_complete() {
    for store in stores().await {
        let people = people(&store).await;
        assert!(people.verify().await.unwrap().clean());
        let mut config = Config::memory();
        config.settings = settings("people", json!({ "hiddenFields": HIDDEN }));
        let other = Xronox::open(config).await.unwrap();
        store.home().copy_to(other.home().unwrap()).await.unwrap();
        let there = other.collection("people").unwrap();
        assert_eq!(crate::stored(&there, "a").await, whole());
        // And so are restores.
        people.update("a", json!({ "h": null })).await.unwrap();
        people.restore_object("a").to_ov(0).await.unwrap();
        assert_eq!(crate::stored(&people, "a").await, whole());
    }
}

#[tokio::test]
async fn tiers_show_and_merge_what_is_shown() {
    let config = r#"{
        "dbConnections": { "main": { "mongoUri": "memory:" } },
        "databases": { "knowledge": {
            "genericDatabase": { "dbConnRef": "main", "dbName": "g" },
            "tenantDatabases": [{ "tenantId": "acme", "dbConnRef": "main", "dbName": "a" }]
        } },
        "collectionMaps": { "facts": {
            "hiddenFields": ["_meta"],
            "projection": { "short": { "include": ["x"] } }
        } }
    }"#;
    let xronox = Xronox::open(Config::from_json(config).unwrap())
        .await
        .unwrap();
    let generic = json!({ "k": 1, "x": [1], "_meta": { "from": "generic" } });
    let tenant = json!({ "k": 1, "x": [2], "_meta": { "by": "tenant" } });
    for (context, document) in [
        (Context::knowledge().generic(), generic),
        (Context::knowledge().tenant("acme"), tenant),
    ] {
        let database = xronox.with(context).await.unwrap();
        let facts = database.collection("facts").unwrap();
        facts.create(document).await.unwrap();
    }
    let read = || {
        xronox
            .get_knowledge("facts", json!({ "k": 1 }))
            .tenant("acme")
    };
    let merged = read().merge().await.unwrap();
    assert_eq!(merged.data, json!({ "k": 1, "x": [1, 2] }));
    for record in merged.tier_records.values() {
        assert!(record.json().get("_meta").is_none());
    }
    assert_eq!(read().await.unwrap().data, json!({ "k": 1, "x": [2] }));
    let merged = read().merge().include_hidden().await.unwrap();
    assert_eq!(
        merged.data["_meta"],
        json!({ "from": "generic", "by": "tenant" })
    );
    let short = read().merge().project("short").await.unwrap();
    assert_eq!(short.data, json!({ "x": [1, 2] }));
}

#[tokio::test]
async fn pages_go_on_with_another_projection() {
    let people = json!({ "hiddenFields": ["h"] });
    for store in local_stores(settings("people", people)).await {
        let people = store.xronox.collection("people").unwrap();
        for n in 0..4 {
            people.create(json!({ "n": n, "h": 10 - n })).await.unwrap();
        }
        let ask = || {
            people
                .query(json!({}))
                .sort("h", Direction::Ascending)
                .limit(2)
        };
        let first = ask().await.unwrap();
        let second = ask().after(first.cursor.unwrap()).include_hidden();
        let second = second.await.unwrap();
        let documents: Vec<Value> = second.items.iter().map(xronox::Record::document).collect();
        assert_eq!(
            documents,
            [json!({ "n": 1, "h": 9 }), json!({ "n": 0, "h": 10 })]
        );
    }
}

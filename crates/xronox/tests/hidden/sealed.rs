//! A sealed handle, against each way to reach what is hidden.

use futures::TryStreamExt;
use serde_json::{Value, json};
use xronox::{Config, Direction, ErrorKind, Moment, Xronox};

use crate::{forbidden, kind, near, people, stored, visible, whole};

#[tokio::test]
async fn a_sealed_handle_shows_what_is_visible() {
    for store in near().await {
        people(&store).await;
        let home = store.home().with_hidden(false);
        let sealed = home.collection("people").unwrap();
        let mut shown = Vec::new();
        shown.push(sealed.get_latest("a").await.unwrap().document());
        let then = sealed.get_as_of("a", Moment::Cv(0)).await.unwrap();
        shown.push(then.document());
        let page = sealed.query(json!({ "o.v": 3, "l.id": 1 })).await.unwrap();
        shown.push(page.items[0].document());
        let part = sealed.get_latest("a").project(["n", "o", "l"]).await;
        shown.push(part.unwrap().document());
        let trail = home.trail("user:1").documents().await.unwrap();
        shown.push(trail.items[0].document.clone().unwrap());
        let who = home.who("user:1").await.unwrap();
        shown.push(who.items[0].record.document());
        for (n, document) in shown.into_iter().enumerate() {
            assert_eq!(document, visible(), "read {n}");
        }
        assert_eq!(sealed.count(json!({ "n": 1 })).await.unwrap().count, 1);
        let values = sealed.distinct("o.v", json!({})).await.unwrap();
        assert_eq!(values, [json!(3)]);
        // A collection that hides nothing has nothing to refuse.
        let others = home.collection("others").unwrap();
        others.create_with_id("x", json!({ "h": 1 })).await.unwrap();
        let read = others.get_latest("x").include_hidden().await.unwrap();
        assert_eq!(read.document(), json!({ "h": 1 }));
    }
}

#[tokio::test]
async fn no_option_or_projection_opens_it() {
    for store in near().await {
        people(&store).await;
        let home = store.home().with_hidden(false);
        let sealed = home.collection("people").unwrap();
        forbidden(
            sealed.get_latest("a").include_hidden().await,
            "includeHidden",
        );
        forbidden(
            sealed.get_many(["a"]).include_hidden().await,
            "includeHidden",
        );
        forbidden(
            sealed.diff("a", 0, 0).include_hidden().await,
            "includeHidden",
        );
        forbidden(sealed.blame("a").include_hidden().await, "includeHidden");
        forbidden(home.who("user:1").include_hidden().await, "includeHidden");
        let trail = home.trail("user:1").documents().include_hidden();
        forbidden(trail.await, "includeHidden");
        forbidden(sealed.children("a").include_hidden().await, "includeHidden");
        for (projection, named) in [
            (json!("*"), "everything"),
            (json!("all"), "everything"),
            (json!("named"), "`h`"),
            (json!(["n", "h.x"]), "`h.x`"),
            (json!(["o.h"]), "`o.h`"),
            (json!({ "include": ["l.s"], "exclude": ["l.s"] }), "`l.s`"),
        ] {
            forbidden(sealed.get_latest("a").project(&projection).await, named);
            forbidden(sealed.query(json!({})).project(&projection).await, named);
            forbidden(home.who("user:1").project(&projection).await, named);
            let find = home.client().find::<Value>("people", json!({}));
            forbidden(find.project(&projection).await, named);
            // Whoever asks for a record that is not there learns no more.
            forbidden(sealed.get_latest("none").project(&projection).await, named);
        }
    }
}

#[tokio::test]
async fn nothing_hidden_is_asked_about() {
    for store in near().await {
        let all = people(&store).await;
        let sealed = all.with_hidden(false);
        for (filter, named) in [
            (json!({ "h": { "x": 1, "y": 2 } }), "`h`"),
            (json!({ "h.x": 1 }), "`h.x`"),
            (json!({ "h": { "$exists": true } }), "`h`"),
            (json!({ "meta": { "h.x": { "$gt": 0 } } }), "`h.x`"),
            // What holds it.
            (json!({ "o": { "h": "secret", "v": 3 } }), "`o`"),
            (json!({ "o": { "$gt": {} } }), "`o`"),
            (json!({ "l": { "$in": [{ "s": "a" }] } }), "`l`"),
            (json!({ "o.h": { "$regex": "^s" } }), "`o.h`"),
            (json!({ "l.s": "a" }), "`l.s`"),
            (json!({ "l.0": { "id": 1 } }), "`l.0`"),
            (json!({ "l": { "$size": 2 } }), "`l`"),
            (
                json!({ "l": { "$not": { "$elemMatch": { "s": "a" } } } }),
                "`l.s`",
            ),
            (
                json!({ "l": { "$all": [{ "$elemMatch": { "s": "a" } }] } }),
                "`l.s`",
            ),
            (json!({ "l.0.s": "a" }), "`l.0.s`"),
            (json!({ "l": { "$elemMatch": { "s": "a" } } }), "`l.s`"),
            (
                json!({ "$or": [{ "n": 5 }, { "$and": [{ "$nor": [{ "h.x": 2 }] }] }] }),
                "`h.x`",
            ),
            (json!({ "n": 1, "o.h": { "$not": { "$eq": 4 } } }), "`o.h`"),
        ] {
            forbidden(sealed.query(&filter).await, named);
            forbidden(sealed.list_by_meta(&filter).await, named);
            let streamed = sealed.query(&filter).stream().await.map(|_| ());
            forbidden(streamed, named);
            forbidden(sealed.count(&filter).await, named);
            forbidden(sealed.distinct("n", &filter).await, named);
            forbidden(sealed.delete_many(&filter).await, named);
            forbidden(sealed.scoped(&filter).map(|_| ()), named);
            let home = store.home().with_hidden(false).scoped(&filter).unwrap();
            forbidden(home.collection("people").map(|_| ()), named);
            forbidden(home.who("user:1").await, named);
            forbidden(home.trail("user:1").await, named);
            // The same is no secret to others.
            assert!(all.query(&filter).await.is_ok(), "{filter}");
        }
        for path in ["h", "h.x", "o", "l", "l.s", "l.0", "l.0.s"] {
            let named = format!("`{path}`");
            let sorted = sealed.query(json!({})).sort(path, Direction::Ascending);
            forbidden(sorted.await, &named);
            let sorted = sealed.query(json!({})).sort_json(&json!([[path, -1]]));
            forbidden(sorted.stream().await.map(|_| ()), &named);
            forbidden(sealed.distinct(path, json!({})).await, &named);
            forbidden(sealed.ensure_index(path).await, &named);
            let import = sealed.import().key(path.parse().unwrap());
            forbidden(import.start().await.map(|_| ()), &named);
        }
        assert!(
            sealed
                .query(json!({}))
                .sort("o.v", Direction::Ascending)
                .await
                .is_ok()
        );
        // Nothing was deleted.
        assert_eq!(all.count(json!({})).await.unwrap().count, 1);
    }
}

#[tokio::test]
async fn a_cursor_of_others_is_of_no_use() {
    for store in near().await {
        let all = people(&store).await;
        all.create(json!({ "h": 5 })).await.unwrap();
        let ask = |people: &xronox::Collection| -> (Value, xronox::Collection) {
            (json!({ "h": { "$exists": true } }), people.clone())
        };
        let (filter, handle) = ask(&all);
        let page = handle
            .query(&filter)
            .sort("h", Direction::Ascending)
            .limit(1);
        let cursor = page.await.unwrap().cursor.unwrap();
        let sealed = all.with_hidden(false);
        let same = sealed.query(&filter).sort("h", Direction::Ascending);
        forbidden(same.after(&cursor).await, "`h`");
        let same = sealed.query(json!({})).sort("h", Direction::Ascending);
        forbidden(same.after(&cursor).await, "`h`");
        let other = sealed.query(json!({})).after(&cursor).await;
        assert_eq!(kind(other), ErrorKind::Invalid);
    }
}

#[tokio::test]
async fn history_tells_nothing_of_it() {
    for store in near().await {
        let all = people(&store).await;
        // A change of nothing but what is hidden.
        let changed = all.patch("a", json!({ "h.x": 7 })).actor("user:1");
        changed.await.unwrap();
        let sealed = all.with_hidden(false);
        assert!(sealed.diff("a", 0, 1).await.unwrap().is_empty());
        let parts = sealed.blame("a").await.unwrap();
        assert!(parts.iter().all(|part| part.version.ov == 0));
        assert!(
            parts
                .iter()
                .all(|part| !part.path.to_string().contains('h'))
        );

        // A checksum tells whoever guesses right that he did.
        let mut versions = sealed.history("a").await.unwrap();
        assert_eq!(versions.len(), 2);
        versions.extend(sealed.changes(None).await.unwrap());
        versions.extend(parts.into_iter().map(|part| part.version));
        let home = store.home().with_hidden(false);
        let trail = home.trail("user:1").await.unwrap();
        assert_eq!(trail.items.len(), 2);
        versions.extend(trail.items.into_iter().map(|trace| trace.version));
        for version in versions {
            assert_eq!((version.sha256, version.size), (None, None));
        }
        let record = sealed.get_latest("a").await.unwrap();
        assert_eq!(record.sha256(), None);
        let seen = serde_json::to_vec(&record.document()).unwrap();
        assert_eq!(record.size(), seen.len() as u64);
        assert!(record.bytes().is_none());
        let streamed = sealed.query(json!({})).stream().await.unwrap();
        let streamed: Vec<_> = streamed.try_collect().await.unwrap();
        assert_eq!(streamed[0].sha256(), None);
        // The others get them.
        assert!(all.history("a").await.unwrap()[0].sha256.is_some());
    }
}

#[tokio::test]
async fn no_handle_of_it_is_open() {
    for store in near().await {
        let all = people(&store).await;
        let home = store.home().with_hidden(false);
        let sealed = all.with_hidden(false);
        let handles = [
            sealed.clone(),
            sealed.with_hidden(true),
            sealed.scoped(json!({ "n": 1 })).unwrap(),
            sealed.scoped(json!({ "n": 1 })).unwrap().with_hidden(true),
            all.scoped(json!({ "n": 1 })).unwrap().with_hidden(false),
            home.collection("people").unwrap(),
            home.with_hidden(true).collection("people").unwrap(),
            home.scoped(json!({}))
                .unwrap()
                .collection("people")
                .unwrap(),
            home.clone().collection("people").unwrap().with_hidden(true),
        ];
        for (n, handle) in handles.iter().enumerate() {
            let read = handle.get_latest("a").await.unwrap();
            assert_eq!(read.document(), visible(), "handle {n}");
            forbidden(handle.get_latest("a").include_hidden().await, "");
        }
        let opened = all.with_hidden(true).get_latest("a").include_hidden().await;
        assert_eq!(opened.unwrap().document(), whole());
        let client = home.client();
        let count = client.count("people", json!({ "h.x": 1 })).await;
        forbidden(count, "`h.x`");
        let child = all.create_with_id("b", whole()).parent("a", "people");
        child.await.unwrap();
        let down: Vec<_> = sealed
            .descendants("a")
            .stream()
            .try_collect()
            .await
            .unwrap();
        assert_eq!(down[0].record.document(), visible());
    }
}

/// Whole versions are compared and brought back, and whole ones are counted.
#[tokio::test]
async fn restores_and_sizes_need_an_open_handle() {
    for store in near().await {
        let all = people(&store).await;
        let sealed = all.with_hidden(false);
        all.patch("a", json!({ "h": "other" })).await.unwrap();
        forbidden(sealed.restore_object("a").to_ov(0).await, "hidden");
        let whole = sealed.restore_collection(Moment::Cv(0));
        forbidden(whole.dry_run().await, "hidden");
        forbidden(sealed.size().await, "hidden");
        assert!(all.size().await.unwrap().bytes > 0);
        assert_eq!(all.restore_object("a").to_ov(0).await.unwrap().ov, 2);
    }
}

#[tokio::test]
async fn a_copy_needs_an_open_handle() {
    for store in near().await {
        people(&store).await;
        let other = Xronox::open(Config::memory()).await.unwrap();
        let (home, there) = (store.home(), other.home().unwrap());
        forbidden(home.with_hidden(false).copy_to(there).await, "hidden");
        forbidden(home.copy_to(&there.with_hidden(false)).await, "hidden");
        assert!(there.collections().await.unwrap().is_empty());
        // What shows no document goes on.
        let sealed = home.with_hidden(false).collection("people").unwrap();
        assert!(sealed.verify().await.unwrap().clean());
    }
}

#[tokio::test]
async fn no_write_names_it() {
    for store in near().await {
        let all = people(&store).await;
        let sealed = all.with_hidden(false);
        for (document, named) in [
            (json!({ "n": 1, "h": null }), "`h`"),
            (json!({ "o": { "h": 1 } }), "`o.h`"),
            (json!({ "o": [{ "h": 1 }] }), "`o.h`"),
            (json!({ "l": [{ "id": 1 }, { "id": 2, "s": 1 }] }), "`l.s`"),
        ] {
            forbidden(sealed.create(&document).await, named);
            forbidden(sealed.create_with_id("x", &document).await, named);
            forbidden(sealed.update("a", &document).await, named);
            forbidden(sealed.patch("a", &document).await, named);
            forbidden(sealed.enrich("a", &document).await, named);
            forbidden(sealed.enrich("a", json!([{}, document])).await, named);
            let mut keyed = document.clone();
            keyed["k"] = json!(1);
            forbidden(sealed.smart_insert(&keyed, ["k"]).await, named);
            // A key of what holds hidden fields would compare them.
            for key in ["o", "l"] {
                let visible = json!({ "o": { "v": 3 }, "l": [{ "n": 1 }] });
                let keyed = sealed.smart_insert(visible, [key]).await;
                forbidden(keyed, &format!("`{key}`"));
            }
            let many = sealed.create_many([json!({ "n": 2 }), document.clone()]);
            let [made, refused] = &many.await.unwrap()[..] else {
                panic!("two outcomes");
            };
            assert!(made.is_ok());
            assert_eq!(refused.as_ref().unwrap_err().kind(), &ErrorKind::Forbidden);
            let mut import = sealed.import().start().await.unwrap();
            forbidden(import.add(&document).await, named);
            assert_eq!(import.finish().await.unwrap().total(), 0);
        }
        for (changes, named) in [
            (json!({ "h.x": 5 }), "`h`"),
            (json!({ "l.0.s": 5 }), "`l.s`"),
            (json!({ "l.0": { "s": 5 } }), "`l.s`"),
            (json!({ "$unset": ["o.h"] }), "`o.h`"),
            (json!({ "$unset": ["h"] }), "`h`"),
        ] {
            forbidden(sealed.patch("a", changes).await, named);
        }
        // A key that is hidden would tell who else has it.
        let key = sealed.smart_insert(json!({ "h": 1 }), ["h"]).await;
        forbidden(key, "`h`");
        assert_eq!(stored(&all, "a").await, whole());
        assert_eq!(all.get_latest("a").await.unwrap().ov(), 0);
    }
}

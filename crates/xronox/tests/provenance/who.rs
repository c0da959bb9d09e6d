//! What an identity created or changed last.

use serde_json::json;
use xronox::{Database, ErrorKind, Identity, LocatedPage, Projection, Settings};

use super::names;
use crate::support::{local_stores, stores};

fn settings() -> Settings {
    Settings {
        hard_delete_enabled: true,
        ..Settings::default()
    }
}

/// Everything, page by page.
async fn all(home: &Database, who: &str, limit: usize) -> (Vec<String>, u64) {
    let (mut found, mut scanned, mut after) = (Vec::new(), 0, None::<String>);
    loop {
        let mut ask = home.who(who).limit(limit);
        if let Some(cursor) = after {
            ask = ask.after(cursor);
        }
        let page = ask.await.unwrap();
        assert!(page.items.len() <= limit);
        found.extend(names(&page.items));
        scanned += page.scanned;
        after = page.cursor;
        if after.is_none() {
            return (found, scanned);
        }
    }
}

#[tokio::test]
async fn what_somebody_created_or_changed_last_is_found_everywhere() {
    for store in stores(settings()).await {
        let home = store.home();
        let [orders, carts] = ["orders", "carts"].map(|name| home.collection(name).unwrap());
        let ann = Identity::user("1").unwrap().named("Ann").unwrap();
        for (id, actor) in [("made", "user:1"), ("other", "job:1"), ("theirs", "user:2")] {
            orders
                .create_with_id(id, json!({}))
                .actor(actor)
                .await
                .unwrap();
        }
        // Created by one, changed by another, and the other way round.
        orders
            .patch("made", json!({ "n": 1 }))
            .actor("user:2")
            .await
            .unwrap();
        orders
            .patch("theirs", json!({ "n": 1 }))
            .actor(&ann)
            .await
            .unwrap();
        // Created and changed, and deleted.
        carts
            .create_with_id("both", json!({}))
            .actor(&ann)
            .await
            .unwrap();
        carts
            .patch("both", json!({ "n": 1 }))
            .actor("user:1 (A.)")
            .await
            .unwrap();
        carts
            .create_with_id("deleted", json!({}))
            .actor("user:2")
            .await
            .unwrap();
        carts.delete("deleted").actor("user:1").await.unwrap();
        // Changed once, but not last; done for it; gone.
        carts
            .create_with_id("once", json!({}))
            .actor("user:2")
            .await
            .unwrap();
        carts
            .patch("once", json!({ "n": 1 }))
            .actor("user:1")
            .await
            .unwrap();
        carts
            .patch("once", json!({ "n": 2 }))
            .actor("user:2")
            .await
            .unwrap();
        let proxy = carts.create_with_id("for it", json!({}));
        proxy.actor("user:2").on_behalf_of("user:1").await.unwrap();
        carts
            .create_with_id("gone", json!({}))
            .actor("user:1")
            .await
            .unwrap();
        carts.delete("gone").hard().actor("user:1").await.unwrap();

        let page = home.who("user:1").await.unwrap();
        assert_eq!(
            names(&page.items),
            [
                "carts/both",
                "carts/deleted",
                "orders/made",
                "orders/theirs"
            ]
        );
        assert!(page.items[1].record.deleted() && page.cursor.is_none());
        let line = serde_json::to_value(&page.items[2]).unwrap();
        assert_eq!(line["collection"], "orders");
        assert_eq!(line["record"]["_system"]["creator"]["identifier"], "1");

        assert_eq!(names(&home.who(&ann).await.unwrap().items).len(), 4);
        assert_eq!(
            names(&home.who("job:1").await.unwrap().items),
            ["orders/other"]
        );
        let some = home.who("user:1").among(["orders", "none"]).await.unwrap();
        assert_eq!(names(&some.items), ["orders/made", "orders/theirs"]);
        let shape = Projection::parse(&json!(["n"])).unwrap();
        let some = home.who("user:1").project(shape).await.unwrap();
        assert_eq!(some.items[0].record.json(), json!({ "n": 1 }));
        assert!(home.who("user:none").await.unwrap().items.is_empty());
    }
}

#[tokio::test]
async fn pages_skip_and_repeat_nothing_and_look_at_nothing_else() {
    for store in stores(settings()).await {
        let home = store.home();
        for name in ["a", "b", "ü", "z"] {
            let things = home.collection(name).unwrap();
            let many = (0..40).map(|n| json!({ "n": n }));
            things.create_many(many).actor("user:2").await.unwrap();
            if name != "b" {
                let few = (0..5).map(|n| json!({ "n": n }));
                let made = things.create_many(few).actor("user:1").await.unwrap();
                let changed = &made[0].as_ref().unwrap().id;
                let patch = things.patch(changed, json!({ "m": 1 }));
                patch.actor("user:2").await.unwrap();
                let theirs = things.query(json!({ "n": 39 })).await.unwrap();
                let patch = things.patch(theirs.items[0].id(), json!({ "m": 1 }));
                patch.actor("user:1").await.unwrap();
            }
        }
        let (whole, _) = all(home, "user:1", 1000).await;
        assert_eq!(whole.len(), 18);
        for limit in [1, 3, 7, 18] {
            let (paged, scanned) = all(home, "user:1", limit).await;
            assert_eq!(paged, whole, "{limit}");
            // Each record that was both created and changed is met twice, and
            // the end of a page is looked beyond.
            assert!(scanned < 100, "{scanned} of 175 for pages of {limit}");
        }
        let page = home.who("user:1").limit(5).await.unwrap();
        let cursor = page.cursor.unwrap();
        let collection = home.collection("a").unwrap();
        let refused = [
            home.who("user:2").after(&cursor).await,
            home.who("user:1").among(["a"]).after(&cursor).await,
            home.who("user:1").after("nonsense").await,
            home.who("user:1").after(&cursor[..cursor.len() - 6]).await,
            home.who("user:1").after(format!("{cursor}/x")).await,
            collection.children("a").after(&cursor).await,
            home.who("").await,
            home.who("user:1").limit(0).await,
            home.who("user:1").limit(1001).await,
            home.who("user:1").among(["no name"]).await,
        ];
        for (i, refused) in refused.into_iter().enumerate() {
            let kind = refused.map(|page: LocatedPage| page.items.len());
            let kind = kind.map_err(|e| e.kind().clone());
            assert_eq!(kind, Err(ErrorKind::Invalid), "{i}");
        }
    }
}

#[tokio::test]
async fn many_collections_make_several_pages() {
    for store in local_stores(settings()).await {
        let home = store.home();
        for n in 0..130 {
            let things = home.collection(&format!("c{n:03}")).unwrap();
            let actor = if n % 60 == 7 { "user:1" } else { "user:2" };
            things
                .create_with_id("x", json!({}))
                .actor(actor)
                .await
                .unwrap();
        }
        let first = home.who("user:1").await.unwrap();
        assert_eq!(names(&first.items), ["c007/x"]);
        assert!(first.cursor.is_some());
        let (found, _) = all(home, "user:1", 50).await;
        assert_eq!(found, ["c007/x", "c067/x", "c127/x"]);
    }
}

#[tokio::test]
async fn a_scoped_database_tells_of_its_own_records() {
    for store in stores(settings()).await {
        let orders = store.home().collection("orders").unwrap();
        for shop in ["a", "b"] {
            let order = orders.create_with_id(shop, json!({ "shop": shop }));
            order.actor("user:1").await.unwrap();
        }
        let ours = store.home().scoped(json!({ "shop": "a" })).unwrap();
        let found = ours.who("user:1").await.unwrap();
        assert_eq!(names(&found.items), ["orders/a"]);
        let trail = ours.trail("user:1").await.unwrap();
        let ids: Vec<_> = trail
            .items
            .iter()
            .map(|it| it.version.id.to_string())
            .collect();
        assert_eq!(ids, ["a"]);
    }
}

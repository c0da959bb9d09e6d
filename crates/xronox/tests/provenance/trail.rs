//! The versions that an identity made.

use serde_json::{Value, json};
use xronox::{Database, ErrorKind, Settings, Trace, TrailPage};

use crate::support::stores;

fn settings() -> Settings {
    let mut settings = Settings {
        hard_delete_enabled: true,
        ..Settings::default()
    };
    settings.queries.max_scanned = 7;
    settings.payloads.inline_max_bytes = Some(100);
    settings
}

/// Everything, page by page, and how many versions were looked at.
async fn all(home: &Database, who: &str, limit: usize) -> (Vec<Trace>, u64) {
    let (mut found, mut scanned, mut after) = (Vec::new(), 0, None::<String>);
    loop {
        let mut ask = home.trail(who).documents().limit(limit);
        if let Some(cursor) = after {
            ask = ask.after(cursor);
        }
        let TrailPage {
            items,
            cursor,
            scanned: of_page,
            ..
        } = ask.await.unwrap();
        assert!(items.len() <= limit && of_page <= 7);
        found.extend(items);
        scanned += of_page;
        after = cursor;
        if after.is_none() {
            return (found, scanned);
        }
    }
}

#[tokio::test]
async fn every_version_of_somebody_is_met_once() {
    for store in stores(settings()).await {
        let home = store.home();
        let [orders, carts] = ["orders", "carts"].map(|name| home.collection(name).unwrap());
        let long = "x".repeat(300);
        for n in 0..10 {
            let order = orders.create_with_id(format!("o{n}"), json!({ "n": n, "long": long }));
            order.actor("user:1").await.unwrap();
            let patch = orders.patch(format!("o{n}"), json!({ "n": n + 100 }));
            patch.actor("user:2").on_behalf_of("api:x").await.unwrap();
        }
        carts
            .create_with_id("c", json!({ "n": 1 }))
            .actor("user:2")
            .await
            .unwrap();
        let patch = carts.patch("c", json!({ "n": 2 }));
        patch
            .actor("job:sync")
            .on_behalf_of("user:1 (Ann)")
            .reason("asked")
            .await
            .unwrap();
        carts.delete("c").actor("user:1").await.unwrap();
        carts
            .delete("c")
            .hard()
            .actor("user:1")
            .reason("law")
            .await
            .unwrap();

        let told = |trace: &Trace| {
            let Trace {
                collection,
                version,
                ..
            } = trace;
            format!("{collection}/{} {} {}", version.id, version.ov, version.op)
        };
        // What was deleted for good is gone, but for that it was.
        let mut expected = vec!["carts/c 3 PURGE".to_owned()];
        expected.extend((0..10).map(|n| format!("orders/o{n} 0 CREATE")));
        for limit in [1, 4, 1000] {
            let (found, scanned) = all(home, "user:1", limit).await;
            assert_eq!(found.iter().map(told).collect::<Vec<_>>(), expected);
            assert_eq!(scanned, 21);
        }
        let (found, _) = all(home, "user:1", 3).await;
        assert_eq!(found[0].document, None);
        assert_eq!(found[3].document, Some(json!({ "n": 2, "long": long })));
        let line: Value = serde_json::to_value(&found[0]).unwrap();
        assert_eq!(
            (&line["collection"], &line["reason"]),
            (&json!("carts"), &json!("law"))
        );

        assert_eq!(all(home, "api:x", 1000).await.0.len(), 10);
        let some = home.trail("user:1").among(["carts"]).await.unwrap();
        assert_eq!((some.items.len(), some.scanned), (1, 1));
        let plain = home.trail("user:1").await.unwrap();
        assert_eq!((plain.items.len(), &plain.items[1].document), (4, &None));

        let cursor = plain.cursor.unwrap();
        for refused in [
            home.trail("user:2").after(&cursor).await,
            home.trail("user:1").after("nonsense").await,
            home.trail("user:1").after(format!("{cursor}.")).await,
            home.trail("").await,
            home.trail("user:1").limit(0).await,
        ] {
            let refused = refused.map(|page| page.items.len());
            assert_eq!(refused.unwrap_err().kind(), &ErrorKind::Invalid);
        }
    }
}

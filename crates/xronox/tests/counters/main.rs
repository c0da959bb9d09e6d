//! Counts of what was written.

// Helpers of tests are tests too.
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod apart;
mod exact;
mod recount;

use std::time::Duration;

use serde_json::{Value, json};
use support::{Store, stores};
use xronox::{CollectionMap, Counters, ErrorKind, Settings, Timeframe};

const SOON: Duration = Duration::from_secs(20);

/// Settings with these counter rules.
fn counting(rules: Value) -> Settings {
    let mut settings = Settings {
        hard_delete_enabled: true,
        ..Settings::default()
    };
    settings.counter_rules.rules = serde_json::from_value(rules).unwrap();
    settings
}

fn counters(store: &Store) -> Counters<'_> {
    store.home().counters()
}

/// The seed's rules over its events.
fn events() -> Value {
    json!([
        {
            "name": "user_logins", "on": ["CREATE"], "scope": "meta",
            "when": { "action": "login" }, "countUnique": ["sessionId"],
        },
        {
            "name": "product_views", "on": ["CREATE"],
            "when": { "action": "view" }, "countUnique": ["productId", "category", "brand"],
        },
        {
            "name": "premium_purchases", "on": ["CREATE"], "scope": "payload",
            "when": { "userTier": "premium", "action": "purchase", "amount": { "$gte": 100 } },
            "countUnique": ["productId", "category"], "by": ["category"], "topN": 2,
        },
    ])
}

#[tokio::test]
async fn what_the_seed_counts_is_counted() {
    for store in stores(counting(events())).await {
        let orders = store.xronox.collection("events").unwrap();
        let login = |n: u64| json!({ "action": "login", "sessionId": n % 3 });
        let buy = |n: u64, category: &str| {
            json!({
                "action": "purchase", "userTier": "premium", "amount": 99 + n,
                "productId": n, "category": category,
            })
        };
        for n in 0..7 {
            orders.create(login(n)).await.unwrap();
        }
        for (n, category) in [
            (0, "a"),
            (1, "a"),
            (2, "b"),
            (3, "b"),
            (4, "b"),
            (5, "c"),
            (6, "a"),
        ] {
            orders.create(buy(n, category)).await.unwrap();
        }
        let view = json!({ "action": "view", "productId": 1, "brand": ["x", "y"] });
        let view = orders.create(view).await.unwrap().id;
        orders.patch(&view, json!({ "seen": 1 })).await.unwrap();
        orders.enrich(&view, json!({ "more": 1 })).await.unwrap();
        orders.delete(&view).await.unwrap();
        orders.restore_object(&view).to_ov(0).await.unwrap();
        orders.delete(&view).hard().await.unwrap();

        let totals = counters(&store).totals("events").current().await.unwrap();
        let mut json = serde_json::to_value(&totals).unwrap();
        let db_name = store.home().name();
        assert_eq!(
            json["_id"],
            format!("tenant:default|db:{db_name}|coll:events")
        );
        assert_eq!(json["dbName"], db_name);
        assert_eq!(json["lastAt"].as_str().map(str::len), Some(24));
        // The hard delete took the view's versions away before they were
        // counted, or after.
        let missed = json["missed"].take();
        let rest = 5 - missed.as_u64().unwrap();
        assert_eq!(json["created"], if rest > 0 { 15 } else { 14 });
        assert_eq!(json["purged"], 1);
        assert_eq!((&json["folded"], &json["lag"]), (&json!(20), &json!(0)));
        let purchases = json!({
            "created": 6, "updated": 0, "deleted": 0, "since": 0,
            "unique": { "productId": 6, "category": 3 },
            "by": [
                { "values": ["b"], "count": 3, "created": 3, "updated": 0, "deleted": 0,
                  "unique": { "productId": 3, "category": 1 } },
                { "values": ["a"], "count": 2, "created": 2, "updated": 0, "deleted": 0,
                  "unique": { "productId": 2, "category": 1 } },
            ],
        });
        assert_eq!(json["rules"]["premium_purchases"], purchases);
        let logins = &json["rules"]["user_logins"];
        assert_eq!(
            (&logins["created"], &logins["unique"]["sessionId"]),
            (&json!(7), &json!(3))
        );
    }
}

/// Nobody has to ask.
#[tokio::test]
async fn writes_are_counted_by_themselves() {
    for store in stores(counting(events())).await {
        let events = store.xronox.collection("events").unwrap();
        let mut last = 0;
        for n in 0..5 {
            let login = json!({ "action": "login", "sessionId": n });
            last = events.create(login).await.unwrap().cv;
        }
        counters(&store)
            .await_folded("events", last, SOON)
            .await
            .unwrap();
        let totals = counters(&store).totals("events").await.unwrap();
        assert_eq!(
            (totals.created, totals.folded, totals.lag),
            (5, last + 1, 0)
        );
        assert_eq!(totals.rules["user_logins"].unique["sessionId"].count, 5);

        let counters = counters(&store);
        let late = counters.await_folded("events", 1000, Duration::from_millis(50));
        assert!(matches!(
            late.await.unwrap_err().kind(),
            ErrorKind::Unavailable
        ));
    }
}

/// Where nobody has asked for counts, nothing is written for them.
#[tokio::test]
async fn without_rules_totals_are_counted_when_asked_for() {
    for store in stores(counting(json!([]))).await {
        let orders = store.xronox.collection("orders").unwrap();
        orders.create_with_id("a", json!({})).await.unwrap();
        orders.patch("a", json!({ "n": 1 })).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        let before = counters(&store).totals("orders").await.unwrap();
        assert_eq!((before.created, before.folded, before.lag), (0, 0, 2));
        let after = counters(&store).totals("orders").current().await.unwrap();
        assert_eq!((after.created, after.updated, after.lag), (1, 1, 0));
        let nothing = counters(&store).totals("nothing").current().await.unwrap();
        assert_eq!(
            (nothing.created, nothing.lag, nothing.last_at),
            (0, 0, None)
        );
    }
}

#[tokio::test]
async fn a_series_has_no_gaps() {
    for store in stores(counting(events())).await {
        let events = store.xronox.collection("events").unwrap();
        for n in 0..4 {
            let login = json!({ "action": "login", "sessionId": n % 2 });
            events.create(login).await.unwrap();
        }
        for (timeframe, count) in [
            (Timeframe::Hourly, 48),
            (Timeframe::Daily, 30),
            (Timeframe::Weekly, 26),
            (Timeframe::Monthly, 12),
        ] {
            let series = counters(&store).series("events", "user_logins", timeframe);
            let series = series.current().await.unwrap();
            assert_eq!(series.len(), count, "{timeframe:?}");
            assert!(series.is_sorted_by(|a, b| a.start < b.start));
            // An hour may have ended meanwhile.
            let created: u64 = series.iter().map(|period| period.created).sum();
            assert_eq!(created, 4);
            let unique = series.iter().map(|period| period.unique["sessionId"].count);
            assert!((2..=4).contains(&unique.sum::<u64>()));
        }
        let unknown = counters(&store).series("events", "no_rule", Timeframe::Daily);
        let unknown = unknown.await.unwrap_err();
        assert!(unknown.to_string().contains("no_rule"), "{unknown}");
        let long = counters(&store)
            .series("events", "user_logins", Timeframe::Hourly)
            .from("1970-01-01T00:00:00Z".parse().unwrap());
        assert!(matches!(long.await.unwrap_err().kind(), ErrorKind::Invalid));
    }
}

/// Who does not see everything is not told how much there is.
#[tokio::test]
async fn counts_are_not_for_everybody() {
    let mut settings = counting(json!([
        { "name": "by_secret", "when": {}, "by": ["secret"] },
    ]));
    let map: CollectionMap = serde_json::from_value(json!({ "hiddenFields": ["secret"] })).unwrap();
    settings.collection_maps.insert("people".to_owned(), map);
    for store in stores(settings).await {
        let people = store.xronox.collection("people").unwrap();
        people
            .create(json!({ "secret": 1, "team": "a" }))
            .await
            .unwrap();
        let home = store.home();
        let scoped = home.scoped(json!({ "team": "a" })).unwrap();
        let sealed = home.with_hidden(false);
        for handle in [&scoped, &sealed] {
            let refused = handle.counters().totals("people").await.unwrap_err();
            assert!(matches!(refused.kind(), ErrorKind::Forbidden), "{refused}");
            let series = handle
                .counters()
                .series("people", "by_secret", Timeframe::Daily);
            let refused = series.await.unwrap_err();
            assert!(matches!(refused.kind(), ErrorKind::Forbidden), "{refused}");
        }
        assert!(sealed.counters().totals("others").await.is_ok());
        let totals = home.counters().totals("people").current().await.unwrap();
        assert_eq!(totals.rules["by_secret"].by[0].values, [json!(1)]);
        let odd = home.counters().totals("no name").await.unwrap_err();
        assert!(matches!(odd.kind(), ErrorKind::Invalid), "{odd}");
    }
}

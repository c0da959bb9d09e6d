//! What a read gives for what it asks, case by case.

use serde_json::{Value, json};
use xronox::{Get, Query};

use crate::{forbidden, kind, settings, support::local_stores};

/// The options of a read.
struct Ask {
    hidden: bool,
    /// `null`: none; text: a name; else the projection itself.
    projection: Value,
}

impl Ask {
    fn get<'a>(&self, mut get: Get<'a>) -> Get<'a> {
        if self.hidden {
            get = get.include_hidden();
        }
        if !self.projection.is_null() {
            get = get.project(&self.projection);
        }
        get
    }

    fn query<'a>(&self, mut query: Query<'a>) -> Query<'a> {
        if self.hidden {
            query = query.include_hidden();
        }
        if !self.projection.is_null() {
            query = query.project(&self.projection);
        }
        query
    }
}

fn document() -> Value {
    json!({ "n": 2, "h": { "x": 3, "y": 4 }, "o": { "h": 5, "v": 6 }, "m": 7 })
}

#[tokio::test]
async fn a_read_shows_what_the_table_says() {
    let visible = json!({ "n": 2, "o": { "v": 6 }, "m": 7 });
    // the default projection; whether hidden fields are asked for; the
    // projection that is asked for; what is shown; whether `_id` is there;
    // whether a sealed handle may ask so
    let cases = [
        // Nothing is asked for: the default, else everything, minus what is hidden.
        (json!(null), false, json!(null), visible.clone(), true, true),
        (
            json!({ "include": "*", "exclude": ["h", "m"] }),
            false,
            json!(null),
            json!({ "n": 2, "o": { "v": 6 } }),
            true,
            true,
        ),
        (
            json!({ "include": "*", "exclude": [] }),
            false,
            json!(null),
            visible.clone(),
            true,
            true,
        ),
        (
            json!({ "include": ["n", "h"] }),
            false,
            json!(null),
            json!({ "n": 2 }),
            false,
            true,
        ),
        // Hidden fields are asked for, those too that the default leaves out.
        (json!(null), true, json!(null), document(), true, false),
        (
            json!({ "include": "*", "exclude": ["h", "m"] }),
            true,
            json!(null),
            json!({ "n": 2, "h": { "x": 3, "y": 4 }, "o": { "h": 5, "v": 6 } }),
            true,
            false,
        ),
        (
            json!({ "include": ["n"] }),
            true,
            json!(null),
            json!({ "n": 2, "h": { "x": 3, "y": 4 }, "o": { "h": 5 } }),
            false,
            false,
        ),
        // A projection: what it includes minus what it excludes.
        (
            json!(null),
            false,
            json!("minimal"),
            json!({ "n": 2 }),
            true,
            true,
        ),
        (
            json!({ "include": "*", "exclude": ["n"] }),
            false,
            json!("minimal"),
            json!({ "n": 2 }),
            true,
            true,
        ),
        (
            json!(null),
            false,
            json!(["n"]),
            json!({ "n": 2 }),
            false,
            true,
        ),
        (
            json!(null),
            false,
            json!({ "include": ["n", "o", "m"], "exclude": ["m"] }),
            json!({ "n": 2, "o": { "v": 6 } }),
            false,
            true,
        ),
        (
            json!(null),
            false,
            json!({ "include": "*", "exclude": ["m"] }),
            json!({ "n": 2, "o": { "v": 6 } }),
            true,
            true,
        ),
        (
            json!(null),
            false,
            json!({ "exclude": [] }),
            visible.clone(),
            true,
            true,
        ),
        // One that names a hidden path, or everything and excludes nothing.
        (
            json!(null),
            false,
            json!(["n", "h"]),
            json!({ "n": 2, "h": { "x": 3, "y": 4 } }),
            false,
            false,
        ),
        (
            json!(null),
            false,
            json!(["h.x", "o.h"]),
            json!({ "h": { "x": 3 }, "o": { "h": 5 } }),
            false,
            false,
        ),
        (
            json!(null),
            false,
            json!({ "include": ["h"], "exclude": ["h.x"] }),
            json!({ "h": { "y": 4 } }),
            false,
            false,
        ),
        (json!(null), false, json!("all"), document(), true, false),
        (json!(null), false, json!("*"), document(), true, false),
        (
            json!(null),
            false,
            json!({ "include": "*", "exclude": [] }),
            document(),
            true,
            false,
        ),
        (
            json!(null),
            false,
            json!("named"),
            json!({ "n": 2, "h": { "x": 3, "y": 4 } }),
            false,
            false,
        ),
        // Both.
        (
            json!(null),
            true,
            json!({ "exclude": ["n"] }),
            json!({ "h": { "x": 3, "y": 4 }, "o": { "h": 5, "v": 6 }, "m": 7 }),
            true,
            false,
        ),
        (
            json!(null),
            true,
            json!(["o"]),
            json!({ "o": { "h": 5, "v": 6 } }),
            false,
            false,
        ),
        (
            json!(null),
            true,
            json!("minimal"),
            json!({ "n": 2 }),
            true,
            false,
        ),
    ];
    for (default, hidden, projection, shown, with_id, sealed_too) in cases {
        let case = format!("default {default}, {hidden}, {projection}");
        let mut named = json!({
            "minimal": { "include": ["id", "n"], "exclude": [] },
            "all": { "include": "*", "exclude": [] },
            "named": { "include": ["n", "h"] }
        });
        if !default.is_null() {
            named["default"] = default;
        }
        let map = json!({ "hiddenFields": ["h", "o.h"], "projection": named });
        for store in local_stores(settings("people", map)).await {
            let people = store.xronox.collection("people").unwrap();
            people.create_with_id("a", document()).await.unwrap();
            let ask = Ask {
                hidden,
                projection: projection.clone(),
            };
            let read = ask.get(people.get_latest("a")).await.unwrap();
            assert_eq!(read.document(), shown, "{case}");
            let json = read.json();
            assert_eq!(json.get("_id").is_some(), with_id, "{case}");
            let found = ask.query(people.query(json!({}))).await.unwrap();
            assert_eq!(found.items[0].json(), json, "{case}");

            let sealed = people.with_hidden(false);
            let read = ask.get(sealed.get_latest("a")).await;
            let found = ask.query(sealed.query(json!({}))).await;
            if sealed_too {
                assert_eq!(read.unwrap().json(), json, "{case}");
                assert_eq!(found.unwrap().items[0].json(), json, "{case}");
            } else {
                forbidden(read, "");
                forbidden(found, "");
            }
        }
    }
}

#[tokio::test]
async fn system_fields_come_with_everything_or_by_name() {
    for store in crate::near().await {
        let people = crate::people(&store).await;
        let read = people.get_latest("a").await.unwrap().json();
        assert_eq!(
            (&read["_id"], &read["_system"]["ov"]),
            (&json!("a"), &json!(0))
        );
        let read = people.get_latest("a").project(["n", "_system.ov"]).await;
        assert_eq!(
            read.unwrap().json(),
            json!({ "n": 1, "_system": { "ov": 0 } })
        );
        let read = people.get_latest("a").project(["id"]).await.unwrap();
        assert_eq!(read.json(), json!({ "_id": "a" }));
    }
}

#[tokio::test]
async fn an_unknown_name_is_told_with_the_known_ones() {
    for store in crate::near().await {
        let people = crate::people(&store).await;
        for handle in [people.clone(), people.with_hidden(false)] {
            let refused = handle.get_latest("a").project("minimum").await;
            let error = refused.unwrap_err();
            assert_eq!(error.kind(), &xronox::ErrorKind::Invalid);
            let said = error.to_string();
            for name in ["`minimum`", "`all`", "`minimal`", "`named`"] {
                assert!(said.contains(name), "{said}");
            }
        }
        // `default` is one of them only if it is configured.
        let refused = people.query(json!({})).project("default").await;
        assert_eq!(kind(refused), xronox::ErrorKind::Invalid);
        let other = store.xronox.collection("others").unwrap();
        let error = other.query(json!({})).project("minimal").await.unwrap_err();
        assert!(error.to_string().contains("has none"), "{error}");
    }
}

#[tokio::test]
async fn what_is_no_projection_is_refused() {
    for store in crate::near().await {
        let people = crate::people(&store).await;
        for wrong in [
            json!(["a..b"]),
            json!({ "includes": [] }),
            json!(1),
            json!(["*"]),
        ] {
            let refused = people.get_latest("a").project(&wrong).await;
            assert_eq!(kind(refused), xronox::ErrorKind::Invalid, "{wrong}");
            let refused = people.query(json!({})).project(&wrong).stream().await;
            let Err(error) = refused else {
                panic!("{wrong}")
            };
            assert_eq!(error.kind(), &xronox::ErrorKind::Invalid, "{wrong}");
        }
    }
}

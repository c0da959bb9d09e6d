//! What outlives a write that does not name it.

use futures::future::join_all;
use serde_json::{Value, json};
use xronox::{Collection, ErrorKind, Op};

use crate::{kind, near, people, stored, stores, support::Store};

/// A plain handle and a sealed one, each on a store of its own.
async fn handles() -> Vec<(Store, Collection, Collection)> {
    let mut handles = Vec::new();
    for sealed in [false, true] {
        for store in near().await {
            let all = people(&store).await;
            let handle = if sealed {
                all.with_hidden(false)
            } else {
                all.clone()
            };
            handles.push((store, all, handle));
        }
    }
    handles
}

#[tokio::test]
async fn an_update_keeps_what_its_handle_does_not_show() {
    for (_store, all, handle) in handles().await {
        // Read, change, write back: what everybody does.
        let mut document = handle.get_latest("a").await.unwrap().json();
        document["n"] = json!(2);
        document["o"]["w"] = json!(4);
        document["l"].as_array_mut().unwrap().reverse();
        let written = handle.update("a", &document).expected_ov(0).await.unwrap();
        assert_eq!((written.ov, written.op), (1, Op::Update));
        let mut expected = json!({
            "n": 2,
            "h": { "x": 1, "y": 2 },
            "o": { "h": "secret", "v": 3, "w": 4 },
            "l": [{ "id": 2, "s": "c" }, { "id": 1, "s": "a", "t": "b" }],
        });
        assert_eq!(stored(&all, "a").await, expected);

        // As it is shown, and nothing is written.
        let same = handle.get_latest("a").await.unwrap().document();
        assert!(handle.update("a", same).await.unwrap().unchanged);
        let read = handle.get_version("a", 0).await.unwrap().document();
        handle.update("a", read).await.unwrap();
        expected = crate::whole();
        assert_eq!(stored(&all, "a").await, expected);

        handle.update("a", json!({})).await.unwrap();
        let kept = json!({ "h": { "x": 1, "y": 2 }, "o": { "h": "secret" } });
        assert_eq!(stored(&all, "a").await, kept);
        assert!(all.verify().await.unwrap().clean());
    }
}

#[tokio::test]
async fn an_update_that_gives_it_sets_it() {
    for store in stores().await {
        let people = people(&store).await;
        let given = json!({ "h": 5, "o": { "h": null }, "l": [{ "id": 2, "s": "d" }] });
        people.update("a", &given).await.unwrap();
        assert_eq!(stored(&people, "a").await, given);
        // By its name it goes.
        let gone = json!({ "$unset": ["h", "o.h", "l.0.s"] });
        people.patch("a", gone).await.unwrap();
        assert_eq!(
            stored(&people, "a").await,
            json!({ "o": {}, "l": [{ "id": 2 }] })
        );
        people.update("a", json!({ "n": 1 })).await.unwrap();
        assert_eq!(stored(&people, "a").await, json!({ "n": 1 }));
    }
}

#[tokio::test]
async fn patches_and_enrichments_keep_it() {
    for (_store, all, handle) in handles().await {
        handle
            .patch("a", json!({ "o": { "v": 9 }, "$unset": ["n"] }))
            .await
            .unwrap();
        let mut expected = crate::whole();
        expected["o"]["v"] = json!(9);
        expected.as_object_mut().unwrap().remove("n");
        assert_eq!(stored(&all, "a").await, expected);

        let found = json!({ "o": { "w": 1 }, "l": [{ "id": 2, "u": 3 }, { "id": 4 }] });
        handle.enrich("a", found).await.unwrap();
        expected["o"]["w"] = json!(1);
        expected["l"][1]["u"] = json!(3);
        expected["l"]
            .as_array_mut()
            .unwrap()
            .push(json!({ "id": 4 }));
        assert_eq!(stored(&all, "a").await, expected);

        // An object of which a scalar is made has no place for it.
        let before = all.get_latest("a").await.unwrap().ov();
        for refused in [
            handle.patch("a", json!({ "o": 1 })).await,
            handle.update("a", json!({ "o": null })).await,
            handle.enrich("a", json!({ "o": 1 })).await,
        ] {
            assert_eq!(kind(refused), ErrorKind::Invalid);
        }
        assert_eq!(all.get_latest("a").await.unwrap().ov(), before);
    }
}

/// What was read and is merged back is there already, whatever is hidden in it.
#[tokio::test]
async fn what_comes_back_is_not_added_again() {
    for store in stores().await {
        let people = store.xronox.collection("people").unwrap();
        let lines = json!([{ "n": 1, "s": "a" }, { "n": 1, "s": "b" }, { "n": 2, "s": "c" }]);
        let document = json!({ "h": 1, "o": { "h": { "x": 1 } }, "l": lines });
        people.create_with_id("a", document.clone()).await.unwrap();
        for handle in [people.clone(), people.with_hidden(false)] {
            let read = handle.get_latest("a").await.unwrap().document();
            let merged = handle.enrich("a", read).await.unwrap();
            assert!(merged.unchanged);
        }
        let sealed = people.with_hidden(false);
        let more = json!({ "l": [{ "n": 2 }, { "n": 3 }] });
        sealed.enrich("a", more).await.unwrap();
        let mut expected = document;
        expected["l"]
            .as_array_mut()
            .unwrap()
            .push(json!({ "n": 3 }));
        assert_eq!(stored(&people, "a").await, expected);
        // Whoever names what is hidden merges into that.
        let named = json!({ "o": { "h": { "y": 2 } }, "l": [{ "n": 2, "s": "c" }] });
        people.enrich("a", named).await.unwrap();
        expected["o"]["h"]["y"] = json!(2);
        assert_eq!(stored(&people, "a").await, expected);
    }
}

#[tokio::test]
async fn a_smart_insert_keeps_it() {
    for store in stores().await {
        let people = store.xronox.collection("people").unwrap();
        let first = json!({ "k": 1, "h": "secret", "o": { "h": 2 } });
        people.smart_insert(first, ["k"]).await.unwrap();
        let sealed = people.with_hidden(false);
        let second = sealed.smart_insert(json!({ "k": 1, "o": { "v": 3 } }), ["k"]);
        let second = second.await.unwrap();
        assert_eq!(second.op, Op::Enrich);
        let found = stored(&people, &second.id.to_string()).await;
        assert_eq!(
            found,
            json!({ "k": 1, "h": "secret", "o": { "h": 2, "v": 3 } })
        );
    }
}

#[tokio::test]
async fn updates_that_meet_take_turns() {
    for (_store, all, handle) in handles().await {
        let updates = (0..40).map(|n| {
            let (all, handle) = (&all, &handle);
            async move {
                if n % 4 == 0 {
                    let hidden = format!("h.n{n}");
                    all.patch("a", json!({ hidden: n })).await.unwrap();
                } else {
                    handle.update("a", json!({ "n": 100 + n })).await.unwrap();
                }
            }
        });
        join_all(updates).await;
        let end = stored(&all, "a").await;
        let mut hidden = json!({ "x": 1, "y": 2 });
        for n in (0..40).step_by(4) {
            hidden[format!("n{n}")] = json!(n);
        }
        assert_eq!(end["h"], hidden);
        assert_eq!(end["o"], json!({ "h": "secret" }));
        let versions = all.history("a").await.unwrap();
        assert_eq!(versions.len(), 41);
        // In no version was any of it lost.
        let mut known = 0;
        for ov in 0..=40 {
            let version = all.get_version("a", ov).include_hidden().await.unwrap();
            let fields = version.document()["h"].as_object().unwrap().len();
            assert!(fields >= known, "{ov}");
            known = fields;
        }
    }
}

#[tokio::test]
async fn a_repeated_request_is_answered_alike() {
    for (_store, all, handle) in handles().await {
        let ask = |n: u64| handle.update("a", json!({ "n": n })).idempotency_key("k");
        let first = ask(5).await.unwrap();
        all.patch("a", json!({ "h": 0 })).await.unwrap();
        assert_eq!(ask(5).await.unwrap().ov, first.ov);
        assert_eq!(kind(ask(6).await), ErrorKind::Invalid);
        let late = handle.update("a", json!({})).expected_ov(first.ov).await;
        let conflict = ErrorKind::Conflict {
            expected: 1,
            actual: 2,
        };
        assert_eq!(kind(late), conflict);
        all.delete("a").await.unwrap();
        assert_eq!(
            kind(handle.update("a", json!({})).await),
            ErrorKind::Deleted
        );
        assert_eq!(
            kind(handle.update("none", json!({})).await),
            ErrorKind::NotFound
        );
    }
}

#[tokio::test]
async fn an_import_by_key_keeps_it() {
    for (_store, all, handle) in handles().await {
        let rows = (0..600).map(|n| json!({ "k": n, "h": format!("h{n}"), "o": { "h": n } }));
        for made in all.create_many(rows).await.unwrap() {
            made.unwrap();
        }
        let mut import = handle
            .import()
            .key("k".parse().unwrap())
            .start()
            .await
            .unwrap();
        for n in 300..900 {
            import
                .add(json!({ "k": n, "v": 1, "o": { "v": n } }))
                .await
                .unwrap();
            // The same again, later ones over earlier ones.
            if n % 7 == 0 {
                import
                    .add(json!({ "k": n, "v": 2, "o": {} }))
                    .await
                    .unwrap();
                import
                    .add(json!({ "k": n, "v": 3, "o": {} }))
                    .await
                    .unwrap();
            }
        }
        let report = import.finish().await.unwrap();
        assert_eq!(report.created, 300);
        assert_eq!(
            report.total(),
            600 + 2 * (300..900).filter(|n| n % 7 == 0).count() as u64
        );

        let find = store_documents(&all).await;
        assert_eq!(find.len(), 900);
        for (n, document) in find.into_iter().enumerate() {
            let (h, last) = (format!("h{n}"), if n % 7 == 0 { 3 } else { 1 });
            let mut expected = json!({ "k": n, "o": {} });
            if n < 600 {
                expected["h"] = json!(h);
                expected["o"]["h"] = json!(n);
            }
            if n >= 300 {
                expected["v"] = json!(last);
                if last == 1 {
                    expected["o"]["v"] = json!(n);
                }
            }
            assert_eq!(document, expected);
        }
        // The same again changes nothing.
        let mut import = handle
            .import()
            .key("k".parse().unwrap())
            .start()
            .await
            .unwrap();
        import
            .add(json!({ "k": 301, "v": 3, "o": {} }))
            .await
            .unwrap();
        assert_eq!(import.finish().await.unwrap().unchanged, 1);
        assert!(all.verify().await.unwrap().clean());
    }
}

/// The documents that have a `k`, in its order.
async fn store_documents(people: &Collection) -> Vec<Value> {
    use futures::TryStreamExt;
    let query = people
        .query(json!({ "k": { "$exists": true } }))
        .include_hidden();
    let found = query.sort("k", xronox::Direction::Ascending).stream().await;
    let found = found.unwrap().map_ok(|record| record.document());
    found.try_collect().await.unwrap()
}

#[tokio::test]
async fn an_import_by_id_meets_the_deleted() {
    for (_store, all, handle) in handles().await {
        all.create_with_id("gone", json!({ "h": 1 })).await.unwrap();
        all.delete("gone").await.unwrap();
        let mut import = handle
            .import()
            .id_from("_id".parse().unwrap())
            .start()
            .await
            .unwrap();
        import.add(json!({ "_id": "a", "n": 7 })).await.unwrap();
        import.add(json!({ "_id": "gone", "n": 8 })).await.unwrap();
        import.add(json!({ "_id": "new", "n": 9 })).await.unwrap();
        let error = import.finish().await.unwrap_err();
        assert_eq!(
            (error.kind(), error.position()),
            (&ErrorKind::Deleted, Some(2))
        );
        let kept = json!({ "n": 7, "h": { "x": 1, "y": 2 }, "o": { "h": "secret" } });
        assert_eq!(stored(&all, "a").await, kept);
        assert_eq!(stored(&all, "new").await, json!({ "n": 9 }));
    }
}

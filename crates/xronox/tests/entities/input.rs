//! What makes no sense says where, and leaves nothing behind.

use serde_json::{Value, json};
use xronox::{DatabaseType, EntityMapping, ErrorKind, Settings};

use crate::{mappings, support::local_stores};

#[tokio::test]
async fn entities_that_are_none_are_refused() {
    for store in local_stores(Settings::default()).await {
        let orders = store.xronox.collection("orders").unwrap();
        let mut deep = json!("x");
        for _ in 0..50 {
            deep = json!({ "a": deep });
        }
        for (document, place) in [
            (json!({ "customer": "C-1" }), "`customer`"),
            (json!({ "customer": [1] }), "`customer.0`"),
            (json!({ "customer": {} }), "`customer.customerId`"),
            (
                json!({ "customer": { "customerId": null } }),
                "`customer.customerId`",
            ),
            (
                json!({ "customer": { "customerId": ["C"] } }),
                "`customer.customerId`",
            ),
            (
                json!({ "customer": { "customerId": [] } }),
                "`customer.customerId`",
            ),
            (
                json!({ "customer": { "customerId": { "$ne": 1 } } }),
                "`customer.customerId`",
            ),
            (
                json!({ "customer": { "customerId": deep } }),
                "`customer.customerId`",
            ),
            (
                json!({ "customer": { "customerId": "x".repeat(5000) } }),
                "`customer.customerId`",
            ),
            (
                json!({ "lines": [{ "product": { "productId": 1 } }, { "product": 2 }] }),
                "`lines.1.product`",
            ),
        ] {
            let refused = orders.insert_with_entities(document, &mappings()).await;
            let error = refused.unwrap_err();
            assert_eq!(*error.kind(), ErrorKind::Invalid, "{error}");
            assert!(error.to_string().contains(place), "{place}: {error}");
        }
        let many: Vec<Value> = (0..201)
            .map(|n| json!({ "product": { "productId": n } }))
            .collect();
        let refused = orders
            .insert_with_entities(json!({ "lines": many }), &mappings())
            .await;
        assert_eq!(*refused.unwrap_err().kind(), ErrorKind::Invalid);
        for name in ["orders", "customers", "products"] {
            let collection = store.xronox.collection(name).unwrap();
            assert_eq!(
                collection.count(json!({})).await.unwrap().count,
                0,
                "{name}"
            );
        }
        // Whatever JSON allows as a name is one.
        let odd = json!({ "customer": { "customerId": "__proto__", "__proto__": { "x": 1 }, "constructor": 2, "$set": { "a.b": 1 } } });
        let made = orders
            .insert_with_entities(odd.clone(), &mappings())
            .await
            .unwrap();
        let read = orders
            .get_with_entities(&made.main_record_id, &mappings())
            .await
            .unwrap();
        let customer = read.entity_records[&"customer".parse().unwrap()]
            .as_ref()
            .unwrap();
        assert_eq!(customer.document(), odd["customer"]);
    }
}

/// However large the records of the entities are, one request holds little of
/// them.
#[tokio::test]
async fn entities_that_are_too_large_together_are_refused() {
    let store = local_stores(Settings::default()).await.remove(0);
    let orders = store.xronox.collection("orders").unwrap();
    let products = store.xronox.collection("products").unwrap();
    let fill = "x".repeat(15 << 20);
    let mut lines = Vec::new();
    for n in 0..5 {
        let product = json!({ "productId": n, "fill": fill });
        products.smart_insert(product, ["productId"]).await.unwrap();
        lines.push(json!({ "product": { "productId": n } }));
    }
    let order = json!({ "lines": lines });
    let made = orders.create(&order).await.unwrap();
    for error in [
        orders
            .insert_with_entities(&order, &mappings())
            .await
            .unwrap_err(),
        orders
            .get_with_entities(&made.id, &mappings())
            .await
            .unwrap_err(),
        orders
            .get_with_entities(&made.id, &mappings())
            .as_of(made.at)
            .await
            .unwrap_err(),
    ] {
        assert_eq!(*error.kind(), ErrorKind::Invalid, "{error}");
    }
    assert_eq!(orders.count(json!({})).await.unwrap().count, 1);
}

#[tokio::test]
async fn mappings_that_lead_nowhere_are_refused() {
    let store = local_stores(Settings::default()).await.remove(0);
    let orders = store.xronox.collection("orders").unwrap();
    let of = EntityMapping::new;
    for (mappings, place) in [
        (vec![of("", "customers", "id")], "mappings.0.property"),
        (
            vec![of("a", "customers", "id"), of("b", "no/collection", "id")],
            "mappings.1.collection",
        ),
        (vec![of("a", "customers", "a..b")], "mappings.0.keyProperty"),
        (
            vec![of("a", "customers", "id"), of("a", "others", "id")],
            "mappings.1.property",
        ),
        (
            vec![of("a", "logs", "id").database_type(DatabaseType::Logs)],
            "mappings.0.databaseType",
        ),
        (vec![of("a", "x", "id").generic()], "mappings.0.tier"),
        (
            vec![
                serde_json::from_value(json!({
                    "property": "a", "collection": "x", "keyProperty": "id",
                    "databaseType": "knowledge", "tier": "domain",
                }))
                .unwrap(),
            ],
            "mappings.0.tier",
        ),
        (
            vec![
                serde_json::from_value(json!({
                    "property": "a", "collection": "x", "keyProperty": "id",
                    "tier": "tenant", "domain": "d",
                }))
                .unwrap(),
            ],
            "mappings.0.domain",
        ),
    ] {
        let document = json!({ "a": { "id": 1 }, "b": { "id": 2 } });
        let refused = orders.insert_with_entities(document, &mappings).await;
        let error = refused.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains(place), "{place}: {error}");
    }
    let unknown =
        json!({ "property": "a", "collection": "x", "keyProperty": "id", "tenantId": "other" });
    assert!(serde_json::from_value::<EntityMapping>(unknown).is_err());

    // One record under two keys is told, not guessed.
    let mappings = [of("a", "people", "id"), of("b", "people", "email")];
    let both = json!({ "a": { "id": 1, "email": "x@y" } });
    orders.insert_with_entities(both, &mappings).await.unwrap();
    let both = json!({ "a": { "id": 1, "n": 1 }, "b": { "email": "x@y", "n": 2 } });
    let error = orders
        .insert_with_entities(both, &mappings)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("same record"), "{error}");
    // Two that would be one are refused by the key that they share.
    let both = json!({ "a": { "id": 2, "email": "z@y" }, "b": { "email": "z@y" } });
    let error = orders
        .insert_with_entities(both, &mappings)
        .await
        .unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::AlreadyExists, "{error}");
    // What the entity's own collection demands is told at the place.
    let reports = [of("boss", "orders", "id")];
    let made = orders
        .insert_with_entities(json!({ "id": 7, "boss": { "id": 8 } }), &reports)
        .await
        .unwrap();
    assert_eq!(
        orders
            .count(json!({ "id": { "$in": [7, 8] } }))
            .await
            .unwrap()
            .count,
        2
    );
    assert_eq!(made.main.ov, 0);
    let own = json!({ "id": 9, "boss": { "id": 9 } });
    let error = orders
        .insert_with_entities(own, &reports)
        .await
        .unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::AlreadyExists, "{error}");
}

//! What is inserted, and what is read back.

use serde_json::{Value, json};
use xronox::{EntityOperation::*, ErrorKind, Moment, Settings};

use crate::{
    mappings, operations,
    support::{local_stores, stores},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entities_are_created_merged_into_and_left_alone() {
    for store in stores(Settings::default()).await {
        let orders = store.xronox.collection("orders").unwrap();
        let order = json!({
            "orderId": "ORD-123",
            "customer": { "customerId": "CUST-456", "name": "Ann", "tags": ["new"] },
            "lines": [
                { "n": 1, "product": { "productId": "P-1", "price": 99.5 } },
                { "n": 2, "product": { "productId": "P-2", "price": 5 } },
                { "n": 3, "product": { "productId": "P-1", "colour": "red" } },
                { "n": 4, "product": null },
                { "n": 5 },
            ],
        });
        let insert = orders.insert_with_entities(order.clone(), &mappings());
        let first = insert.actor("service:shop").reason("a sale").await.unwrap();
        let places = [
            "customer",
            "lines.0.product",
            "lines.1.product",
            "lines.2.product",
        ];
        assert_eq!(
            operations(&first),
            places.map(|place| (place.to_owned(), Created))
        );
        let told = serde_json::to_value(&first).unwrap();
        assert_eq!(told["mainRecordId"], json!(first.main.id));
        assert_eq!(told["entityResults"]["customer"]["operation"], "created");

        // The document is as it was given, and each entity a record of its own.
        let read = orders.get_latest(&first.main_record_id).await.unwrap();
        assert_eq!(read.document(), order);
        let products = store.xronox.collection("products").unwrap();
        let p1 = &first.entity_results[&"lines.2.product".parse().unwrap()].id;
        let p1 = products.get_latest(p1).await.unwrap();
        assert_eq!(
            p1.document(),
            json!({ "productId": "P-1", "price": 99.5, "colour": "red" })
        );
        assert_eq!(p1.ov(), 0, "what is said of one entity is one version");
        let history = products.history(p1.id().clone()).await.unwrap();
        assert_eq!(history[0].reason.as_deref(), Some("a sale"));
        assert_eq!(
            history[0].actor.as_ref().unwrap().to_string(),
            "service:shop"
        );

        // The same again changes nothing of them; something new is merged in.
        let again = orders
            .insert_with_entities(order, &mappings())
            .await
            .unwrap();
        assert!(
            operations(&again)
                .iter()
                .all(|(_, done)| *done == Unchanged)
        );
        let more = json!({ "customer": { "customerId": "CUST-456", "tags": ["loyal"] } });
        let more = orders
            .insert_with_entities(more, &mappings())
            .await
            .unwrap();
        assert_eq!(operations(&more), [("customer".to_owned(), Updated)]);

        let all = orders
            .get_with_entities(&first.main_record_id, &mappings())
            .await
            .unwrap();
        let customer = all.entity_records[&"customer".parse().unwrap()].as_ref();
        assert_eq!(
            customer.unwrap().document(),
            json!({ "customerId": "CUST-456", "name": "Ann", "tags": ["new", "loyal"] })
        );
        assert_eq!(
            all.main_record.document()["customer"]["tags"],
            json!(["new"])
        );
        assert_eq!(all.entity_records.len(), 4);
        let told = serde_json::to_value(&all).unwrap();
        assert_eq!(told["entityRecords"]["lines.1.product"]["price"], 5);
        assert_eq!(told["mainRecord"]["orderId"], "ORD-123");
        assert!(store.home().verify().await.unwrap().clean());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_leaves_nothing() {
    for store in stores(Settings::default()).await {
        let orders = store.xronox.collection("orders").unwrap();
        let customers = store.xronox.collection("customers").unwrap();
        orders.ensure_unique(["number"]).await.unwrap();
        let order = |name: &str, id: &str| json!({ "number": 7, "customer": { "customerId": id, "name": name } });
        let first = orders
            .insert_with_entities(order("Ann", "C-1"), &mappings())
            .await
            .unwrap();
        // The number is taken, so neither a new customer nor a changed one is left.
        for id in ["C-2", "C-1"] {
            let refused = orders.insert_with_entities(order("Bob", id), &mappings());
            let error = refused.await.unwrap_err();
            assert_eq!(*error.kind(), ErrorKind::AlreadyExists, "{error}");
        }
        let all = customers.query(json!({})).await.unwrap().items;
        let all: Vec<Value> = all.iter().map(xronox::Record::document).collect();
        assert_eq!(all, [json!({ "customerId": "C-1", "name": "Ann" })]);
        assert_eq!(orders.count(json!({})).await.unwrap().count, 1);
        let customer = &first.entity_results[&"customer".parse().unwrap()];
        let history = customers.history(&customer.id).await.unwrap();
        assert_eq!(history.len(), 1, "nothing was written before the order was");
        let report = store.home().resume_insertions().await.unwrap();
        assert_eq!(report, xronox::ResumedInsertions::default());
        assert!(store.home().verify().await.unwrap().clean());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_request_inserts_once() {
    for store in stores(Settings::default()).await {
        let orders = store.xronox.collection("orders").unwrap();
        let order = |name: &str| json!({ "customer": { "customerId": 1, "name": name } });
        let insert = async |name: &str| {
            let insert = orders.insert_with_entities(order(name), &mappings());
            insert.idempotency_key("request 1").await
        };
        let first = insert("Ann").await.unwrap();
        let customers = store.xronox.collection("customers").unwrap();
        let customer = first.entity_results[&"customer".parse().unwrap()]
            .id
            .clone();
        customers
            .patch(&customer, json!({ "name": "Anna" }))
            .await
            .unwrap();
        let second = insert("Ann").await.unwrap();
        assert_eq!(second.main, first.main);
        let name = customers.get_latest(&customer).await.unwrap();
        assert_eq!(name.document()["name"], "Anna");
        let other = insert("Bob").await.unwrap_err();
        assert_eq!(*other.kind(), ErrorKind::Invalid, "{other}");
        assert_eq!(orders.count(json!({})).await.unwrap().count, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_past_and_what_is_gone_are_told() {
    for store in stores(Settings::default()).await {
        let orders = store.xronox.collection("orders").unwrap();
        let order = json!({ "customer": { "customerId": "C-1", "n": 1 } });
        let made = orders
            .insert_with_entities(order, &mappings())
            .await
            .unwrap();
        let place = "customer".parse().unwrap();
        let customer = made.entity_results[&place].id.clone();
        let customers = store.xronox.collection("customers").unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        let deleted = customers.delete(&customer).await.unwrap();
        let id = &made.main_record_id;
        let read = orders.get_with_entities(id, &mappings()).await.unwrap();
        assert!(read.entity_records[&place].is_none());
        let before = deleted.at.plus_millis(-1);
        let read = orders
            .get_with_entities(id, &mappings())
            .as_of(before)
            .await
            .unwrap();
        let then = read.entity_records[&place].as_ref().unwrap();
        assert_eq!(
            (then.id(), then.document()["n"].as_u64()),
            (&customer, Some(1))
        );
        let wrong = orders
            .get_with_entities(id, &mappings())
            .as_of(Moment::Cv(0))
            .await;
        assert_eq!(*wrong.unwrap_err().kind(), ErrorKind::Invalid);
        // Its key is free again.
        let next = json!({ "customer": { "customerId": "C-1" } });
        let next = orders
            .insert_with_entities(next, &mappings())
            .await
            .unwrap();
        assert_eq!(operations(&next), [("customer".to_owned(), Created)]);
        assert_ne!(next.entity_results[&place].id, customer);
    }
}

#[tokio::test]
async fn what_is_hidden_stays_hidden() {
    let mut settings = Settings::default();
    for (collection, map) in [
        (
            "orders",
            json!({ "hiddenFields": ["buyer"], "projection": { "short": ["total"] } }),
        ),
        ("customers", json!({ "hiddenFields": ["salary"] })),
    ] {
        let map = serde_json::from_value(map).unwrap();
        settings.collection_maps.insert(collection.to_owned(), map);
    }
    let mappings = [
        xronox::EntityMapping::new("customer", "customers", "id"),
        xronox::EntityMapping::new("buyer", "customers", "id"),
    ];
    for store in local_stores(settings.clone()).await {
        let orders = store.xronox.collection("orders").unwrap();
        let order = json!({
            "total": 1,
            "customer": { "id": "a", "salary": 5000 },
            "buyer": { "id": "b", "salary": 6000 },
        });
        let made = orders.insert_with_entities(order, &mappings).await.unwrap();
        let id = &made.main_record_id;
        let places = |read: &xronox::WithEntities| -> Vec<String> {
            read.entity_records
                .keys()
                .map(ToString::to_string)
                .collect()
        };
        let read = orders.get_with_entities(id, &mappings).await.unwrap();
        assert_eq!(places(&read), ["customer"]);
        let shown = |read: &xronox::WithEntities| {
            read.entity_records[&"customer".parse().unwrap()]
                .as_ref()
                .unwrap()
                .document()
        };
        assert_eq!(shown(&read), json!({ "id": "a" }));
        let read = orders
            .get_with_entities(id, &mappings)
            .project("short")
            .await
            .unwrap();
        assert_eq!(read.main_record.document(), json!({ "total": 1 }));
        assert_eq!(places(&read), ["customer"]);
        let read = orders
            .get_with_entities(id, &mappings)
            .include_hidden()
            .await
            .unwrap();
        assert_eq!(places(&read), ["buyer", "customer"]);
        assert_eq!(shown(&read)["salary"], 5000);

        // What is merged in keeps what it does not name; sealed, it cannot name it.
        let sealed = orders.with_hidden(false);
        let more = |salary: Option<u64>| {
            let mut customer = json!({ "id": "a", "city": "Bern" });
            if let Some(salary) = salary {
                customer["salary"] = json!(salary);
            }
            json!({ "customer": customer })
        };
        let refused = sealed.insert_with_entities(more(Some(1)), &mappings).await;
        assert_eq!(*refused.unwrap_err().kind(), ErrorKind::Forbidden);
        sealed
            .insert_with_entities(more(None), &mappings)
            .await
            .unwrap();
        let read = orders
            .get_with_entities(id, &mappings)
            .include_hidden()
            .await
            .unwrap();
        assert_eq!(
            shown(&read),
            json!({ "id": "a", "city": "Bern", "salary": 5000 })
        );
        // Nor can a record be found by what is hidden in it.
        let by_salary = [xronox::EntityMapping::new("probe", "customers", "salary")];
        let probe = json!({ "probe": { "salary": 5000 } });
        let probe = sealed.create(probe).await.unwrap().id;
        let peek = sealed.get_with_entities(&probe, &by_salary).await;
        assert_eq!(*peek.unwrap_err().kind(), ErrorKind::Forbidden);
        let peek = sealed
            .get_with_entities(id, &mappings)
            .include_hidden()
            .await;
        assert_eq!(*peek.unwrap_err().kind(), ErrorKind::Forbidden);
    }
}

#[tokio::test]
async fn a_scope_holds_for_entities() {
    for store in local_stores(Settings::default()).await {
        let orders = store.xronox.collection("orders").unwrap();
        let order = |shop: &str, of: &str| json!({ "shop": shop, "customer": { "shop": of, "customerId": "C" } });
        let theirs = orders
            .insert_with_entities(order("theirs", "theirs"), &mappings())
            .await
            .unwrap();
        let ours = orders.scoped(json!({ "shop": "ours" })).unwrap();
        for (document, kind) in [
            (order("ours", "ours"), ErrorKind::AlreadyExists),
            (order("ours", "theirs"), ErrorKind::AlreadyExists),
            (order("theirs", "ours"), ErrorKind::Forbidden),
            (
                json!({ "shop": "ours", "customer": { "customerId": "D" } }),
                ErrorKind::Forbidden,
            ),
        ] {
            let refused = ours.insert_with_entities(document, &mappings()).await;
            let error = refused.unwrap_err();
            assert_eq!(*error.kind(), kind, "{error}");
            let customer = &theirs.entity_results[&"customer".parse().unwrap()].id;
            assert!(
                !error.to_string().contains(&customer.to_string()),
                "{error}"
            );
        }
        let unseen = ours
            .get_with_entities(&theirs.main_record_id, &mappings())
            .await;
        assert_eq!(*unseen.unwrap_err().kind(), ErrorKind::NotFound);
        let customers = store.xronox.collection("customers").unwrap();
        assert_eq!(customers.count(json!({})).await.unwrap().count, 1);
    }
}

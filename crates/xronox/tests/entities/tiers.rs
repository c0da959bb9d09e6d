//! Entities in other databases than the main record.

use serde_json::json;
use xronox::{Collection, Config, Context, DatabaseType, EntityMapping, ErrorKind, Xronox};

/// The example of an order whose customer is the tenant's metadata and whose
/// product is knowledge of a domain.
fn mappings() -> Vec<EntityMapping> {
    serde_json::from_value(json!([
        {
            "property": "customer", "collection": "customers", "keyProperty": "customerId",
            "databaseType": "metadata", "tier": "tenant",
        },
        {
            "property": "product", "collection": "products", "keyProperty": "productId",
            "databaseType": "knowledge", "tier": "domain", "domain": "retail",
        },
    ]))
    .unwrap()
}

async fn store() -> Xronox {
    let database =
        |name: &str| json!({ "dbConnRef": "main", "spaceConnRef": "objects", "dbName": name });
    let with = |mut database: serde_json::Value, key: &str, value: &str| {
        database[key] = json!(value);
        database
    };
    let config = Config::from_value(json!({
        "dbConnections": { "main": { "mongoUri": "memory:" } },
        "spacesConnections": { "objects": { "endpoint": "memory:" } },
        "collectionMaps": { "products": { "base64Props": {
            "manual": { "contentType": "text/plain" },
        } } },
        "databases": {
            "metadata": {
                "genericDatabase": database("app"),
                "tenantDatabases": [
                    with(database("meta_acme"), "tenantId", "acme"),
                    with(database("meta_globex"), "tenantId", "globex"),
                ],
            },
            "knowledge": { "domainsDatabases": [with(database("retail"), "domain", "retail")] },
            "runtime": { "tenantDatabases": [
                with(database("run_acme"), "tenantId", "acme"),
                with(database("run_globex"), "tenantId", "globex"),
            ] },
        },
    }));
    Xronox::open(config.unwrap()).await.unwrap()
}

async fn collection(xronox: &Xronox, context: Context, name: &str) -> Collection {
    let database = xronox.with(context).await.unwrap();
    database.collection(name).unwrap()
}

#[tokio::test]
async fn entities_are_found_across_databases() {
    let xronox = store().await;
    let orders = collection(&xronox, Context::runtime("acme"), "orders").await;
    let order = json!({
        "orderId": "ORD-123",
        "customer": { "customerId": "CUST-456", "name": "John", "email": "john@example.com" },
        "product": { "productId": "PROD-789", "name": "Widget", "price": 99.99 },
        "quantity": 2,
    });
    // What others share is written only where that is granted, and then nothing
    // else was written before.
    let refused = orders
        .insert_with_entities(order.clone(), &mappings())
        .await;
    let error = refused.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Forbidden, "{error}");
    let customers = collection(&xronox, Context::metadata().tenant("acme"), "customers").await;
    assert_eq!(customers.count(json!({})).await.unwrap().count, 0);

    let insert = orders.insert_with_entities(order.clone(), &mappings());
    let made = insert.grant_shared_tiers().await.unwrap();
    assert_eq!(customers.count(json!({})).await.unwrap().count, 1);
    let products = collection(&xronox, Context::knowledge().domain("retail"), "products").await;
    let found = products
        .query(json!({ "productId": "PROD-789" }))
        .await
        .unwrap();
    assert_eq!(found.items[0].document(), order["product"]);
    // Reading needs no grant.
    let read = orders
        .get_with_entities(&made.main_record_id, &mappings())
        .await
        .unwrap();
    for place in ["customer", "product"] {
        let record = read.entity_records[&place.parse().unwrap()]
            .as_ref()
            .unwrap();
        assert_eq!(record.document(), order[place]);
    }

    // Another tenant has the product in common, and nothing else.
    let theirs = collection(&xronox, Context::runtime("globex"), "orders").await;
    let insert = theirs.insert_with_entities(order, &mappings());
    let other = insert.grant_shared_tiers().await.unwrap();
    let [customer, product] = ["customer", "product"].map(|place| place.parse().unwrap());
    assert_eq!(
        other.entity_results[&product].id,
        made.entity_results[&product].id
    );
    assert_ne!(
        other.entity_results[&customer].id,
        made.entity_results[&customer].id
    );
    assert_eq!(customers.count(json!({})).await.unwrap().count, 1);
    for context in [
        Context::runtime("acme"),
        Context::metadata().tenant("acme"),
        Context::knowledge().domain("retail"),
    ] {
        let database = xronox.with(context).await.unwrap();
        assert!(database.verify().await.unwrap().clean());
        let left = database.resume_insertions().await.unwrap();
        assert_eq!(left, xronox::ResumedInsertions::default());
    }
}

/// Whatever a mapping says, the tenant is the main record's.
#[tokio::test]
async fn nobody_reaches_another_tenant() {
    let xronox = store().await;
    let orders = collection(&xronox, Context::runtime("acme"), "orders").await;
    let of = || EntityMapping::new("customer", "customers", "customerId");
    let order = || json!({ "customer": { "customerId": "C", "tenantId": "globex" } });
    for (mapping, kind) in [
        (
            of().database_type(DatabaseType::Metadata).domain("globex"),
            ErrorKind::Config,
        ),
        (
            of().database_type(DatabaseType::Knowledge).tenant(),
            ErrorKind::UnknownTenant,
        ),
        (of().domain("globex"), ErrorKind::Invalid),
        (
            of().database_type(DatabaseType::Metadata).generic(),
            ErrorKind::Forbidden,
        ),
    ] {
        let refused = orders.insert_with_entities(order(), &[mapping]).await;
        let error = refused.unwrap_err();
        assert_eq!(*error.kind(), kind, "{error}");
    }
    // The other way round: what is everybody's has no tenant.
    let shared = collection(&xronox, Context::metadata().generic(), "orders").await;
    let refused = shared.insert_with_entities(order(), &[of().tenant()]).await;
    assert_eq!(*refused.unwrap_err().kind(), ErrorKind::Invalid);
    for tenant in ["acme", "globex"] {
        for context in [Context::runtime(tenant), Context::metadata().tenant(tenant)] {
            let customers = collection(&xronox, context, "customers").await;
            assert_eq!(customers.count(json!({})).await.unwrap().count, 0);
        }
    }
}

/// A main record that is refused leaves nothing; an entity that is, takes along
/// what was written, wherever that is.
#[tokio::test]
async fn what_is_refused_is_taken_back_everywhere() {
    let xronox = store().await;
    let orders = collection(&xronox, Context::runtime("acme"), "orders").await;
    let customers = collection(&xronox, Context::metadata().tenant("acme"), "customers").await;
    let products = collection(&xronox, Context::knowledge().domain("retail"), "products").await;
    orders.ensure_unique(["orderId"]).await.unwrap();
    products.ensure_unique(["sku"]).await.unwrap();
    let order = |id: u64, name: &str, product: &str| {
        json!({
            "orderId": id,
            "customer": { "customerId": "C", "name": name },
            "product": { "productId": product, "sku": 1 },
        })
    };
    let insert = async |order| {
        let insert = orders.insert_with_entities(order, &mappings());
        insert.grant_shared_tiers().actor("user:1").await
    };
    let made = insert(order(1, "Ann", "P")).await.unwrap();
    let id = &made.entity_results[&"customer".parse().unwrap()].id;
    // Its number is taken: nothing else is written.
    let error = insert(order(1, "Bob", "Q")).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::AlreadyExists, "{error}");
    assert_eq!(customers.history(id).await.unwrap().len(), 1);
    // A product of that name is there under another key.
    let error = insert(order(2, "Bob", "Q")).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::AlreadyExists, "{error}");
    assert!(error.to_string().contains("`product`"), "{error}");
    let customer = customers.get_latest(id).await.unwrap();
    assert_eq!(
        (customer.document()["name"].as_str(), customer.ov()),
        (Some("Ann"), 2)
    );
    let last = customers.history(id).await.unwrap().remove(0);
    assert_eq!(last.actor.unwrap().to_string(), "user:1");
    assert!(last.reason.unwrap().contains("was refused"));
    assert_eq!(products.count(json!({})).await.unwrap().count, 1);
    assert_eq!(orders.count(json!({})).await.unwrap().count, 1);
    let all = orders
        .query(json!({}))
        .include_deleted()
        .await
        .unwrap()
        .items;
    assert_eq!(all.len(), 2);
    let home = xronox.with(Context::runtime("acme")).await.unwrap();
    let left = home.resume_insertions().await.unwrap();
    assert_eq!(left, xronox::ResumedInsertions::default());
}

/// Files of entities are entities' files, in whatever database they are.
#[tokio::test]
async fn entities_have_files_across_databases() {
    let xronox = store().await;
    let orders = collection(&xronox, Context::runtime("acme"), "orders").await;
    let order = json!({
        "product": { "productId": "P", "manual": "data:text/plain,read%20me" },
    });
    let insert = orders.insert_with_entities(order, &mappings());
    let made = insert.grant_shared_tiers().await.unwrap();
    let products = collection(&xronox, Context::knowledge().domain("retail"), "products").await;
    let id = &made.entity_results[&"product".parse().unwrap()].id;
    let mut manual = products.file(id, "manual").await.unwrap();
    assert_eq!(manual.bytes(100).await.unwrap(), b"read me"[..]);
}

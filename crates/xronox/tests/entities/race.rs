//! Many who insert records with one entity.

use serde_json::json;
use xronox::Settings;

use crate::{mappings, support::stores};

/// One record, with what each of them said, and all of their orders.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn racing_inserts_of_one_entity_make_one_record() {
    const RACERS: usize = 12;
    for store in stores(Settings::default()).await {
        let orders = store.xronox.collection("orders").unwrap();
        let customers = store.xronox.collection("customers").unwrap();
        let rounds: u64 = if store.on_servers { 3 } else { 8 };
        for round in 0..rounds {
            let racing = (0..RACERS).map(|n| {
                let (orders, customers) = (orders.clone(), customers.clone());
                tokio::spawn(async move {
                    let customer = json!({ "customerId": round, format!("said{n}"): n });
                    let order = json!({ "by": n, "customer": customer });
                    let made = orders
                        .insert_with_entities(order, &mappings())
                        .await
                        .unwrap();
                    let id = made.entity_results[&"customer".parse().unwrap()].id.clone();
                    // Somebody who changes it beside all that.
                    if n % 4 == 0 {
                        let seen = format!("seen{n}");
                        customers.patch(&id, json!({ seen: true })).await.unwrap();
                    }
                    id
                })
            });
            let mut ids = Vec::new();
            for racer in racing.collect::<Vec<_>>() {
                ids.push(racer.await.unwrap());
            }
            ids.dedup();
            assert_eq!(ids.len(), 1, "{ids:?}");
            let customer = customers.get_latest(&ids[0]).await.unwrap().document();
            assert_eq!(customer.as_object().unwrap().len(), 1 + RACERS + RACERS / 4);
        }
        let all = orders.count(json!({})).await.unwrap().count;
        assert_eq!(all, rounds * RACERS as u64);
        assert_eq!(customers.count(json!({})).await.unwrap().count, rounds);
        assert!(store.home().verify().await.unwrap().clean());
    }
}

/// Two that change the same entities in different orders do not wait for each
/// other.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn insertions_that_cross_come_to_an_end() {
    for store in stores(Settings::default()).await {
        let orders = store.xronox.collection("orders").unwrap();
        let racing = (0..8_u64).map(|n| {
            let orders = orders.clone();
            tokio::spawn(async move {
                for round in 0..5_u64 {
                    let said = format!("n{n}r{round}");
                    let mut lines: Vec<_> = (0..4)
                        .map(|id| json!({ "product": { "productId": id, &said: 1 } }))
                        .collect();
                    if n % 2 == 0 {
                        lines.reverse();
                    }
                    let order = json!({ "lines": lines });
                    orders
                        .insert_with_entities(order, &mappings())
                        .await
                        .unwrap();
                }
            })
        });
        for racer in racing.collect::<Vec<_>>() {
            racer.await.unwrap();
        }
        let products = store.xronox.collection("products").unwrap();
        let all = products.query(json!({})).await.unwrap().items;
        assert_eq!(all.len(), 4);
        for product in all {
            assert_eq!(product.document().as_object().unwrap().len(), 1 + 40);
        }
        assert!(store.home().verify().await.unwrap().clean());
    }
}

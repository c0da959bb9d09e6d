//! More than the server sends at once, or a page may hold.

use std::sync::Arc;

use serde_json::json;
use xronox_model::{CollectionName, Direction};
use xronox_store::{DocFind, Documents, SystemClock};

use crate::server::{Database, standalone};
use crate::{filter, index, update};

#[tokio::test]
async fn large_documents_are_read_in_stretches() {
    let database = Database::on(standalone());
    let documents = database.open_again().await.documents(Arc::new(SystemClock));
    let name: CollectionName = "things".parse().unwrap();
    documents.ensure_index(&name, &index(&["n"])).await.unwrap();
    documents
        .ensure_index(&name, &index(&["tags"]))
        .await
        .unwrap();
    let text = "x".repeat(3 << 20);
    for n in 0..14 {
        let large = json!({"_id": n, "n": n, "m": 14 - n, "tags": [n, 20], "text": text});
        documents.insert(&name, vec![large]).await.unwrap();
    }
    for matching in [
        json!({}),
        json!({"n": {"$gte": 0}}),
        json!({"tags": {"$lte": 20}}),
    ] {
        let matching = filter(&matching);
        assert_eq!(documents.count(&name, &matching).await.unwrap(), 14);
        for (field, first) in [("n", 13), ("m", 0)] {
            let find = DocFind::of(matching.clone())
                .sort(field.parse().unwrap(), Direction::Descending)
                .limit(8);
            let found = documents.find(&name, &find).await.unwrap();
            assert_eq!((found.len(), &found[0]["n"]), (8, &json!(first)));
        }
    }
    let change = update(&json!({"text": "y"}), &json!({}));
    documents.update_one(&name, &change).await.unwrap();
    let all = filter(&json!({"n": {"$gte": 0}}));
    assert_eq!(documents.delete(&name, &all, 100).await.unwrap(), 14);
}

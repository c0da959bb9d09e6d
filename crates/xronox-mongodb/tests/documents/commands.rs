//! How many commands a call sends, on a warm collection.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};
use xronox_model::{CollectionName, Direction};
use xronox_mongodb::{ConnectionOptions, MongoDocuments};
use xronox_store::{DocFind, DocOp, Documents, SystemClock};

use crate::server::{Database, replica_set};
use crate::{filter, index, update};

struct Watched {
    documents: MongoDocuments,
    name: CollectionName,
    sent: Arc<Mutex<Vec<String>>>,
    _database: Database,
}

impl Watched {
    async fn open() -> Self {
        let database = Database::on(replica_set());
        let sent: Arc<Mutex<Vec<String>>> = Arc::default();
        let (seen, own) = (Arc::clone(&sent), database.name.clone());
        let options = ConnectionOptions {
            on_command: Some(Arc::new(move |command, db| {
                // The end of a transaction goes to `admin`.
                if db == own || command == "commitTransaction" {
                    seen.lock().push(command.to_owned());
                }
            })),
            ..ConnectionOptions::default()
        };
        let opened = database.open_with(options).await;
        Self {
            documents: opened.documents(Arc::new(SystemClock)),
            name: "things".parse().unwrap(),
            sent,
            _database: database,
        }
    }

    fn sent(&self) -> Vec<String> {
        std::mem::take(&mut *self.sent.lock())
    }
}

#[tokio::test]
async fn a_warm_call_sends_few_commands() {
    let watched = Watched::open().await;
    let (documents, name) = (&watched.documents, &watched.name);
    let declared = [
        index(&["n"]),
        index(&["key"]).unique(),
        index(&["at"]).ttl(std::time::Duration::from_mins(1)),
    ];
    for index in &declared {
        documents.ensure_index(name, index).await.unwrap();
    }
    let document = |n: i32| json!({"_id": n, "n": n % 10, "key": n});
    let many: Vec<Value> = (0..500).map(document).collect();
    documents.insert(name, many).await.unwrap();
    assert!(watched.sent().contains(&"createIndexes".to_owned()));

    // What is declared already is asked for, not made.
    for index in &declared {
        documents.ensure_index(name, index).await.unwrap();
    }
    assert_eq!(watched.sent(), ["find"; 3]);

    documents.insert(name, vec![document(1000)]).await.unwrap();
    assert_eq!(watched.sent(), ["insert"]);
    let more: Vec<Value> = (1001..1101).map(document).collect();
    documents.insert(name, more).await.unwrap();
    assert_eq!(watched.sent(), ["insert"]);

    let seven = filter(&json!({"_id": 7}));
    let one = documents.find_one(name, &seven);
    assert!(one.await.unwrap().is_some());
    assert_eq!(watched.sent(), ["find"]);
    for (matching, sort, found) in [
        (json!({}), "_id", 50),
        (json!({"n": {"$gte": 3}}), "n", 50),
        (json!({"key": {"$in": [1, 2, 3, "x"]}}), "_id", 3),
        (json!({"_id": {"$in": [1, 2, 3, "x"]}}), "_id", 3),
    ] {
        let find = DocFind::of(filter(&matching))
            .sort(sort.parse().unwrap(), Direction::Descending)
            .limit(50);
        assert_eq!(documents.find(name, &find).await.unwrap().len(), found);
        assert_eq!(watched.sent(), ["find"], "{matching}");
    }
    assert_eq!(
        documents.count(name, &filter(&json!({}))).await.unwrap(),
        601
    );
    assert_eq!(watched.sent(), ["aggregate"]);

    let change = update(&json!({"_id": 7}), &json!({"$inc": {"n": 1}}));
    documents.update_one(name, &change).await.unwrap();
    assert_eq!(watched.sent(), ["find", "update"]);
    let upsert = update(&json!({"_id": "new"}), &json!({"$set": {"key": "new"}})).upsert();
    documents.update_one(name, &upsert).await.unwrap();
    assert_eq!(watched.sent(), ["find", "insert"]);
    let fours = filter(&json!({"n": 4}));
    let gone = documents.delete(name, &fours, 1_000);
    assert!(gone.await.unwrap() > 50);
    assert_eq!(watched.sent(), ["find", "delete"]);

    let both = [json!({"_id": 1}), json!({"_id": 2})].map(|id| {
        (
            name.clone(),
            DocOp::Update(update(&id, &json!({"$inc": {"m": 1}}))),
        )
    });
    documents.apply(both.to_vec(), true).await.unwrap();
    let sent = watched.sent();
    assert_eq!(sent.last().unwrap(), "commitTransaction");
    // Read, what is in the way, write.
    assert_eq!(sent.len(), 2 * 3 + 1, "{sent:?}");
}

#[tokio::test]
async fn pages_of_a_large_collection_follow_its_indexes() {
    let watched = Watched::open().await;
    let (documents, name) = (&watched.documents, &watched.name);
    documents.ensure_index(name, &index(&["n"])).await.unwrap();
    for batch in 0..5 {
        let many = (0..1_000).map(|n| json!({"_id": batch * 1_000 + n, "n": n}));
        documents.insert(name, many.collect()).await.unwrap();
    }
    watched.sent();
    let mut find = DocFind::of(filter(&json!({"n": {"$gte": 500}})))
        .sort("n".parse().unwrap(), Direction::Ascending)
        .limit(1_000);
    let mut all = 0;
    loop {
        let page = documents.find(name, &find).await.unwrap();
        assert_eq!(watched.sent(), ["find"]);
        all += page.len();
        assert!(page.is_sorted_by_key(|document| document["n"].as_u64()));
        let Some(last) = page.last() else { break };
        find.after = Some(last.clone());
    }
    assert_eq!(all, 2_500);
}

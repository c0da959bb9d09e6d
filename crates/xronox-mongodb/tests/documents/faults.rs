//! Answers that are lost, and servers that do not answer.

use std::sync::Arc;

use mongodb::bson::{Document, doc};
use serde_json::json;
use xronox_model::CollectionName;
use xronox_mongodb::MongoDocuments;
use xronox_store::{
    DocOp, DocOutcome, Documents, InsertOutcome, StoreError, SystemClock, UpdateOutcome,
};

use crate::server::{Database, replica_set, standalone};
use crate::{filter, update};

struct Faulty {
    documents: MongoDocuments,
    name: CollectionName,
    admin: mongodb::Database,
    app: String,
    _database: Database,
}

impl Faulty {
    async fn open(uri: &str) -> Self {
        let mut database = Database::on(uri.to_owned());
        let app = database.name.clone();
        database.name_app(&app);
        let documents = database.open_again().await.documents(Arc::new(SystemClock));
        let name: CollectionName = "things".parse().unwrap();
        let warm = vec![json!({"_id": "warm", "n": 0})];
        documents.insert(&name, warm).await.unwrap();
        let raw = mongodb::Client::with_uri_str(uri).await.unwrap();
        Self {
            documents,
            name,
            admin: raw.database("admin"),
            app,
            _database: database,
        }
    }

    /// Fails the next commands of this name, as many as told.
    async fn fail(&self, command: &str, times: i32, mut how: Document) {
        how.insert("failCommands", [command]);
        how.insert("appName", &self.app);
        let failing = doc! {
            "configureFailPoint": "failCommand",
            "mode": { "times": times },
            "data": how,
        };
        self.admin.run_command(failing).await.unwrap();
    }

    async fn heal(&self) {
        let healing = doc! { "configureFailPoint": "failCommand", "mode": "off" };
        self.admin.run_command(healing).await.unwrap();
    }
}

/// One after another: a server has one such fail point.
static FAIL_POINT: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The write is carried out, and the answer says that it may not last.
fn doubtful() -> Document {
    doc! { "writeConcernError": { "code": 64, "errmsg": "not in time" } }
}

/// The connection breaks before anything is done.
fn broken() -> Document {
    doc! { "closeConnection": true }
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_done_once() {
    let _alone = FAIL_POINT.lock().await;
    for uri in [replica_set(), standalone()] {
        let faulty = Faulty::open(&uri).await;
        let (documents, name) = (&faulty.documents, &faulty.name);
        for (at, how) in [doubtful(), broken()].into_iter().enumerate() {
            for count in [1, 3] {
                faulty.fail("insert", 2, how.clone()).await;
                let many = (0..count).map(|n| json!({"_id": format!("{at} {count} {n}")}));
                let outcomes = documents.insert(name, many.collect()).await.unwrap();
                let inserted = |outcome| outcome == InsertOutcome::Inserted;
                assert!(outcomes.into_iter().all(inserted));
            }
            faulty.fail("update", 2, how.clone()).await;
            let change = update(&json!({"_id": "warm"}), &json!({"$inc": {"n": 1}})).returning();
            let outcome = documents.update_one(name, &change).await.unwrap();
            let document = Some(json!({"_id": "warm", "n": at + 1}));
            assert_eq!(
                outcome,
                UpdateOutcome::Matched {
                    modified: true,
                    document
                }
            );
        }
        assert_eq!(documents.count(name, &filter(&json!({}))).await.unwrap(), 9);
    }
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_done_once() {
    let _alone = FAIL_POINT.lock().await;
    let faulty = Faulty::open(&replica_set()).await;
    let (documents, name) = (&faulty.documents, &faulty.name);
    let change = update(&json!({"_id": "warm"}), &json!({"$inc": {"n": 1}}));
    let transient = doc! { "errorCode": 112, "errorLabels": ["TransientTransactionError"] };
    let faults = [
        ("commitTransaction", doubtful()),
        ("commitTransaction", broken()),
        ("commitTransaction", transient.clone()),
        ("update", transient),
        ("update", broken()),
    ];
    for (at, (command, how)) in faults.into_iter().enumerate() {
        faulty.fail(command, 3, how.clone()).await;
        let batch = vec![
            (name.clone(), DocOp::Update(change.clone())),
            (name.clone(), DocOp::Insert(json!({ "_id": at }))),
        ];
        let outcomes = documents.apply(batch, true).await.unwrap();
        assert_eq!(
            outcomes[1],
            DocOutcome::Insert(InsertOutcome::Inserted),
            "{how}"
        );
        let warm = filter(&json!({"_id": "warm"}));
        let warm = documents.find_one(name, &warm);
        assert_eq!(warm.await.unwrap().unwrap()["n"], json!(at + 1), "{how}");
    }
}

#[tokio::test]
async fn a_server_that_fails_again_and_again_is_told_of() {
    let _alone = FAIL_POINT.lock().await;
    for uri in [replica_set(), standalone()] {
        let faulty = Faulty::open(&uri).await;
        let (documents, name) = (&faulty.documents, &faulty.name);
        let insert = async || {
            let one = vec![json!({"_id": "a"})];
            documents.insert(name, one).await.unwrap_err()
        };
        // Nobody knows.
        faulty.fail("insert", 1_000, broken()).await;
        let error = insert().await;
        assert!(matches!(error, StoreError::Indeterminate { .. }), "{error}");
        // Until then the server is not asked.
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        // Surely not.
        faulty.fail("insert", 1_000, doc! { "errorCode": 13 }).await;
        let error = insert().await;
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
        // The first is done, and cannot be taken back.
        let operations = vec![
            (
                name.clone(),
                DocOp::Update(update(&json!({"_id": "warm"}), &json!({"$inc": {"n": 1}}))),
            ),
            (name.clone(), DocOp::Insert(json!({"_id": "a"}))),
        ];
        let error = documents.apply(operations, false).await.unwrap_err();
        assert!(matches!(error, StoreError::Indeterminate { .. }), "{error}");
        faulty.heal().await;
        assert_eq!(documents.count(name, &filter(&json!({}))).await.unwrap(), 1);
    }
}

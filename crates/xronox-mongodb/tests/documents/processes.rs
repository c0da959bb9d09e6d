//! Several processes on one collection, each with what it knows of it.

use std::sync::Arc;

use futures::future::join_all;
use mongodb::bson::{Document, doc, oid::ObjectId};
use serde_json::{Value, json};
use xronox_model::CollectionName;
use xronox_mongodb::MongoDocuments;
use xronox_store::{
    DocFind, DocOp, DocOutcome, DocRefusal, Documents, InsertOutcome, SystemClock, UpdateOutcome,
};

use crate::server::{Database, replica_set, standalone};
use crate::{filter, index, update};

struct Shared {
    database: Database,
    uri: String,
    one: MongoDocuments,
    other: MongoDocuments,
    name: CollectionName,
}

impl Shared {
    /// Both have used the collection.
    async fn open(uri: String) -> Self {
        let database = Database::on(uri.clone());
        let name: CollectionName = "things".parse().unwrap();
        let open = async || {
            let opened = database.open_again().await;
            opened.documents(Arc::new(SystemClock))
        };
        let (one, other) = (open().await, open().await);
        let born = vec![json!({"_id": "born", "n": "born"})];
        one.insert(&name, born).await.unwrap();
        assert_eq!(other.count(&name, &filter(&json!({}))).await.unwrap(), 1);
        Self {
            database,
            uri,
            one,
            other,
            name,
        }
    }

    async fn raw(&self) -> mongodb::Collection<Document> {
        let client = mongodb::Client::with_uri_str(&self.uri).await.unwrap();
        client.database(&self.database.name).collection("things")
    }

    async fn insert(&self, by: &MongoDocuments, document: Value) -> InsertOutcome {
        by.insert(&self.name, vec![document])
            .await
            .unwrap()
            .remove(0)
    }

    async fn find(&self, by: &MongoDocuments, matching: Value) -> usize {
        let find = DocFind::of(filter(&matching)).limit(10_000);
        by.find(&self.name, &find).await.unwrap().len()
    }
}

fn taken(index: &str) -> InsertOutcome {
    let index = index.to_owned();
    InsertOutcome::Refused(DocRefusal::Duplicate { index })
}

macro_rules! on_both {
    ($($case:ident)*) => {$(
        mod $case {
            #[tokio::test(flavor = "multi_thread")]
            async fn replica_set() {
                super::$case(super::replica_set()).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn standalone() {
                super::$case(super::standalone()).await;
            }
        }
    )*};
}

on_both! {
    a_new_index_binds_who_does_not_know_of_it
    an_index_made_meanwhile_holds_everything
    an_array_is_met_by_who_does_not_know_of_it
    what_is_dropped_binds_nobody
    what_was_left_half_done_is_finished
    no_change_is_lost
}

async fn a_new_index_binds_who_does_not_know_of_it(uri: String) {
    let shared = Shared::open(uri).await;
    let Shared {
        one, other, name, ..
    } = &shared;
    for declared in [index(&["m"]), index(&["n"]).unique()] {
        other.ensure_index(name, &declared).await.unwrap();
        let id = declared.name();
        let done = shared
            .insert(one, json!({"_id": id, "n": id, "m": 1}))
            .await;
        assert_eq!(done, InsertOutcome::Inserted);
    }
    assert_eq!(shared.find(other, json!({"m": 1})).await, 2);
    let again = shared.insert(one, json!({"_id": "x", "n": "born"})).await;
    assert_eq!(again, taken("n_1"));
    let change = update(&json!({"_id": "m_1"}), &json!({"$set": {"n": "born"}}));
    let outcome = one.update_one(name, &change).await.unwrap();
    assert!(matches!(outcome, UpdateOutcome::Refused(_)), "{outcome:?}");
}

async fn an_index_made_meanwhile_holds_everything(uri: String) {
    let shared = Shared::open(uri).await;
    let Shared {
        one, other, name, ..
    } = &shared;
    let writing = async {
        for n in 0..300 {
            let document = json!({"_id": n, "n": n, "tags": [n, n + 1]});
            assert_eq!(shared.insert(one, document).await, InsertOutcome::Inserted);
            let change = update(&json!({"_id": n}), &json!({"$inc": {"v": 1}}));
            one.update_one(name, &change).await.unwrap();
        }
    };
    let (n, v, tags) = (index(&["n"]).unique(), index(&["v"]), index(&["tags"]));
    let declaring = async {
        for declared in [&n, &v, &tags] {
            other.ensure_index(name, declared).await.unwrap();
        }
        other.drop_index(name, "v_1").await.unwrap();
        other.ensure_index(name, &v).await.unwrap();
    };
    futures::join!(writing, declaring);
    for by in [one, other] {
        assert_eq!(shared.find(by, json!({"n": {"$gte": 0}})).await, 300);
        assert_eq!(shared.find(by, json!({"v": 1})).await, 300);
        assert_eq!(shared.find(by, json!({"tags": 7})).await, 2);
    }
    let again = shared.insert(one, json!({"_id": "x", "n": 7})).await;
    assert_eq!(again, taken("n_1"));
    // By all of them at once, once.
    let all = join_all([one, other, one, other].map(|by| by.ensure_index(name, &v)));
    assert!(all.await.iter().all(Result::is_ok));
    assert_eq!(one.indexes(name).await.unwrap(), [n, tags, v]);
}

async fn an_array_is_met_by_who_does_not_know_of_it(uri: String) {
    let shared = Shared::open(uri).await;
    let Shared {
        one, other, name, ..
    } = &shared;
    let between = json!({"a": {"$gt": 1, "$lt": 5}});
    one.ensure_index(name, &index(&["a"])).await.unwrap();
    for by in [one, other] {
        assert_eq!(shared.find(by, between.clone()).await, 0);
    }
    // Neither element lies between, but one is above and one below.
    shared.insert(one, json!({"_id": 1, "a": [0, 9]})).await;
    shared.insert(one, json!({"_id": 2, "a": 3})).await;
    assert_eq!(shared.find(other, between.clone()).await, 2);
    shared
        .insert(other, json!({"_id": 3, "a": [0, 9, 9]}))
        .await;
    assert_eq!(shared.find(one, between).await, 3);
}

async fn what_is_dropped_binds_nobody(uri: String) {
    let shared = Shared::open(uri).await;
    let Shared {
        one, other, name, ..
    } = &shared;
    one.ensure_index(name, &index(&["n"]).unique())
        .await
        .unwrap();
    assert_eq!(shared.find(other, json!({"n": "born"})).await, 1);
    assert_eq!(
        shared.insert(other, json!({"_id": 1, "n": 1})).await,
        InsertOutcome::Inserted
    );
    one.drop_index(name, "n_1").await.unwrap();
    assert_eq!(shared.find(other, json!({"n": "born"})).await, 1);
    for by in [one, other] {
        let id = ObjectId::new().to_hex();
        let done = shared.insert(by, json!({"_id": id, "n": 1})).await;
        assert_eq!(done, InsertOutcome::Inserted);
    }
    one.ensure_index(name, &index(&["m"])).await.unwrap();
    assert_eq!(shared.find(other, json!({"m": null})).await, 4);
    one.drop_collection(name).await.unwrap();
    assert_eq!(shared.find(other, json!({"m": null})).await, 0);
    for n in 0..2 {
        let done = shared.insert(other, json!({"_id": n, "m": 1})).await;
        assert_eq!(done, InsertOutcome::Inserted);
    }
    assert_eq!(shared.find(one, json!({"m": 1})).await, 2);
}

async fn what_was_left_half_done_is_finished(uri: String) {
    let shared = Shared::open(uri).await;
    let Shared {
        one, other, name, ..
    } = &shared;
    let (n, m) = (index(&["n"]).unique(), index(&["m"]));
    one.ensure_index(name, &n).await.unwrap();
    one.ensure_index(name, &m).await.unwrap();
    assert_eq!(other.indexes(name).await.unwrap().len(), 2);
    // One process dies after it took an index from the list,
    let raw = shared.raw().await;
    let state = doc! { "_id": "indexes" };
    let dying = doc! {
        "$pull": { "list": { "spec": m.to_json().to_string() } },
        "$set": { "r": ObjectId::new() },
    };
    assert_eq!(
        raw.update_one(state.clone(), dying)
            .await
            .unwrap()
            .modified_count,
        1
    );
    let reopened = shared
        .database
        .open_again()
        .await
        .documents(Arc::new(SystemClock));
    let done = shared.insert(&reopened, json!({"_id": 1, "n": 1})).await;
    assert_eq!(done, InsertOutcome::Inserted);
    let left = raw.list_index_names().await.unwrap();
    assert_eq!(left.len(), 2, "{left:?}");
    assert_eq!(shared.find(other, json!({"m": null})).await, 2);
    // another one before the index it declared was there.
    let dying = doc! { "$set": { "list.0.ready": false, "r": ObjectId::new() } };
    raw.update_one(state, dying).await.unwrap();
    let ours = left.iter().find(|name| *name != "_id_").unwrap();
    raw.drop_index(ours.clone()).await.unwrap();
    let keyless = doc! { "$unset": { "k": "" } };
    raw.update_one(doc! { "_id": "31" }, keyless.clone())
        .await
        .unwrap();
    raw.update_many(doc! { "_id": { "$ne": "indexes" } }, keyless)
        .await
        .unwrap();
    assert_eq!(shared.find(other, json!({"n": 1})).await, 1);
    assert_eq!(reopened.indexes(name).await.unwrap(), []);
    reopened.ensure_index(name, &n).await.unwrap();
    assert_eq!(shared.find(&reopened, json!({"n": 1})).await, 1);
    assert_eq!(
        shared.insert(other, json!({"_id": 2, "n": 1})).await,
        taken("n_1")
    );
}

async fn no_change_is_lost(uri: String) {
    let shared = Shared::open(uri).await;
    let Shared {
        one, other, name, ..
    } = &shared;
    let change = update(&json!({"_id": "hot"}), &json!({"$inc": {"n": 1}})).upsert();
    let changes = (0..120).map(|at| {
        let by = if at % 2 == 0 { one } else { other };
        by.update_one(name, &change)
    });
    let outcomes = join_all(changes).await;
    let matched = |outcome: &Result<UpdateOutcome, _>| {
        matches!(
            outcome,
            Ok(UpdateOutcome::Matched { modified: true, .. } | UpdateOutcome::Inserted { .. })
        )
    };
    assert!(outcomes.iter().all(matched), "{outcomes:?}");
    let hot = one
        .find_one(name, &filter(&json!({"_id": "hot"})))
        .await
        .unwrap();
    assert_eq!(hot, Some(json!({"_id": "hot", "n": 120})));
}

/// Money goes round between accounts, from two processes at once.
#[tokio::test(flavor = "multi_thread")]
async fn atomic_batches_do_not_mix() {
    let shared = Shared::open(replica_set()).await;
    let Shared {
        one, other, name, ..
    } = &shared;
    let accounts = (0..4).map(|id| json!({"_id": id, "sum": 100}));
    one.insert(name, accounts.collect()).await.unwrap();
    let transfers = (0..40).map(|at| async move {
        let by = if at % 2 == 0 { one } else { other };
        let step = |id: i32, sum: i32| {
            let change = update(&json!({ "_id": id }), &json!({"$inc": {"sum": sum}}));
            (name.clone(), DocOp::Update(change.or_abort()))
        };
        let log = DocOp::Insert(json!({"_id": format!("log {at}"), "sum": 0}));
        let batch = vec![step(at % 4, -1), step((at + 1) % 4, 1), (name.clone(), log)];
        let outcomes = by.apply(batch, true).await.unwrap();
        assert!(!outcomes.contains(&DocOutcome::Undone), "{outcomes:?}");
    });
    join_all(transfers).await;
    let all = DocFind::of(filter(&json!({}))).limit(1_000);
    let all = other.find(name, &all).await.unwrap();
    assert_eq!(all.len(), 4 + 1 + 40);
    let sums = all.iter().filter_map(|document| document["sum"].as_i64());
    assert_eq!(sums.sum::<i64>(), 400);
}

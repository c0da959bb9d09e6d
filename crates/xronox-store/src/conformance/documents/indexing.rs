//! Declared indexes, and the uniqueness they guard.

use serde_json::json;
use xronox_model::Direction;

use super::{
    Subject,
    bench::{Bench, duplicate, filter, ids, index, path, update},
};
use crate::{DocIndex, DocRefusal, InsertOutcome, StoreError, UpdateOutcome};

/// Two documents differ in at least one field of a unique index; a missing
/// field counts as null.
pub async fn a_unique_index_tells_documents_apart(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let unique = index(&["tenantId", "topic", "msgId"]).unique();
    assert_eq!(unique.name(), "tenantId_1_topic_1_msgId_1");
    bench.index(&unique).await;
    bench
        .insert([
            json!({"_id": 1, "tenantId": "a", "topic": "b", "msgId": "c"}),
            json!({"_id": 2, "tenantId": "ab", "topic": "", "msgId": "c"}),
            json!({"_id": 3, "tenantId": "a", "topic": "b", "msgId": 1}),
            json!({"_id": 4, "tenantId": "a", "topic": "b", "msgId": "1"}),
            json!({"_id": 5, "tenantId": "a", "topic": "b"}),
        ])
        .await;
    let taken = duplicate("tenantId_1_topic_1_msgId_1");
    for document in [
        json!({"_id": 6, "tenantId": "a", "topic": "b", "msgId": "c"}),
        json!({"_id": 6, "tenantId": "a", "topic": "b", "msgId": 1.0}),
        json!({"_id": 6, "tenantId": "a", "topic": "b", "msgId": null}),
    ] {
        assert_eq!(bench.refused(document.clone()).await, taken, "{document}");
    }
    // The id comes first.
    assert_eq!(
        bench
            .refused(json!({"_id": 1, "tenantId": "a", "topic": "b", "msgId": "c"}))
            .await,
        duplicate("_id")
    );
    let outcomes = bench
        .outcomes([
            json!({"_id": 7, "tenantId": "x"}),
            json!({"_id": 8, "tenantId": "x"}),
            json!({"_id": 9, "tenantId": "y"}),
        ])
        .await;
    let done = InsertOutcome::Inserted;
    assert_eq!(
        outcomes,
        [done.clone(), InsertOutcome::Refused(taken), done]
    );
    assert_eq!(bench.count(&json!({})).await, 7);
    // Another collection knows nothing of it.
    bench
        .other("others")
        .insert((0..3).map(|id| json!({ "_id": id })))
        .await;
}

/// An array takes the key of each of its elements.
pub async fn uniqueness_goes_by_elements(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    bench.index(&index(&["emails.at"]).unique()).await;
    bench
        .insert([json!({"_id": 1, "emails": [{"at": "x"}, {"at": "y"}, {"at": "x"}]})])
        .await;
    let taken = duplicate("emails.at_1");
    assert_eq!(
        bench
            .refused(json!({"_id": 2, "emails": {"at": "y"}}))
            .await,
        taken
    );
    assert_eq!(
        bench
            .refused(json!({"_id": 2, "emails": [{"at": "z"}, {"at": "x"}]}))
            .await,
        taken
    );
    bench
        .insert([json!({"_id": 2, "emails": [{"at": "z"}]})])
        .await;
    let shrink = update(
        &json!({"_id": 1}),
        &json!({"$set": {"emails": [{"at": "y"}]}}),
    );
    bench.update(&shrink).await;
    bench
        .insert([json!({"_id": 3, "emails": [{"at": "x"}]})])
        .await;
    assert_eq!(
        bench
            .refused(json!({"_id": 4, "emails": [{"at": "y"}]}))
            .await,
        taken
    );
}

/// A partial index binds only what its filter matches.
pub async fn uniqueness_can_be_partial(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let latest = index(&["namespace", "key"])
        .unique()
        .only(filter(&json!({"strategy": "latest"})));
    bench.index(&latest).await;
    bench
        .insert([
            json!({"_id": 1, "namespace": "n", "key": "k", "strategy": "latest"}),
            json!({"_id": 2, "namespace": "n", "key": "k", "strategy": "append", "version": 0}),
            json!({"_id": 3, "namespace": "n", "key": "k", "strategy": "append", "version": 1}),
        ])
        .await;
    let taken = duplicate("namespace_1_key_1");
    let other = json!({"_id": 4, "namespace": "n", "key": "k", "strategy": "latest"});
    assert_eq!(bench.refused(other.clone()).await, taken);
    let become_latest = update(&json!({"_id": 2}), &json!({"$set": {"strategy": "latest"}}));
    assert_eq!(
        bench.update(&become_latest).await,
        UpdateOutcome::Refused(taken)
    );
    bench
        .update(&update(
            &json!({"_id": 1}),
            &json!({"$set": {"strategy": "old"}}),
        ))
        .await;
    bench.insert([other]).await;
    // Nor does it hide the others from finds.
    assert_eq!(bench.count(&json!({"namespace": "n", "key": "k"})).await, 4);
    let only = json!({"namespace": "n", "key": "k", "strategy": "latest"});
    assert_eq!(ids(&bench.all(&only).await), ["4"]);
}

/// What a document held is free once it is gone or holds another.
pub async fn a_unique_key_is_free_again(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    bench.index(&index(&["email"]).unique()).await;
    bench
        .insert([
            json!({"_id": 1, "email": "x"}),
            json!({"_id": 2, "email": "y"}),
        ])
        .await;
    bench.delete(&json!({"_id": 1})).await;
    bench.insert([json!({"_id": 3, "email": "x"})]).await;
    bench
        .update(&update(
            &json!({"_id": 3}),
            &json!({"$set": {"email": "z"}}),
        ))
        .await;
    bench
        .update(&update(
            &json!({"_id": 2}),
            &json!({"$set": {"email": "x"}}),
        ))
        .await;
    bench.insert([json!({"_id": 4, "email": "y"})]).await;
    assert_eq!(
        bench.refused(json!({"_id": 5, "email": "x"})).await,
        duplicate("email_1")
    );
}

/// An index is filled when it is declared, or refused.
pub async fn an_index_is_made_over_what_is_there(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    bench
        .insert(
            (0..2_500)
                .take(1_000)
                .map(|n| json!({"_id": n, "n": n, "half": n / 2})),
        )
        .await;
    bench.index(&index(&["n"]).unique()).await;
    assert_eq!(
        bench.refused(json!({"_id": "x", "n": 7})).await,
        duplicate("n_1")
    );
    assert_eq!(
        ids(&bench.all(&json!({"n": {"$gte": 998}})).await),
        ["998", "999"]
    );
    let halves = index(&["half"]).unique();
    let error = bench
        .documents
        .ensure_index(&bench.name, &halves)
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)), "{error}");
    assert_eq!(
        bench.documents.indexes(&bench.name).await.unwrap(),
        [index(&["n"]).unique()]
    );
    bench
        .insert([json!({"_id": "x", "n": "x", "half": 7})])
        .await;
    assert_eq!(bench.count(&json!({"half": 7})).await, 3);
}

/// Declaring an index again changes nothing; another of its name is refused.
pub async fn an_index_is_declared_once(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let one = index(&["a"]);
    bench.index(&one).await;
    bench.index(&one).await;
    for other in [
        one.clone().unique(),
        one.clone().only(filter(&json!({"b": 1}))),
    ] {
        let error = bench
            .documents
            .ensure_index(&bench.name, &other)
            .await
            .unwrap_err();
        assert!(matches!(error, StoreError::Refused(_)), "{error}");
    }
    let back = DocIndex::of([(path("a"), Direction::Descending)]);
    bench.index(&back).await;
    for bad in [
        index(&[]),
        index(&["a", "a"]),
        index(&["a", "b"]).ttl(std::time::Duration::ZERO),
    ] {
        let error = bench
            .documents
            .ensure_index(&bench.name, &bad)
            .await
            .unwrap_err();
        assert!(matches!(error, StoreError::Refused(_)), "{error}");
    }
    let indexes = bench.documents.indexes(&bench.name).await.unwrap();
    assert_eq!(indexes, [back, one]);
}

/// What an index cannot hold is refused, and told by path.
pub async fn a_document_must_fit_its_indexes(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    bench.index(&index(&["a", "b"])).await;
    bench.index(&index(&["u"]).unique()).await;
    bench
        .insert([json!({"_id": 1, "a": [1], "b": 1, "u": 1})])
        .await;
    let long = "x".repeat(2_000);
    for (document, path) in [
        (json!({"_id": 2, "a": [1], "b": [1]}), "b"),
        (json!({"_id": 2, "u": long}), "u"),
        (json!({"_id": 2, "u": (0..2_000).collect::<Vec<_>>()}), "u"),
    ] {
        match bench.refused(document).await {
            DocRefusal::Invalid(e) => assert_eq!(e.path(), path),
            duplicate @ DocRefusal::Duplicate { .. } => panic!("{duplicate:?}"),
        }
    }
    let grow = update(&json!({"_id": 1}), &json!({"$set": {"b": [1]}}));
    let outcome = bench.update(&grow).await;
    assert!(
        matches!(outcome, UpdateOutcome::Refused(DocRefusal::Invalid(_))),
        "{outcome:?}"
    );
    assert_eq!(
        bench.all(&json!({})).await,
        [json!({"_id": 1, "a": [1], "b": 1, "u": 1})]
    );
    let error = bench
        .documents
        .ensure_index(&bench.name, &index(&["b", "a"]))
        .await;
    assert!(error.is_ok());
    let other = bench.other("others");
    other.insert([json!({"_id": 1, "a": [1], "b": [1]})]).await;
    let error = other
        .documents
        .ensure_index(&other.name, &index(&["a", "b"]))
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)), "{error}");
}

/// Indexes are listed by name, and dropped without touching documents.
pub async fn indexes_come_and_go(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let documents = &bench.documents;
    assert_eq!(documents.indexes(&bench.name).await.unwrap(), []);
    let unique = index(&["b"]).unique();
    bench.index(&unique).await;
    bench.index(&index(&["a", "b"])).await;
    bench.insert([json!({"_id": 1, "a": 1, "b": 1})]).await;
    assert_eq!(
        documents.indexes(&bench.name).await.unwrap(),
        [index(&["a", "b"]), unique.clone()]
    );
    documents.drop_index(&bench.name, "nothing").await.unwrap();
    documents
        .drop_index(&bench.name, &unique.name())
        .await
        .unwrap();
    assert_eq!(
        documents.indexes(&bench.name).await.unwrap(),
        [index(&["a", "b"])]
    );
    bench.insert([json!({"_id": 2, "a": 1, "b": 1})]).await;
    assert_eq!(bench.count(&json!({"b": 1})).await, 2);
    let error = documents
        .ensure_index(&bench.name, &unique)
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)), "{error}");
    bench.delete(&json!({"_id": 1})).await;
    bench.index(&unique).await;
    assert_eq!(
        bench.refused(json!({"_id": 3, "b": 1})).await,
        duplicate("b_1")
    );
}

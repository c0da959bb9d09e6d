//! Several operations in one call.

use serde_json::{Value, json};
use xronox_model::CollectionName;

use super::{
    Subject,
    bench::{Bench, delete, duplicate, ids, index, update},
};
use crate::{
    DocOp, DocOutcome, DocRefusal, DocUpdate, InsertOutcome, StoreError, UpdateOutcome,
    documents::MAX_BATCH,
};

fn insert(document: Value) -> DocOp {
    DocOp::Insert(document)
}

fn change(update: DocUpdate) -> DocOp {
    DocOp::Update(update)
}

fn inserted() -> DocOutcome {
    DocOutcome::Insert(InsertOutcome::Inserted)
}

fn updated() -> DocOutcome {
    DocOutcome::Update(UpdateOutcome::Matched {
        modified: true,
        document: None,
    })
}

fn on(bench: &Bench, operations: impl IntoIterator<Item = DocOp>) -> Vec<(CollectionName, DocOp)> {
    operations
        .into_iter()
        .map(|operation| (bench.name.clone(), operation))
        .collect()
}

/// Each operation sees what those before it did, and stands alone.
pub async fn a_batch_does_several_things_in_order(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let other = bench.other("others");
    let mut operations = on(
        &bench,
        [
            insert(json!({"_id": "a", "n": 1})),
            change(update(&json!({"_id": "a"}), &json!({"$inc": {"n": 1}}))),
            insert(json!({"_id": "a"})),
            insert(json!({"n": 1})),
            change(update(&json!({"_id": "b"}), &json!({"$inc": {"n": 1}}))),
            change(update(&json!({"_id": "b"}), &json!({"$inc": {"n": 1}})).upsert()),
            change(update(&json!({"_id": "c"}), &json!({})).or_abort()),
            delete(&json!({"n": 2})),
        ],
    );
    operations.extend(on(
        &other,
        [insert(json!({"_id": "a"})), delete(&json!({"_id": "b"}))],
    ));
    let outcomes = bench.documents.apply(operations, false).await.unwrap();
    let unmatched = DocOutcome::Update(UpdateOutcome::Unmatched);
    assert_eq!(
        outcomes[..3],
        [
            inserted(),
            updated(),
            DocOutcome::Insert(InsertOutcome::Refused(duplicate("_id")))
        ]
    );
    assert!(
        matches!(
            &outcomes[3],
            DocOutcome::Insert(InsertOutcome::Refused(DocRefusal::Invalid(_)))
        ),
        "{outcomes:?}"
    );
    assert_eq!(
        outcomes[4..],
        [
            unmatched.clone(),
            DocOutcome::Update(UpdateOutcome::Inserted {
                id: json!("b"),
                document: None
            }),
            unmatched,
            DocOutcome::Delete(1),
            inserted(),
            DocOutcome::Delete(0),
        ]
    );
    assert_eq!(bench.all(&json!({})).await, [json!({"_id": "b", "n": 1})]);
    assert_eq!(other.all(&json!({})).await, [json!({"_id": "a"})]);
}

/// Whatever refuses one operation undoes the others, in all collections.
pub async fn an_atomic_batch_is_done_whole_or_not_at_all(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let other = bench.other("others");
    let documents = &bench.documents;
    bench.index(&index(&["n"]).unique()).await;
    bench
        .insert([json!({"_id": "a", "n": 1}), json!({"_id": "b", "n": 2})])
        .await;
    let work = |last: DocOp| {
        let mut operations = on(
            &bench,
            [
                insert(json!({"_id": "c", "n": 3})),
                change(update(&json!({"_id": "a"}), &json!({"$set": {"n": 10}}))),
                delete(&json!({"_id": "b"})),
                insert(json!({"_id": "b", "n": 1})),
            ],
        );
        operations.extend(on(
            &other,
            [insert(json!({"_id": "x"})), insert(json!({"_id": "y"}))],
        ));
        operations.extend(on(&bench, [last, insert(json!({"_id": "z", "n": 26}))]));
        operations
    };
    if !documents.capabilities().transactions {
        let error = documents
            .apply(work(delete(&json!({}))), true)
            .await
            .unwrap_err();
        assert!(matches!(error, StoreError::Unsupported(_)), "{error}");
        assert_eq!(bench.count(&json!({})).await, 2);
        return;
    }
    for (last, outcome) in [
        (
            insert(json!({"_id": "d", "n": 3})),
            DocOutcome::Insert(InsertOutcome::Refused(duplicate("n_1"))),
        ),
        (
            insert(json!({"_id": "c"})),
            DocOutcome::Insert(InsertOutcome::Refused(duplicate("_id"))),
        ),
        (
            change(update(&json!({"_id": "a"}), &json!({"$set": {"n": 3}}))),
            DocOutcome::Update(UpdateOutcome::Refused(duplicate("n_1"))),
        ),
    ] {
        let outcomes = documents.apply(work(last), true).await.unwrap();
        let mut wanted = vec![DocOutcome::Undone; 8];
        wanted[6] = outcome;
        assert_eq!(outcomes, wanted);
        assert_eq!(
            bench.all(&json!({})).await,
            [json!({"_id": "a", "n": 1}), json!({"_id": "b", "n": 2})]
        );
        assert_eq!(other.count(&json!({})).await, 0);
        assert_eq!(bench.count(&json!({"n": 1})).await, 1);
    }
    assert_eq!(
        documents.collections().await.unwrap(),
        std::slice::from_ref(&bench.name)
    );
    let outcomes = documents
        .apply(work(delete(&json!({"_id": "c"}))), true)
        .await
        .unwrap();
    let all = [
        inserted(),
        updated(),
        DocOutcome::Delete(1),
        inserted(),
        inserted(),
        inserted(),
        DocOutcome::Delete(1),
        inserted(),
    ];
    assert_eq!(outcomes, all);
    assert_eq!(ids(&bench.all(&json!({})).await), ["a", "b", "z"]);
    assert_eq!(ids(&other.all(&json!({})).await), ["x", "y"]);
    assert_eq!(
        bench.refused(json!({"_id": "q", "n": 10})).await,
        duplicate("n_1")
    );
    bench.insert([json!({"_id": "q", "n": 3})]).await;
}

/// A watermark moves together with what it stands for, or nothing does.
pub async fn an_atomic_batch_may_require_its_documents(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let documents = &bench.documents;
    if !documents.capabilities().transactions {
        return;
    }
    bench
        .insert([
            json!({"_id": "mark", "cv": 4}),
            json!({"_id": "count", "n": 0}),
        ])
        .await;
    let fold = |from: u64, to: u64| {
        let count = change(update(
            &json!({"_id": "count"}),
            &json!({"$inc": {"n": to - from}}),
        ));
        let mark = update(
            &json!({"_id": "mark", "cv": from}),
            &json!({"$set": {"cv": to}}),
        );
        on(&bench, [count, change(mark.or_abort())])
    };
    assert_eq!(
        documents.apply(fold(4, 9), true).await.unwrap(),
        [updated(), updated()]
    );
    let lost = [
        DocOutcome::Undone,
        DocOutcome::Update(UpdateOutcome::Unmatched),
    ];
    assert_eq!(documents.apply(fold(4, 9), true).await.unwrap(), lost);
    assert_eq!(
        bench.all(&json!({})).await,
        [
            json!({"_id": "count", "n": 5}),
            json!({"_id": "mark", "cv": 9})
        ]
    );
    // An update that may miss its document undoes nothing.
    let maybe = change(update(&json!({"_id": "none"}), &json!({})));
    let outcomes = documents
        .apply(on(&bench, [maybe, insert(json!({"_id": "x"}))]), true)
        .await
        .unwrap();
    assert_eq!(
        outcomes,
        [DocOutcome::Update(UpdateOutcome::Unmatched), inserted()]
    );
}

/// A batch has a bound, and so have the deletes in it.
pub async fn a_batch_is_bounded(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let documents = &bench.documents;
    assert_eq!(documents.apply(Vec::new(), false).await.unwrap(), []);
    let many = |count: usize| on(&bench, (0..count).map(|n| insert(json!({ "_id": n }))));
    let error = documents
        .apply(many(MAX_BATCH + 1), false)
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)), "{error}");
    let wide = DocOp::Delete {
        filter: super::bench::filter(&json!({})),
        limit: 10_001,
    };
    let error = documents
        .apply(on(&bench, [insert(json!({"_id": 1})), wide]), false)
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)), "{error}");
    assert_eq!(bench.count(&json!({})).await, 0);
    assert_eq!(
        documents.apply(many(MAX_BATCH), false).await.unwrap().len(),
        MAX_BATCH
    );
    assert_eq!(bench.count(&json!({})).await, MAX_BATCH as u64);
}

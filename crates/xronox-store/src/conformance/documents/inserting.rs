//! Documents that come and go.

use serde_json::{Value, json};

use super::{
    Subject,
    bench::{Bench, duplicate, filter, ids},
};
use crate::{
    DocRefusal, InsertOutcome, StoreError,
    documents::{MAX_BATCH, MAX_DOCUMENT_BYTES, MAX_PAGE},
};

fn invalid(refusal: &DocRefusal) -> &str {
    match refusal {
        DocRefusal::Invalid(invalid) => invalid.path(),
        DocRefusal::Duplicate { index } => panic!("a duplicate in {index}"),
    }
}

/// What was acknowledged is found at once.
pub async fn documents_are_there_once_inserted(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    assert_eq!(bench.all(&json!({})).await, Vec::<Value>::new());
    let outcomes = bench
        .documents
        .insert(&bench.name, Vec::new())
        .await
        .unwrap();
    assert_eq!(outcomes, []);
    let documents = [
        json!({"_id": "b", "n": 1}),
        json!({"_id": "a", "n": 1, "deep": {"x": [null, {}]}}),
    ];
    bench.insert(documents.clone()).await;
    assert_eq!(
        bench.all(&json!({})).await,
        [documents[1].clone(), documents[0].clone()]
    );
    assert_eq!(
        bench.one(&json!({"_id": "b"})).await,
        Some(documents[0].clone())
    );
    assert_eq!(
        bench.one(&json!({"n": 1})).await,
        Some(documents[1].clone())
    );
    assert_eq!(bench.one(&json!({"n": 2})).await, None);
}

/// Numbers, dates and names come back in normal form, whatever they are.
pub async fn documents_come_back_in_normal_form(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let given = json!({
        "_id": "a", "int": 1.0, "big": u64::MAX, "small": i64::MIN, "float": 0.1, "huge": 1e300,
        "zero": -0.0, "at": {"$date": 0}, "null": null, "": {"a.b": {"$c": 1}}, "$d": [[], {}],
        "text": "\0\u{1}\u{fffd}\u{1F600}", "_system": 1,
    });
    let wanted = json!({
        "_id": "a", "int": 1, "big": u64::MAX, "small": i64::MIN, "float": 0.1, "huge": 1e300,
        "zero": 0, "at": "1970-01-01T00:00:00.000Z", "null": null, "": {"a.b": {"$c": 1}}, "$d": [[], {}],
        "text": "\0\u{1}\u{fffd}\u{1F600}", "_system": 1,
    });
    bench.insert([given]).await;
    assert_eq!(bench.all(&json!({})).await, std::slice::from_ref(&wanted));
    let touched = super::bench::update(&json!({}), &json!({"$set": {"float": 0.2, "int": 2.0}}));
    bench.update(&touched).await;
    let mut wanted = wanted;
    wanted["float"] = json!(0.2);
    wanted["int"] = json!(2);
    assert_eq!(bench.all(&json!({})).await, [wanted]);
}

/// Each document has its own outcome, also against one of the same call.
pub async fn a_duplicate_does_not_fail_its_neighbours(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    bench.insert([json!({"_id": "b", "n": 0})]).await;
    let outcomes = bench
        .outcomes([
            json!({"_id": "a"}),
            json!({"_id": "b", "n": 1}),
            json!({"_id": "c", "n": 1}),
            json!({"_id": "c", "n": 2}),
            json!({"_id": "d"}),
        ])
        .await;
    let taken = InsertOutcome::Refused(duplicate("_id"));
    let done = InsertOutcome::Inserted;
    assert_eq!(
        outcomes,
        [done.clone(), taken.clone(), done.clone(), taken, done]
    );
    let all = bench.all(&json!({})).await;
    assert_eq!(ids(&all), ["a", "b", "c", "d"]);
    assert_eq!((&all[1]["n"], &all[2]["n"]), (&json!(0), &json!(1)));
}

/// Text, numbers, objects and booleans, told apart by value and in that order.
pub async fn ids_are_of_many_kinds(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let kinds = [
        json!(-1),
        json!(0.5),
        json!(1),
        json!(u64::MAX),
        json!(""),
        json!("1"),
        json!("A"),
        json!("a"),
        json!("a\0"),
        json!("a "),
        json!("507f1f77bcf86cd799439011"),
        json!({}),
        json!({"t": "x", "at": 1}),
        json!({"t": "x", "at": 2}),
        json!(false),
        json!(true),
    ];
    bench
        .insert(kinds.iter().map(|id| json!({"_id": id})))
        .await;
    for id in &kinds {
        assert_eq!(
            bench.one(&json!({"_id": {"$eq": id}})).await,
            Some(json!({"_id": id}))
        );
        assert_eq!(bench.refused(json!({"_id": id})).await, duplicate("_id"));
    }
    assert_eq!(bench.refused(json!({"_id": 1.0})).await, duplicate("_id"));
    let mut wanted = kinds.to_vec();
    wanted.sort_by(xronox_model::order::compare);
    let all = bench.all(&json!({})).await;
    assert_eq!(
        all.iter()
            .map(|document| document["_id"].clone())
            .collect::<Vec<_>>(),
        wanted
    );
    assert_eq!(bench.all(&json!({"_id": {"$gt": "a"}})).await.len(), 2);
    assert_eq!(bench.all(&json!({"_id.at": 2})).await.len(), 1);
    assert_eq!(
        bench
            .delete(&json!({"_id": {"$in": [1, true, {}, "a"]}}))
            .await,
        4
    );
    assert_eq!(bench.count(&json!({})).await, kinds.len() as u64 - 4);
}

/// What cannot be stored is told by path, and its neighbours are stored.
pub async fn a_bad_document_is_refused_alone(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    for (document, path) in [
        (json!({}), "_id"),
        (json!({"_id": null}), "_id"),
        (json!({"_id": ["a"]}), "_id"),
        (json!({"_id": "x".repeat(2000)}), "_id"),
        (json!([1]), ""),
        (json!("a"), ""),
        (json!({"_id": "a", "n": {"x\0": 1}}), r"n.x\0"),
        (json!({"_id": "a", "at": {"$date": "soon"}}), "at.$date"),
        (json!({"_id": "a", "n": "x".repeat(MAX_DOCUMENT_BYTES)}), ""),
    ] {
        assert_eq!(invalid(&bench.refused(document).await), path);
    }
    let outcomes = bench
        .outcomes([json!({"_id": "a"}), json!({}), json!({"_id": "b"})])
        .await;
    assert!(matches!(
        outcomes[1],
        InsertOutcome::Refused(DocRefusal::Invalid(_))
    ));
    assert_eq!(ids(&bench.all(&json!({})).await), ["a", "b"]);

    let too_many = (0..=MAX_BATCH).map(|n| json!({ "_id": n })).collect();
    let error = bench
        .documents
        .insert(&bench.name, too_many)
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)), "{error}");
    assert_eq!(bench.count(&json!({})).await, 2);
}

/// A delete removes what matches, no more than asked, and says how many.
pub async fn deleting_is_bounded(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    bench.index(&super::bench::index(&["even"])).await;
    bench
        .insert((0..10).map(|n| json!({"_id": n, "even": n % 2 == 0})))
        .await;
    let even = filter(&json!({"even": true}));
    let gone = |limit| bench.documents.delete(&bench.name, &even, limit);
    assert_eq!(gone(0).await.unwrap(), 0);
    assert_eq!(gone(2).await.unwrap(), 2);
    assert_eq!(bench.count(&json!({"even": true})).await, 3);
    assert_eq!(bench.count(&json!({"even": false})).await, 5);
    assert_eq!(gone(10).await.unwrap(), 3);
    assert_eq!(gone(10).await.unwrap(), 0);
    let error = gone(MAX_PAGE + 1).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)), "{error}");
    assert_eq!(bench.delete(&json!({"_id": 1})).await, 1);
    assert_eq!(ids(&bench.all(&json!({})).await), ["3", "5", "7", "9"]);

    bench
        .insert((0..1_000).map(|n| json!({"_id": format!("x{n}"), "even": n % 2 == 0})))
        .await;
    bench
        .insert((0..700).map(|n| json!({"_id": format!("y{n}"), "even": true})))
        .await;
    let all = bench
        .documents
        .delete_all(&bench.name, &even)
        .await
        .unwrap();
    assert_eq!((all, bench.count(&json!({})).await), (1_200, 504));
}

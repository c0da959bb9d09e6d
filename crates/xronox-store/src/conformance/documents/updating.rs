//! Changes of single documents.

use futures::future::join_all;
use serde_json::{Value, json};

use super::{
    Subject,
    bench::{Bench, duplicate, filter, index, update},
};
use crate::{DocRefusal, DocUpdate, Update, UpdateOutcome};

fn matched(modified: bool) -> UpdateOutcome {
    UpdateOutcome::Matched {
        modified,
        document: None,
    }
}

/// Of several that match, one is changed.
pub async fn an_update_changes_one_document(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let change = update(&json!({"n": 1}), &json!({"$set": {"n": 2}}));
    assert_eq!(bench.update(&change).await, UpdateOutcome::Unmatched);
    bench
        .insert((0..3).map(|id| json!({"_id": id, "n": 1})))
        .await;
    assert_eq!(bench.update(&change).await, matched(true));
    assert_eq!(bench.count(&json!({"n": 2})).await, 1);
    assert_eq!(bench.count(&json!({"n": 1})).await, 2);
    let one = update(
        &json!({"_id": 2}),
        &json!({"$set": {"n": 3}, "$unset": {"x": ""}}),
    )
    .returning();
    let document = Some(json!({"_id": 2, "n": 3}));
    assert_eq!(
        bench.update(&one).await,
        UpdateOutcome::Matched {
            modified: true,
            document
        }
    );
    assert_eq!(
        bench.one(&json!({"_id": 2})).await,
        Some(json!({"_id": 2, "n": 3}))
    );
}

/// A change to what is there already is none.
pub async fn an_update_says_whether_it_changed_anything(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    bench
        .insert([json!({"_id": "a", "n": 1, "tags": ["x"]})])
        .await;
    for change in [
        json!({}),
        json!({"$set": {"n": 1.0}}),
        json!({"$inc": {"n": 0}}),
        json!({"$max": {"n": 0}}),
        json!({"$addToSet": {"tags": "x"}}),
        json!({"$setOnInsert": {"n": 5}}),
        json!({"$unset": {"gone": 1}}),
    ] {
        let outcome = bench.update(&update(&json!({"_id": "a"}), &change)).await;
        assert_eq!(outcome, matched(false), "{change}");
    }
    let same = update(&json!({}), &json!({"$set": {"n": 1}})).returning();
    let document = Some(json!({"_id": "a", "n": 1, "tags": ["x"]}));
    assert_eq!(
        bench.update(&same).await,
        UpdateOutcome::Matched {
            modified: false,
            document
        }
    );
}

/// All operators at once, along paths and into arrays.
pub async fn operators_work_together(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    bench.insert([json!({"_id": "a", "n": 1, "list": [{"n": 1}, 5], "old": 1, "last": "b", "big": u64::MAX})]).await;
    let change = json!({
        "$set": {"new.deep": [1], "list.3": "x"},
        "$inc": {"n": 2.5, "list.0.n": 10, "fresh.count": 1, "big": -1},
        "$max": {"last": "c", "first": "a"},
        "$addToSet": {"tags": {"$each": ["p", "q", "p"]}},
        "$unset": {"old": ""},
        "$setOnInsert": {"made": true},
    });
    let outcome = bench
        .update(&update(&json!({"_id": "a"}), &change).returning())
        .await;
    let wanted = json!({
        "_id": "a", "n": 3.5, "list": [{"n": 11}, 5, null, "x"], "last": "c", "first": "a",
        "new": {"deep": [1]}, "fresh": {"count": 1}, "big": u64::MAX - 1, "tags": ["p", "q"],
    });
    assert_eq!(
        outcome,
        UpdateOutcome::Matched {
            modified: true,
            document: Some(wanted.clone())
        }
    );
    assert_eq!(bench.all(&json!({})).await, [wanted]);
}

/// A filter that names what was seen lets one of two writers win.
pub async fn an_update_compares_and_sets(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    bench
        .insert([json!({"_id": "a", "owner": null, "v": 7})])
        .await;
    let claims: Vec<DocUpdate> = (0..8)
        .map(|who| {
            let change = json!({"$set": {"owner": who}, "$inc": {"v": 1}});
            update(&json!({"_id": "a", "owner": null, "v": 7}), &change)
        })
        .collect();
    let outcomes = join_all(claims.iter().map(|claim| bench.update(claim))).await;
    let won: Vec<_> = outcomes
        .iter()
        .map(|outcome| *outcome == matched(true))
        .collect();
    assert_eq!(won.iter().filter(|won| **won).count(), 1, "{outcomes:?}");
    let winner = won.iter().position(|won| *won).unwrap();
    assert_eq!(
        bench.all(&json!({})).await,
        [json!({"_id": "a", "owner": winner, "v": 8})]
    );
}

/// No increment is lost.
pub async fn concurrent_updates_are_all_counted(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    bench.insert([json!({"_id": "a"})]).await;
    let changes: Vec<DocUpdate> = (0..40)
        .map(|n| {
            update(
                &json!({"_id": "a"}),
                &json!({"$inc": {"n": 1}, "$addToSet": {"who": n % 4}, "$max": {"top": n}}),
            )
        })
        .collect();
    let outcomes = join_all(changes.iter().map(|change| bench.update(change))).await;
    assert!(
        outcomes.iter().all(|outcome| *outcome == matched(true)),
        "{outcomes:?}"
    );
    let mut found = bench.one(&json!({"_id": "a"})).await.unwrap();
    if let Some(who) = found["who"].as_array_mut() {
        who.sort_by(xronox_model::order::compare);
    }
    assert_eq!(
        found,
        json!({"_id": "a", "n": 40, "who": [0, 1, 2, 3], "top": 39})
    );
}

/// An upsert makes what its filter requires, changed, or changes what is there.
pub async fn an_upsert_inserts_or_updates(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let change = json!({"$set": {"seen": "t1"}, "$inc": {"n": 1}, "$setOnInsert": {"born": "t1"}});
    let upsert = update(
        &json!({"_id": "a", "kind": {"$eq": "x"}, "n": {"$not": {"$gt": 5}}}),
        &change,
    )
    .upsert();
    let made = json!({"_id": "a", "kind": "x", "seen": "t1", "n": 1, "born": "t1"});
    let outcome = bench.update(&upsert.clone().returning()).await;
    assert_eq!(
        outcome,
        UpdateOutcome::Inserted {
            id: json!("a"),
            document: Some(made)
        }
    );
    let change = json!({"$set": {"seen": "t2"}, "$inc": {"n": 1}, "$setOnInsert": {"born": "t2"}});
    let again = DocUpdate {
        update: Update::parse(&change).unwrap(),
        ..upsert
    };
    assert_eq!(bench.update(&again).await, matched(true));
    let wanted = json!({"_id": "a", "kind": "x", "seen": "t2", "n": 2, "born": "t1"});
    assert_eq!(bench.all(&json!({})).await, [wanted]);

    // The id may come from the change.
    let by_key = update(&json!({"k": 1}), &json!({"$setOnInsert": {"_id": "b"}})).upsert();
    let outcome = bench.update(&by_key).await;
    assert_eq!(
        outcome,
        UpdateOutcome::Inserted {
            id: json!("b"),
            document: None
        }
    );
    assert_eq!(bench.update(&by_key).await, matched(false));
    // Without one nothing can be made.
    let nameless = update(&json!({"k": 2}), &json!({"$set": {"x": 1}})).upsert();
    let outcome = bench.update(&nameless).await;
    assert!(
        matches!(&outcome, UpdateOutcome::Refused(DocRefusal::Invalid(e)) if e.path() == "_id"),
        "{outcome:?}"
    );
    // One that is there but does not match is in the way.
    let elsewhere = update(&json!({"_id": "b", "k": 2}), &json!({})).upsert();
    assert_eq!(
        bench.update(&elsewhere).await,
        UpdateOutcome::Refused(duplicate("_id"))
    );
    assert_eq!(bench.count(&json!({})).await, 2);
}

/// Of upserts at once one inserts; the others update or find it in the way.
pub async fn concurrent_upserts_make_one_document(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let upsert = update(&json!({"_id": "a"}), &json!({"$inc": {"n": 1}})).upsert();
    let outcomes = join_all((0..10).map(|_| bench.update(&upsert))).await;
    let count = |wanted: fn(&UpdateOutcome) -> bool| outcomes.iter().filter(|o| wanted(o)).count();
    let inserted = count(|o| matches!(o, UpdateOutcome::Inserted { .. }));
    let updated = count(|o| matches!(o, UpdateOutcome::Matched { .. }));
    assert_eq!(inserted, 1, "{outcomes:?}");
    assert_eq!(
        bench.all(&json!({})).await,
        [json!({"_id": "a", "n": updated + 1})]
    );
}

/// A change that cannot be made leaves the document as it is.
pub async fn a_bad_update_changes_nothing(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let document = json!({"_id": "a", "n": "text", "list": [1]});
    bench.insert([document.clone()]).await;
    let nested: Value = (0..99).fold(json!(1), |inner, _| json!([inner]));
    for (change, path) in [
        (json!({"$set": {"x": 1}, "$inc": {"n": 1}}), "n"),
        (json!({"$set": {"n.x": 1}}), "n.x"),
        (json!({"$set": {"list.x": 1}}), "list.x"),
        (json!({"$addToSet": {"n": 1}}), "n"),
        (json!({"$set": {"_id": "b"}}), "_id"),
        (json!({"$set": {"_id.x": "b"}}), "_id.x"),
        (json!({"$set": {"x.y": nested}}), "x.y"),
    ] {
        let outcome = bench
            .update(&update(&json!({"_id": "a"}), &change).returning())
            .await;
        match outcome {
            UpdateOutcome::Refused(DocRefusal::Invalid(e)) => {
                assert!(e.path().starts_with(path), "{e}");
            }
            other => panic!("{change}: {other:?}"),
        }
    }
    assert_eq!(bench.all(&json!({})).await, [document]);
    assert_eq!(
        bench
            .documents
            .count(&bench.name, &filter(&json!({"x": 1})))
            .await
            .unwrap(),
        0
    );
}

/// An update, like an insert, cannot take a key that another document holds.
pub async fn an_update_keeps_keys_unique(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    bench.index(&index(&["email"]).unique()).await;
    bench
        .insert([
            json!({"_id": "a", "email": "x"}),
            json!({"_id": "b", "email": "y"}),
        ])
        .await;
    let take =
        |id: &str, email: &str| update(&json!({"_id": id}), &json!({"$set": {"email": email}}));
    assert_eq!(
        bench.update(&take("b", "x")).await,
        UpdateOutcome::Refused(duplicate("email_1"))
    );
    assert_eq!(
        bench.update(&take("c", "x").upsert()).await,
        UpdateOutcome::Refused(duplicate("email_1"))
    );
    assert_eq!(bench.update(&take("a", "x")).await, matched(false));
    assert_eq!(bench.update(&take("a", "z")).await, matched(true));
    assert_eq!(bench.update(&take("b", "x")).await, matched(true));
    assert_eq!(
        bench
            .all(&json!({"email": {"$in": ["x", "z"]}}))
            .await
            .len(),
        2
    );
    assert_eq!(bench.count(&json!({"email": "y"})).await, 0);
}

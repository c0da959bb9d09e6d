//! Documents whose time has passed.

use std::time::Duration;

use serde_json::{Value, json};
use xronox_model::Timestamp;

use super::{
    Subject,
    bench::{Bench, duplicate, filter, ids, index, update},
};
use crate::{Clock, DocIndex, UpdateOutcome, documents::MAX_PAGE};

/// A date some milliseconds from now.
fn date(bench: &Bench, millis: i64) -> String {
    bench.clock.now().plus_millis(millis).to_string()
}

fn expiring() -> DocIndex {
    index(&["at"]).ttl(Duration::from_secs(1))
}

/// From one moment to the next nobody sees it any more.
pub async fn a_document_goes_when_its_time_has_passed(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    bench.index(&expiring()).await;
    bench.index(&index(&["n"])).await;
    let at = |millis| date(&bench, millis);
    let offset = "2024-01-01T02:00:00.000+02:00"
        .parse::<Timestamp>()
        .unwrap();
    assert!(offset.to_string().ends_with('Z'));
    let documents: Vec<Value> = vec![
        json!({"_id": "0 gone", "n": 1, "at": at(-1_000)}),
        json!({"_id": "1 going", "n": 1, "at": at(0)}),
        json!({"_id": "2 going, of several", "n": 1, "at": [at(50_000), at(0), "never"]}),
        json!({"_id": "3 late", "n": 1, "at": at(50_000)}),
        json!({"_id": "4 no date", "n": 1, "at": "soon"}),
        json!({"_id": "5 no text", "n": 1, "at": 0}),
        json!({"_id": "6 none", "n": 1}),
    ];
    bench.insert(documents.clone()).await;
    for matching in [json!({}), json!({"n": 1})] {
        assert_eq!(bench.all(&matching).await, documents[1..]);
    }
    bench.clock.advance(999);
    assert_eq!(bench.count(&json!({})).await, 6);
    bench.clock.advance(1);
    for matching in [json!({}), json!({"n": 1})] {
        assert_eq!(bench.all(&matching).await, documents[3..]);
        assert_eq!(bench.count(&matching).await, 4);
    }
    assert_eq!(bench.one(&json!({"_id": "1 going"})).await, None);
    let touch = update(
        &json!({"_id": "1 going"}),
        &json!({"$set": {"at": at(99_999)}}),
    );
    assert_eq!(bench.update(&touch).await, UpdateOutcome::Unmatched);
    assert_eq!(bench.delete(&json!({"_id": "1 going"})).await, 0);
    // A later date keeps a document.
    let late = json!({"_id": "3 late"});
    bench
        .update(&update(&late, &json!({"$set": {"at": at(100_000)}})))
        .await;
    bench.clock.advance(60_000);
    assert!(bench.one(&late).await.is_some());
    bench.clock.advance(60_000);
    assert!(bench.one(&late).await.is_none());
}

/// Its id and its unique keys are free.
pub async fn a_dead_document_is_in_nobodys_way(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    bench.index(&expiring()).await;
    bench.index(&index(&["key"]).unique()).await;
    let at = date(&bench, 0);
    let key = |id: &str| json!({"_id": id, "key": id, "at": at});
    bench.insert(["a", "b", "c", "d"].map(key)).await;
    bench.clock.advance(1_000);
    bench
        .insert([
            json!({"_id": "a", "key": "new"}),
            json!({"_id": "e", "key": "b"}),
        ])
        .await;
    assert_eq!(
        bench.refused(json!({"_id": "f", "key": "new"})).await,
        duplicate("key_1")
    );
    bench
        .update(&update(
            &json!({"_id": "a"}),
            &json!({"$set": {"key": "c"}}),
        ))
        .await;
    let upsert = update(&json!({"_id": "d"}), &json!({"$inc": {"n": 1}})).upsert();
    let outcome = bench.update(&upsert).await;
    assert_eq!(
        outcome,
        UpdateOutcome::Inserted {
            id: json!("d"),
            document: None
        }
    );
    let left = [
        json!({"_id": "a", "key": "c"}),
        json!({"_id": "d", "n": 1}),
        json!({"_id": "e", "key": "b"}),
    ];
    assert_eq!(bench.all(&json!({})).await, left);
    // A new unique index minds only the living.
    let other = bench.other("others");
    other.index(&expiring()).await;
    other
        .insert([
            json!({"_id": 1, "x": 1, "at": at}),
            json!({"_id": 2, "x": 1}),
        ])
        .await;
    other.index(&index(&["x"]).unique()).await;
    assert_eq!(
        other.refused(json!({"_id": 3, "x": 1})).await,
        duplicate("x_1")
    );
}

/// Sweeping removes what is over, at most so much at a time, in every
/// collection.
pub async fn sweeping_is_bounded(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let at = date(&bench, 0);
    for bench in [&bench, &bench.other("others")] {
        bench.index(&expiring()).await;
        bench
            .insert((0..10).map(|id| json!({"_id": id, "at": at})))
            .await;
        bench.insert([json!({"_id": "stays"})]).await;
    }
    let sweep = |limit| bench.documents.sweep(limit);
    assert_eq!(sweep(100).await.unwrap(), 0);
    bench.clock.advance(1_000);
    assert_eq!(sweep(0).await.unwrap(), 0);
    assert_eq!(sweep(15).await.unwrap(), 15);
    assert_eq!(sweep(15).await.unwrap(), 5);
    assert_eq!(sweep(15).await.unwrap(), 0);
    assert_eq!(ids(&bench.all(&json!({})).await), ["stays"]);
    assert!(sweep(MAX_PAGE + 1).await.is_err());
    // What is swept stays gone, whatever the clock says then.
    bench.clock.advance(-1_000);
    assert_eq!(bench.count(&json!({})).await, 1);
}

/// A time to live binds only what its index holds, from when it is declared.
pub async fn a_ttl_binds_what_it_indexes(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let at = date(&bench, -5_000);
    let kinds = ["log", "note"];
    bench
        .insert(kinds.map(|kind| json!({"_id": kind, "kind": kind, "at": at})))
        .await;
    bench
        .index(&expiring().only(filter(&json!({"kind": "log"}))))
        .await;
    assert_eq!(ids(&bench.all(&json!({})).await), ["note"]);
    let become_log = update(&json!({"_id": "note"}), &json!({"$set": {"kind": "log"}}));
    bench.update(&become_log).await;
    assert_eq!(bench.count(&json!({})).await, 0);

    // Without the index, documents stay; two of them, and the earlier counts.
    let other = bench.other("others");
    other.index(&expiring()).await;
    other.index(&index(&["until"]).ttl(Duration::ZERO)).await;
    let now = date(&bench, 0);
    other
        .insert([
            json!({"_id": 1, "at": now, "until": date(&bench, 5_000)}),
            json!({"_id": 2, "at": now, "until": date(&bench, 500)}),
        ])
        .await;
    other.clock.advance(500);
    assert_eq!(ids(&other.all(&json!({})).await), ["1"]);
    other
        .documents
        .drop_index(&other.name, "at_1")
        .await
        .unwrap();
    other.clock.advance(4_000);
    assert_eq!(ids(&other.all(&json!({})).await), ["1"]);
    other.clock.advance(500);
    assert_eq!(other.count(&json!({})).await, 0);
}

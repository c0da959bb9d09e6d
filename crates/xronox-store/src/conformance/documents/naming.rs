//! Names of collections, and the life of a database.

use serde_json::json;
use xronox_model::CollectionName;

use super::{
    Subject,
    bench::{Bench, duplicate, filter, index, name, update},
};
use crate::{DocFind, DocOp, StoreError};

/// Names that look alike are different collections.
pub async fn alike_names_are_other_collections(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let long = "x".repeat(100);
    let odd = [
        "orders",
        "Orders",
        "größe",
        "GRÖSSE",
        "\u{C5}",
        "\u{212B}",
        "K",
        "\u{212A}",
        "a_b",
        "a-b",
        "a__b",
        "_",
        "-",
        "0",
        "cnt_total",
        "chronos_fallback_ops",
        "sqlite_master",
        "system",
        "null",
        "日本語",
        &long,
    ];
    for collection in odd {
        let other = bench.other(collection);
        other.index(&index(&["n"]).unique()).await;
        other
            .insert([json!({"_id": "a", "n": 1, "in": collection})])
            .await;
    }
    let mut names: Vec<CollectionName> = odd.iter().map(|odd| name(odd)).collect();
    names.sort();
    assert_eq!(bench.documents.collections().await.unwrap(), names);
    for collection in odd {
        let all = bench.other(collection).all(&json!({"n": 1})).await;
        assert_eq!(all, [json!({"_id": "a", "n": 1, "in": collection})]);
    }
    bench
        .documents
        .drop_collection(&name("Orders"))
        .await
        .unwrap();
    names.retain(|kept| kept.as_str() != "Orders");
    assert_eq!(bench.documents.collections().await.unwrap(), names);
    assert_eq!(bench.other("orders").count(&json!({})).await, 1);
}

/// A collection begins with its first document or index, and goes with all
/// it had.
pub async fn a_collection_lives_from_its_first_write(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let documents = &bench.documents;
    assert_eq!(bench.count(&json!({})).await, 0);
    assert_eq!(bench.delete(&json!({})).await, 0);
    bench
        .update(&update(&json!({"_id": "a"}), &json!({"$set": {"n": 1}})))
        .await;
    documents.drop_index(&bench.name, "n_1").await.unwrap();
    documents.drop_collection(&bench.name).await.unwrap();
    assert_eq!(documents.collections().await.unwrap(), []);
    bench.index(&index(&["n"]).unique()).await;
    bench.other("a").insert([json!({"_id": "a"})]).await;
    assert_eq!(
        documents.collections().await.unwrap(),
        [name("a"), bench.name.clone()]
    );
    bench.insert([json!({"_id": "a", "n": 1})]).await;
    documents.drop_collection(&bench.name).await.unwrap();
    assert_eq!(documents.collections().await.unwrap(), [name("a")]);
    assert_eq!(bench.count(&json!({})).await, 0);
    assert_eq!(documents.indexes(&bench.name).await.unwrap(), []);
    bench
        .insert([json!({"_id": "a", "n": 1}), json!({"_id": "b", "n": 1})])
        .await;
}

/// Once closed, every call says so.
pub async fn closed_documents_say_so(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    bench.insert([json!({"_id": "a"})]).await;
    let (d, n, all) = (&bench.documents, &bench.name, &filter(&json!({})));
    d.close().await.unwrap();
    let change = update(&json!({}), &json!({"$set": {"n": 1}}));
    let operations = vec![(n.clone(), DocOp::Insert(json!({"_id": "b"})))];
    for closed in [
        d.insert(n, vec![json!({"_id": "b"})]).await.err(),
        d.find(n, &DocFind::of(all.clone())).await.err(),
        d.find_one(n, all).await.err(),
        d.update_one(n, &change).await.err(),
        d.delete(n, all, 1).await.err(),
        d.count(n, all).await.err(),
        d.apply(operations, false).await.err(),
        d.ensure_index(n, &index(&["n"])).await.err(),
        d.indexes(n).await.err(),
        d.drop_index(n, "n_1").await.err(),
        d.collections().await.err(),
        d.drop_collection(n).await.err(),
        d.sweep(1).await.err(),
    ] {
        assert!(matches!(closed, Some(StoreError::Closed)), "{closed:?}");
    }
    d.close().await.unwrap();
}

/// What was acknowledged is there for whoever opens the database next, or
/// has it open too.
pub async fn acknowledged_documents_are_there_for_others(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let can = bench.documents.capabilities();
    let unique = index(&["n"])
        .unique()
        .only(filter(&json!({"n": {"$gt": 0}})));
    bench.index(&unique).await;
    bench.insert([json!({"_id": "a", "n": 1})]).await;
    let check = async |documents| {
        let other = Bench {
            documents,
            ..bench.other("things")
        };
        assert_eq!(other.all(&json!({})).await, [json!({"_id": "a", "n": 1})]);
        assert_eq!(
            other.documents.indexes(&other.name).await.unwrap(),
            std::slice::from_ref(&unique)
        );
        assert_eq!(
            other.refused(json!({"_id": "b", "n": 1})).await,
            duplicate("n_1")
        );
        other.insert([json!({"_id": "b", "n": 2})]).await;
        assert_eq!(other.delete(&json!({"n": 2})).await, 1);
        other
    };
    if can.shared {
        let other = check(subject.open().await).await;
        other.index(&index(&["_id", "n"])).await;
        bench.insert([json!({"_id": "c", "n": 3})]).await;
        assert_eq!(other.count(&json!({"_id": "c"})).await, 1);
        other
            .documents
            .drop_index(&other.name, "_id_1_n_1")
            .await
            .unwrap();
        assert_eq!(bench.delete(&json!({"_id": "c"})).await, 1);
        other.documents.close().await.unwrap();
    }
    bench.documents.close().await.unwrap();
    if can.durable {
        check(subject.open().await)
            .await
            .documents
            .close()
            .await
            .unwrap();
    }
}

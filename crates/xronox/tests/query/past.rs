//! Looking back.

use std::sync::Arc;

use serde_json::json;
use tempfile::TempDir;
use xronox::{Components, Direction, ErrorKind, Moment, Settings, Xronox};
use xronox_sqlite::SqliteCatalog;
use xronox_store::{Batch, Catalog, MemoryCatalog, MemoryDocuments, Mutation, SystemClock};

use crate::{naive::texts, support::stores};

#[tokio::test]
async fn pages_of_the_past_all_see_the_same() {
    for store in stores(Settings::default()).await {
        let things = store.xronox.collection("things").unwrap();
        for n in 0..6 {
            things
                .create_with_id(format!("r{n}"), json!({ "n": n }))
                .await
                .unwrap();
        }
        let soon = "2999-01-01T00:00:00Z";
        let query = || {
            things
                .query(json!({}))
                .sort("n", Direction::Descending)
                .limit(2)
                .as_of(soon)
        };
        let first = query().await.unwrap();
        assert_eq!(texts(&first), ["r5", "r4"]);
        assert_eq!((first.cv, first.settled), (Some(5), false));
        things.update("r0", json!({ "n": 100 })).await.unwrap();
        things.delete("r3").await.unwrap();
        let second = query().after(first.cursor.unwrap()).await.unwrap();
        assert_eq!(texts(&second), ["r3", "r2"]);
        assert_eq!((second.cv, second.settled), (Some(5), false));
        let third = query().after(second.cursor.unwrap()).await.unwrap();
        assert_eq!(texts(&third), ["r1", "r0"]);
        assert_eq!(texts(&query().await.unwrap()), ["r0", "r5"]);
        let then = things
            .query(json!({ "n": { "$gte": 3 } }))
            .as_of(Moment::Cv(5))
            .await
            .unwrap();
        assert_eq!(texts(&then), ["r3", "r4", "r5"]);
        assert!(then.settled);
        let before = things
            .query(json!({}))
            .as_of("1999-01-01T00:00:00Z")
            .await
            .unwrap();
        assert!(before.items.is_empty() && before.cv.is_none() && before.settled);
        let future = things
            .query(json!({}))
            .as_of(Moment::Cv(99))
            .await
            .unwrap_err();
        assert_eq!(future.kind(), &ErrorKind::Invalid);
        let after = things
            .query(json!({}))
            .sort("n", Direction::Ascending)
            .as_of(Moment::Cv(2));
        let missing = after.after_id("r4").await.unwrap_err();
        assert_eq!(missing.kind(), &ErrorKind::NotFound);
    }
}

/// Stores whose catalogs the test can reach.
async fn reachable(folder: &TempDir) -> Vec<(Xronox, Arc<dyn Catalog>)> {
    let file = folder.path().join("c.sqlite");
    let sqlite = SqliteCatalog::open(file, "c", Arc::new(SystemClock))
        .await
        .unwrap();
    let memory = MemoryCatalog::new("c", Arc::new(SystemClock));
    let catalogs: [Arc<dyn Catalog>; 2] = [Arc::new(memory), Arc::new(sqlite)];
    let open = |catalog: Arc<dyn Catalog>| {
        let documents = Arc::new(MemoryDocuments::new(Arc::new(SystemClock)));
        let parts = Components::new(Arc::clone(&catalog), documents, None);
        (
            Xronox::assemble(parts, Settings::default()).unwrap(),
            catalog,
        )
    };
    catalogs.into_iter().map(open).collect()
}

#[tokio::test]
async fn what_retention_removed_is_never_passed_over_in_silence() {
    let folder = TempDir::new().unwrap();
    for (xronox, catalog) in reachable(&folder).await {
        let things = xronox.collection("things").unwrap();
        for n in 0..4 {
            things
                .create_with_id(format!("r{n}"), json!({ "n": n }))
                .await
                .unwrap();
        }
        things.update("r1", json!({ "n": 10 })).await.unwrap();
        things.query(json!({ "n": 1 })).await.unwrap();
        let prune = Mutation::Prune {
            id: "r1".parse().unwrap(),
            ovs: vec![0],
        };
        let epoch = catalog.indexes(things.name()).await.unwrap().epoch;
        let batch = Batch {
            epoch,
            mutations: vec![prune],
        };
        catalog
            .commit(&[(things.name().clone(), batch)])
            .await
            .unwrap();
        let then = Moment::Cv(3);
        for filter in [json!({}), json!({ "n": 2 }), json!({ "n": { "$gte": 0 } })] {
            let refused = things.query(&filter).as_of(then).await.unwrap_err();
            assert_eq!(refused.kind(), &ErrorKind::Pruned);
            let refused = things.count(&filter).as_of(then).await.unwrap_err();
            assert_eq!(refused.kind(), &ErrorKind::Pruned);
        }
        let partial = things
            .query(json!({}))
            .as_of(then)
            .accept_pruned()
            .await
            .unwrap();
        assert_eq!(texts(&partial), ["r0", "r2", "r3"]);
        assert_eq!(partial.pruned, 1);
        assert_eq!(serde_json::to_value(&partial).unwrap()["pruned"], 1);
        let counted = things
            .count(json!({ "n": 3 }))
            .as_of(then)
            .accept_pruned()
            .await
            .unwrap();
        assert_eq!((counted.count, counted.pruned), (1, 1));
        let now = things.query(json!({})).as_of(Moment::Cv(4)).await.unwrap();
        assert_eq!((now.items.len(), now.pruned), (4, 0));
        assert_eq!(things.query(json!({})).await.unwrap().items.len(), 4);
        let after = things
            .query(json!({}))
            .sort("n", Direction::Ascending)
            .as_of(then);
        let refused = after.after_id("r1").accept_pruned().await.unwrap_err();
        assert_eq!(refused.kind(), &ErrorKind::Pruned);
    }
}

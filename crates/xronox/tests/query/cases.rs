//! The table that the matcher, every backend and a real server share.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use xronox::{CollectionMap, ErrorKind, Moment, Settings, Written};
use xronox_model::filter::cases::{CASES, Case, DEPARTURES, INVALID};

use crate::{
    naive::{expected, ids, records},
    support::{Store, local_stores, stores},
};

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Whether the document is what a reader sees, and not one that can be written.
fn is_read_only(case: &Case) -> bool {
    let document = parsed(case.doc);
    ["_id", "_system"]
        .iter()
        .any(|name| document.get(name).is_some())
}

fn all() -> impl Iterator<Item = &'static Case> {
    CASES.iter().chain(DEPARTURES)
}

/// With the properties of the table named in the configuration.
fn configured() -> Settings {
    let map = CollectionMap {
        indexed_props: ["a", "b", "a.b", "c"]
            .map(|path| path.parse().unwrap())
            .to_vec(),
        ..CollectionMap::default()
    };
    Settings {
        collection_maps: BTreeMap::from([("cases".to_owned(), map)]),
        ..Settings::default()
    }
}

/// Without any index but those that always are.
fn scanning() -> Settings {
    let mut settings = configured();
    if let Some(map) = settings.collection_maps.get_mut("cases") {
        map.indexed_props = vec!["nothing".parse().unwrap()];
    }
    settings
}

#[tokio::test]
async fn every_backend_finds_what_the_matcher_matches() {
    agrees(stores(Settings::default()).await).await;
}

#[tokio::test]
async fn so_it_does_with_configured_indexes() {
    agrees(local_stores(configured()).await).await;
}

#[tokio::test]
async fn so_it_does_without_indexes() {
    agrees(stores(scanning()).await).await;
}

async fn agrees(stores: Vec<Store>) {
    for store in stores {
        let cases = store.xronox.collection("cases").unwrap();
        let documents: Vec<Value> = all().map(|case| parsed(case.doc)).collect();
        let written = cases.create_many(documents).await.unwrap();
        let written: Vec<Written> = written.into_iter().map(Result::unwrap).collect();
        let cv = written.last().unwrap().cv;
        let now = records(&cases, written.iter().map(|written| written.id.clone())).await;
        for past in [false, true] {
            if past {
                for (i, written) in written.iter().enumerate() {
                    if i % 3 == 0 {
                        cases.delete(&written.id).await.unwrap();
                    } else {
                        let other = json!({ "a": i, "b": [i] });
                        cases.update(&written.id, other).await.unwrap();
                    }
                }
            }
            for (case, written) in all().zip(&written) {
                let filter = parsed(case.filter);
                let mut query = cases.query(&filter).limit(1000);
                if past {
                    query = query.as_of(Moment::Cv(cv));
                }
                let page = query.await.unwrap();
                let found = ids(&page);
                let name = case.name;
                assert_eq!(
                    found,
                    expected(&now, &filter, &[], false),
                    "{name}: {filter}"
                );
                let matches = found.contains(&written.id);
                assert!(
                    matches == case.matches || is_read_only(case),
                    "{name}: {filter}"
                );
                if past {
                    let count = cases.count(&filter).as_of(Moment::Cv(cv)).await.unwrap();
                    assert_eq!(count.count, found.len() as u64, "{name}");
                }
                assert_eq!(page.cv, Some(cv), "{name}");
            }
        }
    }
}

/// Where no other document makes an index hold several keys.
#[tokio::test]
async fn each_document_alone_is_found_as_the_table_says() {
    let store = stores(Settings::default()).await.remove(0);
    for (i, case) in all().filter(|case| !is_read_only(case)).enumerate() {
        let alone = store.xronox.collection(&format!("case{i}")).unwrap();
        alone.create(parsed(case.doc)).await.unwrap();
        for _ in 0..2 {
            let found = alone.query(parsed(case.filter)).await.unwrap();
            assert_eq!(
                found.items.len() == 1,
                case.matches,
                "{}: {}",
                case.name,
                case.filter
            );
        }
    }
}

#[tokio::test]
async fn what_is_no_filter_is_refused_with_its_place() {
    for store in stores(Settings::default()).await {
        let cases = store.xronox.collection("cases").unwrap();
        for (name, filter) in INVALID {
            let refused = cases.query(parsed(filter)).await.unwrap_err();
            assert_eq!(refused.kind(), &ErrorKind::Invalid, "{name}");
            let refused = cases.count(parsed(filter)).await.unwrap_err();
            assert_eq!(refused.kind(), &ErrorKind::Invalid, "{name}");
        }
        let refused = cases
            .query(json!({ "a": { "$near": 1 } }))
            .await
            .unwrap_err();
        assert!(refused.to_string().contains("a.$near"), "{refused}");
    }
}

//! Versions and their files.

use std::time::Duration;

use serde_json::json;
use xronox::{ErrorKind, Op, Subject};

use super::*;

#[tokio::test]
async fn a_record_that_is_written_back_keeps_its_files() {
    for store in stores(settings()).await {
        let papers = papers(&store);
        let photos = json!([{ "id": 1, "image": "AQ==" }, { "id": 2, "image": "Ag==" }]);
        papers
            .create_with_id("a", json!({ "contract": "AQID", "photos": photos, "n": 1 }))
            .await
            .unwrap();
        let there = objects(&store).await;
        let written_back = |mut document: serde_json::Value, n: u64| {
            document["n"] = json!(n);
            document
        };
        // Edited, with its parts in another order.
        let mut document = written_back(papers.get_latest("a").await.unwrap().json(), 2);
        document["photos"].as_array_mut().unwrap().reverse();
        assert_eq!(papers.update("a", document).await.unwrap().ov, 1);
        assert_eq!(content(&papers, "a", "photos.0.image").await[..], [2]);
        assert_eq!(content(&papers, "a", "photos.1.image").await[..], [1]);
        papers.patch("a", json!({ "n": 3 })).await.unwrap();
        // What has the same content is the same file.
        papers
            .enrich("a", json!({ "contract": "AQID", "n": 4 }))
            .await
            .unwrap();
        papers
            .enrich("a", json!({ "photos": [{ "id": 1, "image": "AQ" }] }))
            .await
            .unwrap();
        papers
            .patch("a", json!({ "contract": "AQID", "n": 5 }))
            .await
            .unwrap();
        let same = papers
            .patch("a", json!({ "contract": "AQID" }))
            .await
            .unwrap();
        assert!(same.unchanged, "{same:?}");
        let mut import = papers
            .import()
            .id_from("_id".parse().unwrap())
            .start()
            .await
            .unwrap();
        let whole = papers.get_latest("a").await.unwrap().json();
        import.add(written_back(whole, 6)).await.unwrap();
        assert_eq!(import.finish().await.unwrap().updated, 1);
        let last = papers.get_latest("a").await.unwrap();
        assert_eq!(last.document()["n"], 6);
        assert_eq!(last.document()["photos"].as_array().unwrap().len(), 2);
        // Bodies are objects there, and those of two writes that changed nothing.
        let bodies = if store.on_servers { last.ov() + 2 } else { 0 };
        let after = objects(&store).await;
        assert!(after <= there + bodies, "{after} objects, {there} before");
        assert_eq!(
            places(&last),
            ["contract", "photos.0.image", "photos.1.image"]
        );

        // Another content is another file; the old versions keep theirs.
        papers
            .patch("a", json!({ "contract": "BAUG" }))
            .await
            .unwrap();
        assert_eq!(content(&papers, "a", "contract").await[..], [4, 5, 6]);
        let mut old = papers.file("a", "contract").version(0).await.unwrap();
        assert_eq!(old.bytes(10).await.unwrap()[..], [1, 2, 3]);
        papers.update("a", json!({ "n": 7 })).await.unwrap();
        assert_eq!(
            kind(papers.file("a", "contract").await),
            ErrorKind::NotFound
        );
        let back = papers.restore_object("a").to_ov(0).await.unwrap();
        assert_eq!(back.op, Op::Restore);
        assert_eq!(content(&papers, "a", "contract").await[..], [1, 2, 3]);
        papers.delete("a").await.unwrap();
        assert_eq!(
            kind(papers.file("a", "contract").await),
            ErrorKind::NotFound
        );
        papers.restore_object("a").to_ov(1).await.unwrap();
        assert_eq!(content(&papers, "a", "photos.0.image").await[..], [2]);
        assert!(papers.verify().await.unwrap().clean());
    }
}

#[tokio::test]
async fn files_go_with_the_last_version_that_names_them() {
    for store in stores(settings()).await {
        let papers = papers(&store);
        papers
            .create_with_id("a", json!({ "contract": "AQID", "notes": "eA==" }))
            .await
            .unwrap();
        papers
            .patch("a", json!({ "contract": "BAUG" }))
            .await
            .unwrap();
        papers
            .create_with_id("b", json!({ "contract": "AQID" }))
            .await
            .unwrap();
        // Two runs, since nothing is deleted at first sight.
        for _ in 0..2 {
            let gc = store.home().gc().grace(Duration::ZERO).await.unwrap();
            assert_eq!((gc.unnamed, gc.deleted), (0, 0), "{gc:?}");
        }
        papers.delete("a").hard().await.unwrap();
        assert_eq!(content(&papers, "b", "contract").await[..], [1, 2, 3]);
        papers.delete("b").hard().await.unwrap();
        assert_eq!(objects(&store).await, 0);
    }
}

#[tokio::test]
async fn what_no_version_names_is_garbage() {
    for store in local_stores(settings_and(&json!({ "versioning": false }))).await {
        let papers = papers(&store);
        papers
            .create_with_id("a", json!({ "contract": "AQID" }))
            .await
            .unwrap();
        papers
            .update("a", json!({ "contract": "BAUG" }))
            .await
            .unwrap();
        papers
            .update("a", json!({ "contract": "BwgJ" }))
            .await
            .unwrap();
        for deleted in [0, 2] {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let gc = store.home().gc().grace(Duration::ZERO).await.unwrap();
            assert_eq!((gc.unnamed, gc.deleted), (2, deleted), "{gc:?}");
        }
        assert_eq!(content(&papers, "a", "contract").await[..], [7, 8, 9]);
        assert!(papers.verify().await.unwrap().clean());
    }
}

#[tokio::test]
async fn copies_have_the_files() {
    let sources = stores(settings()).await;
    let targets = stores(settings()).await;
    for (source, target) in sources.iter().zip(targets.iter().rev()) {
        let papers = papers(source);
        papers
            .create_with_id("a", json!({ "contract": "AQID", "notes": "eA==", "n": 0 }))
            .await
            .unwrap();
        for n in 1..5 {
            papers.patch("a", json!({ "n": n })).await.unwrap();
        }
        papers
            .patch("a", json!({ "contract": "BAUG" }))
            .await
            .unwrap();
        let report = source.home().copy_to(target.home()).await.unwrap();
        assert_eq!((report.versions, report.compared), (6, 6));
        papers.patch("a", json!({ "n": 9 })).await.unwrap();
        papers
            .create_with_id("b", json!({ "contract": "AQID" }))
            .await
            .unwrap();
        source.home().copy_to(target.home()).await.unwrap();
        let copies = super::papers(target);
        for ov in 0..7 {
            let [one, other] = [&papers, &copies].map(|papers| papers.get_version("a", ov));
            let (one, other) = (one.await.unwrap(), other.await.unwrap());
            assert_eq!(one.json(), other.json());
            assert_eq!(one.files(), other.files());
        }
        // Each once, however many versions have it.
        for store in [source, target] {
            let all = Subject::new().field("n", 9);
            let all = store.home().footprint(all).await.unwrap().total;
            assert_eq!((all.versions, all.files), (7, 3));
        }
        assert_eq!(content(&copies, "a", "contract").await[..], [4, 5, 6]);
        assert_eq!(content(&copies, "b", "contract").await[..], [1, 2, 3]);
        assert!(copies.verify().await.unwrap().clean());
        papers.delete("a").hard().await.unwrap();
        assert_eq!(content(&copies, "a", "notes").await[..], *b"x");
    }
}

#[tokio::test]
async fn damage_is_found() {
    let stores = local_stores(settings()).await;
    let store = stores.iter().find(|store| store.folder.is_some()).unwrap();
    let papers = papers(store);
    papers
        .create_with_id("a", json!({ "contract": "AQID", "notes": "eA==" }))
        .await
        .unwrap();
    papers.patch("a", json!({ "n": 1 })).await.unwrap();
    let folder = store.folder.as_ref().unwrap().path().join("objects");
    let mut files = Vec::new();
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path);
            }
        }
    }
    let named = |end: &str| files.iter().find(|path| path.ends_with(end)).unwrap();
    std::fs::write(named("contract/blob.bin"), [1, 2, 4]).unwrap();
    std::fs::remove_file(named("notes/text.txt")).unwrap();
    let report = papers.verify().await.unwrap();
    let found: Vec<_> = report
        .damages
        .iter()
        .map(|damage| (damage.cv, format!("{:?}", damage.rule)))
        .collect();
    let expected = |cv| {
        [
            (Some(cv), "CorruptFile".to_owned()),
            (Some(cv), "MissingFile".to_owned()),
        ]
    };
    assert_eq!(found, [expected(0), expected(1)].concat());
    let mut damaged = papers.file("a", "contract").await.unwrap();
    assert_eq!(kind(damaged.bytes(10).await), ErrorKind::Corrupt);
    assert_eq!(
        kind(papers.get_latest("a").include_text().await),
        ErrorKind::Corrupt
    );
    // The document itself is whole.
    assert_eq!(papers.get_latest("a").await.unwrap().document()["n"], 1);
}

//! Files that come as text in a document.

use serde_json::json;
use xronox::ErrorKind;

use super::*;

#[tokio::test]
async fn encoded_files_become_references() {
    for store in stores(settings()).await {
        let papers = papers(&store);
        let written = papers.create_with_id(
            "a",
            json!({
                "n": 1,
                "contract": "+/+/AQ==",
                "notes": "Zvxy",
                "photos": [
                    { "name": "one", "image": "data:image/jpeg;base64,AQID" },
                    { "name": "none" },
                    { "image": null },
                ],
                "scans": ["AQ", "-_-_AQ"],
            }),
        );
        written.await.unwrap();
        let read = papers.get_latest("a").await.unwrap();
        let document = read.document();
        assert_eq!(document["n"], 1);
        let reference = json!({ "_file": {
            "contentType": "application/pdf",
            "sha256": xronox::Sha256::of(&[0xfb, 0xff, 0xbf, 1]),
            "size": 4,
            "text": false,
        } });
        assert_eq!(document["contract"], reference);
        assert_eq!(document["notes"]["_file"]["text"], true);
        assert_eq!(
            document["photos"][0]["image"]["_file"]["contentType"],
            "image/jpeg"
        );
        assert_eq!(document["photos"][1], json!({ "name": "none" }));
        assert_eq!(document["photos"][2], json!({ "image": null }));
        assert_eq!(
            places(&read),
            ["contract", "notes", "photos.0.image", "scans.0", "scans.1"]
        );
        assert_eq!(read.files()[1].text_size, Some(4));
        assert_eq!(
            content(&papers, "a", "contract").await[..],
            [0xfb, 0xff, 0xbf, 1]
        );
        assert_eq!(content(&papers, "a", "notes").await[..], b"f\xfcr"[..]);
        assert_eq!(content(&papers, "a", "photos.0.image").await[..], [1, 2, 3]);
        assert_eq!(content(&papers, "a", "scans.0").await[..], [1]);
        assert_eq!(
            content(&papers, "a", "scans.1").await[..],
            [0xfb, 0xff, 0xbf, 1]
        );
        let mut text = papers.file("a", "notes").as_text().await.unwrap();
        assert_eq!(text.bytes(100).await.unwrap()[..], *"für".as_bytes());
        for (path, as_text) in [("contract", true), ("n", false), ("photos.1.image", false)] {
            let open = papers.file("a", path);
            let open = if as_text { open.as_text() } else { open };
            assert_eq!(kind(open.await), ErrorKind::NotFound, "{path}");
        }
        // Text comes along where it is asked for.
        let read = papers.get_latest("a").include_text().await.unwrap();
        assert_eq!(read.texts()[&"notes".parse().unwrap()], "für");
        assert_eq!(read.json()["_system"]["texts"], json!({ "notes": "für" }));
        let page = papers
            .query(json!({ "n": 1 }))
            .include_text()
            .await
            .unwrap();
        assert_eq!(page.items[0].texts().len(), 1);
        let part = papers
            .get_latest("a")
            .include_text()
            .project(["n"])
            .await
            .unwrap();
        assert!(part.texts().is_empty() && part.files().is_empty());
        assert!(papers.verify().await.unwrap().clean());
    }
}

#[tokio::test]
async fn what_is_no_file_is_refused() {
    for store in local_stores(settings()).await {
        let papers = papers(&store);
        let foreign = {
            papers
                .create_with_id("other", json!({ "contract": "AQ==" }))
                .await
                .unwrap();
            papers.get_latest("other").await.unwrap().document()["contract"].clone()
        };
        for (document, path) in [
            (json!({ "contract": "not base64!" }), "contract"),
            (json!({ "contract": 1 }), "contract"),
            (json!({ "contract": { "a": 1 } }), "contract"),
            (json!({ "contract": "data:x" }), "contract"),
            (
                json!({ "photos": [{ "image": "AQ==" }, { "image": true }] }),
                "photos.1.image",
            ),
            (json!({ "scans": ["AQ==", { "_file": {} }] }), "scans.1"),
            (json!({ "contract": foreign }), "contract"),
        ] {
            invalid(papers.create(document.clone()).await, path);
            let many = papers
                .create_many([document.clone(), json!({})])
                .await
                .unwrap();
            let [refused, fine] = <[_; 2]>::try_from(many).unwrap();
            invalid(refused, path);
            fine.unwrap();
            papers.create_with_id("x", json!({ "n": 1 })).await.unwrap();
            invalid(papers.update("x", document.clone()).await, path);
            invalid(papers.enrich("x", document.clone()).await, path);
            let mut import = papers
                .import()
                .id_from("id".parse().unwrap())
                .start()
                .await
                .unwrap();
            let mut known = document.clone();
            known["id"] = json!("x");
            import.add(known).await.unwrap();
            invalid(import.finish().await, path);
            papers.delete("x").hard().await.unwrap();
        }
        // Many files, and large ones, are no documents.
        let many: Vec<&str> = vec!["AQ=="; 1001];
        invalid(papers.create(json!({ "scans": many })).await, "1000 files");
        let large = "A".repeat(24 << 20);
        invalid(
            papers.create(json!({ "contract": large })).await,
            "payloads.maxBytes",
        );
        assert!(papers.verify().await.unwrap().clean());
    }
}

#[tokio::test]
async fn a_look_alike_is_data() {
    for store in local_stores(settings()).await {
        let papers = papers(&store);
        papers
            .create_with_id("a", json!({ "contract": "AQ==" }))
            .await
            .unwrap();
        let own = papers.get_latest("a").await.unwrap().document()["contract"].clone();
        let mut forged = own.clone();
        forged["_file"]["size"] = json!(2);
        let document = json!({
            "contract": own,
            "elsewhere": { "deep": [own] },
            "forged": forged,
            "like": { "_file": { "key": "../../secret", "__proto__": {} } },
        });
        papers.update("a", document.clone()).await.unwrap();
        let read = papers.get_latest("a").await.unwrap();
        assert_eq!(read.document(), document);
        // The record's own file may stand anywhere.
        assert_eq!(places(&read), ["contract", "elsewhere.deep.0"]);
        for path in ["forged", "like"] {
            assert_eq!(kind(papers.file("a", path).await), ErrorKind::NotFound);
        }
        assert_eq!(content(&papers, "a", "elsewhere.deep.0").await[..], [1]);
    }
}

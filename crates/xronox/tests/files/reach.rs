//! Who may see which files.

use serde_json::json;
use xronox::ErrorKind;

use super::*;

#[tokio::test]
async fn hidden_files_are_hidden() {
    let hidden = json!({ "hiddenFields": ["contract", "photos.image"] });
    for store in local_stores(settings_and(&hidden)).await {
        let papers = papers(&store);
        let photos = json!([{ "id": 1, "image": "AQ==" }, { "id": 2, "image": "Ag==" }]);
        papers
            .create_with_id(
                "a",
                json!({ "contract": "AQID", "notes": "eA==", "photos": photos }),
            )
            .await
            .unwrap();
        let plain = papers.get_latest("a").await.unwrap();
        assert_eq!(places(&plain), ["notes"]);
        let whole = papers.get_latest("a").include_hidden().await.unwrap();
        assert_eq!(
            places(&whole),
            ["contract", "notes", "photos.0.image", "photos.1.image"]
        );
        // Writes keep what they do not show.
        papers.update("a", plain.json()).await.unwrap();
        let sealed = papers.with_hidden(false);
        let read = sealed.get_latest("a").include_text().await.unwrap();
        assert_eq!(places(&read), ["notes"]);
        let mut document = read.document();
        document["photos"].as_array_mut().unwrap().reverse();
        sealed.update("a", document).await.unwrap();
        let whole = papers.get_latest("a").include_hidden().await.unwrap();
        assert_eq!(whole.files().len(), 4);
        assert_eq!(content(&papers, "a", "photos.0.image").await[..], [2]);

        for path in ["contract", "photos.0.image"] {
            assert_eq!(kind(sealed.file("a", path).await), ErrorKind::Forbidden);
            let refused = sealed.attach("a", path, "x").await;
            assert_eq!(kind(refused), ErrorKind::Forbidden);
        }
        assert_eq!(sealed.file("a", "notes").await.unwrap().info().size, 1);
        // Whoever knows what its reference looks like cannot have it elsewhere.
        let contract = &whole.document()["contract"];
        for stolen in [
            sealed.patch("a", json!({ "mine": contract })).await,
            sealed.enrich("a", json!({ "mine": [contract] })).await,
            sealed.update("a", json!({ "notes": contract })).await,
            sealed
                .create_many([json!({ "mine": contract })])
                .await
                .unwrap()
                .remove(0),
        ] {
            assert_eq!(kind(stolen), ErrorKind::Invalid);
        }
        assert!(papers.verify().await.unwrap().clean());
    }
}

#[tokio::test]
async fn a_scope_holds_for_files() {
    for store in local_stores(settings()).await {
        let papers = papers(&store);
        for (id, team) in [("a", "red"), ("b", "blue")] {
            let document = json!({ "team": team, "contract": "AQID" });
            papers.create_with_id(id, document).await.unwrap();
        }
        let red = papers.scoped(json!({ "team": "red" })).unwrap();
        assert_eq!(red.file("a", "contract").await.unwrap().info().size, 3);
        red.attach("a", "notes", "x").await.unwrap();
        assert_eq!(kind(red.file("b", "contract").await), ErrorKind::NotFound);
        let refused = red.attach("b", "contract", "x").await;
        assert_eq!(kind(refused), ErrorKind::NotFound);
        let mut document = red.get_latest("a").await.unwrap().document();
        document["n"] = json!(1);
        red.update("a", document).await.unwrap();
        assert_eq!(content(&red, "a", "notes").await[..], *b"x");
    }
}

#[tokio::test]
async fn references_of_others_are_nobodys() {
    for store in local_stores(settings()).await {
        let papers = papers(&store);
        papers
            .create_with_id("a", json!({ "contract": "AQID" }))
            .await
            .unwrap();
        papers
            .create_with_id("b", json!({ "contract": "BAUG" }))
            .await
            .unwrap();
        let theirs = papers.get_latest("a").await.unwrap().document()["contract"].clone();
        invalid(
            papers.patch("b", json!({ "contract": theirs })).await,
            "contract",
        );
        // Where no file belongs it is data, and no file.
        papers.patch("b", json!({ "note": theirs })).await.unwrap();
        let read = papers.get_latest("b").await.unwrap();
        assert_eq!(places(&read), ["contract"]);
        assert_eq!(kind(papers.file("b", "note").await), ErrorKind::NotFound);
        // Nor is one of an earlier version.
        papers
            .patch("b", json!({ "contract": null }))
            .await
            .unwrap();
        let old = read.document()["contract"].clone();
        invalid(
            papers.patch("b", json!({ "contract": old })).await,
            "contract",
        );
    }
}

//! All that there is of somebody, and its removal.

use serde_json::{Value, json};
use xronox::{CollectionMap, ErrorKind, Footing, Settings, Subject};

use crate::support::{Store, stores};

fn settings() -> Settings {
    let map = json!({
        "base64Props": { "photo": { "contentType": "image/png" } },
        "hiddenFields": ["secret"],
    });
    let map: CollectionMap = serde_json::from_value(map).unwrap();
    let mut settings = Settings {
        hard_delete_enabled: true,
        ..Settings::default()
    };
    settings.collection_maps.insert("people".to_owned(), map);
    settings
}

/// Ann is all over the place.
async fn story(store: &Store) {
    let xronox = &store.xronox;
    let people = xronox.collection("people").unwrap();
    let person = json!({ "email": "ann@example.com", "photo": "AQID", "secret": "ann" });
    people
        .create_with_id("p1", person)
        .actor("user:42 (Ann)")
        .await
        .unwrap();
    people
        .patch("p1", json!({ "n": 1 }))
        .actor("job:x")
        .await
        .unwrap();
    people
        .patch("p1", json!({ "photo": "BAUG" }))
        .actor("user:42")
        .await
        .unwrap();
    people
        .create_with_id("p2", json!({ "secret": "ann" }))
        .actor("job:x")
        .await
        .unwrap();
    people
        .create_with_id("p3", json!({ "email": "bob@example.com" }))
        .actor("user:43")
        .await
        .unwrap();
    let mails = xronox.collection("mails").unwrap();
    let to = json!({ "to": ["bob@example.com", "ann@example.com"] });
    mails
        .create_with_id("m1", to)
        .actor("service:post")
        .await
        .unwrap();
    mails.delete("m1").await.unwrap();
    let nested = json!({ "_metadata": { "identity": { "identifier": "42" }, "tenantId": "a" } });
    mails
        .create_with_id("m2", nested)
        .actor("service:post")
        .await
        .unwrap();
    mails
        .create_with_id("m3", json!({ "to": [] }))
        .actor("agent:42")
        .await
        .unwrap();
    mails
        .patch("m3", json!({ "n": 1 }))
        .actor("user:42")
        .await
        .unwrap();
    let empty = xronox.collection("empty").unwrap();
    empty.create_with_id("e", json!({})).await.unwrap();
}

fn ann() -> Subject {
    Subject::new()
        .creator("user:42")
        .updater("user:42")
        .field("email", "ann@example.com")
        .field("to", "ann@example.com")
        .field("secret", "ann")
        .field("_metadata.identity.identifier", "42")
}

#[tokio::test]
async fn a_footprint_is_all_there_is() {
    for store in stores(settings()).await {
        story(&store).await;
        let mut lines = Vec::new();
        let search = store.home().footprint(ann());
        let report = search.on_found(|one| lines.push(one)).await.unwrap();
        let mut names: Vec<_> = lines
            .iter()
            .map(|one| (one.collection.to_string(), one.id.to_string(), one.versions))
            .collect();
        names.sort();
        let expected = [("mails", "m1", 2), ("mails", "m2", 1), ("mails", "m3", 2)];
        let expected = expected
            .into_iter()
            .chain([("people", "p1", 3), ("people", "p2", 1)]);
        let expected: Vec<_> = expected
            .map(|(collection, id, versions)| (collection.to_owned(), id.to_owned(), versions))
            .collect();
        assert_eq!(names, expected);
        let Footing {
            records,
            deleted,
            versions,
            files,
            bytes,
            ..
        } = report.total;
        assert_eq!((records, deleted, versions, files), (5, 1, 9, 2));
        assert_eq!(bytes, lines.iter().map(|one| one.bytes).sum::<u64>());
        assert_eq!(report.collections.len(), 2);
        let json: Value = serde_json::to_value(&report).unwrap();
        assert_eq!(json["collections"]["people"]["files"], 2);

        let some = store
            .home()
            .footprint(ann())
            .among(["mails", "none"])
            .await
            .unwrap();
        assert_eq!(some.total.records, 3);
        let nobody = store.home().footprint(Subject::new()).await.unwrap_err();
        assert_eq!(*nobody.kind(), ErrorKind::Invalid);
        // What is not known of somebody is not a property that all others lack.
        let unknown: Option<String> = None;
        for broken in [
            Subject::new().creator(""),
            Subject::new().field("a..b", 1),
            Subject::new().creator("user:42").field("email", unknown),
        ] {
            let error = store.home().footprint(broken).await.unwrap_err();
            assert_eq!(*error.kind(), ErrorKind::Invalid);
        }
        // Through other handles there is what they see.
        let scoped = store
            .home()
            .scoped(json!({ "to": { "$exists": true } }))
            .unwrap();
        assert_eq!(scoped.footprint(ann()).await.unwrap().total.records, 2);
        let sealed = store.home().with_hidden(false);
        let refused = sealed.footprint(ann()).await.unwrap_err();
        assert_eq!(*refused.kind(), ErrorKind::Forbidden);
    }
}

#[tokio::test]
async fn what_is_erased_is_gone() {
    for store in stores(settings()).await {
        story(&store).await;
        // Logically, twice.
        let report = store
            .home()
            .erase(ann())
            .actor("user:dpo")
            .reason("Art. 17")
            .await
            .unwrap();
        assert!(report.is_complete(), "{report:?}");
        // Who deleted one is its updater now.
        assert_eq!((report.deleted, report.remaining.total.deleted), (4, 4));
        let again = store.home().erase(ann()).await.unwrap();
        assert_eq!(again.deleted, 0);
        // For good, with those that were deleted before.
        let report = store
            .home()
            .erase(ann())
            .hard()
            .actor("user:dpo")
            .await
            .unwrap();
        assert!(report.is_complete(), "{report:?}");
        assert_eq!(
            (report.deleted, report.remaining.total),
            (4, Footing::default())
        );
        for (collection, left) in [("people", 1), ("mails", 1), ("empty", 1)] {
            let collection = store.xronox.collection(collection).unwrap();
            let found = collection.query(json!({})).include_deleted().await.unwrap();
            assert_eq!(found.items.len(), left);
            assert!(collection.verify().await.unwrap().clean());
        }
        // No object of theirs is left, but for bodies of those that stay.
        let gc = store.home().gc().dry_run().await.unwrap();
        assert!(gc.listed <= 5, "{gc:?}");
    }
}

#[tokio::test]
async fn nobody_erases_for_good_who_may_not() {
    for store in crate::support::local_stores(Settings::default()).await {
        story(&store).await;
        let refused = store.home().erase(ann()).hard().await.unwrap_err();
        assert_eq!(*refused.kind(), ErrorKind::Forbidden);
        assert_eq!(
            store.home().footprint(ann()).await.unwrap().total.deleted,
            1
        );
    }
}

/// What was of somebody once is found in the versions alone.
#[tokio::test]
async fn the_past_is_of_somebody_too() {
    for store in stores(settings()).await {
        let people = store.xronox.collection("people").unwrap();
        let with = |email: &str| json!({ "email": email, "photo": "AQID" });
        for id in ["moved", "gone", "twice"] {
            people
                .create_with_id(id, with("ann@example.com"))
                .await
                .unwrap();
        }
        people
            .create_with_id("other", with("bob@example.com"))
            .await
            .unwrap();
        for id in ["moved", "gone"] {
            let bobs = json!({ "email": "bob@example.com" });
            people.patch(id, bobs).await.unwrap();
        }
        people.patch("twice", json!({ "n": 1 })).await.unwrap();
        people.delete("gone").await.unwrap();
        // Deleted once more, by bringing that back.
        people.restore_object("gone").to_ov(1).await.unwrap();
        people.restore_object("gone").to_ov(2).await.unwrap();

        let ann = || Subject::new().field("email", "ann@example.com");
        let home = store.home();
        let now = home.footprint(ann()).await.unwrap();
        assert_eq!(now.total.records, 1);
        let (mut ids, mut looked_at) = (Vec::new(), 0);
        let search = home.footprint(ann()).in_history();
        let search = search.on_progress(|progress| looked_at = progress.done);
        let report = search.on_found(|one| ids.push(one.id.to_string())).await;
        let Footing {
            records,
            deleted,
            versions,
            files,
            ..
        } = report.unwrap().total;
        assert_eq!((records, deleted, versions, files), (3, 1, 9, 3));
        ids.sort();
        assert_eq!(ids, ["gone", "moved", "twice"]);
        assert_eq!(looked_at, 10);

        let erased = home.erase(ann()).in_history().await.unwrap();
        assert!(erased.is_complete(), "{erased:?}");
        assert_eq!((erased.deleted, erased.remaining.total.deleted), (2, 3));
        let erased = home.erase(ann()).in_history().hard().await.unwrap();
        assert!(erased.is_complete());
        assert_eq!((erased.deleted, erased.remaining.total.records), (3, 0));
        people.get_latest("other").await.unwrap();
        let left = people.get_version("moved", 0).await.unwrap_err();
        assert!(matches!(left.kind(), ErrorKind::NotFound), "{left}");
    }
}

//! Actors of writes.

use serde_json::{Map, Value, json};
use xronox::{Collection, ErrorKind, Identity, IntoActor, RecordId, Settings};

use crate::support::stores;

fn described() -> Identity {
    Identity::agent("research-v2")
        .and_then(|agent| agent.named("Research"))
        .and_then(|agent| {
            agent.described(json!({ "model": "m-7", "score": 2.0, "at": { "rate": 0.5 } }))
        })
        .unwrap()
}

async fn patch(orders: &Collection, id: &RecordId, n: u64, actor: impl IntoActor) {
    let patch = orders.patch(id, json!({ "n": n })).actor(actor);
    patch.await.unwrap();
}

#[tokio::test]
async fn an_actor_is_text_an_identity_or_nobody() {
    for store in stores(Settings::default()).await {
        let orders = store.xronox.collection("orders").unwrap();
        let made = orders.create(json!({ "n": 0 })).actor("user:42 (Ann)");
        let id = made.await.unwrap().id;
        let mut expected = vec![Some(Identity::user("42").unwrap().named("Ann").unwrap())];
        let text = "night shift".to_owned();
        patch(&orders, &id, 1, &text).await;
        patch(&orders, &id, 2, text).await;
        patch(&orders, &id, 3, described()).await;
        patch(&orders, &id, 4, &described()).await;
        patch(&orders, &id, 5, Some(described())).await;
        patch(&orders, &id, 6, None::<Identity>).await;
        patch(&orders, &id, 7, "").await;
        let user = Some(Identity::user("night shift").unwrap());
        expected.extend([user.clone(), user]);
        expected.extend(std::iter::repeat_n(Some(described()), 3));
        expected.extend([None, None]);

        let history = orders.history(&id).oldest_first().await.unwrap();
        let actors: Vec<_> = history.into_iter().map(|version| version.actor).collect();
        assert_eq!(actors, expected);
        let system = orders.get_version(&id, 3).await.unwrap().json()["_system"].clone();
        assert_eq!(system["creator"]["name"], "Ann");
        assert_eq!(
            system["updater"],
            json!({
                "type": "agent", "identifier": "research-v2", "name": "Research",
                "metadata": { "model": "m-7", "score": 2, "at": { "rate": 0.5 } }
            })
        );
    }
}

#[tokio::test]
async fn what_is_said_of_an_actor_can_be_asked_for() {
    for store in stores(Settings::default()).await {
        let orders = store.xronox.collection("orders").unwrap();
        orders
            .create_with_id("a", json!({}))
            .actor(described())
            .await
            .unwrap();
        orders
            .create_with_id("b", json!({}))
            .actor("user:ann")
            .await
            .unwrap();
        orders
            .patch("b", json!({ "n": 1 }))
            .actor(Identity::api("stripe").unwrap())
            .await
            .unwrap();
        for (filter, expected) in [
            (json!({ "_system.creator.identifier": "research-v2" }), "a"),
            (
                json!({ "meta": { "_system.creator.type": "user", "_system.creator.identifier": "ann" } }),
                "b",
            ),
            (json!({ "_system.updater.type": "api" }), "b"),
            (json!({ "_system.creator.metadata.model": "m-7" }), "a"),
            (json!({ "_system.creator.name": { "$regex": "^Res" } }), "a"),
        ] {
            let found = orders.query(&filter).await.unwrap();
            let ids: Vec<_> = found
                .items
                .iter()
                .map(|item| item.id().to_string())
                .collect();
            assert_eq!(ids, [expected], "{filter}");
        }
    }
}

#[tokio::test]
async fn bad_identities_are_refused_before_anything_is_written() {
    let with = |change: fn(&mut Identity)| {
        let mut identity = described();
        change(&mut identity);
        identity
    };
    for store in stores(Settings::default()).await {
        let orders = store.xronox.collection("orders").unwrap();
        for (part, identity) in [
            ("actor.type", with(|it| it.kind.clear())),
            ("actor.identifier", with(|it| it.identifier.push('\u{7f}'))),
            (
                "actor.identifier",
                with(|it| it.identifier = "x".repeat(257)),
            ),
            ("actor.name", with(|it| it.name = Some(String::new()))),
            (
                "actor.metadata",
                with(|it| it.metadata = Some(metadata(json!({ "x": "y".repeat(5000) })))),
            ),
            (
                "actor.metadata.a.a",
                with(|it| it.metadata = Some(metadata(deep()))),
            ),
        ] {
            let refused = orders.create(json!({})).actor(identity).await.unwrap_err();
            assert_eq!(refused.kind(), &ErrorKind::Invalid);
            assert!(refused.to_string().contains(part), "{refused}");
        }
        assert_eq!(orders.changes(None).await.unwrap().len(), 0);
    }
}

fn metadata(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        other => panic!("{other} is no object"),
    }
}

fn deep() -> Value {
    // Not by `json!`, which would copy the inner value at each depth.
    let around = |inner| Value::Object([("a".to_owned(), inner)].into_iter().collect());
    (0..10_000).fold(json!({}), |inner, _| around(inner))
}

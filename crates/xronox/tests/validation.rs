//! What collections demand of their documents, on every backend.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use serde_json::{Value, json};
use support::stores;
use xronox::{CollectionMap, Config, Error, ErrorKind, Settings, Validation, Xronox};

fn settings(validation: &Value) -> Settings {
    let map = CollectionMap {
        validation: Some(Validation {
            required_indexed: vec!["email".parse().unwrap(), "tags.name".parse().unwrap()],
            schema: Some(validation.clone().into()),
        }),
        ..CollectionMap::default()
    };
    Settings {
        collection_maps: [("people".to_owned(), map)].into(),
        ..Settings::default()
    }
}

async fn open(schema: &Value) -> Result<Xronox, Error> {
    let mut config = Config::memory();
    config.settings = settings(schema);
    Xronox::open(config).await
}

fn adults() -> Value {
    json!({
        "type": "object",
        "properties": {
            "email": { "type": "string", "format": "email" },
            "age": { "$ref": "#/$defs/age" },
            "name": { "type": "string", "pattern": "^[A-Z]" },
        },
        "$defs": { "age": { "type": "integer", "minimum": 18 } },
    })
}

fn ann() -> Value {
    json!({ "email": "ann@example.org", "age": 20, "tags": [{ "name": "a" }] })
}

fn places(refused: Result<impl Sized, Error>) -> Vec<String> {
    let Err(error) = refused else {
        panic!("it was accepted");
    };
    assert_eq!(*error.kind(), ErrorKind::Invalid, "{error}");
    for place in error.places() {
        assert!(error.to_string().contains(&place.to_string()), "{error}");
    }
    let places = error.places().iter();
    places.map(|place| place.path().to_owned()).collect()
}

#[tokio::test]
async fn every_way_to_write_is_checked() {
    for store in stores(settings(&adults())).await {
        let people = store.xronox.collection("people").unwrap();
        let wrong = json!({ "email": "nobody", "age": 3, "name": "ann", "tags": [{}] });
        let all = ["tags.name", "age", "email", "name"];
        let mut told = places(people.create(wrong.clone()).await);
        told[1..].sort_unstable();
        assert_eq!(told, all);
        people.create_with_id("ann", ann()).await.unwrap();
        let mut told = places(people.update("ann", wrong.clone()).await);
        told[1..].sort_unstable();
        assert_eq!(told, all);
        // Of a part it is asked what it makes of the whole.
        assert_eq!(
            places(people.patch("ann", json!({ "age": 17 })).await),
            ["age"]
        );
        let unset = people.patch("ann", json!({ "$unset": ["email"] })).await;
        assert_eq!(places(unset), ["email"]);
        let null = people.patch("ann", json!({ "email": null })).await;
        assert_eq!(places(null), ["email", "email"]);
        let enriched = people.enrich("ann", json!({ "name": "ann" })).await;
        assert_eq!(places(enriched), ["name"]);
        let merged = people
            .smart_insert(
                json!({ "email": "ann@example.org", "name": "Ann" }),
                ["email"],
            )
            .await
            .unwrap();
        assert_eq!((merged.id.to_string(), merged.ov), ("ann".to_owned(), 1));
        let part = json!({ "email": "bob@example.org", "name": "Bob" });
        assert_eq!(
            places(people.smart_insert(part, ["email"]).await),
            ["tags.name"]
        );
        let many = people.create_many([wrong.clone(), ann()]).await;
        // Two may have one address: nothing says that it is unique but the key.
        let [first, second] = many.unwrap().try_into().unwrap();
        assert_eq!(places(first).len(), 4);
        assert_eq!(*second.unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(people.count(json!({})).await.unwrap().count, 1);
        assert!(people.verify().await.unwrap().clean());
    }
}

/// What was written under another schema stays, and comes back as it was.
#[tokio::test]
async fn what_is_there_stays_when_demands_change() {
    let folder = tempfile::tempdir().unwrap();
    let open = async |schema: Value| {
        let mut config = Config::dev(folder.path());
        config.settings = settings(&schema);
        Xronox::open(config).await.unwrap()
    };
    let before = open(adults()).await;
    let people = before.collection("people").unwrap();
    people.create_with_id("ann", ann()).await.unwrap();
    before.close().await.unwrap();

    let after = open(json!({ "required": ["phone"] })).await;
    let people = after.collection("people").unwrap();
    assert_eq!(people.get_latest("ann").await.unwrap().document(), ann());
    assert_eq!(
        places(people.patch("ann", json!({ "age": 21 })).await),
        [""]
    );
    people.patch("ann", json!({ "phone": "1" })).await.unwrap();
    // As it was is as it was.
    people.restore_object("ann").to_ov(0).await.unwrap();
    assert_eq!(people.get_latest("ann").await.unwrap().document(), ann());
    people.delete("ann").await.unwrap();
    assert!(people.verify().await.unwrap().clean());
    after.close().await.unwrap();
}

/// Properties that are required are indexed.
#[tokio::test]
async fn required_properties_have_indexes() {
    let people = open(&json!({}))
        .await
        .unwrap()
        .collection("people")
        .unwrap();
    people.create(ann()).await.unwrap();
    let indexes = people.indexes().await.unwrap();
    for field in ["email", "tags.name"] {
        let field = [field.parse().unwrap()];
        assert!(
            indexes.iter().any(|index| index.fields == field),
            "{indexes:?}"
        );
    }
}

#[tokio::test]
async fn a_schema_that_is_none_is_refused_when_the_store_opens() {
    for (schema, place, why) in [
        (
            json!({ "type": 5 }),
            "people.validation.schema.type",
            "type",
        ),
        (
            json!({ "properties": { "a.b": { "minimum": "x" } } }),
            r"schema.properties",
            "number",
        ),
        // Neither files nor servers are asked,
        (
            json!({ "$ref": "http://localhost/x" }),
            "schema",
            "disabled",
        ),
        (
            json!({ "$ref": "file:///etc/passwd" }),
            "schema",
            "disabled",
        ),
        // and no pattern takes longer than what it searches is long.
        (
            json!({ "pattern": r"^(a+)+\1$" }),
            "schema.pattern",
            "regex",
        ),
    ] {
        let error = open(&schema).await.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Config);
        let [problem] = error.problems() else {
            panic!("{error}");
        };
        assert!(problem.path.contains(place), "{problem}");
        assert!(problem.to_string().contains(why), "{problem}");
    }
}

#[tokio::test]
async fn hostile_documents_meet_a_bounded_check() {
    // One that refers to itself, without and with a step into the document.
    for schema in [
        json!({ "$ref": "#" }),
        json!({ "additionalProperties": { "$ref": "#" }, "items": { "$ref": "#" } }),
        json!({ "properties": { "tags": { "items": { "pattern": "(a+)+$" } } } }),
    ] {
        let people = open(&schema).await.unwrap().collection("people").unwrap();
        let deep = (0..90).fold(json!(1), |inner, _| json!([inner]));
        let mut document = ann();
        document["deep"] = deep;
        document["long"] = json!("a".repeat(1 << 20) + "b");
        document["__proto__"] = json!({ "constructor": null });
        document["tags"] = json!([{ "name": 1 }, "a".repeat(100_000) + "b"]);
        let created = people.create(document.clone()).await;
        if schema["properties"].is_null() {
            let id = created.unwrap().id;
            assert_eq!(people.get_latest(&id).await.unwrap().document(), document);
        } else {
            assert_eq!(places(created), ["tags.1"]);
        }
    }
}

/// What a write does not show and so keeps counts like what it names.
#[tokio::test]
async fn hidden_fields_are_there_too() {
    let mut settings = settings(&adults());
    let people = settings.collection_maps.get_mut("people").unwrap();
    people.hidden_fields = vec!["email".parse().unwrap()];
    for store in stores(settings).await {
        let people = store.xronox.collection("people").unwrap();
        let shown = json!({ "age": 30, "tags": [{ "name": "b" }] });
        assert_eq!(places(people.create(shown.clone()).await), ["email"]);
        let mut whole = ann();
        whole["key"] = json!(1);
        people.create_with_id("ann", whole).await.unwrap();
        people.update("ann", shown.clone()).await.unwrap();
        people.patch("ann", json!({ "key": 1 })).await.unwrap();
        let mut imported = shown.clone();
        imported["key"] = json!(1);
        imported["age"] = json!(31);
        let mut other = imported.clone();
        other["key"] = json!(2);
        let import = async |document: Value| {
            let mut import = people.import().key("key".parse()?).start().await?;
            import.add(document).await?;
            import.finish().await
        };
        assert_eq!(import(imported).await.unwrap().updated, 1);
        assert_eq!(places(import(other).await), ["email"]);
        // What is wrong with it is not told to who must not see it.
        let bad = people.patch("ann", json!({ "email": "no address" })).await;
        assert_eq!(places(bad), ["email"]);
        let latest = people.get_latest("ann").include_hidden().await.unwrap();
        assert_eq!(latest.document()["email"], "ann@example.org");
        assert_eq!(latest.document()["age"], 31);
        assert_eq!(people.count(json!({})).await.unwrap().count, 1);
    }
}

/// Demands that came later are not met by what is hidden, and a sealed handle
/// is told no more than that.
#[tokio::test]
async fn a_sealed_handle_is_told_nothing_of_what_is_hidden() {
    let folder = tempfile::tempdir().unwrap();
    let open = async |schema: Value| {
        let mut config = Config::dev(folder.path());
        let map = CollectionMap {
            validation: Some(Validation {
                schema: Some(schema.into()),
                ..Validation::default()
            }),
            hidden_fields: vec!["contacts".parse().unwrap()],
            ..CollectionMap::default()
        };
        config.settings.collection_maps = [("people".to_owned(), map)].into();
        Xronox::open(config).await.unwrap()
    };
    let before = open(json!({})).await;
    let people = before.collection("people").unwrap();
    let whole = json!({ "n": 1, "contacts": { "ann@example.org": { "age": 5 } } });
    people.create_with_id("a", whole).await.unwrap();
    before.close().await.unwrap();

    let schema = json!({
        "properties": {
            "n": { "maximum": 5 },
            "contacts": { "additionalProperties": { "properties": { "age": { "minimum": 18 } } } },
        },
    });
    let after = open(schema).await;
    let people = after.collection("people").unwrap();
    let told = people
        .patch("a", json!({ "n": 9 }))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        told.contains("ann@example") && told.contains("18"),
        "{told}"
    );
    let sealed = people.with_hidden(false);
    let refused = sealed.patch("a", json!({ "n": 9 })).await.unwrap_err();
    let told = refused.to_string();
    assert!(
        !told.contains("ann@example") && !told.contains("18"),
        "{told}"
    );
    let mut paths: Vec<&str> = refused.places().iter().map(xronox::Invalid::path).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["contacts", "n"]);
    after.close().await.unwrap();
}

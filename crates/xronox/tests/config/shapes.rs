//! What loads.

use serde_json::{Map, Value, json};
use xronox::{Config, KeepOne, RoutingPart, Unindexed};

use crate::{load, table};

/// The connections that a part of a configuration names but leaves out.
fn completed(mut value: Value) -> Value {
    fn names(value: &Value, key: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                found.extend(object.get(key).and_then(Value::as_str).map(str::to_owned));
                object.values().for_each(|value| names(value, key, found));
            }
            Value::Array(items) => items.iter().for_each(|value| names(value, key, found)),
            _ => {}
        }
    }
    let local = value["localStorage"]["enabled"] == true;
    for (key, table) in [
        ("dbConnRef", "dbConnections"),
        ("spaceConnRef", "spacesConnections"),
    ] {
        let mut found = Vec::new();
        names(&value, key, &mut found);
        let whole = match value.get_mut("xronox") {
            Some(section) => section,
            None => &mut value,
        };
        let connections = whole.as_object_mut().unwrap();
        let connections = connections.entry(table).or_insert_with(|| json!({}));
        let connections = connections.as_object_mut().unwrap();
        for name in found {
            let described = match table {
                "dbConnections" => json!({ "mongoUri": format!("mongodb://{name}") }),
                _ if local => continue,
                _ => json!({
                    "endpoint": "https://s3.amazonaws.com", "region": "us-east-1",
                    "accessKey": "ENV.AWS_ACCESS_KEY_ID", "secretKey": "ENV.AWS_SECRET_ACCESS_KEY"
                }),
            };
            connections.entry(name).or_insert(described);
        }
    }
    value
}

/// Whether everything in one value is in the other.
fn contains(whole: &Value, part: &Value, path: &str) {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            for (key, part) in part {
                let path = format!("{path}.{key}");
                let found = whole.get(key);
                // What is empty may be left out.
                let empty = part == &json!([]) || part == &json!({});
                match found {
                    None => assert!(empty, "{path} is lost"),
                    Some(found) => contains(found, part, &path),
                }
            }
        }
        (Value::Array(whole), Value::Array(part)) => {
            assert_eq!(whole.len(), part.len(), "{path}");
            for (i, (whole, part)) in whole.iter().zip(part).enumerate() {
                contains(whole, part, &format!("{path}[{i}]"));
            }
        }
        (Value::Number(whole), Value::Number(part)) => {
            assert_eq!(whole.as_f64(), part.as_f64(), "{path}");
        }
        // Indexes are read both ways, and variables are filled in.
        (_, Value::String(text)) if text.starts_with("ENV.") => {}
        (Value::String(text), _) if text.contains("***") => {}
        _ => assert_eq!(whole, part, "{path}"),
    }
}

#[test]
fn every_published_example_loads() {
    for (name, value) in table(include_str!("examples.json")) {
        let config = load(completed(value.clone()));
        let config = config.unwrap_or_else(|error| panic!("{name}: {error}"));
        let value = value.get("xronox").unwrap_or(&value);
        contains(&config.show(), value, &name);
    }
}

/// The keys of the other spelling, as the model spells them.
fn spelt(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let spell = |key: &String| match key.as_str() {
                "uri" => "mongoUri".to_owned(),
                "maxAttempts" => "maxRetries".to_owned(),
                "baseDelayMs" => "retryDelayMs".to_owned(),
                _ => key.clone(),
            };
            let object = object.iter().filter(|(key, _)| *key != "$schema");
            let object = object.map(|(key, value)| match key.as_str() {
                "redis" => (key.clone(), value.clone()),
                _ => (spell(key), spelt(value)),
            });
            Value::Object(object.collect())
        }
        Value::Array(items) => items.iter().map(spelt).collect(),
        other => other.clone(),
    }
}

#[test]
fn every_key_loads_and_is_shown() {
    let maximal = Value::Object(table(include_str!("maximal.json")));
    let config = load(maximal.clone()).unwrap();
    let shown = config.show();
    contains(&shown, &spelt(&maximal), "");
    assert!(!shown.to_string().contains("hush"), "{shown}");

    // What is shown loads again and shows the same.
    let mut again = shown.clone();
    again["signing"]["key"] = json!("ENV.SIGNING_KEY");
    assert_eq!(load(again).unwrap().show(), shown);

    let databases = &config.databases;
    let messaging = databases.messaging.as_ref().unwrap();
    assert_eq!(messaging.settings.retention.max_versions, 4);
    let database = messaging.databases.database.as_ref().unwrap();
    assert_eq!(database.db_name, "messaging");
    let logs = databases.logs.as_ref().unwrap();
    assert!(logs.databases.database.is_none());
    assert_eq!(logs.databases.tenant_databases.len(), 1);
    let runtime = databases.runtime.as_ref().unwrap();
    let dynamic = runtime.dynamic_tenants.as_ref().unwrap();
    assert_eq!(dynamic.templates.connections().len(), 2);
    let premium = dynamic.templates_of(Some("premium"));
    assert_eq!(premium.connections().len(), 1);
    assert_eq!(
        premium.db_name_template.unwrap().to_string(),
        "runtime_premium_{tenantId}"
    );
    assert!(premium.analytics_db_name_template.is_some());
    assert!(premium.bucket_template.is_none());
    assert_eq!(config.settings.queries.unindexed, Unindexed::Error);
    let versions = config.settings.retention.ver.as_ref().unwrap();
    assert_eq!(versions.thin[1].keep, KeepOne::Daily);
    assert_eq!(config.settings.all_counter_rules().count(), 2);
    let alternatives = config.routing.choose_key.alternatives();
    assert_eq!(
        alternatives[2],
        [RoutingPart::Collection, RoutingPart::ObjectId]
    );
}

/// No key of the model is left out of the maximal file.
#[test]
fn the_maximal_file_has_every_key() {
    fn keys(value: &Value, path: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                for (key, value) in object {
                    let path = format!("{path}.{key}");
                    keys(value, &path, found);
                    found.push(path);
                }
            }
            Value::Array(items) => items.iter().for_each(|value| keys(value, path, found)),
            _ => {}
        }
    }
    let schema = Config::schema();
    let maximal = Value::Object(table(include_str!("maximal.json"))).to_string();
    let definitions = schema["$defs"].as_object().unwrap();
    for (name, definition) in definitions {
        let none = Map::new();
        for key in definition["properties"].as_object().unwrap_or(&none).keys() {
            let other = matches!(key.as_str(), "maxRetries" | "retryDelayMs");
            assert!(
                other || maximal.contains(&format!("\"{key}\":")),
                "{name}.{key}"
            );
        }
    }
    let mut found = Vec::new();
    keys(
        &Value::Object(table(include_str!("maximal.json"))),
        "",
        &mut found,
    );
    assert!(found.len() > 400);
}

#[test]
fn an_empty_file_has_the_documented_defaults() {
    let config = load(json!({})).unwrap();
    assert_eq!(config, Config::default());
    insta::assert_json_snapshot!(config.show());
}

#[test]
fn the_schema_is_a_schema() {
    insta::assert_json_snapshot!(Config::schema()["$defs"]["Fallback"]);
    insta::assert_json_snapshot!(Config::schema()["$defs"]["DbConnection"]);
}

//! No secret is ever shown.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::load;

/// A configuration with a secret in every place that takes one.
fn with(secret: &str) -> Value {
    json!({
        "dbConnections": {
            "main": { "mongoUri": format!("mongodb://ann:{secret}@db1,db2/admin?replicaSet=rs0") },
            "token": { "uri": format!("mongodb://db/?authMechanismProperties=AWS_SESSION_TOKEN:{secret}") }
        },
        "spacesConnections": {
            "s3": { "endpoint": "https://s3.example", "accessKey": "AKIA", "secretKey": secret, "bucket": "b" }
        },
        "databases": { "messaging": {
            "dbConnRef": "main", "dbName": "m", "redis": { "uri": format!("redis://:{secret}@cache") }
        } },
        "encryption": { "masterKey": "ENV.KEY" },
        "signing": { "key": "ENV.KEY" },
        "worker": { "alertHook": format!("https://hooks.example/{secret}") }
    })
}

/// What is done to a configuration to break it.
fn broken(value: &mut Value, steps: &[usize], how: usize) {
    let mut at = value;
    for step in steps {
        let next = match at {
            Value::Object(object) if !object.is_empty() => {
                let i = step % object.len();
                object.values_mut().nth(i)
            }
            _ => None,
        };
        match next {
            Some(next) => at = next,
            None => return,
        }
    }
    match how {
        0 => *at = json!([at.take()]),
        1 => *at = json!({ "misspelt": at.take() }),
        2 => {
            // A value where its key should be.
            let Value::Object(object) = at else { return };
            let moved: Vec<Value> = object.values().cloned().collect();
            for value in moved {
                if let Value::String(text) = value
                    && text.contains("://")
                {
                    object.insert(text, json!(1));
                }
            }
        }
        3 => {
            let Value::Object(object) = at else { return };
            let keys: Vec<String> = object.keys().cloned().collect();
            for key in keys {
                if let Some(value) = object.remove(&key) {
                    object.insert(format!("{key}x"), value);
                }
            }
        }
        _ => {
            if let Value::String(text) = at {
                text.insert(0, 'x');
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn neither_shown_nor_complained_about(
        secret in "[a-zA-Z0-9/?#@:%!$&+=.,-]{0,20}Qq7[a-zA-Z0-9/?#@:%!$&+=.,-]{0,20}",
        steps in prop::collection::vec(0_usize..8, 0..5),
        how in 0_usize..5,
    ) {
        let mut value = with(&secret);
        broken(&mut value, &steps, how);
        let loader = xronox::ConfigLoader::new().variables(|_| Some(secret.clone()));
        let said = match loader.from_value(value) {
            Ok(config) => format!("{config:?} {} {:?}", config.show(), config.unsupported()),
            Err(error) => format!("{error} {error:?} {:?}", error.problems()),
        };
        prop_assert!(!said.contains("Qq7"), "{said}");
    }

    /// Whatever a file holds, reading it ends well.
    #[test]
    fn any_json_is_read_or_refused(text in any_json()) {
        if let Err(error) = load(text) {
            prop_assert!(!error.problems().is_empty());
        }
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let keys = prop::sample::select(vec![
        "dbConnections",
        "databases",
        "runtime",
        "tenantDatabases",
        "dynamicTenants",
        "tiers",
        "main",
        "mongoUri",
        "dbConnRef",
        "dbName",
        "dbNameTemplate",
        "collectionMaps",
        "indexes",
        "fields",
        "projection",
        "include",
        "retention",
        "ver",
        "analytics",
        "timeBasedRules",
        "messaging",
        "logs",
        "redis",
        "uri",
        "pool",
        "xronox",
        "enabled",
        "queries",
        "",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop::sample::select(vec![
            "main",
            "memory:",
            "{tenantId}",
            "ENV.SECRET",
            "ENV.",
            "a..b",
            "*"
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(keys.clone(), inner, 0..6).prop_map(|map| {
                map.into_iter()
                    .map(|(key, value)| (key.to_owned(), value))
                    .collect()
            }),
        ]
    })
}

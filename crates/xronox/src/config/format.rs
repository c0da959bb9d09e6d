//! What strings, filters and schemas of a configuration have to be.
//!
//! Each format has a type that stands for it in the schema of the model, and a
//! check by its name.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;
use xronox_model::{CollectionName, Path};

/// A type that is nothing but a place for a schema.
macro_rules! format_of_text {
    ($(#[$doc:meta])* $name:ident, $format:literal) => {
        $(#[$doc])*
        pub(super) enum $name {}

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "format": $format })
            }
        }
    };
}

format_of_text!(
    /// A dotted path.
    DottedPath, "dotted-path"
);
format_of_text!(
    /// The name of a collection.
    Collection, "collection"
);
format_of_text!(
    /// A name with placeholders.
    Template, "template"
);
format_of_text!(
    /// What is hashed to choose a connection.
    RoutingKey, "routing-key"
);
format_of_text!(
    /// A regular expression.
    Regex, "rust-regex"
);
format_of_text!(
    /// The inside of a character class.
    Characters, "characters"
);
format_of_text!(
    /// An ISO 8601 duration.
    Duration, "duration"
);
format_of_text!(
    /// A cron expression of five fields.
    Cron, "cron"
);
format_of_text!(
    /// An IANA time zone.
    TimeZone, "time-zone"
);

/// A filter.
pub(super) enum Filter {}

impl JsonSchema for Filter {
    fn schema_name() -> Cow<'static, str> {
        "Filter".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "format": "filter" })
    }
}

/// A JSON Schema.
pub(super) enum JsonSchemaDocument {}

impl JsonSchema for JsonSchemaDocument {
    fn schema_name() -> Cow<'static, str> {
        "JsonSchema".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object" })
    }
}

/// A direction of an index.
pub(super) enum IndexDirection {}

impl JsonSchema for IndexDirection {
    fn schema_name() -> Cow<'static, str> {
        "IndexDirection".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "enum": [1, -1] })
    }
}

/// A projection: what it includes, minus what it excludes.
pub(super) enum Projection {}

impl JsonSchema for Projection {
    fn schema_name() -> Cow<'static, str> {
        "Projection".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let paths = json_schema!({
            "type": "array", "items": { "type": "string", "format": "dotted-path" }
        });
        json_schema!({
            "description": "What a read returns: what it includes, minus what it excludes.",
            "type": "object",
            "properties": {
                "include": {
                    "description": "`*` for everything, hidden fields too, or a list of paths.",
                    "anyOf": [{ "type": "string", "enum": ["*"] }, paths]
                },
                "exclude": {
                    "description": "Paths that are left out.",
                    "type": "array",
                    "items": { "type": "string", "format": "dotted-path" }
                }
            },
            "additionalProperties": false
        })
    }
}

/// What is expected in the place of a value of this format that is wrong;
/// `None` for a format that says nothing about values.
pub(super) fn check(format: &str, value: &Value) -> Option<Result<(), String>> {
    let text = value.as_str().unwrap_or_default();
    let why =
        |prefix: &str, error: &xronox_model::Invalid| format!("{prefix}: {}", error.message());
    Some(match format {
        "dotted-path" => text
            .parse::<Path>()
            .map(drop)
            .map_err(|error| why("a dotted path", &error)),
        "collection" => text.parse::<CollectionName>().map(drop).map_err(|_| {
            "the name of a collection: 1 to 100 letters, digits, `_` and `-`".to_owned()
        }),
        "template" => text
            .parse::<super::Template>()
            .map(drop)
            .map_err(|error| format!("a name with placeholders; this one {}", error.message())),
        "routing-key" => text.parse::<super::RoutingKey>().map(drop).map_err(|_| {
            "tenantId, dbName, collection, objectId with `|` or `:` between".to_owned()
        }),
        "rust-regex" => regex::Regex::new(text)
            .map(drop)
            .map_err(|_| "a regular expression".to_owned()),
        "characters" => regex::Regex::new(&format!("^[{text}]*$"))
            .ok()
            .filter(|_| !text.is_empty())
            .map(drop)
            .ok_or_else(|| "characters and ranges of them, such as `a-z0-9-`".to_owned()),
        "duration" => text
            .parse::<jiff::Span>()
            .ok()
            .filter(|span| text.starts_with('P') && span.is_positive())
            .map(drop)
            .ok_or_else(|| "an ISO 8601 duration such as `PT1H` or `P1D`".to_owned()),
        "cron" => super::cron::check(text),
        "time-zone" => is_time_zone(text)
            .then_some(())
            .ok_or_else(|| "an IANA time zone such as `UTC` or `Europe/Rome`".to_owned()),
        "filter" => xronox_model::Filter::parse(value)
            .map(drop)
            .map_err(|error| {
                if error.path().is_empty() {
                    format!("a filter: {}", error.message())
                } else {
                    format!("a filter: `{}`: {}", error.path(), error.message())
                }
            }),
        _ => return None,
    })
}

/// One of the zones of the database that is built in.
fn is_time_zone(text: &str) -> bool {
    jiff::tz::TimeZone::get(text).is_ok()
}

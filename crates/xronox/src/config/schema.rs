//! The JSON Schema of a configuration, made from the model.

use std::sync::OnceLock;

use schemars::{Schema, generate::SchemaSettings, transform::transform_subschemas};
use serde_json::{Map, Value, json};

use super::Config;

/// The schema that files are checked against. Other spellings of a key are
/// `x-alias` beside it.
pub(super) fn schema() -> &'static Value {
    static SCHEMA: OnceLock<Value> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let closed = SchemaSettings::draft2020_12().with_transform(close);
        closed
            .into_generator()
            .into_root_schema_for::<Config>()
            .to_value()
    })
}

/// Objects have the keys that they list and no others.
fn close(schema: &mut Schema) {
    let listed = schema.get("properties").is_some();
    if listed && schema.get("additionalProperties").is_none() {
        schema.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    schema.remove("unevaluatedProperties");
    transform_subschemas(&mut close, schema);
}

/// The schema for editors: with other spellings as keys of their own, and a
/// file whole or under `xronox`.
pub(super) fn published() -> Value {
    let mut whole = schema().clone();
    spell_out(&mut whole);
    let mut top = Map::new();
    if let Some(object) = whole.as_object_mut() {
        for key in ["$schema", "$defs"] {
            top.extend(object.remove_entry(key));
        }
        if let Some(Value::Object(properties)) = object.get_mut("properties") {
            properties.insert("$schema".to_owned(), json!({ "type": "string" }));
        }
    }
    if let Some(Value::Object(definitions)) = top.get_mut("$defs") {
        definitions.insert("Config".to_owned(), whole);
    }
    top.insert("title".to_owned(), json!("Xronox configuration"));
    top.insert("type".to_owned(), json!("object"));
    top.insert("if".to_owned(), json!({ "required": ["xronox"] }));
    let section = json!({
        "properties": { "$schema": { "type": "string" }, "xronox": { "$ref": "#/$defs/Config" } },
        "additionalProperties": false
    });
    top.insert("then".to_owned(), section);
    top.insert("else".to_owned(), json!({ "$ref": "#/$defs/Config" }));
    Value::Object(top)
}

fn spell_out(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(spell_out),
        Value::Object(object) => {
            if let Some(Value::String(text)) = object.get_mut("description") {
                *text = plain(text);
            }
            let mut aliases = Vec::new();
            if let Some(Value::Object(properties)) = object.get_mut("properties") {
                let mut spelt = Map::new();
                for (key, property) in properties.iter_mut() {
                    let alias = property
                        .as_object_mut()
                        .and_then(|object| object.remove("x-alias"));
                    if let Some(Value::String(alias)) = alias {
                        spelt.insert(alias.clone(), property.clone());
                        aliases.push((key.clone(), alias));
                    }
                }
                properties.extend(spelt);
            }
            for (key, alias) in aliases {
                let required = object.get_mut("required").and_then(Value::as_array_mut);
                let Some(required) = required.filter(|keys| keys.contains(&json!(key))) else {
                    continue;
                };
                required.retain(|other| *other != json!(key));
                let either = json!([{ "required": [key] }, { "required": [alias] }]);
                object.insert("oneOf".to_owned(), either);
            }
            object.values_mut().for_each(spell_out);
        }
        _ => {}
    }
}

/// A description without line breaks and links to other documentation.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, link)) = rest.split_once("[`") {
        out.push_str(before);
        let Some((name, after)) = link.split_once("`]") else {
            out.push_str("[`");
            rest = link;
            continue;
        };
        out.push('`');
        out.push_str(name);
        out.push('`');
        rest = match after
            .strip_prefix('(')
            .and_then(|target| target.split_once(')'))
        {
            Some((_, after)) => after,
            None => after,
        };
    }
    out.push_str(rest);
    out.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every keyword of the schema is one that the check reads or that says
    /// nothing about values.
    #[test]
    fn the_check_knows_every_keyword() {
        fn look(schema: &Value) {
            let Value::Object(object) = schema else {
                assert!(schema.is_boolean(), "{schema}");
                return;
            };
            for (keyword, value) in object {
                match keyword.as_str() {
                    "properties" | "$defs" => value.as_object().unwrap().values().for_each(look),
                    "items" | "additionalProperties" | "propertyNames" => look(value),
                    "anyOf" | "oneOf" => value.as_array().unwrap().iter().for_each(look),
                    "$ref" | "type" | "required" | "dependentRequired" | "enum" | "const"
                    | "minimum" | "maximum" | "minLength" | "maxLength" | "minItems"
                    | "minProperties" | "format" | "writeOnly" | "x-alias" | "x-key-source"
                    // These say nothing about values.
                    | "$schema" | "title" | "description" | "default" => {}
                    other => panic!("{other}: {value}"),
                }
            }
        }
        look(schema());
    }

    #[test]
    fn every_key_is_described() {
        fn look(schema: &Value, path: &str) {
            let Some(object) = schema.as_object() else {
                return;
            };
            for (name, property) in object
                .get("properties")
                .into_iter()
                .flat_map(|p| p.as_object().unwrap())
            {
                assert!(property.get("description").is_some(), "{path}.{name}");
                look(property, &format!("{path}.{name}"));
            }
            for (name, definition) in object
                .get("$defs")
                .into_iter()
                .flat_map(|p| p.as_object().unwrap())
            {
                look(definition, name);
            }
        }
        look(schema(), "");
    }
}

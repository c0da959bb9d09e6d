//! Checks a configuration against the schema of the model, and takes out what
//! does not fit, so that the rest can be read and checked further.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{
    format, mask,
    problem::{Problem, Step, Trail, nearest},
    schema::schema,
};

/// What was found to be wrong, each with its place.
pub(super) type Found = Vec<(Trail, Problem)>;

/// A configuration without the parts that do not fit.
pub(super) struct Shaped {
    /// What is left.
    pub(super) value: Value,
    /// What was taken out and why.
    pub(super) problems: Found,
    /// By the place of a list that lost items: which ones are left.
    kept: BTreeMap<Trail, Vec<usize>>,
}

impl Shaped {
    /// The place, in the file, of a place in what is left of it.
    pub(super) fn original(&self, trail: &Trail) -> Trail {
        let mut original = Trail::default();
        for step in trail.steps() {
            let step = match (step, self.kept.get(&original)) {
                (Step::Index(i), Some(kept)) => Step::Index(kept.get(*i).copied().unwrap_or(*i)),
                (step, _) => step.clone(),
            };
            original = original.step(step);
        }
        original
    }
}

/// Checks a configuration. `tokens` are the places that a variable filled in,
/// with what stands there in the file.
pub(super) fn shape(value: Value, tokens: &BTreeMap<Trail, String>) -> Shaped {
    let mut walk = Walk {
        tokens,
        problems: Vec::new(),
        kept: BTreeMap::new(),
    };
    let value = walk.value(value, schema(), &Trail::default());
    Shaped {
        value: value.unwrap_or_else(|| Value::Object(Map::new())),
        problems: walk.problems,
        kept: walk.kept,
    }
}

struct Walk<'a> {
    tokens: &'a BTreeMap<Trail, String>,
    problems: Found,
    kept: BTreeMap<Trail, Vec<usize>>,
}

impl Walk<'_> {
    /// The value without what does not fit; `None` if nothing is left.
    fn value(&mut self, value: Value, schema: &'static Value, at: &Trail) -> Option<Value> {
        let schema = resolved(schema);
        if let Some(variants) = variants(schema) {
            return self.one_of(value, schema, &variants, at);
        }
        if !type_fits(&value, schema) {
            return self.wrong(&value, schema, at);
        }
        if let Some(allowed) = allowed(schema)
            && !allowed.contains(&&value)
        {
            let names = allowed.iter().filter_map(|name| name.as_str());
            let near = value.as_str().and_then(|text| nearest(text, names));
            let problem = Problem::new(at, expected(schema)).found(self.shown(&value, schema, at));
            self.problems.push((at.clone(), problem.nearest(near)));
            return None;
        }
        if !in_range(&value, schema) {
            return self.wrong(&value, schema, at);
        }
        if let Some(name) = schema["format"].as_str()
            && let Some(Err(why)) = format::check(name, &value)
        {
            let mut problem = Problem::new(at, why);
            if value.is_string() {
                problem = problem.found(self.shown(&value, schema, at));
            }
            self.problems.push((at.clone(), problem));
            return None;
        }
        match value {
            Value::Object(object) => self.object(object, schema, at).map(Value::Object),
            Value::Array(items) => Some(Value::Array(self.items(items, schema, at))),
            value => Some(value),
        }
    }

    /// A value that may have one of several forms, which its type tells apart.
    fn one_of(
        &mut self,
        value: Value,
        schema: &'static Value,
        variants: &[&'static Value],
        at: &Trail,
    ) -> Option<Value> {
        match variants.iter().find(|variant| type_fits(&value, variant)) {
            Some(variant) => self.value(value, variant, at),
            None => self.wrong(&value, schema, at),
        }
    }

    fn object(
        &mut self,
        object: Map<String, Value>,
        schema: &'static Value,
        at: &Trail,
    ) -> Option<Map<String, Value>> {
        let properties = schema["properties"].as_object().into_iter().flatten();
        let properties: BTreeMap<&str, &'static Value> = properties
            .map(|(key, property)| (key.as_str(), property))
            .collect();
        let mut left = Map::new();
        let mut given = BTreeSet::new();
        for (name, value) in object {
            let trail = at.key(&name);
            let spelt = |(_, property): &(&&str, &&'static Value)| property["x-alias"] == *name;
            let known = properties.get_key_value(name.as_str());
            let known = known.or_else(|| properties.iter().find(spelt));
            let Some((&key, &property)) = known else {
                match &schema["additionalProperties"] {
                    // An open object, such as a filter.
                    Value::Null | Value::Bool(true) => {
                        left.insert(name, value);
                    }
                    Value::Bool(false) => {
                        let near = nearest(&name, properties.keys().copied());
                        let known: Vec<&str> = properties.keys().copied().collect();
                        let why = if near.is_none() && known.len() <= 12 {
                            format!("unknown key; there are {}", known.join(", "))
                        } else {
                            "unknown key".to_owned()
                        };
                        let problem = Problem::new(&trail, why).nearest(near);
                        self.problems.push((trail, problem));
                    }
                    items => {
                        if self.key_fits(&name, schema, &trail)
                            && let Some(value) = self.value(value, items, &trail)
                        {
                            left.insert(name, value);
                        }
                    }
                }
                continue;
            };
            if !given.insert(key) {
                let spellings = format!(
                    "given once, not as `{key}` and as `{}`",
                    property["x-alias"].as_str().unwrap_or_default()
                );
                self.problems
                    .push((trail.clone(), Problem::new(&trail, spellings)));
            } else if let Some(value) = self.value(value, property, &trail) {
                left.insert(key.to_owned(), value);
            }
        }
        let demanded = schema["dependentRequired"]
            .as_object()
            .into_iter()
            .flatten();
        let demanded = demanded.filter(|(key, _)| given.contains(key.as_str()));
        let demanded = demanded.map(|(_, keys)| keys).chain([&schema["required"]]);
        let required = demanded.filter_map(Value::as_array).flatten();
        let required: BTreeSet<&str> = required.filter_map(Value::as_str).collect();
        let mut whole = true;
        for key in required {
            if !given.contains(key) {
                let trail = at.key(key);
                let mut problem = Problem::new(&trail, "is missing");
                problem.expected = format!("is missing: {}", expected(resolved(properties[key])));
                self.problems.push((trail, problem));
            }
            whole &= left.contains_key(key);
        }
        whole.then_some(left)
    }

    fn key_fits(&mut self, name: &str, schema: &'static Value, trail: &Trail) -> bool {
        let why = if name.is_empty() {
            Some("a name that is not empty".to_owned())
        } else {
            let format = schema["propertyNames"]["format"].as_str();
            let checked = format.and_then(|format| format::check(format, &Value::from(name)));
            checked.and_then(Result::err)
        };
        if let Some(why) = why {
            let problem = Problem::new(trail, why).found(mask::text(name));
            self.problems.push((trail.clone(), problem));
            return false;
        }
        true
    }

    fn items(&mut self, items: Vec<Value>, schema: &'static Value, at: &Trail) -> Vec<Value> {
        let (mut left, mut kept) = (Vec::new(), Vec::new());
        let all = items.len();
        for (i, item) in items.into_iter().enumerate() {
            let item = match &schema["items"] {
                Value::Null => Some(item),
                items => self.value(item, items, &at.index(i)),
            };
            if let Some(item) = item {
                left.push(item);
                kept.push(i);
            }
        }
        if kept.len() < all {
            self.kept.insert(at.clone(), kept);
        }
        left
    }

    fn wrong(&mut self, value: &Value, schema: &'static Value, at: &Trail) -> Option<Value> {
        let problem = Problem::new(at, expected(schema)).found(self.shown(value, schema, at));
        self.problems.push((at.clone(), problem));
        None
    }

    /// What may be shown of a value: nothing that stands in the place of a
    /// secret or of a whole object, which may be one.
    fn shown(&self, value: &Value, schema: &'static Value, at: &Trail) -> String {
        if let Some(token) = self.tokens.get(at) {
            return format!("the value of {token}");
        }
        let scalar = variants(schema).unwrap_or_else(|| vec![schema]);
        let scalar = scalar.iter().any(|schema| {
            let types = types(schema);
            types.is_empty()
                || types
                    .iter()
                    .any(|name| !matches!(*name, "object" | "array" | "null"))
        });
        let secret = schema["writeOnly"] == true
            || variants(schema).is_some_and(|v| v.iter().any(|s| s["writeOnly"] == true));
        match value {
            Value::Null => "null".to_owned(),
            Value::Object(_) => "an object".to_owned(),
            Value::Array(_) => "a list".to_owned(),
            _ if secret => mask::MASKED.to_owned(),
            Value::String(text) if scalar => mask::text(text),
            Value::String(_) => "a string".to_owned(),
            other => other.to_string(),
        }
    }
}

/// The schema that a reference leads to.
fn resolved(schema: &'static Value) -> &'static Value {
    match schema["$ref"]
        .as_str()
        .and_then(|to| to.strip_prefix("#/$defs/"))
    {
        None => schema,
        Some(name) => resolved(&self::schema()["$defs"][name]),
    }
}

/// The forms that a value may have, where there are several.
fn variants(schema: &'static Value) -> Option<Vec<&'static Value>> {
    let forms = schema["anyOf"].as_array().or(schema["oneOf"].as_array())?;
    if allowed(schema).is_some() {
        return None;
    }
    Some(forms.iter().map(resolved).collect())
}

/// The values that there are, where they can be listed.
fn allowed(schema: &'static Value) -> Option<Vec<&'static Value>> {
    if let Some(values) = schema["enum"].as_array() {
        return Some(values.iter().collect());
    }
    if let Some(value) = schema.get("const") {
        return Some(vec![value]);
    }
    let forms: Option<Vec<_>> = schema["oneOf"].as_array()?.iter().map(allowed).collect();
    forms.map(|forms| forms.concat())
}

/// The JSON types of its values; empty for any.
fn types(schema: &'static Value) -> Vec<&'static str> {
    match &schema["type"] {
        Value::String(name) => vec![name],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => {
            let values = allowed(schema).unwrap_or_default();
            values.into_iter().map(type_of).collect()
        }
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn type_fits(value: &Value, schema: &'static Value) -> bool {
    if let Some(variants) = variants(schema) {
        return variants.iter().any(|variant| type_fits(value, variant));
    }
    let types = types(schema);
    let name = type_of(value);
    types.is_empty() || types.contains(&name) || (name == "integer" && types.contains(&"number"))
}

fn in_range(value: &Value, schema: &'static Value) -> bool {
    let at_least = |key: &str, size: usize| {
        schema[key]
            .as_u64()
            .is_none_or(|least| u64::try_from(size).is_ok_and(|size| size >= least))
    };
    match value {
        Value::Number(number) => {
            let Some(number) = number.as_f64() else {
                return false;
            };
            let (least, most) = limits(schema);
            least.is_none_or(|least| number >= least) && most.is_none_or(|most| number <= most)
        }
        Value::String(text) => {
            let most = schema["maxLength"].as_u64();
            at_least("minLength", text.chars().count())
                && most
                    .is_none_or(|most| u64::try_from(text.chars().count()).is_ok_and(|n| n <= most))
        }
        Value::Array(items) => at_least("minItems", items.len()),
        Value::Object(object) => at_least("minProperties", object.len()),
        _ => true,
    }
}

/// The least and the largest number.
fn limits(schema: &'static Value) -> (Option<f64>, Option<f64>) {
    let largest = match schema["format"].as_str() {
        Some("uint32") => Some(f64::from(u32::MAX)),
        _ => None,
    };
    (
        schema["minimum"].as_f64(),
        schema["maximum"].as_f64().or(largest),
    )
}

/// What a value has to be, in words.
fn expected(schema: &'static Value) -> String {
    if let Some(values) = allowed(schema) {
        let values: Vec<_> = values.into_iter().map(Value::to_string).collect();
        return match values.as_slice() {
            [only] => only.clone(),
            several => format!("one of {}", several.join(", ")),
        };
    }
    if let Some(variants) = variants(schema) {
        let variants = variants
            .into_iter()
            .filter(|variant| variant["type"] != "null");
        return variants.map(expected).collect::<Vec<_>>().join(" or ");
    }
    let types = types(schema).into_iter().filter(|name| *name != "null");
    types
        .map(|name| expected_type(name, schema))
        .collect::<Vec<_>>()
        .join(" or ")
}

fn expected_type(name: &str, schema: &'static Value) -> String {
    match name {
        "boolean" => "true or false".to_owned(),
        "integer" | "number" => {
            let what = if name == "integer" {
                "a whole number"
            } else {
                "a number"
            };
            match limits(schema) {
                (Some(least), Some(most)) => format!("{what} from {least} to {most}"),
                (Some(least), None) => format!("{what}, {least} or more"),
                (None, Some(most)) => format!("{what}, {most} or less"),
                (None, None) => what.to_owned(),
            }
        }
        "string" if schema["maxLength"].is_u64() => {
            format!("a string of 1 to {} characters", schema["maxLength"])
        }
        "string" if schema["minLength"].is_u64() => "a string that is not empty".to_owned(),
        "string" => "a string".to_owned(),
        "array" => "a list".to_owned(),
        _ if schema["minProperties"].is_u64() => "an object that is not empty".to_owned(),
        _ => "an object".to_owned(),
    }
}

//! The counter rules, ready to be applied.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use xronox_model::{
    Filter, Invalid, Lookup, Op, OrderedKey, Path, Sha256, json::canonical, values_at,
};

use super::{
    calendar::Calendar,
    distinct::{Different, Distinct},
    stored::{Counts, RuleTotal},
};
use crate::{CountedWrite, CounterRule, Error, Scope, Settings};

/// The most paths of `by`, and of `countUnique`.
const MAX_PATHS: usize = 16;

/// What is counted of one database.
#[derive(Debug)]
pub(crate) struct CounterRules {
    pub(super) all: Vec<Rule>,
    pub(super) calendar: Calendar,
    /// Different values, and groups, that are counted one by one.
    pub(super) exact: u64,
}

/// One rule.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) name: String,
    /// Tells it from what had its name before.
    pub(super) definition: String,
    on: Vec<CountedWrite>,
    pub(super) scope: Scope,
    when: Filter,
    pub(super) unique: Vec<Path>,
    pub(super) by: Vec<Path>,
    pub(super) top: usize,
}

/// What a rule makes of a version that it counts.
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) write: CountedWrite,
    /// For each path of `countUnique`, what tells its values apart.
    pub(super) unique: Vec<Vec<String>>,
    /// The values of `by`, if there are any.
    pub(super) group: Option<Vec<Value>>,
}

impl CounterRules {
    pub(crate) fn of(settings: &Settings) -> Result<Self, Error> {
        let analytics = &settings.analytics;
        Ok(Self {
            all: settings
                .all_counter_rules()
                .map(|rule| Rule::of(rule, &analytics.time_zone))
                .collect::<Result<_, _>>()?,
            calendar: Calendar::of(&analytics.time_zone)?,
            exact: analytics.unique_exact_max,
        })
    }

    /// No rules, for what nobody counts.
    pub(crate) fn none() -> Self {
        Self {
            all: Vec::new(),
            calendar: Calendar::utc(),
            exact: 0,
        }
    }

    /// Whether any of them looks into documents.
    pub(super) fn are_none(&self) -> bool {
        self.all.is_empty()
    }
}

/// The kind of write that an operation is to a rule. A PURGE says nothing of
/// what it removed.
pub(super) fn kind_of(op: Op) -> Option<CountedWrite> {
    match op {
        Op::Create => Some(CountedWrite::Create),
        Op::Update | Op::Enrich | Op::Restore => Some(CountedWrite::Update),
        Op::Delete => Some(CountedWrite::Delete),
        Op::Purge => None,
    }
}

impl Rule {
    fn of(rule: &CounterRule, zone: &str) -> Result<Self, Error> {
        // How many groups are shown is no matter of counting.
        let counted = CounterRule {
            top_n: 0,
            ..rule.clone()
        };
        let written = json!([serde_json::to_value(&counted).unwrap_or_default(), zone]);
        let hash = Sha256::of(&canonical(&written)).to_string();
        for (key, paths) in [("by", &rule.by), ("countUnique", &rule.count_unique)] {
            if paths.len() > MAX_PATHS {
                let at = format!("counter rule {:?}: {key}", rule.name);
                return Err(Invalid::at(at, format!("at most {MAX_PATHS} paths")).into());
            }
        }
        Ok(Self {
            name: rule.name.clone(),
            definition: hash.chars().take(16).collect(),
            on: rule.on.clone(),
            scope: rule.scope,
            when: Filter::parse(&rule.when)?,
            unique: rule.count_unique.clone(),
            by: rule.by.clone(),
            top: usize::try_from(rule.top_n).unwrap_or(usize::MAX),
        })
    }

    /// What of each path of `countUnique` is counted, by the path.
    pub(super) fn told(&self, unique: &[Different]) -> Result<BTreeMap<String, Distinct>, Error> {
        let told = self.unique.iter().zip(unique);
        told.map(|(path, different)| Ok((path.to_string(), different.count()?)))
            .collect()
    }

    /// Where nothing is counted yet.
    pub(super) fn nothing(&self) -> Vec<Different> {
        vec![Different::default(); self.unique.len()]
    }

    /// What it counts from a `cv` on.
    pub(super) fn new_total(&self, since: u64) -> RuleTotal {
        RuleTotal {
            name: self.name.clone(),
            definition: self.definition.clone(),
            since,
            counts: Counts::default(),
            unique: self.nothing(),
            groups: 0,
            others: 0,
        }
    }

    /// What it makes of a version, if it counts it.
    pub(super) fn count<L: Lookup + ?Sized>(&self, op: Op, document: &L) -> Option<Counted> {
        let write = kind_of(op).filter(|write| self.on.contains(write))?;
        if !self.when.matches(document) {
            return None;
        }
        let group = self.by.iter().map(|path| {
            let values = values_at(document, path);
            values.first().map_or(Value::Null, |value| shown(value))
        });
        Some(Counted {
            write,
            unique: self
                .unique
                .iter()
                .map(|path| different(document, path))
                .collect(),
            group: (!self.by.is_empty()).then(|| group.collect()),
        })
    }
}

/// A value as the name of a group: what is too long to be compared whole is the
/// hash of it.
fn shown(value: &Value) -> Value {
    if OrderedKey::of(value).is_cut() {
        Sha256::of(&canonical(value)).to_string().into()
    } else {
        value.clone()
    }
}

/// What tells the values at a path apart, each once. An array is its elements,
/// and null is nothing.
fn different<L: Lookup + ?Sized>(document: &L, path: &Path) -> Vec<String> {
    let values = values_at(document, path);
    let elements = values.into_iter().flat_map(|value| match value {
        Value::Array(elements) => elements.iter().collect(),
        other => vec![other],
    });
    let mut keys: Vec<String> = elements
        .filter(|value| !value.is_null())
        .map(told_apart)
        .collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// A short text for a value; values that are equal have the same one.
pub(super) fn told_apart(value: &Value) -> String {
    let key = OrderedKey::of(value);
    // Of what is too long to be a key, the key is only the beginning.
    let hash = if key.is_cut() {
        Sha256::of(&canonical(value))
    } else {
        Sha256::of(key.as_str().as_bytes())
    };
    hash.to_string().chars().take(32).collect()
}

/// What of a document stands at one of these paths, or is of the system.
pub(super) fn reduced(document: &Value, paths: &[Path]) -> Value {
    let mut out = Map::new();
    for name in ["_id", "_system"] {
        if let Some(value) = document.get(name) {
            out.insert(name.to_owned(), value.clone());
        }
    }
    let mut out = Value::Object(out);
    for path in paths {
        take_over(document, path.segments(), &mut out);
    }
    out
}

fn take_over(from: &Value, segments: &[String], to: &mut Value) {
    let Some((name, rest)) = segments.split_first() else {
        *to = from.clone();
        return;
    };
    match from {
        Value::Object(object) => {
            let Some(inner) = object.get(name) else {
                return;
            };
            if !to.is_object() {
                *to = Value::Object(Map::new());
            }
            if let Some(to) = to.as_object_mut() {
                take_over(inner, rest, to.entry(name).or_insert(Value::Null));
            }
        }
        Value::Array(elements) => {
            if !to.is_array() {
                *to = Value::Array(vec![Value::Null; elements.len()]);
            }
            if let Some(to) = to.as_array_mut() {
                for (element, to) in elements.iter().zip(to) {
                    take_over(element, segments, to);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rule(value: Value) -> Rule {
        Rule::of(&serde_json::from_value(value).unwrap(), "UTC").unwrap()
    }

    #[test]
    fn a_rule_counts_what_matches() {
        let logins = rule(json!({
            "name": "logins", "on": ["CREATE"], "when": { "action": "login" },
            "countUnique": ["sessionId", "tags"], "by": ["country", "none"],
        }));
        let login = json!({ "action": "login", "sessionId": 7, "tags": ["a", "b", "a", null], "country": "it" });
        let counted = logins.count(Op::Create, &login).unwrap();
        assert_eq!(counted.write, CountedWrite::Create);
        assert_eq!(
            counted.unique.iter().map(Vec::len).collect::<Vec<_>>(),
            [1, 2]
        );
        assert_eq!(counted.group, Some(vec![json!("it"), Value::Null]));
        assert!(logins.count(Op::Update, &login).is_none());
        assert!(
            logins
                .count(Op::Create, &json!({ "action": "out" }))
                .is_none()
        );
    }

    #[test]
    fn enrichments_and_restores_are_updates() {
        let all = rule(json!({ "name": "all", "when": {} }));
        for (op, write) in [
            (Op::Create, Some(CountedWrite::Create)),
            (Op::Update, Some(CountedWrite::Update)),
            (Op::Enrich, Some(CountedWrite::Update)),
            (Op::Restore, Some(CountedWrite::Update)),
            (Op::Delete, Some(CountedWrite::Delete)),
            (Op::Purge, None),
        ] {
            let counted = all.count(op, &json!({}));
            assert_eq!(counted.map(|counted| counted.write), write, "{op}");
        }
    }

    #[test]
    fn equal_values_are_one() {
        assert_eq!(told_apart(&json!(1)), told_apart(&json!(1.0)));
        assert_ne!(told_apart(&json!(1)), told_apart(&json!("1")));
        let long = |end: &str| json!(format!("{}{end}", "x".repeat(5000)));
        assert_ne!(told_apart(&long("a")), told_apart(&long("b")));
    }

    #[test]
    fn a_document_is_reduced_to_what_is_indexed() {
        let document = json!({
            "_id": "a", "_system": { "ov": 0 }, "secret": 1,
            "who": { "name": "Ann", "age": 7 },
            "lines": [{ "sku": 1, "price": 2 }, { "price": 3 }],
        });
        let paths: Vec<Path> = ["who.name", "lines.sku", "not.there"]
            .map(|path| path.parse().unwrap())
            .to_vec();
        let expected = json!({
            "_id": "a", "_system": { "ov": 0 },
            "who": { "name": "Ann" },
            "lines": [{ "sku": 1 }, null],
        });
        assert_eq!(reduced(&document, &paths), expected);
    }
}

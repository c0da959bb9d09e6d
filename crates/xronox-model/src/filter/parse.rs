//! Reading filters from JSON.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{Clause, Comparison, Filter, MAX_FILTER_NODES, Pattern, Test, Type};
use crate::{Invalid, Path, json, order::compare};

/// Operators that stand in the place of a field.
const OF_DOCUMENTS: [&str; 3] = ["$and", "$or", "$nor"];

/// Operators that stand at a field.
const OF_VALUES: [&str; 16] = [
    "$eq",
    "$ne",
    "$gt",
    "$gte",
    "$lt",
    "$lte",
    "$in",
    "$nin",
    "$exists",
    "$regex",
    "$options",
    "$not",
    "$all",
    "$elemMatch",
    "$size",
    "$type",
];

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    ///
    /// [`Invalid`], naming the place by its path within the filter, for anything
    /// that is not a filter: an unknown operator, an operand of the wrong type, a
    /// regex outside the common subset, more than [`MAX_FILTER_NODES`] values,
    /// or nesting deeper than [`json::MAX_DEPTH`].
    pub fn parse(filter: &Value) -> Result<Self, Invalid> {
        if has_more_nodes_than(filter, MAX_FILTER_NODES) {
            return Err(Invalid::at(
                "",
                format!("a filter consists of at most {MAX_FILTER_NODES} values"),
            ));
        }
        // This also turns typed dates into text, wherever operands stand.
        let filter = json::normalize(filter.clone())?;
        match filter {
            Value::Object(source) => Ok(Self {
                clauses: document(&source, "", Level::Top)?,
                source,
            }),
            _ => Err(Invalid::at("", "a filter is an object")),
        }
    }
}

fn has_more_nodes_than(value: &Value, most: usize) -> bool {
    let mut waiting = vec![value];
    let mut seen = 0;
    while let Some(value) = waiting.pop() {
        seen += 1;
        match value {
            Value::Array(elements) => waiting.extend(elements),
            Value::Object(object) => waiting.extend(object.values()),
            _ => {}
        }
        if seen + waiting.len() > most {
            return true;
        }
    }
    false
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Top,
    InElement,
}

/// The place of `name` inside the filter; names are written as the caller wrote them.
fn inside(at: &str, name: &str) -> String {
    if at.is_empty() {
        name.to_owned()
    } else {
        format!("{at}.{name}")
    }
}

fn document(filter: &Map<String, Value>, at: &str, level: Level) -> Result<Vec<Clause>, Invalid> {
    let mut clauses = Vec::with_capacity(filter.len());
    for (name, operand) in filter {
        let here = inside(at, name);
        match name.as_str() {
            "$and" => clauses.push(Clause::And(documents(operand, &here, level)?)),
            "$or" => clauses.push(Clause::Or(documents(operand, &here, level)?)),
            "$nor" => clauses.push(Clause::Nor(documents(operand, &here, level)?)),
            operator if OF_VALUES.contains(&operator) => {
                return Err(Invalid::at(
                    here,
                    "this operator stands at a field, not in its place",
                ));
            }
            operator if operator.starts_with('$') => {
                return Err(unknown(operator, here, &OF_DOCUMENTS));
            }
            field => {
                let path: Path = field
                    .parse()
                    .map_err(|e: Invalid| Invalid::at(here.clone(), e.message()))?;
                clauses.extend(field_tests(operand, &here)?.into_iter().map(|test| {
                    Clause::Field {
                        path: path.clone(),
                        at_top: level == Level::Top,
                        test,
                    }
                }));
            }
        }
    }
    Ok(clauses)
}

fn documents(operand: &Value, at: &str, level: Level) -> Result<Vec<Clause>, Invalid> {
    let branches = array(operand, at)?;
    if branches.is_empty() {
        return Err(Invalid::at(at, "needs at least one filter"));
    }
    branches
        .iter()
        .enumerate()
        .map(|(i, branch)| {
            let here = inside(at, &i.to_string());
            match branch {
                Value::Object(branch) => {
                    let mut clauses = document(branch, &here, level)?;
                    Ok(match clauses.pop() {
                        Some(only) if clauses.is_empty() => only,
                        last => Clause::And(clauses.into_iter().chain(last).collect()),
                    })
                }
                _ => Err(Invalid::at(here, "a filter is an object")),
            }
        })
        .collect()
}

fn field_tests(operand: &Value, at: &str) -> Result<Vec<Test>, Invalid> {
    match operand {
        Value::Object(object) if object.keys().any(|name| name.starts_with('$')) => {
            operators(object, at)
        }
        value => Ok(vec![Test::Compare(Comparison::Equal, value.clone())]),
    }
}

fn operators(object: &Map<String, Value>, at: &str) -> Result<Vec<Test>, Invalid> {
    let mut tests = Vec::with_capacity(object.len());
    for (name, operand) in object {
        let here = inside(at, name);
        let compared = |comparison| Test::Compare(comparison, operand.clone());
        tests.push(match name.as_str() {
            "$eq" => compared(Comparison::Equal),
            "$ne" => Test::Not(vec![compared(Comparison::Equal)]),
            "$gt" => compared(Comparison::Greater),
            "$gte" => compared(Comparison::GreaterOrEqual),
            "$lt" => compared(Comparison::Less),
            "$lte" => compared(Comparison::LessOrEqual),
            "$in" => one_of(operand, &here)?,
            "$nin" => Test::Not(vec![one_of(operand, &here)?]),
            "$exists" => Test::Exists(truth(operand, &here)?),
            "$regex" => regex(operand, object.get("$options"), &here)?,
            "$options" if object.contains_key("$regex") => continue,
            "$options" => return Err(Invalid::at(here, "stands only beside `$regex`")),
            "$not" => Test::Not(negated(operand, &here)?),
            "$all" => Test::All(all(operand, &here)?),
            "$elemMatch" => element(operand, &here)?,
            "$size" => Test::Size(
                operand
                    .as_u64()
                    .ok_or_else(|| Invalid::at(here, "needs an integer that is not negative"))?,
            ),
            "$type" => Test::Type(types(operand, &here)?),
            operator if OF_DOCUMENTS.contains(&operator) => {
                return Err(Invalid::at(here, "this operator stands in the place of a field, not at one"));
            }
            operator if operator.starts_with('$') => return Err(unknown(operator, here, &OF_VALUES)),
            _ => {
                return Err(Invalid::at(
                    here,
                    "a plain name beside operators; equality with an object that has such names is written `$eq`",
                ));
            }
        });
    }
    Ok(tests)
}

fn array<'v>(operand: &'v Value, at: &str) -> Result<&'v Vec<Value>, Invalid> {
    operand
        .as_array()
        .ok_or_else(|| Invalid::at(at, "needs an array"))
}

fn truth(operand: &Value, at: &str) -> Result<bool, Invalid> {
    match operand {
        Value::Bool(truth) => Ok(*truth),
        // Spelled 0 and 1 in older queries.
        Value::Number(number) => Ok(number.as_f64() != Some(0.0)),
        _ => Err(Invalid::at(at, "needs true or false")),
    }
}

fn one_of(operand: &Value, at: &str) -> Result<Test, Invalid> {
    let mut values = array(operand, at)?.clone();
    if let Some(i) = values.iter().position(has_operators) {
        return Err(Invalid::at(
            inside(at, &i.to_string()),
            "operators and regexes cannot stand here",
        ));
    }
    values.sort_by(compare);
    values.dedup_by(|a, b| compare(a, b).is_eq());
    Ok(Test::In(values))
}

fn has_operators(value: &Value) -> bool {
    value
        .as_object()
        .is_some_and(|object| object.keys().any(|name| name.starts_with('$')))
}

fn regex(pattern: &Value, options: Option<&Value>, at: &str) -> Result<Test, Invalid> {
    let text = |value: &Value, what: &str| {
        value
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| Invalid::at(at, format!("{what} a string")))
    };
    let pattern = text(pattern, "needs")?;
    let options = options.map_or(Ok(String::new()), |options| {
        text(options, "its `$options` are")
    })?;
    Ok(Test::Regex(Box::new(
        Pattern::parse(&pattern, &options).map_err(|message| Invalid::at(at, message))?,
    )))
}

fn negated(operand: &Value, at: &str) -> Result<Vec<Test>, Invalid> {
    match operand {
        Value::Object(object) if !object.is_empty() => operators(object, at),
        _ => Err(Invalid::at(at, "needs an object of operators")),
    }
}

fn all(operand: &Value, at: &str) -> Result<Vec<Test>, Invalid> {
    let values = array(operand, at)?;
    let element_match = |value: &Value| {
        value
            .as_object()
            .is_some_and(|object| object.len() == 1 && object.contains_key("$elemMatch"))
    };
    let elements = values.first().is_some_and(element_match);
    values
        .iter()
        .enumerate()
        .map(|(i, value)| {
            let here = inside(at, &i.to_string());
            match value.get("$elemMatch") {
                Some(operand) if elements && element_match(value) => {
                    element(operand, &inside(&here, "$elemMatch"))
                }
                _ if elements => Err(Invalid::at(
                    here,
                    "only `$elemMatch` can stand beside `$elemMatch`",
                )),
                _ if has_operators(value) => {
                    Err(Invalid::at(here, "operators and regexes cannot stand here"))
                }
                _ => Ok(Test::Compare(Comparison::Equal, value.clone())),
            }
        })
        .collect()
}

fn element(operand: &Value, at: &str) -> Result<Test, Invalid> {
    let Value::Object(object) = operand else {
        return Err(Invalid::at(at, "needs an object"));
    };
    let of_values = object
        .keys()
        .any(|name| name.starts_with('$') && !OF_DOCUMENTS.contains(&name.as_str()));
    Ok(if of_values {
        Test::ElementValue(operators(object, at)?)
    } else {
        Test::ElementDocument(document(object, at, Level::InElement)?)
    })
}

fn types(operand: &Value, at: &str) -> Result<BTreeSet<Type>, Invalid> {
    let mut types = BTreeSet::new();
    match operand {
        Value::Array(names) if names.is_empty() => {
            return Err(Invalid::at(at, "needs at least one type"));
        }
        Value::Array(names) => {
            for (i, name) in names.iter().enumerate() {
                add_type(name, &inside(at, &i.to_string()), &mut types)?;
            }
        }
        name => add_type(name, at, &mut types)?,
    }
    Ok(types)
}

/// Names and numbers of types as
/// [MongoDB has them](https://www.mongodb.com/docs/manual/reference/bson-types/).
fn add_type(name: &Value, at: &str, types: &mut BTreeSet<Type>) -> Result<(), Invalid> {
    let added: &[Type] = match (name.as_str(), name.as_i64()) {
        (Some("double"), _) | (_, Some(1)) => &[Type::Double],
        (Some("string"), _) | (_, Some(2)) => &[Type::String],
        (Some("object"), _) | (_, Some(3)) => &[Type::Object],
        (Some("array"), _) | (_, Some(4)) => &[Type::Array],
        (Some("bool"), _) | (_, Some(8)) => &[Type::Bool],
        (Some("null"), _) | (_, Some(10)) => &[Type::Null],
        (Some("int"), _) | (_, Some(16)) => &[Type::Int],
        (Some("long"), _) | (_, Some(18)) => &[Type::Long],
        (Some("number"), _) => &[Type::Int, Type::Long, Type::Double],
        (Some("date"), _) | (_, Some(9)) => {
            return Err(Invalid::at(
                at,
                "records hold dates as strings: compare with `$gte` and `$lt`",
            ));
        }
        _ => {
            return Err(Invalid::at(
                at,
                "not a type of JSON: number, int, long, double, string, object, array, bool or null",
            ));
        }
    };
    types.extend(added);
    Ok(())
}

fn unknown(operator: &str, at: String, fitting: &[&str]) -> Invalid {
    let nearest = fitting
        .iter()
        .chain(&OF_VALUES)
        .chain(&OF_DOCUMENTS)
        .map(|known| {
            (
                edits(&operator.to_lowercase(), &known.to_lowercase()),
                known,
            )
        })
        .filter(|(edits, known)| *edits <= 2 && *edits < known.len() - 1)
        .min_by_key(|(edits, _)| *edits);
    let message = match nearest {
        Some((_, known)) => format!("unknown operator; the nearest is `{known}`"),
        None => "unknown operator".to_owned(),
    };
    Invalid::at(at, message)
}

/// How many letters must be put in, taken out or replaced to get from one to the other.
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    // Names as long as this are near to no operator.
    for (i, a) in from.chars().take(32).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::arbitrary;

    fn refusal(filter: &Value) -> Invalid {
        Filter::parse(filter).expect_err(&filter.to_string())
    }

    #[test]
    fn a_refusal_names_place_and_operator() {
        for (filter, path, message) in [
            (
                json!({"a": {"$gtt": 1}}),
                "a.$gtt",
                "unknown operator; the nearest is `$gt`",
            ),
            (
                json!({"a.b": {"$elemmatch": {}}}),
                "a.b.$elemmatch",
                "unknown operator; the nearest is `$elemMatch`",
            ),
            (
                json!({"$andd": []}),
                "$andd",
                "unknown operator; the nearest is `$and`",
            ),
            (json!({"$where": "1"}), "$where", "unknown operator"),
            (
                json!({"a": {"$geoWithin": 1}}),
                "a.$geoWithin",
                "unknown operator",
            ),
            (
                json!({"$or": [{"a": 1}, {"b": {"$gt": 1, "x": 2}}]}),
                "$or.1.b.x",
                "a plain name beside operators",
            ),
            (
                json!({"a": {"$elemMatch": {"b": {"$size": -1}}}}),
                "a.$elemMatch.b.$size",
                "not negative",
            ),
            (
                json!({"a": {"$in": [1, {"$regex": "x"}]}}),
                "a.$in.1",
                "cannot stand here",
            ),
            (json!({"a": {"$gt": {"$date": "never"}}}), "a.$gt.$date", ""),
            (json!({"a..b": 1}), "a..b", "empty segment"),
            (json!([]), "", "a filter is an object"),
        ] {
            let refused = refusal(&filter);
            assert_eq!(refused.path(), path, "{filter}");
            assert!(refused.message().contains(message), "{filter}: {refused}");
        }
    }

    #[test]
    fn a_filter_is_bounded() {
        let values: Vec<usize> = (3..MAX_FILTER_NODES).collect();
        assert!(Filter::parse(&json!({"a": {"$in": values}})).is_ok());
        let values: Vec<usize> = (2..MAX_FILTER_NODES).collect();
        refusal(&json!({"a": {"$in": values}}));

        let mut deep = json!({"a": 1});
        for _ in 0..60 {
            deep = json!({"$and": [deep]});
        }
        refusal(&deep);
    }

    /// Objects that look like filters more often than arbitrary JSON does.
    fn filter_like() -> impl Strategy<Value = Value> {
        let operator = prop::sample::select(
            [
                &OF_VALUES[..],
                &OF_DOCUMENTS[..],
                &["$x", "$date", "a", "a.0", ""],
            ]
            .concat(),
        );
        arbitrary::json().prop_recursive(5, 40, 4, move |inner| {
            prop_oneof![
                prop::collection::btree_map(
                    operator.clone().prop_map(str::to_owned),
                    inner.clone(),
                    0..3
                )
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
                prop::collection::vec(inner, 0..3).prop_map(Value::Array),
                "[a-z\\\\\\[\\](){}^$.*+?|0-9,-]{0,8}"
                    .prop_map(|pattern| json!({"$regex": pattern})),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn no_json_breaks_the_parser(filter in prop_oneof![arbitrary::unnormalized_json(), filter_like()], doc in arbitrary::json()) {
            if let Ok(filter) = Filter::parse(&filter) {
                filter.matches(&doc);
                filter.paths();
            }
        }
    }
}

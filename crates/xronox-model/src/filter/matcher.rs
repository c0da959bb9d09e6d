//! Whether a document fits.

use std::cmp::Ordering;

use serde_json::{Number, Value};

use super::{Clause, Comparison, Test, Type};
use crate::{
    lookup::{AtEnd, Lookup, root_of, walk},
    order::{Class, compare},
};

impl Clause {
    pub(super) fn holds<L: Lookup + ?Sized>(&self, doc: &L) -> bool {
        match self {
            Self::And(clauses) => clauses.iter().all(|clause| clause.holds(doc)),
            Self::Or(clauses) => clauses.iter().any(|clause| clause.holds(doc)),
            Self::Nor(clauses) => !clauses.iter().any(|clause| clause.holds(doc)),
            Self::Field { path, at_top, test } => {
                let start = if *at_top {
                    root_of(doc, path)
                } else {
                    doc.root(path.root())
                };
                test.holds_at(start, &path.segments()[1..])
            }
        }
    }
}

impl Test {
    /// Whether the test holds for what `rest` leads to from `start`.
    fn holds_at(&self, start: Option<&Value>, rest: &[String]) -> bool {
        match self {
            Self::Not(tests) => !tests.iter().all(|test| test.holds_at(start, rest)),
            Self::All(tests) => {
                !tests.is_empty() && tests.iter().all(|test| test.holds_at(start, rest))
            }
            // "Does not exist" is about all that the path leads to.
            Self::Exists(false) => !Self::Exists(true).holds_at(start, rest),
            test => walk(start, rest, test.arrays(), &mut |found| {
                test.holds_for(found.value)
            }),
        }
    }

    /// Tests of an array as such must not see its elements.
    fn arrays(&self) -> AtEnd {
        match self {
            Self::Size(_) | Self::ElementDocument(_) | Self::ElementValue(_) => AtEnd::Closed,
            _ => AtEnd::Open,
        }
    }

    /// Whether the test holds for this one value, arrays not entered.
    fn holds_for(&self, value: Option<&Value>) -> bool {
        match self {
            Self::Compare(comparison, operand) => {
                comparison.holds(value.unwrap_or(&Value::Null), operand)
            }
            Self::In(operands) => {
                let value = value.unwrap_or(&Value::Null);
                operands
                    .binary_search_by(|operand| compare(operand, value))
                    .is_ok()
            }
            Self::Exists(wanted) => value.is_some() == *wanted,
            Self::Regex(pattern) => value
                .and_then(Value::as_str)
                .is_some_and(|text| pattern.is_match(text)),
            Self::Type(types) => value.is_some_and(|value| types.contains(&Type::of(value))),
            Self::Size(size) => {
                elements(value).is_some_and(|elements| elements.len() as u64 == *size)
            }
            Self::All(tests) => !tests.is_empty() && tests.iter().all(|test| test.holds_for(value)),
            Self::Not(tests) => !tests.iter().all(|test| test.holds_for(value)),
            Self::ElementDocument(clauses) => elements(value).is_some_and(|elements| {
                elements.iter().any(|element| {
                    is_document(element) && clauses.iter().all(|clause| clause.holds(element))
                })
            }),
            Self::ElementValue(tests) => elements(value).is_some_and(|elements| {
                elements
                    .iter()
                    .any(|element| tests.iter().all(|test| test.holds_for(Some(element))))
            }),
        }
    }
}

fn elements(value: Option<&Value>) -> Option<&Vec<Value>> {
    value.and_then(Value::as_array)
}

/// MongoDB reads an array inside an array as a document named by its indexes.
fn is_document(value: &Value) -> bool {
    value.is_object() || value.is_array()
}

impl Comparison {
    fn holds(self, value: &Value, operand: &Value) -> bool {
        // Values of another type are neither greater nor less.
        if Class::of(value) != Class::of(operand) {
            return false;
        }
        let order = compare(value, operand);
        match self {
            Self::Equal => order == Ordering::Equal,
            Self::Greater => order == Ordering::Greater,
            Self::GreaterOrEqual => order != Ordering::Less,
            Self::Less => order == Ordering::Less,
            Self::LessOrEqual => order != Ordering::Greater,
        }
    }
}

impl Type {
    fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(_) => Self::Bool,
            Value::Number(number) => Self::of_number(number),
            Value::String(_) => Self::String,
            Value::Array(_) => Self::Array,
            Value::Object(_) => Self::Object,
        }
    }

    fn of_number(number: &Number) -> Self {
        match number.as_i64() {
            Some(integer) if i32::try_from(integer).is_ok() => Self::Int,
            Some(_) => Self::Long,
            None if number.is_u64() => Self::Long,
            None => Self::Double,
        }
    }
}

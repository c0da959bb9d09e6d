//! One total order over JSON values, shared by filters, sorts and keys.

use std::cmp::Ordering;

use serde_json::{Map, Number, Value};

/// Compares two values in the order that filters, sorts and ordered keys share.
///
/// Types come first: null (and a missing value, which is the same here), then
/// numbers, strings, objects, arrays, booleans. Within a type
///
/// - numbers compare by their exact value, whether held as `i64`, `u64` or `f64`;
/// - strings compare by their UTF-8 bytes;
/// - objects compare as the sequence of their `(name, value)` pairs taken in
///   byte order of the names, a sequence that ends first being the smaller;
/// - arrays compare element by element, the one that ends first being the smaller;
/// - `false` comes before `true`.
///
/// The types stand in the
/// [order MongoDB gives them](https://www.mongodb.com/docs/manual/reference/bson-type-comparison-order/).
/// Objects differ from MongoDB: there the written order of the fields counts
/// and a field's type is compared before its name. Documents here have no
/// order of fields, so neither can matter.
pub fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => compare_numbers(a, b),
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Object(a), Value::Object(b)) => compare_objects(a, b),
        (Value::Array(a), Value::Array(b)) => {
            for (a, b) in a.iter().zip(b) {
                let order = compare(a, b);
                if order != Ordering::Equal {
                    return order;
                }
            }
            a.len().cmp(&b.len())
        }
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        _ => Class::of(a).cmp(&Class::of(b)),
    }
}

/// The type of a value, as far as order and type bracketing care.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    Null,
    Number,
    String,
    Object,
    Array,
    Bool,
}

impl Class {
    pub(crate) fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Number(_) => Self::Number,
            Value::String(_) => Self::String,
            Value::Object(_) => Self::Object,
            Value::Array(_) => Self::Array,
            Value::Bool(_) => Self::Bool,
        }
    }
}

/// The fields of an object in byte order of their names.
pub(crate) fn sorted_fields(object: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut fields: Vec<_> = object.iter().collect();
    // A map with insertion order may stand behind `Map`, depending on features
    // that another crate of the program chooses.
    if !fields.is_sorted_by(|a, b| a.0 < b.0) {
        fields.sort_unstable_by(|a, b| a.0.cmp(b.0));
    }
    fields
}

fn compare_objects(a: &Map<String, Value>, b: &Map<String, Value>) -> Ordering {
    let (left, right) = (sorted_fields(a), sorted_fields(b));
    for ((a_name, a), (b_name, b)) in left.iter().zip(&right) {
        let order = a_name.cmp(b_name).then_with(|| compare(a, b));
        if order != Ordering::Equal {
            return order;
        }
    }
    left.len().cmp(&right.len())
}

/// A number with its exact value in reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Exact {
    /// Integral and below 2^100 in size.
    Integer(i128),
    /// Has a fraction, or is larger than that.
    Float(f64),
}

impl Exact {
    /// Beyond every 64-bit integer, and far enough inside `i128`.
    const LIMIT: f64 = 1_267_650_600_228_229_401_496_703_205_376.0;

    pub(crate) fn of(number: &Number) -> Self {
        if let Some(integer) = number.as_i64() {
            return Self::Integer(integer.into());
        }
        if let Some(integer) = number.as_u64() {
            return Self::Integer(integer.into());
        }
        let float = number.as_f64().unwrap_or(f64::MAX);
        if float.fract() == 0.0 && float.abs() < Self::LIMIT {
            #[expect(clippy::cast_possible_truncation, reason = "integral and below 2^100")]
            return Self::Integer(float as i128);
        }
        Self::Float(float)
    }
}

fn compare_numbers(a: &Number, b: &Number) -> Ordering {
    match (Exact::of(a), Exact::of(b)) {
        (Exact::Integer(a), Exact::Integer(b)) => a.cmp(&b),
        (Exact::Float(a), Exact::Float(b)) => a.total_cmp(&b),
        (Exact::Integer(a), Exact::Float(b)) => integer_against_float(a, b),
        (Exact::Float(a), Exact::Integer(b)) => integer_against_float(b, a).reverse(),
    }
}

/// `float` is never integral below [`Exact::LIMIT`], so the two are never equal.
fn integer_against_float(integer: i128, float: f64) -> Ordering {
    let less = if float.abs() >= Exact::LIMIT {
        float > 0.0
    } else {
        #[expect(clippy::cast_possible_truncation, reason = "below 2^100")]
        let floor = float.floor() as i128;
        integer <= floor
    };
    if less {
        Ordering::Less
    } else {
        Ordering::Greater
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn values_stand_in_this_order() {
        let ascending = [
            json!(null),
            json!(-1e300),
            json!(i64::MIN),
            json!(-9_007_199_254_740_993_i64),
            json!(-2.5),
            json!(-2),
            json!(-5e-324),
            json!(0),
            json!(5e-324),
            json!(0.1),
            json!(1),
            json!(1.5),
            json!(2),
            json!(9_007_199_254_740_992_i64),
            json!(9_007_199_254_740_993_i64),
            json!(i64::MAX),
            json!(9_223_372_036_854_775_808_u64),
            json!(u64::MAX),
            json!(18_446_744_073_709_551_616.0),
            json!(1e300),
            json!(""),
            json!("\0"),
            json!("\u{1}"),
            json!("10"),
            json!("9"),
            json!("Z"),
            json!("a"),
            json!("a\0"),
            json!("aa"),
            json!("é"),
            json!("\u{ffff}"),
            json!("😀"),
            json!({}),
            json!({"a": 1}),
            json!({"a": 1, "b": 0}),
            json!({"a": 2}),
            json!({"b": null}),
            json!([]),
            json!([null]),
            json!([1]),
            json!([1, 0]),
            json!([2]),
            json!([[]]),
            json!(false),
            json!(true),
        ];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(compare(a, b), i.cmp(&j), "{a} against {b}");
            }
        }
    }

    #[test]
    fn a_number_is_its_value_not_its_type() {
        assert_eq!(compare(&json!(1.0), &json!(1)), Ordering::Equal);
        assert_eq!(compare(&json!(-0.0), &json!(0)), Ordering::Equal);
        assert_eq!(
            compare(
                &json!(9_223_372_036_854_775_808.0),
                &json!(9_223_372_036_854_775_808_u64)
            ),
            Ordering::Equal
        );
        assert_eq!(
            compare(&json!(9_223_372_036_854_775_808.0), &json!(i64::MAX)),
            Ordering::Greater
        );
    }

    proptest! {
        #[test]
        fn the_order_is_total(
            a in crate::arbitrary::json(), b in crate::arbitrary::json(), c in crate::arbitrary::json(),
        ) {
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            prop_assert_eq!(compare(&a, &a), Ordering::Equal);
            if compare(&a, &b).is_le() && compare(&b, &c).is_le() {
                prop_assert!(compare(&a, &c).is_le());
            }
        }

        #[test]
        fn documents_in_normal_form_are_equal_only_to_themselves(
            a in crate::arbitrary::json(), b in crate::arbitrary::json(),
        ) {
            prop_assert_eq!(compare(&a, &b) == Ordering::Equal, a == b);
        }
    }
}

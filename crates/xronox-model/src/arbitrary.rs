//! Random JSON for property tests.

use proptest::prelude::*;
use serde_json::{Map, Number, Value};

/// Names that collide often, so that two random documents overlap.
pub(crate) fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "[a-d]",
        1 => prop::sample::select(vec![
            "", "id", "_id", "a.b", "a\\b", "a/b", "~", "~1", "0", "10", "-", "$set", "é", "\u{fb33}", "😀", "\n",
            "\u{7f}", "\"",
        ]).prop_map(str::to_owned),
        1 => "[^\\x00]{0,6}",
    ]
}

/// Numbers in normal form, the edges among them.
fn number() -> impl Strategy<Value = Number> {
    prop_oneof![
        4 => (-3_i64..4).prop_map(Number::from),
        1 => any::<i64>().prop_map(Number::from),
        1 => any::<u64>().prop_map(Number::from),
        1 => prop::sample::select(vec![i64::MIN, i64::MAX, 1 << 53, (1 << 53) + 1]).prop_map(Number::from),
        1 => Just(Number::from(u64::MAX)),
        2 => any_float().prop_map(|f| crate::json::number(f).expect("finite")),
    ]
}

fn any_float() -> impl Strategy<Value = f64> {
    prop_oneof![
        prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO,
        prop::sample::select(vec![
            0.1,
            -0.0,
            1e-7,
            5e-324,
            f64::MAX,
            1e20,
            9_223_372_036_854_775_808.0,
            18_446_744_073_709_551_616.0,
            -9_223_372_036_854_775_808.0,
        ]),
        (-1000_i32..1000).prop_map(|n| f64::from(n) / 8.0),
    ]
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::Bool),
        4 => number().prop_map(Value::Number),
        2 => "[a-c]{0,2}".prop_map(Value::String),
        1 => any::<String>().prop_map(Value::String),
        1 => prop::sample::select(vec![
            "2024-01-01T00:00:00.000Z", "\0", "\u{1f}", "\u{2028}", "\"\\/", "😀", "\u{ffff}",
        ]).prop_map(Value::from),
    ]
}

fn nested(leaf: impl Strategy<Value = Value> + 'static) -> impl Strategy<Value = Value> {
    leaf.prop_recursive(4, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            members(inner).prop_map(Value::Object),
        ]
    })
}

fn members(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
    prop::collection::btree_map(name(), value, 0..6)
        .prop_map(|members| members.into_iter().collect())
}

/// Any JSON value in normal form: what [`crate::json::normalize`] leaves as it is.
pub(crate) fn json() -> impl Strategy<Value = Value> {
    nested(scalar())
}

/// Any JSON object in normal form.
pub(crate) fn object() -> impl Strategy<Value = Map<String, Value>> {
    members(json())
}

/// Values as a caller may build them: also floats such as `1.0` and `-0.0`.
pub(crate) fn unnormalized_json() -> impl Strategy<Value = Value> {
    nested(prop_oneof![
        2 => scalar().boxed(),
        1 => any_float().prop_map(Value::from).boxed(),
    ])
}

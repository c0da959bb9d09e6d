//! The normal form of a value that a caller has built.

use serde_json::{Number, Value};

use super::{
    Fault, MAX_DEPTH, NOT_64_BITS, NOT_FINITE, NUL_IN_NAME, TOO_DEEP,
    date::{DATE, date_text},
};
use crate::Invalid;

/// Brings a value into normal form: integral numbers become integers, typed
/// dates become RFC 3339 strings. A value that is there already is only read.
///
/// # Errors
///
/// [`Invalid`] naming the path of a property name with a NUL character, of an
/// integer outside the 64-bit range or a number that is not finite, of a bad
/// `$date`, or where the value nests deeper than [`MAX_DEPTH`].
pub fn normalize(mut value: Value) -> Result<Value, Invalid> {
    match visit(&mut value, 0) {
        Ok(()) => Ok(value),
        Err(fault) => {
            dismantle(value);
            Err(fault.into())
        }
    }
}

fn visit(value: &mut Value, depth: usize) -> Result<(), Fault> {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => {}
        Value::Number(n) if n.is_i64() || n.is_u64() => {}
        Value::Number(n) => {
            // Only `arbitrary_precision` holds integers beyond 64 bits, or
            // numbers that no float holds.
            if !n.is_f64() {
                return Err(Fault::new(NOT_64_BITS));
            }
            let float = n.as_f64().unwrap_or(f64::INFINITY);
            *n = number(float).ok_or_else(|| Fault::new(NOT_FINITE))?;
        }
        Value::Array(elements) => {
            if depth == MAX_DEPTH {
                return Err(Fault::new(TOO_DEEP));
            }
            for (i, element) in elements.iter_mut().enumerate() {
                visit(element, depth + 1).map_err(|f| f.within(i.to_string()))?;
            }
        }
        Value::Object(members) => {
            if depth == MAX_DEPTH {
                return Err(Fault::new(TOO_DEEP));
            }
            if members.len() == 1
                && let Some(operand) = members.get(DATE)
            {
                let text = date_text(operand).map_err(|m| Fault::new(m).within(DATE))?;
                *value = Value::String(text);
                return Ok(());
            }
            for (name, member) in members.iter_mut() {
                if name.contains('\0') {
                    return Err(Fault::new(NUL_IN_NAME).within(name));
                }
                visit(member, depth + 1).map_err(|f| f.within(name))?;
            }
        }
    }
    Ok(())
}

/// Drops a value of any depth; the compiler's own drop is recursive.
fn dismantle(value: Value) {
    let mut waiting = vec![value];
    while let Some(value) = waiting.pop() {
        match value {
            Value::Array(elements) => waiting.extend(elements),
            Value::Object(members) => waiting.extend(members.into_iter().map(|(_, v)| v)),
            _ => {}
        }
    }
}

/// The one form of a number: an integer if it is integral and fits 64 bits.
/// `None` if it is not finite.
pub(crate) fn number(float: f64) -> Option<Number> {
    const TWO_63: f64 = 9_223_372_036_854_775_808.0;
    // Exact comparison is the question here, and the casts are exact in range.
    #[allow(
        clippy::float_cmp,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )]
    if float.trunc() != float {
        Number::from_f64(float)
    } else if (-TWO_63..TWO_63).contains(&float) {
        Some(Number::from(float as i64))
    } else if (TWO_63..2.0 * TWO_63).contains(&float) {
        Some(Number::from(float as u64))
    } else {
        Number::from_f64(float)
    }
}

/// Whether a value nests at most `depth` objects and arrays. Looks no deeper
/// than that, so any value may be asked about.
pub(crate) fn is_within(value: &Value, depth: usize) -> bool {
    match value {
        Value::Array(elements) => depth > 0 && elements.iter().all(|v| is_within(v, depth - 1)),
        Value::Object(members) => depth > 0 && members.values().all(|v| is_within(v, depth - 1)),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{arbitrary, json::canonical};

    fn nest(depth: usize) -> Value {
        (0..depth).fold(json!(1), |inner, i| {
            if i % 2 == 0 {
                json!([inner])
            } else {
                let mut outer = serde_json::Map::new();
                outer.insert("a".to_owned(), inner);
                Value::Object(outer)
            }
        })
    }

    #[test]
    fn numbers_take_their_one_form() {
        for (given, wanted) in [
            (json!(1.0), json!(1)),
            (json!(-0.0), json!(0)),
            (json!(-1.0), json!(-1)),
            (json!(1.5), json!(1.5)),
            (json!(9_223_372_036_854_775_808.0), json!(1_u64 << 63)),
            (json!(-9_223_372_036_854_775_808.0), json!(i64::MIN)),
            (
                json!(18_446_744_073_709_551_616.0),
                json!(18_446_744_073_709_551_616.0),
            ),
            (json!(-1e19), json!(-1e19)),
            (json!([{"a": 2.0}]), json!([{"a": 2}])),
        ] {
            assert_eq!(normalize(given.clone()), Ok(wanted), "{given}");
        }
    }

    #[test]
    fn typed_dates_become_text() {
        let given = json!({"at": {"$date": 0}, "not": {"$date": 0, "x": 1}, "plain": "2024-01-01"});
        let wanted = json!({
            "at": "1970-01-01T00:00:00.000Z",
            "not": {"$date": 0, "x": 1},
            "plain": "2024-01-01",
        });
        assert_eq!(normalize(given), Ok(wanted));
    }

    #[test]
    fn faults_name_their_path() {
        for (given, path) in [
            (json!({"a.b": [0, {"c\0": 1}]}), r"a\.b.1.c\0"),
            (json!({"a": [{"$date": "soon"}]}), "a.0.$date"),
            (json!({"a": {"$date": {"$date": 0}}}), "a.$date"),
        ] {
            assert_eq!(normalize(given).unwrap_err().path(), path);
        }
    }

    #[test]
    fn depth_is_bounded_at_any_depth() {
        assert!(normalize(nest(MAX_DEPTH)).is_ok());
        assert_eq!(
            normalize(nest(MAX_DEPTH + 1)).unwrap_err().message(),
            TOO_DEEP
        );
        assert!(normalize((0..1_000_000).fold(json!(1), |v, _| Value::Array(vec![v]))).is_err());
        assert!(is_within(&nest(3), 3) && !is_within(&nest(3), 2));
    }

    proptest! {
        #[test]
        fn the_normal_form_is_a_fixed_point(value in arbitrary::json()) {
            prop_assert_eq!(normalize(value.clone()), Ok(value));
        }

        #[test]
        fn normalizing_keeps_the_canonical_text(value in arbitrary::unnormalized_json()) {
            let text = canonical(&value);
            prop_assert_eq!(canonical(&normalize(value).unwrap()), text);
        }
    }
}

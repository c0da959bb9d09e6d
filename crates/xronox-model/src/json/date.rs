//! Typed dates: `{"$date": …}`, as Extended JSON spells them.

use serde_json::{Map, Number, Value};

/// The only property of a typed date.
pub(super) const DATE: &str = "$date";

const BAD_DATE: &str = "a `$date` is an RFC 3339 time of the years 0000 to 9999, \
                        or whole milliseconds since 1970 (also as `$numberLong`)";

/// The stored text of the date that stands in a `$date` property.
pub(super) fn date_text(operand: &Value) -> Result<String, &'static str> {
    let timestamp = match operand {
        Value::String(text) if is_rfc3339(text.as_bytes()) => text.parse().ok(),
        Value::Number(number) => whole(number).and_then(from_millis),
        Value::Object(members) => number_long(members).and_then(from_millis),
        _ => None,
    };
    timestamp
        .and_then(|t: jiff::Timestamp| {
            // Rounds towards the past, so that dates keep their order.
            from_millis(t.as_nanosecond().div_euclid(1_000_000).try_into().ok()?)
        })
        .map(|t| format!("{t:.3}"))
        .filter(|text| text.as_bytes().first().is_some_and(u8::is_ascii_digit))
        .ok_or(BAD_DATE)
}

fn from_millis(millis: i64) -> Option<jiff::Timestamp> {
    jiff::Timestamp::from_millisecond(millis).ok()
}

fn whole(number: &Number) -> Option<i64> {
    // A caller's `5.0` is the `5` that it would be in normal form.
    number
        .as_i64()
        .or_else(|| super::number(number.as_f64()?)?.as_i64())
}

fn number_long(members: &Map<String, Value>) -> Option<i64> {
    let text = members.get("$numberLong")?.as_str()?;
    (members.len() == 1).then(|| text.parse().ok()).flatten()
}

/// Whether the text has RFC 3339's shape; the date library reads far more
/// spellings than that, and ranges are its business.
fn is_rfc3339(text: &[u8]) -> bool {
    const SHAPE: &[u8] = b"0000-00-00T00:00:00";
    let fits = |shape: &[u8], text: &[u8]| {
        shape.len() == text.len()
            && shape.iter().zip(text).all(|(shape, byte)| match shape {
                b'0' => byte.is_ascii_digit(),
                shape => byte.eq_ignore_ascii_case(shape),
            })
    };
    let Some((head, mut rest)) = text.split_at_checked(SHAPE.len()) else {
        return false;
    };
    if let [b'.', fraction @ ..] = rest {
        let digits = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
        if digits == 0 {
            return false;
        }
        rest = &fraction[digits..];
    }
    fits(SHAPE, head) && (fits(b"Z", rest) || fits(b"+00:00", rest) || fits(b"-00:00", rest))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn dates_have_one_stored_text() {
        for (operand, text) in [
            (json!("2024-01-01T00:00:00Z"), "2024-01-01T00:00:00.000Z"),
            (json!("2024-01-01t00:00:00.1z"), "2024-01-01T00:00:00.100Z"),
            (
                json!("2024-01-01T01:30:00.123999+01:30"),
                "2024-01-01T00:00:00.123Z",
            ),
            (
                json!("1969-12-31T23:59:59.9999Z"),
                "1969-12-31T23:59:59.999Z",
            ),
            (json!("0000-01-01T00:00:00Z"), "0000-01-01T00:00:00.000Z"),
            (
                json!("2024-01-01T00:00:00-05:00"),
                "2024-01-01T05:00:00.000Z",
            ),
            (json!(0), "1970-01-01T00:00:00.000Z"),
            (json!(5.0), "1970-01-01T00:00:00.005Z"),
            (json!(-1), "1969-12-31T23:59:59.999Z"),
            (
                json!({"$numberLong": "1704067200000"}),
                "2024-01-01T00:00:00.000Z",
            ),
        ] {
            assert_eq!(date_text(&operand).as_deref(), Ok(text), "{operand}");
        }
    }

    #[test]
    fn other_operands_are_no_dates() {
        for operand in [
            json!("2024-01-01"),
            json!("2024-01-01T00:00Z"),
            json!("2024-01-01T00:00:00"),
            json!("2024-01-01 00:00:00Z"),
            json!("2024-01-01T00:00:00.Z"),
            json!("2024-01-01T00:00:00+0100"),
            json!("2024-01-01T00:00:00Z[Europe/Paris]"),
            json!("2024-02-30T00:00:00Z"),
            json!("0000-01-01T00:00:00+01:00"),
            json!("9999-12-31T23:00:00-05:00"),
            json!(1.5),
            json!(i64::MAX),
            json!(u64::MAX),
            json!({"$numberLong": 5}),
            json!({"$numberLong": "5", "x": 1}),
            json!(null),
        ] {
            assert_eq!(date_text(&operand), Err(BAD_DATE), "{operand}");
        }
    }
}

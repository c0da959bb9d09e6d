//! The canonical text of a value. Hashes are taken over it and stored, so the
//! form pinned by the tests below can never change.

use std::cmp::Ordering;

use serde_json::{Map, Number, Value};

/// The canonical text of a value in normal form; see [`canonical_into`].
pub fn canonical(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    canonical_into(value, &mut out);
    out
}

/// Appends the canonical text of a value in normal form.
///
/// Property order and string escapes are those of
/// [RFC 8785](https://www.rfc-editor.org/rfc/rfc8785); there is no white space.
/// Numbers differ from it: an integral number that fits `i64` or `u64` has all
/// its digits, every other one the shortest digits that give it back, with a
/// fraction or an exponent (`0.1`, `1e20`, `1.5e-7`). Equal values have equal
/// texts in whatever order their properties were inserted, and reading the text
/// back gives the value.
///
/// Recursive: bring a value of unknown depth into normal form first.
pub fn canonical_into(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(n) => write_number(n, out),
        Value::String(s) => write_string(s, out),
        Value::Array(elements) => {
            out.push(b'[');
            for (i, element) in elements.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                canonical_into(element, out);
            }
            out.push(b']');
        }
        Value::Object(members) => write_object(members, out),
    }
}

fn write_object(members: &Map<String, Value>, out: &mut Vec<u8>) {
    out.push(b'{');
    if iterates_in_order(members) {
        write_members(members.iter(), out);
    } else {
        let mut members: Vec<_> = members.iter().collect();
        members.sort_unstable_by(|a, b| compare_names(a.0, b.0));
        write_members(members.into_iter(), out);
    }
    out.push(b'}');
}

fn write_members<'a>(members: impl Iterator<Item = (&'a String, &'a Value)>, out: &mut Vec<u8>) {
    for (i, (name, member)) in members.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_string(name, out);
        out.push(b':');
        canonical_into(member, out);
    }
}

/// Whether the map yields its names in canonical order as it stands: usual for
/// a sorted map, by luck for one in insertion order (`preserve_order`).
fn iterates_in_order(members: &Map<String, Value>) -> bool {
    // Bytes and UTF-16 units order alike below U+E000, whose first byte is EE:
    // only beyond do surrogates, of lesser value, stand for greater characters.
    let mut last: Option<&[u8]> = None;
    members.keys().all(|name| {
        let name = name.as_bytes();
        let follows = last.is_none_or(|last| last < name);
        last = Some(name);
        follows && name.iter().all(|&b| b < 0xEE)
    })
}

fn compare_names(a: &str, b: &str) -> Ordering {
    a.encode_utf16().cmp(b.encode_utf16())
}

/// For each byte: 0 if it stands for itself in a string, else what follows the
/// backslash.
const ESCAPES: [u8; 256] = {
    let mut table = [0; 256];
    let mut control = 0;
    while control < 0x20 {
        table[control] = b'u';
        control += 1;
    }
    table[0x08] = b'b';
    table[0x09] = b't';
    table[0x0A] = b'n';
    table[0x0C] = b'f';
    table[0x0D] = b'r';
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table
};

fn write_string(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = text.as_bytes();
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    let mut run = 0;
    for (i, &byte) in bytes.iter().enumerate() {
        let escape = ESCAPES[usize::from(byte)];
        if escape == 0 {
            continue;
        }
        out.extend_from_slice(&bytes[run..i]);
        run = i + 1;
        out.extend_from_slice(&[b'\\', escape]);
        if escape == b'u' {
            out.extend_from_slice(b"00");
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
        }
    }
    out.extend_from_slice(&bytes[run..]);
    out.push(b'"');
}

fn write_number(number: &Number, out: &mut Vec<u8>) {
    if let Some(n) = number.as_u64() {
        write_digits(n, out);
    } else if let Some(n) = number.as_i64() {
        out.push(b'-');
        write_digits(n.unsigned_abs(), out);
    } else if let Some(normal) = number.as_f64().and_then(super::number) {
        if normal.is_f64() {
            let float = normal.as_f64().unwrap_or_default();
            out.extend_from_slice(ryu::Buffer::new().format_finite(float).as_bytes());
        } else {
            write_number(&normal, out);
        }
    } else {
        // Too large for a float: possible with `arbitrary_precision` only, and
        // never in normal form.
        out.extend_from_slice(number.to_string().as_bytes());
    }
}

fn write_digits(mut n: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        // A remainder of ten fits any integer.
        #[allow(clippy::cast_possible_truncation)]
        let digit = (n % 10) as u8;
        digits[start] = b'0' + digit;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{
        Sha256, arbitrary,
        json::{normalize, parse},
    };

    fn text(value: &Value) -> String {
        String::from_utf8(canonical(value)).unwrap()
    }

    #[test]
    fn numbers_are_pinned() {
        for (value, wanted) in [
            (json!(0), "0"),
            (json!(-0.0), "0"),
            (json!(1.0), "1"),
            (json!(-1), "-1"),
            (json!(100.0), "100"),
            (json!(i64::MIN), "-9223372036854775808"),
            (json!(i64::MAX), "9223372036854775807"),
            (json!(u64::MAX), "18446744073709551615"),
            (json!(9_007_199_254_740_993_u64), "9007199254740993"),
            (json!(1e15), "1000000000000000"),
            (json!(1e16), "10000000000000000"),
            (json!(1e19), "10000000000000000000"),
            (json!(-1e19), "-1e19"),
            (json!(18_446_744_073_709_551_616.0), "1.8446744073709552e19"),
            (json!(1e20), "1e20"),
            (json!(1e21), "1e21"),
            (json!(1.5e300), "1.5e300"),
            (json!(f64::MAX), "1.7976931348623157e308"),
            (json!(f64::MIN_POSITIVE), "2.2250738585072014e-308"),
            (json!(5e-324), "5e-324"),
            (json!(0.1), "0.1"),
            (json!(-0.5), "-0.5"),
            (json!(1.5), "1.5"),
            (json!(0.001), "0.001"),
            (json!(0.00001), "0.00001"),
            (json!(0.000_001), "1e-6"),
            (json!(1e-7), "1e-7"),
            (json!(1.5e-7), "1.5e-7"),
            (json!(0.3), "0.3"),
            (json!(0.1 + 0.2), "0.30000000000000004"),
            (json!(123_456_789.125), "123456789.125"),
            (json!(333_333_333.333_333_3), "333333333.3333333"),
        ] {
            assert_eq!(text(&value), wanted);
        }
    }

    #[test]
    fn strings_are_pinned() {
        for (value, wanted) in [
            ("", r#""""#),
            ("a\"b\\c/d", r#""a\"b\\c/d""#),
            ("\u{8}\t\n\u{c}\r", r#""\b\t\n\f\r""#),
            ("\0\u{1}\u{b}\u{1f} ", r#""\u0000\u0001\u000b\u001f ""#),
            (
                "\u{7f}\u{80}\u{2028}\u{feff}é€😀",
                "\"\u{7f}\u{80}\u{2028}\u{feff}é€😀\"",
            ),
        ] {
            assert_eq!(text(&json!(value)), wanted);
        }
    }

    #[test]
    fn property_order_is_that_of_utf16() {
        // The names of the example in RFC 8785, section 3.2.3.
        let value = json!({
            "\u{20ac}": 1, "\r": 2, "\u{fb33}": 3, "1": 4, "\u{1f600}": 5, "\u{80}": 6, "\u{f6}": 7,
        });
        assert_eq!(
            text(&value),
            "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"\u{f6}\":7,\"\u{20ac}\":1,\"\u{1f600}\":5,\"\u{fb33}\":3}"
        );
        assert_eq!(
            text(&json!({"b": 1, "a": 2, "": 3, "B": 4, "aa": 5})),
            r#"{"":3,"B":4,"a":2,"aa":5,"b":1}"#
        );
    }

    #[test]
    fn a_document_and_its_hash_are_pinned() {
        let value = json!({
            "title": "Straße \"5\"\n",
            "count": 3.0,
            "ratio": 1e-7,
            "big": 1e20,
            "tags": ["x", null, true, false, {}, []],
            "nested": {"é": {"😀": -1, "\u{ffff}": 0}},
        });
        assert_eq!(
            text(&value),
            "{\"big\":1e20,\"count\":3,\"nested\":{\"é\":{\"😀\":-1,\"\u{ffff}\":0}},\"ratio\":1e-7,\
             \"tags\":[\"x\",null,true,false,{},[]],\"title\":\"Straße \\\"5\\\"\\n\"}"
        );
        assert_eq!(
            Sha256::of(&canonical(&value)).to_string(),
            "56de05c5bde8b698e256186dce7197b58739708db76f15db560a680a6101dfa6"
        );
        assert_eq!(
            Sha256::of(&canonical(&json!({}))).to_string(),
            "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
        );
    }

    proptest! {
        #[test]
        fn reading_back_gives_the_value(value in arbitrary::json()) {
            prop_assert_eq!(parse(&canonical(&value)).unwrap(), value);
        }

        #[test]
        fn the_text_is_a_fixed_point(value in arbitrary::unnormalized_json()) {
            let text = canonical(&value);
            let again = parse(&text).unwrap();
            prop_assert_eq!(&again, &normalize(value).unwrap());
            prop_assert_eq!(canonical(&again), text);
        }

        #[test]
        fn the_order_of_insertion_is_invisible(
            members in prop::collection::vec((arbitrary::name(), arbitrary::json()), 0..8),
        ) {
            let one: Map<_, _> = members.iter().rev().cloned().collect();
            let mut other = Map::new();
            for (name, member) in &members {
                other.entry(name.clone()).or_insert_with(|| member.clone());
            }
            prop_assert_eq!(canonical(&Value::Object(one)), canonical(&Value::Object(other)));
        }

        #[test]
        fn standard_json_readers_read_it(value in arbitrary::json()) {
            let read: Value = serde_json::from_slice(&canonical(&value)).unwrap();
            prop_assert_eq!(normalize(read).unwrap(), value);
        }
    }
}

//! Strict reading of JSON text.

use std::{borrow::Cow, fmt};

use serde_json::{Map, Number, Value, map::Entry};

use super::{
    Fault, MAX_DEPTH, NOT_64_BITS, NOT_FINITE, NUL_IN_NAME, TOO_DEEP,
    date::{DATE, date_text},
};
use crate::Invalid;

/// Why a text is no document, and where.
///
/// The message holds property names at most, never a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct JsonError {
    line: usize,
    column: usize,
    path: String,
    message: &'static str,
}

impl JsonError {
    /// The line of the text, from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The column in that line, in characters from 1.
    pub fn column(&self) -> usize {
        self.column
    }

    /// The dotted path of the property or element; empty for the whole text.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What is wrong there.
    pub fn message(&self) -> &str {
        self.message
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: ", self.line, self.column)?;
        if !self.path.is_empty() {
            write!(f, "`{}`: ", self.path)?;
        }
        f.write_str(self.message)
    }
}

impl From<JsonError> for Invalid {
    fn from(error: JsonError) -> Self {
        let JsonError {
            line,
            column,
            path,
            message,
        } = error;
        Self::at(path, format!("{message} (line {line}, column {column})"))
    }
}

/// Reads one JSON text ([RFC 8259](https://www.rfc-editor.org/rfc/rfc8259),
/// UTF-8) into normal form.
///
/// # Errors
///
/// [`JsonError`] for anything that is not exactly one JSON value; two
/// properties of one name in an object; a name with a NUL character; an integer
/// literal outside `i64` and `u64`; a number too large for `f64`; a bad
/// `$date`; nesting deeper than [`MAX_DEPTH`].
pub fn parse(text: &[u8]) -> Result<Value, JsonError> {
    let utf8 = std::str::from_utf8(text)
        .map_err(|e| locate(text, e.valid_up_to(), &Fault::new("the text is not UTF-8")))?;
    let mut parser = Parser {
        text: utf8,
        at: 0,
        depth: 0,
    };
    parser
        .document()
        .map_err(|fault| locate(text, parser.at, &fault))
}

// Runs once, for an error: no reason to count bytes with more than a loop.
#[allow(clippy::naive_bytecount)]
fn locate(text: &[u8], at: usize, fault: &Fault) -> JsonError {
    let before = &text[..at.min(text.len())];
    let line_start = before
        .iter()
        .rposition(|&b| b == b'\n')
        .map_or(0, |i| i + 1);
    JsonError {
        line: 1 + before.iter().filter(|&&b| b == b'\n').count(),
        column: 1 + String::from_utf8_lossy(&before[line_start..])
            .chars()
            .count(),
        path: fault.path(),
        message: fault.message,
    }
}

type Parsed<T> = Result<T, Fault>;

fn fault<T>(message: &'static str) -> Parsed<T> {
    Err(Fault::new(message))
}

struct Parser<'a> {
    text: &'a str,
    /// The next byte to read; after an error, where it is.
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn document(&mut self) -> Parsed<Value> {
        let value = self.value()?;
        match self.token() {
            None => Ok(value),
            Some(_) => fault("the text goes on after its value"),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The next byte that is not white space, left unread.
    fn token(&mut self) -> Option<u8> {
        loop {
            match self.peek() {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                next => return next,
            }
        }
    }

    fn expect(&mut self, byte: u8, message: &'static str) -> Parsed<()> {
        match self.token() {
            Some(next) if next == byte => {
                self.at += 1;
                Ok(())
            }
            Some(_) => fault(message),
            None => fault("the text ends early"),
        }
    }

    fn value(&mut self) -> Parsed<Value> {
        match self.token() {
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'"') => Ok(Value::String(self.string()?.into_owned())),
            Some(b'-' | b'0'..=b'9') => Ok(Value::Number(self.number()?)),
            Some(b't') => self.literal("true", Value::Bool(true)),
            Some(b'f') => self.literal("false", Value::Bool(false)),
            Some(b'n') => self.literal("null", Value::Null),
            Some(_) => fault("a value was expected"),
            None => fault("the text ends early"),
        }
    }

    fn literal(&mut self, literal: &str, value: Value) -> Parsed<Value> {
        if self.text.as_bytes()[self.at..].starts_with(literal.as_bytes()) {
            self.at += literal.len();
            Ok(value)
        } else {
            fault("a value was expected")
        }
    }

    fn nested(&mut self, read: fn(&mut Self) -> Parsed<Value>) -> Parsed<Value> {
        if self.depth == MAX_DEPTH {
            return fault(TOO_DEEP);
        }
        self.depth += 1;
        self.at += 1;
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn array(&mut self) -> Parsed<Value> {
        let mut elements = Vec::new();
        if self.token() == Some(b']') {
            self.at += 1;
            return Ok(Value::Array(elements));
        }
        loop {
            match self.value() {
                Ok(value) => elements.push(value),
                Err(fault) => return Err(fault.within(elements.len().to_string())),
            }
            if self.token() == Some(b',') {
                self.at += 1;
            } else {
                self.expect(b']', "a comma or `]` was expected")?;
                return Ok(Value::Array(elements));
            }
        }
    }

    fn object(&mut self) -> Parsed<Value> {
        let mut members = Map::new();
        if self.token() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Object(members));
        }
        // Where the first property's value starts, should the object prove a date.
        let mut first = None;
        loop {
            match self.token() {
                Some(b'"') => {}
                Some(_) => return fault("a property name was expected"),
                None => return fault("the text ends early"),
            }
            let name_at = self.at;
            let name = self.string()?.into_owned();
            if name.contains('\0') {
                self.at = name_at;
                return Err(Fault::new(NUL_IN_NAME).within(name));
            }
            let slot = match members.entry(name) {
                Entry::Vacant(slot) => slot,
                Entry::Occupied(slot) => {
                    self.at = name_at;
                    let name = slot.key().as_str();
                    return Err(Fault::new("this property stands twice").within(name));
                }
            };
            self.expect(b':', "a colon was expected")?;
            self.token();
            first.get_or_insert(self.at);
            match self.value() {
                Ok(value) => slot.insert(value),
                Err(fault) => return Err(fault.within(slot.key().as_str())),
            };
            if self.token() == Some(b',') {
                self.at += 1;
            } else {
                self.expect(b'}', "a comma or `}` was expected")?;
                break;
            }
        }
        if members.len() == 1
            && let Some(operand) = members.get(DATE)
        {
            return self.date(operand, first.unwrap_or(self.at));
        }
        Ok(Value::Object(members))
    }

    fn date(&mut self, operand: &Value, at: usize) -> Parsed<Value> {
        // A date inside a date has become a string by now.
        let was_object = self.text.as_bytes().get(at) == Some(&b'{');
        let operand = if was_object && operand.is_string() {
            &Value::Null
        } else {
            operand
        };
        date_text(operand).map(Value::String).map_err(|message| {
            self.at = at;
            Fault::new(message).within(DATE)
        })
    }

    fn string(&mut self) -> Parsed<Cow<'a, str>> {
        let text = self.text;
        self.at += 1;
        let mut run = self.at;
        let mut unescaped: Option<String> = None;
        loop {
            match self.peek() {
                Some(b'"') => {
                    let tail = &text[run..self.at];
                    self.at += 1;
                    return Ok(match unescaped {
                        None => Cow::Borrowed(tail),
                        Some(head) => Cow::Owned(head + tail),
                    });
                }
                Some(b'\\') => {
                    let unescaped = unescaped.get_or_insert_default();
                    unescaped.push_str(&text[run..self.at]);
                    unescaped.push(self.escape()?);
                    run = self.at;
                }
                Some(0..0x20) => return fault("a control character in a string"),
                Some(_) => self.at += 1,
                None => return fault("the text ends early"),
            }
        }
    }

    /// Reads from a backslash to the end of its escape.
    fn escape(&mut self) -> Parsed<char> {
        self.at += 1;
        let c = match self.peek() {
            Some(c @ (b'"' | b'\\' | b'/')) => char::from(c),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.unicode();
            }
            Some(_) => return fault("an unknown escape in a string"),
            None => return fault("the text ends early"),
        };
        self.at += 1;
        Ok(c)
    }

    fn unicode(&mut self) -> Parsed<char> {
        const LONE: &str = "half a surrogate pair in a string";
        let start = self.at;
        let mut unit = self.hex4()?;
        if (0xD800..0xDC00).contains(&unit) && self.text.as_bytes()[self.at..].starts_with(b"\\u") {
            self.at += 2;
            let low = self.hex4()?;
            if (0xDC00..0xE000).contains(&low) {
                unit = 0x1_0000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
            }
        }
        // What is a surrogate still is no character.
        char::from_u32(unit).ok_or_else(|| {
            self.at = start;
            Fault::new(LONE)
        })
    }

    fn hex4(&mut self) -> Parsed<u32> {
        let mut unit = 0;
        for _ in 0..4 {
            let Some(digit) = self.peek().and_then(|b| char::from(b).to_digit(16)) else {
                return fault("`\\u` needs four hexadecimal digits");
            };
            unit = unit << 4 | digit;
            self.at += 1;
        }
        Ok(unit)
    }

    fn number(&mut self) -> Parsed<Number> {
        let start = self.at;
        let negative = self.peek() == Some(b'-');
        self.at += usize::from(negative);
        let digits = self.at;
        self.digits()?;
        if self.text.as_bytes()[digits] == b'0' && self.at > digits + 1 {
            self.at = digits;
            return fault("a number cannot start with a zero");
        }
        let mut integer = true;
        if self.peek() == Some(b'.') {
            integer = false;
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            integer = false;
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        let literal = &self.text[start..self.at];
        let number = if integer && negative {
            literal
                .parse::<i64>()
                .map(Number::from)
                .map_err(|_| NOT_64_BITS)
        } else if integer {
            literal
                .parse::<u64>()
                .map(Number::from)
                .map_err(|_| NOT_64_BITS)
        } else {
            literal
                .parse()
                .ok()
                .and_then(super::number)
                .ok_or(NOT_FINITE)
        };
        number.map_err(|message| {
            self.at = start;
            Fault::new(message)
        })
    }

    fn digits(&mut self) -> Parsed<()> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start {
            return fault("a digit was expected");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{
        arbitrary,
        json::{canonical, normalize},
    };

    #[test]
    fn values_are_read_into_normal_form() {
        for (text, wanted) in [
            (" null ", json!(null)),
            ("\t[true,\r\nfalse , 1]", json!([true, false, 1])),
            ("{}", json!({})),
            ("[]", json!([])),
            (r#"{"a" : {"": [ ]}}"#, json!({"a": {"": []}})),
            (
                r#""\u0041\ud83d\ude00\"\\\/\b\f\n\r\t\u0000""#,
                json!("A😀\"\\/\u{8}\u{c}\n\r\t\0"),
            ),
            ("\"é\u{7f}\u{2028}\"", json!("é\u{7f}\u{2028}")),
            ("1.0", json!(1)),
            ("-0", json!(0)),
            ("-0.0", json!(0)),
            ("-0e5", json!(0)),
            ("1e3", json!(1000)),
            ("1E+2", json!(100)),
            ("100e-2", json!(1)),
            ("9223372036854775807", json!(i64::MAX)),
            ("-9223372036854775808", json!(i64::MIN)),
            ("18446744073709551615", json!(u64::MAX)),
            (
                "18446744073709551616.0",
                json!(18_446_744_073_709_551_616.0),
            ),
            ("-9.3e18", json!(-9.3e18)),
            ("1e20", json!(1e20)),
            ("1e-400", json!(0)),
            ("0.1", json!(0.1)),
            (
                r#"{"$date":"2024-05-06T07:08:09Z"}"#,
                json!("2024-05-06T07:08:09.000Z"),
            ),
            (r#"[{"$date": 5}]"#, json!(["1970-01-01T00:00:00.005Z"])),
            (
                r#"{"a":{"$date":{"$numberLong":"-1"}}}"#,
                json!({"a": "1969-12-31T23:59:59.999Z"}),
            ),
            (r#"{"$date":"x","y":1}"#, json!({"$date": "x", "y": 1})),
            (r#"["2024-05-06"]"#, json!(["2024-05-06"])),
            (
                r#"{"$serde_json::private::Number":"1"}"#,
                json!({"$serde_json::private::Number": "1"}),
            ),
            (
                r#"{"$serde_json::private::RawValue":"1"}"#,
                json!({"$serde_json::private::RawValue": "1"}),
            ),
        ] {
            assert_eq!(parse(text.as_bytes()), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn faults_say_where() {
        for (text, wanted) in [
            (
                "{\n \"é\": {\"b\": 1,\n  \"b\": 2}}",
                "line 3, column 3: `é.b`: this property stands twice",
            ),
            (
                r#"{"a.b": [0, {"a": 1, "\u0061": 1}]}"#,
                r"line 1, column 22: `a\.b.1.a`: this property stands twice",
            ),
            (
                r#"{"é":18446744073709551616}"#,
                &format!("line 1, column 6: `é`: {NOT_64_BITS}"),
            ),
            (
                "[-9223372036854775809]",
                &format!("line 1, column 2: `0`: {NOT_64_BITS}"),
            ),
            (
                "[1, 1e400]",
                &format!("line 1, column 5: `1`: {NOT_FINITE}"),
            ),
            ("[-1e400]", &format!("line 1, column 2: `0`: {NOT_FINITE}")),
            (
                r#"{"a\u0000b":1}"#,
                &format!(r"line 1, column 2: `a\0b`: {NUL_IN_NAME}"),
            ),
            ("", "line 1, column 1: the text ends early"),
            (
                "{\"a\":\n[1,",
                "line 2, column 4: `a.1`: the text ends early",
            ),
            ("1 2", "line 1, column 3: the text goes on after its value"),
            ("\u{feff}1", "line 1, column 1: a value was expected"),
            ("[1,]", "line 1, column 4: `1`: a value was expected"),
            (
                "{\"a\":1,}",
                "line 1, column 8: a property name was expected",
            ),
        ] {
            assert_eq!(
                parse(text.as_bytes()).unwrap_err().to_string(),
                wanted,
                "{text}"
            );
        }
        let error = parse(b"[\"\xc3\xa9\xff\"]").unwrap_err();
        assert_eq!(error.to_string(), "line 1, column 4: the text is not UTF-8");
        assert_eq!(
            Invalid::from(parse(b"{\"a\":[nul]}").unwrap_err()).to_string(),
            "`a.0`: a value was expected (line 1, column 7)"
        );
    }

    #[test]
    fn broken_texts_are_refused() {
        for text in [
            "nul",
            "tru",
            "True",
            "NaN",
            "Infinity",
            "+1",
            "01",
            "-",
            "-01",
            "1.",
            ".5",
            "1e",
            "1e+",
            "0x1",
            "1_0",
            "'a'",
            "\"",
            "\"\\",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u12g4\"",
            "\"\\ud800\"",
            "\"\\udc00\"",
            "\"\\ud800\\u0041\"",
            "\"\\ud800\\ud800\"",
            "\"\n\"",
            "\"\0\"",
            "[",
            "[1",
            "[1 2]",
            "]",
            "{",
            "{\"a\"",
            "{\"a\"}",
            "{\"a\":}",
            "{a:1}",
            "{1:1}",
            "{\"a\":1 \"b\":2}",
            "// x\n1",
            "1,",
            "\u{a0}1",
            "{\"$date\":\"2024\"}",
            "{\"$date\":1e400}",
            "{\"$date\":null}",
            "{\"$date\":{\"$date\":5}}",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nest = |depth: usize| [b"[".repeat(depth), b"]".repeat(depth)].concat();
        assert!(parse(&nest(MAX_DEPTH)).is_ok());
        let error = parse(&nest(MAX_DEPTH + 1)).unwrap_err();
        assert_eq!((error.column(), error.message()), (MAX_DEPTH + 1, TOO_DEEP));
        assert!(parse(&b"[".repeat(10_000_000)).is_err());
        assert!(parse(&b"{\"a\":".repeat(1_000_000)).is_err());
    }

    /// Bytes that look enough like JSON to get past the first token.
    fn json_like() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            any::<Vec<u8>>(),
            prop::collection::vec(
                prop::sample::select(vec![
                    "{",
                    "}",
                    "[",
                    "]",
                    ",",
                    ":",
                    "\"",
                    "\"a\"",
                    "\"b\"",
                    "1",
                    "-",
                    "0",
                    ".5",
                    "e9",
                    "99999999999999999999",
                    "true",
                    "null",
                    " ",
                    "\n",
                    "\\",
                    "\\u",
                    "d83d",
                    "\\ude00",
                    "{\"$date\":",
                    "é",
                ]),
                0..24,
            )
            .prop_map(|tokens| tokens.concat().into_bytes()),
            (arbitrary::json(), any::<prop::sample::Index>(), any::<u8>()).prop_map(
                |(value, at, byte)| {
                    let mut text = canonical(&value);
                    let at = at.index(text.len());
                    text[at] = byte;
                    text
                }
            ),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn any_bytes_are_read_or_refused(text in json_like()) {
            let standard = serde_json::from_slice::<Value>(&text);
            match parse(&text) {
                Ok(value) => {
                    let again = canonical(&value);
                    prop_assert_eq!(&parse(&again).unwrap(), &value);
                    prop_assert_eq!(canonical(&value), again);
                    // `{"$serde_json::…` aside, what we read is what others read.
                    prop_assert_eq!(normalize(standard.unwrap()).unwrap(), value);
                }
                Err(error) => {
                    let stricter = [
                        "this property stands twice", NUL_IN_NAME, NOT_64_BITS, TOO_DEEP,
                    ].contains(&error.message()) || error.message().contains("$date");
                    prop_assert!(stricter || standard.is_err(), "{}", error);
                }
            }
        }

        #[test]
        fn white_space_means_nothing(value in arbitrary::json()) {
            let text = serde_json::to_vec_pretty(&value).unwrap();
            prop_assert_eq!(parse(&text).unwrap(), value);
        }
    }
}

//! Ordered keys: strings that sort as the values they stand for.
//!
//! A backend stores them as opaque text, compares them byte by byte (as MongoDB
//! and SQLite's `BINARY` collation do) and needs to know nothing else about order.
//!
//! # Form
//!
//! The first character is the type:
//!
//! | tag | type | then |
//! |---|---|---|
//! | `!` | more keys than are kept | nothing |
//! | `0` | null or missing | nothing |
//! | `1` | number below zero | the digits of its size, each mirrored, then `~` |
//! | `2` | number from zero | the digits |
//! | `3` | string | its text |
//! | `4` | object | for each field by name `,` name U+0001 value, then `!` |
//! | `5` | array | each value, then `!` |
//! | `6`, `7` | `false`, `true` | nothing |
//!
//! The digits are a big-endian bit string in base 64 (`-0…9A…Z_a…z`, which sort
//! as written), without its trailing zeros: the 63 bits of the largest `f64`
//! that is not above the number, then 11 bits with what that leaves of a large
//! integer. Thus integers up to 64 bits and floats share one exact order, small
//! ones take three or four characters and none takes more than fifteen.
//!
//! In text U+0000, U+0001 and U+0002 are written as U+0002 and `0`, `1` or `2`,
//! so no key holds a NUL and a name or text inside an object or array can end
//! with U+0001, below everything that could continue it. For the same reason a
//! number from zero ends with `!` there.
//!
//! # Cutting
//!
//! A key is cut at 1021 bytes. A character that stands across the cut is replaced
//! by the smallest one that begins with the same bytes, which keeps the order:
//! `a <= b` always gives `key(a) <= key(b)`. Different values may then share a
//! key, and [`OrderedKey::is_cut`] says when.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use crate::{
    Path,
    lookup::{AtEnd, Found, Lookup, Place, root_of, walk},
    order::{Class, Exact, sorted_fields},
};

/// No key is longer than this.
pub const MAX_KEY_BYTES: usize = 1024;

/// How many different keys one field of one document may have before it is
/// given the [overflow key](OrderedKey::overflow) instead.
pub const MAX_KEYS_PER_FIELD: usize = 1000;

/// Leaves room for the rest of a character that stands across the cut.
const CUT_BYTES: usize = MAX_KEY_BYTES - 3;

const DIGITS: &[u8; 64] = b"-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";

const OVERFLOW: char = '!';
const NULL: char = '0';
const NEGATIVE: char = '1';
const POSITIVE: char = '2';
const STRING: char = '3';
const OBJECT: char = '4';
const ARRAY: char = '5';
const FALSE: char = '6';
const TRUE: char = '7';

const END: char = '!';
const END_NEGATIVE: char = '~';
const END_TEXT: char = '\u{1}';
const FIELD: char = ',';
const ESCAPE: char = '\u{2}';

/// A string that sorts, byte by byte, as the value it stands for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OrderedKey(String);

impl OrderedKey {
    /// The key of a value.
    pub fn of(value: &Value) -> Self {
        let mut out = String::new();
        write_value(value, Standing::Alone, &mut out);
        Self::cut(out)
    }

    /// The key of a missing value, which is also that of null.
    pub fn missing() -> Self {
        Self(NULL.into())
    }

    /// The one key of a field that has more than [`MAX_KEYS_PER_FIELD`].
    ///
    /// It sorts before all others, stands for no value, and lies in every
    /// [`Constraint`](crate::Constraint), so such a document is never missed.
    pub fn overflow() -> Self {
        Self(OVERFLOW.into())
    }

    /// A key read back from where it was stored.
    pub fn from_stored(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The key as text: valid UTF-8 without NUL.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key as text, to be stored.
    pub fn into_string(self) -> String {
        self.0
    }

    /// Whether other values may have the same key.
    pub fn is_cut(&self) -> bool {
        self.0.len() >= CUT_BYTES
    }

    fn cut(mut text: String) -> Self {
        if text.len() <= CUT_BYTES {
            return Self(text);
        }
        let end = text.floor_char_boundary(CUT_BYTES);
        let across = if end < CUT_BYTES {
            text[end..].chars().next()
        } else {
            None
        };
        text.truncate(end);
        text.extend(across.and_then(|c| smallest_beginning_like(c, CUT_BYTES - end)));
        Self(text)
    }

    /// The lowest key of a type.
    pub(crate) fn lowest(class: Class) -> Self {
        Self(lowest_tag(class).into())
    }

    /// Above every key of a type and not above any of the next.
    pub(crate) fn beyond(class: Class) -> Self {
        let tag = match class {
            Class::Null => NEGATIVE,
            Class::Number => STRING,
            Class::String => OBJECT,
            Class::Object => ARRAY,
            Class::Array => FALSE,
            Class::Bool => '8',
        };
        Self(tag.into())
    }

    /// The keys that begin as that of `text` does lie from the first result up
    /// to, not including, the second.
    pub(crate) fn of_prefix(text: &str) -> (Self, Self) {
        let mut from = STRING.to_string();
        write_text(text, &mut from);
        let mut from = Self::cut(from);
        // What follows the cut cannot be seen in any key, and the character that
        // was replaced there is not a prefix of anything.
        if from.is_cut() {
            from.0.truncate(from.0.floor_char_boundary(CUT_BYTES - 4));
        }
        let mut beyond = from.0.clone();
        while let Some(last) = beyond.pop() {
            if let Some(next) = successor(last) {
                beyond.push(next);
                break;
            }
        }
        (from, Self(beyond))
    }
}

impl fmt::Debug for OrderedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OrderedKey({:?})", self.0)
    }
}

fn lowest_tag(class: Class) -> char {
    match class {
        Class::Null => NULL,
        Class::Number => NEGATIVE,
        Class::String => STRING,
        Class::Object => OBJECT,
        Class::Array => ARRAY,
        Class::Bool => FALSE,
    }
}

fn successor(c: char) -> Option<char> {
    match c {
        '\u{d7ff}' => Some('\u{e000}'),
        c => char::from_u32(u32::from(c) + 1),
    }
}

/// The smallest character whose UTF-8 form shares the first `bytes` bytes of `c`'s.
fn smallest_beginning_like(c: char, bytes: usize) -> Option<char> {
    let (length, least) = match c.len_utf8() {
        2 => (2, 0x80),
        3 => (3, 0x800),
        4 => (4, 0x1_0000),
        _ => return Some(c),
    };
    let free = 6 * (length - bytes);
    char::from_u32((u32::from(c) >> free << free).max(least))
}

/// Whether a key stands alone or inside an object's or array's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Alone,
    Inside,
}

/// Nothing behind the cut can change the key, so writing may stop there.
fn is_full(out: &str) -> bool {
    out.len() > MAX_KEY_BYTES
}

fn write_value(value: &Value, standing: Standing, out: &mut String) {
    match value {
        Value::Null => out.push(NULL),
        Value::Bool(false) => out.push(FALSE),
        Value::Bool(true) => out.push(TRUE),
        Value::Number(number) => write_number(number, standing, out),
        Value::String(text) => {
            out.push(STRING);
            write_text(text, out);
            if standing == Standing::Inside {
                out.push(END_TEXT);
            }
        }
        Value::Object(object) => {
            out.push(OBJECT);
            for (name, value) in sorted_fields(object) {
                if is_full(out) {
                    return;
                }
                out.push(FIELD);
                write_text(name, out);
                out.push(END_TEXT);
                write_value(value, Standing::Inside, out);
            }
            out.push(END);
        }
        Value::Array(elements) => {
            out.push(ARRAY);
            for element in elements {
                if is_full(out) {
                    return;
                }
                write_value(element, Standing::Inside, out);
            }
            out.push(END);
        }
    }
}

fn write_text(text: &str, out: &mut String) {
    for c in text.chars() {
        if is_full(out) {
            return;
        }
        match c {
            '\0' => out.extend([ESCAPE, '0']),
            END_TEXT => out.extend([ESCAPE, '1']),
            ESCAPE => out.extend([ESCAPE, '2']),
            c => out.push(c),
        }
    }
}

fn write_number(number: &Number, standing: Standing, out: &mut String) {
    let (negative, float_bits, excess) = match Exact::of(number) {
        Exact::Integer(integer) => {
            let size = integer.unsigned_abs();
            let spare = (128 - size.leading_zeros()).saturating_sub(53);
            let held = size >> spare << spare;
            #[expect(
                clippy::cast_precision_loss,
                reason = "at most 53 significant bits are left"
            )]
            let float = held as f64;
            (integer < 0, float.to_bits(), size - held)
        }
        Exact::Float(float) => (float < 0.0, float.abs().to_bits(), 0),
    };
    // 63 + 11 bits, in 13 digits of 6.
    let mut bits = u128::from(float_bits) << 15 | excess << 4;
    let mut digits = Vec::with_capacity(13);
    while bits != 0 {
        digits.push((bits >> 72 & 63) as usize);
        bits = bits << 6 & ((1 << 78) - 1);
    }
    let mirror = if negative { 63 } else { 0 };
    out.push(if negative { NEGATIVE } else { POSITIVE });
    out.extend(
        digits
            .iter()
            .map(|digit| char::from(DIGITS[digit ^ mirror])),
    );
    if negative {
        out.push(END_NEGATIVE);
    } else if standing == Standing::Inside {
        out.push(END);
    }
}

/// The direction of a sort.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Smallest first.
    #[serde(alias = "asc")]
    Ascending,
    /// Largest first.
    #[serde(alias = "desc")]
    Descending,
}

/// The keys of one field of one document. See [`keys_at`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldKeys {
    keys: Vec<OrderedKey>,
    smallest: OrderedKey,
    largest: OrderedKey,
    multi: bool,
}

impl FieldKeys {
    /// The keys of a field that met no array, as they were stored.
    pub fn of_one(key: OrderedKey) -> Self {
        Self {
            keys: vec![key.clone()],
            smallest: key.clone(),
            largest: key,
            multi: false,
        }
    }

    /// The keys of a field that met an array, as they were stored: all of
    /// them, and those by which the document sorts.
    pub fn of_array(keys: Vec<OrderedKey>, smallest: OrderedKey, largest: OrderedKey) -> Self {
        Self {
            keys,
            smallest,
            largest,
            multi: true,
        }
    }

    /// All keys of the field, sorted, each once; never empty.
    pub fn keys(&self) -> &[OrderedKey] {
        &self.keys
    }

    /// All keys of the field, sorted, each once; never empty.
    pub fn into_keys(self) -> Vec<OrderedKey> {
        self.keys
    }

    /// The key by which the document sorts on this field.
    ///
    /// An array sorts by its smallest element ascending and by its largest
    /// descending, as in
    /// [MongoDB](https://www.mongodb.com/docs/manual/reference/method/cursor.sort/);
    /// an empty one as if it were missing (MongoDB puts it just before that).
    /// What the path leads to in several objects of an array counts together.
    pub fn sort_key(&self, direction: Direction) -> &OrderedKey {
        match direction {
            Direction::Ascending => &self.smallest,
            Direction::Descending => &self.largest,
        }
    }

    /// Whether the path met an array, so that an index over [`keys`](Self::keys)
    /// may hold the document more than once and cannot give a sort's order, and
    /// constraints on the field must not be intersected.
    pub fn is_multi(&self) -> bool {
        self.multi
    }

    /// Whether there were more keys than are kept, and the overflow key stands
    /// for them all.
    pub fn is_overflow(&self) -> bool {
        self.keys
            .first()
            .is_some_and(|key| key.0.starts_with(OVERFLOW))
    }
}

/// The keys of what `path` leads to in a document.
///
/// The path is read as in filters: arrays of objects are entered without being
/// named, a number names an index as well as a property, and the bare names
/// `insertedAt`, `updatedAt`, `deletedAt` fall back to `_system`.
///
/// - A scalar or an object gives its key.
/// - An array gives the key of each element and of the whole, also when empty.
/// - Nothing there gives [`OrderedKey::missing`].
/// - More than [`MAX_KEYS_PER_FIELD`] different keys give the one
///   [`OrderedKey::overflow`]; the sort keys stay exact.
pub fn keys_at<L: Lookup + ?Sized>(doc: &L, path: &Path) -> FieldKeys {
    let mut gathering = Gathering::default();
    let mut met_array = false;
    let mut met_anything = false;
    walk(
        root_of(doc, path),
        &path.segments()[1..],
        AtEnd::Open,
        &mut |found| {
            met_anything = true;
            met_array |= found.through_array;
            gathering.take(found);
            false
        },
    );
    if !met_anything {
        gathering.sortable(OrderedKey::missing());
    }
    let missing = OrderedKey::missing;
    FieldKeys {
        keys: if gathering.keys.len() > MAX_KEYS_PER_FIELD {
            vec![OrderedKey::overflow()]
        } else {
            gathering.keys.into_iter().collect()
        },
        smallest: gathering.smallest.unwrap_or_else(missing),
        largest: gathering.largest.unwrap_or_else(missing),
        // Only an array can lead to nothing at all.
        multi: met_array || !met_anything,
    }
}

#[derive(Default)]
struct Gathering {
    keys: BTreeSet<OrderedKey>,
    smallest: Option<OrderedKey>,
    largest: Option<OrderedKey>,
}

impl Gathering {
    fn take(&mut self, found: Found<'_>) {
        match (found.value, found.place) {
            (None, _) => self.sortable(OrderedKey::missing()),
            (Some(array @ Value::Array(elements)), Place::Whole) => self.whole(array, elements),
            (Some(array @ Value::Array(elements)), Place::Indexed) => {
                for element in elements {
                    self.sortable(OrderedKey::of(element));
                }
                self.whole(array, elements);
            }
            (Some(value), _) => self.sortable(OrderedKey::of(value)),
        }
    }

    fn whole(&mut self, array: &Value, elements: &[Value]) {
        if elements.is_empty() {
            self.sorts_as(&OrderedKey::missing());
        }
        self.keep(OrderedKey::of(array));
    }

    fn sortable(&mut self, key: OrderedKey) {
        self.sorts_as(&key);
        self.keep(key);
    }

    fn sorts_as(&mut self, key: &OrderedKey) {
        if self.smallest.as_ref().is_none_or(|smallest| key < smallest) {
            self.smallest = Some(key.clone());
        }
        if self.largest.as_ref().is_none_or(|largest| key > largest) {
            self.largest = Some(key.clone());
        }
    }

    fn keep(&mut self, key: OrderedKey) {
        // One more than the bound is enough to know that it is passed.
        if self.keys.len() <= MAX_KEYS_PER_FIELD {
            self.keys.insert(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{arbitrary, order::compare};

    fn uncut(value: &Value) -> String {
        let mut out = String::new();
        write_value(value, Standing::Alone, &mut out);
        out
    }

    #[test]
    fn the_stored_form_does_not_change() {
        for (value, key) in [
            (json!(null), "0"),
            (json!(0), "2"),
            (json!(1), "2Uy"),
            (json!(5), "2V1V"),
            (json!(-1), "1V0~"),
            (json!(0.1), "2UrBnBnBnBnF"),
            (json!(1_700_000_000_000_i64), "2WE4tz9o"),
            (json!(i64::MAX), "2Wvzzzzzzzzvzk"),
            (json!(u64::MAX), "2Wxzzzzzzzzzzk"),
            (json!(i64::MIN), "1T2~"),
            (json!("abc"), "3abc"),
            (json!("a\0\u{1}\u{2}\u{3}"), "3a\u{2}0\u{2}1\u{2}2\u{3}"),
            (json!({}), "4!"),
            (json!({"b": "x", "a": null}), "4,a\u{1}0,b\u{1}3x\u{1}!"),
            (json!([]), "5!"),
            (json!([true, [false, 0]]), "57562!!!"),
            (json!(false), "6"),
            (json!(true), "7"),
        ] {
            assert_eq!(OrderedKey::of(&value).as_str(), key, "{value}");
        }
    }

    #[test]
    fn numbers_are_short() {
        for (number, most) in [
            (json!(7), 4),
            (json!(1000), 5),
            (json!(-1000), 6),
            (json!(1_700_000_000_000_i64), 10),
            (json!(0.1), 12),
            (json!(u64::MAX), 14),
            (json!(i64::MIN), 15),
            (json!(-9_223_372_036_854_775_807_i64), 15),
            (json!(f64::MIN), 15),
        ] {
            let key = OrderedKey::of(&number);
            assert!(key.as_str().len() <= most, "{number}: {key:?}");
        }
    }

    #[test]
    fn long_keys_are_cut_and_say_so() {
        let exactly = OrderedKey::of(&json!("x".repeat(CUT_BYTES - 2)));
        assert!(!exactly.is_cut());
        for filler in ["x", "é", "€", "😀", "\u{fffd}"] {
            for lead in 0..8 {
                let text = "a".repeat(CUT_BYTES - 8 + lead) + &filler.repeat(300);
                let key = OrderedKey::of(&json!(text));
                assert!(key.is_cut());
                assert!(key.as_str().len() <= MAX_KEY_BYTES);
            }
        }
        assert!(OrderedKey::of(&json!(vec!["abc"; 5000])).is_cut());
    }

    fn keys(doc: &Value, path: &str) -> FieldKeys {
        keys_at(doc, &path.parse().unwrap())
    }

    #[test]
    fn arrays_give_a_key_for_each_element_and_one_for_the_whole() {
        let of = |values: &[Value]| {
            let mut keys: Vec<_> = values.iter().map(OrderedKey::of).collect();
            keys.sort();
            keys
        };
        for (doc, path, expected, smallest, largest, multi) in [
            (
                json!({"a": 5}),
                "a",
                vec![json!(5)],
                json!(5),
                json!(5),
                false,
            ),
            (
                json!({}),
                "a",
                vec![json!(null)],
                json!(null),
                json!(null),
                false,
            ),
            (
                json!({"a": {"b": {"c": 1}}}),
                "a.b",
                vec![json!({"c": 1})],
                json!({"c": 1}),
                json!({"c": 1}),
                false,
            ),
            (
                json!({"a": [3, 1, 3]}),
                "a",
                vec![json!(3), json!(1), json!([3, 1, 3])],
                json!(1),
                json!(3),
                true,
            ),
            (
                json!({"a": []}),
                "a",
                vec![json!([])],
                json!(null),
                json!(null),
                true,
            ),
            (
                json!({"a": [[2], [1]]}),
                "a",
                vec![json!([2]), json!([1]), json!([[2], [1]])],
                json!([1]),
                json!([2]),
                true,
            ),
            (
                json!({"a": [{"b": 2}, {"c": 1}]}),
                "a.b",
                vec![json!(2), json!(null)],
                json!(null),
                json!(2),
                true,
            ),
            (
                json!({"a": [1]}),
                "a.b",
                vec![json!(null)],
                json!(null),
                json!(null),
                true,
            ),
            (
                json!({"a": [[7, 8]]}),
                "a.0",
                vec![json!(7), json!(8), json!([7, 8])],
                json!(7),
                json!(8),
                true,
            ),
            (
                json!({"a": [{"b": []}, {"b": [4]}]}),
                "a.b",
                vec![json!([]), json!(4), json!([4])],
                json!(null),
                json!(4),
                true,
            ),
        ] {
            let made = keys(&doc, path);
            assert_eq!(made.keys(), of(&expected), "{path} in {doc}");
            assert_eq!(
                made.sort_key(Direction::Ascending),
                &OrderedKey::of(&smallest),
                "{path} in {doc}"
            );
            assert_eq!(
                made.sort_key(Direction::Descending),
                &OrderedKey::of(&largest),
                "{path} in {doc}"
            );
            assert_eq!(made.is_multi(), multi, "{path} in {doc}");
            assert!(!made.is_overflow());
        }
    }

    #[test]
    fn too_many_keys_become_the_overflow_key() {
        let bound = i64::try_from(MAX_KEYS_PER_FIELD).unwrap();
        // The whole array is a key as well.
        let most: Vec<i64> = (0..bound - 1).collect();
        assert!(!keys(&json!({"a": most}), "a").is_overflow());
        let more: Vec<i64> = (0..bound).collect();
        let made = keys(&json!({"a": more}), "a");
        assert!(made.is_overflow());
        assert_eq!(made.keys(), [OrderedKey::overflow()]);
        assert_eq!(
            made.sort_key(Direction::Ascending),
            &OrderedKey::of(&json!(0))
        );
        assert_eq!(
            made.sort_key(Direction::Descending),
            &OrderedKey::of(&json!(bound - 1))
        );
        assert!(OrderedKey::overflow() < OrderedKey::missing());
        assert!(!keys(&json!({"a": vec![1; 5000]}), "a").is_overflow());
    }

    #[test]
    fn a_prefix_covers_just_the_strings_that_begin_with_it() {
        for prefix in [
            "a",
            "",
            "\0",
            "a\u{d7ff}",
            "b\u{10ffff}",
            "\u{10ffff}",
            "\u{7f}",
        ] {
            let (from, beyond) = OrderedKey::of_prefix(prefix);
            for text in [
                "",
                "a",
                "ab",
                "b",
                "\0",
                "\0a",
                "\u{1}",
                "a\u{d7ff}x",
                "a\u{e000}",
                "b\u{10ffff}\u{10ffff}",
                "c",
                "\u{10ffff}z",
            ] {
                let key = OrderedKey::of(&json!(text));
                assert_eq!(
                    from <= key && key < beyond,
                    text.starts_with(prefix),
                    "{prefix:?} {text:?}"
                );
            }
        }
    }

    fn tricky_text() -> impl Strategy<Value = String> {
        prop::collection::vec(
            prop::sample::select(vec![
                "a", "b", "\0", "\u{1}", "\u{2}", "\u{3}", "!", "~", ",", "é", "€", "😀",
                "\u{ffff}",
            ]),
            0..4,
        )
        .prop_map(|parts| parts.concat())
    }

    fn tricky() -> impl Strategy<Value = Value> {
        let number = prop_oneof![
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_filter_map("finite", |f| serde_json::Number::from_f64(f)
                .map(Value::Number)),
            (
                prop::sample::select(vec![1_u64 << 53, 1 << 63, u64::MAX - 4096]),
                0_u64..4096
            )
                .prop_map(|(base, more)| Value::from(base + more)),
            (
                prop::sample::select(vec![
                    9_007_199_254_740_992.0,
                    9_223_372_036_854_775_808.0,
                    18_446_744_073_709_551_616.0
                ]),
                -3_i8..3
            )
                .prop_map(|(base, steps): (f64, i8)| {
                    let step = if steps < 0 {
                        f64::next_down
                    } else {
                        f64::next_up
                    };
                    Value::from((0..steps.abs()).fold(base, |f, _| step(f)))
                }),
        ];
        prop_oneof![
            number,
            tricky_text().prop_map(Value::String),
            arbitrary::json(),
            arbitrary::unnormalized_json(),
        ]
        .prop_recursive(3, 12, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                prop::collection::btree_map(tricky_text(), inner, 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn keys_sort_as_their_values(a in tricky(), b in tricky()) {
            prop_assert_eq!(uncut(&a).cmp(&uncut(&b)), compare(&a, &b));
            prop_assert!(!uncut(&a).contains('\0'));
        }

        #[test]
        fn near_values_are_told_apart(a in tricky(), b in tricky(), c in tricky()) {
            let (left, right) = (json!([a, b, c]), json!([a, c, b]));
            prop_assert_eq!(uncut(&left).cmp(&uncut(&right)), compare(&left, &right));
            let (left, right) = (json!({"a": a, "b": b}), json!({"a": a, "b": c}));
            prop_assert_eq!(uncut(&left).cmp(&uncut(&right)), compare(&left, &right));
        }

        #[test]
        fn cut_keys_keep_the_order(
            lead in 1010_usize..1024,
            a in tricky_text(), b in tricky_text(),
        ) {
            let text = |tail: &str| Value::String("x".repeat(lead) + tail);
            let (a, b) = (text(&a), text(&b));
            let (low, high) = if compare(&a, &b).is_le() { (a, b) } else { (b, a) };
            let (low_key, high_key) = (OrderedKey::of(&low), OrderedKey::of(&high));
            prop_assert!(low_key <= high_key, "{low_key:?} {high_key:?}");
            prop_assert!(high_key.as_str().len() <= MAX_KEY_BYTES);
            if low_key == high_key && low != high {
                prop_assert!(low_key.is_cut());
            }
        }
    }
}

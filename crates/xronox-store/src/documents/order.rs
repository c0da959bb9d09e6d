//! The order of a find, and that of the entries of an index.

use std::fmt;

use serde_json::Value;
use xronox_model::{Direction, Invalid, OrderedKey, keys_at};

use super::{DocFind, id_key};

/// Ordered keys one after another, each in its own direction, as bytes that
/// sort as they do.
///
/// A key that ascends is its text and a zero byte, which no text holds. One
/// that descends has all of that inverted.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TupleKey(Vec<u8>);

impl TupleKey {
    /// Adds a key.
    pub fn push(&mut self, key: &OrderedKey, direction: Direction) {
        let from = self.0.len();
        self.0.extend_from_slice(key.as_str().as_bytes());
        self.0.push(0);
        if direction == Direction::Descending {
            for byte in &mut self.0[from..] {
                *byte = !*byte;
            }
        }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, to be stored.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// The first key of stored bytes, and those of the keys behind it. `None`
    /// if they are not what was stored.
    pub fn split(bytes: &[u8], direction: Direction) -> Option<(OrderedKey, &[u8])> {
        let (end, invert) = match direction {
            Direction::Ascending => (0, 0),
            Direction::Descending => (u8::MAX, u8::MAX),
        };
        let length = bytes.iter().position(|byte| *byte == end)?;
        let text = bytes[..length].iter().map(|byte| byte ^ invert).collect();
        let key = OrderedKey::from_stored(String::from_utf8(text).ok()?);
        Some((key, &bytes[length + 1..]))
    }
}

impl fmt::Debug for TupleKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TupleKey({})", self.0.escape_ascii())
    }
}

impl DocFind {
    /// Where a document stands in this order; no two stand at one place.
    ///
    /// # Errors
    ///
    /// [`Invalid`] if it has no valid `_id`.
    pub fn place(&self, document: &Value) -> Result<TupleKey, Invalid> {
        let mut place = TupleKey::default();
        for (field, direction) in &self.sort {
            place.push(keys_at(document, field).sort_key(*direction), *direction);
        }
        place.push(&id_key(document)?, self.id_direction());
        Ok(place)
    }

    /// The direction of `_id` behind the fields.
    pub fn id_direction(&self) -> Direction {
        let last = self.sort.last();
        last.map_or(Direction::Ascending, |(_, direction)| *direction)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn key(text: &str) -> OrderedKey {
        OrderedKey::of(&json!(text))
    }

    fn direction() -> impl Strategy<Value = Direction> {
        prop_oneof![Just(Direction::Ascending), Just(Direction::Descending)]
    }

    proptest! {
        #[test]
        fn bytes_sort_as_the_keys(
            directions in prop::collection::vec(direction(), 2),
            a in prop::collection::vec("[\0-\u{3}a\u{10ffff}]{0,3}", 2),
            b in prop::collection::vec("[\0-\u{3}a\u{10ffff}]{0,3}", 2),
        ) {
            let tuple = |texts: &[String]| {
                let mut out = TupleKey::default();
                for (text, direction) in texts.iter().zip(&directions) {
                    out.push(&key(text), *direction);
                }
                out
            };
            let mut wanted = std::cmp::Ordering::Equal;
            for ((a, b), direction) in a.iter().zip(&b).zip(&directions) {
                let order = key(a).cmp(&key(b));
                wanted = wanted.then(match direction {
                    Direction::Ascending => order,
                    Direction::Descending => order.reverse(),
                });
            }
            prop_assert_eq!(tuple(&a).cmp(&tuple(&b)), wanted);

            let bytes = tuple(&a).into_bytes();
            let (first, rest) = TupleKey::split(&bytes, directions[0]).unwrap();
            let (second, rest) = TupleKey::split(rest, directions[1]).unwrap();
            prop_assert_eq!((first, second), (key(&a[0]), key(&a[1])));
            prop_assert!(rest.is_empty());
        }
    }
}

//! The order of a query's records.

use serde_json::Value;
use xronox_model::{Direction, Invalid, OrderedKey, Path, RecordId, RecordIdRef};

/// The most fields a sort may have.
const MAX_FIELDS: usize = 8;

/// Some fields, then `_id`.
#[derive(Debug, Clone)]
pub(super) struct Order {
    /// The fields before `_id`.
    pub(super) fields: Vec<(Path, Direction)>,
    /// The direction of `_id`: its own if the sort names it, else that of the
    /// last field, so that a sort by one field runs along its index.
    pub(super) id: Direction,
}

/// Where a record stands in an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The keys of the fields, as the order goes by them.
    pub(super) keys: Vec<OrderedKey>,
    pub(super) id: RecordId,
}

/// A place as bytes that compare as places do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank(Vec<u8>);

impl Order {
    pub(super) fn new(sort: &[(Path, Direction)]) -> Result<Self, Invalid> {
        let mut fields: Vec<(Path, Direction)> = Vec::new();
        let mut id = None;
        for (path, direction) in sort {
            if fields.iter().any(|(other, _)| other == path) {
                let why = "stands in the sort twice";
                return Err(Invalid::at(format!("sort.{path}"), why));
            }
            if path.segments() == ["_id"] {
                // Nothing is left to sort behind an id.
                id = Some(*direction);
                break;
            }
            fields.push((path.clone(), *direction));
        }
        if fields.len() > MAX_FIELDS {
            let why = format!("at most {MAX_FIELDS} fields");
            return Err(Invalid::at("sort", why));
        }
        let last = fields
            .last()
            .map_or(Direction::Ascending, |(_, direction)| *direction);
        Ok(Self {
            fields,
            id: id.unwrap_or(last),
        })
    }

    pub(super) fn rank(&self, place: &Place) -> Rank {
        let mut out = Vec::new();
        // No key holds a NUL, so one ends it below whatever could continue it.
        for ((_, direction), key) in self.fields.iter().zip(&place.keys) {
            push(&mut out, *direction, &[key.as_str().as_bytes(), &[0]]);
        }
        match place.id.as_ref() {
            RecordIdRef::Text(text) => push(&mut out, self.id, &[&[0], text.as_bytes(), &[0]]),
            RecordIdRef::Object(bytes) => push(&mut out, self.id, &[&[1], bytes]),
        }
        Rank(out)
    }
}

fn push(out: &mut Vec<u8>, direction: Direction, parts: &[&[u8]]) {
    let bytes = parts.iter().copied().flatten().copied();
    match direction {
        Direction::Ascending => out.extend(bytes),
        Direction::Descending => out.extend(bytes.map(|byte| !byte)),
    }
}

/// Reads a sort from JSON.
///
/// # Errors
///
/// [`Invalid`] at `sort` for any other shape.
pub(super) fn sort_of(sort: &Value) -> Result<Vec<(Path, Direction)>, Invalid> {
    match sort {
        Value::Null => Ok(Vec::new()),
        Value::Array(list) => {
            let one = |(i, element): (usize, &Value)| part_of(element, &format!("sort.{i}"));
            list.iter().enumerate().map(one).collect()
        }
        Value::Object(fields) if fields.len() > 1 => Err(Invalid::at(
            "sort",
            "the fields of an object have no order; give a list such as [{\"a\": 1}, {\"b\": -1}]",
        )),
        Value::Object(fields) if fields.is_empty() => Ok(Vec::new()),
        one => Ok(vec![part_of(one, "sort")?]),
    }
}

fn part_of(part: &Value, at: &str) -> Result<(Path, Direction), Invalid> {
    let (path, direction) = match part {
        Value::String(path) => (path, None),
        Value::Array(pair) => match pair.as_slice() {
            [Value::String(path), direction] => (path, Some(direction)),
            _ => return Err(Invalid::at(at, "not a pair of a path and a direction")),
        },
        Value::Object(fields) => match fields.iter().next() {
            Some((path, direction)) if fields.len() == 1 => (path, Some(direction)),
            _ => return Err(Invalid::at(at, "not an object with one field")),
        },
        _ => return Err(Invalid::at(at, "neither a field nor a list of fields")),
    };
    let direction = match direction {
        None => Direction::Ascending,
        Some(direction) => direction_of(direction).ok_or_else(|| {
            Invalid::at(
                format!("{at}.{path}"),
                "a direction is 1, -1, \"asc\" or \"desc\"",
            )
        })?,
    };
    let path: Path = path
        .parse()
        .map_err(|e: Invalid| Invalid::at(at, e.message()))?;
    Ok((path, direction))
}

fn direction_of(direction: &Value) -> Option<Direction> {
    match direction {
        Value::Number(number) => match number.as_f64() {
            Some(1.0) => Some(Direction::Ascending),
            Some(-1.0) => Some(Direction::Descending),
            _ => None,
        },
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "asc" | "ascending" => Some(Direction::Ascending),
            "desc" | "descending" => Some(Direction::Descending),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn sorts_are_read_as_documented() {
        let read = |json: Value| {
            let sort = sort_of(&json).map_err(|e| e.path().to_owned())?;
            Ok::<_, String>(
                sort.iter()
                    .map(|(path, direction)| format!("{path} {direction:?}"))
                    .collect::<Vec<_>>()
                    .join(", "),
            )
        };
        for (json, expected) in [
            (json!({}), Ok("")),
            (json!([]), Ok("")),
            (json!({"a": 1}), Ok("a Ascending")),
            (json!({"a.b": -1}), Ok("a.b Descending")),
            (json!({"a": "DESC"}), Ok("a Descending")),
            (json!("a"), Ok("a Ascending")),
            (
                json!([["b", -1], {"a": 1.0}, "c"]),
                Ok("b Descending, a Ascending, c Ascending"),
            ),
            (json!({"a": 1, "b": 1}), Err("sort")),
            (json!({"a": 2}), Err("sort.a")),
            (json!([{"a": 1}, {"": 1}]), Err("sort.1")),
            (json!([["a"]]), Err("sort.0")),
            (json!(1), Err("sort")),
        ] {
            assert_eq!(
                read(json.clone()),
                expected.map(str::to_owned).map_err(str::to_owned),
                "{json}"
            );
        }
    }

    #[test]
    fn a_sort_ends_with_the_id_in_the_direction_of_its_last_field() {
        let path = |text: &str| text.parse::<Path>().unwrap();
        let (up, down) = (Direction::Ascending, Direction::Descending);
        assert_eq!(Order::new(&[]).unwrap().id, up);
        assert_eq!(
            Order::new(&[(path("a"), up), (path("b"), down)])
                .unwrap()
                .id,
            down
        );
        let named = Order::new(&[(path("a"), up), (path("_id"), down), (path("b"), up)]).unwrap();
        assert_eq!((named.fields.len(), named.id), (1, down));
        assert!(Order::new(&[(path("a"), up), (path("a"), down)]).is_err());
        let many: Vec<_> = (0..9).map(|i| (path(&format!("f{i}")), up)).collect();
        assert!(Order::new(&many).is_err());
    }

    proptest! {
        #[test]
        fn ranks_compare_as_places(
            a in prop::collection::vec("[\u{1}-\u{3}a-c]{0,3}", 2), a_id in "[a-c]{1,3}|[0-1]{24}",
            b in prop::collection::vec("[\u{1}-\u{3}a-c]{0,3}", 2), b_id in "[a-c]{1,3}|[0-1]{24}",
            down in any::<[bool; 2]>(),
        ) {
            let direction = |down| if down { Direction::Descending } else { Direction::Ascending };
            let fields: Vec<_> = ["x", "y"].into_iter().zip(down)
                .map(|(name, down)| (name.parse().unwrap(), direction(down))).collect();
            let order = Order::new(&fields).unwrap();
            let place = |keys: &[String], id: &str| Place {
                keys: keys.iter().map(OrderedKey::from_stored).collect(),
                id: id.parse().unwrap(),
            };
            let (a, b) = (place(&a, &a_id), place(&b, &b_id));
            let turned = |order: Ordering, down: bool| if down { order.reverse() } else { order };
            let expected = turned(a.keys[0].cmp(&b.keys[0]), down[0])
                .then(turned(a.keys[1].cmp(&b.keys[1]), down[1]))
                .then(turned(a.id.cmp(&b.id), down[1]));
            prop_assert_eq!(order.rank(&a).cmp(&order.rank(&b)), expected);
        }
    }
}

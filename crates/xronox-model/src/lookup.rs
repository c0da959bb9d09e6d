//! Finding what stands at a dotted path, arrays and all.

use serde_json::{Map, Value};

use crate::Path;

/// A document that can be read by the names of its top-level properties.
///
/// The engine keeps `_id`, `_system` and the application document apart; this
/// lets filters, keys and sorts read them as one without building it.
pub trait Lookup {
    /// The property of this name at the top of the document.
    fn root(&self, name: &str) -> Option<&Value>;
}

/// An object answers to its names, an array to its indexes, anything else to
/// nothing.
///
/// (Arrays matter where `$elemMatch` meets an array inside an array: MongoDB
/// then reads the inner one as a document named `0`, `1`, ….)
impl Lookup for Value {
    fn root(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Object(object) => object.get(name),
            Value::Array(elements) => elements.get(index(name)?),
            _ => None,
        }
    }
}

impl Lookup for Map<String, Value> {
    fn root(&self, name: &str) -> Option<&Value> {
        self.get(name)
    }
}

/// What a read returns, without building it: `_id`, `_system`, and the
/// application document beneath them.
#[derive(Debug, Clone, Copy)]
pub struct Composed<'a> {
    /// What `_id` is.
    pub id: &'a Value,
    /// What `_system` is.
    pub system: &'a Value,
    /// The application document; its own `_id` and `_system`, if any, are not seen.
    pub body: &'a Value,
}

impl Lookup for Composed<'_> {
    fn root(&self, name: &str) -> Option<&Value> {
        match name {
            "_id" => Some(self.id),
            "_system" => Some(self.system),
            name => self.body.root(name),
        }
    }
}

/// The `_system` path that the bare names `insertedAt`, `updatedAt` and
/// `deletedAt` stand for when the document has no such property of its own.
pub fn alias_of(path: &Path) -> Option<Path> {
    match path.segments() {
        [name] if is_alias(name) => Path::from_segments(["_system", name]).ok(),
        _ => None,
    }
}

fn is_alias(name: &str) -> bool {
    matches!(name, "insertedAt" | "updatedAt" | "deletedAt")
}

/// The value at the first segment of `path`, the aliases included.
pub(crate) fn root_of<'d, L: Lookup + ?Sized>(doc: &'d L, path: &Path) -> Option<&'d Value> {
    let name = path.root();
    doc.root(name).or_else(|| {
        if path.segments().len() == 1 && is_alias(name) {
            doc.root("_system")?.as_object()?.get(name)
        } else {
            None
        }
    })
}

/// The array index that a segment names: decimal, without leading zeros.
pub(crate) fn index(segment: &str) -> Option<usize> {
    let plain = segment.bytes().all(|b| b.is_ascii_digit())
        && (segment == "0" || !segment.starts_with('0'));
    if plain { segment.parse().ok() } else { None }
}

/// How a value came to be at the end of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// It stands there itself.
    Leaf,
    /// It is an element of the array that stands there.
    Element,
    /// It is the array that stands there, after its elements.
    Whole,
    /// The path's last segment named it by its index in an array. MongoDB then
    /// looks no further into it, even if it is an array.
    Indexed,
}

/// One value that a path leads to, or the finding that there is none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found<'v> {
    pub(crate) value: Option<&'v Value>,
    pub(crate) place: Place,
    /// Whether an array was met on the way, or is the value.
    pub(crate) through_array: bool,
}

/// Whether a walk looks into an array that stands at the end of the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtEnd {
    /// Its elements, then the array.
    Open,
    /// The array alone.
    Closed,
}

/// Visits everything that `rest` leads to from `start`, until `visit` says true.
///
/// This is [MongoDB's meaning](https://www.mongodb.com/docs/manual/tutorial/query-array-of-documents/)
/// of a dotted path, its corners included: an array of objects is entered
/// without being named, an array directly inside an array is not, a number names
/// both an index and a property, and an array that holds no object to enter
/// leads to nothing, not even to "missing".
pub(crate) fn walk<'v>(
    start: Option<&'v Value>,
    rest: &[String],
    at_end: AtEnd,
    visit: &mut dyn FnMut(Found<'v>) -> bool,
) -> bool {
    Walk { at_end, visit }.value(start, rest, false)
}

struct Walk<'f, 'v> {
    at_end: AtEnd,
    visit: &'f mut dyn FnMut(Found<'v>) -> bool,
}

impl<'v> Walk<'_, 'v> {
    fn report(&mut self, value: Option<&'v Value>, place: Place, through_array: bool) -> bool {
        (self.visit)(Found {
            value,
            place,
            through_array,
        })
    }

    fn value(&mut self, mut value: Option<&'v Value>, mut rest: &[String], through: bool) -> bool {
        loop {
            match (value, rest) {
                (Some(array @ Value::Array(elements)), _) => {
                    return self.array(array, elements, rest);
                }
                (Some(Value::Object(object)), [name, inner @ ..]) => {
                    value = object.get(name);
                    rest = inner;
                }
                (None, _) | (Some(_), [_, ..]) => return self.report(None, Place::Leaf, through),
                (Some(_), []) => return self.report(value, Place::Leaf, through),
            }
        }
    }

    fn array(&mut self, array: &'v Value, elements: &'v [Value], rest: &[String]) -> bool {
        let [name, inner @ ..] = rest else {
            return (self.at_end == AtEnd::Open
                && elements
                    .iter()
                    .any(|element| self.report(Some(element), Place::Element, true)))
                || self.report(Some(array), Place::Whole, true);
        };
        let named = index(name);
        elements.iter().enumerate().any(|(i, element)| {
            // An object is entered by name first, also where its index is meant.
            if let Value::Object(object) = element
                && self.value(object.get(name), inner, true)
            {
                return true;
            }
            if named != Some(i) {
                return false;
            }
            match element {
                _ if inner.is_empty() => self.report(Some(element), Place::Indexed, true),
                Value::Object(object) => self.value(object.get(&inner[0]), &inner[1..], true),
                Value::Array(elements) => self.array(element, elements, inner),
                _ => false,
            }
        })
    }
}

/// The values that `path` leads to in a document, read as in filters: of an
/// array that stands there its elements, and nothing where nothing is.
pub fn values_at<'d, L: Lookup + ?Sized>(doc: &'d L, path: &Path) -> Vec<&'d Value> {
    let mut values = Vec::new();
    walk(
        root_of(doc, path),
        &path.segments()[1..],
        AtEnd::Open,
        &mut |found| {
            values.extend(found.value.filter(|_| found.place != Place::Whole));
            false
        },
    );
    values
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(doc: &Value, path: &str, at_end: AtEnd) -> Vec<String> {
        let path: Path = path.parse().unwrap();
        let mut out = Vec::new();
        walk(
            root_of(doc, &path),
            &path.segments()[1..],
            at_end,
            &mut |found| {
                out.push(found.value.map_or("-".to_owned(), Value::to_string));
                false
            },
        );
        out
    }

    #[test]
    fn paths_lead_where_mongodb_says() {
        for (doc, path, expected) in [
            (json!({"a": 5}), "a", "5"),
            (json!({}), "a", "-"),
            (json!({"a": {"b": 5}}), "a.b", "5"),
            (json!({"a": 4}), "a.b", "-"),
            (json!({"a": null}), "a.b", "-"),
            (json!({"a": [5, 6]}), "a", "5 6 [5,6]"),
            (json!({"a": []}), "a", "[]"),
            (json!({"a": [4]}), "a.b", ""),
            (json!({"a": []}), "a.b", ""),
            (json!({"a": {"b": []}}), "a.b", "[]"),
            (
                json!({"a": [{"b": 5}, 3, {}, {"b": [9, 11]}, {"b": 7}]}),
                "a.b",
                "5 - 9 11 [9,11] 7",
            ),
            (json!({"a": [[{"b": 1}]]}), "a.b", ""),
            (json!({"a": [5, 7, 3]}), "a.1", "7"),
            (json!({"a": [5, [2, 4], 3]}), "a.1", "[2,4]"),
            (json!({"a": [5, {"1": 4}, 3]}), "a.1", r#"4 {"1":4}"#),
            (json!({"a": [5, {"b": 4}, 3]}), "a.1.b", "- 4"),
            (json!({"a": [5, [{"b": 4}], 3]}), "a.1.b", "4"),
            (json!({"a": [5, [7, 8]]}), "a.1.1", "8"),
            (json!({"a": [5]}), "a.00", ""),
            (json!({"a": {"0": 1}}), "a.0", "1"),
        ] {
            assert_eq!(
                found(&doc, path, AtEnd::Open).join(" "),
                expected,
                "{path} in {doc}"
            );
        }
    }

    #[test]
    fn values_are_those_of_elements() {
        let doc = json!({"a": [{"b": 5}, 3, {}, {"b": [9, 11]}], "c": [1, [2]], "d": []});
        let values = |path: &str| json!(values_at(&doc, &path.parse().unwrap()));
        assert_eq!(values("a.b"), json!([5, 9, 11]));
        assert_eq!(values("c"), json!([1, [2]]));
        assert_eq!(values("d"), json!([]));
        assert_eq!(values("nothing"), json!([]));
    }

    #[test]
    fn a_closed_walk_gives_arrays_whole() {
        let doc = json!({"a": [{"b": 5}, 3, {}, {"b": [9, 11]}, {"b": 7}], "c": [1]});
        assert_eq!(found(&doc, "a.b", AtEnd::Closed), ["5", "-", "[9,11]", "7"]);
        assert_eq!(found(&doc, "c", AtEnd::Closed), ["[1]"]);
    }

    #[test]
    fn bare_times_are_the_systems_unless_the_document_has_them() {
        let system = json!({"insertedAt": "t1", "ov": 3});
        let body = json!({"updatedAt": "mine", "_system": 1});
        let id = json!("x");
        let doc = Composed {
            id: &id,
            system: &system,
            body: &body,
        };
        let at = |text: &str| root_of(&doc, &text.parse().unwrap());
        assert_eq!(at("insertedAt"), Some(&json!("t1")));
        assert_eq!(at("updatedAt"), Some(&json!("mine")));
        assert_eq!(at("deletedAt"), None);
        assert_eq!(at("ov"), None);
        assert_eq!(at("_system"), Some(&system));
        assert_eq!(at("_id"), Some(&id));
        assert_eq!(
            alias_of(&"insertedAt".parse().unwrap()),
            Some("_system.insertedAt".parse().unwrap())
        );
        assert_eq!(alias_of(&"insertedAt.x".parse().unwrap()), None);
    }
}

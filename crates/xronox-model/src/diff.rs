//! Differences between documents, as RFC 6902 operations and as dotted paths.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    Invalid, Path,
    json::{MAX_DEPTH, canonical, is_within},
};

/// One operation of a JSON Patch ([RFC 6902](https://www.rfc-editor.org/rfc/rfc6902)),
/// in the RFC's JSON shape: `{"op": "add", "path": "/a/0", "value": 1}`.
///
/// `path` and `from` are JSON Pointers
/// ([RFC 6901](https://www.rfc-editor.org/rfc/rfc6901)): empty for the whole
/// document, else each segment after a `/`, in it `~1` for `/` and `~0` for `~`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum PatchOp {
    /// Sets a property, or inserts an element before the index (`-`: at the end).
    Add {
        /// Where.
        path: String,
        /// What comes there.
        value: Value,
    },
    /// Removes a property or element that exists.
    Remove {
        /// Where.
        path: String,
    },
    /// Puts another value in the place of one that exists.
    Replace {
        /// Where.
        path: String,
        /// What comes there.
        value: Value,
    },
    /// Removes a value and adds it elsewhere.
    Move {
        /// Where the value is.
        from: String,
        /// Where it goes; not inside itself.
        path: String,
    },
    /// Adds a copy of a value elsewhere.
    Copy {
        /// Where the value is.
        from: String,
        /// Where the copy goes.
        path: String,
    },
    /// Refuses the whole patch unless the value there is equal.
    Test {
        /// Where.
        path: String,
        /// What has to be there.
        value: Value,
    },
}

/// The operations that turn `from` into `to`: `add`, `remove` and `replace`,
/// applied in order. Both documents are in normal form.
///
/// The same two documents always give the same operations. Properties are
/// compared by name. Arrays are aligned on their longest common subsequence, so
/// an element inserted in front is one `add`; what is left between aligned
/// elements is compared pair by pair. Very large rearrangements are compared
/// pair by pair throughout, which is correct but longer.
pub fn diff(from: &Value, to: &Value) -> Vec<PatchOp> {
    let mut differ = Differ {
        ops: Vec::new(),
        pointer: String::new(),
        cells: MAX_CELLS_IN_ALL,
    };
    differ.value(from, to);
    differ.ops
}

/// Bounds the memory of one alignment: two bytes a cell.
const MAX_CELLS: usize = 1 << 20;
/// Bounds the time of all alignments in one document.
const MAX_CELLS_IN_ALL: usize = 1 << 24;

struct Differ {
    ops: Vec<PatchOp>,
    /// Where the walk is.
    pointer: String,
    cells: usize,
}

impl Differ {
    fn value(&mut self, from: &Value, to: &Value) {
        match (from, to) {
            (Value::Object(from), Value::Object(to)) => self.object(from, to),
            (Value::Array(from), Value::Array(to)) => self.array(from, to),
            (from, to) if from == to => {}
            (_, to) => self.ops.push(PatchOp::Replace {
                path: self.pointer.clone(),
                value: to.clone(),
            }),
        }
    }

    fn within(&mut self, segment: &str, visit: impl FnOnce(&mut Self)) {
        let len = self.pointer.len();
        push_segment(segment, &mut self.pointer);
        visit(self);
        self.pointer.truncate(len);
    }

    fn add(&mut self, segment: &str, value: &Value) {
        self.within(segment, |d| {
            d.ops.push(PatchOp::Add {
                path: d.pointer.clone(),
                value: value.clone(),
            });
        });
    }

    fn remove(&mut self, segment: &str) {
        self.within(segment, |d| {
            d.ops.push(PatchOp::Remove {
                path: d.pointer.clone(),
            });
        });
    }

    fn object(&mut self, from: &Map<String, Value>, to: &Map<String, Value>) {
        for name in names(from, to) {
            match (from.get(name), to.get(name)) {
                (Some(from), Some(to)) => self.within(name, |d| d.value(from, to)),
                (None, Some(to)) => self.add(name, to),
                (_, None) => self.remove(name),
            }
        }
    }

    fn array(&mut self, from: &[Value], to: &[Value]) {
        let prefix = common(from.iter().zip(to));
        let (from, to) = (&from[prefix..], &to[prefix..]);
        let suffix = common(from.iter().rev().zip(to.iter().rev()));
        let (from, to) = (&from[..from.len() - suffix], &to[..to.len() - suffix]);

        let mut at = prefix;
        let mut done = (0, 0);
        let end = (from.len(), to.len());
        for pair in self.align(from, to).into_iter().chain([end]) {
            self.gap(&mut at, &from[done.0..pair.0], &to[done.1..pair.1]);
            at += 1;
            done = (pair.0 + 1, pair.1 + 1);
        }
    }

    /// Turns one run of elements at the index `at` into another, and leaves
    /// `at` behind it.
    fn gap(&mut self, at: &mut usize, from: &[Value], to: &[Value]) {
        let paired = from.len().min(to.len());
        for (from, to) in from.iter().zip(to) {
            self.within(&at.to_string(), |d| d.value(from, to));
            *at += 1;
        }
        // From the back, so that each index is still the element's old one.
        for extra in (paired..from.len()).rev() {
            self.remove(&(*at + extra - paired).to_string());
        }
        for to in &to[paired..] {
            self.add(&at.to_string(), to);
            *at += 1;
        }
    }

    /// The index pairs of a longest common subsequence; none if finding it
    /// would take too long.
    fn align(&mut self, from: &[Value], to: &[Value]) -> Vec<(usize, usize)> {
        let cells = from.len().saturating_mul(to.len());
        if cells == 0 || cells > MAX_CELLS.min(self.cells) {
            return Vec::new();
        }
        self.cells -= cells;

        // Elements may be large; from here on equal ones are equal numbers.
        let mut numbers = HashMap::new();
        let mut number = |element: &Value| {
            let next = numbers.len();
            *numbers.entry(canonical(element)).or_insert(next)
        };
        let a: Vec<usize> = from.iter().map(&mut number).collect();
        let b: Vec<usize> = to.iter().map(&mut number).collect();

        // longest[i * width + j] is the length for a[i..] and b[j..]. It fits 16
        // bits: the shorter side has at most sqrt(MAX_CELLS) elements.
        let width = b.len() + 1;
        let mut longest = vec![0_u16; (a.len() + 1) * width];
        for i in (0..a.len()).rev() {
            for j in (0..b.len()).rev() {
                longest[i * width + j] = if a[i] == b[j] {
                    longest[(i + 1) * width + j + 1] + 1
                } else {
                    longest[(i + 1) * width + j].max(longest[i * width + j + 1])
                };
            }
        }

        let mut pairs = Vec::new();
        let (mut i, mut j) = (0, 0);
        while i < a.len() && j < b.len() {
            if a[i] == b[j] {
                pairs.push((i, j));
                i += 1;
                j += 1;
            } else if longest[(i + 1) * width + j] >= longest[i * width + j + 1] {
                i += 1;
            } else {
                j += 1;
            }
        }
        pairs
    }
}

/// Every name of either object, once, in a fixed order.
fn names<'a>(a: &'a Map<String, Value>, b: &'a Map<String, Value>) -> Vec<&'a String> {
    let mut names: Vec<_> = a.keys().chain(b.keys()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn common<'a>(pairs: impl Iterator<Item = (&'a Value, &'a Value)>) -> usize {
    pairs.take_while(|(a, b)| a == b).count()
}

fn push_segment(segment: &str, pointer: &mut String) {
    pointer.push('/');
    for c in segment.chars() {
        match c {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            c => pointer.push(c),
        }
    }
}

/// Applies a JSON Patch. On an error the document is what it was.
///
/// The document has to be in normal form; values are taken as they come, so
/// [normalize](crate::json::normalize) the outcome of a patch from outside.
/// Beyond RFC 6902, two bounds keep a small patch from making a huge document:
/// nothing may nest deeper than [`MAX_DEPTH`], and all `copy` operations
/// together may copy about 64 MiB.
///
/// # Errors
///
/// [`Invalid`] whose path is the JSON Pointer of the operation that failed.
pub fn apply(doc: &mut Value, ops: &[PatchOp]) -> Result<(), Invalid> {
    let mut draft = doc.clone();
    let mut copyable = MAX_COPIED;
    for op in ops {
        apply_one(&mut draft, op, &mut copyable)?;
    }
    *doc = draft;
    Ok(())
}

const MAX_COPIED: usize = 64 << 20;
const NOTHING_HERE: &str = "nothing is at this JSON Pointer";
const NO_PLACE: &str = "this JSON Pointer is no place to add to";

fn apply_one(doc: &mut Value, op: &PatchOp, copyable: &mut usize) -> Result<(), Invalid> {
    match op {
        PatchOp::Add { path, value } => add(doc, path, &split(path)?, value, Value::clone),
        PatchOp::Remove { path } => remove(doc, path, &split(path)?).map(drop),
        PatchOp::Replace { path, value } => {
            let segments = split(path)?;
            check_depth(path, &segments, value)?;
            *find(doc, path, &segments)? = value.clone();
            Ok(())
        }
        PatchOp::Move { from, path } => {
            let (source, target) = (split(from)?, split(path)?);
            if source == target {
                return find(doc, from, &source).map(drop);
            }
            if target.starts_with(&source) {
                return Err(Invalid::at(path, "a value cannot move into itself"));
            }
            let value = remove(doc, from, &source)?;
            add(doc, path, &target, value, std::convert::identity)
        }
        PatchOp::Copy { from, path } => {
            let value = &*find(doc, from, &split(from)?)?;
            *copyable = copyable
                .checked_sub(weight(value))
                .ok_or_else(|| Invalid::at(path, "the patch copies too much"))?;
            let value = value.clone();
            add(doc, path, &split(path)?, value, std::convert::identity)
        }
        PatchOp::Test { path, value } => {
            let found = &*find(doc, path, &split(path)?)?;
            // The canonical texts, because the operand may say `1.0` for `1`.
            let equal = found == value
                || (is_within(value, MAX_DEPTH) && canonical(found) == canonical(value));
            equal
                .then_some(())
                .ok_or_else(|| Invalid::at(path, "the tested value is another"))
        }
    }
}

/// Roughly the bytes that a value takes in memory.
fn weight(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::String(s) => s.len(),
            Value::Array(elements) => elements.iter().map(weight).sum(),
            Value::Object(members) => members
                .iter()
                .map(|(name, member)| size_of::<String>() + name.len() + weight(member))
                .sum(),
            _ => 0,
        }
}

fn split(pointer: &str) -> Result<Vec<String>, Invalid> {
    if pointer.is_empty() {
        return Ok(Vec::new());
    }
    let malformed = || Invalid::at(pointer, "not a JSON Pointer");
    let segments = pointer.strip_prefix('/').ok_or_else(malformed)?;
    segments
        .split('/')
        .map(|segment| {
            let tildes = segment.matches('~').count();
            if tildes == segment.matches("~0").count() + segment.matches("~1").count() {
                // In this order, or `~01` would become a slash.
                Ok(segment.replace("~1", "/").replace("~0", "~"))
            } else {
                Err(malformed())
            }
        })
        .collect()
}

/// The number of an array element: decimal digits without leading zeros.
pub(crate) fn element_index(segment: &str) -> Option<usize> {
    let canonical = segment == "0" || !segment.starts_with(['0', '+']);
    canonical.then(|| segment.parse().ok()).flatten()
}

fn find<'a>(
    doc: &'a mut Value,
    pointer: &str,
    segments: &[String],
) -> Result<&'a mut Value, Invalid> {
    segments
        .iter()
        .try_fold(doc, |at, segment| match at {
            Value::Object(members) => members.get_mut(segment),
            Value::Array(elements) => elements.get_mut(element_index(segment)?),
            _ => None,
        })
        .ok_or_else(|| Invalid::at(pointer, NOTHING_HERE))
}

fn check_depth(pointer: &str, segments: &[String], value: &Value) -> Result<(), Invalid> {
    MAX_DEPTH
        .checked_sub(segments.len())
        .is_some_and(|depth| is_within(value, depth))
        .then_some(())
        .ok_or_else(|| Invalid::at(pointer, "the outcome would nest too deep"))
}

/// Takes the value as it is held and `own`s it only once its place is sure.
fn add<V: std::borrow::Borrow<Value>>(
    doc: &mut Value,
    pointer: &str,
    segments: &[String],
    value: V,
    own: fn(V) -> Value,
) -> Result<(), Invalid> {
    check_depth(pointer, segments, value.borrow())?;
    let Some((last, parents)) = segments.split_last() else {
        *doc = own(value);
        return Ok(());
    };
    let no_place = || Invalid::at(pointer, NO_PLACE);
    match find(doc, pointer, parents)? {
        Value::Object(members) => {
            members.insert(last.clone(), own(value));
        }
        Value::Array(elements) if last == "-" => elements.push(own(value)),
        Value::Array(elements) => {
            let index = element_index(last)
                .filter(|&i| i <= elements.len())
                .ok_or_else(no_place)?;
            elements.insert(index, own(value));
        }
        _ => return Err(no_place()),
    }
    Ok(())
}

fn remove(doc: &mut Value, pointer: &str, segments: &[String]) -> Result<Value, Invalid> {
    let Some((last, parents)) = segments.split_last() else {
        return Err(Invalid::at(pointer, "the whole document cannot be removed"));
    };
    match find(doc, pointer, parents)? {
        Value::Object(members) => members.remove(last),
        Value::Array(elements) => element_index(last)
            .filter(|&i| i < elements.len())
            .map(|i| elements.remove(i)),
        _ => None,
    }
    .ok_or_else(|| Invalid::at(pointer, NOTHING_HERE))
}

/// The dotted paths of the leaves that were added, removed or changed, sorted.
///
/// A leaf is a scalar, an array (as a whole) or an empty object; paths lead
/// through objects only. Where an object gives way to a leaf, or the other way
/// round, the leaves of both are named. An empty property name cannot stand in
/// a path: the nearest object that can be named does instead.
pub fn changed_paths(from: &Value, to: &Value) -> Vec<Path> {
    let mut paths = BTreeSet::new();
    compare(from, to, &mut Vec::new(), &mut paths);
    paths.into_iter().collect()
}

fn compare<'a>(from: &'a Value, to: &'a Value, at: &mut Vec<&'a str>, paths: &mut BTreeSet<Path>) {
    match (from, to) {
        (Value::Object(from), Value::Object(to)) if !from.is_empty() && !to.is_empty() => {
            for name in names(from, to) {
                at.push(name);
                match (from.get(name), to.get(name)) {
                    (Some(from), Some(to)) => compare(from, to, at, paths),
                    (one, other) => one
                        .into_iter()
                        .chain(other)
                        .for_each(|v| leaves(v, at, paths)),
                }
                at.pop();
            }
        }
        (from, to) if from == to => {}
        (from, to) => {
            leaves(from, at, paths);
            leaves(to, at, paths);
        }
    }
}

fn leaves<'a>(value: &'a Value, at: &mut Vec<&'a str>, paths: &mut BTreeSet<Path>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, member) in members {
                at.push(name);
                leaves(member, at, paths);
                at.pop();
            }
        }
        _ => {
            let sayable = at.iter().take_while(|name| !name.is_empty());
            paths.extend(Path::from_segments(sayable.copied()).ok());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::arbitrary;

    fn ops(json: Value) -> Vec<PatchOp> {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn differences_are_short_and_in_order() {
        for (from, to, wanted) in [
            (json!({"a": 1}), json!({"a": 1}), json!([])),
            (
                json!(1),
                json!({}),
                json!([{"op": "replace", "path": "", "value": {}}]),
            ),
            (
                json!({"z": 1, "b": {"x": 1, "y/~": 2}, "": 0}),
                json!({"b": {"x": 2, "y/~": 3}, "a": null, "": 1}),
                json!([
                    {"op": "replace", "path": "/", "value": 1},
                    {"op": "add", "path": "/a", "value": null},
                    {"op": "replace", "path": "/b/x", "value": 2},
                    {"op": "replace", "path": "/b/y~1~0", "value": 3},
                    {"op": "remove", "path": "/z"},
                ]),
            ),
            (
                json!([1, 2, 3]),
                json!([0, 1, 2, 3]),
                json!([{"op": "add", "path": "/0", "value": 0}]),
            ),
            (
                json!([1, 2, 3]),
                json!([1, 2, 3, 4]),
                json!([{"op": "add", "path": "/3", "value": 4}]),
            ),
            (
                json!([1, 2, 3, 4]),
                json!([1, 4]),
                json!([
                    {"op": "remove", "path": "/2"}, {"op": "remove", "path": "/1"},
                ]),
            ),
            (
                json!([1, 1]),
                json!([1, 1, 1]),
                json!([{"op": "add", "path": "/2", "value": 1}]),
            ),
            (
                json!([0, 1, 2, 3, 4]),
                json!([1, 9, 3, 5, 4]),
                json!([
                    {"op": "remove", "path": "/0"},
                    {"op": "replace", "path": "/1", "value": 9},
                    {"op": "add", "path": "/3", "value": 5},
                ]),
            ),
            (
                json!([{"n": 1, "m": 1}, {"n": 2}]),
                json!([{"n": 3, "m": 1}, {"n": 2}]),
                json!([
                    {"op": "replace", "path": "/0/n", "value": 3},
                ]),
            ),
        ] {
            assert_eq!(
                serde_json::to_value(diff(&from, &to)).unwrap(),
                wanted,
                "{from} {to}"
            );
        }
    }

    #[test]
    fn huge_rearrangements_are_bounded() {
        let from: Vec<i32> = (0..3000).collect();
        let to: Vec<i32> = (0..3001).rev().collect();
        let mut doc = json!(from);
        let ops = diff(&doc, &json!(to));
        apply(&mut doc, &ops).unwrap();
        assert_eq!(doc, json!(to));
    }

    #[test]
    fn operations_apply_in_order() {
        let mut doc = json!({"a": [1, 2], "b": {"~/": 1}});
        apply(
            &mut doc,
            &ops(json!([
                {"op": "test", "path": "/a/1", "value": 2.0},
                {"op": "add", "path": "/a/-", "value": 3},
                {"op": "add", "path": "/a/0", "value": 0},
                {"op": "copy", "from": "/a", "path": "/c"},
                {"op": "remove", "path": "/c/0"},
                {"op": "move", "from": "/b/~0~1", "path": "/d"},
                {"op": "move", "from": "/d", "path": "/d"},
                {"op": "replace", "path": "/b", "value": 7, "unknown": "ignored"},
            ])),
        )
        .unwrap();
        assert_eq!(
            doc,
            json!({"a": [0, 1, 2, 3], "b": 7, "c": [1, 2, 3], "d": 1})
        );
        apply(
            &mut doc,
            &ops(json!([{"op": "replace", "path": "", "value": 1}])),
        )
        .unwrap();
        assert_eq!(doc, json!(1));
    }

    #[test]
    fn what_cannot_apply_changes_nothing() {
        let before = json!({"a": [1], "s": "x"});
        for (op, pointer) in [
            (json!({"op": "remove", "path": ""}), ""),
            (json!({"op": "remove", "path": "/x"}), "/x"),
            (json!({"op": "remove", "path": "/a/1"}), "/a/1"),
            (json!({"op": "remove", "path": "/a/-"}), "/a/-"),
            (json!({"op": "remove", "path": "/a/00"}), "/a/00"),
            (json!({"op": "replace", "path": "/x", "value": 1}), "/x"),
            (json!({"op": "add", "path": "/a/2", "value": 1}), "/a/2"),
            (json!({"op": "add", "path": "/a/+0", "value": 1}), "/a/+0"),
            (json!({"op": "add", "path": "/a/x", "value": 1}), "/a/x"),
            (json!({"op": "add", "path": "/x/y", "value": 1}), "/x/y"),
            (json!({"op": "add", "path": "/s/0", "value": 1}), "/s/0"),
            (json!({"op": "add", "path": "s", "value": 1}), "s"),
            (json!({"op": "add", "path": "/~2", "value": 1}), "/~2"),
            (json!({"op": "add", "path": "/~", "value": 1}), "/~"),
            (json!({"op": "move", "from": "/a", "path": "/a/0"}), "/a/0"),
            (json!({"op": "move", "from": "/x", "path": "/x"}), "/x"),
            (json!({"op": "copy", "from": "/x", "path": "/y"}), "/x"),
            (json!({"op": "test", "path": "/a/0", "value": "1"}), "/a/0"),
        ] {
            let mut doc = before.clone();
            let patch = ops(json!([{"op": "add", "path": "/new", "value": 1}, op]));
            assert_eq!(apply(&mut doc, &patch).unwrap_err().path(), pointer, "{op}");
            assert_eq!(doc, before);
        }
    }

    #[test]
    fn malformed_operations_do_not_deserialize() {
        for op in [
            json!({"op": "add", "path": "/a"}),
            json!({"op": "remove"}),
            json!({"op": "move", "path": "/a"}),
            json!({"op": "spread", "path": "/a"}),
        ] {
            assert!(
                serde_json::from_value::<PatchOp>(op.clone()).is_err(),
                "{op}"
            );
        }
    }

    #[test]
    fn a_small_patch_makes_no_huge_document() {
        let doubling = |from: &str, path: &str| PatchOp::Copy {
            from: from.to_owned(),
            path: path.to_owned(),
        };
        let mut doc = json!({"a": 1});
        assert!(apply(&mut doc, &vec![doubling("", "/a"); 80]).is_ok());
        assert!(apply(&mut doc, &vec![doubling("", "/a"); 80]).is_err());
        let mut doc = json!({"a": ["x".repeat(1 << 20)]});
        let mut patch = vec![doubling("/a", "/a/-"); 20];
        patch.push(doubling("/a", "/a/-"));
        assert_eq!(
            apply(&mut doc, &patch).unwrap_err().message(),
            "the patch copies too much"
        );
        let deep = (0..60).fold(json!(1), |v, _| json!([v]));
        let mut doc = json!({});
        let mut patch = vec![PatchOp::Add {
            path: "/a".to_owned(),
            value: deep.clone(),
        }];
        patch.push(PatchOp::Add {
            path: format!("/a{}", "/0".repeat(60)),
            value: deep,
        });
        assert_eq!(
            apply(&mut doc, &patch).unwrap_err().message(),
            "the outcome would nest too deep"
        );
    }

    #[test]
    fn changed_paths_are_leaves() {
        for (from, to, wanted) in [
            (json!({"a": 1}), json!({"a": 1}), vec![]),
            (
                json!({"a": {"b": 1, "c": 2}, "d": 1}),
                json!({"a": {"b": 1, "c": 3}, "e": {"f": 1}}),
                vec!["a.c", "d", "e.f"],
            ),
            (
                json!({"a": [1, {"x": 1}]}),
                json!({"a": [1, {"x": 2}]}),
                vec!["a"],
            ),
            (json!({"a": {"b": 1}}), json!({"a": 5}), vec!["a", "a.b"]),
            (
                json!({"a": {}}),
                json!({"a": {"b.c": 1}}),
                vec!["a", r"a.b\.c"],
            ),
            (json!({}), json!({"a": {}}), vec!["a"]),
            (json!({"": 1, "a": {"": {"b": 1}}}), json!({}), vec!["a"]),
        ] {
            let paths: Vec<_> = changed_paths(&from, &to)
                .iter()
                .map(Path::to_string)
                .collect();
            assert_eq!(paths, wanted, "{from} {to}");
        }
    }

    fn operation() -> impl Strategy<Value = PatchOp> {
        let pointer = || {
            prop::collection::vec(
                prop_oneof![arbitrary::name(), Just("-".to_owned()), "[0-3]"],
                0..4,
            )
            .prop_map(|segments| {
                let mut pointer = String::new();
                for segment in &segments {
                    push_segment(segment, &mut pointer);
                }
                pointer
            })
            .boxed()
        };
        let pointer = move || prop_oneof![9 => pointer(), 1 => any::<String>()];
        let value = arbitrary::unnormalized_json;
        prop_oneof![
            3 => (pointer(), value()).prop_map(|(path, value)| PatchOp::Add { path, value }),
            1 => pointer().prop_map(|path| PatchOp::Remove { path }),
            1 => (pointer(), value()).prop_map(|(path, value)| PatchOp::Replace { path, value }),
            1 => (pointer(), pointer()).prop_map(|(from, path)| PatchOp::Move { from, path }),
            1 => (pointer(), pointer()).prop_map(|(from, path)| PatchOp::Copy { from, path }),
            1 => (pointer(), value()).prop_map(|(path, value)| PatchOp::Test { path, value }),
        ]
    }

    proptest! {
        #[test]
        fn applying_the_difference_gives_the_other(a in arbitrary::json(), b in arbitrary::json()) {
            let ops = diff(&a, &b);
            let json = serde_json::to_string(&ops).unwrap();
            let ops: Vec<PatchOp> = serde_json::from_str(&json).unwrap();
            let mut doc = a;
            apply(&mut doc, &ops).unwrap();
            prop_assert_eq!(doc, b);
        }

        #[test]
        fn arrays_too(
            a in prop::collection::vec(0..4, 0..12), b in prop::collection::vec(0..4, 0..12),
        ) {
            let mut doc = json!(a);
            let ops = diff(&doc, &json!(b));
            apply(&mut doc, &ops).unwrap();
            prop_assert_eq!(doc, json!(b));
            prop_assert!(ops.len() <= a.len().max(b.len()) + a.len().min(b.len()));
        }

        #[test]
        fn any_operations_apply_wholly_or_not_at_all(
            before in arbitrary::json(), ops in prop::collection::vec(operation(), 0..5),
        ) {
            let mut doc = before.clone();
            if apply(&mut doc, &ops).is_err() {
                prop_assert_eq!(doc, before);
            } else {
                prop_assert!(is_within(&doc, MAX_DEPTH));
            }
        }

        #[test]
        fn paths_change_exactly_when_documents_do(a in arbitrary::object(), b in arbitrary::object()) {
            let sayable = |object: &Map<String, Value>| !object.contains_key("");
            prop_assume!(sayable(&a) && sayable(&b));
            let (a, b) = (Value::Object(a), Value::Object(b));
            // Two objects of no property at all have no leaf that could differ.
            let expected = a != b && (a != json!({}) || b != json!({}));
            prop_assert_eq!(!changed_paths(&a, &b).is_empty(), expected);
            prop_assert_eq!(changed_paths(&a, &b), changed_paths(&b, &a));
        }
    }
}

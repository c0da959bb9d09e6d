//! Setting and unsetting single paths of a document.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use crate::{
    Invalid, Path,
    diff::element_index,
    json::{MAX_DEPTH, is_within},
    path::join,
};

const UNSET: &str = "$unset";

/// Properties that the database keeps and no caller sets.
pub(crate) const RESERVED: [&str; 2] = ["_id", "_system"];

/// Sets the given dotted paths of a document and leaves the rest. On an error
/// the document is what it was.
///
/// `changes` maps paths to values, and `$unset` to an array of paths to remove:
/// `{"address.city": "Bern", "tags.0": "new", "$unset": ["fax"]}`.
///
/// - Missing objects on the way are created, also for segments that are
///   numbers. In an array that exists, a number is an index, and the length
///   appends.
/// - Paths at or below `_id` and `_system` are ignored.
/// - A path to unset that does not exist is ignored.
///
/// The document is in normal form, and so are the values:
/// [normalize](crate::json::normalize) those from outside.
///
/// # Errors
///
/// [`Invalid`] naming the path: where a scalar (also `null`) stands in the way,
/// an index lies beyond the end of its array or is none, an array element is to
/// be unset (the elements behind it would change their paths: set the array, or
/// the element to `null`), one path lies inside another that is changed too,
/// the outcome would nest deeper than [`MAX_DEPTH`], or a name begins with `$`
/// and is not `$unset`.
pub fn patch(doc: &mut Value, changes: &Map<String, Value>) -> Result<(), Invalid> {
    let Value::Object(members) = doc else {
        return Err(Invalid::at("", "only an object can be patched"));
    };
    let changes = read(changes)?;

    // Errors may come late, so only copies of the properties concerned change.
    let mut draft = Map::new();
    for change in &changes {
        let root = change.path.root();
        if !draft.contains_key(root)
            && let Some(member) = members.get(root)
        {
            draft.insert(root.to_owned(), member.clone());
        }
    }
    let mut draft = Value::Object(draft);
    for Change { path, value } in &changes {
        match value {
            Some(value) => set(&mut draft, path, value)?,
            None => unset(&mut draft, path)?,
        }
    }

    let Value::Object(mut draft) = draft else {
        return Ok(());
    };
    for change in &changes {
        let root = change.path.root();
        if !draft.contains_key(root) {
            members.remove(root);
        }
    }
    members.append(&mut draft);
    Ok(())
}

pub(crate) struct Change<'a> {
    pub(crate) path: Path,
    /// `None` unsets.
    pub(crate) value: Option<&'a Value>,
}

/// The changes in order of their paths, none inside another.
pub(crate) fn read(changes: &Map<String, Value>) -> Result<Vec<Change<'_>>, Invalid> {
    let mut all = Vec::new();
    for (name, value) in changes {
        if name == UNSET {
            let unset = read_unset(value)?.into_iter();
            all.extend(unset.map(|path| Change { path, value: None }));
        } else if name.starts_with('$') {
            let known = "a patch knows `$unset` and paths, and no path begins with `$`";
            return Err(Invalid::at(name, known));
        } else {
            let value = Some(value);
            all.push(Change {
                path: name.parse()?,
                value,
            });
        }
    }
    all.retain(|change| !RESERVED.contains(&change.path.root()));
    all.sort_by(|a, b| compare(&a.path, &b.path).then(a.value.is_some().cmp(&b.value.is_some())));

    // In this order whatever lies inside a path follows it directly.
    let mut apart: Vec<Change<'_>> = Vec::with_capacity(all.len());
    for change in all {
        match apart.last() {
            Some(outer) if change.path.starts_with(&outer.path) => {
                if outer.value.is_some() || change.value.is_some() {
                    let message = format!("cannot change together with `{}`", outer.path);
                    return Err(Invalid::at(change.path, message));
                }
            }
            _ => apart.push(change),
        }
    }
    Ok(apart)
}

fn read_unset(paths: &Value) -> Result<Vec<Path>, Invalid> {
    let not_paths = || Invalid::at(UNSET, "an array of paths was expected");
    let paths = paths.as_array().ok_or_else(not_paths)?;
    paths
        .iter()
        .map(|path| path.as_str().ok_or_else(not_paths)?.parse())
        .collect()
}

/// Orders indices by number, so that elements are appended one after another.
fn compare(a: &Path, b: &Path) -> Ordering {
    let key = |segment: &'_ String| element_index(segment).map_or((1, 0), |index| (0, index));
    let keyed = |path: &Path| -> Vec<_> {
        path.segments()
            .iter()
            .map(|s| (key(s), s.clone()))
            .collect()
    };
    keyed(a).cmp(&keyed(b))
}

pub(crate) fn set(doc: &mut Value, path: &Path, value: &Value) -> Result<(), Invalid> {
    let segments = path.segments();
    let fits = MAX_DEPTH
        .checked_sub(segments.len())
        .is_some_and(|depth| is_within(value, depth));
    if !fits {
        return Err(Invalid::at(
            path.to_string(),
            "the outcome would nest too deep",
        ));
    }
    let mut at = doc;
    let mut walked = String::new();
    for segment in segments {
        let object = || Value::Object(Map::new());
        at = match at {
            Value::Object(members) => members.entry(segment.as_str()).or_insert_with(object),
            Value::Array(elements) => {
                let len = elements.len();
                let Some(index) = element_index(segment).filter(|&i| i <= len) else {
                    let message = format!("an index from 0 to {len} was expected in an array");
                    return Err(Invalid::at(join(&walked, segment), message));
                };
                if index == len {
                    elements.push(object());
                }
                &mut elements[index]
            }
            _ => {
                return Err(Invalid::at(
                    walked,
                    "a value that is no object or array stands in the way",
                ));
            }
        };
        walked = join(&walked, segment);
    }
    *at = value.clone();
    Ok(())
}

fn unset(doc: &mut Value, path: &Path) -> Result<(), Invalid> {
    let Some((last, parents)) = path.segments().split_last() else {
        return Ok(());
    };
    let holder = parents.iter().try_fold(doc, |at, segment| match at {
        Value::Object(members) => members.get_mut(segment),
        Value::Array(elements) => elements.get_mut(element_index(segment)?),
        _ => None,
    });
    match holder {
        Some(Value::Object(members)) => {
            members.remove(last);
            Ok(())
        }
        Some(Value::Array(elements)) if element_index(last).is_some_and(|i| i < elements.len()) => {
            let message = "an array element cannot be unset, those behind it would change their paths; \
                           set the array, or the element to null";
            Err(Invalid::at(path.to_string(), message))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::arbitrary;

    fn patched(doc: &Value, changes: &Value) -> Result<Value, Invalid> {
        let mut after = doc.clone();
        let outcome = patch(&mut after, changes.as_object().unwrap());
        if outcome.is_err() {
            assert_eq!(after, *doc, "an error left changes behind");
        }
        outcome.map(|()| after)
    }

    #[test]
    fn paths_are_set_and_unset() {
        for (doc, changes, wanted) in [
            (json!({"a": 1}), json!({}), json!({"a": 1})),
            (
                json!({"a": 1}),
                json!({"a": 2, "b": {"c": 1}}),
                json!({"a": 2, "b": {"c": 1}}),
            ),
            (
                json!({"a": {"x": 1}}),
                json!({"a.y": 2, "b.c.d": 3}),
                json!({"a": {"x": 1, "y": 2}, "b": {"c": {"d": 3}}}),
            ),
            (
                json!({"a": {"x": 1}}),
                json!({"a": null}),
                json!({"a": null}),
            ),
            (json!({}), json!({r"a\.b.c": 1}), json!({"a.b": {"c": 1}})),
            (
                json!({"l": [1, 2]}),
                json!({"l.0": 9, "l.2": 3}),
                json!({"l": [9, 2, 3]}),
            ),
            (
                json!({"l": vec![0; 9]}),
                json!({"l.10": 2, "l.9": 1}),
                json!({"l": [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]}),
            ),
            (
                json!({"l": []}),
                json!({"l.0.x": 1, "l.0.y": 2}),
                json!({"l": [{"x": 1, "y": 2}]}),
            ),
            (json!({}), json!({"l.0": 1}), json!({"l": {"0": 1}})),
            (
                json!({"a": 1, "b": {"c": 1, "d": 2}, "e": 0}),
                json!({"$unset": ["a", "b.c"], "f": 1}),
                json!({"b": {"d": 2}, "e": 0, "f": 1}),
            ),
            (
                json!({"a": [{"x": 1}]}),
                json!({"$unset": ["a.0.x"]}),
                json!({"a": [{}]}),
            ),
            (
                json!({"a": 1, "l": [1]}),
                json!({"$unset": ["x", "x.y", "a.b", "l.1", "l.x", "l.0.x", "x"]}),
                json!({"a": 1, "l": [1]}),
            ),
            (
                json!({"a": {"b": 1}}),
                json!({"$unset": ["a.b", "a", "a.c"]}),
                json!({}),
            ),
            (
                json!({"a": 1}),
                json!({"_id": 1, "_system.ov": 2, "$unset": ["_id", "_system"], "a": 2}),
                json!({"a": 2}),
            ),
            (json!({}), json!({"a._id": 1}), json!({"a": {"_id": 1}})),
        ] {
            assert_eq!(patched(&doc, &changes), Ok(wanted), "{doc} {changes}");
        }
    }

    #[test]
    fn what_cannot_be_done_is_named() {
        let doc = json!({"s": "x", "n": null, "l": [1], "o": {"a": {"b": 1}}});
        for (changes, path) in [
            (json!({"s.x": 1}), "s"),
            (json!({"n.x": 1}), "n"),
            (json!({"o.a.b.c.d": 1}), "o.a.b"),
            (json!({"l.2": 1}), "l.2"),
            (json!({"l.00": 1}), "l.00"),
            (json!({"l.-1": 1}), "l.-1"),
            (json!({"l.x.y": 1}), "l.x"),
            (json!({"o.new": 1, "$unset": ["l.0"]}), "l.0"),
            (json!({"a..b": 1}), "a..b"),
            (json!({"": 1}), ""),
            (json!({"$set": {"a": 1}}), "$set"),
            (json!({"$unset": "a"}), "$unset"),
            (json!({"$unset": [1]}), "$unset"),
            (json!({"$unset": ["a."]}), "a."),
        ] {
            assert_eq!(
                patched(&doc, &changes).unwrap_err().path(),
                path,
                "{changes}"
            );
        }
    }

    #[test]
    fn overlapping_paths_are_both_named() {
        for (changes, outer, inner) in [
            (json!({"a": 1, "a.b": 1}), "a", "a.b"),
            (json!({"a": 1, "a-": 1, "a.b": 1}), "a", "a.b"),
            (json!({"a.b.c": 1, "$unset": ["a"]}), "a", "a.b.c"),
            (json!({"a.c": 1, "$unset": ["a", "a.b"]}), "a", "a.c"),
            (json!({"a": 1, "$unset": ["a.b"]}), "a", "a.b"),
            (json!({"a": 1, "$unset": ["a"]}), "a", "a"),
        ] {
            let error = patched(&json!({}), &changes).unwrap_err();
            assert_eq!(error.path(), inner, "{changes}");
            assert!(error.message().contains(&format!("`{outer}`")), "{error}");
        }
    }

    #[test]
    fn only_objects_take_a_patch_and_depth_is_bounded() {
        assert!(patch(&mut json!([]), &Map::new()).is_err());
        let deep = vec!["a"; MAX_DEPTH].join(".");
        assert!(patched(&json!({}), &json!({deep.as_str(): 1})).is_ok());
        assert!(patched(&json!({}), &json!({deep.as_str(): {}})).is_err());
    }

    fn changes() -> impl Strategy<Value = Map<String, Value>> {
        let path = || {
            prop_oneof![
                6 => prop::collection::vec(arbitrary::name(), 1..4).prop_map(|segments| segments.join(".")),
                2 => "[a-d](\\.[0-2]){0,2}",
                1 => any::<String>(),
            ]
        };
        (
            prop::collection::btree_map(path(), arbitrary::json(), 0..4),
            prop::option::of(prop::collection::vec(path(), 0..3)),
        )
            .prop_map(|(set, unset)| {
                let unset = unset.map(|paths| (UNSET.to_owned(), json!(paths)));
                set.into_iter().chain(unset).collect()
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn any_patch_applies_wholly_or_not_at_all(
            doc in prop_oneof![arbitrary::json(), arbitrary::object().prop_map(Value::Object)],
            changes in changes(),
        ) {
            let mut after = doc.clone();
            if patch(&mut after, &changes).is_err() {
                prop_assert_eq!(after, doc);
            } else {
                for (path, value) in &changes {
                    let path = match path.parse::<Path>() {
                        Ok(path) if path.root() != UNSET && !RESERVED.contains(&path.root()) => path,
                        _ => continue,
                    };
                    let found = path.segments().iter().try_fold(&after, |at, segment| match at {
                        Value::Object(members) => members.get(segment),
                        Value::Array(elements) => elements.get(segment.parse::<usize>().ok()?),
                        _ => None,
                    });
                    prop_assert_eq!(found, Some(value));
                }
                // The same patch again finds everything as it wants it.
                let mut again = after.clone();
                prop_assert!(patch(&mut again, &changes).is_ok());
                prop_assert_eq!(again, after);
            }
        }
    }
}

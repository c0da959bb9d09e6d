//! Merging documents: enriching a record, and laying tiers over each other.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::{file::is_file_reference, patch::RESERVED};

/// Merges `patch` into a document.
///
/// - Objects merge deeply.
/// - Arrays become a union: elements equal to one that is there are left out;
///   an object merges into the one with the same `id` (or, failing that, the
///   same `_id`) that is not `null`; the others are appended in their order.
/// - A boolean, number or string meeting an array is added to it in the same way,
///   and so is what [stands for a file](is_file_reference).
/// - Anything else replaces what is there, `null` and an object meeting an
///   array included.
///
/// `_id` and `_system` at the top of the patch are ignored. Both values are in
/// normal form, and the outcome nests no deeper than the deeper of them.
pub fn enrich(doc: &mut Value, patch: &Value) {
    match (doc, patch) {
        (Value::Object(doc), Value::Object(patch)) => {
            let members = patch
                .iter()
                .filter(|(name, _)| !RESERVED.contains(&name.as_str()));
            merge_members(doc, members, Arrays::Enrich);
        }
        (doc, patch) => merge(doc, patch, Arrays::Enrich),
    }
}

/// Lays the document of a more specific tier over that of a more general one.
///
/// Objects merge deeply, but for what stands for a file; arrays are concatenated, with `dedupe_arrays` without
/// those elements of `over` that are there already; anything else is replaced.
/// Both values are in normal form.
pub fn merge_tiers(base: &mut Value, over: &Value, dedupe_arrays: bool) {
    let arrays = if dedupe_arrays {
        Arrays::Union
    } else {
        Arrays::Concatenate
    };
    merge(base, over, arrays);
}

#[derive(Clone, Copy)]
enum Arrays {
    Enrich,
    Union,
    Concatenate,
}

fn merge(base: &mut Value, over: &Value, arrays: Arrays) {
    let file = is_file_reference(over);
    match (base, over) {
        (Value::Object(base), Value::Object(over)) if !file => {
            merge_members(base, over.iter(), arrays);
        }
        (Value::Array(base), Value::Array(over)) => match arrays {
            Arrays::Enrich => enrich_elements(base, over),
            Arrays::Union => add_missing(base, over),
            Arrays::Concatenate => base.extend_from_slice(over),
        },
        (Value::Array(base), over)
            if matches!(arrays, Arrays::Enrich)
                && (file || over.is_boolean() || over.is_number() || over.is_string()) =>
        {
            if !base.contains(over) {
                base.push(over.clone());
            }
        }
        (base, over) => *base = over.clone(),
    }
}

fn merge_members<'a>(
    base: &mut serde_json::Map<String, Value>,
    over: impl Iterator<Item = (&'a String, &'a Value)>,
    arrays: Arrays,
) {
    for (name, over) in over {
        match base.get_mut(name) {
            Some(base) => merge(base, over, arrays),
            None => {
                base.insert(name.clone(), over.clone());
            }
        }
    }
}

fn add_missing(base: &mut Vec<Value>, over: &[Value]) {
    let mut present = met(base, &over.iter().collect());
    for element in over {
        if present.insert(element) {
            base.push(element.clone());
        }
    }
}

/// Those that are in the array. What is merged in is few as a rule, so it is
/// what is remembered.
fn met<'o>(base: &[Value], sought: &HashSet<&'o Value>) -> HashSet<&'o Value> {
    let found = |element| sought.get(element).copied();
    base.iter().filter_map(found).collect()
}

fn enrich_elements(base: &mut Vec<Value>, over: &[Value]) {
    // Equal elements have equal ids, so those with ids need no other comparison.
    let plain = over.iter().filter(|element| ids(element).next().is_none());
    let mut present = met(base, &plain.collect());
    // Of the ids that are sought, which element has each.
    let (mut numbers, mut holders) = (HashMap::new(), Vec::new());
    for id in over.iter().flat_map(ids) {
        numbers.entry(id).or_insert_with(|| {
            holders.push(None);
            holders.len() - 1
        });
    }
    if !numbers.is_empty() {
        for (index, element) in base.iter().enumerate() {
            for number in ids(element).filter_map(|id| numbers.get(&id)) {
                holders[*number].get_or_insert(index);
            }
        }
    }
    for element in over {
        // An `_id` may have been overwritten by a merge on `id` meanwhile.
        let same = |id| {
            let index = holders[*numbers.get(&id)?]?;
            ids(&base[index]).any(|held| held == id).then_some(index)
        };
        let index = if let Some(index) = ids(element).find_map(same) {
            merge(&mut base[index], element, Arrays::Enrich);
            index
        } else if ids(element).next().is_some() || present.insert(element) {
            base.push(element.clone());
            base.len() - 1
        } else {
            continue;
        };
        for number in ids(&base[index]).filter_map(|id| numbers.get(&id)) {
            holders[*number] = Some(index);
        }
    }
}

/// What identifies an element, the stronger first.
fn ids(element: &Value) -> impl Iterator<Item = (&'static str, &Value)> {
    ["id", "_id"].into_iter().filter_map(|name| {
        let id = element.as_object()?.get(name)?;
        (!id.is_null()).then_some((name, id))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{
        arbitrary,
        json::{is_within, normalize},
    };

    fn enriched(mut doc: Value, patch: &Value) -> Value {
        enrich(&mut doc, patch);
        doc
    }

    #[test]
    fn enriching() {
        for (doc, patch, wanted) in [
            (
                json!({"a": {"b": 1}}),
                json!({"a": {"c": 2}, "d": 3}),
                json!({"a": {"b": 1, "c": 2}, "d": 3}),
            ),
            (json!({"a": 1}), json!({"a": null}), json!({"a": null})),
            (json!({"a": [1]}), json!({"a": null}), json!({"a": null})),
            (
                json!({"a": [1, 2, 2]}),
                json!({"a": [2, 3, 3]}),
                json!({"a": [1, 2, 2, 3]}),
            ),
            (json!({"a": [1]}), json!({"a": 2}), json!({"a": [1, 2]})),
            (json!({"a": [1]}), json!({"a": 1}), json!({"a": [1]})),
            (
                json!({"a": ["x"]}),
                json!({"a": true}),
                json!({"a": ["x", true]}),
            ),
            (
                json!({"a": [1]}),
                json!({"a": {"b": 1}}),
                json!({"a": {"b": 1}}),
            ),
            (json!({"a": 1}), json!({"a": [2]}), json!({"a": [2]})),
            (json!({"a": {"b": 1}}), json!({"a": 2}), json!({"a": 2})),
            (
                json!({"a": [[1], {"x": 1}, null]}),
                json!({"a": [{"x": 1}, [1], null, [2]]}),
                json!({"a": [[1], {"x": 1}, null, [2]]}),
            ),
            (
                json!({"_id": 1}),
                json!({"_id": 2, "_system": {}, "a": {"_id": 3}}),
                json!({"_id": 1, "a": {"_id": 3}}),
            ),
            (json!(1), json!(2), json!(2)),
        ] {
            assert_eq!(enriched(doc.clone(), &patch), wanted, "{doc} {patch}");
        }
    }

    #[test]
    fn elements_with_one_identity_merge() {
        for (doc, patch, wanted) in [
            (
                json!([{"id": 1, "a": 1}, 5]),
                json!([{"id": 1, "b": [2]}, {"id": 2}]),
                json!([{"id": 1, "a": 1, "b": [2]}, 5, {"id": 2}]),
            ),
            (
                json!([{"_id": "x", "t": [1]}]),
                json!([{"_id": "x", "t": [2]}]),
                json!([{"_id": "x", "t": [1, 2]}]),
            ),
            (
                json!([{"id": 1}]),
                json!([{"id": "1"}, {"_id": 1}]),
                json!([{"id": 1}, {"id": "1"}, {"_id": 1}]),
            ),
            (
                json!([{"id": null, "a": 1}]),
                json!([{"id": null, "a": 2}]),
                json!([{"id": null, "a": 1}, {"id": null, "a": 2}]),
            ),
            (
                json!([]),
                json!([{"id": 1, "a": 1}, {"id": 1, "b": 1}]),
                json!([{"id": 1, "a": 1, "b": 1}]),
            ),
            (
                json!([{"id": 1, "_id": 5}]),
                json!([{"id": 1, "_id": 6}, {"_id": 5}]),
                json!([{"id": 1, "_id": 6}, {"_id": 5}]),
            ),
            (
                json!([{"id": 1, "_id": 5}]),
                json!([{"id": 2, "_id": 5}]),
                json!([{"id": 2, "_id": 5}]),
            ),
        ] {
            assert_eq!(enriched(doc.clone(), &patch), wanted, "{doc} {patch}");
        }
    }

    #[test]
    fn large_arrays_merge_in_time() {
        let mut doc = json!((0..100_000).collect::<Vec<_>>());
        enrich(&mut doc, &json!((50_000..150_000).collect::<Vec<_>>()));
        assert_eq!(doc, json!((0..150_000).collect::<Vec<_>>()));
    }

    #[test]
    fn tiers() {
        let base = json!({"a": [1, {"id": 1}], "o": {"x": 1, "y": 1}, "s": 1, "l": [1]});
        let over = json!({"a": [1, {"id": 1, "b": 2}], "o": {"y": 2}, "s": null, "l": 2});
        let mut merged = base.clone();
        merge_tiers(&mut merged, &over, true);
        let wanted = json!({"a": [1, {"id": 1}, {"id": 1, "b": 2}], "o": {"x": 1, "y": 2}, "s": null, "l": 2});
        assert_eq!(merged, wanted);
        let mut merged = base;
        merge_tiers(&mut merged, &over, false);
        assert_eq!(merged["a"], json!([1, {"id": 1}, 1, {"id": 1, "b": 2}]));
    }

    /// The rules for tiers, word for word and slowly.
    fn slow_tiers(base: &Value, over: &Value, dedupe: bool) -> Value {
        match (base, over) {
            (Value::Object(base), Value::Object(over)) => {
                let mut merged = base.clone();
                for (name, over) in over {
                    let member = base
                        .get(name)
                        .map_or_else(|| over.clone(), |b| slow_tiers(b, over, dedupe));
                    merged.insert(name.clone(), member);
                }
                Value::Object(merged)
            }
            (Value::Array(base), Value::Array(over)) => {
                let mut merged = base.clone();
                for element in over {
                    if !dedupe || !merged.contains(element) {
                        merged.push(element.clone());
                    }
                }
                Value::Array(merged)
            }
            _ => over.clone(),
        }
    }

    proptest! {
        #[test]
        fn tiers_merge_by_the_rules(base in arbitrary::json(), over in arbitrary::json(), dedupe: bool) {
            let mut merged = base.clone();
            merge_tiers(&mut merged, &over, dedupe);
            prop_assert_eq!(merged, slow_tiers(&base, &over, dedupe));
        }

        #[test]
        fn enriching_keeps_the_normal_form(doc in arbitrary::json(), patch in arbitrary::json()) {
            let merged = enriched(doc, &patch);
            prop_assert!(is_within(&merged, crate::json::MAX_DEPTH));
            prop_assert_eq!(normalize(merged.clone()), Ok(merged));
        }

        #[test]
        fn enriching_with_what_is_there_changes_nothing(
            elements in prop::collection::vec(arbitrary::json(), 0..6),
        ) {
            // Two elements of one identity would merge with each other.
            prop_assume!(elements.iter().all(|e| ids(e).next().is_none()));
            let doc = json!({"a": elements});
            prop_assert_eq!(enriched(doc.clone(), &doc), doc);
        }
    }
}

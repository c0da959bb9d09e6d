//! Hidden fields in what is written: who may name them, and how they outlive
//! writes that do not.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde_json::{Map, Value};

use crate::{
    CollectionView, Invalid, Path, Projection, ReadShape, Refused, Selection,
    json::canonical,
    lookup::index,
    patch::{self, RESERVED},
    path::join,
};

/// What is hidden at some place: paths from there on. An empty one would be the
/// place itself.
type Below<'p> = [&'p [String]];

impl CollectionView {
    /// Whether a handle may write a document, or merge it into one.
    ///
    /// # Errors
    ///
    /// [`Refused::Forbidden`] if the handle is sealed and the document holds a
    /// hidden field.
    pub fn document_allowed(&self, document: &Value, sealed: bool) -> Result<(), Refused> {
        self.named_by(sealed, |hidden| given(document, hidden))
    }

    /// Whether a handle may make these changes, in the form of
    /// [`patch`](crate::patch()).
    ///
    /// # Errors
    ///
    /// [`Refused::Forbidden`] as for documents, [`Refused::Invalid`] as
    /// [`patch`](crate::patch()).
    pub fn patch_allowed(&self, changes: &Map<String, Value>, sealed: bool) -> Result<(), Refused> {
        let changes = patch::read(changes)?;
        self.named_by(sealed, |hidden| {
            changes
                .iter()
                .any(|change| reaches(change.path.segments(), change.value, hidden))
        })
    }

    fn named_by(&self, sealed: bool, names: impl Fn(&[String]) -> bool) -> Result<(), Refused> {
        let mut written = self.written().filter(|_| sealed);
        match written.find(|hidden| names(hidden.segments())) {
            Some(hidden) => Err(Refused::Forbidden(format!("a write of `{hidden}`"))),
            None => Ok(()),
        }
    }

    /// The hidden paths of documents: writes ignore the others.
    fn written(&self) -> impl Iterator<Item = &Path> {
        let of_document = |path: &&Path| !RESERVED.contains(&path.root());
        self.hidden.iter().filter(of_document)
    }

    /// What is shown where the values at a path are asked for: a hidden field
    /// only if the path names it or something inside it.
    ///
    /// # Errors
    ///
    /// [`Refused::Forbidden`] if the handle is sealed and the path reads a hidden
    /// field, its parts, or something that holds it.
    pub fn values_of(&self, path: &Path, sealed: bool) -> Result<Projection, Refused> {
        self.path_allowed(path, "values", sealed)?;
        let named = |hidden: &Path| reaches(path.segments(), None, hidden.segments());
        if self.hidden.iter().any(named) {
            return Ok(Projection::everything());
        }
        let unasked = Projection::parse(&Value::Object(Map::new()))?;
        let read = ReadShape {
            include_hidden: false,
            projection: Selection::Custom(unasked),
        };
        self.resolve(&read, sealed)
    }

    /// Keeps in a new document the hidden fields of the current one, unless the
    /// new one gives them.
    ///
    /// Inside an array they stay with their elements: those with the same `id`
    /// (or `_id`), else those that look the same without what is hidden, else,
    /// if it is clear which of the rest are meant, those that take their
    /// places. What is hidden in an element that is gone goes with it. Both
    /// documents are in normal form.
    ///
    /// # Errors
    ///
    /// [`Invalid`] naming the place of something that holds hidden fields, and
    /// of which the new document makes a scalar, or elements that cannot be
    /// told apart.
    pub fn keep(&self, document: &mut Value, current: &Value) -> Result<(), Invalid> {
        let hidden: Vec<&[String]> = self.written().map(Path::segments).collect();
        keep(document, current, &hidden, "")
    }

    /// The same after a [`patch`](crate::patch()), which gives what it names.
    ///
    /// # Errors
    ///
    /// As [`keep`](Self::keep), and as [`patch`](crate::patch()).
    pub fn keep_beside(
        &self,
        document: &mut Value,
        current: &Value,
        changes: &Map<String, Value>,
    ) -> Result<(), Invalid> {
        for change in patch::read(changes)? {
            let segments = change.path.segments();
            let mut hidden = Vec::new();
            for path in self.written() {
                beneath(segments, path.segments(), &mut hidden);
            }
            let before = segments.iter().try_fold(current, child);
            let Some(before) = before.filter(|_| !hidden.is_empty()) else {
                continue;
            };
            match segments.iter().try_fold(&mut *document, child_mut) {
                Some(now) => keep(now, before, &hidden, &change.path.to_string())?,
                None => {
                    if let Some(part) = hidden_part(before, &hidden) {
                        patch::set(document, &change.path, &part)?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn child<'v>(value: &'v Value, name: &String) -> Option<&'v Value> {
    match value {
        Value::Object(fields) => fields.get(name),
        Value::Array(elements) => elements.get(index(name)?),
        _ => None,
    }
}

fn child_mut<'v>(value: &'v mut Value, name: &String) -> Option<&'v mut Value> {
    match value {
        Value::Object(fields) => fields.get_mut(name),
        Value::Array(elements) => elements.get_mut(index(name)?),
        _ => None,
    }
}

/// Collects what of a hidden path lies beneath another path. A number there may
/// be an index, as in [`reaches`].
fn beneath<'h>(path: &[String], hidden: &'h [String], below: &mut Vec<&'h [String]>) {
    match (path, hidden) {
        (_, []) => {}
        ([], hidden) => below.push(hidden),
        ([name, rest @ ..], [wanted, inner @ ..]) => {
            if name == wanted {
                beneath(rest, inner, below);
            }
            if index(name).is_some() {
                beneath(rest, hidden, below);
            }
        }
    }
}

/// Whether there is anything at a hidden path.
fn given(value: &Value, hidden: &[String]) -> bool {
    let Some((name, inner)) = hidden.split_first() else {
        return true;
    };
    match value {
        Value::Object(fields) => fields.get(name).is_some_and(|value| given(value, inner)),
        Value::Array(elements) => elements.iter().any(|element| given(element, hidden)),
        _ => false,
    }
}

/// Whether a path, or the value that comes there, names a hidden field. A
/// number in it may be an index, of which hidden paths know nothing.
fn reaches(path: &[String], value: Option<&Value>, hidden: &[String]) -> bool {
    match (path, hidden) {
        (_, []) => true,
        ([], hidden) => value.is_some_and(|value| given(value, hidden)),
        ([name, rest @ ..], [wanted, inner @ ..]) => {
            (name == wanted && reaches(rest, value, inner))
                || (index(name).is_some() && reaches(rest, value, hidden))
        }
    }
}

/// The paths by their first segment.
fn by_name<'p>(hidden: &Below<'p>) -> BTreeMap<&'p str, Vec<&'p [String]>> {
    let mut names: BTreeMap<&str, Vec<&[String]>> = BTreeMap::new();
    for path in hidden {
        if let Some((name, inner)) = path.split_first() {
            names.entry(name).or_default().push(inner);
        }
    }
    names
}

fn ends_here(hidden: &Below<'_>) -> bool {
    hidden.iter().any(|path| path.is_empty())
}

fn keep(new: &mut Value, old: &Value, hidden: &Below<'_>, at: &str) -> Result<(), Invalid> {
    match (new, old) {
        (Value::Object(new), Value::Object(old)) => {
            for (name, inner) in by_name(hidden) {
                let Some(old) = old.get(name) else { continue };
                match new.get_mut(name) {
                    // It is given.
                    Some(_) if ends_here(&inner) => {}
                    Some(new) => keep(new, old, &inner, &join(at, name))?,
                    None => {
                        if let Some(part) = hidden_part(old, &inner) {
                            new.insert(name.to_owned(), part);
                        }
                    }
                }
            }
            Ok(())
        }
        (Value::Array(new), Value::Array(old)) => keep_in_elements(new, old, hidden, at),
        (_, old) => match hidden_part(old, hidden) {
            None => Ok(()),
            Some(_) => Err(Invalid::at(
                at,
                "holds hidden fields, which would be lost: patch what is to go by its path",
            )),
        },
    }
}

/// What is hidden in a value, with the objects around it. In an array there is
/// nothing to keep: it is gone, and its elements with it.
fn hidden_part(value: &Value, hidden: &Below<'_>) -> Option<Value> {
    if ends_here(hidden) {
        return Some(value.clone());
    }
    let fields = value.as_object()?;
    let mut part = Map::new();
    for (name, inner) in by_name(hidden) {
        if let Some(kept) = fields
            .get(name)
            .and_then(|value| hidden_part(value, &inner))
        {
            part.insert(name.to_owned(), kept);
        }
    }
    (!part.is_empty()).then_some(Value::Object(part))
}

/// A value without what is hidden in it.
fn visible(value: &Value, hidden: &Below<'_>) -> Value {
    match value {
        Value::Object(fields) => {
            let names = by_name(hidden);
            let shown = fields.iter().filter_map(|(name, value)| {
                let shown = match names.get(name.as_str()) {
                    None => value.clone(),
                    Some(inner) if ends_here(inner) => return None,
                    Some(inner) => visible(value, inner),
                };
                Some((name.clone(), shown))
            });
            Value::Object(shown.collect())
        }
        Value::Array(elements) => elements.iter().map(|e| visible(e, hidden)).collect(),
        scalar => scalar.clone(),
    }
}

/// What an element is known by.
#[derive(PartialEq, Eq, Hash)]
enum Known {
    Id(&'static str, Vec<u8>),
    Looks(Vec<u8>),
}

fn known_by(element: &Value, hidden: &Below<'_>) -> Known {
    let shown = visible(element, hidden);
    let id = |name: &'static str| {
        let id = shown.as_object()?.get(name).filter(|id| !id.is_null())?;
        Some(Known::Id(name, canonical(id)))
    };
    id("id")
        .or_else(|| id("_id"))
        .unwrap_or_else(|| Known::Looks(canonical(&shown)))
}

fn keep_in_elements(
    new: &mut [Value],
    old: &[Value],
    hidden: &Below<'_>,
    at: &str,
) -> Result<(), Invalid> {
    let gives = |element: &Value| hidden.iter().any(|path| given(element, path));
    if !old.iter().any(gives) {
        return Ok(());
    }
    let mut there: HashMap<Known, VecDeque<usize>> = HashMap::new();
    for (n, element) in old.iter().enumerate() {
        let same = there.entry(known_by(element, hidden)).or_default();
        same.push_back(n);
    }
    let mut pairs = Vec::new();
    let mut changed = Vec::new();
    for (n, element) in new.iter().enumerate() {
        let known = known_by(element, hidden);
        match there.get_mut(&known).and_then(VecDeque::pop_front) {
            Some(before) => pairs.push((n, before)),
            // One that has an id is a new one; one that gives what is hidden needs nothing.
            None if matches!(known, Known::Looks(_)) && !gives(element) => changed.push(n),
            None => {}
        }
    }
    let nameless = there
        .into_iter()
        .filter(|(known, _)| matches!(known, Known::Looks(_)));
    let mut left: Vec<usize> = nameless
        .flat_map(|(_, before)| before)
        .filter(|before| gives(&old[*before]))
        .collect();
    left.sort_unstable();
    let by_place = left.iter().all(|before| changed.contains(before));
    if left.is_empty() || changed.is_empty() {
        // They are gone, or were not there before.
    } else if by_place && (left.len() == changed.len() || new.len() >= old.len()) {
        pairs.extend(left.into_iter().map(|place| (place, place)));
    } else {
        return Err(Invalid::at(
            at,
            "its elements hold hidden fields, and it is unclear which of them are which: \
             give them an `id`, or patch them by their paths",
        ));
    }
    for (n, before) in pairs {
        keep(&mut new[n], &old[before], hidden, &join(at, &n.to_string()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn view(hidden: &[&str]) -> CollectionView {
        CollectionView {
            hidden: hidden.iter().map(|path| path.parse().unwrap()).collect(),
            named: BTreeMap::new(),
        }
    }

    fn map(changes: &Value) -> &Map<String, Value> {
        changes.as_object().unwrap()
    }

    #[test]
    fn hidden_fields_outlive_a_new_document() {
        let view = view(&["h", "o.h", "o.p.q", "l.s"]);
        let rich = json!({"n": 1, "h": {"x": 1}, "o": {"h": 2, "p": {"q": 3, "r": 4}, "v": 5}});
        for (current, new, kept) in [
            (
                rich.clone(),
                json!({}),
                json!({"h": {"x": 1}, "o": {"h": 2, "p": {"q": 3}}}),
            ),
            (
                rich.clone(),
                json!({"o": {"v": 6}}),
                json!({"h": {"x": 1}, "o": {"h": 2, "p": {"q": 3}, "v": 6}}),
            ),
            (
                rich.clone(),
                json!({"h": {"y": 9}, "o": {"h": null, "p": {"q": 7}}}),
                json!({"h": {"y": 9}, "o": {"h": null, "p": {"q": 7}}}),
            ),
            (json!({"o": 1}), json!({"o": {}}), json!({"o": {}})),
            (json!({"o": {"v": 1}}), json!({"o": 2}), json!({"o": 2})),
            // Elements by their ids, in whatever order.
            (
                json!({"l": [{"id": 1, "s": "a"}, {"id": 2, "s": "b"}]}),
                json!({"l": [{"id": 2, "n": 1}, {"id": 3}]}),
                json!({"l": [{"id": 2, "n": 1, "s": "b"}, {"id": 3}]}),
            ),
            // By what they look like.
            (
                json!({"l": [{"n": 1, "s": "a"}, {"n": 2, "s": "b"}]}),
                json!({"l": [{"n": 2}]}),
                json!({"l": [{"n": 2, "s": "b"}]}),
            ),
            (
                json!({"l": [{"n": 1, "s": "a"}, {"n": 1, "s": "b"}]}),
                json!({"l": [{"n": 1}, {"n": 1}]}),
                json!({"l": [{"n": 1, "s": "a"}, {"n": 1, "s": "b"}]}),
            ),
            // By their places.
            (
                json!({"l": [{"n": 1, "s": "a"}, {"n": 2, "s": "b"}]}),
                json!({"l": [{"n": 3}, {"n": 2}, {"n": 4}]}),
                json!({"l": [{"n": 3, "s": "a"}, {"n": 2, "s": "b"}, {"n": 4}]}),
            ),
            (
                json!({"l": [{"n": 1, "s": "a"}, {"n": 2, "s": "b"}, {"n": 3}]}),
                json!({"l": [{"n": 4}, {"n": 2}]}),
                json!({"l": [{"n": 4, "s": "a"}, {"n": 2, "s": "b"}]}),
            ),
            // They are given.
            (
                json!({"l": [{"n": 1, "s": "a"}, {"n": 2, "s": "b"}]}),
                json!({"l": [{"n": 4, "s": "c"}]}),
                json!({"l": [{"n": 4, "s": "c"}]}),
            ),
            // They are gone.
            (
                json!({"l": [{"s": "a"}]}),
                json!({"l": []}),
                json!({"l": []}),
            ),
            (json!({"l": [{"s": "a"}]}), json!({"l": 1}), json!({"l": 1})),
            (
                json!({"l": [[{"n": 1, "s": "a"}]]}),
                json!({"l": [[{"n": 1}]]}),
                json!({"l": [[{"n": 1, "s": "a"}]]}),
            ),
        ] {
            let mut document = new.clone();
            view.keep(&mut document, &current).unwrap();
            assert_eq!(document, kept, "{current} {new}");
        }
    }

    #[test]
    fn what_cannot_be_kept_is_refused() {
        let view = view(&["h", "o.h", "l.s"]);
        for (current, new, at) in [
            (json!({"o": {"h": 1}}), json!({"o": 1}), "o"),
            (json!({"o": {"h": 1}}), json!({"o": null}), "o"),
            (json!({"o": {"h": 1}}), json!({"o": [{}]}), "o"),
            (
                json!({"l": [{"n": 1, "s": "a"}, {"n": 2, "s": "b"}]}),
                json!({"l": [{"n": 3}]}),
                "l",
            ),
            (
                json!({"l": [{"n": 1, "s": "a"}, {"n": 2, "s": "b"}]}),
                json!({"l": [{"n": 2}, {"n": 3}, {"n": 4}]}),
                "l",
            ),
            // Whether the first one is gone or another nobody can tell.
            (
                json!({"l": [{"n": 1, "s": "a"}, {"n": 2, "s": "b"}]}),
                json!({"l": [{"n": 2}, {"n": 5}]}),
                "l",
            ),
        ] {
            let refused = view.keep(&mut new.clone(), &current).unwrap_err();
            assert_eq!(refused.path(), at, "{current} {new}");
        }
    }

    #[test]
    fn a_patch_gives_what_it_names() {
        let view = view(&["h", "o.h", "l.s"]);
        let current = json!({"h": 1, "o": {"h": 2, "v": 3}, "l": [{"n": 1, "s": "a"}]});
        for (changes, patched) in [
            (
                json!({"o": {"v": 4}}),
                json!({"h": 1, "o": {"h": 2, "v": 4}, "l": [{"n": 1, "s": "a"}]}),
            ),
            (
                json!({"$unset": ["o", "h"]}),
                json!({"o": {"h": 2}, "l": [{"n": 1, "s": "a"}]}),
            ),
            (
                json!({"$unset": ["o.h"], "l.0": {"n": 2}}),
                json!({"h": 1, "o": {"v": 3}, "l": [{"n": 2, "s": "a"}]}),
            ),
            (
                json!({"o": {"h": 5}, "$unset": ["l.0.s"]}),
                json!({"h": 1, "o": {"h": 5}, "l": [{"n": 1}]}),
            ),
        ] {
            let mut document = current.clone();
            crate::patch(&mut document, map(&changes)).unwrap();
            view.keep_beside(&mut document, &current, map(&changes))
                .unwrap();
            assert_eq!(document, patched, "{changes}");
        }
    }

    #[test]
    fn each_change_of_a_patch_keeps_by_itself() {
        let view = view(&["l.s"]);
        let current = json!({"l": [{"n": 1, "s": "a"}, {"n": 2, "s": "b"}]});
        for (changes, patched) in [
            (
                json!({"l.0.s": "c", "l.1": {"n": 3}}),
                json!({"l": [{"n": 1, "s": "c"}, {"n": 3, "s": "b"}]}),
            ),
            (
                json!({"l.0": {"n": 1, "s": "c"}, "l.1": {"n": 3}}),
                json!({"l": [{"n": 1, "s": "c"}, {"n": 3, "s": "b"}]}),
            ),
            (
                json!({"$unset": ["l.0.s"], "l.1": {"n": 3}}),
                json!({"l": [{"n": 1}, {"n": 3, "s": "b"}]}),
            ),
            // At its place, whatever another looks like.
            (
                json!({"l.0": {"n": 2}}),
                json!({"l": [{"n": 2, "s": "a"}, {"n": 2, "s": "b"}]}),
            ),
            (json!({"$unset": ["l"]}), json!({})),
        ] {
            let mut document = current.clone();
            crate::patch(&mut document, map(&changes)).unwrap();
            view.keep_beside(&mut document, &current, map(&changes))
                .unwrap();
            assert_eq!(document, patched, "{changes}");
        }
    }

    #[test]
    fn sealed_handles_name_no_hidden_field_in_writes() {
        let view = view(&["h", "o.h", "l.s", "_system.updater"]);
        for (document, allowed) in [
            (json!({"n": 1, "o": {"v": 1}, "l": [{"n": 1}]}), true),
            (json!({"_system": {"updater": "x"}}), true),
            (json!({"o.h": 1}), true),
            (json!({"h": null}), false),
            (json!({"o": {"h": 1}}), false),
            (json!({"o": [{"h": 1}]}), false),
            (json!({"l": [{"n": 1}, [{"s": 1}]]}), false),
        ] {
            assert_eq!(
                view.document_allowed(&document, true).is_ok(),
                allowed,
                "{document}"
            );
            assert!(view.document_allowed(&document, false).is_ok());
        }
        for (changes, allowed) in [
            (json!({"o.v": 1, "o": {"v": 2}, "n": 3}), false),
            (json!({"o": {"v": 2}, "$unset": ["l"]}), true),
            (json!({"h": 1}), false),
            (json!({"h.x": 1}), false),
            (json!({"o": {"h": 1}}), false),
            (json!({"l.0.s": 1}), false),
            (json!({"l.0": {"s": 1}}), false),
            (json!({"l.0": {"n": 1}}), true),
            (json!({"$unset": ["l.7.s.x"]}), false),
            (json!({"$unset": ["o.h"]}), false),
            (json!({"hh": 1}), true),
        ] {
            let asked = view.patch_allowed(map(&changes), true);
            assert_eq!(asked.is_ok(), allowed, "{changes}");
        }
        let Err(Refused::Forbidden(why)) = view.document_allowed(&json!({"o": {"h": 1}}), true)
        else {
            panic!("not refused");
        };
        assert!(why.contains("`o.h`"), "{why}");
    }

    #[test]
    fn values_are_shown_where_they_are_named() {
        let view = view(&["h", "o.h"]);
        let doc = json!({"h": {"x": 1}, "o": {"h": 2, "v": 3}});
        for (path, shown, sealed_too) in [
            ("o", json!({"o": {"v": 3}}), false),
            ("o.v", json!({"o": {"v": 3}}), true),
            ("h.x", doc.clone(), false),
            ("o.0.h", doc.clone(), false),
        ] {
            let path: Path = path.parse().unwrap();
            let open = view.values_of(&path, false).unwrap();
            assert_eq!(open.apply(&doc), shown, "{path}");
            assert_eq!(view.values_of(&path, true).is_ok(), sealed_too, "{path}");
        }
    }

    proptest! {
        #[test]
        fn who_writes_back_what_is_visible_changes_nothing(
            doc in crate::arbitrary::object(),
            hidden in prop::collection::vec("[a-c](\\.[a-c]){0,2}", 1..4),
        ) {
            let hidden: Vec<&str> = hidden.iter().map(String::as_str).collect();
            let view = view(&hidden);
            let current = crate::json::normalize(Value::Object(doc)).unwrap();
            let plain = view.resolve(&ReadShape::default(), true).unwrap();
            let mut written = plain.apply(&current);
            view.keep(&mut written, &current).unwrap();
            prop_assert_eq!(written, current);
        }
    }
}

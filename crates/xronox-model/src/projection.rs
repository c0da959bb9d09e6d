//! Which parts of a document a read returns.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Filter, Invalid, Path, lookup::index};

/// The name of the projection that a plain read applies, if it is configured.
pub const DEFAULT_PROJECTION: &str = "default";

/// What a projection takes before it leaves anything out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Include {
    /// Everything, `_id` and `_system` with it. Written `"*"`.
    All,
    /// These paths only.
    Paths(Vec<Path>),
}

/// A choice of parts of a document.
///
/// Written `"*"`, a list of paths, or `{"include": "*" | [paths], "exclude":
/// [paths]}` with either left out. `id` names `_id` (and the document's own `id`,
/// where it has one). A path goes through arrays of objects, where a number names
/// a property and not an index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct Projection {
    include: Include,
    exclude: Vec<Path>,
    /// Whether `"*"` was written, rather than nothing that would mean it.
    asks_for_all: bool,
    tree: Tree,
}

impl TryFrom<Value> for Projection {
    type Error = Invalid;

    fn try_from(projection: Value) -> Result<Self, Invalid> {
        Self::parse(&projection)
    }
}

impl From<Projection> for Value {
    /// As `{"include", "exclude"}`, without what was not asked for.
    fn from(projection: Projection) -> Self {
        // `id` was read as `_id` and then `id`.
        let alias = |(i, path): &(usize, &Path), paths: &[Path]| {
            let next = paths.get(i + 1).map(Path::segments);
            let (root, inner) = (path.root(), &path.segments()[1..]);
            root == "_id" && next.is_some_and(|next| next[0] == "id" && &next[1..] == inner)
        };
        let texts = |paths: &[Path]| {
            let written = paths.iter().enumerate().filter(|one| !alias(one, paths));
            written
                .map(|(_, path)| path.to_string())
                .collect::<Vec<_>>()
        };
        let mut object = Map::new();
        match &projection.include {
            Include::All if projection.asks_for_all => {
                object.insert("include".to_owned(), "*".into());
            }
            Include::All => {}
            Include::Paths(paths) => {
                object.insert("include".to_owned(), texts(paths).into());
            }
        }
        if !projection.exclude.is_empty() {
            object.insert("exclude".to_owned(), texts(&projection.exclude).into());
        }
        Value::Object(object)
    }
}

impl Projection {
    /// A projection of these parts. [`Include::All`] counts as asked for.
    pub fn new(include: Include, exclude: Vec<Path>) -> Self {
        let asks_for_all = include == Include::All;
        let mut tree = Tree::default();
        if let Include::Paths(paths) = &include {
            tree.mark_all(paths, |node| node.include = true);
        }
        tree.mark_all(&exclude, |node| node.exclude = true);
        Self {
            include,
            exclude,
            asks_for_all,
            tree,
        }
    }

    /// The projection that leaves a document as it is.
    pub fn everything() -> Self {
        Self::new(Include::All, Vec::new())
    }

    /// Reads a projection from JSON.
    ///
    /// # Errors
    ///
    /// [`Invalid`], naming the place by its path, for any other shape.
    pub fn parse(projection: &Value) -> Result<Self, Invalid> {
        match projection {
            Value::Object(object) => {
                if let Some(name) = object
                    .keys()
                    .find(|name| !matches!(name.as_str(), "include" | "exclude"))
                {
                    return Err(Invalid::at(
                        name,
                        "a projection has `include` and `exclude` only",
                    ));
                }
                let exclude = match object.get("exclude") {
                    None => Vec::new(),
                    Some(exclude) => paths(exclude, "exclude")?,
                };
                Ok(match object.get("include") {
                    None => Self {
                        asks_for_all: false,
                        ..Self::new(Include::All, exclude)
                    },
                    Some(include) => Self::new(parse_include(include, "include")?, exclude),
                })
            }
            include => Ok(Self::new(parse_include(include, "")?, Vec::new())),
        }
    }

    /// What it takes.
    pub fn include(&self) -> &Include {
        &self.include
    }

    /// What it leaves out of that.
    pub fn exclude(&self) -> &[Path] {
        &self.exclude
    }

    /// Whether it returns every document as it is.
    pub fn is_everything(&self) -> bool {
        let leaves_out = |node: &Node| (node.exclude || node.hide) && !node.show;
        self.include == Include::All && !self.tree.has(&leaves_out)
    }

    /// The parts of the document, which has `_id` and `_system` in it.
    ///
    /// An object on the way to an included path stays, even if it ends up empty;
    /// scalars on the way, also in arrays, do not.
    pub fn apply(&self, doc: &Value) -> Value {
        let everything = State {
            whole: self.include == Include::All,
            included: true,
        };
        match doc {
            Value::Object(fields) => Value::Object(everything.fields(&self.tree, fields)),
            other => other.clone(),
        }
    }

    /// Includes that name a hidden path or something inside one.
    fn names_inside<'p>(&'p self, hidden: &'p [Path]) -> impl Iterator<Item = &'p Path> {
        let included: &[Path] = match &self.include {
            Include::Paths(paths) => paths,
            Include::All => &[],
        };
        included
            .iter()
            .filter(|path| hidden.iter().any(|hidden| path.starts_with(hidden)))
    }

    /// Without the hidden paths, save those it names.
    fn hiding(mut self, hidden: &[Path]) -> Self {
        self.tree.mark_all(hidden, |node| node.hide = true);
        self
    }

    /// With the hidden paths, whatever else it says.
    fn showing(mut self, hidden: &[Path]) -> Self {
        self.tree.mark_all(hidden, |node| node.show = true);
        self
    }
}

fn parse_include(include: &Value, at: &str) -> Result<Include, Invalid> {
    match include {
        Value::String(star) if star == "*" => Ok(Include::All),
        Value::Array(_) => paths(include, at).map(Include::Paths),
        _ => Err(Invalid::at(at, "neither `\"*\"` nor a list of paths")),
    }
}

fn paths(list: &Value, at: &str) -> Result<Vec<Path>, Invalid> {
    let Value::Array(list) = list else {
        return Err(Invalid::at(at, "not a list of paths"));
    };
    let mut paths = Vec::with_capacity(list.len());
    for (i, path) in list.iter().enumerate() {
        let here = || {
            if at.is_empty() {
                i.to_string()
            } else {
                format!("{at}.{i}")
            }
        };
        let text = path
            .as_str()
            .ok_or_else(|| Invalid::at(here(), "a path is a string"))?;
        if text == "*" {
            return Err(Invalid::at(here(), "`*` stands alone, not in a list"));
        }
        let path: Path = text
            .parse()
            .map_err(|e: Invalid| Invalid::at(here(), e.message()))?;
        if let ["id", inner @ ..] = path
            .segments()
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .as_slice()
        {
            paths.push(Path::from_segments(
                std::iter::once("_id").chain(inner.iter().copied()),
            )?);
        }
        paths.push(path);
    }
    Ok(paths)
}

/// The paths of a projection, by segments.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Tree {
    children: BTreeMap<String, Node>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "a path may stand in each of four lists"
)]
struct Node {
    include: bool,
    exclude: bool,
    hide: bool,
    show: bool,
    below: Tree,
}

impl Tree {
    fn mark_all(&mut self, paths: &[Path], mark: impl Fn(&mut Node)) {
        for path in paths {
            let Some((last, parents)) = path.segments().split_last() else {
                continue;
            };
            let parent = parents.iter().fold(&mut *self, |tree, segment| {
                &mut tree.children.entry(segment.clone()).or_default().below
            });
            mark(parent.children.entry(last.clone()).or_default());
        }
    }

    fn has(&self, wanted: &impl Fn(&Node) -> bool) -> bool {
        self.children
            .values()
            .any(|node| wanted(node) || node.below.has(wanted))
    }
}

/// What is known on the way down.
#[derive(Debug, Clone, Copy)]
struct State {
    /// Whether what no path speaks of is taken.
    whole: bool,
    /// Whether includes still count, for nothing above is excluded.
    included: bool,
}

impl State {
    fn below(self, node: &Node) -> Self {
        let named = self.included && node.include;
        Self {
            whole: (named || (self.whole && !node.hide)) && !node.exclude,
            included: self.included && !node.exclude,
        }
    }

    fn fields(self, tree: &Tree, fields: &Map<String, Value>) -> Map<String, Value> {
        fields
            .iter()
            .filter_map(|(name, value)| {
                Some((name.clone(), self.field(tree.children.get(name), value)?))
            })
            .collect()
    }

    fn field(self, node: Option<&Node>, value: &Value) -> Option<Value> {
        let Some(node) = node else {
            return self.whole.then(|| value.clone());
        };
        if node.show {
            return Some(value.clone());
        }
        let state = self.below(node);
        let speaks_below = node.below.has(&|node: &Node| {
            node.show
                || (state.included && node.include)
                || (state.whole && (node.hide || node.exclude))
        });
        if speaks_below {
            state.value(&node.below, value)
        } else {
            state.whole.then(|| value.clone())
        }
    }

    fn value(self, tree: &Tree, value: &Value) -> Option<Value> {
        match value {
            Value::Object(fields) => Some(Value::Object(self.fields(tree, fields))),
            Value::Array(elements) => Some(
                elements
                    .iter()
                    .filter_map(|element| self.value(tree, element))
                    .collect(),
            ),
            scalar => self.whole.then(|| scalar.clone()),
        }
    }
}

/// How a read asks for parts of a document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadShape {
    /// Shows hidden fields.
    pub include_hidden: bool,
    /// The projection asked for.
    pub projection: Selection,
}

/// The projection that a read asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Selection {
    /// None: the collection's default applies.
    #[default]
    Plain,
    /// One of the collection's, by name.
    Named(String),
    /// One of the caller's own.
    Custom(Projection),
}

/// Why a read is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The request is wrong.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The request is in order, but the handle is sealed against hidden fields.
    #[error("{0}: this handle cannot see hidden fields")]
    Forbidden(String),
}

/// What a collection says about reading it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CollectionView {
    /// Paths that are left out unless asked for.
    pub hidden: Vec<Path>,
    /// Projections by name; [`DEFAULT_PROJECTION`] is that of a plain read.
    pub named: BTreeMap<String, Projection>,
}

impl CollectionView {
    /// What a read returns.
    ///
    /// | asked for | given |
    /// |---|---|
    /// | nothing | the default projection, or else everything; minus hidden fields |
    /// | `include_hidden` | the same, and hidden fields, even those that the default excludes or does not include |
    /// | a projection | what it includes minus what it excludes; a hidden field only if it or something inside it is included by path, or `"*"` is included and nothing excluded |
    /// | both | what the projection includes minus what it excludes, hidden or not |
    ///
    /// # Errors
    ///
    /// [`Refused::Invalid`] for an unknown name. [`Refused::Forbidden`] if the
    /// handle is sealed and hidden fields would be shown.
    pub fn resolve(&self, request: &ReadShape, sealed: bool) -> Result<Projection, Refused> {
        let chosen = match &request.projection {
            Selection::Plain => None,
            Selection::Custom(projection) => Some(projection),
            Selection::Named(name) => Some(
                self.named
                    .get(name)
                    .ok_or_else(|| Invalid::at("projection", self.unknown(name)))?,
            ),
        };
        let sealed = sealed && !self.hidden.is_empty();
        if sealed && request.include_hidden {
            return Err(Refused::Forbidden("includeHidden".into()));
        }
        let Some(projection) = chosen else {
            let plain = self
                .named
                .get(DEFAULT_PROJECTION)
                .cloned()
                .unwrap_or_else(Projection::everything);
            return Ok(if request.include_hidden {
                plain.showing(&self.hidden)
            } else {
                plain.hiding_all(&self.hidden)
            });
        };
        if request.include_hidden {
            return Ok(projection.clone());
        }
        let shows_all = projection.asks_for_all && projection.exclude.is_empty();
        if sealed {
            if shows_all {
                return Err(Refused::Forbidden("a projection of everything".into()));
            }
            if let Some(path) = projection.names_inside(&self.hidden).next() {
                return Err(Refused::Forbidden(format!("a projection of `{path}`")));
            }
        }
        Ok(if shows_all {
            projection.clone()
        } else {
            projection.clone().hiding(&self.hidden)
        })
    }

    /// Whether a handle may filter so.
    ///
    /// # Errors
    ///
    /// [`Refused::Forbidden`] if the handle is sealed and the filter reads a
    /// hidden field, its parts, or something that holds it.
    pub fn filter_allowed(&self, filter: &Filter, sealed: bool) -> Result<(), Refused> {
        self.paths_allowed(&filter.paths(), "a filter", sealed)
    }

    /// Whether a handle may sort by this path.
    ///
    /// # Errors
    ///
    /// [`Refused::Forbidden`] as for filters.
    pub fn sort_allowed(&self, path: &Path, sealed: bool) -> Result<(), Refused> {
        self.path_allowed(path, "a sort", sealed)
    }

    /// Whether a handle may use this path for what it says.
    ///
    /// # Errors
    ///
    /// [`Refused::Forbidden`] as for filters.
    pub fn path_allowed(&self, path: &Path, what: &str, sealed: bool) -> Result<(), Refused> {
        self.paths_allowed([path], what, sealed)
    }

    fn paths_allowed<'p>(
        &self,
        paths: impl IntoIterator<Item = &'p Path>,
        what: &str,
        sealed: bool,
    ) -> Result<(), Refused> {
        if !sealed {
            return Ok(());
        }
        for path in paths {
            let reads_hidden = |hidden: &Path| overlaps(path.segments(), hidden.segments());
            let reads_alias = |alias: &Path| {
                self.hidden
                    .iter()
                    .any(|hidden| overlaps(alias.segments(), hidden.segments()))
            };
            if self.hidden.iter().any(reads_hidden)
                || crate::alias_of(path).as_ref().is_some_and(reads_alias)
            {
                return Err(Refused::Forbidden(format!("{what} on `{path}`")));
            }
        }
        Ok(())
    }

    fn unknown(&self, name: &str) -> String {
        let known: BTreeSet<&str> = self.named.keys().map(String::as_str).collect();
        if known.is_empty() {
            format!("no projection is called `{name}`: the collection has none")
        } else {
            let known: Vec<_> = known.into_iter().map(|name| format!("`{name}`")).collect();
            format!(
                "no projection is called `{name}`; there are {}",
                known.join(", ")
            )
        }
    }
}

impl CollectionView {
    /// Everything but what is hidden.
    pub fn visible(&self) -> Projection {
        Projection::everything().hiding_all(&self.hidden)
    }
}

impl Projection {
    /// Without the hidden paths, even those that it names: a default is
    /// configuration, and asks for nothing.
    fn hiding_all(mut self, hidden: &[Path]) -> Self {
        self.tree.mark_all(hidden, |node| node.exclude = true);
        self
    }
}

/// Whether reading `path` in a filter reads anything of `hidden`.
///
/// A number in a filter's path may be an index, of which projections know nothing.
fn overlaps(path: &[String], hidden: &[String]) -> bool {
    match (path, hidden) {
        ([], _) | (_, []) => true,
        ([name, rest @ ..], [wanted, inner @ ..]) => {
            (name == wanted && overlaps(rest, inner))
                || (index(name).is_some() && overlaps(rest, hidden))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn projection(value: &Value) -> Projection {
        Projection::parse(value).unwrap_or_else(|e| panic!("{value}: {e}"))
    }

    #[test]
    fn what_is_written_reads_as_it_was() {
        for text in [
            json!({ "include": "*" }),
            json!({ "exclude": ["a"] }),
            json!({ "include": "*", "exclude": ["a.b"] }),
            json!({ "include": ["id", "a", "_id.x", "id.y"], "exclude": ["id"] }),
            json!({ "include": [] }),
        ] {
            let projection = Projection::parse(&text).unwrap();
            assert_eq!(Value::from(projection.clone()), text);
            assert_eq!(
                serde_json::from_value::<Projection>(text).unwrap(),
                projection
            );
        }
    }

    #[test]
    fn parts_are_taken_and_left_out() {
        let doc = json!({
            "_id": "x", "_system": {"ov": 1, "cv": 2}, "id": "own",
            "a": {"b": 1, "c": {"d": 2, "e": 3}},
            "l": [{"b": 1, "c": 2}, 5, [{"b": 3, "c": 4}], {"c": 5}],
            "s": "text",
        });
        for (shape, expected) in [
            (json!("*"), doc.clone()),
            (json!({}), doc.clone()),
            (json!({"include": "*", "exclude": []}), doc.clone()),
            (json!([]), json!({})),
            (json!(["s"]), json!({"s": "text"})),
            (json!(["missing", "s.x"]), json!({})),
            (json!(["id"]), json!({"_id": "x", "id": "own"})),
            (
                json!(["_id", "_system.ov"]),
                json!({"_id": "x", "_system": {"ov": 1}}),
            ),
            (json!(["a.b"]), json!({"a": {"b": 1}})),
            (
                json!(["a.c.d", "a.b"]),
                json!({"a": {"b": 1, "c": {"d": 2}}}),
            ),
            (json!(["a.x"]), json!({"a": {}})),
            (
                json!(["a", "a.b"]),
                json!({"a": {"b": 1, "c": {"d": 2, "e": 3}}}),
            ),
            (json!(["l.b"]), json!({"l": [{"b": 1}, [{"b": 3}], {}]})),
            (
                json!({"include": ["l"], "exclude": ["l.b"]}),
                json!({"l": [{"c": 2}, 5, [{"c": 4}], {"c": 5}]}),
            ),
            (
                json!({"include": ["a"], "exclude": ["a.c"]}),
                json!({"a": {"b": 1}}),
            ),
            (
                json!({"include": ["a.c.d"], "exclude": ["a.c"]}),
                json!({"a": {}}),
            ),
            (
                json!({"exclude": ["a", "l", "id", "_system"]}),
                json!({"s": "text"}),
            ),
            (
                json!({"include": "*", "exclude": ["a.c.d", "l", "_id", "_system", "s"]}),
                json!({"id": "own", "a": {"b": 1, "c": {"e": 3}}}),
            ),
            (json!(["l.0.b"]), json!({"l": [{}, [{}], {}]})),
        ] {
            assert_eq!(projection(&shape).apply(&doc), expected, "{shape}");
        }
        assert!(projection(&json!("*")).is_everything());
        assert!(!projection(&json!(["a"])).is_everything());
        assert!(!projection(&json!([])).is_everything());
    }

    #[test]
    fn other_shapes_are_refused() {
        for (shape, path) in [
            (json!("a"), ""),
            (json!(1), ""),
            (json!(null), ""),
            (json!([1]), "0"),
            (json!(["a", "b."]), "1"),
            (json!(["*"]), "0"),
            (json!({"include": "a"}), "include"),
            (json!({"include": ["a", null]}), "include.1"),
            (json!({"exclude": "*"}), "exclude"),
            (json!({"exclude": [""]}), "exclude.0"),
            (json!({"includes": ["a"]}), "includes"),
        ] {
            assert_eq!(
                Projection::parse(&shape).unwrap_err().path(),
                path,
                "{shape}"
            );
        }
    }

    fn view(default: Option<Value>) -> CollectionView {
        let mut named = BTreeMap::from([
            (
                "minimal".to_owned(),
                projection(&json!({"include": ["id", "n"], "exclude": []})),
            ),
            (
                "full".to_owned(),
                projection(&json!({"include": "*", "exclude": []})),
            ),
            ("bare".to_owned(), projection(&json!({"include": "*"}))),
            ("rest".to_owned(), projection(&json!({"exclude": ["n"]}))),
        ]);
        if let Some(default) = default {
            named.insert(DEFAULT_PROJECTION.to_owned(), projection(&default));
        }
        CollectionView {
            hidden: vec!["h".parse().unwrap(), "o.h".parse().unwrap()],
            named,
        }
    }

    fn request(include_hidden: bool, shape: Value) -> ReadShape {
        ReadShape {
            include_hidden,
            projection: match shape {
                Value::Null => Selection::Plain,
                Value::String(name) if name != "*" => Selection::Named(name),
                shape => Selection::Custom(projection(&shape)),
            },
        }
    }

    #[test]
    fn hidden_fields_follow_the_table() {
        let doc = json!({"_id": 1, "n": 2, "h": {"x": 3, "y": 4}, "o": {"h": 5, "v": 6}, "m": 7});
        let visible = json!({"_id": 1, "n": 2, "o": {"v": 6}, "m": 7});
        // default, includeHidden, projection, what a handle sees, whether a sealed one does
        for (default, shown, shape, expected, sealed_too) in [
            (json!(null), false, json!(null), visible.clone(), true),
            (json!(null), true, json!(null), doc.clone(), false),
            (
                json!({"include": "*", "exclude": ["h"]}),
                false,
                json!(null),
                visible.clone(),
                true,
            ),
            (
                json!({"include": "*", "exclude": ["h"]}),
                true,
                json!(null),
                doc.clone(),
                false,
            ),
            (
                json!({"include": "*", "exclude": ["h", "m"]}),
                true,
                json!(null),
                json!({"_id": 1, "n": 2, "h": {"x": 3, "y": 4}, "o": {"h": 5, "v": 6}}),
                false,
            ),
            (
                json!({"include": "*", "exclude": ["o"]}),
                true,
                json!(null),
                json!({"_id": 1, "n": 2, "h": {"x": 3, "y": 4}, "o": {"h": 5}, "m": 7}),
                false,
            ),
            (
                json!({"include": ["n", "h"]}),
                false,
                json!(null),
                json!({"n": 2}),
                true,
            ),
            (
                json!({"include": ["n"]}),
                true,
                json!(null),
                json!({"n": 2, "h": {"x": 3, "y": 4}, "o": {"h": 5}}),
                false,
            ),
            (
                json!({"include": "*", "exclude": []}),
                false,
                json!(null),
                visible.clone(),
                true,
            ),
            (
                json!(null),
                false,
                json!("minimal"),
                json!({"_id": 1, "n": 2}),
                true,
            ),
            (
                json!(null),
                true,
                json!("minimal"),
                json!({"_id": 1, "n": 2}),
                false,
            ),
            (json!(null), false, json!("full"), doc.clone(), false),
            (json!(null), false, json!("bare"), doc.clone(), false),
            (json!(null), false, json!("*"), doc.clone(), false),
            (
                json!(null),
                false,
                json!("rest"),
                json!({"_id": 1, "o": {"v": 6}, "m": 7}),
                true,
            ),
            (
                json!(null),
                true,
                json!("rest"),
                json!({"_id": 1, "h": {"x": 3, "y": 4}, "o": {"h": 5, "v": 6}, "m": 7}),
                false,
            ),
            (
                json!(null),
                false,
                json!({"include": "*", "exclude": ["m"]}),
                json!({"_id": 1, "n": 2, "o": {"v": 6}}),
                true,
            ),
            (
                json!(null),
                false,
                json!({"exclude": []}),
                visible.clone(),
                true,
            ),
            (
                json!(null),
                false,
                json!(["n", "h"]),
                json!({"n": 2, "h": {"x": 3, "y": 4}}),
                false,
            ),
            (
                json!(null),
                false,
                json!({"include": ["h"], "exclude": ["h.x"]}),
                json!({"h": {"y": 4}}),
                false,
            ),
            (
                json!(null),
                false,
                json!(["h.x"]),
                json!({"h": {"x": 3}}),
                false,
            ),
            (
                json!(null),
                false,
                json!(["o"]),
                json!({"o": {"v": 6}}),
                true,
            ),
            (
                json!(null),
                true,
                json!(["o"]),
                json!({"o": {"h": 5, "v": 6}}),
                false,
            ),
            (
                json!(null),
                false,
                json!(["o", "o.h"]),
                json!({"o": {"h": 5, "v": 6}}),
                false,
            ),
        ] {
            let view = view((!default.is_null()).then(|| default.clone()));
            let request = request(shown, shape.clone());
            let open = view.resolve(&request, false).unwrap();
            assert_eq!(
                open.apply(&doc),
                expected,
                "default {default}, {shown}, {shape}"
            );
            let sealed = view.resolve(&request, true);
            assert_eq!(open.is_everything(), expected == doc, "{shape}");
            if sealed_too {
                assert_eq!(
                    sealed.unwrap().apply(&doc),
                    expected,
                    "default {default}, {shown}, {shape}"
                );
            } else {
                assert!(
                    matches!(sealed, Err(Refused::Forbidden(_))),
                    "default {default}, {shown}, {shape}"
                );
            }
        }
    }

    #[test]
    fn an_unknown_projection_is_an_error() {
        let asked = request(false, json!("nope"));
        for sealed in [false, true] {
            let Err(Refused::Invalid(invalid)) = view(None).resolve(&asked, sealed) else {
                panic!("not refused");
            };
            assert!(invalid.message().contains("`minimal`"), "{invalid}");
        }
        // `default` is there only if it is configured.
        assert!(
            view(None)
                .resolve(&request(false, json!("default")), false)
                .is_err()
        );
    }

    #[test]
    fn a_handle_without_hidden_fields_is_never_refused() {
        let view = CollectionView::default();
        for (shown, shape) in [
            (true, json!(null)),
            (false, json!("*")),
            (true, json!(["a"])),
        ] {
            assert!(view.resolve(&request(shown, shape), true).is_ok());
        }
    }

    #[test]
    fn sealed_handles_neither_filter_nor_sort_on_hidden_fields() {
        let mut view = view(None);
        view.hidden.push("_system.insertedAt".parse().unwrap());
        for (filter, allowed) in [
            (json!({"n": 1}), true),
            (json!({"h": 1}), false),
            (json!({"h.x": 1}), false),
            (json!({"hh": 1}), true),
            (json!({"o": {"v": 1}}), false),
            (json!({"o.v": 1}), true),
            (json!({"o.h": 1}), false),
            (json!({"o.0.h": 1}), false),
            (json!({"o.1.2.h.x": 1}), false),
            (json!({"o.0.v": 1}), true),
            (json!({"o": {"$elemMatch": {"h": 1}}}), false),
            (json!({"o": {"$elemMatch": {"v": 1}}}), true),
            (
                json!({"$or": [{"n": 1}, {"$nor": [{"h": {"$exists": true}}]}]}),
                false,
            ),
            (json!({"insertedAt": {"$gt": "2024"}}), false),
            (json!({"updatedAt": {"$gt": "2024"}}), true),
        ] {
            let parsed = Filter::parse(&filter).unwrap();
            assert_eq!(
                view.filter_allowed(&parsed, true).is_ok(),
                allowed,
                "{filter}"
            );
            assert!(view.filter_allowed(&parsed, false).is_ok());
        }
        assert!(view.sort_allowed(&"h.x".parse().unwrap(), true).is_err());
        assert!(view.sort_allowed(&"n".parse().unwrap(), true).is_ok());
    }

    proptest! {
        #[test]
        fn no_json_breaks_the_parser(shape in crate::arbitrary::unnormalized_json(), doc in crate::arbitrary::json()) {
            if let Ok(projection) = Projection::parse(&shape) {
                projection.apply(&doc);
            }
        }

        #[test]
        fn a_plain_read_never_shows_a_hidden_field(
            doc in crate::arbitrary::object(),
            hidden in prop::collection::vec("[a-c](\\.[a-c]){0,2}", 1..3),
            include in prop::collection::vec("[a-c](\\.[a-c]){0,2}", 0..3),
        ) {
            let hidden: Vec<Path> = hidden.iter().map(|path| path.parse().unwrap()).collect();
            let include = include.iter().map(|path| path.parse().unwrap()).collect();
            let view = CollectionView {
                hidden: hidden.clone(),
                named: BTreeMap::from([(DEFAULT_PROJECTION.to_owned(), Projection::new(Include::Paths(include), Vec::new()))]),
            };
            let shown = view.resolve(&ReadShape::default(), true).unwrap().apply(&Value::Object(doc));
            let only = Projection::new(Include::Paths(hidden), Vec::new());
            fn is_bare(value: &Value) -> bool {
                match value {
                    Value::Object(fields) => fields.values().all(is_bare),
                    Value::Array(elements) => elements.iter().all(is_bare),
                    _ => false,
                }
            }
            prop_assert!(is_bare(&only.apply(&shown)));
        }
    }
}

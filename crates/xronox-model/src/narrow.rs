//! What a filter says about ordered keys.
//!
//! A backend cannot run a filter, but it can look up keys. [`Narrow`] says which
//! keys a matching document must have; the filter then decides on each of the
//! documents that have them.

use std::{cmp::Ordering, ops::Bound};

use serde_json::Value;

use crate::{
    OrderedKey, Path,
    filter::{Clause, Comparison, Filter, Test, Type},
    key::keys_at,
    lookup::{Lookup, alias_of, index},
    order::Class,
};

/// A constraint has at most this many ranges; more are replaced by one that
/// spans them.
pub const MAX_RANGES: usize = 1000;

/// A range of ordered keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    /// Where the range begins.
    pub lower: Bound<OrderedKey>,
    /// Where it ends.
    pub upper: Bound<OrderedKey>,
}

impl KeyRange {
    /// The range of one key.
    pub fn point(key: OrderedKey) -> Self {
        Self {
            lower: Bound::Included(key.clone()),
            upper: Bound::Included(key),
        }
    }

    /// Whether the key lies in the range.
    pub fn contains(&self, key: &OrderedKey) -> bool {
        std::ops::RangeBounds::contains(&(self.lower.as_ref(), self.upper.as_ref()), key)
    }

    /// The one key of the range, if it is the range of one key.
    pub fn as_point(&self) -> Option<&OrderedKey> {
        match (&self.lower, &self.upper) {
            (Bound::Included(lower), Bound::Included(upper)) if lower == upper => Some(lower),
            _ => None,
        }
    }

    fn between(lower: Bound<OrderedKey>, upper: Bound<OrderedKey>) -> Self {
        Self { lower, upper }
    }

    fn of_class(class: Class) -> Self {
        if class == Class::Null {
            return Self::point(OrderedKey::missing());
        }
        Self::between(
            Bound::Included(OrderedKey::lowest(class)),
            Bound::Excluded(OrderedKey::beyond(class)),
        )
    }

    fn is_empty(&self) -> bool {
        match (&self.lower, &self.upper) {
            (Bound::Included(lower), Bound::Included(upper)) => lower > upper,
            (
                Bound::Included(lower) | Bound::Excluded(lower),
                Bound::Included(upper) | Bound::Excluded(upper),
            ) => lower >= upper,
            _ => false,
        }
    }

    fn intersection(&self, other: &Self) -> Self {
        Self::between(
            if compare_lower(&self.lower, &other.lower).is_ge() {
                self.lower.clone()
            } else {
                other.lower.clone()
            },
            if compare_upper(&self.upper, &other.upper).is_le() {
                self.upper.clone()
            } else {
                other.upper.clone()
            },
        )
    }

    fn rank(&self) -> Rank {
        if let Some(point) = self.as_point() {
            return if *point == OrderedKey::missing() {
                Rank::Exists
            } else {
                Rank::Equality
            };
        }
        let classes = [
            Class::Null,
            Class::Number,
            Class::String,
            Class::Object,
            Class::Array,
            Class::Bool,
        ];
        let opens = match &self.lower {
            Bound::Unbounded => true,
            Bound::Included(key) => classes
                .iter()
                .any(|class| *key == OrderedKey::lowest(*class)),
            Bound::Excluded(_) => false,
        };
        let closes = match &self.upper {
            Bound::Unbounded => true,
            Bound::Excluded(key) => classes
                .iter()
                .any(|class| *key == OrderedKey::beyond(*class)),
            Bound::Included(_) => false,
        };
        match (opens, closes) {
            (false, false) => Rank::Bounded,
            (true, true) => Rank::Exists,
            _ => Rank::HalfOpen,
        }
    }
}

fn compare_lower(a: &Bound<OrderedKey>, b: &Bound<OrderedKey>) -> Ordering {
    match (a, b) {
        (Bound::Unbounded, Bound::Unbounded) => Ordering::Equal,
        (Bound::Unbounded, _) => Ordering::Less,
        (_, Bound::Unbounded) => Ordering::Greater,
        (Bound::Included(a), Bound::Included(b)) | (Bound::Excluded(a), Bound::Excluded(b)) => {
            a.cmp(b)
        }
        (Bound::Included(a), Bound::Excluded(b)) => a.cmp(b).then(Ordering::Less),
        (Bound::Excluded(a), Bound::Included(b)) => a.cmp(b).then(Ordering::Greater),
    }
}

fn compare_upper(a: &Bound<OrderedKey>, b: &Bound<OrderedKey>) -> Ordering {
    match (a, b) {
        (Bound::Unbounded, Bound::Unbounded) => Ordering::Equal,
        (Bound::Unbounded, _) => Ordering::Greater,
        (_, Bound::Unbounded) => Ordering::Less,
        (Bound::Included(a), Bound::Included(b)) | (Bound::Excluded(a), Bound::Excluded(b)) => {
            a.cmp(b)
        }
        (Bound::Included(a), Bound::Excluded(b)) => a.cmp(b).then(Ordering::Greater),
        (Bound::Excluded(a), Bound::Included(b)) => a.cmp(b).then(Ordering::Less),
    }
}

/// Whether a range that begins at `lower` leaves a gap behind one that ends at `upper`.
fn is_apart(upper: &Bound<OrderedKey>, lower: &Bound<OrderedKey>) -> bool {
    match (upper, lower) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Excluded(upper), Bound::Excluded(lower)) => upper <= lower,
        (
            Bound::Included(upper) | Bound::Excluded(upper),
            Bound::Included(lower) | Bound::Excluded(lower),
        ) => upper < lower,
    }
}

/// The same keys as sorted ranges that do not touch.
fn merged(mut ranges: Vec<KeyRange>) -> Vec<KeyRange> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_by(|a, b| compare_lower(&a.lower, &b.lower));
    let mut out: Vec<KeyRange> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match out.last_mut() {
            Some(last) if !is_apart(&last.upper, &range.lower) => {
                if compare_upper(&range.upper, &last.upper).is_gt() {
                    last.upper = range.upper;
                }
            }
            _ => out.push(range),
        }
    }
    if out.len() > MAX_RANGES
        && let (Some(first), Some(last)) = (out.first(), out.last())
    {
        return vec![KeyRange::between(first.lower.clone(), last.upper.clone())];
    }
    out
}

fn intersection(a: &[KeyRange], b: &[KeyRange]) -> Vec<KeyRange> {
    let mut out = Vec::new();
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    while let (Some(left), Some(right)) = (a.peek(), b.peek()) {
        out.push(left.intersection(right));
        if compare_upper(&left.upper, &right.upper).is_lt() {
            a.next();
        } else {
            b.next();
        }
    }
    merged(out)
}

/// How few documents a constraint can be expected to leave; the first is best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rank {
    /// One key, or none at all.
    Equality,
    /// Several keys.
    In,
    /// A range with two ends.
    Bounded,
    /// A range with one end.
    HalfOpen,
    /// A whole type, or whatever lacks the field.
    Exists,
}

/// Keys of one path of which a matching document has at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint {
    path: Path,
    ranges: Vec<KeyRange>,
}

impl Constraint {
    fn new(path: Path, mut ranges: Vec<KeyRange>) -> Self {
        // Stands for keys that are not kept, among them perhaps one of these.
        ranges.push(KeyRange::point(OrderedKey::overflow()));
        Self {
            path,
            ranges: merged(ranges),
        }
    }

    /// The path whose [keys](keys_at) are meant.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The ranges, sorted and apart from one another. The first is, or begins
    /// with, the point of [`OrderedKey::overflow`], unless the constraint was
    /// [tightened](Narrow::tighten).
    pub fn ranges(&self) -> &[KeyRange] {
        &self.ranges
    }

    /// Whether one of these keys lies in one of the ranges.
    pub fn admits(&self, keys: &[OrderedKey]) -> bool {
        keys.iter()
            .any(|key| self.ranges.iter().any(|range| range.contains(key)))
    }

    /// How selective the constraint looks, for planners.
    pub fn rank(&self) -> Rank {
        let mut rank = Rank::Equality;
        let mut points = 0;
        for range in &self.ranges {
            if range.as_point() == Some(&OrderedKey::overflow()) {
                continue;
            }
            points += 1;
            rank = rank.max(range.rank());
        }
        if rank == Rank::Equality && points > 1 {
            Rank::In
        } else {
            rank
        }
    }

    fn has_missing(&self) -> bool {
        self.admits(&[OrderedKey::missing()])
    }
}

/// A condition on keys that every document matching a filter meets.
///
/// It may admit others: it only narrows. All of it must hold, and any part may
/// be left out. The same path may occur more than once, since different elements
/// of an array may meet different constraints.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Narrow {
    /// The document's `_id` is one of these; sorted.
    pub ids: Option<Vec<String>>,
    /// The document has a key in the ranges of each of these.
    pub constraints: Vec<Constraint>,
}

impl Narrow {
    /// What a filter says about ids and keys.
    ///
    /// Constraints on paths that never hold an array (`_id` and the fields of
    /// `_system` other than `functionIds`) are already [tightened](Self::tighten).
    pub fn of(filter: &Filter) -> Self {
        of_clauses(&filter.clauses, true).tighten(is_never_array)
    }

    /// What a filter says about the keys of a document that holds all of
    /// itself, as those of plain collections do: `_id` is a path like any
    /// other, and bare times are constrained too.
    pub fn of_plain(filter: &Filter) -> Self {
        of_clauses(&filter.clauses, false).tighten(|path| path.segments() == ["_id"])
    }

    /// Whether nothing is narrowed.
    pub fn is_unconstrained(&self) -> bool {
        self.ids.is_none() && self.constraints.is_empty()
    }

    /// The most selective constraint on a path that `indexed` accepts.
    pub fn best(&self, indexed: impl Fn(&Path) -> bool) -> Option<&Constraint> {
        self.constraints
            .iter()
            .filter(|constraint| indexed(&constraint.path))
            .min_by_key(|constraint| constraint.rank())
    }

    /// Makes one constraint of all those on a path that `is_scalar` vouches for,
    /// and leaves the point of [`OrderedKey::overflow`] out of it, unless nothing
    /// else is left: whoever looks there is told whether an array was met since.
    ///
    /// That is sound only for a path that meets an array in no document of the
    /// collection ([`FieldKeys::is_multi`](crate::FieldKeys::is_multi) says so for
    /// one): a single key must then meet all constraints, and there is never
    /// more than one.
    pub fn tighten(self, is_scalar: impl Fn(&Path) -> bool) -> Self {
        let mut constraints: Vec<Constraint> = Vec::with_capacity(self.constraints.len());
        for constraint in self.constraints {
            let same = constraints
                .iter_mut()
                .find(|other| other.path == constraint.path);
            match same {
                Some(other) if is_scalar(&constraint.path) => {
                    other.ranges = intersection(&other.ranges, &constraint.ranges);
                }
                _ => constraints.push(constraint),
            }
        }
        let overflow = OrderedKey::overflow();
        for constraint in &mut constraints {
            let ranges = &mut constraint.ranges;
            if ranges.len() > 1 && is_scalar(&constraint.path) {
                ranges.retain(|range| range.as_point() != Some(&overflow));
            }
        }
        Self {
            ids: self.ids,
            constraints,
        }
    }

    /// Whether the document meets the condition.
    pub fn admits<L: Lookup + ?Sized>(&self, doc: &L) -> bool {
        let id_fits = match (&self.ids, doc.root("_id")) {
            (Some(ids), Some(Value::String(id))) => ids.binary_search(id).is_ok(),
            _ => true,
        };
        id_fits
            && self
                .constraints
                .iter()
                .all(|constraint| constraint.admits(keys_at(doc, &constraint.path).keys()))
    }

    fn require_ids(&mut self, mut ids: Vec<String>) {
        ids.sort();
        ids.dedup();
        if let Some(others) = &self.ids {
            ids.retain(|id| others.binary_search(id).is_ok());
        }
        self.ids = Some(ids);
    }
}

/// Of what the engine itself writes, only `functionIds` is an array.
fn is_never_array(path: &Path) -> bool {
    match path.segments() {
        [id] => id == "_id",
        [system, field] => {
            system == "_system"
                && matches!(
                    field.as_str(),
                    "ov" | "cv"
                        | "insertedAt"
                        | "updatedAt"
                        | "deletedAt"
                        | "deleted"
                        | "parentId"
                        | "parentCollection"
                        | "originId"
                        | "originCollection"
                )
        }
        _ => false,
    }
}

fn of_clauses(clauses: &[Clause], at_top: bool) -> Narrow {
    let mut narrow = Narrow::default();
    for clause in clauses {
        add_clause(clause, at_top, &mut narrow);
    }
    narrow
}

fn add_clause(clause: &Clause, at_top: bool, narrow: &mut Narrow) {
    match clause {
        Clause::And(clauses) => {
            for clause in clauses {
                add_clause(clause, at_top, narrow);
            }
        }
        Clause::Or(branches) => {
            let branches: Vec<Narrow> = branches
                .iter()
                .map(|branch| of_clauses(std::slice::from_ref(branch), at_top))
                .collect();
            add_either(&branches, narrow);
        }
        Clause::Nor(_) => {}
        Clause::Field { path, test, .. } => {
            if at_top
                && path.segments() == ["_id"]
                && let Some(ids) = ids_of(test)
            {
                narrow.require_ids(ids);
                return;
            }
            // The value may come from `_system`, whose keys are kept elsewhere.
            if at_top && alias_of(path).is_some() {
                return;
            }
            add_test(path, test, &mut narrow.constraints);
        }
    }
}

/// What holds if one of the branches does.
fn add_either(branches: &[Narrow], narrow: &mut Narrow) {
    let Some((first, others)) = branches.split_first() else {
        return;
    };
    if let Some(ids) = branches
        .iter()
        .map(|branch| branch.ids.clone())
        .collect::<Option<Vec<_>>>()
    {
        narrow.require_ids(ids.concat());
    }
    let mut seen: Vec<&Path> = Vec::new();
    for path in first.constraints.iter().map(Constraint::path) {
        if seen.contains(&path) {
            continue;
        }
        seen.push(path);
        let on_path = |branch: &Narrow| {
            branch
                .best(|other| other == path)
                .map(|best| best.ranges.clone())
        };
        let ranges: Option<Vec<_>> = std::iter::once(first).chain(others).map(on_path).collect();
        if let Some(ranges) = ranges {
            narrow
                .constraints
                .push(Constraint::new(path.clone(), ranges.concat()));
        }
    }
}

fn ids_of(test: &Test) -> Option<Vec<String>> {
    match test {
        Test::Compare(Comparison::Equal, Value::String(id)) => Some(vec![id.clone()]),
        Test::In(ids) => ids
            .iter()
            .map(|id| id.as_str().map(str::to_owned))
            .collect(),
        _ => None,
    }
}

fn add_test(path: &Path, test: &Test, out: &mut Vec<Constraint>) {
    match test {
        // An exact key of a value that exists may be that of null, which is also
        // that of nothing.
        Test::Exists(true) | Test::Not(_) => {}
        Test::Exists(false) => out.push(Constraint::new(
            path.clone(),
            vec![KeyRange::of_class(Class::Null)],
        )),
        Test::All(tests) if tests.is_empty() => out.push(Constraint::new(path.clone(), Vec::new())),
        Test::All(tests) => {
            for test in tests {
                add_test(path, test, out);
            }
        }
        Test::ElementDocument(clauses) => {
            out.push(array_at(path));
            for inner in of_clauses(clauses, false).constraints {
                // An array inside the array is read as a document too. It has
                // properties only by number, and paths do not enter it.
                if inner.has_missing() || index(inner.path.root()).is_some() {
                    continue;
                }
                let full = path
                    .segments()
                    .iter()
                    .chain(inner.path.segments())
                    .map(String::as_str);
                if let Ok(full) = Path::from_segments(full) {
                    out.push(Constraint::new(full, inner.ranges));
                }
            }
        }
        Test::ElementValue(tests) => {
            // One element passes all tests, so here ranges do intersect.
            let together = tests
                .iter()
                .filter_map(ranges_of)
                .reduce(|a, b| intersection(&a, &b));
            match together {
                Some(ranges) => out.push(Constraint::new(path.clone(), ranges)),
                None => out.push(array_at(path)),
            }
        }
        test => {
            if let Some(ranges) = ranges_of(test) {
                out.push(Constraint::new(path.clone(), ranges));
            }
        }
    }
}

fn array_at(path: &Path) -> Constraint {
    Constraint::new(path.clone(), vec![KeyRange::of_class(Class::Array)])
}

/// The keys of the values that pass the test, where keys can tell.
fn ranges_of(test: &Test) -> Option<Vec<KeyRange>> {
    let ranges = match test {
        Test::Compare(comparison, operand) => compared(*comparison, operand),
        Test::In(operands) => operands
            .iter()
            .map(|operand| KeyRange::point(OrderedKey::of(operand)))
            .collect(),
        Test::Regex(pattern) => vec![match pattern.prefix() {
            Some(prefix) => {
                let (from, beyond) = OrderedKey::of_prefix(prefix);
                KeyRange::between(Bound::Included(from), Bound::Excluded(beyond))
            }
            None => KeyRange::of_class(Class::String),
        }],
        Test::Type(types) => types
            .iter()
            .map(|kind| KeyRange::of_class(class_of(*kind)))
            .collect(),
        Test::Size(_) => vec![KeyRange::of_class(Class::Array)],
        Test::All(_)
        | Test::Exists(_)
        | Test::Not(_)
        | Test::ElementDocument(_)
        | Test::ElementValue(_) => return None,
    };
    Some(merged(ranges))
}

fn class_of(kind: Type) -> Class {
    match kind {
        Type::Double | Type::Int | Type::Long => Class::Number,
        Type::String => Class::String,
        Type::Object => Class::Object,
        Type::Array => Class::Array,
        Type::Bool => Class::Bool,
        Type::Null => Class::Null,
    }
}

fn compared(comparison: Comparison, operand: &Value) -> Vec<KeyRange> {
    let class = Class::of(operand);
    let key = OrderedKey::of(operand);
    // Nothing of its type is greater or less than null.
    if class == Class::Null {
        return match comparison {
            Comparison::Greater | Comparison::Less => Vec::new(),
            _ => vec![KeyRange::point(key)],
        };
    }
    let at = Bound::Included(key.clone());
    // Greater and less values may share a key that was cut.
    let past = if key.is_cut() {
        Bound::Included(key.clone())
    } else {
        Bound::Excluded(key.clone())
    };
    let lowest = Bound::Included(OrderedKey::lowest(class));
    let beyond = Bound::Excluded(OrderedKey::beyond(class));
    vec![match comparison {
        Comparison::Equal => KeyRange::point(key),
        Comparison::Greater => KeyRange::between(past, beyond),
        Comparison::GreaterOrEqual => KeyRange::between(at, beyond),
        Comparison::Less => KeyRange::between(lowest, past),
        Comparison::LessOrEqual => KeyRange::between(lowest, at),
    }]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::arbitrary;

    fn narrow(filter: &Value) -> Narrow {
        Narrow::of(&Filter::parse(filter).unwrap_or_else(|e| panic!("{filter}: {e}")))
    }

    fn ranks(filter: &Value) -> Vec<(String, Rank)> {
        narrow(filter)
            .constraints
            .iter()
            .map(|constraint| (constraint.path.to_string(), constraint.rank()))
            .collect()
    }

    #[test]
    fn filters_give_these_constraints() {
        use Rank::{Bounded, Equality, Exists, HalfOpen, In};
        for (filter, expected) in [
            (json!({}), vec![]),
            (json!({"a": 1}), vec![("a", Equality)]),
            (json!({"a": false}), vec![("a", Equality)]),
            (json!({"a": null}), vec![("a", Exists)]),
            (json!({"a": {"$in": [1, 2]}}), vec![("a", In)]),
            (json!({"a": {"$in": [1]}}), vec![("a", Equality)]),
            (json!({"a": {"$in": [1, null]}}), vec![("a", Exists)]),
            (json!({"a": {"$gt": 0}}), vec![("a", HalfOpen)]),
            (json!({"a": {"$lt": 0}}), vec![("a", HalfOpen)]),
            (json!({"a": {"$gt": ""}}), vec![("a", HalfOpen)]),
            (
                json!({"a": {"$gt": 1, "$lt": 5}}),
                vec![("a", HalfOpen), ("a", HalfOpen)],
            ),
            (
                json!({"_system.cv": {"$gt": 1, "$lt": 5}}),
                vec![("_system.cv", Bounded)],
            ),
            (
                json!({"a": {"$elemMatch": {"$gt": 1, "$lt": 5}}}),
                vec![("a", Bounded)],
            ),
            (
                json!({"a": {"$elemMatch": {"$ne": 1}}}),
                vec![("a", Exists)],
            ),
            (
                json!({"a": {"$elemMatch": {"b": 1, "c": null}}}),
                vec![("a", Exists), ("a.b", Equality)],
            ),
            (json!({"a": {"$elemMatch": {"0": 1}}}), vec![("a", Exists)]),
            (json!({"a": {"$regex": "^ab"}}), vec![("a", Bounded)]),
            (json!({"a": {"$regex": "ab"}}), vec![("a", Exists)]),
            (json!({"a": {"$exists": false}}), vec![("a", Exists)]),
            (json!({"a": {"$exists": true}}), vec![]),
            (
                json!({"a": {"$ne": 1, "$nin": [2], "$not": {"$gt": 1}}}),
                vec![],
            ),
            (
                json!({"a": {"$all": [1, 2]}}),
                vec![("a", Equality), ("a", Equality)],
            ),
            (json!({"a": {"$size": 1}}), vec![("a", Exists)]),
            (json!({"a": {"$type": "string"}}), vec![("a", Exists)]),
            (
                json!({"$or": [{"a": 1}, {"a": 2, "b": 1}]}),
                vec![("a", In)],
            ),
            (json!({"$or": [{"a": 1}, {"b": 1}]}), vec![]),
            (json!({"$nor": [{"a": 1}]}), vec![]),
            (json!({"insertedAt": {"$gt": "2024"}}), vec![]),
            (json!({"a": {"$gt": null}}), vec![("a", Equality)]),
        ] {
            let expected: Vec<_> = expected
                .into_iter()
                .map(|(path, rank)| (path.to_owned(), rank))
                .collect();
            assert_eq!(ranks(&filter), expected, "{filter}");
        }
    }

    #[test]
    fn in_a_plain_document_every_path_is_its_own() {
        let filter = Filter::parse(
            &json!({"_id": "x", "updatedAt": "t", "$or": [{"_id": 1}, {"_id": "x"}]}),
        );
        let narrow = Narrow::of_plain(&filter.unwrap());
        assert_eq!(narrow.ids, None);
        let mut paths: Vec<_> = narrow
            .constraints
            .iter()
            .map(|c| (c.path.to_string(), c.rank()))
            .collect();
        paths.sort();
        assert_eq!(
            paths,
            [
                ("_id".to_owned(), Rank::Equality),
                ("updatedAt".to_owned(), Rank::Equality)
            ]
        );
    }

    #[test]
    fn ids_are_known_from_equality() {
        let ids = |filter: Value| narrow(&filter).ids;
        let some = |ids: &[&str]| Some(ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>());
        assert_eq!(ids(json!({"_id": "x"})), some(&["x"]));
        assert_eq!(
            ids(json!({"_id": {"$in": ["y", "x", "y"]}})),
            some(&["x", "y"])
        );
        assert_eq!(
            ids(json!({"_id": {"$in": ["y", "x"]}, "$and": [{"_id": "x"}]})),
            some(&["x"])
        );
        assert_eq!(
            ids(json!({"$or": [{"_id": "x"}, {"_id": "y", "a": 1}]})),
            some(&["x", "y"])
        );
        assert_eq!(ids(json!({"$or": [{"_id": "x"}, {"a": 1}]})), None);
        assert_eq!(ids(json!({"_id": {"$gt": "x"}})), None);
        assert_eq!(ids(json!({"a": {"$elemMatch": {"_id": "x"}}})), None);
    }

    #[test]
    fn a_scalar_path_can_be_tightened() {
        let loose = narrow(&json!({"a": {"$gt": 1, "$lt": 5}, "b": {"$in": [1, 2, 3], "$gte": 2}}));
        let tight = loose.clone().tighten(|_| true);
        assert_eq!(tight.constraints.len(), 2);
        assert_eq!(
            tight.best(|path| path.root() == "a").unwrap().rank(),
            Rank::Bounded
        );
        assert_eq!(
            tight.best(|path| path.root() == "b").unwrap().rank(),
            Rank::In
        );
        assert!(
            loose.admits(&json!({"a": [0, 9], "b": [1]}))
                || !tight.admits(&json!({"a": [0, 9], "b": [1]}))
        );
        // Only an array can have more keys than are kept.
        let overflow = [OrderedKey::overflow()];
        let admitted = |narrow: &Narrow| narrow.constraints.iter().any(|one| one.admits(&overflow));
        assert!(admitted(&loose) && !admitted(&tight));
        assert!(tight.admits(&json!({"a": 3, "b": 2})));
        assert!(!tight.admits(&json!({"a": 9, "b": 2})));
        // Where no single key can do, somebody has to ask whether there are more.
        let never = narrow(&json!({"a": {"$gt": 3, "$lt": 2}})).tighten(|_| true);
        assert_eq!(
            never.constraints[0].ranges(),
            [KeyRange::point(OrderedKey::overflow())]
        );
    }

    #[test]
    fn ranges_are_sorted_and_apart() {
        let values: Vec<i64> = (0..50).rev().collect();
        let filter =
            narrow(&json!({"$or": [{"a": {"$in": values}}, {"a": {"$gt": 25}}, {"a": "x"}]}));
        let ranges = filter.constraints[0].ranges();
        for pair in ranges.windows(2) {
            assert!(is_apart(&pair[0].upper, &pair[1].lower), "{pair:?}");
        }
        // Overflow, 0 to 24, 25 and above, "x".
        assert_eq!(ranges.len(), 1 + 25 + 1 + 1);
        let values: Vec<usize> = (0..MAX_RANGES * 2).collect();
        assert!(
            narrow(&json!({"a": {"$in": values}})).constraints[0]
                .ranges()
                .len()
                <= 2
        );
    }

    #[test]
    fn documents_with_too_many_keys_are_never_missed() {
        let doc = json!({"a": (0..5000).collect::<Vec<_>>()});
        for filter in [
            json!({"a": 4999}),
            json!({"a": {"$elemMatch": {"$gt": 4998}}}),
            json!({"$or": [{"a": 17}, {"a": 5001}]}),
            json!({"a": {"$gt": 10, "$lt": 3}}),
        ] {
            let parsed = Filter::parse(&filter).unwrap();
            assert!(
                parsed.matches(&doc) && Narrow::of(&parsed).admits(&doc),
                "{filter}"
            );
        }
    }

    #[test]
    fn cut_operands_keep_their_neighbours() {
        let long = "x".repeat(3000);
        for (operator, other) in [("$gt", "y"), ("$lt", "a"), ("$gte", ""), ("$lte", "")] {
            let filter = Filter::parse(&json!({"a": {operator: format!("{long}m")}})).unwrap();
            let doc = json!({"a": format!("{long}{}", if other.is_empty() { "m" } else { other })});
            assert!(
                filter.matches(&doc) && Narrow::of(&filter).admits(&doc),
                "{operator}"
            );
        }
    }

    // Few names and few values, so that random filters often match random
    // documents, and corners meet.

    fn path() -> impl Strategy<Value = String> {
        let inner = prop::sample::select(vec!["a", "b", "0", "1"]);
        (
            prop::sample::select(vec!["a", "b", "0"]),
            prop::collection::vec(inner, 0..3),
        )
            .prop_map(|(first, rest)| [vec![first], rest].concat().join("."))
    }

    fn operand() -> impl Strategy<Value = Value> {
        small(2)
    }

    fn small(depth: u32) -> BoxedStrategy<Value> {
        prop_oneof![
            2 => Just(Value::Null),
            1 => any::<bool>().prop_map(Value::Bool),
            3 => (0_i64..3).prop_map(Value::from),
            1 => Just(json!(0.5)),
            1 => "[ab]{0,2}".prop_map(Value::String),
        ]
        .prop_recursive(depth, 12, 3, |inner| {
            prop_oneof![
                2 => prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                1 => prop::collection::btree_map("[ab0]", inner, 0..3)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
        .boxed()
    }

    fn doc() -> impl Strategy<Value = Value> {
        let array = prop::collection::vec(small(2), 0..4).prop_map(Value::Array);
        (prop_oneof![array, small(3)], small(1)).prop_map(|(a, b)| json!({"a": a, "b": b}))
    }

    fn tests() -> BoxedStrategy<Value> {
        let leaf = prop_oneof![
            4 => (prop::sample::select(vec!["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"]), operand())
                .prop_map(|(operator, operand)| json!({operator: operand})),
            2 => (prop::sample::select(vec!["$in", "$nin", "$all"]), prop::collection::vec(operand(), 0..3))
                .prop_map(|(operator, operands)| json!({operator: operands})),
            1 => any::<bool>().prop_map(|wanted| json!({"$exists": wanted})),
            1 => (0_u64..3).prop_map(|size| json!({"$size": size})),
            1 => prop::sample::select(vec!["number", "int", "double", "string", "object", "array", "bool", "null"])
                .prop_map(|name| json!({"$type": name})),
            1 => "\\^?[ab]{0,2}[*?]?".prop_filter("a regex", |p| !p.starts_with(['*', '?']) && !p.starts_with("^*") && !p.starts_with("^?"))
                .prop_map(|pattern| json!({"$regex": pattern})),
            2 => (operand(), operand()).prop_map(|(low, high)| json!({"$gte": low, "$lte": high})),
        ];
        leaf.prop_recursive(3, 8, 2, |inner| {
            prop_oneof![
                inner.clone().prop_map(|tests| json!({"$not": tests})),
                inner.clone().prop_map(|tests| json!({"$elemMatch": tests})),
                (path(), inner.clone())
                    .prop_map(|(path, tests)| json!({"$elemMatch": {path: tests}})),
                (path(), inner.clone(), path(), inner)
                    .prop_map(|(p, a, q, b)| json!({"$elemMatch": {"$or": [{p: a}, {q: b}]}})),
            ]
        })
        .boxed()
    }

    fn filter() -> BoxedStrategy<Value> {
        let field = prop_oneof![
            3 => (path(), tests()).prop_map(|(path, tests)| json!({path: tests})),
            1 => (path(), operand()).prop_map(|(path, operand)| json!({path: operand})),
        ];
        field
            .prop_recursive(2, 6, 3, |inner| {
                (
                    prop::sample::select(vec!["$and", "$or", "$nor"]),
                    prop::collection::vec(inner, 1..4),
                )
                    .prop_map(|(operator, branches)| json!({operator: branches}))
            })
            .boxed()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40_000))]

        #[test]
        fn a_matching_document_is_admitted(filter in filter(), doc in doc()) {
            let parsed = Filter::parse(&filter).map_err(|e| TestCaseError::fail(format!("{filter}: {e}")))?;
            if parsed.matches(&doc) {
                let narrow = Narrow::of(&parsed);
                prop_assert!(narrow.admits(&doc), "{filter} {narrow:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn equality_with_anything_in_a_document_is_admitted(doc in arbitrary::object()) {
            for (name, value) in &doc {
                let Ok(path) = Path::from_segments([name]) else { continue };
                if name.starts_with('$') {
                    continue;
                }
                let filter = Filter::parse(&json!({path.to_string(): {"$eq": value}})).unwrap();
                let matched = filter.matches(&doc);
                prop_assert!(matched && Narrow::of(&filter).admits(&doc));
            }
        }

        #[test]
        fn merging_keeps_every_key(
            values in prop::collection::vec((operand(), operand(), 0..4_u8), 0..6), probe in operand(),
        ) {
            let ranges: Vec<KeyRange> = values.iter().map(|(a, b, kind)| {
                let (a, b) = (OrderedKey::of(a), OrderedKey::of(b));
                let lower = if kind & 1 == 0 { Bound::Included(a) } else { Bound::Excluded(a) };
                let upper = if kind & 2 == 0 { Bound::Included(b) } else { Bound::Excluded(b) };
                KeyRange::between(lower, upper)
            }).collect();
            let key = OrderedKey::of(&probe);
            let within = |ranges: &[KeyRange]| ranges.iter().any(|range| range.contains(&key));
            let merged_ranges = merged(ranges.clone());
            prop_assert_eq!(within(&merged_ranges), within(&ranges));
            let (left, right) = merged_ranges.split_at(merged_ranges.len() / 2);
            prop_assert_eq!(within(&intersection(&merged_ranges, left)), within(left));
            prop_assert!(!within(&intersection(left, right)));
        }
    }
}

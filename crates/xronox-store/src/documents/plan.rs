//! Which way through a plain collection a filter and an order take.

use std::{collections::BTreeMap, ops::Bound};

use serde_json::{Map, Value};
use xronox_model::{Direction, Filter, KeyRange, Narrow, OrderedKey, Path, keys_at};

use super::{DocFind, DocIndex, TupleKey};

/// Values of leading fields are multiplied out to at most this many spans.
const MAX_SPANS: usize = 1000;

/// As many look-ups as are done without leaving the caller's thread.
const QUICK: usize = 16;

/// Above every entry: no key begins with this byte, inverted or not.
const BEYOND: &[u8] = &[u8::MAX];

/// An index that a plan may go along.
#[derive(Debug, Clone, Copy)]
pub struct Indexed<'i> {
    /// What it holds.
    pub spec: &'i DocIndex,
    /// Whether some document ever had several keys in it.
    pub multi: bool,
}

/// A way through a collection that meets every document that can match.
///
/// It is for backends that keep, for each index, an entry for each key of a
/// document: the [tuple](DocIndex::tuples) of its fields, by itself or with
/// the `_id` behind it.
#[derive(Debug)]
pub struct Plan {
    /// Which way.
    pub access: Access,
    /// Whether to go backwards.
    pub reverse: bool,
    /// Whether the documents come in the order asked for.
    pub ordered: bool,
    /// Whether each span holds one entry at most.
    single: bool,
}

/// What a plan goes along.
#[derive(Debug)]
pub enum Access {
    /// By `_id`, in these ranges, which are sorted and apart.
    Ids(Vec<KeyRange>),
    /// Along an index, in these spans, which are sorted and apart.
    Keys {
        /// Its place among those that were given.
        index: usize,
        /// Where the entries are.
        spans: Vec<Span>,
        /// How many of its fields the filter pins, each to one value.
        pinned: usize,
        /// What the entries begin with if it does.
        prefix: Vec<u8>,
    },
}

/// Entries from `start` up to, not including, `end`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The least bytes in it.
    pub start: Vec<u8>,
    /// The least bytes above it.
    pub end: Vec<u8>,
}

impl Span {
    /// Whether an entry is in it.
    pub fn contains(&self, entry: &[u8]) -> bool {
        *self.start <= *entry && *entry < *self.end
    }

    fn of_prefix(prefix: Vec<u8>) -> Self {
        let end = after_prefix(&prefix);
        Self { start: prefix, end }
    }

    fn of_range(prefix: &[u8], range: &KeyRange, direction: Direction) -> Self {
        let at = |key: &OrderedKey| {
            let mut part = TupleKey::default();
            part.push(key, direction);
            [prefix, part.as_bytes()].concat()
        };
        // Going down, a range begins at its upper end.
        let (first, last) = match direction {
            Direction::Ascending => (&range.lower, &range.upper),
            Direction::Descending => (&range.upper, &range.lower),
        };
        Self {
            start: match first {
                Bound::Included(key) => at(key),
                Bound::Excluded(key) => after_prefix(&at(key)),
                Bound::Unbounded => prefix.to_vec(),
            },
            end: match last {
                Bound::Included(key) => after_prefix(&at(key)),
                Bound::Excluded(key) => at(key),
                Bound::Unbounded => after_prefix(prefix),
            },
        }
    }
}

/// The smallest bytes above all that begin with these.
pub fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut out = prefix.to_vec();
    while let Some(last) = out.pop() {
        if let Some(next) = last.checked_add(1) {
            out.push(next);
            return out;
        }
    }
    BEYOND.to_vec()
}

impl Plan {
    /// The way that looks shortest. `order` is what the documents should come
    /// in the order of, if that matters.
    pub fn of(indexes: &[Indexed<'_>], filter: &Filter, order: Option<&DocFind>) -> Self {
        let narrow = Narrow::of_plain(filter);
        let (mut best, mut most) = by_id(&narrow, order);
        for (at, index) in indexes.iter().enumerate() {
            if index
                .spec
                .only
                .as_ref()
                .is_some_and(|only| !implies(filter, only))
            {
                continue;
            }
            let (plan, score) = along(at, index, &narrow, order);
            if score > most {
                (best, most) = (plan, score);
            }
        }
        best
    }

    /// Whether this is a handful of look-ups.
    pub fn is_quick(&self) -> bool {
        let spans = match &self.access {
            Access::Ids(ranges) => ranges.len(),
            Access::Keys { spans, .. } => spans.len(),
        };
        self.single && spans <= QUICK
    }

    /// Where a way along the index `spec`, which is in the order of `order`,
    /// stands at the place of `after`: what its entry begins with, or is but
    /// for the `_id`. `None` if `after` differs in a field that the filter
    /// pins, or the way is another.
    pub fn entry_at(&self, spec: &DocIndex, after: &Value, order: &DocFind) -> Option<Vec<u8>> {
        let Access::Keys { pinned, prefix, .. } = &self.access else {
            return None;
        };
        let by = |path: &Path| order.sort.iter().find(|(field, _)| field == path);
        let (fixed, free) = spec.fields.split_at_checked(*pinned)?;
        let mut rest = prefix.as_slice();
        for (path, direction) in fixed {
            let value;
            (value, rest) = TupleKey::split(rest, *direction)?;
            if let Some((_, by)) = by(path)
                && *keys_at(after, path).sort_key(*by) != value
            {
                return None;
            }
        }
        let mut entry = TupleKey::default();
        for (path, direction) in free {
            let by = by(path).map_or(*direction, |(_, by)| *by);
            entry.push(keys_at(after, path).sort_key(by), *direction);
        }
        Some([prefix, entry.as_bytes()].concat())
    }
}

fn is_id(path: &Path) -> bool {
    path.segments() == ["_id"]
}

/// The ranges that a document must have a key in, without the point that
/// stands for keys not kept unless `multi`.
fn ranges(narrow: &Narrow, path: &Path, multi: bool) -> Option<Vec<KeyRange>> {
    let best = narrow.best(|other| other == path)?;
    let overflow = OrderedKey::overflow();
    let kept = best
        .ranges()
        .iter()
        .filter(|range| multi || range.as_point() != Some(&overflow));
    Some(kept.cloned().collect())
}

fn by_id(narrow: &Narrow, order: Option<&DocFind>) -> (Plan, i32) {
    let direction = match order {
        None => Some(Direction::Ascending),
        Some(order) => match order.sort.first() {
            None => Some(order.id_direction()),
            Some((path, direction)) => is_id(path).then_some(*direction),
        },
    };
    let id = Path::from_segments(["_id"]).ok();
    let ranges = id.and_then(|id| ranges(narrow, &id, false));
    let single = ranges
        .as_ref()
        .is_some_and(|r| r.iter().all(|range| range.as_point().is_some()));
    let score = match &ranges {
        Some(_) if single => 1000,
        Some(_) => 2,
        None => 0,
    };
    let whole = KeyRange {
        lower: Bound::Unbounded,
        upper: Bound::Unbounded,
    };
    let plan = Plan {
        access: Access::Ids(ranges.unwrap_or_else(|| vec![whole])),
        reverse: direction == Some(Direction::Descending),
        ordered: direction.is_some(),
        single,
    };
    let gain = if plan.ordered { worth(order) } else { 0 };
    (plan, score + gain)
}

fn along(at: usize, index: &Indexed<'_>, narrow: &Narrow, order: Option<&DocFind>) -> (Plan, i32) {
    let fields = &index.spec.fields;
    // With a single key, a document meets all constraints of a path with it.
    let tight;
    let narrow = if index.multi {
        narrow
    } else {
        tight = narrow
            .clone()
            .tighten(|path| fields.iter().any(|(field, _)| field == path));
        &tight
    };
    let mut prefixes = vec![Vec::new()];
    let mut spans = None;
    let mut pinned = 0;
    let mut score = 0;
    for (path, direction) in fields {
        let Some(mut ranges) = ranges(narrow, path, index.multi) else {
            break;
        };
        if *direction == Direction::Descending {
            ranges.reverse();
        }
        let points = ranges.iter().all(|range| range.as_point().is_some());
        let fit = prefixes.len() * ranges.len() <= MAX_SPANS;
        if !points || !fit {
            if !fit {
                ranges = hull(&ranges, *direction);
            }
            let within = |prefix: &Vec<u8>| -> Vec<Span> {
                ranges
                    .iter()
                    .map(|range| Span::of_range(prefix, range, *direction))
                    .collect()
            };
            spans = Some(prefixes.iter().flat_map(within).collect());
            score += 2;
            break;
        }
        score += 4;
        let longer = |prefix: &Vec<u8>| -> Vec<Vec<u8>> {
            ranges
                .iter()
                .map(|range| Span::of_range(prefix, range, *direction).start)
                .collect()
        };
        prefixes = prefixes.iter().flat_map(longer).collect();
        pinned += 1;
    }
    let prefix = match prefixes.as_slice() {
        [prefix] => Some(prefix.clone()),
        _ => None,
    };
    let single = index.spec.unique && pinned == fields.len();
    let spans = spans.unwrap_or_else(|| prefixes.into_iter().map(Span::of_prefix).collect());
    let direction = if index.multi || prefix.is_none() {
        None
    } else {
        order.and_then(|order| direction(index.spec, pinned, order))
    };
    let plan = Plan {
        access: Access::Keys {
            index: at,
            spans,
            pinned,
            prefix: prefix.unwrap_or_default(),
        },
        reverse: direction == Some(Direction::Descending),
        ordered: direction.is_some(),
        single,
    };
    let gain = if plan.ordered { worth(order) } else { 0 };
    (plan, score + gain)
}

/// What it is worth to come in order. A field pinned counts 4, a range 2: an
/// order asked for saves reading everything behind the page, but `_id` is
/// mostly asked for by nobody.
fn worth(order: Option<&DocFind>) -> i32 {
    match order {
        None => 0,
        Some(order) if order.sort.is_empty() => 1,
        Some(_) => 3,
    }
}

/// One range instead of several, in the order of a field's direction.
fn hull(ranges: &[KeyRange], direction: Direction) -> Vec<KeyRange> {
    let (Some(first), Some(last)) = (ranges.first(), ranges.last()) else {
        return Vec::new();
    };
    let (least, most) = match direction {
        Direction::Ascending => (first, last),
        Direction::Descending => (last, first),
    };
    vec![KeyRange {
        lower: least.lower.clone(),
        upper: most.upper.clone(),
    }]
}

/// In which direction the entries behind `pinned` fields, each of one value,
/// stand in the order asked for.
fn direction(spec: &DocIndex, pinned: usize, order: &DocFind) -> Option<Direction> {
    let (fixed, free) = spec.fields.split_at_checked(pinned)?;
    let is_fixed = |path: &Path| fixed.iter().any(|(field, _)| field == path);
    let wanted = order.sort.iter().filter(|(path, _)| !is_fixed(path));
    let wanted = up_to_id(wanted, order.id_direction());
    let have = up_to_id(free.iter(), spec.id_direction());
    if wanted.len() != have.len() || wanted.iter().zip(&have).any(|(w, h)| w.0 != h.0) {
        return None;
    }
    let mut same = wanted.iter().zip(&have).map(|(w, h)| w.1 == h.1);
    let first = same.next()?;
    if same.any(|other| other != first) {
        return None;
    }
    Some(if first {
        Direction::Ascending
    } else {
        Direction::Descending
    })
}

/// Fields with their directions; the `_id` ends them, since nothing ties
/// behind it.
fn up_to_id<'a>(
    fields: impl Iterator<Item = &'a (Path, Direction)>,
    id_direction: Direction,
) -> Vec<(Option<&'a Path>, Direction)> {
    let mut out = Vec::new();
    for (path, direction) in fields {
        if is_id(path) {
            out.push((None, *direction));
            return out;
        }
        out.push((Some(path), *direction));
    }
    out.push((None, id_direction));
    out
}

/// Whether every document that matches `filter` matches `only`, as far as can
/// be told at a glance: each condition of `only` stands in `filter` too.
fn implies(filter: &Filter, only: &Filter) -> bool {
    let (given, needed) = (filter.to_json(), only.to_json());
    let (mut known, mut asked) = (BTreeMap::new(), BTreeMap::new());
    conditions(given.as_object(), &mut known);
    conditions(needed.as_object(), &mut asked);
    asked.iter().all(|((path, operator), operands)| {
        let holds = |operand: &&Value| {
            let stands = known
                .get(&(*path, *operator))
                .is_some_and(|known| known.contains(operand));
            let exists = *operator == "$exists" && **operand == Value::Bool(true);
            stands
                || exists
                    && known
                        .get(&(*path, "$eq"))
                        .is_some_and(|v| v.iter().any(|v| !v.is_null()))
        };
        operands.iter().all(holds)
    })
}

/// The conditions that must all hold, by path and operator.
fn conditions<'f>(
    filter: Option<&'f Map<String, Value>>,
    out: &mut BTreeMap<(&'f str, &'f str), Vec<&'f Value>>,
) {
    for (name, operand) in filter.into_iter().flatten() {
        match operand {
            Value::Array(all) if name == "$and" => {
                for one in all {
                    conditions(one.as_object(), out);
                }
            }
            // A regex and its options are one condition.
            Value::Object(tests)
                if !name.starts_with('$')
                    && tests.keys().any(|test| test.starts_with('$'))
                    && !tests.contains_key("$options") =>
            {
                for (operator, operand) in tests {
                    out.entry((name, operator)).or_default().push(operand);
                }
            }
            operand if name.starts_with('$') => out.entry((name, "")).or_default().push(operand),
            Value::Object(tests) if tests.contains_key("$options") => {
                out.entry((name, "")).or_default().push(operand);
            }
            operand => out.entry((name, "$eq")).or_default().push(operand),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn filter(json: &Value) -> Filter {
        Filter::parse(json).unwrap()
    }

    fn ascending(fields: &[&str]) -> DocIndex {
        DocIndex::ascending(fields.iter().map(|field| field.parse().unwrap()))
    }

    /// The index taken, its spans, and whether it is in order and quick.
    fn plan(
        indexes: &[DocIndex],
        matching: &Value,
        sort: &[(&str, Direction)],
    ) -> (Option<usize>, usize, bool, bool) {
        let mut find = DocFind::of(filter(matching));
        for (field, direction) in sort {
            find = find.sort(field.parse().unwrap(), *direction);
        }
        let indexed = |spec| Indexed { spec, multi: false };
        let indexes: Vec<_> = indexes.iter().map(indexed).collect();
        let plan = Plan::of(&indexes, &find.filter, Some(&find));
        let quick = plan.is_quick();
        match plan.access {
            Access::Ids(ranges) => (None, ranges.len(), plan.ordered, quick),
            Access::Keys { index, spans, .. } => (Some(index), spans.len(), plan.ordered, quick),
        }
    }

    #[test]
    fn messages_are_found_along_their_indexes() {
        use Direction::{Ascending, Descending};
        let messages = [
            ascending(&["tenantId", "topic", "msgId"]).unique(),
            ascending(&["firstSeenAt"]),
            ascending(&["tenantId", "topic", "firstSeenAt"]),
            ascending(&["latest"]).only(filter(&json!({"strategy": "latest"}))),
        ];
        let topic = json!({"tenantId": "t", "topic": "p"});
        let recent =
            json!({"tenantId": "t", "topic": "p", "firstSeenAt": {"$gt": "2024", "$lt": "2025"}});
        let one = json!({"tenantId": "t", "topic": "p", "msgId": "m"});
        let several = json!({"tenantId": "t", "topic": "p", "msgId": {"$in": ["a", "b"]}});
        let at = "firstSeenAt";
        for (matching, sort, wanted) in [
            (&one, &[][..], (Some(0), 1, true, true)),
            (&several, &[], (Some(0), 2, false, true)),
            (&recent, &[(at, Ascending)], (Some(2), 1, true, false)),
            (&recent, &[(at, Descending)], (Some(2), 1, true, false)),
            (&topic, &[(at, Descending)], (Some(2), 1, true, false)),
            (&topic, &[("msgId", Ascending)], (Some(0), 1, true, false)),
            (
                &topic,
                &[("topic", Descending), ("msgId", Ascending)],
                (Some(0), 1, true, false),
            ),
            (&topic, &[("size", Ascending)], (Some(0), 1, false, false)),
            (&json!({}), &[(at, Ascending)], (Some(1), 1, true, false)),
            (
                &json!({at: {"$lt": "2024"}}),
                &[],
                (Some(1), 1, false, false),
            ),
            (&json!({"size": 1}), &[], (None, 1, true, false)),
            (
                &json!({"_id": {"$in": ["a", 1]}}),
                &[("_id", Descending)],
                (None, 2, true, true),
            ),
            (&json!({"_id": {"$gt": "a"}}), &[], (None, 1, true, false)),
            (&json!({"latest": 1}), &[], (None, 1, true, false)),
            (
                &json!({"latest": 1, "strategy": "latest"}),
                &[],
                (Some(3), 1, true, false),
            ),
        ] {
            assert_eq!(
                plan(&messages, matching, sort),
                wanted,
                "{matching} by {sort:?}"
            );
        }
    }

    #[test]
    fn spans_stay_few() {
        let indexes = [ascending(&["a", "b", "c"])];
        let many = |count: i64| json!({"$in": (0..count).collect::<Vec<_>>()});
        let spans = |matching: Value| plan(&indexes, &matching, &[]).1;
        assert_eq!(
            spans(json!({"a": many(10), "b": many(10), "c": {"$gt": 1}})),
            100
        );
        assert_eq!(spans(json!({"a": many(100), "b": many(20)})), 100);
        assert_eq!(
            spans(json!({"a": many(999), "b": {"$in": [1, 2]}, "c": 1})),
            999
        );
        assert_eq!(spans(json!({"a": {"$in": []}})), 0);
    }

    #[test]
    fn bounds_include_what_they_should() {
        let key = |n: i64| OrderedKey::of(&json!(n));
        let bounds = |n| {
            [
                Bound::Included(key(n)),
                Bound::Excluded(key(n)),
                Bound::Unbounded,
            ]
        };
        for direction in [Direction::Ascending, Direction::Descending] {
            let part = |n: i64| {
                let mut part = TupleKey::default();
                part.push(&OrderedKey::of(&json!("x")), Direction::Ascending);
                part.push(&key(n), direction);
                part.push(&key(7), Direction::Descending);
                part.into_bytes()
            };
            let mut prefix = TupleKey::default();
            prefix.push(&OrderedKey::of(&json!("x")), Direction::Ascending);
            for lower in bounds(1) {
                for upper in bounds(3) {
                    let range = KeyRange {
                        lower: lower.clone(),
                        upper,
                    };
                    let span = Span::of_range(prefix.as_bytes(), &range, direction);
                    for n in -1..6 {
                        assert_eq!(
                            span.contains(&part(n)),
                            range.contains(&key(n)),
                            "{n} in {range:?}"
                        );
                    }
                }
            }
        }
        assert_eq!(after_prefix(&[1, 255]), [2]);
        assert_eq!(after_prefix(&[]), BEYOND);
    }

    #[test]
    fn a_filter_implies_what_it_contains() {
        for (given, needed, wanted) in [
            (json!({"a": 1, "b": 2}), json!({"a": 1}), true),
            (json!({"a": 2}), json!({"a": 1}), false),
            (json!({"$and": [{"a": {"$eq": 1}}]}), json!({"a": 1}), true),
            (
                json!({"a": {"$gt": 1, "$lt": 5}}),
                json!({"a": {"$gt": 1}}),
                true,
            ),
            (json!({"$or": [{"a": 1}, {"b": 1}]}), json!({"a": 1}), false),
            (json!({"a": 1}), json!({"a": {"$exists": true}}), true),
            (json!({"a": null}), json!({"a": {"$exists": true}}), false),
            (
                json!({"a": {"$regex": "x"}}),
                json!({"a": {"$regex": "x", "$options": "i"}}),
                false,
            ),
            (
                json!({"a": {"$regex": "x", "$options": "i"}}),
                json!({"a": {"$regex": "x"}}),
                false,
            ),
            (json!({}), json!({"a": 1}), false),
            (json!({"a": 1}), json!({}), true),
        ] {
            assert_eq!(
                implies(&filter(&given), &filter(&needed)),
                wanted,
                "{given} {needed}"
            );
        }
    }
}

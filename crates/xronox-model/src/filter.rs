//! Filters: which documents are meant.
//!
//! The operators and their meaning are MongoDB's
//! ([reference](https://www.mongodb.com/docs/manual/reference/operator/query/)):
//! implicit equality, `$eq $ne $gt $gte $lt $lte $in $nin $exists $regex $and
//! $or $nor $not $all $elemMatch $size $type`. [`cases`] pins that meaning down,
//! one row a rule, for this matcher, every backend and a real server.
//!
//! What is decided differently here:
//!
//! - Objects are equal whatever the order of their fields, and compare by name
//!   before type: documents here have no order of fields. ([`cases::DEPARTURES`])
//! - A date is text: `{"$date": …}` in an operand becomes the RFC 3339 string
//!   that a record holds. `$type: "date"` and the other types that JSON lacks
//!   are refused.
//! - `$type` knows an integer by its value, not by how a driver sent it: `int`
//!   fits 32 bits, `long` is any other integer of up to 64 bits, `double` the rest.
//! - An operand object that mixes operators and plain names is refused in any
//!   order, a regex inside `$in`, `$nin` or `$all` too, and of regexes
//!   everything on which PCRE and a linear-time engine might disagree.
//! - The bare names `insertedAt`, `updatedAt`, `deletedAt` mean those of
//!   `_system` where the document has no such property.

pub mod cases;
mod matcher;
mod parse;
mod regex;

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use self::regex::Pattern;
use crate::{Path, lookup::Lookup};

/// How many values, nested ones counted, a filter may consist of.
pub const MAX_FILTER_NODES: usize = 10_000;

/// A parsed filter. The default matches everything.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub(crate) clauses: Vec<Clause>,
    /// As it was read, in normal form.
    source: Map<String, Value>,
}

impl Filter {
    /// Whether the document matches.
    pub fn matches<L: Lookup + ?Sized>(&self, doc: &L) -> bool {
        self.clauses.iter().all(|clause| clause.holds(doc))
    }

    /// Whether every document matches because nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.clauses.is_empty()
    }

    /// The filter that matches where both do.
    pub fn and(mut self, other: Self) -> Self {
        if self.source.is_empty() {
            self.source = other.source;
        } else if !other.source.is_empty() {
            let both = [self.source, other.source].map(Value::Object);
            self.source = Map::from_iter([("$and".to_owned(), Value::from_iter(both))]);
        }
        self.clauses.extend(other.clauses);
        self
    }

    /// The filter as JSON: what was [read](Self::parse), with dates as text.
    pub fn to_json(&self) -> Value {
        Value::Object(self.source.clone())
    }

    /// The values that every matching document must hold: those of `$eq` and
    /// of plain equality, `$all` and `$and` included.
    ///
    /// What [MongoDB](https://www.mongodb.com/docs/manual/reference/method/db.collection.update/)
    /// puts into a document that an upsert makes.
    pub fn equalities(&self) -> Vec<(&Path, &Value)> {
        let mut out = Vec::new();
        add_equalities(&self.clauses, &mut out);
        out
    }

    /// Every path that the filter reads, as it is written.
    ///
    /// A path inside `$elemMatch` is given from the top of the document. The
    /// bare names of times are given bare: see [`alias_of`](crate::alias_of).
    pub fn paths(&self) -> BTreeSet<Path> {
        let mut paths = BTreeSet::new();
        for clause in &self.clauses {
            clause.add_paths(&[], &mut paths);
        }
        paths
    }
}

fn add_equalities<'f>(clauses: &'f [Clause], out: &mut Vec<(&'f Path, &'f Value)>) {
    for clause in clauses {
        match clause {
            Clause::And(clauses) => add_equalities(clauses, out),
            Clause::Field { path, test, .. } => {
                let all = match test {
                    Test::All(tests) => tests,
                    test => std::slice::from_ref(test),
                };
                out.extend(all.iter().filter_map(|test| match test {
                    Test::Compare(Comparison::Equal, value) => Some((path, value)),
                    _ => None,
                }));
            }
            Clause::Or(_) | Clause::Nor(_) => {}
        }
    }
}

/// What is asked of a document.
#[derive(Debug, Clone)]
pub(crate) enum Clause {
    And(Vec<Clause>),
    Or(Vec<Clause>),
    Nor(Vec<Clause>),
    Field {
        path: Path,
        /// Whether the path stands at the top, where bare times have a fallback.
        at_top: bool,
        test: Test,
    },
}

/// What is asked of the values at a path.
#[derive(Debug, Clone)]
pub(crate) enum Test {
    Compare(Comparison, Value),
    /// Sorted in value order, each once.
    In(Vec<Value>),
    Exists(bool),
    Regex(Box<Pattern>),
    Type(BTreeSet<Type>),
    Size(u64),
    /// All hold, and there is at least one.
    All(Vec<Test>),
    /// One element of an array, read as a document, fits these.
    ElementDocument(Vec<Clause>),
    /// One element of an array passes all of these.
    ElementValue(Vec<Test>),
    /// Not all of these hold.
    Not(Vec<Test>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Type {
    Double,
    String,
    Object,
    Array,
    Bool,
    Null,
    Int,
    Long,
}

impl Clause {
    fn add_paths(&self, above: &[String], paths: &mut BTreeSet<Path>) {
        match self {
            Self::And(clauses) | Self::Or(clauses) | Self::Nor(clauses) => {
                for clause in clauses {
                    clause.add_paths(above, paths);
                }
            }
            Self::Field { path, test, .. } => {
                let full = [above, path.segments()].concat();
                test.add_paths(&full, paths);
            }
        }
    }
}

impl Test {
    fn add_paths(&self, at: &[String], paths: &mut BTreeSet<Path>) {
        match self {
            Self::All(tests) | Self::ElementValue(tests) | Self::Not(tests)
                if !tests.is_empty() =>
            {
                for test in tests {
                    test.add_paths(at, paths);
                }
            }
            Self::ElementDocument(clauses) if !clauses.is_empty() => {
                for clause in clauses {
                    clause.add_paths(at, paths);
                }
            }
            _ => paths.extend(Path::from_segments(at)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_filter_knows_every_path_it_reads() {
        let filter = Filter::parse(&json!({
            "a": 1,
            "$or": [{"b.c": {"$gt": 1}}, {"$nor": [{"d": {"$not": {"$all": [1, 2]}}}]}],
            "e": {"$elemMatch": {"f": 1, "g": {"$elemMatch": {"$gt": 1}}}},
            "h": {"$elemMatch": {}},
            "i": {"$all": []},
        }))
        .unwrap();
        let paths: Vec<String> = filter.paths().iter().map(Path::to_string).collect();
        assert_eq!(paths, ["a", "b.c", "d", "e.f", "e.g", "h", "i"]);
        assert!(Filter::default().paths().is_empty());
    }

    #[test]
    fn a_filter_is_written_as_it_was_read() {
        let json = json!({"a": {"$gt": 1}, "$or": [{"b": 1}, {"c": "2024-01-01T00:00:00.000Z"}]});
        let filter = Filter::parse(&json).unwrap();
        assert_eq!(filter.to_json(), json);
        assert_eq!(Filter::default().to_json(), json!({}));
        assert_eq!(Filter::default().and(filter.clone()).to_json(), json);
        assert_eq!(filter.clone().and(Filter::default()).to_json(), json);
        let both = filter.and(Filter::parse(&json!({"a": {"$lt": 5}})).unwrap());
        assert_eq!(both.to_json(), json!({"$and": [json, {"a": {"$lt": 5}}]}));
        Filter::parse(&both.to_json()).unwrap();
    }

    #[test]
    fn equalities_are_what_every_match_holds() {
        let filter = Filter::parse(&json!({
            "a.b": 1,
            "c": {"$eq": null},
            "d": {"$gt": 1},
            "e": {"$all": [2]},
            "f": {"$in": [1]},
            "$and": [{"g": {"x": 1}}],
            "$or": [{"h": 1}],
            "i": {"$not": {"$eq": 1}},
        }))
        .unwrap();
        let mut found: Vec<_> = filter
            .equalities()
            .into_iter()
            .map(|(p, v)| format!("{p} {v}"))
            .collect();
        found.sort();
        assert_eq!(found, ["a.b 1", "c null", "e 2", r#"g {"x":1}"#]);
    }

    #[test]
    fn two_filters_together_match_where_both_do() {
        let both = Filter::parse(&json!({"a": 1}))
            .unwrap()
            .and(Filter::parse(&json!({"b": 2})).unwrap());
        assert!(both.matches(&json!({"a": 1, "b": 2})));
        assert!(!both.matches(&json!({"a": 1})));
        assert!(!both.matches(&json!({"b": 2})));
    }
}

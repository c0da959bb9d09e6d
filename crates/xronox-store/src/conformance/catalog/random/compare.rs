//! Whether both tell the same.

use std::{collections::BTreeMap, ops::Bound};

use rand::{Rng, seq::IndexedRandom};
use serde_json::{Value, json};
use xronox_model::{
    ALWAYS_INDEXED, Body, CollectionName, Direction, KeyRange, Op, OrderedKey, RecordId, Timestamp,
    UniqueKey, VersionRow,
};

use super::{Pair, key_of, path, plan};
use crate::{Access, Bodies, Catalog, Find, Found, Which};

const ALL: usize = 1 << 20;

macro_rules! same {
    ($pair:expr, $call:ident ( $($argument:expr),* )) => {{
        let given = $pair.subject.$call($($argument),*).await.unwrap();
        let expected = $pair.reference.$call($($argument),*).await.unwrap();
        assert_eq!(given, expected, "{}: {}({})", $pair.told, stringify!($call), stringify!($($argument),*));
        expected
    }};
}

impl Pair {
    /// Compares whatever can be read; `closely` leaves nothing to chance.
    pub(super) async fn compare(&mut self, closely: bool) {
        let written = same!(self, collections());
        assert!(written.is_sorted());
        for collection in self.collections.clone() {
            let rows = self.compare_rows(&collection).await;
            check_invariants(&rows, &self.told);
            let newest = same!(self, newest(&collection)).map_or(0, |newest| newest.cv);
            same!(self, size(&collection));
            let damages = same!(self, check(&collection));
            assert_eq!(damages, Vec::<String>::new(), "{}", self.told);
            let cuts: Vec<u64> = if closely && newest < 100 {
                (0..=newest + 1).collect()
            } else {
                (0..6)
                    .map(|_| self.rng.random_range(0..=newest + 1))
                    .collect()
            };
            self.compare_records(&collection, &cuts).await;
            self.compare_paths(&collection, &cuts).await;
            self.compare_times(&collection, &rows).await;
            self.compare_names(&collection, &rows).await;
        }
    }

    async fn compare_rows(&mut self, collection: &CollectionName) -> Vec<VersionRow> {
        let limit = self.rng.random_range(1..20);
        let from = self.rng.random_range(0..20);
        same!(self, rows(collection, from, limit, Bodies::Omit));
        same!(self, rows(collection, 0, ALL, Bodies::Inline))
    }

    async fn compare_records(&mut self, collection: &CollectionName, cuts: &[u64]) {
        for id in plan::records() {
            let head = same!(self, head(collection, &id, Bodies::Inline));
            same!(self, head(collection, &id, Bodies::Omit));
            let history = same!(
                self,
                history(collection, &id, None, Direction::Ascending, ALL)
            );
            assert_eq!(
                history.last().map(|row| row.cv),
                head.as_ref().map(|row| row.cv)
            );
            let newest = head.map_or(0, |head| head.ov);
            let from = Some(self.rng.random_range(0..=newest + 1));
            let limit = self.rng.random_range(1..5);
            same!(
                self,
                history(collection, &id, from, Direction::Ascending, limit)
            );
            same!(
                self,
                history(collection, &id, from, Direction::Descending, limit)
            );
            same!(
                self,
                history(collection, &id, None, Direction::Descending, limit)
            );
            for ov in 0..=newest + 1 {
                same!(
                    self,
                    version(collection, &id, Which::Ov(ov), Bodies::Inline)
                );
            }
            for cut in cuts {
                same!(
                    self,
                    version(collection, &id, Which::AsOf(*cut), Bodies::Inline)
                );
            }
        }
    }

    async fn compare_paths(&mut self, collection: &CollectionName, cuts: &[u64]) {
        let indexes = self.reference.indexes(collection).await.unwrap();
        let mut fields: Vec<_> = ALWAYS_INDEXED.map(path).to_vec();
        for index in indexes
            .list
            .iter()
            .filter(|index| index.ready && !index.spec.unique)
        {
            fields.push(index.spec.fields[0].clone());
        }
        let records = plan::records();
        for cut in cuts.iter().copied().map(Some).chain([None]) {
            if let Some(cut) = cut {
                same!(self, stubs_at(collection, cut));
            }
            let some = records.choose_multiple(&mut self.rng, 3).cloned().collect();
            let mut paths = vec![Access::All, Access::Ids(some)];
            for field in &fields {
                let everything = KeyRange {
                    lower: Bound::Unbounded,
                    upper: Bound::Unbounded,
                };
                paths.push(Access::Field {
                    field: field.clone(),
                    ranges: vec![everything],
                });
                paths.push(Access::Field {
                    field: field.clone(),
                    ranges: self.ranges(),
                });
            }
            for access in paths {
                for direction in [Direction::Ascending, Direction::Descending] {
                    let find = Find {
                        cut,
                        access: access.clone(),
                        direction,
                        also: vec![],
                        after: None,
                        limit: self.rng.random_range(1..8),
                        bodies: Bodies::Inline,
                    };
                    self.compare_walk(collection, find).await;
                }
            }
        }
    }

    /// Sorted ranges that do not touch.
    fn ranges(&mut self) -> Vec<KeyRange> {
        let values = [
            json!(null),
            json!(-1),
            json!(0),
            json!(0.5),
            json!(1),
            json!(2),
            json!(""),
            json!("1"),
            json!({}),
            json!([]),
            json!([1]),
            json!([2]),
            json!(false),
            json!(true),
        ];
        let mut ends: Vec<OrderedKey> = values
            .choose_multiple(&mut self.rng, 6)
            .map(|value: &Value| OrderedKey::of(value))
            .collect();
        ends.sort();
        let mut ranges = Vec::new();
        for pair in ends.chunks(2) {
            let (lower, upper) = (pair[0].clone(), pair[1].clone());
            ranges.push(match self.rng.random_range(0..4) {
                0 => KeyRange::point(lower),
                1 => KeyRange {
                    lower: Bound::Excluded(lower),
                    upper: Bound::Included(upper),
                },
                2 => KeyRange {
                    lower: Bound::Included(lower),
                    upper: Bound::Excluded(upper),
                },
                _ => KeyRange {
                    lower: Bound::Included(lower),
                    upper: Bound::Included(upper),
                },
            });
        }
        if self.rng.random_ratio(1, 3) {
            ranges[0].lower = Bound::Unbounded;
        }
        if self.rng.random_ratio(1, 3) {
            ranges[2].upper = Bound::Unbounded;
        }
        ranges
    }

    async fn compare_walk(&self, collection: &CollectionName, find: Find) {
        let whole = Find {
            limit: ALL,
            ..find.clone()
        };
        let expected: Found = self.reference.find(collection, &whole).await.unwrap();
        let mut given = Vec::new();
        let mut after = None;
        loop {
            let page = Find {
                after,
                ..find.clone()
            };
            let found = self.subject.find(collection, &page).await.unwrap();
            assert!(found.rows.len() <= page.limit, "{}: {page:?}", self.told);
            assert_eq!(found.cv, expected.cv, "{}: {page:?}", self.told);
            assert_eq!(found.multi, expected.multi, "{}: {page:?}", self.told);
            given.extend(found.rows);
            assert!(
                given.len() <= expected.rows.len(),
                "{}: {page:?}",
                self.told
            );
            after = found.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(given, expected.rows, "{}: {find:?}", self.told);
    }

    async fn compare_times(&self, collection: &CollectionName, rows: &[VersionRow]) {
        for at in rows
            .iter()
            .map(|row| row.at)
            .chain([Timestamp::from_millis(0)])
        {
            for millis in [-1, 0, 1] {
                same!(self, cut_at(collection, at.plus_millis(millis)));
            }
        }
    }

    async fn compare_names(&self, collection: &CollectionName, rows: &[VersionRow]) {
        let mut keys = Vec::new();
        for email in plan::EMAILS {
            let specs = [xronox_model::IndexSpec::unique(vec![path("email")])];
            let key = UniqueKey::of(&json!({ "email": email }), &specs[0])
                .unwrap()
                .unwrap();
            same!(self, lookup_unique(collection, &key));
            keys.push((collection.clone(), key));
        }
        same!(self, holders(&keys));
        for (id, attempt) in self.planner.attempts.iter().rev().take(60) {
            same!(self, outcome(collection, id, *attempt));
        }
        let named = rows.iter().flat_map(|row| &row.body);
        let named = named.flat_map(Body::locations).filter_map(key_of);
        for key in named.chain(["put/1", "put/2", "put/3", "moved/1", "none"]) {
            same!(self, names_key(key));
        }
    }
}

/// What holds of any log, whatever was removed from it.
fn check_invariants(rows: &[VersionRow], told: &str) {
    for pair in rows.windows(2) {
        assert!(pair[0].cv < pair[1].cv, "{told}: cv of {}", pair[1].cv);
        assert!(pair[0].at <= pair[1].at, "{told}: time of {}", pair[1].cv);
    }
    let mut previous: BTreeMap<&RecordId, &VersionRow> = BTreeMap::new();
    for row in rows {
        assert!(
            row.to_cv.is_none_or(|to_cv| row.cv < to_cv),
            "{told}: end of {}",
            row.cv
        );
        let Some(before) = previous.insert(&row.id, row) else {
            continue;
        };
        if before.ov + 1 == row.ov {
            assert_eq!(before.to_cv, Some(row.cv), "{told}: end of {}", before.cv);
            if row.pruned.is_none() {
                assert_eq!(
                    row.prev_hash,
                    Some(before.hash()),
                    "{told}: link of {}",
                    row.cv
                );
            }
        } else if before.stands_for_those_before(row) {
            assert_eq!(before.to_cv, Some(row.cv), "{told}: end of {}", before.cv);
            assert!(row.ov > before.ov, "{told}: ov of {}", row.cv);
        } else {
            assert_eq!(before.op, Op::Purge, "{told}: gap before {}", row.cv);
            assert!(
                before.to_cv.is_some_and(|to_cv| to_cv < row.cv),
                "{told}: end of {}",
                before.cv
            );
        }
    }
    for (id, newest) in previous {
        assert_eq!(newest.to_cv, None, "{told}: newest version of {id}");
    }
}

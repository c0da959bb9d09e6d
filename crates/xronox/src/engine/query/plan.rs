//! Which ways lead to the records of a query.

use std::ops::Bound;

use xronox_model::{Constraint, Direction, KeyRange, Narrow, OrderedKey, Path, RecordId, alias_of};
use xronox_store::{Access, Bodies, Indexes, Position};

use super::{body::Stretch, order::Place, search::Search, walk::Walk};
use crate::engine::indexes::serves;

/// Keys that are looked up side by side, for their records in the order of ids.
const MAX_RUNS: usize = 17;
/// The most rows that are read at a time.
const MAX_STRETCH: usize = 4096;

/// A way to the first records in an order.
#[derive(Debug)]
pub(super) enum Way {
    /// They stand along the walk in their order: take the first.
    Gather {
        walk: Walk,
        /// Whether the keys of positions are those of the order's first field.
        sorted: bool,
    },
    /// They stand anywhere: keep the best, up to the end.
    Rank {
        walk: Walk,
        /// The walk goes by the first field of the order, in this direction,
        /// so it may end once that field is beyond the last of the best.
        prefix: Option<Direction>,
    },
}

/// What a plan is made from.
#[derive(Debug)]
pub(super) struct Planner<'p, 'a> {
    pub(super) search: &'p Search<'a>,
    pub(super) indexes: &'p Indexes,
    /// Begin behind this place.
    pub(super) after: Option<&'p Place>,
    /// How many records are wanted.
    pub(super) limit: usize,
}

impl Planner<'_, '_> {
    /// One way, or two, of which nobody can know beforehand which is the shorter.
    pub(super) fn ways(&self) -> Vec<Way> {
        let loose = self.narrow();
        let also: Vec<Constraint> = loose.constraints.clone();
        let rank = |paths, direction, prefix: Option<Direction>, also: &[Constraint]| Way::Rank {
            walk: self.walk(paths, direction, also.to_vec(), self.bodies_to_rank()),
            prefix,
        };
        let anywhere = |access| rank(vec![(access, None)], Direction::Ascending, None, &also);
        if let Some(ids) = &loose.ids {
            // Other texts are no ids of records.
            let ids: Vec<RecordId> = ids.iter().filter_map(|id| id.parse().ok()).collect();
            return vec![if self.order().fields.is_empty() {
                self.by_id(Access::Ids(ids), &also)
            } else {
                anywhere(Access::Ids(ids))
            }];
        }
        let multi = |path: &Path| self.search.shared.indexes.is_multi(path);
        let tight = loose.tighten(|path| serves(self.indexes, path) && !multi(path));
        let best_but =
            |but: Option<&Path>| tight.best(|path| serves(self.indexes, path) && Some(path) != but);
        let narrow = |constraint: &Constraint| anywhere(along(constraint));
        let Some((first, direction)) = self.order().fields.first() else {
            return match best_but(None) {
                None => vec![self.by_id(Access::All, &also)],
                Some(best) => match self.points(best, &also) {
                    Some(points) => vec![points],
                    None => vec![narrow(best), self.by_id(Access::All, &also)],
                },
            };
        };
        if !serves(self.indexes, first) || multi(first) {
            return vec![match best_but(None) {
                Some(best) => narrow(best),
                None => anywhere(Access::All),
            }];
        }
        let own = tight
            .constraints
            .iter()
            .find(|constraint| constraint.path() == first);
        let everywhere = [KeyRange {
            lower: Bound::Unbounded,
            upper: Bound::Unbounded,
        }];
        let ranges = own.map_or(&everywhere[..], Constraint::ranges);
        let in_order = if self.order().fields.len() == 1 && self.order().id == *direction {
            let access = Access::Field {
                field: first.clone(),
                ranges: ranges.to_vec(),
            };
            let after = self
                .after
                .and_then(|after| self.position(after.keys.first()));
            Way::Gather {
                walk: self.walk(
                    vec![(access, after)],
                    *direction,
                    also.clone(),
                    Bodies::Inline,
                ),
                sorted: true,
            }
        } else {
            let from = self.after.and_then(|after| after.keys.first());
            let access = Access::Field {
                field: first.clone(),
                ranges: ranges
                    .iter()
                    .filter_map(|range| clip(range, *direction, from))
                    .collect(),
            };
            rank(vec![(access, None)], *direction, Some(*direction), &also)
        };
        match best_but(Some(first)) {
            Some(best) => vec![narrow(best), in_order],
            None => vec![in_order],
        }
    }

    /// The shortest way to all records in no order.
    pub(super) fn any_order(&self) -> Walk {
        let loose = self.narrow();
        let also = loose.constraints.clone();
        let bodies = if self.search.filter_reads_body() {
            Bodies::Inline
        } else {
            Bodies::Omit
        };
        let access = if let Some(ids) = &loose.ids {
            Access::Ids(ids.iter().filter_map(|id| id.parse().ok()).collect())
        } else {
            let scalar = |path: &Path| {
                serves(self.indexes, path) && !self.search.shared.indexes.is_multi(path)
            };
            let tight = loose.tighten(scalar);
            tight
                .best(|path| serves(self.indexes, path))
                .map_or(Access::All, along)
        };
        self.walk(vec![(access, None)], Direction::Ascending, also, bodies)
    }

    fn order(&self) -> &super::order::Order {
        self.search.order
    }

    /// What the filter says about keys that are or may be stored.
    fn narrow(&self) -> Narrow {
        let filter = self.search.filter;
        let mut narrow = Narrow::of(filter);
        // An index of a bare time holds what the matcher reads there, be it of
        // the document or of the system.
        let bare = Narrow::of_plain(filter).constraints.into_iter();
        narrow
            .constraints
            .extend(bare.filter(|constraint| alias_of(constraint.path()).is_some()));
        // Ids are not kept as keys.
        narrow
            .constraints
            .retain(|constraint| constraint.path().root() != "_id");
        narrow
    }

    fn by_id(&self, access: Access, also: &[Constraint]) -> Way {
        let after = self.after.and(self.position(None));
        let paths = vec![(access, after)];
        Way::Gather {
            walk: self.walk(paths, self.order().id, also.to_vec(), Bodies::Inline),
            sorted: false,
        }
    }

    /// The records of a few keys, in the order of ids.
    fn points(&self, constraint: &Constraint, also: &[Constraint]) -> Option<Way> {
        let points: Vec<&OrderedKey> = constraint
            .ranges()
            .iter()
            .map(KeyRange::as_point)
            .collect::<Option<_>>()?;
        if points.len() > MAX_RUNS {
            return None;
        }
        let path = |key: &OrderedKey| {
            let access = Access::Field {
                field: constraint.path().clone(),
                ranges: vec![KeyRange::point(key.clone())],
            };
            (access, self.after.and(self.position(Some(key))))
        };
        let paths = points.into_iter().map(path).collect();
        Some(Way::Gather {
            walk: self.walk(paths, self.order().id, also.to_vec(), Bodies::Inline),
            sorted: false,
        })
    }

    fn position(&self, key: Option<&OrderedKey>) -> Option<Position> {
        let after = self.after?;
        Some(Position {
            key: key.cloned(),
            id: after.id.clone(),
        })
    }

    fn walk(
        &self,
        paths: Vec<(Access, Option<Position>)>,
        direction: Direction,
        also: Vec<Constraint>,
        bodies: Bodies,
    ) -> Walk {
        // One more than the page tells whether there is another.
        let first = self.limit.saturating_add(1).min(MAX_STRETCH);
        let first = match bodies {
            Bodies::Omit => first.max(256),
            Bodies::Inline => first,
        };
        let stretch = Stretch::starting(first, MAX_STRETCH);
        Walk::new(self.search, paths, direction, also, bodies, stretch)
    }

    /// Whether the keys of rows are enough to rank them.
    fn bodies_to_rank(&self) -> Bodies {
        let kept = |path: &Path| path.root() == "_system" || serves(self.indexes, path);
        let ranked = self.order().fields.iter().all(|(path, _)| kept(path));
        if ranked && !self.search.filter_reads_body() {
            Bodies::Omit
        } else {
            Bodies::Inline
        }
    }
}

impl Way {
    pub(super) fn walk(&mut self) -> &mut Walk {
        match self {
            Self::Gather { walk, .. } | Self::Rank { walk, .. } => walk,
        }
    }
}

fn along(constraint: &Constraint) -> Access {
    Access::Field {
        field: constraint.path().clone(),
        ranges: constraint.ranges().to_vec(),
    }
}

/// The part of a range from a key on, in a direction.
fn clip(range: &KeyRange, direction: Direction, from: Option<&OrderedKey>) -> Option<KeyRange> {
    let Some(from) = from else {
        return Some(range.clone());
    };
    let mut clipped = range.clone();
    let (near, far) = match direction {
        Direction::Ascending => (&mut clipped.lower, &range.upper),
        Direction::Descending => (&mut clipped.upper, &range.lower),
    };
    let before = |key: &OrderedKey| match direction {
        Direction::Ascending => key < from,
        Direction::Descending => key > from,
    };
    match far {
        Bound::Included(key) if before(key) => return None,
        Bound::Excluded(key) if before(key) || key == from => return None,
        _ => {}
    }
    match near {
        Bound::Included(key) | Bound::Excluded(key) if !before(key) => {}
        near => *near = Bound::Included(from.clone()),
    }
    Some(clipped)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> OrderedKey {
        OrderedKey::from_stored(text)
    }

    #[test]
    fn a_range_is_clipped_where_a_page_goes_on() {
        use Bound::{Excluded, Included, Unbounded};
        let range = |lower, upper| KeyRange { lower, upper };
        let (up, down) = (Direction::Ascending, Direction::Descending);
        let whole = range(Unbounded, Unbounded);
        let part = range(Included(key("b")), Excluded(key("d")));
        for (given, direction, from, expected) in [
            (&whole, up, "c", Some(range(Included(key("c")), Unbounded))),
            (
                &whole,
                down,
                "c",
                Some(range(Unbounded, Included(key("c")))),
            ),
            (&part, up, "a", Some(part.clone())),
            (&part, up, "b", Some(part.clone())),
            (
                &part,
                up,
                "c",
                Some(range(Included(key("c")), Excluded(key("d")))),
            ),
            (&part, up, "d", None),
            (&part, down, "e", Some(part.clone())),
            (
                &part,
                down,
                "c",
                Some(range(Included(key("b")), Included(key("c")))),
            ),
            (
                &part,
                down,
                "b",
                Some(range(Included(key("b")), Included(key("b")))),
            ),
            (&part, down, "a", None),
        ] {
            assert_eq!(
                clip(given, direction, Some(&key(from))),
                expected,
                "{from} {direction:?}"
            );
        }
        assert_eq!(clip(&part, up, None), Some(part));
    }
}

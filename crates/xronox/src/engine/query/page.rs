//! Filling a page, by whichever way is the shortest.

use std::collections::{BTreeMap, HashMap};

use futures::{StreamExt, TryStreamExt, stream};
use xronox_model::{Direction, OrderedKey, Path, RecordId};
use xronox_store::{Position, StoreError};

use super::{
    body::READ_AHEAD,
    order::{Place, Rank},
    plan::{Planner, Way},
    search::{Candidate, Search},
    walk::{Chunk, Walk},
};
use crate::{Error, ErrorKind, Unindexed, engine::indexes::serves};

/// A page ends before its documents have more bytes than this.
const MAX_PAGE_BYTES: u64 = 64 * 1024 * 1024;
/// For each record of the page so many are looked at on one way before another
/// is tried; then twice as many, and so on, so that no page costs much more
/// than its shortest way.
const FIRST_TURN: u64 = 4;
/// The first turn is at most so long.
const MAX_FIRST_TURN: u64 = 2000;
/// How often a query begins anew because an index is not what it seemed.
const MAX_PLANS: usize = 32;

/// The candidates of a page, in order.
#[derive(Debug)]
pub(super) struct Filled {
    pub(super) candidates: Vec<Candidate>,
    /// Where to go on, if there may be more.
    pub(super) next: Option<Place>,
    pub(super) scanned: u64,
    /// The newest `cv` when the page was begun.
    pub(super) cv: Option<u64>,
}

/// How many records may be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bounds {
    /// Without an index, as many as the setting says.
    Setting,
    /// Whoever reads everything may look at everything, unless each page
    /// looks at everything again.
    Whole,
}

/// Why a way was left.
#[derive(Debug)]
pub(super) enum Stop {
    Failed(Error),
    /// The indexes are not what the plan took them for.
    Replan,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// What a query has looked at so far, and may.
#[derive(Debug)]
pub(super) struct Tally<'p, 'a> {
    search: &'p Search<'a>,
    pub(super) scanned: u64,
    most: Option<u64>,
    unindexed: Vec<Path>,
    pub(super) cv: Option<u64>,
}

impl<'p, 'a> Tally<'p, 'a> {
    pub(super) fn new(search: &'p Search<'a>) -> Self {
        Self {
            search,
            scanned: 0,
            most: None,
            unindexed: Vec::new(),
            cv: None,
        }
    }

    /// Sets the bound that holds if one of the fields is not indexed.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) if that is not allowed at all.
    pub(super) fn bound_by(
        &mut self,
        fields: impl IntoIterator<Item = Path>,
        indexes: &xronox_store::Indexes,
    ) -> Result<(), Error> {
        let settings = &self.search.shared.database.settings.queries;
        let unindexed = fields.into_iter().filter(|field| !serves(indexes, field));
        self.unindexed = unindexed.collect();
        self.most = match (self.unindexed.first(), settings.unindexed) {
            (None, _) => None,
            (Some(_), Unindexed::Scan) => Some(settings.max_scanned),
            (Some(field), Unindexed::Error) => {
                return Err(match indexes.of_field(field) {
                    Some(_) => Error::new(
                        ErrorKind::Unavailable,
                        format!("the index of `{field}` is being built; try again later"),
                    ),
                    None => Error::new(
                        ErrorKind::Invalid,
                        format!("`{field}` has no index, and `queries.unindexed` is \"error\""),
                    )
                    .lacking_indexes(self.unindexed.clone()),
                });
            }
        };
        Ok(())
    }

    /// How many records may still be looked at, and one more.
    fn room(&self) -> u64 {
        self.most
            .map_or(u64::MAX, |most| most.saturating_sub(self.scanned) + 1)
    }

    fn count(&mut self, chunk: &Chunk) -> Result<(), Error> {
        self.scanned += chunk.examined;
        self.cv = self.cv.or(chunk.cv);
        match self.most {
            Some(most) if self.scanned > most => Err(Error::new(
                ErrorKind::Invalid,
                format!(
                    "looked at more than {most} records without an index (`queries.maxScanned`); \
                     index what the query filters and sorts by"
                ),
            )
            .lacking_indexes(self.unindexed.clone())),
            _ => Ok(()),
        }
    }

    /// Goes on along a walk.
    pub(super) async fn step(&mut self, walk: &mut Walk, most: u64) -> Result<Chunk, Stop> {
        let chunk = match walk.go_on(self.search, most.min(self.room())).await {
            Ok(chunk) => chunk,
            Err(StoreError::Refused(why)) => {
                // An index that was ready has been removed.
                tracing::debug!(collection = %self.search.shared.name, why, "planning anew");
                self.search.shared.refresh_indexes().await?;
                return Err(Stop::Replan);
            }
            Err(error) => return Err(Stop::Failed(error.into())),
        };
        self.count(&chunk)?;
        if let Some(field) = &chunk.multi
            && self.search.shared.indexes.remember_multi(field)
        {
            return Err(Stop::Replan);
        }
        Ok(chunk)
    }
}

/// Finds the first `limit` records behind a place.
pub(super) async fn fill(
    search: &Search<'_>,
    after: Option<&Place>,
    limit: usize,
    bounds: Bounds,
) -> Result<Filled, Error> {
    let fields = search.fields();
    let mut tally = Tally::new(search);
    for _ in 0..MAX_PLANS {
        let indexes = search.shared.indexes_for(&fields).await?;
        let planner = Planner {
            search,
            indexes: &indexes,
            after,
            limit,
        };
        let mut ways: Vec<Filling> = planner
            .ways()
            .into_iter()
            .map(|way| Filling::new(way, search, after, limit))
            .collect();
        tally.bound_by(fields.iter().cloned(), &indexes)?;
        let in_order = |way: &Filling| matches!(way.way, Way::Gather { .. });
        if bounds == Bounds::Whole && ways.iter().any(in_order) {
            tally.most = None;
        }
        match race(&mut ways, limit, &mut tally).await {
            Ok((candidates, next)) => {
                return Ok(Filled {
                    candidates,
                    next,
                    scanned: tally.scanned,
                    cv: tally.cv,
                });
            }
            Err(Stop::Failed(error)) => return Err(error),
            Err(Stop::Replan) => {}
        }
    }
    Err(restless())
}

/// The error of a query whose indexes never stand still.
pub(super) fn restless() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the indexes keep changing; try again",
    )
}

/// Goes each way a while, until one has an end.
async fn race(
    ways: &mut [Filling<'_, '_>],
    limit: usize,
    tally: &mut Tally<'_, '_>,
) -> Result<(Vec<Candidate>, Option<Place>), Stop> {
    let mut turn = match ways {
        [_] => u64::MAX,
        _ => (FIRST_TURN * (limit as u64 + 1)).min(MAX_FIRST_TURN),
    };
    loop {
        for way in &mut *ways {
            let until = tally.scanned.saturating_add(turn);
            while tally.scanned < until {
                if way.go_on(tally, until - tally.scanned).await? {
                    return Ok(way.take());
                }
                // Storage in memory would never let others run.
                tokio::task::yield_now().await;
            }
        }
        turn = turn.saturating_mul(2);
    }
}

/// A page being filled along one way.
struct Filling<'p, 'a> {
    way: Way,
    search: &'p Search<'a>,
    after: Option<Rank>,
    limit: usize,
    gathered: Vec<Candidate>,
    bytes: u64,
    more: bool,
    best: Best,
}

impl<'p, 'a> Filling<'p, 'a> {
    fn new(way: Way, search: &'p Search<'a>, after: Option<&Place>, limit: usize) -> Self {
        Self {
            way,
            search,
            after: after.map(|after| search.order.rank(after)),
            limit,
            gathered: Vec::new(),
            bytes: 0,
            more: false,
            best: Best::default(),
        }
    }

    /// Looks at about `most` records; gives whether that was the end.
    async fn go_on(&mut self, tally: &mut Tally<'_, '_>, most: u64) -> Result<bool, Stop> {
        let chunk = tally.step(self.way.walk(), most).await?;
        let furthest = chunk
            .rows
            .last()
            .and_then(|(position, _)| position.key.clone());
        let sorted = matches!(self.way, Way::Gather { sorted: true, .. });
        let search = self.search;
        let judged = chunk
            .rows
            .into_iter()
            .map(|(at, row)| search.judge(at, row, sorted));
        let mut judged = stream::iter(judged).buffered(READ_AHEAD);
        while let Some(judged) = judged.try_next().await? {
            let Some(candidate) = judged else { continue };
            if self
                .after
                .as_ref()
                .is_some_and(|after| candidate.rank <= *after)
            {
                continue;
            }
            match self.way {
                Way::Gather { .. } => {
                    if self.is_full(&candidate) {
                        self.more = true;
                        return Ok(true);
                    }
                    self.bytes += candidate.size();
                    self.gathered.push(candidate);
                }
                // One more than the page tells whether there is another.
                Way::Rank { .. } => self.best.offer(candidate, self.limit + 1),
            }
        }
        drop(judged);
        if self.way.walk().done() {
            return Ok(true);
        }
        match self.way {
            Way::Gather { .. } => {
                self.more = self.gathered.len() == self.limit;
                Ok(self.more)
            }
            Way::Rank { prefix, .. } => {
                Ok(self.best.len() > self.limit && self.best.is_beyond(prefix, furthest.as_ref()))
            }
        }
    }

    fn is_full(&self, next: &Candidate) -> bool {
        self.gathered.len() == self.limit
            || (!self.gathered.is_empty() && self.bytes + next.size() > MAX_PAGE_BYTES)
    }

    fn take(&mut self) -> (Vec<Candidate>, Option<Place>) {
        for candidate in std::mem::take(&mut self.best).ranked() {
            if self.is_full(&candidate) {
                self.more = true;
                break;
            }
            self.bytes += candidate.size();
            self.gathered.push(candidate);
        }
        let gathered = std::mem::take(&mut self.gathered);
        let last = gathered.last().map(|candidate| candidate.place.clone());
        (gathered, last.filter(|_| self.more))
    }
}

/// The best candidates so far.
#[derive(Debug, Default)]
struct Best {
    by_rank: BTreeMap<Rank, Candidate>,
    /// A record that moves meanwhile may be met twice.
    ranks: HashMap<RecordId, Rank>,
    held: u64,
}

impl Best {
    fn len(&self) -> usize {
        self.by_rank.len()
    }

    fn offer(&mut self, mut candidate: Candidate, most: usize) {
        if let Some(earlier) = self.ranks.remove(&candidate.place.id)
            && let Some(earlier) = self.by_rank.remove(&earlier)
        {
            self.held -= earlier.held();
        }
        let full = self.by_rank.len() >= most;
        let last = self.by_rank.last_key_value();
        if full && last.is_some_and(|(last, _)| candidate.rank >= *last) {
            return;
        }
        if full && let Some((_, gone)) = self.by_rank.pop_last() {
            self.held -= gone.held();
            self.ranks.remove(&gone.place.id);
        }
        if self.held + candidate.held() > MAX_PAGE_BYTES {
            candidate.shed();
        }
        self.held += candidate.held();
        self.ranks
            .insert(candidate.place.id.clone(), candidate.rank.clone());
        self.by_rank.insert(candidate.rank.clone(), candidate);
    }

    /// Whether all that comes behind `key` in the first field is worse.
    fn is_beyond(&self, direction: Option<Direction>, key: Option<&OrderedKey>) -> bool {
        let last = self.by_rank.last_key_value();
        let last = last.and_then(|(_, last)| last.place.keys.first());
        match (direction, key, last) {
            (Some(Direction::Ascending), Some(key), Some(last)) => key > last,
            (Some(Direction::Descending), Some(key), Some(last)) => key < last,
            _ => false,
        }
    }

    fn ranked(self) -> impl Iterator<Item = Candidate> {
        self.by_rank.into_values()
    }
}

/// Counts the records that match.
pub(super) async fn count(search: &Search<'_>) -> Result<(u64, u64, Option<u64>), Error> {
    let fields = search.fields();
    let mut tally = Tally::new(search);
    for _ in 0..MAX_PLANS {
        let indexes = search.shared.indexes_for(&fields).await?;
        tally.bound_by(fields.iter().cloned(), &indexes)?;
        let planner = Planner {
            search,
            indexes: &indexes,
            after: None,
            limit: 1000,
        };
        match count_along(search, planner.any_order(), &mut tally).await {
            Ok(count) => return Ok((count, tally.scanned, tally.cv)),
            Err(Stop::Failed(error)) => return Err(error),
            Err(Stop::Replan) => {}
        }
    }
    Err(restless())
}

async fn count_along(
    search: &Search<'_>,
    mut walk: Walk,
    tally: &mut Tally<'_, '_>,
) -> Result<u64, Stop> {
    let mut count = 0;
    loop {
        let chunk = tally.step(&mut walk, u64::MAX).await?;
        let judge = |(at, row): (Position, _)| search.judge(at, row, false);
        let mut judged = stream::iter(chunk.rows.into_iter().map(judge)).buffered(READ_AHEAD);
        while let Some(judged) = judged.try_next().await? {
            count += u64::from(judged.is_some());
        }
        if walk.done() {
            return Ok(count);
        }
        tokio::task::yield_now().await;
    }
}

//! Walking a collection along an access path.
//!
//! A path is cut into segments, one query each. What is valid at a cut are two
//! sorted runs, the rows that still are and those that were closed since,
//! merged here. The counter document comes with the answer, of one moment with
//! the rows, so that what an index is and what it holds cannot disagree.

use std::{cmp::Ordering, ops::Bound, sync::Arc};

use bytes::Bytes;
use mongodb::{
    ClientSession,
    bson::{Bson, Document, RawDocumentBuf, bson, doc},
    options::ReadConcern,
};
use xronox_model::{
    CollectionName, Direction, KeyRange, OrderedKey, Path, RecordId, RecordIdRef, Timestamp,
    VersionRow,
};
use xronox_store::{Access, Bodies, Find, Found, PAGE_BYTES, Position, StoreError, ruling};

use crate::{
    core::Core,
    error::Failure,
    names::Names,
    read::{batch_of, decode_all, limit_of, without_bodies},
    row::{PURGE, item},
    shape::{COUNTER, Counter, Shape, date, int},
};

/// One query has at most this many branches, and single keys.
const MAX_INTERVALS: usize = 16;
const MAX_POINTS: usize = 1000;
/// Records may have several keys: up to so many single ones are walked one
/// after another, more of them at once.
const MAX_TURNS: usize = 4;

const DELETED: &str = "_system.deleted";

/// See [`Catalog::find`](xronox_store::Catalog::find).
pub(crate) async fn find(
    core: &Arc<Core>,
    session: &mut ClientSession,
    name: &CollectionName,
    find: &Find,
) -> Result<Found, Failure> {
    // Without transactions, what is newest is what was applied last.
    let settled = core.settled(session, name).await?;
    let as_of;
    let find = match (settled, find.cut) {
        (Some(next), None) => {
            as_of = Find {
                cut: Some(next.saturating_sub(1)),
                ..find.clone()
            };
            &as_of
        }
        _ => find,
    };
    loop {
        let shape = core.shape(session, name).await?;
        let mut walk = Walk {
            core,
            names: Names::of(name),
            find,
            shape: &shape,
            found: Found::default(),
            counter: None,
        };
        match walk.run(session).await {
            // Maybe the index is newer than what we know.
            Err(Failure::Store(StoreError::Refused(why))) => {
                if core.fresh_shape(session, name).await?.is_as(&shape) {
                    return Err(StoreError::Refused(why).into());
                }
                continue;
            }
            ran => ran?,
        }
        let (mut found, counter) = (walk.found, walk.counter);
        let now = counter.as_ref().map(|counter| counter.shape.clone());
        if now.as_ref().is_some_and(|now| !now.is_as(&shape))
            || (now.is_none() && shape.born.is_some())
        {
            // The indexes are others than we thought.
            match now {
                Some(now) => core.learn(name, &now),
                None => core.shapes.forget(name),
            }
            continue;
        }
        if let Some(next) = settled {
            found.cv = next.checked_sub(1);
        }
        return Ok(found);
    }
}

/// What a path is sorted and bounded by.
#[derive(Debug, Clone)]
enum Column {
    /// Ordered keys.
    Key(String),
    /// The moments that ordered keys stand for.
    Time(&'static str),
}

/// A stretch of the path that one query walks.
#[derive(Debug, Default)]
struct Segment {
    filter: Document,
    /// The field in front of the id.
    sort: Option<String>,
    /// Where records may have several keys: works out the one that counts.
    several: Option<Several>,
}

#[derive(Debug)]
struct Several {
    key: Document,
    after: Option<Document>,
}

struct Walk<'a> {
    core: &'a Arc<Core>,
    names: Names,
    find: &'a Find,
    shape: &'a Shape,
    found: Found,
    counter: Option<Counter>,
}

impl Walk<'_> {
    fn ascending(&self) -> bool {
        self.find.direction == Direction::Ascending
    }

    async fn run(&mut self, session: &mut ClientSession) -> Result<(), Failure> {
        let segments = self.segments()?;
        if let Access::Field { field, .. } = &self.find.access {
            let index = self.shape.of_field(field);
            self.found.multi = index.is_some_and(|index| index.multi);
        }
        let (mut more, mut bytes) = (None, 0);
        for segment in &segments {
            let left = self.find.limit.saturating_sub(self.found.rows.len());
            let (rows, further) = self.walk(session, segment, left).await?;
            bytes += inline_bytes(&rows);
            self.found.rows.extend(rows);
            if further || bytes >= PAGE_BYTES {
                more = self.found.rows.last().map(|(position, _)| position.clone());
                break;
            }
        }
        if segments.is_empty() {
            let counter = self.core.counter_as_it_is(session, &self.names).await?;
            self.meet(counter);
        }
        self.found.examined = self.found.rows.len();
        self.found.next = more;
        Ok(())
    }

    /// Takes a counter that came with rows. The first one tells what all of
    /// them are sure to hold, the last one what the indexes are.
    fn meet(&mut self, counter: Option<Counter>) {
        if self.counter.is_none() {
            self.found.cv = counter.as_ref().and_then(Counter::newest);
        }
        self.counter = counter;
    }

    fn segments(&self) -> Result<Vec<Segment>, StoreError> {
        match &self.find.access {
            Access::All => Ok(vec![Segment {
                filter: self.beyond(self.find.after.as_ref().map(|after| &after.id)),
                ..Segment::default()
            }]),
            Access::Ids(ids) => Ok(self.of_ids(ids)),
            Access::Field { field, ranges } if field.to_string() == DELETED => {
                Ok(self.of_deletedness(ranges))
            }
            Access::Field { field, ranges } => self.of_field(field, ranges),
        }
    }

    /// Records behind this one.
    fn beyond(&self, id: Option<&RecordId>) -> Document {
        match id {
            None => Document::new(),
            Some(id) => doc! { "i": beyond(id, self.find.direction) },
        }
    }

    fn of_ids(&self, ids: &[RecordId]) -> Vec<Segment> {
        let after = self.find.after.as_ref().map(|after| &after.id);
        let behind = |id: &&RecordId| {
            after.is_none_or(|after| match self.find.direction {
                Direction::Ascending => *id > after,
                Direction::Descending => *id < after,
            })
        };
        let mut ids: Vec<&RecordId> = ids.iter().filter(behind).collect();
        ids.sort_unstable();
        ids.dedup();
        if !self.ascending() {
            ids.reverse();
        }
        let segment = |ids: &[&RecordId]| {
            let ids: Vec<Bson> = ids.iter().map(|id| item(id)).collect();
            Segment {
                filter: doc! { "i": { "$in": ids } },
                ..Segment::default()
            }
        };
        ids.chunks(MAX_POINTS * 4).map(segment).collect()
    }

    /// Hardly any record is deleted, and those that are not are all the
    /// others: they are walked by their ids.
    fn of_deletedness(&self, ranges: &[KeyRange]) -> Vec<Segment> {
        self.core.index_deleted(&self.names, self.shape);
        let mut turns = [false, true];
        if !self.ascending() {
            turns.reverse();
        }
        let mut segments = Vec::new();
        for deleted in turns {
            let key = OrderedKey::of(&deleted.into());
            if !ranges.iter().any(|range| range.contains(&key)) {
                continue;
            }
            let mut filter = doc! { "del": { "$exists": deleted } };
            if let Some(Position { key: Some(at), id }) = &self.find.after {
                match key.cmp(at) {
                    Ordering::Equal => {
                        filter.extend(self.beyond(Some(id)));
                    }
                    order if (order == Ordering::Greater) != self.ascending() => continue,
                    _ => {}
                }
            }
            segments.push(Segment {
                filter,
                ..Segment::default()
            });
        }
        segments
    }

    fn of_field(&self, field: &Path, ranges: &[KeyRange]) -> Result<Vec<Segment>, StoreError> {
        if ruling::always_indexed(field) {
            let column = if field.to_string() == "_system.insertedAt" {
                "ins"
            } else {
                "at"
            };
            self.core.index_times(&self.names, self.shape, column);
            return Ok(self.of_column(&Column::Time(column), ranges));
        }
        let index = self
            .shape
            .of_field(field)
            .filter(|index| index.ready)
            .ok_or_else(|| {
                StoreError::Refused(format!("there is no index of `{field}` that is ready"))
            })?;
        let column = format!("k.{}", index.tag);
        Ok(if index.multi {
            self.of_several(&column, ranges)
        } else {
            self.of_column(&Column::Key(column), ranges)
        })
    }

    /// The ranges that lie behind the position, or around it.
    fn behind(&self, ranges: &[KeyRange]) -> Vec<KeyRange> {
        let Some(Position { key: Some(at), .. }) = &self.find.after else {
            return ranges.to_vec();
        };
        let mut out = Vec::new();
        for range in ranges {
            let mut range = range.clone();
            let past = Bound::Excluded(at.clone());
            if self.ascending() {
                if starts_before(&range.lower, at) {
                    range.lower = past;
                }
            } else if ends_behind(&range.upper, at) {
                range.upper = past;
            }
            if !is_empty(&range) {
                out.push(range);
            }
        }
        out
    }

    fn of_column(&self, column: &Column, ranges: &[KeyRange]) -> Vec<Segment> {
        let mut first = Vec::new();
        if let Some(Position { key: Some(at), id }) = &self.find.after
            && ranges.iter().any(|range| range.contains(at))
            && let Some(value) = column.value(at)
        {
            let mut same = doc! { column.path(): value };
            same.extend(self.beyond(Some(id)));
            first.push(same);
        }
        let mut ranges = self.behind(ranges);
        if !self.ascending() {
            ranges.reverse();
        }
        let mut segments = Vec::new();
        let (mut branches, mut points) = (first, Vec::new());
        for range in &ranges {
            match range.as_point().and_then(|key| column.value(key)) {
                Some(value) => points.push(value),
                None => branches.extend(column.between(range)),
            }
            if branches.len() >= MAX_INTERVALS || points.len() >= MAX_POINTS {
                segments.extend(column.segment(&mut branches, &mut points));
            }
        }
        segments.extend(column.segment(&mut branches, &mut points));
        segments
    }

    /// Where a record may have several keys in the ranges, and stands at the
    /// first of them.
    fn of_several(&self, path: &str, ranges: &[KeyRange]) -> Vec<Segment> {
        let points: Option<Vec<&OrderedKey>> = ranges.iter().map(KeyRange::as_point).collect();
        if let Some(mut points) = points.filter(|points| points.len() <= MAX_TURNS) {
            if !self.ascending() {
                points.reverse();
            }
            return self.of_points(path, &points);
        }
        let any: Vec<Document> = ranges
            .iter()
            .map(|range| doc! { path: between(range) })
            .collect();
        let input = format!("${path}");
        let conditions: Vec<Document> = ranges.iter().map(inside).collect();
        let keys = doc! { "$filter": {
            "input": { "$cond": [{ "$isArray": [&input] }, &input, [&input]] },
            "as": "key",
            "cond": { "$or": conditions },
        } };
        let (pick, past) = if self.ascending() {
            ("$min", "$gt")
        } else {
            ("$max", "$lt")
        };
        let after = match &self.find.after {
            Some(Position { key: Some(at), id }) => {
                let mut same = doc! { "f": at.as_str() };
                same.extend(self.beyond(Some(id)));
                Some(doc! { "$or": [{ "f": { past: at.as_str() } }, same] })
            }
            _ => None,
        };
        vec![Segment {
            filter: doc! { "$or": any },
            sort: Some("f".to_owned()),
            several: Some(Several {
                key: doc! { pick: keys },
                after,
            }),
        }]
    }

    /// One key after another, each in the order of ids, as the index has them.
    fn of_points(&self, path: &str, points: &[&OrderedKey]) -> Vec<Segment> {
        let mut segments = Vec::new();
        for (i, key) in points.iter().enumerate() {
            let earlier: Vec<&str> = points[..i].iter().map(|key| key.as_str()).collect();
            let mut filter = doc! { path: { "$eq": key.as_str(), "$nin": earlier } };
            if let Some(Position { key: Some(at), id }) = &self.find.after {
                match (*key).cmp(at) {
                    Ordering::Equal => {
                        filter.extend(self.beyond(Some(id)));
                    }
                    order if (order == Ordering::Greater) != self.ascending() => continue,
                    _ => {}
                }
            }
            segments.push(Segment {
                filter,
                ..Segment::default()
            });
        }
        segments
    }

    /// Walks a segment: at most `limit` rows, and whether there are more.
    async fn walk(
        &mut self,
        session: &mut ClientSession,
        segment: &Segment,
        limit: usize,
    ) -> Result<(Vec<(Position, VersionRow)>, bool), Failure> {
        let one_more = limit.saturating_add(1);
        let mut pipeline = match self.find.cut {
            None => self.stages(segment, doc! { "o": true }, one_more),
            Some(cut) => {
                let cut = int(cut);
                let open = doc! { "o": true, "_id": { "$lte": cut } };
                let closed = doc! { "to": { "$gt": cut }, "_id": { "$lte": cut } };
                let mut stages = self.stages(segment, open, one_more);
                stages.push(doc! { "$unionWith": {
                    "coll": &self.names.ver,
                    "pipeline": self.stages(segment, closed, one_more),
                } });
                stages
            }
        };
        if self.find.bodies == Bodies::Omit {
            pipeline.push(doc! { "$project": without_bodies() });
        }
        pipeline.push(doc! { "$unionWith": {
            "coll": &self.names.counter,
            "pipeline": [{ "$match": { "_id": COUNTER } }],
        } });
        let most = match (self.find.bodies, limit) {
            (Bodies::Omit, _) | (_, 0 | 1) => usize::MAX,
            (Bodies::Inline, _) => PAGE_BYTES,
        };
        let asked = self.core.ask(session, &self.names, pipeline, limit, most);
        let (documents, whole) = asked.await?;
        if !whole {
            // Only a whole answer says where the runs meet, and how the
            // indexes are: so many rows fit into one.
            let fewer = (documents.len() / 2).clamp(1, limit / 2);
            return Box::pin(self.walk(session, segment, fewer)).await;
        }
        let (counters, documents): (Vec<_>, Vec<_>) = documents
            .into_iter()
            .partition(|document| matches!(document.get_str("_id"), Ok(COUNTER)));
        self.meet(counters.first().map(counter_of).transpose()?);
        let mut rows = Vec::with_capacity(documents.len());
        for stored in decode_all(&documents, self.shape)? {
            if let Some(position) = self.position(&stored.row) {
                rows.push((position, stored.row));
            }
        }
        if self.find.cut.is_some() {
            let order = |position: &Position| (position.key.clone(), position.id.clone());
            rows.sort_by_cached_key(|(position, _)| order(position));
            // One that was closed between the two runs is in both.
            rows.dedup_by_key(|(_, row)| row.cv);
            if !self.ascending() {
                rows.reverse();
            }
        }
        let more = rows.len() > limit;
        rows.truncate(limit);
        Ok((rows, more))
    }

    fn stages(&self, segment: &Segment, valid: Document, limit: usize) -> Vec<Document> {
        let way = if self.ascending() { 1 } else { -1 };
        let mut filter = valid;
        filter.insert("op", doc! { "$ne": PURGE });
        if matches!(self.find.access, Access::Field { .. }) {
            filter.insert("st", doc! { "$exists": false });
        }
        let mut stages = vec![doc! { "$match": { "$and": [filter, segment.filter.clone()] } }];
        if let Some(several) = &segment.several {
            stages.push(doc! { "$set": { "f": several.key.clone() } });
            stages.push(doc! { "$match": { "f": { "$gte": "" } } });
            stages.extend(several.after.clone().map(|after| doc! { "$match": after }));
        }
        let mut sort = Document::new();
        if let Some(field) = &segment.sort {
            sort.insert(field, way);
        }
        sort.insert("i", way);
        stages.push(doc! { "$sort": sort });
        stages.push(doc! { "$limit": limit_of(limit) });
        stages
    }

    /// Where a row stands on the path.
    fn position(&self, row: &VersionRow) -> Option<Position> {
        let key = match &self.find.access {
            Access::All | Access::Ids(_) => None,
            Access::Field { field, ranges } => Some(match row.always_key(&field.to_string()) {
                Some(key) => key,
                None => first_key(row, field, ranges, self.find.direction)?,
            }),
        };
        Some(Position {
            key,
            id: row.id.clone(),
        })
    }
}

fn inline_bytes(rows: &[(Position, VersionRow)]) -> usize {
    let inline = rows.iter().filter_map(|(_, row)| row.inline());
    inline.map(Bytes::len).sum()
}

/// The key that comes first of those in the ranges.
fn first_key(
    row: &VersionRow,
    field: &Path,
    ranges: &[KeyRange],
    direction: Direction,
) -> Option<OrderedKey> {
    let keys = row.keys.get(field)?.keys().iter();
    let within = keys.filter(|key| ranges.iter().any(|range| range.contains(key)));
    match direction {
        Direction::Ascending => within.min(),
        Direction::Descending => within.max(),
    }
    .cloned()
}

impl Column {
    fn path(&self) -> &str {
        match self {
            Self::Key(path) => path,
            Self::Time(path) => path,
        }
    }

    /// The value that a key stands for, if any stands for it.
    fn value(&self, key: &OrderedKey) -> Option<Bson> {
        match self {
            Self::Key(_) => Some(key.as_str().into()),
            Self::Time(_) => {
                let text = key.as_str().get(1..)?;
                let at: Timestamp = text.parse().ok()?;
                (key_of(at.as_millis()) == *key).then(|| date(at).into())
            }
        }
    }

    fn between(&self, range: &KeyRange) -> Option<Document> {
        let bounds = match self {
            Self::Key(_) => between(range),
            Self::Time(_) => {
                let from = match &range.lower {
                    Bound::Unbounded => FIRST,
                    Bound::Included(key) => first_not(|at| key_of(at) < *key),
                    Bound::Excluded(key) => first_not(|at| key_of(at) <= *key),
                };
                let to = match &range.upper {
                    Bound::Unbounded => LAST + 1,
                    Bound::Included(key) => first_not(|at| key_of(at) <= *key),
                    Bound::Excluded(key) => first_not(|at| key_of(at) < *key),
                };
                if from >= to {
                    return None;
                }
                // Dates reach further than moments.
                doc! {
                    "$gte": mongodb::bson::DateTime::from_millis(from),
                    "$lt": mongodb::bson::DateTime::from_millis(to),
                }
            }
        };
        Some(doc! { self.path(): bounds })
    }

    /// The segment of what was gathered, if anything was.
    fn segment(&self, branches: &mut Vec<Document>, points: &mut Vec<Bson>) -> Option<Segment> {
        let mut branches = std::mem::take(branches);
        if !points.is_empty() {
            let points = std::mem::take(points);
            branches.push(doc! { self.path(): { "$in": points } });
        }
        let filter = match branches.len() {
            0 => return None,
            1 => branches.remove(0),
            _ => doc! { "$or": branches },
        };
        Some(Segment {
            filter,
            sort: Some(self.path().to_owned()),
            several: None,
        })
    }
}

/// The first and the last moment there is.
const FIRST: i64 = -62_167_219_200_000;
const LAST: i64 = 253_402_207_200_000;

fn key_of(millis: i64) -> OrderedKey {
    let at = Timestamp::from_millis(millis).to_string();
    OrderedKey::of(&at.into())
}

/// The first moment of which `before` is not true; one after the last if it is
/// true of all.
fn first_not(before: impl Fn(i64) -> bool) -> i64 {
    let (mut low, mut high) = (FIRST, LAST + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// What lies behind an id. A comparison with a string meets strings only, and
/// ObjectIds come after them.
fn beyond(id: &RecordId, direction: Direction) -> Bson {
    let value = item(id);
    match (id.as_ref(), direction) {
        (RecordIdRef::Text(_), Direction::Ascending) => bson!({ "$not": { "$lte": value } }),
        (RecordIdRef::Object(_), Direction::Ascending) => bson!({ "$gt": value }),
        (RecordIdRef::Text(_), Direction::Descending) => bson!({ "$lt": value }),
        (RecordIdRef::Object(_), Direction::Descending) => bson!({ "$not": { "$gte": value } }),
    }
}

fn between(range: &KeyRange) -> Document {
    let mut out = Document::new();
    match &range.lower {
        Bound::Included(key) => out.insert("$gte", key.as_str()),
        Bound::Excluded(key) => out.insert("$gt", key.as_str()),
        // Every key, and nothing that is no key.
        Bound::Unbounded => out.insert("$gte", ""),
    };
    match &range.upper {
        Bound::Included(key) => out.insert("$lte", key.as_str()),
        Bound::Excluded(key) => out.insert("$lt", key.as_str()),
        Bound::Unbounded => None,
    };
    out
}

/// The same as a condition on one key.
fn inside(range: &KeyRange) -> Document {
    let literal = |key: &str| doc! { "$literal": key };
    let conditions: Vec<Document> = between(range)
        .into_iter()
        .map(|(operator, key)| {
            let key = literal(key.as_str().unwrap_or_default());
            doc! { operator: ["$$key", key] }
        })
        .collect();
    doc! { "$and": conditions }
}

fn starts_before(lower: &Bound<OrderedKey>, at: &OrderedKey) -> bool {
    match lower {
        Bound::Unbounded => true,
        Bound::Included(key) => key <= at,
        Bound::Excluded(key) => key < at,
    }
}

fn ends_behind(upper: &Bound<OrderedKey>, at: &OrderedKey) -> bool {
    match upper {
        Bound::Unbounded => true,
        Bound::Included(key) => key >= at,
        Bound::Excluded(key) => key > at,
    }
}

fn is_empty(range: &KeyRange) -> bool {
    match (&range.lower, &range.upper) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(lower), Bound::Included(upper)) => lower > upper,
        (
            Bound::Included(lower) | Bound::Excluded(lower),
            Bound::Included(upper) | Bound::Excluded(upper),
        ) => lower >= upper,
    }
}

/// A counter document that came among rows.
fn counter_of(document: &RawDocumentBuf) -> Result<Counter, StoreError> {
    let document =
        Document::try_from(document.as_ref()).map_err(|_| crate::shape::damaged("bson"))?;
    Counter::read(&document)
}

impl Core {
    /// What a pipeline over the version rows gives, all of one moment where
    /// there are transactions.
    pub(crate) async fn at_once(
        &self,
        session: &mut ClientSession,
        names: &Names,
        pipeline: Vec<Document>,
        limit: usize,
    ) -> Result<Vec<RawDocumentBuf>, Failure> {
        let asked = self.ask(session, names, pipeline, limit, usize::MAX);
        Ok(asked.await?.0)
    }

    /// The same, up to so many bytes; and whether that is all.
    async fn ask(
        &self,
        session: &mut ClientSession,
        names: &Names,
        pipeline: Vec<Document>,
        limit: usize,
        most_bytes: usize,
    ) -> Result<(Vec<RawDocumentBuf>, bool), Failure> {
        let concern = if self.log_first().await? {
            ReadConcern::majority()
        } else {
            ReadConcern::snapshot()
        };
        let mut cursor = self
            .db
            .db()
            .collection::<RawDocumentBuf>(&names.ver)
            .aggregate(pipeline)
            .with_type::<RawDocumentBuf>()
            .read_concern(concern)
            .batch_size(batch_of(Some(limit.saturating_mul(2).saturating_add(3))))
            .max_time(self.db.max_time())
            .session(&mut *session)
            .await?;
        let (mut out, mut bytes) = (Vec::new(), 0);
        while cursor.advance(&mut *session).await? {
            if bytes > most_bytes {
                return Ok((out, false));
            }
            bytes += cursor.current().as_bytes().len();
            out.push(cursor.current().to_owned());
        }
        Ok((out, true))
    }

    async fn counter_as_it_is(
        &self,
        session: &mut ClientSession,
        names: &Names,
    ) -> Result<Option<Counter>, Failure> {
        let counters = self.db.db().collection::<Document>(&names.counter);
        let found = counters
            .find_one(doc! { "_id": COUNTER })
            .session(session)
            .await?;
        Ok(found.as_ref().map(Counter::read).transpose()?)
    }
}

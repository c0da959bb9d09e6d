//! What a query looks for, and whether a row is that.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::Value;
use xronox_model::{
    Composed, Direction, Filter, Location, Narrow, Path, RecordId, VersionRow, alias_of, keys_at,
};
use xronox_store::{Access, Bodies, Find, Position};

use super::{
    body::{READ_AHEAD, read_body},
    order::{Order, Place, Rank},
};
use crate::{
    Error,
    collection::Shared,
    engine::{
        record::{Record, parse_only},
        shape::Sight,
    },
};

/// What is looked for, in which order and in which state of the collection.
#[derive(Debug)]
pub(super) struct Search<'a> {
    pub(super) shared: &'a Shared,
    pub(super) filter: &'a Filter,
    pub(super) order: &'a Order,
    pub(super) include_deleted: bool,
    /// `None`: the newest versions, as they are when they are met.
    pub(super) cut: Option<u64>,
    reads: Reads,
}

/// What the filter and the order read of a record.
#[derive(Debug)]
struct Reads {
    filter_body: bool,
    /// Properties of the document.
    properties: BTreeSet<String>,
    id: bool,
    system: bool,
}

/// A record that matches.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) place: Place,
    pub(super) rank: Rank,
    row: VersionRow,
    /// The canonical bytes of the document, if they were read.
    canonical: Option<Bytes>,
}

impl Candidate {
    /// Bytes of the document.
    pub(super) fn size(&self) -> u64 {
        self.row.body.as_ref().map_or(0, |body| body.size)
    }

    /// Bytes of it that are in memory.
    pub(super) fn held(&self) -> u64 {
        let inline = self.row.body.as_ref().and_then(|body| body.inline.as_ref());
        self.canonical
            .as_ref()
            .or(inline)
            .map_or(0, |bytes| bytes.len() as u64)
    }

    /// Lets go of the document, which is then read again.
    pub(super) fn shed(&mut self) {
        self.canonical = None;
        if let Some(body) = &mut self.row.body {
            body.inline = None;
        }
    }

    fn lacks_body(&self) -> bool {
        let omitted = |row: &VersionRow| {
            row.body
                .as_ref()
                .is_some_and(|body| body.location == Location::Inline && body.inline.is_none())
        };
        self.canonical.is_none() && omitted(&self.row)
    }
}

impl<'a> Search<'a> {
    pub(super) fn new(
        shared: &'a Shared,
        filter: &'a Filter,
        order: &'a Order,
        include_deleted: bool,
        cut: Option<u64>,
    ) -> Self {
        let of_system = |path: &Path| path.root() == "_system";
        let of_id = |path: &Path| path.root() == "_id";
        let filtered = filter.paths();
        let sorted = order.fields.iter().map(|(path, _)| path);
        let all = || filtered.iter().chain(sorted.clone());
        let reads = Reads {
            filter_body: filtered.iter().any(|path| !of_system(path) && !of_id(path)),
            properties: all().map(|path| path.root().to_owned()).collect(),
            id: all().any(of_id),
            system: all().any(|path| of_system(path) || alias_of(path).is_some()),
        };
        Self {
            shared,
            filter,
            order,
            include_deleted,
            cut,
            reads,
        }
    }

    /// The fields that an index is wanted for: none where the filter names the
    /// ids, since nothing else is looked at then.
    pub(super) fn fields(&self) -> BTreeSet<Path> {
        if Narrow::of(self.filter).ids.is_some() {
            return BTreeSet::new();
        }
        let sorted = self.order.fields.iter().map(|(path, _)| path.clone());
        let mut fields = self.filter.paths();
        fields.extend(sorted);
        fields.retain(|path| path.segments() != ["_id"]);
        fields
    }

    /// Whether documents must be read to know what matches.
    pub(super) fn filter_reads_body(&self) -> bool {
        self.reads.filter_body
    }

    /// Takes the row at a position, if it matches. `sorted` says that the keys
    /// of positions are those of the order's first field.
    pub(super) async fn judge(
        &self,
        position: Position,
        row: VersionRow,
        sorted: bool,
    ) -> Result<Option<Candidate>, Error> {
        if !self.admits(&row) {
            return Ok(None);
        }
        if !self.reads.filter_body {
            if !self.matches(&row, &Value::Null) {
                return Ok(None);
            }
            if let Some(place) = self.place_of_row(&row) {
                return Ok(Some(self.candidate(place, row, None)));
            }
        }
        if let Some((row, bytes)) = read_body(&self.shared.database, &self.shared.name, row).await?
        {
            return self.read(row, bytes);
        }
        // The version is gone. The record may have a newer one that stands at
        // the same place.
        let newer = self.newer(&position.id).await?;
        Ok(newer.filter(|newer| !sorted || newer.place.keys.first() == position.key.as_ref()))
    }

    /// The newest version of a record, if that is what is looked for.
    async fn newer(&self, id: &RecordId) -> Result<Option<Candidate>, Error> {
        let shared = self.shared;
        if self.cut.is_some() {
            return Ok(None);
        }
        let row = shared
            .database
            .catalog
            .head(&shared.name, id, Bodies::Inline)
            .await?;
        let Some(row) = row.filter(|row| self.admits(row)) else {
            return Ok(None);
        };
        match read_body(&shared.database, &shared.name, row).await? {
            Some((row, bytes)) => self.read(row, bytes),
            None => Ok(None),
        }
    }

    fn admits(&self, row: &VersionRow) -> bool {
        row.body.is_some() && (self.include_deleted || !row.system.deleted())
    }

    fn read(&self, row: VersionRow, bytes: Bytes) -> Result<Option<Candidate>, Error> {
        let body = parse_only(&bytes, &self.reads.properties)?;
        if !self.matches(&row, &body) {
            return Ok(None);
        }
        let place = self.place(&row, &body);
        Ok(Some(self.candidate(place, row, Some(bytes))))
    }

    fn candidate(&self, place: Place, row: VersionRow, canonical: Option<Bytes>) -> Candidate {
        Candidate {
            rank: self.order.rank(&place),
            place,
            row,
            canonical,
        }
    }

    fn matches(&self, row: &VersionRow, body: &Value) -> bool {
        self.filter.is_empty() || self.composed(row, body, |document| self.filter.matches(document))
    }

    fn composed<T>(
        &self,
        row: &VersionRow,
        body: &Value,
        look: impl FnOnce(&Composed<'_>) -> T,
    ) -> T {
        let id = if self.reads.id {
            Value::from(row.id.to_string())
        } else {
            Value::Null
        };
        let system = if self.reads.system {
            row.system_object()
        } else {
            Value::Null
        };
        look(&Composed {
            id: &id,
            system: &system,
            body,
        })
    }

    fn place(&self, row: &VersionRow, body: &Value) -> Place {
        let keys = if self.order.fields.is_empty() {
            Vec::new()
        } else {
            self.composed(row, body, |document| {
                let key = |(path, direction): &(Path, Direction)| {
                    keys_at(document, path).sort_key(*direction).clone()
                };
                self.order.fields.iter().map(key).collect()
            })
        };
        Place {
            keys,
            id: row.id.clone(),
        }
    }

    /// The place of a row, if it can be told without its document.
    fn place_of_row(&self, row: &VersionRow) -> Option<Place> {
        let key = |(path, direction): &(Path, Direction)| {
            if let Some(keys) = row.keys.get(path) {
                return Some(keys.sort_key(*direction).clone());
            }
            let of_system = path.root() == "_system";
            of_system.then(|| {
                self.composed(row, &Value::Null, |document| {
                    keys_at(document, path).sort_key(*direction).clone()
                })
            })
        };
        Some(Place {
            keys: self.order.fields.iter().map(key).collect::<Option<_>>()?,
            id: row.id.clone(),
        })
    }

    /// The place of a row that may not even match.
    pub(super) async fn place_at(&self, row: VersionRow) -> Result<Option<Place>, Error> {
        if let Some(place) = self.place_of_row(&row) {
            return Ok(Some(place));
        }
        match read_body(&self.shared.database, &self.shared.name, row).await? {
            Some((row, bytes)) => {
                let body = parse_only(&bytes, &self.reads.properties)?;
                Ok(Some(self.place(&row, &body)))
            }
            None => Ok(None),
        }
    }

    /// The records of candidates, without those that changed or went since
    /// they were found.
    pub(super) async fn records(
        &self,
        mut candidates: Vec<Candidate>,
        sight: &Sight,
    ) -> Result<Vec<Record>, Error> {
        self.fetch_shed(&mut candidates).await?;
        let records = candidates
            .into_iter()
            .map(|candidate| self.record(candidate));
        let records: Vec<Option<Record>> = stream::iter(records)
            .buffered(READ_AHEAD)
            .try_collect()
            .await?;
        let records = records.into_iter().flatten().collect();
        self.shared.shown(records, sight).await
    }

    /// Brings the inline bodies of candidates that came without, all at once.
    async fn fetch_shed(&self, candidates: &mut [Candidate]) -> Result<(), Error> {
        let lacking = candidates.iter().filter(|candidate| candidate.lacks_body());
        let ids: Vec<RecordId> = lacking.map(|candidate| candidate.row.id.clone()).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let mut find = Find {
            cut: self.cut,
            limit: ids.len(),
            access: Access::Ids(ids),
            direction: Direction::Ascending,
            also: Vec::new(),
            after: None,
            bodies: Bodies::Inline,
        };
        let mut rows = HashMap::new();
        loop {
            let found = self
                .shared
                .database
                .catalog
                .find(&self.shared.name, &find)
                .await?;
            rows.extend(found.rows.into_iter().map(|(at, row)| (at.id, row)));
            find.after = found.next;
            if find.after.is_none() {
                break;
            }
        }
        for candidate in candidates
            .iter_mut()
            .filter(|candidate| candidate.lacks_body())
        {
            if let Some(row) = rows.remove(&candidate.row.id)
                && row.cv == candidate.row.cv
            {
                candidate.row = row;
            }
        }
        Ok(())
    }

    async fn record(&self, candidate: Candidate) -> Result<Option<Record>, Error> {
        let Candidate {
            rank,
            row,
            canonical,
            ..
        } = candidate;
        let id = row.id.clone();
        let mut read = match canonical {
            Some(bytes) => Some((row, bytes)),
            None => read_body(&self.shared.database, &self.shared.name, row).await?,
        };
        if read.is_none() {
            let newer = self.newer(&id).await?.filter(|newer| newer.rank == rank);
            read = newer.and_then(|newer| Some((newer.row, newer.canonical?)));
        }
        let Some((mut row, bytes)) = read else {
            return Ok(None);
        };
        if let Some(body) = &mut row.body {
            // The record has these bytes already, decoded.
            body.inline = None;
        }
        Ok(Some(Record::new(row, bytes)))
    }
}

//! The search for the records of a subject.

use std::collections::HashSet;

use futures::{StreamExt, TryStreamExt, future::ready, stream, stream::BoxStream};
use parking_lot::Mutex;
use serde_json::{Value, json};
use xronox_model::{CollectionName, Direction, Filter, Location, Op, RecordId, VersionRow};
use xronox_store::{Bodies, Which};

use super::{ABREAST, Footing, FootprintReport, Found};
use crate::{
    Collection, Database, Error, ErrorKind,
    engine::{
        across::{collections, handle},
        progress::Listener,
        record::Record,
        shape::Sight,
    },
};

/// Rows that are read at a time; fewer where their bodies are large.
const ROWS: usize = 500;

pub(super) struct Search<'a> {
    pub(super) database: &'a Database,
    /// What is asked for, each with how to tell what it matches.
    pub(super) filters: &'a [(Value, Filter)],
    pub(super) among: Option<Vec<CollectionName>>,
    pub(super) in_history: bool,
    pub(super) progress: Mutex<Listener<'a>>,
}

/// A record of the subject.
#[derive(Debug)]
pub(super) struct Hit {
    pub(super) id: RecordId,
    /// Its newest version.
    pub(super) ov: u64,
    pub(super) deleted: bool,
    /// The filter that says whether it still is the subject's.
    pub(super) still: Value,
}

impl Search<'_> {
    pub(super) async fn collections(&self) -> Result<Vec<CollectionName>, Error> {
        let names = collections(&self.database.storage, self.among.clone()).await?;
        Ok(names.into())
    }

    pub(super) fn collection(&self, name: &CollectionName) -> Result<Collection, Error> {
        handle(&self.database.storage, name, &self.database.scope)
    }

    /// The records of the subject, each once.
    pub(super) async fn hits<'c>(
        &'c self,
        collection: &'c Collection,
    ) -> Result<BoxStream<'c, Result<Hit, Error>>, Error> {
        if self.in_history {
            return Ok(self.of_any_version(collection));
        }
        let mut hits = Vec::new();
        for number in 0..self.filters.len() {
            hits.push(self.of_newest(collection, number).await?);
        }
        let mut count = 0;
        let hits = stream::iter(hits).flatten().inspect_ok(move |_| {
            count += 1;
            self.tell(collection, count);
        });
        Ok(hits.boxed())
    }

    fn tell(&self, collection: &Collection, done: u64) {
        self.progress
            .lock()
            .tell(Some(collection.name()), done, None);
    }

    /// The records whose newest version this filter matches and none before it.
    async fn of_newest<'c>(
        &'c self,
        collection: &'c Collection,
        number: usize,
    ) -> Result<BoxStream<'c, Result<Hit, Error>>, Error> {
        // Whole, so that it can be told what else they match; nobody sees them.
        let (filter, _) = &self.filters[number];
        let query = collection
            .query(filter)
            .include_deleted()
            .seen(Sight::default());
        let before = &self.filters[..number];
        let records = query.stream().await?;
        let new = records.try_filter_map(move |record| {
            let new = !any(before, &record);
            let hit = || Hit {
                id: record.id().clone(),
                ov: record.ov(),
                deleted: record.deleted(),
                still: filter.clone(),
            };
            ready(Ok(new.then(hit)))
        });
        Ok(new.boxed())
    }

    /// The records of which any version matches. Not more than their ids are
    /// kept in mind.
    fn of_any_version<'c>(
        &'c self,
        collection: &'c Collection,
    ) -> BoxStream<'c, Result<Hit, Error>> {
        let shared = &collection.shared;
        let start = (0, None, 0, HashSet::new());
        let stretches = stream::try_unfold(start, move |state| async move {
            let (from, end, mut looked_at, mut met) = state;
            let catalog = &shared.database.catalog;
            // What is written meanwhile is not followed for ever.
            let end = if let Some(end) = end {
                end
            } else {
                let newest = catalog.newest(&shared.name).await?;
                newest.map_or(0, |newest| newest.cv + 1)
            };
            if from >= end {
                return Ok::<_, Error>(None);
            }
            let rows = catalog.rows(&shared.name, from, ROWS, Bodies::Inline);
            let mut rows = rows.await?;
            let Some(last) = rows.last() else {
                return Ok(None);
            };
            let next = last.cv + 1;
            rows.retain(|row| row.cv < end);
            looked_at += rows.len() as u64;
            let rows = shared.within(&collection.scope, rows).await?;
            let matching = stream::iter(rows)
                .map(|row| self.is_met(collection, row))
                .buffered(ABREAST)
                .try_collect::<Vec<_>>();
            let mut hits = Vec::new();
            for (id, ov, cv) in matching.await?.into_iter().flatten() {
                if met.contains(&id) {
                    continue;
                }
                if let Some(hit) = newest(collection, &id, (ov, cv)).await? {
                    met.insert(id);
                    hits.push(hit);
                }
            }
            self.tell(collection, looked_at);
            let hits = stream::iter(hits).map(Ok);
            Ok(Some((hits, (next, Some(end), looked_at, met))))
        });
        stretches.try_flatten().boxed()
    }

    /// Which version this is, if it is one of the subject's.
    async fn is_met(
        &self,
        collection: &Collection,
        row: VersionRow,
    ) -> Result<Option<(RecordId, u64, u64)>, Error> {
        if row.body.is_none() {
            return Ok(None);
        }
        let place = (row.id.clone(), row.ov, row.cv);
        match collection.shared.load(row).await {
            Ok(record) => Ok(any(self.filters, &record).then_some(place)),
            // Removed since.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Pruned) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    pub(super) async fn report(
        &self,
        listener: &mut Listener<'_, Found>,
    ) -> Result<FootprintReport, Error> {
        let mut report = FootprintReport::default();
        for name in self.collections().await? {
            let collection = &self.collection(&name)?;
            let (shared, scope) = (&collection.shared, &collection.scope);
            shared.unveiled(scope, "a footprint tells")?;
            let mut here = Footing::default();
            let hits = self.hits(collection).await?;
            let mut found = hits
                .map(|hit| async move { found(collection, hit?).await })
                .buffered(ABREAST)
                .boxed();
            while let Some(found) = found.try_next().await? {
                // Removed for good meanwhile.
                let Some(found) = found else { continue };
                here.add(&found);
                report.total.add(&found);
                listener.hear(|| found);
            }
            if here.records > 0 {
                report.collections.insert(name, here);
            }
        }
        Ok(report)
    }
}

fn any(filters: &[(Value, Filter)], record: &Record) -> bool {
    let whole = record.json();
    filters.iter().any(|(_, filter)| filter.matches(&whole))
}

/// What a record is now that had this version, unless it is gone, or beyond what
/// the handle sees.
async fn newest(
    collection: &Collection,
    id: &RecordId,
    (ov, cv): (u64, u64),
) -> Result<Option<Hit>, Error> {
    let (shared, omit) = (&collection.shared, Bodies::Omit);
    let catalog = &shared.database.catalog;
    let head = catalog.head(&shared.name, id, omit).await?;
    let head = head.filter(|head| head.op != Op::Purge);
    // Its id may have been given to another one.
    let which = Which::Ov(ov);
    let still = catalog.version(&shared.name, id, which, omit).await?;
    if still.is_none_or(|still| still.cv != cv) {
        return Ok(None);
    }
    let heads = shared.within(&collection.scope, head.into_iter().collect());
    Ok(heads.await?.pop().map(|head| Hit {
        ov: head.ov,
        deleted: head.system.deleted(),
        id: head.id,
        still: json!({}),
    }))
}

/// What is kept of a record, unless it is gone.
async fn found(collection: &Collection, hit: Hit) -> Result<Option<Found>, Error> {
    let shared = &collection.shared;
    let mut found = Found {
        collection: shared.name.clone(),
        id: hit.id,
        ov: hit.ov,
        deleted: hit.deleted,
        versions: 0,
        files: 0,
        bytes: 0,
    };
    let (mut files, mut from) = (HashSet::<Location>::new(), 0);
    loop {
        let catalog = &shared.database.catalog;
        let way = Direction::Ascending;
        let rows = catalog
            .history(&shared.name, &found.id, Some(from), way, ROWS)
            .await?;
        let Some(last) = rows.last() else { break };
        from = last.ov + 1;
        let full = rows.len() == ROWS;
        let rows = shared.within(&collection.scope, rows).await?;
        for body in rows.iter().filter_map(|row| row.body.as_ref()) {
            found.versions += 1;
            found.bytes += body.size;
            for file in &body.files {
                if files.insert(file.location.clone()) {
                    found.files += 1;
                    found.bytes += file.size;
                }
            }
        }
        if !full {
            break;
        }
    }
    Ok((found.versions > 0).then_some(found))
}

//! What a rule counted, period by period.

use std::{
    collections::{BTreeMap, HashMap},
    future::IntoFuture,
};

use futures::future::BoxFuture;
use serde::Serialize;
use serde_json::json;
use xronox_model::{Invalid, Timestamp};
use xronox_store::DocFind;

use super::{
    distinct::Distinct,
    fold::Fold,
    rules::Rule,
    stored::{Cell, Total, filter, kind},
};
use crate::{Collection, Error, Timeframe};

/// The most periods of a series.
const MOST: usize = 10_000;

/// Reads what a rule counted, period by period; await it for the
/// [`Period`]s. Made with [`Counters::series`](super::Counters::series).
#[derive(Debug)]
#[must_use = "nothing is read until it is awaited"]
pub struct GetSeries {
    pub(super) collection: Result<Collection, Error>,
    pub(super) rule: String,
    pub(super) timeframe: Timeframe,
    pub(super) from: Option<Timestamp>,
    pub(super) to: Option<Timestamp>,
    pub(super) current: bool,
}

/// What a rule counted in an hour, a day, a week or a month.
///
/// As JSON `{ start, created, updated, deleted, unique?: { <path>: … } }`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Period {
    /// When it began.
    pub start: Timestamp,
    /// Creations that the rule counted.
    pub created: u64,
    /// Changes.
    pub updated: u64,
    /// Deletions.
    pub deleted: u64,
    /// How many different values there were at each path of `countUnique`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub unique: BTreeMap<String, Distinct>,
}

impl GetSeries {
    /// Begins with the period that this time is in. By default there are 48
    /// hours, 30 days, 26 weeks or 12 months.
    pub fn from(mut self, from: Timestamp) -> Self {
        self.from = Some(from);
        self
    }

    /// Ends with the period that this time is in; by default with that of now.
    pub fn to(mut self, to: Timestamp) -> Self {
        self.to = Some(to);
        self
    }

    /// Counts first what is not counted yet.
    pub fn current(mut self) -> Self {
        self.current = true;
        self
    }

    async fn read(self, collection: &Collection) -> Result<Vec<Period>, Error> {
        let shared = collection.whole("series")?;
        shared.unveiled(&collection.scope, "series tell")?;
        let fold = Fold::of(shared);
        let rules = &fold.rules.all;
        let rule = rules.iter().find(|rule| rule.name == self.rule);
        let rule = rule.ok_or_else(|| {
            let why = format!("there is no counter rule {:?}", self.rule);
            Invalid::at("rule", why)
        })?;
        if self.current {
            fold.run().await?;
        }
        let starts = self.starts(&fold, shared.database.clock.now())?;
        let mut cells = loop {
            let total = fold.total_or_empty().await?;
            let cells = self.cells(&fold, &total, rule, &starts).await?;
            if fold.is_still(&total).await? {
                break cells;
            }
        };
        let periods = starts.into_iter().map(|start| {
            let cell = cells.remove(&start);
            let counts = cell.as_ref().map(|cell| cell.counts).unwrap_or_default();
            let unique = cell.map(|cell| cell.unique);
            let unique = unique.unwrap_or_else(|| rule.nothing());
            Ok(Period {
                start,
                created: counts.created,
                updated: counts.updated,
                deleted: counts.deleted,
                unique: rule.told(&unique)?,
            })
        });
        periods.collect()
    }

    /// The cells of the periods, by when those begin.
    async fn cells(
        &self,
        fold: &Fold,
        total: &Total,
        rule: &Rule,
        starts: &[Timestamp],
    ) -> Result<HashMap<Timestamp, Cell>, Error> {
        let (Some(counted), Some(first), Some(last)) =
            (total.of(rule), starts.first(), starts.last())
        else {
            return Ok(HashMap::new());
        };
        let find = DocFind::of(filter(&json!({
            "generation": total.generation,
            "rule": counted.key(),
            "kind": kind(self.timeframe),
            "start": { "$gte": first, "$lte": last },
        }))?);
        let cells = fold.cells(&find.limit(MOST)).await?;
        let placed = cells
            .into_iter()
            .filter_map(|cell| Some((cell.start?, cell)));
        Ok(placed.collect())
    }

    /// When each period begins that is asked for.
    fn starts(&self, fold: &Fold, now: Timestamp) -> Result<Vec<Timestamp>, Error> {
        let (calendar, frame) = (&fold.rules.calendar, self.timeframe);
        let last = calendar.start(self.to.unwrap_or(now), frame)?;
        // Into the middle of the first one, whatever is between.
        let hours = match frame {
            Timeframe::Hourly => 46,
            Timeframe::Daily => 28 * 24 + 12,
            Timeframe::Weekly => (24 * 7 + 3) * 24,
            Timeframe::Monthly => 320 * 24,
        };
        let back = last.plus_millis(-hours * 3_600_000 - 1_800_000);
        let mut start = calendar.start(self.from.unwrap_or(back), frame)?;
        let mut starts = Vec::new();
        while start <= last {
            if starts.len() == MOST {
                let why = format!("a series has at most {MOST} periods");
                return Err(Invalid::at("from", why).into());
            }
            starts.push(start);
            start = calendar.next(start, frame)?;
        }
        Ok(starts)
    }
}

impl IntoFuture for GetSeries {
    type Output = Result<Vec<Period>, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(mut self) -> Self::IntoFuture {
        Box::pin(async move {
            let closed = Err(xronox_store::StoreError::Closed.into());
            let collection = std::mem::replace(&mut self.collection, closed)?;
            let read = self.read(&collection).await;
            read.map_err(|e| e.during(&collection.shared.doing("series", None)))
        })
    }
}

//! The fold of a collection's log into its counts.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures::{StreamExt, TryStreamExt, stream};
use rand::Rng;
use serde_json::json;
use xronox_model::{Filter, Op, Path, Timestamp, VersionRow};
use xronox_store::{Bodies, DocFind, Documents, documents::MAX_BATCH};

use super::{
    calendar::{Calendar, TIMEFRAMES},
    rules::{Counted, CounterRules, kind_of, reduced},
    stored::{self, CELLS, Cell, Counts, RuleTotal, TOTALS, Total, filter},
    work::{Contribution, Work},
};
use crate::{Error, ErrorKind, Scope, collection::Shared, storage::Storage};

/// Rows that are folded in one step, fewer where they touch many documents.
const ROWS: usize = 1000;
/// Bodies that are fetched at a time.
const ABREAST: usize = 16;
/// How often a step is tried that others were faster with.
const TRIES: u32 = 100;

/// Counts one collection.
#[derive(Debug)]
pub(super) struct Fold {
    shared: Arc<Shared>,
    pub(super) rules: Arc<CounterRules>,
    pub(super) documents: Arc<dyn Documents>,
    /// The `_id` of its total.
    pub(super) id: String,
}

/// How far a step came.
enum Step {
    /// There is nothing more.
    Done,
    /// This many rows are counted.
    Counted(u64),
    /// Others were faster.
    Overtaken,
    /// So many rows touch more than can be written in one step.
    TooMany(usize),
}

/// A version, as far as rules look at it.
struct Seen {
    cv: u64,
    at: Timestamp,
    /// Whether its document is gone.
    missed: bool,
    /// What each rule counts of it that does, by its number.
    counted: Vec<(usize, Counted)>,
}

/// The periods of the last version that was looked at: the next one is mostly
/// in the same hour.
#[derive(Default)]
struct Hour(Option<(Timestamp, [Timestamp; 4])>);

impl Hour {
    fn starts(&mut self, calendar: &Calendar, at: Timestamp) -> Result<[Timestamp; 4], Error> {
        if let Some((end, starts)) = self.0
            && starts[0] <= at
            && at < end
        {
            return Ok(starts);
        }
        let mut starts = [at; 4];
        for (start, frame) in starts.iter_mut().zip(TIMEFRAMES) {
            *start = calendar.start(at, frame)?;
        }
        let end = calendar.next(starts[0], TIMEFRAMES[0])?;
        self.0 = Some((end, starts));
        Ok(starts)
    }
}

impl Fold {
    pub(super) fn of(shared: &Arc<Shared>) -> Self {
        let storage = &shared.database;
        let database = &storage.catalog.marker().database;
        let mut id = format!("db:{database}|coll:{}", shared.name);
        if let Some(tenant) = &storage.folding.tenant {
            id = format!("tenant:{tenant}|{id}");
        }
        Self {
            rules: Arc::clone(&storage.folding.rules),
            documents: Arc::clone(&storage.counts().documents),
            shared: Arc::clone(shared),
            id,
        }
    }

    pub(super) fn storage(&self) -> &Storage {
        &self.shared.database
    }

    /// What the database calls itself, whose log it is.
    pub(super) fn log(&self) -> &str {
        &self.storage().catalog.marker().id
    }

    /// What is counted by now.
    pub(super) async fn total(&self) -> Result<Option<Total>, Error> {
        self.read(&self.id).await
    }

    /// The same, where nothing is counted yet too.
    pub(super) async fn total_or_empty(&self) -> Result<Total, Error> {
        Ok(self.total().await?.unwrap_or_else(|| self.fresh(&self.id)))
    }

    /// Whether nothing has taken the place of what was counted there: its cells
    /// may be gone then.
    pub(super) async fn is_still(&self, total: &Total) -> Result<bool, Error> {
        let now = self.total().await?;
        Ok(now.is_none_or(|now| now.generation == total.generation))
    }

    pub(super) async fn read(&self, id: &str) -> Result<Option<Total>, Error> {
        let totals = stored::collection(TOTALS)?;
        let by_id = filter(&json!({ "_id": id }))?;
        let found = self.documents.find_one(&totals, &by_id).await?;
        found.map(stored::read).transpose()
    }

    fn fresh(&self, id: &str) -> Total {
        let storage = self.storage();
        Total {
            id: id.to_owned(),
            tenant: storage.folding.tenant.clone(),
            db_name: storage.catalog.marker().database.clone(),
            collection: self.shared.name.to_string(),
            generation: Storage::new_attempt().to_string(),
            stale: Vec::new(),
            log: self.log().to_owned(),
            next: 0,
            counts: Counts::default(),
            enriched: 0,
            restored: 0,
            purged: 0,
            missed: 0,
            rules: Vec::new(),
            last_at: None,
        }
    }

    /// Counts all there is; gives how many versions that were.
    pub(super) async fn run(&self) -> Result<u64, Error> {
        self.into(&self.id).await
    }

    pub(super) async fn into(&self, id: &str) -> Result<u64, Error> {
        let (mut counted, mut most, mut tries) = (0, ROWS, 0);
        loop {
            self.storage().open()?;
            match self.step(id, most).await? {
                Step::Done => return Ok(counted),
                Step::Counted(rows) => {
                    counted += rows;
                    tries = 0;
                    most = (most * 2).min(ROWS);
                }
                Step::TooMany(rows) if rows > 1 => most = rows.div_ceil(2),
                Step::TooMany(_) => {
                    let why = format!(
                        "the rules count a version of {} in more than {MAX_BATCH} places",
                        self.shared.name
                    );
                    return Err(Error::new(ErrorKind::Unsupported, why));
                }
                Step::Overtaken => {
                    tries += 1;
                    if tries > TRIES {
                        let why = format!("{}: others count it again and again", self.shared.name);
                        return Err(Error::new(ErrorKind::Unavailable, why));
                    }
                    let pause = rand::rng().random_range(1..=20);
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                }
            }
        }
    }

    async fn step(&self, id: &str, most: usize) -> Result<Step, Error> {
        let found = self.read(id).await?;
        let before = found.as_ref().map(Total::read);
        let mut total = match found {
            Some(found) if found.log == self.log() => found,
            // Of another database that had its name.
            Some(found) => Total {
                stale: [found.stale, vec![found.generation]].concat(),
                ..self.fresh(id)
            },
            None => self.fresh(id),
        };
        let from = total.next;
        let bodies = if self.rules.are_none() {
            Bodies::Omit
        } else {
            Bodies::Inline
        };
        let catalog = &self.storage().catalog;
        let rows = catalog.rows(&self.shared.name, from, most, bodies).await?;
        let Some(last) = rows.last().map(|row| (row.cv, row.at)) else {
            return Ok(Step::Done);
        };
        if self.storage().nobody_counts().await? {
            return Ok(Step::Done);
        }
        if self.rules.are_none() && !total.rules.is_empty() {
            let why = format!(
                "{} is counted by rules that this configuration lacks; a rebuild counts it \
                 without them",
                self.shared.name
            );
            return Err(Error::new(ErrorKind::Unsupported, why));
        }
        self.line_up(&mut total);
        let count = rows.len();
        tally(&mut total, &rows);
        (total.next, total.last_at) = (last.0 + 1, Some(last.1));
        let seen = self.seen(rows).await?;
        let contributions = self.contributions(&mut total, seen)?;
        let mut work = Work::new(self, from, total);
        work.load(&contributions).await?;
        work.count(contributions);
        let inserts = work.settle().await?;
        let alone = count == 1;
        if work.documents() > MAX_BATCH || !alone && inserts.len() + work.documents() > MAX_BATCH {
            return Ok(Step::TooMany(count));
        }
        Ok(if work.write(inserts, before.as_ref()).await? {
            Step::Counted(count as u64)
        } else {
            Step::Overtaken
        })
    }

    /// Has the total of each rule stand where the rule does. One that is new or
    /// was changed counts from here on.
    fn line_up(&self, total: &mut Total) {
        let mut known: HashMap<String, RuleTotal> = total
            .rules
            .drain(..)
            .map(|rule| (rule.definition.clone(), rule))
            .collect();
        let rules = self.rules.all.iter().map(|rule| {
            let known = known.remove(&rule.definition);
            known.unwrap_or_else(|| rule.new_total(total.next))
        });
        total.rules = rules.collect();
    }

    /// What the rules count of each version. No document is kept.
    async fn seen(&self, rows: Vec<VersionRow>) -> Result<Vec<Seen>, Error> {
        if self.rules.are_none() {
            return Ok(Vec::new());
        }
        let declared: Option<Vec<Path>> = (!self.shared.rules.index_on_use).then(|| {
            let declared = self.shared.rules.declared.iter();
            declared.flat_map(|spec| spec.fields.clone()).collect()
        });
        let declared = declared.as_deref();
        stream::iter(rows)
            .map(|row| self.seen_one(row, declared))
            .buffered(ABREAST)
            .try_collect()
            .await
    }

    async fn seen_one(&self, row: VersionRow, declared: Option<&[Path]>) -> Result<Seen, Error> {
        let (cv, op, at) = (row.cv, row.op, row.at);
        let whole = match row.body {
            None => None,
            Some(_) => match self.shared.load(row).await {
                Ok(record) => Some(record.json()),
                // Removed since.
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Pruned) => {
                    None
                }
                Err(error) => return Err(error),
            },
        };
        let mut counted = Vec::new();
        if let Some(whole) = &whole {
            let indexed = declared.map(|paths| reduced(whole, paths));
            for (number, rule) in self.rules.all.iter().enumerate() {
                let document = match rule.scope {
                    Scope::Meta => indexed.as_ref().unwrap_or(whole),
                    Scope::Payload => whole,
                };
                counted.extend(rule.count(op, document).map(|counted| (number, counted)));
            }
        }
        Ok(Seen {
            cv,
            at,
            missed: whole.is_none() && op != Op::Purge,
            counted,
        })
    }

    fn contributions(
        &self,
        total: &mut Total,
        seen: Vec<Seen>,
    ) -> Result<Vec<Contribution>, Error> {
        let (mut out, mut hour) = (Vec::new(), Hour::default());
        for version in seen {
            total.missed += u64::from(version.missed);
            for (rule, counted) in version.counted {
                out.push(Contribution {
                    cv: version.cv,
                    rule,
                    counted,
                    starts: hour.starts(&self.rules.calendar, version.at)?,
                });
            }
        }
        Ok(out)
    }

    /// The cells of a rule of this kind, in order of their places, or the
    /// largest first.
    pub(super) async fn cells(&self, find: &DocFind) -> Result<Vec<Cell>, Error> {
        let cells = stored::collection(CELLS)?;
        let found = self.documents.find(&cells, find).await?;
        found.into_iter().map(stored::read).collect()
    }
}

/// Counts rows by what they did.
fn tally(total: &mut Total, rows: &[VersionRow]) {
    let mut next = total.next;
    for row in rows {
        total.missed += row.cv.saturating_sub(next);
        next = row.cv + 1;
        if let Some(write) = kind_of(row.op) {
            total.counts.add(write);
        }
        match row.op {
            Op::Enrich => total.enriched += 1,
            Op::Restore => total.restored += 1,
            Op::Purge => total.purged += 1,
            Op::Create | Op::Update | Op::Delete => {}
        }
    }
}

/// What is asked of the cells of a rule.
pub(super) fn cells_of(total: &Total, rule: &RuleTotal, kind: &str) -> Result<Filter, Error> {
    filter(&json!({
        "generation": total.generation, "rule": rule.key(), "kind": kind,
    }))
}

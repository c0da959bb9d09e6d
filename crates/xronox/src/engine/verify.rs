//! Checking that everything is what it should be.

mod order;
mod report;
mod row;

use std::future::IntoFuture;

use futures::{StreamExt, TryStreamExt, future::BoxFuture, stream};
use xronox_model::{Op, VersionRow};
use xronox_store::{Bodies, StoreError};

use crate::{
    Collection, Database, Error, Progress,
    collection::Shared,
    engine::{progress::Listener, query::body::handfuls},
};
use order::Order;
use report::Found;
use row::Checker;

pub use report::{Damage, Rule, VerifyReport};

const WHAT: &str = "verify";
/// Rows read at a time, fewer if their inline bodies are large.
const PAGE: usize = 128;
/// Rows checked at a time, and bytes of their documents.
const AHEAD: usize = 16;
const BYTES_AHEAD: u64 = 8 * 1024 * 1024;

/// Checks a collection, or all of a store; await it.
///
/// Gives a [`VerifyReport`].
#[derive(Debug)]
#[must_use = "nothing is checked until it is awaited"]
pub struct Verify<'a> {
    what: What<'a>,
    bodies: bool,
    progress: Listener<'a>,
}

/// What is checked.
#[derive(Debug)]
enum What<'a> {
    One(&'a Collection),
    All(&'a Database),
}

impl Collection {
    /// Checks every version of the collection that was committed before it
    /// began: numbering, times, intervals, the chain of hashes, bodies, index
    /// keys and unique keys, and what the backend can check of itself. It
    /// writes nothing, and writers may go on meanwhile.
    ///
    /// [`Rule`] says what is looked for. Two things cannot be seen: who, why
    /// and when of a record's newest version, which no later version vouches
    /// for yet; and that versions are missing which a purge would have removed
    /// as well.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if storage cannot be
    /// read. Damage is no error: it is in the report.
    pub fn verify(&self) -> Verify<'_> {
        Verify {
            what: What::One(self),
            bodies: true,
            progress: Listener::default(),
        }
    }
}

impl Database {
    /// [Checks](Collection::verify) every collection of the database.
    ///
    /// # Errors
    ///
    /// As [`Collection::verify`].
    pub fn verify(&self) -> Verify<'_> {
        Verify {
            what: What::All(self),
            bodies: true,
            progress: Listener::default(),
        }
    }
}

impl<'a> Verify<'a> {
    /// Whether bodies are read, and with them index keys and unique keys
    /// checked. Default: yes.
    pub fn bodies(mut self, read: bool) -> Self {
        self.bodies = read;
        self
    }

    /// Calls this now and then, with the number of commits of a collection
    /// that are checked, and how many it has.
    pub fn on_progress(mut self, listen: impl FnMut(Progress) + Send + 'a) -> Self {
        self.progress = Listener::new(listen);
        self
    }
}

impl<'a> IntoFuture for Verify<'a> {
    type Output = Result<VerifyReport, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(mut self) -> Self::IntoFuture {
        Box::pin(async move {
            let mut report = VerifyReport::default();
            let collections = match self.what {
                What::One(collection) => {
                    collection.whole("verify")?;
                    vec![collection.clone()]
                }
                What::All(database) => {
                    database.whole()?;
                    let names = database.collections().await?;
                    let opened = names.iter().map(|name| database.collection(name.as_str()));
                    opened.collect::<Result<_, _>>()?
                }
            };
            for Collection { shared, .. } in &collections {
                let walk = Walk {
                    shared,
                    bodies: self.bodies,
                    progress: &mut self.progress,
                    report: &mut report,
                    unread: 0,
                };
                let walked = walk.run().await;
                walked.map_err(|e| e.during(&shared.doing(WHAT, None)))?;
            }
            Ok(report)
        })
    }
}

/// The walk through one collection.
struct Walk<'a, 'l> {
    shared: &'a Shared,
    bodies: bool,
    progress: &'a mut Listener<'l>,
    report: &'a mut VerifyReport,
    /// Rows that could not be read.
    unread: u64,
}

impl Walk<'_, '_> {
    async fn run(mut self) -> Result<(), Error> {
        let (shared, name) = (self.shared, &self.shared.name);
        let catalog = &shared.database.catalog;
        // What is committed from now on is for the next check.
        let end = match catalog.newest(name).await {
            Ok(newest) => newest.map_or(0, |commit| commit.cv + 1),
            // Whatever the newest row is, it is met on the way.
            Err(StoreError::Corrupt(_)) => u64::MAX,
            Err(error) => return Err(error.into()),
        };
        let checker = Checker::new(shared, self.bodies).await?;
        let mut order = Order::default();
        let mut from = 0;
        while from < end {
            let rows = self.read(&mut from, end).await?;
            for row in &rows {
                order.meet(row, &mut |damage| self.report.add(name, damage));
                let newest = row.to_cv.is_none_or(|to_cv| to_cv >= end);
                self.report.rows += 1;
                self.report.records += u64::from(newest && row.op != Op::Purge);
            }
            for rows in handfuls(rows, BYTES_AHEAD) {
                let mut checked = stream::iter(rows)
                    .map(|row| checker.check(row))
                    .buffered(AHEAD);
                while let Some(checked) = checked.try_next().await? {
                    order.explain(&checked);
                    self.report.bodies += u64::from(checked.body.is_some());
                    self.report.bytes += checked.body.unwrap_or(0);
                    for damage in checked.damages {
                        self.report.add(name, damage);
                    }
                }
            }
            if end < u64::MAX {
                self.progress.tell(Some(name), from.min(end), Some(end));
            }
        }
        order.account(self.unread);
        self.later(&mut order, end, &checker).await?;
        order.finish(end, &mut |damage| self.report.add(name, damage));
        match catalog.check(name).await {
            Ok(damages) => {
                for message in damages {
                    self.report.add(name, Found::of(Rule::Structure, message));
                }
            }
            Err(StoreError::Corrupt(message)) => {
                self.report.add(name, Found::of(Rule::Structure, message));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// The next rows from `from` on and before `end`; sets `from` to where to
    /// go on. Rows that cannot be read are reported and passed over.
    async fn read(&mut self, from: &mut u64, end: u64) -> Result<Vec<VersionRow>, Error> {
        let name = &self.shared.name;
        let catalog = &self.shared.database.catalog;
        let bodies = if self.bodies {
            Bodies::Inline
        } else {
            Bodies::Omit
        };
        let mut limit = PAGE;
        loop {
            match catalog.rows(name, *from, limit, bodies).await {
                Ok(mut rows) => {
                    rows.retain(|row| row.cv < end);
                    *from = rows.last().map_or(end, |last| last.cv + 1);
                    return Ok(rows);
                }
                Err(StoreError::Corrupt(_)) if limit > 1 => limit /= 2,
                Err(StoreError::Corrupt(message)) => {
                    // Of the first row from here on nothing is known, not even
                    // where it is: it ends where something else can be read.
                    let mut last = *from;
                    *from += 1;
                    while *from < end && self.unreadable(*from).await? {
                        last = *from;
                        *from += 1;
                    }
                    self.unread += 1;
                    let damage = Found::of(Rule::Structure, message).at(last);
                    self.report.add(name, damage);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn unreadable(&mut self, from: u64) -> Result<bool, Error> {
        let bodies = if self.bodies {
            Bodies::Inline
        } else {
            Bodies::Omit
        };
        let catalog = &self.shared.database.catalog;
        match catalog.rows(&self.shared.name, from, 1, bodies).await {
            Ok(_) => Ok(false),
            Err(StoreError::Corrupt(_)) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Looks at what was committed since the walk began, as far as it may
    /// have removed versions that the walk then missed.
    async fn later(
        &mut self,
        order: &mut Order,
        end: u64,
        checker: &Checker<'_>,
    ) -> Result<(), Error> {
        const PAGE: usize = 1000;
        let catalog = &self.shared.database.catalog;
        let mut from = end;
        while order.excess(end) > 0 {
            let rows = match catalog
                .rows(&self.shared.name, from, PAGE, Bodies::Omit)
                .await
            {
                Ok(rows) => rows,
                Err(StoreError::Corrupt(_)) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let Some(last) = rows.last() else {
                return Ok(());
            };
            from = last.cv + 1;
            let removed = |row: &&VersionRow| {
                row.op == Op::Purge || row.newest_only_since.is_some_and(|since| since < end)
            };
            for row in rows.iter().filter(removed) {
                order.tolerate(checker.missing_before(row).await?);
            }
        }
        Ok(())
    }
}

//! Counts of what was written: a fold of the version log.

mod calendar;
mod distinct;
mod fold;
mod folding;
mod rebuild;
mod rules;
mod series;
mod stored;
mod totals;
mod work;

use std::time::Duration;

use crate::{Collection, Database, Error, ErrorKind, Timeframe};

use self::fold::Fold;

pub use self::{
    distinct::Distinct,
    series::{GetSeries, Period},
    totals::{GetTotals, Group, RuleTotals, Totals},
};
/// The plain collections that counts are kept in.
pub(crate) const COLLECTIONS: [&str; 3] = [stored::TOTALS, stored::CELLS, stored::VALUES];

pub(crate) use self::{folding::Folding, rules::CounterRules as CompiledRules};

/// How often it is looked whether others have counted.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What was written to a database, counted. Made with [`Database::counters`].
#[derive(Debug, Clone, Copy)]
pub struct Counters<'a> {
    database: &'a Database,
}

impl Database {
    /// What was written to the database, counted: in all, by
    /// [rules](crate::CounterRule), by the hour, day, week and month.
    ///
    /// Counts are no numbers beside the data that a crash could leave behind,
    /// but a fold of the versions: what is counted and up to where is written
    /// in one step, or (on a server without transactions) so that it counts
    /// once however often it is tried. So they are exact, and can be made
    /// [anew](Counters::rebuild) at any time.
    ///
    /// They come a moment after the writes: within `writeOptimization.debounceMs`
    /// where there are rules or an `analyticsDbName`, and with the next write
    /// where the process ends before; otherwise when somebody asks for
    /// [current](GetTotals::current) ones. [`Totals::lag`] says how much
    /// is not counted yet. They are kept in the `analyticsDbName` of the
    /// database, or beside the data.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), xronox::Error> {
    /// use serde_json::json;
    /// use xronox::{Config, Timeframe, Xronox};
    ///
    /// let mut config = Config::memory();
    /// config.settings.counter_rules = serde_json::from_value(json!({ "rules": [{
    ///     "name": "logins", "on": ["CREATE"], "when": { "action": "login" },
    ///     "countUnique": ["sessionId"], "by": ["country"],
    /// }] })).unwrap();
    /// let xronox = Xronox::open(config).await?;
    /// let events = xronox.collection("events")?;
    /// for (session, country) in [(1, "it"), (1, "it"), (2, "de")] {
    ///     let event = json!({ "action": "login", "sessionId": session, "country": country });
    ///     events.create(event).await?;
    /// }
    /// events.create(json!({ "action": "view" })).await?;
    ///
    /// let home = xronox.home()?;
    /// let totals = home.counters().totals("events").current().await?;
    /// assert_eq!((totals.created, totals.lag), (4, 0));
    /// let logins = &totals.rules["logins"];
    /// assert_eq!((logins.created, logins.unique["sessionId"].count), (3, 2));
    /// assert_eq!((&logins.by[0].values[0], logins.by[0].count), (&json!("it"), 2));
    ///
    /// let days = home.counters().series("events", "logins", Timeframe::Daily).await?;
    /// assert_eq!(days.last().unwrap().created, 3);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Where versions are not kept, those that were overwritten before they were
    /// counted are only [missed](Totals::missed). A rule that is added or changed
    /// counts from then on.
    ///
    /// # Errors
    ///
    /// Of all that is asked of it: [`Forbidden`](crate::ErrorKind::Forbidden)
    /// through a scoped handle, and through one that does not see fields that are
    /// hidden in the collection; [`Invalid`](crate::ErrorKind::Invalid) for a
    /// name that is none, [`Unavailable`](crate::ErrorKind::Unavailable),
    /// [`Closed`](crate::ErrorKind::Closed).
    pub fn counters(&self) -> Counters<'_> {
        Counters { database: self }
    }
}

impl Counters<'_> {
    /// What was counted of a collection.
    pub fn totals(&self, collection: &str) -> GetTotals {
        GetTotals {
            collection: self.database.collection(collection),
            current: false,
        }
    }

    /// What a rule counted of a collection, period by period, without a gap.
    pub fn series(&self, collection: &str, rule: &str, timeframe: Timeframe) -> GetSeries {
        GetSeries {
            collection: self.database.collection(collection),
            rule: rule.to_owned(),
            timeframe,
            from: None,
            to: None,
            current: false,
        }
    }

    /// Counts what is not counted yet; gives how many versions that were.
    ///
    /// # Errors
    ///
    /// As [`Database::counters`].
    pub async fn fold(&self, collection: &str) -> Result<u64, Error> {
        let collection = self.database.collection(collection)?;
        let shared = collection.whole("fold")?;
        let counted = Fold::of(shared).run().await;
        counted.map_err(|e| e.during(&shared.doing("fold", None)))
    }

    /// Waits until a version is counted, by whomever: after a write, for what
    /// its [`cv`](crate::Written::cv) is.
    ///
    /// # Errors
    ///
    /// As [`Database::counters`], and [`Unavailable`](ErrorKind::Unavailable)
    /// if that takes longer than `within`.
    pub async fn await_folded(
        &self,
        collection: &str,
        cv: u64,
        within: Duration,
    ) -> Result<(), Error> {
        let collection = self.database.collection(collection)?;
        let shared = collection.whole("await_folded")?;
        let fold = Fold::of(shared);
        let counted = async {
            while fold.total().await?.is_none_or(|total| total.next <= cv) {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            Ok(())
        };
        let counted = tokio::time::timeout(within, counted).await;
        let late = || {
            let why = format!("version {cv} was not counted within {within:?}");
            Err(Error::new(ErrorKind::Unavailable, why))
        };
        let counted = counted.unwrap_or_else(|_| late());
        counted.map_err(|e| e.during(&shared.doing("await_folded", None)))
    }

    /// Counts a collection anew, by the rules as they are now, and puts that in
    /// the place of what was counted; gives how many versions are counted then.
    /// What was counted before is read until then. Broken off, the next call
    /// goes on. Versions that are gone since they were counted (hard deletes, and
    /// updates where versions are not kept) are [missed](Totals::missed) then.
    ///
    /// # Errors
    ///
    /// As [`Database::counters`].
    pub async fn rebuild(&self, collection: &str) -> Result<u64, Error> {
        let collection: Collection = self.database.collection(collection)?;
        let shared = collection.whole("rebuild")?;
        let counted = Fold::of(shared).rebuild().await;
        counted.map_err(|e| e.during(&shared.doing("rebuild", None)))
    }
}

//! What was counted of a collection.

use std::{collections::BTreeMap, future::IntoFuture};

use futures::future::BoxFuture;
use serde::Serialize;
use serde_json::Value;
use xronox_model::{CollectionName, Direction, Timestamp};
use xronox_store::DocFind;

use super::{
    distinct::Distinct,
    fold::{Fold, cells_of},
    stored::{Counts, GROUP, Total},
};
use crate::{Collection, Error};

/// Reads what was counted of a collection; await it for [`Totals`]. Made with
/// [`Counters::totals`](super::Counters::totals).
#[derive(Debug)]
#[must_use = "nothing is read until it is awaited"]
pub struct GetTotals {
    pub(super) collection: Result<Collection, Error>,
    pub(super) current: bool,
}

/// What was counted of a collection.
///
/// As JSON `{ _id, tenant?, dbName, collection, created, updated, enriched,
/// restored, deleted, purged, missed, rules: { <name>: … }, lastAt?, folded, lag }`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Totals {
    /// `tenant:<id>|db:<database>|coll:<collection>`; without the tenant where
    /// the database is nobody's.
    #[serde(rename = "_id")]
    pub id: String,
    /// Whose the database is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The database.
    pub db_name: String,
    /// The collection.
    pub collection: CollectionName,
    /// Records that were created.
    pub created: u64,
    /// Versions that changed a record: updates, patches, enrichments, restores.
    pub updated: u64,
    /// Those of them that merged something in.
    pub enriched: u64,
    /// Those of them that brought an earlier version back.
    pub restored: u64,
    /// Records that were deleted.
    pub deleted: u64,
    /// Records that were removed for good.
    pub purged: u64,
    /// Versions that were gone, or were without their document for the rules,
    /// before they were counted.
    pub missed: u64,
    /// What each rule counted, by its name.
    pub rules: BTreeMap<String, RuleTotals>,
    /// When the newest version that is counted was committed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_at: Option<Timestamp>,
    /// How many of the collection's versions are counted: those before this
    /// `cv`.
    pub folded: u64,
    /// How many there are that are not yet.
    pub lag: u64,
}

/// What a rule counted.
///
/// As JSON `{ created, updated, deleted, unique?: { <path>: … }, by?: [ … ],
/// others?, since }`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RuleTotals {
    /// Creations that it counted.
    pub created: u64,
    /// Changes.
    pub updated: u64,
    /// Deletions.
    pub deleted: u64,
    /// How many different values there were at each path of `countUnique`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub unique: BTreeMap<String, Distinct>,
    /// The largest groups, the largest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub by: Vec<Group>,
    /// What it counted of groups that came when there were
    /// `analytics.uniqueExactMax` already.
    #[serde(skip_serializing_if = "is_zero")]
    pub others: u64,
    /// From which `cv` on it counts: that of the time when it was added or last
    /// changed, until the counts are [rebuilt](super::Counters::rebuild).
    pub since: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// What a rule counted of a group.
///
/// As JSON `{ values: [ … ], count, created, updated, deleted, unique? }`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Group {
    /// Its values, in the order of the paths of `by`; null where there is none.
    pub values: Vec<Value>,
    /// All that it counted.
    pub count: u64,
    /// Creations.
    pub created: u64,
    /// Changes.
    pub updated: u64,
    /// Deletions.
    pub deleted: u64,
    /// How many different values there were at each path of `countUnique`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub unique: BTreeMap<String, Distinct>,
}

impl GetTotals {
    /// Counts first what is not counted yet.
    pub fn current(mut self) -> Self {
        self.current = true;
        self
    }

    async fn read(collection: &Collection, current: bool) -> Result<Totals, Error> {
        let shared = collection.whole("totals")?;
        shared.unveiled(&collection.scope, "totals tell")?;
        let fold = Fold::of(shared);
        if current {
            fold.run().await?;
        }
        let (total, rules) = loop {
            let total = fold.total_or_empty().await?;
            let rules = of_rules(&fold, &total).await?;
            if fold.is_still(&total).await? {
                break (total, rules);
            }
        };
        let newest = shared.database.catalog.newest(&shared.name).await?;
        let newest = newest.map_or(0, |newest| newest.cv + 1);
        let Total {
            id,
            tenant,
            db_name,
            next,
            counts,
            enriched,
            restored,
            purged,
            missed,
            last_at,
            ..
        } = total;
        Ok(Totals {
            id,
            tenant,
            db_name,
            collection: shared.name.clone(),
            created: counts.created,
            updated: counts.updated,
            enriched,
            restored,
            deleted: counts.deleted,
            purged,
            missed,
            rules,
            last_at,
            folded: next,
            lag: newest.saturating_sub(next),
        })
    }
}

/// What each rule counted, by its name.
async fn of_rules(fold: &Fold, total: &Total) -> Result<BTreeMap<String, RuleTotals>, Error> {
    let mut rules = BTreeMap::new();
    for rule in &fold.rules.all {
        let new = rule.new_total(total.next);
        let counted = total.of(rule).unwrap_or(&new);
        let mut by = Vec::new();
        if !rule.by.is_empty() {
            let groups = DocFind::of(cells_of(total, counted, GROUP)?)
                .sort("count".parse()?, Direction::Descending)
                .limit(rule.top);
            for cell in fold.cells(&groups).await? {
                by.push(Group {
                    values: cell.group.unwrap_or_default(),
                    count: cell.count,
                    created: cell.counts.created,
                    updated: cell.counts.updated,
                    deleted: cell.counts.deleted,
                    unique: rule.told(&cell.unique)?,
                });
            }
        }
        let Counts {
            created,
            updated,
            deleted,
        } = counted.counts;
        let told = RuleTotals {
            created,
            updated,
            deleted,
            unique: rule.told(&counted.unique)?,
            by,
            others: counted.others,
            since: counted.since,
        };
        rules.insert(rule.name.clone(), told);
    }
    Ok(rules)
}

impl IntoFuture for GetTotals {
    type Output = Result<Totals, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let collection = self.collection?;
            let read = Self::read(&collection, self.current).await;
            read.map_err(|e| e.during(&collection.shared.doing("totals", None)))
        })
    }
}

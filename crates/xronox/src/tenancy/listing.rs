//! What is told of tenants, one or many.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    future::IntoFuture,
    ops::Bound,
    sync::Arc,
};

use futures::future::BoxFuture;
use serde::Serialize;
use xronox_model::Timestamp;

use super::{
    Tenancy,
    address::{Address, Owner},
    context::DatabaseType,
    directory::Listed,
    record::{Belonging, Record, State},
    removal::{Found, owners},
};
use crate::Error;

/// Tenants of a page, unless it is said how many.
const PAGE: usize = 100;
/// And at most.
const MAX_PAGE: usize = 1000;

/// Where a tenant is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum TenantState {
    /// It is open.
    Active,
    /// Nobody may open it.
    Suspended,
    /// It is on its way to another connection: it may be read all the time, and
    /// written most of it.
    Moving,
    /// It is being removed.
    Dropping,
}

impl fmt::Display for TenantState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Moving => "moving",
            Self::Dropping => "dropping",
        })
    }
}

/// A tenant.
///
/// As JSON `{ tenantId, state, listed, since?, plan?, meta?, movingTo?, databases }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct TenantInfo {
    /// Its id.
    pub tenant_id: String,
    /// Where it is in its life.
    pub state: TenantState,
    /// Whether the configuration lists it.
    pub listed: bool,
    /// When the directory first knew it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// The plan it was created with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// The metadata it was created with.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub meta: BTreeMap<String, String>,
    /// The connection it is being moved to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moving_to: Option<String>,
    /// Its databases.
    pub databases: Vec<TenantPlace>,
}

/// A database of a tenant, and where it is.
///
/// As JSON `{ databaseType, connection, database, space?, analytics? }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct TenantPlace {
    /// What it is for.
    pub database_type: DatabaseType,
    /// The connection, a key of `dbConnections`.
    pub connection: String,
    /// Its name there.
    pub database: String,
    /// The space of its large bodies, a key of `spacesConnections`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub space: Option<String>,
    /// The database of its counters and results, on the same connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub analytics: Option<String>,
}

impl TenantPlace {
    pub(super) fn of(belonging: &Belonging) -> Self {
        Self::at(belonging.owner.database_type, &belonging.address)
    }

    fn at(database_type: DatabaseType, address: &Address) -> Self {
        let space = address.space.as_ref();
        Self {
            database_type,
            connection: address.connection.clone(),
            database: address.database.clone(),
            space: space.map(|space| space.connection.clone()),
            analytics: address.analytics.clone(),
        }
    }
}

/// Some tenants, by id.
///
/// As JSON `{ items, next? }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TenantPage {
    /// The tenants.
    pub items: Vec<TenantInfo>,
    /// What to go on [after](ListTenants::after); `None` at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Lists tenants; await it. Gives a [`TenantPage`]. Made with
/// [`Tenants::list`](super::Tenants::list).
#[derive(Debug)]
#[must_use = "nothing is listed until it is awaited"]
pub struct ListTenants {
    tenancy: Result<Arc<Tenancy>, Error>,
    after: Option<String>,
    limit: usize,
}

impl ListTenants {
    pub(super) fn of(tenancy: Result<Arc<Tenancy>, Error>) -> Self {
        Self {
            tenancy,
            after: None,
            limit: PAGE,
        }
    }

    /// Begins after this id, [where a page ended](TenantPage::next).
    pub fn after(mut self, id: impl Into<String>) -> Self {
        self.after = Some(id.into());
        self
    }

    /// At most so many: 1 to 1,000. Default: 100.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit.clamp(1, MAX_PAGE);
        self
    }
}

impl IntoFuture for ListTenants {
    type Output = Result<TenantPage, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let tenancy = self.tenancy?;
            let after = self.after.as_deref();
            let (found, end) = match tenancy.directory_of_tenants().await? {
                Some(directory) => directory.page(after, self.limit).await?,
                None => (Vec::new(), true),
            };
            let last = found.last().map(|last| last.id.clone());
            let mut known: BTreeMap<String, Option<Listed>> = found
                .into_iter()
                .map(|found| (found.id.clone(), Some(found)))
                .collect();
            let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
            let listed: BTreeSet<&str> = tenancy.resolver.listed_tenants().collect();
            for id in listed.range::<str, _>((begin, Bound::Unbounded)) {
                // Behind the last one found there may be others before it.
                let sure = end || last.as_deref().is_some_and(|last| *id <= last);
                if sure && !known.contains_key(*id) {
                    known.insert((*id).to_owned(), None);
                }
            }
            let more = !end || known.len() > self.limit;
            let page = known.iter().take(self.limit);
            let items: Vec<TenantInfo> = page
                .map(|(id, known)| tenancy.info(id, known.as_ref()))
                .collect();
            let last = items.last().map(|last| last.tenant_id.clone());
            Ok(TenantPage {
                items,
                next: last.filter(|_| more),
            })
        })
    }
}

impl Tenancy {
    /// Whether the configuration lists a tenant, for any type of database.
    pub(super) fn lists_tenant(&self, id: &str) -> bool {
        owners(id).any(|owner| self.resolver.lists(&owner))
    }

    /// What is known of a tenant.
    pub(super) fn info(&self, id: &str, known: Option<&Listed>) -> TenantInfo {
        let record = known.and_then(|known| known.record.as_ref());
        let entries = || known.iter().flat_map(|known| &known.entries);
        let since = entries().map(|entry| entry.since);
        let since = since.chain(record.map(|record| record.since)).min();
        let listed = |owner: &Owner| {
            let entry = entries().any(|entry| entry.owner == *owner);
            entry || self.resolver.lists(owner)
        };
        let databases = owners(id).filter(listed).filter_map(|owner| {
            let address = self.whereabouts(&owner, known)?;
            Some(TenantPlace::at(owner.database_type, &address))
        });
        TenantInfo {
            tenant_id: id.to_owned(),
            state: match record.map(|record| &record.state) {
                None | Some(State::Active) => TenantState::Active,
                Some(State::Suspended) => TenantState::Suspended,
                Some(State::Moving(_)) => TenantState::Moving,
                Some(State::Dropping { .. }) => TenantState::Dropping,
            },
            listed: self.lists_tenant(id),
            since,
            plan: record.and_then(|record| record.plan.clone()),
            meta: record.map_or_else(BTreeMap::new, |record| {
                record.meta.iter().cloned().collect()
            }),
            moving_to: record
                .and_then(Record::moving)
                .map(|moving| moving.to.clone()),
            databases: databases.collect(),
        }
    }

    /// The databases that are marked as a tenant's that no list and no
    /// directory knows.
    pub(super) async fn discovered(&self, id: &str) -> Result<Vec<TenantPlace>, Error> {
        let mut found = Vec::new();
        for owner in owners(id) {
            let Some(address) = self.whereabouts(&owner, None) else {
                continue;
            };
            if let Found::Theirs(_) = self.inspect(&owner, &address).await? {
                found.push(TenantPlace::at(owner.database_type, &address));
            }
        }
        Ok(found)
    }
}

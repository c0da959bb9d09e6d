//! Where a database is.

use std::fmt;

use serde::{Deserialize, Serialize};
use xronox_model::Timestamp;
use xronox_store::PerRole;

use super::context::{Context, DatabaseType, Tier};

/// The reference of a connection, the name of a database there, and since when
/// it is the one that the directory means.
pub(super) type Place = (String, String, Option<Timestamp>);

/// Where a database is, and what it is called there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Address {
    /// The reference of its connection.
    pub(super) connection: String,
    pub(super) database: String,
    /// The space of its large bodies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) space: Option<SpaceAddress>,
    /// The database of its analytics, on the same connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) analytics: Option<String>,
    /// When the directory placed it there: tells it from an earlier one that was
    /// dropped or has moved away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) placed: Option<Timestamp>,
}

impl Address {
    /// Where what is counted of it is kept, if that is another database.
    pub(super) fn counts(&self) -> Option<Self> {
        let database = self.analytics.clone()?;
        Some(Self {
            connection: self.connection.clone(),
            database,
            space: None,
            analytics: None,
            placed: self.placed,
        })
    }

    /// What it is known by while it is open.
    pub(super) fn place(&self) -> Place {
        let Self {
            connection,
            database,
            placed,
            ..
        } = self;
        (connection.clone(), database.clone(), *placed)
    }
}

/// The buckets of a space that a database uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SpaceAddress {
    /// The reference of the space.
    pub(super) connection: String,
    #[serde(default)]
    pub(super) buckets: PerRole,
}

/// Whose a database is; written into it when it is first opened, so that no
/// configuration can hand it to somebody else.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Owner {
    pub(super) database_type: DatabaseType,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) domain: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tenant_id: Option<String>,
}

impl Owner {
    pub(super) fn of(database_type: DatabaseType, tier: Tier) -> Self {
        let (domain, tenant_id) = match tier {
            Tier::Generic => (None, None),
            Tier::Domain(name) => (Some(name), None),
            Tier::Tenant(id) => (None, Some(id)),
        };
        Self {
            database_type,
            domain,
            tenant_id,
        }
    }

    /// The key that it is filed under: no two owners share one.
    pub(super) fn key(&self) -> String {
        let database_type = self.database_type.name();
        match (&self.domain, &self.tenant_id) {
            (Some(domain), _) => format!("{database_type}/domain/{domain}"),
            (None, Some(tenant)) => format!("{database_type}/tenant/{tenant}"),
            (None, None) => format!("{database_type}/generic"),
        }
    }
}

impl From<&Context> for Owner {
    fn from(context: &Context) -> Self {
        Self::of(context.database, context.tier.clone())
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.database_type)?;
        match (&self.domain, &self.tenant_id) {
            (Some(domain), _) => write!(f, " of domain {domain:?}"),
            (None, Some(tenant)) => write!(f, " of tenant {tenant:?}"),
            (None, None) => f.write_str(", generic"),
        }
    }
}

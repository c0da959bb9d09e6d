//! Where a collection is, as the application says it.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::address::Owner;
use crate::{Error, ErrorKind, TierName};

/// Ids of tenants and names of domains have at most this many bytes.
const MAX_NAME_BYTES: usize = 128;
/// Keys and values of metadata are short, and few.
const MAX_META: usize = 16;

/// Which database is meant: its type, its tier, and whose it is. The
/// configuration alone decides what database and which buckets that is.
///
/// ```
/// use xronox::Context;
///
/// let users = Context::runtime("acme");
/// let shared = Context::metadata().generic();
/// let articles = Context::knowledge().domain("healthcare");
/// let settings = Context::metadata().tenant("acme").plan("pro");
/// ```
///
/// As JSON, for contexts that arrive as data:
///
/// ```
/// # use xronox::Context;
/// let context: Context = serde_json::from_value(serde_json::json!({
///     "databaseType": "runtime", "tier": "tenant", "tenantId": "acme",
/// }))?;
/// assert_eq!(context, Context::runtime("acme"));
/// # Ok::<_, serde_json::Error>(())
/// ```
///
/// | field | |
/// |---|---|
/// | `databaseType` | `metadata`, `knowledge`, `runtime`, `logs`, `identities`, `messaging` |
/// | `tier` | `generic`, `domain`, `tenant`; by default what the next two say |
/// | `domain`, `tenantId` | with their tiers, and only with them |
/// | `tenantTier` | the tenant's [plan](Context::plan) |
/// | `meta` | [metadata](Context::meta) |
/// | `dbName` | [the expected database](Context::db_name) |
///
/// Runtime databases are always a tenant's; logs, identities and messaging are
/// shared or a tenant's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "Spelled")]
pub struct Context {
    pub(crate) database: DatabaseType,
    pub(crate) tier: Tier,
    pub(crate) plan: Option<String>,
    pub(crate) meta: BTreeMap<String, String>,
    pub(crate) db_name: Option<String>,
}

/// What a database is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DatabaseType {
    /// Configuration and settings of the application.
    Metadata,
    /// Content and reference data.
    Knowledge,
    /// What the application works on.
    Runtime,
    /// What happened.
    Logs,
    /// Users, accounts and roles.
    Identities,
    /// Messages and their deliveries.
    Messaging,
}

impl DatabaseType {
    /// All of them.
    pub(crate) const ALL: [Self; 6] = [
        Self::Metadata,
        Self::Knowledge,
        Self::Runtime,
        Self::Logs,
        Self::Identities,
        Self::Messaging,
    ];

    /// The name, as configurations spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Metadata => "metadata",
            Self::Knowledge => "knowledge",
            Self::Runtime => "runtime",
            Self::Logs => "logs",
            Self::Identities => "identities",
            Self::Messaging => "messaging",
        }
    }
}

impl fmt::Display for DatabaseType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Who shares a database.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Tier {
    Generic,
    Domain(String),
    Tenant(String),
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Generic => f.write_str("generic"),
            Self::Domain(domain) => write!(f, "domain {domain:?}"),
            Self::Tenant(tenant) => write!(f, "tenant {tenant:?}"),
        }
    }
}

/// Metadata or knowledge, the tier of which is yet to be said.
#[derive(Debug, Clone, Copy)]
#[must_use = "say which tier"]
pub struct Tiered(DatabaseType);

impl Tiered {
    /// The database of everybody.
    pub fn generic(self) -> Context {
        Context::of(self.0, Tier::Generic)
    }

    /// The database of a domain.
    pub fn domain(self, name: impl Into<String>) -> Context {
        Context::of(self.0, Tier::Domain(name.into()))
    }

    /// The database of a tenant.
    pub fn tenant(self, id: impl Into<String>) -> Context {
        Context::of(self.0, Tier::Tenant(id.into()))
    }
}

/// Logs, identities or messaging, of whom is yet to be said.
#[derive(Debug, Clone, Copy)]
#[must_use = "say whose"]
pub struct Shareable(DatabaseType);

impl Shareable {
    /// The database of all tenants.
    pub fn shared(self) -> Context {
        Context::of(self.0, Tier::Generic)
    }

    /// The database of a tenant that has its own.
    pub fn tenant(self, id: impl Into<String>) -> Context {
        Context::of(self.0, Tier::Tenant(id.into()))
    }
}

impl Context {
    /// Metadata, shared or a tenant's.
    pub fn metadata() -> Tiered {
        Tiered(DatabaseType::Metadata)
    }

    /// Knowledge, shared or a tenant's.
    pub fn knowledge() -> Tiered {
        Tiered(DatabaseType::Knowledge)
    }

    /// The runtime database of a tenant.
    pub fn runtime(tenant: impl Into<String>) -> Self {
        Self::of(DatabaseType::Runtime, Tier::Tenant(tenant.into()))
    }

    /// Logs, of all tenants or of one.
    pub fn logs() -> Shareable {
        Shareable(DatabaseType::Logs)
    }

    /// Users, accounts and roles, of all tenants or of one.
    pub fn identities() -> Shareable {
        Shareable(DatabaseType::Identities)
    }

    /// Messages, of all tenants or of one.
    pub fn messaging() -> Shareable {
        Shareable(DatabaseType::Messaging)
    }

    fn of(database: DatabaseType, tier: Tier) -> Self {
        Self {
            database,
            tier,
            plan: None,
            meta: BTreeMap::new(),
            db_name: None,
        }
    }

    /// The context of an owner's database.
    pub(super) fn of_owner(owner: &Owner) -> Self {
        let tier = match (&owner.domain, &owner.tenant_id) {
            (Some(domain), _) => Tier::Domain(domain.clone()),
            (None, Some(tenant)) => Tier::Tenant(tenant.clone()),
            (None, None) => Tier::Generic,
        };
        Self::of(owner.database_type, tier)
    }

    /// What the tenant has booked (`{tier}` in templates, and the key of the
    /// `tiers` of dynamic tenants). What it was on first use stays: a tenant
    /// does not move with it.
    pub fn plan(mut self, plan: impl Into<String>) -> Self {
        self.plan = Some(plan.into());
        self
    }

    /// A value for `{meta.<key>}` in templates of dynamic tenants; `domain` is
    /// one for `{domain}` too. As with the plan, what it was on first use stays.
    pub fn meta(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.meta.insert(key.into(), value.into());
        self
    }

    /// The name the database is expected to have. Any other than the one that
    /// the configuration gives is refused.
    pub fn db_name(mut self, name: impl Into<String>) -> Self {
        self.db_name = Some(name.into());
        self
    }

    /// What the database is for.
    pub fn database_type(&self) -> DatabaseType {
        self.database
    }

    /// The tenant, if the database is one's own.
    pub fn tenant_id(&self) -> Option<&str> {
        match &self.tier {
            Tier::Tenant(id) => Some(id),
            _ => None,
        }
    }

    /// The domain: that of the database, or the one that the metadata names.
    pub(crate) fn domain(&self) -> Option<&str> {
        match &self.tier {
            Tier::Domain(name) => Some(name),
            _ => self.meta.get("domain").map(String::as_str),
        }
    }

    /// The kind of the tier.
    pub(crate) fn tier_name(&self) -> TierName {
        match &self.tier {
            Tier::Generic => TierName::Generic,
            Tier::Domain(_) => TierName::Domain,
            Tier::Tenant(_) => TierName::Tenant,
        }
    }

    /// The context of another database of the same tenant, or of one that is
    /// shared.
    ///
    /// # Errors
    ///
    /// Why there is no such context.
    pub(crate) fn beside(
        &self,
        database: DatabaseType,
        tier: TierName,
        domain: Option<&str>,
    ) -> Result<Self, &'static str> {
        let tier = match (tier, domain, &self.tier) {
            (TierName::Generic, ..) => Tier::Generic,
            (TierName::Domain, Some(name), _) => Tier::Domain(name.to_owned()),
            (TierName::Domain, None, _) => return Err("which domain is not said"),
            (TierName::Tenant, _, Tier::Tenant(id)) => Tier::Tenant(id.clone()),
            (TierName::Tenant, ..) => return Err("the main record is not a tenant's"),
        };
        if database == self.database && tier == self.tier {
            return Ok(self.clone());
        }
        if database == DatabaseType::Runtime && !matches!(tier, Tier::Tenant(_)) {
            return Err("runtime databases are a tenant's");
        }
        let mut beside = Self::of(database, tier);
        if beside.tenant_id().is_some() {
            beside.plan.clone_from(&self.plan);
            beside.meta.clone_from(&self.meta);
        }
        Ok(beside)
    }

    /// Refuses what cannot be a name before it is looked for, or kept.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match &self.tier {
            Tier::Generic => (),
            Tier::Domain(name) => check_name("domain", name)?,
            Tier::Tenant(id) => check_name("tenantId", id)?,
        }
        if let Some(plan) = &self.plan {
            check_name("tenantTier", plan)?;
        }
        if self.meta.len() > MAX_META {
            return Err(invalid(format!("meta: at most {MAX_META} values")));
        }
        for (key, value) in &self.meta {
            check_name("meta: a key", key)?;
            check_name(&format!("meta.{key}"), value)?;
            if key == "tenantId" {
                return Err(invalid(
                    "meta.tenantId: who the tenant is says tenantId alone".to_owned(),
                ));
            }
        }
        Ok(())
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.database, self.tier)
    }
}

fn check_name(field: &str, name: &str) -> Result<(), Error> {
    if name.is_empty() {
        return Err(invalid(format!("{field}: it is empty")));
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(invalid(format!(
            "{field}: it has {} bytes; at most {MAX_NAME_BYTES}",
            name.len()
        )));
    }
    if name.chars().any(char::is_control) {
        return Err(invalid(format!("{field}: it holds control characters")));
    }
    Ok(())
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::Invalid, message)
}

/// A context as data.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Spelled {
    database_type: DatabaseType,
    tier: Option<SpelledTier>,
    domain: Option<String>,
    tenant_id: Option<String>,
    tenant_tier: Option<String>,
    #[serde(default)]
    meta: BTreeMap<String, String>,
    db_name: Option<String>,
}

#[derive(Deserialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
enum SpelledTier {
    Generic,
    Domain,
    Tenant,
}

impl TryFrom<Spelled> for Context {
    type Error = &'static str;

    fn try_from(spelled: Spelled) -> Result<Self, Self::Error> {
        use SpelledTier::{Domain, Generic, Tenant};
        let tier = match (spelled.tier, spelled.domain, spelled.tenant_id) {
            (None | Some(Generic), None, None) => Tier::Generic,
            (None | Some(Domain), Some(name), None) => Tier::Domain(name),
            (None | Some(Tenant), None, Some(id)) => Tier::Tenant(id),
            (Some(Domain), None, _) => return Err("tier `domain` needs a domain"),
            (Some(Tenant), _, None) => return Err("tier `tenant` needs a tenantId"),
            (_, Some(_), Some(_)) => return Err("either domain or tenantId, not both"),
            (Some(Generic), ..) => return Err("tier `generic` is nobody's own"),
        };
        let database = spelled.database_type;
        match (database, &tier) {
            (DatabaseType::Runtime, Tier::Generic | Tier::Domain(_)) => {
                return Err("runtime databases are a tenant's: tenantId is missing");
            }
            (
                DatabaseType::Logs | DatabaseType::Identities | DatabaseType::Messaging,
                Tier::Domain(_),
            ) => return Err("only metadata and knowledge have domains"),
            _ => (),
        }
        let context = Self {
            plan: spelled.tenant_tier,
            meta: spelled.meta,
            db_name: spelled.db_name,
            ..Self::of(database, tier)
        };
        Ok(context)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_says_too_little_or_too_much_is_refused() {
        for (spelled, problem) in [
            (json!({ "databaseType": "runtime" }), "tenantId is missing"),
            (
                json!({ "databaseType": "runtime", "tier": "generic" }),
                "tenantId is missing",
            ),
            (
                json!({ "databaseType": "metadata", "tier": "generic", "tenantId": "a" }),
                "nobody's own",
            ),
            (
                json!({ "databaseType": "metadata", "tier": "tenant" }),
                "needs a tenantId",
            ),
            (
                json!({ "databaseType": "metadata", "tier": "domain", "tenantId": "a" }),
                "needs a domain",
            ),
            (
                json!({ "databaseType": "metadata", "domain": "d", "tenantId": "a" }),
                "not both",
            ),
            (
                json!({ "databaseType": "logs", "domain": "d" }),
                "only metadata and knowledge",
            ),
            (json!({ "databaseType": "other" }), "unknown variant"),
            (
                json!({ "databaseType": "metadata", "tenant": "a" }),
                "unknown field",
            ),
        ] {
            let error = serde_json::from_value::<Context>(spelled.clone()).unwrap_err();
            assert!(error.to_string().contains(problem), "{spelled}: {error}");
        }
    }

    #[test]
    fn names_are_short_and_printable() {
        for wrong in ["", "a\nb", "\0", &"x".repeat(129)] {
            assert!(Context::runtime(wrong).check().is_err(), "{wrong:?}");
        }
        assert!(Context::runtime("Ünïcode $../ with spaces").check().is_ok());
        assert!(Context::runtime("a").meta("tenantId", "b").check().is_err());
    }
}

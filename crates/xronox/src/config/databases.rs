//! Which databases there are, of which type, for whom, and where.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::{Map, Value};
use xronox_store::{PerRole, SpaceConnection};

use super::{DynamicTenants, MessagingSettings, Retention};

/// The databases by type. What is left out does not exist.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Databases {
    /// System configuration, user settings, application metadata.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<TieredDatabases>,
    /// Content, documents, static data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub knowledge: Option<TieredDatabases>,
    /// What applications write, always a tenant's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<TenantDatabases>,
    /// Logs and the audit trail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logs: Option<LogsDatabases>,
    /// Users, accounts, sessions, roles.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identities: Option<IdentitiesDatabases>,
    /// Messages, topics, deliveries, dead letters, shared memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messaging: Option<MessagingDatabases>,
}

impl Databases {
    /// Every database that is listed.
    pub(crate) fn listed(&self) -> Vec<&DatabaseConfig> {
        let shared = [
            self.logs.as_ref().map(|logs| &logs.databases),
            self.identities
                .as_ref()
                .map(|identities| &identities.databases),
            self.messaging
                .as_ref()
                .map(|messaging| &messaging.databases),
        ];
        let mut all = Vec::new();
        let mut tenants = Vec::new();
        for tiered in [&self.metadata, &self.knowledge].into_iter().flatten() {
            all.extend(&tiered.generic_database);
            all.extend(
                tiered
                    .domains_databases
                    .iter()
                    .map(|domain| &domain.database),
            );
            tenants.push(&tiered.tenant_databases);
        }
        tenants.extend(
            self.runtime
                .as_ref()
                .map(|runtime| &runtime.tenant_databases),
        );
        for shared in shared.into_iter().flatten() {
            all.extend(&shared.database);
            tenants.push(&shared.tenant_databases);
        }
        all.extend(tenants.into_iter().flatten().map(|tenant| &tenant.database));
        all
    }

    /// The same, to be changed.
    pub(crate) fn listed_mut(&mut self) -> Vec<&mut DatabaseConfig> {
        let shared = [
            self.logs.as_mut().map(|logs| &mut logs.databases),
            self.identities
                .as_mut()
                .map(|identities| &mut identities.databases),
            self.messaging
                .as_mut()
                .map(|messaging| &mut messaging.databases),
        ];
        let mut all = Vec::new();
        let mut tenants = Vec::new();
        for tiered in [&mut self.metadata, &mut self.knowledge]
            .into_iter()
            .flatten()
        {
            all.extend(&mut tiered.generic_database);
            all.extend(
                tiered
                    .domains_databases
                    .iter_mut()
                    .map(|domain| &mut domain.database),
            );
            tenants.push(&mut tiered.tenant_databases);
        }
        tenants.extend(
            self.runtime
                .as_mut()
                .map(|runtime| &mut runtime.tenant_databases),
        );
        for shared in shared.into_iter().flatten() {
            all.extend(&mut shared.database);
            tenants.push(&mut shared.tenant_databases);
        }
        all.extend(
            tenants
                .into_iter()
                .flatten()
                .map(|tenant| &mut tenant.database),
        );
        all
    }
}

/// One database: where it is and what it is called.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseConfig {
    /// Its connection, a key of [`Config::db_connections`](super::Config::db_connections).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub db_conn_ref: Option<String>,
    /// Instead: several, of which routing picks one when the database is first
    /// used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub db_conn_refs: Vec<WeightedRef>,
    /// The space of its large bodies, a key of
    /// [`Config::spaces_connections`](super::Config::spaces_connections).
    /// Without one all bodies are in the catalog.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub space_conn_ref: Option<String>,
    /// Instead: several, of which routing picks one when the database is first
    /// used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub space_conn_refs: Vec<WeightedRef>,
    /// Its name on the connection.
    pub db_name: String,
    /// The bucket of every role that has none of its own; without it, the
    /// space's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    /// The bucket of newest bodies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records_bucket: Option<String>,
    /// The bucket of superseded bodies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub versions_bucket: Option<String>,
    /// The bucket of files inside records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_bucket: Option<String>,
    /// The bucket of backups and archives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backups_bucket: Option<String>,
    /// The database of its counters and results, on the same connection.
    /// Without it they are kept beside the data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analytics_db_name: Option<String>,
    /// Overrides [`Settings::retention`](super::Settings::retention).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
}

/// One of several connections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WeightedRef {
    /// The connection's key.
    #[serde(rename = "ref")]
    pub connection: String,
    /// Its share, beside those of the others. Default: 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub weight: u32,
}

fn one() -> u32 {
    1
}

impl DatabaseConfig {
    /// A database of this name on this connection, all bodies in the catalog.
    pub fn new(db_conn_ref: impl Into<String>, db_name: impl Into<String>) -> Self {
        Self {
            db_conn_ref: Some(db_conn_ref.into()),
            db_name: db_name.into(),
            ..Self::default()
        }
    }

    /// The same, with large bodies in this space.
    pub fn space(mut self, space_conn_ref: impl Into<String>) -> Self {
        self.space_conn_ref = Some(space_conn_ref.into());
        self
    }

    /// The same, with one bucket for everything that has none of its own.
    pub fn bucket(mut self, bucket: impl Into<String>) -> Self {
        self.bucket = Some(bucket.into());
        self
    }

    /// The same, with counters and results in a database of this name.
    pub fn analytics(mut self, db_name: impl Into<String>) -> Self {
        self.analytics_db_name = Some(db_name.into());
        self
    }

    /// The connections that it may be on; one unless there is a choice.
    pub fn connections(&self) -> Vec<WeightedRef> {
        either(self.db_conn_ref.as_ref(), &self.db_conn_refs)
    }

    /// The spaces that its bodies may be in; empty if they are in the catalog.
    pub fn spaces(&self) -> Vec<WeightedRef> {
        either(self.space_conn_ref.as_ref(), &self.space_conn_refs)
    }

    /// The buckets that it uses of a space: its own, then the space's.
    pub fn buckets(&self, space: &SpaceConnection) -> PerRole {
        let own = PerRole {
            records: self.records_bucket.clone(),
            versions: self.versions_bucket.clone(),
            content: self.content_bucket.clone(),
            backups: self.backups_bucket.clone(),
        };
        space.buckets_of(&own, self.bucket.as_deref())
    }

    /// The keys and names of its buckets.
    pub(crate) fn named_buckets(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("bucket", &self.bucket),
            ("recordsBucket", &self.records_bucket),
            ("versionsBucket", &self.versions_bucket),
            ("contentBucket", &self.content_bucket),
            ("backupsBucket", &self.backups_bucket),
        ]
        .into_iter()
        .filter_map(|(key, name)| Some((key, name.as_deref()?)))
    }
}

pub(super) fn either(one: Option<&String>, several: &[WeightedRef]) -> Vec<WeightedRef> {
    match one {
        Some(name) => vec![WeightedRef {
            connection: name.clone(),
            weight: 1,
        }],
        None => several.to_vec(),
    }
}

/// The databases of a type that has all three tiers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TieredDatabases {
    /// For everyone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generic_database: Option<DatabaseConfig>,
    /// For everyone in a domain.
    pub domains_databases: Vec<DomainDatabase>,
    /// For one tenant.
    pub tenant_databases: Vec<TenantDatabase>,
    /// For tenants that are not listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dynamic_tenants: Option<DynamicTenants>,
}

impl TieredDatabases {
    /// The same, with a database for everyone.
    pub fn generic(mut self, database: DatabaseConfig) -> Self {
        self.generic_database = Some(database);
        self
    }

    /// The same, with a database for a domain.
    pub fn domain(mut self, domain: impl Into<String>, database: DatabaseConfig) -> Self {
        let domain = domain.into();
        self.domains_databases
            .push(DomainDatabase { domain, database });
        self
    }

    /// The same, with a database for a tenant.
    pub fn tenant(mut self, tenant_id: impl Into<String>, database: DatabaseConfig) -> Self {
        self.tenant_databases
            .push(TenantDatabase::new(tenant_id, database));
        self
    }

    /// The same, with a rule for tenants that are not listed.
    pub fn dynamic(mut self, tenants: DynamicTenants) -> Self {
        self.dynamic_tenants = Some(tenants);
        self
    }
}

/// The databases of a type that has the tenants' tier only.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TenantDatabases {
    /// For one tenant.
    pub tenant_databases: Vec<TenantDatabase>,
    /// For tenants that are not listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dynamic_tenants: Option<DynamicTenants>,
}

impl TenantDatabases {
    /// The same, with a database for a tenant.
    pub fn tenant(mut self, tenant_id: impl Into<String>, database: DatabaseConfig) -> Self {
        self.tenant_databases
            .push(TenantDatabase::new(tenant_id, database));
        self
    }

    /// The same, with a rule for tenants that are not listed.
    pub fn dynamic(mut self, tenants: DynamicTenants) -> Self {
        self.dynamic_tenants = Some(tenants);
        self
    }
}

/// The database of a tenant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TenantDatabase {
    /// Whose it is.
    pub tenant_id: String,
    /// Where it is.
    #[serde(flatten)]
    pub database: DatabaseConfig,
}

impl TenantDatabase {
    /// The database of this tenant.
    pub fn new(tenant_id: impl Into<String>, database: DatabaseConfig) -> Self {
        Self {
            tenant_id: tenant_id.into(),
            database,
        }
    }
}

/// The database of a domain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DomainDatabase {
    /// Whose it is.
    pub domain: String,
    /// Where it is.
    #[serde(flatten)]
    pub database: DatabaseConfig,
}

/// Either one database for all tenants, in which every document says whose it
/// is, or databases by tenant.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SharedDatabases {
    /// The one for all tenants.
    #[serde(flatten)]
    pub database: Option<DatabaseConfig>,
    /// For one tenant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tenant_databases: Vec<TenantDatabase>,
    /// For tenants that are not listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dynamic_tenants: Option<DynamicTenants>,
}

impl From<DatabaseConfig> for SharedDatabases {
    fn from(database: DatabaseConfig) -> Self {
        Self {
            database: Some(database),
            ..Self::default()
        }
    }
}

/// Whatever is said of a database for all tenants, it has a name.
fn named() -> Value {
    let keys = [
        "dbConnRef",
        "dbConnRefs",
        "spaceConnRef",
        "spaceConnRefs",
        "bucket",
        "recordsBucket",
        "versionsBucket",
        "contentBucket",
        "backupsBucket",
        "analyticsDbName",
    ];
    keys.map(|key| (key, vec!["dbName"])).into_iter().collect()
}

/// Where logs are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("dependentRequired" = named()))]
pub struct LogsDatabases {
    /// The databases.
    #[serde(flatten)]
    pub databases: SharedDatabases,
    /// Days that they are kept. Default: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub retention_days: Option<u32>,
    /// Whether days that are over are moved to the bucket. Default: no.
    #[serde(default)]
    pub offload: bool,
}

/// Where users, accounts, sessions and roles are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("dependentRequired" = named()))]
pub struct IdentitiesDatabases {
    /// The databases.
    #[serde(flatten)]
    pub databases: SharedDatabases,
    /// Whether changes are kept as versions. Default: no.
    #[serde(default)]
    pub audit: bool,
}

/// Where messages are.
///
/// Its `retention` is that of messages; the database has none of its own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("dependentRequired" = named()))]
pub struct MessagingDatabases {
    /// The databases.
    #[serde(flatten)]
    pub databases: SharedDatabases,
    /// How messages are kept.
    #[serde(flatten)]
    pub settings: MessagingSettings,
}

impl<'de> Deserialize<'de> for MessagingDatabases {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut keys = Map::<String, Value>::deserialize(deserializer)?;
        let settings = MessagingSettings::deserialize(&keys).map_err(D::Error::custom)?;
        keys.remove("retention");
        let databases = SharedDatabases::deserialize(&keys).map_err(D::Error::custom)?;
        Ok(Self {
            databases,
            settings,
        })
    }
}

impl From<DatabaseConfig> for LogsDatabases {
    fn from(database: DatabaseConfig) -> Self {
        Self {
            databases: database.into(),
            ..Self::default()
        }
    }
}

impl From<DatabaseConfig> for IdentitiesDatabases {
    fn from(database: DatabaseConfig) -> Self {
        Self {
            databases: database.into(),
            ..Self::default()
        }
    }
}

impl From<DatabaseConfig> for MessagingDatabases {
    fn from(database: DatabaseConfig) -> Self {
        Self {
            databases: database.into(),
            ..Self::default()
        }
    }
}

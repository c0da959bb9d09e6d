//! How a store is set up: where data is, and how it is kept.

mod analytics;
mod builder;
mod check;
mod collection_map;
mod connect;
mod connections;
mod cron;
mod databases;
mod document_schema;
mod dynamic_tenants;
mod fallback;
mod format;
mod load;
mod mask;
mod messaging;
mod problem;
mod production;
mod protection;
mod retention;
mod routing;
mod schema;
mod settings;
mod shape;
mod template;
mod tokens;
mod unsupported;
mod worker;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use xronox_store::SpaceConnection;

pub use analytics::{
    Analytics, CountedWrite, CounterRule, CounterRules, CrossTenantMode, CrossTenantRule,
    Operation, RelativeTime, SaveMode, Scope, TimeBasedRule, Timeframe,
};
pub use builder::ConfigBuilder;
pub use collection_map::{
    Base64Property, CollectionMap, IndexSetting, Offload, PersonalProperty, Validation,
};
pub use connect::ConnectionCheck;
pub use connections::{DbConnection, LocalStorage, Pool};
pub use databases::{
    DatabaseConfig, Databases, DomainDatabase, IdentitiesDatabases, LogsDatabases,
    MessagingDatabases, SharedDatabases, TenantDatabase, TenantDatabases, TieredDatabases,
    WeightedRef,
};
pub use document_schema::DocumentSchema;
pub use dynamic_tenants::{DatabaseTemplates, DynamicTenants, TenantIdRules, TenantTier};
pub use fallback::{DevShadow, Fallback};
pub use load::ConfigLoader;
pub use messaging::{MessagingRetention, MessagingSettings, Redis};
pub use problem::Problem;
pub use production::ProductionConfig;
pub use protection::{Audit, Encryption, Signing};
pub use retention::{CounterRetention, KeepOne, Retention, Thinning, VersionRetention};
pub use routing::{HashAlgo, Routing, RoutingKey, RoutingPart};
pub use settings::{
    Idempotency, PayloadSettings, PayloadWrites, Queries, Settings, Switch, Transactions,
    Unindexed, WriteOptimization,
};
pub use template::{Placeholder, Template, TemplatePart};
pub use worker::{ManifestPeriod, MissedRuns, Rollup, Worker};

pub(crate) use connect::{check_folder, folder_of};
pub(crate) use connections::CatalogAddress;
pub(crate) use problem::Problems;

use crate::{EnsureBuckets, Error, ErrorKind};

/// The tenant of a store without tenants.
pub(crate) const DEFAULT_TENANT: &str = "default";

/// The connection and the space of a store that has one of each.
const MAIN: &str = "main";

/// Where data is and how it is kept.
///
/// [`Config::dev`] and [`Config::memory`] need nothing else; every setting has
/// a default.
///
/// ```
/// use xronox::Config;
///
/// let mut config = Config::dev("./xronox-data");
/// config.settings.write_optimization.compression_enabled = true;
/// ```
///
/// A configuration is a file in JSON, TOML or YAML; its keys are the fields
/// here, in camel case. [`Config::load`] reads one, [`Config::discover`] looks
/// for it, and `xronox config schema` prints the JSON Schema that editors
/// complete it from. `ENV.NAME` in the place of any string stands for a
/// variable. Whatever is wrong is reported [all at once](Error::problems).
///
/// ```
/// use xronox::Config;
///
/// let config = Config::from_json(r#"{
///     "dbConnections": { "main": { "mongoUri": "sqlite:./data" } },
///     "databases": { "runtime": { "tenantDatabases": [
///         { "tenantId": "default", "dbConnRef": "main", "dbName": "shop" }
///     ] } },
///     "queries": { "maxLimit": 500 }
/// }"#)?;
/// assert_eq!(config.settings.queries.max_limit, 500);
///
/// let error = Config::from_json(r#"{ "querys": {}, "payloads": { "maxBytes": "1MB" } }"#);
/// let problems: Vec<String> =
///     error.unwrap_err().problems().iter().map(ToString::to_string).collect();
/// assert_eq!(problems, [
///     "payloads.maxBytes: found \"1MB\", expected a whole number, 1 or more",
///     "querys: unknown key; did you mean `queries`?",
/// ]);
/// # Ok::<(), xronox::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    /// Deployments that keep catalogs, by the names that databases use.
    pub db_connections: BTreeMap<String, DbConnection>,
    /// Spaces that keep large bodies, by the names that databases use.
    pub spaces_connections: BTreeMap<String, SpaceConnection>,
    /// The databases.
    pub databases: Box<Databases>,
    /// Files in the place of every space.
    pub local_storage: LocalStorage,
    /// How one of several connections is chosen.
    pub routing: Routing,
    /// Everything but the place. In a file its keys stand beside the others.
    #[serde(flatten)]
    pub settings: Settings,
    /// Whether buckets that are not there are made.
    #[serde(skip)]
    pub(crate) create_buckets: bool,
    /// Whether databases have to be there.
    #[serde(skip)]
    pub(crate) existing: bool,
    /// A path that could not be written as text.
    #[serde(skip)]
    not_text: Option<PathBuf>,
}

impl Config {
    /// A store in the folder at `path`, made if it is not there: the catalogs
    /// under `path/catalog`, large bodies under `path/objects`.
    ///
    /// It has the databases of one tenant, `default`:
    /// `xronox_metadata_default`, `xronox_knowledge_default` and
    /// `xronox_runtime_default`, and `xronox_logs`, `xronox_messaging` and
    /// `xronox_identities` beside them. A path that is not UTF-8 cannot be
    /// opened.
    pub fn dev(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let (catalog, objects) = (path.join("catalog"), path.join("objects"));
        let mut config = Self::single(DbConnection::new(format!("sqlite:{}", plain(&catalog))))
            .with_payloads(SpaceConnection::new(format!("file:{}", plain(&objects))));
        config.not_text = path.to_str().is_none().then_some(path);
        config
    }

    /// A store in memory, gone with the process, with the databases of
    /// [`dev`](Self::dev).
    pub fn memory() -> Self {
        Self::single(DbConnection::new("memory:")).with_payloads(SpaceConnection::new("memory:"))
    }

    /// A store with the databases of [`dev`](Self::dev) whose catalogs are at a
    /// URI: `mongodb://…` or `mongodb+srv://…` (what stands in the path is the
    /// database that authenticates), `sqlite:FOLDER` or `memory:`. All bodies
    /// are in the catalog unless [`with_payloads`](Self::with_payloads) names a
    /// place for large ones; without one, MongoDB takes up to 1 MiB of each.
    ///
    /// ```
    /// use xronox::{Config, SpaceConnection};
    ///
    /// # fn config() -> Result<Config, Box<dyn std::error::Error>> {
    /// let bodies = SpaceConnection::from_url("s3://our-records/prod?region=eu-west-1")?;
    /// Ok(Config::at("mongodb://db1,db2,db3/?replicaSet=rs0")?.with_payloads(bodies))
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Config`](ErrorKind::Config) for any other URI.
    pub fn at(catalog: &str) -> Result<Self, Error> {
        let connection = DbConnection::new(catalog);
        match connection.address() {
            #[cfg(not(feature = "mongodb"))]
            Some(CatalogAddress::Mongo(_)) => Err(Error::new(
                ErrorKind::Unsupported,
                "this build is without MongoDB (feature `mongodb`)",
            )),
            Some(_) => Ok(Self::single(connection)),
            // The rest may hold a password, wherever a typing error put it.
            None => Err(Error::new(
                ErrorKind::Config,
                "a catalog is at mongodb://…, mongodb+srv://…, sqlite:FOLDER or memory:",
            )),
        }
    }

    /// One tenant on one connection.
    fn single(connection: DbConnection) -> Self {
        let database = |name: &str| DatabaseConfig::new(MAIN, name);
        let tiered = |name| Some(TieredDatabases::default().tenant(DEFAULT_TENANT, database(name)));
        let runtime = database("xronox_runtime_default");
        Self {
            db_connections: [(MAIN.to_owned(), connection)].into(),
            databases: Box::new(Databases {
                metadata: tiered("xronox_metadata_default"),
                knowledge: tiered("xronox_knowledge_default"),
                runtime: Some(TenantDatabases::default().tenant(DEFAULT_TENANT, runtime)),
                logs: Some(database("xronox_logs").into()),
                identities: Some(database("xronox_identities").into()),
                messaging: Some(database("xronox_messaging").into()),
            }),
            ..Self::default()
        }
    }

    /// Calls the runtime database of tenant `default` this, and the others of
    /// [`dev`](Self::dev) likewise, with their type behind it, so that several
    /// stores may share a server. Default: `xronox_runtime_default`.
    pub fn database(mut self, name: impl Into<String>) -> Self {
        let name = name.into();
        let databases = &mut *self.databases;
        let tiered = [
            (&mut databases.metadata, "metadata"),
            (&mut databases.knowledge, "knowledge"),
        ];
        for (tiered, of) in tiered {
            let tenants = tiered
                .iter_mut()
                .flat_map(|tiered| &mut tiered.tenant_databases);
            for tenant in tenants.filter(|tenant| tenant.tenant_id == DEFAULT_TENANT) {
                tenant.database.db_name = format!("{name}_{of}");
            }
        }
        let shared = [
            (
                databases.logs.as_mut().map(|logs| &mut logs.databases),
                "logs",
            ),
            (
                databases.identities.as_mut().map(|all| &mut all.databases),
                "identities",
            ),
            (
                databases.messaging.as_mut().map(|all| &mut all.databases),
                "messaging",
            ),
        ];
        for (shared, of) in shared {
            if let Some(database) = shared.and_then(|shared| shared.database.as_mut()) {
                database.db_name = format!("{name}_{of}");
            }
        }
        let runtime = databases
            .runtime
            .iter_mut()
            .flat_map(|runtime| &mut runtime.tenant_databases);
        for tenant in runtime.filter(|tenant| tenant.tenant_id == DEFAULT_TENANT) {
            tenant.database.db_name.clone_from(&name);
        }
        self
    }

    /// Keeps the large bodies of every database in this space.
    pub fn with_payloads(mut self, space: SpaceConnection) -> Self {
        self.spaces_connections.insert(MAIN.to_owned(), space);
        for database in self.databases.listed_mut() {
            database.space_conn_ref = Some(MAIN.to_owned());
            database.space_conn_refs.clear();
        }
        self
    }

    /// Makes buckets that are not there when the store is opened, where the
    /// provider allows. Default: a missing bucket is an error.
    pub fn create_buckets(mut self) -> Self {
        self.create_buckets = true;
        self
    }

    /// Makes the buckets of all databases that are not there, those of the
    /// tenants in the directory too; await it before the store is opened.
    /// Gives a [`BucketReport`](crate::BucketReport), which also says what may
    /// not be used; [`dry_run`](EnsureBuckets::dry_run) makes nothing.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), xronox::Error> {
    /// use xronox::Config;
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let folder = folder.path();
    /// let report = Config::dev(folder).ensure_buckets().await?;
    /// assert!(report.complete(), "{report:?}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Folders of a space of files count as there if they can be made, which
    /// happens when they are first of use. Buckets of dynamic tenants to come
    /// are made with them, see [`create_buckets`](Self::create_buckets).
    ///
    /// # Errors
    ///
    /// As [`Xronox::open`](crate::Xronox::open) for the configuration and for
    /// the directory of tenants; not for a bucket.
    pub fn ensure_buckets(&self) -> EnsureBuckets {
        EnsureBuckets::of(self.clone())
    }

    /// Opens only databases that are there: others are
    /// [`NotFound`](ErrorKind::NotFound). Default: they are made.
    pub fn existing(mut self) -> Self {
        self.existing = true;
        self
    }

    /// Everything in its place: databases step by step, then
    /// [`build`](ConfigBuilder::build), which checks it.
    pub fn builder() -> ConfigBuilder {
        ConfigBuilder::default()
    }

    /// The configuration with every default filled in and every secret left
    /// out, as a file would have it.
    pub fn show(&self) -> Value {
        // It is made of maps with text keys, lists and scalars only.
        serde_json::to_value(self).unwrap_or_default()
    }

    /// The JSON Schema of a configuration file.
    pub fn schema() -> Value {
        schema::published()
    }

    /// Checks what can be known without connecting; opening a store does so
    /// too.
    ///
    /// # Errors
    ///
    /// [`Config`](ErrorKind::Config) with [all problems](Error::problems).
    pub fn check(&self) -> Result<(), Error> {
        let problems = check::check(self, &check::Named::default());
        if problems.is_empty() {
            return Ok(());
        }
        Err(Problems::of(None, problems).into())
    }

    /// The spaces as they are used: files in the place of each with local
    /// storage.
    pub(crate) fn spaces(&self) -> BTreeMap<String, SpaceConnection> {
        let mut spaces = self.spaces_connections.clone();
        if self.local_storage.enabled {
            for space in spaces.values_mut() {
                *space = self.local_storage.space();
            }
        }
        spaces
    }

    /// What is switched on that this version cannot do yet. A store whose
    /// configuration has any does not open.
    pub fn unsupported(&self) -> Vec<Problem> {
        unsupported::unsupported(self)
    }
}

/// A path as it stands behind `sqlite:` and `file:`, where `//` in front has a
/// meaning of its own.
fn plain(path: &Path) -> String {
    let text = path.to_string_lossy();
    match text.strip_prefix("//") {
        Some(rest) => format!("/{}", rest.trim_start_matches('/')),
        None => text.into_owned(),
    }
}

//! A configuration made step by step.

use xronox_store::SpaceConnection;

use super::{
    CollectionMap, Config, DbConnection, IdentitiesDatabases, LogsDatabases, MessagingDatabases,
    Settings, TenantDatabases, TieredDatabases,
};
use crate::Error;

/// A configuration made step by step, by [`Config::builder`].
///
/// ```
/// use xronox::{CollectionMap, Config, DatabaseConfig, TenantDatabases, TieredDatabases};
///
/// let config = Config::builder()
///     .db_connection("main", "sqlite:./data")
///     .knowledge(TieredDatabases::default().generic(DatabaseConfig::new("main", "facts")))
///     .runtime(
///         TenantDatabases::default()
///             .tenant("acme", DatabaseConfig::new("main", "shop_acme"))
///             .tenant("globex", DatabaseConfig::new("main", "shop_globex")),
///     )
///     .collection("orders", CollectionMap::default())
///     .build()?;
/// assert_eq!(config.databases.runtime.unwrap().tenant_databases.len(), 2);
/// # Ok::<(), xronox::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct ConfigBuilder(Config);

impl ConfigBuilder {
    /// A deployment that keeps catalogs, under a name that databases use:
    /// `mongodb://…`, `mongodb+srv://…`, `sqlite:FOLDER` or `memory:`.
    pub fn db_connection(self, name: impl Into<String>, uri: impl Into<String>) -> Self {
        self.db_connection_with(name, DbConnection::new(uri))
    }

    /// The same, with a pool of its own.
    pub fn db_connection_with(mut self, name: impl Into<String>, connection: DbConnection) -> Self {
        self.0.db_connections.insert(name.into(), connection);
        self
    }

    /// A space that keeps large bodies, under a name that databases use.
    pub fn space_connection(mut self, name: impl Into<String>, space: SpaceConnection) -> Self {
        self.0.spaces_connections.insert(name.into(), space);
        self
    }

    /// Files below this folder in the place of every space.
    pub fn local_storage(mut self, folder: impl Into<String>) -> Self {
        self.0.local_storage.enabled = true;
        self.0.local_storage.base_path = folder.into();
        self
    }

    /// The databases of metadata.
    pub fn metadata(mut self, databases: TieredDatabases) -> Self {
        self.0.databases.metadata = Some(databases);
        self
    }

    /// The databases of knowledge.
    pub fn knowledge(mut self, databases: TieredDatabases) -> Self {
        self.0.databases.knowledge = Some(databases);
        self
    }

    /// The databases of what applications write.
    pub fn runtime(mut self, databases: TenantDatabases) -> Self {
        self.0.databases.runtime = Some(databases);
        self
    }

    /// Where logs are.
    pub fn logs(mut self, databases: impl Into<LogsDatabases>) -> Self {
        self.0.databases.logs = Some(databases.into());
        self
    }

    /// Where users, accounts, sessions and roles are.
    pub fn identities(mut self, databases: impl Into<IdentitiesDatabases>) -> Self {
        self.0.databases.identities = Some(databases.into());
        self
    }

    /// Where messages are.
    pub fn messaging(mut self, databases: impl Into<MessagingDatabases>) -> Self {
        self.0.databases.messaging = Some(databases.into());
        self
    }

    /// The settings of a collection.
    pub fn collection(mut self, name: impl Into<String>, map: CollectionMap) -> Self {
        self.0.settings.collection_maps.insert(name.into(), map);
        self
    }

    /// Changes settings.
    pub fn settings(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.0.settings);
        self
    }

    /// The configuration.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config) with [all problems](Error::problems).
    pub fn build(self) -> Result<Config, Error> {
        self.0.check()?;
        Ok(self.0)
    }
}

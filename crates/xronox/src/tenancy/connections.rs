//! One client for each distinct connection.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    path::Path,
    sync::Arc,
};

use futures::future::join_all;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::OnceCell;
use xronox_store::{
    Catalog, Documents, HealthStatus, MemoryCatalog, MemoryDocuments, PerRole, Space, SpaceClient,
    SpaceConnection, StoreError, SystemClock,
};

#[cfg(feature = "mongodb")]
use xronox_store::Health;

#[cfg(feature = "mongodb")]
use crate::Transactions;
use crate::{
    DbConnection, Error, ErrorKind, Settings,
    config::{CatalogAddress, folder_of},
    engine::room::Room,
};

/// The catalog and the plain documents of a database.
pub(super) type Opened = (Arc<dyn Catalog>, Arc<dyn Documents>);

/// How a connection was found lately. As JSON `{ path, up, latencyMs?,
/// downForMs?, reason? }`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ConnectionHealth {
    /// Its place in the configuration, such as `dbConnections.main`.
    pub path: String,
    /// How it was found.
    #[serde(flatten)]
    pub status: HealthStatus,
}

/// The clients of a store. References of equal connections share theirs; each
/// is opened on its first use, by one caller, whoever else waits for it.
#[derive(Debug)]
pub(super) struct Connections {
    databases: BTreeMap<String, Arc<DatabaseClient>>,
    spaces: BTreeMap<String, Arc<StorageClient>>,
}

impl Connections {
    pub(super) fn new(
        databases: &BTreeMap<String, DbConnection>,
        spaces: &BTreeMap<String, SpaceConnection>,
        settings: &Settings,
    ) -> Self {
        Self {
            databases: shared(databases, |name, connection| {
                DatabaseClient::new(name, connection, settings)
            }),
            spaces: shared(spaces, |_, connection| StorageClient::new(connection)),
        }
    }

    pub(super) fn database(&self, reference: &str) -> Result<&Arc<DatabaseClient>, Error> {
        self.databases
            .get(reference)
            .ok_or_else(|| unknown("dbConnections", reference))
    }

    pub(super) fn space(&self, reference: &str) -> Result<&Arc<StorageClient>, Error> {
        self.spaces
            .get(reference)
            .ok_or_else(|| unknown("spacesConnections", reference))
    }

    /// How each connection was found.
    pub(super) async fn health(&self) -> Vec<ConnectionHealth> {
        let databases = self.databases.iter().map(async |(name, client)| {
            let path = format!("dbConnections.{name}");
            let status = client.health().await;
            ConnectionHealth { path, status }
        });
        let mut all = join_all(databases).await;
        all.extend(self.spaces.iter().map(|(name, client)| ConnectionHealth {
            path: format!("spacesConnections.{name}"),
            status: client.health(),
        }));
        all
    }

    /// Waits for the writes under way, and takes no more.
    pub(super) async fn drain(&self) {
        for client in self.databases.values() {
            client.room.close().await;
        }
    }

    /// Closes what has been opened, once its databases are.
    pub(super) async fn close(&self) {
        for client in self.databases.values() {
            client.close().await;
        }
    }
}

/// One client for all references of connections that are equal.
fn shared<C: PartialEq, T>(
    connections: &BTreeMap<String, C>,
    client: impl Fn(&str, &C) -> T,
) -> BTreeMap<String, Arc<T>> {
    let mut distinct: Vec<(&C, Arc<T>)> = Vec::new();
    let mut all = BTreeMap::new();
    for (name, connection) in connections {
        let known = distinct.iter().find(|(known, _)| *known == connection);
        let shared = known.map(|(_, client)| Arc::clone(client));
        let shared = shared.unwrap_or_else(|| {
            let client = Arc::new(client(name, connection));
            distinct.push((connection, Arc::clone(&client)));
            client
        });
        all.insert(name.clone(), shared);
    }
    all
}

fn unknown(section: &str, reference: &str) -> Error {
    Error::new(
        ErrorKind::Config,
        format!("{section}: there is no {reference:?}"),
    )
}

/// A server of databases, or what stands for one.
pub(super) struct DatabaseClient {
    /// Its first name, for messages.
    name: String,
    connection: DbConnection,
    #[cfg(feature = "mongodb")]
    transactions: Transactions,
    #[cfg(feature = "mongodb")]
    health: Arc<Health>,
    server: OnceCell<Server>,
    /// Of its own, so that one that answers slowly fills nobody else's.
    pub(super) room: Room,
}

enum Server {
    Memory(Mutex<HashMap<String, Opened>>),
    #[cfg(feature = "sqlite")]
    Folder(std::path::PathBuf),
    #[cfg(feature = "mongodb")]
    Mongo(xronox_mongodb::MongoConnection),
}

impl fmt::Debug for DatabaseClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseClient")
            .field("name", &self.name)
            .field("opened", &self.server.initialized())
            .finish_non_exhaustive()
    }
}

impl DatabaseClient {
    fn new(name: &str, connection: &DbConnection, settings: &Settings) -> Self {
        Self {
            name: name.to_owned(),
            connection: connection.clone(),
            #[cfg(feature = "mongodb")]
            transactions: settings.transactions,
            #[cfg(feature = "mongodb")]
            health: Arc::default(),
            server: OnceCell::new(),
            room: Room::new(settings.payloads.queue_bytes),
        }
    }

    /// Whether each of its databases is a file.
    pub(super) fn is_folder(&self) -> bool {
        matches!(self.connection.address(), Some(CatalogAddress::Sqlite(_)))
    }

    /// Whether there is a database of this name. Makes nothing.
    pub(super) async fn exists(&self, database: &str) -> Result<bool, Error> {
        match self.server.get_or_try_init(|| self.connect()).await? {
            Server::Memory(databases) => Ok(databases.lock().contains_key(database)),
            #[cfg(feature = "sqlite")]
            Server::Folder(folder) => {
                let file = folder.join(file_of(database));
                Ok(blocking(move || Ok(file.exists())).await?)
            }
            #[cfg(feature = "mongodb")]
            Server::Mongo(connection) => Ok(connection.has_database(database).await?),
        }
    }

    /// Opens the database of this name, making it if it is not there.
    pub(super) async fn open(&self, database: &str) -> Result<Opened, Error> {
        match self.server.get_or_try_init(|| self.connect()).await? {
            Server::Memory(databases) => {
                let mut databases = databases.lock();
                let opened = databases.entry(database.to_owned()).or_insert_with(|| {
                    let clock = Arc::new(SystemClock);
                    let catalog = Arc::new(MemoryCatalog::new(database, clock.clone()));
                    (catalog, Arc::new(MemoryDocuments::new(clock)))
                });
                Ok(opened.clone())
            }
            #[cfg(feature = "sqlite")]
            Server::Folder(folder) => {
                let (file, clock) = (folder.join(file_of(database)), Arc::new(SystemClock));
                let catalog = xronox_sqlite::SqliteCatalog::open(file, database, clock).await?;
                let documents = Arc::new(catalog.documents());
                Ok((Arc::new(catalog), documents))
            }
            #[cfg(feature = "mongodb")]
            Server::Mongo(connection) => {
                let database = xronox_mongodb::MongoDatabase::open(connection, database).await?;
                let documents = Arc::new(database.documents(Arc::new(SystemClock)));
                Ok((Arc::new(database.catalog().await?), documents))
            }
        }
    }

    /// Removes the database of this name with everything in it, whosever it is.
    /// One that is gone is no error.
    pub(super) async fn remove(&self, database: &str) -> Result<(), Error> {
        match self.server.get_or_try_init(|| self.connect()).await? {
            Server::Memory(databases) => {
                databases.lock().remove(database);
                Ok(())
            }
            #[cfg(feature = "sqlite")]
            Server::Folder(folder) => {
                let file = folder.join(file_of(database));
                Ok(xronox_sqlite::SqliteCatalog::remove(file).await?)
            }
            #[cfg(feature = "mongodb")]
            Server::Mongo(connection) => Ok(connection.drop_database(database).await?),
        }
    }

    #[cfg_attr(
        not(feature = "mongodb"),
        expect(clippy::unused_async, reason = "only servers are waited for")
    )]
    async fn connect(&self) -> Result<Server, Error> {
        match self.connection.address() {
            None => Err(Error::new(
                ErrorKind::Config,
                format!(
                    "dbConnections.{}: a catalog is at mongodb://…, mongodb+srv://…, \
                     sqlite:FOLDER or memory:",
                    self.name
                ),
            )),
            Some(CatalogAddress::Memory) => Ok(Server::Memory(Mutex::default())),
            #[cfg(feature = "sqlite")]
            Some(CatalogAddress::Sqlite(folder)) => Ok(Server::Folder(folder)),
            #[cfg(not(feature = "sqlite"))]
            Some(CatalogAddress::Sqlite(_)) => Err(self.not_built_in("SQLite", "sqlite")),
            #[cfg(feature = "mongodb")]
            Some(CatalogAddress::Mongo(uri)) => {
                let mut options = self.connection.options(self.transactions);
                // Those who wait for the one who connects know how it ended.
                options.health = Arc::clone(&self.health);
                let opened = xronox_mongodb::MongoConnection::open(uri.reveal(), options).await?;
                Ok(Server::Mongo(opened))
            }
            #[cfg(not(feature = "mongodb"))]
            Some(CatalogAddress::Mongo(_)) => Err(self.not_built_in("MongoDB", "mongodb")),
        }
    }

    #[cfg(not(all(feature = "sqlite", feature = "mongodb")))]
    fn not_built_in(&self, what: &str, feature: &str) -> Error {
        let name = &self.name;
        Error::new(
            ErrorKind::Unsupported,
            format!("dbConnections.{name}: this build is without {what} (feature `{feature}`)"),
        )
    }

    /// Whether it answers; asked only if it was used.
    #[cfg_attr(
        not(feature = "mongodb"),
        expect(clippy::unused_async, reason = "only servers are waited for")
    )]
    async fn health(&self) -> HealthStatus {
        #[cfg(feature = "mongodb")]
        if matches!(self.connection.address(), Some(CatalogAddress::Mongo(_))) {
            if let Some(Server::Mongo(connection)) = self.server.get()
                && let Err(error) = connection.ping().await
            {
                tracing::debug!(connection = %self.name, %error, "no sign of life");
            }
            return self.health.status();
        }
        HealthStatus::default()
    }

    #[cfg_attr(
        not(feature = "mongodb"),
        expect(clippy::unused_async, reason = "only servers are waited for")
    )]
    async fn close(&self) {
        #[cfg(feature = "mongodb")]
        if let Some(Server::Mongo(connection)) = self.server.get() {
            connection.clone().shutdown().await;
        }
    }
}

/// The file of a database in its folder.
#[cfg(feature = "sqlite")]
fn file_of(database: &str) -> String {
    format!("{}.sqlite", xronox_model::encode_name(database))
}

/// A store of objects.
pub(super) struct StorageClient {
    connection: SpaceConnection,
    client: OnceCell<SpaceClient>,
}

impl fmt::Debug for StorageClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StorageClient")
            .field("opened", &self.client.initialized())
            .finish_non_exhaustive()
    }
}

impl StorageClient {
    fn new(connection: &SpaceConnection) -> Self {
        Self {
            connection: connection.clone(),
            client: OnceCell::new(),
        }
    }

    /// Where its files are, if it keeps objects in files.
    pub(super) fn folder(&self) -> Option<&Path> {
        folder_of(&self.connection)
    }

    /// How those who used it have found it.
    fn health(&self) -> HealthStatus {
        let opened = self.client.get();
        opened.map_or_else(HealthStatus::default, SpaceClient::health)
    }

    /// The space of a database: these buckets of it.
    pub(super) async fn space(&self, name: &str, buckets: &PerRole) -> Result<Space, Error> {
        let opened = self.client.get_or_try_init(|| async {
            let connection = self.connection.clone();
            blocking(move || SpaceClient::open(&connection)).await
        });
        let client = opened.await?.clone();
        let (name, buckets) = (name.to_owned(), buckets.clone());
        Ok(blocking(move || client.space(name, &buckets)).await?)
    }
}

async fn blocking<T, F>(work: F) -> Result<T, StoreError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, StoreError> + Send + 'static,
{
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| StoreError::Closed)?
}

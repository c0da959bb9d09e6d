//! Opening a store.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use xronox_model::CollectionName;
use xronox_store::{
    Catalog, Clock, Documents, MemoryCatalog, MemoryDocuments, PayloadCache, Payloads, Space,
    SpaceConnection, StoreError, SystemClock,
};

use crate::{
    Collection, Config, Error, ErrorKind, Settings,
    collection::Shared,
    config::{CatalogAddress, Home, Problems},
    database::Database,
};

/// An open store. Clones are the same store.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), xronox::Error> {
/// use serde_json::json;
/// use xronox::{Config, Xronox};
///
/// let xronox = Xronox::open(Config::memory()).await?;
/// let orders = xronox.collection("orders")?;
/// let made = orders.create(json!({ "total": 10 })).await?;
/// assert_eq!(orders.get_latest(&made.id).await?.json()["total"], 10);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Xronox {
    pub(crate) database: Arc<Database>,
    /// The collections in use, each shared by all its handles. Not part of the
    /// database, which they hold: a store without handles is let go.
    collections: Arc<Mutex<HashMap<CollectionName, Arc<Shared>>>>,
}

/// The parts that a store is made of, for those who bring their own: tests
/// with a clock of their own, stores behind other stores.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Components {
    /// Where versions are kept.
    pub catalog: Arc<dyn Catalog>,
    /// Where plain documents (jobs, notes of the garbage collection) are kept.
    pub documents: Arc<dyn Documents>,
    /// Where large bodies are kept; without it all are in the catalog.
    pub space: Option<Space>,
    /// Where ids and graces take their time from.
    pub clock: Arc<dyn Clock>,
}

impl Components {
    /// Parts on the machine's clock.
    pub fn new(
        catalog: Arc<dyn Catalog>,
        documents: Arc<dyn Documents>,
        space: Option<Space>,
    ) -> Self {
        Self {
            catalog,
            documents,
            space,
            clock: Arc::new(SystemClock),
        }
    }
}

impl Xronox {
    /// Opens the store that `config` describes, making it if it is not there.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if a file cannot be
    /// opened or written, or a server or bucket is out of reach, missing or
    /// denied, [`Corrupt`](crate::ErrorKind::Corrupt) if one is
    /// damaged, [`Unsupported`](crate::ErrorKind::Unsupported) if a newer
    /// version wrote it, it lies on a network file system, or the backend is
    /// not built in or something is switched on that is [not there
    /// yet](Config::unsupported), [`Config`](crate::ErrorKind::Config) if
    /// something in it is wrong, [`UnknownTenant`](crate::ErrorKind::UnknownTenant)
    /// if it has no runtime database of tenant `default`.
    pub async fn open(config: Config) -> Result<Self, Error> {
        config.check()?;
        let missing = config.unsupported();
        if !missing.is_empty() {
            return Err(Problems::of_all(missing).into_error(ErrorKind::Unsupported));
        }
        let home = config.home()?;
        let space = match home.space.clone() {
            None => None,
            Some((name, space)) => Some(open_space(name, space, config.create_buckets).await?),
        };
        let (catalog, documents) = open_catalog(&home, &config.settings).await?;
        Self::assemble(Components::new(catalog, documents, space), config.settings)
    }

    /// Puts a store together from parts.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) if the parts do not fit.
    pub fn assemble(components: Components, settings: Settings) -> Result<Self, Error> {
        let Components {
            catalog,
            documents,
            space,
            clock,
        } = components;
        let payloads = match space {
            None => Payloads::inline_only(),
            Some(space) => {
                let home = space.name().to_owned();
                let cache = PayloadCache::new(settings.payloads.cache_bytes);
                Payloads::new([space], Some(home), cache)?
            }
        };
        Ok(Self {
            database: Database::new(catalog, documents, payloads, Arc::new(settings), clock),
            collections: Arc::default(),
        })
    }

    /// The collection of this name. Nothing is made before the first write.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) if the name is not 1 to 100
    /// bytes of letters, digits, `_` and `-`, [`Closed`](crate::ErrorKind::Closed).
    pub fn collection(&self, name: &str) -> Result<Collection, Error> {
        let name: CollectionName = name.parse()?;
        self.database.open()?;
        let mut collections = self.collections.lock();
        let shared = collections
            .entry(name)
            .or_insert_with_key(|name| Shared::new(Arc::clone(&self.database), name.clone()));
        Ok(Collection {
            shared: Arc::clone(shared),
        })
    }

    /// The names of the collections that have been written to.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](crate::ErrorKind::Unavailable), [`Closed`](crate::ErrorKind::Closed).
    pub async fn collections(&self) -> Result<Vec<CollectionName>, Error> {
        Ok(self.database.catalog.collections().await?)
    }

    /// Finishes the writes under way and lets go of the storage. Every later
    /// call is [`Closed`](crate::ErrorKind::Closed).
    ///
    /// A store that is dropped instead loses nothing that was acknowledged.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if the storage could not
    /// be closed cleanly; nothing is lost then either.
    pub async fn close(&self) -> Result<(), Error> {
        self.database.close().await?;
        self.collections.lock().clear();
        Ok(())
    }
}

async fn open_space(
    name: String,
    connection: SpaceConnection,
    create: bool,
) -> Result<Space, Error> {
    let opened = tokio::task::spawn_blocking(move || Space::connect(name, &connection));
    let space = opened.await.map_err(|_| StoreError::Closed)??;
    if create {
        space.create_buckets().await?;
    } else {
        space.check().await?;
    }
    Ok(space)
}

type Opened = (Arc<dyn Catalog>, Arc<dyn Documents>);

#[cfg_attr(
    not(any(feature = "sqlite", feature = "mongodb")),
    expect(
        clippy::unused_async,
        reason = "opening is awaited whatever is built in"
    )
)]
#[cfg_attr(
    not(feature = "mongodb"),
    expect(unused_variables, reason = "the settings are MongoDB's")
)]
async fn open_catalog(home: &Home<'_>, settings: &Settings) -> Result<Opened, Error> {
    let Home {
        connection,
        database,
        ..
    } = *home;
    match connection.address() {
        None => Err(Error::new(
            ErrorKind::Config,
            "the connection has no URI of a catalog",
        )),
        Some(CatalogAddress::Memory) => {
            let clock = Arc::new(SystemClock);
            let catalog = Arc::new(MemoryCatalog::new(database, clock.clone()));
            Ok((catalog, Arc::new(MemoryDocuments::new(clock))))
        }
        #[cfg(feature = "sqlite")]
        Some(CatalogAddress::Sqlite(folder)) => {
            let file = format!("{}.sqlite", xronox_model::encode_name(database));
            let (file, clock) = (folder.join(file), Arc::new(SystemClock));
            let catalog = xronox_sqlite::SqliteCatalog::open(file, database, clock).await?;
            let documents = Arc::new(catalog.documents());
            Ok((Arc::new(catalog), documents))
        }
        #[cfg(not(feature = "sqlite"))]
        Some(CatalogAddress::Sqlite(folder)) => Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "{}: this build is without an embedded catalog (feature `sqlite`)",
                folder.display()
            ),
        )),
        #[cfg(feature = "mongodb")]
        Some(CatalogAddress::Mongo(uri)) => {
            use xronox_mongodb::{MongoConnection, MongoDatabase};
            let options = connection.options(settings.transactions);
            let connection = MongoConnection::open(uri.reveal(), options).await?;
            let database = MongoDatabase::open(&connection, database).await?;
            let documents = Arc::new(database.documents(Arc::new(SystemClock)));
            Ok((Arc::new(database.catalog().await?), documents))
        }
        #[cfg(not(feature = "mongodb"))]
        Some(CatalogAddress::Mongo(_)) => Err(Error::new(
            ErrorKind::Unsupported,
            "this build is without MongoDB (feature `mongodb`)",
        )),
    }
}

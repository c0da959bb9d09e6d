//! Opening a store.

use std::{future::IntoFuture, sync::Arc};

use futures::future::BoxFuture;
use xronox_store::{Catalog, Clock, Documents, PayloadCache, Payloads, Space, SystemClock};

use crate::{
    Collection, Config, ConnectionHealth, Context, Database, Error, ErrorKind, Settings,
    counters::CompiledRules,
    engine::room::Room,
    storage::{Counting, Storage},
    tenancy::{Tenancy, Tenants},
};

/// The tenant of a store without tenants.
const DEFAULT_TENANT: &str = "default";

/// An open store: the databases of all tenants. Clones are the same store.
///
/// A store for one needs no tenants:
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
///
/// That is the runtime database of the tenant `default`; [`tenant`](Self::tenant)
/// and [`with`](Self::with) open those of others.
#[derive(Debug, Clone)]
pub struct Xronox {
    databases: Databases,
    /// The runtime database of the tenant `default`.
    home: Option<Database>,
}

/// Where the databases come from.
#[derive(Debug, Clone)]
enum Databases {
    Configured(Arc<Tenancy>),
    /// One that was put together, and no others.
    Assembled,
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
    /// Opens the store that `config` describes. The runtime database of the
    /// tenant `default` is opened, and made if it is not there; all others
    /// are when they are first used.
    ///
    /// # Errors
    ///
    /// [`Config`](ErrorKind::Config) for a configuration that contradicts
    /// itself, [`Unavailable`](ErrorKind::Unavailable) if a file cannot be
    /// opened or written, or a server or bucket is out of reach, missing or
    /// denied, [`NotFound`](ErrorKind::NotFound) if it [has to be
    /// there](Config::existing) and is not, [`Corrupt`](ErrorKind::Corrupt) if
    /// one is damaged,
    /// [`Unsupported`](ErrorKind::Unsupported) if a newer version wrote it, it
    /// lies on a network file system, or something is asked for that this
    /// build or version does not do, [`Invalid`](ErrorKind::Invalid) for a
    /// wrong connection.
    pub async fn open(config: Config) -> Result<Self, Error> {
        let tenancy = Arc::new(Tenancy::new(config)?);
        let context = Context::runtime(DEFAULT_TENANT);
        let home = if tenancy.lists(&context) {
            let home = tenancy.open(&context).await?;
            Some(home.opened(&tenancy, context))
        } else {
            None
        };
        Ok(Self {
            databases: Databases::Configured(tenancy),
            home,
        })
    }

    /// Puts a store together from parts: the runtime database of the tenant
    /// `default` and no others.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) if the parts do not fit.
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
        let room = Room::new(settings.payloads.queue_bytes);
        let settings = Arc::new(settings);
        let counting = Counting {
            tenant: Some(DEFAULT_TENANT.to_owned()),
            rules: Arc::new(CompiledRules::of(&settings)?),
            apart: None,
        };
        let storage = Storage::new(
            catalog, documents, payloads, settings, clock, room, counting,
        );
        Ok(Self {
            databases: Databases::Assembled,
            home: Some(Database::new(storage)),
        })
    }

    /// Opens the database of a context; await it. Once open, this takes
    /// microseconds, so a handle need not be kept.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use serde_json::json;
    /// use xronox::{Config, Context, Xronox};
    ///
    /// let xronox = Xronox::open(Config::from_json(
    ///     r#"{
    ///         "dbConnections": { "main": { "mongoUri": "memory:" } },
    ///         "databases": {
    ///             "metadata": {
    ///                 "genericDatabase": { "dbConnRef": "main", "dbName": "app_metadata" }
    ///             },
    ///             "runtime": {
    ///                 "dynamicTenants": {
    ///                     "enabled": true, "dbConnRef": "main", "dbNameTemplate": "app_{tenantId}"
    ///                 }
    ///             }
    ///         }
    ///     }"#,
    /// )?).await?;
    ///
    /// let acme = xronox.tenant("acme").await?;
    /// acme.collection("users")?.create(json!({ "name": "Ann" })).await?;
    /// let globex = xronox.tenant("globex").await?;
    /// assert!(globex.collections().await?.is_empty());
    ///
    /// let plans = xronox.with(Context::metadata().generic()).await?.collection("plans")?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`UnknownTenant`](ErrorKind::UnknownTenant) if the configuration knows
    /// no such tenant, [`Config`](ErrorKind::Config) if it has no other such
    /// database, [`Invalid`](ErrorKind::Invalid) for names that cannot be one,
    /// [`Forbidden`](ErrorKind::Forbidden) for a `dbName` that is not the
    /// database's, for a database that is somebody else's, and for a tenant
    /// that is [suspended](Tenants::suspend),
    /// [`Unavailable`](ErrorKind::Unavailable) for one that is being
    /// [dropped](Tenants::drop); those of [`open`](Self::open).
    pub fn with(&self, context: Context) -> Open<'_> {
        Open {
            xronox: self,
            context,
        }
    }

    /// Opens the runtime database of a tenant; await it. Short for
    /// [`with`](Self::with) a [`Context::runtime`].
    pub fn tenant(&self, id: impl Into<String>) -> Open<'_> {
        self.with(Context::runtime(id))
    }

    /// Opens the database of a context, if there is one.
    pub(crate) async fn open_tier(&self, context: &Context) -> Result<Option<Database>, Error> {
        match &self.databases {
            Databases::Configured(tenancy) => tenancy.open_tier(context).await,
            Databases::Assembled => Ok(None),
        }
    }

    /// The tenants of the store: to list and create them, to suspend, move and
    /// drop them.
    pub fn tenants(&self) -> Tenants {
        Tenants::of(match &self.databases {
            Databases::Configured(tenancy) => Some(Arc::clone(tenancy)),
            Databases::Assembled => None,
        })
    }

    /// The runtime database of the tenant `default`.
    ///
    /// # Errors
    ///
    /// [`UnknownTenant`](ErrorKind::UnknownTenant) if the configuration has
    /// none.
    pub fn home(&self) -> Result<&Database, Error> {
        self.home.as_ref().ok_or_else(|| {
            Error::new(
                ErrorKind::UnknownTenant,
                "the configuration has no runtime database of a tenant `default`: say which \
                 tenant is meant",
            )
        })
    }

    /// A collection of [`home`](Self::home). Nothing is made before the first
    /// write.
    ///
    /// # Errors
    ///
    /// As [`home`](Self::home) and [`Database::collection`].
    pub fn collection(&self, name: &str) -> Result<Collection, Error> {
        self.home()?.collection(name)
    }

    /// How each connection of the configuration was found, without secrets:
    /// databases in use are asked for a sign of life, of the others and of
    /// storage it is told how the last callers fared.
    ///
    /// A connection is *down* once a call ended without an answer (after all
    /// its repetitions: by default up to 30 seconds at a database, 2 minutes
    /// at a store of objects), while no other call got one. From then on
    /// whoever needs it gets [`Unavailable`](ErrorKind::Unavailable) at once,
    /// and nobody waits. After 250 ms, and twice as long each time up to 5 s,
    /// one caller goes ahead to try; the first answer brings it back. Tenants
    /// on other connections notice nothing.
    pub async fn health(&self) -> Vec<ConnectionHealth> {
        match &self.databases {
            Databases::Configured(tenancy) => tenancy.health().await,
            Databases::Assembled => Vec::new(),
        }
    }

    /// Finishes the writes under way and lets go of the storage. Every later
    /// call is [`Closed`](ErrorKind::Closed).
    ///
    /// A store that is dropped instead loses nothing that was acknowledged.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](ErrorKind::Unavailable) if the storage could not be
    /// closed cleanly; nothing is lost then either.
    pub async fn close(&self) -> Result<(), Error> {
        match (&self.databases, &self.home) {
            (Databases::Configured(tenancy), _) => tenancy.close().await,
            (Databases::Assembled, Some(home)) => home.storage.close().await,
            (Databases::Assembled, None) => Ok(()),
        }
    }
}

/// Opens a database; await it. Gives a [`Database`]. Made with
/// [`Xronox::with`].
#[derive(Debug)]
#[must_use = "nothing is opened until it is awaited"]
pub struct Open<'a> {
    xronox: &'a Xronox,
    context: Context,
}

impl<'a> IntoFuture for Open<'a> {
    type Output = Result<Database, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            match (&self.xronox.databases, &self.xronox.home) {
                (Databases::Configured(tenancy), _) => {
                    let database = tenancy.open(&self.context).await?;
                    Ok(database.opened(tenancy, self.context))
                }
                (Databases::Assembled, Some(home))
                    if self.context == Context::runtime(DEFAULT_TENANT) =>
                {
                    Ok(home.clone())
                }
                (Databases::Assembled, _) => Err(Error::new(
                    ErrorKind::UnknownTenant,
                    format!("{}: this store was put together without it", self.context),
                )),
            }
        })
    }
}

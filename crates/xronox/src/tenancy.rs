//! Whose database is where, and the connections to it.

mod address;
mod buckets;
mod connections;
mod context;
mod directory;
mod kept;
mod listing;
mod placement;
mod record;
mod relocation;
mod removal;
mod resolve;
mod tenants;

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use moka::{future::Cache, policy::EvictionPolicy};
use parking_lot::Mutex;
use tokio::sync::OnceCell;
use xronox_store::{Clock, PayloadCache, Payloads, StoreError, SystemClock};

use self::{
    address::{Address, Owner, Place},
    connections::Connections,
    directory::{Directory, Listed},
    record::Record,
    resolve::{Resolution, Resolver},
};
use crate::{
    Config, Database, DatabaseConfig, Error, ErrorKind, Settings,
    config::Problems,
    counters::CompiledRules,
    storage::{Counting, Storage},
};

pub use buckets::{BucketPlace, BucketReport, EnsureBuckets, LackingBucket};
pub use connections::ConnectionHealth;
pub use context::{Context, DatabaseType, Shareable, Tiered};
pub use kept::Kept;
pub use listing::{ListTenants, TenantInfo, TenantPage, TenantPlace, TenantState};
pub use relocation::{CancelMove, MoveReport, MoveTenant};
pub use removal::{DropReport, DropTenant};
pub use tenants::{CreateTenant, Tenants};

/// Databases that are kept open. The one used longest ago is let go first; one
/// that somebody has a handle of stays open until that is dropped.
const MAX_OPEN: u64 = 1024;
/// As many of these count as one whose catalog is a file, which takes a thread
/// and file handles.
const WEIGHT_OF_FILE: u32 = 8;
/// A database that is not used for so long is let go.
const IDLE: Duration = Duration::from_mins(10);
/// The database of the directory, where no generic metadata database is.
const DIRECTORY: &str = "xronox_directory";

/// What a context means.
#[derive(Debug)]
struct Resolved {
    owner: Owner,
    address: Address,
    /// Whether the directory says so, and not the configuration alone.
    recorded: bool,
    /// Whether it is about to be somewhere else.
    moving: bool,
}

/// Why a database was not opened.
enum Unopened {
    /// It is not where it was any more.
    Moved,
    Failed(Arc<Error>),
}

impl From<Error> for Unopened {
    fn from(error: Error) -> Self {
        Self::Failed(Arc::new(error))
    }
}

/// How often a database is looked for that moves meanwhile.
const LOOKS: usize = 3;

/// All databases that a configuration describes, opened when they are used.
#[derive(Debug)]
pub(crate) struct Tenancy {
    resolver: Resolver,
    connections: Connections,
    create_buckets: bool,
    /// Whether databases have to be there.
    existing: bool,
    settings: Arc<Settings>,
    rules: Arc<CompiledRules>,
    bodies: PayloadCache,
    clock: Arc<dyn Clock>,
    /// Where the decisions are kept, if there are any to be made.
    directory_at: Option<Address>,
    directory: OnceCell<Directory>,
    resolved: Cache<Context, Arc<Resolved>>,
    /// How often a context was among them, and how often not.
    hits: AtomicU64,
    misses: AtomicU64,
    /// Those that are kept open, each with its weight.
    open: Cache<Place, (Database, u32)>,
    /// Every database that is still open, whether or not it is among those
    /// that are kept open: one is never opened twice at a time.
    alive: Mutex<HashMap<Place, Weak<Storage>>>,
    closed: AtomicBool,
}

impl Tenancy {
    pub(crate) fn new(config: Config) -> Result<Self, Error> {
        config.check()?;
        let missing = config.unsupported();
        if !missing.is_empty() {
            return Err(Problems::of_all(missing).into_error(ErrorKind::Unsupported));
        }
        let spaces = config.spaces();
        let connections = Connections::new(&config.db_connections, &spaces, &config.settings);
        let environment = std::env::var("XRONOX_ENV").unwrap_or_else(|_| "production".to_owned());
        let resolver = Resolver::new(&config, spaces, environment)?;
        let directory_at = if resolver.has_dynamic_tenants() || resolver.has_choices() {
            Some(directory_of(&config)?)
        } else {
            None
        };
        let (count, at_most) = resolver.remembers();
        Ok(Self {
            resolver,
            connections,
            create_buckets: config.create_buckets,
            existing: config.existing,
            bodies: PayloadCache::new(config.settings.payloads.cache_bytes),
            rules: Arc::new(CompiledRules::of(&config.settings)?),
            settings: Arc::new(config.settings),
            clock: Arc::new(SystemClock),
            directory_at,
            directory: OnceCell::new(),
            resolved: Cache::builder()
                .max_capacity(count)
                .time_to_live(at_most)
                .eviction_policy(EvictionPolicy::lru())
                .build(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            open: Cache::builder()
                .max_capacity(MAX_OPEN)
                .weigher(|_, (_, weight)| *weight)
                .time_to_idle(IDLE)
                .eviction_policy(EvictionPolicy::lru())
                .build(),
            alive: Mutex::default(),
            closed: AtomicBool::new(false),
        })
    }

    /// Whether the configuration lists the database of a context.
    pub(crate) fn lists(&self, context: &Context) -> bool {
        self.resolver.lists(&Owner::from(context))
    }

    /// The database of a context, opened if it is not.
    pub(crate) async fn open(&self, context: &Context) -> Result<Database, Error> {
        for _ in 0..LOOKS {
            self.check_open()?;
            let resolved = self.resolved(context).await?;
            let place = resolved.address.place();
            let (database, _) = if let Some(open) = self.open.get(&place).await {
                open
            } else {
                let opening = self
                    .open
                    .try_get_with(place.clone(), self.open_current(&resolved));
                match Box::pin(opening).await {
                    Ok(opened) => opened,
                    Err(unopened) => match &*unopened {
                        Unopened::Failed(error) => {
                            return Err(Error::of_several(Arc::clone(error)));
                        }
                        Unopened::Moved => {
                            self.resolved.invalidate(context).await;
                            continue;
                        }
                    },
                }
            };
            if let Err(closed) = self.check_open() {
                // It was opened while the store was being closed.
                database.storage.catalog.close().await?;
                return Err(closed);
            }
            if !database.storage.is_outdated() {
                return Ok(database);
            }
            // It took no write: it is about to be somewhere else, or is.
            self.resolved.invalidate(context).await;
            let now = self.resolved(context).await?;
            if now.moving && now.address == resolved.address {
                return Ok(database);
            }
            self.let_go(&place).await;
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            format!("{context}: its database keeps moving"),
        ))
    }

    async fn resolved(&self, context: &Context) -> Result<Arc<Resolved>, Error> {
        let resolved = if let Some(resolved) = self.resolved.get(context).await {
            self.hits.fetch_add(1, Ordering::Relaxed);
            resolved
        } else {
            self.misses.fetch_add(1, Ordering::Relaxed);
            let resolved = self
                .resolved
                .try_get_with_by_ref(context, self.resolve(context));
            Box::pin(resolved).await.map_err(Error::of_several)?
        };
        if let Some(expected) = &context.db_name
            && *expected != resolved.address.database
        {
            return Err(Error::new(
                ErrorKind::Forbidden,
                format!("{context}: its database is not {expected:?}"),
            ));
        }
        Ok(resolved)
    }

    /// What is kept of contexts and databases.
    pub(crate) async fn kept(&self) -> Kept {
        self.resolved.run_pending_tasks().await;
        self.open.run_pending_tasks().await;
        let (hits, misses) = (
            self.hits.load(Ordering::Relaxed),
            self.misses.load(Ordering::Relaxed),
        );
        Kept {
            contexts: self.resolved.entry_count(),
            open: self.open.entry_count(),
            hits,
            misses,
        }
    }

    /// The database of a context; `None` if the configuration has none, or
    /// does not know the tenant.
    pub(crate) async fn open_tier(&self, context: &Context) -> Result<Option<Database>, Error> {
        let absent =
            |error: &Error| matches!(error.kind(), ErrorKind::Config | ErrorKind::UnknownTenant);
        if let Err(error) = self.resolver.resolve(context) {
            return if absent(&error) { Ok(None) } else { Err(error) };
        }
        match self.open(context).await {
            Err(error) if *error.kind() == ErrorKind::UnknownTenant => Ok(None),
            opened => opened.map(Some),
        }
    }

    fn check_open(&self) -> Result<(), Error> {
        if self.closed.load(Ordering::Acquire) {
            return Err(StoreError::Closed.into());
        }
        Ok(())
    }

    async fn resolve(&self, context: &Context) -> Result<Arc<Resolved>, Error> {
        context.check()?;
        let owner = Owner::from(context);
        let said = self.resolver.resolve(context);
        let known = |address, recorded, moving| {
            Arc::new(Resolved {
                owner: owner.clone(),
                address,
                recorded,
                moving,
            })
        };
        match &said {
            Ok(resolution) if !resolution.recorded => {
                return Ok(known(resolution.address.clone(), false, false));
            }
            // The directory may know what the context does not say.
            Err(error) if *error.kind() != ErrorKind::Invalid || self.directory_at.is_none() => {
                return said.map(|resolution| known(resolution.address, true, false));
            }
            _ => {}
        }
        let directory = self.directory().await?;
        let standing = directory.look(&owner).await?;
        let record = standing.record.as_ref();
        record.map_or(Ok(()), Record::admit)?;
        if let Some(address) = standing.address(&owner) {
            let moving = record.and_then(Record::moving).is_some();
            return Ok(known(address.clone(), true, moving));
        }
        let Resolution {
            address, create, ..
        } = match record {
            Some(record) => self.resolver.resolve(&record.complete(context))?,
            None => said?,
        };
        if !create && record.is_none() && !self.is_theirs(&owner, &address).await? {
            let message = format!("{owner}: there is no such tenant");
            return Err(Error::new(ErrorKind::UnknownTenant, message));
        }
        let entry = directory.settle(&owner, address).await?;
        Ok(known(entry.address, true, false))
    }

    /// Whether there is a database that says that it is this owner's.
    async fn is_theirs(&self, owner: &Owner, address: &Address) -> Result<bool, Error> {
        let client = self.connections.database(&address.connection)?;
        if !client.exists(&address.database).await? {
            return Ok(false);
        }
        let (_, documents) = client.open(&address.database).await?;
        Ok(directory::owner_of(&*documents).await?.as_ref() == Some(owner))
    }

    async fn directory(&self) -> Result<&Directory, Error> {
        let opened = self.directory.get_or_try_init(|| async {
            let address = self.directory_at.as_ref().ok_or_else(|| {
                Error::new(
                    ErrorKind::Config,
                    "there is no place for the tenant directory",
                )
            })?;
            let client = self.connections.database(&address.connection)?;
            let (_, documents) = client.open(&address.database).await?;
            Directory::new(documents, Arc::clone(&self.clock))
        });
        opened.await
    }

    /// Opens a database where it is now.
    ///
    /// What was resolved may be out of date. A database that has moved away or
    /// was dropped would be made anew and empty, so the directory is asked
    /// before; and again after, since it may have gone in between. From then on
    /// the seal keeps writes from a database that goes.
    async fn open_current(&self, resolved: &Resolved) -> Result<(Database, u32), Unopened> {
        self.confirm(resolved).await?;
        let opened = self
            .open_at(&resolved.owner, &resolved.address, self.existing)
            .await?;
        let confirmed = if resolved.recorded {
            self.confirm(resolved).await
        } else {
            refuse_sealed(&resolved.owner, &opened.0).await
        };
        if confirmed.is_err() {
            self.let_go(&resolved.address.place()).await;
        }
        confirmed.map(|()| opened)
    }

    /// Makes sure that a database is still where it was.
    async fn confirm(&self, resolved: &Resolved) -> Result<(), Unopened> {
        if !resolved.recorded {
            return Ok(());
        }
        let standing = self.directory().await?.look(&resolved.owner).await?;
        let record = standing.record.as_ref();
        record.map_or(Ok(()), Record::admit)?;
        match standing.address(&resolved.owner) {
            Some(address) if *address == resolved.address => Ok(()),
            _ => Err(Unopened::Moved),
        }
    }

    /// Lets go of an open database. Its handles keep what they have.
    async fn let_go(&self, place: &Place) {
        self.open.invalidate(place).await;
        self.alive.lock().remove(place);
    }

    /// Forgets where the databases of a tenant are.
    async fn unresolve(&self, tenant: &str) {
        let known: Vec<Arc<Context>> = self
            .resolved
            .iter()
            .map(|(context, _)| context)
            .filter(|context| context.tenant_id() == Some(tenant))
            .collect();
        for context in known {
            self.resolved.invalidate(&*context).await;
        }
    }

    /// The directory, for what cannot be done without one.
    async fn directory_of_tenants(&self) -> Result<Option<&Directory>, Error> {
        match self.directory_at {
            Some(_) => self.directory().await.map(Some),
            None => Ok(None),
        }
    }

    /// The directory, if there is one, and what it knows of a tenant.
    async fn known(&self, id: &str) -> Result<(Option<&Directory>, Option<Listed>), Error> {
        let directory = self.directory_of_tenants().await?;
        let known = match directory {
            Some(directory) => directory.tenant(id).await?,
            None => None,
        };
        Ok((directory, known))
    }

    /// Opens the database that the counts of another one are kept in.
    async fn open_counts(
        &self,
        owner: &Owner,
        address: &Address,
    ) -> Result<Option<Arc<Storage>>, Error> {
        let Some(address) = address.counts() else {
            return Ok(None);
        };
        let key = address.place();
        let alive = self.alive.lock().get(&key).and_then(Weak::upgrade);
        if let Some(alive) = alive {
            directory::claim(&*alive.documents, owner).await?;
            return Ok(Some(alive));
        }
        let client = self.connections.database(&address.connection)?;
        let (catalog, documents) = client.open(&address.database).await?;
        directory::claim(&*documents, owner).await?;
        let counting = Counting {
            tenant: owner.tenant_id.clone(),
            rules: Arc::new(CompiledRules::none()),
            apart: None,
        };
        let storage = Storage::new(
            catalog,
            documents,
            Payloads::inline_only(),
            Arc::clone(&self.settings),
            Arc::clone(&self.clock),
            client.room.clone(),
            counting,
        );
        let mut alive = self.alive.lock();
        let first = alive.get(&key).and_then(Weak::upgrade);
        let storage = first.unwrap_or(storage);
        alive.insert(key, Arc::downgrade(&storage));
        Ok(Some(storage))
    }

    /// Opens a database, made if it is not there unless it has to be.
    async fn open_at(
        &self,
        owner: &Owner,
        address: &Address,
        existing: bool,
    ) -> Result<(Database, u32), Error> {
        let key = address.place();
        let client = self.connections.database(&address.connection)?;
        let weight = if client.is_folder() {
            WEIGHT_OF_FILE
        } else {
            1
        };
        let alive = self.alive.lock().get(&key).and_then(Weak::upgrade);
        if let Some(storage) = alive {
            return Ok((Database::new(storage), weight));
        }
        if existing && !client.exists(&address.database).await? {
            let message = format!("{}: there is no store here", address.database);
            return Err(Error::new(ErrorKind::NotFound, message));
        }
        let payloads = match &address.space {
            None => Payloads::inline_only(),
            Some(space) => {
                let connection = self.connections.space(&space.connection)?;
                let opened = connection.space(&space.connection, &space.buckets).await?;
                if self.create_buckets {
                    opened.create_buckets().await?;
                } else {
                    opened.check().await?;
                }
                let home = Some(space.connection.clone());
                Payloads::new([opened], home, self.bodies.clone())?
            }
        };
        let (catalog, documents) = client.open(&address.database).await?;
        directory::claim(&*documents, owner).await?;
        let counting = Counting {
            tenant: owner.tenant_id.clone(),
            rules: Arc::clone(&self.rules),
            apart: self.open_counts(owner, address).await?,
        };
        let storage = Storage::new(
            catalog,
            documents,
            payloads,
            Arc::clone(&self.settings),
            Arc::clone(&self.clock),
            client.room.clone(),
            counting,
        );
        let mut alive = self.alive.lock();
        alive.retain(|_, storage| storage.strong_count() > 0);
        alive.insert(key, Arc::downgrade(&storage));
        Ok((Database::new(storage), weight))
    }

    /// How each connection was found.
    pub(crate) async fn health(&self) -> Vec<ConnectionHealth> {
        self.connections.health().await
    }

    /// Finishes the writes under way and lets go of everything.
    pub(crate) async fn close(&self) -> Result<(), Error> {
        self.closed.store(true, Ordering::Release);
        self.connections.drain().await;
        let alive: Vec<_> = self.alive.lock().drain().collect();
        let mut first = Ok(());
        for storage in alive.iter().filter_map(|(_, storage)| storage.upgrade()) {
            let closed = storage.catalog.close().await;
            first = first.and(closed.map_err(Error::from));
        }
        self.open.invalidate_all();
        self.resolved.invalidate_all();
        self.connections.close().await;
        first
    }
}

/// Refuses a listed database that somebody is dropping.
async fn refuse_sealed(owner: &Owner, database: &Database) -> Result<(), Unopened> {
    if database
        .storage
        .catalog
        .is_sealed()
        .await
        .map_err(Error::from)?
    {
        let message = format!("{owner}: its database is being dropped");
        return Err(Error::new(ErrorKind::Unavailable, message).into());
    }
    Ok(())
}

/// Where the directory of tenants is: in the generic metadata database or, with
/// a single connection, in a database of its own there.
fn directory_of(config: &Config) -> Result<Address, Error> {
    let generic = config.databases.metadata.as_ref();
    let generic = generic.and_then(|metadata| metadata.generic_database.as_ref());
    let at = |connection: &str, database: &str| Address {
        connection: connection.to_owned(),
        database: database.to_owned(),
        space: None,
        analytics: None,
        placed: None,
    };
    if let Some(DatabaseConfig {
        db_conn_ref: Some(connection),
        db_name,
        ..
    }) = generic
    {
        return Ok(at(connection, db_name));
    }
    let mut connections = config.db_connections.keys();
    match (connections.next(), connections.next()) {
        (Some(only), None) => Ok(at(only, DIRECTORY)),
        _ => Err(Error::new(
            ErrorKind::Config,
            "databases.metadata.genericDatabase: it is missing, or has several dbConnRefs; where \
             tenants are dynamic or connections are chosen, it says where each tenant lives",
        )),
    }
}

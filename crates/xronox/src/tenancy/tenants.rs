//! The tenants of a store: who they are, and how they come and go.

use std::{collections::BTreeMap, future::IntoFuture, sync::Arc};

use futures::future::BoxFuture;

use super::{
    Tenancy,
    context::Context,
    kept::Kept,
    listing::{ListTenants, TenantInfo},
    record::{Record, State},
    relocation::{CancelMove, MoveTenant},
    removal::{DropTenant, Found, owners},
};
use crate::{Error, ErrorKind, engine::progress::Listener};

/// The tenants of a store. Made with [`Xronox::tenants`](crate::Xronox::tenants).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use xronox::{Config, ErrorKind, Xronox};
///
/// # let xronox = Xronox::open(Config::from_json(
/// #     r#"{
/// #         "dbConnections": { "one": { "mongoUri": "memory:" } },
/// #         "databases": {
/// #             "metadata": {
/// #                 "genericDatabase": { "dbConnRef": "one", "dbName": "app_metadata" }
/// #             },
/// #             "runtime": {
/// #                 "dynamicTenants": {
/// #                     "enabled": true, "dbConnRef": "one", "dbNameTemplate": "app_{tenantId}"
/// #                 }
/// #             }
/// #         }
/// #     }"#,
/// # )?).await?;
/// let tenants = xronox.tenants();
/// tenants.create("acme").await?;
///
/// tenants.suspend("acme").await?;
/// let refused = xronox.tenant("acme").await.unwrap_err();
/// assert_eq!(*refused.kind(), ErrorKind::Forbidden);
/// tenants.resume("acme").await?;
///
/// let report = tenants.drop("acme").await?;
/// assert_eq!((report.databases.len(), report.residue), (1, 0));
/// # Ok(())
/// # }
/// ```
///
/// What becomes of a tenant is decided in the directory, and holds in every
/// process: in this one at once, in others once they ask the directory again,
/// `cacheExpiry` seconds after they last did or when they open the tenant's
/// database. No process writes to a database that was moved or dropped, not
/// even until then.
#[derive(Debug, Clone)]
pub struct Tenants {
    tenancy: Option<Arc<Tenancy>>,
}

impl Tenants {
    pub(crate) fn of(tenancy: Option<Arc<Tenancy>>) -> Self {
        Self { tenancy }
    }

    fn tenancy(&self) -> Result<Arc<Tenancy>, Error> {
        let tenancy = self.tenancy.clone().ok_or_else(|| {
            let message = "a store that was put together has no tenants";
            Error::new(ErrorKind::Unsupported, message)
        })?;
        tenancy.check_open()?;
        Ok(tenancy)
    }

    /// The tenants that the configuration lists and those of the directory, by
    /// id, a page at a time; await it. Gives a [`TenantPage`](super::TenantPage).
    ///
    /// A database that is found by its mark is not in the directory before it
    /// is first used.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](ErrorKind::Unavailable) if the directory cannot be
    /// read, [`Unsupported`](ErrorKind::Unsupported) for a store that was put
    /// together from parts, [`Closed`](ErrorKind::Closed).
    pub fn list(&self) -> ListTenants {
        ListTenants::of(self.tenancy())
    }

    /// Makes a tenant that the configuration does not list: its entries in the
    /// directory, its databases and, with
    /// [`create_buckets`](crate::Config::create_buckets), its buckets. Await
    /// it; gives its [`TenantInfo`].
    ///
    /// It gets a database of each type that takes tenants which are not
    /// listed. With `"autoCreate": false` this is how tenants come to be. If it
    /// fails once the tenant is in the directory, the databases are opened when
    /// they are first used.
    ///
    /// # Errors
    ///
    /// [`AlreadyExists`](ErrorKind::AlreadyExists) if there is such a tenant,
    /// [`Invalid`](ErrorKind::Invalid) for an id that cannot be one, and if the
    /// names of its databases need [metadata](CreateTenant::meta) that is not
    /// given, [`Unsupported`](ErrorKind::Unsupported) if the configuration
    /// takes no such tenants; those of [`Xronox::with`](crate::Xronox::with).
    pub fn create(&self, id: impl Into<String>) -> CreateTenant {
        CreateTenant {
            tenancy: self.tenancy(),
            id: id.into(),
            plan: None,
            meta: BTreeMap::new(),
        }
    }

    /// A tenant, with the databases that it has.
    ///
    /// # Errors
    ///
    /// [`UnknownTenant`](ErrorKind::UnknownTenant); those of [`list`](Self::list).
    pub async fn describe(&self, id: &str) -> Result<TenantInfo, Error> {
        let tenancy = self.tenancy()?;
        Context::runtime(id).check()?;
        let (_, known) = tenancy.known(id).await?;
        let mut info = tenancy.info(id, known.as_ref());
        if known.is_none() && !info.listed {
            // One that was never used since there is a directory.
            info.databases = tenancy.discovered(id).await?;
            if info.databases.is_empty() {
                return Err(unknown(id));
            }
        }
        Ok(info)
    }

    /// Lets nobody open the tenant any more: that is
    /// [`Forbidden`](ErrorKind::Forbidden) until it is [resumed](Self::resume).
    /// Handles that are open stay open.
    ///
    /// # Errors
    ///
    /// [`UnknownTenant`](ErrorKind::UnknownTenant),
    /// [`Unsupported`](ErrorKind::Unsupported) for a tenant that only the
    /// configuration knows, [`Unavailable`](ErrorKind::Unavailable) while it is
    /// being moved or dropped; those of [`list`](Self::list).
    pub async fn suspend(&self, id: &str) -> Result<(), Error> {
        self.turn(id, State::Suspended).await
    }

    /// Lets a suspended tenant be opened again.
    ///
    /// # Errors
    ///
    /// Those of [`suspend`](Self::suspend).
    pub async fn resume(&self, id: &str) -> Result<(), Error> {
        self.turn(id, State::Active).await
    }

    async fn turn(&self, id: &str, to: State) -> Result<(), Error> {
        let tenancy = self.tenancy()?;
        Context::runtime(id).check()?;
        let (directory, known) = tenancy.known(id).await?;
        let (Some(directory), Some(_)) = (directory, known) else {
            return Err(if tenancy.lists_tenant(id) {
                not_recorded(id)
            } else {
                unknown(id)
            });
        };
        directory
            .change(id, |record| match record.map(|record| &record.state) {
                Some(State::Moving(_)) => Err(being_moved(id)),
                Some(State::Dropping { .. }) => Err(being_dropped(id)),
                Some(State::Active) | None if to == State::Active => Ok(None),
                Some(state) if *state == to => Ok(None),
                _ => Ok(Some(to.clone())),
            })
            .await?;
        tenancy.unresolve(id).await;
        Ok(())
    }

    /// What this process keeps of the tenants it served, to see whether
    /// `maxCacheSize` and `cacheExpiry` suit them.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](ErrorKind::Unsupported) for a store that was put
    /// together from parts, [`Closed`](ErrorKind::Closed).
    pub async fn kept(&self) -> Result<Kept, Error> {
        Ok(self.tenancy()?.kept().await)
    }

    /// Removes a tenant for good: its databases of every type, their bodies in
    /// the buckets, its entries in the directory. Await it; gives a
    /// [`DropReport`](super::DropReport).
    ///
    /// From the beginning on nobody can open the tenant, and writes through
    /// handles that are open are [`Unavailable`](ErrorKind::Unavailable), in
    /// every process. Dropping it again goes on with a drop that was
    /// interrupted. A database that is not marked as the tenant's is never
    /// touched. Afterwards all places are looked at once more.
    ///
    /// # Errors
    ///
    /// [`UnknownTenant`](ErrorKind::UnknownTenant) if there is nothing of such
    /// a tenant, [`Unavailable`](ErrorKind::Unavailable) while it is being
    /// moved, and where something could not be removed: drop it again.
    pub fn drop(&self, id: impl Into<String>) -> DropTenant<'static> {
        DropTenant {
            tenancy: self.tenancy(),
            id: id.into(),
            dry_run: false,
            progress: Listener::default(),
        }
    }

    /// Moves a tenant's databases to another connection, with all history.
    /// Await it; gives a [`MoveReport`](super::MoveReport). Bodies stay in their
    /// space and buckets, and so do databases that the configuration places.
    ///
    /// The tenant may be used all the time, but for the end: while the last of
    /// it is copied and all is compared, writes are
    /// [`Unavailable`](ErrorKind::Unavailable). Then the new place is the
    /// tenant's, and the old one is removed. Interrupted anywhere, the tenant is
    /// wholly at the one or at the other, and the same call goes on. A database
    /// that is first used while it moves is where new ones are.
    ///
    /// Writes through handles from before are `Unavailable` from then on, in
    /// every process, and opening the tenant again finds the new place. A
    /// process that only reads may find the old place gone until `cacheExpiry`
    /// is over: [`keep_old`](super::MoveTenant::keep_old) leaves it for so long.
    ///
    /// # Errors
    ///
    /// [`UnknownTenant`](ErrorKind::UnknownTenant),
    /// [`Config`](ErrorKind::Config) if there is no such connection,
    /// [`Unsupported`](ErrorKind::Unsupported) for a tenant whose place the
    /// configuration says, [`AlreadyExists`](ErrorKind::AlreadyExists) if a
    /// database of its name is there, [`Unavailable`](ErrorKind::Unavailable)
    /// while it is being dropped or moved elsewhere; those of
    /// [`copy_to`](crate::Database::copy_to).
    pub fn move_to(
        &self,
        id: impl Into<String>,
        connection: impl Into<String>,
    ) -> MoveTenant<'static> {
        MoveTenant {
            tenancy: self.tenancy(),
            id: id.into(),
            to: connection.into(),
            keep_old: false,
            progress: Listener::default(),
        }
    }

    /// Gives up a move that has not come to the new place yet, and removes what
    /// is there of it; await it. See to it that nobody else goes on with that
    /// move meanwhile. Cancelling again goes on with what was interrupted.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if the tenant is not being moved,
    /// [`Unsupported`](ErrorKind::Unsupported) if it is at the new place already.
    pub fn cancel_move(&self, id: impl Into<String>) -> CancelMove {
        CancelMove {
            tenancy: self.tenancy(),
            id: id.into(),
        }
    }
}

/// Makes a tenant; await it. Gives its [`TenantInfo`]. Made with
/// [`Tenants::create`].
#[derive(Debug)]
#[must_use = "nothing is made until it is awaited"]
pub struct CreateTenant {
    tenancy: Result<Arc<Tenancy>, Error>,
    id: String,
    plan: Option<String>,
    meta: BTreeMap<String, String>,
}

impl CreateTenant {
    /// The tenant's plan, as [`Context::plan`]. Contexts need not say it again.
    pub fn plan(mut self, plan: impl Into<String>) -> Self {
        self.plan = Some(plan.into());
        self
    }

    /// A value of its metadata, as [`Context::meta`]. Contexts need not say it
    /// again.
    pub fn meta(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.meta.insert(key.into(), value.into());
        self
    }

    async fn run(self) -> Result<TenantInfo, Error> {
        let tenancy = self.tenancy?;
        let id = self.id.as_str();
        if tenancy.lists_tenant(id) {
            return Err(exists(id));
        }
        let mut contexts = Vec::new();
        for owner in owners(id) {
            let context = Context {
                plan: self.plan.clone(),
                meta: self.meta.clone(),
                ..Context::of_owner(&owner)
            };
            context.check()?;
            if !tenancy.resolver.has_dynamic(owner.database_type) {
                continue;
            }
            match tenancy.resolver.resolve(&context) {
                Ok(resolution) => contexts.push((owner, context, resolution.address)),
                // The plan has none of this type.
                Err(error) if *error.kind() == ErrorKind::UnknownTenant => {}
                Err(error) => return Err(error),
            }
        }
        let directory = tenancy.directory_of_tenants().await?;
        let Some(directory) = directory.filter(|_| !contexts.is_empty()) else {
            let message = "the configuration takes no tenants that it does not list \
                           (databases.….dynamicTenants)";
            return Err(Error::new(ErrorKind::Unsupported, message));
        };
        if directory.tenant(id).await?.is_some() {
            return Err(exists(id));
        }
        for (owner, _, address) in &contexts {
            if let Found::Theirs(_) = tenancy.inspect(owner, address).await? {
                return Err(exists(id));
            }
        }
        let record = Record {
            plan: self.plan.clone(),
            meta: self.meta.clone().into_iter().collect(),
            ..directory.fresh(id)
        };
        if !directory.insert(&record).await? {
            return Err(exists(id));
        }
        for (owner, _, address) in &contexts {
            directory.settle(owner, address.clone()).await?;
        }
        for (_, context, _) in &contexts {
            tenancy.open(context).await?;
        }
        let known = directory.tenant(id).await?;
        Ok(tenancy.info(id, known.as_ref()))
    }
}

impl IntoFuture for CreateTenant {
    type Output = Result<TenantInfo, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

pub(super) fn unknown(id: &str) -> Error {
    let message = format!("tenant {id:?}: there is no such tenant");
    Error::new(ErrorKind::UnknownTenant, message)
}

fn exists(id: &str) -> Error {
    let message = format!("tenant {id:?} is there already");
    Error::new(ErrorKind::AlreadyExists, message)
}

pub(super) fn being_moved(id: &str) -> Error {
    let message =
        format!("tenant {id:?} is being moved: let the move come to its end, or cancel it, first");
    Error::new(ErrorKind::Unavailable, message)
}

pub(super) fn being_dropped(id: &str) -> Error {
    let message = format!("tenant {id:?} is being dropped");
    Error::new(ErrorKind::Unavailable, message)
}

/// The refusal for a tenant whose place the configuration alone says.
pub(super) fn not_recorded(id: &str) -> Error {
    let message = format!(
        "tenant {id:?}: the configuration says where it is, and the directory has nothing of it: \
         change the configuration"
    );
    Error::new(ErrorKind::Unsupported, message)
}

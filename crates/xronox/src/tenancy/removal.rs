//! Dropping a tenant, with everything that belongs to it.
//!
//! The directory notes first what is to go, and nobody opens the tenant from
//! then on. Each database is sealed, so that no process can add to it any more,
//! then its bodies go, then itself; the directory forgets the tenant last. A
//! drop that is broken off anywhere goes on from the note.

use std::{fmt, future::IntoFuture, sync::Arc};

use futures::{StreamExt, TryStreamExt, future::BoxFuture};
use serde::Serialize;
use xronox_model::{BucketRole, Location, database_prefix};
use xronox_store::{PayloadCache, Payloads, SpaceProblem, StoreError};

use super::{
    Tenancy,
    address::{Address, Owner, SpaceAddress},
    context::{Context, DatabaseType, Tier},
    directory::{Listed, owner_of},
    listing::TenantPlace,
    record::{Belonging, Record, State},
    tenants::{being_moved, unknown},
};
use crate::{
    Error, Progress,
    engine::{gc::roles, progress::Listener},
};

/// Backups of a database are its own as much as its bodies are.
const ROLES: [BucketRole; 4] = [
    BucketRole::Records,
    BucketRole::Versions,
    BucketRole::Content,
    BucketRole::Backups,
];
/// Objects deleted at a time.
const ABREAST: usize = 16;

/// Drops a tenant; await it. Gives a [`DropReport`]. Made with
/// [`Tenants::drop`](super::Tenants::drop).
#[must_use = "nothing is dropped until it is awaited"]
pub struct DropTenant<'a> {
    pub(super) tenancy: Result<Arc<Tenancy>, Error>,
    pub(super) id: String,
    pub(super) dry_run: bool,
    pub(super) progress: Listener<'a>,
}

impl fmt::Debug for DropTenant<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DropTenant")
            .field("id", &self.id)
            .field("dry_run", &self.dry_run)
            .finish_non_exhaustive()
    }
}

/// What dropping a tenant removed.
///
/// As JSON `{ tenantId, databases, kept, objects, residue, stillListed, dryRun }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct DropReport {
    /// The tenant.
    pub tenant_id: String,
    /// The databases that are gone; in a dry run, that would be. After an
    /// interruption, those of the earlier run too.
    pub databases: Vec<TenantPlace>,
    /// Databases that stand where the tenant's would, and are not the
    /// tenant's: nothing of them was touched.
    pub kept: Vec<TenantPlace>,
    /// Objects that were deleted from the buckets by this run; in a dry run,
    /// that would be.
    pub objects: u64,
    /// Databases and objects of the tenant that were found afterwards: none,
    /// unless somebody made them meanwhile. Drop the tenant again then.
    pub residue: u64,
    /// Whether the configuration lists the tenant: opening it makes it anew,
    /// and empty.
    pub still_listed: bool,
    /// Whether nothing was removed.
    pub dry_run: bool,
}

impl<'a> DropTenant<'a> {
    /// Removes nothing, and reports what would be removed now.
    pub fn dry_run(mut self) -> Self {
        self.dry_run = true;
        self
    }

    /// Calls this now and then, with the number of objects deleted.
    pub fn on_progress(mut self, listen: impl FnMut(Progress) + Send + 'a) -> Self {
        self.progress = Listener::new(listen);
        self
    }

    async fn run(mut self) -> Result<DropReport, Error> {
        let tenancy = self.tenancy?;
        let id = self.id.as_str();
        Context::runtime(id).check()?;
        let (directory, known) = tenancy.known(id).await?;
        let mut report = DropReport {
            tenant_id: id.to_owned(),
            databases: Vec::new(),
            kept: Vec::new(),
            objects: 0,
            residue: 0,
            still_listed: tenancy.lists_tenant(id),
            dry_run: self.dry_run,
        };
        let mut belongings = match known.as_ref().and_then(|known| known.record.as_ref()) {
            Some(record) if record.moving().is_some() => return Err(being_moved(id)),
            Some(Record {
                state: State::Dropping { belongings },
                ..
            }) => belongings.clone(),
            _ => tenancy.belongings(id, known.as_ref(), &mut report).await?,
        };
        let nothing = belongings.is_empty() && known.is_none();
        if nothing && !report.still_listed {
            return Err(unknown(id));
        }
        if self.dry_run {
            for belonging in &belongings {
                report.objects += tenancy.count(belonging).await?;
            }
            report.databases = belongings.iter().map(TenantPlace::of).collect();
            return Ok(report);
        }
        let mut noted = None;
        if let Some(directory) = directory.filter(|_| !nothing) {
            let state = State::Dropping { belongings };
            noted = directory
                .change(id, |record| match record.map(|record| &record.state) {
                    Some(State::Dropping { .. }) => Ok(None),
                    Some(State::Moving(_)) => Err(being_moved(id)),
                    _ => Ok(Some(state.clone())),
                })
                .await?;
            let noted = noted.as_ref().map(|record| &record.state);
            belongings = match (noted, state) {
                (Some(State::Dropping { belongings }), _) => belongings.clone(),
                (_, State::Dropping { belongings }) => belongings,
                _ => Vec::new(),
            };
        }
        tenancy.unresolve(id).await;
        for belonging in &belongings {
            let objects = tenancy.erase(belonging, report.objects, &mut self.progress);
            report.objects += objects.await?;
        }
        for belonging in &belongings {
            report.residue += tenancy.residue(belonging).await?;
        }
        if let (Some(directory), Some(record)) = (directory, noted) {
            directory.forget(&record).await?;
        }
        tenancy.unresolve(id).await;
        report.databases = belongings.iter().map(TenantPlace::of).collect();
        Ok(report)
    }
}

impl<'a> IntoFuture for DropTenant<'a> {
    type Output = Result<DropReport, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

/// What stands where a database is looked for.
pub(super) enum Found {
    /// It, with what is in front of the keys of its bodies.
    Theirs(String),
    /// Another one.
    Others,
    Nothing,
}

impl Tenancy {
    /// The databases of a tenant that are there, wherever the directory or the
    /// configuration says. Other parts that keep something for a tenant
    /// elsewhere add it here, and it goes with the tenant.
    async fn belongings(
        &self,
        id: &str,
        known: Option<&Listed>,
        report: &mut DropReport,
    ) -> Result<Vec<Belonging>, Error> {
        let mut theirs = Vec::new();
        for owner in owners(id) {
            let Some(address) = self.whereabouts(&owner, known) else {
                continue;
            };
            // Of its counts nobody keeps an entry.
            let counts = address.counts();
            for address in [Some(address), counts].into_iter().flatten() {
                let mut belonging = Belonging {
                    owner: owner.clone(),
                    address,
                    prefix: None,
                };
                match self.inspect(&owner, &belonging.address).await? {
                    Found::Theirs(prefix) => {
                        belonging.prefix = Some(prefix);
                        theirs.push(belonging);
                    }
                    Found::Others => report.kept.push(TenantPlace::of(&belonging)),
                    Found::Nothing => {}
                }
            }
        }
        Ok(theirs)
    }

    /// Where a tenant's database is or would be.
    pub(super) fn whereabouts(&self, owner: &Owner, known: Option<&Listed>) -> Option<Address> {
        let record = known.and_then(|known| known.record.as_ref());
        let moving = record.and_then(Record::moving);
        if let Some(moved) = moving.and_then(|moving| moving.place_of(owner)) {
            return Some(moved.clone());
        }
        let context = Context::of_owner(owner);
        let context = match record {
            Some(record) => record.complete(&context),
            None => context,
        };
        // A context that means nothing has no database.
        let said = self.resolver.resolve(&context).ok();
        let mut entries = known.iter().flat_map(|known| &known.entries);
        match said {
            Some(said) if !said.recorded => Some(said.address),
            said => match entries.find(|entry| entry.owner == *owner) {
                Some(entry) => Some(entry.address.clone()),
                None => said.map(|said| said.address),
            },
        }
    }

    /// Removes what is counted of a database, if that is kept in another one. At
    /// a new place it is counted anew.
    pub(super) async fn erase_counts(&self, owner: &Owner, of: &Address) -> Result<(), Error> {
        let Some(address) = of.counts() else {
            return Ok(());
        };
        if let Found::Theirs(prefix) = self.inspect(owner, &address).await? {
            let counts = Belonging {
                owner: owner.clone(),
                address,
                prefix: Some(prefix),
            };
            self.erase(&counts, 0, &mut Listener::default()).await?;
        }
        Ok(())
    }

    /// What is at an address.
    pub(super) async fn inspect(&self, owner: &Owner, at: &Address) -> Result<Found, Error> {
        let client = self.connections.database(&at.connection)?;
        if !client.exists(&at.database).await? {
            return Ok(Found::Nothing);
        }
        let (catalog, documents) = client.open(&at.database).await?;
        Ok(match owner_of(&*documents).await? {
            Some(found) if found == *owner => {
                let marker = catalog.marker();
                Found::Theirs(database_prefix("", &marker.database, &marker.id))
            }
            _ => Found::Others,
        })
    }

    /// Removes a database and its bodies; gives how many objects that were.
    /// Goes on where an earlier run was interrupted.
    pub(super) async fn erase(
        &self,
        belonging: &Belonging,
        before: u64,
        progress: &mut Listener<'_>,
    ) -> Result<u64, Error> {
        let Belonging {
            owner,
            address,
            prefix,
        } = belonging;
        let Some(prefix) = prefix else {
            return Ok(0);
        };
        let client = self.connections.database(&address.connection)?;
        let mut objects = 0;
        if client.exists(&address.database).await? {
            let (catalog, documents) = client.open(&address.database).await?;
            let marker = catalog.marker();
            let found = database_prefix("", &marker.database, &marker.id);
            let theirs = match owner_of(&*documents).await? {
                Some(found) => found == *owner,
                // The mark went first when an earlier run was interrupted.
                None => found == *prefix,
            };
            if !theirs {
                return Ok(0);
            }
            catalog.seal().await?;
            self.let_go(&address.place()).await;
            for prefix in [Some(&found), (found != *prefix).then_some(prefix)] {
                let Some(prefix) = prefix else { continue };
                let done = before + objects;
                objects += self.sweep(address, prefix, done, progress).await?;
            }
            catalog.close().await?;
        }
        client.remove(&address.database).await?;
        // A body may have been on its way while the seal was set.
        objects += self
            .sweep(address, prefix, before + objects, progress)
            .await?;
        Ok(objects)
    }

    /// How much there is of a database that should be gone.
    pub(super) async fn residue(&self, belonging: &Belonging) -> Result<u64, Error> {
        if belonging.prefix.is_none() {
            return Ok(0);
        }
        let found = self.inspect(&belonging.owner, &belonging.address).await?;
        let database = u64::from(matches!(found, Found::Theirs(_)));
        Ok(database + self.count(belonging).await?)
    }

    /// How many objects a database has.
    async fn count(&self, belonging: &Belonging) -> Result<u64, Error> {
        let (Some(space), Some(prefix)) = (&belonging.address.space, &belonging.prefix) else {
            return Ok(0);
        };
        let (payloads, roles) = self.bodies_in(space).await?;
        let mut count = 0;
        for role in roles {
            let mut listed = payloads.list(&space.connection, role, prefix)?;
            while let Some(object) = listed.next().await {
                match object {
                    Ok(_) => count += 1,
                    Err(error) if is_no_bucket(&error) => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(count)
    }

    /// Deletes every object under a prefix; gives how many there were.
    async fn sweep(
        &self,
        address: &Address,
        prefix: &str,
        before: u64,
        progress: &mut Listener<'_>,
    ) -> Result<u64, Error> {
        let Some(space) = &address.space else {
            return Ok(0);
        };
        let (payloads, roles) = self.bodies_in(space).await?;
        let mut deleted = 0;
        for role in roles {
            let listed = payloads.list(&space.connection, role, prefix)?;
            let mut deletes = listed
                .map_ok(|object| {
                    let location = Location::Object {
                        space: space.connection.clone(),
                        role,
                        key: object.key,
                    };
                    let payloads = payloads.clone();
                    async move { payloads.delete(&location).await }
                })
                .map(|delete| async move { delete?.await })
                .buffer_unordered(ABREAST);
            while let Some(done) = deletes.next().await {
                match done {
                    Ok(()) => deleted += 1,
                    Err(error) if is_no_bucket(&error) => break,
                    Err(error) => return Err(error.into()),
                }
                progress.tell(None, before + deleted, None);
            }
            // Where objects are files, interrupted deletes leave directories.
            let folder = Location::Object {
                space: space.connection.clone(),
                role,
                key: prefix.to_owned(),
            };
            match payloads.delete(&folder).await {
                Err(error) if !is_no_bucket(&error) => return Err(error.into()),
                _ => {}
            }
        }
        Ok(deleted)
    }

    /// The buckets of a space, each by one of its roles.
    async fn bodies_in(&self, space: &SpaceAddress) -> Result<(Payloads, Vec<BucketRole>), Error> {
        let connection = self.connections.space(&space.connection)?;
        let opened = connection.space(&space.connection, &space.buckets).await?;
        let roles = roles(&opened, &ROLES);
        Ok((Payloads::new([opened], None, PayloadCache::off())?, roles))
    }
}

/// A bucket that was never made holds nothing.
fn is_no_bucket(error: &StoreError) -> bool {
    SpaceProblem::of(error) == Some(SpaceProblem::MissingBucket)
}

/// Whose the databases of a tenant are.
pub(super) fn owners(id: &str) -> impl Iterator<Item = Owner> {
    let types = DatabaseType::ALL.into_iter();
    types.map(move |database_type| Owner::of(database_type, Tier::Tenant(id.to_owned())))
}

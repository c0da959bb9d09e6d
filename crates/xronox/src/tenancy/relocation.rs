//! Moving a tenant to another connection, with all history.
//!
//! The databases are copied while the tenant goes on writing, then sealed, and
//! copied up: what is there then is all there will ever be at the old place,
//! whichever processes have it open. Both are compared version by version, and
//! one compare-and-set in the directory makes the new place the tenant's. What
//! is at the old one goes last.
//!
//! Nobody takes a seal off but [`CancelMove`], and only behind a step in the
//! directory after which no move that is under way can switch.

use std::{fmt, future::IntoFuture, sync::Arc};

use futures::future::BoxFuture;
use serde::Serialize;
use serde_json::json;
use xronox_model::{CollectionName, Filter};
use xronox_store::{DocFind, DocRefusal, Documents, InsertOutcome};

use super::{
    Tenancy,
    address::Address,
    context::Context,
    directory::{Directory, Listed},
    record::{Belonging, Moving, Phase, Record, Relocation, State},
    removal::Found,
    tenants::{being_dropped, not_recorded, unknown},
};
use crate::{Database, Error, ErrorKind, Progress, counters, engine::progress::Listener};

/// Plain documents copied at a time.
const PAGE: usize = 500;
/// The plain collections of ours that a database takes along; the others are
/// about the place where it is.
const OURS_TO_MOVE: [&str; 1] = ["xronox_jobs"];

/// Moves a tenant; await it. Gives a [`MoveReport`]. Made with
/// [`Tenants::move_to`](super::Tenants::move_to).
#[must_use = "nothing is moved until it is awaited"]
pub struct MoveTenant<'a> {
    pub(super) tenancy: Result<Arc<Tenancy>, Error>,
    pub(super) id: String,
    pub(super) to: String,
    pub(super) keep_old: bool,
    pub(super) progress: Listener<'a>,
}

impl fmt::Debug for MoveTenant<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MoveTenant")
            .field("id", &self.id)
            .field("to", &self.to)
            .finish_non_exhaustive()
    }
}

/// What a move did.
///
/// As JSON `{ tenantId, to, databases, versions, bytes, compared, oldRemoved }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct MoveReport {
    /// The tenant.
    pub tenant_id: String,
    /// The connection it is on now.
    pub to: String,
    /// The databases that moved; none if all were there.
    pub databases: Vec<String>,
    /// Versions that this run copied.
    pub versions: u64,
    /// Bytes of their bodies, in canonical form.
    pub bytes: u64,
    /// Versions that were found to be the same at both places, once nobody
    /// could write any more.
    pub compared: u64,
    /// Whether what was at the old place is gone.
    pub old_removed: bool,
}

impl<'a> MoveTenant<'a> {
    /// Leaves the old databases where they are, sealed, for other processes
    /// that still read there. The same call without this removes them.
    pub fn keep_old(mut self) -> Self {
        self.keep_old = true;
        self
    }

    /// Calls this now and then, as a [copy](crate::Copy::on_progress) does.
    pub fn on_progress(mut self, listen: impl FnMut(Progress) + Send + 'a) -> Self {
        self.progress = Listener::new(listen);
        self
    }

    async fn run(mut self) -> Result<MoveReport, Error> {
        let tenancy = self.tenancy?;
        let (id, to) = (self.id.as_str(), self.to.as_str());
        Context::runtime(id).check()?;
        tenancy.connections.database(to)?;
        let Some(directory) = tenancy.directory_of_tenants().await? else {
            return Err(tenancy.unmovable(id));
        };
        let Some(known) = directory.tenant(id).await? else {
            return Err(tenancy.unmovable(id));
        };
        let planned = match known.record.as_ref().and_then(Record::moving) {
            Some(_) => Vec::new(),
            None => tenancy.plan(&known, to).await?,
        };
        let record = directory.change(id, |record| begin(id, record, to, &planned));
        let mut report = MoveReport {
            tenant_id: id.to_owned(),
            to: to.to_owned(),
            databases: Vec::new(),
            versions: 0,
            bytes: 0,
            compared: 0,
            old_removed: true,
        };
        let Some(mut record) = record.await? else {
            return Ok(report);
        };
        let Some(mut moving) = record.moving().cloned() else {
            return Ok(report);
        };
        if moving.phase == Phase::Copying {
            tenancy
                .bring_over(directory, &record, &moving, &mut report, &mut self.progress)
                .await?;
            moving.phase = Phase::Switched;
            let state = State::Moving(moving.clone());
            record = match directory.advance(&record, state).await? {
                Some(record) => record,
                None => tenancy.switched_by_others(directory, id, &moving).await?,
            };
        }
        tenancy.unresolve(id).await;
        for Relocation { from, to } in &moving.databases {
            tenancy.let_go(&from.address.place()).await;
            report.databases.push(to.database.clone());
        }
        if self.keep_old {
            report.old_removed = moving.databases.is_empty();
            return Ok(report);
        }
        for Relocation { from, to } in &moving.databases {
            directory.relocate(&from.owner, to).await?;
            tenancy.erase(from, 0, &mut Listener::default()).await?;
            tenancy.erase_counts(&from.owner, &from.address).await?;
        }
        directory.advance(&record, moving.afterwards()).await?;
        Ok(report)
    }
}

impl<'a> IntoFuture for MoveTenant<'a> {
    type Output = Result<MoveReport, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

/// Gives up a move; await it. Made with
/// [`Tenants::cancel_move`](super::Tenants::cancel_move).
#[derive(Debug)]
#[must_use = "nothing is cancelled until it is awaited"]
pub struct CancelMove {
    pub(super) tenancy: Result<Arc<Tenancy>, Error>,
    pub(super) id: String,
}

impl CancelMove {
    async fn run(self) -> Result<(), Error> {
        let tenancy = self.tenancy?;
        let id = self.id.as_str();
        Context::runtime(id).check()?;
        let not_moving = || {
            let message = format!("tenant {id:?} is not being moved");
            Error::new(ErrorKind::NotFound, message)
        };
        let directory = tenancy.directory_of_tenants().await?;
        let directory = directory.ok_or_else(not_moving)?;
        let record = directory.change(id, |record| match record.and_then(Record::moving) {
            None => Err(not_moving()),
            Some(moving) => match moving.phase {
                Phase::Cancelled => Ok(None),
                Phase::Copying => Ok(Some(State::Moving(Moving {
                    phase: Phase::Cancelled,
                    ..moving.clone()
                }))),
                Phase::Switched => Err(Error::new(
                    ErrorKind::Unsupported,
                    format!(
                        "tenant {id:?} is at the new place already: let the move end, then \
                             move it back"
                    ),
                )),
            },
        });
        let record = record.await?.ok_or_else(not_moving)?;
        let moving = record.moving().cloned().ok_or_else(not_moving)?;
        for Relocation { from, to } in &moving.databases {
            let client = tenancy.connections.database(&from.address.connection)?;
            if client.exists(&from.address.database).await? {
                let (catalog, _) = client.open(&from.address.database).await?;
                catalog.unseal().await?;
            }
            tenancy.let_go(&to.place()).await;
            // What the move made there, and never the old place by another way.
            if let Found::Theirs(prefix) = tenancy.inspect(&from.owner, to).await?
                && from.prefix.as_ref() != Some(&prefix)
            {
                let copied = Belonging {
                    owner: from.owner.clone(),
                    address: to.clone(),
                    prefix: Some(prefix),
                };
                tenancy.erase(&copied, 0, &mut Listener::default()).await?;
                tenancy.erase_counts(&from.owner, to).await?;
            }
        }
        directory.advance(&record, moving.afterwards()).await?;
        tenancy.unresolve(id).await;
        Ok(())
    }
}

impl IntoFuture for CancelMove {
    type Output = Result<(), Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

/// The state that begins a move, or none if it has begun or there is nothing
/// to move.
fn begin(
    id: &str,
    record: Option<&Record>,
    to: &str,
    planned: &[Relocation],
) -> Result<Option<State>, Error> {
    let suspended = match record.map(|record| &record.state) {
        None | Some(State::Active) => false,
        Some(State::Suspended) => true,
        Some(State::Dropping { .. }) => return Err(being_dropped(id)),
        Some(State::Moving(moving)) => {
            let message = match moving.phase {
                Phase::Cancelled => "the cancelling of its move has to come to an end first",
                _ if moving.to != to => "it is being moved to another connection",
                _ => return Ok(None),
            };
            let message = format!("tenant {id:?}: {message}");
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
    };
    if planned.is_empty() {
        return Ok(None);
    }
    Ok(Some(State::Moving(Moving {
        to: to.to_owned(),
        phase: Phase::Copying,
        suspended,
        databases: planned.to_vec(),
    })))
}

impl Tenancy {
    fn unmovable(&self, id: &str) -> Error {
        if self.lists_tenant(id) {
            not_recorded(id)
        } else {
            unknown(id)
        }
    }

    /// Which databases are to go where: those that the directory places, and
    /// that are not on that connection, whatever it is called.
    async fn plan(&self, known: &Listed, to: &str) -> Result<Vec<Relocation>, Error> {
        let target = self.connections.database(to)?;
        let mut planned = Vec::new();
        for entry in &known.entries {
            let Some(address) = self.whereabouts(&entry.owner, Some(known)) else {
                continue;
            };
            let source = self.connections.database(&address.connection)?;
            // What the configuration has come to list stays.
            if address != entry.address || Arc::ptr_eq(source, target) {
                continue;
            }
            // One that was never used is made, so that nobody makes it at the old
            // place while it moves.
            if let Found::Nothing = self.inspect(&entry.owner, &address).await? {
                self.open_at(&entry.owner, &address, false).await?;
            }
            let Found::Theirs(prefix) = self.inspect(&entry.owner, &address).await? else {
                let message = format!("{}: its database is somebody else's", entry.owner);
                return Err(Error::new(ErrorKind::Forbidden, message));
            };
            let there = Address {
                connection: to.to_owned(),
                placed: Some(self.clock.now()),
                ..address.clone()
            };
            // Nobody knows what that is; and it may be the very same one, by
            // another way.
            if !matches!(self.inspect(&entry.owner, &there).await?, Found::Nothing) {
                let message = format!("{}: {to} has a database {}", entry.owner, there.database);
                return Err(Error::new(ErrorKind::AlreadyExists, message));
            }
            planned.push(Relocation {
                to: there,
                from: Belonging {
                    owner: entry.owner.clone(),
                    address,
                    prefix: Some(prefix),
                },
            });
        }
        Ok(planned)
    }

    /// Copies all that is to move, and sees to it that nothing comes after.
    async fn bring_over(
        &self,
        directory: &Directory,
        record: &Record,
        moving: &Moving,
        report: &mut MoveReport,
        progress: &mut Listener<'_>,
    ) -> Result<(), Error> {
        let mut pairs = Vec::new();
        for Relocation { from, to } in &moving.databases {
            let (source, _) = self.open_at(&from.owner, &from.address, true).await?;
            let (target, _) = self.open_at(&from.owner, to, false).await?;
            pairs.push((source, target));
        }
        for (source, target) in &pairs {
            // Where only newest versions are kept, those copied first may be
            // gone by the time the rest is.
            let mut names = source.collections().await?;
            names.retain(|name| source.storage.shared(name).rules.versioning);
            let copied = source
                .copy_to(target)
                .collections(names)
                .on_progress(|at| progress.hear(|| at))
                .await?;
            report.versions += copied.versions;
            report.bytes += copied.bytes;
        }
        let now = directory.tenant(&record.tenant_id).await?;
        if now.and_then(|now| now.record).as_ref() != Some(record) {
            let message = format!("tenant {:?}: its move was changed", record.tenant_id);
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        for (source, _) in &pairs {
            source.storage.catalog.seal().await?;
        }
        for (source, target) in &pairs {
            let copied = source
                .copy_to(target)
                .on_progress(|at| progress.hear(|| at))
                .await?;
            report.versions += copied.versions;
            report.bytes += copied.bytes;
            report.compared += copied.compared;
            copy_documents(source, target).await?;
        }
        Ok(())
    }

    /// The record, if somebody else has switched in the same move.
    async fn switched_by_others(
        &self,
        directory: &Directory,
        id: &str,
        moving: &Moving,
    ) -> Result<Record, Error> {
        let now = directory.tenant(id).await?.and_then(|now| now.record);
        match now {
            Some(record) if record.moving() == Some(moving) => Ok(record),
            _ => {
                let message = format!("tenant {id:?}: its move was changed meanwhile");
                Err(Error::new(ErrorKind::Unavailable, message))
            }
        }
    }
}

/// Copies the plain collections of a database that nobody can write to. What
/// an earlier run has copied is there as it is.
async fn copy_documents(source: &Database, target: &Database) -> Result<(), Error> {
    let (from, to) = (&*source.storage.documents, &*target.storage.documents);
    for name in from.collections().await? {
        let text = name.as_str();
        // What is counted may still be counted on, and is counted anew there.
        let counts = counters::COLLECTIONS.contains(&text);
        if !counts && !text.starts_with("xronox_") || OURS_TO_MOVE.contains(&text) {
            copy_collection(from, to, &name).await?;
        }
    }
    Ok(())
}

async fn copy_collection(
    from: &dyn Documents,
    to: &dyn Documents,
    name: &CollectionName,
) -> Result<(), Error> {
    for index in from.indexes(name).await? {
        to.ensure_index(name, &index).await?;
    }
    let all = Filter::parse(&json!({}))?;
    let mut find = DocFind::of(all.clone()).limit(PAGE);
    loop {
        let page = from.find(name, &find).await?;
        let Some(last) = page.last().cloned() else {
            break;
        };
        for outcome in to.insert(name, page).await? {
            match outcome {
                InsertOutcome::Inserted => {}
                InsertOutcome::Refused(DocRefusal::Duplicate { index }) if index == "_id" => {}
                InsertOutcome::Refused(_) => {
                    let message = format!("{name}: a document cannot be copied");
                    return Err(Error::new(ErrorKind::Corrupt, message));
                }
            }
        }
        find = find.after(last);
    }
    if from.count(name, &all).await? != to.count(name, &all).await? {
        let message = format!("{name}: the copies differ in their number of documents");
        return Err(Error::new(ErrorKind::Corrupt, message));
    }
    Ok(())
}

//! Bringing back what was: one record, or a whole collection.

mod collection;
mod job;
mod plan;
mod report;
mod writer;

use std::future::IntoFuture;

use futures::future::BoxFuture;
use xronox_model::{Invalid, Op, RecordId, SystemChange, VersionRow};
use xronox_store::{Bodies, Expect, NewBody, Presence, Which};

use crate::{
    Collection, Error, IntoId, IntoMoment, Moment, Written,
    collection::Shared,
    engine::{
        attribution::{Attribution, attributed},
        draft::Draft,
        read::{not_found, pruned},
    },
};

pub use collection::RestoreCollection;
pub use job::RestoreJob;
pub use report::{Listed, RestoreReport};

/// Brings back an earlier version of a record; await it.
///
/// Gives what was [`Written`].
#[derive(Debug)]
#[must_use = "nothing is written until it is awaited"]
pub struct RestoreObject<'a> {
    collection: &'a Collection,
    id: Result<RecordId, Error>,
    target: Option<Target>,
    expected_ov: Option<u64>,
    pub(crate) attribution: Attribution,
    pub(crate) broken: Option<Error>,
}

#[derive(Debug, Clone, Copy)]
enum Target {
    Ov(u64),
    Moment(Moment),
}

attributed!(RestoreObject);

impl Collection {
    /// Brings back an earlier version of a record: say which with
    /// [`to_ov`](RestoreObject::to_ov) or [`to`](RestoreObject::to).
    ///
    /// It writes a new version (RESTORE) with the document and the
    /// `functionIds` of the earlier one, and names that one; history only
    /// grows. A deleted record comes back, unless it was deleted in that
    /// version too: restoring such a version gives a deleted record. If the
    /// record is just so already, nothing is written and the newest version
    /// comes with [`unchanged`](Written::unchanged) set.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound) if there is no such record or
    /// version, or it was purged, [`Pruned`](crate::ErrorKind::Pruned) if retention
    /// removed the version, [`Conflict`](crate::ErrorKind::Conflict) if the record is
    /// not at [`expected_ov`](RestoreObject::expected_ov),
    /// [`Forbidden`](crate::ErrorKind::Forbidden) where fields are hidden from the
    /// handle,
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists) if another live record now
    /// holds a unique key of the version, [`Unsupported`](crate::ErrorKind::Unsupported)
    /// for a moment where versioning is off, [`Invalid`](crate::ErrorKind::Invalid).
    pub fn restore_object(&self, id: impl IntoId) -> RestoreObject<'_> {
        RestoreObject {
            collection: self,
            id: id.into_id(),
            target: None,
            expected_ov: None,
            attribution: Attribution::default(),
            broken: None,
        }
    }
}

impl RestoreObject<'_> {
    /// Brings back the version with this `ov`.
    pub fn to_ov(mut self, ov: u64) -> Self {
        self.target = Some(Target::Ov(ov));
        self
    }

    /// Brings back the version that was the newest at a moment: an RFC 3339
    /// time, or `Moment::Cv` for a version of the collection.
    pub fn to(mut self, moment: impl IntoMoment) -> Self {
        match moment.into_moment() {
            Ok(moment) => self.target = Some(Target::Moment(moment)),
            Err(error) => self.broken = self.broken.or(Some(error)),
        }
        self
    }

    /// Goes ahead only if the record's newest version is this one.
    pub fn expected_ov(mut self, ov: impl Into<Option<u64>>) -> Self {
        self.expected_ov = ov.into();
        self
    }
}

impl<'a> IntoFuture for RestoreObject<'a> {
    type Output = Result<Written, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        const WHAT: &str = "restore_object";
        Box::pin(async move {
            let Collection { shared, scope, .. } = self.collection;
            let id = self.id.map_err(|e| e.during(&shared.doing(WHAT, None)))?;
            let write = async {
                if let Some(error) = self.broken {
                    return Err(error);
                }
                self.attribution.check()?;
                shared.unveiled(scope, "a restore tells")?;
                let source = shared.to_restore(&id, self.target).await?;
                let draft = Draft {
                    id: &id,
                    op: Op::Restore,
                    expect: Expect {
                        state: Presence::Present,
                        ov: self.expected_ov,
                        attempt: None,
                    },
                    attribution: &self.attribution,
                    change: SystemChange::default(),
                    idempotency: None,
                    skip_unchanged: true,
                    offered: None,
                    scope,
                };
                shared
                    .write_named(&draft, NewBody::OfVersion(source.ov))
                    .await
            };
            let result = Box::pin(write).await;
            shared.tell(scope, WHAT, &id, result).await
        })
    }
}

impl Shared {
    /// The row of the version to bring back.
    async fn to_restore(&self, id: &RecordId, target: Option<Target>) -> Result<VersionRow, Error> {
        let row = match target {
            None => {
                let why = "say which version to bring back, with `to_ov` or `to`";
                return Err(Invalid::at("to", why).into());
            }
            Some(Target::Ov(ov)) => self.version(id, ov).await?,
            Some(Target::Moment(moment)) => {
                self.history_allowed()?;
                let cv = self.cut(moment).await?.cv.ok_or_else(not_found)?;
                let catalog = &self.database.catalog;
                let found = catalog
                    .version(&self.name, id, Which::AsOf(cv), Bodies::Omit)
                    .await?;
                found.ok_or_else(not_found)?
            }
        };
        match row {
            row if row.op == Op::Purge => Err(not_found()),
            row if row.pruned.is_some() => Err(pruned()),
            row => Ok(row),
        }
    }
}

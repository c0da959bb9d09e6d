//! Deleting whatever matches.

use std::future::IntoFuture;

use futures::{StreamExt, TryStreamExt, future::BoxFuture};
use serde::Serialize;
use serde_json::{Value, json};
use xronox_model::RecordId;

use crate::{
    Collection, Error, ErrorKind, IntoDocument, Progress,
    engine::{
        attribution::{Attribution, attributed},
        draft::contended,
        progress::Listener,
        query::filter_of,
    },
    storage::forbidden,
};

/// Records that are deleted at a time: they are committed together.
const ABREAST: usize = 64;
/// How often a record may change while it is about to be deleted.
const MAX_TRIES: u32 = 100;

/// Deletes all records that match; await it. Gives a [`DeleteManyReport`].
/// Made with [`Collection::delete_many`].
#[derive(Debug)]
#[must_use = "nothing is deleted until it is awaited"]
pub struct DeleteMany<'a> {
    collection: &'a Collection,
    filter: Result<Value, Error>,
    pub(crate) attribution: Attribution,
    hard: bool,
    progress: Listener<'a>,
    pub(crate) broken: Option<Error>,
}

/// What deleting many records came to.
///
/// As JSON `{ matched, deleted, skipped }`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DeleteManyReport {
    /// Records that matched when it began.
    pub matched: u64,
    /// Records that are deleted by this call.
    pub deleted: u64,
    /// Records that others changed meanwhile so that they do not match any
    /// more, or deleted.
    pub skipped: u64,
}

attributed!(DeleteMany);

impl Collection {
    /// Deletes all records that match a filter, however many: each is deleted
    /// as [`delete`](Self::delete) does, so its history stays unless that is
    /// [`hard`](DeleteMany::hard) or `logicalDelete` is off.
    ///
    /// Goes through the records that match when it begins. One that changes
    /// meanwhile is deleted only if it still matches. It is not one
    /// transaction: broken off, some are deleted, and the same call goes on.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query) for the filter, and
    /// [`delete`](Self::delete); those that were deleted before stay so.
    pub fn delete_many(&self, filter: impl IntoDocument) -> DeleteMany<'_> {
        DeleteMany {
            collection: self,
            filter: filter.into_document(),
            attribution: Attribution::default(),
            hard: false,
            progress: Listener::default(),
            broken: None,
        }
    }
}

impl<'a> DeleteMany<'a> {
    /// Removes every version and body of them for good; see
    /// [`Delete::hard`](crate::Delete::hard).
    pub fn hard(mut self) -> Self {
        self.hard = true;
        self
    }

    /// Calls this now and then, with the number of records that are gone
    /// through.
    pub fn on_progress(mut self, listen: impl FnMut(Progress) + Send + 'a) -> Self {
        self.progress = Listener::new(listen);
        self
    }

    async fn run(mut self) -> Result<DeleteManyReport, Error> {
        if let Some(error) = self.broken.take() {
            return Err(error);
        }
        self.attribution.check()?;
        if self.hard && !self.collection.shared.rules.hard_delete {
            return Err(forbidden("hard deletes need `hardDeleteEnabled`"));
        }
        let filter = std::mem::replace(&mut self.filter, Ok(Value::Null))?;
        let filter = filter_of(filter)?.to_json();
        let records = self.collection.query(&filter).stream().await?;
        let (one, filter) = (&self.one(), &filter);
        let deleted = records
            .map_ok(|record| (record.id().clone(), record.ov()))
            .map(|found| async move {
                let (id, ov) = found?;
                one.delete(&id, ov, filter).await
            })
            .buffer_unordered(ABREAST);
        let mut deleted = std::pin::pin!(deleted);
        let mut report = DeleteManyReport::default();
        while let Some(gone) = deleted.try_next().await? {
            report.count(gone);
            self.progress
                .tell(Some(self.collection.name()), report.matched, None);
        }
        Ok(report)
    }

    fn one(&self) -> One {
        One {
            collection: self.collection.clone(),
            attribution: self.attribution.clone(),
            hard: self.hard,
            deleted_too: false,
        }
    }
}

impl<'a> IntoFuture for DeleteMany<'a> {
    type Output = Result<DeleteManyReport, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let shared = &self.collection.shared;
            let done = self.run().await;
            done.map_err(|e| e.during(&shared.doing("delete_many", None)))
        })
    }
}

impl DeleteManyReport {
    /// Counts a record that matched, and is gone or not.
    pub(crate) fn count(&mut self, gone: bool) {
        self.matched += 1;
        if gone {
            self.deleted += 1;
        } else {
            self.skipped += 1;
        }
    }
}

/// How each of them is deleted.
pub(crate) struct One {
    pub(crate) collection: Collection,
    pub(crate) attribution: Attribution,
    pub(crate) hard: bool,
    /// Whether also one that somebody has deleted meanwhile.
    pub(crate) deleted_too: bool,
}

impl One {
    /// Deletes the version that matched, or a later one if that matches too;
    /// whether there was one.
    pub(crate) async fn delete(
        &self,
        id: &RecordId,
        mut ov: u64,
        filter: &Value,
    ) -> Result<bool, Error> {
        for _ in 0..MAX_TRIES {
            let mut delete = self.collection.delete(id).expected_ov(ov);
            delete.attribution = self.attribution.clone();
            if self.hard {
                delete = delete.hard();
            }
            match delete.await {
                Ok(_) => return Ok(true),
                Err(error) => match error.kind() {
                    ErrorKind::NotFound | ErrorKind::Deleted => return Ok(false),
                    ErrorKind::Conflict { .. } => {}
                    _ => return Err(error),
                },
            }
            let still = json!({ "$and": [{ "_id": id.to_string() }, filter] });
            let mut found = self.collection.query(still).limit(1);
            if self.deleted_too {
                found = found.include_deleted();
            }
            let found = found.await?;
            match found.items.first() {
                Some(record) => ov = record.ov(),
                None => return Ok(false),
            }
        }
        Err(contended())
    }
}

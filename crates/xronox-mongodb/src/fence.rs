//! What must not come late any more, where there are no transactions.
//!
//! An insertion that was sent may reach the server long after its sender
//! stopped waiting: nobody can call it back, and no time is late enough to
//! believe that it is lost. So before anyone acts on rows not being there, what
//! they would bring is fenced off: by a document in `C_ver` and in the same
//! unique index as the rows that are inserted, which makes a late insertion
//! fail. Either the rows are there first, or they never will be.
//!
//! Fenced off are attempts that are given up, and the [`Start`] of rows that
//! know nothing of a new index: they would lack its keys.
//!
//! A row fences off by itself what it goes by, and its place. So where rows are
//! removed, a trace of them stays behind that does the same: whoever sends a row
//! to their place late, or sends them again, finds it taken, and by whom.
//!
//! Fences have negative `_id`s, and traces those of their rows; neither have an
//! `n`: whatever reads or changes rows by their `_id` asks for one
//! ([`rows_at`](crate::read::rows_at)). They are small, and stay as long as the
//! collection does.

use std::fmt;

use mongodb::{
    ClientSession,
    bson::{Document, RawDocumentBuf, doc},
};
use rand::Rng;
use xronox_model::Attempt;
use xronox_store::StoreError;

use crate::{
    command::{self, Trouble, raw},
    core::Core,
    error::Failure,
    names::Names,
    row::{FENCED, binary, damaged},
    shape::{Counter, Shape},
};

/// What a row goes by: where the one before it left the log, and the epoch of
/// the indexes. Every row carries it, for the server inserts many in several
/// steps, and what follows a change of the indexes may be the rest of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Start {
    next: u64,
    epoch: u64,
}

impl Start {
    /// That of the next row.
    pub(crate) fn of(counter: &Counter) -> Self {
        Self {
            next: counter.next,
            epoch: counter.shape.described.epoch,
        }
    }

    /// That of the row behind one at this `cv`.
    pub(crate) fn behind(self, cv: u64) -> Self {
        Self {
            next: cv + 1,
            ..self
        }
    }
}

/// What one document alone may have.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fenced {
    Attempt(Attempt),
    Start(Start),
}

/// What has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Fence,
    /// A row, or the trace of one.
    Row,
}

impl fmt::Display for Fenced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attempt(attempt) => attempt.fmt(f),
            Self::Start(Start { next, epoch }) => write!(f, "{next}/{epoch}"),
        }
    }
}

impl Core {
    /// Sees to it that no row with this is inserted any more; whether none was
    /// before.
    pub(crate) async fn fence(
        &self,
        session: &mut ClientSession,
        names: &Names,
        shape: &Shape,
        fenced: Fenced,
    ) -> Result<bool, Failure> {
        match self
            .ensure_fences(names, shape)
            .await
            .map_err(Trouble::from)
        {
            Ok(()) => {}
            Err(Trouble::Gone) => return Ok(true),
            Err(Trouble::Failed(failure)) => return Err(failure),
            Err(Trouble::Duplicate) => return Err(damaged(FENCED).into()),
        }
        let place: [u8; 8] = rand::rng().random();
        let fence = raw(&doc! {
            "_id": i64::from_be_bytes(place) | i64::MIN,
            "i": binary(&place),
            FENCED: [fenced.to_string()],
        })?;
        for command in command::there(command::insert(&names.ver, &[fence]), shape) {
            match self.write_one(session, command).await {
                Ok(()) => {}
                Err(Trouble::Failed(failure)) => return Err(failure),
                // With all that was sent to it.
                Err(Trouble::Gone) => return Ok(true),
                // A row is there, unless somebody else was as fast as we.
                Err(Trouble::Duplicate) => {
                    let taken = self.taken(session, names, fenced).await?;
                    return Ok(taken == Some(By::Fence));
                }
            }
        }
        Ok(true)
    }

    /// What keeps rows with this from being inserted, if anything does.
    pub(crate) async fn taken(
        &self,
        session: &mut ClientSession,
        names: &Names,
        fenced: Fenced,
    ) -> Result<Option<By>, Failure> {
        let documents = self.db.db().collection::<Document>(&names.ver);
        let found = documents
            .find_one(doc! { FENCED: fenced.to_string() })
            .projection(doc! { "_id": 1 })
            .max_time(self.db.max_time())
            .session(session)
            .await?;
        let Some(found) = found else {
            return Ok(None);
        };
        let place = found.get_i64("_id").map_err(|_| damaged("_id"))?;
        Ok(Some(if place < 0 { By::Fence } else { By::Row }))
    }
}

/// The statement that leaves a trace of each row that it meets.
pub(crate) fn to_traces(rows: Document) -> Result<RawDocumentBuf, StoreError> {
    // No record's id is a number, and no two documents have one `i` and `n`.
    let trace = doc! { "_id": "$_id", "i": "$_id", "a": "$a", FENCED: format!("${FENCED}") };
    raw(&doc! { "q": rows, "u": [{ "$replaceWith": trace }], "multi": true })
}

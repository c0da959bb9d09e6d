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
//! Fences have negative `_id`s, so what walks rows from a `cv` on does not meet
//! them, and what walks back from one ends at 0. They are few, and stay as long
//! as the collection does.

use std::fmt;

use mongodb::{
    ClientSession,
    bson::{Document, doc},
};
use rand::Rng;
use xronox_model::Attempt;

use crate::{
    command::{self, Trouble, raw},
    core::Core,
    error::Failure,
    names::Names,
    row::{FENCED, binary},
    shape::Counter,
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
        fenced: Fenced,
    ) -> Result<bool, Failure> {
        let place: [u8; 8] = rand::rng().random();
        let fence = raw(&doc! {
            "_id": i64::from_be_bytes(place) | i64::MIN,
            "i": binary(&place),
            FENCED: [fenced.to_string()],
        })?;
        for command in command::insert(&names.ver, &[fence]) {
            match self.write_one(session, command).await {
                Ok(()) => {}
                Err(Trouble::Failed(failure)) => return Err(failure),
                // A row is there, unless somebody else was as fast as we.
                Err(Trouble::Duplicate) => return self.is_fenced(session, names, fenced).await,
            }
        }
        Ok(true)
    }

    /// Whether no row with this can be inserted any more.
    pub(crate) async fn is_fenced(
        &self,
        session: &mut ClientSession,
        names: &Names,
        fenced: Fenced,
    ) -> Result<bool, Failure> {
        let fences = self.db.db().collection::<Document>(&names.ver);
        let found = fences
            .find_one(doc! { FENCED: fenced.to_string(), "_id": { "$lt": 0_i64 } })
            .max_time(self.db.max_time())
            .session(session)
            .await?;
        Ok(found.is_some())
    }
}

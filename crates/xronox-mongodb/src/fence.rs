//! Attempts that are given up, where there are no transactions.
//!
//! An insertion that was sent may reach the server long after its sender
//! stopped waiting: nobody can call it back, and no time is late enough to
//! believe that it is lost. So before anyone acts on a row not being there, the
//! row's attempt is fenced off: a document of the attempt, in `C_ver` and in
//! the same unique index as the rows that are inserted, which makes a late
//! insertion fail. Either the row is there first, or it never will be.
//!
//! Fences have negative `_id`s, so what walks rows from a `cv` on does not meet
//! them, and what walks back from one ends at 0. They are few, and stay as long
//! as the collection does.

use mongodb::{
    ClientSession,
    bson::{Document, doc},
};
use xronox_model::Attempt;

use crate::{
    command::{self, Trouble, raw},
    core::Core,
    error::Failure,
    names::Names,
    row::{FENCED, binary},
};

/// The `_id` of a fence: most of the random bits of the attempt.
fn place(attempt: Attempt) -> i64 {
    let bytes = attempt.as_bytes().iter().take(8);
    bytes.fold(0, |bits, byte| (bits << 8) | i64::from(*byte)) | i64::MIN
}

impl Core {
    /// Sees to it that no row of this attempt is inserted any more; whether
    /// none was before.
    pub(crate) async fn fence(
        &self,
        session: &mut ClientSession,
        names: &Names,
        attempt: Attempt,
    ) -> Result<bool, Failure> {
        let own = binary(attempt.as_bytes());
        let fence = raw(&doc! {
            "q": { "_id": place(attempt) },
            "u": { "$setOnInsert": { "i": &own, "a": &own, FENCED: true } },
            "upsert": true,
        })?;
        for command in command::update(&names.ver, &[fence]) {
            match self.write_one(session, command).await {
                Ok(()) => {}
                Err(Trouble::Failed(failure)) => return Err(failure),
                // A row is there, unless somebody else was as fast as we.
                Err(Trouble::Duplicate) => return self.is_fenced(session, names, attempt).await,
            }
        }
        Ok(true)
    }

    /// Whether no row of this attempt can be inserted any more.
    pub(crate) async fn is_fenced(
        &self,
        session: &mut ClientSession,
        names: &Names,
        attempt: Attempt,
    ) -> Result<bool, Failure> {
        let fences = self.db.db().collection::<Document>(&names.ver);
        let found = fences
            .find_one(doc! { "_id": place(attempt), "a": binary(attempt.as_bytes()) })
            .max_time(self.db.max_time())
            .session(session)
            .await?;
        Ok(found.is_some())
    }
}

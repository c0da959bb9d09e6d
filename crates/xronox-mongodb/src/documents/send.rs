//! Sending documents, and seeing to what is in their way.

use futures::TryStreamExt;
use mongodb::{
    bson::{Bson, Document, RawDocument, RawDocumentBuf, doc, oid::ObjectId, raw::cstr, rawdoc},
    error::{Error, ErrorKind, WriteFailure},
};
use xronox_model::{CollectionName, OrderedKey, Timestamp};
use xronox_store::{DocRefusal, StoreError};

use super::{
    entry::{Entry, Fit, Held},
    names,
    state::{State, date},
    turn::Tries,
    write::{Chore, Stop, Writes},
};
use crate::{
    command,
    error::{self, DUPLICATE_KEY, Failure},
};

/// How often a write is sent again whose answer was lost.
const MAX_SENDING: u32 = 5;

/// What became of a document that was sent.
enum Sent {
    Done,
    /// Its id or a key is taken.
    Duplicate,
    /// The one to replace is another by now.
    Lost,
}

/// What was in the way of a document.
pub(super) enum Cleared {
    /// It is there itself, from an earlier try.
    Ours,
    /// So many that were gone anyway, and are removed.
    Removed(u64),
}

impl Writes<'_> {
    /// Sends a document, and sees to what was in its way.
    pub(super) async fn send(
        &mut self,
        name: &CollectionName,
        state: &State,
        fit: &Fit,
        entry: &Entry,
        over: Option<ObjectId>,
    ) -> Result<(), Stop> {
        let again = || Stop::Again(Chore::Lost(name.clone(), fit.id.clone()));
        let look = || Stop::Again(Chore::Look(name.clone()));
        match self.put(name, fit, entry, over).await? {
            Sent::Done => Ok(()),
            Sent::Lost => Err(again()),
            Sent::Duplicate if self.in_transaction => Err(look()),
            Sent::Duplicate => {
                let fresh = self.of.fresh_state(&mut self.session, name).await?;
                if fresh.rev != state.rev {
                    return Err(again());
                }
                let cleared = self.clear(name, state, fit, &entry.unique, over.is_none());
                match cleared.await? {
                    Cleared::Ours => Ok(()),
                    Cleared::Removed(0) => Err(look()),
                    Cleared::Removed(_) => Err(again()),
                }
            }
        }
    }

    /// Inserts a document, or replaces one of a certain revision, until it is
    /// known what became of it.
    async fn put(
        &mut self,
        name: &CollectionName,
        fit: &Fit,
        entry: &Entry,
        over: Option<ObjectId>,
    ) -> Result<Sent, Failure> {
        let documents = self.of.documents(name);
        let before = self.writing();
        let mut tries = Tries::default();
        loop {
            let sent = match over {
                None => {
                    let sent = documents.insert_one(&entry.raw);
                    sent.session(&mut self.session).await.map(|_| true)
                }
                Some(rev) => {
                    let there = doc! { "_id": fit.id.as_str(), "r": rev };
                    let sent = documents.replace_one(there, &entry.raw);
                    let sent = sent.session(&mut self.session).await;
                    sent.map(|replaced| replaced.matched_count == 1)
                }
            };
            let open = tries.count() > 0;
            let undone = match sent {
                Ok(true) => return Ok(Sent::Done),
                Ok(false) => Sent::Lost,
                Err(failure) if error::code(&failure) == Some(DUPLICATE_KEY) => Sent::Duplicate,
                Err(failure)
                    if !self.in_transaction
                        && leaves_open(&failure)
                        && tries.count() < MAX_SENDING =>
                {
                    let error = StoreError::from(Failure::from(failure));
                    tracing::debug!(%error, "a write is sent again");
                    tries.again(name).await?;
                    continue;
                }
                Err(failure) => {
                    self.wrote &= before || open || leaves_open(&failure);
                    return Err(failure.into());
                }
            };
            if open {
                // Either an earlier one got through, or this one met another.
                if self.rev_of(name, &fit.id).await? == Some(fit.rev) {
                    return Ok(Sent::Done);
                }
                if matches!(undone, Sent::Lost) {
                    return Err(StoreError::Indeterminate {
                        message: "a document changed while the answer was lost".to_owned(),
                        source: None,
                    }
                    .into());
                }
            }
            self.wrote = before;
            return Ok(undone);
        }
    }

    /// Notes that something may be written from here on; gives what was noted
    /// before. In a transaction only the commit writes.
    fn writing(&mut self) -> bool {
        let wrote = self.wrote || !self.in_transaction;
        std::mem::replace(&mut self.wrote, wrote)
    }

    async fn rev_of(
        &mut self,
        name: &CollectionName,
        id: &OrderedKey,
    ) -> Result<Option<ObjectId>, Failure> {
        let found = self
            .exact(name, doc! { "_id": id.as_str() }, 1)
            .await?
            .pop();
        Ok(found.map(|(_, rev)| rev))
    }

    /// Which documents, under which revisions.
    pub(super) async fn exact(
        &mut self,
        name: &CollectionName,
        filter: Document,
        limit: usize,
    ) -> Result<Vec<(OrderedKey, ObjectId)>, Failure> {
        let documents = self.of.documents(name);
        let mut found = documents
            .find(filter)
            .projection(doc! { "r": 1 })
            .limit(i64::try_from(limit).unwrap_or(i64::MAX))
            .batch_size(u32::try_from(limit).unwrap_or(u32::MAX))
            .max_time(self.of.db.max_time())
            .session(&mut self.session)
            .await?;
        let mut exact = Vec::new();
        while found.advance(&mut self.session).await? {
            exact.push(id_and_rev(found.current())?);
        }
        Ok(exact)
    }

    /// Refuses a document whose id (if it is new) or unique keys others hold,
    /// but for those that are gone, which are removed.
    pub(super) async fn clear(
        &mut self,
        name: &CollectionName,
        state: &State,
        fit: &Fit,
        unique: &[Held],
        new: bool,
    ) -> Result<Cleared, Stop> {
        let mut any: Vec<Document> = unique
            .iter()
            .map(|held| doc! { &held.field: { "$in": &held.keys } })
            .collect();
        if new {
            any.push(doc! { "_id": fit.id.as_str() });
        }
        if any.is_empty() {
            return Ok(Cleared::Removed(0));
        }
        let documents = self.of.documents(name);
        let mut found = documents
            .find(doc! { "$or": any })
            .projection(doc! { "b": 0 })
            .max_time(self.of.db.max_time())
            .session(&mut self.session)
            .await?;
        let others: Vec<RawDocumentBuf> = found.stream(&mut self.session).try_collect().await?;
        let mut gone = Vec::new();
        let mut living = Vec::new();
        for other in &others {
            let (id, rev) = id_and_rev(other)?;
            if id == fit.id {
                if rev == fit.rev {
                    return Ok(Cleared::Ours);
                }
                if !new {
                    continue;
                }
            }
            if is_gone(other, state, self.now) {
                gone.push((id, rev));
            } else if id == fit.id {
                let index = "_id".to_owned();
                return Err(DocRefusal::Duplicate { index }.into());
            } else {
                living.push(other);
            }
        }
        for held in unique {
            if living.iter().any(|other| holds(other, held)) {
                let index = held.name.clone();
                return Err(DocRefusal::Duplicate { index }.into());
            }
        }
        Ok(Cleared::Removed(
            self.delete_exact(name, &gone).await? as u64,
        ))
    }

    /// Removes documents that still have these revisions.
    pub(super) async fn delete_exact(
        &mut self,
        name: &CollectionName,
        exact: &[(OrderedKey, ObjectId)],
    ) -> Result<usize, Failure> {
        let each = exact.iter();
        let statements: Vec<RawDocumentBuf> = each
            .map(|(id, rev)| rawdoc! { "q": { "_id": id.as_str(), "r": *rev }, "limit": 1 })
            .collect();
        let before = self.writing();
        let mut done = 0;
        for command in command::delete(&names::stored(name), &statements) {
            match self.run(command).await {
                Ok(reply) => done += reply.get_i32("n").unwrap_or_default(),
                Err(failure) => {
                    let open = !matches!(&failure, Failure::Driver(e) if !leaves_open(e));
                    self.wrote &= before || done > 0 || open;
                    return Err(failure);
                }
            }
        }
        self.wrote &= before || done > 0;
        Ok(usize::try_from(done).unwrap_or_default())
    }

    /// Runs a write command, durably.
    pub(super) async fn run(&mut self, mut command: RawDocumentBuf) -> Result<Document, Failure> {
        if !self.in_transaction {
            let concern = rawdoc! { "w": "majority", "j": true };
            command.append(cstr!("writeConcern"), concern);
        }
        let db = self.of.db.db();
        let reply = db
            .run_raw_command(command)
            .session(&mut self.session)
            .await?;
        command::check(&reply)?;
        Ok(reply)
    }
}

/// Whether an error leaves open if a write was carried out.
pub(super) fn leaves_open(failure: &Error) -> bool {
    match &*failure.kind {
        ErrorKind::Io(_)
        | ErrorKind::ConnectionPoolCleared { .. }
        | ErrorKind::InvalidResponse { .. }
        | ErrorKind::Write(WriteFailure::WriteConcernError(_)) => true,
        ErrorKind::InsertMany(many) => many.write_concern_error.is_some(),
        _ => failure.contains_label(mongodb::error::RETRYABLE_WRITE_ERROR),
    }
}

fn id_and_rev(stored: &RawDocument) -> Result<(OrderedKey, ObjectId), StoreError> {
    let damaged = |_| StoreError::Corrupt("a document has no id or revision".to_owned());
    let id = OrderedKey::from_stored(stored.get_str("_id").map_err(damaged)?);
    Ok((id, stored.get_object_id("r").map_err(damaged)?))
}

fn is_gone(stored: &RawDocument, state: &State, now: Timestamp) -> bool {
    let Ok(dates) = stored.get_document("x") else {
        return false;
    };
    let mut ending = state.ending();
    ending.any(|index| {
        let expiry = dates.get_datetime(&index.tag);
        expiry.is_ok_and(|expiry| expiry <= date(now))
    })
}

/// Whether a stored document holds one of these keys.
fn holds(stored: &RawDocument, held: &Held) -> bool {
    let tag = held.field.trim_start_matches("k.");
    let keys = stored.get_document("k").and_then(|keys| keys.get(tag));
    let is_held = |key: &str| held.keys.iter().any(|held| held == key);
    match keys.ok().flatten().map(Bson::try_from) {
        Some(Ok(Bson::String(key))) => is_held(&key),
        Some(Ok(Bson::Array(keys))) => keys.iter().any(|key| key.as_str().is_some_and(is_held)),
        _ => false,
    }
}

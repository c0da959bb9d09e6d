//! Requests that were answered, so that repeating one repeats its answer.

use rusqlite::{Connection, OptionalExtension};
use xronox_model::{Sha256, Timestamp};
use xronox_store::{Commit, IdempotencyKey, Outcome, Refusal, StoreError};

use super::Pen;
use crate::{
    error::storage,
    row::{Item, ItemRef, int, op_code, op_of, uint},
};

impl Pen<'_> {
    pub(super) fn replay(&self, key: &IdempotencyKey) -> Result<Option<Outcome>, StoreError> {
        type Stored = (Vec<u8>, Item, i64, i64, i64, i64, bool);
        let stored: Option<Stored> = self
            .db
            .prepare_cached(
                "SELECT fingerprint, item, ov, cv, at, op, unchanged FROM xronox_idempotency \
                 WHERE collection = ? AND key = ? AND expires > ?",
            )
            .and_then(|mut s| {
                s.query_row((self.name.as_str(), &key.key, self.at.as_millis()), |row| {
                    Ok((
                        row.get(0)?,
                        row.get(1)?,
                        row.get(2)?,
                        row.get(3)?,
                        row.get(4)?,
                        row.get(5)?,
                        row.get(6)?,
                    ))
                })
                .optional()
            })
            .map_err(storage)?;
        let Some((fingerprint, Item(id), ov, cv, at, op, unchanged)) = stored else {
            return Ok(None);
        };
        if fingerprint != Sha256::as_bytes(&key.fingerprint) {
            return Ok(Some(Outcome::Refused(Refusal::KeyReused)));
        }
        let commit = Commit {
            id,
            ov: uint(ov, "ov")?,
            cv: uint(cv, "cv")?,
            at: Timestamp::from_millis(at),
            op: op_of(op)?,
            released: Vec::new(),
        };
        Ok(Some(if unchanged {
            Outcome::Unchanged(commit)
        } else {
            Outcome::Committed(commit)
        }))
    }

    pub(super) fn remember(
        &self,
        key: &IdempotencyKey,
        commit: &Commit,
        unchanged: bool,
    ) -> Result<(), StoreError> {
        self.db
            .prepare_cached(
                "INSERT OR REPLACE INTO xronox_idempotency \
                 (collection, key, fingerprint, item, ov, cv, at, op, unchanged, expires) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )
            .and_then(|mut s| {
                s.execute((
                    self.name.as_str(),
                    &key.key,
                    key.fingerprint.as_bytes(),
                    ItemRef(&commit.id),
                    int(commit.ov),
                    int(commit.cv),
                    commit.at.as_millis(),
                    op_code(commit.op),
                    unchanged,
                    self.at.plus_millis(key.keep_millis).as_millis(),
                ))
            })
            .map_err(storage)?;
        Ok(())
    }
}

/// A bounded sweep of idempotency keys whose time is over.
pub(super) fn forget_expired(db: &Connection, at: Timestamp) -> Result<(), StoreError> {
    // Asked first: the sweep itself sets up a table of its own, which costs as
    // much as a small commit.
    let any = "SELECT EXISTS (SELECT 1 FROM xronox_idempotency WHERE expires <= ?)";
    let any: bool = db
        .prepare_cached(any)
        .and_then(|mut s| s.query_row([at.as_millis()], |row| row.get(0)))
        .map_err(storage)?;
    if any {
        db.prepare_cached(
            "DELETE FROM xronox_idempotency WHERE (collection, key) IN \
             (SELECT collection, key FROM xronox_idempotency WHERE expires <= ? LIMIT 100)",
        )
        .and_then(|mut s| s.execute([at.as_millis()]))
        .map_err(storage)?;
    }
    Ok(())
}

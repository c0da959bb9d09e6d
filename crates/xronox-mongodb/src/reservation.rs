//! Unique keys of commits without transactions.

use std::collections::BTreeSet;

use mongodb::bson::{RawDocumentBuf, doc};
use tokio::time::Instant;
use xronox_model::{CollectionName, RecordId, Timestamp, UniqueKey};
use xronox_store::{Outcome, Refusal, StoreError, Taken};

use crate::{
    command::{self, raw},
    commit::{Setback, busy, pause, unknown},
    error::Failure,
    ledger::{Facts, Needs, stored_key},
    log_first::{Entry, Writer},
    pen::Pen,
    read::rows_at,
    row::{binary, item},
    shape::{date, int},
};

/// How long a reservation holds.
const RESERVED_MILLIS: i64 = 20_000;

impl Writer<'_> {
    pub(crate) async fn reserve(
        &mut self,
        name: &CollectionName,
        keys: &[(RecordId, u64, UniqueKey)],
    ) -> Result<(), Failure> {
        loop {
            match self.reserve_once(name, keys).await {
                Ok(taken) => {
                    self.done = taken;
                    return Ok(());
                }
                Err(Setback::Failed(failure)) => return Err(failure),
                Err(Setback::Unknown(_)) => return Err(unknown(self.names).into()),
                Err(Setback::Gone(name)) => self.core.shapes.forget(&name),
                Err(
                    Setback::Lost
                    | Setback::Away(_)
                    | Setback::NotOurTurn
                    | Setback::Duplicate
                    | Setback::Outdated,
                ) => pause(3).await,
            }
            if Instant::now() >= self.deadline {
                return Err(busy(self.core, self.names).into());
            }
        }
    }

    async fn reserve_once(
        &mut self,
        name: &CollectionName,
        keys: &[(RecordId, u64, UniqueKey)],
    ) -> Result<Vec<Outcome>, Setback> {
        let mut session = self.core.db.session().await?;
        let (mut place, _) = self.look(&mut session, name).await?;
        let mut taken = Vec::new();
        for (id, ov, key) in keys {
            let stored = stored_key(&place.counter.shape, key)?;
            let needs = Needs {
                newest: [id.clone()].into(),
                unique: [stored.clone()].into(),
                ..Needs::default()
            };
            let mut pen = Pen {
                core: self.core,
                session: &mut session,
            };
            place.facts = pen.facts(&place, &needs).await?;
            let current = |facts: &Facts| {
                let rows = facts.rows.iter();
                let mut rows = rows.filter(|found| found.row.ov == *ov && found.row.live());
                rows.next().map(|found| found.row.cv)
            };
            let Some(cv) = current(&place.facts) else {
                continue;
            };
            let mut holders = place.facts.holders.iter();
            match holders.find(|(held, _)| *held == stored) {
                Some((_, holder)) if holder != id => {
                    taken.push(Outcome::Refused(Refusal::Taken(Taken {
                        index: key.index.clone(),
                        wanted_by: id.clone(),
                        holder: holder.clone(),
                    })));
                    continue;
                }
                Some(_) => continue,
                None => {}
            }
            // The row says so first: whoever applies its successor frees it.
            let row = raw(&doc! { "q": rows_at(int(cv)), "u": { "$addToSet": { "u": &stored } } })?;
            let row = command::update(&place.names.ver, &[row]);
            self.send(&mut session, command::there(row, &place.counter.shape))
                .await?;
            let expired = doc! { "$lt": date(place.counter.clock) };
            let held = raw(&doc! {
                "q": { "_id": &stored, "until": expired },
                "u": { "$set": { "i": item(id), "n": int(*ov) }, "$unset": { "a": "", "until": "" } },
                "upsert": true,
            })?;
            self.send(&mut session, command::update(&place.names.keys, &[held]))
                .await?;
            let mut pen = Pen {
                core: self.core,
                session: &mut session,
            };
            let after = pen.facts(&place, &needs).await?;
            if current(&after) != Some(cv) {
                let late = raw(&doc! {
                    "q": { "_id": &stored, "i": item(id), "n": int(*ov) }, "limit": 1,
                })?;
                self.send(&mut session, command::delete(&place.names.keys, &[late]))
                    .await?;
            }
        }
        Ok(taken)
    }
}

/// The statements that reserve the keys that change hands.
pub(crate) fn reservations(
    entries: &[Entry],
    gained: &BTreeSet<&String>,
    clock: Timestamp,
) -> Result<Vec<RawDocumentBuf>, StoreError> {
    let mut out = Vec::new();
    for Entry { row, unique, .. } in entries {
        for key in unique.iter().filter(|key| gained.contains(key)) {
            out.push(raw(&doc! {
                "q": { "_id": key, "until": { "$lt": date(clock) } },
                "u": { "$set": {
                    "i": item(&row.id),
                    "n": int(row.ov),
                    "a": binary(row.attempt.as_bytes()),
                    "until": date(clock.plus_millis(RESERVED_MILLIS)),
                } },
                "upsert": true,
            })?);
        }
    }
    Ok(out)
}

//! Answered requests: what became of a mutation, by its idempotency key.
//!
//! They stand in `xronox_idempotency`, by `_id` `<collection>:<key>` (the name
//! of a collection holds no colon), and go when `until` has passed.

use std::collections::BTreeSet;

use mongodb::{
    ClientSession,
    bson::{RawDocument, RawDocumentBuf, doc},
};
use xronox_model::{CollectionName, Sha256, VersionRow};
use xronox_store::{Commit, StoreError};

use crate::{
    command::raw,
    core::{Core, REQUESTS},
    error::Failure,
    ledger::{Remembered, in_short},
    row::{binary, id_of, item, op_code, op_of},
    shape::{date, int, time},
};

/// What is remembered of these requests.
pub(crate) async fn read(
    core: &Core,
    session: &mut ClientSession,
    name: &CollectionName,
    keys: &BTreeSet<String>,
) -> Result<Vec<(String, Remembered)>, Failure> {
    let ids: Vec<String> = keys.iter().map(|key| format!("{name}:{key}")).collect();
    let mut cursor = core
        .db
        .db()
        .collection::<RawDocumentBuf>(REQUESTS)
        .find(doc! { "_id": { "$in": ids } })
        .session(&mut *session)
        .await?;
    let mut out = Vec::new();
    while cursor.advance(&mut *session).await? {
        let document = cursor.current();
        let id = document.get_str("_id").map_err(|_| damaged())?;
        let (_, key) = id.split_once(':').ok_or_else(damaged)?;
        out.push((key.to_owned(), decode(document)?));
    }
    Ok(out)
}

fn damaged() -> StoreError {
    StoreError::Corrupt(format!("a request in {REQUESTS} is damaged"))
}

fn decode(document: &RawDocument) -> Result<Remembered, StoreError> {
    let number = |field: &str| -> Result<u64, StoreError> {
        let n = document.get_i64(field).map_err(|_| damaged())?;
        u64::try_from(n).map_err(|_| damaged())
    };
    let date = |field: &str| {
        let at = document.get_datetime(field).map_err(|_| damaged())?;
        Ok::<_, StoreError>(time(at))
    };
    let fingerprint = document.get_binary("f").map_err(|_| damaged())?;
    let id = document
        .get("i")
        .map_err(|_| damaged())?
        .ok_or_else(damaged)?;
    Ok(Remembered {
        fingerprint: Sha256::from_bytes(fingerprint.bytes.try_into().map_err(|_| damaged())?),
        commit: Commit {
            id: id_of(id)?,
            ov: number("n")?,
            cv: number("cv")?,
            at: date("at")?,
            op: op_of(document.get_i32("op").map_err(|_| damaged())?)?,
            released: Vec::new(),
        },
        unchanged: document.get_bool("same").map_err(|_| damaged())?,
        until: date("until")?,
    })
}

/// The statements that remember these.
pub(crate) fn updates(
    name: &CollectionName,
    remembered: &[(String, Remembered)],
) -> Result<Vec<RawDocumentBuf>, StoreError> {
    let each = remembered.iter().map(|(key, known)| {
        let id = format!("{name}:{key}");
        raw(&doc! {
            "q": { "_id": &id },
            "u": {
                "_id": &id,
                "f": binary(known.fingerprint.as_bytes()),
                "i": item(&known.commit.id),
                "n": int(known.commit.ov),
                "cv": int(known.commit.cv),
                "at": date(known.commit.at),
                "op": op_code(known.commit.op),
                "same": known.unchanged,
                "until": date(known.until),
            },
            "upsert": true,
        })
    });
    each.collect()
}

/// The statement that remembers the request that a row answers.
pub(crate) fn of_row(
    name: &CollectionName,
    row: &VersionRow,
    request: &RawDocument,
) -> Result<RawDocumentBuf, StoreError> {
    let key = request.get_str("k").map_err(|_| damaged())?;
    let fingerprint = request.get_binary("f").map_err(|_| damaged())?;
    let until = request.get_datetime("until").map_err(|_| damaged())?;
    let known = Remembered {
        fingerprint: Sha256::from_bytes(fingerprint.bytes.try_into().map_err(|_| damaged())?),
        commit: in_short(row, Vec::new()),
        unchanged: false,
        until: time(until),
    };
    let statements = updates(name, &[(key.to_owned(), known)])?;
    statements.into_iter().next().ok_or_else(damaged)
}

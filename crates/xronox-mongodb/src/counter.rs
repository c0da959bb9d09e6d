//! Writing the counter document.

use mongodb::bson::{Bson, Document, Uuid, bson, doc, oid::ObjectId};
use xronox_model::Timestamp;

use crate::{
    ledger::News,
    shape::{COUNTER, STUBS, TRIMMED, date, int},
};

/// The first command of a commit: takes `reserve` versions and the time, and
/// gives the document back. `now` is the time that the first collection of the
/// commit has taken: one time for all of them.
///
/// It always changes the document, so that of two transactions only one can
/// commit.
pub(crate) fn take(
    collection: &str,
    reserve: u64,
    now: Option<Timestamp>,
    me: ObjectId,
) -> Document {
    let now = now.map_or_else(|| "$$NOW".into(), |at| Bson::from(date(at)));
    doc! {
        "findAndModify": collection,
        "query": { "_id": COUNTER },
        "update": [{ "$set": {
            "next": { "$add": ["$next", int(reserve)] },
            "at": { "$max": ["$at", now] },
            "clock": "$$NOW",
            "writes": { "$add": ["$writes", 1_i64] },
            "turn": pass_turn(me),
        } }],
        "new": true,
    }
}

/// The same for rows that bring their own `cv` and time.
pub(crate) fn hold(collection: &str, me: ObjectId) -> Document {
    doc! {
        "findAndModify": collection,
        "query": { "_id": COUNTER },
        "update": [{ "$set": {
            "clock": "$$NOW",
            "writes": { "$add": ["$writes", 1_i64] },
            "turn": pass_turn(me),
        } }],
        "new": true,
    }
}

/// Our own turn is over with the commit it was for.
fn pass_turn(me: ObjectId) -> Bson {
    bson!({ "$cond": [{ "$eq": ["$turn.by", me] }, "$$REMOVE", "$turn"] })
}

/// Corrects the document later in the same commit.
pub(crate) fn settle(next: u64, at: Timestamp, news: &News) -> (Document, Vec<Document>) {
    let mut set = marks(news);
    set.extend(doc! { "next": int(next), "at": date(at) });
    let mut filters = Vec::new();
    for (i, tag) in news.multi.iter().enumerate() {
        set.insert(format!("indexes.$[i{i}].multi"), true);
        filters.push(doc! { format!("i{i}.tag"): tag });
    }
    (doc! { "$set": set }, filters)
}

/// What of the news is a field of its own.
pub(crate) fn marks(news: &News) -> Document {
    let marks = [(TRIMMED, news.trimmed), (STUBS, news.stubs)];
    let marks = marks.into_iter().filter(|(_, is)| *is);
    marks
        .map(|(mark, is)| (mark.to_owned(), is.into()))
        .collect()
}

/// Asks for the next turn, unless another one has it.
pub(crate) fn claim_turn(me: ObjectId, millis: i64) -> (Document, Vec<Document>) {
    let free = doc! { "$or": [
        { "turn": { "$exists": false } },
        { "$expr": { "$lt": ["$turn.until", "$$NOW"] } },
        { "turn.by": me },
    ] };
    let turn = doc! { "by": me, "until": { "$add": ["$$NOW", millis] } };
    let filter = doc! { "_id": COUNTER, "$and": [free] };
    (filter, vec![doc! { "$set": { "turn": turn } }])
}

/// The document of a new collection.
pub(crate) fn fresh(uuid: Uuid) -> Document {
    doc! {
        "born": ObjectId::new(),
        "uuid": uuid,
        "next": 0_i64,
        "at": date(Timestamp::from_millis(i64::MIN)),
        "clock": date(Timestamp::from_millis(0)),
        "writes": 0_i64,
        "epoch": 0_i64,
        "tags": 0_i64,
        "indexes": [],
        "dropped": [],
        "making": true,
    }
}

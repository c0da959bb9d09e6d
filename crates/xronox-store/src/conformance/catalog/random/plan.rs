//! What could be done next.

use std::collections::BTreeMap;

use rand::{Rng, RngCore, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde_json::{Map, Value, json};
use xronox_model::{
    Attempt, CollectionName, Imported, IndexKeys, Lineage, Op, RecordId, Sha256, SystemChange,
    Timestamp, UniqueKey, VersionRow,
};

use super::super::bench::{body, file, id, object, user};
use crate::{
    Append, Bodies, Catalog, Expect, IdempotencyKey, Indexes, MemoryCatalog, Mutation, NewBody,
    Presence, Purge, Which,
};

const RECORDS: [&str; 6] = ["a", "b", "B", "zz", "ü/1", "507f1f77bcf86cd799439011"];

/// Emails and requests come from few, so that they clash.
pub(super) const EMAILS: [&str; 3] = ["x", "y", "z"];

/// Draws mutations, most of them sensible, and knows every document it drew.
#[derive(Debug, Default)]
pub(super) struct Planner {
    documents: BTreeMap<Sha256, Value>,
    keys: u64,
    /// Every mutation that was drawn.
    pub(super) attempts: Vec<(RecordId, Attempt)>,
}

pub(super) fn records() -> Vec<RecordId> {
    RECORDS.iter().map(|record| id(record)).collect()
}

impl Planner {
    /// The document of a row.
    pub(super) fn document(&self, row: &VersionRow) -> Option<&Value> {
        self.documents.get(&row.body.as_ref()?.sha256)
    }

    pub(super) async fn mutations(
        &mut self,
        rng: &mut StdRng,
        reference: &MemoryCatalog,
        collection: &CollectionName,
        groups: bool,
        timed: bool,
    ) -> Vec<Mutation> {
        let indexes = reference.indexes(collection).await.unwrap();
        let count = if rng.random_ratio(1, 4) {
            rng.random_range(2..9)
        } else {
            1
        };
        let mut mutations = Vec::new();
        for _ in 0..count {
            let record = id(RECORDS.choose(rng).unwrap());
            let head = reference
                .head(collection, &record, Bodies::Omit)
                .await
                .unwrap();
            let group = (groups && rng.random_ratio(1, 6)).then(|| rng.random_range(0..3));
            let mutation = match rng.random_range(0..100) {
                0..5 => Mutation::Purge(self.purge(rng, record, head.as_ref(), group)),
                5..13 => Mutation::Prune {
                    ovs: ovs(rng, head.as_ref()),
                    id: record,
                },
                13..18 => self.relocate(rng, reference, collection).await,
                _ => {
                    let source = ovs(rng, head.as_ref()).first().copied().unwrap_or(0);
                    let which = Which::Ov(source);
                    let row = reference.version(collection, &record, which, Bodies::Omit);
                    let row = row.await.unwrap();
                    let drawn =
                        self.append(rng, record, head.as_ref(), source, row.as_ref(), &indexes);
                    Mutation::Append(Append {
                        group,
                        idempotency: request(rng, timed),
                        ..drawn
                    })
                }
            };
            mutations.push(mutation);
        }
        mutations
    }

    fn attempt(&mut self, rng: &mut StdRng, record: &RecordId) -> Attempt {
        let mut bytes = [0; 12];
        rng.fill_bytes(&mut bytes);
        let attempt = Attempt::from_bytes(bytes);
        self.attempts.push((record.clone(), attempt));
        attempt
    }

    fn purge(
        &mut self,
        rng: &mut StdRng,
        record: RecordId,
        head: Option<&VersionRow>,
        group: Option<u32>,
    ) -> Purge {
        Purge {
            expect_ov: expected(rng, head),
            attempt: self.attempt(rng, &record),
            id: record,
            actor: actor(rng),
            on_behalf_of: None,
            reason: Some("because".into()),
            group,
        }
    }

    async fn relocate(
        &mut self,
        rng: &mut StdRng,
        reference: &MemoryCatalog,
        collection: &CollectionName,
    ) -> Mutation {
        let rows = reference
            .rows(collection, 0, usize::MAX, Bodies::Omit)
            .await
            .unwrap();
        let row = rows.choose(rng);
        self.keys += 1;
        let from = row.and_then(|row| Some(row.body.as_ref()?.location.clone()));
        Mutation::Relocate {
            cv: row.map_or(0, |row| row.cv),
            from: from.unwrap_or_else(|| object("none")),
            to: object(&format!("moved/{}", self.keys)),
        }
    }

    fn append(
        &mut self,
        rng: &mut StdRng,
        record: RecordId,
        head: Option<&VersionRow>,
        source_ov: u64,
        source: Option<&VersionRow>,
        indexes: &Indexes,
    ) -> Append {
        let op = suitable(rng, head);
        let state = match op {
            _ if rng.random_ratio(1, 10) => *[Presence::Absent, Presence::Live, Presence::Present]
                .choose(rng)
                .unwrap(),
            Op::Create => Presence::Absent,
            Op::Restore => Presence::Present,
            _ => Presence::Live,
        };
        let (body, document) = match op {
            Op::Delete => (
                NewBody::OfNewest,
                head.and_then(|head| self.document(head)).cloned(),
            ),
            Op::Restore => (
                NewBody::OfVersion(source_ov),
                source.and_then(|row| self.document(row)).cloned(),
            ),
            _ => {
                let same = head.filter(|_| rng.random_ratio(1, 4));
                let document = same.and_then(|head| self.document(head)).cloned();
                let document = document.unwrap_or_else(|| draw(rng));
                let body = self.body(rng, &document);
                (body, Some(document))
            }
        };
        let given = matches!(body, NewBody::Given(_)) || rng.random_ratio(1, 3);
        let keys = document.as_ref().filter(|_| given);
        let keys = keys.map(|document| IndexKeys::of_body(document, indexes.fields()));
        let specs = indexes
            .list
            .iter()
            .map(|index| &index.spec)
            .filter(|spec| spec.unique);
        let unique = document.as_ref().map(|document| {
            specs
                .filter_map(|spec| UniqueKey::of(document, spec).unwrap())
                .collect()
        });
        let attempt = self.attempt(rng, &record);
        Append {
            id: record,
            op,
            expect: Expect {
                state,
                ov: expected(rng, head),
                attempt: predecessor(rng, head),
            },
            attempt,
            actor: actor(rng),
            on_behalf_of: actor(rng).filter(|_| rng.random_ratio(1, 5)),
            reason: rng.random_ratio(1, 5).then(|| "reason".into()),
            change: change(rng),
            body,
            keys,
            unique: unique.unwrap_or_default(),
            idempotency: None,
            group: None,
            skip_unchanged: rng.random_ratio(2, 5),
            newest_only: match head.and_then(|head| head.newest_only_since) {
                Some(_) => rng.random_ratio(2, 3),
                None => rng.random_ratio(1, 8),
            },
        }
    }

    fn body(&mut self, rng: &mut StdRng, document: &Value) -> NewBody {
        let mut new = body(document);
        self.documents.insert(new.sha256, document.clone());
        if rng.random_ratio(1, 3) {
            self.keys += 1;
            new.location = object(&format!("put/{}", self.keys));
            new.inline = None;
        }
        // Of their own, so that histories stay as they were without files.
        let dice = &mut StdRng::seed_from_u64(self.documents.len() as u64);
        if dice.random_ratio(1, 4) {
            new.files = vec![file("a", &self.file_key(dice), None)];
            if dice.random_ratio(1, 2) {
                let text = self.file_key(dice);
                let next = file("list.0", &self.file_key(dice), Some(&text));
                new.files.push(next);
            }
        }
        NewBody::Given(new)
    }

    /// The key of a file: a new one, or one that others may name too.
    fn file_key(&mut self, rng: &mut StdRng) -> String {
        if rng.random_ratio(1, 2) {
            self.keys += 1;
        }
        format!("file/{}", self.keys)
    }
}

fn draw(rng: &mut StdRng) -> Value {
    let mut document = Map::new();
    let mut maybe = |rng: &mut StdRng, name: &str, values: &[Value]| {
        if rng.random_ratio(3, 4) {
            document.insert(
                name.to_owned(),
                values.choose(rng).cloned().unwrap_or_default(),
            );
        }
    };
    let numbers = [
        json!(-1),
        json!(0),
        json!(0.5),
        json!(1),
        json!(2),
        json!("1"),
        json!(null),
        json!(true),
    ];
    maybe(rng, "n", &numbers);
    let tags = [
        json!([]),
        json!([1, 2]),
        json!([2, 0, 2]),
        json!(["a", {"b": 1}]),
        json!(1),
        json!([[1]]),
    ];
    maybe(rng, "t", &tags);
    if rng.random_ratio(2, 3) {
        maybe(rng, "email", &EMAILS.map(Value::from));
    }
    if rng.random_ratio(1, 10) {
        maybe(
            rng,
            "updatedAt",
            &[json!("2001-01-01T00:00:00.000Z"), json!(null)],
        );
    }
    Value::Object(document)
}

/// What is likely to succeed, mostly.
fn suitable(rng: &mut StdRng, head: Option<&VersionRow>) -> Op {
    let any = [Op::Create, Op::Update, Op::Enrich, Op::Delete, Op::Restore];
    let suitable: &[Op] = match head {
        _ if rng.random_ratio(1, 8) => &any,
        None => &[Op::Create],
        Some(head) if head.op == Op::Purge => &[Op::Create],
        Some(head) if head.system.deleted() => &[Op::Restore],
        Some(_) => &[
            Op::Update,
            Op::Update,
            Op::Update,
            Op::Enrich,
            Op::Delete,
            Op::Restore,
        ],
    };
    *suitable.choose(rng).unwrap()
}

fn expected(rng: &mut StdRng, head: Option<&VersionRow>) -> Option<u64> {
    let right = head.map_or(0, |head| head.ov);
    match rng.random_range(0..12) {
        0 => Some(right + 1),
        1..4 => Some(right),
        _ => None,
    }
}

/// The version that a mutation goes on from, if it names one.
fn predecessor(rng: &mut StdRng, head: Option<&VersionRow>) -> Option<Attempt> {
    match rng.random_range(0..16) {
        0 => Some(Attempt::from_bytes(rng.random())),
        1..3 => head.map(|head| head.attempt),
        _ => None,
    }
}

/// Some versions of a record, most of them older ones.
fn ovs(rng: &mut StdRng, head: Option<&VersionRow>) -> Vec<u64> {
    let newest = head.map_or(0, |head| head.ov);
    let end = newest + u64::from(rng.random_ratio(1, 10));
    (0..rng.random_range(1..4))
        .map(|_| rng.random_range(0..end.max(1)))
        .collect()
}

fn actor(rng: &mut StdRng) -> Option<xronox_model::Identity> {
    ["ann", "bob"]
        .choose(rng)
        .filter(|_| rng.random_ratio(1, 2))
        .map(|name| user(name))
}

fn change(rng: &mut StdRng) -> SystemChange {
    let mut change = SystemChange::default();
    if rng.random_ratio(1, 5) {
        change.function_ids = vec![format!("f{}", rng.random_range(0..4))];
    }
    if rng.random_ratio(1, 5) {
        change.lineage = Lineage {
            parent_id: Some("p".into()),
            ..Lineage::default()
        };
    }
    if rng.random_ratio(1, 10) {
        let at = Timestamp::from_millis(rng.random_range(0..3));
        change.imported = Some(Imported {
            created_at: Some(at),
            updated_at: None,
        });
    }
    change
}

fn request(rng: &mut StdRng, timed: bool) -> Option<IdempotencyKey> {
    // Whether a key has expired cannot be foretold by a clock that runs.
    let kept: &[i64] = if timed {
        &[0, 1, 50, 500, i64::MAX]
    } else {
        &[0, i64::MAX]
    };
    rng.random_ratio(1, 7).then(|| IdempotencyKey {
        key: format!("k{}", rng.random_range(0..5)),
        fingerprint: Sha256::of(&[rng.random_range(0..2)]),
        keep_millis: *kept.choose(rng).unwrap(),
    })
}

//! Random work, done by a backend and by the reference alike.

use std::{sync::Arc, time::Duration};

use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use xronox_model::{CollectionName, Direction, Filter};

use super::{
    Subject,
    bench::{filter, index, name, path, sorted, update},
};
use crate::{Clock, DocFind, DocIndex, DocOp, Documents, MemoryDocuments};

const FIELDS: [&str; 4] = ["a", "b", "c.d", "at"];

/// Whatever is asked, in whatever order, both give the same.
pub async fn random_work_agrees_with_the_reference(subject: &dyn Subject) {
    let clock = subject.clock();
    let backend = subject.open().await;
    let reference = MemoryDocuments::new(Arc::new(clock.clone()));
    let both: [&dyn Documents; 2] = [&*backend, &reference];
    for seed in 0..12 {
        let mut work = Work {
            random: StdRng::seed_from_u64(seed),
            now: clock.now().as_millis(),
        };
        let names = ["x", "y"].map(|half| name(&format!("{half}{seed}")));
        for step in 0..150 {
            let at = format!("seed {seed}, step {step}");
            let collection = names[usize::from(work.random.random_bool(0.2))].clone();
            match work.random.random_range(0..100) {
                0..5 => {
                    let index = work.index();
                    let [a, b] =
                        each(both, async |d| d.ensure_index(&collection, &index).await).await;
                    assert_eq!(a.is_ok(), b.is_ok(), "{at}: {index:?} {a:?} {b:?}");
                }
                5..7 => {
                    let index = work.index().name();
                    let [a, b] =
                        each(both, async |d| d.drop_index(&collection, &index).await).await;
                    assert_eq!((a.is_ok(), b.is_ok()), (true, true), "{at}");
                }
                7..12 => clock.advance(work.random.random_range(0..3)),
                12..14 => {
                    // Some of the dead may be gone already, in one or the other.
                    each(both, async |d| d.sweep(1_000).await.unwrap()).await;
                }
                14..60 => {
                    let count = work.random.random_range(1..5);
                    let operations = (0..count)
                        .map(|_| work.operation(&collection))
                        .collect::<Vec<_>>();
                    let atomic =
                        backend.capabilities().transactions && work.random.random_bool(0.3);
                    let [a, b] = each(both, async |d| {
                        d.apply(operations.clone(), atomic).await.unwrap()
                    })
                    .await;
                    assert_eq!(a, b, "{at}: {operations:?}, atomic: {atomic}");
                }
                60..70 => {
                    let filter = work.filter();
                    let [a, b] =
                        each(both, async |d| d.count(&collection, &filter).await.unwrap()).await;
                    assert_eq!(a, b, "{at}: count {}", filter.to_json());
                }
                _ => {
                    let find = work.find();
                    let [a, b] =
                        each(both, async |d| d.find(&collection, &find).await.unwrap()).await;
                    assert_eq!(a, b, "{at}: {find:?}");
                }
            }
        }
        for collection in names {
            let all = DocFind::of(Filter::default()).limit(10_000);
            let [a, b] = each(both, async |d| d.find(&collection, &all).await.unwrap()).await;
            assert_eq!(a, b, "seed {seed}, in the end");
            let [a, b] = each(both, async |d| d.indexes(&collection).await.unwrap()).await;
            assert_eq!(a, b, "seed {seed}, in the end");
        }
    }
}

async fn each<'d, T>(
    both: [&'d dyn Documents; 2],
    ask: impl AsyncFn(&'d dyn Documents) -> T,
) -> [T; 2] {
    [ask(both[0]).await, ask(both[1]).await]
}

struct Work {
    random: StdRng,
    now: i64,
}

impl Work {
    fn field(&mut self) -> &'static str {
        FIELDS[self.random.random_range(0..FIELDS.len())]
    }

    fn scalar(&mut self) -> Value {
        match self.random.random_range(0..12) {
            0 => Value::Null,
            1 => json!(0.5),
            2 => json!("x"),
            3 => json!("xy"),
            4 => json!(true),
            5 => json!({"d": 1}),
            n => json!(n % 4),
        }
    }

    fn value(&mut self) -> Value {
        match self.random.random_range(0..8) {
            0 => (0..self.random.random_range(0..3))
                .map(|_| self.scalar())
                .collect(),
            1 => json!({"d": self.scalar()}),
            2 => json!([{"d": self.scalar()}, {"d": self.scalar()}]),
            _ => self.scalar(),
        }
    }

    /// A date around the time at which the run began.
    fn date(&mut self) -> Value {
        let millis = self.now + self.random.random_range(-3..15);
        json!(xronox_model::Timestamp::from_millis(millis).to_string())
    }

    fn id(&mut self) -> Value {
        match self.random.random_range(0..16) {
            0 => json!({"x": 1}),
            1 => json!(true),
            n if n < 9 => json!(n),
            n => json!(format!("i{n}")),
        }
    }

    fn document(&mut self) -> Value {
        let mut document = json!({"_id": self.id()});
        for field in ["a", "b", "c"] {
            if self.random.random_bool(0.7) {
                document[field] = self.value();
            }
        }
        if self.random.random_bool(0.5) {
            document["at"] = self.date();
        }
        document
    }

    fn condition(&mut self) -> Value {
        let field = self.field();
        let value = self.value();
        let test = match self.random.random_range(0..9) {
            0 => json!({"$gt": value}),
            1 => json!({"$lte": value}),
            2 => json!({"$gte": self.scalar(), "$lt": value}),
            3 => json!({"$in": [value, self.scalar()]}),
            4 => json!({"$ne": value}),
            5 => json!({"$exists": self.random.random_bool(0.5)}),
            _ => json!({"$eq": value}),
        };
        json!({ field: test })
    }

    fn filter(&mut self) -> Filter {
        let json = match self.random.random_range(0..7) {
            0 => json!({}),
            1 => json!({"_id": self.id()}),
            2 => json!({"_id": {"$gte": self.id()}}),
            3 => json!({"$or": [self.condition(), self.condition()]}),
            4 | 5 => json!({"$and": [self.condition(), self.condition()]}),
            _ => self.condition(),
        };
        filter(&json)
    }

    fn index(&mut self) -> DocIndex {
        let pick = self.random.random_range(0..9);
        let made = match pick {
            0 => index(&["a"]),
            1 => index(&["a", "b"]),
            2 => DocIndex::of([
                (path("b"), Direction::Ascending),
                (path("a"), Direction::Descending),
            ]),
            3 => index(&["c.d"]),
            4 => index(&["b", "_id"]),
            5 => DocIndex::of([(path("a"), Direction::Descending)]).unique(),
            6 => index(&["at"]).ttl(Duration::from_millis(2)),
            7 => index(&["b", "c.d"]).only(filter(&json!({"a": {"$exists": true}}))),
            _ => index(&["b"]).only(filter(&json!({"a": 1}))),
        };
        if pick == 1 && self.random.random_bool(0.2) {
            made.unique()
        } else {
            made
        }
    }

    fn operation(&mut self, collection: &CollectionName) -> (CollectionName, DocOp) {
        let operation = match self.random.random_range(0..10) {
            0..5 => DocOp::Insert(self.document()),
            5 => DocOp::Delete {
                filter: self.filter(),
                limit: 10_000,
            },
            _ => {
                // Which of several documents is changed would be left open.
                let mut matching = json!({"_id": self.id()});
                if self.random.random_bool(0.3) {
                    matching = json!({"$and": [matching, self.condition()]});
                }
                let field = self.field();
                let change = match self.random.random_range(0..6) {
                    0 => json!({"$inc": {field: 1}}),
                    1 => json!({"$max": {field: self.scalar()}}),
                    2 => json!({"$addToSet": {field: self.scalar()}}),
                    3 => json!({"$unset": {field: ""}}),
                    4 => json!({"$set": {"at": self.date()}}),
                    _ => json!({"$set": {field: self.value()}, "$setOnInsert": {"e": 1}}),
                };
                let update = update(&matching, &change);
                DocOp::Update(match self.random.random_range(0..4) {
                    0 => update.upsert(),
                    1 => update.or_abort(),
                    2 => update.returning(),
                    _ => update,
                })
            }
        };
        (collection.clone(), operation)
    }

    fn find(&mut self) -> DocFind {
        let mut fields = Vec::new();
        for _ in 0..self.random.random_range(0..3) {
            let field = if self.random.random_bool(0.1) {
                "_id"
            } else {
                self.field()
            };
            fields.push(if self.random.random_bool(0.5) {
                format!("-{field}")
            } else {
                field.to_owned()
            });
        }
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        let limit = if self.random.random_bool(0.5) { 3 } else { 100 };
        let mut find = sorted(&json!({}), &fields).limit(limit);
        find.filter = self.filter();
        if self.random.random_bool(0.4) {
            find.after = Some(self.document());
        }
        find
    }
}

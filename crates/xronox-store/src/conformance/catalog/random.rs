//! Random histories, told to a backend and to the reference alike.

mod compare;
mod plan;

use std::sync::Arc;

use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use xronox_model::{CollectionName, FieldKeys, IndexSpec, Location, Path, RecordId, UniqueKey};

use super::{
    Subject,
    bench::{bare, name, path},
};
use crate::{
    Batch, Bodies, Catalog, Clock, MemoryCatalog, Outcome, StoreError, conformance::ManualClock,
};
use plan::Planner;

/// Many short histories, each from another seed.
pub async fn short_random_histories_match_the_reference(subject: &dyn Subject) {
    let mut pair = Pair::open(subject, 0).await;
    for seed in 0..30 {
        pair.restart(seed);
        pair.run(25).await;
        pair.forget().await;
    }
}

/// One long history.
pub async fn a_long_random_history_matches_the_reference(subject: &dyn Subject) {
    same_as_reference(subject, 4711, 300).await;
}

/// Tells a random history of so many steps to a subject and to a
/// [`MemoryCatalog`], compares every outcome, and from time to time, and in the
/// end, whatever can be read.
///
/// The same seed gives the same history. A panic names the seed and the step.
pub async fn same_as_reference(subject: &dyn Subject, seed: u64, steps: usize) {
    Pair::open(subject, seed).await.run(steps).await;
}

/// A subject and the reference.
struct Pair {
    subject: Arc<dyn Catalog>,
    reference: MemoryCatalog,
    /// The subject's clock, if it can be set.
    subject_clock: Option<ManualClock>,
    clock: ManualClock,
    collections: Vec<CollectionName>,
    planner: Planner,
    rng: StdRng,
    told: String,
}

impl Pair {
    async fn open(subject: &dyn Subject, seed: u64) -> Self {
        let clock = ManualClock::default();
        Self {
            subject: subject.open().await,
            reference: MemoryCatalog::new("reference", Arc::new(clock.clone())),
            subject_clock: subject.clock(),
            clock,
            collections: vec![name("left"), name("Right")],
            planner: Planner::default(),
            rng: StdRng::seed_from_u64(seed),
            told: format!("seed {seed}"),
        }
    }

    fn restart(&mut self, seed: u64) {
        self.rng = StdRng::seed_from_u64(seed);
        self.told = format!("seed {seed}");
    }

    async fn forget(&self) {
        for collection in &self.collections {
            self.subject.drop_collection(collection).await.unwrap();
            self.reference.drop_collection(collection).await.unwrap();
        }
    }

    async fn run(&mut self, steps: usize) {
        let seed = self.told.clone();
        for step in 0..steps {
            self.told = format!("{seed}, step {step}");
            match self.rng.random_range(0..100) {
                0..80 => self.commit().await,
                80..90 => self.change_indexes().await,
                90..97 => self.move_clock(),
                _ => self.compare(false).await,
            }
        }
        self.told = format!("{seed}, end");
        self.compare(true).await;
    }

    fn move_clock(&mut self) {
        let millis = *[1, 1, 10, 100, 1000, -500].choose(&mut self.rng).unwrap();
        if let Some(clock) = &self.subject_clock {
            clock.advance(millis);
        }
    }

    /// The reference goes by the subject's clock, whether or not that can be set.
    fn tell_time(&self, outcomes: &Result<Vec<Vec<Outcome>>, StoreError>) {
        if let Some(clock) = &self.subject_clock {
            self.clock.set(clock.now());
            return;
        }
        let commits = outcomes
            .iter()
            .flatten()
            .flatten()
            .filter_map(|outcome| match outcome {
                Outcome::Committed(commit) => Some(commit.at),
                _ => None,
            });
        // A repeated outcome has an earlier time.
        if let Some(at) = commits.max() {
            self.clock.set(at.max(self.clock.now()));
        }
    }

    async fn commit(&mut self) {
        let transactions = self.subject.capabilities().transactions;
        let several = transactions && self.rng.random_ratio(1, 6);
        let chosen: Vec<CollectionName> = if several {
            self.collections.clone()
        } else {
            self.collections
                .choose(&mut self.rng)
                .cloned()
                .into_iter()
                .collect()
        };
        let timed = self.subject_clock.is_some();
        let mut batches = Vec::new();
        for collection in chosen {
            let mutations = self
                .planner
                .mutations(
                    &mut self.rng,
                    &self.reference,
                    &collection,
                    transactions,
                    timed,
                )
                .await;
            let indexes = self.reference.indexes(&collection).await.unwrap();
            let stale = u64::from(self.rng.random_ratio(1, 40));
            batches.push((
                collection,
                Batch {
                    epoch: indexes.epoch + stale,
                    mutations,
                },
            ));
        }
        // Epochs need not be the same numbers in both.
        let mut theirs = batches.clone();
        for (collection, batch) in &mut theirs {
            let ours = self.reference.indexes(collection).await.unwrap().epoch;
            let indexes = self.subject.indexes(collection).await.unwrap();
            batch.epoch = if batch.epoch == ours {
                indexes.epoch
            } else {
                indexes.epoch + 1000
            };
        }
        let given = self.subject.commit(&theirs).await;
        self.tell_time(&given);
        let expected = self.reference.commit(&batches).await;
        match (given, expected) {
            (Ok(given), Ok(expected)) => {
                let given: Vec<Vec<Outcome>> = given.into_iter().map(in_order).collect();
                let expected: Vec<Vec<Outcome>> = expected.into_iter().map(in_order).collect();
                assert_eq!(given, expected, "{}: {batches:#?}", self.told);
            }
            (Err(given), Err(expected)) => assert_eq!(
                std::mem::discriminant(&given),
                std::mem::discriminant(&expected),
                "{}: {given:?}, not {expected:?}",
                self.told
            ),
            (given, expected) => {
                panic!("{}: {given:?}, not {expected:?}: {batches:#?}", self.told)
            }
        }
    }

    async fn change_indexes(&mut self) {
        let collection = self.collections.choose(&mut self.rng).unwrap().clone();
        let specs = [
            IndexSpec::field(path("n")),
            IndexSpec::field(path("t")),
            IndexSpec::field(path("_system.updater.identifier")),
            IndexSpec::field(path("updatedAt")),
            IndexSpec::unique(vec![path("email")]),
        ];
        let spec = specs.choose(&mut self.rng).unwrap();
        let there = self.reference.indexes(&collection).await.unwrap();
        let both: [&dyn Catalog; 2] = [&*self.subject, &self.reference];
        if there.get(&spec.name()).is_some() && self.rng.random_ratio(1, 3) {
            for catalog in both {
                catalog.drop_index(&collection, &spec.name()).await.unwrap();
            }
        } else {
            let ready = self.rng.random_ratio(3, 4);
            let mut outcomes = Vec::new();
            for catalog in both {
                catalog.add_index(&collection, spec).await.unwrap();
                let taken = if spec.unique {
                    let keys = self
                        .planner
                        .unique_keys(&self.reference, &collection, spec)
                        .await;
                    catalog.fill_unique(&collection, keys).await.unwrap()
                } else {
                    let keys = self
                        .planner
                        .field_keys(&self.reference, &collection, spec)
                        .await;
                    catalog
                        .fill_index(&collection, &spec.fields[0], keys)
                        .await
                        .unwrap();
                    vec![]
                };
                if ready {
                    catalog
                        .index_ready(&collection, &spec.name())
                        .await
                        .unwrap();
                }
                outcomes.push(taken);
            }
            assert_eq!(outcomes[0], outcomes[1], "{}: taken keys", self.told);
        }
        let (given, expected) = (
            both[0].indexes(&collection).await.unwrap(),
            both[1].indexes(&collection).await.unwrap(),
        );
        assert_eq!(given.list, expected.list, "{}", self.told);
    }
}

/// What was released has no order.
fn in_order(mut outcomes: Vec<Outcome>) -> Vec<Outcome> {
    for outcome in &mut outcomes {
        if let Outcome::Committed(crate::Commit { released, .. }) | Outcome::Done { released } =
            outcome
        {
            released.sort_by_key(|location| format!("{location:?}"));
        }
    }
    outcomes
}

impl Planner {
    /// The keys of every row that has a document.
    async fn field_keys(
        &self,
        reference: &MemoryCatalog,
        collection: &CollectionName,
        spec: &IndexSpec,
    ) -> Vec<(u64, FieldKeys)> {
        let field: &Path = &spec.fields[0];
        let rows = reference
            .rows(collection, 0, usize::MAX, Bodies::Omit)
            .await
            .unwrap();
        let keyed = rows.iter().filter_map(|row| {
            let document = self.document(row)?;
            let mut bare_row = bare(row);
            bare_row.keys = xronox_model::IndexKeys::of_body(document, [field]);
            let system = bare_row.system_keys([field]);
            let keys = bare_row.keys.get(field).or(system.get(field))?;
            Some((row.cv, keys.clone()))
        });
        keyed.collect()
    }

    /// The unique keys of every live record.
    async fn unique_keys(
        &self,
        reference: &MemoryCatalog,
        collection: &CollectionName,
        spec: &IndexSpec,
    ) -> Vec<(RecordId, u64, UniqueKey)> {
        let rows = reference
            .rows(collection, 0, usize::MAX, Bodies::Omit)
            .await
            .unwrap();
        let newest = rows.iter().filter(|row| row.to_cv.is_none() && row.live());
        let keyed = newest.filter_map(|row| {
            let key = UniqueKey::of(self.document(row)?, spec).unwrap()?;
            Some((row.id.clone(), row.ov, key))
        });
        keyed.collect()
    }
}

/// The object that a row names.
fn key_of(location: &Location) -> Option<&str> {
    match location {
        Location::Inline => None,
        Location::Object { key, .. } => Some(key),
    }
}

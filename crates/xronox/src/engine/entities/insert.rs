//! Inserting a record together with its entities.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    future::IntoFuture,
    sync::Arc,
    time::Instant,
};

use futures::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream};
use serde_json::{Value, json};
use xronox_model::{
    CollectionName, Invalid, Op, Path, RecordId, SystemChange, UniqueKey, VersionRow,
};
use xronox_store::{Batch, Expect, Mutation, Outcome, Presence, Refusal};

use super::{
    Entity, EntityMapping, EntityOperation, EntityResult, InsertedWithEntities, Mapped, extract,
    granted, holders, mapped,
};
use crate::{
    Collection, Error, ErrorKind, Written,
    collection::Shared,
    engine::{
        attribution::{Attribution, attributed},
        committer::{Known, Trouble, Witness, commit_together},
        draft::{Draft, MAX_TRIES, broken_off, contended, refused, untold},
        files,
        files::Offered,
        prepare::{Canonical, normal},
        turns::{Expected, Way},
    },
    storage::Storage,
};

/// Entities looked up at a time.
const ABREAST: usize = 16;

/// Creates a record and its entities; await it. Gives
/// [`InsertedWithEntities`]. Made with [`Collection::insert_with_entities`].
#[derive(Debug)]
#[must_use = "nothing is written until it is awaited"]
pub struct InsertWithEntities<'a> {
    collection: &'a Collection,
    document: Result<Value, Error>,
    mappings: Vec<EntityMapping>,
    pub(crate) attribution: Attribution,
    grant: bool,
    idempotency: Option<String>,
    pub(crate) broken: Option<Error>,
}

attributed!(InsertWithEntities);

impl<'a> InsertWithEntities<'a> {
    pub(super) fn new(
        collection: &'a Collection,
        document: Result<Value, Error>,
        mappings: Vec<EntityMapping>,
    ) -> Self {
        Self {
            collection,
            document,
            mappings,
            attribution: Attribution::default(),
            grant: false,
            idempotency: None,
            broken: None,
        }
    }

    /// Grants writing entities into databases that others share, of everybody
    /// or of a domain. Whoever sends documents to this writes there then.
    pub fn grant_shared_tiers(mut self) -> Self {
        self.grant = true;
        self
    }

    /// Makes repeating this request safe; see
    /// [`Create::idempotency_key`](crate::Create::idempotency_key). What is
    /// remembered is the main record; its entities are told as they are.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency = Some(key.into());
        self
    }
}

impl<'a> IntoFuture for InsertWithEntities<'a> {
    type Output = Result<InsertedWithEntities, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        const WHAT: &str = "insert_with_entities";
        Box::pin(async move {
            let shared = &self.collection.shared;
            let id = shared.database.new_id();
            let insert = async {
                if let Some(error) = self.broken {
                    return Err(error);
                }
                self.attribution.check()?;
                let document = normal(self.document?)?;
                let mapped = mapped(self.collection, &self.mappings).await?;
                granted(&mapped, self.grant)?;
                let insertion = Insertion::new(
                    self.collection,
                    &id,
                    document,
                    &mapped,
                    &self.attribution,
                    self.idempotency,
                    false,
                )
                .await?;
                Box::pin(insertion.run()).await
            };
            let result = Box::pin(insert).await;
            shared.tell(&self.collection.scope, WHAT, &id, result).await
        })
    }
}

/// A record to be made with its entities.
pub(super) struct Insertion<'a> {
    pub(super) collection: &'a Collection,
    pub(super) id: &'a RecordId,
    /// As it was given.
    pub(super) document: Value,
    pub(super) canonical: Canonical,
    pub(super) mapped: &'a [Mapped],
    pub(super) wanted: Vec<Wanted<'a>>,
    pub(super) attribution: &'a Attribution,
    pub(super) idempotency: Option<xronox_store::IdempotencyKey>,
}

/// An entity that is to be: all that a document says under one key.
pub(super) struct Wanted<'a> {
    pub(super) mapped: &'a Mapped,
    pub(super) key: UniqueKey,
    pub(super) patches: Vec<Value>,
    pub(super) offered: Offered,
    /// Where it stands in the document.
    pub(super) places: Vec<Path>,
}

/// How an entity stands.
struct Standing {
    id: RecordId,
    /// `None` if there is none yet.
    now: Option<Expected>,
    /// What it is to become; `None` if it is that.
    becomes: Option<Canonical>,
}

impl<'a> Insertion<'a> {
    /// Checks all that can be checked before anything is written; of one that is
    /// `resumed`, only what is needed to go on: its main record is there.
    pub(super) async fn new(
        collection: &'a Collection,
        id: &'a RecordId,
        document: Value,
        mapped: &'a [Mapped],
        attribution: &'a Attribution,
        idempotency: Option<String>,
        resumed: bool,
    ) -> Result<Self, Error> {
        let Collection { shared, scope, .. } = collection;
        let veiled = shared.veils(scope);
        let known = files::Known::default();
        let canonical = if resumed {
            Canonical::unfinished(document.clone())?
        } else {
            let canonical = shared.rules.canonical(document.clone(), known, veiled)?;
            shared.may_write(scope, &canonical.document)?;
            shared.rules.demand(&canonical.document)?;
            scope.check(id, &canonical.document)?;
            canonical
        };
        let wanted = wanted(extract(&document, mapped, true)?, mapped)?;
        let idempotency = shared.idempotency(
            scope,
            idempotency,
            &json!([
                "insert_with_entities",
                canonical.sha256,
                mapped.iter().map(|one| &one.spelled).collect::<Vec<_>>(),
            ]),
        )?;
        let mut met = HashSet::new();
        for one in &wanted {
            let storage = Arc::as_ptr(one.mapped.storage()) as usize;
            if met.insert((
                storage,
                one.mapped.collection.name(),
                one.mapped.spec.name(),
            )) {
                let target = &one.mapped.collection;
                target
                    .ensure_key("insert_with_entities", &one.mapped.spec)
                    .await?;
            }
        }
        Ok(Self {
            collection,
            id,
            document,
            canonical,
            mapped,
            wanted,
            attribution,
            idempotency,
        })
    }

    async fn run(self) -> Result<InsertedWithEntities, Error> {
        if self.idempotency.is_some()
            && let Some(main) = self.collection.shared.remembered(&self.main()).await?
        {
            let results = Box::pin(self.as_they_are()).await?;
            return Ok(self.inserted(main, &results));
        }
        let mut ways = Vec::new();
        for tries in 0..MAX_TRIES {
            let standing = self.look().await?;
            if standing.iter().all(|one| one.becomes.is_none()) {
                let main = self.main();
                let shared = &self.collection.shared;
                let written = shared.write_whole(&main, &self.canonical).await;
                let main = shared.or_remembered(&main, written).await?;
                let results: Vec<_> = standing.iter().map(Standing::as_it_is).collect();
                return Ok(self.inserted(main, &results));
            }
            if !self.is_one_commit() {
                return Box::pin(super::saga::run(self)).await;
            }
            if tries > 0 && ways.is_empty() {
                // Others change them too, and wait from now on; what they were has
                // to be read again, this time for good.
                ways = self.ways(&standing).await;
                if !ways.is_empty() {
                    continue;
                }
            }
            if let Some((main, results)) = self.commit(standing).await? {
                return Ok(self.inserted(main, &results));
            }
        }
        Err(contended())
    }

    /// Whether all of it can be committed at once.
    fn is_one_commit(&self) -> bool {
        let own = &self.collection.shared.database;
        let here = |one: &Wanted<'_>| Arc::ptr_eq(one.mapped.storage(), own);
        own.catalog.capabilities().transactions && self.wanted.iter().all(here)
    }

    /// The write of the main record.
    pub(super) fn main(&self) -> Draft<'_> {
        Draft {
            id: self.id,
            op: Op::Create,
            expect: Expect::only(Presence::Absent),
            attribution: self.attribution,
            change: SystemChange::default(),
            idempotency: self.idempotency.clone(),
            skip_unchanged: false,
            offered: None,
            scope: &self.collection.scope,
        }
    }

    /// What is told of it; of an entity that is gone by now, nothing.
    pub(super) fn inserted(
        &self,
        main: Written,
        results: &[Option<EntityResult>],
    ) -> InsertedWithEntities {
        let each = self.wanted.iter().zip(results);
        let each = each.filter_map(|(one, result)| Some((one, result.as_ref()?)));
        let places = each.flat_map(|(one, result)| {
            let places = one.places.iter();
            places.map(|place| (place.clone(), result.clone()))
        });
        InsertedWithEntities {
            main_record_id: main.id.clone(),
            entity_results: places.collect(),
            main,
        }
    }

    /// What is told of the entities of a request that is repeated.
    pub(super) async fn as_they_are(&self) -> Result<Vec<Option<EntityResult>>, Error> {
        let asked = self.wanted.iter().map(|one| (one.mapped, &one.key));
        let rows = holders(&asked.collect::<Vec<_>>()).await?;
        let mut results = Vec::with_capacity(rows.len());
        for (one, row) in self.wanted.iter().zip(rows) {
            results.push(match row {
                None => None,
                Some(row) => {
                    let id = row.id.clone();
                    let now = one.holder(row).await?;
                    now.map(|now| entity_result(&id, now.ov, false, true))
                }
            });
        }
        Ok(results)
    }

    /// How each of the entities stands.
    async fn look<'s>(&'s self) -> Result<Vec<Standing>, Error> {
        let asked = self.wanted.iter().map(|one| (one.mapped, &one.key));
        let rows = holders(&asked.collect::<Vec<_>>()).await?;
        let look = |(one, row): (&'s Wanted<'_>, _)| one.look(row, self.attribution).boxed();
        let looks: Vec<BoxFuture<'s, _>> = self.wanted.iter().zip(rows).map(look).collect();
        let standing: Vec<Standing> = stream::iter(looks).buffered(ABREAST).try_collect().await?;
        let mut met: HashMap<_, &Wanted<'_>> = HashMap::new();
        for (one, standing) in self.wanted.iter().zip(&standing) {
            let storage = Arc::as_ptr(one.mapped.storage()) as usize;
            let record = (storage, one.mapped.collection.name(), &standing.id);
            if let Some(other) = met.insert(record, one) {
                let why = format!("is the same record as what is at `{}`", other.places[0]);
                return Err(Invalid::at(one.places[0].to_string(), why).into());
            }
        }
        Ok(standing)
    }

    /// Turns at the records that are to change, in one order for everybody.
    async fn ways(&self, standing: &[Standing]) -> Vec<Way> {
        let changing = self.wanted.iter().zip(standing);
        let changing = changing.filter(|(_, one)| one.becomes.is_some() && one.now.is_some());
        let mut places: Vec<_> = changing
            .map(|(one, standing)| {
                (
                    one.mapped.collection.name(),
                    &standing.id,
                    one.mapped.shared(),
                )
            })
            .collect();
        places.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
        let mut ways = Vec::with_capacity(places.len());
        for (_, id, shared) in places {
            ways.push(shared.turns.take(id).await);
        }
        ways
    }

    /// Commits all of it, unless something has changed since it was looked at.
    async fn commit(
        &self,
        standing: Vec<Standing>,
    ) -> Result<Option<(Written, Vec<Option<EntityResult>>)>, Error> {
        let mut batches = Batches::default();
        for (one, standing) in self.wanted.iter().zip(&standing) {
            if let Some(becomes) = &standing.becomes {
                let draft = one.draft(standing, self.attribution);
                let shared = &one.mapped.collection.shared;
                let key = Some(one.mapped.spec.name());
                let now = standing.now.as_ref();
                batches.add(shared, &draft, becomes, now, key).await?;
            }
        }
        let main = self.main();
        batches
            .add(&self.collection.shared, &main, &self.canonical, None, None)
            .await?;
        let own: HashSet<RecordId> = standing
            .iter()
            .map(|one| one.id.clone())
            .chain([self.id.clone()])
            .collect();
        let Some(mut written) = batches.commit(&own).await? else {
            return Ok(None);
        };
        let main = written.pop().ok_or_else(broken_off)?;
        let mut written = written.into_iter();
        let mut results = Vec::with_capacity(standing.len());
        for one in &standing {
            results.push(if one.becomes.is_none() {
                one.as_it_is()
            } else {
                let written = written.next().ok_or_else(broken_off)?;
                let created = one.now.is_none();
                Some(entity_result(
                    &written.id,
                    written.ov,
                    created,
                    written.unchanged,
                ))
            });
        }
        Ok(Some((main, results)))
    }
}

/// What was written of an entity.
pub(super) fn entity_result(
    id: &RecordId,
    ov: u64,
    created: bool,
    unchanged: bool,
) -> EntityResult {
    EntityResult {
        id: id.clone(),
        ov,
        operation: match (created, unchanged) {
            (true, _) => EntityOperation::Created,
            (false, true) => EntityOperation::Unchanged,
            (false, false) => EntityOperation::Updated,
        },
    }
}

/// What a document says of each entity, those of one key together.
fn wanted<'a>(entities: Vec<Entity>, mapped: &'a [Mapped]) -> Result<Vec<Wanted<'a>>, Error> {
    let mut wanted: Vec<Wanted<'a>> = Vec::new();
    let mut numbers: HashMap<_, usize> = HashMap::new();
    for entity in entities {
        let mapped = &mapped[entity.mapped];
        mapped
            .shared()
            .may_write(mapped.scope(), &entity.document)?;
        let storage = Arc::as_ptr(mapped.storage()) as usize;
        let of = (storage, mapped.collection.name(), entity.key.clone());
        let number = *numbers.entry(of).or_insert_with(|| {
            wanted.push(Wanted {
                mapped,
                key: entity.key,
                patches: Vec::new(),
                offered: Offered::default(),
                places: Vec::new(),
            });
            wanted.len() - 1
        });
        wanted[number].places.push(entity.place);
        wanted[number].patches.push(entity.document);
    }
    for one in &mut wanted {
        let place = one.places[0].clone();
        let offered = one.mapped.shared().rules.offered(&mut one.patches);
        one.offered = offered.map_err(|invalid| inside(&place, &invalid))?;
    }
    Ok(wanted)
}

/// What is wrong with an entity, as it stands in the document.
fn inside(place: &Path, invalid: &Invalid) -> Invalid {
    let at = match invalid.path() {
        "" => place.to_string(),
        inner => format!("{place}.{inner}"),
    };
    Invalid::at(at, invalid.message())
}

impl Wanted<'_> {
    /// The record that is to be, or what becomes of the one that is there.
    async fn look(
        &self,
        row: Option<VersionRow>,
        attribution: &Attribution,
    ) -> Result<Standing, Error> {
        let looked = Box::pin(self.looked(row, attribution)).await;
        looked.map_err(|error| self.about(error))
    }

    async fn looked(
        &self,
        row: Option<VersionRow>,
        attribution: &Attribution,
    ) -> Result<Standing, Error> {
        let shared = self.mapped.shared();
        let scope = self.mapped.scope();
        if let Some(row) = row
            && let (id, Some(now)) = (row.id.clone(), self.holder(row).await?)
        {
            let merge = |document: &mut Value| shared.merged(document, &self.patches);
            let standing = Standing {
                id,
                now: Some(now),
                becomes: None,
            };
            let draft = self.draft(&standing, attribution);
            let Some(now) = &standing.now else {
                return Ok(standing);
            };
            if !scope.admits(&standing.id, &now.document) {
                return Err(Error::new(
                    ErrorKind::AlreadyExists,
                    "a record that is not in the scope of this handle has this key",
                ));
            }
            let becomes = shared.changed(&draft, now, &merge)?;
            let same = becomes.sha256 == now.sha256 && becomes.files.are(&now.files);
            return Ok(Standing {
                becomes: (!same).then_some(becomes),
                ..standing
            });
        }
        let (first, rest) = self.patches.split_at(1);
        let mut document = first[0].clone();
        for patch in rest {
            xronox_model::enrich(&mut document, patch);
        }
        let known = files::Known::default().and(Some(&self.offered));
        let veiled = shared.veils(scope);
        let canonical = shared.rules.canonical(document, known, veiled)?;
        shared.rules.demand(&canonical.document)?;
        let id = shared.database.new_id();
        scope.check(&id, &canonical.document)?;
        Ok(Standing {
            id,
            now: None,
            becomes: Some(canonical),
        })
    }

    /// What a record is that had the key, if it still has.
    async fn holder(&self, row: VersionRow) -> Result<Option<Expected>, Error> {
        match self.mapped.shared().expected_of(row).await {
            Ok(now) => {
                let key = UniqueKey::of(&now.document, &self.mapped.spec)?;
                Ok((key.as_ref() == Some(&self.key)).then_some(now))
            }
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Deleted) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn draft<'d>(&'d self, standing: &'d Standing, attribution: &'d Attribution) -> Draft<'d> {
        let (op, expect) = match &standing.now {
            None => (Op::Create, Expect::only(Presence::Absent)),
            Some(now) => (
                Op::Enrich,
                Expect {
                    state: Presence::Live,
                    ov: None,
                    attempt: Some(now.attempt),
                },
            ),
        };
        Draft {
            id: &standing.id,
            op,
            expect,
            attribution,
            change: SystemChange::default(),
            idempotency: None,
            skip_unchanged: op == Op::Enrich,
            offered: Some(&self.offered),
            scope: self.mapped.scope(),
        }
    }

    /// An error about the entity, saying where it stands.
    pub(super) fn about(&self, error: Error) -> Error {
        let place = &self.places[0];
        match error.kind() {
            ErrorKind::Invalid if !error.places().is_empty() => {
                let places = error.places().iter();
                let places = places.map(|invalid| inside(place, invalid)).collect();
                Error::of_all(places).err().unwrap_or(error)
            }
            _ => error.inside(&format!("the entity at `{place}`")),
        }
    }
}

impl Standing {
    /// What is told of one that is not written, if there is one.
    fn as_it_is(&self) -> Option<EntityResult> {
        let now = self.now.as_ref()?;
        Some(entity_result(&self.id, now.ov, false, true))
    }
}

/// Mutations that are committed together.
#[derive(Default)]
struct Batches {
    parts: BTreeMap<CollectionName, (Arc<Shared>, Batch)>,
    /// Where each of them is, in the order in which they came, and the name of the
    /// index by which its record was looked for.
    order: Vec<(CollectionName, usize, Option<String>)>,
    /// When the first of their objects was put.
    put_at: Option<Instant>,
    /// The last of them.
    witness: Option<Witness>,
    /// Whether an index has come since the others were prepared.
    stale: bool,
}

impl Batches {
    async fn add(
        &mut self,
        shared: &Arc<Shared>,
        draft: &Draft<'_>,
        becomes: &Canonical,
        now: Option<&Expected>,
        key: Option<String>,
    ) -> Result<(), Error> {
        let indexes = shared.indexes().await?;
        let attempt = Storage::new_attempt();
        let ov = now.map_or(0, |now| now.ov + 1);
        let prepared = shared
            .prepare(becomes, &indexes, draft.id, ov, attempt)
            .await?;
        self.put_at = self.put_at.into_iter().chain(prepared.put_at).min();
        self.witness = Some(Witness {
            collection: shared.name.clone(),
            id: draft.id.clone(),
            attempt,
        });
        let mut mutation = shared.append_prepared(draft, attempt, prepared);
        if let Mutation::Append(append) = &mut mutation {
            append.group = Some(0);
        }
        let new = || {
            let batch = Batch {
                epoch: indexes.epoch,
                mutations: Vec::new(),
            };
            (Arc::clone(shared), batch)
        };
        let (_, batch) = self.parts.entry(shared.name.clone()).or_insert_with(new);
        self.stale |= batch.epoch != indexes.epoch;
        self.order
            .push((shared.name.clone(), batch.mutations.len(), key));
        batch.mutations.push(mutation);
        Ok(())
    }

    /// What was written, in the order in which they came; `None` if something
    /// was not as it was when this was prepared.
    async fn commit(self, own: &HashSet<RecordId>) -> Result<Option<Vec<Written>>, Error> {
        let Some(witness) = self.witness.filter(|_| !self.stale) else {
            return Ok(None);
        };
        let names: Vec<_> = self.parts.keys().cloned().collect();
        let shareds: Vec<_> = self
            .parts
            .values()
            .map(|(one, _)| Arc::clone(one))
            .collect();
        let parts = self.parts.into_values().collect();
        let outcomes = match commit_together(parts, self.put_at, witness).await {
            Ok(outcomes) => outcomes,
            Err(Trouble::Stale) => {
                for shared in shareds {
                    shared.refresh_indexes().await?;
                }
                return Ok(None);
            }
            Err(Trouble::PutAgain) => return Ok(None),
            Err(Trouble::Store(error)) => return Err(Error::shared(error)),
            Err(Trouble::Broken(all)) => {
                let told = all.into_iter().find_map(|known| match known {
                    Known::Untold(id, attempt) => Some(untold(id, attempt)),
                    Known::Committed(_) | Known::Nothing => None,
                });
                return Err(told.unwrap_or_else(broken_off));
            }
        };
        let of = |name: &CollectionName, n: usize| {
            let at = names.iter().position(|other| other == name)?;
            outcomes.get(at)?.get(n)
        };
        let mut again = false;
        let mut written = Vec::with_capacity(self.order.len());
        for (name, n, key) in &self.order {
            match of(name, *n).ok_or_else(broken_off)? {
                Outcome::Committed(commit) => written.push(Written::of(commit.clone(), false)),
                Outcome::Unchanged(commit) => written.push(Written::of(commit.clone(), true)),
                // Another member says why.
                Outcome::Refused(Refusal::Group) => again = true,
                Outcome::Refused(refusal) => match refusal {
                    Refusal::Overtaken
                    | Refusal::KeysNeeded
                    | Refusal::NotFound
                    | Refusal::Deleted => again = true,
                    // Somebody else made it meanwhile.
                    Refusal::Taken(taken)
                        if key.as_ref() == Some(&taken.index) && !own.contains(&taken.holder) =>
                    {
                        again = true;
                    }
                    refusal => return Err(refused(refusal.clone())),
                },
                Outcome::Done { .. } => return Err(broken_off()),
            }
        }
        Ok((!again).then_some(written))
    }
}

//! Bringing records in from elsewhere.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    time::Instant,
};

use futures::{StreamExt, stream};
use serde::Serialize;
use serde_json::Value;
use xronox_model::{Imported, IndexSpec, Invalid, Lineage, Op, Path, RecordId, UniqueKey};
use xronox_store::{Outcome, Refusal};

use crate::{
    Collection, Error, IntoDocument, Written,
    collection::Shared,
    engine::{
        attribution::{Attribution, attributed},
        bulk::{AHEAD, CHUNK, CHUNK_BYTES, CHUNKS_AHEAD, Item, MAX_TRIES},
        committer::Pending,
        draft::{contended, refused},
    },
};

/// Bytes of the documents of chunks under way.
const BYTES_AHEAD: usize = 8 * 1024 * 1024;

/// Brings records in from elsewhere, creating or updating as need be.
///
/// Made with [`Collection::import`]; begin with [`start`](Import::start).
#[derive(Debug)]
#[must_use = "an import does nothing before it is started"]
pub struct Import<'a> {
    collection: &'a Collection,
    key: Option<Path>,
    id: Option<Path>,
    created: Option<Path>,
    updated: Option<Path>,
    pub(crate) attribution: Attribution,
    pub(crate) broken: Option<Error>,
}

/// An import under way: [`add`](Importer::add) records, then
/// [`finish`](Importer::finish). Memory stays bounded however many there are.
///
/// Records are committed in the order in which they were added. Dropping it
/// keeps what is committed already, and commits what is queued.
#[derive(Debug)]
pub struct Importer<'a> {
    import: Import<'a>,
    chunk: Chunk,
    /// Keys of records that are queued but not yet committed.
    in_flight: HashMap<String, (RecordId, usize)>,
    waiting: VecDeque<Waiting>,
    report: ImportReport,
    added: u64,
}

/// What an import did. As JSON `{ created, updated, unchanged }`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ImportReport {
    /// Records that are new.
    pub created: u64,
    /// Records that have a new version.
    pub updated: u64,
    /// Records that were there just so.
    pub unchanged: u64,
}

impl ImportReport {
    /// All records.
    pub fn total(&self) -> u64 {
        self.created + self.updated + self.unchanged
    }
}

attributed!(Import);

impl Collection {
    /// Brings records in from elsewhere. See [`Import`].
    pub fn import(&self) -> Import<'_> {
        Import {
            collection: self,
            key: None,
            id: None,
            created: None,
            updated: None,
            attribution: Attribution::default(),
            broken: None,
        }
    }
}

impl<'a> Import<'a> {
    /// Makes this field a unique key of the collection: a record that has a
    /// key already held updates the holder, whose hidden fields stay as by
    /// [`update`](Collection::update). Records without the field are new.
    ///
    /// Every collection has the key `_id`: it names the record itself, and is
    /// the same as [`id_from`](Self::id_from) that field.
    pub fn key(mut self, field: Path) -> Self {
        self.key = Some(field);
        self
    }

    /// Takes the record's id from this field: text, or an integer in decimal.
    /// A record with the id of a live one updates it. The field stays in the
    /// document, unless it is `_id`.
    pub fn id_from(mut self, field: Path) -> Self {
        self.id = Some(field);
        self
    }

    /// Moves this field (an RFC 3339 time) to `_system.imported.createdAt`.
    pub fn created_from(mut self, field: Path) -> Self {
        self.created = Some(field);
        self
    }

    /// Moves this field (an RFC 3339 time) to `_system.imported.updatedAt`.
    pub fn updated_from(mut self, field: Path) -> Self {
        self.updated = Some(field);
        self
    }

    /// Begins the import; where it has a key, indexes what is there first.
    ///
    /// # Errors
    ///
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists) if two live records share
    /// a key already, [`Invalid`](crate::ErrorKind::Invalid) if the key is `_id` and
    /// the ids come from another field, [`Unavailable`](crate::ErrorKind::Unavailable).
    pub async fn start(mut self) -> Result<Importer<'a>, Error> {
        let shared = self.collection.whole("import")?;
        if let Some(error) = self.broken.take() {
            return Err(error.during(&shared.doing("import", None)));
        }
        self.attribution.check()?;
        // No document holds its id, so no unique key could be made of it.
        if let Some(ids) = self.key.take_if(|key| key.segments() == ["_id"])
            && *self.id.get_or_insert(ids.clone()) != ids
        {
            let why = "a record has one id: it is the key, or comes from another field";
            return Err(Error::from(Invalid::at("_id", why)).during(&shared.doing("import", None)));
        }
        if let Some(key) = &self.key {
            let sealed = self.collection.scope.is_sealed();
            shared
                .rules
                .view
                .path_allowed(key, "a key", sealed)
                .map_err(|e| Error::from(e).during(&shared.doing("import", None)))?;
            shared
                .ensure_index(&IndexSpec::unique(vec![key.clone()]))
                .await
                .map_err(|e| e.during(&shared.doing("import", None)))?;
        }
        let chunk = Chunk::new(shared);
        Ok(Importer {
            import: self,
            chunk,
            in_flight: HashMap::new(),
            waiting: VecDeque::new(),
            report: ImportReport::default(),
            added: 0,
        })
    }
}

/// An item of an import and the record that it is.
#[derive(Debug)]
struct Target {
    item: Item,
    id: RecordId,
    /// Whether the record is there already, or will be.
    known: bool,
    /// By what it is in flight.
    name: Option<String>,
}

/// What is prepared and queued together.
#[derive(Debug)]
struct Chunk {
    items: Vec<Item>,
    bytes: usize,
    most_items: usize,
}

impl Chunk {
    fn new(shared: &Shared) -> Self {
        Self {
            items: Vec::new(),
            bytes: 0,
            most_items: CHUNK.min(shared.committer().batch_rows()),
        }
    }

    /// Whether a document of this size is still to be part of it.
    fn takes(&self, bytes: usize) -> bool {
        self.items.is_empty()
            || (self.items.len() < self.most_items && self.bytes + bytes <= CHUNK_BYTES)
    }

    fn push(&mut self, item: Item) {
        self.bytes += item.document.bytes.len();
        self.items.push(item);
    }

    /// Empties it; gives the items and the bytes of their documents.
    fn take(&mut self) -> (Vec<Item>, usize) {
        (
            std::mem::take(&mut self.items),
            std::mem::take(&mut self.bytes),
        )
    }
}

/// A chunk that is queued.
#[derive(Debug)]
struct Waiting {
    /// Of its documents.
    bytes: usize,
    /// That of the indexes it was prepared for.
    epoch: u64,
    items: Vec<(Item, RecordId)>,
    names: Vec<String>,
    pending: Pending,
}

impl Importer<'_> {
    /// Adds a record. Waits while too many are under way.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) naming the field and the position of
    /// the record (from 1), or whatever refused an earlier one. What was added
    /// before is or will be committed.
    pub async fn add(&mut self, document: impl IntoDocument) -> Result<(), Error> {
        self.added += 1;
        let position = self.added;
        let item = document
            .into_document()
            .and_then(|document| self.item(position, document));
        let item = item.map_err(|e| self.at(e, position))?;
        let flushed = if self.chunk.takes(item.document.bytes.len()) {
            Ok(())
        } else {
            self.flush().await
        };
        self.chunk.push(item);
        flushed
    }

    /// What has been committed so far.
    pub fn report(&self) -> ImportReport {
        self.report
    }

    /// Commits the rest and gives the sum.
    ///
    /// # Errors
    ///
    /// Whatever refused a record, the first one if several; the others are
    /// committed, and [`report`](Self::report) counts them.
    pub async fn finish(&mut self) -> Result<ImportReport, Error> {
        let mut refused = self.flush().await.err();
        while !self.waiting.is_empty() {
            refused = refused.or(self.take().await.err());
        }
        match refused {
            Some(error) => Err(error),
            None => Ok(self.report),
        }
    }

    fn shared(&self) -> &Shared {
        &self.import.collection.shared
    }

    fn at(&self, error: Error, position: u64) -> Error {
        error
            .at_position(position)
            .during(&self.shared().doing("import", None))
    }

    fn item(&self, position: u64, mut document: Value) -> Result<Item, Error> {
        let import = &self.import;
        let id = match &import.id {
            None => None,
            Some(path) => Some(id_at(&document, path)?),
        };
        let mut time = |path: &Option<Path>| -> Result<Option<xronox_model::Timestamp>, Error> {
            let Some(path) = path else { return Ok(None) };
            match take_at(&mut document, path) {
                None | Some(Value::Null) => Ok(None),
                Some(Value::String(text)) => text
                    .parse()
                    .map(Some)
                    .map_err(|e: Invalid| Invalid::at(path.to_string(), e.message()).into()),
                Some(_) => Err(Invalid::at(path.to_string(), "not a time").into()),
            }
        };
        let created_at = time(&import.created)?;
        let updated_at = time(&import.updated)?;
        let Collection { shared, scope, .. } = import.collection;
        shared.may_write(scope, &document)?;
        let imported = (created_at.is_some() || updated_at.is_some()).then_some(Imported {
            created_at,
            updated_at,
        });
        Ok(Item {
            position,
            id,
            document: shared.taken(document)?,
            lineage: Lineage::default(),
            imported,
            veiled: shared.veils(scope),
        })
    }

    /// Whether the chunk has to wait for those before it.
    fn is_far_ahead(&self) -> bool {
        let ahead: usize = self.waiting.iter().map(|waiting| waiting.bytes).sum();
        self.waiting.len() >= CHUNKS_AHEAD
            || (!self.waiting.is_empty() && ahead + self.chunk.bytes > BYTES_AHEAD)
    }

    /// Queues the chunk.
    async fn flush(&mut self) -> Result<(), Error> {
        if self.chunk.items.is_empty() {
            return Ok(());
        }
        while self.is_far_ahead() {
            self.take().await?;
        }
        let shared = std::sync::Arc::clone(&self.import.collection.shared);
        // What a record keeps of what it is can only be known once those before it
        // are committed.
        while shared.keeps() && !self.waiting.is_empty() {
            self.take().await?;
        }
        let indexes = shared.indexes().await?;
        // What was queued for other indexes will be refused and queued again,
        // and must not come behind what is newer.
        while self
            .waiting
            .front()
            .is_some_and(|waiting| waiting.epoch != indexes.epoch)
        {
            self.take().await?;
        }
        let (chunk, bytes) = self.chunk.take();
        // A record that is refused here leaves its neighbours alone.
        let mut refused = None;
        let mut targets = self.targets(chunk, &mut refused).await;
        let repeated = if shared.keeps() {
            take_repeated(&mut targets)
        } else {
            Vec::new()
        };
        let import = &self.import;
        let mut prepared = stream::iter(targets)
            .map(async |target| {
                let Target {
                    item, id, known, ..
                } = &target;
                let made = shared
                    .bulk_mutation(&import.attribution, item, id, *known, &indexes)
                    .await;
                (target, made)
            })
            .buffered(AHEAD);
        let mut mutations = Vec::new();
        let mut items = Vec::new();
        let mut names = Vec::new();
        let mut unmade = Vec::new();
        let mut put_at: Option<Instant> = None;
        while let Some((target, made)) = prepared.next().await {
            match made {
                Ok((mutation, put)) => {
                    put_at = put_at.or(put);
                    mutations.push(mutation);
                    names.extend(target.name);
                    items.push((target.item, target.id));
                }
                Err(error) => {
                    refused = refused.or(Some(self.at(error, target.item.position)));
                    unmade.extend(target.name);
                }
            }
        }
        drop(prepared);
        self.land(unmade);
        let pending = shared
            .committer()
            .submit(indexes.epoch, mutations, put_at)
            .await?;
        self.waiting.push_back(Waiting {
            bytes,
            epoch: indexes.epoch,
            items,
            names,
            pending,
        });
        if !repeated.is_empty() {
            refused = refused.or(self.take().await.err());
        }
        for target in repeated {
            self.land(target.name.into_iter().collect());
            refused = refused.or(self.alone(target.item).await.err());
        }
        refused.map_or(Ok(()), Err)
    }

    /// Which record each item of a chunk is. Their keys are in flight from now on.
    async fn targets(&mut self, chunk: Vec<Item>, refused: &mut Option<Error>) -> Vec<Target> {
        let spec = self.import.key.clone();
        let spec = spec.map(|key| IndexSpec::unique(vec![key]));
        let mut named = Vec::with_capacity(chunk.len());
        let mut wanted = BTreeMap::new();
        for item in chunk {
            let key = match unique_key(&item, spec.as_ref()) {
                Ok(key) => key,
                Err(error) => {
                    *refused = refused.take().or(Some(self.at(error, item.position)));
                    continue;
                }
            };
            let name = match (&key, &item.id) {
                (Some(key), _) => Some(key.key.clone()),
                (None, Some(id)) => Some(format!("id {id}")),
                (None, None) => None,
            };
            if let Some(name) = name
                .as_ref()
                .filter(|name| !self.in_flight.contains_key(*name))
            {
                let known = (key, item.id.clone(), item.position);
                wanted.entry(name.clone()).or_insert(known);
            }
            named.push((item, name));
        }
        let this = &*self;
        let found: Vec<_> = stream::iter(wanted)
            .map(async |(name, (key, id, position))| {
                let found = this.target(key.as_ref(), id.as_ref()).await;
                (name, found.map_err(|e| this.at(e, position)))
            })
            .buffer_unordered(AHEAD)
            .collect()
            .await;
        let mut known = HashMap::new();
        for (name, found) in found {
            match found {
                Ok(found) => {
                    known.insert(name, found);
                }
                Err(error) => *refused = refused.take().or(Some(error)),
            }
        }
        let mut targets = Vec::with_capacity(named.len());
        for (item, name) in named {
            let Some(name) = name else {
                let id = self.shared().database.new_id();
                let known = false;
                targets.push(Target {
                    item,
                    id,
                    known,
                    name,
                });
                continue;
            };
            let (id, there) = match (self.in_flight.get(&name), known.get(&name)) {
                (Some((id, _)), _) => (id.clone(), true),
                (None, Some((id, there))) => (id.clone(), *there),
                // It could not be looked up, and the error is noted.
                (None, None) => continue,
            };
            let flight = self.in_flight.entry(name.clone());
            flight.or_insert((id.clone(), 0)).1 += 1;
            targets.push(Target {
                item,
                id,
                known: there,
                name: Some(name),
            });
        }
        targets
    }

    /// These keys are no longer in flight, each as often as it is named.
    fn land(&mut self, names: Vec<String>) {
        for name in names {
            if let Some((_, count)) = self.in_flight.get_mut(&name) {
                *count -= 1;
                if *count == 0 {
                    self.in_flight.remove(&name);
                }
            }
        }
    }

    /// The record that the catalog has under a key or an id, or a new one, and
    /// whether it is there already.
    async fn target(
        &self,
        key: Option<&UniqueKey>,
        id: Option<&RecordId>,
    ) -> Result<(RecordId, bool), Error> {
        let shared = self.shared();
        let catalog = &shared.database.catalog;
        if let Some(key) = key
            && let Some(holder) = catalog.lookup_unique(&shared.name, key).await?
        {
            return Ok((holder, true));
        }
        let Some(id) = id else {
            return Ok((shared.database.new_id(), false));
        };
        let head = catalog
            .head(&shared.name, id, xronox_store::Bodies::Omit)
            .await?;
        let known = head.is_some_and(|head| head.op != Op::Purge);
        Ok((id.clone(), known))
    }

    /// Counts a chunk's outcomes; what others came between is tried again.
    async fn take(&mut self) -> Result<(), Error> {
        let Some(waiting) = self.waiting.pop_front() else {
            return Ok(());
        };
        let Waiting {
            items,
            names,
            pending,
            ..
        } = waiting;
        let shared = std::sync::Arc::clone(&self.import.collection.shared);
        let answer = pending.answer().await;
        let outcomes = shared.sort_each(answer, items.len()).await;
        self.land(names);
        let mut again = Vec::new();
        let mut refused = None;
        match outcomes? {
            None => again = items,
            Some(outcomes) => {
                for ((item, id), outcome) in items.into_iter().zip(outcomes) {
                    match outcome {
                        Ok(Outcome::Committed(commit)) => self.count(&Written::of(commit, false)),
                        Ok(Outcome::Unchanged(commit)) => self.count(&Written::of(commit, true)),
                        Ok(Outcome::Refused(_)) => again.push((item, id)),
                        Ok(Outcome::Done { .. }) => {}
                        Err(error) => {
                            refused = refused.or(Some(self.at(error, item.position)));
                        }
                    }
                }
            }
        }
        for (item, _) in again {
            refused = refused.or(self.alone(item).await.err());
        }
        refused.map_or(Ok(()), Err)
    }

    /// Writes one record by itself, and counts it.
    async fn alone(&mut self, item: Item) -> Result<(), Error> {
        let position = item.position;
        let written = Box::pin(self.one(item)).await;
        let written = written.map_err(|e| self.at(e, position))?;
        self.count(&written);
        Ok(())
    }

    fn count(&mut self, written: &Written) {
        match (written.unchanged, written.op) {
            (true, _) => self.report.unchanged += 1,
            (false, Op::Create) => self.report.created += 1,
            (false, _) => self.report.updated += 1,
        }
    }

    /// Writes one record by itself, finding out each time what it is now: from
    /// the catalog alone, since what is in flight may be refused as well.
    async fn one(&self, item: Item) -> Result<Written, Error> {
        let shared = self.shared();
        let spec = self
            .import
            .key
            .clone()
            .map(|key| IndexSpec::unique(vec![key]));
        let key = unique_key(&item, spec.as_ref())?;
        let mut last = None;
        for _ in 0..MAX_TRIES {
            let indexes = shared.indexes().await?;
            let (id, known) = self.target(key.as_ref(), item.id.as_ref()).await?;
            let (mutation, put_at) = shared
                .bulk_mutation(&self.import.attribution, &item, &id, known, &indexes)
                .await?;
            let committer = shared.committer();
            let pending = committer
                .submit(indexes.epoch, vec![mutation], put_at)
                .await?;
            let Some(outcomes) = shared.sort_out(pending.answer().await).await? else {
                continue;
            };
            match outcomes.into_iter().next() {
                Some(Outcome::Committed(commit)) => return Ok(Written::of(commit, false)),
                Some(Outcome::Unchanged(commit)) => return Ok(Written::of(commit, true)),
                // Somebody was faster: the record is there now, or gone.
                Some(Outcome::Refused(
                    refusal @ (Refusal::AlreadyExists | Refusal::Taken(_) | Refusal::NotFound),
                )) => last = Some(refusal),
                Some(Outcome::Refused(Refusal::Overtaken) | Outcome::Done { .. }) | None => {}
                Some(Outcome::Refused(refusal)) => return Err(refused(refusal)),
            }
        }
        Err(last.map_or_else(contended, refused))
    }
}

/// Takes out those that are not the first to name their record.
fn take_repeated(targets: &mut Vec<Target>) -> Vec<Target> {
    let mut met = HashSet::new();
    let repeated = |target: &mut Target| {
        let name = target.name.clone();
        name.is_some_and(|name| !met.insert(name))
    };
    targets.extract_if(.., repeated).collect()
}

fn unique_key(item: &Item, spec: Option<&IndexSpec>) -> Result<Option<UniqueKey>, Error> {
    match spec {
        Some(spec) => Ok(UniqueKey::of(&item.document.document, spec)?),
        None => Ok(None),
    }
}

fn id_at(document: &Value, path: &Path) -> Result<RecordId, Error> {
    let found = path
        .segments()
        .iter()
        .try_fold(document, |at, segment| at.get(segment));
    match found {
        Some(Value::String(text)) => Ok(text
            .parse()
            .map_err(|e: Invalid| Invalid::at(path.to_string(), e.message()))?),
        Some(Value::Number(n)) if n.is_i64() || n.is_u64() => Ok(n.to_string().parse()?),
        Some(Value::Object(object)) if object.len() == 1 => match object.get("$oid") {
            Some(Value::String(text)) => Ok(text.parse()?),
            _ => Err(Invalid::at(path.to_string(), "not an id").into()),
        },
        _ => Err(Invalid::at(path.to_string(), "not an id").into()),
    }
}

/// Takes a property out of a document.
fn take_at(document: &mut Value, path: &Path) -> Option<Value> {
    let (last, parents) = path.segments().split_last()?;
    let parent = parents
        .iter()
        .try_fold(document, |at, segment| at.get_mut(segment))?;
    parent.as_object_mut()?.remove(last)
}

//! The indexes of a collection as this process knows them, and how they are made.
//!
//! An index is declared first, so that every later commit carries its keys;
//! then the rows from before are filled; then it is ready. Each step may be
//! repeated by anybody at any time, so whoever finds an index that was left
//! half made goes on with it.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use serde_json::Value;
use xronox_model::{
    CollectionName, Direction, FieldKeys, IndexKeys, IndexSpec, Invalid, Path, RecordId, UniqueKey,
    VersionRow, alias_of,
};
use xronox_store::{
    Access, Bodies, Find, Index, Indexes, StoreError, Taken, ruling::always_indexed,
};

use crate::{
    Collection, Error, ErrorKind, IntoPath,
    collection::Shared,
    database::Database,
    engine::{
        query::body::{READ_AHEAD, Stretch, read_body},
        record::parse,
    },
};

/// So many indexes of one field a collection may have before queries stop
/// adding to them.
const MAX_ON_USE: usize = 32;
/// A collection with no more commits than this is filled while the query waits.
const MAX_WAITED_FOR: u64 = 10_000;
/// A path longer than this is a mistake, and no index is made of it unasked.
const MAX_PATH_ON_USE: usize = 256;
/// Keys of long arrays are handed over before they fill the memory.
const MAX_KEYS_HELD: usize = 20_000;
/// How often to ask whether another process has made an index that is missed.
const ASKED_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// How often an index is begun again that another process removes meanwhile.
const MAX_TRIES: usize = 3;

/// What this process knows of the indexes of a collection.
#[derive(Debug, Default)]
pub(crate) struct IndexState(Arc<State>);

#[derive(Debug, Default)]
struct State {
    known: Mutex<Option<Arc<Indexes>>>,
    /// Whether the configured indexes have been declared.
    declared: AtomicBool,
    declaring: tokio::sync::Mutex<()>,
    /// Held while an index is made, so that a second one who wants it waits
    /// instead of doing the same work.
    making: tokio::sync::Mutex<()>,
    /// Fields that a task in the background fills or will fill.
    under_way: Mutex<BTreeSet<Path>>,
    /// Fields whose index could not be made: queries go without.
    given_up: Mutex<BTreeSet<Path>>,
    /// Fields that hold arrays in some records.
    multi: Mutex<BTreeSet<Path>>,
    /// When it was last asked whether others have made an index.
    asked: Mutex<Option<Instant>>,
}

impl IndexState {
    /// Whether the field is known to hold arrays in some records.
    pub(crate) fn is_multi(&self, field: &Path) -> bool {
        self.0.multi.lock().contains(field)
    }

    /// Remembers that the field holds arrays in some records; gives whether
    /// that is news.
    pub(crate) fn remember_multi(&self, field: &Path) -> bool {
        self.0.multi.lock().insert(field.clone())
    }
}

impl State {
    fn known(&self) -> Option<Arc<Indexes>> {
        self.known.lock().clone()
    }

    /// Whether it is time to ask for the indexes that others have made.
    fn may_ask(&self) -> bool {
        let mut asked = self.asked.lock();
        let may = asked.is_none_or(|asked| asked.elapsed() > ASKED_AGAIN_AFTER);
        if may {
            *asked = Some(Instant::now());
        }
        may
    }

    fn remember(&self, mut fresh: Indexes) -> Arc<Indexes> {
        let mut known = self.known.lock();
        if let Some(known) = known.as_deref().filter(|known| known.epoch == fresh.epoch) {
            // An index never stops being ready without a new epoch, so of two
            // answers that crossed the readier one is the later.
            for index in &mut fresh.list {
                index.ready |= known.list.iter().any(|other| other.ready && other.spec == index.spec);
            }
        }
        let fresh = Arc::new(fresh);
        *known = Some(Arc::clone(&fresh));
        fresh
    }
}

/// What an index is worth making of.
enum Wanted {
    Make,
    /// Every collection serves it.
    Always,
}

fn wanted(spec: &IndexSpec) -> Result<Wanted, Invalid> {
    let is_id = |field: &Path| field.segments() == ["_id"];
    if spec.fields.is_empty() {
        return Err(Invalid::at("fields", "an index needs a field"));
    }
    // Ids are unique by themselves, with or without further fields.
    if spec.fields.iter().any(is_id) {
        return Ok(Wanted::Always);
    }
    for field in &spec.fields {
        if field.root() == "_id" || (spec.unique && field.root() == "_system") {
            return Err(Invalid::at(field.to_string(), "no index can be made of this field"));
        }
    }
    match spec.fields.as_slice() {
        [field] if always_indexed(field) => Ok(Wanted::Always),
        _ => Ok(Wanted::Make),
    }
}

/// Whether an index serves the field now.
pub(crate) fn serves(indexes: &Indexes, field: &Path) -> bool {
    always_indexed(field) || indexes.of_field(field).is_some_and(|index| index.ready)
}

impl Collection {
    /// Makes an index of a property, such as `address.city`, and waits until
    /// it is filled. An index that is there already is left as it is; a
    /// field of `_system` is a property like any other.
    ///
    /// Reads and writes go on meanwhile. An interrupted call is taken up by
    /// the next one.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) if the path is none,
    /// [`Corrupt`](ErrorKind::Corrupt) if a stored document is damaged,
    /// [`Unavailable`](ErrorKind::Unavailable).
    pub async fn ensure_index(&self, path: impl IntoPath) -> Result<(), Error> {
        let doing = self.shared.doing("ensure_index", None);
        let made = async {
            let spec = IndexSpec::field(path.into_path()?);
            self.shared.ensure_index(&spec).await
        };
        made.await.map_err(|e| e.during(&doing))
    }

    /// Makes these properties together a unique key, and waits until every
    /// live record is checked. Records that lack one of them, or where one is
    /// null, are not bound by it.
    ///
    /// # Errors
    ///
    /// [`AlreadyExists`](ErrorKind::AlreadyExists), naming both records, if
    /// two live ones share a key (there is no such index then),
    /// [`Invalid`](ErrorKind::Invalid) if one of the fields holds an array
    /// somewhere or is too long, and as [`ensure_index`](Self::ensure_index).
    pub async fn ensure_unique<I>(&self, paths: I) -> Result<(), Error>
    where
        I: IntoIterator,
        I::Item: IntoPath,
    {
        let doing = self.shared.doing("ensure_unique", None);
        let fields: Result<Vec<Path>, Error> = paths.into_iter().map(IntoPath::into_path).collect();
        let made = async {
            let spec = IndexSpec::unique(fields?);
            self.shared.ensure_index(&spec).await
        };
        made.await.map_err(|e| e.during(&doing))
    }
}

impl Shared {
    fn maker(&self) -> Maker {
        Maker {
            database: Arc::clone(&self.database),
            name: self.name.clone(),
            state: Arc::clone(&self.indexes.0),
        }
    }

    /// The indexes of the collection. The first call declares those that the
    /// configuration names.
    pub(crate) async fn indexes(&self) -> Result<Arc<Indexes>, Error> {
        let state = &self.indexes.0;
        if state.declared.load(Ordering::Acquire)
            && let Some(known) = state.known()
        {
            return Ok(known);
        }
        let _turn = state.declaring.lock().await;
        match state.known().filter(|_| state.declared.load(Ordering::Acquire)) {
            Some(known) => Ok(known),
            None => self.declare().await,
        }
    }

    /// The indexes as they are now, after somebody found them changed.
    pub(crate) async fn refresh_indexes(&self) -> Result<Arc<Indexes>, Error> {
        let _turn = self.indexes.0.declaring.lock().await;
        self.declare().await
    }

    async fn declare(&self) -> Result<Arc<Indexes>, Error> {
        let maker = self.maker();
        let mut indexes = maker.fresh().await?;
        let (mut fields, mut uniques) = (Vec::new(), Vec::new());
        for spec in &self.rules.declared {
            if matches!(wanted(spec)?, Wanted::Always) {
                continue;
            }
            let name = spec.name();
            if indexes.get(&name).is_none() {
                indexes = maker.database.catalog.add_index(&maker.name, spec).await?;
            }
            if indexes.get(&name).is_some_and(|index| !index.ready) {
                if spec.unique {
                    uniques.push(spec);
                } else {
                    fields.extend(spec.fields.iter().cloned());
                }
            }
        }
        self.indexes.0.remember(indexes);
        // What is not yet checked to be unique must not be relied on to be.
        for spec in uniques {
            maker.make_unique(spec).await?;
        }
        maker.make_by_and_by(fields).await?;
        self.indexes.0.declared.store(true, Ordering::Release);
        match self.indexes.0.known() {
            Some(known) => Ok(known),
            None => Ok(self.indexes.0.remember(maker.fresh().await?)),
        }
    }

    /// Makes an index, unless it is there already.
    pub(crate) async fn ensure_index(&self, spec: &IndexSpec) -> Result<(), Error> {
        if matches!(wanted(spec)?, Wanted::Always) {
            return Ok(());
        }
        let ready = |index: &Index| index.ready;
        if self.indexes().await?.get(&spec.name()).is_some_and(ready) {
            return Ok(());
        }
        let maker = self.maker();
        if spec.unique {
            return maker.make_unique(spec).await;
        }
        self.indexes.0.given_up.lock().retain(|field| !spec.fields.contains(field));
        maker.make(&spec.fields).await
    }

    /// The indexes for a query that filters or sorts by these fields: those
    /// that are made on use are, or are begun with.
    pub(crate) async fn indexes_for(
        &self,
        fields: &BTreeSet<Path>,
    ) -> Result<Arc<Indexes>, Error> {
        let mut indexes = self.indexes().await?;
        if !fields.iter().all(|field| serves(&indexes, field)) && self.indexes.0.may_ask() {
            indexes = self.refresh_indexes().await?;
        }
        let mut room = MAX_ON_USE.saturating_sub(
            indexes.list.iter().filter(|index| !index.spec.unique).count(),
        );
        let mut lacking = Vec::new();
        for field in fields {
            if serves(&indexes, field) {
                continue;
            }
            if indexes.of_field(field).is_some() {
                lacking.push(field.clone());
            } else if room > 0 && self.is_made_on_use(field) {
                room -= 1;
                lacking.push(field.clone());
            }
        }
        if lacking.is_empty() {
            return Ok(indexes);
        }
        // A collection without records is not written to for a query's sake.
        if self.database.catalog.newest(&self.name).await?.is_none() {
            return Ok(indexes);
        }
        self.maker().make_by_and_by(lacking).await?;
        self.indexes().await
    }

    fn is_made_on_use(&self, field: &Path) -> bool {
        let of_the_system = field.root() == "_system" || alias_of(field).is_some();
        (self.rules.index_on_use || of_the_system)
            && field.root() != "_id"
            && field.to_string().len() <= MAX_PATH_ON_USE
    }
}

/// Makes indexes, also when nobody waits for them.
#[derive(Debug, Clone)]
struct Maker {
    database: Arc<Database>,
    name: CollectionName,
    state: Arc<State>,
}

impl Maker {
    async fn fresh(&self) -> Result<Indexes, Error> {
        Ok(self.database.catalog.indexes(&self.name).await?)
    }

    /// Makes indexes now if the collection is small, else in the background.
    /// Indexes that cannot be made are no error: queries go without.
    async fn make_by_and_by(&self, mut fields: Vec<Path>) -> Result<(), Error> {
        fields.retain(|field| !self.state.given_up.lock().contains(field));
        if fields.is_empty() {
            return Ok(());
        }
        let newest = self.database.catalog.newest(&self.name).await?;
        if newest.is_none_or(|newest| newest.cv < MAX_WAITED_FOR) {
            let made = self.make(&fields).await;
            return made.or_else(|error| self.give_up(&fields, error));
        }
        let begun: Vec<Path> = {
            let mut under_way = self.state.under_way.lock();
            fields.into_iter().filter(|field| under_way.insert(field.clone())).collect()
        };
        if begun.is_empty() {
            return Ok(());
        }
        let maker = self.clone();
        tokio::spawn(async move {
            let made = maker.make(&begun).await;
            if let Err(error) = made.or_else(|error| maker.give_up(&begun, error)) {
                tracing::debug!(collection = %maker.name, %error, "an index is left for later");
            }
            maker.state.under_way.lock().retain(|field| !begun.contains(field));
        });
        Ok(())
    }

    fn give_up(&self, fields: &[Path], error: Error) -> Result<(), Error> {
        if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Closed) {
            return Err(error);
        }
        tracing::warn!(collection = %self.name, ?fields, %error, "no index could be made");
        self.state.given_up.lock().extend(fields.iter().cloned());
        Ok(())
    }

    /// Declares, fills and opens the indexes of these fields.
    async fn make(&self, fields: &[Path]) -> Result<(), Error> {
        let _turn = self.state.making.lock().await;
        let catalog = &self.database.catalog;
        let mut indexes = self.fresh().await?;
        for field in fields {
            if indexes.of_field(field).is_none() {
                indexes = catalog.add_index(&self.name, &IndexSpec::field(field.clone())).await?;
            }
        }
        let lacking = |field: &&Path| !indexes.of_field(field).is_some_and(|index| index.ready);
        let lacking: Vec<Path> = fields.iter().filter(lacking).cloned().collect();
        self.state.remember(indexes);
        if lacking.is_empty() {
            return Ok(());
        }
        self.fill(&lacking).await?;
        for field in lacking {
            let name = IndexSpec::field(field).name();
            let indexes = catalog.index_ready(&self.name, &name).await?;
            self.state.remember(indexes);
        }
        Ok(())
    }

    /// Adds keys to the rows from before the indexes were declared, in the
    /// order of the commits.
    async fn fill(&self, fields: &[Path]) -> Result<(), Error> {
        let catalog = &self.database.catalog;
        let Some(until) = catalog.newest(&self.name).await?.map(|newest| newest.cv) else {
            return Ok(());
        };
        let mut from = 0;
        let mut stretch = Stretch::starting(64, 500);
        while from <= until {
            let rows = catalog.rows(&self.name, from, stretch.rows(), Bodies::Inline).await?;
            let Some(last) = rows.last() else { break };
            from = last.cv + 1;
            stretch.saw(&rows);
            let mut keyed = stream::iter(rows.into_iter().map(|row| self.keys_lacking(row, fields)))
                .buffered(READ_AHEAD);
            let mut gathered = Gathered::new(fields.len());
            while let Some((cv, keys)) = keyed.try_next().await? {
                gathered.add(cv, keys);
                if gathered.held > MAX_KEYS_HELD {
                    self.hand_over(&mut gathered, fields).await?;
                }
            }
            self.hand_over(&mut gathered, fields).await?;
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn hand_over(&self, gathered: &mut Gathered, fields: &[Path]) -> Result<(), Error> {
        for (field, rows) in fields.iter().zip(&mut gathered.rows) {
            if !rows.is_empty() {
                let rows = std::mem::take(rows);
                self.database.catalog.fill_index(&self.name, field, rows).await?;
            }
        }
        gathered.held = 0;
        Ok(())
    }

    /// The keys of those fields that a row has none of yet.
    async fn keys_lacking(
        &self,
        row: VersionRow,
        fields: &[Path],
    ) -> Result<(u64, Vec<Option<FieldKeys>>), Error> {
        let cv = row.cv;
        let none = || (cv, fields.iter().map(|_| None).collect());
        let lacks = |field: &&Path| row.keys.get(field).is_none();
        if row.body.is_none() || !fields.iter().any(|field| lacks(&field)) {
            return Ok(none());
        }
        let of_body = |field: &Path| field.root() != "_system";
        let (row, document) = if fields.iter().filter(lacks).any(of_body) {
            match read_body(&self.database, &self.name, row).await? {
                Some((row, bytes)) => (row, parse(&bytes)?),
                // It was removed meanwhile.
                None => return Ok(none()),
            }
        } else {
            (row, Value::Null)
        };
        let mut keys = IndexKeys::of_body(&document, fields);
        for (field, of_system) in row.system_keys(fields).iter() {
            if keys.get(field).is_none() {
                keys.insert(field.clone(), of_system.clone());
            }
        }
        let lacking = fields.iter().map(|field| {
            let lacks = row.keys.get(field).is_none();
            keys.get(field).filter(|_| lacks).cloned()
        });
        Ok((cv, lacking.collect()))
    }

    /// Declares, fills and opens a unique index.
    async fn make_unique(&self, spec: &IndexSpec) -> Result<(), Error> {
        let _turn = self.state.making.lock().await;
        let catalog = &self.database.catalog;
        let name = spec.name();
        let mut tries = 0;
        loop {
            let indexes = catalog.add_index(&self.name, spec).await?;
            if self.state.remember(indexes).get(&name).is_some_and(|index| index.ready) {
                return Ok(());
            }
            tries += 1;
            let made = match self.reserve(spec).await {
                Ok(()) => catalog.index_ready(&self.name, &name).await.map_err(Failure::Store),
                Err(failure) => Err(failure),
            };
            match made {
                Ok(indexes) => {
                    self.state.remember(indexes);
                    return Ok(());
                }
                // Another process found it impossible and has removed it: see
                // for ourselves why.
                Err(Failure::Store(StoreError::Refused(_))) if tries < MAX_TRIES => {}
                Err(Failure::Store(error)) => return Err(error.into()),
                Err(Failure::Other(error)) => return Err(error),
                Err(Failure::Impossible(error)) => {
                    catalog.drop_index(&self.name, &name).await?;
                    self.state.remember(self.fresh().await?);
                    return Err(error);
                }
            }
        }
    }

    /// Gives every live record its unique key.
    async fn reserve(&self, spec: &IndexSpec) -> Result<(), Failure> {
        let catalog = &self.database.catalog;
        let mut stretch = Stretch::starting(64, 500);
        let mut after = None;
        loop {
            let find = Find {
                cut: None,
                access: Access::All,
                direction: Direction::Ascending,
                also: Vec::new(),
                after,
                limit: stretch.rows(),
                bodies: Bodies::Inline,
            };
            let found = catalog.find(&self.name, &find).await.map_err(Failure::Store)?;
            stretch.saw(found.rows.iter().map(|(_, row)| row));
            let rows = found.rows.into_iter().map(|(_, row)| self.unique_key(row, spec));
            let keys: Vec<Option<_>> = stream::iter(rows).buffered(READ_AHEAD).try_collect().await?;
            let keys = keys.into_iter().flatten().collect();
            let taken = catalog.fill_unique(&self.name, keys).await.map_err(Failure::Store)?;
            if let Some(taken) = taken.into_iter().next() {
                return Err(Failure::Impossible(not_unique(spec, &taken)));
            }
            after = found.next;
            if after.is_none() {
                return Ok(());
            }
            tokio::task::yield_now().await;
        }
    }

    async fn unique_key(
        &self,
        row: VersionRow,
        spec: &IndexSpec,
    ) -> Result<Option<(RecordId, u64, UniqueKey)>, Failure> {
        if !row.live() {
            return Ok(None);
        }
        let read = read_body(&self.database, &self.name, row).await;
        let Some((row, bytes)) = read.map_err(Failure::Other)? else {
            return Ok(None);
        };
        let document = parse(&bytes).map_err(Failure::Other)?;
        match UniqueKey::of(&document, spec) {
            Ok(key) => Ok(key.map(|key| (row.id, row.ov, key))),
            Err(invalid) => {
                let why = format!("{} (in {})", invalid.message(), row.id);
                Err(Failure::Impossible(Invalid::at(invalid.path(), why).into()))
            }
        }
    }
}

/// Why a unique index was not made.
enum Failure {
    Store(StoreError),
    Other(Error),
    /// The records do not allow it.
    Impossible(Error),
}

fn not_unique(spec: &IndexSpec, taken: &Taken) -> Error {
    let fields: Vec<String> = spec.fields.iter().map(|field| format!("`{field}`")).collect();
    Error::new(
        ErrorKind::AlreadyExists,
        format!(
            "{} cannot be unique: {} and {} hold the same",
            fields.join(" and "),
            taken.holder,
            taken.wanted_by
        ),
    )
}

/// Keys on their way to the catalog, by field.
struct Gathered {
    rows: Vec<Vec<(u64, FieldKeys)>>,
    held: usize,
}

impl Gathered {
    fn new(fields: usize) -> Self {
        Self {
            rows: vec![Vec::new(); fields],
            held: 0,
        }
    }

    fn add(&mut self, cv: u64, keys: Vec<Option<FieldKeys>>) {
        for (rows, keys) in self.rows.iter_mut().zip(keys) {
            if let Some(keys) = keys {
                self.held += keys.keys().len();
                rows.push((cv, keys));
            }
        }
    }
}

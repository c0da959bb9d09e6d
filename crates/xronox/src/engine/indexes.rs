//! The indexes of a collection as this process knows them, and how they are made.
//!
//! An index is declared first, so that every later commit carries its keys;
//! then the rows from before are filled; then it is ready. Each step may be
//! repeated by anybody at any time, so whoever finds an index that was left
//! half made goes on with it.

mod maker;

use std::{
    collections::BTreeSet,
    future::IntoFuture,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde::Serialize;
use xronox_model::{IndexSpec, Invalid, Path, alias_of};
use xronox_store::{Index, Indexes, ruling::always_indexed};

use self::maker::Maker;
use crate::{
    Collection, Error, IntoPath, Progress, collection::Shared, engine::progress::Listener,
};

/// So many indexes of one field a collection may have before queries stop
/// adding to them, or fewer where the catalog has no room for them.
const MAX_ON_USE: usize = 32;
/// A path longer than this is a mistake, and no index is made of it unasked.
const MAX_PATH_ON_USE: usize = 256;
/// How often to ask whether another process has made an index that is missed.
const ASKED_AGAIN_AFTER: Duration = Duration::from_secs(10);

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
                index.ready |= known
                    .list
                    .iter()
                    .any(|other| other.ready && other.spec == index.spec);
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
            return Err(Invalid::at(
                field.to_string(),
                "no index can be made of this field",
            ));
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

/// Makes an index; await it.
#[derive(Debug)]
#[must_use = "no index is made until it is awaited"]
pub struct EnsureIndex<'a> {
    collection: &'a Collection,
    what: &'static str,
    spec: Result<IndexSpec, Error>,
    progress: Listener<'a>,
}

/// An index of a collection. As JSON `{ fields, unique, ready }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct IndexInfo {
    /// Its fields: one, or those that are unique together.
    pub fields: Vec<Path>,
    /// Whether no two live records may agree in all of them.
    pub unique: bool,
    /// Whether it is filled. One that is not is left by who began with it, or
    /// still being made.
    pub ready: bool,
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
    /// [`Invalid`](crate::ErrorKind::Invalid) if the path is none,
    /// [`Corrupt`](crate::ErrorKind::Corrupt) if a stored document is damaged,
    /// [`Unavailable`](crate::ErrorKind::Unavailable),
    /// [`Forbidden`](crate::ErrorKind::Forbidden) for a hidden field through a
    /// [sealed](Self::with_hidden) handle.
    pub fn ensure_index(&self, path: impl IntoPath) -> EnsureIndex<'_> {
        EnsureIndex {
            collection: self,
            what: "ensure_index",
            spec: path.into_path().map(IndexSpec::field),
            progress: Listener::default(),
        }
    }

    /// Makes these properties together a unique key, and waits until every
    /// live record is checked. Records that lack one of them, or where one is
    /// null, are not bound by it.
    ///
    /// # Errors
    ///
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists), naming both records, if
    /// two live ones share a key (there is no such index then),
    /// [`Invalid`](crate::ErrorKind::Invalid) if one of the fields holds an array
    /// somewhere or is too long, and as [`ensure_index`](Self::ensure_index).
    pub fn ensure_unique<I>(&self, paths: I) -> EnsureIndex<'_>
    where
        I: IntoIterator,
        I::Item: IntoPath,
    {
        let fields: Result<Vec<Path>, Error> = paths.into_iter().map(IntoPath::into_path).collect();
        EnsureIndex {
            collection: self,
            what: "ensure_unique",
            spec: fields.map(IndexSpec::unique),
            progress: Listener::default(),
        }
    }

    /// The indexes of the collection, by name, but for those that every
    /// collection has.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](crate::ErrorKind::Unavailable),
    /// [`Closed`](crate::ErrorKind::Closed).
    pub async fn indexes(&self) -> Result<Vec<IndexInfo>, Error> {
        let shared = self.whole("indexes")?;
        let indexes = shared.database.catalog.indexes(&shared.name).await;
        let indexes = indexes.map_err(|e| Error::from(e).during(&shared.doing("indexes", None)))?;
        let described = |index: Index| IndexInfo {
            fields: index.spec.fields,
            unique: index.spec.unique,
            ready: index.ready,
        };
        Ok(indexes.list.into_iter().map(described).collect())
    }
}

impl<'a> EnsureIndex<'a> {
    /// Calls this now and then, with the number of commits that are gone
    /// through and how many there are; for a unique key with the number of
    /// records alone.
    pub fn on_progress(mut self, listen: impl FnMut(Progress) + Send + 'a) -> Self {
        self.progress = Listener::new(listen);
        self
    }
}

impl<'a> IntoFuture for EnsureIndex<'a> {
    type Output = Result<(), Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(mut self) -> Self::IntoFuture {
        Box::pin(async move {
            let shared = self.collection.whole(self.what)?;
            let made = async {
                let spec = self.spec?;
                let sealed = self.collection.scope.is_sealed();
                for field in &spec.fields {
                    shared.rules.view.path_allowed(field, "an index", sealed)?;
                }
                shared.make_index(&spec, &mut self.progress).await
            };
            made.await
                .map_err(|e| e.during(&shared.doing(self.what, None)))
        })
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
        match state
            .known()
            .filter(|_| state.declared.load(Ordering::Acquire))
        {
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
            maker.make_unique(spec, &mut Listener::default()).await?;
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
        self.make_index(spec, &mut Listener::default()).await
    }

    async fn make_index(&self, spec: &IndexSpec, progress: &mut Listener<'_>) -> Result<(), Error> {
        if matches!(wanted(spec)?, Wanted::Always) {
            return Ok(());
        }
        let ready = |index: &Index| index.ready;
        if self.indexes().await?.get(&spec.name()).is_some_and(ready) {
            return Ok(());
        }
        let maker = self.maker();
        if spec.unique {
            return maker.make_unique(spec, progress).await;
        }
        self.indexes
            .0
            .given_up
            .lock()
            .retain(|field| !spec.fields.contains(field));
        maker.make(&spec.fields, progress).await
    }

    /// The indexes for a query that filters or sorts by these fields: those
    /// that are made on use are, or are begun with.
    pub(crate) async fn indexes_for(&self, fields: &BTreeSet<Path>) -> Result<Arc<Indexes>, Error> {
        let mut indexes = self.indexes().await?;
        if !fields.iter().all(|field| serves(&indexes, field)) && self.indexes.0.may_ask() {
            indexes = self.refresh_indexes().await?;
        }
        let most = MAX_ON_USE.min(self.database.catalog.capabilities().max_indexed);
        let mut room = most.saturating_sub(
            indexes
                .list
                .iter()
                .filter(|index| !index.spec.unique)
                .count(),
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

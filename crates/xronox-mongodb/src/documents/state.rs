//! What the indexes of a plain collection are.

use std::{collections::HashMap, sync::Arc, time::Duration};

use mongodb::bson::{DateTime, Document, doc, oid::ObjectId};
use parking_lot::Mutex;
use rand::RngCore;
use tokio::time::Instant;
use xronox_model::{CollectionName, Timestamp, json};
use xronox_store::{DocIndex, StoreError, documents::Indexed};

/// The `_id` of the document that says what the indexes are. It sorts behind
/// those of all others.
pub(super) const STATE: &str = "indexes";

/// Behind the `_id` of every document: an ordered key begins with its type,
/// at most `8`.
pub(super) const BEYOND_IDS: &str = ":";

/// How long what was read of a collection is believed, where nothing would
/// say that it is out of date.
const BELIEVED: Duration = Duration::from_secs(5);

/// Beyond this many collections everything is forgotten.
const MAX_KNOWN: usize = 10_000;

/// The indexes of a collection, as they were at one time.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    /// Drawn anew with every change; `None` where no index was ever declared.
    pub(super) rev: Option<ObjectId>,
    /// By name.
    pub(super) indexes: Vec<Index>,
}

#[derive(Debug, Clone)]
pub(super) struct Index {
    /// What its keys are kept under. Never used twice, also not by a later
    /// collection of the same name.
    pub(super) tag: String,
    pub(super) spec: DocIndex,
    /// Whether every document has its keys, so that reads may go by them.
    pub(super) ready: bool,
    pub(super) form: Form,
}

/// How many keys a document may have in an index.
///
/// The forms are different indexes to the server, so whoever goes along one
/// in the belief that each document has one key is told when that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// One.
    One,
    /// One, but the index for several is there already.
    Turning,
    /// Several.
    Many,
}

impl Form {
    fn code(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Turning => "turning",
            Self::Many => "many",
        }
    }

    fn of_code(code: &str) -> Option<Self> {
        [Self::One, Self::Turning, Self::Many]
            .into_iter()
            .find(|form| form.code() == code)
    }
}

impl State {
    pub(super) fn read(stored: &Document) -> Result<Self, StoreError> {
        let damaged = || StoreError::Corrupt("a list of indexes is damaged".to_owned());
        let list = stored.get_array("list").map_err(|_| damaged())?;
        let index = |entry: &Document| {
            let spec = entry.get_str("spec").ok()?;
            let spec = json::parse(spec.as_bytes()).ok()?;
            Some(Index {
                tag: entry.get_str("tag").ok()?.to_owned(),
                spec: DocIndex::from_json(&spec).ok()?,
                ready: entry.get_bool("ready").ok()?,
                form: Form::of_code(entry.get_str("form").ok()?)?,
            })
        };
        let indexes = list.iter().map(|entry| index(entry.as_document()?));
        Ok(Self {
            rev: Some(stored.get_object_id("r").map_err(|_| damaged())?),
            indexes: indexes.collect::<Option<_>>().ok_or_else(damaged)?,
        })
    }

    /// The document that says so, under a revision of its own.
    pub(super) fn write(&mut self) -> Document {
        let rev = ObjectId::new();
        self.rev = Some(rev);
        self.indexes.sort_by_cached_key(|index| index.spec.name());
        let entry = |index: &Index| {
            doc! {
                "tag": &index.tag,
                "spec": index.spec.to_json().to_string(),
                "ready": index.ready,
                "form": index.form.code(),
            }
        };
        let list: Vec<Document> = self.indexes.iter().map(entry).collect();
        doc! { "_id": STATE, "r": rev, "list": list }
    }

    pub(super) fn named(&self, name: &str) -> Option<&Index> {
        self.indexes.iter().find(|index| index.spec.name() == name)
    }

    pub(super) fn tagged(&self, tag: &str) -> Option<&Index> {
        self.indexes.iter().find(|index| index.tag == tag)
    }

    /// This one, with one of its indexes changed.
    pub(super) fn with(&self, tag: &str, change: impl FnOnce(&mut Index)) -> Self {
        let mut changed = self.clone();
        if let Some(index) = changed.indexes.iter_mut().find(|index| index.tag == tag) {
            change(index);
        }
        changed
    }

    /// This one, without one of its indexes.
    pub(super) fn without(&self, tag: &str) -> Self {
        let mut changed = self.clone();
        changed.indexes.retain(|index| index.tag != tag);
        changed
    }

    /// The indexes that reads may go by.
    pub(super) fn ready(&self) -> Vec<&Index> {
        self.indexes.iter().filter(|index| index.ready).collect()
    }

    /// The indexes by which documents go.
    pub(super) fn ending(&self) -> impl Iterator<Item = &Index> {
        let ready = self.indexes.iter().filter(|index| index.ready);
        ready.filter(|index| index.spec.ttl.is_some())
    }

    /// What is true of documents that are not gone.
    pub(super) fn living(&self, now: Timestamp) -> Document {
        let date = date(now);
        self.ending()
            .map(|index| (index.date(), doc! { "$not": { "$lte": date } }.into()))
            .collect()
    }
}

impl Index {
    pub(super) fn new(spec: &DocIndex) -> Self {
        // 48 random bits.
        let tag = rand::rng().next_u64() >> 16;
        Self {
            tag: format!("{tag:012x}"),
            spec: spec.clone(),
            ready: false,
            form: Form::One,
        }
    }

    pub(super) fn indexed(&self) -> Indexed<'_> {
        Indexed {
            spec: &self.spec,
            multi: self.form != Form::One,
        }
    }

    /// Where documents have their keys.
    pub(super) fn field(&self) -> String {
        format!("k.{}", self.tag)
    }

    /// Where documents have the date at which they go by this index.
    pub(super) fn date(&self) -> String {
        format!("x.{}", self.tag)
    }

    /// What the server calls the index of the keys.
    pub(super) fn server_name(&self) -> String {
        match self.form {
            Form::One => self.name_of_one(),
            Form::Turning | Form::Many => self.name_of_many(),
        }
    }

    pub(super) fn name_of_one(&self) -> String {
        format!("{}_one", self.tag)
    }

    pub(super) fn name_of_many(&self) -> String {
        format!("{}_many", self.tag)
    }

    /// What the server calls the index of the dates.
    pub(super) fn name_of_dates(&self) -> String {
        format!("{}_date", self.tag)
    }
}

/// The tag of the index that the server calls so.
pub(super) fn tag_of(server_name: &str) -> Option<&str> {
    let (tag, kind) = server_name.split_once('_')?;
    matches!(kind, "one" | "many" | "date").then_some(tag)
}

pub(super) fn date(at: Timestamp) -> DateTime {
    DateTime::from_millis(at.as_millis())
}

/// What is known of collections.
#[derive(Debug, Default)]
pub(super) struct States(Mutex<HashMap<CollectionName, (Arc<State>, Instant)>>);

impl States {
    pub(super) fn get(&self, name: &CollectionName) -> Option<Arc<State>> {
        let known = self.0.lock();
        let (state, since) = known.get(name)?;
        (since.elapsed() < BELIEVED).then(|| Arc::clone(state))
    }

    pub(super) fn put(&self, name: &CollectionName, state: State) -> Arc<State> {
        let state = Arc::new(state);
        let mut known = self.0.lock();
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(name.clone(), (Arc::clone(&state), Instant::now()));
        state
    }

    pub(super) fn forget(&self, name: &CollectionName) {
        self.0.lock().remove(name);
    }
}

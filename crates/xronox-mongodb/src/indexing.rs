//! The life of an index.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use mongodb::{
    ClientSession,
    bson::{Document, RawDocumentBuf, doc},
};
use tokio::task::JoinHandle;
use xronox_model::{CollectionName, FieldKeys, IndexSpec, Path};
use xronox_store::{Indexes, StoreError, ruling};

use crate::{
    command::{self, raw},
    core::{Core, create_indexes},
    error::{COLLECTION_GONE, Failure, INDEX_NOT_FOUND, NAMESPACE_NOT_FOUND},
    fence::{Fenced, Start},
    names::Names,
    row::{PURGE, key_value, sort_value},
    shape::{COUNTER, Counter, Shape, StoredIndex, int},
};

/// Fields that a collection can have indexes of. MongoDB allows 64 indexes
/// (<https://www.mongodb.com/docs/manual/reference/limits/>); eleven others there
/// may be, and a field takes two.
pub(crate) const MAX_INDEXED: usize = 26;

/// How long to wait for an index that nothing depends on yet.
const MOMENT: Duration = Duration::from_secs(1);
/// How long one who may be changing the indexes is left to it.
const MEANWHILE: Duration = Duration::from_secs(1);
/// A moment between one look and the next.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Declares an index: see [`Catalog::add_index`](xronox_store::Catalog::add_index).
pub(crate) async fn add(
    core: &Arc<Core>,
    name: &CollectionName,
    spec: &IndexSpec,
) -> Result<Indexes, Failure> {
    ruling::check_spec(spec)?;
    let names = Names::of(name);
    let mut session = core.db.session().await?;
    loop {
        core.ensure(name).await?;
        let Some(counter) = core.counter(&mut session, name).await? else {
            core.shapes.forget(name);
            continue;
        };
        let mut shape = counter.shape.clone();
        if shape.described.get(&spec.name()).is_some() {
            return Ok(shape.described);
        }
        if spec.unique {
            core.ensure_keys(&names).await?;
        } else if shape.described.fields().count() >= MAX_INDEXED {
            let why =
                format!("on MongoDB a collection has indexes of at most {MAX_INDEXED} fields");
            return Err(StoreError::Refused(why).into());
        }
        let index = StoredIndex {
            tag: shape.new_tag(),
            spec: spec.clone(),
            ready: false,
            multi: false,
        };
        shape.indexes.push(index.clone());
        shape.tags += 1;
        if !change(core, &mut session, name, &counter, &shape).await? {
            continue;
        }
        if !spec.unique {
            // While it is declared only, nobody has to wait for it.
            let built = build(core, &names, &shape, &index.tag);
            if tokio::time::timeout(MOMENT, built).await.is_err() {
                tracing::debug!(collection = %name, index = %spec.name(), "an index is being built");
            }
        }
        return Ok(core
            .fresh_shape(&mut session, name)
            .await?
            .described
            .clone());
    }
}

/// Writes the indexes, unless somebody else changed them since they were
/// `read`. What commits and fillings mark in them leaves the epoch as it is.
///
/// Where rows are inserted without a transaction, one that was sent before may
/// come after all others were filled, without the new index's keys. So the
/// epoch moves on only once nobody can go on by it any more: behind all rows
/// that are there, and are applied, the next one is fenced off.
async fn change(
    core: &Core,
    session: &mut ClientSession,
    name: &CollectionName,
    read: &Counter,
    shape: &Shape,
) -> Result<bool, Failure> {
    let mut same = same_epoch(read);
    if core.log_first().await? {
        let (names, start) = (Names::of(name), Fenced::Start(Start::of(read)));
        if !core.fence(session, &names, &read.shape, start).await? {
            // Somebody is inserting.
            core.roll_forward(session, name).await?;
            return Ok(false);
        }
        same.insert("next", int(read.next));
    }
    let epoch = int(read.shape.described.epoch);
    let mut indexes = shape.indexes.clone();
    indexes.sort_by_key(|index| index.spec.name());
    let indexes = indexes
        .iter()
        .map(StoredIndex::document)
        .collect::<Result<Vec<_>, _>>()?;
    let marks = read.shape.indexes.iter().map(|index| {
        let marks = doc! { "tag": &index.tag, "ready": index.ready, "multi": index.multi };
        doc! { "indexes": { "$elemMatch": marks } }
    });
    let marks: Vec<Document> = marks.collect();
    if !marks.is_empty() {
        same.insert("$and", marks);
    }
    let update = doc! { "$set": {
        "epoch": epoch + 1,
        "tags": shape.tags,
        "indexes": indexes,
        "dropped": &shape.dropped,
    } };
    let changed = core.change_counter(session, name, same, update).await?;
    core.shapes.forget(name);
    Ok(changed)
}

fn same_epoch(read: &Counter) -> Document {
    let epoch = int(read.shape.described.epoch);
    doc! { "_id": COUNTER, "born": read.shape.born, "epoch": epoch }
}

/// Lets others go on where the next row is fenced off, though whoever did that
/// may not come to the end: after a while in which he may, the epoch moves on.
pub(crate) async fn help(
    core: &Core,
    session: &mut ClientSession,
    name: &CollectionName,
    read: &Counter,
) -> Result<(), Failure> {
    let epoch = int(read.shape.described.epoch);
    let begun = Instant::now();
    while begun.elapsed() < MEANWHILE {
        tokio::time::sleep(LOOK_AGAIN).await;
        let now = core.counter(session, name).await?;
        if now.is_none_or(|now| int(now.shape.described.epoch) != epoch) {
            return Ok(());
        }
    }
    let on = doc! { "$set": { "epoch": epoch + 1 } };
    core.change_counter(session, name, same_epoch(read), on)
        .await?;
    core.shapes.forget(name);
    Ok(())
}

/// Builds the indexes of a tag in a task of its own, and waits for it.
/// Whoever stops waiting does not stop it.
fn build(
    core: &Arc<Core>,
    names: &Names,
    shape: &Shape,
    tag: &str,
) -> impl Future<Output = Result<(), Failure>> + use<> {
    let path = format!("k.{tag}");
    let indexes = vec![
        doc! { "key": { &path: 1, "i": 1 }, "name": format!("open {path}"),
        "partialFilterExpression": { "o": true, &path: { "$exists": true } } },
        doc! { "key": { &path: 1, "i": 1, "_id": 1 }, "name": format!("past {path}"),
        "partialFilterExpression": { "to": { "$exists": true }, &path: { "$exists": true } } },
    ];
    let command = create_indexes(names, shape, indexes);
    let core = Arc::clone(core);
    let task = tokio::spawn(async move { core.run(command).await });
    async move {
        match task.await {
            Ok(built) => built,
            Err(cut) => Err(StoreError::Unavailable {
                message: "building an index was cut short".to_owned(),
                source: Some(cut.into()),
            }
            .into()),
        }
    }
}

impl Core {
    /// Has the index of a time built in the background, once: most
    /// collections are never walked by it, and each index makes each write
    /// slower.
    pub(crate) fn index_times(
        self: &Arc<Self>,
        names: &Names,
        shape: &Shape,
        column: &'static str,
    ) {
        let indexes = [
            doc! { "key": { column: 1, "i": 1 }, "name": format!("open {column}"),
            "partialFilterExpression": { "o": true } },
            doc! { "key": { column: 1, "i": 1, "_id": 1 }, "name": format!("past {column}"),
            "partialFilterExpression": { "to": { "$exists": true } } },
        ];
        self.index_in_background(names, shape, column, &indexes);
    }

    /// The same for the index of what is deleted.
    pub(crate) fn index_deleted(self: &Arc<Self>, names: &Names, shape: &Shape) {
        let index = doc! { "key": { "i": 1, "del": 1 }, "name": "deleted",
        "partialFilterExpression": { "del": { "$exists": true } } };
        self.index_in_background(names, shape, "del", &[index]);
    }

    fn index_in_background(
        self: &Arc<Self>,
        names: &Names,
        shape: &Shape,
        column: &str,
        indexes: &[Document],
    ) -> Option<JoinHandle<()>> {
        // An index would make a collection that is not there.
        let born = shape.born?;
        let what = format!("{} {born} {column}", names.ver);
        if !self.first_time(&what) {
            return None;
        }
        let command = create_indexes(names, shape, indexes.to_vec());
        let core = Arc::clone(self);
        Some(tokio::spawn(async move {
            if let Err(failure) = core.run(command).await {
                tracing::warn!(index = %what, error = ?failure, "an index was not built");
                core.not_ensured(&what);
            }
        }))
    }

    /// The same for the index that finds who names an object. Where bodies are
    /// inline nobody asks for it. It is waited for a moment: in the beginning it
    /// is made at once, and whoever writes meanwhile has to begin anew.
    pub(crate) async fn index_objects(self: &Arc<Self>, name: &CollectionName) {
        let shape = self.shapes.get(name).unwrap_or_default();
        let index = doc! { "key": { "l.k": 1 }, "name": "object",
        "partialFilterExpression": { "l.k": { "$exists": true } } };
        let built = self.index_in_background(&Names::of(name), &shape, "l", &[index]);
        if let Some(built) = built
            && tokio::time::timeout(MOMENT, built).await.is_err()
        {
            tracing::debug!(collection = %name, "the index of objects is being built");
        }
    }

    /// The same for the index of stubs.
    pub(crate) fn index_stubs(self: &Arc<Self>, name: &CollectionName) {
        let shape = self.shapes.get(name).unwrap_or_default();
        let index = doc! { "key": { "to": 1 }, "name": "stub",
        "partialFilterExpression": { "st": { "$exists": true } } };
        self.index_in_background(&Names::of(name), &shape, "st", &[index]);
    }
}

/// Declares that an index is filled: see
/// [`Catalog::index_ready`](xronox_store::Catalog::index_ready).
pub(crate) async fn ready(
    core: &Arc<Core>,
    name: &CollectionName,
    index: &str,
) -> Result<Indexes, Failure> {
    let names = Names::of(name);
    let mut session = core.db.session().await?;
    let counter = core.counter(&mut session, name).await?;
    let found = counter.as_ref().and_then(|counter| {
        let mut indexes = counter.shape.indexes.iter();
        let found = indexes.find(|stored| stored.spec.name() == index)?;
        Some((found, &counter.shape))
    });
    let (found, shape) = found.ok_or_else(|| ruling::no_index(index))?;
    if !found.ready {
        if !found.spec.unique {
            // There is no order along a path before it is built.
            let built = build(core, &names, shape, &found.tag).await;
            if let Err(failure) = &built
                && failure.code() == Some(COLLECTION_GONE)
            {
                core.mend(&mut session, name, shape).await?;
            }
            built?;
        }
        let there = doc! { "_id": COUNTER, "indexes.tag": &found.tag };
        let ready = doc! { "$set": { "indexes.$.ready": true } };
        core.change_counter(&mut session, name, there, ready)
            .await?;
    }
    let counter = core.counter(&mut session, name).await?;
    match counter {
        Some(Counter { shape, .. }) if shape.described.get(index).is_some() => Ok(shape.described),
        _ => Err(ruling::no_index(index).into()),
    }
}

/// Removes an index: see [`Catalog::drop_index`](xronox_store::Catalog::drop_index).
pub(crate) async fn remove(core: &Core, name: &CollectionName, index: &str) -> Result<(), Failure> {
    let names = Names::of(name);
    let mut session = core.db.session().await?;
    let gone = loop {
        let Some(counter) = core.counter(&mut session, name).await? else {
            return Ok(());
        };
        let mut shape = counter.shape.clone();
        let Some(at) = shape
            .indexes
            .iter()
            .position(|stored| stored.spec.name() == index)
        else {
            return Ok(());
        };
        let gone = shape.indexes.remove(at);
        shape.dropped.push(gone.tag.clone());
        if change(core, &mut session, name, &counter, &shape).await? {
            break gone;
        }
    };
    let tag = &gone.tag;
    if gone.spec.unique {
        // All keys that begin with `tag:`, and `;` comes after `:`.
        let range = doc! { "_id": { "$gte": format!("{tag}:"), "$lt": format!("{tag};") } };
        core.db
            .db()
            .collection::<Document>(&names.keys)
            .delete_many(range)
            .await?;
        return Ok(());
    }
    for kind in ["open", "past"] {
        let dropped = core
            .run(doc! { "dropIndexes": &names.ver, "index": format!("{kind} k.{tag}") })
            .await;
        match dropped {
            Err(failure)
                if matches!(failure.code(), Some(INDEX_NOT_FOUND | NAMESPACE_NOT_FOUND)) => {}
            dropped => dropped?,
        }
    }
    Ok(())
}

/// Adds keys to rows: see [`Catalog::fill_index`](xronox_store::Catalog::fill_index).
pub(crate) async fn fill(
    core: &Core,
    name: &CollectionName,
    field: &Path,
    rows: &[(u64, FieldKeys)],
) -> Result<(), Failure> {
    let names = Names::of(name);
    let mut session = core.db.session().await?;
    let counter = core.counter(&mut session, name).await?;
    let none = || ruling::no_index(&field.to_string());
    let counter = counter.ok_or_else(none)?;
    let index = counter.shape.of_field(field).ok_or_else(none)?;
    if !index.multi && rows.iter().any(|(_, keys)| keys.is_multi()) {
        // Before the first such row is there.
        let there = doc! { "_id": COUNTER, "indexes.tag": &index.tag };
        let multi = doc! { "$set": { "indexes.$.multi": true } };
        core.change_counter(&mut session, name, there, multi)
            .await?;
        core.shapes.forget(name);
    }
    let updates = rows
        .iter()
        .map(|(cv, keys)| statement(*cv, keys, &index.tag))
        .collect::<Result<Vec<_>, _>>()?;
    let updates = command::update(&names.ver, &updates);
    core.write(&mut session, command::there(updates, &counter.shape))
        .await
}

/// The statement that adds the keys of a row, if it can have them and has not.
fn statement(cv: u64, keys: &FieldKeys, tag: &str) -> Result<RawDocumentBuf, StoreError> {
    let path = format!("k.{tag}");
    let mut set = doc! { &path: key_value(keys) };
    if keys.is_multi() {
        set.insert(format!("m.{tag}"), sort_value(keys).to_vec());
    }
    raw(&doc! {
        "q": {
            "_id": int(cv),
            "n": { "$exists": true },
            "op": { "$ne": PURGE },
            "st": { "$exists": false },
            path: { "$exists": false },
        },
        "u": { "$set": set },
    })
}

//! Indexes of plain collections, made and dropped.
//!
//! A declared index stands in the collection's [`State`] before any document
//! has its keys, so that whoever writes from then on knows of it; then the
//! documents there get theirs, then the server makes its own index of them,
//! and last reads may go by it. Whoever declares it again goes on where another
//! left off. One that is dropped leaves the state first.

use mongodb::{
    ClientSession,
    bson::{Bson, Document, RawDocumentBuf, doc, oid::ObjectId, rawdoc},
};
use xronox_model::CollectionName;
use xronox_store::{DocIndex, StoreError};

use super::{
    Shared,
    entry::{Met, of_index},
    names,
    state::{BEYOND_IDS, Form, Index, State, tag_of},
    turn::Tries,
    write::Writes,
};
use crate::{
    command,
    error::{DUPLICATE_KEY, Failure, INDEX_NOT_FOUND, NAMESPACE_NOT_FOUND},
};

/// Documents read at a time while an index is filled.
const PAGE: usize = 256;

/// Dead documents removed at a time.
const SWEEP: usize = 1_000;

/// What the server says when a collection has as many indexes as it can.
const CANNOT_CREATE_INDEX: i32 = 67;

/// How often a document without keys may turn up behind the filling before
/// something else must be wrong.
const MAX_FILLING: u32 = 20;

/// How far an index is declared.
enum Declared {
    Ready,
    /// It stands in the state, and is to be built.
    Standing(Index),
    /// Somebody else changed the state.
    Changed,
}

/// How an attempt to build an index ended.
enum Built {
    Done,
    /// Documents turned up that have no keys in it yet.
    Unfilled,
    /// The documents there cannot have it.
    Unfit(StoreError),
}

impl Writes<'_> {
    /// Declares an index and fills it. Each step has the time of a call.
    pub(super) async fn ensure_index(
        &mut self,
        name: &CollectionName,
        spec: &DocIndex,
    ) -> Result<(), StoreError> {
        let of = self.of;
        let mut tries = Tries::default();
        loop {
            match of.db.within(self.declare(name, spec)).await? {
                Declared::Ready => return Ok(()),
                Declared::Changed => of.db.within(tries.again(name)).await?,
                Declared::Standing(index) => match self.build(name, index.clone()).await? {
                    Built::Unfit(error) => {
                        of.db.within(self.withdraw(name, &index.tag)).await?;
                        return Err(error);
                    }
                    Built::Done | Built::Unfilled => of.db.within(tries.again(name)).await?,
                },
            }
        }
    }

    async fn declare(
        &mut self,
        name: &CollectionName,
        spec: &DocIndex,
    ) -> Result<Declared, Failure> {
        let state = self.of.fresh_state(&mut self.session, name).await?;
        let there = state.named(&spec.name());
        match there {
            Some(there) if there.spec == *spec => {
                return Ok(if there.ready {
                    Declared::Ready
                } else {
                    Declared::Standing(there.clone())
                });
            }
            Some(there) if there.ready => return Err(spec.clash(name).into()),
            _ => {}
        }
        while self.sweep_one(name, SWEEP).await? > 0 {}
        // One that was never built is in nobody's way.
        let mut to = there.map_or_else(|| State::clone(&state), |other| state.without(&other.tag));
        let index = Index::new(spec);
        to.indexes.push(index.clone());
        let changed = self
            .of
            .change_state(&mut self.session, name, state.rev, to)
            .await?;
        Ok(if changed {
            Declared::Standing(index)
        } else {
            Declared::Changed
        })
    }

    async fn build(
        &mut self,
        name: &CollectionName,
        mut index: Index,
    ) -> Result<Built, StoreError> {
        let of = self.of;
        for _ in 0..MAX_FILLING {
            if let Some(error) = self.fill(name, &mut index).await? {
                return Ok(Built::Unfit(error));
            }
            match of.db.within(self.finish(name, &index)).await? {
                Built::Unfilled => {}
                built => return Ok(built),
            }
        }
        Ok(Built::Unfilled)
    }

    /// Gives every document that is there its keys, or says why it cannot
    /// have any.
    async fn fill(
        &mut self,
        name: &CollectionName,
        index: &mut Index,
    ) -> Result<Option<StoreError>, StoreError> {
        let of = self.of;
        let mut after = String::new();
        loop {
            let page = of.db.within(self.unfilled(name, index, &after)).await?;
            let Some(last) = page.last() else {
                return Ok(None);
            };
            last.id.as_str().clone_into(&mut after);
            let (mut updates, mut over) = (Vec::new(), Vec::new());
            for met in page {
                // Gone by the new index, like those that were swept.
                if index.spec.ends(&met.document, of.clock.now()) {
                    over.push((met.id, met.rev));
                    continue;
                }
                let keys = match index.spec.keys(&met.document) {
                    Ok(keys) => keys,
                    Err(e) => return Ok(Some(index.spec.unfit(name, &e.to_string()))),
                };
                if keys.multi && index.form != Form::Many {
                    let growing = grow(of, &mut self.session, name, &index.tag);
                    of.db.within(growing).await?;
                    index.form = Form::Many;
                }
                let mut set = of_index(index, &met.id, &met.document, &keys);
                set.insert("r", ObjectId::new());
                updates.push(statement(&met, &set)?);
            }
            let filling = async {
                self.delete_exact(name, &over).await?;
                for command in command::update(&names::stored(name), &updates) {
                    self.run(command).await?;
                }
                Ok(())
            };
            of.db.within(filling).await?;
        }
    }

    /// A page of the documents that have no keys yet.
    async fn unfilled(
        &mut self,
        name: &CollectionName,
        index: &Index,
        after: &str,
    ) -> Result<Vec<Met>, Failure> {
        let documents = self.of.documents(name);
        let unfilled = doc! {
            "_id": { "$gt": after, "$lt": BEYOND_IDS },
            index.field(): { "$exists": false },
        };
        let mut found = documents
            .find(unfilled)
            .sort(doc! { "_id": 1 })
            .projection(doc! { "k": 0, "x": 0 })
            .limit(i64::try_from(PAGE).unwrap_or(i64::MAX))
            .max_time(self.of.db.max_time())
            .session(&mut self.session)
            .await?;
        let mut page = Vec::new();
        while found.advance(&mut self.session).await? {
            page.push(Met::read(found.current())?);
        }
        Ok(page)
    }

    /// Has the server index the keys, and lets reads go by them.
    async fn finish(&mut self, name: &CollectionName, index: &Index) -> Result<Built, Failure> {
        if let Err(failure) = create(self.of, name, index, index.form).await {
            return match failure.code() {
                Some(DUPLICATE_KEY) if is_null(&failure) => Ok(Built::Unfilled),
                Some(DUPLICATE_KEY) => {
                    let why = "two documents share a key";
                    Ok(Built::Unfit(index.spec.unfit(name, why)))
                }
                Some(CANNOT_CREATE_INDEX) => {
                    let why = "MongoDB makes no other one here";
                    Ok(Built::Unfit(index.spec.unfit(name, why)))
                }
                _ => Err(failure),
            };
        }
        if index.form == Form::Many {
            // Made before the first document with several keys turned up.
            drop_from_server(self.of, name, &index.name_of_one()).await?;
        }
        let state = self.of.fresh_state(&mut self.session, name).await?;
        if state.tagged(&index.tag).map(|index| index.form) == Some(index.form) {
            let ready = state.with(&index.tag, |index| index.ready = true);
            self.of
                .change_state(&mut self.session, name, state.rev, ready)
                .await?;
        }
        Ok(Built::Done)
    }

    /// Takes back an index that the documents there cannot have.
    async fn withdraw(&mut self, name: &CollectionName, tag: &str) -> Result<(), Failure> {
        let mut tries = Tries::default();
        loop {
            let state = self.of.fresh_state(&mut self.session, name).await?;
            let Some(index) = state.tagged(tag) else {
                return Ok(());
            };
            let to = state.without(tag);
            let changing = self.of.change_state(&mut self.session, name, state.rev, to);
            if changing.await? {
                return remove(self.of, name, index).await;
            }
            tries.again(name).await?;
        }
    }

    /// Removes an index, if it is there.
    pub(super) async fn drop_index(
        &mut self,
        name: &CollectionName,
        index: &str,
    ) -> Result<(), Failure> {
        let state = self.of.fresh_state(&mut self.session, name).await?;
        let Some(index) = state.named(index) else {
            return Ok(());
        };
        // What was gone stays gone.
        while self.sweep_one(name, SWEEP).await? > 0 {}
        self.withdraw(name, &index.tag).await
    }
}

fn statement(met: &Met, set: &Document) -> Result<RawDocumentBuf, StoreError> {
    let set = RawDocumentBuf::try_from(set)
        .map_err(|e| StoreError::Corrupt(format!("the keys of a document: {e}")))?;
    Ok(rawdoc! { "q": { "_id": met.id.as_str(), "r": met.rev }, "u": { "$set": set } })
}

/// Lets an index have several keys of a document.
pub(super) async fn grow(
    of: &Shared,
    session: &mut ClientSession,
    name: &CollectionName,
    tag: &str,
) -> Result<(), Failure> {
    let mut tries = Tries::default();
    loop {
        let state = of.fresh_state(session, name).await?;
        let Some(index) = state.tagged(tag) else {
            return Ok(());
        };
        let form = match index.form {
            Form::Many => return Ok(()),
            // Nobody reads by it yet.
            _ if !index.ready => Form::Many,
            Form::One => {
                create(of, name, index, Form::Many).await?;
                Form::Turning
            }
            Form::Turning => {
                drop_from_server(of, name, &index.name_of_one()).await?;
                Form::Many
            }
        };
        let to = state.with(tag, |index| index.form = form);
        if !of.change_state(session, name, state.rev, to).await? {
            tries.again(name).await?;
        }
    }
}

/// Removes indexes of the server that belong to no declared one: whoever
/// dropped those did not come so far.
pub(super) async fn drop_orphans(
    of: &Shared,
    session: &mut ClientSession,
    name: &CollectionName,
) -> Result<(), Failure> {
    // Before the state, which an index stands in before it is made.
    let made = of.documents(name).list_index_names().await?;
    let state = of.fresh_state(session, name).await?;
    for made in made {
        if tag_of(&made).is_some_and(|tag| state.tagged(tag).is_none()) {
            drop_from_server(of, name, &made).await?;
        }
    }
    Ok(())
}

/// Makes the server's indexes of a declared one, in a form.
async fn create(
    of: &Shared,
    name: &CollectionName,
    index: &Index,
    form: Form,
) -> Result<(), Failure> {
    let (direction, server_name) = match form {
        Form::One => (-1, index.name_of_one()),
        Form::Turning | Form::Many => (1, index.name_of_many()),
    };
    let mut indexes = vec![doc! {
        "key": { index.field(): direction },
        "name": server_name,
        "unique": true,
    }];
    if index.spec.ttl.is_some() {
        indexes.push(doc! {
            "key": { index.date(): 1 },
            "name": index.name_of_dates(),
            "sparse": true,
        });
    }
    run(
        of,
        doc! { "createIndexes": names::stored(name), "indexes": indexes },
    )
    .await
}

/// Removes the server's indexes of one that was dropped.
async fn remove(of: &Shared, name: &CollectionName, index: &Index) -> Result<(), Failure> {
    for made in [index.name_of_one(), index.name_of_many()] {
        drop_from_server(of, name, &made).await?;
    }
    if index.spec.ttl.is_some() {
        drop_from_server(of, name, &index.name_of_dates()).await?;
    }
    Ok(())
}

async fn drop_from_server(
    of: &Shared,
    name: &CollectionName,
    server_name: &str,
) -> Result<(), Failure> {
    let dropped = run(
        of,
        doc! { "dropIndexes": names::stored(name), "index": server_name },
    )
    .await;
    match dropped {
        Err(failure) if matches!(failure.code(), Some(INDEX_NOT_FOUND | NAMESPACE_NOT_FOUND)) => {
            Ok(())
        }
        dropped => dropped,
    }
}

async fn run(of: &Shared, mut command: Document) -> Result<(), Failure> {
    command.insert("writeConcern", doc! { "w": "majority", "j": true });
    of.db.db().run_command(command).await?;
    Ok(())
}

/// Whether a key that two documents share is that of those without any.
fn is_null(failure: &Failure) -> bool {
    let Failure::Driver(failure) = failure else {
        return false;
    };
    let reply = failure.server_response();
    let shared = reply.and_then(|reply| reply.get_document("keyValue").ok());
    shared.is_some_and(|shared| {
        let mut keys = shared.iter().flatten();
        keys.any(|(_, key)| Bson::try_from(key).is_ok_and(|key| key == Bson::Null))
    })
}

//! Sealing a database.
//!
//! The mark in the marker document keeps collections from being made, and each
//! collection that is there gets a validator that no document passes. Setting
//! it waits for the transactions that have written to the collection, and the
//! server refuses whatever comes later, from whomever, with or without
//! transactions.
//!
//! Where a row is committed before what follows from it, that still has to be
//! applied. So version rows are first closed to new ones only, which all stand
//! behind the newest; once everything is applied they are closed for good.

use mongodb::{
    ClientSession,
    bson::{Document, doc},
};
use xronox_model::CollectionName;
use xronox_store::StoreError;

use crate::{
    core::Core,
    database::MARKER,
    error::{Failure, NAMESPACE_NOT_FOUND},
    names::{Names, of_counter},
    shape::int,
};

impl Core {
    /// Seals the database: see [`Catalog::seal`](xronox_store::Catalog::seal).
    pub(crate) async fn seal(&self) -> Result<(), Failure> {
        let mark = doc! { "$set": { "sealed": true } };
        if !self.mark(mark).await? {
            // There is no such database any more.
            return Err(StoreError::Sealed.into());
        }
        let collections = self.plain_collections().await?;
        for name in collections.iter().filter_map(|name| of_counter(name)) {
            self.close(&name).await?;
        }
        // No document is without an `_id`.
        let none = doc! { "_id": { "$exists": false } };
        for name in &collections {
            self.let_in(name, none.clone()).await?;
        }
        Ok(())
    }

    /// Takes the seal off.
    pub(crate) async fn unseal(&self) -> Result<(), Failure> {
        for name in self.plain_collections().await? {
            self.let_in(&name, doc! {}).await?;
        }
        self.mark(doc! { "$unset": { "sealed": "" } }).await?;
        Ok(())
    }

    /// Whether the database is sealed, or not there any more.
    pub(crate) async fn is_sealed(&self, session: &mut ClientSession) -> Result<bool, Failure> {
        let markers = self.db.db().collection::<Document>(MARKER);
        let open = doc! { "id": &self.db.marker().id, "sealed": { "$exists": false } };
        let found = markers.find_one(open).session(session).await?;
        Ok(found.is_none())
    }

    pub(crate) async fn refuse_sealed(&self, session: &mut ClientSession) -> Result<(), Failure> {
        if self.is_sealed(session).await? {
            return Err(StoreError::Sealed.into());
        }
        Ok(())
    }

    async fn mark(&self, update: Document) -> Result<bool, Failure> {
        let markers = self.db.db().collection::<Document>(MARKER);
        let ours = doc! { "id": &self.db.marker().id };
        let marked = markers.update_one(ours, update).await?;
        Ok(marked.matched_count > 0)
    }

    /// The collections that are no views, but for the marker's and the
    /// server's own.
    async fn plain_collections(&self) -> Result<Vec<String>, Failure> {
        let listed = self.db.db().list_collection_names();
        let mut names = listed.filter(doc! { "type": "collection" }).await?;
        names.retain(|name| name != MARKER && !name.starts_with("system."));
        Ok(names)
    }

    /// Lets no more versions into a collection, and applies those that are there.
    async fn close(&self, name: &CollectionName) -> Result<(), Failure> {
        let names = Names::of(name);
        let mut session = self.db.session().await?;
        loop {
            let Some((counter, newest)) = self.look(&mut session, name).await? else {
                return Ok(());
            };
            let end = newest.map_or(0, |newest| newest + 1).max(counter.next);
            let known = doc! { "_id": { "$lt": int(end) } };
            self.let_in(&names.ver, known).await?;
            let Some((_, newest)) = self.look(&mut session, name).await? else {
                return Ok(());
            };
            if newest.is_none_or(|newest| newest < end) {
                break;
            }
        }
        if self.log_first().await? {
            self.roll_forward(&mut session, name).await?;
        }
        Ok(())
    }

    /// Has the server refuse every document that does not match, from now on.
    async fn let_in(&self, collection: &str, matching: Document) -> Result<(), Failure> {
        let changed = self.run(doc! {
            "collMod": collection,
            "validator": matching,
            "validationLevel": "strict",
            "validationAction": "error",
        });
        match changed.await {
            Err(failure) if failure.code() == Some(NAMESPACE_NOT_FOUND) => Ok(()),
            changed => changed,
        }
    }
}

//! The handle of a database.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use xronox_model::CollectionName;

use crate::{
    Collection, Error, IntoDocument, collection::Shared, engine::scope::Scope, storage::Storage,
};

/// So many collections are kept ready for their next use; beyond that, those
/// that nobody uses are let go.
const MAX_READY: usize = 256;

/// An open database: the collections of a tenant, of a domain, or of
/// everybody. Clones are the same database.
///
/// [`Xronox::with`](crate::Xronox::with) opens it.
#[derive(Debug, Clone)]
pub struct Database {
    pub(crate) storage: Arc<Storage>,
    pub(crate) scope: Scope,
    /// The collections in use, each shared by all its handles.
    ready: Arc<Mutex<HashMap<CollectionName, Arc<Shared>>>>,
}

impl Database {
    pub(crate) fn new(storage: Arc<Storage>) -> Self {
        Self {
            storage,
            scope: Scope::default(),
            ready: Arc::default(),
        }
    }

    /// The name of the database.
    pub fn name(&self) -> &str {
        &self.storage.catalog.marker().database
    }

    /// The collection of this name. Nothing is made before the first write.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) if the name is not 1 to 100
    /// bytes of letters, digits, `_` and `-`, [`Closed`](crate::ErrorKind::Closed),
    /// [`Forbidden`](crate::ErrorKind::Forbidden) if the handle was sealed
    /// [against hidden fields](Self::with_hidden) and then scoped by one.
    pub fn collection(&self, name: &str) -> Result<Collection, Error> {
        let name: CollectionName = name.parse()?;
        self.storage.open()?;
        let mut ready = self.ready.lock();
        if let Some(shared) = ready.get(&name) {
            let shared = Arc::clone(shared);
            let scope = self.scope.on(&shared)?;
            return Ok(Collection { shared, scope });
        }
        if ready.len() >= MAX_READY {
            ready.retain(|_, shared| Arc::strong_count(shared) > 1);
        }
        let shared = self.storage.shared(&name);
        ready.insert(name, Arc::clone(&shared));
        let scope = self.scope.on(&shared)?;
        Ok(Collection { shared, scope })
    }

    /// The names of the collections that have been written to.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](crate::ErrorKind::Unavailable), [`Closed`](crate::ErrorKind::Closed).
    pub async fn collections(&self) -> Result<Vec<CollectionName>, Error> {
        Ok(self.storage.catalog.collections().await?)
    }

    /// This database, but in each collection for the records that match a
    /// filter: see [`Collection::scoped`]. What concerns the whole database
    /// (`verify`, `gc`, `copy_to`) is [`Forbidden`](crate::ErrorKind::Forbidden).
    ///
    /// # Errors
    ///
    /// As [`Collection::scoped`].
    pub fn scoped(&self, filter: impl IntoDocument) -> Result<Self, Error> {
        Ok(Self {
            scope: self.scope.narrowed(filter)?,
            ..self.clone()
        })
    }

    /// This database with the hidden fields of each collection out of reach,
    /// for `false`: see [`Collection::with_hidden`]. To copy the database is
    /// [`Forbidden`](crate::ErrorKind::Forbidden), since copies are complete.
    #[must_use = "it is the handle that is returned that is sealed"]
    pub fn with_hidden(&self, shown: bool) -> Self {
        Self {
            scope: self.scope.sealed_if(!shown),
            ..self.clone()
        }
    }
}

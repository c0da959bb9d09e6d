//! The handle of a database.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use xronox_model::CollectionName;

use crate::{
    Collection, Context, Error, IntoDocument, collection::Shared, engine::scope::Scope,
    storage::Storage, tenancy::Tenancy,
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
    pub(crate) siblings: Arc<Siblings>,
}

/// What is found beside a collection.
#[derive(Debug, Default)]
pub(crate) struct Siblings {
    /// The collections of the database that are in use, each shared by all its
    /// handles.
    ready: Arc<Mutex<HashMap<CollectionName, Arc<Shared>>>>,
    /// Where other databases are, and the context of this one.
    pub(crate) store: Option<(Arc<Tenancy>, Context)>,
}

impl Database {
    pub(crate) fn new(storage: Arc<Storage>) -> Self {
        Self {
            storage,
            scope: Scope::default(),
            siblings: Arc::default(),
        }
    }

    /// The same, opened for this context.
    pub(crate) fn opened(self, tenancy: &Arc<Tenancy>, context: Context) -> Self {
        let siblings = Siblings {
            ready: Arc::clone(&self.siblings.ready),
            store: Some((Arc::clone(tenancy), context)),
        };
        Self {
            siblings: Arc::new(siblings),
            ..self
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
        let mut ready = self.siblings.ready.lock();
        if let Some(shared) = ready.get(&name) {
            let shared = Arc::clone(shared);
            return self.handle(shared);
        }
        if ready.len() >= MAX_READY {
            ready.retain(|_, shared| Arc::strong_count(shared) > 1);
        }
        let shared = self.storage.shared(&name);
        ready.insert(name, Arc::clone(&shared));
        self.handle(shared)
    }

    /// The database of a collection, as its handle sees it.
    pub(crate) fn of(collection: &Collection) -> Self {
        Self {
            storage: Arc::clone(&collection.shared.database),
            scope: collection.scope.clone(),
            siblings: collection.siblings.clone().unwrap_or_default(),
        }
    }

    fn handle(&self, shared: Arc<Shared>) -> Result<Collection, Error> {
        Ok(Collection {
            scope: self.scope.on(&shared)?,
            shared,
            siblings: Some(Arc::clone(&self.siblings)),
        })
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

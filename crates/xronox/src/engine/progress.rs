//! Telling how far a long operation is.

use std::fmt;

use serde::Serialize;
use xronox_model::CollectionName;

/// How far a long operation is.
///
/// As JSON `{ collection?, done, total? }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Progress {
    /// The collection it is at, if it goes through collections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collection: Option<CollectionName>,
    /// How much is done: versions of the collection, or objects.
    pub done: u64,
    /// How much there is to do, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}

/// Who wants to know, if anybody.
pub(crate) struct Listener<'a, T = Progress>(Option<Box<dyn FnMut(T) + Send + 'a>>);

impl<T> Default for Listener<'_, T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'a, T> Listener<'a, T> {
    pub(crate) fn new(listen: impl FnMut(T) + Send + 'a) -> Self {
        Self(Some(Box::new(listen)))
    }

    pub(crate) fn hear(&mut self, make: impl FnOnce() -> T) {
        if let Some(listen) = &mut self.0 {
            listen(make());
        }
    }
}

impl Listener<'_> {
    pub(crate) fn tell(
        &mut self,
        collection: Option<&CollectionName>,
        done: u64,
        total: Option<u64>,
    ) {
        self.hear(|| Progress {
            collection: collection.cloned(),
            done,
            total,
        });
    }
}

impl<T> fmt::Debug for Listener<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Listener").field(&self.0.is_some()).finish()
    }
}

//! What can go wrong in storage.

use xronox_model::CollectionName;

/// A failure of a storage backend. Only [`Indeterminate`](Self::Indeterminate)
/// leaves open whether something was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The backend cannot be reached, is busy or is full. Nothing was written.
    #[error("storage is unavailable: {message}")]
    Unavailable {
        /// What happened.
        message: String,
        /// The cause.
        #[source]
        source: Option<Cause>,
    },
    /// The connection or disk failed during the commit itself.
    #[error("the outcome of the commit is unknown: {message}")]
    Indeterminate {
        /// What happened.
        message: String,
        /// The cause.
        #[source]
        source: Option<Cause>,
    },
    /// Stored data is not what was written.
    #[error("stored data is damaged: {0}")]
    Corrupt(String),
    /// The request breaks the contract or cannot be stored.
    #[error("{0}")]
    Refused(String),
    /// This backend cannot do that.
    #[error("unsupported: {0}")]
    Unsupported(String),
    /// A batch was prepared before the collection's indexes changed.
    #[error("the indexes of {collection} have changed")]
    StaleIndexes {
        /// The collection.
        collection: CollectionName,
    },
    /// The database is [sealed](crate::Catalog::seal), or was removed. Nothing
    /// was written, and nothing ever will be through this handle.
    #[error("the database is sealed: it is being moved or removed, or was; open it again")]
    Sealed,
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

/// The cause of a failure, as the backend reported it.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

impl StoreError {
    /// An [`Unavailable`](Self::Unavailable) without a cause.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::Unavailable {
            message: message.into(),
            source: None,
        }
    }
}

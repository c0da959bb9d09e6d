//! The one error of the library.

use std::fmt;

use xronox_model::{Attempt, CollectionName, Invalid, Path, RecordId};
use xronox_store::StoreError;

use crate::config::{Problem, Problems};

/// What went wrong, with a [kind](ErrorKind) to branch on.
///
/// The message names the operation, the collection and the id, never a secret
/// and never anybody's data. Unless the kind is
/// [`Indeterminate`](ErrorKind::Indeterminate), the write that it is about did
/// not happen. What writes many records ([`create_many`](crate::Collection::create_many),
/// [`import`](crate::Collection::import),
/// [`restore_collection`](crate::Collection::restore_collection)) says which
/// of them that is; others may be written.
#[derive(Debug, thiserror::Error)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    position: Option<u64>,
    unindexed: Vec<Path>,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What a caller can do about an [`Error`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no such record, version or collection.
    NotFound,
    /// The id or a unique key is taken.
    AlreadyExists,
    /// The record is not at the expected version; read it and try again.
    Conflict {
        /// The expected `ov`.
        expected: u64,
        /// The record's `ov`.
        actual: u64,
    },
    /// The record is deleted.
    Deleted,
    /// Retention removed the version.
    Pruned,
    /// The input is wrong; the message says where.
    Invalid,
    /// The handle may not do that.
    Forbidden,
    /// No such tenant is configured.
    UnknownTenant,
    /// The configuration or the backend cannot do that.
    Unsupported,
    /// Storage is busy, full or out of reach. Try again.
    Unavailable,
    /// The commit may or may not have happened; ask
    /// [`outcome`](crate::Collection::outcome).
    Indeterminate {
        /// The record.
        id: RecordId,
        /// The write.
        attempt: Attempt,
    },
    /// Stored data is not what was written.
    Corrupt,
    /// The configuration is wrong; [`problems`](Error::problems) says where.
    Config,
    /// The store was closed.
    Closed,
}

impl ErrorKind {
    /// The name of the kind, such as `NotFound`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NotFound => "NotFound",
            Self::AlreadyExists => "AlreadyExists",
            Self::Conflict { .. } => "Conflict",
            Self::Deleted => "Deleted",
            Self::Pruned => "Pruned",
            Self::Invalid => "Invalid",
            Self::Forbidden => "Forbidden",
            Self::UnknownTenant => "UnknownTenant",
            Self::Unsupported => "Unsupported",
            Self::Unavailable => "Unavailable",
            Self::Indeterminate { .. } => "Indeterminate",
            Self::Corrupt => "Corrupt",
            Self::Config => "Config",
            Self::Closed => "Closed",
        }
    }
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            position: None,
            unindexed: Vec::new(),
            source: None,
        }
    }

    pub(crate) fn with_source(
        kind: ErrorKind,
        message: String,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self {
            kind,
            message,
            position: None,
            unindexed: Vec::new(),
            source: Some(Box::new(source)),
        }
    }

    /// The error of an input that is wrong in these places, if there are any.
    pub(crate) fn of_all(wrong: Vec<Invalid>) -> Result<(), Self> {
        if wrong.is_empty() {
            return Ok(());
        }
        let told: Vec<String> = wrong.iter().map(Invalid::to_string).collect();
        let message = told.join("; ");
        Err(Self::with_source(ErrorKind::Invalid, message, Wrong(wrong)))
    }

    /// Where the input is wrong, and what is wrong there, as far as that is
    /// known: every place where a document is not what its collection demands.
    pub fn places(&self) -> &[Invalid] {
        let Some(source) = self.source.as_deref() else {
            return &[];
        };
        match (source.downcast_ref(), source.downcast_ref()) {
            (Some(Wrong(all)), _) => all,
            (None, Some(one)) => std::slice::from_ref(one),
            (None, None) => &[],
        }
    }

    /// What is wrong with a configuration, if that is what it is about.
    pub fn problems(&self) -> &[Problem] {
        let source = self.source.as_deref();
        let problems = source.and_then(|source| source.downcast_ref::<Problems>());
        problems.map_or(&[], |problems| &problems.all)
    }

    /// The error of a commit that several callers waited for.
    pub(crate) fn shared(error: std::sync::Arc<StoreError>) -> Self {
        Self {
            kind: kind_of(&error),
            message: error.to_string(),
            position: None,
            unindexed: Vec::new(),
            source: Some(Box::new(error)),
        }
    }

    /// The same, for another one that it happened to as well.
    pub(crate) fn again(&self) -> Self {
        Self {
            kind: self.kind.clone(),
            message: self.message.clone(),
            position: self.position,
            unindexed: self.unindexed.clone(),
            source: None,
        }
    }

    /// The error of something that several callers waited for.
    pub(crate) fn of_several(error: std::sync::Arc<Self>) -> Self {
        Self {
            kind: error.kind.clone(),
            message: error.message.clone(),
            position: None,
            unindexed: Vec::new(),
            source: Some(Box::new(error)),
        }
    }

    /// Whether a write failed because its database is sealed.
    pub(crate) fn is_sealed(&self) -> bool {
        let source = self.source.as_deref();
        let source = source.and_then(|source| source.downcast_ref());
        matches!(source, Some(StoreError::Sealed))
    }

    /// What a caller can do about it.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// The same, of one record of many.
    pub(crate) fn at_position(mut self, position: u64) -> Self {
        self.message = format!("record {position}: {}", self.message);
        self.position = Some(position);
        self
    }

    /// Which record of an [`import`](crate::Collection::import) it was, counted
    /// from 1 in the order in which they were added.
    pub fn position(&self) -> Option<u64> {
        self.position
    }

    /// The same, of a query that would not be refused if these fields had
    /// indexes.
    pub(crate) fn lacking_indexes(mut self, of: Vec<Path>) -> Self {
        self.unindexed = of;
        self
    }

    /// The fields that need an index
    /// ([`ensure_index`](crate::Collection::ensure_index)) for the query not to
    /// be refused; none if that is not what was wrong.
    pub fn unindexed(&self) -> &[Path] {
        &self.unindexed
    }

    /// The same, of one version of many.
    pub(crate) fn of_version(mut self, id: &RecordId, ov: u64) -> Self {
        self.message = format!("version {ov} of {id}: {}", self.message);
        self
    }

    /// The error of a part, which it names.
    pub(crate) fn inside(mut self, part: &str) -> Self {
        self.message = format!("{part}: {}", self.message);
        self
    }

    /// The same, with what was being done in front of the message.
    pub(crate) fn during(mut self, doing: &Doing<'_>) -> Self {
        self.message = format!("{doing}: {}", self.message);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Invalid> for Error {
    fn from(invalid: Invalid) -> Self {
        Self {
            kind: ErrorKind::Invalid,
            message: invalid.to_string(),
            position: None,
            unindexed: Vec::new(),
            source: Some(Box::new(invalid)),
        }
    }
}

impl From<xronox_model::json::JsonError> for Error {
    fn from(error: xronox_model::json::JsonError) -> Self {
        Self {
            kind: ErrorKind::Invalid,
            message: error.to_string(),
            position: None,
            unindexed: Vec::new(),
            source: Some(Box::new(error)),
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self {
            kind: kind_of(&error),
            message: error.to_string(),
            position: None,
            unindexed: Vec::new(),
            source: Some(Box::new(error)),
        }
    }
}

/// All that is wrong with an input.
#[derive(Debug, thiserror::Error)]
#[error("{} places are wrong", .0.len())]
struct Wrong(Vec<Invalid>);

fn kind_of(error: &StoreError) -> ErrorKind {
    match error {
        StoreError::Corrupt(_) => ErrorKind::Corrupt,
        StoreError::Refused(_) => ErrorKind::Invalid,
        StoreError::Unsupported(_) => ErrorKind::Unsupported,
        StoreError::Closed => ErrorKind::Closed,
        _ => ErrorKind::Unavailable,
    }
}

/// What is being done, for messages.
#[derive(Clone, Copy)]
pub(crate) struct Doing<'a> {
    pub(crate) what: &'static str,
    pub(crate) collection: &'a CollectionName,
    pub(crate) id: Option<&'a RecordId>,
}

impl fmt::Display for Doing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.what, self.collection)?;
        match self.id {
            Some(id) => write!(f, "/{id}"),
            None => Ok(()),
        }
    }
}

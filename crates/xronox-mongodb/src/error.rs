//! What the driver's errors mean to the store.

use mongodb::error::{
    CommandError, Error, ErrorKind, InsertManyError, TRANSIENT_TRANSACTION_ERROR,
    UNKNOWN_TRANSACTION_COMMIT_RESULT, WriteFailure,
};
use xronox_store::StoreError;

/// A call that failed, either side of [`mapped`].
///
/// Inside a commit the driver's own error decides what to do next; outside it
/// is mapped at once.
#[derive(Debug)]
pub(crate) enum Failure {
    Driver(Box<Error>),
    Store(StoreError),
}

impl From<Error> for Failure {
    fn from(failure: Error) -> Self {
        Self::Driver(Box::new(failure))
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Driver(failure) => mapped(&failure, "the server"),
            Failure::Store(error) => error,
        }
    }
}

/// A key or id that is there already.
pub(crate) const DUPLICATE_KEY: i32 = 11000;
/// The session of a command was killed.
pub(crate) const INTERRUPTED: i32 = 11601;
/// `NotWritablePrimary` and its kin: the server is not, or no longer, a primary.
const NO_PRIMARY: [i32; 7] = [10107, 13435, 13436, 11600, 11602, 189, 91];
/// Those of them that a server says before it does anything.
const NEVER_PRIMARY: [i32; 3] = [10107, 13435, 13436];
/// A command that is broken off: the primary steps down or ends, the command
/// is killed or out of time, its client is gone, a lock is not had, the network
/// of the servers fails.
const BROKEN_OFF: [i32; 16] = [
    189,
    91,
    11600,
    11602,
    INTERRUPTED,
    50,
    262,
    290,
    279,
    46841,
    24,
    112,
    6,
    7,
    89,
    202,
];
/// A validator refuses a document: ours let nothing in at all.
const DOCUMENT_VALIDATION: i32 = 121;
/// A collection or database that is not there.
pub(crate) const NAMESPACE_NOT_FOUND: i32 = 26;
/// An index that is not there.
pub(crate) const INDEX_NOT_FOUND: i32 = 27;
/// A collection that is there already.
pub(crate) const NAMESPACE_EXISTS: i32 = 48;
/// `CollectionUUIDMismatch`: the collection that was meant is gone, though
/// another one may have its name.
pub(crate) const COLLECTION_GONE: i32 = 361;

impl Failure {
    /// The server's code, if a server answered.
    pub(crate) fn code(&self) -> Option<i32> {
        match self {
            Self::Driver(failure) => code(failure),
            Self::Store(_) => None,
        }
    }

    /// Whether a transaction that met it did nothing and may be tried again.
    pub(crate) fn is_transient(&self) -> bool {
        self.has_label(TRANSIENT_TRANSACTION_ERROR)
    }

    /// Whether a transaction met it because the server is out of reach, or
    /// takes no writes at the moment.
    pub(crate) fn is_away(&self) -> bool {
        let away = |code| NO_PRIMARY.contains(&code);
        self.is_transient() && self.code().is_none_or(away)
    }

    /// Whether a server refused a command of many statements before it did any
    /// of them.
    pub(crate) fn is_refusal(&self) -> bool {
        let Self::Driver(failure) = self else {
            return false;
        };
        match &*failure.kind {
            ErrorKind::Command(command) => !BROKEN_OFF.contains(&command.code),
            _ => false,
        }
    }

    /// Whether the server refused it because it is not the primary.
    pub(crate) fn is_not_primary(&self) -> bool {
        let code = self.code();
        code.is_some_and(|code| NEVER_PRIMARY.contains(&code))
    }

    /// Whether it leaves open if the transaction was committed.
    pub(crate) fn is_unknown_commit(&self) -> bool {
        self.has_label(UNKNOWN_TRANSACTION_COMMIT_RESULT)
    }

    fn has_label(&self, label: &str) -> bool {
        match self {
            Self::Driver(failure) => failure.contains_label(label),
            Self::Store(_) => false,
        }
    }
}

/// The server's code of an error.
pub(crate) fn code(failure: &Error) -> Option<i32> {
    match &*failure.kind {
        ErrorKind::Command(command) => Some(command.code),
        ErrorKind::Write(WriteFailure::WriteError(write)) => Some(write.code),
        ErrorKind::Write(WriteFailure::WriteConcernError(concern)) => Some(concern.code),
        ErrorKind::InsertMany(InsertManyError {
            write_errors: Some(errors),
            ..
        }) => errors.first().map(|error| error.code),
        _ => None,
    }
}

/// Maps an error of a call that wrote nothing, or whose writes do not count
/// yet. `hosts` says where it happened.
///
/// The driver's error is not kept as the cause: a server's message may quote
/// documents.
pub(crate) fn mapped(failure: &Error, hosts: &str) -> StoreError {
    let message = match &*failure.kind {
        ErrorKind::Authentication { .. } => format!("{hosts} refuses the credentials"),
        ErrorKind::ServerSelection { message, .. } => {
            // An earlier refusal shows in the state of the servers only.
            if message.contains("Authentication failed") || message.contains("SCRAM failure") {
                format!("{hosts} refuses the credentials")
            } else {
                format!("no server of {hosts} can be used{}", reasons(message))
            }
        }
        ErrorKind::Command(command) => return of_command(command, hosts),
        ErrorKind::Write(_) | ErrorKind::InsertMany(_) => match code(failure) {
            Some(code) => return of_code(code, "a write", hosts),
            None => format!("{hosts} failed at a write"),
        },
        ErrorKind::Io(cause) => format!("the connection to {hosts} failed ({cause})"),
        ErrorKind::ConnectionPoolCleared { .. } => format!("the connections to {hosts} failed"),
        ErrorKind::DnsResolve { message, .. } => format!("{hosts} cannot be resolved: {message}"),
        ErrorKind::InvalidTlsConfig { message, .. } => {
            format!("the TLS settings for {hosts} cannot be used: {message}")
        }
        ErrorKind::Shutdown => return StoreError::Closed,
        ErrorKind::IncompatibleServer { message, .. } => {
            return StoreError::Unsupported(format!("{hosts}: {message}"));
        }
        ErrorKind::Bson(_) | ErrorKind::InvalidResponse { .. } => {
            return StoreError::Corrupt(format!("{hosts} gave an answer that cannot be read"));
        }
        ErrorKind::InvalidArgument { message, .. } => {
            return StoreError::Refused(format!("the driver refuses the request: {message}"));
        }
        _ => format!("{hosts} failed"),
    };
    StoreError::unavailable(message)
}

/// Whether no server has answered that could have done what was asked.
pub(crate) fn is_silence(failure: &Error) -> bool {
    matches!(
        &*failure.kind,
        ErrorKind::Io(_)
            | ErrorKind::ServerSelection { .. }
            | ErrorKind::ConnectionPoolCleared { .. }
            | ErrorKind::DnsResolve { .. }
    )
}

/// Why servers cannot be reached, from the driver's account of their state. The
/// rest of that account may quote what a server said, documents included.
fn reasons(state: &str) -> String {
    let mut reasons: Vec<&str> = state
        .split("I/O error: ")
        .skip(1)
        .filter_map(|rest| rest.split(", labels").next())
        .collect();
    reasons.sort_unstable();
    reasons.dedup();
    if reasons.is_empty() {
        // They answer, but not as what the URI looks for.
        return ": none is a primary of the replica set that the URI names".to_owned();
    }
    format!(": {}", reasons.join("; "))
}

fn of_command(command: &CommandError, hosts: &str) -> StoreError {
    of_code(command.code, &command.code_name, hosts)
}

/// Maps a server's code; `name` is what it calls it.
pub(crate) fn of_code(code: i32, name: &str, hosts: &str) -> StoreError {
    match code {
        // BSONObjectTooLarge, and what it is called inside a transaction.
        10334 | 17280 | 17419 | 17420 => {
            StoreError::Refused("a document is larger than MongoDB's 16 MiB".to_owned())
        }
        // AuthenticationFailed, Unauthorized.
        18 => StoreError::unavailable(format!("{hosts} refuses the credentials")),
        13 => StoreError::unavailable(format!("{hosts} refuses this user permission")),
        // OutOfDiskSpace.
        14031 => StoreError::unavailable(format!("{hosts} has no space left")),
        50 => StoreError::unavailable(format!("{hosts} took too long")),
        code if NO_PRIMARY.contains(&code) => StoreError::unavailable(format!(
            "{hosts} has no primary at the moment ({name}, {code})"
        )),
        DOCUMENT_VALIDATION => StoreError::Sealed,
        // IllegalOperation: what a standalone says to a transaction.
        20 => StoreError::Unsupported(format!("{hosts} cannot do that ({name}, {code})")),
        // InvalidNamespace.
        73 => StoreError::Refused(format!(
            "a name that MongoDB does not take ({name}, {code})"
        )),
        _ => StoreError::unavailable(format!("{hosts} failed ({name}, {code})")),
    }
}

/// The error for a URI that cannot be used. Never shows what may be a secret.
pub(crate) fn unusable_uri(uri: &str, failure: &Error) -> StoreError {
    let scheme = uri.split("://").next().unwrap_or_default();
    if !matches!(scheme, "mongodb" | "mongodb+srv") {
        return StoreError::Refused(
            "a MongoDB URI begins with mongodb:// or mongodb+srv://".to_owned(),
        );
    }
    if let ErrorKind::DnsResolve { .. } = &*failure.kind {
        return mapped(failure, "the cluster");
    }
    // The driver quotes what it does not understand, and that may be a
    // password that stands in the wrong place.
    StoreError::Refused(
        "the MongoDB URI cannot be used: its form is \
         mongodb://[user:password@]host[:port][,…]/[database][?option=value&…]"
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::reasons;

    #[test]
    fn only_the_causes_of_the_driver_are_shown() {
        let state = "Server selection timeout: No available servers. Topology: { Type: Unknown, \
            Servers: [ { Address: a:1, Type: Unknown, Error: Kind: I/O error: Connection refused \
            (os error 111), labels: {\"RetryableError\"}, source: None, server response: \
            Some({ \"_id\": \"somebody's\" }) }, { Address: b:1, Type: Unknown, Error: Kind: I/O \
            error: Connection refused (os error 111), labels: {} } ] }";
        assert_eq!(reasons(state), ": Connection refused (os error 111)");
        assert!(!reasons("Topology: { \"_id\": \"somebody's\" }").contains("somebody"));
    }
}

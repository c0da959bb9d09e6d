//! What SQLite's errors mean to the store.

use rusqlite::{Error, ErrorCode};
use xronox_store::StoreError;

/// Maps an error of a statement, which leaves nothing written.
pub(crate) fn storage(error: Error) -> StoreError {
    if matches!(
        error,
        Error::InvalidColumnType(..)
            | Error::FromSqlConversionFailure(..)
            | Error::IntegralValueOutOfRange(..)
            | Error::Utf8Error(..)
    ) {
        return StoreError::Corrupt(format!("a stored value is not of its type ({error})"));
    }
    let message = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            return StoreError::Corrupt(format!("the database file is damaged ({error})"));
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another process holds the database".to_owned()
        }
        Some(ErrorCode::DiskFull) => "no space left for the database".to_owned(),
        Some(ErrorCode::ReadOnly) => "the database is read-only".to_owned(),
        Some(ErrorCode::CannotOpen) => "the database file cannot be opened".to_owned(),
        Some(ErrorCode::PermissionDenied) => "no permission for the database file".to_owned(),
        _ => format!("the database failed ({error})"),
    };
    StoreError::Unavailable {
        message,
        source: Some(error.into()),
    }
}

/// Whether the table or column asked for is not there (any more).
pub(crate) fn no_such_table(error: &Error) -> bool {
    matches!(error, Error::SqliteFailure(_, Some(text)) if text.starts_with("no such table"))
        || matches!(error, Error::SqlInputError { msg, .. } if msg.starts_with("no such table"))
}

//! What a failed request means for the caller.

use std::{error::Error, fmt, io, time::Duration};

use super::refusal::{Refusal, SpaceProblem};
use crate::StoreError;

const UNREACHABLE: &str = "the store cannot be reached";

/// A request that failed for good.
#[derive(Debug)]
pub(super) enum Failure {
    /// The store gave no answer in this time.
    Silence(Duration),
    /// It was not asked, since it gave others none.
    Down(StoreError),
    /// The store's own error.
    Store(object_store::Error),
}

impl From<object_store::Error> for Failure {
    fn from(error: object_store::Error) -> Self {
        Self::Store(error)
    }
}

impl Failure {
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Self::Store(object_store::Error::NotFound { .. }))
    }

    /// What is wrong until someone sees to it, if that is known.
    pub(super) fn problem(&self) -> Option<SpaceProblem> {
        match self {
            Self::Silence(_) | Self::Down(_) => None,
            Self::Store(error) => SpaceProblem::behind(error),
        }
    }

    /// Whether the same request may fare better in a moment.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Silence(_) => true,
            Self::Store(error @ object_store::Error::Generic { .. }) => {
                match Refusal::behind(error) {
                    Some(refusal) => refusal.is_passing(),
                    None if SpaceProblem::behind(error).is_some() => false,
                    None => io_cause(error).is_none_or(|error| lasting(error.kind()).is_none()),
                }
            }
            Self::Store(_) | Self::Down(_) => false,
        }
    }

    /// Whether no store has answered.
    pub(super) fn is_silence(&self) -> bool {
        match self {
            Self::Silence(_) => true,
            Self::Down(_) => false,
            Self::Store(error) => is_unreachable(error),
        }
    }

    /// Why no store has answered.
    pub(super) fn in_short(&self) -> String {
        match self {
            Self::Silence(after) => format!("no answer within {} s", after.as_secs_f32()),
            Self::Down(error) => error.to_string(),
            Self::Store(_) => UNREACHABLE.to_owned(),
        }
    }

    /// As the caller sees it: "could not `verb` `place`: why".
    pub(super) fn into_error(self, verb: &str, place: &dyn fmt::Display) -> StoreError {
        use object_store::Error as E;

        let error = match self {
            Self::Silence(after) => {
                let after = after.as_secs_f32();
                return StoreError::unavailable(format!(
                    "could not {verb} {place}: no answer within {after} s"
                ));
            }
            Self::Down(StoreError::Unavailable { message, .. }) => {
                return StoreError::unavailable(format!("could not {verb} {place}: {message}"));
            }
            Self::Down(error) => return error,
            Self::Store(error) => error,
        };
        let cause = io_cause(&error).map(io::Error::kind);
        let refused = match SpaceProblem::behind(&error) {
            Some(problem) => Some(problem.to_string()),
            None => Refusal::behind(&error).map(ToString::to_string),
        };
        let why = match (&error, refused) {
            (E::InvalidPath { .. }, _) => {
                return StoreError::Refused(format!("the store cannot {verb} {place}: {error}"));
            }
            (E::NotSupported { .. } | E::NotImplemented { .. }, _) => {
                return StoreError::Unsupported(format!(
                    "the store cannot {verb} {place}: {error}"
                ));
            }
            (_, Some(refused)) => refused,
            (E::NotFound { .. }, None) => "there is no such bucket or object".to_owned(),
            (E::PermissionDenied { .. }, None) => "permission denied".to_owned(),
            (E::Unauthenticated { .. }, None) => "the credentials were refused".to_owned(),
            (_, None) => match cause.and_then(lasting) {
                Some(Lasting::Unfit(why)) => {
                    return StoreError::Refused(format!("the store cannot {verb} {place}: {why}"));
                }
                Some(Lasting::Unable(why)) => why.to_owned(),
                None if is_unreachable(&error) => UNREACHABLE.to_owned(),
                None => "the store failed".to_owned(),
            },
        };
        StoreError::Unavailable {
            message: format!("could not {verb} {place}: {why}"),
            source: Some(error.into()),
        }
    }
}

/// Whether there was not even a connection.
#[cfg(feature = "cloud")]
fn is_unreachable(error: &object_store::Error) -> bool {
    use object_store::client::{HttpError, HttpErrorKind};

    behind::<HttpError>(error).is_some_and(|error| error.kind() == HttpErrorKind::Connect)
}

#[cfg(not(feature = "cloud"))]
fn is_unreachable(_: &object_store::Error) -> bool {
    false
}

/// Why a request fails until someone does something about it.
enum Lasting {
    /// The store can take nothing.
    Unable(&'static str),
    /// The store cannot take this key.
    Unfit(&'static str),
}

fn lasting(kind: io::ErrorKind) -> Option<Lasting> {
    use io::ErrorKind as K;

    Some(match kind {
        K::StorageFull => Lasting::Unable("no space left on the device"),
        K::QuotaExceeded => Lasting::Unable("the disk quota is used up"),
        K::ReadOnlyFilesystem => Lasting::Unable("the file system is read-only"),
        K::PermissionDenied => Lasting::Unable("permission denied"),
        K::InvalidFilename => Lasting::Unfit("the file system takes no name as long as this"),
        K::NotADirectory | K::IsADirectory => Lasting::Unfit("one key is a folder of the other"),
        _ => return None,
    })
}

/// The operating system's error at the root of this one.
fn io_cause(error: &object_store::Error) -> Option<&io::Error> {
    behind(error)
}

/// The first error of this type in the chain of causes.
pub(super) fn behind<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref() {
            return Some(error);
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: io::ErrorKind) -> Failure {
        Failure::Store(object_store::Error::Generic {
            store: "test",
            source: Box::new(io::Error::from(kind)),
        })
    }

    #[test]
    fn what_will_not_pass_is_not_repeated() {
        for kind in [
            io::ErrorKind::StorageFull,
            io::ErrorKind::ReadOnlyFilesystem,
            io::ErrorKind::PermissionDenied,
            io::ErrorKind::InvalidFilename,
        ] {
            assert!(!of(kind).is_passing(), "{kind}");
        }
        assert!(of(io::ErrorKind::ConnectionReset).is_passing());
        assert!(Failure::Silence(Duration::ZERO).is_passing());
    }

    #[test]
    fn a_full_disk_says_so() {
        let error = of(io::ErrorKind::StorageFull).into_error("write", &"files/records/a");
        assert_eq!(
            error.to_string(),
            "storage is unavailable: could not write files/records/a: no space left on the device"
        );
        let error = of(io::ErrorKind::InvalidFilename).into_error("write", &"files/records/a");
        assert!(matches!(error, StoreError::Refused(_)), "{error}");
    }
}

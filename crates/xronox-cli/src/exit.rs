//! How the command ends: exit codes, and the errors that lead to them.

use std::{
    fmt::{self, Write as _},
    io,
    path::Path,
};

use serde_json::json;
use xronox::ErrorKind;

/// How the command ended. [`TABLE`] says what each means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    NotFound = 3,
    Clash = 4,
    Invalid = 5,
    Unavailable = 6,
    Corrupt = 7,
    Closed = 8,
    Refused = 9,
    Indeterminate = 10,
    Interrupted = 130,
}

/// Every exit code, the error kinds (as `--json` names them) that lead to it,
/// and its meaning. Help and documentation are made from this.
pub(crate) const TABLE: [(Exit, &str, &str); 12] = [
    (Exit::Done, "", "done"),
    (
        Exit::Failed,
        "Io",
        "`verify` found damage, or a file or pipe failed",
    ),
    (Exit::Usage, "Usage", "the command line is wrong"),
    (
        Exit::NotFound,
        "NotFound, Pruned",
        "no such store, file, record or version (any more)",
    ),
    (
        Exit::Clash,
        "Conflict, AlreadyExists, Deleted",
        "the record is not in the state that was expected",
    ),
    (
        Exit::Invalid,
        "Invalid",
        "the input is wrong; the message says where",
    ),
    (
        Exit::Unavailable,
        "Unavailable",
        "storage is busy, full or out of reach; try again",
    ),
    (
        Exit::Corrupt,
        "Corrupt",
        "stored data is not what was written",
    ),
    (Exit::Closed, "Closed", "the store was closed meanwhile"),
    (
        Exit::Refused,
        "Forbidden, Unsupported, Config, UnknownTenant",
        "the settings or the storage do not allow it",
    ),
    (
        Exit::Indeterminate,
        "Indeterminate",
        "the write may or may not have happened; look before trying again",
    ),
    (
        Exit::Interrupted,
        "Interrupted",
        "stopped by Ctrl-C; what was reported as written stays written",
    ),
];

/// The table of exit codes as `--help` shows it.
pub(crate) fn help() -> String {
    let mut text = String::from("Exit codes:\n");
    for (exit, kinds, meaning) in TABLE {
        let code = exit as u8;
        let _ = write!(text, "  {code:>3}  {meaning}");
        if !kinds.is_empty() {
            let _ = write!(text, " [{kinds}]");
        }
        text.push('\n');
    }
    text.push_str(
        "\nData goes to standard output, everything else to standard error. With --json an\n\
         error is {\"error\":{\"kind\",\"message\"}}, its kind one of those in brackets.",
    );
    text
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not do what was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    kind: &'static str,
    message: String,
}

impl Failure {
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::NotFound,
            kind: "NotFound",
            message: message.into(),
        }
    }

    pub(crate) fn already_exists(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Clash,
            kind: "AlreadyExists",
            message: message.into(),
        }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Invalid,
            kind: "Invalid",
            message: message.into(),
        }
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Unavailable,
            kind: "Unavailable",
            message: message.into(),
        }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Usage,
            kind: "Usage",
            message: message.into(),
        }
    }

    pub(crate) fn interrupted(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Interrupted,
            kind: "Interrupted",
            message: message.into(),
        }
    }

    /// The failure of a file that the caller named.
    pub(crate) fn file(path: &Path, error: &io::Error) -> Self {
        let found = error.kind() != io::ErrorKind::NotFound;
        Self {
            exit: if found { Exit::Failed } else { Exit::NotFound },
            kind: if found { "Io" } else { "NotFound" },
            message: format!("{}: {error}", path.display()),
        }
    }

    /// The same, with more said about it.
    pub(crate) fn with(mut self, more: &str) -> Self {
        self.message.push_str(more);
        self
    }

    /// The same as what `verify` finds: it looks for damage, so that is no
    /// reason of its own to fail.
    pub(crate) fn found_by_verify(mut self) -> Self {
        if self.exit == Exit::Corrupt {
            self.exit = Exit::Failed;
        }
        self
    }

    /// Whether nobody is there any more to read what is printed.
    fn unheard(&self) -> bool {
        self.exit == Exit::Done
    }

    /// Tells the caller, as JSON or as text.
    pub(crate) fn print(&self, to: &mut impl io::Write, json: bool) {
        if self.unheard() {
            return;
        }
        // Where standard error is gone too there is nobody left to tell.
        let _ = if json {
            let error = json!({ "error": { "kind": self.kind, "message": self.message } });
            writeln!(to, "{error}")
        } else {
            // Problems of a configuration stand on lines of their own.
            let end = if self.kind == "Config" { '\n' } else { '\0' };
            let lines = self.message.split(end).map(crate::output::printable);
            writeln!(to, "xronox: {}", lines.collect::<Vec<_>>().join("\n"))
        };
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<xronox::Error> for Failure {
    fn from(error: xronox::Error) -> Self {
        let exit = match error.kind() {
            ErrorKind::NotFound | ErrorKind::Pruned => Exit::NotFound,
            ErrorKind::AlreadyExists | ErrorKind::Conflict { .. } | ErrorKind::Deleted => {
                Exit::Clash
            }
            ErrorKind::Invalid => Exit::Invalid,
            ErrorKind::Unavailable => Exit::Unavailable,
            ErrorKind::Corrupt => Exit::Corrupt,
            ErrorKind::Closed => Exit::Closed,
            ErrorKind::Indeterminate { .. } => Exit::Indeterminate,
            ErrorKind::Forbidden
            | ErrorKind::Unsupported
            | ErrorKind::Config
            | ErrorKind::UnknownTenant => Exit::Refused,
            _ => Exit::Failed,
        };
        Self {
            exit,
            kind: error.kind().name(),
            message: error.to_string(),
        }
    }
}

/// The failure of standard output. A reader that left early, as `head` does,
/// has what it wanted.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let left = error.kind() == io::ErrorKind::BrokenPipe;
        Self {
            exit: if left { Exit::Done } else { Exit::Failed },
            kind: "Io",
            message: format!("standard output: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_stands_once_in_the_table_and_in_the_help() {
        let codes: Vec<u8> = TABLE.iter().map(|(exit, ..)| *exit as u8).collect();
        assert!(codes.is_sorted_by(|a, b| a < b), "{codes:?}");
        let help = help();
        for (exit, _, meaning) in TABLE {
            assert!(help.contains(&format!("{:>3}  {meaning}", exit as u8)));
        }
    }

    #[test]
    fn the_documentation_has_the_same_table() {
        let table = TABLE.map(|(exit, kinds, meaning)| {
            format!("| {} | {meaning} | {kinds} |\n", exit as u8).replace("|  |", "| |")
        });
        let table = table.concat();
        let readme = include_str!("../README.md");
        assert!(
            readme.ends_with(&table),
            "README.md has to end with:\n{table}"
        );
    }

    #[test]
    fn a_reader_that_leaves_is_no_failure() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        let mut said = Vec::new();
        failure.print(&mut said, true);
        assert_eq!((failure.exit, said.len()), (Exit::Done, 0));
    }
}

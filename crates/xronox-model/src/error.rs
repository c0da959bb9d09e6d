//! What is wrong with a value, and where in it.

use std::fmt;

/// A value that the model refuses, with the place where it stands.
///
/// The message never quotes the value itself: it may be anybody's data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Invalid {
    path: String,
    message: String,
}

impl Invalid {
    /// Refuses the value at `path` (a dotted path, a name, or empty for the whole).
    pub fn at(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            message: message.into(),
        }
    }

    /// The dotted path, field or name that is wrong; empty for the whole value.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What is wrong there.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "`{}`: {}", self.path, self.message)
        }
    }
}

//! What is wrong with a configuration.

use std::{fmt, path::PathBuf};

use crate::{Error, ErrorKind};

/// Something that is wrong with a configuration, and where.
///
/// Shown in one line: ``databases.runtme: unknown key; did you mean `runtime`?``
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The place, such as `databases.runtime.tenantDatabases[0].dbName`; empty
    /// for the whole.
    pub path: String,
    /// What stands there, if it is of use; never a secret.
    pub found: Option<String>,
    /// What should stand there instead, or why what does cannot be.
    pub expected: String,
    /// What was perhaps meant.
    pub nearest: Option<String>,
}

impl Problem {
    pub(crate) fn new(path: &Trail, expected: impl Into<String>) -> Self {
        Self {
            path: path.to_string(),
            found: None,
            expected: expected.into(),
            nearest: None,
        }
    }

    pub(crate) fn found(mut self, found: impl Into<String>) -> Self {
        self.found = Some(found.into());
        self
    }

    pub(crate) fn nearest(mut self, nearest: Option<&str>) -> Self {
        self.nearest = nearest.map(str::to_owned);
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        match &self.found {
            Some(found) => write!(f, "found {found}, expected {}", self.expected)?,
            None => f.write_str(&self.expected)?,
        }
        match &self.nearest {
            Some(nearest) => write!(f, "; did you mean `{nearest}`?"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong with a configuration; what an
/// [`Error`] of kind [`Config`](ErrorKind::Config) is made of.
#[derive(Debug)]
pub(crate) struct Problems {
    /// The file, if it is one.
    pub(crate) file: Option<PathBuf>,
    pub(crate) all: Vec<Problem>,
}

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{}: ", file.display())?,
            None => f.write_str("configuration: ")?,
        }
        if let [only] = self.all.as_slice() {
            return only.fmt(f);
        }
        write!(f, "{} problems", self.all.len())?;
        for problem in &self.all {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl Problems {
    /// Of a configuration that is no file.
    pub(crate) fn of_all(all: Vec<Problem>) -> Self {
        Self { file: None, all }
    }

    pub(crate) fn into_error(self, kind: ErrorKind) -> Error {
        Error::with_source(kind, self.to_string(), self)
    }
}

impl From<Problems> for Error {
    fn from(problems: Problems) -> Self {
        problems.into_error(ErrorKind::Config)
    }
}

/// A way into a configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Trail(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    Key(String),
    Index(usize),
}

impl Trail {
    pub(crate) fn key(&self, key: &str) -> Self {
        self.step(Step::Key(key.to_owned()))
    }

    pub(crate) fn index(&self, index: usize) -> Self {
        self.step(Step::Index(index))
    }

    pub(crate) fn step(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    /// Several keys deep: `a.b`.
    pub(crate) fn keys(&self, keys: &str) -> Self {
        keys.split('.')
            .fold(self.clone(), |trail, key| trail.key(key))
    }

    pub(crate) fn steps(&self) -> &[Step] {
        &self.0
    }

    /// Whether one of the two leads through the other.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0) || other.0.starts_with(&self.0)
    }

    /// This, and then the other.
    pub(crate) fn join(&self, other: &Self) -> Self {
        Self([self.steps(), other.steps()].concat())
    }
}

impl fmt::Display for Trail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) if is_plain(key) => {
                    let dot = if i > 0 { "." } else { "" };
                    write!(f, "{dot}{key}")?;
                }
                // A key may be a misplaced URI with a password in it.
                Step::Key(key) => write!(f, "[{}]", super::mask::text(key))?,
            }
        }
        Ok(())
    }
}

fn is_plain(key: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-$*".contains(c);
    !key.is_empty() && key.len() <= 60 && key.chars().all(plain)
}

/// The name that a misspelt one is nearest to, if any is near.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    let near = |known: &&str| {
        let far = strsim::damerau_levenshtein(&name, &known.to_lowercase());
        let most = (known.chars().count().max(name.chars().count()) / 3).max(1);
        (far <= most).then_some(far)
    };
    let known = known
        .into_iter()
        .filter_map(|known| Some((near(&known)?, known)));
    known.min_by_key(|(far, _)| *far).map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_a_near_one() {
        let known = ["metadata", "knowledge", "runtime", "logs"];
        assert_eq!(nearest("runtme", known), Some("runtime"));
        assert_eq!(nearest("metaData", known), Some("metadata"));
        assert_eq!(nearest("log", known), Some("logs"));
        assert_eq!(nearest("storage", known), None);
        assert_eq!(nearest("", known), None);
    }

    #[test]
    fn paths_read_as_in_the_file() {
        let trail = Trail::default().keys("a.b").index(2).key("c-d").key("e f");
        assert_eq!(trail.to_string(), "a.b[2].c-d[\"e f\"]");
        let secret = Trail::default().key("x").key("mongodb://ann:hush@db");
        assert_eq!(secret.to_string(), "x[\"mongodb://***@db\"]");
    }
}

//! Dotted paths into documents.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::Invalid;

/// A dotted path such as `address.city` or `items.0.price`.
///
/// `.` separates segments; a dot or backslash that belongs to a property name
/// is written `\.` or `\\`. Segments are never empty and hold no NUL.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Path(Arc<[String]>);

impl Path {
    /// Builds a path from raw segments, which need no escaping.
    ///
    /// # Errors
    ///
    /// [`Invalid`] if there is no segment, or one is empty or holds a NUL.
    pub fn from_segments<I, S>(segments: I) -> Result<Self, Invalid>
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        let segments: Vec<String> = segments.into_iter().map(Into::into).collect();
        let path = Self(segments.into());
        if path.0.is_empty() {
            return Err(Invalid::at("", "a path needs at least one segment"));
        }
        if path.0.iter().any(String::is_empty) {
            return Err(Invalid::at(path.to_string(), "a path has an empty segment"));
        }
        if path.0.iter().any(|s| s.contains('\0')) {
            return Err(Invalid::at(
                path.to_string().replace('\0', "\\0"),
                "a property name cannot hold a NUL character",
            ));
        }
        Ok(path)
    }

    /// The unescaped segments, outermost first.
    pub fn segments(&self) -> &[String] {
        &self.0
    }

    /// The first segment.
    pub fn root(&self) -> &str {
        &self.0[0]
    }

    /// Whether `self` is `other` or lies inside it.
    pub fn starts_with(&self, other: &Path) -> bool {
        self.0.starts_with(&other.0)
    }
}

/// Writes one property name so that it can stand in a dotted path.
pub(crate) fn escape_segment(segment: &str, out: &mut String) {
    for c in segment.chars() {
        if matches!(c, '.' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
}

/// The dotted path of `segment` inside the object at `parent` (empty for the top).
pub(crate) fn join(parent: &str, segment: &str) -> String {
    let mut out = String::with_capacity(parent.len() + segment.len() + 1);
    if !parent.is_empty() {
        out.push_str(parent);
        out.push('.');
    }
    escape_segment(segment, &mut out);
    out
}

impl FromStr for Path {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let mut segments = vec![String::new()];
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '.' => segments.push(String::new()),
                '\\' => match chars.next() {
                    Some(c @ ('.' | '\\')) => {
                        if let Some(last) = segments.last_mut() {
                            last.push(c);
                        }
                    }
                    _ => {
                        return Err(Invalid::at(
                            text,
                            "in a path a backslash stands only before a dot or a backslash",
                        ));
                    }
                },
                c => {
                    if let Some(last) = segments.last_mut() {
                        last.push(c);
                    }
                }
            }
        }
        Self::from_segments(segments)
    }
}

impl TryFrom<String> for Path {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<Path> for String {
    fn from(path: Path) -> Self {
        path.to_string()
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        for (i, segment) in self.0.iter().enumerate() {
            if i > 0 {
                out.push('.');
            }
            escape_segment(segment, &mut out);
        }
        f.write_str(&out)
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Path({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_round_trips_through_its_text() {
        for text in ["a", "a.b", r"a\.b.c", r"a\\", "0.ü"] {
            assert_eq!(text.parse::<Path>().unwrap().to_string(), text);
        }
        assert_eq!(r"a\.b.c".parse::<Path>().unwrap().segments(), ["a.b", "c"]);
    }

    #[test]
    fn broken_paths_are_refused() {
        for text in ["", ".", "a.", ".a", "a..b", r"a\b", "a\\", "a\0"] {
            assert!(text.parse::<Path>().is_err(), "{text:?}");
        }
    }
}

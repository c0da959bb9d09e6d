//! Who acts.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Invalid;

/// Who made a change: a type, an identifier of that type, and what may be
/// known besides.
///
/// Text form `type:identifier (name)`; a backslash escapes `:` in the type,
/// `(` in the identifier, `)` in the name, and itself. Metadata has no text form.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// `user`, `agent`, `system`, `api`, `service`, `job`, `cron`, `webhook` or a custom type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Which one of that type.
    pub identifier: String,
    /// For people to read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Anything else worth keeping.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
}

const MAX_PART_BYTES: usize = 256;

impl Identity {
    /// An identity of `kind`.
    ///
    /// # Errors
    ///
    /// [`Invalid`] if either is empty, over 256 bytes or holds control characters.
    pub fn new(kind: impl Into<String>, identifier: impl Into<String>) -> Result<Self, Invalid> {
        let identity = Self {
            kind: kind.into(),
            identifier: identifier.into(),
            name: None,
            metadata: None,
        };
        identity.check()?;
        Ok(identity)
    }

    /// What an actor given as plain text means: `type:identifier` (with an
    /// optional ` (name)`) is that identity, other text is the user of that
    /// name, and empty text is nobody.
    ///
    /// # Errors
    ///
    /// [`Invalid`] if the text is too long or holds control characters.
    pub fn from_actor(actor: &str) -> Result<Option<Self>, Invalid> {
        if actor.is_empty() {
            return Ok(None);
        }
        if let Ok(identity) = actor.parse() {
            return Ok(Some(identity));
        }
        Self::new("user", actor).map(Some)
    }

    /// Checks every part.
    ///
    /// # Errors
    ///
    /// [`Invalid`] naming the part that is empty, over 256 bytes or holds
    /// control characters.
    pub fn check(&self) -> Result<(), Invalid> {
        let part = |path: &str, text: &str| {
            if text.is_empty() {
                Err(Invalid::at(path, "cannot be empty"))
            } else if text.len() > MAX_PART_BYTES {
                Err(Invalid::at(
                    path,
                    format!("has at most {MAX_PART_BYTES} bytes"),
                ))
            } else if text.chars().any(char::is_control) {
                Err(Invalid::at(path, "cannot hold control characters"))
            } else {
                Ok(())
            }
        };
        part("actor.type", &self.kind)?;
        part("actor.identifier", &self.identifier)?;
        self.name
            .as_deref()
            .map_or(Ok(()), |name| part("actor.name", name))
    }
}

fn escape(text: &str, special: char, out: &mut String) {
    for c in text.chars() {
        if c == '\\' || c == special {
            out.push('\\');
        }
        out.push(c);
    }
}

/// Splits at the first unescaped `stop`, unescaping what stands before it.
fn take_until(text: &str, stop: char) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((i, c)) = chars.next() {
        if c == '\\' {
            out.push(chars.next()?.1);
        } else if c == stop {
            return Some((out, &text[i + c.len_utf8()..]));
        } else {
            out.push(c);
        }
    }
    None
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        escape(&self.kind, ':', &mut out);
        out.push(':');
        escape(&self.identifier, '(', &mut out);
        if let Some(name) = &self.name {
            out.push_str(" (");
            escape(name, ')', &mut out);
            out.push(')');
        }
        f.write_str(&out)
    }
}

impl FromStr for Identity {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let refused = || Invalid::at("actor", "not of the form `type:identifier (name)`");
        let (kind, rest) = take_until(text, ':').ok_or_else(refused)?;
        // A sentinel ends an identifier that has no name behind it.
        let ended = format!("{rest}(");
        let (identifier, tail) = take_until(&ended, '(').ok_or_else(refused)?;
        let (identifier, name) = if tail.is_empty() {
            (identifier, None)
        } else {
            let tail = tail.strip_suffix('(').ok_or_else(refused)?;
            let (name, end) = take_until(tail, ')').ok_or_else(refused)?;
            let identifier = identifier.strip_suffix(' ').ok_or_else(refused)?;
            if !end.is_empty() {
                return Err(refused());
            }
            (identifier.to_owned(), Some(name))
        };
        let identity = Self {
            kind,
            identifier,
            name,
            metadata: None,
        };
        identity.check()?;
        Ok(identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn actors_are_read_as_documented() {
        let actor = |text: &str| Identity::from_actor(text).unwrap();
        assert_eq!(actor(""), None);
        assert_eq!(actor("ann").unwrap().to_string(), "user:ann");
        assert_eq!(actor("job:night").unwrap().kind, "job");
        let named = actor("user:user-123 (John Doe)").unwrap();
        assert_eq!(named.identifier, "user-123");
        assert_eq!(named.name.as_deref(), Some("John Doe"));
    }

    proptest! {
        #[test]
        fn text_round_trips(kind in "\\PC{1,8}", identifier in "\\PC{1,12}", name in proptest::option::of("\\PC{1,8}")) {
            let identity = Identity { kind, identifier, name, metadata: None };
            prop_assert_eq!(identity.to_string().parse::<Identity>().unwrap(), identity);
        }
    }
}

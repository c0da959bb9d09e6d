//! Who acts.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    Invalid,
    json::{canonical, normalize},
};

/// Who made a change: a type, an identifier of that type, and what may be
/// known besides.
///
/// ```
/// use serde_json::json;
/// use xronox_model::Identity;
///
/// let ann = Identity::user("42")?.named("Ann (sales)")?;
/// let agent = Identity::agent("research-v2")?.described(json!({ "model": "m-7" }))?;
/// let scanner = Identity::new("scanner", "gate 3")?;
///
/// assert_eq!(ann.to_string(), r"user:42 (Ann (sales\))");
/// assert_eq!(ann.to_string().parse::<Identity>()?, ann);
/// assert_eq!(agent.to_string(), "agent:research-v2");
/// assert_eq!(scanner.kind, "scanner");
/// # Ok::<(), xronox_model::Invalid>(())
/// ```
///
/// # Text form
///
/// `type:identifier (name)`, the name only where there is one. A backslash
/// stands before each `:` in the type, `(` in the identifier, `)` in the name,
/// and backslash; everything else stands for itself. So every legal identity
/// is read back from its text, but for the metadata, which has no text form.
///
/// # JSON form
///
/// `{ type, identifier, name?, metadata? }`.
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
    /// Anything else worth keeping: up to 4,096 bytes as JSON, kept with each
    /// version that it makes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
}

const MAX_PART_BYTES: usize = 256;
const MAX_METADATA_BYTES: usize = 4096;

macro_rules! standard_types {
    ($($kind:ident: $what:literal),* $(,)?) => {
        impl Identity {
            $(
                #[doc = $what]
                ///
                /// # Errors
                ///
                /// As [`new`](Self::new).
                pub fn $kind(identifier: impl Into<String>) -> Result<Self, Invalid> {
                    Self::new(stringify!($kind), identifier)
                }
            )*
        }
    };
}

standard_types! {
    user: "A person.",
    agent: "An agent that acts by itself.",
    system: "A part of the system itself.",
    api: "A client of an interface that is open to others.",
    service: "A service among others.",
    job: "A piece of work in the background.",
    cron: "A task that runs at its times.",
    webhook: "A call from another system.",
}

impl Identity {
    /// An identity of `kind`: one of the standard types, which have a
    /// constructor each, or a type of your own.
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

    /// The same one, with a name for people to read.
    ///
    /// # Errors
    ///
    /// [`Invalid`] if the name is empty, over 256 bytes or holds control
    /// characters.
    pub fn named(mut self, name: impl Into<String>) -> Result<Self, Invalid> {
        self.name = Some(name.into());
        self.check()?;
        Ok(self)
    }

    /// The same one, with this metadata: a JSON object.
    ///
    /// # Errors
    ///
    /// [`Invalid`] if it is no object, has more than 4,096 bytes as JSON, or
    /// could not be kept exactly (see [`json`](crate::json)).
    pub fn described(mut self, metadata: Value) -> Result<Self, Invalid> {
        self.metadata = Some(normal_metadata(metadata)?);
        Ok(self)
    }

    /// The identity as it is kept: checked, its metadata in
    /// [normal form](crate::json).
    ///
    /// # Errors
    ///
    /// [`Invalid`] naming the part that is wrong.
    pub fn normalized(mut self) -> Result<Self, Invalid> {
        if let Some(metadata) = self.metadata.take() {
            self.metadata = Some(normal_metadata(Value::Object(metadata))?);
        }
        self.check()?;
        Ok(self)
    }

    /// Whether both are the same actor, whatever is known of them besides:
    /// type and identifier decide.
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.kind, &self.identifier) == (&other.kind, &other.identifier)
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

    /// Checks type, identifier and name.
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

fn normal_metadata(metadata: Value) -> Result<Map<String, Value>, Invalid> {
    if !metadata.is_object() {
        return Err(Invalid::at("actor.metadata", "not a JSON object"));
    }
    let within = |e: Invalid| Invalid::at(format!("actor.metadata.{}", e.path()), e.message());
    let normal = normalize(metadata).map_err(within)?;
    let size = canonical(&normal).len();
    let Value::Object(members) = normal else {
        return Err(Invalid::at("actor.metadata", "a date is no JSON object"));
    };
    if size > MAX_METADATA_BYTES {
        let why = format!("has at most {MAX_METADATA_BYTES} bytes as JSON");
        return Err(Invalid::at("actor.metadata", why));
    }
    Ok(members)
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
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

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

    #[test]
    fn every_standard_type_has_a_constructor() {
        let made = [
            Identity::user("x"),
            Identity::agent("x"),
            Identity::system("x"),
            Identity::api("x"),
            Identity::service("x"),
            Identity::job("x"),
            Identity::cron("x"),
            Identity::webhook("x"),
        ];
        let texts = made.map(|identity| identity.unwrap().to_string());
        let types = "user agent system api service job cron webhook";
        let expected = types.split(' ').map(|kind| format!("{kind}:x"));
        assert_eq!(texts.to_vec(), expected.collect::<Vec<_>>());
    }

    #[test]
    fn bad_parts_are_refused_by_name() {
        let part = |made: Result<Identity, Invalid>| made.unwrap_err().path().to_owned();
        let ann = || Identity::user("ann").unwrap();
        let long = "x".repeat(MAX_PART_BYTES + 1);
        for bad in ["", "a\nb", "\0", &long] {
            assert_eq!(part(Identity::user(bad)), "actor.identifier");
            assert_eq!(part(Identity::new(bad, "x")), "actor.type");
            assert_eq!(part(ann().named(bad)), "actor.name");
        }
        let metadata = |value: Value| part(ann().described(value));
        assert_eq!(metadata(json!([])), "actor.metadata");
        assert_eq!(metadata(json!({ "x": "y".repeat(4096) })), "actor.metadata");
        assert_eq!(
            metadata(json!({ "a": { "\0": 1 } })),
            "actor.metadata.a.\\0"
        );
        // Not by `json!`, which would copy the inner value at each depth.
        let around = |inner| Value::Object([("a".to_owned(), inner)].into_iter().collect());
        let deep = (0..10_000).fold(json!({}), |inner, _| around(inner));
        assert!(metadata(deep).starts_with("actor.metadata.a.a"));
    }

    #[test]
    fn metadata_is_kept_in_normal_form() {
        let given = json!({ "version": 2.0, "__proto__": { "constructor": 1 } });
        let Value::Object(raw) = given.clone() else {
            unreachable!()
        };
        let mut identity = Identity::user("ann").unwrap();
        identity.metadata = Some(raw);
        let normal = identity.normalized().unwrap();
        let described = Identity::user("ann").unwrap().described(given).unwrap();
        assert_eq!(normal, described);
        let text = serde_json::to_string(&normal.metadata).unwrap();
        assert_eq!(text, r#"{"__proto__":{"constructor":1},"version":2}"#);
    }

    /// Legal parts, many of them of nothing but what is escaped.
    fn part() -> impl Strategy<Value = String> {
        prop_oneof![
            "[\\\\:() a]{1,8}",
            "\\PC{1,12}",
            Just("\\".repeat(MAX_PART_BYTES)),
            Just("(".repeat(MAX_PART_BYTES)),
        ]
    }

    proptest! {
        #[test]
        fn text_round_trips(kind in part(), identifier in part(), name in proptest::option::of(part())) {
            let identity = Identity { kind, identifier, name, metadata: None };
            identity.check().unwrap();
            let text = identity.to_string();
            prop_assert_eq!(&text.parse::<Identity>().unwrap(), &identity);
            prop_assert_eq!(Identity::from_actor(&text).unwrap(), Some(identity.clone()));
            let json = serde_json::to_string(&identity).unwrap();
            prop_assert_eq!(serde_json::from_str::<Identity>(&json).unwrap(), identity);
        }

        /// Whatever is read is written as something that reads the same.
        #[test]
        fn any_text_is_an_actor_or_refused(text in "[\\\\:() ab\n]{0,12}") {
            if let Ok(Some(identity)) = Identity::from_actor(&text) {
                identity.check().unwrap();
                let again = Identity::from_actor(&identity.to_string()).unwrap();
                prop_assert_eq!(again, Some(identity));
            }
        }
    }
}

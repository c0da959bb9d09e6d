//! Files inside records: what a version knows of them, and what stands for
//! them in its document.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{Invalid, Location, Path, Sha256};

/// The only property of a reference.
const REFERENCE: &str = "_file";

/// A file inside a record: its bytes are an object of their own, and in the
/// document a [reference](File::reference) stands for them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct File {
    /// Where its reference stands, with the positions in arrays.
    pub path: Path,
    /// SHA-256 of its bytes.
    pub sha256: Sha256,
    /// How many bytes it has.
    pub size: u64,
    /// Its media type.
    pub content_type: String,
    /// The object; never [`Location::Inline`].
    pub location: Location,
    /// The same as text, if that is kept too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<TextRendition>,
}

/// A file as text: UTF-8, in an object of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TextRendition {
    /// SHA-256 of the UTF-8 bytes.
    pub sha256: Sha256,
    /// How many bytes it has.
    pub size: u64,
    /// The object; never [`Location::Inline`].
    pub location: Location,
}

impl File {
    /// What stands for the file in the document; see [`file_reference`].
    pub fn reference(&self) -> Value {
        let text = self.text.is_some();
        file_reference(&self.content_type, self.sha256, self.size, text)
    }

    /// What of it never changes.
    pub(crate) fn facts(&self) -> Value {
        let text = self.text.as_ref();
        let text = text.map(|text| json!({ "sha256": text.sha256, "size": text.size }));
        json!({
            "path": self.path,
            "sha256": self.sha256,
            "size": self.size,
            "contentType": self.content_type,
            "text": text,
        })
    }

    /// The objects that it is kept in.
    pub fn locations(&self) -> impl Iterator<Item = &Location> {
        let text = self.text.as_ref().map(|text| &text.location);
        std::iter::once(&self.location).chain(text)
    }
}

/// Whether these are the same files in the same places, wherever they are kept.
pub fn same_files(some: &[File], others: &[File]) -> bool {
    some.iter()
        .map(File::facts)
        .eq(others.iter().map(File::facts))
}

/// What stands for a file in a document:
/// `{"_file": {"contentType", "sha256", "size", "text"}}`, the last one saying
/// whether the file is kept as text too.
pub fn file_reference(content_type: &str, sha256: Sha256, size: u64, text: bool) -> Value {
    json!({ REFERENCE: {
        "contentType": content_type,
        "sha256": sha256,
        "size": size,
        "text": text,
    } })
}

/// Whether a value looks like what stands for a file. Which file it is, if any,
/// the version alone knows.
pub fn is_file_reference(value: &Value) -> bool {
    let inner = |object: &Map<String, Value>| {
        object.len() == 1 && object.get(REFERENCE).is_some_and(Value::is_object)
    };
    value.as_object().is_some_and(inner)
}

/// What is shown where something stands, and what.
type Show<'a> = dyn FnMut(&[String], &Value) -> Result<(), Invalid> + 'a;

/// Calls `show` with each value in the document that looks like a file
/// reference, and with the segments of where it stands.
///
/// # Errors
///
/// What `show` gives.
pub fn each_file_reference(document: &Value, show: &mut Show<'_>) -> Result<(), Invalid> {
    references(document, &mut Vec::new(), show)
}

fn references(value: &Value, at: &mut Vec<String>, show: &mut Show<'_>) -> Result<(), Invalid> {
    if !at.is_empty() && is_file_reference(value) {
        return show(at, value);
    }
    let mut inside = |segment: String, value: &Value| {
        at.push(segment);
        let done = references(value, at, show);
        at.pop();
        done
    };
    match value {
        Value::Array(elements) => elements
            .iter()
            .enumerate()
            .try_for_each(|(i, element)| inside(i.to_string(), element)),
        Value::Object(properties) => properties
            .iter()
            .try_for_each(|(name, value)| inside(name.clone(), value)),
        _ => Ok(()),
    }
}

/// Calls `change` with each value that a path names in the document, and with
/// where it stands. A path goes through every element of an array, or through
/// the one whose position it has; an array that it ends at is each of its
/// elements.
///
/// # Errors
///
/// What `change` gives.
pub fn each_value_at(
    document: &mut Value,
    path: &Path,
    change: &mut dyn FnMut(Path, &mut Value) -> Result<(), Invalid>,
) -> Result<(), Invalid> {
    values(document, path.segments(), &mut Vec::new(), change)
}

fn values(
    value: &mut Value,
    path: &[String],
    at: &mut Vec<String>,
    change: &mut dyn FnMut(Path, &mut Value) -> Result<(), Invalid>,
) -> Result<(), Invalid> {
    let mut inside = |segment: &str, value: &mut Value, path: &[String]| {
        at.push(segment.to_owned());
        let done = values(value, path, at, change);
        at.pop();
        done
    };
    match (value, path.split_first()) {
        (Value::Array(elements), first) => {
            let one = first.and_then(|(first, rest)| Some((first.parse::<usize>().ok()?, rest)));
            if let Some((i, rest)) = one {
                let element = elements.get_mut(i);
                return element.map_or(Ok(()), |element| inside(&i.to_string(), element, rest));
            }
            for (i, element) in elements.iter_mut().enumerate() {
                inside(&i.to_string(), element, path)?;
            }
            Ok(())
        }
        (value, None) => change(Path::from_segments(at.iter())?, value),
        (Value::Object(properties), Some((first, rest))) => match properties.get_mut(first) {
            Some(value) => inside(first, value, rest),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(document: &Value, path: &str) -> Vec<(String, Value)> {
        let mut met = Vec::new();
        each_value_at(
            &mut document.clone(),
            &path.parse().unwrap(),
            &mut |at, value| {
                met.push((at.to_string(), value.clone()));
                Ok(())
            },
        )
        .unwrap();
        met
    }

    #[test]
    fn a_path_goes_through_arrays() {
        let document = json!({
            "a": "x",
            "b": { "c.d": "y", "0": "zero" },
            "list": [{ "data": "1" }, { "other": 2 }, [{ "data": "3" }], "plain"],
            "all": ["p", ["q"]],
        });
        let met = |path: &str| -> Vec<String> {
            let place = |(at, value): (String, Value)| format!("{at}={value}");
            places(&document, path).into_iter().map(place).collect()
        };
        assert_eq!(met("a"), [r#"a="x""#]);
        assert_eq!(met(r"b.c\.d"), [r#"b.c\.d="y""#]);
        assert_eq!(met("b.0"), [r#"b.0="zero""#]);
        assert_eq!(
            met("list.data"),
            [r#"list.0.data="1""#, r#"list.2.0.data="3""#]
        );
        assert_eq!(met("list.0.data"), [r#"list.0.data="1""#]);
        assert_eq!(met("list.9.data"), [""; 0]);
        assert_eq!(met("all"), [r#"all.0="p""#, r#"all.1.0="q""#]);
        assert_eq!(met("none.at.all"), [""; 0]);
    }

    #[test]
    fn references_are_met_wherever_they_stand() {
        let file = json!({ "_file": { "sha256": "x" } });
        let document = json!({
            "a": file, "list": [1, { "b": file }],
            "text": { "_file": "x" }, "more": { "_file": {}, "beside": 1 },
        });
        let mut met = Vec::new();
        each_file_reference(&document, &mut |at, value| {
            assert_eq!(*value, file);
            met.push(at.join("."));
            Ok(())
        })
        .unwrap();
        assert_eq!(met, ["a", "list.1.b"]);
        // The document itself is none.
        each_file_reference(&file, &mut |_, _| panic!("not a reference")).unwrap();
    }
}

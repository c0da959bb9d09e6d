//! Files inside records.
//!
//! A file's bytes are an object of their own in the content bucket; in the
//! document a reference stands for them. Which references are files, the
//! version alone says: it names the objects, each with its place in the
//! document. Whatever else looks like a reference is data.

pub(crate) mod attach;
mod encoded;
pub(crate) mod fetch;
mod text;

use std::{
    collections::{BTreeMap, HashMap},
    time::Instant,
};

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use xronox_model::{
    Attempt, BucketRole, CollectionView, File, Invalid, Location, Path, RecordId, Sha256,
    TextRendition, blob_key, each_file_reference, each_value_at, file_reference, is_file_reference,
    json, text_key,
};

use crate::{
    Error,
    collection::{Rules, Shared},
    config::Base64Property,
    engine::prepare::{Canonical, normal},
};

pub(crate) use encoded::is_content_type;
pub(crate) use text::is_charset;

/// Files of one record: each of its versions names them.
const MAX_FILES: usize = 1000;
/// The paths of these together, in bytes.
const MAX_PATHS: usize = 256 << 10;
/// Longer files are not kept as text too.
pub(crate) const MAX_TEXT: u64 = 16 << 20;

/// A file inside a record.
///
/// As JSON `{ path, contentType, sha256, size, textSize? }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct FileInfo {
    /// Where it stands in the document, with the positions in arrays.
    pub path: Path,
    /// Its media type.
    pub content_type: String,
    /// SHA-256 of its bytes.
    pub sha256: Sha256,
    /// How many bytes it has.
    pub size: u64,
    /// How many bytes it has as text (UTF-8), if it is kept as text too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_size: Option<u64>,
}

impl From<&File> for FileInfo {
    fn from(file: &File) -> Self {
        Self {
            path: file.path.clone(),
            content_type: file.content_type.clone(),
            sha256: file.sha256,
            size: file.size,
            text_size: file.text.as_ref().map(|text| text.size),
        }
    }
}

/// What a collection keeps as files.
#[derive(Debug, Clone, Default)]
pub(crate) struct FileRules {
    pub(crate) properties: BTreeMap<Path, Base64Property>,
}

impl FileRules {
    /// The setting that a place falls under, with its path. Positions in arrays
    /// may be left out of that.
    pub(crate) fn of(&self, place: &Path) -> Option<(&Path, &Base64Property)> {
        let mut settings = self.properties.iter();
        settings.find(|(path, _)| leads_to(path.segments(), place.segments()))
    }
}

/// Whether a path without some positions leads to a place.
fn leads_to(path: &[String], place: &[String]) -> bool {
    match (path.split_first(), place.split_first()) {
        (None, None) => true,
        (Some((first, path)), Some((here, rest))) if first == here && leads_to(path, rest) => true,
        (_, Some((here, rest))) if here.parse::<usize>().is_ok() => leads_to(path, rest),
        _ => false,
    }
}

/// Files that a document names, as they are now or are to be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filed {
    /// Where one stands, and which one.
    places: Vec<(Path, usize)>,
    contents: Vec<Content>,
}

#[derive(Debug, Clone)]
enum Content {
    /// It is there.
    Kept(File),
    /// It has to be put.
    New(NewFile),
}

#[derive(Debug, Clone)]
struct NewFile {
    content_type: String,
    sha256: Sha256,
    bytes: Bytes,
    text: Option<Bytes>,
}

/// Files that a write brings along.
#[derive(Debug, Default)]
pub(crate) struct Offered {
    contents: Vec<Content>,
    /// When the first of them was there, if one is.
    pub(crate) put_at: Option<Instant>,
}

impl Offered {
    /// One that was put at that time.
    pub(crate) fn put(file: File, at: Instant) -> Self {
        Self {
            contents: vec![Content::Kept(file)],
            put_at: Some(at),
        }
    }
}

impl Filed {
    /// Files that are there, where they stand.
    pub(crate) fn kept(files: Vec<File>) -> Self {
        let places = files.iter().enumerate();
        Self {
            places: places.map(|(i, file)| (file.path.clone(), i)).collect(),
            contents: files.into_iter().map(Content::Kept).collect(),
        }
    }
}

impl Filed {
    /// Whether these are the same files, all of them there.
    pub(crate) fn are(&self, files: &[File]) -> bool {
        let kept = |content: &Content| matches!(content, Content::Kept(_));
        let same = |((path, number), file): (&(Path, usize), &File)| {
            let reference = self.contents[*number].reference();
            *path == file.path && reference == file.reference()
        };
        self.contents.iter().all(kept)
            && self.places.len() == files.len()
            && self.places.iter().zip(files).all(same)
    }
}

impl Content {
    fn reference(&self) -> Value {
        match self {
            Self::Kept(file) => file.reference(),
            Self::New(new) => new.reference(),
        }
    }
}

impl NewFile {
    /// The file as it will be, but for where.
    fn reference(&self) -> Value {
        let (size, text) = (self.bytes.len() as u64, self.text.is_some());
        file_reference(&self.content_type, self.sha256, size, text)
    }
}

impl Rules {
    /// Takes what a caller wants a record to be: see [`normal`]. Encoded files
    /// where the collection has them give way to references; those and what was
    /// a reference before are files if they are among the `known`.
    ///
    /// `veiled` says that the caller must not see what is hidden, and so cannot
    /// have a file from there anywhere else.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) naming the path.
    pub(crate) fn canonical(
        &self,
        given: Value,
        mut known: Known,
        veiled: bool,
    ) -> Result<Canonical, Error> {
        let mut document = normal(given)?;
        self.encode_out(&mut document, &mut known, veiled)?;
        let files = self.filed(&document, &known, veiled)?;
        let bytes = json::canonical(&document);
        if bytes.len() as u64 > self.max_bytes {
            // Not how many: some may be of what the caller must not see.
            let most = self.max_bytes;
            let why = format!("the document has more than {most} bytes, `payloads.maxBytes`");
            return Err(Invalid::at("", why).into());
        }
        Ok(Canonical {
            sha256: Sha256::of(&bytes),
            bytes: bytes.into(),
            document,
            files,
        })
    }

    /// Puts references in the place of what is merged into a record; gives the
    /// files that they stand for.
    pub(crate) fn offered(&self, patches: &mut [Value]) -> Result<Offered, Invalid> {
        let mut known = Known::default();
        for patch in patches {
            for (path, property) in &self.files.properties {
                each_value_at(patch, path, &mut |at, value| {
                    self.encode_one(&at, value, property, &mut known, false)
                })?;
            }
        }
        Ok(Offered {
            contents: known.0.into_values().flatten().collect(),
            put_at: None,
        })
    }

    /// Puts a reference in the place of each encoded file; whatever else stands
    /// there has to be one that is known.
    fn encode_out(
        &self,
        document: &mut Value,
        known: &mut Known,
        veiled: bool,
    ) -> Result<(), Invalid> {
        for (path, property) in &self.files.properties {
            each_value_at(document, path, &mut |at, value| {
                self.encode_one(&at, value, property, known, veiled)?;
                let reaches = |content: &Content| self.reaches(content, &at, veiled);
                if value.is_null() || known.find(value, reaches).is_some() {
                    return Ok(());
                }
                let why = if is_file_reference(value) {
                    "refers to a file that the record does not have: give its content"
                } else {
                    "a file is base64 text, a `data:` URI, or what a read gave for it"
                };
                Err(Invalid::at(at.to_string(), why))
            })?;
        }
        Ok(())
    }

    fn encode_one(
        &self,
        at: &Path,
        value: &mut Value,
        property: &Base64Property,
        known: &mut Known,
        veiled: bool,
    ) -> Result<(), Invalid> {
        if let Value::String(text) = value {
            let new = self.decode(at, text, property)?;
            *value = known.add(new, |content| self.reaches(content, at, veiled));
        }
        Ok(())
    }

    /// Whether a file may stand at a place: a hidden one not where it would be
    /// seen by who must not see it.
    fn reaches(&self, content: &Content, at: &Path, veiled: bool) -> bool {
        match content {
            Content::Kept(file) if veiled => {
                !is_hidden(&self.view, &file.path) || is_hidden(&self.view, at)
            }
            _ => true,
        }
    }

    /// The files that a document names, of those that are known.
    fn filed(&self, document: &Value, known: &Known, veiled: bool) -> Result<Filed, Invalid> {
        let mut filed = Filed::default();
        // As data it would be a file once somebody writes who sees more; and to
        // refuse only what is one would tell that there is such a file.
        let may_have = !self.files.properties.is_empty() || !known.0.is_empty();
        let demanding = veiled && may_have;
        if known.0.is_empty() && !demanding {
            return Ok(filed);
        }
        let mut numbers = HashMap::new();
        let mut length = 0;
        each_file_reference(document, &mut |at, value| {
            // What stands where no path leads to is no file.
            let Ok(at) = Path::from_segments(at) else {
                return Ok(());
            };
            let reaches = |content: &Content| self.reaches(content, &at, veiled);
            let Some((which, content)) = known.find(value, reaches) else {
                if demanding && !is_hidden(&self.view, &at) {
                    let why = "refers to no file of the record that this handle sees";
                    return Err(Invalid::at(at.to_string(), why));
                }
                return Ok(());
            };
            let number = *numbers.entry(which).or_insert_with(|| {
                filed.contents.push(content.clone());
                filed.contents.len() - 1
            });
            length += at.to_string().len();
            filed.places.push((at, number));
            Ok(())
        })?;
        if length > MAX_PATHS {
            let why = format!("the paths of its files have more than {MAX_PATHS} bytes");
            return Err(Invalid::at("", why));
        }
        if filed.places.len() > MAX_FILES {
            let why = format!("a record has at most {MAX_FILES} files");
            return Err(Invalid::at("", why));
        }
        filed.places.sort();
        Ok(filed)
    }

    fn decode(&self, at: &Path, text: &str, property: &Base64Property) -> Result<NewFile, Invalid> {
        let wrong = |why: String| Invalid::at(at.to_string(), why);
        let decoded = encoded::decode(text).map_err(wrong)?;
        if decoded.bytes.len() as u64 > self.max_bytes {
            let most = self.max_bytes;
            return Err(wrong(format!(
                "a file given in a document has at most {most} bytes, `payloads.maxBytes`: \
                 attach larger ones"
            )));
        }
        let text = property
            .preferred_text
            .then(|| text::rendition(&decoded.bytes, &property.text_charset))
            .flatten();
        Ok(NewFile {
            content_type: decoded
                .content_type
                .unwrap_or_else(|| property.content_type.clone()),
            sha256: Sha256::of(&decoded.bytes),
            bytes: decoded.bytes.into(),
            text,
        })
    }
}

/// Whether something in a document looks like a file.
pub(crate) fn refers(document: &Value) -> bool {
    let mut refers = false;
    // It never fails, and says nothing.
    let _ = each_file_reference(document, &mut |_, _| {
        refers = true;
        Ok(())
    });
    refers
}

fn is_hidden(view: &CollectionView, path: &Path) -> bool {
    view.path_allowed(path, "a file", true).is_err()
}

/// The files that references may stand for, by the canonical form of those:
/// several if there is one content at several places.
#[derive(Debug, Default)]
pub(crate) struct Known(HashMap<Vec<u8>, Vec<Content>>);

impl Known {
    /// Those of a record.
    pub(crate) fn of(own: &[File]) -> Self {
        let mut known = Self::default();
        for file in own {
            known.put(Content::Kept(file.clone()));
        }
        known
    }

    /// Those too that a write brings along.
    pub(crate) fn and(mut self, offered: Option<&Offered>) -> Self {
        for content in offered.iter().flat_map(|offered| &offered.contents) {
            self.put(content.clone());
        }
        self
    }

    fn put(&mut self, content: Content) {
        let key = json::canonical(&content.reference());
        self.0.entry(key).or_default().push(content);
    }

    /// The first one that a value stands for and that may stand there; and what
    /// tells it from others.
    fn find(
        &self,
        value: &Value,
        reaches: impl Fn(&Content) -> bool,
    ) -> Option<((Vec<u8>, usize), &Content)> {
        if !is_file_reference(value) {
            return None;
        }
        let key = json::canonical(value);
        let alike = self.0.get(&key)?;
        let number = alike.iter().position(reaches)?;
        Some(((key, number), &alike[number]))
    }

    /// Takes a file that may be there already; gives its reference.
    fn add(&mut self, new: NewFile, reaches: impl Fn(&Content) -> bool) -> Value {
        let reference = new.reference();
        let alike = self.0.entry(json::canonical(&reference)).or_default();
        if !alike.iter().any(reaches) {
            alike.push(Content::New(new));
        }
        reference
    }
}

impl Shared {
    /// Puts the files of a document that are not there yet; gives all of them,
    /// and whether any was put.
    pub(crate) async fn put_files(
        &self,
        filed: &Filed,
        id: &RecordId,
        ov: u64,
        attempt: Attempt,
    ) -> Result<(Vec<File>, bool), Error> {
        let mut put = false;
        let mut known: Vec<File> = Vec::with_capacity(filed.contents.len());
        for (number, content) in filed.contents.iter().enumerate() {
            let new = match content {
                Content::Kept(file) => {
                    known.push(file.clone());
                    continue;
                }
                Content::New(new) => new,
            };
            let place = filed.places.iter().find(|(_, of)| *of == number);
            let Some((path, _)) = place else { continue };
            put = true;
            let key = blob_key(&self.database.prefix, &self.name, id, ov, attempt, path);
            let text = self.put_text(&key, new.text.clone()).await?;
            known.push(File {
                path: path.clone(),
                sha256: new.sha256,
                size: new.bytes.len() as u64,
                content_type: new.content_type.clone(),
                location: self.put_file(&key, new.bytes.clone()).await?,
                text,
            });
        }
        let at = |(path, number): &(Path, usize)| File {
            path: path.clone(),
            ..known[*number].clone()
        };
        Ok((filed.places.iter().map(at).collect(), put))
    }

    /// Puts the text of the file at `key` beside it, if there is one.
    async fn put_text(
        &self,
        key: &str,
        text: Option<Bytes>,
    ) -> Result<Option<TextRendition>, Error> {
        let Some(text) = text else { return Ok(None) };
        Ok(Some(TextRendition {
            sha256: Sha256::of(&text),
            size: text.len() as u64,
            location: self.put_file(&text_key(key), text).await?,
        }))
    }

    async fn put_file(&self, key: &str, bytes: Bytes) -> Result<Location, Error> {
        if self.database.payloads.home().is_none() {
            return Err(no_space());
        }
        let _room = self.database.room.take(bytes.len()).await?;
        self.database.refuse_sealed().await?;
        let payloads = &self.database.payloads;
        Ok(payloads.put(key, bytes, BucketRole::Content).await?)
    }
}

fn no_space() -> Error {
    Error::new(
        crate::ErrorKind::Unsupported,
        "files inside records need a storage space",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_covers_places_in_arrays() {
        let covers = |path: &str, place: &str| {
            let (path, place): (Path, Path) = (path.parse().unwrap(), place.parse().unwrap());
            leads_to(path.segments(), place.segments())
        };
        for (path, place) in [
            ("a", "a"),
            ("a", "a.0"),
            ("a.b", "a.3.b"),
            ("a.b", "a.0.1.b.2"),
            ("a.0.b", "a.0.b"),
        ] {
            assert!(covers(path, place), "{path} {place}");
        }
        for (path, place) in [("a", "b"), ("a.b", "a"), ("a", "a.b"), ("a.0.b", "a.1.b")] {
            assert!(!covers(path, place), "{path} {place}");
        }
    }
}

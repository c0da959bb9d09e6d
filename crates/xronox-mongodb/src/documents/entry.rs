//! A document as it is stored.

use mongodb::bson::{
    Binary, RawArrayBuf, RawDocument, RawDocumentBuf,
    oid::ObjectId,
    raw::{CString, cstr},
    spec::BinarySubtype,
};
use serde_json::Value;
use xronox_model::{Invalid, OrderedKey, json};
use xronox_store::{
    StoreError,
    documents::{DocKeys, checked},
};

use super::state::{Form, Index, State, date};

/// The most bytes of a document that the server takes.
const MAX_BYTES: usize = 16 << 20;

/// Above the bytes of every key: what stands in an index for a document that
/// it does not hold.
const NO_KEY: char = '\u{FF}';

/// A document that was checked, under the revision that it will have.
#[derive(Debug)]
pub(super) struct Fit {
    pub(super) id: OrderedKey,
    pub(super) rev: ObjectId,
    pub(super) document: Value,
    body: Vec<u8>,
}

impl Fit {
    pub(super) fn new(document: Value) -> Result<Self, Invalid> {
        let (id, document) = checked(document)?;
        let body = json::canonical(&document);
        Ok(Self {
            id,
            rev: ObjectId::new(),
            document,
            body,
        })
    }
}

/// What is written of a document, as the indexes of its collection demand.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) raw: RawDocumentBuf,
    /// What no other document may hold.
    pub(super) unique: Vec<Held>,
    /// The tags of indexes in which this document has several keys, and none
    /// had before.
    pub(super) grown: Vec<String>,
}

/// The keys of a document in a unique index.
#[derive(Debug)]
pub(super) struct Held {
    /// The name of the index.
    pub(super) name: String,
    /// Where documents have their keys in it.
    pub(super) field: String,
    pub(super) keys: Vec<String>,
}

impl Entry {
    pub(super) fn of(fit: &Fit, state: &State) -> Result<Self, Invalid> {
        let mut raw = RawDocumentBuf::new();
        raw.append(cstr!("_id"), fit.id.as_str());
        raw.append(cstr!("r"), fit.rev);
        let (mut keys, mut dates) = (RawDocumentBuf::new(), RawDocumentBuf::new());
        let (mut unique, mut grown) = (Vec::new(), Vec::new());
        for index in &state.indexes {
            let of_index = index.spec.keys(&fit.document)?;
            if of_index.multi && index.form != Form::Many {
                grown.push(index.tag.clone());
            }
            let texts = texts(index, &of_index, &fit.id);
            let tag = tag(index)?;
            match texts.as_slice() {
                [] => keys.append(&tag, format!("{NO_KEY}{}", fit.id.as_str())),
                [one] => keys.append(&tag, one.as_str()),
                many => keys.append(&tag, array(many)),
            }
            if let Some(expiry) = index.spec.expiry(&fit.document) {
                dates.append(&tag, date(expiry));
            }
            if index.spec.unique && !texts.is_empty() {
                unique.push(Held {
                    name: index.spec.name(),
                    field: index.field(),
                    keys: texts,
                });
            }
        }
        if !keys.is_empty() {
            raw.append(cstr!("k"), keys);
        }
        if !dates.is_empty() {
            raw.append(cstr!("x"), dates);
        }
        let body = Binary {
            subtype: BinarySubtype::Generic,
            bytes: fit.body.clone(),
        };
        raw.append(cstr!("b"), body);
        if raw.as_bytes().len() > MAX_BYTES {
            let message = "with its keys the document is larger than MongoDB's 16 MiB";
            return Err(Invalid::at("", message));
        }
        Ok(Self { raw, unique, grown })
    }
}

fn tag(index: &Index) -> Result<CString, Invalid> {
    let tag = CString::try_from(index.tag.clone());
    tag.map_err(|e| Invalid::at("", e.to_string()))
}

fn array(texts: &[String]) -> RawArrayBuf {
    let mut array = RawArrayBuf::new();
    for text in texts {
        array.push(text.as_str());
    }
    array
}

/// What is set in a stored document to let an index hold it: its keys and its
/// date.
pub(super) fn of_index(
    index: &Index,
    id: &OrderedKey,
    document: &Value,
    keys: &DocKeys,
) -> mongodb::bson::Document {
    let mut set = mongodb::bson::Document::new();
    let texts = texts(index, keys, id);
    match texts.as_slice() {
        [] => set.insert(index.field(), format!("{NO_KEY}{}", id.as_str())),
        [one] => set.insert(index.field(), one.as_str()),
        _ => set.insert(index.field(), texts),
    };
    if let Some(expiry) = index.spec.expiry(document) {
        set.insert(index.date(), date(expiry));
    }
    set
}

/// The keys of a document that is stored.
pub(super) fn stored_keys(
    index: &Index,
    id: &OrderedKey,
    document: &Value,
) -> Result<Vec<String>, StoreError> {
    let keys = index.spec.keys(document);
    let keys = keys.map_err(|e| StoreError::Corrupt(format!("a document: {e}")))?;
    Ok(texts(index, &keys, id))
}

/// Keys as text. In a unique index they stand by themselves, so that the
/// server tells when one is taken, in others with the `_id` behind them, so
/// that each is some one document's.
fn texts(index: &Index, keys: &DocKeys, id: &OrderedKey) -> Vec<String> {
    let tuples = index.spec.tuples(keys).into_iter();
    tuples
        .map(|mut tuple| {
            if !index.spec.unique {
                tuple.push(id, index.spec.id_direction());
            }
            text(tuple.as_bytes())
        })
        .collect()
}

/// Bytes as text that sorts as they do, for the server sorts binary data by
/// its length first: each byte is the character of its number.
pub(super) fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// A stored document that was met.
#[derive(Debug)]
pub(super) struct Met {
    pub(super) id: OrderedKey,
    pub(super) rev: ObjectId,
    pub(super) document: Value,
}

impl Met {
    pub(super) fn read(raw: &RawDocument) -> Result<Self, StoreError> {
        let damaged = |what: &str| StoreError::Corrupt(format!("a document has no {what}"));
        let body = raw.get_binary("b").map_err(|_| damaged("body"))?;
        let document =
            json::parse(body.bytes).map_err(|e| StoreError::Corrupt(format!("a document: {e}")))?;
        let id = raw.get_str("_id").map_err(|_| damaged("id"))?;
        Ok(Self {
            id: OrderedKey::from_stored(id),
            rev: raw.get_object_id("r").map_err(|_| damaged("revision"))?,
            document,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_sorts_as_its_bytes() {
        let all: Vec<[u8; 2]> = (0..=u16::MAX).map(u16::to_be_bytes).collect();
        assert!(all.windows(2).all(|pair| text(&pair[0]) < text(&pair[1])));
        assert!(text(&[u8::MAX - 1, u8::MAX]).as_str() < NO_KEY.to_string().as_str());
    }
}

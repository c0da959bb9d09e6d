//! The ordered keys of a row, as one blob beside it.
//!
//! For each field: its number, a byte of flags (1: it met an array, so its
//! sort keys follow too), the count of keys and the keys, each with its length
//! in front. Numbers are LEB128.

use std::{collections::BTreeMap, sync::Arc};

use xronox_model::{FieldKeys, IndexKeys, OrderedKey, Path};

/// The numbers of the fields that every collection indexes.
pub(crate) const DELETED: i64 = 0;
pub(crate) const INSERTED_AT: i64 = 1;
pub(crate) const UPDATED_AT: i64 = 2;

/// The indexed fields of a collection and their numbers, both ways.
#[derive(Debug, Default, Clone)]
pub(crate) struct Fields {
    numbers: BTreeMap<Path, i64>,
    paths: BTreeMap<i64, Path>,
}

impl Fields {
    pub(crate) fn new(fields: impl IntoIterator<Item = (i64, Path)>) -> Arc<Self> {
        let mut out = Self::default();
        for (number, path) in fields {
            out.numbers.insert(path.clone(), number);
            out.paths.insert(number, path);
        }
        Arc::new(out)
    }

    /// The number of a field, those that every collection has included.
    pub(crate) fn number(&self, field: &Path) -> Option<i64> {
        match field.to_string().as_str() {
            "_system.deleted" => Some(DELETED),
            "_system.insertedAt" => Some(INSERTED_AT),
            "_system.updatedAt" => Some(UPDATED_AT),
            _ => self.numbers.get(field).copied(),
        }
    }

    /// Encodes the keys of a row; fields without a number are left out.
    pub(crate) fn encode(&self, keys: &IndexKeys) -> Vec<u8> {
        let mut out = Vec::new();
        for (path, keys) in keys.iter() {
            let Some(number) = self.numbers.get(path) else {
                continue;
            };
            put_number(number.unsigned_abs(), &mut out);
            let multi = keys.is_multi();
            out.push(u8::from(multi));
            if multi {
                use xronox_model::Direction::{Ascending, Descending};
                put_text(keys.sort_key(Ascending).as_str(), &mut out);
                put_text(keys.sort_key(Descending).as_str(), &mut out);
            }
            put_number(keys.keys().len() as u64, &mut out);
            for key in keys.keys() {
                put_text(key.as_str(), &mut out);
            }
        }
        out
    }

    /// Decodes them; fields whose index was dropped are passed over. `None`
    /// if the bytes are damaged.
    pub(crate) fn decode(&self, mut bytes: &[u8]) -> Option<IndexKeys> {
        let mut out = IndexKeys::default();
        while !bytes.is_empty() {
            let number = i64::try_from(take_number(&mut bytes)?).ok()?;
            let multi = take(&mut bytes, 1)?[0] == 1;
            let ends = if multi {
                Some((take_text(&mut bytes)?, take_text(&mut bytes)?))
            } else {
                None
            };
            let count = take_number(&mut bytes)?;
            let mut keys = Vec::new();
            for _ in 0..count {
                keys.push(take_text(&mut bytes)?);
            }
            if let Some(path) = self.paths.get(&number) {
                let keys = match ends {
                    Some((smallest, largest)) => FieldKeys::of_array(keys, smallest, largest),
                    None => FieldKeys::of_one(keys.pop()?),
                };
                out.insert(path.clone(), keys);
            }
        }
        Some(out)
    }
}

fn put_number(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push(u8::try_from(n & 0x7f).unwrap_or_default() | 0x80);
        n >>= 7;
    }
    out.push(u8::try_from(n).unwrap_or_default());
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    put_number(text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(taken)
}

fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut n = 0u64;
    for shift in (0..63).step_by(7) {
        let byte = take(bytes, 1)?[0];
        n |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(n);
        }
    }
    None
}

fn take_text(bytes: &mut &[u8]) -> Option<OrderedKey> {
    let length = usize::try_from(take_number(bytes)?).ok()?;
    let text = std::str::from_utf8(take(bytes, length)?).ok()?;
    Some(OrderedKey::from_stored(text))
}

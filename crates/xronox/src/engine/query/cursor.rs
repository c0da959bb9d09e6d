//! Where a page ended, as text.
//!
//! # Form
//!
//! URL-safe base64 without padding of: the version (1); 16 bytes that name the
//! query; a byte of flags (1: a cut is pinned, 2: it is settled); the pinned
//! `cv` in 8 bytes, if there is one; the number of keys in 1; each key with
//! its length in 2 in front; the id with its length in 2 in front; and the
//! first 4 bytes of the SHA-256 of all that. Numbers are big-endian.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use xronox_model::{Invalid, OrderedKey, RecordId, Sha256};

use super::order::Place;
use crate::Error;

const VERSION: u8 = 1;
/// No cursor is longer than this, in bytes of text.
const MAX_TEXT: usize = 16 * 1024;
const PINNED: u8 = 1;
const SETTLED: u8 = 2;

/// Which query a cursor belongs to.
pub(super) type Fingerprint = [u8; 16];

/// Where a page ended: the place to go on from.
///
/// Opaque, URL-safe text of at most 16 KiB. It belongs to one query: the same
/// collection, filter, sort, moment and deleted records or not; limit and
/// projection may differ from page to page. Pages of a query as of a moment
/// all see the same versions.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cursor {
    pub(super) fingerprint: Fingerprint,
    pub(super) pinned: Option<Pinned>,
    pub(super) place: Place,
}

/// The cut that all pages of a query see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pinned {
    pub(super) cv: u64,
    pub(super) settled: bool,
}

/// A cursor: a [`Cursor`] or its text.
pub trait IntoCursor {
    /// The cursor.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the text is none.
    fn into_cursor(self) -> Result<Cursor, Error>;
}

impl IntoCursor for Cursor {
    fn into_cursor(self) -> Result<Cursor, Error> {
        Ok(self)
    }
}

impl IntoCursor for &Cursor {
    fn into_cursor(self) -> Result<Cursor, Error> {
        Ok(self.clone())
    }
}

impl IntoCursor for &str {
    fn into_cursor(self) -> Result<Cursor, Error> {
        Ok(self.parse()?)
    }
}

impl IntoCursor for String {
    fn into_cursor(self) -> Result<Cursor, Error> {
        self.as_str().into_cursor()
    }
}

impl IntoCursor for &String {
    fn into_cursor(self) -> Result<Cursor, Error> {
        self.as_str().into_cursor()
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = vec![VERSION];
        out.extend(self.fingerprint);
        match self.pinned {
            None => out.push(0),
            Some(Pinned { cv, settled }) => {
                out.push(if settled { PINNED | SETTLED } else { PINNED });
                out.extend(cv.to_be_bytes());
            }
        }
        // Sorts have few fields, and keys and ids end before 64 KiB.
        let count = u8::try_from(self.place.keys.len()).map_err(|_| fmt::Error)?;
        out.push(count);
        let id = self.place.id.to_string();
        let keys = self.place.keys.iter().map(OrderedKey::as_str);
        for text in keys.chain([id.as_str()]) {
            let length = u16::try_from(text.len()).map_err(|_| fmt::Error)?;
            out.extend(length.to_be_bytes());
            out.extend(text.as_bytes());
        }
        out.extend(checksum(&out));
        f.write_str(&URL_SAFE_NO_PAD.encode(&out))
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cursor({self})")
    }
}

impl From<Cursor> for String {
    fn from(cursor: Cursor) -> Self {
        cursor.to_string()
    }
}

impl TryFrom<String> for Cursor {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl FromStr for Cursor {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.len() > MAX_TEXT {
            return Err(Invalid::at("cursor", "not a cursor: it is too long"));
        }
        URL_SAFE_NO_PAD
            .decode(text)
            .ok()
            .and_then(|bytes| read(&bytes))
            .ok_or_else(|| Invalid::at("cursor", "not a cursor that a query gave"))
    }
}

fn checksum(bytes: &[u8]) -> [u8; 4] {
    let [a, b, c, d, ..] = *Sha256::of(bytes).as_bytes();
    [a, b, c, d]
}

fn read(bytes: &[u8]) -> Option<Cursor> {
    let (body, sum) = bytes.split_last_chunk::<4>()?;
    if checksum(body) != *sum {
        return None;
    }
    let mut rest = Rest(body);
    let [VERSION] = rest.take::<1>()? else {
        return None;
    };
    let fingerprint = rest.take()?;
    let pinned = match rest.take::<1>()? {
        [0] => None,
        [flags @ (PINNED | 3)] => Some(Pinned {
            cv: u64::from_be_bytes(rest.take()?),
            settled: flags & SETTLED != 0,
        }),
        _ => return None,
    };
    let [count] = rest.take::<1>()?;
    let mut keys = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        keys.push(OrderedKey::from_stored(rest.text()?));
    }
    let id: RecordId = rest.text()?.parse().ok()?;
    rest.0.is_empty().then_some(Cursor {
        fingerprint,
        pinned,
        place: Place { keys, id },
    })
}

struct Rest<'b>(&'b [u8]);

impl<'b> Rest<'b> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn text(&mut self) -> Option<&'b str> {
        let length = usize::from(u16::from_be_bytes(self.take()?));
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cursor(keys: &[&str], pinned: Option<Pinned>) -> Cursor {
        Cursor {
            fingerprint: *b"0123456789abcdef",
            pinned,
            place: Place {
                keys: keys
                    .iter()
                    .map(|key| OrderedKey::from_stored(*key))
                    .collect(),
                id: "507f1f77bcf86cd799439011".parse().unwrap(),
            },
        }
    }

    #[test]
    fn the_text_of_a_cursor_does_not_change() {
        let pinned = Some(Pinned {
            cv: 7,
            settled: true,
        });
        let text = cursor(&["3abc"], pinned).to_string();
        assert_eq!(
            text,
            "ATAxMjM0NTY3ODlhYmNkZWYDAAAAAAAAAAcBAAQzYWJjABg1MDdmMWY3N2JjZjg2Y2Q3OTk0MzkwMTGpYH1B"
        );
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        let good = cursor(&["3abc", "0"], None).to_string();
        assert!(good.parse::<Cursor>().is_ok());
        for text in [
            "",
            "A",
            "AQ",
            "not a cursor",
            &good[1..],
            &good[..good.len() - 1],
            &format!("{good}A"),
            &good.replacen('M', "N", 1),
            &"A".repeat(20_000),
        ] {
            let refused = text.parse::<Cursor>().unwrap_err();
            assert_eq!(refused.path(), "cursor", "{text}");
        }
    }

    proptest! {
        #[test]
        fn cursors_round_trip(
            keys in prop::collection::vec("\\PC{0,40}", 0..8),
            pinned in prop::option::of((any::<u64>(), any::<bool>())),
        ) {
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            let cursor = cursor(&keys, pinned.map(|(cv, settled)| Pinned { cv, settled }));
            let text = cursor.to_string();
            prop_assert!(text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_'));
            prop_assert_eq!(text.parse::<Cursor>().unwrap(), cursor);
        }
    }
}

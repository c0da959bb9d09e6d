//! Names as storage sees them.
//!
//! Whatever a name holds, what reaches a file system, a bucket or a table name
//! is `[a-z0-9._-]`, differs for different names on case-insensitive and
//! normalising stores too, and cannot climb out of its place.

use std::fmt::Write;

use crate::{Attempt, CollectionName, Path, RecordId, Sha256};

/// Encoded names longer than this are replaced by their hash.
pub const MAX_ENCODED_NAME: usize = 200;

/// Encodes a name into `[a-z0-9._-]`, injectively.
///
/// Lower-case ASCII letters, digits, `-` and `.` (not in front) stand for
/// themselves; every other byte, `_` included, becomes `_` and two hex digits.
/// An encoding over [`MAX_ENCODED_NAME`] bytes is replaced by `_sha256-` and
/// the SHA-256 of the name, which no encoding can equal.
pub fn encode_name(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 8);
    for (i, byte) in name.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' => out.push(char::from(byte)),
            b'.' if i > 0 => out.push('.'),
            _ => {
                // Writing to a `String` cannot fail.
                let _ = write!(out, "_{byte:02x}");
            }
        }
    }
    if out.len() > MAX_ENCODED_NAME {
        format!("_sha256-{}", Sha256::of(name.as_bytes()))
    } else {
        out
    }
}

/// The prefix under which one database keeps every payload it owns.
///
/// `database_id` is the random id in the database's marker, so two databases
/// of one name can share a bucket. The id holds no dot, so the last dot parts
/// the two and no two databases share a prefix.
pub fn database_prefix(folder_prefix: &str, database: &str, database_id: &str) -> String {
    let mut out = String::new();
    for part in folder_prefix.split('/').filter(|part| !part.is_empty()) {
        out.push_str(&encode_name(part));
        out.push('/');
    }
    out.push_str(&encode_name(database));
    out.push('.');
    out.push_str(database_id);
    out
}

/// The key of the body that `attempt` prepared for version `ov` of a record:
/// `<database prefix>/<collection>/<id>/v<ov>/<attempt>/item.json`.
///
/// `ov` is the one expected when the body was prepared; the version row alone
/// says which version the body belongs to.
pub fn item_key(
    database_prefix: &str,
    collection: &CollectionName,
    id: &RecordId,
    ov: u64,
    attempt: Attempt,
) -> String {
    let folder = attempt_folder(database_prefix, collection, id, ov, attempt);
    format!("{folder}/item.json")
}

/// The key of the file that `attempt` put for a place in a record:
/// `<folder of the attempt>/files/<place>/blob.bin`.
pub fn blob_key(
    database_prefix: &str,
    collection: &CollectionName,
    id: &RecordId,
    ov: u64,
    attempt: Attempt,
    path: &Path,
) -> String {
    let folder = attempt_folder(database_prefix, collection, id, ov, attempt);
    format!("{folder}/files/{}/blob.bin", encode_name(&path.to_string()))
}

/// The key of the same file as text: beside it, `text.txt`.
pub fn text_key(blob_key: &str) -> String {
    let folder = blob_key.strip_suffix("blob.bin").unwrap_or(blob_key);
    format!("{folder}text.txt")
}

fn attempt_folder(
    database_prefix: &str,
    collection: &CollectionName,
    id: &RecordId,
    ov: u64,
    attempt: Attempt,
) -> String {
    format!(
        "{database_prefix}/{}/{}/v{ov}/{attempt}",
        encode_name(collection.as_str()),
        encode_name(&id.to_string()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn encodings_are_pinned() {
        for (name, encoded) in [
            ("orders", "orders"),
            ("Orders", "_4frders"),
            ("a_b", "a_5fb"),
            ("v1.2", "v1.2"),
            ("..", "_2e."),
            ("../x", "_2e._2fx"),
            ("é", "_c3_a9"),
        ] {
            assert_eq!(encode_name(name), encoded);
        }
        assert!(encode_name(&"A".repeat(100)).starts_with("_sha256-"));
    }

    proptest! {
        #[test]
        fn distinct_names_never_share_storage(a in ".{0,90}", b in ".{0,90}") {
            let (ea, eb) = (encode_name(&a), encode_name(&b));
            prop_assert_eq!(a == b, ea == eb);
            prop_assert!(ea.len() <= MAX_ENCODED_NAME);
            prop_assert!(ea.bytes().all(|c| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-')));
            prop_assert!(!ea.starts_with('.'));
        }
    }
}

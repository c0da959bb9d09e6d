//! Write commands, many statements each, and what their replies say.

use mongodb::bson::{Binary, Document, RawArrayBuf, RawDocumentBuf, raw::cstr};
use xronox_store::StoreError;

use crate::{
    error::{self, COLLECTION_GONE, DUPLICATE_KEY, Failure},
    shape::Shape,
};

/// One command holds at most this many bytes of documents: it is a document
/// itself, and the server takes 16 MiB of one. What is larger is alone.
const MAX_BYTES: usize = 12 << 20;
/// And at most this many statements; the server takes 100,000.
const MAX_STATEMENTS: usize = 50_000;

/// Cuts documents into stretches that fit in a command each.
fn stretches(documents: &[RawDocumentBuf]) -> impl Iterator<Item = &[RawDocumentBuf]> {
    let mut rest = documents;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut bytes = 0;
        let fits = rest.iter().take(MAX_STATEMENTS).take_while(|document| {
            bytes += document.as_bytes().len();
            bytes <= MAX_BYTES
        });
        let count = fits.count().max(1);
        let (stretch, after) = rest.split_at(count);
        rest = after;
        Some(stretch)
    })
}

fn of_statements(
    name: &'static mongodb::bson::raw::CStr,
    collection: &str,
    field: &'static mongodb::bson::raw::CStr,
    statements: &[RawDocumentBuf],
) -> Vec<RawDocumentBuf> {
    stretches(statements)
        .map(|stretch| {
            let mut list = RawArrayBuf::new();
            for statement in stretch {
                list.push(statement.as_ref());
            }
            let mut command = RawDocumentBuf::new();
            command.append(name, collection);
            command.append(cstr!("ordered"), true);
            command.append(field, list);
            command
        })
        .collect()
}

/// Commands that insert these documents.
pub(crate) fn insert(collection: &str, documents: &[RawDocumentBuf]) -> Vec<RawDocumentBuf> {
    of_statements(cstr!("insert"), collection, cstr!("documents"), documents)
}

/// Commands that carry out these updates, `{ q, u, … }` each.
pub(crate) fn update(collection: &str, updates: &[RawDocumentBuf]) -> Vec<RawDocumentBuf> {
    of_statements(cstr!("update"), collection, cstr!("updates"), updates)
}

/// Commands that carry out these deletions, `{ q, limit }` each.
pub(crate) fn delete(collection: &str, deletes: &[RawDocumentBuf]) -> Vec<RawDocumentBuf> {
    of_statements(cstr!("delete"), collection, cstr!("deletes"), deletes)
}

/// The same commands, which do nothing once the version rows that this shape
/// was read with are gone. An insertion would otherwise make the collection
/// anew, without its indexes, and whatever comes late would meet the rows of
/// another one that has its name since.
///
/// The server knows the field since 6.0.
pub(crate) fn there(mut commands: Vec<RawDocumentBuf>, shape: &Shape) -> Vec<RawDocumentBuf> {
    if let Some(uuid) = shape.uuid {
        for command in &mut commands {
            command.append(cstr!("collectionUUID"), Binary::from(uuid));
        }
    }
    commands
}

/// The same command, acknowledged once a majority has it in its journals.
pub(crate) fn durably(mut command: RawDocumentBuf) -> RawDocumentBuf {
    let mut concern = RawDocumentBuf::new();
    concern.append(cstr!("w"), "majority");
    concern.append(cstr!("j"), true);
    command.append(cstr!("writeConcern"), concern);
    command
}

/// A document as it is sent.
pub(crate) fn raw(document: &Document) -> Result<RawDocumentBuf, StoreError> {
    RawDocumentBuf::try_from(document)
        .map_err(|_| StoreError::Refused("a value cannot be stored in BSON".to_owned()))
}

/// What a statement met.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The id or a unique key is there already.
    Duplicate,
    /// The collection is [not there](there) any more.
    Gone,
    Failed(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        match failure.code() {
            Some(DUPLICATE_KEY) => Self::Duplicate,
            Some(COLLECTION_GONE) => Self::Gone,
            _ => Self::Failed(failure),
        }
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Failed(failure) => failure,
            Trouble::Duplicate => StoreError::unavailable("another process was faster").into(),
            Trouble::Gone => StoreError::unavailable("the collection is removed").into(),
        }
    }
}

impl From<mongodb::error::Error> for Trouble {
    fn from(failure: mongodb::error::Error) -> Self {
        Failure::from(failure).into()
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

/// Looks for errors of single statements, and of the write concern, in a
/// reply that is otherwise in order.
pub(crate) fn check(reply: &Document) -> Result<(), Trouble> {
    if let Ok(errors) = reply.get_array("writeErrors")
        && let Some(first) = errors.iter().find_map(|error| error.as_document())
    {
        let code = first.get_i32("code").unwrap_or_default();
        return Err(match code {
            DUPLICATE_KEY => Trouble::Duplicate,
            COLLECTION_GONE => Trouble::Gone,
            _ => error::of_code(code, "a write", "the server").into(),
        });
    }
    if let Ok(concern) = reply.get_document("writeConcernError") {
        let code = concern.get_i32("code").unwrap_or_default();
        return Err(error::of_code(code, "the write concern", "the server").into());
    }
    Ok(())
}

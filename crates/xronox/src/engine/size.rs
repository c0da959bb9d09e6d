//! How much there is.

use serde::Serialize;
use xronox_model::Timestamp;

use crate::{Collection, Error};

/// How much a collection holds.
///
/// As JSON `{ records, deleted, versions, bytes, inlineBytes, cv?, at? }`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Size {
    /// Records that are live.
    pub records: u64,
    /// Records that are deleted.
    pub deleted: u64,
    /// Versions, those that retention or a purge left a stub of included.
    pub versions: u64,
    /// Bytes of all documents of all versions in canonical form.
    pub bytes: u64,
    /// Bytes of those that are kept in the catalog, as stored.
    pub inline_bytes: u64,
    /// The newest version of the collection; `None` if it is empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cv: Option<u64>,
    /// When that was committed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

impl Collection {
    /// How much the collection holds. It looks at every version's row, so it
    /// takes a moment for a large collection.
    ///
    /// # Errors
    ///
    /// [`Forbidden`](crate::ErrorKind::Forbidden) where fields are hidden from
    /// the handle; [`Unavailable`](crate::ErrorKind::Unavailable),
    /// [`Closed`](crate::ErrorKind::Closed).
    pub async fn size(&self) -> Result<Size, Error> {
        let shared = self.whole("size")?;
        let unveiled = shared.unveiled(&self.scope, "sizes tell");
        unveiled.map_err(|e| e.during(&shared.doing("size", None)))?;
        let catalog = &shared.database.catalog;
        let read = async {
            let size = catalog.size(&shared.name).await?;
            let newest = catalog.newest(&shared.name).await?;
            Ok(Size {
                records: size.live,
                deleted: size.deleted,
                versions: size.versions,
                bytes: size.body_bytes,
                inline_bytes: size.inline_bytes,
                cv: newest.as_ref().map(|commit| commit.cv),
                at: newest.map(|commit| commit.at),
            })
        };
        read.await.map_err(|e: xronox_store::StoreError| {
            Error::from(e).during(&shared.doing("size", None))
        })
    }
}

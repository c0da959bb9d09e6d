//! The embedded store: a folder with a catalog and files for large bodies.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use xronox_model::{BucketRole, encode_name};
use xronox_sqlite::SqliteCatalog;
use xronox_store::{Gate, Space, StoreError, SystemClock};

use crate::{
    Components, Error, Settings, Xronox,
    store::{DATABASE, SPACE},
};

/// Opens the store in a folder: `catalog/<database>.sqlite` and
/// `objects/<bucket>/<key>`.
pub(crate) async fn open(folder: &Path, settings: Settings) -> Result<Xronox, Error> {
    let file = folder
        .join("catalog")
        .join(format!("{}.sqlite", encode_name(DATABASE)));
    let catalog = SqliteCatalog::open(file, DATABASE, Arc::new(SystemClock)).await?;
    let objects = folder.join("objects");
    let space = tokio::task::spawn_blocking(move || {
        let buckets = BTreeMap::from(
            [
                (BucketRole::Records, "records"),
                (BucketRole::Versions, "versions"),
                (BucketRole::Content, "content"),
                (BucketRole::Backups, "backups"),
            ]
            .map(|(role, name)| (role, name.to_owned())),
        );
        Space::files(SPACE, &objects, &buckets, Gate::default())
    });
    let space = space.await.map_err(|_| StoreError::Closed)??;
    let documents = Arc::new(catalog.documents());
    Xronox::assemble(
        Components::new(Arc::new(catalog), documents, Some(space)),
        settings,
    )
}

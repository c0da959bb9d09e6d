//! Taking rows as they are.

use rusqlite::Connection;
use xronox_model::{CollectionName, Timestamp, VersionRow};
use xronox_store::{StoreError, ruling};

use crate::{
    collection::{self, Collection},
    commit::Pen,
    read,
};

/// See [`Catalog::append_exact`](xronox_store::Catalog::append_exact).
pub(crate) fn exact(
    db: &Connection,
    name: &CollectionName,
    collection: &Collection,
    rows: Vec<VersionRow>,
) -> Result<(), StoreError> {
    let mut last =
        collection::newest(db, collection)?.map(|(cv, at)| (cv, Timestamp::from_millis(at)));
    for row in rows {
        let previous = read::head(db, collection, &row.id)?;
        let row = ruling::rule_exact(row, previous.as_ref(), last, &collection.described)?;
        last = Some((row.cv, row.at));
        let mut pen = Pen::at(db, name, collection, row.cv, row.at);
        pen.take(&row, previous.as_ref())?;
        pen.finish()?;
    }
    Ok(())
}

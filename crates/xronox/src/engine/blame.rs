//! Which version last set each part of a document.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use xronox_model::{Direction, Op, Path, RecordId, changed_paths};

use crate::{
    Collection, Error, ErrorKind, IntoId, Version,
    collection::Shared,
    engine::{read::not_found, scope::Scope},
};

/// Rows of history read at once.
const STRETCH: usize = 500;

/// Which version last set one part of a document.
///
/// As JSON `{ path, version }`, the version as in [`Version`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Blame {
    /// The part: a dotted path through objects; an array is one part.
    pub path: Path,
    /// The version that set it. Where retention removed the versions before,
    /// the oldest one that is left.
    pub version: Version,
}

impl Collection {
    /// For each part of a record's newest document, the version (and with it
    /// who, when and why) that last set it; in the order of paths.
    ///
    /// Reads every version of the record, one at a time.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound) if there is no such record or
    /// it is deleted.
    pub async fn blame(&self, id: impl IntoId) -> Result<Vec<Blame>, Error> {
        let Self { shared, scope } = self;
        let id = id
            .into_id()
            .map_err(|e| e.during(&shared.doing("blame", None)))?;
        Box::pin(shared.blame(scope, &id))
            .await
            .map_err(|e| e.during(&shared.doing("blame", Some(&id))))
    }
}

impl Shared {
    async fn blame(&self, scope: &Scope, id: &RecordId) -> Result<Vec<Blame>, Error> {
        let head = self.newest_in(scope, id).await?;
        if !head.live() {
            return Err(not_found());
        }
        let last = head.ov;
        let mut set: BTreeMap<Path, Version> = BTreeMap::new();
        let mut document = Value::Object(serde_json::Map::new());
        let mut from = 0;
        'walk: loop {
            let catalog = &self.database.catalog;
            let rows = catalog
                .history(&self.name, id, Some(from), Direction::Ascending, STRETCH)
                .await?;
            let Some(end) = rows.last() else { break };
            from = end.ov + 1;
            for row in rows {
                if row.ov > last {
                    break 'walk;
                }
                if row.op == Op::Purge {
                    // What was born after it owes nothing to what was before.
                    document = Value::Object(serde_json::Map::new());
                    set.clear();
                    continue;
                }
                if row.body.is_none() {
                    continue;
                }
                let next = match self.document_of(scope, id, row.ov).await {
                    Ok(next) => next,
                    // It is beyond the scope.
                    Err(error)
                        if !scope.is_everything() && *error.kind() == ErrorKind::NotFound =>
                    {
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                let version = Version::of(row);
                for path in changed_paths(&document, &next) {
                    set.insert(path, version.clone());
                }
                document = next;
            }
        }
        // A part that went away again, or became a whole of other parts, is
        // not one of the newest document's.
        let parts = changed_paths(&Value::Object(serde_json::Map::new()), &document);
        Ok(parts
            .into_iter()
            .filter_map(|path| {
                let version = set.get(&path).cloned()?;
                Some(Blame { path, version })
            })
            .collect())
    }
}

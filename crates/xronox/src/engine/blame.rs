//! Which version last set each part of a document.

use std::{collections::BTreeMap, future::IntoFuture};

use futures::future::BoxFuture;
use serde::Serialize;
use serde_json::Value;
use xronox_model::{Direction, Op, Path, RecordId, changed_paths};

use crate::{
    Collection, Error, ErrorKind, IntoId, Version,
    collection::Shared,
    engine::{
        read::not_found,
        scope::Scope,
        shape::{Shape, Sight, shaped},
    },
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

/// Tells which version last set each part of a record; await it.
///
/// Gives a [`Blame`] for each part that is shown. Made with
/// [`Collection::blame`].
#[derive(Debug)]
#[must_use = "a read does nothing until it is awaited"]
pub struct ReadBlame<'a> {
    collection: &'a Collection,
    id: Result<RecordId, Error>,
    shape: Shape,
}

shaped!(ReadBlame<'_>, shape);

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
    pub fn blame(&self, id: impl IntoId) -> ReadBlame<'_> {
        ReadBlame {
            collection: self,
            id: id.into_id(),
            shape: Shape::default(),
        }
    }
}

impl<'a> IntoFuture for ReadBlame<'a> {
    type Output = Result<Vec<Blame>, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Collection { shared, scope, .. } = self.collection;
            let id = self
                .id
                .map_err(|e| e.during(&shared.doing("blame", None)))?;
            let read = async {
                let sight = shared.sight(scope, &self.shape.asked()?)?;
                Box::pin(shared.blame(scope, &sight, &id)).await
            };
            read.await
                .map_err(|e| e.during(&shared.doing("blame", Some(&id))))
        })
    }
}

impl Shared {
    async fn blame(
        &self,
        scope: &Scope,
        sight: &Sight,
        id: &RecordId,
    ) -> Result<Vec<Blame>, Error> {
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
                let next = match self.shown_of(scope, sight, id, row.ov).await {
                    Ok(next) => next,
                    // It is beyond the scope.
                    Err(error)
                        if !scope.is_everything() && *error.kind() == ErrorKind::NotFound =>
                    {
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                let version = self.version_of(scope, row);
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

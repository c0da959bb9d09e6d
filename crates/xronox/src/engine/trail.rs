//! The versions that an identity made.

use std::future::IntoFuture;

use futures::future::BoxFuture;
use serde::Serialize;
use serde_json::{Value, json};
use xronox_model::{CollectionName, Identity, VersionRow};
use xronox_store::Bodies;

use crate::{
    Collection, Database, Error, ErrorKind, IntoActor, Version,
    engine::{
        across::{Asked, asked, collections, fingerprint, foreign, handle, parts},
        shape::shaped,
        who::somebody,
    },
};

/// Rows that are read at a time.
const STRETCH: usize = 1000;
/// A page ends once its documents have this many bytes.
const MAX_PAGE_BYTES: u64 = 64 * 1024 * 1024;

/// Goes through the versions of every collection for those that an identity
/// made, or that were made on its behalf; await it for a [`TrailPage`].
///
/// Made with [`Database::trail`].
#[derive(Debug)]
#[must_use = "nothing is read until it is awaited"]
pub struct Trail<'a> {
    database: &'a Database,
    identity: Result<Identity, Error>,
    documents: bool,
    asked: Asked,
}

asked!(Trail);
shaped!(Trail<'_>, asked.shape);

/// A version, and the collection that it is in.
///
/// As JSON that of a [`Version`] with `collection`, and `document` if it was
/// asked for.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Trace {
    /// The collection.
    pub collection: CollectionName,
    /// The version.
    #[serde(flatten)]
    pub version: Version,
    /// What is shown of its document, if it was asked for and is still there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<Value>,
}

/// Some of the versions, by the name of the collection, then in the order of
/// their commits.
///
/// As JSON `{ items, cursor?, scanned }`.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct TrailPage {
    /// The versions: at most the limit. A page may be short, or even empty,
    /// and still have a cursor.
    pub items: Vec<Trace>,
    /// Where to go on, as opaque text; `None` if there is nothing more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// How many versions were looked at.
    pub scanned: u64,
}

impl Database {
    /// Every version that an identity made, or that was made on its behalf: of
    /// every collection, hard deletes included. With
    /// [`who`](Self::who) that is all a database has of an identity; each item
    /// is a line of the report.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), xronox::Error> {
    /// use serde_json::json;
    /// use xronox::{Config, Xronox};
    ///
    /// let xronox = Xronox::open(Config::memory()).await?;
    /// let orders = xronox.collection("orders")?;
    /// orders.create_with_id("o1", json!({ "total": 10 })).actor("user:42").await?;
    /// orders.patch("o1", json!({ "total": 12 })).actor("job:prices").await?;
    ///
    /// let mut trail = xronox.home()?.trail("user:42").documents().await?;
    /// while let Some(cursor) = trail.cursor.take() {
    ///     let next = xronox.home()?.trail("user:42").documents().after(cursor).await?;
    ///     trail.items.extend(next.items);
    ///     trail.cursor = next.cursor;
    /// }
    /// let [line] = &trail.items[..] else { panic!("one version") };
    /// assert_eq!((line.version.ov, line.document.as_ref()), (0, Some(&json!({ "total": 10 }))));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// No index holds versions by their actors, so this reads every version of
    /// the collections that are looked into: a page ends after
    /// `queries.maxScanned` of them with what it found, and its cursor goes on.
    /// Commits that come meanwhile are met if they come behind the cursor.
    /// Where retention has removed a version, who made it is gone too, and so
    /// are the versions of records that were deleted for good.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) if the identity is none or
    /// nobody, for a limit over `queries.maxLimit`, and for a foreign cursor,
    /// [`Unavailable`](crate::ErrorKind::Unavailable),
    /// [`Corrupt`](crate::ErrorKind::Corrupt) if a stored body is damaged.
    pub fn trail(&self, identity: impl IntoActor) -> Trail<'_> {
        Trail {
            database: self,
            identity: somebody(identity),
            documents: false,
            asked: Asked::default(),
        }
    }
}

impl Trail<'_> {
    /// Brings the document of each version along. A page then ends early once
    /// it holds 64 MiB of them.
    pub fn documents(mut self) -> Self {
        self.documents = true;
        self
    }

    async fn page(self) -> Result<TrailPage, Error> {
        let Self {
            database,
            identity,
            documents,
            mut asked,
        } = self;
        let identity = identity?;
        if let Some(error) = asked.broken.take() {
            return Err(error);
        }
        let (storage, scope) = (&database.storage, &database.scope);
        let limit = storage.settings.queries.page(asked.limit)?;
        let most = storage.settings.queries.max_scanned.max(1);
        let question = json!(["trail", identity.kind, identity.identifier]);
        let shape = std::mem::take(&mut asked.shape).asked()?;
        let fingerprint = fingerprint(storage, &question, &asked);
        let mut start = match &asked.after {
            Some(cursor) => Some(place(cursor, &fingerprint)?),
            None => None,
        };
        let mut page = TrailPage::default();
        let mut bytes = 0;
        for name in collections(storage, asked.among).await? {
            if start.as_ref().is_some_and(|(_, start)| name < *start) {
                continue;
            }
            let here = start.take().filter(|(_, start)| *start == name);
            let mut from = here.map_or(0, |(cv, _)| cv);
            let Collection { shared, scope, .. } = &handle(storage, &name, scope)?;
            let sight = shared.sight(scope, &shape)?;
            loop {
                let left = limit - page.items.len();
                if left == 0 || page.scanned >= most || bytes >= MAX_PAGE_BYTES {
                    page.cursor = Some(format!("{fingerprint}.{from}.{name}"));
                    return Ok(page);
                }
                let stretch =
                    usize::try_from(most - page.scanned).map_or(STRETCH, |room| room.min(STRETCH));
                let rows = storage.catalog.rows(&name, from, stretch, Bodies::Omit);
                let rows = rows.await?;
                let Some(last) = rows.last() else { break };
                let mut next = last.cv + 1;
                let mut made = Vec::new();
                for row in rows {
                    page.scanned += 1;
                    if !is_by(&row, &identity) {
                        continue;
                    }
                    if documents {
                        bytes += row.body.as_ref().map_or(0, |body| body.size);
                    }
                    let cv = row.cv;
                    made.push(row);
                    if made.len() == left || bytes >= MAX_PAGE_BYTES {
                        next = cv + 1;
                        break;
                    }
                }
                for row in shared.within(scope, made).await? {
                    let document = if documents {
                        match shared.load(row.clone()).await {
                            Ok(record) => Some(sight.of(record)?.try_document()?),
                            // Removed since, or never there.
                            Err(error) if is_gone(&error) => None,
                            Err(error) => return Err(error),
                        }
                    } else {
                        None
                    };
                    page.items.push(Trace {
                        collection: name.clone(),
                        version: shared.version_of(scope, row),
                        document,
                    });
                }
                from = next;
            }
        }
        Ok(page)
    }
}

fn is_by(row: &VersionRow, who: &Identity) -> bool {
    let is = |identity: &Option<Identity>| identity.as_ref().is_some_and(|it| it.is_same(who));
    is(&row.actor) || is(&row.on_behalf_of)
}

fn is_gone(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Pruned)
}

/// The `cv` and the collection to go on from.
fn place(cursor: &str, fingerprint: &str) -> Result<(u64, CollectionName), Error> {
    let [cv, collection] = parts(cursor, fingerprint)?;
    let cv = cv.parse().map_err(|_| foreign())?;
    let collection = collection.parse().map_err(|_| foreign())?;
    Ok((cv, collection))
}

impl<'a> IntoFuture for Trail<'a> {
    type Output = Result<TrailPage, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.page())
    }
}

//! Where records came from, and what came of them.
//!
//! Only the children know of it: a record names its parent when it is created,
//! and nothing says that the parent is there, or that it is not made of the
//! record itself. So whoever follows parents or children remembers where it was.

use std::{
    collections::{BTreeSet, HashSet, VecDeque},
    future::IntoFuture,
    sync::Arc,
};

use futures::{Stream, StreamExt, TryStreamExt, future::BoxFuture, stream};
use serde::Serialize;
use serde_json::json;
use xronox_model::{
    CollectionName, Identity, Invalid, Lineage, Op, Origin, ReadShape, RecordId, Timestamp,
    VersionRow,
};
use xronox_store::Bodies;

use crate::{
    Collection, Cursor, Error, IntoId, LocatedPage,
    collection::Shared,
    engine::{
        across::{Across, Asked, Step, asked, collections, handle},
        read::not_found,
        record::Record,
        scope::Scope,
        shape::shaped,
    },
    storage::Storage,
};

/// So many parents are asked for at a time: few enough for their children to
/// be found side by side, in the order of ids.
const PARENTS: usize = 16;
/// Records that one question of [`Descendants`] brings at most.
const PAGE: usize = 256;

/// A record by its collection and id.
type Name = (CollectionName, RecordId);

/// Finds the records that were made from one; await it for a [`LocatedPage`].
///
/// Made with [`Collection::children`].
#[derive(Debug)]
#[must_use = "nothing is asked until it is awaited"]
pub struct Children<'a> {
    collection: &'a Collection,
    id: Result<RecordId, Error>,
    asked: Asked,
}

asked!(Children);
shaped!(Children<'_>, asked.shape);

/// Finds all that came of a record: its children, theirs, and so on.
///
/// Made with [`Collection::descendants`]; read it with
/// [`stream`](Descendants::stream).
#[derive(Debug)]
#[must_use = "nothing is asked until it is streamed"]
pub struct Descendants {
    collection: Collection,
    id: Result<RecordId, Error>,
    asked: Asked,
}

shaped!(Descendants, asked.shape);

/// A record that came of another one.
///
/// As JSON `{ depth, collection, record }`.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Descendant {
    /// How far it is from that one: 1 for a child.
    pub depth: u64,
    /// The collection that it is in.
    pub collection: CollectionName,
    /// Its newest version.
    pub record: Record,
}

/// Where a record came from.
///
/// As JSON `{ ancestors, origin?, end }`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Ancestry {
    /// Its parent, the parent's parent, and so on.
    pub ancestors: Vec<Ancestor>,
    /// The first record of the line, as the record has it since its creation:
    /// maybe one of another system, or one that is not there any more. `None`
    /// for a record without parent and origin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// Why there are no more ancestors.
    pub end: AncestryEnd,
}

/// A record that another one came from.
///
/// As JSON `{ collection, id, ov, insertedAt, deleted, creator? }`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Ancestor {
    /// The collection that it is in.
    pub collection: CollectionName,
    /// Its id.
    pub id: RecordId,
    /// Its newest version.
    pub ov: u64,
    /// When it was created.
    pub inserted_at: Timestamp,
    /// Whether it is deleted.
    pub deleted: bool,
    /// Who created it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creator: Option<Identity>,
}

/// Why a line goes back no further. As JSON `"root"`, `"cycle"` or
/// `{ "missing": { collection, id } }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum AncestryEnd {
    /// The last one has no parent.
    Root,
    /// The parent of the last one is not there: it never was, was deleted for
    /// good, or is not in the scope of the handle.
    Missing {
        /// The collection that it should be in.
        collection: CollectionName,
        /// Its id.
        id: RecordId,
    },
    /// The parent of the last one is the record itself, or one that was met
    /// before.
    Cycle,
}

impl Collection {
    /// The records that were made from one of this collection
    /// ([`parent`](crate::Create::parent)): of every collection, deleted
    /// records included (their `_system.deleted` says so). The record itself
    /// need not be there any more.
    ///
    /// The index `_system.parentId` answers it, which each collection has from
    /// the first time on that somebody asks; until it is filled the bounds of
    /// [`query`](Self::query) hold.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) for an impossible id, for a
    /// foreign cursor, and as [`query`](Self::query).
    pub fn children(&self, id: impl IntoId) -> Children<'_> {
        Children {
            collection: self,
            id: id.into_id(),
            asked: Asked::default(),
        }
    }

    /// All that came of a record of this collection: its
    /// [`children`](Self::children), theirs, and so on, the nearest first and
    /// each once.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), xronox::Error> {
    /// use futures::TryStreamExt;
    /// use serde_json::json;
    /// use xronox::{Config, Xronox};
    ///
    /// let xronox = Xronox::open(Config::memory()).await?;
    /// let (scans, pages) = (xronox.collection("scans")?, xronox.collection("pages")?);
    /// scans.create_with_id("s", json!({})).origin("doc 7", "files", Some("archive")).await?;
    /// pages.create_with_id("p", json!({})).parent("s", "scans").await?;
    /// pages.create_with_id("q", json!({})).parent("p", "pages").await?;
    ///
    /// let found: Vec<_> = scans.descendants("s").stream().try_collect().await?;
    /// let found = found.iter().map(|it| format!("{} {}", it.depth, it.record.id()));
    /// assert_eq!(found.collect::<Vec<_>>(), ["1 p", "2 q"]);
    ///
    /// let line = pages.lineage("q").await?;
    /// assert_eq!(line.ancestors[1].id.to_string(), "s");
    /// assert_eq!(line.origin.unwrap().system.as_deref(), Some("archive"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn descendants(&self, id: impl IntoId) -> Descendants {
        Descendants {
            collection: self.clone(),
            id: id.into_id(),
            asked: Asked::default(),
        }
    }

    /// Where a record came from: its ancestors up to the root, and its origin.
    /// One look-up for each ancestor; deleted ones are told of as well.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound) if there is no such record,
    /// [`Invalid`](crate::ErrorKind::Invalid) for an impossible id and for a
    /// line of more than `queries.maxScanned` records.
    pub async fn lineage(&self, id: impl IntoId) -> Result<Ancestry, Error> {
        let Self { shared, scope, .. } = self;
        let id = id
            .into_id()
            .map_err(|e| e.during(&shared.doing("lineage", None)))?;
        let ancestry = shared.ancestry(scope, &id).await;
        shared.tell(scope, "lineage", &id, ancestry).await
    }
}

impl<'a> IntoFuture for Children<'a> {
    type Output = Result<LocatedPage, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Collection { shared, scope, .. } = self.collection;
            let found = async {
                let parent = (shared.name.clone(), self.id?);
                let id = parent.1.to_string();
                let across = Across {
                    storage: &shared.database,
                    scope,
                    question: json!(["children", parent.0.as_str(), id]),
                    steps: vec![Step {
                        filter: json!({ "_system.parentId": id }),
                        counts: Box::new(move |system| {
                            system.lineage.parent().as_ref() == Some(&parent)
                        }),
                    }],
                };
                across.page(self.asked).await
            };
            let found = found.await;
            found.map_err(|e: Error| e.during(&shared.doing("children", None)))
        })
    }
}

impl Descendants {
    /// Looks only into these collections: what came of records elsewhere is
    /// not found.
    pub fn among<I>(mut self, collections: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        self.asked.among(collections);
        self
    }

    /// Reads them all, a few records at a time. Their names are remembered, so
    /// a cycle ends where it closes, and there may be no more than
    /// `queries.maxScanned` of them. What is created meanwhile may be missing.
    ///
    /// # Errors
    ///
    /// From the stream, which ends with its first error: as
    /// [`children`](Collection::children), and
    /// [`Invalid`](crate::ErrorKind::Invalid) where there are too many.
    pub fn stream(self) -> impl Stream<Item = Result<Descendant, Error>> + Send + Unpin + 'static {
        let shared = Arc::clone(&self.collection.shared);
        let begin = stream::once(async move { Descent::begin(self).await });
        let found = begin.map_ok(|descent| {
            stream::try_unfold(descent, |mut descent| async move {
                let next = descent.next().await?;
                Ok::<_, Error>(next.map(|found| (found, descent)))
            })
        });
        let found = found.try_flatten();
        found
            .map_err(move |e: Error| e.during(&shared.doing("descendants", None)))
            .boxed()
    }
}

/// On the way down from a record, one generation after the other.
struct Descent {
    storage: Arc<Storage>,
    scope: Scope,
    shape: ReadShape,
    collections: VecDeque<CollectionName>,
    /// All that were met, the first one included.
    met: HashSet<Name>,
    depth: u64,
    /// Of this generation those whose children are still to be asked for.
    parents: Vec<Name>,
    /// The next generation.
    children: Vec<Name>,
    question: Option<Question>,
    found: VecDeque<Descendant>,
}

/// Whose children are asked for.
struct Question {
    parents: HashSet<Name>,
    /// Where it is still to be asked.
    collections: VecDeque<CollectionName>,
    after: Option<Cursor>,
}

impl Descent {
    async fn begin(asked: Descendants) -> Result<Self, Error> {
        let Descendants {
            collection: Collection { shared, scope, .. },
            id,
            asked,
        } = asked;
        let first = (shared.name.clone(), id?);
        if let Some(error) = asked.broken {
            return Err(error);
        }
        Ok(Self {
            storage: Arc::clone(&shared.database),
            scope,
            shape: asked.shape.asked()?,
            collections: collections(&shared.database, asked.among).await?,
            met: HashSet::from([first.clone()]),
            depth: 0,
            parents: Vec::new(),
            children: vec![first],
            question: None,
            found: VecDeque::new(),
        })
    }

    async fn next(&mut self) -> Result<Option<Descendant>, Error> {
        loop {
            if let Some(found) = self.found.pop_front() {
                return Ok(Some(found));
            }
            if let Some(question) = self.question.take() {
                self.question = self.ask(question).await?;
            } else if !self.turn() {
                return Ok(None);
            }
        }
    }

    /// Turns to the next parents; `false` if there are none.
    fn turn(&mut self) -> bool {
        if self.parents.is_empty() {
            self.parents = std::mem::take(&mut self.children);
            self.depth += 1;
        }
        let few = self.parents.len().min(PARENTS);
        self.question = (few > 0).then(|| Question {
            parents: self.parents.drain(..few).collect(),
            collections: self.collections.clone(),
            after: None,
        });
        self.question.is_some()
    }

    /// Asks one collection, and gives what is still to be asked.
    async fn ask(&mut self, mut question: Question) -> Result<Option<Question>, Error> {
        let Some(name) = question.collections.front().cloned() else {
            return Ok(None);
        };
        let settings = &self.storage.settings.queries;
        // In one order always: the cursor belongs to the filter as it is.
        let ids: BTreeSet<String> = question
            .parents
            .iter()
            .map(|(_, id)| id.to_string())
            .collect();
        let collection = handle(&self.storage, &name, &self.scope)?;
        let mut query = collection
            .query(json!({ "_system.parentId": { "$in": ids } }))
            .shaped(&self.shape)
            .include_deleted()
            .limit(PAGE.min(settings.max_limit));
        if let Some(cursor) = question.after.take() {
            query = query.after(cursor);
        }
        let page = query.await?;
        for record in page.items {
            let parent = record.system().lineage.parent();
            let child = (name.clone(), record.id().clone());
            if parent.is_none_or(|parent| !question.parents.contains(&parent))
                || !self.met.insert(child.clone())
            {
                continue;
            }
            bounded(self.met.len(), settings.max_scanned)?;
            self.children.push(child);
            self.found.push_back(Descendant {
                depth: self.depth,
                collection: name.clone(),
                record,
            });
        }
        question.after = page.cursor;
        if question.after.is_none() {
            question.collections.pop_front();
        }
        Ok(Some(question))
    }
}

/// Refuses to remember more records than a query may look at.
fn bounded(met: usize, most: u64) -> Result<(), Error> {
    // The first one is not counted.
    if met as u64 <= most.saturating_add(1) {
        return Ok(());
    }
    let why = format!("more than {most} records belong to it (`queries.maxScanned`)");
    Err(Invalid::at("lineage", why).into())
}

/// The setters that everything has which creates records.
macro_rules! descending {
    ($builder:ident) => {
        impl $builder<'_> {
            /// The record it is made from: kept as `_system.parentId` and
            /// `parentCollection`, with the parent's origin, or the parent
            /// itself, as the origin, unless [`origin`](Self::origin) names
            /// another one. A parent that is not there (any more) is kept all
            /// the same.
            pub fn parent(mut self, id: impl crate::IntoId, collection: impl AsRef<str>) -> Self {
                let collection = collection.as_ref();
                let set = crate::engine::lineage::set_parent(&mut self.lineage, id, collection);
                self.broken = self.broken.or(set.err());
                self
            }

            /// Where it first came from, maybe in another system: kept as
            /// `_system.originId` and `originCollection` (`system:collection`).
            /// Each has 1 to 1,024 bytes without control characters, and the
            /// name of a system no colon.
            pub fn origin(
                mut self,
                id: impl Into<String>,
                collection: impl AsRef<str>,
                system: Option<&str>,
            ) -> Self {
                let set = self.lineage.set_origin(id, collection.as_ref(), system);
                self.broken = self.broken.or(set.err().map(crate::Error::from));
                self
            }
        }
    };
}

pub(crate) use descending;

/// Says of a new record what it is made from.
pub(crate) fn set_parent(
    lineage: &mut Lineage,
    id: impl IntoId,
    collection: &str,
) -> Result<(), Error> {
    let id = id.into_id()?;
    let collection: CollectionName = collection.parse()?;
    lineage.parent_id = Some(id.to_string());
    lineage.parent_collection = Some(collection.to_string());
    Ok(())
}

impl Shared {
    /// Completes a lineage: a parent of this store hands on its origin.
    pub(crate) async fn lineage(&self, scope: &Scope, given: Lineage) -> Result<Lineage, Error> {
        if given.origin_id.is_some() {
            return Ok(given);
        }
        let Some((name, id)) = given.parent() else {
            return Ok(given);
        };
        let row = self.database.shared(&name).present(scope, &id).await?;
        let parents = row.map(|row| row.system.lineage).unwrap_or_default();
        Ok(Lineage::child_of(&id.to_string(), &name, &parents))
    }

    /// The newest version of a record that is there, deleted or not.
    async fn present(&self, scope: &Scope, id: &RecordId) -> Result<Option<VersionRow>, Error> {
        let catalog = &self.database.catalog;
        let head = catalog.head(&self.name, id, Bodies::Omit).await?;
        let head = head.filter(|head| head.op != Op::Purge);
        let scope = &scope.on(self)?;
        let rows = self.within(scope, head.into_iter().collect()).await?;
        Ok(rows.into_iter().next())
    }

    async fn ancestry(&self, scope: &Scope, id: &RecordId) -> Result<Ancestry, Error> {
        let row = self.present(scope, id).await?.ok_or_else(not_found)?;
        let origin = row.system.lineage.origin();
        let most = self.database.settings.queries.max_scanned;
        let mut met: HashSet<Name> = HashSet::from([(self.name.clone(), id.clone())]);
        let mut ancestors = Vec::new();
        let mut next = row.system.lineage.parent();
        let end = loop {
            let Some((collection, id)) = next else {
                break AncestryEnd::Root;
            };
            if !met.insert((collection.clone(), id.clone())) {
                break AncestryEnd::Cycle;
            }
            bounded(met.len(), most)?;
            let there = self.database.shared(&collection);
            let Some(row) = there.present(scope, &id).await? else {
                break AncestryEnd::Missing { collection, id };
            };
            next = row.system.lineage.parent();
            ancestors.push(Ancestor {
                collection,
                id,
                ov: row.ov,
                inserted_at: row.system.inserted_at,
                deleted: row.system.deleted(),
                creator: row.system.creator,
            });
        };
        Ok(Ancestry {
            ancestors,
            origin,
            end,
        })
    }
}

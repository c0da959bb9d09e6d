//! One question to every collection of a database, page after page.

use std::{collections::VecDeque, sync::Arc};

use serde::Serialize;
use serde_json::{Value, json};
use xronox_model::{CollectionName, Invalid, Sha256, SystemFields, json::canonical};

use crate::{
    Collection, Cursor, Error, IntoCursor,
    engine::{record::Record, scope::Scope, shape::Shape},
    storage::Storage,
};

/// One page asks no more questions than this of collections; what it found by
/// then is the page.
const MAX_QUESTIONS: usize = 100;
/// A page ends once its documents have this many bytes.
const MAX_PAGE_BYTES: u64 = 64 * 1024 * 1024;

/// A record, and the collection that it is in.
///
/// As JSON `{ collection, record }`.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Located {
    /// The collection.
    pub collection: CollectionName,
    /// The newest version of the record.
    pub record: Record,
}

/// Some records of several collections: by the name of the collection, then in
/// the order of their ids as far as one question found them.
///
/// As JSON `{ items, cursor?, scanned }`.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct LocatedPage {
    /// The records: at most the limit, and little more than 64 MiB of
    /// documents. A page of many collections may be short, or even empty, and
    /// still have a cursor.
    pub items: Vec<Located>,
    /// Where to go on, as opaque text; `None` if there is nothing more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// How many records were looked at.
    pub scanned: u64,
}

/// What a caller says of pages across collections.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// Sorted, each once.
    pub(crate) among: Option<Vec<CollectionName>>,
    pub(crate) limit: Option<usize>,
    pub(crate) after: Option<String>,
    pub(crate) shape: Shape,
    pub(crate) broken: Option<Error>,
}

impl Asked {
    pub(crate) fn among<I>(&mut self, names: I)
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        match named(names) {
            Ok(names) => self.among = Some(names),
            Err(error) => {
                self.broken.get_or_insert(error);
            }
        }
    }
}

/// Collections by their names, sorted, each once.
pub(crate) fn named<I>(names: I) -> Result<Vec<CollectionName>, Error>
where
    I: IntoIterator,
    I::Item: AsRef<str>,
{
    let names = names.into_iter().map(|name| name.as_ref().parse());
    let mut names = names.collect::<Result<Vec<CollectionName>, Invalid>>()?;
    names.sort();
    names.dedup();
    Ok(names)
}

/// The setters that every question across collections has.
macro_rules! asked {
    ($builder:ident) => {
        impl $builder<'_> {
            /// Looks only into these collections.
            pub fn among<I>(mut self, collections: I) -> Self
            where
                I: IntoIterator,
                I::Item: AsRef<str>,
            {
                self.asked.among(collections);
                self
            }

            /// At most this many. Default: `queries.defaultLimit` (50); at most
            /// `queries.maxLimit` (1,000).
            pub fn limit(mut self, limit: usize) -> Self {
                self.asked.limit = Some(limit);
                self
            }

            /// Goes on where a page of this same question ended.
            pub fn after(mut self, cursor: impl Into<String>) -> Self {
                self.asked.after = Some(cursor.into());
                self
            }
        }
    };
}

pub(crate) use asked;

/// The collections of a database to look into: those named, or all.
pub(crate) async fn collections(
    storage: &Storage,
    among: Option<Vec<CollectionName>>,
) -> Result<VecDeque<CollectionName>, Error> {
    storage.open()?;
    if let Some(names) = among {
        return Ok(names.into());
    }
    let mut names = storage.catalog.collections().await?;
    names.sort();
    Ok(names.into())
}

/// The handle of a collection, limited to a scope.
pub(crate) fn handle(
    storage: &Arc<Storage>,
    name: &CollectionName,
    scope: &Scope,
) -> Result<Collection, Error> {
    let shared = storage.shared(name);
    let scope = scope.on(&shared)?;
    Ok(Collection {
        shared,
        scope,
        siblings: None,
    })
}

/// Names a question, so that its cursors are not taken for another's.
pub(crate) fn fingerprint(storage: &Storage, question: &Value, asked: &Asked) -> String {
    let question = json!([storage.catalog.marker().id, question, asked.among]);
    let mut name = Sha256::of(&canonical(&question)).to_string();
    name.truncate(16);
    name
}

/// A part of a question: records that match a filter, of which those count
/// whose system fields are right. The filter is what is looked up in an index.
pub(crate) struct Step {
    pub(crate) filter: Value,
    pub(crate) counts: Box<dyn Fn(&SystemFields) -> bool + Send + Sync>,
}

/// A question to every collection.
pub(crate) struct Across<'a> {
    pub(crate) storage: &'a Arc<Storage>,
    pub(crate) scope: &'a Scope,
    /// What the question is.
    pub(crate) question: Value,
    /// Asked of each collection in turn; no record counts in two of them.
    pub(crate) steps: Vec<Step>,
}

impl Across<'_> {
    pub(crate) async fn page(&self, mut asked: Asked) -> Result<LocatedPage, Error> {
        if let Some(error) = asked.broken.take() {
            return Err(error);
        }
        let limit = self.storage.settings.queries.page(asked.limit)?;
        let shape = std::mem::take(&mut asked.shape).asked()?;
        let fingerprint = fingerprint(self.storage, &self.question, &asked);
        let mut start = match &asked.after {
            Some(cursor) => Some(Place::read(cursor, &fingerprint)?),
            None => None,
        };
        let mut page = LocatedPage::default();
        let (mut bytes, mut questions) = (0, 0);
        for name in collections(self.storage, asked.among).await? {
            if start.as_ref().is_some_and(|start| name < start.collection) {
                continue;
            }
            let here = start.take().filter(|start| start.collection == name);
            let (first, mut after) = here.map_or((0, None), |here| (here.step, here.after));
            let collection = handle(self.storage, &name, self.scope)?;
            for (number, step) in self.steps.iter().enumerate().skip(first) {
                loop {
                    let left = limit - page.items.len();
                    if left == 0 || bytes >= MAX_PAGE_BYTES || questions == MAX_QUESTIONS {
                        let place = Place {
                            step: number,
                            after,
                            collection: name,
                        };
                        page.cursor = Some(place.text(&fingerprint));
                        return Ok(page);
                    }
                    questions += 1;
                    let query = collection.query(&step.filter).shaped(&shape);
                    let mut query = query.include_deleted().limit(left);
                    if let Some(cursor) = after.take() {
                        query = query.after(cursor);
                    }
                    let found = query.await?;
                    page.scanned += found.scanned;
                    for record in found.items {
                        if (step.counts)(record.system()) {
                            bytes += record.size();
                            page.items.push(Located {
                                collection: name.clone(),
                                record,
                            });
                        }
                    }
                    after = found.cursor;
                    if after.is_none() {
                        break;
                    }
                }
            }
        }
        Ok(page)
    }
}

/// Where a page ended. As text: what names the question, the step, the cursor
/// there if it was begun, and the collection, with dots between.
struct Place {
    step: usize,
    after: Option<Cursor>,
    collection: CollectionName,
}

impl Place {
    fn text(&self, fingerprint: &str) -> String {
        let after = self.after.as_ref().map(Cursor::to_string);
        let after = after.unwrap_or_default();
        format!("{fingerprint}.{}.{after}.{}", self.step, self.collection)
    }

    fn read(text: &str, fingerprint: &str) -> Result<Self, Error> {
        let [step, after, collection] = parts(text, fingerprint)?;
        Ok(Self {
            step: step.parse().map_err(|_| foreign())?,
            after: match after {
                "" => None,
                after => Some(after.into_cursor()?),
            },
            collection: collection.parse().map_err(|_| foreign())?,
        })
    }
}

/// The parts of a cursor behind what names the question.
pub(crate) fn parts<'t, const N: usize>(
    text: &'t str,
    fingerprint: &str,
) -> Result<[&'t str; N], Error> {
    let rest = text
        .strip_prefix(fingerprint)
        .and_then(|rest| rest.strip_prefix('.'))
        .ok_or_else(foreign)?;
    let parts: Vec<&str> = rest.splitn(N, '.').collect();
    parts.try_into().map_err(|_| foreign())
}

pub(crate) fn foreign() -> Error {
    Invalid::at("cursor", "not a cursor of this question").into()
}

//! Records as plain documents, in the words of MongoDB's drivers.

use std::{future::IntoFuture, marker::PhantomData, pin::Pin};

use futures::{Stream, StreamExt, TryStreamExt, future::BoxFuture};
use serde::de::DeserializeOwned;
use serde_json::Value;
use xronox_model::{Direction, Invalid, Path, RecordId};

use crate::{
    Collection, Database, DeleteManyReport, Error, ErrorKind, IntoActor, IntoDocument, IntoId,
    IntoPath, Written,
    engine::{
        attribution::Attribution,
        shape::{Shape, shaped},
    },
};

/// Bytes of documents that are gathered in one answer.
const MAX_GATHERED: u64 = 64 * 1024 * 1024;

/// The collections of a database for those who know MongoDB's drivers: each
/// call names its collection, and documents are any type that serde reads and
/// writes ([`serde_json::Value`] too). Made with [`Database::client`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), xronox::Error> {
/// use serde::{Deserialize, Serialize};
/// use serde_json::json;
/// # use xronox::{Config, Xronox};
///
/// #[derive(Serialize, Deserialize)]
/// struct Item {
///     topic: String,
///     confidence: f64,
/// }
///
/// # let xronox = Xronox::open(Config::memory()).await?;
/// let client = xronox.home()?.client().acting("agent:curator")?;
/// let item = Item { topic: "quantum computing".into(), confidence: 0.9 };
/// let id = client.insert("items", &item).await?;
/// client.update("items", &id, json!({ "confidence": 0.95 })).await?;
///
/// let sure = json!({ "confidence": { "$gte": 0.8 } });
/// let items: Vec<Item> = client.find("items", &sure).limit(10).await?;
/// assert_eq!(items[0].confidence, 0.95);
/// assert_eq!(client.count("items", &sure).await?, 1);
/// assert_eq!(client.delete_many("items", &sure).await?.deleted, 1);
/// // Nothing is lost by that: the versions are all there.
/// assert_eq!(xronox.collection("items")?.get_version(&id, 0).await?.json()["confidence"], 0.9);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct XronoxClient {
    database: Database,
    attribution: Attribution,
}

/// Finds documents; await it for all of them up to its
/// [`limit`](Self::limit), or [`stream`](Self::stream) them. Made with
/// [`XronoxClient::find`].
#[derive(Debug)]
#[must_use = "nothing is read until it is awaited"]
pub struct Find<T> {
    collection: Result<Collection, Error>,
    filter: Result<Value, Error>,
    sort: Vec<(Result<Path, Error>, Direction)>,
    limit: Option<usize>,
    shape: Shape,
    found: PhantomData<fn() -> T>,
}

shaped!(Find<T>, shape, T);

/// Documents of a type, one after the other, with at most a page of them in
/// memory.
pub type Documents<T> = Pin<Box<dyn Stream<Item = Result<T, Error>> + Send>>;

impl Database {
    /// This database in the words of MongoDB's drivers.
    pub fn client(&self) -> XronoxClient {
        XronoxClient {
            database: self.clone(),
            attribution: Attribution::default(),
        }
    }
}

impl XronoxClient {
    /// The same client, all of whose writes are this actor's.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) for what is no actor.
    pub fn acting(mut self, actor: impl IntoActor) -> Result<Self, Error> {
        self.attribution.actor = actor.into_actor()?;
        Ok(self)
    }

    /// Creates a record; gives its new id.
    ///
    /// # Errors
    ///
    /// As [`Collection::create`].
    pub async fn insert(
        &self,
        collection: &str,
        document: impl IntoDocument,
    ) -> Result<RecordId, Error> {
        let collection = self.database.collection(collection)?;
        let mut create = collection.create(document);
        create.attribution = self.attribution.clone();
        Ok(create.await?.id)
    }

    /// One document that matches, the one with the smallest `_id`; `None` if
    /// none does.
    ///
    /// # Errors
    ///
    /// As [`Collection::query`], and [`Invalid`](ErrorKind::Invalid) if it is
    /// not of the type.
    pub async fn find_one<T: DeserializeOwned>(
        &self,
        collection: &str,
        filter: impl IntoDocument,
    ) -> Result<Option<T>, Error> {
        let collection = self.database.collection(collection)?;
        let page = collection.query(filter).limit(1).await?;
        page.items.first().map(read).transpose()
    }

    /// The document of a record; `None` if there is none or it is deleted.
    ///
    /// # Errors
    ///
    /// As [`Collection::get_latest`], and [`Invalid`](ErrorKind::Invalid) if it
    /// is not of the type.
    pub async fn find_by_id<T: DeserializeOwned>(
        &self,
        collection: &str,
        id: impl IntoId,
    ) -> Result<Option<T>, Error> {
        let collection = self.database.collection(collection)?;
        match collection.get_latest(id).await {
            Ok(record) => read(&record).map(Some),
            Err(error) if *error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The documents that match, in the order of their ids unless they are
    /// [sorted](Find::sort).
    ///
    /// # Errors
    ///
    /// As [`Collection::query`], and [`Invalid`](ErrorKind::Invalid) if one is
    /// not of the type.
    pub fn find<T: DeserializeOwned>(
        &self,
        collection: &str,
        filter: impl IntoDocument,
    ) -> Find<T> {
        Find {
            collection: self.database.collection(collection),
            filter: filter.into_document(),
            sort: Vec::new(),
            limit: None,
            shape: Shape::default(),
            found: PhantomData,
        }
    }

    /// Sets properties of a record, dotted paths for those inside others, and
    /// leaves the rest; `{"$unset": [paths]}` removes some. Concurrent updates
    /// are all kept.
    ///
    /// # Errors
    ///
    /// As [`Collection::patch`].
    pub async fn update(
        &self,
        collection: &str,
        id: impl IntoId,
        changes: impl IntoDocument,
    ) -> Result<Written, Error> {
        let collection = self.database.collection(collection)?;
        let mut patch = collection.patch(id, changes);
        patch.attribution = self.attribution.clone();
        patch.await
    }

    /// Replaces the document of a record.
    ///
    /// # Errors
    ///
    /// As [`Collection::update`].
    pub async fn replace(
        &self,
        collection: &str,
        id: impl IntoId,
        document: impl IntoDocument,
    ) -> Result<Written, Error> {
        let collection = self.database.collection(collection)?;
        let mut update = collection.update(id, document);
        update.attribution = self.attribution.clone();
        update.await
    }

    /// Deletes a record.
    ///
    /// # Errors
    ///
    /// As [`Collection::delete`].
    pub async fn delete(&self, collection: &str, id: impl IntoId) -> Result<Written, Error> {
        let collection = self.database.collection(collection)?;
        let mut delete = collection.delete(id);
        delete.attribution = self.attribution.clone();
        delete.await
    }

    /// Deletes all records that match, however many.
    ///
    /// # Errors
    ///
    /// As [`Collection::delete_many`].
    pub async fn delete_many(
        &self,
        collection: &str,
        filter: impl IntoDocument,
    ) -> Result<DeleteManyReport, Error> {
        let collection = self.database.collection(collection)?;
        let mut delete = collection.delete_many(filter);
        delete.attribution = self.attribution.clone();
        delete.await
    }

    /// How many records match.
    ///
    /// # Errors
    ///
    /// As [`Collection::count`].
    pub async fn count(&self, collection: &str, filter: impl IntoDocument) -> Result<u64, Error> {
        let collection = self.database.collection(collection)?;
        Ok(collection.count(filter).await?.count)
    }

    /// The different values at a path of the records that match, in their
    /// order. Of an array its elements count; where nothing is, nothing does.
    ///
    /// # Errors
    ///
    /// As [`Collection::query`], and [`Invalid`](ErrorKind::Invalid) for more
    /// than 10,000 values or 64 MiB of them, and if one is not of the type.
    pub async fn distinct<T: DeserializeOwned>(
        &self,
        collection: &str,
        path: impl IntoPath,
        filter: impl IntoDocument,
    ) -> Result<Vec<T>, Error> {
        let path = path.into_path()?;
        let collection = self.database.collection(collection)?;
        let values = collection.distinct(&path, filter).await?;
        let values = values.into_iter().map(serde_json::from_value);
        values
            .collect::<Result<_, _>>()
            .map_err(|error| Invalid::at(path.to_string(), error.to_string()).into())
    }
}

impl<T: DeserializeOwned> Find<T> {
    /// Sorts by a property; called again, by a further one where those before
    /// are equal. See [`Query::sort`](crate::Query::sort).
    pub fn sort(mut self, path: impl IntoPath, direction: Direction) -> Self {
        self.sort.push((path.into_path(), direction));
        self
    }

    /// So many documents at most. Default: all of them.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    /// The documents one after the other: all as of one moment, however many.
    ///
    /// # Errors
    ///
    /// As [`XronoxClient::find`], here and from the stream.
    pub async fn stream(self) -> Result<Documents<T>, Error>
    where
        T: 'static,
    {
        let records = self.records().await?;
        Ok(records
            .map(|record| record.and_then(|record| read(&record)))
            .boxed())
    }

    async fn records(self) -> Result<crate::Records, Error> {
        let collection = self.collection?;
        let filter = self.filter?;
        let mut query = collection.query(&filter).shaped(&self.shape.asked()?);
        for (path, direction) in self.sort {
            query = query.sort(path?, direction);
        }
        if let Some(limit) = self.limit {
            query = query.limit(limit);
        }
        query.stream().await
    }

    async fn all(self) -> Result<Vec<T>, Error> {
        let mut records = self.records().await?;
        let (mut all, mut bytes) = (Vec::new(), 0);
        while let Some(record) = records.try_next().await? {
            bytes += record.size();
            if bytes > MAX_GATHERED && !all.is_empty() {
                let why =
                    "the documents have more than 64 MiB together: give a limit, or stream them";
                return Err(Invalid::at("limit", why).into());
            }
            all.push(read(&record)?);
        }
        Ok(all)
    }
}

impl<T: DeserializeOwned + Send + 'static> IntoFuture for Find<T> {
    type Output = Result<Vec<T>, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.all())
    }
}

/// A record's document with its `_id` and `_system`.
fn read<T: DeserializeOwned>(record: &crate::Record) -> Result<T, Error> {
    serde_json::from_value(record.json()).map_err(|error| {
        let why = format!("{}: not of the type asked for: {error}", record.id());
        Invalid::at("", why).into()
    })
}

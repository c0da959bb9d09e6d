//! One database of a deployment.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use mongodb::{
    ClientSession, Database,
    bson::{self, Document, doc},
    options::{
        Acknowledgment, DatabaseOptions, ReadConcern, ReturnDocument, SelectionCriteria,
        WriteConcern,
    },
};
use parking_lot::Mutex;
use rand::RngCore;
use xronox_model::Attempt;
use xronox_store::{Marker, StoreError};

use crate::{
    MongoCatalog, MongoConnection,
    error::{DUPLICATE_KEY, Failure},
};

/// The format this build writes; newer ones are refused.
const FORMAT: u32 = 1;

/// Whose database it is: one document.
pub(crate) const MARKER: &str = "xronox_marker";

/// An opened database: the versioned collections of a
/// [`Catalog`](xronox_store::Catalog) beside plain ones, over the connections
/// of a [`MongoConnection`] that many databases may share. Clones share it.
#[derive(Debug, Clone)]
pub struct MongoDatabase {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    connection: MongoConnection,
    db: Database,
    marker: Marker,
    closed: AtomicBool,
    /// The time of the last operation, by the deployment's clock, that a
    /// later read must not be older than.
    seen: Mutex<Option<bson::Timestamp>>,
}

impl MongoDatabase {
    /// Opens the database of this name, making it if it is not there.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] for a name that MongoDB does not take,
    /// [`StoreError::Unsupported`] if a newer version made the database,
    /// [`StoreError::Corrupt`] if its marker is not ours,
    /// [`StoreError::Unavailable`] if the server does not answer.
    pub async fn open(connection: &MongoConnection, name: &str) -> Result<Self, StoreError> {
        check_database_name(name)?;
        let options = DatabaseOptions::builder()
            .read_concern(ReadConcern::majority())
            .write_concern(durable())
            .selection_criteria(SelectionCriteria::ReadPreference(
                mongodb::options::ReadPreference::Primary,
            ))
            .build();
        let db = connection.client().database_with_options(name, options);
        let found = connection.within(marker_document(&db)).await?;
        Ok(Self {
            inner: Arc::new(Inner {
                connection: connection.clone(),
                marker: marker(name, &found)?,
                db,
                closed: AtomicBool::new(false),
                seen: Mutex::new(None),
            }),
        })
    }

    /// Whose database this is.
    pub fn marker(&self) -> &Marker {
        &self.inner.marker
    }

    /// The connections it goes over.
    pub fn connection(&self) -> &MongoConnection {
        &self.inner.connection
    }

    /// The versioned collections of the database.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unsupported`] where transactions are demanded and there
    /// are none, [`StoreError::Unavailable`] if the server does not answer.
    pub async fn catalog(&self) -> Result<MongoCatalog, StoreError> {
        self.check_open()?;
        self.inner.connection.commit_mode().await?;
        Ok(MongoCatalog::new(self.clone()))
    }

    /// Removes the database with everything in it, and lets go of it.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] if the server does not answer.
    pub async fn drop_database(self) -> Result<(), StoreError> {
        let dropped = self.connection().drop_database(self.db().name()).await;
        self.close();
        dropped
    }

    /// The driver's handle: reads with majority read concern from the primary,
    /// writes acknowledged by a majority's journals.
    pub(crate) fn db(&self) -> &Database {
        &self.inner.db
    }

    /// Lets go of the database. The connections stay with their other users.
    pub(crate) fn close(&self) {
        self.inner.closed.store(true, Ordering::Release);
    }

    /// Refuses what comes after [`close`](Self::close).
    pub(crate) fn check_open(&self) -> Result<(), StoreError> {
        if self.inner.closed.load(Ordering::Acquire) {
            return Err(StoreError::Closed);
        }
        Ok(())
    }

    /// Does one call's work, within the time a call may take; nothing after
    /// [`close`](Self::close).
    pub(crate) async fn within<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, StoreError> {
        self.check_open()?;
        Ok(self.inner.connection.within(work).await?)
    }

    /// How long the server may work on one read.
    pub(crate) fn max_time(&self) -> Duration {
        self.inner.connection.request_timeout()
    }

    /// A session whose reads see everything that went through this handle.
    pub(crate) async fn session(&self) -> Result<ClientSession, Failure> {
        let mut session = self
            .inner
            .connection
            .client()
            .start_session()
            .causal_consistency(true)
            .await?;
        if let Some(seen) = *self.inner.seen.lock() {
            session.advance_operation_time(seen);
        }
        Ok(session)
    }

    /// Notes up to where a session has seen or written.
    pub(crate) fn saw(&self, session: &ClientSession) {
        let mut seen = self.inner.seen.lock();
        *seen = (*seen).max(session.operation_time());
    }
}

/// Acknowledged once a majority has it in its journals.
pub(crate) fn durable() -> WriteConcern {
    WriteConcern::builder()
        .w(Acknowledgment::Majority)
        .journal(true)
        .build()
}

/// MongoDB's rules for the names of databases, on every platform.
///
/// # Errors
///
/// [`StoreError::Refused`] for any other name.
pub fn check_database_name(name: &str) -> Result<(), StoreError> {
    let bad = |c: char| c.is_control() || "/\\. \"$*<>:|?".contains(c);
    if name.is_empty() || name.len() > 63 || name.contains(bad) {
        return Err(StoreError::Refused(format!(
            "{name:?} cannot be the name of a MongoDB database: 1 to 63 bytes, none of /\\. \"$*<>:|?"
        )));
    }
    Ok(())
}

async fn marker_document(db: &Database) -> Result<Document, Failure> {
    let markers = db.collection::<Document>(MARKER);
    if let Some(found) = markers.find_one(doc! {}).await? {
        return Ok(found);
    }
    let mut id = [0; 12];
    rand::rng().fill_bytes(&mut id);
    let fresh = doc! {
        "database": db.name(),
        "id": Attempt::from_bytes(id).to_string(),
        "format": i64::from(FORMAT),
    };
    let made = markers
        .find_one_and_update(doc! { "_id": "marker" }, doc! { "$setOnInsert": fresh })
        .upsert(true)
        .return_document(ReturnDocument::After)
        .await;
    let made = match made.map_err(Failure::from) {
        // Somebody else was faster.
        Err(failure) if failure.code() == Some(DUPLICATE_KEY) => markers.find_one(doc! {}).await?,
        made => made?,
    };
    let lost = || StoreError::unavailable("the marker of a new database was not kept");
    Ok(made.ok_or_else(lost)?)
}

fn marker(name: &str, found: &Document) -> Result<Marker, StoreError> {
    let foreign = || {
        StoreError::Corrupt(format!(
            "{MARKER} in {name} was not made by Xronox, or is damaged"
        ))
    };
    let format = found.get_i64("format").map_err(|_| foreign())?;
    let format = u32::try_from(format).map_err(|_| foreign())?;
    if format > FORMAT {
        return Err(StoreError::Unsupported(format!(
            "{name} has format {format}, written by a newer version; this one reads up to {FORMAT}"
        )));
    }
    let id = found.get_str("id").map_err(|_| foreign())?;
    let id: Attempt = id.parse().map_err(|_| foreign())?;
    Ok(Marker {
        database: found.get_str("database").map_err(|_| foreign())?.to_owned(),
        id: id.to_string(),
        format,
    })
}

//! Where each tenant lives, once it has been decided, and whose a database is.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use xronox_model::{CollectionName, Filter, Timestamp};
use xronox_store::{Clock, Documents, InsertOutcome};

use super::address::{Address, Owner};
use crate::{Error, ErrorKind};

/// Where the directory's entries are.
const TENANTS: &str = "xronox_tenants";
/// Where each database says whose it is.
const OWNER: &str = "xronox_owner";

/// The decisions of the past: the address that each database was given on its
/// first use. They hold whatever the configuration says later, so a new
/// connection moves nobody.
#[derive(Debug)]
pub(super) struct Directory {
    documents: Arc<dyn Documents>,
    clock: Arc<dyn Clock>,
    tenants: CollectionName,
}

/// What the directory holds of a database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    #[serde(flatten)]
    pub(super) owner: Owner,
    pub(super) address: Address,
    /// When it was made.
    pub(super) since: Timestamp,
}

impl Directory {
    pub(super) fn new(documents: Arc<dyn Documents>, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        Ok(Self {
            documents,
            clock,
            tenants: TENANTS.parse()?,
        })
    }

    pub(super) async fn find(&self, owner: &Owner) -> Result<Option<Entry>, Error> {
        let found = self
            .documents
            .find_one(&self.tenants, &by_id(&owner.key())?)
            .await?;
        found.map(entry).transpose()
    }

    /// Makes the entry of a database that had none: of several that propose
    /// one at a time, one is taken by all.
    pub(super) async fn settle(&self, owner: &Owner, proposed: Address) -> Result<Entry, Error> {
        let entry = Entry {
            owner: owner.clone(),
            address: proposed,
            since: self.clock.now(),
        };
        let mut document = serde_json::to_value(&entry).map_err(|e| unreadable(&e))?;
        document["_id"] = owner.key().into();
        let outcome = self.documents.insert(&self.tenants, vec![document]).await?;
        match outcome.as_slice() {
            [InsertOutcome::Inserted] => Ok(entry),
            _ => self.find(owner).await?.ok_or_else(|| {
                let message = format!("{owner}: its entry in the directory comes and goes");
                Error::new(ErrorKind::Unavailable, message)
            }),
        }
    }
}

/// Makes a database its owner's, for good.
///
/// # Errors
///
/// [`Forbidden`](ErrorKind::Forbidden) if it is somebody else's.
pub(super) async fn claim(documents: &dyn Documents, owner: &Owner) -> Result<(), Error> {
    match owner_of(documents).await? {
        Some(known) if known == *owner => return Ok(()),
        Some(other) => return Err(not_yours(owner, &other)),
        None => (),
    }
    let mut document = serde_json::to_value(owner).map_err(|e| unreadable(&e))?;
    document["_id"] = json!("owner");
    let outcome = documents.insert(&OWNER.parse()?, vec![document]).await?;
    if let [InsertOutcome::Inserted] = outcome.as_slice() {
        return Ok(());
    }
    match owner_of(documents).await? {
        Some(known) if known == *owner => Ok(()),
        Some(other) => Err(not_yours(owner, &other)),
        None => Err(Error::new(
            ErrorKind::Unavailable,
            format!("{owner}: the mark of its database comes and goes"),
        )),
    }
}

/// Whose a database is, if anybody's.
pub(super) async fn owner_of(documents: &dyn Documents) -> Result<Option<Owner>, Error> {
    let found = documents
        .find_one(&OWNER.parse()?, &by_id("owner")?)
        .await?;
    let owner = found.map(|document| serde_json::from_value(without_id(document)));
    owner.transpose().map_err(|e| unreadable(&e))
}

fn not_yours(wanted_by: &Owner, owner: &Owner) -> Error {
    Error::new(
        ErrorKind::Forbidden,
        format!("{wanted_by}: the database there is that of {owner}"),
    )
}

fn entry(document: Value) -> Result<Entry, Error> {
    serde_json::from_value(without_id(document)).map_err(|e| unreadable(&e))
}

fn without_id(mut document: Value) -> Value {
    if let Some(fields) = document.as_object_mut() {
        fields.remove("_id");
    }
    document
}

fn by_id(id: &str) -> Result<Filter, Error> {
    Ok(Filter::parse(&json!({ "_id": id }))?)
}

fn unreadable(error: &serde_json::Error) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!("an entry of the tenant directory: {error}"),
    )
}

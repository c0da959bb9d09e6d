//! Where each tenant lives, once it has been decided, and whose a database is.

use std::sync::Arc;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use xronox_model::{CollectionName, Direction, Filter, Path, Timestamp};
use xronox_store::{
    Clock, DocFind, DocIndex, DocUpdate, Documents, InsertOutcome, Update, UpdateOutcome,
};

use super::{
    address::{Address, Owner},
    record::{Record, State},
};
use crate::{Error, ErrorKind};

/// Where the directory's entries are.
const TENANTS: &str = "xronox_tenants";
/// Where each database says whose it is.
pub(super) const OWNER: &str = "xronox_owner";
/// A tenant has an entry for each type of database, and its record: fewer
/// documents than this.
const MOST_OF_ONE: usize = 8;
/// How often a change is tried while others change the same tenant.
const TRIES: usize = 16;

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

/// What the directory says of an owner.
#[derive(Debug, Default)]
pub(super) struct Standing {
    pub(super) entry: Option<Entry>,
    pub(super) record: Option<Record>,
}

impl Standing {
    /// Where the owner's database is.
    pub(super) fn address(&self, owner: &Owner) -> Option<&Address> {
        let moving = self.record.as_ref().and_then(Record::moving);
        let moved = moving.and_then(|moving| moving.place_of(owner));
        moved.or(self.entry.as_ref().map(|entry| &entry.address))
    }
}

/// What the directory holds of a tenant.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) id: String,
    pub(super) record: Option<Record>,
    pub(super) entries: Vec<Entry>,
}

impl Directory {
    pub(super) fn new(documents: Arc<dyn Documents>, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        Ok(Self {
            documents,
            clock,
            tenants: TENANTS.parse()?,
        })
    }

    async fn find(&self, owner: &Owner) -> Result<Option<Entry>, Error> {
        let found = self
            .documents
            .find_one(&self.tenants, &by_id(&owner.key())?)
            .await?;
        found.map(read).transpose()
    }

    /// The entry of a database, and the record of its tenant.
    pub(super) async fn look(&self, owner: &Owner) -> Result<Standing, Error> {
        let mut ids = vec![owner.key()];
        ids.extend(owner.tenant_id.as_deref().map(record_key));
        let filter = Filter::parse(&json!({ "_id": { "$in": ids } }))?;
        let found = self
            .documents
            .find(&self.tenants, &DocFind::of(filter))
            .await?;
        let mut standing = Standing::default();
        for document in found {
            if is_record(&document) {
                standing.record = Some(read(document)?);
            } else {
                standing.entry = Some(read(document)?);
            }
        }
        Ok(standing)
    }

    /// Everything of one tenant; `None` if it is not known.
    pub(super) async fn tenant(&self, id: &str) -> Result<Option<Listed>, Error> {
        let filter = Filter::parse(&json!({ "tenantId": id }))?;
        let found = self
            .documents
            .find(&self.tenants, &DocFind::of(filter).limit(MOST_OF_ONE))
            .await?;
        Ok(grouped(found)?.pop())
    }

    /// Some tenants, by id, and whether that was the last of them.
    pub(super) async fn page(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Listed>, bool), Error> {
        let by_tenant: Path = "tenantId".parse()?;
        let index = DocIndex::ascending([by_tenant.clone()]);
        self.documents.ensure_index(&self.tenants, &index).await?;
        let filter = match after {
            Some(after) => json!({ "tenantId": { "$gt": after } }),
            None => json!({ "tenantId": { "$exists": true } }),
        };
        let most = (limit + 1) * MOST_OF_ONE;
        let find = DocFind::of(Filter::parse(&filter)?)
            .sort(by_tenant, Direction::Ascending)
            .limit(most);
        let found = self.documents.find(&self.tenants, &find).await?;
        let mut end = found.len() < most;
        let mut tenants = grouped(found)?;
        if !end {
            // The page may have ended in the middle of it.
            tenants.pop();
        }
        end &= tenants.len() <= limit;
        tenants.truncate(limit);
        Ok((tenants, end))
    }

    /// Makes the record of a tenant that has none; whether it had none.
    pub(super) async fn insert(&self, record: &Record) -> Result<bool, Error> {
        let mut document = serde_json::to_value(record).map_err(|e| unreadable(&e))?;
        document["_id"] = record_key(&record.tenant_id).into();
        let outcome = self.documents.insert(&self.tenants, vec![document]).await?;
        Ok(outcome == [InsertOutcome::Inserted])
    }

    /// Brings a tenant into another state, unless it has changed since
    /// `record` was read; gives the record as it is then.
    pub(super) async fn advance(
        &self,
        record: &Record,
        state: State,
    ) -> Result<Option<Record>, Error> {
        let next = Record {
            state,
            rev: record.rev + 1,
            ..record.clone()
        };
        let filter = json!({ "_id": record_key(&record.tenant_id), "rev": record.rev });
        let change = json!({ "$set": { "state": next.state, "rev": next.rev } });
        let update = DocUpdate::of(Filter::parse(&filter)?, Update::parse(&change)?);
        let updated = self.documents.update_one(&self.tenants, &update).await?;
        Ok(matches!(updated, UpdateOutcome::Matched { .. }).then_some(next))
    }

    /// Brings a tenant from whatever state it is in to the one that `next`
    /// makes of it, as one step; `None` leaves it as it is. Gives its record.
    pub(super) async fn change(
        &self,
        id: &str,
        mut next: impl FnMut(Option<&Record>) -> Result<Option<State>, Error>,
    ) -> Result<Option<Record>, Error> {
        for _ in 0..TRIES {
            let filter = by_id(&record_key(id))?;
            let found = self.documents.find_one(&self.tenants, &filter).await?;
            let known: Option<Record> = found.map(read).transpose()?;
            let Some(state) = next(known.as_ref())? else {
                return Ok(known);
            };
            let changed = if let Some(known) = known {
                self.advance(&known, state).await?
            } else {
                let record = Record::new(id, state, self.clock.now());
                self.insert(&record).await?.then_some(record)
            };
            if changed.is_some() {
                return Ok(changed);
            }
        }
        let message = format!("tenant {id:?}: others keep changing it");
        Err(Error::new(ErrorKind::Unavailable, message))
    }

    /// Makes the record of a new tenant.
    pub(super) fn fresh(&self, id: &str) -> Record {
        Record::new(id, State::Active, self.clock.now())
    }

    /// Writes where a database is from now on.
    pub(super) async fn relocate(&self, owner: &Owner, to: &Address) -> Result<(), Error> {
        let change = Update::parse(&json!({ "$set": { "address": to } }))?;
        let update = DocUpdate::of(by_id(&owner.key())?, change);
        self.documents.update_one(&self.tenants, &update).await?;
        Ok(())
    }

    /// Forgets a tenant: its databases, then the record that keeps it closed
    /// meanwhile, if that is still as it was.
    pub(super) async fn forget(&self, record: &Record) -> Result<(), Error> {
        let entries = json!({
            "tenantId": record.tenant_id,
            "databaseType": { "$exists": true },
        });
        let entries = Filter::parse(&entries)?;
        self.documents.delete_all(&self.tenants, &entries).await?;
        let own = json!({ "_id": record_key(&record.tenant_id), "rev": record.rev });
        self.documents
            .delete(&self.tenants, &Filter::parse(&own)?, 1)
            .await?;
        Ok(())
    }

    /// Makes the entry of a database that had none: of several that propose
    /// one at a time, one is taken by all.
    pub(super) async fn settle(&self, owner: &Owner, proposed: Address) -> Result<Entry, Error> {
        let since = self.clock.now();
        let entry = Entry {
            owner: owner.clone(),
            address: Address {
                placed: Some(since),
                ..proposed
            },
            since,
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

/// The key of a tenant's record; those of entries begin with a type.
fn record_key(tenant: &str) -> String {
    format!("tenant/{tenant}")
}

fn is_record(document: &Value) -> bool {
    document.get("databaseType").is_none()
}

/// Documents in the order of tenants, by tenant.
fn grouped(documents: Vec<Value>) -> Result<Vec<Listed>, Error> {
    let mut all: Vec<Listed> = Vec::new();
    for document in documents {
        let id = document["tenantId"].as_str().unwrap_or_default().to_owned();
        if all.last().is_none_or(|last| last.id != id) {
            all.push(Listed {
                id,
                record: None,
                entries: Vec::new(),
            });
        }
        let Some(listed) = all.last_mut() else {
            continue;
        };
        if is_record(&document) {
            listed.record = Some(read(document)?);
        } else {
            listed.entries.push(read(document)?);
        }
    }
    Ok(all)
}

fn read<T: DeserializeOwned>(document: Value) -> Result<T, Error> {
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

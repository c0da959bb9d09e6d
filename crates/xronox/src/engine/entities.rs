//! Entities: objects inside documents that are records of their own elsewhere.
//!
//! An order holds its customer. The customer is a record of the collection
//! `customers` too, known by its key; whoever inserts the order creates the
//! customer or merges into it what the order says of it. The object stays in
//! the order as it was then, and its key is what leads to the live record.

mod fetch;
mod insert;
mod saga;

use std::{collections::BTreeMap, fmt, sync::Arc};

use futures::future::try_join_all;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use xronox_model::{
    CollectionName, IndexSpec, Invalid, Path, RecordId, UniqueKey, VersionRow, each_value_at,
    values_at,
};

use crate::{
    Collection, Context, Database, DatabaseType, Error, ErrorKind, IntoDocument, IntoId, Record,
    TierName, Written,
    collection::Shared,
    engine::scope::Scope,
    storage::{Storage, forbidden},
};

pub use fetch::GetWithEntities;
pub use insert::InsertWithEntities;
pub use saga::{BrokenInsertion, ResumedInsertions};

/// Entities of one document.
const MAX_ENTITIES: usize = 200;
/// Entities whose records are fetched at once, before it is known how large they are.
const AT_ONCE: usize = 8;
/// Bytes of the documents of their records, which are in memory together.
const MAX_BYTES: u64 = 64 << 20;

/// Which objects inside documents are records of which collection.
///
/// ```
/// use xronox::{DatabaseType, EntityMapping};
///
/// let customers = EntityMapping::new("customer", "customers", "customerId");
/// let products = EntityMapping::new("lines.product", "products", "productId")
///     .database_type(DatabaseType::Knowledge)
///     .domain("retail");
/// # let _ = (customers, products);
/// ```
///
/// As JSON, with unknown fields refused:
///
/// | field | |
/// |---|---|
/// | `property` | the path of the object; through arrays, of each element's, and an array of objects is each of them |
/// | `collection` | where they are records |
/// | `keyProperty` | the path inside the object of what identifies it: text, a number or a boolean |
/// | `databaseType` | `metadata`, `knowledge` or `runtime`; by default that of the main record |
/// | `tier` | `generic`, `domain` or `tenant`; by default `domain` where one is named, else that of the main record |
/// | `domain` | of the tier `domain`; by default that of the main record's [context](Context), or its metadata `domain` |
///
/// A tenant's entities are always of the main record's tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EntityMapping {
    property: String,
    collection: String,
    key_property: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    database_type: Option<DatabaseType>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tier: Option<TierName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    domain: Option<String>,
}

impl EntityMapping {
    /// Objects at `property` are records of `collection`, in the main record's
    /// database, known by their `key_property`.
    pub fn new(
        property: impl Into<String>,
        collection: impl Into<String>,
        key_property: impl Into<String>,
    ) -> Self {
        Self {
            property: property.into(),
            collection: collection.into(),
            key_property: key_property.into(),
            database_type: None,
            tier: None,
            domain: None,
        }
    }

    /// In databases of this type.
    pub fn database_type(mut self, of: DatabaseType) -> Self {
        self.database_type = Some(of);
        self
    }

    /// In the database of everybody.
    pub fn generic(mut self) -> Self {
        self.tier = Some(TierName::Generic);
        self
    }

    /// In the database of this domain.
    pub fn domain(mut self, name: impl Into<String>) -> Self {
        self.tier = Some(TierName::Domain);
        self.domain = Some(name.into());
        self
    }

    /// In the database of the main record's tenant.
    pub fn tenant(mut self) -> Self {
        self.tier = Some(TierName::Tenant);
        self
    }
}

/// What an insertion did to an entity. As JSON `{ id, ov, operation }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct EntityResult {
    /// Its record.
    pub id: RecordId,
    /// The newest version of that.
    pub ov: u64,
    /// What was done.
    pub operation: EntityOperation,
}

/// What an insertion does to an entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum EntityOperation {
    /// There was no record with its key.
    Created,
    /// What the document says of it was merged in.
    Updated,
    /// The record says all that already.
    Unchanged,
}

impl fmt::Display for EntityOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Unchanged => "unchanged",
        })
    }
}

/// What was inserted. As JSON `{ mainRecordId, main, entityResults }`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct InsertedWithEntities {
    /// The id of the main record.
    pub main_record_id: RecordId,
    /// The main record.
    pub main: Written,
    /// The entities, by where they stand in the document: `customer`,
    /// `lines.0.product`.
    pub entity_results: BTreeMap<Path, EntityResult>,
}

/// A record and what became of its entities. As JSON `{ mainRecord, entityRecords }`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct WithEntities {
    /// The main record, with the entities as they were when it was written.
    pub main_record: Record,
    /// The records of the entities, by where those stand in the main record:
    /// `None` where there is no such record (any more).
    pub entity_records: BTreeMap<Path, Option<Record>>,
}

impl Collection {
    /// Creates a record, and for each entity in it creates a record of its own
    /// or merges into the one that has its key, as
    /// [`smart_insert`](Self::smart_insert) does: nothing is dropped from it, and
    /// one that says all that already gets no new version. The document keeps
    /// the objects as they are.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), xronox::Error> {
    /// use serde_json::json;
    /// use xronox::{Config, EntityMapping, EntityOperation, Xronox};
    ///
    /// let orders = Xronox::open(Config::memory()).await?.collection("orders")?;
    /// let entities = [
    ///     EntityMapping::new("customer", "customers", "customerId"),
    ///     EntityMapping::new("lines.product", "products", "productId"),
    /// ];
    /// let made = orders
    ///     .insert_with_entities(
    ///         json!({
    ///             "orderId": "ORD-123",
    ///             "customer": { "customerId": "CUST-456", "email": "ann@example.com" },
    ///             "lines": [{ "n": 2, "product": { "productId": "P-1", "price": 99.5 } }],
    ///         }),
    ///         &entities,
    ///     )
    ///     .actor("service:shop")
    ///     .await?;
    /// assert_eq!(made.entity_results[&"customer".parse()?].operation, EntityOperation::Created);
    ///
    /// // Later the customer moves; the order tells what was, and leads to what is.
    /// let again = json!({ "customer": { "customerId": "CUST-456", "city": "Bern" } });
    /// orders.insert_with_entities(again, &entities).await?;
    /// let read = orders.get_with_entities(&made.main_record_id, &entities).await?;
    /// assert_eq!(read.main_record.json()["customer"].get("city"), None);
    /// let customer = read.entity_records[&"customer".parse()?].as_ref().unwrap();
    /// assert_eq!((&customer.json()["city"], customer.ov()), (&json!("Bern"), 1));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Of several objects with one key, what each says is merged, in their order.
    /// `null`, or nothing, at a property is no entity. A document has at most 200,
    /// and their records 64 MiB together.
    ///
    /// # All or nothing
    ///
    /// What is in one database with transactions is committed as one. Where it
    /// spans several databases, or there are no transactions, the insertion is
    /// recorded first, then the main record is written, and its entities after it.
    /// If one of these is refused, what was written is taken back by new versions:
    /// what was created is deleted, what was merged into restored, unless somebody
    /// has changed it since. If it is broken off once the main record is there (the
    /// process dies, a database is away), it can be
    /// [resumed](crate::Database::resume_insertions); the error is
    /// [`Indeterminate`](ErrorKind::Indeterminate) then, and
    /// [`outcome`](Self::outcome) tells whether the main record, and so in the end
    /// all of it, is there.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create) and [`smart_insert`](Self::smart_insert), and
    ///
    /// - [`Invalid`](ErrorKind::Invalid) for a mapping that makes no sense, and for
    ///   an entity that is not an object or has no key, naming the place;
    /// - [`Forbidden`](ErrorKind::Forbidden) for entities in a database that the
    ///   main record's owner shares with others, unless that is
    ///   [granted](InsertWithEntities::grant_shared_tiers). A
    ///   [scope](Self::scoped) of the handle holds for the entities too.
    /// - [`Unsupported`](ErrorKind::Unsupported) for a document of more than 3 MiB
    ///   that would have to be recorded.
    pub fn insert_with_entities(
        &self,
        document: impl IntoDocument,
        mappings: &[EntityMapping],
    ) -> InsertWithEntities<'_> {
        InsertWithEntities::new(self, document.into_document(), mappings.to_vec())
    }

    /// Reads a record and the records of its entities, all of these at a time;
    /// [`insert_with_entities`](Self::insert_with_entities) has an example.
    ///
    /// An entity is looked for by its key in what the read shows of the main
    /// record, projections aside: one that is hidden is not read.
    ///
    /// # Errors
    ///
    /// As [`get_latest`](Self::get_latest), and [`Invalid`](ErrorKind::Invalid)
    /// for a mapping that makes no sense.
    pub fn get_with_entities(
        &self,
        id: impl IntoId,
        mappings: &[EntityMapping],
    ) -> GetWithEntities<'_> {
        GetWithEntities::new(self, id.into_id(), mappings.to_vec())
    }
}

/// A mapping, and where it leads.
#[derive(Debug)]
struct Mapped {
    property: Path,
    key: Path,
    spec: IndexSpec,
    collection: Collection,
    /// Whether others than the main record's owner have that database.
    shared: bool,
    /// The mapping with its database spelled out.
    spelled: EntityMapping,
}

impl Mapped {
    fn storage(&self) -> &Arc<Storage> {
        &self.collection.shared.database
    }

    fn shared(&self) -> &Shared {
        &self.collection.shared
    }

    fn scope(&self) -> &Scope {
        &self.collection.scope
    }
}

/// An object inside a document that is a record of its own.
#[derive(Debug)]
struct Entity {
    place: Path,
    /// The number of its mapping.
    mapped: usize,
    key: UniqueKey,
    document: Value,
}

/// Where the mappings lead, from a collection.
async fn mapped(from: &Collection, mappings: &[EntityMapping]) -> Result<Vec<Mapped>, Error> {
    let mut all: Vec<Mapped> = Vec::with_capacity(mappings.len());
    for (n, mapping) in mappings.iter().enumerate() {
        let wrong = |field: &str, why: &str| Invalid::at(format!("mappings.{n}.{field}"), why);
        let path = |field: &str, text: &str| {
            let path = text.parse::<Path>();
            path.map_err(|invalid| wrong(field, invalid.message()))
        };
        let property = path("property", &mapping.property)?;
        let key = path("keyProperty", &mapping.key_property)?;
        let collection: CollectionName = mapping
            .collection
            .parse()
            .map_err(|invalid: Invalid| wrong("collection", invalid.message()))?;
        if all.iter().any(|other| other.property == property) {
            return Err(wrong("property", "is mapped twice").into());
        }
        let context = context_of(from, mapping, &wrong)?;
        let own = Database::of(from);
        let database = match (&own.siblings.store, &context) {
            (Some((tenancy, home)), Some(context)) if context != home => Database {
                scope: own.scope,
                ..tenancy.open(context).await?
            },
            _ => own,
        };
        let is_own = Arc::ptr_eq(&database.storage, &from.shared.database);
        let collection = database.collection(collection.as_str())?;
        // Whoever does not see a field does not find records by it.
        let view = &collection.shared.rules.view;
        view.path_allowed(&key, "a key", from.scope.is_sealed())?;
        all.push(Mapped {
            property,
            spec: IndexSpec::unique(vec![key.clone()]),
            key,
            collection,
            shared: !is_own && context.as_ref().is_some_and(|c| c.tenant_id().is_none()),
            spelled: match &context {
                None => mapping.clone(),
                Some(context) => spelled(mapping, context),
            },
        });
    }
    Ok(all)
}

/// The context of a mapping's database; `None` where the main record's is the
/// only one there is.
fn context_of(
    from: &Collection,
    mapping: &EntityMapping,
    wrong: &dyn Fn(&str, &str) -> Invalid,
) -> Result<Option<Context>, Error> {
    let siblings = from.siblings.as_deref();
    let Some((_, own)) = siblings.and_then(|siblings| siblings.store.as_ref()) else {
        let said = mapping.database_type.is_some() || mapping.tier.is_some();
        if said || mapping.domain.is_some() {
            let why = "this store was put together from parts, and has no other databases";
            return Err(Error::new(ErrorKind::Unsupported, why));
        }
        return Ok(None);
    };
    let of = mapping.database_type.unwrap_or(own.database_type());
    if !matches!(
        of,
        DatabaseType::Metadata | DatabaseType::Knowledge | DatabaseType::Runtime
    ) {
        return Err(wrong(
            "databaseType",
            "entities are kept in metadata, knowledge and runtime",
        )
        .into());
    }
    let tier = match (mapping.tier, &mapping.domain) {
        (None | Some(TierName::Domain), Some(_)) => TierName::Domain,
        (Some(_), Some(_)) => return Err(wrong("domain", "goes with the tier `domain`").into()),
        (Some(tier), None) => tier,
        (None, None) => own.tier_name(),
    };
    let domain = mapping.domain.as_deref().or(own.domain());
    own.beside(of, tier, domain)
        .map(Some)
        .map_err(|why| wrong("tier", why).into())
}

fn spelled(mapping: &EntityMapping, context: &Context) -> EntityMapping {
    let tier = context.tier_name();
    EntityMapping {
        database_type: Some(context.database_type()),
        tier: Some(tier),
        domain: match tier {
            TierName::Domain => context.domain().map(str::to_owned),
            TierName::Generic | TierName::Tenant => None,
        },
        ..mapping.clone()
    }
}

/// Refuses entities whose records together are too large.
fn bounded(bytes: u64) -> Result<(), Invalid> {
    if bytes <= MAX_BYTES {
        return Ok(());
    }
    let why = format!("the records of its entities have more than {MAX_BYTES} bytes");
    Err(Invalid::at("", why))
}

/// The newest versions of the records that have these keys, all those of one
/// database at once.
async fn holders(keys: &[(&Mapped, &UniqueKey)]) -> Result<Vec<Option<VersionRow>>, Error> {
    let mut databases: Vec<(&Arc<Storage>, Vec<usize>)> = Vec::new();
    for (n, (mapped, _)) in keys.iter().enumerate() {
        let storage = mapped.storage();
        match databases
            .iter_mut()
            .find(|(of, _)| Arc::ptr_eq(of, storage))
        {
            Some((_, those)) => those.push(n),
            None => databases.push((storage, vec![n])),
        }
    }
    let asked = databases.into_iter().map(|(storage, those)| async move {
        let (mut found, mut bytes) = (Vec::with_capacity(those.len()), 0);
        for those in those.chunks(AT_ONCE) {
            let named = those.iter().map(|n| {
                let (mapped, key) = keys[*n];
                (mapped.collection.name().clone(), key.clone())
            });
            let rows = storage.catalog.holders(&named.collect::<Vec<_>>()).await?;
            let bodies = rows.iter().flatten().filter_map(|row| row.body.as_ref());
            bytes += bodies.map(|body| body.size).sum::<u64>();
            bounded(bytes)?;
            found.extend(those.iter().copied().zip(rows));
        }
        Ok::<_, Error>(found)
    });
    let mut all = vec![None; keys.len()];
    for (n, row) in try_join_all(asked).await?.into_iter().flatten() {
        all[n] = row;
    }
    Ok(all)
}

/// Refuses entities in databases of others unless that is granted.
fn granted(mapped: &[Mapped], grant: bool) -> Result<(), Error> {
    match mapped.iter().find(|mapped| mapped.shared && !grant) {
        None => Ok(()),
        Some(mapped) => Err(forbidden(&format!(
            "the entities at `{}` are kept in a database that others share: that has to be granted",
            mapped.property
        ))),
    }
}

/// The entities in a document, in the order of the mappings.
///
/// `strict` refuses what is none; otherwise it is passed over.
fn extract(document: &Value, mapped: &[Mapped], strict: bool) -> Result<Vec<Entity>, Invalid> {
    let mut document = document.clone();
    let mut entities = Vec::new();
    for (n, one) in mapped.iter().enumerate() {
        each_value_at(&mut document, &one.property, &mut |place, value| {
            if value.is_null() {
                return Ok(());
            }
            match entity(value, &place, one) {
                Ok((key, document)) => entities.push(Entity {
                    place,
                    mapped: n,
                    key,
                    document,
                }),
                Err(invalid) if strict => return Err(invalid),
                Err(_) => {}
            }
            if entities.len() > MAX_ENTITIES {
                let why = format!("a document has at most {MAX_ENTITIES} entities");
                return Err(Invalid::at("", why));
            }
            Ok(())
        })?;
    }
    Ok(entities)
}

/// The key of an entity, and its document.
fn entity(value: &Value, place: &Path, mapped: &Mapped) -> Result<(UniqueKey, Value), Invalid> {
    let Value::Object(fields) = value else {
        return Err(Invalid::at(place.to_string(), "an entity is a JSON object"));
    };
    let inside = place.segments().iter().chain(mapped.key.segments());
    let at = Path::from_segments(inside.cloned())?.to_string();
    let mut fields = fields.clone();
    // What only reads add, where one was put into the document.
    fields.remove("_id");
    fields.remove("_system");
    let document = Value::Object(fields);
    match values_at(&document, &mapped.key)[..] {
        [] | [Value::Null] => return Err(Invalid::at(at, "the entity needs a key here")),
        [Value::String(_) | Value::Number(_) | Value::Bool(_)] => {}
        _ => {
            let why = "the key of an entity is text, a number or a boolean";
            return Err(Invalid::at(at, why));
        }
    }
    let key = UniqueKey::of(&document, &mapped.spec);
    let key = key.map_err(|invalid| Invalid::at(&at, invalid.message()))?;
    let key = key.ok_or_else(|| Invalid::at(&at, "the entity needs a key here"))?;
    Ok((key, document))
}

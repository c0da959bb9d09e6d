//! Reading one record through the tiers: a tenant's own, its domain's, and
//! everybody's.

use std::{collections::BTreeMap, fmt, future::IntoFuture};

use futures::{
    StreamExt,
    future::{BoxFuture, try_join_all},
    stream::FuturesOrdered,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use xronox_model::{Invalid, merge_tiers};

use crate::{
    Context, DatabaseType, Error, ErrorKind, IntoDocument, IntoMoment, Moment, Record, Xronox,
    engine::shape::{Shape, shaped},
};

/// A tier of databases, from the most general one on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TierName {
    /// Everybody's.
    Generic,
    /// A domain's.
    Domain,
    /// A tenant's.
    Tenant,
}

impl fmt::Display for TierName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Generic => "generic",
            Self::Domain => "domain",
            Self::Tenant => "tenant",
        })
    }
}

/// What was found in the tiers. As JSON `{ data, tiersFound, tierRecords }`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Layers {
    /// What is shown of the document, without `_id` and `_system`: of the most
    /// specific tier, or of all [merged](ReadTiers::merge).
    pub data: Value,
    /// The tiers that it is from, the most general one first.
    pub tiers_found: Vec<TierName>,
    /// The record of each of them.
    pub tier_records: BTreeMap<TierName, Record>,
}

/// Reads one record through the tiers; await it. Gives [`Layers`].
///
/// Made with [`Xronox::get_knowledge`] and [`Xronox::get_metadata`].
#[derive(Debug)]
#[must_use = "a read does nothing until it is awaited"]
pub struct ReadTiers<'a> {
    xronox: &'a Xronox,
    database: DatabaseType,
    collection: &'a str,
    filter: Result<Value, Error>,
    tenant: Option<String>,
    domain: Option<String>,
    plan: Option<String>,
    meta: BTreeMap<String, String>,
    merge: bool,
    dedupe_arrays: bool,
    as_of: Option<Result<Moment, Error>>,
    shape: Shape,
}

shaped!(ReadTiers<'_>, shape);

impl Xronox {
    /// Reads a record of the knowledge databases: the tenant's own, else that
    /// of the domain, else everybody's; or all of them merged.
    ///
    /// In each tier it is the first record that matches the filter, in the
    /// order of ids; the tiers are read at the same time. A tier that is not
    /// [named](ReadTiers::tenant), or for which the configuration has no
    /// database, is skipped.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), xronox::Error> {
    /// use serde_json::json;
    /// use xronox::{Config, Context, Xronox};
    ///
    /// let xronox = Xronox::open(Config::from_json(
    ///     r#"{
    ///         "dbConnections": { "main": { "mongoUri": "memory:" } },
    ///         "databases": { "knowledge": {
    ///             "genericDatabase": { "dbConnRef": "main", "dbName": "app_knowledge" },
    ///             "tenantDatabases": [
    ///                 { "tenantId": "acme", "dbConnRef": "main", "dbName": "acme_knowledge" }
    ///             ]
    ///         } }
    ///     }"#,
    /// )?).await?;
    /// for (context, features) in [
    ///     (Context::knowledge().generic(), json!(["basic"])),
    ///     (Context::knowledge().tenant("acme"), json!(["premium"])),
    /// ] {
    ///     let settings = json!({ "key": "flags", "features": features });
    ///     xronox.with(context).await?.collection("settings")?.create(settings).await?;
    /// }
    ///
    /// let read = || xronox.get_knowledge("settings", json!({ "key": "flags" })).tenant("acme");
    /// assert_eq!(read().await?.data["features"], json!(["premium"]));
    /// assert_eq!(read().merge().await?.data["features"], json!(["basic", "premium"]));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if no tier has such a record, and as
    /// [`with`](Self::with) and [`Collection::query`](crate::Collection::query):
    /// a tier that cannot be read is an error, unless a more specific one is
    /// enough.
    pub fn get_knowledge<'a>(
        &'a self,
        collection: &'a str,
        filter: impl IntoDocument,
    ) -> ReadTiers<'a> {
        ReadTiers::new(self, DatabaseType::Knowledge, collection, filter)
    }

    /// Reads a record of the metadata databases, as
    /// [`get_knowledge`](Self::get_knowledge) does.
    ///
    /// # Errors
    ///
    /// As [`get_knowledge`](Self::get_knowledge).
    pub fn get_metadata<'a>(
        &'a self,
        collection: &'a str,
        filter: impl IntoDocument,
    ) -> ReadTiers<'a> {
        ReadTiers::new(self, DatabaseType::Metadata, collection, filter)
    }
}

impl<'a> ReadTiers<'a> {
    fn new(
        xronox: &'a Xronox,
        database: DatabaseType,
        collection: &'a str,
        filter: impl IntoDocument,
    ) -> Self {
        Self {
            xronox,
            database,
            collection,
            filter: filter.into_document(),
            tenant: None,
            domain: None,
            plan: None,
            meta: BTreeMap::new(),
            merge: false,
            dedupe_arrays: true,
            as_of: None,
            shape: Shape::default(),
        }
    }

    /// Reads the database of this tenant too.
    pub fn tenant(mut self, id: impl Into<String>) -> Self {
        self.tenant = Some(id.into());
        self
    }

    /// Reads the database of this domain too.
    pub fn domain(mut self, name: impl Into<String>) -> Self {
        self.domain = Some(name.into());
        self
    }

    /// The tenant's [plan](Context::plan).
    pub fn plan(mut self, plan: impl Into<String>) -> Self {
        self.plan = Some(plan.into());
        self
    }

    /// The tenant's [metadata](Context::meta).
    pub fn meta(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.meta.insert(key.into(), value.into());
        self
    }

    /// Merges what all tiers have, a more specific one over a more general one:
    /// objects deeply, arrays as a union, anything else replaced.
    pub fn merge(mut self) -> Self {
        self.merge = true;
        self
    }

    /// Whether an element that an array has already is left out when arrays
    /// are merged. Default: yes.
    pub fn dedupe_arrays(mut self, dedupe: bool) -> Self {
        self.dedupe_arrays = dedupe;
        self
    }

    /// Looks back at what the tiers were at a time. (The versions of their
    /// collections have nothing to do with each other.)
    pub fn as_of(mut self, time: impl IntoMoment) -> Self {
        self.as_of = Some(time.into_moment());
        self
    }

    /// The contexts to read, the most specific one first.
    fn contexts(&self) -> Vec<(TierName, Context)> {
        let of_type = || match self.database {
            DatabaseType::Metadata => Context::metadata(),
            _ => Context::knowledge(),
        };
        let mut contexts = Vec::new();
        if let Some(id) = &self.tenant {
            let mut context = of_type().tenant(id);
            context.plan.clone_from(&self.plan);
            context.meta.clone_from(&self.meta);
            contexts.push((TierName::Tenant, context));
        }
        if let Some(name) = &self.domain {
            contexts.push((TierName::Domain, of_type().domain(name)));
        }
        contexts.push((TierName::Generic, of_type().generic()));
        contexts
    }

    async fn run(mut self) -> Result<Layers, Error> {
        let filter = std::mem::replace(&mut self.filter, Ok(Value::Null))?;
        let as_of = self.as_of.take().transpose()?;
        let shape = std::mem::take(&mut self.shape).asked()?;
        if let Some(Moment::Cv(_)) = as_of {
            let why = "each tier counts its versions by itself: give a time";
            return Err(Invalid::at("asOf", why).into());
        }
        let contexts = self.contexts();
        let names: Vec<TierName> = contexts.iter().map(|(name, _)| *name).collect();
        let reads = contexts.into_iter().map(|(_, context)| {
            let (xronox, collection, filter) = (self.xronox, self.collection, &filter);
            let shape = &shape;
            let read = async move {
                let Some(database) = xronox.open_tier(&context).await? else {
                    return Ok(None);
                };
                let collection = database.collection(collection)?;
                let mut query = collection.query(filter).shaped(shape).limit(1);
                if let Some(moment) = as_of {
                    query = query.as_of(moment);
                }
                Ok::<_, Error>(query.await?.items.into_iter().next())
            };
            Box::pin(read) as BoxFuture<'_, Result<Option<Record>, Error>>
        });
        let mut layers = Layers {
            data: Value::Null,
            tiers_found: Vec::new(),
            tier_records: BTreeMap::new(),
        };
        let found = if self.merge {
            try_join_all(reads).await?
        } else {
            first(reads.collect()).await?
        };
        let mut tiers: Vec<(TierName, Record)> = names
            .into_iter()
            .zip(found)
            .filter_map(|(name, record)| Some((name, record?)))
            .collect();
        tiers.reverse();
        for (name, record) in tiers {
            let document = record.try_document()?;
            if layers.data.is_null() {
                layers.data = document;
            } else {
                merge_tiers(&mut layers.data, &document, self.dedupe_arrays);
            }
            layers.tiers_found.push(name);
            layers.tier_records.insert(name, record);
        }
        if layers.tiers_found.is_empty() {
            let (database, collection) = (self.database, self.collection);
            let message = format!("get_{database} {collection}: no tier has such a record");
            return Err(Error::new(ErrorKind::NotFound, message));
        }
        Ok(layers)
    }
}

/// What these come to, up to the first one that finds something. All are read
/// at the same time.
async fn first(
    reads: Vec<BoxFuture<'_, Result<Option<Record>, Error>>>,
) -> Result<Vec<Option<Record>>, Error> {
    let mut reads: FuturesOrdered<_> = reads.into_iter().collect();
    let mut found = Vec::new();
    while let Some(read) = reads.next().await {
        let read = read?;
        let enough = read.is_some();
        found.push(read);
        if enough {
            break;
        }
    }
    Ok(found)
}

impl<'a> IntoFuture for ReadTiers<'a> {
    type Output = Result<Layers, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

//! A record store that never forgets a version.
//!
//! Hand it JSON records; it keeps every version of each, with who, when and
//! why, and answers *what is it now*, *what was it then*, *what changed* and
//! *put it back*. This page is a tour from nothing to time travel.
//!
//! # A store
//!
//! [`Config::dev`] is a folder: an embedded catalog and, beside it, files for
//! large documents. ([`Config::memory`] is gone with the process.)
//!
//! ```
//! use serde_json::json;
//! use xronox::{Config, Xronox};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), xronox::Error> {
//! # let folder = tempfile::tempdir().unwrap();
//! let xronox = Xronox::open(Config::dev(folder.path())).await?;
//! let orders = xronox.collection("orders")?;
//! # xronox.close().await
//! # }
//! ```
//!
//! # Writing
//!
//! Every call is a builder that does its work when it is awaited. A write is
//! durable when it returns: `ov` counts the versions of the record, `cv` the
//! commits of the collection.
//!
//! ```
//! # use serde_json::json;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), xronox::Error> {
//! # let xronox = xronox::Xronox::open(xronox::Config::memory()).await?;
//! # let orders = xronox.collection("orders")?;
//! let made = orders
//!     .create(json!({ "customer": "acme", "total": 10, "note": "call first" }))
//!     .actor("user:ann")
//!     .reason("web shop")
//!     .await?;
//! assert_eq!((made.ov, made.cv), (0, 0));
//!
//! // Replace the document, or change parts of it by dotted paths.
//! orders.update(&made.id, json!({ "customer": "acme", "total": 12 })).await?;
//! orders
//!     .patch(&made.id, json!({ "total": 15, "ship.to": "Rome", "$unset": ["note"] }))
//!     .actor("job:pricing")
//!     .await?;
//!
//! // A write that would change nothing writes nothing.
//! let same = orders.patch(&made.id, json!({ "total": 15 })).await?;
//! assert!(same.unchanged);
//!
//! // Whoever read version 1 must not overwrite version 2.
//! let late = orders.update(&made.id, json!({})).expected_ov(1).await.unwrap_err();
//! assert_eq!(late.kind(), &xronox::ErrorKind::Conflict { expected: 1, actual: 2 });
//! # Ok(())
//! # }
//! ```
//!
//! # Merging what is found out
//!
//! Whatever several processes find out about a record is all kept: objects merge,
//! arrays become a union. And whoever has a key of its own need not know the id.
//!
//! ```
//! # use serde_json::json;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), xronox::Error> {
//! # let xronox = xronox::Xronox::open(xronox::Config::memory()).await?;
//! # let people = xronox.collection("people")?;
//! let seen = json!({ "email": "ann@example.com", "seen": ["web"] });
//! let ann = people.smart_insert(seen, ["email"]).await?;
//! let seen = json!({ "email": "ann@example.com", "seen": ["shop"] });
//! let same = people.smart_insert(seen, ["email"]).await?;
//! assert_eq!((&same.id, same.ov), (&ann.id, 1));
//!
//! people.enrich(&ann.id, json!({ "score": { "risk": 2 } })).function("scorer@v1").await?;
//! let now = people.get_latest(&ann.id).await?.json();
//! assert_eq!(now["seen"], json!(["web", "shop"]));
//! assert_eq!(now["_system"]["functionIds"], json!(["scorer@v1"]));
//! # Ok(())
//! # }
//! ```
//!
//! # Reading, now and then
//!
//! ```
//! # use serde_json::json;
//! use xronox::Moment;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), xronox::Error> {
//! # let xronox = xronox::Xronox::open(xronox::Config::memory()).await?;
//! # let orders = xronox.collection("orders")?;
//! # orders.create_with_id("o1", json!({ "total": 10 })).await?;
//! # orders.patch("o1", json!({ "total": 12 })).await?;
//! let now = orders.get_latest("o1").await?;
//! assert_eq!(now.json()["total"], 12);
//! assert_eq!(now.json()["_system"]["ov"], 1);
//!
//! // As it was in a version, after a commit, or at a time.
//! assert_eq!(orders.get_version("o1", 0).await?.json()["total"], 10);
//! assert_eq!(orders.get_as_of("o1", Moment::Cv(0)).await?.json()["total"], 10);
//! let long_ago = orders.get_as_of("o1", "1999-12-31T23:59:59Z").await;
//! assert_eq!(long_ago.unwrap_err().kind(), &xronox::ErrorKind::NotFound);
//!
//! // Straight into a type of your own.
//! #[derive(serde::Deserialize)]
//! struct Order {
//!     total: u64,
//! }
//! assert_eq!(now.to::<Order>()?.total, 12);
//! # Ok(())
//! # }
//! ```
//!
//! # Asking
//!
//! Filters are MongoDB's. Every query works as of the past too, and says which
//! commit it saw.
//!
//! ```
//! # use serde_json::json;
//! use xronox::{Direction, Moment};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), xronox::Error> {
//! # let xronox = xronox::Xronox::open(xronox::Config::memory()).await?;
//! # let orders = xronox.collection("orders")?;
//! let made = orders
//!     .create_many((0..100).map(|n| json!({ "n": n, "even": n % 2 == 0 })))
//!     .await?;
//! orders.delete(&made[98].as_ref().unwrap().id).await?;
//!
//! let page = orders
//!     .query(json!({ "even": true, "n": { "$gte": 90 } }))
//!     .sort("n", Direction::Descending)
//!     .limit(2)
//!     .await?;
//! let found: Vec<_> = page.items.iter().map(|order| order.json()["n"].clone()).collect();
//! assert_eq!(found, [json!(96), json!(94)]);
//!
//! let next = orders
//!     .query(json!({ "even": true, "n": { "$gte": 90 } }))
//!     .sort("n", Direction::Descending)
//!     .after(page.cursor.unwrap())
//!     .await?;
//! assert_eq!(next.items.len(), 2);
//!
//! let before = orders.count(json!({ "even": true })).as_of(Moment::Cv(99)).await?;
//! assert_eq!(before.count, 50);
//! # Ok(())
//! # }
//! ```
//!
//! # What a read shows
//!
//! A collection may hide some of its fields: no read shows them unless it is
//! asked to. A projection chooses parts, by paths or by a name that the
//! configuration gives it. Who gets a *sealed* handle never sees what is
//! hidden, whatever they ask; and nobody loses what they do not see.
//!
//! ```
//! # use serde_json::json;
//! use xronox::Config;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), xronox::Error> {
//! let config = Config::from_json(
//!     r#"{
//!         "dbConnections": { "main": { "mongoUri": "memory:" } },
//!         "databases": { "runtime": { "tenantDatabases": [
//!             { "tenantId": "default", "dbConnRef": "main", "dbName": "shop" }
//!         ] } },
//!         "collectionMaps": { "orders": {
//!             "hiddenFields": ["_internal"],
//!             "projection": { "short": { "include": ["id", "total"] } }
//!         } }
//!     }"#,
//! )?;
//! # let xronox = xronox::Xronox::open(config).await?;
//! # let orders = xronox.collection("orders")?;
//! let order = json!({ "total": 10, "to": "Rome", "_internal": { "margin": 4 } });
//! orders.create_with_id("o1", order).await?;
//!
//! let plain = orders.get_latest("o1").await?;
//! assert_eq!(plain.document(), json!({ "total": 10, "to": "Rome" }));
//! let all = orders.get_latest("o1").include_hidden().await?;
//! assert_eq!(all.document()["_internal"]["margin"], 4);
//! let short = orders.get_latest("o1").project("short").await?;
//! assert_eq!(short.json(), json!({ "_id": "o1", "total": 10 }));
//! let named = orders.get_latest("o1").project(["to", "_internal.margin"]).await?;
//! assert_eq!(named.json(), json!({ "to": "Rome", "_internal": { "margin": 4 } }));
//!
//! let sealed = orders.with_hidden(false);
//! let refused = sealed.query(json!({ "_internal.margin": 4 })).await.unwrap_err();
//! assert_eq!(refused.kind(), &xronox::ErrorKind::Forbidden);
//! sealed.update("o1", json!({ "total": 12 })).await?;
//! let all = orders.get_latest("o1").include_hidden().await?;
//! assert_eq!(all.document(), json!({ "total": 12, "_internal": { "margin": 4 } }));
//! # Ok(())
//! # }
//! ```
//!
//! # Files beside the JSON
//!
//! What the configuration names as a file is kept apart from its record, in the
//! bucket for contents: base64 or a `data:` URI in a document becomes a reference,
//! and a file of any length is attached as it comes. A document that is read,
//! edited and written back keeps its files; each version has those it had.
//!
//! ```
//! # use serde_json::json;
//! use std::io::Read;
//!
//! use xronox::{Config, Content};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), xronox::Error> {
//! let config = Config::from_json(
//!     r#"{
//!         "dbConnections": { "main": { "mongoUri": "memory:" } },
//!         "spacesConnections": { "objects": { "endpoint": "memory:" } },
//!         "databases": { "runtime": { "tenantDatabases": [
//!             { "tenantId": "default", "dbConnRef": "main", "dbName": "shop", "spaceConnRef": "objects" }
//!         ] } },
//!         "collectionMaps": { "orders": { "base64Props": {
//!             "note": { "contentType": "text/plain", "preferredText": true },
//!             "photos.image": { "contentType": "image/png" }
//!         } } }
//!     }"#,
//! )?;
//! # let xronox = xronox::Xronox::open(config).await?;
//! # let orders = xronox.collection("orders")?;
//! let order = json!({ "note": "R3LDvMOfZQ==", "photos": [{ "image": "data:image/jpeg;base64,AQID" }, {}] });
//! orders.create_with_id("o1", order).await?;
//! let scan = Content::from_read(std::io::repeat(7).take(3 << 20));
//! orders.attach("o1", "photos.1.image", scan).content_type("image/tiff").await?;
//!
//! let now = orders.get_latest("o1").include_text().await?;
//! assert_eq!(now.document()["note"]["_file"]["size"], 7);
//! assert_eq!(now.texts()[&"note".parse()?], "Grüße");
//! let sizes: Vec<u64> = now.files().iter().map(|file| file.size).collect();
//! assert_eq!(sizes, [7, 3, 3 << 20]);
//!
//! let mut photo = orders.file("o1", "photos.0.image").await?;
//! assert_eq!(photo.info().content_type, "image/jpeg");
//! assert_eq!(photo.bytes(100).await?[..], [1, 2, 3]);
//! # Ok(())
//! # }
//! ```
//!
//! Where objects are at S3, Azure or Google, [`Get::presign`] gives URLs that
//! fetch them for a while.
//!
//! # Records inside records
//!
//! An order holds its customer, who is a record too. Inserting the order creates
//! the customer, or merges into it what the order says of it, in one commit where
//! the backend has transactions; reading brings the live customer along. Entities
//! may be in other databases of the tenant, and, where that is granted, in those
//! that tenants share.
//!
//! ```
//! # use serde_json::json;
//! use xronox::{EntityMapping, EntityOperation};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), xronox::Error> {
//! # let xronox = xronox::Xronox::open(xronox::Config::memory()).await?;
//! # let orders = xronox.collection("orders")?;
//!
//! let entities = [EntityMapping::new("customer", "customers", "email")];
//! let order = json!({ "total": 10, "customer": { "email": "ann@example.com", "city": "Bern" } });
//! let made = orders.insert_with_entities(order, &entities).actor("service:shop").await?;
//! let customer = &made.entity_results[&"customer".parse()?];
//! assert_eq!(customer.operation, EntityOperation::Created);
//!
//! let customers = xronox.collection("customers")?;
//! customers.patch(&customer.id, json!({ "city": "Basel" })).await?;
//! let read = orders.get_with_entities(&made.main_record_id, &entities).await?;
//! assert_eq!(read.main_record.json()["customer"]["city"], "Bern");
//! let now = read.entity_records[&"customer".parse()?].as_ref().unwrap();
//! assert_eq!(now.json()["city"], "Basel");
//! # Ok(())
//! # }
//! ```
//!
//! # What changed, and who
//!
//! ```
//! # use serde_json::json;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), xronox::Error> {
//! # let xronox = xronox::Xronox::open(xronox::Config::memory()).await?;
//! # let orders = xronox.collection("orders")?;
//! orders.create_with_id("o1", json!({ "total": 10 })).actor("user:ann").await?;
//! orders.patch("o1", json!({ "total": 12 })).actor("job:pricing").await?;
//!
//! let versions = orders.history("o1").await?;
//! assert_eq!(versions[0].actor.as_ref().unwrap().to_string(), "job:pricing");
//!
//! let diff = orders.diff("o1", 0, 1).await?;
//! assert_eq!(
//!     serde_json::to_value(diff).unwrap(),
//!     json!([{ "op": "replace", "path": "/total", "value": 12 }]),
//! );
//!
//! let blame = orders.blame("o1").await?;
//! assert_eq!((blame[0].path.to_string().as_str(), blame[0].version.ov), ("total", 1));
//!
//! // Every commit of the collection after one of them: ask again to follow it.
//! assert_eq!(orders.changes(0).await?.len(), 1);
//! # Ok(())
//! # }
//! ```
//!
//! # Who made it, and from what
//!
//! An actor is text or an [`Identity`]; a record may name the one that it is
//! made from, in whatever collection. Both are asked of all collections at once.
//!
//! ```
//! # use serde_json::json;
//! use xronox::Identity;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), xronox::Error> {
//! # let xronox = xronox::Xronox::open(xronox::Config::memory()).await?;
//! let (mails, orders) = (xronox.collection("mails")?, xronox.collection("orders")?);
//! let reader = Identity::agent("reader-v2")?.named("Mail reader")?;
//! let mail = mails
//!     .create(json!({ "text": "two of them, please" }))
//!     .origin("msg-7", "inbox", Some("gmail"))
//!     .await?;
//! let order = orders
//!     .create(json!({ "count": 2 }))
//!     .parent(&mail.id, "mails")
//!     .actor(&reader)
//!     .on_behalf_of("user:42 (Ann)")
//!     .await?;
//!
//! let made = xronox.home()?.who(&reader).await?;
//! assert_eq!(made.items[0].record.id(), &order.id);
//! let line = orders.lineage(&order.id).await?;
//! assert_eq!(line.ancestors[0].id, mail.id);
//! assert_eq!(line.origin.unwrap().id, "msg-7");
//! assert_eq!(mails.children(&mail.id).await?.items.len(), 1);
//! # Ok(())
//! # }
//! ```
//!
//! # Putting it back
//!
//! Nothing is rolled back: a restore is a new version.
//!
//! ```
//! # use serde_json::json;
//! use xronox::Moment;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), xronox::Error> {
//! # let xronox = xronox::Xronox::open(xronox::Config::memory()).await?;
//! # let orders = xronox.collection("orders")?;
//! orders.create_with_id("o1", json!({ "total": 10 })).await?;
//! orders.create_with_id("o2", json!({ "total": 20 })).await?;
//! orders.patch("o1", json!({ "total": 0 })).await?;
//! orders.delete("o2").await?;
//!
//! orders.restore_object("o1").to_ov(0).reason("wrong price").await?;
//! assert_eq!(orders.get_latest("o1").await?.json()["total"], 10);
//!
//! // Or everything, as it was after the second commit.
//! let report = orders.restore_collection(Moment::Cv(1)).await?;
//! assert_eq!(report.restored, 1);
//! assert_eq!(orders.get_latest("o2").await?.json()["total"], 20);
//!
//! // And every rule holds: see the report for which ones.
//! assert!(orders.verify().await?.clean());
//! # Ok(())
//! # }
//! ```
//!
//! # When something is wrong
//!
//! There is one [`Error`]; branch on its [`kind`](Error::kind). Unless that is
//! [`Indeterminate`](ErrorKind::Indeterminate), the write that it is about did
//! not happen; bulk writes say of each record what became of it.
//!
//! # Features
//!
//! All are on by default.
//!
//! - `sqlite`: the embedded catalog, for [`Config::dev`].
//! - `mongodb`: the catalog on MongoDB, for [`Config::at`].
//! - `cloud`: bodies on S3, Azure Blob and Google Cloud Storage, for
//!   [`Config::with_payloads`].

mod client;
mod collection;
mod config;
mod counters;
mod database;
mod engine;
mod error;
mod input;
mod storage;
mod store;
mod tenancy;
mod tiers;

pub use client::{Documents, Find, XronoxClient};
pub use collection::Collection;
pub use config::{
    Analytics, Audit, Base64Property, CollectionMap, Config, ConfigBuilder, ConfigLoader,
    ConnectionCheck, CountedWrite, CounterRetention, CounterRule, CounterRules, CrossTenantMode,
    CrossTenantRule, DatabaseConfig, DatabaseTemplates, Databases, DbConnection, DevShadow,
    DocumentSchema, DomainDatabase, DynamicTenants, Encryption, Fallback, HashAlgo, Idempotency,
    IdentitiesDatabases, IndexSetting, KeepOne, LocalStorage, LogsDatabases, ManifestPeriod,
    MessagingDatabases, MessagingRetention, MessagingSettings, MissedRuns, Offload, Operation,
    PayloadSettings, PayloadWrites, PersonalProperty, Placeholder, Pool, Problem, ProductionConfig,
    Queries, Redis, RelativeTime, Retention, Rollup, Routing, RoutingKey, RoutingPart, SaveMode,
    Scope, Settings, SharedDatabases, Signing, Switch, Template, TemplatePart, TenantDatabase,
    TenantDatabases, TenantIdRules, TenantTier, Thinning, TieredDatabases, TimeBasedRule,
    Timeframe, Transactions, Unindexed, Validation, VersionRetention, WeightedRef, Worker,
    WriteOptimization,
};
pub use counters::{Counters, Distinct, GetSeries, GetTotals, Group, Period, RuleTotals, Totals};
pub use database::Database;
pub use engine::{
    across::{Located, LocatedPage},
    attribution::IntoActor,
    blame::{Blame, ReadBlame},
    copy::{Copy, CopyReport},
    create_many::CreateMany,
    delete_many::{DeleteMany, DeleteManyReport},
    enrich::{Enrich, SmartInsert},
    entities::{
        BrokenInsertion, EntityMapping, EntityOperation, EntityResult, GetWithEntities,
        InsertWithEntities, InsertedWithEntities, ResumedInsertions, WithEntities,
    },
    files::{
        FileInfo,
        attach::{Attach, Content},
        fetch::{FileContent, OpenFile, Presigned},
    },
    gc::{Fate, Garbage, Gc, GcReport},
    history::{Changes, History, ReadDiff, Version},
    import::{Import, ImportReport, Importer},
    indexes::{EnsureIndex, IndexInfo},
    lineage::{Ancestor, Ancestry, AncestryEnd, Children, Descendant, Descendants},
    progress::Progress,
    query::{Count, Counted, Cursor, IntoCursor, Page, Query, Records},
    read::{Get, GetMany},
    record::Record,
    relocate::{MoveVersions, MoveVersionsReport},
    restore::{Listed, RestoreCollection, RestoreJob, RestoreObject, RestoreReport},
    size::Size,
    subject::{Erase, ErasureReport, Footing, Footprint, FootprintReport, Found, Subject},
    trail::{Trace, Trail, TrailPage},
    verify::{Damage, Rule, Verify, VerifyReport},
    who::Who,
    write::{Change, Create, Delete},
    written::Written,
};
pub use error::{Error, ErrorKind};
pub use input::{IntoDocument, IntoId, IntoMoment, IntoPath, IntoProjection, Moment};
pub use store::{Components, Open, Xronox};
pub use tenancy::{
    BucketPlace, BucketReport, CancelMove, ConnectionHealth, Context, CreateTenant, DatabaseType,
    DropReport, DropTenant, EnsureBuckets, Kept, LackingBucket, ListTenants, MoveReport,
    MoveTenant, Shareable, TenantInfo, TenantPage, TenantPlace, TenantState, Tenants, Tiered,
};
pub use tiers::{Layers, ReadTiers, TierName};
pub use xronox_model::{
    Attempt, BucketRole, CollectionName, Direction, Identity, Include, Invalid, Op, Origin,
    PatchOp, Path, Projection, RecordId, Selection, Sha256, Timestamp, json,
};
pub use xronox_store::{
    ConnectionError, Credentials, HealthStatus, PerRole, Provider, Secret, SpaceConnection,
};

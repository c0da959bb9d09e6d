//! All that a database has of somebody, and its removal.

mod search;

use std::{collections::BTreeMap, future::IntoFuture};

use futures::{StreamExt, TryStreamExt, future::BoxFuture, future::ready};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Value, json};
use xronox_model::{CollectionName, Filter, Invalid, RecordId};

use self::search::Search;
use crate::{
    Database, DeleteManyReport, Error, IntoActor, IntoPath, Progress,
    engine::{
        across::named,
        attribution::{Attribution, attributed},
        delete_many::One,
        progress::Listener,
        query::filter_of,
        who::somebody,
    },
    storage::forbidden,
};

/// Records looked at, or deleted, at a time.
const ABREAST: usize = 32;

/// Whose records are meant: those of which one of these is true.
///
/// ```
/// use xronox::Subject;
///
/// let ann = Subject::new()
///     .creator("user:42")
///     .updater("user:42")
///     .field("_metadata.identity.identifier", "42")
///     .field("email", "ann@example.com");
/// # let _ = ann;
/// ```
#[derive(Debug, Default)]
pub struct Subject {
    clauses: Vec<Value>,
    broken: Option<Error>,
}

impl Subject {
    /// Nobody's yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Those that an identity created: type and identifier decide.
    pub fn creator(self, identity: impl IntoActor) -> Self {
        self.of("creator", identity)
    }

    /// Those whose newest version an identity made. Deleting is a version too: a
    /// record that somebody else has deleted since is not among them.
    pub fn updater(self, identity: impl IntoActor) -> Self {
        self.of("updater", identity)
    }

    /// Those whose newest version has this value at a path, or in an array there.
    pub fn field(mut self, path: impl IntoPath, value: impl Into<Value>) -> Self {
        let value = value.into();
        match path.into_path() {
            // It would mean everybody of whom nothing is known there.
            Ok(path) if value.is_null() => {
                let nobody = Invalid::at(path.to_string(), "`null` names nobody");
                self.broken.get_or_insert(nobody.into());
            }
            Ok(path) => {
                let clause = json!({ (path.to_string()): { "$eq": value } });
                self.clauses.push(clause);
            }
            Err(error) => {
                self.broken.get_or_insert(error);
            }
        }
        self
    }

    fn of(mut self, role: &str, identity: impl IntoActor) -> Self {
        match somebody(identity) {
            Ok(identity) => {
                let [kind, identifier] =
                    ["type", "identifier"].map(|part| format!("_system.{role}.{part}"));
                self.clauses
                    .push(json!({ identifier: identity.identifier, kind: identity.kind }));
            }
            Err(error) => {
                self.broken.get_or_insert(error);
            }
        }
        self
    }

    /// The filters, each with how to tell what it matches.
    fn filters(self) -> Result<Vec<(Value, Filter)>, Error> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        if self.clauses.is_empty() {
            return Err(Invalid::at("subject", "names nobody").into());
        }
        let parsed = |clause: Value| Ok((clause.clone(), filter_of(clause)?));
        self.clauses.into_iter().map(parsed).collect()
    }
}

/// Finds all that a database has of somebody; await it for a
/// [`FootprintReport`]. Made with [`Database::footprint`].
#[derive(Debug)]
#[must_use = "nothing is read until it is awaited"]
pub struct Footprint<'a> {
    database: &'a Database,
    subject: Subject,
    among: Result<Option<Vec<CollectionName>>, Error>,
    in_history: bool,
    found: Listener<'a, Found>,
    progress: Listener<'a>,
}

/// Deletes all records of somebody; await it for an [`ErasureReport`]. Made with
/// [`Database::erase`].
#[derive(Debug)]
#[must_use = "nothing is deleted until it is awaited"]
pub struct Erase<'a> {
    database: &'a Database,
    subject: Subject,
    among: Result<Option<Vec<CollectionName>>, Error>,
    in_history: bool,
    hard: bool,
    pub(crate) attribution: Attribution,
    progress: Listener<'a>,
    pub(crate) broken: Option<Error>,
}

attributed!(Erase);

/// A record of somebody: a line of the report.
///
/// As JSON `{ collection, id, ov, deleted, versions, files, bytes }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Found {
    /// The collection that it is in.
    pub collection: CollectionName,
    /// Its id.
    pub id: RecordId,
    /// Its newest version.
    pub ov: u64,
    /// Whether it is deleted.
    pub deleted: bool,
    /// How many versions of it are kept.
    pub versions: u64,
    /// How many different files those have.
    pub files: u64,
    /// Bytes of the documents of all versions in canonical form, and of the
    /// files.
    pub bytes: u64,
}

/// How much there is of somebody.
///
/// As JSON `{ records, deleted, versions, files, bytes }`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Footing {
    /// Records, deleted ones included.
    pub records: u64,
    /// Those of them that are deleted.
    pub deleted: u64,
    /// Versions that are kept of them.
    pub versions: u64,
    /// Different files that those have.
    pub files: u64,
    /// Bytes of all that; see [`Found::bytes`].
    pub bytes: u64,
}

impl Footing {
    fn add(&mut self, found: &Found) {
        self.records += 1;
        self.deleted += u64::from(found.deleted);
        self.versions += found.versions;
        self.files += found.files;
        self.bytes += found.bytes;
    }
}

/// All that a database has of somebody.
///
/// As JSON `{ total, collections: { <name>: … } }`, each `{ records, deleted,
/// versions, files, bytes }`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FootprintReport {
    /// In all.
    pub total: Footing,
    /// In each collection that has any.
    pub collections: BTreeMap<CollectionName, Footing>,
}

/// What an erasure did.
///
/// As JSON `{ hard, deleted, collections: { <name>: { matched, deleted, skipped } },
/// remaining }`, the last one as in a [`FootprintReport`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ErasureReport {
    /// Whether it removed records for good.
    pub hard: bool,
    /// Records that it deleted.
    pub deleted: u64,
    /// What it did in each collection that had any.
    pub collections: BTreeMap<CollectionName, DeleteManyReport>,
    /// What a search afterwards still found: nothing after a hard erasure, what
    /// is deleted after a logical one, and what others wrote meanwhile.
    pub remaining: FootprintReport,
}

impl ErasureReport {
    /// Whether the search afterwards found no record that is not deleted, and
    /// after a hard erasure none at all.
    pub fn is_complete(&self) -> bool {
        let Footing {
            records, deleted, ..
        } = self.remaining.total;
        records == if self.hard { 0 } else { deleted }
    }
}

impl Database {
    /// Finds all that the database has of somebody: how many records, versions,
    /// files and bytes, in every collection, deleted records included. Each
    /// record is [told](Footprint::on_found) as it is met, to be exported.
    ///
    /// Records are found by what their newest versions are, unless all are
    /// [looked at](Footprint::in_history); what somebody did to records of others
    /// is in the [`trail`](Self::trail).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), xronox::Error> {
    /// use serde_json::json;
    /// use xronox::{Config, Subject, Xronox};
    ///
    /// # let mut config = Config::memory();
    /// # config.settings.hard_delete_enabled = true;
    /// let xronox = Xronox::open(config).await?;
    /// let (orders, mails) = (xronox.collection("orders")?, xronox.collection("mails")?);
    /// let order = orders.create(json!({ "total": 10 })).actor("user:42").await?;
    /// orders.patch(&order.id, json!({ "total": 12 })).actor("job:prices").await?;
    /// mails.create(json!({ "to": ["ann@example.com"] })).actor("service:post").await?;
    ///
    /// let ann = || Subject::new().creator("user:42").field("to", "ann@example.com");
    /// let report = xronox.home()?.footprint(ann()).await?;
    /// assert_eq!((report.total.records, report.total.versions), (2, 3));
    ///
    /// let erased = xronox.home()?.erase(ann()).hard().actor("user:dpo").await?;
    /// assert_eq!((erased.deleted, erased.remaining.total.records), (2, 0));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # What it costs
    ///
    /// Each property asked for is a query of each collection, along an index
    /// that is made when there is none; the bounds of
    /// [`query`](crate::Collection::query) hold. The history of each record found
    /// is read, without its documents.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) for a subject that names nobody,
    /// [`Forbidden`](crate::ErrorKind::Forbidden) through a sealed handle where
    /// fields are hidden, and as [`query`](crate::Collection::query).
    pub fn footprint(&self, subject: Subject) -> Footprint<'_> {
        Footprint {
            database: self,
            subject,
            among: Ok(None),
            in_history: false,
            found: Listener::default(),
            progress: Listener::default(),
        }
    }

    /// Deletes all records of somebody, in every collection, and looks
    /// afterwards what is left. As with [`delete_many`](crate::Collection::delete_many)
    /// each record is deleted by itself, as long as it still is the subject's;
    /// broken off, the same call goes on.
    ///
    /// A [hard](Erase::hard) erasure removes records that were deleted before
    /// too. Then nothing stays of them but that there was a record of this id,
    /// and who removed it; an object that its store does not delete at once is
    /// left for [`gc`](Self::gc). What the subject did to records of others keeps
    /// naming it as their [`trail`](Self::trail).
    ///
    /// # Errors
    ///
    /// As [`footprint`](Self::footprint) and [`delete`](crate::Collection::delete);
    /// what was deleted before stays so.
    pub fn erase(&self, subject: Subject) -> Erase<'_> {
        Erase {
            database: self,
            subject,
            among: Ok(None),
            in_history: false,
            hard: false,
            attribution: Attribution::default(),
            progress: Listener::default(),
            broken: None,
        }
    }
}

impl<'a> Footprint<'a> {
    /// Looks only into these collections.
    pub fn among<I>(mut self, collections: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        self.among = named(collections).map(Some);
        self
    }

    /// Looks at every version that is kept, not only at the newest ones: finds
    /// records that were the subject's at some time, as before somebody changed
    /// their address. An [updater](Subject::updater) is then whoever made any of
    /// the versions. All documents of a collection are read, along no index.
    /// Through a scoped handle, records that have left its scope are not found.
    pub fn in_history(mut self) -> Self {
        self.in_history = true;
        self
    }

    /// Calls this with each record that is found.
    pub fn on_found(mut self, listen: impl FnMut(Found) + Send + 'a) -> Self {
        self.found = Listener::new(listen);
        self
    }

    /// Calls this now and then, with the number of records of a collection that
    /// were found, or of its versions that were looked at.
    pub fn on_progress(mut self, listen: impl FnMut(Progress) + Send + 'a) -> Self {
        self.progress = Listener::new(listen);
        self
    }
}

impl<'a> Erase<'a> {
    /// Looks only into these collections.
    pub fn among<I>(mut self, collections: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        self.among = named(collections).map(Some);
        self
    }

    /// Looks at every version that is kept, not only at the newest ones; see
    /// [`Footprint::in_history`]. Deletes whole records, whoever they belong to
    /// by now.
    pub fn in_history(mut self) -> Self {
        self.in_history = true;
        self
    }

    /// Removes every version, body and file for good; see
    /// [`Delete::hard`](crate::Delete::hard).
    pub fn hard(mut self) -> Self {
        self.hard = true;
        self
    }

    /// Calls this now and then, with the number of records of a collection that
    /// were found, or of its versions that were looked at: first to delete them,
    /// then to see what is left.
    pub fn on_progress(mut self, listen: impl FnMut(Progress) + Send + 'a) -> Self {
        self.progress = Listener::new(listen);
        self
    }
}

impl<'a> IntoFuture for Footprint<'a> {
    type Output = Result<FootprintReport, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(mut self) -> Self::IntoFuture {
        Box::pin(async move {
            let filters = self.subject.filters()?;
            let search = Search {
                database: self.database,
                filters: &filters,
                among: self.among?,
                in_history: self.in_history,
                progress: Mutex::new(self.progress),
            };
            search.report(&mut self.found).await
        })
    }
}

impl<'a> IntoFuture for Erase<'a> {
    type Output = Result<ErasureReport, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            if let Some(error) = self.broken {
                return Err(error);
            }
            self.attribution.check()?;
            let filters = self.subject.filters()?;
            let search = Search {
                database: self.database,
                filters: &filters,
                among: self.among?,
                in_history: self.in_history,
                progress: Mutex::new(self.progress),
            };
            let mut report = ErasureReport {
                hard: self.hard,
                ..ErasureReport::default()
            };
            let names = search.collections().await?;
            for name in &names {
                let collection = search.collection(name)?;
                let (shared, scope) = (&collection.shared, &collection.scope);
                shared.unveiled(scope, "an erasure tells")?;
                if self.hard && !shared.rules.hard_delete {
                    let why = format!("hard deletes in {name} need `hardDeleteEnabled`");
                    return Err(forbidden(&why));
                }
            }
            for name in names {
                let collection = search.collection(&name)?;
                let one = One {
                    collection: collection.clone(),
                    attribution: self.attribution.clone(),
                    hard: self.hard,
                    deleted_too: self.hard,
                };
                let mut done = DeleteManyReport::default();
                let hits = search.hits(&collection).await?;
                let (one, hard) = (&one, self.hard);
                let deleted = hits
                    .try_filter(move |hit| ready(hard || !hit.deleted))
                    .map(|hit| async move {
                        let hit = hit?;
                        one.delete(&hit.id, hit.ov, &hit.still).await
                    })
                    .buffer_unordered(ABREAST);
                let mut deleted = std::pin::pin!(deleted);
                while let Some(gone) = deleted.try_next().await? {
                    done.count(gone);
                }
                if done.matched > 0 {
                    report.deleted += done.deleted;
                    report.collections.insert(name, done);
                }
            }
            report.remaining = search.report(&mut Listener::default()).await?;
            Ok(report)
        })
    }
}

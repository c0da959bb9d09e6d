//! Reading one record.

use std::future::IntoFuture;

use futures::future::BoxFuture;
use xronox_model::{Op, RecordId, VersionRow};
use xronox_store::{Bodies, Cut, Which};

use crate::{
    Collection, Error, ErrorKind, IntoId, IntoMoment, Moment,
    collection::Shared,
    engine::{
        files::fetch::bringing,
        query::body::read_body,
        record::Record,
        shape::{Shape, shaped},
    },
};

/// Reads one record; await it.
///
/// Gives the [`Record`], or [`NotFound`](ErrorKind::NotFound).
#[derive(Debug)]
#[must_use = "a read does nothing until it is awaited"]
pub struct Get<'a> {
    collection: &'a Collection,
    what: &'static str,
    id: Result<RecordId, Error>,
    moment: Result<At, Error>,
    include_deleted: bool,
    shape: Shape,
}

shaped!(Get<'_>, shape);
bringing!(Get<'_>, shape);

/// Reads several records; await it.
///
/// Gives the newest versions in the order asked for; `None` where there is no
/// such record or it is deleted. Made with [`Collection::get_many`].
#[derive(Debug)]
#[must_use = "a read does nothing until it is awaited"]
pub struct GetMany<'a> {
    collection: &'a Collection,
    ids: Result<Vec<RecordId>, Error>,
    shape: Shape,
}

shaped!(GetMany<'_>, shape);
bringing!(GetMany<'_>, shape);

/// The most records that are read by their ids at once.
const MAX_IDS: usize = 10_000;

#[derive(Debug, Clone, Copy)]
pub(crate) enum At {
    Latest,
    Ov(u64),
    Moment(Moment),
}

impl Collection {
    /// The newest version of a record.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if there is no such record or it is
    /// deleted, [`Invalid`](ErrorKind::Invalid) for an impossible id,
    /// [`Corrupt`](ErrorKind::Corrupt) if its stored body is damaged.
    pub fn get_latest(&self, id: impl IntoId) -> Get<'_> {
        self.get("get_latest", id, Ok(At::Latest))
    }

    /// The version `ov` of a record, be it deleted in that version or not.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if there is no such version,
    /// [`Pruned`](ErrorKind::Pruned) if retention removed it.
    pub fn get_version(&self, id: impl IntoId, ov: u64) -> Get<'_> {
        self.get("get_version", id, Ok(At::Ov(ov)))
            .include_deleted()
    }

    /// The version of a record that was the newest at a moment: an RFC 3339
    /// time, or `Moment::Cv` for a version of the collection.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if it was not yet born or deleted
    /// then, [`Pruned`](ErrorKind::Pruned) if retention removed what it was.
    pub fn get_as_of(&self, id: impl IntoId, moment: impl IntoMoment) -> Get<'_> {
        let moment = moment.into_moment().map(At::Moment);
        self.get("get_as_of", id, moment)
    }

    fn get(&self, what: &'static str, id: impl IntoId, moment: Result<At, Error>) -> Get<'_> {
        Get {
            collection: self,
            what,
            id: id.into_id(),
            moment,
            include_deleted: false,
            shape: Shape::default(),
        }
    }

    /// The newest versions of several records, in the order asked for; `None`
    /// where there is none or it is deleted.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) for an impossible id, or more than
    /// 10,000 of them.
    pub fn get_many<I>(&self, ids: I) -> GetMany<'_>
    where
        I: IntoIterator,
        I::Item: IntoId,
    {
        // One too many is enough to know.
        let ids = ids.into_iter().take(MAX_IDS + 1).map(IntoId::into_id);
        GetMany {
            collection: self,
            ids: ids.collect(),
            shape: Shape::default(),
        }
    }
}

impl GetMany<'_> {
    async fn run(self) -> Result<Vec<Option<Record>>, Error> {
        let Collection { shared, scope, .. } = self.collection;
        let ids = self.ids?;
        if ids.len() > MAX_IDS {
            let why = format!("at most {MAX_IDS} ids at once");
            return Err(xronox_model::Invalid::at("ids", why).into());
        }
        let bring = self.shape.bring();
        let sight = shared.sight(scope, &self.shape.asked()?)?.with(bring);
        let mut out = Vec::with_capacity(ids.len());
        for id in ids {
            let row = shared.newest(&id).await?;
            let Some(row) = row.filter(VersionRow::live) else {
                out.push(None);
                continue;
            };
            let record = shared.load(row).await;
            out.push(match record.and_then(|record| scope.see(record)) {
                Ok(record) => Some(record),
                Err(error) if *error.kind() == ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            });
        }
        // All at once, so that what comes along of files is bounded in all.
        let there: Vec<bool> = out.iter().map(Option::is_some).collect();
        let found = out.into_iter().flatten().collect();
        let mut shown = shared.shown(found, &sight).await?.into_iter();
        let next = |there: bool| if there { shown.next() } else { None };
        Ok(there.into_iter().map(next).collect())
    }
}

impl<'a> IntoFuture for GetMany<'a> {
    type Output = Result<Vec<Option<Record>>, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let shared = &self.collection.shared;
            let read = self.run().await;
            read.map_err(|e| e.during(&shared.doing("get_many", None)))
        })
    }
}

impl Get<'_> {
    /// Gives a deleted record too; its `_system.deleted` says so.
    pub fn include_deleted(mut self) -> Self {
        self.include_deleted = true;
        self
    }
}

impl<'a> IntoFuture for Get<'a> {
    type Output = Result<Record, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Collection { shared, scope, .. } = self.collection;
            let id = self
                .id
                .map_err(|e| e.during(&shared.doing(self.what, None)))?;
            let read = async {
                let at = self.moment?;
                let bring = self.shape.bring();
                let sight = shared.sight(scope, &self.shape.asked()?)?.with(bring);
                let row = shared.row_at(&id, at).await?;
                if row.op == Op::Purge || (row.system.deleted() && !self.include_deleted) {
                    return Err(not_found());
                }
                let record = scope.see(shared.load(row).await?)?;
                let shown = shared.shown(vec![record], &sight).await?;
                shown.into_iter().next().ok_or_else(not_found)
            };
            let result = read.await;
            shared.tell(scope, self.what, &id, result).await
        })
    }
}

pub(crate) fn not_found() -> Error {
    Error::new(ErrorKind::NotFound, "there is no such record")
}

pub(crate) fn no_version() -> Error {
    Error::new(ErrorKind::NotFound, "there is no such version")
}

pub(crate) fn pruned() -> Error {
    Error::new(ErrorKind::Pruned, "retention has removed this version")
}

impl Shared {
    pub(crate) async fn newest(&self, id: &RecordId) -> Result<Option<VersionRow>, Error> {
        let catalog = &self.database.catalog;
        Ok(catalog.head(&self.name, id, Bodies::Inline).await?)
    }

    pub(crate) async fn row_at(&self, id: &RecordId, at: At) -> Result<VersionRow, Error> {
        match at {
            At::Latest => self.newest(id).await?.ok_or_else(not_found),
            At::Ov(ov) => self.version(id, ov).await,
            At::Moment(moment) => {
                let cut = self.cut(moment).await?;
                self.valid_at(id, cut).await
            }
        }
    }

    /// The row of a version that is there in full.
    pub(crate) async fn version(&self, id: &RecordId, ov: u64) -> Result<VersionRow, Error> {
        let catalog = &self.database.catalog;
        let found = catalog
            .version(&self.name, id, Which::Ov(ov), Bodies::Inline)
            .await?;
        match found {
            Some(row) if row.pruned.is_some() => Err(pruned()),
            Some(row) => Ok(row),
            None => {
                let head = catalog.head(&self.name, id, Bodies::Omit).await?;
                Err(match head {
                    None => not_found(),
                    Some(head) if head.op == Op::Purge => not_found(),
                    Some(head) if ov < head.ov => pruned(),
                    Some(_) => no_version(),
                })
            }
        }
    }

    /// The row that was valid at a cut, in full.
    async fn valid_at(&self, id: &RecordId, cut: Cut) -> Result<VersionRow, Error> {
        self.history_allowed()?;
        let cv = cut.cv.ok_or_else(not_found)?;
        let catalog = &self.database.catalog;
        let row = catalog
            .version(&self.name, id, Which::AsOf(cv), Bodies::Inline)
            .await?
            .ok_or_else(not_found)?;
        if row.pruned.is_some() {
            return Err(pruned());
        }
        Ok(row)
    }

    /// What a moment means for this collection.
    pub(crate) async fn cut(&self, moment: Moment) -> Result<Cut, Error> {
        let catalog = &self.database.catalog;
        match moment {
            Moment::Time(at) => Ok(catalog.cut_at(&self.name, at).await?),
            Moment::Cv(cv) => {
                let newest = catalog.newest(&self.name).await?.map(|commit| commit.cv);
                if newest.is_none_or(|newest| cv > newest) {
                    let why = match newest {
                        Some(newest) => format!("the newest version of the collection is {newest}"),
                        None => "the collection is empty".to_owned(),
                    };
                    return Err(xronox_model::Invalid::at("cv", why).into());
                }
                Ok(Cut {
                    cv: Some(cv),
                    settled: true,
                })
            }
        }
    }

    /// Refuses to look back where superseded versions are not kept.
    pub(crate) fn history_allowed(&self) -> Result<(), Error> {
        if self.rules.versioning {
            Ok(())
        } else {
            Err(Error::new(
                ErrorKind::Unsupported,
                "`versioning.enabled` is off for this collection: only newest versions are kept",
            ))
        }
    }

    /// The record of a row, its body read and verified.
    pub(crate) async fn load(&self, row: VersionRow) -> Result<Record, Error> {
        if row.body.is_none() {
            return Err(pruned());
        }
        let (id, ov) = (row.id.clone(), row.ov);
        match read_body(&self.database, &self.name, row).await? {
            Some((row, canonical)) => Ok(Record::new(row, canonical)),
            // It was removed since the row was read; how, the catalog knows.
            None => Err(self.version(&id, ov).await.err().unwrap_or_else(not_found)),
        }
    }
}

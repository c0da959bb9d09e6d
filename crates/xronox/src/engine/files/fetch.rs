//! Reading the files of a record.

use std::{
    collections::BTreeMap,
    fmt,
    future::IntoFuture,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures::{
    Stream, TryStreamExt,
    future::BoxFuture,
    stream::{self, BoxStream, StreamExt},
};
use serde::Serialize;
use xronox_model::{File, Invalid, Path, RecordId};
use xronox_store::Blob;

use super::{FileInfo, is_hidden};
use crate::{
    Collection, Error, ErrorKind, IntoId, IntoMoment, IntoPath,
    collection::Shared,
    engine::{
        read::{At, not_found},
        record::Record,
        shape::Sight,
    },
    storage::forbidden,
};

/// How many bytes of text one read brings at most.
const MAX_TEXTS: u64 = 64 << 20;
/// Requests under way at a time.
const AHEAD: usize = 16;

/// Opens a file of a record; await it. Gives [`FileContent`]. Made with
/// [`Collection::file`].
#[derive(Debug)]
#[must_use = "nothing is read until it is awaited"]
pub struct OpenFile<'a> {
    collection: &'a Collection,
    id: Result<RecordId, Error>,
    path: Result<Path, Error>,
    moment: Result<At, Error>,
    as_text: bool,
}

/// The content of a file, as a stream that holds 4 MiB of it at a time, and asks
/// for more only when it is read.
///
/// That it is what was written is known at its end: a damaged file ends with
/// [`Corrupt`](ErrorKind::Corrupt), so what was read may be used once the stream
/// has ended without an error.
pub struct FileContent {
    info: FileInfo,
    bytes: BoxStream<'static, Result<Bytes, Error>>,
}

/// URLs that fetch a file without credentials, for a while.
///
/// As JSON `{ blobUrl, textUrl?, expiresIn }`.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Presigned {
    /// Of its content. A secret while it lasts.
    pub blob_url: String,
    /// Of the same as text, if it is kept as text too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_url: Option<String>,
    /// How many seconds they last from when they were made.
    pub expires_in: u64,
}

impl fmt::Debug for Presigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presigned")
            .field("expires_in", &self.expires_in)
            .finish_non_exhaustive()
    }
}

impl Collection {
    /// Opens a file of a record, that of its newest version unless another one
    /// is asked for. Its path is that of its [reference](FileInfo::path).
    /// [`attach`](Self::attach) has an example.
    ///
    /// # Errors
    ///
    /// As [`get_latest`](Self::get_latest), [`NotFound`](ErrorKind::NotFound) if
    /// there is no file at that path, [`Forbidden`](ErrorKind::Forbidden) for a
    /// hidden one through a [sealed](Self::with_hidden) handle.
    pub fn file(&self, id: impl IntoId, path: impl IntoPath) -> OpenFile<'_> {
        OpenFile {
            collection: self,
            id: id.into_id(),
            path: path.into_path(),
            moment: Ok(At::Latest),
            as_text: false,
        }
    }
}

impl OpenFile<'_> {
    /// Reads that of this version.
    pub fn version(mut self, ov: u64) -> Self {
        self.moment = Ok(At::Ov(ov));
        self
    }

    /// Reads that of the version that was the newest at a moment.
    pub fn as_of(mut self, moment: impl IntoMoment) -> Self {
        self.moment = moment.into_moment().map(At::Moment);
        self
    }

    /// Reads it as text, in UTF-8. [`NotFound`](ErrorKind::NotFound) if it is
    /// not kept as text.
    pub fn as_text(mut self) -> Self {
        self.as_text = true;
        self
    }
}

impl<'a> IntoFuture for OpenFile<'a> {
    type Output = Result<FileContent, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Collection { shared, scope, .. } = self.collection;
            let id = self.id.map_err(|e| e.during(&shared.doing("file", None)))?;
            let read = async {
                let (path, at) = (self.path?, self.moment?);
                if shared.veils(scope) && is_hidden(&shared.rules.view, &path) {
                    return Err(forbidden(&format!("`{path}` is hidden")));
                }
                let row = shared.row_at(&id, at).await?;
                if row.op == xronox_model::Op::Purge
                    || (row.system.deleted() && !matches!(at, At::Ov(_)))
                {
                    return Err(not_found());
                }
                let record = scope.see(shared.load(row).await?)?;
                let file = record.stored_files().iter().find(|file| file.path == path);
                let file = file.ok_or_else(|| no_file(&path))?;
                let blob = if self.as_text {
                    let text = file.text.as_ref();
                    Blob::from(text.ok_or_else(|| no_text(&path))?)
                } else {
                    Blob::from(file)
                };
                let bytes = shared.database.payloads.stream(&blob)?;
                let info = FileInfo::from(file);
                let bytes = bytes.map_err(Error::from).boxed();
                Ok(FileContent { info, bytes })
            };
            let result = read.await;
            shared.tell(scope, "file", &id, result).await
        })
    }
}

fn no_file(path: &Path) -> Error {
    let message = format!("there is no file at `{path}`");
    Error::new(ErrorKind::NotFound, message)
}

fn no_text(path: &Path) -> Error {
    let message = format!("the file at `{path}` is not kept as text");
    Error::new(ErrorKind::NotFound, message)
}

impl FileContent {
    /// What is known of the file.
    pub fn info(&self) -> &FileInfo {
        &self.info
    }

    /// All that is left of it, in memory.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) if that is more than so many bytes, and
    /// those of the stream.
    pub async fn bytes(&mut self, at_most: usize) -> Result<Bytes, Error> {
        let mut all = BytesMut::new();
        while let Some(bytes) = self.bytes.try_next().await? {
            if all.len() + bytes.len() > at_most {
                let why = format!("the file has more than {at_most} bytes");
                return Err(Invalid::at(self.info.path.to_string(), why).into());
            }
            all.extend_from_slice(&bytes);
        }
        Ok(all.freeze())
    }
}

impl Stream for FileContent {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.bytes.poll_next_unpin(cx)
    }
}

impl fmt::Debug for FileContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileContent")
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}

/// What a read brings along of files.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bring {
    /// URLs that last so long.
    pub(crate) presign: Option<Duration>,
    pub(crate) texts: bool,
}

/// What a read brought along of a record's files, by their paths.
#[derive(Debug, Clone, Default)]
pub(crate) struct Brought {
    pub(crate) presigned: BTreeMap<Path, Presigned>,
    pub(crate) texts: BTreeMap<Path, String>,
}

impl Shared {
    /// What is shown of whole records, with what is asked for of their files.
    pub(crate) async fn shown(
        &self,
        records: Vec<Record>,
        sight: &Sight,
    ) -> Result<Vec<Record>, Error> {
        let mut shown = Vec::with_capacity(records.len());
        for record in records {
            shown.push(sight.of(record)?);
        }
        let bring = sight.bring();
        if bring.presign.is_none() && !bring.texts {
            return Ok(shown);
        }
        if bring.texts {
            let files = shown.iter().flat_map(Record::stored_files);
            let texts = files.filter_map(|file| file.text.as_ref());
            if texts.map(|text| text.size).sum::<u64>() > MAX_TEXTS {
                let why = format!("these texts have more than {MAX_TEXTS} bytes: ask for fewer");
                return Err(Invalid::at("includeText", why).into());
            }
        }
        stream::iter(shown)
            .map(async |record| self.with_files(record, bring).await)
            .buffered(AHEAD)
            .try_collect()
            .await
    }

    async fn with_files(&self, record: Record, bring: Bring) -> Result<Record, Error> {
        let mut brought = Brought::default();
        for file in record.stored_files() {
            if let Some(ttl) = bring.presign {
                let presigned = self.presigned(file, ttl).await?;
                brought.presigned.insert(file.path.clone(), presigned);
            }
            if let Some(text) = file.text.as_ref().filter(|_| bring.texts) {
                let stream = self.database.payloads.stream(&Blob::from(text))?;
                let bytes: Vec<Bytes> = stream.try_collect().await?;
                let text = String::from_utf8(bytes.concat()).map_err(|_| {
                    let why = format!("the text of `{}` is not UTF-8", file.path);
                    Error::new(ErrorKind::Corrupt, why)
                })?;
                brought.texts.insert(file.path.clone(), text);
            }
        }
        Ok(record.bringing(brought))
    }

    async fn presigned(&self, file: &File, ttl: Duration) -> Result<Presigned, Error> {
        let payloads = &self.database.payloads;
        let text_url = match &file.text {
            None => None,
            Some(text) => Some(payloads.presign(&text.location, ttl).await?),
        };
        Ok(Presigned {
            blob_url: payloads.presign(&file.location, ttl).await?,
            text_url,
            expires_in: ttl.as_secs(),
        })
    }
}

/// The setters that reads of records have for their files.
macro_rules! bringing {
    ($builder:ty, $($shape:ident).+) => {
        impl $builder {
            /// Brings URLs along that fetch the files in what is shown of a
            /// record, for so long: 1 second to 7 days, in whole seconds; the
            /// usual time is an hour. See [`Record::presigned`](crate::Record::presigned).
            ///
            /// S3, Azure and Google Cloud Storage give out URLs. A record with
            /// files anywhere else is [`Unsupported`](crate::ErrorKind::Unsupported):
            /// read those with [`Collection::file`](crate::Collection::file).
            pub fn presign(mut self, ttl: std::time::Duration) -> Self {
                self.$($shape).+.presign(ttl);
                self
            }

            /// Brings along the text of the files that are kept as text, of
            /// those in what is shown of a record; see
            /// [`Record::texts`](crate::Record::texts). In all at most 64 MiB,
            /// else [`Invalid`](crate::ErrorKind::Invalid).
            pub fn include_text(mut self) -> Self {
                self.$($shape).+.include_text();
                self
            }
        }
    };
}

pub(crate) use bringing;

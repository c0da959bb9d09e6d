//! Putting a file into a record, however large it is.

use std::{fmt, future::IntoFuture, io, time::Instant};

use bytes::{Bytes, BytesMut};
use futures::{
    Stream, StreamExt, TryStreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use serde_json::{Map, Value, json};
use xronox_model::{
    BucketRole, File, Invalid, Location, Op, Path, RecordId, SystemChange, blob_key, each_value_at,
};
use xronox_store::{Expect, Presence, Refusal, StoreError};

use super::{MAX_TEXT, Offered, is_content_type, no_space, text};
use crate::{
    Collection, Error, ErrorKind, IntoId, IntoPath, Written,
    collection::Shared,
    config::Base64Property,
    engine::{
        attribution::{Attribution, attributed},
        draft::{Draft, refused},
        read::not_found,
    },
    storage::Storage,
};

/// What one read of a blocking source brings.
const STRETCH: usize = 1 << 20;

/// The bytes of a file: in memory, or from a source that need not fit there.
///
/// ```
/// use xronox::Content;
///
/// let small = Content::from("a note");
/// let large = Content::from_read(std::io::Cursor::new(vec![0; 1 << 20]));
/// # let _ = (small, large);
/// ```
pub struct Content(BoxStream<'static, Result<Bytes, StoreError>>);

impl Content {
    /// What a reader gives until it ends, such as an open file. It is read
    /// where it may block.
    pub fn from_read(reader: impl io::Read + Send + 'static) -> Self {
        let read = stream::try_unfold(Some(reader), |reader| async move {
            let Some(mut reader) = reader else {
                return Ok(None);
            };
            let stretch = tokio::task::spawn_blocking(move || {
                let mut stretch = BytesMut::zeroed(STRETCH);
                let length = loop {
                    match reader.read(&mut stretch) {
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        read => break read,
                    }
                }?;
                stretch.truncate(length);
                Ok((stretch.freeze(), reader))
            });
            let read = stretch.await.map_err(io::Error::other).flatten();
            let (stretch, reader) = read.map_err(unreadable)?;
            Ok((!stretch.is_empty()).then_some((stretch, Some(reader))))
        });
        Self(read.boxed())
    }

    /// What a stream gives until it ends, such as the body of a request.
    pub fn from_stream<E>(stream: impl Stream<Item = Result<Bytes, E>> + Send + 'static) -> Self
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let read = stream.map_err(|error| unreadable(io::Error::other(error)));
        Self(read.boxed())
    }
}

fn unreadable(error: io::Error) -> StoreError {
    StoreError::Unavailable {
        message: "the content could not be read".to_owned(),
        source: Some(error.into()),
    }
}

impl From<Bytes> for Content {
    fn from(bytes: Bytes) -> Self {
        Self(stream::iter([Ok(bytes)]).boxed())
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        text.as_bytes().to_vec().into()
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Content(..)")
    }
}

/// Puts a file into a record; await it. Gives what was [`Written`]. Made with
/// [`Collection::attach`].
#[derive(Debug)]
#[must_use = "nothing is written until it is awaited"]
pub struct Attach<'a> {
    collection: &'a Collection,
    id: Result<RecordId, Error>,
    path: Result<Path, Error>,
    content: Content,
    content_type: Option<String>,
    pub(crate) attribution: Attribution,
    expected_ov: Option<u64>,
    idempotency: Option<String>,
    pub(crate) broken: Option<Error>,
}

attributed!(Attach);

impl Collection {
    /// Puts a file into a record: its content is stored beside the record, as it
    /// comes, and the new version of the record refers to it at `path`, which
    /// has to be one that `base64Props` names (positions in arrays included,
    /// such as `photos.0.image`). What was there is replaced, as by
    /// [`patch`](Self::patch); earlier versions keep theirs.
    ///
    /// However large the file is, some 50 MiB of it are in memory at a time.
    /// It may have 78 GiB; S3 and the like drop what an upload that was broken
    /// off has left only if the bucket says so. With `preferredText`, files of up
    /// to 16 MiB that are text in `textCharset` are kept as UTF-8 too.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), xronox::Error> {
    /// use std::collections::BTreeMap;
    ///
    /// use serde_json::json;
    /// use xronox::{Base64Property, CollectionMap, Config, Xronox};
    ///
    /// let pdf = Base64Property {
    ///     content_type: "application/pdf".to_owned(),
    ///     preferred_text: false,
    ///     text_charset: "utf-8".to_owned(),
    /// };
    /// let orders = CollectionMap {
    ///     base64_props: BTreeMap::from([("invoice".parse()?, pdf)]),
    ///     ..CollectionMap::default()
    /// };
    /// let mut config = Config::memory();
    /// config.settings.collection_maps.insert("orders".to_owned(), orders);
    /// let orders = Xronox::open(config).await?.collection("orders")?;
    ///
    /// let order = orders.create(json!({ "total": 10 })).await?;
    /// orders.attach(&order.id, "invoice", b"%PDF-1.7".to_vec()).actor("user:42").await?;
    ///
    /// let read = orders.get_latest(&order.id).await?;
    /// assert_eq!((read.files()[0].size, read.ov()), (8, 1));
    /// let mut invoice = orders.file(&order.id, "invoice").await?;
    /// assert_eq!(invoice.info().content_type, "application/pdf");
    /// assert_eq!(invoice.bytes(1 << 20).await?, b"%PDF-1.7"[..]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`patch`](Self::patch) (nothing is read of the content if there is no
    /// such record), [`Invalid`](crate::ErrorKind::Invalid) for a path that is
    /// not kept as a file, [`Unsupported`](crate::ErrorKind::Unsupported) where
    /// the database has no storage space, [`Unavailable`](crate::ErrorKind::Unavailable)
    /// if the content cannot be read.
    pub fn attach(
        &self,
        id: impl IntoId,
        path: impl IntoPath,
        content: impl Into<Content>,
    ) -> Attach<'_> {
        Attach {
            collection: self,
            id: id.into_id(),
            path: path.into_path(),
            content: content.into(),
            content_type: None,
            attribution: Attribution::default(),
            expected_ov: None,
            idempotency: None,
            broken: None,
        }
    }
}

impl Attach<'_> {
    /// What the file is, such as `image/png`: 1 to 256 printable ASCII
    /// characters. Default: the `contentType` of the setting.
    pub fn content_type(mut self, content_type: impl Into<String>) -> Self {
        self.content_type = Some(content_type.into());
        self
    }

    /// Goes ahead only if the record's newest version is this one.
    pub fn expected_ov(mut self, ov: impl Into<Option<u64>>) -> Self {
        self.expected_ov = ov.into();
        self
    }

    /// Makes repeating this request safe, with the same content; see
    /// [`Create::idempotency_key`](crate::Create::idempotency_key).
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency = Some(key.into());
        self
    }
}

impl<'a> IntoFuture for Attach<'a> {
    type Output = Result<Written, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Collection { shared, scope, .. } = self.collection;
            let id = self
                .id
                .map_err(|e| e.during(&shared.doing("attach", None)))?;
            let write = async {
                if let Some(error) = self.broken {
                    return Err(error);
                }
                self.attribution.check()?;
                let path = self.path?;
                let found = shared.rules.files.of(&path);
                let (setting, property) = found.ok_or_else(|| {
                    Invalid::at(path.to_string(), "`base64Props` does not name it")
                })?;
                let null = Map::from_iter([(path.to_string(), Value::Null)]);
                shared.may_patch(scope, &null)?;
                let content_type = self
                    .content_type
                    .unwrap_or_else(|| property.content_type.clone());
                if !is_content_type(&content_type) {
                    let why = "1 to 256 printable ASCII characters";
                    return Err(Invalid::at("contentType", why).into());
                }
                let newest = shared.newest_in(scope, &id).await?;
                if newest.system.deleted() {
                    return Err(match newest.op {
                        Op::Purge => not_found(),
                        _ => refused(Refusal::Deleted),
                    });
                }
                let put = Put {
                    id: &id,
                    ov: newest.ov + 1,
                    path: &path,
                    content_type,
                    property,
                };
                let (file, put_at) = shared.put_content(put, self.content).await?;
                let changes = Map::from_iter([(path.to_string(), file.reference())]);
                let idempotency = shared.idempotency(
                    scope,
                    self.idempotency,
                    &json!(["attach", id.to_string(), self.expected_ov, changes]),
                )?;
                let own: Vec<Location> = file.locations().cloned().collect();
                let offered = Offered::put(file, put_at);
                let draft = Draft {
                    id: &id,
                    op: Op::Update,
                    expect: Expect {
                        state: Presence::Live,
                        ov: self.expected_ov,
                        attempt: None,
                    },
                    attribution: &self.attribution,
                    change: SystemChange::default(),
                    idempotency,
                    skip_unchanged: true,
                    offered: Some(&offered),
                    scope,
                };
                let set = |document: &mut Value| {
                    shared.patched(document, &changes)?;
                    stands_at(document, setting, &path)
                };
                let written = shared.write_changed(&draft, &set).await;
                let written = shared.or_remembered(&draft, written).await;
                let unnamed = match &written {
                    Ok(written) => written.unchanged,
                    Err(error) => !matches!(
                        error.kind(),
                        ErrorKind::Indeterminate { .. } | ErrorKind::Closed
                    ),
                };
                if unnamed {
                    // Nobody else ever names these: what is left is garbage.
                    shared.delete_bodies(own, &id).await;
                }
                written
            };
            let result = Box::pin(write).await;
            shared.tell(scope, "attach", &id, result).await
        })
    }
}

/// Refuses a file in a place that its setting does not lead to, because there
/// is no array where a position of one stands.
fn stands_at(document: &mut Value, setting: &Path, place: &Path) -> Result<(), Invalid> {
    let mut stands = false;
    each_value_at(document, setting, &mut |at, _| {
        stands |= at == *place;
        Ok(())
    })?;
    if stands {
        return Ok(());
    }
    let why = format!("there is no array where `{setting}` needs one");
    Err(Invalid::at(place.to_string(), why))
}

/// A file to be put.
struct Put<'a> {
    id: &'a RecordId,
    /// The version that is to name it.
    ov: u64,
    path: &'a Path,
    content_type: String,
    property: &'a Base64Property,
}

impl Shared {
    /// Puts a file as it comes, and as text if that is asked for and it is.
    /// Also gives when it was there.
    async fn put_content(&self, put: Put<'_>, content: Content) -> Result<(File, Instant), Error> {
        let database = &self.database;
        if database.payloads.home().is_none() {
            return Err(no_space());
        }
        database.refuse_sealed().await?;
        let attempt = Storage::new_attempt();
        let Put { id, ov, path, .. } = put;
        let key = blob_key(&database.prefix, &self.name, id, ov, attempt, path);
        // Kept as long as it may be text.
        let mut copy = put.property.preferred_text.then(BytesMut::new);
        let content = content.0.inspect_ok(|bytes| {
            let fits = |copy: &BytesMut| (copy.len() + bytes.len()) as u64 <= MAX_TEXT;
            copy = copy.take().filter(fits);
            if let Some(copy) = &mut copy {
                copy.extend_from_slice(bytes);
            }
        });
        let payloads = &database.payloads;
        let blob = payloads
            .put_stream(&key, BucketRole::Content, content.boxed())
            .await?;
        let put_at = Instant::now();
        let text = copy.and_then(|copy| text::rendition(&copy, &put.property.text_charset));
        let text = self.put_text(&key, text).await?;
        let file = File {
            path: path.clone(),
            sha256: blob.sha256,
            size: blob.size,
            content_type: put.content_type,
            location: blob.location,
            text,
        };
        Ok((file, put_at))
    }
}

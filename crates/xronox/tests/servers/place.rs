//! Where a store is.

use std::{net::SocketAddr, num::NonZeroU64, ops::Deref, sync::Arc, thread, time::Duration};

use object_store::ObjectStore;
use serde::{Deserialize, Serialize};
use xronox::{Components, Config, Error, Provider, Secret, SpaceConnection, Xronox};
use xronox_model::BucketRole;
use xronox_mongodb::{ConnectionOptions, MongoConnection, MongoDatabase, Transactions};
use xronox_services::env;
use xronox_store::{Space, SystemClock};

use crate::support::database;

/// The bucket that tests share.
pub(crate) const BUCKET: &str = "xronox-test-engine";
/// Bodies of up to this many bytes are in the catalog where there is a bucket.
const INLINE: u64 = 300;

/// A store that any process can open.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) uri: String,
    pub(crate) database: String,
    /// Where bodies are that are not small; without it all are in the catalog.
    pub(crate) bucket: Option<Bucket>,
    /// How long a call to the catalog may take, unless as long as usual.
    pub(crate) patience: Option<Duration>,
    /// Whether commits are transactions where the server has them.
    pub(crate) transactions: bool,
}

/// A bucket at an S3 store.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Bucket {
    endpoint: String,
    region: String,
    access_key: String,
    secret_key: String,
    pub(crate) name: String,
    pub(crate) request_timeout_ms: NonZeroU64,
    pub(crate) max_retries: u32,
}

impl Bucket {
    pub(crate) fn new(access: env::S3, name: &str) -> Self {
        Self {
            endpoint: access.endpoint,
            region: access.region,
            access_key: access.access_key,
            secret_key: access.secret_key,
            name: name.to_owned(),
            request_timeout_ms: NonZeroU64::new(30_000).unwrap(),
            max_retries: 5,
        }
    }

    /// The same bucket by way of another address.
    pub(crate) fn through(self, address: SocketAddr) -> Self {
        Self {
            endpoint: format!("http://{address}"),
            ..self
        }
    }

    /// The bucket itself, behind the back of whoever uses it.
    pub(crate) fn store(&self) -> Arc<dyn ObjectStore> {
        let space = Space::connect("main", &self.connection()).unwrap();
        Arc::clone(space.bucket(BucketRole::Records).unwrap())
    }

    fn connection(&self) -> SpaceConnection {
        SpaceConnection {
            provider: Some(Provider::S3),
            region: Some(self.region.clone()),
            access_key: Some(self.access_key.clone()),
            secret_key: Some(Secret::new(&self.secret_key)),
            force_path_style: true,
            bucket: Some(self.name.clone()),
            request_timeout_ms: self.request_timeout_ms,
            max_retries: self.max_retries,
            ..SpaceConnection::new(&self.endpoint)
        }
    }
}

impl Place {
    /// A database of this server, with all bodies in it.
    pub(crate) fn new(uri: impl Into<String>, database: &str) -> Self {
        Self {
            uri: uri.into(),
            database: database.to_owned(),
            bucket: None,
            patience: None,
            transactions: true,
        }
    }

    pub(crate) fn with_bodies(self, bucket: Bucket) -> Self {
        Self {
            bucket: Some(bucket),
            ..self
        }
    }

    /// Opens the store, making what is not there but buckets.
    pub(crate) async fn open(&self) -> Result<Xronox, Error> {
        let mut config = Config::at(&self.uri)?.database(&self.database);
        // What is read has to come from where it is kept.
        config.settings.payloads.cache_bytes = 0;
        if let Some(bucket) = &self.bucket {
            config.settings.payloads.inline_max_bytes = Some(INLINE);
            config = config.with_payloads(bucket.connection());
        }
        config.settings.transactions.enabled = self.transactions;
        let Some(request_timeout) = self.patience else {
            return Xronox::open(config).await;
        };
        assert!(
            self.bucket.is_none(),
            "bodies have time limits of their own"
        );
        let options = ConnectionOptions {
            request_timeout,
            transactions: Transactions {
                enabled: self.transactions,
                ..Transactions::default()
            },
            ..ConnectionOptions::default()
        };
        let connection = MongoConnection::open(&self.uri, options).await?;
        let database = MongoDatabase::open(&connection, &self.database).await?;
        let documents = Arc::new(database.documents(Arc::new(SystemClock)));
        let catalog = Arc::new(database.catalog().await?);
        let parts = Components::new(catalog, documents, None);
        Xronox::assemble(parts, config.settings)
    }
}

/// A database of a test's own on servers that others use too, removed when the
/// test is over.
pub(crate) struct Shared(Place);

impl Shared {
    /// On the replica set and on the standalone, with bodies at the S3 store.
    pub(crate) async fn all() -> [Self; 2] {
        let bucket = Bucket::new(env::s3().unwrap(), BUCKET);
        let space = Space::connect("main", &bucket.connection()).unwrap();
        space.create_buckets().await.unwrap();
        let uris = [env::mongo_uri(), env::mongo_standalone_uri()];
        uris.map(|uri| Self(Place::new(uri.unwrap(), &database()).with_bodies(bucket.clone())))
    }
}

impl Deref for Shared {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.0
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let place = self.0.clone();
        // The test's own runtime may be gone or busy.
        let dropped = thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let connection = MongoConnection::open(&place.uri, ConnectionOptions::default());
                let connection = connection.await.unwrap();
                let database = MongoDatabase::open(&connection, &place.database);
                database.await.unwrap().drop_database().await.unwrap();
            });
        });
        let dropped = dropped.join().is_ok();
        assert!(dropped || thread::panicking(), "a database is left behind");
    }
}

//! Stores for tests: the same story on every backend.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test crate uses what it needs"
)]

use std::path::{Path, PathBuf};

use rand::Rng;
use tempfile::TempDir;
use xronox::{Config, Database, Provider, Secret, Settings, SpaceConnection, Xronox};
use xronox_services::env;

/// A store, and what has to be removed with it.
pub struct Store {
    pub xronox: Xronox,
    pub folder: Option<TempDir>,
    /// Every call is a round trip: what is done many times is done less often.
    pub on_servers: bool,
    /// Whether several records can be committed together.
    pub transactions: bool,
}

impl Store {
    pub fn home(&self) -> &Database {
        self.xronox.home().unwrap()
    }
}

/// An empty store on each backend, with these settings: in memory, in a folder,
/// on a replica set with bodies on S3, and on a standalone server with bodies
/// over a kilobyte on Azure.
pub async fn stores(settings: Settings) -> Vec<Store> {
    let mut stores = local_stores(settings.clone()).await;
    let on_servers = [
        (env::mongo_uri(), bucket(), true),
        (env::mongo_standalone_uri(), container(), false),
    ];
    for (uri, space, transactions) in on_servers {
        let config = Config::at(&uri.unwrap()).unwrap().database(database());
        let mut config = config.with_payloads(space).create_buckets();
        config.settings = settings.clone();
        if !transactions {
            // Azurite looks through all its objects for each request.
            let inline = &mut config.settings.payloads.inline_max_bytes;
            inline.get_or_insert(1024);
        }
        stores.push(Store {
            xronox: Xronox::open(config).await.unwrap(),
            folder: None,
            on_servers: true,
            transactions,
        });
    }
    stores
}

/// An empty store on each backend that needs no server.
pub async fn local_stores(settings: Settings) -> Vec<Store> {
    let folder = TempDir::new().unwrap();
    let mut memory = Config::memory();
    memory.settings = settings.clone();
    let mut files = Config::dev(folder.path());
    files.settings = settings;
    vec![
        Store {
            xronox: Xronox::open(memory).await.unwrap(),
            folder: None,
            on_servers: false,
            transactions: true,
        },
        Store {
            xronox: Xronox::open(files).await.unwrap(),
            folder: Some(folder),
            on_servers: false,
            transactions: true,
        },
    ]
}

/// A name that no other test has.
pub fn database() -> String {
    format!("xronox_test_{:016x}", rand::rng().random::<u64>())
}

/// The test bucket on S3, which stores make if it is not there.
pub fn bucket() -> SpaceConnection {
    let s3 = env::s3().unwrap();
    let mut space = SpaceConnection::new(s3.endpoint);
    space.region = Some(s3.region);
    space.access_key = Some(s3.access_key);
    space.secret_key = Some(Secret::new(s3.secret_key));
    space.force_path_style = true;
    space.bucket = Some("xronox-test-engine".to_owned());
    space
}

/// The test container on Azure, likewise.
pub fn container() -> SpaceConnection {
    let azure = env::azure().unwrap();
    let mut space = SpaceConnection::new(azure.endpoint);
    space.provider = Some(Provider::Azure);
    space.access_key = Some(azure.account);
    space.secret_key = Some(Secret::new(azure.key));
    space.force_path_style = true;
    space.bucket = Some("xronox-test-engine".to_owned());
    space
}

/// The file of the catalog of an embedded store.
pub fn catalog_file(folder: &Path) -> PathBuf {
    let found = std::fs::read_dir(folder.join("catalog")).unwrap();
    let mut files = found.map(|entry| entry.unwrap().path());
    files
        .find(|path| path.extension().is_some_and(|e| e == "sqlite"))
        .unwrap()
}

/// A small generator of numbers, the same for the same seed.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

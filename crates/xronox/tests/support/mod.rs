//! Stores for tests: the same story on every backend.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test crate uses what it needs"
)]

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use xronox::{Config, Settings, Xronox};

/// A store and the folder it lies in, if in one.
pub struct Store {
    pub xronox: Xronox,
    pub folder: Option<TempDir>,
}

/// An empty store on each backend, with these settings.
pub async fn stores(settings: Settings) -> Vec<Store> {
    let folder = TempDir::new().unwrap();
    let mut memory = Config::memory();
    memory.settings = settings.clone();
    let mut files = Config::dev(folder.path());
    files.settings = settings;
    vec![
        Store {
            xronox: Xronox::open(memory).await.unwrap(),
            folder: None,
        },
        Store {
            xronox: Xronox::open(files).await.unwrap(),
            folder: Some(folder),
        },
    ]
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

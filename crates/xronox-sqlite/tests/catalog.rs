//! The embedded catalog passes the suite of its contract.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use async_trait::async_trait;
use tempfile::TempDir;
use xronox_sqlite::SqliteCatalog;
use xronox_store::{
    Catalog,
    conformance::{ManualClock, catalog::Subject},
};

struct Sqlite {
    folder: TempDir,
    clock: ManualClock,
}

impl Sqlite {
    fn new() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
            clock: ManualClock::default(),
        }
    }
}

#[async_trait]
impl Subject for Sqlite {
    async fn open(&self) -> Arc<dyn Catalog> {
        let path = self.folder.path().join("catalog").join("test.sqlite");
        let opened = SqliteCatalog::open(path, "test", Arc::new(self.clock.clone())).await;
        Arc::new(opened.unwrap())
    }

    fn clock(&self) -> Option<ManualClock> {
        Some(self.clock.clone())
    }
}

xronox_store::catalog_suite!(Sqlite::new());

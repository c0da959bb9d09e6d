//! Plain collections in a file pass the suite.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::expect_used)]

use std::sync::Arc;

use async_trait::async_trait;
use tempfile::TempDir;
use xronox_sqlite::SqliteCatalog;
use xronox_store::{
    Documents,
    conformance::{ManualClock, documents::Subject},
};

struct Sqlite {
    folder: TempDir,
    clock: ManualClock,
}

impl Sqlite {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            clock: ManualClock::default(),
        }
    }
}

#[async_trait]
impl Subject for Sqlite {
    async fn open(&self) -> Arc<dyn Documents> {
        let path = self.folder.path().join("plain.db");
        let opened = SqliteCatalog::open(path, "plain", Arc::new(self.clock.clone())).await;
        Arc::new(opened.expect("a database").documents())
    }

    fn clock(&self) -> ManualClock {
        self.clock.clone()
    }
}

xronox_store::documents_suite!(Sqlite::new());

//! The catalog on a standalone server, which has no transactions, passes the
//! suite of its contract.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod server;

use std::sync::Arc;

use async_trait::async_trait;
use server::{Database, standalone};
use xronox_store::{Catalog, conformance::catalog::Subject};

#[async_trait]
impl Subject for Database {
    async fn open(&self) -> Arc<dyn Catalog> {
        let database = self.open_again().await;
        Arc::new(database.catalog().await.unwrap())
    }
}

xronox_store::catalog_suite!(Database::on(standalone()));

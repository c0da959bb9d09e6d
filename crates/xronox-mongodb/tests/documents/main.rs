//! Plain collections on a replica set and on a standalone server pass the
//! suite.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod commands;
mod faults;
mod processes;
#[path = "../server/mod.rs"]
mod server;
mod size;

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use server::Database;
use xronox_model::Filter;
use xronox_store::{
    DocIndex, DocUpdate, Documents, Update,
    conformance::{ManualClock, documents::Subject},
};

fn filter(json: &Value) -> Filter {
    Filter::parse(json).unwrap()
}

/// An ascending index of these fields.
fn index(fields: &[&str]) -> DocIndex {
    DocIndex::ascending(fields.iter().map(|field| field.parse().unwrap()))
}

fn update(matching: &Value, change: &Value) -> DocUpdate {
    DocUpdate::of(filter(matching), Update::parse(change).unwrap())
}

struct Plain {
    database: Database,
    clock: ManualClock,
}

impl Plain {
    fn on(uri: String) -> Self {
        Self {
            database: Database::on(uri),
            clock: ManualClock::default(),
        }
    }
}

#[async_trait]
impl Subject for Plain {
    async fn open(&self) -> Arc<dyn Documents> {
        let database = self.database.open_again().await;
        Arc::new(database.documents(Arc::new(self.clock.clone())))
    }

    fn clock(&self) -> ManualClock {
        self.clock.clone()
    }
}

mod replica_set {
    use super::Plain;

    xronox_store::documents_suite!(Plain::on(super::server::replica_set()));
}

mod standalone {
    use super::Plain;

    xronox_store::documents_suite!(Plain::on(super::server::standalone()));
}

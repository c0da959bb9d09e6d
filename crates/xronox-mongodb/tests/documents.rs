//! Plain collections on a replica set and on a standalone server pass the
//! suite.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod server;

use std::sync::Arc;

use async_trait::async_trait;
use server::Database;
use xronox_store::{
    Documents,
    conformance::{ManualClock, documents::Subject},
};

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

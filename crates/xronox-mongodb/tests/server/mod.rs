//! The servers that the tests run against, and databases of their own.
#![allow(dead_code, reason = "not every test needs all of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{env, process};

use rand::RngCore;
use xronox_mongodb::{ConnectionOptions, MongoConnection, MongoDatabase};

/// The URI in an environment variable.
pub(crate) fn uri(variable: &str) -> String {
    env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} must name a MongoDB server (see CONTRIBUTING.md on the test services)")
    })
}

pub(crate) fn replica_set() -> String {
    uri("XRONOX_TEST_MONGO_URI")
}

pub(crate) fn standalone() -> String {
    uri("XRONOX_TEST_MONGO_STANDALONE_URI")
}

/// A database of a test's own, removed when the test is over.
pub(crate) struct Database {
    pub(crate) uri: String,
    pub(crate) name: String,
}

impl Database {
    pub(crate) fn on_replica_set() -> Self {
        Self::on(replica_set())
    }

    pub(crate) fn on(uri: String) -> Self {
        let random = rand::rng().next_u64();
        Self {
            uri,
            name: format!("xronox_test_{}_{random:016x}", process::id()),
        }
    }

    /// Has connections from here on say that they come from this program.
    pub(crate) fn name_app(&mut self, app: &str) {
        let parted = if self.uri.contains('?') { '&' } else { '?' };
        self.uri = format!("{}{parted}appName={app}", self.uri);
    }

    pub(crate) async fn connect(&self, options: ConnectionOptions) -> MongoConnection {
        MongoConnection::open(&self.uri, options).await.unwrap()
    }

    pub(crate) async fn open_with(&self, options: ConnectionOptions) -> MongoDatabase {
        let connection = self.connect(options).await;
        MongoDatabase::open(&connection, &self.name).await.unwrap()
    }

    /// Opens it as another process would.
    pub(crate) async fn open_again(&self) -> MongoDatabase {
        self.open_with(ConnectionOptions::default()).await
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (uri, name) = (self.uri.clone(), self.name.clone());
        // The test's own runtime may be gone or busy.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let connection = MongoConnection::open(&uri, ConnectionOptions::default());
                let database = MongoDatabase::open(&connection.await.unwrap(), &name).await;
                database.unwrap().drop_database().await.unwrap();
            });
        });
        let dropped = dropped.join().is_ok();
        assert!(
            dropped || std::thread::panicking(),
            "a database is left behind"
        );
    }
}

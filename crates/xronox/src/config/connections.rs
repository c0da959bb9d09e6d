//! Where data is: catalogs, and the spaces of large bodies.

use std::path::PathBuf;
#[cfg(feature = "mongodb")]
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
#[cfg(feature = "mongodb")]
use xronox_mongodb::ConnectionOptions;
use xronox_store::{Secret, SpaceConnection};

use super::mask;

/// A deployment that keeps catalogs. Databases name it by its key in
/// [`Config::db_connections`](super::Config::db_connections).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DbConnection {
    /// `mongodb://…` or `mongodb+srv://…` (a database in its path is only the
    /// one that authenticates), `sqlite:FOLDER` with one file a database, or
    /// `memory:`. Shown without user, password and options.
    #[serde(alias = "uri", serialize_with = "mask::serialize_uri")]
    #[schemars(extend("x-alias" = "uri"))]
    pub mongo_uri: Secret,
    /// The pool of connections to MongoDB; what the URI says goes first.
    #[serde(default)]
    pub pool: Pool,
}

/// Limits of the connections to one deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Pool {
    /// Connections kept open. Default: 0.
    #[schemars(range(max = 10_000))]
    pub min: u32,
    /// Connections at most. Default: 100.
    #[schemars(range(min = 1, max = 10_000))]
    pub max: u32,
    /// How long to look for a server and to connect to it, in milliseconds.
    /// Default: 10,000.
    #[schemars(range(min = 1, max = 3_600_000))]
    pub connect_timeout_ms: u64,
    /// How long one call may take in all, in milliseconds. Default: 30,000.
    #[schemars(range(min = 1, max = 3_600_000))]
    pub request_timeout_ms: u64,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            min: 0,
            max: 100,
            connect_timeout_ms: 10_000,
            request_timeout_ms: 30_000,
        }
    }
}

/// What a URI of a catalog names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CatalogAddress<'a> {
    Memory,
    /// A folder with a file for each database.
    Sqlite(PathBuf),
    Mongo(&'a Secret),
}

impl DbConnection {
    /// A connection with the default pool.
    pub fn new(uri: impl Into<String>) -> Self {
        Self {
            mongo_uri: Secret::new(uri),
            pool: Pool::default(),
        }
    }

    /// How to use the deployment.
    #[cfg(feature = "mongodb")]
    pub(crate) fn options(&self, transactions: super::Transactions) -> ConnectionOptions {
        let Pool {
            min,
            max,
            connect_timeout_ms,
            request_timeout_ms,
        } = self.pool;
        ConnectionOptions {
            min_pool: min,
            max_pool: max,
            connect_timeout: Duration::from_millis(connect_timeout_ms),
            request_timeout: Duration::from_millis(request_timeout_ms),
            transactions: xronox_mongodb::Transactions {
                enabled: transactions.enabled,
                auto_detect: transactions.auto_detect,
            },
            ..ConnectionOptions::default()
        }
    }

    /// What the URI names; `None` if it is no URI of a catalog.
    pub(crate) fn address(&self) -> Option<CatalogAddress<'_>> {
        match self.mongo_uri.reveal().split_once(':')? {
            ("memory", "") => Some(CatalogAddress::Memory),
            ("sqlite", folder) if is_folder(folder) => Some(CatalogAddress::Sqlite(folder.into())),
            ("mongodb" | "mongodb+srv", rest) if rest.starts_with("//") => {
                Some(CatalogAddress::Mongo(&self.mongo_uri))
            }
            _ => None,
        }
    }
}

/// `//name` could be meant from the root or from here.
fn is_folder(folder: &str) -> bool {
    let ambiguous = folder.starts_with("//") && !folder.starts_with("///");
    !folder.is_empty() && !ambiguous && !folder.contains('\0')
}

/// Files in the place of every storage space, for development.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LocalStorage {
    /// Whether every database keeps its large bodies here instead of in the
    /// space it names. Default: no.
    pub enabled: bool,
    /// The folder; objects lie at `<basePath>/<bucket>/<key>`. Default:
    /// `./xronox-data`.
    #[schemars(length(min = 1))]
    pub base_path: String,
}

impl LocalStorage {
    /// The space that stands in for every other one.
    pub(crate) fn space(&self) -> SpaceConnection {
        SpaceConnection::new(format!("file:{}", self.base_path))
    }
}

impl Default for LocalStorage {
    fn default() -> Self {
        Self {
            enabled: false,
            base_path: "./xronox-data".to_owned(),
        }
    }
}

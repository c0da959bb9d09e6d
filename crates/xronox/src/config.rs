//! How a store is set up.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};
use xronox_model::Path;
#[cfg(feature = "mongodb")]
use xronox_store::Secret;
use xronox_store::SpaceConnection;

use crate::{Error, ErrorKind};

/// The database of a store without tenants.
const DATABASE: &str = "xronox_runtime_default";

/// Where the data is and how it is kept.
///
/// [`Config::dev`] and [`Config::memory`] need nothing else; every setting has
/// a default.
///
/// ```
/// use xronox::Config;
///
/// let mut config = Config::dev("./xronox-data");
/// config.settings.write_optimization.compression_enabled = true;
/// ```
#[derive(Debug, Clone)]
pub struct Config {
    pub(crate) catalog: CatalogAddress,
    pub(crate) bodies: Option<BodiesAddress>,
    pub(crate) create_buckets: bool,
    pub(crate) database: String,
    /// Everything but the place.
    pub settings: Settings,
}

/// Where large bodies are kept.
#[derive(Debug, Clone)]
pub(crate) enum BodiesAddress {
    /// Files below a folder, whose name need not be text.
    Files(PathBuf),
    Space(Box<SpaceConnection>),
}

/// Where versions are kept.
#[derive(Debug, Clone)]
pub(crate) enum CatalogAddress {
    Memory,
    /// A folder with a file for each database.
    Sqlite(PathBuf),
    /// A URI, which may hold a password.
    #[cfg(feature = "mongodb")]
    Mongo(Secret),
}

impl Config {
    /// A store in the folder at `path`, made if it is not there: the catalog
    /// under `path/catalog`, large bodies under `path/objects`.
    pub fn dev(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let objects = path.join("objects");
        Self {
            catalog: CatalogAddress::Sqlite(path.join("catalog")),
            bodies: Some(BodiesAddress::Files(objects)),
            create_buckets: false,
            database: DATABASE.to_owned(),
            settings: Settings::default(),
        }
    }

    /// A store in memory, gone with the process.
    pub fn memory() -> Self {
        Self {
            catalog: CatalogAddress::Memory,
            bodies: Some(BodiesAddress::Space(Box::new(SpaceConnection::new(
                "memory:",
            )))),
            create_buckets: false,
            database: DATABASE.to_owned(),
            settings: Settings::default(),
        }
    }

    /// A store whose catalog is at a URI: `mongodb://…` or `mongodb+srv://…`
    /// (what stands in the path is the database that authenticates),
    /// `sqlite:FOLDER` or `memory:`. All bodies are in the catalog unless
    /// [`with_payloads`](Self::with_payloads) names a place for large ones.
    ///
    /// ```
    /// use xronox::{Config, SpaceConnection};
    ///
    /// # fn config() -> Result<Config, Box<dyn std::error::Error>> {
    /// let bodies = SpaceConnection::from_url("s3://our-records/prod?region=eu-west-1")?;
    /// Ok(Config::at("mongodb://db1,db2,db3/?replicaSet=rs0")?.with_payloads(bodies))
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Config`](ErrorKind::Config) for any other URI.
    pub fn at(catalog: &str) -> Result<Self, Error> {
        let address = match catalog.split_once(':') {
            Some(("memory", "")) => CatalogAddress::Memory,
            Some(("sqlite", folder)) if !folder.is_empty() => CatalogAddress::Sqlite(folder.into()),
            #[cfg(feature = "mongodb")]
            Some(("mongodb" | "mongodb+srv", _)) => CatalogAddress::Mongo(Secret::new(catalog)),
            #[cfg(not(feature = "mongodb"))]
            Some(("mongodb" | "mongodb+srv", _)) => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "this build is without MongoDB (feature `mongodb`)",
                ));
            }
            // The rest may hold a password, wherever a typing error put it.
            _ => {
                return Err(Error::new(
                    ErrorKind::Config,
                    "a catalog is at mongodb://…, mongodb+srv://…, sqlite:FOLDER or memory:",
                ));
            }
        };
        Ok(Self {
            catalog: address,
            bodies: None,
            create_buckets: false,
            database: DATABASE.to_owned(),
            settings: Settings::default(),
        })
    }

    /// Opens the database of this name, so that several stores may share a
    /// server. Default: `xronox_runtime_default`.
    pub fn database(mut self, name: impl Into<String>) -> Self {
        self.database = name.into();
        self
    }

    /// Keeps large bodies in this space.
    pub fn with_payloads(mut self, space: SpaceConnection) -> Self {
        self.bodies = Some(BodiesAddress::Space(Box::new(space)));
        self
    }

    /// Makes buckets that are not there when the store is opened, where the
    /// provider allows. Default: a missing bucket is an error.
    pub fn create_buckets(mut self) -> Self {
        self.create_buckets = true;
        self
    }
}

/// The settings, spelled in JSON as in the configuration file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Settings {
    /// Settings by collection.
    pub collection_maps: BTreeMap<String, CollectionMap>,
    /// What queries may do.
    pub queries: Queries,
    /// How bodies are kept.
    pub payloads: PayloadSettings,
    /// How writes are done.
    pub write_optimization: WriteOptimization,
    /// Whether superseded versions are kept.
    pub versioning: Switch,
    /// Whether a delete keeps the record's history.
    pub logical_delete: Switch,
    /// Whether handles may remove records for good. Off by default; implied
    /// where `logicalDelete` is off.
    pub hard_delete_enabled: bool,
    /// How long idempotency keys are remembered.
    pub idempotency: Idempotency,
}

/// Something that is on unless it is switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    /// Whether it is on.
    pub enabled: bool,
}

impl Default for Switch {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// The settings of one collection.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CollectionMap {
    /// The indexed properties, as dotted paths. Empty: any property is
    /// indexed when it is first filtered or sorted by, at most 32.
    pub indexed_props: Vec<Path>,
    /// Further indexes; their fields are indexed one by one, and a unique one
    /// binds live records that have all of its fields.
    pub indexes: Vec<IndexSetting>,
    /// Overrides [`Settings::versioning`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub versioning: Option<bool>,
    /// Overrides [`Settings::logical_delete`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logical_delete: Option<bool>,
    /// Overrides [`PayloadSettings::inline_max_bytes`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inline_max_bytes: Option<u64>,
}

/// One index of a collection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndexSetting {
    /// The fields, each with 1 or -1 (which of the two does not matter: every
    /// index is read both ways).
    pub fields: BTreeMap<Path, i8>,
    /// Whether no two live records may agree in all fields.
    #[serde(default)]
    pub unique: bool,
}

/// What a filter or sort on a property without an index does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unindexed {
    /// Look at every record, up to [`Queries::max_scanned`].
    #[default]
    Scan,
    /// Refuse.
    Error,
}

/// What queries may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Queries {
    /// Whether filters and sorts without an index are allowed. Default: `scan`.
    pub unindexed: Unindexed,
    /// How many records such a query may look at. Default: 100,000.
    pub max_scanned: u64,
    /// The size of a page where none is asked for. Default: 50.
    pub default_limit: usize,
    /// The largest page. Default: 1,000.
    pub max_limit: usize,
}

impl Default for Queries {
    fn default() -> Self {
        Self {
            unindexed: Unindexed::Scan,
            max_scanned: 100_000,
            default_limit: 50,
            max_limit: 1000,
        }
    }
}

/// How bodies are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PayloadSettings {
    /// Bodies of up to this many bytes (as stored) are kept in the catalog,
    /// larger ones as objects; 0: all as objects. Default: 65,536, and 0 where
    /// objects are at a provider (S3, Azure, GCS).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inline_max_bytes: Option<u64>,
    /// The largest document, in bytes of its canonical form. Default: 16 MiB.
    pub max_bytes: u64,
    /// Bytes of bodies kept in memory for readers. Default: 64 MiB.
    pub cache_bytes: u64,
    /// Days that a body which no version names is kept at least. Default: 7.
    pub gc_grace_days: u32,
    /// Bytes of prepared writes that may wait in memory, for their body to be
    /// put and then for their commit; callers wait for room. Default: 64 MiB.
    pub queue_bytes: u64,
}

impl Default for PayloadSettings {
    fn default() -> Self {
        Self {
            inline_max_bytes: None,
            max_bytes: 16 * 1024 * 1024,
            cache_bytes: 64 * 1024 * 1024,
            gc_grace_days: 7,
            queue_bytes: 64 * 1024 * 1024,
        }
    }
}

/// How writes are done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WriteOptimization {
    /// Versions in one commit. Default: 1,000.
    pub batch_size: usize,
    /// Whether bodies are compressed (zstd). Default: no. Each version records
    /// it, so it may be switched at any time.
    pub compression_enabled: bool,
    /// Smaller bodies are not compressed. Default: 512 bytes.
    pub compression_min_bytes: u64,
}

impl Default for WriteOptimization {
    fn default() -> Self {
        Self {
            batch_size: 1000,
            compression_enabled: false,
            compression_min_bytes: 512,
        }
    }
}

/// How long idempotency keys are remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Idempotency {
    /// Hours from the commit. Default: 24.
    pub keep_hours: u32,
}

impl Default for Idempotency {
    fn default() -> Self {
        Self { keep_hours: 24 }
    }
}

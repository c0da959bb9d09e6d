//! How data is kept, wherever it is.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xronox_model::Invalid;

use super::{
    Analytics, Audit, CollectionMap, CounterRule, CounterRules, DevShadow, Encryption, Fallback,
    Retention, Rollup, Signing, Worker,
};

/// The settings, spelled in JSON as in the configuration file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Settings {
    /// Settings by collection.
    #[schemars(extend("propertyNames" = { "format": "collection" }))]
    pub collection_maps: BTreeMap<String, CollectionMap>,
    /// What queries may do.
    pub queries: Queries,
    /// How bodies are kept.
    pub payloads: PayloadSettings,
    /// How writes are done.
    pub write_optimization: WriteOptimization,
    /// Whether superseded versions are kept. Switched off, each version takes
    /// the place of the one before it, and one mark for each record says where
    /// versions are missing; history from before stays as it is.
    pub versioning: Switch,
    /// Whether a delete keeps the record's history.
    pub logical_delete: Switch,
    /// Whether handles may remove records for good. Off by default; implied
    /// where `logicalDelete` is off.
    pub hard_delete_enabled: bool,
    /// How commits are made on MongoDB.
    pub transactions: Transactions,
    /// How long idempotency keys are remembered.
    pub idempotency: Idempotency,
    /// Rules that count writes; together with those of
    /// [`Analytics::counter_rules`].
    pub counter_rules: CounterRules,
    /// What is counted and evaluated.
    pub analytics: Analytics,
    /// How long versions and counters are kept.
    #[serde(skip_serializing_if = "is_default")]
    pub retention: Retention,
    /// Bodies packed by period.
    pub rollup: Rollup,
    /// Newest bodies kept in the catalog too, for a while.
    pub dev_shadow: DevShadow,
    /// What happens to writes while storage is out of reach.
    pub fallback: Fallback,
    /// How stored bodies are encrypted.
    #[serde(skip_serializing_if = "is_default")]
    pub encryption: Encryption,
    /// How versions are signed.
    #[serde(skip_serializing_if = "is_default")]
    pub signing: Signing,
    /// What is recorded of who did what.
    pub audit: Audit,
    /// Who does what is done on a schedule.
    pub worker: Worker,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Settings {
    /// The counter rules of both places.
    pub fn all_counter_rules(&self) -> impl Iterator<Item = &CounterRule> {
        let here = self.counter_rules.rules.iter();
        here.chain(&self.analytics.counter_rules)
    }
}

/// Something that is on unless it is switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Switch {
    /// Whether it is on. Default: yes.
    pub enabled: bool,
}

impl Default for Switch {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// What a filter or sort on a property without an index does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Unindexed {
    /// Look at every record, up to [`Queries::max_scanned`].
    #[default]
    Scan,
    /// Refuse.
    Error,
}

/// What queries may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Queries {
    /// Whether filters and sorts without an index are allowed. Default: `scan`.
    pub unindexed: Unindexed,
    /// How many records such a query may look at. Default: 100,000.
    pub max_scanned: u64,
    /// The size of a page where none is asked for. Default: 50.
    #[schemars(range(min = 1))]
    pub default_limit: usize,
    /// The largest page. Default: 1,000.
    #[schemars(range(min = 1))]
    pub max_limit: usize,
}

impl Queries {
    /// The size of a page of which this is asked.
    pub(crate) fn page(&self, asked: Option<usize>) -> Result<usize, Invalid> {
        match asked.unwrap_or(self.default_limit.min(self.max_limit)) {
            0 => Err(Invalid::at("limit", "at least 1")),
            limit if limit > self.max_limit => {
                let why = format!("at most {} (`queries.maxLimit`)", self.max_limit);
                Err(Invalid::at("limit", why))
            }
            limit => Ok(limit),
        }
    }
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PayloadSettings {
    /// Bodies of up to this many bytes (as stored) are kept in the catalog,
    /// larger ones as objects; 0: all as objects. Default: 65,536, and 0 where
    /// objects are at a provider (S3, Azure, GCS).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inline_max_bytes: Option<u64>,
    /// The largest document, in bytes of its canonical form. Default: 16 MiB.
    #[schemars(range(min = 1))]
    pub max_bytes: u64,
    /// Bytes of bodies kept in memory for readers. Default: 64 MiB.
    pub cache_bytes: u64,
    /// Days that a body which no version names is kept at least. Default: 7.
    pub gc_grace_days: u32,
    /// Bytes of prepared writes to one database connection that may wait in
    /// memory, for their body to be put and then for their commit; callers
    /// wait for room. Default: 64 MiB.
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WriteOptimization {
    /// Versions in one commit, and bodies in one pack. Default: 1,000.
    #[schemars(range(min = 1))]
    pub batch_size: usize,
    /// The longest pause between two folds of the analytics, in milliseconds.
    /// Default: 100.
    pub debounce_ms: u64,
    /// Whether bodies are compressed (zstd). Default: no. Each version records
    /// it, so it may be switched at any time.
    pub compression_enabled: bool,
    /// Smaller bodies are not compressed. Default: 512 bytes.
    pub compression_min_bytes: u64,
    /// When bodies are put into their space. Default: `through`.
    pub payloads: PayloadWrites,
}

/// When bodies are put into their space.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PayloadWrites {
    /// Before the write is acknowledged.
    #[default]
    Through,
    /// After it; until then they are in the catalog.
    Behind,
}

impl Default for WriteOptimization {
    fn default() -> Self {
        Self {
            batch_size: 1000,
            debounce_ms: 100,
            compression_enabled: false,
            compression_min_bytes: 512,
            payloads: PayloadWrites::Through,
        }
    }
}

/// How long idempotency keys are remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

/// How commits are made on MongoDB.
///
/// | `enabled` | `autoDetect` | a server with transactions | one without |
/// |---|---|---|---|
/// | yes | yes | transactions | log-first |
/// | yes | no | transactions | refused |
/// | no | | log-first | log-first |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Transactions {
    /// Use transactions. Default: yes.
    pub enabled: bool,
    /// Do without them where the server has none. Default: yes.
    pub auto_detect: bool,
}

impl Default for Transactions {
    fn default() -> Self {
        Self {
            enabled: true,
            auto_detect: true,
        }
    }
}

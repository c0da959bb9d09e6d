//! How long things are kept.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How long versions and counters are kept. Without a limit: for ever.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Retention {
    /// Of superseded versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ver: Option<VersionRetention>,
    /// Of time buckets of counters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counters: Option<CounterRetention>,
}

/// How long superseded versions are kept. The newest one always is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct VersionRetention {
    /// Days after which they go.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
    /// Versions of a record that are kept at most.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_per_item: Option<u32>,
    /// How older ones are thinned out, the youngest rule first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub thin: Vec<Thinning>,
    /// Whether tagged versions stay whatever the limits say. Default: yes.
    pub keep_tagged: bool,
    /// Days that who, when and why of a removed version stay. Default: as long
    /// as the record.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trail_days: Option<u32>,
}

impl Default for VersionRetention {
    fn default() -> Self {
        Self {
            days: None,
            max_per_item: None,
            thin: Vec::new(),
            keep_tagged: true,
            trail_days: None,
        }
    }
}

/// Keeps one version of each period of versions that are old enough.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Thinning {
    /// Days since a version was superseded.
    #[schemars(range(min = 1))]
    pub older_than_days: u32,
    /// The period of which the last version is kept.
    pub keep: KeepOne,
}

/// A period of which one version is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeepOne {
    /// One an hour.
    Hourly,
    /// One a day.
    Daily,
    /// One a month.
    Monthly,
}

/// How long time buckets of counters are kept, each counted in itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CounterRetention {
    /// Hourly ones, in hours.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hours: Option<u32>,
    /// Daily ones, in days.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
    /// Weekly ones, in weeks.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weeks: Option<u32>,
    /// Monthly ones, in months.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub months: Option<u32>,
}

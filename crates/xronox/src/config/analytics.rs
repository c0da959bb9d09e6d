//! Rules by which writes are counted and evaluated.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use xronox_model::Path;

use super::format;

/// Counter rules outside of [`Analytics`]; both places are one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CounterRules {
    /// The rules.
    pub rules: Vec<CounterRule>,
}

/// What is counted and evaluated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Analytics {
    /// Rules that count writes.
    pub counter_rules: Vec<CounterRule>,
    /// Rules that evaluate records on a schedule.
    pub time_based_rules: Vec<TimeBasedRule>,
    /// Rules that evaluate many tenants on a schedule.
    pub cross_tenant_rules: Vec<CrossTenantRule>,
    /// The tenants that cross-tenant rules look at when they name none.
    pub tenants: Vec<String>,
    /// The IANA time zone in which hours, days, weeks and months begin.
    /// Default: `UTC`.
    #[schemars(with = "format::TimeZone")]
    pub time_zone: String,
    /// Different values that are counted exactly; more are estimated. Default:
    /// 100,000.
    #[schemars(range(min = 1))]
    pub unique_exact_max: u64,
    /// Days that results of rules are kept. Default: 30.
    #[schemars(range(min = 1))]
    pub results_retention_days: u32,
}

impl Default for Analytics {
    fn default() -> Self {
        Self {
            counter_rules: Vec::new(),
            time_based_rules: Vec::new(),
            cross_tenant_rules: Vec::new(),
            tenants: Vec::new(),
            time_zone: "UTC".to_owned(),
            unique_exact_max: 100_000,
            results_retention_days: 30,
        }
    }
}

/// Counts the writes that match.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CounterRule {
    /// The name under which it is read, unique among the counter rules.
    #[schemars(length(min = 1))]
    pub name: String,
    /// The writes that count: ENRICH and RESTORE are UPDATE. Default: all.
    #[serde(default = "every_write")]
    pub on: Vec<CountedWrite>,
    /// Where `when`, `countUnique` and `by` look. Default: `meta`.
    #[serde(default)]
    pub scope: Scope,
    /// The filter that a record matches to be counted; `{}` matches all.
    #[schemars(with = "format::Filter")]
    pub when: Value,
    /// Paths of which different values are counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<format::DottedPath>")]
    pub count_unique: Vec<Path>,
    /// Paths by whose values counts are grouped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<format::DottedPath>")]
    pub by: Vec<Path>,
    /// Groups that are kept, the largest. Default: 100.
    #[serde(default = "top_n")]
    #[schemars(range(min = 1, max = 10_000))]
    pub top_n: u32,
}

fn every_write() -> Vec<CountedWrite> {
    use CountedWrite::{Create, Delete, Update};
    vec![Create, Update, Delete]
}

fn top_n() -> u32 {
    100
}

/// A kind of write, as rules tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum CountedWrite {
    /// A record was made.
    Create,
    /// A record was changed, enriched or restored.
    Update,
    /// A record was deleted.
    Delete,
}

/// Where a counter rule looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// The indexed properties.
    #[default]
    Meta,
    /// The whole document.
    Payload,
}

/// Evaluates the records of a collection on a schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TimeBasedRule {
    /// The name under which results are read, unique among these rules.
    #[schemars(length(min = 1))]
    pub name: String,
    /// The collection.
    #[schemars(with = "format::Collection")]
    pub collection: String,
    /// The records that count. Default: all.
    #[serde(default = "everything")]
    #[schemars(with = "format::Filter")]
    pub query: Value,
    /// What is made of them.
    pub operation: Operation,
    /// The property that all but `count` work on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<format::DottedPath>")]
    pub field: Option<Path>,
    /// The percentile to take, above 0 and below 100, for `percentile`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub percentile: Option<f64>,
    /// Which records, and whether results are kept by period. Default:
    /// `global`.
    #[serde(default)]
    pub save_mode: SaveMode,
    /// The period, for `timeframe`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeframe: Option<Timeframe>,
    /// Only records this old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relative_time: Option<RelativeTime>,
    /// Paths by whose values results are grouped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<format::DottedPath>")]
    pub arguments: Vec<Path>,
    /// The property that says when a record happened. Default:
    /// `_system.insertedAt`.
    #[serde(default = "inserted_at")]
    #[schemars(with = "format::DottedPath")]
    pub date_field: Path,
    /// When it runs, as a cron expression of five fields. Without it: once a
    /// period, and daily where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<format::Cron>")]
    pub schedule: Option<String>,
    /// Whether to call [`Worker::alert_hook`](super::Worker::alert_hook) when
    /// it fails for good. Default: no.
    #[serde(default)]
    pub critical: bool,
}

fn everything() -> Value {
    Value::Object(serde_json::Map::new())
}

#[expect(clippy::expect_used, reason = "the path stands in the next line")]
fn inserted_at() -> Path {
    Path::from_segments(["_system", "insertedAt"]).expect("two plain segments")
}

/// What a rule makes of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// How many.
    Count,
    /// The sum of a property.
    Sum,
    /// The mean of a property.
    Average,
    /// The smallest.
    Min,
    /// The largest.
    Max,
    /// The one in the middle.
    Median,
    /// The one that so many percent do not exceed.
    Percentile,
}

/// Which records a rule looks at, and how its results are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SaveMode {
    /// All records; one result, replaced by the next.
    #[default]
    Global,
    /// The records of a period; one result a period.
    Timeframe,
}

/// A period of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Timeframe {
    /// An hour.
    Hourly,
    /// A day.
    Daily,
    /// A week.
    Weekly,
    /// A month.
    Monthly,
}

/// Ages of records, as ISO 8601 durations such as `PT1H` and `P1D`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RelativeTime {
    /// At most so old.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<format::Duration>")]
    pub newer_than: Option<String>,
    /// At least so old.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<format::Duration>")]
    pub older_than: Option<String>,
}

/// Evaluates records of many tenants into one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CrossTenantRule {
    /// The name under which results are read, unique among these rules.
    #[schemars(length(min = 1))]
    pub name: String,
    /// The collection, in each tenant's runtime database.
    #[schemars(with = "format::Collection")]
    pub collection: String,
    /// The records that count. Default: all.
    #[serde(default = "everything")]
    #[schemars(with = "format::Filter")]
    pub query: Value,
    /// What is made of the tenants.
    pub mode: CrossTenantMode,
    /// The property that all but `boolean` work on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<format::DottedPath>")]
    pub field: Option<Path>,
    /// The tenant that gets the results.
    #[schemars(length(min = 1))]
    pub master_tenant_id: String,
    /// The tenants to look at. Default: [`Analytics::tenants`], and all where
    /// that is empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slave_tenant_ids: Vec<String>,
    /// Only records this old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relative_time: Option<RelativeTime>,
    /// When it runs, as a cron expression of five fields. Default: daily.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<format::Cron>")]
    pub schedule: Option<String>,
    /// Whether to call [`Worker::alert_hook`](super::Worker::alert_hook) when
    /// it fails for good. Default: no.
    #[serde(default)]
    pub critical: bool,
}

/// What a cross-tenant rule makes of tenants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CrossTenantMode {
    /// How many tenants have a record that matches.
    Boolean,
    /// The sum of a property.
    Sum,
    /// The largest.
    Max,
    /// The smallest.
    Min,
    /// The one in the middle.
    Median,
}

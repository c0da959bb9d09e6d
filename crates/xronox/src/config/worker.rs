//! What is done on a schedule.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xronox_store::Secret;

/// Who does what is done on a schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Worker {
    /// Whether this process does it; others may. Default: yes.
    pub enabled: bool,
    /// Jobs at a time. Default: 2.
    #[schemars(range(min = 1, max = 1000))]
    pub concurrency: u32,
    /// The URL that is called when something critical fails for good. It may
    /// hold a token, so it never shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alert_hook: Option<Secret>,
    /// What happens to runs that nobody was there to do. Default: `catchUp`.
    pub missed_runs: MissedRuns,
    /// How often a run that failed is repeated. Default: 3.
    pub max_retries: u32,
}

impl Default for Worker {
    fn default() -> Self {
        Self {
            enabled: true,
            concurrency: 2,
            alert_hook: None,
            missed_runs: MissedRuns::CatchUp,
            max_retries: 3,
        }
    }
}

/// What happens to runs that nobody was there to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum MissedRuns {
    /// They are done late.
    #[default]
    CatchUp,
    /// They are left out.
    Skip,
}

/// Bodies packed by period.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Rollup {
    /// Whether they are. Default: no.
    pub enabled: bool,
    /// The period of a manifest. Default: `monthly`.
    pub manifest_period: ManifestPeriod,
}

/// The period of a manifest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ManifestPeriod {
    /// A day.
    Daily,
    /// A week.
    Weekly,
    /// A month.
    #[default]
    Monthly,
}

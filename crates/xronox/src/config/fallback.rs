//! What keeps data near while storage is slow or out of reach.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What happens to writes while storage is out of reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Fallback {
    /// Whether they are queued. Default: no; they fail.
    pub enabled: bool,
    /// How often one is tried again before it is a dead letter. Default: 10.
    #[serde(alias = "maxAttempts")]
    #[schemars(extend("x-alias" = "maxAttempts"))]
    pub max_retries: u32,
    /// The pause before it is tried again, in milliseconds; it doubles.
    /// Default: 1,000.
    #[serde(alias = "baseDelayMs")]
    #[schemars(range(min = 1), extend("x-alias" = "baseDelayMs"))]
    pub retry_delay_ms: u64,
    /// The longest pause, in milliseconds. Default: 60,000.
    #[schemars(range(min = 1))]
    pub max_delay_ms: u64,
    /// The collection of dead letters. Default: `chronos_fallback_dead`.
    #[schemars(length(min = 1, max = 100))]
    pub dead_letter_collection: String,
    /// The folder in which operations wait while the catalog is out of reach.
    /// Without it they fail then.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub local_queue: Option<String>,
}

impl Default for Fallback {
    fn default() -> Self {
        Self {
            enabled: false,
            max_retries: 10,
            retry_delay_ms: 1000,
            max_delay_ms: 60_000,
            dead_letter_collection: "chronos_fallback_dead".to_owned(),
            local_queue: None,
        }
    }
}

/// Newest bodies kept in the catalog too, so that reading them costs no
/// request of the space.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DevShadow {
    /// Whether they are. Default: no.
    pub enabled: bool,
    /// Hours that a body is kept there. Default: 24.
    #[schemars(range(min = 1))]
    pub ttl_hours: u32,
    /// Larger bodies are not, in bytes. Default: 1,048,576 (1 MiB).
    pub max_bytes_per_doc: u64,
}

impl Default for DevShadow {
    fn default() -> Self {
        Self {
            enabled: false,
            ttl_hours: 24,
            max_bytes_per_doc: 1_048_576,
        }
    }
}

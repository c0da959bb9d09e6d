//! How messages are kept.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xronox_model::Path;
use xronox_store::Secret;

use super::{format, mask};

/// How messages are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MessagingSettings {
    /// Whether every attempt at a delivery is recorded. Default: no.
    pub capture_deliveries: bool,
    /// The largest message, in bytes. Default: 262,144 (256 KiB).
    #[schemars(range(min = 1))]
    pub max_message_bytes: u64,
    /// How long things are kept.
    pub retention: MessagingRetention,
    /// Messages larger than this many bytes have their payload in the bucket;
    /// 0: none has. Default: 0.
    pub offload_bytes: u64,
    /// Paths in payloads that are stored as `***`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<format::DottedPath>")]
    pub mask: Vec<Path>,
    /// The Redis server in front, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis: Option<Redis>,
}

impl Default for MessagingSettings {
    fn default() -> Self {
        Self {
            capture_deliveries: false,
            max_message_bytes: 262_144,
            retention: MessagingRetention::default(),
            offload_bytes: 0,
            mask: Vec::new(),
            redis: None,
        }
    }
}

/// How long messages and what belongs to them are kept; 0 days: for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MessagingRetention {
    /// Days of messages. Default: 0.
    pub messages_days: u32,
    /// Days of attempts at deliveries. Default: 7.
    pub deliveries_days: u32,
    /// Days of dead letters. Default: 30.
    pub dead_letters_days: u32,
    /// Versions of a key that is appended to. Default: 100.
    #[schemars(range(min = 1))]
    pub max_versions: u32,
}

impl Default for MessagingRetention {
    fn default() -> Self {
        Self {
            messages_days: 0,
            deliveries_days: 7,
            dead_letters_days: 30,
            max_versions: 100,
        }
    }
}

/// A Redis server in front of the messages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Redis {
    /// `redis://…` or `rediss://…`. Shown without user and password.
    #[serde(serialize_with = "mask::serialize_uri")]
    pub uri: Secret,
    /// Attempts before a message is a dead letter. Default: 5.
    #[serde(default = "max_deliveries")]
    #[schemars(range(min = 1))]
    pub max_deliveries: u32,
    /// The pause before the second attempt, in milliseconds; it doubles.
    /// Default: 1,000.
    #[serde(default = "backoff_ms")]
    #[schemars(range(min = 1))]
    pub backoff_ms: u64,
}

fn max_deliveries() -> u32 {
    5
}

fn backoff_ms() -> u64 {
    1000
}

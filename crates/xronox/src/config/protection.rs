//! Encryption, signatures and the audit trail.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xronox_store::Secret;

use super::mask;

/// How stored bodies are encrypted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Encryption {
    /// The key that keys are sealed with: `file:PATH`, or the key itself, which
    /// a file takes from a variable (`ENV.NAME`). Without it nothing is
    /// encrypted.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "mask::serialize_key"
    )]
    #[schemars(extend("x-key-source" = true))]
    pub master_key: Option<Secret>,
    /// Whether bodies are encrypted whole, beside what is personal. Default:
    /// no.
    pub whole_body: bool,
}

/// How versions are signed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Signing {
    /// The key: `file:PATH`, or the key itself, which a file takes from a
    /// variable (`ENV.NAME`). Without it nothing is signed.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "mask::serialize_key"
    )]
    #[schemars(extend("x-key-source" = true))]
    pub key: Option<Secret>,
}

/// What is recorded of who did what: operations, refusals and administration,
/// into the logs database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Audit {
    /// Whether it is. Default: no.
    pub enabled: bool,
    /// Reads too. Default: no.
    pub reads: bool,
}

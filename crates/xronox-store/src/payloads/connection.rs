//! How a space is described: where its objects are and how to get there.

mod resolve;
mod url;

use std::{borrow::Cow, fmt, num::NonZeroU64, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use xronox_model::BucketRole;

use super::gate::GateLimits;
use crate::StoreError;

#[cfg(feature = "cloud")]
pub(super) use resolve::{Keys, in_header};
pub(super) use resolve::{Place, Plan, Target};

/// A storage connection, as a configuration describes one.
///
/// | `endpoint` | provider |
/// |---|---|
/// | `https://s3.eu-west-1.amazonaws.com`, `https://fra1.digitaloceanspaces.com`, `https://<account>.r2.cloudflarestorage.com`, any other `http://` or `https://` address | [`S3`](Provider::S3) |
/// | `https://<account>.blob.core.windows.net` (and its sovereign clouds) | [`Azure`](Provider::Azure) |
/// | `gs://`, `gs://<bucket>`, `https://storage.googleapis.com` | [`Gcs`](Provider::Gcs) |
/// | `file:PATH` | [`File`](Provider::File) |
/// | `memory:` | [`Memory`](Provider::Memory) |
///
/// An emulator or a private endpoint of Azure or GCS looks like S3, so it
/// needs [`provider`](Self::provider). Requests go unencrypted only to an
/// endpoint that is spelled with `http://`. Certificates are checked as the
/// system does; on Linux `SSL_CERT_FILE` or `SSL_CERT_DIR` names other roots,
/// those of a private endpoint for example.
///
/// # Credentials
///
/// | provider | `accessKey` | `secretKey` | `"credentials": "environment"` |
/// |---|---|---|---|
/// | S3 | access key id | secret access key | `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` (and `AWS_SESSION_TOKEN`), `AWS_WEB_IDENTITY_TOKEN_FILE` and `AWS_ROLE_ARN`, `AWS_CONTAINER_CREDENTIALS_*`, else the machine's role |
/// | Azure | account, unless the endpoint names it | account key | `AZURE_STORAGE_ACCOUNT_KEY` (or `AZURE_STORAGE_KEY`), `AZURE_STORAGE_SAS_TOKEN`, `AZURE_CLIENT_ID`, `AZURE_TENANT_ID` and `AZURE_CLIENT_SECRET` or `AZURE_FEDERATED_TOKEN_FILE`, else the managed identity |
/// | GCS | none | the JSON of a service account key | `GOOGLE_APPLICATION_CREDENTIALS` (a file), else the `gcloud` login, else the machine's account |
/// | files, memory | none | none | none |
///
/// The environment is asked only if `credentials` says so. HMAC keys of GCS
/// are S3 keys: give them with `"provider": "s3"`.
///
/// # Buckets
///
/// `buckets` names the bucket of a role, `bucket` that of all roles it leaves
/// out; files and memory have buckets named after the roles unless told
/// otherwise. `folderPrefixes` puts a role's objects below a folder of its
/// bucket. Roles that share a bucket and have no folder of their own are kept
/// apart: all but the records lie in folders named after them.
///
/// Buckets and folders are where a row's [`Location`](xronox_model::Location)
/// is looked for, so they may not change while objects are there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SpaceConnection {
    /// Where the store answers.
    pub endpoint: String,
    /// What it speaks; by default what the endpoint shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<Provider>,
    /// The region that requests are signed for. S3 only; by default the one in
    /// an AWS endpoint, else `us-east-1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Who asks, as the table above says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key: Option<String>,
    /// What proves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key: Option<Secret>,
    /// Where credentials come from when none are given here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
    /// Whether the bucket stands in the path of a URL instead of its host
    /// name. S3 at an IP address or `localhost` always has it so. For Azure:
    /// whether the account does, as in its emulator.
    #[serde(default)]
    pub force_path_style: bool,
    /// The bucket of every role that `buckets` leaves out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    /// Buckets by role.
    #[serde(default, skip_serializing_if = "PerRole::is_empty")]
    pub buckets: PerRole,
    /// Folders inside the buckets, `a/b`.
    #[serde(default, skip_serializing_if = "PerRole::is_empty")]
    pub folder_prefixes: PerRole,
    /// Storage class (S3 and GCS: `STANDARD_IA`, …) or access tier (Azure:
    /// `Cool`, …) of new objects; by default the bucket's own. Classes from
    /// which an object must first be restored make it unreadable.
    #[serde(default, skip_serializing_if = "PerRole::is_empty")]
    pub storage_class: PerRole,
    /// Requests under way at a time, 1 to 10,000.
    #[serde(default = "default_concurrency")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max_concurrency: usize,
    /// How long one request may take with its body, in milliseconds, at most
    /// an hour. With all its repetitions, pauses and the wait for its turn it
    /// takes at most four times as long.
    #[serde(default = "default_request_timeout")]
    #[schemars(range(min = 1, max = 3_600_000))]
    pub request_timeout_ms: NonZeroU64,
    /// How often a request that failed is repeated, where that can help, at
    /// most 100 times.
    #[serde(default = "default_retries")]
    #[schemars(range(max = 100))]
    pub max_retries: u32,
}

/// What a store speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// Amazon S3 and whatever understands its requests.
    S3,
    /// Azure Blob Storage.
    Azure,
    /// Google Cloud Storage.
    Gcs,
    /// Files.
    File,
    /// The memory of this process.
    Memory,
}

/// Where credentials come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Credentials {
    /// The provider's own chain: environment variables, then the machine.
    Environment,
}

/// A value that never shows: neither in `Debug` nor when serialised.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

impl<'de> Deserialize<'de> for Secret {
    /// An error does not repeat what was found instead of a string.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(value) => Ok(Self(value)),
            _ => Err(serde::de::Error::custom("a secret must be a string")),
        }
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "writeOnly": true })
    }
}

/// A name for each bucket role; an empty one is none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PerRole {
    /// For [`BucketRole::Records`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records: Option<String>,
    /// For [`BucketRole::Versions`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub versions: Option<String>,
    /// For [`BucketRole::Content`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// For [`BucketRole::Backups`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backups: Option<String>,
}

impl PerRole {
    /// The name for a role.
    pub fn get(&self, role: BucketRole) -> Option<&str> {
        let name = match role {
            BucketRole::Records => &self.records,
            BucketRole::Versions => &self.versions,
            BucketRole::Content => &self.content,
            BucketRole::Backups => &self.backups,
        };
        name.as_deref().filter(|name| !name.is_empty())
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Why a description of a connection is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct ConnectionError {
    /// The field as it is spelled in a configuration: `secretKey`,
    /// `buckets.records`.
    pub field: String,
    /// What is wrong with it. Never holds a secret.
    pub problem: String,
}

impl ConnectionError {
    pub(super) fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            problem: problem.into(),
        }
    }
}

impl From<ConnectionError> for StoreError {
    fn from(error: ConnectionError) -> Self {
        Self::Refused(format!("a storage connection is misconfigured: {error}"))
    }
}

fn default_concurrency() -> usize {
    GateLimits::default().max_concurrency
}

fn default_request_timeout() -> NonZeroU64 {
    const { NonZeroU64::new(30_000).unwrap() }
}

fn default_retries() -> u32 {
    GateLimits::default().max_retries
}

impl SpaceConnection {
    /// A connection to this endpoint with nothing else said.
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            provider: None,
            region: None,
            access_key: None,
            secret_key: None,
            credentials: None,
            force_path_style: false,
            bucket: None,
            buckets: PerRole::default(),
            folder_prefixes: PerRole::default(),
            storage_class: PerRole::default(),
            max_concurrency: default_concurrency(),
            request_timeout_ms: default_request_timeout(),
            max_retries: default_retries(),
        }
    }

    /// Checks everything that can be known without asking the store.
    ///
    /// # Errors
    ///
    /// The first field that is wrong.
    pub fn validate(&self) -> Result<(), ConnectionError> {
        self.plan()?.places(&self.own_buckets()).map(drop)
    }

    /// Checks the endpoint, the credentials and the limits: all but the
    /// buckets, which a database may name.
    ///
    /// # Errors
    ///
    /// The first field that is wrong.
    pub fn validate_access(&self) -> Result<(), ConnectionError> {
        self.plan().map(drop)
    }

    /// The same as [`validate`](Self::validate) with these buckets instead of
    /// those that the connection names.
    ///
    /// # Errors
    ///
    /// The first field that is wrong.
    pub fn validate_for(&self, buckets: &PerRole) -> Result<(), ConnectionError> {
        self.plan()?.places(buckets).map(drop)
    }

    /// The buckets of a database: those that it names by role, then the one
    /// that it names for all, then those that the connection names.
    pub fn buckets_of(&self, own: &PerRole, all: Option<&str>) -> PerRole {
        let ours = self.own_buckets();
        let named = |role| {
            let all = all.filter(|name| !name.is_empty());
            own.get(role).or(all).or(ours.get(role)).map(str::to_owned)
        };
        PerRole {
            records: named(BucketRole::Records),
            versions: named(BucketRole::Versions),
            content: named(BucketRole::Content),
            backups: named(BucketRole::Backups),
        }
    }

    /// The buckets that the connection itself names.
    pub(super) fn own_buckets(&self) -> PerRole {
        let named = |role| {
            let all = self.bucket.as_deref().filter(|name| !name.is_empty());
            let all = all.or(self.bucket_in_endpoint());
            self.buckets.get(role).or(all).map(str::to_owned)
        };
        PerRole {
            records: named(BucketRole::Records),
            versions: named(BucketRole::Versions),
            content: named(BucketRole::Content),
            backups: named(BucketRole::Backups),
        }
    }

    fn limits(&self) -> Result<GateLimits, ConnectionError> {
        if !(1..=10_000).contains(&self.max_concurrency) {
            let problem = "must be between 1 and 10,000";
            return Err(ConnectionError::new("maxConcurrency", problem));
        }
        if self.request_timeout_ms.get() > 3_600_000 {
            let problem = "must be at most 3,600,000 (an hour)";
            return Err(ConnectionError::new("requestTimeoutMs", problem));
        }
        if self.max_retries > 100 {
            return Err(ConnectionError::new("maxRetries", "must be at most 100"));
        }
        let request_timeout = Duration::from_millis(self.request_timeout_ms.get());
        Ok(GateLimits {
            max_concurrency: self.max_concurrency,
            request_timeout,
            max_retries: self.max_retries,
            operation_timeout: request_timeout * 4,
            ..GateLimits::default()
        })
    }
}

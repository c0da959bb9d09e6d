//! Buckets of cloud providers.

mod azure;
mod bucket;
mod gcs;
mod http;
mod s3;
#[cfg(test)]
mod shapes;

use async_trait::async_trait;
use object_store::{
    BackoffConfig, ClientOptions, ObjectStore, ObjectStoreExt, Result, RetryConfig,
    list::PaginatedListStore, multipart::MultipartStore, path::Path, signer::Signer,
};
use url::Url;

use super::{
    connection::{ConnectionError, Keys, Place, Target},
    gate::GateLimits,
    space::Bucket,
};
use crate::StoreError;
use http::Connector;

/// An account at a provider. Its buckets share their HTTP connections and the
/// credentials that were last fetched.
#[derive(Debug)]
pub(super) enum Account {
    S3(s3::Account),
    Azure(azure::Account),
    Gcs(gcs::Account),
}

/// A bucket, in its provider's own way.
#[async_trait]
trait Service: std::fmt::Debug + Send + Sync + 'static {
    type Store: ObjectStore + MultipartStore + PaginatedListStore + Signer + Clone;

    /// Whether an upload in parts can be given a storage class.
    const CLASS_IN_PARTS: bool;

    fn store(&self) -> &Self::Store;

    /// Makes the bucket. One that is there already is no error.
    async fn create(&self) -> Result<()>;

    /// Deletes an object by one request for just that.
    async fn delete(&self, key: &Path) -> Result<()> {
        self.store().delete(key).await
    }
}

impl Account {
    /// # Errors
    ///
    /// [`StoreError::Refused`] for keys that are none,
    /// [`StoreError::Unavailable`] if there can be no HTTP client.
    pub(super) fn open(target: &Target, limits: &GateLimits) -> Result<Self, StoreError> {
        Self::open_over(target, Connector::new(limits.request_timeout))
    }

    fn open_over(target: &Target, connector: Connector) -> Result<Self, StoreError> {
        Ok(match target {
            Target::S3 {
                endpoint,
                region,
                path_style,
                keys,
            } => Self::S3(s3::Account::open(
                endpoint.clone(),
                region.clone(),
                *path_style,
                keys,
                connector,
            )?),
            Target::Azure {
                endpoint,
                account,
                keys,
            } => Self::Azure(azure::Account::open(
                endpoint.clone(),
                account.clone(),
                keys,
                connector,
            )?),
            Target::Gcs { endpoint, keys } => {
                Self::Gcs(gcs::Account::open(endpoint.as_ref(), keys, connector)?)
            }
            Target::Memory | Target::Files(_) => {
                return Err(StoreError::Unsupported(
                    "files and memory are no cloud".to_owned(),
                ));
            }
        })
    }

    pub(super) fn bucket(&self, place: &Place) -> Result<Bucket, StoreError> {
        Ok(match self {
            Self::S3(account) => bucket::of(account.bucket(&place.bucket)?, place),
            Self::Azure(account) => bucket::of(account.bucket(&place.bucket)?, place),
            Self::Gcs(account) => bucket::of(account.bucket(&place.bucket)?, place),
        })
    }
}

/// The gate repeats requests, so that all stores are repeated alike and within
/// its limits.
fn no_retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig::default(),
        max_retries: 0,
        retry_timeout: std::time::Duration::ZERO,
    }
}

fn client_options(endpoint: &Url) -> ClientOptions {
    ClientOptions::new().with_allow_http(endpoint.scheme() == "http")
}

/// A URL without the slash at its end.
fn trimmed(url: &Url) -> &str {
    url.as_str().trim_end_matches('/')
}

/// The values of those environment variables that are set and not empty.
fn environment<'a, K>(
    names: impl IntoIterator<Item = (&'a str, K)>,
) -> Result<Vec<(K, String)>, ConnectionError> {
    let mut found = Vec::new();
    for (name, key) in names {
        match std::env::var(name) {
            Ok(value) if value.is_empty() => {}
            Ok(value) if value.bytes().any(|c| c.is_ascii_control()) => {
                let problem = format!("{name} holds a line end or another control character");
                return Err(ConnectionError::new("credentials", problem));
            }
            Ok(value) => found.push((key, value)),
            Err(std::env::VarError::NotPresent) => {}
            Err(std::env::VarError::NotUnicode(_)) => {
                let problem = format!("{name} is no Unicode text");
                return Err(ConnectionError::new("credentials", problem));
            }
        }
    }
    Ok(found)
}

/// A client that cannot be made. Its own error may quote keys.
fn unusable(keys: &Keys) -> StoreError {
    let (field, problem) = match keys {
        Keys::Given { .. } => ("secretKey", "is none that this provider gives out"),
        Keys::Environment => (
            "credentials",
            "what the environment holds cannot be used as credentials",
        ),
    };
    ConnectionError::new(field, problem).into()
}

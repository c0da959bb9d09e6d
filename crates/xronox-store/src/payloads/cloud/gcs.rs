//! Google Cloud Storage.

use std::fmt;

use async_trait::async_trait;
use object_store::{
    Error, Result,
    gcp::{
        GcpCredentialProvider, GcpSigningCredentialProvider, GoogleCloudStorage,
        GoogleCloudStorageBuilder,
    },
};
use url::Url;

use super::{Connector, Service, client_options, environment, http, no_retries, trimmed, unusable};
use crate::{
    StoreError,
    payloads::connection::{ConnectionError, Keys},
};

const GOOGLE: &str = "https://storage.googleapis.com";

pub(in crate::payloads) struct Account {
    endpoint: Url,
    credentials: GcpCredentialProvider,
    signing: GcpSigningCredentialProvider,
    connector: Connector,
}

impl fmt::Debug for Account {
    /// Without the credentials, which would print themselves.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("endpoint", &self.endpoint.as_str())
            .finish_non_exhaustive()
    }
}

pub(super) struct GcsBucket(GoogleCloudStorage);

impl fmt::Debug for GcsBucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl Account {
    pub(super) fn open(
        endpoint: Option<&Url>,
        keys: &Keys,
        connector: Connector,
    ) -> Result<Self, StoreError> {
        let endpoint = match endpoint {
            Some(endpoint) => endpoint.clone(),
            None => {
                Url::parse(GOOGLE).map_err(|_| ConnectionError::new("endpoint", "is no URL"))?
            }
        };
        let mut builder = builder(&endpoint, &connector);
        match keys {
            Keys::Given { secret, .. } => {
                builder = builder.with_service_account_key(secret.reveal());
            }
            Keys::Environment => {
                for ((), path) in environment([("GOOGLE_APPLICATION_CREDENTIALS", ())])? {
                    builder = builder.with_application_credentials(path);
                }
            }
        }
        // Of any bucket: only its credentials are wanted.
        let any = builder.with_bucket_name("any").build();
        let any = any.map_err(|_| unusable(keys))?;
        Ok(Self {
            endpoint,
            credentials: any.credentials().clone(),
            signing: any.signing_credentials().clone(),
            connector,
        })
    }

    pub(super) fn bucket(&self, name: &str) -> Result<GcsBucket, StoreError> {
        builder(&self.endpoint, &self.connector)
            .with_credentials(self.credentials.clone())
            .with_signing_credentials(self.signing.clone())
            .with_bucket_name(name)
            .build()
            .map(GcsBucket)
            .map_err(http::unavailable)
    }
}

fn builder(endpoint: &Url, connector: &Connector) -> GoogleCloudStorageBuilder {
    GoogleCloudStorageBuilder::new()
        // Otherwise a key file could send requests elsewhere.
        .with_base_url(trimmed(endpoint))
        .with_client_options(client_options(endpoint))
        .with_retry(no_retries())
        .with_http_connector(connector.clone())
}

#[async_trait]
impl Service for GcsBucket {
    type Store = GoogleCloudStorage;

    const CLASS_IN_PARTS: bool = true;

    fn store(&self) -> &GoogleCloudStorage {
        &self.0
    }

    async fn create(&self) -> Result<()> {
        let why = "a bucket of Google Cloud Storage belongs to a project, \
                   which a storage connection does not name";
        Err(Error::NotSupported { source: why.into() })
    }
}

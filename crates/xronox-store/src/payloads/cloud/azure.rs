//! Azure Blob Storage.

use async_trait::async_trait;
use object_store::{
    Result,
    azure::{
        AzureAccessKey, AzureAuthorizer, AzureConfigKey, AzureCredentialProvider, MicrosoftAzure,
        MicrosoftAzureBuilder,
    },
    client::{HttpClient, HttpConnector, HttpRequestBody},
    path::Path,
    signer::Method,
};
use url::Url;

use super::{Connector, Service, client_options, environment, http, no_retries, trimmed, unusable};
use crate::{
    StoreError,
    payloads::{
        connection::{ConnectionError, Keys},
        refusal::Refusal,
    },
};

#[derive(Debug)]
pub(in crate::payloads) struct Account {
    endpoint: Url,
    name: String,
    credentials: Shared,
    connector: Connector,
}

/// Credentials that do not show: the provider's own would print account keys.
#[derive(Clone)]
struct Shared(AzureCredentialProvider);

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

pub(super) struct Container {
    store: MicrosoftAzure,
    http: HttpClient,
    url: String,
    account: String,
    credentials: Shared,
}

impl std::fmt::Debug for Container {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.store)
    }
}

/// The variables that an account's credentials come from.
const ENVIRONMENT: [(&str, AzureConfigKey); 9] = {
    use AzureConfigKey as K;
    [
        ("AZURE_STORAGE_KEY", K::AccessKey),
        ("AZURE_STORAGE_ACCOUNT_KEY", K::AccessKey),
        ("AZURE_STORAGE_SAS_TOKEN", K::SasKey),
        ("AZURE_CLIENT_ID", K::ClientId),
        ("AZURE_CLIENT_SECRET", K::ClientSecret),
        ("AZURE_TENANT_ID", K::AuthorityId),
        ("AZURE_AUTHORITY_HOST", K::AuthorityHost),
        ("AZURE_FEDERATED_TOKEN_FILE", K::FederatedTokenFile),
        ("IDENTITY_ENDPOINT", K::MsiEndpoint),
    ]
};

impl Account {
    pub(super) fn open(
        endpoint: Url,
        name: String,
        keys: &Keys,
        connector: Connector,
    ) -> Result<Self, StoreError> {
        let mut builder = builder(&endpoint, &name, &connector);
        match keys {
            Keys::Given { secret, .. } => {
                if AzureAccessKey::try_new(secret.reveal()).is_err() {
                    let problem = "is not the base64 of an account key";
                    return Err(ConnectionError::new("secretKey", problem).into());
                }
                builder = builder.with_access_key(secret.reveal());
            }
            Keys::Environment => {
                for (key, value) in environment(ENVIRONMENT)? {
                    builder = builder.with_config(key, value);
                }
            }
        }
        // Of any container: only its credentials are wanted.
        let any = builder.with_container_name("any").build();
        let credentials = any.map_err(|_| unusable(keys))?.credentials().clone();
        Ok(Self {
            endpoint,
            name,
            credentials: Shared(credentials),
            connector,
        })
    }

    pub(super) fn bucket(&self, container: &str) -> Result<Container, StoreError> {
        let store = builder(&self.endpoint, &self.name, &self.connector)
            .with_credentials(self.credentials.0.clone())
            .with_container_name(container)
            .build()
            .map_err(http::unavailable)?;
        let options = client_options(&self.endpoint);
        Ok(Container {
            store,
            http: self
                .connector
                .connect(&options)
                .map_err(http::unavailable)?,
            url: format!("{}/{container}", trimmed(&self.endpoint)),
            account: self.name.clone(),
            credentials: self.credentials.clone(),
        })
    }
}

fn builder(endpoint: &Url, account: &str, connector: &Connector) -> MicrosoftAzureBuilder {
    MicrosoftAzureBuilder::new()
        .with_account(account)
        .with_endpoint(trimmed(endpoint).to_owned())
        .with_client_options(client_options(endpoint))
        .with_retry(no_retries())
        .with_http_connector(connector.clone())
}

impl Container {
    async fn request(
        &self,
        method: Method,
        url: &str,
        done: impl Fn(&Refusal) -> bool + Send,
    ) -> Result<()> {
        let mut request = http::request(method, url, HttpRequestBody::empty())?;
        let credential = self.credentials.0.get_credential().await?;
        AzureAuthorizer::new(&credential, &self.account).try_authorize(&mut request)?;
        http::send(&self.http, request, done).await
    }
}

#[async_trait]
impl Service for Container {
    type Store = MicrosoftAzure;

    /// A tier is set by the request that puts the parts together, which has no
    /// place for it in `object_store`.
    const CLASS_IN_PARTS: bool = false;

    fn store(&self) -> &MicrosoftAzure {
        &self.store
    }

    async fn create(&self) -> Result<()> {
        let url = format!("{}?restype=container", self.url);
        self.request(Method::PUT, &url, |refusal| {
            refusal.code.as_deref() == Some("ContainerAlreadyExists")
        })
        .await
    }

    /// The store's own deletes are batches, which not every account and
    /// credential may use.
    async fn delete(&self, key: &Path) -> Result<()> {
        let url = format!("{}/{key}", self.url);
        self.request(Method::DELETE, &url, |_| false).await
    }
}

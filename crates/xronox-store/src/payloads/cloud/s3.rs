//! Amazon S3 and what understands its requests.

use async_trait::async_trait;
use object_store::{
    Result,
    aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, AwsAuthorizer, AwsCredentialProvider},
    client::{HttpClient, HttpConnector, HttpRequestBody},
    signer::Method,
};
use url::Url;

use super::{Connector, Service, client_options, environment, http, no_retries, trimmed, unusable};
use crate::{
    StoreError,
    payloads::{
        connection::{Keys, in_header},
        refusal::Refusal,
    },
};

#[derive(Debug)]
pub(in crate::payloads) struct Account {
    endpoint: Url,
    region: String,
    path_style: bool,
    credentials: AwsCredentialProvider,
    connector: Connector,
}

#[derive(Debug)]
pub(super) struct S3Bucket {
    store: AmazonS3,
    http: HttpClient,
    url: String,
    region: String,
    /// What Amazon needs to be told of a new bucket's region.
    constraint: bool,
}

/// The variables that an account's credentials come from.
const ENVIRONMENT: [(&str, AmazonS3ConfigKey); 11] = {
    use AmazonS3ConfigKey as K;
    [
        ("AWS_ACCESS_KEY_ID", K::AccessKeyId),
        ("AWS_SECRET_ACCESS_KEY", K::SecretAccessKey),
        ("AWS_SESSION_TOKEN", K::Token),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", K::WebIdentityTokenFile),
        ("AWS_ROLE_ARN", K::RoleArn),
        ("AWS_ROLE_SESSION_NAME", K::RoleSessionName),
        ("AWS_ENDPOINT_URL_STS", K::StsEndpoint),
        (
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            K::ContainerCredentialsRelativeUri,
        ),
        (
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            K::ContainerCredentialsFullUri,
        ),
        (
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
            K::ContainerAuthorizationTokenFile,
        ),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", K::MetadataEndpoint),
    ]
};

impl Account {
    pub(super) fn open(
        endpoint: Url,
        region: String,
        path_style: bool,
        keys: &Keys,
        connector: Connector,
    ) -> Result<Self, StoreError> {
        let mut builder = builder(&endpoint, &region, &connector);
        match keys {
            Keys::Given { access, secret } => {
                builder = builder
                    .with_access_key_id(access)
                    .with_secret_access_key(secret.reveal());
            }
            Keys::Environment => {
                for (key, value) in environment(ENVIRONMENT)? {
                    if key == AmazonS3ConfigKey::AccessKeyId || key == AmazonS3ConfigKey::Token {
                        in_header("credentials", &value)?;
                    }
                    builder = builder.with_config(key, value);
                }
            }
        }
        // Of any bucket: only its credentials are wanted.
        let any = builder.with_bucket_name("any").build();
        let credentials = any.map_err(|_| unusable(keys))?.credentials().clone();
        Ok(Self {
            endpoint,
            region,
            path_style,
            credentials,
            connector,
        })
    }

    pub(super) fn bucket(&self, name: &str) -> Result<S3Bucket, StoreError> {
        // No certificate covers a host name with more dots.
        let dotted = self.endpoint.scheme() == "https" && name.contains('.');
        let path_style = self.path_style || dotted;
        let service = trimmed(&self.endpoint);
        let url = if path_style {
            format!("{service}/{name}")
        } else {
            service.replacen("://", &format!("://{name}."), 1)
        };
        let store = builder(&self.endpoint, &self.region, &self.connector)
            .with_credentials(self.credentials.clone())
            .with_bucket_name(name)
            .with_endpoint(if path_style { service } else { &url })
            .with_virtual_hosted_style_request(!path_style)
            .build()
            .map_err(http::unavailable)?;
        let options = client_options(&self.endpoint);
        let host = self.endpoint.host_str().unwrap_or_default();
        Ok(S3Bucket {
            store,
            http: self
                .connector
                .connect(&options)
                .map_err(http::unavailable)?,
            url,
            region: self.region.clone(),
            constraint: host.ends_with(".amazonaws.com") && self.region != "us-east-1",
        })
    }
}

fn builder(endpoint: &Url, region: &str, connector: &Connector) -> AmazonS3Builder {
    AmazonS3Builder::new()
        .with_region(region)
        .with_client_options(client_options(endpoint))
        .with_retry(no_retries())
        .with_disable_bulk_delete(true)
        .with_http_connector(connector.clone())
}

#[async_trait]
impl Service for S3Bucket {
    type Store = AmazonS3;

    const CLASS_IN_PARTS: bool = true;

    fn store(&self) -> &AmazonS3 {
        &self.store
    }

    async fn create(&self) -> Result<()> {
        let body = if self.constraint {
            let region = &self.region;
            HttpRequestBody::from(format!(
                "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                 <LocationConstraint>{region}</LocationConstraint></CreateBucketConfiguration>"
            ))
        } else {
            HttpRequestBody::empty()
        };
        let mut request = http::request(Method::PUT, &self.url, body)?;
        let credential = self.store.credentials().get_credential().await?;
        AwsAuthorizer::new(&credential, "s3", &self.region).try_authorize(&mut request, None)?;
        http::send(&self.http, request, |refusal: &Refusal| {
            let code = refusal.code.as_deref().unwrap_or_default();
            matches!(code, "BucketAlreadyOwnedByYou" | "BucketAlreadyExists")
        })
        .await
    }
}

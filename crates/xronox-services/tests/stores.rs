//! Real object stores, with the client that Xronox uses, and an S3 store behind
//! the proxy.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{sync::Arc, time::Duration};

use object_store::{
    ClientOptions, ObjectStore, ObjectStoreExt, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, AwsAuthorizer, AwsCredential},
    azure::{AzureAccessKey, AzureAuthorizer, AzureCredential, MicrosoftAzureBuilder},
    client::{HttpConnector, HttpRequest, HttpRequestBody, ReqwestConnector},
    path::Path,
};
use xronox_services::{
    Azurite, Fault, Proxy, Request, SeaweedFs,
    env::{S3, services},
};

const BUCKET: &str = "bucket";

fn provider() {
    // Another test of this process may have been first.
    drop(rustls::crypto::ring::default_provider().install_default());
}

fn client(access: &S3, bucket: &str, retries: usize) -> AmazonS3 {
    provider();
    let retry = RetryConfig {
        max_retries: retries,
        retry_timeout: Duration::from_secs(20),
        ..RetryConfig::default()
    };
    AmazonS3Builder::new()
        .with_endpoint(&access.endpoint)
        .with_region(&access.region)
        .with_access_key_id(&access.access_key)
        .with_secret_access_key(&access.secret_key)
        .with_bucket_name(bucket)
        .with_allow_http(true)
        .with_config(AmazonS3ConfigKey::VirtualHostedStyleRequest, "false")
        .with_retry(retry)
        .build()
        .unwrap()
}

fn through(proxy: &Proxy, access: S3) -> S3 {
    let endpoint = format!("http://{}", proxy.address());
    S3 { endpoint, ..access }
}

fn start() -> SeaweedFs {
    let server = SeaweedFs::start(&services().unwrap()).unwrap();
    server.create_bucket(BUCKET).unwrap();
    server.create_bucket(BUCKET).unwrap();
    server
}

/// A request of its own, for what the client has no call for.
fn put(url: &str) -> HttpRequest {
    let mut request = HttpRequest::new(HttpRequestBody::empty());
    *request.method_mut() = "PUT".parse().unwrap();
    *request.uri_mut() = url.parse().unwrap();
    let none = "0".parse().unwrap();
    request.headers_mut().insert("content-length", none);
    request
}

async fn send(request: HttpRequest) {
    provider();
    let options = ClientOptions::new().with_allow_http(true);
    let client = ReqwestConnector::default().connect(&options).unwrap();
    let answer = client.execute(request).await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.status());
}

fn puts(request: &Request<'_>) -> bool {
    request.method() == "PUT"
}

#[tokio::test]
async fn s3_keeps_bodies_and_ports_over_a_crash() {
    let mut server = start();
    let before = server.s3();
    let store = client(&before, BUCKET, 3);
    let (key, body) = (Path::from("a/b"), vec![7; 200_000]);
    store.put(&key, body.clone().into()).await.unwrap();
    server.kill();
    server.restart().unwrap();
    assert_eq!(server.s3(), before);
    let found = store.get(&key).await.unwrap().bytes().await.unwrap();
    assert_eq!(found, body);
    store.put(&Path::from("after"), "x".into()).await.unwrap();
}

#[tokio::test]
async fn s3_has_an_identity_for_one_bucket_only_and_refuses_others() {
    let server = start();
    let key = Path::from("k");
    let limited = server.limited();
    let own = client(&limited, server.limited_bucket(), 0);
    own.put(&key, "x".into()).await.unwrap();
    let other = client(&limited, BUCKET, 0);
    let refused = other.put(&key, "x".into()).await.unwrap_err();
    assert!(
        matches!(refused, object_store::Error::PermissionDenied { .. }),
        "{refused}"
    );

    let wrong = S3 {
        secret_key: "wrong".to_owned(),
        ..server.s3()
    };
    let refused = client(&wrong, BUCKET, 0)
        .put(&key, "x".into())
        .await
        .unwrap_err();
    assert!(
        matches!(refused, object_store::Error::PermissionDenied { .. }),
        "{refused}"
    );
}

#[tokio::test]
async fn s3_makes_a_bucket_for_a_signed_request_through_the_proxy() {
    let server = start();
    let proxy = Proxy::start(server.address()).unwrap();
    let access = through(&proxy, server.s3());
    let mut request = put(&format!("{}/fresh", access.endpoint));
    let credential = AwsCredential {
        key_id: access.access_key.clone(),
        secret_key: access.secret_key.clone(),
        token: None,
    };
    AwsAuthorizer::new(&credential, "s3", &access.region)
        .try_authorize(&mut request, None)
        .unwrap();
    send(request).await;
    client(&access, "fresh", 0)
        .put(&Path::from("k"), "x".into())
        .await
        .unwrap();
}

#[tokio::test]
async fn signed_requests_pass_the_proxy_and_its_refusals_are_tried_again() {
    let server = start();
    let proxy = Proxy::start(server.address()).unwrap();
    let store = client(&through(&proxy, server.s3()), BUCKET, 5);
    let key = Path::from("a key/with spaces");
    let body: Vec<u8> = (0..300_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    for fault in [Fault::SlowDown, Fault::InternalError] {
        proxy.inject(fault, 2, puts);
        assert_eq!(proxy.pending(), 2);
        store.put(&key, body.clone().into()).await.unwrap();
        assert_eq!(proxy.pending(), 0);
    }
    let found = store.get(&key).await.unwrap().bytes().await.unwrap();
    assert_eq!(found, body);
}

#[tokio::test]
async fn the_proxy_refuses_as_s3_does_and_stores_nothing() {
    let server = start();
    let proxy = Proxy::start(server.address()).unwrap();
    let store = client(&through(&proxy, server.s3()), BUCKET, 0);
    let key = Path::from("refused");
    proxy.inject(Fault::SlowDown, 1, puts);
    let said = store.put(&key, "x".into()).await.unwrap_err();
    assert!(format!("{said:?}").contains("503"), "{said:?}");
    proxy.inject(Fault::InternalError, 1, |request| {
        request.method() == "HEAD"
    });
    store.head(&key).await.unwrap_err();
    assert_eq!(proxy.pending(), 0);
    let missing = store.head(&key).await.unwrap_err();
    assert!(
        matches!(missing, object_store::Error::NotFound { .. }),
        "{missing}"
    );
}

#[tokio::test]
async fn a_body_is_stored_although_its_answer_is_lost() {
    let server = start();
    let proxy = Proxy::start(server.address()).unwrap();
    let store = client(&through(&proxy, server.s3()), BUCKET, 0);
    let key = Path::from("lost");
    proxy.inject(Fault::LoseRequest, 1, puts);
    store.put(&key, "x".into()).await.unwrap_err();
    let missing = store.head(&key).await.unwrap_err();
    assert!(
        matches!(missing, object_store::Error::NotFound { .. }),
        "{missing}"
    );

    proxy.inject(Fault::LoseAnswer, 1, |request| {
        request.target().ends_with("/lost")
    });
    store.put(&key, "x".into()).await.unwrap_err();
    assert_eq!(proxy.pending(), 0);
    assert_eq!(store.head(&key).await.unwrap().size, 1);
}

#[tokio::test]
async fn azure_takes_signed_requests() {
    let server = Azurite::start(&services().unwrap()).unwrap();
    let access = server.azure();
    let mut request = put(&format!("{}/{BUCKET}?restype=container", access.endpoint));
    let key = AzureAccessKey::try_new(&access.key).unwrap();
    let credential = AzureCredential::AccessKey(key);
    AzureAuthorizer::new(&credential, &access.account)
        .try_authorize(&mut request)
        .unwrap();
    send(request).await;

    let store: Arc<dyn ObjectStore> = Arc::new(
        MicrosoftAzureBuilder::new()
            .with_endpoint(access.endpoint)
            .with_account(access.account)
            .with_access_key(access.key)
            .with_container_name(BUCKET)
            .with_allow_http(true)
            .build()
            .unwrap(),
    );
    let key = Path::from("a/b");
    store.put(&key, "body".into()).await.unwrap();
    assert_eq!(
        store.get(&key).await.unwrap().bytes().await.unwrap(),
        "body"
    );
}

//! Descriptions of storage connections: what is read, what is refused, and
//! what the refusal names.

#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use xronox_model::{BucketRole, Encoding, Location, Sha256};
use xronox_store::{
    ConnectionError, PayloadCache, Payloads, PerRole, Provider, Space, SpaceClient,
    SpaceConnection, StoreError,
};

fn read(description: Value) -> SpaceConnection {
    serde_json::from_value(description).unwrap()
}

#[test]
fn a_description_is_read_as_it_is_spelled() {
    let least = read(json!({ "endpoint": "memory:" }));
    assert_eq!(least, SpaceConnection::new("memory:"));
    assert_eq!(
        (
            least.max_concurrency,
            least.request_timeout_ms.get(),
            least.max_retries
        ),
        (64, 30_000, 5)
    );
    let most = json!({
        "endpoint": "https://s3.amazonaws.com", "provider": "s3", "region": "us-east-1",
        "accessKey": "AKIA", "secretKey": "hush", "forcePathStyle": true,
        "bucket": "b", "buckets": { "records": "r" }, "folderPrefixes": { "records": "f" },
        "storageClass": { "backups": "GLACIER_IR" },
        "maxConcurrency": 1, "requestTimeoutMs": 2, "maxRetries": 3,
    });
    let connection = read(most.clone());
    connection.validate().unwrap();
    // It shows as it was written, but for the secret.
    let mut shown = most;
    shown["secretKey"] = json!("***");
    assert_eq!(serde_json::to_value(&connection).unwrap(), shown);
    let client = SpaceClient::open(&connection);
    assert!(!format!("{connection:?} {client:?}").contains("hush"));
    for unknown in [
        json!({ "endpoint": "memory:", "secret": "x" }),
        json!({ "endpoint": "memory:", "buckets": { "record": "x" } }),
        json!({ "endpoint": "memory:", "provider": "gcp" }),
        json!({ "endpoint": "memory:", "credentials": "aws" }),
        json!({ "endpoint": "memory:", "requestTimeoutMs": 0 }),
        json!({}),
    ] {
        assert!(serde_json::from_value::<SpaceConnection>(unknown).is_err());
    }
    let number = json!({ "endpoint": "memory:", "secretKey": 271_828 });
    let error = serde_json::from_value::<SpaceConnection>(number).unwrap_err();
    assert!(!error.to_string().contains("271828"), "{error}");
}

#[test]
fn the_endpoint_shows_the_provider() {
    let keys = |endpoint: &str| json!({ "endpoint": endpoint, "accessKey": "account", "secretKey": "c2VjcmV0", "bucket": "b" });
    for endpoint in [
        "https://s3.amazonaws.com",
        "https://fra1.digitaloceanspaces.com",
        "https://0123.r2.cloudflarestorage.com",
        "http://minio.example:9000",
        "https://account.blob.core.windows.net",
        "https://account.blob.core.usgovcloudapi.net",
    ] {
        read(keys(endpoint)).validate().unwrap();
    }
    // The key of a service account has another form, which shows what it is.
    for endpoint in ["gs://", "gs://bucket", "https://storage.googleapis.com"] {
        let google = json!({ "endpoint": endpoint, "secretKey": "{}", "bucket": "b" });
        read(google).validate().unwrap();
    }
    for (endpoint, provider) in [
        ("http://127.0.0.1:10000/account", Provider::Azure),
        ("https://storage.googleapis.com", Provider::S3),
        ("http://127.0.0.1:9000", Provider::S3),
    ] {
        let provider = Some(provider);
        let connection = SpaceConnection {
            provider,
            ..read(keys(endpoint))
        };
        connection.validate().unwrap();
    }
}

#[test]
fn what_is_wrong_is_named() {
    let s3 = json!({
        "endpoint": "https://s3.amazonaws.com", "accessKey": "AKIA", "secretKey": "hush",
        "bucket": "b",
    });
    let azure = json!({
        "endpoint": "https://ours.blob.core.windows.net", "secretKey": "aHVzaA==", "bucket": "b",
    });
    let google = json!({ "endpoint": "gs://", "secretKey": "{}", "bucket": "b" });
    let local = json!({ "endpoint": "file:x" });
    for (base, change, field) in [
        (&s3, json!({ "endpoint": "" }), "endpoint"),
        (&s3, json!({ "endpoint": "s3.amazonaws.com" }), "endpoint"),
        (&s3, json!({ "endpoint": "ftp://hush.example" }), "endpoint"),
        (
            &s3,
            json!({ "endpoint": "https://who:hush@s3.example" }),
            "endpoint",
        ),
        (
            &s3,
            json!({ "endpoint": "https://s3.example/?x=hush" }),
            "endpoint",
        ),
        (
            &s3,
            json!({ "endpoint": "https://s3.example/path" }),
            "endpoint",
        ),
        (&local, json!({ "endpoint": "file:" }), "endpoint"),
        (&s3, json!({ "provider": "file" }), "provider"),
        (&s3, json!({ "provider": "memory" }), "provider"),
        (&google, json!({ "provider": "s3" }), "provider"),
        (&local, json!({ "provider": "s3" }), "provider"),
        (&s3, json!({ "region": "eu west" }), "region"),
        (&s3, json!({ "accessKey": "" }), "accessKey"),
        (&s3, json!({ "accessKey": "AK\nIA" }), "accessKey"),
        (&s3, json!({ "secretKey": "" }), "secretKey"),
        (&s3, json!({ "credentials": "environment" }), "accessKey"),
        (&azure, json!({ "accessKey": "theirs" }), "accessKey"),
        (&azure, json!({ "secretKey": "" }), "secretKey"),
        (&azure, json!({ "credentials": "environment" }), "secretKey"),
        (&google, json!({ "accessKey": "GOOG" }), "accessKey"),
        (&google, json!({ "secretKey": "hush" }), "secretKey"),
        (&google, json!({ "endpoint": "gs://b/hush" }), "endpoint"),
        (&local, json!({ "accessKey": "x" }), "accessKey"),
        (&local, json!({ "secretKey": "hush" }), "secretKey"),
        (
            &local,
            json!({ "credentials": "environment" }),
            "credentials",
        ),
        (
            &local,
            json!({ "storageClass": { "records": "x" } }),
            "storageClass",
        ),
        (&s3, json!({ "bucket": "" }), "bucket"),
        (&s3, json!({ "bucket": "a/b" }), "buckets.records"),
        (
            &s3,
            json!({ "buckets": { "backups": "../b" } }),
            "buckets.backups",
        ),
        (
            &s3,
            json!({ "folderPrefixes": { "content": "a//b" } }),
            "folderPrefixes.content",
        ),
        (
            &s3,
            json!({ "folderPrefixes": { "records": "a/../b" } }),
            "folderPrefixes.records",
        ),
        (
            &s3,
            json!({ "folderPrefixes": { "records": "a", "versions": "a/" } }),
            "folderPrefixes.versions",
        ),
        (
            &s3,
            json!({ "storageClass": { "versions": "A\r\nB: c" } }),
            "storageClass.versions",
        ),
        (&s3, json!({ "maxConcurrency": 0 }), "maxConcurrency"),
        (
            &s3,
            json!({ "requestTimeoutMs": 3_600_001 }),
            "requestTimeoutMs",
        ),
        (&s3, json!({ "maxRetries": 101 }), "maxRetries"),
    ] {
        read(base.clone()).validate().unwrap();
        let mut wrong = base.clone();
        let change = change.as_object().unwrap().clone();
        wrong.as_object_mut().unwrap().extend(change.clone());
        let error: ConnectionError = read(wrong.clone()).validate().unwrap_err();
        assert_eq!(error.field, field, "{change:?}: {error}");
        assert!(!error.to_string().contains("hush"), "{error}");
        let error = Space::connect("main", &read(wrong)).unwrap_err();
        assert!(
            matches!(&error, StoreError::Refused(text) if text.contains(field)),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn roles_in_one_bucket_are_kept_apart() {
    let base = tempfile::tempdir().unwrap();
    let file = format!("file:{}", base.path().display());
    for endpoint in ["memory:", &file] {
        let connection = SpaceConnection {
            bucket: Some("all".to_owned()),
            ..SpaceConnection::new(endpoint)
        };
        let space = Space::connect("main", &connection).unwrap();
        let payloads =
            Payloads::new([space], Some("main".to_owned()), PayloadCache::off()).unwrap();
        let roles = [
            BucketRole::Records,
            BucketRole::Versions,
            BucketRole::Content,
            BucketRole::Backups,
        ];
        for role in roles {
            let bytes = format!("{role:?}").into();
            payloads.put("a/b", bytes, role).await.unwrap();
        }
        for role in roles {
            let bytes = format!("{role:?}");
            let body = xronox_model::Body {
                sha256: Sha256::of(bytes.as_bytes()),
                size: bytes.len() as u64,
                encoding: Encoding::Plain,
                location: Location::Object {
                    space: "main".to_owned(),
                    role,
                    key: "a/b".to_owned(),
                },
                inline: None,
                files: Vec::new(),
            };
            assert_eq!(payloads.read(&body).await.unwrap(), bytes);
        }
    }
    assert!(base.path().join("all/a/b").exists());
    assert!(base.path().join("all/versions/a/b").exists());
}

#[tokio::test]
async fn databases_on_one_connection_share_its_buckets() {
    let client = SpaceClient::open(&SpaceConnection::new("memory:")).unwrap();
    let buckets = |name: &str| PerRole {
        records: Some(name.to_owned()),
        ..PerRole::default()
    };
    let payloads = |bucket| {
        let space = client.space("main", &buckets(bucket)).unwrap();
        Payloads::new([space], Some("main".to_owned()), PayloadCache::off()).unwrap()
    };
    let (ours, theirs, other) = (payloads("one"), payloads("one"), payloads("two"));
    let put = ours.put("a/b", "x".into(), BucketRole::Records);
    let location = put.await.unwrap();
    assert!(theirs.exists(&location).await.unwrap());
    assert!(!other.exists(&location).await.unwrap());
    ours.home().unwrap().check().await.unwrap();
    ours.home().unwrap().create_buckets().await.unwrap();
}

#[tokio::test]
async fn a_bucket_of_files_that_has_gone_is_noticed_at_the_start() {
    let base = tempfile::tempdir().unwrap();
    let connection = SpaceConnection::new(format!("file:{}", base.path().display()));
    let space = Space::connect("main", &connection).unwrap();
    space.check().await.unwrap();
    std::fs::remove_dir_all(base.path().join("content")).unwrap();
    let error = space.check().await.unwrap_err();
    assert!(error.to_string().contains("main/content"), "{error}");
}

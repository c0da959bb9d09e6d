//! The requests that are made of each provider's endpoints, looked at without
//! a network.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use object_store::{
    ObjectStoreExt,
    client::{HttpError, HttpRequest, HttpResponse, HttpResponseBody, HttpService},
    path::Path,
};
use parking_lot::Mutex;
use reqwest::header::HeaderMap;
use xronox_model::BucketRole;

use super::{Account, Connector};
use crate::payloads::{
    connection::{PerRole, Secret, SpaceConnection},
    gate::Gate,
    space::{Bucket, Space},
};

#[derive(Debug)]
struct Seen {
    line: String,
    headers: HeaderMap,
    body: String,
}

/// Takes every request down and answers as told, else with an empty success.
#[derive(Debug, Clone, Default)]
struct Recorder {
    seen: Arc<Mutex<Vec<Seen>>>,
    answers: Arc<Mutex<Vec<(u16, &'static str)>>>,
}

#[async_trait]
impl HttpService for Recorder {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let body = request.body().as_bytes().cloned().unwrap_or_default();
        self.seen.lock().push(Seen {
            line: format!("{} {}", request.method(), request.uri()),
            headers: request.headers().clone(),
            body: String::from_utf8_lossy(&body).into_owned(),
        });
        let (status, body) = self.answers.lock().pop().unwrap_or((200, ""));
        let mut answer = HttpResponse::new(HttpResponseBody::from(body.to_owned()));
        *answer.status_mut() = status.try_into().unwrap();
        let headers = answer.headers_mut();
        headers.insert("etag", "\"e\"".parse().unwrap());
        Ok(answer)
    }
}

impl Recorder {
    fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock())
    }

    /// Methods and URLs. Google's have slashes and dots escaped.
    fn lines(&self) -> Vec<String> {
        let lines = self.take().into_iter().map(|seen| seen.line);
        lines
            .map(|line| line.replace("%2F", "/").replace("%2E", "."))
            .collect()
    }

    /// The records bucket of a connection, its requests recorded.
    fn bucket(&self, connection: &SpaceConnection) -> Bucket {
        let plan = connection.plan().unwrap();
        let account = Account::open_over(&plan.target, Connector::to(self.clone())).unwrap();
        let places = plan.places(&connection.own_buckets()).unwrap();
        account.bucket(&places[&BucketRole::Records]).unwrap()
    }
}

fn with_keys(endpoint: &str) -> SpaceConnection {
    SpaceConnection {
        access_key: Some("account".to_owned()),
        // "secret", for Azure too.
        secret_key: Some(Secret::new("c2VjcmV0")),
        bucket: Some("things".to_owned()),
        folder_prefixes: PerRole {
            records: Some("/a/b/".to_owned()),
            ..PerRole::default()
        },
        ..SpaceConnection::new(endpoint)
    }
}

/// A service account that needs no token.
fn gcs(endpoint: &str) -> SpaceConnection {
    let key = r#"{"private_key":"","private_key_id":"","client_email":"who@example.com",
                  "disable_oauth":true,"gcs_base_url":"https://elsewhere.example"}"#;
    SpaceConnection {
        access_key: None,
        secret_key: Some(Secret::new(key)),
        ..with_keys(endpoint)
    }
}

async fn put(bucket: &Bucket) {
    let key = Path::from("shop.0f/item.json");
    bucket.store.put(&key, "{}".into()).await.unwrap();
}

#[tokio::test]
async fn objects_have_their_urls() {
    let path_style = |endpoint| SpaceConnection {
        force_path_style: true,
        ..with_keys(endpoint)
    };
    let dotted = SpaceConnection {
        bucket: Some("with.dots".to_owned()),
        ..with_keys("https://s3.amazonaws.com")
    };
    let abroad = SpaceConnection {
        region: Some("eu-west-1".to_owned()),
        ..with_keys("https://s3.amazonaws.com")
    };
    for (connection, url) in [
        (
            with_keys("https://s3.amazonaws.com"),
            "https://things.s3.us-east-1.amazonaws.com/",
        ),
        (abroad, "https://things.s3.eu-west-1.amazonaws.com/"),
        (dotted, "https://s3.us-east-1.amazonaws.com/with.dots/"),
        (
            with_keys("https://s3.ap-south-1.amazonaws.com/"),
            "https://things.s3.ap-south-1.amazonaws.com/",
        ),
        (
            path_style("https://s3.ap-south-1.amazonaws.com"),
            "https://s3.ap-south-1.amazonaws.com/things/",
        ),
        (
            with_keys("https://fra1.digitaloceanspaces.com"),
            "https://things.fra1.digitaloceanspaces.com/",
        ),
        (
            with_keys("https://0123.r2.cloudflarestorage.com"),
            "https://things.0123.r2.cloudflarestorage.com/",
        ),
        (
            path_style("https://minio.example:9000"),
            "https://minio.example:9000/things/",
        ),
        (
            path_style("https://gate.example/s3/"),
            "https://gate.example/s3/things/",
        ),
        (
            with_keys("http://127.0.0.1:9000"),
            "http://127.0.0.1:9000/things/",
        ),
        (with_keys("http://[::1]:9000"), "http://[::1]:9000/things/"),
        (
            with_keys("http://localhost:9000"),
            "http://localhost:9000/things/",
        ),
        (
            with_keys("https://account.blob.core.windows.net"),
            "https://account.blob.core.windows.net/things/",
        ),
        (
            SpaceConnection {
                provider: Some(crate::Provider::Azure),
                ..path_style("http://127.0.0.1:10000")
            },
            "http://127.0.0.1:10000/account/things/",
        ),
        (gcs("gs://"), "https://storage.googleapis.com/things/"),
        (
            gcs("https://storage.googleapis.com"),
            "https://storage.googleapis.com/things/",
        ),
    ] {
        let recorder = Recorder::default();
        let bucket = recorder.bucket(&connection);
        put(&bucket).await;
        assert_eq!(
            recorder.lines(),
            [format!("PUT {url}a/b/shop.0f/item.json")]
        );
        recorder
            .answers
            .lock()
            .push((403, "<Error><Code>AccessDenied</Code></Error>"));
        bucket.remote.unwrap().check().await.unwrap_err();
        let [asked] = &recorder.lines()[..] else {
            panic!()
        };
        let asked = asked.replacen('?', "/?", 1).replacen("//?", "/?", 1);
        assert!(asked.starts_with(&format!("GET {url}?")), "{asked}");
        assert!(
            asked.contains("=1") && asked.contains("prefix=a/b/"),
            "{asked}"
        );
    }
}

#[tokio::test]
async fn a_new_bucket_is_asked_for_where_it_belongs() {
    let recorder = Recorder::default();
    let abroad = with_keys("https://s3.eu-west-1.amazonaws.com");
    recorder
        .bucket(&abroad)
        .remote
        .unwrap()
        .create()
        .await
        .unwrap();
    let [seen] = &recorder.take()[..] else {
        panic!()
    };
    assert_eq!(seen.line, "PUT https://things.s3.eu-west-1.amazonaws.com/");
    assert!(
        seen.body
            .contains("<LocationConstraint>eu-west-1</LocationConstraint>")
    );
    let signed = seen.headers["authorization"].to_str().unwrap();
    assert!(
        signed.starts_with("AWS4-HMAC-SHA256 Credential=account/"),
        "{signed}"
    );
    assert!(signed.contains("/eu-west-1/s3/aws4_request"), "{signed}");

    for endpoint in [
        "https://s3.amazonaws.com",
        "https://0123.r2.cloudflarestorage.com",
    ] {
        let here = recorder.bucket(&with_keys(endpoint)).remote.unwrap();
        recorder
            .answers
            .lock()
            .push((409, "<Error><Code>BucketAlreadyOwnedByYou</Code></Error>"));
        here.create().await.unwrap();
        assert_eq!(recorder.take()[0].body, "");
    }

    let azure = recorder.bucket(&with_keys("https://account.blob.core.windows.net"));
    azure.remote.unwrap().create().await.unwrap();
    let [seen] = &recorder.take()[..] else {
        panic!()
    };
    assert_eq!(
        seen.line,
        "PUT https://account.blob.core.windows.net/things?restype=container"
    );

    let google = recorder.bucket(&gcs("gs://"));
    let space = Space::of(
        "main",
        [(BucketRole::Records, google)].into(),
        Gate::default(),
    );
    let missing = "<Error><Code>NoSuchBucket</Code></Error>";
    recorder.answers.lock().push((404, missing));
    let refused = space.create_buckets().await.unwrap_err();
    assert!(
        matches!(refused, crate::StoreError::Unsupported(_)),
        "{refused:?}"
    );
    assert!(refused.to_string().contains("project"), "{refused}");
    assert_eq!(recorder.take().len(), 1);
}

#[tokio::test]
async fn objects_of_google_are_put_with_their_class_and_signed_for() {
    let recorder = Recorder::default();
    let connection = SpaceConnection {
        storage_class: PerRole {
            records: Some("NEARLINE".to_owned()),
            ..PerRole::default()
        },
        ..gcs("gs://")
    };
    let bucket = recorder.bucket(&connection);
    put(&bucket).await;
    let [seen] = &recorder.take()[..] else {
        panic!()
    };
    assert_eq!(seen.headers["x-goog-storage-class"], "NEARLINE");
    assert!(seen.headers.contains_key("authorization"));

    let key = &Path::from("shop.0f/item.json");
    bucket.store.delete(key).await.unwrap();
    let url = "https://storage.googleapis.com/things/a/b/shop.0f/item.json";
    assert_eq!(recorder.lines(), [format!("DELETE {url}")]);

    // Without a private key, Google signs.
    recorder
        .answers
        .lock()
        .push((200, r#"{"signedBlob":"c2lnbmVk"}"#));
    let hour = Duration::from_hours(1);
    let signed = bucket.remote.unwrap().presign(key, hour).await.unwrap();
    let [seen] = &recorder.take()[..] else {
        panic!()
    };
    assert!(
        seen.line
            .starts_with("POST https://iamcredentials.googleapis.com/"),
        "{}",
        seen.line
    );
    assert!(signed.starts_with(&format!("{url}?")), "{signed}");
    for part in [
        "X-Goog-Algorithm=GOOG4-RSA-SHA256",
        "X-Goog-Expires=3600",
        "X-Goog-Signature=",
    ] {
        assert!(signed.contains(part), "{signed}");
    }
}

#[tokio::test]
async fn tls_is_by_ring_without_a_default_of_the_process() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answering = tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut hello = [0; 3];
        tokio::io::AsyncReadExt::read_exact(&mut client, &mut hello)
            .await
            .unwrap();
        hello
    });
    let connection = SpaceConnection {
        max_retries: 0,
        ..with_keys(&format!("https://{address}"))
    };
    let space = Space::connect("main", &connection).unwrap();
    let refused = space.check().await.unwrap_err();
    assert!(
        refused.to_string().ends_with("the store cannot be reached"),
        "{refused}"
    );
    // A handshake record of TLS.
    assert_eq!(answering.await.unwrap(), [22, 3, 1]);
    assert!(rustls::crypto::CryptoProvider::get_default().is_none());
}

//! What can be wrong between payloads and a server: each wrong thing has its
//! error, in bounded time, and no request more than is needed is made.

use std::{
    net::{SocketAddr, TcpListener},
    num::NonZeroU64,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures::{TryStreamExt, future::join_all};
use reqwest::Url;
use xronox_model::{BucketRole, Encoding, Location};
use xronox_services::{Fault, Proxy, Request};
use xronox_store::{
    Codec, PayloadCache, Payloads, PerRole, Secret, Space, SpaceConnection, SpaceProblem,
    StoreError,
};

use crate::{
    made,
    payloads_suite::{assert_corrupt, described, noise, packing, stored, text},
    servers::{self, unique},
};

const RECORDS: BucketRole = BucketRole::Records;

fn payloads(space: Space) -> Payloads {
    let home = Some(space.name().to_owned());
    Payloads::new([space], home, PayloadCache::off()).unwrap()
}

/// A connection through a proxy that passes everything on.
fn proxied(connection: SpaceConnection) -> (SpaceConnection, Proxy) {
    let mut url = Url::parse(&connection.endpoint).unwrap();
    let upstream = url.socket_addrs(|| None).unwrap()[0];
    let proxy = Proxy::start(upstream).unwrap();
    to(&mut url, proxy.address());
    let endpoint = url.to_string();
    (
        SpaceConnection {
            endpoint,
            ..connection
        },
        proxy,
    )
}

fn to(url: &mut Url, address: SocketAddr) {
    url.set_ip_host(address.ip()).unwrap();
    url.set_port(Some(address.port())).unwrap();
}

/// The requests that pass a proxy from now on, as `METHOD kind`.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn of(proxy: &Proxy) -> Self {
        let log = Self::default();
        let seen = log.clone();
        proxy.inject(Fault::LoseRequest, 1, move |request| {
            let kind = match request.target() {
                target if target.contains("list-type=2") || target.contains("comp=list") => " list",
                target if target.contains("comp=blocklist") => " blocks",
                target if target.contains("comp=block") => " block",
                target if target.contains("uploads") => " begin",
                target if target.contains("partNumber=") => " part",
                target if target.contains("uploadId=") => " upload",
                _ => "",
            };
            seen.0
                .lock()
                .unwrap()
                .push(request.method().to_owned() + kind);
            false
        });
        log
    }

    /// What has passed since the last look.
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn everything(_: &Request<'_>) -> bool {
    true
}

fn hasty(connection: SpaceConnection) -> SpaceConnection {
    SpaceConnection {
        request_timeout_ms: NonZeroU64::new(300).unwrap(),
        max_retries: 1,
        ..connection
    }
}

/// The whole error with its causes, as a log would print it.
fn printed(error: &StoreError) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    let causes: Vec<_> = causes.map(ToString::to_string).collect();
    format!("{error} {error:?} {causes:?}")
}

#[track_caller]
fn assert_problem(error: &StoreError, problem: SpaceProblem) {
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    assert_eq!(SpaceProblem::of(error), Some(problem), "{error:?}");
    assert!(error.to_string().ends_with(&problem.to_string()), "{error}");
}

/// What each operation says where all are refused alike.
async fn refusals(payloads: &Payloads) -> Vec<StoreError> {
    let space = payloads.home().unwrap().name();
    let location = Location::Object {
        space: space.to_owned(),
        role: RECORDS,
        key: "a/b".to_owned(),
    };
    let body = described(&text(1, 50), Encoding::Plain, location.clone());
    let listed = payloads.list(space, RECORDS, "a").unwrap();
    vec![
        payloads.home().unwrap().check().await.unwrap_err(),
        payloads.put("a/b", text(1, 50), RECORDS).await.unwrap_err(),
        payloads
            .put("a/l", noise(17 << 20), RECORDS)
            .await
            .unwrap_err(),
        payloads.read(&body).await.unwrap_err(),
        payloads.delete(&location).await.unwrap_err(),
        listed.try_collect::<Vec<_>>().await.unwrap_err(),
    ]
}

#[tokio::test]
async fn no_request_is_made_that_is_not_needed() {
    for (connection, in_parts) in [
        (
            servers::s3(),
            vec![
                "POST begin",
                "PUT part",
                "PUT part",
                "PUT part",
                "PUT part",
                "POST upload",
            ],
        ),
        (
            servers::azure(),
            vec![
                "PUT block",
                "PUT block",
                "PUT block",
                "PUT block",
                "PUT blocks",
            ],
        ),
    ] {
        let on_s3 = in_parts[0] == "POST begin";
        made(&connection).await;
        let (connection, proxy) = proxied(connection);
        let log = Log::of(&proxy);
        let payloads = payloads(Space::connect("main", &connection).unwrap());
        assert_eq!(log.take(), [""; 0]);
        let canonical = text(1, 5000);
        let body = stored(&payloads, packing(), "a/b", &canonical).await;
        assert_eq!(log.take(), ["PUT"]);
        payloads.read(&body).await.unwrap();
        assert_eq!(log.take(), ["GET"]);
        let many: Vec<_> = payloads
            .read_many(vec![body.clone(); 10])
            .try_collect()
            .await
            .unwrap();
        assert_eq!((many.len(), log.take()), (10, vec!["GET".to_owned(); 10]));
        payloads.exists(&body.location).await.unwrap();
        assert_eq!(log.take(), ["HEAD"]);
        payloads
            .presign(&body.location, Duration::from_mins(1))
            .await
            .unwrap();
        assert_eq!(log.take(), [""; 0]);
        payloads.delete(&body.location).await.unwrap();
        assert_eq!(log.take(), ["DELETE"]);
        payloads.delete(&body.location).await.unwrap();
        assert_eq!(log.take(), ["DELETE"]);
        assert_corrupt(payloads.read(&body).await, "missing");
        assert_eq!(log.take(), ["GET"]);
        // Only S3 must be asked twice what it is that is missing.
        assert!(!payloads.exists(&body.location).await.unwrap());
        assert_eq!(
            log.take(),
            if on_s3 {
                vec!["HEAD", "GET"]
            } else {
                vec!["HEAD"]
            }
        );
        payloads.put("a/l", noise(25 << 20), RECORDS).await.unwrap();
        assert_eq!(log.take(), in_parts);
        payloads.home().unwrap().check().await.unwrap();
        assert_eq!(log.take(), ["GET list"; 2]);
    }
}

#[tokio::test]
async fn faults_that_pass_are_outlasted() {
    for connection in [servers::s3(), servers::azure()] {
        made(&connection).await;
        let (connection, proxy) = proxied(connection);
        let payloads = payloads(Space::connect("main", &connection).unwrap());
        let canonical = text(1, 100_000);
        for (i, fault) in [
            Fault::InternalError,
            Fault::SlowDown,
            Fault::LoseRequest,
            Fault::LoseAnswer,
        ]
        .into_iter()
        .enumerate()
        {
            let key = format!("a/{i}");
            proxy.inject(fault, 2, everything);
            let body = stored(&payloads, Codec::default(), &key, &canonical).await;
            assert_eq!(proxy.pending(), 0);
            proxy.inject(fault, 2, everything);
            assert_eq!(payloads.read(&body).await.unwrap(), canonical);
            proxy.inject(fault, 2, everything);
            assert!(payloads.exists(&body.location).await.unwrap());
            proxy.inject(fault, 2, everything);
            payloads.delete(&body.location).await.unwrap();
            assert!(!payloads.exists(&body.location).await.unwrap());
            assert_eq!(proxy.pending(), 0);
        }
    }
}

#[tokio::test]
async fn faults_in_parts_are_outlasted() {
    for connection in [servers::s3(), servers::azure()] {
        made(&connection).await;
        let (connection, proxy) = proxied(connection);
        let payloads = payloads(Space::connect("main", &connection).unwrap());
        let canonical = noise(20 << 20);
        for fault in [Fault::SlowDown, Fault::LoseRequest, Fault::LoseAnswer] {
            let completes = |request: &Request<'_>| {
                let target = request.target();
                target.contains("comp=blocklist")
                    || request.method() == "POST" && target.contains("uploadId=")
            };
            proxy.inject(fault, 1, completes);
            proxy.inject(fault, 3, |request| request.method() == "PUT");
            let body = stored(&payloads, Codec::default(), "a/l", &canonical).await;
            assert_eq!(proxy.pending(), 0);
            assert_eq!(payloads.read(&body).await.unwrap(), canonical);
            payloads.delete(&body.location).await.unwrap();
        }
    }
}

#[tokio::test]
async fn an_upload_that_fails_leaves_nothing_named() {
    for connection in [servers::s3(), servers::azure()] {
        made(&connection).await;
        let (connection, proxy) = proxied(connection);
        let connection = SpaceConnection {
            max_retries: 1,
            ..connection
        };
        let payloads = payloads(Space::connect("main", &connection).unwrap());
        let log = Log::of(&proxy);
        proxy.inject(Fault::SlowDown, 1000, |request| {
            let target = request.target();
            target.contains("partNumber=2") || target.contains("comp=block")
        });
        let put = payloads.put("a/l", noise(25 << 20), RECORDS).await;
        let error = put.unwrap_err().to_string();
        assert!(
            error.ends_with("503 SlowDown: Injected by a test."),
            "{error}"
        );
        let made = log.take();
        if made[0] == "POST begin" {
            assert_eq!(made.last().unwrap(), "DELETE upload");
        }
        let left = payloads.list("main", RECORDS, "").unwrap();
        assert_eq!(left.try_collect::<Vec<_>>().await.unwrap(), []);
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up() {
    for connection in [servers::s3(), servers::azure()] {
        made(&connection).await;
        let (connection, proxy) = proxied(connection);
        let payloads = payloads(Space::connect("main", &hasty(connection)).unwrap());
        let canonical = text(1, 500);
        let body = stored(&payloads, Codec::default(), "kept", &canonical).await;
        proxy.stall();
        let began = Instant::now();
        for error in refusals(&payloads).await {
            assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
            assert!(
                error.to_string().contains("no answer within 0.3 s"),
                "{error}"
            );
        }
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "{:?}",
            began.elapsed()
        );
        proxy.pass();
        // One in a while is let through to look.
        let read = loop {
            match payloads.read(&body).await {
                Err(_) if began.elapsed() < Duration::from_secs(30) => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                read => break read.unwrap(),
            }
        };
        assert_eq!(read, canonical);
    }
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_says_so() {
    // A port that was free a moment ago.
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for connection in [servers::s3(), servers::azure()] {
        let mut url = Url::parse(&connection.endpoint).unwrap();
        to(&mut url, address);
        let endpoint = url.to_string();
        let connection = hasty(SpaceConnection {
            endpoint,
            ..connection
        });
        let payloads = payloads(Space::connect("main", &connection).unwrap());
        let began = Instant::now();
        for error in refusals(&payloads).await {
            assert!(
                error.to_string().contains("the store cannot be reached"),
                "{error}"
            );
        }
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "{:?}",
            began.elapsed()
        );
    }
}

#[tokio::test]
async fn wrong_credentials_are_named_and_not_shown() {
    let guess = "Z3Vlc3NndWVzc2d1ZXNzZ3Vlc3NndWVzc2d1ZXNz";
    let unknown = SpaceConnection {
        access_key: Some("xronoxnobody".to_owned()),
        ..servers::s3()
    };
    for connection in [servers::s3(), unknown, servers::azure()] {
        let own = connection.secret_key.as_ref().unwrap().reveal().to_owned();
        let secret_key = Some(Secret::new(guess));
        let (connection, proxy) = proxied(SpaceConnection {
            secret_key,
            ..connection
        });
        let payloads = payloads(Space::connect("main", &connection).unwrap());
        let log = Log::of(&proxy);
        for error in refusals(&payloads).await {
            assert_problem(&error, SpaceProblem::Credentials);
            let text = printed(&error);
            assert!(!text.contains(guess) && !text.contains(&own), "{text}");
        }
        // Asking again would not help, so nobody did.
        assert!(log.take().len() <= 12);
        let text = format!("{connection:?} {:?}", payloads.home());
        assert!(!text.contains(guess), "{text}");
    }
}

#[tokio::test]
async fn what_is_not_allowed_is_denied() {
    let own = servers::s3_limited();
    let shared = servers::s3();
    made(&shared).await;
    let payloads_of =
        |connection: &SpaceConnection| payloads(Space::connect("main", connection).unwrap());
    let mine = payloads_of(&own);
    mine.home().unwrap().check().await.unwrap();
    let body = stored(&mine, Codec::default(), &unique("mine"), &text(1, 50)).await;
    mine.read(&body).await.unwrap();
    mine.delete(&body.location).await.unwrap();

    let elsewhere = SpaceConnection {
        buckets: shared.buckets,
        ..own.clone()
    };
    for error in refusals(&payloads_of(&elsewhere)).await {
        assert_problem(&error, SpaceProblem::Denied);
    }
    let bucket = Some(unique("fresh"));
    let fresh = SpaceConnection {
        buckets: PerRole::default(),
        bucket,
        ..own
    };
    let error = Space::connect("main", &fresh)
        .unwrap()
        .create_buckets()
        .await;
    assert_problem(&error.unwrap_err(), SpaceProblem::Denied);
}

#[tokio::test]
async fn a_missing_bucket_is_not_an_empty_one() {
    for connection in [servers::s3(), servers::azure()] {
        let name = unique("missing");
        let buckets = PerRole {
            records: Some(name.clone()),
            ..PerRole::default()
        };
        let connection = SpaceConnection {
            buckets,
            ..connection
        };
        let payloads = payloads(Space::connect("main", &connection).unwrap());
        for error in refusals(&payloads).await {
            assert_problem(&error, SpaceProblem::MissingBucket);
        }
        let location = Location::Object {
            space: "main".to_owned(),
            role: RECORDS,
            key: "a/b".to_owned(),
        };
        let error = payloads.exists(&location).await.unwrap_err();
        assert_problem(&error, SpaceProblem::MissingBucket);
        let error = payloads
            .home()
            .unwrap()
            .check()
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(&name), "{error}");

        // Many make it at once, and again.
        let space = payloads.home().unwrap();
        for made in join_all((0..8).map(|_| space.create_buckets())).await {
            made.unwrap();
        }
        space.create_buckets().await.unwrap();
        space.check().await.unwrap();
        assert!(!payloads.exists(&location).await.unwrap());
    }
}

#[tokio::test]
async fn objects_get_the_class_of_their_bucket() {
    for (connection, class, header) in [
        (
            servers::s3(),
            "STANDARD_IA",
            "x-amz-storage-class: STANDARD_IA",
        ),
        (servers::azure(), "Cool", "x-ms-access-tier: Cool"),
    ] {
        made(&connection).await;
        let (connection, proxy) = proxied(connection);
        let storage_class = PerRole {
            records: Some(class.to_owned()),
            ..PerRole::default()
        };
        let connection = SpaceConnection {
            storage_class,
            ..connection
        };
        let payloads = payloads(Space::connect("main", &connection).unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        proxy.inject(Fault::LoseRequest, 1, {
            let seen = seen.clone();
            move |request| {
                let made = (request.method().to_owned(), request.contains(header));
                seen.lock().unwrap().push(made);
                false
            }
        });
        let put = |key, length, role| payloads.put(key, noise(length), role);
        put("a/b", 50, RECORDS).await.unwrap();
        put("a/v", 50, BucketRole::Versions).await.unwrap();
        let small = std::mem::take(&mut *seen.lock().unwrap());
        assert_eq!(small, [("PUT".to_owned(), true), ("PUT".to_owned(), false)]);
        let large = noise(17 << 20);
        let body = stored(&payloads, Codec::default(), "a/l", &large).await;
        assert!(seen.lock().unwrap()[0].1, "{:?}", seen.lock().unwrap());
        assert_eq!(payloads.read(&body).await.unwrap(), large);
    }
}

/// Runs a test of this file that plain runs leave out, in a process of its own
/// with these variables.
fn run_with(test: &str, variables: &[(&str, &str)]) {
    let run = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("problems::{test}"), "--include-ignored"])
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
fn a_line_and_the_environment_are_enough() {
    let s3 = servers::s3();
    let bucket = s3.buckets.records.unwrap();
    let line = format!(
        "s3://{bucket}/lines?endpoint={}&pathStyle=true",
        s3.endpoint
    );
    run_with(
        "a_line_is_enough",
        &[
            ("LINE", &line),
            ("AWS_REGION", &s3.region.unwrap()),
            ("AWS_ACCESS_KEY_ID", &s3.access_key.unwrap()),
            ("AWS_SECRET_ACCESS_KEY", s3.secret_key.unwrap().reveal()),
        ],
    );
    let azure = servers::azure();
    let bucket = azure.buckets.records.unwrap();
    run_with(
        "a_line_is_enough",
        &[
            (
                "LINE",
                &format!("az://{bucket}/lines?endpoint={}", azure.endpoint),
            ),
            ("AZURE_STORAGE_ACCOUNT", &azure.access_key.unwrap()),
            ("AZURE_STORAGE_KEY", azure.secret_key.unwrap().reveal()),
        ],
    );
}

#[tokio::test]
#[ignore = "run by a_line_and_the_environment_are_enough"]
async fn a_line_is_enough() {
    let connection = SpaceConnection::from_url(&std::env::var("LINE").unwrap()).unwrap();
    let payloads = payloads(made(&connection).await);
    let canonical = text(1, 500);
    let key = unique("key");
    for role in [RECORDS, BucketRole::Backups] {
        let location = payloads.put(&key, canonical.clone(), role).await.unwrap();
        let body = described(&canonical, Encoding::Plain, location);
        assert_eq!(payloads.read(&body).await.unwrap(), canonical);
        payloads.delete(&body.location).await.unwrap();
    }
}

//! What reaches servers.

use rand::Rng;
use serde_json::json;
use xronox::{BucketPlace, Config, EnsureBuckets, ErrorKind, Xronox};
use xronox_services::env;

#[tokio::test]
async fn transactions_and_timeouts_reach_mongodb() {
    let config = || {
        Config::at(&env::mongo_standalone_uri().unwrap())
            .unwrap()
            .database("xronox_test_config")
    };
    let mut demanding = config();
    demanding.settings.transactions.auto_detect = false;
    let error = Xronox::open(demanding).await.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::Unsupported);
    assert!(error.to_string().contains("transactions"), "{error}");

    let mut without = config();
    without.settings.transactions.enabled = false;
    without.settings.transactions.auto_detect = false;
    Xronox::open(without).await.unwrap().close().await.unwrap();

    let mut hasty = config();
    let connection = hasty.db_connections.get_mut("main").unwrap();
    // Nobody is there.
    connection.mongo_uri = xronox::Secret::new("mongodb://127.0.0.1:9");
    connection.pool.connect_timeout_ms = 200;
    connection.pool.request_timeout_ms = 400;
    let begun = std::time::Instant::now();
    let error = Xronox::open(hasty).await.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::Unavailable);
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
}

/// Buckets of listed databases and of tenants that came at run time are made
/// where they are not there; what cannot be used is told, and the rest is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn buckets_are_made_and_what_is_lacking_is_told() {
    let (s3, azure) = (env::s3().unwrap(), env::azure().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let mark = format!("{:08x}", rand::rng().random::<u32>());
    let on_s3 = |secret: &str| {
        json!({
            "endpoint": s3.endpoint, "region": s3.region, "accessKey": s3.access_key,
            "secretKey": secret, "forcePathStyle": true,
        })
    };
    let config = json!({
        "dbConnections": { "main": { "mongoUri": format!("sqlite:{}", folder.path().display()) } },
        "spacesConnections": {
            "s3": on_s3(&s3.secret_key),
            "wrong": on_s3("no-such-secret"),
            "azure": {
                "endpoint": azure.endpoint, "provider": "azure", "accessKey": azure.account,
                "secretKey": azure.key, "forcePathStyle": true,
            },
            "files": { "endpoint": format!("file:{}/objects", folder.path().display()) },
        },
        "databases": {
            "metadata": { "genericDatabase": {
                "dbConnRef": "main", "dbName": "meta", "spaceConnRef": "files", "bucket": "b",
            } },
            "logs": {
                "dbConnRef": "main", "dbName": "logs", "spaceConnRef": "wrong",
                "bucket": format!("xt-{mark}-logs"),
            },
            "runtime": {
                "tenantDatabases": [{
                    "tenantId": "acme", "dbConnRef": "main", "dbName": "acme",
                    "spaceConnRef": "azure", "bucket": format!("xt-{mark}-acme"),
                }],
                "dynamicTenants": {
                    "enabled": true, "dbConnRef": "main", "dbNameTemplate": "app_{tenantId}",
                    "spaceConnRef": "s3", "bucketTemplate": format!("xt-{mark}-{{tenantId}}"),
                },
            },
        },
    });
    let config = Config::from_value(config).unwrap();
    let told = async |ensure: EnsureBuckets| {
        let report = ensure.await.unwrap();
        let text = serde_json::to_string(&report).unwrap();
        assert!(
            !text.contains(&s3.secret_key) && !text.contains("no-such-secret"),
            "{text}"
        );
        let named = |place: &BucketPlace| place.bucket.clone().unwrap_or_default();
        let mut lacking: Vec<_> = report.lacking.iter().map(|l| named(&l.place)).collect();
        lacking.sort();
        let made: Vec<_> = report.made.iter().map(named).collect();
        (report.there, made, lacking)
    };
    let [acme, logs] = ["acme", "logs"].map(|name| format!("xt-{mark}-{name}"));
    // Only what the configuration lists, while there is no directory; the
    // folder can be made, and is not.
    let (there, made, lacking) = told(config.ensure_buckets().dry_run()).await;
    assert_eq!((there, made), (1, Vec::new()));
    assert_eq!(lacking, [acme.clone(), logs.clone()]);
    assert_eq!(folder.path().read_dir().unwrap().count(), 0);

    let xronox = Xronox::open(config.clone().create_buckets()).await.unwrap();
    xronox.tenant("globex").await.unwrap();
    xronox.close().await.unwrap();
    let (there, made, lacking) = told(config.ensure_buckets()).await;
    assert_eq!((there, made), (2, vec![acme]));
    assert_eq!(lacking, [logs.as_str()]);
    let (there, made, lacking) = told(config.ensure_buckets().dry_run()).await;
    assert_eq!((there, made), (3, Vec::new()));
    assert_eq!(lacking, [logs]);
}

#[tokio::test]
async fn connections_are_tried() {
    let s3 = env::s3().unwrap();
    let config = Config::from_value(json!({
        "dbConnections": { "mongo": { "mongoUri": env::mongo_uri().unwrap() } },
        "spacesConnections": { "s3": {
            "endpoint": s3.endpoint, "region": s3.region, "accessKey": s3.access_key,
            "secretKey": s3.secret_key, "forcePathStyle": true, "bucket": "xronox-test-nowhere"
        } },
        "databases": { "logs": { "dbConnRef": "mongo", "spaceConnRef": "s3", "dbName": "logs" } }
    }));
    let tried = config.unwrap().check_connections().await;
    assert_eq!(tried[0].path, "dbConnections.mongo");
    assert!(tried[0].result.is_ok(), "{tried:?}");
    assert_eq!(tried[1].path, "spacesConnections.s3");
    let error = tried[1].result.as_ref().unwrap_err().to_string();
    assert!(error.contains("xronox-test-nowhere"), "{error}");
    assert!(!error.contains(&s3.secret_key), "{error}");
}

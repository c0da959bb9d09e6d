//! What reaches servers.

use serde_json::json;
use xronox::{Config, ErrorKind, Xronox};
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

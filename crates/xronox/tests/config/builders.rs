//! Configurations made in code.

use serde_json::json;
use xronox::{
    CollectionMap, Config, DatabaseConfig, DynamicTenants, ErrorKind, ProductionConfig, Secret,
    SpaceConnection, TenantDatabases, TieredDatabases, Xronox,
};

#[test]
fn dev_is_one_tenant_in_a_folder() {
    let shown = Config::dev("some/where").show();
    assert_eq!(
        shown["dbConnections"]["main"]["mongoUri"],
        "sqlite:some/where/catalog"
    );
    assert_eq!(
        shown["spacesConnections"]["main"]["endpoint"],
        "file:some/where/objects"
    );
    let place = |name: &str| json!({ "dbConnRef": "main", "spaceConnRef": "main", "dbName": name });
    let tenant = |name: &str| {
        let mut place = place(name);
        place["tenantId"] = json!("default");
        json!([place])
    };
    let databases = &shown["databases"];
    for of in ["metadata", "knowledge", "runtime"] {
        let name = format!("xronox_{of}_default");
        assert_eq!(databases[of]["tenantDatabases"], tenant(&name));
    }
    for of in ["logs", "messaging", "identities"] {
        assert_eq!(databases[of]["dbName"], format!("xronox_{of}"));
        assert_eq!(databases[of]["spaceConnRef"], "main");
    }
    for config in [
        Config::dev("x"),
        Config::memory(),
        Config::at("memory:").unwrap(),
    ] {
        config.check().unwrap();
        assert_eq!(config.unsupported(), []);
    }
}

#[test]
fn stores_of_one_server_share_no_database() {
    let config = Config::at("mongodb://db").unwrap().database("shop");
    config.check().unwrap();
    let shown = config.show().to_string();
    assert!(!shown.contains("xronox_"), "{shown}");
    assert!(shown.contains("\"dbName\":\"shop\""), "{shown}");
}

#[test]
fn production_is_as_documented() {
    let config = Config::production(ProductionConfig {
        mongo_uri: Secret::new("mongodb://ann:hush@db"),
        s3_endpoint: "https://s3.amazonaws.com".to_owned(),
        s3_region: Some("us-east-1".to_owned()),
        s3_access_key: Some("AKIA".to_owned()),
        s3_secret_key: Some(Secret::new("hush")),
        tenants: vec!["acme-corp".to_owned(), "globex-inc".to_owned()],
        bucket_prefix: "myapp".to_owned(),
    });
    config.check().unwrap();
    insta::assert_json_snapshot!(config.show());
}

#[test]
fn a_builder_checks_what_it_built() {
    let dynamic = DynamicTenants::new("main", "app_{tenantId}".parse().unwrap());
    let config = Config::builder()
        .db_connection("main", "memory:")
        .space_connection("s", SpaceConnection::new("memory:"))
        .metadata(TieredDatabases::default().domain("d", DatabaseConfig::new("main", "m")))
        .runtime(TenantDatabases::default().dynamic(dynamic))
        .logs(
            DatabaseConfig::new("main", "logs")
                .space("s")
                .bucket("logs"),
        )
        .collection("orders", CollectionMap::default())
        .settings(|settings| settings.queries.max_limit = 500)
        .build()
        .unwrap();
    assert_eq!(config.settings.queries.max_limit, 500);

    let error = Config::builder()
        .knowledge(TieredDatabases::default().generic(DatabaseConfig::new("mian", "k")))
        .db_connection("main", "memory:")
        .collection("a", CollectionMap::default())
        .settings(|settings| settings.queries.max_limit = 5)
        .build()
        .unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::Config);
    assert_eq!(error.problems().len(), 2, "{error}");
}

#[tokio::test]
async fn a_wrong_configuration_does_not_open() {
    let mut config = Config::memory();
    config.settings.queries.max_limit = 5;
    let error = Xronox::open(config).await.unwrap_err();
    assert_eq!(error.problems()[0].path, "queries.defaultLimit");
    let nothing = Xronox::open(Config::default()).await.unwrap();
    let error = nothing.collection("orders").unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::UnknownTenant);
    let config = Config::memory().with_payloads(SpaceConnection::new("nowhere"));
    let error = Xronox::open(config).await.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::Config);
    assert_eq!(error.problems()[0].path, "spacesConnections.main.endpoint");
}

#[cfg(unix)]
#[tokio::test]
async fn a_path_that_is_no_text_is_named() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(OsStr::from_bytes(b"d\xffta"));
    let error = Xronox::open(Config::dev(&path)).await.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::Config);
    assert!(error.to_string().contains("UTF-8"), "{error}");
    assert!(folder.path().read_dir().unwrap().next().is_none());
}

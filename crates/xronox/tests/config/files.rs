//! Configurations in files, and where they are looked for.

use std::{fs, path::Path};

use xronox::{Config, ConfigLoader, ErrorKind, Xronox};

use crate::variable;

const JSON: &str = r#"{ "dbConnections": { "main": { "mongoUri": "sqlite:./data" } },
    "spacesConnections": { "disk": { "endpoint": "file:objects" } },
    "databases": { "runtime": { "tenantDatabases": [
        { "tenantId": "default", "dbConnRef": "main", "spaceConnRef": "disk", "dbName": "shop" } ] } },
    "queries": { "maxLimit": 77 } }"#;

const TOML: &str = r#"
[xronox.dbConnections.main]
mongoUri = "sqlite:./data"
[xronox.spacesConnections.disk]
endpoint = "file:objects"
[[xronox.databases.runtime.tenantDatabases]]
tenantId = "default"
dbConnRef = "main"
spaceConnRef = "disk"
dbName = "shop"
[xronox.queries]
maxLimit = 77
"#;

const YAML: &str = "
dbConnections:
  main: { mongoUri: 'sqlite:./data' }
spacesConnections:
  disk: { endpoint: 'file:objects' }
databases:
  runtime:
    tenantDatabases:
      - { tenantId: default, dbConnRef: main, spaceConnRef: disk, dbName: shop }
queries:
  maxLimit: 77
";

#[test]
fn one_configuration_in_three_languages() {
    let folder = tempfile::tempdir().unwrap();
    let load = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        Config::load(&path).unwrap()
    };
    let json = load("a.json", JSON);
    assert_eq!(load("a.toml", TOML), json);
    assert_eq!(load("a.yaml", YAML), json);
    assert_eq!(load("a.yml", YAML), json);
    let uri = format!("sqlite:{}", folder.path().join("data").display());
    assert_eq!(json.db_connections["main"].mongo_uri.reveal(), uri);
    let endpoint = format!("file:{}", folder.path().join("objects").display());
    assert_eq!(json.spaces_connections["disk"].endpoint, endpoint);
}

#[test]
fn what_cannot_be_read_is_told_without_its_text() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("a.json", "{\n \"secretKey\": \"hush }"),
        ("a.toml", "[x]\nsecretKey = \"hush"),
        ("a.yaml", "a: 1\nsecretKey: [hush"),
        ("a.yaml", "a: 1\na: hush\n"),
        ("a.ini", "secretKey=hush"),
        ("a.json", "\u{feff}{}"),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        let error = Config::load(&path).unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::Config);
        let said = error.to_string();
        assert!(said.contains(name) && !said.contains("hush"), "{said}");
        assert!(said.contains("line") || name == "a.ini", "{said}");
    }
    fs::write(folder.path().join("b.json"), [b'"', 0xff, b'"']).unwrap();
    for name in ["b.json", "missing.json", "."] {
        let error = Config::load(folder.path().join(name)).unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::Config);
    }
}

#[test]
fn a_file_is_looked_for_upwards_to_the_repository() {
    let outer = tempfile::tempdir().unwrap();
    let outer = outer.path();
    let repository = outer.join("repository");
    let inner = repository.join("a/b");
    fs::create_dir_all(&inner).unwrap();
    let write = |folder: &Path, name: &str, limit: u32| {
        let text = format!(r#"{{ "queries": {{ "maxLimit": {limit} }} }}"#);
        fs::write(folder.join(name), text).unwrap();
    };
    let found = |start: &Path| {
        let loader = ConfigLoader::new().variables(variable);
        let found = loader.discover(start).unwrap();
        found.map(|(path, config)| (path, config.settings.queries.max_limit))
    };
    write(outer, "xronox.config.json", 61);
    let path = outer.join("xronox.config.json");
    assert_eq!(found(&inner), Some((path.clone(), 61)));
    // Nothing above the repository is looked at.
    fs::create_dir(repository.join(".git")).unwrap();
    assert_eq!(found(&inner), None);
    write(&repository, ".xronox.json", 62);
    assert_eq!(found(&inner), Some((repository.join(".xronox.json"), 62)));
    write(&repository, "xronox.config.json", 63);
    assert_eq!(
        found(&inner),
        Some((repository.join("xronox.config.json"), 63))
    );
    write(&inner, ".xronox.json", 64);
    assert_eq!(found(&inner), Some((inner.join(".xronox.json"), 64)));
    assert_eq!(found(outer), Some((path, 61)));
    // One that is wrong is not passed over.
    fs::write(inner.join("xronox.config.json"), "{").unwrap();
    let error = Config::discover(&inner).unwrap_err();
    assert!(error.to_string().contains("xronox.config.json"), "{error}");
}

#[tokio::test]
async fn what_a_file_describes_opens() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("xronox.config.json");
    fs::write(&path, JSON).unwrap();
    let (_, config) = Config::discover(folder.path()).unwrap().unwrap();
    let tried = config.check_connections().await;
    assert_eq!(tried.len(), 2);
    assert!(tried.iter().all(|one| one.result.is_ok()), "{tried:?}");
    assert_eq!(
        folder.path().read_dir().unwrap().count(),
        1,
        "trying makes nothing"
    );
    let xronox = Xronox::open(config).await.unwrap();
    let orders = xronox.collection("orders").unwrap();
    orders.create(serde_json::json!({ "n": 1 })).await.unwrap();
    xronox.close().await.unwrap();
    assert!(folder.path().join("data/shop.sqlite").is_file());
    assert!(folder.path().join("objects/records").is_dir());
}

#[tokio::test]
async fn a_connection_that_does_not_answer_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let config = Config::at(&format!("sqlite:{}", file.display())).unwrap();
    let tried = config.check_connections().await;
    assert_eq!(tried[0].path, "dbConnections.main");
    let error = tried[0].result.as_ref().unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::Unavailable);
}

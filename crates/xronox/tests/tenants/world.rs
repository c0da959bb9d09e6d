//! Stores with tenants, and what is really there of them.

use std::{collections::BTreeSet, fs, net::SocketAddr, path::Path, time::Duration};

use futures::TryStreamExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use xronox::{BucketRole, Config, Database, SpaceConnection, Xronox};
use xronox_services::{Connection, bson::doc, env};
use xronox_store::Space;

use crate::support::Dice;

const BUCKET: &str = "xronox-test-tenants";

/// Two connections and a bucket that tenants share; what a test leaves there is
/// removed with it.
pub(crate) struct World {
    /// In front of the names of all databases.
    pub(crate) name: String,
    folder: Option<TempDir>,
    pub(crate) config: Value,
}

impl World {
    /// On files and on servers.
    pub(crate) fn all() -> [Self; 2] {
        [Self::local(), Self::on_servers()]
    }

    pub(crate) fn local() -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().display().to_string();
        Self::new(
            Some(folder),
            &json!({
                "one": { "mongoUri": format!("sqlite:{path}/one") },
                "two": { "mongoUri": format!("sqlite:{path}/two") },
            }),
            &json!({ "endpoint": format!("file:{path}/objects"), "bucket": BUCKET }),
        )
    }

    /// A replica set and a standalone server.
    pub(crate) fn on_servers() -> Self {
        let s3 = env::s3().unwrap();
        Self::new(
            None,
            &json!({
                "one": { "mongoUri": env::mongo_uri().unwrap() },
                "two": { "mongoUri": env::mongo_standalone_uri().unwrap() },
            }),
            &json!({
                "endpoint": s3.endpoint,
                "region": s3.region,
                "accessKey": s3.access_key,
                "secretKey": s3.secret_key,
                "forcePathStyle": true,
                "bucket": BUCKET,
            }),
        )
    }

    fn new(folder: Option<TempDir>, connections: &Value, space: &Value) -> Self {
        let name = crate::support::database().replace('_', "-");
        // Names of databases have 63 bytes at most.
        let name = format!("x{}", &name[name.len() - 12..]);
        let config = json!({
            "dbConnections": connections,
            "spacesConnections": { "bodies": space },
            "databases": {
                "metadata": {
                    "genericDatabase": { "dbConnRef": "one", "dbName": format!("{name}-metadata") },
                },
                "knowledge": {
                    "dynamicTenants": {
                        "enabled": true,
                        "dbConnRef": "one",
                        "dbNameTemplate": format!("{name}k-{{tenantId}}"),
                    },
                },
                "runtime": {
                    "tenantDatabases": [{
                        "tenantId": "listed", "dbConnRef": "one", "spaceConnRef": "bodies",
                        "dbName": format!("{name}-listed"),
                    }],
                    "dynamicTenants": {
                        "enabled": true,
                        "dbConnRef": "one",
                        "spaceConnRef": "bodies",
                        "dbNameTemplate": format!("{name}-{{tenantId}}"),
                    },
                },
            },
            "payloads": { "inlineMaxBytes": 300 },
        });
        Self {
            name,
            folder,
            config,
        }
    }

    /// Opens the store as another process would.
    pub(crate) async fn open(&self) -> Xronox {
        open(&self.config).await
    }

    /// What there is that belongs to a tenant: databases, each with its
    /// connection, and objects.
    pub(crate) async fn residue(&self, tenant: &str) -> Vec<String> {
        let names = [
            format!("{}-{tenant}", self.name),
            format!("{}k-{tenant}", self.name),
        ];
        let mut found = Vec::new();
        for (connection, database) in self.databases() {
            if names.contains(&database) {
                found.push(format!("{connection}/{database}"));
            }
        }
        for key in self.objects().await {
            if names
                .iter()
                .any(|name| key.starts_with(&format!("{name}.")))
            {
                found.push(key);
            }
        }
        found
    }

    /// Every database, with its connection. Of files each one counts, those of
    /// a log too.
    fn databases(&self) -> BTreeSet<(String, String)> {
        let mut found = BTreeSet::new();
        for connection in ["one", "two"] {
            let names = match &self.folder {
                Some(folder) => files(&folder.path().join(connection)),
                None => on_server(self.uri(connection)),
            };
            for name in names {
                let name = name.split(".sqlite").next().unwrap().to_owned();
                found.insert((connection.to_owned(), name));
            }
        }
        found
    }

    fn uri(&self, connection: &str) -> &str {
        let uri = &self.config["dbConnections"][connection]["mongoUri"];
        uri.as_str().unwrap()
    }

    /// The keys of the objects that are there of this test's databases; of
    /// files, and of the directories that they leave behind.
    async fn objects(&self) -> Vec<String> {
        if let Some(folder) = &self.folder {
            return files(&folder.path().join("objects").join(BUCKET))
                .into_iter()
                .map(|name| format!("{name}."))
                .collect();
        }
        let space = &self.config["spacesConnections"]["bodies"];
        let space: SpaceConnection = serde_json::from_value(space.clone()).unwrap();
        let space = Space::connect("bodies", &space).unwrap();
        let listed = space.bucket(BucketRole::Records).unwrap().list(None);
        let keys = listed.map_ok(|object| object.location.to_string());
        let mut keys: Vec<String> = keys.try_collect().await.unwrap();
        keys.retain(|key| key.starts_with(&self.name));
        keys
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if self.folder.is_some() {
            return;
        }
        for connection in ["one", "two"] {
            let uri = self.uri(connection);
            for name in on_server(uri) {
                if name.starts_with(&self.name) {
                    let dropped = server(uri).command(&name, doc! { "dropDatabase": 1 });
                    assert!(dropped.is_ok() || std::thread::panicking());
                }
            }
        }
    }
}

pub(crate) async fn open(config: &Value) -> Xronox {
    let config = Config::from_json(&config.to_string()).unwrap();
    Xronox::open(config.create_buckets()).await.unwrap()
}

fn files(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let names = entries.map(|entry| entry.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).collect()
}

fn server(uri: &str) -> Connection {
    let host = uri.split("://").nth(1).unwrap();
    let host = host.split(['/', ',']).next().unwrap();
    let address: SocketAddr = host.parse().unwrap();
    Connection::open(address, Duration::from_secs(30)).unwrap()
}

fn on_server(uri: &str) -> Vec<String> {
    let list = doc! { "listDatabases": 1, "nameOnly": true };
    let listed = server(uri).command("admin", list).unwrap();
    let listed = listed.get_array("databases").unwrap();
    let names = listed.iter().map(|one| one.as_document().unwrap());
    let names = names.map(|one| one.get_str("name").unwrap().to_owned());
    names.collect()
}

/// Writes a history of all kinds of versions, in two collections.
pub(crate) async fn live(database: &Database, seed: u64, steps: u64) {
    let mut dice = Dice::new(seed);
    for name in ["orders", "notes"] {
        let things = database.collection(name).unwrap();
        for n in 0..steps {
            let size = usize::try_from(dice.below(700)).unwrap();
            let document =
                json!({ "n": n, "seed": seed, "group": n % 3, "fill": "x".repeat(size) });
            things
                .create_with_id(&*format!("{seed}-{n}"), document)
                .actor("user:ann")
                .await
                .unwrap();
            let earlier = format!("{seed}-{}", dice.below(n + 1));
            let _ = match dice.below(4) {
                0 => things.delete(&*earlier).await,
                1 => things.restore_object(&*earlier).to_ov(0).await,
                _ => things.patch(&*earlier, json!({ "more": n })).await,
            };
        }
        things.query(json!({ "group": 1 })).await.unwrap();
    }
}

/// Everything that can be read of a database: every version of every record.
pub(crate) async fn story(database: &Database) -> Vec<Value> {
    let mut all = Vec::new();
    for name in database.collections().await.unwrap() {
        let things = database.collection(name.as_str()).unwrap();
        let mut after = None;
        loop {
            let changes = things.changes(after).limit(1000).await.unwrap();
            let Some(last) = changes.last() else { break };
            after = Some(last.cv);
            for change in changes {
                let version = things.get_version(&change.id, change.ov);
                let body = version.include_deleted().await.unwrap();
                all.push(json!({ "collection": name, "change": change, "body": body.json() }));
            }
        }
    }
    all
}

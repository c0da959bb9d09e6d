//! Tenants with odd names, on several catalogs and stores of objects at once,
//! who do odd things: nothing of one ever reaches another.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use futures::TryStreamExt;
use serde_json::{Value, json};
use support::{Dice, bucket, container, database};
use tempfile::TempDir;
use xronox::{
    Collection, Config, Context, Database, DatabaseType, DbConnection, Direction, EntityMapping,
    ErrorKind, Projection, Record, Sha256, Xronox,
};
use xronox_services::env;

/// Tenants whose ids somebody might take for one another.
const TENANTS: [&str; 14] = [
    "acme",
    "Acme",
    "ACME",
    "acme ",
    "acme.",
    "acme/",
    "../acme",
    "acme%2e",
    "_61cme",
    "acm\u{e9}",
    "acme\u{301}",
    "\u{ff41}cme",
    "$acme",
    "acme_h0123456789abcdef0123456789abcdef",
];

/// Ids that every tenant uses.
const IDS: [&str; 10] = [
    "a",
    "A",
    "../a",
    "..",
    "a/v0/item.json",
    "$where",
    "acme/orders/a",
    "a#1",
    "\u{e1}",
    "a\u{301}",
];

const COLLECTIONS: [&str; 4] = ["orders", "Orders", "orders_ver", "xronox_jobs"];

/// Where records with entities and with files go beside those.
const OTHERS: [&str; 3] = ["sales", "parties", "papers"];

/// One tenant, and what it must find.
struct Tenant {
    id: String,
    /// A word that is in each of its documents, and in nobody else's.
    word: String,
    state: BTreeMap<(usize, usize), Value>,
    versions: u64,
    /// What the URLs of its files have in front of the collection.
    signed: BTreeSet<String>,
}

impl Tenant {
    fn new(number: usize, id: &str) -> Self {
        Self {
            id: id.to_owned(),
            word: format!("belongs-to-{number:03}-alone"),
            state: BTreeMap::new(),
            versions: 0,
            signed: BTreeSet::new(),
        }
    }

    /// A document that looks like what the store itself keeps, or like another
    /// tenant's.
    fn document(&mut self, dice: &mut Dice) -> Value {
        self.versions += 1;
        let other = TENANTS[usize::try_from(dice.below(14)).unwrap()];
        let mut document = json!({ "word": self.word, "n": dice.below(5), "v": self.versions });
        let odd = match dice.below(6) {
            0 => json!({ "tenantId": other, "dbName": format!("app_{other}") }),
            1 => json!({ "$ref": "orders", "$id": "a", "$db": other }),
            2 => json!({ "_id": "b", "_system": { "ov": 99, "originId": other } }),
            3 => json!({ "l": { "space": "main", "role": "records", "key": "../../a" } }),
            // Too large for the catalog.
            4 => json!({ "text": self.word.repeat(5000) }),
            _ => json!({ "meta": { "database": other } }),
        };
        for (name, value) in odd.as_object().unwrap() {
            document[name] = value.clone();
        }
        document
    }

    fn check(&self, record: &Record) {
        assert_eq!(
            record.json()["word"],
            self.word.as_str(),
            "of {:?}",
            self.id
        );
    }
}

/// What a read of the document gives.
fn kept(document: &Value) -> Value {
    let mut document = document.clone();
    let fields = document.as_object_mut().unwrap();
    fields.remove("_id");
    fields.remove("_system");
    document
}

async fn open(xronox: &Xronox, tenant: &Tenant) -> Database {
    xronox.tenant(&tenant.id).await.unwrap()
}

/// One odd thing, of a tenant.
async fn act(xronox: &Xronox, tenant: &mut Tenant, others: &[String], dice: &mut Dice) {
    let database = open(xronox, tenant).await;
    let pick = |dice: &mut Dice, n: usize| usize::try_from(dice.below(n as u64)).unwrap();
    let (of, which) = (pick(dice, COLLECTIONS.len()), pick(dice, IDS.len()));
    let orders = database.collection(COLLECTIONS[of]).unwrap();
    let id = IDS[which];
    let there = tenant.state.contains_key(&(of, which));
    match dice.below(14) {
        0..=3 => {
            let document = tenant.document(dice);
            let written = if there {
                orders.update(id, &document).await
            } else {
                orders.create_with_id(id, &document).await
            };
            match written {
                Ok(_) => {
                    tenant.state.insert((of, which), kept(&document));
                }
                // It was deleted before.
                Err(error) => assert_eq!(*error.kind(), ErrorKind::AlreadyExists, "{error}"),
            }
        }
        4 => match orders.delete(id).await {
            Ok(_) => assert!(tenant.state.remove(&(of, which)).is_some()),
            Err(_) => assert!(!there),
        },
        5 => match orders.get_latest(id).await {
            Ok(record) => assert_eq!(record.document(), tenant.state[&(of, which)]),
            Err(error) => {
                assert!(!there, "{error}");
                assert_eq!(*error.kind(), ErrorKind::NotFound);
            }
        },
        6 | 7 => odd_queries(&orders, tenant, of, dice).await,
        8 => {
            let changes = orders.changes(None).limit(1000).await.unwrap();
            for change in changes {
                if let Ok(record) = orders.get_version(&change.id, change.ov).await {
                    tenant.check(&record);
                }
            }
        }
        9 => {
            // Another name, another tenant's or any, is refused.
            let name = others[pick(dice, others.len())].clone();
            let same = name == database.name();
            let asked = Context::runtime(&tenant.id).db_name(&name);
            match xronox.with(asked).await {
                Ok(opened) => assert!(same && opened.name() == database.name()),
                Err(error) => {
                    assert!(!same, "{error}");
                    assert_eq!(*error.kind(), ErrorKind::Forbidden);
                }
            }
        }
        10 => {
            // A cursor of another tenant's same query.
            let other = TENANTS[pick(dice, TENANTS.len())];
            let theirs = xronox.tenant(other).await.unwrap();
            let theirs = theirs.collection(COLLECTIONS[of]).unwrap();
            let page = theirs.query(json!({})).limit(1).await.unwrap();
            if let Some(cursor) = page.cursor.filter(|_| other != tenant.id) {
                let error = orders.query(json!({})).after(cursor).await.unwrap_err();
                assert_eq!(*error.kind(), ErrorKind::Invalid);
            }
        }
        11 => sell(&database, tenant, dice).await,
        12 => file(&database, tenant, dice).await,
        _ => {
            let names = database.collections().await.unwrap();
            let known = |name: &str| COLLECTIONS.contains(&name) || OTHERS.contains(&name);
            assert!(names.iter().all(|name| known(name.as_str())), "{names:?}");
            if let Ok(history) = orders.history(id).await {
                for version in history {
                    let record = orders.get_version(id, version.ov).await.unwrap();
                    tenant.check(&record);
                }
            }
        }
    }
}

/// Everybody's parties have the same keys; and no mapping leads anywhere else.
async fn sell(database: &Database, tenant: &mut Tenant, dice: &mut Dice) {
    let sales = database.collection("sales").unwrap();
    let other = TENANTS[usize::try_from(dice.below(14)).unwrap()];
    let party = json!({ "key": dice.below(3), "word": tenant.word, "tenantId": other });
    let sale = json!({ "word": tenant.word, "party": party });
    let of = || EntityMapping::new("party", "parties", "key");
    for elsewhere in [
        of().database_type(DatabaseType::Metadata).generic(),
        of().database_type(DatabaseType::Metadata).domain(other),
        of().domain(other),
        EntityMapping::new("party", "../parties", "key"),
        EntityMapping::new("party", format!("app_{other}"), "$where"),
    ] {
        sales
            .insert_with_entities(&sale, &[elsewhere])
            .await
            .unwrap_err();
    }
    let made = sales.insert_with_entities(&sale, &[of()]).await.unwrap();
    let read = sales
        .get_with_entities(&made.main_record_id, &[of()])
        .await
        .unwrap();
    tenant.check(&read.main_record);
    tenant.check(
        read.entity_records[&"party".parse().unwrap()]
            .as_ref()
            .unwrap(),
    );
    let parties = database.collection("parties").unwrap();
    for party in parties.query(json!({})).await.unwrap().items {
        tenant.check(&party);
    }
}

/// What stands for another tenant's file is nobody's here.
async fn file(database: &Database, tenant: &mut Tenant, dice: &mut Dice) {
    let papers = database.collection("papers").unwrap();
    let number = usize::try_from(dice.below(14)).unwrap();
    let theirs = Tenant::new(number, TENANTS[number]);
    let stolen = |word: &str| {
        let sha256 = Sha256::of(word.as_bytes());
        json!({ "_file": {
            "contentType": "text/plain", "sha256": sha256, "size": word.len(), "text": false,
        } })
    };
    let reference = stolen(&theirs.word);
    let refused = papers
        .create(json!({ "word": tenant.word, "scan": reference }))
        .await;
    assert_eq!(*refused.unwrap_err().kind(), ErrorKind::Invalid);
    let scan = format!("data:text/plain,{}", tenant.word);
    let mut document = json!({ "word": tenant.word, "scan": scan });
    if theirs.word != tenant.word {
        document["other"] = reference;
    }
    let made = papers.create(document).await.unwrap();
    let read = papers.get_latest(&made.id).await.unwrap();
    tenant.check(&read);
    assert_eq!(read.files().len(), 1);
    let mut content = papers.file(&made.id, "scan").await.unwrap();
    assert_eq!(content.bytes(1000).await.unwrap(), tenant.word.as_bytes());
    papers.file(&made.id, "other").await.unwrap_err();
    match papers
        .get_latest(&made.id)
        .presign(Duration::from_mins(1))
        .await
    {
        Err(error) => assert_eq!(*error.kind(), ErrorKind::Unsupported, "{error}"),
        Ok(signed) => {
            let urls: Vec<&String> = signed
                .presigned()
                .values()
                .map(|one| &one.blob_url)
                .collect();
            assert_eq!(urls.len(), 1);
            let (before, _) = urls[0].split_once("/papers/").unwrap();
            tenant.signed.insert(before.to_owned());
        }
    }
}

async fn odd_queries(orders: &Collection, tenant: &Tenant, of: usize, dice: &mut Dice) {
    let filter = match dice.below(6) {
        0 => json!({}),
        1 => json!({ "$or": [{ "word": { "$exists": true } }, { "tenantId": "acme" }] }),
        2 => json!({ "$nor": [{ "word": "x" }] }),
        3 => json!({ "_id": { "$ne": "nobody" } }),
        4 => json!({ "word": { "$regex": "belongs" } }),
        _ => json!({ "n": { "$gte": 0 } }),
    };
    let expected = tenant.state.keys().filter(|(at, _)| *at == of).count();
    let found: Vec<Record> = orders
        .query(&filter)
        .sort("n", Direction::Descending)
        .stream()
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(found.len(), expected, "{filter} of {:?}", tenant.id);
    for record in &found {
        tenant.check(record);
    }
    assert_eq!(orders.count(&filter).await.unwrap().count, expected as u64);
    let part = Projection::parse(&json!({ "include": ["word"] })).unwrap();
    for record in orders.query(&filter).project(part).await.unwrap().items {
        tenant.check(&record);
    }
}

fn config(folder: &Path, prefix: &str) -> Config {
    let mut config = Config::from_value(json!({
        "dbConnections": { "local": { "mongoUri": format!("sqlite:{}/catalogs", folder.display()) } },
        "spacesConnections": { "files": { "endpoint": format!("file:{}/objects", folder.display()) } },
        "databases": {
            "metadata": { "genericDatabase": { "dbConnRef": "local", "dbName": "app_metadata" } },
            "runtime": { "dynamicTenants": {
                "enabled": true, "dbConnRef": "local", "spaceConnRef": "files",
                "dbNameTemplate": format!("{prefix}_{{tenantId}}"),
                "tiers": {
                    "replicated": { "dbConnRef": "local", "spaceConnRef": "files" },
                    "standalone": { "dbConnRef": "local", "spaceConnRef": "files" },
                },
            } },
        },
    }))
    .unwrap();
    config.settings.payloads.inline_max_bytes = Some(8192);
    let papers = json!({ "base64Props": { "scan": { "contentType": "text/plain" } } });
    let papers = serde_json::from_value(papers).unwrap();
    let maps = &mut config.settings.collection_maps;
    maps.insert("papers".to_owned(), papers);
    config
}

/// The same, with two of the plans on servers.
fn on_servers(mut config: Config) -> Config {
    for (plan, uri, space) in [
        ("replicated", env::mongo_uri(), bucket()),
        ("standalone", env::mongo_standalone_uri(), container()),
    ] {
        let connection = DbConnection::new(uri.unwrap());
        config.db_connections.insert(plan.to_owned(), connection);
        config.spaces_connections.insert(plan.to_owned(), space);
        let runtime = config.databases.runtime.as_mut().unwrap();
        let dynamic = runtime.dynamic_tenants.as_mut().unwrap();
        let tier = dynamic.tiers.get_mut(plan).unwrap();
        tier.templates.db_conn_ref = Some(plan.to_owned());
        tier.templates.space_conn_ref = Some(plan.to_owned());
    }
    config.create_buckets()
}

async fn run(config: Config, steps: u32, seed: u64) -> (Xronox, Vec<Tenant>) {
    let xronox = Xronox::open(config).await.unwrap();
    let mut dice = Dice::new(seed);
    let mut tenants: Vec<Tenant> = Vec::new();
    let mut names = vec!["app_metadata".to_owned()];
    for (number, id) in TENANTS.into_iter().enumerate() {
        let tenant = Tenant::new(number, id);
        let plan = ["", "replicated", "standalone"][number % 3];
        let mut context = Context::runtime(id);
        if !plan.is_empty() {
            context = context.plan(plan);
        }
        let opened = xronox.with(context).await.unwrap();
        assert!(!names.contains(&opened.name().to_owned()), "{names:?}");
        names.push(opened.name().to_owned());
        tenants.push(tenant);
    }
    for _ in 0..steps {
        let tenant = usize::try_from(dice.below(TENANTS.len() as u64)).unwrap();
        Box::pin(act(&xronox, &mut tenants[tenant], &names, &mut dice)).await;
    }
    for tenant in &tenants {
        let database = open(&xronox, tenant).await;
        for (of, name) in COLLECTIONS.into_iter().enumerate() {
            let orders = database.collection(name).unwrap();
            for (which, id) in IDS.into_iter().enumerate() {
                let found = orders.get_latest(id).await.ok();
                let found = found.map(|record| record.document());
                assert_eq!(found.as_ref(), tenant.state.get(&(of, which)), "{id}");
            }
        }
        assert!(database.verify().await.unwrap().clean(), "{:?}", tenant.id);
    }
    let mut signed = BTreeSet::new();
    for tenant in &tenants {
        // Its files lie in one place, which is nobody else's.
        assert!(tenant.signed.len() <= 1, "{:?}", tenant.signed);
        for place in &tenant.signed {
            assert!(signed.insert(place), "{place}");
        }
    }
    (xronox, tenants)
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// What lies on the disk is looked at byte by byte: each file has the words of
/// one tenant at most.
#[tokio::test]
async fn no_file_holds_anything_of_two_tenants() {
    let folder = TempDir::new().unwrap();
    let (xronox, tenants) = run(config(folder.path(), "app"), 3000, 7).await;
    xronox.close().await.unwrap();
    let mut paths = Vec::new();
    files(folder.path(), &mut paths);
    let mut met = vec![0; tenants.len()];
    for path in paths {
        // The last of a catalog's connections removes its log.
        let Ok(bytes) = fs::read(&path) else { continue };
        let text = String::from_utf8_lossy(&bytes);
        let mut owners = Vec::new();
        for (number, tenant) in tenants.iter().enumerate() {
            if text.contains(&tenant.word) {
                owners.push(&tenant.id);
                met[number] += 1;
            }
        }
        assert!(owners.len() <= 1, "{} is of {owners:?}", path.display());
    }
    // Catalogs and objects of each.
    assert!(met.iter().all(|files| *files > 1), "{met:?}");
}

#[tokio::test]
async fn tenants_on_all_backends_share_nothing_in_one_process() {
    let folder = TempDir::new().unwrap();
    let config = on_servers(config(folder.path(), &database()[7..19]));
    let (xronox, tenants) = run(config, 400, 11).await;
    assert!(tenants.iter().any(|tenant| !tenant.signed.is_empty()));
    xronox.close().await.unwrap();
}

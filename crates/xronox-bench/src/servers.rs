//! The catalog on a MongoDB replica set and bodies on S3, beside the plain
//! driver and plain PUTs against the same servers: one-node ones that are
//! started for this run, and installed for it if need be.
//!
//! - 64 writers and a lone writer create records, bodies inline; the baseline
//!   is `insert_one` of the same documents with the same write concern, just
//!   as many at a time.
//! - 64 writers update, each one record with the expected version; the
//!   baseline is `replace_one` by `_id`.
//! - Reads: `get_latest` beside `find_one` by `_id`, and a page of 50 by an
//!   indexed property beside a `find` of 50.
//! - 64 writers with bodies on S3; the baseline is PUTs of the same bodies.
//! - Two processes that write to one collection, beside one of them alone.

use std::{
    future::Future,
    path::Path,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use mongodb::{
    Client, Collection as Plain,
    bson::{Document, doc, serialize_to_document},
    options::{Acknowledgment, ClientOptions, WriteConcern},
};
use object_store::{ObjectStoreExt, path::Path as Key};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use xronox::{Collection, Config, Secret, SpaceConnection, Xronox};
use xronox_model::BucketRole;
use xronox_services::{Mongod, SeaweedFs, Services};
use xronox_store::Space;

use crate::{
    bench::Bench,
    order::{order, order_of, region},
    report::{Bar, Row},
    round::Rounds,
};

const WRITERS: usize = 64;
/// Records a `find` gives.
const PAGE: usize = 50;
const LIMIT: i64 = 50;
/// How long each process writes.
const STRETCH: Duration = Duration::from_secs(3);
/// Where the servers are installed.
pub(crate) const FOLDER: &str = "target/services";

pub(crate) async fn measure(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let services = Services::open(Path::new(FOLDER), None)?;
    let mongod = Mongod::replica_set(&services)?;
    let uri = mongod.uri();
    let mut rows = Vec::new();
    if bench.only.wants("servers.creates") {
        rows.extend(creates(bench, &uri).await?);
    }
    if bench.only.wants("servers.updates") {
        rows.push(updates(bench, &uri).await?);
    }
    if bench.only.wants("servers.reads") {
        rows.extend(reads(bench, &uri).await?);
    }
    if bench.only.wants("servers.s3") {
        let seaweed = SeaweedFs::start(&services)?;
        rows.push(on_s3(bench, &uri, &seaweed).await?);
    }
    if bench.only.wants("servers.processes") {
        rows.extend(processes(bench, &uri).await?);
    }
    Ok(rows)
}

async fn open(uri: &str, database: &str) -> anyhow::Result<(Xronox, Collection)> {
    let xronox = Xronox::open(Config::at(uri)?.database(database)).await?;
    let orders = xronox.collection("orders")?;
    Ok((xronox, orders))
}

async fn plain(uri: &str) -> anyhow::Result<Plain<Document>> {
    let mut options = ClientOptions::parse(uri).await?;
    options.write_concern = Some(
        WriteConcern::builder()
            .w(Acknowledgment::Majority)
            .journal(true)
            .build(),
    );
    options.max_pool_size = Some(100);
    let client = Client::with_options(options)?;
    Ok(client.database("plain").collection("orders"))
}

/// Lets tasks work, all at a time, each through what was made for it
/// beforehand; gives how much of it a second they did together. They are on
/// workers, as in a server: the main task has a thread of its own.
async fn rate<W, F>(work: Vec<Vec<W>>, task: impl Fn(Vec<W>) -> F) -> anyhow::Result<f64>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let count: usize = work.iter().map(Vec::len).sum();
    let start = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for own in work {
        running.spawn(task(own));
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    Ok(count as f64 / start.elapsed().as_secs_f64())
}

/// What each of so many writers has to write.
fn work<W>(writers: usize, writes: usize, of: impl Fn(usize, usize) -> W) -> Vec<Vec<W>> {
    let own = |writer| (0..writes).map(|n| of(writer, n)).collect();
    (0..writers).map(own).collect()
}

async fn creates(bench: &Bench, uri: &str) -> anyhow::Result<Vec<Row>> {
    let (xronox, orders) = open(uri, "creates").await?;
    let inserts = plain(uri).await?;
    let mut rows = Vec::new();
    for (name, writers, writes, bar) in [
        (
            "MongoDB: 64 writers, beside insert_one",
            WRITERS,
            bench.sizes.writes,
            3.0,
        ),
        (
            "MongoDB: lone writer, beside insert_one",
            1,
            bench.sizes.lone_writes,
            0.6,
        ),
    ] {
        let mut rounds = Rounds::default();
        // The first round warms both.
        for round in 0..=bench.sizes.rounds {
            let document = |writer, n| order(writer * writes + n, round);
            let ours = rate(work(writers, writes, document), |own| {
                let orders = orders.clone();
                async move {
                    for document in own {
                        orders.create(document).await?;
                    }
                    Ok(())
                }
            });
            let ours = ours.await?;
            let stored = |writer, n| bson_of(&document(writer, n));
            let baseline = rate(work(writers, writes, stored), |own| {
                let inserts = inserts.clone();
                async move {
                    for document in own {
                        inserts.insert_one(document?).await?;
                    }
                    Ok(())
                }
            });
            let baseline = baseline.await?;
            if round > 0 {
                rounds.push(ours, baseline);
            }
        }
        rows.push(Row::of(name, &rounds, "records/s", Bar::AtLeast(bar)));
    }
    inserts.drop().await?;
    xronox.close().await?;
    Ok(rows)
}

fn bson_of(document: &Value) -> anyhow::Result<Document> {
    Ok(serialize_to_document(document)?)
}

async fn updates(bench: &Bench, uri: &str) -> anyhow::Result<Row> {
    let (xronox, orders) = open(uri, "updates").await?;
    let replaced = plain(uri).await?;
    let writes = bench.sizes.writes;
    let mut ids = Vec::new();
    for writer in 0..WRITERS {
        ids.push(orders.create(order(writer, 0)).await?.id);
        let mut document = bson_of(&order(writer, 0))?;
        document.insert("_id", writer.to_string());
        replaced.insert_one(document).await?;
    }
    let mut rounds = Rounds::default();
    for round in 0..=bench.sizes.rounds {
        let revision = |n: usize| round * writes + n + 1;
        let updates = work(WRITERS, writes, |writer, n| {
            let expected = revision(n) as u64 - 1;
            let id = ids[writer].clone();
            (id, expected, order(writer, revision(n)))
        });
        let ours = rate(updates, |own| {
            let orders = orders.clone();
            async move {
                for (id, expected, document) in own {
                    orders.update(id, document).expected_ov(expected).await?;
                }
                Ok(())
            }
        });
        let ours = ours.await?;
        let replacements = work(WRITERS, writes, |writer, n| {
            let by_id = doc! { "_id": writer.to_string() };
            (by_id, bson_of(&order(writer, revision(n))))
        });
        let baseline = rate(replacements, |own| {
            let replaced = replaced.clone();
            async move {
                for (by_id, document) in own {
                    replaced.replace_one(by_id, document?).await?;
                }
                Ok(())
            }
        });
        let baseline = baseline.await?;
        if round > 0 {
            rounds.push(ours, baseline);
        }
    }
    replaced.drop().await?;
    xronox.close().await?;
    let name = "MongoDB: 64 updates, beside replace_one";
    Ok(Row::of(name, &rounds, "records/s", Bar::AtLeast(1.5)))
}

async fn reads(bench: &Bench, uri: &str) -> anyhow::Result<Vec<Row>> {
    const RECORDS: usize = 10_000;
    let lookups = bench.sizes.lookups / 10;
    let (xronox, orders) = open(uri, "reads").await?;
    let found = plain(uri).await?;
    orders.ensure_index("region").await?;
    let by_region = mongodb::IndexModel::builder()
        .keys(doc! { "region": 1 })
        .build();
    found.create_index(by_region).await?;
    let groups = RECORDS / PAGE;
    let documents: Vec<_> = (0..RECORDS).map(|n| order_of(n, 0, groups)).collect();
    let mut ids = Vec::new();
    for written in orders.create_many(documents.clone()).await? {
        ids.push(written?.id);
    }
    for (some, at) in documents.chunks(1000).zip((0_usize..).step_by(1000)) {
        let some: Result<Vec<Document>, _> = some
            .iter()
            .zip(at..)
            .map(|(document, number)| {
                let mut document = serialize_to_document(document)?;
                document.insert("_id", number.to_string());
                Ok::<_, anyhow::Error>(document)
            })
            .collect();
        found.insert_many(some?).await?;
    }
    let mut random = StdRng::seed_from_u64(5);
    let (mut single, mut pages) = (Rounds::default(), Rounds::default());
    for round in 0..=bench.sizes.rounds {
        let wanted: Vec<usize> = (0..lookups)
            .map(|_| random.random_range(0..RECORDS))
            .collect();
        let by_id = wanted.iter().map(|number| ids[*number].clone());
        let ours = rate(vec![by_id.collect()], |own| {
            let orders = orders.clone();
            async move {
                for id in own {
                    orders.get_latest(id).await?;
                }
                Ok(())
            }
        });
        let ours = ours.await?;
        let by_id = wanted
            .iter()
            .map(|number| doc! { "_id": number.to_string() });
        let baseline = rate(vec![by_id.collect()], |own| {
            let found = found.clone();
            async move {
                for by_id in own {
                    found.find_one(by_id).await?.context("a document is gone")?;
                }
                Ok(())
            }
        });
        let baseline = baseline.await?;
        if round > 0 {
            single.push(ours, baseline);
        }
        let regions: Vec<String> = (0..bench.sizes.queries)
            .map(|_| region(random.random_range(0..groups)))
            .collect();
        let met = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
        let ours = rate(vec![regions.clone()], |own| {
            let (orders, met) = (orders.clone(), Arc::clone(&met[0]));
            async move {
                for region in own {
                    let query = orders.query(json!({ "region": region }));
                    let page = query.limit(PAGE).await?;
                    met.fetch_add(page.items.len(), Ordering::Relaxed);
                }
                Ok(())
            }
        });
        let ours = ours.await?;
        let baseline = rate(vec![regions], |own| {
            let (found, met) = (found.clone(), Arc::clone(&met[1]));
            async move {
                for region in own {
                    let mut cursor = found.find(doc! { "region": region }).limit(LIMIT).await?;
                    while cursor.advance().await? {
                        cursor.deserialize_current()?;
                        met.fetch_add(1, Ordering::Relaxed);
                    }
                }
                Ok(())
            }
        });
        let baseline = baseline.await?;
        let [ours_met, baseline_met] = met.map(|met| met.load(Ordering::Relaxed));
        anyhow::ensure!(ours_met == baseline_met, "the two find different records");
        if round > 0 {
            pages.push(ours, baseline);
        }
    }
    found.drop().await?;
    xronox.close().await?;
    let name = "MongoDB: get_latest, beside find_one";
    let single = Row::of(name, &single, "reads/s", Bar::AtLeast(0.8));
    let name = "MongoDB: page of 50, beside find of 50";
    let pages = Row::of(name, &pages, "pages/s", Bar::AtLeast(0.7));
    Ok(vec![single, pages])
}

async fn on_s3(bench: &Bench, uri: &str, seaweed: &SeaweedFs) -> anyhow::Result<Row> {
    seaweed.create_bucket("bench")?;
    let s3 = seaweed.s3();
    let mut bucket = SpaceConnection::new(&s3.endpoint);
    bucket.region = Some(s3.region.clone());
    bucket.access_key = Some(s3.access_key.clone());
    bucket.secret_key = Some(Secret::new(&s3.secret_key));
    bucket.force_path_style = true;
    bucket.bucket = Some("bench".to_owned());
    let puts = Space::connect("plain", &bucket)?;
    let puts = Arc::clone(puts.bucket(BucketRole::Records)?);
    let config = Config::at(uri)?.database("on_s3").with_payloads(bucket);
    let xronox = Xronox::open(config).await?;
    let orders = xronox.collection("orders")?;
    let writes = bench.sizes.writes;
    let mut rounds = Rounds::default();
    for round in 0..=bench.sizes.rounds {
        let document = |writer, n| order(writer * writes + n, round);
        let ours = rate(work(WRITERS, writes, document), |own| {
            let orders = orders.clone();
            async move {
                for document in own {
                    orders.create(document).await?;
                }
                Ok(())
            }
        });
        let ours = ours.await?;
        let bodies = work(WRITERS, writes, |writer, n| {
            // As deep as ours are: there are stores that make each folder.
            let number = writer * writes + n;
            let key = format!("plain/orders/{round}-{number}/v0/{number}/item.json");
            (Key::from(key), document(writer, n).to_string())
        });
        let baseline = rate(bodies, |own| {
            let puts = Arc::clone(&puts);
            async move {
                for (key, body) in own {
                    puts.put(&key, body.into()).await?;
                }
                Ok(())
            }
        });
        let baseline = baseline.await?;
        if round > 0 {
            rounds.push(ours, baseline);
        }
    }
    xronox.close().await?;
    let name = "S3: 64 writers, beside PUTs of the bodies";
    Ok(Row::of(name, &rounds, "records/s", Bar::AtLeast(0.8)))
}

async fn processes(bench: &Bench, uri: &str) -> anyhow::Result<Vec<Row>> {
    let (mut together, mut shares) = (Rounds::default(), Rounds::default());
    for _ in 0..bench.sizes.rounds.min(3) {
        let [alone] = children(uri).await?;
        let [one, other] = children(uri).await?;
        together.push((one + other) as f64, alone as f64);
        shares.push(one.min(other) as f64, one.max(other) as f64);
    }
    let name = "MongoDB: two processes, beside one";
    let together = Row::of(name, &together, "records", Bar::AtLeast(0.8));
    let name = "MongoDB: share of the slower process";
    let shares = Row::of(name, &shares, "records", Bar::AtLeast(0.5));
    Ok(vec![together, shares])
}

/// How much each of so many processes wrote while all of them did.
async fn children<const COUNT: usize>(uri: &str) -> anyhow::Result<[u64; COUNT]> {
    let spawn = || {
        let mut command = tokio::process::Command::new(std::env::current_exe()?);
        command
            .env(WRITER, uri)
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        anyhow::Ok(command.spawn()?)
    };
    let running: Result<Vec<_>, _> = (0..COUNT).map(|_| spawn()).collect();
    let mut counts = [0; COUNT];
    for (count, child) in counts.iter_mut().zip(running?) {
        let output = child.wait_with_output().await?;
        anyhow::ensure!(output.status.success(), "a writing process failed");
        *count = String::from_utf8(output.stdout)?.trim().parse()?;
    }
    Ok(counts)
}

/// The variable that makes this program one of the writing processes: the
/// catalog to write to.
pub(crate) const WRITER: &str = "XRONOX_BENCH_WRITER";

/// Writes for a while from many tasks and prints how many records. All
/// processes that are started together begin once they have had time to open.
pub(crate) async fn write(uri: &str) -> anyhow::Result<()> {
    let (xronox, orders) = open(uri, "processes").await?;
    orders.create(json!({ "warm": true })).await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let start = Instant::now();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let orders = orders.clone();
        writers.spawn(async move {
            let mut count = 0_u64;
            while start.elapsed() < STRETCH {
                orders
                    .create(order(writer, usize::try_from(count)?))
                    .await?;
                count += 1;
            }
            anyhow::Ok(count)
        });
    }
    let mut sum = 0;
    while let Some(writer) = writers.join_next().await {
        sum += writer??;
    }
    println!("{sum}");
    xronox.close().await?;
    Ok(())
}

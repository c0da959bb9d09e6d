//! Many tenants on two MongoDB servers, which are started for this run.
//!
//! - What it takes to come from a tenant's id to its database, once that is
//!   open; beside 5 µs.
//! - What a thousand open tenants take of the memory, one by one; beside 4 KiB.
//! - The slowest hundredth of one tenant's requests while another tenant's
//!   server answers nothing and that one's callers go on asking; beside the
//!   same while nobody asks.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context;
use serde_json::json;
use tokio::task::JoinSet;
use xronox::{Collection, Config, Xronox};
use xronox_services::{Mongod, Proxy, Services};

use crate::{
    bench::Bench,
    order::order,
    report::{Bar, Row},
    round::Rounds,
    servers::FOLDER,
};

/// Requests of one stretch for an id.
const REQUESTS: usize = 20_000;
const TENANTS: usize = 1000;
/// Who asks at a time, of each tenant.
const CALLERS: usize = 8;
const STRETCH: Duration = Duration::from_secs(3);
/// How long a caller waits who was turned away.
const PAUSE: Duration = Duration::from_millis(5);
/// How long a server that is back may take until it is asked again.
const BACK: Duration = Duration::from_mins(1);

pub(crate) async fn measure(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let services = Services::open(Path::new(FOLDER), None)?;
    let (near, far) = (
        Mongod::replica_set(&services)?,
        Mongod::replica_set(&services)?,
    );
    let proxy = Proxy::start(far.address())?;
    let config = Config::from_value(json!({
        "dbConnections": {
            "near": { "mongoUri": near.uri() },
            "far": { "mongoUri": far.uri_through(proxy.address()), "pool": {
                "connectTimeoutMs": 1000, "requestTimeoutMs": 1000,
            } },
        },
        "databases": {
            "metadata": { "genericDatabase": { "dbConnRef": "near", "dbName": "app_meta" } },
            "runtime": {
                "tenantDatabases": [
                    { "tenantId": "here", "dbConnRef": "near", "dbName": "here" },
                    { "tenantId": "there", "dbConnRef": "far", "dbName": "there" },
                ],
                "dynamicTenants": {
                    "enabled": true, "dbConnRef": "near", "dbNameTemplate": "app_{tenantId}",
                },
            },
        },
    }))?;
    let xronox = Xronox::open(config).await?;
    let mut rows = Vec::new();
    if bench.only.wants("tenants.stalled") {
        rows.push(beside_stalled(bench, &xronox, &proxy).await?);
    }
    if bench.only.wants("tenants.many") {
        rows.push(warm(bench, &xronox).await?);
        rows.push(memory(&xronox).await?);
    }
    proxy.pass();
    xronox.close().await?;
    Ok(rows)
}

async fn warm(bench: &Bench, xronox: &Xronox) -> anyhow::Result<Row> {
    let mut rounds = Rounds::default();
    for round in 0..=bench.sizes.rounds {
        let xronox = xronox.clone();
        // On a worker, as in a server.
        let asked = tokio::spawn(async move {
            let start = Instant::now();
            for _ in 0..REQUESTS {
                xronox.tenant("here").await?;
            }
            anyhow::Ok(start.elapsed())
        });
        let micros = asked.await??.as_secs_f64() * 1e6 / REQUESTS as f64;
        if round > 0 {
            rounds.push(micros, 5.0);
        }
    }
    let name = "tenants: from id to database, beside 5 µs";
    Ok(Row::of(name, &rounds, "µs", Bar::AtMost(1.0)))
}

/// Those that are kept open are as idle as a tenant gets before it is let go.
async fn memory(xronox: &Xronox) -> anyhow::Result<Row> {
    let open = async |from: usize, to: usize| {
        let mut opening = JoinSet::new();
        for n in from..to {
            let xronox = xronox.clone();
            opening.spawn(async move { xronox.tenant(format!("t{n}")).await });
            if opening.len() >= CALLERS {
                opening.join_next().await.transpose()?.transpose()?;
            }
        }
        while let Some(opened) = opening.join_next().await {
            opened??;
        }
        anyhow::Ok(())
    };
    // Connections, and room that the allocator keeps, are not the tenants'.
    let warm = TENANTS / 4;
    open(0, warm).await?;
    let before = resident()?;
    open(warm, warm + TENANTS).await?;
    let kept = xronox.tenants().kept().await?;
    anyhow::ensure!(kept.open >= TENANTS as u64, "some were let go: {kept:?}");
    let mut rounds = Rounds::default();
    let each = (resident()? - before) as f64 / TENANTS as f64;
    rounds.push(each, 4096.0);
    let name = "tenants: memory of an open one, beside 4 KiB";
    Ok(Row::of(name, &rounds, "bytes", Bar::AtMost(1.0)))
}

/// The memory of this process, in bytes.
fn resident() -> anyhow::Result<i64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.context("no VmRSS in /proc/self/status")?;
    let kib: i64 = kib.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024)
}

async fn beside_stalled(bench: &Bench, xronox: &Xronox, proxy: &Proxy) -> anyhow::Result<Row> {
    let here = xronox.tenant("here").await?.collection("orders")?;
    let there = xronox.tenant("there").await?.collection("orders")?;
    there.create_with_id("a", json!({})).await?;
    let mut rounds = Rounds::default();
    for round in 0..=bench.sizes.rounds {
        proxy.pass();
        let begun = Instant::now();
        while there.get_latest("a").await.is_err() {
            anyhow::ensure!(begun.elapsed() < BACK, "the server does not come back");
            tokio::time::sleep(PAUSE).await;
        }
        let baseline = slowest_hundredth(&here).await?;
        proxy.stall();
        let mut asking = JoinSet::new();
        for _ in 0..CALLERS {
            let there = there.clone();
            asking.spawn(async move {
                loop {
                    if there.get_latest("a").await.is_err() {
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            });
        }
        let ours = slowest_hundredth(&here).await?;
        asking.shutdown().await;
        if round > 0 {
            rounds.push(ours, baseline);
        }
    }
    let name = "tenants: p99 beside a stalled server";
    Ok(Row::of(name, &rounds, "ms", Bar::AtMost(1.2)))
}

/// The 99th percentile of what writes and reads take, in milliseconds.
async fn slowest_hundredth(orders: &Collection) -> anyhow::Result<f64> {
    let start = Instant::now();
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let orders = orders.clone();
        callers.spawn(async move {
            let mut taken = Vec::new();
            while start.elapsed() < STRETCH {
                let begun = Instant::now();
                let made = orders.create(order(caller, taken.len())).await?;
                taken.push(begun.elapsed());
                let begun = Instant::now();
                orders.get_latest(&made.id).await?;
                taken.push(begun.elapsed());
            }
            anyhow::Ok(taken)
        });
    }
    let mut all = Vec::new();
    while let Some(taken) = callers.join_next().await {
        all.extend(taken??);
    }
    all.sort_unstable();
    let slow = all.get(all.len() * 99 / 100).context("nothing was asked")?;
    Ok(slow.as_secs_f64() * 1e3)
}

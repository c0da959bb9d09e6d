//! Durable single writes, many at once and one after the other.
//!
//! - 64 writers: each creates records one by one, waiting for each to be
//!   acknowledged; one named property is indexed. The baseline is what group
//!   commit could reach, `64 / (F + 64 / R)` records a second: F is the time
//!   of an `fdatasync`, R the rate of our own `create_many`, both measured in
//!   the same round.
//! - a lone writer: the same with one writer, beside one-row `INSERT`s of the
//!   same documents into a table by key, each its own durable transaction. The
//!   bar depends on F, since a fast disk leaves more of the time to us.

use std::time::Instant;

use xronox::Collection;

use crate::{
    bench::{Bench, open},
    floor::Floor,
    order::order,
    raw,
    report::{Bar, Row},
    round::{Rounds, median},
};

const WRITERS: usize = 64;
/// Records of the `create_many` that measures R.
const BULK: usize = 10_000;

pub(crate) async fn measure(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    Ok(vec![many(bench).await?, lone(bench).await?])
}

async fn many(bench: &Bench) -> anyhow::Result<Row> {
    let folder = bench.place("writers");
    let (xronox, orders) = open(&folder, &["region"]).await?;
    let mut floor = Floor::new(bench, "writers-floor")?;
    let mut rounds = Rounds::default();
    for round in 0..bench.sizes.rounds {
        let f = floor.sample()?;
        let r = bulk_rate(&orders, round).await?;
        let writers = WRITERS as f64;
        rounds.push(
            rate_of_writers(&orders, bench.sizes.writes, round).await?,
            writers / (f + writers / r),
        );
    }
    xronox.close().await?;
    std::fs::remove_dir_all(folder)?;
    let bar = Bar::AtLeast(0.6);
    Ok(Row::of(
        "64 writers, durable create",
        &rounds,
        "records/s",
        bar,
    ))
}

/// R: records a second of our own `create_many`.
async fn bulk_rate(orders: &Collection, round: usize) -> anyhow::Result<f64> {
    let documents: Vec<_> = (0..BULK).map(|n| order(n, round)).collect();
    let start = Instant::now();
    for written in orders.create_many(documents).await? {
        written?;
    }
    Ok(BULK as f64 / start.elapsed().as_secs_f64())
}

/// Records a second of 64 writers, each with so many.
pub(crate) async fn rate_of_writers(
    orders: &Collection,
    writes: usize,
    round: usize,
) -> anyhow::Result<f64> {
    let documents: Vec<Vec<_>> = (0..WRITERS)
        .map(|writer| {
            (0..writes)
                .map(|n| order(writer * writes + n, round))
                .collect()
        })
        .collect();
    let start = Instant::now();
    let mut writers = tokio::task::JoinSet::new();
    for own in documents {
        let orders = orders.clone();
        writers.spawn(async move {
            for document in own {
                orders.create(document).await?;
            }
            Ok::<(), xronox::Error>(())
        });
    }
    while let Some(writer) = writers.join_next().await {
        writer??;
    }
    Ok((WRITERS * writes) as f64 / start.elapsed().as_secs_f64())
}

async fn lone(bench: &Bench) -> anyhow::Result<Row> {
    let folder = bench.place("lone");
    let (xronox, orders) = open(&folder, &["region"]).await?;
    let db = raw::open(&bench.place("lone-raw.sqlite"), raw::KEYED)?;
    let mut insert = db.prepare(raw::KEYED_INSERT)?;
    let mut floor = Floor::new(bench, "lone-floor")?;
    let mut floors = Vec::new();
    let mut rounds = Rounds::default();
    let writes = bench.sizes.lone_writes;
    for round in 0..bench.sizes.rounds {
        floors.push(floor.sample()?);
        let documents: Vec<_> = (0..writes).map(|n| order(n, round)).collect();
        let bodies: Vec<_> = documents.iter().map(ToString::to_string).collect();
        let own = orders.clone();
        let start = Instant::now();
        // On a worker, as in a server: the main task has a thread of its own.
        let writer = tokio::spawn(async move {
            for document in documents {
                own.create(document).await?;
            }
            Ok::<(), xronox::Error>(())
        });
        writer.await??;
        let ours = writes as f64 / start.elapsed().as_secs_f64();
        let start = Instant::now();
        for (n, body) in bodies.iter().enumerate() {
            insert.execute((raw::id(round * writes + n), body))?;
        }
        rounds.push(ours, writes as f64 / start.elapsed().as_secs_f64());
    }
    xronox.close().await?;
    std::fs::remove_dir_all(folder)?;
    let bar = if median(floors) >= 0.001 { 0.8 } else { 0.5 };
    let name = "lone writer, beside one-row INSERT";
    Ok(Row::of(name, &rounds, "records/s", Bar::AtLeast(bar)))
}

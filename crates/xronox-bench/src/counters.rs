//! Counting what is written, by three rules.
//!
//! - 64 writers while their records are counted beside them; the baseline is
//!   the same without rules.
//! - the fold of a log that nobody has counted, beside 50,000 versions a second.

use std::{path::Path, time::Instant};

use serde_json::json;
use xronox::{Collection, Config, Xronox};

use crate::{
    bench::Bench,
    order::order,
    report::{Bar, Row},
    round::Rounds,
    writers::rate_of_writers,
};

/// Versions a second that a fold has to come to.
const FOLDED: f64 = 50_000.0;
/// Versions of the log that is folded.
const VERSIONS: usize = 20_000;

pub(crate) async fn measure(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    Ok(vec![beside(bench).await?, fold(bench).await?])
}

async fn open(folder: &Path, counted: bool) -> anyhow::Result<(Xronox, Collection)> {
    let mut config = Config::dev(folder);
    if counted {
        config.settings.counter_rules.rules = serde_json::from_value(json!([
            { "name": "all", "when": {} },
            { "name": "large", "on": ["CREATE"], "when": { "score": { "$gte": 50 } } },
            { "name": "regions", "when": {}, "countUnique": ["region"], "by": ["region"] },
        ]))?;
    }
    let xronox = Xronox::open(config).await?;
    let orders = xronox.collection("orders")?;
    Ok((xronox, orders))
}

async fn beside(bench: &Bench) -> anyhow::Result<Row> {
    let (with, without) = (bench.place("counted"), bench.place("uncounted"));
    let (counted, orders) = open(&with, true).await?;
    let (plain, others) = open(&without, false).await?;
    let mut rounds = Rounds::default();
    for round in 0..=bench.sizes.rounds {
        let baseline = rate_of_writers(&others, bench.sizes.writes, round).await?;
        let ours = rate_of_writers(&orders, bench.sizes.writes, round).await?;
        if round > 0 {
            rounds.push(ours, baseline);
        }
    }
    counted.close().await?;
    plain.close().await?;
    std::fs::remove_dir_all(with)?;
    std::fs::remove_dir_all(without)?;
    let name = "64 writers while they are counted, beside not";
    Ok(Row::of(name, &rounds, "records/s", Bar::AtLeast(0.95)))
}

async fn fold(bench: &Bench) -> anyhow::Result<Row> {
    let mut rounds = Rounds::default();
    for round in 0..=bench.sizes.rounds {
        let folder = bench.place("fold");
        let (plain, orders) = open(&folder, false).await?;
        let documents = (0..VERSIONS).map(|n| order(n, round)).collect::<Vec<_>>();
        for written in orders.create_many(documents).await? {
            written?;
        }
        plain.close().await?;
        let (counted, _orders) = open(&folder, true).await?;
        let start = Instant::now();
        let folded = counted.home()?.counters().fold("orders").await?;
        let rate = folded as f64 / start.elapsed().as_secs_f64();
        if round > 0 {
            rounds.push(rate, FOLDED);
        }
        counted.close().await?;
        std::fs::remove_dir_all(folder)?;
    }
    let name = "counters: fold by three rules, beside 50,000/s";
    Ok(Row::of(name, &rounds, "versions/s", Bar::AtLeast(1.0)))
}

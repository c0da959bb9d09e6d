//! `get_latest` by id, warm, beside a prepared `SELECT` of the same body by
//! the same id, in the same random order.

use std::time::{Duration, Instant};

use anyhow::Context;
use rand::{SeedableRng, rngs::StdRng, seq::IndexedRandom};

use crate::{
    bench::{Bench, open, reopen},
    order::order,
    raw,
    report::{Bar, Row},
    round::Rounds,
};

pub(crate) async fn measure(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let documents: Vec<_> = (0..bench.sizes.lookup_records)
        .map(|n| order(n, 0))
        .collect();
    let folder = bench.place("lookup");
    let (xronox, orders) = open(&folder, &["region"]).await?;
    let db = raw::open(&bench.place("lookup-raw.sqlite"), raw::KEYED)?;
    let mut ids = Vec::with_capacity(documents.len());
    for written in orders.create_many(documents.clone()).await? {
        ids.push(written?.id.to_string());
    }
    let transaction = db.unchecked_transaction()?;
    let mut insert = db.prepare(raw::KEYED_INSERT)?;
    for (id, document) in ids.iter().zip(&documents) {
        insert.execute((id, document.to_string()))?;
    }
    transaction.commit()?;
    drop(documents);
    let (xronox, orders) = reopen(&folder, &xronox, &["region"]).await?;
    raw::checkpoint(&db)?;

    let mut select = db.prepare(raw::KEYED_SELECT)?;
    let mut random = StdRng::seed_from_u64(1);
    let lookups = bench.sizes.lookups;
    let mut rounds = Rounds::default();
    // The first round warms both.
    for round in 0..=bench.sizes.rounds {
        let wanted: Vec<&String> = (0..lookups)
            .filter_map(|_| ids.choose(&mut random))
            .collect();
        let (mut ours_read, mut baseline_read) = (0, 0);
        let start = Instant::now();
        for id in &wanted {
            let record = orders.get_latest(*id).await?;
            ours_read += record.bytes().context("a record without a body")?.len();
        }
        let ours = start.elapsed();
        let start = Instant::now();
        for id in &wanted {
            let body: String = select.query_row([id], |row| row.get(0))?;
            baseline_read += body.len();
        }
        let baseline = start.elapsed();
        anyhow::ensure!(ours_read == baseline_read, "the two read different bodies");
        if round > 0 {
            let rate = |elapsed: Duration| lookups as f64 / elapsed.as_secs_f64();
            rounds.push(rate(ours), rate(baseline));
        }
    }
    drop((insert, select));
    xronox.close().await?;
    std::fs::remove_dir_all(folder)?;
    let name = "get_latest, beside SELECT by key";
    Ok(vec![Row::of(name, &rounds, "reads/s", Bar::AtLeast(0.5))])
}

//! `create_many`, one named property indexed, beside plain batched `INSERT`s
//! of the same bytes: a thousand rows a transaction, into a table with one
//! secondary index. Each round writes into new files.

use std::{fs, time::Instant};

use rusqlite::Connection;

use crate::{
    bench::{Bench, open},
    order::order,
    raw,
    report::{Bar, Row},
    round::Rounds,
};

/// Rows of one of the baseline's transactions.
const BATCH: usize = 1000;

pub(crate) async fn measure(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let documents: Vec<_> = (0..bench.sizes.bulk_records).map(|n| order(n, 0)).collect();
    let rows: Vec<(String, String)> = documents
        .iter()
        .map(|document| {
            let region = document["region"].as_str().unwrap_or_default();
            (region.to_owned(), document.to_string())
        })
        .collect();
    let count = documents.len() as f64;
    let mut rounds = Rounds::default();
    for _ in 0..bench.sizes.rounds {
        let folder = bench.place("bulk");
        let (xronox, orders) = open(&folder, &["region"]).await?;
        let given = documents.clone();
        let start = Instant::now();
        let outcomes = orders.create_many(given).await?;
        let ours = count / start.elapsed().as_secs_f64();
        for outcome in outcomes {
            outcome?;
        }
        xronox.close().await?;
        fs::remove_dir_all(folder)?;

        let folder = bench.place("bulk-raw");
        fs::create_dir(&folder)?;
        let db = raw::open(&folder.join("raw.sqlite"), raw::INDEXED)?;
        let start = Instant::now();
        insert(&db, &rows)?;
        rounds.push(ours, count / start.elapsed().as_secs_f64());
        drop(db);
        fs::remove_dir_all(folder)?;
    }
    let name = "create_many, beside batched INSERT";
    Ok(vec![Row::of(name, &rounds, "records/s", Bar::AtLeast(0.4))])
}

fn insert(db: &Connection, rows: &[(String, String)]) -> anyhow::Result<()> {
    let mut insert = db.prepare(raw::INDEXED_INSERT)?;
    for (batch, rows) in rows.chunks(BATCH).enumerate() {
        let transaction = db.unchecked_transaction()?;
        for (n, (region, body)) in rows.iter().enumerate() {
            insert.execute((raw::id(batch * BATCH + n), region, body))?;
        }
        transaction.commit()?;
    }
    Ok(())
}

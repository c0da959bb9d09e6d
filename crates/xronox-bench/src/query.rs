//! Queries as of a past moment beside the same queries on the latest versions:
//! records with a hundred versions each, and by a property that stays and one
//! that is another in each version. Each query finds about fifty records.

use std::time::Instant;

use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use xronox::{Collection, Moment};

use crate::{
    bench::{Bench, open, reopen},
    history::write_versions,
    order::{order_of, region},
    report::{Bar, Row},
    round::Rounds,
};

const VERSIONS: usize = 100;
/// Records that a query finds, on average.
const FOUND: usize = 50;
/// More than any of them finds.
const LIMIT: usize = 500;

pub(crate) async fn measure(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let records = bench.sizes.query_records;
    let groups = records / FOUND;
    let folder = bench.place("query");
    let (xronox, orders) = open(&folder, &["region", "score"]).await?;
    write_versions(&orders, records, VERSIONS, |number, revision| {
        order_of(number, revision, groups)
    })
    .await?;
    let (xronox, orders) = reopen(&folder, &xronox, &["region", "score"]).await?;
    let mut rows = Vec::new();
    for (name, property, bar) in [
        ("query as of, property that stays", "region", 3.0),
        ("query as of, property that changes", "score", 10.0),
    ] {
        let mut random = StdRng::seed_from_u64(3);
        let mut rounds = Rounds::default();
        // The first round warms both.
        for round in 0..=bench.sizes.rounds {
            let queries: Vec<(Value, u64)> = (0..bench.sizes.queries)
                .map(|_| {
                    let value = random.random_range(0..groups);
                    let value = match property {
                        "region" => Value::from(region(value)),
                        _ => Value::from(value),
                    };
                    // Between the second version of all records and the last.
                    let moment = random.random_range(records..records * (VERSIONS - 1));
                    (json!({ property: value }), moment as u64)
                })
                .collect();
            let past = time(&orders, &queries, true).await?;
            let latest = time(&orders, &queries, false).await?;
            if round > 0 {
                rounds.push(past, latest);
            }
        }
        rows.push(Row::of(name, &rounds, "µs", Bar::AtMost(bar)));
    }
    xronox.close().await?;
    std::fs::remove_dir_all(folder)?;
    Ok(rows)
}

/// Microseconds a query.
async fn time(orders: &Collection, queries: &[(Value, u64)], past: bool) -> anyhow::Result<f64> {
    let mut found = 0;
    let start = Instant::now();
    for (filter, moment) in queries {
        let mut query = orders.query(filter.clone()).limit(LIMIT);
        if past {
            query = query.as_of(Moment::Cv(*moment));
        }
        found += query.await?.items.len();
    }
    let elapsed = start.elapsed().as_secs_f64();
    let expected = queries.len() * FOUND;
    anyhow::ensure!(
        found > expected / 2 && found < expected * 2,
        "{found} records found, about {expected} expected"
    );
    Ok(elapsed * 1e6 / queries.len() as f64)
}

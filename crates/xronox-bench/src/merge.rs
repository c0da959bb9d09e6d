//! Merging a thousand elements into an array of a hundred thousand, half of
//! them there already, beside the 50 ms of a processor that this may take.

use std::time::Instant;

use serde_json::{Value, json};

use crate::{
    bench::Bench,
    report::{Bar, Row},
    round::Rounds,
};

const THERE: u64 = 100_000;
const MERGED: u64 = 1_000;
const MILLIS: f64 = 50.0;

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let plain = |n: u64| json!({ "at": n, "reading": [n % 7, "ok"], "unit": "mm" });
    let known = |n: u64| json!({ "id": format!("sensor-{n}"), "reading": n % 7 });
    Ok(vec![
        one(bench, "enrich 100,000 elements with 1,000", plain)?,
        one(bench, "the same, elements with ids", known)?,
    ])
}

fn one(bench: &Bench, name: &str, element: impl Fn(u64) -> Value) -> anyhow::Result<Row> {
    let document = json!({ "readings": (0..THERE).map(&element).collect::<Vec<_>>() });
    let from = THERE - MERGED / 2;
    let patch = json!({ "readings": (from..from + MERGED).map(&element).collect::<Vec<_>>() });
    let mut rounds = Rounds::default();
    for _ in 0..bench.sizes.rounds {
        let mut merged = document.clone();
        let start = Instant::now();
        xronox_model::enrich(&mut merged, &patch);
        rounds.push(start.elapsed().as_secs_f64() * 1e3, MILLIS);
        let there = merged["readings"].as_array().map_or(0, Vec::len);
        anyhow::ensure!(there as u64 == from + MERGED, "{there} elements");
    }
    Ok(Row::of(name, &rounds, "ms", Bar::AtMost(1.0)))
}

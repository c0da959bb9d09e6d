//! Reading the past of one record that has very many versions, beside records
//! that have ten. Both collections have equally many versions in all, so what
//! is compared is the length of a history, not the size of a file.

use std::time::Instant;

use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::Value;
use xronox::{Collection, Moment};

use crate::{
    bench::{Bench, open, reopen},
    order::order,
    report::{Bar, Row},
    round::Rounds,
};

/// Versions of a record with a short history.
const SHORT: usize = 10;

/// What to read: a record, one of its versions, and when that was the newest.
struct Wanted {
    id: String,
    ov: u64,
    cv: u64,
    at: xronox::Timestamp,
}

enum Read {
    Version,
    AsOfCv,
    AsOfTime,
}

pub(crate) async fn measure(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let versions = bench.sizes.long_history;
    let long = Past::write(bench, "history-long", 1, versions).await?;
    let short = Past::write(bench, "history-short", versions / SHORT, SHORT).await?;
    let mut random = StdRng::seed_from_u64(2);
    let mut rows = Vec::new();
    for (name, read) in [
        ("get_version", Read::Version),
        ("get_as_of a cv", Read::AsOfCv),
        ("get_as_of a time", Read::AsOfTime),
    ] {
        let mut rounds = Rounds::default();
        // The first round warms both.
        for round in 0..=bench.sizes.rounds {
            let ours = long
                .time(&read, &mut random, bench.sizes.lookups / 4)
                .await?;
            let baseline = short
                .time(&read, &mut random, bench.sizes.lookups / 4)
                .await?;
            if round > 0 {
                rounds.push(ours, baseline);
            }
        }
        let name = format!("{name}, {versions} versions beside {SHORT}");
        rows.push(Row::of(name, &rounds, "µs", Bar::AtMost(1.5)));
    }
    long.remove().await?;
    short.remove().await?;
    Ok(rows)
}

/// A store whose records have equally many versions.
struct Past {
    folder: std::path::PathBuf,
    xronox: xronox::Xronox,
    orders: Collection,
    /// Commit times by `cv`.
    times: Vec<xronox::Timestamp>,
    records: usize,
    versions: usize,
}

impl Past {
    async fn write(
        bench: &Bench,
        name: &str,
        records: usize,
        versions: usize,
    ) -> anyhow::Result<Self> {
        let folder = bench.place(name);
        let (xronox, orders) = open(&folder, &["region"]).await?;
        write_versions(&orders, records, versions, order).await?;
        let (xronox, orders) = reopen(&folder, &xronox, &["region"]).await?;
        let mut times = Vec::with_capacity(records * versions);
        let mut past = Self {
            folder,
            xronox,
            orders,
            times: Vec::new(),
            records,
            versions,
        };
        for cv in 0..records * versions {
            let wanted = past.version_of(cv);
            let record = past.orders.get_version(&wanted.0, wanted.1).await?;
            anyhow::ensure!(record.cv() == cv as u64, "versions are not in order");
            times.push(record.at());
        }
        past.times = times;
        Ok(past)
    }

    /// The record and the `ov` that were written as this `cv`.
    fn version_of(&self, cv: usize) -> (String, u64) {
        (id(cv % self.records), (cv / self.records) as u64)
    }

    /// Microseconds a read, over random versions.
    async fn time(&self, read: &Read, random: &mut StdRng, count: usize) -> anyhow::Result<f64> {
        let wanted: Vec<Wanted> = (0..count)
            .map(|_| {
                let cv = random.random_range(0..self.times.len());
                let (id, ov) = self.version_of(cv);
                // Not the commit itself: a moment at which it was long done.
                let later = random.random_range(0..self.records);
                let last = self.records * self.versions - 1;
                Wanted {
                    id,
                    ov,
                    cv: (cv + later).min(last) as u64,
                    at: self.times[cv],
                }
            })
            .collect();
        let start = Instant::now();
        for Wanted { id, ov, cv, at } in &wanted {
            let record = match read {
                Read::Version => self.orders.get_version(id, *ov).await?,
                Read::AsOfCv => self.orders.get_as_of(id, Moment::Cv(*cv)).await?,
                Read::AsOfTime => self.orders.get_as_of(id, *at).await?,
            };
            // Many versions share a millisecond.
            anyhow::ensure!(record.ov() >= *ov, "not the version asked for");
        }
        Ok(start.elapsed().as_secs_f64() * 1e6 / count as f64)
    }

    async fn remove(self) -> anyhow::Result<()> {
        self.xronox.close().await?;
        std::fs::remove_dir_all(self.folder)?;
        Ok(())
    }
}

/// Writes so many versions of so many records: first the first version of all,
/// then the second.
pub(crate) async fn write_versions(
    orders: &Collection,
    records: usize,
    versions: usize,
    order: impl Fn(usize, usize) -> Value,
) -> anyhow::Result<()> {
    let mut import = orders.import().id_from("_id".parse()?).start().await?;
    for revision in 0..versions {
        for number in 0..records {
            let mut document = order(number, revision);
            document["_id"] = Value::from(id(number));
            import.add(document).await?;
        }
    }
    let report = import.finish().await?;
    anyhow::ensure!(report.total() == (records * versions) as u64, "{report:?}");
    Ok(())
}

/// The id of a record of [`write_versions`].
fn id(number: usize) -> String {
    format!("order-{number:07}")
}

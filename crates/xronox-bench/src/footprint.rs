//! Bytes on disk of a version, everything included, beside the bytes of its
//! document: ten versions a record, and an indexed property that is another in
//! each version, with and without compression.

use crate::{
    bench::{Bench, bytes_below, open_with},
    history::write_versions,
    order::{BYTES, order},
    report::{Bar, Row},
    round::Rounds,
};

const VERSIONS: usize = 10;

pub(crate) async fn measure(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let records = bench.sizes.footprint_records;
    let mut rows = Vec::new();
    for (name, compressed, bar) in [
        ("bytes on disk of a 1 KiB version", false, 1.6),
        ("bytes on disk of a 1 KiB version, zstd", true, 1.0),
    ] {
        let folder = bench.place("footprint");
        let (xronox, orders) = open_with(&folder, &["score"], compressed).await?;
        write_versions(&orders, records, VERSIONS, order).await?;
        xronox.close().await?;
        let versions = (records * VERSIONS) as f64;
        let mut rounds = Rounds::default();
        rounds.push(bytes_below(&folder)? as f64 / versions, BYTES as f64);
        rows.push(Row::of(name, &rounds, "bytes", Bar::AtMost(bar)));
        std::fs::remove_dir_all(folder)?;
    }
    Ok(rows)
}

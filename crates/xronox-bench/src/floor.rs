//! The floor under every durable write: one `fdatasync`.

use std::{
    fs::File,
    io::Write,
    time::{Duration, Instant},
};

use crate::{bench::Bench, round::median};

/// Bytes appended before each sync.
const APPENDED: usize = 1024;
/// Syncs of one sample.
const SYNCS: usize = 30;

/// A file to append to and sync.
#[derive(Debug)]
pub(crate) struct Floor(File);

impl Floor {
    pub(crate) fn new(bench: &Bench, name: &str) -> anyhow::Result<Self> {
        Ok(Self(File::create(bench.place(name))?))
    }

    /// The median time of a small append and its `fdatasync`, in seconds.
    pub(crate) fn sample(&mut self) -> anyhow::Result<f64> {
        let mut times = Vec::with_capacity(SYNCS);
        for _ in 0..SYNCS {
            self.0.write_all(&[b'x'; APPENDED])?;
            let start = Instant::now();
            self.0.sync_data()?;
            times.push(start.elapsed());
        }
        Ok(median(times.iter().map(Duration::as_secs_f64)))
    }
}

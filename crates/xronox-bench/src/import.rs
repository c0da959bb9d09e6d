//! The command line tool imports a file of NDJSON into a new store: its peak
//! memory, whether that stays flat, and its rate.
//!
//! - flat: the highest resident size of the second half of the run, beside
//!   that of the second quarter.
//! - rate: beside 15,000 records a second, or what commits of 250 records
//!   reach on this disk (`250 / F`) if that is less.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context;

use crate::{
    bench::Bench,
    floor::Floor,
    machine::kib,
    order::order,
    report::{Bar, Row},
    round::{Rounds, median},
};

const PAUSE: Duration = Duration::from_millis(50);
/// The smallest commit of a running import.
const COMMIT: f64 = 250.0;

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let records = bench.sizes.import_records;
    let file = bench.place("orders.ndjson");
    write(&file, records)?;
    let mut floor = Floor::new(bench, "import-floor")?;
    let mut floors = vec![floor.sample()?];
    let folder = bench.place("import");
    let run = Run::of(&bench.cli, &folder, &file)?;
    floors.push(floor.sample()?);
    fs::remove_dir_all(folder)?;
    fs::remove_file(file)?;

    let row = |name: String, ours, baseline, unit, bar| {
        let mut rounds = Rounds::default();
        rounds.push(ours, baseline);
        Row::of(name, &rounds, unit, bar)
    };
    let mib = |kib: u64| kib as f64 / 1024.0;
    let quarter = run.resident.len() / 4;
    let highest = |samples: &[u64]| samples.iter().copied().max().unwrap_or(0);
    let rate = records as f64 / run.took.as_secs_f64();
    Ok(vec![
        row(
            format!("CLI import of {records}, peak memory"),
            mib(run.peak),
            256.0,
            "MiB",
            Bar::AtMost(1.0),
        ),
        row(
            "CLI import, second half beside second quarter".to_owned(),
            mib(highest(&run.resident[2 * quarter..])),
            mib(highest(&run.resident[quarter..2 * quarter])),
            "MiB",
            Bar::AtMost(1.1),
        ),
        row(
            "CLI import, rate".to_owned(),
            rate,
            f64::min(15_000.0, COMMIT / median(floors)),
            "records/s",
            Bar::AtLeast(1.0),
        ),
    ])
}

fn write(file: &Path, records: usize) -> anyhow::Result<()> {
    let mut out = BufWriter::new(File::create(file)?);
    for number in 0..records {
        serde_json::to_writer(&mut out, &order(number, 0))?;
        out.write_all(b"\n")?;
    }
    out.into_inner()?.sync_all()?;
    Ok(())
}

/// A run of the tool. Sizes in KiB.
struct Run {
    took: Duration,
    peak: u64,
    /// The resident size, sampled at equal steps.
    resident: Vec<u64>,
}

impl Run {
    fn of(cli: &Path, folder: &Path, file: &Path) -> anyhow::Result<Self> {
        let start = Instant::now();
        let mut child = Command::new(cli)
            .args(["--quiet", "import", "orders"])
            .arg(file)
            .arg("--data")
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("{} does not start", cli.display()))?;
        let status_file = format!("/proc/{}/status", child.id());
        let mut resident = Vec::new();
        let mut peak = 0;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            // Both are gone when the process is.
            peak = peak.max(kib(&status_file, "VmHWM"));
            resident.push(kib(&status_file, "VmRSS"));
            std::thread::sleep(PAUSE);
        };
        anyhow::ensure!(status.success(), "the import failed ({status})");
        anyhow::ensure!(
            resident.len() >= 8,
            "the import was over too soon to be measured"
        );
        Ok(Self {
            took: start.elapsed(),
            peak,
            resident,
        })
    }
}

//! Where the figures were measured.

use std::{fmt, fs, process::Command};

use serde::Serialize;

use crate::{
    bench::{Bench, Sizes},
    floor::Floor,
    round::median,
};

/// What stands before the figures.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Head {
    machine: Machine,
    versions: Versions,
    /// The median time of an `fdatasync` after a small append, in microseconds.
    fdatasync_micros: f64,
    quick: bool,
    sizes: Sizes,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Machine {
    cpu: String,
    cores: usize,
    memory_mib: u64,
    kernel: String,
}

#[derive(Debug, Serialize)]
struct Versions {
    xronox: &'static str,
    sqlite: &'static str,
    rustc: String,
}

impl Head {
    pub(crate) fn of(bench: &Bench, quick: bool) -> anyhow::Result<Self> {
        let mut floor = Floor::new(bench, "floor")?;
        let samples: Result<Vec<f64>, _> = (0..10).map(|_| floor.sample()).collect();
        Ok(Self {
            machine: Machine {
                cpu: line("/proc/cpuinfo", "model name"),
                cores: std::thread::available_parallelism().map_or(1, usize::from),
                memory_mib: kib("/proc/meminfo", "MemTotal") / 1024,
                kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                    .unwrap_or_default()
                    .trim()
                    .to_owned(),
            },
            versions: Versions {
                xronox: env!("CARGO_PKG_VERSION"),
                sqlite: rusqlite::version(),
                rustc: rustc(),
            },
            fdatasync_micros: median(samples?) * 1e6,
            quick,
            sizes: bench.sizes.clone(),
        })
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            machine,
            versions,
            fdatasync_micros,
            quick,
            ..
        } = self;
        writeln!(
            f,
            "{}, {} cores, {} MiB, Linux {}",
            machine.cpu, machine.cores, machine.memory_mib, machine.kernel
        )?;
        writeln!(
            f,
            "xronox {}, SQLite {}, {}",
            versions.xronox, versions.sqlite, versions.rustc
        )?;
        let sizes = if *quick { "quick" } else { "full" };
        writeln!(f, "fdatasync {fdatasync_micros:.0} µs; {sizes} sizes")
    }
}

/// The value of a `name: value` line of one of the kernel's files; empty
/// where there is none.
pub(crate) fn line(path: &str, name: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let value = text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    });
    value.unwrap_or_default()
}

/// The number of such a line that counts in kB.
pub(crate) fn kib(path: &str, name: &str) -> u64 {
    let value = line(path, name);
    value.trim_end_matches("kB").trim().parse().unwrap_or(0)
}

fn rustc() -> String {
    let program = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(program).arg("--version").output();
    output
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default()
}

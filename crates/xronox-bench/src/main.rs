//! Benchmarks of Xronox beside raw baselines: each row is a ratio of two
//! things measured side by side in one run.
//!
//! What each row measures is said at the head of its module.

// Figures, not accounts: nothing here counts beyond 2^52.
#![allow(clippy::cast_precision_loss)]

mod bench;
mod bulk;
mod counters;
mod floor;
mod footprint;
mod history;
mod import;
mod lookup;
mod machine;
mod merge;
mod order;
mod query;
mod raw;
mod report;
mod round;
mod servers;
mod tenants;
mod writers;

use std::{fs, path::PathBuf};

use anyhow::Context;
use clap::Parser;

use crate::{
    bench::{Bench, Only, Sizes},
    machine::Head,
    report::Report,
};

/// Measures Xronox beside raw baselines and prints a table of ratios.
#[derive(Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
struct Arguments {
    /// Smaller sizes where time would grow and the ratio would not: minutes
    /// instead of half an hour.
    #[arg(long)]
    quick: bool,
    /// Writes the figures here as well.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Fails if a figure misses its bar.
    #[arg(long)]
    check: bool,
    /// Only the groups of rows with one of these names: writers, bulk,
    /// lookup, history, query, merge, counters, import, footprint, servers, tenants. Of the
    /// last two also parts: servers.creates, servers.updates, servers.reads,
    /// servers.s3, servers.processes, tenants.many, tenants.stalled.
    #[arg(long, value_name = "GROUP", value_delimiter = ',')]
    only: Vec<String>,
    /// Where the data is written and removed again: on the disk to be measured.
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    dir: PathBuf,
    /// The `xronox` binary; by default the one beside this program.
    #[arg(long, value_name = "FILE")]
    cli: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    if let Ok(catalog) = std::env::var(servers::WRITER) {
        return servers::write(&catalog).await;
    }
    let arguments = Arguments::parse();
    let dir = &arguments.dir;
    fs::create_dir_all(dir).with_context(|| format!("{} cannot be made", dir.display()))?;
    let folder = tempfile::tempdir_in(dir)?;
    let cli = match arguments.cli {
        Some(cli) => cli,
        None => std::env::current_exe()?.with_file_name("xronox"),
    };
    let sizes = if arguments.quick {
        Sizes::quick()
    } else {
        Sizes::full()
    };
    let bench = Bench {
        folder: folder.path().to_owned(),
        sizes,
        cli,
        only: Only(arguments.only),
    };
    let mut report = Report::new(Head::of(&bench, arguments.quick)?);
    eprintln!("{}", report.head);
    let wanted = |group: &str| bench.only.wants(group);
    if wanted("writers") {
        report.extend(writers::measure(&bench).await?);
    }
    if wanted("bulk") {
        report.extend(bulk::measure(&bench).await?);
    }
    if wanted("lookup") {
        report.extend(lookup::measure(&bench).await?);
    }
    if wanted("history") {
        report.extend(history::measure(&bench).await?);
    }
    if wanted("query") {
        report.extend(query::measure(&bench).await?);
    }
    if wanted("merge") {
        report.extend(merge::measure(&bench)?);
    }
    if wanted("counters") {
        report.extend(counters::measure(&bench).await?);
    }
    if wanted("footprint") {
        report.extend(footprint::measure(&bench).await?);
    }
    if wanted("import") {
        report.extend(import::measure(&bench)?);
    }
    if wanted("servers") {
        report.extend(servers::measure(&bench).await?);
    }
    if wanted("tenants") {
        report.extend(tenants::measure(&bench).await?);
    }
    eprintln!("\n{report}");
    if let Some(file) = &arguments.json {
        let json = serde_json::to_string_pretty(&report)? + "\n";
        fs::write(file, json).with_context(|| format!("{} cannot be written", file.display()))?;
    }
    if arguments.check && !report.holds() {
        anyhow::bail!("a figure misses its bar");
    }
    Ok(())
}

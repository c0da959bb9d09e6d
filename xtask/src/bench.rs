//! `cargo xtask bench`.

use crate::cargo::{cargo, run};

/// Builds the command line tool and the benchmarks, then measures. One of the
/// figures is about the tool.
pub(crate) fn run_with(options: &[String]) -> anyhow::Result<()> {
    run(&mut cargo(&["build", "--release", "-p", "xronox-cli"]))?;
    let arguments = ["run", "--release", "-p", "xronox-bench", "--"];
    run(cargo(&arguments).args(options))
}

//! `cargo xtask bench`.

use std::process::Command;

use crate::cargo::{cargo, run, target, workspace};

/// Builds the command line tool and the benchmarks, then measures. One of the
/// figures is about the tool.
///
/// Both are built by one command: built one after the other, what they share
/// would be compiled twice, for the features that each asks for.
pub(crate) fn run_with(options: &[String]) -> anyhow::Result<()> {
    run(&mut cargo(&[
        "build",
        "--release",
        "-p",
        "xronox-cli",
        "-p",
        "xronox-bench",
    ]))?;
    let program = workspace().join(target()).join("release/xronox-bench");
    run(Command::new(program).args(options).current_dir(workspace()))
}

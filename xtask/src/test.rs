//! `cargo xtask test`: what must hold before a change lands.

use std::{path::PathBuf, process::Command};

use anyhow::Context;

use crate::cargo::{cargo, run, workspace};

/// The version of cargo-deny that is installed where there is none.
const CARGO_DENY: &str = "0.20.2";

/// Runs all of it; the cheap parts first, and the tests last.
pub(crate) fn run_all() -> anyhow::Result<()> {
    run(&mut cargo(&["fmt", "--all", "--check"]))?;
    lint(&["--workspace", "--all-targets", "--all-features"])?;
    // The one combination of features that nothing else builds.
    lint(&["--package", "xronox", "--lib", "--no-default-features"])?;
    // The tool has the name of the library, so only libraries are documented.
    let document = ["doc", "--workspace", "--lib", "--no-deps", "--all-features"];
    run(cargo(&document).env("RUSTDOCFLAGS", "-D warnings"))?;
    // Advisories are not here: they need the network.
    let deny = ["check", "licenses", "bans", "sources"];
    run(cargo_deny()?.args(deny).current_dir(workspace()))?;
    run(&mut cargo(&["test", "--workspace", "--all-features"]))
}

fn lint(what: &[&str]) -> anyhow::Result<()> {
    run(cargo(&["clippy"]).args(what).args(["--", "-D", "warnings"]))
}

/// cargo-deny from the path, or one installed below `target`.
fn cargo_deny() -> anyhow::Result<Command> {
    let on_path = Command::new("cargo-deny").arg("--version").output();
    if on_path.is_ok_and(|output| output.status.success()) {
        return Ok(Command::new("cargo-deny"));
    }
    let tools = target().join("tools");
    let own = tools.join("bin").join("cargo-deny");
    if !own.exists() {
        let package = ["install", "cargo-deny", "--locked", "--version", CARGO_DENY];
        let installed = run(cargo(&package).arg("--root").arg(&tools));
        installed.context("cargo-deny is needed to check licences")?;
    }
    Ok(Command::new(own))
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

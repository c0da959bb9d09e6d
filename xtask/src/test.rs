//! `cargo xtask test`: what must hold before a change lands.

use std::{process::Command, thread};

use anyhow::{Context, anyhow};

use crate::{
    cargo::{cargo, run, target, workspace},
    services,
};

/// The version of cargo-deny that is installed where there is none.
const CARGO_DENY: &str = "0.20.2";

/// Runs all of it; the cheap parts first, and the tests last. The servers that
/// they need are installed meanwhile.
pub(crate) fn run_all() -> anyhow::Result<()> {
    let stack = services::stack(None)?;
    let servers = stack.services().clone();
    let installing = thread::spawn(move || servers.install());
    check()?;
    let installed = installing.join();
    installed.map_err(|_| anyhow!("installing the servers panicked"))??;
    // They end with this process, however it ends. What `services up` started
    // is used and left running.
    let started = stack.start(&services::given())?;
    let mut tests = cargo(&["test", "--workspace", "--all-features"]);
    run(tests.envs(started.variables()))
}

/// All but the tests.
fn check() -> anyhow::Result<()> {
    run(&mut cargo(&["fmt", "--all", "--check"]))?;
    lint(&["--workspace", "--all-targets", "--all-features"])?;
    // No backend at all, and each by itself.
    let mut library = vec!["--package", "xronox", "--lib", "--no-default-features"];
    lint(&library)?;
    library.push("--features");
    for feature in ["sqlite", "mongodb", "cloud"] {
        library.push(feature);
        lint(&library)?;
        library.pop();
    }
    // The tool has the name of the library, so only libraries are documented.
    let document = ["doc", "--workspace", "--lib", "--no-deps", "--all-features"];
    run(cargo(&document).env("RUSTDOCFLAGS", "-D warnings"))?;
    // Advisories are not here: they need the network.
    let deny = ["check", "licenses", "bans", "sources"];
    run(cargo_deny()?.args(deny).current_dir(workspace()))
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
        // It runs once: to optimise it would take longer than that.
        let package = ["install", "cargo-deny", "--locked", "--debug"];
        let package = [&package[..], &["--version", CARGO_DENY]].concat();
        let installed = run(cargo(&package).arg("--root").arg(&tools));
        installed.context("cargo-deny is needed to check licences")?;
    }
    Ok(Command::new(own))
}

//! Developer commands: `cargo xtask test`, `cargo xtask bench`.

mod bench;
mod cargo;
mod test;

use clap::{Parser, Subcommand};

/// Developer commands of Xronox.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Xtask {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Everything that must hold before a change lands: formatting, lints,
    /// feature combinations, documentation, licences, tests.
    Test,
    /// Measures Xronox beside raw baselines, in release builds.
    #[command(disable_help_flag = true)]
    Bench {
        /// Handed on; `cargo xtask bench --help` lists them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
}

fn main() -> anyhow::Result<()> {
    match Xtask::parse().command {
        Command::Test => test::run_all(),
        Command::Bench { options } => bench::run_with(&options),
    }
}

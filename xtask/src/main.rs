//! Developer commands: `cargo xtask test`, `cargo xtask bench`,
//! `cargo xtask services`.

mod bench;
mod cargo;
mod services;
mod test;

use std::path::PathBuf;

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
    /// feature combinations, documentation, licences, tests. Starts the servers
    /// that the tests need, and ends them.
    Test,
    /// The real servers that tests run against: MongoDB, S3, Azure Blob.
    Services {
        #[command(subcommand)]
        command: ServicesCommand,
        /// Where their state and data are, and they themselves unless
        /// `XRONOX_TEST_SERVICES` names another folder [default:
        /// target/services].
        #[arg(long, global = true)]
        folder: Option<PathBuf>,
    },
    /// Measures Xronox beside raw baselines, in release builds.
    #[command(disable_help_flag = true)]
    Bench {
        /// Handed on; `cargo xtask bench --help` lists them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
}

#[derive(Subcommand)]
enum ServicesCommand {
    /// Installs and starts what does not run yet, and prints the variables that
    /// point the tests at it: `eval "$(cargo xtask services up)"`.
    Up,
    /// Says what runs.
    Status,
    /// Ends all of it and removes its data.
    Down,
}

fn main() -> anyhow::Result<()> {
    match Xtask::parse().command {
        Command::Test => test::run_all(),
        Command::Services { command, folder } => match command {
            ServicesCommand::Up => services::up(folder.as_deref()),
            ServicesCommand::Status => services::status(folder.as_deref()),
            ServicesCommand::Down => services::down(folder.as_deref()),
        },
        Command::Bench { options } => bench::run_with(&options),
    }
}

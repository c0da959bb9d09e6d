//! The commands, one a file.

mod analytics;
mod attach;
mod blame;
mod changes;
mod completions;
mod config;
mod copy;
mod delete;
mod demo;
mod diff;
mod enrich;
mod export;
mod fetch;
mod find;
mod footprint;
mod gc;
mod get;
mod import;
mod index;
mod init;
mod lineage;
mod log;
mod move_versions;
mod put;
mod restore;
mod resume;
mod stats;
mod tenants;
mod verify;
mod who;

use futures::{FutureExt, future::BoxFuture};
use serde_json::Value;
use xronox::{Version, Written, json};

use crate::{
    args::Command,
    context::Context,
    exit::{Exit, Failure},
    output::Output,
};

/// Does what the command line says.
pub(crate) fn run(command: Command, cx: &mut Context) -> BoxFuture<'_, Result<Exit, Failure>> {
    // Those that do not stop at once when asked to see to it themselves.
    let interrupt = cx.interrupt.clone();
    async move {
        match command {
            Command::Copy(args) => return copy::run(args, cx).await,
            Command::Demo(args) => return demo::run(args, cx).await,
            Command::Import(args) => return import::run(args, cx).await,
            Command::Restore(args) => return restore::run(args, cx).await,
            Command::Tenants(args) => return tenants::run(args, cx).await,
            _ => {}
        }
        let work = Box::pin(async {
            match command {
                Command::Init => init::run(cx).await,
                Command::Put(args) => put::run(args, cx).await,
                Command::Enrich(args) => enrich::run(args, cx).await,
                Command::Attach(args) => attach::run(args, cx).await,
                Command::Fetch(args) => fetch::run(args, cx).await,
                Command::Get(args) => get::run(args, cx).await,
                Command::Find(args) => find::run(args, cx).await,
                Command::Export(args) => export::run(args, cx).await,
                Command::Log(args) => log::run(args, cx).await,
                Command::Diff(args) => diff::run(args, cx).await,
                Command::Blame(args) => blame::run(args, cx).await,
                Command::Who(args) => who::run(args, cx).await,
                Command::Footprint(args) => footprint::run(args, cx).await,
                Command::Erase(args) => footprint::erase(args, cx).await,
                Command::Lineage(args) => lineage::run(args, cx).await,
                Command::Delete(args) => delete::run(args, cx).await,
                Command::Index(args) => index::run(args, cx).await,
                Command::Changes(args) => changes::run(args, cx).await,
                Command::Verify(args) => verify::run(args, cx).await,
                Command::Gc(args) => gc::run(args, cx).await,
                Command::MoveVersions => move_versions::run(cx).await,
                Command::Resume => resume::run(cx).await,
                Command::Stats(args) => stats::run(args, cx).await,
                Command::Analytics(args) => analytics::run(args, cx).await,
                Command::Config(args) => config::run(args, cx).await,
                Command::Completions(args) => completions::run(&args, cx),
                Command::Copy(_)
                | Command::Demo(_)
                | Command::Import(_)
                | Command::Restore(_)
                | Command::Tenants(_) => Ok(Exit::Done),
            }
        });
        interrupt.or(work).await
    }
    .boxed()
}

/// A read that shows what the options say.
macro_rules! showing {
    ($shown:expr, $read:expr) => {{
        let (mut read, shown) = ($read, &$shown);
        if shown.show_hidden {
            read = read.include_hidden();
        }
        if let Some(name) = &shown.projection {
            read = read.project(name);
        }
        read
    }};
}

use showing;

/// Reads the JSON of an option.
fn parse(option: &str, text: &str) -> Result<Value, Failure> {
    json::parse(text.as_bytes()).map_err(|error| Failure::invalid(format!("{option}: {error}")))
}

/// Prints what a write did.
fn print_written(out: &mut Output, collection: &str, written: &Written) -> Result<(), Failure> {
    if out.json {
        out.value(written)?;
        return Ok(());
    }
    let Written {
        id,
        ov,
        cv,
        at,
        op,
        unchanged,
        ..
    } = written;
    if *unchanged {
        out.line(format_args!(
            "unchanged  {collection}/{id}  ov {ov}  cv {cv}  {at}"
        ))?;
    } else {
        out.line(format_args!(
            "{op}  {collection}/{id}  ov {ov}  cv {cv}  {at}"
        ))?;
    }
    Ok(())
}

/// The first digits of a version's checksum, enough for people to compare.
fn brief_sum(version: &Version) -> String {
    let sum = version.sha256.map(|sum| sum.to_string());
    sum.map_or_else(String::new, |sum| sum.chars().take(12).collect())
}

/// A word as a shell reads it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

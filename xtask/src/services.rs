//! `cargo xtask services`: the servers that the tests run against.

use std::path::{Path, PathBuf};

use xronox_services::{Running, Services, Stack, Variables, env};

use crate::cargo::target;

/// The folder of the servers, below that of the builds.
fn default_folder() -> PathBuf {
    target().join("services")
}

/// The stack with its state in this folder. Servers are installed there too,
/// unless a variable names another place.
pub(crate) fn stack(folder: Option<&Path>) -> anyhow::Result<Stack> {
    let folder = folder.map_or_else(default_folder, Path::to_owned);
    let given = given();
    let installed = given.get(env::SERVICES).map(PathBuf::from);
    let installed = installed.unwrap_or_else(|| folder.clone());
    let mongod = given.get(env::MONGOD).map(PathBuf::from);
    // One that was installed here is looked for as if it had not been named: it
    // may have been removed.
    let mongod = mongod.filter(|mongod| !mongod.starts_with(&installed));
    Stack::open(Services::open(&installed, mongod)?, &folder)
}

/// The variables that are set already.
pub(crate) fn given() -> Variables {
    let set = std::env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok()?;
        let ours = name.starts_with("XRONOX_TEST_") && !value.is_empty();
        ours.then(|| Some((name, value.into_string().ok()?)))?
    });
    set.collect()
}

/// Installs and starts what does not run yet; prints what points at it, to be
/// read by a shell.
pub(crate) fn up(folder: Option<&Path>) -> anyhow::Result<()> {
    let variables = stack(folder)?.up(&given())?;
    for (name, value) in &variables {
        println!("export {name}={}", quoted(value));
    }
    Ok(())
}

/// Says what runs.
pub(crate) fn status(folder: Option<&Path>) -> anyhow::Result<()> {
    for server in stack(folder)?.status() {
        println!("{}", describe(&server));
    }
    Ok(())
}

/// Ends what runs and removes its data.
pub(crate) fn down(folder: Option<&Path>) -> anyhow::Result<()> {
    for server in stack(folder)?.down()? {
        eprintln!(
            "ended {} (process {})",
            server.part.name(),
            server.process.unwrap_or_default()
        );
    }
    Ok(())
}

fn describe(server: &Running) -> String {
    let name = server.part.name();
    match server.process {
        None => format!("{name}: not running"),
        Some(process) => {
            let address = server
                .variables
                .iter()
                .find(|(name, _)| name.ends_with("_URI") || name.ends_with("_ENDPOINT"));
            let address = address.map_or("does not answer yet", |(_, address)| address);
            format!("{name}: process {process}, {address}")
        }
    }
}

/// As one word of a shell.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/:._-+".contains(c);
    if value.chars().all(plain) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_value_is_one_word_of_a_shell() {
        assert_eq!(quoted("http://127.0.0.1:1"), "http://127.0.0.1:1");
        assert_eq!(quoted("a?b&c"), "'a?b&c'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}

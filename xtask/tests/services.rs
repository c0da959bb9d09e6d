//! `cargo xtask services`, as a shell uses it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    fs,
    net::TcpStream,
    path::Path,
    process::{self, Command},
};

use tempfile::TempDir;
use xronox_services::env;

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// The command, without the variables that point at the servers of this
    /// test run.
    fn command(&self, what: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command
            .args(["services", what, "--folder"])
            .arg(self.0.path());
        for (name, _) in std::env::vars_os() {
            let name = name.to_str().unwrap_or_default();
            if name.starts_with("XRONOX_TEST_") && name != env::SERVICES {
                command.env_remove(name);
            }
        }
        command
    }

    fn run(&self, what: &str) -> String {
        said(&mut self.command(what))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let ended = self.command("down").status();
        if !std::thread::panicking() {
            assert!(ended.unwrap().success());
        }
    }
}

fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// The variables as a shell understands them.
fn evaluated(exports: &str) -> BTreeMap<String, String> {
    assert!(
        exports
            .lines()
            .all(|line| line.starts_with("export XRONOX_TEST_")),
        "{exports}"
    );
    let script = format!("set -eu\n{exports}\nenv");
    let mut shell = Command::new("sh");
    let set = said(shell.env_clear().args(["-c", &script]));
    let set = set.lines().filter_map(|line| line.split_once('='));
    let set = set.filter(|(name, _)| name.starts_with("XRONOX_TEST_"));
    set.map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn process_of(folder: &Path, part: &str) -> u32 {
    let pid = fs::read_to_string(folder.join("data").join(part).join("pid"));
    pid.unwrap().parse().unwrap()
}

fn listens(url: &str) -> bool {
    let (_, rest) = url.split_once("//").unwrap();
    TcpStream::connect(rest.split('/').next().unwrap()).is_ok()
}

#[test]
fn up_starts_what_does_not_run_and_down_ends_it() {
    let folder = Folder::new();
    let exports = folder.run("up");
    let first = evaluated(&exports);
    let names = [
        env::SERVICES,
        env::MONGOD,
        env::MONGO_URI,
        env::MONGO_STANDALONE_URI,
        env::S3_ENDPOINT,
        env::S3_REGION,
        env::S3_ACCESS_KEY,
        env::S3_SECRET_KEY,
        env::S3_LIMITED_ACCESS_KEY,
        env::S3_LIMITED_SECRET_KEY,
        env::S3_LIMITED_BUCKET,
        env::AZURE_ENDPOINT,
        env::AZURE_ACCOUNT,
        env::AZURE_KEY,
    ];
    for name in names {
        assert!(!first[name].is_empty(), "{name}");
    }
    assert_eq!(first.len(), names.len(), "{exports}");
    let urls = [
        env::MONGO_URI,
        env::MONGO_STANDALONE_URI,
        env::S3_ENDPOINT,
        env::AZURE_ENDPOINT,
    ];
    for name in urls {
        assert!(listens(&first[name]), "{name}");
    }

    // Again, also in a shell that has the variables: the same.
    assert_eq!(folder.run("up"), exports);
    assert_eq!(said(folder.command("up").envs(&first)), exports);
    let status = folder.run("status");
    assert_eq!(status.matches("process ").count(), 4, "{status}");
    assert!(!status.contains(&first[env::S3_SECRET_KEY]), "{status}");

    // One that died is started again, the others stay.
    let standalone = process_of(folder.0.path(), "standalone");
    let killed = Command::new("kill")
        .args(["-9", &standalone.to_string()])
        .status();
    assert!(killed.unwrap().success());
    while listens(&first[env::MONGO_STANDALONE_URI]) {
        std::thread::yield_now();
    }
    let second = evaluated(&folder.run("up"));
    assert_ne!(process_of(folder.0.path(), "standalone"), standalone);
    assert!(listens(&second[env::MONGO_STANDALONE_URI]));
    assert_eq!(second[env::MONGO_URI], first[env::MONGO_URI]);
    assert_eq!(second[env::S3_ENDPOINT], first[env::S3_ENDPOINT]);

    folder.run("down");
    folder.run("down");
    for name in urls {
        assert!(!listens(&second[name]), "{name}");
    }
    let status = folder.run("status");
    assert_eq!(status.matches("not running").count(), 4, "{status}");

    // The shell still has the variables; they do not name another server.
    let third = evaluated(&said(folder.command("up").envs(&second)));
    assert!(listens(&third[env::MONGO_URI]));
}

#[test]
fn a_server_that_a_variable_names_is_not_started() {
    let folder = Folder::new();
    let mut command = folder.command("up");
    command
        .env(env::MONGO_STANDALONE_URI, "mongodb://db.example")
        .env(env::S3_ENDPOINT, "https://s3.example")
        .env(env::S3_SECRET_KEY, "hush")
        .env(env::AZURE_ENDPOINT, "https://blobs.example");
    let exports = said(&mut command);
    assert!(
        !exports.contains("example") && !exports.contains("hush"),
        "{exports}"
    );
    let set = evaluated(&exports);
    assert!(listens(&set[env::MONGO_URI]));
    let names: Vec<_> = set.keys().map(String::as_str).collect();
    assert_eq!(names, [env::MONGOD, env::MONGO_URI, env::SERVICES]);
    let status = folder.run("status");
    assert_eq!(status.matches("not running").count(), 3, "{status}");
}

#[test]
fn a_process_that_is_not_ours_is_left_alone() {
    let folder = Folder::new();
    // The id of a server that died may have gone to this process.
    let data = folder.0.path().join("data/standalone");
    fs::create_dir_all(&data).unwrap();
    fs::write(data.join("pid"), process::id().to_string()).unwrap();
    fs::write(
        data.join("variables"),
        "{\"XRONOX_TEST_MONGO_STANDALONE_URI\":\"x\"}",
    )
    .unwrap();
    let status = folder.run("status");
    assert!(status.contains("standalone: not running"), "{status}");
    folder.run("down");
    assert!(!data.exists());
}

#[test]
fn a_missing_mongod_is_named() {
    let folder = Folder::new();
    let mut command = folder.command("up");
    let output = command
        .env(env::MONGOD, "/nowhere/mongod")
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(output.stdout.is_empty());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("no mongod at /nowhere/mongod"), "{errors}");
}

#[test]
fn without_an_installer_up_says_how_to_get_it() {
    let folder = Folder::new();
    let mut command = folder.command("up");
    let output = command
        .env_remove(env::SERVICES)
        .env("PATH", "/nowhere")
        .output()
        .unwrap();
    assert!(!output.status.success());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("apt-get install python3-pip"), "{errors}");
}

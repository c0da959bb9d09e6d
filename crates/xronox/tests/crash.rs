//! A process that is killed (SIGKILL) at any moment loses nothing it had
//! acknowledged, and two processes share one file safely and fairly.
//!
//! The test program runs itself as the process to be killed.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use support::Dice;
use tempfile::TempDir;
use xronox::{Config, Xronox};

const FOLDER: &str = "XRONOX_CRASH_FOLDER";
const SEED: &str = "XRONOX_CRASH_SEED";
const SECONDS: &str = "XRONOX_CRASH_SECONDS";

fn config(folder: &Path) -> Config {
    let mut config = Config::dev(folder);
    // Some bodies inline, some as files.
    config.settings.payloads.inline_max_bytes = Some(300);
    config.settings.hard_delete_enabled = true;
    config
}

/// Not a test of its own: the process that writes until it is killed.
#[test]
fn writing_process() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    let seed: u64 = std::env::var(SEED).unwrap().parse().unwrap();
    let seconds: u64 = std::env::var(SECONDS).unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let xronox = Xronox::open(config(Path::new(&folder))).await.unwrap();
        let until = Instant::now() + Duration::from_secs(seconds);
        let mut writers = Vec::new();
        for writer in 0..8 {
            let orders = xronox.collection("orders").unwrap();
            writers.push(tokio::spawn(async move {
                let mut dice = Dice::new(seed * 100 + writer);
                for n in 0u64.. {
                    if Instant::now() > until {
                        return;
                    }
                    let id = format!("s{seed}w{writer}r{}", dice.below(5));
                    let fill = "x".repeat(usize::try_from(dice.below(600)).unwrap());
                    let document = json!({ "n": n, "fill": fill });
                    let written = match orders.update(&id, document.clone()).await {
                        Ok(written) => written,
                        Err(_) => match orders.create_with_id(&id, document).await {
                            Ok(written) => written,
                            // Deleted: bring it back.
                            Err(_) => match orders.restore_object(&id).to_ov(0).await {
                                Ok(written) => written,
                                Err(_) => continue,
                            },
                        },
                    };
                    let line = json!({ "id": id, "ov": written.ov, "cv": written.cv, "op": written.op, "n": n });
                    // One write call a line, so that a line is whole or not there.
                    std::io::stdout().write_all(format!("ACK {line}\n").as_bytes()).unwrap();
                    if dice.below(20) == 0 {
                        let _ = orders.delete(&id).await;
                    }
                }
            }));
        }
        for writer in writers {
            writer.await.unwrap();
        }
    });
}

fn start(folder: &Path, seed: u64, seconds: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "writing_process",
            "--exact",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(FOLDER, folder)
        .env(SEED, seed.to_string())
        .env(SECONDS, seconds.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn acknowledged(child: &mut Child) -> Vec<Value> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines
        .map_while(Result::ok)
        .filter_map(|line| serde_json::from_str(line.split_once("ACK ")?.1).ok())
        .collect()
}

#[test]
fn a_killed_process_loses_nothing_acknowledged() {
    const ROUNDS: u64 = 12;
    let folder = TempDir::new().unwrap();
    let mut dice = Dice::new(42);
    let mut total = 0;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for round in 0..ROUNDS {
        let mut child = start(folder.path(), round, 60);
        let out = child.stdout.take().unwrap();
        let reader = std::thread::spawn(move || {
            BufReader::new(out)
                .lines()
                .map_while(Result::ok)
                .filter_map(|line| serde_json::from_str::<Value>(line.split_once("ACK ")?.1).ok())
                .collect::<Vec<_>>()
        });
        std::thread::sleep(Duration::from_millis(100 + dice.below(500)));
        child.kill().unwrap();
        child.wait().unwrap();
        let acknowledged = reader.join().unwrap();
        total += acknowledged.len();
        runtime.block_on(async {
            let xronox = Xronox::open(config(folder.path())).await.unwrap();
            let orders = xronox.collection("orders").unwrap();
            for line in &acknowledged {
                let ov = line["ov"].as_u64().unwrap();
                let found = orders.get_version(line["id"].as_str().unwrap(), ov).await;
                let found = found.unwrap_or_else(|e| panic!("round {round}: {line}: {e}"));
                assert_eq!(found.cv(), line["cv"].as_u64().unwrap(), "{line}");
                if line["op"] != "RESTORE" {
                    assert_eq!(found.document()["n"], line["n"], "{line}");
                }
            }
            let report = orders.verify().await.unwrap();
            assert!(report.clean(), "round {round}: {report:?}");
            xronox.close().await.unwrap();
        });
    }
    assert!(total > 100, "the processes got to write: {total}");
}

#[test]
fn two_processes_share_a_file_fairly() {
    let folder = TempDir::new().unwrap();
    // Made first, so that neither has a head start.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let xronox = Xronox::open(config(folder.path())).await.unwrap();
        let orders = xronox.collection("orders").unwrap();
        orders.create_with_id("first", json!({})).await.unwrap();
        xronox.close().await.unwrap();
    });
    let mut one = start(folder.path(), 1, 4);
    let mut two = start(folder.path(), 2, 4);
    let other = std::thread::spawn(move || {
        let lines = acknowledged(&mut two);
        two.wait().unwrap();
        lines
    });
    let first = acknowledged(&mut one);
    one.wait().unwrap();
    let second = other.join().unwrap();
    let mut cvs = BTreeMap::new();
    for line in first.iter().chain(&second) {
        let twice = cvs.insert(line["cv"].as_u64().unwrap(), line.clone());
        assert_eq!(twice, None, "two writes were given one place");
    }
    let (few, many) = (first.len().min(second.len()), first.len().max(second.len()));
    assert!(few > 20 && few * 4 > many, "{few} writes beside {many}");
    runtime.block_on(async {
        let xronox = Xronox::open(config(folder.path())).await.unwrap();
        let report = xronox.collection("orders").unwrap().verify().await.unwrap();
        assert!(report.clean(), "{report:?}");
    });
}

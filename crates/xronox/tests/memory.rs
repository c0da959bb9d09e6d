//! Bulk work on large records takes memory by the stretch, not by the
//! collection.
//!
//! The test program runs itself as the process that is measured.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{io::Read, path::Path, process::Command};

use futures::TryStreamExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use xronox::{Config, Content, Xronox};

const WORK: &str = "XRONOX_MEMORY_WORK";
const FOLDER: &str = "XRONOX_MEMORY_FOLDER";
/// 160 MiB in all.
const RECORDS: usize = 160;
const RECORD_BYTES: usize = 1 << 20;
/// A file.
const FILE_BYTES: u64 = 1 << 30;
/// Less than the records by themselves, far more than a stretch of them.
const MOST_MIB: u64 = 120;

fn config(folder: &Path, inline: bool) -> Config {
    let mut config = Config::dev(folder);
    let inline_max = if inline { u64::MAX } else { 0 };
    config.settings.payloads.inline_max_bytes = Some(inline_max);
    config.settings.payloads.cache_bytes = 0;
    let map = json!({ "base64Props": { "film": { "contentType": "video/mp4" } } });
    let map = serde_json::from_value(map).unwrap();
    let maps = &mut config.settings.collection_maps;
    maps.insert("orders".to_owned(), map);
    config
}

/// So many bytes, none of which are kept.
struct Film(u64);

impl Read for Film {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.0.min(buffer.len() as u64);
        self.0 -= length;
        let length = usize::try_from(length).unwrap();
        buffer[..length].fill(b'f');
        Ok(length)
    }
}

fn document(n: usize) -> Value {
    json!({ "n": n, "fill": "x".repeat(RECORD_BYTES) })
}

/// Not a test of its own: the process that is measured.
#[test]
fn working_process() {
    let Ok(work) = std::env::var(WORK) else {
        return;
    };
    let folder = std::env::var(FOLDER).unwrap();
    let (kind, inline) = work.split_once(' ').unwrap();
    let inline = inline == "inline";
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let folder = Path::new(&folder);
        let store = Xronox::open(config(folder, inline)).await.unwrap();
        let orders = store.collection("orders").unwrap();
        match kind {
            "import" => {
                let mut import = orders.import().start().await.unwrap();
                for n in 0..RECORDS {
                    import.add(document(n)).await.unwrap();
                }
                assert_eq!(import.finish().await.unwrap().created, RECORDS as u64);
            }
            "verify" => {
                let report = orders.verify().await.unwrap();
                assert!(report.clean(), "{report:?}");
                assert_eq!(report.bodies, RECORDS as u64);
            }
            "copy" => {
                let there = config(&folder.join("copy"), inline);
                let there = Xronox::open(there).await.unwrap();
                let report = store
                    .home()
                    .unwrap()
                    .copy_to(there.home().unwrap())
                    .await
                    .unwrap();
                assert_eq!(report.compared, RECORDS as u64);
                there.close().await.unwrap();
            }
            "attach" => {
                orders.create_with_id("a", json!({})).await.unwrap();
                let film = Content::from_read(Film(FILE_BYTES));
                orders.attach("a", "film", film).await.unwrap();
            }
            "fetch" => {
                let mut film = orders.file("a", "film").await.unwrap();
                let mut bytes = 0;
                while let Some(some) = film.try_next().await.unwrap() {
                    bytes += some.len() as u64;
                }
                assert_eq!(bytes, FILE_BYTES);
            }
            _ => panic!("{kind}"),
        }
        store.close().await.unwrap();
    });
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM:"));
    println!("PEAK {}", peak.unwrap());
}

/// The most memory that a process needs for some work, in MiB.
fn peak(work: &str, folder: &Path) -> u64 {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "working_process", "--nocapture"])
        .env(WORK, work)
        .env(FOLDER, folder)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{work}: {said}");
    let (_, line) = said.split_once("PEAK VmHWM:").unwrap();
    let kib: u64 = line.split_whitespace().next().unwrap().parse().unwrap();
    kib / 1024
}

#[test]
fn large_records_are_worked_on_by_the_stretch() {
    for place in ["inline", "objects"] {
        let folder = TempDir::new().unwrap();
        let peaks = ["import", "verify", "copy"]
            .map(|kind| (kind, peak(&format!("{kind} {place}"), folder.path())));
        println!("{place}: {peaks:?}");
        for (kind, peak) in peaks {
            assert!(peak <= MOST_MIB, "{kind} {place}: {peaks:?}");
        }
    }
}

#[test]
fn a_large_file_goes_in_and_out_by_the_stretch() {
    let folder = TempDir::new().unwrap();
    let peaks = ["attach", "fetch"].map(|kind| {
        let peak = peak(&format!("{kind} objects"), folder.path());
        (kind, peak)
    });
    println!("{peaks:?}");
    assert!(peaks.iter().all(|(_, peak)| *peak < 64), "{peaks:?}");
}

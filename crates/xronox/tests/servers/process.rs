//! Processes that write and read at a store: this program, run again.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    journal::{Client, Journal},
    load::{self, Until},
    place::Place,
};

const ORDER: &str = "XRONOX_SERVERS_ORDER";

/// What a process is to do.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Part {
    /// Writes, with so many clients.
    Write(u64),
    Patch,
    Restore,
    Read,
}

#[derive(Debug, Serialize, Deserialize)]
struct Order {
    part: Part,
    name: String,
    seed: u64,
    place: Place,
    journal: PathBuf,
    time: Duration,
}

/// Not a test of its own: what such a process does.
#[test]
fn ordered_process() {
    let Ok(order) = std::env::var(ORDER) else {
        return;
    };
    let order: Order = serde_json::from_str(&order).unwrap();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let xronox = order.place.open().await.unwrap();
        let orders = xronox.collection("orders").unwrap();
        let journal = Journal::at(&order.journal);
        let client = |name: String| Client::new(orders.clone(), journal.clone(), name);
        let (name, seed) = (order.name, order.seed);
        let until = Until::after(order.time);
        match order.part {
            Part::Write(clients) => {
                let mut writers = tokio::task::JoinSet::new();
                for n in 0..clients {
                    let client = client(format!("{name}.{n}"));
                    writers.spawn(load::write(client, seed * 10 + n, until.clone()));
                }
                writers.join_all().await;
            }
            Part::Patch => load::patch(client(name), until).await,
            Part::Restore => load::restore(client(name), seed, until).await,
            Part::Read => load::read(client(name), seed, until).await,
        }
        xronox.close().await.unwrap();
    });
}

/// A running process; killed when dropped.
pub(crate) struct Process {
    name: String,
    child: Child,
}

impl Process {
    pub(crate) fn start(
        part: Part,
        name: &str,
        seed: u64,
        place: &Place,
        journal: &Path,
        time: Duration,
    ) -> Self {
        let order = Order {
            part,
            name: name.to_owned(),
            seed,
            place: place.clone(),
            journal: journal.to_owned(),
            time,
        };
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["process::ordered_process", "--exact", "--nocapture"])
            .env(ORDER, serde_json::to_string(&order).unwrap())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            name: order.name,
            child,
        }
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(mut self) {
        let ended = self.child.try_wait().unwrap();
        assert_eq!(ended, None, "{} ended by itself", self.name);
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it has done its part.
    pub(crate) fn finish(mut self) {
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{} failed: {status}", self.name);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error says that it is gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

//! Clients that write and read until they are told to stop.

use std::{
    future::Future,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{task::JoinSet, time::Instant};
use xronox::{Collection, ErrorKind};

use crate::{
    journal::{Answer, Client, Event, Journal, Write},
    support::Dice,
};

/// The record that all patch.
pub(crate) const HOT: &str = "hot";
/// Records belong to so many groups.
const GROUPS: u64 = 4;
/// Records that every writer writes to.
const SHARED: u64 = 4;
/// The longest that a write may take, an answer about its outcome included, in
/// milliseconds.
pub(crate) const LONGEST: u64 = 60_000;
/// A client that storage failed comes back after this.
const RECOVER: Duration = Duration::from_millis(30);

/// When a client stops.
#[derive(Debug, Clone)]
pub(crate) struct Until(Arc<AtomicBool>, Option<Instant>);

impl Until {
    pub(crate) fn told() -> Self {
        Self(Arc::default(), None)
    }

    pub(crate) fn after(time: Duration) -> Self {
        Self(Arc::default(), Some(Instant::now() + time))
    }

    pub(crate) fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn over(&self) -> bool {
        self.0.load(Ordering::Relaxed) || self.1.is_some_and(|end| Instant::now() >= end)
    }
}

fn document(dice: &mut Dice, n: u64) -> Value {
    // Some are too large to be in the catalog where there is a bucket.
    let fill = "x".repeat(usize::try_from(dice.below(600)).unwrap());
    json!({ "n": n, "group": dice.below(GROUPS), "fill": fill })
}

/// Makes, changes, deletes and restores its own records and shared ones.
pub(crate) async fn write(client: Client, seed: u64, until: Until) {
    let mut dice = Dice::new(seed + 1);
    for n in 0.. {
        if until.over() {
            return;
        }
        let id = match dice.below(3) {
            0 => format!("shared{}", dice.below(SHARED)),
            _ => format!("s{seed}r{}", dice.below(5)),
        };
        let new = document(&mut dice, n);
        let answer = if dice.below(20) == 0 {
            client.write(&id, Write::Delete).await
        } else {
            client.write(&id, Write::Update(new.clone())).await
        };
        match answer {
            Answer::Refused(ErrorKind::NotFound) => {
                client.write(&id, Write::Create(new)).await;
            }
            Answer::Refused(ErrorKind::Deleted) => {
                client.write(&id, Write::Restore(0)).await;
            }
            Answer::Failed => tokio::time::sleep(RECOVER).await,
            Answer::Written(_) | Answer::Refused(_) => {}
        }
    }
}

/// Patches one record over and over.
pub(crate) async fn patch(client: Client, until: Until) {
    while !until.over() {
        match client.write(HOT, Write::Patch).await {
            Answer::Written(_) => {}
            // Somebody brought the collection back to before it was born.
            Answer::Refused(ErrorKind::Deleted) => {
                client.write(HOT, Write::Restore(0)).await;
            }
            Answer::Refused(ErrorKind::NotFound) => {
                client.write(HOT, Write::Create(json!({}))).await;
            }
            Answer::Refused(kind) => panic!("{kind:?}"),
            Answer::Failed => tokio::time::sleep(RECOVER).await,
        }
    }
}

/// Reads as of now and of the past.
pub(crate) async fn read(client: Client, seed: u64, until: Until) {
    let mut dice = Dice::new(seed + 1);
    let mut newest: Option<u64> = None;
    while !until.over() {
        let id = match dice.below(4) {
            0 => HOT.to_owned(),
            1 => format!("s{}r{}", dice.below(4), dice.below(5)),
            _ => format!("shared{}", dice.below(SHARED)),
        };
        match (dice.below(4), newest) {
            (0, Some(newest)) => {
                client.read(&id, Some(dice.below(newest + 1))).await;
            }
            (1, Some(newest)) => {
                let cv = dice.below(newest + 1);
                client.list(dice.below(GROUPS), cv).await;
            }
            _ => newest = newest.max(client.read(&id, None).await),
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Brings the collection back to some moment, now and then.
pub(crate) async fn restore(client: Client, seed: u64, until: Until) {
    let mut dice = Dice::new(seed + 1);
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        if until.over() {
            return;
        }
        // Not far: each brings back what changed since.
        if let Some(newest) = client.read(HOT, None).await {
            let cv = newest.saturating_sub(dice.below(60));
            client.restore_collection(cv).await;
        }
    }
}

/// Writers, somebody who patches and a reader, all of this process.
pub(crate) struct Load {
    clients: JoinSet<()>,
    until: Until,
}

impl Load {
    pub(crate) fn start(orders: &Collection, journal: &Journal, writers: u64) -> Self {
        let until = Until::told();
        let mut clients = JoinSet::new();
        let client = |name: &str| Client::new(orders.clone(), journal.clone(), name);
        for n in 0..writers {
            clients.spawn(write(client(&format!("writer.{n}")), n, until.clone()));
        }
        clients.spawn(patch(client("patcher"), until.clone()));
        clients.spawn(read(client("reader"), 9, until.clone()));
        Self { clients, until }
    }

    /// Stops it, once what is under way is over.
    pub(crate) async fn stop(self) {
        self.until.stop();
        within(Duration::from_mins(2), self.clients.join_all()).await;
    }
}

/// Waits until one more write is acknowledged, and gives how long that took.
pub(crate) async fn written_again(journal: &Path, limit: Duration) -> Duration {
    let count = || {
        let events = Journal::read(journal);
        let done = |event: &&Event| matches!(event, Event::Done { .. });
        events.iter().filter(done).count()
    };
    let (begun, before) = (Instant::now(), count());
    while count() == before {
        assert!(begun.elapsed() < limit, "no write after {limit:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    begun.elapsed()
}

/// Waits for this, and not for ever.
pub(crate) async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(limit, work).await;
    done.unwrap_or_else(|_| panic!("not over after {limit:?}"))
}

/// What a call gives once the server is found again: until then most callers
/// are not let through.
pub(crate) async fn back<T, F: Future<Output = Result<T, xronox::Error>>>(
    call: impl Fn() -> F,
) -> T {
    loop {
        match Box::pin(call()).await {
            Err(error) if *error.kind() == ErrorKind::Unavailable => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            answer => break answer.unwrap(),
        }
    }
}

//! What several clients did and saw, noted by themselves in one file.
//!
//! All append to it, in whichever process they run, and a client notes that it
//! begins before it asks and what came of it after. So if a note of an end
//! stands before a note of a beginning, the one was over before the other
//! began, and a process that is killed leaves behind what it knew.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test crate uses what it needs"
)]

use std::{
    fs::File,
    io::Write as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use xronox::{Attempt, Collection, ErrorKind, Moment, RecordId, Written};

/// How long a client goes on asking for the outcome of a write.
const OUTCOME: Duration = Duration::from_mins(2);

/// One note. A token names one thing that a client does; as the reason of a
/// write it also stands in the version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// A write begins.
    Begin {
        token: String,
        id: String,
        write: Write,
    },
    /// It was acknowledged.
    Done {
        token: String,
        ov: u64,
        cv: u64,
        unchanged: bool,
        millis: u64,
    },
    /// It was not written: an error said so, or the answer to a question for
    /// its outcome did.
    Failed {
        token: String,
        kind: String,
        message: String,
        millis: u64,
    },
    /// A `restore_collection` ended, after so many versions.
    Restored { token: String, versions: u64 },
    /// A read begins.
    Look { token: String },
    /// It found this version of a record, or none that lives.
    Saw {
        token: String,
        id: String,
        as_of: Option<u64>,
        version: Option<Seen>,
    },
    /// It found these records of a group, each at this version.
    Listed {
        token: String,
        as_of: u64,
        group: u64,
        found: Vec<(String, u64)>,
    },
}

/// What is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Write {
    Create(Value),
    Update(Value),
    /// Sets a property named after the token.
    Patch,
    Delete,
    /// Brings back this version.
    Restore(u64),
    /// Brings back the whole collection as of this commit.
    Collection(u64),
}

/// A version as a reader found it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    pub ov: u64,
    pub cv: u64,
    pub sha256: Option<String>,
}

/// The file of notes. Clones append to the same one.
#[derive(Debug, Clone)]
pub struct Journal(Arc<File>);

impl Journal {
    /// Goes on with the notes in this file, or begins them.
    pub fn at(path: &Path) -> Self {
        let file = File::options().create(true).append(true).open(path);
        Self(Arc::new(file.unwrap()))
    }

    fn note(&self, event: &Event) {
        let note = serde_json::to_string(event).unwrap();
        // One call a note, which appends it as a whole. A process that is killed
        // in it leaves a torn one, after which the next has a line of its own.
        let line = format!("\n{note}\n");
        (&*self.0).write_all(line.as_bytes()).unwrap();
    }

    /// The notes of a file, without torn ones.
    pub fn read(path: &Path) -> Vec<Event> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }
}

/// What came of a write.
#[derive(Debug)]
pub enum Answer {
    Written(Written),
    /// The state of the record does not allow it.
    Refused(ErrorKind),
    /// Storage failed, and nothing was written.
    Failed,
}

/// Somebody who writes and reads, and notes it.
#[derive(Debug)]
pub struct Client {
    orders: Collection,
    journal: Journal,
    name: String,
    next: AtomicU64,
}

impl Client {
    /// `name` holds neither dots nor slashes, and is that of no other client.
    pub fn new(orders: Collection, journal: Journal, name: impl Into<String>) -> Self {
        Self {
            orders,
            journal,
            name: name.into(),
            next: AtomicU64::new(0),
        }
    }

    /// The collection as it is, for what needs no note.
    pub fn orders(&self) -> &Collection {
        &self.orders
    }

    fn token(&self) -> String {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        format!("{}/{next}", self.name)
    }

    /// Writes; of an unknown outcome it asks until there is an answer.
    ///
    /// # Panics
    ///
    /// On an error after which a caller could not go on.
    pub async fn write(&self, id: &str, write: Write) -> Answer {
        let token = self.token();
        let reason = token.as_str();
        self.journal.note(&Event::Begin {
            token: token.clone(),
            id: id.to_owned(),
            write: write.clone(),
        });
        let begun = Instant::now();
        let orders = &self.orders;
        let result = match write {
            Write::Create(document) => orders.create_with_id(id, document).reason(reason).await,
            Write::Update(document) => orders.update(id, document).reason(reason).await,
            Write::Patch => {
                let changes = json!({ property(&token): true });
                orders.patch(id, changes).reason(reason).await
            }
            Write::Delete => orders.delete(id).reason(reason).await,
            Write::Restore(ov) => orders.restore_object(id).to_ov(ov).reason(reason).await,
            Write::Collection(_) => unreachable!("see `restore_collection`"),
        };
        let millis = || u64::try_from(begun.elapsed().as_millis()).unwrap();
        let failed = |kind: &ErrorKind, message: String| Event::Failed {
            token: token.clone(),
            kind: kind.name().to_owned(),
            message,
            millis: millis(),
        };
        let (answer, event) = match result {
            Ok(written) => (Some(written), None),
            Err(error) => match error.kind() {
                ErrorKind::Indeterminate { id, attempt } => {
                    let found = self.outcome(id, *attempt).await;
                    (found, Some(failed(error.kind(), error.to_string())))
                }
                ErrorKind::Unavailable => (None, Some(failed(error.kind(), error.to_string()))),
                kind @ (ErrorKind::NotFound | ErrorKind::Deleted | ErrorKind::AlreadyExists) => {
                    self.journal.note(&failed(kind, error.to_string()));
                    return Answer::Refused(kind.clone());
                }
                _ => panic!("{token} cannot be tried again: {error}"),
            },
        };
        let Some(written) = answer else {
            self.journal.note(&event.unwrap());
            return Answer::Failed;
        };
        self.journal.note(&Event::Done {
            token: token.clone(),
            ov: written.ov,
            cv: written.cv,
            unchanged: written.unchanged,
            millis: millis(),
        });
        Answer::Written(written)
    }

    async fn outcome(&self, id: &RecordId, attempt: Attempt) -> Option<Written> {
        let begun = Instant::now();
        loop {
            match self.orders.outcome(id.clone(), attempt).await {
                Ok(found) => return found,
                Err(error) => {
                    assert_eq!(error.kind(), &ErrorKind::Unavailable, "{error}");
                    assert!(begun.elapsed() < OUTCOME, "no answer: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// Brings back the collection as of a commit. What storage interrupts is
    /// left as it is.
    pub async fn restore_collection(&self, cv: u64) {
        let token = self.token();
        self.journal.note(&Event::Begin {
            token: token.clone(),
            id: String::new(),
            write: Write::Collection(cv),
        });
        let restored = self.orders.restore_collection(Moment::Cv(cv));
        match restored.reason(token.as_str()).await {
            Ok(report) => {
                let versions = report.restored + report.deleted;
                self.journal.note(&Event::Restored { token, versions });
            }
            Err(error) => assert!(
                matches!(
                    error.kind(),
                    ErrorKind::Unavailable | ErrorKind::Indeterminate { .. }
                ),
                "{error}"
            ),
        }
    }

    /// Reads a record, as it is or as of a commit, and gives its `cv`. `None`
    /// if it is not there or storage fails.
    pub async fn read(&self, id: &str, as_of: Option<u64>) -> Option<u64> {
        let token = self.token();
        self.journal.note(&Event::Look {
            token: token.clone(),
        });
        let found = match as_of {
            None => self.orders.get_latest(id).await,
            Some(cv) => self.orders.get_as_of(id, Moment::Cv(cv)).await,
        };
        let version = match found {
            Ok(record) => Some(Seen {
                ov: record.ov(),
                cv: record.cv(),
                sha256: record.sha256().map(|sha256| sha256.to_string()),
            }),
            Err(error) if error.kind() == &ErrorKind::NotFound => None,
            Err(error) => {
                assert_eq!(error.kind(), &ErrorKind::Unavailable, "{error}");
                return None;
            }
        };
        let cv = version.as_ref().map(|seen| seen.cv);
        self.journal.note(&Event::Saw {
            token,
            id: id.to_owned(),
            as_of,
            version,
        });
        cv
    }

    /// Lists a group of records as of a commit.
    pub async fn list(&self, group: u64, cv: u64) {
        let token = self.token();
        self.journal.note(&Event::Look {
            token: token.clone(),
        });
        let query = self.orders.query(json!({ "group": group }));
        match query.as_of(Moment::Cv(cv)).limit(1000).await {
            Ok(page) => {
                assert_eq!(page.cursor, None, "one page holds a group");
                let found = page.items.iter();
                let found = found.map(|record| (record.id().to_string(), record.ov()));
                self.journal.note(&Event::Listed {
                    token,
                    as_of: cv,
                    group,
                    found: found.collect(),
                });
            }
            Err(error) => assert_eq!(error.kind(), &ErrorKind::Unavailable, "{error}"),
        }
    }
}

/// The property that a patch sets.
pub fn property(token: &str) -> String {
    token.replace('/', "-")
}

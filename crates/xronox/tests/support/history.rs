//! Whether what clients did and saw is what one order of commits explains.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test crate uses what it needs"
)]

use std::collections::{BTreeMap, HashMap, HashSet};

use futures::{StreamExt, stream};
use serde_json::{Value, json};
use xronox::{Collection, Op, Version};

use crate::journal::{Event, Seen, Write, property};

/// What a history holds.
#[derive(Debug, Default)]
pub struct Tally {
    /// Commits.
    pub versions: u64,
    /// Writes that were acknowledged with a version of their own.
    pub acknowledged: u64,
    /// Acknowledged writes by client, up to the `.` in its name.
    pub by: BTreeMap<String, u64>,
    /// Writes that failed without being written, by the kind of the error.
    pub failed: BTreeMap<String, u64>,
    /// Reads that were checked.
    pub reads: u64,
    /// The longest that a write took, in milliseconds.
    pub longest: u64,
    /// What storage said when it failed, some of it.
    pub messages: Vec<String>,
}

/// A state of a record.
#[derive(Debug, Clone)]
struct State {
    document: Value,
    deleted: bool,
}

/// All commits of a collection, and what each left behind.
struct History {
    versions: Vec<Version>,
    states: Vec<State>,
    records: BTreeMap<String, Vec<u64>>,
}

impl History {
    async fn load(orders: &Collection) -> Vec<Version> {
        const PAGE: usize = 1000;
        let mut versions: Vec<Version> = Vec::new();
        loop {
            let after = versions.last().map(|version| version.cv);
            let page = orders.changes(after).limit(PAGE).await.unwrap();
            let last = page.len() < PAGE;
            versions.extend(page);
            if last {
                return versions;
            }
        }
    }

    /// Puts the documents together from what the clients wrote.
    fn replay(versions: Vec<Version>, begun: &HashMap<&str, (&str, &Write)>) -> Self {
        let mut history = Self {
            states: Vec::with_capacity(versions.len()),
            records: BTreeMap::new(),
            versions: Vec::new(),
        };
        for (version, cv) in versions.iter().zip(0..) {
            assert_eq!(version.cv, cv, "commits are counted without gaps");
            let id = version.id.to_string();
            let own = history.records.entry(id.clone()).or_default();
            assert_eq!(
                version.ov,
                own.len() as u64,
                "versions of {id} are without gaps"
            );
            let at = |n: u64| usize::try_from(n).unwrap();
            let of = |ov: u64| history.states[at(own[at(ov)])].clone();
            let before = version.ov.checked_sub(1).map(of);
            let token = version.reason.as_deref().unwrap();
            let (wrote, write) = begun
                .get(token)
                .unwrap_or_else(|| panic!("nobody wrote {version:?}"));
            assert!(wrote.is_empty() || *wrote == id, "{version:?}");
            let document = match (version.op, write) {
                (Op::Create, Write::Create(document)) | (Op::Update, Write::Update(document)) => {
                    document.clone()
                }
                (Op::Update, Write::Patch) => {
                    let mut document = before.unwrap().document;
                    document[property(token)] = json!(true);
                    document
                }
                (Op::Delete, Write::Delete | Write::Collection(_)) => before.unwrap().document,
                (Op::Restore, Write::Restore(_) | Write::Collection(_)) => {
                    of(version.restored_from.unwrap()).document
                }
                _ => panic!("{write:?} made {version:?}"),
            };
            let deleted = match version.op {
                Op::Delete => true,
                Op::Restore => of(version.restored_from.unwrap()).deleted,
                _ => false,
            };
            own.push(cv);
            history.states.push(State { document, deleted });
        }
        let in_order = versions.windows(2).all(|pair| pair[0].at <= pair[1].at);
        assert!(in_order, "commit times never decrease");
        history.versions = versions;
        history
    }

    fn version(&self, cv: u64) -> (&Version, &State) {
        let cv = usize::try_from(cv).unwrap();
        (&self.versions[cv], &self.states[cv])
    }

    /// The last commit of a record up to `cv`.
    fn at(&self, id: &str, cv: u64) -> Option<u64> {
        let commits = self.records.get(id)?;
        let after = commits.partition_point(|commit| *commit <= cv);
        commits[..after].last().copied()
    }

    fn lives(&self, id: &str, cv: u64) -> Option<u64> {
        self.at(id, cv).filter(|cv| !self.version(*cv).1.deleted)
    }

    fn fits(&self, id: &str, seen: &Seen) {
        let (version, state) = self.version(seen.cv);
        let told = (
            version.id.to_string(),
            version.ov,
            version.sha256.map(|sha256| sha256.to_string()),
        );
        assert_eq!(told, (id.to_owned(), seen.ov, seen.sha256.clone()));
        assert!(!state.deleted, "{seen:?} of {id} is deleted");
    }

    /// A write that the state of its record did not allow met such a state, at
    /// some moment between its beginning, when `least` was over, and its end,
    /// up to which the writes in `begun` had begun.
    fn explains(&self, id: &str, refusal: &str, least: Option<u64>, begun: &HashSet<&str>) {
        let first = least.and_then(|cv| self.at(id, cv));
        let commits = self.records.get(id).into_iter().flatten();
        let mut met = commits.copied().filter(|cv| {
            let wrote = self.version(*cv).0.reason.as_deref().unwrap();
            Some(*cv) == first || (Some(*cv) > least && begun.contains(wrote))
        });
        let so = match refusal {
            "NotFound" => first.is_none(),
            "AlreadyExists" => met.next().is_some(),
            "Deleted" => met.any(|cv| self.version(cv).1.deleted),
            _ => true,
        };
        assert!(so, "nothing explains that {id} is {refusal}");
    }

    /// Every body is what was written.
    async fn bodies(&self, orders: &Collection) {
        let checks = self
            .versions
            .iter()
            .zip(&self.states)
            .map(|(version, state)| async move {
                let found = orders.get_version(&version.id, version.ov).await;
                let found = found.unwrap_or_else(|error| panic!("{version:?}: {error}"));
                assert_eq!(found.document(), state.document, "{version:?}");
                assert_eq!(found.deleted(), state.deleted, "{version:?}");
                assert_eq!(found.cv(), version.cv, "{version:?}");
            });
        stream::iter(checks)
            .buffer_unordered(16)
            .collect::<()>()
            .await;
    }
}

/// Checks that
///
/// - every acknowledged write is there once, in its place, with its body, and
///   none that is said to have failed; one that was refused because of its
///   record's state met that state;
/// - `cv`, `ov` and times are as they must be;
/// - a write that began after another was acknowledged comes after it;
/// - every read gives what the commits up to some moment between its beginning
///   and its end made, and those of a past commit what they made up to it;
/// - `verify` finds nothing.
pub async fn check(events: &[Event], orders: &Collection) -> Tally {
    let mut begun: HashMap<&str, (&str, &Write)> = HashMap::new();
    for event in events {
        if let Event::Begin { token, id, write } = event {
            let twice = begun.insert(token, (id, write));
            assert_eq!(twice, None, "{token} was begun twice");
        }
    }
    let history = History::replay(History::load(orders).await, &begun);
    let mut tally = once(events, &history, &begun);
    in_time(events, &history, &mut tally);
    history.bodies(orders).await;
    let report = orders.verify().await.unwrap();
    assert!(report.clean(), "{report:?}");
    tally
}

/// Every acknowledged write is there once, and no other than those under way.
fn once(events: &[Event], history: &History, begun: &HashMap<&str, (&str, &Write)>) -> Tally {
    let mut places: HashMap<&str, Vec<u64>> = HashMap::new();
    for version in &history.versions {
        let token = version.reason.as_deref().unwrap();
        places.entry(token).or_default().push(version.cv);
    }
    for (token, cvs) in &places {
        let whole = matches!(begun[token].1, Write::Collection(_));
        assert!(whole || cvs.len() == 1, "{token} is doubled: {cvs:?}");
    }
    let mut tally = Tally {
        versions: history.versions.len() as u64,
        ..Tally::default()
    };
    for event in events {
        match event {
            Event::Done {
                token,
                ov,
                cv,
                unchanged,
                millis,
            } => {
                tally.longest = tally.longest.max(*millis);
                if *unchanged {
                    assert_eq!(places.get(token.as_str()), None, "{token}");
                    continue;
                }
                let found = places.get(token.as_str());
                assert_eq!(found, Some(&vec![*cv]), "{token} was acknowledged");
                assert_eq!(history.version(*cv).0.ov, *ov, "{token}");
                tally.acknowledged += 1;
                *tally.by.entry(owner(token)).or_default() += 1;
            }
            Event::Failed {
                token,
                kind,
                message,
                millis,
            } => {
                tally.longest = tally.longest.max(*millis);
                assert_eq!(places.get(token.as_str()), None, "{token}: {message}");
                *tally.failed.entry(kind.clone()).or_default() += 1;
                let known = tally.messages.contains(message) || tally.messages.len() > 10;
                if !known && matches!(kind.as_str(), "Unavailable" | "Indeterminate") {
                    tally.messages.push(message.clone());
                }
            }
            Event::Restored { token, versions } => {
                let made = places.get(token.as_str()).map_or(0, Vec::len);
                assert_eq!(made as u64, *versions, "{token}");
            }
            _ => {}
        }
    }
    tally
}

/// What was over when something began comes before it.
fn in_time(events: &[Event], history: &History, tally: &mut Tally) {
    // The newest commit that is known to be over.
    let mut over: Option<u64> = None;
    let mut before: HashMap<&str, Option<u64>> = HashMap::new();
    let mut begun: HashSet<&str> = HashSet::new();
    let mut wrote: HashMap<&str, &str> = HashMap::new();
    for event in events {
        match event {
            Event::Begin { token, id, .. } => {
                begun.insert(token);
                wrote.insert(token, id);
                before.insert(token, over);
            }
            Event::Look { token } => {
                before.insert(token, over);
            }
            Event::Done {
                token,
                cv,
                unchanged: false,
                ..
            } => {
                let earlier = before[token.as_str()];
                assert!(Some(*cv) > earlier, "{token}: {cv} after {earlier:?}");
                over = over.max(Some(*cv));
            }
            Event::Saw {
                token,
                id,
                as_of: Some(cv),
                version,
            } => {
                tally.reads += 1;
                let expected = history.lives(id, *cv);
                let found = version.as_ref().map(|seen| seen.cv);
                assert_eq!(found, expected, "{token}: {id} as of {cv}");
                if let Some(seen) = version {
                    history.fits(id, seen);
                }
            }
            Event::Saw {
                token,
                id,
                as_of: None,
                version: Some(seen),
            } => {
                tally.reads += 1;
                history.fits(id, seen);
                let least = before[token.as_str()].and_then(|cv| history.at(id, cv));
                assert!(Some(seen.cv) >= least, "{token}: stale, {least:?} was over");
                let wrote = history.version(seen.cv).0.reason.as_deref().unwrap();
                assert!(begun.contains(wrote), "{token} saw what comes later");
                over = over.max(Some(seen.cv));
            }
            Event::Saw {
                token,
                id,
                version: None,
                ..
            } => {
                tally.reads += 1;
                let least = before[token.as_str()];
                let then = least.and_then(|cv| history.lives(id, cv));
                let later = history.records.get(id).into_iter().flatten();
                let mut later = later.filter(|cv| Some(**cv) > least);
                let gone = then.is_none() || later.any(|cv| history.version(*cv).1.deleted);
                assert!(gone, "{token}: {id} was there all the time");
            }
            Event::Failed { token, kind, .. } => {
                let least = before[token.as_str()];
                history.explains(wrote[token.as_str()], kind, least, &begun);
            }
            Event::Listed {
                token,
                as_of,
                group,
                found,
            } => {
                tally.reads += 1;
                let mut found = found.clone();
                found.sort_unstable();
                let expected = history.records.keys().filter_map(|id| {
                    let (version, state) = history.version(history.lives(id, *as_of)?);
                    let member = state.document["group"].as_u64() == Some(*group);
                    member.then(|| (id.clone(), version.ov))
                });
                let expected: Vec<_> = expected.collect();
                assert_eq!(found, expected, "{token}: group {group} as of {as_of}");
            }
            _ => {}
        }
    }
}

/// How many writes each of these clients got acknowledged while all of them
/// were at it.
pub fn shares(events: &[Event], of: &[&str]) -> Vec<usize> {
    let done: Vec<Option<String>> = events
        .iter()
        .map(|event| match event {
            Event::Done { token, .. } => Some(owner(token)),
            _ => None,
        })
        .collect();
    let is = |by: &Option<String>, name: &str| by.as_deref() == Some(name);
    let first = of
        .iter()
        .map(|name| done.iter().position(|by| is(by, name)));
    let last = of
        .iter()
        .map(|name| done.iter().rposition(|by| is(by, name)));
    let from = first.max().flatten().unwrap_or(0);
    let to = last.min().flatten().unwrap_or(0);
    let together = done.get(from..=to).unwrap_or_default();
    of.iter()
        .map(|name| together.iter().filter(|by| is(by, name)).count())
        .collect()
}

/// The process or group of a client.
fn owner(token: &str) -> String {
    let name = token.split('/').next().unwrap();
    name.split('.').next().unwrap().to_owned()
}

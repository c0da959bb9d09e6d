//! A replica set of several nodes.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use bson::doc;

use crate::{
    Services,
    mongod::{Mongod, SET, initiate},
};

/// The longest that an election may take, by far.
const ELECTION: Duration = Duration::from_mins(1);
const BETWEEN_QUESTIONS: Duration = Duration::from_millis(50);

/// A throw-away replica set whose members are processes of their own.
///
/// Elections begin a second after the primary is gone.
pub struct ReplicaSet {
    members: Vec<Mongod>,
    running: Vec<bool>,
}

impl ReplicaSet {
    /// Starts three nodes and waits until one is the primary and the others
    /// follow it.
    pub fn start(services: &Services) -> Result<Self> {
        let members = (0..3).map(|_| Mongod::member(services));
        let members = members.collect::<Result<Vec<_>>>()?;
        let addresses: Vec<_> = members.iter().map(Mongod::address).collect();
        let first = members.first().context("a set has members")?;
        first.command("admin", initiate(&addresses))?;
        let running = vec![true; members.len()];
        let set = Self { members, running };
        set.wait_for_secondaries()?;
        Ok(set)
    }

    /// The URI of the whole set, for a driver.
    pub fn uri(&self) -> String {
        let hosts: Vec<_> = self
            .members
            .iter()
            .map(|member| member.address().to_string())
            .collect();
        format!("mongodb://{}/?replicaSet={SET}", hosts.join(","))
    }

    /// All members, whether they run or not.
    pub fn members(&self) -> &[Mongod] {
        &self.members
    }

    /// Waits until a member that runs is the primary, and tells which.
    pub fn primary(&self) -> Result<usize> {
        let begun = Instant::now();
        loop {
            for (index, member) in self.members.iter().enumerate() {
                if self.running[index] && says(member, "isWritablePrimary") {
                    return Ok(index);
                }
            }
            ensure!(begun.elapsed() < ELECTION, "no member becomes primary");
            thread::sleep(BETWEEN_QUESTIONS);
        }
    }

    /// Ends a member as a crash would (`SIGKILL`), and waits until it is gone.
    ///
    /// # Panics
    /// If there is no such member.
    pub fn kill(&mut self, member: usize) {
        self.members[member].kill();
        self.running[member] = false;
    }

    /// Starts a killed member again, with its data and port, and waits until
    /// it takes part in the set.
    ///
    /// # Panics
    /// If there is no such member.
    pub fn restart(&mut self, member: usize) -> Result<()> {
        self.members[member].rejoin()?;
        self.running[member] = true;
        Ok(())
    }

    fn wait_for_secondaries(&self) -> Result<()> {
        let primary = self.primary()?;
        let begun = Instant::now();
        for (index, member) in self.members.iter().enumerate() {
            while index != primary && !says(member, "secondary") {
                ensure!(
                    begun.elapsed() < ELECTION,
                    "{} does not follow",
                    member.address()
                );
                thread::sleep(BETWEEN_QUESTIONS);
            }
        }
        Ok(())
    }
}

/// Whether the member says so. One that does not answer does not.
fn says(member: &Mongod, what: &str) -> bool {
    let hello = member.command("admin", doc! { "hello": 1 });
    hello.is_ok_and(|hello| hello.get_bool(what).unwrap_or_default())
}

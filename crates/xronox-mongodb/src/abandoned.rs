//! Transactions whose client is gone.
//!
//! A client that dies in the middle of a transaction leaves it open, and what
//! it wrote locked, until the server ends it: 60 s after it began, or what its
//! parameter `transactionLifetimeLimitSeconds` says. Calls give up before
//! that, so whoever waits for a lock looks for such transactions and ends them.
//!
//! Only those of this crate are touched, which its connections tell of
//! themselves, and ending one is always safe: if its client should be there
//! after all, it learns that nothing was written and begins again.
//!
//! Looking needs no privilege where all processes are one user of the server;
//! those of another user are found with `inprog` and ended with
//! `killAnySession` (of the roles `clusterMonitor` and `hostManager`). Without
//! them, and on a sharded cluster, the server's own limit is waited for.

use std::{collections::HashSet, convert::Infallible, future::Future, time::Duration};

use mongodb::{
    bson::{Bson, Document, doc},
    options::DriverInfo,
};
use tokio::time::{sleep, timeout};

use crate::{Deployment, MongoConnection, error::Failure};

/// What our connections say they are, after the driver's own name.
const NAME: &str = "xronox";
/// How long a lock is waited for before each look.
const LOOK_EACH: Duration = Duration::from_secs(1);
/// How long a look may take.
const LOOK_LIMIT: Duration = Duration::from_secs(5);
/// How long a transaction must have had nothing to do if the connection of its
/// last command is closed. A client whose connection fails begins anew on
/// another one, so this only lets the server finish its own account.
const GONE_MICROS: i64 = 500_000;
/// How long if it is still open: the client may be stopped, its machine dead
/// or its line slow. A client that lives sends one command after another, and
/// ends its transaction 20 s after it began.
const SILENT_MICROS: i64 = 10_000_000;
/// The user may not look at, or end, what others do.
const UNAUTHORIZED: i32 = 13;

/// How our connections tell that they are ours.
pub(crate) fn driver_info() -> DriverInfo {
    DriverInfo::builder()
        .name(NAME.to_owned())
        .version(env!("CARGO_PKG_VERSION").to_owned())
        .build()
}

impl MongoConnection {
    /// Does what may have to wait for a lock; as long as it waits, ends
    /// transactions whose client is gone.
    pub(crate) async fn past_abandoned<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            done = work => done,
            never = self.end_abandoned_each() => match never {},
        }
    }

    async fn end_abandoned_each(&self) -> Infallible {
        loop {
            sleep(LOOK_EACH).await;
            match timeout(LOOK_LIMIT, self.end_abandoned()).await {
                Ok(Ok(0)) => {}
                Ok(Ok(ended)) => tracing::warn!(ended, "ended transactions of lost clients"),
                Ok(Err(failure)) => {
                    tracing::debug!(error = ?failure, "no look at the open transactions");
                }
                Err(_) => tracing::debug!("no look at the open transactions in time"),
            }
        }
    }

    /// Ends the transactions whose client is gone; how many there were.
    async fn end_abandoned(&self) -> Result<usize, Failure> {
        // Behind routers connections say nothing about clients.
        if self.deployment().await? != Deployment::ReplicaSet {
            return Ok(0);
        }
        let looked = match self.operations(true).await {
            Err(failure) if failure.code() == Some(UNAUTHORIZED) => self.operations(false).await,
            looked => looked,
        };
        let admin = self.client().database("admin");
        let mut ended = 0;
        for session in abandoned(&looked?) {
            match admin.run_command(doc! { "killSessions": [session] }).await {
                Ok(_) => ended += 1,
                // That of another user, maybe; the next may be our own.
                Err(failure) => tracing::debug!(error = %failure, "a transaction is not ended"),
            }
        }
        Ok(ended)
    }

    /// The connections that are open and the transactions of ours that have
    /// nothing to do, of all users or of our own.
    async fn operations(&self, all_users: bool) -> Result<Vec<Document>, Failure> {
        let pipeline = [
            doc! { "$currentOp": {
                "allUsers": all_users,
                "idleConnections": true,
                "idleSessions": true,
            } },
            doc! { "$match": { "$or": [
                { "type": "op", "connectionId": { "$exists": true } },
                {
                    "type": "idleSession",
                    "transaction.timeInactiveMicros": { "$gte": GONE_MICROS },
                    "clientMetadata.driver.name": { "$regex": format!("\\|{NAME}$") },
                },
            ] } },
            doc! { "$project": {
                "connectionId": 1,
                "lsid": { "id": 1, "uid": 1 },
                "inactive": "$transaction.timeInactiveMicros",
            } },
        ];
        let admin = self.client().database("admin");
        let mut cursor = admin.aggregate(pipeline).await?;
        let mut out = Vec::new();
        while cursor.advance().await? {
            out.push(cursor.deserialize_current()?);
        }
        Ok(out)
    }
}

/// The sessions of the transactions that nobody will end.
fn abandoned(operations: &[Document]) -> Vec<Bson> {
    let inactive = |operation: &Document| operation.get_i64("inactive").ok();
    let open: HashSet<i64> = operations
        .iter()
        .filter(|operation| inactive(operation).is_none())
        .filter_map(connection)
        .collect();
    operations
        .iter()
        .filter(|operation| {
            let gone = connection(operation).is_some_and(|id| !open.contains(&id));
            let patience = if gone { GONE_MICROS } else { SILENT_MICROS };
            inactive(operation).is_some_and(|micros| micros >= patience)
        })
        .filter_map(|operation| operation.get("lsid").cloned())
        .collect()
}

/// The number of a connection, of whichever type it is.
fn connection(operation: &Document) -> Option<i64> {
    match operation.get("connectionId")? {
        Bson::Int32(id) => Some(i64::from(*id)),
        Bson::Int64(id) => Some(*id),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_is_abandoned_without_its_connection_or_after_long_silence() {
        let session = |connection: i32, inactive: i64| doc! { "connectionId": connection, "inactive": inactive, "lsid": { "id": connection } };
        let operations = [
            doc! { "connectionId": 1, "lsid": { "id": 9 } },
            doc! { "connectionId": 2_i64 },
            session(1, SILENT_MICROS - 1),
            session(2, SILENT_MICROS),
            session(3, GONE_MICROS),
            session(4, GONE_MICROS - 1),
        ];
        let ended: Vec<Bson> = [2, 3].map(|id| doc! { "id": id }.into()).into();
        assert_eq!(abandoned(&operations), ended);
    }
}

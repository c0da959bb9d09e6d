//! Commits of several collections of one database, all or nothing.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use xronox_model::{Attempt, CollectionName, RecordId};
use xronox_store::{Batch, Outcome, StoreError};

use super::{
    Known, MAX_PUT_AGE, OUTCOME_LIMIT, OVERHEAD, Trouble, held_bytes, outcome, resolve, take_back,
};
use crate::collection::Shared;

/// The mutation that callers ask about.
#[derive(Debug, Clone)]
pub(crate) struct Witness {
    pub(crate) collection: CollectionName,
    pub(crate) id: RecordId,
    pub(crate) attempt: Attempt,
}

/// Commits batches of several collections, one each, as one transaction. It
/// takes its turn at the committer of each of them, in the order of their
/// names, so that two of these never wait for each other. Once it is under way a
/// caller who stops waiting changes nothing.
///
/// The mutations are all of one group, so what broke off is there as a whole or not
/// at all: one of them, the `witness`, tells of all.
pub(crate) async fn commit_together(
    mut parts: Vec<(Arc<Shared>, Batch)>,
    put_at: Option<Instant>,
    witness: Witness,
) -> Result<Vec<Vec<Outcome>>, Trouble> {
    parts.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
    let commit = tokio::spawn(async move { commit(parts, put_at, &witness).await });
    match commit.await {
        Ok(committed) => committed,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // Only a runtime that is shutting down ends it.
        Err(_) => Err(store(StoreError::Closed)),
    }
}

fn store(error: StoreError) -> Trouble {
    Trouble::Store(Arc::new(error))
}

async fn commit(
    parts: Vec<(Arc<Shared>, Batch)>,
    put_at: Option<Instant>,
    witness: &Witness,
) -> Result<Vec<Vec<Outcome>>, Trouble> {
    let Some((first, _)) = parts.first() else {
        return Ok(Vec::new());
    };
    let database = Arc::clone(&first.database);
    let held = parts.iter().flat_map(|(_, batch)| &batch.mutations);
    let held = held.map(|mutation| held_bytes(mutation) + OVERHEAD).sum();
    let _room = database.room.take(held).await.map_err(store)?;
    let mut turns = Vec::with_capacity(parts.len());
    for (shared, _) in &parts {
        turns.push(shared.committer().turn().await.map_err(store)?);
    }
    if put_at.is_some_and(|at| at.elapsed() > MAX_PUT_AGE) {
        return Err(Trouble::PutAgain);
    }
    let batches = parts.into_iter();
    let batches: Vec<_> = batches
        .map(|(shared, batch)| (shared.name.clone(), batch))
        .collect();
    match database.catalog.commit(&batches).await {
        Ok(outcomes) => {
            for (name, _) in &batches {
                database.folding.nudge(name);
            }
            Ok(outcomes)
        }
        Err(StoreError::StaleIndexes { .. }) => Err(Trouble::Stale),
        Err(error @ StoreError::Indeterminate { .. }) => {
            tracing::warn!(%error, "asking for the outcome of a commit of several collections");
            for (name, _) in &batches {
                database.folding.nudge(name);
            }
            let until = Instant::now() + OUTCOME_LIMIT;
            let catalog = &*database.catalog;
            let Witness {
                collection,
                id,
                attempt,
            } = witness;
            let untold = || vec![Known::Untold(id.clone(), *attempt)];
            match outcome(catalog, collection, id, *attempt, until).await {
                Err(_) => return Err(Trouble::Broken(untold())),
                Ok(None) => return Err(Trouble::Broken(vec![Known::Nothing])),
                Ok(Some(_)) => {}
            }
            let mut outcomes = Vec::with_capacity(batches.len());
            for (name, batch) in &batches {
                let own = resolve(catalog, name, &batch.mutations, until).await;
                outcomes.push(own.map_err(|_| Trouble::Broken(untold()))?);
            }
            Ok(outcomes)
        }
        Err(error) => {
            if matches!(error, StoreError::Sealed) {
                database.outdated.store(true, Ordering::Release);
                for (name, batch) in &batches {
                    take_back(&database.payloads, name, &batch.mutations).await;
                }
            }
            Err(store(error))
        }
    }
}

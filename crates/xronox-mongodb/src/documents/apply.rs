//! Several operations in one transaction.

use mongodb::options::ReadConcern;
use xronox_model::CollectionName;
use xronox_store::{DocOp, DocOutcome, DocRefusal, InsertOutcome, StoreError, UpdateOutcome};

use super::{
    entry::Fit,
    turn::Tries,
    write::{Stop, Writes},
};
use crate::{database::durable, error::Failure};

/// How far a transaction came.
enum Ran {
    Through(Vec<DocOutcome>),
    /// Up to an outcome that undoes it.
    Into(usize, DocOutcome),
}

impl Writes<'_> {
    /// Does all of it in one transaction, again and again until no other one
    /// is in its way.
    pub(super) async fn apply_atomically(
        &mut self,
        operations: &[(CollectionName, DocOp)],
    ) -> Result<Vec<DocOutcome>, Failure> {
        let Some((first, _)) = operations.first() else {
            return Ok(Vec::new());
        };
        let mut tries = Tries::default();
        loop {
            self.session
                .start_transaction()
                .read_concern(ReadConcern::snapshot())
                .write_concern(durable())
                .await?;
            self.in_transaction = true;
            let ran = self.run_through(operations).await;
            let done = match ran {
                Ok(Ran::Through(outcomes)) => self
                    .commit(first)
                    .await
                    .map(|()| outcomes)
                    .map_err(Stop::Failed),
                Ok(Ran::Into(at, outcome)) => {
                    self.abort().await;
                    Ok(DocOutcome::undone(operations.len(), at, outcome))
                }
                Err(stop) => {
                    self.abort().await;
                    Err(stop)
                }
            };
            self.in_transaction = false;
            self.wrote = false;
            match done {
                Ok(outcomes) => return Ok(outcomes),
                Err(Stop::Failed(failure)) if failure.is_transient() => tries.again(first).await?,
                Err(Stop::Failed(failure)) => return Err(failure),
                Err(Stop::Again(chore)) => self.attend(chore, &mut tries).await?,
                Err(Stop::Refused(_)) => {
                    let message = "a refusal without an operation".to_owned();
                    return Err(StoreError::Corrupt(message).into());
                }
            }
        }
    }

    async fn run_through(&mut self, operations: &[(CollectionName, DocOp)]) -> Result<Ran, Stop> {
        let mut outcomes = Vec::with_capacity(operations.len());
        for (at, (name, operation)) in operations.iter().enumerate() {
            let outcome = match self.perform(name, operation).await {
                Ok(outcome) => outcome,
                Err(Stop::Refused(refusal)) => refused(operation, refusal),
                Err(stop) => return Err(stop),
            };
            if outcome.aborts(operation) {
                return Ok(Ran::Into(at, outcome));
            }
            outcomes.push(outcome);
        }
        Ok(Ran::Through(outcomes))
    }

    async fn perform(
        &mut self,
        name: &CollectionName,
        operation: &DocOp,
    ) -> Result<DocOutcome, Stop> {
        Ok(match operation {
            DocOp::Insert(document) => {
                let fit = Fit::new(document.clone()).map_err(DocRefusal::Invalid)?;
                self.try_insert(name, &fit, true).await?;
                DocOutcome::Insert(InsertOutcome::Inserted)
            }
            DocOp::Update(update) => DocOutcome::Update(self.try_update(name, update, true).await?),
            DocOp::Delete { filter, limit } => {
                DocOutcome::Delete(self.try_delete(name, filter, *limit).await?.done as u64)
            }
        })
    }

    /// Commits, as often as it takes to know that it is done. Fails
    /// transiently if it is not and never will be.
    async fn commit(&mut self, name: &CollectionName) -> Result<(), Failure> {
        let mut tries = Tries::default();
        self.wrote = true;
        loop {
            let failure = match self.session.commit_transaction().await {
                Ok(()) => return Ok(()),
                Err(failure) => Failure::from(failure),
            };
            let (unknown, transient) = (failure.is_unknown_commit(), failure.is_transient());
            if !unknown && (transient || tries.count() == 0) {
                return Err(failure);
            }
            let message = StoreError::from(failure).to_string();
            if unknown && tries.again(name).await.is_ok() {
                tracing::debug!(error = message, "a commit is sent again");
                continue;
            }
            return Err(StoreError::Indeterminate {
                message,
                source: None,
            }
            .into());
        }
    }

    async fn abort(&mut self) {
        if let Err(failure) = self.session.abort_transaction().await {
            // The server ends it by itself.
            let error = StoreError::from(Failure::from(failure));
            tracing::debug!(%error, "a transaction was left behind");
        }
    }
}

fn refused(operation: &DocOp, refusal: DocRefusal) -> DocOutcome {
    match operation {
        DocOp::Insert(_) => DocOutcome::Insert(InsertOutcome::Refused(refusal)),
        DocOp::Update(_) | DocOp::Delete { .. } => {
            DocOutcome::Update(UpdateOutcome::Refused(refusal))
        }
    }
}

//! Creating many records at once.

use std::{collections::VecDeque, future::IntoFuture, time::Instant};

use futures::{StreamExt, future::BoxFuture, stream};
use serde_json::Value;
use xronox_model::{Lineage, RecordId};
use xronox_store::{Indexes, Mutation, Outcome};

use crate::{
    Collection, Error, ErrorKind, IntoDocument, Written,
    collection::Shared,
    engine::{
        attribution::{Attribution, attributed},
        bulk::{AHEAD, CHUNK, CHUNK_BYTES, CHUNKS_AHEAD, Item, MAX_TRIES},
        committer::Pending,
        draft::{contended, refused},
        lineage::descending,
        prepare::Canonical,
        scope::Scope,
    },
};

/// Creates many records; await it.
///
/// Gives one outcome a document, in their order. They are not one
/// transaction: a record that is refused leaves the others alone.
#[derive(Debug)]
#[must_use = "nothing is written until it is awaited"]
pub struct CreateMany<'a> {
    collection: &'a Collection,
    documents: Vec<Result<Value, Error>>,
    pub(crate) attribution: Attribution,
    pub(crate) lineage: Lineage,
    pub(crate) broken: Option<Error>,
}

attributed!(CreateMany);
descending!(CreateMany);

/// A record of `create_many`: where its outcome belongs, what it is, its id.
type Placed = (usize, Item, RecordId);

impl Collection {
    /// Creates a record for each document, under new ids.
    ///
    /// # Errors
    ///
    /// The outer result fails only before anything is written
    /// ([`Unavailable`](ErrorKind::Unavailable), [`Closed`](ErrorKind::Closed)).
    /// What is wrong with one document ([`create`](Self::create) lists it) is
    /// in its own outcome, and so is a failure of storage on the way: of an
    /// [`Unavailable`](ErrorKind::Unavailable) one nothing was written, an
    /// [`Indeterminate`](ErrorKind::Indeterminate) one can be asked about.
    pub fn create_many<I>(&self, documents: I) -> CreateMany<'_>
    where
        I: IntoIterator,
        I::Item: IntoDocument,
    {
        CreateMany {
            collection: self,
            documents: documents
                .into_iter()
                .map(IntoDocument::into_document)
                .collect(),
            attribution: Attribution::default(),
            lineage: Lineage::default(),
            broken: None,
        }
    }
}

impl<'a> IntoFuture for CreateMany<'a> {
    type Output = Result<Vec<Result<Written, Error>>, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Collection { shared, scope, .. } = self.collection;
            let doing = shared.doing("create_many", None);
            if let Some(error) = self.broken {
                return Err(error.during(&doing));
            }
            self.attribution.check()?;
            let lineage = &shared
                .lineage(scope, self.lineage)
                .await
                .map_err(|e| e.during(&doing))?;
            let mut results = Vec::with_capacity(self.documents.len());
            let mut waiting: VecDeque<(Vec<Placed>, Pending)> = VecDeque::new();
            let most = CHUNK.min(shared.committer().batch_rows());
            let documents = self.documents.into_iter();
            let mut documents = documents
                .map(|document| {
                    let document = document?;
                    shared.may_write(scope, &document)?;
                    shared.taken(document)
                })
                .peekable();
            let mut queued = false;
            while documents.peek().is_some() || !waiting.is_empty() {
                if documents.peek().is_none() || waiting.len() >= CHUNKS_AHEAD {
                    if let Some((items, pending)) = waiting.pop_front() {
                        shared
                            .collect(items, pending, &self.attribution, &mut results)
                            .await;
                    }
                    continue;
                }
                let indexes = match shared.indexes().await {
                    Ok(indexes) => indexes,
                    Err(error) if results.is_empty() => return Err(error.during(&doing)),
                    Err(error) => {
                        let some = documents.by_ref().take(CHUNK);
                        results.extend(some.map(|_| Err(error.again())));
                        continue;
                    }
                };
                let mut mutations = Vec::with_capacity(CHUNK);
                let mut items = Vec::with_capacity(CHUNK);
                let mut put_at = None;
                let (attribution, indexes) = (&self.attribution, &indexes);
                let (mut some, mut bytes) = (Vec::with_capacity(most), 0);
                while let Some(document) = documents.next_if(|next| {
                    bytes += next.as_ref().map_or(0, |next| next.bytes.len());
                    some.is_empty() || (some.len() < most && bytes <= CHUNK_BYTES)
                }) {
                    some.push(document);
                }
                let mut prepared = stream::iter(some)
                    .map(|document| {
                        shared.prepare_new(scope, document, attribution, lineage, indexes)
                    })
                    .buffered(AHEAD);
                while let Some(prepared) = prepared.next().await {
                    let at = results.len();
                    match prepared {
                        Err(error) => results.push(Err(error)),
                        Ok((item, id, mutation, put)) => {
                            // Replaced once the outcome is known.
                            results.push(Err(Error::new(ErrorKind::Unavailable, "not committed")));
                            put_at = put_at.or(put);
                            mutations.push(mutation);
                            items.push((at, item, id));
                        }
                    }
                }
                if !mutations.is_empty() {
                    let committer = shared.committer();
                    match committer.submit(indexes.epoch, mutations, put_at).await {
                        Ok(pending) => {
                            queued = true;
                            waiting.push_back((items, pending));
                        }
                        Err(error) if !queued => return Err(Error::from(error).during(&doing)),
                        Err(error) => fail(&items, &error.into(), &mut results),
                    }
                }
            }
            let named =
                |result: Result<_, Error>| result.map_err(|e| scope.anonymous(e).during(&doing));
            Ok(results.into_iter().map(named).collect())
        })
    }
}

impl Shared {
    async fn prepare_new(
        &self,
        scope: &Scope,
        document: Result<Canonical, Error>,
        attribution: &Attribution,
        lineage: &Lineage,
        indexes: &Indexes,
    ) -> Result<(Item, RecordId, Mutation, Option<Instant>), Error> {
        let item = Item {
            position: 0,
            id: None,
            document: document?,
            lineage: lineage.clone(),
            imported: None,
            veiled: self.veils(scope),
        };
        let id = self.database.new_id();
        scope.check(&id, &item.document.document)?;
        let (mutation, put_at) = self
            .bulk_mutation(attribution, &item, &id, false, indexes)
            .await?;
        Ok((item, id, mutation, put_at))
    }

    /// Notes what became of a chunk: others are committed whatever it is.
    async fn collect(
        &self,
        mut items: Vec<Placed>,
        mut pending: Pending,
        attribution: &Attribution,
        results: &mut [Result<Written, Error>],
    ) {
        for _ in 0..MAX_TRIES {
            match self.sort_each(pending.answer().await, items.len()).await {
                Err(error) => return fail(&items, &error, results),
                Ok(Some(outcomes)) => {
                    for ((at, ..), outcome) in items.into_iter().zip(outcomes) {
                        results[at] = match outcome {
                            Ok(Outcome::Committed(commit)) => Ok(Written::of(commit, false)),
                            Ok(Outcome::Unchanged(commit)) => Ok(Written::of(commit, true)),
                            Ok(Outcome::Refused(refusal)) => Err(refused(refusal)),
                            Ok(Outcome::Done { .. }) => continue,
                            Err(error) => Err(error),
                        };
                    }
                    return;
                }
                // The indexes changed in between: make the keys anew.
                Ok(None) => {}
            }
            match self.queue_anew(&mut items, attribution, results).await {
                Ok(anew) => pending = anew,
                Err(error) => return fail(&items, &error, results),
            }
        }
        fail(&items, &contended(), results);
    }

    /// Prepares a chunk anew and queues it, without those that cannot be.
    async fn queue_anew(
        &self,
        items: &mut Vec<Placed>,
        attribution: &Attribution,
        results: &mut [Result<Written, Error>],
    ) -> Result<Pending, Error> {
        let indexes = self.indexes().await?;
        let mut mutations = Vec::with_capacity(items.len());
        let mut put_at = None;
        for (at, item, id) in std::mem::take(items) {
            let made = self
                .bulk_mutation(attribution, &item, &id, false, &indexes)
                .await;
            match made {
                Ok((mutation, put)) => {
                    put_at = put_at.or(put);
                    mutations.push(mutation);
                    items.push((at, item, id));
                }
                Err(error) => results[at] = Err(error),
            }
        }
        let committer = self.committer();
        Ok(committer.submit(indexes.epoch, mutations, put_at).await?)
    }
}

/// Nothing of these was written.
fn fail(items: &[Placed], error: &Error, results: &mut [Result<Written, Error>]) {
    for (at, ..) in items {
        results[*at] = Err(error.again());
    }
}

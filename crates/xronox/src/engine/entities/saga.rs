//! Insertions that no single commit can make: they span databases, or there are
//! no transactions.
//!
//! What is to be done is recorded first, in `xronox_jobs` of the main record's
//! database. Then comes the main record: while it is not there nothing is, and a
//! record of work whose main record never came is thrown away. The entities
//! follow; each step can be repeated, as the catalog remembers what became of it.
//! Whoever goes on with an insertion holds it for a while, so that not one goes
//! forward while another takes back.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use xronox_model::{
    Attempt, CollectionName, Filter, Identity, RecordId, Sha256, Timestamp, json as form,
};
use xronox_store::{DocUpdate, IdempotencyKey, InsertOutcome, Update, UpdateOutcome};

use super::{
    EntityMapping, EntityResult, InsertedWithEntities,
    insert::{Insertion, Wanted, entity_result},
    mapped,
};
use crate::{
    Collection, Database, Error, ErrorKind, Written,
    engine::{
        attribution::Attribution,
        draft::{Step, broken_off, contended},
        enrich::Enrichment,
        jobs::{JOBS, jobs},
        scope::Scope,
    },
    storage::{Storage, forbidden},
};

const KIND: &str = "insertWithEntities";
/// Documents of more bytes are not recorded: as text in a row they may take twice
/// as many, and a row has 8 MiB.
const MAX_RECORDED: usize = 3 << 20;
/// Who goes on with an insertion holds it so long after each step.
const HELD: Duration = Duration::from_mins(1);
/// How long the catalog remembers the steps of an insertion.
const REMEMBERED: Duration = Duration::from_hours(24 * 90);
/// How often the write of the main record is prepared anew.
const MAX_TRIES: u32 = 100;

/// What became of insertions that were broken off. As JSON `{ finished,
/// takenBack, neverBegun, underWay, broken }`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ResumedInsertions {
    /// How many are complete now.
    pub finished: u64,
    /// How many were refused, and what was written for them is taken back.
    pub taken_back: u64,
    /// How many had not written their main record, and never will.
    pub never_begun: u64,
    /// How many somebody is at, or was until a moment ago.
    pub under_way: u64,
    /// Those that broke off again.
    pub broken: Vec<BrokenInsertion>,
}

/// An insertion that is not complete. As JSON `{ collection, id, error }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BrokenInsertion {
    /// The collection of the main record.
    pub collection: CollectionName,
    /// The main record.
    pub id: RecordId,
    /// Why it broke off.
    pub error: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Running,
    Undoing,
}

/// An insertion as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Job {
    #[serde(rename = "_id")]
    id: String,
    kind: String,
    collection: CollectionName,
    record: RecordId,
    /// The write of the main record.
    attempt: Attempt,
    /// What the handle is limited to, as text, and whether hidden fields are out
    /// of its reach.
    scope: Option<String>,
    sealed: bool,
    /// As it was given, as text: its property names are anybody's.
    document: String,
    mappings: Vec<EntityMapping>,
    actor: Option<Identity>,
    on_behalf_of: Option<Identity>,
    reason: Option<String>,
    state: State,
    /// Why it is taken back.
    problem: Option<String>,
    /// What became of the entities so far.
    done: Vec<Done>,
    /// Who goes on with it, and until when that is taken for granted.
    holder: Attempt,
    until: Timestamp,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// An entity that is written.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Done {
    id: RecordId,
    ov: u64,
    created: bool,
    unchanged: bool,
}

/// Why an insertion did not come to its end.
enum Ended {
    /// It can go on.
    Broken(Error),
    /// Its main record is not there, and nothing else.
    NeverBegun,
    /// What was written is taken back.
    TakenBack(Error),
}

/// Records an insertion and makes it.
pub(super) async fn run(insertion: Insertion<'_>) -> Result<InsertedWithEntities, Error> {
    let document = form::canonical(&insertion.document);
    if document.len() > MAX_RECORDED {
        let why = format!(
            "a document with entities that no single commit can write has at most {MAX_RECORDED} \
             bytes"
        );
        return Err(Error::new(ErrorKind::Unsupported, why));
    }
    let Collection { shared, scope, .. } = insertion.collection;
    let storage = &*shared.database;
    let Attribution {
        actor,
        on_behalf_of,
        reason,
    } = insertion.attribution.clone();
    let now = storage.clock.now();
    let mut job = Job {
        id: storage.new_id().to_string(),
        kind: KIND.to_owned(),
        collection: shared.name.clone(),
        record: insertion.id.clone(),
        attempt: Storage::new_attempt(),
        scope: scope.filter().map(|filter| filter.to_string()),
        sealed: scope.is_sealed(),
        document: String::from_utf8_lossy(&document).into_owned(),
        mappings: insertion
            .mapped
            .iter()
            .map(|one| one.spelled.clone())
            .collect(),
        actor,
        on_behalf_of,
        reason,
        state: State::Running,
        problem: None,
        done: Vec::new(),
        holder: Storage::new_attempt(),
        until: held_from(now),
        created_at: now,
        updated_at: now,
    };
    // Until the main record is there, nothing is: a job that is left is thrown away.
    let stored = storage
        .documents
        .insert(&jobs()?, vec![job.document()?])
        .await?;
    if !matches!(stored[..], [InsertOutcome::Inserted]) {
        let why = "the insertion could not be recorded";
        return Err(Error::new(ErrorKind::Unavailable, why));
    }
    let main = match job.main(&insertion).await {
        Ok(main) => main,
        Err(error) => {
            if !matches!(error.kind(), ErrorKind::Indeterminate { .. }) {
                job.throw_away(storage).await;
            }
            return Err(error);
        }
    };
    if main.id != job.record {
        // The same request was made before.
        job.throw_away(storage).await;
        let results = Box::pin(insertion.as_they_are()).await?;
        return Ok(insertion.inserted(main, &results));
    }
    match job.drive(&insertion).await {
        Ok(()) => {
            let results = job.done.iter().map(|done| Some(done.result()));
            Ok(insertion.inserted(main, &results.collect::<Vec<_>>()))
        }
        Err(Ended::TakenBack(error)) => Err(error),
        Err(Ended::NeverBegun) => Err(broken_off()),
        Err(Ended::Broken(error)) => {
            let why = format!(
                "the record is there, but not all of its entities: that was broken off and can \
                 be resumed: {error}"
            );
            let kind = ErrorKind::Indeterminate {
                id: job.record,
                attempt: job.attempt,
            };
            Err(Error::new(kind, why))
        }
    }
}

fn held_from(now: Timestamp) -> Timestamp {
    now.plus_millis(i64::try_from(HELD.as_millis()).unwrap_or(i64::MAX))
}

/// Whether it may go through another time.
fn passes(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Unavailable | ErrorKind::Indeterminate { .. } | ErrorKind::Closed
    )
}

impl Job {
    fn read(document: Value) -> Result<Self, Error> {
        serde_json::from_value(document).map_err(|error| {
            let why = format!("a row of {JOBS} is damaged: {error}");
            Error::new(ErrorKind::Corrupt, why)
        })
    }

    fn document(&self) -> Result<Value, Error> {
        serde_json::to_value(self)
            .map_err(|error| xronox_model::Invalid::at("job", error.to_string()).into())
    }

    fn attribution(&self) -> Attribution {
        Attribution {
            actor: self.actor.clone(),
            on_behalf_of: self.on_behalf_of.clone(),
            reason: self.reason.clone(),
        }
    }

    /// Writes the main record. Which attempt that is stands in the job before.
    async fn main(&mut self, insertion: &Insertion<'_>) -> Result<Written, Error> {
        let shared = &insertion.collection.shared;
        let draft = insertion.main();
        for _ in 0..MAX_TRIES {
            let tried = shared
                .try_whole(&draft, &insertion.canonical, self.attempt)
                .await;
            let written = match tried {
                Ok(Step::Done(written)) => Ok(written),
                Ok(Step::Again(_)) => {
                    self.attempt = Storage::new_attempt();
                    self.save(&shared.database).await?;
                    continue;
                }
                Err(error) => Err(error),
            };
            return shared.or_remembered(&draft, written).await;
        }
        Err(contended())
    }

    /// Goes on to the end, once the main record is there.
    async fn drive(&mut self, insertion: &Insertion<'_>) -> Result<(), Ended> {
        let storage = &*insertion.collection.shared.database;
        if self.state == State::Undoing {
            let why = self.problem.clone().unwrap_or_default();
            let refused = Error::new(ErrorKind::Invalid, why);
            return Err(self.undo(insertion, refused).await);
        }
        for (n, one) in insertion.wanted.iter().enumerate().skip(self.done.len()) {
            match self.entity(one, n).await {
                Ok(written) => self.done.push(Done {
                    created: written.op == xronox_model::Op::Create && !written.unchanged,
                    id: written.id,
                    ov: written.ov,
                    unchanged: written.unchanged,
                }),
                Err(error) if passes(&error) => return Err(Ended::Broken(error)),
                Err(error) => return Err(self.undo(insertion, one.about(error)).await),
            }
            self.save(storage).await.map_err(Ended::Broken)?;
        }
        self.throw_away(storage).await;
        Ok(())
    }

    async fn entity(&self, one: &Wanted<'_>, n: usize) -> Result<Written, Error> {
        let attribution = self.attribution();
        let enrichment = Enrichment {
            scope: &one.mapped.collection.scope,
            attribution: &attribution,
            patches: &one.patches,
            offered: &one.offered,
            functions: Vec::new(),
            idempotency: Some(self.key(&n.to_string())),
            key: Some((&one.mapped.spec, &one.key)),
        };
        let (first, rest) = one.patches.split_at(1);
        let mut document = first[0].clone();
        for patch in rest {
            xronox_model::enrich(&mut document, patch);
        }
        let shared = one.mapped.shared();
        Box::pin(shared.create_or_enrich(&document, &one.key, enrichment)).await
    }

    /// What a step is remembered by.
    fn key(&self, step: &str) -> IdempotencyKey {
        let key = format!("{KIND} {} {step}", self.id);
        IdempotencyKey {
            fingerprint: Sha256::of(key.as_bytes()),
            key,
            keep_millis: i64::try_from(REMEMBERED.as_millis()).unwrap_or(i64::MAX),
        }
    }

    /// Takes back what was written, by new versions, the main record last.
    async fn undo(&mut self, insertion: &Insertion<'_>, refused: Error) -> Ended {
        let storage = &*insertion.collection.shared.database;
        self.state = State::Undoing;
        self.problem = Some(refused.to_string());
        if let Err(error) = self.save(storage).await {
            return Ended::Broken(error);
        }
        let main = Done {
            id: self.record.clone(),
            ov: 0,
            created: true,
            unchanged: false,
        };
        let entities = insertion.wanted.iter().zip(&self.done).rev();
        let entities = entities.map(|(one, done)| (&one.mapped.collection, done));
        let mut left = Vec::new();
        for (collection, done) in entities.chain([(insertion.collection, &main)]) {
            match self.take_back(collection, done).await {
                Ok(true) => {}
                Ok(false) => left.push(format!("{}/{}", collection.name(), done.id)),
                Err(error) => return Ended::Broken(error),
            }
        }
        self.throw_away(storage).await;
        if left.is_empty() {
            return Ended::TakenBack(refused);
        }
        let left = left.join(", ");
        let what = format!(
            "the insertion was refused, but what it wrote of {left} could not be taken back"
        );
        Ended::TakenBack(refused.inside(&what))
    }

    /// Whether a record is as it was before, as far as this insertion goes.
    async fn take_back(&self, of: &Collection, done: &Done) -> Result<bool, Error> {
        if done.unchanged {
            return Ok(true);
        }
        // Whatever the handle may do that inserted it.
        let collection = Collection {
            scope: Scope::EVERYTHING.clone(),
            ..of.clone()
        };
        let (kept, record) = (&self.collection, &self.record);
        let attribution = Attribution {
            reason: Some(format!("the insertion of {kept}/{record} was refused")),
            ..self.attribution()
        };
        let taken = if done.created {
            let mut delete = collection.delete(&done.id).expected_ov(done.ov);
            delete.attribution = attribution;
            delete.await
        } else {
            let restore = collection.restore_object(&done.id);
            let mut restore = restore.to_ov(done.ov - 1).expected_ov(done.ov);
            restore.attribution = attribution;
            restore.await
        };
        match taken {
            Ok(_) => Ok(true),
            Err(error) if passes(&error) => Err(error),
            Err(error) => {
                tracing::warn!(collection = %collection.name(), id = %done.id, %error, "an entity stays");
                Ok(false)
            }
        }
    }

    /// Stores how far it is, and holds it on.
    async fn save(&mut self, storage: &Storage) -> Result<(), Error> {
        let now = storage.clock.now();
        self.updated_at = now;
        self.until = held_from(now);
        let filter = json!({ "_id": self.id, "holder": self.holder });
        let change = json!({ "$set": {
            "state": self.state,
            "attempt": self.attempt,
            "problem": self.problem,
            "done": self.done,
            "until": self.until,
            "updatedAt": self.updated_at,
        } });
        let update = DocUpdate::of(Filter::parse(&filter)?, Update::parse(&change)?);
        match storage.documents.update_one(&jobs()?, &update).await? {
            UpdateOutcome::Matched { .. } => Ok(()),
            UpdateOutcome::Refused(_) => Err(Error::new(
                ErrorKind::Unsupported,
                "the record of the insertion has grown too large",
            )),
            UpdateOutcome::Unmatched | UpdateOutcome::Inserted { .. } => Err(Error::new(
                ErrorKind::Unavailable,
                "somebody else goes on with the insertion",
            )),
        }
    }

    /// Removes the job. What cannot be removed now is found done when it is resumed.
    async fn throw_away(&self, storage: &Storage) {
        if let Err(error) = self.remove(storage).await {
            tracing::warn!(job = self.id, %error, "the record of an insertion is left");
        }
    }

    async fn remove(&self, storage: &Storage) -> Result<(), Error> {
        let filter = Filter::parse(&json!({ "_id": self.id, "holder": self.holder }))?;
        storage.documents.delete(&jobs()?, &filter, 1).await?;
        Ok(())
    }
}

impl Done {
    fn result(&self) -> EntityResult {
        let written = (self.created, self.unchanged);
        entity_result(&self.id, self.ov, written.0, written.1)
    }
}

impl Database {
    /// Goes on with insertions that were broken off between databases, or
    /// between the steps of a backend without transactions: see
    /// [`insert_with_entities`](Collection::insert_with_entities). Those that
    /// somebody was at within the last minute are left to him.
    ///
    /// Insertions are recorded in the database of the main record, so a program
    /// calls this for the databases that it inserts into, when it starts.
    ///
    /// # Errors
    ///
    /// [`Forbidden`](ErrorKind::Forbidden) through a scoped or sealed handle,
    /// [`Unavailable`](ErrorKind::Unavailable), [`Closed`](ErrorKind::Closed).
    /// What goes wrong with one of them is in the report.
    pub async fn resume_insertions(&self) -> Result<ResumedInsertions, Error> {
        self.whole()?;
        if self.scope.is_sealed() {
            return Err(forbidden(
                "a sealed handle does not see all of what it would write",
            ));
        }
        self.storage.open()?;
        let mut report = ResumedInsertions::default();
        let (mut after, mut damaged) = (String::new(), None);
        loop {
            let next = json!({ "kind": KIND, "_id": { "$gt": after } });
            let documents = &self.storage.documents;
            let Some(document) = documents.find_one(&jobs()?, &Filter::parse(&next)?).await? else {
                break;
            };
            document["_id"]
                .as_str()
                .unwrap_or_default()
                .clone_into(&mut after);
            let mut job = match Job::read(document) {
                Ok(job) => job,
                Err(error) => {
                    damaged.get_or_insert(error);
                    continue;
                }
            };
            if !job.take_over(&self.storage).await? {
                report.under_way += 1;
                continue;
            }
            match Box::pin(job.resume(self)).await {
                Ok(()) => report.finished += 1,
                Err(Ended::NeverBegun) => report.never_begun += 1,
                Err(Ended::TakenBack(error)) => {
                    tracing::info!(collection = %job.collection, id = %job.record, %error, "an insertion was refused");
                    report.taken_back += 1;
                }
                Err(Ended::Broken(error)) => report.broken.push(BrokenInsertion {
                    collection: job.collection,
                    id: job.record,
                    error: error.to_string(),
                }),
            }
        }
        match damaged {
            None => Ok(report),
            Some(error) => Err(error),
        }
    }
}

impl Job {
    /// Takes it over from whoever was at it, if that is long enough ago.
    async fn take_over(&mut self, storage: &Storage) -> Result<bool, Error> {
        let now = storage.clock.now();
        if self.until > now {
            return Ok(false);
        }
        let before = std::mem::replace(&mut self.holder, Storage::new_attempt());
        let filter = json!({ "_id": self.id, "holder": before, "until": self.until });
        self.until = held_from(now);
        let change = json!({ "$set": { "holder": self.holder, "until": self.until } });
        let update = DocUpdate::of(Filter::parse(&filter)?, Update::parse(&change)?);
        let updated = storage.documents.update_one(&jobs()?, &update).await?;
        Ok(matches!(updated, UpdateOutcome::Matched { .. }))
    }

    async fn resume(&mut self, database: &Database) -> Result<(), Ended> {
        let (id, attribution) = (self.record.clone(), self.attribution());
        let collection = self.handle(database).map_err(Ended::Broken)?;
        let outcome = collection.outcome(&id, self.attempt).await;
        if outcome.map_err(Ended::Broken)?.is_none() {
            self.throw_away(&database.storage).await;
            return Err(Ended::NeverBegun);
        }
        // A database that cannot be found now may be found another time.
        let mapped = mapped(&collection, &self.mappings).await;
        let mapped = mapped.map_err(Ended::Broken)?;
        let document = form::parse(self.document.as_bytes());
        let document = document.map_err(|invalid| Ended::Broken(invalid.into()))?;
        let insertion = Insertion::new(
            &collection,
            &id,
            document,
            &mapped,
            &attribution,
            None,
            true,
        )
        .await;
        // It was all right when it was recorded.
        let insertion = insertion.map_err(Ended::Broken)?;
        self.drive(&insertion).await
    }

    /// The handle that the insertion was made through.
    fn handle(&self, database: &Database) -> Result<Collection, Error> {
        let collection = database.collection(self.collection.as_str())?;
        let collection = match &self.scope {
            None => collection,
            Some(filter) => collection.scoped(form::parse(filter.as_bytes())?)?,
        };
        Ok(collection.with_hidden(!self.sealed))
    }
}

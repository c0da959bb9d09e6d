//! Insertions that no single commit can make: they span databases, or there are
//! no transactions.
//!
//! What is to be done is recorded first, in `xronox_jobs` of the main record's
//! database. Each step can be repeated: the catalog remembers what became of it.
//! Whoever goes on with an insertion holds it for a while, so that not one goes
//! forward while another takes back.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use xronox_model::{
    Attempt, CollectionName, Filter, Identity, RecordId, Sha256, Timestamp, json as form,
};
use xronox_store::{DocFind, DocUpdate, IdempotencyKey, InsertOutcome, Update, UpdateOutcome};

use super::{
    EntityMapping, EntityResult, InsertedWithEntities,
    insert::{Insertion, Wanted, entity_result},
    mapped,
};
use crate::{
    Collection, Database, Error, ErrorKind, Written,
    engine::{
        attribution::Attribution,
        draft::brief,
        enrich::Enrichment,
        jobs::{JOBS, jobs},
        scope::Scope,
    },
    storage::Storage,
};

const KIND: &str = "insertWithEntities";
/// Documents of more bytes are not recorded.
const MAX_RECORDED: usize = 8 << 20;
/// Who goes on with an insertion holds it so long after each step.
const HELD: Duration = Duration::from_mins(1);
/// How long the catalog remembers the steps of an insertion.
const REMEMBERED: Duration = Duration::from_hours(24 * 90);
/// Insertions that one call resumes at most.
const MAX_RESUMED: usize = 1000;

/// What became of insertions that were broken off. As JSON `{ finished,
/// takenBack, underWay, broken }`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ResumedInsertions {
    /// How many are complete now.
    pub finished: u64,
    /// How many were refused, and what was written for them is taken back.
    pub taken_back: u64,
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
    /// As it was given, as text: its property names are anybody's.
    document: String,
    mappings: Vec<EntityMapping>,
    actor: Option<Identity>,
    on_behalf_of: Option<Identity>,
    reason: Option<String>,
    idempotency: Option<Remember>,
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

/// An idempotency key, as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Remember {
    key: String,
    fingerprint: Sha256,
    keep_millis: i64,
}

/// Why an insertion did not come to its end.
enum Ended {
    /// It can go on.
    Broken(Error),
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
    let shared = &insertion.collection.shared;
    let Attribution {
        actor,
        on_behalf_of,
        reason,
    } = insertion.attribution.clone();
    let now = shared.database.clock.now();
    let mut job = Job {
        id: shared.database.new_id().to_string(),
        kind: KIND.to_owned(),
        collection: shared.name.clone(),
        record: insertion.id.clone(),
        attempt: Storage::new_attempt(),
        document: String::from_utf8_lossy(&document).into_owned(),
        mappings: insertion
            .mapped
            .iter()
            .map(|one| one.spelled.clone())
            .collect(),
        actor,
        on_behalf_of,
        reason,
        idempotency: insertion.idempotency.clone().map(|key| Remember {
            key: key.key,
            fingerprint: key.fingerprint,
            keep_millis: key.keep_millis,
        }),
        state: State::Running,
        problem: None,
        done: Vec::new(),
        holder: Storage::new_attempt(),
        until: held_from(now),
        created_at: now,
        updated_at: now,
    };
    let documents = &*shared.database.documents;
    let stored = documents.insert(&jobs()?, vec![job.document()?]).await?;
    if !matches!(stored[..], [InsertOutcome::Inserted]) {
        let why = "the insertion could not be recorded";
        return Err(Error::new(ErrorKind::Unavailable, why));
    }
    match job.drive(&insertion).await {
        Ok(inserted) => Ok(inserted),
        Err(Ended::TakenBack(error)) => Err(error),
        Err(Ended::Broken(error)) => {
            let why = format!(
                "the insertion was broken off and can be resumed; asking for the record tells \
                 whether it is complete: {error}"
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

    /// Goes on to the end.
    async fn drive(&mut self, insertion: &Insertion<'_>) -> Result<InsertedWithEntities, Ended> {
        let storage = &*insertion.collection.shared.database;
        if self.state == State::Undoing {
            let why = self.problem.clone().unwrap_or_default();
            let refused = Error::new(ErrorKind::Invalid, why);
            return Err(self.undo(insertion, refused).await);
        }
        for (n, one) in insertion.wanted.iter().enumerate().skip(self.done.len()) {
            match self.entity(one, n).await {
                Ok(written) => self.done.push(Done {
                    created: written.op == xronox_model::Op::Create,
                    id: written.id,
                    ov: written.ov,
                    unchanged: written.unchanged,
                }),
                Err(error) if passes(&error) => return Err(Ended::Broken(error)),
                Err(error) => return Err(self.undo(insertion, one.about(error)).await),
            }
            self.save(storage).await.map_err(Ended::Broken)?;
        }
        let main = match self.main(insertion).await {
            Ok(main) => main,
            Err(error) if passes(&error) => return Err(Ended::Broken(error)),
            Err(error) => return Err(self.undo(insertion, error).await),
        };
        // It is all there: what is left of the record is for whoever resumes it.
        if let Err(error) = self.remove(storage).await {
            tracing::warn!(job = self.id, %error, "the record of an insertion is left");
        }
        let results: Vec<Option<EntityResult>> =
            self.done.iter().map(|done| Some(done.result())).collect();
        Ok(insertion.inserted(main, &results))
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

    async fn main(&self, insertion: &Insertion<'_>) -> Result<Written, Error> {
        let shared = &insertion.collection.shared;
        let attribution = self.attribution();
        let mut draft = insertion.main();
        draft.attribution = &attribution;
        draft.attempt = Some(self.attempt);
        draft.idempotency = Some(match &self.idempotency {
            None => self.key("main"),
            Some(Remember {
                key,
                fingerprint,
                keep_millis,
            }) => IdempotencyKey {
                key: key.clone(),
                fingerprint: *fingerprint,
                keep_millis: *keep_millis,
            },
        });
        let written = shared.write_whole(&draft, &insertion.canonical).await;
        match shared.or_remembered(&draft, written).await {
            // Its id is nobody else's.
            Err(error) if *error.kind() == ErrorKind::AlreadyExists => {
                let first = shared.version(&self.record, 0).await;
                first.map_or(Err(error), |row| Ok(Written::of(brief(&row), false)))
            }
            written => written,
        }
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

    /// Takes back what was written, by new versions.
    async fn undo(&mut self, insertion: &Insertion<'_>, refused: Error) -> Ended {
        let storage = &*insertion.collection.shared.database;
        self.state = State::Undoing;
        self.problem = Some(refused.to_string());
        if let Err(error) = self.save(storage).await {
            return Ended::Broken(error);
        }
        let mut left = 0;
        for (one, done) in insertion.wanted.iter().zip(&self.done).rev() {
            match self.take_back(one, done).await {
                Ok(taken) => left += u64::from(!taken),
                Err(error) => return Ended::Broken(error),
            }
        }
        if let Err(error) = self.remove(storage).await {
            return Ended::Broken(error);
        }
        if left == 0 {
            return Ended::TakenBack(refused);
        }
        let what = format!(
            "nothing was inserted, but {left} of its entities stay as they were written, since \
             others have changed them"
        );
        Ended::TakenBack(refused.inside(&what))
    }

    /// Whether an entity is as it was before, as far as this insertion goes.
    async fn take_back(&self, one: &Wanted<'_>, done: &Done) -> Result<bool, Error> {
        if done.unchanged {
            return Ok(true);
        }
        // Whatever the handle may do that inserted it.
        let collection = Collection {
            scope: Scope::EVERYTHING.clone(),
            ..one.mapped.collection.clone()
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
            "problem": self.problem,
            "done": self.done,
            "until": self.until,
            "updatedAt": self.updated_at,
        } });
        let update = DocUpdate::of(Filter::parse(&filter)?, Update::parse(&change)?);
        match storage.documents.update_one(&jobs()?, &update).await? {
            UpdateOutcome::Matched { .. } => Ok(()),
            _ => Err(Error::new(
                ErrorKind::Unavailable,
                "somebody else goes on with the insertion",
            )),
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
    /// somebody was at within the last minute are left to him. At most 1,000 at
    /// a time, the oldest first.
    ///
    /// Insertions are recorded in the database of the main record, so a program
    /// calls this for the databases that it inserts into, when it starts.
    ///
    /// # Errors
    ///
    /// [`Forbidden`](ErrorKind::Forbidden) through a scoped handle,
    /// [`Unavailable`](ErrorKind::Unavailable), [`Closed`](ErrorKind::Closed).
    /// What goes wrong with one of them is in the report.
    pub async fn resume_insertions(&self) -> Result<ResumedInsertions, Error> {
        self.whole()?;
        self.storage.open()?;
        let find = DocFind::of(Filter::parse(&json!({ "kind": KIND }))?).limit(MAX_RESUMED);
        let mut report = ResumedInsertions::default();
        for document in self.storage.documents.find(&jobs()?, &find).await? {
            let mut job = Job::read(document)?;
            if !job.take_over(&self.storage).await? {
                report.under_way += 1;
                continue;
            }
            match Box::pin(job.resume(self)).await {
                Ok(_) => report.finished += 1,
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
        Ok(report)
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

    async fn resume(&mut self, database: &Database) -> Result<InsertedWithEntities, Ended> {
        let (id, attribution) = (self.record.clone(), self.attribution());
        let collection = database.collection(self.collection.as_str());
        let collection = collection.map_err(Ended::Broken)?;
        // A database that cannot be found now may be found another time.
        let mapped = mapped(&collection, &self.mappings).await;
        let mapped = mapped.map_err(Ended::Broken)?;
        let document = form::parse(self.document.as_bytes());
        let document = document.map_err(|invalid| Ended::Broken(invalid.into()))?;
        let insertion =
            Insertion::new(&collection, &id, document, &mapped, &attribution, None).await;
        // It was all right when it was recorded.
        let insertion = insertion.map_err(Ended::Broken)?;
        self.drive(&insertion).await
    }
}

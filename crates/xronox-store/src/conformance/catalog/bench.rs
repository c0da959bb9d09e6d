//! A collection under test, with what it takes to write to it and read it.
#![expect(
    clippy::unused_self,
    reason = "mutations all come from the bench, index keys or not"
)]

use std::sync::Arc;

use parking_lot::Mutex;
use rand::RngCore;
use serde_json::Value;
use xronox_model::{
    Attempt, Body, BucketRole, CollectionName, Direction, Encoding, File, Identity, IndexKeys,
    IndexSpec, Location, Op, Path, RecordId, Sha256, SystemChange, TextRendition, UniqueKey,
    VersionRow, json::canonical,
};

use super::Subject;
use crate::{
    Access, Append, Batch, Bodies, Catalog, Commit, Expect, Find, IdempotencyKey, Indexes,
    Mutation, NewBody, Outcome, Position, Presence, Purge, Refusal, StoreError, Which,
    conformance::ManualClock,
};

pub(super) fn id(text: &str) -> RecordId {
    text.parse().unwrap()
}

pub(super) fn name(text: &str) -> CollectionName {
    text.parse().unwrap()
}

pub(super) fn path(text: &str) -> Path {
    text.parse().unwrap()
}

pub(super) fn attempt() -> Attempt {
    let mut bytes = [0; 12];
    rand::rng().fill_bytes(&mut bytes);
    Attempt::from_bytes(bytes)
}

pub(super) fn user(name: &str) -> Identity {
    Identity::new("user", name).unwrap()
}

/// The inline body of a document.
pub(super) fn body(document: &Value) -> Body {
    let bytes = canonical(document);
    Body {
        sha256: Sha256::of(&bytes),
        size: bytes.len() as u64,
        encoding: Encoding::Plain,
        location: Location::Inline,
        inline: Some(bytes.into()),
        files: Vec::new(),
    }
}

/// A place in object storage.
pub(super) fn object(key: &str) -> Location {
    Location::Object {
        space: "main".into(),
        role: BucketRole::Records,
        key: key.into(),
    }
}

/// The body of a document that lies in object storage.
pub(super) fn stored(document: &Value, key: &str) -> NewBody {
    NewBody::Given(Body {
        location: object(key),
        inline: None,
        ..body(document)
    })
}

/// A file that lies at `key`, and as text at `text`.
pub(super) fn file(path: &str, key: &str, text: Option<&str>) -> File {
    let place = |key: &str| Location::Object {
        space: "main".into(),
        role: BucketRole::Content,
        key: key.into(),
    };
    File {
        path: path.parse().unwrap(),
        sha256: Sha256::of(key.as_bytes()),
        size: key.len() as u64,
        content_type: "text/html; charset=\"utf-8\"".into(),
        location: place(key),
        text: text.map(|text| TextRendition {
            sha256: Sha256::of(text.as_bytes()),
            size: text.len() as u64,
            location: place(text),
        }),
    }
}

/// An idempotency key that is remembered for a day.
#[expect(clippy::unnecessary_wraps, reason = "it goes where there may be none")]
pub(super) fn request(key: &str, asked: &str) -> Option<IdempotencyKey> {
    Some(IdempotencyKey {
        key: key.into(),
        fingerprint: Sha256::of(asked.as_bytes()),
        keep_millis: 86_400_000,
    })
}

#[track_caller]
pub(super) fn committed(outcome: &Outcome) -> Commit {
    match outcome {
        Outcome::Committed(commit) => commit.clone(),
        other => panic!("not committed: {other:?}"),
    }
}

#[track_caller]
pub(super) fn refusal(outcome: &Outcome) -> Refusal {
    match outcome {
        Outcome::Refused(refusal) => refusal.clone(),
        other => panic!("not refused: {other:?}"),
    }
}

#[track_caller]
pub(super) fn released(outcome: &Outcome) -> Vec<Location> {
    match outcome {
        Outcome::Committed(Commit { released, .. }) | Outcome::Done { released } => {
            released.clone()
        }
        other => panic!("neither committed nor done: {other:?}"),
    }
}

/// The same row without inline bytes.
pub(super) fn bare(row: &VersionRow) -> VersionRow {
    let mut row = row.clone();
    if let Some(body) = &mut row.body {
        body.inline = None;
    }
    row
}

pub(super) struct Bench {
    pub(super) catalog: Arc<dyn Catalog>,
    pub(super) clock: Option<ManualClock>,
    pub(super) name: CollectionName,
    pub(super) indexes: Mutex<Indexes>,
}

impl Bench {
    pub(super) async fn open(subject: &dyn Subject) -> Self {
        Self::on(subject.open().await, subject.clock())
    }

    pub(super) fn on(catalog: Arc<dyn Catalog>, clock: Option<ManualClock>) -> Self {
        Self {
            catalog,
            clock,
            name: name("records"),
            indexes: Mutex::default(),
        }
    }

    /// Another collection of the same database.
    pub(super) fn other(&self, collection: &str) -> Self {
        Self {
            catalog: Arc::clone(&self.catalog),
            clock: self.clock.clone(),
            name: name(collection),
            indexes: Mutex::default(),
        }
    }

    pub(super) fn transactions(&self) -> bool {
        self.catalog.capabilities().transactions
    }

    /// Lets the clock go on, or waits until it has.
    pub(super) async fn pass(&self, millis: u32) {
        match &self.clock {
            Some(clock) => clock.advance(millis.into()),
            None => tokio::time::sleep(std::time::Duration::from_millis(millis.into())).await,
        }
    }

    // Mutations

    pub(super) fn keys(&self, document: &Value) -> IndexKeys {
        IndexKeys::of_body(document, self.indexes.lock().fields())
    }

    pub(super) fn unique(&self, document: &Value) -> Vec<UniqueKey> {
        let indexes = self.indexes.lock();
        let specs = indexes
            .list
            .iter()
            .map(|index| &index.spec)
            .filter(|spec| spec.unique);
        specs
            .filter_map(|spec| UniqueKey::of(document, spec).unwrap())
            .collect()
    }

    fn append(&self, record: &str, op: Op, state: Presence, body: NewBody) -> Append {
        Append {
            id: id(record),
            op,
            expect: Expect::only(state),
            attempt: attempt(),
            actor: None,
            on_behalf_of: None,
            reason: None,
            change: SystemChange::default(),
            body,
            keys: None,
            unique: Vec::new(),
            idempotency: None,
            group: None,
            skip_unchanged: false,
            newest_only: false,
        }
    }

    fn given(&self, record: &str, op: Op, state: Presence, document: &Value) -> Append {
        Append {
            keys: Some(self.keys(document)),
            unique: self.unique(document),
            ..self.append(record, op, state, NewBody::Given(body(document)))
        }
    }

    pub(super) fn create(&self, record: &str, document: &Value) -> Append {
        self.given(record, Op::Create, Presence::Absent, document)
    }

    pub(super) fn update(&self, record: &str, document: &Value) -> Append {
        self.given(record, Op::Update, Presence::Live, document)
    }

    pub(super) fn delete(&self, record: &str) -> Append {
        self.append(record, Op::Delete, Presence::Live, NewBody::OfNewest)
    }

    pub(super) fn restore(&self, record: &str, ov: u64) -> Append {
        self.append(
            record,
            Op::Restore,
            Presence::Present,
            NewBody::OfVersion(ov),
        )
    }

    pub(super) fn purge(&self, record: &str) -> Purge {
        Purge {
            id: id(record),
            expect_ov: None,
            attempt: attempt(),
            actor: None,
            on_behalf_of: None,
            reason: None,
            group: None,
        }
    }

    pub(super) fn prune(&self, record: &str, ovs: &[u64]) -> Mutation {
        Mutation::Prune {
            id: id(record),
            ovs: ovs.to_vec(),
        }
    }

    // Commits

    pub(super) fn batch(&self, mutations: Vec<Mutation>) -> (CollectionName, Batch) {
        (
            self.name.clone(),
            Batch {
                epoch: self.indexes.lock().epoch,
                mutations,
            },
        )
    }

    pub(super) async fn try_commit(
        &self,
        mutations: Vec<Mutation>,
    ) -> Result<Vec<Outcome>, StoreError> {
        let outcomes = self.catalog.commit(&[self.batch(mutations)]).await?;
        assert_eq!(outcomes.len(), 1, "outcomes of one batch");
        Ok(outcomes.into_iter().next().unwrap())
    }

    pub(super) async fn commit(&self, mutations: Vec<Mutation>) -> Vec<Outcome> {
        let count = mutations.len();
        let outcomes = self.try_commit(mutations).await.unwrap();
        assert_eq!(outcomes.len(), count, "one outcome a mutation");
        outcomes
    }

    pub(super) async fn one(&self, mutation: impl Into<Mutation>) -> Outcome {
        self.commit(vec![mutation.into()]).await.remove(0)
    }

    /// Commits a mutation that must succeed.
    pub(super) async fn done(&self, mutation: impl Into<Mutation>) -> Commit {
        let mutation = mutation.into();
        let outcome = self.one(mutation.clone()).await;
        match outcome {
            Outcome::Committed(commit) => commit,
            other => panic!("{other:?}, not committed: {mutation:?}"),
        }
    }

    /// Commits a mutation that must be refused, and sees that nothing changes.
    pub(super) async fn refused(&self, mutation: impl Into<Mutation>) -> Refusal {
        let mutation = mutation.into();
        let before = self.rows().await;
        let outcome = self.one(mutation.clone()).await;
        assert_eq!(
            self.rows().await,
            before,
            "{outcome:?} changed rows: {mutation:?}"
        );
        match outcome {
            Outcome::Refused(refusal) => refusal,
            other => panic!("{other:?}, not refused: {mutation:?}"),
        }
    }

    // Indexes

    pub(super) async fn add_index(&self, spec: &IndexSpec) -> Indexes {
        let indexes = self.catalog.add_index(&self.name, spec).await.unwrap();
        *self.indexes.lock() = indexes.clone();
        indexes
    }

    /// Adds an index that is ready, to a collection without rows.
    pub(super) async fn index(&self, spec: IndexSpec) {
        self.add_index(&spec).await;
        let indexes = self
            .catalog
            .index_ready(&self.name, &spec.name())
            .await
            .unwrap();
        *self.indexes.lock() = indexes;
    }

    // Reads

    pub(super) async fn head(&self, record: &str) -> Option<VersionRow> {
        self.catalog
            .head(&self.name, &id(record), Bodies::Inline)
            .await
            .unwrap()
    }

    pub(super) async fn version(&self, record: &str, which: Which) -> Option<VersionRow> {
        self.catalog
            .version(&self.name, &id(record), which, Bodies::Inline)
            .await
            .unwrap()
    }

    pub(super) async fn history(&self, record: &str) -> Vec<VersionRow> {
        let (all, up) = (usize::MAX >> 8, Direction::Ascending);
        self.catalog
            .history(&self.name, &id(record), None, up, all)
            .await
            .unwrap()
    }

    /// Every row, with inline bodies.
    pub(super) async fn rows(&self) -> Vec<VersionRow> {
        let (catalog, name) = (&self.catalog, &self.name);
        let mut all: Vec<VersionRow> = Vec::new();
        loop {
            let from = all.last().map_or(0, |last| last.cv + 1);
            let page = catalog.rows(name, from, 100_000, Bodies::Inline).await;
            let page = page.unwrap();
            if page.is_empty() {
                return all;
            }
            all.extend(page);
        }
    }

    pub(super) async fn holder(&self, key: &UniqueKey) -> Option<String> {
        let holder = self.catalog.lookup_unique(&self.name, key).await.unwrap();
        holder.map(|holder| holder.to_string())
    }

    /// Everything along a path, in pages of `limit`, and whether the order of
    /// the path is that of the records.
    pub(super) async fn walk(&self, find: &Find) -> (Vec<(Position, VersionRow)>, bool) {
        let mut all = Vec::new();
        let mut next = find.after.clone();
        for _ in 0..10_000 {
            let find = Find {
                after: next,
                ..find.clone()
            };
            let found = self.catalog.find(&self.name, &find).await.unwrap();
            assert!(found.rows.len() <= find.limit, "a page over its limit");
            all.extend(found.rows);
            next = found.next;
            if next.is_none() {
                return (all, found.multi);
            }
        }
        panic!("a path without end: {find:?}");
    }

    /// The ids along a path.
    pub(super) async fn ids(&self, find: &Find) -> Vec<String> {
        let (found, _) = self.walk(find).await;
        found.iter().map(|(_, row)| row.id.to_string()).collect()
    }
}

/// Every newest version along a path, ascending.
pub(super) fn along(access: Access) -> Find {
    Find {
        cut: None,
        access,
        direction: Direction::Ascending,
        also: Vec::new(),
        after: None,
        limit: 1000,
        bodies: Bodies::Omit,
    }
}

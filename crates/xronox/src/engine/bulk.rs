//! What writes of many records have in common: they go through the one write
//! path in chunks, with one outcome each.

use std::time::Instant;

use serde_json::Value;
use xronox_model::{Attempt, Imported, Lineage, Op, RecordId, SystemChange};
use xronox_store::{Expect, Indexes, Mutation, Presence};

use crate::{
    Error, ErrorKind,
    collection::Shared,
    engine::{
        attribution::Attribution,
        committer::MAX_BATCH_BYTES,
        draft::Draft,
        files::{Known, refers},
        prepare::Canonical,
        scope::Scope,
    },
    storage::Storage,
};

/// Records prepared and queued together, and bytes of their documents.
pub(super) const CHUNK: usize = 250;
pub(super) const CHUNK_BYTES: usize = 2 * 1024 * 1024;
const _: () = assert!(CHUNK_BYTES <= MAX_BATCH_BYTES);
/// Chunks under way at a time.
pub(super) const CHUNKS_AHEAD: usize = 4;
/// Records looked up, and bodies put, at a time.
pub(super) const AHEAD: usize = 32;
/// How often a record is tried again because others were at it too.
pub(super) const MAX_TRIES: u32 = 100;

/// One record of a bulk write.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) position: u64,
    pub(super) id: Option<RecordId>,
    pub(super) document: Canonical,
    /// Of the record, if it is new.
    pub(super) lineage: Lineage,
    pub(super) imported: Option<Imported>,
    /// Whether who gave it must not see what is hidden.
    pub(super) veiled: bool,
}

impl Shared {
    /// What writes one of them.
    pub(super) async fn bulk_mutation(
        &self,
        attribution: &Attribution,
        item: &Item,
        id: &RecordId,
        known: bool,
        indexes: &Indexes,
    ) -> Result<(Mutation, Option<Instant>), Error> {
        let mut expect = Expect::only(if known {
            Presence::Live
        } else {
            Presence::Absent
        });
        let finished;
        let mut document = &item.document;
        if self.keeps() || refers(&document.document) {
            (finished, expect.attempt) = if known {
                Box::pin(self.keeping(id, item)).await?
            } else {
                let new = document.document.clone();
                let known = Known::default();
                (self.rules.canonical(new, known, item.veiled)?, None)
            };
            document = &finished;
            if self.hides() {
                self.rules.demand_veiled(&document.document)?;
            } else {
                self.rules.demand(&document.document)?;
            }
        }
        let draft = Draft {
            id,
            op: if known { Op::Update } else { Op::Create },
            expect,
            attribution,
            change: SystemChange {
                function_ids: Vec::new(),
                lineage: item.lineage.clone(),
                imported: item.imported.clone(),
            },
            idempotency: None,
            skip_unchanged: true,
            offered: None,
            scope: Scope::EVERYTHING,
        };
        let attempt = Storage::new_attempt();
        let prepared = self.prepare(document, indexes, id, 0, attempt).await?;
        let put_at = prepared.put_at;
        Ok((self.append_prepared(&draft, attempt, prepared), put_at))
    }

    /// What a caller gives as a document, whole unless it may have to keep
    /// something of what its record is.
    pub(super) fn taken(&self, given: Value) -> Result<Canonical, Error> {
        if self.keeps() {
            Ok(Canonical::unfinished(given)?)
        } else {
            self.rules.accept(given, Known::default(), false)
        }
    }

    /// The document with the hidden fields and the files that the record has
    /// now, and the version of which that is true.
    async fn keeping(
        &self,
        id: &RecordId,
        item: &Item,
    ) -> Result<(Canonical, Option<Attempt>), Error> {
        let (document, veiled) = (&item.document, item.veiled);
        match self.expected(id).await {
            Ok(expected) => {
                let mut kept = document.document.clone();
                self.rules.view.keep(&mut kept, &expected.document)?;
                let files = Known::of(&expected.files);
                let kept = self.rules.canonical(kept, files, veiled)?;
                Ok((kept, Some(expected.attempt)))
            }
            // The catalog says so too, unless the record comes back meanwhile:
            // and then it is no version that was seen here.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Deleted) => {
                let new = document.document.clone();
                let new = self.rules.canonical(new, Known::default(), veiled)?;
                Ok((new, Some(Storage::new_attempt())))
            }
            Err(error) => Err(error),
        }
    }
}

//! What the preconditions of a mutation say, given the rows it meets.
//!
//! Every backend rules by these functions, so that all of them agree: it
//! fetches the rows, asks, and stores what comes out. What needs the rest of
//! the collection (idempotency keys before, unique keys after, groups) stays
//! with the backend.

use std::collections::{BTreeSet, HashSet};

use xronox_model::{
    ALWAYS_INDEXED, Body, CollectionName, File, IndexKeys, IndexSpec, Location, Op, Path,
    SystemFields, Timestamp, VersionRow, is_document_field, same_files,
};

use crate::{
    Append, Batch, Capabilities, Indexes, Mutation, NewBody, Presence, Purge, Refusal, StoreError,
};

/// What becomes of a record's newest row when another one follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Succession {
    /// It stays, valid until then.
    Kept,
    /// It stays as a [stub](VersionRow::into_stub), valid until then.
    Stub,
    /// It goes, and the stub at this `cv` is valid until then.
    Gone {
        /// The `cv` of the stub.
        stub: u64,
    },
}

impl Succession {
    /// What becomes of `newest` when `row` follows: see [`Append::newest_only`].
    pub fn of(newest: &VersionRow, row: &VersionRow) -> Self {
        match newest.newest_only_since {
            Some(since) if row.newest_only_since == Some(since) => {
                if newest.cv == since {
                    Self::Stub
                } else {
                    Self::Gone { stub: since }
                }
            }
            _ => Self::Kept,
        }
    }
}

/// What becomes of an [`Append`] whose preconditions hold.
#[derive(Debug, Clone, PartialEq)]
pub enum Ruling {
    /// It would change nothing.
    Unchanged,
    /// This is the row to add, if nobody else holds its unique keys.
    Add(Box<VersionRow>),
}

impl Append {
    /// The `ov` of the version that the body comes from, if from one.
    pub fn source(&self, newest: Option<&VersionRow>) -> Option<u64> {
        match &self.body {
            NewBody::Given(_) => None,
            NewBody::OfNewest => newest.map(|newest| newest.ov),
            NewBody::OfVersion(ov) => Some(*ov),
        }
    }

    /// Rules on this mutation as the commit `cv` at `at`.
    ///
    /// `newest` is the newest row of the record and `source` the one at
    /// [`source`](Self::source), where there are such rows. Inline bytes are
    /// copied from `source` if it brings them.
    ///
    /// # Errors
    ///
    /// The first [`Refusal`] in this order: presence, expected version, the
    /// version it goes on from, source of the body, keys.
    pub fn rule(
        &self,
        newest: Option<&VersionRow>,
        source: Option<&VersionRow>,
        indexes: &Indexes,
        cv: u64,
        at: Timestamp,
    ) -> Result<Ruling, Refusal> {
        self.admit(newest)?;
        let body = self.body_from(newest, source)?;
        let keys = self.keys_from(source, indexes)?;
        let (source, restored_from) = match self.body {
            NewBody::OfVersion(ov) => (source.map(|source| &source.system), Some(ov)),
            NewBody::Given(_) | NewBody::OfNewest => (None, None),
        };
        let previous = newest
            .filter(|newest| newest.op != Op::Purge)
            .map(|newest| &newest.system);
        let mut row = VersionRow {
            id: self.id.clone(),
            ov: newest.map_or(0, |newest| newest.ov + 1),
            cv,
            op: self.op,
            at,
            to_cv: None,
            actor: self.actor.clone(),
            on_behalf_of: self.on_behalf_of.clone(),
            reason: self.reason.clone(),
            system: SystemFields::next(
                self.op,
                at,
                self.actor.as_ref(),
                &self.change,
                previous,
                source,
            ),
            attempt: self.attempt,
            body: Some(body),
            restored_from,
            prev_hash: newest.map(VersionRow::hash),
            keys,
            pruned: None,
            newest_only_since: self.newest_only.then(|| {
                let before = newest.and_then(|newest| newest.newest_only_since);
                before.unwrap_or(cv)
            }),
        };
        if self.skip_unchanged && newest.is_some_and(|newest| unchanged(newest, &row)) {
            return Ok(Ruling::Unchanged);
        }
        add_system_keys(&mut row, indexes);
        Ok(Ruling::Add(Box::new(row)))
    }

    fn admit(&self, newest: Option<&VersionRow>) -> Result<(), Refusal> {
        let there = newest.filter(|newest| newest.op != Op::Purge);
        match (self.expect.state, there) {
            (Presence::Absent, Some(_)) => return Err(Refusal::AlreadyExists),
            (Presence::Live | Presence::Present, None) => return Err(Refusal::NotFound),
            (Presence::Live, Some(row)) if row.system.deleted() => return Err(Refusal::Deleted),
            _ => {}
        }
        expect_ov(self.expect.ov, newest)?;
        let Some(predecessor) = self.expect.attempt else {
            return Ok(());
        };
        match newest {
            Some(newest) if newest.attempt == predecessor => Ok(()),
            Some(_) => Err(Refusal::Overtaken),
            None => Err(Refusal::NotFound),
        }
    }

    fn body_from(
        &self,
        newest: Option<&VersionRow>,
        source: Option<&VersionRow>,
    ) -> Result<Body, Refusal> {
        if let NewBody::Given(body) = &self.body {
            return Ok(body.clone());
        }
        match (source, self.source(newest), newest) {
            (Some(source), ..) => source.body.clone().ok_or(Refusal::Pruned),
            (None, Some(ov), Some(newest)) if ov <= newest.ov => Err(Refusal::Pruned),
            _ => Err(Refusal::NotFound),
        }
    }

    fn keys_from(
        &self,
        source: Option<&VersionRow>,
        indexes: &Indexes,
    ) -> Result<IndexKeys, Refusal> {
        // A key that the system fields may have had a hand in does not carry
        // over to another version.
        if self.keys.is_none() && indexes.shared_fields().next().is_some() {
            return Err(Refusal::KeysNeeded);
        }
        let given = self.keys.as_ref().or(source.map(|source| &source.keys));
        let none = IndexKeys::default();
        document_keys(given.unwrap_or(&none), indexes).ok_or(Refusal::KeysNeeded)
    }
}

/// Those of the keys that a document decides; `None` if one is lacking.
fn document_keys(given: &IndexKeys, indexes: &Indexes) -> Option<IndexKeys> {
    let keyed = |field: &Path| Some((field.clone(), given.get(field)?.clone()));
    let mut keys = indexes
        .document_fields()
        .map(keyed)
        .collect::<Option<IndexKeys>>()?;
    for (field, given) in indexes.shared_fields().filter_map(keyed) {
        keys.insert(field, given);
    }
    Some(keys)
}

fn unchanged(newest: &VersionRow, row: &VersionRow) -> bool {
    fn files(row: &VersionRow) -> &[File] {
        row.body.as_ref().map_or(&[], |body| &body.files)
    }
    let content = |row: &VersionRow| row.body.as_ref().map(|body| body.sha256);
    newest.op != Op::Purge
        && newest.system.deleted() == row.system.deleted()
        && content(newest) == content(row)
        && same_files(files(newest), files(row))
        && newest.system.function_ids == row.system.function_ids
        && newest.system.lineage == row.system.lineage
        && newest.system.imported == row.system.imported
}

fn expect_ov(expected: Option<u64>, newest: Option<&VersionRow>) -> Result<(), Refusal> {
    let Some(expected) = expected else {
        return Ok(());
    };
    let actual = newest.ok_or(Refusal::NotFound)?.ov;
    if expected == actual {
        Ok(())
    } else {
        Err(Refusal::Conflict { expected, actual })
    }
}

impl Purge {
    /// The PURGE row of this mutation as the commit `cv` at `at`; `newest` is
    /// the newest row of the record.
    ///
    /// # Errors
    ///
    /// [`Refusal::NotFound`] and [`Refusal::Conflict`].
    pub fn rule(
        &self,
        newest: Option<&VersionRow>,
        cv: u64,
        at: Timestamp,
    ) -> Result<VersionRow, Refusal> {
        let newest = newest
            .filter(|newest| newest.op != Op::Purge)
            .ok_or(Refusal::NotFound)?;
        expect_ov(self.expect_ov, Some(newest))?;
        Ok(VersionRow {
            id: self.id.clone(),
            ov: newest.ov + 1,
            cv,
            op: Op::Purge,
            at,
            to_cv: None,
            actor: self.actor.clone(),
            on_behalf_of: self.on_behalf_of.clone(),
            reason: self.reason.clone(),
            system: SystemFields {
                inserted_at: newest.system.inserted_at,
                deleted_at: Some(at),
                function_ids: Vec::new(),
                lineage: xronox_model::Lineage::default(),
                creator: None,
                updater: self.actor.clone(),
                imported: None,
            },
            attempt: self.attempt,
            body: None,
            restored_from: None,
            prev_hash: Some(newest.hash()),
            keys: IndexKeys::default(),
            pruned: None,
            newest_only_since: None,
        })
    }
}

impl Indexes {
    /// The indexed fields that the document alone decides: the keys of every
    /// version that is prepared must hold them.
    pub fn document_fields(&self) -> impl Iterator<Item = &Path> {
        self.fields().filter(|field| is_document_field(field))
    }

    /// The indexed fields that the document decides where it has them, and
    /// the system fields where not.
    fn shared_fields(&self) -> impl Iterator<Item = &Path> {
        self.fields()
            .filter(|field| !is_document_field(field) && field.root() != "_system")
    }

    /// The indexed fields that the system fields have a hand in;
    /// [`ALWAYS_INDEXED`] ones are not among them.
    fn system_fields(&self) -> impl Iterator<Item = &Path> {
        self.fields().filter(|field| !is_document_field(field))
    }

    /// The indexed fields, but for [`ALWAYS_INDEXED`] ones.
    pub fn fields(&self) -> impl Iterator<Item = &Path> {
        let plain = self.list.iter().filter(|index| !index.spec.unique);
        plain.flat_map(|index| &index.spec.fields)
    }

    /// The index of this name.
    pub fn get(&self, name: &str) -> Option<&crate::Index> {
        self.list.iter().find(|index| index.spec.name() == name)
    }

    /// The index that serves an access path along `field`.
    pub fn of_field(&self, field: &Path) -> Option<&crate::Index> {
        let serves = |spec: &IndexSpec| !spec.unique && spec.fields == [field.clone()];
        self.list.iter().find(|index| serves(&index.spec))
    }
}

/// Whether a field is one of [`ALWAYS_INDEXED`].
pub fn always_indexed(field: &Path) -> bool {
    field.root() == "_system" && ALWAYS_INDEXED.contains(&field.to_string().as_str())
}

/// Checks that an index can be made.
///
/// # Errors
///
/// [`StoreError::Refused`] if it has no field, or several and is not unique,
/// or if it is one that every collection has.
pub fn check_spec(spec: &IndexSpec) -> Result<(), StoreError> {
    let why = match (spec.unique, spec.fields.as_slice()) {
        (_, []) => "an index needs a field",
        (false, [field]) if always_indexed(field) => "this field is always indexed",
        (false, [_, _, ..]) => "only a unique index has several fields",
        _ => return Ok(()),
    };
    Err(StoreError::Refused(why.into()))
}

/// The refusal of an index that does not exist.
pub fn no_index(name: &str) -> StoreError {
    StoreError::Refused(format!("there is no index `{name}`"))
}

/// Adds the keys that the system fields decide to a row.
pub fn add_system_keys(row: &mut VersionRow, indexes: &Indexes) {
    let system = row.system_keys(indexes.system_fields());
    for (field, keys) in system.iter() {
        row.keys.insert(field.clone(), keys.clone());
    }
}

/// Rules on a row that is taken as it is, as in [`Catalog::append_exact`](crate::Catalog::append_exact):
/// the row to store, still open (`to_cv` is `None`).
///
/// `newest` is the newest row of the record, `last` the `cv` and time of the
/// collection's newest commit.
///
/// # Errors
///
/// [`StoreError::Refused`], saying which rule the row breaks.
pub fn rule_exact(
    mut row: VersionRow,
    newest: Option<&VersionRow>,
    last: Option<(u64, Timestamp)>,
    indexes: &Indexes,
) -> Result<VersionRow, StoreError> {
    let refused = |row: &VersionRow, why: &str| {
        StoreError::Refused(format!(
            "row {} (version {} of {}) {why}",
            row.cv, row.ov, row.id
        ))
    };
    if last.is_some_and(|(cv, _)| row.cv <= cv) {
        return Err(refused(&row, "does not follow on the newest commit"));
    }
    if last.is_some_and(|(_, at)| row.at < at) {
        return Err(refused(&row, "is older than the newest commit"));
    }
    if let Some(newest) = newest {
        let mended = newest.op == Op::Purge
            || row.op == Op::Purge
            || Succession::of(newest, &row) != Succession::Kept;
        if row.ov <= newest.ov || (row.ov > newest.ov + 1 && !mended) {
            return Err(refused(
                &row,
                "does not follow on the record's newest version",
            ));
        }
    }
    if indexes.list.iter().any(|index| index.spec.unique) {
        return Err(StoreError::Refused(
            "a collection with unique indexes takes no exact rows: declare them afterwards".into(),
        ));
    }
    row.to_cv = None;
    if row.body.is_none() {
        row.keys = IndexKeys::default();
        return Ok(row);
    }
    let keys = document_keys(&row.keys, indexes);
    row.keys = keys.ok_or_else(|| refused(&row, "lacks the keys of an indexed field"))?;
    add_system_keys(&mut row, indexes);
    Ok(row)
}

/// Checks that a body can be stored: inline bytes exactly where they belong,
/// and not more than `max_inline`; files never inline.
///
/// # Errors
///
/// [`StoreError::Refused`] otherwise.
pub fn check_body(body: &Body, max_inline: u64) -> Result<(), StoreError> {
    let mut files = body.files.iter().flat_map(File::locations);
    if files.any(|location| *location == Location::Inline) {
        return Err(StoreError::Refused(
            "the files of a record are in object storage".into(),
        ));
    }
    match (&body.location, &body.inline) {
        (Location::Inline, None) => Err(StoreError::Refused(
            "an inline body comes without its bytes".into(),
        )),
        (Location::Object { .. }, Some(_)) => Err(StoreError::Refused(
            "a body in object storage comes with inline bytes".into(),
        )),
        (Location::Inline, Some(bytes)) if bytes.len() as u64 > max_inline => {
            Err(StoreError::Refused(format!(
                "an inline body has at most {max_inline} bytes, this one {}",
                bytes.len()
            )))
        }
        _ => Ok(()),
    }
}

/// Checks what can be said of a commit without looking at any row.
///
/// # Errors
///
/// [`StoreError::Unsupported`] for what takes transactions where there are
/// none, [`StoreError::Refused`] for what breaks the contract.
pub fn check_batches(
    batches: &[(CollectionName, Batch)],
    capabilities: Capabilities,
) -> Result<(), StoreError> {
    let names: BTreeSet<&CollectionName> = batches.iter().map(|(name, _)| name).collect();
    if names.len() < batches.len() {
        return Err(StoreError::Refused(
            "a collection stands in a commit twice".into(),
        ));
    }
    if batches.len() > 1 && !capabilities.transactions {
        return Err(StoreError::Unsupported(
            "commits of several collections".into(),
        ));
    }
    for mutation in batches.iter().flat_map(|(_, batch)| &batch.mutations) {
        if mutation.group().is_some() && !capabilities.transactions {
            return Err(StoreError::Unsupported("groups of mutations".into()));
        }
        match mutation {
            Mutation::Append(append) => {
                if append.op == Op::Purge {
                    return Err(StoreError::Refused("an append cannot purge".into()));
                }
                if let NewBody::Given(body) = &append.body {
                    check_body(body, capabilities.max_inline)?;
                }
            }
            Mutation::Relocate {
                to: Location::Inline,
                ..
            } => {
                return Err(StoreError::Refused(
                    "a body cannot be moved into its row".into(),
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

impl Mutation {
    /// The group it belongs to.
    pub fn group(&self) -> Option<u32> {
        match self {
            Self::Append(append) => append.group,
            Self::Purge(purge) => purge.group,
            Self::Prune { .. } | Self::Relocate { .. } => None,
        }
    }
}

/// The objects that `gone` rows name and no `kept` row does, each once.
pub fn released<'a>(
    gone: impl IntoIterator<Item = &'a VersionRow>,
    kept: impl IntoIterator<Item = &'a VersionRow>,
) -> Vec<Location> {
    let mut passed: HashSet<&Location> = kept.into_iter().flat_map(locations).collect();
    passed.insert(&Location::Inline);
    let gone = gone.into_iter().flat_map(locations);
    gone.filter(|location| passed.insert(location))
        .cloned()
        .collect()
}

fn locations(row: &VersionRow) -> impl Iterator<Item = &Location> {
    row.body.iter().flat_map(Body::locations)
}

impl From<Append> for Mutation {
    fn from(append: Append) -> Self {
        Self::Append(append)
    }
}

impl From<Purge> for Mutation {
    fn from(purge: Purge) -> Self {
        Self::Purge(purge)
    }
}

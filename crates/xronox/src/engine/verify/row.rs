//! Checking one version: its place between its neighbours, its body, its keys.

use std::{collections::HashSet, time::Duration};

use futures::TryStreamExt;
use parking_lot::Mutex;
use serde_json::Value;

use xronox_model::{Direction, IndexKeys, Location, Op, UniqueKey, VersionRow};
use xronox_store::{Blob, Bodies, Indexes, Payloads, StoreError, Which, ruling::add_system_keys};

use super::report::{Found, Rule};
use crate::{
    Error,
    collection::Shared,
    engine::record::{parse, stands},
};

/// How often a version is looked at again because it is changing.
const MAX_LOOKS: u32 = 10;
/// Damage that stands still for so many looks, so far apart, is believed.
const STILL: u32 = 3;
/// Files that are remembered as good.
const MAX_GOOD: usize = 10_000;
const PAUSE: Duration = Duration::from_millis(20);

/// Checks versions of one collection.
pub(super) struct Checker<'a> {
    shared: &'a Shared,
    payloads: Option<Payloads>,
    indexes: Indexes,
    /// Files that are good: most versions have those of the ones before.
    good: Mutex<HashSet<Blob>>,
}

/// What was found out about a version.
#[derive(Debug, Default)]
pub(super) struct Checked {
    pub(super) cv: u64,
    /// How many versions of the record are missing in front of it.
    pub(super) missing: u64,
    /// The length of its body, if that was read.
    pub(super) body: Option<u64>,
    pub(super) damages: Vec<Found>,
}

impl Checked {
    fn add(&mut self, rule: Rule, row: &VersionRow, message: impl Into<String>) {
        self.damages.push(Found::of(rule, message).on(row));
    }

    /// What was read, unless it cannot be: then that is the damage.
    fn read<T>(
        &mut self,
        row: &VersionRow,
        read: Result<T, StoreError>,
    ) -> Result<Option<T>, Error> {
        match read {
            Ok(read) => Ok(Some(read)),
            Err(StoreError::Corrupt(message)) => {
                self.add(Rule::Structure, row, message);
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl<'a> Checker<'a> {
    pub(super) async fn new(shared: &'a Shared, bodies: bool) -> Result<Self, Error> {
        Ok(Self {
            shared,
            payloads: bodies.then(|| shared.database.payloads.without_cache()),
            indexes: shared.database.catalog.indexes(&shared.name).await?,
            good: Mutex::default(),
        })
    }

    /// Checks a version. Writers go on meanwhile, so what looks damaged is
    /// looked at again until it stands still.
    pub(super) async fn check(&self, mut row: VersionRow) -> Result<Checked, Error> {
        let (catalog, name) = (&self.shared.database.catalog, &self.shared.name);
        let bodies = match self.payloads {
            Some(_) => Bodies::Inline,
            None => Bodies::Omit,
        };
        let mut indexes = self.indexes.clone();
        let (mut looks, mut still) = (0, 0);
        loop {
            let mut checked = self.look(&row, &indexes).await?;
            looks += 1;
            if checked.damages.is_empty() || looks == MAX_LOOKS {
                return Ok(checked);
            }
            let again = catalog
                .version(name, &row.id, Which::Ov(row.ov), bodies)
                .await;
            let Some(again) = checked.read(&row, again)? else {
                return Ok(checked);
            };
            let indexes_now = catalog.indexes(name).await?;
            match again {
                // A commit that is not one step (a server without transactions)
                // may have come half way.
                Some(again) if again == row && indexes_now == indexes => {
                    still += 1;
                    if still == STILL {
                        return Ok(checked);
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                Some(again) if again.cv == row.cv => row = again,
                None if self.removed(&row).await? => {
                    return Ok(Checked {
                        cv: row.cv,
                        ..Checked::default()
                    });
                }
                _ => {
                    checked.add(Rule::Structure, &row, "cannot be found by its record");
                    return Ok(checked);
                }
            }
            indexes = indexes_now;
        }
    }

    /// Whether a version that was there just now may be gone.
    async fn removed(&self, row: &VersionRow) -> Result<bool, Error> {
        let catalog = &self.shared.database.catalog;
        let later = catalog
            .history(
                &self.shared.name,
                &row.id,
                Some(row.ov),
                Direction::Ascending,
                1,
            )
            .await?;
        let since = |later: &VersionRow| later.newest_only_since;
        Ok(later.first().is_some_and(|later| {
            later.op == Op::Purge || since(later).is_some_and(|since| since < row.cv)
        }))
    }

    async fn look(&self, row: &VersionRow, indexes: &Indexes) -> Result<Checked, Error> {
        let mut checked = Checked {
            cv: row.cv,
            ..Checked::default()
        };
        self.before(row, &mut checked).await?;
        self.after(row, &mut checked).await?;
        self.content(row, indexes, &mut checked).await?;
        Ok(checked)
    }

    /// The version of the record in front of this one.
    async fn previous(&self, row: &VersionRow) -> Result<Option<VersionRow>, StoreError> {
        let Some(before) = row.ov.checked_sub(1) else {
            return Ok(None);
        };
        let catalog = &self.shared.database.catalog;
        let found = catalog
            .history(
                &self.shared.name,
                &row.id,
                Some(before),
                Direction::Descending,
                1,
            )
            .await?;
        Ok(found.into_iter().next())
    }

    /// How many versions are missing in front of this one.
    pub(super) async fn missing_before(&self, row: &VersionRow) -> Result<u64, Error> {
        match self.previous(row).await {
            Ok(previous) => Ok(missing(previous.as_ref(), row)),
            Err(StoreError::Corrupt(_)) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    async fn before(&self, row: &VersionRow, checked: &mut Checked) -> Result<(), Error> {
        let previous = self.previous(row).await;
        let Some(previous) = checked.read(row, previous)? else {
            return Ok(());
        };
        checked.missing = missing(previous.as_ref(), row);
        let gap = checked.missing > 0;
        let purged = previous
            .as_ref()
            .is_none_or(|previous| previous.op == Op::Purge);
        let stub = previous
            .as_ref()
            .is_some_and(|previous| previous.stands_for_those_before(row));
        if gap && !stub && !(purged && row.op == Op::Purge) {
            let count = checked.missing;
            let message = match count {
                1 => format!("version {} is missing", row.ov - 1),
                _ => format!("versions {} to {} are missing", row.ov - count, row.ov - 1),
            };
            checked.add(Rule::OvGap, row, message);
        }
        let Some(previous) = previous else {
            if row.prev_hash.is_some() != gap && row.pruned.is_none() {
                let message = "the hash of a previous version goes with a previous version";
                checked.add(Rule::PrevHash, row, message);
            }
            return Ok(());
        };
        let follows = match previous.to_cv {
            // What a purge leaves was followed by something that is gone too.
            Some(to_cv) if gap && !stub => previous.cv < to_cv && to_cv <= row.cv,
            to_cv => previous.cv < row.cv && to_cv == Some(row.cv),
        };
        if !follows {
            let message = format!(
                "version {} of the record is valid from {} until {}, and this one follows it",
                previous.ov,
                previous.cv,
                previous
                    .to_cv
                    .map_or_else(|| "now".to_owned(), |to_cv| to_cv.to_string()),
            );
            checked.add(Rule::Interval, row, message);
        }
        if !gap && row.pruned.is_none() && row.prev_hash != Some(previous.hash()) {
            let message = format!(
                "version {} of the record is not what this one followed on",
                previous.ov
            );
            checked.add(Rule::PrevHash, row, message);
        }
        Ok(())
    }

    async fn after(&self, row: &VersionRow, checked: &mut Checked) -> Result<(), Error> {
        let (catalog, name) = (&self.shared.database.catalog, &self.shared.name);
        let newest = catalog
            .history(name, &row.id, None, Direction::Descending, 1)
            .await;
        let Some(newest) = checked.read(row, newest)? else {
            return Ok(());
        };
        let newest = newest.first().map(|newest| newest.cv);
        match row.to_cv {
            Some(to_cv) if to_cv <= row.cv => {
                let message = format!("valid until {to_cv}, where it was not yet committed");
                checked.add(Rule::Interval, row, message);
            }
            Some(to_cv) if newest == Some(row.cv) => {
                let message =
                    format!("the newest version of the record, but valid only until {to_cv}");
                checked.add(Rule::HeadNotNewest, row, message);
            }
            Some(_) => {}
            None if newest != Some(row.cv) => {
                checked.add(
                    Rule::HeadNotNewest,
                    row,
                    "open, but not the newest of the record",
                );
            }
            None => {
                let head = catalog.head(name, &row.id, Bodies::Omit).await;
                if let Some(head) = checked.read(row, head)?
                    && head.as_ref().map(|head| head.cv) != Some(row.cv)
                {
                    let message = "the newest version of the record, but not its head";
                    checked.add(Rule::HeadNotNewest, row, message);
                }
            }
        }
        Ok(())
    }

    async fn content(
        &self,
        row: &VersionRow,
        indexes: &Indexes,
        checked: &mut Checked,
    ) -> Result<(), Error> {
        let Some(body) = &row.body else {
            if row.op != Op::Purge && row.pruned.is_none() {
                checked.add(Rule::MissingBody, row, "names no body");
            }
            return Ok(());
        };
        let Some(payloads) = &self.payloads else {
            return Ok(());
        };
        let bytes = match payloads.read(body).await {
            Ok(bytes) => bytes,
            Err(StoreError::Corrupt(message)) => {
                let there = match &body.location {
                    Location::Inline => true,
                    location @ Location::Object { .. } => payloads.exists(location).await?,
                };
                let rule = if there {
                    Rule::CorruptBody
                } else {
                    Rule::MissingBody
                };
                checked.add(rule, row, message);
                return Ok(());
            }
            Err(StoreError::Refused(message)) => {
                // An inline body that is not there, or one in a space that is not.
                checked.add(Rule::MissingBody, row, message);
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        checked.body = Some(bytes.len() as u64);
        let Ok(document) = parse(&bytes) else {
            checked.add(
                Rule::CorruptBody,
                row,
                "the body has a good hash, but is not JSON",
            );
            return Ok(());
        };
        self.files(row, &document, payloads, checked).await?;
        let mut expected = VersionRow {
            keys: IndexKeys::of_body(&document, indexes.fields()),
            ..row.clone()
        };
        add_system_keys(&mut expected, indexes);
        for index in indexes.list.iter().filter(|index| index.ready) {
            if index.spec.unique {
                // What cannot be a key is not bound by uniqueness.
                let key = UniqueKey::of(&document, &index.spec).ok().flatten();
                let Some(key) = key.filter(|_| row.to_cv.is_none() && row.live()) else {
                    continue;
                };
                let (catalog, name) = (&self.shared.database.catalog, &self.shared.name);
                let holder = catalog.lookup_unique(name, &key).await;
                if let Some(holder) = checked.read(row, holder)?
                    && holder.as_ref() != Some(&row.id)
                {
                    let message = match holder {
                        Some(holder) => format!("{holder} holds its key of `{}`", key.index),
                        None => format!("does not hold its key of `{}`", key.index),
                    };
                    checked.add(Rule::UniqueKey, row, message);
                }
            } else {
                let keys = index.spec.fields.iter();
                let differs = |field| row.keys.get(field) != expected.keys.get(field);
                for field in keys.filter(|field| differs(field)) {
                    let message = format!("the stored keys of `{field}` are not the document's");
                    checked.add(Rule::IndexKeys, row, message);
                }
            }
        }
        Ok(())
    }
}

impl Checker<'_> {
    /// Checks the files of a version.
    async fn files(
        &self,
        row: &VersionRow,
        document: &Value,
        payloads: &Payloads,
        checked: &mut Checked,
    ) -> Result<(), Error> {
        for file in row.body.iter().flat_map(|body| &body.files) {
            let path = &file.path;
            if !stands(document, file) {
                let message = format!("`{path}` of the document is not the reference of its file");
                checked.add(Rule::CorruptFile, row, message);
            }
            let text = file.text.as_ref().map(Blob::from);
            for blob in [Some(Blob::from(file)), text].into_iter().flatten() {
                if self.good.lock().contains(&blob) {
                    continue;
                }
                let read = async {
                    let mut bytes = payloads.stream(&blob)?;
                    while bytes.try_next().await?.is_some() {}
                    Ok(())
                };
                match read.await {
                    Ok(()) => {
                        let mut good = self.good.lock();
                        if good.len() >= MAX_GOOD {
                            good.clear();
                        }
                        good.insert(blob);
                    }
                    Err(StoreError::Corrupt(message)) => {
                        let there = payloads.exists(&blob.location).await?;
                        let rule = if there {
                            Rule::CorruptFile
                        } else {
                            Rule::MissingFile
                        };
                        checked.add(rule, row, message);
                    }
                    Err(StoreError::Refused(message)) => {
                        checked.add(Rule::MissingFile, row, message);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }
}

/// How many versions of a record are missing between two.
fn missing(previous: Option<&VersionRow>, row: &VersionRow) -> u64 {
    let expected = previous.map_or(0, |previous| previous.ov + 1);
    row.ov.saturating_sub(expected)
}

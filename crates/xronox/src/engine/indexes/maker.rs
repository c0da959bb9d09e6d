//! Declaring, filling and opening indexes.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use serde_json::Value;
use xronox_model::{
    CollectionName, Direction, FieldKeys, IndexKeys, IndexSpec, Invalid, Path, RecordId, UniqueKey,
    VersionRow,
};
use xronox_store::{Access, Bodies, Find, Indexes, StoreError, Taken};

use super::State;
use crate::{
    Error, ErrorKind,
    engine::{
        progress::Listener,
        query::body::{READ_AHEAD, Stretch, read_body},
        record::parse,
    },
    storage::Storage,
};

/// A collection with no more commits than this is filled while the query waits.
const MAX_WAITED_FOR: u64 = 10_000;
/// Keys of long arrays are handed over before they fill the memory.
const MAX_KEYS_HELD: usize = 20_000;
/// How often an index is begun again that another process removes meanwhile.
const MAX_TRIES: usize = 3;

/// Makes indexes, also when nobody waits for them.
#[derive(Debug, Clone)]
pub(super) struct Maker {
    pub(super) database: Arc<Storage>,
    pub(super) name: CollectionName,
    pub(super) state: Arc<State>,
}

impl Maker {
    pub(super) async fn fresh(&self) -> Result<Indexes, Error> {
        Ok(self.database.catalog.indexes(&self.name).await?)
    }

    /// Makes indexes now if the collection is small, else in the background.
    /// Indexes that cannot be made are no error: queries go without.
    pub(super) async fn make_by_and_by(&self, mut fields: Vec<Path>) -> Result<(), Error> {
        fields.retain(|field| !self.state.given_up.lock().contains(field));
        if fields.is_empty() {
            return Ok(());
        }
        let newest = self.database.catalog.newest(&self.name).await?;
        if newest.is_none_or(|newest| newest.cv < MAX_WAITED_FOR) {
            let made = self.make(&fields, &mut Listener::default()).await;
            return made.or_else(|error| self.give_up(&fields, error));
        }
        let begun: Vec<Path> = {
            let mut under_way = self.state.under_way.lock();
            fields
                .into_iter()
                .filter(|field| under_way.insert(field.clone()))
                .collect()
        };
        if begun.is_empty() {
            return Ok(());
        }
        let maker = self.clone();
        // Kept as long, so that whoever asks meanwhile knows of it.
        let shared = self.database.shared(&self.name);
        tokio::spawn(async move {
            let made = maker.make(&begun, &mut Listener::default()).await;
            if let Err(error) = made.or_else(|error| maker.give_up(&begun, error)) {
                tracing::debug!(collection = %maker.name, %error, "an index is left for later");
            }
            maker
                .state
                .under_way
                .lock()
                .retain(|field| !begun.contains(field));
            drop(shared);
        });
        Ok(())
    }

    fn give_up(&self, fields: &[Path], error: Error) -> Result<(), Error> {
        // Who reads before it is somewhere else goes without.
        if error.is_sealed() {
            return Ok(());
        }
        if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Closed) {
            return Err(error);
        }
        tracing::warn!(collection = %self.name, ?fields, %error, "no index could be made");
        self.state.given_up.lock().extend(fields.iter().cloned());
        Ok(())
    }

    /// Declares, fills and opens the indexes of these fields.
    pub(super) async fn make(
        &self,
        fields: &[Path],
        progress: &mut Listener<'_>,
    ) -> Result<(), Error> {
        let _turn = self.state.making.lock().await;
        let catalog = &self.database.catalog;
        let mut indexes = self.fresh().await?;
        for field in fields {
            // Also if it is declared: whoever did that may not have come further.
            if !indexes.of_field(field).is_some_and(|index| index.ready) {
                indexes = catalog
                    .add_index(&self.name, &IndexSpec::field(field.clone()))
                    .await?;
            }
        }
        let lacking = |field: &&Path| !indexes.of_field(field).is_some_and(|index| index.ready);
        let lacking: Vec<Path> = fields.iter().filter(lacking).cloned().collect();
        self.state.remember(indexes);
        if lacking.is_empty() {
            return Ok(());
        }
        self.fill(&lacking, progress).await?;
        for field in lacking {
            let name = IndexSpec::field(field).name();
            let indexes = catalog.index_ready(&self.name, &name).await?;
            self.state.remember(indexes);
        }
        Ok(())
    }

    /// Adds keys to the rows from before the indexes were declared, in the
    /// order of the commits.
    async fn fill(&self, fields: &[Path], progress: &mut Listener<'_>) -> Result<(), Error> {
        let catalog = &self.database.catalog;
        let Some(until) = catalog.newest(&self.name).await?.map(|newest| newest.cv) else {
            return Ok(());
        };
        let mut from = 0;
        let mut stretch = Stretch::starting(64, 500);
        while from <= until {
            let rows = catalog
                .rows(&self.name, from, stretch.rows(), Bodies::Inline)
                .await?;
            let Some(last) = rows.last() else { break };
            from = last.cv + 1;
            stretch.saw(&rows);
            let mut keyed =
                stream::iter(rows.into_iter().map(|row| self.keys_lacking(row, fields)))
                    .buffered(READ_AHEAD);
            let mut gathered = Gathered::new(fields.len());
            while let Some((cv, keys)) = keyed.try_next().await? {
                gathered.add(cv, keys);
                if gathered.held > MAX_KEYS_HELD {
                    self.hand_over(&mut gathered, fields).await?;
                }
            }
            self.hand_over(&mut gathered, fields).await?;
            progress.tell(Some(&self.name), from.min(until + 1), Some(until + 1));
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn hand_over(&self, gathered: &mut Gathered, fields: &[Path]) -> Result<(), Error> {
        for (field, rows) in fields.iter().zip(&mut gathered.rows) {
            if !rows.is_empty() {
                let rows = std::mem::take(rows);
                self.database
                    .catalog
                    .fill_index(&self.name, field, rows)
                    .await?;
            }
        }
        gathered.held = 0;
        Ok(())
    }

    /// The keys of those fields that a row has none of yet.
    async fn keys_lacking(
        &self,
        row: VersionRow,
        fields: &[Path],
    ) -> Result<(u64, Vec<Option<FieldKeys>>), Error> {
        let cv = row.cv;
        let none = || (cv, fields.iter().map(|_| None).collect());
        let lacks = |field: &&Path| row.keys.get(field).is_none();
        if row.body.is_none() || !fields.iter().any(|field| lacks(&field)) {
            return Ok(none());
        }
        let of_body = |field: &Path| field.root() != "_system";
        let (row, document) = if fields.iter().filter(lacks).any(of_body) {
            match read_body(&self.database, &self.name, row).await? {
                Some((row, bytes)) => (row, parse(&bytes)?),
                // It was removed meanwhile.
                None => return Ok(none()),
            }
        } else {
            (row, Value::Null)
        };
        let mut keys = IndexKeys::of_body(&document, fields);
        for (field, of_system) in row.system_keys(fields).iter() {
            if keys.get(field).is_none() {
                keys.insert(field.clone(), of_system.clone());
            }
        }
        let lacking = fields.iter().map(|field| {
            let lacks = row.keys.get(field).is_none();
            keys.get(field).filter(|_| lacks).cloned()
        });
        Ok((cv, lacking.collect()))
    }

    /// Declares, fills and opens a unique index.
    pub(super) async fn make_unique(
        &self,
        spec: &IndexSpec,
        progress: &mut Listener<'_>,
    ) -> Result<(), Error> {
        let _turn = self.state.making.lock().await;
        let catalog = &self.database.catalog;
        let name = spec.name();
        let mut tries = 0;
        loop {
            let indexes = catalog.add_index(&self.name, spec).await?;
            if self
                .state
                .remember(indexes)
                .get(&name)
                .is_some_and(|index| index.ready)
            {
                return Ok(());
            }
            tries += 1;
            let made = match self.reserve(spec, progress).await {
                Ok(()) => catalog
                    .index_ready(&self.name, &name)
                    .await
                    .map_err(Failure::Store),
                Err(failure) => Err(failure),
            };
            match made {
                Ok(indexes) => {
                    self.state.remember(indexes);
                    return Ok(());
                }
                // Another process found it impossible and has removed it: see
                // for ourselves why.
                Err(Failure::Store(StoreError::Refused(_))) if tries < MAX_TRIES => {}
                Err(Failure::Store(error)) => return Err(error.into()),
                Err(Failure::Other(error)) => return Err(error),
                Err(Failure::Impossible(error)) => {
                    catalog.drop_index(&self.name, &name).await?;
                    self.state.remember(self.fresh().await?);
                    return Err(error);
                }
            }
        }
    }

    /// Gives every live record its unique key.
    async fn reserve(&self, spec: &IndexSpec, progress: &mut Listener<'_>) -> Result<(), Failure> {
        let catalog = &self.database.catalog;
        let mut stretch = Stretch::starting(64, 500);
        let (mut after, mut done) = (None, 0);
        loop {
            let find = Find {
                cut: None,
                access: Access::All,
                direction: Direction::Ascending,
                also: Vec::new(),
                after,
                limit: stretch.rows(),
                bodies: Bodies::Inline,
            };
            let found = catalog
                .find(&self.name, &find)
                .await
                .map_err(Failure::Store)?;
            stretch.saw(found.rows.iter().map(|(_, row)| row));
            done += found.rows.len() as u64;
            let rows = found
                .rows
                .into_iter()
                .map(|(_, row)| self.unique_key(row, spec));
            let keys: Vec<Option<_>> = stream::iter(rows)
                .buffered(READ_AHEAD)
                .try_collect()
                .await?;
            let keys = keys.into_iter().flatten().collect();
            let taken = catalog
                .fill_unique(&self.name, keys)
                .await
                .map_err(Failure::Store)?;
            if let Some(taken) = taken.into_iter().next() {
                return Err(Failure::Impossible(not_unique(spec, &taken)));
            }
            progress.tell(Some(&self.name), done, None);
            after = found.next;
            if after.is_none() {
                return Ok(());
            }
            tokio::task::yield_now().await;
        }
    }

    async fn unique_key(
        &self,
        row: VersionRow,
        spec: &IndexSpec,
    ) -> Result<Option<(RecordId, u64, UniqueKey)>, Failure> {
        if !row.live() {
            return Ok(None);
        }
        let read = read_body(&self.database, &self.name, row).await;
        let Some((row, bytes)) = read.map_err(Failure::Other)? else {
            return Ok(None);
        };
        let document = parse(&bytes).map_err(Failure::Other)?;
        match UniqueKey::of(&document, spec) {
            Ok(key) => Ok(key.map(|key| (row.id, row.ov, key))),
            Err(invalid) => {
                let why = format!("{} (in {})", invalid.message(), row.id);
                Err(Failure::Impossible(Invalid::at(invalid.path(), why).into()))
            }
        }
    }
}

/// Why a unique index was not made.
enum Failure {
    Store(StoreError),
    Other(Error),
    /// The records do not allow it.
    Impossible(Error),
}

fn not_unique(spec: &IndexSpec, taken: &Taken) -> Error {
    let fields: Vec<String> = spec
        .fields
        .iter()
        .map(|field| format!("`{field}`"))
        .collect();
    Error::new(
        ErrorKind::AlreadyExists,
        format!(
            "{} cannot be unique: {} and {} hold the same",
            fields.join(" and "),
            taken.holder,
            taken.wanted_by
        ),
    )
}

/// Keys on their way to the catalog, by field.
struct Gathered {
    rows: Vec<Vec<(u64, FieldKeys)>>,
    held: usize,
}

impl Gathered {
    fn new(fields: usize) -> Self {
        Self {
            rows: vec![Vec::new(); fields],
            held: 0,
        }
    }

    fn add(&mut self, cv: u64, keys: Vec<Option<FieldKeys>>) {
        for (rows, keys) in self.rows.iter_mut().zip(keys) {
            if let Some(keys) = keys {
                self.held += keys.keys().len();
                rows.push((cv, keys));
            }
        }
    }
}

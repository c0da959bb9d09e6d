//! Whether what the server keeps of a collection agrees.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use mongodb::{
    ClientSession,
    bson::{Document, doc},
};
use xronox_model::{CollectionName, Op, RecordId, VersionRow};
use xronox_store::StoreError;

use crate::{
    core::Core,
    error::Failure,
    names::Names,
    pen::key_of,
    read::{Query, rows_at},
    row::{Stored, item},
    shape::int,
};

/// Rows looked at in one read. The server reads their bodies too, to see if
/// they are there: half a GB at most.
const ROWS: usize = 500;
/// Keys looked at in one read.
const KEYS: usize = 2000;
/// Successors looked for in one read.
const FOLLOWED: usize = 100;
/// More damages than this are not listed.
const MAX_DAMAGES: usize = 1000;

/// How often damage is looked for, and how far apart, before it is believed.
const LOOKS: usize = 3;
const PAUSE: Duration = Duration::from_millis(100);

/// See [`Catalog::check`](xronox_store::Catalog::check). Each read is bounded
/// by itself, so that a large collection can be checked; what others write
/// between two reads can look wrong, so what looks wrong is looked at again.
pub(crate) async fn check(core: &Core, name: &CollectionName) -> Result<Vec<String>, StoreError> {
    let mut damages = look(core, name).await?;
    for _ in 1..LOOKS {
        if damages.is_empty() {
            break;
        }
        tokio::time::sleep(PAUSE).await;
        let still: HashSet<String> = look(core, name).await?.into_iter().collect();
        damages.retain(|damage| still.contains(damage));
    }
    Ok(damages)
}

async fn look(core: &Core, name: &CollectionName) -> Result<Vec<String>, StoreError> {
    let mut check = Check {
        core,
        name,
        names: Names::of(name),
        damages: Vec::new(),
    };
    let mut from = 0;
    let mut newest = None;
    while let Some(last) = core.db.within(check.rows(from)).await? {
        newest = Some(last);
        if check.damages.len() > MAX_DAMAGES {
            return Ok(check.damages);
        }
        from = last + 1;
    }
    core.db.within(check.counted(newest)).await?;
    let mut after = String::new();
    while let Some(last) = core.db.within(check.keys(&after)).await? {
        after = last;
        if check.damages.len() > MAX_DAMAGES {
            break;
        }
    }
    Ok(check.damages)
}

struct Check<'a> {
    core: &'a Core,
    name: &'a CollectionName,
    names: Names,
    damages: Vec<String>,
}

impl Check<'_> {
    /// Looks at rows from a `cv` on; the last one's, if there were any.
    async fn rows(&mut self, from: u64) -> Result<Option<u64>, Failure> {
        let mut session = self.core.db.session().await?;
        self.core.settled(&mut session, self.name).await?;
        let query = Query::at(doc! { "$gte": int(from) })
            .sorted(doc! { "_id": 1 })
            .at_most(ROWS);
        let rows = self.core.rows(&mut session, self.name, &query).await?;
        let Some(last) = rows.last().map(|stored| stored.row.cv) else {
            return Ok(None);
        };
        self.single_rows(&mut session, from, last).await?;
        // What followed a PURGE row may have been removed since.
        let followed: Vec<&VersionRow> = rows
            .iter()
            .map(|stored| &stored.row)
            .filter(|row| row.to_cv.is_none() || row.op != Op::Purge)
            // Nor is what such a stub stands for.
            .filter(|row| row.pruned.is_none() || row.newest_only_since != Some(row.cv))
            .collect();
        for some in followed.chunks(FOLLOWED) {
            let followers = self.followers(&mut session, some).await?;
            for row in some {
                let follower = followers.get(&(row.id.clone(), row.ov + 1));
                if follower.copied() != row.to_cv {
                    self.damages.push(format!(
                        "row {} ends at {:?}, and its record goes on at {follower:?}",
                        row.cv, row.to_cv
                    ));
                }
            }
        }
        Ok(Some(last))
    }

    /// Where the versions after these are.
    async fn followers(
        &self,
        session: &mut ClientSession,
        rows: &[&VersionRow],
    ) -> Result<HashMap<(RecordId, u64), u64>, Failure> {
        let each = rows
            .iter()
            .map(|row| doc! { "i": item(&row.id), "n": int(row.ov + 1) });
        let query = Query::of(doc! { "$or": each.collect::<Vec<_>>() });
        let found = self.core.rows(session, self.name, &query).await?;
        let place = |stored: Stored| ((stored.row.id, stored.row.ov), stored.row.cv);
        Ok(found.into_iter().map(place).collect())
    }

    /// Looks for rows that are wrong by themselves, from one `cv` to another.
    async fn single_rows(
        &mut self,
        session: &mut ClientSession,
        from: u64,
        to: u64,
    ) -> Result<(), Failure> {
        let there = |yes: bool| doc! { "$exists": yes };
        // Of the body; those of its files have `f`.
        let place = doc! { "$or": [
            { "l.s": there(true), "l.f": there(false) },
            { "l": { "$elemMatch": { "f": there(false) } } },
        ] };
        let wrong = [
            (
                doc! { "h": there(true), "b": there(false), "$nor": [&place] },
                "names an inline body that is not there",
            ),
            (
                doc! { "b": there(true), "$or": [{ "h": there(false) }, place] },
                "has an inline body that it does not name",
            ),
            (
                doc! { "o": there(false), "to": there(false) },
                "is neither its record's newest nor followed by another",
            ),
            (
                doc! { "o": true, "to": there(true) },
                "is its record's newest and yet followed by another",
            ),
        ];
        let among = |filter: Document| {
            let mut among = rows_at(doc! { "$gte": int(from), "$lte": int(to) });
            among.insert("$and", vec![filter]);
            Query::of(among)
        };
        let any: Vec<Document> = wrong.iter().map(|(filter, _)| filter.clone()).collect();
        let any = among(doc! { "$or": any }).at_most(1);
        let found = self.core.documents(session, &self.names, &any).await?;
        if found.is_empty() {
            return Ok(());
        }
        for (filter, what) in wrong {
            let query = among(filter).at_most(100);
            for document in self.core.documents(session, &self.names, &query).await? {
                let cv = crate::read::number(&document, "_id")?;
                self.damages.push(format!("row {cv} {what}"));
            }
        }
        Ok(())
    }

    /// Looks at the counter.
    async fn counted(&mut self, newest: Option<u64>) -> Result<(), Failure> {
        let mut session = self.core.db.session().await?;
        let counter = self.core.counter(&mut session, self.name).await?;
        let counted = counter.and_then(|counter| counter.newest());
        if counted < newest {
            self.damages.push(format!(
                "the counter is at {counted:?}, and the newest row is {newest:?}"
            ));
        }
        Ok(())
    }

    /// Looks at unique keys behind `after`; the last one, if there were any.
    async fn keys(&mut self, after: &str) -> Result<Option<String>, Failure> {
        let mut session = self.core.db.session().await?;
        let mut cursor = self
            .core
            .db
            .db()
            .collection::<Document>(&self.names.keys)
            .find(doc! { "_id": { "$gt": after }, "until": { "$exists": false } })
            .sort(doc! { "_id": 1 })
            .limit(crate::read::limit_of(KEYS))
            .session(&mut session)
            .await?;
        let mut keys = Vec::new();
        while cursor.advance(&mut session).await? {
            keys.push(key_of(cursor.current())?);
        }
        let ids: Vec<_> = keys.iter().map(|(_, id)| item(id)).collect();
        let query = Query::of(doc! { "i": { "$in": ids }, "o": true });
        let rows = self.core.rows(&mut session, self.name, &query).await?;
        let rows: HashMap<&RecordId, &Stored> =
            rows.iter().map(|stored| (&stored.row.id, stored)).collect();
        for (key, id) in &keys {
            let right = rows
                .get(id)
                .is_some_and(|stored| stored.row.live() && stored.unique.contains(key));
            if !right {
                self.damages
                    .push(format!("a unique key is held by {id} without right"));
            }
        }
        Ok(keys.pop().map(|(key, _)| key))
    }
}

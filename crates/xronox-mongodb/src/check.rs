//! Whether what the server keeps of a collection agrees.

use std::collections::HashMap;

use mongodb::{
    ClientSession,
    bson::{Document, RawDocumentBuf, doc},
};
use xronox_model::{CollectionName, Op, RecordId};
use xronox_store::StoreError;

use crate::{
    commit::key_of,
    core::Core,
    error::Failure,
    names::Names,
    read::Query,
    row::{Stored, id_of, item},
    shape::int,
};

/// Rows and keys looked at in one read.
const STRETCH: usize = 2000;
/// More damages than this are not listed.
const MAX_DAMAGES: usize = 1000;

/// See [`Catalog::check`](xronox_store::Catalog::check). Each read is bounded
/// by itself, so that a large collection can be checked.
pub(crate) async fn check(core: &Core, name: &CollectionName) -> Result<Vec<String>, StoreError> {
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
    core.db.within(check.single_rows(newest)).await?;
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
        let query = Query::of(doc! { "_id": { "$gte": int(from) } })
            .sorted(doc! { "_id": 1 })
            .at_most(STRETCH);
        let rows = self.core.rows(&mut session, self.name, &query).await?;
        let ends: Vec<i64> = rows
            .iter()
            .filter_map(|stored| stored.row.to_cv)
            .map(int)
            .collect();
        let successors = self.records_at(&mut session, &ends).await?;
        for Stored { row, .. } in &rows {
            // What followed a PURGE row may have been removed since.
            let Some(to) = row.to_cv.filter(|_| row.op != Op::Purge) else {
                continue;
            };
            if to <= row.cv || successors.get(&to) != Some(&row.id) {
                self.damages.push(format!(
                    "row {} is followed by row {to}, which is not of its record",
                    row.cv
                ));
            }
        }
        Ok(rows.last().map(|stored| stored.row.cv))
    }

    async fn records_at(
        &self,
        session: &mut ClientSession,
        cvs: &[i64],
    ) -> Result<HashMap<u64, RecordId>, Failure> {
        let mut cursor = self
            .core
            .db
            .db()
            .collection::<RawDocumentBuf>(&self.names.ver)
            .find(doc! { "_id": { "$in": cvs } })
            .projection(doc! { "i": 1 })
            .session(&mut *session)
            .await?;
        let mut out = HashMap::new();
        while cursor.advance(&mut *session).await? {
            let document = cursor.current();
            let bad = || crate::row::damaged("i");
            let cv = document.get_i64("_id").map_err(|_| bad())?;
            let id = document.get("i").map_err(|_| bad())?.ok_or_else(bad)?;
            out.insert(u64::try_from(cv).map_err(|_| bad())?, id_of(id)?);
        }
        Ok(out)
    }

    /// Looks for rows that are wrong by themselves, and at the counter.
    async fn single_rows(&mut self, newest: Option<u64>) -> Result<(), Failure> {
        let mut session = self.core.db.session().await?;
        let there = |yes: bool| doc! { "$exists": yes };
        let wrong = [
            (
                doc! { "h": there(true), "l": there(false), "b": there(false) },
                "names an inline body that is not there",
            ),
            (
                doc! { "b": there(true), "$or": [{ "h": there(false) }, { "l": there(true) }] },
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
        for (filter, what) in wrong {
            let query = Query::of(filter).at_most(100);
            for document in self
                .core
                .documents(&mut session, &self.names, &query)
                .await?
            {
                let cv = crate::read::number(&document, "_id")?;
                self.damages.push(format!("row {cv} {what}"));
            }
        }
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
            .find(doc! { "_id": { "$gt": after } })
            .sort(doc! { "_id": 1 })
            .limit(crate::read::limit_of(STRETCH))
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

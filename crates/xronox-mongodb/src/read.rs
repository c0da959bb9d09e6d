//! Reading version rows.

use std::sync::Arc;

use mongodb::{
    ClientSession,
    bson::{Bson, Document, RawBsonRef, RawDocumentBuf, doc},
};
use xronox_model::CollectionName;
use xronox_store::{Bodies, StoreError};

use crate::{
    core::Core,
    error::Failure,
    names::Names,
    row::{self, Stored, damaged},
    shape::Shape,
};

/// The rows that a query of one collection gives.
#[derive(Debug, Default)]
pub(crate) struct Query {
    pub(crate) filter: Document,
    pub(crate) sort: Option<Document>,
    pub(crate) limit: Option<usize>,
    pub(crate) bodies: bool,
    /// The inline body that brings them to so many bytes is the last.
    pub(crate) page_bytes: Option<usize>,
}

impl Query {
    pub(crate) fn of(filter: Document) -> Self {
        Self {
            filter,
            ..Self::default()
        }
    }

    /// Of the rows at some `cv`.
    pub(crate) fn at(cvs: impl Into<Bson>) -> Self {
        Self::of(rows_at(cvs))
    }

    pub(crate) fn sorted(self, sort: Document) -> Self {
        Self {
            sort: Some(sort),
            ..self
        }
    }

    pub(crate) fn at_most(self, limit: usize) -> Self {
        Self {
            limit: Some(limit),
            ..self
        }
    }

    pub(crate) fn up_to_bytes(self, bytes: usize) -> Self {
        Self {
            page_bytes: Some(bytes),
            ..self
        }
    }

    pub(crate) fn with(self, bodies: Bodies) -> Self {
        Self {
            bodies: bodies == Bodies::Inline,
            ..self
        }
    }
}

/// What filters rows by their `cv`: not the [traces](crate::fence) of others.
pub(crate) fn rows_at(cvs: impl Into<Bson>) -> Document {
    doc! { "_id": cvs.into(), "n": { "$exists": true } }
}

/// What leaves inline bodies out.
pub(crate) fn without_bodies() -> Document {
    doc! { "b": 0 }
}

/// A limit as the server takes it. Zero would mean none.
pub(crate) fn limit_of(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX).max(1)
}

/// How many documents the first answer may hold: all of them, if they fit in
/// one message.
pub(crate) fn batch_of(limit: Option<usize>) -> u32 {
    const MOST: u32 = 1 << 20;
    limit.map_or(MOST, |limit| {
        u32::try_from(limit).unwrap_or(MOST).min(MOST) + 1
    })
}

impl Core {
    /// The documents that a query gives, as they are.
    pub(crate) async fn documents(
        &self,
        session: &mut ClientSession,
        names: &Names,
        query: &Query,
    ) -> Result<Vec<RawDocumentBuf>, Failure> {
        if query.limit == Some(0) {
            return Ok(Vec::new());
        }
        let rows = self.db.db().collection::<RawDocumentBuf>(&names.ver);
        let mut find = rows
            .find(query.filter.clone())
            .batch_size(batch_of(query.limit))
            .max_time(self.db.max_time());
        if let Some(sort) = &query.sort {
            find = find.sort(sort.clone());
        }
        if let Some(limit) = query.limit {
            find = find.limit(limit_of(limit));
        }
        if !query.bodies {
            find = find.projection(without_bodies());
        }
        let mut cursor = find.session(&mut *session).await?;
        let (mut out, mut held) = (Vec::new(), 0);
        while query.page_bytes.is_none_or(|most| held < most)
            && cursor.advance(&mut *session).await?
        {
            let document = cursor.current();
            if let Ok(Some(RawBsonRef::Binary(body))) = document.get("b") {
                held += body.bytes.len();
            }
            out.push(document.to_owned());
        }
        Ok(out)
    }

    /// Decodes rows, learning of indexes that were added meanwhile.
    pub(crate) async fn decode(
        &self,
        session: &mut ClientSession,
        name: &CollectionName,
        documents: &[RawDocumentBuf],
    ) -> Result<Vec<Stored>, Failure> {
        // A row without keys says all by itself.
        let keyed = documents
            .iter()
            .any(|document| matches!(document.get("k"), Ok(Some(_))));
        let shape = if keyed {
            self.shape(session, name).await?
        } else {
            Arc::default()
        };
        let stored = decode_all(documents, &shape)?;
        if !stored.iter().any(|stored| stored.strange) {
            return Ok(stored);
        }
        let shape = self.fresh_shape(session, name).await?;
        Ok(decode_all(documents, &shape)?)
    }

    /// The rows that a query gives.
    pub(crate) async fn rows(
        &self,
        session: &mut ClientSession,
        name: &CollectionName,
        query: &Query,
    ) -> Result<Vec<Stored>, Failure> {
        let documents = self.documents(session, &Names::of(name), query).await?;
        self.decode(session, name, &documents).await
    }
}

/// Decodes rows with what is known of the indexes.
pub(crate) fn decode_all(
    documents: &[RawDocumentBuf],
    shape: &Shape,
) -> Result<Vec<Stored>, StoreError> {
    documents
        .iter()
        .map(|document| row::decode(document, shape))
        .collect()
}

/// What gives the rows at these `cv`, a seek each. (`$in` on the key of a
/// clustered collection walks everything between the first and the last.)
pub(crate) fn seeks(names: &Names, each: impl IntoIterator<Item = Vec<Document>>) -> Vec<Document> {
    let mut pipeline = Vec::new();
    for stages in each {
        if pipeline.is_empty() {
            pipeline = stages;
        } else {
            pipeline.push(doc! { "$unionWith": { "coll": &names.ver, "pipeline": stages } });
        }
    }
    pipeline
}

/// A number in a document that a query made.
pub(crate) fn number(document: &RawDocumentBuf, field: &str) -> Result<i64, StoreError> {
    match document.get(field) {
        Ok(Some(value)) => value
            .as_i64()
            .or_else(|| value.as_i32().map(i64::from))
            .ok_or_else(|| damaged(field)),
        _ => Err(damaged(field)),
    }
}

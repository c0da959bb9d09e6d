//! Reading a record together with its entities.

use std::{collections::HashMap, future::IntoFuture};

use futures::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream};
use serde_json::{Value, json};
use xronox_model::{Invalid, Op, ReadShape, RecordId, UniqueKey, VersionRow};

use super::{Entity, EntityMapping, Mapped, WithEntities, bounded, extract, holders, mapped};
use crate::{
    Collection, Error, ErrorKind, IntoMoment, Moment, Record,
    engine::{
        files::fetch::{Bring, bringing},
        read::{At, not_found},
        shape::{Shape, shaped},
    },
};

/// Entities read at a time.
const ABREAST: usize = 16;

/// Reads a record and its entities; await it. Gives [`WithEntities`]. Made with
/// [`Collection::get_with_entities`].
///
/// What is asked for of hidden fields and files holds for the entities too; a
/// projection is of the main record alone.
#[derive(Debug)]
#[must_use = "a read does nothing until it is awaited"]
pub struct GetWithEntities<'a> {
    collection: &'a Collection,
    id: Result<RecordId, Error>,
    mappings: Vec<EntityMapping>,
    moment: Option<Result<Moment, Error>>,
    shape: Shape,
}

shaped!(GetWithEntities<'_>, shape);
bringing!(GetWithEntities<'_>, shape);

impl<'a> GetWithEntities<'a> {
    pub(super) fn new(
        collection: &'a Collection,
        id: Result<RecordId, Error>,
        mappings: Vec<EntityMapping>,
    ) -> Self {
        Self {
            collection,
            id,
            mappings,
            moment: None,
            shape: Shape::default(),
        }
    }

    /// Looks back at what all of them were at a time. (The versions of their
    /// collections have nothing to do with each other.)
    pub fn as_of(mut self, time: impl IntoMoment) -> Self {
        self.moment = Some(time.into_moment());
        self
    }

    async fn run(self, id: &RecordId) -> Result<WithEntities, Error> {
        let Collection { shared, scope, .. } = self.collection;
        let moment = self.moment.transpose()?;
        if let Some(Moment::Cv(_)) = moment {
            let why = "each collection counts its versions by itself: give a time";
            return Err(Invalid::at("asOf", why).into());
        }
        let bring = self.shape.bring();
        let asked = self.shape.asked()?;
        let sight = shared.sight(scope, &asked)?.with(bring);
        let plain = ReadShape {
            include_hidden: asked.include_hidden,
            ..ReadShape::default()
        };
        let insight = shared.insight(scope, &plain)?;
        let mapped = mapped(self.collection, &self.mappings).await?;
        let row = shared
            .row_at(id, moment.map_or(At::Latest, At::Moment))
            .await?;
        if row.op == Op::Purge || row.system.deleted() {
            return Err(not_found());
        }
        let record = scope.see(shared.load(row).await?)?;
        let document = insight.of(record.clone())?.try_document()?;
        let main = async {
            let shown = shared.shown(vec![record], &sight).await?;
            shown.into_iter().next().ok_or_else(not_found)
        };
        let entities = extract(&document, &mapped, false)?;
        let mut distinct: HashMap<(usize, UniqueKey), Vec<Entity>> = HashMap::new();
        for entity in entities {
            let of = (entity.mapped, entity.key.clone());
            distinct.entry(of).or_default().push(entity);
        }
        let (keys, distinct): (Vec<_>, Vec<_>) = distinct.into_iter().unzip();
        let asked: Vec<_> = keys.iter().map(|(n, key)| (&mapped[*n], key)).collect();
        let rows = match moment {
            None => holders(&asked).await?,
            Some(_) => vec![None; asked.len()],
        };
        let reads = asked.into_iter().zip(rows).zip(&distinct);
        let reads = reads.map(|(((mapped, key), row), entities)| {
            let entity = &entities[0].document;
            let (plain, moment) = (&plain, &moment);
            async move {
                match (moment, row) {
                    (Some(moment), _) => mapped.find(entity, *moment, plain, bring).await,
                    (None, Some(row)) => mapped.read(key, row, plain, bring).await,
                    (None, None) => Ok(None),
                }
            }
            .boxed()
        });
        let reads: Vec<BoxFuture<'_, Result<Option<Record>, Error>>> = reads.collect();
        let reads = async {
            let (mut reads, mut found, mut bytes) =
                (stream::iter(reads).buffered(ABREAST), Vec::new(), 0);
            while let Some(record) = reads.try_next().await? {
                bytes += record.as_ref().map_or(0, Record::size);
                bounded(bytes)?;
                found.push(record);
            }
            Ok(found)
        };
        let (main_record, found): (_, Vec<_>) = futures::try_join!(main, reads)?;
        let found = distinct.into_iter().zip(found);
        let each = found.flat_map(|(entities, record)| {
            let places = entities.into_iter().map(|entity| entity.place);
            places
                .map(move |place| (place, record.clone()))
                .collect::<Vec<_>>()
        });
        Ok(WithEntities {
            main_record,
            entity_records: each.collect(),
        })
    }
}

impl<'a> IntoFuture for GetWithEntities<'a> {
    type Output = Result<WithEntities, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(mut self) -> Self::IntoFuture {
        const WHAT: &str = "get_with_entities";
        Box::pin(async move {
            let Collection { shared, scope, .. } = self.collection;
            let id = std::mem::replace(&mut self.id, Err(not_found()));
            let id = id.map_err(|e| e.during(&shared.doing(WHAT, None)))?;
            let result = Box::pin(self.run(&id)).await;
            shared.tell(scope, WHAT, &id, result).await
        })
    }
}

impl Mapped {
    /// What is shown of the record that had the key, if it still has.
    async fn read(
        &self,
        key: &UniqueKey,
        row: VersionRow,
        asked: &ReadShape,
        bring: Bring,
    ) -> Result<Option<Record>, Error> {
        let (shared, scope) = (self.shared(), self.scope());
        let sight = shared.sight(scope, asked)?.with(bring);
        if !row.live() {
            return Ok(None);
        }
        let record = match shared.load(row).await.and_then(|record| scope.see(record)) {
            Ok(record) => record,
            Err(error) if *error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if UniqueKey::of(&record.whole()?, &self.spec)?.as_ref() != Some(key) {
            return Ok(None);
        }
        let shown = shared.shown(vec![record], &sight).await?;
        Ok(shown.into_iter().next())
    }

    /// The record that had the key of an entity at a time.
    async fn find(
        &self,
        entity: &Value,
        moment: Moment,
        asked: &ReadShape,
        bring: Bring,
    ) -> Result<Option<Record>, Error> {
        let value = xronox_model::values_at(entity, &self.key);
        let value = value.first().copied().unwrap_or(&Value::Null);
        let filter = json!({ (self.key.to_string()): { "$eq": value } });
        let shape = Shape::of(asked).bringing(bring);
        let query = self.collection.query(filter).with_shape(shape);
        let found = query.as_of(moment).limit(1).await?;
        Ok(found.items.into_iter().next())
    }
}

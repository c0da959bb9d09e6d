//! What a query should give, worked out from documents in memory.

use std::collections::BTreeMap;

use serde_json::Value;
use xronox::{Collection, Direction, Page, Path, RecordId};
use xronox_model::{Filter, keys_at};

/// Every record of a collection as a reader sees it at one `cv`.
pub(crate) type Records = BTreeMap<RecordId, Value>;

/// The records as they are now, deleted ones included, without the engine's
/// queries.
pub(crate) async fn records(
    collection: &Collection,
    ids: impl IntoIterator<Item = RecordId>,
) -> Records {
    let mut out = Records::new();
    for id in ids {
        if let Ok(record) = collection.get_latest(&id).include_deleted().await {
            out.insert(id, record.json());
        }
    }
    out
}

/// The ids of the records that match, in order.
pub(crate) fn expected(
    records: &Records,
    filter: &Value,
    sort: &[(Path, Direction)],
    deleted: bool,
) -> Vec<RecordId> {
    let filter = Filter::parse(filter).unwrap();
    let mut found: Vec<(&RecordId, &Value)> = records
        .iter()
        .filter(|(_, doc)| deleted || doc["_system"]["deleted"] == false)
        .filter(|(_, doc)| filter.matches(*doc))
        .collect();
    let last = sort
        .last()
        .map_or(Direction::Ascending, |(_, direction)| *direction);
    let turned = |order: std::cmp::Ordering, direction| match direction {
        Direction::Ascending => order,
        Direction::Descending => order.reverse(),
    };
    found.sort_by(|(a_id, a), (b_id, b)| {
        for (path, direction) in sort {
            if path.segments() == ["_id"] {
                return turned(a_id.cmp(b_id), *direction);
            }
            let (a, b) = (keys_at(*a, path), keys_at(*b, path));
            let order = a.sort_key(*direction).cmp(b.sort_key(*direction));
            if order.is_ne() {
                return turned(order, *direction);
            }
        }
        turned(a_id.cmp(b_id), last)
    });
    found.into_iter().map(|(id, _)| id.clone()).collect()
}

pub(crate) fn ids(page: &Page) -> Vec<RecordId> {
    page.items
        .iter()
        .map(|record| record.id().clone())
        .collect()
}

pub(crate) fn texts(page: &Page) -> Vec<String> {
    page.items
        .iter()
        .map(|record| record.id().to_string())
        .collect()
}

pub(crate) fn path(text: &str) -> Path {
    text.parse().unwrap()
}

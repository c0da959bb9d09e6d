//! Random records, filters, sorts and pages against the naive evaluation.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use xronox::{Collection, CollectionMap, Direction, Moment, Path, RecordId, Settings};

use crate::{
    naive::{Records, expected, ids, path, records},
    support::{Dice, local_stores, stores},
};

fn value(dice: &mut Dice, arrays: bool) -> Value {
    match dice.below(if arrays { 12 } else { 9 }) {
        0 => Value::Null,
        1 => json!(dice.below(2) == 0),
        2..=4 => json!(dice.below(4)),
        5 => json!(dice.below(4) as f64 / 2.0 - 0.75),
        6 | 7 => json!(["a", "ab", "b", ""][dice.below(4) as usize]),
        8 => json!({ "x": dice.below(3) }),
        9 => json!([]),
        10 => json!([dice.below(4), "a", null]),
        _ => json!([{ "x": dice.below(3) }, { "x": [1, 2] }]),
    }
}

fn document(dice: &mut Dice, arrays: bool) -> Value {
    let mut fields = serde_json::Map::new();
    for name in ["a", "b", "c", "updatedAt"] {
        if dice.below(if name == "updatedAt" { 8 } else { 2 }) == 0 {
            fields.insert(name.to_owned(), value(dice, arrays));
        }
    }
    Value::Object(fields)
}

fn field(dice: &mut Dice) -> &'static str {
    [
        "a",
        "a",
        "b",
        "b.x",
        "a.0",
        "c",
        "_system.ov",
        "updatedAt",
        "_system.updatedAt",
        "_id",
    ][dice.below(10) as usize]
}

fn operand(dice: &mut Dice) -> Value {
    let value = value(dice, true);
    match dice.below(12) {
        0..=3 => value,
        4 => json!({ "$gt": value }),
        5 => json!({ "$lte": value }),
        6 => json!({ "$gte": dice.below(2), "$lt": 1 + dice.below(3) }),
        7 => json!({ "$in": [value, dice.below(3), "a"] }),
        8 => json!({ "$ne": value }),
        9 => json!({ "$exists": dice.below(2) == 0 }),
        10 => json!({ "$elemMatch": { "x": { "$gte": dice.below(3) } } }),
        _ => json!({ "$not": { "$gt": value } }),
    }
}

fn filter(dice: &mut Dice, some: &[RecordId], depth: u32) -> Value {
    match dice.below(if depth == 0 { 5 } else { 8 }) {
        0 => json!({}),
        1..=3 => {
            let name = field(dice);
            let operand = match name {
                "_id" => {
                    let id =
                        |dice: &mut Dice| some[dice.below(some.len() as u64) as usize].to_string();
                    match dice.below(3) {
                        0 => json!(id(dice)),
                        1 => json!({ "$in": [id(dice), id(dice), "none", id(dice)] }),
                        _ => json!({ "$gt": id(dice) }),
                    }
                }
                _ => operand(dice),
            };
            json!({ name: operand })
        }
        4 => json!({ "a": operand(dice), "c": operand(dice) }),
        n => {
            let parts = [filter(dice, some, depth - 1), filter(dice, some, depth - 1)];
            json!({ ["$and", "$or", "$nor"][n as usize - 5]: parts })
        }
    }
}

fn sort(dice: &mut Dice) -> Vec<(Path, Direction)> {
    let mut sort: Vec<(Path, Direction)> = Vec::new();
    for _ in 0..[0, 1, 1, 2, 3][dice.below(5) as usize] {
        let field = path(field(dice));
        let direction = if dice.below(2) == 0 {
            Direction::Ascending
        } else {
            Direction::Descending
        };
        if sort.iter().all(|(other, _)| *other != field) {
            sort.push((field, direction));
        }
    }
    if let Some(end) = sort
        .iter()
        .position(|(field, _)| field.segments() == ["_id"])
    {
        sort.truncate(end + 1);
    }
    sort
}

/// Reads a query to its end, page by page.
async fn read(collection: &Collection, asked: &Asked<'_>, limit: usize) -> Vec<RecordId> {
    let mut found = Vec::new();
    let mut cursor = None;
    loop {
        let mut query = collection.query(asked.filter).limit(limit);
        for (field, direction) in asked.sort {
            query = query.sort(field, *direction);
        }
        if asked.deleted {
            query = query.include_deleted();
        }
        if let Some(cv) = asked.cv {
            query = query.as_of(Moment::Cv(cv));
        }
        if let Some(cursor) = &cursor {
            query = query.after(cursor);
        }
        let page = query.await.unwrap();
        assert!(page.items.len() <= limit);
        found.extend(ids(&page));
        cursor = page.cursor;
        if cursor.is_none() {
            return found;
        }
    }
}

#[derive(Debug)]
struct Asked<'a> {
    filter: &'a Value,
    sort: &'a [(Path, Direction)],
    deleted: bool,
    cv: Option<u64>,
}

async fn story(collection: &Collection, dice: &mut Dice, arrays: bool, queries: u32) {
    let mut all: Vec<RecordId> = Vec::new();
    let mut states: BTreeMap<u64, Records> = BTreeMap::new();
    for round in 0..3 {
        for n in 0..40 {
            let change = dice.below(10);
            let cv = if all.is_empty() || change < 5 {
                let document = document(dice, arrays);
                let written = if dice.below(3) == 0 {
                    let id = format!("{}{round}-{n}", ["a", "Z", "é"][dice.below(3) as usize]);
                    collection.create_with_id(id, document).await.unwrap()
                } else {
                    collection.create(document).await.unwrap()
                };
                all.push(written.id);
                written.cv
            } else {
                let id = &all[dice.below(all.len() as u64) as usize];
                let written = if change < 7 {
                    collection.delete(id).await
                } else {
                    collection.update(id, document(dice, arrays)).await
                };
                match written {
                    Ok(written) => written.cv,
                    Err(_) => continue,
                }
            };
            if dice.below(20) == 0 {
                states.insert(cv, records(collection, all.clone()).await);
            }
        }
        let now = records(collection, all.clone()).await;
        for _ in 0..queries {
            let past = match states.len() as u64 {
                0 => None,
                n if dice.below(2) == 0 => states.iter().nth(dice.below(n) as usize),
                _ => None,
            };
            let (cv, state) = past.map_or((None, &now), |(cv, state)| (Some(*cv), state));
            let asked = Asked {
                filter: &filter(dice, &all, 2),
                sort: &sort(dice),
                deleted: dice.below(4) == 0,
                cv,
            };
            let limit = [1, 3, 10, 1000][dice.below(4) as usize];
            let found = read(collection, &asked, limit).await;
            let should = expected(state, asked.filter, asked.sort, asked.deleted);
            assert_eq!(found, should, "{asked:?} by {limit}");
        }
    }
}

#[tokio::test]
async fn pages_hold_what_a_naive_evaluation_finds() {
    let map = |paths: &[&str]| CollectionMap {
        indexed_props: paths.iter().map(|text| path(text)).collect(),
        ..CollectionMap::default()
    };
    let maps = [("some", map(&["a", "b.x"])), ("none", map(&["z"]))];
    let mut settings = Settings {
        collection_maps: maps.map(|(name, map)| (name.to_owned(), map)).into(),
        ..Settings::default()
    };
    // Half of the bodies are objects.
    settings.payloads.inline_max_bytes = Some(30);
    for seed in 0..4 {
        let stores = match seed {
            0 => stores(settings.clone()).await,
            _ => local_stores(settings.clone()).await,
        };
        for store in stores {
            for name in ["any", "some", "none"] {
                let collection = store.xronox.collection(name).unwrap();
                let mut dice = Dice::new(seed + 1);
                story(&collection, &mut dice, seed % 2 == 1, 20).await;
            }
        }
    }
}

//! `xronox find`

use std::collections::BTreeSet;

use serde_json::{Value, json};
use xronox::{Error, Projection, Record};

use super::{parse, quoted, showing};
use crate::{
    args::Find,
    context::Context,
    exit::{Exit, Failure},
    output::{Column, cell, counted},
};

/// Records read at a time.
const PAGE: u64 = 1000;
/// How many there are unless `--limit` says otherwise.
const LIMIT: u64 = 50;
/// Fields that a table shows unless `--fields` says otherwise.
const MAX_COLUMNS: usize = 5;

pub(super) async fn run(args: Find, cx: &mut Context) -> Result<Exit, Failure> {
    let collection = cx.collection(&args.collection).await?;
    let filter = filter(args.filter.as_deref())?;
    let sort = args.sort.as_deref().map(sort).transpose()?;
    let fields = fields(args.fields.as_deref());
    let mut left = args.limit.unwrap_or(LIMIT);
    let mut after = args.after;
    let mut found = Vec::new();
    let mut cv = None;
    while left > 0 {
        let limit = usize::try_from(left.min(PAGE)).unwrap_or(usize::MAX);
        let query = collection.query(filter.clone()).limit(limit);
        let mut query = showing!(args.shown, query);
        if let Some(sort) = &sort {
            query = query.sort_json(sort);
        }
        if let Some(moment) = args.past.moment() {
            query = query.as_of(moment);
        }
        if let Some(cursor) = after.take() {
            query = query.after(cursor);
        }
        if let Some(fields) = &fields {
            query = query.project(projection(fields)?);
        }
        let page = query
            .await
            .map_err(|error| hinted(error, &args.collection))?;
        left = left.saturating_sub(page.items.len() as u64);
        cv = page.cv.or(cv);
        after = page.cursor.map(|cursor| cursor.to_string());
        if cx.out.json {
            for record in &page.items {
                cx.out.value(record)?;
            }
        } else {
            found.extend(page.items);
        }
        if after.is_none() {
            break;
        }
    }
    if !cx.out.json {
        table(cx, &found, fields)?;
    }
    cx.out.flush()?;
    remark(cx, found.len(), cv, after);
    Ok(Exit::Done)
}

/// The failure of a query, and the command that would make it succeed.
fn hinted(error: Error, collection: &str) -> Failure {
    let fields: Vec<String> = error
        .unindexed()
        .iter()
        .map(|field| quoted(&field.to_string()))
        .collect();
    let failure = Failure::from(error);
    if fields.is_empty() {
        return failure;
    }
    let fields = fields.join(" ");
    failure.with(&format!(": xronox index {collection} {fields}"))
}

/// The filter that an option asks for.
pub(super) fn filter(text: Option<&str>) -> Result<Value, Failure> {
    text.map_or_else(|| Ok(json!({})), |text| parse("--filter", text))
}

/// A sort in its short form (`-total,name`) or as JSON, as JSON.
fn sort(text: &str) -> Result<Value, Failure> {
    if text.starts_with(['[', '{', '"']) {
        return parse("--sort", text);
    }
    let part = |part: &str| match part.trim().strip_prefix('-') {
        Some(field) => json!([field, -1]),
        None => json!([part.trim(), 1]),
    };
    Ok(text.split(',').map(part).collect())
}

fn fields(text: Option<&str>) -> Option<Vec<String>> {
    text.map(|text| {
        text.split(',')
            .map(|field| field.trim().to_owned())
            .collect()
    })
}

/// The fields, with what every read has beside them.
fn projection(fields: &[String]) -> Result<Projection, Failure> {
    let beside = ["_id", "_system"].map(str::to_owned);
    let all: Vec<&String> = fields.iter().chain(&beside).collect();
    Projection::parse(&json!(all)).map_err(|e| Failure::invalid(format!("--fields: {e}")))
}

fn table(cx: &mut Context, records: &[Record], fields: Option<Vec<String>>) -> Result<(), Failure> {
    let documents: Vec<Value> = records.iter().map(Record::document).collect();
    let fields = fields.unwrap_or_else(|| first_fields(&documents));
    let columns: Vec<Column<'_>> = [Column::Text("_id"), Column::Number("ov")]
        .into_iter()
        .chain(fields.iter().map(|field| Column::Text(field)))
        .collect();
    let rows = records.iter().zip(&documents).map(|(record, document)| {
        let cells = fields.iter().map(|field| cell(at(document, field)));
        let beside = [record.id().to_string(), record.ov().to_string()];
        beside.into_iter().chain(cells).collect()
    });
    cx.out.table(&columns, rows)?;
    Ok(())
}

/// What stands at a dotted path.
fn at<'v>(document: &'v Value, field: &str) -> Option<&'v Value> {
    let path: xronox::Path = field.parse().ok()?;
    path.segments()
        .iter()
        .try_fold(document, |at, name| at.get(name))
}

/// The first fields that hold something a cell can show.
fn first_fields(documents: &[Value]) -> Vec<String> {
    let names = |simple: bool| -> BTreeSet<&String> {
        let members = documents.iter().filter_map(Value::as_object).flatten();
        let shown = members.filter(|(_, value)| (value.is_object() || value.is_array()) != simple);
        shown.map(|(name, _)| name).collect()
    };
    let simple = names(true);
    let nested = names(false);
    let ordered = simple.iter().chain(nested.difference(&simple));
    // Names go on as paths.
    let path = |name: &&String| name.replace('\\', "\\\\").replace('.', "\\.");
    ordered.take(MAX_COLUMNS).map(path).collect()
}

fn remark(cx: &Context, shown: usize, cv: Option<u64>, cursor: Option<String>) {
    let mut text = match (cx.out.json, shown, cv) {
        (true, ..) => String::new(),
        (false, n, Some(cv)) => format!("{} as of cv {cv}", counted(n as u64, "record")),
        (false, _, None) => "no records".to_owned(),
    };
    if let Some(cursor) = cursor {
        if !text.is_empty() {
            text.push_str("; ");
        }
        text.push_str("there may be more: --limit N, or --after ");
        text.push_str(&cursor);
    }
    if !text.is_empty() {
        cx.notices.say(&text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_sorts_become_json() {
        assert_eq!(
            sort("-total, name").unwrap(),
            json!([["total", -1], ["name", 1]])
        );
        assert_eq!(sort("{\"a\":-1}").unwrap(), json!({"a": -1}));
        assert!(sort("[").is_err());
    }

    #[test]
    fn a_table_shows_simple_fields_first() {
        let documents = [
            json!({"a": {"x": 1}, "b": 1, "c.d": 2}),
            json!({"b": [], "e": null}),
        ];
        assert_eq!(first_fields(&documents), ["b", "c\\.d", "e", "a"]);
        assert_eq!(cell(at(&documents[0], "c\\.d")), "2");
        assert_eq!(cell(at(&documents[0], "a")), "{\"x\":1}");
    }
}

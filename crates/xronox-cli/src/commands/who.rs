//! `xronox who`

use xronox::{Database, Located, LocatedPage, Trace, TrailPage};

use crate::{
    args::Who,
    context::Context,
    exit::{Exit, Failure},
    output::{Column, counted, maybe},
};

/// Read at a time.
const PAGE: u64 = 1000;

pub(super) async fn run(args: Who, cx: &mut Context) -> Result<Exit, Failure> {
    let database = cx.database().await?;
    let mut left = args.limit.unwrap_or(u64::MAX);
    let (mut after, mut shown) = (None, 0);
    while left > 0 {
        let limit = usize::try_from(left.min(PAGE)).unwrap_or(usize::MAX);
        let (count, cursor) = if args.versions {
            let TrailPage { items, cursor, .. } = versions(&database, &args, limit, after).await?;
            print_versions(cx, &items)?;
            (items.len(), cursor)
        } else {
            let LocatedPage { items, cursor, .. } = records(&database, &args, limit, after).await?;
            print_records(cx, &items)?;
            (items.len(), cursor)
        };
        left -= count as u64;
        shown += count as u64;
        after = cursor;
        if after.is_none() {
            break;
        }
    }
    cx.out.flush()?;
    if !cx.out.json {
        let what = if args.versions { "version" } else { "record" };
        cx.notices.say(&counted(shown, what));
    }
    Ok(Exit::Done)
}

async fn records(
    database: &Database,
    args: &Who,
    limit: usize,
    after: Option<String>,
) -> Result<LocatedPage, xronox::Error> {
    let mut who = database.who(&args.identity).limit(limit);
    if args.show_hidden {
        who = who.include_hidden();
    }
    if !args.collections.is_empty() {
        who = who.among(&args.collections);
    }
    if let Some(cursor) = after {
        who = who.after(cursor);
    }
    who.await
}

async fn versions(
    database: &Database,
    args: &Who,
    limit: usize,
    after: Option<String>,
) -> Result<TrailPage, xronox::Error> {
    let mut trail = database.trail(&args.identity).limit(limit);
    if args.show_hidden {
        trail = trail.include_hidden();
    }
    if args.documents {
        trail = trail.documents();
    }
    if !args.collections.is_empty() {
        trail = trail.among(&args.collections);
    }
    if let Some(cursor) = after {
        trail = trail.after(cursor);
    }
    trail.await
}

fn print_records(cx: &mut Context, items: &[Located]) -> Result<(), Failure> {
    if cx.out.json {
        for item in items {
            cx.out.value(item)?;
        }
        return Ok(());
    }
    let columns = [
        Column::Text("collection"),
        Column::Text("id"),
        Column::Number("ov"),
        Column::Text("op"),
        Column::Text("at"),
        Column::Text("creator"),
        Column::Text("updater"),
    ];
    let row = |Located {
                   collection, record, ..
               }: &Located| {
        vec![
            collection.to_string(),
            record.id().to_string(),
            record.ov().to_string(),
            record.op().to_string(),
            record.at().to_string(),
            maybe(record.system().creator.as_ref()),
            maybe(record.system().updater.as_ref()),
        ]
    };
    cx.out.table(&columns, items.iter().map(row))?;
    Ok(())
}

fn print_versions(cx: &mut Context, items: &[Trace]) -> Result<(), Failure> {
    if cx.out.json {
        for item in items {
            cx.out.value(item)?;
        }
        return Ok(());
    }
    let columns = [
        Column::Text("collection"),
        Column::Text("id"),
        Column::Number("ov"),
        Column::Text("op"),
        Column::Text("at"),
        Column::Text("actor"),
        Column::Text("on behalf of"),
        Column::Text("reason"),
    ];
    let row = |Trace {
                   collection,
                   version,
                   ..
               }: &Trace| {
        vec![
            collection.to_string(),
            version.id.to_string(),
            version.ov.to_string(),
            version.op.to_string(),
            version.at.to_string(),
            maybe(version.actor.as_ref()),
            maybe(version.on_behalf_of.as_ref()),
            maybe(version.reason.as_ref()),
        ]
    };
    cx.out.table(&columns, items.iter().map(row))?;
    Ok(())
}

//! `xronox lineage`

use futures::TryStreamExt;
use xronox::{Ancestor, AncestryEnd, Collection, Origin};

use crate::{
    args::Lineage,
    context::Context,
    exit::{Exit, Failure},
    output::{Column, counted, maybe},
};

pub(super) async fn run(args: Lineage, cx: &mut Context) -> Result<Exit, Failure> {
    let collection = cx.collection(&args.collection).await?;
    if args.descendants {
        return descendants(&collection, &args, cx).await;
    }
    let line = collection.lineage(&args.id).await?;
    if cx.out.json {
        cx.out.value(&line)?;
        return Ok(Exit::Done);
    }
    let columns = [
        Column::Text("collection"),
        Column::Text("id"),
        Column::Number("ov"),
        Column::Text("created"),
        Column::Text("creator"),
        Column::Text("deleted"),
    ];
    let row = |ancestor: &Ancestor| {
        vec![
            ancestor.collection.to_string(),
            ancestor.id.to_string(),
            ancestor.ov.to_string(),
            ancestor.inserted_at.to_string(),
            maybe(ancestor.creator.as_ref()),
            if ancestor.deleted { "deleted" } else { "" }.to_owned(),
        ]
    };
    cx.out.table(&columns, line.ancestors.iter().map(row))?;
    cx.out.flush()?;
    let end = match &line.end {
        AncestryEnd::Missing { collection, id } => {
            format!("{collection}/{id} is not there (any more)")
        }
        AncestryEnd::Cycle => "there the line comes back to itself".to_owned(),
        _ => counted(line.ancestors.len() as u64, "ancestor"),
    };
    cx.notices.say(&end);
    if let Some(Origin {
        id,
        collection,
        system,
    }) = &line.origin
    {
        let system = system.as_ref().map(|system| format!("{system}:"));
        let system = maybe(system.as_ref());
        cx.notices
            .say(&format!("origin: {system}{collection}/{id}"));
    }
    Ok(Exit::Done)
}

async fn descendants(
    collection: &Collection,
    args: &Lineage,
    cx: &mut Context,
) -> Result<Exit, Failure> {
    let mut found = collection.descendants(&args.id);
    if args.show_hidden {
        found = found.include_hidden();
    }
    let mut found = found.stream();
    let mut rows = Vec::new();
    while let Some(descendant) = found.try_next().await? {
        if cx.out.json {
            cx.out.value(&descendant)?;
            continue;
        }
        let record = &descendant.record;
        let lineage = &record.system().lineage;
        let parent = lineage.parent().map(|(name, id)| format!("{name}/{id}"));
        rows.push(vec![
            descendant.depth.to_string(),
            descendant.collection.to_string(),
            record.id().to_string(),
            record.ov().to_string(),
            record.at().to_string(),
            maybe(parent.as_ref()),
            if record.deleted() { "deleted" } else { "" }.to_owned(),
        ]);
    }
    if cx.out.json {
        return Ok(Exit::Done);
    }
    let count = rows.len() as u64;
    let columns = [
        Column::Number("depth"),
        Column::Text("collection"),
        Column::Text("id"),
        Column::Number("ov"),
        Column::Text("at"),
        Column::Text("parent"),
        Column::Text("deleted"),
    ];
    cx.out.table(&columns, rows)?;
    cx.out.flush()?;
    cx.notices.say(&counted(count, "descendant"));
    Ok(Exit::Done)
}

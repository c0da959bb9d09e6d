//! `xronox footprint` and `xronox erase`

use xronox::{Database, Footing, FootprintReport, Found, Subject};

use crate::{
    args::{Attribution, Erase, Footprint, Whom},
    context::Context,
    exit::{Exit, Failure},
    output::{Column, bytes, counted},
};

pub(super) async fn run(args: Footprint, cx: &mut Context) -> Result<Exit, Failure> {
    let database = cx.database().await?;
    let mut found = Vec::new();
    let report = report(&database, &args.whom, |one| found.push(one)).await?;
    if cx.out.json {
        for one in &found {
            cx.out.value(one)?;
        }
        cx.out.value(&report)?;
        return Ok(Exit::Done);
    }
    let columns = [
        Column::Text("collection"),
        Column::Text("id"),
        Column::Number("ov"),
        Column::Text("deleted"),
        Column::Number("versions"),
        Column::Number("files"),
        Column::Number("bytes"),
    ];
    let row = |one: &Found| {
        vec![
            one.collection.to_string(),
            one.id.to_string(),
            one.ov.to_string(),
            if one.deleted { "yes" } else { "" }.to_owned(),
            one.versions.to_string(),
            one.files.to_string(),
            one.bytes.to_string(),
        ]
    };
    cx.out.table(&columns, found.iter().map(row))?;
    cx.out.flush()?;
    cx.notices.say(&told(&report.total));
    Ok(Exit::Done)
}

pub(super) async fn erase(args: Erase, cx: &mut Context) -> Result<Exit, Failure> {
    let database = cx.database().await?;
    if !args.yes {
        let there = report(&database, &args.whom, |_| ()).await?;
        let told = told(&there.total);
        return Err(Failure::usage(format!(
            "this would delete {told}: say --yes"
        )));
    }
    let Attribution { actor, reason } = &args.attribution;
    let bar = cx.notices.things(None);
    let mut erase = database
        .erase(subject(&args.whom))
        .actor(actor.as_deref())
        .reason(reason.as_deref().unwrap_or(""))
        .on_progress(|progress| {
            if let Some(collection) = progress.collection {
                bar.set_message(collection.to_string());
            }
            bar.set_position(progress.done);
        });
    if args.whom.in_history {
        erase = erase.in_history();
    }
    if !args.whom.collections.is_empty() {
        erase = erase.among(&args.whom.collections);
    }
    if args.hard {
        erase = erase.hard();
    }
    let report = erase.await;
    bar.finish_and_clear();
    let report = report?;
    if cx.out.json {
        cx.out.value(&report)?;
    } else {
        let deleted = counted(report.deleted, "record");
        let left = told(&report.remaining.total);
        cx.out
            .line(format!("deleted {deleted}; found afterwards: {left}"))?;
    }
    if report.is_complete() {
        return Ok(Exit::Done);
    }
    cx.notices
        .say("others wrote meanwhile: run it again for what is left");
    Ok(Exit::Failed)
}

async fn report(
    database: &Database,
    whom: &Whom,
    listen: impl FnMut(Found) + Send,
) -> Result<FootprintReport, Failure> {
    let mut footprint = database.footprint(subject(whom)).on_found(listen);
    if whom.in_history {
        footprint = footprint.in_history();
    }
    if !whom.collections.is_empty() {
        footprint = footprint.among(&whom.collections);
    }
    Ok(footprint.await?)
}

fn subject(whom: &Whom) -> Subject {
    let mut subject = Subject::new();
    for identity in &whom.creator {
        subject = subject.creator(identity.as_str());
    }
    for identity in &whom.updater {
        subject = subject.updater(identity.as_str());
    }
    for (path, value) in &whom.field {
        // What is no JSON is text.
        let parsed = xronox::json::parse(value.as_bytes());
        subject = subject.field(path, parsed.unwrap_or_else(|_| value.as_str().into()));
    }
    subject
}

fn told(footing: &Footing) -> String {
    format!(
        "{} in {}, with {} ({})",
        counted(footing.records, "record"),
        counted(footing.versions, "version"),
        counted(footing.files, "file"),
        bytes(footing.bytes),
    )
}

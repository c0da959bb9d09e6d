//! `xronox restore`

use std::fmt::Write;

use xronox::{Collection, Listed, Moment, Progress, RestoreReport};

use super::print_written;
use crate::{
    args::Restore,
    context::Context,
    exit::{Exit, Failure},
    output::{Column, maybe},
};

pub(super) async fn run(args: Restore, cx: &mut Context) -> Result<Exit, Failure> {
    let collection = cx.collection(&args.collection).await?;
    if args.jobs {
        return list_jobs(&collection, cx).await;
    }
    match &args.id {
        Some(id) => one(&collection, id, &args, cx).await,
        None => all(&collection, &args, cx).await,
    }
}

async fn one(
    collection: &Collection,
    id: &str,
    args: &Restore,
    cx: &mut Context,
) -> Result<Exit, Failure> {
    let restore = collection
        .restore_object(id)
        .expected_ov(args.expected_ov)
        .actor(args.attribution.actor.as_deref().unwrap_or(""))
        .reason(args.attribution.reason.as_deref().unwrap_or(""));
    let restore = match (args.point.ov, args.point.moment()) {
        (Some(ov), _) => restore.to_ov(ov),
        (None, Some(moment)) => restore.to(moment),
        (None, None) => return Err(Failure::usage("say what to restore: --ov, --at or --cv")),
    };
    let interrupt = cx.interrupt.clone();
    let written = interrupt.or(async { Ok(restore.await?) }).await?;
    print_written(&mut cx.out, &args.collection, &written)?;
    Ok(Exit::Done)
}

async fn all(collection: &Collection, args: &Restore, cx: &mut Context) -> Result<Exit, Failure> {
    if args.point.ov.is_some() {
        let why = "--ov names a version of one record: give its id, or --at or --cv";
        return Err(Failure::usage(why));
    }
    let moment = match (args.point.moment(), &args.resume) {
        (Some(moment), _) => moment,
        (None, Some(job)) => moment_of(collection, job).await?,
        (None, None) => return Err(Failure::usage("say what to restore: --at or --cv")),
    };
    let bar = cx.notices.things(Some(0));
    let mut restore = collection
        .restore_collection(moment)
        .actor(args.attribution.actor.as_deref().unwrap_or(""))
        .reason(args.attribution.reason.as_deref().unwrap_or(""))
        .on_progress(|progress: Progress| {
            if let Some(total) = progress.total {
                bar.set_length(total);
            }
            bar.set_position(progress.done);
        });
    if args.dry_run {
        restore = restore.dry_run();
    }
    if let Some(job) = &args.resume {
        restore = restore.resume(job);
    }
    let interrupt = cx.interrupt.clone();
    let report = interrupt.or(async { Ok(restore.await?) }).await;
    bar.finish_and_clear();
    let report = match report {
        Ok(report) => report,
        Err(failure) if failure.exit == Exit::Interrupted && !args.dry_run => {
            let more = format!(
                "; `xronox restore {} --jobs` says how to go on",
                args.collection
            );
            return Err(failure.with(&more));
        }
        Err(failure) => return Err(failure),
    };
    print(cx, &report)?;
    Ok(Exit::Done)
}

async fn moment_of(collection: &Collection, job: &str) -> Result<Moment, Failure> {
    let jobs = collection.restore_jobs().await?;
    match jobs.into_iter().find(|known| known.id == job) {
        Some(job) => Ok(job.moment),
        None => Err(Failure::not_found(format!(
            "{}: no interrupted restore is called {job:?}",
            collection.name()
        ))),
    }
}

async fn list_jobs(collection: &Collection, cx: &mut Context) -> Result<Exit, Failure> {
    let jobs = collection.restore_jobs().await?;
    if cx.out.json {
        for job in &jobs {
            cx.out.value(job)?;
        }
        return Ok(Exit::Done);
    }
    if jobs.is_empty() {
        cx.notices
            .say("no restore of this collection was interrupted");
    }
    let columns = [
        Column::Text("job (go on with --resume)"),
        Column::Text("to"),
        Column::Number("done"),
        Column::Number("of"),
        Column::Text("begun"),
        Column::Text("actor"),
        Column::Text("reason"),
    ];
    let rows = jobs.iter().map(|job| {
        vec![
            job.id.clone(),
            match job.moment {
                Moment::Cv(cv) => format!("cv {cv}"),
                Moment::Time(at) => at.to_string(),
            },
            maybe(job.done.as_ref()),
            maybe(job.start.as_ref()),
            job.created_at.to_string(),
            maybe(job.actor.as_ref()),
            maybe(job.reason.as_ref()),
        ]
    });
    cx.out.table(&columns, rows)?;
    Ok(Exit::Done)
}

fn print(cx: &mut Context, report: &RestoreReport) -> Result<(), Failure> {
    if cx.out.json {
        cx.out.value(report)?;
        return Ok(());
    }
    let to = match report.target {
        Some(cv) => format!("as of cv {cv}"),
        None => "as of before its first commit".to_owned(),
    };
    let RestoreReport {
        restored,
        deleted,
        unchanged,
        ..
    } = report;
    let dry = if report.dry_run { "dry run, " } else { "" };
    cx.out.line(format_args!(
        "{dry}{to}: restored {restored}, deleted {deleted}, unchanged {unchanged}"
    ))?;
    for (what, listed) in [
        ("changed by others meanwhile, left alone", &report.conflicts),
        ("removed by retention, left alone", &report.pruned),
        ("removed for good", &report.purged),
    ] {
        if listed.count > 0 {
            cx.out.line(format_args!("{what}: {}", told(listed)))?;
        }
    }
    Ok(())
}

/// How many, and the first few of them.
fn told(listed: &Listed) -> String {
    const SHOWN: usize = 10;
    let mut text = listed.count.to_string();
    for (i, id) in listed.ids.iter().take(SHOWN).enumerate() {
        let _ = write!(text, "{}{id}", if i == 0 { " (" } else { ", " });
    }
    let more = listed.count > SHOWN as u64;
    text + if more { ", …)" } else { ")" }
}

//! `xronox gc`

use std::{io, time::Duration};

use xronox::{Fate, Garbage, GcReport, Progress};

use crate::{
    args::Gc,
    context::Context,
    exit::{Exit, Failure},
    output::{Output, bytes, counted},
};

const DAY: Duration = Duration::from_hours(24);

pub(super) async fn run(args: Gc, cx: &mut Context) -> Result<Exit, Failure> {
    let database = cx.database().await?;
    let bar = cx.notices.things(None);
    let Context { out, .. } = cx;
    let mut listed = Ok(());
    let mut gc = database
        .gc()
        .on_progress(|progress: Progress| bar.set_position(progress.done));
    if args.list {
        // A reader that is gone stops the list, not the collection.
        gc = gc.on_garbage(|garbage| {
            if listed.is_ok() {
                listed = bar.suspend(|| tell(out, &garbage));
            }
        });
    }
    if args.dry_run {
        gc = gc.dry_run();
    }
    if let Some(days) = args.grace_days {
        gc = gc.grace(DAY * days);
    }
    let report = gc.await;
    bar.finish_and_clear();
    let report = report?;
    listed?;
    print(cx, &report)?;
    Ok(Exit::Done)
}

fn tell(out: &mut Output, garbage: &Garbage) -> io::Result<()> {
    if out.json {
        return out.value(garbage);
    }
    let Garbage {
        key,
        bytes: size,
        put_at,
        fate,
        ..
    } = garbage;
    let fate = match fate {
        Fate::Noted => "noted",
        Fate::Waiting => "waiting",
        Fate::Deleted => "deleted",
        _ => "unnamed",
    };
    out.line(format_args!(
        "{fate:<7}  {put_at}  {:>10}  {key}",
        bytes(*size)
    ))
}

fn print(cx: &mut Context, report: &GcReport) -> Result<(), Failure> {
    if cx.out.json {
        cx.out.value(report)?;
        return Ok(());
    }
    let dry = if report.dry_run { "dry run, " } else { "" };
    cx.out.line(format_args!(
        "{} of {}; {} of {} named by no version",
        counted(report.listed, "object"),
        bytes(report.listed_bytes),
        report.unnamed,
        bytes(report.unnamed_bytes)
    ))?;
    cx.out.line(format_args!(
        "{dry}deleted: {} of {}; noted, for a later run to delete: {}",
        report.deleted,
        bytes(report.deleted_bytes),
        report.noted
    ))?;
    Ok(())
}

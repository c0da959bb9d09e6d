//! `xronox gc`

use std::time::Duration;

use xronox::{GcReport, Progress};

use crate::{
    args::Gc,
    context::Context,
    exit::{Exit, Failure},
    output::{bytes, counted},
};

const DAY: Duration = Duration::from_hours(24);

pub(super) async fn run(args: Gc, cx: &mut Context) -> Result<Exit, Failure> {
    let store = cx.store().await?;
    let bar = cx.notices.things(None);
    let mut gc = store
        .gc()
        .on_progress(|progress: Progress| bar.set_position(progress.done));
    if args.dry_run {
        gc = gc.dry_run();
    }
    if let Some(days) = args.grace_days {
        gc = gc.grace(DAY * days);
    }
    let report = gc.await;
    bar.finish_and_clear();
    print(cx, &report?)?;
    Ok(Exit::Done)
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

//! `xronox copy`

use xronox::{CollectionName, CopyReport, Error, Progress, Xronox};

use crate::{
    args::Copy,
    context::Context,
    exit::{Exit, Failure},
    output::{bytes, counted},
    place::Place,
};

pub(super) async fn run(args: Copy, cx: &mut Context) -> Result<Exit, Failure> {
    let from = Place::of(
        &args.from,
        args.from_payloads.as_deref(),
        args.from_database,
    )?;
    let to = Place::of(&args.to, args.to_payloads.as_deref(), args.to_database)?;
    let names: Result<Vec<CollectionName>, _> = args
        .collections
        .iter()
        .map(|name| name.parse().map_err(Error::from))
        .collect();
    let names = names?;
    if from.is_empty() {
        return Err(Failure::not_found(format!(
            "{from}: there is no store here"
        )));
    }
    let interrupt = cx.interrupt.clone();
    let source = interrupt.or(async { Ok(Xronox::open(from.config()?.existing()).await?) });
    let source = source.await?;
    let target = interrupt.or(async { Ok(Xronox::open(to.config()?.create_buckets()).await?) });
    let target = target.await?;
    let bar = cx.notices.things(Some(0));
    let mut copy = source
        .home()?
        .copy_to(target.home()?)
        .on_progress(|progress: Progress| {
            if let Some(name) = progress.collection {
                bar.set_message(name.to_string());
            }
            if let Some(total) = progress.total {
                bar.set_length(total);
            }
            bar.set_position(progress.done);
        });
    if !names.is_empty() {
        copy = copy.collections(names);
    }
    let copied = interrupt.or(async { Ok(copy.await?) }).await;
    bar.finish_and_clear();
    let closed = (source.close().await, target.close().await);
    let report = copied.map_err(|failure| match failure.exit {
        Exit::Interrupted => failure.with("; the same command goes on with it"),
        _ => failure,
    })?;
    closed.0?;
    closed.1?;
    print(cx, &report, &to)?;
    Ok(Exit::Done)
}

fn print(cx: &mut Context, report: &CopyReport, to: &Place) -> Result<(), Failure> {
    if cx.out.json {
        return Ok(cx.out.value(report)?);
    }
    let already = match report.already {
        0 => String::new(),
        n => format!(" ({} were there)", counted(n, "version")),
    };
    cx.out.line(format_args!(
        "copied {} of {}, {}, to {to}{already}; compared {}: no difference",
        counted(report.versions, "version"),
        counted(report.collections, "collection"),
        bytes(report.bytes),
        counted(report.compared, "version"),
    ))?;
    Ok(())
}

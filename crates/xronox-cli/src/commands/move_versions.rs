//! `xronox move-versions`

use xronox::Progress;

use crate::{
    context::Context,
    exit::{Exit, Failure},
    output::{bytes, counted},
};

pub(super) async fn run(cx: &mut Context) -> Result<Exit, Failure> {
    let database = cx.database().await?;
    let bar = cx.notices.things(None);
    let told = |progress: Progress| {
        if let Some(name) = progress.collection {
            bar.set_message(name.to_string());
        }
        bar.set_position(progress.done);
    };
    let report = database.move_versions().on_progress(told).await;
    bar.finish_and_clear();
    let report = report?;
    if cx.out.json {
        cx.out.value(&report)?;
    } else {
        cx.out.line(format_args!(
            "moved {}, {}, of {} since the last time",
            counted(report.moved, "body"),
            bytes(report.moved_bytes),
            counted(report.commits, "commit"),
        ))?;
    }
    if report.damaged > 0 {
        let damaged = counted(report.damaged, "damaged one");
        cx.notices
            .say(&format!("{damaged} left alone; `xronox verify` names them"));
        return Ok(Exit::Failed);
    }
    Ok(Exit::Done)
}

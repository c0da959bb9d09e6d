//! `xronox verify`

use serde_json::json;
use xronox::{Progress, VerifyReport};

use crate::{
    args::Verify,
    context::Context,
    exit::{Exit, Failure},
    output::{Column, bytes, cell, counted, maybe},
};

pub(super) async fn run(args: Verify, cx: &mut Context) -> Result<Exit, Failure> {
    // A store too damaged to be opened is damage too.
    let database = cx.database().await.map_err(Failure::found_by_verify)?;
    if let Some(name) = &args.collection {
        cx.collections(Some(name))
            .await
            .map_err(Failure::found_by_verify)?;
    }
    let bar = cx.notices.things(Some(0));
    let told = |progress: Progress| {
        if let Some(name) = progress.collection {
            bar.set_message(name.to_string());
        }
        if let Some(total) = progress.total {
            bar.set_length(total);
        }
        bar.set_position(progress.done);
    };
    let report = match &args.collection {
        Some(name) => database.collection(name)?.verify().on_progress(told).await,
        None => database.verify().on_progress(told).await,
    };
    bar.finish_and_clear();
    let report = report.map_err(|error| Failure::from(error).found_by_verify())?;
    print(cx, &report)?;
    Ok(if report.clean() {
        Exit::Done
    } else {
        Exit::Failed
    })
}

fn print(cx: &mut Context, report: &VerifyReport) -> Result<(), Failure> {
    if cx.out.json {
        cx.out.value(report)?;
        return Ok(());
    }
    let columns = [
        Column::Text("collection"),
        Column::Text("rule"),
        Column::Number("cv"),
        Column::Text("id"),
        Column::Prose("damage"),
    ];
    let rows = report.damages.iter().map(|damage| {
        vec![
            damage.collection.to_string(),
            cell(Some(&json!(damage.rule))),
            maybe(damage.cv.as_ref()),
            maybe(damage.id.as_ref()),
            damage.message.clone(),
        ]
    });
    cx.out.table(&columns, rows)?;
    let found = match report.damage_count {
        0 => "no damage".to_owned(),
        n => counted(n, "damage"),
    };
    cx.out.line(format_args!(
        "{found}: checked {}, {}, {} of {}",
        counted(report.records, "record"),
        counted(report.rows, "version"),
        counted(report.bodies, "body"),
        bytes(report.bytes)
    ))?;
    Ok(())
}

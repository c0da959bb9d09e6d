//! `xronox log`

use xronox::Version;

use super::brief_sum;
use crate::{
    args::Log,
    context::Context,
    exit::{Exit, Failure},
    output::{Column, bytes, maybe},
};

/// Versions read at a time.
const PAGE: usize = 1000;

pub(super) async fn run(args: Log, cx: &mut Context) -> Result<Exit, Failure> {
    let collection = cx.collection(&args.collection).await?;
    let mut left = args.limit.unwrap_or(usize::MAX);
    let mut from = None;
    loop {
        let mut page = collection.history(&args.id).limit(left.min(PAGE));
        if let Some(ov) = from {
            page = page.from(ov);
        }
        let page = page.await?;
        left -= page.len();
        print(cx, &page)?;
        match page.last().and_then(|version| version.ov.checked_sub(1)) {
            Some(next) if left > 0 && page.len() == PAGE => from = Some(next),
            _ => return Ok(Exit::Done),
        }
    }
}

fn print(cx: &mut Context, page: &[Version]) -> Result<(), Failure> {
    if cx.out.json {
        for version in page {
            cx.out.value(version)?;
        }
        return Ok(());
    }
    let columns = [
        Column::Number("ov"),
        Column::Number("cv"),
        Column::Text("op"),
        Column::Text("at"),
        Column::Text("actor"),
        Column::Text("reason"),
        Column::Number("size"),
        Column::Text("sha256"),
    ];
    let row = |version: &Version| {
        let op = match (version.restored_from, version.pruned) {
            (Some(ov), _) => format!("{} ← {ov}", version.op),
            (None, true) => format!("{} (pruned)", version.op),
            (None, false) => version.op.to_string(),
        };
        vec![
            version.ov.to_string(),
            version.cv.to_string(),
            op,
            version.at.to_string(),
            maybe(version.actor.as_ref()),
            maybe(version.reason.as_ref()),
            maybe(version.size.map(bytes).as_ref()),
            brief_sum(version),
        ]
    };
    cx.out.table(&columns, page.iter().map(row))?;
    Ok(())
}

//! `xronox changes`

use std::time::Duration;

use xronox::Version;

use crate::{
    args::Changes,
    context::Context,
    exit::{Exit, Failure},
    output::{bytes, maybe},
};

/// Commits read at a time.
const PAGE: usize = 1000;
/// How often a followed collection is looked at.
const PAUSE: Duration = Duration::from_millis(250);

pub(super) async fn run(args: Changes, cx: &mut Context) -> Result<Exit, Failure> {
    let collection = cx.collection(&args.collection).await?;
    let mut left = args.limit.unwrap_or(u64::MAX);
    let mut after = args.after;
    let mut headed = false;
    while left > 0 {
        let limit = usize::try_from(left).map_or(PAGE, |left| left.min(PAGE));
        let page = collection.changes(after).limit(limit).await?;
        left -= page.len() as u64;
        after = page.last().map(|version| version.cv).or(after);
        for version in &page {
            if cx.out.json {
                cx.out.value(version)?;
                continue;
            }
            if !std::mem::replace(&mut headed, true) {
                cx.out.line(row([
                    "cv", "op", "id", "ov", "at", "size", "actor", "reason",
                ]))?;
            }
            cx.out.line(told(version))?;
        }
        if page.len() == limit {
            continue;
        }
        if !args.follow {
            break;
        }
        cx.out.flush()?;
        tokio::time::sleep(PAUSE).await;
    }
    Ok(Exit::Done)
}

fn told(version: &Version) -> String {
    row([
        &version.cv.to_string(),
        version.op.as_str(),
        &version.id.to_string(),
        &version.ov.to_string(),
        &version.at.to_string(),
        &maybe(version.size.map(bytes).as_ref()),
        &maybe(version.actor.as_ref()),
        &maybe(version.reason.as_ref()),
    ])
}

/// A row of fixed widths: the rest of the table may come much later.
fn row([cv, op, id, ov, at, size, actor, reason]: [&str; 8]) -> String {
    let row =
        format!("{cv:>8}  {op:<7}  {id:<24}  {ov:>5}  {at:<24}  {size:>10}  {actor:<16}  {reason}");
    row.trim_end().to_owned()
}

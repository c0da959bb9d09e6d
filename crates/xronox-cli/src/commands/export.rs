//! `xronox export`

use std::io::IsTerminal;

use futures::TryStreamExt;

use super::find::filter;
use crate::{
    args::Export,
    context::Context,
    exit::{Exit, Failure},
    output::counted,
};

pub(super) async fn run(args: Export, cx: &mut Context) -> Result<Exit, Failure> {
    let collection = cx.collection(&args.collection).await?;
    let mut query = collection.query(filter(args.filter.as_deref())?);
    if let Some(moment) = args.past.moment() {
        query = query.as_of(moment);
    }
    let mut records = query.stream().await?;
    let cv = records.cv();
    let bar = if cx.notices.shown() && !std::io::stdout().is_terminal() {
        // How many there are now is a good guess at how many there were.
        cx.notices.things(Some(collection.size().await?.records))
    } else {
        indicatif::ProgressBar::hidden()
    };
    let mut count = 0_u64;
    while let Some(record) = records.try_next().await? {
        cx.out.value(&record)?;
        count += 1;
        bar.set_position(count);
    }
    bar.finish_and_clear();
    cx.out.flush()?;
    let as_of = cv.map_or_else(String::new, |cv| format!(" as of cv {cv}"));
    cx.notices
        .say(&format!("exported {}{as_of}", counted(count, "record")));
    Ok(Exit::Done)
}

//! `xronox export`

use std::io::IsTerminal;

use futures::TryStreamExt;
use xronox::{Collection, Include, Projection};

use super::{find::filter, showing};
use crate::{
    args::{Export, Shown},
    context::Context,
    exit::{Exit, Failure},
    output::counted,
};

pub(super) async fn run(args: Export, cx: &mut Context) -> Result<Exit, Failure> {
    let collection = cx.collection(&args.collection).await?;
    let query = collection.query(filter(args.filter.as_deref())?);
    let mut query = showing!(args.shown, query);
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
    let (mut count, mut files) = (0_u64, 0);
    while let Some(record) = records.try_next().await? {
        cx.out.value(&record)?;
        count += 1;
        files += record.files().len() as u64;
        bar.set_position(count);
    }
    bar.finish_and_clear();
    cx.out.flush()?;
    let as_of = cv.map_or_else(String::new, |cv| format!(" as of cv {cv}"));
    cx.notices
        .say(&format!("exported {}{as_of}", counted(count, "record")));
    if let Some(left_out) = left_out(&collection, &args.shown, records.shown()) {
        cx.notices.say(&left_out);
    }
    if files > 0 {
        let files = counted(files, "file");
        cx.notices
            .say(&format!("left out: the content of {files} (xronox fetch)"));
    }
    Ok(Exit::Done)
}

/// What an export is without, if it is without anything.
fn left_out(collection: &Collection, asked: &Shown, shown: &Projection) -> Option<String> {
    if shown.is_everything() {
        return None;
    }
    let beyond = |name: &str| format!("what the projection `{name}` does not show");
    let mut parts = Vec::new();
    if let Some(name) = &asked.projection {
        parts.push(beyond(name));
    } else {
        let default = collection.projections().get("default");
        let narrow = |it: &Projection| *it.include() != Include::All || !it.exclude().is_empty();
        parts.extend(default.filter(|it| narrow(it)).map(|_| beyond("default")));
        let hidden = collection.hidden_fields();
        if !asked.show_hidden && !hidden.is_empty() {
            let fields: Vec<String> = hidden.iter().map(ToString::to_string).collect();
            let fields = fields.join(", ");
            parts.push(format!("the hidden fields {fields} (--show-hidden)"));
        }
    }
    Some(format!("left out: {}", parts.join(", ")))
}

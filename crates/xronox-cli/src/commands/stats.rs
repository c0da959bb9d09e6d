//! `xronox stats`

use serde_json::json;

use crate::{
    args::Stats,
    context::Context,
    exit::{Exit, Failure},
    output::{Column, bytes, maybe},
};

pub(super) async fn run(args: Stats, cx: &mut Context) -> Result<Exit, Failure> {
    let database = cx.database().await?;
    let names = cx.collections(args.collection.as_deref()).await?;
    let mut rows = Vec::with_capacity(names.len());
    for name in names {
        let size = database.collection(name.as_str())?.size().await?;
        if cx.out.json {
            let mut line = json!(size);
            if let Some(line) = line.as_object_mut() {
                line.insert("collection".to_owned(), json!(name));
            }
            cx.out.value(&line)?;
        }
        rows.push(vec![
            name.to_string(),
            size.records.to_string(),
            size.deleted.to_string(),
            size.versions.to_string(),
            bytes(size.bytes),
            maybe(size.cv.as_ref()),
            maybe(size.at.as_ref()),
        ]);
    }
    if !cx.out.json {
        if rows.is_empty() {
            cx.notices.say("there are no collections yet");
        }
        let columns = [
            Column::Text("collection"),
            Column::Number("records"),
            Column::Number("deleted"),
            Column::Number("versions"),
            Column::Number("bytes"),
            Column::Number("cv"),
            Column::Text("newest"),
        ];
        cx.out.table(&columns, rows)?;
    }
    Ok(Exit::Done)
}

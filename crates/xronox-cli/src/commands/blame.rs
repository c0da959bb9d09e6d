//! `xronox blame`

use xronox::Blame as Part;

use super::showing;
use crate::{
    args::Blame,
    context::Context,
    exit::{Exit, Failure},
    output::{Column, maybe},
};

pub(super) async fn run(args: Blame, cx: &mut Context) -> Result<Exit, Failure> {
    let collection = cx.collection(&args.collection).await?;
    let parts = showing!(args.shown, collection.blame(&args.id)).await?;
    if cx.out.json {
        for part in &parts {
            cx.out.value(part)?;
        }
        return Ok(Exit::Done);
    }
    let columns = [
        Column::Text("path"),
        Column::Number("ov"),
        Column::Text("op"),
        Column::Text("at"),
        Column::Text("actor"),
        Column::Text("reason"),
    ];
    let row = |Part { path, version, .. }: &Part| {
        vec![
            path.to_string(),
            version.ov.to_string(),
            version.op.to_string(),
            version.at.to_string(),
            maybe(version.actor.as_ref()),
            maybe(version.reason.as_ref()),
        ]
    };
    cx.out.table(&columns, parts.iter().map(row))?;
    Ok(Exit::Done)
}

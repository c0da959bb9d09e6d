//! `xronox init`

use serde_json::json;

use crate::{
    context::Context,
    exit::{Exit, Failure},
};

pub(super) async fn run(cx: &mut Context) -> Result<Exit, Failure> {
    cx.create_buckets = true;
    let place = cx.place.to_string();
    if cx.place.as_folder().is_none() {
        cx.database_to_write().await?;
        if cx.out.json {
            cx.out.value(&json!({ "catalog": place }))?;
        } else {
            cx.out.line(format_args!("{place} is ready"))?;
        }
        return Ok(Exit::Done);
    }
    let there = !cx.place.is_empty();
    cx.database_to_write().await?;
    if cx.out.json {
        cx.out.value(&json!({ "data": place, "created": !there }))?;
    } else if there {
        cx.out.line(format_args!("{place} is a store already"))?;
    } else {
        cx.out.line(format_args!("made {place}"))?;
    }
    Ok(Exit::Done)
}

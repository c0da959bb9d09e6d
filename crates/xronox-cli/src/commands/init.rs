//! `xronox init`

use serde_json::json;

use crate::{
    context::{Context, is_store},
    exit::{Exit, Failure},
};

pub(super) async fn run(cx: &mut Context) -> Result<Exit, Failure> {
    let there = is_store(&cx.data);
    cx.store_to_write().await?;
    let data = cx.data.display().to_string();
    if cx.out.json {
        cx.out.value(&json!({ "data": data, "created": !there }))?;
    } else if there {
        cx.out.line(format_args!("{data} is a store already"))?;
    } else {
        cx.out.line(format_args!("made {data}"))?;
    }
    Ok(Exit::Done)
}

//! `xronox get`

use super::showing;
use crate::{
    args::{Entities, Get},
    context::Context,
    exit::{Exit, Failure},
};

pub(super) async fn run(args: Get, cx: &mut Context) -> Result<Exit, Failure> {
    let collection = cx.collection(&args.collection).await?;
    let id = &args.id;
    if let Some(Entities(mappings)) = &args.entities {
        let mut get = showing!(args.shown, collection.get_with_entities(id, mappings));
        if let Some(moment) = args.point.moment() {
            get = get.as_of(moment);
        }
        let found = get.await?;
        if cx.out.json {
            cx.out.value(&found)?;
        } else {
            cx.out.pretty(&found)?;
        }
        return Ok(Exit::Done);
    }
    let get = match (args.point.ov, args.point.moment()) {
        (Some(ov), _) => collection.get_version(id, ov),
        (None, Some(moment)) => collection.get_as_of(id, moment),
        (None, None) => collection.get_latest(id),
    };
    let mut get = showing!(args.shown, get);
    if args.deleted {
        get = get.include_deleted();
    }
    let record = get.await?;
    if cx.out.json {
        cx.out.value(&record)?;
    } else {
        cx.out.pretty(&record)?;
    }
    Ok(Exit::Done)
}

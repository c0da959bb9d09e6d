//! `xronox enrich`

use super::{print_written, put::read};
use crate::{
    args::{Attribution, Enrich},
    context::Context,
    exit::{Exit, Failure},
};

pub(super) async fn run(args: Enrich, cx: &mut Context) -> Result<Exit, Failure> {
    let found_out = read(&args.file)?;
    let collection = cx.collection_to_write(&args.collection).await?;
    let Attribution { actor, reason } = &args.attribution;
    let (actor, reason) = (
        actor.as_deref().unwrap_or(""),
        reason.as_deref().unwrap_or(""),
    );
    let written = if let Some(id) = &args.id {
        let enrich = collection
            .enrich(id, found_out)
            .expected_ov(args.expected_ov);
        let enrich = args
            .function
            .into_iter()
            .fold(enrich, xronox::Enrich::function);
        enrich.actor(actor).reason(reason).await?
    } else {
        let insert = collection.smart_insert(found_out, &args.key);
        let insert = args
            .function
            .into_iter()
            .fold(insert, xronox::SmartInsert::function);
        insert.actor(actor).reason(reason).await?
    };
    print_written(&mut cx.out, &args.collection, &written)?;
    Ok(Exit::Done)
}

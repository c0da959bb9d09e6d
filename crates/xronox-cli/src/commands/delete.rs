//! `xronox delete`

use super::print_written;
use crate::{
    args::Delete,
    context::Context,
    exit::{Exit, Failure},
};

pub(super) async fn run(args: Delete, cx: &mut Context) -> Result<Exit, Failure> {
    let collection = cx.collection(&args.collection).await?;
    let mut delete = collection
        .delete(&args.id)
        .expected_ov(args.expected_ov)
        .actor(args.attribution.actor.unwrap_or_default())
        .reason(args.attribution.reason.unwrap_or_default());
    if args.hard {
        delete = delete.hard();
    }
    let written = delete.await?;
    print_written(&mut cx.out, &args.collection, &written)?;
    Ok(Exit::Done)
}

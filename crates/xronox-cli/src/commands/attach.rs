//! `xronox attach`

use std::{fs::File, io, path::Path};

use indicatif::ProgressBar;
use xronox::Content;

use super::print_written;
use crate::{
    args::{Attach, Attribution},
    context::Context,
    exit::{Exit, Failure},
};

pub(super) async fn run(args: Attach, cx: &mut Context) -> Result<Exit, Failure> {
    let (content, bar) = if args.file == Path::new("-") {
        let bar = cx.notices.bytes(None);
        (seen(io::stdin(), &bar), bar)
    } else {
        let unreadable = |error: io::Error| Failure::file(&args.file, &error);
        let file = File::open(&args.file).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        let bar = cx.notices.bytes(Some(length));
        (seen(file, &bar), bar)
    };
    let collection = cx.collection_to_write(&args.collection).await?;
    let Attribution { actor, reason } = &args.attribution;
    let mut attach = collection
        .attach(&args.id, &args.path, content)
        .expected_ov(args.expected_ov)
        .actor(actor.as_deref())
        .reason(reason.as_deref().unwrap_or(""));
    if let Some(content_type) = args.content_type {
        attach = attach.content_type(content_type);
    }
    let written = attach.await;
    bar.finish_and_clear();
    print_written(&mut cx.out, &args.collection, &written?)?;
    Ok(Exit::Done)
}

/// What a file gives, while a bar shows how much that was.
fn seen(file: impl io::Read + Send + 'static, bar: &ProgressBar) -> Content {
    Content::from_read(bar.wrap_read(file))
}

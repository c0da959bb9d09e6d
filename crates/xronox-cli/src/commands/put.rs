//! `xronox put`

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use serde_json::Value;
use xronox::{Change, Collection, Create, ErrorKind, Op, Settings, Written, json};

use super::print_written;
use crate::{
    args::{Attribution, Entities, Put},
    context::Context,
    exit::{Exit, Failure},
};

pub(super) async fn run(args: Put, cx: &mut Context) -> Result<Exit, Failure> {
    let document = read(&args.file)?;
    let collection = cx.collection_to_write(&args.collection).await?;
    if let Some(Entities(mappings)) = &args.entities {
        let Attribution { actor, reason } = &args.attribution;
        let mut insert = collection
            .insert_with_entities(document, mappings)
            .actor(actor.as_deref())
            .reason(reason.as_deref().unwrap_or(""));
        if args.grant_shared {
            insert = insert.grant_shared_tiers();
        }
        let made = insert.await?;
        if cx.out.json {
            cx.out.value(&made)?;
            return Ok(Exit::Done);
        }
        print_written(&mut cx.out, &args.collection, &made.main)?;
        for (place, entity) in &made.entity_results {
            let (done, id, ov) = (entity.operation, &entity.id, entity.ov);
            cx.out
                .line(format_args!("{done}  {place}  {id}  ov {ov}"))?;
        }
        return Ok(Exit::Done);
    }
    let written = write(&collection, document, &args).await?;
    print_written(&mut cx.out, &args.collection, &written)?;
    Ok(Exit::Done)
}

async fn write(
    collection: &Collection,
    document: Value,
    args: &Put,
) -> Result<Written, xronox::Error> {
    let Attribution { actor, reason } = &args.attribution;
    let reason = reason.as_deref().unwrap_or("");
    let Some(id) = &args.id else {
        return new(collection.create(document), args).await;
    };
    let update = |document: Value| -> Change<'_> {
        collection
            .update(id, document)
            .expected_ov(args.expected_ov)
            .actor(actor.as_deref())
            .reason(reason)
    };
    if args.expected_ov.is_some() || is_there(collection, id).await? {
        return update(document).await;
    }
    let created = new(collection.create_with_id(id, document.clone()), args).await;
    match &created {
        // Somebody was faster: now there is something to replace.
        Err(error) if *error.kind() == ErrorKind::AlreadyExists => update(document).await,
        _ => created,
    }
}

/// A new record, with where it comes from and who makes it.
fn new<'c>(mut create: Create<'c>, args: &Put) -> Create<'c> {
    if let Some((collection, id)) = &args.parent {
        create = create.parent(id, collection);
    }
    if let Some((collection, id)) = &args.origin {
        create = create.origin(id, collection, None);
    }
    let Attribution { actor, reason } = &args.attribution;
    let reason = reason.as_deref().unwrap_or("");
    create.actor(actor.as_deref()).reason(reason)
}

/// Whether there is such a record, deleted or not.
async fn is_there(collection: &Collection, id: &str) -> Result<bool, xronox::Error> {
    match collection.history(id).limit(1).await {
        Ok(newest) => Ok(newest
            .first()
            .is_some_and(|version| version.op != Op::Purge)),
        Err(error) if *error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Reads a file that holds one document.
pub(super) fn read(path: &Path) -> Result<Value, Failure> {
    // White space and escapes can make a text longer than its canonical form.
    let limit = Settings::default().payloads.max_bytes.saturating_mul(2);
    let mut text = Vec::new();
    let got = if path == Path::new("-") {
        io::stdin().lock().take(limit + 1).read_to_end(&mut text)
    } else {
        File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut text))
    };
    got.map_err(|error| Failure::file(path, &error))?;
    let name = path.display();
    if text.len() as u64 > limit {
        let limit = crate::output::bytes(limit);
        return Err(Failure::invalid(format!(
            "{name}: a document of over {limit}"
        )));
    }
    let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&text);
    json::parse(text).map_err(|error| Failure::invalid(format!("{name}: {error}")))
}

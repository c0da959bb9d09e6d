//! `xronox fetch`

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use futures::TryStreamExt;
use indicatif::ProgressBar;
use xronox::{Collection, FileContent};

use crate::{
    args::Fetch,
    context::Context,
    exit::{Exit, Failure},
    output::bytes,
};

pub(super) async fn run(args: Fetch, cx: &mut Context) -> Result<Exit, Failure> {
    let collection = cx.collection(&args.collection).await?;
    if args.url {
        return url(&collection, &args, cx).await;
    }
    let mut open = collection.file(&args.id, &args.path);
    if let Some(ov) = args.point.ov {
        open = open.version(ov);
    } else if let Some(moment) = args.point.moment() {
        open = open.as_of(moment);
    }
    if args.text {
        open = open.as_text();
    }
    let mut content = open.await?;
    let bar = cx.notices.bytes(Some(content.info().size));
    let Some(path) = &args.output else {
        while let Some(some) = content.try_next().await? {
            cx.out.raw(&some)?;
            bar.inc(some.len() as u64);
        }
        bar.finish_and_clear();
        cx.out.flush()?;
        return Ok(Exit::Done);
    };
    save(&mut content, path, &bar).await?;
    let info = content.info();
    if cx.out.json {
        cx.out.value(info)?;
    }
    let size = if args.text { info.text_size } else { None };
    let size = bytes(size.unwrap_or(info.size));
    let kind = if args.text {
        "text"
    } else {
        &info.content_type
    };
    let path = path.display();
    cx.notices.say(&format!("wrote {size} ({kind}) to {path}"));
    Ok(Exit::Done)
}

/// Prints a URL that fetches the file.
async fn url(collection: &Collection, args: &Fetch, cx: &mut Context) -> Result<Exit, Failure> {
    let id = &args.id;
    let get = match (args.point.ov, args.point.moment()) {
        (Some(ov), _) => collection.get_version(id, ov),
        (None, Some(moment)) => collection.get_as_of(id, moment),
        (None, None) => collection.get_latest(id),
    };
    let get = get.include_hidden();
    let record = get.presign(Duration::from_secs(args.ttl)).await?;
    let presigned = record.presigned();
    let file = presigned
        .iter()
        .find(|(path, _)| path.to_string() == args.path);
    let not_there =
        |what: &str| Failure::not_found(format!("there is no {what} at `{}`", args.path));
    let (_, file) = file.ok_or_else(|| not_there("file"))?;
    if cx.out.json {
        cx.out.value(file)?;
        return Ok(Exit::Done);
    }
    let url = match (args.text, &file.text_url) {
        (false, _) => &file.blob_url,
        (true, Some(url)) => url,
        (true, None) => return Err(not_there("file that is kept as text")),
    };
    cx.out.line(url)?;
    Ok(Exit::Done)
}

/// Writes a file beside the path, and moves it there once it is whole.
async fn save(content: &mut FileContent, path: &Path, bar: &ProgressBar) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::file(path, &error);
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    let part = PathBuf::from(name);
    let opened = File::options().write(true).create_new(true).open(&part);
    let mut file = opened.map_err(|error| Failure::file(&part, &error))?;
    let mut unfinished = Unfinished(Some(&part));
    while let Some(some) = content.try_next().await? {
        file.write_all(&some).map_err(failed)?;
        bar.inc(some.len() as u64);
    }
    file.sync_all().map_err(failed)?;
    fs::rename(&part, path).map_err(failed)?;
    unfinished.0 = None;
    bar.finish_and_clear();
    Ok(())
}

/// A file that goes unless it is finished.
struct Unfinished<'p>(Option<&'p Path>);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(part) = self.0 {
            // What is left of it is named as what it is.
            let _ = fs::remove_file(part);
        }
    }
}

//! `xronox import`

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
};

use indicatif::{HumanCount, ProgressBar};
use tokio::sync::mpsc;
use xronox::{Error, ImportReport, Importer, Settings};

use crate::{
    args::{Import, Ours},
    context::Context,
    exit::{Exit, Failure},
    interrupt::Interrupt,
    json_input::{Document, Documents},
};

/// How much is read from the file at a time.
const BUFFER: usize = 256 * 1024;
/// Documents, and bytes of their text, that are handed over together.
const BATCH: usize = 100;
const BATCH_BYTES: u64 = 256 * 1024;
/// Batches read ahead of the commits.
const AHEAD: usize = 2;

type Batch = Result<Vec<Document>, Failure>;

pub(super) async fn run(args: Import, cx: &mut Context) -> Result<Exit, Failure> {
    let file = Source::open(&args.file)?;
    let collection = cx.collection_to_write(&args.collection).await?;
    let mut import = collection
        .import()
        .actor(args.attribution.actor.unwrap_or_default())
        .reason(args.attribution.reason.unwrap_or_default());
    if let Some(key) = args.key {
        import = import.key(key);
    }
    for (ours, field) in args.map {
        import = match ours {
            Ours::Id => import.id_from(field),
            Ours::Created => import.created_from(field),
            Ours::Updated => import.updated_from(field),
        };
    }
    let interrupt = cx.interrupt.clone();
    let mut importer = interrupt.or(async { Ok(import.start().await?) }).await?;
    let bar = cx.notices.bytes(file.size);
    let added = add_all(&mut importer, file.read_ahead()?, &interrupt, &bar).await;
    // Whatever stopped it, what was added is committed and told.
    let finished = importer.finish().await.map_err(Failure::from);
    bar.finish_and_clear();
    print(cx, &importer.report())?;
    added?;
    finished?;
    Ok(Exit::Done)
}

async fn add_all(
    importer: &mut Importer<'_>,
    mut batches: mpsc::Receiver<Batch>,
    interrupt: &Interrupt,
    bar: &ProgressBar,
) -> Result<(), Failure> {
    let mut count = 0_u64;
    loop {
        let batch = tokio::select! {
            biased;
            () = interrupt.asked() => {
                return Err(Failure::interrupted(format!(
                    "interrupted; the first {count} records are imported"
                )));
            }
            batch = batches.recv() => batch,
        };
        let Some(batch) = batch else { return Ok(()) };
        for Document { value, line, read } in batch? {
            count += 1;
            let added = importer.add(value).await;
            added.map_err(|error| placed(error, count, line))?;
            bar.set_position(read);
        }
        bar.set_message(format!("{} records", HumanCount(count)));
    }
}

/// Names the line where it is known: the library counts records, and may be
/// telling of an earlier one.
fn placed(error: Error, count: u64, line: u64) -> Failure {
    let known = count != line && error.position() == Some(count);
    let failure = Failure::from(error);
    if known {
        failure.with(&format!(" (line {line})"))
    } else {
        failure
    }
}

fn print(cx: &mut Context, report: &ImportReport) -> Result<(), Failure> {
    if cx.out.json {
        cx.out.value(report)?;
    } else {
        let ImportReport {
            created,
            updated,
            unchanged,
            ..
        } = report;
        cx.out.line(format_args!(
            "created {created}, updated {updated}, unchanged {unchanged}"
        ))?;
    }
    Ok(())
}

/// Where the records come from.
struct Source {
    name: PathBuf,
    reader: Box<dyn BufRead + Send>,
    /// How long it is, if it has an end that is known.
    size: Option<u64>,
}

impl Source {
    fn open(path: &Path) -> Result<Self, Failure> {
        if path == Path::new("-") {
            return Ok(Self {
                name: "standard input".into(),
                reader: Box::new(BufReader::with_capacity(BUFFER, io::stdin())),
                size: None,
            });
        }
        let failed = |error: io::Error| Failure::file(path, &error);
        let file = File::open(path).map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        Ok(Self {
            name: path.to_owned(),
            reader: Box::new(BufReader::with_capacity(BUFFER, file)),
            size: meta.is_file().then_some(meta.len()),
        })
    }

    /// Reads and parses on a thread of its own, so that commits need not wait.
    /// It is no task of the runtime, which would wait for it at the end, and a
    /// terminal may never send anything.
    fn read_ahead(self) -> Result<mpsc::Receiver<Batch>, Failure> {
        // White space and escapes can make a text longer than its canonical form.
        let limit = Settings::default().payloads.max_bytes.saturating_mul(2);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let name = self.name.display().to_string();
        let documents = Documents::new(self.reader, name, limit);
        let (to, batches) = mpsc::channel(AHEAD);
        std::thread::Builder::new()
            .name("reader".to_owned())
            .spawn(move || send_all(documents, &to))
            .map_err(|error| Failure::file(&self.name, &error))?;
        Ok(batches)
    }
}

fn send_all(mut documents: Documents<impl BufRead>, to: &mpsc::Sender<Batch>) {
    let mut batch = Vec::new();
    let mut begun = 0;
    loop {
        match documents.next() {
            Ok(Some(document)) => {
                let read = document.read;
                batch.push(document);
                if batch.len() < BATCH && read - begun < BATCH_BYTES {
                    continue;
                }
                begun = read;
                if to.blocking_send(Ok(std::mem::take(&mut batch))).is_err() {
                    return;
                }
            }
            end => {
                // Once nobody listens there is nothing left to say.
                let _ = to.blocking_send(Ok(batch));
                if let Err(failure) = end {
                    let _ = to.blocking_send(Err(failure));
                }
                return;
            }
        }
    }
}

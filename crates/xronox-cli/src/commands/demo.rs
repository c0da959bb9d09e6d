//! `xronox demo`: a story told by the commands themselves.

use std::{env, fs, path::PathBuf};

use clap::Parser;
use tempfile::TempDir;
use xronox::Config;

use crate::{
    args::{Args, Demo},
    context::Context,
    exit::{Exit, Failure},
    place::Place,
};

/// The data: `examples/data/README.md` says where it is from.
const FILES: [(&str, &[u8]); 2] = [
    (
        "zones-2020a.jsonl",
        include_bytes!("../../../../examples/data/zones-2020a.jsonl"),
    ),
    (
        "zones-2025b.jsonl",
        include_bytes!("../../../../examples/data/zones-2025b.jsonl"),
    ),
];

/// What is said, and the commands that follow.
type Story = [(&'static str, &'static [&'static [&'static str]])];

/// One store, and time.
const ZONES: &Story = &[
    (
        "The time zones of the world, as the IANA database had them in 2020, and again in 2025:",
        &[
            &[
                "import",
                "zones",
                "zones-2020a.jsonl",
                "--map",
                "id=zone",
                "--actor",
                "job:tzdb",
                "--reason",
                "release 2020a",
            ],
            &[
                "import",
                "zones",
                "zones-2025b.jsonl",
                "--map",
                "id=zone",
                "--actor",
                "job:tzdb",
                "--reason",
                "release 2025b",
            ],
        ],
    ),
    (
        "354 zones were as they had been, and have no new version. 60 changed, such as:",
        &[
            &["log", "zones", "America/Mexico_City"],
            &["diff", "zones", "America/Mexico_City"],
        ],
    ),
    (
        "Which release last set each part of it?",
        &[&["blame", "zones", "America/Mexico_City"]],
    ),
    (
        "In 2022 Mexico gave up daylight saving time, but for its northern border. Where it is in\n\
         # use now, and where it was when the first import had finished (cv 424):",
        &[
            &[
                "find",
                "zones",
                "--filter",
                r#"{"country.code": "MX", "daylightSaving": true}"#,
                "--fields",
                "utcOffset,rule",
            ],
            &[
                "find",
                "zones",
                "--filter",
                r#"{"country.code": "MX", "daylightSaving": true}"#,
                "--fields",
                "utcOffset,rule",
                "--cv",
                "424",
            ],
        ],
    ),
    (
        "Somebody wants the old spelling to go, Europe/Kiev, and types the new one. No harm done:",
        &[
            &[
                "delete",
                "zones",
                "Europe/Kyiv",
                "--actor",
                "ann",
                "--reason",
                "old spelling",
            ],
            &[
                "restore",
                "zones",
                "Europe/Kyiv",
                "--ov",
                "0",
                "--actor",
                "bob",
                "--reason",
                "no, the new one",
            ],
            &["log", "zones", "Europe/Kyiv"],
        ],
    ),
    (
        "A whole collection can go back, too. What that would do:",
        &[&["restore", "zones", "--cv", "424", "--dry-run"]],
    ),
    (
        "And all of it is there, byte for byte:",
        &[&["verify"], &["stats"]],
    ),
];

/// What three tenants need.
const TENANT_FILES: [(&str, &[u8]); 6] = [
    (
        "xronox.config.json",
        include_bytes!("../../../../examples/tenants/xronox.config.json"),
    ),
    (
        "acme.json",
        include_bytes!("../../../../examples/tenants/acme.json"),
    ),
    (
        "acme-paid.json",
        include_bytes!("../../../../examples/tenants/acme-paid.json"),
    ),
    (
        "globex.json",
        include_bytes!("../../../../examples/tenants/globex.json"),
    ),
    (
        "initech.json",
        include_bytes!("../../../../examples/tenants/initech.json"),
    ),
    (
        "plan.json",
        include_bytes!("../../../../examples/tenants/plan.json"),
    ),
];

/// Three tenants, two databases and one store of objects.
const TENANTS: &Story = &[
    (
        "Two folders for catalogs, one for large bodies, and tenants that come as they come:",
        &[&["config", "check", "xronox.config.json"]],
    ),
    (
        "Three of them, each with an order of the same id:",
        &[
            &["tenants", "create", "acme"],
            &["tenants", "create", "globex"],
            &["tenants", "create", "initech"],
            &[
                "put",
                "orders",
                "acme.json",
                "--id",
                "o-1",
                "--tenant",
                "acme",
            ],
            &[
                "put",
                "orders",
                "globex.json",
                "--id",
                "o-1",
                "--tenant",
                "globex",
            ],
            &[
                "put",
                "orders",
                "initech.json",
                "--id",
                "o-1",
                "--tenant",
                "initech",
            ],
        ],
    ),
    (
        "Each sees its own, and nothing else:",
        &[
            &[
                "find",
                "orders",
                "--fields",
                "customer,total",
                "--tenant",
                "acme",
            ],
            &[
                "find",
                "orders",
                "--fields",
                "customer,total",
                "--tenant",
                "globex",
            ],
        ],
    ),
    (
        "What all of them share is in a database of its own:",
        &[
            &[
                "put",
                "plans",
                "plan.json",
                "--id",
                "basic",
                "--type",
                "metadata",
            ],
            &["stats", "--type", "metadata"],
        ],
    ),
    (
        "acme moves to the other folder, with all its history:",
        &[
            &[
                "put",
                "orders",
                "acme-paid.json",
                "--id",
                "o-1",
                "--tenant",
                "acme",
            ],
            &["tenants", "move", "acme", "--to", "two"],
            &["log", "orders", "o-1", "--tenant", "acme"],
            &["verify", "--tenant", "acme"],
        ],
    ),
    (
        "initech leaves, and nothing of it stays:",
        &[
            &["tenants", "drop", "initech", "--yes"],
            &["tenants", "list"],
        ],
    ),
];

pub(super) async fn run(args: Demo, cx: &mut Context) -> Result<Exit, Failure> {
    let folder = TempDir::with_prefix("xronox-demo-")?;
    let home = env::current_dir()?;
    if args.tenants && cx.named {
        return Err(Failure::usage(
            "the demo of tenants has a configuration of its own",
        ));
    }
    if cx.named && has_zones(cx).await? {
        let place = &cx.place;
        return Err(Failure::already_exists(format!(
            "{place}: the demo wants a store of its own"
        )));
    }
    let (files, story) = if args.tenants {
        (&TENANT_FILES[..], TENANTS)
    } else {
        (&FILES[..], ZONES)
    };
    for (name, content) in files {
        let path = folder.path().join(name);
        fs::write(&path, content).map_err(|error| Failure::file(&path, &error))?;
    }
    env::set_current_dir(folder.path())?;
    if args.tenants
        && let Some((file, config)) = Config::discover(".")?
    {
        cx.place = Place::configured(file, config);
    }
    let told = tell(story, cx).await;
    let closed = cx.close().await;
    env::set_current_dir(&home)?;
    let told = told?;
    closed?;
    let kept = keep(args.keep, cx, folder);
    if let Some((place, files)) = kept {
        remark(cx, "")?;
        remark(cx, &format!("The store is {place}."))?;
        if let Some(files) = files {
            remark(
                cx,
                &format!(
                    "Go on with: cd {} && xronox {}",
                    files.display(),
                    if args.tenants {
                        "log orders o-1 --tenant acme"
                    } else {
                        "log zones Africa/Cairo"
                    }
                ),
            )?;
        }
    }
    Ok(told)
}

/// Whether the store that the command line names is in use already: a folder
/// by anything, servers by what the demo would write.
async fn has_zones(cx: &mut Context) -> Result<bool, Failure> {
    if let Some(data) = cx.place.as_folder() {
        *data = std::path::absolute(&*data)?;
        return Ok(!cx.place.is_empty());
    }
    cx.create_buckets = true;
    let collections = cx.database_to_write().await?.collections().await?;
    Ok(collections.iter().any(|name| name.as_str() == "zones"))
}

/// Tells it to the end, or until a command is not done.
async fn tell(story: &Story, cx: &mut Context) -> Result<Exit, Failure> {
    for (i, (text, commands)) in story.iter().enumerate() {
        if i > 0 {
            remark(cx, "")?;
        }
        for line in format!("# {text}").lines() {
            remark(cx, line)?;
        }
        for words in *commands {
            let line: Vec<String> = words.iter().map(|word| super::quoted(word)).collect();
            remark(cx, &format!("$ xronox {}", line.join(" ")))?;
            let words = std::iter::once(&"xronox").chain(*words);
            let args = Args::try_parse_from(words).map_err(|e| Failure::usage(e.to_string()))?;
            cx.whose = args.globals.whose.context()?;
            let exit = super::run(args.command, cx).await?;
            cx.out.flush()?;
            if exit != Exit::Done {
                return Ok(exit);
            }
        }
    }
    Ok(Exit::Done)
}

/// Prints what is said between the results: data for nobody but people.
fn remark(cx: &mut Context, text: &str) -> Result<(), Failure> {
    if cx.out.json {
        cx.notices.say(text);
    } else {
        cx.out.line(text)?;
    }
    Ok(())
}

/// Where the store is that stays, and the files if they do.
fn keep(keep: bool, cx: &mut Context, folder: TempDir) -> Option<(Place, Option<PathBuf>)> {
    if cx.named {
        return Some((cx.place.clone(), None));
    }
    if !keep {
        return None;
    }
    let folder = folder.keep();
    if let Some(data) = cx.place.as_folder() {
        *data = folder.join(&*data);
    }
    Some((cx.place.clone(), Some(folder)))
}

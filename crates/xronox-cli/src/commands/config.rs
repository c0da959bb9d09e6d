//! `xronox config`

use serde_json::json;
use xronox::{BucketPlace, Config};

use crate::{
    args::{self, ConfigCheck},
    context::Context,
    exit::{Exit, Failure},
    output::{Column, counted},
};

pub(super) async fn run(args: args::Config, cx: &mut Context) -> Result<Exit, Failure> {
    match args {
        args::Config::Schema => {
            cx.out.pretty(&Config::schema())?;
            Ok(Exit::Done)
        }
        args::Config::Show => show(cx),
        args::Config::Check(args) => check(args, cx).await,
        args::Config::Buckets { make } => buckets(make, cx).await,
    }
}

async fn buckets(make: bool, cx: &mut Context) -> Result<Exit, Failure> {
    let mut ensure = cx.place.config()?.ensure_buckets();
    if !make {
        ensure = ensure.dry_run();
    }
    let report = ensure.await?;
    if cx.out.json {
        cx.out.value(&report)?;
    } else {
        let columns = ["space", "bucket", ""].map(Column::Prose);
        let row = |place: &BucketPlace, said: String| {
            let bucket = place.bucket.clone().unwrap_or_default();
            vec![place.space.clone(), bucket, said]
        };
        let made = report.made.iter().map(|made| row(made, "made".to_owned()));
        let lacking = report.lacking.iter();
        let lacking = lacking.map(|lacking| row(&lacking.place, lacking.error.to_string()));
        let rows: Vec<_> = made.chain(lacking).collect();
        cx.out.line(format_args!(
            "{} there, {} made, {} lacking",
            report.there, report.made_count, report.lacking_count
        ))?;
        if !rows.is_empty() {
            cx.out.table(&columns, rows)?;
        }
    }
    // What fails is in the report.
    match report.lacking.into_iter().next() {
        None => Ok(Exit::Done),
        Some(lacking) => Ok(Failure::from(lacking.error).exit),
    }
}

fn show(cx: &mut Context) -> Result<Exit, Failure> {
    let config = cx.place.config()?.show();
    if cx.out.json {
        let file = cx.place.file();
        cx.out.value(&json!({ "file": file, "config": config }))?;
    } else {
        cx.out.pretty(&config)?;
    }
    Ok(Exit::Done)
}

async fn check(args: ConfigCheck, cx: &mut Context) -> Result<Exit, Failure> {
    let (file, config) = match args.file.or(cx.configuration.take()) {
        Some(file) => {
            let config = Config::load(&file)?;
            (file, config)
        }
        None => Config::discover(".")?.ok_or_else(|| {
            Failure::not_found(
                "there is no xronox.config.json or .xronox.json here or in a folder above",
            )
        })?,
    };
    let later = config.unsupported();
    let later: Vec<String> = later.iter().map(ToString::to_string).collect();
    let tried = if args.connect {
        config.check_connections().await
    } else {
        Vec::new()
    };
    if cx.out.json {
        let mut report = json!({ "file": file, "problems": [], "unsupported": later });
        if args.connect {
            let tried = tried.iter().map(|one| {
                let error = one.result.as_ref().err().map(ToString::to_string);
                json!({ "path": one.path, "ok": error.is_none(), "error": error })
            });
            report["connections"] = tried.collect();
        }
        cx.out.value(&report)?;
    } else {
        let databases = counted(
            u64::try_from(config.db_connections.len()).unwrap_or(u64::MAX),
            "connection",
        );
        cx.out
            .line(format_args!("{}: no problems, {databases}", file.display()))?;
        for later in &later {
            cx.out.line(later)?;
        }
        let columns = [Column::Text("connection"), Column::Prose("")];
        let rows = tried.iter().map(|one| {
            let said = match &one.result {
                Ok(()) => "answers".to_owned(),
                Err(error) => error.to_string(),
            };
            vec![one.path.clone(), said]
        });
        cx.out.table(&columns, rows)?;
    }
    // What fails is in the report.
    match tried.into_iter().find_map(|one| one.result.err()) {
        None => Ok(Exit::Done),
        Some(error) => Ok(Failure::from(error).exit),
    }
}

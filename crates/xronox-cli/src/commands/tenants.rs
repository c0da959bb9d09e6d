//! `xronox tenants`

use std::io::{self, IsTerminal, Write};

use xronox::{DropReport, MoveReport, Progress, TenantInfo, TenantPlace, Tenants};

use super::quoted;
use crate::{
    args::{DropTenant, Tenants as Args},
    context::Context,
    exit::{Exit, Failure},
    output::{Column, counted, maybe},
};

/// Tenants asked for at a time.
const PAGE: usize = 500;

pub(super) async fn run(args: Args, cx: &mut Context) -> Result<Exit, Failure> {
    let interrupt = cx.interrupt.clone();
    match args {
        Args::Drop(args) => return remove(args, cx).await,
        Args::Move {
            id,
            to,
            keep_old,
            cancel,
        } => {
            return match to {
                Some(to) if !cancel => relocate(&id, to, keep_old, cx).await,
                _ => {
                    let tenants = tenants(cx).await?;
                    let cancelled = async { Ok(tenants.cancel_move(id).await?) };
                    interrupt.or(cancelled).await?;
                    Ok(Exit::Done)
                }
            };
        }
        _ => {}
    }
    let work = async {
        let tenants = tenants(cx).await?;
        match args {
            Args::List { after, limit } => list(&tenants, after, limit, cx).await?,
            Args::Create { id, plan, meta } => {
                let mut create = tenants.create(id);
                if let Some(plan) = plan {
                    create = create.plan(plan);
                }
                for (key, value) in meta {
                    create = create.meta(key, value);
                }
                describe(&create.await?, cx)?;
            }
            Args::Describe { id } => describe(&tenants.describe(&id).await?, cx)?,
            Args::Suspend { id } => tenants.suspend(&id).await?,
            Args::Resume { id } => tenants.resume(&id).await?,
            Args::Drop(_) | Args::Move { .. } => {}
        }
        Ok(Exit::Done)
    };
    interrupt.or(work).await
}

async fn tenants(cx: &mut Context) -> Result<Tenants, Failure> {
    Ok(cx.store().await?.tenants())
}

async fn list(
    tenants: &Tenants,
    after: Option<String>,
    limit: Option<usize>,
    cx: &mut Context,
) -> Result<(), Failure> {
    let columns = [
        Column::Prose("tenant"),
        Column::Text("state"),
        Column::Text("since"),
        Column::Prose("databases"),
    ];
    let (mut left, mut after) = (limit.unwrap_or(usize::MAX), after);
    while left > 0 {
        let mut list = tenants.list().limit(left.min(PAGE));
        if let Some(after) = after {
            list = list.after(after);
        }
        let page = list.await?;
        left -= page.items.len();
        if cx.out.json {
            for tenant in &page.items {
                cx.out.value(tenant)?;
            }
        } else {
            let rows = page.items.iter().map(|tenant| {
                let databases = tenant.databases.iter().map(place);
                vec![
                    tenant.tenant_id.clone(),
                    state(tenant),
                    maybe(tenant.since.as_ref()),
                    databases.collect::<Vec<_>>().join(", "),
                ]
            });
            cx.out.table(&columns, rows)?;
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    if let Some(after) = after {
        let after = quoted(&after);
        cx.notices.say(&format!("there are more: --after {after}"));
    }
    Ok(())
}

fn state(tenant: &TenantInfo) -> String {
    match &tenant.moving_to {
        Some(to) => format!("{} to {to}", tenant.state),
        None => tenant.state.to_string(),
    }
}

fn place(place: &TenantPlace) -> String {
    let TenantPlace {
        database_type,
        connection,
        database,
        ..
    } = place;
    format!("{database_type}: {connection}/{database}")
}

fn describe(tenant: &TenantInfo, cx: &mut Context) -> Result<(), Failure> {
    if cx.out.json {
        cx.out.value(tenant)?;
        return Ok(());
    }
    let listed = if tenant.listed {
        ", listed in the configuration"
    } else {
        ""
    };
    cx.out.line(format_args!(
        "{}  {}{listed}",
        tenant.tenant_id,
        state(tenant)
    ))?;
    if let Some(since) = &tenant.since {
        cx.out.line(format_args!("since     {since}"))?;
    }
    if let Some(plan) = &tenant.plan {
        cx.out.line(format_args!("plan      {plan}"))?;
    }
    for (key, value) in &tenant.meta {
        cx.out.line(format_args!("meta      {key}={value}"))?;
    }
    for database in &tenant.databases {
        let tell = |what: &str, name: &Option<String>| {
            let name = name.as_ref();
            name.map_or_else(String::new, |name| format!(", {what} in {name}"))
        };
        cx.out.line(format_args!(
            "database  {}{}{}",
            place(database),
            tell("bodies", &database.space),
            tell("counters", &database.analytics)
        ))?;
    }
    Ok(())
}

async fn remove(args: DropTenant, cx: &mut Context) -> Result<Exit, Failure> {
    let tenants = tenants(cx).await?;
    let interrupt = cx.interrupt.clone();
    let DropTenant { id, dry_run, yes } = args;
    if !dry_run && !yes {
        if !io::stdin().is_terminal() {
            let why = "a tenant is dropped for good: say --yes, or look first with --dry-run";
            return Err(Failure::usage(why));
        }
        let planned = async { Ok(tenants.drop(&id).dry_run().await?) };
        print_drop(&interrupt.or(planned).await?, cx)?;
        cx.out.flush()?;
        let asked = id.clone();
        let agreed = async {
            let answer = tokio::task::spawn_blocking(move || ask(&asked)).await;
            answer.map_err(io::Error::from)?.map_err(Failure::from)
        };
        if !interrupt.or(agreed).await? {
            cx.notices.say("nothing was removed");
            return Ok(Exit::Done);
        }
    }
    let bar = cx.notices.things(None);
    let mut drop = tenants
        .drop(&id)
        .on_progress(|progress: Progress| bar.set_position(progress.done));
    if dry_run {
        drop = drop.dry_run();
    }
    let report = interrupt.or(async { Ok(drop.await?) }).await;
    bar.finish_and_clear();
    let report = report.map_err(|failure| goes_on(failure, dry_run))?;
    print_drop(&report, cx)?;
    if report.residue > 0 {
        return Err(Failure::unavailable(format!(
            "{} came while the tenant was dropped: drop it again",
            counted(report.residue, "thing")
        )));
    }
    Ok(Exit::Done)
}

/// Whether somebody at the terminal types the id.
fn ask(id: &str) -> io::Result<bool> {
    let id_shown = crate::output::printable(id);
    write!(io::stderr(), "type {id_shown} to remove it for good: ")?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(answer.trim() == id)
}

fn print_drop(report: &DropReport, cx: &mut Context) -> Result<(), Failure> {
    if cx.out.json {
        cx.out.value(report)?;
        return Ok(());
    }
    let verb = if report.dry_run {
        "would remove"
    } else {
        "removed"
    };
    for database in &report.databases {
        cx.out.line(format_args!("{verb}  {}", place(database)))?;
    }
    for database in &report.kept {
        cx.out.line(format_args!(
            "kept, since it is not the tenant's  {}",
            place(database)
        ))?;
    }
    cx.out.line(format_args!(
        "{verb}  {}",
        counted(report.objects, "object")
    ))?;
    if report.still_listed {
        cx.notices.say(
            "the configuration lists the tenant: opening it makes it anew, and empty, until it is \
             taken out",
        );
    }
    Ok(())
}

async fn relocate(id: &str, to: String, keep_old: bool, cx: &mut Context) -> Result<Exit, Failure> {
    let tenants = tenants(cx).await?;
    let bar = cx.notices.things(Some(0));
    let mut moving = tenants.move_to(id, to).on_progress(|progress: Progress| {
        if let Some(total) = progress.total {
            bar.set_length(total);
        }
        if let Some(collection) = progress.collection {
            bar.set_message(collection.to_string());
        }
        bar.set_position(progress.done);
    });
    if keep_old {
        moving = moving.keep_old();
    }
    let interrupt = cx.interrupt.clone();
    let report = interrupt.or(async { Ok(moving.await?) }).await;
    bar.finish_and_clear();
    let report = report.map_err(|failure| goes_on(failure, false))?;
    print_move(&report, cx)?;
    Ok(Exit::Done)
}

fn print_move(report: &MoveReport, cx: &mut Context) -> Result<(), Failure> {
    if cx.out.json {
        cx.out.value(report)?;
        return Ok(());
    }
    let MoveReport {
        tenant_id,
        to,
        databases,
        versions,
        compared,
        old_removed,
        ..
    } = report;
    if databases.is_empty() {
        cx.out
            .line(format_args!("{tenant_id} is on {to} already"))?;
        return Ok(());
    }
    cx.out.line(format_args!(
        "{tenant_id} is on {to}: {}, {} copied, {compared} compared",
        counted(databases.len() as u64, "database"),
        counted(*versions, "version"),
    ))?;
    if !old_removed {
        cx.notices
            .say("what is at the old place goes with the same command without --keep-old");
    }
    Ok(())
}

/// An interruption, and what to do about it.
fn goes_on(failure: Failure, dry_run: bool) -> Failure {
    if failure.exit == Exit::Interrupted && !dry_run {
        failure.with("; the same command goes on with it")
    } else {
        failure
    }
}

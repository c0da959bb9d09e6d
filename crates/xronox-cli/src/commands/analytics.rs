//! `xronox analytics`

use xronox::{Distinct, Period, RuleTotals, Totals};

use crate::{
    args::Analytics,
    context::Context,
    exit::{Exit, Failure},
    output::{Column, counted, maybe},
};

/// The longest bar of a chart.
const WIDTH: u64 = 40;

pub(super) async fn run(args: Analytics, cx: &mut Context) -> Result<Exit, Failure> {
    let database = cx.database().await?;
    let counters = database.counters();
    match args {
        Analytics::Totals { collection } => {
            for name in cx.collections(collection.as_deref()).await? {
                let totals = counters.totals(name.as_str()).current().await?;
                if cx.out.json {
                    cx.out.value(&totals)?;
                } else {
                    show(&totals, cx)?;
                }
            }
        }
        Analytics::Series {
            collection,
            rule,
            timeframe,
            from,
            to,
        } => {
            let mut series = counters.series(&collection, &rule, timeframe).current();
            if let Some(from) = from {
                series = series.from(from);
            }
            if let Some(to) = to {
                series = series.to(to);
            }
            let series = series.await?;
            if cx.out.json {
                for period in &series {
                    cx.out.value(period)?;
                }
            } else {
                chart(&series, cx)?;
            }
        }
        Analytics::Rebuild { collection } => {
            for name in cx.collections(collection.as_deref()).await? {
                let count = counters.rebuild(name.as_str()).await?;
                let told = counted(count, "version");
                cx.notices.say(&format!("{name}: {told} counted anew"));
            }
        }
    }
    Ok(Exit::Done)
}

fn show(totals: &Totals, cx: &mut Context) -> Result<(), Failure> {
    let number = |name: &str, count: u64| vec![name.to_owned(), count.to_string()];
    let of_rule = |rule: &RuleTotals| {
        [
            ("created", rule.created),
            ("updated", rule.updated),
            ("deleted", rule.deleted),
        ]
    };
    let mut rows = vec![
        number("created", totals.created),
        number("updated", totals.updated),
        number("  enriched", totals.enriched),
        number("  restored", totals.restored),
        number("deleted", totals.deleted),
        number("purged", totals.purged),
    ];
    if totals.missed > 0 {
        rows.push(number("missed", totals.missed));
    }
    for (name, rule) in &totals.rules {
        rows.push(vec![name.clone(), String::new()]);
        for (what, count) in of_rule(rule) {
            rows.push(number(&format!("  {what}"), count));
        }
        for (path, distinct) in &rule.unique {
            rows.push(vec![format!("  different {path}"), about(distinct)]);
        }
        for group in &rule.by {
            let values: Vec<String> = group.values.iter().map(ToString::to_string).collect();
            rows.push(number(&format!("  {}", values.join(" ")), group.count));
        }
        if rule.others > 0 {
            rows.push(number("  others", rule.others));
        }
    }
    let heading = totals.collection.to_string();
    let columns = [Column::Text(&heading), Column::Number("count")];
    cx.out.table(&columns, rows)?;
    cx.out
        .line(format_args!("newest  {}", maybe(totals.last_at.as_ref())))?;
    Ok(())
}

fn about(distinct: &Distinct) -> String {
    if distinct.is_exact() {
        return distinct.count.to_string();
    }
    let Distinct {
        count, least, most, ..
    } = distinct;
    format!("about {count} ({least} to {most})")
}

fn chart(series: &[Period], cx: &mut Context) -> Result<(), Failure> {
    let all = |period: &Period| period.created + period.updated + period.deleted;
    let most = series.iter().map(all).max().unwrap_or_default().max(1);
    let row = |period: &Period| {
        let count = all(period);
        let bar = usize::try_from(count.saturating_mul(WIDTH).div_ceil(most)).unwrap_or_default();
        vec![period.start.to_string(), count.to_string(), "█".repeat(bar)]
    };
    let columns = [
        Column::Text("from"),
        Column::Number("count"),
        Column::Text(""),
    ];
    cx.out.table(&columns, series.iter().map(row))?;
    Ok(())
}

//! `xronox index`

use xronox::{Collection, IndexInfo, Progress};

use crate::{
    args::Index,
    context::Context,
    exit::{Exit, Failure},
    output::Column,
    progress::Notices,
};

pub(super) async fn run(args: Index, cx: &mut Context) -> Result<Exit, Failure> {
    // An index is made of what is there: a wrong name makes no collection.
    cx.collections(Some(&args.collection)).await?;
    let collection = cx.collection(&args.collection).await?;
    if !args.fields.is_empty() {
        make(&args, &collection, cx.notices).await?;
    }
    let mut indexes = collection.indexes().await?;
    if args.unique {
        indexes.retain(|index| index.unique && index.fields == args.fields);
    } else if !args.fields.is_empty() {
        let named = |index: &IndexInfo| index.fields.iter().all(|f| args.fields.contains(f));
        indexes.retain(|index| !index.unique && named(index));
    }
    print(cx, &indexes)?;
    Ok(Exit::Done)
}

async fn make(args: &Index, collection: &Collection, notices: Notices) -> Result<(), Failure> {
    let bar = notices.things(Some(0));
    let told = |progress: Progress| {
        match progress.total {
            Some(total) => bar.set_length(total),
            None => bar.unset_length(),
        }
        bar.set_position(progress.done);
    };
    let made = async {
        if args.unique {
            let fields = args.fields.iter().cloned();
            return collection.ensure_unique(fields).on_progress(told).await;
        }
        for field in &args.fields {
            bar.set_message(field.to_string());
            collection
                .ensure_index(field.clone())
                .on_progress(told)
                .await?;
        }
        Ok(())
    };
    let made = made.await;
    bar.finish_and_clear();
    Ok(made?)
}

fn print(cx: &mut Context, indexes: &[IndexInfo]) -> Result<(), Failure> {
    if cx.out.json {
        for index in indexes {
            cx.out.value(index)?;
        }
        return Ok(());
    }
    if indexes.is_empty() {
        cx.notices
            .say("there are no indexes but those of every collection");
    }
    let columns = [
        Column::Prose("fields"),
        Column::Text("unique"),
        Column::Text("ready"),
    ];
    let word = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let rows = indexes.iter().map(|index| {
        let fields: Vec<String> = index.fields.iter().map(ToString::to_string).collect();
        vec![fields.join(", "), word(index.unique), word(index.ready)]
    });
    Ok(cx.out.table(&columns, rows)?)
}

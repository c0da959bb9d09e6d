//! `xronox resume`

use xronox::ResumedInsertions;

use crate::{
    context::Context,
    exit::{Exit, Failure},
    output::counted,
};

pub(super) async fn run(cx: &mut Context) -> Result<Exit, Failure> {
    let database = cx.database().await?;
    let report = database.resume_insertions().await?;
    let ResumedInsertions {
        finished,
        taken_back,
        never_begun,
        under_way,
        broken,
        ..
    } = &report;
    if cx.out.json {
        cx.out.value(&report)?;
    } else {
        let finished = counted(*finished, "insertion");
        cx.out.line(format_args!(
            "finished {finished}; {taken_back} taken back, {never_begun} never begun, {under_way} under way"
        ))?;
    }
    for one in broken {
        let (collection, id, error) = (&one.collection, &one.id, &one.error);
        cx.notices.say(&format!("{collection}/{id}: {error}"));
    }
    Ok(if broken.is_empty() {
        Exit::Done
    } else {
        Exit::Failed
    })
}

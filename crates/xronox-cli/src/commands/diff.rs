//! `xronox diff`

use serde_json::Value;
use xronox::{Collection, PatchOp};

use super::showing;
use crate::{
    args::Diff,
    context::Context,
    exit::{Exit, Failure},
    output::shortened,
};

/// The longest value that is shown.
const MAX_VALUE: usize = 60;

pub(super) async fn run(args: Diff, cx: &mut Context) -> Result<Exit, Failure> {
    let collection = cx.collection(&args.collection).await?;
    let id = &args.id;
    let (from, to) = versions(&collection, &args).await?;
    let operations = showing!(args.shown, collection.diff(id, from, to)).await?;
    if cx.out.json {
        for operation in &operations {
            cx.out.value(operation)?;
        }
        return Ok(Exit::Done);
    }
    cx.out
        .line(format_args!("{}/{id}  ov {from} → {to}", args.collection))?;
    let before = showing!(args.shown, collection.get_version(id, from));
    let before = before.await?.document();
    for operation in &operations {
        cx.out
            .line(format_args!("  {}", described(operation, &before)))?;
    }
    Ok(Exit::Done)
}

/// The versions to compare: those asked for, else the newest and the one before.
async fn versions(collection: &Collection, args: &Diff) -> Result<(u64, u64), Failure> {
    let to = match args.to {
        Some(to) => to,
        None => match collection.history(&args.id).limit(1).await?.first() {
            Some(newest) => newest.ov,
            None => return Err(Failure::not_found("there is no version to compare")),
        },
    };
    Ok((args.from.unwrap_or_else(|| to.saturating_sub(1)), to))
}

fn described(operation: &PatchOp, before: &Value) -> String {
    let old = |path: &str| match steady(before, path) {
        Some(value) => format!("  {}", shown(value)),
        None => String::new(),
    };
    match operation {
        PatchOp::Add { path, value } => format!("+ {}  {}", dotted(path), shown(value)),
        PatchOp::Remove { path } => format!("- {}{}", dotted(path), old(path)),
        PatchOp::Replace { path, value } => {
            format!("~ {}{} → {}", dotted(path), old(path), shown(value))
        }
        PatchOp::Move { from, path } => format!("> {} → {}", dotted(from), dotted(path)),
        PatchOp::Copy { from, path } => format!("+ {}  (as {})", dotted(path), dotted(from)),
        PatchOp::Test { path, value } => format!("= {}  {}", dotted(path), shown(value)),
    }
}

/// What stood at a place before, if no earlier operation can have shifted it:
/// none of what leads there is an array.
fn steady<'v>(before: &'v Value, pointer: &str) -> Option<&'v Value> {
    let mut at = before;
    for name in names(pointer) {
        at = at.as_object()?.get(&name)?;
    }
    Some(at)
}

/// The names of a JSON Pointer (RFC 6901).
fn names(pointer: &str) -> impl Iterator<Item = String> {
    let unescaped = |name: &str| name.replace("~1", "/").replace("~0", "~");
    pointer.split('/').skip(1).map(unescaped)
}

/// A JSON Pointer as a dotted path, the way the other commands write it.
fn dotted(pointer: &str) -> String {
    let escaped = |name: String| name.replace('\\', "\\\\").replace('.', "\\.");
    let path = names(pointer).map(escaped).collect::<Vec<_>>().join(".");
    if path.is_empty() {
        "(all)".to_owned()
    } else {
        path
    }
}

fn shown(value: &Value) -> String {
    shortened(&value.to_string(), MAX_VALUE)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn operations_are_told_in_dotted_paths_with_what_was_there() {
        let before = json!({ "a": { "b/c": 1, "d.e": [1, 2] }, "f": "x" });
        let tell = |operation: Value| {
            described(
                &serde_json::from_value::<PatchOp>(operation).unwrap(),
                &before,
            )
        };
        for (operation, told) in [
            (
                json!({"op": "replace", "path": "/a/b~1c", "value": 2}),
                "~ a.b/c  1 → 2",
            ),
            (json!({"op": "remove", "path": "/f"}), "- f  \"x\""),
            (
                json!({"op": "add", "path": "/g", "value": [null]}),
                "+ g  [null]",
            ),
            (json!({"op": "remove", "path": "/a/d.e/0"}), "- a.d\\.e.0"),
            (
                json!({"op": "replace", "path": "", "value": 1}),
                "~ (all)  {\"a\":{\"b/c\":1,\"d.e\":[1,2]},\"f\":\"x\"} → 1",
            ),
            (json!({"op": "move", "from": "/f", "path": "/h"}), "> f → h"),
        ] {
            assert_eq!(tell(operation), told);
        }
    }
}

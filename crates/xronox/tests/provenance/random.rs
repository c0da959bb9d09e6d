//! Writes at random, beside a list of what each record should say.

use std::collections::{BTreeMap, BTreeSet};

use futures::TryStreamExt;
use serde_json::json;
use xronox::{Descendant, Settings};

use super::names;
use crate::support::{Dice, Store, local_stores, stores};

const COLLECTIONS: [&str; 3] = ["a", "b", "c"];

/// What should be known of a record.
#[derive(Debug, Clone)]
struct Known {
    parent: Option<String>,
    creator: u64,
    updater: u64,
}

/// Records by name, `collection/id`.
type Model = BTreeMap<String, Known>;

async fn write(store: &Store, seed: u64, steps: u64) -> Model {
    let mut dice = Dice::new(seed);
    let mut model = Model::new();
    // Few names, so that a parent is often there, comes later, or never.
    let name = |dice: &mut Dice| {
        let collection = COLLECTIONS[usize::try_from(dice.below(3)).unwrap()];
        (collection, dice.below(40).to_string())
    };
    for n in 0..steps {
        let (collection, id) = name(&mut dice);
        let things = store.home().collection(collection).unwrap();
        let who = dice.below(4);
        let actor = format!("{}:{}", ["user", "job"][usize::from(who > 1)], who % 2);
        let full = format!("{collection}/{id}");
        if let Some(known) = model.get_mut(&full) {
            let done = things.patch(&id, json!({ "n": n })).actor(&actor).await;
            if done.is_err() {
                things
                    .restore_object(&id)
                    .to_ov(0)
                    .actor(&actor)
                    .await
                    .unwrap();
            } else if n % 3 == 0 {
                things.delete(&id).actor(&actor).await.unwrap();
            }
            known.updater = who;
            continue;
        }
        let mut create = things.create_with_id(&id, json!({ "n": n })).actor(&actor);
        let mut parent = None;
        if dice.below(5) > 0 {
            let (parents, of) = name(&mut dice);
            create = create.parent(&of, parents);
            parent = Some(format!("{parents}/{of}"));
        }
        create.await.unwrap();
        let known = Known {
            parent,
            creator: who,
            updater: who,
        };
        model.insert(full, known);
    }
    model
}

/// What came of a record, with how far it is.
fn descendants(model: &Model, of: &str) -> BTreeSet<(u64, String)> {
    let mut found = BTreeMap::from([(of.to_owned(), 0)]);
    for depth in 1.. {
        let before = found.len();
        for (name, known) in model {
            let parent = known.parent.as_ref().and_then(|parent| found.get(parent));
            if parent == Some(&(depth - 1)) && !found.contains_key(name) {
                found.insert(name.clone(), depth);
            }
        }
        if found.len() == before {
            break;
        }
    }
    found.remove(of);
    found
        .into_iter()
        .map(|(name, depth)| (depth, name))
        .collect()
}

async fn agrees(store: &Store, seed: u64, steps: u64) {
    let model = write(store, seed, steps).await;
    let home = store.home();
    for who in 0..4 {
        let actor = format!("{}:{}", ["user", "job"][usize::from(who > 1)], who % 2);
        let (mut found, mut after) = (Vec::new(), None::<String>);
        loop {
            let mut ask = home.who(&actor).limit(6);
            if let Some(cursor) = after {
                ask = ask.after(cursor);
            }
            let page = ask.await.unwrap();
            found.extend(names(&page.items));
            after = page.cursor;
            if after.is_none() {
                break;
            }
        }
        found.sort();
        let theirs = |known: &Known| known.creator == who || known.updater == who;
        let expected = model.iter().filter(|(_, known)| theirs(known));
        let expected: Vec<&String> = expected.map(|(name, _)| name).collect();
        assert_eq!(
            found.iter().collect::<Vec<_>>(),
            expected,
            "seed {seed} {actor}"
        );
    }
    for name in model.keys().step_by(5) {
        let (collection, id) = name.split_once('/').unwrap();
        let of = home.collection(collection).unwrap();
        let found: Vec<Descendant> = of.descendants(id).stream().try_collect().await.unwrap();
        let told = |it: &Descendant| (it.depth, format!("{}/{}", it.collection, it.record.id()));
        let set: BTreeSet<_> = found.iter().map(told).collect();
        assert_eq!(set.len(), found.len());
        assert!(found.is_sorted_by_key(|it| it.depth));
        assert_eq!(set, descendants(&model, name), "seed {seed} {name}");

        let line = of.lineage(id).await.unwrap();
        let mut at = model[name].parent.as_ref();
        for ancestor in &line.ancestors {
            let met = format!("{}/{}", ancestor.collection, ancestor.id);
            assert_eq!(at, Some(&met), "seed {seed} {name}");
            at = model[&met].parent.as_ref();
        }
        let cut = at.is_some_and(|at| model.contains_key(at));
        assert_eq!(
            cut,
            line.end == xronox::AncestryEnd::Cycle,
            "seed {seed} {name}"
        );
    }
}

#[tokio::test]
async fn questions_agree_with_what_was_written() {
    for seed in 1..6 {
        for store in local_stores(Settings::default()).await {
            agrees(&store, seed, 250).await;
        }
    }
    for store in stores(Settings::default()).await {
        if store.on_servers {
            agrees(&store, 6, 80).await;
        }
    }
}

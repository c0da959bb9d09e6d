//! Random histories against a model that a reader can hold in mind: a list of
//! what each commit did. After each history every past state must read as the
//! model remembers it, and every invariant must hold.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use support::{Dice, stores};
use xronox::{Collection, ErrorKind, Moment, Op, Settings};

/// What a record was after a commit: its document, and whether it was deleted.
#[derive(Debug, Clone, PartialEq)]
struct State {
    ov: u64,
    document: Value,
    deleted: bool,
}

/// Each record's states, by the commit that made them.
#[derive(Debug, Default)]
struct Model {
    records: BTreeMap<String, BTreeMap<u64, State>>,
    next_cv: u64,
}

impl Model {
    fn now(&self, id: &str) -> Option<&State> {
        Some(self.records.get(id)?.last_key_value()?.1)
    }

    fn then(&self, id: &str, cv: u64) -> Option<&State> {
        Some(self.records.get(id)?.range(..=cv).next_back()?.1)
    }

    fn commit(&mut self, id: &str, document: Value, deleted: bool) -> (u64, u64) {
        let ov = self.now(id).map_or(0, |state| state.ov + 1);
        let cv = self.next_cv;
        self.next_cv += 1;
        let state = State {
            ov,
            document,
            deleted,
        };
        self.records
            .entry(id.to_owned())
            .or_default()
            .insert(cv, state);
        (ov, cv)
    }
}

fn document(dice: &mut Dice) -> Value {
    json!({ "kind": dice.below(3), "n": dice.below(5), "list": [dice.below(3), dice.below(3)] })
}

/// One random step on both; gives what the engine should have answered.
async fn step(records: &Collection, model: &mut Model, dice: &mut Dice) {
    let id = format!("r{}", dice.below(6));
    let now = model.now(&id).cloned();
    let live = now.as_ref().is_some_and(|state| !state.deleted);
    let stale = dice.below(10) == 0;
    let expected = now
        .as_ref()
        .map(|state| if stale { state.ov + 1 } else { state.ov });
    let expected = if dice.below(2) == 0 { expected } else { None };
    let (answer, effect) = match dice.below(6) {
        0 => {
            let new = document(dice);
            let answer = records.create_with_id(&id, new.clone()).await;
            let effect = match now {
                None => Ok(Some((new, false))),
                Some(_) => Err("AlreadyExists"),
            };
            (answer, effect)
        }
        1 | 2 => {
            let new = document(dice);
            let answer = records.update(&id, new.clone()).expected_ov(expected).await;
            (answer, changed(now.as_ref(), live, expected, |_| new))
        }
        3 => {
            let n = dice.below(5);
            let answer = records
                .patch(&id, json!({ "n": n, "deep.er": n }))
                .expected_ov(expected)
                .await;
            let effect = changed(now.as_ref(), live, expected, |mut document| {
                document["n"] = json!(n);
                if document.get("deep").is_none() {
                    document["deep"] = json!({});
                }
                document["deep"]["er"] = json!(n);
                document
            });
            (answer, effect)
        }
        4 => {
            let answer = records.delete(&id).expected_ov(expected).await;
            let effect = match changed(now.as_ref(), live, expected, |_| json!(null)) {
                Ok(_) => Ok(Some((now.unwrap().document, true))),
                refused => refused,
            };
            (answer, effect)
        }
        _ => {
            let Some(now) = now else { return };
            let ov = dice.below(now.ov + 1);
            let answer = records.restore_object(&id).to_ov(ov).await;
            let states = &model.records[&id];
            let source = states
                .values()
                .find(|state| state.ov == ov)
                .unwrap()
                .clone();
            // Bringing back what is there changes nothing.
            let same = (&source.document, source.deleted) == (&now.document, now.deleted);
            let effect = (!same).then_some((source.document, source.deleted));
            (answer, Ok(effect))
        }
    };
    match (answer, effect) {
        (Ok(written), Ok(Some((document, deleted)))) => {
            let told = format!("{id}: {:?} -> {document}", model.now(&id));
            let (ov, cv) = model.commit(&id, document, deleted);
            let expected = (ov, cv, false);
            assert_eq!(
                (written.ov, written.cv, written.unchanged),
                expected,
                "{told}"
            );
        }
        (Ok(written), Ok(None)) => {
            let now = model.now(&id).unwrap();
            assert_eq!((written.ov, written.unchanged), (now.ov, true));
        }
        (Err(error), Err(kind)) => assert_eq!(error.kind().name(), kind, "{error}"),
        (answer, effect) => panic!("{id}: {answer:?}, not {effect:?}"),
    }
}

type Effect = Result<Option<(Value, bool)>, &'static str>;

fn changed(
    now: Option<&State>,
    live: bool,
    expected: Option<u64>,
    change: impl FnOnce(Value) -> Value,
) -> Effect {
    let Some(now) = now else {
        return Err("NotFound");
    };
    if !live {
        return Err("Deleted");
    }
    if expected.is_some_and(|ov| ov != now.ov) {
        return Err("Conflict");
    }
    let new = change(now.document.clone());
    Ok((new != now.document).then_some((new, false)))
}

async fn same(records: &Collection, model: &Model) {
    for (id, states) in &model.records {
        let now = model.now(id).unwrap();
        match records.get_latest(id).await {
            Ok(record) => {
                assert!(!now.deleted);
                assert_eq!(
                    (record.ov(), record.document()),
                    (now.ov, now.document.clone())
                );
            }
            Err(error) => {
                assert_eq!(error.kind(), &ErrorKind::NotFound, "{error}");
                assert!(now.deleted);
            }
        }
        let history = records
            .history(id)
            .oldest_first()
            .limit(1000)
            .await
            .unwrap();
        let versions: Vec<(u64, u64)> = history.iter().map(|v| (v.ov, v.cv)).collect();
        let expected: Vec<(u64, u64)> = states.iter().map(|(cv, s)| (s.ov, *cv)).collect();
        assert_eq!(versions, expected);
        for state in states.values() {
            let record = records.get_version(id, state.ov).await.unwrap();
            assert_eq!(record.document(), state.document);
            assert_eq!(record.deleted(), state.deleted);
        }
    }
    let changes = records.changes(None).limit(1000).await.unwrap();
    let cvs: Vec<u64> = changes.iter().map(|change| change.cv).collect();
    assert_eq!(cvs, (0..model.next_cv).collect::<Vec<_>>());
    assert!(changes.windows(2).all(|pair| pair[0].at <= pair[1].at));
    for (change, cv) in changes.iter().zip(0..) {
        let state = model.records[&change.id.to_string()][&cv].clone();
        assert_eq!(change.ov, state.ov);
        assert_eq!(change.op == Op::Create, change.ov == 0);
    }
    for cv in (0..model.next_cv).step_by(7) {
        let alive: BTreeMap<String, Value> = model
            .records
            .keys()
            .filter_map(|id| {
                let state = model.then(id, cv).filter(|state| !state.deleted)?;
                Some((id.clone(), state.document.clone()))
            })
            .collect();
        for kind in 0..3 {
            let page = records
                .query(json!({ "kind": kind, "list": { "$lt": 2 } }))
                .as_of(Moment::Cv(cv))
                .await
                .unwrap();
            let found: BTreeMap<String, Value> = page
                .items
                .iter()
                .map(|record| (record.id().to_string(), record.document()))
                .collect();
            let mut expected = alive.clone();
            expected.retain(|_, document| {
                let small = document["list"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|n| n.as_u64() < Some(2));
                document["kind"] == kind && small
            });
            assert_eq!(found, expected, "kind {kind} as of {cv}");
        }
        let count = records
            .count(json!({}))
            .as_of(Moment::Cv(cv))
            .await
            .unwrap();
        assert_eq!(count.count, alive.len() as u64);
    }
    let report = records.verify().await.unwrap();
    assert!(report.clean(), "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_past_state_reads_as_it_was() {
    for seed in 0..8 {
        let mut settings = Settings::default();
        settings.write_optimization.compression_enabled = seed % 2 == 0;
        settings.payloads.inline_max_bytes = Some(if seed % 3 == 0 { 0 } else { 65_536 });
        for store in stores(settings).await {
            let records = store.xronox.collection("records").unwrap();
            let mut model = Model::default();
            let mut dice = Dice::new(seed + 1);
            for _ in 0..120 {
                step(&records, &mut model, &mut dice).await;
            }
            same(&records, &model).await;
            // The whole collection goes back, and forth again.
            let end = model.next_cv - 1;
            let past = dice.below(end);
            records.restore_collection(Moment::Cv(past)).await.unwrap();
            for id in model.records.keys() {
                let then = model.then(id, past).filter(|state| !state.deleted);
                let now = records.get_latest(id).await.ok();
                assert_eq!(
                    now.map(|record| record.document()),
                    then.map(|state| state.document.clone()),
                    "{id} as of {past}"
                );
            }
            records.restore_collection(Moment::Cv(end)).await.unwrap();
            for id in model.records.keys() {
                let then = model.now(id).filter(|state| !state.deleted);
                let now = records.get_latest(id).await.ok();
                assert_eq!(now.map(|r| r.document()), then.map(|s| s.document.clone()));
            }
            assert!(records.verify().await.unwrap().clean());
        }
    }
}

//! Bringing records and collections back to what they were, on every backend.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{collections::BTreeMap, future::IntoFuture, sync::Arc, time::Duration};

use serde_json::{Value, json};
use support::{Dice, stores};
use tempfile::TempDir;
use xronox::{
    Collection, Components, Config, ErrorKind, Moment, Op, RecordId, RestoreReport, Settings,
    Xronox,
};
use xronox_sqlite::SqliteCatalog;
use xronox_store::{
    Batch, Catalog, Documents, MemoryCatalog, MemoryDocuments, Mutation, Outcome, Space,
    SystemClock,
};

fn free() -> Settings {
    Settings {
        hard_delete_enabled: true,
        ..Settings::default()
    }
}

/// What a record shows of itself: its document, and whether it is deleted.
async fn state(collection: &Collection, id: &RecordId, cv: Option<u64>) -> Option<(Value, bool)> {
    let get = match cv {
        Some(cv) => collection.get_as_of(id, Moment::Cv(cv)),
        None => collection.get_latest(id),
    };
    match get.include_deleted().await {
        Ok(record) => Some((record.document(), record.deleted())),
        Err(error) => {
            assert_eq!(error.kind(), &ErrorKind::NotFound, "{error}");
            None
        }
    }
}

/// Asserts that every record is what it was at a cut.
async fn assert_state(collection: &Collection, ids: &[RecordId], cv: Option<u64>) {
    for id in ids {
        let then = match cv {
            Some(cv) => state(collection, id, Some(cv)).await,
            None => None,
        };
        let now = state(collection, id, None).await;
        match then {
            Some(then) => assert_eq!(now, Some(then), "{id}"),
            None => assert!(now.is_none_or(|(_, deleted)| deleted), "{id}"),
        }
    }
}

async fn assert_clean(collection: &Collection) {
    let report = collection.verify().await.unwrap();
    assert!(report.clean(), "{:#?}", report.damages);
}

fn counts(report: &RestoreReport) -> [u64; 6] {
    [
        report.restored,
        report.deleted,
        report.unchanged,
        report.conflicts.count,
        report.pruned.count,
        report.purged.count,
    ]
}

#[tokio::test]
async fn a_record_comes_back() {
    for store in stores(free()).await {
        let orders = store.xronox.collection("orders").unwrap();
        let id = orders.create(json!({ "n": 0 })).await.unwrap().id;
        let second = orders.update(&id, json!({ "n": 1 })).await.unwrap();
        orders.delete(&id).await.unwrap();

        // A deleted record returns.
        let back = orders
            .restore_object(&id)
            .to_ov(0)
            .actor("user:ann")
            .on_behalf_of("user:bob")
            .reason("a mistake")
            .await
            .unwrap();
        assert_eq!((back.ov, back.op, back.unchanged), (3, Op::Restore, false));
        assert_eq!(
            orders.get_latest(&id).await.unwrap().document(),
            json!({ "n": 0 })
        );
        let newest = &orders.history(&id).await.unwrap()[0];
        assert_eq!(newest.restored_from, Some(0));
        assert_eq!(newest.reason.as_deref(), Some("a mistake"));
        assert_eq!(newest.on_behalf_of.as_ref().unwrap().identifier, "bob");

        // Once more changes nothing.
        let again = orders.restore_object(&id).to_ov(0).await.unwrap();
        assert!(again.unchanged);
        assert_eq!((again.ov, again.cv), (3, back.cv));

        // By moment, in all three spellings.
        let to_cv = orders
            .restore_object(&id)
            .to(Moment::Cv(second.cv))
            .await
            .unwrap();
        assert_eq!(to_cv.ov, 4);
        let to_time = orders.restore_object(&id).to(to_cv.at).await.unwrap();
        assert!(to_time.unchanged);
        let text = orders
            .restore_object(&id)
            .to(to_cv.at.to_string())
            .await
            .unwrap();
        assert!(text.unchanged);

        // To a deleted version: deleted, with that version's document.
        let gone = orders.restore_object(&id).to_ov(2).await.unwrap();
        assert_eq!((gone.ov, gone.op), (5, Op::Restore));
        let shown = state(&orders, &id, None).await.unwrap();
        assert_eq!(shown, (json!({ "n": 1 }), true));
        let still = orders.restore_object(&id).to_ov(2).await.unwrap();
        assert!(still.unchanged);
        assert_eq!(still.ov, 5);
        let other = orders
            .restore_object(&id)
            .to_ov(2)
            .expected_ov(4)
            .await
            .unwrap_err();
        assert_eq!(
            other.kind(),
            &ErrorKind::Conflict {
                expected: 4,
                actual: 5
            }
        );

        let conflict = orders
            .restore_object(&id)
            .to_ov(0)
            .expected_ov(2)
            .await
            .unwrap_err();
        assert_eq!(
            conflict.kind(),
            &ErrorKind::Conflict {
                expected: 2,
                actual: 5
            }
        );
        let kept = orders
            .restore_object(&id)
            .to_ov(1)
            .expected_ov(5)
            .await
            .unwrap();
        assert_eq!(kept.ov, 6);
        assert_clean(&orders).await;
    }
}

#[tokio::test]
async fn a_record_that_cannot_come_back_says_why() {
    for store in stores(free()).await {
        let orders = store.xronox.collection("orders").unwrap();
        let first = orders.create(json!({ "n": 0 })).await.unwrap();
        let id = orders.create(json!({ "n": 1 })).await.unwrap().id;
        let kind = |error: xronox::Error| error.kind().clone();

        let unsaid = orders.restore_object(&id).await.unwrap_err();
        assert!(unsaid.to_string().contains("to_ov"), "{unsaid}");
        assert_eq!(kind(unsaid), ErrorKind::Invalid);
        let unborn = orders
            .restore_object(&id)
            .to(Moment::Cv(first.cv))
            .await
            .unwrap_err();
        assert_eq!(kind(unborn), ErrorKind::NotFound);
        let future = orders.restore_object(&id).to_ov(7).await.unwrap_err();
        assert_eq!(kind(future), ErrorKind::NotFound);
        let beyond = orders
            .restore_object(&id)
            .to(Moment::Cv(99))
            .await
            .unwrap_err();
        assert_eq!(kind(beyond), ErrorKind::Invalid);
        let noise = orders
            .restore_object(&id)
            .to("yesterday")
            .await
            .unwrap_err();
        assert_eq!(kind(noise), ErrorKind::Invalid);
        let nobody = orders.restore_object("nobody").to_ov(0).await.unwrap_err();
        assert!(
            nobody.to_string().contains("restore_object orders/nobody"),
            "{nobody}"
        );
        assert_eq!(kind(nobody), ErrorKind::NotFound);

        orders.delete(&id).hard().await.unwrap();
        for ov in [0, 1] {
            let purged = orders.restore_object(&id).to_ov(ov).await.unwrap_err();
            assert_eq!(kind(purged), ErrorKind::NotFound, "{ov}");
        }
        orders.create_with_id(&id, json!({ "n": 2 })).await.unwrap();
        let purge = orders.restore_object(&id).to_ov(1).await.unwrap_err();
        assert_eq!(kind(purge), ErrorKind::NotFound);
    }
}

#[tokio::test]
async fn a_unique_key_that_is_taken_stays_taken() {
    for store in stores(free()).await {
        let users = store.xronox.collection("users").unwrap();
        users.ensure_unique(["mail"]).await.unwrap();
        let id = users.create(json!({ "mail": "a" })).await.unwrap().id;
        users.update(&id, json!({ "mail": "b" })).await.unwrap();
        let other = users.create(json!({ "mail": "a" })).await.unwrap().id;
        let taken = users.restore_object(&id).to_ov(0).await.unwrap_err();
        assert_eq!(taken.kind(), &ErrorKind::AlreadyExists);
        users.delete(&other).await.unwrap();
        users.restore_object(&id).to_ov(0).await.unwrap();
        let back = users.restore_object(&other).to_ov(0).await.unwrap_err();
        assert_eq!(back.kind(), &ErrorKind::AlreadyExists);
        assert_clean(&users).await;
    }
}

#[tokio::test]
async fn a_collection_comes_back() {
    for store in stores(free()).await {
        let orders = store.xronox.collection("orders").unwrap();
        let mut ids = Vec::new();
        for n in 0..6 {
            ids.push(orders.create(json!({ "n": n })).await.unwrap().id);
        }
        let cut = orders.delete(&ids[5]).await.unwrap();
        // Changed, deleted, changed there and back, deleted and changed.
        orders.update(&ids[1], json!({ "n": 10 })).await.unwrap();
        orders.update(&ids[1], json!({ "n": 11 })).await.unwrap();
        orders.delete(&ids[2]).await.unwrap();
        orders.update(&ids[3], json!({ "n": 30 })).await.unwrap();
        orders.update(&ids[3], json!({ "n": 3 })).await.unwrap();
        orders.delete(&ids[4]).hard().await.unwrap();
        orders.restore_object(&ids[5]).to_ov(0).await.unwrap();
        // Born later; one of them has gone again.
        let young = orders.create(json!({ "n": 6 })).await.unwrap().id;
        let brief = orders.create(json!({ "n": 7 })).await.unwrap().id;
        orders.delete(&brief).await.unwrap();

        let to = Moment::Cv(cut.cv);
        let foreseen = orders.restore_collection(to).dry_run().await.unwrap();
        assert!(foreseen.dry_run);
        assert_eq!(foreseen.job, None);
        assert!(orders.restore_jobs().await.unwrap().is_empty());
        let mut told = Vec::new();
        let report = orders
            .restore_collection(to)
            .actor("user:ann")
            .reason("undo")
            .on_progress(|progress| told.push((progress.done, progress.total)))
            .await
            .unwrap();
        assert_eq!(counts(&report), counts(&foreseen));
        assert_eq!(counts(&report), [2, 2, 2, 0, 0, 1]);
        assert_eq!(report.purged.ids, [ids[4].clone()]);
        assert_eq!(report.target, Some(cut.cv));
        let all = report.start.unwrap() - cut.cv;
        assert_eq!(told.last(), Some(&(all, Some(all))));
        ids.extend([young.clone(), brief]);
        let rest: Vec<RecordId> = ids.iter().filter(|id| **id != ids[4]).cloned().collect();
        assert_state(&orders, &rest, Some(cut.cv)).await;
        assert!(state(&orders, &ids[4], None).await.is_none());

        let untouched = orders.history(&ids[0]).await.unwrap();
        assert_eq!(untouched.len(), 1);
        let newest = &orders.history(&young).await.unwrap()[0];
        assert_eq!(newest.op, Op::Delete);
        assert_eq!(newest.reason.as_deref(), Some("undo"));
        assert_eq!(newest.actor.as_ref().unwrap().identifier, "ann");

        // The restore can be undone as well, and done twice without harm.
        let newest = orders
            .changes(0)
            .limit(1000)
            .await
            .unwrap()
            .last()
            .unwrap()
            .cv;
        let again = orders.restore_collection(to).await.unwrap();
        assert_eq!((again.restored, again.deleted), (0, 0));
        assert_eq!(
            orders
                .changes(0)
                .limit(1000)
                .await
                .unwrap()
                .last()
                .unwrap()
                .cv,
            newest
        );
        let undone = orders
            .restore_collection(Moment::Cv(report.start.unwrap()))
            .await
            .unwrap();
        assert_eq!(undone.restored + undone.deleted, 4);
        assert_state(&orders, &ids, report.start).await;
        assert_clean(&orders).await;
    }
}

#[tokio::test]
async fn times_and_empty_collections_have_their_cut() {
    for store in stores(free()).await {
        let orders = store.xronox.collection("orders").unwrap();
        let nothing = orders
            .restore_collection("2000-01-01T00:00:00Z")
            .await
            .unwrap();
        assert_eq!((nothing.target, nothing.start), (None, None));
        let beyond = orders.restore_collection(Moment::Cv(0)).await.unwrap_err();
        assert_eq!(beyond.kind(), &ErrorKind::Invalid);

        let first = orders.create(json!({ "n": 0 })).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
        let second = orders.create(json!({ "n": 1 })).await.unwrap();
        let ids = [first.id, second.id];
        let late = orders
            .restore_collection("2999-01-01T00:00:00Z")
            .await
            .unwrap();
        assert_eq!(counts(&late), [0; 6]);
        let between = orders.restore_collection(first.at).await.unwrap();
        assert_eq!((between.target, between.deleted), (Some(first.cv), 1));
        assert_state(&orders, &ids, Some(first.cv)).await;
        let before = orders
            .restore_collection("2000-01-01T00:00:00Z")
            .await
            .unwrap();
        assert_eq!(
            (before.target, before.deleted, before.unchanged),
            (None, 1, 1)
        );
        assert_state(&orders, &ids, None).await;
        assert_clean(&orders).await;
    }
}

#[tokio::test]
async fn without_versions_there_is_nothing_to_go_back_to() {
    let mut settings = free();
    settings.versioning.enabled = false;
    for store in stores(settings).await {
        let orders = store.xronox.collection("orders").unwrap();
        orders.create(json!({ "n": 0 })).await.unwrap();
        let refused = orders.restore_collection(Moment::Cv(0)).await.unwrap_err();
        assert_eq!(refused.kind(), &ErrorKind::Unsupported);
    }
}

/// Drops a future after this long, wherever it then is.
async fn interrupted<F: IntoFuture>(work: F, micros: u64) -> Option<F::Output> {
    let patience = Duration::from_micros(micros);
    tokio::time::timeout(patience, work.into_future())
        .await
        .ok()
}

/// A collection of `count` records, half of them changed since the cut that it
/// gives, and some born later.
async fn busy(collection: &Collection, count: usize) -> (Vec<RecordId>, u64) {
    let documents = (0..count).map(|n| json!({ "n": n }));
    let made = collection.create_many(documents).await.unwrap();
    let mut ids: Vec<RecordId> = made.into_iter().map(|made| made.unwrap().id).collect();
    let cut = count as u64 - 1;
    let writes = ids.iter().step_by(2).map(|id| async move {
        collection.patch(id, json!({ "late": true })).await.unwrap();
    });
    futures::future::join_all(writes).await;
    let young = (0..count / 4).map(|n| json!({ "young": n }));
    let made = collection.create_many(young).await.unwrap();
    ids.extend(made.into_iter().map(|made| made.unwrap().id));
    (ids, cut)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_restore_goes_on() {
    for store in stores(free()).await {
        let mut dice = Dice::new(7);
        let (rounds, records) = if store.on_servers { (1, 400) } else { (4, 900) };
        for round in 0..rounds {
            let name = format!("orders{round}");
            let orders = store.xronox.collection(&name).unwrap();
            let (ids, cut) = busy(&orders, records).await;
            let to = Moment::Cv(cut);
            let foreseen = orders.restore_collection(to).dry_run().await.unwrap();
            let (restored, deleted) = (records / 2, records / 4);
            let expected = [restored as u64, deleted as u64, 0, 0, 0, 0];
            assert_eq!(counts(&foreseen), expected);

            let mut patience = 500 + dice.below(3000);
            let (mut interruptions, mut known) = (0, None);
            let mut outcome = interrupted(orders.restore_collection(to), patience).await;
            let report = loop {
                if let Some(done) = outcome {
                    break done.unwrap();
                }
                interruptions += 1;
                patience += patience / 4 + dice.below(1000);
                // It may have been dropped before there was a job, or when all
                // was done but for saying so.
                tokio::time::sleep(Duration::from_millis(100)).await;
                let jobs = orders.restore_jobs().await.unwrap();
                assert!(jobs.len() <= 1);
                if let Some(job) = jobs.first() {
                    assert_eq!(job.moment, to);
                    known = Some(job.id.clone());
                }
                let work = orders.restore_collection(to);
                let work = match &known {
                    Some(job) => work.resume(job),
                    None => work,
                };
                outcome = interrupted(work, patience).await;
            };
            assert_eq!(counts(&report), counts(&foreseen), "after {interruptions}");
            assert!(orders.restore_jobs().await.unwrap().is_empty());
            // One version a record, however often it was interrupted.
            let newest = orders
                .changes(report.start.unwrap())
                .limit(1000)
                .await
                .unwrap();
            assert_eq!(newest.len(), restored + deleted);
            assert_state(&orders, &ids, Some(cut)).await;
            assert_clean(&orders).await;

            let job = report.job.clone().unwrap();
            let same = orders.restore_collection(to).resume(&job).await.unwrap();
            assert_eq!(same, report);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_runs_of_a_job_do_it_once() {
    for store in stores(free()).await {
        for round in 0..if store.on_servers { 1 } else { 3 } {
            let orders = store.xronox.collection(&format!("orders{round}")).unwrap();
            let (ids, cut) = busy(&orders, 900).await;
            let to = Moment::Cv(cut);
            let other = async {
                let job = loop {
                    match orders.restore_jobs().await.unwrap().pop() {
                        Some(job) => break job,
                        None => tokio::task::yield_now().await,
                    }
                };
                orders.restore_collection(to).resume(job.id).await.unwrap()
            };
            let one = async { orders.restore_collection(to).await.unwrap() };
            let patience = Duration::from_mins(1);
            let both = futures::future::join(one, other);
            let (one, other) = tokio::time::timeout(patience, both).await.unwrap();
            assert_eq!(one, other);
            assert_eq!(counts(&one), [450, 225, 0, 0, 0, 0]);
            let newest = orders
                .changes(one.start.unwrap())
                .limit(1000)
                .await
                .unwrap();
            assert_eq!(newest.len(), 675);
            assert_state(&orders, &ids, Some(cut)).await;
        }
    }
}

#[tokio::test]
async fn a_job_is_resumed_as_it_began() {
    for store in stores(free()).await {
        let orders = store.xronox.collection("orders").unwrap();
        let (ids, cut) = busy(&orders, 900).await;
        let to = Moment::Cv(cut);
        let first = orders
            .restore_collection(to)
            .actor("user:ann")
            .reason("undo");
        // Dropped once it has dealt with something, but not with all.
        let mut work = Box::pin(first.into_future());
        let job = loop {
            let done = tokio::select! {
                done = &mut work => Some(done),
                () = tokio::task::yield_now() => None,
            };
            assert!(done.is_none(), "it was not interrupted");
            let jobs = orders.restore_jobs().await.unwrap();
            if let Some(job) = jobs.first().filter(|job| job.done.is_some()) {
                break job.clone();
            }
        };
        drop(work);
        assert_eq!(job.actor.as_ref().unwrap().identifier, "ann");

        let other = orders
            .restore_collection(Moment::Cv(cut + 1))
            .resume(&job.id)
            .await
            .unwrap_err();
        assert_eq!(other.kind(), &ErrorKind::Invalid);
        let unknown = orders
            .restore_collection(to)
            .resume("nonsense")
            .await
            .unwrap_err();
        assert_eq!(unknown.kind(), &ErrorKind::NotFound);
        let elsewhere = store.xronox.collection("other").unwrap();
        let foreign = elsewhere
            .restore_collection(to)
            .resume(&job.id)
            .await
            .unwrap_err();
        assert_eq!(foreign.kind(), &ErrorKind::NotFound);

        // Whoever was changed by others after it began is left alone.
        let last = ids[ids.len() - 1].clone();
        orders.patch(&last, json!({ "mine": 1 })).await.unwrap();
        let report = orders
            .restore_collection(to)
            .resume(&job.id)
            .actor("user:bob")
            .await
            .unwrap();
        assert_eq!(counts(&report), [450, 224, 0, 1, 0, 0]);
        assert_eq!(report.conflicts.ids, std::slice::from_ref(&last));
        assert_eq!(
            orders.get_latest(&last).await.unwrap().document()["mine"],
            1
        );
        let changes = orders
            .changes(report.start.unwrap())
            .limit(1000)
            .await
            .unwrap();
        let by_job = changes.iter().filter(|change| change.id != last);
        for change in by_job {
            assert_eq!(change.actor.as_ref().unwrap().identifier, "ann");
            assert_eq!(change.reason.as_deref(), Some("undo"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_may_write_meanwhile() {
    for store in stores(free()).await {
        let orders = store.xronox.collection("orders").unwrap();
        let (ids, cut) = busy(&orders, 600).await;
        let changed: Vec<RecordId> = ids[..600].iter().step_by(2).cloned().collect();
        let writer = {
            let (orders, changed) = (orders.clone(), changed.clone());
            tokio::spawn(async move {
                for id in changed.iter().rev().step_by(3) {
                    orders
                        .patch(id, json!({ "mine": 1 }))
                        .actor("user:bob")
                        .await
                        .unwrap();
                }
            })
        };
        let restore = orders
            .restore_collection(Moment::Cv(cut))
            .actor("job:restore");
        let report = restore.await.unwrap();
        writer.await.unwrap();
        let start = report.start.unwrap();
        assert_eq!(report.restored + report.conflicts.count, 300);
        assert_eq!(report.deleted, 150);
        for id in &changed {
            let versions = orders.history(id).await.unwrap();
            let restores = versions
                .iter()
                .filter(|version| version.op == Op::Restore)
                .count();
            let conflict = report.conflicts.ids.contains(id);
            assert_eq!(restores, usize::from(!conflict), "{id}");
            let first = versions
                .iter()
                .rev()
                .find(|version| version.cv > start)
                .unwrap();
            assert_eq!(first.op == Op::Restore, !conflict);
        }
        assert_clean(&orders).await;
    }
}

/// Stores whose catalog is at hand too.
fn parts() -> Vec<(Xronox, Arc<dyn Catalog>, Option<TempDir>)> {
    let clock = Arc::new(SystemClock);
    let memory: Arc<dyn Catalog> = Arc::new(MemoryCatalog::new("test", clock.clone()));
    let documents: Arc<dyn Documents> = Arc::new(MemoryDocuments::new(clock.clone()));
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("test.sqlite");
    let opened = tokio::task::block_in_place(|| {
        tokio::runtime::Handle::current().block_on(SqliteCatalog::open(path, "test", clock))
    });
    let sqlite = opened.unwrap();
    let files: Arc<dyn Documents> = Arc::new(sqlite.documents());
    let sqlite: Arc<dyn Catalog> = Arc::new(sqlite);
    let store = |catalog: &Arc<dyn Catalog>, documents| {
        let components = Components::new(Arc::clone(catalog), documents, Some(Space::memory("s")));
        Xronox::assemble(components, free()).unwrap()
    };
    vec![
        (store(&memory, documents), memory, None),
        (store(&sqlite, files), sqlite, Some(folder)),
    ]
}

async fn prune(catalog: &dyn Catalog, collection: &Collection, id: &RecordId, ovs: &[u64]) {
    let name = collection.name().clone();
    let epoch = catalog.indexes(&name).await.unwrap().epoch;
    let mutations = vec![Mutation::Prune {
        id: id.clone(),
        ovs: ovs.to_vec(),
    }];
    let outcomes = catalog
        .commit(&[(name, Batch { epoch, mutations })])
        .await
        .unwrap();
    assert!(matches!(outcomes[0][0], Outcome::Done { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_retention_removed_is_reported() {
    for (xronox, catalog, _folder) in parts() {
        let orders = xronox.collection("orders").unwrap();
        let a = orders.create(json!({ "n": 0 })).await.unwrap().id;
        let cut = orders.create(json!({ "n": 1 })).await.unwrap();
        for n in 0..3 {
            orders.update(&a, json!({ "n": 10 + n })).await.unwrap();
            orders
                .update(&cut.id, json!({ "n": 20 + n }))
                .await
                .unwrap();
        }
        prune(&*catalog, &orders, &a, &[0, 1]).await;
        let one = orders.restore_object(&a).to_ov(0).await.unwrap_err();
        assert_eq!(one.kind(), &ErrorKind::Pruned);
        let then = orders
            .restore_object(&a)
            .to(Moment::Cv(cut.cv))
            .await
            .unwrap_err();
        assert_eq!(then.kind(), &ErrorKind::Pruned);
        let report = orders.restore_collection(Moment::Cv(cut.cv)).await.unwrap();
        assert_eq!(counts(&report), [1, 0, 0, 0, 1, 0]);
        assert_eq!(report.pruned.ids, std::slice::from_ref(&a));
        assert_eq!(
            orders.get_latest(&a).await.unwrap().document(),
            json!({ "n": 12 })
        );
        assert_clean(&orders).await;
    }
}

#[tokio::test]
async fn keys_go_back_to_those_who_had_them() {
    for store in stores(free()).await {
        let users = store.xronox.collection("users").unwrap();
        users.ensure_unique(["mail"]).await.unwrap();
        let mut ids = Vec::new();
        for mail in ["a", "b", "c", "d", "e"] {
            ids.push(users.create(json!({ "mail": mail })).await.unwrap().id);
        }
        let cut = users
            .changes(0)
            .limit(1000)
            .await
            .unwrap()
            .last()
            .unwrap()
            .cv;
        let set = |id: usize, mail: &'static str| {
            let id = ids[id].clone();
            let users = users.clone();
            async move { users.update(&id, json!({ "mail": mail })).await.unwrap() }
        };
        // Three go round in a circle, one steps aside for a newcomer who is
        // born later, and one for somebody who then takes another's place.
        set(0, "x").await;
        set(1, "a").await;
        set(2, "b").await;
        set(0, "c").await;
        set(3, "y").await;
        let young = users.create(json!({ "mail": "d" })).await.unwrap().id;
        set(4, "z").await;
        set(3, "e").await;
        ids.push(young);

        let report = users.restore_collection(Moment::Cv(cut)).await.unwrap();
        if store.transactions {
            assert_eq!(counts(&report), [5, 1, 0, 0, 0, 0]);
            assert_state(&users, &ids, Some(cut)).await;
        } else {
            // A circle cannot be opened step by step without somebody being
            // deleted meanwhile, so those in it are left alone.
            assert_eq!(counts(&report), [2, 1, 0, 3, 0, 0]);
        }
        assert_clean(&users).await;
    }
}

#[tokio::test]
async fn keys_that_system_fields_decide_are_made_anew() {
    for store in stores(free()).await {
        let orders = store.xronox.collection("orders").unwrap();
        // Where a document has no such property, this is the one of `_system`.
        orders.ensure_index("updatedAt").await.unwrap();
        let (mut ids, cut) = busy(&orders, 20).await;
        let odd = orders
            .create(json!({ "updatedAt": "mine" }))
            .await
            .unwrap()
            .id;
        orders.update(&odd, json!({ "n": 1 })).await.unwrap();
        orders.restore_object(&odd).to_ov(0).await.unwrap();
        ids.push(odd);
        let report = orders.restore_collection(Moment::Cv(cut)).await.unwrap();
        assert_eq!(counts(&report), [10, 6, 0, 0, 0, 0]);
        assert_state(&orders, &ids, Some(cut)).await;
        assert_clean(&orders).await;
    }
}

#[tokio::test]
async fn a_key_that_two_records_had_goes_to_one() {
    for store in stores(free()).await {
        let users = store.xronox.collection("users").unwrap();
        let a = users.create(json!({ "mail": "q" })).await.unwrap().id;
        let b = users.create(json!({ "mail": "q" })).await.unwrap();
        users.update(&a, json!({ "mail": "r" })).await.unwrap();
        users.update(&b.id, json!({ "mail": "s" })).await.unwrap();
        users.ensure_unique(["mail"]).await.unwrap();
        let report = users.restore_collection(Moment::Cv(b.cv)).await.unwrap();
        assert_eq!(counts(&report), [1, 0, 0, 1, 0, 0]);
        assert_eq!(report.conflicts.ids, std::slice::from_ref(&b.id));
        assert_eq!(
            users.get_latest(&b.id).await.unwrap().document()["mail"],
            "s"
        );
        assert_clean(&users).await;
    }
}

/// What may happen to a collection, at random.
async fn live(collection: &Collection, dice: &mut Dice, steps: u32, purges: bool) -> Vec<RecordId> {
    let ids: Vec<RecordId> = (0..6).map(|n| format!("r{n}").parse().unwrap()).collect();
    for _ in 0..steps {
        let id = &ids[usize::try_from(dice.below(6)).unwrap()];
        let document = json!({ "k": format!("k{}", dice.below(5)), "v": dice.below(3) });
        let outcome = match dice.below(if purges { 12 } else { 11 }) {
            0..=2 => collection.create_with_id(id, document).await,
            3..=6 => collection.update(id, document).await,
            7 | 8 => collection.delete(id).await,
            9 | 10 => collection.restore_object(id).to_ov(dice.below(6)).await,
            _ => collection.delete(id).hard().await,
        };
        if let Err(error) = outcome {
            let expected = matches!(
                error.kind(),
                ErrorKind::NotFound
                    | ErrorKind::AlreadyExists
                    | ErrorKind::Deleted
                    | ErrorKind::Pruned
            );
            assert!(expected, "{error}");
        }
    }
    ids
}

async fn random_histories(unique: bool, purges: bool, seeds: std::ops::Range<u64>) {
    for store in stores(free()).await {
        let fewer = seeds.start..seeds.start + 2;
        let seeds = if store.on_servers {
            fewer
        } else {
            seeds.clone()
        };
        for seed in seeds {
            let mut dice = Dice::new(seed);
            let collection = store.xronox.collection(&format!("c{seed}")).unwrap();
            if unique {
                collection.ensure_unique(["k"]).await.unwrap();
            }
            let ids = live(&collection, &mut dice, 60, purges).await;
            let newest = collection
                .changes(0)
                .limit(1000)
                .await
                .unwrap()
                .last()
                .unwrap()
                .cv;
            for _ in 0..3 {
                let cut = dice.below(newest + 1);
                let mut then = BTreeMap::new();
                for id in &ids {
                    then.insert(id.clone(), state(&collection, id, Some(cut)).await);
                }
                let to = Moment::Cv(cut);
                let foreseen = collection.restore_collection(to).dry_run().await.unwrap();
                let report = collection.restore_collection(to).await.unwrap();
                assert_eq!(counts(&report), counts(&foreseen), "seed {seed} to {cut}");
                assert_eq!(report.conflicts.count, 0, "seed {seed} to {cut}");
                for (id, then) in then {
                    let now = state(&collection, &id, None).await;
                    match then {
                        Some(then) => assert_eq!(now, Some(then), "{id}, seed {seed} to {cut}"),
                        None => assert!(
                            now.is_none_or(|(_, deleted)| deleted),
                            "{id}, seed {seed} to {cut}"
                        ),
                    }
                }
                assert_clean(&collection).await;
            }
        }
    }
}

#[tokio::test]
async fn any_history_can_be_undone() {
    random_histories(false, false, 0..12).await;
}

#[tokio::test]
async fn any_history_with_purges_can_be_undone() {
    random_histories(false, true, 100..112).await;
}

#[tokio::test]
async fn any_history_of_unique_keys_can_be_undone() {
    random_histories(true, true, 200..220).await;
}

/// What was written while versioning was on stays, what was replaced while it
/// was off is `Pruned` and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versioning_may_be_off_for_a_while() {
    for place in places() {
        let on = place.open(true).await;
        let orders = on.collection("orders").unwrap();
        orders
            .create_with_id("old", json!({ "n": 0 }))
            .await
            .unwrap();
        orders.update("old", json!({ "n": 1 })).await.unwrap();
        on.close().await.unwrap();

        let off = place.open(false).await;
        let orders = off.collection("orders").unwrap();
        for cv in 2..5 {
            let document = json!({ "n": cv });
            let written = match cv {
                2 => orders.create_with_id("new", document).await,
                _ => orders.update("new", document).await,
            };
            assert_eq!(written.unwrap().cv, cv);
        }
        for n in 2..4 {
            orders.update("old", json!({ "n": n })).await.unwrap();
        }
        for (ov, n) in [(0, 0), (1, 1), (3, 3)] {
            let version = orders.get_version("old", ov).await.unwrap();
            assert_eq!(version.document(), json!({ "n": n }));
        }
        assert!(orders.verify().await.unwrap().clean());
        off.close().await.unwrap();

        let on = place.open(true).await;
        let orders = on.collection("orders").unwrap();
        orders.update("new", json!({ "n": 7 })).await.unwrap();
        let as_of = async |id: &str, cv| {
            let read = orders.get_as_of(id, Moment::Cv(cv)).await;
            read.map(|record| record.document()["n"].as_u64().unwrap())
                .map_err(|error| error.kind().name())
        };
        let (gone, unborn) = (Err("Pruned"), Err("NotFound"));
        for (cv, old, new) in [
            (0, Ok(0), unborn),
            (1, Ok(1), unborn),
            (2, Ok(1), gone),
            (3, Ok(1), gone),
            (4, Ok(1), Ok(4)),
            (5, gone, Ok(4)),
            (6, Ok(3), Ok(4)),
            (7, Ok(3), Ok(7)),
        ] {
            assert_eq!(as_of("old", cv).await, old, "old at {cv}");
            assert_eq!(as_of("new", cv).await, new, "new at {cv}");
            let page = orders.query(json!({})).as_of(Moment::Cv(cv)).await;
            let missing = old == gone || new == gone;
            match page {
                Err(error) => {
                    assert_eq!(error.kind(), &ErrorKind::Pruned, "at {cv}: {error}");
                    assert!(missing, "at {cv}");
                }
                Ok(page) => {
                    assert!(!missing, "at {cv}");
                    let there = usize::from(old.is_ok()) + usize::from(new.is_ok());
                    assert_eq!(page.items.len(), there, "at {cv}");
                }
            }
        }
        assert!(orders.verify().await.unwrap().clean());

        // What cannot be brought back is told, and left as it is.
        let report = orders.restore_collection(Moment::Cv(2)).await.unwrap();
        assert_eq!((report.restored, report.deleted), (1, 0));
        assert_eq!(report.pruned.ids, ["new".parse().unwrap()]);
        let newest = async |id: &str| {
            orders
                .get_latest(id)
                .await
                .map(|r| r.document()["n"].clone())
        };
        assert_eq!(newest("old").await.unwrap(), 1);
        assert_eq!(newest("new").await.unwrap(), 7);
        let report = orders.restore_collection(Moment::Cv(1)).await.unwrap();
        assert_eq!((report.restored, report.deleted), (0, 1));
        let error = newest("new").await.unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::NotFound);
        assert!(orders.verify().await.unwrap().clean());
        on.close().await.unwrap();
    }
}

/// Where a store can be closed and opened again.
enum Reopened {
    Folder(TempDir),
    Server { uri: String, database: String },
}

fn places() -> [Reopened; 3] {
    let server = |uri| Reopened::Server {
        uri,
        database: support::database(),
    };
    [
        Reopened::Folder(TempDir::new().unwrap()),
        server(xronox_services::env::mongo_uri().unwrap()),
        server(xronox_services::env::mongo_standalone_uri().unwrap()),
    ]
}

impl Reopened {
    async fn open(&self, versioning: bool) -> Xronox {
        let mut config = match self {
            Self::Folder(folder) => Config::dev(folder.path()),
            Self::Server { uri, database } => Config::at(uri).unwrap().database(database),
        };
        config.settings.versioning.enabled = versioning;
        Xronox::open(config).await.unwrap()
    }
}

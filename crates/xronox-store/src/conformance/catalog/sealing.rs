//! A database that takes no more writes.

use serde_json::json;
use xronox_model::{CollectionName, IndexSpec};

use super::{
    Subject,
    atomicity::racers,
    bench::{Bench, path},
};
use crate::{Outcome, StoreError};

#[track_caller]
fn sealed<T: std::fmt::Debug>(result: &Result<T, StoreError>) {
    assert!(matches!(result, Err(StoreError::Sealed)), "{result:?}");
}

/// Nothing that is written comes through, in no collection, old or new; reads
/// go on; and without the seal it is as before.
pub async fn a_sealed_database_takes_no_writes(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let mut handles = vec![Bench::on(
        std::sync::Arc::clone(&bench.catalog),
        subject.clock(),
    )];
    if bench.catalog.capabilities().shared {
        handles.push(Bench::on(subject.open().await, subject.clock()));
    }
    bench.done(bench.create("a", &json!({"n": 1}))).await;
    bench.done(bench.update("a", &json!({"n": 2}))).await;
    for handle in &handles {
        // What each has seen before is no way around it.
        handle
            .done(handle.update("a", &json!({"n": 2, "by": 1})))
            .await;
    }
    let rows = bench.rows().await;
    assert!(!bench.catalog.is_sealed().await.unwrap());
    bench.catalog.seal().await.unwrap();
    bench.catalog.seal().await.unwrap();
    if bench.catalog.capabilities().durable {
        handles.push(Bench::on(subject.open().await, subject.clock()));
    }
    for handle in &handles {
        assert!(handle.catalog.is_sealed().await.unwrap());
        let writes = [
            handle.create("b", &json!({})).into(),
            handle.update("a", &json!({"n": 3})).into(),
            handle.purge("a").into(),
        ];
        for write in writes {
            sealed(&handle.try_commit(vec![write]).await);
        }
        sealed(
            &handle
                .other("new")
                .try_commit(vec![handle.create("b", &json!({})).into()])
                .await,
        );
        let catalog = &handle.catalog;
        let spec = IndexSpec::field(path("n"));
        sealed(&catalog.add_index(&handle.name, &spec).await);
        let exact: CollectionName = "exact".parse().unwrap();
        sealed(&catalog.append_exact(&exact, rows[..1].to_vec()).await);

        assert_eq!(handle.rows().await, rows);
        let head = handle.head("a").await.unwrap();
        assert_eq!(Some(&head), rows.last());
        let newest = catalog.newest(&handle.name).await.unwrap();
        assert_eq!(newest.map(|newest| newest.cv), Some(head.cv));
        assert_eq!(
            catalog.collections().await.unwrap(),
            std::slice::from_ref(&handle.name)
        );
    }
    bench.catalog.unseal().await.unwrap();
    bench.catalog.unseal().await.unwrap();
    for handle in &handles {
        assert!(!handle.catalog.is_sealed().await.unwrap());
        handle.done(handle.update("a", &json!({"n": 4}))).await;
        handle.done(handle.update("a", &json!({"n": 5}))).await;
    }
    let other = bench.other("new");
    other.done(other.create("b", &json!({}))).await;
}

/// Once the seal is set nothing changes any more, and every write that was
/// acknowledged is there, however fast its writer was.
pub async fn a_seal_parts_what_was_acknowledged(subject: &dyn Subject) {
    let benches = racers(subject).await;
    let sealer = Bench::on(std::sync::Arc::clone(&benches[0].catalog), subject.clock());
    benches[0]
        .done(benches[0].create("shared", &json!({})))
        .await;
    let mut tasks = tokio::task::JoinSet::new();
    let (written, so_many) = tokio::sync::watch::channel(0_u32);
    for (i, bench) in benches.into_iter().enumerate() {
        let written = written.clone();
        tasks.spawn(async move {
            let mut acknowledged = Vec::new();
            for n in 0.. {
                // Every third one in a collection that is not there yet.
                let to = match n % 3 {
                    0 => bench.other(&format!("own-{i}-{n}")),
                    _ => bench.other("records"),
                };
                let create = to.create(&format!("r{i}-{n}"), &json!({"n": n}));
                match to.try_commit(vec![create.into()]).await {
                    Ok(outcomes) => match &outcomes[..] {
                        [Outcome::Committed(commit)] => {
                            written.send_modify(|count| *count += 1);
                            acknowledged.push((to.name, commit.clone()));
                        }
                        other => panic!("{other:?}"),
                    },
                    Err(StoreError::Sealed) => break,
                    Err(other) => panic!("{other}"),
                }
                tokio::task::yield_now().await;
            }
            acknowledged
        });
    }
    so_many
        .clone()
        .wait_for(|count| *count >= 40)
        .await
        .unwrap();
    sealer.catalog.seal().await.unwrap();
    let names = sealer.catalog.collections().await.unwrap();
    let mut before = Vec::new();
    for name in &names {
        before.push(sealer.other(name.as_str()).rows().await);
    }
    let acknowledged = tasks.join_all().await.concat();
    assert_eq!(sealer.catalog.collections().await.unwrap(), names);
    for (name, rows) in names.iter().zip(before) {
        assert_eq!(sealer.other(name.as_str()).rows().await, rows, "{name}");
        let damages = sealer.catalog.check(name).await.unwrap();
        assert_eq!(damages, Vec::<String>::new());
        let rows = rows.iter().map(|row| (row.cv, &row.id));
        let rows: std::collections::BTreeMap<_, _> = rows.collect();
        for (_, commit) in acknowledged.iter().filter(|(to, _)| to == name) {
            assert_eq!(rows.get(&commit.cv), Some(&&commit.id), "{name}");
        }
    }
    let lost = |(name, _): &&(CollectionName, _)| !names.contains(name);
    assert_eq!(acknowledged.iter().find(lost), None);
}

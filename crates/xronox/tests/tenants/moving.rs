//! A tenant that moves takes everything along, and nothing that was
//! acknowledged stays behind.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use xronox::{Collection, Context, ErrorKind, TenantState, Xronox};

use crate::world::{World, live, story};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_history_comes_along() {
    for world in World::all() {
        let (here, there) = (world.open().await, world.open().await);
        let contexts = [
            Context::runtime("acme"),
            Context::knowledge().tenant("acme"),
        ];
        let mut before = Vec::new();
        for (seed, context) in contexts.iter().enumerate() {
            let database = here.with(context.clone()).await.unwrap();
            live(&database, seed as u64, 20).await;
            before.push(story(&database).await);
            there.with(context.clone()).await.unwrap();
        }
        let neighbour = here.tenant("acme-2").await.unwrap();
        live(&neighbour, 7, 5).await;
        let untouched = story(&neighbour).await;
        let old = there.tenant("acme").await.unwrap();

        for (to, from) in [("two", "one"), ("one", "two")] {
            let report = here.tenants().move_to("acme", to).await.unwrap();
            assert_eq!(report.databases.len(), 2, "{report:?}");
            assert!(report.versions > 0 && report.compared == report.versions);
            assert!(report.old_removed);
            let left = world.residue("acme").await;
            let left: Vec<_> = left.iter().filter(|name| name.starts_with(from)).collect();
            assert!(left.is_empty(), "{left:?}");
            let described = there.tenants().describe("acme").await.unwrap();
            assert_eq!(described.state, TenantState::Active);
            assert!(
                described
                    .databases
                    .iter()
                    .all(|place| place.connection == to)
            );
            for xronox in [&here, &world.open().await] {
                for (context, before) in contexts.iter().zip(&before) {
                    let moved = xronox.with(context.clone()).await.unwrap();
                    assert_eq!(story(&moved).await, *before, "{context}");
                    assert!(moved.verify().await.unwrap().clean());
                }
            }
        }
        // Whoever had it open learns it by the first write.
        let stale = old.collection("orders").unwrap().create(json!({})).await;
        assert_eq!(*stale.unwrap_err().kind(), ErrorKind::Unavailable);
        live(&there.tenant("acme").await.unwrap(), 30, 2).await;
        let now = story(&here.tenant("acme").await.unwrap()).await;
        assert_eq!(
            now[..],
            story(&there.tenant("acme").await.unwrap()).await[..]
        );
        assert!(now.len() > before[0].len());
        assert_eq!(story(&neighbour).await, untouched);

        let again = here.tenants().move_to("acme", "one").await.unwrap();
        assert!(again.databases.is_empty());
        for (id, to, kind) in [
            ("acme", "nowhere", ErrorKind::Config),
            ("nobody", "two", ErrorKind::UnknownTenant),
            ("listed", "two", ErrorKind::Unsupported),
        ] {
            let error = here.tenants().move_to(id, to).await.unwrap_err();
            assert_eq!(*error.kind(), kind, "{error}");
        }
        let error = here.tenants().cancel_move("acme").await.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::NotFound);
        here.tenants().drop("acme").await.unwrap();
        assert_eq!(world.residue("acme").await, [""; 0]);
    }
}

/// A client that writes as long as it may; it keeps what was acknowledged.
struct Client {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Vec<String>>,
}

impl Client {
    /// Opens the tenant for each write, or once.
    fn start(xronox: Xronox, name: &'static str, anew: bool, written: Arc<AtomicU64>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            let mut held: Option<Collection> = None;
            for n in 0_u64.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let orders = match &held {
                    Some(held) if !anew => held.clone(),
                    _ => match xronox.tenant("acme").await {
                        Ok(acme) => acme.collection("orders").unwrap(),
                        Err(error) => {
                            assert_eq!(*error.kind(), ErrorKind::Unavailable, "{error}");
                            continue;
                        }
                    },
                };
                let id = format!("{name}-{n}");
                let fill = "x".repeat(usize::try_from(n % 7 * 100).unwrap());
                match orders.create_with_id(&*id, json!({ "fill": fill })).await {
                    Ok(_) => {
                        written.fetch_add(1, Ordering::Relaxed);
                        acknowledged.push(id);
                    }
                    Err(error) => {
                        assert_eq!(*error.kind(), ErrorKind::Unavailable, "{error}");
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                }
                held = Some(orders);
            }
            acknowledged
        });
        Self { stop, task }
    }

    async fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_lose_nothing() {
    for world in World::all() {
        let (here, there) = (world.open().await, world.open().await);
        live(&here.tenant("acme").await.unwrap(), 1, 10).await;
        let written = Arc::new(AtomicU64::new(0));
        let clients = [
            Client::start(here.clone(), "here", true, Arc::clone(&written)),
            Client::start(there.clone(), "there", true, Arc::clone(&written)),
            Client::start(there.clone(), "held", false, Arc::clone(&written)),
        ];
        for to in ["two", "one", "two"] {
            let before = written.load(Ordering::Relaxed);
            while written.load(Ordering::Relaxed) < before + 20 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            here.tenants().move_to("acme", to).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        let mut acknowledged = Vec::new();
        for client in clients {
            acknowledged.extend(client.stop().await);
        }
        let fresh = world.open().await;
        let acme = fresh.tenant("acme").await.unwrap();
        let orders = acme.collection("orders").unwrap();
        for id in &acknowledged {
            let found = orders.get_latest(&**id).await;
            assert!(found.is_ok(), "{id} was acknowledged, and is lost");
        }
        assert!(acme.verify().await.unwrap().clean());
        let own = |name: &str| {
            acknowledged
                .iter()
                .filter(|id| id.starts_with(name))
                .count()
        };
        assert!(own("here") > 20 && own("there") > 20 && own("held") > 0);
        let report = fresh.tenants().drop("acme").await.unwrap();
        assert_eq!(report.residue, 0);
        assert_eq!(world.residue("acme").await, [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_old_place_may_stay_for_a_while() {
    for world in World::all() {
        let (here, there) = (world.open().await, world.open().await);
        live(&here.tenant("acme").await.unwrap(), 1, 6).await;
        let reader = there.tenant("acme").await.unwrap();
        let before = story(&reader).await;
        let report = here
            .tenants()
            .move_to("acme", "two")
            .keep_old()
            .await
            .unwrap();
        assert!(!report.old_removed);
        assert_eq!(story(&reader).await, before);
        // Nor does a query that would like to have an index stop.
        let orders = reader.collection("orders").unwrap();
        orders.query(json!({ "fill": "none" })).await.unwrap();
        let moved = here.tenant("acme").await.unwrap();
        live(&moved, 2, 2).await;
        let after = story(&moved).await;
        let described = here.tenants().describe("acme").await.unwrap();
        assert_eq!(described.databases[0].connection, "two");
        for error in [
            here.tenants().cancel_move("acme").await.unwrap_err(),
            here.tenants().move_to("acme", "one").await.unwrap_err(),
            here.tenants().drop("acme").await.unwrap_err(),
            here.tenants().suspend("acme").await.unwrap_err(),
        ] {
            let kinds = [ErrorKind::Unavailable, ErrorKind::Unsupported];
            assert!(kinds.contains(error.kind()), "{error}");
        }
        let report = here.tenants().move_to("acme", "two").await.unwrap();
        assert!(report.old_removed && report.versions == 0);
        assert_eq!(story(&here.tenant("acme").await.unwrap()).await, after);
        here.tenants().drop("acme").await.unwrap();
        assert_eq!(world.residue("acme").await, [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_tenant_moves_and_stays_suspended() {
    let world = World::local();
    let xronox = world.open().await;
    live(&xronox.tenant("acme").await.unwrap(), 1, 6).await;
    let before = story(&xronox.tenant("acme").await.unwrap()).await;
    xronox.tenants().suspend("acme").await.unwrap();
    xronox.tenants().move_to("acme", "two").await.unwrap();
    let error = xronox.tenant("acme").await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Forbidden);
    xronox.tenants().resume("acme").await.unwrap();
    assert_eq!(story(&xronox.tenant("acme").await.unwrap()).await, before);
}

#[tokio::test]
async fn nothing_moves_onto_another_database() {
    let world = World::local();
    let xronox = world.open().await;
    live(&xronox.tenant("acme").await.unwrap(), 1, 3).await;
    let before = story(&xronox.tenant("acme").await.unwrap()).await;
    xronox.close().await.unwrap();
    // Another way to the same place, and a place where there is something.
    let mut config = world.config.clone();
    let one = config["dbConnections"]["one"]["mongoUri"].as_str().unwrap();
    config["dbConnections"]["same"] = json!({ "mongoUri": format!("{one}/../one") });
    let xronox = crate::world::open(&config).await;
    let error = xronox.tenants().move_to("acme", "same").await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::AlreadyExists);
    let acme = xronox.tenant("acme").await.unwrap();
    assert_eq!(story(&acme).await, before);
    live(&acme, 2, 1).await;
}

//! Processes that are killed while they drop or move a tenant.
//!
//! The test program runs itself as the process to be killed.

use std::{
    future::IntoFuture,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use xronox::{ErrorKind, TenantState};

use crate::{
    support::Dice,
    world::{self, World, live, story},
};

const ORDER: &str = "XRONOX_TENANTS_ORDER";

/// Not a test of its own: the process that is killed.
#[test]
fn ordered_process() {
    let Ok(order) = std::env::var(ORDER) else {
        return;
    };
    let order: Value = serde_json::from_str(&order).unwrap();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let xronox = world::open(&order["config"]).await;
        match order["to"].as_str() {
            Some("cancel") => again(|| xronox.tenants().cancel_move("acme")).await,
            Some(to) => drop(again(|| xronox.tenants().move_to("acme", to)).await),
            None => drop(again(|| xronox.tenants().drop("acme")).await),
        }
    });
}

fn start(world: &World, to: Option<&str>) -> Child {
    let order = json!({ "config": world.config, "to": to });
    Command::new(std::env::current_exe().unwrap())
        .args(["crash::ordered_process", "--exact", "--nocapture"])
        .env(ORDER, order.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Lets a process run for so long; whether it was still at it.
async fn interrupted(mut child: Child, after: Duration) -> bool {
    tokio::time::sleep(after).await;
    let ended = child.try_wait().unwrap();
    if let Some(status) = ended {
        assert!(status.success(), "it failed by itself");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    ended.is_none()
}

/// How long a process takes when nobody kills it.
async fn undisturbed(world: &World, to: Option<&str>) -> u64 {
    let begun = std::time::Instant::now();
    let mut child = start(world, to);
    while child.try_wait().unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(child.wait().unwrap().success());
    u64::try_from(begun.elapsed().as_millis()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_move_goes_on() {
    for world in World::all() {
        let mut dice = Dice::new(5);
        let xronox = world.open().await;
        live(&xronox.tenant("acme").await.unwrap(), 1, 60).await;
        let before = story(&xronox.tenant("acme").await.unwrap()).await;
        let whole = undisturbed(&world, Some("two")).await;
        let (mut kills, mut to) = (0, "one");
        for round in 0..24 {
            let after = Duration::from_millis(dice.below(whole));
            if interrupted(start(&world, Some(to)), after).await {
                kills += 1;
            }
            // Wherever it is, it is whole, for those who come now.
            let fresh = world.open().await;
            let acme = fresh.tenant("acme").await.unwrap();
            assert_eq!(story(&acme).await, before, "round {round}");
            let described = fresh.tenants().describe("acme").await.unwrap();
            if round % 6 == 5 {
                again(|| fresh.tenants().move_to("acme", to)).await;
            }
            let there = fresh.tenants().describe("acme").await.unwrap();
            if there.state == TenantState::Active && there.databases[0].connection == to {
                let fresh = fresh.tenant("acme").await.unwrap();
                assert_eq!(story(&fresh).await, before, "round {round}");
                let from = if to == "one" { "two" } else { "one" };
                let left = world.residue("acme").await;
                let left: Vec<_> = left.iter().filter(|one| one.starts_with(from)).collect();
                assert!(left.is_empty(), "round {round}: {described:?} {left:?}");
                to = from;
            }
        }
        assert!(kills >= 8, "{kills} were killed in time");
        let fresh = world.open().await;
        again(|| fresh.tenants().move_to("acme", to)).await;
        let acme = fresh.tenant("acme").await.unwrap();
        assert_eq!(story(&acme).await, before);
        assert!(acme.verify().await.unwrap().clean());
        live(&acme, 2, 1).await;
        again(|| fresh.tenants().drop("acme")).await;
        assert_eq!(world.residue("acme").await, [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_move_is_cancelled() {
    for world in World::all() {
        let mut dice = Dice::new(6);
        let xronox = world.open().await;
        live(&xronox.tenant("acme").await.unwrap(), 1, 120).await;
        let whole = undisturbed(&world, Some("two")).await;
        again(|| xronox.tenants().move_to("acme", "one")).await;
        let (mut cancelled, mut round) = (0, 0);
        while cancelled < 3 {
            round += 1;
            assert!(round < 60, "no process was killed half-way");
            let fresh = world.open().await;
            let before = story(&fresh.tenant("acme").await.unwrap()).await;
            let after = Duration::from_millis(whole / 4 + dice.below(whole));
            interrupted(start(&world, Some("two")), after).await;
            if dice.below(2) == 0 {
                let after = Duration::from_millis(dice.below(whole));
                interrupted_whatever(start(&world, Some("cancel")), after).await;
            }
            match fresh.tenants().cancel_move("acme").await {
                Ok(()) => cancelled += 1,
                // It had not begun, was through, or was cancelled before.
                Err(error) if *error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    assert_eq!(*error.kind(), ErrorKind::Unsupported, "{error}");
                    again(|| fresh.tenants().move_to("acme", "two")).await;
                }
            }
            let later = world.open().await;
            let acme = later.tenant("acme").await.unwrap();
            assert_eq!(story(&acme).await, before, "round {round}");
            live(&acme, 100 + round, 1).await;
            again(|| later.tenants().move_to("acme", "one")).await;
            let left = world.residue("acme").await;
            assert!(left.iter().all(|one| !one.starts_with("two")), "{left:?}");
        }
    }
}

/// What a call comes to. A database whose drop was broken off can be dropped or
/// made anew only after a moment, and the call says so.
async fn again<T, F>(call: impl Fn() -> F) -> T
where
    F: IntoFuture<Output = Result<T, xronox::Error>>,
{
    for _ in 0..50 {
        match call().await {
            Err(error) if *error.kind() == ErrorKind::Unavailable => {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            answer => return answer.unwrap(),
        }
    }
    panic!("it is not there after ten seconds");
}

/// The same of a process that may fail.
async fn interrupted_whatever(mut child: Child, after: Duration) {
    tokio::time::sleep(after).await;
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_drop_goes_on() {
    for world in World::all() {
        let mut dice = Dice::new(7);
        let xronox = world.open().await;
        let neighbour = xronox.tenant("acme-2").await.unwrap();
        live(&neighbour, 3, 10).await;
        let untouched = story(&neighbour).await;
        live(&xronox.tenant("acme").await.unwrap(), 1, 40).await;
        let whole = undisturbed(&world, None).await;
        assert_eq!(world.residue("acme").await, [""; 0]);
        let mut half_way = 0;
        for round in 0..8 {
            let own = world.open().await;
            live(&own.tenant("acme").await.unwrap(), round, 40).await;
            loop {
                let after = Duration::from_millis(dice.below(whole));
                if !interrupted(start(&world, None), after).await {
                    break;
                }
                match own.tenants().describe("acme").await {
                    Ok(described) if described.state == TenantState::Dropping => {
                        half_way += 1;
                        let fresh = world.open().await;
                        let error = fresh.tenant("acme").await.unwrap_err();
                        assert_eq!(*error.kind(), ErrorKind::Unavailable, "{error}");
                        if dice.below(2) == 0 {
                            break;
                        }
                    }
                    // It had not begun.
                    Ok(described) => assert_eq!(described.state, TenantState::Active),
                    // It was through.
                    Err(error) => {
                        assert_eq!(*error.kind(), ErrorKind::UnknownTenant, "{error}");
                        break;
                    }
                }
            }
            loop {
                match own.tenants().drop("acme").await {
                    Ok(report) => assert_eq!(report.residue, 0),
                    // The server may still be at what the killed process asked for.
                    Err(error) if *error.kind() == ErrorKind::Unavailable => {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                    Err(error) => assert_eq!(*error.kind(), ErrorKind::UnknownTenant, "{error}"),
                }
                break;
            }
            assert_eq!(world.residue("acme").await, [""; 0], "round {round}");
        }
        assert!(half_way > 0, "no process was killed half-way");
        assert_eq!(story(&neighbour).await, untouched);
    }
}

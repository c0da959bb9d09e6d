//! A tenant that is dropped is gone, and nobody else is any less there.

use serde_json::json;
use xronox::{Context, ErrorKind};

use crate::world::{World, live, story};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_and_neighbours_stay() {
    for world in World::all() {
        let (here, there) = (world.open().await, world.open().await);
        let neighbours = ["acme-2", "acme2", "Acme", "acm", "listed"];
        let mut stories = Vec::new();
        for (seed, id) in neighbours.iter().enumerate() {
            let database = here.tenant(*id).await.unwrap();
            live(&database, seed as u64, 6).await;
            stories.push(story(&database).await);
        }
        let acme = here.tenant("acme").await.unwrap();
        live(&acme, 9, 12).await;
        let elsewhere = there.tenant("acme").await.unwrap();
        let orders = elsewhere.collection("orders").unwrap();
        orders.create(json!({})).await.unwrap();
        let articles = here
            .with(Context::knowledge().tenant("acme"))
            .await
            .unwrap();
        live(&articles, 10, 4).await;
        let before = world.residue("acme").await;
        assert!(before.len() > 2, "{before:?}");

        let dry = here.tenants().drop("acme").dry_run().await.unwrap();
        assert!(dry.dry_run && dry.objects > 0);
        assert_eq!(dry.databases.len(), 2);
        assert_eq!(world.residue("acme").await, before);

        let mut told = 0;
        let report = here
            .tenants()
            .drop("acme")
            .on_progress(|progress| told = progress.done)
            .await
            .unwrap();
        assert_eq!(world.residue("acme").await, [""; 0]);
        assert_eq!((report.residue, report.objects), (0, dry.objects));
        assert_eq!(told, report.objects);
        assert_eq!(report.databases, dry.databases);
        assert!(!report.still_listed && report.kept.is_empty());

        // Whoever has it open still cannot bring it back.
        for handle in [&acme, &elsewhere] {
            for name in ["orders", "new"] {
                let error = handle.collection(name).unwrap().create(json!({})).await;
                assert_eq!(*error.unwrap_err().kind(), ErrorKind::Unavailable);
            }
        }
        assert_eq!(world.residue("acme").await, [""; 0]);
        let error = here.tenants().describe("acme").await.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::UnknownTenant);
        let error = here.tenants().drop("acme").await.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::UnknownTenant);
        for (id, before) in neighbours.iter().zip(stories) {
            for xronox in [&here, &there] {
                assert_eq!(
                    story(&xronox.tenant(*id).await.unwrap()).await,
                    before,
                    "{id}"
                );
            }
        }
        // It may come again, as somebody new.
        for xronox in [&here, &there] {
            let anew = xronox.tenant("acme").await.unwrap();
            anew.collection("orders")
                .unwrap()
                .create(json!({}))
                .await
                .unwrap();
        }
        let anew = here.tenant("acme").await.unwrap();
        assert_eq!(story(&anew).await.len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listed_tenant_is_made_anew() {
    for world in World::all() {
        let xronox = world.open().await;
        live(&xronox.tenant("listed").await.unwrap(), 1, 6).await;
        let report = xronox.tenants().drop("listed").await.unwrap();
        assert!(report.still_listed);
        assert_eq!(report.residue, 0);
        assert_eq!(world.residue("listed").await, [""; 0]);
        let anew = xronox.tenant("listed").await.unwrap();
        assert!(anew.collections().await.unwrap().is_empty());
        live(&anew, 2, 2).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_somebody_else_is_not_touched() {
    for mut world in World::all() {
        let xronox = world.open().await;
        xronox.tenant("initech").await.unwrap();
        let globex = xronox.tenant("globex").await.unwrap();
        live(&globex, 1, 4).await;
        let before = story(&globex).await;
        xronox.close().await.unwrap();
        // By mistake, mallory is given what is globex's.
        let theirs = format!("{}-globex", world.name);
        let list = &mut world.config["databases"]["runtime"]["tenantDatabases"];
        list.as_array_mut().unwrap().push(json!({
            "tenantId": "mallory", "dbConnRef": "one", "spaceConnRef": "bodies", "dbName": theirs,
            "analyticsDbName": format!("{}-initech", world.name),
        }));
        let xronox = world.open().await;
        let report = xronox.tenants().drop("mallory").await.unwrap();
        assert_eq!((report.databases.len(), report.objects), (0, 0));
        let kept: Vec<&str> = report.kept.iter().map(|kept| &*kept.database).collect();
        assert_eq!(kept, [&*theirs, &*format!("{}-initech", world.name)]);
        let globex = xronox.tenant("globex").await.unwrap();
        assert_eq!(story(&globex).await, before);
        live(&globex, 2, 1).await;
    }
}

//! How tenants come, are found and are suspended.

use serde_json::{Value, json};
use xronox::{Context, ErrorKind, TenantState, Xronox};

use crate::world::{self, World, live};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_is_made_and_described() {
    for world in World::all() {
        let xronox = world.open().await;
        let tenants = xronox.tenants();
        let made = tenants.create("acme").await.unwrap();
        assert_eq!(made.state, TenantState::Active);
        let described = tenants.describe("acme").await.unwrap();
        assert_eq!(described, made);
        let json = serde_json::to_value(&described).unwrap();
        assert_eq!(
            json["databases"],
            json!([
                { "databaseType": "knowledge", "connection": "one",
                  "database": format!("{}k-acme", world.name) },
                { "databaseType": "runtime", "connection": "one",
                  "database": format!("{}-acme", world.name), "space": "bodies" },
            ])
        );
        assert_eq!(world.residue("acme").await.len(), 2, "they are there");
        for taken in ["acme", "listed"] {
            let error = tenants.create(taken).await.unwrap_err();
            assert_eq!(*error.kind(), ErrorKind::AlreadyExists, "{taken}");
        }
        let error = tenants.create("a\nb").await.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Invalid);
        let error = tenants.describe("nobody").await.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::UnknownTenant);
        assert_eq!(world.residue("nobody").await, [""; 0]);
        let listed = tenants.describe("listed").await.unwrap();
        assert!(listed.listed && listed.since.is_none());
        // Used, never created.
        xronox.tenant("globex").await.unwrap();
        assert_eq!(tenants.describe("globex").await.unwrap().databases.len(), 1);
        xronox.close().await.unwrap();
        let error = tenants.describe("acme").await.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Closed);
    }
}

#[tokio::test]
async fn what_a_tenant_is_created_with_need_not_be_said_again() {
    let mut world = World::local();
    let dynamic = &mut world.config["databases"]["runtime"]["dynamicTenants"];
    dynamic["dbNameTemplate"] = json!("app-{meta.region}-{tenantId}");
    dynamic["autoCreate"] = json!(false);
    world.config["databases"]["knowledge"] = Value::Null;
    world.config["databases"]
        .as_object_mut()
        .unwrap()
        .remove("knowledge");
    let xronox = world.open().await;
    let error = xronox.tenant("acme").await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Invalid, "no region");
    let error = xronox.tenants().create("acme").await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Invalid, "no region");
    let context = Context::runtime("acme").meta("region", "eu");
    let error = xronox.with(context.clone()).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::UnknownTenant);
    let created = xronox
        .tenants()
        .create("acme")
        .meta("region", "eu")
        .plan("pro");
    let created = created.await.unwrap();
    assert_eq!(created.meta["region"], "eu");
    for context in [context, Context::runtime("acme")] {
        assert_eq!(xronox.with(context).await.unwrap().name(), "app-eu-acme");
    }
    xronox.close().await.unwrap();
    let xronox = world.open().await;
    assert_eq!(xronox.tenant("acme").await.unwrap().name(), "app-eu-acme");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_are_listed_page_by_page() {
    for world in World::all() {
        let xronox = world.open().await;
        let mut expected = vec!["listed".to_owned()];
        for id in ["a", "Z", "m", "listed-2", "zz", "ä", "lister"] {
            xronox.tenant(id).await.unwrap();
            expected.push(id.to_owned());
        }
        xronox.tenants().create("both").await.unwrap();
        expected.push("both".to_owned());
        expected.sort();
        for limit in [1, 2, 3, 8, 9, 10, 1000] {
            let (mut found, mut after) = (Vec::new(), None);
            loop {
                let mut list = xronox.tenants().list().limit(limit);
                if let Some(after) = after {
                    list = list.after(after);
                }
                let page = list.await.unwrap();
                assert!(page.items.len() <= limit);
                assert!(page.next.is_none() || page.items.len() == limit);
                found.extend(page.items.into_iter().map(|tenant| tenant.tenant_id));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(found, expected, "{limit} a page");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_tenant_is_closed() {
    for mut world in World::all() {
        let types = ["runtime", "knowledge"];
        for of_type in types {
            world.config["databases"][of_type]["dynamicTenants"]["cacheExpiry"] = json!(1);
        }
        let (here, there) = (world.open().await, world.open().await);
        let contexts = [
            Context::runtime("acme"),
            Context::knowledge().tenant("acme"),
        ];
        for xronox in [&here, &there] {
            for context in &contexts {
                xronox.with(context.clone()).await.unwrap();
            }
        }
        live(&here.tenant("acme").await.unwrap(), 1, 3).await;
        here.tenants().suspend("acme").await.unwrap();
        here.tenants().suspend("acme").await.unwrap();
        refused(&here, &contexts).await;
        // It has not been there before.
        refused(&world.open().await, &contexts).await;
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
        refused(&there, &contexts).await;
        let described = there.tenants().describe("acme").await.unwrap();
        assert_eq!(described.state, TenantState::Suspended);
        here.tenant("acme-2").await.unwrap();

        there.tenants().resume("acme").await.unwrap();
        there.tenants().resume("acme").await.unwrap();
        for (seed, xronox) in [(2, &here), (3, &there)] {
            for context in &contexts {
                xronox.with(context.clone()).await.unwrap();
            }
            live(&xronox.tenant("acme").await.unwrap(), seed, 1).await;
        }
        for (id, kind) in [
            ("listed", ErrorKind::Unsupported),
            ("nobody", ErrorKind::UnknownTenant),
        ] {
            let error = here.tenants().suspend(id).await.unwrap_err();
            assert_eq!(*error.kind(), kind, "{id}: {error}");
        }
    }
}

async fn refused(xronox: &Xronox, contexts: &[Context]) {
    for context in contexts {
        let error = xronox.with(context.clone()).await.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Forbidden, "{error}");
        assert!(error.to_string().contains("suspended"), "{error}");
    }
}

#[tokio::test]
async fn a_store_without_a_directory_has_its_listed_tenants() {
    let mut world = World::local();
    let databases = world.config["databases"].as_object_mut().unwrap();
    databases.remove("knowledge");
    databases.remove("metadata");
    databases["runtime"]
        .as_object_mut()
        .unwrap()
        .remove("dynamicTenants");
    let xronox = world::open(&world.config).await;
    let tenants = xronox.tenants();
    let page = tenants.list().await.unwrap();
    assert_eq!(page.items.len(), 1);
    let error = tenants.create("acme").await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Unsupported);
    for error in [
        tenants.suspend("listed").await.unwrap_err(),
        tenants.move_to("listed", "two").await.unwrap_err(),
    ] {
        assert_eq!(*error.kind(), ErrorKind::Unsupported);
    }
    let error = tenants.drop("acme").await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::UnknownTenant);
    live(&xronox.tenant("listed").await.unwrap(), 1, 4).await;
    let report = tenants.drop("listed").await.unwrap();
    assert!(report.still_listed && report.objects > 0 && report.residue == 0);
    assert_eq!(world.residue("listed").await, [""; 0]);
    let anew = xronox.tenant("listed").await.unwrap();
    assert!(anew.collections().await.unwrap().is_empty());
}

//! Many tenants, few clients.

use serde_json::json;
use xronox::{Config, Xronox};
use xronox_services::{
    Mongod,
    bson::{Bson, doc},
    env,
};

/// Connections that the server has seen.
fn seen(server: &Mongod) -> i64 {
    let status = server.command("admin", doc! { "serverStatus": 1 }).unwrap();
    let connections = status.get_document("connections").unwrap();
    match connections.get("totalCreated").unwrap() {
        Bson::Int32(n) => i64::from(*n),
        Bson::Int64(n) => *n,
        other => panic!("{other:?}"),
    }
}

/// However many come at once: there is a client for each connection of the
/// configuration, and each tenant is made once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_first_requests_share_two_clients() {
    const TENANTS: usize = 20;
    let services = env::services().unwrap();
    let servers = [(); 2].map(|()| Mongod::replica_set(&services).unwrap());
    let config = Config::from_value(json!({
        "dbConnections": {
            "one": { "mongoUri": servers[0].uri(), "pool": { "max": 8 } },
            "two": { "mongoUri": servers[1].uri(), "pool": { "max": 8 } },
        },
        "databases": {
            "metadata": { "genericDatabase": { "dbConnRef": "one", "dbName": "app_meta" } },
            "runtime": { "dynamicTenants": {
                "enabled": true, "dbConnRefs": [{ "ref": "one" }, { "ref": "two" }],
                "dbNameTemplate": "app_{tenantId}",
            } },
        },
    }));
    let xronox = Xronox::open(config.unwrap()).await.unwrap();
    let before = servers.each_ref().map(seen);
    let requests: Vec<_> = (0..1000)
        .map(|n| {
            let xronox = xronox.clone();
            tokio::spawn(async move {
                let tenant = xronox.tenant(format!("t{}", n % TENANTS)).await.unwrap();
                let counts = tenant.collection("counts").unwrap();
                counts.create(json!({ "n": n })).await.unwrap();
            })
        })
        .collect();
    for request in requests {
        request.await.unwrap();
    }
    // A pool at each, connections that watch the server, and the one that asks.
    for (server, before) in servers.iter().zip(before) {
        let opened = seen(server) - before;
        assert!(opened <= 8 + 2 + 1, "{opened} connections");
    }

    let mut used = std::collections::BTreeSet::new();
    for n in 0..TENANTS {
        let id = format!("t{n}");
        let tenant = xronox.tenant(&id).await.unwrap();
        let counts = tenant.collection("counts").unwrap();
        assert_eq!(counts.count(json!({})).await.unwrap().count, 50);
        let told = xronox.tenants().describe(&id).await.unwrap();
        used.insert(told.databases[0].connection.clone());
    }
    assert_eq!(used.len(), 2, "both connections are in use");
    xronox.close().await.unwrap();
}

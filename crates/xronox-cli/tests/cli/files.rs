//! Files inside records.

use std::fs;

use serde_json::json;

use crate::store::Store;

/// A store whose papers have files.
fn store() -> Store {
    let store = Store::new();
    let configuration = json!({
        "dbConnections": { "main": { "mongoUri": "sqlite:data" } },
        "spacesConnections": { "objects": { "endpoint": "file:objects" } },
        "databases": { "runtime": { "tenantDatabases": [
            { "tenantId": "default", "dbConnRef": "main", "spaceConnRef": "objects",
              "dbName": "shop" }
        ] } },
        "collectionMaps": { "papers": { "base64Props": {
            "contract": { "contentType": "application/pdf" },
            "note": { "contentType": "text/plain", "preferredText": true, "textCharset": "latin1" }
        } } }
    });
    store.file("xronox.config.json", configuration.to_string());
    store
}

#[test]
fn files_go_in_and_out() {
    let store = store();
    store.put("papers", "a", &json!({ "n": 1, "note": "Zvxy" }));
    let bytes: Vec<u8> = (0..=255).cycle().take(20_000).collect();
    let contract = store.file("contract.pdf", &bytes);
    let contract = contract.to_str().unwrap();
    let written = store.one(&[
        "attach", "papers", "a", "contract", contract, "--actor", "user:42",
    ]);
    assert_eq!(
        (&written["ov"], &written["op"]),
        (&json!(1), &json!("UPDATE"))
    );
    let typed = [
        "attach",
        "papers",
        "a",
        "contract",
        contract,
        "--content-type",
        "a/b",
    ];
    assert_eq!(store.one(&typed)["ov"], 2);
    let record = store.one(&["get", "papers", "a"]);
    assert_eq!(record["contract"]["_file"]["contentType"], "a/b");
    assert_eq!(record["contract"]["_file"]["size"], 20_000);

    let out = store.path().join("out.pdf");
    let out_name = out.to_str().unwrap();
    let told = store.one(&["fetch", "papers", "a", "contract", "-o", out_name]);
    assert_eq!(
        (&told["path"], &told["size"]),
        (&json!("contract"), &json!(20_000))
    );
    assert_eq!(fs::read(&out).unwrap(), bytes);
    let old = [
        "fetch", "papers", "a", "contract", "--ov", "1", "-o", out_name,
    ];
    assert_eq!(store.one(&old)["contentType"], "application/pdf");
    assert_eq!(
        store.text(&["fetch", "papers", "a", "note", "--text"]),
        "für"
    );
    assert!(!store.path().join("out.pdf.part").exists());

    store.fails(&["fetch", "papers", "a", "n"], 3, "NotFound");
    store.fails(
        &["fetch", "papers", "a", "contract", "--ov", "0"],
        3,
        "NotFound",
    );
    store.fails(&["fetch", "papers", "b", "contract"], 3, "NotFound");
    store.fails(
        &["fetch", "papers", "a", "contract", "--url"],
        9,
        "Unsupported",
    );
    store.fails(&["attach", "papers", "a", "n", contract], 5, "Invalid");
    store.fails(
        &["attach", "papers", "b", "contract", contract],
        3,
        "NotFound",
    );
    store.fails(
        &["attach", "papers", "a", "contract", "no-such-file"],
        3,
        "NotFound",
    );
    let conflict = [
        "attach",
        "papers",
        "a",
        "contract",
        contract,
        "--expected-ov",
        "9",
    ];
    store.fails(&conflict, 4, "Conflict");
    store.text(&["verify"]);
}

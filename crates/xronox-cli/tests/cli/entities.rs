//! Records together with their entities.

use serde_json::json;

use crate::store::Store;

const MAPPINGS: &str =
    r#"[{"property":"customer","collection":"customers","keyProperty":"customerId"}]"#;

#[test]
fn entities_are_put_and_printed() {
    let store = Store::new();
    let order = json!({ "total": 10, "customer": { "customerId": "C-1", "city": "Bern" } });
    let order = store.file("order.json", order.to_string());
    let order = order.to_str().unwrap();
    let put = [
        "put",
        "orders",
        order,
        "--entities",
        MAPPINGS,
        "--actor",
        "user:42",
    ];
    let made = store.one(&put);
    let customer = &made["entityResults"]["customer"];
    assert_eq!(customer["operation"], "created");
    let id = made["mainRecordId"].as_str().unwrap();
    assert_eq!(made["main"]["id"], id);
    assert_eq!(
        store.one(&put)["entityResults"]["customer"]["operation"],
        "unchanged"
    );

    let get = ["get", "orders", id, "--entities", MAPPINGS];
    let read = store.one(&get);
    assert_eq!(read["mainRecord"]["total"], 10);
    assert_eq!(read["entityRecords"]["customer"]["city"], "Bern");
    let creator = &read["entityRecords"]["customer"]["_system"]["creator"];
    assert_eq!(creator["identifier"], "42");
    store.text(&["delete", "customers", customer["id"].as_str().unwrap()]);
    assert_eq!(store.one(&get)["entityRecords"]["customer"], json!(null));
    let told = store.text(&put);
    assert!(told.contains("created  customer  "), "{told}");

    let resumed = store.one(&["resume"]);
    assert_eq!(
        resumed,
        json!({ "finished": 0, "takenBack": 0, "neverBegun": 0, "underWay": 0, "broken": [] })
    );
    let keyless = store.file("keyless.json", r#"{"customer":{}}"#);
    let keyless = [
        "put",
        "orders",
        keyless.to_str().unwrap(),
        "--entities",
        MAPPINGS,
    ];
    let message = store.fails(&keyless, 5, "Invalid");
    assert!(message.contains("customer.customerId"), "{message}");
    let unknown = [
        "put",
        "orders",
        order,
        "--entities",
        r#"[{"property":"a"}]"#,
    ];
    assert!(!store.run(&unknown).status.success());
    store.text(&["verify"]);
}

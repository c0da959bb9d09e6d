//! Names, and the life of a database.

use serde_json::json;
use xronox_model::{CollectionName, Direction, IndexSpec, RecordId};

use super::{
    Subject,
    bench::{Bench, along, committed, id, name, path, request, stored},
};
use crate::{Access, Append, Bodies, Find, Outcome, StoreError, Which};

/// Ids that look alike are different records, and keep their order.
pub async fn alike_ids_are_different_records(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let long = "x".repeat(128);
    let odd = [
        "a",
        "A",
        "ä",
        "a\u{308}",
        "a ",
        " a",
        "a.b",
        "a/b",
        "$a",
        "__proto__",
        "null",
        "0",
        "1",
        "01",
        "1.0",
        "_id",
        "a'b\"c`",
        "\\",
        "%61",
        "a%",
        "a_",
        "507f1f77bcf86cd799439011",
        "507F1F77BCF86CD799439011",
        "507f1f77bcf86cd79943901",
        "\u{1F600}",
        "\u{FFFD}",
        "\u{10FFFF}",
        "٣",
        &long,
    ];
    for (n, record) in odd.iter().enumerate() {
        bench.done(bench.create(record, &json!({ "n": n }))).await;
    }
    for (n, record) in (0..).zip(&odd) {
        let row = bench.head(record).await.unwrap();
        assert_eq!((row.cv, row.id.to_string().as_str()), (n, *record));
        assert_eq!(bench.history(record).await.len(), 1);
        assert_eq!(bench.done(bench.update(record, &json!({}))).await.ov, 1);
    }
    let mut sorted: Vec<RecordId> = odd.iter().map(|record| id(record)).collect();
    sorted.sort();
    let sorted: Vec<String> = sorted.iter().map(RecordId::to_string).collect();
    assert_eq!(sorted.last().unwrap(), "507f1f77bcf86cd799439011");
    for limit in [1, 4, 100] {
        let all = Find {
            limit,
            ..along(Access::All)
        };
        assert_eq!(bench.ids(&all).await, sorted);
        let mut back = bench
            .ids(&Find {
                direction: Direction::Descending,
                ..all
            })
            .await;
        back.reverse();
        assert_eq!(back, sorted);
    }
}

/// Names that look alike are different collections.
pub async fn alike_names_are_different_collections(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let long = "x".repeat(100);
    let odd = [
        // Upper and lower case, composed and compatible forms, and names that
        // a backend might keep for itself.
        "orders",
        "Orders",
        "ORDERS",
        "größe",
        "GRÖSSE",
        "grösse",
        "\u{C5}",
        "\u{212B}",
        "K",
        "\u{212A}",
        "ﬁ",
        "fi",
        "a_b",
        "a-b",
        "a__b",
        "_",
        "-",
        "0",
        "_id",
        "orders_ver",
        "orders_head",
        "orders_counter",
        "orders_keys",
        "sqlite_master",
        "system",
        "xronox_marker",
        "null",
        "ß",
        "日本語",
        "٣",
        &long,
    ];
    for (n, collection) in odd.iter().enumerate() {
        let other = bench.other(collection);
        for _ in 0..=n {
            other.done(other.create(&format!("r{n}"), &json!({}))).await;
            other.done(other.purge(&format!("r{n}"))).await;
        }
    }
    let mut names: Vec<CollectionName> = odd.iter().map(|odd| name(odd)).collect();
    names.sort();
    assert_eq!(bench.catalog.collections().await.unwrap(), names);
    for (n, collection) in (0..).zip(odd) {
        let newest = bench
            .catalog
            .newest(&name(collection))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(newest.cv, 2 * n + 1, "{collection}");
    }
    bench
        .catalog
        .drop_collection(&name("Orders"))
        .await
        .unwrap();
    names.retain(|kept| kept.as_str() != "Orders");
    assert_eq!(bench.catalog.collections().await.unwrap(), names);
    assert!(bench.other("orders").head("r0").await.is_some());
}

/// The database knows its name and has an id of its own.
pub async fn a_database_has_a_marker(subject: &dyn Subject) {
    let catalog = subject.open().await;
    let marker = catalog.marker();
    assert!(!marker.database.is_empty());
    assert_eq!(marker.id.len(), 24);
    assert!(
        marker
            .id
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')),
        "{}",
        marker.id
    );
    assert!(marker.format > 0);
}

/// Once closed, every call says so.
pub async fn a_closed_catalog_says_so(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    bench.done(bench.create("a", &json!({}))).await;
    let (c, n, a) = (&bench.catalog, &bench.name, &id("a"));
    c.close().await.unwrap();
    let spec = IndexSpec::field(path("n"));
    let key = xronox_model::UniqueKey {
        index: "unique n".into(),
        key: "x".into(),
    };
    macro_rules! closed {
        ($($call:expr),* $(,)?) => {$(
            let result = $call.await;
            assert!(matches!(result, Err(StoreError::Closed)), "{}: {result:?}", stringify!($call));
        )*};
    }
    closed!(
        c.commit(&[bench.batch(vec![bench.create("b", &json!({})).into()])]),
        c.append_exact(n, vec![]),
        c.head(n, a, Bodies::Omit),
        c.version(n, a, Which::Ov(0), Bodies::Omit),
        c.history(n, a, None, Direction::Ascending, 10),
        c.rows(n, 0, 10, Bodies::Omit),
        c.find(n, &along(Access::All)),
        c.stubs_at(n, 0),
        c.outcome(n, a, super::bench::attempt()),
        c.newest(n),
        c.cut_at(n, xronox_model::Timestamp::from_millis(0)),
        c.lookup_unique(n, &key),
        c.names_key("k"),
        c.indexes(n),
        c.add_index(n, &spec),
        c.fill_index(n, &path("n"), vec![]),
        c.fill_unique(n, vec![]),
        c.index_ready(n, "n"),
        c.drop_index(n, "n"),
        c.collections(),
        c.drop_collection(n),
        c.size(n),
        c.check(n),
    );
    assert_eq!(c.marker().id.len(), 24);
}

/// What a durable backend acknowledged is there when it is opened again, and
/// what a shared one acknowledged is there for others at once.
pub async fn what_was_acknowledged_is_there_for_others(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    bench.index(IndexSpec::field(path("tags"))).await;
    bench.index(IndexSpec::unique(vec![path("email")])).await;
    bench.add_index(&IndexSpec::field(path("later"))).await;
    let document = json!({"tags": ["x", "y"], "email": "e"});
    let keyed = || Append {
        idempotency: request("k", "x"),
        ..bench.create("a", &document)
    };
    let first = bench.done(keyed()).await;
    let second = bench.create("b", &json!({}));
    bench
        .done(Append {
            body: stored(&json!({}), "key"),
            ..second.clone()
        })
        .await;
    bench.done(bench.update("a", &document)).await;
    bench.one(bench.prune("a", &[0])).await;
    bench.done(bench.create("c", &json!({}))).await;
    bench.done(bench.purge("c")).await;

    let capabilities = bench.catalog.capabilities();
    let mut again = Vec::new();
    if capabilities.shared {
        again.push(Bench::on(subject.open().await, subject.clock()));
    }
    let rows = bench.rows().await;
    let indexes = bench.indexes.lock().clone();
    let marker = bench.catalog.marker().clone();
    if capabilities.durable {
        bench.catalog.close().await.unwrap();
        again.push(Bench::on(subject.open().await, subject.clock()));
    }
    for (round, there) in again.iter().enumerate() {
        assert_eq!(*there.catalog.marker(), marker);
        assert_eq!(there.catalog.capabilities(), capabilities);
        assert_eq!(there.catalog.indexes(&there.name).await.unwrap(), indexes);
        *there.indexes.lock() = indexes.clone();
        assert_eq!(there.rows().await[..rows.len()], rows);
        let holder = there.unique(&document).remove(0);
        assert_eq!(there.holder(&holder).await.as_deref(), Some("a"));
        assert_eq!(there.one(keyed()).await, Outcome::Committed(first.clone()));
        let asked = there
            .catalog
            .outcome(&there.name, &id("b"), second.attempt)
            .await
            .unwrap();
        assert_eq!(asked.map(|row| row.cv), Some(1));
        let tags = Access::Field {
            field: path("tags"),
            ranges: vec![super::finding::everything()],
        };
        assert!(
            there.walk(&along(tags)).await.1,
            "the mark of several keys is lost"
        );
        assert!(there.catalog.names_key("key").await.unwrap());
        assert_eq!(
            there.catalog.collections().await.unwrap(),
            std::slice::from_ref(&there.name)
        );
        let next = there
            .one(there.create(&format!("n{round}"), &json!({})))
            .await;
        assert_eq!(committed(&next).cv, 5 + round as u64);
        assert_eq!(
            there.catalog.check(&there.name).await.unwrap(),
            Vec::<String>::new()
        );
    }
}

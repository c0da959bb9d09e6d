use serde_json::json;

use super::*;

fn update(json: &Value) -> Update {
    Update::parse(json).unwrap_or_else(|e| panic!("{json}: {e}"))
}

#[test]
fn operators_do_what_they_do_in_mongodb() {
    for (document, change, wanted) in [
        (json!({"a": 1}), json!({}), json!({"a": 1})),
        (
            json!({"a": 1}),
            json!({"$set": {"a": 2, "b": null}}),
            json!({"a": 2, "b": null}),
        ),
        (
            json!({"a": 1}),
            json!({"$setOnInsert": {"a": 2}}),
            json!({"a": 1}),
        ),
        (
            json!({"a": 1, "b": 2}),
            json!({"$unset": {"a": "", "x.y": ""}}),
            json!({"b": 2}),
        ),
        (
            json!({"a": [1, 2]}),
            json!({"$unset": {"a.0": 1, "a.9": 1}}),
            json!({"a": [null, 2]}),
        ),
        (
            json!({"a": 3}),
            json!({"$unset": {"a.b": 1}}),
            json!({"a": 3}),
        ),
        (
            json!({"n": 1}),
            json!({"$inc": {"n": 2, "m": -1}}),
            json!({"n": 3, "m": -1}),
        ),
        (
            json!({"n": 1}),
            json!({"$inc": {"n": 0.5}}),
            json!({"n": 1.5}),
        ),
        (
            json!({"n": 0.5}),
            json!({"$inc": {"n": 0.5}}),
            json!({"n": 1}),
        ),
        (
            json!({"n": i64::MAX}),
            json!({"$inc": {"n": 1}}),
            json!({"n": 1_u64 << 63}),
        ),
        (
            json!({"n": u64::MAX}),
            json!({"$inc": {"n": -1}}),
            json!({"n": u64::MAX - 1}),
        ),
        (
            json!({"n": 1}),
            json!({"$max": {"n": 2, "m": null}}),
            json!({"n": 2, "m": null}),
        ),
        (json!({"n": 2}), json!({"$max": {"n": 1}}), json!({"n": 2})),
        (
            json!({"n": 2}),
            json!({"$max": {"n": "text"}}),
            json!({"n": "text"}),
        ),
        (
            json!({"n": null}),
            json!({"$max": {"n": 0}}),
            json!({"n": 0}),
        ),
        (json!({}), json!({"$addToSet": {"a": 1}}), json!({"a": [1]})),
        (
            json!({"a": [1]}),
            json!({"$addToSet": {"a": {"$each": [1, 2, 2]}}}),
            json!({"a": [1, 2]}),
        ),
        (
            json!({"a": [[1]]}),
            json!({"$addToSet": {"a": [1]}}),
            json!({"a": [[1]]}),
        ),
        (
            json!({"a": [{"x": 1, "y": 2}]}),
            json!({"$addToSet": {"a": {"y": 2, "x": 1.0}}}),
            json!({"a": [{"x": 1, "y": 2}]}),
        ),
        (
            json!({}),
            json!({"$set": {"a.b.0": 1}}),
            json!({"a": {"b": {"0": 1}}}),
        ),
        (
            json!({"a": [1]}),
            json!({"$set": {"a.2": 3}}),
            json!({"a": [1, null, 3]}),
        ),
        (
            json!({"a": []}),
            json!({"$set": {"a.1.b": 3}}),
            json!({"a": [null, {"b": 3}]}),
        ),
        (
            json!({"a": []}),
            json!({"$set": {"a.10": 1}, "$inc": {"a.9": 1}}),
            json!({"a": [null, null, null, null, null, null, null, null, null, 1, 1]}),
        ),
        (
            json!({"a": [{"b": 1}]}),
            json!({"$inc": {"a.0.b": 1}}),
            json!({"a": [{"b": 2}]}),
        ),
        (json!({}), json!({"$set": {r"a\.b": 1}}), json!({"a.b": 1})),
        (
            json!({}),
            json!({"$set": {"at": {"$date": 0}}}),
            json!({"at": "1970-01-01T00:00:00.000Z"}),
        ),
        (
            json!({"_id": 1}),
            json!({"$set": {"_id": 1}}),
            json!({"_id": 1}),
        ),
    ] {
        assert_eq!(
            update(&change).apply(&document),
            Ok(wanted),
            "{change} on {document}"
        );
    }
}

#[test]
fn what_cannot_be_done_names_its_path() {
    for (document, change, path) in [
        (json!({"a": 1}), json!({"$set": {"a.b": 1}}), "a.b"),
        (json!({"a": null}), json!({"$set": {"a.b": 1}}), "a.b"),
        (json!({"a": [1]}), json!({"$set": {"a.x": 1}}), "a.x"),
        (json!({"a": [1]}), json!({"$set": {"a.01": 1}}), "a.01"),
        (
            json!({"a": []}),
            json!({"$set": {"a.1000000": 1}}),
            "a.1000000",
        ),
        (json!({"n": "1"}), json!({"$inc": {"n": 1}}), "n"),
        (json!({"n": null}), json!({"$inc": {"n": 1}}), "n"),
        (json!({"n": u64::MAX}), json!({"$inc": {"n": 1}}), "n"),
        (json!({"n": i64::MIN}), json!({"$inc": {"n": -1}}), "n"),
        (
            json!({"n": f64::MAX}),
            json!({"$inc": {"n": f64::MAX}}),
            "n",
        ),
        (json!({"a": 1}), json!({"$addToSet": {"a": 1}}), "a"),
        (json!({"_id": 1}), json!({"$set": {"_id": 2}}), "_id"),
        (json!({"_id": 1}), json!({"$unset": {"_id": ""}}), "_id"),
    ] {
        let error = update(&change).apply(&document).unwrap_err();
        assert_eq!(error.path(), path, "{change} on {document}");
    }
}

#[test]
fn bad_updates_are_refused() {
    for (change, path) in [
        (json!([]), ""),
        (json!({"a": 1}), "a"),
        (json!({"$push": {"a": 1}}), "$push"),
        (json!({"$set": 1}), "$set"),
        (json!({"$set": {"a..b": 1}}), "a..b"),
        (json!({"$inc": {"a": "1"}}), "a"),
        (json!({"$addToSet": {"a": {"$each": 1}}}), "a"),
        (
            json!({"$addToSet": {"a": {"$each": [1], "$slice": 1}}}),
            "a",
        ),
        (json!({"$set": {"a": 1}, "$inc": {"a": 1}}), "a"),
        (json!({"$set": {"a": 1, "a.b": 1}}), "a.b"),
        (json!({"$set": {"a": 1, "a!": 1, "a.b": 1}}), "a.b"),
        (json!({"$set": {"a": {"x\0": 1}}}), "a"),
    ] {
        assert_eq!(Update::parse(&change).unwrap_err().path(), path, "{change}");
    }
}

#[test]
fn an_upsert_makes_what_the_filter_requires() {
    let make =
        |filter: Value, change: Value| update(&change).make(&Filter::parse(&filter).unwrap());
    for (filter, change, wanted) in [
        (
            json!({"_id": "x", "a.b": 1, "c": {"$gt": 1}}),
            json!({"$set": {"d": 1}, "$setOnInsert": {"e": 2}}),
            json!({"_id": "x", "a": {"b": 1}, "d": 1, "e": 2}),
        ),
        (json!({"n": 5}), json!({"$inc": {"n": 1}}), json!({"n": 6})),
        (json!({"n": 5}), json!({"$set": {"n": 1}}), json!({"n": 1})),
        (
            json!({"n": {"$eq": 5}}),
            json!({"$max": {"n": 1}}),
            json!({"n": 5}),
        ),
        (
            json!({"$and": [{"a": 1}, {"b": 2}]}),
            json!({}),
            json!({"a": 1, "b": 2}),
        ),
        (json!({"$or": [{"a": 1}, {"b": 2}]}), json!({}), json!({})),
        (
            json!({"a": {"x": 1}}),
            json!({"$set": {"a.y": 2}}),
            json!({"a": {"x": 1, "y": 2}}),
        ),
    ] {
        assert_eq!(make(filter.clone(), change), Ok(wanted), "{filter}");
    }
    assert_eq!(
        make(json!({"a": 1, "a.b": 2}), json!({}))
            .unwrap_err()
            .path(),
        "a.b"
    );
    assert_eq!(
        make(json!({"$and": [{"a": 1}, {"a": 2}]}), json!({}))
            .unwrap_err()
            .path(),
        "a"
    );
}

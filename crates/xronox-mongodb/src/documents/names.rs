//! What plain collections are called in the database.
//!
//! They have their own names, but for those that the catalog may use in the
//! same database: these get an ending that nothing else has.

use xronox_model::CollectionName;

use crate::{core::REQUESTS, database::MARKER, names::SUFFIXES};

const ENDING: &str = "_doc";

/// The name under which a plain collection is kept.
pub(super) fn stored(name: &CollectionName) -> String {
    if is_taken(name.as_str()) || name.as_str().ends_with(ENDING) {
        format!("{name}{ENDING}")
    } else {
        name.to_string()
    }
}

/// The plain collection that is kept under this name, if one can be.
pub(super) fn of_stored(kept: &str) -> Option<CollectionName> {
    let name = kept.strip_suffix(ENDING).unwrap_or(kept).parse().ok()?;
    (stored(&name) == kept).then_some(name)
}

fn is_taken(name: &str) -> bool {
    name == MARKER || name == REQUESTS || SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_apart() {
        for (name, kept) in [
            ("orders", "orders"),
            ("xronox_jobs", "xronox_jobs"),
            ("xronox_marker", "xronox_marker_doc"),
            ("xronox_idempotency", "xronox_idempotency_doc"),
            ("orders_ver", "orders_ver_doc"),
            ("_head", "_head_doc"),
            ("orders_doc", "orders_doc_doc"),
            ("orders_ver_doc", "orders_ver_doc_doc"),
        ] {
            assert_eq!(stored(&name.parse().unwrap()), kept);
            assert_eq!(of_stored(kept), name.parse().ok());
        }
        for foreign in [
            "orders_ver",
            "xronox_marker",
            "orders_doc",
            "system.views",
            "",
        ] {
            assert_eq!(of_stored(foreign), None, "{foreign}");
        }
    }
}

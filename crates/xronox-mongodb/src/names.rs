//! What the collections of a versioned collection are called.
//!
//! `orders` has `orders_ver`, `orders_counter`, `orders_keys` and the view
//! `orders_head`. No suffix holds another `_`, so the last one in a name parts
//! the two again, and no two versioned collections share one; nor can any be
//! one of the database's own (`xronox_marker`, `xronox_idempotency`, …), whose
//! last parts are no suffixes.

use xronox_model::CollectionName;

/// The ends of the names that versioned collections use, whatever stands in
/// front of them.
pub const SUFFIXES: [&str; 6] = ["_ver", "_head", "_counter", "_keys", "_chunks", "_locks"];

/// The collections of one versioned collection.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    /// Version rows.
    pub(crate) ver: String,
    /// A view: the newest row of each record.
    pub(crate) head: String,
    /// The next `cv`, and the indexes.
    pub(crate) counter: String,
    /// The unique keys of live records.
    pub(crate) keys: String,
}

impl Names {
    pub(crate) fn of(collection: &CollectionName) -> Self {
        Self {
            ver: format!("{collection}_ver"),
            head: format!("{collection}_head"),
            counter: format!("{collection}_counter"),
            keys: format!("{collection}_keys"),
        }
    }
}

/// The versioned collection whose counter has this name.
pub(crate) fn of_counter(name: &str) -> Option<CollectionName> {
    name.strip_suffix("_counter")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_collections_share_a_name() {
        for suffix in SUFFIXES {
            assert!(!suffix[1..].contains('_'), "{suffix}");
        }
        for own in [
            "xronox_marker",
            "xronox_jobs",
            "xronox_gc",
            "xronox_idempotency",
        ] {
            assert!(
                SUFFIXES.iter().all(|suffix| !own.ends_with(suffix)),
                "{own}"
            );
        }
        assert_eq!(of_counter("a_ver_counter"), "a_ver".parse().ok());
        assert_eq!(of_counter("a_ver"), None);
    }
}

//! Where a record came from.

use serde::{Deserialize, Serialize};

use crate::{CollectionName, Invalid, RecordId};

/// The longest id, collection and system of an origin, in bytes each.
const MAX_ORIGIN_BYTES: usize = 1024;

/// Where a record came from: its parent and the root of its line.
///
/// A record has it from its creation on, and every later version hands it on
/// as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Lineage {
    /// The id of the record it was made from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<String>,
    /// The collection of that record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_collection: Option<String>,
    /// The id of the first record of the line, maybe in another system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin_id: Option<String>,
    /// Its collection, `system:collection` where another system keeps it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin_collection: Option<String>,
}

/// The first record of a line.
///
/// As JSON `{ id, collection, system? }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// Its id.
    pub id: String,
    /// Its collection.
    pub collection: String,
    /// The system that keeps it, if that is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
}

impl Lineage {
    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The lineage of a record made from `parent`, whose own lineage is
    /// `parents`: the origin is the parent's origin, or the parent itself.
    pub fn child_of(
        parent_id: &str,
        parent_collection: &CollectionName,
        parents: &Lineage,
    ) -> Self {
        let origin_id = parents
            .origin_id
            .clone()
            .unwrap_or_else(|| parent_id.to_owned());
        let origin_collection = parents
            .origin_collection
            .clone()
            .unwrap_or_else(|| parent_collection.to_string());
        Self {
            parent_id: Some(parent_id.to_owned()),
            parent_collection: Some(parent_collection.to_string()),
            origin_id: Some(origin_id),
            origin_collection: Some(origin_collection),
        }
    }

    /// Says that the line begins at `id` in `collection`, of another system if
    /// one is named. A collection `system:collection` names one too.
    ///
    /// # Errors
    ///
    /// [`Invalid`] if a part is empty, over 1,024 bytes or holds control
    /// characters, or the name of the system holds a colon.
    pub fn set_origin(
        &mut self,
        id: impl Into<String>,
        collection: &str,
        system: Option<&str>,
    ) -> Result<(), Invalid> {
        let id = id.into();
        check("origin.id", &id)?;
        check("origin.collection", collection)?;
        let collection = match system {
            None => collection.to_owned(),
            Some(system) => {
                check("origin.system", system)?;
                if system.contains(':') {
                    return Err(Invalid::at("origin.system", "cannot hold a colon"));
                }
                format!("{system}:{collection}")
            }
        };
        self.origin_id = Some(id);
        self.origin_collection = Some(collection);
        Ok(())
    }

    /// The record that it was made from.
    pub fn parent(&self) -> Option<(CollectionName, RecordId)> {
        let collection = self.parent_collection.as_deref()?.parse().ok()?;
        let id = self.parent_id.as_deref()?.parse().ok()?;
        Some((collection, id))
    }

    /// The first record of the line, if it is another one.
    pub fn origin(&self) -> Option<Origin> {
        let id = self.origin_id.clone()?;
        let collection = self.origin_collection.as_deref()?;
        // No collection of ours has a colon in its name.
        let (system, collection) = match collection.split_once(':') {
            Some((system, collection)) => (Some(system.to_owned()), collection),
            None => (None, collection),
        };
        Some(Origin {
            id,
            collection: collection.to_owned(),
            system,
        })
    }
}

fn check(path: &str, text: &str) -> Result<(), Invalid> {
    let why = if text.is_empty() {
        "cannot be empty".to_owned()
    } else if text.len() > MAX_ORIGIN_BYTES {
        format!("has at most {MAX_ORIGIN_BYTES} bytes")
    } else if text.chars().any(char::is_control) {
        "cannot hold control characters".to_owned()
    } else {
        return Ok(());
    };
    Err(Invalid::at(path, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(id: &str, collection: &str, system: Option<&str>) -> Result<Lineage, Invalid> {
        let mut lineage = Lineage::default();
        lineage.set_origin(id, collection, system)?;
        Ok(lineage)
    }

    #[test]
    fn an_origin_names_the_system_that_keeps_it() {
        for (collection, system, kept, read) in [
            (
                "customers",
                Some("stripe"),
                "stripe:customers",
                ("customers", Some("stripe")),
            ),
            (
                "stripe:customers",
                None,
                "stripe:customers",
                ("customers", Some("stripe")),
            ),
            ("customers", None, "customers", ("customers", None)),
            ("a:b", Some("erp"), "erp:a:b", ("a:b", Some("erp"))),
        ] {
            let lineage = origin("cus_1", collection, system).unwrap();
            assert_eq!(lineage.origin_collection.as_deref(), Some(kept));
            let origin = lineage.origin().unwrap();
            assert_eq!((&origin.collection[..], origin.system.as_deref()), read);
            assert_eq!(origin.id, "cus_1");
        }
        assert_eq!(Lineage::default().origin(), None);
    }

    #[test]
    fn bad_origins_are_refused_by_part() {
        let long = "x".repeat(MAX_ORIGIN_BYTES + 1);
        for (id, collection, system, part) in [
            ("", "c", None, "origin.id"),
            ("a\nb", "c", None, "origin.id"),
            (&long[..], "c", None, "origin.id"),
            ("a", "", None, "origin.collection"),
            ("a", &long, Some("s"), "origin.collection"),
            ("a", "c", Some(""), "origin.system"),
            ("a", "c", Some("s:t"), "origin.system"),
        ] {
            let refused = origin(id, collection, system).unwrap_err();
            assert_eq!(refused.path(), part);
        }
        assert!(origin(&long[1..], &long[1..], Some(&long[1..])).is_ok());
    }

    #[test]
    fn children_inherit_the_origin_or_begin_it() {
        let collection: CollectionName = "raw".parse().unwrap();
        let first = Lineage::child_of("a", &collection, &Lineage::default());
        let second = Lineage::child_of("b", &collection, &first);
        assert_eq!(second.parent().unwrap().1.to_string(), "b");
        assert_eq!(second.origin(), first.origin());
        assert_eq!(second.origin().unwrap().id, "a");
    }
}

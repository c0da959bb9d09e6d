//! How one of several connections is chosen for a database.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xronox_model::Invalid;

use super::format;

/// How one of several connections is chosen for a database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Routing {
    /// The hash. Default: `rendezvous`.
    pub hash_algo: HashAlgo,
    /// What is hashed. Default: `tenantId|dbName|collection:objectId`.
    #[schemars(with = "format::RoutingKey")]
    pub choose_key: RoutingKey,
}

/// How a key chooses among connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HashAlgo {
    /// Highest random weight: a new connection takes its share of the keys from
    /// all others.
    #[default]
    Rendezvous,
    /// Jump consistent hash: connections may only be added at the end.
    Jump,
}

/// What is hashed to choose among connections, written
/// `tenantId|dbName|collection:objectId`: alternatives with `|` between, of
/// which the first counts whose parts, with `:` between, are all known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RoutingKey(Vec<Vec<RoutingPart>>);

/// One part of a [`RoutingKey`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoutingPart {
    /// `tenantId`
    TenantId,
    /// `dbName`: the name of the database.
    DbName,
    /// `collection`
    Collection,
    /// `objectId`: the id of the record.
    ObjectId,
}

impl RoutingKey {
    /// The alternatives, the first one first.
    pub fn alternatives(&self) -> &[Vec<RoutingPart>] {
        &self.0
    }
}

impl Default for RoutingKey {
    fn default() -> Self {
        use RoutingPart::{Collection, DbName, ObjectId, TenantId};
        Self(vec![
            vec![TenantId],
            vec![DbName],
            vec![Collection, ObjectId],
        ])
    }
}

impl RoutingPart {
    const ALL: [(Self, &str); 4] = [
        (Self::TenantId, "tenantId"),
        (Self::DbName, "dbName"),
        (Self::Collection, "collection"),
        (Self::ObjectId, "objectId"),
    ];
}

impl FromStr for RoutingKey {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let part = |name: &str| {
            let known = RoutingPart::ALL.iter().find(|(_, known)| *known == name);
            known.map(|(part, _)| *part).ok_or_else(|| {
                Invalid::at("", "is not made of tenantId, dbName, collection, objectId")
            })
        };
        let alternative = |text: &str| text.split(':').map(part).collect();
        Ok(Self(
            text.split('|').map(alternative).collect::<Result<_, _>>()?,
        ))
    }
}

impl TryFrom<String> for RoutingKey {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<RoutingKey> for String {
    fn from(key: RoutingKey) -> Self {
        key.to_string()
    }
}

impl fmt::Display for RoutingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, alternative) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("|")?;
            }
            for (j, part) in alternative.iter().enumerate() {
                if j > 0 {
                    f.write_str(":")?;
                }
                let name = RoutingPart::ALL.iter().find(|(known, _)| known == part);
                f.write_str(name.map_or("", |(_, name)| name))?;
            }
        }
        Ok(())
    }
}

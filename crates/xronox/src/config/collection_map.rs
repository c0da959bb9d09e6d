//! The settings of one collection.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xronox_model::{Path, Projection};

use super::{DocumentSchema, Retention, format};

/// The settings of one collection.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CollectionMap {
    /// The indexed properties, as dotted paths. Empty: any property is
    /// indexed when it is first filtered or sorted by, at most 32.
    #[schemars(with = "Vec<format::DottedPath>")]
    pub indexed_props: Vec<Path>,
    /// Further indexes; their fields are indexed one by one, and a unique one
    /// binds live records that have all of its fields.
    pub indexes: Vec<IndexSetting>,
    /// Properties whose base64 text is kept as a file.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(
        with = "BTreeMap<String, Base64Property>",
        extend("propertyNames" = { "format": "dotted-path" })
    )]
    pub base64_props: BTreeMap<Path, Base64Property>,
    /// What a document has to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<Validation>,
    /// Properties that reads leave out unless they are asked for, as dotted
    /// paths; see [`Collection::with_hidden`](crate::Collection::with_hidden).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<format::DottedPath>")]
    pub hidden_fields: Vec<Path>,
    /// Projections by name; `default` is that of a plain read.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, format::Projection>")]
    pub projection: BTreeMap<String, Projection>,
    /// Properties that belong to a person, sealed with a key of that person.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(
        with = "BTreeMap<String, PersonalProperty>",
        extend("propertyNames" = { "format": "dotted-path" })
    )]
    pub personal: BTreeMap<Path, PersonalProperty>,
    /// Overrides [`Settings::retention`](super::Settings::retention).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// Overrides [`Settings::versioning`](super::Settings::versioning).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub versioning: Option<bool>,
    /// Overrides [`Settings::logical_delete`](super::Settings::logical_delete).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logical_delete: Option<bool>,
    /// Overrides [`PayloadSettings::inline_max_bytes`](super::PayloadSettings::inline_max_bytes).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inline_max_bytes: Option<u64>,
    /// Whether old records are moved to an archive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3_offload: Option<Offload>,
}

/// One index of a collection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IndexSetting {
    /// The fields, each with 1 or -1 (which of the two does not matter: every
    /// index is read both ways).
    #[schemars(
        with = "BTreeMap<String, format::IndexDirection>",
        extend("minProperties" = 1, "propertyNames" = { "format": "dotted-path" })
    )]
    pub fields: BTreeMap<Path, i8>,
    /// Whether no two live records may agree in all fields.
    #[serde(default)]
    pub unique: bool,
}

/// A property whose base64 text is kept as a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Base64Property {
    /// The media type of the file.
    #[schemars(length(min = 1))]
    pub content_type: String,
    /// Whether it is kept as text too. Default: no.
    #[serde(default)]
    pub preferred_text: bool,
    /// The character set of that text. Default: `utf-8`.
    #[serde(default = "utf_8")]
    #[schemars(length(min = 1))]
    pub text_charset: String,
}

fn utf_8() -> String {
    "utf-8".to_owned()
}

/// What a document has to be when it is written. What was written before stays
/// as it is, can be read, and can be restored.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), xronox::Error> {
/// use serde_json::json;
/// use xronox::{CollectionMap, Config, Validation, Xronox};
///
/// let schema = json!({ "properties": { "age": { "type": "integer", "minimum": 18 } } });
/// let people = CollectionMap {
///     validation: Some(Validation {
///         required_indexed: vec!["email".parse()?],
///         schema: Some(schema.into()),
///     }),
///     ..CollectionMap::default()
/// };
/// let mut config = Config::memory();
/// config.settings.collection_maps.insert("people".to_owned(), people);
///
/// let people = Xronox::open(config).await?.collection("people")?;
/// let refused = people.create(json!({ "age": 7 })).await.unwrap_err();
/// let places = refused.places().iter().map(|place| place.path());
/// assert_eq!(places.collect::<Vec<_>>(), ["email", "age"]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Validation {
    /// Properties that it has to have, with another value than `null`; they are
    /// indexed like [`CollectionMap::indexed_props`].
    #[schemars(with = "Vec<format::DottedPath>")]
    pub required_indexed: Vec<Path>,
    /// The JSON Schema that it has to fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<format::JsonSchemaDocument>")]
    pub schema: Option<DocumentSchema>,
}

/// A property that belongs to a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PersonalProperty {
    /// The property that says whose it is.
    #[schemars(with = "format::DottedPath")]
    pub subject: Path,
}

/// Whether and when records are moved to an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Offload {
    /// Whether they are. Default: no.
    pub enabled: bool,
    /// Days without a change after which a record is moved. Default: 30.
    #[schemars(range(min = 1))]
    pub older_than: u32,
    /// The bucket. Default: that of backups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archive_bucket: Option<String>,
}

impl Default for Offload {
    fn default() -> Self {
        Self {
            enabled: false,
            older_than: 30,
            archive_bucket: None,
        }
    }
}

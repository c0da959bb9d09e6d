//! Tenants that are not listed.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Retention, Template, WeightedRef, databases::either, format};

/// A rule for tenants that are not listed: where their databases are and what
/// they are called.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DynamicTenants {
    /// Whether there are such tenants.
    pub enabled: bool,
    /// Where and what.
    #[serde(flatten)]
    pub templates: DatabaseTemplates,
    /// Whether a tenant's database is made when it is first used; else only
    /// tenants that have one are known. Default: yes.
    #[serde(default = "yes")]
    pub auto_create: bool,
    /// Seconds that a resolved tenant is remembered. Default: 3,600.
    #[serde(default = "cache_expiry")]
    pub cache_expiry: u64,
    /// Tenants that are remembered at most. Default: 10,000.
    #[serde(default = "max_cache_size")]
    #[schemars(range(min = 1))]
    pub max_cache_size: u64,
    /// What is different for tenants of a plan.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tiers: BTreeMap<String, TenantTier>,
    /// Which ids may be a tenant's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<TenantIdRules>,
    /// Whether databases that the template matches and that are marked as a
    /// tenant's are found without having been used. Default: yes.
    #[serde(default = "yes")]
    pub discover: bool,
}

/// What is different for tenants of a plan.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TenantTier {
    /// Overrides [`DynamicTenants::enabled`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Each that is given overrides the one of [`DynamicTenants`].
    #[serde(flatten)]
    pub templates: DatabaseTemplates,
    /// Overrides [`DynamicTenants::auto_create`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_create: Option<bool>,
    /// Overrides [`DynamicTenants::validation`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<TenantIdRules>,
}

/// As [`DatabaseConfig`](super::DatabaseConfig), with names as templates.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DatabaseTemplates {
    /// Their connection, a key of [`Config::db_connections`](super::Config::db_connections).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub db_conn_ref: Option<String>,
    /// Instead: several, of which routing picks one for each tenant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub db_conn_refs: Vec<WeightedRef>,
    /// The space of large bodies, a key of
    /// [`Config::spaces_connections`](super::Config::spaces_connections).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub space_conn_ref: Option<String>,
    /// Instead: several, of which routing picks one for each tenant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub space_conn_refs: Vec<WeightedRef>,
    /// The name of the database, with `{tenantId}` in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<format::Template>")]
    pub db_name_template: Option<Template>,
    /// The name of the database of counters and results, with `{tenantId}` in
    /// it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<format::Template>")]
    pub analytics_db_name_template: Option<Template>,
    /// The bucket of every role that has none of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<format::Template>")]
    pub bucket_template: Option<Template>,
    /// The bucket of newest bodies.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<format::Template>")]
    pub records_bucket_template: Option<Template>,
    /// The bucket of superseded bodies.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<format::Template>")]
    pub versions_bucket_template: Option<Template>,
    /// The bucket of files inside records.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<format::Template>")]
    pub content_bucket_template: Option<Template>,
    /// The bucket of backups and archives.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<format::Template>")]
    pub backups_bucket_template: Option<Template>,
    /// Overrides [`Settings::retention`](super::Settings::retention).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
}

/// Which ids may be a tenant's, beside what every id has to be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TenantIdRules {
    /// A regular expression that matches the whole id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<format::Regex>")]
    pub pattern: Option<String>,
    /// Characters at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_length: Option<u32>,
    /// Characters at most.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_length: Option<u32>,
    /// The characters, as between the brackets of a regular expression, such
    /// as `a-z0-9-`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<format::Characters>")]
    pub allowed_chars: Option<String>,
}

fn yes() -> bool {
    true
}

fn cache_expiry() -> u64 {
    3600
}

fn max_cache_size() -> u64 {
    10_000
}

impl DynamicTenants {
    /// Tenants on this connection, each with a database that is named by the
    /// template.
    pub fn new(db_conn_ref: impl Into<String>, db_name_template: Template) -> Self {
        Self {
            enabled: true,
            templates: DatabaseTemplates {
                db_conn_ref: Some(db_conn_ref.into()),
                db_name_template: Some(db_name_template),
                ..DatabaseTemplates::default()
            },
            auto_create: true,
            cache_expiry: cache_expiry(),
            max_cache_size: max_cache_size(),
            tiers: BTreeMap::new(),
            validation: None,
            discover: true,
        }
    }

    /// The templates for tenants of a plan: those of its tier, then the
    /// common ones.
    pub fn templates_of(&self, tier: Option<&str>) -> DatabaseTemplates {
        match tier.and_then(|tier| self.tiers.get(tier)) {
            None => self.templates.clone(),
            Some(tier) => tier.templates.or(&self.templates),
        }
    }
}

impl DatabaseTemplates {
    /// The connections that databases may be on.
    pub fn connections(&self) -> Vec<WeightedRef> {
        either(self.db_conn_ref.as_ref(), &self.db_conn_refs)
    }

    /// The spaces that bodies may be in; empty if they are in the catalog.
    pub fn spaces(&self) -> Vec<WeightedRef> {
        either(self.space_conn_ref.as_ref(), &self.space_conn_refs)
    }

    /// These, and what they leave out as others have it. One connection and
    /// several are one thing, and so are a bucket and those of the roles.
    fn or(&self, others: &Self) -> Self {
        let mut these = self.clone();
        if these.connections().is_empty() {
            these.db_conn_ref.clone_from(&others.db_conn_ref);
            these.db_conn_refs.clone_from(&others.db_conn_refs);
        }
        if these.spaces().is_empty() {
            these.space_conn_ref.clone_from(&others.space_conn_ref);
            these.space_conn_refs.clone_from(&others.space_conn_refs);
        }
        let names = |templates: &Self| {
            templates
                .named_buckets()
                .map(|(key, _)| key)
                .collect::<Vec<_>>()
        };
        if names(&these).is_empty() {
            these.bucket_template.clone_from(&others.bucket_template);
            these
                .records_bucket_template
                .clone_from(&others.records_bucket_template);
            these
                .versions_bucket_template
                .clone_from(&others.versions_bucket_template);
            these
                .content_bucket_template
                .clone_from(&others.content_bucket_template);
            these
                .backups_bucket_template
                .clone_from(&others.backups_bucket_template);
        }
        these.db_name_template = these.db_name_template.or(others.db_name_template.clone());
        let analytics = others.analytics_db_name_template.clone();
        these.analytics_db_name_template = these.analytics_db_name_template.or(analytics);
        these.retention = these.retention.or(others.retention.clone());
        these
    }

    /// The keys and templates of the buckets.
    pub(crate) fn named_buckets(&self) -> impl Iterator<Item = (&'static str, &Template)> {
        [
            ("bucketTemplate", &self.bucket_template),
            ("recordsBucketTemplate", &self.records_bucket_template),
            ("versionsBucketTemplate", &self.versions_bucket_template),
            ("contentBucketTemplate", &self.content_bucket_template),
            ("backupsBucketTemplate", &self.backups_bucket_template),
        ]
        .into_iter()
        .filter_map(|(key, template)| Some((key, template.as_ref()?)))
    }
}

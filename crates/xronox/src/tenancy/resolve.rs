//! What the configuration says of a context.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use regex::Regex;
use xronox_model::{Sha256, encode_name};
use xronox_store::{PerRole, SpaceConnection};

use super::{
    address::{Address, Owner, SpaceAddress},
    context::{Context, DatabaseType, Tier},
    placement,
};
use crate::{
    Config, DatabaseConfig, DatabaseTemplates, Databases, DynamicTenants, Error, ErrorKind,
    Placeholder, Routing, RoutingPart, SharedDatabases, Template, TemplatePart, TenantDatabase,
    TenantIdRules, WeightedRef,
};

/// A longer encoding of a value in a database's name is replaced by a hash, so
/// that names stay within the 63 bytes that MongoDB takes
/// (<https://www.mongodb.com/docs/manual/reference/limits/#naming-restrictions>).
const MAX_ENCODED: usize = 38;

/// Contexts of listed databases that are remembered, where nothing is said.
const REMEMBERED: u64 = 10_000;
const REMEMBERED_SECONDS: u64 = 3600;

/// Finds in the configuration what a context means. Asks nobody.
#[derive(Debug)]
pub(super) struct Resolver {
    listed: HashMap<Owner, DatabaseConfig>,
    dynamic: HashMap<DatabaseType, Dynamic>,
    spaces: BTreeMap<String, SpaceConnection>,
    routing: Routing,
    /// `{env}`
    environment: String,
}

#[derive(Debug)]
struct Dynamic {
    tenants: DynamicTenants,
    rules: IdRules,
    /// By the plans that have their own.
    rules_of_plans: HashMap<String, IdRules>,
}

/// What the configuration says of a context.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Resolution {
    pub(super) address: Address,
    /// Whether it is one of several that there could be, so that the one of
    /// the first use is remembered.
    pub(super) recorded: bool,
    /// Whether it may be made.
    pub(super) create: bool,
}

impl Resolver {
    /// # Errors
    ///
    /// [`Config`](ErrorKind::Config) for rules of ids that are none.
    pub(super) fn new(
        config: &Config,
        spaces: BTreeMap<String, SpaceConnection>,
        environment: String,
    ) -> Result<Self, Error> {
        let mut resolver = Self {
            listed: HashMap::new(),
            dynamic: HashMap::new(),
            spaces,
            routing: config.routing.clone(),
            environment,
        };
        resolver.list(&config.databases)?;
        Ok(resolver)
    }

    fn list(&mut self, databases: &Databases) -> Result<(), Error> {
        let Databases {
            metadata,
            knowledge,
            runtime,
            logs,
            identities,
            messaging,
        } = databases;
        for (kind, tiers) in [
            (DatabaseType::Metadata, metadata),
            (DatabaseType::Knowledge, knowledge),
        ] {
            let Some(tiers) = tiers else { continue };
            self.list_generic(kind, tiers.generic_database.as_ref());
            for listed in &tiers.domains_databases {
                let owner = Owner::of(kind, Tier::Domain(listed.domain.clone()));
                self.listed.insert(owner, listed.database.clone());
            }
            self.list_tenants(
                kind,
                &tiers.tenant_databases,
                tiers.dynamic_tenants.as_ref(),
            )?;
        }
        if let Some(runtime) = runtime {
            self.list_tenants(
                DatabaseType::Runtime,
                &runtime.tenant_databases,
                runtime.dynamic_tenants.as_ref(),
            )?;
        }
        let shared = [
            (DatabaseType::Logs, logs.as_ref().map(|d| &d.databases)),
            (
                DatabaseType::Identities,
                identities.as_ref().map(|d| &d.databases),
            ),
            (
                DatabaseType::Messaging,
                messaging.as_ref().map(|d| &d.databases),
            ),
        ];
        for (kind, databases) in shared {
            let Some(SharedDatabases {
                database,
                tenant_databases,
                dynamic_tenants,
            }) = databases
            else {
                continue;
            };
            self.list_generic(kind, database.as_ref());
            self.list_tenants(kind, tenant_databases, dynamic_tenants.as_ref())?;
        }
        Ok(())
    }

    fn list_generic(&mut self, kind: DatabaseType, database: Option<&DatabaseConfig>) {
        if let Some(database) = database {
            let owner = Owner::of(kind, Tier::Generic);
            self.listed.insert(owner, database.clone());
        }
    }

    fn list_tenants(
        &mut self,
        kind: DatabaseType,
        listed: &[TenantDatabase],
        dynamic: Option<&DynamicTenants>,
    ) -> Result<(), Error> {
        for tenant in listed {
            let owner = Owner::of(kind, Tier::Tenant(tenant.tenant_id.clone()));
            self.listed.insert(owner, tenant.database.clone());
        }
        if let Some(tenants) = dynamic {
            let of_plans = tenants.tiers.iter().filter_map(|(plan, tier)| {
                let rules = IdRules::of(tier.validation.as_ref()?);
                Some(rules.map(|rules| (plan.clone(), rules)))
            });
            let dynamic = Dynamic {
                rules: tenants
                    .validation
                    .as_ref()
                    .map_or(Ok(IdRules::default()), IdRules::of)?,
                rules_of_plans: of_plans.collect::<Result<_, _>>()?,
                tenants: tenants.clone(),
            };
            self.dynamic.insert(kind, dynamic);
        }
        Ok(())
    }

    /// Whether a database is listed.
    pub(super) fn lists(&self, owner: &Owner) -> bool {
        self.listed.contains_key(owner)
    }

    /// Those whose databases are listed.
    pub(super) fn listed(&self) -> impl Iterator<Item = &Owner> {
        self.listed.keys()
    }

    /// The tenants that are listed.
    pub(super) fn listed_tenants(&self) -> impl Iterator<Item = &str> {
        self.listed().filter_map(|owner| owner.tenant_id.as_deref())
    }

    /// Whether there may be a tenant that no list names, for a type of database.
    pub(super) fn has_dynamic(&self, database_type: DatabaseType) -> bool {
        self.dynamic.contains_key(&database_type)
    }

    /// Whether a tenant can be one that no list names.
    pub(super) fn has_dynamic_tenants(&self) -> bool {
        let mut all = self.dynamic.values();
        all.any(|dynamic| dynamic.tenants.enabled)
    }

    /// How many contexts are remembered, and for how long: the most, and the
    /// shortest, that is said for any type.
    pub(super) fn remembers(&self) -> (u64, Duration) {
        let rules = || self.dynamic.values().map(|dynamic| &dynamic.tenants);
        let count = rules().map(|rule| rule.max_cache_size).max();
        let seconds = rules().map(|rule| rule.cache_expiry).min();
        (
            count.unwrap_or(REMEMBERED),
            Duration::from_secs(seconds.unwrap_or(REMEMBERED_SECONDS)),
        )
    }

    /// Whether any database has a choice of connections.
    pub(super) fn has_choices(&self) -> bool {
        let mut all = self.listed.values();
        all.any(|database| database.connections().len() > 1 || database.spaces().len() > 1)
    }

    /// What a context means by the configuration alone.
    ///
    /// # Errors
    ///
    /// [`UnknownTenant`](ErrorKind::UnknownTenant) for a tenant that is
    /// neither listed nor accepted, [`Config`](ErrorKind::Config) for any
    /// other database that is not there, [`Invalid`](ErrorKind::Invalid) for
    /// names that cannot be one.
    pub(super) fn resolve(&self, context: &Context) -> Result<Resolution, Error> {
        context.check()?;
        let owner = Owner::from(context);
        if let Some(database) = self.listed.get(&owner) {
            return self.of_listed(&owner, database);
        }
        if let Tier::Tenant(id) = &context.tier {
            return self.of_dynamic(&owner, id, context);
        }
        Err(Error::new(
            ErrorKind::Config,
            format!("databases: {owner}: there is no such database"),
        ))
    }

    fn of_listed(&self, owner: &Owner, database: &DatabaseConfig) -> Result<Resolution, Error> {
        let (connections, spaces) = (database.connections(), database.spaces());
        let name = &database.db_name;
        let space = match self.choose(owner, name, &spaces) {
            None => None,
            Some(reference) => Some(SpaceAddress {
                buckets: database.buckets(self.space(&reference)?),
                connection: reference,
            }),
        };
        Ok(Resolution {
            recorded: connections.len() > 1 || spaces.len() > 1,
            create: true,
            address: Address {
                connection: self.connection(owner, name, &connections)?,
                database: name.clone(),
                space,
                analytics: database.analytics_db_name.clone(),
                placed: None,
            },
        })
    }

    fn of_dynamic(&self, owner: &Owner, id: &str, context: &Context) -> Result<Resolution, Error> {
        let unknown = || {
            let message = format!("{owner}: there is no such tenant");
            Error::new(ErrorKind::UnknownTenant, message)
        };
        let dynamic = self.dynamic.get(&context.database).ok_or_else(unknown)?;
        let plan = context.plan.as_deref();
        let tier = plan.and_then(|plan| dynamic.tenants.tiers.get(plan));
        let enabled = tier.and_then(|tier| tier.enabled);
        if !enabled.unwrap_or(dynamic.tenants.enabled) {
            return Err(unknown());
        }
        let rules = plan.and_then(|plan| dynamic.rules_of_plans.get(plan));
        rules.unwrap_or(&dynamic.rules).check(id)?;
        let templates = dynamic.tenants.templates_of(plan);
        let fill = |key: &str, template: &Template, encode: fn(&str) -> String| {
            let value = |placeholder: &Placeholder| self.value(placeholder, id, context);
            let lacking = |placeholder: &Placeholder| {
                Error::new(
                    ErrorKind::Invalid,
                    format!(
                        "{owner}: {key} needs {{{placeholder}}}, which the context does not say"
                    ),
                )
            };
            let mut name = String::new();
            for part in template.parts() {
                match part {
                    TemplatePart::Literal(text) => name.push_str(text),
                    TemplatePart::Placeholder(placeholder) => {
                        let value = value(placeholder).ok_or_else(|| lacking(placeholder))?;
                        name.push_str(&encode(&value));
                    }
                }
            }
            Ok::<_, Error>(name)
        };
        let template = templates.db_name_template.as_ref().ok_or_else(|| {
            let message = format!("{owner}: dynamicTenants.dbNameTemplate is missing");
            Error::new(ErrorKind::Config, message)
        })?;
        let name = fill("dbNameTemplate", template, in_database_name)?;
        let analytics = templates.analytics_db_name_template.as_ref();
        let analytics = analytics
            .map(|template| fill("analyticsDbNameTemplate", template, in_database_name))
            .transpose()?;
        let space = match self.choose(owner, &name, &templates.spaces()) {
            None => None,
            Some(reference) => {
                let buckets = self.buckets(&templates, &reference, |key, template| {
                    fill(key, template, in_bucket_name)
                })?;
                Some(SpaceAddress {
                    connection: reference,
                    buckets,
                })
            }
        };
        let create = tier.and_then(|tier| tier.auto_create);
        Ok(Resolution {
            recorded: true,
            create: create.unwrap_or(dynamic.tenants.auto_create),
            address: Address {
                connection: self.connection(owner, &name, &templates.connections())?,
                database: name,
                space,
                analytics,
                placed: None,
            },
        })
    }

    fn buckets(
        &self,
        templates: &DatabaseTemplates,
        reference: &str,
        fill: impl Fn(&str, &Template) -> Result<String, Error>,
    ) -> Result<PerRole, Error> {
        let name = |key: &str, template: &Option<Template>| {
            let template = template.as_ref();
            template.map(|template| fill(key, template)).transpose()
        };
        let own = PerRole {
            records: name("recordsBucketTemplate", &templates.records_bucket_template)?,
            versions: name(
                "versionsBucketTemplate",
                &templates.versions_bucket_template,
            )?,
            content: name("contentBucketTemplate", &templates.content_bucket_template)?,
            backups: name("backupsBucketTemplate", &templates.backups_bucket_template)?,
        };
        let all = name("bucketTemplate", &templates.bucket_template)?;
        Ok(self.space(reference)?.buckets_of(&own, all.as_deref()))
    }

    fn space(&self, reference: &str) -> Result<&SpaceConnection, Error> {
        self.spaces.get(reference).ok_or_else(|| {
            let message = format!("spacesConnections: there is no {reference:?}");
            Error::new(ErrorKind::Config, message)
        })
    }

    fn connection(
        &self,
        owner: &Owner,
        database: &str,
        among: &[WeightedRef],
    ) -> Result<String, Error> {
        self.choose(owner, database, among).ok_or_else(|| {
            let message = format!("databases: {owner}: dbConnRef is missing");
            Error::new(ErrorKind::Config, message)
        })
    }

    /// The one of several that the routing key picks.
    fn choose(&self, owner: &Owner, database: &str, among: &[WeightedRef]) -> Option<String> {
        if let [only] = among {
            return Some(only.connection.clone());
        }
        let part = |part: &RoutingPart| match part {
            RoutingPart::TenantId => owner.tenant_id.as_deref(),
            RoutingPart::DbName => Some(database),
            // Not known before a record is: a database is in one place.
            RoutingPart::Collection | RoutingPart::ObjectId => None,
        };
        let alternatives = self.routing.choose_key.alternatives();
        let key = alternatives
            .iter()
            .find_map(|parts| parts.iter().map(part).collect::<Option<Vec<_>>>());
        let key = key.map_or_else(|| database.to_owned(), |parts| parts.join(":"));
        let weighted: Vec<_> = among
            .iter()
            .map(|one| (one.connection.as_str(), one.weight))
            .collect();
        let picked = placement::pick(self.routing.hash_algo, &key, &weighted)?;
        Some(among[picked].connection.clone())
    }

    fn value(&self, placeholder: &Placeholder, id: &str, context: &Context) -> Option<String> {
        match placeholder {
            Placeholder::TenantId => Some(id.to_owned()),
            Placeholder::Domain => context.meta.get("domain").cloned(),
            Placeholder::Tier => context.plan.clone(),
            Placeholder::Env => Some(self.environment.clone()),
            Placeholder::Meta(key) => context.meta.get(key).cloned(),
        }
    }
}

/// A value inside the name of a database, injectively: what no server or file
/// system takes, or takes for something else, is written in hexadecimal.
fn in_database_name(value: &str) -> String {
    // MongoDB takes no dots; `_2e` stands for nothing else.
    let encoded = encode_name(value).replace('.', "_2e");
    if encoded.len() <= MAX_ENCODED {
        return encoded;
    }
    // `_h` is no encoding of anything.
    let hash = Sha256::of(value.as_bytes()).to_string();
    format!("_h{}", &hash[..32])
}

/// A value inside the name of a bucket: as it is if every provider takes it,
/// else a hash of it. Databases that share a bucket share no key in it, so it
/// is no matter if two values should meet.
fn in_bucket_name(value: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let inner = !value.starts_with('-') && !value.ends_with('-') && !value.contains("--");
    if inner && value.len() <= MAX_ENCODED && value.chars().all(plain) {
        return value.to_owned();
    }
    let hash = Sha256::of(value.as_bytes()).to_string();
    format!("h{}", &hash[..24])
}

/// Which ids a tenant may have.
#[derive(Debug, Default)]
struct IdRules {
    pattern: Option<Regex>,
    characters: Option<Regex>,
    min: u32,
    max: Option<u32>,
}

impl IdRules {
    fn of(rules: &TenantIdRules) -> Result<Self, Error> {
        let compile = |key: &str, text: Option<String>| {
            let compiled = text.map(|text| Regex::new(&text)).transpose();
            compiled.map_err(|e| {
                let message = format!("dynamicTenants.validation.{key}: {e}");
                Error::new(ErrorKind::Config, message)
            })
        };
        let pattern = rules.pattern.as_ref();
        let characters = rules.allowed_chars.as_ref();
        Ok(Self {
            pattern: compile("pattern", pattern.map(|text| format!("^(?:{text})$")))?,
            characters: compile("allowedChars", characters.map(|set| format!("^[{set}]*$")))?,
            min: rules.min_length.unwrap_or_default(),
            max: rules.max_length,
        })
    }

    fn check(&self, id: &str) -> Result<(), Error> {
        let length = u32::try_from(id.chars().count()).unwrap_or(u32::MAX);
        let fits = |rule: &Option<Regex>| rule.as_ref().is_none_or(|rule| rule.is_match(id));
        let problem = if length < self.min {
            format!("has {length} characters; at least {}", self.min)
        } else if let Some(max) = self.max.filter(|max| length > *max) {
            format!("has {length} characters; at most {max}")
        } else if !fits(&self.characters) {
            "holds characters that the configuration does not allow".to_owned()
        } else if !fits(&self.pattern) {
            "does not match the configured pattern".to_owned()
        } else {
            return Ok(());
        };
        let message = format!("tenantId {id:?}: it {problem}");
        Err(Error::new(ErrorKind::Invalid, message))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn resolver(config: &str) -> Resolver {
        let config = Config::from_json(config).unwrap();
        let spaces = config.spaces_connections.clone();
        Resolver::new(&config, spaces, "test".to_owned()).unwrap()
    }

    const TENANTS: &str = r#"{
        "dbConnections": { "eu": { "mongoUri": "memory:" }, "us": { "mongoUri": "memory:" } },
        "spacesConnections": { "s3": {
            "endpoint": "https://s3.eu-west-1.amazonaws.com", "region": "eu-west-1",
            "accessKey": "a", "secretKey": "b"
        } },
        "databases": {
            "metadata": {
                "genericDatabase": { "dbConnRef": "eu", "dbName": "app_metadata" },
                "domainsDatabases": [
                    { "domain": "health", "dbConnRef": "us", "dbName": "app_health" }
                ]
            },
            "runtime": {
                "tenantDatabases": [
                    { "tenantId": "acme", "dbConnRef": "us", "dbName": "acme_runtime",
                      "analyticsDbName": "acme_analytics" }
                ],
                "dynamicTenants": {
                    "enabled": true, "dbConnRef": "eu", "dbNameTemplate": "app_{env}_{tenantId}",
                    "spaceConnRef": "s3", "bucketTemplate": "app-{tenantId}",
                    "validation": { "pattern": "[^!]+", "maxLength": 90 },
                    "tiers": { "pro": {
                        "dbConnRef": "us", "dbNameTemplate": "pro_{meta.region}_{tenantId}"
                    } }
                }
            }
        }
    }"#;

    #[test]
    fn a_context_means_what_the_configuration_says() {
        let resolver = resolver(TENANTS);
        let found = |context: &Context| {
            let resolution = resolver.resolve(context).unwrap();
            let Address {
                connection,
                database,
                ..
            } = resolution.address;
            (connection, database, resolution.recorded)
        };
        let expect = |connection: &str, database: &str, recorded| {
            (connection.to_owned(), database.to_owned(), recorded)
        };
        for (context, expected) in [
            (
                Context::metadata().generic(),
                expect("eu", "app_metadata", false),
            ),
            (
                Context::metadata().domain("health"),
                expect("us", "app_health", false),
            ),
            (
                Context::runtime("acme"),
                expect("us", "acme_runtime", false),
            ),
            (
                Context::runtime("globex"),
                expect("eu", "app_test_globex", true),
            ),
            (
                Context::runtime("Acme"),
                expect("eu", "app_test__41cme", true),
            ),
            (
                Context::runtime("globex").plan("pro").meta("region", "Fra"),
                expect("us", "pro__46ra_globex", true),
            ),
            (
                Context::runtime("globex").plan("free"),
                expect("eu", "app_test_globex", true),
            ),
        ] {
            assert_eq!(found(&context), expected, "{context}");
        }
        let globex = resolver.resolve(&Context::runtime("globex")).unwrap();
        let space = globex.address.space.unwrap();
        assert_eq!(space.buckets.records.as_deref(), Some("app-globex"));
    }

    #[test]
    fn what_it_does_not_say_is_refused() {
        let resolver = resolver(TENANTS);
        for (context, kind) in [
            (Context::knowledge().generic(), ErrorKind::Config),
            (Context::metadata().domain("finance"), ErrorKind::Config),
            (Context::metadata().tenant("acme"), ErrorKind::UnknownTenant),
            (Context::logs().shared(), ErrorKind::Config),
            (Context::runtime("a!"), ErrorKind::Invalid),
            (Context::runtime("x".repeat(91)), ErrorKind::Invalid),
            (Context::runtime("globex").plan("pro"), ErrorKind::Invalid),
        ] {
            let error = resolver.resolve(&context).unwrap_err();
            assert_eq!(*error.kind(), kind, "{context}: {error}");
        }
    }

    proptest! {
        #[test]
        fn distinct_tenants_never_share_a_database(
            a in "[a-zA-Z0-9._$/\\\\ -]{1,60}|\\PC{1,20}",
            b in "[a-zA-Z0-9._$/\\\\ -]{1,60}|\\PC{1,20}",
        ) {
            let (x, y) = (in_database_name(&a), in_database_name(&b));
            prop_assert_eq!(a == b, x == y);
            for name in [x, y] {
                prop_assert!(name.len() <= MAX_ENCODED);
                prop_assert!(name.bytes().all(|c| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-')));
            }
        }

        #[test]
        fn a_bucket_takes_every_tenant(id in "\\PC{1,60}") {
            let name = in_bucket_name(&id);
            prop_assert!(!name.is_empty() && name.len() <= MAX_ENCODED);
            prop_assert!(name.bytes().all(|c| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'-')));
        }
    }
}

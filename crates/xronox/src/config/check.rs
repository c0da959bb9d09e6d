//! What the parts of a configuration demand of each other.

use std::collections::{BTreeMap, BTreeSet};

use xronox_model::Path;
use xronox_store::{ConnectionError, Credentials, PerRole, Secret, SpaceConnection};

use super::{
    Config, CrossTenantMode, DatabaseConfig, DatabaseTemplates, DbConnection, DynamicTenants,
    Operation, Placeholder, SaveMode, SharedDatabases, TenantDatabase, TenantIdRules, WeightedRef,
    connections::CatalogAddress,
    mask,
    problem::{Problem, Trail, nearest},
    shape::Found,
};
use crate::engine::files::{is_charset, is_content_type};

/// Names that stand in a configuration, if not always as what they should.
#[derive(Debug, Default)]
pub(super) struct Named {
    pub(super) db_connections: BTreeSet<String>,
    pub(super) spaces_connections: BTreeSet<String>,
}

/// Everything that is wrong with a configuration whose shape is right.
pub(super) fn check(config: &Config, named: &Named) -> Found {
    let mut check = Check {
        config,
        named,
        used_spaces: BTreeSet::new(),
        databases: BTreeMap::new(),
        problems: Vec::new(),
    };
    let root = Trail::default();
    if let Some(path) = &config.not_text {
        let why = format!("{}: the path has to be UTF-8", path.display());
        check.problem(&root, |at| Problem::new(at, why));
    }
    check.db_connections(&root.key("dbConnections"));
    check.databases(&root.key("databases"));
    check.spaces_connections(&root.key("spacesConnections"));
    check.settings(&root);
    check.problems
}

struct Check<'a> {
    config: &'a Config,
    named: &'a Named,
    used_spaces: BTreeSet<&'a str>,
    /// By connection and name: where the database stands.
    databases: BTreeMap<(String, String), Trail>,
    problems: Found,
}

impl<'a> Check<'a> {
    fn problem(&mut self, at: &Trail, problem: impl FnOnce(&Trail) -> Problem) {
        self.problems.push((at.clone(), problem(at)));
    }

    fn db_connections(&mut self, at: &Trail) {
        for (name, connection) in &self.config.db_connections {
            let at = at.key(name);
            let uri = &connection.mongo_uri;
            let why = match connection.address() {
                None => Some(
                    "mongodb://…, mongodb+srv://…, sqlite:FOLDER (no `//` before a relative one) \
                     or memory:"
                        .to_owned(),
                ),
                Some(CatalogAddress::Mongo(uri)) => mongo_uri(uri).err(),
                Some(_) => None,
            };
            if let Some(why) = why {
                let found = mask::uri(uri.reveal());
                self.problem(&at.key("mongoUri"), |at| {
                    Problem::new(at, why).found(format!("{found:?}"))
                });
            }
            let pool = &connection.pool;
            if pool.min > pool.max {
                let why = format!("at most `max`, {}", pool.max);
                self.problem(&at.keys("pool.min"), |at| {
                    Problem::new(at, why).found(pool.min.to_string())
                });
            }
        }
    }

    fn spaces_connections(&mut self, at: &Trail) {
        for (name, connection) in &self.config.spaces_connections {
            let at = at.key(name);
            let mut connection = connection.clone();
            let unused = !self.used_spaces.contains(name.as_str());
            let no_keys = connection.access_key.is_none() && connection.secret_key.is_none();
            if unused && no_keys && !is_local(&connection) {
                connection.credentials = Some(Credentials::Environment);
            }
            while let Err(error) = connection.validate_access() {
                self.problem(&at.keys(&error.field), |at| of_connection(at, &error));
                if !get_past(&mut connection, &error.field) {
                    break;
                }
            }
        }
    }

    fn databases(&mut self, at: &Trail) {
        let databases = &self.config.databases;
        for (key, tiered) in [
            ("metadata", &databases.metadata),
            ("knowledge", &databases.knowledge),
        ] {
            let (Some(tiered), at) = (tiered, at.key(key)) else {
                continue;
            };
            if let Some(generic) = &tiered.generic_database {
                self.database(generic, &at.key("genericDatabase"));
            }
            let mut domains = BTreeMap::new();
            for (i, domain) in tiered.domains_databases.iter().enumerate() {
                let at = at.key("domainsDatabases").index(i);
                self.owner(&domain.domain, &at.key("domain"), &mut domains);
                self.database(&domain.database, &at);
            }
            self.tenants(&tiered.tenant_databases, &at);
            if let Some(dynamic) = &tiered.dynamic_tenants {
                self.dynamic(dynamic, &at.key("dynamicTenants"));
            }
        }
        if let Some(runtime) = &databases.runtime {
            let at = at.key("runtime");
            self.tenants(&runtime.tenant_databases, &at);
            if let Some(dynamic) = &runtime.dynamic_tenants {
                self.dynamic(dynamic, &at.key("dynamicTenants"));
            }
        }
        if let Some(logs) = &databases.logs {
            self.shared(&logs.databases, &at.key("logs"));
        }
        if let Some(identities) = &databases.identities {
            self.shared(&identities.databases, &at.key("identities"));
        }
        if let Some(messaging) = &databases.messaging {
            let at = at.key("messaging");
            self.shared(&messaging.databases, &at);
            let database = messaging.databases.database.as_ref();
            if database.is_some_and(|database| database.retention.is_some()) {
                self.problem(&at.key("retention"), |at| {
                    Problem::new(at, "is that of messages")
                });
            }
            if let Some(redis) = &messaging.settings.redis {
                let uri = redis.uri.reveal();
                if !["redis://", "rediss://"]
                    .iter()
                    .any(|scheme| uri.starts_with(scheme))
                {
                    let found = format!("{:?}", mask::uri(uri));
                    self.problem(&at.keys("redis.uri"), |at| {
                        Problem::new(at, "redis://… or rediss://…").found(found)
                    });
                }
            }
        }
    }

    fn shared(&mut self, shared: &'a SharedDatabases, at: &Trail) {
        let by_tenant = !shared.tenant_databases.is_empty() || shared.dynamic_tenants.is_some();
        match &shared.database {
            Some(_) if by_tenant => self.problem(at, |at| {
                Problem::new(
                    at,
                    "is either one database for all or databases by tenant, not both",
                )
            }),
            Some(database) => self.database(database, at),
            None => {}
        }
        self.tenants(&shared.tenant_databases, at);
        if let Some(dynamic) = &shared.dynamic_tenants {
            self.dynamic(dynamic, &at.key("dynamicTenants"));
        }
    }

    fn tenants(&mut self, tenants: &'a [TenantDatabase], at: &Trail) {
        let mut ids = BTreeMap::new();
        for (i, tenant) in tenants.iter().enumerate() {
            let at = at.key("tenantDatabases").index(i);
            self.owner(&tenant.tenant_id, &at.key("tenantId"), &mut ids);
            self.database(&tenant.database, &at);
        }
    }

    /// A tenant or a domain, which stands once in its list.
    fn owner(&mut self, id: &'a str, at: &Trail, seen: &mut BTreeMap<&'a str, Trail>) {
        if id.is_empty() || id.len() > 128 || id.contains(char::is_control) {
            self.problem(at, |at| {
                Problem::new(at, "1 to 128 bytes without control characters").found(mask::text(id))
            });
        } else if let Some(first) = seen.get(id) {
            let why = format!("one that is not listed yet, as in {first}");
            self.problem(at, |at| Problem::new(at, why).found(mask::text(id)));
        } else {
            seen.insert(id, at.clone());
        }
    }

    fn database(&mut self, database: &'a DatabaseConfig, at: &Trail) {
        let refs = (
            database.db_conn_ref.as_deref(),
            database.db_conn_refs.as_slice(),
        );
        let connections = self.connections(refs, true, at);
        let refs = (
            database.space_conn_ref.as_deref(),
            database.space_conn_refs.as_slice(),
        );
        let spaces = self.spaces(refs, at);
        let names = [
            ("dbName", Some(&database.db_name)),
            ("analyticsDbName", database.analytics_db_name.as_ref()),
        ];
        for (key, name) in names {
            let (Some(name), at) = (name, at.key(key)) else {
                continue;
            };
            if self.name(name, name, &connections, &at) {
                self.own_name(name, &connections, &at);
            }
        }
        self.buckets(database, &spaces, refs_given(refs), at);
    }

    /// The connections that are named and there.
    fn connections(
        &mut self,
        (one, several): (Option<&'a str>, &'a [WeightedRef]),
        required: bool,
        at: &Trail,
    ) -> Vec<&'a str> {
        if one.is_some() && !several.is_empty() {
            self.problem(&at.key("dbConnRefs"), |at| {
                Problem::new(at, "stands beside `dbConnRef`; give one of the two")
            });
        } else if required && one.is_none() && several.is_empty() {
            self.problem(&at.key("dbConnRef"), |at| {
                Problem::new(at, "is missing: the name of a connection in dbConnections")
            });
        }
        let (config, named) = (self.config, self.named);
        let there = config.db_connections.keys().map(String::as_str);
        let known: BTreeSet<&str> = there
            .chain(named.db_connections.iter().map(String::as_str))
            .collect();
        self.refs(
            ("dbConnRef", one),
            ("dbConnRefs", several),
            &known,
            "dbConnections",
            at,
        )
    }

    /// The spaces that are named and there. Local storage stands in for any.
    fn spaces(
        &mut self,
        (one, several): (Option<&'a str>, &'a [WeightedRef]),
        at: &Trail,
    ) -> Vec<&'a str> {
        if one.is_some() && !several.is_empty() {
            self.problem(&at.key("spaceConnRefs"), |at| {
                Problem::new(at, "stands beside `spaceConnRef`; give one of the two")
            });
        }
        if self.config.local_storage.enabled {
            return Vec::new();
        }
        let (config, named) = (self.config, self.named);
        let there = config.spaces_connections.keys().map(String::as_str);
        let known: BTreeSet<&str> = there
            .chain(named.spaces_connections.iter().map(String::as_str))
            .collect();
        let spaces = self.refs(
            ("spaceConnRef", one),
            ("spaceConnRefs", several),
            &known,
            "spacesConnections",
            at,
        );
        self.used_spaces.extend(&spaces);
        spaces
    }

    fn refs(
        &mut self,
        (key, one): (&str, Option<&'a str>),
        (keys, several): (&str, &'a [WeightedRef]),
        known: &BTreeSet<&str>,
        table: &str,
        at: &Trail,
    ) -> Vec<&'a str> {
        let mut places: Vec<(&'a str, Trail)> = Vec::new();
        places.extend(one.map(|name| (name, at.key(key))));
        for (i, one) in several.iter().enumerate() {
            places.push((&one.connection, at.key(keys).index(i).key("ref")));
        }
        let mut there = Vec::new();
        for (name, at) in places {
            if !known.contains(name) {
                let near = nearest(name, known.iter().copied());
                let why = format!("the name of a connection in {table}");
                self.problem(&at, |at| {
                    Problem::new(at, why).found(mask::text(name)).nearest(near)
                });
            } else if there.contains(&name) {
                self.problem(&at, |at| {
                    Problem::new(at, "each connection once").found(mask::text(name))
                });
            } else {
                there.push(name);
            }
        }
        there
    }

    /// Whether a database may have this name on its connections.
    fn name(&mut self, shown: &str, name: &str, connections: &[&str], at: &Trail) -> bool {
        let described = connections
            .iter()
            .filter_map(|name| self.config.db_connections.get(*name));
        let on_mongo = |connection: &DbConnection| {
            matches!(connection.address(), Some(CatalogAddress::Mongo(_)))
        };
        let wrong = if name.is_empty() || name.contains('\0') {
            Some("a name that is not empty".to_owned())
        } else if described.into_iter().any(on_mongo) {
            mongo_name(name).err()
        } else {
            None
        };
        let fits = wrong.is_none();
        if let Some(why) = wrong {
            self.problem(at, |at| Problem::new(at, why).found(mask::text(shown)));
        }
        fits
    }

    /// A database, and whatever a template makes, is one thing only.
    fn own_name(&mut self, name: &str, connections: &[&str], at: &Trail) {
        let mut clash = None;
        for connection in connections {
            let Some(described) = self.config.db_connections.get(*connection) else {
                continue;
            };
            let key = match described.address() {
                // A server takes no two names that differ in case only.
                Some(CatalogAddress::Mongo(uri)) => (uri.reveal().to_owned(), name.to_lowercase()),
                Some(CatalogAddress::Sqlite(folder)) => {
                    (format!("sqlite:{}", folder.display()), name.to_owned())
                }
                _ => ((*connection).to_owned(), name.to_owned()),
            };
            match self.databases.get(&key) {
                Some(first) => clash = Some(first.clone()),
                None => drop(self.databases.insert(key, at.clone())),
            }
        }
        if let Some(first) = clash {
            let why = format!("a database of its own, not that of {first}");
            self.problem(at, |at| Problem::new(at, why).found(mask::text(name)));
        }
    }

    fn buckets(
        &mut self,
        database: &DatabaseConfig,
        spaces: &[&str],
        in_a_space: bool,
        at: &Trail,
    ) {
        let mut named = database
            .named_buckets()
            .filter(|(_, name)| !name.is_empty());
        if self.config.local_storage.enabled {
            let files = SpaceConnection::new("memory:");
            self.places(&files, database, at);
        } else if in_a_space {
            for space in spaces {
                let Some(space) = self.config.spaces_connections.get(*space) else {
                    continue;
                };
                self.places(space, database, at);
            }
        } else if let Some((key, name)) = named.next() {
            self.problem(&at.key(key), |at| {
                Problem::new(at, "no bucket, since there is no `spaceConnRef`")
                    .found(mask::text(name))
            });
        }
    }

    fn places(&mut self, space: &SpaceConnection, database: &DatabaseConfig, at: &Trail) {
        let mut space = space.clone();
        // Credentials are looked at elsewhere.
        while let Err(error) = space.validate_access() {
            if !get_past(&mut space, &error.field) {
                return;
            }
        }
        let Err(error) = space.validate_for(&database.buckets(&space)) else {
            return;
        };
        let role = error.field.strip_prefix("buckets.");
        let own = role.map(|role| format!("{role}Bucket"));
        let key = database
            .named_buckets()
            .map(|(key, _)| key)
            .find(|key| Some(*key) == own.as_deref())
            .unwrap_or("bucket");
        let found = database.named_buckets().find(|(other, _)| *other == key);
        let found = found.map(|(_, name)| mask::text(name));
        self.problem(&at.key(key), |at| {
            let mut problem = of_connection(at, &error);
            problem.found = found;
            problem
        });
    }

    fn dynamic(&mut self, dynamic: &'a DynamicTenants, at: &Trail) {
        self.templates(&dynamic.templates, &dynamic.templates, true, at);
        if let Some(rules) = &dynamic.validation {
            self.id_rules(rules, &at.key("validation"));
        }
        for (name, tier) in &dynamic.tiers {
            let at = at.key("tiers").key(name);
            let whole = dynamic.templates_of(Some(name));
            self.templates(&tier.templates, &whole, false, &at);
            if let Some(rules) = &tier.validation {
                self.id_rules(rules, &at.key("validation"));
            }
        }
    }

    /// Templates as they stand in one place, and what they come to there.
    fn templates(
        &mut self,
        given: &'a DatabaseTemplates,
        whole: &DatabaseTemplates,
        top: bool,
        at: &Trail,
    ) {
        let refs = (given.db_conn_ref.as_deref(), given.db_conn_refs.as_slice());
        self.connections(refs, top, at);
        let refs = (
            given.space_conn_ref.as_deref(),
            given.space_conn_refs.as_slice(),
        );
        self.spaces(refs, at);
        if top && given.db_name_template.is_none() {
            self.problem(&at.key("dbNameTemplate"), |at| {
                Problem::new(at, "is missing: a name with {tenantId} in it")
            });
        }
        let names = [
            ("dbNameTemplate", &given.db_name_template),
            ("analyticsDbNameTemplate", &given.analytics_db_name_template),
        ];
        for (key, template) in names {
            let (Some(template), at) = (template, at.key(key)) else {
                continue;
            };
            let text = template.to_string();
            if template.contains(&Placeholder::TenantId) {
                let name = template.fill(|_| Some("x".to_owned())).unwrap_or_default();
                let connections = whole.connections();
                let connections: Vec<&str> =
                    connections.iter().map(|one| &*one.connection).collect();
                if self.name(&text, &name, &connections, &at) && top {
                    self.own_name(&text, &connections, &at);
                }
            } else {
                self.problem(&at, |at| {
                    let why = "a name that tells tenants apart, with {tenantId} in it";
                    Problem::new(at, why).found(mask::text(&text))
                });
            }
        }
        let in_a_space = !whole.spaces().is_empty() || self.config.local_storage.enabled;
        for (key, template) in given.named_buckets() {
            let at = at.key(key);
            let text = template.to_string();
            let filled = template.fill(|_| Some("x".to_owned())).unwrap_or_default();
            let memory = SpaceConnection::new("memory:");
            let bucket = PerRole {
                records: Some(filled),
                ..PerRole::default()
            };
            if !in_a_space {
                self.problem(&at, |at| {
                    Problem::new(at, "no bucket, since there is no `spaceConnRef`")
                        .found(mask::text(&text))
                });
            } else if let Err(error) = memory.validate_for(&bucket) {
                self.problem(&at, |at| of_connection(at, &error).found(mask::text(&text)));
            }
        }
    }

    fn id_rules(&mut self, rules: &TenantIdRules, at: &Trail) {
        if let (Some(least), Some(most)) = (rules.min_length, rules.max_length)
            && least > most
        {
            let why = format!("at most `maxLength`, {most}");
            self.problem(&at.key("minLength"), |at| {
                Problem::new(at, why).found(least.to_string())
            });
        }
    }

    fn settings(&mut self, root: &Trail) {
        let settings = &self.config.settings;
        let queries = &settings.queries;
        if queries.default_limit > queries.max_limit {
            let why = format!("at most `maxLimit`, {}", queries.max_limit);
            let found = queries.default_limit.to_string();
            self.problem(&root.keys("queries.defaultLimit"), |at| {
                Problem::new(at, why).found(found)
            });
        }
        let fallback = &settings.fallback;
        if fallback.retry_delay_ms > fallback.max_delay_ms {
            let why = format!("at most `maxDelayMs`, {}", fallback.max_delay_ms);
            let found = fallback.retry_delay_ms.to_string();
            self.problem(&root.keys("fallback.retryDelayMs"), |at| {
                Problem::new(at, why).found(found)
            });
        }
        if fallback
            .dead_letter_collection
            .parse::<xronox_model::CollectionName>()
            .is_err()
        {
            let found = mask::text(&fallback.dead_letter_collection);
            self.problem(&root.keys("fallback.deadLetterCollection"), |at| {
                Problem::new(at, "the name of a collection: letters, digits, `_` and `-`")
                    .found(found)
            });
        }
        for (name, map) in &settings.collection_maps {
            let validation = map.validation.as_ref();
            if let Some(schema) = validation.and_then(|validation| validation.schema.as_ref())
                && let Err(invalid) = schema.validator()
            {
                let at = root
                    .key("collectionMaps")
                    .key(name)
                    .keys("validation.schema");
                let at = match invalid.path() {
                    "" => at,
                    inside => at.keys(inside),
                };
                self.problem(&at, |at| Problem::new(at, invalid.message()));
            }
        }
        self.hidden_fields(&root.key("collectionMaps"));
        self.files(&root.key("collectionMaps"));
        self.rules(root);
    }

    /// Who sees a record sees its id and its system fields: a projection may
    /// leave them out, but nothing could keep them from anybody.
    fn hidden_fields(&mut self, at: &Trail) {
        for (name, map) in &self.config.settings.collection_maps {
            let at = at.key(name).key("hiddenFields");
            for (i, path) in map.hidden_fields.iter().enumerate() {
                if matches!(path.root(), "_id" | "_system") {
                    self.problem(&at.index(i), |at| {
                        let why = "a property of documents; a projection can leave this out";
                        Problem::new(at, why).found(path.to_string())
                    });
                }
            }
        }
    }

    /// A file is a property of documents, of a kind that can be told, and no
    /// part of another one.
    fn files(&mut self, at: &Trail) {
        for (name, map) in &self.config.settings.collection_maps {
            let at = at.key(name).key("base64Props");
            for (path, property) in &map.base64_props {
                let at = at.key(&path.to_string());
                if matches!(path.root(), "_id" | "_system") {
                    self.problem(&at, |at| Problem::new(at, "a property of documents"));
                }
                let around = |other: &&Path| *other != path && path.starts_with(other);
                if let Some(around) = map.base64_props.keys().find(around) {
                    let why = format!("lies inside `{around}`, which is a file itself");
                    self.problem(&at, |at| Problem::new(at, why));
                }
                if !is_content_type(&property.content_type) {
                    self.problem(&at.key("contentType"), |at| {
                        let why = "a media type of at most 256 printable ASCII characters";
                        Problem::new(at, why).found(property.content_type.clone())
                    });
                }
                if !is_charset(&property.text_charset) {
                    self.problem(&at.key("textCharset"), |at| {
                        let why = "a character set, such as `utf-8` or `iso-8859-1`";
                        Problem::new(at, why).found(property.text_charset.clone())
                    });
                }
            }
        }
    }

    fn rules(&mut self, root: &Trail) {
        let settings = &self.config.settings;
        let analytics = root.key("analytics");
        let mut names = BTreeMap::new();
        let here = root.keys("counterRules.rules");
        let there = analytics.key("counterRules");
        for (rules, at) in [
            (&settings.counter_rules.rules, here),
            (&settings.analytics.counter_rules, there),
        ] {
            for (i, rule) in rules.iter().enumerate() {
                self.rule(&rule.name, &at.index(i), &mut names);
            }
        }
        names.clear();
        for (i, rule) in settings.analytics.time_based_rules.iter().enumerate() {
            let at = analytics.key("timeBasedRules").index(i);
            self.rule(&rule.name, &at, &mut names);
            if rule.operation != Operation::Count && rule.field.is_none() {
                self.problem(&at.key("field"), |at| {
                    Problem::new(at, "is missing: every operation but `count` works on one")
                });
            }
            if rule.operation == Operation::Percentile && rule.percentile.is_none() {
                self.problem(&at.key("percentile"), |at| {
                    Problem::new(at, "is missing: the percentile to take")
                });
            }
            if rule.save_mode == SaveMode::Timeframe && rule.timeframe.is_none() {
                self.problem(&at.key("timeframe"), |at| {
                    Problem::new(at, "is missing: `saveMode` is `timeframe`")
                });
            }
        }
        names.clear();
        for (i, rule) in settings.analytics.cross_tenant_rules.iter().enumerate() {
            let at = analytics.key("crossTenantRules").index(i);
            self.rule(&rule.name, &at, &mut names);
            if rule.mode != CrossTenantMode::Boolean && rule.field.is_none() {
                self.problem(&at.key("field"), |at| {
                    Problem::new(at, "is missing: every mode but `boolean` works on one")
                });
            }
        }
    }

    fn rule(&mut self, name: &'a str, at: &Trail, names: &mut BTreeMap<&'a str, Trail>) {
        let at = at.key("name");
        if let Some(first) = names.get(name) {
            let why = format!("a name of its own, not that of {first}");
            self.problem(&at, |at| Problem::new(at, why).found(mask::text(name)));
        } else {
            names.insert(name, at);
        }
    }
}

fn refs_given((one, several): (Option<&str>, &[WeightedRef])) -> bool {
    one.is_some() || !several.is_empty()
}

fn is_local(connection: &SpaceConnection) -> bool {
    connection.endpoint.starts_with("file:") || connection.endpoint == "memory:"
}

/// Puts something right in the place of what is wrong with the keys, so that
/// what else is wrong comes to light. What it puts there is not used.
fn get_past(connection: &mut SpaceConnection, field: &str) -> bool {
    let stands_in = || Some(Secret::new("{}"));
    match field {
        "accessKey" if connection.access_key.is_none() => {
            connection.access_key = Some("x".to_owned());
        }
        "secretKey" if connection.secret_key.is_none() => connection.secret_key = stands_in(),
        "region" if connection.region.is_some() => connection.region = None,
        _ => return false,
    }
    true
}

fn of_connection(at: &Trail, error: &ConnectionError) -> Problem {
    let why = error.problem.as_str();
    let why = why
        .strip_prefix("cannot be the name")
        .map(|rest| format!("the name{rest}"));
    Problem::new(at, why.unwrap_or_else(|| error.problem.clone()))
}

#[cfg(feature = "mongodb")]
fn mongo_uri(uri: &Secret) -> Result<(), String> {
    xronox_mongodb::check_uri(uri.reveal()).map_err(|_| {
        "mongodb://[user:password@]host[:port][,…]/[database][?option=value&…]".to_owned()
    })
}

#[cfg(not(feature = "mongodb"))]
#[expect(clippy::unnecessary_wraps, reason = "there is no driver to ask")]
fn mongo_uri(_: &Secret) -> Result<(), String> {
    Ok(())
}

#[cfg(feature = "mongodb")]
fn mongo_name(name: &str) -> Result<(), String> {
    let expected = "1 to 63 bytes, none of /\\. \"$*<>:|?, and none of MongoDB's own databases";
    let own = ["admin", "local", "config"].contains(&name.to_lowercase().as_str());
    if own || xronox_mongodb::check_database_name(name).is_err() {
        return Err(expected.to_owned());
    }
    Ok(())
}

#[cfg(not(feature = "mongodb"))]
#[expect(clippy::unnecessary_wraps, reason = "there is no driver to ask")]
fn mongo_name(_: &str) -> Result<(), String> {
    Ok(())
}

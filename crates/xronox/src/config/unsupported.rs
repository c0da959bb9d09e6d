//! What is configured but not there yet.

use super::{
    Config, DatabaseConfig, DynamicTenants, MessagingRetention, PayloadWrites, Problem, Retention,
    SharedDatabases, TenantDatabase, problem::Trail,
};

/// What is switched on that this version cannot do.
pub(super) fn unsupported(config: &Config) -> Vec<Problem> {
    let root = Trail::default();
    let mut on = Vec::new();
    let settings = &config.settings;
    for (name, map) in &settings.collection_maps {
        let at = root.key("collectionMaps").key(name);
        let offload = map
            .s3_offload
            .as_ref()
            .is_some_and(|offload| offload.enabled);
        on.extend(
            [
                ("personal", !map.personal.is_empty()),
                ("retention", limits(map.retention.as_ref())),
                ("s3Offload", offload),
            ]
            .map(|(key, is)| (at.key(key), is)),
        );
    }
    let analytics = &settings.analytics;
    on.extend(
        [
            (
                "analytics.timeBasedRules",
                !analytics.time_based_rules.is_empty(),
            ),
            (
                "analytics.crossTenantRules",
                !analytics.cross_tenant_rules.is_empty(),
            ),
            ("retention", limits(Some(&settings.retention))),
            ("rollup", settings.rollup.enabled),
            ("devShadow", settings.dev_shadow.enabled),
            (
                "writeOptimization.payloads",
                settings.write_optimization.payloads == PayloadWrites::Behind,
            ),
            ("fallback", settings.fallback.enabled),
            (
                "encryption.masterKey",
                settings.encryption.master_key.is_some(),
            ),
            ("encryption.wholeBody", settings.encryption.whole_body),
            ("signing", settings.signing.key.is_some()),
            ("audit", settings.audit.enabled || settings.audit.reads),
            ("worker.alertHook", settings.worker.alert_hook.is_some()),
        ]
        .map(|(key, is)| (root.keys(key), is)),
    );
    databases(config, &root.key("databases"), &mut on);
    let on = on.into_iter().filter(|(_, is)| *is);
    on.map(|(at, _)| Problem::new(&at, "is not supported by this version"))
        .collect()
}

type Switched = Vec<(Trail, bool)>;

fn databases(config: &Config, at: &Trail, on: &mut Switched) {
    let databases = &config.databases;
    for (key, tiered) in [
        ("metadata", &databases.metadata),
        ("knowledge", &databases.knowledge),
    ] {
        let (Some(tiered), at) = (tiered, at.key(key)) else {
            continue;
        };
        if let Some(generic) = &tiered.generic_database {
            one(generic, &at.key("genericDatabase"), on);
        }
        for (i, domain) in tiered.domains_databases.iter().enumerate() {
            one(&domain.database, &at.key("domainsDatabases").index(i), on);
        }
        tenants(
            &tiered.tenant_databases,
            tiered.dynamic_tenants.as_ref(),
            &at,
            on,
        );
    }
    if let Some(runtime) = &databases.runtime {
        let dynamic = runtime.dynamic_tenants.as_ref();
        tenants(&runtime.tenant_databases, dynamic, &at.key("runtime"), on);
    }
    if let Some(logs) = &databases.logs {
        let at = at.key("logs");
        shared(&logs.databases, &at, on);
        on.push((at.key("retentionDays"), logs.retention_days.is_some()));
        on.push((at.key("offload"), logs.offload));
    }
    if let Some(identities) = &databases.identities {
        let at = at.key("identities");
        shared(&identities.databases, &at, on);
        on.push((at.key("audit"), identities.audit));
    }
    if let Some(messaging) = &databases.messaging {
        let at = at.key("messaging");
        shared(&messaging.databases, &at, on);
        let settings = &messaging.settings;
        on.push((at.key("captureDeliveries"), settings.capture_deliveries));
        let kept = settings.retention != MessagingRetention::default();
        on.push((at.key("retention"), kept));
        on.push((at.key("offloadBytes"), settings.offload_bytes > 0));
        on.push((at.key("mask"), !settings.mask.is_empty()));
        on.push((at.key("redis"), settings.redis.is_some()));
    }
}

fn shared(databases: &SharedDatabases, at: &Trail, on: &mut Switched) {
    if let Some(database) = &databases.database {
        one(database, at, on);
    }
    tenants(
        &databases.tenant_databases,
        databases.dynamic_tenants.as_ref(),
        at,
        on,
    );
}

fn tenants(
    tenants: &[TenantDatabase],
    dynamic: Option<&DynamicTenants>,
    at: &Trail,
    on: &mut Switched,
) {
    for (i, tenant) in tenants.iter().enumerate() {
        one(&tenant.database, &at.key("tenantDatabases").index(i), on);
    }
    if let Some(dynamic) = dynamic.filter(|dynamic| dynamic.enabled) {
        let at = at.key("dynamicTenants");
        on.push((
            at.key("retention"),
            limits(dynamic.templates.retention.as_ref()),
        ));
        for (name, tier) in &dynamic.tiers {
            let at = at.key("tiers").key(name);
            on.push((
                at.key("retention"),
                limits(tier.templates.retention.as_ref()),
            ));
        }
    }
}

fn one(database: &DatabaseConfig, at: &Trail, on: &mut Switched) {
    on.push((at.key("retention"), limits(database.retention.as_ref())));
}

/// Whether anything is ever removed.
fn limits(retention: Option<&Retention>) -> bool {
    let Some(retention) = retention else {
        return false;
    };
    let versions = retention.ver.as_ref().is_some_and(|ver| {
        ver.days.is_some()
            || ver.max_per_item.is_some()
            || !ver.thin.is_empty()
            || ver.trail_days.is_some()
    });
    let counters = retention.counters.as_ref().is_some_and(|counters| {
        [
            counters.hours,
            counters.days,
            counters.weeks,
            counters.months,
        ]
        .iter()
        .any(Option::is_some)
    });
    versions || counters
}

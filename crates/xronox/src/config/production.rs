//! The usual configuration of a service with tenants.

use xronox_store::{Credentials, PerRole, Secret, SpaceConnection};

use super::{
    Config, DatabaseConfig, Databases, DbConnection, MAIN, TenantDatabases, TieredDatabases,
};

/// What [`Config::production`] needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProductionConfig {
    /// The deployment: `mongodb://…` or `mongodb+srv://…`.
    pub mongo_uri: Secret,
    /// Where the object store answers.
    pub s3_endpoint: String,
    /// The region that requests are signed for.
    pub s3_region: Option<String>,
    /// The access key id; `None`: credentials come from the environment.
    pub s3_access_key: Option<String>,
    /// The secret access key.
    pub s3_secret_key: Option<Secret>,
    /// The tenants.
    pub tenants: Vec<String>,
    /// What is in front of the names of buckets and databases.
    pub bucket_prefix: String,
}

impl Config {
    /// Metadata and knowledge for everyone, and for each tenant metadata,
    /// knowledge, and runtime with analytics; all on one deployment and in four
    /// buckets. With the prefix `shop` and a tenant `acme`:
    ///
    /// | | databases |
    /// |---|---|
    /// | for everyone | `shop_metadata_generic`, `shop_knowledge_generic` |
    /// | for the tenant | `shop_metadata_acme`, `shop_knowledge_acme`, `shop_runtime_acme` and its `shop_analytics_acme` |
    /// | buckets | `shop-records`, `shop-versions`, `shop-content`, `shop-backups` |
    ///
    /// Names that cannot be are found by [`check`](Self::check) and when a
    /// store is opened.
    ///
    /// ```
    /// use xronox::{Config, ProductionConfig, Secret};
    ///
    /// let config = Config::production(ProductionConfig {
    ///     mongo_uri: Secret::new("mongodb://db1,db2,db3/?replicaSet=rs0"),
    ///     s3_endpoint: "https://s3.amazonaws.com".to_owned(),
    ///     s3_region: Some("us-east-1".to_owned()),
    ///     s3_access_key: None,
    ///     s3_secret_key: None,
    ///     tenants: vec!["acme".to_owned(), "globex".to_owned()],
    ///     bucket_prefix: "shop".to_owned(),
    /// });
    /// config.check()?;
    /// # Ok::<(), xronox::Error>(())
    /// ```
    pub fn production(given: ProductionConfig) -> Self {
        let prefix = given.bucket_prefix;
        let bucket = |role: &str| Some(format!("{prefix}-{role}"));
        let mut space = SpaceConnection::new(given.s3_endpoint);
        space.region = given.s3_region;
        if given.s3_access_key.is_none() && given.s3_secret_key.is_none() {
            space.credentials = Some(Credentials::Environment);
        }
        space.access_key = given.s3_access_key;
        space.secret_key = given.s3_secret_key;
        space.buckets = PerRole {
            records: bucket("records"),
            versions: bucket("versions"),
            content: bucket("content"),
            backups: bucket("backups"),
        };
        let database = |of: &str, whose: &str| {
            DatabaseConfig::new(MAIN, format!("{prefix}_{of}_{whose}")).space(MAIN)
        };
        let tiered = |of: &str| {
            let generic = TieredDatabases::default().generic(database(of, "generic"));
            let tenants = given.tenants.iter();
            tenants.fold(generic, |all, tenant| {
                all.tenant(tenant, database(of, tenant))
            })
        };
        let runtime = given
            .tenants
            .iter()
            .fold(TenantDatabases::default(), |all, tenant| {
                let analytics = format!("{prefix}_analytics_{tenant}");
                all.tenant(tenant, database("runtime", tenant).analytics(analytics))
            });
        Self {
            db_connections: [(
                MAIN.to_owned(),
                DbConnection {
                    mongo_uri: given.mongo_uri,
                    pool: super::Pool::default(),
                },
            )]
            .into(),
            spaces_connections: [(MAIN.to_owned(), space)].into(),
            databases: Box::new(Databases {
                metadata: Some(tiered("metadata")),
                knowledge: Some(tiered("knowledge")),
                runtime: Some(runtime),
                ..Databases::default()
            }),
            ..Self::default()
        }
    }
}

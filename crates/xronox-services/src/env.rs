//! The variables that point the suites at servers.
//!
//! `cargo xtask services up` prints them and `cargo xtask test` sets them. Set
//! beforehand, they point at a real deployment. A variable that is missing is
//! an error that names it.

use std::{env, ffi::OsString, fmt, path::PathBuf};

use anyhow::{Context, Result};

use crate::Services;

/// Where the servers are installed; throw-away ones are started from there.
pub const SERVICES: &str = "XRONOX_TEST_SERVICES";
/// The `mongod` binary.
pub const MONGOD: &str = "XRONOX_TEST_MONGOD";
/// A replica set, as a URI.
pub const MONGO_URI: &str = "XRONOX_TEST_MONGO_URI";
/// A server that is no member of a set, as a URI.
pub const MONGO_STANDALONE_URI: &str = "XRONOX_TEST_MONGO_STANDALONE_URI";
/// An S3 store, as a URL, without a bucket.
pub const S3_ENDPOINT: &str = "XRONOX_TEST_S3_ENDPOINT";
/// The region of the S3 store.
pub const S3_REGION: &str = "XRONOX_TEST_S3_REGION";
/// Who may make buckets and use them.
pub const S3_ACCESS_KEY: &str = "XRONOX_TEST_S3_ACCESS_KEY";
/// The secret of that identity.
pub const S3_SECRET_KEY: &str = "XRONOX_TEST_S3_SECRET_KEY";
/// Who may use one bucket and nothing else.
pub const S3_LIMITED_ACCESS_KEY: &str = "XRONOX_TEST_S3_LIMITED_ACCESS_KEY";
/// The secret of that identity.
pub const S3_LIMITED_SECRET_KEY: &str = "XRONOX_TEST_S3_LIMITED_SECRET_KEY";
/// The one bucket, which exists.
pub const S3_LIMITED_BUCKET: &str = "XRONOX_TEST_S3_LIMITED_BUCKET";
/// A blob store, as a URL below which containers lie.
pub const AZURE_ENDPOINT: &str = "XRONOX_TEST_AZURE_ENDPOINT";
/// The account of the blob store.
pub const AZURE_ACCOUNT: &str = "XRONOX_TEST_AZURE_ACCOUNT";
/// The key of the account.
pub const AZURE_KEY: &str = "XRONOX_TEST_AZURE_KEY";

/// Access to an S3 store, path-style.
#[derive(Clone, PartialEq, Eq)]
pub struct S3 {
    /// URL of the store, without a bucket.
    pub endpoint: String,
    /// Region that requests are signed for.
    pub region: String,
    /// Name of the identity's key.
    pub access_key: String,
    /// The key's secret.
    pub secret_key: String,
}

/// Access to an account of Azure Blob Storage.
#[derive(Clone, PartialEq, Eq)]
pub struct Azure {
    /// URL below which the containers lie; for an emulator it ends in the
    /// account.
    pub endpoint: String,
    /// Name of the account.
    pub account: String,
    /// The account's key, Base64.
    pub key: String,
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3")
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Azure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Azure")
            .field("endpoint", &self.endpoint)
            .field("account", &self.account)
            .finish_non_exhaustive()
    }
}

/// The installed servers, to start throw-away ones from.
pub fn services() -> Result<Services> {
    let folder = PathBuf::from(raw(SERVICES)?);
    Services::open(&folder, env::var_os(MONGOD).map(PathBuf::from))
}

/// The URI of the replica set.
pub fn mongo_uri() -> Result<String> {
    text(MONGO_URI)
}

/// The URI of the standalone.
pub fn mongo_standalone_uri() -> Result<String> {
    text(MONGO_STANDALONE_URI)
}

/// The S3 store, for an identity that may make buckets.
pub fn s3() -> Result<S3> {
    Ok(S3 {
        endpoint: text(S3_ENDPOINT)?,
        region: text(S3_REGION)?,
        access_key: text(S3_ACCESS_KEY)?,
        secret_key: text(S3_SECRET_KEY)?,
    })
}

/// The S3 store, for an identity that may only use the bucket that is named
/// beside it.
pub fn s3_limited() -> Result<(S3, String)> {
    let access = S3 {
        endpoint: text(S3_ENDPOINT)?,
        region: text(S3_REGION)?,
        access_key: text(S3_LIMITED_ACCESS_KEY)?,
        secret_key: text(S3_LIMITED_SECRET_KEY)?,
    };
    Ok((access, text(S3_LIMITED_BUCKET)?))
}

/// The blob store.
pub fn azure() -> Result<Azure> {
    Ok(Azure {
        endpoint: text(AZURE_ENDPOINT)?,
        account: text(AZURE_ACCOUNT)?,
        key: text(AZURE_KEY)?,
    })
}

fn raw(name: &str) -> Result<OsString> {
    let set = env::var_os(name).filter(|value| !value.is_empty());
    set.with_context(|| {
        format!(
            "{name} is not set: this test needs a server. \
             `eval \"$(cargo xtask services up)\"` starts one, `cargo xtask test` does it by \
             itself, and CONTRIBUTING.md tells how to name another"
        )
    })
}

fn text(name: &str) -> Result<String> {
    let value = raw(name)?.into_string();
    value.map_err(|_| anyhow::anyhow!("{name} is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_variable_is_named_with_the_command_that_sets_it() {
        let said = text("XRONOX_TEST_OF_NOTHING").unwrap_err().to_string();
        assert!(said.contains("XRONOX_TEST_OF_NOTHING is not set"), "{said}");
        assert!(said.contains("cargo xtask services up"), "{said}");
    }

    #[test]
    fn secrets_are_not_shown() {
        let s3 = S3 {
            endpoint: "http://127.0.0.1".to_owned(),
            region: "r".to_owned(),
            access_key: "who".to_owned(),
            secret_key: "hush".to_owned(),
        };
        let azure = Azure {
            endpoint: "http://127.0.0.1".to_owned(),
            account: "who".to_owned(),
            key: "hush".to_owned(),
        };
        assert!(!format!("{s3:?} {azure:?}").contains("hush"));
    }
}

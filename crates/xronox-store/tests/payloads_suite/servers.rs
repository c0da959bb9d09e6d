//! The servers that the environment names.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use xronox_model::Sha256;
use xronox_services::env;
use xronox_store::{PerRole, Provider, Secret, SpaceConnection};

/// A name that no other test has, of this run or another.
#[expect(clippy::disallowed_methods, reason = "names must differ between runs")]
pub(crate) fn unique(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{what}-{:x}-{next}", now.as_micros())
}

/// The buckets that the suite shares; each test has a folder of its own. On a
/// real deployment nobody else has buckets of these names.
fn in_shared_buckets(connection: SpaceConnection) -> SpaceConnection {
    let owner = connection.access_key.as_deref().unwrap_or_default();
    let owner = Sha256::of(owner.as_bytes()).to_string();
    let role = |role: &str| Some(format!("xronox-payloads-{}-{role}", &owner[..12]));
    let folder = Some(unique("case"));
    SpaceConnection {
        buckets: PerRole {
            records: role("records"),
            versions: role("versions"),
            ..PerRole::default()
        },
        folder_prefixes: PerRole {
            records: folder.clone(),
            versions: folder,
            ..PerRole::default()
        },
        ..connection
    }
}

pub(crate) fn s3() -> SpaceConnection {
    let access = env::s3().unwrap();
    let connection = SpaceConnection {
        provider: Some(Provider::S3),
        region: Some(access.region),
        access_key: Some(access.access_key),
        secret_key: Some(Secret::new(access.secret_key)),
        force_path_style: true,
        ..SpaceConnection::new(access.endpoint)
    };
    in_shared_buckets(connection)
}

/// The identity that may only use one bucket.
pub(crate) fn s3_limited() -> SpaceConnection {
    let (access, bucket) = env::s3_limited().unwrap();
    SpaceConnection {
        region: Some(access.region),
        access_key: Some(access.access_key),
        secret_key: Some(Secret::new(access.secret_key)),
        force_path_style: true,
        buckets: PerRole {
            records: Some(bucket),
            ..PerRole::default()
        },
        ..SpaceConnection::new(access.endpoint)
    }
}

pub(crate) fn azure() -> SpaceConnection {
    let access = env::azure().unwrap();
    let connection = SpaceConnection {
        provider: Some(Provider::Azure),
        access_key: Some(access.account),
        secret_key: Some(Secret::new(access.key)),
        ..SpaceConnection::new(access.endpoint)
    };
    in_shared_buckets(connection)
}

/// A real bucket: no server that installs here speaks as Google does.
pub(crate) fn gcs() -> SpaceConnection {
    let bucket =
        std::env::var("XRONOX_TEST_GCS_BUCKET").expect("XRONOX_TEST_GCS_BUCKET is not set");
    let line = format!("gs://{bucket}/{}", unique("case"));
    SpaceConnection::from_url(&line).unwrap()
}

//! Payloads on S3, Azure and Google Cloud Storage.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod payloads_suite;
#[path = "payloads_suite/problems.rs"]
mod problems;
#[path = "payloads_suite/servers.rs"]
mod servers;

use payloads_suite::Ground;
use xronox_store::{Space, SpaceConnection};

async fn made(connection: &SpaceConnection) -> Space {
    let space = Space::connect("main", connection).unwrap();
    space.create_buckets().await.unwrap();
    space
}

mod on_s3 {
    use super::*;

    async fn ground() -> Ground {
        Ground::new(made(&servers::s3()).await, true)
    }

    crate::payload_suite!(ground);
}

mod on_azure {
    use super::*;

    async fn ground() -> Ground {
        Ground::new(made(&servers::azure()).await, true)
    }

    crate::payload_suite!(ground);
}

mod on_gcs {
    use super::*;

    async fn ground() -> Ground {
        let space = Space::connect("main", &servers::gcs()).unwrap();
        space.check().await.unwrap();
        Ground::new(space, true)
    }

    crate::payload_suite!(
        ground,
        ignore = "needs XRONOX_TEST_GCS_BUCKET and credentials"
    );
}

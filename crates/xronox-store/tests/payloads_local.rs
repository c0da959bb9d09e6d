//! The payloads of one machine pass the suite of all stores.

#![allow(clippy::unwrap_used)]

mod payloads_suite;

use payloads_suite::Ground;
use xronox_store::{Space, SpaceConnection};

mod in_memory {
    use super::*;

    async fn ground() -> Ground {
        let connection = SpaceConnection::from_url("memory:").unwrap();
        Ground::new(Space::connect("main", &connection).unwrap(), false)
    }

    crate::payload_suite!(ground);
}

mod in_files {
    use super::*;

    async fn ground() -> Ground {
        let base = tempfile::tempdir().unwrap();
        let url = format!("file:{}", base.path().display());
        let connection = SpaceConnection::from_url(&url).unwrap();
        let ground = Ground::new(Space::connect("main", &connection).unwrap(), false);
        Ground {
            _directory: Some(base),
            ..ground
        }
    }

    crate::payload_suite!(ground);
}

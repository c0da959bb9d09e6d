//! The reference catalog passes its own suite.
#![cfg(feature = "conformance")]

use std::sync::Arc;

use async_trait::async_trait;
use xronox_store::{
    Catalog, MemoryCatalog,
    conformance::{ManualClock, catalog::Subject},
};

struct Memory {
    catalog: Arc<MemoryCatalog>,
    clock: ManualClock,
}

impl Memory {
    fn new() -> Self {
        let clock = ManualClock::default();
        let catalog = Arc::new(MemoryCatalog::new("memory", Arc::new(clock.clone())));
        Self { catalog, clock }
    }
}

#[async_trait]
impl Subject for Memory {
    async fn open(&self) -> Arc<dyn Catalog> {
        Arc::clone(&self.catalog) as Arc<dyn Catalog>
    }

    fn clock(&self) -> Option<ManualClock> {
        Some(self.clock.clone())
    }
}

xronox_store::catalog_suite!(Memory::new());

/// A backend whose clock runs by itself.
mod by_a_running_clock {
    use super::*;
    use xronox_store::SystemClock;

    struct Running(Arc<MemoryCatalog>);

    #[async_trait]
    impl Subject for Running {
        async fn open(&self) -> Arc<dyn Catalog> {
            Arc::clone(&self.0) as Arc<dyn Catalog>
        }
    }

    xronox_store::catalog_suite!(Running(Arc::new(MemoryCatalog::new(
        "memory",
        Arc::new(SystemClock)
    ))));
}

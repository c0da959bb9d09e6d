//! The reference for plain collections passes the suite.

use std::sync::Arc;

use async_trait::async_trait;
use xronox_store::{
    Documents, MemoryDocuments,
    conformance::{ManualClock, documents::Subject},
};

#[derive(Default)]
struct Memory(ManualClock);

#[async_trait]
impl Subject for Memory {
    async fn open(&self) -> Arc<dyn Documents> {
        Arc::new(MemoryDocuments::new(Arc::new(self.0.clone())))
    }

    fn clock(&self) -> ManualClock {
        self.0.clone()
    }
}

xronox_store::documents_suite!(Memory::default());

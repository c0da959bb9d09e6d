//! The suite that every backend runs from its own tests.
//!
//! A backend implements [`Subject`](catalog::Subject) and mounts the cases
//! with [`catalog_suite!`](crate::catalog_suite), one test a case. What a
//! backend cannot do is read from its [capabilities](crate::Capabilities): the
//! cases then expect it to say so.
//!
//! This is test code: the cases panic where a backend fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

pub mod catalog;
mod clock;
pub mod documents;

use std::future::Future;

pub use clock::ManualClock;

/// Runs a case on a runtime with worker threads of its own.
pub fn block_on<F: Future>(case: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(case)
}

//! Queries, on every backend: what they find, in which order, page by page,
//! now and back then, and what they refuse.

#![allow(clippy::unwrap_used, reason = "what goes wrong in a test fails it")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "the numbers here are small"
)]

#[path = "../support/mod.rs"]
mod support;

mod cases;
mod indexing;
mod limits;
mod naive;
mod paging;
mod past;
mod random;
mod sorting;

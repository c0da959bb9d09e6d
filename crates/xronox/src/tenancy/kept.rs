//! What a process keeps of the tenants it served.

use serde::Serialize;

/// What a process keeps of the contexts it was asked for, and of how much use
/// that was since the store was opened: from
/// [`Tenants::kept`](super::Tenants::kept).
///
/// As JSON `{ contexts, open, hits, misses }`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Kept {
    /// Contexts of which it is kept what they mean: `maxCacheSize` at most.
    pub contexts: u64,
    /// Databases that are kept open, those that somebody has a handle of left
    /// out if they were not used for long.
    pub open: u64,
    /// How often a context was among those that are kept.
    pub hits: u64,
    /// How often it was not, and the directory was asked where it knows more
    /// than the configuration.
    pub misses: u64,
}

impl Kept {
    /// The part of requests whose context was kept, from 0 to 1; `None` before
    /// the first.
    pub fn hit_ratio(&self) -> Option<f64> {
        let all = self.hits + self.misses;
        #[expect(clippy::cast_precision_loss, reason = "a ratio is rounded")]
        (all > 0).then(|| self.hits as f64 / all as f64)
    }
}

//! What backends differ in, as data.

/// What a catalog can and cannot do. The engine and the conformance suite
/// read it; no test is skipped because of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Groups and several collections commit atomically. Without it they are
    /// [`Unsupported`](crate::StoreError::Unsupported).
    pub transactions: bool,
    /// Data outlives the process.
    pub durable: bool,
    /// Other processes may use the database at the same time.
    pub shared: bool,
    /// The largest inline body, in bytes.
    pub max_inline: u64,
    /// How many fields of one collection can be indexed, beside those that
    /// always are; unique keys do not count.
    pub max_indexed: usize,
}

//! One run of the benchmarks: where it writes, and how much.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::Serialize;
use xronox::{Collection, CollectionMap, Config, Xronox};

/// One run.
#[derive(Debug)]
pub(crate) struct Bench {
    /// Everything is written below this folder, on one disk.
    pub(crate) folder: PathBuf,
    pub(crate) sizes: Sizes,
    /// The `xronox` binary.
    pub(crate) cli: PathBuf,
    pub(crate) only: Only,
}

/// The groups of rows to measure, `servers`, and parts of groups,
/// `servers.updates`; all of them if none is named.
#[derive(Debug)]
pub(crate) struct Only(pub(crate) Vec<String>);

/// How much is measured.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Sizes {
    /// Rounds of each row; ours and the baseline take turns.
    pub(crate) rounds: usize,
    /// Records that each of the 64 writers writes in a round.
    pub(crate) writes: usize,
    /// Records that the lone writer writes in a round.
    pub(crate) lone_writes: usize,
    /// Records of one `create_many`.
    pub(crate) bulk_records: usize,
    /// Records to read from, and reads in a round.
    pub(crate) lookup_records: usize,
    pub(crate) lookups: usize,
    /// Versions of the record with a long history.
    pub(crate) long_history: usize,
    /// Records with a hundred versions each, for queries.
    pub(crate) query_records: usize,
    pub(crate) queries: usize,
    /// Records with ten versions each, for the size on disk.
    pub(crate) footprint_records: usize,
    /// Records that the command line tool imports.
    pub(crate) import_records: usize,
}

impl Sizes {
    pub(crate) fn full() -> Self {
        Self {
            rounds: 7,
            writes: 300,
            lone_writes: 1000,
            bulk_records: 100_000,
            lookup_records: 100_000,
            lookups: 50_000,
            long_history: 100_000,
            query_records: 10_000,
            queries: 300,
            footprint_records: 10_000,
            import_records: 1_000_000,
        }
    }

    pub(crate) fn quick() -> Self {
        Self {
            rounds: 5,
            writes: 100,
            lone_writes: 300,
            lookups: 20_000,
            query_records: 1000,
            queries: 200,
            import_records: 200_000,
            ..Self::full()
        }
    }
}

impl Bench {
    /// A path for a store or a file of its own.
    pub(crate) fn place(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

impl Only {
    /// Whether a group or a part of one is to be measured, all of it or some.
    pub(crate) fn wants(&self, group: &str) -> bool {
        let within = |one: &str, other: &str| {
            one.strip_prefix(other)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let mut named = self.0.iter();
        self.0.is_empty() || named.any(|named| within(named, group) || within(group, named))
    }
}

/// Opens a store at the embedded defaults, its one collection with these
/// properties indexed.
pub(crate) async fn open(folder: &Path, indexed: &[&str]) -> anyhow::Result<(Xronox, Collection)> {
    open_with(folder, indexed, false).await
}

/// Closes a store and opens it anew, so that reads are of the file itself and
/// not of however much of the log the last writes left.
pub(crate) async fn reopen(
    folder: &Path,
    xronox: &Xronox,
    indexed: &[&str],
) -> anyhow::Result<(Xronox, Collection)> {
    xronox.close().await?;
    open(folder, indexed).await
}

/// As [`open`], with or without compression.
pub(crate) async fn open_with(
    folder: &Path,
    indexed: &[&str],
    compressed: bool,
) -> anyhow::Result<(Xronox, Collection)> {
    let mut config = Config::dev(folder);
    let mut map = CollectionMap::default();
    for property in indexed {
        map.indexed_props.push(property.parse()?);
    }
    config
        .settings
        .collection_maps
        .insert("orders".to_owned(), map);
    config.settings.write_optimization.compression_enabled = compressed;
    let xronox = Xronox::open(config).await?;
    let orders = xronox.collection("orders")?;
    Ok((xronox, orders))
}

/// The bytes of all files below a folder.
pub(crate) fn bytes_below(folder: &Path) -> anyhow::Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        sum += if entry.file_type()?.is_dir() {
            bytes_below(&entry.path())?
        } else {
            entry.metadata()?.len()
        };
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::Only;

    #[test]
    fn a_part_of_a_group_can_be_wanted_alone() {
        let only = Only(vec!["servers.reads".to_owned(), "query".to_owned()]);
        for (group, wanted) in [
            ("servers", true),
            ("servers.reads", true),
            ("servers.updates", false),
            ("query", true),
            ("bulk", false),
        ] {
            assert_eq!(only.wants(group), wanted, "{group}");
        }
        let whole = Only(vec!["servers".to_owned()]);
        assert!(whole.wants("servers.updates") && !whole.wants("serve"));
        assert!(Only(Vec::new()).wants("bulk"));
    }
}

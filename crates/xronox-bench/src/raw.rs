//! The raw baselines: SQLite used plainly, just as durable.

use std::path::Path;

use rusqlite::Connection;

/// A table by key.
pub(crate) const KEYED: &str = "CREATE TABLE record (id TEXT PRIMARY KEY, body TEXT NOT NULL);";
pub(crate) const KEYED_INSERT: &str = "INSERT INTO record (id, body) VALUES (?, ?)";
pub(crate) const KEYED_SELECT: &str = "SELECT body FROM record WHERE id = ?";

/// A table with one secondary index.
pub(crate) const INDEXED: &str = "
    CREATE TABLE record (id TEXT NOT NULL, region TEXT NOT NULL, body TEXT NOT NULL);
    CREATE INDEX record_region ON record (region);";
pub(crate) const INDEXED_INSERT: &str = "INSERT INTO record (id, region, body) VALUES (?, ?, ?)";

/// Opens a new file whose commits are synced, all else at SQLite's defaults.
pub(crate) fn open(path: &Path, tables: &str) -> anyhow::Result<Connection> {
    let db = Connection::open(path)?;
    db.execute_batch("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;")?;
    db.execute_batch(tables)?;
    Ok(db)
}

/// Empties the log, so that reads are of the file itself.
pub(crate) fn checkpoint(db: &Connection) -> anyhow::Result<()> {
    Ok(db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?)
}

/// An id as long as ours, and like ours in the order of time.
pub(crate) fn id(number: usize) -> String {
    format!("{number:024x}")
}

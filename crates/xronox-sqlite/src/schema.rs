//! The stored format: which tables a file has, and which version they are.
//!
//! A file holds one database. Beside the tables below, each versioned
//! collection has four of its own (see [`Tables`]).

use std::path::Path;

use rand::RngCore;
use rusqlite::{Connection, OptionalExtension};
use xronox_model::{CollectionName, encode_name};
use xronox_store::{Marker, StoreError};

use crate::error::storage;

/// The format this build writes. Older files are migrated when they are
/// opened, newer ones refused.
pub(crate) const FORMAT: u32 = 2;

/// SQLite's application id of our files: "XRNX".
const APPLICATION_ID: i64 = 0x5852_4e58;

/// What every writing connection sets. A commit is synced before it is
/// acknowledged (`synchronous=FULL`). Syncing a log that grows costs twice as
/// much as syncing one that is written over, so it starts over after 8 MiB.
pub(crate) const WRITER: &str = "
    PRAGMA synchronous=FULL;
    PRAGMA cache_size=-32768;
    PRAGMA wal_autocheckpoint=2048;
    PRAGMA journal_size_limit=67108864;
    PRAGMA foreign_keys=OFF;
    PRAGMA temp_store=MEMORY;";

/// What every reading connection sets.
pub(crate) const READER: &str = "
    PRAGMA query_only=ON;
    PRAGMA temp_store=MEMORY;";

/// A commit that changes nothing anyone reads.
pub(crate) const SETTLE: &str = "UPDATE xronox_marker SET settled = settled + 1;";

/// What makes a file sealed: a table of this name. Whoever begins a transaction
/// sees that the schema has changed.
pub(crate) const SEAL: &str = "CREATE TABLE IF NOT EXISTS xronox_sealed (sealed INTEGER) STRICT;";
pub(crate) const UNSEAL: &str = "DROP TABLE IF EXISTS xronox_sealed;";

/// Whether a file is sealed.
pub(crate) fn is_sealed(db: &Connection) -> Result<bool, StoreError> {
    db.prepare_cached("SELECT 1 FROM sqlite_schema WHERE name = 'xronox_sealed'")
        .and_then(|mut s| s.exists([]))
        .map_err(storage)
}

const TABLES: &str = "
CREATE TABLE xronox_marker (
    database TEXT NOT NULL,
    id TEXT NOT NULL,
    settled INTEGER NOT NULL DEFAULT 0
) STRICT;
-- One row a collection; `prefix` begins the names of its tables.
CREATE TABLE xronox_collection (
    name TEXT NOT NULL PRIMARY KEY,
    prefix TEXT NOT NULL UNIQUE,
    epoch INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- `id` names the field in keys; the three that every collection has are 0 to 2.
CREATE TABLE xronox_index (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    collection TEXT NOT NULL,
    name TEXT NOT NULL,
    spec TEXT NOT NULL,
    ready INTEGER NOT NULL,
    multi INTEGER NOT NULL,
    UNIQUE (collection, name)
) STRICT;
INSERT INTO sqlite_sequence (name, seq) VALUES ('xronox_index', 15);
CREATE TABLE xronox_idempotency (
    collection TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    item ANY NOT NULL,
    ov INTEGER NOT NULL,
    cv INTEGER NOT NULL,
    at INTEGER NOT NULL,
    op INTEGER NOT NULL,
    unchanged INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    PRIMARY KEY (collection, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX xronox_idempotency_expires ON xronox_idempotency (expires);
";

/// Makes the tables of a new file, or checks and migrates those of an old one.
pub(crate) fn prepare(
    db: &Connection,
    path: &Path,
    database: &str,
    page_size: u32,
) -> Result<(), StoreError> {
    let number = |pragma: &str| -> Result<i64, StoreError> {
        db.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get(0))
            .map_err(storage)
    };
    if number("application_id")? == 0 && number("page_count")? == 0 {
        db.execute_batch(&format!("PRAGMA page_size={page_size};"))
            .map_err(storage)?;
    }
    let mode: String = db
        .query_row("PRAGMA journal_mode=WAL", [], |row| row.get(0))
        .map_err(storage)?;
    if mode != "wal" {
        return Err(StoreError::Unsupported(format!(
            "{}: the file system does not allow a write-ahead log",
            path.display()
        )));
    }
    // Two processes may open a new file at once.
    db.execute_batch("BEGIN IMMEDIATE").map_err(storage)?;
    let done = prepare_inside(db, path, database);
    let end = if done.is_ok() { "COMMIT" } else { "ROLLBACK" };
    db.execute_batch(end).map_err(storage)?;
    done
}

fn prepare_inside(db: &Connection, path: &Path, database: &str) -> Result<(), StoreError> {
    let number = |pragma: &str| -> Result<i64, StoreError> {
        db.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get(0))
            .map_err(storage)
    };
    let tables: i64 = db
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(storage)?;
    let application = number("application_id")?;
    if application == 0 && tables == 0 {
        let mut id = [0; 12];
        rand::rng().fill_bytes(&mut id);
        db.execute_batch(TABLES).map_err(storage)?;
        db.execute_batch(crate::documents::TABLES)
            .map_err(storage)?;
        db.execute(
            "INSERT INTO xronox_marker (database, id) VALUES (?, ?)",
            (database, hex(&id)),
        )
        .map_err(storage)?;
        return db
            .execute_batch(&format!(
                "PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={FORMAT};"
            ))
            .map_err(storage);
    }
    if application != APPLICATION_ID {
        return Err(StoreError::Corrupt(format!(
            "{} is not a database of Xronox",
            path.display()
        )));
    }
    let format = number("user_version")?;
    if format > i64::from(FORMAT) {
        return Err(StoreError::Unsupported(format!(
            "{} has format {format}, written by a newer version; this one reads up to {FORMAT}",
            path.display()
        )));
    }
    migrate(db, format, path)
}

/// Brings an older file to [`FORMAT`], one step a version, all in the
/// caller's transaction.
fn migrate(db: &Connection, format: i64, path: &Path) -> Result<(), StoreError> {
    match format {
        1 => {
            for prefix in prefixes(db)? {
                db.execute_batch(&create_files(&prefix)).map_err(storage)?;
            }
            db.execute_batch(&format!("PRAGMA user_version={FORMAT};"))
                .map_err(storage)
        }
        2 => Ok(()),
        _ => Err(StoreError::Corrupt(format!(
            "{} has the unknown format {format}",
            path.display()
        ))),
    }
}

/// What begins the names of each collection's tables.
pub(crate) fn prefixes(db: &Connection) -> Result<Vec<String>, StoreError> {
    let mut statement = db
        .prepare_cached("SELECT prefix FROM xronox_collection")
        .map_err(storage)?;
    let prefixes = statement.query_map([], |row| row.get(0)).map_err(storage)?;
    prefixes.collect::<Result<_, _>>().map_err(storage)
}

/// Reads whose database this is.
pub(crate) fn marker(db: &Connection) -> Result<Marker, StoreError> {
    let found = db
        .query_row("SELECT database, id FROM xronox_marker", [], |row| {
            Ok(Marker {
                database: row.get(0)?,
                id: row.get(1)?,
                format: FORMAT,
            })
        })
        .optional()
        .map_err(storage)?;
    found.ok_or_else(|| StoreError::Corrupt("the database has lost its marker".to_owned()))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut out, byte| {
        // Writing to a `String` cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// The statements of one collection.
///
/// - `_ver`: the version rows, by `cv`, each with its inline body if that is
///   [small](SMALL_BODY): one page less to write and to read. Its index of
///   items has the rows of a record in the order of `cv`, so both ends of its
///   history and any cut are one seek; version 0, its first row, needs no
///   entry in the index of `ov`, and so a new record does not write to it.
/// - `_body`: the stored bytes of the other inline bodies, by the `cv` of their
///   row. A row is written again when its validity ends, which must not write
///   a large body again.
/// - `_key`: the ordered keys. One row says that `item` had `key` from
///   `from_cv` on until `to_cv`, across all versions in between that kept it;
///   `past` parts the intervals that are over from those that go on, so that
///   neither kind is in the way of the other.
/// - `_unique`: the unique keys of live records.
/// - `_file`: the objects of the files that rows name, so that rows are found
///   by them.
#[derive(Debug)]
pub(crate) struct Tables {
    pub(crate) prefix: String,
    pub(crate) insert_row: String,
    pub(crate) insert_body: String,
    pub(crate) newest: String,
    pub(crate) head: String,
    pub(crate) head_with_body: String,
    pub(crate) as_of: String,
    pub(crate) first: String,
    pub(crate) by_ov: String,
    pub(crate) by_cv: String,
    pub(crate) close_row: String,
    pub(crate) open_key: String,
    pub(crate) key_from: String,
    pub(crate) close_key: String,
    pub(crate) past_key: String,
    pub(crate) body: String,
    pub(crate) unique_holder: String,
    pub(crate) unique_free: String,
    pub(crate) unique_take: String,
}

/// The columns of a version row, in the order that `row.rs` reads them.
pub(crate) const COLUMNS: &str = "cv, item, ov, op, at, to_cv, inserted_at, deleted_at, actor, \
    behalf, reason, creator, system, attempt, sha256, size, encoding, space, role, object, \
    restored_from, prev_hash, pruned, keys";

/// Inline bodies of up to this many bytes, as stored, stand in their rows.
pub(crate) const SMALL_BODY: usize = 1536;

/// How many they are.
pub(crate) const COLUMN_COUNT: usize = 24;

impl Tables {
    pub(crate) fn prefix_of(collection: &CollectionName) -> String {
        // In front of every name, since SQLite keeps those that begin with
        // `sqlite_` for itself.
        format!("c_{}", encode_name(collection.as_str()))
    }

    pub(crate) fn new(collection: &CollectionName) -> Self {
        let p = Self::prefix_of(collection);
        let marks = vec!["?"; COLUMN_COUNT].join(",");
        // Looked for only where it is not in its row.
        let whole_body =
            format!("coalesce(body, (SELECT bytes FROM \"{p}_body\" b WHERE b.cv = v.cv))");
        Self {
            insert_row: format!("INSERT INTO \"{p}_ver\" ({COLUMNS}, body) VALUES ({marks}, ?)"),
            insert_body: format!("INSERT INTO \"{p}_body\" (cv, bytes) VALUES (?, ?)"),
            newest: format!("SELECT cv, at FROM \"{p}_ver\" ORDER BY cv DESC LIMIT 1"),
            head: format!(
                "SELECT {COLUMNS} FROM \"{p}_ver\" WHERE item = ? ORDER BY cv DESC LIMIT 1"
            ),
            head_with_body: format!(
                "SELECT {COLUMNS}, {whole_body} FROM \"{p}_ver\" v \
                 WHERE item = ? ORDER BY cv DESC LIMIT 1"
            ),
            as_of: format!(
                "SELECT {COLUMNS} FROM \"{p}_ver\" WHERE item = ? AND cv <= ? \
                 ORDER BY cv DESC LIMIT 1"
            ),
            first: format!("SELECT {COLUMNS} FROM \"{p}_ver\" WHERE item = ? ORDER BY cv LIMIT 1"),
            by_ov: format!(
                "SELECT {COLUMNS} FROM \"{p}_ver\" WHERE item = ? AND ov = ? AND ov > 0"
            ),
            by_cv: format!("SELECT {COLUMNS} FROM \"{p}_ver\" WHERE cv = ?"),
            close_row: format!("UPDATE \"{p}_ver\" SET to_cv = ? WHERE cv = ?"),
            open_key: format!(
                "INSERT INTO \"{p}_key\" (field, past, key, item, from_cv) VALUES (?, 0, ?, ?, ?)"
            ),
            key_from: format!(
                "SELECT from_cv FROM \"{p}_key\" WHERE field = ? AND past = 0 AND key = ? AND item = ?"
            ),
            close_key: format!(
                "DELETE FROM \"{p}_key\" WHERE field = ? AND past = 0 AND key = ? AND item = ? \
                 AND from_cv = ?"
            ),
            past_key: format!(
                "INSERT OR IGNORE INTO \"{p}_key\" (field, past, key, item, from_cv, to_cv) \
                 VALUES (?, 1, ?, ?, ?, ?)"
            ),
            body: format!("SELECT {whole_body} FROM \"{p}_ver\" v WHERE cv = ?"),
            unique_holder: format!("SELECT item FROM \"{p}_unique\" WHERE idx = ? AND key = ?"),
            unique_free: format!("DELETE FROM \"{p}_unique\" WHERE item = ?"),
            unique_take: format!("INSERT INTO \"{p}_unique\" (idx, key, item) VALUES (?, ?, ?)"),
            prefix: p,
        }
    }

    /// The statements that make the tables.
    pub(crate) fn create(&self) -> String {
        let p = &self.prefix;
        format!(
            "CREATE TABLE \"{p}_ver\" (
                cv INTEGER PRIMARY KEY, item ANY NOT NULL, ov INTEGER NOT NULL,
                op INTEGER NOT NULL, at INTEGER NOT NULL, to_cv INTEGER,
                inserted_at INTEGER NOT NULL, deleted_at INTEGER,
                actor TEXT, behalf TEXT, reason TEXT, creator TEXT, system TEXT,
                attempt BLOB NOT NULL, sha256 BLOB, size INTEGER, encoding INTEGER,
                space TEXT, role INTEGER, object TEXT, restored_from INTEGER,
                prev_hash BLOB, pruned BLOB, keys BLOB NOT NULL, body BLOB
            ) STRICT;
            CREATE INDEX \"{p}_ver_item\" ON \"{p}_ver\" (item);
            CREATE UNIQUE INDEX \"{p}_ver_ov\" ON \"{p}_ver\" (item, ov) WHERE ov > 0;
            CREATE INDEX \"{p}_ver_object\" ON \"{p}_ver\" (object) WHERE object IS NOT NULL;
            CREATE INDEX \"{p}_ver_pruned\" ON \"{p}_ver\" (cv, to_cv) WHERE pruned IS NOT NULL;
            CREATE TABLE \"{p}_body\" (cv INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT;
            CREATE TABLE \"{p}_key\" (
                field INTEGER NOT NULL, past INTEGER NOT NULL, key TEXT NOT NULL,
                item ANY NOT NULL, from_cv INTEGER NOT NULL, to_cv INTEGER,
                PRIMARY KEY (field, past, key, item, from_cv)
            ) STRICT, WITHOUT ROWID;
            CREATE TABLE \"{p}_unique\" (
                idx INTEGER NOT NULL, key TEXT NOT NULL, item ANY NOT NULL,
                PRIMARY KEY (idx, key)
            ) STRICT, WITHOUT ROWID;
            CREATE INDEX \"{p}_unique_item\" ON \"{p}_unique\" (item);
            {}",
            create_files(p)
        )
    }

    /// The statements that remove them.
    pub(crate) fn drop(&self) -> String {
        let p = &self.prefix;
        format!(
            "DROP TABLE \"{p}_ver\"; DROP TABLE \"{p}_body\"; DROP TABLE \"{p}_key\"; \
             DROP TABLE \"{p}_unique\"; DROP TABLE \"{p}_file\";"
        )
    }
}

/// The statements that make a collection's table of files.
fn create_files(prefix: &str) -> String {
    format!(
        "CREATE TABLE \"{prefix}_file\" (
            cv INTEGER NOT NULL, space TEXT NOT NULL, role INTEGER NOT NULL, object TEXT NOT NULL,
            PRIMARY KEY (cv, object)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX \"{prefix}_file_object\" ON \"{prefix}_file\" (object);"
    )
}

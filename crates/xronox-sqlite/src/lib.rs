//! The embedded catalog of Xronox: one database in one SQLite file.
//!
//! A file is opened with [`SqliteCatalog::open`] and may be shared by several
//! processes of one machine. It uses a write-ahead log that is synced at every
//! commit; all commits that wait are folded into one. Reads see one committed
//! state each and never wait for the writer.
//!
//! # What is in the file
//!
//! `PRAGMA application_id` is `0x58524e58` ("XRNX") and `user_version` the
//! format, now 1. `xronox_marker` says whose database it is,
//! `xronox_collection` and `xronox_index` what collections and indexes there
//! are, `xronox_idempotency` which requests were answered; `xronox_sealed` is
//! there as long as the file is sealed. A collection `C` has the tables
//! `c_C_ver` (version rows with small bodies), `c_C_body` (larger inline ones), `c_C_key` (ordered keys as intervals of commits) and
//! `c_C_unique`; names are encoded as
//! [`encode_name`](xronox_model::encode_name) says. The tables of plain
//! documents, `xronox_doc…`, are described where they are made. The head of a
//! record is its row with the highest `cv`, so it cannot disagree with
//! the newest version.

mod append;
mod catalog;
mod check;
mod collection;
mod commit;
mod documents;
mod error;
mod file;
mod fill;
mod find;
mod keys;
mod network;
mod read;
mod row;
mod schema;
mod writer;

pub use catalog::SqliteCatalog;

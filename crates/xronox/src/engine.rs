//! The engine: everything between a handle and its storage.

pub(crate) mod attribution;
pub(crate) mod blame;
pub(crate) mod committer;
pub(crate) mod copy;
pub(crate) mod delete_many;
pub(crate) mod draft;
pub(crate) mod enrich;
pub(crate) mod gc;
pub(crate) mod history;
pub(crate) mod import;
pub(crate) mod indexes;
pub(crate) mod prepare;
pub(crate) mod progress;
pub(crate) mod query;
pub(crate) mod read;
pub(crate) mod record;
pub(crate) mod relocate;
pub(crate) mod restore;
pub(crate) mod room;
pub(crate) mod scope;
pub(crate) mod size;
pub(crate) mod turns;
pub(crate) mod verify;
pub(crate) mod write;
pub(crate) mod written;

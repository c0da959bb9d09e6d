//! A walk over the files of a bucket.

use std::{
    fs::{self, ReadDir},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use object_store::{ObjectMeta, path::Path as Key};

use super::bucket::{Bucket, is_absent};

/// Objects that a list reads ahead on the blocking pool.
const LISTED_AT_ONCE: usize = 1000;

/// A walk over the files of a bucket.
pub(super) struct Walk {
    bucket: Arc<Bucket>,
    start: Option<PathBuf>,
    /// The directories between the start and where the walk is; `None` before
    /// it has begun.
    open: Option<Vec<(PathBuf, ReadDir)>>,
}

impl Walk {
    /// A walk below `start`, or over the whole bucket.
    pub(super) fn new(bucket: Arc<Bucket>, start: Option<PathBuf>) -> Self {
        Self {
            bucket,
            start,
            open: None,
        }
    }

    /// The next objects; none at the end.
    pub(super) fn chunk(&mut self) -> io::Result<Vec<ObjectMeta>> {
        let mut found = Vec::new();
        let mut open = if let Some(open) = self.open.take() {
            open
        } else {
            self.bucket.check()?;
            let start = self
                .start
                .take()
                .unwrap_or_else(|| self.bucket.root().to_owned());
            Vec::from_iter(enter(start)?)
        };
        while found.len() < LISTED_AT_ONCE
            && let Some((directory, entries)) = open.last_mut()
        {
            let Some(entry) = entries.next() else {
                open.pop();
                continue;
            };
            let entry = entry?;
            let path = directory.join(entry.file_name());
            let kind = entry.file_type()?;
            if kind.is_dir() {
                open.extend(enter(path)?);
            } else if kind.is_file()
                && let Some(location) = self.key(&path)
                && let Some(metadata) = present(entry.metadata())?
            {
                found.push(ObjectMeta {
                    location,
                    last_modified: metadata.modified()?.into(),
                    size: metadata.len(),
                    e_tag: None,
                    version: None,
                });
            }
        }
        self.open = Some(open);
        Ok(found)
    }

    /// The key of a file; `None` if none of ours could be named so.
    fn key(&self, file: &Path) -> Option<Key> {
        let mut key = String::new();
        for part in file.strip_prefix(self.bucket.root()).ok()? {
            if !key.is_empty() {
                key.push('/');
            }
            key.push_str(part.to_str()?);
        }
        Key::parse(key).ok()
    }
}

fn enter(directory: PathBuf) -> io::Result<Option<(PathBuf, ReadDir)>> {
    let entries = present(fs::read_dir(&directory))?;
    Ok(entries.map(|entries| (directory, entries)))
}

/// Passes over what was removed meanwhile.
fn present<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

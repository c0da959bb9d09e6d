//! The directory of a bucket.

use std::{
    collections::HashMap,
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    time::SystemTime,
};

use object_store::path::Path as Key;
use parking_lot::Mutex;

/// Directories remembered as durable before all are forgotten.
const REMEMBERED: usize = 10_000;

/// The directory of a bucket. Its methods block.
#[derive(Debug)]
pub(super) struct Bucket {
    root: PathBuf,
    /// Directories whose entry in their parent is known to be durable.
    durable: Mutex<HashMap<PathBuf, DirectoryId>>,
}

/// Tells a directory from a later one of the same path.
#[derive(Debug, PartialEq, Eq)]
struct DirectoryId {
    inode: u64,
    created: SystemTime,
}

impl DirectoryId {
    /// `None` where the file system does not say.
    fn of(directory: &Path) -> Option<Self> {
        let metadata = fs::symlink_metadata(directory).ok()?;
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
        #[cfg(not(unix))]
        let inode = 0;
        let created = metadata.created().ok()?;
        Some(Self { inode, created })
    }
}

impl Bucket {
    /// The bucket in this directory.
    pub(super) fn new(root: PathBuf) -> Self {
        Self {
            root,
            durable: Mutex::default(),
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn file(&self, key: &Key) -> PathBuf {
        let mut path = self.root.clone();
        // No part of a key is empty, `.` or `..`, or holds a slash.
        path.extend(key.parts().map(|part| PathBuf::from(part.as_ref())));
        path
    }

    pub(super) fn check(&self) -> io::Result<()> {
        if fs::metadata(&self.root)?.is_dir() {
            return Ok(());
        }
        Err(ErrorKind::NotADirectory.into())
    }

    /// Makes the directories above a file, below the bucket's own.
    pub(super) fn make_way(&self, file: &Path) -> io::Result<()> {
        file.parent().map_or(Ok(()), |parent| self.make(parent))
    }

    fn make(&self, directory: &Path) -> io::Result<()> {
        if directory == self.root {
            return self.check();
        }
        match fs::create_dir(directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if let Some(parent) = directory.parent() {
                    self.make(parent)?;
                }
                exists_too(fs::create_dir(directory))
            }
            made => exists_too(made),
        }
    }

    /// Makes every directory above a file durable in its own parent. Called
    /// when the file is there: until it goes, none of them can be removed.
    pub(super) fn secure_way(&self, file: &Path) -> io::Result<()> {
        let mut innermost = true;
        let below_root = |directory: &&Path| *directory != self.root;
        for directory in file.ancestors().skip(1).take_while(below_root) {
            let id = DirectoryId::of(directory);
            let known = id.is_some() && self.durable.lock().get(directory) == id.as_ref();
            if !known {
                if let Some(parent) = directory.parent() {
                    sync(parent)?;
                }
                // Hardly any object shares its innermost directory.
                if let (false, Some(id)) = (innermost, id) {
                    let mut durable = self.durable.lock();
                    if durable.len() >= REMEMBERED {
                        durable.clear();
                    }
                    durable.insert(directory.to_owned(), id);
                }
            }
            innermost = false;
        }
        Ok(())
    }

    /// Removes a file durably, and the directories above it that are empty
    /// then. `false` if there is no such file. Of a directory that interrupted
    /// deletes have left, whatever is empty goes.
    pub(super) fn remove(&self, file: &Path) -> io::Result<bool> {
        let existed = match fs::remove_file(file) {
            Ok(()) => true,
            Err(error) if is_absent(&error) => false,
            Err(_) if fs::symlink_metadata(file)?.is_dir() => {
                remove_empty(file)?;
                false
            }
            Err(error) => return Err(error),
        };
        self.check()?;
        // Even if the file was not there: an earlier delete may have got no further.
        let mut above = file
            .ancestors()
            .skip(1)
            .take_while(|above| *above != self.root);
        let kept = above.find(|directory| match fs::remove_dir(directory) {
            Ok(()) => false,
            Err(error) => !is_absent(&error),
        });
        // That one may be going this moment, by another delete.
        for directory in kept.into_iter().chain(above) {
            match sync(directory) {
                Err(error) if is_absent(&error) => {}
                synced => return synced.map(|()| existed),
            }
        }
        sync(&self.root).map(|()| existed)
    }
}

/// Removes a directory and those inside it, as far as they are empty.
fn remove_empty(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_empty(&entry.path())?;
        }
    }
    match fs::remove_dir(directory) {
        Err(error) if error.kind() != ErrorKind::DirectoryNotEmpty && !is_absent(&error) => {
            Err(error)
        }
        _ => Ok(()),
    }
}

pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn exists_too(made: io::Result<()>) -> io::Result<()> {
    match made {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// Makes a directory and those above it, each durable in its parent.
pub(super) fn make_durably(directory: &Path) -> io::Result<()> {
    let directory = std::path::absolute(directory)?;
    let mut missing = Vec::new();
    for above in directory.ancestors() {
        if above.is_dir() {
            break;
        }
        missing.push(above);
    }
    fs::create_dir_all(&directory)?;
    for made in missing {
        made.parent().map_or(Ok(()), sync)?;
    }
    // The last one may have been made by someone who did not get as far as this.
    directory.parent().map_or(Ok(()), sync)
}

/// Makes the entries of a directory durable.
fn sync(directory: &Path) -> io::Result<()> {
    // Elsewhere a directory cannot be opened as a file.
    if cfg!(unix) {
        fs::File::open(directory)?.sync_all()?;
    }
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_interrupted_deletes_left_can_be_removed() {
        let base = tempfile::tempdir().unwrap();
        let bucket = Bucket::new(base.path().to_owned());
        let shop = base.path().join("shop");
        fs::create_dir_all(shop.join("orders/o-1/v0")).unwrap();
        fs::create_dir_all(shop.join("orders/o-2/v0")).unwrap();
        let kept = shop.join("orders/o-2/v0/item.json");
        fs::write(&kept, "body").unwrap();
        assert!(!bucket.remove(&shop).unwrap());
        assert!(kept.exists() && !shop.join("orders/o-1").exists());
        assert!(bucket.remove(&kept).unwrap());
        assert!(!shop.exists());
        fs::create_dir_all(shop.join("orders/o-1/v0")).unwrap();
        assert!(!bucket.remove(&shop).unwrap());
        assert!(!shop.exists() && base.path().exists());
    }

    #[test]
    fn a_directory_is_made_durable_once_and_again_when_it_is_another() {
        let base = tempfile::tempdir().unwrap();
        let bucket = Bucket::new(base.path().to_owned());
        let shop = base.path().join("shop");
        let known = |directory: &Path| {
            let durable = bucket.durable.lock();
            durable.contains_key(directory)
                && durable.get(directory) == DirectoryId::of(directory).as_ref()
        };
        let put = |file: &Path| {
            bucket.make_way(file).unwrap();
            fs::write(file, "body").unwrap();
            bucket.secure_way(file).unwrap();
        };
        let file = shop.join("orders/o-1/v0/aa/item.json");

        // Someone else has made this one and may not have come to sync it.
        fs::create_dir(&shop).unwrap();
        put(&file);
        let above: Vec<_> = file.ancestors().skip(1).take(5).map(known).collect();
        assert_eq!(above, [false, true, true, true, true]);

        fs::remove_dir_all(&shop).unwrap();
        fs::create_dir(&shop).unwrap();
        assert!(!known(&shop));
        put(&file);
        assert!(known(&shop));
    }
}

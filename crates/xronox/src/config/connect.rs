//! Whether everything that is configured answers.

use std::{collections::BTreeMap, path::Path};

use futures::future::{join, join_all};
use xronox_store::{PerRole, Space, SpaceConnection, StoreError};

use super::{Config, DbConnection, connections::CatalogAddress};
use crate::{Error, ErrorKind};

/// What came of trying a connection.
#[derive(Debug)]
pub struct ConnectionCheck {
    /// Its place in the configuration, such as `dbConnections.main`.
    pub path: String,
    /// Whether a server answers, or files can be written; and for a space
    /// whether the buckets that listed databases use are there.
    pub result: Result<(), Error>,
}

impl Config {
    /// Tries every connection, all at a time, and makes nothing.
    pub async fn check_connections(&self) -> Vec<ConnectionCheck> {
        let catalogs = self
            .db_connections
            .iter()
            .map(|(name, connection)| async move {
                ConnectionCheck {
                    path: format!("dbConnections.{name}"),
                    result: self.check_catalog(connection).await,
                }
            });
        let spaces = self.spaces_in_use();
        let spaces = spaces
            .into_iter()
            .map(|(name, (space, buckets))| async move {
                let mut result = Ok(());
                for buckets in buckets {
                    let checked = check_space(&name, &space, buckets).await;
                    result = result.and(checked);
                }
                let path = if self.local_storage.enabled {
                    name
                } else {
                    format!("spacesConnections.{name}")
                };
                ConnectionCheck { path, result }
            });
        let (mut all, spaces) = join(join_all(catalogs), join_all(spaces)).await;
        all.extend(spaces);
        all
    }

    #[cfg_attr(
        not(feature = "mongodb"),
        expect(clippy::unused_async, reason = "only servers are waited for")
    )]
    async fn check_catalog(&self, connection: &DbConnection) -> Result<(), Error> {
        match connection.address() {
            None => Err(Error::new(ErrorKind::Config, "this is no URI of a catalog")),
            Some(CatalogAddress::Memory) => Ok(()),
            Some(CatalogAddress::Sqlite(folder)) => check_folder(&folder),
            #[cfg(feature = "mongodb")]
            Some(CatalogAddress::Mongo(uri)) => {
                let options = connection.options(self.settings.transactions);
                let open = xronox_mongodb::MongoConnection::open(uri.reveal(), options);
                open.await?.shutdown().await;
                Ok(())
            }
            #[cfg(not(feature = "mongodb"))]
            Some(CatalogAddress::Mongo(_)) => Err(Error::new(
                ErrorKind::Unsupported,
                "this build is without MongoDB (feature `mongodb`)",
            )),
        }
    }

    /// The spaces, each with the sets of buckets that databases use of it.
    fn spaces_in_use(&self) -> BTreeMap<String, (SpaceConnection, Vec<PerRole>)> {
        let mut spaces = BTreeMap::new();
        if self.local_storage.enabled {
            let files = self.local_storage.space();
            spaces.insert("localStorage".to_owned(), (files, vec![PerRole::default()]));
            return spaces;
        }
        for (name, space) in &self.spaces_connections {
            let mut sets: Vec<PerRole> = Vec::new();
            for database in self.databases.listed() {
                let named = database.spaces().iter().any(|one| one.connection == *name);
                let buckets = database.buckets(space);
                if named && !sets.contains(&buckets) {
                    sets.push(buckets);
                }
            }
            if !sets.is_empty() {
                spaces.insert(name.clone(), (space.clone(), sets));
            }
        }
        spaces
    }
}

async fn check_space(name: &str, space: &SpaceConnection, buckets: PerRole) -> Result<(), Error> {
    if let Some(folder) = folder_of(space) {
        return check_folder(folder);
    }
    let mut space = space.clone();
    space.buckets = buckets;
    let name = name.to_owned();
    let opened = tokio::task::spawn_blocking(move || Space::connect(name, &space));
    let space = opened.await.map_err(|_| StoreError::Closed)??;
    Ok(space.check().await?)
}

/// Where the files of a space are, if it keeps objects in files.
pub(crate) fn folder_of(space: &SpaceConnection) -> Option<&Path> {
    let path = space.endpoint.strip_prefix("file:")?;
    Some(Path::new(path.strip_prefix("//").unwrap_or(path)))
}

/// Whether a folder is there or could be made.
pub(crate) fn check_folder(folder: &Path) -> Result<(), Error> {
    let wrong = |why: String| Err(Error::new(ErrorKind::Unavailable, why));
    let Ok(folder) = std::path::absolute(folder) else {
        return wrong(format!("{}: this is no path", folder.display()));
    };
    let Some(there) = folder.ancestors().find(|folder| folder.exists()) else {
        return wrong(format!("{}: no folder above it is there", folder.display()));
    };
    match there.metadata() {
        Ok(metadata) if !metadata.is_dir() => wrong(format!("{}: is no folder", there.display())),
        Ok(metadata) if metadata.permissions().readonly() => {
            wrong(format!("{}: cannot be written", there.display()))
        }
        Ok(_) => Ok(()),
        Err(error) => wrong(format!("{}: {error}", there.display())),
    }
}

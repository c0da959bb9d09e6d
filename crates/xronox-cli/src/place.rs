//! Where a store is.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use xronox::{Config, SpaceConnection};

use crate::exit::Failure;

/// Where a store is.
#[derive(Clone)]
pub(crate) struct Place {
    kind: Kind,
    /// The database there, if it has a name of its own.
    database: Option<String>,
}

#[derive(Clone)]
enum Kind {
    Folder(PathBuf),
    Servers {
        /// May hold a password.
        catalog: String,
        payloads: Option<String>,
    },
    /// What a file describes.
    Configured {
        file: PathBuf,
        config: Box<Config>,
    },
}

impl Place {
    pub(crate) fn folder(folder: PathBuf, database: Option<String>) -> Self {
        Self {
            kind: Kind::Folder(folder),
            database,
        }
    }

    pub(crate) fn configured(file: PathBuf, config: Config) -> Self {
        Self {
            kind: Kind::Configured {
                file,
                config: Box::new(config),
            },
            database: None,
        }
    }

    /// The place that `STORE` and `--…payloads URL` name: a folder, or the
    /// URI of a catalog.
    pub(crate) fn of(
        store: &str,
        payloads: Option<&str>,
        database: Option<String>,
    ) -> Result<Self, Failure> {
        let store = from_environment(store)?;
        let payloads = payloads.map(from_environment).transpose()?;
        if store.is_empty() || payloads.as_deref() == Some("") {
            return Err(Failure::usage("the place of a store is not an empty word"));
        }
        let schemes = ["mongodb://", "mongodb+srv://", "sqlite:", "memory:"];
        if schemes.iter().any(|scheme| store.starts_with(scheme)) {
            let catalog = store;
            return Ok(Self {
                kind: Kind::Servers { catalog, payloads },
                database,
            });
        }
        refuse_uri(&store)?;
        if payloads.is_some() {
            return Err(Failure::usage(
                "a folder keeps its bodies itself: a place for them goes with the URI of a catalog",
            ));
        }
        Ok(Self::folder(store.into(), database))
    }

    /// The same, but for folders.
    pub(crate) fn of_catalog(
        uri: &str,
        payloads: Option<&str>,
        database: Option<String>,
    ) -> Result<Self, Failure> {
        let place = Self::of(uri, payloads, database)?;
        match place.kind {
            Kind::Servers { .. } | Kind::Configured { .. } => Ok(place),
            Kind::Folder(_) => Err(Failure::usage(
                "--catalog takes mongodb://…, mongodb+srv://…, sqlite:FOLDER or memory:",
            )),
        }
    }

    /// The folder that it is, if it is one.
    pub(crate) fn as_folder(&mut self) -> Option<&mut PathBuf> {
        match &mut self.kind {
            Kind::Folder(folder) => Some(folder),
            Kind::Servers { .. } | Kind::Configured { .. } => None,
        }
    }

    /// The file that describes it, if one does.
    pub(crate) fn file(&self) -> Option<&Path> {
        match &self.kind {
            Kind::Configured { file, .. } => Some(file),
            Kind::Folder(_) | Kind::Servers { .. } => None,
        }
    }

    /// Whether there is nothing to be found yet.
    pub(crate) fn is_empty(&self) -> bool {
        match &self.kind {
            Kind::Folder(folder) => !is_store(folder),
            // Opening it says so, unless it is to be made.
            Kind::Servers { .. } | Kind::Configured { .. } => false,
        }
    }

    pub(crate) fn config(&self) -> Result<Config, Failure> {
        let mut config = match &self.kind {
            // It says itself what may be done.
            Kind::Configured { config, .. } => return Ok((**config).clone()),
            Kind::Folder(folder) => {
                refuse_uri(&folder.to_string_lossy())?;
                Config::dev(folder)
            }
            Kind::Servers { catalog, payloads } => {
                let config = Config::at(catalog)?;
                match payloads {
                    None => config,
                    Some(url) => {
                        let space = SpaceConnection::from_url(url).map_err(|error| {
                            Failure::usage(format!("the place of the bodies: {error}"))
                        })?;
                        config.with_payloads(space)
                    }
                }
            }
        };
        if let Some(name) = &self.database {
            config = config.database(name);
        }
        // Whoever may write the files may remove records; `--hard` is the
        // word that it takes.
        config.settings.hard_delete_enabled = true;
        Ok(config)
    }
}

impl fmt::Display for Place {
    /// Without what only its owner should know.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Folder(folder) => match scheme_of(&folder.to_string_lossy()) {
                Some(scheme) => write!(f, "{scheme}:…"),
                None => folder.display().fmt(f),
            },
            Kind::Configured { file, .. } => file.display().fmt(f),
            Kind::Servers { catalog, .. } => match catalog.split_once("://") {
                None => f.write_str(catalog),
                Some((scheme, rest)) => {
                    // Credentials end at the last `@`, even if one of them has
                    // characters in it that should have been escaped.
                    let hosts = rest.rsplit_once('@').map_or(rest, |(_, hosts)| hosts);
                    let hosts = hosts.split(['/', '?']).next().unwrap_or_default();
                    write!(f, "{scheme}://{hosts}")
                }
            },
        }
    }
}

/// `ENV.NAME` stands for a variable, so that no password need be on a command
/// line, where others can read it.
fn from_environment(value: &str) -> Result<String, Failure> {
    match value.strip_prefix("ENV.") {
        None => Ok(value.to_owned()),
        Some(name) => std::env::var(name)
            .map_err(|_| Failure::usage(format!("ENV.{name}: there is no such variable"))),
    }
}

/// Where a URI of a kind that is not known, a typing error maybe, stands in the
/// place of a folder. It may hold a password, so it must neither be shown nor
/// become the name of a folder.
fn refuse_uri(store: &str) -> Result<(), Failure> {
    match scheme_of(store) {
        None => Ok(()),
        Some(_) => Err(Failure::usage(
            "a store is a folder, or at mongodb://…, mongodb+srv://…, sqlite:FOLDER or memory:; \
             a folder with a colon in its name is written with ./ before it",
        )),
    }
}

/// What stands before a colon as the scheme of a URI does. One letter is a
/// drive.
fn scheme_of(text: &str) -> Option<&str> {
    let (scheme, _) = text.split_once(':')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    let letter = |c: char| c.is_ascii_alphabetic();
    (scheme.len() > 1 && scheme.starts_with(letter) && scheme.chars().all(plain)).then_some(scheme)
}

/// Whether there is a store in a folder, by the layout that
/// [`Config::dev`] documents.
fn is_store(folder: &Path) -> bool {
    folder.join("catalog").is_dir()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_secret_is_shown() {
        for (uri, shown) in [
            (
                "mongodb://ann:p@ss/word@db1,db2:27018/admin?replicaSet=rs0",
                "mongodb://db1,db2:27018",
            ),
            (
                "mongodb+srv://cluster.example.net/?tls=true",
                "mongodb+srv://cluster.example.net",
            ),
            (
                "mongodb://db/?authMechanismProperties=AWS_SESSION_TOKEN:secret",
                "mongodb://db",
            ),
            ("sqlite:/var/lib/x", "sqlite:/var/lib/x"),
            ("data", "data"),
        ] {
            let place = Place::of(uri, None, None).ok();
            assert_eq!(place.map(|place| place.to_string()).as_deref(), Some(shown));
        }
    }

    #[test]
    fn a_mistyped_uri_is_no_folder_and_is_not_shown() {
        for uri in [
            "mongo://ann:s3cret@db/",
            "mongodb:/ann:s3cret@db",
            "mongodb:ann:s3cret@db",
            "MongoDB://ann:s3cret@db/",
            "s3://key:s3cret@bucket",
        ] {
            let Err(failure) = Place::of(uri, None, None) else {
                panic!("{uri} is a folder");
            };
            assert!(!format!("{failure:?}").contains("s3cret"), "{uri}");
            let folder = Place::folder(uri.into(), None);
            assert!(!folder.to_string().contains("s3cret"), "{uri}");
            assert!(folder.config().is_err(), "{uri}");
        }
        for folder in ["data", "./a:b", "C:\\data", "/srv/x", "ä:b"] {
            assert!(Place::of(folder, None, None).is_ok(), "{folder}");
        }
    }

    #[test]
    fn a_folder_keeps_its_bodies() {
        assert!(Place::of("./data", Some("memory:"), None).is_err());
        assert!(Place::of_catalog("./data", None, None).is_err());
        assert!(Place::of("", None, None).is_err());
        assert!(Place::of("ENV.XRONOX_NO_SUCH_VARIABLE", None, None).is_err());
    }
}

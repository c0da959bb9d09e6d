//! What commands work with: the store, the output, and what the user wants.

use std::path::PathBuf;

use xronox::{Collection, CollectionName, Config, Database, Xronox};

use crate::{
    args::Globals, exit::Failure, interrupt::Interrupt, output::Output, place::Place,
    progress::Notices,
};

/// Where the store is unless the command line says otherwise.
const DATA: &str = "./xronox-data";

pub(crate) struct Context {
    pub(crate) place: Place,
    /// Whether the command line named the store.
    pub(crate) named: bool,
    /// The configuration file that it named.
    pub(crate) configuration: Option<PathBuf>,
    pub(crate) out: Output,
    pub(crate) notices: Notices,
    pub(crate) interrupt: Interrupt,
    /// Whether buckets that are not there are made.
    pub(crate) create_buckets: bool,
    /// Whose database is meant, if not that of a store for one.
    pub(crate) whose: Option<xronox::Context>,
    store: Option<Xronox>,
}

impl Context {
    pub(crate) fn new(
        globals: Globals,
        configured: bool,
        interrupt: Interrupt,
    ) -> Result<Self, Failure> {
        let whose = globals.whose.context()?;
        let notices = Notices {
            quiet: globals.quiet,
        };
        let (payloads, database) = (globals.payloads.as_deref(), globals.database);
        let configuration = globals.config.clone();
        let mut named = true;
        let place = match (globals.data, globals.catalog, globals.config) {
            (_, Some(catalog), _) => Place::of_catalog(&catalog, payloads, database)?,
            (Some(data), ..) => Place::folder(data, database),
            (.., Some(file)) if configured => {
                let config = Config::load(&file)?;
                Place::configured(file, config)
            }
            (None, None, given) => {
                named = given.is_some();
                let found = if configured {
                    Config::discover(".")?
                } else {
                    None
                };
                match found {
                    Some(_) if database.is_some() => {
                        return Err(Failure::usage(
                            "--database goes with --data or --catalog; a configuration names its \
                             databases itself",
                        ));
                    }
                    Some((file, config)) => {
                        notices.say(&format!("configuration: {}", file.display()));
                        Place::configured(file, config)
                    }
                    None => Place::folder(DATA.into(), database),
                }
            }
        };
        Ok(Self {
            named,
            configuration,
            place,
            create_buckets: false,
            whose,
            out: Output::stdout(globals.json),
            notices,
            interrupt,
            store: None,
        })
    }

    /// The database, made if it is not there.
    pub(crate) async fn database_to_write(&mut self) -> Result<Database, Failure> {
        let store = self.open(false).await?;
        database_of(&store, self.whose.clone()).await
    }

    async fn open(&mut self, existing: bool) -> Result<Xronox, Failure> {
        if let Some(store) = &self.store {
            return Ok(store.clone());
        }
        let mut config = self.place.config()?;
        if self.create_buckets {
            config = config.create_buckets();
        }
        if existing {
            config = config.existing();
        }
        let store = Xronox::open(config).await?;
        self.store = Some(store.clone());
        Ok(store)
    }

    /// A collection of the store, which is made if it is not there.
    pub(crate) async fn collection_to_write(&mut self, name: &str) -> Result<Collection, Failure> {
        // A store is not made for the sake of a name that cannot be.
        name.parse::<CollectionName>()
            .map_err(xronox::Error::from)?;
        Ok(self.database_to_write().await?.collection(name)?)
    }

    /// A collection of the store, which has to be there.
    pub(crate) async fn collection(&mut self, name: &str) -> Result<Collection, Failure> {
        Ok(self.database().await?.collection(name)?)
    }

    /// The store as a whole. Where it is a folder, that has to be there.
    pub(crate) async fn store(&mut self) -> Result<Xronox, Failure> {
        self.check_there()?;
        self.open(false).await
    }

    /// The database, which has to be there.
    pub(crate) async fn database(&mut self) -> Result<Database, Failure> {
        self.check_there()?;
        let store = self.open(true).await?;
        database_of(&store, self.whose.clone()).await
    }

    fn check_there(&self) -> Result<(), Failure> {
        if self.store.is_none() && self.place.is_empty() {
            return Err(Failure::not_found(format!(
                "{}: there is no store here; `xronox init` makes one, and so does the first write",
                self.place
            )));
        }
        Ok(())
    }

    /// The collections to look at: the one that is named and has to be there,
    /// or all.
    pub(crate) async fn collections(
        &mut self,
        named: Option<&str>,
    ) -> Result<Vec<CollectionName>, Failure> {
        let mut names = self.database().await?.collections().await?;
        if let Some(named) = named {
            let wanted: CollectionName = named.parse().map_err(xronox::Error::from)?;
            names.retain(|name| *name == wanted);
            if names.is_empty() {
                return Err(Failure::not_found(format!(
                    "there is no collection {wanted}"
                )));
            }
        }
        Ok(names)
    }

    /// Finishes what is under way and lets go of the store.
    pub(crate) async fn close(&mut self) -> Result<(), Failure> {
        match self.store.take() {
            None => Ok(()),
            Some(store) => Ok(store.close().await?),
        }
    }
}

async fn database_of(store: &Xronox, whose: Option<xronox::Context>) -> Result<Database, Failure> {
    match whose {
        Some(context) => Ok(store.with(context).await?),
        None => Ok(store.home()?.clone()),
    }
}

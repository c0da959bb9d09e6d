//! One server of each kind, as the suites need them.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context, Result, anyhow};

use crate::{
    Azurite, Mongod, SeaweedFs, Services,
    daemon::{self, Life},
    env,
};

/// Names of variables, as in [`mod@env`], and their values.
pub type Variables = BTreeMap<String, String>;

/// What the suites run against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A replica set of one node.
    ReplicaSet,
    /// A `mongod` that is in no set.
    Standalone,
    /// SeaweedFS.
    S3,
    /// Azurite.
    Azure,
}

/// One of the servers, and which process it is if it runs.
#[derive(Debug, Clone)]
pub struct Running {
    /// Which server.
    pub part: Part,
    /// Its process; none if it does not run.
    pub process: Option<u32>,
    /// The variables that point at it; empty if it does not run, or not yet.
    pub variables: Variables,
}

/// One server of each kind, with a folder that says what runs.
///
/// ```text
/// data/<part>/            data, log and process id of a server that was left running
/// data/<part>/variables   those that point at it, once it answers
/// exported                the variables that were handed out last
/// ```
pub struct Stack {
    services: Services,
    folder: PathBuf,
}

/// Servers that end with this handle, and the variables of all.
pub struct Started {
    servers: Vec<Server>,
    variables: Variables,
}

enum Server {
    Mongod(Mongod),
    SeaweedFs(SeaweedFs),
    Azurite(Azurite),
}

impl Part {
    const ALL: [Self; 4] = [Self::ReplicaSet, Self::Standalone, Self::S3, Self::Azure];

    /// A short name, the same as that of its folder.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReplicaSet => "replica-set",
            Self::Standalone => "standalone",
            Self::S3 => "s3",
            Self::Azure => "azure",
        }
    }

    /// The variable that, set beforehand, names another server.
    fn decided_by(self) -> &'static str {
        match self {
            Self::ReplicaSet => env::MONGO_URI,
            Self::Standalone => env::MONGO_STANDALONE_URI,
            Self::S3 => env::S3_ENDPOINT,
            Self::Azure => env::AZURE_ENDPOINT,
        }
    }

    fn start(self, services: &Services, folder: &Path, life: Life) -> Result<(Server, Variables)> {
        let (server, variables) = match self {
            Self::ReplicaSet => {
                let server = Mongod::replica_set_in(services, folder, life)?;
                let uri = server.uri();
                (Server::Mongod(server), vec![(env::MONGO_URI, uri)])
            }
            Self::Standalone => {
                let server = Mongod::standalone_in(services, folder, life)?;
                let uri = server.uri();
                (
                    Server::Mongod(server),
                    vec![(env::MONGO_STANDALONE_URI, uri)],
                )
            }
            Self::S3 => {
                let server = SeaweedFs::start_in(services, folder, life)?;
                let (all, limited) = (server.s3(), server.limited());
                let bucket = server.limited_bucket().to_owned();
                let variables = vec![
                    (env::S3_ENDPOINT, all.endpoint),
                    (env::S3_REGION, all.region),
                    (env::S3_ACCESS_KEY, all.access_key),
                    (env::S3_SECRET_KEY, all.secret_key),
                    (env::S3_LIMITED_ACCESS_KEY, limited.access_key),
                    (env::S3_LIMITED_SECRET_KEY, limited.secret_key),
                    (env::S3_LIMITED_BUCKET, bucket),
                ];
                (Server::SeaweedFs(server), variables)
            }
            Self::Azure => {
                let server = Azurite::start_in(services, folder, life)?;
                let azure = server.azure();
                let variables = vec![
                    (env::AZURE_ENDPOINT, azure.endpoint),
                    (env::AZURE_ACCOUNT, azure.account),
                    (env::AZURE_KEY, azure.key),
                ];
                (Server::Azurite(server), variables)
            }
        };
        let variables = variables.into_iter();
        let variables = variables.map(|(name, value)| (name.to_owned(), value));
        Ok((server, variables.collect()))
    }
}

impl Server {
    fn leave(self) {
        match self {
            Self::Mongod(server) => server.leave(),
            Self::SeaweedFs(server) => server.leave(),
            Self::Azurite(server) => server.leave(),
        }
    }
}

impl Stack {
    /// The stack whose state is in this folder, from these installed servers.
    pub fn open(services: Services, folder: &Path) -> Result<Self> {
        let make = || format!("cannot make {}", folder.display());
        fs::create_dir_all(folder.join("data")).with_context(make)?;
        let folder = folder.canonicalize().with_context(make)?;
        Ok(Self { services, folder })
    }

    /// The installed servers.
    pub fn services(&self) -> &Services {
        &self.services
    }

    /// Starts what does not run yet, and leaves it running. The result are the
    /// variables that point at all that the stack runs.
    ///
    /// `given` are the variables that are set already. A server that they name
    /// is not started; but what this stack itself handed out earlier does not
    /// count.
    pub fn up(&self, given: &Variables) -> Result<Variables> {
        let _lock = self.lock()?;
        let wanted = self.wanted(given)?;
        let mut variables = self.installed()?;
        let starting = wanted.iter().map(|&part| {
            move || -> Result<Variables> {
                let running = self.running(part);
                if !running.variables.is_empty() {
                    return Ok(running.variables);
                }
                let folder = self.folder_of(part);
                daemon::end(&folder)?;
                fs::create_dir(&folder)?;
                let (server, variables) = part.start(&self.services, &folder, Life::Detached)?;
                write(&folder.join("variables"), &variables)?;
                server.leave();
                Ok(variables)
            }
        });
        for started in at_once(starting) {
            variables.extend(started?);
        }
        write(&self.folder.join("exported"), &variables)?;
        Ok(variables)
    }

    /// Uses what runs and starts the rest, which ends with the handle and with
    /// this process. `given` is as for [`up`](Self::up).
    pub fn start(&self, given: &Variables) -> Result<Started> {
        let wanted = self.wanted(given)?;
        let mut started = Started {
            servers: Vec::new(),
            variables: self.installed()?,
        };
        let starting = wanted.iter().map(|&part| {
            move || -> Result<(Option<Server>, Variables)> {
                let running = self.running(part);
                if !running.variables.is_empty() {
                    return Ok((None, running.variables));
                }
                let folder = self.services.throw_away()?;
                let (server, variables) = part.start(&self.services, &folder, Life::Tied)?;
                Ok((Some(server), variables))
            }
        });
        for one in at_once(starting) {
            let (server, variables) = one?;
            started.servers.extend(server);
            started.variables.extend(variables);
        }
        Ok(started)
    }

    /// What runs.
    pub fn status(&self) -> Vec<Running> {
        Part::ALL.map(|part| self.running(part)).to_vec()
    }

    /// Ends all servers that [`up`](Self::up) left running and removes their
    /// data. The result are those that ran.
    pub fn down(&self) -> Result<Vec<Running>> {
        let _lock = self.lock()?;
        let mut ran = self.status();
        ran.retain(|server| server.process.is_some());
        for part in Part::ALL {
            daemon::end(&self.folder_of(part))?;
        }
        Ok(ran)
    }

    /// Where the installed servers are.
    fn installed(&self) -> Result<Variables> {
        let mongod = self.services.mongod()?;
        let paths = [
            (env::SERVICES, self.services.folder()),
            (env::MONGOD, mongod.as_path()),
        ];
        let mut variables = Variables::new();
        for (name, path) in paths {
            let path = path.to_str().context("a path is not UTF-8")?;
            variables.insert(name.to_owned(), path.to_owned());
        }
        Ok(variables)
    }

    /// The parts that no given variable names.
    fn wanted(&self, given: &Variables) -> Result<Vec<Part>> {
        let exported = self.exported()?;
        let mut wanted = Part::ALL.to_vec();
        wanted.retain(|part| {
            let name = part.decided_by();
            given
                .get(name)
                .is_none_or(|value| exported.get(name) == Some(value))
        });
        Ok(wanted)
    }

    fn exported(&self) -> Result<Variables> {
        read(&self.folder.join("exported"))
    }

    fn running(&self, part: Part) -> Running {
        let folder = self.folder_of(part);
        let process = daemon::running(&folder);
        // Unreadable or half written is as good as not there: the server is
        // started anew.
        let variables = process.and_then(|_| read(&folder.join("variables")).ok());
        Running {
            part,
            process,
            variables: variables.unwrap_or_default(),
        }
    }

    fn folder_of(&self, part: Part) -> PathBuf {
        self.folder.join("data").join(part.name())
    }

    /// Held while servers that stay are started or ended.
    fn lock(&self) -> Result<File> {
        let lock = File::create(self.folder.join("lock"))?;
        lock.lock()?;
        Ok(lock)
    }
}

impl Started {
    /// The variables that point at the servers, those that ran before included.
    pub fn variables(&self) -> &Variables {
        &self.variables
    }
}

/// Runs all of them, each on a thread of its own.
fn at_once<T: Send>(
    tasks: impl Iterator<Item = impl FnOnce() -> Result<T> + Send>,
) -> Vec<Result<T>> {
    thread::scope(|scope| {
        let running: Vec<_> = tasks.map(|task| scope.spawn(task)).collect();
        let ended = running.into_iter().map(thread::ScopedJoinHandle::join);
        ended
            .map(|result| result.unwrap_or_else(|_| Err(anyhow!("a server's start panicked"))))
            .collect()
    })
}

fn write(path: &Path, variables: &Variables) -> Result<()> {
    let text = serde_json::to_string_pretty(variables)?;
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// The variables in a file; none if there is no file.
fn read(path: &Path) -> Result<Variables> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Variables::new()),
        text => text.with_context(|| format!("cannot read {}", path.display()))?,
    };
    serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))
}

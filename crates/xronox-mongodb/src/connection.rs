//! One pool of connections to a deployment, shared by its databases.

use std::{
    fmt,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use mongodb::{
    Client,
    bson::{Document, doc},
    event::{EventHandler, command::CommandEvent, sdam::SdamEvent},
    options::{ClientOptions, ConnectionString, ServerAddress},
};
use parking_lot::Mutex;
use xronox_store::{Health, StoreError};

use crate::{
    abandoned,
    database::{MARKER, check_database_name, durable},
    error::{self, Failure},
};

/// The wire version of MongoDB 6.0, the oldest server this crate speaks to.
const WIRE_VERSION: i32 = 17;

/// Told of each command as it is sent: its name and its database.
///
/// Handshakes and authentication are not told of.
pub type CommandObserver = Arc<dyn Fn(&str, &str) + Send + Sync>;

/// How to use a deployment. What the URI says goes first.
#[derive(Clone)]
pub struct ConnectionOptions {
    /// Connections kept open; default 0.
    pub min_pool: u32,
    /// Connections at most; default 100.
    pub max_pool: u32,
    /// How long to look for a server and to connect to it; default 10 s.
    pub connect_timeout: Duration,
    /// How long one call may take in all; default 30 s.
    pub request_timeout: Duration,
    /// Whether commits are transactions.
    pub transactions: Transactions,
    /// How callers have found the deployment. Given to whoever connects to it
    /// again, one that is down is known to be.
    pub health: Arc<Health>,
    /// Counts or records what is sent; default none.
    pub on_command: Option<CommandObserver>,
}

impl Default for ConnectionOptions {
    fn default() -> Self {
        Self {
            min_pool: 0,
            max_pool: 100,
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            transactions: Transactions::default(),
            health: Arc::default(),
            on_command: None,
        }
    }
}

impl fmt::Debug for ConnectionOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionOptions")
            .field("min_pool", &self.min_pool)
            .field("max_pool", &self.max_pool)
            .field("connect_timeout", &self.connect_timeout)
            .field("request_timeout", &self.request_timeout)
            .field("transactions", &self.transactions)
            .finish_non_exhaustive()
    }
}

/// Whether commits are transactions.
///
/// | `enabled` | `auto_detect` | a server with transactions | one without |
/// |---|---|---|---|
/// | yes | yes | transactions | log-first |
/// | yes | no | transactions | refused |
/// | no | | log-first | log-first |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transactions {
    /// Use them; default yes.
    pub enabled: bool,
    /// Do without them where the server has none; default yes.
    pub auto_detect: bool,
}

impl Default for Transactions {
    fn default() -> Self {
        Self {
            enabled: true,
            auto_detect: true,
        }
    }
}

/// What a deployment is, as its servers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deployment {
    /// Members that elect a primary; has transactions.
    ReplicaSet,
    /// Routers before shards; has transactions.
    Sharded,
    /// One server by itself; has none.
    Standalone,
}

/// How commits are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitMode {
    /// One transaction a commit.
    Transactions,
    /// The version rows first, what is derived from them after.
    LogFirst,
}

/// A pool of connections to one deployment. Clones share it.
#[derive(Clone)]
pub struct MongoConnection {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    options: ConnectionOptions,
    /// Host and port of the servers named in the URI.
    hosts: String,
    /// Set when a server appears, disappears or changes its part.
    changed: Arc<AtomicBool>,
    deployment: Mutex<Deployment>,
}

impl fmt::Debug for MongoConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongoConnection")
            .field("hosts", &self.inner.hosts)
            .finish_non_exhaustive()
    }
}

impl MongoConnection {
    /// Connects to the deployment that a `mongodb://` or `mongodb+srv://` URI
    /// names, and asks it what it is.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] for what is no such URI;
    /// [`StoreError::Unavailable`] if no server is reached in time, the
    /// credentials are refused or the replica set has another name;
    /// [`StoreError::Unsupported`] for a server older than 6.0, or one without
    /// transactions where they are demanded.
    pub async fn open(uri: &str, options: ConnectionOptions) -> Result<Self, StoreError> {
        let mut driver = ClientOptions::parse(uri)
            .await
            .map_err(|failure| error::unusable_uri(uri, &failure))?;
        driver.min_pool_size.get_or_insert(options.min_pool);
        driver.max_pool_size.get_or_insert(options.max_pool);
        driver
            .connect_timeout
            .get_or_insert(options.connect_timeout);
        driver
            .server_selection_timeout
            .get_or_insert(options.connect_timeout);
        driver.driver_info = Some(abandoned::driver_info());
        driver.app_name.get_or_insert_with(|| "xronox".to_owned());
        if let Some(observer) = options.on_command.clone() {
            driver.command_event_handler = Some(EventHandler::callback(move |event| {
                if let CommandEvent::Started(started) = event {
                    observer(&started.command_name, &started.db);
                }
            }));
        }
        let changed = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&changed);
        driver.sdam_event_handler = Some(EventHandler::callback(move |event| {
            if let SdamEvent::TopologyDescriptionChanged(_) = event {
                flag.store(true, Ordering::Release);
            }
        }));
        let hosts = driver
            .hosts
            .iter()
            .map(ServerAddress::to_string)
            .collect::<Vec<_>>()
            .join(",");
        let client =
            Client::with_options(driver).map_err(|failure| error::unusable_uri(uri, &failure))?;
        let connection = Self {
            inner: Arc::new(Inner {
                client,
                options,
                hosts,
                changed,
                deployment: Mutex::new(Deployment::Standalone),
            }),
        };
        connection.health().admit()?;
        connection.ask().await?;
        connection.commit_mode().await?;
        Ok(connection)
    }

    /// What the deployment is. Asked again when its topology has changed.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] if nobody answers,
    /// [`StoreError::Unsupported`] for a server older than 6.0.
    pub async fn deployment(&self) -> Result<Deployment, StoreError> {
        if self.inner.changed.load(Ordering::Acquire) {
            self.ask().await?;
        }
        Ok(*self.inner.deployment.lock())
    }

    /// How commits are made here.
    ///
    /// # Errors
    ///
    /// As [`deployment`](Self::deployment), and [`StoreError::Unsupported`]
    /// where transactions are demanded and there are none.
    pub async fn commit_mode(&self) -> Result<CommitMode, StoreError> {
        let wanted = self.inner.options.transactions;
        match self.deployment().await? {
            _ if !wanted.enabled => Ok(CommitMode::LogFirst),
            Deployment::ReplicaSet | Deployment::Sharded => Ok(CommitMode::Transactions),
            Deployment::Standalone if wanted.auto_detect => Ok(CommitMode::LogFirst),
            Deployment::Standalone => Err(StoreError::Unsupported(format!(
                "{} has no transactions, and the configuration demands them",
                self.inner.hosts
            ))),
        }
    }

    /// Whether commits were transactions when that was last asked.
    pub(crate) fn has_transactions(&self) -> bool {
        self.inner.options.transactions.enabled
            && *self.inner.deployment.lock() != Deployment::Standalone
    }

    /// It is part of a call that may go ahead.
    async fn ask(&self) -> Result<(), StoreError> {
        // First the flag: a change while the answer is under way asks again.
        self.inner.changed.store(false, Ordering::Release);
        let asked = self.bounded(std::time::Instant::now(), async {
            let admin = self.inner.client.database("admin");
            Ok(admin.run_command(doc! { "hello": 1 }).await?)
        });
        let hello = match asked.await {
            Ok(hello) => hello,
            Err(failure) => {
                self.inner.changed.store(true, Ordering::Release);
                return Err(failure.into());
            }
        };
        let wire = hello.get_i32("maxWireVersion").unwrap_or_default();
        if wire < WIRE_VERSION {
            return Err(StoreError::Unsupported(format!(
                "{} is older than MongoDB 6.0",
                self.inner.hosts
            )));
        }
        *self.inner.deployment.lock() = deployment_of(&hello);
        Ok(())
    }

    /// Whether there is a database of this name with what this crate keeps in
    /// one. Makes nothing.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] for a name that MongoDB does not take,
    /// [`StoreError::Unavailable`] if nobody answers.
    pub async fn has_database(&self, name: &str) -> Result<bool, StoreError> {
        check_database_name(name)?;
        let listed = self.within(async {
            let database = self.inner.client.database(name);
            let ours = doc! { "name": MARKER };
            Ok(database.list_collection_names().filter(ours).await?)
        });
        let listed = listed.await.map_err(|failure| self.failed(failure))?;
        Ok(!listed.is_empty())
    }

    /// Removes the database of this name with everything in it, whoever made
    /// it. One that is not there is no error.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] for a name that MongoDB does not take,
    /// [`StoreError::Unavailable`] if the server does not answer.
    pub async fn drop_database(&self, name: &str) -> Result<(), StoreError> {
        check_database_name(name)?;
        let database = self.inner.client.database(name);
        let dropped = self.within(async {
            let drop = database.drop().write_concern(durable()).into_future();
            Ok(self.past_abandoned(drop).await?)
        });
        dropped.await.map_err(|failure| self.failed(failure))
    }

    /// Closes every connection, also those of databases that are still open.
    pub async fn shutdown(self) {
        self.inner.client.clone().shutdown().await;
    }

    pub(crate) fn client(&self) -> &Client {
        &self.inner.client
    }

    /// Host and port of the servers named in the URI.
    pub(crate) fn hosts(&self) -> &str {
        &self.inner.hosts
    }

    /// How long one call may take.
    pub(crate) fn request_timeout(&self) -> Duration {
        self.inner.options.request_timeout
    }

    /// Does one call's work, within the time a call may take.
    pub(crate) async fn within<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let begun = self.health().admit()?;
        self.bounded(begun, Box::pin(work)).await
    }

    /// Does the work of a call that may go ahead.
    async fn bounded<T>(
        &self,
        begun: std::time::Instant,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let Inner { options, hosts, .. } = &*self.inner;
        let limit = options.request_timeout;
        match tokio::time::timeout(limit, work).await {
            Ok(Err(failure)) => {
                self.heard(begun, &failure);
                Err(self.failed(failure).into())
            }
            Ok(done) => {
                options.health.answered(begun);
                done
            }
            Err(_) => {
                let why = format!("{hosts} did not answer within {} ms", limit.as_millis());
                options.health.unanswered(begun, &why);
                Err(StoreError::unavailable(why).into())
            }
        }
    }

    /// How callers have found the deployment lately.
    pub fn health(&self) -> &Health {
        &self.inner.options.health
    }

    /// Asks for a sign of life.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] if there is none.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let asked = self.within(async {
            let admin = self.inner.client.database("admin");
            Ok(admin.run_command(doc! { "ping": 1 }).await?)
        });
        Ok(asked.await.map(drop)?)
    }

    /// Notes what the failure of a call says about the deployment.
    pub(crate) fn heard(&self, begun: std::time::Instant, failure: &Failure) {
        let Failure::Driver(failure) = failure else {
            return;
        };
        if error::is_silence(failure) {
            let why = match error::mapped(failure, &self.inner.hosts) {
                StoreError::Unavailable { message, .. } => message,
                other => other.to_string(),
            };
            self.health().unanswered(begun, why);
        } else {
            self.health().answered(begun);
        }
    }

    /// What a driver's error means to the store.
    pub(crate) fn failed(&self, failure: Failure) -> StoreError {
        match failure {
            Failure::Driver(failure) => error::mapped(&failure, &self.inner.hosts),
            Failure::Store(error) => error,
        }
    }
}

/// Checks what can be known of a URI without connecting.
///
/// # Errors
///
/// [`StoreError::Refused`], which does not repeat the URI.
pub fn check_uri(uri: &str) -> Result<(), StoreError> {
    match ConnectionString::parse(uri) {
        Ok(_) => Ok(()),
        Err(failure) => Err(error::unusable_uri(uri, &failure)),
    }
}

fn deployment_of(hello: &Document) -> Deployment {
    if hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid") {
        Deployment::Sharded
    } else if hello.contains_key("setName") {
        Deployment::ReplicaSet
    } else {
        Deployment::Standalone
    }
}

//! One `mongod`: a standalone, or a member of a replica set.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use bson::{Document, doc};

use crate::{
    Services,
    certificates::Certificates,
    daemon::{Daemon, Life},
    ports,
    wire::Connection,
};

/// The name of every replica set here.
pub(crate) const SET: &str = "rs0";
const USER: &str = "xronox";
const PASSWORD: &str = "xronox-test";

/// The longest that a lone command may take.
const WAIT: Duration = Duration::from_secs(10);

/// A server like that of services in use, as light as it can be: little cache,
/// a small log, the journal on.
const LIGHT: &str = "--bind_ip 127.0.0.1 --nounixsocket --wiredTigerCacheSizeGB 0.25 \
     --setParameter diagnosticDataCollectionEnabled=false --setParameter ttlMonitorSleepSecs=2 \
     --setParameter enableTestCommands=1 --wiredTigerEngineConfigString \
     log=(file_max=16MB,prealloc=false)";

/// A throw-away `mongod` with a port of its own.
///
/// It is light and has test commands enabled, so `configureFailPoint` works.
pub struct Mongod {
    daemon: Daemon,
    port: u16,
    member: bool,
    certificates: Option<Certificates>,
}

/// What a server is when it answers.
enum Ready {
    /// Takes writes.
    Primary,
    /// Takes part in its set.
    Member,
    /// Answers, and waits to be told which set it is in.
    Blank,
}

impl Mongod {
    /// A standalone: no transactions, no retryable writes, no change streams.
    pub fn standalone(services: &Services) -> Result<Self> {
        Self::standalone_in(services, services.throw_away()?, Life::Tied)
    }

    /// A replica set of one node, which is its primary.
    pub fn replica_set(services: &Services) -> Result<Self> {
        Self::replica_set_in(services, services.throw_away()?, Life::Tied)
    }

    /// A replica set of one node that answers by TLS alone, with a certificate
    /// of an authority of its own, and only to a user with a password. The
    /// [URI](Self::uri) names the authority's file and the user, a `root`.
    pub fn secured(services: &Services) -> Result<Self> {
        let mut server = Self::new(services, services.throw_away()?, Life::Tied)?;
        let made = Certificates::make(server.daemon.folder())?;
        server
            .daemon
            .arguments("--auth --keyFile")
            .argument(&made.key_file)
            .arguments("--tlsMode requireTLS --tlsAllowConnectionsWithoutCertificates")
            .argument("--tlsCertificateKeyFile")
            .argument(&made.server)
            .argument("--tlsCAFile")
            .argument(&made.authority);
        server.certificates = Some(made);
        server.begin_set()?;
        // From 127.0.0.1 the first user may be made by anyone.
        let user = doc! { "createUser": USER, "pwd": PASSWORD, "roles": ["root"] };
        server.command("admin", user)?;
        Ok(server)
    }

    pub(crate) fn standalone_in(
        services: &Services,
        folder: impl AsRef<Path>,
        life: Life,
    ) -> Result<Self> {
        let mut server = Self::new(services, folder, life)?;
        server.start(&Ready::Primary)?;
        Ok(server)
    }

    pub(crate) fn replica_set_in(
        services: &Services,
        folder: impl AsRef<Path>,
        life: Life,
    ) -> Result<Self> {
        let mut server = Self::new(services, folder, life)?;
        server.begin_set()?;
        Ok(server)
    }

    /// A member that waits for `replSetInitiate`.
    pub(crate) fn member(services: &Services) -> Result<Self> {
        let mut server = Self::new(services, services.throw_away()?, Life::Tied)?;
        server.join();
        server.start(&Ready::Blank)?;
        Ok(server)
    }

    fn new(services: &Services, folder: impl AsRef<Path>, life: Life) -> Result<Self> {
        let folder = folder.as_ref().to_owned();
        let data = folder.join("data");
        std::fs::create_dir(&data)?;
        let [port] = ports::free()?;
        let mut daemon = Daemon::new("mongod", folder, life, services.mongod()?);
        daemon
            .arguments(LIGHT)
            .argument("--port")
            .argument(port.to_string())
            .argument("--dbpath")
            .argument(data);
        Ok(Self {
            daemon,
            port,
            member: false,
            certificates: None,
        })
    }

    fn join(&mut self) {
        self.daemon
            .arguments("--oplogSize 64 --replSet")
            .argument(SET);
        self.member = true;
    }

    fn begin_set(&mut self) -> Result<()> {
        self.join();
        self.start(&Ready::Blank)?;
        self.command("admin", initiate(&[self.address()]))?;
        // It runs already; this waits for the election.
        let (address, tls) = (self.address(), self.certificates.as_ref());
        self.daemon.wait(|| answers(address, tls, &Ready::Primary))
    }

    fn start(&mut self, ready: &Ready) -> Result<()> {
        let (address, tls) = (self.address(), self.certificates.as_ref());
        self.daemon.start(|| answers(address, tls, ready))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The URI for a driver, credentials included.
    pub fn uri(&self) -> String {
        let mut options = Vec::new();
        if self.member {
            options.push(format!("replicaSet={SET}"));
        }
        options.extend(self.secrets());
        self.uri_with(self.address(), &options)
    }

    /// The URI by way of another address, such as that of a
    /// [`Proxy`](crate::Proxy). It asks for a direct connection: a driver that
    /// looks for the set's members would find the server behind the proxy.
    pub fn uri_through(&self, address: SocketAddr) -> String {
        let mut options = vec!["directConnection=true".to_owned()];
        options.extend(self.secrets());
        self.uri_with(address, &options)
    }

    fn uri_with(&self, address: SocketAddr, options: &[String]) -> String {
        let user = match self.certificates {
            Some(_) => format!("{USER}:{PASSWORD}@"),
            None => String::new(),
        };
        let options = options.join("&");
        let mark = if options.is_empty() { "" } else { "?" };
        format!("mongodb://{user}{address}/{mark}{options}")
    }

    fn secrets(&self) -> Option<String> {
        let authority = &self.certificates.as_ref()?.authority;
        let authority = authority.to_string_lossy().replace('%', "%25");
        let authority = authority.replace('/', "%2F").replace(' ', "%20");
        Some(format!("authSource=admin&tls=true&tlsCAFile={authority}"))
    }

    /// Runs a command, on a connection of its own on which nobody has logged
    /// in. An answer that is not `ok` is an error.
    pub fn command(&self, database: &str, command: Document) -> Result<Document> {
        connect(self.address(), self.certificates.as_ref())?.command(database, command)
    }

    /// Ends it as a crash would (`SIGKILL`), and waits until it is gone.
    pub fn kill(&mut self) {
        self.daemon.kill();
    }

    /// Starts it again, with the same data and port, and waits until it takes
    /// writes; a member of a larger set: until it takes part in the set.
    pub fn restart(&mut self) -> Result<()> {
        self.start(&Ready::Primary)
    }

    /// As [`restart`](Self::restart), where another member may be the primary.
    pub(crate) fn rejoin(&mut self) -> Result<()> {
        self.start(&Ready::Member)
    }

    pub(crate) fn leave(self) {
        self.daemon.leave();
    }
}

/// The command that makes a set of these members. Elections are quick.
pub(crate) fn initiate(members: &[SocketAddr]) -> Document {
    let members = members.iter().zip(0_i32..);
    let members: Vec<_> = members
        .map(|(address, id)| doc! { "_id": id, "host": address.to_string() })
        .collect();
    let settings = doc! { "electionTimeoutMillis": 1000, "heartbeatIntervalMillis": 300 };
    doc! { "replSetInitiate": { "_id": SET, "members": members, "settings": settings } }
}

fn connect(address: SocketAddr, certificates: Option<&Certificates>) -> Result<Connection> {
    let tls = certificates.map(|certificates| &certificates.client);
    Connection::open_by(address, tls, WAIT).with_context(|| format!("no connection to {address}"))
}

fn answers(address: SocketAddr, tls: Option<&Certificates>, ready: &Ready) -> Result<()> {
    let hello = connect(address, tls)?.command("admin", doc! { "hello": 1 })?;
    let is = |what| hello.get_bool(what).unwrap_or_default();
    let fine = match ready {
        Ready::Primary => is("isWritablePrimary"),
        Ready::Member => is("isWritablePrimary") || is("secondary"),
        Ready::Blank => true,
    };
    ensure!(fine, "{address} is neither primary nor ready");
    Ok(())
}

//! Azurite, which serves the API of Azure Blob Storage.

use std::{net::SocketAddr, path::Path};

use anyhow::Result;

use crate::{
    Services,
    daemon::{Daemon, Life},
    env::Azure,
    http, ports,
};

/// The development account, which Azurite documents and knows by default:
/// <https://learn.microsoft.com/azure/storage/common/storage-use-azurite>.
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A throw-away blob store with a port of its own.
///
/// It keeps everything in memory, so it cannot be started again.
pub struct Azurite {
    daemon: Daemon,
    port: u16,
}

impl Azurite {
    /// Starts one and waits until it answers.
    pub fn start(services: &Services) -> Result<Self> {
        Self::start_in(services, services.throw_away()?, Life::Tied)
    }

    pub(crate) fn start_in(
        services: &Services,
        folder: impl AsRef<Path>,
        life: Life,
    ) -> Result<Self> {
        let folder = folder.as_ref().to_owned();
        let [port] = ports::free()?;
        let (node, program) = services.azurite()?;
        let mut daemon = Daemon::new("Azurite", folder, life, node);
        daemon
            .argument(program)
            // On disk it writes the list of all its blobs anew every few seconds.
            .arguments("--blobHost 127.0.0.1 --disableTelemetry --silent --inMemoryPersistence")
            .argument("--blobPort")
            .argument(port.to_string());
        // Any answer will do; without credentials it is a refusal.
        daemon.start(|| http::ask(port, "GET", &format!("/{ACCOUNT}?comp=list")).map(drop))?;
        Ok(Self { daemon, port })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// Access to its one account.
    pub fn azure(&self) -> Azure {
        Azure {
            endpoint: format!("http://{}/{ACCOUNT}", self.address()),
            account: ACCOUNT.to_owned(),
            key: KEY.to_owned(),
        }
    }

    /// Ends it as a crash would (`SIGKILL`), and waits until it is gone.
    pub fn kill(&mut self) {
        self.daemon.kill();
    }

    pub(crate) fn leave(self) {
        self.daemon.leave();
    }
}

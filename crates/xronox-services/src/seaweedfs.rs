//! SeaweedFS, which serves the S3 API.

use std::{fs, net::SocketAddr, path::Path};

use anyhow::{Result, ensure};
use serde_json::json;

use crate::{
    Services,
    daemon::{Daemon, Life},
    env::S3,
    http, ports,
};

const REGION: &str = "us-east-1";
const KEYS: (&str, &str) = ("xronox", "xronox-test-secret");
const LIMITED_KEYS: (&str, &str) = ("xronox-limited", "xronox-limited-test-secret");
const LIMITED_BUCKET: &str = "limited";

/// A throw-away S3 store with ports of its own.
///
/// One identity may do everything, another one only read, list and write in
/// one bucket, which exists from the start. Buckets are not made by writing.
pub struct SeaweedFs {
    daemon: Daemon,
    master: u16,
    filer: u16,
    s3: u16,
}

impl SeaweedFs {
    /// Starts one and waits until a body can be stored.
    pub fn start(services: &Services) -> Result<Self> {
        Self::start_in(services, services.throw_away()?, Life::Tied)
    }

    pub(crate) fn start_in(
        services: &Services,
        folder: impl AsRef<Path>,
        life: Life,
    ) -> Result<Self> {
        let folder = folder.as_ref().to_owned();
        let data = folder.join("data");
        fs::create_dir(&data)?;
        let identities = folder.join("identities.json");
        fs::write(&identities, self::identities())?;
        let [
            master,
            master_rpc,
            volume,
            volume_rpc,
            filer,
            filer_rpc,
            s3,
            s3_rpc,
        ] = ports::free()?;
        let mut daemon = Daemon::new("SeaweedFS", folder, life, services.weed()?);
        daemon
            // Else the volumes of a few buckets fill the disk's share.
            .variable("WEED_MASTER_VOLUME_GROWTH_COPY_1", "1")
            .argument("server")
            .argument(format!("-dir={}", data.display()))
            .argument(format!("-s3.config={}", identities.display()))
            .arguments("-ip=127.0.0.1 -ip.bind=127.0.0.1 -filer -s3 -s3.autoCreateBucket=false")
            .arguments("-master.telemetry=false -master.electionTimeout=1s")
            .arguments("-master.volumeSizeLimitMB=256 -volume.max=0")
            .arguments("-s3.port.iceberg=0 -s3.port.lance=0");
        for (name, port) in [
            ("master.port", master),
            ("master.port.grpc", master_rpc),
            ("volume.port", volume),
            ("volume.port.grpc", volume_rpc),
            ("filer.port", filer),
            ("filer.port.grpc", filer_rpc),
            ("s3.port", s3),
            ("s3.port.grpc", s3_rpc),
        ] {
            daemon.argument(format!("-{name}={port}"));
        }
        let mut server = Self {
            daemon,
            master,
            filer,
            s3,
        };
        server.restart()?;
        server.create_bucket(LIMITED_BUCKET)?;
        Ok(server)
    }

    /// Where it listens for S3 requests.
    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.s3).into()
    }

    /// Access for the identity that may do everything.
    pub fn s3(&self) -> S3 {
        self.access(KEYS)
    }

    /// Access for the identity that may use one bucket only.
    pub fn limited(&self) -> S3 {
        self.access(LIMITED_KEYS)
    }

    /// The bucket that the limited identity may use.
    pub fn limited_bucket(&self) -> &'static str {
        LIMITED_BUCKET
    }

    fn access(&self, (access_key, secret_key): (&str, &str)) -> S3 {
        S3 {
            endpoint: format!("http://{}", self.address()),
            region: REGION.to_owned(),
            access_key: access_key.to_owned(),
            secret_key: secret_key.to_owned(),
        }
    }

    /// Makes a bucket behind the API, where a bucket is a folder. One that
    /// exists stays as it is.
    pub fn create_bucket(&self, name: &str) -> Result<()> {
        let (status, _) = http::ask(self.filer, "POST", &format!("/buckets/{name}/"))?;
        ensure!(
            matches!(status, 201 | 409),
            "the bucket `{name}` is not made: status {status}"
        );
        Ok(())
    }

    /// Ends it as a crash would (`SIGKILL`), and waits until it is gone.
    pub fn kill(&mut self) {
        self.daemon.kill();
    }

    /// Starts it again, with the same data and ports, and waits until a body
    /// can be stored.
    pub fn restart(&mut self) -> Result<()> {
        let (master, filer, s3) = (self.master, self.filer, self.s3);
        self.daemon.start(|| {
            // A place for a new body: without one a PUT waits or fails.
            let (_, place) = http::ask(master, "GET", "/dir/assign")?;
            ensure!(place.contains("\"fid\""), "no volume to write to yet");
            for port in [filer, s3] {
                let (status, _) = http::ask(port, "GET", "/healthz")?;
                ensure!(status == 200, "port {port} answers {status}");
            }
            Ok(())
        })
    }

    pub(crate) fn leave(self) {
        self.daemon.leave();
    }
}

/// The configuration of the two identities.
fn identities() -> String {
    let identity = |(access, secret): (&str, &str), actions: &[String]| {
        let credentials = json!([{ "accessKey": access, "secretKey": secret }]);
        json!({ "name": access, "credentials": credentials, "actions": actions })
    };
    let all = ["Admin", "Read", "List", "Tagging", "Write"].map(str::to_owned);
    let one = ["Read", "List", "Tagging", "Write"].map(|what| format!("{what}:{LIMITED_BUCKET}"));
    json!({ "identities": [identity(KEYS, &all), identity(LIMITED_KEYS, &one)] }).to_string()
}

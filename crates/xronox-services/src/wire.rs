//! Commands to a `mongod`, one `OP_MSG` each way.
//!
//! The layout is MongoDB's wire protocol: a header of four little-endian 32-bit
//! numbers (length, id, id that is answered, operation), flags, and one section
//! of kind 0, a BSON document.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use bson::Document;
use rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};

const OP_MSG: i32 = 2013;
/// Header, flags and the kind of the section.
const BEFORE_DOCUMENT: usize = 16 + 4 + 1;
/// The most that a server sends.
const LONGEST: usize = 48_000_000;

trait Channel: Read + Write + Send {}
impl<T: Read + Write + Send> Channel for T {}

/// A connection to a `mongod` on which nobody has logged in, for tests that do
/// without a driver. It never connects again by itself.
pub struct Connection(Box<dyn Channel>);

impl Connection {
    /// Connects. An answer may take `wait` at most.
    pub fn open(address: SocketAddr, wait: Duration) -> Result<Self> {
        Self::open_by(address, None, wait)
    }

    /// Connects, by TLS if told which certificates to trust.
    pub(crate) fn open_by(
        address: SocketAddr,
        tls: Option<&Arc<ClientConfig>>,
        wait: Duration,
    ) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, wait)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(wait))?;
        stream.set_write_timeout(Some(wait))?;
        let Some(config) = tls else {
            return Ok(Self(Box::new(stream)));
        };
        let name = ServerName::from(address.ip());
        let session = ClientConnection::new(Arc::clone(config), name)?;
        Ok(Self(Box::new(StreamOwned::new(session, stream))))
    }

    /// Runs one command; an answer that is not `ok` is an error.
    pub fn command(&mut self, database: &str, mut command: Document) -> Result<Document> {
        let name = command.keys().next().cloned().context("empty command")?;
        command.insert("$db", database);
        self.0.write_all(&message(&command)?)?;
        self.0.flush()?;

        let mut head = [0; BEFORE_DOCUMENT];
        self.0
            .read_exact(&mut head)
            .with_context(|| format!("no answer to `{name}`"))?;
        let [a, b, c, d, ..] = head;
        let length = usize::try_from(i32::from_le_bytes([a, b, c, d]))?;
        ensure!(
            (BEFORE_DOCUMENT..=LONGEST).contains(&length),
            "`{name}` is answered with {length} bytes"
        );
        let mut body = vec![0; length - BEFORE_DOCUMENT];
        self.0.read_exact(&mut body)?;
        let answer = Document::from_reader(body.as_slice())?;
        if answer.get_f64("ok").ok() != Some(1.0) {
            let code = answer.get_i32("code").unwrap_or_default();
            let text = answer.get_str("errmsg").unwrap_or_default();
            bail!("`{name}` failed: {text} ({code})");
        }
        Ok(answer)
    }
}

fn message(command: &Document) -> Result<Vec<u8>> {
    let document = command.to_vec()?;
    let length = i32::try_from(BEFORE_DOCUMENT + document.len())?;
    let mut message = Vec::new();
    for number in [length, 1, 0, OP_MSG, 0] {
        message.extend(number.to_le_bytes());
    }
    message.push(0);
    message.extend(document);
    Ok(message)
}

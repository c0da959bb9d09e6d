//! A TCP proxy that makes the faults of a network and of a busy store.

mod request;

use std::{
    collections::HashMap,
    io::{self, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::Result;

use crate::ports;
pub use request::Request;
use request::{Protocol, Rest};

/// How much is passed on at a time.
const CHUNK: usize = 64 * 1024;
const CONNECT: Duration = Duration::from_secs(5);

/// What happens to a request that [`Proxy::inject`] chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection is cut before the server sees anything of it.
    LoseRequest,
    /// The server does it, and the connection is cut instead of its answer.
    LoseAnswer,
    /// The server sees nothing of it; the answer is `500 InternalError`, as S3
    /// words it. HTTP only.
    InternalError,
    /// The server sees nothing of it; the answer is `503 SlowDown`, as S3 words
    /// it. HTTP only.
    SlowDown,
}

/// Stands between clients and one server, and passes on every byte as it is
/// until told otherwise.
///
/// It tells HTTP/1 and MongoDB's protocol apart by their first bytes, and knows
/// where a request of either begins and ends. Anything else, TLS included, it
/// takes as it comes: each piece read is a request. Requests are not changed, so
/// a signature that covers the `Host` header stays good as long as the server
/// asks no more than that it fits the header.
///
/// Dropped, it cuts all connections and listens no more.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    upstream: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    flow: Flow,
    closing: bool,
    /// Both ends of each connection. One that is not here any more was cut.
    connections: HashMap<u64, [TcpStream; 2]>,
    accepted: u64,
    armed: Vec<Armed>,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Flow {
    #[default]
    Open,
    Stalled,
    Refusing,
}

struct Armed {
    fault: Fault,
    left: usize,
    matches: Box<dyn Fn(&Request<'_>) -> bool + Send>,
}

/// One connection of a client, and the one to the server that belongs to it.
struct Link {
    shared: Arc<Shared>,
    id: u64,
    client: TcpStream,
    server: TcpStream,
    /// The answer that comes next is to be lost.
    lose_answer: AtomicBool,
}

impl Proxy {
    /// Listens at a free port of 127.0.0.1 and passes on to `upstream`.
    pub fn start(upstream: SocketAddr) -> Result<Self> {
        let listener = ports::listener()?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let accepting = thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Ok(Self {
            address,
            shared,
            accepting: Some(accepting),
        })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts all connections that there are. New ones are as before.
    pub fn cut(&self) {
        self.shared.lock().cut();
        self.shared.changed.notify_all();
    }

    /// Cuts all connections, and each new one at once, until [`pass`](Self::pass).
    pub fn refuse(&self) {
        let mut state = self.shared.lock();
        state.flow = Flow::Refusing;
        state.cut();
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Passes nothing on, either way, until [`pass`](Self::pass). Connections
    /// stay, and new ones are accepted; nothing is lost.
    pub fn stall(&self) {
        self.shared.lock().flow = Flow::Stalled;
    }

    /// Passes everything on again. Injected faults stay as they are.
    pub fn pass(&self) {
        self.shared.lock().flow = Flow::Open;
        self.shared.changed.notify_all();
    }

    /// Makes this fault of each of the next `times` requests that match.
    ///
    /// Of several faults that match, the one injected first is made. HTTP faults
    /// match no request of another protocol.
    pub fn inject(
        &self,
        fault: Fault,
        times: usize,
        matches: impl Fn(&Request<'_>) -> bool + Send + 'static,
    ) {
        self.shared.lock().armed.push(Armed {
            fault,
            left: times,
            matches: Box::new(matches),
        });
    }

    /// How many injected faults have not been made yet.
    pub fn pending(&self) -> usize {
        self.shared
            .lock()
            .armed
            .iter()
            .map(|armed| armed.left)
            .sum()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closing = true;
        state.cut();
        drop(state);
        self.shared.changed.notify_all();
        // Wakes the thread that accepts, which then sees that this ends. If it
        // cannot be woken it stays until the process ends.
        let woken = TcpStream::connect_timeout(&self.address, CONNECT).is_ok();
        if let Some(accepting) = self.accepting.take().filter(|_| woken) {
            drop(accepting.join());
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic of a test's `matches` leaves the state whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn cut(&mut self) {
        for (_, ends) in self.connections.drain() {
            sever(&ends);
        }
    }

    /// The fault to make of this request, which is used up by that.
    fn fault_of(&mut self, request: &Request<'_>) -> Option<Fault> {
        let http_only = [Fault::InternalError, Fault::SlowDown];
        let armed = self.armed.iter_mut().find(|armed| {
            armed.left > 0
                && (request.is_http() || !http_only.contains(&armed.fault))
                && (armed.matches)(request)
        })?;
        armed.left -= 1;
        Some(armed.fault)
    }
}

/// Cuts both ends. An error says that an end is gone already.
fn sever(ends: &[TcpStream; 2]) {
    for end in ends {
        drop(end.shutdown(Shutdown::Both));
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        let accepted = listener.accept();
        if shared.lock().closing {
            return;
        }
        // A client that is gone again, or a server that is not there: the
        // client finds its connection closed.
        let Ok((client, _)) = accepted else { continue };
        let shared = Arc::clone(shared);
        thread::spawn(move || drop(Link::make(shared, client)));
    }
}

impl Link {
    /// Connects to the server, and passes on until either end is gone.
    fn make(shared: Arc<Shared>, client: TcpStream) -> io::Result<()> {
        if shared.lock().flow == Flow::Refusing {
            return client.shutdown(Shutdown::Both);
        }
        let server = TcpStream::connect_timeout(&shared.upstream, CONNECT)?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let ends = [client.try_clone()?, server.try_clone()?];
        let id = {
            let mut state = shared.lock();
            if state.closing || state.flow == Flow::Refusing {
                sever(&ends);
                return Ok(());
            }
            state.accepted += 1;
            let id = state.accepted;
            state.connections.insert(id, ends);
            id
        };
        let link = Self {
            shared,
            id,
            client,
            server,
            lose_answer: AtomicBool::new(false),
        };
        thread::scope(|scope| {
            scope.spawn(|| {
                if link.requests().is_err() {
                    link.cut();
                }
            });
            // However it ends, no answer comes any more.
            drop(link.answers());
            link.cut();
        });
        Ok(())
    }

    fn cut(&self) {
        if let Some(ends) = self.shared.lock().connections.remove(&self.id) {
            sever(&ends);
        }
    }

    /// Waits while the proxy stalls; an error if this connection was cut.
    fn pass(&self) -> io::Result<()> {
        let mut state = self.shared.lock();
        while state.connections.contains_key(&self.id) {
            if state.flow != Flow::Stalled {
                return Ok(());
            }
            state = self
                .shared
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        Err(io::ErrorKind::ConnectionAborted.into())
    }

    /// From the client to the server, until the client has no more to say.
    fn requests(&self) -> io::Result<()> {
        let mut client = BufReader::with_capacity(CHUNK, &self.client);
        let Some(mut protocol) = Protocol::of(&mut client)? else {
            return self.server.shutdown(Shutdown::Write);
        };
        while let Some((head, rest)) = protocol.read(&mut client)? {
            let fault = self.shared.lock().fault_of(&Request::new(&head, protocol));
            let mut server = &self.server;
            match fault {
                Some(Fault::LoseRequest) => return Err(io::ErrorKind::ConnectionReset.into()),
                Some(Fault::InternalError) => {
                    self.refuse(&head, &mut client, rest, "500", "InternalError")?;
                    continue;
                }
                Some(Fault::SlowDown) => {
                    self.refuse(&head, &mut client, rest, "503", "SlowDown")?;
                    continue;
                }
                Some(Fault::LoseAnswer) => self.lose_answer.store(true, Ordering::SeqCst),
                None => {}
            }
            self.pass()?;
            server.write_all(&head)?;
            match rest {
                Rest::Bytes(length) => self.send(&mut client, length)?,
                Rest::Unknown => protocol = Protocol::Opaque,
            }
        }
        self.server.shutdown(Shutdown::Write)
    }

    /// Passes on this many bytes of a body.
    fn send(&self, client: &mut impl Read, length: u64) -> io::Result<()> {
        let mut body = client.take(length);
        let mut chunk = vec![0; CHUNK.min(usize::try_from(length).unwrap_or(CHUNK))];
        while body.limit() > 0 {
            let read = body.read(&mut chunk)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.pass()?;
            (&self.server).write_all(&chunk[..read])?;
        }
        Ok(())
    }

    /// Answers in the server's stead, as S3 words it, once the body is read.
    fn refuse(
        &self,
        head: &[u8],
        client: &mut impl Read,
        rest: Rest,
        status: &str,
        code: &str,
    ) -> io::Result<()> {
        let Rest::Bytes(length) = rest else {
            // Where the body ends is not known, so nothing can follow it.
            return Err(io::ErrorKind::Unsupported.into());
        };
        io::copy(&mut client.take(length), &mut io::sink())?;
        self.pass()?;
        let error = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
             <Error><Code>{code}</Code><Message>Injected by a test.</Message></Error>"
        );
        let body = if head.starts_with(b"HEAD ") {
            ""
        } else {
            &error
        };
        let answer = format!(
            "HTTP/1.1 {status} {code}\r\nContent-Type: application/xml\r\n\
             Content-Length: {}\r\n\r\n{body}",
            error.len()
        );
        (&self.client).write_all(answer.as_bytes())
    }

    /// From the server to the client, until the server has no more to say.
    fn answers(&self) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK];
        loop {
            let read = (&self.server).read(&mut chunk)?;
            if read == 0 || self.lose_answer.load(Ordering::SeqCst) {
                return Ok(());
            }
            self.pass()?;
            (&self.client).write_all(&chunk[..read])?;
        }
    }
}

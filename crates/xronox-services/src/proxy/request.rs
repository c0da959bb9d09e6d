//! Where a request begins and ends.

use std::io::{self, BufRead, Read};

/// Longer heads, and longer messages, are not those of our clients.
const LONGEST_HEAD: usize = 64 * 1024;
const LONGEST_MESSAGE: usize = 48_000_000;

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http,
    MongoDb,
    /// Something else: requests are whatever is read at once.
    Opaque,
}

/// What follows the head of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// So many bytes of body.
    Bytes(u64),
    /// A body of unknown length, so what comes next cannot be told.
    Unknown,
}

/// A request on its way to the server, to be looked at.
pub struct Request<'a> {
    head: &'a [u8],
    protocol: Protocol,
}

impl<'a> Request<'a> {
    pub(super) fn new(head: &'a [u8], protocol: Protocol) -> Self {
        Self { head, protocol }
    }

    pub(super) fn is_http(&self) -> bool {
        self.protocol == Protocol::Http
    }

    /// The HTTP method, `PUT` for example; empty for another protocol.
    pub fn method(&self) -> &str {
        self.words().next().unwrap_or_default()
    }

    /// Path and query of an HTTP request, as sent; empty for another protocol.
    pub fn target(&self) -> &str {
        self.words().nth(1).unwrap_or_default()
    }

    /// Whether this stands in the head of an HTTP request, or anywhere in a
    /// message to MongoDB that is neither compressed nor encrypted. A command is
    /// found by its name: `request.contains("commitTransaction")`.
    pub fn contains(&self, text: &str) -> bool {
        let text = text.as_bytes();
        text.is_empty() || self.head.windows(text.len()).any(|part| part == text)
    }

    fn words(&self) -> impl Iterator<Item = &'a str> {
        let line = self.head.split(|&byte| byte == b'\r').next();
        let line = line.filter(|_| self.is_http());
        let line = line.and_then(|line| std::str::from_utf8(line).ok());
        line.unwrap_or_default().split(' ')
    }
}

impl Protocol {
    /// Told from what the client says first; none if it says nothing.
    ///
    /// A message to MongoDB begins with its length, little-endian and below 48
    /// MB, so its fourth byte is no letter; the first one on a connection is a
    /// greeting, far from the 64 KiB that the first bytes of TLS would mean.
    pub(super) fn of(client: &mut impl BufRead) -> io::Result<Option<Self>> {
        let first = client.fill_buf()?;
        Ok(match *first {
            [] => None,
            [b'A'..=b'Z', b'A'..=b'Z', b'A'..=b'Z', ..] => Some(Self::Http),
            [_, _, 0, 0, ..] => Some(Self::MongoDb),
            _ => Some(Self::Opaque),
        })
    }

    /// The head of the next request (all of it, but for the body of HTTP) and
    /// what follows; none at the end.
    pub(super) fn read(self, client: &mut impl BufRead) -> io::Result<Option<(Vec<u8>, Rest)>> {
        if client.fill_buf()?.is_empty() {
            return Ok(None);
        }
        match self {
            Self::Http => http(client).map(Some),
            Self::MongoDb => Ok(Some((message(client)?, Rest::Bytes(0)))),
            Self::Opaque => {
                let piece = client.fill_buf()?.to_vec();
                client.consume(piece.len());
                Ok(Some((piece, Rest::Bytes(0))))
            }
        }
    }
}

fn http(client: &mut impl BufRead) -> io::Result<(Vec<u8>, Rest)> {
    let mut head = Vec::new();
    let mut rest = Rest::Bytes(0);
    loop {
        let begin = head.len();
        let left = LONGEST_HEAD.saturating_sub(begin);
        let mut line = client.take(left.try_into().unwrap_or(u64::MAX));
        line.read_until(b'\n', &mut head)?;
        let line = &head[begin..];
        if !line.ends_with(b"\n") {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end();
        if line.is_empty() {
            return Ok((head, rest));
        }
        if let Some((name, value)) = line.split_once(':') {
            if name.eq_ignore_ascii_case("content-length") {
                let length = value.trim().parse();
                rest = Rest::Bytes(length.map_err(|_| io::ErrorKind::InvalidData)?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                rest = Rest::Unknown;
            }
        }
    }
}

fn message(client: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    client.read_exact(&mut length)?;
    let whole = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if !(length.len()..=LONGEST_MESSAGE).contains(&whole) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; whole];
    message[..length.len()].copy_from_slice(&length);
    client.read_exact(&mut message[length.len()..])?;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_the_protocol() {
        let of = |bytes: &[u8]| Protocol::of(&mut &*bytes).unwrap();
        assert_eq!(of(b"PUT /a HTTP/1.1\r\n"), Some(Protocol::Http));
        assert_eq!(of(&[0x3c, 1, 0, 0, 9]), Some(Protocol::MongoDb));
        assert_eq!(of(&[0x16, 3, 1, 2, 0]), Some(Protocol::Opaque));
        assert_eq!(of(b""), None);
    }

    #[test]
    fn a_request_ends_where_its_body_begins() {
        let mut sent: &[u8] =
            b"PUT /b/k?x=1 HTTP/1.1\r\ncontent-length: 5\r\n\r\nhelloGET / HTTP/1.1\r\n\r\n";
        let (head, rest) = Protocol::Http.read(&mut sent).unwrap().unwrap();
        let request = Request::new(&head, Protocol::Http);
        assert_eq!((request.method(), request.target()), ("PUT", "/b/k?x=1"));
        assert_eq!(rest, Rest::Bytes(5));
        sent = &sent[5..];
        let (head, rest) = Protocol::Http.read(&mut sent).unwrap().unwrap();
        assert_eq!(Request::new(&head, Protocol::Http).target(), "/");
        assert_eq!(rest, Rest::Bytes(0));
        assert!(Protocol::Http.read(&mut sent).unwrap().is_none());
    }

    #[test]
    fn a_message_is_as_long_as_it_says() {
        let mut sent: &[u8] = &[8, 0, 0, 0, b'p', b'i', b'n', b'g', 5, 0, 0, 0, 1];
        let (head, _) = Protocol::MongoDb.read(&mut sent).unwrap().unwrap();
        let request = Request::new(&head, Protocol::MongoDb);
        assert!(request.contains("ping"));
        assert_eq!(request.method(), "");
        let (head, _) = Protocol::MongoDb.read(&mut sent).unwrap().unwrap();
        assert_eq!(head.len(), 5);
        let torn = Protocol::MongoDb.read(&mut [9, 0, 0, 0, 1].as_slice());
        assert_eq!(torn.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}

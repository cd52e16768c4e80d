//! One HTTP request on one connection, as a client. It speaks HTTP/1.0, so that an answer never comes in chunks and ends
//! with the connection.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::dns;

/// The largest answer that is read.
const LARGEST: u64 = 16 << 20;

/// `http://host[:port]/path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    host: String,
    port: u16,
    path: String,
}

impl Url {
    /// Reads an `http://` URL.
    pub fn parse(text: &str) -> Result<Self, String> {
        let rest = text
            .strip_prefix("http://")
            .ok_or_else(|| format!("{text}: only http:// URLs are understood"))?;
        let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (
                host,
                port.parse()
                    .map_err(|_| format!("{text}: {port} is not a port"))?,
            ),
            _ => (authority, 80),
        };
        if host.is_empty() || path.contains(char::is_whitespace) {
            return Err(format!("{text}: not a URL"));
        }
        Ok(Self {
            host: host.to_owned(),
            port,
            path: path.to_owned(),
        })
    }
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Reply {
    /// Whether the status is 200 to 299.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Where a request failed.
#[derive(Debug)]
pub struct Failure {
    /// `look-up`, `connect`, `send` or `receive`.
    pub stage: &'static str,
    /// What the system said.
    pub error: io::Error,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.stage, self.error)
    }
}

fn at(stage: &'static str) -> impl FnOnce(io::Error) -> Failure {
    move |error| Failure { stage, error }
}

/// Looks the host up, connects to its first address, sends a GET and reads the answer to its end. Tries nothing twice:
/// whoever measures must see each failure.
pub fn get(url: &Url, timeout: Duration) -> Result<Reply, Failure> {
    let until = Instant::now() + timeout;
    let left = || {
        until
            .saturating_duration_since(Instant::now())
            .max(Duration::from_millis(1))
    };
    let addresses = dns::resolve(&url.host).map_err(at("look-up"))?;
    let first = addresses
        .first()
        .ok_or_else(|| at("look-up")(io::ErrorKind::NotFound.into()))?;
    let mut stream =
        TcpStream::connect_timeout(&SocketAddr::new(*first, url.port), left()).map_err(at("connect"))?;
    let prepared = stream
        .set_nodelay(true)
        .and_then(|()| stream.set_write_timeout(Some(left())));
    let prepared = prepared.and_then(|()| stream.set_read_timeout(Some(left())));
    prepared.map_err(at("connect"))?;
    let host = &url.host;
    let head = format!(
        "GET {} HTTP/1.0\r\nHost: {host}:{}\r\nUser-Agent: agent\r\n\r\n",
        url.path, url.port
    );
    stream.write_all(head.as_bytes()).map_err(at("send"))?;
    read_reply(&mut stream).map_err(at("receive"))
}

/// Reads an answer to the end of its connection and checks that nothing of it is missing.
pub fn read_reply(stream: &mut impl Read) -> io::Result<Reply> {
    let mut bytes = Vec::new();
    stream.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::other("the answer is too large"));
    }
    parse_reply(&bytes)
}

fn parse_reply(bytes: &[u8]) -> io::Result<Reply> {
    let short = || io::Error::new(io::ErrorKind::UnexpectedEof, "the answer is cut short");
    let end = bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .ok_or_else(short)?;
    let head = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok());
    let status =
        status.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP"))?;
    let body = bytes.get(end + 4..).unwrap_or_default().to_vec();
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    match length.and_then(|(_, value)| value.trim().parse::<usize>().ok()) {
        Some(length) if body.len() < length => Err(short()),
        _ => Ok(Reply { status, body }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_a_host_a_port_and_a_path() {
        let url = Url::parse("http://web:8080/healthz?x=1").unwrap();
        assert_eq!(
            (url.host.as_str(), url.port, url.path.as_str()),
            ("web", 8080, "/healthz?x=1")
        );
        let url = Url::parse("http://[::1]").unwrap();
        assert_eq!(
            (url.host.as_str(), url.port, url.path.as_str()),
            ("[::1]", 80, "/")
        );
        for wrong in ["https://web", "http://", "http://web:x/", "http://web/a b", "web"] {
            assert!(Url::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_answer_that_ends_early_is_a_failure() {
        let whole = b"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno";
        let reply = parse_reply(whole).unwrap();
        assert_eq!(
            (reply.status, reply.text().as_str(), reply.is_success()),
            (503, "no", false)
        );
        for cut in 0..whole.len() {
            assert!(parse_reply(&whole[..cut]).is_err(), "cut at {cut}");
        }
    }
}

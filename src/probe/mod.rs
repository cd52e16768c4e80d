//! The probe room: ringfence's own look at a service, from the host.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CACHE_CONTROL, CONNECTION, HOST, HeaderValue, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::fleet::compose::service::{Probe, ProbeKind};

/// So much of a body is read: a name stands at its beginning, or in a header.
const MOST: usize = 64 * 1024;

/// One look: a TCP connection, or an HTTP GET that must answer 200 to 399 within the probe's `timeout_ms`, and `name`
/// something (see [`answers`]). Redirects are not followed, proxies are not used.
///
/// # Errors
/// What was seen instead, for people.
pub async fn look(address: IpAddr, probe: &Probe, name: Option<&str>) -> Result<(), String> {
    let limit = Duration::from_millis(probe.timeout_ms);
    match &probe.kind {
        ProbeKind::Tcp { port } => take(SocketAddr::new(address, *port), limit).await,
        ProbeKind::Http { port, path } => answers(SocketAddr::new(address, *port), path, name, limit).await,
    }
}

/// One connection that must be taken.
///
/// # Errors
/// What was seen instead, for people.
pub async fn take(address: SocketAddr, limit: Duration) -> Result<(), String> {
    within(limit, connect(address)).await.map(drop)
}

/// One HTTP GET that must answer 200 to 399, and `name` something in a header or at the beginning of its body: so that what
/// ran before does not answer for what shall run.
///
/// # Errors
/// What was seen instead, for people; never what was answered.
pub async fn answers(
    address: SocketAddr,
    path: &str,
    name: Option<&str>,
    limit: Duration,
) -> Result<(), String> {
    let look = async {
        let response = get(address, path).await?;
        let Some(name) = name else { return Ok(()) };
        if response.head.iter().any(|value| contains(value.as_bytes(), name)) {
            return Ok(());
        }
        if contains(&response.body().await, name) {
            return Ok(());
        }
        Err(format!("{address} answered, and the answer does not name {name}"))
    };
    within(limit, look).await
}

fn contains(text: &[u8], name: &str) -> bool {
    let name = name.as_bytes();
    text.windows(name.len().max(1)).any(|part| part == name)
}

async fn within<T>(limit: Duration, look: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let late = |_| Err(format!("no answer within {} ms", limit.as_millis()));
    tokio::time::timeout(limit, look).await.unwrap_or_else(late)
}

async fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    TcpStream::connect(address)
        .await
        .map_err(|e| format!("cannot connect to {address}: {e}"))
}

/// An answer whose status is good. Its body comes as long as it is asked for.
struct Answer {
    head: Vec<HeaderValue>,
    body: Incoming,
    connection: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Answer {
    /// The beginning of its body.
    async fn body(self) -> Vec<u8> {
        let Self {
            body, mut connection, ..
        } = self;
        let mut body = Limited::new(body, MOST);
        let mut bytes = Vec::new();
        let read = async {
            while let Some(Ok(frame)) = body.frame().await {
                bytes.extend(frame.data_ref().into_iter().flatten());
            }
        };
        tokio::pin!(read);
        tokio::select! {
            biased;
            () = &mut read => {}
            () = &mut connection => read.await,
        }
        bytes
    }
}

async fn get(address: SocketAddr, path: &str) -> Result<Answer, String> {
    let path: Uri = path
        .parse()
        .map_err(|e| format!("the probe's path cannot be asked for: {e}"))?;
    let request = Request::get(path)
        .header(HOST, address.to_string())
        .header(USER_AGENT, concat!("ringfence/", env!("CARGO_PKG_VERSION")))
        .header(CONNECTION, "close")
        .header(CACHE_CONTROL, "no-cache")
        .body(Empty::<Bytes>::new())
        .map_err(|e| format!("the probe cannot be asked: {e}"))?;
    let stream = connect(address).await?;
    let said = |e: hyper::Error| format!("{address} gave no HTTP answer: {e}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(said)?;
    let mut connection = Box::pin(async move { drop(connection.await) });
    let answer = sender.send_request(request);
    tokio::pin!(answer);
    // The connection moves only while it is polled; with its end the answer is there or will never be.
    let response = tokio::select! {
        biased;
        response = &mut answer => response,
        () = &mut connection => answer.await,
    }
    .map_err(said)?;
    let status = response.status();
    if status >= StatusCode::OK && status.as_u16() < 400 {
        Ok(Answer {
            head: response.headers().values().cloned().collect(),
            body: response.into_body(),
            connection,
        })
    } else {
        Err(format!("{address} answered {status}"))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers each connection with `answer`, once it has read something; with none it stays silent.
    async fn server(answer: Option<&'static str>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let mut silent = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = [0; 1024];
                let _ = stream.read(&mut head).await;
                match answer {
                    Some(answer) => drop(stream.write_all(answer.as_bytes()).await),
                    None => silent.push(stream),
                }
            }
        });
        address
    }

    async fn http(answer: Option<&'static str>, timeout_ms: u64) -> Result<(), String> {
        let address = server(answer).await;
        let kind = ProbeKind::Http {
            port: address.port(),
            path: "/healthz?x=1".to_owned(),
        };
        look(address.ip(), &probe(kind, timeout_ms), None).await
    }

    fn probe(kind: ProbeKind, timeout_ms: u64) -> Probe {
        Probe {
            kind,
            interval_ms: 5000,
            timeout_ms,
            retries: 3,
            start_period_ms: 0,
            names_release: false,
        }
    }

    #[tokio::test]
    async fn from_200_to_399_is_healthy_and_redirects_are_not_followed() {
        assert_eq!(http(Some("HTTP/1.1 204 No Content\r\n\r\n"), 5000).await, Ok(()));
        let elsewhere = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(http(Some(elsewhere), 5000).await, Ok(()));
        // A body that never ends is not waited for.
        assert_eq!(
            http(
                Some("HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\nx"),
                5000
            )
            .await,
            Ok(())
        );
    }

    #[tokio::test]
    async fn other_answers_and_silence_are_not() {
        let error = http(Some("HTTP/1.1 503 Nope\r\nContent-Length: 0\r\n\r\n"), 5000)
            .await
            .unwrap_err();
        assert!(error.contains("503"), "{error}");
        let error = http(Some("this is no HTTP\r\n\r\n"), 5000).await.unwrap_err();
        assert!(error.contains("no HTTP answer"), "{error}");
        let error = http(Some(""), 5000).await.unwrap_err();
        assert!(error.contains("no HTTP answer"), "{error}");
        let error = http(None, 50).await.unwrap_err();
        assert_eq!(error, "no answer within 50 ms");
    }

    async fn names(answer: &'static str) -> Result<(), String> {
        let address = server(Some(answer)).await;
        answers(address, "/version", Some("rel-12345678"), Duration::from_secs(5)).await
    }

    #[tokio::test]
    async fn an_answer_that_must_name_something_does_so_in_a_header_or_in_its_body() {
        let body = "HTTP/1.1 200 OK\r\nContent-Length: 26\r\n\r\n{\"version\":\"rel-12345678\"}";
        assert_eq!(names(body).await, Ok(()));
        let header = "HTTP/1.1 204 No Content\r\nX-Release: rel-12345678\r\n\r\n";
        assert_eq!(names(header).await, Ok(()));
        // What ran before answers as well.
        let old = "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nrel-87654321";
        let error = names(old).await.unwrap_err();
        assert!(error.ends_with("does not name rel-12345678"), "{error}");
        let bad = "HTTP/1.1 500 No\r\nContent-Length: 12\r\n\r\nrel-12345678";
        assert!(names(bad).await.unwrap_err().contains("500"));
    }

    #[tokio::test]
    async fn a_body_without_end_is_not_read_to_its_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
        });
        let error = answers(address, "/", Some("rel-1"), Duration::from_secs(30)).await;
        assert!(error.unwrap_err().ends_with("does not name rel-1"));
    }

    #[tokio::test]
    async fn a_tcp_probe_wants_a_connection_and_nothing_more() {
        let address = server(None).await;
        let kind = |port| ProbeKind::Tcp { port };
        assert_eq!(
            look(address.ip(), &probe(kind(address.port()), 5000), None).await,
            Ok(())
        );
        let closed = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        let error = look(closed.ip(), &probe(kind(closed.port()), 5000), None)
            .await
            .unwrap_err();
        assert!(error.contains("cannot connect"), "{error}");
    }
}

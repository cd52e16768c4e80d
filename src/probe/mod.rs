//! The probe room: ringfence's own look at a service, from the host.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::fleet::compose::service::{Probe, ProbeKind};

/// One look: a TCP connection, or an HTTP GET that must answer 200 to 399 within the probe's `timeout_ms`.
/// Redirects are not followed, proxies are not used, and of the answer nothing but its status is read.
///
/// # Errors
/// What was seen instead, for people.
pub async fn look(address: IpAddr, probe: &Probe) -> Result<(), String> {
    let limit = Duration::from_millis(probe.timeout_ms);
    let look = async {
        match &probe.kind {
            ProbeKind::Tcp { port } => connect(SocketAddr::new(address, *port)).await.map(drop),
            ProbeKind::Http { port, path } => get(SocketAddr::new(address, *port), path).await,
        }
    };
    tokio::time::timeout(limit, look)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} ms", probe.timeout_ms)))
}

async fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    TcpStream::connect(address)
        .await
        .map_err(|e| format!("cannot connect to {address}: {e}"))
}

async fn get(address: SocketAddr, path: &str) -> Result<(), String> {
    let path: Uri = path
        .parse()
        .map_err(|e| format!("the probe's path cannot be asked for: {e}"))?;
    let request = Request::get(path)
        .header(HOST, address.to_string())
        .header(USER_AGENT, concat!("ringfence/", env!("CARGO_PKG_VERSION")))
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|e| format!("the probe cannot be asked: {e}"))?;
    let stream = connect(address).await?;
    let said = |e: hyper::Error| format!("{address} gave no HTTP answer: {e}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(said)?;
    let answer = sender.send_request(request);
    tokio::pin!(answer, connection);
    // The connection moves only while it is polled; with its end the answer is there or will never be.
    let response = tokio::select! {
        biased;
        response = &mut answer => response,
        _ = &mut connection => answer.await,
    }
    .map_err(said)?;
    let status = response.status();
    if status >= StatusCode::OK && status.as_u16() < 400 {
        Ok(())
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
        look(address.ip(), &probe(kind, timeout_ms)).await
    }

    fn probe(kind: ProbeKind, timeout_ms: u64) -> Probe {
        Probe {
            kind,
            interval_ms: 5000,
            timeout_ms,
            retries: 3,
            start_period_ms: 0,
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

    #[tokio::test]
    async fn a_tcp_probe_wants_a_connection_and_nothing_more() {
        let address = server(None).await;
        let kind = |port| ProbeKind::Tcp { port };
        assert_eq!(
            look(address.ip(), &probe(kind(address.port()), 5000)).await,
            Ok(())
        );
        let closed = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        let error = look(closed.ip(), &probe(kind(closed.port()), 5000))
            .await
            .unwrap_err();
        assert!(error.contains("cannot connect"), "{error}");
    }
}

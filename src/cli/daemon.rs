//! Talks to a running daemon over its socket.

use std::path::Path;
use std::sync::Arc;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request as HttpRequest, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use super::error::CliError;
use crate::apply::Progress;
use crate::controller::Request;
use crate::controller::socket::PassLine;
use crate::controller::status::Status;

/// A daemon that answers.
pub(crate) struct Daemon {
    sender: SendRequest<Full<Bytes>>,
}

impl Daemon {
    /// The daemon on a socket, if one listens there.
    pub(crate) async fn reach(socket: &Path) -> Option<Self> {
        let stream = UnixStream::connect(socket).await.ok()?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(connection);
        Some(Self { sender })
    }

    async fn ask(mut self, method: &str, path: &str, body: Vec<u8>) -> Result<Response<Incoming>, CliError> {
        let request = HttpRequest::builder()
            .method(method)
            .uri(path)
            .header("host", "ringfence")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))?;
        let response = self.sender.send_request(request).await?;
        if response.status() != StatusCode::OK {
            let status = response.status();
            let text = response.into_body().collect().await?.to_bytes();
            return Err(CliError::new(format!(
                "the daemon answered {status}: {}",
                String::from_utf8_lossy(&text)
            )));
        }
        Ok(response)
    }

    /// The status.
    pub(crate) async fn status(self) -> Result<Status, CliError> {
        let body = self
            .ask("GET", "/v1/status", Vec::new())
            .await?
            .into_body()
            .collect()
            .await?
            .to_bytes();
        Ok(serde_json::from_slice(&body)?)
    }

    /// Every status from now on.
    pub(crate) async fn watch(self) -> Result<Watch, CliError> {
        let answer = self.ask("GET", "/v1/watch", Vec::new()).await?;
        Ok(Watch(Lines::new(answer.into_body())))
    }

    /// Asks for a pass; what happens goes to `progress`, and the answer is the status once all is settled.
    pub(crate) async fn pass(
        self,
        request: &Request,
        progress: impl Fn(Progress),
    ) -> Result<Arc<Status>, CliError> {
        let mut lines = Lines::new(
            self.ask("POST", "/v1/pass", serde_json::to_vec(request)?)
                .await?
                .into_body(),
        );
        while let Some(line) = lines.next().await? {
            match serde_json::from_slice(&line)? {
                PassLine::Progress(p) => progress(p),
                PassLine::Status(status) => return Ok(Arc::new(*status)),
            }
        }
        Err(CliError::new("the daemon stopped before all was settled")
            .hint("`ringfence status` shows where it stands; `ringfence run` goes on"))
    }
}

/// Every status from a moment on.
pub(crate) struct Watch(Lines);

impl Watch {
    /// The next one; none once the daemon has ended, however it did.
    pub(crate) async fn next(&mut self) -> Result<Option<Status>, CliError> {
        let line = self.0.next().await.unwrap_or_default();
        Ok(line.map(|line| serde_json::from_slice(&line)).transpose()?)
    }
}

/// Splits a body into lines.
struct Lines {
    body: Incoming,
    rest: Vec<u8>,
}

impl Lines {
    fn new(body: Incoming) -> Self {
        Self {
            body,
            rest: Vec::new(),
        }
    }

    async fn next(&mut self) -> Result<Option<Vec<u8>>, CliError> {
        loop {
            if let Some(end) = self.rest.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Ok(Some(line));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(frame) => {
                    if let Some(data) = frame?.data_ref() {
                        self.rest.extend_from_slice(data);
                    }
                }
            }
        }
    }
}

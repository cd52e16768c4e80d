//! A plain GET on the engine's socket, for answers that are too large to be read twice: the lists that every pass begins
//! with. What they hold goes straight into our own words, without a model of all that an engine could say.

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::UnixStream;

use super::error::{self, Attempt, EngineError};

/// So much is read at once.
const PIECE: usize = 32 * 1024;

/// What the engine says beside an error's status.
#[derive(Deserialize)]
struct Words {
    message: String,
}

/// The body of the answer to `GET path`.
pub(super) async fn get(socket: &str, path: &str, attempt: &Attempt) -> Result<Vec<u8>, EngineError> {
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|e| error::no_socket(attempt, socket, &e))?;
    let lost = |e: hyper::Error| error::lost(attempt, &e);
    // One buffer, used again for each piece: it grows to hundreds of KiB otherwise.
    let connected = Builder::new()
        .read_buf_exact_size(Some(PIECE))
        .handshake(TokioIo::new(stream));
    let (sender, connection) = connected.await.map_err(lost)?;
    let (mut asked, mut connection) = (Box::pin(ask(sender, path)), std::pin::pin!(connection));
    // In this task, not beside it: nobody has to be woken for each piece of the answer.
    let answer = tokio::select! {
        answer = &mut asked => answer,
        ended = &mut connection => match ended {
            // The engine may hang up with its last byte; what it said is there.
            Ok(()) => asked.await,
            Err(error) => Err(error),
        },
    };
    let (status, body) = answer.map_err(lost)?;
    if status.is_success() {
        return Ok(body);
    }
    let text = match serde_json::from_slice::<Words>(&body) {
        Ok(words) => words.message,
        Err(_) => String::from_utf8_lossy(&body).into_owned(),
    };
    Err(error::refused(attempt, status.as_u16(), &text))
}

async fn ask(
    mut sender: SendRequest<Empty<Bytes>>,
    path: &str,
) -> Result<(StatusCode, Vec<u8>), hyper::Error> {
    let mut request = Request::new(Empty::new());
    if let Ok(uri) = path.parse() {
        *request.uri_mut() = uri;
    }
    let host = hyper::header::HeaderValue::from_static("docker");
    request.headers_mut().insert(hyper::header::HOST, host);
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    Ok((status, whole(answer.into_body()).await?))
}

async fn whole(mut body: Incoming) -> Result<Vec<u8>, hyper::Error> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame?.data_ref() {
            bytes.extend_from_slice(data);
        }
    }
    Ok(bytes)
}

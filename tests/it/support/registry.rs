//! A registry on loopback: enough of its protocol for an engine to ask for a digest and to pull.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::process::Command;
use std::sync::{Arc, Mutex};

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ringfence::digest::Digest;
use serde_json::{Value, json};

use super::engine::address;
use super::image::archive;

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

#[derive(Default)]
struct Content {
    /// Tag or digest → manifest.
    manifests: BTreeMap<String, Vec<u8>>,
    /// Digest → blob.
    blobs: BTreeMap<String, Vec<u8>>,
    /// What was asked.
    log: Vec<String>,
    /// What a client's `Authorization` must be.
    login: Option<String>,
}

/// A registry that is gone when dropped. It holds one repository, `tiny`.
pub struct Registry {
    port: u16,
    content: Arc<Mutex<Content>>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Registry {
    /// Serves nothing yet.
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let port = listener.local_addr().unwrap().port();
        let content = Arc::<Mutex<Content>>::default();
        let app = axum::Router::new()
            .route("/v2/", axum::routing::get(root))
            .route("/v2/tiny/{kind}/{reference}", axum::routing::any(serve))
            .with_state(Arc::clone(&content));
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self {
            port,
            content,
            runtime: Some(runtime),
        }
    }

    /// How an engine on this machine names a tag of it.
    pub fn reference(&self, tag: &str) -> String {
        format!("127.0.0.1:{}/tiny:{tag}", self.port)
    }

    /// Puts an image under a tag and gives its digest.
    pub fn push(&self, tag: &str, version: &str) -> String {
        self.push_with(tag, version, &Value::Null)
    }

    /// The same with more of its configuration: `Healthcheck`, `Volumes`.
    pub fn push_with(&self, tag: &str, version: &str, more: &Value) -> String {
        let files = untar(&archive(&self.reference(tag), version, more));
        let manifest: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        let config = files[manifest[0]["Config"].as_str().unwrap()].clone();
        let layer = files["layer.tar"].clone();
        let digest = |bytes: &[u8]| format!("sha256:{}", Digest::of_bytes(bytes).hex());
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "size": config.len(), "digest": digest(&config)},
            "layers": [{"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "size": layer.len(), "digest": digest(&layer)}],
        })
        .to_string()
        .into_bytes();
        let name = digest(&manifest);
        let mut content = self.content.lock().unwrap();
        content.blobs.insert(digest(&config), config);
        content.blobs.insert(digest(&layer), layer);
        content.manifests.insert(tag.to_owned(), manifest.clone());
        content.manifests.insert(name.clone(), manifest);
        name
    }

    /// From now on it wants a login: `user:password` in base64.
    pub fn guard(&self, login: &str) {
        self.content.lock().unwrap().login = Some(format!("Basic {login}"));
    }

    /// `host:port`, as `docker login` names it.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// How often something that holds this text was asked for.
    pub fn asked(&self, text: &str) -> usize {
        self.content
            .lock()
            .unwrap()
            .log
            .iter()
            .filter(|l| l.contains(text))
            .count()
    }

    /// It answers no more.
    pub fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
        let docker = |args: &[&str]| {
            Command::new("docker")
                .arg("-H")
                .arg(address())
                .args(args)
                .output()
        };
        let Ok(images) = docker(&["images", "-q", &format!("127.0.0.1:{}/tiny", self.port)]) else {
            return;
        };
        let images = String::from_utf8_lossy(&images.stdout).into_owned();
        let _ = docker(
            &["rmi", "-f"]
                .into_iter()
                .chain(images.lines())
                .collect::<Vec<_>>(),
        );
    }
}

async fn root(State(content): State<Arc<Mutex<Content>>>, headers: HeaderMap) -> Response {
    refusal(&content.lock().unwrap(), &headers).unwrap_or_else(|| "{}".into_response())
}

fn refusal(content: &Content, headers: &HeaderMap) -> Option<Response> {
    let wanted = content.login.as_deref()?;
    let given = headers.get(header::AUTHORIZATION).and_then(|h| h.to_str().ok());
    (given != Some(wanted)).then(|| {
        let error = json!({"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]});
        (
            StatusCode::UNAUTHORIZED,
            [(header::WWW_AUTHENTICATE, "Basic realm=\"test\"")],
            error.to_string(),
        )
            .into_response()
    })
}

async fn serve(
    State(content): State<Arc<Mutex<Content>>>,
    Path((kind, reference)): Path<(String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let mut content = content.lock().unwrap();
    if let Some(refusal) = refusal(&content, &headers) {
        return refusal;
    }
    content.log.push(format!("{method} {kind} {reference}"));
    let (found, media) = match kind.as_str() {
        "manifests" => (content.manifests.get(&reference), MANIFEST),
        "blobs" => (content.blobs.get(&reference), "application/octet-stream"),
        _ => (None, ""),
    };
    let Some(bytes) = found.cloned() else {
        let error = json!({"errors": [{"code": "MANIFEST_UNKNOWN", "message": "not here"}]}).to_string();
        return (
            StatusCode::NOT_FOUND,
            [(header::CONTENT_TYPE, "application/json")],
            error,
        )
            .into_response();
    };
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    let digest = format!("sha256:{}", Digest::of_bytes(&bytes).hex());
    headers.insert("docker-content-digest", HeaderValue::from_str(&digest).unwrap());
    if method == Method::HEAD {
        (headers, Vec::new()).into_response()
    } else {
        (headers, bytes).into_response()
    }
}

fn untar(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(bytes);
    archive
        .entries()
        .unwrap()
        .map(|entry| {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (name, bytes)
        })
        .collect()
}

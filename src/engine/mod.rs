//! The engine room: the only place that speaks to Docker.
//!
//! [`Engine`] has one method for each call of the engine, in our own types. Nothing is retried here, and nothing
//! that could not be read is ever taken for empty: a decode failure is an error. Concurrency is the caller's.

mod containers;
mod error;
mod events;
mod exec;
mod images;
pub mod labels;
mod listed;
mod login;
mod logs;
mod networks;
mod observe;
mod options;
mod spec;
pub mod subnets;
mod wire;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bollard::models::SystemInfoCgroupVersionEnum;
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use futures_util::FutureExt as _;
use http_body_util::BodyExt as _;
use hyper::Uri;
use hyper::body::Bytes;
use hyper::header::HeaderValue;
use hyper::http::uri::PathAndQuery;
use tokio::sync::Mutex;

pub use error::EngineError;
pub use events::{EngineEvent, EventKind};
pub use images::{Image, PullProgress};
pub use logs::{LogLine, LogSource};

use crate::fleet::names::Instance;
use crate::plan::seen::Cgroups;
use error::Attempt;

/// Where the engine listens when nobody says otherwise.
pub const DEFAULT_SOCKET: &str = "unix:///var/run/docker.sock";
/// The oldest API that this room was tested with (Engine 20.10).
const OLDEST_API: Api = Api(1, 41);
/// How long a call that only reads may take.
const READ: Duration = Duration::from_secs(30);
/// How long a call that changes something may take (a start on a busy machine takes seconds).
const CHANGE: Duration = Duration::from_secs(120);
/// bollard's own limit covers the response's head alone; [`Engine::call`] limits the whole call instead.
const NO_LIMIT_OF_BOLLARD: u64 = 86_400;

/// A version of the engine's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Api(u32, u32);

impl Api {
    fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Self(major.parse().ok()?, minor.parse().ok()?))
    }

    fn ours() -> Self {
        let ours = API_DEFAULT_VERSION;
        Self(
            u32::try_from(ours.major_version).unwrap_or(1),
            u32::try_from(ours.minor_version).unwrap_or(41),
        )
    }
}

impl std::fmt::Display for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// What an engine says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineInfo {
    /// Its own id; targets with the same id are one engine.
    pub id: String,
    /// Its version, `20.10.24`.
    pub version: String,
    /// The API version that is spoken with it, `1.41`.
    pub api: String,
    /// The host's name.
    pub name: String,
    /// CPUs.
    pub cpus: u64,
    /// Memory, in bytes.
    pub memory: u64,
    /// Whether it runs without root: its containers are in a network namespace of its own.
    pub rootless: bool,
    /// Limits that it takes and does not enforce, by their Compose names.
    pub unenforced: Vec<String>,
    /// What it makes of limits.
    pub cgroups: Cgroups,
}

/// An engine, seen by one instance of one fleet. Cheap to clone; connects with its first call.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    socket: String,
    instance: Instance,
    fleet: String,
    files: PathBuf,
    connection: Mutex<Option<Connection>>,
}

#[derive(Clone)]
struct Connection {
    docker: Docker,
    api: Api,
    version: String,
    log_driver: Arc<Mutex<Option<String>>>,
}

impl Connection {
    fn new(docker: Docker, api: Api, version: String) -> Self {
        Self {
            docker: docker.with_request_modifier(move |request| versioned(request, api)),
            api,
            version,
            log_driver: Arc::default(),
        }
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("socket", &self.inner.socket)
            .field("instance", &self.inner.instance)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine at `address` (`unix:///path`; empty: the default socket). No I/O happens here.
    ///
    /// `files` is `<state>/files`, an absolute path on the engine's host: content is mounted from
    /// `content/<digest hex>[/file]`, live directories from `live/<folder>` below it.
    ///
    /// # Errors
    /// [`EngineError::Address`] for anything but a unix socket.
    pub fn new(
        address: &str,
        instance: Instance,
        fleet: String,
        files: PathBuf,
    ) -> Result<Self, EngineError> {
        let address = if address.is_empty() {
            DEFAULT_SOCKET
        } else {
            address
        };
        let socket = address
            .strip_prefix("unix://")
            .filter(|path| path.starts_with('/'))
            .ok_or_else(|| EngineError::Address(crate::text::Safe::new(address)))?;
        Ok(Self {
            inner: Arc::new(Inner {
                socket: socket.to_owned(),
                instance,
                fleet,
                files,
                connection: Mutex::new(None),
            }),
        })
    }

    /// The instance whose objects are seen.
    pub fn instance(&self) -> &Instance {
        &self.inner.instance
    }

    /// What the engine says about itself, asked anew each time.
    pub async fn info(&self) -> Result<EngineInfo, EngineError> {
        let attempt = Attempt::read("read the engine's information");
        let connection = self.connection().await?;
        let info = self
            .call(attempt.clone(), READ, |docker| async move { docker.info().await })
            .await?;
        let field = |name: &str| EngineError::Undecodable {
            what: attempt.what.clone(),
            reason: format!("it has no {name}"),
        };
        Ok(EngineInfo {
            id: info.id.filter(|id| !id.is_empty()).ok_or_else(|| field("ID"))?,
            version: info.server_version.unwrap_or(connection.version),
            api: connection.api.to_string(),
            name: info.name.unwrap_or_default(),
            cpus: info
                .ncpu
                .and_then(|n| u64::try_from(n).ok())
                .ok_or_else(|| field("NCPU"))?,
            memory: info
                .mem_total
                .and_then(|n| u64::try_from(n).ok())
                .ok_or_else(|| field("MemTotal"))?,
            rootless: info
                .security_options
                .iter()
                .flatten()
                .any(|option| option == "name=rootless"),
            unenforced: [
                ("memory", info.memory_limit),
                ("cpus", info.cpu_cfs_quota),
                ("pids", info.pids_limit),
            ]
            .into_iter()
            .filter(|(_, enforced)| *enforced == Some(false))
            .map(|(name, _)| name.to_owned())
            .collect(),
            cgroups: Cgroups {
                swap: info.swap_limit == Some(true),
                first: info.cgroup_version == Some(SystemInfoCgroupVersionEnum::_1),
            },
        })
    }

    /// The engine's default log driver, asked once a connection.
    async fn log_driver(&self) -> Result<String, EngineError> {
        let connection = self.connection().await?;
        let mut slot = connection.log_driver.lock().await;
        if let Some(driver) = &*slot {
            return Ok(driver.clone());
        }
        let info = self
            .call(
                Attempt::read("read the engine's log driver"),
                READ,
                |docker| async move { docker.info().await },
            )
            .await?;
        let driver = info.logging_driver.unwrap_or_default();
        *slot = Some(driver.clone());
        Ok(driver)
    }

    /// The connection, negotiated once. It is forgotten when the engine cannot be reached, since another
    /// version may come back.
    async fn connection(&self) -> Result<Connection, EngineError> {
        let mut slot = self.inner.connection.lock().await;
        if let Some(connection) = &*slot {
            return Ok(connection.clone());
        }
        let attempt = Attempt::read(&format!("connect to the engine at {}", self.inner.socket));
        let docker = Docker::connect_with_unix(&self.inner.socket, NO_LIMIT_OF_BOLLARD, API_DEFAULT_VERSION)
            .map_err(|e| error::of(&attempt, e))?;
        let version = match tokio::time::timeout(READ, docker.version()).await {
            Ok(answer) => answer.map_err(|e| error::of(&attempt, e))?,
            Err(_) => return Err(error::late(&attempt, READ)),
        };
        let undecodable = |reason: &str| EngineError::Undecodable {
            what: attempt.what.clone(),
            reason: reason.to_owned(),
        };
        let theirs = version
            .api_version
            .as_deref()
            .and_then(Api::parse)
            .ok_or_else(|| undecodable("its version has no ApiVersion"))?;
        if theirs < OLDEST_API {
            return Err(EngineError::TooOld {
                api: theirs.to_string(),
                oldest: OLDEST_API.to_string(),
            });
        }
        let minimum = version.min_api_version.as_deref().and_then(Api::parse);
        if let Some(minimum) = minimum.filter(|minimum| *minimum > Api::ours()) {
            return Err(EngineError::TooNew {
                minimum: minimum.to_string(),
                newest: Api::ours().to_string(),
            });
        }
        let version = version.version.unwrap_or_default();
        let connection = Connection::new(docker, theirs.min(Api::ours()), version);
        *slot = Some(connection.clone());
        Ok(connection)
    }

    /// Goes on with a version that was spoken with this engine before, as [`Engine::api`] gave it, without asking. If the
    /// engine has changed meanwhile, the next [`Engine::observe`] asks.
    pub async fn resume(&self, api: &str) {
        let mut slot = self.inner.connection.lock().await;
        let api = Api::parse(api).filter(|api| (OLDEST_API..=Api::ours()).contains(api));
        let docker = Docker::connect_with_unix(&self.inner.socket, NO_LIMIT_OF_BOLLARD, API_DEFAULT_VERSION);
        if let (None, Some(api), Ok(docker)) = (&*slot, api, docker) {
            *slot = Some(Connection::new(docker, api, String::new()));
        }
    }

    /// The version of the API that is spoken with the engine; none: not connected.
    pub async fn api(&self) -> Option<String> {
        let slot = self.inner.connection.lock().await;
        slot.as_ref().map(|connection| connection.api.to_string())
    }

    async fn forget_connection(&self) {
        self.inner.connection.lock().await.take();
    }

    /// One call: connected, limited in time, its failure in our words.
    async fn call<T, F, Fut>(&self, attempt: Attempt, limit: Duration, call: F) -> Result<T, EngineError>
    where
        F: FnOnce(Docker) -> Fut,
        Fut: Future<Output = Result<T, bollard::errors::Error>>,
    {
        let docker = self.connection().await?.docker;
        let answer = async { call(docker).await.map_err(|e| error::of(&attempt, e)) };
        self.limited(&attempt, limit, Box::pin(answer)).await
    }

    /// An answer, if it comes in time. An engine that cannot be reached is asked for its version again.
    async fn limited<T>(
        &self,
        attempt: &Attempt,
        limit: Duration,
        answer: impl Future<Output = Result<T, EngineError>>,
    ) -> Result<T, EngineError> {
        let result = match tokio::time::timeout(limit, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(error::late(attempt, limit)),
        };
        if matches!(result, Err(EngineError::Unreachable { .. })) {
            self.forget_connection().await;
        }
        result
    }

    /// The filter that lists what carries our instance label, as it stands in a query. (An instance's name needs no
    /// escapes.)
    fn ours_as_query(&self) -> String {
        let (label, instance) = (labels::INSTANCE, &self.inner.instance);
        format!("%7B%22label%22%3A%5B%22{label}%3D{instance}%22%5D%7D")
    }

    /// The filter that lists what carries our instance label.
    fn ours(&self) -> std::collections::HashMap<String, Vec<String>> {
        let label = format!("{}={}", labels::INSTANCE, self.inner.instance);
        std::iter::once(("label".to_owned(), vec![label])).collect()
    }
}

/// Puts `/v1.NN` before the path (bollard 0.21 loses it), and asks for the check of network names, which bollard's
/// type no longer has and the engine makes by itself from API 1.44 on.
fn versioned(request: BollardRequest, api: Api) -> BollardRequest {
    let (mut head, mut body) = request.into_parts();
    let path = head.uri.path().to_owned();
    if !path.starts_with("/v1.") {
        let mut parts = head.uri.clone().into_parts();
        let query = head
            .uri
            .query()
            .map(|query| format!("?{query}"))
            .unwrap_or_default();
        parts.path_and_query = PathAndQuery::try_from(format!("/v{api}{path}{query}")).ok();
        if let Ok(uri) = Uri::from_parts(parts) {
            head.uri = uri;
        }
    }
    if let Some(login) = head.headers.get_mut("x-registry-auth") {
        // bollard 0.21 writes plain base64, the engine reads the alphabet for URLs: it would drop half of all logins.
        let text = login
            .to_str()
            .unwrap_or_default()
            .replace('+', "-")
            .replace('/', "_");
        if let Ok(mut value) = HeaderValue::try_from(text) {
            value.set_sensitive(true);
            *login = value;
        }
    }
    if path.ends_with("/networks/create") && api < Api(1, 44) {
        body = match body {
            http_body_util::Either::Left(full) => {
                let bytes = full.collect().now_or_never().and_then(Result::ok);
                bollard::body_full(checked(
                    &bytes.map(http_body_util::Collected::to_bytes).unwrap_or_default(),
                ))
            }
            stream @ http_body_util::Either::Right(_) => stream,
        };
    }
    BollardRequest::from_parts(head, body)
}

fn checked(body: &[u8]) -> Bytes {
    let Ok(mut fields) = serde_json::from_slice::<BTreeMap<String, serde_json::Value>>(body) else {
        return Bytes::copy_from_slice(body);
    };
    fields.insert("CheckDuplicate".to_owned(), true.into());
    serde_json::to_vec(&fields).map_or_else(|_| Bytes::copy_from_slice(body), Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_numbers() {
        assert!(Api::parse("1.9") < Api::parse("1.41"));
        assert_eq!(Api::parse("1"), None);
        assert!(Api::ours() >= OLDEST_API);
    }

    #[test]
    fn only_a_unix_socket_is_an_address() {
        let new =
            |address: &str| Engine::new(address, "test-one".parse().unwrap(), "f".to_owned(), "/f".into());
        assert_eq!(new("").unwrap().inner.socket, "/var/run/docker.sock");
        assert_eq!(new("unix:///x/y.sock").unwrap().inner.socket, "/x/y.sock");
        for bad in [
            "tcp://1.2.3.4:2375",
            "ssh://host",
            "/var/run/docker.sock",
            "unix://relative",
        ] {
            assert!(matches!(new(bad), Err(EngineError::Address(_))), "{bad}");
        }
    }

    #[test]
    fn a_network_is_asked_for_with_the_check_of_its_name() {
        let body = checked(br#"{"Name":"a","Driver":"bridge"}"#);
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["CheckDuplicate"], true);
        assert_eq!(body["Name"], "a");
    }
}

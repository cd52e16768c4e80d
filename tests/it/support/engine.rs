//! A corner of the real engine for one test: an instance of its own, cleaned up by its label.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ringfence::engine::{Engine, EngineError, labels, subnets};
use ringfence::fleet::names::{Instance, Owner};
use ringfence::fleet::settings::AddressPool;
use ringfence::render::object::NetworkObject;

/// How long [`eventually`] waits.
const DEADLINE: Duration = Duration::from_secs(30);

/// An engine and an instance that nobody else has. Whatever carries the instance's label goes when it is dropped.
pub struct TestEngine {
    /// `unix:///…`
    pub address: String,
    /// Whether the `docker` command line may be used on it.
    real: bool,
    /// The instance.
    pub instance: Instance,
    /// The engine, seen by that instance.
    pub engine: Engine,
    state: tempfile::TempDir,
    /// References of images that this test made.
    images: std::sync::Mutex<Vec<String>>,
}

/// `DOCKER_HOST`, or the default socket.
pub fn address() -> String {
    std::env::var("DOCKER_HOST")
        .ok()
        .filter(|host| !host.is_empty())
        .unwrap_or_else(|| "unix:///var/run/docker.sock".to_owned())
}

impl TestEngine {
    /// Finds the engine. `name` is a few lower-case letters that tell whose test this is.
    ///
    /// # Panics
    /// When there is no engine: these tests fail, they do not skip.
    pub async fn new(name: &str) -> Self {
        Self::at(name, &address(), true).await
    }

    /// The same on a simulated engine.
    pub async fn simulated(name: &str, address: &str) -> Self {
        Self::at(name, address, false).await
    }

    async fn at(name: &str, address: &str, real: bool) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // The process and a count: parallel tests and parallel runs stay apart. `z` keeps it from being all hex.
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let instance: Instance = format!("t-{name}-z{}-{count}", std::process::id())
            .parse()
            .expect("the test's name makes a valid instance");
        let state = tempfile::tempdir().expect("a temporary directory");
        let engine = Engine::new(
            address,
            instance.clone(),
            "test-fleet".to_owned(),
            state.path().join("files"),
        )
        .expect("DOCKER_HOST is a unix socket");
        if let Err(error) = engine.info().await {
            panic!("these tests need a Docker engine at {address} (set DOCKER_HOST): {error}");
        }
        let test = Self {
            address: address.to_owned(),
            real,
            instance,
            engine,
            state,
            images: std::sync::Mutex::default(),
        };
        test.clean();
        test
    }

    /// The state directory; `files` below it is what the engine mounts from.
    pub fn state(&self) -> &Path {
        self.state.path()
    }

    /// `<state>/files`.
    pub fn files(&self) -> PathBuf {
        self.state.path().join("files")
    }

    /// The `docker` command line on this engine: for disturbances that ringfence itself would not make.
    pub fn docker(&self, args: &[&str]) -> Output {
        Command::new("docker")
            .arg("-H")
            .arg(&self.address)
            .args(args)
            .output()
            .expect("the docker command line is installed")
    }

    /// Its standard output, trimmed; it must succeed.
    pub fn docker_ok(&self, args: &[&str]) -> String {
        let output = self.docker(args);
        assert!(
            output.status.success(),
            "docker {args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Makes a tiny image (see [`super::image`]) without registry or builder, and gives its reference,
    /// `<instance>-<name>:<tag>`. Another `version` is another image id.
    pub async fn image(&self, name: &str, tag: &str, version: &str) -> String {
        self.image_with(name, tag, version, &serde_json::Value::Null)
            .await
    }

    /// The same with more of its configuration: `Healthcheck`, `Volumes`.
    pub async fn image_with(&self, name: &str, tag: &str, version: &str, more: &serde_json::Value) -> String {
        let reference = format!("{}-{name}:{tag}", self.instance);
        let tar = super::image::archive(&reference, version, more);
        self.load(&reference, tar).await;
        reference
    }

    /// The same with a healthcheck that looks whether `/healthy` exists, every second.
    pub async fn image_with_healthcheck(&self, name: &str, tag: &str, version: &str) -> String {
        let check = serde_json::json!({
            "Test": ["CMD", "/tiny", "exists", "/healthy"], "Interval": 1_000_000_000u64, "Retries": 1,
        });
        self.image_with(name, tag, version, &serde_json::json!({ "Healthcheck": check }))
            .await
    }

    async fn load(&self, reference: &str, tar: Vec<u8>) {
        self.engine.load(tar).await.expect("the engine takes an archive");
        self.images.lock().unwrap().push(reference.to_owned());
    }

    /// Makes an owner's network with a subnet that nobody has, as the reconciler would: a refusal means the next.
    pub async fn network(&self, owner: &Owner) -> String {
        let object = NetworkObject {
            name: owner.network(&self.instance),
            owner: owner.clone(),
        };
        let pool = AddressPool::default();
        let mut taken = subnets::host_routes().expect("the host's routes");
        let seen = self.engine.observe().await.expect("a look at the engine");
        taken.extend(seen.networks.into_iter().flat_map(|network| network.subnets));
        loop {
            let subnet = subnets::next_free(&pool, &taken).expect("a free subnet");
            match self.engine.create_network(&object, &subnet).await {
                Ok(()) => return object.name,
                Err(EngineError::Overlap { .. }) => taken.push(subnet),
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Removes all that carries the instance's label, and the images that this test made.
    pub fn clean(&self) {
        if !self.real {
            return;
        }
        remove_instance(&self.address, self.instance.as_str());
        let images = self.images.lock().map(|mut images| std::mem::take(&mut *images));
        let images = images.unwrap_or_default();
        if !images.is_empty() {
            let images = images.iter().map(String::as_str);
            self.docker(&["rmi", "-f"].into_iter().chain(images).collect::<Vec<_>>());
        }
    }

    /// The labels of an object that belongs to `owner`.
    pub fn labels(&self, owner: &Owner) -> BTreeMap<String, String> {
        labels::of_owner(&self.instance, "test-fleet", owner)
    }
}

/// Removes all containers, networks and volumes that carry the instance's label, and the tags that kept its images.
pub fn remove_instance(address: &str, instance: &str) {
    let label = format!("label={}={instance}", labels::INSTANCE);
    let docker = |args: &[&str]| {
        let output = Command::new("docker").arg("-H").arg(address).args(args).output();
        let output = output.expect("the docker command line is installed");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let kinds: [(&[&str], &[&str]); 3] = [
        (&["ps", "-aq"], &["rm", "-f", "-v"]),
        (&["network", "ls", "-q"], &["network", "rm"]),
        (&["volume", "ls", "-q"], &["volume", "rm", "-f"]),
    ];
    for (list, remove) in kinds {
        let ids = docker(&[list, &["--filter", &label]].concat());
        if !ids.is_empty() {
            docker(&remove.iter().copied().chain(ids.lines()).collect::<Vec<_>>());
        }
    }
    let kept = docker(&[
        "images",
        "--format",
        "{{.Repository}}:{{.Tag}}",
        &format!("ringfence-kept/{instance}"),
    ]);
    if !kept.is_empty() {
        docker(&["rmi"].into_iter().chain(kept.lines()).collect::<Vec<_>>());
    }
}

impl Drop for TestEngine {
    fn drop(&mut self) {
        self.clean();
    }
}

/// Asks until the answer is there. A wrong answer after the deadline is a failure with `what`.
pub async fn eventually<T, F, Fut>(what: &str, mut ask: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < end, "did not happen within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

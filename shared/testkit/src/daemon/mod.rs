//! The real manager as a process of its own: its folders, its ports and everything it started.
//!
//! Binaries come from `MUXI_BIN_DIR`, else from the target folder of the running test. When the
//! value is dropped, the manager and every process of its data folder are killed; when the test
//! panics, their logs are printed.

mod answer;
mod formation;
mod ports;
mod processes;
mod small_disk;
mod store;
mod switch;

use std::fs;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

pub use self::answer::{Answer, Frame, Frames};
pub use self::formation::{
    ADMIN_KEY, CLIENT_KEY, Formation, bundle, bundle_of_version, bundle_with, manifest,
};
use self::ports::PortBlock;
pub use self::processes::{freeze, is_alive, signal};
pub use self::small_disk::{SmallDisk, in_own_mounts};
pub use self::switch::RuntimeSwitch;

/// Far beyond what any step takes; only a hang gets there.
pub const PATIENCE: Duration = Duration::from_secs(30);
pub const KEY: &str = "muxi_pk_test";
pub const SECRET: &str = "muxi_sk_test_0123456789abcdef0123456789abcdef";

/// A manager and its installation.
#[derive(Debug)]
pub struct Daemon {
    child: Option<Child>,
    url: String,
    starts: u32,
    /// Before the folder that it lies in, so that it is unmounted first.
    small_disk: Option<SmallDisk>,
    folder: tempfile::TempDir,
    environment: Vec<(String, String)>,
    ports: PortBlock,
    switch: Option<RuntimeSwitch>,
    http: reqwest::Client,
}

/// How an installation is made.
#[derive(Debug, Default)]
pub struct Builder {
    config: Value,
    environment: Vec<(String, String)>,
    /// The program behind a [`RuntimeSwitch`].
    switched: Option<&'static str>,
    ports: u16,
    trusted: Option<String>,
    disk_bytes: Option<u64>,
    closed: bool,
}

/// Asks again and again until the condition gives a value; panics with `what` after the deadline.
pub async fn wait_until<T>(
    deadline: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> Option<T>,
) -> T {
    let asking = async {
        loop {
            if let Some(value) = condition().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    };
    let answered = tokio::time::timeout(deadline, asking).await;
    answered.unwrap_or_else(|_| panic!("waited {deadline:?} in vain until {what}"))
}

/// The folder of the programs under test.
pub fn bin_dir() -> PathBuf {
    let beside = || {
        let test = std::env::current_exe().expect("a test knows its own path");
        test.ancestors().nth(2).expect("a test lies in target/PROFILE/deps").to_owned()
    };
    let folder = std::env::var_os("MUXI_BIN_DIR").map_or_else(beside, PathBuf::from);
    for program in ["muxi-server", "formation-runtime"] {
        assert!(
            folder.join(program).is_file(),
            "{} is missing; run: cargo build -p muxi-server -p formation-runtime -p muxi-testkit",
            folder.join(program).display(),
        );
    }
    folder
}

/// Where imported local models lie on this machine.
pub fn models_dir() -> PathBuf {
    let from = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    from("MUXI_MODELS_DIR").unwrap_or_else(|| {
        let home = || from("HOME").unwrap_or_default().join(".cache");
        from("XDG_CACHE_HOME").unwrap_or_else(home).join("muxi/models")
    })
}

// === impl Builder ===

impl Builder {
    /// Merges these keys into `config.yaml`.
    #[must_use]
    pub fn config(mut self, keys: Value) -> Self {
        merge(&mut self.config, keys);
        self
    }

    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Puts a [`RuntimeSwitch`] before the runtime.
    #[must_use]
    pub fn switched(mut self) -> Self {
        self.switched = Some("formation-runtime");
        self
    }

    /// A manager with TLS, whose certificate this root (PEM) vouches for.
    #[must_use]
    pub fn trusting(mut self, root: &str) -> Self {
        self.trusted = Some(root.to_owned());
        self
    }

    /// Puts the data folder on a file system of this size; only within [`in_own_mounts`].
    #[must_use]
    pub fn data_dir_on_small_disk(mut self, bytes: u64) -> Self {
        self.disk_bytes = Some(bytes);
        self
    }

    /// No other user can pass the installation's folder, so formations cannot have users of their
    /// own.
    #[must_use]
    pub fn closed(mut self) -> Self {
        self.closed = true;
        self
    }

    /// Room for that many formations.
    #[must_use]
    pub fn ports_at_least(mut self, count: u16) -> Self {
        self.ports = count;
        self
    }

    pub async fn start(self) -> Daemon {
        let mut daemon = self.install();
        daemon.start_again().await;
        daemon
    }

    /// Everything but the start.
    pub fn install(self) -> Daemon {
        let folder = tempfile::Builder::new().prefix("muxi-e2e-").tempdir().expect("a temp folder");
        let mode = fs::Permissions::from_mode(if self.closed { 0o700 } else { 0o711 });
        fs::set_permissions(folder.path(), mode).expect("our own folder");
        let ports = PortBlock::reserve(self.ports.max(1));
        let mut config = json!({
            "server_id": "server-test",
            "server": {"port": 0},
            "auth": {"keys": [{"id": KEY, "secret": SECRET, "label": "test"}]},
            "formations": {
                "port_range_start": ports.first(),
                "port_range_end": ports.last(),
                "stop_grace": 5,
            },
            "runtime": {"models_dir": models_dir()},
        });
        let switch = self.switched.map(|program| RuntimeSwitch::install(folder.path(), program));
        if let Some(switch) = &switch {
            let fence = json!({"sandbox_read": [bin_dir()], "sandbox_write": [switch.folder()]});
            merge(
                &mut config,
                json!({"runtime": {"program": switch.program()}, "formations": fence}),
            );
        }
        merge(&mut config, self.config);
        fs::create_dir(folder.path().join("config")).expect("a fresh folder");
        // JSON is YAML.
        let text = serde_json::to_string_pretty(&config).expect("a value");
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(folder.path().join("config/config.yaml"))
            .and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()))
            .expect("a fresh folder");
        let mut http = client();
        if let Some(root) = &self.trusted {
            let root = reqwest::Certificate::from_pem(root.as_bytes()).expect("a certificate");
            http = http.tls_certs_only([root]);
        }
        let http = http.build().expect("a client");
        let small_disk =
            self.disk_bytes.map(|bytes| SmallDisk::mount(folder.path().join("data"), bytes));
        Daemon {
            child: None,
            url: String::new(),
            starts: 0,
            small_disk,
            folder,
            environment: self.environment,
            ports,
            switch,
            http,
        }
    }
}

// === impl Daemon ===

impl Daemon {
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    pub fn builder() -> Builder {
        Builder::default()
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub fn config_file(&self) -> PathBuf {
        self.folder.path().join("config/config.yaml")
    }

    /// A folder that goes with the installation.
    pub fn scratch(&self) -> &Path {
        self.folder.path()
    }

    /// The range that formations get their ports from.
    pub fn ports(&self) -> std::ops::RangeInclusive<u16> {
        self.ports.first()..=self.ports.last()
    }

    pub fn runtime(&self) -> &RuntimeSwitch {
        self.switch.as_ref().expect("the builder was told `switched()`")
    }

    pub fn disk(&self) -> &SmallDisk {
        self.small_disk.as_ref().expect("the builder was told `data_dir_on_small_disk()`")
    }

    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the manager runs").id()
    }

    /// The manager's program with this installation's environment.
    pub fn command(&self) -> Command {
        let mut command = Command::new(bin_dir().join("muxi-server"));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder.path())
            .env("MUXI_CONFIG_DIR", self.folder.path().join("config"))
            .env("MUXI_DATA_DIR", self.data_dir())
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    // --- life and death ---

    /// Starts the manager on what is there, and waits until it answers.
    pub async fn start_again(&mut self) {
        self.spawn();
        let child = self.child.as_mut().expect("just spawned");
        let (out, log) = (
            self.folder.path().join(format!("manager-{}.out", self.starts)),
            self.folder.path().join(format!("manager-{}.log", self.starts)),
        );
        self.url = wait_until(PATIENCE, "the manager listens", async || {
            if let Some(status) = child.try_wait().expect("our own child") {
                let log = fs::read_to_string(&log).unwrap_or_default();
                panic!("the manager ended with {status}: {log}");
            }
            let text = fs::read_to_string(&out).ok()?;
            let (_, url) = text.split_once("listens on ")?;
            Some(url.split_once('\n')?.0.to_owned())
        })
        .await;
        self.wait_healthy().await;
    }

    /// Starts the manager and does not wait for anything.
    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "the manager runs already");
        self.starts += 1;
        let file = |kind: &str| {
            let path = self.folder.path().join(format!("manager-{}.{kind}", self.starts));
            fs::File::create(path).expect("a fresh file")
        };
        let mut command = self.command();
        command.arg("start").stdout(file("out")).stderr(file("log"));
        self.child = Some(command.spawn().expect("the manager's program starts"));
    }

    pub async fn wait_healthy(&self) {
        wait_until(PATIENCE, "the manager is healthy", async || {
            let answer = self.http.get(format!("{}/health", self.url)).send().await.ok()?;
            (answer.status() == 200).then_some(())
        })
        .await;
    }

    /// Kills the manager; what it started goes on.
    pub fn kill9(&mut self) {
        let mut child = self.child.take().expect("the manager runs");
        child.kill().expect("our own child");
        child.wait().expect("our own child");
    }

    /// Asks the manager to end, and waits for it.
    pub async fn terminate(&mut self) -> ExitStatus {
        signal(self.pid(), Signal::TERM);
        self.ended().await
    }

    pub async fn ended(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the manager runs");
        let ended = wait_until(PATIENCE, "the manager has ended", async || {
            child.try_wait().expect("our own child")
        });
        ended.await
    }

    /// Ends the manager properly and starts it on the same folders.
    pub async fn restart(&mut self) {
        self.terminate().await;
        self.start_again().await;
    }

    /// Everything that this installation started and that still lives, the manager aside.
    pub fn processes(&self) -> Vec<u32> {
        let manager = self.child.as_ref().map(Child::id);
        let mut found = processes::of_installation(&self.data_dir());
        found.retain(|pid| Some(*pid) != manager);
        found
    }

    /// The same without log writers.
    pub fn instances(&self) -> Vec<u32> {
        self.processes().into_iter().filter(|pid| !is_log_writer(*pid)).collect()
    }

    pub fn log_writers(&self) -> Vec<u32> {
        self.processes().into_iter().filter(|pid| is_log_writer(*pid)).collect()
    }

    /// The newest log of the manager.
    pub fn log(&self) -> String {
        let path = self.folder.path().join(format!("manager-{}.log", self.starts));
        fs::read_to_string(path).unwrap_or_default()
    }

    // --- what is left on the disk ---

    /// Paths of everything in the data folder, without the database, the lock, the reserve and the
    /// logs.
    pub fn files_left(&self) -> Vec<String> {
        let mut found = Vec::new();
        collect(&self.data_dir(), &self.data_dir(), &mut found);
        let is_kept = |path: &str| {
            path.starts_with("manager.") || path.starts_with("logs/") || path == "reserve"
        };
        found.retain(|path| !is_kept(path));
        found.sort();
        found
    }

    /// The manager's store, to be read.
    pub fn database(&self) -> rusqlite::Connection {
        let path = self.data_dir().join("manager.db");
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        rusqlite::Connection::open_with_flags(path, flags).expect("the manager's store")
    }

    // --- signed calls ---

    /// A signed request.
    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.signed_with(method, path, KEY, SECRET, now_s())
    }

    pub fn signed_with(
        &self,
        method: &str,
        path: &str,
        key: &str,
        secret: &str,
        timestamp_s: i64,
    ) -> reqwest::RequestBuilder {
        let signed = path.split_once('?').map_or(path, |(path, _)| path);
        let header = muxi_contract::signature::header(key, secret, timestamp_s, method, signed);
        self.unsigned(method, path).header("authorization", header)
    }

    pub fn unsigned(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = method.parse().expect("an HTTP method");
        self.http.request(method, format!("{}{path}", self.url))
    }

    pub async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request("GET", path)).await
    }

    pub async fn post(&self, path: &str) -> Answer {
        Answer::of(self.request("POST", path)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        Answer::of(self.request("DELETE", path)).await
    }

    pub fn upload(&self, bundle: Vec<u8>) -> reqwest::RequestBuilder {
        let request = self.request("POST", "/rpc/formations");
        request.header("content-type", "application/gzip").body(bundle)
    }

    pub async fn deploy(&self, bundle: Vec<u8>) -> Answer {
        Answer::of(self.upload(bundle)).await
    }

    /// A signed request with a bundle as the formation's next generation.
    pub fn put(&self, id: &str, bundle: Vec<u8>) -> reqwest::RequestBuilder {
        let request = self.request("PUT", &format!("/rpc/formations/{id}"));
        request.header("content-type", "application/gzip").body(bundle)
    }

    pub async fn update(&self, id: &str, bundle: Vec<u8>) -> Answer {
        Answer::of(self.put(id, bundle)).await
    }

    pub async fn update_stream(&self, id: &str, bundle: Vec<u8>) -> Frames {
        Frames::of(self.put(id, bundle).header("accept", "text/event-stream")).await
    }

    pub async fn deploy_stream(&self, bundle: Vec<u8>) -> Frames {
        Frames::of(self.upload(bundle).header("accept", "text/event-stream")).await
    }

    /// Deploys a formation whose model is at `base_url`, and waits until it serves.
    pub async fn deploy_formation(&self, id: &str, base_url: &str) -> Formation {
        let answer = self.deploy(bundle(id, base_url)).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        self.formation(id).await
    }

    /// A handle on what is deployed.
    pub async fn formation(&self, id: &str) -> Formation {
        let view = self.view(id).await;
        let port = view["port"].as_u64().and_then(|it| u16::try_from(it).ok()).expect("a port");
        Formation::new(id, port, self.http.clone())
    }

    /// `GET /rpc/formations/{id}`.
    pub async fn view(&self, id: &str) -> Value {
        let answer = self.get(&format!("/rpc/formations/{id}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body["data"].clone()
    }

    /// Waits until the formation has this status.
    pub async fn wait_status(&self, id: &str, status: &str) -> Value {
        wait_until(PATIENCE, &format!("{id} is {status}"), async || {
            let view = self.view(id).await;
            (view["status"] == status).then_some(view)
        })
        .await
    }

    /// The id of the formation's process, once it has one.
    pub async fn instance_pid(&self, id: &str) -> u32 {
        wait_until(PATIENCE, &format!("{id} has a process"), async || {
            let pid = self.view(id).await["pid"].as_u64().and_then(|it| u32::try_from(it).ok());
            pid.filter(|pid| *pid != 0)
        })
        .await
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            child.kill().ok();
            child.wait().ok();
        }
        processes::kill_all(&self.data_dir());
        if std::thread::panicking() {
            print_logs(self.folder.path());
        }
    }
}

/// How a test calls: nothing of the machine's own settings, and no connection used twice.
pub fn client() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .timeout(PATIENCE)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        // A connection to a manager that was killed must not be used again.
        .pool_max_idle_per_host(0)
}

/// Unix seconds.
pub fn now_s() -> i64 {
    let since = std::time::UNIX_EPOCH.elapsed().expect("a clock after 1970");
    i64::try_from(since.as_secs()).expect("a clock before the end of time")
}

fn is_log_writer(pid: u32) -> bool {
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    command.split(|byte| *byte == 0).any(|argument| argument == b"__log")
}

#[expect(clippy::print_stderr, reason = "shown by the test harness beside the failure")]
fn print_logs(folder: &Path) {
    let mut paths = Vec::new();
    collect(folder, folder, &mut paths);
    paths.sort();
    let is_log = |path: &&String| {
        Path::new(path).extension().is_some_and(|kind| kind == "log" || kind == "out")
    };
    for path in paths.iter().filter(is_log) {
        let text = fs::read_to_string(folder.join(path)).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        let end = lines[lines.len().saturating_sub(LOG_LINES_MAX)..].join("\n");
        if !end.is_empty() {
            eprintln!("--- {path} ---\n{end}");
        }
    }
}

const LOG_LINES_MAX: usize = 30;

fn collect(root: &Path, folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = path.strip_prefix(root).expect("below the root").to_string_lossy().into_owned();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(root, &path, found);
            found.push(format!("{name}/"));
        } else {
            found.push(name);
        }
    }
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (_, Value::Null) => {}
        (into, from) => *into = from,
    }
}

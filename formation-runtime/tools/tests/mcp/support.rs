//! Servers as a formation has them, with nothing behind them but what the test starts.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use muxi_contract::UserId;
use muxi_service::TaskGroup;
use muxi_tools::mcp::{
    Limits, McpError, MissingCredential, Secret, ServerConfig, Servers, TokensInMemory, Transport,
    UserCredentials,
};
use muxi_tools::{Call, Outcome, Tool};
use secrecy::SecretString;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// A loaded machine may take this long for anything that is not under test.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// One formation's servers; all of them end with it.
pub(crate) struct Formation {
    pub(crate) servers: Servers,
    pub(crate) tasks: TaskGroup,
    pub(crate) stop: CancellationToken,
}

/// Each user's credential is their own name.
#[derive(Debug)]
struct Names;

impl UserCredentials for Names {
    fn fill<'a>(
        &'a self,
        user: &'a UserId,
        template: &'a str,
    ) -> BoxFuture<'a, Result<SecretString, MissingCredential>> {
        let filled = SecretString::from(template.replace("{}", user.as_str()));
        std::future::ready(Ok(filled)).boxed()
    }

    fn wanted(&self, service: &str) -> Outcome {
        Outcome::refused(format!("{service} is wanted"))
    }
}

impl Formation {
    pub(crate) fn of(config: ServerConfig) -> Self {
        Self::with(config, Limits::default())
    }

    pub(crate) fn with(config: ServerConfig, limits: Limits) -> Self {
        let stop = CancellationToken::new();
        let tasks = TaskGroup::new(stop.clone());
        let credentials = Arc::new(Names);
        let tokens = Arc::new(TokensInMemory::default());
        let servers = Servers::new([config], limits, credentials, tokens, tasks.clone(), &stop);
        Self { servers, tasks, stop }
    }

    pub(crate) async fn tools(&self) -> Result<Vec<Arc<dyn Tool>>, McpError> {
        let id = self.servers.ids().next().unwrap().to_owned();
        self.servers.tools(&id, Some(&user("alice"))).await
    }

    pub(crate) async fn tool(&self, name: &str) -> Arc<dyn Tool> {
        let tools = self.tools().await.unwrap();
        let found = tools.iter().find(|it| it.spec().name.ends_with(&format!("__{name}")));
        found.unwrap_or_else(|| panic!("no `{name}` among {tools:?}")).clone()
    }

    pub(crate) async fn call(&self, name: &str, arguments: Value) -> Outcome {
        self.tool(name).await.call(call(arguments)).await
    }

    /// Everything that was started has ended when this returns.
    pub(crate) async fn end(self) {
        self.stop.cancel();
        let left = self.tasks.drain(PATIENCE).await;
        assert!(left.is_empty(), "{left:?} did not end");
    }
}

pub(crate) fn user(name: &str) -> UserId {
    name.parse().unwrap()
}

pub(crate) fn call(arguments: Value) -> Call {
    Call {
        arguments: serde_json::from_value(arguments).unwrap(),
        user: user("alice"),
        session: "sess_test".parse().unwrap(),
        request: "req_test".parse().unwrap(),
        agent: "tester".to_owned(),
        depth: 0,
        time_left: PATIENCE,
        cancelled: CancellationToken::new(),
    }
}

pub(crate) fn command(program: &str, args: &[&str]) -> ServerConfig {
    let transport = Transport::Command {
        command: program.to_owned(),
        args: args.iter().map(|&it| it.to_owned()).collect(),
        env: [].into(),
        cwd: None,
        home: std::env::temp_dir().join("muxi-test-servers"),
    };
    // One try: what a test breaks stays broken. The time is for machines that do other things.
    ServerConfig { retry_attempts: 0, timeout: PATIENCE, ..ServerConfig::new("fake", transport) }
}

pub(crate) fn with_env(mut config: ServerConfig, name: &str, value: &str) -> ServerConfig {
    if let Transport::Command { env, .. } = &mut config.transport {
        env.insert(name.to_owned(), Secret::from(value));
    }
    config
}

/// The hostile server; see its source for its modes and tools.
pub(crate) fn fake(mode: &str) -> ServerConfig {
    let test = std::env::current_exe().unwrap();
    let program = test.ancestors().nth(2).unwrap().join("fake-mcp");
    assert!(
        program.is_file(),
        "{} is missing; run: cargo build -p muxi-testkit",
        program.display()
    );
    command(program.to_str().unwrap(), &[mode])
}

/// A real server below the folder that `tests/mcp/install.sh` fills.
pub(crate) fn installed(path: &str) -> String {
    let default = || {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
        let target = std::env::var_os("CARGO_TARGET_DIR");
        target.map_or_else(|| root.join("target"), PathBuf::from).join("mcp-servers")
    };
    let folder = std::env::var_os("MUXI_MCP_SERVERS").map_or_else(default, PathBuf::from);
    let program = folder.join(path);
    assert!(program.is_file(), "{} is missing; run: tests/mcp/install.sh", program.display());
    program.to_str().unwrap().to_owned()
}

/// Waits for a fact.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    assert!(waited.is_ok(), "waited in vain until {what}");
}

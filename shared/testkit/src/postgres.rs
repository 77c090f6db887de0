//! A PostgreSQL server of one test's own, on a temporary folder; it ends with the test.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};

#[derive(Debug)]
pub struct Postgres {
    server: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

const PATIENCE: Duration = Duration::from_secs(30);
/// The packages of Debian put each version into a folder of its own.
const VERSIONS: &str = "/usr/lib/postgresql";
/// The server refuses to run as root; its package makes this user.
const USER: &str = "postgres";

// === impl Postgres ===

impl Postgres {
    /// Blocks until it answers.
    ///
    /// # Panics
    /// Without an installed server, with what to install.
    pub fn start() -> Self {
        let programs = programs();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let data = folder.path().join("data");
        if geteuid().is_root() {
            run(Command::new("chown").arg(USER).arg(folder.path()));
        }
        let initdb = programs.join("initdb");
        run(as_its_user(&initdb).arg("-D").arg(&data).args([
            "--username=muxi",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        ]));
        let port = free_port();
        let server = as_its_user(&programs.join("postgres"))
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(folder.path())
            .args(["-p", &port.to_string(), "-h", "127.0.0.1", "-F"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server starts");
        let running = Self { server, port, _folder: folder };
        running.wait(&programs.join("pg_isready"));
        running
    }

    pub fn url(&self) -> String {
        format!("postgresql://muxi@127.0.0.1:{}/postgres?sslmode=disable", self.port)
    }

    fn wait(&self, is_ready: &Path) {
        let began = Instant::now();
        let asks = || {
            let mut asking = Command::new(is_ready);
            asking.args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
            asking.status().is_ok_and(|status| status.success())
        };
        while !asks() {
            assert!(began.elapsed() < PATIENCE, "the server was not ready in {PATIENCE:?}");
            std::thread::yield_now();
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Its fast way to stop.
        let pid = Pid::from_child(&self.server);
        let _gone = kill_process(pid, Signal::INT);
        let _status = self.server.wait();
    }
}

// === private helpers ===

fn programs() -> PathBuf {
    let versions = std::fs::read_dir(VERSIONS).into_iter().flatten().flatten();
    let newest = versions.map(|entry| entry.path().join("bin")).max();
    newest.filter(|bin| bin.join("postgres").is_file()).unwrap_or_else(|| {
        panic!("there is no PostgreSQL below {VERSIONS}; install the package `postgresql`")
    })
}

/// Killed with the test, whatever becomes of it.
fn as_its_user(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.arg("--pdeathsig=KILL");
    if geteuid().is_root() {
        command.args([&format!("--reuid={USER}"), &format!("--regid={USER}"), "--clear-groups"]);
    }
    command.arg("--").arg(program).env("LC_ALL", "C.UTF-8").current_dir("/");
    command
}

fn run(command: &mut Command) {
    let output = command.output().expect("the command starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

//! The program with a home of its own, and what it printed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use muxi_testkit::daemon::{Daemon, KEY, SECRET, bin_dir};

/// A user's home and the folder where the user is.
#[derive(Debug)]
pub(crate) struct User {
    scratch: tempfile::TempDir,
    environment: Vec<(String, String)>,
}

/// One run of the program.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

// === impl User ===

impl User {
    /// Knows nobody.
    pub(crate) fn new() -> Self {
        let scratch =
            tempfile::Builder::new().prefix("muxi-cli-").tempdir().expect("a temp folder");
        std::fs::create_dir(scratch.path().join("home")).expect("a fresh folder");
        std::fs::create_dir(scratch.path().join("work")).expect("a fresh folder");
        Self { scratch, environment: Vec::new() }
    }

    /// Knows this manager, as the default.
    pub(crate) fn of(daemon: &Daemon) -> Self {
        let user = Self::new();
        user.knows(daemon);
        user
    }

    /// From now on, as the default.
    pub(crate) fn knows(&self, daemon: &Daemon) {
        let text = format!(
            "version: '1.0'\ndefault_profile: test\nprofiles:\n  test:\n    url: {}\n    key_id: {KEY}\n    secret_key: {SECRET}\n",
            daemon.url()
        );
        self.write_home(".muxi/cli/profiles.yaml", &text);
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.scratch.path().join("home")
    }

    /// Where commands are given, unless a test says otherwise.
    pub(crate) fn work(&self) -> PathBuf {
        self.scratch.path().join("work")
    }

    pub(crate) fn write_home(&self, path: &str, text: &str) {
        write(&self.home().join(path), text);
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        write(&self.work().join(path), text);
    }

    /// A file, as if a program had printed it.
    pub(crate) fn read(&self, path: &str) -> Ran {
        let text = std::fs::read_to_string(self.work().join(path));
        Ran { code: 0, out: text.expect("a file of text"), err: String::new() }
    }

    /// With no terminal anywhere.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        self.run_in("", arguments)
    }

    /// In a folder below [`Self::work`].
    pub(crate) fn run_in(&self, folder: &str, arguments: &[&str]) -> Ran {
        let output = self.command(folder, arguments).stdin(Stdio::null()).output();
        Ran::of(output.expect("the program starts"))
    }

    pub(crate) fn command(&self, folder: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(bin_dir().join("muxi"));
        command
            .args(arguments)
            .current_dir(self.work().join(folder))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home())
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

// === impl Ran ===

impl Ran {
    pub(crate) fn of(output: std::process::Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).expect("UTF-8"),
            err: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    /// As a snapshot shows it.
    pub(crate) fn shown(&self) -> String {
        let Self { code, out, err } = self;
        let errors = if err.is_empty() { String::new() } else { format!("--- stderr\n{err}") };
        format!("exit {code}\n{out}{errors}")
    }

    /// The document that `--json` prints.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }
}

/// Asserts in a scope where what differs from run to run has names.
pub(crate) fn with_names(user: &User, assert: impl FnOnce()) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    let (work, home) = (user.work(), user.home());
    let escaped = |path: &Path| path.display().to_string().replace('.', r"\.");
    for (pattern, name) in [
        (escaped(&work).as_str(), "[work]"),
        (escaped(&home).as_str(), "[home]"),
        (r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "[time]"),
        (r"(localhost|127\.0\.0\.1):\d+", "$1:[port]"),
        (r"\b[0-9a-f]{64}\b", "[sha256]"),
        (r"\bop_[0-9a-f]{32}\b", "op_[id]"),
        (r"\breq_[0-9a-zA-Z_-]{16,}", "req_[id]"),
        (r"\bsess_[0-9a-zA-Z_-]{16,}", "sess_[id]"),
        (r"\b(art|cred|apv|sched_job|job|watch)_[0-9a-zA-Z_-]{16,}", "${1}_[an id of its own]"),
        (r"(?m)^[0-9a-zA-Z_-]{21}  ", "[an id of 21 letters]  "),
        (r"(Remembered as|Forgot) [0-9a-zA-Z_-]{21}", "$1 [an id of 21 letters]"),
        (r"(Memory \(MB\)|Processor \(%\))  .+", "$1  [n]"),
        (r"\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\b", "[date and the time]"),
        (r"\b\d+(\.\d+)? ms", "[n] ms"),
        (r"\b\d+(\.\d+)? [KM]iB", "[n] KiB"),
        // Of archives: what is encrypted packs differently each time.
        (r"\(\d{3} B\)", "([n] B)"),
        (r#""(timestamp|pid|port|uptime|took_ms|bytes)": \d+(?:\.\d+)?"#, r#""$1": "[$1]""#),
        // Columns: ports of formations, and how long they run.
        (r"  (?:[1-6]\d{4}|\d{4})  ", "  [port]  "),
        (r"(?m)  \d+s$", "  [uptime]"),
    ] {
        settings.add_filter(pattern, name);
    }
    settings.bind(assert);
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
    std::fs::write(path, text).expect("a file");
}

//! A server as a child process with an environment and a process group of its own.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use muxi_service::{TaskGroup, TaskKind};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use secrecy::ExposeSecret as _;
use tokio::process::{ChildStdin, ChildStdout, Command};

use super::config::{Limits, ServerConfig, Transport};
use super::error::McpError;
use super::report::Report;
use super::settings::Settings;

/// Variables of this process that every child gets; the others may hold what is none of its business.
const INHERITED: &[&str] = &["PATH", "HOME", "LANG", "TZ", "TMPDIR"];

/// Ends with all that it started when it is dropped.
#[derive(Debug)]
pub(super) struct Process {
    group: Option<Pid>,
    report: Arc<Report>,
}

/// The parts of a child that speak.
#[derive(Debug)]
pub(super) struct Pipes {
    pub(super) stdin: ChildStdin,
    pub(super) stdout: ChildStdout,
}

impl Process {
    pub(super) fn start(
        config: &ServerConfig,
        settings: &Settings,
        limits: &Limits,
        tasks: &TaskGroup,
    ) -> Result<(Self, Pipes, Arc<Report>), McpError> {
        let Transport::Command { command: program, args, cwd, home, .. } = &config.transport else {
            unreachable!("only commands are started");
        };
        let own_home = std::env::var_os("HOME").is_none_or(|it| it.is_empty()).then_some(home);
        if let Some(home) = own_home {
            make_private(home).map_err(|error| McpError::Start {
                server: config.id.clone(),
                fault: format!("its home `{}` cannot be made: {error}", home.display()),
            })?;
        }
        let mut command = Command::new(program);
        command
            .args(args)
            .env_clear()
            .envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .envs(own_home.map(|home| ("HOME", home)))
            .envs(settings.env.iter().map(|(name, value)| (name, value.expose_secret())))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        if let Some(folder) = cwd {
            command.current_dir(folder);
        }
        let hint = hint(program, args, cwd.as_deref());
        let failed = |fault: String| {
            let hint = hint.as_ref().map(|it| format!("; {it}")).unwrap_or_default();
            McpError::Start { server: config.id.clone(), fault: format!("{fault}{hint}") }
        };
        let mut child = command.spawn().map_err(|error| {
            // Whoever starts this process may have fenced it in.
            let mend = if error.kind() == io::ErrorKind::PermissionDenied {
                "; a manager opens folders beside those of the system only when \
                 `formations.sandbox_read` of its configuration lists them; else see the file's mode"
            } else {
                ""
            };
            failed(format!("`{program}`: {error}{mend}"))
        })?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let report = Arc::new(Report::of_child());
        let process = Self { group, report: Arc::clone(&report) };
        let (Some(stdin), Some(stdout), Some(stderr)) = (stdin, stdout, stderr) else {
            return Err(failed("its pipes are missing".to_owned()));
        };
        if let Some(hint) = hint {
            report.note_hint(hint);
        }
        // Waits on its own, so that how it ended is known whoever asks, and no zombie stays.
        let waited = Arc::clone(&report);
        tasks.spawn(
            TaskKind::Connection,
            format!("process of MCP server {}", config.id),
            async move {
                match child.wait().await {
                    Ok(status) => waited.note_exit(status),
                    Err(_) => waited.exited.cancel(),
                }
            },
        );
        let (drained, bytes_max) = (Arc::clone(&report), limits.stderr_bytes);
        tasks.spawn(
            TaskKind::Connection,
            format!("stderr of MCP server {}", config.id),
            async move {
                drained.drain(stderr, bytes_max).await;
            },
        );
        Ok((process, Pipes { stdin, stdout }, report))
    }

    /// Waits for a child whose input is closed, asks it, and then kills what is left of its group.
    pub(super) async fn stop(&mut self, grace: Duration) {
        let exited = || self.report.exited.cancelled();
        if tokio::time::timeout(grace, exited()).await.is_err() {
            self.signal(Signal::SIGTERM);
            let _late = tokio::time::timeout(grace, exited()).await;
        }
        self.kill();
        exited().await;
    }

    /// Everything of its group, at once.
    pub(super) fn kill(&self) {
        self.signal(Signal::SIGKILL);
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // There is no such group any more when all of it has ended.
            let _gone = killpg(group, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn make_private(folder: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// A likely cause of failure that can be seen from here.
fn hint(program: &str, args: &[String], cwd: Option<&Path>) -> Option<String> {
    if let Some(folder) = cwd
        && !folder.is_dir()
    {
        return Some(format!("its folder `{}` does not exist", folder.display()));
    }
    let exists = |path: &str| cwd.unwrap_or(Path::new("")).join(path).exists();
    if program.contains('/') {
        if !exists(program) {
            return Some(format!("the file `{program}` does not exist"));
        }
    } else if !is_on_path(program) {
        return Some(format!("`{program}` is not on PATH; install it, or give its full path"));
    }
    let looks_like_path =
        |arg: &str| ["/", "./", "../", "~/"].iter().any(|start| arg.starts_with(start));
    let missing = args.iter().find(|arg| looks_like_path(arg) && !exists(arg))?;
    let reason = if missing.starts_with('~') {
        "no shell expands `~` here; give the full path"
    } else {
        "it does not exist"
    };
    Some(format!("its argument `{missing}` looks like a path: {reason}"))
}

fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_name_what_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("there"), "").unwrap();
        let check = |program: &str, args: &[&str]| {
            let args: Vec<String> = args.iter().map(|&it| it.to_owned()).collect();
            hint(program, &args, Some(folder.path())).unwrap_or_default()
        };
        assert_eq!(check("sh", &["-c", "x", "./there", "/"]), "");
        assert!(check("no-such-program", &[]).contains("is not on PATH"));
        assert!(check("./no-such-file", &[]).contains("does not exist"));
        assert!(check("sh", &["./absent"]).contains("`./absent` looks like a path"));
        assert!(check("sh", &["~/notes"]).contains("no shell expands"));
        assert!(hint("sh", &[], Some(Path::new("/no/such"))).unwrap().contains("folder"));
    }
}

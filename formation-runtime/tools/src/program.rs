//! Another program that is run to its end, with everything that it starts.
//!
//! Invariants: it is a list of arguments and never a line for a shell; it is confined or not run; it sees
//! the environment that it is given and none of ours; dropping it, or its end, ends its whole session; what
//! it prints is handed on in lines of bounded length and never held.

mod identity;
mod lines;

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use tokio::time::{Instant, sleep_until};

pub use self::identity::Identity;
use self::lines::Lines;
use crate::sandbox::{SandboxError, Walls, find};

/// What is to be run, and where.
#[derive(Debug, Clone)]
pub struct Order {
    pub program: String,
    pub args: Vec<String>,
    /// Besides the few variables that every program needs.
    pub env: Vec<(String, SecretString)>,
    /// What it reads; without it there is nothing to read.
    pub stdin: Option<String>,
    pub walls: Walls,
}

/// A running program.
#[derive(Debug)]
pub struct Program {
    child: Child,
    identity: Identity,
    walls: Walls,
    stdin: Option<(ChildStdin, String)>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
}

/// Where a line was printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Printed {
    Out,
    Err,
}

#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    #[error("`{program}` cannot be started: {fault}")]
    Start { program: String, fault: String },
    #[error("its end cannot be awaited")]
    Wait(#[source] io::Error),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
}

/// Variables of this process that every program gets beside PATH; the others may hold what is none of its
/// business.
const INHERITED: &[&str] = &["LANG", "TZ"];
/// A longer line is cut.
const LINE_BYTES_MAX: usize = 1024 * 1024;
/// How long the output may stay open after the end.
const OUTPUT_GRACE: Duration = Duration::from_secs(2);

// === impl Program ===

impl Program {
    /// Starts it in a session of its own.
    pub fn start(order: Order) -> Result<Self, ProgramError> {
        let Order { program, args, env, stdin, walls } = order;
        let failed =
            |fault: &str| ProgramError::Start { program: program.clone(), fault: fault.to_owned() };
        let file = find(&program)
            .ok_or_else(|| failed("it is not there; install it, or name its full path"))?;
        let mut command = walls.command(&file, &args)?;
        command
            .envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .envs(env.iter().map(|(name, value)| (name, value.expose_secret())))
            // The shell's own name for the folder; without it a program may show another way there.
            .env("PWD", &walls.work)
            .stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| failed(&error.to_string()))?;
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        let identity = Identity::of(id.ok_or_else(|| failed("it has no process id"))?);
        let stdin = child.stdin.take().zip(stdin);
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        Ok(Self { child, identity, walls, stdin, stdout, stderr })
    }

    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Hands on what it prints until it and its session have ended. To be called once.
    pub async fn run(
        &mut self,
        told: &mut (dyn FnMut(Printed, &[u8]) + Send),
    ) -> Result<ExitStatus, ProgramError> {
        let (stdin, stdout, stderr) = (self.stdin.take(), self.stdout.take(), self.stderr.take());
        let mut writing = Box::pin(async {
            if let Some((mut pipe, text)) = stdin {
                // Who does not want to read it all need not.
                let _unread = pipe.write_all(text.as_bytes()).await;
            }
        });
        let mut out = Lines::new(stdout, LINE_BYTES_MAX);
        let mut err = Lines::new(stderr, LINE_BYTES_MAX);
        let (mut is_written, mut ended) = (false, None);
        let mut patience = Box::pin(sleep_until(Instant::now()));
        while ended.is_none() || !out.is_over() || !err.is_over() {
            tokio::select! {
                // Its end first, so that a flood cannot hide it. All arms are cancel-safe.
                biased;
                status = self.child.wait(), if ended.is_none() => {
                    ended = Some(status.map_err(ProgramError::Wait)?);
                    // What it left behind has nobody left to work for.
                    self.identity.signal(Signal::SIGKILL);
                    patience.as_mut().reset(Instant::now() + OUTPUT_GRACE);
                }
                () = patience.as_mut(), if ended.is_some() => break,
                line = out.next(), if !out.is_over() => {
                    if let Some(line) = line {
                        told(Printed::Out, &line);
                    }
                }
                line = err.next(), if !err.is_over() => {
                    if let Some(line) = line {
                        told(Printed::Err, &line);
                    }
                }
                () = writing.as_mut(), if !is_written => is_written = true,
            }
        }
        self.walls.verdict()?;
        match ended {
            Some(status) => Ok(status),
            // The loop ends with its end only; asked again, it says the same.
            None => self.child.wait().await.map_err(ProgramError::Wait),
        }
    }

    /// Asks all of it to end, and ends what does not.
    pub async fn stop(&mut self, grace: Duration) {
        self.identity.signal(Signal::SIGTERM);
        let _late = tokio::time::timeout(grace, self.child.wait()).await;
        self.identity.signal(Signal::SIGKILL);
        let _ended = self.child.wait().await;
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // After its end the number may be another's.
        if matches!(self.child.try_wait(), Ok(None)) {
            self.identity.signal(Signal::SIGKILL);
        }
    }
}

#[cfg(test)]
mod tests;

//! The wire to a child: one message a line, in both directions.
//!
//! The SDK has such a transport too; it drops long lines and skips bad ones in silence, so that a call
//! waits for its deadline and nobody learns why. This one keeps what it noticed, and gives up where
//! nothing good can follow.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rmcp::RoleClient;
use rmcp::model::{ClientNotification, JsonRpcMessage, RequestId};
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{ChildStdin, ChildStdout};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::config::Limits;
use super::lines::{Line, Lines};
use super::pace::Pace;
use super::process::{Pipes, Process};
use super::quiet::wanted;
use super::repair;
use super::report::Report;

/// Between the end of a child's output and its exit.
const EXIT_WAIT: Duration = Duration::from_secs(1);

/// Implements the SDK's transport.
#[derive(Debug)]
pub(super) struct Stdio {
    process: Process,
    lines: Lines<ChildStdout>,
    stdin: Arc<tokio::sync::Mutex<Option<ChildStdin>>>,
    /// Frees writers whose reader does not read.
    closing: CancellationToken,
    /// Requests without an answer yet.
    asked: Arc<Mutex<HashSet<RequestId>>>,
    pace: Pace,
    report: Arc<Report>,
    bytes_max: usize,
    stop_grace: Duration,
}

impl Stdio {
    pub(super) fn new(
        process: Process,
        pipes: Pipes,
        report: Arc<Report>,
        limits: &Limits,
    ) -> Self {
        Self {
            process,
            lines: Lines::new(pipes.stdout, limits.message_bytes),
            stdin: Arc::new(tokio::sync::Mutex::new(Some(pipes.stdin))),
            closing: CancellationToken::new(),
            asked: Arc::default(),
            pace: Pace::new(limits.unasked_messages, Instant::now()),
            report,
            bytes_max: limits.message_bytes,
            stop_grace: limits.stop_grace,
        }
    }

    /// What a line says; `None` if nothing.
    fn message(&self, line: &[u8]) -> Option<RxJsonRpcMessage<RoleClient>> {
        if line.trim_ascii().is_empty() {
            return None;
        }
        let fault = match serde_json::from_slice(line) {
            Ok(message) => return Some(message),
            Err(fault) => fault,
        };
        let repaired = repair::without_broken_text(line);
        if let Some(message) = repaired.and_then(|it| serde_json::from_slice(&it).ok()) {
            return Some(message);
        }
        self.report.note_junk(line);
        // Whoever asked need not wait for an answer that was there.
        let id = repair::id_of(line).filter(|id| contains(&self.asked(), id))?;
        Some(JsonRpcMessage::error(repair::unreadable(&fault), Some(id)))
    }

    /// Whether somebody waits for the message.
    fn is_answer(&self, message: &RxJsonRpcMessage<RoleClient>) -> bool {
        let id = match message {
            JsonRpcMessage::Response(response) => Some(&response.id),
            JsonRpcMessage::Error(error) => error.id.as_ref(),
            JsonRpcMessage::Request(_) | JsonRpcMessage::Notification(_) => return false,
        };
        let is_asked = id.is_some_and(|id| take(&mut self.asked(), id));
        if !is_asked {
            self.report.note_stray();
        }
        is_asked
    }

    fn asked(&self) -> MutexGuard<'_, HashSet<RequestId>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn end(&mut self) {
        // A child that closed only its output is of no use either.
        if tokio::time::timeout(EXIT_WAIT, self.report.exited.cancelled()).await.is_err() {
            self.process.kill();
            self.report.exited.cancelled().await;
        }
        let _late = tokio::time::timeout(EXIT_WAIT, self.report.is_drained.cancelled()).await;
        self.report.ended.cancel();
    }
}

impl rmcp::transport::Transport<RoleClient> for Stdio {
    type Error = io::Error;

    fn send(
        &mut self,
        message: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), io::Error>> + Send + 'static {
        note_asked(&self.asked, &message);
        let (stdin, closing) = (Arc::clone(&self.stdin), self.closing.clone());
        let report = Arc::clone(&self.report);
        async move {
            let mut line = serde_json::to_vec(&message)?;
            line.push(b'\n');
            let writing = async {
                let mut stdin = stdin.lock().await;
                let pipe = stdin.as_mut().ok_or(io::ErrorKind::NotConnected)?;
                pipe.write_all(&line).await
            };
            tokio::select! {
                biased;
                // A half-written line does no harm: nothing follows it. Cancel-safe.
                () = closing.cancelled() => Err(io::ErrorKind::NotConnected.into()),
                written = writing => {
                    if written.is_err() {
                        // A broken pipe means an end that is about to be known.
                        let known = async {
                            report.exited.cancelled().await;
                            report.is_drained.cancelled().await;
                        };
                        let _late = tokio::time::timeout(EXIT_WAIT, known).await;
                    }
                    written
                }
            }
        }
    }

    /// Cancel-safe: lines keep what was read, and all other waits can be repeated.
    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        while !self.report.ended.is_cancelled() {
            let line = match self.lines.next().await {
                Ok(Line::Whole(line)) => line,
                Ok(Line::TooLong) => {
                    self.report.blame(format!("sent a line of more than {} bytes", self.bytes_max));
                    self.process.kill();
                    self.end().await;
                    break;
                }
                Ok(Line::End) => {
                    self.end().await;
                    break;
                }
                Err(error) => {
                    self.report.blame(format!("could not be read: {error}"));
                    self.process.kill();
                    self.end().await;
                    break;
                }
            };
            let message = self.message(&line);
            if !message.as_ref().is_some_and(|it| self.is_answer(it))
                && let Err(fault) = self.pace.unasked(Instant::now())
            {
                self.report.blame(fault);
                self.process.kill();
                self.end().await;
                break;
            }
            if let Some(message) = message.and_then(wanted) {
                return Some(message);
            }
        }
        None
    }

    async fn close(&mut self) -> Result<(), io::Error> {
        self.closing.cancel();
        drop(self.stdin.lock().await.take());
        self.process.stop(self.stop_grace).await;
        self.report.ended.cancel();
        Ok(())
    }
}

fn note_asked(asked: &Mutex<HashSet<RequestId>>, message: &TxJsonRpcMessage<RoleClient>) {
    let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
    match message {
        JsonRpcMessage::Request(request) => {
            asked.insert(request.id.clone());
        }
        JsonRpcMessage::Notification(notification) => {
            // Who was told to stop need not answer.
            if let ClientNotification::CancelledNotification(cancelled) = &notification.notification
                && let Some(id) = &cancelled.params.request_id
            {
                asked.remove(id);
            }
        }
        JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_) => {}
    }
}

fn take(asked: &mut HashSet<RequestId>, id: &RequestId) -> bool {
    asked.remove(id) || as_number(id).is_some_and(|number| asked.remove(&number))
}

fn contains(asked: &HashSet<RequestId>, id: &RequestId) -> bool {
    asked.contains(id) || as_number(id).is_some_and(|number| asked.contains(&number))
}

/// Some servers write a number as text; the SDK takes that, too.
fn as_number(id: &RequestId) -> Option<RequestId> {
    match id {
        RequestId::String(text) => text.parse().ok().map(RequestId::Number),
        RequestId::Number(_) => None,
    }
}

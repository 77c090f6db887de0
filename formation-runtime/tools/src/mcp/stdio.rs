//! The wire to a child: one message a line, in both directions.
//!
//! The SDK has such a transport too; it drops long lines and skips bad ones in silence, so that a call
//! waits for its deadline and nobody learns why. This one keeps what it noticed, and gives up where
//! nothing good can follow.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rmcp::RoleClient;
use rmcp::model::{ClientNotification, JsonRpcMessage, RequestId, ServerNotification};
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{ChildStdin, ChildStdout};
use tokio_util::sync::CancellationToken;

use super::config::Limits;
use super::lines::{Line, Lines};
use super::process::{Pipes, Process};
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
    unasked_in_a_row: u32,
    report: Arc<Report>,
    unasked_max: u32,
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
            unasked_in_a_row: 0,
            report,
            unasked_max: limits.unasked_messages,
            bytes_max: limits.message_bytes,
            stop_grace: limits.stop_grace,
        }
    }

    /// A message for the SDK; `None` for a line that is of no use to it.
    fn message(&mut self, line: &[u8]) -> Option<RxJsonRpcMessage<RoleClient>> {
        if line.trim_ascii().is_empty() {
            return None;
        }
        let Ok(message) = serde_json::from_slice::<RxJsonRpcMessage<RoleClient>>(line) else {
            self.report.note_junk(line);
            return None;
        };
        match &message {
            JsonRpcMessage::Response(response) => self.answered(Some(&response.id)),
            JsonRpcMessage::Error(error) => self.answered(error.id.as_ref()),
            JsonRpcMessage::Request(_) => {}
            JsonRpcMessage::Notification(notification) => {
                // The SDK writes each into the log; only one kind has a meaning here.
                if !matches!(
                    notification.notification,
                    ServerNotification::ToolListChangedNotification(_)
                ) {
                    return None;
                }
            }
        }
        Some(message)
    }

    fn answered(&mut self, id: Option<&RequestId>) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if id.is_some_and(|id| take(&mut asked, id)) {
            self.unasked_in_a_row = 0;
        } else {
            self.report.note_stray();
        }
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
            self.unasked_in_a_row += 1;
            if self.unasked_in_a_row > self.unasked_max {
                self.report.blame(format!(
                    "sent more than {} lines that answer nothing",
                    self.unasked_max
                ));
                self.process.kill();
                self.end().await;
                break;
            }
            if let Some(message) = self.message(&line) {
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

/// Some servers write a number as text; the SDK takes that, too.
fn take(asked: &mut HashSet<RequestId>, id: &RequestId) -> bool {
    if asked.remove(id) {
        return true;
    }
    let RequestId::String(text) = id else { return false };
    text.parse().is_ok_and(|number| asked.remove(&RequestId::Number(number)))
}

//! The wire to a server over HTTP without what means nothing here. The SDK writes each notification with
//! all that it holds into the log, so a server could fill the disk.

use std::sync::Arc;
use std::time::Duration;

use rmcp::RoleClient;
use rmcp::model::{JsonRpcMessage, ServerNotification};
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use tokio::time::Instant;

use super::config::Limits;
use super::pace::Pace;
use super::repair;
use super::report::Report;

/// The SDK's worker waits for its reader, who reads no more, when a server has sent more than it holds.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// Implements the SDK's transport around another.
#[derive(Debug)]
pub(super) struct Quiet<T> {
    wire: T,
    pace: Pace,
    report: Arc<Report>,
}

impl<T> Quiet<T> {
    pub(super) fn new(wire: T, report: Arc<Report>, limits: &Limits) -> Self {
        Self { wire, pace: Pace::new(limits.unasked_messages, Instant::now()), report }
    }
}

impl<T: Transport<RoleClient>> Transport<RoleClient> for Quiet<T> {
    type Error = T::Error;

    fn send(
        &mut self,
        message: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), T::Error>> + Send + 'static {
        self.wire.send(message)
    }

    /// Cancel-safe if the other is: nothing is held between two messages.
    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        loop {
            let message = self.wire.receive().await?;
            let may_answer =
                matches!(message, JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_));
            if !may_answer && let Err(fault) = self.pace.unasked(Instant::now()) {
                self.report.blame(fault);
                self.report.ended.cancel();
                return None;
            }
            if let Some(message) = wanted(message) {
                return Some(message);
            }
        }
    }

    /// What is not closed in time ends when it is dropped.
    async fn close(&mut self) -> Result<(), T::Error> {
        tokio::time::timeout(CLOSE_LIMIT, self.wire.close()).await.unwrap_or(Ok(()))
    }
}

/// A message as the SDK is to have it: of all that a server may tell, only one thing is acted upon here.
pub(super) fn wanted(
    message: RxJsonRpcMessage<RoleClient>,
) -> Option<RxJsonRpcMessage<RoleClient>> {
    match message {
        JsonRpcMessage::Response(mut response) => {
            response.result = repair::with_known_parts(response.result);
            Some(JsonRpcMessage::Response(response))
        }
        JsonRpcMessage::Notification(it)
            if !matches!(it.notification, ServerNotification::ToolListChangedNotification(_)) =>
        {
            None
        }
        other @ (JsonRpcMessage::Request(_)
        | JsonRpcMessage::Notification(_)
        | JsonRpcMessage::Error(_)) => Some(other),
    }
}

//! Why a server's tools could not be had or called.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use rmcp::ServiceError;
use rmcp::service::ClientInitializeError;
use rmcp::transport::streamable_http_client::StreamableHttpError;

use super::connection::CallFault;
use super::repair::UNREADABLE;
use super::report::Report;

const MESSAGE_CHARS_MAX: usize = 600;

/// Names the server, the fault, and where it helps the mend. Texts of servers are bounded and in quotes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum McpError {
    #[error("there is no MCP server `{server}`")]
    UnknownServer { server: String },

    #[error("MCP server `{server}` cannot be started: {fault}")]
    Start { server: String, fault: String },

    /// Its process is gone, or its end of the connection is.
    #[error("MCP server `{server}` ended: {fault}{said}")]
    Ended { server: String, fault: String, said: Said },

    #[error(
        "MCP server `{server}` did not answer {act} within {} ms{noticed}{said}",
        .limit.as_millis()
    )]
    Slow { server: String, act: &'static str, limit: Duration, noticed: String, said: Said },

    /// It breaks the protocol.
    #[error("MCP server `{server}` {fault}{said}")]
    Protocol { server: String, fault: String, said: Said },

    /// A JSON-RPC error.
    #[error("MCP server `{server}` refused {act}: {message} (code {code})")]
    Refused { server: String, act: &'static str, code: i32, message: String },

    #[error("MCP server `{server}` cannot be reached: {fault}")]
    Unreachable { server: String, fault: String },

    #[error("MCP server `{server}` needs the user's authorization")]
    NeedsAuthorization { server: String },

    /// HTTP 401 where there is nothing that a user could grant.
    #[error("MCP server `{server}` refuses the credential; see its `auth`")]
    Unauthorized { server: String },

    #[error("MCP server `{server}` needs a credential of the user for `{service}`")]
    NeedsCredential { server: String, service: String },

    #[error("authorization for MCP server `{server}` failed: {fault}")]
    Authorization { server: String, fault: String },

    #[error("MCP server `{server}` has to wait: {fault}")]
    Busy { server: String, fault: &'static str },

    #[error("the call to MCP server `{server}` was cancelled")]
    Cancelled { server: String },

    #[error("MCP server `{server}` is not called: the formation is stopping")]
    Stopping { server: String },
}

/// The end of what a child wrote on standard error: it often tells why, and may tell the child's secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said(pub(super) String);

// === impl Said ===

impl fmt::Display for Said {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(formatter, "; it said `{}`", self.0) }
    }
}

// === impl McpError ===

impl McpError {
    /// Without what only the operator may read.
    pub fn for_users(&self) -> String {
        let mut error = self.clone();
        if let Self::Ended { said, .. } | Self::Slow { said, .. } | Self::Protocol { said, .. } =
            &mut error
        {
            *said = Said::default();
        }
        error.to_string()
    }

    /// The service whose credential or authorization only the user can give.
    pub fn wanted_of_user(&self) -> Option<&str> {
        match self {
            Self::NeedsCredential { service, .. } => Some(service),
            Self::NeedsAuthorization { server } => Some(server),
            Self::UnknownServer { .. }
            | Self::Start { .. }
            | Self::Ended { .. }
            | Self::Slow { .. }
            | Self::Protocol { .. }
            | Self::Refused { .. }
            | Self::Unreachable { .. }
            | Self::Unauthorized { .. }
            | Self::Authorization { .. }
            | Self::Busy { .. }
            | Self::Cancelled { .. }
            | Self::Stopping { .. } => None,
        }
    }
}

/// A text of somebody else, fit for a message: one line of bounded length without control characters.
pub(super) fn quoted(text: &str, chars_max: usize) -> String {
    let line = text.split(|it: char| it.is_whitespace() || it.is_control());
    let line = line.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    if line.chars().count() <= chars_max {
        return line;
    }
    line.chars().take(chars_max).chain(['…']).collect()
}

/// Why the handshake failed.
#[expect(clippy::wildcard_enum_match_arm, reason = "the SDK's enum may grow")]
pub(super) fn of_handshake(
    server: &str,
    error: &ClientInitializeError,
    report: &Report,
) -> McpError {
    let server = server.to_owned();
    if error.is_authorization_required() || error.auth_challenge().is_some() {
        return McpError::NeedsAuthorization { server };
    }
    let (noticed, said) = (report.noticed_text(), report.said());
    match error {
        ClientInitializeError::JsonRpcError(refusal) => McpError::Refused {
            server,
            act: "the handshake",
            code: refusal.code.0,
            message: quoted(&refusal.message, MESSAGE_CHARS_MAX),
        },
        ClientInitializeError::Cancelled => McpError::Stopping { server },
        ClientInitializeError::ConnectionClosed(_)
        | ClientInitializeError::TransportError { .. } => lost(server, error, report),
        ClientInitializeError::ConflictInitResponseId(asked, answered) => McpError::Protocol {
            server,
            fault: format!("answered request {answered} where {asked} was asked{noticed}"),
            said,
        },
        other => McpError::Protocol {
            server,
            fault: format!(
                "shook hands wrongly: {}{noticed}",
                quoted(&other.to_string(), MESSAGE_CHARS_MAX)
            ),
            said,
        },
    }
}

/// Why a request failed, and what may have come of it.
#[expect(clippy::wildcard_enum_match_arm, reason = "the SDK's enum may grow")]
pub(super) fn of_service(
    server: &str,
    act: &'static str,
    error: &ServiceError,
    report: &Report,
) -> CallFault {
    let owned = || server.to_owned();
    if error.is_authorization_required() || error.auth_challenge().is_some() {
        let error = McpError::NeedsAuthorization { server: owned() };
        return CallFault { error, may_have_run: false, is_lost: false };
    }
    match error {
        ServiceError::McpError(refusal)
            if refusal.data.as_ref().is_some_and(|it| it == UNREADABLE) =>
        {
            let (why, noticed) = (&refusal.message, report.noticed_text());
            let fault = format!("answered {act} with what cannot be read: {why}{noticed}");
            let error = McpError::Protocol { server: owned(), fault, said: report.said() };
            CallFault { error, may_have_run: true, is_lost: false }
        }
        ServiceError::McpError(refusal) => {
            let error = McpError::Refused {
                server: owned(),
                act,
                code: refusal.code.0,
                message: quoted(&refusal.message, MESSAGE_CHARS_MAX),
            };
            CallFault { error, may_have_run: true, is_lost: false }
        }
        ServiceError::TransportSend(sent) => {
            // What never left cannot have run: a line without its end, a connection that was refused.
            let is_unsent = sent.error.is::<std::io::Error>() || is_unreached(sent.error.as_ref());
            CallFault {
                error: lost(owned(), sent.error.as_ref(), report),
                may_have_run: !is_unsent,
                is_lost: is_unsent,
            }
        }
        ServiceError::TransportClosed | ServiceError::Cancelled { .. } => {
            CallFault { error: lost(owned(), error, report), may_have_run: true, is_lost: true }
        }
        other => {
            let fault = format!(
                "answered {act} with something else: {}",
                quoted(&other.to_string(), MESSAGE_CHARS_MAX)
            );
            let error = McpError::Protocol { server: owned(), fault, said: Said::default() };
            CallFault { error, may_have_run: true, is_lost: false }
        }
    }
}

fn lost(server: String, error: &(dyn StdError + 'static), report: &Report) -> McpError {
    if report.knows_the_end() {
        McpError::Ended { server, fault: report.end(), said: report.said() }
    } else {
        McpError::Unreachable { server, fault: quoted(&root_cause(error), MESSAGE_CHARS_MAX) }
    }
}

fn is_unreached(error: &(dyn StdError + Send + Sync + 'static)) -> bool {
    match error.downcast_ref::<StreamableHttpError<reqwest::Error>>() {
        Some(StreamableHttpError::Client(error)) => error.is_connect(),
        _ => false,
    }
}

/// The innermost cause: outer ones repeat the address, which may hold a key.
pub(super) fn root_cause(error: &(dyn StdError + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_text_is_one_bounded_line() {
        assert_eq!(quoted("a\n\tb \u{1b}[31mc", 100), "a b [31mc");
        assert_eq!(quoted(&"x".repeat(10), 4), "xxxx…");
    }
}

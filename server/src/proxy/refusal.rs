//! Why a request was not passed on, or came to nothing, and what its sender is told.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use muxi_contract::RequestId;
use muxi_contract::management::FormationStatus;
use muxi_contract::proxy::{ProxyProblem, Side};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Unknown,
    /// The routes with which only the manager itself steers an instance.
    Private,
    /// Down until somebody or something starts it.
    NotRunning(FormationStatus),
    /// It starts, but not soon enough, or too many wait for it already.
    NotYet(FormationStatus),
    /// The formation's bound of open requests.
    Busy {
        cap: usize,
    },
    TooManyUpgrades,
    /// Requests found no answer again and again.
    Open {
        wait_ms: i64,
    },
    Stopping,
    BadPath,
    NoAnswer,
    TooSlow,
}

/// How an answer to a refusal is built.
struct Told {
    status: StatusCode,
    error: &'static str,
    message: String,
    side: Side,
    retry_after_s: Option<i64>,
}

/// A fresh instance is usually there by then.
const START_RETRY_S: i64 = 2;

// === impl Refusal ===

impl Refusal {
    /// A stable name for counting.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Private => "private",
            Self::NotRunning(_) => "not_running",
            Self::NotYet(_) => "not_yet",
            Self::Busy { .. } => "busy",
            Self::TooManyUpgrades => "too_many_upgrades",
            Self::Open { .. } => "circuit_open",
            Self::Stopping => "stopping",
            Self::BadPath => "bad_path",
            Self::NoAnswer => "no_answer",
            Self::TooSlow => "too_slow",
        }
    }

    pub(super) fn into_response(self, id: &str, request_id: Option<&RequestId>) -> Response {
        let Told { status, error, message, side, retry_after_s } = self.told(id);
        let problem = ProxyProblem {
            success: false,
            error: error.to_owned(),
            message,
            code: status.as_u16(),
            request_id: request_id.map(ToString::to_string),
            side,
            // A request that broke off may have done its work, so 502 is not for blind repetition.
            retryable: retry_after_s.is_some(),
        };
        let mut response = (status, axum::Json(problem)).into_response();
        if let Some(seconds) = retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    fn told(self, id: &str) -> Told {
        let plain = |status, error, message: &str, side| {
            let message = message.to_owned();
            Told { status, error, message, side, retry_after_s: None }
        };
        let unavailable = |message: String, side, retry_after_s| Told {
            status: StatusCode::SERVICE_UNAVAILABLE,
            error: "Formation unavailable",
            message,
            side,
            retry_after_s,
        };
        let not_running = |status: FormationStatus| {
            format!("Formation '{id}' is not running (status: {})", status.as_str())
        };
        match self {
            Self::Unknown => Told {
                status: StatusCode::NOT_FOUND,
                error: "Formation not found",
                message: format!("No formation with id '{id}'"),
                side: Side::Client,
                retry_after_s: None,
            },
            Self::Private => {
                plain(StatusCode::NOT_FOUND, "Not found", "This path is not served", Side::Client)
            }
            Self::NotRunning(status) => unavailable(not_running(status), Side::Formation, None),
            Self::NotYet(status) => {
                unavailable(not_running(status), Side::Formation, Some(START_RETRY_S))
            }
            Self::Busy { cap } => {
                let message = format!(
                    "Formation '{id}' is busy: it works on {cap} requests at once, its limit"
                );
                unavailable(message, Side::Formation, Some(1))
            }
            Self::TooManyUpgrades => unavailable(
                "Too many upgraded connections are open on this server".to_owned(),
                Side::Manager,
                Some(1),
            ),
            Self::Open { wait_ms } => {
                let message = format!(
                    "Formation '{id}' did not answer several times in a row; it is tried again soon"
                );
                unavailable(message, Side::Formation, Some(seconds(wait_ms)))
            }
            Self::Stopping => {
                unavailable("The server is stopping".to_owned(), Side::Manager, Some(START_RETRY_S))
            }
            Self::BadPath => plain(
                StatusCode::BAD_REQUEST,
                "Bad request",
                "The path cannot be passed on",
                Side::Client,
            ),
            Self::NoAnswer => plain(
                StatusCode::BAD_GATEWAY,
                "Bad gateway",
                "Formation did not respond",
                Side::Formation,
            ),
            Self::TooSlow => plain(
                StatusCode::GATEWAY_TIMEOUT,
                "Gateway timeout",
                "Formation did not respond in time",
                Side::Formation,
            ),
        }
    }
}

/// Whole seconds, at least one: clients read nothing else.
const fn seconds(wait_ms: i64) -> i64 {
    let seconds = wait_ms / 1_000 + (wait_ms % 1_000 > 0) as i64;
    if seconds < 1 { 1 } else { seconds }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_a_whole_number_of_seconds() {
        for (refusal, told) in [
            (Refusal::NotRunning(FormationStatus::Stopped), None),
            (Refusal::NotYet(FormationStatus::Starting), Some("2")),
            (Refusal::Busy { cap: 5 }, Some("1")),
            (Refusal::Open { wait_ms: 0 }, Some("1")),
            (Refusal::Open { wait_ms: 1_000 }, Some("1")),
            (Refusal::Open { wait_ms: 1_001 }, Some("2")),
            (Refusal::NoAnswer, None),
        ] {
            let response = refusal.into_response("hello", None);
            let header = response.headers().get("retry-after").map(|it| it.to_str().unwrap());
            assert_eq!(header, told, "{refusal:?}");
        }
    }
}

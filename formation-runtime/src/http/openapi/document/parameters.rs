//! Parameters that many calls have.

use muxi_contract::{RequestId, SessionId, UserId};
use utoipa::IntoParams;

/// For calls that cannot do without a user.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(super) struct User {
    /// The user; `?user_id=` is read, too.
    #[param(rename = "X-Muxi-User-ID", example = "alice")]
    user: UserId,
}

/// For calls that the operator may make for everybody.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(super) struct AnyUser {
    /// The user; a client has to name one. `?user_id=` is read, too.
    #[param(rename = "X-Muxi-User-ID", example = "alice")]
    user: Option<UserId>,
}

/// For calls that can be repeated without a second effect.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(super) struct Repeatable {
    /// A repeat under the same key gets the first answer.
    #[param(rename = "X-Muxi-Idempotency-Key", min_length = 1, max_length = 256)]
    key: Option<String>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct NamedSession {
    /// The session's id
    id: SessionId,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct NamedRequest {
    /// The request's id
    id: RequestId,
}

/// For streams whose frames are numbered.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(super) struct LastEventId {
    /// The number of the last frame that was read; the stream goes on after it.
    #[param(rename = "Last-Event-ID", example = "42")]
    number: Option<String>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct NamedArtifact {
    /// The id of one version
    #[param(example = "art_V1StGXR8_Z5jdHi6BmyTa")]
    id: String,
}

/// For messages, which anybody may send.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(super) struct ChatUser {
    /// The user; who names none is the anonymous one.
    #[param(rename = "X-Muxi-User-ID", example = "alice")]
    user: Option<UserId>,
}

//! Why an agent elsewhere did not answer, in words for the model that asked.

/// Why an agent elsewhere did not answer.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    #[error("the HTTP client could not be made")]
    Client(#[source] reqwest::Error),
    /// Nothing of the call can have run there.
    #[error("it cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    #[error("the connection broke off")]
    Broken(#[source] reqwest::Error),
    #[error("it did not answer in time")]
    Late,
    /// `may_have_run` is false where such an answer means that nobody looked at the call.
    #[error("it answered with HTTP status {status}")]
    Status { status: u16, may_have_run: bool },
    #[error(
        "it answered with a redirect, which is not followed; name the address that it leads to"
    )]
    Redirect,
    #[error("its answer has more than {0} bytes")]
    TooLarge(usize),
    #[error("its answer is not what the protocol says: {0}")]
    Malformed(&'static str),
    #[error("its card names no address that speaks JSON-RPC of the versions 0.3 or 1.0")]
    NoInterface,
    #[error("its card names an address on another host ({0}), where the credentials do not belong")]
    OtherHost(String),
    #[error("it refused with code {code}: {message}")]
    Refused { code: i64, message: String },
    #[error("the authorization server gave no token: {0}")]
    Token(String),
    #[error("the call was cancelled")]
    Cancelled,
}

impl RemoteError {
    /// Whether the same call may be sent again without anything being done twice.
    pub(super) const fn nothing_ran(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Status { may_have_run: false, .. })
    }
}

//! One line a check, and what a check is made of.

use std::fmt::Debug;
use std::panic::Location;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use muxi_rust::MuxiError;

const CHECK_MAX: Duration = Duration::from_mins(1);
/// An exit status of its own: a driver that breaks down ends with another.
const CHECKS_FAILED: u8 = 3;

/// Runs checks one after the other; a failed one does not keep later ones from running.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    failed: usize,
}

/// The variants of the SDK's error that a status can become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Authentication,
    NotFound,
    Conflict,
    Validation,
    Server,
    /// Also every error that a stream reports after its head.
    Unknown,
    /// No connection.
    Request,
}

// === impl Checks ===

impl Checks {
    pub(crate) async fn check(
        &mut self,
        name: &str,
        body: impl Future<Output = anyhow::Result<()>>,
    ) {
        let outcome = match tokio::time::timeout(CHECK_MAX, body).await {
            Ok(outcome) => outcome,
            Err(_) => Err(anyhow::anyhow!("no end within {CHECK_MAX:?}")),
        };
        match outcome {
            Ok(()) => println!("ok {name}"),
            Err(error) => {
                self.failed += 1;
                let line = format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ");
                println!("FAILED {name}: {line}");
            }
        }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        if self.failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(CHECKS_FAILED) }
    }
}

#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "callers hand over what they have just made")]
pub(crate) fn equal<Got, Wanted>(got: Got, wanted: Wanted) -> anyhow::Result<()>
where
    Got: PartialEq<Wanted> + Debug,
    Wanted: Debug,
{
    if got != wanted {
        bail!("got {got:?}, wanted {wanted:?} ({})", Location::caller());
    }
    Ok(())
}

/// The code of an error that must be of this kind and status.
#[track_caller]
pub(crate) fn refused<T: Debug>(
    outcome: muxi_rust::Result<T>,
    wanted: Kind,
    wanted_status: u16,
) -> anyhow::Result<String> {
    let error = match outcome {
        Ok(value) => bail!("no {wanted:?}, but {value:?} ({})", Location::caller()),
        Err(error) => error,
    };
    let Some((kind, status, code)) = parts(&error) else {
        bail!("{error:?} ({})", Location::caller());
    };
    if (kind, status) != (wanted, wanted_status) {
        bail!("got {error:?}, wanted {wanted:?} {wanted_status} ({})", Location::caller());
    }
    Ok(code)
}

fn parts(error: &MuxiError) -> Option<(Kind, u16, String)> {
    let (kind, status, code) = match error {
        MuxiError::Authentication { status, code, .. } => (Kind::Authentication, *status, code),
        MuxiError::NotFound { status, code, .. } => (Kind::NotFound, *status, code),
        MuxiError::Conflict { status, code, .. } => (Kind::Conflict, *status, code),
        MuxiError::Validation { status, code, .. } => (Kind::Validation, *status, code),
        MuxiError::Server { status, code, .. } => (Kind::Server, *status, code),
        MuxiError::Unknown { status, code, .. } => (Kind::Unknown, *status, code),
        MuxiError::Request(_) => return Some((Kind::Request, 0, String::new())),
        _ => return None,
    };
    Some((kind, status, code.clone()))
}

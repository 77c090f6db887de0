//! One line a check, and what a check is made of.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::panic::Location;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use muxi_rust::MuxiError;
use serde_json::Value;

use crate::calls;

const CHECK_MAX: Duration = Duration::from_mins(1);
/// An exit status of its own: a driver that breaks down ends with another.
const CHECKS_FAILED: u8 = 3;

/// Runs checks one after the other; a failed one does not keep later ones from running.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    failed: usize,
    /// Methods that were called in a check that passed.
    served: BTreeSet<String>,
    /// Methods that cannot do what they are for, and are refused as they should be.
    refused: BTreeSet<String>,
}

/// The variants of the SDK's error that a status can become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Authentication,
    Authorization,
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
        if let Some(calls) = self.run(name, body).await {
            self.served.extend(calls);
        }
    }

    /// A check that a method is refused as cannot-pass.json says.
    pub(crate) async fn cannot_pass(
        &mut self,
        name: &str,
        body: impl Future<Output = anyhow::Result<()>>,
    ) {
        if let Some(calls) = self.run(name, body).await {
            self.refused.extend(calls);
        }
    }

    /// Each method did what it is for in a passed check, or is known not to.
    pub(crate) async fn check_coverage(
        &mut self,
        methods: &BTreeSet<String>,
        known: &BTreeSet<String>,
    ) {
        let (served, refused) = (self.served.clone(), self.refused.clone());
        self.check(&format!("every public method was called: {}", methods.len()), async {
            let called = &served | &refused;
            equal(methods - &called, BTreeSet::new())
        })
        .await;
        let name = format!("methods that cannot pass are the {} that are known", known.len());
        self.check(&name, async {
            equal(known - methods, BTreeSet::new())?;
            equal(known & &served, BTreeSet::new())?;
            equal(&refused, known)
        })
        .await;
    }

    /// What was called, if the check passed.
    async fn run(
        &mut self,
        name: &str,
        body: impl Future<Output = anyhow::Result<()>>,
    ) -> Option<BTreeSet<String>> {
        calls::take();
        let outcome = match tokio::time::timeout(CHECK_MAX, body).await {
            Ok(outcome) => outcome,
            Err(_) => Err(anyhow::anyhow!("no end within {CHECK_MAX:?}")),
        };
        let Err(error) = outcome else {
            println!("ok {name}");
            return Some(calls::take());
        };
        self.failed += 1;
        let line = format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ");
        println!("FAILED {name}: {line}");
        None
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

/// One field of every object in a list.
pub(crate) fn strings(list: &Value, field: &str) -> Vec<String> {
    let text = |it: &Value| it[field].as_str().unwrap_or_default().to_owned();
    list.as_array().into_iter().flatten().map(text).collect()
}

fn parts(error: &MuxiError) -> Option<(Kind, u16, String)> {
    let (kind, status, code) = match error {
        MuxiError::Authentication { status, code, .. } => (Kind::Authentication, *status, code),
        MuxiError::Authorization { status, code, .. } => (Kind::Authorization, *status, code),
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

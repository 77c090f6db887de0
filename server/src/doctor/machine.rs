//! The machine: its limits, its clock, and whom it trusts.

use std::path::Path;
use std::process::Command;

use jiff::{SignedDuration, Timestamp};
use nix::sys::resource::{Resource, getrlimit};

use super::{Check, Patient};
use crate::app;
use crate::config::SandboxMode;
use crate::sandbox::{self, SandboxSupport};
use crate::tls::Pair;

/// Each connection through the proxy takes two descriptors.
const DESCRIPTORS_PER_CONNECTION: u64 = 2;
/// File times are a little ahead where a disk is another machine's.
const FUTURE_TOLERANCE: SignedDuration = SignedDuration::from_mins(2);
const EXPIRY_WARNING: SignedDuration = SignedDuration::from_hours(14 * 24);

/// Whether the kernel can keep formations from each other and from the manager.
pub(super) fn isolation(patient: &Patient) -> Check {
    let formations = &patient.config.formations;
    // Without a runtime its own check fails; the kernel can be asked all the same.
    let program = app::runtime_program(&patient.config.runtime.program).unwrap_or_default();
    let support = sandbox::probe(formations, &patient.layout, &program);
    judge(&support, formations.sandbox)
}

fn judge(support: &SandboxSupport, mode: SandboxMode) -> Check {
    const NAME: &str = "isolation";
    let users = match &support.own_users {
        Ok(()) => "a user id for each formation".to_owned(),
        Err(reason) => format!("formations run as the manager's user: {reason}"),
    };
    let (fence, seccomp) = (support.kernel.whole_fence(), &support.kernel.seccomp);
    let faults: Vec<&str> = [fence.as_ref().err(), seccomp.as_ref().err()]
        .into_iter()
        .flatten()
        .map(|it| &**it)
        .collect();
    let mend = "run it on Linux 6.12 or newer with landlock (a part of the fence holds from 5.13), and \
                seccomp allowed by the container";
    match (&fence, faults.is_empty(), mode) {
        (Ok(version), true, _) => Check::ok(NAME, format!("landlock version {version}; {users}")),
        (_, _, SandboxMode::Required) => Check::fail(
            NAME,
            format!("formations.sandbox is `required`, but {}", faults.join("; ")),
            mend,
        ),
        _ => Check::warn(NAME, format!("{}; {users}", faults.join("; ")), mend),
    }
}

pub(super) fn open_files(patient: &Patient) -> Check {
    const NAME: &str = "open files";
    let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return Check::fail(NAME, "the limit cannot be read", "look at `ulimit -Hn`");
    };
    let wanted = patient.config.limits.connections as u64 * DESCRIPTORS_PER_CONNECTION;
    let found = format!("{hard} allowed, limits.connections asks for {wanted}");
    if hard < wanted {
        let mend =
            "raise it (`LimitNOFILE=` of the service, `ulimit -Hn`), or lower limits.connections";
        return Check::warn(NAME, found, mend);
    }
    Check::ok(NAME, found)
}

/// Signatures are good for some minutes around their time, so a clock that is off locks clients out.
pub(super) fn clock(patient: &Patient) -> Check {
    const NAME: &str = "clock";
    let now = Timestamp::now();
    let tolerance = patient.config.auth.timestamp_tolerance;
    let mend = "set the clock, and keep it by NTP (`timedatectl set-ntp true`, or chrony)";
    let ahead = [patient.layout.database(), patient.layout.lock(), patient.folders.config_file()]
        .into_iter()
        .find_map(|path| {
            let written = Timestamp::try_from(path.metadata().ok()?.modified().ok()?).ok()?;
            (written.duration_since(now) > FUTURE_TOLERANCE).then_some((path, written))
        });
    if let Some((path, written)) = ahead {
        let path = path.display();
        return Check::fail(NAME, format!("it says {now}, but {path} was written {written}"), mend);
    }
    match synchronised() {
        Some(true) => Check::ok(NAME, "kept by NTP"),
        Some(false) => Check::warn(
            NAME,
            format!("not kept by NTP; callers more than {tolerance}s off are refused"),
            mend,
        ),
        None => Check::ok(NAME, format!("{now}; nothing here says whether NTP keeps it")),
    }
}

/// What systemd says of the clock; `None` if it cannot be asked.
fn synchronised() -> Option<bool> {
    if Path::new("/run/systemd/timesync/synchronized").exists() {
        return Some(true);
    }
    let asked = Command::new("timedatectl")
        .args(["show", "--property=NTPSynchronized", "--value"])
        .stdin(std::process::Stdio::null())
        .output()
        .ok()?;
    match String::from_utf8_lossy(&asked.stdout).trim() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

/// Formations call models over HTTPS, and trust whom the machine trusts.
pub(super) fn authorities() -> Check {
    const NAME: &str = "authorities";
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let faults: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        return Check::fail(
            NAME,
            format!("no certificate of an authority is installed {}", faults.join("; ")),
            "install the package ca-certificates, or name a file in SSL_CERT_FILE; without them \
             every call of a model over HTTPS fails",
        );
    }
    Check::ok(NAME, format!("{} certificates", found.certs.len()))
}

/// The certificate of the management port, if it has one.
pub(super) fn certificate(patient: &Patient) -> Option<Check> {
    const NAME: &str = "certificate";
    let tls = patient.config.server.tls.as_ref()?;
    let now = Timestamp::now();
    let pair = match Pair::load(tls, now) {
        Ok(pair) => pair,
        Err(error) => {
            return Some(Check::fail(NAME, error.to_string(), "put a fresh pair in place"));
        }
    };
    let mend = "renew the certificate; it is read by itself when its files change";
    let check = match pair.not_after {
        Some(end) if end < now => Check::fail(NAME, format!("it expired at {end}"), mend),
        Some(end) if end.duration_since(now) < EXPIRY_WARNING => {
            Check::warn(NAME, format!("it expires at {end}"), mend)
        }
        _ if !pair.warnings.is_empty() => {
            Check::warn(NAME, pair.warnings.join("\n"), "see the line above")
        }
        Some(end) => Check::ok(NAME, format!("good until {end}")),
        None => Check::ok(NAME, "its end is in a form that is not understood"),
    };
    Some(check)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;
    use crate::jail::KernelSupport;

    #[test]
    fn a_fence_that_is_required_must_be_whole() {
        let verdict = |abi, mode| {
            let kernel = KernelSupport { landlock_abi: Ok(abi), seccomp: Ok(()) };
            judge(&SandboxSupport { kernel, own_users: Ok(()) }, mode).status
        };
        assert_eq!(verdict(6, SandboxMode::Required), Verdict::Ok);
        assert_eq!(verdict(5, SandboxMode::Required), Verdict::Fail);
        assert_eq!(verdict(5, SandboxMode::On), Verdict::Warn);
    }
}

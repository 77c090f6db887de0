//! The launcher: this binary again, still one thread, which narrows its rights and becomes the
//! program. It replaces a closure between fork and exec, so all of it is safe code.
//!
//! What it applies it also reports, after it was applied: an operator reads what is, not what was
//! wished for.

mod fence;
mod filter;
mod user;

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use muxi_contract::confinement::{
    Confinement, LandlockState, LandlockView, LimitsView, SandboxView, SeccompView, UserView,
};
use muxi_contract::launch::{LaunchSpec, ReportTo, ResourceLimits};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The hidden first argument that makes this binary the launcher.
pub const ARGUMENT: &str = "__launch";

/// A spec is a program, its arguments, a short environment and the paths of a fence.
const SPEC_BYTES_MAX: u64 = 1 << 20;

/// Why the launcher could not become the program.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    #[error("failed to read the launch spec: {0}")]
    Spec(std::io::Error),
    #[error("the launch spec is not readable: {0}")]
    Json(serde_json::Error),
    #[error("failed to enter the control group {path}: {source}")]
    Cgroup { path: String, source: std::io::Error },
    #[error("failed to write down what was applied, to {path}: {source}")]
    Report { path: String, source: std::io::Error },
    #[error("failed to set a resource limit: {0}")]
    Limit(nix::Error),
    #[error("failed to set up the sandbox, which formations.sandbox requires: {0}")]
    Fence(landlock::RulesetError),
    #[error("failed to give the capabilities away: {0}")]
    Capabilities(std::io::Error),
    #[error("failed to become user {uid}: {source}")]
    User { uid: u32, source: nix::Error },
    #[error("failed to renounce new privileges: {0}")]
    Privileges(std::io::Error),
    #[error("failed to start {program}: {source}")]
    Exec { program: String, source: std::io::Error },
}

/// What this kernel offers to confine formations with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelSupport {
    /// The version of landlock, or why there is none.
    pub landlock_abi: Result<u32, String>,
    pub seccomp: Result<(), String>,
}

impl KernelSupport {
    /// The version of landlock, if it is one that can be required as a whole.
    pub fn whole_fence(&self) -> Result<u32, String> {
        let needed = fence::ABI_TESTED as u32;
        match &self.landlock_abi {
            Ok(abi) if *abi < needed => Err(format!(
                "this kernel has landlock version {abi} of {needed}, which fences a part of it"
            )),
            found => found.clone(),
        }
    }
}

/// The spec as an open, unlinked file: it has no path and appears in no process list.
pub fn spec_file(spec: &LaunchSpec) -> std::io::Result<File> {
    let mut file = tempfile::tempfile()?;
    serde_json::to_writer(&mut file, spec)?;
    file.flush()?;
    file.rewind()?;
    Ok(file)
}

/// Asks the kernel. What asking restricts is a thread of its own that ends.
pub fn probe() -> KernelSupport {
    KernelSupport { landlock_abi: fence::probe(), seccomp: filter::probe() }
}

/// Reads the spec from standard input and becomes the program; returns only on failure.
pub fn launch() -> LaunchError {
    let spec = match read_spec() {
        Ok(spec) => spec,
        Err(error) => return error,
    };
    if let Err(error) = narrow(&spec) {
        return error;
    }
    let environment = spec.environment.iter().map(|(name, value)| (OsString::from(name), value));
    let source = Command::new(&spec.program)
        .args(&spec.args)
        .env_clear()
        .envs(environment)
        // The receiving side ignores sockets that are not addressed to its own process id.
        .env("LISTEN_FDS", spec.sockets.to_string())
        .env("LISTEN_PID", std::process::id().to_string())
        .stdin(Stdio::null())
        .exec();
    LaunchError::Exec { program: spec.program, source }
}

/// Applies the spec in the one order that works: what needs the manager's rights comes first.
fn narrow(spec: &LaunchSpec) -> Result<(), LaunchError> {
    if let Some(path) = &spec.cgroup {
        enter(path).map_err(|source| LaunchError::Cgroup { path: path.clone(), source })?;
    }
    let report = match &spec.report {
        Some(to) => Some((to, create(&to.path).map_err(|error| not_reported(to, error))?)),
        None => None,
    };
    let open_files = limit(&spec.limits).map_err(LaunchError::Limit)?;
    // Opened with the manager's rights, so that a folder above need not be open to the new user.
    let rules = match &spec.fence {
        Some(fence) => Some(fence::rules(fence).map_err(LaunchError::Fence)?),
        None => None,
    };
    if spec.fence.is_some() {
        user::drop_capabilities().map_err(|error| LaunchError::Capabilities(error.into()))?;
    }
    if let Some(user) = spec.user {
        let failed = |source| LaunchError::User { uid: user.uid, source };
        user::become_user(user).map_err(failed)?;
    }
    rustix::thread::set_no_new_privs(true)
        .map_err(|error| LaunchError::Privileges(error.into()))?;
    let landlock = match rules {
        Some(rules) => rules.apply().map_err(LaunchError::Fence)?,
        None => off(),
    };
    let seccomp = match spec.fence {
        Some(_) => filtered(),
        None => SeccompView { enforced: false, reason: Some(SWITCHED_OFF.to_owned()) },
    };
    if let Some((to, mut file)) = report {
        let applied = Confinement {
            limits: lowered(to.limits.clone(), open_files),
            sandbox: SandboxView {
                landlock,
                seccomp,
                user: UserView {
                    isolated: spec.user.is_some(),
                    uid: rustix::process::getuid().as_raw(),
                    reason: to.shared_user_reason.clone(),
                },
                no_new_privs: rustix::thread::no_new_privs().unwrap_or(false),
                no_capabilities: user::has_no_capabilities(),
            },
        };
        let text = serde_json::to_vec(&applied).map_err(LaunchError::Json)?;
        file.write_all(&text).map_err(|error| not_reported(to, error))?;
    }
    Ok(())
}

const SWITCHED_OFF: &str = "formations.sandbox is off";

fn off() -> LandlockView {
    let reason = Some(SWITCHED_OFF.to_owned());
    LandlockView { state: LandlockState::Off, abi: None, reason }
}

/// Best effort: the filter is a second line.
fn filtered() -> SeccompView {
    let apply = || -> Result<(), String> {
        for program in filter::programs().map_err(|error| error.to_string())? {
            seccompiler::apply_filter(&program).map_err(|error| error.to_string())?;
        }
        Ok(())
    };
    let reason = apply().err();
    SeccompView { enforced: reason.is_none(), reason }
}

/// Sets the limits; answers how many files may really be open.
fn limit(limits: &ResourceLimits) -> nix::Result<u64> {
    let wanted = [
        (Resource::RLIMIT_NOFILE, Some(limits.open_files)),
        (Resource::RLIMIT_CORE, Some(limits.core_bytes)),
        (Resource::RLIMIT_DATA, limits.data_bytes),
        (Resource::RLIMIT_NPROC, limits.processes),
        (Resource::RLIMIT_FSIZE, limits.file_bytes),
    ];
    for (resource, limit) in wanted {
        let Some(limit) = limit else { continue };
        // Only a lower limit can be set without privileges.
        let limit = getrlimit(resource).map_or(limit, |(_, hard)| limit.min(hard));
        setrlimit(resource, limit, limit)?;
    }
    getrlimit(Resource::RLIMIT_NOFILE).map(|(soft, _)| soft)
}

/// Says so when the manager itself is allowed less than it is to grant.
fn lowered(mut limits: LimitsView, open_files: u64) -> LimitsView {
    if limits.open_files.value.is_none_or(|wanted| wanted > open_files) {
        limits.open_files.value = Some(open_files);
        limits.open_files.reason = Some("the manager itself has no higher limit".to_owned());
    }
    limits
}

fn enter(cgroup: &str) -> std::io::Result<()> {
    std::fs::write(Path::new(cgroup).join("cgroup.procs"), std::process::id().to_string())
}

fn create(path: &str) -> std::io::Result<File> {
    File::options().write(true).create(true).truncate(true).mode(0o600).open(path)
}

fn not_reported(to: &ReportTo, source: std::io::Error) -> LaunchError {
    LaunchError::Report { path: to.path.clone(), source }
}

fn read_spec() -> Result<LaunchSpec, LaunchError> {
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .take(SPEC_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(LaunchError::Spec)?;
    serde_json::from_str(&text).map_err(LaunchError::Json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_fence_can_be_required() {
        let with = |landlock_abi| KernelSupport { landlock_abi, seccomp: Ok(()) }.whole_fence();
        assert_eq!((with(Ok(6)), with(Ok(7))), (Ok(6), Ok(7)));
        let old = with(Ok(5)).unwrap_err();
        assert!(old.contains("version 5 of 6"), "{old}");
        assert_eq!(with(Err("none".into())), Err("none".into()));
        // What the launcher makes of this very kernel agrees.
        let fence = muxi_contract::launch::Fence { required: true, ..Default::default() };
        assert_eq!(fence::rules(&fence).is_ok(), probe().whole_fence().is_ok());
    }
}

//! The launcher: still one thread, it narrows its rights and becomes the program. It replaces a
//! closure between fork and exec, so all of it is safe code.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible as _, LandlockStatus, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope,
    path_beneath_rules,
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustix::process::setsid;
use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set, set_no_new_privs};
use serde::{Deserialize, Serialize};

use super::SandboxError;
use super::filter;
use super::paths::Fence;
use super::watcher::Watch;
use crate::program::Identity;

/// Kernels before 6.2 cannot keep a program from cutting off files that it may not write to.
const NEEDED: ABI = ABI::V3;
/// The newest whose every restriction is tested here.
const TESTED: ABI = ABI::V6;
/// Beyond what a job starts between two looks at it; the looks have the lower limit.
const USER_PROCESSES_MAX: u64 = 4_096;

const CONFINED: &str = "confined\n";

/// What to apply. It is an argument, so it holds no secret.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Spec {
    /// Gets [`CONFINED`] when everything was applied, then why the program did not start, if so.
    pub(super) report: PathBuf,
    pub(super) fence: Fence,
    pub(super) memory_bytes: u64,
    pub(super) open_files: u64,
    pub(super) file_bytes: u64,
    pub(super) processor_s: u64,
    pub(super) kind: Kind,
    /// With whom it ends; without one, whoever comes later ends it.
    pub(super) owner: Option<Identity>,
}

/// What it is that runs, which says how far it reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    /// Without a network, and in the one group that it was started in.
    Script,
    /// With a network, and with groups of its own within a session that nobody leaves.
    Agent,
}

/// Why the launcher could not become the program.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    #[error("no readable spec was given: {0}")]
    Spec(serde_json::Error),
    #[error("no program was named")]
    NoProgram,
    #[error("failed to write the report: {0}")]
    Report(std::io::Error),
    #[error("failed to set a resource limit: {0}")]
    Limit(nix::Error),
    #[error("failed to give rights away: {0}")]
    Rights(std::io::Error),
    #[error("failed to fence the program in: {0}; this needs Linux 6.2 or newer with landlock")]
    Fence(RulesetError),
    #[error("this kernel has no landlock, or it is switched off, so files cannot be fenced")]
    NoFence,
    #[error("failed to filter system calls: {0}")]
    Filter(String),
    #[error("failed to start what ends the program with its owner: {0}")]
    Watch(std::io::Error),
    #[error("failed to start {}: {source}", program.display())]
    Start { program: OsString, source: std::io::Error },
}

/// Becomes the program that stands after the spec; returns only on failure.
pub fn confine(argument: &str, command: &[OsString]) -> ConfineError {
    if let Ok(watch) = serde_json::from_str::<Watch>(argument) {
        return match watch.run(argument) {
            #[expect(clippy::exit, reason = "there is nothing to return to")]
            Ok(()) => std::process::exit(0),
            Err(error) => ConfineError::Watch(error),
        };
    }
    let spec: Spec = match serde_json::from_str(argument) {
        Ok(spec) => spec,
        Err(error) => return ConfineError::Spec(error),
    };
    // Opened while that is still possible. The program does not inherit it.
    let mut report = match File::options().append(true).open(&spec.report) {
        Ok(report) => report,
        Err(error) => return ConfineError::Report(error),
    };
    let error = narrow_and_start(argument, &spec, command, &mut report);
    // Whoever reads the report finds no word of success in it.
    if let Err(error) = writeln!(report, "{error}") {
        return ConfineError::Report(error);
    }
    error
}

/// What the launcher reported, if it is more than success.
pub(super) fn read_report(report: &str) -> Result<(), SandboxError> {
    match report.strip_prefix(CONFINED).map(str::trim) {
        Some("") => Ok(()),
        Some(fault) => Err(SandboxError::Start(fault.to_owned())),
        None if report.trim().is_empty() => {
            Err(SandboxError::NotConfined("the launcher ended early".to_owned()))
        }
        None => Err(SandboxError::NotConfined(report.trim().to_owned())),
    }
}

fn narrow_and_start(
    argument: &str,
    spec: &Spec,
    command: &[OsString],
    report: &mut File,
) -> ConfineError {
    let Some((program, arguments)) = command.split_first() else {
        return ConfineError::NoProgram;
    };
    // Descriptors that this program was given, such as a manager's sockets, end here.
    close_fds::set_fds_cloexec(3, &[]);
    if let Some(owner) = &spec.owner
        && let Err(error) = Watch::begin(owner.clone(), argument)
    {
        return ConfineError::Watch(error);
    }
    if let Err(error) = narrow(spec) {
        return error;
    }
    if let Err(error) = report.write_all(CONFINED.as_bytes()) {
        return ConfineError::Report(error);
    }
    let source = Command::new(program).args(arguments).exec();
    ConfineError::Start { program: program.clone(), source }
}

/// In the one order that works: each step still needs what a later one takes away.
fn narrow(spec: &Spec) -> Result<(), ConfineError> {
    limit(spec).map_err(ConfineError::Limit)?;
    drop_capabilities().map_err(|error| ConfineError::Rights(error.into()))?;
    set_no_new_privs(true).map_err(|error| ConfineError::Rights(error.into()))?;
    if spec.kind == Kind::Agent {
        setsid().map_err(|error| ConfineError::Rights(error.into()))?;
    }
    let signals_are_fenced = fence(&spec.fence)?;
    let programs = filter::programs(spec.kind, signals_are_fenced)
        .map_err(|error| ConfineError::Filter(error.to_string()))?;
    for program in programs {
        seccompiler::apply_filter(&program)
            .map_err(|error| ConfineError::Filter(error.to_string()))?;
    }
    Ok(())
}

fn limit(spec: &Spec) -> nix::Result<()> {
    let limits = [
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_CPU, spec.processor_s),
        (Resource::RLIMIT_DATA, spec.memory_bytes),
        (Resource::RLIMIT_FSIZE, spec.file_bytes),
        (Resource::RLIMIT_MEMLOCK, 0),
        (Resource::RLIMIT_MSGQUEUE, 0),
        (Resource::RLIMIT_NOFILE, spec.open_files),
        (Resource::RLIMIT_NPROC, USER_PROCESSES_MAX),
    ];
    for (resource, limit) in limits {
        // Only a lower limit can be set without privileges.
        let limit = getrlimit(resource).map_or(limit, |(_, hard)| limit.min(hard));
        setrlimit(resource, limit, limit)?;
    }
    Ok(())
}

/// Root's programs get what is in this set; those of others get none anyway.
fn drop_capabilities() -> rustix::io::Result<()> {
    for capability in CapabilitySet::all().iter() {
        match remove_capability_from_bounding_set(capability) {
            // One that this kernel does not know, or a user who has none to give away.
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::PERM) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Answers whether signals are held back as well, which only newer kernels do.
fn fence(fence: &Fence) -> Result<bool, ConfineError> {
    let status = ruleset(fence).map_err(ConfineError::Fence)?;
    if status.ruleset == RulesetStatus::NotEnforced {
        return Err(ConfineError::NoFence);
    }
    Ok(match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => effective_abi >= TESTED,
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => false,
    })
}

fn ruleset(fence: &Fence) -> Result<landlock::RestrictionStatus, RulesetError> {
    let all = AccessFs::from_all(TESTED);
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    // What was written is data: an interpreter can read it, but it is no program.
    let write = all & !BitFlags::from(AccessFs::Execute);
    let device = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev;
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(NEEDED))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)?
        .scope(Scope::from_all(TESTED))?
        .create()?
        .add_rules(path_beneath_rules(&fence.read, read))?
        .add_rules(path_beneath_rules(&fence.read_and_execute, read | AccessFs::Execute))?
        .add_rules(path_beneath_rules(&fence.write, write))?
        .add_rules(path_beneath_rules(&fence.write_and_execute, all))?
        .add_rules(path_beneath_rules(&fence.devices, device))?
        .restrict_self()
}

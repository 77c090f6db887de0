//! The launcher: this binary again, still one thread, which narrows its rights and becomes the
//! program. It replaces a closure between fork and exec, so all of it is safe code.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use muxi_contract::launch::LaunchSpec;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The hidden first argument that makes this binary the launcher.
pub const ARGUMENT: &str = "__launch";

/// A spec is a program, its arguments and a short environment.
const SPEC_BYTES_MAX: u64 = 1 << 20;

/// Why the launcher could not become the program.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    #[error("failed to read the launch spec: {0}")]
    Spec(std::io::Error),
    #[error("the launch spec is not readable: {0}")]
    Json(serde_json::Error),
    #[error("failed to set a resource limit: {0}")]
    Limit(nix::Error),
    #[error("failed to start {program}: {source}")]
    Exec { program: String, source: std::io::Error },
}

/// The spec as an open, unlinked file: it has no path and appears in no process list.
pub fn spec_file(spec: &LaunchSpec) -> std::io::Result<File> {
    let mut file = tempfile::tempfile()?;
    serde_json::to_writer(&mut file, spec)?;
    file.flush()?;
    file.rewind()?;
    Ok(file)
}

/// Reads the spec from standard input and becomes the program; returns only on failure.
pub fn launch() -> LaunchError {
    let spec = match read_spec() {
        Ok(spec) => spec,
        Err(error) => return error,
    };
    let limits = [
        (Resource::RLIMIT_NOFILE, spec.limits.open_files),
        (Resource::RLIMIT_CORE, spec.limits.core_bytes),
    ];
    for (resource, limit) in limits {
        // Only a lower limit can be set without privileges.
        let limit = getrlimit(resource).map_or(limit, |(_, hard)| limit.min(hard));
        if let Err(error) = setrlimit(resource, limit, limit) {
            return LaunchError::Limit(error);
        }
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

fn read_spec() -> Result<LaunchSpec, LaunchError> {
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .take(SPEC_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(LaunchError::Spec)?;
    serde_json::from_str(&text).map_err(LaunchError::Json)
}

//! What a program that works on its own for longer is kept in.
//!
//! It writes in its work folder, in a home and in a temporary folder; it reads the system and what it
//! consists of. It has the network, since it must reach its model, but no socket at a path. It may make
//! process groups, but nobody leaves the session that it is ended with.

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use super::{Launcher, SandboxError, confine, files, paths};

/// Where it may be and what it must not see.
#[derive(Debug, Clone)]
pub struct Walls {
    pub launcher: Launcher,
    /// What it may not read, even where a folder of the system holds it.
    pub hidden: Vec<PathBuf>,
    /// May be written to and executed from.
    pub work: PathBuf,
    /// Gets its home, its temporary folder and the launcher's report.
    pub place: PathBuf,
    /// How long it may run, by which its processor time is bounded.
    pub timeout: Duration,
}

/// Of each process; language runtimes map much and use little of it.
const MEMORY_BYTES_MAX: u64 = 8 << 30;
const OPEN_FILES_MAX: u64 = 4_096;
const FILE_BYTES_MAX: u64 = 2 << 30;
const ONLY_ITS_USER: u32 = 0o700;

// === impl Walls ===

impl Walls {
    pub fn home(&self) -> PathBuf {
        self.place.join("home")
    }

    pub fn temporary(&self) -> PathBuf {
        self.place.join("tmp")
    }

    /// Beside the folders that can be written to: only the launcher, which opened it before, can.
    fn report(&self) -> PathBuf {
        self.place.join("report")
    }

    /// The launcher of a program, whose whole path is given. It leads a session as soon as it is
    /// confined.
    pub(crate) fn command(
        &self,
        program: &Path,
        arguments: &[String],
    ) -> Result<Command, SandboxError> {
        let no_folder = |source| SandboxError::Folder { path: self.place.clone(), source };
        self.prepare().map_err(no_folder)?;
        let mut fence = paths::fence_of_agent(&self.hidden, program, &on_path());
        fence.write_and_execute = vec![self.work.clone(), self.home(), self.temporary()];
        let processors = std::thread::available_parallelism().map_or(1, |it| it.get() as u64);
        let spec = confine::Spec {
            report: self.report(),
            fence,
            memory_bytes: MEMORY_BYTES_MAX,
            open_files: OPEN_FILES_MAX,
            file_bytes: FILE_BYTES_MAX,
            processor_s: (self.timeout.as_secs() + 1).saturating_mul(processors),
            kind: confine::Kind::Agent,
            owner: None,
        };
        let spec = serde_json::to_string(&spec)
            .map_err(|error| SandboxError::NotConfined(error.to_string()))?;
        let mut command = Command::new(&self.launcher.program);
        command
            .args(&self.launcher.arguments)
            .arg(spec)
            .arg(program)
            .args(arguments)
            .env_clear()
            .env("PATH", path())
            .env("HOME", self.home())
            .env("TMPDIR", self.temporary())
            .current_dir(&self.work);
        Ok(command)
    }

    /// Whether the program was started, once it has ended.
    pub(crate) fn verdict(&self) -> Result<(), SandboxError> {
        let report = fs::read_to_string(self.report()).map_err(SandboxError::Follow)?;
        confine::read_report(&report)
    }

    fn prepare(&self) -> io::Result<()> {
        let mut folders = DirBuilder::new();
        folders.recursive(true).mode(ONLY_ITS_USER);
        for folder in [self.home(), self.temporary()] {
            folders.create(folder)?;
        }
        // Of an earlier program in the same place.
        match fs::remove_file(self.report()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        fs::File::create_new(self.report()).map(drop)
    }
}

/// The file that is meant by a name on PATH, or by a path.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|path| path.is_file());
    }
    on_path().into_iter().map(|folder| folder.join(program)).find(|path| path.is_file())
}

// === private helpers ===

fn path() -> OsString {
    std::env::var_os("PATH").unwrap_or_else(|| files::PROGRAMS.into())
}

fn on_path() -> Vec<PathBuf> {
    std::env::split_paths(&path()).collect()
}

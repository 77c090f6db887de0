//! `muxi-server service`: keeps the manager running under systemd, for the machine or for one user.
//!
//! What a unit says is decided in `unit`; `install` does it. Only what bears our mark is ever
//! overwritten or removed, and data is never touched.

mod install;
mod unit;

use std::io;
use std::path::PathBuf;

pub use self::install::{Before, Installed, State, install, state, uninstall};
use crate::auth::master::MasterKeyError;
use crate::config::Folders;

/// One service, installed or to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    pub name: String,
    pub scope: Scope,
    /// This program, by its full path.
    pub program: PathBuf,
    pub folders: Folders,
    /// Whether one of its ports is below 1024.
    pub low_port: bool,
    /// Where units of this scope lie.
    pub unit_folder: PathBuf,
    pub tools: Tools,
}

/// Whose service it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// The machine's; runs as this user, who is made if it is [`OWN_USER`].
    System { user: String },
    /// The caller's own.
    User,
}

/// The programs that do the work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tools {
    pub systemctl: PathBuf,
    pub useradd: PathBuf,
}

/// The user that a system service gets unless told otherwise.
pub const OWN_USER: &str = "muxi";
/// The name that a service gets unless told otherwise.
pub const DEFAULT_NAME: &str = "muxi-server";

#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    #[error("`{0}` is no name for a service; take letters, digits, `-` and `_`")]
    Name(String),
    #[error(
        "a service of the machine is installed by root: run it with sudo, or use --user for one of \
         your own"
    )]
    NotRoot,
    #[error(
        "{0} was not made by `muxi-server service install` and is left as it is; use --name for another"
    )]
    Foreign(PathBuf),
    #[error("{0} does not exist; is the service installed under another --name, or with --user?")]
    NotInstalled(PathBuf),
    #[error(
        "`{tool}` is not there: this machine is not run by systemd, as in most containers\n\
         Run `muxi-server start` under your own supervisor, or see the unit with --print"
    )]
    NoTool { tool: String },
    #[error("`{command}` failed: {said}")]
    Tool { command: String, said: String },
    #[error("user `{0}` does not exist; make it, or name another with --run-as")]
    NoUser(String),
    #[error(
        "{path} belongs to user {owner}, and the service runs as `{user}`\n\
         Run `chown -R {user}: {path}`, or install it with --run-as"
    )]
    Owner { path: PathBuf, owner: u32, user: String },
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    #[error("failed to {act} {path}: {source}")]
    File { act: &'static str, path: PathBuf, source: io::Error },
}

// === impl Service ===

impl Service {
    pub fn check(&self) -> Result<(), ServiceError> {
        let fine = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
        if self.name.is_empty() || self.name.len() > 64 || !self.name.chars().all(fine) {
            return Err(ServiceError::Name(self.name.clone()));
        }
        Ok(())
    }

    /// The unit's text.
    pub fn unit(&self) -> String {
        unit::render(self)
    }

    pub fn unit_path(&self) -> PathBuf {
        self.unit_folder.join(format!("{}.service", self.name))
    }
}

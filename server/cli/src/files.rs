//! What the command line keeps: `~/.muxi/cli` of the user, and `.muxi` of a formation's folder. The
//! published command line reads and writes the same files.

pub(crate) mod bundle;
pub(crate) mod defaults;
pub(crate) mod document;
pub(crate) mod formations;
pub(crate) mod local_manager;
pub(crate) mod profiles;
pub(crate) mod registries;

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use crate::fault::Fault;

/// Of the format that all of these files are written in.
pub(crate) const VERSION: &str = "1.0";
const LOCK: &str = ".lock";

/// The user's own folder of the command line.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    /// `~/.muxi`.
    pub(crate) muxi: PathBuf,
}

// === impl Home ===

impl Home {
    pub(crate) fn from_environment() -> Result<Self, Fault> {
        let home = std::env::var_os("HOME").filter(|it| !it.is_empty()).ok_or_else(|| {
            Fault::failed("there is no home folder to keep profiles in").mend("set HOME")
        })?;
        Ok(Self { muxi: PathBuf::from(home).join(".muxi") })
    }

    /// Held from before one of its files is read until it is written: what another command adds meanwhile
    /// is not lost.
    pub(crate) fn lock(&self) -> Result<File, Fault> {
        let path = self.file(LOCK);
        let folder = self.file("");
        let locked = || {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            let file = File::create(&path)?;
            file.lock()?;
            Ok(file)
        };
        locked().map_err(|it: std::io::Error| Fault::file("lock", &path, it))
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.muxi.join("cli").join(name)
    }
}

/// A variable of the environment that is set to something.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|it| !it.is_empty())
}

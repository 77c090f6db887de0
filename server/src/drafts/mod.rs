//! Drafts: formations that are edited on this manager before they are deployed.
//!
//! Invariants: a draft lies outside of all formations, so nothing that happens to those takes it
//! along; one change at a time, each in place whole or not at all; nothing outside of a draft's files
//! is read or written through it; what the manager notes of a draft is not among its files, so it is
//! never deployed.

mod files;
mod make;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use muxi_contract::FormationId;
use muxi_contract::draft::{DraftEntry, DraftErrorCode};
use muxi_formation::Diagnostic;
use serde::{Deserialize, Serialize};

pub use self::files::Content;
use crate::bundles::{self, Upload};
use crate::disk;
use crate::layout::Layout;

/// The drafts of one data folder; clones share it. Everything here blocks.
#[derive(Debug, Clone)]
pub struct Drafts {
    layout: Layout,
    /// Held during every change, with the drafts that are being deployed or discarded.
    claimed: Arc<Mutex<HashSet<FormationId>>>,
}

/// Keeps a draft as it is until its deploy or its end has come.
#[derive(Debug)]
pub struct Claimed {
    drafts: Drafts,
    id: FormationId,
}

/// What is noted of a draft.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The version of the formation that it is a copy of.
    pub base_version: Option<String>,
    pub created_at: String,
}

/// What a clone is a copy of.
#[derive(Debug, Clone)]
pub struct Base {
    pub folder: PathBuf,
    pub version: String,
}

#[derive(Debug, thiserror::Error)]
pub enum DraftError {
    #[error("there is no draft of this formation; make one with the action init")]
    NotFound,
    #[error("there is a draft already; discard it, or go on with it")]
    AlreadyExists,
    #[error("`{0}` is not there")]
    FileNotFound(String),
    #[error("`{path}` {fault}")]
    InvalidPath { path: String, fault: &'static str },
    #[error("the content is not {0}")]
    Encoding(&'static str),
    #[error("the draft has faults; see details")]
    Faults(Vec<Diagnostic>),
    #[error("the draft is of '{found}', not of '{expected}'; its manifest names it")]
    OtherId { expected: FormationId, found: FormationId },
    #[error("this draft is being deployed or discarded")]
    Claimed,
    #[error("{0}")]
    TooLarge(String),
    #[error("failed to make the draft")]
    Create(#[source] io::Error),
    #[error("failed to copy the formation's files")]
    Copy(#[source] io::Error),
    #[error("failed to read the draft")]
    Read(#[source] io::Error),
    #[error("failed to write to the draft")]
    Write(#[source] io::Error),
    #[error("failed to delete")]
    Delete(#[source] io::Error),
    #[error("failed to pack the draft: {0}")]
    Pack(#[from] muxi_formation::PackError),
}

const NOTE: &str = ".draft-meta.json";
const FILES: &str = "files";
/// A file on its way to its place; one at a time.
const INCOMING: &str = "incoming";

// === impl Drafts ===

impl Drafts {
    pub fn new(layout: Layout) -> Self {
        Self { layout, claimed: Arc::default() }
    }

    /// A draft that can be deployed as it is.
    pub fn create(&self, id: &FormationId, now: String) -> Result<(), DraftError> {
        let note = Note { base_version: None, created_at: now };
        self.make(id, &note, |files| make::minimal(files, id).map_err(DraftError::Create))
    }

    /// A copy of a generation, secrets included: they stay on this machine.
    pub fn clone_of(&self, id: &FormationId, base: &Base, now: String) -> Result<(), DraftError> {
        let note = Note { base_version: Some(base.version.clone()), created_at: now };
        self.make(id, &note, |files| make::copy(&base.folder, files).map_err(DraftError::Copy))
    }

    /// What is noted of a draft, if there is one.
    pub fn note(&self, id: &FormationId) -> Option<Note> {
        let folder = self.layout.draft(id);
        let text = fs::read_to_string(folder.join(NOTE)).ok()?;
        serde_json::from_str(&text).ok()
    }

    pub fn list(
        &self,
        id: &FormationId,
        path: &str,
    ) -> Result<(String, Vec<DraftEntry>), DraftError> {
        files::list(&self.open(id)?.1, path)
    }

    pub fn read(&self, id: &FormationId, path: &str) -> Result<(String, Content), DraftError> {
        files::read(&self.open(id)?.1, path)
    }

    /// Answers the path as it was understood.
    pub fn write(&self, id: &FormationId, path: &str, bytes: &[u8]) -> Result<String, DraftError> {
        let _alone = self.alone(id)?;
        let (folder, files) = self.open(id)?;
        files::write(&folder, &files, path, bytes)
    }

    pub fn delete(&self, id: &FormationId, path: &str) -> Result<String, DraftError> {
        let _alone = self.alone(id)?;
        files::delete(&self.open(id)?.1, path)
    }

    /// Nobody else changes the draft until the guard goes.
    pub fn claim(&self, id: &FormationId) -> Result<Claimed, DraftError> {
        let mut claimed = self.alone(id)?;
        self.open(id)?;
        claimed.insert(id.clone());
        Ok(Claimed { drafts: self.clone(), id: id.clone() })
    }

    /// The folder to run it from.
    pub fn folder(&self, id: &FormationId) -> Result<PathBuf, DraftError> {
        self.open(id)?;
        Ok(self.layout.draft_files(id))
    }

    /// Checks and packs the draft, which stays as it is until the guard goes.
    pub fn pack(&self, id: &FormationId) -> Result<(Upload, Claimed), DraftError> {
        let claimed = self.claim(id)?;
        let folder = self.layout.draft_files(id);
        let loaded = muxi_formation::load(&folder, muxi_formation::Resolve::Keep);
        let found = loaded.map_err(DraftError::Faults)?.manifest.id;
        if found != *id {
            return Err(DraftError::OtherId { expected: id.clone(), found });
        }
        Ok((bundles::from_folder(&folder, id, &self.layout)?, claimed))
    }

    /// Nobody else changes drafts meanwhile; refused while this one is claimed.
    fn alone(&self, id: &FormationId) -> Result<MutexGuard<'_, HashSet<FormationId>>, DraftError> {
        let claimed = self.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        if claimed.contains(id) { Err(DraftError::Claimed) } else { Ok(claimed) }
    }

    /// The draft's folder and, in it, that of its files.
    fn open(&self, id: &FormationId) -> Result<(Dir, Dir), DraftError> {
        let open = || -> io::Result<(Dir, Dir)> {
            let folder = Dir::open_ambient_dir(self.layout.draft(id), ambient_authority())?;
            let files = folder.open_dir(FILES)?;
            Ok((folder, files))
        };
        open().map_err(|error| {
            let absent = error.kind() == io::ErrorKind::NotFound;
            if absent { DraftError::NotFound } else { DraftError::Read(error) }
        })
    }

    /// Made aside and put in place by one rename.
    fn make(
        &self,
        id: &FormationId,
        note: &Note,
        fill: impl FnOnce(&Path) -> Result<(), DraftError>,
    ) -> Result<(), DraftError> {
        let _alone = self.alone(id)?;
        let target = self.layout.draft(id);
        if target.exists() {
            return Err(DraftError::AlreadyExists);
        }
        let aside = tempfile::Builder::new()
            .prefix("draft-")
            .tempdir_in(self.layout.uploads())
            .map_err(DraftError::Create)?;
        let files = aside.path().join(FILES);
        fs::create_dir(&files).map_err(DraftError::Create)?;
        fill(&files)?;
        let text = serde_json::to_vec(note).expect("our own types always serialise");
        let place = || -> io::Result<()> {
            fs::write(aside.path().join(NOTE), text)?;
            fs::rename(aside.path(), &target)?;
            fs::File::open(self.layout.drafts())?.sync_all()
        };
        place().map_err(DraftError::Create)
    }
}

// === impl Claimed ===

impl Claimed {
    pub fn id(&self) -> &FormationId {
        &self.id
    }

    /// Takes the draft away, and what its runs kept unless a process still uses it.
    pub fn remove(self, runs: bool) -> Result<(), DraftError> {
        let layout = &self.drafts.layout;
        let kept = (!runs).then(|| layout.formation(&self.id.draft()));
        for folder in [Some(layout.draft(&self.id)), kept].into_iter().flatten() {
            bundles::remove_folder(layout, &folder).map_err(DraftError::Delete)?;
        }
        Ok(())
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        let mut claimed = self.drafts.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        claimed.remove(&self.id);
    }
}

// === impl DraftError ===

impl DraftError {
    pub fn code(&self) -> DraftErrorCode {
        match self {
            Self::NotFound => DraftErrorCode::DraftNotFound,
            Self::AlreadyExists => DraftErrorCode::DraftAlreadyExists,
            Self::FileNotFound(_) => DraftErrorCode::FileNotFound,
            Self::InvalidPath { .. } => DraftErrorCode::InvalidPath,
            Self::Encoding(_) => DraftErrorCode::DecodeError,
            Self::Faults(_) | Self::OtherId { .. } => DraftErrorCode::ParseError,
            Self::Claimed => DraftErrorCode::DeployConflict,
            Self::TooLarge(_) => DraftErrorCode::TooLarge,
            Self::Create(_) => DraftErrorCode::CreateError,
            Self::Copy(_) => DraftErrorCode::CopyError,
            Self::Read(_) | Self::Pack(_) => DraftErrorCode::ReadError,
            Self::Write(_) => DraftErrorCode::WriteError,
            Self::Delete(_) => DraftErrorCode::DeleteError,
        }
    }

    /// Whether the disk of the manager had no room.
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::Create(error) | Self::Copy(error) | Self::Write(error) | Self::Delete(error) => {
                disk::is_full(error)
            }
            Self::Pack(muxi_formation::PackError::Write { source, .. }) => disk::is_full(source),
            Self::Pack(_)
            | Self::NotFound
            | Self::AlreadyExists
            | Self::FileNotFound(_)
            | Self::InvalidPath { .. }
            | Self::Encoding(_)
            | Self::Faults(_)
            | Self::OtherId { .. }
            | Self::Claimed
            | Self::TooLarge(_)
            | Self::Read(_) => false,
        }
    }
}

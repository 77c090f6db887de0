//! A bundle's folder, read under bounds and never beyond its walls.

use std::io::{self, Read as _};
use std::path::Path;

use cap_std::ambient_authority;
use cap_std::fs::Dir;

use crate::diagnostic::{Diagnostic, Place};
use crate::yaml::FILE_BYTES_MAX;

const ENTRIES_MAX: usize = 10_000;

pub(crate) struct Folder {
    dir: Dir,
}

pub(crate) struct Listed {
    pub(crate) name: String,
    pub(crate) is_dir: bool,
}

// === impl Folder ===

impl Folder {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Dir::open_ambient_dir(path, ambient_authority()).map(|dir| Self { dir })
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        self.dir.is_file(path)
    }

    pub(crate) fn has_folder(&self, path: &str) -> bool {
        self.dir.is_dir(path)
    }

    /// The text of a file, or `None` when there is no such file.
    pub(crate) fn text(&self, path: &str) -> Result<Option<String>, Diagnostic> {
        let fault =
            |message: String, mend: &str| Diagnostic::error(path, Place::START, message, mend);
        let unreadable = |error: io::Error| {
            fault(format!("the file cannot be read ({error})"), "check the file and its mode")
        };
        let file = match self.dir.open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error)),
        };
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            let message = format!("the file is larger than {} KiB", FILE_BYTES_MAX / 1024);
            return Err(fault(message, "make it shorter"));
        }
        String::from_utf8(bytes)
            .map(Some)
            .map_err(|_| fault("the file is not UTF-8".to_owned(), "save it as UTF-8"))
    }

    /// What a sub-folder holds, by name; nothing when there is no such folder.
    pub(crate) fn list(&self, path: &str) -> Vec<Listed> {
        let Ok(entries) = self.dir.read_dir(path) else { return Vec::new() };
        let mut listed: Vec<Listed> = entries
            .take(ENTRIES_MAX)
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let name = entry.file_name().into_string().ok()?;
                Some(Listed { name, is_dir: entry.file_type().ok()?.is_dir() })
            })
            .collect();
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        listed
    }
}

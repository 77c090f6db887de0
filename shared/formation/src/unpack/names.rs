//! Which names an archive may use, and where its bundle is. Pure: nothing here touches a disk.

use std::collections::BTreeMap;

use super::headers::{Entry, shown};
use super::{UnpackError, UnpackLimits};
use crate::MANIFEST_NAMES;

const PART_BYTES_MAX: usize = 255;

/// Every path of the archive, by its form without letter case unless case matters.
pub(super) struct Names<'a> {
    limits: &'a UnpackLimits,
    case_matters: bool,
    taken: BTreeMap<String, Taken>,
}

struct Taken {
    path: String,
    is_folder: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Placed {
    /// The entry is the target itself, as `tar -C dir .` writes it.
    Top,
    Folder(String),
    File(String),
}

// === impl Names ===

impl<'a> Names<'a> {
    pub(super) fn new(limits: &'a UnpackLimits) -> Self {
        Self { limits, case_matters: false, taken: BTreeMap::new() }
    }

    pub(super) fn with_case(limits: &'a UnpackLimits) -> Self {
        Self { case_matters: true, ..Self::new(limits) }
    }

    /// Takes the name of an entry, and those of the folders around it.
    pub(super) fn place(&mut self, entry: &Entry) -> Result<Placed, UnpackError> {
        let parts = self.parts(entry)?;
        let Some((_, parents)) = parts.split_last() else {
            return if entry.is_folder {
                Ok(Placed::Top)
            } else {
                Err(UnpackError::EmptyName { number: entry.number })
            };
        };
        let path = parts.join("/");
        for depth in 1..=parents.len() {
            self.take_folder(&parents[..depth].join("/"), &path)?;
        }
        if entry.is_folder {
            self.take_folder(&path, &path)?;
            return Ok(Placed::Folder(path));
        }
        let folded = self.key(&path);
        if let Some(first) = self.taken.get(&folded) {
            let first = first.path.clone();
            return Err(UnpackError::Duplicate { entry: path, first });
        }
        self.take(folded, &path, false)?;
        Ok(Placed::File(path))
    }

    /// The folder that holds the manifest: `None` is the target itself.
    pub(super) fn root(&self) -> Result<Option<String>, UnpackError> {
        let manifests: Vec<&str> = self
            .taken
            .values()
            .filter(|taken| !taken.is_folder && is_manifest(&taken.path))
            .map(|taken| taken.path.as_str())
            .collect();
        let mut top: Vec<String> = self
            .taken
            .values()
            .filter(|taken| !taken.path.contains('/'))
            .map(|taken| taken.path.clone())
            .collect();
        match manifests[..] {
            [] => Err(UnpackError::NoManifest),
            [manifest] => match manifest.split_once('/') {
                None => Ok(None),
                Some((folder, _)) if top.len() == 1 => Ok(Some(folder.to_owned())),
                Some(_) => {
                    top.truncate(5);
                    Err(UnpackError::SeveralRoots { top })
                }
            },
            [..] => {
                let manifests = manifests.iter().take(5).map(|&it| it.to_owned()).collect();
                Err(UnpackError::SeveralManifests { manifests })
            }
        }
    }

    fn parts<'e>(&self, entry: &'e Entry) -> Result<Vec<&'e str>, UnpackError> {
        let UnpackLimits { path_bytes: bytes_max, depth: depth_max, .. } = *self.limits;
        let raw = entry.path.as_slice();
        let named = || shown(raw);
        if raw.is_empty() {
            return Err(UnpackError::EmptyName { number: entry.number });
        }
        if raw.len() > bytes_max {
            return Err(UnpackError::LongName { entry: named(), bytes_max });
        }
        let path = str::from_utf8(raw).map_err(|_| UnpackError::NotUtf8 { entry: named() })?;
        if path.contains(|c: char| c.is_control() || c == '\\') {
            return Err(UnpackError::Characters { entry: named() });
        }
        if path.starts_with('/') {
            return Err(UnpackError::Absolute { entry: named() });
        }
        let parts: Vec<&str> =
            path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        if parts.contains(&"..") {
            return Err(UnpackError::Traversal { entry: named() });
        }
        if parts.iter().any(|part| part.len() > PART_BYTES_MAX) {
            return Err(UnpackError::LongName { entry: named(), bytes_max: PART_BYTES_MAX });
        }
        let folders = if entry.is_folder { parts.len() } else { parts.len().saturating_sub(1) };
        if folders > depth_max {
            return Err(UnpackError::Depth { entry: named(), depth_max });
        }
        Ok(parts)
    }

    /// A folder may be named again, in the same letters: most archives do.
    fn take_folder(&mut self, path: &str, entry: &str) -> Result<(), UnpackError> {
        let folded = self.key(path);
        match self.taken.get(&folded) {
            None => self.take(folded, path, true),
            Some(taken) if !taken.is_folder => {
                Err(UnpackError::FileAsFolder { entry: entry.to_owned(), file: taken.path.clone() })
            }
            Some(taken) if taken.path != path => {
                Err(UnpackError::Duplicate { entry: path.to_owned(), first: taken.path.clone() })
            }
            Some(_) => Ok(()),
        }
    }

    fn key(&self, path: &str) -> String {
        if self.case_matters { path.to_owned() } else { path.to_lowercase() }
    }

    fn take(&mut self, folded: String, path: &str, is_folder: bool) -> Result<(), UnpackError> {
        let entries_max = self.limits.entries;
        if self.taken.len() >= entries_max {
            return Err(UnpackError::TooManyEntries { entry: path.to_owned(), entries_max });
        }
        self.taken.insert(folded, Taken { path: path.to_owned(), is_folder });
        Ok(())
    }
}

// === private helpers ===

/// In the target or one folder below it; deeper ones are nobody's manifest.
fn is_manifest(path: &str) -> bool {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    !folder.contains('/') && MANIFEST_NAMES.contains(&name)
}

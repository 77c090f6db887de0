//! A job's folder: where it writes, and what is taken from there.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::{Limits, OutputFile};
use crate::program::Identity;

/// Folders within folders.
const DEPTH_MAX: usize = 8;
const PREFIX: &str = "run-";
/// Who runs in the folder, beside what that one can write to.
const RUNS: &str = "runs";
/// Between the making of a folder and the start of its job.
const NEW_MAX: std::time::Duration = std::time::Duration::from_mins(1);
const NAME_CHARS_MAX: usize = 120;
/// Where systems keep programs; the first that has one wins.
pub(super) const PROGRAMS: &str =
    "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin:/run/current-system/sw/bin";

/// Gone when dropped.
#[derive(Debug)]
pub(super) struct Place(tempfile::TempDir);

// === impl Place ===

impl Place {
    pub(super) fn new(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        let place = Self(tempfile::Builder::new().prefix(PREFIX).tempdir_in(root)?);
        for folder in [place.output(), place.work().join("tmp")] {
            fs::create_dir_all(folder)?;
        }
        fs::File::create_new(place.report_path())?;
        Ok(place)
    }

    /// Tells a later process who may still write here.
    pub(super) fn note(&self, runs: &Identity) -> io::Result<()> {
        let runs = (Identity::own(), runs.clone());
        fs::write(self.0.path().join(RUNS), serde_json::to_vec(&runs)?)
    }

    /// The one folder that can be written to.
    pub(super) fn work(&self) -> PathBuf {
        self.0.path().join("work")
    }

    /// What lies here at the end is handed back; the program starts here.
    pub(super) fn output(&self) -> PathBuf {
        self.work().join("output")
    }

    /// Beside the folder that can be written to: only the launcher, which opened it before, can.
    pub(super) fn report_path(&self) -> PathBuf {
        self.0.path().join("report")
    }

    pub(super) fn report(&self) -> io::Result<String> {
        fs::read_to_string(self.report_path())
    }

    pub(super) fn environment(&self) -> [(&'static str, PathBuf); 6] {
        [
            ("PATH", PROGRAMS.into()),
            ("HOME", self.work()),
            ("TMPDIR", self.work().join("tmp")),
            ("OUTPUT_DIR", self.output()),
            ("LANG", "C.UTF-8".into()),
            ("PYTHONDONTWRITEBYTECODE", "1".into()),
        ]
    }
}

/// Removes the folders of jobs whose process was killed, and ends what it left running in them.
pub(super) fn sweep(root: &Path) {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    let ours = entries.filter(|it| it.file_name().to_string_lossy().starts_with(PREFIX));
    for path in ours.map(|entry| entry.path()) {
        let runs = fs::read(path.join(RUNS)).ok();
        let runs = runs.and_then(|it| serde_json::from_slice::<(Identity, Identity)>(&it).ok());
        let is_left = match runs {
            Some((of, _)) if of.is_alive() => false,
            Some((_, job)) => {
                job.kill();
                true
            }
            // A folder that is only being made says nothing yet.
            None => path
                .metadata()
                .and_then(|it| it.modified())
                .is_ok_and(|it| it.elapsed().is_ok_and(|age| age > NEW_MAX)),
        };
        if is_left && let Err(error) = fs::remove_dir_all(&path) {
            tracing::warn!(%error, path = %path.display(), "a folder of a script is left");
        }
    }
}

/// The regular files of the output folder, and the names of those that were left behind.
pub(super) fn collect(
    place: &Place,
    limits: &Limits,
) -> io::Result<(Vec<OutputFile>, Vec<String>)> {
    let (mut files, mut left_out) = (Vec::new(), Vec::new());
    let mut names = HashSet::new();
    let mut room = limits.files_bytes;
    let mut folders = vec![(place.output(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        let mut entries: Vec<_> = fs::read_dir(&folder)?.collect::<Result<_, _>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let kind = entry.file_type()?;
            if kind.is_dir() && depth < DEPTH_MAX {
                folders.push((entry.path(), depth + 1));
                continue;
            }
            let name = harmless(&entry.file_name().to_string_lossy());
            if !kind.is_file() {
                // A link would lead this program, which may read more, out of the folder.
                left_out.push(format!("{name} (no regular file)"));
            } else if files.len() == limits.files {
                left_out.push(format!("{name} (more than {} files)", limits.files));
            } else if entry.metadata()?.len() > room {
                left_out.push(format!(
                    "{name} (all files together may have {} bytes)",
                    limits.files_bytes
                ));
            } else {
                let mut bytes = Vec::new();
                fs::File::open(entry.path())?.take(room).read_to_end(&mut bytes)?;
                room -= bytes.len() as u64;
                files.push(OutputFile { name: unused(&name, &mut names), bytes: bytes.into() });
            }
            if left_out.len() > limits.files {
                left_out.push("and more".to_owned());
                return Ok((files, left_out));
            }
        }
    }
    Ok((files, left_out))
}

/// How much lies below the folder, up to a bit more than the limits.
pub(super) fn measure(folder: &Path, limits: &Limits) -> (usize, u64) {
    let (mut entries, mut bytes) = (0, 0);
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        // What vanishes meanwhile takes no room.
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            entries += 1;
            let Ok(about) = entry.metadata() else { continue };
            if about.is_dir() {
                folders.push(entry.path());
            } else {
                bytes += about.len();
            }
            if entries > limits.folder_entries || bytes > limits.folder_bytes {
                return (entries, bytes);
            }
        }
    }
    (entries, bytes)
}

fn harmless(name: &str) -> String {
    let name: String =
        name.chars().filter(|character| !character.is_control()).take(NAME_CHARS_MAX).collect();
    if name.is_empty() { "file".to_owned() } else { name }
}

/// Files of different folders may have the same name.
fn unused(name: &str, names: &mut HashSet<String>) -> String {
    let mut candidate = name.to_owned();
    let mut number = 2;
    while !names.insert(candidate.clone()) {
        candidate = format!("{number}-{name}");
        number += 1;
    }
    candidate
}
